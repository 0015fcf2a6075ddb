#!/usr/bin/env node
// How fast an empty mirror is filled from Kafka, and how old records are when a client gets them, beside a plain
// consumer of librdkafka on the same topic (bench/kafka_loop.c). See README.md.
import { spawn, spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { Kafka } from '../tests/integration/lib/kafka.mjs';
import { build, cpuOf, first, keep, makeData, median, metric, options, sleep, table, words } from './lib.mjs';

const o = options({
  records: 1_000_000,
  payload: 100, // bytes of each value
  partitions: 8,
  channels: 1000,
  rounds: 5,
  ages: 2000, // records whose age is measured, one every 2 ms
  limit: 0.8, // of the plain consumer's messages a second, else exit 1
  'ages-limit': 1, // ms above the plain consumer's median age, else exit 1
  broker: '', // more options of the broker, separated by spaces
});

/** One run of the plain consumer; the object that it prints. */
async function loop(kafka, topic, partitions, more = []) {
  const child = spawn(first[0], [...first.slice(1), join(build, 'bench_kafka_loop'), `--brokers=${kafka.address()}`,
    `--topic=${topic}`, `--partitions=${partitions}`, ...more], { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.on('data', (data) => (text += data));
  const status = await new Promise((resolve) => child.on('close', resolve));
  if (status !== 0) throw new Error(`bench_kafka_loop: ${status}`);
  return JSON.parse(text);
}

/** Runs use({ url, ops, pid }) with a broker on an empty mirror, on all cores as the plain consumer is. */
async function withBroker(kafka, topic, use) {
  const data = makeData();
  const child = spawn(first[0], [...first.slice(1), join(build, 'tickertape'), '--listen=127.0.0.1:0', '--ops-listen=127.0.0.1:0',
    `--data=${data}`, '--diag-level=error', '--drain-ms=0', '--drain-delay-ms=0', `--kafka-brokers=${kafka.address()}`,
    `--kafka-topics=${topic}`, '--kafka-backfill=all', ...words(o.broker)], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    const [, url, ops] = await new Promise((resolve, reject) => {
      let text = '';
      child.stdout.on('data', (more) => {
        const ready = /ready http=(\S+) ops=(\S+)/.exec((text += more));
        if (ready) resolve(ready);
      });
      child.on('close', (code) => reject(new Error(`the broker did not start: ${code}`)));
    });
    return await use({ url, ops, pid: child.pid });
  } finally {
    if (child.exitCode === null) {
      child.kill('SIGTERM');
      await new Promise((resolve) => child.on('close', resolve));
    }
    rmSync(data, { recursive: true, force: true });
  }
}

/** From the first records that were seen in the mirror to the last one, as the plain consumer counts. */
async function ingest(kafka, topic) {
  return withBroker(kafka, topic, async ({ ops, pid }) => {
    const taken = async () => {
      const text = await (await fetch(`http://${ops}/metrics`)).text();
      return { n: Number(/^tickertape_events_total\{source="kafka"\} (\d+)/m.exec(text)[1]), at: performance.now(), cpu: cpuOf(pid) };
    };
    let from = null;
    for (;;) {
      const now = await taken();
      if (now.n > 0) from ??= now;
      if (now.n >= o.records) {
        const n = now.n - from.n;
        return { rate: (n * 1e3) / (now.at - from.at), cpu_us: (now.cpu - from.cpu) / n / 1e3 };
      }
      await sleep(5);
    }
  });
}

async function fill(kafka, topic) {
  const line = (i) => {
    const head = `{"n":${i},"pad":"`;
    return `stock.${i % o.channels}\t${head}${'x'.repeat(o.payload - head.length - 2)}"}\n`;
  };
  const at_once = 100_000;
  for (let i = 0; i < o.records; i += at_once) {
    const count = Math.min(at_once, o.records - i);
    await kafka.kcat(['-P', '-t', topic, '-K', '\t', '-X', 'linger.ms=50'], Array.from({ length: count }, (_, k) => line(i + k)).join(''));
  }
}

const kafka = await Kafka.start();
let good = true;
try {
  const topic = await kafka.create_topic('ingest', { partitions: o.partitions });
  await fill(kafka, topic);
  const plain = [];
  const broker = [];
  await loop(kafka, topic, o.partitions); /* warms up */
  for (let i = 0; i < o.rounds; i++) {
    const { messages, ns, cpu_ns } = await loop(kafka, topic, o.partitions);
    plain.push({ rate: (messages * 1e9) / ns, cpu_us: cpu_ns / messages / 1e3 });
    broker.push(await ingest(kafka, topic));
  }
  const of = (runs, what) => median(runs.map((run) => run[what]));
  const ratio = median(broker.map((run, i) => run.rate / plain[i].rate));
  table([
    ['', 'messages/s', 'CPU us/message'],
    ['plain consumer', of(plain, 'rate').toFixed(0), of(plain, 'cpu_us').toFixed(2)],
    ['Kafka to mirror', of(broker, 'rate').toFixed(0), of(broker, 'cpu_us').toFixed(2)],
  ]);
  console.log(`ingest reaches ${ratio.toFixed(2)} of the plain consumer; wanted: at least ${o.limit}`);

  const young = await kafka.create_topic('ages');
  const ages = { plain: [], broker: [] };
  await withBroker(kafka, young, async ({ url }) => {
    for (let i = 0; i < o.rounds; i++) {
      ages.plain.push(await loop(kafka, young, 1, [`--ages=${o.ages}`]));
      ages.broker.push(await loop(kafka, young, 1, [`--ages=${o.ages}`, `--sse=${url}`]));
    }
  });
  const ms = (runs, what) => of(runs, what) / 1e6;
  const above = ms(ages.broker, 'p50_ns') - ms(ages.plain, 'p50_ns');
  table([
    ['produce to', 'p50 ms', 'p90 ms', 'p99 ms'],
    ...[['plain consumer', ages.plain], ['client of /sse', ages.broker]].map(([name, runs]) =>
      [name, ...['p50_ns', 'p90_ns', 'p99_ns'].map((what) => ms(runs, what).toFixed(2))]),
  ]);
  console.log(`a client is ${above.toFixed(2)} ms behind the plain consumer; wanted: at most ${o['ages-limit']} ms`);
  keep('kafka_ingest', { options: o, plain, broker, ratio, ages, above });
  good = ratio >= o.limit && above <= o['ages-limit'];
} finally {
  await kafka.dispose();
}
process.exit(good ? 0 : 1);
