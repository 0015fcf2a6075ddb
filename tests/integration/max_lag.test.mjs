// max_lag: a client that is behind by more is told what it misses, gets the newest values, and goes on live.
// Every event is counted: sent, or inside a gap with the true number.

import assert from 'node:assert/strict';
import { broker_test } from './lib/broker.mjs';
import { Sequence } from './lib/counter.mjs';
import { LagChecker, place, Published } from './lib/lag.mjs';
import { metric } from './lib/metrics.mjs';
import { seeded } from './lib/random.mjs';
import { subscribe } from './lib/sse.mjs';
import { pass_ms } from './lib/wait.mjs';

const args = ['--log-segment-bytes=2MiB', '--tail-bytes=2MiB'];
const catching_up = [...args, '--outbox-bytes=16KiB', '--frame-bytes=1MiB'];
const staying_live = [...args, '--outbox-bytes=64MiB', '--frame-bytes=256MiB'];
const max_lag_ms = 500;
const pad = 'x'.repeat(2000);
const long_ms = 120_000;

/** Publishes `bytes` on the channels in turn. */
async function flood(broker, published, sequence, channels, bytes, more = () => ({})) {
  for (let sent = 0, i = 0; sent < bytes; sent += 200 * 2150) {
    const events = Array.from({ length: 200 }, () => sequence.event(channels[i++ % channels.length], { payload: { pad }, ...more(i) }));
    await published.publish(broker, events);
  }
}

function checking(published, options) {
  const checker = new LagChecker(published, options);
  return { checker, on_event: (event) => checker.take(event) };
}

/** Stops reading, lets the broker fill the kernel's buffers and the time pass, and reads again. */
async function stall(broker, client, published, sequence, channels, bytes = 12 << 20) {
  client.pause();
  await flood(broker, published, sequence, channels, bytes);
  await pass_ms(max_lag_ms + 100);
  client.resume();
}

/** Until the client holds everything up to the last event of a channel. */
function all_of(client, sequence, channel) {
  return client.when((c) => c.events.some((e) => e.json.channel === channel && e.json.payload.n === sequence.newest(channel)),
    `${channel} ${sequence.newest(channel)}`, long_ms);
}

for (const [how, options] of [['in its outbox', staying_live], ['in the log', catching_up]]) {
  broker_test(`what waits too long ${how} is skipped, counted, and replaced by the newest values`, { args: options, small: true }, async (broker) => {
    const published = new Published();
    const sequence = new Sequence();
    const own = checking(published);
    const client = await subscribe(broker, `/sse?channels=c.*&max_lag=${max_lag_ms}`, own);
    const channels = ['c.1', 'c.2', 'c.3'];
    for (let round = 1; round <= 2; round++) {
      await stall(broker, client, published, sequence, channels);
      await client.when(() => own.checker.snapshots >= round, 'the snapshot', long_ms);
    }
    await published.publish(broker, channels.map((channel) => sequence.event(channel)));
    await all_of(client, sequence, 'c.3');
    own.checker.assert_complete();
    assert.equal(own.checker.unknown, 0, 'every gap says how many');
    assert.ok(own.checker.skipped > 0);
    assert.equal(own.checker.received + own.checker.skipped, published.total);
    assert.equal(await metric(broker, 'gaps_total{reason="lag"}'), own.checker.gaps.length);
    assert.equal(await metric(broker, 'lag_skipped_total'), own.checker.skipped);
    client.cut();
  });
}

broker_test('a client that keeps up never notices its max_lag', { args: catching_up, small: true }, async (broker) => {
  const published = new Published();
  const sequence = new Sequence();
  const own = checking(published);
  const client = await subscribe(broker, '/sse?channels=c.*&max_lag=30000', own);
  await flood(broker, published, sequence, ['c.1', 'c.2'], 4 << 20);
  await client.received(published.total, long_ms);
  own.checker.assert_complete();
  assert.deepEqual(own.checker.gaps, []);
  client.cut();
});

broker_test('an old cursor leads over a gap to the values, then live', { args: catching_up, small: true }, async (broker) => {
  const published = new Published();
  const sequence = new Sequence();
  const channels = ['c.1', 'c.2', 'other'];
  const first = await subscribe(broker, '/sse?channels=c.*');
  await flood(broker, published, sequence, channels, 1 << 20);
  await all_of(first, sequence, 'c.2');
  first.cut();
  const at = place(first.events.at(-1).id).offset + 1;
  await flood(broker, published, sequence, channels, 6 << 20); /* some of it in segments alone */
  await pass_ms(max_lag_ms + 100);
  const wants = (e) => e.channel.startsWith('c.');
  const own = checking(published, { wants, follows: (channel) => channel.startsWith('c.') });
  own.checker.resumes([[0, at]]);
  const client = await subscribe(broker, `/sse?channels=c.*&max_lag=${max_lag_ms}`, { keep: first, ...own });
  await client.control('snapshot-end', long_ms);
  await published.publish(broker, channels.map((channel) => sequence.event(channel)));
  await all_of(client, sequence, 'c.2');
  own.checker.assert_complete();
  assert.equal(own.checker.gaps.length, 1);
  assert.equal(own.checker.received, 2, 'only what is new');
  assert.equal(own.checker.unknown, 1, 'how many is not known without reading them');
  client.cut();
});

broker_test('values of types and channels that the client does not follow stay away; never-conflate events are no values',
  { args: [...catching_up, '--log-partitions=4'] }, async (broker) => {
    const published = new Published();
    const sequence = new Sequence();
    const channels = Array.from({ length: 12 }, (_, i) => `${i % 3 === 2 ? 'other' : 'c'}.${i}`);
    const follows = (channel) => channel.startsWith('c.');
    const wants = (e) => follows(e.channel) && e.type === 'count';
    const own = checking(published, { wants, follows });
    const client = await subscribe(broker, `/sse?channels=c.*&types=count&max_lag=${max_lag_ms}`, own);
    client.pause();
    const more = (i) => (i % 5 === 0 ? { type: 'news' } : i % 7 === 0 ? { conflate: false } : {});
    await flood(broker, published, sequence, channels, 20 << 20, more);
    await pass_ms(max_lag_ms + 100);
    client.resume();
    await client.control('snapshot-end', long_ms);
    await published.publish(broker, channels.map((channel) => sequence.event(channel)));
    await client.when(() => channels.filter(follows).every((channel) => client.events.some((e) => e.json.channel === channel && e.json.payload.n === sequence.newest(channel))),
      'the newest of each', long_ms);
    own.checker.assert_complete();
    assert.equal(own.checker.unknown, 0);
    assert.ok(own.checker.gaps.length >= 2, 'one for each partition');
    client.cut();
  });

broker_test('a client that is cut between the gap and snapshot-end misses no value when it comes back', { args: catching_up }, async (broker) => {
  const published = new Published();
  const sequence = new Sequence();
  const channels = Array.from({ length: 40 }, (_, i) => `c.${i}`);
  const own = checking(published);
  const path = `/sse?channels=c.*&max_lag=${max_lag_ms}`;
  let cut = false;
  const client = await subscribe(broker, path, {
    on_event: (event, c) => {
      if (cut) return;
      own.checker.take(event);
      if (own.checker.in_snapshot && own.checker.values === 10) {
        cut = true;
        c.cut();
      }
    },
  });
  await stall(broker, client, published, sequence, channels);
  await client.closed(long_ms);
  assert.ok(cut, 'it was cut within the values');
  own.checker.resumes([[0, place(client.cursor).offset + 1]]);
  const again = await subscribe(broker, path, { keep: client, on_event: own.on_event });
  await again.control('snapshot-end', long_ms);
  await published.publish(broker, [sequence.event('c.0')]);
  await all_of(again, sequence, 'c.0');
  own.checker.assert_complete();
  again.cut();
});

broker_test('clients that stop and go on at random: every event is sent or counted',
  { args: [...catching_up, '--log-partitions=3'] }, async (broker, t) => {
    const random = seeded(t);
    const published = new Published();
    const sequence = new Sequence();
    const channels = Array.from({ length: 9 }, (_, i) => `g${i % 3}.c${i}`);
    const long = 'y'.repeat(12000);
    const clients = [];
    for (const pattern of ['*', 'g0.*', 'g1.c1', channels.slice(0, 7).join(','), channels.slice(3, 6).join(',')]) {
      const list = pattern.split(',');
      const follows = (channel) => list.some((p) => p === '*' || p === channel || (p.endsWith('.*') && channel.startsWith(p.slice(0, -1))));
      const wants = (e) => follows(e.channel);
      const own = checking(published, { wants, follows });
      const lag = random.pick([100, 300, 1000]);
      clients.push({ client: await subscribe(broker, `/sse?channels=${pattern}&max_lag=${lag}`, own), own, follows, paused: false });
    }
    for (let round = 0; round < (process.env.TT_LONG === '1' ? 1000 : 150); round++) {
      for (const c of clients) {
        if (random.between(0, 15) !== 0) continue;
        c.paused = !c.paused;
        if (c.paused) c.client.pause();
        else c.client.resume();
      }
      await published.publish(broker, Array.from({ length: random.between(1, 80) }, () =>
        sequence.event(random.pick(channels), { payload: { pad: long.slice(0, random.between(0, 12000)) }, ...(random.between(0, 9) === 0 ? { conflate: false } : {}) })));
    }
    for (const { client } of clients) client.resume();
    await published.publish(broker, channels.map((channel) => sequence.event(channel)));
    for (const { client, own, follows } of clients) {
      await client.when(() => {
        const have = new Map();
        for (const e of client.events) have.set(e.json.channel, e.json.payload.n);
        return channels.filter(follows).every((channel) => have.get(channel) === sequence.newest(channel)) && !own.checker.in_snapshot;
      }, 'the newest of each channel', long_ms);
      own.checker.assert_complete();
      assert.equal(own.checker.unknown, 0);
    }
    t.diagnostic(`gaps: ${clients.map((c) => c.own.checker.gaps.length)}, received: ${clients.map((c) => c.own.checker.received)}`);
    for (const { client } of clients) client.cut();
  });
