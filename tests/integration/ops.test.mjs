// The listener for operators.

import assert from 'node:assert/strict';
import { broker_test } from './lib/broker.mjs';
import { RawConnection, assert_error, request } from './lib/http.mjs';
import { metric } from './lib/metrics.mjs';
import { post, publish, publish_all } from './lib/publish.mjs';
import { subscribe } from './lib/sse.mjs';
import { eventually } from './lib/wait.mjs';

const line = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (NaN|[+-]Inf|-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)$/;

/** Reads Prometheus text strictly: a Map from "name{labels}" to number. */
function parse_metrics(text) {
  assert.ok(text.endsWith('\n'));
  const values = new Map();
  const types = new Map();
  for (const row of text.slice(0, -1).split('\n')) {
    const comment = /^# (HELP|TYPE) ([a-zA-Z0-9_:]+) (.+)$/.exec(row);
    if (comment) {
      if (comment[1] === 'TYPE') {
        assert.ok(!types.has(comment[2]), `one TYPE for ${comment[2]}`);
        assert.match(comment[3], /^(counter|gauge|histogram)$/);
        types.set(comment[2], comment[3]);
      }
      continue;
    }
    const m = line.exec(row);
    assert.ok(m, `a line of metrics: ${row}`);
    assert.ok(m[1].startsWith('tickertape_'), m[1]);
    const base = types.has(m[1]) ? m[1] : m[1].replace(/_(bucket|sum|count)$/, '');
    assert.ok(types.has(base), `TYPE before ${row}`);
    const key = m[2] ? `${m[1]}{${m[2]}}` : m[1];
    assert.ok(!values.has(key), `once: ${key}`);
    values.set(key, Number(m[3]));
  }
  return values;
}

async function metrics(broker) {
  const answer = await request(broker.ops, { path: '/metrics' });
  assert.equal(answer.status, 200);
  assert.match(answer.headers.get('content-type'), /^text\/plain/);
  return parse_metrics(answer.text);
}

const sum = (values, name, ...labels) =>
  [...values].reduce((total, [key, value]) => (key.split('{')[0] === name && labels.every((l) => key.includes(l)) ? total + value : total), 0);

broker_test('/healthz and /readyz', { small: true }, async (broker) => {
  assert.equal((await request(broker.ops, { path: '/healthz' })).status, 200);
  const ready = await request(broker.ops, { path: '/readyz' });
  assert.equal(ready.status, 200);
  assert.deepEqual(ready.json, { ready: true, degraded: false, reasons: [] });
});

broker_test('/status tells what runs', { args: ['--log-partitions=3'] }, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=c');
  await publish(broker, { channel: 'c', payload: 1 });
  const { json } = await request(broker.ops, { path: '/status' });
  assert.equal(json.history, broker.history);
  assert.equal(json.io, broker.io);
  assert.equal(typeof json.version, 'string');
  assert.equal(json.shards.length, 2);
  assert.equal(json.partitions.length, 3);
  client.cut();
});

broker_test('/metrics counts what happens', { small: true }, async (broker) => {
  const before = await metrics(broker);
  const clients = await Promise.all(Array.from({ length: 5 }, () => subscribe(broker, '/sse?channels=c')));
  await publish_all(broker, [{ channel: 'c', payload: 1 }, { channel: 'c', payload: 2 }, { channel: 'd', payload: 3 }]);
  await publish(broker, { channel: 'c', payload: 4 });
  await post(broker, '/publish', 'rubbish');
  for (const client of clients) await client.received(3);
  const now = await eventually(async () => {
    const values = await metrics(broker);
    return sum(values, 'tickertape_deliveries_total') >= 15 ? values : undefined;
  }, 'deliveries');
  const grown = (name, ...labels) => sum(now, name, ...labels) - sum(before, name, ...labels);
  assert.equal(sum(now, 'tickertape_clients', 'transport="sse"'), 5);
  assert.equal(grown('tickertape_connects_total', 'transport="sse"'), 5);
  assert.equal(grown('tickertape_events_total'), 4);
  assert.equal(grown('tickertape_deliveries_total', 'transport="sse"'), 15);
  assert.ok(grown('tickertape_publish_errors_total') >= 1);
  assert.ok(grown('tickertape_sent_bytes_total') > 1000);
  assert.ok(sum(now, 'tickertape_memory_bound_bytes') > 0);
  assert.ok([...now.keys()].some((key) => key.startsWith('tickertape_build_info{')));
  for (const client of clients) client.cut();
  await eventually(async () => sum(await metrics(broker), 'tickertape_clients') === 0, 'no clients left');
  assert.ok(sum(await metrics(broker), 'tickertape_closes_total') >= 5);
});

broker_test('resumed clients are counted as such', {}, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=c');
  await publish(broker, { channel: 'c', payload: 1 });
  await client.received(1);
  client.cut();
  const again = await subscribe(broker, '/sse?channels=c', { keep: client });
  await eventually(async () => sum(await metrics(broker), 'tickertape_connects_total', 'resumed="true"') === 1, 'connects_total{resumed="true"}');
  again.cut();
});

broker_test('operators and clients have listeners of their own', {}, async (broker) => {
  for (const path of ['/metrics', '/status', '/readyz']) {
    assert_error(await request(broker.http, { path }), 404);
  }
  for (const path of ['/sse', '/publish', '/nothing']) {
    assert.equal((await request(broker.ops, { path })).status, 404, path);
  }
  assert.equal((await request(broker.ops, { method: 'POST', path: '/metrics', body: '' })).status, 405);
});

broker_test('the operations listener survives what is no HTTP', {}, async (broker) => {
  for (const bytes of ['\0\0\0\0\r\n\r\n', 'GET /metrics\r\n\r\n', `GET /${'a'.repeat(100_000)} HTTP/1.1\r\n\r\n`]) {
    const raw = await RawConnection.open(broker.ops);
    raw.send(bytes);
    await raw.closed();
  }
  assert.equal((await request(broker.ops, { path: '/healthz' })).status, 200);
});

broker_test('what passes from a publish to the socket is measured, one delivery in 64', { shards: 1 }, async (broker) => {
  const clients = [await subscribe(broker, '/sse?channels=c'), await subscribe(broker, '/sse?channels=c')];
  for (let i = 0; i < 10; i++) await publish_all(broker, Array.from({ length: 64 }, (_, k) => ({ channel: 'c', payload: { i, k } })));
  for (const client of clients) await client.received(640);
  /* A shard's figures are of the end of some turn of its own. */
  await eventually(async () => (await metric(broker, 'publish_to_socket_seconds_count')) === 20, '1,280 deliveries to be measured');
  const seconds = await metric(broker, 'publish_to_socket_seconds_sum');
  assert.ok(seconds > 0 && seconds < 60, `${seconds} s in all`);
  for (const client of clients) client.cut();
});
