// kill -9 under load, again and again on one directory, also while it starts. Publishers with a key send until they
// are answered, those without send once. Afterwards, by the log itself (logreader.mjs), by every answer and by all
// that clients were given:
//   - every answered event is there once, under the id of its answer; every other at most once;
//   - what the log held after one crash it holds after the next;
//   - no id names two events, whether it was answered, delivered or found;
//   - a client that comes over a hole is told once, and nobody is told of anything else; what it was given and is
//     gone lies in a hole. With --log-sync=always there is none.
//
//   TT_LONG=1    many rounds (TT_ROUNDS=N: N of them)
//   TT_SEED=N    repeats what is published and when it is killed (not how the threads meet)

import assert from 'node:assert/strict';
import { broker_test } from './lib/broker.mjs';
import { Follower } from './lib/follower.mjs';
import { followed, Ledger, ledger_of_log } from './lib/ledger.mjs';
import { read_log } from './lib/logreader.mjs';
import { post } from './lib/publish.mjs';
import { seeded } from './lib/random.mjs';
import { pass_ms, patience_ms } from './lib/wait.mjs';

const long = process.env.TT_LONG === '1';
const rounds = Number(process.env.TT_ROUNDS ?? (long ? 30 : 3));
const channels = Array.from({ length: 40 }, (_, i) => `g${i % 4}.c${i}`);
const ndjson = { 'content-type': 'application/x-ndjson' };

/** What is known of ids and what they name, over all lives. */
class Names {
  constructor() {
    this.value_of = new Map();
  }

  note(p, offset, value, source) {
    const id = `${p}-${offset}`;
    const known = this.value_of.get(id);
    if (known === undefined) this.value_of.set(id, value);
    else assert.equal(value, known, `${id} names two events: ${source}`);
  }

  note_answer(events, ids) {
    for (const [i, id] of ids.entries()) {
      const [, p, offset] = id.split('-').map(Number);
      this.note(p, offset, events[i].payload.v, 'answered');
    }
  }
}

/** Were the events of a batch taken in more than one piece of a partition: a crash cut it, and the retry added the rest? */
function was_cut(ids) {
  const last = new Map();
  for (const [, p, offset] of ids.map((id) => id.split('-').map(Number))) {
    if (last.has(p) && offset !== last.get(p) + 1) return true;
    last.set(p, offset);
  }
  return false;
}

/** Holds the log of a broker that was killed against what is known, and against what it held before. */
function look_at(log, names, before) {
  const held = log.partitions.map(({ events }, p) => {
    for (const { offset, payload } of events) names.note(p, offset, JSON.parse(payload).v, 'found in the log');
    return events.map(({ offset }) => offset);
  });
  for (const [p, offsets] of (before ?? []).entries()) {
    const now = new Set(held[p]);
    for (const offset of offsets) assert.ok(now.has(offset), `${p}-${offset} was in the log after an earlier crash`);
  }
  return held;
}

/** A client is told of each hole when it comes over it, once, and of nothing else. */
function assert_gaps(follower, holes) {
  let crossed = 0;
  for (const [i, trail] of follower.trail.entries()) {
    for (const [p, list] of holes.entries()) {
      const from = trail.vector[p] ?? follower.start[p];
      const to = trail.end[p];
      const told = (trail.gap ?? []).filter((gap) => Number(gap.to.split('-')[1]) === p).map((gap) => Number(gap.to.split('-')[2]) + 1);
      const where = () => `${follower.name}, connection ${i + 1}, partition ${p} from ${from} to ${to}, told of ${told}, holes end at ${list.map((hole) => hole.end)}`;
      for (const { end } of list) {
        const times = told.filter((offset) => offset === end).length;
        if (from >= end) assert.equal(times, 0, `told of a hole that it was behind: ${where()}`);
        else if (to >= end) assert.equal(times, 1, `over a hole: ${where()}`);
        else assert.ok(times <= 1, `twice: ${where()}`);
        if (from < end && to >= end) crossed++;
      }
      /* A hole that was told of, and then lost with all behind it in the next crash, lies in the next one's. */
      for (const end of told) assert.ok(list.some((hole) => hole.end === end || (hole.offset < end && end < hole.end)), `a gap where there is no hole: ${where()}`);
    }
  }
  return crossed;
}

async function run(broker, t, { sync, partitions }) {
  const random = seeded(t);
  const ledger = new Ledger(channels, partitions);
  const names = new Names();
  const unanswered = [];
  const kept = []; /* keyed requests that were answered */
  const counts = { keyed: 0, plain: 0, retried: 0, completed: 0, asked_again: 0, killed_starting: 0, lost: 0 };
  let publishing = true;
  let given_up = false;

  const batch = (size) => Array.from({ length: size }, () => ledger.event(random.between(0, channels.length - 1), 'x'.repeat(random.between(0, 120))));
  const send = ({ body, headers, target }) => post(broker, target, body, { headers });
  const request_of = (events, headers = {}) =>
    random.next() < 0.4
      ? { body: events.map((event) => `${JSON.stringify(event)}\n`).join(''), headers: { ...headers, ...ndjson }, target: '/publish?ids=1' }
      : { body: JSON.stringify(events), headers, target: '/publish' };

  /* Sends until it is answered. */
  const keyed = async (who) => {
    for (let n = 0; publishing; n++) {
      /* The largest take more than one write of the log: a crash may cut them. */
      const events = batch(random.next() < 0.05 ? random.between(1000, 3000) : random.pick([1, 1, random.between(2, 20)]));
      const request = request_of(events, { 'idempotency-key': `${who}-${n}` });
      for (;;) {
        try {
          const answer = await send(request);
          assert.equal(answer.status, 202, answer.text);
          ledger.answered(events, answer.json.ids);
          names.note_answer(events, answer.json.ids);
          kept.push({ request, text: answer.text });
          counts.completed += was_cut(answer.json.ids);
          counts.keyed++;
          await pass_ms(random.between(0, 10));
          break;
        } catch (error) {
          if (error.code === undefined || error.code === 'ERR_ASSERTION') throw error;
          if (given_up) return;
          counts.retried++;
          await pass_ms(10); /* the broker is away */
        }
      }
    }
  };
  const plain = async () => {
    while (publishing) {
      const events = batch(random.pick([1, 1, random.between(2, 100)]));
      try {
        const answer = await send(request_of(events));
        assert.equal(answer.status, 202, answer.text);
        ledger.answered(events, answer.json.ids);
        names.note_answer(events, answer.json.ids);
        counts.plain++;
        await pass_ms(random.between(0, 10));
      } catch (error) {
        if (error.code === undefined || error.code === 'ERR_ASSERTION') throw error;
        unanswered.push(...events.map((event) => event.payload.v));
        await pass_ms(10);
      }
    }
  };

  let truth;
  const last = new Map();
  const complete = (follower) => {
    if (!truth || follower.start === undefined) return false;
    if (!last.has(follower)) last.set(follower, truth.newest(follower.follows, follower.start));
    return last.get(follower).every((offset, p) => offset < 0 || (follower.promised[p] ?? 0) > offset);
  };
  /* They stay connected but for the crashes; one of them is cut, too. */
  const followers = ['*', '*', 'g1.*', 'g2.*,g3.c3', 'g0.c0'].map((patterns, i) => {
    const follower = new Follower(`${patterns} ${i}`, broker, {
      path: `/sse?channels=${patterns}&from=${i === 1 ? 'earliest' : 'live'}`,
      partitions,
      random,
      plan: (own) => (i === 0 ? { cut_ms: own.between(50, 500) } : {}),
      crashes: true,
    });
    follower.follows = followed(patterns, channels);
    return follower;
  });
  const lives = followers.map((follower) => follower.live(complete));
  const failed = new Promise((_, reject) => lives.forEach((life) => life.catch(reject)));
  failed.catch(() => {});

  const crash = async () => {
    let before;
    for (let round = 0; round < rounds && publishing; round++) {
      const lives_ms = [random.between(300, long ? 3000 : 700), random.between(50, 500), random.between(0, 50)];
      await pass_ms(round === 0 ? lives_ms[0] : random.pick(lives_ms));
      await broker.kill();
      before = look_at(read_log(broker.data), names, before);
      while (random.next() < 0.3) {
        const starting = broker.restart();
        starting.catch(() => {});
        await pass_ms(random.between(0, 40));
        await broker.kill();
        await starting.catch(() => {});
        counts.killed_starting++;
      }
      await broker.restart();
      for (let i = 0; i < 10 && kept.length > 0; i++) {
        const { request, text } = random.pick(kept);
        const again = await send(request);
        assert.equal(again.status, 202, again.text);
        assert.equal(again.text, text, 'the answer of a retry after a restart');
        counts.asked_again++;
      }
    }
    publishing = false;
  };
  const publishers = [...Array.from({ length: 6 }, (_, who) => keyed(`k${who}`)), ...Array.from({ length: 6 }, plain)];
  try {
    await Promise.race([Promise.all([...publishers, crash()]), failed]);
  } catch (error) {
    publishing = false;
    given_up = true;
    throw error;
  }

  /* One more of each channel, so that everybody comes over the last hole. */
  const events = channels.map((_, channel) => ledger.event(channel));
  const answer = await post(broker, '/publish', JSON.stringify(events));
  assert.equal(answer.status, 202, answer.text);
  ledger.answered(events, answer.json.ids);
  names.note_answer(events, answer.json.ids);
  const log = read_log(broker.data, { live: true });
  look_at(log, names);
  const end = ledger_of_log(ledger, log, unanswered);
  end.close();
  truth = end;
  followers.forEach((follower) => follower.finish());
  await Promise.race([Promise.all(lives), failed]);

  const holes = log.partitions.map((partition) => partition.holes);
  let crossed = 0;
  for (const follower of followers) {
    for (const [p, { offsets, values }] of follower.got.entries()) {
      offsets.forEach((offset, i) => names.note(p, offset, values[i], `delivered to ${follower.name}`));
    }
    end.assert_holds(follower, follower.follows);
    crossed += assert_gaps(follower, holes);
  }
  const inside = (p, offset) => holes[p].some((hole) => offset >= hole.offset && offset < hole.end);
  const found = new Set(log.partitions.flatMap((partition, p) => partition.events.map((event) => `${p}-${event.offset}`)));
  for (const id of names.value_of.keys()) {
    if (found.has(id)) continue;
    const [p, offset] = id.split('-').map(Number);
    assert.ok(inside(p, offset), `${id} was delivered, is gone, and lies in no hole`);
    counts.lost++;
  }
  t.diagnostic(JSON.stringify({ ...counts, events: found.size, unanswered: unanswered.length, crossed, holes: holes.map((list) => list.length), delivered: followers.reduce((sum, f) => sum + f.events, 0) }));
  assert.ok(counts.keyed > rounds && counts.plain > rounds, 'there was load');
  assert.ok(counts.retried > 0, 'crashes met requests that were under way');
  if (sync === 'always') {
    assert.deepEqual(holes.flat(), [], 'what is seen is durable: nothing is lost');
    assert.equal(counts.lost, 0);
  } else {
    for (const list of holes) assert.ok(list.at(-1).end >= rounds * 65_536, 'numbering went on behind a hole after each crash');
    assert.ok(crossed > 0, 'clients came over holes');
  }
}

for (const sync of ['always', 'interval', 'never']) {
  for (const partitions of [1, 4]) {
    broker_test(
      `kill -9 under load, ${rounds} rounds, --log-sync=${sync}, ${partitions} partitions`,
      {
        args: [`--log-sync=${sync}`, `--log-partitions=${partitions}`, '--log-segment-bytes=2MiB', '--tail-bytes=4MiB', '--heartbeat-ms=100', '--drain-delay-ms=0', '--drain-ms=0'],
        shards: 3,
        timeout: rounds * 30_000 + 4 * patience_ms,
      },
      (broker, t) => run(broker, t, { sync, partitions }),
    );
  }
}
