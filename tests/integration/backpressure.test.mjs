// Clients that do not read: they cost the broker a bounded amount of memory, the others nothing, and they
// miss nothing.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { broker_test } from './lib/broker.mjs';
import { Counter, Sequence } from './lib/counter.mjs';
import { request } from './lib/http.mjs';
import { publish, publish_lines } from './lib/publish.mjs';
import { subscribe } from './lib/sse.mjs';
import { eventually } from './lib/wait.mjs';

const small = ['--publish-wait-ms=1m', '--log-segment-bytes=2MiB', '--tail-bytes=2MiB', '--outbox-bytes=16KiB', '--frame-bytes=1MiB'];

async function flood(broker, sequence, channel, bytes) {
  const pad = 'x'.repeat(2000);
  for (let sent = 0; sent < bytes; sent += 200 * 2150) {
    await publish_lines(broker, Array.from({ length: 200 }, () => sequence.event(channel, { payload: { pad } })));
  }
}

function counting() {
  const counter = new Counter();
  return { counter, on_event: (event) => event.control || counter.take(event) };
}

function resident_bytes(broker) {
  const status = fs.readFileSync(`/proc/${broker.pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)[1]) * 1024;
}

broker_test('a client that stops reading gets everything in order when it reads again', { args: small, small: true }, async (broker) => {
  const sequence = new Sequence();
  const stalled = counting();
  const live = counting();
  const client = await subscribe(broker, '/sse?channels=c', stalled);
  const other = await subscribe(broker, '/sse?channels=c', live);
  client.pause();
  await flood(broker, sequence, 'c', 12 << 20);
  await other.received(sequence.total, 60_000);
  live.counter.assert_exact('the client that reads');
  assert.ok(client.events.length < sequence.total, 'the other one has really not read');
  client.resume();
  await client.received(sequence.total, 60_000);
  await publish(broker, sequence.event('c'));
  await client.received(sequence.total);
  stalled.counter.assert_exact('the client that stopped');
  assert.equal(client.all.filter((event) => event.control).length, 1, 'no resync, no gap');
  client.cut();
  other.cut();
});

broker_test('a client that stops again and again gets everything in order', { args: small }, async (broker) => {
  const sequence = new Sequence();
  const own = counting();
  const client = await subscribe(broker, '/sse?channels=c.*', own);
  for (let round = 0; round < 8; round++) {
    client.pause();
    await flood(broker, sequence, `c.${round % 3}`, 1.5 * (1 << 20));
    client.resume();
    await client.received(round % 2 ? sequence.total : Math.floor(sequence.total * 0.9), 60_000);
  }
  await client.received(sequence.total, 60_000);
  own.counter.assert_exact();
  client.cut();
});

broker_test('of several partitions, a client that stopped gets each in order', { args: [...small, '--log-partitions=8'] }, async (broker) => {
  const sequence = new Sequence();
  const own = counting();
  const client = await subscribe(broker, '/sse?channels=c.*', own);
  client.pause();
  for (let i = 0; i < 12; i++) await flood(broker, sequence, `c.${i}`, 1 << 20);
  client.resume();
  await client.received(sequence.total, 60_000);
  await publish(broker, sequence.event('c.0'));
  await client.received(sequence.total);
  own.counter.assert_exact();
  client.cut();
});

broker_test('policy=disconnect closes a client that stops reading, and it can resume', { args: small, small: true }, async (broker) => {
  const sequence = new Sequence();
  const own = counting();
  const client = await subscribe(broker, '/sse?channels=c&policy=disconnect', own);
  client.pause();
  await flood(broker, sequence, 'c', 12 << 20);
  client.resume();
  const how = await client.closed(60_000);
  assert.ok(['eof', 'reset'].includes(how), `closed without a last chunk: ${how}`);
  const { counter } = own;
  assert.ok(counter.total < sequence.total);
  const again = await subscribe(broker, '/sse?channels=c', { keep: client, ...own });
  await again.when(() => counter.newest('c') === sequence.newest('c'), 'the rest', 60_000);
  counter.assert_exact();
  again.cut();
});

broker_test('a client that takes no byte for --stall-ms is closed', { args: [...small, '--stall-ms=300'] }, async (broker) => {
  const sequence = new Sequence();
  const own = counting();
  const client = await subscribe(broker, '/sse?channels=c', own);
  client.pause();
  await flood(broker, sequence, 'c', 12 << 20);
  const metric = async () => {
    const { text } = await request(broker.ops, { path: '/metrics' });
    return /^tickertape_closes_total\{[^}]*reason="stalled"[^}]*\} ([1-9]\d*)$/m.test(text);
  };
  await eventually(metric, 'closes_total{reason="stalled"}');
  client.resume();
  await client.closed();
  /* It resumes where no time limit depends on how busy this machine is. */
  await broker.stop();
  await broker.restart({ args: ['--stall-ms=1h'] });
  const again = await subscribe(broker, '/sse?channels=c', { keep: client, ...own });
  await again.when(() => own.counter.newest('c') === sequence.newest('c'), 'the rest', 60_000);
  own.counter.assert_exact();
  again.cut();
});

broker_test('many stalled clients stay within the memory bound', { args: small }, async (broker) => {
  const { text } = await request(broker.ops, { path: '/metrics' });
  const limit = Number(/^tickertape_memory_bound_bytes (\d+)$/m.exec(text)[1]);
  const before = resident_bytes(broker);
  const clients = await Promise.all(Array.from({ length: 60 }, () => subscribe(broker, '/sse?channels=c')));
  for (const client of clients) client.pause();
  const sequence = new Sequence();
  const live = counting();
  const other = await subscribe(broker, '/sse?channels=c', live);
  await flood(broker, sequence, 'c', 24 << 20);
  await other.received(sequence.total, 60_000);
  live.counter.assert_exact();
  const grown = resident_bytes(broker) - before;
  if (!/\/(asan|tsan)\//.test(process.env.TT_BINARY ?? '')) {
    assert.ok(grown < limit, `grown by ${grown} bytes, bound ${limit}`);
  }
  for (const client of clients) client.cut();
  other.cut();
});
