#!/usr/bin/env node
// That a delivery allocates nothing: counts every call of malloc and its kin in the broker while it
// delivers. See README.md.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build, cores, keep, options, root, startBroker, table, ttload } from './lib.mjs';

const o = options({
  clients: 1000,
  few: 10, // clients of the run that it is compared with
  rate: 50, // events a second
  seconds: 4, // measured
  limit: 0.0005, // allocations for each delivery, else exit 1
  broker: '', // more options of the broker, separated by spaces
});
const core = cores();
const shim = join(build, 'alloc_shim.so');
const counters = join(build, 'alloc_counters');

execFileSync(process.env.CC ?? 'gcc', [
  '-std=gnu17', '-D_GNU_SOURCE', '-O2', '-Wall', '-Wextra', '-Werror', '-shared', '-fPIC', '-o', shim,
  join(root, 'bench/alloc_shim/shim.c')]);

async function count(clients) {
  writeFileSync(counters, Buffer.alloc(64));
  const server = await startBroker(core.measured, o.broker.split(' ').filter(Boolean), {
    LD_PRELOAD: shim,
    TT_ALLOC_COUNTERS: counters,
  });
  try {
    const report = await ttload(core.load, server, [
      `--clients=${clients}`, `--rate=${o.rate}`, `--duration=${o.seconds}s`,
      /* One event in each request, so that requests and events are the same number. */
      '--publish=single', `--counters=${counters}`]);
    const [allocations, frees, bytes] = report.counters;
    const { delivered, published } = report.measured;
    return { clients, delivered, published, allocations, frees, bytes };
  } finally {
    await server.stop();
  }
}

/* Publishing may allocate for a request; what a delivery costs is what more clients add to that. */
const few = await count(o.few);
const many = await count(o.clients);
const rows = [['clients', 'deliveries', 'events', 'allocations', 'frees', 'bytes', 'for each event']];
for (const r of [few, many]) {
  rows.push([r.clients, r.delivered, r.published, r.allocations, r.frees, r.bytes,
    (r.allocations / r.published).toFixed(2)]);
}
table(rows);
const added = many.allocations / many.published - few.allocations / few.published;
const each = added / (many.clients - few.clients);
const good = many.delivered > 0 && many.published > 0 && few.published > 0 && each <= o.limit;
console.log(`${each.toFixed(6)} allocations for each delivery; wanted: at most ${o.limit}`);
keep('alloc', { options: o, each, runs: [few, many] });
process.exit(good ? 0 : 1);
