// SIGTERM: clients are told, streams end without a last chunk, new ones are sent away softly.

import assert from 'node:assert/strict';
import { broker_test } from './lib/broker.mjs';
import { RawConnection, assert_error, request } from './lib/http.mjs';
import { metric } from './lib/metrics.mjs';
import { post, publish, publish_lines } from './lib/publish.mjs';
import { SseClient, subscribe } from './lib/sse.mjs';
import { eventually } from './lib/wait.mjs';

broker_test('SIGTERM tells every client and ends streams without their last chunk', { args: ['--drain-delay-ms=0', '--drain-ms=2s'], small: true }, async (broker) => {
  const clients = await Promise.all(Array.from({ length: 20 }, () => subscribe(broker, '/sse?channels=c')));
  const id = await publish(broker, { channel: 'c', payload: 1 });
  for (const client of clients) await client.received(1);
  broker.signal('SIGTERM');
  for (const client of clients) {
    const shutdown = await client.control('shutdown');
    assert.ok(Number.isInteger(shutdown.json.reconnect) && shutdown.json.reconnect > 0, shutdown.data);
    const how = await client.closed();
    assert.ok(['eof', 'reset'].includes(how), `no last chunk: ${how}`);
    assert.equal(client.cursor, id, 'the cursor is still the last event');
  }
  const { code, signal } = await broker.end();
  assert.equal(signal ?? code, 0);
  broker.check();
});

broker_test('without clients SIGTERM ends the broker at once', { args: ['--drain-delay-ms=0'] }, async (broker) => {
  broker.signal('SIGTERM');
  const { code } = await broker.end();
  assert.equal(code, 0);
});

broker_test('while it drains, the broker is not ready and says so', { args: ['--drain-delay-ms=20s'] }, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=c');
  assert.equal((await request(broker.ops, { path: '/readyz' })).status, 200);
  broker.signal('SIGTERM');
  const answer = await eventually(async () => {
    const ready = await request(broker.ops, { path: '/readyz' });
    return ready.status === 503 ? ready : undefined;
  }, '/readyz 503');
  assert.equal(answer.json.ready, false);
  assert.equal((await request(broker.ops, { path: '/healthz' })).status, 200);
  /* During the delay everything goes on: a load balancer needs the time. */
  const late = await subscribe(broker, '/sse?channels=c');
  await publish(broker, { channel: 'c', payload: 1 });
  await client.received(1);
  await late.received(1);
  broker.signal('SIGTERM');
  await broker.end();
  await client.closed();
});

broker_test('a second SIGTERM ends it now', { args: ['--drain-delay-ms=600s', '--drain-ms=3600s'], small: true }, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=c');
  broker.signal('SIGTERM');
  await eventually(async () => (await request(broker.ops, { path: '/readyz' })).status === 503, '/readyz 503');
  broker.signal('SIGTERM');
  await broker.end();
  broker.check();
  assert.ok(['eof', 'reset'].includes(await client.closed()));
});

/* A client that does not read keeps the broker draining, so that new requests can be made. */
async function draining(broker) {
  const stalled = await subscribe(broker, '/sse?channels=c');
  stalled.pause();
  const pad = 'x'.repeat(50_000);
  for (let i = 0; i < 200; i++) await publish(broker, { channel: 'c', payload: pad });
  broker.signal('SIGTERM');
  await eventually(async () => (await request(broker.ops, { path: '/readyz' })).status === 503, '/readyz 503');
  return stalled;
}

broker_test('a new EventSource meets a draining broker as a stream that ends', { args: ['--drain-delay-ms=0', '--drain-ms=120s', '--http-overload=stream'] }, async (broker) => {
  const stalled = await draining(broker);
  const refused = await eventually(async () => {
    const raw = await RawConnection.open(broker.http).catch(() => undefined);
    if (!raw) return undefined;
    raw.cut();
    const client = await SseClient.open(broker, '/sse?channels=c').catch(() => undefined);
    if (!client) return undefined;
    const how = await client.closed();
    return client.all.length === 0 ? { client, how } : undefined;
  }, 'a stream without events');
  assert.ok(refused.client.retry_ms > 0, 'retry');
  assert.equal(refused.client.comments.length, 1, 'one comment');
  const answer = await request(broker.http, { path: '/sse?channels=c', headers: { accept: 'application/json' } });
  assert_error(answer, 503);
  assert.match(answer.headers.get('retry-after'), /^\d+$/);
  const published = await post(broker, '/publish', '{"channel":"c","payload":1}');
  assert.equal(published.status, 503);
  stalled.cut();
  assert.equal((await broker.end()).code, 0);
});

broker_test('--http-overload=503 sends plain 503 to everyone', { args: ['--http-overload=503', '--max-clients=1'] }, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=c');
  const error = await SseClient.open(broker, '/sse?channels=c').then(() => undefined, (problem) => problem);
  assert.equal(error?.status, 503);
  client.cut();
});

broker_test('--drain-ms bounds the drain whatever clients do', { args: ['--drain-delay-ms=0', '--drain-ms=500'] }, async (broker) => {
  const stalled = await draining(broker);
  const { code, signal } = await broker.end();
  assert.equal(signal ?? code, 0);
  broker.check();
  stalled.cut();
});

broker_test('a broker that has many segments open ends as quickly', { args: ['--log-segment-bytes=2MiB', '--tail-bytes=2MiB', '--drain-delay-ms=0', '--drain-ms=0'], shards: 1 }, async (broker) => {
  const payload = 'x'.repeat(200_000);
  const places = [];
  for (let segment = 0; segment < 45; segment++) {
    await publish_lines(broker, Array.from({ length: 9 }, () => ({ channel: 'c', payload })));
    places.push(await publish(broker, { channel: 'c', payload }));
  }
  /* Each stops reading somewhere else. */
  const clients = await Promise.all(
    places.map(async (cursor) => {
      const client = await SseClient.open(broker, '/sse?channels=c', { cursor });
      client.pause();
      return client;
    }),
  );
  await eventually(async () => (await metric(broker, 'replayed_events_total')) >= 40, 'segments that are read');
  await broker.stop();
  for (const client of clients) client.cut();
});
