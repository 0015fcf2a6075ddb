// Partitions and topics: added while the broker runs, several topics in one cursor, producers that hash.

import assert from 'node:assert/strict';
import test from 'node:test';
import { shared_kafka } from './lib/kafka.mjs';
import { is_live, parts_of, start_on, with_broker_on } from './lib/kafka_broker.mjs';
import { subscribe } from './lib/sse.mjs';
import { eventually, logged, patience_ms } from './lib/wait.mjs';

const timeout = 10 * patience_ms;
const cluster = shared_kafka();
const values = (events) => events.map(({ json }) => json.payload);
const sorted = (list) => [...list].sort((a, b) => a - b);
const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

/** One record in each of `count` partitions, valued from `first` on. */
const one_in_each = (count, first) => numbers(0, count - 1).map((partition) => ({ key: `p${partition}`, value: String(first + partition), partition }));

test('kafka: partitions are added while the broker runs; older cursors begin them at their beginning', { timeout }, async () => {
  const kafka = await cluster();
  const topic = await kafka.create_topic('growing', { partitions: 2 });
  await with_broker_on(kafka, [topic], {}, async (broker) => {
    const client = await subscribe(broker, '/sse?channels=*');
    await kafka.produce(topic, one_in_each(2, 0));
    await client.received(2);
    const old = client.cursor;
    await kafka.add_partitions(topic, 4);
    await kafka.produce(topic, one_in_each(4, 10));
    await client.received(6);
    const again = await subscribe(broker, '/sse?channels=*', { cursor: old });
    await again.received(4);
    assert.deepEqual(sorted(values(again.events)), [10, 11, 12, 13]);
    assert.ok(!again.all.some(({ type }) => type === 'resync'));
    /* Beyond the spare room clients come again, and miss nothing. */
    await kafka.add_partitions(topic, 9);
    await kafka.produce(topic, one_in_each(9, 20));
    const got = [];
    let now = client;
    let from = 6;
    await eventually(async () => {
      got.push(...values(now.events.slice(from)));
      from = now.events.length;
      if (now.ended) {
        const next = await subscribe(broker, '/sse?channels=*', { cursor: now.cursor }).catch(() => undefined);
        if (next) [now, from] = [next, 0];
      }
      return got.length >= 9;
    }, 'the records of all nine partitions', 4 * patience_ms);
    assert.deepEqual(sorted(got), numbers(20, 28));
    await is_live(broker);
  });
});

test('kafka: one cursor goes over several topics', { timeout }, async () => {
  const kafka = await cluster();
  const topics = ['multi-a', 'multi-b', 'multi-c'];
  for (const [i, topic] of topics.entries()) await kafka.create_topic(topic, { partitions: i + 1 });
  const round = async (first) => {
    for (const [i, topic] of topics.entries()) await kafka.produce(topic, one_in_each(i + 1, first + 10 * i));
  };
  const all = (first) => [first, first + 10, first + 11, first + 20, first + 21, first + 22];
  await with_broker_on(kafka, topics, {}, async (broker) => {
    const client = await subscribe(broker, '/sse?channels=*');
    await round(100);
    await client.received(6);
    client.cut();
    await round(200);
    const again = await subscribe(broker, '/sse?channels=*', { cursor: client.cursor });
    await again.received(6);
    assert.deepEqual(sorted(values(again.events)), all(200));
    await broker.stop();
    await round(300);
    await broker.restart();
    const third = await subscribe(broker, '/sse?channels=*', { cursor: again.cursor });
    await third.received(6);
    assert.deepEqual(sorted(values(third.events)), all(300));
    assert.equal(new Set(third.events.map(({ json }) => parts_of(json.id).history)).size, 3, 'a history for each topic');
  });
});

test('kafka: a declared partitioner makes short cursors; a producer that hashes otherwise ends them, told', { timeout }, async () => {
  const kafka = await cluster();
  const topic = await kafka.create_topic('hashed', { partitions: 8 });
  const ini = [`[topic ${topic}]`, 'partitioner = murmur2'];
  const broker = await start_on(kafka, [topic], { ini });
  try {
    /* Java's and kcat's hashes differ for this key (kafka_harness shows it). */
    const path = '/sse?channels=stock.AAPL';
    const client = await subscribe(broker, path);
    await kafka.produce(topic, [{ key: 'stock.AAPL', value: '1' }]);
    await client.received(1);
    const narrow = client.cursor;
    assert.match(narrow, /^[A-Za-z0-9]{6}-\d+-\d+\/8$/);
    client.cut();
    await kafka.produce(topic, [{ key: 'stock.AAPL', value: '2' }]);
    const again = await subscribe(broker, path, { cursor: narrow });
    await again.received(1);
    assert.deepEqual(values(again.events), [2]);
    const full = await subscribe(broker, '/sse?channels=*');
    await kafka.kcat_produce(topic, [['stock.AAPL', '3']], ['-X', 'topic.partitioner=consistent']);
    await again.received(2);
    await full.received(1);
    assert.deepEqual(values(again.events), [2, 3], 'found where it was not expected');
    assert.match(again.cursor, /^~/, 'from here on cursors are full');
    const told = await subscribe(broker, path, { cursor: narrow });
    assert.equal((await told.control('resync')).json.reason, 'repartitioned');
    await told.when((c) => c.events.some(({ json }) => json.payload === 2), 'its own partition goes on');
    await logged(broker, /hashed/);
    await broker.stop();
    await broker.restart();
    const after = await subscribe(broker, `${path}&from=earliest`);
    await after.received(3);
    assert.deepEqual(sorted(values(after.events)), [1, 2, 3], 'a restart does not forget it');
    assert.match(after.cursor, /^~/);
  } finally {
    await broker.dispose();
  }
});
