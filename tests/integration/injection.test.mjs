// Nothing that a publisher sends can break out of its field. The strict reader of the stream objects to
// everything that would.

import assert from 'node:assert/strict';
import { broker_test } from './lib/broker.mjs';
import { assert_error } from './lib/http.mjs';
import { post, publish } from './lib/publish.mjs';
import { subscribe } from './lib/sse.mjs';

const evil = ['\n\nevent: evil\ndata: 1\nid: 9\n\n', '\r\rdata: evil\r\r', '\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n', '\0', '\u2028', '\u2029', '\ufeff', '\u0085', ': x', 'id: 1'];

broker_test('texts inside a payload stay inside', { small: true }, async (broker) => {
  const envelope = await subscribe(broker, '/sse?channels=c');
  const bare = await subscribe(broker, '/sse?channels=c&format=payload&event=message');
  for (const text of evil) {
    await publish(broker, { channel: 'c', payload: text });
    await publish(broker, { channel: 'c', payload: { [text]: [text] }, headers: { x: text } });
  }
  const events = await envelope.received(2 * evil.length);
  const payloads = await bare.received(2 * evil.length);
  for (const [i, text] of evil.entries()) {
    assert.equal(events[2 * i].json.payload, text);
    assert.deepEqual(events[2 * i + 1].json.payload, { [text]: [text] });
    assert.deepEqual(events[2 * i + 1].json.headers, { x: text });
    assert.equal(payloads[2 * i].json, text);
  }
  envelope.cut();
  bare.cut();
});

broker_test('raw bytes that are not JSON are refused and nothing of them is sent', {}, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=*');
  const bad = [
    Buffer.from('{"channel":"c","payload":"a\nb"}'),
    Buffer.from('{"channel":"c","payload":"a\rb"}'),
    Buffer.from('{"channel":"c","payload":"a\0b"}'),
    Buffer.from([...Buffer.from('{"channel":"c","payload":"'), 0xff, ...Buffer.from('"}')]),
    Buffer.from([...Buffer.from('{"channel":"c","payload":"'), 0xed, 0xa0, 0x80, ...Buffer.from('"}')]),
    Buffer.from([...Buffer.from('{"channel":"c","payload":"'), 0xc0, 0x8a, ...Buffer.from('"}')]),
    Buffer.from('{"channel":"c","payload":1}\0'),
    Buffer.from('{"channel":"c","payload":{"a":1 "b":2}}'),
    Buffer.from('{"channel":"c","payload":[1,2,,3]}'),
    Buffer.from('{"channel":"c","payload":01}'),
  ];
  for (const body of bad) assert_error(await post(broker, '/publish', body), 400);
  await publish(broker, { channel: 'c', payload: 'good' });
  const events = await client.received(1);
  assert.deepEqual(events.map((event) => event.json.payload), ['good']);
  client.cut();
});

broker_test('channels and types cannot carry separators or controls', {}, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=*');
  for (const text of ['a\nb', 'a\rb', 'a\0b', 'a b', 'a,b', 'a*', '*', 'a\u007fb', 'a\u0085b', '', 'x'.repeat(256)]) {
    assert_error(await post(broker, '/publish', JSON.stringify({ channel: text, payload: 1 })), 400, 'channel');
  }
  for (const text of ['a\nb', 'a\rdata: 1', 'a\0', 'a b', 'é', '', 'x'.repeat(129), 'a\u2028']) {
    assert_error(await post(broker, '/publish', JSON.stringify({ channel: 'c', type: text, payload: 1 })), 400, 'type');
  }
  for (const type of ['connected', 'snapshot-end', 'resync', 'gap', 'feed', 'token-expiring', 'shutdown', 'ping', 'error']) {
    assert_error(await post(broker, '/publish', JSON.stringify({ channel: 'c', type, payload: 1 })), 400, type);
  }
  await publish(broker, { channel: 'c', type: 'A-Z_9.:/-', payload: 'good' });
  const events = await client.received(1);
  assert.equal(events[0].type, 'A-Z_9.:/-');
  client.cut();
});

broker_test('separators of other alphabets in a channel are just letters', {}, async (broker) => {
  const channel = 'a\u2028b.\ufeffc';
  const client = await subscribe(broker, `/sse?channels=${encodeURIComponent(channel)}`);
  await publish(broker, { channel, payload: 1 });
  const [event] = await client.received(1);
  assert.equal(event.json.channel, channel);
  client.cut();
});

broker_test("a client's own name cannot break into its log lines or streams", {}, async (broker) => {
  for (const name of ['%0Ax', '%0D%0Aevent:%20x', '%00', '%1b[31m']) {
    const error = await subscribe(broker, `/sse?channels=c&id=a${name}`).then(
      (client) => client.cut(),
      (problem) => problem,
    );
    if (error) assert.equal(error.status, 400);
  }
  assert.equal(/[\x00\x1b\r]/.test(broker.stderr), false, 'no control characters in the log');
});
