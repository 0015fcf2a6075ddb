// from=snapshot and last=N: the state that a client begins with, and the join with what comes next while
// thousands of events a second are published.

import assert from 'node:assert/strict';
import { broker_test } from './lib/broker.mjs';
import { Sequence } from './lib/counter.mjs';
import { assert_error, request } from './lib/http.mjs';
import { publish, publish_all, publish_lines } from './lib/publish.mjs';
import { seeded } from './lib/random.mjs';
import { Feed, check_join, numbers, parts } from './lib/snapshot.mjs';
import { SseClient, subscribe } from './lib/sse.mjs';
import { eventually } from './lib/wait.mjs';

const range = (n, f) => Array.from({ length: n }, (_, i) => f(i));
const ended = (client) => client.control('snapshot-end');

broker_test('the value of each channel, then snapshot-end, then what comes', { small: true }, async (broker) => {
  await publish_all(broker, [
    { channel: 'a', payload: { n: 1 } },
    { channel: 'b', payload: { n: 1 } },
    { channel: 'a', payload: { n: 2 } },
    { channel: 'other', payload: { n: 1 } },
  ]);
  const client = await subscribe(broker, '/sse?channels=a,b,none&from=snapshot');
  await ended(client);
  await publish(broker, { channel: 'b', payload: { n: 2 } });
  await client.received(3);
  check_join(client, ['a', 'b', 'none']);
  assert.deepEqual(numbers(parts(client).before), new Map([['b', [1]], ['a', [2]]]));
  assert.equal(client.all[0].type, 'connected');
  assert.equal(client.all[0].id, undefined, 'connected has no id before a snapshot');
  client.cut();
});

broker_test('a snapshot of nothing ends at once, with a cursor to resume from', {}, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=a&from=snapshot');
  await ended(client);
  client.cut();
  await publish(broker, { channel: 'a', payload: 1 });
  const again = await subscribe(broker, '/sse?channels=a&from=snapshot', { keep: client });
  await again.received(1);
  assert.ok(again.events[0].id, 'it resumes, without a snapshot');
  assert.equal(again.all.some((event) => event.type === 'snapshot-end'), false);
  again.cut();
});

broker_test('what is a value, and what is not', {}, async (broker) => {
  await publish_all(broker, [
    { channel: 'a', payload: 'quote' },
    { channel: 'a', payload: 'trade', conflate: false },
    { channel: 'b', payload: 'x' },
    { channel: 'b', op: 'delete' },
    { channel: 'c', payload: 'trade alone', conflate: false },
    { channel: 'd', payload: 'x' },
    { channel: 'd', op: 'delete' },
    { channel: 'd', payload: 'again' },
    { channel: 'e', type: 'unwanted', payload: 'x' },
  ]);
  const client = await subscribe(broker, '/sse?channels=*&from=snapshot&types=message');
  await ended(client);
  const got = new Map(parts(client).before.map(({ json }) => [json.channel, json.payload]));
  assert.deepEqual(got, new Map([['a', 'quote'], ['d', 'again']]));
  client.cut();
  const last = await subscribe(broker, '/sse?channels=*&last=2');
  await ended(last);
  const all = parts(last).before.map(({ json }) => `${json.channel}:${json.op ?? json.payload}`);
  assert.deepEqual(all, ['a:quote', 'a:trade', 'b:x', 'b:delete', 'c:trade alone', 'd:delete', 'd:again', 'e:x']);
  last.cut();
});

broker_test('from=snapshot by POST, with payloads alone', {}, async (broker) => {
  await publish(broker, { channel: 'a', type: 'tick', payload: [1, 2] });
  const body = JSON.stringify({ channels: ['a'], from: 'snapshot', format: 'payload' });
  const client = await subscribe(broker, '/sse', { body });
  await ended(client);
  assert.deepEqual(parts(client).before.map(({ type, data }) => [type, data]), [['tick', '[1,2]']]);
  client.cut();
  const last = await subscribe(broker, '/sse', { body: JSON.stringify({ channels: 'a', last: 7 }) });
  await ended(last);
  assert.equal(parts(last).before.length, 1);
  last.cut();
});

broker_test('a cursor goes before a snapshot; one of another history heals itself by it', {}, async (broker) => {
  const id = await publish(broker, { channel: 'a', payload: { n: 1 } });
  await publish(broker, { channel: 'a', payload: { n: 2 } });
  for (const start of ['from=snapshot', 'last=5']) {
    const resumed = await subscribe(broker, `/sse?channels=a&${start}&cursor=${id}`);
    assert.deepEqual((await resumed.received(1)).map(({ json }) => json.payload.n), [2]);
    assert.equal(resumed.all[0].id, id);
    assert.ok(!resumed.all.some((event) => event.type === 'snapshot-end'));
    resumed.cut();
    for (const cursor of ['zzzzzz-0-5', 'nonsense']) {
      const client = await subscribe(broker, `/sse?channels=a&${start}&cursor=${cursor}`);
      await ended(client);
      const resync = await client.control('resync');
      assert.equal(resync.json.reason, 'history');
      assert.ok(client.all.indexOf(resync) < client.all.findIndex((event) => event.type === 'snapshot-end'));
      check_join(client, ['a'], { last: start === 'last=5' ? 5 : 0 });
      client.cut();
    }
  }
});

broker_test('last=N tells where it goes wrong', {}, async (broker) => {
  for (const [query, says] of [
    ['last=0', 'last "0": is not allowed; allowed: 1 to 1000'],
    ['last=1001', 'last "1001": is not allowed; allowed: 1 to 1000'],
    ['last=x', 'last "x": is not allowed; allowed: 1 to 1000'],
    ['last=3&from=snapshot', 'last "3": says where to start, and so does from'],
    ['from=nowhere', 'from "nowhere": is not allowed; allowed: live, earliest'],
  ]) {
    assert_error(await request(broker.http, { path: `/sse?channels=a&${query}` }), 400, says);
  }
});

/** Opens clients one after another while the feed runs, each with its own way to ask; checks every join. */
async function join_often(broker, t, { channels, ways, rounds, event = {}, per = 50 }) {
  const random = seeded(t);
  const sequence = new Sequence();
  const feed = new Feed(broker, publish_lines, () => sequence.event(random.pick(channels), event), { per });
  await feed.more(4);
  for (let round = 0; round < rounds; round++) {
    await Promise.all(
      ways.map(async ({ query, matches, last }) => {
        const client = await subscribe(broker, `/sse?${query}`);
        await ended(client);
        await client.when((c) => parts(c).after.length >= 20, '20 events behind the join');
        check_join(client, channels.filter(matches), { last });
        client.cut();
      }),
    );
  }
  await feed.stop();
}

const ways = [
  { query: 'channels=x.1&from=snapshot', matches: (c) => c === 'x.1' },
  { query: 'channels=x.1,x.2,y.5&from=snapshot', matches: (c) => ['x.1', 'x.2', 'y.5'].includes(c) },
  { query: 'channels=x.*,y.3&from=snapshot', matches: (c) => c.startsWith('x.') || c === 'y.3' },
  { query: 'channels=*&from=snapshot', matches: () => true },
  { query: 'channels=x.1&last=3', matches: (c) => c === 'x.1', last: 3 },
  { query: 'channels=x.*&last=10', matches: (c) => c.startsWith('x.'), last: 10 },
  { query: 'channels=*&last=1', matches: () => true, last: 1 },
];
const channels = [...range(10, (i) => `x.${i}`), ...range(10, (i) => `y.${i}`)];

for (const partitions of [1, 4]) {
  broker_test(
    `the join while thousands of events a second come, ${partitions} partition(s)`,
    { args: [`--log-partitions=${partitions}`], small: partitions === 4 },
    (broker, t) => join_often(broker, t, { channels, ways, rounds: 4 }),
  );
}

broker_test(
  'the join with more channels than one question holds',
  { args: ['--log-partitions=2'] },
  async (broker) => {
    const many = range(3000, (i) => `m.${i}`);
    const sequence = new Sequence();
    await publish_all(broker, many.map((c) => sequence.event(c)));
    let next = 0;
    const feed = new Feed(broker, publish_lines, () => sequence.event(many[next++ % many.length]));
    for (const [query, last] of [['from=snapshot', 0], ['last=2', 2]]) {
      const client = await subscribe(broker, `/sse?channels=m.*&${query}`);
      await ended(client);
      await feed.more(10);
      check_join(client, many, { last });
      assert.equal(numbers(parts(client).before).size, 3000);
      client.cut();
    }
    await feed.stop();
  },
);

broker_test(
  'never-conflate events are no values, and none is lost behind the join',
  { args: ['--log-partitions=2'] },
  async (broker, t) => {
    const random = seeded(t);
    const sequence = new Sequence();
    const trades = new Set();
    const make = () => {
      const channel = random.pick(channels);
      const event = sequence.event(channel);
      if (random.next() < 0.5) {
        event.conflate = false;
        trades.add(`${channel} ${event.payload.n}`);
      }
      return event;
    };
    const feed = new Feed(broker, publish_lines, make);
    await feed.more(4);
    for (let i = 0; i < 5; i++) {
      const client = await subscribe(broker, '/sse?channels=*&from=snapshot');
      await ended(client);
      await client.when((c) => parts(c).after.length >= 50, 'events behind the join');
      check_join(client, channels, { skips: (channel, n) => trades.has(`${channel} ${n}`) });
      client.cut();
    }
    await feed.stop();
  },
);

broker_test(
  'a slow client gets its snapshot at its own pace, and then everything since',
  { args: ['--outbox-bytes=4KiB', '--log-partitions=2'] },
  async (broker) => {
    const many = range(400, (i) => `m.${i}`);
    const sequence = new Sequence();
    const payload = { pad: 'p'.repeat(20_000) };
    for (let i = 0; i < 400; i += 50) {
      await publish_lines(broker, many.slice(i, i + 50).map((c) => sequence.event(c, { payload })));
    }
    const client = await SseClient.open(broker, '/sse?channels=m.*&from=snapshot');
    client.pause();
    let next = 0;
    const feed = new Feed(broker, publish_lines, () => sequence.event(many[next++ % many.length]));
    await feed.more(20);
    client.resume();
    await ended(client);
    await feed.more(5);
    await feed.stop();
    const total = sequence.total;
    await client.when((c) => {
      const { before, after } = parts(c);
      const newest = new Map([...numbers(before), ...numbers(after)].map(([ch, ns]) => [ch, ns.at(-1)]));
      return [...newest.values()].reduce((sum, n) => sum + n, 0) === total;
    }, 'everything');
    check_join(client, many);
    assert.equal(numbers(parts(client).before).size, 400);
    client.cut();
  },
);

broker_test('cut off at snapshot-end, a client resumes there', { args: ['--log-partitions=2'] }, async (broker, t) => {
  /* Its cursor is the place of the snapshot, however much was read meanwhile: so the snapshot is made slow. */
  const random = seeded(t);
  const sequence = new Sequence();
  const payload = { pad: 'p'.repeat(5000) };
  await publish_lines(broker, channels.map((c) => sequence.event(c, { payload })));
  await publish_lines(broker, range(400, (i) => sequence.event(`z.${i}`, { payload: { pad: 'p'.repeat(20_000) } })));
  const feed = new Feed(broker, publish_lines, () => sequence.event(random.pick(channels)));
  for (let round = 0; round < 5; round++) {
    const client = await SseClient.open(broker, `/sse?channels=*&${round % 2 ? 'last=3' : 'from=snapshot'}`, {
      on_event: (event, c) => event.type === 'snapshot-end' && c.cut(),
    });
    client.pause();
    await feed.more(10);
    client.resume();
    await client.when((c) => c.ended === 'cut', 'the end of the snapshot').catch((error) => {
      if (client.ended !== 'cut') throw error;
    });
    const { before, end } = parts(client);
    const again = await subscribe(broker, '/sse?channels=*', { cursor: end.id });
    await again.received(200);
    const next = numbers(again.events);
    for (const [channel, have] of numbers(before)) {
      if (next.has(channel)) assert.equal(next.get(channel)[0], have.at(-1) + 1, `${channel}: the join`);
    }
    again.cut();
  }
  await feed.stop();
});

/* ---- beyond memory ---- */

const small_log = ['--log-segment-bytes=2MiB', '--tail-bytes=2MiB', '--log-partitions=2'];
const kept_log = [...small_log, '--log-retention-bytes=8MiB'];

/** Publishes `bytes` of other events, so that what was there before is in older segments. */
async function bury(broker, sequence, bytes) {
  const pad = 'x'.repeat(2000);
  for (let sent = 0; sent < bytes; sent += 100 * 2200) {
    await publish_lines(broker, range(100, (i) => sequence.event(`busy.${i % 50}`, { payload: { pad } })));
  }
}

const status_of = async (broker) => (await request(broker.ops, { path: '/status' })).json;

broker_test('values and last events in sealed segments', { args: small_log, small: true }, async (broker) => {
  const sequence = new Sequence();
  const old = range(40, (i) => `old.${i}`);
  for (let round = 0; round < 3; round++) {
    await publish_all(broker, old.map((c) => sequence.event(c)));
    await bury(broker, sequence, 6 << 20);
  }
  const feed = new Feed(broker, publish_lines, () => sequence.event(old[sequence.total % 20]));
  for (const [query, last] of [
    ['channels=old.*&from=snapshot', 0],
    [`channels=${old}&from=snapshot`, 0],
    ['channels=old.*&last=2', 2],
    [`channels=${old}&last=2`, 2],
    ['channels=old.*&last=1000', 1000],
  ]) {
    const client = await subscribe(broker, `/sse?${query}`);
    await ended(client);
    await client.when((c) => parts(c).after.length >= 20, 'events behind the join');
    check_join(client, old, { last });
    assert.equal(numbers(parts(client).before).size, 40, query);
    client.cut();
  }
  await feed.stop();
});

for (const keep of ['yes', 'no']) {
  broker_test(`values beyond retention, --log-keep-last=${keep}`, { args: [...kept_log, `--log-keep-last=${keep}`] }, async (broker) => {
    const sequence = new Sequence();
    const old = range(40, (i) => `old.${i}`);
    await publish_all(broker, old.map((c) => sequence.event(c)));
    await publish_all(broker, [{ channel: 'old.0', op: 'delete' }, { channel: 'old.1', payload: { n: 0 }, conflate: false }]);
    const oldest = async () => (await status_of(broker)).partitions.map(({ oldest }) => oldest);
    await eventually(async () => {
      await bury(broker, sequence, 2 << 20);
      return (await oldest()).every((o) => o > 0);
    }, 'both partitions to remove their first segment');
    const expected = keep === 'yes' ? old.slice(1).sort() : [];
    const check = async () => {
      for (const channels of ['old.*', old]) {
        const client = await subscribe(broker, `/sse?channels=${channels}&from=snapshot`);
        await ended(client);
        const values = parts(client).before.map(({ json }) => json);
        assert.deepEqual(values.map(({ channel }) => channel).sort(), expected);
        for (const { payload } of values) assert.equal(payload.n, 1);
        client.cut();
      }
    };
    await check();
    await broker.stop();
    await broker.restart();
    await check();
  });
}

broker_test(
  'snapshots one after another while segments are sealed, removed and kept files written',
  { args: kept_log },
  async (broker, t) => {
    const random = seeded(t);
    const sequence = new Sequence();
    const old = range(30, (i) => `old.${i}`);
    const busy = range(10, (i) => `busy.${i}`);
    await publish_all(broker, [...old, ...busy].map((c) => sequence.event(c)));
    const pad = 'x'.repeat(3000);
    const feed = new Feed(broker, publish_lines, () =>
      sequence.event(random.next() < 0.01 ? random.pick(old) : random.pick(busy), { payload: { pad } }));
    for (let round = 0; round < 12; round++) {
      await feed.more(40);
      const client = await subscribe(broker, `/sse?channels=${random.pick(['*', 'old.*,busy.1', [...old, ...busy]])}&from=snapshot`);
      await ended(client);
      /* A value that lies in a kept file and was replaced behind the join is not looked for: the event that
       * replaced it comes by itself. */
      const seen_all = () => {
        const { before, after } = parts(client);
        const seen = new Map([...numbers(after), ...numbers(before)]);
        return old.every((channel) => seen.has(channel));
      };
      await client.when(seen_all, 'a value of every channel, or the event that replaced it');
      const values = numbers(parts(client).before);
      check_join(client, old.filter((channel) => values.has(channel)));
      const replaced = old.filter((channel) => !values.has(channel));
      for (const channel of replaced) assert.ok(numbers(parts(client).after).get(channel)[0] > 1);
      assert.ok(replaced.length < old.length / 2, `${replaced} were replaced within one snapshot`);
      client.cut();
    }
    await feed.stop();
  },
);

broker_test(
  'a snapshot that takes longer than the log keeps its events',
  { args: [...kept_log, '--outbox-bytes=4KiB'] },
  async (broker) => {
    const sequence = new Sequence();
    const old = range(300, (i) => `old.${i}`);
    const payload = { pad: 'p'.repeat(20_000) };
    for (let i = 0; i < 300; i += 50) await publish_lines(broker, old.slice(i, i + 50).map((c) => sequence.event(c, { payload })));
    const client = await SseClient.open(broker, '/sse?channels=old.*,busy.*&from=snapshot');
    client.pause();
    const { partitions } = await status_of(broker);
    const removed = async () => (await status_of(broker)).partitions.every((p, i) => p.oldest > partitions[i].head);
    for (let i = 0; i < 60 && !(await removed()); i++) await bury(broker, sequence, 2 << 20);
    assert.ok(await removed(), 'everything that was there at the start of the snapshot has been removed');
    client.resume();
    await ended(client);
    const { before, end } = parts(client);
    const values = numbers(before);
    for (const channel of old) assert.deepEqual(values.get(channel), [1], `${channel}: its value was kept`);
    const resync = await client.control('resync');
    assert.equal(resync.json.reason, 'expired', 'what came behind the snapshot has gone');
    assert.ok(client.all.indexOf(resync) > client.all.indexOf(end));
    await publish(broker, { channel: 'old.7', type: 'count', payload: { n: 2 } });
    await client.when((c) => c.events.some(({ json }) => json.channel === 'old.7' && json.payload.n === 2), 'what comes next');
    client.cut();
  },
);

broker_test('last=N of more than is kept for it tells by a gap', { args: ['--max-replay=100'] }, async (broker) => {
  const ids = await publish_all(broker, range(400, (i) => ({ channel: `c${i % 4}`, payload: i })));
  const client = await subscribe(broker, '/sse?channels=*&last=50');
  await ended(client);
  const { before } = parts(client);
  assert.deepEqual(before.map(({ json }) => json.payload), range(100, (i) => 300 + i));
  const gap = await client.control('gap');
  assert.equal(client.all.indexOf(gap), 1, 'it is told first');
  assert.deepEqual(gap.json, { reason: 'limit', skipped: 100, from: ids[200], to: ids[299] });
  client.cut();
});

broker_test('last=N is in the order of positions within each partition', { args: ['--log-partitions=3'] }, async (broker) => {
  await publish_all(broker, range(3000, (i) => ({ channel: `c${(i * 7) % 50}`, payload: i })));
  const client = await subscribe(broker, '/sse?channels=*&last=20');
  await ended(client);
  const { before } = parts(client);
  assert.equal(before.length, 1000);
  const newest = new Map();
  for (const { json } of before) {
    const [, partition, offset] = json.id.split('-').map(Number);
    assert.ok(offset > (newest.get(partition) ?? -1));
    newest.set(partition, offset);
  }
  client.cut();
});

broker_test('clients that go away within a snapshot leave nothing behind', { args: ['--outbox-bytes=4KiB'], small: true }, async (broker) => {
  const payload = 'x'.repeat(10_000);
  await publish_lines(broker, range(800, (i) => ({ channel: `c${i}`, payload })));
  for (let round = 0; round < 5; round++) {
    const clients = await Promise.all(range(20, (i) => SseClient.open(broker, `/sse?channels=*&${i % 2 ? 'from=snapshot' : 'last=3'}`)));
    clients.forEach((client, i) => (i % 3 ? client.cut() : client.pause()));
    clients.forEach((client) => client.cut());
  }
  const client = await subscribe(broker, '/sse?channels=*&from=snapshot');
  await ended(client);
  assert.equal(parts(client).before.length, 800);
  client.cut();
  await eventually(async () => {
    const { shards } = await status_of(broker);
    return shards.every((s) => Object.values(s.clients).every((n) => n === 0) && s.catchupBytes === 0);
  }, 'no client and no memory of one');
});

broker_test(
  'many snapshots that nobody takes do not keep others from theirs',
  { args: ['--catchup-bytes=1MiB', '--outbox-bytes=4KiB'], shards: 1 },
  async (broker) => {
    const payload = 'x'.repeat(20_000);
    await publish_lines(broker, range(500, (i) => ({ channel: `c${i}`, payload })));
    const stuck = await Promise.all(range(24, (i) => SseClient.open(broker, `/sse?channels=*&${i % 2 ? 'from=snapshot' : 'last=2'}`)));
    stuck.forEach((client) => client.pause());
    const clients = await Promise.all(range(5, () => SseClient.open(broker, '/sse?channels=*&from=snapshot')));
    for (const client of clients) {
      await client.control('snapshot-end', 60_000);
      assert.equal(parts(client).before.length, 500);
      client.cut();
    }
    stuck.forEach((client) => client.cut());
  },
);
