// POST /publish: answers, ids, errors, and that what was accepted reaches a subscriber byte for byte.

import assert from 'node:assert/strict';
import { broker_test } from './lib/broker.mjs';
import { RawConnection, assert_error, request } from './lib/http.mjs';
import { post, publish, publish_all, publish_lines } from './lib/publish.mjs';
import { subscribe } from './lib/sse.mjs';

const ndjson = { 'content-type': 'application/x-ndjson' };

function offset(id) {
  return Number(id.split('-')[2]);
}

broker_test('one envelope: 202 with its id, and the event as it was given', { small: true }, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=stock.AAPL');
  const before = Date.now();
  const id = await publish(broker, { channel: 'stock.AAPL', type: 'update', payload: { price: 174.32 } });
  assert.match(id, new RegExp(`^${broker.history}-0-\\d+$`));
  const [event] = await client.received(1);
  assert.equal(event.type, 'update');
  assert.equal(event.json.id, id);
  assert.deepEqual(Object.keys(event.json), ['type', 'channel', 'payload', 'timestamp', 'id']);
  assert.deepEqual(event.json.payload, { price: 174.32 });
  assert.ok(event.json.timestamp >= before - 1000 && event.json.timestamp <= Date.now() + 1000);
  client.cut();
});

broker_test('payloads are spliced byte for byte; line breaks between tokens become spaces', {}, async (broker) => {
  const client = await subscribe(broker, '/sse?format=payload');
  const payloads = [
    ['{ "b":1.50,\t"a" : 1e5 }', '{ "b":1.50,\t"a" : 1e5 }'],
    ['{"a":\r\n[1,\n2]}', '{"a":  [1, 2]}'],
    ['"\\u0000\\ud800 \u2028 \ufeff \\n"', '"\\u0000\\ud800 \u2028 \ufeff \\n"'],
    ['12345678901234567890123', '12345678901234567890123'],
    ['null', 'null'],
    ['{"a":1,"a":2}', '{"a":1,"a":2}'],
  ];
  for (const [given] of payloads) {
    const answer = await post(broker, '/publish', `{"channel":"a","payload":${given}}`);
    assert.equal(answer.status, 202, answer.text);
  }
  const events = await client.received(payloads.length);
  assert.deepEqual(
    events.map((event) => event.data),
    payloads.map(([, expected]) => expected),
  );
  client.cut();
});

broker_test('nothing that a publisher sends leaves its field', {}, async (broker) => {
  const client = await subscribe(broker, '/sse');
  const nasty = 'a\nid: x\n\ndata: b\r\revent: connected\r\n\0\ufeff\u2028\u2029';
  await publish(broker, { channel: 'a"b\\c', type: 'x.y:z/w-1', payload: nasty, headers: { [nasty]: nasty } });
  const [event] = await client.received(1);
  assert.equal(event.json.payload, nasty);
  assert.equal(event.json.channel, 'a"b\\c');
  assert.deepEqual(event.json.headers, { [nasty]: nasty });
  assert.equal(client.all.length, 2); // connected, and this one
  for (const type of ['a\nb', 'a b', 'connected', 'ping', '']) {
    const answer = await post(broker, '/publish', JSON.stringify({ channel: 'a', type }));
    assert_error(answer, 400, 'type');
  }
  client.cut();
});

broker_test('optional members travel, in order', {}, async (broker) => {
  const client = await subscribe(broker, '/sse');
  await publish(broker, {
    eventType: 'trade',
    data: null,
    channel: 'a',
    op: 'delete',
    conflate: false,
    timestamp: 17,
    headers: { k: 'v' },
    ignored: [1],
  });
  await publish(broker, { channel: 'a', payload: 'AAEC/w==', encoding: 'base64' });
  const [first, second] = await client.received(2);
  const text = `{"type":"trade","channel":"a","payload":null,"timestamp":17,"id":"${first.json.id}","conflate":false,"op":"delete","headers":{"k":"v"}}`;
  assert.equal(first.data, text);
  assert.equal(second.json.encoding, 'base64');
  assert.equal(second.json.payload, 'AAEC/w==');
  assert.equal(second.named, false); // type message has no event line
  client.cut();
});

broker_test('an array: ids in order, taken whole or not at all', {}, async (broker) => {
  const client = await subscribe(broker, '/sse');
  const ids = await publish_all(
    broker,
    Array.from({ length: 1000 }, (_, n) => ({ channel: `c.${n % 7}`, payload: n })),
  );
  assert.equal(ids.length, 1000);
  ids.forEach((id, i) => assert.equal(offset(id), offset(ids[0]) + i));
  const bad = await post(broker, '/publish', JSON.stringify([{ channel: 'a' }, { channel: 'b c' }]));
  assert_error(bad, 400, 'element 1', 'channel', 'b c', 'space');
  assert.deepEqual((await publish_all(broker, [])), []);
  const last = await publish(broker, { channel: 'end' });
  assert.equal(offset(last), offset(ids[999]) + 1, 'nothing of the bad array was taken');
  const events = await client.received(1001);
  assert.deepEqual(
    events.slice(0, 1000).map((event) => [event.json.id, event.json.payload]),
    ids.map((id, n) => [id, n]),
  );
  client.cut();
});

broker_test('several partitions: an event lies where its channel lives', { args: ['--log-partitions=8'] }, async (broker) => {
  const events = Array.from({ length: 400 }, (_, n) => ({ channel: `c${n % 40}`, payload: n }));
  const partition_of = new Map();
  const next = new Map();
  const client = await subscribe(broker, '/sse');
  const whole = await publish_all(broker, events);
  const lines = await post(broker, '/publish?ids=1', events.map((event) => JSON.stringify(event)).join('\n'), {
    headers: ndjson,
  });
  assert.equal(lines.status, 202, lines.text);
  assert.equal(lines.json.count, 400);
  assert.equal(lines.json.first, lines.json.ids[0]);
  assert.equal(lines.json.last, lines.json.ids[399]);
  [...whole, ...lines.json.ids].forEach((id, i) => {
    const [, partition, place] = id.split('-');
    const { channel } = events[i % 400];
    assert.equal(partition_of.get(channel) ?? partition, partition);
    partition_of.set(channel, partition);
    if (next.has(partition)) assert.equal(Number(place), next.get(partition));
    next.set(partition, Number(place) + 1);
  });
  assert.ok(next.size > 1, 'forty channels lie in more than one partition');
  const received = await client.received(800);
  for (const channel of partition_of.keys()) {
    const own = received.filter((event) => event.json.channel === channel).map((event) => event.json.payload);
    const expected = events.filter((event) => event.channel === channel).map((event) => event.payload);
    assert.deepEqual(own, [...expected, ...expected], channel);
  }
  client.cut();
});

broker_test('NDJSON: lines in any pieces, counted and chunked', { small: true }, async (broker) => {
  const client = await subscribe(broker, '/sse');
  const events = Array.from({ length: 50 }, (_, n) => ({ channel: 'a', payload: `ü${n}` }));
  const answer = await publish_lines(broker, events);
  assert.equal(answer.count, 50);
  assert.equal(offset(answer.last), offset(answer.first) + 49);
  const body = Buffer.from(`${events.map((event) => JSON.stringify(event)).join('\r\n\r\n')}`);
  const raw = await RawConnection.open(broker.http);
  raw.send(
    'POST /events/publish HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n',
  );
  for (let at = 0; at < body.length; at += 333) {
    const part = body.subarray(at, at + 333);
    await raw.send_slowly(Buffer.concat([Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from('\r\n')]), 50);
  }
  raw.send('0\r\n\r\n');
  const second = await raw.read_response({ method: 'POST' });
  assert.equal(second.status, 202, second.body.toString());
  assert.equal(JSON.parse(second.body).count, 50);
  const received = await client.received(100);
  assert.deepEqual(
    received.slice(50).map((event) => event.json.payload),
    events.map((event) => event.payload),
  );
  raw.cut();
  client.cut();
});

broker_test('NDJSON is taken line by line as it comes', {}, async (broker) => {
  const client = await subscribe(broker, '/sse');
  const raw = await RawConnection.open(broker.http);
  raw.send(
    'POST /publish HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n',
  );
  for (let n = 1; n <= 20; n++) {
    const line = `{"channel":"a","payload":${n}}\n`;
    raw.send(`${line.length.toString(16)}\r\n${line}\r\n`);
    const events = await client.received(n); // while the request is still under way
    assert.equal(events[n - 1].json.payload, n);
  }
  raw.send('0\r\n\r\n');
  const answer = await raw.read_response({ method: 'POST' });
  assert.equal(JSON.parse(answer.body).count, 20);
  raw.cut();
  client.cut();
});

broker_test('NDJSON: an error names the line and how many were taken', {}, async (broker) => {
  const client = await subscribe(broker, '/sse');
  const text = '{"channel":"a","payload":1}\n\n{"channel":"a","payload":2}\n{"channel":"a","payload":}\n{"channel":"a"}\n';
  const answer = await post(broker, '/publish', text, { headers: ndjson });
  assert_error(answer, 400, 'line 4', 'byte 25', '2 events were taken');
  assert.equal(answer.json.count, 2);
  assert.equal(offset(answer.json.last), offset(answer.json.first) + 1);
  assert.equal((await client.received(2))[1].json.payload, 2);
  const id = await publish(broker, { channel: 'a' });
  assert.equal(offset(id), offset(answer.json.last) + 1);
  client.cut();
});

broker_test('a large stream is bounded in memory and arrives whole', { args: ['--max-body-bytes=1MiB'] }, async (broker) => {
  const count = 40_000;
  const payload = 'x'.repeat(100);
  const body = Buffer.from(
    Array.from({ length: count }, (_, n) => `{"channel":"c${n % 10}","payload":{"n":${n},"x":"${payload}"}}\n`).join(''),
  );
  assert.ok(body.length > 4 * 1024 * 1024);
  const answer = await post(broker, '/publish', body, { headers: ndjson, limit_ms: 60_000 });
  assert.equal(answer.status, 202, answer.text);
  assert.equal(answer.json.count, count);
  assert.equal(offset(answer.json.last), offset(answer.json.first) + count - 1);
  // Any other body is bounded.
  const whole = await request(broker.http, { method: 'POST', path: '/publish', body: Buffer.alloc(1024 * 1024 + 1, 32) });
  assert_error(whole, 413, '1048577', '1048576');
});

for (const sync of ['always', 'interval', 'never']) {
  // The next batch is published while the answer to the last one is given: with nothing else to do,
  // the shard must not sleep before that is written.
  broker_test(`a stream of many batches, one after the other, with --log-sync=${sync}`, { args: [`--log-sync=${sync}`] }, async (broker) => {
    const lines = Array.from({ length: 60_000 }, (_, n) => `{"channel":"c${n % 10}","payload":{"n":${n},"x":"${'y'.repeat(60)}"}}\n`);
    const answer = await post(broker, '/publish', lines.join(''), { headers: ndjson, limit_ms: 60_000 });
    assert.equal(answer.status, 202, answer.text);
    assert.equal(answer.json.count, lines.length);
  });
}

broker_test('what is refused, and why', { args: ['--max-event-bytes=1000'] }, async (broker) => {
  const cases = [
    ['hello', 400, ['byte 0']],
    ['', 400, ['byte 0']],
    ['{}', 400, ['channel']],
    ['[1]', 400, ['element 0', 'object']],
    ['{"channel":"a","payload":01}', 400, ['leading zero']],
    [Buffer.from('{"channel":"a","payload":"\xff"}', 'latin1'), 400, ['UTF-8']],
    [`{"channel":"a","payload":${'['.repeat(64)}${']'.repeat(64)}}`, 400, ['64 levels']],
    [`{"channel":"${'a'.repeat(256)}"}`, 400, ['channel', '256 bytes']],
    ['{"channel":"a.b.c.d.e.f.g.h.i"}', 400, ['channel', 'level']],
    ['{"channel":"a","timestamp":"now"}', 400, ['timestamp', 'now', 'milliseconds']],
    [JSON.stringify({ channel: 'a', payload: 'x'.repeat(1000) }), 413, ['1010 bytes', '1000']],
  ];
  for (const [body, status, words] of cases) {
    assert_error(await post(broker, '/publish', body), status, ...words);
  }
  assert_error(await post(broker, '/publish', 'x', { headers: { 'content-type': 'multipart/form-data; boundary=x' } }), 415, 'multipart');
  assert_error(await post(broker, '/publish', 'x', { headers: { 'content-encoding': 'gzip' } }), 415, 'Content-Encoding');
  assert_error(await post(broker, '/publish?ids=maybe', '{"channel":"a"}'), 400, 'ids');
  // curl -d says application/x-www-form-urlencoded.
  const curl = await post(broker, '/publish', '{"channel":"a"}', {
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
  });
  assert.equal(curl.status, 202, curl.text);
  assert_error(await request(broker.http, { method: 'POST', path: '/publish' }), 411, 'Content-Length');
  const get = await request(broker.http, { path: '/publish' });
  assert_error(get, 405);
  assert.equal(get.headers.get('allow'), 'POST, OPTIONS');
});

broker_test('a publisher that goes in the middle leaves whole events behind', {}, async (broker) => {
  const client = await subscribe(broker, '/sse');
  for (let round = 0; round < 20; round++) {
    const raw = await RawConnection.open(broker.http);
    const lines = Array.from({ length: 200 }, (_, n) => `{"channel":"a","payload":{"round":${round},"n":${n}}}\n`).join('');
    raw.send(`POST /publish HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-ndjson\r\nContent-Length: 1000000\r\n\r\n`);
    raw.send(lines.slice(0, 300 + round * 400));
    await client.when((c) => c.events.some((event) => event.json.payload.round === round), 'an event of the round');
    raw.reset();
  }
  await publish(broker, { channel: 'a', payload: { round: 20, n: 0 } });
  const events = await client.when((c) => c.events.at(-1)?.json.payload.round === 20 && c.events, 'the last event');
  let expected = 0;
  let round = 0;
  for (const { json } of events) {
    if (json.payload.round !== round) {
      assert.equal(json.payload.round, round + 1);
      round++;
      expected = 0;
    }
    assert.equal(json.payload.n, expected++);
  }
  client.cut();
});
