// Records of Kafka become events (asan too): the mapping of each topic, what cannot be used, several topics.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import test from 'node:test';
import { run_to_end, temporary_directory } from './lib/broker.mjs';
import { request } from './lib/http.mjs';
import { shared_kafka } from './lib/kafka.mjs';
import { is_live, metric_sum, parts_of, start_on, with_broker_on } from './lib/kafka_broker.mjs';
import { subscribe } from './lib/sse.mjs';
import { eventually, patience_ms } from './lib/wait.mjs';

const timeout = 8 * patience_ms;
const cluster = shared_kafka();

/** What the events say, without their ids. */
const said = (events) => events.map(({ json: { id: _, ...rest } }) => rest);

test('kafka: a broker needs its address and the topics: what kcat produces arrives', { timeout }, async () => {
  const kafka = await cluster();
  const topic = await kafka.create_topic('quotes', { partitions: 3 });
  await with_broker_on(kafka, [topic], {}, async (broker) => {
    const client = await subscribe(broker, '/sse?channels=*');
    await kafka.kcat_produce(topic, [['stock.AAPL', '{"price":174.32}']], ['-H', 'source=nyse']);
    await client.received(1);
    await kafka.kcat(['-P', '-t', topic, '-X', 'acks=all'], '"without a key"\n');
    await client.received(2);
    const records = await kafka.read(topic);
    for (const event of client.events) {
      const { partition, offset } = parts_of(event.json.id);
      const record = records.find((each) => each.partition === partition && each.offset === offset);
      assert.ok(record, `${event.json.id} is a record of Kafka`);
      assert.equal(event.json.timestamp, record.ts);
      assert.equal(JSON.stringify(event.json.payload), record.payload);
      assert.equal(event.json.channel, record.key ?? topic);
      assert.equal(event.json.type, 'message');
    }
    assert.deepEqual(client.events[0].json.headers, { source: 'nyse' });
    assert.equal(client.events[1].json.headers, undefined);
  });
});

test('kafka: each topic has a mapping of its own', { timeout }, async () => {
  const kafka = await cluster();
  for (const topic of ['m.json', 'm.text', 'm.binary', 'm.envelope']) await kafka.create_topic(topic);
  const ini = [
    '[topic m.json]',
    'channel = stock.{key}',
    'type = quote',
    'headers = kept',
    '[topic m.text]',
    'channel = {topic}.{header:room}',
    'value = text',
    'headers = none',
    '[topic m.binary]',
    'value = binary',
    '[topic m.envelope]',
    'value = envelope',
  ];
  await with_broker_on(kafka, ['m.json', 'm.text', 'm.binary', 'm.envelope'], { ini }, async (broker) => {
    const client = await subscribe(broker, '/sse?channels=*');
    const timestamp = '1700000000000';
    await kafka.produce('m.json', [{ key: 'AAPL', value: '{"a": 1}', timestamp, headers: { type: 'trade', conflate: 'false', kept: 'yes', other: 'no' } }]);
    await client.received(1);
    await kafka.produce('m.json', [{ key: 'AAPL', value: '[1]', timestamp }]);
    await client.received(2);
    await kafka.produce('m.text', [{ value: 'grüße "you"', timestamp, headers: { room: 'lobby' } }]);
    await client.received(3);
    await kafka.produce('m.binary', [{ key: 'bytes', value: Buffer.from([0, 255, 1]), timestamp }]);
    await client.received(4);
    await kafka.produce('m.envelope', [{ key: 'unused', value: '{"type":"order","channel":"user.42","payload":{"n":1}}', timestamp }]);
    await client.received(5);
    const at = 1700000000000;
    assert.deepEqual(said(client.events), [
      { type: 'trade', channel: 'stock.AAPL', payload: { a: 1 }, timestamp: at, conflate: false, headers: { kept: 'yes' } },
      { type: 'quote', channel: 'stock.AAPL', payload: [1], timestamp: at },
      { type: 'message', channel: 'm.text.lobby', payload: 'grüße "you"', timestamp: at },
      { type: 'message', channel: 'bytes', payload: 'AP8B', encoding: 'base64', timestamp: at },
      { type: 'order', channel: 'user.42', payload: { n: 1 }, timestamp: at },
    ]);
  });
});

test('kafka: a tombstone deletes the channel, and snapshots do not name it any more', { timeout }, async () => {
  const kafka = await cluster();
  const topic = await kafka.create_topic('values', { partitions: 2 });
  await with_broker_on(kafka, [topic], {}, async (broker) => {
    const client = await subscribe(broker, '/sse?channels=*');
    await kafka.produce(topic, [{ key: 'a', value: '1' }, { key: 'b', value: '2' }, { key: 'a', value: '3' }, { key: 'b', value: null }]);
    await client.received(4);
    const deleted = client.events.find((event) => event.json.op === 'delete');
    assert.equal(deleted.json.channel, 'b');
    assert.equal(deleted.json.payload, null);
    const later = await subscribe(broker, '/sse?channels=*&from=snapshot');
    await later.control('snapshot-end');
    assert.deepEqual(later.events.map(({ json }) => [json.channel, json.payload]), [['a', 3]]);
  });
});

test('kafka: what cannot be used is skipped, counted by reason and logged with its place; the partition goes on', { timeout }, async () => {
  const kafka = await cluster();
  const topic = await kafka.create_topic('poisoned');
  await with_broker_on(kafka, [topic], { args: ['--max-event-bytes=2KiB'] }, async (broker) => {
    const client = await subscribe(broker, '/sse?channels=*');
    await kafka.produce(topic, [
      { key: 'good', value: '1' },
      { key: 'bad', value: '{"a":' },
      { key: 'two words', value: '2' },
      { key: Buffer.from([0x66, 0xff]), value: '3' },
      { key: 'large', value: JSON.stringify('x'.repeat(4000)) },
      { key: 'good', value: '4', headers: { type: 'resync' } },
      { key: 'good', value: '5' },
    ]);
    await client.received(2);
    assert.deepEqual(client.events.map(({ json }) => json.payload), [1, 5]);
    assert.equal(parts_of(client.events[1].json.id).offset, 6, "ids are Kafka's offsets");
    for (const reason of ['json', 'channel', 'channel_not_utf8', 'too_large', 'reserved_type']) {
      assert.equal(await metric_sum(broker, 'kafka_skipped_total', `reason="${reason}"`), 1, reason);
    }
    await eventually(() => /poisoned\S*.*1/.test(broker.stderr), 'a log line');
  });
});

test('kafka: history by the time of records, and several events of each channel', { timeout }, async () => {
  const kafka = await cluster();
  const topic = await kafka.create_topic('past');
  const base = Date.now() - 3_600_000;
  await kafka.produce(topic, Array.from({ length: 10 }, (_, i) => ({ key: `c${i % 2}`, value: String(i), timestamp: String(base + i * 1000) })));
  await with_broker_on(kafka, [topic], {}, async (broker) => {
    const since = await subscribe(broker, `/sse?channels=*&from=${base + 5500}`);
    await since.received(4);
    assert.deepEqual(since.events.map(({ json }) => json.payload), [6, 7, 8, 9]);
    const last = await subscribe(broker, '/sse?channels=*&last=2');
    await last.control('snapshot-end');
    assert.deepEqual(last.events.map(({ json }) => json.payload), [6, 7, 8, 9]);
    const all = await subscribe(broker, '/sse?channels=*&from=earliest');
    await all.received(10);
  });
});

test('kafka: a regular expression names topics, also those that come later', { timeout }, async () => {
  const kafka = await cluster();
  await kafka.create_topic('feed-a');
  await kafka.create_topic('other');
  await with_broker_on(kafka, ['^feed-'], {}, async (broker) => {
    await kafka.produce('feed-a', [{ key: 'a', value: '1' }]);
    await kafka.produce('other', [{ key: 'x', value: '0' }]);
    const client = await subscribe(broker, '/sse?channels=*&from=earliest');
    await client.received(1);
    await kafka.create_topic('feed-b');
    /* The broker begins a new life for it: clients come again with their cursors, which do not know this topic. */
    await client.closed();
    const again = await eventually(() => subscribe(broker, '/sse?channels=*', { cursor: client.cursor }).catch(() => false), 'the next life');
    assert.equal((await again.control('resync')).json.reason, 'partial');
    await kafka.produce('feed-b', [{ key: 'b', value: '2' }]);
    await again.received(1);
    assert.deepEqual(again.events.map(({ json }) => json.channel), ['b']);
  });
});

test('kafka: secrets stand neither in the log nor in /status', { timeout }, async () => {
  const kafka = await cluster();
  const topic = await kafka.create_topic('secrets');
  const broker = await start_on(kafka, [topic], { args: ['--kafka-conf=sasl.password=very-secret-1', '--kafka-conf=ssl.key.password=very-secret-2', '--diag-level=debug'] });
  await is_live(broker);
  const status = await request(broker.ops, { path: '/status' });
  await broker.dispose();
  for (const text of [status.text, broker.stderr, broker.stdout]) assert.doesNotMatch(text, /very-secret/);
  assert.match(status.text, /secrets/, 'the topic is in /status');
});

test('kafka: options that cannot be meant are refused, by name', { timeout }, async () => {
  const data = temporary_directory();
  for (const [args, message] of [
    [['--kafka-brokers=127.0.0.1:1'], /kafka-topics/],
    [['--kafka-topics=a'], /kafka-brokers/],
    [['--kafka-brokers=127.0.0.1:1', '--kafka-topics=a/b'], /kafka-topics/],
    /* Only the library knows its properties, and it is loaded at start. */
    [['--kafka-brokers=127.0.0.1:1', '--kafka-topics=a', '--kafka-conf=no.such.property=1'], /no\.such\.property/],
  ]) {
    const { code, stderr } = await run_to_end(['--listen=127.0.0.1:0', '--ops-listen=127.0.0.1:0', `--data=${data}`, ...args], { limit_ms: patience_ms });
    assert.notEqual(code, 0, args.join(' '));
    assert.match(stderr, message, args.join(' '));
  }
  fs.rmSync(data, { recursive: true });
});
