// Catching up by index: who follows a few channels among many is given its own records, read one by one, from
// sealed segments, from the one that grows, and from memory, and they are exactly those that a scan would give.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { broker_test, with_broker } from './lib/broker.mjs';
import { Counter, Sequence } from './lib/counter.mjs';
import { metric } from './lib/metrics.mjs';
import { post } from './lib/publish.mjs';
import { seeded } from './lib/random.mjs';
import { subscribe } from './lib/sse.mjs';
import { eventually, pass_ms, patience_ms } from './lib/wait.mjs';

const small_log = ['--log-segment-bytes=2MiB', '--tail-bytes=2MiB'];
const slow_build = /\/(asan|tsan)\//.test(process.env.TT_BINARY ?? '');
const filler = 'x'.repeat(900);

const by_index = (broker) => metric(broker, 'replay_batches_total{by="index"}');
const by_scan = (broker) => metric(broker, 'replay_batches_total{by="scan"}');

/** Publishes batches: mostly noise on many channels, now and then something on the rare ones. */
class Market {
  constructor(broker, random, rare) {
    this.broker = broker;
    this.random = random;
    this.rare = rare;
    this.sequence = new Sequence();
    this.ids = []; /* of some events of rare[0]: { id, n } */
    this.published = 0;
  }

  async batch(size = 200) {
    const events = Array.from({ length: size }, () => {
      const rare = this.random.next() < 0.01;
      const channel = rare ? this.random.pick(this.rare) : `noise.${this.random.between(0, 400)}`;
      return this.sequence.event(channel, { payload: { filler } });
    });
    const body = events.map((event) => `${JSON.stringify(event)}\n`).join('');
    const answer = await post(this.broker, '/publish?ids=1', body, { headers: { 'content-type': 'application/x-ndjson' } });
    assert.equal(answer.status, 202, answer.text);
    this.published += size;
    events.forEach((event, i) => {
      if (event.channel === this.rare[0]) this.ids.push({ id: answer.json.ids[i], n: event.payload.n });
    });
  }

  async fill(bytes) {
    for (let sent = 0; sent < bytes; sent += 200 * 1050) await this.batch();
  }
}

/** Every index file is there. */
function indexed(broker) {
  return eventually(async () => (await metric(broker, 'log_unindexed_segments')) === 0, 'the index files');
}

/** Reads until the newest of all these channels was given; asserts that nothing is missing, or doubled. */
async function read_exactly(client, market, channels, counter = new Counter()) {
  await client.when((c) => {
    c.counted ??= 0;
    for (; c.counted < c.events.length; c.counted++) counter.take(c.events[c.counted]);
    return channels.every((channel) => counter.newest(channel) >= market.sequence.newest(channel));
  }, `the newest of ${channels.length} channels`);
  counter.assert_exact();
  assert.equal(client.all.some((event) => event.type === 'resync' || event.type === 'gap'), false, 'nothing is told');
  return counter;
}

/** A counter that expects channel's events from n on. */
function counter_from(channel, n) {
  const counter = new Counter();
  counter.next.set(channel, n);
  return counter;
}

for (const partitions of [1, 3]) {
  broker_test(`few channels among many, from everywhere, ${partitions} partitions`, { args: [...small_log, `--log-partitions=${partitions}`], small: partitions === 1 }, async (broker, t) => {
    const market = new Market(broker, seeded(t), ['r.0', 'r.1', 'r.2']);
    await market.fill(14e6 * partitions);
    await indexed(broker);
    const scanned = await by_scan(broker);
    const whole = await subscribe(broker, '/sse?channels=r.0&from=earliest');
    await read_exactly(whole, market, ['r.0']);
    whole.cut();
    const several = await subscribe(broker, '/sse?channels=r.2,r.0,r.1&from=earliest');
    await read_exactly(several, market, ['r.0', 'r.1', 'r.2']);
    several.cut();
    assert.ok((await by_index(broker)) > 0, 'it went by index');
    assert.equal(await by_scan(broker), scanned, 'and nothing was scanned');
    /* Sealed segments, the one that grows, and memory: after each of its events. */
    for (const { id, n } of market.ids.filter((_, i) => i % 7 === 0).concat(market.ids.slice(-3))) {
      const client = await subscribe(broker, '/sse?channels=r.0', { cursor: partitions === 1 ? id : `${id}/${partitions}` });
      await read_exactly(client, market, ['r.0'], counter_from('r.0', n + 1));
      client.cut();
    }
    assert.equal(await by_scan(broker), scanned, 'and nothing was scanned');
    /* The same by scanning, for those who follow a pattern. */
    const pattern = await subscribe(broker, '/sse?channels=r.*&from=earliest');
    await read_exactly(pattern, market, ['r.0', 'r.1', 'r.2']);
    pattern.cut();
    assert.ok((await by_scan(broker)) > scanned);
  });
}

broker_test('while everything goes on: publishing, sealing, retention', { args: [...small_log, '--log-retention-bytes=16MiB'] }, async (broker, t) => {
  const random = seeded(t);
  const market = new Market(broker, random, ['r.0', 'r.1']);
  await market.fill(6e6);
  let over = false;
  const publishing = (async () => {
    while (!over) {
      await market.batch();
      await pass_ms(5); /* the rate is part of the load */
    }
  })();
  try {
    for (let round = 0; round < 12; round++) {
      /* From what is certainly there: the newest half of 16 MiB at 1 KiB and 1 in 200 events. */
      const since = random.pick(market.ids.slice(-20));
      const client = await subscribe(broker, '/sse?channels=r.0', { cursor: since.id });
      const goal = market.sequence.newest('r.0') + 5;
      const counter = counter_from('r.0', since.n + 1);
      await client.when((c) => {
        c.counted ??= 0;
        for (; c.counted < c.events.length; c.counted++) counter.take(c.events[c.counted]);
        return counter.newest('r.0') >= goal;
      }, `event ${goal}`);
      counter.assert_exact();
      assert.equal(client.all.some((event) => event.type === 'resync'), false);
      client.cut();
      /* From what has expired: told once, and then exact from the oldest on. */
      if (market.published > 30_000 && market.ids.length > 0) {
        const late = await subscribe(broker, '/sse?channels=r.0', { cursor: market.ids[0].id });
        assert.equal((await late.control('resync')).json.reason, 'expired');
        await late.received(10);
        const ns = late.events.map((event) => event.json.payload.n);
        ns.forEach((n, i) => assert.equal(n, ns[0] + i));
        assert.equal(late.all.filter((event) => event.type === 'resync').length, 1);
        late.cut();
      }
    }
    assert.ok((await by_index(broker)) > 0, 'it went by index');
  } finally {
    over = true;
    await publishing;
  }
});

broker_test('what lies close together is scanned', { args: small_log }, async (broker, t) => {
  const market = new Market(broker, seeded(t), ['r.0']);
  await market.fill(4e6);
  for (let i = 0; i < 40; i++) {
    const events = Array.from({ length: 100 }, () => market.sequence.event('dense', { payload: { filler } }));
    assert.equal((await post(broker, '/publish', JSON.stringify(events))).status, 202);
  }
  await market.fill(4e6);
  await indexed(broker);
  const client = await subscribe(broker, '/sse?channels=dense&from=earliest');
  await read_exactly(client, market, ['dense']);
  client.cut();
  assert.ok((await by_scan(broker)) > 0);
  assert.ok((await by_index(broker)) <= 2, 'it is not asked for again and again');
});

broker_test('a damaged index is scanned past, told once, and nothing is lost', { args: small_log }, async (broker, t) => {
  const market = new Market(broker, seeded(t), ['r.0']);
  await market.fill(12e6);
  await indexed(broker);
  const directory = path.join(broker.data, '0');
  const files = fs.readdirSync(directory).filter((name) => name.endsWith('.idx')).sort();
  assert.ok(files.length >= 4, `${files.length} index files`);
  /* One in its header, one in its lists, one cut short, one gone. */
  const damage = (name, change) => {
    const file = path.join(directory, name);
    const bytes = fs.readFileSync(file);
    fs.writeFileSync(file, change(bytes));
  };
  damage(files[0], (bytes) => ((bytes[60] ^= 1), bytes));
  damage(files[1], (bytes) => (bytes.fill(0xee, 256, bytes.length - 8192), bytes));
  damage(files[2], (bytes) => bytes.subarray(0, bytes.length - 100));
  fs.unlinkSync(path.join(directory, files[3]));
  for (let i = 0; i < 4; i++) {
    const client = await subscribe(broker, '/sse?channels=r.0&from=earliest');
    await read_exactly(client, market, ['r.0']);
    client.cut();
  }
  assert.ok((await metric(broker, 'index_files_bad_total')) >= 3);
  assert.ok((await by_scan(broker)) > 0);
  const told = broker.stderr.split('\n').filter((line) => /code=index_file /.test(line));
  assert.ok(told.length >= 3 && told.length <= 6, told.join('\n')); /* once on each of two shards */
});

broker_test('what a crash has lost is told to those who read by index', { args: [...small_log, '--log-sync=never'] }, async (broker, t) => {
  const market = new Market(broker, seeded(t), ['r.0']);
  await market.fill(3e6);
  const before = market.ids.at(-1);
  const live_client = await subscribe(broker, '/sse?channels=none');
  live_client.cut();
  await broker.kill();
  await broker.restart();
  await market.fill(8e6);
  await indexed(broker);
  const read = async (channels) => {
    const client = await subscribe(broker, `/sse?channels=${channels}`, { cursor: before.id });
    const counter = counter_from('r.0', before.n + 1);
    await client.when((c) => {
      c.counted ??= 0;
      for (; c.counted < c.events.length; c.counted++) if (c.events[c.counted].json.channel === 'r.0') counter.take(c.events[c.counted]);
      return counter.newest('r.0') >= market.sequence.newest('r.0');
    }, 'the newest');
    counter.assert_exact();
    const told = client.all.filter((event) => event.type === 'gap').map((event) => event.json);
    client.cut();
    return told;
  };
  const index_before = await by_index(broker);
  const told = await read('r.0');
  assert.ok((await by_index(broker)) > index_before, 'by index');
  const scan_before = await by_scan(broker);
  const told_by_scan = await read('r.*');
  assert.ok((await by_scan(broker)) > scan_before, 'by scanning');
  assert.equal(told.length, 1);
  assert.equal(told[0].reason, 'crash');
  assert.deepEqual(told, told_by_scan);
});

broker_test('a restart keeps the index files, and makes those that are missing', { args: small_log }, async (broker, t) => {
  const market = new Market(broker, seeded(t), ['r.0']);
  await market.fill(10e6);
  await indexed(broker);
  await broker.stop();
  const directory = path.join(broker.data, '0');
  const files = fs.readdirSync(directory).filter((name) => name.endsWith('.idx')).sort();
  fs.unlinkSync(path.join(directory, files[1]));
  await broker.restart();
  await indexed(broker);
  assert.ok(fs.existsSync(path.join(directory, files[1])), 'made anew');
  const client = await subscribe(broker, '/sse?channels=r.0&from=earliest');
  await read_exactly(client, market, ['r.0']);
  client.cut();
  assert.ok((await by_index(broker)) > 0);
  assert.equal(await by_scan(broker), 0);
});

broker_test('64 channels go by index, more than that are scanned for, and get the same', { args: small_log }, async (broker, t) => {
  const rare = Array.from({ length: 65 }, (_, i) => `r.${i}`);
  const market = new Market(broker, seeded(t), rare);
  await market.fill(9e6);
  await indexed(broker);
  const known = rare.filter((channel) => market.sequence.newest(channel) > 0);
  for (const count of [64, 65]) {
    const [index, scan] = [await by_index(broker), await by_scan(broker)];
    const channels = rare.slice(0, count);
    const client = await subscribe(broker, `/sse?channels=${channels.join(',')}&from=earliest`);
    await read_exactly(client, market, channels.filter((channel) => known.includes(channel)));
    client.cut();
    assert.equal((await by_index(broker)) > index, count === 64);
    assert.equal((await by_scan(broker)) > scan, count === 65);
  }
});

broker_test('the newest N events of channels, wherever they are', { args: small_log }, async (broker, t) => {
  const market = new Market(broker, seeded(t), ['r.0', 'r.1', 'r.2']);
  await market.fill(12e6);
  await indexed(broker);
  const all_of = async (channel, last) => {
    const client = await subscribe(broker, `/sse?channels=${channel}&last=${last}`);
    await client.control('snapshot-end');
    const ns = client.events.map((event) => event.json.payload.n);
    client.cut();
    return ns;
  };
  const newest = (channel, last) => {
    const n = market.sequence.newest(channel);
    return Array.from({ length: Math.min(n, last) }, (_, i) => n - Math.min(n, last) + 1 + i);
  };
  for (const last of [1, 7, 1000])
    for (const channel of ['r.0', 'r.1', 'r.2']) assert.deepEqual(await all_of(channel, last), newest(channel, last), `${last} of ${channel}`);
  /* Two of the indexes are of no use: those segments are read whole. */
  const directory = path.join(broker.data, '0');
  const files = fs.readdirSync(directory).filter((name) => name.endsWith('.idx')).sort();
  await broker.stop();
  for (const name of files.slice(1, 3)) {
    const bytes = fs.readFileSync(path.join(directory, name));
    bytes.fill(0xee, 256, bytes.length - 8192); /* the header and the filter are as they were */
    fs.writeFileSync(path.join(directory, name), bytes);
  }
  await broker.restart();
  for (const channel of ['r.0', 'r.1', 'r.2']) assert.deepEqual(await all_of(channel, 1000), newest(channel, 1000), channel);
  assert.ok((await metric(broker, 'segments_scanned_total')) > 0);
});

broker_test('many at once, and little memory for them', { args: [...small_log, '--catchup-bytes=1MiB'] }, async (broker, t) => {
  const market = new Market(broker, seeded(t), ['r.0', 'r.1', 'r.2', 'r.3']);
  await market.fill(10e6);
  await indexed(broker);
  const clients = await Promise.all(Array.from({ length: slow_build ? 40 : 150 }, (_, i) => subscribe(broker, `/sse?channels=${market.rare.slice(i % 4).join(',')}&from=earliest`)));
  await market.fill(2e6);
  await Promise.all(clients.map((client, i) => read_exactly(client, market, market.rare.slice(i % 4))));
  clients.forEach((client) => client.cut());
  await eventually(async () => (await metric(broker, 'catchup_bytes')) <= 1 << 20, 'the memory to be given back');
});

broker_test('an index file that cannot be read is scanned past', { args: [...small_log, '--test-fault=error=EIO;kind=read;path=*.idx;times=forever'] }, async (broker, t) => {
  const market = new Market(broker, seeded(t), ['r.0']);
  await market.fill(8e6);
  await indexed(broker);
  const client = await subscribe(broker, '/sse?channels=r.0&from=earliest');
  await read_exactly(client, market, ['r.0']);
  client.cut();
  assert.ok((await metric(broker, 'index_files_bad_total')) > 0);
});

/* What is read here is larger than all socket buffers, and time has to pass. */
const slow = slow_build ? 'takes too long in a slow build' : process.env.TT_SMALL === '1' ? 'not in the small set' : false;
test('whoever is in the middle of a retired segment has ten seconds to read on', { skip: slow, timeout: 8 * patience_ms }, () =>
  with_broker({ shards: 1, args: ['--log-segment-bytes=32MiB', '--tail-bytes=2MiB', '--log-retention-bytes=64MiB'] }, async (broker) => {
    const market = new Market(broker, seeded(), ['r.0']);
    await market.fill(36e6);
    const quick = await subscribe(broker, '/sse?channels=*&from=earliest');
    const late = await subscribe(broker, '/sse?channels=*&from=earliest');
    quick.pause();
    late.pause();
    const first = path.join(broker.data, '0', '00000000000000000000.seg');
    assert.ok(fs.existsSync(first));
    for (let i = 0; fs.existsSync(first); i++) {
      assert.ok(i < 1000, 'the first segment is retired');
      await market.batch();
    }
    const retired = Date.now();
    const total = market.published;
    quick.resume();
    await quick.when((c) => c.events.length >= total, `${total} events`, 60_000);
    assert.equal(quick.all.some((event) => event.type === 'resync'), false, 'nothing is missing');
    assert.equal(quick.events.length, total);
    quick.cut();
    await pass_ms(retired + 13_000 - Date.now());
    late.resume();
    assert.equal((await late.control('resync')).json.reason, 'expired');
    late.cut();
  }));
