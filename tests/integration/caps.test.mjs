// Bounds on clients: process-wide and for each address.

import assert from 'node:assert/strict';
import { broker_test } from './lib/broker.mjs';
import { assert_error, request } from './lib/http.mjs';
import { publish } from './lib/publish.mjs';
import { SseClient, subscribe } from './lib/sse.mjs';
import { eventually } from './lib/wait.mjs';

async function sent_away(broker, options) {
  const client = await SseClient.open(broker, '/sse?channels=c', options);
  assert.equal(client.headers.get('content-type'), 'text/event-stream');
  await client.closed();
  assert.deepEqual(client.all, [], 'no event');
  assert.ok(client.retry_ms > 0, 'retry');
  assert.equal(client.comments.length, 1, 'one comment');
}

/** Opens streams until one stays: a client that has gone is not counted at once. */
function admitted(broker, options) {
  return eventually(async () => {
    const client = await SseClient.open(broker, '/sse?channels=c', options);
    const stays = await client.connected().then(() => true, () => false);
    return stays ? client : undefined;
  }, 'a place for a client');
}

broker_test('--max-clients sends one client more away softly, and frees its place', { args: ['--max-clients=3'], small: true }, async (broker) => {
  const clients = [];
  for (let i = 0; i < 3; i++) clients.push(await subscribe(broker, '/sse?channels=c'));
  await sent_away(broker);
  const answer = await request(broker.http, { path: '/sse?channels=c', headers: { accept: 'application/json' } });
  assert_error(answer, 503);
  assert.match(answer.headers.get('retry-after'), /^\d+$/);
  await publish(broker, { channel: 'c', payload: 1 });
  for (const client of clients) await client.received(1);
  clients[1].cut();
  const fresh = await admitted(broker);
  for (const client of [clients[0], clients[2], fresh]) client.cut();
});

broker_test('--max-clients-per-address counts addresses apart', { args: ['--max-clients-per-address=2'] }, async (broker) => {
  const from = (last) => ({ localAddress: `127.0.0.${last}` });
  const a = [await subscribe(broker, '/sse?channels=c', from(2)), await subscribe(broker, '/sse?channels=c', from(2))];
  await sent_away(broker, from(2));
  const b = await subscribe(broker, '/sse?channels=c', from(3));
  a[0].cut();
  const fresh = await admitted(broker, from(2));
  for (const client of [a[1], b, fresh]) client.cut();
});
