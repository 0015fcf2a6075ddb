// What the benchmarks share: starting a broker or the bare loop on a core, running ttload on another,
// medians, tables.
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
export const build = process.env.TT_BUILD ?? join(root, 'build/release');

/** The cores that this process may use: the first is for what is measured, the last for ttload. */
export function cores() {
  const list = /^Cpus_allowed_list:\s*(\S+)/m.exec(readFileSync('/proc/self/status', 'utf8'))[1];
  const all = list.split(',').flatMap((part) => {
    const [first, last = first] = part.split('-').map(Number);
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
  if (all.length < 2) throw new Error('two cores are needed: one for the broker, one for the load');
  return { measured: all[0], load: all[all.length - 1] };
}

/** `--name=value` arguments over defaults; anything else ends the program with a clear line. */
export function options(defaults) {
  const values = { ...defaults };
  for (const argument of process.argv.slice(2)) {
    const [, name, value] = /^--([a-z-]+)=(.+)$/.exec(argument) ?? [];
    if (!(name in defaults)) {
      const known = Object.entries(defaults).map(([k, v]) => `--${k}=${v}`);
      console.error(`${argument}: allowed (with defaults): ${known.join(' ')}`);
      process.exit(2);
    }
    values[name] = typeof defaults[name] === 'number' ? Number(value) : value;
  }
  return values;
}

/**
 * What puts a program before whatever else runs on the machine, where that is permitted. Niceness counts only
 * within a session where the kernel groups by sessions, so it gets one of its own, which is preferred. (No real-time
 * class: it would starve the kernel's own helpers, which do part of the work.)
 */
export const first = ['setsid', 'sh', '-c', 'echo -20 2>/dev/null >/proc/self/autogroup; exec nice -n -20 "$@"', 'first'];

const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

function start(core, program, args, environment = {}) {
  const child = spawn(first[0], [...first.slice(1), 'taskset', '-c', String(core), program, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...environment },
  });
  child.text = '';
  child.errors = '';
  child.stdout.on('data', (data) => (child.text += data));
  child.stderr.on('data', (data) => (child.errors = (child.errors + data).slice(-4000)));
  child.ended = new Promise((resolve) => {
    child.on('error', (error) => resolve({ error }));
    child.on('close', (code, signal) => resolve({ code, signal }));
  }).then((how) => {
    running.delete(child);
    return how;
  });
  running.add(child);
  return child;
}

/** Starts a server that says `... ready http=ADDRESS ...`; answers { url, pid, stop }. */
async function startServer(core, program, args, environment) {
  const child = start(core, program, args, environment);
  let over = null;
  child.ended.then((how) => (over = how));
  for (;;) {
    const ready = /ready http=(\S+)/.exec(child.text);
    if (ready) {
      return {
        url: `http://${ready[1]}`,
        pid: child.pid,
        child,
        stop: async () => {
          child.kill('SIGTERM');
          const patience = setTimeout(() => child.kill('SIGKILL'), 5000);
          await child.ended;
          clearTimeout(patience);
        },
      };
    }
    if (over) throw new Error(`${program} did not start: ${child.errors || JSON.stringify(over)}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export const startBare = (core) =>
  startServer(core, join(build, 'bench_bare_loop'), ['--listen=127.0.0.1:0']);

/** A directory for a log. */
export const makeData = () => mkdtempSync(join(tmpdir(), 'tickertape-bench-'));

/** A broker with one shard on one core, on an empty log of its own, or on one that is kept. */
export async function startBroker(core, args = [], environment = {}, kept = null) {
  const data = kept ?? makeData();
  const server = await startServer(
    core,
    join(build, 'tickertape'),
    ['--listen=127.0.0.1:0', '--ops-listen=127.0.0.1:0', '--shards=1', `--data=${data}`,
      '--drain-ms=0', '--diag-level=warn', ...args],
    environment,
  );
  const { stop } = server;
  server.stop = async () => {
    await stop();
    if (kept === null) rmSync(data, { recursive: true, force: true });
  };
  return server;
}

/** Runs `ttload run` and answers its report; an unsuccessful run is an error. */
export async function ttload(core, server, args) {
  const child = start(core, join(build, 'ttload'), [
    'run', `--url=${server.url}`, `--pid=${server.pid}`, '--json', '--quiet', ...args]);
  const how = await child.ended;
  let report = null;
  try {
    report = JSON.parse(child.text);
  } catch {
    throw new Error(`ttload gave no report: ${child.errors || JSON.stringify(how)}`);
  }
  if (!report.good) throw new Error(`ttload: ${report.failures.join('; ')}`);
  return report;
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

export function table(rows) {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => String(row[i]).length)));
  for (const row of rows) {
    console.log(row.map((cell, i) => String(cell).padStart(widths[i])).join('  '));
  }
}

/** Keeps a result as build/bench/<name>.json. */
export function keep(name, result) {
  const path = join(root, 'build/bench', `${name}.json`);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `${JSON.stringify(result, null, 2)}\n`);
  console.log(`kept in ${path.slice(root.length + 1)}`);
}
