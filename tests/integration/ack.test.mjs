// POST /ack: a client says how far it has really come; what cannot be true is refused by its name.

import assert from 'node:assert/strict';
import { broker_test } from './lib/broker.mjs';
import { assert_error, request } from './lib/http.mjs';
import { publish, publish_all, publish_lines } from './lib/publish.mjs';
import { subscribe } from './lib/sse.mjs';
import { eventually } from './lib/wait.mjs';

const range = (n, f) => Array.from({ length: n }, (_, i) => f(i));
const session_of = (client) => client.all.find((event) => event.type === 'connected').json.session;
const ask = (broker, body, more = {}) =>
  request(broker.http, { method: 'POST', path: '/ack', body: typeof body === 'string' ? body : JSON.stringify(body), ...more });

async function ack(broker, client, cursor) {
  const answer = await ask(broker, { session: session_of(client), cursor });
  assert.equal(answer.status, 200, answer.text);
  assert.equal(answer.json.ok, true);
  return answer.json.lag;
}

broker_test('the lag is what lies between the acknowledged cursor and the head', { small: true }, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=a');
  const ids = await publish_all(broker, range(10, (i) => ({ channel: 'a', payload: i })));
  await client.received(10);
  assert.equal(await ack(broker, client, ids[2]), 7);
  assert.equal(await ack(broker, client, ids[9]), 0);
  assert.equal(await ack(broker, client, ids[4]), 0, 'one that was overtaken takes nothing back');
  await publish(broker, { channel: 'elsewhere', payload: 1 });
  await client.received(10);
  assert.equal(await ack(broker, client, `${ids[2]},${ids[9]}`), 1, 'of the log, not of the channel; ids may follow a cursor');
  const metrics = await request(broker.ops, { path: '/metrics' });
  assert.match(metrics.text, /^tickertape_acks_total 4$/m);
  client.cut();
});

broker_test('every cursor that a stream was given can be acknowledged, whichever shard is asked', { args: ['--log-partitions=4'], shards: 3 }, async (broker) => {
  const names = range(12, (i) => `c${i}`);
  const clients = await Promise.all(range(9, (i) => subscribe(broker, `/sse?channels=${i % 3 === 0 ? names[i] : names}`)));
  const shards = new Set(clients.map((client) => session_of(client).split('-')[0]));
  assert.ok(shards.size > 1, 'sessions of several shards');
  for (const client of clients) await ack(broker, client, client.cursor);
  await publish_lines(broker, range(120, (i) => ({ channel: names[i % 12], payload: i })));
  for (const [i, client] of clients.entries()) await client.received(i % 3 === 0 ? 10 : 120);
  for (const client of clients) {
    const lags = [];
    for (const { id } of client.events.filter((_, i) => i % 7 === 0)) lags.push(await ack(broker, client, id));
    assert.deepEqual(lags, [...lags].sort((a, b) => b - a), 'it falls');
    await ack(broker, client, client.events.at(-1).id);
  }
  for (const client of clients) client.cut();
});

broker_test('a catching-up client acknowledges, too', { args: ['--log-partitions=2', '--outbox-bytes=4KiB'] }, async (broker) => {
  await publish_lines(broker, range(4000, (i) => ({ channel: `c${i % 8}`, payload: 'x'.repeat(200) })));
  const client = await subscribe(broker, '/sse?channels=*&from=earliest');
  await client.received(1);
  client.pause();
  const last = client.events.at(-1).id;
  const before = await ack(broker, client, last);
  client.resume();
  await client.received(4000);
  assert.ok(before > (await ack(broker, client, client.events.at(-1).id)));
  client.cut();
});

broker_test('a conflating client acknowledges every cursor that it was given', { args: ['--log-partitions=2', '--outbox-bytes=16KiB'], shards: 2 }, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=c.*&policy=conflate');
  const ticked = await subscribe(broker, '/sse?channels=c.*&max_rate=20');
  for (let round = 0; round < 4; round++) {
    client.pause();
    await eventually(async () => {
      await publish_lines(broker, range(200, (i) => ({ channel: `c.${i % 5}`, payload: 'x'.repeat(2000) })));
      return (await request(broker.ops, { path: '/clients?state=conflating,catchup&sort=outbox' })).json.clients.some(({ policy }) => policy === 'conflate');
    }, 'a client that conflates');
    const { length } = client.events;
    client.resume();
    await client.received(length + 1);
    for (const one of [client, ticked]) await ack(broker, one, one.cursor);
  }
  const last = await publish(broker, { channel: 'c.last', payload: 1 });
  for (const one of [client, ticked]) {
    await one.when((c) => c.events.at(-1)?.json.id === last, 'the last event');
    assert.equal(await ack(broker, one, one.cursor), 0);
    one.cut();
  }
});

broker_test('what cannot be true is refused', { args: ['--log-partitions=4'], small: true }, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=*'); /* all partitions: names may all lie in one */
  const session = session_of(client);
  const [shard, slot, generation, seal] = session.split('-');
  const ids = await publish_all(broker, range(5, (i) => ({ channel: 'abcde'[i], payload: i })));
  await client.received(5);
  const cursor = client.cursor;
  assert_error(await ask(broker, '{'), 400, 'body', 'object');
  assert_error(await ask(broker, '[]'), 400, 'body', 'object');
  assert_error(await ask(broker, { cursor }), 400, 'session', 'is missing');
  assert_error(await ask(broker, { session }), 400, 'cursor', 'is missing');
  assert_error(await ask(broker, { session, cursor: '' }), 400, 'cursor', 'allowed');
  assert_error(await ask(broker, { session, cursor: 7 }), 400, 'cursor', 'not a string');
  assert_error(await ask(broker, { session, cursor: 'nonsense' }), 400, 'cursor', 'nonsense', 'cannot be read');
  assert_error(await ask(broker, { session, cursor: 'y'.repeat(5000) }), 400, 'cursor', 'yyyy...', 'cannot be read');
  assert_error(await ask(broker, { session, cursor: 'zzzzzz-0-5/4' }), 400, 'cursor', 'zzzzzz-0-5', 'another log');
  assert_error(await ask(broker, { session, cursor: ids[0] }), 400, 'cursor', ids[0], 'says nothing');
  const ahead = ids[0].replace(/\d+$/, (n) => String(Number(n) + 1000));
  assert_error(await ask(broker, { session, cursor: `${cursor},${ahead}` }), 400, 'cursor', 'ahead');
  assert_error(await ask(broker, { session, cursor, pad: 'x'.repeat(20_000) }), 413, '16384');
  for (const bad of ['', 'x', `ff-${slot}-${generation}-${seal}`, `${shard}-${slot}-${generation}-0`, 'x'.repeat(100)]) {
    assert_error(await ask(broker, { session: bad, cursor }), 421, 'session', 'not of this broker');
  }
  assert.equal((await request(broker.http, { path: '/ack' })).status, 405);
  assert.match((await request(broker.ops, { path: '/metrics' })).text, /^tickertape_acks_total 0$/m);
  assert.equal(await ack(broker, client, cursor), 0);
  client.cut();
  await eventually(async () => (await ask(broker, { session, cursor })).status === 404, '404 for a stream that has ended');
  assert_error(await ask(broker, { session, cursor }), 404, 'session', 'has ended');
  await broker.stop();
  await broker.restart();
  assert_error(await ask(broker, { session, cursor }), 421, 'session');
});

broker_test('pages of allowed origins may acknowledge, others may not', { args: ['--allow-origin=https://app.example.com'] }, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=a');
  const body = JSON.stringify({ session: session_of(client), cursor: client.cursor });
  const from = (origin) => ask(broker, body, { headers: { Origin: origin } });
  const allowed = await from('https://app.example.com');
  assert.equal(allowed.status, 200);
  assert.equal(allowed.headers.get('access-control-allow-origin'), 'https://app.example.com');
  assert_error(await from('https://evil.example'), 403, 'Origin');
  const preflight = await request(broker.http, {
    method: 'OPTIONS', path: '/ack', headers: { Origin: 'https://app.example.com', 'Access-Control-Request-Method': 'POST' },
  });
  assert.match(preflight.headers.get('access-control-allow-methods'), /POST/);
  client.cut();
});
