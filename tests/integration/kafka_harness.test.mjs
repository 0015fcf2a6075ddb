// The Kafka of the tests does what the tests of the broker need from it (no broker).

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import test from 'node:test';
import { shared_kafka, users } from './lib/kafka.mjs';
import { eventually, patience_ms } from './lib/wait.mjs';

const timeout = 12 * patience_ms;
const cluster = shared_kafka({ listeners: ['SSL', 'SASL_SSL', 'SASL_PLAINTEXT'], acls: true });

const payloads = (records) => records.map((record) => record.payload);

test('kafka: keys, headers, tombstones, timestamps and what kcat writes come back', { timeout }, async () => {
  const kafka = await cluster();
  const topic = await kafka.create_topic('plain', { partitions: 2 });
  await kafka.produce(topic, [
    { key: 'a', value: 'one', partition: 1, headers: { h: 'v' }, timestamp: '1700000000000' },
    { key: 'a', value: null, partition: 1 },
  ]);
  await kafka.kcat_produce(topic, [['k', 'from kcat']], ['-p', '0', '-H', 'x=y']);
  const records = await kafka.read(topic);
  const [first, second] = records.filter((record) => record.partition === 1);
  assert.deepEqual(
    { offset: first.offset, key: first.key, payload: first.payload, headers: first.headers, ts: first.ts },
    { offset: 0, key: 'a', payload: 'one', headers: ['h', 'v'], ts: 1700000000000 },
  );
  assert.equal(second.payload, null);
  const [third] = records.filter((record) => record.partition === 0);
  assert.deepEqual({ key: third.key, payload: third.payload, headers: third.headers }, { key: 'k', payload: 'from kcat', headers: ['x', 'y'] });
});

test('kafka: records are deleted, partitions added, a topic is made anew', { timeout }, async () => {
  const kafka = await cluster();
  const topic = await kafka.create_topic('changing');
  await kafka.produce(topic, ['1', '2', '3'].map((value) => ({ value })));
  await kafka.delete_records(topic, 0, 2);
  assert.deepEqual(await kafka.ends(topic), [{ low: 2, high: 3 }]);
  await kafka.add_partitions(topic, 3);
  assert.equal((await kafka.ends(topic)).length, 3);
  await kafka.delete_topic(topic);
  await kafka.create_topic(topic);
  assert.deepEqual(await kafka.ends(topic), [{ low: 0, high: 0 }]);
});

test('kafka: an aborted transaction leaves a hole', { timeout }, async () => {
  const kafka = await cluster();
  const topic = await kafka.create_topic('holes');
  await kafka.transaction(topic, [{ value: 'a' }]);
  await kafka.transaction(topic, [{ value: 'b' }, { value: 'c' }], { abort: true });
  await kafka.transaction(topic, [{ value: 'd' }]);
  const records = await kafka.read(topic);
  assert.deepEqual(payloads(records), ['a', 'd']);
  assert.deepEqual(records.map((record) => record.offset), [0, 5]);
});

test('kafka: Java hashes keys as kafkajs does, and otherwise than kcat', { timeout }, async () => {
  const kafka = await cluster();
  const topic = await kafka.create_topic('hashes', { partitions: 8 });
  const java = kafka.java_producer(topic);
  java.write('stock.AAPL', 'java');
  await java.end();
  await kafka.produce(topic, [{ key: 'stock.AAPL', value: 'kafkajs' }]);
  await kafka.kcat_produce(topic, [['stock.AAPL', 'kcat']], ['-X', 'topic.partitioner=consistent']);
  const at = Object.fromEntries((await kafka.read(topic)).map((record) => [record.payload, record.partition]));
  assert.equal(at.java, at.kafkajs);
  assert.notEqual(at.java, at.kcat);
});

test('kafka: TLS, SCRAM, PLAIN, and whoever may not is refused', { timeout }, async () => {
  const kafka = await cluster();
  const topic = await kafka.create_topic('secured');
  await kafka.produce(topic, [{ value: 'secret' }]);
  await kafka.allow('alice', 'TOPIC', topic, ['READ', 'DESCRIBE']);
  const tls = ['-X', `ssl.ca.location=${kafka.ca}`];
  const login = (mechanism, user, secret) => ['-X', `sasl.mechanism=${mechanism}`, '-X', `sasl.username=${user}`, '-X', `sasl.password=${secret}`];
  const read = (listener, more) =>
    kafka.kcat(['-b', kafka.address(listener), '-X', `security.protocol=${listener}`, ...more, '-C', '-q', '-e', '-t', topic, '-o', 'beginning', '-m', '5']);
  assert.equal(await read('SSL', tls), 'secret\n');
  assert.equal(await read('SASL_PLAINTEXT', login('PLAIN', 'alice', users.alice)), 'secret\n');
  assert.equal(await read('SASL_SSL', [...tls, ...login('SCRAM-SHA-256', 'alice', users.alice)]), 'secret\n');
  const refused = [
    read('SASL_PLAINTEXT', login('PLAIN', 'alice', 'wrong')),
    read('SASL_SSL', [...tls, ...login('SCRAM-SHA-256', 'alice', 'wrong')]),
    read('SASL_PLAINTEXT', login('PLAIN', 'bob', users.bob)),
    read('SSL', []),
  ];
  await Promise.all(refused.map((each) => assert.rejects(each, /ERROR: /)));
});

test('kafka: what was acknowledged is there after kill -9 and a stop, on the same ports', { timeout }, async () => {
  const kafka = await cluster();
  const topic = await kafka.create_topic('lasting');
  const [node] = kafka.nodes;
  const before = kafka.brokers;
  await kafka.produce(topic, [{ value: 'before' }]);
  await node.kill();
  await assert.rejects(kafka.ends(topic));
  await kafka.start();
  assert.equal(kafka.brokers, before);
  await node.pause();
  const produced = kafka.produce(topic, [{ value: 'while it stood still' }]);
  node.resume();
  await produced;
  await node.stop();

  await kafka.start();
  assert.deepEqual(payloads(await kafka.read(topic)), ['before', 'while it stood still']);
});

test('kafka: nodes end with the process that started them', { timeout }, async () => {
  const code = `
    import { Kafka } from '${new URL('./lib/kafka.mjs', import.meta.url)}';
    const kafka = await Kafka.start();
    console.log(JSON.stringify({ pid: kafka.nodes[0].process.child.pid, directory: kafka.directory }));
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (more) => (text += more));
  const line = await eventually(() => /^\{.*\}$/m.exec(text)?.[0], 'a Kafka of another process', 4 * patience_ms);
  const { pid, directory } = JSON.parse(line);
  const alive = () => fs.existsSync(`/proc/${pid}`) && !/^State:\s*[ZX]/m.test(fs.readFileSync(`/proc/${pid}/status`, 'utf8'));
  assert.ok(alive());
  child.kill('SIGKILL');
  await eventually(() => !alive(), 'its end');
  fs.rmSync(directory, { recursive: true, force: true });
});
