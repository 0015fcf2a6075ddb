// What the benchmarks share: options, starting a broker, the bare loop, a rival or a crowd on a core, running ttload
// on another, publishing, reading metrics and /proc, medians, tables.
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
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

/** What several benchmarks can be told, beside their own. */
export const common = {
  io: 'io_uring,epoll', // back ends to measure, side by side
  broker: '', // more options of the broker, separated by spaces
};
export const list = (text) => text.split(',').filter(Boolean);
export const words = (text) => text.split(' ').filter(Boolean);

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

/** A server of others, which is told its port and says nothing: answered when it accepts connections. */
export async function startRival(core, program, args, port) {
  const child = start(core, program, args);
  let over = null;
  child.ended.then((how) => (over = how));
  for (;;) {
    if (over) throw new Error(`${program} did not start: ${child.errors || JSON.stringify(over)}`);
    const status = await new Promise((resolve) => {
      http.get({ port, path: '/', agent: false }, (answer) => answer.resume().on('end', () => resolve(answer.statusCode)))
        .on('error', () => resolve(null));
    });
    if (status !== null) break;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return {
    url: `http://127.0.0.1:${port}`,
    pid: child.pid,
    child,
    stop: async () => {
      child.kill('SIGTERM');
      await child.ended;
    },
  };
}

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

/** Runs bench/crowd.c; answers { phase(name), end(), stop() }, each the line of JSON of that phase. */
export function startCrowd(core, server, args, { quietly = false } = {}) {
  const command = [join(build, 'bench_crowd'), `--url=${server.url.slice(7)}`, `--cpu=${core}`, ...args];
  const [program, ...before] = quietly ? ['nice', '-n', '19', ...command] : [...first, ...command];
  const child = spawn(program, before, {
    stdio: ['ignore', 'pipe', 'pipe'] });
  const seen = {};
  const waiting = {};
  let rest = '';
  let errors = '';
  running.add(child);
  child.stderr.on('data', (data) => (errors += data));
  child.stdout.on('data', (data) => {
    const lines = (rest + data).split('\n');
    rest = lines.pop();
    for (const line of lines) {
      const said = JSON.parse(line);
      seen[said.phase] = said;
      waiting[said.phase]?.resolve(said);
    }
  });
  child.on('close', () => {
    running.delete(child);
    for (const phase of Object.values(waiting)) phase.reject(new Error(`the crowd ended: ${errors} ${JSON.stringify(seen.end ?? {})}`));
  });
  const phase = (name) => new Promise((resolve, reject) => {
    if (seen[name]) resolve(seen[name]);
    else if (child.exitCode !== null) reject(new Error(`the crowd ended: ${errors} ${JSON.stringify(seen.end ?? {})}`));
    else waiting[name] = { resolve, reject };
  });
  const end = async () => {
    const said = await phase('end');
    if (!said.good) throw new Error(`the crowd: ${JSON.stringify(said)}`);
    return said;
  };
  return { child, phase, end, stop: () => (child.kill('SIGTERM'), end()) };
}

const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });

/** One POST; anything but `expect` is an error. Answers the body. */
export function post(server, body, { path = '/publish', type = 'application/x-ndjson', expect = [202] } = {}) {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': type, 'content-length': Buffer.byteLength(body) };
    const call = http.request(`${server.url}${path}`, { method: 'POST', headers, agent }, (answer) => {
      let text = '';
      answer.on('data', (data) => (text += data));
      answer.on('end', () => (expect.includes(answer.statusCode) ? resolve(text) : reject(new Error(`publishing: ${answer.statusCode} ${text}`))));
    });
    call.on('error', reject);
    call.end(body);
  });
}

/** A numbered event as bench/crowd.c reads it, `bytes` of payload, and when it was published. */
export function numbered(channel, n, bytes, { c = 0 } = {}) {
  const head = `{"c":${c},"n":${n},"t":${process.hrtime.bigint()},"pad":"`;
  return `{"channel":"${channel}","type":"load","payload":${head}${'x'.repeat(Math.max(80, bytes - head.length - 2))}"}}`;
}

export async function metric(server, name) {
  const ops = /ops=(\S+)/.exec(server.child.text)[1];
  const text = await (await fetch(`http://${ops}/metrics`)).text();
  const lines = text.split('\n').filter((line) => line.startsWith(`tickertape_${name} `) || line.startsWith(`tickertape_${name}{`));
  if (lines.length === 0) throw new Error(`no metric ${name}`);
  return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

/** CPU time of all threads so far, in ns. */
export function cpuOf(pid) {
  const tasks = readdirSync(`/proc/${pid}/task`);
  return tasks.reduce((sum, task) => sum + Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]), 0);
}

/** What a process has of its own in memory: no files, nothing shared. Bytes. */
export const memoryOf = (pid) => Number(/^RssAnon:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) * 1024;

/** Ticks (10 ms) that a core was busy so far, interrupts and all. */
export function busyOf(core) {
  const line = new RegExp(`^cpu${core} (.*)$`, 'm').exec(readFileSync('/proc/stat', 'utf8'))[1].split(' ').map(Number);
  const [user, nice, system, , , irq, softirq, steal] = line;
  return user + nice + system + irq + softirq + steal;
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

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
