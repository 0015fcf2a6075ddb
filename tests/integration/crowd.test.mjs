// Crowds: hundreds of clients that come back at once with old cursors, that are sent away together, that follow many
// channels, and every event of every one of them is counted. With thousands, and how fast: bench/crowd_reconnect.mjs.

import assert from 'node:assert/strict';
import { broker_test } from './lib/broker.mjs';
import { request } from './lib/http.mjs';
import { post, publish, publish_lines } from './lib/publish.mjs';
import { seeded } from './lib/random.mjs';
import { SseClient, subscribe } from './lib/sse.mjs';
import { eventually } from './lib/wait.mjs';

const long = process.env.TT_LONG === '1' && !/\/(asan|tsan)\//.test(process.env.TT_BINARY ?? '');
const range = (n, f) => Array.from({ length: n }, (_, i) => f(i));
const pad = 'x'.repeat(150);
const lines = (channel, from, count) => range(count, (i) => ({ channel, type: 'quote', payload: { n: from + i, pad } }));

/** Holds what a client got against the numbers first, first + 1, ... of `channel`. */
function assert_numbers(client, first, count, what) {
  assert.deepEqual(client.events.map((event) => event.json.payload.n), range(count, (i) => first + i), what);
}

async function metric(broker, name, labels = '') {
  const { text } = await request(broker.ops, { path: '/metrics' });
  const found = text.split('\n').filter((line) => line.startsWith(`tickertape_${name}`) && line.includes(labels));
  return found.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

const crowd = long ? 2000 : 200;
const missed = long ? 1000 : 100;

for (const [where, args] of [
  ['memory', []],
  ['segments', ['--tail-bytes=2MiB', '--log-segment-bytes=2MiB']],
]) {
  broker_test(`a crowd comes back at once, what it missed is in ${where}`, { args, small: where === 'memory', shards: 2 }, async (broker) => {
    const { first: cursor } = await publish_lines(broker, lines('crowd.a', 0, 1));
    await publish_lines(broker, lines('crowd.a', 1, missed));
    if (where === 'segments') /* pushes it out of the tail's memory */
      await publish_lines(broker, range(60, (n) => ({ channel: 'other', payload: { n, pad: 'y'.repeat(60_000) } })));
    const control = await subscribe(broker, '/sse?channels=live');
    /* All of them at once; half by their channel, which an index knows, half by a pattern, which is scanned for. */
    const coming = Promise.all(range(crowd, (i) => SseClient.open(broker, `/sse?channels=crowd.${i % 2 ? 'a' : '*'}`, { cursor })));
    for (let n = 0; n < 50; n += 10) await publish_lines(broker, lines('live', n, 10));
    const clients = await coming;
    await publish(broker, { channel: 'crowd.a', type: 'quote', payload: { n: missed + 1, pad } });
    for (const client of clients) await client.received(missed + 1);
    for (const client of clients) assert_numbers(client, 1, missed + 1, 'each event once, in order');
    for (const client of clients) assert.ok(!client.all.some((event) => ['resync', 'gap'].includes(event.type)), client.describe());
    await control.received(50);
    assert_numbers(control, 0, 50, 'those that were live lose nothing meanwhile');
    await eventually(async () => (await metric(broker, 'clients{', 'state="live"')) === crowd + 1, 'all are live again');
    for (const client of [...clients, control]) client.cut();
    await eventually(async () => (await metric(broker, 'clients{')) === 0, 'nobody is left');
  });
}

broker_test('a crowd asks for snapshots of many channels at once', { shards: 2 }, async (broker) => {
  const channels = range(100, (i) => `s.${i}`);
  await publish_lines(broker, channels.map((channel, n) => ({ channel, type: 'quote', payload: { n } })));
  const body = JSON.stringify({ channels: [...channels, ...channels, 's.7'], from: 'snapshot' });
  const clients = await Promise.all(range(100, () => SseClient.open(broker, '/sse', { body })));
  for (const client of clients) {
    await client.control('snapshot-end');
    assert.deepEqual(client.events.map((event) => event.json.channel).sort(), [...channels].sort(), 'each channel once');
    client.cut();
  }
});

broker_test('a drained crowd is told when to come back, spread over time', { args: ['--drain-delay-ms=0', '--drain-ms=20s', '--retry-ms=3000'], shards: 2, small: true }, async (broker) => {
  const clients = await Promise.all(range(crowd, () => subscribe(broker, '/sse?channels=c')));
  const last = await publish(broker, { channel: 'c', payload: 1 });
  for (const client of clients) await client.received(1);
  broker.signal('SIGTERM');
  const times = [];
  for (const client of clients) {
    const shutdown = await client.control('shutdown');
    times.push(shutdown.json.reconnect);
    await client.closed();
    assert.equal(client.all.at(-1), shutdown, 'it is the last word');
    assert.equal(client.cursor, last);
  }
  assert.equal((await broker.end()).code, 0);
  assert.equal(times.length, crowd);
  for (const ms of times) assert.ok(ms >= 2250 && ms <= 3750, `retry and a quarter: ${ms}`);
  /* Of 200 draws from 1,501 values about 187 differ; each third of the span has its share. */
  assert.ok(new Set(times).size > crowd / 4, `${new Set(times).size} different times`);
  const thirds = [0, 0, 0];
  for (const ms of times) thirds[Math.min(2, Math.floor((ms - 2250) / 500))]++;
  for (const count of thirds) assert.ok(count > crowd / 10, `spread: ${thirds}`);
});

broker_test('a hot channel beside many quiet ones, and each client gets what is its own', { shards: 2 }, async (broker, t) => {
  const random = seeded(t);
  const each = 50;
  const count = long ? 1000 : 100;
  const clients = await Promise.all(range(count, (i) => subscribe(broker, '/sse', {
    body: JSON.stringify({ channels: ['hot', ...range(each, (k) => `quiet.${i}.${k}`)] }) })));
  const expected = clients.map(() => []);
  const events = range(400, (n) => {
    const i = random.between(0, count - 1);
    const channel = n % 4 === 0 ? 'hot' : `quiet.${i}.${random.between(0, each - 1)}`;
    for (const [k, own] of expected.entries()) if (channel === 'hot' || k === i) own.push(n);
    return { channel, payload: { n } };
  });
  await publish_lines(broker, events);
  await publish(broker, { channel: 'hot', payload: { n: 'end' } });
  for (const [i, client] of clients.entries()) {
    await client.when((c) => c.events.at(-1)?.json.payload.n === 'end', 'the last event');
    assert.deepEqual(client.events.map((event) => event.json.payload.n), [...expected[i], 'end']);
  }
  /* Half of them leave the hot channel's list, in any order; the others stay in it. */
  const leaving = new Set(range(count / 2, () => random.between(0, count - 1)));
  for (const i of leaving) clients[i].cut();
  await eventually(async () => (await metric(broker, 'clients{', 'state="live"')) === count - leaving.size, 'they are gone');
  await publish(broker, { channel: 'hot', payload: { n: 'again' } });
  for (const [i, client] of clients.entries())
    if (!leaving.has(i)) await client.when((c) => c.events.at(-1)?.json.payload.n === 'again', 'the list is whole');
});

broker_test('thousands of channels added to thousands: nothing compares all with all', { args: ['--max-channels-per-client=20000'] }, async (broker) => {
  const old = range(5000, (i) => `a.${i}`);
  const client = await subscribe(broker, '/sse', { body: JSON.stringify({ channels: old }) });
  const { session } = client.all.find((event) => event.type === 'connected').json;
  await publish_lines(broker, [{ channel: 'b.7', payload: { n: 7 } }]);
  const answer = await post(broker, '/subscribe', JSON.stringify({ session, channels: [...old, ...range(2000, (i) => `b.${i}`)], from: 'snapshot' }));
  assert.equal(answer.status, 200, answer.text);
  await client.control('snapshot-end');
  await publish(broker, { channel: 'b.1999', payload: { n: 1 } });
  await publish(broker, { channel: 'a.4999', payload: { n: 2 } });
  await client.received(3);
  assert_numbers({ events: client.events.slice(1) }, 1, 2, 'both old and new');
});
