#!/usr/bin/env node
// How many events a second one connection can publish as NDJSON, with nobody listening and with one
// client that follows everything. See README.md.
import { cores, keep, options, startBroker, table, ttload } from './lib.mjs';

const o = options({
  seconds: 5, // measured in each run
  bytes: 128, // of a payload
  batch: 1000, // events in one POST
  limit: 100000, // events a second without clients, else exit 1
  broker: '', // more options of the broker, separated by spaces
});
const core = cores();
const rows = [['clients', 'events/s', 'MB/s', 'broker us/event', 'answer p50 ms', 'p99 ms', 'ttload busy']];
const results = [];

for (const clients of [0, 1]) {
  const server = await startBroker(core.measured, o.broker.split(' ').filter(Boolean));
  try {
    const report = await ttload(core.load, server, [
      `--clients=${clients}`, '--rate=0', `--publish-batch=${o.batch}`, `--event-bytes=${o.bytes}`,
      `--duration=${o.seconds}s`, '--warmup=1s', '--drain=60s']);
    const rate = report.measured.published_per_s;
    results.push({ clients, events_per_s: rate, report });
    rows.push([clients, rate.toFixed(0), ((rate * o.bytes) / 1e6).toFixed(1),
      (report.broker.cpu_ns / 1e3 / report.measured.published).toFixed(3),
      report.answer_ms.p50.toFixed(2), report.answer_ms.p99.toFixed(2),
      `${(report.ttload.busiest_thread * 100).toFixed(0)} %`]);
  } finally {
    await server.stop();
  }
}
table(rows);
const good = results[0].events_per_s >= o.limit;
console.log(`one connection publishes ${results[0].events_per_s.toFixed(0)} events/s; wanted: at least ${o.limit}`);
keep('ndjson', { options: o, results });
process.exit(good ? 0 : 1);
