#!/usr/bin/env node
// 1,000 clients x 500 events/s: are all delivered, how late, and for how much CPU each? Then the highest rate at which
// the p99 still holds. See README.md.
import { common, cores, keep, list, median, options, startBare, startBroker, table, ttload, words } from './lib.mjs';

const o = options({
  ...common,
  clients: 1000,
  rate: 500, // events a second, to each client
  bytes: 100, // of a payload
  seconds: 5,
  rounds: 3, // of the wanted rate
  step: 1.25, // from one rate to the next, in the search for the highest
  'max-rate': 20000,
  'p99-ms': 50, // else exit 1
  limit: 1, // times the bare loop's CPU for a delivery, else exit 1
  'bare-rate': 80, // of the bare loop, so that its core is half busy and each delivery is a send
});
const core = cores();
const backends = list(o.io);
const servers = { bare: () => startBare(core.measured) };
for (const io of backends) servers[io] = () => startBroker(core.measured, [`--io=${io}`, ...words(o.broker)]);

async function measure(what, rate) {
  const server = await servers[what]();
  try {
    const report = await ttload(core.load, server, [`--clients=${o.clients}`, `--rate=${rate}`, `--event-bytes=${o.bytes}`,
      `--duration=${o.seconds}s`, '--warmup=1s', '--drain=60s']);
    return { what, rate, p50: report.latency_ms.p50, p99: report.latency_ms.p99, cores_ns: report.cores.busy_ns_per_delivery,
      process_ns: report.broker.cpu_ns_per_delivery, each_receive: report.measured.deliveries_per_receive,
      delivered: report.measured.delivered_per_s, lost: report.total.lost, foreign_cores: report.ttload.foreign_cores,
      limited: report.limited_by_ttload };
  } finally {
    await server.stop();
  }
}

const runs = [];
for (let round = 0; round < o.rounds; round++) {
  runs.push(await measure('bare', o['bare-rate']));
  for (const what of ['bare', ...backends]) runs.push(await measure(what, o.rate));
}
const of = (what, rate, figure) => median(runs.filter((r) => r.what === what && r.rate === rate).map((r) => r[figure]));
const row = (what, rate) => [what, rate, Math.round(of(what, rate, 'delivered')), of(what, rate, 'p50').toFixed(2), of(what, rate, 'p99').toFixed(2),
  (of(what, rate, 'cores_ns') / 1e3).toFixed(2), (of(what, rate, 'process_ns') / 1e3).toFixed(2), of(what, rate, 'each_receive').toFixed(1),
  of(what, rate, 'foreign_cores').toFixed(2)];
table([
  ['', 'events/s', 'deliveries/s', 'p50 ms', 'p99 ms', 'us/delivery', 'us own', 'deliveries/receive', 'others'],
  row('bare', o['bare-rate']), row('bare', o.rate), ...backends.map((io) => row(io, o.rate)),
]);

/* ---- the highest rate ---- */

const highest = {};
for (const io of backends) {
  const tried = [];
  for (let rate = o.rate; rate <= o['max-rate']; rate = Math.round(rate * o.step)) {
    const run = await measure(io, rate).catch((error) => ({ rate, error: String(error) }));
    tried.push(run);
    const held = run.p99 < o['p99-ms'];
    console.log(`${io} at ${rate}/s: ${run.error ?? `p99 ${run.p99.toFixed(1)} ms, ${(run.process_ns / 1e3).toFixed(2)} us own for each delivery` +
      `${run.limited.length ? ` (${run.limited.join('; ')})` : ''}`}`);
    if (!held) break;
    highest[io] = { rate, p99: run.p99, limited: run.limited };
  }
  runs.push(...tried);
}
for (const io of backends) {
  const h = highest[io];
  console.log(`${io}: p99 below ${o['p99-ms']} ms up to ${h ? `${h.rate} events/s, ${(h.rate * o.clients / 1e6).toFixed(2)} million deliveries/s` : 'no rate that was tried'}`);
}
const ratios = Object.fromEntries(backends.map((io) => [io, of(io, o.rate, 'process_ns') / of('bare', o['bare-rate'], 'process_ns')]));
for (const io of backends) console.log(`${io}: own CPU for a delivery ${ratios[io].toFixed(2)} times the bare loop's; wanted: at most ${o.limit}`);
keep('rate', { options: o, ratios, highest, runs });
process.exit(backends.every((io) => of(io, o.rate, 'p99') < o['p99-ms'] && ratios[io] <= o.limit) ? 0 : 1);
