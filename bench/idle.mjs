#!/usr/bin/env node
// What does a client cost that gets nothing: memory of the process, as the slope between two numbers of clients, and CPU,
// heartbeats included. See README.md.
import { common, cores, cpuOf, keep, list, memoryOf, metric, numbered, options, post, sleep, startBare, startBroker, startCrowd, table, words } from './lib.mjs';

const o = options({
  ...common,
  clients: 9500, // then as many again
  seconds: 50, // of idling: two heartbeats of each
  limit: 600, // bytes for a client, else exit 1
  'cpu-limit': 0.2, // us a second for a client, or
  'cpu-ratio': 1.2, // times the bare loop's, else exit 1
});
const core = cores();
const heartbeat = 25; // seconds, the broker's default

/* In its own session every crowd has its own source addresses. */
async function crowd(server, number) {
  const c = startCrowd(core.load, server, [`--clients=${o.clients}`, `--query=channels=idle&id=${number}`]);
  await c.phase('open');
  await sleep(1000);
  return c;
}

async function measure(io) {
  const server = await startBroker(core.measured, [`--io=${io}`, ...words(o.broker)]);
  const crowds = [];
  try {
    const memory = [memoryOf(server.pid)];
    for (let i = 0; i < 2; i++) {
      crowds.push(await crowd(server, i));
      memory.push(memoryOf(server.pid));
    }
    const clients = await metric(server, 'clients');
    if (clients !== 2 * o.clients) throw new Error(`${clients} clients are there`);
    const before = cpuOf(server.pid);
    const began = performance.now();
    await sleep(o.seconds * 1000);
    const cpu_us = (cpuOf(server.pid) - before) / 1e3;
    const seconds = (performance.now() - began) / 1e3;
    for (const c of crowds) await c.stop();
    return { io, memory, slope: (memory[2] - memory[1]) / o.clients, all: (memory[2] - memory[0]) / clients, cpu: cpu_us / seconds / clients };
  } finally {
    for (const c of crowds) c.child.kill('SIGKILL');
    await server.stop();
  }
}

/** The least that it can cost: a loop of send() that has nothing else to do sends one event to all as often as there are heartbeats. */
async function floor() {
  const server = await startBare(core.measured);
  const crowds = [];
  try {
    for (let i = 0; i < 2; i++) crowds.push(await crowd(server, i));
    const before = cpuOf(server.pid);
    const began = performance.now();
    for (let n = 1; (n - 0.5) * heartbeat < o.seconds; n++) {
      await sleep((n - 0.5) * heartbeat * 1000 - (performance.now() - began));
      await post(server, `${numbered('idle', n, 80)}\n`);
    }
    await sleep(o.seconds * 1000 - (performance.now() - began));
    const cpu = (cpuOf(server.pid) - before) / 1e3 / ((performance.now() - began) / 1e3) / (2 * o.clients);
    for (const c of crowds) await c.stop();
    return cpu;
  } finally {
    for (const c of crowds) c.child.kill('SIGKILL');
    await server.stop();
  }
}

const bare = await floor();
const results = [];
for (const io of list(o.io)) results.push(await measure(io));
table([
  ['io', `MiB with 0`, `${o.clients}`, `${2 * o.clients} clients`, 'bytes/client, slope', 'all', 'CPU us/s for a client', 'of a bare loop'],
  ...results.map((r) => [r.io, ...r.memory.map((bytes) => (bytes / 1048576).toFixed(2)), r.slope.toFixed(0), r.all.toFixed(0), r.cpu.toFixed(3), (r.cpu / bare).toFixed(2)]),
  ['bare loop', '', '', '', '', '', bare.toFixed(3), ''],
]);
console.log(`wanted: at most ${o.limit} bytes (slope), and ${o['cpu-limit']} us/s or ${o['cpu-ratio']} times the bare loop`);
keep('idle', { options: o, bare, results });
process.exit(results.every((r) => r.slope <= o.limit && (r.cpu <= o['cpu-limit'] || r.cpu <= o['cpu-ratio'] * bare)) ? 0 : 1);
