// Publishing through the broker: the answer is the id that Kafka gave, in order for each channel, and no answer lies.

import assert from 'node:assert/strict';
import test from 'node:test';
import { shared_kafka } from './lib/kafka.mjs';
import { is_live, parts_of, place_of, with_broker_on } from './lib/kafka_broker.mjs';
import { post, publish, publish_all, publish_lines } from './lib/publish.mjs';
import { subscribe } from './lib/sse.mjs';
import { eventually, patience_ms } from './lib/wait.mjs';

const timeout = 10 * patience_ms;
const cluster = shared_kafka();

test('kafka: what is published is a record, and its id is where Kafka put it', { timeout }, async () => {
  const kafka = await cluster();
  const topic = await kafka.create_topic('published', { partitions: 4 });
  await with_broker_on(kafka, [topic], {}, async (broker) => {
    const client = await subscribe(broker, '/sse?channels=*');
    const one = await publish(broker, { channel: 'stock.AAPL', type: 'quote', payload: { price: 1 }, headers: { a: 'b' } });
    const many = await publish_all(broker, Array.from({ length: 20 }, (_, i) => ({ channel: `c${i % 5}`, payload: i })));
    const lines = await publish_lines(broker, Array.from({ length: 20 }, (_, i) => ({ channel: 'lines', payload: i })));
    assert.equal(lines.count, 20);
    await client.received(41);
    const records = new Map((await kafka.read(topic)).map((record) => [`${record.partition}-${record.offset}`, record]));
    assert.equal(records.size, 41);
    for (const event of client.events) {
      const record = records.get(place_of(event));
      assert.equal(record.key, event.json.channel);
      assert.equal(record.payload, JSON.stringify(event.json.payload));
    }
    const first = client.events.find(({ json }) => json.id === one);
    assert.equal(first.json.type, 'quote');
    assert.deepEqual(first.json.headers, { a: 'b' });
    for (const [i, id] of many.entries()) {
      assert.equal(client.events.find(({ json }) => json.id === id).json.payload, i);
    }
    const in_order = client.events.filter(({ json }) => json.channel === 'lines').map(({ json }) => json.payload);
    assert.deepEqual(in_order, Array.from({ length: 20 }, (_, i) => i));
    /* As Java's producer would have put it. */
    await kafka.produce(topic, [{ key: 'stock.AAPL', value: '"java"' }]);
    await client.received(42);
    assert.equal(parts_of(client.events[41].json.id).partition, parts_of(one).partition);
  });
});

test('kafka: events that the topic cannot carry are refused as malformed', { timeout }, async () => {
  const kafka = await cluster();
  const topic = await kafka.create_topic('templated');
  const ini = [`[topic ${topic}]`, 'channel = stock.{key}'];
  await with_broker_on(kafka, [topic], { ini }, async (broker) => {
    const client = await subscribe(broker, '/sse?channels=*');
    const refused = await post(broker, '/publish', JSON.stringify({ channel: 'user.42', payload: 1 }));
    assert.equal(refused.status, 400, refused.text);
    const id = await publish(broker, { channel: 'stock.AAPL', payload: 2 });
    await client.received(1);
    assert.deepEqual([client.events[0].json.id, client.events[0].json.channel], [id, 'stock.AAPL']);
    assert.equal((await kafka.read(topic))[0].key, 'AAPL');
  });
});

test('kafka: away, publishers get 503 and Retry-After after a bounded wait; what was answered is there', { timeout }, async () => {
  const kafka = await cluster();
  const topic = await kafka.create_topic('bounded', { partitions: 2 });
  await with_broker_on(kafka, [topic], { args: ['--kafka-produce-wait-ms=1s'] }, async (broker) => {
    const client = await subscribe(broker, '/sse?channels=*');
    const ids = [await publish(broker, { channel: 'a', payload: 0 })];
    await kafka.nodes[0].pause();
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, i) => post(broker, '/publish', JSON.stringify({ channel: `c${i}`, payload: i + 1 }), { limit_ms: 2 * patience_ms })),
    );
    for (const answer of answers) {
      assert.equal(answer.status, 503, answer.text);
      assert.match(answer.headers['retry-after'], /^\d+$/);
    }
    kafka.nodes[0].resume();
    await is_live(broker);
    await eventually(async () => {
      const answer = await post(broker, '/publish', JSON.stringify({ channel: 'a', payload: 100 }));
      if (answer.status === 503) return false;
      assert.equal(answer.status, 202, answer.text);
      ids.push(answer.json.id);
      return true;
    }, 'a publish that is taken again');
    await client.when((c) => ids.every((id) => c.events.some(({ json }) => json.id === id)), 'all that was answered');
    const truth = await kafka.read(topic);
    await client.received(truth.length);
    assert.deepEqual(client.events.map(place_of).sort(), truth.map(({ partition, offset }) => `${partition}-${offset}`).sort());
  });
});
