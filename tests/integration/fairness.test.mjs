// A shard under a storm of replays still serves heartbeats, publishes and live events: all of what is counted here
// comes while the storm is under way, not behind it.

import assert from 'node:assert/strict';
import { Worker } from 'node:worker_threads';
import { broker_test } from './lib/broker.mjs';
import { Counter, Sequence } from './lib/counter.mjs';
import { metric } from './lib/metrics.mjs';
import { publish, publish_lines } from './lib/publish.mjs';
import { subscribe } from './lib/sse.mjs';
import { eventually, patience_ms } from './lib/wait.mjs';

const clients = 60;
const pad = 'x'.repeat(2000);

/** Clients that read everything from the beginning as fast as they can, and throw it away: in a thread of their own. */
function storm(broker, count) {
  const code = `
    const net = require('node:net');
    const { parentPort, workerData } = require('node:worker_threads');
    const sockets = Array.from({ length: workerData.count }, () => {
      const socket = net.connect(workerData.where);
      socket.on('error', () => {});
      socket.write('GET /sse?channels=old&from=earliest HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n');
      socket.resume();
      return socket;
    });
    parentPort.on('message', () => { for (const socket of sockets) socket.destroy(); parentPort.close(); });`;
  const worker = new Worker(code, { eval: true, workerData: { where: broker.http, count } });
  worker.unref(); /* a test that fails does not end it */
  return { end: () => new Promise((resolve) => worker.once('exit', resolve).postMessage('end')) };
}

/* From memory, from segments, and both at once; one shard has it all. */
for (const [what, tail, segment] of [['memory', '64MiB', '64MiB'], ['segments', '2MiB', '8MiB']]) {
  broker_test(`while ${clients} clients replay from ${what}, publishes, live events and heartbeats are served`,
    { args: [`--tail-bytes=${tail}`, `--log-segment-bytes=${segment}`, '--heartbeat-ms=100ms', '--shards=1'], timeout: 8 * patience_ms }, async (broker, t) => {
      const old = new Sequence();
      for (let i = 0; i < 80; i++) {
        await publish_lines(broker, Array.from({ length: 200 }, () => old.event('old', { payload: { pad } })));
      }
      const idle = await subscribe(broker, '/sse?channels=nothing');
      const counter = new Counter();
      const live = await subscribe(broker, '/sse?channels=c', { on_event: (event) => event.control || counter.take(event) });
      const stormy = storm(broker, clients);
      await eventually(async () => (await metric(broker, 'replayed_events_total')) > 0, 'the storm to begin');
      const before = { beats: idle.comments.length, turns: await metric(broker, 'shard_turns_total{shard="0"}') };
      const sequence = new Sequence();
      let published = 0;
      /* One after another: each is answered and delivered before the next. */
      while (published < 40 || (idle.comments.length - before.beats < 3 && (await metric(broker, 'clients{transport="sse",state="catchup"}')) > 0)) {
        await publish(broker, sequence.event('c'));
        published++;
        await live.received(published);
      }
      const replayed = await metric(broker, 'replayed_events_total');
      const turns = (await metric(broker, 'shard_turns_total{shard="0"}')) - before.turns;
      t.diagnostic(`${published} publishes and ${idle.comments.length - before.beats} heartbeats in ${turns} turns, ${replayed} of ${clients * old.total} events replayed`);
      assert.ok(replayed < clients * old.total, 'the storm is still under way');
      assert.ok(idle.comments.length - before.beats >= 3, 'heartbeats came meanwhile');
      counter.assert_exact();
      const longest = await metric(broker, 'shard_turn_seconds_max{shard="0"}');
      const busy = await metric(broker, 'shard_busy_ratio{shard="0"}');
      assert.ok(longest > 0 && longest < patience_ms / 1000, `shard_turn_seconds_max ${longest}`);
      assert.ok(busy >= 0 && busy <= 1, `shard_busy_ratio ${busy}`);
      await stormy.end();
      live.cut();
      idle.cut();
    });
}

broker_test('a storm of publishes does not keep a replay from its end', { args: ['--shards=1', '--tail-bytes=8MiB', '--log-segment-bytes=8MiB'] }, async (broker) => {
  const old = new Sequence();
  for (let i = 0; i < 20; i++) await publish_lines(broker, Array.from({ length: 200 }, () => old.event('old', { payload: { pad } })));
  let going = true;
  const other = new Sequence();
  const publishers = Array.from({ length: 8 }, async (_, k) => {
    let batches = 0;
    while (going) {
      await publish_lines(broker, Array.from({ length: 500 }, () => other.event(`new.${k}`)));
      batches++;
    }
    return batches;
  });
  const counter = new Counter();
  const client = await subscribe(broker, '/sse?channels=old&from=earliest', { on_event: (event) => event.control || counter.take(event) });
  await client.received(old.total, 2 * patience_ms);
  counter.assert_exact();
  going = false;
  assert.ok((await Promise.all(publishers)).every((batches) => batches > 0), 'every publisher was served meanwhile');
  client.cut();
});
