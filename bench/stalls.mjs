#!/usr/bin/env node
// What do the others notice when a tenth of the clients stops reading for ten seconds under load, and what does it cost
// in memory? Each policy against a run in which nobody stops. See README.md.
import { common, cores, keep, list, median, memoryOf, metric, options, startBroker, table, ttload, words } from './lib.mjs';

const o = options({
  ...common,
  clients: 1000,
  channels: 400,
  each: 4, // channels of each client
  rate: 20000, // events a second
  bytes: 200, // of a payload
  share: 10, // per cent of the clients that stop
  stop: 10, // seconds
  seconds: 12, // measured in each run
  rounds: 3,
  policies: 'replay,conflate,disconnect',
  limit: 1.5, // times the p99 of the run without stalls, else exit 1
  'memory-limit': 1.1, // times memory_bound_bytes, else exit 1
});
const core = cores();
/* What is not tried here is bounded tightly, so that the bound says something. */
const tight = ['--channels-max=2000', '--idempotency-keys-max=1000', '--tail-bytes=4MiB', '--log-segment-bytes=16MiB', '--log-retention-bytes=4GiB',
  '--frame-bytes=8MiB', '--catchup-bytes=32MiB', '--publish-bytes=8MiB', '--connection-bytes=4MiB', '--subscription-bytes=8MiB', `--max-clients=${o.clients + 10}`];

async function run(io, policy) {
  const server = await startBroker(core.measured, [`--io=${io}`, ...tight, ...words(o.broker)]);
  let memory = 0;
  const look = setInterval(() => (memory = Math.max(memory, memoryOf(server.pid))), 50);
  try {
    const stalls = policy === null ? [] : [`--policy=${policy}`, `--slow-share=${o.share}`, '--slow=stop', `--slow-stop=${o.stop}s`, '--slow-buffer-bytes=16KiB', '--apart'];
    const report = await ttload(core.load, server, [`--clients=${o.clients}`, `--channels=${o.channels}`, `--channels-per-client=${o.each}`,
      `--rate=${o.rate}`, `--event-bytes=${o.bytes}`, `--duration=${o.seconds}s`, '--warmup=1s', '--drain=60s', ...stalls]);
    const bound = await metric(server, 'memory_bound_bytes');
    return { latency_ms: report.latency_ms, disturbed: report.disturbed, published: report.measured.published_per_s, limits: report.limited_by_ttload,
      replays: await metric(server, 'replays_total'), conflated: await metric(server, 'conflated_total'), memory, bound };
  } finally {
    clearInterval(look);
    await server.stop();
  }
}

let good = true;
const results = [];
const rows = [['io', 'policy', 'p50 ms', 'p99 ms', 'p99 alone', 'ratio', 'events/s', 'replays', 'conflated', 'closed', 'MB', 'of the bound']];
for (const io of list(o.io)) {
  const contenders = [null, ...list(o.policies)];
  const rounds = [];
  for (let round = 0; round < o.rounds; round++) {
    const runs = {};
    for (let i = 0; i < contenders.length; i++) {
      const policy = contenders[(round + i) % contenders.length];
      runs[policy ?? 'alone'] = await run(io, policy);
    }
    rounds.push(runs);
  }
  for (const policy of list(o.policies)) {
    const of = (figure) => median(rounds.map((runs) => figure(runs[policy])));
    const ratio = median(rounds.map((runs) => runs[policy].latency_ms.p99 / runs.alone.latency_ms.p99));
    const memory = Math.max(...rounds.map((runs) => runs[policy].memory / runs[policy].bound));
    rows.push([io, policy, of((r) => r.latency_ms.p50).toFixed(2), of((r) => r.latency_ms.p99).toFixed(2), median(rounds.map((runs) => runs.alone.latency_ms.p99)).toFixed(2),
      ratio.toFixed(2), of((r) => r.published).toFixed(0), of((r) => r.replays), of((r) => r.conflated), of((r) => r.disturbed.closed), (of((r) => r.memory) / 1e6).toFixed(1), memory.toFixed(2)]);
    results.push({ io, policy, ratio, memory });
    if (!(ratio <= o.limit) || !(memory <= o['memory-limit'])) good = false;
  }
  results.push({ io, rounds });
  const limits = new Set(rounds.flatMap((runs) => Object.values(runs).flatMap((r) => r.limits)));
  for (const limit of limits) console.log(`${io}: ttload: ${limit}`);
}
table(rows);
console.log(`wanted: p99 of those that read at most ${o.limit} times that of a run without stalls, memory at most ${o['memory-limit']} times its bound`);
keep('stalls', { options: o, results });
process.exit(good ? 0 : 1);
