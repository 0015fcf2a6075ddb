// The built broker as a child process, on a data directory of its own and ports of the system's choice.
//
//   TT_BINARY   the broker to test (build/release/tickertape)
//   TT_IO       io_uring or epoll; without it the broker chooses
//   TT_SMALL=1  only the tests marked { small: true } run (the set for TSan)

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { patience_ms, within } from './wait.mjs';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');

export const binary = path.resolve(process.env.TT_BINARY ?? path.join(root, 'build/release/tickertape'));
export const io = process.env.TT_IO ?? '';

/** What no broker may ever print: a sanitizer's report, or an assertion of its own. */
const fatal = /Sanitizer|ASSERT|runtime error:|Assertion .* failed|free\(\): |malloc\(\): /;

const ready_line =
  /^tickertape ready http=(\S+) ops=(\S+) io=(io_uring|epoll) shards=(\d+) history=([A-Za-z0-9]+)$/m;

function address(text) {
  const m = /^(?:tls:)?\[?([^\]]*)\]?:(\d+)$/.exec(text);
  assert.ok(m, `an address in the ready line: ${text}`);
  return { host: m[1] === '0.0.0.0' ? '127.0.0.1' : m[1], port: Number(m[2]) };
}

/** A new empty directory below the system's place for temporary files. */
export function temporary_directory() {
  return fs.mkdtempSync(path.join(os.tmpdir(), 'tickertape-test-'));
}

/** Options that every broker of the tests gets; a later option of the same name replaces them. */
function arguments_for(options) {
  /* A busy machine's disk may be slow: publishers wait as long as they may. */
  const base = ['--publish-wait-ms=1m', '--listen=127.0.0.1:0', '--ops-listen=127.0.0.1:0', `--data=${options.data}`];
  if (options.shards !== null) base.push(`--shards=${options.shards ?? 2}`);
  if (io !== '') base.push(`--io=${io}`);
  const own = options.args ?? [];
  const name = (arg) => arg.split('=')[0];
  return base.filter((arg) => !own.some((o) => name(o) === name(arg))).concat(own);
}

export class Broker {
  /** Starts a broker and waits for its ready line. */
  static async start(options = {}) {
    const own_data = options.data === undefined;
    const broker = new Broker({ ...options, data: options.data ?? temporary_directory() });
    broker.own_data = own_data;
    await broker.#launch();
    return broker;
  }

  constructor(options) {
    this.options = options;
    this.data = options.data;
    this.stderr = '';
    this.stdout = '';
    this.running = false;
  }

  async #launch() {
    const args = arguments_for(this.options);
    const from = this.stdout.length;
    /* prlimit replaces itself by the broker: the child's pid stays the broker's. */
    const limit = this.options.descriptors;
    const [command, before] = limit ? ['prlimit', [`--nofile=${limit}:${limit}`, binary]] : [binary, []];
    this.child = spawn(command, [...before, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...this.options.env },
    });
    this.running = true;
    this.child.stdout.setEncoding('utf8').on('data', (text) => {
      this.stdout += text;
      if (this.onready && ready_line.test(this.stdout.slice(from))) this.onready();
    });
    this.child.stderr.setEncoding('utf8').on('data', (text) => {
      this.stderr += text;
    });
    this.exited = new Promise((resolve, reject) => {
      this.child.on('error', reject);
      this.child.on('close', (code, signal) => {
        this.running = false;
        resolve({ code, signal });
      });
    });
    this.exited.catch(() => {});
    await within(
      Promise.race([
        new Promise((resolve) => {
          this.onready = resolve;
        }),
        this.exited.then(({ code, signal }) => {
          throw new Error(`the broker ended with ${signal ?? code} before it was ready:\n${this.stderr}`);
        }),
      ]),
      () => `the ready line; so far:\n${this.stdout}${this.stderr}`,
    );
    const m = ready_line.exec(this.stdout.slice(from));
    this.http = address(m[1]);
    this.ops = address(m[2]);
    this.io = m[3];
    this.shards = Number(m[4]);
    this.history = m[5];
  }

  get url() {
    return `http://${this.http.host}:${this.http.port}`;
  }

  get pid() {
    return this.child.pid;
  }

  signal(name) {
    assert.ok(this.running, 'the broker runs');
    this.child.kill(name);
  }

  /** Waits for the end of the process: { code, signal }. */
  end(limit_ms = patience_ms) {
    return within(this.exited, () => `the broker's end; its log:\n${this.stderr}`, limit_ms);
  }

  /** SIGTERM, and a clean end. */
  async stop() {
    if (!this.running) return;
    this.signal('SIGTERM');
    const { code, signal } = await this.end();
    this.check();
    assert.equal(signal ?? code, 0, `the broker ends with 0 after SIGTERM; its log:\n${this.stderr}`);
  }

  /** SIGKILL: as a crash of the process. */
  async kill() {
    if (!this.running) return;
    this.signal('SIGKILL');
    await this.end();
    this.killed = true;
    this.check();
  }

  /** Starts it again on the same data, on the same ports unless `options` say otherwise. */
  async restart(options = {}) {
    assert.ok(!this.running, 'the broker was stopped');
    const same = [
      `--listen=${this.http.host}:${this.http.port}`,
      `--ops-listen=${this.ops.host}:${this.ops.port}`,
    ];
    const args = [...(this.options.args ?? []), ...same, ...(options.args ?? [])];
    const last = new Map(args.map((arg) => [arg.split('=')[0], arg]));
    this.options = { ...this.options, ...options, args: [...last.values()] };
    /* The kernel takes an io_uring apart some time after its process was killed, and only then are the
     * listeners in it closed. */
    const end = Date.now() + patience_ms;
    for (;;) {
      try {
        await this.#launch();
        break;
      } catch (error) {
        if (!this.killed || !/address is in use/.test(error.message) || Date.now() > end) throw error;
      }
    }
    this.killed = false;
  }

  /** Fails when the broker has printed what no broker may print. */
  check() {
    const found = fatal.exec(this.stderr);
    if (found) throw new Error(`the broker printed "${found[0]}":\n${this.stderr}`);
  }

  /** Ends it whatever its state, removes its data, and checks what it printed. */
  async dispose() {
    if (this.running) {
      this.child.kill('SIGTERM');
      /* Two that come at once are one for the kernel: the second is sent again until it counts. */
      const again = setInterval(() => this.child.kill('SIGTERM'), 20);
      await within(this.exited, 'the end after two SIGTERM', patience_ms)
        .catch(async (late) => {
          this.child.kill('SIGKILL');
          await this.exited;
          throw new Error(`${late.message}; its log:\n${this.stderr}`);
        })
        .finally(() => clearInterval(again));
    }
    if (this.own_data) fs.rmSync(this.data, { recursive: true, force: true });
    this.check();
  }
}

/** Runs `use` with a broker, and ends the broker whatever happens. */
export async function with_broker(options, use) {
  const broker = await Broker.start(options);
  let result;
  try {
    result = await use(broker);
  } catch (error) {
    const log = broker.stderr.trim();
    if (log !== '' && error instanceof Error) {
      error.message += `\n--- the broker's log (its last lines):\n${log.split('\n').slice(-25).join('\n')}`;
    }
    await broker.dispose().catch((also) => {
      error.message += `\n--- and: ${also.message}`;
    });
    throw error;
  }
  await broker.dispose();
  return result;
}

/**
 * A test with a broker of its own. options: { args, env, shards, data, descriptors } for the broker, { small } to
 * mark it for the small set, { timeout } in ms.
 */
export function broker_test(name, options, body) {
  const skip = process.env.TT_SMALL === '1' && !options.small ? 'not in the small set' : false;
  test(name, { skip, timeout: options.timeout ?? 8 * patience_ms }, (t) =>
    with_broker(options, (broker) => body(broker, t)),
  );
}

/** Runs the broker to its end, for command lines that must not start: { code, stdout, stderr }. */
export async function run_to_end(args, { env, limit_ms } = {}) {
  const child = spawn(binary, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text));
  const closed = new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal }));
  });
  try {
    const { code, signal } = await within(closed, () => `the end of ${args.join(' ')}:\n${stderr}`, limit_ms);
    if (fatal.test(stderr)) throw new Error(`the broker printed:\n${stderr}`);
    return { code, signal, stdout, stderr };
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
}
