// Heartbeats move a client's cursor without an event. Their ids must be true: never ahead of what is still to
// come, in any state. So clients are cut off at them, and must not miss a thing.

import assert from 'node:assert/strict';
import { broker_test } from './lib/broker.mjs';
import { Counter, Sequence } from './lib/counter.mjs';
import { publish_lines } from './lib/publish.mjs';
import { seeded } from './lib/random.mjs';
import { Feed, parts } from './lib/snapshot.mjs';
import { SseClient, subscribe } from './lib/sse.mjs';

const range = (n, f) => Array.from({ length: n }, (_, i) => f(i));
const beats = ['--heartbeat-ms=100'];

/** Follows `channels` over many connections, each cut off at a bare id. */
async function follow(broker, counter, channels, { rounds, done, keep }) {
  let bare = 0;
  for (let round = 0; round < rounds || !done(); round++) {
    assert.ok(round < 5000, 'it comes to an end');
    let reached;
    const bare_id = new Promise((resolve) => (reached = resolve));
    const client = await SseClient.open(broker, `/sse?channels=${channels}`, {
      keep,
      on_block(block) {
        if (block.id === undefined) return;
        bare++;
        reached();
      },
      on_event: (event) => event.control || counter.take(event),
    });
    await Promise.race([bare_id, client.closed()]);
    client.cut();
    if (client.problem) throw client.problem;
    keep = client;
  }
  return bare;
}

for (const partitions of [1, 4]) {
  broker_test(
    `cut off at a bare id, a client misses nothing, ${partitions} partition(s)`,
    { args: [...beats, `--log-partitions=${partitions}`], small: partitions === 4 },
    async (broker, t) => {
      const random = seeded(t);
      const busy = range(20, (i) => `busy.${i}`);
      const rare = ['rare.1', 'rare.2', 'rare.3'];
      const sequence = new Sequence();
      /* By the clock, as heartbeats are: the slower this machine, the fewer events are between two rare ones. */
      let last = performance.now();
      const is_rare = () => performance.now() - last > 250 && (last = performance.now());
      const feed = new Feed(broker, publish_lines, () => sequence.event(is_rare() ? random.pick(rare) : random.pick(busy)), { per: 100 });
      const counters = [new Counter(), new Counter()];
      const followed = [['rare.1'], rare];
      const done = followed.map((channels, i) => () => channels.every((c) => counters[i].newest(c) >= 3));
      const bare = await Promise.all(
        followed.map((channels, i) => follow(broker, counters[i], channels, { rounds: 10, done: done[i] })),
      );
      await feed.stop();
      for (const counter of counters) counter.assert_exact();
      for (const n of bare) assert.ok(n >= 10);
    },
  );
}

broker_test('a client that catches up far behind gets ids that are true', { args: [...beats, '--log-partitions=2'] }, async (broker) => {
  /* Nothing of its channels among much that is: while it reads, heartbeats say how far it has come. */
  const sequence = new Sequence();
  const start = await subscribe(broker, '/sse?channels=rare,other');
  start.cut();
  for (let i = 0; i < 40; i++) {
    await publish_lines(broker, range(500, () => sequence.event('busy', { payload: { pad: 'x'.repeat(500) } })));
    if (i % 10 === 9) await publish_lines(broker, [sequence.event('rare')]);
  }
  const counter = new Counter();
  const feed = new Feed(broker, publish_lines, () => sequence.event('busy')); /* cursors go on moving */
  const bare = await follow(broker, counter, ['rare', 'other'], {
    rounds: 3,
    done: () => counter.newest('rare') === 4,
    keep: start,
  });
  await feed.stop();
  assert.ok(bare >= 3);
  counter.assert_exact();
});

broker_test('before snapshot-end a heartbeat is a comment alone', { args: [...beats, '--outbox-bytes=4KiB'] }, async (broker) => {
  const payload = 'x'.repeat(20_000);
  await publish_lines(broker, range(500, (i) => ({ channel: `c${i}`, payload })));
  const ids = [];
  const client = await SseClient.open(broker, '/sse?channels=*&from=snapshot', { on_block: (block) => ids.push(block) });
  client.pause();
  const others = await subscribe(broker, '/sse?channels=none');
  await others.when((c) => c.comments.length >= 3, 'time to pass: three heartbeats of another client');
  client.resume();
  await client.control('snapshot-end');
  const before = client.all.findIndex((event) => event.type === 'snapshot-end');
  for (const event of client.all.slice(0, before)) assert.equal(event.id, undefined);
  assert.equal(parts(client).before.length, 500);
  const id = client.cursor;
  assert.equal(id, client.all[before].id);
  client.cut();
  others.cut();
});
