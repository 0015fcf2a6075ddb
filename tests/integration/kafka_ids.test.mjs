// Kafka to clients and back: what is produced reaches subscribers, POST /publish gives Kafka's own ids, in order for
// each channel, and no answer lies when Kafka does not answer.

import assert from 'node:assert/strict';
import test from 'node:test';
import { with_broker } from './lib/broker.mjs';
import { shared_kafka } from './lib/kafka.mjs';
import { metric } from './lib/metrics.mjs';
import { post } from './lib/publish.mjs';
import { subscribe } from './lib/sse.mjs';
import { eventually, patience_ms } from './lib/wait.mjs';

const timeout = 12 * patience_ms;
const cluster = shared_kafka();

const args_of = (kafka, topic) => [`--kafka-brokers=${kafka.address()}`, `--kafka-topics=${topic}`];

test('kafka: events come from Kafka, published ones go there, with ids that Kafka gave', { timeout }, async () => {
  const kafka = await cluster();
  const topic = await kafka.create_topic('quotes', { partitions: 4 });
  await kafka.produce(topic, [{ key: 'stock.A', value: '{"n":0}' }]);
  await with_broker({ args: args_of(kafka, topic) }, async (broker) => {
    const client = await subscribe(broker, '/sse?from=earliest');
    await client.received(1);
    await kafka.produce(topic, [{ key: 'stock.A', value: '{"n":1}' }]);
    const one = await post(broker, '/publish', JSON.stringify({ channel: 'stock.A', payload: { n: 2 } }));
    assert.equal(one.status, 202, one.text);
    const many = await post(broker, '/publish', JSON.stringify(['stock.A', 'stock.B', 'stock.C', 'stock.A'].map((channel, n) => ({ channel, payload: { n: n + 3 } }))));
    assert.equal(many.status, 202, many.text);
    assert.equal(many.json.ids.length, 4);
    const events = await client.received(7);
    assert.deepEqual(events.filter((e) => e.json.channel === 'stock.A').map((e) => e.json.payload.n), [0, 1, 2, 3, 6]);
    const seen = new Map(events.map((e) => [e.json.id, e.json.payload.n]));
    assert.equal(seen.get(one.json.id), 2);
    assert.deepEqual(many.json.ids.map((id) => seen.get(id)), [3, 4, 5, 6]);
    /* The same places, as Kafka itself tells them; and all of a key where Java's producers put it. */
    const records = await kafka.read(topic);
    assert.equal(records.length, 7);
    const place = (id) => id.split('-').slice(1).map(Number);
    const [partition, offset] = place(one.json.id);
    const record = records.find((r) => r.partition === partition && r.offset === offset);
    assert.equal(record.key, 'stock.A');
    assert.equal(new Set(records.filter((r) => r.key === 'stock.A').map((r) => r.partition)).size, 1);
    const key = await post(broker, '/publish', '{"channel":"stock.A"}', { headers: { 'idempotency-key': 'k' } });
    assert.equal(key.status, 400, key.text);
    assert.equal(key.json.error.code, 'idempotency_unsupported');
    const figures = async () => [
      await metric(broker, 'kafka_produced_total'),
      await metric(broker, 'events_total{source="kafka"}'),
      ...(await Promise.all([0, 1, 2, 3].map((p) => metric(broker, `kafka_lag{topic="${topic}",partition="${p}"}`)))),
    ];
    await eventually(async () => String(await figures()) === '5,7,0,0,0,0', 'figures that have come to rest');
    client.cut();
  });
});

test('kafka: hangs: 503 that does not lie, clients are told, and everything goes on', { timeout }, async () => {
  const kafka = await cluster();
  const topic = await kafka.create_topic('hangs', { partitions: 2 });
  const args = [...args_of(kafka, topic), '--kafka-produce-wait-ms=1s'];
  await with_broker({ args }, async (broker) => {
    const client = await subscribe(broker, '/sse?from=earliest');
    const before = await post(broker, '/publish', '{"channel":"a","payload":1}');
    assert.equal(before.status, 202, before.text);
    await kafka.nodes[0].pause();
    let refused, late, stale;
    try {
      refused = await post(broker, '/publish', '[{"channel":"a","payload":2},{"channel":"a","payload":3}]');
      stale = await client.control('feed');
      late = await subscribe(broker, '/sse?from=live');
      await late.control('feed');
    } finally {
      kafka.nodes[0].resume();
    }
    assert.equal(refused.status, 503, refused.text);
    assert.equal(refused.json.error.code, 'kafka_unavailable');
    assert.equal(refused.headers['retry-after'], '1');
    assert.equal(stale.json.state, 'stale');
    await client.when((c) => c.all.some((event) => event.type === 'feed' && event.json.state === 'live'), 'the feed to be live again', patience_ms);
    const after = await eventually(async () => {
      const answer = await post(broker, '/publish', '{"channel":"a","payload":4}');
      return answer.status === 202 ? answer : null;
    }, 'Kafka to take events again');
    await client.when((c) => c.events.some((e) => e.json.id === after.json.id), 'the event behind the pause', patience_ms);
    const payloads = client.events.map((e) => e.json.payload);
    assert.equal(payloads[0], 1);
    assert.equal(payloads.at(-1), 4);
    for (const n of [2, 3]) assert.ok(payloads.filter((each) => each === n).length <= 1, `${n} came once at most`);
    client.cut();
    late.cut();
  });
});

test('kafka: commands go to a topic of their own', { timeout }, async () => {
  const kafka = await cluster();
  const quotes = await kafka.create_topic('quotes-of-commands');
  const commands = await kafka.create_topic('commands');
  const args = [`--kafka-brokers=${kafka.address()}`, `--kafka-topics=${quotes},${commands}`, `--kafka-commands-topic=${commands}`];
  await with_broker({ args }, async (broker) => {
    const client = await subscribe(broker, '/sse?channels=commands');
    const quote = await post(broker, '/publish', '{"channel":"a","payload":1}');
    const command = await post(broker, '/command?id=me', '{"buy":1}');
    assert.equal(quote.status, 202, quote.text);
    assert.equal(command.status, 202, command.text);
    const [event] = await client.received(1);
    assert.equal(event.json.id, command.json.id);
    assert.deepEqual(event.json.payload, { buy: 1 });
    assert.deepEqual(event.json.headers, { client: 'me' });
    assert.notEqual(command.json.id.split('-')[0], quote.json.id.split('-')[0]);
    assert.equal((await kafka.read(commands)).length, 1);
    assert.equal((await kafka.read(quotes)).length, 1);
    client.cut();
  });
});
