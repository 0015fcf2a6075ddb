#!/usr/bin/env node
// What does a client pay that has missed k events of one channel among 100,000, when the log grows 100-fold? By
// index the time goes by k alone; by scanning (the same events asked for by a pattern) it goes by the log.
// See README.md.
import { connect } from 'node:net';
import { cores, keep, metric, options, post, startBroker, table } from './lib.mjs';

const o = options({
  missed: 200, // events of the one channel
  channels: 100000, // that all the others are spread over
  events: 20000, // in the small log
  growth: 100, // the large one has so many times more
  bytes: 200, // of a payload
  runs: 15, // of each kind, after one that is not counted
  'scan-runs': 3,
  limit: 3, // times by index: large against small, else exit 1
  broker: '--log-segment-bytes=4MiB --tail-bytes=2MiB --log-sync=never', // separated by spaces
});
const core = cores();
const channel = 'the.one';

/** `events` of them: the missed ones at equal distances, the others on channels drawn at random. */
async function fill(server, events) {
  const payload = JSON.stringify('x'.repeat(o.bytes - 2));
  const every = Math.floor(events / o.missed);
  let state = 1;
  for (let n = 0; n < events; ) {
    let body = '';
    for (const end = Math.min(events, n + 2000); n < end; n++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      const mine = n % every === 0 && n / every < o.missed;
      body += `{"channel":"${mine ? channel : `c.${state % o.channels}`}","payload":${payload}}\n`;
    }
    await post(server, body);
  }
}

/** Waits until every sealed segment has its index file, and has had it for a while. */
async function indexed(server) {
  for (let calm = 0; calm < 5; ) {
    calm = (await metric(server, 'log_unindexed_segments')) === 0 ? calm + 1 : 0;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

/** The time from the request to the last of the missed events, in ms. */
function replay(server, pattern) {
  const { hostname, port } = new URL(server.url);
  return new Promise((resolve, reject) => {
    const mark = `"channel":"${channel}"`;
    let count = 0;
    let rest = '';
    const began = process.hrtime.bigint();
    const socket = connect({ host: hostname, port: Number(port), noDelay: true }, () => {
      socket.write(`GET /sse?channels=${pattern}&from=earliest HTTP/1.1\r\nHost: x\r\n\r\n`);
    });
    const patience = setTimeout(() => socket.destroy(new Error(`only ${count} of ${o.missed} events came`)), 120000);
    socket.on('data', (bytes) => {
      const text = rest + bytes.toString('latin1');
      let at = 0;
      for (let found; (found = text.indexOf(mark, at)) >= 0; at = found + mark.length) count++;
      rest = text.slice(Math.max(at, text.length - mark.length + 1));
      if (count < o.missed) return;
      clearTimeout(patience);
      socket.destroy();
      resolve(Number(process.hrtime.bigint() - began) / 1e6);
    });
    socket.on('error', reject);
    socket.on('close', () => reject(new Error(`closed after ${count} events`)));
  });
}

/** The first quartile of the runs: what else the machine does makes a run slower, never faster. */
async function times(server, pattern, runs) {
  const first = await replay(server, pattern);
  const list = [];
  for (let i = 0; i < runs; i++) list.push(await replay(server, pattern));
  list.sort((a, b) => a - b);
  return { first, quartile: list[list.length >> 2], list };
}

const results = [];
const rows = [['events', 'MB', 'segments', 'by index ms', 'first', 'by scanning ms', 'index batches', 'scan batches']];
for (const events of [o.events, o.events * o.growth]) {
  const server = await startBroker(core.measured, o.broker.split(' ').filter(Boolean));
  try {
    await fill(server, events);
    await indexed(server);
    const index = await times(server, channel, o.runs);
    const batches = await metric(server, 'replay_batches_total{by="index"}');
    const scanned = await metric(server, 'replay_batches_total{by="scan"}');
    const scan = await times(server, 'the.*', o['scan-runs']);
    const bytes = await metric(server, 'log_bytes');
    const segments = await metric(server, 'log_segments');
    results.push({ events, bytes, segments, index, scan, batches, scanned });
    rows.push([events, (bytes / 1e6).toFixed(0), segments, index.quartile.toFixed(2), index.first.toFixed(2),
      scan.quartile.toFixed(2), batches, scanned]);
  } finally {
    await server.stop();
  }
}
table(rows);
const [small, large] = results;
const ratio = large.index.quartile / small.index.quartile;
console.log(`the log ${o.growth} times larger, ${o.missed} events missed: by index ${ratio.toFixed(2)} times the time ` +
  `(wanted: at most ${o.limit}), by scanning ${(large.scan.quartile / small.scan.quartile).toFixed(1)} times`);
keep('replay_index', { options: o, ratio, results });
process.exit(ratio <= o.limit ? 0 : 1);
