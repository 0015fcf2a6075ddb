#!/usr/bin/env node
// What do live clients notice when 9,500 others come back at once, each with a cursor that is 1,000 events old? And
// how are 9,500 clients sent away? Every event of each of them is counted. See README.md.
import { common, cores, keep, list, median, metric, numbered, options, post, startBroker, startCrowd, table, ttload, words } from './lib.mjs';

const o = options({
  ...common,
  crowd: 9500, // clients that come back
  missed: 1000, // events that each of them has missed
  bytes: 128, // of a payload
  clients: 200, // live ones, the control group
  rate: 200, // live events a second, for each of them
  seconds: 30, // of each run; the crowd comes when it has begun
  rounds: 3,
  limit: 2, // times the p99 without the crowd, else exit 1
  'drain-ms': 30000,
});
const core = cores();

const live = (server) => ttload(core.load, server, [
  `--clients=${o.clients}`, `--rate=${o.rate}`, `--duration=${o.seconds}s`, '--warmup=1s', '--drain=30s']);

/** Publishes `count` events from number `n` on. Answers the id of the last. */
async function publish(server, n, count) {
  const lines = Array.from({ length: count }, (_, i) => numbered('crowd.0', n + i, o.bytes));
  return JSON.parse(await post(server, lines.join('\n') + '\n')).last;
}

/** The crowd comes, and gets what it has missed and one event more. */
async function gather(server, from) {
  const cursor = await publish(server, from, 1);
  await publish(server, from + 1, o.missed);
  const crowd = startCrowd(core.load, server, [
    `--clients=${o.crowd}`, `--query=channels=crowd.*&cursor=${cursor}`, `--first=${from + 1}`, `--until=${from + 1 + o.missed}`,
  ], { quietly: true });
  const open = await crowd.phase('open');
  await publish(server, from + 1 + o.missed, 1); /* live for those that have come so far */
  const reached = await crowd.phase('reached');
  return { crowd, open_ms: open.ms, live_ms: reached.ms, next: from + 2 + o.missed };
}

async function measure(io) {
  const args = [`--io=${io}`, `--drain-ms=${o['drain-ms']}`, '--drain-delay-ms=0', ...words(o.broker)];
  const server = await startBroker(core.measured, args);
  const alone = [];
  const crowded = [];
  const runs = [];
  let from = 0;
  try {
    for (let round = 0; round < o.rounds; round++) {
      alone.push((await live(server)).latency_ms);
      const [latency, run] = await Promise.all([
        live(server).then((report) => report.latency_ms), gather(server, from)]);
      crowded.push(latency);
      from = run.next;
      const counted = await run.crowd.stop();
      if (counted.events !== o.crowd * (o.missed + 1)) throw new Error(`${counted.events} events came`);
      runs.push({ open_ms: run.open_ms, live_ms: run.live_ms, events: counted.events });
    }
    const turn_ms = (await metric(server, 'shard_turn_seconds_max')) * 1e3;
    /* Once more, for the end. */
    const { crowd } = await gather(server, from);
    const began = process.hrtime.bigint();
    server.child.kill('SIGTERM');
    const gone = await crowd.end();
    await server.child.ended;
    const drain_ms = Number(process.hrtime.bigint() - began) / 1e6;
    const drained = { ms: drain_ms, told: gone.shutdowns, ended: gone.ended, over_ms: gone.ends_ms,
      reconnect_ms: [gone.reconnect_min_ms, gone.reconnect_mean_ms, gone.reconnect_max_ms] };
    return { io, alone, crowded, runs, turn_ms, drained, ratio: median(crowded.map((run, i) => run.p99 / alone[i].p99)) };
  } finally {
    await server.stop();
  }
}

const results = [];
for (const io of list(o.io)) results.push(await measure(io));
const of = (runs, what) => median(runs.map((run) => run[what])).toFixed(2);
table([
  ['io', 'live p50 ms', 'p99 ms', 'max ms', 'with the crowd: p50 ms', 'p99 ms', 'max ms', 'ratio of p99', 'all have come ms', 'all are live ms'],
  ...results.map((r) => [r.io, of(r.alone, 'p50'), of(r.alone, 'p99'), of(r.alone, 'max'), of(r.crowded, 'p50'), of(r.crowded, 'p99'),
    of(r.crowded, 'max'), r.ratio.toFixed(2), of(r.runs, 'open_ms'), of(r.runs, 'live_ms')]),
]);
console.log();
table([
  ['drain', 'clients told', 'ended', 'first to last ms', 'process ms', 'reconnect ms: min', 'mean', 'max'],
  ...results.map((r) => [r.io, r.drained.told, r.drained.ended, r.drained.over_ms, r.drained.ms.toFixed(0), ...r.drained.reconnect_ms]),
]);
const good = results.every((r) => r.ratio <= o.limit && r.drained.told === o.crowd && r.drained.ms <= o['drain-ms']);
console.log(`wanted: the p99 at most ${o.limit} times, every event counted once, all ${o.crowd} told when to come back within ${o['drain-ms']} ms`);
keep('crowd_reconnect', { options: o, results });
process.exitCode = good ? 0 : 1;
