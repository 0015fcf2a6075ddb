// How far the broker is behind Kafka: by its metrics, and by Kafka's own tools.

import assert from 'node:assert/strict';
import test from 'node:test';
import { shared_kafka } from './lib/kafka.mjs';
import { metric_sum, with_broker_on } from './lib/kafka_broker.mjs';
import { metric } from './lib/metrics.mjs';
import { eventually, patience_ms } from './lib/wait.mjs';

const timeout = 10 * patience_ms;
const cluster = shared_kafka();

/** The rows of `kafka-consumer-groups --describe`: partition -> { current, end, lag }. */
async function described(kafka, group) {
  const text = await kafka.tool('org.apache.kafka.tools.consumer.group.ConsumerGroupCommand', ['--describe', '--group', group]);
  const rows = text.split('\n').map((line) => line.trim().split(/\s+/)).filter(([name]) => name === group);
  return new Map(rows.map(([, , partition, current, end, lag]) => [Number(partition), { current: Number(current), end: Number(end), lag: Number(lag) }]));
}

test('kafka: metrics for each partition, and the group that Kafka shows', { timeout }, async () => {
  const kafka = await cluster();
  const topic = await kafka.create_topic('lagging', { partitions: 2 });
  const produce = (count) => kafka.produce(topic, Array.from({ length: count }, (_, i) => ({ key: 'c', value: String(i), partition: i % 2 })));
  await with_broker_on(kafka, [topic], { args: ['--kafka-commit-group=tickertape-one'] }, async (broker) => {
    await produce(10);
    for (const partition of [0, 1]) {
      await eventually(async () => (await metric(broker, `kafka_lag{topic="${topic}",partition="${partition}"}`)) === 0, `no lag of partition ${partition}`);
    }
    await eventually(async () => (await metric_sum(broker, 'events_total', 'kafka')) === 10, 'ten events of Kafka');
    await eventually(async () => {
      const offsets = await kafka.admin((admin) => admin.fetchOffsets({ groupId: 'tickertape-one', topics: [topic] }));
      return offsets[0].partitions.length === 2 && offsets[0].partitions.every(({ offset }) => offset === '5');
    }, 'what was read is committed');
    await broker.stop();
    await produce(6);
    assert.deepEqual([...(await described(kafka, 'tickertape-one')).entries()].sort(), [
      [0, { current: 5, end: 8, lag: 3 }],
      [1, { current: 5, end: 8, lag: 3 }],
    ]);
  });
});
