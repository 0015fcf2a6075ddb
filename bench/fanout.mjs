#!/usr/bin/env node
// What a delivery costs: the broker against a bare loop of send(), with the same clients, the same
// schedule, the same bytes, and the same program that receives. See README.md.
import { cores, keep, median, options, startBare, startBroker, table, ttload } from './lib.mjs';

const o = options({
  clients: '1000,9500', // numbers of clients to compare at
  rounds: 5, // pairs of runs at each
  seconds: 4, // measured in each run
  deliveries: 80000, // wanted in a second, so that the core is about half busy
  bytes: 128, // of a payload
  limit: 1.25, // of the ratio, else exit 1
  broker: '', // more options of the broker, separated by spaces
});
const core = cores();

const servers = {
  bare: () => startBare(core.measured),
  broker: () => startBroker(core.measured, o.broker.split(' ').filter(Boolean)),
};

async function measure(what, clients) {
  const server = await servers[what]();
  try {
    const report = await ttload(core.load, server, [
      `--clients=${clients}`, `--rate=${Math.max(1, Math.round(o.deliveries / clients))}`,
      `--event-bytes=${o.bytes}`, `--duration=${o.seconds}s`, '--warmup=1s']);
    return {
      what,
      clients,
      cores_ns: report.cores.busy_ns_per_delivery,
      process_ns: report.broker.cpu_ns_per_delivery,
      bytes: report.measured.bytes_per_delivery,
      deliveries_per_receive: report.measured.deliveries_per_receive,
      busy: 1 - report.cores.idle_ms / (report.seconds * 1000),
      foreign_cores: report.ttload.foreign_cores,
      p50_ms: report.latency_ms.p50,
      p99_ms: report.latency_ms.p99,
      rss_bytes_per_client: report.broker.rss_bytes_per_client,
      limited: report.limited_by_ttload,
    };
  } finally {
    await server.stop();
  }
}

const rows = [['clients', 'run', 'us/delivery', 'us own', 'bytes', 'busy', 'p50 ms', 'p99 ms', 'others']];
function note(run) {
  rows.push([run.clients, run.what, (run.cores_ns / 1e3).toFixed(3), (run.process_ns / 1e3).toFixed(3),
    run.bytes.toFixed(1), `${(run.busy * 100).toFixed(0)} %`, run.p50_ms.toFixed(2),
    run.p99_ms.toFixed(2), run.foreign_cores.toFixed(2)]);
}

const results = [];
for (const clients of o.clients.split(',').map(Number)) {
  const pairs = [];
  for (let round = 0; round < o.rounds; round++) {
    /* Each pair begins with the other of the two, so that a drift of the machine hits both. */
    const order = round % 2 ? ['broker', 'bare'] : ['bare', 'broker'];
    const pair = {};
    for (const what of order) {
      pair[what] = await measure(what, clients);
      note(pair[what]);
    }
    pairs.push(pair);
  }
  const ratios = (figure) => pairs.map((p) => p.broker[figure] / p.bare[figure]);
  const disturbed = pairs.filter((p) => p.bare.foreign_cores + p.broker.foreign_cores > 0.1).length;
  results.push({ clients, ratio: median(ratios('cores_ns')), ratios: ratios('cores_ns'),
    ratio_process: median(ratios('process_ns')), disturbed, pairs });
}

table(rows);
console.log('\nus/delivery: busy time of the core, all that ran there, softirq included; us own: of the\n' +
  "process's threads alone; others: cores kept busy by foreign processes\n");
let good = true;
for (const r of results) {
  const same = r.pairs.every((p) => Math.abs(p.broker.bytes - p.bare.bytes) < 2);
  /* Where others used the core, its busy time is not the broker's: the threads' own time decides. */
  const ratio = r.disturbed ? r.ratio_process : r.ratio;
  if (!(ratio <= o.limit) || !same) good = false;
  console.log(`${r.clients} clients: broker / bare loop = ${r.ratio.toFixed(3)} ` +
    `(${r.ratios.map((x) => x.toFixed(3)).join(' ')}); of the threads alone ${r.ratio_process.toFixed(3)}; ` +
    `wanted: at most ${o.limit}`);
  if (!same) console.log('  the two do not send the same bytes: this comparison says nothing');
  if (r.disturbed) console.log(`  ${r.disturbed} of ${o.rounds} pairs were disturbed by other processes: the threads decide`);
}
keep('fanout', { options: o, results });
process.exit(good ? 0 : 1);
