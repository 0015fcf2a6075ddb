// Exactly once to the cursor over instances: two of them on the same topic, clients that are cut at any byte and come
// back to either, producers of all kinds at once, and kill -9 of the instances and of Kafka.
//
//   TT_LONG=1    a minute instead of seconds (TT_RUN_S=N: N seconds)
//   TT_SEED=N    repeats what is produced, followed and cut (not how the processes meet)
//
// What Kafka holds in the end is the truth: a producer that got no answer may have written twice.

import assert from 'node:assert/strict';
import test from 'node:test';
import { Follower } from './lib/follower.mjs';
import { followed, Ledger } from './lib/ledger.mjs';
import { shared_kafka } from './lib/kafka.mjs';
import { is_live, parts_of, start_on } from './lib/kafka_broker.mjs';
import { post, publish } from './lib/publish.mjs';
import { seeded } from './lib/random.mjs';
import { pass_ms, patience_ms } from './lib/wait.mjs';

const run_ms = 1000 * Number(process.env.TT_RUN_S ?? (process.env.TT_LONG === '1' ? 60 : 12));
const partitions = 4;
const channels = Array.from({ length: 60 }, (_, i) => `g${Math.floor(i / 10)}.c${i % 10}`);
const cluster = shared_kafka();

/** A generator of its own for each actor, so that none depends on when another draws. */
function fork(random) {
  let state = random.between(1, 2 ** 31);
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  return { next, between: (low, high) => low + Math.floor(next() * (high - low + 1)), pick: (list) => list[Math.floor(next() * list.length)] };
}

function plan(random) {
  const plan = {};
  if (random.next() < 0.7) plan.cut_bytes = random.pick([random.between(1, 400), random.between(1, 5000), random.between(1, 60_000)]);
  else plan.cut_ms = random.between(1, 1000);
  if (random.next() < 0.3) plan.away_ms = random.between(1, 500);
  return plan;
}

/** Writes a line to a producer's standard input now and then while `going()`. */
async function lines(producer, next, random, going) {
  while (going()) {
    for (let i = random.between(1, 20); i > 0; i--) producer.write(...next(random));
    await pass_ms(random.between(5, 50)); /* the rate */
  }
  await producer.end();
}

test('kafka: exactly once over two instances, with every kind of producer and every kind of death', { timeout: 10 * run_ms + 16 * patience_ms }, async (t) => {
  const random = seeded(t);
  const kafka = await cluster();
  const topic = await kafka.create_topic('everything', { partitions });
  const instances = await Promise.all([start_on(kafka, [topic], { shards: 3 }), start_on(kafka, [topic], { shards: 2 })]);
  try {
    let value = 0;
    const next = (draw) => [draw.pick(channels), JSON.stringify({ v: ++value })];
    const { history } = parts_of(await publish(instances[0], { channel: channels[0], payload: { v: ++value } }));
    const ledger = new Ledger(channels, partitions);
    const last = new Map();
    const complete = (follower) => {
      if (!ledger.closed || follower.start === undefined) return false;
      if (!last.has(follower)) last.set(follower, ledger.newest(follower.follows, follower.start));
      return last.get(follower).every((offset, p) => offset < 0 || (follower.promised[p] ?? 0) > offset);
    };
    const followers = [];
    const lives = [];
    const open = (patterns) => {
      const own = fork(random);
      /* Each connection goes to either instance. */
      const front = {
        history,
        get http() {
          return own.pick(instances).http;
        },
      };
      const from = own.pick(['live', 'earliest']);
      const follower = new Follower(`${followers.length} (${patterns.slice(0, 40)}, ${from})`, front, {
        path: `/sse?channels=${patterns}&from=${from}`,
        partitions,
        list: own.next() < 0.3,
        random: own,
        plan,
        ends: true,
        crashes: true,
      });
      follower.follows = followed(patterns, channels);
      followers.push(follower);
      const life = follower.live(complete);
      life.catch(() => {}); /* awaited at the end, or when it fails first */
      lives.push(life);
    };
    for (let i = 0; i < 8; i++) open(random.pick(channels));
    for (let i = 0; i < 4; i++) open(`g${random.between(0, 5)}.*`);
    for (let i = 0; i < 4; i++) open(`${random.pick(channels)},g${random.between(0, 5)}.*,${random.pick(channels)}`);
    for (let i = 0; i < 3; i++) open('*');

    const end = Date.now() + run_ms;
    const going = () => Date.now() < end;
    const answered = new Map();
    const publishing = async (instance, draw) => {
      while (going()) {
        const events = Array.from({ length: draw.between(1, 20) }, () => ({ channel: draw.pick(channels), payload: { v: ++value } }));
        let answer;
        try {
          answer = await post(instance, '/publish', JSON.stringify(events), { limit_ms: 4 * patience_ms });
        } catch (error) {
          if (error.code === undefined) throw error;
        }
        /* Of a 503 some may have been taken (`ids`), and some that were not acknowledged may be there. */
        assert.ok(answer === undefined || answer.status === 202 || answer.status === 503, answer?.text);
        for (const [i, id] of (answer?.json?.ids ?? []).entries()) if (id !== null) answered.set(id, events[i]);
        await pass_ms(answer?.status === 202 ? draw.between(5, 50) : 100); /* the rate */
      }
    };
    const dying = async (draw) => {
      let deaths = 0;
      for (let i = 0; going() || i < 3; i++) {
        await pass_ms(run_ms * (0.1 + 0.1 * draw.next()));
        const victim = i % 3;
        if (victim === 2) {
          await kafka.nodes[0].kill();
          await kafka.start();
        } else {
          await instances[victim].kill();
          await instances[victim].restart();
        }
        deaths++;
      }
      return deaths;
    };
    const failed = new Promise((_, reject) => lives.forEach((life) => life.catch(reject)));
    const work = Promise.all([
      dying(fork(random)),
      lines(kafka.kcat_producer(topic), next, fork(random), going),
      lines(kafka.java_producer(topic), next, fork(random), going),
      publishing(instances[0], fork(random)),
      publishing(instances[1], fork(random)),
    ]);
    work.catch(() => {});
    const [deaths] = await Promise.race([work, failed]);
    await Promise.all(instances.map(is_live));
    /* One more in each partition, so that everybody comes to the end. */
    await kafka.produce(topic, Array.from({ length: partitions }, (_, partition) => ({ key: channels[partition], value: JSON.stringify({ v: ++value }), partition })));

    const numbers = new Map(channels.map((channel, i) => [channel, i]));
    for (const { partition, offset, key, payload } of await kafka.read(topic)) {
      ledger.partitions[partition].push({ offset, channel: numbers.get(key), value: JSON.parse(payload).v });
      ledger.total++;
    }
    ledger.close();
    for (const [id, event] of answered) {
      const { partition, offset } = parts_of(id);
      const record = ledger.partitions[partition].find((each) => each.offset === offset);
      assert.equal(record?.value, event.payload.v, `${id} was the answer for it`);
    }
    ledger.closed = true;
    followers.forEach((follower) => follower.finish());
    await Promise.race([Promise.all(lives), failed]);
    for (const follower of followers) ledger.assert_holds(follower, follower.follows);
    const sum = (name) => followers.reduce((total, follower) => total + follower.counts[name], 0);
    t.diagnostic(JSON.stringify({ records: ledger.total, delivered: followers.reduce((total, follower) => total + follower.events, 0), answered: answered.size, deaths, connections: sum('connections'), inside: sum('inside'), list: sum('list') }));
    assert.ok(answered.size > 0, 'publishers were answered');
    assert.ok(sum('connections') > 2 * followers.length, 'clients were cut often');
  } catch (error) {
    for (const [i, instance] of instances.entries()) error.message += `\n--- the log of instance ${i}:\n${instance.stderr.trim().split('\n').slice(-15).join('\n')}`;
    throw error;
  } finally {
    for (const instance of instances) await instance.dispose();
  }
});
