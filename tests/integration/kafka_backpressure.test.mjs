// A topic that comes faster than the tails can hold: the broker stops reading until there is room, and skips nothing.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import test from 'node:test';
import { shared_kafka } from './lib/kafka.mjs';
import { start_on } from './lib/kafka_broker.mjs';
import { metric } from './lib/metrics.mjs';
import { SseClient } from './lib/sse.mjs';
import { patience_ms } from './lib/wait.mjs';

const timeout = 10 * patience_ms;
const cluster = shared_kafka();

/** Most memory that the process has had, in bytes. */
function peak_of(pid) {
  return 1024 * Number(/^VmHWM:\s*(\d+) kB$/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))[1]);
}

test('kafka: small tails and a fast producer: nothing is skipped, memory stays in its bound', { timeout }, async () => {
  const kafka = await cluster();
  const topic = await kafka.create_topic('flood', { partitions: 2 });
  const count = process.env.TT_LONG === '1' ? 600_000 : 60_000;
  const pad = 'x'.repeat(250);
  const flood = (first, last) =>
    kafka.kcat_produce(topic, Array.from({ length: last - first + 1 }, (_, i) => [`c${i % 100}`, `{"n":${first + i},"pad":"${pad}"}`]), ['-X', 'queue.buffering.max.messages=1000000']);
  await flood(1, count / 2); /* comes at once, as backfill */
  const args = ['--tail-bytes=2MiB', '--kafka-queued-bytes=1MiB', '--kafka-spare-partitions=0'];
  const broker = await start_on(kafka, [topic], { args });
  try {
    const client = await SseClient.open(broker, '/sse?channels=*&from=earliest');
    await flood(count / 2 + 1, count); /* live, while a client reads the log */
    await client.received(count, 4 * patience_ms);
    assert.ok(!client.all.some(({ type, control }) => control && type !== 'connected'), 'nobody was told of a loss');
    const seen = new Set(client.events.map(({ json }) => json.payload.n));
    assert.equal(seen.size, count, 'each once');
    const bound = await metric(broker, 'memory_bound_bytes');
    assert.ok(peak_of(broker.pid) < bound + (64 << 20), `${peak_of(broker.pid)} bytes at most; the bound is ${bound}, and there is code`);
  } finally {
    await broker.dispose();
  }
});
