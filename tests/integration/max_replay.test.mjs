// --max-replay: what one request may have replayed, and how it is told of the rest.

import assert from 'node:assert/strict';
import { broker_test } from './lib/broker.mjs';
import { request } from './lib/http.mjs';
import { publish_all, publish_lines } from './lib/publish.mjs';
import { subscribe } from './lib/sse.mjs';
import { eventually } from './lib/wait.mjs';

const range = (n, f) => Array.from({ length: n }, (_, i) => f(i));
const offset_of = (id) => Number(id.split('-')[2]);
const gaps_of = (client) => client.all.filter((event) => event.type === 'gap');
const payloads = (events) => events.map(({ json }) => json.payload);

const limited = ['--max-replay=100'];

broker_test('the newest are replayed, and a gap says what was skipped', { args: limited, small: true }, async (broker) => {
  const ids = await publish_all(broker, range(500, (i) => ({ channel: 'c', payload: i })));
  for (const [query, first] of [['from=earliest', 0], [`cursor=${ids[9]}`, 10], [`cursor=${ids[398]}`, 399]]) {
    const client = await subscribe(broker, `/sse?channels=c&${query}`);
    assert.deepEqual(payloads(await client.received(100)), range(100, (i) => 400 + i), query);
    const [gap, ...more] = gaps_of(client);
    assert.equal(more.length, 0);
    assert.equal(gap.id, undefined);
    assert.equal(client.all.indexOf(gap), 1, 'it is told first');
    assert.deepEqual(gap.json, { reason: 'limit', skipped: 400 - first, from: ids[first], to: ids[399] });
    client.cut();
  }
});

broker_test('as many as are allowed are replayed whole', { args: limited }, async (broker) => {
  const ids = await publish_all(broker, range(500, (i) => ({ channel: 'c', payload: i })));
  const client = await subscribe(broker, `/sse?channels=c&cursor=${ids[399]}`);
  assert.deepEqual(payloads(await client.received(100)), range(100, (i) => 400 + i));
  assert.equal(gaps_of(client).length, 0);
  client.cut();
});

broker_test('0 is no limit, and the default', { args: ['--max-replay=0'] }, async (broker) => {
  await publish_all(broker, range(500, (i) => ({ channel: 'c', payload: i })));
  const client = await subscribe(broker, '/sse?channels=c&from=earliest');
  assert.equal((await client.received(500)).length, 500);
  assert.equal(gaps_of(client).length, 0);
  client.cut();
});

broker_test('cut off behind the gap, a client is told again, and skips no more than that', { args: limited }, async (broker) => {
  const ids = await publish_all(broker, range(500, (i) => ({ channel: 'c', payload: i })));
  const client = await subscribe(broker, `/sse?channels=c&cursor=${ids[9]}`);
  await client.control('gap');
  const again = await subscribe(broker, '/sse?channels=c', { cursor: ids[9] });
  await again.received(100);
  assert.equal(gaps_of(again).length, 1);
  client.cut();
  again.cut();
});

broker_test('each partition has its own limit, and its own gap', { args: [...limited, '--log-partitions=4'] }, async (broker) => {
  const ids = await publish_all(broker, range(2000, (i) => ({ channel: `c${i % 40}`, payload: i })));
  const partitions = new Map();
  for (const id of ids) {
    const p = id.split('-')[1];
    partitions.set(p, Math.max(partitions.get(p) ?? 0, offset_of(id)));
  }
  const client = await subscribe(broker, '/sse?channels=*&from=earliest');
  await client.received(100 * partitions.size);
  const gaps = gaps_of(client);
  assert.equal(gaps.length, [...partitions.values()].filter((newest) => newest >= 100).length);
  for (const { json } of gaps) {
    const newest = partitions.get(json.from.split('-')[1]);
    assert.equal(offset_of(json.from), 0);
    assert.equal(offset_of(json.to), newest - 100);
    assert.equal(json.skipped, newest - 99);
  }
  client.cut();
});

broker_test(
  'a client that falls behind is not limited: only a request is',
  { args: [...limited, '--outbox-bytes=4KiB'] },
  async (broker) => {
    const client = await subscribe(broker, '/sse?channels=c');
    client.pause();
    const pad = 'x'.repeat(20_000);
    for (let i = 0; i < 600; i += 100) {
      await publish_lines(broker, range(100, (k) => ({ channel: 'c', payload: { i: i + k, pad } })));
    }
    client.resume();
    const events = await client.received(600);
    assert.deepEqual(events.map(({ json }) => json.payload.i), range(600, (i) => i));
    assert.equal(gaps_of(client).length, 0);
    client.cut();
  },
);

broker_test(
  'behind the oldest event: expired first, then the limit',
  { args: [...limited, '--log-segment-bytes=2MiB', '--tail-bytes=2MiB', '--log-retention-bytes=4MiB'] },
  async (broker) => {
    const pad = 'x'.repeat(2000);
    let first;
    let published = 0;
    /* Retention removes whole segments in its own time: publish until the first event is gone. */
    await eventually(async () => {
      const { first: id } = await publish_lines(broker, range(200, (k) => ({ channel: 'c', payload: { i: published + k, pad } })));
      first ??= id;
      published += 200;
      const { json } = await request(broker.ops, { path: '/status' });
      return json.partitions.every(({ oldest }) => oldest > 0);
    }, 'the first segment to be retired');
    const client = await subscribe(broker, `/sse?channels=c&cursor=${first}`);
    const events = await client.received(100);
    assert.deepEqual(events.map(({ json }) => json.payload.i), range(100, (i) => published - 100 + i));
    const told = client.all.filter((event) => event.control).map((event) => event.json.reason ?? event.type);
    assert.deepEqual(told, ['connected', 'expired', 'limit']);
    const resync = await client.control('resync');
    const [gap] = gaps_of(client);
    assert.ok(offset_of(resync.id) > 0);
    assert.equal(offset_of(gap.json.from), offset_of(resync.id) + 1, 'the gap begins where the resync ended');
    assert.equal(gap.json.skipped, offset_of(gap.json.to) - offset_of(gap.json.from) + 1);
    client.cut();
  },
);
