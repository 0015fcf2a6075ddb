#!/usr/bin/env node
// How fast one client replays the log, from the tail's memory and from segments in the page cache, compared
// with a bare loop of 64 KiB sends of the same number of bytes. See README.md.
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { build, cores, first, keep, median, options, post, startBroker, table } from './lib.mjs';

const o = options({
  megabytes: 240, // of payloads in the log
  tail: 64, // MiB of memory of it, for the first row
  payload: 1024, // bytes
  rounds: 5,
  limit: 0.7, // of the bare loop, else exit 1
});
const core = cores();
const end = 'this-is-the-last-event';

async function fill(server, events) {
  const pad = 'x'.repeat(o.payload - 2);
  const line = (i) => `{"channel":"stock.${i % 1000}","type":"quote","payload":"${pad}"}\n`;
  const thousand = Array.from({ length: 1000 }, (_, i) => line(i)).join('');
  for (let i = 0; i < events; i += 1000) await post(server, thousand);
  await post(server, `{"channel":"stock.0","type":"quote","payload":"${end}"}\n`);
}

/** Megabytes a second of one run of the C program. */
function run(args) {
  const { status, stdout, stderr } = spawnSync(first[0], [...first.slice(1), join(build, 'bench_replay'), `--reader-cpu=${core.load}`, ...args], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`bench_replay: ${stderr}`);
  const { bytes, ns, sender_cpu_ns } = JSON.parse(stdout);
  return { bytes, rate: (bytes * 1e3) / ns, cpu_ns: sender_cpu_ns };
}

/** CPU time of all threads of the broker so far. */
function cpuOf(pid) {
  const tasks = readdirSync(`/proc/${pid}/task`);
  return tasks.reduce((sum, task) => sum + Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]), 0);
}

async function compare(name, megabytes, broker) {
  const server = await startBroker(core.measured, broker);
  try {
    const events = Math.round((megabytes * 1e6) / o.payload);
    await fill(server, events);
    const args = [`--url=${server.url.slice(7)}`, '--path=/sse?channels=*&from=earliest', `--until=${end}`];
    const { bytes } = run(args); /* warms up, and says how many bytes it is */
    const bare = [];
    const replay = [];
    for (let i = 0; i < o.rounds; i++) {
      bare.push(run(['--bare', `--bytes=${bytes}`, `--sender-cpu=${core.measured}`]));
      const before = cpuOf(server.pid);
      replay.push(run(args));
      replay[i].cpu_ns = cpuOf(server.pid) - before;
    }
    const of = (runs, what) => median(runs.map((run) => run[what]));
    const ratio = (what) => median(replay.map((run, i) => run[what] / bare[i][what]));
    return {
      name, events, bytes, bare_mb_s: of(bare, 'rate'), replay_mb_s: of(replay, 'rate'), ratio: ratio('rate'),
      bare_cpu_us: of(bare, 'cpu_ns') / events / 1e3, replay_cpu_us: of(replay, 'cpu_ns') / events / 1e3,
      cpu_ratio: 1 / ratio('cpu_ns'), bare, replay,
    };
  } finally {
    await server.stop();
  }
}

const results = [
  await compare('tail memory', o.tail * 0.7, [`--tail-bytes=${o.tail}MiB`]),
  await compare('page cache', o.megabytes, ['--tail-bytes=2MiB', '--log-segment-bytes=64MiB']),
];
const rows = [['from', 'MB', 'bare MB/s', 'replay MB/s', 'events/s', 'ratio', 'bare us/event', 'replay us/event', 'by CPU time']];
for (const r of results) {
  const events_s = (r.replay_mb_s * 1e6 * r.events) / r.bytes;
  rows.push([r.name, (r.bytes / 1e6).toFixed(0), r.bare_mb_s.toFixed(0), r.replay_mb_s.toFixed(0), events_s.toFixed(0), r.ratio.toFixed(2),
    r.bare_cpu_us.toFixed(2), r.replay_cpu_us.toFixed(2), r.cpu_ratio.toFixed(2)]);
}
table(rows);
const worst = Math.min(...results.map((r) => r.ratio));
console.log(`replay reaches ${worst.toFixed(2)} of the bare loop; wanted: at least ${o.limit}`);
keep('replay', { options: o, results });
process.exit(worst >= o.limit ? 0 : 1);
