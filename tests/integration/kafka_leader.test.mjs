// Three nodes: leaders move, the leader is killed and comes again, and every record comes once.

import assert from 'node:assert/strict';
import test from 'node:test';
import { shared_kafka } from './lib/kafka.mjs';
import { is_live, place_of, start_on } from './lib/kafka_broker.mjs';
import { subscribe } from './lib/sse.mjs';
import { pass_ms, patience_ms } from './lib/wait.mjs';

const timeout = 16 * patience_ms;
const cluster = shared_kafka({ nodes: 3 });

test('kafka: leaders move and die while records come', { timeout }, async () => {
  const kafka = await cluster();
  const topic = await kafka.create_topic('moving', { partitions: 3 });
  const broker = await start_on(kafka, [topic]);
  try {
    const client = await subscribe(broker, '/sse?channels=*');
    let going = true;
    let n = 0;
    const producing = (async () => {
      while (going) {
        await kafka.produce(topic, [0, 1, 2].map((partition) => ({ key: `c${partition}`, value: String(++n), partition })));
        await pass_ms(20); /* the rate */
      }
    })();
    producing.catch(() => {}); /* awaited below */
    const comes = () => client.received(client.events.length + 3, 4 * patience_ms);
    await comes();
    for (const partition of [0, 1]) {
      await kafka.move_leader(topic, partition);
      await comes();
    }
    const { leader } = (await kafka.partitions(topic))[2];
    const node = kafka.nodes[leader - 1];
    await node.kill();
    const before = client.events.filter(({ json }) => json.channel === 'c2').length;
    await client.when((c) => c.events.filter(({ json }) => json.channel === 'c2').length > before + 3, 'records of the next leader', 4 * patience_ms);
    await kafka.start();
    await comes();
    going = false;
    await producing;
    const truth = await kafka.read(topic);
    await client.received(truth.length, 2 * patience_ms);
    assert.deepEqual(client.events.map(place_of).sort(), truth.map(({ partition, offset }) => `${partition}-${offset}`).sort());
    await is_live(broker);
  } finally {
    await broker.dispose();
  }
});
