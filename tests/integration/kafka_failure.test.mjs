// Kafka fails while clients are served: they are told, readiness says so and stays 200, and consumption goes on
// exactly where it was.

import assert from 'node:assert/strict';
import test from 'node:test';
import { shared_kafka } from './lib/kafka.mjs';
import { is_degraded, is_live, readiness_is, start_on, with_broker_on } from './lib/kafka_broker.mjs';
import { subscribe } from './lib/sse.mjs';
import { eventually, patience_ms } from './lib/wait.mjs';

const timeout = 12 * patience_ms;
const cluster = shared_kafka();
const values = (events) => events.map(({ json }) => json.payload);
const record = (n) => [{ key: 'c', value: String(n) }];
const feed = (client, state, from = 0) =>
  client.when((c) => c.all.slice(from).find(({ type, json }) => type === 'feed' && json.state === state), `feed ${state}`, 2 * patience_ms);

test('kafka: away at the very first start, and there later', { timeout }, async () => {
  const kafka = await cluster();
  const topic = await kafka.create_topic('late');
  await kafka.produce(topic, record(1));
  await kafka.nodes[0].stop();
  const broker = await start_on(kafka, [topic], { wait: false });
  try {
    await readiness_is(broker, ({ json }) => json.reasons.some(({ what }) => what === 'kafka'), 'a reason that is Kafka');
    await kafka.start();
    await is_live(broker);
    const client = await subscribe(broker, '/sse?channels=*&from=earliest');
    await kafka.produce(topic, record(2));
    await client.received(2);
    assert.deepEqual(values(client.events), [1, 2]);
  } finally {
    await broker.dispose();
  }
});

for (const [what, away, back] of [
  ['is killed and started again', (kafka) => kafka.nodes[0].kill(), (kafka) => kafka.start()],
  ['stands still and goes on', (kafka) => kafka.nodes[0].pause(), (kafka) => kafka.nodes[0].resume()],
]) {
  test(`kafka: a Kafka that ${what}`, { timeout }, async () => {
    const kafka = await cluster();
    const topic = await kafka.create_topic(`away-${what.split(' ')[1]}`);
    await with_broker_on(kafka, [topic], {}, async (broker) => {
      const client = await subscribe(broker, '/sse?channels=*');
      await kafka.produce(topic, record(1));
      await kafka.produce(topic, record(2));
      await client.received(2);
      const before = client.all.length;
      const lines = broker.stderr.length;
      await away(kafka);
      const stale = await feed(client, 'stale', before);
      assert.equal(typeof stale.json.cause, 'string');
      assert.ok(Math.abs(stale.json.since - Date.now()) < 10 * patience_ms, 'since is a time');
      const reason = await is_degraded(broker);
      assert.ok(reason.since > 0);
      /* Serving goes on: the past, and whoever comes is told. */
      const again = await subscribe(broker, '/sse?channels=*', { cursor: client.events[0].id });
      await again.received(1);
      assert.deepEqual(values(again.events), [2]);
      assert.equal((await feed(again, 'stale')).json.state, 'stale');
      const said = broker.stderr.slice(lines).split('\n').filter((line) => line !== '');
      assert.ok(said.length < 30, `Kafka's absence is logged, but not again and again:\n${said.join('\n')}`);
      await back(kafka);
      await feed(client, 'live', before);
      await is_live(broker);
      await kafka.produce(topic, record(3));
      await client.received(3);
      await again.received(2);
      assert.deepEqual(values(client.events), [1, 2, 3]);
      assert.deepEqual(values(again.events), [2, 3]);
    });
  });
}

test('kafka: a topic that does not exist yet holds up nobody, and is followed once it does', { timeout }, async () => {
  const kafka = await cluster();
  const topic = await kafka.create_topic('there');
  const broker = await start_on(kafka, [topic, 'not-yet'], { wait: false });
  try {
    await is_degraded(broker);
    const client = await subscribe(broker, '/sse?channels=*');
    await kafka.produce(topic, record(1));
    await client.received(1);
    client.cut();
    await kafka.produce(topic, record(2));
    await kafka.create_topic('not-yet');
    await is_live(broker);
    /* It may have taken a new life, for which clients come again. The topic that was there goes on where it was. */
    const again = await eventually(() => subscribe(broker, '/sse?channels=*', { cursor: client.cursor }).catch(() => false), 'a stream');
    await again.received(1);
    await kafka.produce('not-yet', [{ key: 'd', value: '3' }]);
    await again.received(2);
    assert.deepEqual(values(again.events), [2, 3]);
  } finally {
    await broker.dispose();
  }
});
