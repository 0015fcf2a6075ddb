#!/usr/bin/env node
// What a delivery costs: the broker, on both back ends, against a bare loop of send(), with the same clients, the same
// schedule, the same bytes, and the same program that receives; then beside Nchan. See README.md.
import { busyOf, common, cores, cpuOf, keep, list, median, numbered, options, post, sleep, startBare, startBroker, startCrowd, table, ttload,
  words } from './lib.mjs';
import { hasNchan, startNchan } from './nchan.mjs';

const o = options({
  ...common,
  clients: '1000,9500', // numbers of clients to compare at
  rounds: 5, // runs of each at each
  seconds: 4, // measured in each run
  deliveries: 80000, // wanted in a second, so that the core is about half busy
  bytes: 128, // of a payload
  limit: 1.15, // of the ratio of CPU, else exit 1
  'latency-limit': 1.15, // of the ratio of mean latencies of a sweep, else exit 1
  rivals: 'nchan', // or none
});
const core = cores();

const servers = {
  bare: () => startBare(core.measured),
  nchan: () => startNchan(core.measured),
};
const backends = list(o.io);
for (const io of backends) servers[io] = () => startBroker(core.measured, [`--io=${io}`, ...words(o.broker)]);
const rateFor = (clients) => Math.max(1, Math.round(o.deliveries / clients));

/** All contenders in each round, in an order that rotates, so that a drift of the machine meets all of them. */
async function rounds(contenders, measure) {
  const all = [];
  for (let round = 0; round < o.rounds; round++) {
    const runs = {};
    for (let i = 0; i < contenders.length; i++) {
      const what = contenders[(round + i) % contenders.length];
      const server = await servers[what]();
      try {
        runs[what] = await measure(what, server);
      } finally {
        await server.stop();
      }
    }
    all.push(runs);
  }
  return all;
}

const ratioOf = (all, what, figure) => median(all.map((runs) => runs[what][figure] / runs.bare[figure]));
const us = (ns) => (ns / 1e3).toFixed(3);

/* ---- against the bare loop ---- */

async function measure(clients, server) {
  const report = await ttload(core.load, server, [
    `--clients=${clients}`, `--rate=${rateFor(clients)}`,
    `--event-bytes=${o.bytes}`, `--duration=${o.seconds}s`, '--warmup=1s']);
  return {
    clients,
    cores_ns: report.cores.busy_ns_per_delivery,
    process_ns: report.broker.cpu_ns_per_delivery,
    bytes: report.measured.bytes_per_delivery,
    deliveries_per_receive: report.measured.deliveries_per_receive,
    busy: 1 - report.cores.idle_ms / (report.seconds * 1000),
    foreign_cores: report.ttload.foreign_cores,
    mean_ms: report.latency_ms.mean,
    p50_ms: report.latency_ms.p50,
    p99_ms: report.latency_ms.p99,
    limited: report.limited_by_ttload,
  };
}

let good = true;
const results = [];
const rows = [['clients', 'run', 'us/delivery', 'us own', 'bytes', 'busy', 'mean ms', 'p50 ms', 'p99 ms', 'others']];
for (const clients of list(o.clients).map(Number)) {
  const all = await rounds(['bare', ...backends], (what, server) => measure(clients, server));
  for (const runs of all)
    for (const [what, run] of Object.entries(runs))
      rows.push([clients, what, us(run.cores_ns), us(run.process_ns), run.bytes.toFixed(1), `${(run.busy * 100).toFixed(0)} %`,
        run.mean_ms.toFixed(2), run.p50_ms.toFixed(2), run.p99_ms.toFixed(2), run.foreign_cores.toFixed(2)]);
  for (const io of backends) {
    results.push({ clients, io, ratio: ratioOf(all, io, 'cores_ns'), ratio_process: ratioOf(all, io, 'process_ns'),
      ratio_latency: ratioOf(all, io, 'mean_ms'), ratio_p99: ratioOf(all, io, 'p99_ms'), rounds: all,
      disturbed: all.filter((runs) => runs.bare.foreign_cores + runs[io].foreign_cores > 0.1).length,
      same: all.every((runs) => Math.abs(runs[io].bytes - runs.bare.bytes) < 2) });
  }
}
table(rows);
console.log('\nus/delivery: busy time of the core, all that ran there, softirq included; us own: of the\n' +
  "process's threads alone; others: cores kept busy by foreign processes\n");
table([
  ['clients', 'io', 'broker / bare loop: CPU', 'of the threads alone', 'mean latency', 'p99', 'disturbed'],
  ...results.map((r) => [r.clients, r.io, r.ratio.toFixed(3), r.ratio_process.toFixed(3), r.ratio_latency.toFixed(3),
    r.ratio_p99.toFixed(3), `${r.disturbed} of ${o.rounds}`]),
]);
for (const r of results) {
  /* Where others used the core, its busy time is not the broker's: the threads' own time decides. */
  if (!((r.disturbed ? r.ratio_process : r.ratio) <= o.limit) || !(r.ratio_latency <= o['latency-limit']) || !r.same) good = false;
  if (!r.same) console.log(`${r.clients} clients, ${r.io}: the two do not send the same bytes: this comparison says nothing`);
}
console.log(`wanted: CPU at most ${o.limit} times (of the threads alone where others used the core), mean latency at most ${o['latency-limit']} times\n`);

/* ---- beside a rival: one event in each POST, a receiver that asks for no form of ours ---- */

async function beside(clients, server) {
  const rate = rateFor(clients);
  const crowd = startCrowd(core.load, server, [`--clients=${clients}`, '--raw', '--path=/sse', '--query=channels=all']);
  await crowd.phase('open');
  const event = (n) => post(server, numbered('all', n, o.bytes) + '\n', { expect: [201, 202] });
  const begin = rate; /* a second to warm up */
  let cpu, busy, from;
  const every_ms = 1000 / rate;
  const started = performance.now();
  const end = begin + rate * o.seconds;
  for (let n = 0; n < end; n++) {
    if (n === begin) [cpu, busy, from] = [cpuOf(server.pid), busyOf(core.measured), performance.now()];
    await sleep(Math.max(0, started + n * every_ms - performance.now()));
    await event(n);
  }
  await sleep(every_ms);
  cpu = cpuOf(server.pid) - cpu;
  busy = busyOf(core.measured) - busy;
  const took = performance.now() - from;
  const said = await crowd.stop();
  if (said.events !== end * clients) throw new Error(`${said.events} of ${end * clients} deliveries came`);
  return { process_ns: cpu / (end - begin) / clients, cores_ns: (busy * 1e7) / (end - begin) / clients, busy: (busy * 10) / took,
    mean_ms: said.latency_mean_ms };
}

const rivals = [];
if (o.rivals === 'nchan' && !hasNchan()) console.log('Nchan is not installed: tools/setup bench');
if (o.rivals === 'nchan' && hasNchan()) {
  const contenders = ['bare', ...backends, 'nchan'];
  const found = [['clients', 'run', 'us/delivery', 'us own', 'mean ms', 'times the bare loop: own CPU', 'mean latency']];
  for (const clients of list(o.clients).map(Number)) {
    const all = await rounds(contenders, (what, server) => beside(clients, server));
    const of = (what, figure) => median(all.map((runs) => runs[what][figure]));
    for (const what of contenders) {
      found.push([clients, what, us(of(what, 'cores_ns')), us(of(what, 'process_ns')), of(what, 'mean_ms').toFixed(2),
        ratioOf(all, what, 'process_ns').toFixed(2), ratioOf(all, what, 'mean_ms').toFixed(2)]);
    }
    rivals.push({ clients, rounds: all });
  }
  table(found);
}
keep('fanout', { options: o, results, rivals });
process.exit(good ? 0 : 1);
