#!/usr/bin/env node
// A soak: clients come and go, stall, are cut anywhere and resume by their last id, under steady publishing, on both back
// ends at once or one after the other. Every number of every channel is counted by each client; memory and descriptors of
// the broker must be flat. `make soak` runs it for an hour. See README.md.
import { readdirSync } from 'node:fs';
import { common, cores, keep, list, memoryOf, metric, numbered, options, post, sleep, startBroker, startCrowd, table, words } from './lib.mjs';

const o = options({
  ...common,
  minutes: 60, // for each back end; decimals are allowed
  clients: 500, // that come and go
  churn: 20000, // ms: mean life of a connection; one of four stops reading first, for as long
  steady: 100, // clients that stay
  rate: 200, // events a second, all channels together
  channels: 8,
  partitions: 2,
  bytes: 400, // of a payload
  sample: 15, // seconds between two looks at the broker
  'memory-limit': 1.1, // times: the last quarter's mean against the second quarter's, else exit 1
  retention: '64MiB', // so that segments come and go
});
const core = cores();
const log = ['--tail-bytes=4MiB', '--log-segment-bytes=4MiB'];

const descriptorsOf = (pid) => readdirSync(`/proc/${pid}/fd`).length;
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** Publishes by the clock until `over()`; answers how many of each channel. */
async function feed(server, over) {
  const next = Array.from({ length: o.channels }, () => 0);
  const began = performance.now();
  for (let sent = 0; !over(); ) {
    const due = Math.floor(((performance.now() - began) * o.rate) / 1000);
    if (due > sent) {
      const count = Math.min(1000, due - sent);
      const lines = Array.from({ length: count }, (_, i) => {
        const c = (sent + i) % o.channels;
        return numbered(`soak.${c}`, next[c]++, o.bytes, { c });
      });
      await post(server, lines.join('\n') + '\n');
      sent += count;
    }
    await sleep(20);
  }
  return next;
}

async function soak(io) {
  const server = await startBroker(core.measured, [`--io=${io}`, `--log-partitions=${o.partitions}`, `--log-retention-bytes=${o.retention}`, ...log, ...words(o.broker)]);
  const samples = [];
  try {
    let over = false;
    const feeding = feed(server, () => over);
    const args = ['--query=channels=soak.*', `--numbered=${o.channels}`];
    const steady = startCrowd(core.load, server, [...args, `--clients=${o.steady}`]);
    await steady.phase('open');
    const coming = startCrowd(core.load, server, [...args, `--clients=${o.clients}`, `--churn=${o.churn}`]);
    const began = performance.now();
    const end = began + o.minutes * 60000;
    while (performance.now() < end) {
      await Promise.race([sleep(Math.min(o.sample * 1000, Math.max(0, end - performance.now()))), coming.end(), steady.end()]);
      samples.push({ s: (performance.now() - began) / 1e3, memory: memoryOf(server.pid), descriptors: descriptorsOf(server.pid),
        clients: await metric(server, 'clients'), catchup: await metric(server, 'catchup_bytes'), frames: await metric(server, 'frame_bytes'),
        turn_ms: (await metric(server, 'shard_turn_seconds_max')) * 1e3 });
    }
    over = true;
    const published = await feeding;
    const counted = [await steady.stop(), await coming.stop()];
    return { io, published: published.reduce((sum, n) => sum + n, 0), counted, samples };
  } finally {
    await server.stop();
  }
}

const results = [];
for (const io of list(o.io)) {
  const r = await soak(io);
  results.push(r);
  const [steady, coming] = r.counted;
  const quarter = (i) => r.samples.slice(Math.floor((r.samples.length * i) / 4), Math.ceil((r.samples.length * (i + 1)) / 4));
  const by = (i, figure) => mean(quarter(i).map((sample) => sample[figure]));
  r.memory_ratio = by(3, 'memory') / by(1, 'memory');
  r.descriptors = [Math.round(by(1, 'descriptors')), Math.round(by(3, 'descriptors'))];
  r.good = r.memory_ratio <= o['memory-limit'] && r.descriptors[1] <= r.descriptors[0] * 1.1 + 20;
  console.log(`== ${io}: ${o.minutes} minutes, ${r.published} events published`);
  table([
    ['', 'events received', 'lost', 'doubled', 'connections', 'cut', 'ended by the broker', 'resyncs', 'gaps'],
    ...[['steady', steady], ['coming and going', coming]].map(([what, c]) => [what, c.events, c.lost, c.doubled, c.connects, c.cuts, c.ended_early, c.resyncs, c.gaps]),
  ]);
  table([
    ['quarter', 'memory MiB', 'descriptors', 'clients', 'catch-up KiB', 'longest turn ms'],
    ...[0, 1, 2, 3].map((i) => [i + 1, (by(i, 'memory') / 1048576).toFixed(2), by(i, 'descriptors').toFixed(0), by(i, 'clients').toFixed(0),
      (by(i, 'catchup') / 1024).toFixed(0), by(i, 'turn_ms').toFixed(1)]),
  ]);
  console.log(`memory of the last quarter ${r.memory_ratio.toFixed(3)} times that of the second; wanted: at most ${o['memory-limit']}\n`);
}
keep('soak', { options: o, results });
process.exit(results.every((r) => r.good) ? 0 : 1);
