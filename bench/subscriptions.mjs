#!/usr/bin/env node
// What do 1,000,000 subscriptions cost (9,500 clients, 105 channels each), in memory and in matching, and what does one
// hot channel notice of 100,000 quiet ones? See README.md.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { build, common, cores, cpuOf, keep, list, median, memoryOf, metric, numbered, options, post, startBroker, startCrowd, table, words } from './lib.mjs';

const o = options({
  ...common,
  clients: 9500,
  each: 105, // channels of a client
  channels: 10000, // that there are
  quiet: 100000, // channels beside a hot one
  rounds: 5, // of the table alone
  bytes: 128, // of a payload
  events: 200, // on followed channels, and on the hot one
  strangers: 100000, // events on channels that nobody follows
  limit: 8, // bytes for a subscription at its client, beside what the channel itself costs
});
const core = cores();

/* ---- the table alone ---- */

const alone = Array.from({ length: o.rounds }, () => JSON.parse(execFileSync('taskset', ['-c', String(core.measured), join(build, 'bench_subscriptions'),
  `--clients=${o.clients}`, `--each=${o.each}`, `--channels=${o.channels}`, `--quiet=${o.quiet}`], { encoding: 'utf8' })));
const of = (figure) => median(alone.map((run) => run[figure]));
const perSubscription = of('heap_bytes') / of('subscriptions');
table([
  ['the table alone', 'subscriptions', 'bytes each', 'by malloc', 'follow ns', 'leave ns', 'match ns', 'nobody follows: ns'],
  ['', of('subscriptions'), (of('bytes') / of('subscriptions')).toFixed(1), perSubscription.toFixed(1), of('follow_ns').toFixed(0), of('leave_ns').toFixed(0),
    of('match_ns').toFixed(0), of('match_nobody_ns').toFixed(0)],
]);
console.log();
table([
  [`${o.quiet} channels, a client each`, 'bytes each', 'by malloc', 'leave ns', 'match ns', 'nobody follows: ns'],
  ['', of('quiet_bytes').toFixed(1), of('quiet_heap_bytes').toFixed(1), of('quiet_leave_ns').toFixed(0), of('hot_match_ns').toFixed(0),
    of('beside_quiet_nobody_ns').toFixed(0)],
]);

/* ---- in a broker ---- */

/** CPU of the broker for each of `count` events, published a thousand at a time. */
async function cpuOfEvents(server, count, channel, at = 1000) {
  const before = cpuOf(server.pid);
  for (let n = 0; n < count; n += at)
    await post(server, Array.from({ length: at }, (_, i) => numbered(channel(n + i), n + i, o.bytes)).join('\n') + '\n');
  return (cpuOf(server.pid) - before) / count;
}

async function measure(io, each) {
  const server = await startBroker(core.measured, [`--io=${io}`, `--max-channels-per-client=1000`, ...words(o.broker)]);
  try {
    const empty = memoryOf(server.pid);
    const stranger_before = await cpuOfEvents(server, o.strangers, (n) => `other.${n % 1000}`);
    const crowd = startCrowd(core.load, server, [`--clients=${o.clients}`, `--each=${each}`, `--of=${o.channels}`, '--prefix=stock.', '--numbered=0']);
    const open = await crowd.phase('open');
    const memory = memoryOf(server.pid) - empty;
    const stranger = await cpuOfEvents(server, o.strangers, (n) => `other.${n % 1000}`);
    const before = await metric(server, 'deliveries_total');
    const followed = await cpuOfEvents(server, o.events, (n) => `stock.${(n * 37) % o.channels}`, 1);
    const said = await crowd.stop();
    const deliveries = (await metric(server, 'deliveries_total')) - before;
    const expected = (o.clients * each * o.events) / o.channels;
    return { io, each, memory, open_ms: open.ms, stranger_before, stranger, followed, deliveries, expected, counted: said.events };
  } finally {
    await server.stop();
  }
}

const results = [];
for (const io of list(o.io)) for (const each of [1, o.each]) results.push(await measure(io, each));
console.log();
table([
  ['broker', 'channels each', 'memory MiB', 'all have come ms', 'CPU of an event nobody follows us', 'without clients us', 'deliveries', 'expected'],
  ...results.map((r) => [r.io, r.each, (r.memory / 1048576).toFixed(1), r.open_ms, (r.stranger / 1e3).toFixed(2), (r.stranger_before / 1e3).toFixed(2), r.counted,
    r.expected.toFixed(0)]),
]);
const slopes = {};
for (const io of list(o.io)) {
  const [one, many] = results.filter((r) => r.io === io);
  slopes[io] = (many.memory - one.memory) / (o.clients * (o.each - 1));
  console.log(`${io}: ${slopes[io].toFixed(1)} bytes of the process for a subscription: what a client keeps (${o.limit}), its place in the list of the channel, and its share of the channels`);
}
keep('subscriptions', { options: o, alone, results, slopes });
/* A place in a list is 4 bytes, and grows by a quarter. */
process.exit(of('bytes') / of('subscriptions') <= o.limit + 4 * 1.25 + (o.channels * 80) / of('subscriptions') ? 0 : 1);
