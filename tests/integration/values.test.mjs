// The value of each channel outlives the segment that it stands in, clean stops and crashes; `op: delete` ends
// it; and the number of channels has a bound. What the broker has kept is read from its files by
// lib/valuesreader.mjs, which knows nothing but store/README.md.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { broker_test } from './lib/broker.mjs';
import { Sequence } from './lib/counter.mjs';
import { RawConnection, assert_error } from './lib/http.mjs';
import { metric } from './lib/metrics.mjs';
import { post, publish, publish_all, publish_lines } from './lib/publish.mjs';
import { seeded } from './lib/random.mjs';
import { Feed, numbers, parts } from './lib/snapshot.mjs';
import { subscribe } from './lib/sse.mjs';
import { read_values } from './lib/valuesreader.mjs';
import { eventually, logged } from './lib/wait.mjs';

const small_log = ['--log-segment-bytes=2MiB', '--tail-bytes=2MiB', '--log-retention-bytes=4MiB', '--drain-delay-ms=0'];

/** What was published: channel -> the payload of its value. */
class Model {
  constructor() {
    this.values = new Map();
  }

  event(channel, payload, more = {}) {
    if (more.op === 'delete') this.values.delete(channel);
    else if (more.conflate !== false) this.values.set(channel, payload);
    return { channel, ...(more.op === 'delete' ? {} : { payload }), ...more };
  }

  check(broker, forgotten = () => false) {
    const found = read_values(broker.data);
    for (const [channel, payload] of this.values) {
      if (forgotten(channel)) continue;
      assert.deepEqual(found.get(channel)?.payload, payload, `the value of ${channel}`);
    }
    for (const channel of found.keys()) assert.ok(this.values.has(channel), `${channel} has no value`);
    return found;
  }
}

const hot = 60; /* so many that each partition gets some of them */
let turn = 0;

/** What a client that asks for the state gets is what was published. */
async function check_snapshot(broker, model, pattern = '*') {
  const client = await subscribe(broker, `/sse?channels=${pattern}&from=snapshot`);
  await client.control('snapshot-end');
  const { before } = parts(client);
  const got = new Map(before.map(({ json }) => [json.channel, json.payload]));
  assert.equal(got.size, before.length, 'one value for each channel');
  const wanted = [...model.values].filter(([channel]) => pattern === '*' || channel.startsWith(pattern.slice(0, -1)));
  for (const [channel, payload] of wanted) assert.deepEqual(got.get(channel), payload, `the value of ${channel}`);
  assert.equal(got.size, wanted.length);
  client.cut();
}

/** First offsets of a partition's segments. */
const segments = (broker, partition) =>
  fs.readdirSync(path.join(broker.data, String(partition))).filter((name) => name.endsWith('.seg')).map((name) => Number(name.slice(0, 20)));

/** Publishes on channels of its own until everything that was in the log before is gone from it, `times` over. */
async function retire(broker, model, times = 1) {
  const pad = 'x'.repeat(10_000);
  const partitions = fs.readdirSync(broker.data).filter((name) => /^\d+$/.test(name));
  for (let i = 0; i < times; i++) {
    const newest = partitions.map((partition) => Math.max(...segments(broker, partition)));
    const left = () => partitions.some((partition) => Math.min(...segments(broker, partition)) <= newest[partition]);
    while (left()) {
      await publish_lines(broker, Array.from({ length: 40 }, () => model.event(`hot.${turn++ % hot}`, { n: turn, pad })));
    }
  }
}

for (const partitions of [1, 3]) {
  broker_test(`values outlive their segments, ${partitions} partitions`, { args: [...small_log, `--log-partitions=${partitions}`], small: partitions === 1 }, async (broker) => {
    const model = new Model();
    const slow = Array.from({ length: 200 }, (_, i) => model.event(`slow.${i}`, { first: i }));
    await publish_all(broker, slow);
    await publish_all(broker, [
      model.event('slow.0', null, { op: 'delete' }),
      model.event('slow.1', 'a trade', { conflate: false }),
      model.event('slow.2', { second: 2 }),
      model.event('trades', 'only a trade', { conflate: false }),
    ]);
    await check_snapshot(broker, model);
    await retire(broker, model, 2);
    await check_snapshot(broker, model);
    await check_snapshot(broker, model, 'slow.*');
    await publish_all(broker, [model.event('slow.3', null, { op: 'delete' }), model.event('slow.4', { third: 4 })]);
    await broker.stop();
    let found = model.check(broker);
    assert.ok([...found.values()].filter(({ kept }) => kept).length >= 190, 'most of them were kept');

    await broker.restart();
    assert.equal(await metric(broker, 'log_values_lost_total'), 0);
    await check_snapshot(broker, model);
    await retire(broker, model, 2);
    await check_snapshot(broker, model, 'slow.*');
    await broker.kill();
    await broker.restart();
    await check_snapshot(broker, model);
    await retire(broker, model);
    await check_snapshot(broker, model);
    await broker.stop();
    found = model.check(broker);
    assert.equal(found.get('slow.5').kept, true);
    assert.equal(found.has('slow.3'), false);
  });
}

broker_test('the checkpoint saves time and no more: damaged, the values come from the log', { args: small_log }, async (broker) => {
  const model = new Model();
  await publish_all(broker, Array.from({ length: 50 }, (_, i) => model.event(`slow.${i}`, i)));
  await retire(broker, model, 2);
  await publish(broker, model.event('slow.7', null, { op: 'delete' }));
  await retire(broker, model, 2);
  await broker.stop();
  const file = path.join(broker.data, '0', 'values');
  const bytes = fs.readFileSync(file);
  bytes[Math.floor(bytes.length / 2)] ^= 1;
  fs.writeFileSync(file, bytes);
  await broker.restart();
  await logged(broker, /values: cannot be used \(.*\): the values of channels are read from the whole log/);
  await retire(broker, model, 2);
  await broker.stop();
  model.check(broker);
});

broker_test('--log-keep-last=no: values go with their segments', { args: [...small_log, '--log-keep-last=no'] }, async (broker) => {
  const model = new Model();
  await publish_all(broker, Array.from({ length: 50 }, (_, i) => model.event(`slow.${i}`, i)));
  await retire(broker, model, 2);
  await eventually(async () => (await metric(broker, 'log_channels')) === hot, 'the channels are forgotten');
  await broker.stop();
  assert.deepEqual(fs.readdirSync(path.join(broker.data, '0')).filter((name) => name.endsWith('.val')), []);
  const found = model.check(broker, (channel) => channel.startsWith('slow.'));
  assert.equal(found.size, hot);
});

broker_test('switched off, it removes what it had kept', { args: small_log }, async (broker) => {
  const model = new Model();
  await publish_all(broker, Array.from({ length: 50 }, (_, i) => model.event(`slow.${i}`, i)));
  await retire(broker, model, 2);
  await broker.stop();
  assert.ok(fs.existsSync(path.join(broker.data, '0', '0000000.val')));
  await broker.restart({ args: ['--log-keep-last=no'] });
  await eventually(() => !fs.existsSync(path.join(broker.data, '0', '0000000.val')), 'the kept file is gone');
});

broker_test('deleted channels do not fill the table', { args: [...small_log, '--channels-max=1000'] }, async (broker, t) => {
  const { next } = seeded(t);
  const model = new Model();
  for (let round = 0; round < 8; round++) {
    const names = Array.from({ length: 300 }, (_, i) => `round.${round}.${i}`);
    await publish_all(broker, names.map((name) => model.event(name, round)));
    if (next() < 0.5) await retire(broker, model);
    await publish_all(broker, names.map((name) => model.event(name, null, { op: 'delete' })));
    await retire(broker, model);
    await eventually(async () => (await metric(broker, 'log_channels')) < 600, 'deleted channels are gone');
  }
  await broker.stop();
  model.check(broker);
});

broker_test('snapshots while segments go and kept files are rewritten', { args: [...small_log, '--channels-max=600'] }, async (broker, t) => {
  const random = seeded(t);
  const sequence = new Sequence();
  const slow = Array.from({ length: 150 }, (_, i) => `slow.${i}`);
  await publish_all(broker, slow.map((channel) => sequence.event(channel)));
  const pad = 'x'.repeat(10_000);
  let made = 0;
  const make = () => {
    const what = random.next();
    if (what < 0.1) return sequence.event(random.pick(slow));
    if (what < 0.2) return sequence.event(`short.${made++}`);
    if (what < 0.3 && made > 100) return { channel: `short.${made - 100}`, op: 'delete' }; /* some more than once */
    return sequence.event(`hot.${random.between(0, 2)}`, { payload: { pad } });
  };
  const kept = () => fs.readdirSync(path.join(broker.data, '0')).filter((name) => name.endsWith('.val')).sort();
  const removed = () => Number((kept()[0] ?? '0').slice(0, 7)); /* files that were */
  /* Not all that is made is deleted: what is left would fill the table. */
  const feed = new Feed(broker, publish_lines, () => (made > 300 ? ((made = 0), make()) : make()), { per: 40 });
  for (let i = 0; i < 8 || removed() < 2; i++) {
    await feed.more(12);
    const client = await subscribe(broker, '/sse?channels=slow.*&from=snapshot');
    await client.control('snapshot-end');
    await feed.more(3);
    const { before, after } = parts(client);
    const values = numbers(before);
    const live = numbers(after);
    for (const channel of slow) {
      const [value, ...more] = values.get(channel) ?? [];
      const next = live.get(channel) ?? [];
      assert.deepEqual(more, [], `${channel}: one value`);
      assert.ok(value !== undefined || next.length > 0, `${channel}: its value is missing`);
      if (value !== undefined && next.length > 0) assert.equal(next[0], value + 1, `${channel}: the join`);
      for (let k = 1; k < next.length; k++) assert.equal(next[k], next[k - 1] + 1, `${channel}: in order`);
    }
    client.cut();
  }
  await feed.stop();
  await broker.stop();
  const found = read_values(broker.data);
  for (const channel of slow) assert.equal(found.get(channel)?.payload.n, sequence.newest(channel), channel);
});

broker_test('one channel more than --channels-max is refused, and nothing of its batch is taken', { args: [...small_log, `--channels-max=${hot + 4}`], small: true }, async (broker) => {
  const model = new Model();
  const event = (channel, payload = channel) => model.event(channel, payload);
  const refuse = async (body, headers) => {
    const answer = await post(broker, '/publish', body, { headers });
    assert_error(answer, 503, '--channels-max');
    assert.equal(answer.json.error.code, 'channels_max');
  };
  await publish_all(broker, ['a', 'b', ...Array.from({ length: hot }, (_, i) => `hot.${i}`)].map((channel) => event(channel)));
  for (let tries = 0; tries < 2; tries++) {
    await refuse(JSON.stringify(['c', 'd', 'a', 'e'].map((channel) => ({ channel, payload: 'not taken' }))));
  }
  await publish_all(broker, [event('a', 2), event('c'), event('d')]);
  await refuse('{"channel":"e","payload":1}');
  await publish_all(broker, [event('b', 3), event('a', 3)]);
  await refuse('{"channel":"a","payload":4}\n{"channel":"e","payload":4}\n', { 'content-type': 'application/x-ndjson' });
  assert.equal(await metric(broker, 'log_channels'), hot + 4);
  /* A channel without value makes room, once its events have expired. */
  await publish_all(broker, [event('a', 5), model.event('b', null, { op: 'delete' })]);
  await retire(broker, model, 2);
  await eventually(async () => (await metric(broker, 'log_channels')) === hot + 3, 'a channel is gone');
  await publish(broker, event('e'));
  /* What is there at start-up counts, even if the option says less now. */
  await broker.stop();
  await broker.restart({ args: ['--channels-max=2'] });
  assert.equal(await metric(broker, 'log_channels'), hot + 4);
  await publish_all(broker, [event('a', 6), event('c', 6)]);
  await refuse('{"channel":"f","payload":1}');
  await broker.stop();
  model.check(broker);
});

broker_test('a connection goes on behind a stream that was refused early', { args: ['--channels-max=1'], small: true }, async (broker) => {
  await publish(broker, { channel: 'a', payload: 1 });
  const raw = await RawConnection.open(broker.http);
  const pad = 'x'.repeat(3000);
  const body = Array.from({ length: 60 }, () => JSON.stringify({ channel: 'b', payload: pad })).join('\n');
  for (let i = 0; i < 5; i++) {
    raw.send(`POST /publish HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    const answer = await raw.read_response({ method: 'POST' });
    assert_error(answer, 503, 'line 1', '0 events were taken');
  }
  raw.cut();
});
