#!/usr/bin/env node
// What do live clients notice when 500 others replay the log at once, again and again? Their latency with and
// without the crowd, and the longest turn of the shard's loop, also with nothing in the page cache. See README.md.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { build, cores, keep, median, metric, options, post, startBroker, table, ttload } from './lib.mjs';

const o = options({
  crowd: 500, // clients that replay
  megabytes: 64, // of the log that each of them replays
  clients: 200, // live ones
  rate: 500, // live events a second
  seconds: 4, // of each run
  rounds: 3,
  limit: 1.5, // times the p99 without the crowd, else exit 1
});
const core = cores();
const end = 'this-is-the-last-event';

async function fill(server) {
  const pad = 'x'.repeat(1022);
  const line = (i) => `{"channel":"replay.${i % 1000}","type":"quote","payload":"${pad}"}\n`;
  const thousand = Array.from({ length: 1000 }, (_, i) => line(i)).join('');
  for (let i = 0; i < o.megabytes * 1000; i += 1000) await post(server, thousand);
  await post(server, `{"channel":"replay.0","type":"quote","payload":"${end}"}\n`);
}

/** The crowd, for `seconds`; it gets what the load generator leaves of its core. */
function gather(server, seconds) {
  const child = spawn('nice', ['-n', '19', join(build, 'bench_replay'), `--crowd=${o.crowd}`, `--seconds=${seconds}`,
    `--url=${server.url.slice(7)}`, '--path=/sse?channels=replay.*&from=earliest', `--until=${end}`, `--reader-cpu=${core.load}`], { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.on('data', (data) => (text += data));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => (code === 0 ? resolve(JSON.parse(text)) : reject(new Error(`the crowd ended with ${code}`))));
  });
}

const live = (server) => ttload(core.load, server, [`--clients=${o.clients}`, `--rate=${o.rate}`, '--event-bytes=200', `--duration=${o.seconds}s`, '--warmup=1s', '--drain=30s']);

const server = await startBroker(core.measured, ['--tail-bytes=4MiB', '--log-segment-bytes=16MiB', '--catchup-bytes=128MiB']);
const alone = [];
const crowded = [];
let replayed;
try {
  await fill(server);
  for (let i = 0; i < o.rounds; i++) {
    alone.push((await live(server)).latency_ms);
    const gathered = gather(server, o.seconds + 3);
    crowded.push((await live(server)).latency_ms);
    replayed = await gathered;
  }
  const turn = await metric(server, 'shard_turn_seconds_max{shard="0"}');
  const of = (runs, what) => median(runs.map((run) => run[what]));
  table([
    ['', 'p50 ms', 'p99 ms', 'max ms'],
    ['alone', of(alone, 'p50').toFixed(2), of(alone, 'p99').toFixed(2), of(alone, 'max').toFixed(2)],
    ['with the crowd', of(crowded, 'p50').toFixed(2), of(crowded, 'p99').toFixed(2), of(crowded, 'max').toFixed(2)],
  ]);
  const ratio = median(crowded.map((run, i) => run.p99 / alone[i].p99));
  console.log(`the crowd of ${o.crowd} got ${(replayed.bytes / 1e6 / (o.seconds + 3)).toFixed(0)} MB/s; the longest turn took ${(turn * 1e3).toFixed(1)} ms`);
  console.log(`live p99 is ${ratio.toFixed(2)} times that without the crowd; wanted: at most ${o.limit}`);
  keep('replay_crowd', { options: o, alone, crowded, replayed, turn_max_ms: turn * 1e3, ratio });
  process.exitCode = ratio <= o.limit ? 0 : 1;
} finally {
  await server.stop();
}
