// The log on the disk, as a reader sees it that was written from store/README.md alone (lib/logreader.mjs),
// against what the broker said over HTTP: every answered event is there once, byte for byte, under the id
// of the answer, and nothing else is but what a publisher has sent without an answer.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { broker_test, temporary_directory } from './lib/broker.mjs';
import { compare_index, hasher, read_index, read_values } from './lib/logindex.mjs';
import { classes, crc32c, event_id, find_offset, find_time, flags, read_log, siphash13 } from './lib/logreader.mjs';
import { metric } from './lib/metrics.mjs';
import { post } from './lib/publish.mjs';
import { seeded } from './lib/random.mjs';
import { SseClient } from './lib/sse.mjs';
import { eventually } from './lib/wait.mjs';

// ---- what is published -----------------------------------------------------------------------------------

const letters = ['a', 'Z', '0', ' ', '"', '\\', '\n', '\u0001', 'ü', '\u2028', '漢', '🙂', '{', '</script>'];
const types = ['message', 'update', 'trade/eu:1', 'a.b_c-d', 'T'.repeat(128)];

function text(random, bytes) {
  let out = '';
  for (let left = bytes; left > 0; ) {
    const letter = random.pick(letters);
    out += letter.repeat(random.between(1, 1 + (left >> 5)));
    left = bytes - 2 * Buffer.byteLength(out);
  }
  return out;
}

/** The JSON text of a payload; `size` is about its length in bytes. */
function payload(random, size) {
  switch (random.between(0, 6)) {
    case 0:
      return random.pick(['null', 'true', '0', '-1.50e+3', '""', '[]', '{}', '[ 1 , 2 ]', '12345678901234567890']);
    case 1:
      return JSON.stringify({ price: random.next(), symbol: 'AAPL', deep: [[[{}]]] });
    case 2:
      return `[${' '.repeat(size)}1]`;
    default:
      return JSON.stringify({ n: random.between(0, 1e9), text: text(random, size) });
  }
}

/** A random event: { line, the JSON text to publish, and what the log must say of it }. */
function random_event(random, channels, size) {
  const expected = { channel: random.pick(channels), type: 'message', headers: '', flags: 0 };
  const members = [`"channel":${JSON.stringify(expected.channel)}`];
  if (random.next() < 0.7) {
    expected.type = random.pick(types);
    members.push(`"${random.pick(['type', 'eventType'])}":${JSON.stringify(expected.type)}`);
  }
  if (random.next() < 0.15) {
    expected.flags |= flags.base64;
    const bytes = Buffer.from(Array.from({ length: random.between(0, 300) }, () => random.between(0, 255)));
    expected.payload = JSON.stringify(bytes.toString('base64'));
    members.push(`"encoding":"base64"`);
  } else {
    expected.payload = payload(random, size);
  }
  if (random.next() < 0.08) {
    expected.flags |= flags.deletes;
    members.push(`"op":"delete"`);
    expected.flags &= ~flags.base64;
    expected.payload = 'null';
    members.splice(members.indexOf(`"encoding":"base64"`), members.includes(`"encoding":"base64"`) ? 1 : 0);
  }
  members.push(`"${random.pick(['payload', 'data'])}":${expected.payload}`);
  if (random.next() < 0.2) {
    expected.flags |= flags.never_conflate;
    members.push('"conflate":false');
  }
  if (random.next() < 0.2) {
    expected.flags |= flags.timestamp_given;
    expected.timestamp_ms = random.pick([0, 1, 1732558200000, random.between(0, 2 ** 31) * 1000]);
    members.push(`"timestamp":${expected.timestamp_ms}`);
  }
  if (random.next() < 0.2) {
    const headers = {};
    for (let i = random.between(1, 6); i > 0; i--) headers[`h${i}`] = text(random, random.between(0, 40));
    expected.headers = JSON.stringify(headers);
    members.push(`"headers":${expected.headers}`);
  }
  expected.line = `{${members.join(',')}}`;
  return expected;
}

/** What was answered: id -> expected. Publishes arrays and NDJSON in turns. */
class Published {
  constructor(broker, random) {
    this.broker = broker;
    this.random = random;
    this.keys = 0;
    this.answered = new Map();
    this.unanswered = [];
    this.bytes = 0;
  }

  async publish(events) {
    const before_ms = Date.now();
    const lines = this.random.next() < 0.5;
    const key = !lines && this.random.next() < 0.5 ? { 'idempotency-key': `key-${this.keys++}` } : {};
    const answer = await (lines
      ? post(this.broker, '/publish?ids=1', events.map((e) => `${e.line}\n`).join(''), { headers: { 'content-type': 'application/x-ndjson' } })
      : post(this.broker, '/publish', `[${events.map((e) => e.line).join(',')}]`, { headers: key }));
    assert.equal(answer.status, 202, answer.text);
    assert.equal(answer.json.ids.length, events.length);
    const after_ms = Date.now();
    for (const [i, id] of answer.json.ids.entries()) {
      assert.ok(!this.answered.has(id), `${id} was given twice`);
      this.answered.set(id, { ...events[i], before_ms, after_ms, key: key['idempotency-key'], index: i, count: events.length });
      this.bytes += events[i].line.length;
    }
    return answer.json.ids;
  }

  /** Fires events and does not wait; what is not answered when the broker dies is kept as such. */
  fire(events) {
    const left = { events };
    this.unanswered.push(left);
    return this.publish(events).then(
      () => this.unanswered.splice(this.unanswered.indexOf(left), 1),
      () => {},
    );
  }
}

const compared = ['channel', 'type', 'headers', 'payload', 'flags'];
const key_of = (event) => JSON.stringify(compared.map((name) => event[name]));

/** Asserts that the log holds what was answered, and beyond it only what was sent without an answer. */
function compare(log, published) {
  const found = new Set();
  const keys = new Map();
  const unanswered = new Map();
  for (const event of published.unanswered.flatMap((left) => left.events)) {
    unanswered.set(key_of(event), (unanswered.get(key_of(event)) ?? 0) + 1);
  }
  for (const partition of log.partitions) {
    for (const event of partition.events) {
      const id = event_id(log, partition, event);
      const expected = published.answered.get(id);
      const at = `${event.segment.file}, place ${event.place}, ${id}`;
      if (!expected) {
        const left = unanswered.get(key_of(event)) ?? 0;
        assert.ok(left > 0, `${at}: nobody published ${key_of(event).slice(0, 300)}`);
        unanswered.set(key_of(event), left - 1);
        continue;
      }
      found.add(id);
      assert.equal(event.idempotency !== undefined, expected.key !== undefined, `${at}: a block of its key`);
      if (expected.key) {
        assert.equal(keys.get(expected.key) ?? event.idempotency.key, event.idempotency.key, `${at}: the hash of ${expected.key}`);
        keys.set(expected.key, event.idempotency.key);
        assert.deepEqual([event.idempotency.index, event.idempotency.count], [expected.index, expected.count], `${at}: its place in its batch`);
      }
      for (const name of compared) {
        if (event[name] !== expected[name]) assert.equal(event[name], expected[name], `${at}: ${name}`);
      }
      if (event.flags & flags.timestamp_given) assert.equal(event.timestamp_ms, expected.timestamp_ms, at);
      else assert.equal(event.timestamp_ms, Math.floor(event.taken_us / 1000), at);
      const taken_ms = event.taken_us / 1000;
      /* The time of the turn in which it was read; a turn may be long on a busy machine. */
      assert.ok(taken_ms > expected.before_ms - 2000 && taken_ms < expected.after_ms + 5, `${at}: taken at ${taken_ms}`);
    }
  }
  const missing = [...published.answered.keys()].filter((id) => !found.has(id) && !expired(log, id));
  assert.equal(new Set(keys.values()).size, keys.size, 'every key has a hash of its own');
  assert.deepEqual(missing.slice(0, 5), [], `${missing.length} of ${published.answered.size} are missing`);
}

/** Is an id below the oldest segment of its partition? */
function expired(log, id) {
  const [, p, offset] = id.split('-').map(Number);
  return Number(offset) < (log.partitions[p].segments[0]?.first ?? 0);
}

/** Reads the whole stream from=earliest and compares it with the log: same events, same order in a partition. */
async function compare_stream(broker, log, total) {
  const client = await SseClient.open(broker, '/sse?channels=*&from=earliest');
  const events = await client.received(total, 120_000);
  client.cut();
  const at = log.partitions.map(() => 0);
  for (const event of events) {
    const p = Number(event.json.id.split('-')[1]);
    const record = log.partitions[p].events[at[p]++];
    const id = event_id(log, log.partitions[p], record);
    assert.equal(event.json.id, id);
    const { json } = event;
    assert.equal(json.channel, record.channel, id);
    assert.equal(json.type, record.type, id);
    assert.equal(json.timestamp, record.timestamp_ms, id);
    assert.equal(json.conflate, record.flags & flags.never_conflate ? false : undefined, id);
    assert.equal(json.op, record.flags & flags.deletes ? 'delete' : undefined, id);
    assert.equal(json.encoding, record.flags & flags.base64 ? 'base64' : undefined, id);
    assert.equal(json.headers === undefined ? '' : JSON.stringify(json.headers), record.headers, id);
    assert.ok(event.data.includes(`"payload":${record.payload},`), `${id}: the payload, byte for byte`);
  }
  assert.deepEqual(at, log.partitions.map((partition) => partition.events.length), 'the stream has all of the log');
}

/** The searches by halves find what a walk finds. */
function compare_searches(log, random) {
  for (const partition of log.partitions) {
    if (partition.segments.length === 0) continue;
    const { events } = partition;
    for (let i = 0; i < 25; i++) {
      const offset = random.between(0, partition.next);
      const by_walk = offset < partition.segments[0].first ? 'expired' : events.find((event) => event.offset >= offset);
      assert.equal(find_offset(partition, offset)?.offset ?? find_offset(partition, offset), by_walk?.offset ?? by_walk);
      if (events.length === 0) continue;
      const taken_us = random.pick(events).taken_us + random.between(-1, 1);
      assert.equal(find_time(partition, taken_us)?.offset, events.find((event) => event.taken_us >= taken_us)?.offset);
    }
  }
}

/** Every index file there is says what its segment says; returns how many there were. */
function compare_indexes(log) {
  const hash = hasher(log.meta);
  let count = 0;
  for (const partition of log.partitions) {
    for (const [i, segment] of partition.segments.entries()) {
      const index = read_index(segment.file, log.meta);
      if (index === undefined) continue;
      count++;
      assert.ok(i + 1 < partition.segments.length, `${index.file}: the newest segment has no index`);
      compare_index(index, segment, partition, partition.segments[i + 1], hash);
    }
  }
  return count;
}

/** The values are those of everything that was published, retired or not. */
function compare_values(log, published) {
  const expected = log.partitions.map(() => new Map());
  for (const [id, event] of published.answered) {
    if (event.flags & flags.never_conflate && !(event.flags & flags.deletes)) continue;
    const [, p, offset] = id.split('-').map(Number);
    const before = expected[p].get(event.channel);
    if (before === undefined || before.offset < offset) expected[p].set(event.channel, { offset, event });
  }
  const found = { kept: 0, checkpoints: 0, records: 0 };
  for (const [p, channels_of] of expected.entries()) {
    for (const [channel, { event }] of channels_of) if (event.flags & flags.deletes) channels_of.delete(channel);
    const { values, checkpoint, kept } = read_values(log, p);
    found.kept += kept.length;
    found.records += kept.reduce((sum, { records }) => sum + records.length, 0);
    if (checkpoint) found.checkpoints++;
    assert.deepEqual([...values.keys()].sort(), [...channels_of.keys()].sort(), `channels with a value, partition ${p}`);
    for (const [channel, { offset, event }] of channels_of) {
      assert.equal(values.get(channel).offset, offset, `the value of ${channel}`);
      for (const name of compared) assert.equal(values.get(channel)[name], event[name], `${channel}: ${name}`);
    }
  }
  return found;
}

const total_of = (log) => log.partitions.reduce((sum, partition) => sum + partition.events.length, 0);

// ---- the tests ------------------------------------------------------------------------------------------------

test('the sums of the reader are the published ones', () => {
  assert.equal(crc32c(Buffer.from('123456789')), 0xe3069283);
  assert.equal(crc32c(Buffer.alloc(32)), 0x8a9136aa, 'RFC 3720, B.4');
  assert.equal(crc32c(Buffer.alloc(32, 0xff)), 0x62a8ab43, 'RFC 3720, B.4');
});

const clean_stop = ['--drain-delay-ms=0', '--drain-ms=0'];
const small_log = [...clean_stop, '--log-segment-bytes=2MiB', '--tail-bytes=2MiB'];
const channels = ['a', 'b.c', 'b.d', 'stock.AAPL', 'ü.漢', 'x'.repeat(255), ...Array.from({ length: 40 }, (_, i) => `many.${i}`)];

for (const sync of ['interval', 'always', 'never']) {
  broker_test(`what was published is what a reader of the files finds: --log-sync=${sync}`, { args: [...small_log, `--log-partitions=${sync === 'interval' ? 3 : 2}`, `--log-sync=${sync}`] }, async (broker, t) => {
    const random = seeded(t);
    const published = new Published(broker, random);
    while (published.bytes < (sync === 'interval' ? 8 : 5) << 20) {
      const large = random.next() < 0.3;
      const count = large ? 1 : random.between(1, 60);
      await published.publish(Array.from({ length: count }, () => random_event(random, channels, large ? random.between(1000, 200_000) : random.between(0, 300))));
      if (random.next() < 0.02) compare(read_log(broker.data, { live: true }), published);
    }
    const live = read_log(broker.data, { live: true });
    compare(live, published);
    await compare_stream(broker, live, published.answered.size);
    await broker.stop();
    const log = read_log(broker.data);
    compare(log, published);
    compare_searches(log, random);
    assert.equal(total_of(log), published.answered.size, 'and nothing else');
    assert.ok(compare_indexes(log) > 0, 'there are index files');
    compare_values(log, published);
    assert.ok(log.partitions.some((partition) => partition.segments.length > 1), 'segments were rolled');
    for (const partition of log.partitions) {
      assert.deepEqual(partition.holes, []);
      assert.equal(partition.tail.state, 'end');
      /* With `always` none is needed, and the one of the creation stays. */
      assert.equal(partition.ceiling, sync === 'always' ? 0 : partition.next, 'the ceiling after a clean stop');
      for (const event of partition.events) {
        const channel = siphash13(log.meta.key, Buffer.from(event.channel));
        assert.equal(Number(channel % BigInt(log.meta.partitions)), partition.number, `the partition of ${event.channel}`);
      }
    }
    t.diagnostic(`${published.answered.size} events, ${live.partitions.map((p) => p.segments.length)} segments`);
  });
}

broker_test('events larger than a chunk run through several', { args: [...clean_stop, '--log-segment-bytes=8MiB', '--tail-bytes=12MiB', '--max-event-bytes=4MiB'] }, async (broker, t) => {
  const random = seeded(t);
  const published = new Published(broker, random);
  const chunk = 1 << 20;
  /* Around what a chunk holds behind each header, and what several hold. */
  for (const about of [chunk - 64, chunk - 200, chunk, 2 * chunk - 64, 2 * chunk, 3 * chunk, (4 << 20) - 400]) {
    for (let i = 0; i < 4; i++) {
      const payload = JSON.stringify('x'.repeat(about - 48 - 10 + random.between(-40, 40)));
      const expected = { channel: 'a', type: 'message', headers: '', flags: 0, payload };
      await published.publish([{ ...expected, line: `{"channel":"a","payload":${payload}}` }]);
      await published.publish(Array.from({ length: random.between(0, 3) }, () => random_event(random, channels, 5000)));
    }
  }
  await broker.stop();
  const log = read_log(broker.data);
  compare(log, published);
  compare_searches(log, random);
  assert.equal(total_of(log), published.answered.size);
  const large = log.partitions[0].segments.reduce((sum, segment) => sum + (segment.large ?? 0), 0);
  assert.ok(large >= 16, `${large} records ran over several chunks`);
});

broker_test('after kill -9 the files hold every answer once, and no number is used again', { args: [...small_log, '--log-partitions=2'], timeout: 300_000 }, async (broker, t) => {
  const random = seeded(t);
  const published = new Published(broker, random);
  const highest = [0, 0];
  let holes = 0;
  for (let round = 0; round < 5; round++) {
    const size = random.pick([50, 3000]);
    const fired = [];
    const rounds = random.between(3, 40);
    for (let i = 0; i < rounds; i++) {
      fired.push(published.fire(Array.from({ length: random.between(1, 100) }, () => random_event(random, channels, size))));
      if (random.next() < 0.7) await fired.at(-1);
    }
    await broker.kill();
    await Promise.all(fired);
    const dead = read_log(broker.data);
    compare(dead, published);
    assert.ok(dead.partitions.every((partition) => partition.tail.state !== 'damaged'), 'kill -9 damages nothing');
    await broker.restart();
    const again = read_log(broker.data, { live: true });
    compare(again, published);
    assert.equal(total_of(again), total_of(dead), 'recovery neither adds nor removes a whole event');
    /* The HOLE is written with the first record behind it. */
    const first = new Map();
    for (const id of await published.publish(channels.map((channel) => random_event(random, [channel], 10)))) {
      const [, p, offset] = id.split('-').map(Number);
      first.set(p, Math.min(first.get(p) ?? offset, offset));
    }
    assert.equal(first.size, dead.partitions.length, 'every partition got an event');
    const after = read_log(broker.data, { live: true });
    for (const [p, offset] of first) {
      const { next, ceiling } = dead.partitions[p];
      assert.equal(offset, Math.max(ceiling, next), 'numbering goes on at the ceiling');
      const hole = after.partitions[p].holes.at(-1);
      assert.deepEqual({ offset: hole.offset, end: hole.end }, { offset: next, end: offset });
      assert.ok(offset >= highest[p]);
      highest[p] = after.partitions[p].next;
      holes = Math.max(holes, after.partitions[p].holes.length);
    }
  }
  assert.equal(holes, 5, 'one for each kill');
  const live = read_log(broker.data, { live: true });
  compare(live, published);
  await compare_stream(broker, live, total_of(live));
});

broker_test('retention removes whole segments, and the stream begins where the files do', { args: [...small_log, '--log-retention-bytes=6MiB'] }, async (broker, t) => {
  const random = seeded(t);
  const published = new Published(broker, random);
  /* Some channels are silent from early on: their values outlive their segments. */
  await published.publish(Array.from({ length: 60 }, (_, i) => random_event(random, [`early.${i % 30}`], 1000)));
  while (published.bytes < 14 << 20) {
    await published.publish(Array.from({ length: 100 }, () => random_event(random, channels, 1000)));
  }
  /* Values are kept first: it takes its time. */
  await eventually(async () => (await metric(broker, 'log_segments')) <= 3, 'retention to catch up');
  await broker.stop();
  const log = read_log(broker.data);
  const [partition] = log.partitions;
  assert.ok(partition.segments[0].first > 0, 'the first segment is gone');
  compare(log, published);
  compare_searches(log, random);
  assert.ok(compare_indexes(log) > 0, 'there are index files');
  const found = compare_values(log, published);
  assert.equal(found.checkpoints, 1, 'a clean stop leaves a checkpoint');
  assert.ok(found.kept > 0 && found.records > 0, 'values of retired segments were kept');
  /* What a stop came before would be retired now, while it is read: what is compared has to stay. */
  await broker.restart({ args: ['--log-retention-bytes=1GiB'] });
  await compare_stream(broker, log, total_of(log));
});

broker_test('a flipped bit is found by the reader, wherever it is', { args: small_log }, async (broker, t) => {
  const random = seeded(t);
  const published = new Published(broker, random);
  await published.publish(Array.from({ length: 50 }, () => random_event(random, channels, 100)));
  await broker.stop();
  const { data } = broker;
  const copy = temporary_directory();
  try {
    fs.cpSync(data, copy, { recursive: true });
    const whole = read_log(copy).partitions[0];
    const { file, bytes } = whole.segments[0];
    /* A clean stop ends with a batch record; a flip in it takes no event away. */
    const last_batch = whole.last.class === classes.BATCH ? whole.last.place : whole.tail.place;
    for (let i = 0; i < 200; i++) {
      const at = random.between(0, whole.tail.place - 1);
      bytes[at] ^= 1 << random.between(0, 7);
      fs.writeFileSync(file, bytes);
      let events;
      try {
        const damaged = read_log(copy).partitions[0];
        assert.notEqual(damaged.tail.state, 'end', `byte ${at}`);
        events = damaged.events;
      } catch (error) {
        assert.equal(error.name === 'Error' && /byte \d+/.test(error.message), true, error.stack);
      }
      assert.ok(
        events === undefined || events.length < whole.events.length || at >= last_batch,
        `byte ${at} was flipped, and nothing is missing`,
      );
      whole.segments[0].bytes.set(fs.readFileSync(path.join(data, '0', path.basename(file))));
    }
  } finally {
    fs.rmSync(copy, { recursive: true, force: true });
  }
});
