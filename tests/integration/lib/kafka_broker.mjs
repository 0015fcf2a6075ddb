// A broker on a Kafka: started, ready, asked how it is.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { Broker } from './broker.mjs';
import { request } from './http.mjs';
import { eventually, patience_ms } from './wait.mjs';

let configurations = 0;

/** { status, json } of /readyz. */
export async function readiness(broker) {
  const { status, text } = await request(broker.ops, { path: '/readyz' });
  return { status, json: JSON.parse(text) };
}

/** Waits until /readyz says what `wanted(answer)` wants. */
export async function readiness_is(broker, wanted, what, limit_ms = 2 * patience_ms) {
  let answer;
  const probe = async () => {
    answer = await readiness(broker);
    return wanted(answer) && answer;
  };
  return eventually(probe, () => `${what}: /readyz says ${JSON.stringify(answer)}; its log:\n${broker.stderr}`, limit_ms);
}

/** Ready, and everything that Kafka has is here. */
export function is_live(broker) {
  return readiness_is(broker, ({ status, json }) => status === 200 && json.ready && !json.degraded, 'ready and not degraded');
}

/** Ready, but Kafka cannot be heard; resolves to the reason. */
export async function is_degraded(broker) {
  const { json } = await readiness_is(broker, ({ status, json }) => status === 200 && json.degraded, 'ready and degraded');
  const reason = json.reasons.find(({ what }) => what === 'kafka');
  assert.ok(reason, `the reason is Kafka: ${JSON.stringify(json)}`);
  return reason;
}

/**
 * Starts a broker that follows `topics` (a list of names). options: as of Broker.start(), and { ini } (lines of a
 * configuration file), { wait: false } (does not wait until it is ready).
 */
export async function start_on(kafka, topics, { args = [], ini, wait = true, ...options } = {}) {
  const own = [`--kafka-brokers=${kafka.brokers}`, `--kafka-topics=${topics.join(',')}`, '--kafka-spare-partitions=2', '--heartbeat-ms=200', '--drain-delay-ms=0', '--drain-ms=0'];
  if (ini !== undefined) {
    const file = path.join(kafka.directory, `broker-${++configurations}.ini`);
    fs.writeFileSync(file, `${ini.join('\n')}\n`);
    own.push(`--config=${file}`);
  }
  const name = (arg) => arg.split('=')[0];
  const broker = await Broker.start({ ...options, args: [...own.filter((arg) => !args.some((other) => name(other) === name(arg))), ...args] });
  try {
    if (wait) await is_live(broker);
  } catch (error) {
    await broker.dispose().catch(() => {});
    throw error;
  }
  return broker;
}

/** Runs `use(broker)` with such a broker, and ends it. */
export async function with_broker_on(kafka, topics, options, use) {
  const broker = await start_on(kafka, topics, options);
  try {
    await use(broker);
  } catch (error) {
    error.message += `\n--- the broker's log (its last lines):\n${broker.stderr.trim().split('\n').slice(-25).join('\n')}`;
    await broker.dispose().catch((also) => (error.message += `\n--- and: ${also.message}`));
    throw error;
  }
  await broker.dispose();
}

/** The parts of an event's id. */
export function parts_of(id) {
  const [, history, partition, offset] = /^([A-Za-z0-9]{6})-(\d+)-(\d+)$/.exec(id) ?? assert.fail(`an event's id: ${id}`);
  return { history, partition: Number(partition), offset: Number(offset) };
}

/** What matters of an event to who compares it with a record. */
export function place_of(event) {
  const { partition, offset } = parts_of(event.json.id);
  return `${partition}-${offset}`;
}

/** The sum of a metric over its labels, 0 when it is not there; labels: texts that must stand in its name. */
export async function metric_sum(broker, name, ...labels) {
  const { text } = await request(broker.ops, { path: '/metrics' });
  let sum = 0;
  for (const line of text.split('\n')) {
    const m = /^tickertape_([a-z_]+)(\{[^}]*\})? (\S+)$/.exec(line);
    if (m && m[1] === name && labels.every((label) => m[2]?.includes(label))) sum += Number(m[3]);
  }
  return sum;
}
