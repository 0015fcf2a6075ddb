// Exactly once to the cursor: clients that are cut at random moments for as long as the test runs, also inside an
// event, hold at the end exactly what was published on their channels; whatever retention took was told.
//
//   TT_LONG=1    each run lasts a minute instead of seconds (TT_RUN_S=N: N seconds)
//   TT_SEED=N    repeats what is published, followed and cut (not how the threads meet)

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { broker_test } from './lib/broker.mjs';
import { Follower } from './lib/follower.mjs';
import { request } from './lib/http.mjs';
import { followed, Ledger, ledger_of_log } from './lib/ledger.mjs';
import { read_log } from './lib/logreader.mjs';
import { post } from './lib/publish.mjs';
import { seeded } from './lib/random.mjs';
import { pass_ms, patience_ms } from './lib/wait.mjs';

const run_ms = 1000 * Number(process.env.TT_RUN_S ?? (process.env.TT_LONG === '1' ? 60 : 3));
const slow_build = /\/(asan|tsan)\//.test(process.env.TT_BINARY ?? '');
const groups = 20;
const members = 10;
const channels = Array.from({ length: groups * members }, (_, i) => `g${Math.floor(i / members)}.c${i % members}`);

/** A generator of its own for each actor, so that none depends on when another draws. */
function fork(random) {
  let state = random.between(1, 2 ** 31);
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  return {
    next,
    between: (low, high) => low + Math.floor(next() * (high - low + 1)),
    pick: (list) => list[Math.floor(next() * list.length)],
  };
}

/** Publishes on its own channels while `going()`, batch behind batch, at about `rate` events a second. */
async function publisher(broker, ledger, random, own, { rate, pad, crashes, unanswered }, going) {
  const filler = 'x'.repeat(pad);
  const started = Date.now();
  let count = 0;
  while (going()) {
    const size = random.pick([1, random.between(2, 10), random.between(10, 100)]);
    const events = Array.from({ length: size }, () => ledger.event(random.pick(own), filler.slice(0, random.between(0, pad))));
    const lines = random.next() < 0.5;
    let answer;
    try {
      answer = await (lines
        ? post(broker, '/publish?ids=1', events.map((e) => `${JSON.stringify(e)}\n`).join(''), { headers: { 'content-type': 'application/x-ndjson' } })
        : post(broker, '/publish', JSON.stringify(events)));
    } catch (error) {
      if (!crashes || error.code === undefined) throw error;
      unanswered.push(...events.map((event) => event.payload.v));
      await pass_ms(20); /* the broker is away */
      continue;
    }
    assert.equal(answer.status, 202, answer.text);
    ledger.answered(events, answer.json.ids);
    count += size;
    const ahead_ms = (count * 1000) / rate - (Date.now() - started);
    if (ahead_ms > 1) await pass_ms(ahead_ms); /* the rate is part of the load */
  }
}

/** The figures of /metrics: name with labels -> value. */
async function metrics(broker) {
  const { text } = await request(broker.ops, { path: '/metrics' });
  const figures = new Map();
  for (const line of text.split('\n')) {
    const m = /^(tickertape_\S+) (\S+)$/.exec(line);
    if (m) figures.set(m[1], Number(m[2]));
  }
  return figures;
}

/** The offsets at which a partition's files begin, oldest first. */
function segments_of(broker, p) {
  const names = fs.readdirSync(path.join(broker.data, String(p))).filter((name) => /^\d{20}\.seg$/.test(name));
  return names.map((name) => Number(name.slice(0, 20))).sort((a, b) => a - b);
}

const kinds = {
  one: (random) => random.pick(channels),
  several: (random) => Array.from({ length: random.between(2, 30) }, () => random.pick(channels)).join(','),
  group: (random) => `g${random.between(0, groups - 1)}.*`,
  mixed: (random) => `${random.pick(channels)},g${random.between(0, groups - 1)}.*,g${random.between(0, groups - 1)}.*,${random.pick(channels)}`,
  all: () => '*',
};

/** Mostly short lives; `away_ms` and `pause_ms` say how long the long absences and pauses may be. */
function plans({ away_ms = 300, pause_ms = 0, cut_bytes = 60_000 }) {
  return (random) => {
    const plan = {};
    if (random.next() < 0.7) plan.cut_bytes = random.pick([random.between(1, 400), random.between(1, 5000), random.between(1, cut_bytes)]);
    else plan.cut_ms = random.between(1, 500);
    if (pause_ms > 0 && random.next() < 0.3) {
      plan.pause_bytes = random.between(0, 3000);
      plan.pause_ms = random.between(pause_ms >> 2, pause_ms);
      plan.cut_bytes = random.between(100_000, 20 << 20);
      plan.cut_ms = plan.pause_ms + random.between(50, 2000);
    }
    if (random.next() < 0.2) plan.away_ms = random.between(1, away_ms);
    return plan;
  };
}

/**
 * options: { followers: { kind: count }, rate, pad, publishers, plan, list (share of those that resume with a list),
 * partitions, during(context) }
 */
async function run(broker, t, options) {
  const random = seeded(t);
  const { partitions = 1, rate = 3000, publishers = 4, pad = 60, list = 0.3, crashes = 0 } = options;
  let ledger = new Ledger(channels, partitions);
  const unanswered = [];
  const before = await metrics(broker);
  const followers = [];
  const lives = [];
  const last = new Map();
  const complete = (follower) => {
    if (!ledger.closed || follower.start === undefined) return false;
    if (!last.has(follower)) last.set(follower, ledger.newest(follower.follows, follower.start));
    return last.get(follower).every((offset, p) => offset < 0 || (follower.promised[p] ?? 0) > offset);
  };
  const open = (kind) => {
    const own = fork(random);
    const patterns = kinds[kind](own);
    const from = own.pick(['live', 'live', 'earliest']);
    const policy = own.pick(['', '&policy=replay', '&policy=replay', '&policy=disconnect']);
    const follower = new Follower(`${kind} ${followers.length} (${patterns.slice(0, 40)}, ${from}${policy})`, broker, {
      path: `/sse?channels=${patterns}&from=${from}${policy}`,
      partitions,
      list: own.next() < list,
      random: own,
      plan: options.plan ?? plans({}),
      ends: policy === '&policy=disconnect',
      crashes: crashes > 0,
      segments: (p) => segments_of(broker, p),
    });
    follower.follows = followed(patterns, channels);
    followers.push(follower);
    const life = follower.live(complete);
    life.catch(() => {}); /* awaited at the end, or when it fails first */
    lives.push(life);
  };
  for (const [kind, count] of Object.entries(options.followers)) {
    for (let i = 0; i < count; i++) open(kind);
  }
  const sum = (name) => followers.reduce((total, follower) => total + follower.counts[name], 0);
  const told = () => followers.reduce((total, follower) => total + follower.told.length, 0);
  /* What the run is there to show has happened; on a slow machine it takes longer. */
  const enough = () =>
    sum('connections') > 2 * followers.length &&
    sum('inside') > followers.length &&
    sum('bare_ids') > 0 &&
    sum('list') > 0 &&
    (!options.enough || options.enough({ told: told(), paused: sum('paused') }));
  const end = Date.now() + run_ms;
  const going = () => Date.now() < end || (!enough() && Date.now() < end + 2 * patience_ms);
  const each = (slow_build ? rate / 4 : rate) / publishers;
  const publishing = Array.from({ length: publishers }, (_, i) =>
    publisher(broker, ledger, fork(random), channels.map((_, c) => c).filter((c) => c % publishers === i), { rate: each, pad, crashes, unanswered }, going),
  );
  /* Some come while it runs. */
  const joining = (async () => {
    for (let i = 0; i < 4; i++) {
      await pass_ms(run_ms / 5);
      open(random.pick(Object.keys(kinds)));
    }
  })();
  const crashing = (async () => {
    for (let i = 0; i < crashes; i++) {
      await pass_ms((run_ms / (crashes + 1)) * (0.5 + random.next()));
      await broker.kill();
      await broker.restart();
    }
  })();
  const failed = new Promise((_, reject) => lives.forEach((life) => life.catch(reject)));
  await Promise.race([Promise.all([...publishing, joining, crashing]), failed]);
  if (crashes > 0) {
    /* One more of each channel, so that everybody comes over the last hole. */
    const events = channels.map((_, channel) => ledger.event(channel));
    const answer = await post(broker, '/publish', JSON.stringify(events));
    assert.equal(answer.status, 202, answer.text);
    ledger.answered(events, answer.json.ids);
    ledger = ledger_of_log(ledger, read_log(broker.data, { live: true }), unanswered);
    ledger.total = ledger.partitions.reduce((sum, list) => sum + list.length, 0);
  }
  ledger.close();
  ledger.closed = true;
  followers.forEach((follower) => follower.finish());
  await Promise.all(lives);
  for (const follower of followers) ledger.assert_holds(follower, follower.follows);

  const after = crashes > 0 ? undefined : await metrics(broker);
  const figures = {
    published: ledger.total,
    delivered: followers.reduce((total, follower) => total + follower.events, 0),
    connections: sum('connections'),
    inside: sum('inside'),
    bare_ids: sum('bare_ids'),
    paused: sum('paused'),
    list: sum('list'),
    told: told(),
  };
  if (crashes > 0) Object.assign(figures, { unanswered: unanswered.length, lost: ledger.lost ?? 0, holes: ledger.partitions.map((list) => list.holes.length) });
  for (const name of after === undefined ? [] : ['replays_total', 'replayed_events_total', 'resyncs_total{reason="expired"}']) {
    figures[name] = after.get(`tickertape_${name}`) - before.get(`tickertape_${name}`);
  }
  t.diagnostic(JSON.stringify(figures));
  assert.ok(figures.connections > 2 * followers.length, 'clients were cut often');
  assert.ok(figures.inside > followers.length, 'also inside an event');
  assert.ok(figures.bare_ids > 0, 'ids came in heartbeats');
  assert.ok(figures.list > 0, 'lists of ids were sent');
  if (after) assert.ok(figures.replays_total > followers.length, 'clients caught up');
  return { followers, ledger, figures };
}

const base = ['--heartbeat-ms=100', '--drain-delay-ms=0', '--drain-ms=0'];
const timeout = 10 * run_ms + 8 * patience_ms;
const small_log = ['--log-segment-bytes=2MiB', '--tail-bytes=2MiB'];
const many = { one: 10, several: 5, group: 5, mixed: 4, all: 2 };

broker_test('exactly once, one partition, from memory', { args: base, shards: 3, small: true, timeout }, async (broker, t) => {
  await run(broker, t, { followers: many });
});

broker_test('exactly once, several partitions, narrow and full cursors', { args: [...base, '--log-partitions=5'], shards: 3, timeout }, async (broker, t) => {
  await run(broker, t, { followers: many, partitions: 5 });
});

broker_test('exactly once, slow readers and long absences, from segments', { args: [...base, ...small_log, '--log-partitions=2', '--outbox-bytes=8KiB'], shards: 3, timeout }, async (broker, t) => {
  const { figures } = await run(broker, t, {
    followers: { one: 4, several: 4, group: 4, mixed: 3, all: 3 },
    partitions: 2,
    pad: 4000,
    plan: plans({ away_ms: 2500, pause_ms: 2500, cut_bytes: 1 << 20 }),
    enough: ({ paused }) => paused > 0,
  });
  assert.ok(figures.paused > 0);
  assert.equal(figures.told, 0, 'nothing has expired');
});

broker_test('exactly once, across retention', { args: [...base, ...small_log, '--log-retention-bytes=4MiB'], shards: 3, timeout }, async (broker, t) => {
  const { followers, figures } = await run(broker, t, {
    followers: { one: 4, several: 4, group: 4, mixed: 3, all: 3 },
    pad: 4000,
    plan: plans({ away_ms: 2500, pause_ms: 1500, cut_bytes: 1 << 20 }),
    enough: ({ told }) => told > 0,
  });
  assert.ok(figures.told > 0, 'some were away for longer than the log lasts');
  for (const follower of followers) {
    for (const { vector, before } of follower.told) {
      assert.ok(vector.some((next, p) => next > (before[p] ?? 0)), `${follower.name}: told of an expiry though nothing was skipped`);
    }
  }
});

for (const sync of ['interval', 'always']) {
  broker_test(`exactly once, over kill -9 and restart, --log-sync=${sync}`, { args: [...base, '--log-partitions=2', `--log-sync=${sync}`], shards: 3, timeout }, async (broker, t) => {
    const crashes = Math.max(2, Math.round(run_ms / 1500));
    const { figures } = await run(broker, t, { followers: many, partitions: 2, crashes });
    if (sync === 'always') {
      assert.deepEqual(figures.holes, [0, 0], 'what is seen is durable: nothing is lost');
      assert.equal(figures.lost, 0);
    } else {
      assert.deepEqual(figures.holes, [crashes, crashes], 'a hole for each crash');
    }
  });
}
