// GET and POST /sse as a subscriber sees them: headers, greeting, events, selections, heartbeats.

import assert from 'node:assert/strict';
import { broker_test } from './lib/broker.mjs';
import { RawConnection, assert_error, request } from './lib/http.mjs';
import { post, publish, publish_all } from './lib/publish.mjs';
import { SseClient, subscribe } from './lib/sse.mjs';

const channels_of = (client) => client.events.map((event) => event.json.channel);

broker_test('a stream begins with its headers, retry and connected', { small: true }, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=a');
  assert.equal(client.head.minor, 1);
  assert.equal(client.headers.get('content-type'), 'text/event-stream');
  assert.equal(client.headers.get('cache-control'), 'no-cache, no-transform');
  assert.equal(client.headers.get('x-accel-buffering'), 'no');
  assert.equal(client.headers.get('transfer-encoding'), 'chunked');
  assert.equal(client.headers.has('content-length'), false);
  const [connected] = client.all;
  assert.equal(connected.type, 'connected');
  assert.ok(client.retry_ms > 0, 'retry comes no later than connected');
  assert.equal(typeof connected.json.clientId, 'string');
  assert.equal(typeof connected.json.session, 'string');
  assert.notEqual(connected.json.session, connected.json.clientId);
  assert.equal(connected.json.heartbeat, 25_000);
  assert.ok(Math.abs(connected.json.timestamp - Date.now()) < 60_000, 'timestamp is the time in ms');
  assert.match(connected.id, /^[\x21-\x7e]+$/);
  client.cut();
});

broker_test('retry is spread by a quarter around --retry-ms', { args: ['--retry-ms=1000'] }, async (broker) => {
  const clients = await Promise.all(Array.from({ length: 24 }, () => subscribe(broker, '/sse?channels=a')));
  const times = clients.map((client) => client.retry_ms);
  for (const ms of times) assert.ok(ms >= 750 && ms <= 1250, `retry: ${ms}`);
  assert.ok(new Set(times).size > 3, `not all the same: ${times}`);
  const sessions = new Set(clients.map((client) => client.all[0].json.session));
  assert.equal(sessions.size, clients.length, 'sessions are their own');
  for (const client of clients) client.cut();
});

broker_test('an event arrives as event, data, id, with the members of the envelope in order', { small: true }, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=stock.AAPL');
  const before = Date.now();
  const payload = '{"symbol":"AAPL", "price":1.740e2,"u":"\\u00e9é\\u2028","deep":[[{}]], "big":12345678901234567890}';
  const answer = await post(broker, '/publish', `{"channel":"stock.AAPL","type":"update","payload":${payload}}`);
  assert.equal(answer.status, 202);
  const [event] = await client.received(1);
  assert.deepEqual(event.order, ['event', 'data', 'id']);
  assert.equal(event.type, 'update');
  assert.equal(event.id, answer.json.id);
  assert.match(event.id, new RegExp(`^${broker.history}-0-\\d+$`));
  const { timestamp } = event.json;
  assert.ok(timestamp >= before - 1000 && timestamp <= Date.now() + 1000, `timestamp ${timestamp}`);
  assert.equal(
    event.data,
    `{"type":"update","channel":"stock.AAPL","payload":${payload},"timestamp":${timestamp},"id":"${event.id}"}`,
  );
  client.cut();
});

broker_test('what a publisher set is in the envelope, what it did not set is not', {}, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=c');
  await post(
    broker,
    '/publish',
    '{"headers":{"trace":"1é"},"conflate":false,"timestamp":1732558200000,"payload":[1],"channel":"c","type":"t","unknown":{"x":1}}',
  );
  await post(broker, '/publish', '{"channel":"c","op":"delete"}');
  await post(broker, '/publish', '{"channel":"c","eventType":"old","data":"text"}');
  const [full, deleted, synonyms] = await client.received(3);
  assert.equal(
    full.data,
    `{"type":"t","channel":"c","payload":[1],"timestamp":1732558200000,"id":"${full.id}","conflate":false,"headers":{"trace":"1é"}}`,
  );
  assert.equal(deleted.json.op, 'delete');
  assert.equal(deleted.json.payload, null);
  assert.deepEqual(Object.keys(synonyms.json), ['type', 'channel', 'payload', 'timestamp', 'id']);
  assert.equal(synonyms.type, 'old');
  assert.equal(synonyms.json.payload, 'text');
  client.cut();
});

broker_test('line breaks between tokens of a payload become spaces', {}, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=c&format=payload');
  await post(broker, '/publish', '{"channel":"c","payload":{\r\n  "a":\n1,\r"b":"x\\ny"}}');
  const [event] = await client.received(1);
  assert.equal(event.data, '{    "a": 1, "b":"x\\ny"}');
  client.cut();
});

broker_test('the type message has no event line, and event=message leaves it out of all', {}, async (broker) => {
  const named = await subscribe(broker, '/sse?channels=c');
  const unnamed = await subscribe(broker, '/sse?channels=c&event=message');
  await publish_all(broker, [{ channel: 'c', payload: 1 }, { channel: 'c', type: 'quote', payload: 2 }]);
  const [first, second] = await named.received(2);
  assert.deepEqual(first.order, ['data', 'id']);
  assert.equal(first.json.type, 'message');
  assert.deepEqual(second.order, ['event', 'data', 'id']);
  const both = await unnamed.received(2);
  assert.deepEqual(both.map((event) => event.order), [['data', 'id'], ['data', 'id']]);
  assert.equal(both[1].json.type, 'quote');
  assert.equal(unnamed.all[0].type, 'connected', 'control events keep their names');
  named.cut();
  unnamed.cut();
});

broker_test('a client gets its channels and patterns, each event once', { small: true }, async (broker) => {
  const paths = {
    exact: ['/sse?channels=stock.A', ['stock.A']],
    two: ['/sse?channels=stock.A,user.1', ['stock.A', 'user.1']],
    repeated: ['/sse?channel=stock.A&topic=user.1&channels=stockx', ['stock.A', 'stockx', 'user.1']],
    prefix: ['/sse?channels=stock.*', ['stock.A', 'stock.A.depth']],
    deep: ['/sse?channels=stock.A.*', ['stock.A.depth']],
    all: ['/sse?channels=*', ['stock.A', 'stock', 'stockx', 'stock.A.depth', 'user.1', 'ümläut.✓']],
    missing: ['/sse', ['stock.A', 'stock', 'stockx', 'stock.A.depth', 'user.1', 'ümläut.✓']],
    overlapping: ['/sse?channels=stock.*,stock.A,*,stock.A', ['stock.A', 'stock', 'stockx', 'stock.A.depth', 'user.1', 'ümläut.✓']],
    encoded: ['/sse?channels=%C3%BCml%C3%A4ut.%E2%9C%93%2Cstock%2EA', ['stock.A', 'ümläut.✓']],
  };
  const clients = {};
  for (const [name, [path]] of Object.entries(paths)) clients[name] = await subscribe(broker, path);
  const published = ['stock.A', 'stock', 'stockx', 'stock.A.depth', 'user.1', 'ümläut.✓'];
  for (const channel of [...published, 'stock.A']) await publish(broker, { channel, payload: channel });
  const everything = await clients.all.received(published.length + 1);
  assert.deepEqual(everything.map((event) => event.json.payload), [...published, 'stock.A']);
  /* A last event that everyone gets shows that nothing more came before it. */
  for (const [name, [, expected]] of Object.entries(paths)) {
    const want = [...published, 'stock.A'].filter((channel) => expected.includes(channel));
    await clients[name].received(want.length);
    assert.deepEqual(channels_of(clients[name]), want, name);
    clients[name].cut();
  }
});

broker_test('types selects by type', {}, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=c&types=trade,message');
  await publish_all(broker, [
    { channel: 'c', type: 'quote', payload: 1 },
    { channel: 'c', type: 'trade', payload: 2 },
    { channel: 'c', type: 'trades', payload: 3 },
    { channel: 'c', payload: 4 },
    { channel: 'c', type: 'trade', payload: 5 },
  ]);
  const events = await client.received(3);
  assert.deepEqual(events.map((event) => event.json.payload), [2, 4, 5]);
  client.cut();
});

broker_test('format=payload sends the payload alone', {}, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=c&format=payload');
  const id = await publish(broker, { channel: 'c', type: 'x', payload: { a: ['\u2028', '\ud83d\ude00'] } });
  const [event] = await client.received(1);
  assert.equal(event.data, JSON.stringify({ a: ['\u2028', '\ud83d\ude00'] }));
  assert.equal(event.id, id);
  assert.equal(event.type, 'x');
  client.cut();
});

broker_test('silence is broken by comments that hold the time', { args: ['--heartbeat-ms=100'], small: true }, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=c');
  assert.equal(client.all[0].json.heartbeat, 100);
  await client.when((c) => c.comments.length >= 3, 'three heartbeats');
  for (const comment of client.comments) assert.match(comment, /^ \d{13}$/);
  assert.equal(client.all.length, 1, 'no event but connected');
  client.cut();
});

broker_test('ping=event makes heartbeats visible', { args: ['--heartbeat-ms=100'] }, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=c&ping=event');
  await client.when((c) => c.all.filter((event) => event.type === 'ping').length >= 2, 'two pings');
  assert.deepEqual(client.comments, []);
  const ping = client.all.find((event) => event.type === 'ping');
  assert.equal(ping.order.includes('event'), true);
  client.cut();
});

broker_test('a bare id moves the cursor past what was not for this client', { args: ['--heartbeat-ms=100'] }, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=mine');
  const first = await publish(broker, { channel: 'mine', payload: 1 });
  await client.received(1);
  let last;
  for (let i = 0; i < 50; i++) last = await publish(broker, { channel: 'other', payload: i });
  await client.when((c) => c.cursor === last, `the cursor ${last}`);
  assert.notEqual(first, last);
  assert.ok(client.bare_ids.includes(last));
  assert.equal(client.events.length, 1, 'no event came with it');
  client.cut();
  await publish(broker, { channel: 'mine', payload: 2 });
  const again = await subscribe(broker, '/sse?channels=mine', { keep: client });
  const [event] = await again.received(1);
  assert.equal(event.json.payload, 2);
  again.cut();
});

broker_test('heartbeat= is in seconds', {}, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=c&heartbeat=5');
  assert.equal(client.all[0].json.heartbeat, 5000);
  client.cut();
});

broker_test('pad sends a comment of its size first', {}, async (broker) => {
  for (const size of [1, 2048, 8192]) {
    const blocks = [];
    const client = await subscribe(broker, `/sse?channels=c&pad=${size}`, { on_block: (block) => blocks.push(block) });
    assert.equal(blocks[0].lines[0][0], ':', 'a comment comes before anything else');
    const bytes = blocks[0].lines[0].length;
    assert.ok(Math.abs(bytes - size) <= 3, `${bytes} bytes for pad=${size}`);
    client.cut();
  }
});

broker_test('POST /sse takes the parameters as JSON', { small: true }, async (broker) => {
  const body = JSON.stringify({ channels: ['stock.*', 'b'], types: ['x'], format: 'payload', event: 'message', heartbeat: 7, id: 'me' });
  const client = await subscribe(broker, '/sse', { body });
  assert.equal(client.all[0].json.heartbeat, 7000);
  await publish_all(broker, [
    { channel: 'stock.A', type: 'x', payload: 1 },
    { channel: 'stock.A', type: 'y', payload: 2 },
    { channel: 'c', type: 'x', payload: 3 },
    { channel: 'b', type: 'x', payload: 4 },
  ]);
  const events = await client.received(2);
  assert.deepEqual(events.map((event) => event.data), ['1', '4']);
  client.cut();
  const resumed = await subscribe(broker, '/sse', { body: JSON.stringify({ channels: ['b'], cursor: events[0].id }) });
  assert.equal((await resumed.received(1))[0].id, events[1].id);
  resumed.cut();
});

broker_test('POST /sse refuses what is not an object of known kinds', {}, async (broker) => {
  for (const [body, ...words] of [
    ['[]'],
    ['{"channels":"a"'],
    ['{"channels":[1]}', 'channels'],
    ['{"heartbeat":1}', 'heartbeat', '5'],
    ['{"policy":"drop"}', 'policy', 'replay'],
  ]) {
    assert_error(await request(broker.http, { method: 'POST', path: '/sse', headers: { 'content-type': 'application/json' }, body }), 400, ...words);
  }
});

broker_test('the synonyms of /sse work', {}, async (broker) => {
  for (const path of ['/events', '/events/stream']) {
    const client = await subscribe(broker, `${path}?channels=c`);
    await publish(broker, { channel: 'c', payload: path });
    assert.equal((await client.received(1))[0].json.payload, path);
    client.cut();
  }
});

broker_test('HTTP/1.0 gets the stream without chunks', {}, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=c', { http10: true });
  assert.equal(client.headers.has('transfer-encoding'), false);
  await publish(broker, { channel: 'c', payload: 1 });
  await client.received(1);
  client.cut();
});

broker_test('malformed parameters get 400 that names field, value and what is allowed', {}, async (broker) => {
  const bad = [
    ['channels=a*b', 'channels', 'a*b'],
    ['channels=*.a', 'channels', '*.a'],
    ['channels=a.*.b', 'channels', 'a.*.b'],
    ['channels=a%0Ab', 'channels'],
    ['channels=a%00b', 'channels'],
    ['channels=a%FFb', 'channels'],
    ['channels=a+b', 'channels'],
    ['channels=' + 'x'.repeat(256), 'channels', '255'],
    ['channels=1.2.3.4.5.6.7.8.9', 'channels', '8'],
    ['channels=a%zz', '%'],
    ['types=a%20b', 'types'],
    ['from=yesterday', 'from', 'yesterday', 'earliest'],
    ['policy=drop', 'policy', 'drop', 'replay, conflate or disconnect'],
    ['max_rate=0', 'max_rate', '0', 'a decimal number above 0'],
    ['max_rate=2x', 'max_rate', '2x', 'a decimal number above 0'],
    ['max_rate=2&policy=replay', 'policy', 'replay', 'max_rate', 'conflate'],
    ['format=xml', 'format', 'xml', 'payload'],
    ['event=on', 'event', 'on', 'message'],
    ['heartbeat=4', 'heartbeat', '4', '300'],
    ['heartbeat=301', 'heartbeat', '301', '300'],
    ['heartbeat=x', 'heartbeat', 'x'],
    ['ping=yes', 'ping', 'yes', 'event'],
    ['pad=8193', 'pad', '8193', '8192'],
    ['pad=-1', 'pad', '-1'],
    ['id=' + 'i'.repeat(300), 'id'],
  ];
  for (const [query, ...words] of bad) {
    const answer = await request(broker.http, { path: `/sse?${query}`, headers: { accept: 'text/event-stream' } });
    assert.equal(answer.status, 400, query);
    assert_error(answer, 400, ...words);
  }
  const client = await subscribe(broker, '/sse?channels=c&unknown=1&_=173&heartbeat=10');
  client.cut();
});

broker_test('/sse answers other methods with 405 and HEAD without a stream', {}, async (broker) => {
  const answer = await request(broker.http, { method: 'DELETE', path: '/sse' });
  assert.equal(answer.status, 405);
  const allowed = answer.headers.get('allow').split(/, */);
  for (const method of ['GET', 'POST']) assert.ok(allowed.includes(method), `Allow: ${allowed}`);
  const raw = await RawConnection.open(broker.http);
  raw.send('HEAD /sse?channels=c HTTP/1.1\r\nHost: x\r\n\r\n');
  const head = await raw.read_response({ method: 'HEAD' });
  if (head.status === 200) {
    assert.equal(head.headers.get('content-type'), 'text/event-stream');
    raw.send('GET /no-such-path HTTP/1.1\r\nHost: x\r\n\r\n');
    assert.equal((await raw.read_response()).status, 404, 'the connection goes on after HEAD');
  } else {
    assert.equal(head.status, 405);
  }
  raw.cut();
});

broker_test('many clients on both shards get the same events in the same order', { small: true }, async (broker) => {
  const clients = await Promise.all(Array.from({ length: 40 }, (_, i) => subscribe(broker, `/sse?channels=c${i % 2 ? ',d' : ''}`)));
  const ids = [];
  for (let i = 0; i < 20; i++) ids.push(...(await publish_all(broker, [{ channel: 'c', payload: i }, { channel: 'd', payload: i }])));
  for (const [i, client] of clients.entries()) {
    const want = i % 2 ? ids : ids.filter((_, k) => k % 2 === 0);
    const events = await client.received(want.length);
    assert.deepEqual(events.map((event) => event.id), want);
    client.cut();
  }
});

broker_test('a large event arrives whole', {}, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=c');
  const text = 'é'.repeat(100_000);
  await publish(broker, { channel: 'c', payload: text });
  const [event] = await client.received(1);
  assert.equal(event.json.payload, text);
  client.cut();
});

broker_test('a client that sends more bytes, or ends its side, is treated as HTTP says', {}, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=c');
  client.raw.send('GET /sse?channels=c HTTP/1.1\r\nHost: x\r\n\r\n');
  await publish(broker, { channel: 'c', payload: 1 });
  await client.received(1);
  client.raw.half_close();
  const how = await client.closed();
  assert.ok(['eof', 'reset'].includes(how), `the broker ends the stream: ${how}`);
});

broker_test('an open stream can be opened with from=live and from=earliest', {}, async (broker) => {
  const ids = await publish_all(broker, [{ channel: 'c', payload: 1 }, { channel: 'c', payload: 2 }]);
  const all = await SseClient.open(broker, '/sse?channels=c&from=earliest');
  const events = await all.received(2);
  assert.deepEqual(events.map((event) => event.id), ids);
  const live = await subscribe(broker, '/sse?channels=c&from=live');
  const id = await publish(broker, { channel: 'c', payload: 3 });
  assert.equal((await live.received(1))[0].id, id);
  assert.equal((await all.received(3))[2].id, id);
  all.cut();
  live.cut();
});
