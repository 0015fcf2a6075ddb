// The mirror: what an instance keeps of a topic, and what becomes of it when Kafka's own changes meanwhile.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { shared_kafka } from './lib/kafka.mjs';
import { is_degraded, is_live, metric_sum, parts_of, place_of, start_on, with_broker_on } from './lib/kafka_broker.mjs';
import { seeded } from './lib/random.mjs';
import { SseClient, subscribe } from './lib/sse.mjs';
import { eventually, logged, patience_ms, stand_still } from './lib/wait.mjs';

const timeout = 10 * patience_ms;
const cluster = shared_kafka();
const values = (events) => events.map(({ json }) => json.payload);
const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);
const records = (from, to, key = 'c') => numbers(from, to).map((n) => ({ key, value: String(n) }));

test('kafka: a restart goes on where the mirror ends; two instances give the same ids', { timeout }, async () => {
  const kafka = await cluster();
  const topic = await kafka.create_topic('restarted', { partitions: 2 });
  await with_broker_on(kafka, [topic], {}, async (broker) => {
    const client = await subscribe(broker, '/sse?channels=*');
    await kafka.produce(topic, records(1, 5));
    await client.received(5);
    await broker.stop();
    await kafka.produce(topic, records(6, 8));
    await broker.restart();
    const again = await subscribe(broker, '/sse?channels=*', { cursor: client.cursor });
    await again.received(3);
    assert.deepEqual(values(again.events), [6, 7, 8]);
    assert.ok(!again.all.some(({ type }) => type === 'resync'));
    /* Another instance, with a mirror of its own, knows the same ids and takes the same cursors. */
    await with_broker_on(kafka, [topic], {}, async (other) => {
      const all = await subscribe(other, '/sse?channels=*&from=earliest');
      await all.received(8);
      const ids = [...client.events, ...again.events].map(({ json }) => json.id);
      assert.deepEqual(all.events.map(({ json }) => json.id), ids);
      const moved = await subscribe(other, '/sse?channels=*', { cursor: client.cursor });
      await moved.received(3);
      assert.deepEqual(values(moved.events), [6, 7, 8]);
    });
  });
});

test('kafka: an empty mirror begins as far back as --kafka-backfill says', { timeout }, async () => {
  const kafka = await cluster();
  const topic = await kafka.create_topic('backfilled');
  const old = String(Date.now() - 3_600_000);
  await kafka.produce(topic, [{ key: 'c', value: '1', timestamp: old }]);
  await kafka.produce(topic, records(2, 3));
  for (const [backfill, expected] of [['10m', [2, 3]], ['2h', [1, 2, 3]], ['all', [1, 2, 3]]]) {
    await with_broker_on(kafka, [topic], { args: [`--kafka-backfill=${backfill}`] }, async (broker) => {
      const client = await subscribe(broker, '/sse?channels=*&from=earliest');
      await client.received(expected.length);
      await kafka.produce(topic, [{ key: 'c', value: '"end"' }]);
      await client.received(expected.length + 1);
      assert.deepEqual(values(client.events).filter((value) => value !== 'end').slice(0, 3), expected, backfill);
    });
  }
});

test('kafka: of a compacted topic snapshots are complete as soon as the broker is ready', { timeout }, async () => {
  const kafka = await cluster();
  const topic = await kafka.create_topic('compacted', {
    partitions: 2,
    config: { 'cleanup.policy': 'compact', 'segment.ms': 100, 'min.cleanable.dirty.ratio': 0.01, 'max.compaction.lag.ms': 100 },
  });
  const keys = numbers(1, 300).map((n) => `k${n}`);
  const round = (n) => kafka.produce(topic, keys.map((key) => ({ key, value: String(n) })));
  let rounds = 0;
  /* A segment is compacted once it is not the newest: records of some later round make it so. */
  await eventually(async () => {
    await round(++rounds);
    return (await kafka.read(topic)).length < rounds * keys.length;
  }, 'the compaction', 4 * patience_ms);
  const broker = await start_on(kafka, [topic], { args: ['--kafka-backfill=all'], wait: false });
  try {
    await is_live(broker);
    const client = await subscribe(broker, '/sse?channels=*&from=snapshot');
    await client.control('snapshot-end');
    const got = new Map(client.events.map(({ json }) => [json.channel, json.payload]));
    assert.equal(got.size, keys.length);
    for (const key of keys) assert.equal(got.get(key), rounds, key);
  } finally {
    await broker.dispose();
  }
});

test('kafka: holes of transactions, also at the end, delay nobody and double nothing', { timeout }, async () => {
  const kafka = await cluster();
  const topic = await kafka.create_topic('transactions');
  await kafka.transaction(topic, records(1, 2));
  await kafka.transaction(topic, records(100, 120), { abort: true });
  await kafka.transaction(topic, records(3, 4));
  await kafka.transaction(topic, records(200, 210), { abort: true });
  await with_broker_on(kafka, [topic], {}, async (broker) => {
    const client = await subscribe(broker, '/sse?channels=*&from=earliest');
    await client.received(4);
    const middle = client.events[1].id;
    await kafka.transaction(topic, records(300, 301), { abort: true });
    await kafka.transaction(topic, records(5, 6));
    await client.received(6);
    assert.deepEqual(values(client.events), numbers(1, 6));
    const truth = await kafka.read(topic);
    assert.deepEqual(client.events.map(place_of), truth.map(({ partition, offset }) => `${partition}-${offset}`));
    for (const cursor of [middle, client.events[3].id]) {
      const again = await subscribe(broker, '/sse?channels=*', { cursor });
      const rest = numbers(1, 6).slice(cursor === middle ? 2 : 4);
      await again.received(rest.length);
      assert.deepEqual(values(again.events), rest);
    }
    await broker.stop();
    await broker.restart();
    await is_live(broker);
    const after = await subscribe(broker, '/sse?channels=*&from=earliest');
    await after.received(6);
    assert.deepEqual(values(after.events), numbers(1, 6));
  });
});

/** Comes again with its cursor until the broker has told it of a resync; resolves to that client. */
async function resynced(broker, cursor, reason) {
  return eventually(async () => {
    const client = await subscribe(broker, '/sse?channels=*', { cursor }).catch(() => undefined);
    if (client === undefined) return false;
    const told = await client.control('resync', 1000).catch(() => undefined);
    if (told?.json.reason === reason) return client;
    client.cut();
    return false;
  }, () => `resync ${reason}; the broker's log:\n${broker.stderr}`, 4 * patience_ms);
}

for (const running of [false, true]) {
  test(`kafka: a topic that is made anew ${running ? 'while the broker runs' : 'while it is away'} is another history`, { timeout }, async () => {
    const kafka = await cluster();
    const topic = await kafka.create_topic(running ? 'anew-running' : 'anew-stopped');
    await with_broker_on(kafka, [topic], {}, async (broker) => {
      const client = await subscribe(broker, '/sse?channels=*');
      await kafka.produce(topic, records(1, 5));
      await client.received(5);
      if (!running) await broker.stop();
      await kafka.delete_topic(topic);
      await kafka.create_topic(topic);
      await kafka.produce(topic, records(11, 13));
      if (!running) await broker.restart();
      const later = await resynced(broker, client.cursor, 'history');
      const all = await subscribe(broker, '/sse?channels=*&from=earliest');
      await all.received(3);
      assert.deepEqual(values(all.events), [11, 12, 13]);
      assert.notEqual(parts_of(all.events[0].json.id).history, parts_of(client.events[0].json.id).history);
      await kafka.produce(topic, records(14, 14));
      await later.when((c) => c.events.some(({ json }) => json.payload === 14), 'what comes next');
      assert.equal(await metric_sum(broker, 'kafka_mirror_resets_total'), 1);
      await logged(broker, /generation/); /* which one to configure */
    });
  });
}

test('kafka: from=<ms> begins at the first record of that time or later, also where times go backwards', { timeout }, async (t) => {
  const kafka = await cluster();
  const topic = await kafka.create_topic('times');
  const own = seeded(t);
  /* Clocks of producers that differ, are set back, and run ahead; so many records that most are not in memory. */
  const began = Date.now() - 3_600_000;
  const times = numbers(0, 2999).map((n) => began + n * 1000 + own.between(-200_000, 200_000) - (n > 1500 && n < 1800 ? 1_000_000 : 0));
  const pad = 'x'.repeat(2000);
  for (let from = 0; from < times.length; from += 500) {
    await kafka.produce(topic, times.slice(from, from + 500).map((time, i) => ({ key: 'c', value: JSON.stringify({ n: from + i, pad }), timestamp: String(time) })));
  }
  const args = ['--kafka-backfill=all', '--tail-bytes=2MiB', '--log-segment-bytes=2MiB'];
  await with_broker_on(kafka, [topic], { args }, async (broker) => {
    for (let round = 0; round < 2; round++) {
      for (const ms of [0, times[0], ...numbers(1, 30).map(() => began + own.between(0, 3_000_000)), Math.max(...times)]) {
        const first = times.findIndex((time) => time >= ms);
        const expected = numbers(first, Math.min(first + 5, times.length - 1));
        const client = await subscribe(broker, `/sse?channels=c&from=${ms}`);
        await client.received(expected.length);
        assert.deepEqual(client.events.slice(0, expected.length).map(({ json }) => json.payload.n), expected, `from=${ms}, the log began at ${began}`);
        client.cut();
      }
      const live = await subscribe(broker, `/sse?channels=c&from=${Math.max(...times) + 1}`);
      await kafka.produce(topic, [{ key: 'c', value: `{"n":${times.length}}`, timestamp: String(Math.max(...times)) }]);
      times.push(Math.max(...times));
      await kafka.produce(topic, [{ key: 'c', value: `{"n":${times.length}}`, timestamp: String(Math.max(...times) + 1) }]);
      times.push(Math.max(...times) + 1);
      await live.when((c) => c.events.some(({ json }) => json.payload.n === times.length - 1), 'the newest');
      live.cut();
      await broker.stop();
      await broker.restart();
    }
  });
});

for (const running of [false, true]) {
  test(`kafka: Kafka's retention has gone past ${running ? 'a broker that hung' : 'the mirror'}: old cursors expire`, { timeout }, async () => {
    const kafka = await cluster();
    const topic = await kafka.create_topic(running ? 'expired-running' : 'expired');
    await with_broker_on(kafka, [topic], {}, async (broker) => {
      const client = await subscribe(broker, '/sse?channels=*');
      await kafka.produce(topic, records(1, 5));
      await client.received(5);
      let last = 5;
      for (let round = 0, missed = true; missed; round++) {
        assert.ok(round < 10, 'the broker was stopped too late each time');
        if (running) await stand_still(broker.pid);
        else await broker.stop();
        /* A broker that hangs may have asked for the first of them; under load Kafka answers that with all of them. */
        await kafka.produce(topic, records(last + 1, last + 1));
        await kafka.produce(topic, records(last + 2, last + 5));
        await kafka.delete_records(topic, 0, last + 3);
        last += 5;
        if (running) process.kill(broker.pid, 'SIGCONT');
        else await broker.restart();
        const expired = async () => (await metric_sum(broker, 'kafka_mirror_resets_total', 'expired').catch(() => 0)) === 1;
        missed = running && (await eventually(async () => ((await expired()) ? 'expired' : client.events.length >= last && 'all'), 'what became of the gap')) === 'all';
      }
      const later = await resynced(broker, client.cursor, 'expired');
      await later.received(2);
      assert.deepEqual(values(later.events), [last - 1, last]);
      assert.equal(await metric_sum(broker, 'kafka_mirror_resets_total', 'expired'), 1);
    });
  });
}

test('kafka: an unreadable mirror is fetched again', { timeout }, async () => {
  const kafka = await cluster();
  const topic = await kafka.create_topic('damaged');
  await with_broker_on(kafka, [topic], {}, async (broker) => {
    const client = await subscribe(broker, '/sse?channels=*');
    await kafka.produce(topic, records(1, 5));
    await client.received(5);
    await broker.stop();
    const directory = path.join(broker.data, 'kafka', topic, '0');
    const segments = fs.readdirSync(directory).filter((name) => name.endsWith('.seg'));
    assert.ok(segments.length > 0);
    for (const name of segments) fs.writeFileSync(path.join(directory, name), 'no segment');
    await kafka.produce(topic, records(6, 7));
    await broker.restart();
    await is_live(broker);
    const all = await subscribe(broker, '/sse?channels=*&from=earliest');
    await all.received(7);
    assert.deepEqual(values(all.events), numbers(1, 7));
  });
});

test('kafka: while Kafka is away an instance starts from its mirror and serves it', { timeout }, async () => {
  const kafka = await cluster();
  const topic = await kafka.create_topic('alone');
  await with_broker_on(kafka, [topic], {}, async (broker) => {
    const client = await subscribe(broker, '/sse?channels=*');
    await kafka.produce(topic, records(1, 5));
    await client.received(5);
    await broker.stop();
    await kafka.produce(topic, records(6, 6));
    await kafka.nodes[0].kill();
    await broker.restart();
    await is_degraded(broker);
    const all = await subscribe(broker, '/sse?channels=*&from=earliest');
    await all.received(5);
    const moved = await SseClient.open(broker, '/sse?channels=*', { cursor: client.cursor });
    const feed = await moved.control('feed');
    assert.equal(feed.json.state, 'stale');
    await kafka.start();
    await moved.received(1);
    assert.deepEqual(values(moved.events), [6]);
    await moved.when((c) => c.all.some(({ type, json }) => type === 'feed' && json.state === 'live'), 'feed live');
    await is_live(broker);
  });
});
