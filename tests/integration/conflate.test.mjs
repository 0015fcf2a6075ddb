// policy=conflate and max_rate: a slow client gets the newest of each channel in the order in which the
// events came, and every event that is marked "conflate":false; what it did not get is counted.

import assert from 'node:assert/strict';
import { broker_test } from './lib/broker.mjs';
import { metric } from './lib/metrics.mjs';
import { post, publish, publish_lines } from './lib/publish.mjs';
import { seeded } from './lib/random.mjs';
import { SseClient, subscribe } from './lib/sse.mjs';
import { eventually } from './lib/wait.mjs';

/* The kernel's buffers take several MB of a client that does not read: what is published to fill them is
 * more. */
const small = ['--log-segment-bytes=2MiB', '--tail-bytes=2MiB', '--frame-bytes=1MiB'];
const stall_bytes = 12 << 20;

/** Publishes, and knows what was published: events by number, which is their payload's n. */
class Feed {
  constructor(broker, channels) {
    this.broker = broker;
    this.channels = channels;
    this.events = [undefined];
    this.pad = 'x'.repeat(1500);
  }

  #next(channel, never) {
    const n = this.events.length;
    this.events.push({ n, channel, never });
    return { channel, type: never ? 'trade' : 'quote', payload: { n, pad: this.pad }, ...(never ? { conflate: false } : {}) };
  }

  /** Some events, of which each is on a channel that `pick` names, and never-conflate by chance. */
  lines(count, pick, never) {
    return publish_lines(this.broker, Array.from({ length: count }, () => this.#next(pick(), never())));
  }

  async flood(own, { bytes = stall_bytes, never = 0.01, pick = () => own.pick(this.channels) } = {}) {
    for (let sent = 0; sent < bytes; sent += 200 * 1700) await this.lines(200, pick, () => own.next() < never);
  }

  /** One event on every channel, so that every channel's newest is known to be newer than any other. */
  async last() {
    for (const channel of this.channels) await this.lines(1, () => channel, () => false);
  }

  /** 0: there is none. */
  newest(channel) {
    return this.events.findLast((event) => event?.channel === channel)?.n ?? 0;
  }
}

const number_of = (event) => event.json.payload.n;
const offset_of = (id) => Number(/-(\d+)(?:\/\d+)?$/.exec(id)[1]);
const gaps = (client) => client.all.filter((event) => event.control && event.type === 'gap').map((event) => event.json);

/** Everything that a conflating client is promised, of the events from number `first` on. */
function assert_conflated(feed, events, { first = 1, one_partition = true } = {}) {
  const got = new Set();
  const at = new Map();
  const partitions = new Map();
  for (const event of events) {
    const n = number_of(event);
    const { channel } = feed.events[n];
    assert.ok(!got.has(n), `event ${n} came twice`);
    assert.equal(event.json.channel, channel);
    assert.ok(n > (at.get(channel) ?? 0), `${channel} goes from ${at.get(channel)} back to ${n}`);
    at.set(channel, n);
    got.add(n);
    const [, p, offset] = /-(\d+)-(\d+)$/.exec(event.json.id);
    assert.ok(Number(offset) > (partitions.get(p) ?? -1), `partition ${p}: ${offset} behind ${partitions.get(p)}`);
    partitions.set(p, Number(offset));
    if (one_partition) assert.equal(p, '0');
  }
  const before = new Map();
  for (const event of feed.events.slice(first)) {
    if (event === undefined) continue;
    if (event.never) {
      assert.ok(got.has(event.n), `never-conflate event ${event.n} of ${event.channel} is missing`);
      const quote = before.get(event.channel);
      assert.ok(quote === undefined || got.has(quote), `event ${event.n} came without ${quote}, which stood before it`);
    }
    before.set(event.channel, event.n);
  }
  for (const [channel, n] of before) assert.ok(got.has(n), `the newest of ${channel} is missing: ${n}`);
  return got;
}

/** Waits until the newest of every channel has come. */
function up_to_date(client, feed, of = client) {
  const newest = new Map(feed.channels.map((channel) => [channel, feed.newest(channel)]));
  let looked = 0;
  const at = new Map();
  return client.when(() => {
    for (; looked < of.events.length; looked++) at.set(of.events[looked].json.channel, number_of(of.events[looked]));
    return [...newest].every(([channel, n]) => (at.get(channel) ?? 0) >= n) || undefined;
  }, 'the newest of every channel', 60_000);
}

const many = Array.from({ length: 12 }, (_, i) => `s.${i}`);

for (const partitions of [1, 4]) {
  broker_test(
    `a client that stops reading gets the newest of each channel and is told how many it missed, ${partitions} partitions`,
    { args: [...small, `--log-partitions=${partitions}`], small: partitions === 1 },
    async (broker, t) => {
      const own = seeded(t);
      const feed = new Feed(broker, many);
      const client = await subscribe(broker, '/sse?channels=s.*&policy=conflate');
      client.pause();
      await feed.flood(own);
      assert.ok((await metric(broker, 'conflated_total')) > 0, 'the broker conflates');
      client.resume();
      await feed.last();
      await up_to_date(client, feed);
      const got = assert_conflated(feed, client.events, { one_partition: partitions === 1 });
      const total = feed.events.length - 1;
      assert.ok(got.size < total, `really conflated: ${got.size} of ${total}`);
      /* It is told when its list is empty. */
      await client.when(() => gaps(client).reduce((sum, gap) => sum + gap.skipped, 0) >= total - got.size, 'the gaps', 60_000);
      const told = gaps(client);
      assert.equal(told.reduce((sum, gap) => sum + gap.skipped, 0), total - got.size, 'the count is true');
      for (const gap of told) assert.equal(gap.reason, 'conflated');
      if (partitions === 1) {
        const missing = feed.events.filter((event) => event && !got.has(event.n)).map((event) => event.n - 1);
        assert.equal(offset_of(told[0].from), missing[0], 'from: the first one');
        assert.equal(offset_of(told.at(-1).to), missing.at(-1), 'to: the last one');
      }
      assert.equal(await metric(broker, 'gaps_total{reason="conflated"}'), told.length);
      await eventually(async () => (await metric(broker, 'clients{transport="sse",state="live"}')) === 1, 'LIVE again');
      client.cut();
    },
  );
}

broker_test('a client that keeps up gets everything, without a gap', { args: small }, async (broker, t) => {
  const own = seeded(t);
  const feed = new Feed(broker, many);
  const client = await subscribe(broker, '/sse?channels=s.*&policy=conflate');
  for (let i = 0; i < 40; i++) {
    await feed.lines(10, () => own.pick(many), () => false);
    await client.received(feed.events.length - 1);
  }
  assert.equal(gaps(client).length, 0);
  client.cut();
});

broker_test('a client that is cut again and again while it conflates misses no newest value and never goes back', { args: [...small, '--outbox-bytes=16KiB'], small: true }, async (broker, t) => {
  const own = seeded(t);
  const feed = new Feed(broker, many);
  let client = await subscribe(broker, '/sse?channels=s.*&policy=conflate');
  const all = [];
  for (let round = 0; round < 12; round++) {
    if (own.next() < 0.7) client.pause();
    await feed.flood(own, { bytes: 2 << 20, never: 0.005 });
    client.resume();
    await client.when((c) => c.events.length >= 1, 'something');
    const wanted = client.events.length + own.between(1, 60);
    if (own.next() < 0.5) await Promise.race([client.received(wanted), up_to_date(client, feed)]);
    client.cut();
    all.push(...client.events);
    client = await subscribe(broker, '/sse?channels=s.*&policy=conflate', { keep: client });
  }
  await feed.last();
  await up_to_date(client, feed);
  assert_conflated(feed, all.concat(client.events));
  client.cut();
});

broker_test('a client that comes back after long gets the newest of each channel, not everything', { args: [...small, '--outbox-bytes=64KiB'] }, async (broker, t) => {
  const own = seeded(t);
  const feed = new Feed(broker, many);
  await feed.flood(own, { bytes: 24 << 20, never: 0.002 });
  for (const query of ['from=earliest', 'from=earliest&max_rate=1000']) {
    const client = await subscribe(broker, `/sse?channels=s.*&policy=conflate&${query}`);
    client.pause();
    /* The socket's buffers are full, and what is read on conflates. */
    await eventually(async () => (await metric(broker, 'conflated_total')) > 1000, 'the broker conflates while it catches up');
    client.resume();
    await feed.last();
    await up_to_date(client, feed);
    const got = assert_conflated(feed, client.events);
    const total = feed.events.length - 1;
    assert.ok(got.size < total, `${got.size} of ${total}`);
    if (!query.includes('max_rate')) {
      const skipped = () => gaps(client).reduce((sum, gap) => sum + gap.skipped, 0);
      await client.when(() => skipped() >= total - got.size, 'the gap', 60_000);
      assert.equal(skipped(), total - got.size, 'the count is true');
    }
    client.cut();
  }
});

broker_test(
  'stalled clients that conflate on many channels stay within the bounds of their shard',
  { args: ['--log-segment-bytes=2MiB', '--tail-bytes=2MiB', '--frame-bytes=1MiB', '--catchup-bytes=1MiB', '--outbox-bytes=2MiB'] },
  async (broker, t) => {
    const own = seeded(t);
    const wide = Array.from({ length: 1500 }, (_, i) => `s.${i}`);
    const feed = new Feed(broker, wide);
    const clients = [];
    for (let i = 0; i < 8; i++) clients.push(await subscribe(broker, `/sse?channels=s.*&policy=conflate${i % 4 === 3 ? '&max_rate=5' : ''}`));
    for (const client of clients) client.pause();
    /* A shard may pass its bounds by the events of one turn: frames by half of what is allowed. */
    const shards = 2;
    const frames_max = shards * 1.5 * (1 << 20) + (256 << 10);
    const catchup_max = shards * ((1 << 20) + (256 << 10));
    /* So long that they count as silent: their lists are let go, and they are not closed for them. */
    const began = performance.now();
    for (let i = 0; i < 8 || performance.now() - began < 6500; i++) {
      if (i < 8) await feed.flood(own, { bytes: 1 << 20, never: 0.002 });
      else await feed.lines(1, () => own.pick(wide), () => false);
      const frames = await metric(broker, 'frame_bytes');
      const catchup = await metric(broker, 'catchup_bytes');
      assert.ok(frames <= frames_max, `frames: ${frames} of ${frames_max} bytes`);
      assert.ok(catchup <= catchup_max, `catching up: ${catchup} of ${catchup_max} bytes`);
    }
    for (const client of clients) client.resume();
    for (const channel of wide.slice(0, 20)) await feed.lines(1, () => channel, () => false);
    for (const client of clients) {
      await up_to_date(client, feed);
      assert_conflated(feed, client.events);
      client.cut();
    }
  },
);

broker_test('max_rate: a channel is updated so many times a second at most, and its newest event comes', { args: small, small: true }, async (broker, t) => {
  const own = seeded(t);
  const feed = new Feed(broker, many);
  feed.pad = 'x';
  const began = performance.now();
  const client = await subscribe(broker, '/sse?channels=s.*&max_rate=8');
  const other = await subscribe(broker, '/sse?channels=s.*&max_rate=0.001');
  for (let i = 0; i < 60; i++) await feed.lines(50, () => own.pick(many), () => own.next() < 0.01);
  await feed.last();
  await up_to_date(client, feed);
  const seconds = (performance.now() - began) / 1000;
  assert_conflated(feed, client.events);
  /* One tick brings a channel one quote, one more for each trade behind it. */
  for (const channel of many) {
    const mine = client.events.filter((event) => event.json.channel === channel);
    const trades = mine.filter((event) => event.type === 'trade').length;
    const ticks = seconds * 8 + 1;
    assert.ok(mine.length - trades <= ticks + trades, `${channel}: ${mine.length - trades} quotes, ${trades} trades in ${seconds} s`);
  }
  assert.equal(gaps(client).length, 0, 'no gap for each tick');
  /* The second one's first tick was at the first event; the next is far away. */
  assert.ok(other.events.length < feed.events.length / 2);
  client.cut();
  other.cut();
});

broker_test('max_rate: ids are true, also across cuts, and a quiet client gets its heartbeats', { args: [...small, '--heartbeat-ms=100', '--log-partitions=3'] }, async (broker, t) => {
  const own = seeded(t);
  const feed = new Feed(broker, many);
  feed.pad = 'x';
  let client = await subscribe(broker, '/sse?channels=s.*&max_rate=50');
  const all = [];
  for (let round = 0; round < 25; round++) {
    await feed.lines(own.between(1, 60), () => own.pick(many), () => own.next() < 0.05);
    if (own.next() < 0.5) await client.when((c) => c.events.length > 0 || c.comments.length > 0, 'a sign of life');
    client.cut();
    all.push(...client.events);
    client = await subscribe(broker, '/sse?channels=s.*&max_rate=50', { keep: client });
  }
  await feed.last();
  await up_to_date(client, feed);
  assert_conflated(feed, all.concat(client.events), { one_partition: false });
  /* What waits for a tick that is far away does not stop the heartbeats. */
  const slow = await subscribe(broker, '/sse?channels=s.*&max_rate=0.001');
  await feed.lines(10, () => 's.0', () => false);
  await slow.received(1);
  await feed.lines(10, () => 's.0', () => false);
  const before = slow.comments.length;
  await slow.when((c) => c.comments.length > before + 2, 'heartbeats');
  slow.cut();
  client.cut();
});

/* Where memory is short the list is dropped and read again from the log, again and again. */
for (const [what, memory] of [['', ['--outbox-bytes=4MiB', '--frame-bytes=16MiB']], [', nor where its list is dropped', ['--outbox-bytes=1MiB', '--frame-bytes=1MiB']]]) {
  broker_test(`a channel that is hotter than the client reads does not starve${what}`, { args: [...small, ...memory, '--conflate-wait-ms=20'] }, async (broker, t) => {
    const own = seeded(t);
    const cold = Array.from({ length: 300 }, (_, i) => `s.${i}`);
    const feed = new Feed(broker, ['s.hot', ...cold]);
    const client = await subscribe(broker, '/sse?channels=s.*&policy=conflate');
    client.pause();
    await feed.flood(own, { never: 0 });
    const hot = () => client.events.filter((event) => event.json.channel === 's.hot').length;
    const pick = () => (own.next() < 0.3 ? 's.hot' : own.pick(cold));
    let reads = 0;
    /* It takes a little again and again, less than what comes meanwhile. */
    const first = hot();
    for (; hot() < first + 5 && reads < 400; reads++) {
      await feed.lines(400, pick, () => false);
      const { bytes } = client;
      client.resume();
      await client.when((c) => c.bytes > bytes, 'something to read');
      client.pause();
    }
    t.diagnostic(`${reads} reads of ${client.bytes} bytes`);
    assert.ok(hot() >= first + 5, `hot events while the client was behind: ${hot() - first} in ${reads} reads`);
    client.resume();
    await feed.last();
    await up_to_date(client, feed);
    assert_conflated(feed, client.events);
    client.cut();
  });
}

broker_test('from=snapshot, last=N and POST /subscribe go together with conflation', { args: small }, async (broker, t) => {
  const own = seeded(t);
  const feed = new Feed(broker, [...many, 'later.1']);
  feed.pad = 'x';
  await feed.lines(300, () => own.pick(feed.channels), () => false);
  await feed.last();
  for (const [query, events] of [['from=snapshot&policy=conflate', many.length], ['from=snapshot&max_rate=100', many.length], ['last=2&policy=conflate', 2 * many.length]]) {
    const client = await subscribe(broker, `/sse?channels=s.*&${query}`);
    const end = await client.control('snapshot-end');
    assert.equal(end.json.events, events);
    assert.ok(end.id, 'the join has a cursor');
    const values = new Map(client.events.map((event) => [event.json.channel, number_of(event)]));
    for (const channel of many) assert.equal(values.get(channel), feed.newest(channel));
    await feed.last();
    await client.when((c) => many.every((channel) => c.events.some((event) => number_of(event) === feed.newest(channel))), 'what follows');
    const { session } = (await client.connected()).json;
    const answer = await post(broker, '/subscribe', JSON.stringify({ session, channels: ['later.*', 's.1'], from: 'snapshot' }));
    assert.equal(answer.status, 200, answer.text);
    await client.when((c) => c.events.some((event) => event.json.channel === 'later.1'), 'the value of the channel that was added');
    if (!query.includes('max_rate')) {
      /* Its policy is still what it was. */
      client.pause();
      const before = await metric(broker, 'conflated_total');
      feed.pad = 'x'.repeat(1500);
      await feed.flood(own, { never: 0, pick: () => 'later.1' });
      feed.pad = 'x';
      assert.ok((await metric(broker, 'conflated_total')) > before);
      client.resume();
      await client.when((c) => number_of(c.events.at(-1)) === feed.newest('later.1'), 'the newest', 60_000);
      assert.ok(client.events.every((event, i) => i === 0 || event.json.channel !== 'later.1' || !client.events.slice(0, i).some((e) => e.json.channel === 'later.1' && number_of(e) > number_of(event))));
    }
    client.cut();
  }
});

broker_test('a stream that is changed while it conflates goes on where it stood, from one partition to several', { args: [...small, '--log-partitions=4', '--heartbeat-ms=100'] }, async (broker, t) => {
  const own = seeded(t);
  for (const query of ['policy=conflate', 'max_rate=20', 'max_rate=0.001']) {
    const feed = new Feed(broker, many);
    const client = await subscribe(broker, `/sse?channels=s.1&${query}`);
    const { session } = (await client.connected()).json;
    if (query === 'policy=conflate') {
      client.pause();
      await feed.flood(own, { pick: () => 's.1' });
      assert.ok((await metric(broker, 'conflated_total')) > 0);
    } else {
      for (let i = 0; i < 20; i++) await feed.lines(5, () => 's.1', () => own.next() < 0.1);
    }
    const before = feed.events.length;
    const answer = await post(broker, '/subscribe', JSON.stringify({ session, channels: ['s.*'] }));
    assert.equal(answer.status, 200, answer.text);
    client.resume();
    await feed.flood(own, { bytes: 1 << 20 });
    await feed.last();
    if (query === 'max_rate=0.001') {
      /* Its next tick is far away; what it has taken is a cursor all the same. */
      client.cut();
      /* As long as nothing came behind the change, its cursor is of one partition; the answer's is of all. */
      const cursor = client.cursor.startsWith('~') ? client.cursor : answer.json.cursor;
      const again = await SseClient.open(broker, '/sse?channels=s.*&policy=conflate', { cursor });
      const all = { events: [] };
      await again.when((c) => {
        all.events = client.events.concat(c.events);
        const at = new Map(all.events.map((event) => [event.json.channel, number_of(event)]));
        return many.every((channel) => at.get(channel) >= feed.newest(channel)) || undefined;
      }, 'the newest of every channel', 60_000);
      const got = new Set(all.events.map(number_of));
      for (const event of feed.events.slice(1, before)) assert.ok(!event.never || event.channel !== 's.1' || got.has(event.n));
      again.cut();
    } else {
      await up_to_date(client, feed);
      client.cut();
      /* Of the channels that were added from the change on, of the one that was there from the start. */
      const mine = { ...feed, events: feed.events.map((event, n) => (event && n < before && event.channel !== 's.1' ? undefined : event)) };
      assert_conflated(mine, client.events, { one_partition: false });
    }
  }
});

broker_test('behind a crash a conflating client gets the values as they are', { args: [...small, '--log-sync=never'] }, async (broker, t) => {
  const own = seeded(t);
  const feed = new Feed(broker, many);
  feed.pad = 'x';
  const client = await subscribe(broker, '/sse?channels=s.*&policy=conflate');
  await feed.lines(100, () => own.pick(many), () => false);
  await feed.last();
  await up_to_date(client, feed);
  client.cut();
  await feed.lines(50, () => own.pick(many), () => own.next() < 0.3);
  await broker.kill();
  await broker.restart();
  const again = await subscribe(broker, '/sse?channels=s.*&policy=conflate', { keep: client });
  const end = await again.control('snapshot-end');
  const at = (type) => again.all.findIndex((event) => event.type === type);
  assert.equal(gaps(again)[0].reason, 'crash');
  assert.ok(at('gap') < at('snapshot-end'));
  assert.equal(end.json.events, many.length);
  /* Those are values: without ids, one for each channel; what stood before the hole came before. */
  const values = again.all.slice(at('gap') + 1, at('snapshot-end'));
  assert.deepEqual([...new Set(values.map((event) => event.json.channel))].sort(), [...many].sort());
  for (const event of values) assert.equal(event.id, undefined);
  await publish(broker, { channel: 's.1', payload: { n: 'new' } });
  await again.when((c) => number_of(c.events.at(-1)) === 'new', 'what follows');
  /* Its cursor is behind the hole now. */
  const third = await subscribe(broker, '/sse?channels=s.*&policy=conflate', { keep: again });
  await publish(broker, { channel: 's.2', payload: { n: 'newer' } });
  await third.when((c) => c.events.length > 0 && number_of(c.events.at(-1)) === 'newer', 'what follows');
  assert.equal(third.events.length, 1);
  assert.equal(gaps(third).length, 0);
  again.cut();
  third.cut();
});
