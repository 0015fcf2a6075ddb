// Clients that behave badly on purpose or by accident: they trickle, read in bursts, shut down one direction, vanish.
// The others notice nothing, every event is counted, and why a connection ended is counted, too.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import net from 'node:net';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { broker_test } from './lib/broker.mjs';
import { Counter, Sequence } from './lib/counter.mjs';
import { RawConnection } from './lib/http.mjs';
import { metric } from './lib/metrics.mjs';
import { publish_lines } from './lib/publish.mjs';
import { seeded } from './lib/random.mjs';
import { subscribe } from './lib/sse.mjs';
import { eventually, patience_ms } from './lib/wait.mjs';

const small = ['--log-segment-bytes=2MiB', '--tail-bytes=2MiB', '--outbox-bytes=16KiB', '--frame-bytes=1MiB', '--catchup-bytes=1MiB'];
const pad = 'x'.repeat(2000);

function counting() {
  const counter = new Counter();
  return { counter, on_event: (event) => event.control || counter.take(event) };
}

const closes = (broker, reason) => metric(broker, `closes_total{reason="${reason}"}`);

async function flood(broker, sequence, bytes) {
  for (let sent = 0; sent < bytes; sent += 200 * 2150) {
    await publish_lines(broker, Array.from({ length: 200 }, () => sequence.event('c', { payload: { pad } })));
  }
}

/** A stream that is read from the kernel one byte at a time: `text` is what came. */
async function trickle(broker, every_ms) {
  const one = { text: '', ended: false };
  const socket = net.connect({
    ...broker.http,
    onread: {
      buffer: Buffer.alloc(1),
      callback(bytes, buffer) {
        one.text += buffer.toString('latin1', 0, bytes);
        setTimeout(() => socket.resume(), every_ms);
        return false; /* pauses */
      },
    },
  });
  socket.on('error', () => (one.ended = true)).on('close', () => (one.ended = true));
  socket.write('GET /sse?channels=c HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n');
  await eventually(() => one.text.length > 0, 'the first byte');
  one.cut = () => socket.destroy();
  return one;
}

broker_test('a client that takes a byte at a time holds up nobody, is closed as stalled, and resumes where it was', { args: [...small, '--stall-ms=1s'] }, async (broker) => {
  const sequence = new Sequence();
  const other = counting();
  const reader = await subscribe(broker, '/sse?channels=c', other);
  const slow = await trickle(broker, 1);
  await eventually(() => /^id: (\S+)$/m.test(slow.text.replaceAll('\r', '')), 'the cursor of connected');
  await flood(broker, sequence, 12 << 20);
  await reader.received(sequence.total, patience_ms * 2);
  other.counter.assert_exact('the client that reads');
  /* The kernel opens its window by whole segments: seen from the broker nothing is taken for a long time. */
  await eventually(async () => (await closes(broker, 'stalled')) === 1, 'closes_total{reason="stalled"}');
  const own = counting();
  const cursor = slow.text.replaceAll('\r', '').match(/^id: (\S+)$/gm).at(-1).slice(4);
  const received = slow.text.match(/\nid: /g).length - 1;
  if (received > 0) own.counter.next.set('c', received + 1);
  slow.cut();
  reader.cut();
  /* It resumes where no time limit depends on how busy this machine is. */
  await broker.stop();
  await broker.restart({ args: ['--stall-ms=1h'] });
  const again = await subscribe(broker, '/sse?channels=c', { cursor, ...own });
  await again.when(() => own.counter.newest('c') === sequence.newest('c'), 'the rest', patience_ms * 2);
  own.counter.assert_exact('the client that trickled');
  again.cut();
});

broker_test('a request that trickles is ended by its time, not by its bytes', { args: ['--header-timeout-ms=500ms', '--body-timeout-ms=500ms'], small: true }, async (broker) => {
  const head = await RawConnection.open(broker.http);
  const text = `GET /sse?channels=c HTTP/1.1\r\nHost: ${'h'.repeat(10_000)}\r\n\r\n`;
  let sent = 0;
  const dripping = setInterval(() => head.send(text[sent++]), 10);
  const body = await RawConnection.open(broker.http);
  body.send(`POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n[`);
  const more = setInterval(() => body.send(' '), 10);
  await eventually(async () => (await closes(broker, 'header_timeout')) === 1 && (await closes(broker, 'body_timeout')) === 1, 'both to be ended');
  clearInterval(dripping);
  clearInterval(more);
  head.cut();
  body.cut();
  const client = await subscribe(broker, '/sse?channels=c');
  client.cut();
});

broker_test('clients that read in bursts get everything in order', { args: small }, async (broker, t) => {
  const random = seeded(t);
  const sequence = new Sequence();
  const clients = [];
  for (let i = 0; i < 4; i++) {
    const own = counting();
    clients.push({ own, client: await subscribe(broker, '/sse?channels=c', own) });
  }
  for (let round = 0; round < (process.env.TT_LONG === '1' ? 100 : 12); round++) {
    for (const { client } of clients) {
      if (random.between(0, 2) === 0) client.resume();
      else client.pause();
    }
    await flood(broker, sequence, random.between(1, 3) * 430_000);
  }
  for (const { client } of clients) client.resume();
  for (const { client, own } of clients) {
    await client.when(() => own.counter.newest('c') === sequence.newest('c'), 'the newest', patience_ms * 2);
    own.counter.assert_exact();
    client.cut();
  }
});

broker_test('a client that shuts down its sending side has ended, in every state; its cursor still counts', { args: small, small: true }, async (broker) => {
  const sequence = new Sequence();
  const live = counting();
  const idle = await subscribe(broker, '/sse?channels=c', live);
  const behind = counting();
  const stalled = await subscribe(broker, '/sse?channels=c', behind);
  stalled.pause();
  await flood(broker, sequence, 12 << 20);
  await idle.received(sequence.total, patience_ms * 2);
  idle.raw.half_close();
  await eventually(async () => (await closes(broker, 'peer')) === 1, 'closes_total{reason="peer"} of the live one');
  assert.equal(await metric(broker, 'clients{transport="sse",state="live"}'), 0);
  /* The other one does not read: the broker hears its end all the same. */
  stalled.raw.half_close();
  await eventually(async () => (await closes(broker, 'peer')) === 2, 'closes_total{reason="peer"} of the stalled one');
  await eventually(async () => (await metric(broker, 'clients{transport="sse",state="catchup"}')) === 0, 'no client is left');
  stalled.resume();
  await stalled.closed();
  await flood(broker, sequence, 1 << 20);
  for (const [old, own] of [[idle, live], [stalled, behind]]) {
    const again = await subscribe(broker, '/sse?channels=c', { keep: old, ...own });
    await again.when(() => own.counter.newest('c') === sequence.newest('c'), 'the rest', patience_ms * 2);
    own.counter.assert_exact();
    again.cut();
  }
});

broker_test('a client that sends without end into its stream is not kept in memory', { args: small }, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=c');
  const before = await metric(broker, 'connection_bytes');
  const junk = Buffer.alloc(1 << 20, 'x');
  let open = true;
  client.raw.socket.on('close', () => (open = false));
  for (let i = 0; i < 32 && open; i++) client.raw.socket.write(junk);
  const sequence = new Sequence();
  const own = counting();
  const other = await subscribe(broker, '/sse?channels=c', own);
  await flood(broker, sequence, 1 << 20);
  await other.received(sequence.total);
  assert.ok((await metric(broker, 'connection_bytes')) - before < 1 << 20, 'what it sends is not kept');
  client.cut();
  other.cut();
});

const here = path.dirname(fileURLToPath(import.meta.url));
const namespace = spawnSync('unshare', ['-rn', 'ip', 'link', 'set', 'lo', 'up'], { stdio: 'ignore' }).status === 0;
const small_set = process.env.TT_SMALL === '1';

test('a client whose machine vanishes is closed after --user-timeout-ms', {
  skip: small_set ? 'not in the small set' : namespace ? false : 'no network namespaces here',
  timeout: 4 * patience_ms,
}, () => {
  const run = spawnSync('unshare', ['-rn', process.execPath, path.join(here, 'lib/vanish.mjs')], { encoding: 'utf8', timeout: 3 * patience_ms });
  assert.equal(run.status, 0, `${run.stdout}${run.stderr}`);
  const { before, after } = JSON.parse(run.stdout);
  assert.equal(before.live, 2);
  assert.equal(after.live, 1, 'the one that is there stays');
  assert.equal(after.reset, before.reset + 1, 'closes_total{reason="reset"}');
});
