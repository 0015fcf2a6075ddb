#!/usr/bin/env node
// From publishing to the client, with one client on an idle broker, compared with the bare loop. See README.md.
import { common, cores, keep, list, median, options, startBare, startBroker, table, ttload, words } from './lib.mjs';

const o = options({
  ...common,
  rounds: 7,
  seconds: 4, // measured in each run
  rate: 200, // events a second, one in each POST
  bytes: 128, // of a payload
  limit: 1.3, // of the p50 and the p99, else exit 1
});
const core = cores();
const backends = list(o.io);
const servers = { bare: () => startBare(core.measured) };
for (const io of backends) servers[io] = () => startBroker(core.measured, [`--io=${io}`, ...words(o.broker)]);
const contenders = Object.keys(servers);

const all = [];
for (let round = 0; round < o.rounds; round++) {
  const runs = {};
  for (let i = 0; i < contenders.length; i++) {
    const what = contenders[(round + i) % contenders.length];
    const server = await servers[what]();
    try {
      const report = await ttload(core.load, server, ['--clients=1', `--rate=${o.rate}`, '--publish=single',
        `--event-bytes=${o.bytes}`, `--duration=${o.seconds}s`, '--warmup=500ms']);
      runs[what] = { ...report.latency_ms, answer_p50: report.answer_ms.p50, foreign_cores: report.ttload.foreign_cores };
    } finally {
      await server.stop();
    }
  }
  all.push(runs);
}
const of = (what, figure) => median(all.map((runs) => runs[what][figure]));
const ratio = (what, figure) => median(all.map((runs) => runs[what][figure] / runs.bare[figure]));
const figures = ['p50', 'p99'];
table([
  ['', 'p50 us', 'p99 us', 'answered p50 us', 'p50 / bare', 'p99 / bare', 'others'],
  ...contenders.map((what) => [what, ...figures.map((f) => (of(what, f) * 1e3).toFixed(0)), (of(what, 'answer_p50') * 1e3).toFixed(0),
    ...figures.map((f) => ratio(what, f).toFixed(2)), of(what, 'foreign_cores').toFixed(2)]),
]);
const good = backends.every((io) => figures.every((f) => ratio(io, f) <= o.limit));
console.log(`wanted: at most ${o.limit} times the bare loop's p50 and p99`);
keep('latency', { options: o, ratios: Object.fromEntries(backends.map((io) => [io, figures.map((f) => ratio(io, f))])), rounds: all });
process.exit(good ? 0 : 1);
