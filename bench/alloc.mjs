#!/usr/bin/env node
// That a delivery allocates nothing: counts every call of malloc and its kin in the broker while it
// delivers. See README.md.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build, cores, keep, options, root, startBroker, table, ttload } from './lib.mjs';

const o = options({
  clients: 1000,
  rate: 50, // events a second
  seconds: 4, // measured
  limit: 0.001, // allocations for each delivery, else exit 1
  broker: '', // more options of the broker, separated by spaces
});
const core = cores();
const shim = join(build, 'alloc_shim.so');
const counters = join(build, 'alloc_counters');

execFileSync(process.env.CC ?? 'gcc', [
  '-std=gnu17', '-D_GNU_SOURCE', '-O2', '-Wall', '-Wextra', '-Werror', '-shared', '-fPIC', '-o', shim,
  join(root, 'bench/alloc_shim/shim.c')]);
writeFileSync(counters, Buffer.alloc(64));
const server = await startBroker(core.measured, o.broker.split(' ').filter(Boolean), {
  LD_PRELOAD: shim,
  TT_ALLOC_COUNTERS: counters,
});
let report;
try {
  report = await ttload(core.load, server, [
    `--clients=${o.clients}`, `--rate=${o.rate}`, `--duration=${o.seconds}s`, `--counters=${counters}`]);
} finally {
  await server.stop();
}
const [allocations, frees, bytes] = report.counters;
const { delivered, published } = report.measured;
table([
  ['deliveries', 'events', 'allocations', 'frees', 'bytes', 'for each delivery', 'for each event'],
  [delivered, published, allocations, frees, bytes, (allocations / delivered).toFixed(6),
    (allocations / published).toFixed(3)],
]);
const good = delivered > 0 && allocations / delivered <= o.limit;
console.log(`${allocations} allocations for ${delivered} deliveries; wanted: at most ${o.limit} for each`);
keep('alloc', { options: o, allocations, frees, bytes, delivered, published });
process.exit(good ? 0 : 1);
