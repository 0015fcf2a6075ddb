// POST /subscribe: the channels of a live stream are changed, while events come, and no event of the
// channels that it follows is lost or doubled.

import assert from 'node:assert/strict';
import { broker_test } from './lib/broker.mjs';
import { Sequence } from './lib/counter.mjs';
import { assert_error, request } from './lib/http.mjs';
import { post, publish, publish_all, publish_lines } from './lib/publish.mjs';
import { seeded } from './lib/random.mjs';
import { Feed } from './lib/snapshot.mjs';
import { SseClient, subscribe } from './lib/sse.mjs';
import { eventually } from './lib/wait.mjs';

const range = (n, f) => Array.from({ length: n }, (_, i) => f(i));
const session_of = (client) => client.all.find((event) => event.type === 'connected').json.session;

function change(broker, client, body) {
  return post(broker, '/subscribe', JSON.stringify({ session: session_of(client), ...body }));
}

async function changed(broker, client, body) {
  const answer = await change(broker, client, body);
  assert.equal(answer.status, 200, answer.text);
  assert.equal(answer.json.ok, true);
  assert.ok(answer.json.cursor.length > 0);
  return answer.json.cursor;
}

const seen = (client) => client.events.map(({ json }) => `${json.channel}:${json.payload}`);

broker_test('channels are added and taken away', { small: true }, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=a');
  await publish_all(broker, [{ channel: 'a', payload: 1 }, { channel: 'b', payload: 1 }]);
  await client.received(1);
  await changed(broker, client, { channels: ['a', 'b'] });
  await publish_all(broker, [{ channel: 'a', payload: 2 }, { channel: 'b', payload: 2 }]);
  await client.received(3);
  await changed(broker, client, { channels: 'b,c.*' });
  await publish_all(broker, range(1, () => ({ channel: 'a', payload: 3 })));
  await publish_all(broker, [{ channel: 'b', payload: 3 }, { channel: 'c.d', payload: 3 }]);
  await client.received(5);
  assert.deepEqual(seen(client), ['a:1', 'a:2', 'b:2', 'b:3', 'c.d:3']);
  client.cut();
});

broker_test('the cursor that is answered leads to the same place', {}, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=a');
  const id = await publish(broker, { channel: 'a', payload: 1 });
  await client.received(1);
  const cursor = await changed(broker, client, { channels: ['a', 'b'] });
  assert.equal(cursor, id);
  await publish_all(broker, [{ channel: 'b', payload: 2 }, { channel: 'a', payload: 3 }]);
  await client.received(3);
  const other = await subscribe(broker, `/sse?channels=a,b&cursor=${cursor}`);
  await other.received(2);
  assert.deepEqual(seen(other), ['b:2', 'a:3']);
  client.cut();
  other.cut();
});

broker_test('what is wrong with a request is said', { args: ['--max-channels-per-client=3'] }, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=a');
  const session = session_of(client);
  const [shard, slot, generation, seal] = session.split('-');
  const ask = (body) =>
    request(broker.http, { method: 'POST', path: '/subscribe', body: typeof body === 'string' ? body : JSON.stringify(body) });
  const channels = ['b'];
  assert_error(await ask({ channels }), 400, 'session', 'not supported');
  assert_error(await ask('{"session":'), 400, 'JSON');
  assert_error(await ask({ session }), 400, 'channels', 'is missing');
  assert_error(await ask({ session, channels: ['a b'] }), 400, 'channels', 'a b');
  assert_error(await ask({ session, channels: ['1', '2', '3', '4'] }), 400, '4', 'one channel more than the 3');
  assert_error(await ask({ session, channels, types: ['t'] }), 400, 'types', 'cannot be changed');
  assert_error(await ask({ session, channels, cursor: 'x' }), 400, 'cursor', 'cannot be changed');
  assert_error(await ask({ session, channels, from: 'earliest' }), 400, 'from', 'allowed: live, snapshot');
  assert_error(await ask({ session, channels, pad: 'x'.repeat(70_000) }), 413, '65536');
  for (const bad of ['', 'x', `ff-${slot}-${generation}-${seal}`, `${shard}-${slot}-${generation}-${seal}0`,
    `${shard}-${slot}-${generation}-0`, `${shard}-${slot}1-${generation}-${seal}`, 'x'.repeat(100), 7]) {
    assert_error(await ask({ session: bad, channels }), 421, 'session', 'not of this broker');
  }
  const get = await request(broker.http, { path: '/subscribe' });
  assert.equal(get.status, 405);
  await publish_all(broker, [{ channel: 'b', payload: 1 }, { channel: 'a', payload: 2 }]);
  await client.received(1);
  assert.deepEqual(seen(client), ['a:2'], 'nothing was changed');
  client.cut();
  await eventually(async () => (await ask({ session, channels })).status === 404, '404 for a stream that has ended');
  assert_error(await ask({ session, channels }), 404, 'session', 'has ended');
});

broker_test('a session of another broker, or of this one before its restart, is 421', {}, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=a');
  const session = session_of(client);
  await broker.stop();
  await broker.restart();
  const answer = await post(broker, '/subscribe', JSON.stringify({ session, channels: ['b'] }));
  assert.equal(answer.status, 421);
});

broker_test(
  'a narrow stream becomes full, and every cursor before and after resumes exactly',
  { args: ['--log-partitions=4'], shards: 3 },
  async (broker) => {
    const names = range(12, (i) => `c${i}`);
    const client = await subscribe(broker, '/sse?channels=c0');
    await publish(broker, { channel: 'c0', payload: 0 });
    await client.received(1);
    assert.match(client.cursor, /\/4$/, 'narrow');
    const cursor = await changed(broker, client, { channels: names });
    assert.ok(cursor.startsWith('~'), 'full');
    await publish_all(broker, names.map((channel) => ({ channel, payload: 1 })));
    await client.received(13);
    assert.ok(client.cursor.startsWith('~'));
    for (const from of [cursor, client.events[3].id]) {
      assert.ok(from.startsWith('~'));
      const other = await subscribe(broker, `/sse?channels=${names}&cursor=${encodeURIComponent(from)}`);
      const rest = from === cursor ? 12 : 13 - 4;
      await other.received(rest);
      assert.deepEqual(seen(other).sort(), seen(client).slice(13 - rest).sort());
      other.cut();
    }
    await changed(broker, client, { channels: ['c0'] });
    await publish(broker, { channel: 'c0', payload: 2 });
    await client.received(14);
    assert.ok(client.cursor.startsWith('~'), 'full it stays');
    client.cut();
  },
);

/** Follows what `channel` has, from the first number that was seen on. */
function assert_follows(client, channels) {
  const next = new Map();
  for (const { json } of client.events) {
    const { channel, payload } = json;
    if (!channels.includes(channel)) continue;
    assert.equal(payload.n, next.get(channel) ?? payload.n, `${channel}: neither a gap nor a double`);
    next.set(channel, payload.n + 1);
  }
  return next;
}

for (const [name, args] of [
  ['', ['--log-partitions=4']],
  [' with a tiny outbox', ['--log-partitions=4', '--outbox-bytes=4KiB']],
  [' in one partition', []],
]) {
  broker_test(
    `changed again and again while thousands of events a second come${name}`,
    { args, shards: 3, small: args.length === 1 },
    async (broker, t) => {
      const random = seeded(t);
      const all = range(20, (i) => `c${i}`);
      const kept = all.slice(0, 3);
      const sequence = new Sequence();
      const feed = new Feed(broker, publish_lines, () => sequence.event(random.pick(all)));
      const clients = await Promise.all(range(6, () => subscribe(broker, `/sse?channels=${kept}`)));
      for (let round = 0; round < 15; round++) {
        await Promise.all(
          clients.map(async (client) => {
            const others = all.slice(3).filter(() => random.next() < 0.3);
            const channels = random.next() < 0.1 ? ['*'] : [...kept, ...others];
            await changed(broker, client, { channels });
          }),
        );
        if (random.next() < 0.5) await feed.more(1);
      }
      await Promise.all(clients.map((client) => changed(broker, client, { channels: all })));
      await feed.more(3);
      await feed.stop();
      /* Whatever the clients did not follow before has an event behind the last change. */
      await publish_lines(broker, all.map((channel) => sequence.event(channel)));
      for (const client of clients) {
        await client.when((c) => {
          const next = assert_follows(c, kept);
          return all.every((channel) => {
            const last = c.events.findLast(({ json }) => json.channel === channel);
            return last !== undefined && last.json.payload.n === sequence.newest(channel);
          }) && kept.every((channel) => next.get(channel) === sequence.newest(channel) + 1);
        }, 'the newest event of every channel', 60_000);
        /* Resumed with any id it gets what it had behind it. */
        const at = random.between(0, client.events.length - 2);
        const again = await SseClient.open(broker, `/sse?channels=${kept}`, { cursor: client.events[at].id });
        const rest = client.events.slice(at + 1).filter(({ json }) => kept.includes(json.channel));
        if (rest.length > 0) {
          await again.received(rest.length);
          const ids = (events) => events.map(({ json }) => json.id).sort();
          assert.deepEqual(ids(again.events), ids(rest));
        }
        again.cut();
        client.cut();
      }
    },
  );
}

broker_test('a client that is slow is changed, too', { args: ['--outbox-bytes=4KiB', '--log-partitions=2'] }, async (broker) => {
  const sequence = new Sequence();
  const payload = { pad: 'x'.repeat(10_000) };
  const client = await subscribe(broker, '/sse?channels=a');
  client.pause();
  for (let i = 0; i < 10; i++) {
    await publish_lines(broker, range(50, () => sequence.event('a', { payload })));
    await changed(broker, client, { channels: i % 2 ? ['a'] : ['a', 'b', 'c', 'd'] });
  }
  client.resume();
  await client.when((c) => assert_follows(c, ['a']).get('a') === 501, 'all of a', 60_000);
  assert.equal(client.events.length, 500);
  client.cut();
});

/* ---- added channels with their history ---- */

/** The events between two control events, or to the end. */
function section(client, from, to) {
  const begin = from === undefined ? 0 : client.all.indexOf(from) + 1;
  const end = to === undefined ? client.all.length : client.all.indexOf(to);
  return client.all.slice(begin, end).filter((event) => !event.control);
}

const snapshot_ends = (client) => client.all.filter((event) => event.type === 'snapshot-end');

broker_test('added channels begin with their values, without ids', { small: true }, async (broker) => {
  await publish_all(broker, [
    { channel: 'a', payload: 1 },
    { channel: 'b', payload: 1 },
    { channel: 'b', payload: 2 },
    { channel: 'c.x', payload: 1 },
    { channel: 'c.y', payload: 1 },
  ]);
  const client = await subscribe(broker, '/sse?channels=a,c.x');
  await publish(broker, { channel: 'a', payload: 2 });
  await client.received(1);
  await changed(broker, client, { channels: ['a', 'b', 'c.*', 'none'], from: 'snapshot' });
  const [end] = await client.when((c) => (snapshot_ends(c).length === 1 ? snapshot_ends(c) : undefined), 'snapshot-end');
  const values = section(client, client.events[0], end);
  assert.deepEqual(values.map(({ json }) => `${json.channel}:${json.payload}`).sort(), ['b:2', 'c.y:1'],
    'c.x was followed before: its value is known');
  for (const event of values) assert.equal(event.id, undefined);
  assert.ok(end.id);
  assert.equal(end.json.events, 2);
  await publish_all(broker, [{ channel: 'b', payload: 3 }, { channel: 'a', payload: 3 }]);
  await client.received(5);
  assert.deepEqual(seen(client).slice(3), ['b:3', 'a:3']);
  await changed(broker, client, { channels: ['a'], from: 'snapshot' });
  await publish(broker, { channel: 'a', payload: 4 });
  await client.received(6);
  assert.equal(snapshot_ends(client).length, 1, 'nothing was added: no snapshot');
  client.cut();
});

broker_test('added channels begin with their last events', { args: ['--log-partitions=4'], shards: 3 }, async (broker) => {
  const names = range(8, (i) => `c${i}`);
  await publish_all(broker, range(80, (i) => ({ channel: names[i % 8], payload: Math.floor(i / 8) })));
  const client = await subscribe(broker, '/sse?channels=c0');
  await changed(broker, client, { channels: names, last: 3 });
  const end = await client.control('snapshot-end');
  const got = section(client, undefined, end).map(({ json }) => `${json.channel}:${json.payload}`).sort();
  assert.deepEqual(got, names.slice(1).flatMap((name) => [7, 8, 9].map((n) => `${name}:${n}`)));
  assert.ok(end.id.startsWith('~'), 'it became full');
  const answer = await change(broker, client, { channels: names, last: 3, from: 'snapshot' });
  assert_error({ status: answer.status, body: Buffer.from(answer.text), json: answer.json }, 400, 'last', 'so does from');
  client.cut();
});

broker_test(
  'history joins what comes without a gap or a double, and what was followed goes on',
  { args: ['--log-partitions=2'], shards: 3 },
  async (broker, t) => {
    const random = seeded(t);
    const all = range(20, (i) => `c${i}`);
    const kept = all.slice(0, 3);
    const sequence = new Sequence();
    const feed = new Feed(broker, publish_lines, () => sequence.event(random.pick(all)));
    await feed.more(5);
    for (let round = 0; round < 8; round++) {
      const last = random.pick([0, 0, 1, 5]);
      const client = await subscribe(broker, `/sse?channels=${kept}`);
      await client.received(5);
      const more = random.pick([['*'], [...kept, ...all.slice(3, 9)], [...kept, 'c5']]);
      await changed(broker, client, { channels: more, ...(last === 0 ? { from: 'snapshot' } : { last }) });
      const end = await client.control('snapshot-end');
      await client.when((c) => section(c, end).length >= 60, 'events behind the snapshot');
      const history = client.all.slice(0, client.all.indexOf(end)).filter((event) => !event.control && event.id === undefined);
      const live = client.events.filter((event) => event.id !== undefined);
      const added = all.filter((c) => !kept.includes(c) && (more[0] === '*' || more.includes(c)));
      assert_follows({ events: live }, kept);
      for (const event of history) assert.ok(added.includes(event.json.channel), `${event.json.channel} is new`);
      for (const channel of added) {
        const old = history.filter(({ json }) => json.channel === channel).map(({ json }) => json.payload.n);
        const next = live.filter(({ json }) => json.channel === channel).map(({ json }) => json.payload.n);
        assert.equal(old.length, Math.min(last === 0 ? 1 : last, old.at(-1) ?? 0), `${channel}: ${old}`);
        const numbers = [...old, ...next];
        if (old.length === 0 && next.length !== 0) assert.equal(next[0], 1, `${channel}: it had none before`);
        for (let i = 1; i < numbers.length; i++) assert.equal(numbers[i], numbers[i - 1] + 1, `${channel}: ${old} | ${next.slice(0, 3)}`);
      }
      client.cut();
    }
    await feed.stop();
  },
);

broker_test('a stream whose snapshot runs is not changed', { args: ['--outbox-bytes=4KiB'] }, async (broker) => {
  const payload = 'x'.repeat(20_000);
  await publish_lines(broker, range(500, (i) => ({ channel: `c${i}`, payload })));
  const client = await subscribe(broker, '/sse?channels=*&from=snapshot');
  client.pause();
  const answer = await eventually(async () => {
    const a = await change(broker, client, { channels: ['c1'] });
    return a.status === 409 && a;
  }, '409 while the snapshot waits for its client');
  assert.match(answer.json.error.message, /snapshot-end/);
  client.resume();
  await client.control('snapshot-end');
  assert.equal(client.events.length, 500);
  await eventually(async () => (await change(broker, client, { channels: ['c1'] })).status === 200, 'it can be changed again');
  client.cut();
});

broker_test('cut off within the history of added channels, a client loses nothing of the others', {}, async (broker) => {
  const payload = 'x'.repeat(20_000);
  await publish_lines(broker, range(300, (i) => ({ channel: `b.${i}`, payload })));
  const client = await subscribe(broker, '/sse?channels=a');
  await publish(broker, { channel: 'a', payload: 1 });
  await client.received(1);
  client.pause();
  await changed(broker, client, { channels: ['a', 'b.*'], from: 'snapshot' });
  await publish(broker, { channel: 'a', payload: 2 });
  client.cut();
  const again = await subscribe(broker, '/sse?channels=a', { keep: client });
  await again.received(1);
  assert.deepEqual(seen(again), ['a:2']);
  again.cut();
});
