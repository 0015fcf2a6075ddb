// Going past each bound: what is used is shown, never much more than the bound, whoever is beyond it gets the answer
// that broker/BOUNDS.md names, the others are served, and everything comes back when the pressure is gone.

import assert from 'node:assert/strict';
import test from 'node:test';
import { broker_test, run_to_end } from './lib/broker.mjs';
import { Counter, Sequence } from './lib/counter.mjs';
import { RawConnection, request } from './lib/http.mjs';
import { metric } from './lib/metrics.mjs';
import { post, publish, publish_lines } from './lib/publish.mjs';
import { SseClient, subscribe } from './lib/sse.mjs';
import { eventually, patience_ms } from './lib/wait.mjs';

const MiB = 1 << 20;
const small = ['--tail-bytes=2MiB', '--log-segment-bytes=4MiB'];
const pad = 'x'.repeat(2000);

function counting() {
  const counter = new Counter();
  return { counter, on_event: (event) => event.control || counter.take(event) };
}

async function flood(broker, sequence, bytes, channel = 'c') {
  for (let sent = 0; sent < bytes; sent += 200 * 2150) {
    await publish_lines(broker, Array.from({ length: 200 }, () => sequence.event(channel, { payload: { pad } })));
  }
}

const closes = (broker, reason) => metric(broker, `closes_total{reason="${reason}"}`);

/** Everything on the channel, once. */
async function assert_all(client, own, sequence, channel = 'c') {
  await client.when(() => own.counter.newest(channel) === sequence.newest(channel), 'the newest', patience_ms * 2);
  own.counter.assert_exact();
}

broker_test('the bound is the sum of its parts, and each part follows its option', { args: ['--shards=2', '--drain-delay-ms=0'] }, async (broker) => {
  const memory = async (b) => JSON.parse((await request(b.ops, { path: '/status' })).text).memory;
  const { boundBytes, bounds } = await memory(broker);
  assert.equal(Object.values(bounds).reduce((sum, part) => sum + part, 0), boundBytes);
  assert.equal(await metric(broker, 'memory_bound_bytes'), boundBytes);
  for (const [part, option, more] of [
    ['frames', '--frame-bytes=128MiB', 2 * 64 * MiB],
    ['catchup', '--catchup-bytes=64MiB', 2 * 32 * MiB],
    ['publish', '--publish-bytes=128MiB', 2 * 64 * MiB],
    ['connections', '--connection-bytes=64MiB', 2 * 32 * MiB],
    ['subscriptions', '--subscription-bytes=256MiB', 2 * 128 * MiB],
    ['log', '--tail-bytes=32MiB', 16 * MiB],
  ]) {
    await broker.stop();
    await broker.restart({ args: [option] });
    const now = (await memory(broker)).bounds;
    assert.ok(now[part] - bounds[part] >= more, `${option}: ${part} ${bounds[part]} -> ${now[part]}`);
    await broker.stop();
    await broker.restart({ args: [option.replace(/=.*/, { log: '=16MiB', frames: '=64MiB', catchup: '=32MiB', publish: '=64MiB', connections: '=32MiB', subscriptions: '=128MiB' }[part])] });
  }
});

broker_test('--frame-bytes: the oldest holders of frames fall back to the log', { args: [...small, '--frame-bytes=1MiB', '--outbox-bytes=64MiB', '--shards=1'], small: true }, async (broker) => {
  const sequence = new Sequence();
  const stalled = [];
  for (let i = 0; i < 3; i++) {
    const own = counting();
    stalled.push([await subscribe(broker, '/sse?channels=c', own), own]);
  }
  for (const [client] of stalled) client.pause();
  const own = counting();
  const reads = await subscribe(broker, '/sse?channels=c', own);
  let most = 0;
  for (let i = 0; i < 24; i++) {
    await flood(broker, sequence, MiB / 2);
    most = Math.max(most, (await metric(broker, 'frame_bytes')) + (await metric(broker, 'outbox_bytes')));
  }
  await assert_all(reads, own, sequence);
  assert.ok(most <= MiB + 64 * 1024, `frames and outboxes: ${most}`);
  assert.ok((await metric(broker, 'replays_total')) >= 3, 'they fell back, although their outboxes had room');
  for (const [client, counted] of stalled) {
    client.resume();
    await assert_all(client, counted, sequence);
    client.cut();
  }
  reads.cut();
});

broker_test('--outbox-bytes: one client alone falls back at its own bound', { args: [...small, '--outbox-bytes=16KiB', '--shards=1'] }, async (broker) => {
  const sequence = new Sequence();
  const own = counting();
  const client = await subscribe(broker, '/sse?channels=c', own);
  client.pause();
  let most = 0;
  for (let i = 0; i < 24; i++) {
    await flood(broker, sequence, MiB / 2);
    most = Math.max(most, await metric(broker, 'frame_bytes'));
  }
  assert.equal(await metric(broker, 'clients{transport="sse",state="catchup"}'), 1);
  assert.ok(most <= 16 * 1024 + 4096 * 2200, 'no more than its outbox, and one turn');
  client.resume();
  await assert_all(client, own, sequence);
  client.cut();
});

broker_test('--catchup-bytes: clients that catch up wait for each other, and all get everything', { args: [...small, '--catchup-bytes=1MiB', '--shards=1'] }, async (broker) => {
  const sequence = new Sequence();
  await flood(broker, sequence, 5 * MiB);
  const clients = [];
  for (let i = 0; i < 14; i++) {
    const own = counting();
    const client = await SseClient.open(broker, '/sse?channels=c&from=earliest', own);
    if (i % 2) client.pause();
    clients.push([client, own]);
  }
  let most = 0;
  const look = async () => {
    most = Math.max(most, await metric(broker, 'catchup_bytes'));
  };
  await look();
  for (const [client, own] of clients.filter((_, i) => i % 2 === 0)) {
    await look();
    await assert_all(client, own, sequence);
  }
  for (const [client] of clients) client.resume();
  for (const [client, own] of clients) {
    await look();
    if (client.ended || !(await client.when((c) => c.ended || own.counter.newest('c') === sequence.newest('c') || undefined, 'all, or its end', patience_ms * 2)) || client.ended) {
      const again = await subscribe(broker, '/sse?channels=c', { keep: client, ...own });
      await assert_all(again, own, sequence);
      again.cut();
    }
    own.counter.assert_exact();
    client.cut();
  }
  assert.ok(most > 0 && most <= MiB + 256 * 1024, `catchup_bytes ${most}`);
  await eventually(async () => (await metric(broker, 'catchup_bytes')) <= (await metric(broker, 'replay_index_bytes')), 'nothing is held any more');
});

broker_test('--tail-bytes: while the disk is slow, publishers wait, then get 503; everything that was taken comes', {
  args: ['--tail-bytes=2MiB', '--log-segment-bytes=4MiB', '--publish-wait-ms=100ms', '--test-fault=delay_ms=500;kind=write;path=*.seg;times=12'],
}, async (broker) => {
  const received = new Map();
  const client = await subscribe(broker, '/sse?channels=c', { on_event: (event) => event.control || received.set(event.json.payload.n, (received.get(event.json.payload.n) ?? 0) + 1) });
  const taken = [];
  let refused = 0;
  for (let n = 0; n < 2000 && (refused === 0 || n % 16 !== 0); n += 16) {
    const answers = await Promise.all(Array.from({ length: 16 }, (_, k) => post(broker, '/publish', JSON.stringify({ channel: 'c', payload: { n: n + k, pad: 'z'.repeat(200_000) } }))));
    for (const [k, answer] of answers.entries()) {
      if (answer.status === 202) taken.push(n + k);
      else {
        assert.equal(answer.status, 503, answer.text);
        assert.ok(answer.headers['retry-after']);
        refused++;
      }
    }
  }
  assert.ok(refused > 0, 'somebody was refused');
  const last = await eventually(async () => {
    const answer = await post(broker, '/publish', JSON.stringify({ channel: 'c', payload: { n: 'last' } }));
    return answer.status === 202;
  }, 'the disk to keep up again');
  assert.ok(last);
  await client.when(() => received.has('last'), 'the last one', patience_ms * 2);
  for (const n of taken) assert.equal(received.get(n), 1, `event ${n} came once`);
  client.cut();
});

broker_test('--publish-bytes: one body more is refused with 503 and comes through later', { args: [...small, '--publish-bytes=1MiB', '--max-body-bytes=1MiB', '--shards=1'], small: true }, async (broker) => {
  const open = [];
  for (let i = 1; i <= 2; i++) {
    const raw = await RawConnection.open(broker.http);
    raw.send(`POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: 400000\r\n\r\n[${' '.repeat(390_000)}`);
    open.push(raw);
    await eventually(async () => (await metric(broker, 'publish_bytes')) === i * 400_000, `${i} bodies to be held`);
  }
  const refused = await post(broker, '/publish', JSON.stringify([{ channel: 'c', payload: 'y'.repeat(200_000) }, { channel: 'c', payload: 'y'.repeat(200_000) }]));
  assert.equal(refused.status, 503);
  assert.ok(refused.headers['retry-after'], 'with Retry-After');
  /* Sent in part: at the refusal 700,000 bytes at least are to come, more than are dropped to keep a connection. */
  const partly = await RawConnection.open(broker.http);
  partly.send(`POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n[${' '.repeat(200_000)}`);
  const head = await partly.read_until('\r\n\r\n');
  assert.match(String(head), /^HTTP\/1\.1 503 /);
  assert.match(String(head), /\r\nConnection: close\r\n/i, 'the rest of the body is too much to be waited for');
  partly.cut();
  assert.equal(await metric(broker, 'publish_bytes'), 800_000, 'what was refused holds nothing');
  for (const raw of open) raw.cut();
  await eventually(async () => (await metric(broker, 'publish_bytes')) === 0, 'the memory to come back');
  await publish(broker, { channel: 'c', payload: 'y'.repeat(200_000) });
});

broker_test('--publish-bytes bounds clients that open with a body, too', { args: [...small, '--publish-bytes=1MiB', '--max-body-bytes=1MiB', '--shards=1'] }, async (broker) => {
  const open = [];
  for (let i = 0; i < 20; i++) {
    const raw = await RawConnection.open(broker.http);
    raw.send(`POST /sse HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nContent-Length: 65000\r\n\r\n{"channels":["c"${' '.repeat(100)}`);
    open.push(raw);
  }
  await eventually(async () => (await metric(broker, 'publish_bytes')) > 900_000, 'the bodies to be counted');
  await assert.rejects(SseClient.open(broker, '/sse', { method: 'POST', body: `{"channels":["c"],"x":"${'y'.repeat(60_000)}"}` }), { status: 503 });
  for (const raw of open) raw.cut();
  await eventually(async () => (await metric(broker, 'publish_bytes')) === 0, 'the memory to come back');
  const client = await subscribe(broker, '/sse', { method: 'POST', body: `{"channels":["c"],"x":"${'y'.repeat(60_000)}"}` });
  assert.equal(await metric(broker, 'publish_bytes'), 0, 'an open client holds none of it');
  client.cut();
});

broker_test('--connection-bytes: heads that do not end are closed when they are too much, others are served', { args: ['--connection-bytes=1MiB', '--header-timeout-ms=10m', '--shards=1'], small: true }, async (broker) => {
  const open = [];
  for (let i = 0; i < 120; i++) {
    const raw = await RawConnection.open(broker.http);
    raw.send(`GET /sse?channels=c HTTP/1.1\r\nHost: x\r\nX-Pad: ${'p'.repeat(14_000)}`);
    open.push(raw);
  }
  await eventually(async () => (await closes(broker, 'overload')) > 0, 'closes_total{reason="overload"}');
  const used = await metric(broker, 'connection_bytes');
  assert.ok(used <= MiB + 200 * 2048, `connection_bytes ${used}`);
  const own = counting();
  const client = await subscribe(broker, '/sse?channels=c', own);
  const sequence = new Sequence();
  await publish(broker, sequence.event('c'));
  await client.received(1);
  for (const raw of open) raw.cut();
  await eventually(async () => (await metric(broker, 'connection_bytes')) < 4096, 'the memory to come back');
  client.cut();
});

broker_test('--subscription-bytes: who would follow too much is told to come later; who follows goes on', { args: ['--subscription-bytes=256KiB', '--shards=1', '--http-overload=503'], small: true }, async (broker) => {
  const channels = (i) => JSON.stringify({ channels: Array.from({ length: 200 }, (_, k) => `channel.${i}.${k}`) });
  const clients = [];
  const refused = await eventually(async () => {
    try {
      clients.push(await subscribe(broker, '/sse', { method: 'POST', body: channels(clients.length) }));
    } catch (error) {
      return error;
    }
    return undefined;
  }, 'a refusal');
  assert.equal(refused.status, 503, refused.message);
  assert.match(refused.message, /subscriptions/);
  assert.ok(clients.length > 0);
  const used = await metric(broker, 'subscription_bytes');
  assert.ok(used >= 256 * 1024 && used < 256 * 1024 + 200 * 320, `subscription_bytes ${used}`);
  /* Changing a stream is no way around it, but following less always works. */
  const session = clients[0].all[0].json.session;
  const change = (list) => post(broker, '/subscribe', JSON.stringify({ session, channels: list }));
  assert.equal((await change(Array.from({ length: 300 }, (_, k) => `more.${k}`))).status, 503);
  assert.equal((await change(['channel.0.0', 'c'])).status, 200);
  await publish(broker, { channel: 'c', payload: { n: 1 } });
  await clients[0].received(1);
  for (const client of clients) client.cut();
  await eventually(async () => (await metric(broker, 'clients{transport="sse",state="live"}')) === 0, 'the clients to be gone');
  const again = await subscribe(broker, '/sse', { method: 'POST', body: channels(99) });
  again.cut();
});

test('--publish-bytes below --max-body-bytes is refused at the start', async () => {
  const { code, stderr } = await run_to_end(['--check', '--publish-bytes=1MiB', '--max-body-bytes=8MiB']);
  assert.notEqual(code, 0);
  assert.match(stderr, /--publish-bytes.*--max-body-bytes/);
});
