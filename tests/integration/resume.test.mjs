// Resuming by cursor: from memory, from disk, in both forms of a cursor, and being told when it cannot be
// exact.

import assert from 'node:assert/strict';
import { broker_test } from './lib/broker.mjs';
import { Counter, Sequence } from './lib/counter.mjs';
import { publish, publish_all, publish_lines } from './lib/publish.mjs';
import { seeded } from './lib/random.mjs';
import { SseClient, subscribe } from './lib/sse.mjs';
import { eventually } from './lib/wait.mjs';

const small_log = ['--publish-wait-ms=1m', '--log-segment-bytes=2MiB', '--tail-bytes=2MiB'];

/** Publishes about `bytes` of events on `channel`, in NDJSON batches. */
async function fill(broker, sequence, channel, bytes, filler = 1000) {
  const pad = 'x'.repeat(filler);
  for (let sent = 0; sent < bytes; ) {
    const batch = Array.from({ length: 200 }, () => sequence.event(channel, { payload: { pad } }));
    await publish_lines(broker, batch);
    sent += batch.length * (filler + 150);
  }
}

/** Reads on until the counter has event `newest` of `channel`; asserts exactness. */
async function read_to(client, counter, channel, newest) {
  await client.when((c) => {
    c.counted ??= 0;
    for (; c.counted < c.events.length; c.counted++) counter.take(c.events[c.counted]);
    return counter.newest(channel) >= newest;
  }, `event ${newest} of ${channel}`, 60_000);
  counter.assert_exact();
}

broker_test('a client resumes after the last id that it has, from memory', { small: true }, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=c');
  await publish_all(broker, [{ channel: 'c', payload: 1 }, { channel: 'd', payload: 0 }, { channel: 'c', payload: 2 }]);
  await client.received(2);
  client.cut();
  await publish_all(broker, [{ channel: 'c', payload: 3 }, { channel: 'd', payload: 0 }, { channel: 'c', payload: 4 }]);
  const again = await subscribe(broker, '/sse?channels=c', { keep: client });
  assert.equal(again.all[0].id, client.cursor, 'connected repeats the cursor');
  await again.received(2);
  await publish(broker, { channel: 'c', payload: 5 });
  const events = await again.received(3);
  assert.deepEqual(events.map((event) => event.json.payload), [3, 4, 5]);
  assert.equal(again.all.filter((event) => event.control).length, 1, 'connected is the only control event');
  again.cut();
});

broker_test('a client that never saw an event resumes from its connected', {}, async (broker) => {
  await publish(broker, { channel: 'c', payload: 'before' });
  const client = await subscribe(broker, '/sse?channels=c');
  client.cut();
  await publish(broker, { channel: 'c', payload: 'while away' });
  const again = await subscribe(broker, '/sse?channels=c', { keep: client });
  assert.equal((await again.received(1))[0].json.payload, 'while away');
  again.cut();
});

broker_test('a client that was first on an empty log resumes from its connected', {}, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=c');
  client.cut();
  await publish(broker, { channel: 'c', payload: 'first' });
  const again = await subscribe(broker, '/sse?channels=c', { keep: client });
  assert.equal((await again.received(1))[0].json.payload, 'first');
  assert.equal(again.all.some((event) => event.type === 'resync'), false);
  again.cut();
});

broker_test('the first cursor that is there and not empty counts', {}, async (broker) => {
  const ids = await publish_all(broker, Array.from({ length: 8 }, (_, i) => ({ channel: 'c', payload: i })));
  const after = async (query, headers) => {
    const client = await subscribe(broker, `/sse?channels=c&${query}`, { headers });
    const first = (await client.received(1))[0].json.payload;
    client.cut();
    return first;
  };
  const names = ['lastEventId', 'lastEventID', 'last_event_id', 'Last-Event-ID', 'cursor'];
  for (const name of names) assert.equal(await after(`${name}=${ids[2]}`), 3, name);
  assert.equal(await after(`cursor=${ids[1]}`, { 'Last-Event-ID': ids[5] }), 6, 'the header is first');
  for (let i = 0; i + 1 < names.length; i++) {
    assert.equal(await after(`${names[i + 1]}=${ids[1]}&${names[i]}=${ids[4]}`), 5, `${names[i]} before ${names[i + 1]}`);
  }
  assert.equal(await after(`lastEventId=&cursor=${ids[3]}`, { 'Last-Event-ID': '' }), 4, 'empty ones do not count');
  assert.equal(await after(`cursor=${ids[6]}&from=earliest`), 7, 'from= is for clients without a cursor');
});

broker_test('a cursor followed by ids of later events is one too', {}, async (broker) => {
  const ids = await publish_all(broker, Array.from({ length: 6 }, (_, i) => ({ channel: 'c', payload: i })));
  const client = await subscribe(broker, `/sse?channels=c&cursor=${ids[0]},${ids[1]},${ids[3]}`);
  assert.deepEqual((await client.received(2)).map((event) => event.json.payload), [4, 5]);
  client.cut();
});

broker_test('a client resumes from segments on disk', { args: small_log }, async (broker) => {
  const sequence = new Sequence();
  const client = await subscribe(broker, '/sse?channels=c');
  const counter = new Counter();
  await publish(broker, sequence.event('c'));
  await read_to(client, counter, 'c', 1);
  client.cut();
  await fill(broker, sequence, 'c', 9 << 20);
  const again = await subscribe(broker, '/sse?channels=c', { keep: client });
  await publish(broker, sequence.event('c'));
  await read_to(again, counter, 'c', sequence.newest('c'));
  assert.equal(again.all.some((event) => event.type === 'resync'), false);
  again.cut();
});

broker_test('few events among many of other channels are found on disk', { args: small_log }, async (broker) => {
  const sequence = new Sequence();
  const counter = new Counter();
  const client = await subscribe(broker, '/sse?channels=rare');
  client.cut();
  for (let i = 0; i < 4; i++) {
    await publish(broker, sequence.event('rare'));
    await fill(broker, sequence, 'noise', 2 << 20);
  }
  const again = await subscribe(broker, '/sse?channels=rare', { keep: client });
  await read_to(again, counter, 'rare', 4);
  await publish(broker, sequence.event('rare'));
  await read_to(again, counter, 'rare', 5);
  again.cut();
});

broker_test('live events that come while a client reads the log are neither lost nor doubled', { args: small_log }, async (broker) => {
  const sequence = new Sequence();
  await fill(broker, sequence, 'c', 6 << 20);
  const counter = new Counter();
  const client = await SseClient.open(broker, '/sse?channels=c&from=earliest');
  for (let i = 0; i < 200; i++) await publish(broker, sequence.event('c'));
  await read_to(client, counter, 'c', sequence.newest('c'));
  client.cut();
});

broker_test('a cursor older than the log gets resync expired and goes on from the oldest', { args: [...small_log, '--log-retention-bytes=4MiB'] }, async (broker) => {
  const sequence = new Sequence();
  const first = await publish(broker, sequence.event('c'));
  const resync_of = (client) => client.all.find((event) => event.control && event.type === 'resync');
  /* Retention removes whole segments in its own time: publish until the first event is gone. */
  await eventually(async () => {
    await fill(broker, sequence, 'c', 3 << 20);
    const client = await subscribe(broker, '/sse?channels=c', { cursor: first });
    await client.received(1);
    client.cut();
    /* Retention may also pass a client that has begun to read: then the resync comes behind an event. */
    if (resync_of(client) === undefined) return false;
    assert.equal(resync_of(client).json.reason, 'expired');
    return true;
  }, 'resync after the first event has expired');
  /* From here on nothing is retired, so that the places of all events are known. */
  await broker.stop();
  await broker.restart({ args: ['--log-retention-bytes=1GiB'] });
  const client = await subscribe(broker, '/sse?channels=c', { cursor: first });
  await client.received(1);
  const resync = client.all.find((event) => !event.control || event.type === 'resync');
  assert.equal(resync.type, 'resync', 'it comes before the events');
  assert.equal(resync.json.reason, 'expired');
  assert.match(resync.id, /^[\x21-\x7e]+$/, 'resync carries where it goes on from');
  const oldest = client.events[0].json.payload.n;
  assert.ok(oldest > 2, `the oldest event that is left: ${oldest}`);
  const connected = client.all.find((event) => event.type === 'connected');
  assert.equal(connected.id, undefined, 'connected has no id where a resync follows');
  let n = oldest;
  await client.when((c) => {
    for (; n - oldest < c.events.length; n++) assert.equal(c.events[n - oldest].json.payload.n, n, 'no gap behind it');
    return n > sequence.newest('c');
  }, 'the newest event');
  client.cut();
  const again = await subscribe(broker, '/sse?channels=c', { cursor: resync.id });
  assert.equal((await again.received(1))[0].json.payload.n, oldest, "resync's id is a cursor before the oldest");
  assert.equal(resync_of(again), undefined);
  again.cut();
});

broker_test('a cursor of another history, or one that cannot be read, gets resync history', { small: true }, async (broker) => {
  await publish(broker, { channel: 'c', payload: 'old' });
  for (const cursor of ['Zzzzz9-0-17', 'rubbish', '~AAAA', '~', '%00', '-', `${broker.history}-0-`, 'x'.repeat(3000), '💩']) {
    const client = await subscribe(broker, `/sse?channels=c&cursor=${encodeURIComponent(cursor)}`);
    const resync = await client.control('resync');
    assert.equal(resync.json.reason, 'history', cursor.slice(0, 40));
    assert.equal(client.all.find((event) => event.type === 'connected').id, undefined, cursor.slice(0, 40));
    assert.ok(resync.id, 'resync carries where it goes on from');
    const id = await publish(broker, { channel: 'c', payload: cursor });
    assert.equal((await client.received(1))[0].id, id, 'it goes on live');
    client.cut();
  }
});

broker_test('from= decides where a client with an unknown cursor goes on', {}, async (broker) => {
  const ids = await publish_all(broker, [{ channel: 'c', payload: 1 }, { channel: 'c', payload: 2 }]);
  const client = await subscribe(broker, '/sse?channels=c&from=earliest', { cursor: 'Zzzzz9-0-17' });
  const events = await client.received(2);
  assert.deepEqual(events.map((event) => event.id), ids);
  assert.equal((await client.control('resync')).json.reason, 'history');
  client.cut();
});

broker_test('a cursor ahead of the log gets resync ahead', {}, async (broker) => {
  await publish(broker, { channel: 'c', payload: 1 });
  const client = await subscribe(broker, '/sse?channels=c', { cursor: `${broker.history}-0-1000000000` });
  assert.equal((await client.control('resync')).json.reason, 'ahead');
  const id = await publish(broker, { channel: 'c', payload: 2 });
  assert.equal((await client.received(1))[0].id, id);
  client.cut();
});

const eight = { args: ['--log-partitions=8'] };

broker_test('of several partitions, one channel has narrow ids', eight, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=c');
  await publish_all(broker, [{ channel: 'c', payload: 1 }, { channel: 'c', payload: 2 }]);
  const [first] = await client.received(2);
  assert.match(first.id, new RegExp(`^${broker.history}-[0-7]-\\d+/8$`));
  assert.equal(first.json.id, first.id.slice(0, -2), 'the id inside is the event id alone');
  client.cut();
  const again = await subscribe(broker, '/sse?channels=c', { cursor: first.id });
  assert.equal((await again.received(1))[0].json.payload, 2);
  assert.equal(again.all.some((event) => event.type === 'resync'), false);
  again.cut();
});

broker_test('of several partitions, a pattern has full ids that resume exactly', eight, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=c.*');
  assert.match(client.cursor, /^~[A-Za-z0-9_-]+$/);
  const sequence = new Sequence();
  const round = () => Array.from({ length: 40 }, (_, i) => sequence.event(`c.${i}`));
  await publish_all(broker, round());
  await publish_all(broker, round());
  const partitions = new Set();
  for (const event of await client.received(80)) {
    assert.match(event.id, /^~[A-Za-z0-9_-]+$/);
    partitions.add(event.json.id.split('-')[1]);
  }
  assert.ok(partitions.size >= 4, `channels spread over partitions: ${[...partitions]}`);
  client.cut();
  /* Every single id is a cursor that is true for what came before it, and for nothing else. */
  for (const at of [0, 1, 7, 39, 40, 66, 79]) {
    const counter = new Counter();
    for (const event of client.events.slice(0, at + 1)) counter.take(event);
    const again = await subscribe(broker, '/sse?channels=c.*', { cursor: client.events[at].id });
    for (const event of await again.received(79 - at)) counter.take(event);
    counter.assert_exact(`resumed after event ${at}`);
    assert.equal(counter.total, 80);
    again.cut();
  }
});

broker_test('a bare event id of several partitions starts the others live, and says so', eight, async (broker) => {
  const sequence = new Sequence();
  await publish_all(broker, Array.from({ length: 16 }, (_, i) => sequence.event(`c.${i}`)));
  const ids = await publish_all(broker, [sequence.event('c.0'), sequence.event('c.0')]);
  const client = await subscribe(broker, '/sse?channels=c.*', { cursor: ids[0] });
  assert.equal((await client.control('resync')).json.reason, 'partial');
  const [event] = await client.received(1);
  assert.equal(event.json.channel, 'c.0');
  assert.equal(event.json.payload.n, 3);
  await publish_all(broker, Array.from({ length: 16 }, (_, i) => sequence.event(`c.${i}`)));
  const all = await client.received(17);
  assert.equal(new Set(all.slice(1).map((e) => e.json.channel)).size, 16);
  client.cut();
});

broker_test('a narrow cursor for a wider subscription is partial', eight, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=c.1');
  await publish(broker, { channel: 'c.1', payload: 1 });
  await client.received(1);
  client.cut();
  const id = await publish(broker, { channel: 'c.1', payload: 2 });
  const wider = await subscribe(broker, '/sse?channels=c.*', { keep: client });
  assert.equal((await wider.control('resync')).json.reason, 'partial');
  assert.equal((await wider.received(1))[0].json.id, id);
  wider.cut();
});

broker_test('cursors move past other channels in every partition', { args: ['--log-partitions=8', '--heartbeat-ms=100'] }, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=mine.*');
  const sequence = new Sequence();
  await publish_all(broker, Array.from({ length: 64 }, (_, i) => sequence.event(`other.${i}`)));
  await client.when((c) => c.bare_ids.length > 0, 'a bare id');
  assert.match(client.cursor, /^~/);
  client.cut();
  await publish_all(broker, Array.from({ length: 16 }, (_, i) => sequence.event(`mine.${i}`)));
  const again = await subscribe(broker, '/sse?channels=mine.*', { keep: client });
  const counter = new Counter();
  for (const event of await again.received(16)) counter.take(event);
  counter.assert_exact();
  assert.equal(counter.total, 16);
  again.cut();
});

broker_test('a client cut after every single byte of its events resumes exactly', { timeout: 300_000 }, async (broker) => {
  const sequence = new Sequence();
  const start = await subscribe(broker, '/sse?channels=c');
  start.cut();
  await publish_all(broker, Array.from({ length: 3 }, () => sequence.event('c')));
  const whole = await subscribe(broker, '/sse?channels=c', { keep: start });
  await whole.received(3);
  const length = whole.bytes;
  whole.cut();
  for (let at = 1; at <= length; at++) {
    const counter = new Counter();
    const client = await SseClient.open(broker, '/sse?channels=c', { keep: start, cut_after: at });
    await client.closed();
    for (const event of client.events) counter.take(event);
    const again = await SseClient.open(broker, '/sse?channels=c', { keep: client });
    for (const event of await again.received(3 - counter.total)) counter.take(event);
    again.cut();
    counter.assert_exact(`cut after ${at} bytes`);
    assert.equal(counter.total, 3, `cut after ${at} bytes`);
  }
});

/**
 * Clients that are cut at random places, also inside an event, while events are published; each counts
 * over all its connections.
 */
async function cut_and_count(broker, t, { paths, channels, rounds, batch, away = 0 }) {
  const random = seeded(t);
  const sequence = new Sequence();
  const clients = [];
  const done = { published: false };
  const run = async (path, follows) => {
    const counter = new Counter();
    let cursor = (await subscribe(broker, path).then((c) => (c.cut(), c))).cursor;
    clients.push({ path, counter, follows });
    return async () => {
      let connections = 0;
      for (;;) {
        connections++;
        const last = done.published;
        const options = { cursor, cut_after: last ? Infinity : random.between(1, 40_000), on_event: (event) => event.control || counter.take(event) };
        const client = await SseClient.open(broker, path, options);
        const complete = () => done.published && follows.every((channel) => counter.newest(channel) === sequence.newest(channel));
        await client.when((c) => complete() || c.ended || undefined, 'the end or a cut', 60_000);
        assert.equal(client.all.some((event) => event.type === 'resync'), false, `no resync: ${client.describe()}`);
        cursor = client.cursor;
        if (complete()) {
          client.cut();
          return connections;
        }
        counter.assert_exact(`${path}, connection ${connections}`);
      }
    };
  };
  const readers = [];
  for (const [path, follows] of paths) readers.push(await run(path, follows));
  const reading = Promise.all(readers.map((read) => read()));
  reading.catch(() => {}); /* awaited below; a failure to publish is the one to be told */
  const pad = 'x'.repeat(300);
  for (let i = 0; i < rounds; i++) {
    const events = Array.from({ length: random.between(1, batch) }, () => sequence.event(random.pick(channels), { payload: { pad: pad.slice(random.between(0, 300)) } }));
    await publish_lines(broker, events);
    if (away > 0 && random.next() < away) await new Promise((resolve) => setImmediate(resolve));
  }
  done.published = true;
  await publish_all(broker, channels.map((channel) => sequence.event(channel)));
  const connections = await reading;
  for (const { counter, path } of clients) counter.assert_exact(path);
  for (const { counter, follows } of clients) {
    assert.equal(counter.total, follows.reduce((sum, channel) => sum + sequence.newest(channel), 0));
  }
  t.diagnostic(`${sequence.total} events, connections ${connections}`);
  assert.ok(connections.some((n) => n > 3), 'clients were really cut');
}

const nine = Array.from({ length: 9 }, (_, i) => `s.${i}`);

broker_test('clients cut at random moments count every event exactly once', { small: true }, (broker, t) =>
  cut_and_count(broker, t, {
    channels: [...nine, 'other'],
    paths: [
      ['/sse?channels=s.0', ['s.0']],
      ['/sse?channels=s.1,s.2', ['s.1', 's.2']],
      ['/sse?channels=s.*', nine],
      ['/sse?channels=*', [...nine, 'other']],
      ['/sse?channels=s.*,s.3,other', [...nine, 'other']],
    ],
    rounds: 300,
    batch: 30,
  }),
);

broker_test('the same with eight partitions', eight, (broker, t) =>
  cut_and_count(broker, t, {
    channels: [...nine, 'other'],
    paths: [
      ['/sse?channels=s.0', ['s.0']],
      ['/sse?channels=s.*', nine],
      ['/sse?channels=*', [...nine, 'other']],
    ],
    rounds: 300,
    batch: 30,
  }),
);

broker_test('the same from segments on disk', { args: [...small_log, '--log-partitions=2'] }, (broker, t) =>
  cut_and_count(broker, t, {
    channels: nine,
    paths: [
      ['/sse?channels=s.0', ['s.0']],
      ['/sse?channels=s.*', nine],
    ],
    rounds: 400,
    batch: 60,
  }),
);

broker_test('a broker that was stopped and started goes on with its numbering and its clients', { args: ['--drain-delay-ms=0', '--drain-ms=0'], small: true }, async (broker) => {
  const sequence = new Sequence();
  const counter = new Counter();
  const { history } = broker;
  const client = await subscribe(broker, '/sse?channels=c');
  await publish_all(broker, Array.from({ length: 5 }, () => sequence.event('c')));
  for (const event of await client.received(5)) counter.take(event);
  client.cut();
  const before = await publish_all(broker, Array.from({ length: 5 }, () => sequence.event('c')));
  await broker.stop();
  await broker.restart();
  assert.equal(broker.history, history);
  const after = await publish(broker, sequence.event('c'));
  assert.ok(Number(after.split('-')[2]) > Number(before.at(-1).split('-')[2]), `${before.at(-1)} then ${after}`);
  const again = await subscribe(broker, '/sse?channels=c', { keep: client });
  await again.received(6);
  for (const event of again.events) counter.take(event);
  counter.assert_exact();
  assert.equal(counter.total, 11);
  assert.equal(again.all.some((event) => event.type === 'resync'), false);
  again.cut();
});

broker_test('restarts with the log on disk and eight partitions lose nothing', { args: [...small_log, '--log-partitions=8', '--drain-delay-ms=0', '--drain-ms=0'] }, async (broker) => {
  const sequence = new Sequence();
  const counter = new Counter();
  let client = await subscribe(broker, '/sse?channels=c.*');
  for (let round = 0; round < 3; round++) {
    client.cut();
    for (let i = 0; i < 4; i++) await fill(broker, sequence, `c.${i}`, 1 << 20, 3000);
    await broker.stop();
    await broker.restart();
    await publish(broker, sequence.event('c.0'));
    const before = counter.total;
    client = await subscribe(broker, '/sse?channels=c.*', { keep: client });
    for (const event of await client.received(sequence.total - before, 60_000)) counter.take(event);
    counter.assert_exact(`round ${round}`);
    assert.equal(counter.total, sequence.total);
  }
  client.cut();
});

broker_test('after kill -9 no id is used again, and what was lost is told', { args: ['--drain-delay-ms=0'] }, async (broker, t) => {
  const random = seeded(t);
  const sequence = new Sequence();
  const offset = (id) => Number(id.split('-')[2]);
  let client = await subscribe(broker, '/sse?channels=c');
  let highest = -1;
  let next = 1;
  for (let round = 0; round < 4; round++) {
    const count = random.between(1, 400);
    const { first, last } = await publish_lines(broker, Array.from({ length: count }, () => sequence.event('c')));
    assert.ok(offset(first) > highest, `${first} is above ${highest}`);
    highest = offset(last);
    await broker.kill();
    client.cut();
    await broker.restart();
    const again = await subscribe(broker, '/sse?channels=c', { keep: client });
    const marker = await publish(broker, sequence.event('c'));
    assert.ok(offset(marker) > highest, `${marker} is above ${highest}`);
    highest = offset(marker);
    await again.when((c) => c.events.at(-1)?.id === marker, 'the event after the crash');
    /* Nothing twice and nothing out of order; a hole only where a gap says so. */
    let told = false;
    const before = client.events.length > 0 ? client.events.at(-1).json.payload.n + 1 : next;
    let expected = before;
    for (const event of again.all) {
      if (event.type === 'gap') {
        assert.equal(event.json.reason, 'crash');
        told = true;
      }
      if (event.control) continue;
      const { n } = event.json.payload;
      assert.ok(n >= expected, `${n} after ${expected - 1}`);
      assert.ok(n === expected || told, `${expected} to ${n - 1} are missing, and no gap told it`);
      expected = n + 1;
    }
    next = expected;
    assert.equal(expected, sequence.newest('c') + 1);
    client = again;
  }
  client.cut();
});
