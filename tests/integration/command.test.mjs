// POST /command: one JSON object on the channel "commands".

import assert from 'node:assert/strict';
import { broker_test } from './lib/broker.mjs';
import { assert_error } from './lib/http.mjs';
import { post } from './lib/publish.mjs';
import { subscribe } from './lib/sse.mjs';

broker_test('a command reaches whoever follows "commands", with the client that sent it', { small: true }, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=commands');
  const named = await post(broker, '/command?id=page%201', '{"buy":\n{"symbol":"AAPL","count":10}}');
  assert.equal(named.status, 202, named.text);
  const plain = await post(broker, '/command', '{}');
  assert.equal(plain.status, 202, plain.text);
  const [first, second] = await client.received(2);
  assert.equal(first.json.id, named.json.id);
  assert.equal(first.json.channel, 'commands');
  assert.equal(first.json.type, 'command');
  assert.deepEqual(first.json.payload, { buy: { symbol: 'AAPL', count: 10 } });
  assert.deepEqual(first.json.headers, { client: 'page 1' });
  assert.equal(second.json.id, plain.json.id);
  assert.deepEqual(second.json.payload, {});
  assert.equal(second.json.headers, undefined);
  client.cut();
});

broker_test('what is no command is refused, and says why', { args: ['--max-event-bytes=1000'] }, async (broker) => {
  const refused = async (path, body, status, code, ...words) => {
    const answer = await post(broker, path, body);
    assert_error(answer, status, ...words);
    assert.equal(answer.json.error.code, code);
  };
  await refused('/command', '[1]', 400, 'invalid_command', 'JSON object');
  await refused('/command', '{"a":}', 400, 'invalid_json', 'byte 5');
  await refused('/command', '{},"channel":"a"', 400, 'invalid_json', 'byte 2');
  await refused('/command', JSON.stringify({ a: 'x'.repeat(2000) }), 413, 'too_large', '1000');
  await refused(`/command?id=${'x'.repeat(65)}`, '{}', 400, 'invalid_parameter', 'id');
});

broker_test('an Idempotency-Key makes a command one event', {}, async (broker) => {
  const options = { headers: { 'idempotency-key': 'c1' } };
  const first = await post(broker, '/command', '{"a":1}', options);
  const again = await post(broker, '/command', '{"a":1}', options);
  assert.equal(first.status, 202, first.text);
  assert.deepEqual(again.json, first.json);
  const other = await post(broker, '/command', '{"a":2}', options);
  assert.equal(other.status, 422, other.text);
});
