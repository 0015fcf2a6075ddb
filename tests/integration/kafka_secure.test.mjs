// TLS and SASL to Kafka beside the broker's own TLS library, and what is refused there.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { temporary_directory } from './lib/broker.mjs';
import { shared_kafka, users } from './lib/kafka.mjs';
import { is_live, readiness_is, start_on, with_broker_on } from './lib/kafka_broker.mjs';
import { publish } from './lib/publish.mjs';
import { subscribe } from './lib/sse.mjs';
import { eventually, patience_ms } from './lib/wait.mjs';

const timeout = 10 * patience_ms;
const cluster = shared_kafka({ listeners: ['SSL', 'SASL_SSL', 'SASL_PLAINTEXT'], acls: true });

const login = (mechanism, user, secret) => [`sasl.mechanism=${mechanism}`, `sasl.username=${user}`, `sasl.password=${secret}`].map((p) => `--kafka-conf=${p}`);
function through(kafka, listener, more = []) {
  const args = [`--kafka-brokers=${kafka.address(listener)}`, `--kafka-conf=security.protocol=${listener}`, ...more];
  if (listener.endsWith('SSL')) args.push(`--kafka-conf=ssl.ca.location=${kafka.ca}`);
  return args;
}

test('kafka: TLS, SASL PLAIN and SASL SCRAM, with the rights that the README names', { timeout }, async () => {
  const kafka = await cluster();
  const topic = await kafka.create_topic('secure');
  await kafka.allow('alice', 'TOPIC', topic, ['READ', 'DESCRIBE', 'WRITE']);
  await kafka.allow('alice', 'CLUSTER', 'kafka-cluster', ['IDEMPOTENT_WRITE']);
  for (const [listener, more] of [
    ['SSL', []],
    ['SASL_PLAINTEXT', login('PLAIN', 'alice', users.alice)],
    ['SASL_SSL', login('SCRAM-SHA-256', 'alice', users.alice)],
  ]) {
    await with_broker_on(kafka, [topic], { args: through(kafka, listener, more) }, async (broker) => {
      const client = await subscribe(broker, '/sse?channels=*');
      await kafka.produce(topic, [{ key: 'a', value: JSON.stringify(listener) }]);
      await client.received(1);
      assert.equal(client.events[0].json.payload, listener);
      const id = await publish(broker, { channel: 'a', payload: 1 });
      await client.received(2);
      assert.equal(client.events[1].json.id, id);
    });
  }
});

test('kafka: a refused login and a refused topic degrade, and say why', { timeout }, async () => {
  const kafka = await cluster();
  const topic = await kafka.create_topic('refused');
  for (const [what, args] of [
    ['login', through(kafka, 'SASL_PLAINTEXT', login('PLAIN', 'alice', 'wrong-secret'))],
    ['topic', through(kafka, 'SASL_PLAINTEXT', login('PLAIN', 'bob', users.bob))],
  ]) {
    const broker = await start_on(kafka, [topic], { args, wait: false });
    try {
      await is_not_live(broker, what);
      assert.doesNotMatch(broker.stderr, /wrong-secret|bob-secret/);
      if (what === 'topic') {
        await kafka.allow('bob', 'TOPIC', topic, ['READ', 'DESCRIBE', 'WRITE']);
        await is_live(broker);
      }
    } finally {
      await broker.dispose();
    }
  }
});

test('kafka: each TLS library is bound to its own users only', { timeout }, async () => {
  const kafka = await cluster();
  const topic = await kafka.create_topic('bindings');
  const directory = temporary_directory();
  const env = { LD_DEBUG: 'bindings', LD_DEBUG_OUTPUT: path.join(directory, 'ld') };
  try {
    await kafka.allow('alice', 'TOPIC', topic, ['READ', 'DESCRIBE', 'WRITE']);
    await with_broker_on(kafka, [topic], { env, args: through(kafka, 'SASL_SSL', login('SCRAM-SHA-256', 'alice', users.alice)) }, async (broker) => {
      const client = await subscribe(broker, '/sse?channels=*');
      await kafka.produce(topic, [{ key: 'a', value: '1' }]);
      await client.received(1);
    });
    let openssl = 0;
    for (const name of fs.readdirSync(directory)) {
      for (const line of fs.readFileSync(path.join(directory, name), 'utf8').split('\n')) {
        const m = /binding file (\S+) \[\d+\] to (\S+) \[\d+\]: normal symbol `((?:SSL|EVP|BIO|X509|CRYPTO|ERR|RAND)_\w+)'/.exec(line);
        if (!m) continue;
        const [, from, to, symbol] = m;
        const boring = (file) => file.includes('/android/');
        if (/librdkafka|libsasl2|libcurl|libssl\.so\.|libcrypto\.so\./.test(from)) {
          openssl++;
          assert.ok(!boring(to), `${symbol} of ${from} is bound to ${to}`);
        } else {
          assert.ok(boring(to) || from.includes('tickertape-kafka'), `${symbol} of ${from} is bound to ${to}`);
        }
      }
    }
    assert.ok(openssl > 0, 'there are bindings of librdkafka');
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
});

/** Serves, but says that Kafka does not let it, and why: a refused login in the log, a refused topic also in /readyz. */
async function is_not_live(broker, what) {
  await readiness_is(broker, ({ json }) => json.reasons.some((reason) => reason.what === 'kafka' && (what === 'login' || /not allowed/.test(reason.cause))), `Kafka refuses the ${what}`);
  if (what === 'login') await eventually(() => /Authentication failed/.test(broker.stderr), 'the reason in the log');
}
