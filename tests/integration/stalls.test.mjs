// Many clients of which some, or all, stop reading under load: the memory stays within the bound that the broker
// states, the others go on, and every event is counted afterwards.
//
// A client's kernel takes up to 6 MB that it does not read. Where the system allows a network namespace, the tests run in
// one whose receive buffers are small, so that clients stall as soon as they stop reading.
//
//   TT_LONG=1   1,000 clients on 400 channels at 20,000 events/s, 100 of them stalled for 10 s; 9,500 that all stall

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { broker_test } from './lib/broker.mjs';
import { Sequence } from './lib/counter.mjs';
import { request } from './lib/http.mjs';
import { LightClient, own_memory_bytes } from './lib/light.mjs';
import { publish_lines } from './lib/publish.mjs';
import { eventually, pass_ms, patience_ms } from './lib/wait.mjs';

if (process.env.TT_STALLS_INSIDE === undefined) {
  const run = (script, options) => spawnSync('unshare', ['-rn', 'sh', '-c', `ip link set lo up && echo 4096 16384 16384 >/proc/sys/net/ipv4/tcp_rmem${script}`], options);
  if (run('', { stdio: 'ignore' }).status === 0) {
    const self = `exec '${process.execPath}' '${fileURLToPath(import.meta.url)}'`;
    process.exit(run(` && ${self}`, { stdio: 'inherit', env: { ...process.env, TT_STALLS_INSIDE: '1' } }).status ?? 1);
  }
}

const long = process.env.TT_LONG === '1';
const sanitized = /\/(asan|tsan)\//.test(process.env.TT_BINARY ?? '');
const size = long
  ? { clients: 1000, channels: 400, stalled: 100, rate: 20_000, seconds: 10, all: 9500, memory: ['--catchup-bytes=32MiB'] } /* all that stall are on one shard, 210 KB each */
  : { clients: 120, channels: 48, stalled: 24, rate: 4_000, seconds: 3, all: sanitized ? 200 : 800, memory: [] };
const wait_ms = patience_ms * (long ? 10 : 1);
const pad = 'x'.repeat(60); /* about 200 bytes on the wire */

/** Four channels for each client, spread evenly. */
function own_channels(i, channels = size.channels) {
  return [0, 1, 2, 3].map((k) => `c.${(i * 4 + k) % channels}`);
}

/** So few that a client misses more of its own than the kernels take. */
const few = 48;

async function connect(broker, count, query = () => '') {
  const clients = [];
  for (let from = 0; from < count; from += 200) {
    const some = Array.from({ length: Math.min(200, count - from) }, (_, k) => from + k);
    clients.push(...(await Promise.all(some.map((i) => LightClient.open(broker, `/sse?channels=${own_channels(i)}${query(i)}`)))));
  }
  return clients;
}

/** Publishes on all channels in turn at the rate, for that long; `during(ms)` is told how far it is. */
async function load(broker, sequence, seconds, during = () => {}) {
  const started = Date.now();
  let sent = 0;
  let i = 0;
  while (sent < size.rate * seconds) {
    const batch = Math.min(500, size.rate * seconds - sent);
    await publish_lines(broker, Array.from({ length: batch }, () => sequence.event(`c.${i++ % size.channels}`, { payload: { pad } })));
    sent += batch;
    await during((sent * 1000) / size.rate);
    const ahead_ms = (sent * 1000) / size.rate - (Date.now() - started);
    if (ahead_ms > 1) await pass_ms(ahead_ms); /* the rate is part of the load */
  }
}

function assert_exact(client, sequence, i, what) {
  assert.deepEqual({ lost: client.lost, doubled: client.doubled }, { lost: 0, doubled: 0 }, `${what} ${i}`);
  for (const channel of own_channels(i)) assert.equal((client.next.get(channel) ?? 1) - 1, sequence.newest(channel), `${what} ${i}: ${channel}`);
}

/** Until it has the newest of each of its channels; its end is a failure. */
async function complete(client, sequence, i) {
  const all = () => own_channels(i).every((channel) => (client.next.get(channel) ?? 1) - 1 === sequence.newest(channel));
  await client.when(() => client.ended || all(), `everything of client ${i}`, wait_ms);
  assert.ok(all(), `client ${i} was ended: ${client.controls}`);
}

async function figures(broker) {
  const [metrics, status] = await Promise.all([request(broker.ops, { path: '/metrics' }), request(broker.ops, { path: '/status' })]);
  const value = (name) => Number(metrics.text.split('\n').find((line) => line.startsWith(`tickertape_${name} `))?.split(' ')[1]);
  return { value, memory: JSON.parse(status.text).memory };
}

/** What the broker may have: of bounds that are not what is tried here, only what is used counts. */
async function assert_within_bound(broker, t, what) {
  const { value, memory } = await figures(broker);
  const { bounds } = memory;
  const unused = bounds.publish + bounds.connections + bounds.subscriptions
    - value('publish_bytes') - value('connection_bytes') - value('subscription_bytes');
  const bound = memory.boundBytes - unused;
  const own = await own_memory_bytes(broker.pid);
  t.diagnostic(`${what}: ${(own / 1e6).toFixed(1)} MB, bound ${(bound / 1e6).toFixed(1)} of ${(memory.boundBytes / 1e6).toFixed(1)} MB, `
    + `frames ${(value('frame_bytes') / 1e6).toFixed(1)}, outboxes ${(value('outbox_bytes') / 1e6).toFixed(1)}, catch-up ${(value('catchup_bytes') / 1e6).toFixed(1)}`);
  assert.equal(memory.boundBytes, value('memory_bound_bytes'));
  if (!sanitized) assert.ok(own <= 1.1 * bound, `${what}: ${own} bytes, bound ${bound}`);
  return { value, bounds };
}

const tight = ['--channels-max=2000', '--idempotency-keys-max=1000', '--tail-bytes=2MiB', '--log-segment-bytes=16MiB', '--frame-bytes=4MiB', '--catchup-bytes=4MiB', '--stall-ms=1h'];

for (const policy of process.env.TT_ONLY_ALL ? [] : ['replay', 'conflate', 'disconnect']) {
  broker_test(`of many clients some stop reading (${policy}): every event is counted, the others lose nothing`,
    { args: [...tight, ...size.memory], timeout: 40 * patience_ms }, async (broker, t) => {
      const states = { replay: 'catchup', conflate: 'conflating', disconnect: 'closing' };
      const sequence = new Sequence();
      const stalls = (i) => i % Math.floor(size.clients / size.stalled) === 0;
      const clients = await connect(broker, size.clients, (i) => (stalls(i) ? `&policy=${policy}` : ''));
      const stalled = clients.filter((_, i) => stalls(i));
      for (const client of stalled) client.pause();
      await load(broker, sequence, size.seconds);
      /* Until each of them is behind: what its kernel takes is not the broker's. */
      const behind = async () => (await figures(broker)).value(`clients{transport="sse",state="${states[policy]}"}`);
      for (let more = 0; more < 60 && (await behind()) < stalled.length; more++) await load(broker, sequence, 1);
      await assert_within_bound(broker, t, 'all stalled');
      assert.ok((await behind()) >= stalled.length, 'each of them is behind');
      for (const client of stalled) client.resume();
      if (policy === 'disconnect') {
        /* What was begun is sent to its end; then they are closed. */
        await Promise.all(stalled.map((client) => client.when(() => client.ended, 'the end of the stream', wait_ms)));
        await eventually(async () => (await figures(broker)).value('closes_total{reason="slow"}') === stalled.length, 'closes_total{reason="slow"}');
        for (const [i, client] of clients.entries()) {
          if (!stalls(i)) continue;
          clients[i] = await LightClient.open(broker, `/sse?channels=${own_channels(i)}`, { cursor: client.cursor, counts: client.next });
          assert.equal(client.lost + client.doubled, 0);
        }
      }
      await publish_lines(broker, Array.from({ length: size.channels }, (_, k) => sequence.event(`c.${k}`)));
      await Promise.all(clients.map((client, i) => complete(client, sequence, i)));
      for (const [i, client] of clients.entries()) {
        if (stalls(i) && policy === 'conflate') {
          /* complete(): the newest of each channel came; never backwards, and what was left out was told. */
          assert.equal(client.doubled, 0);
          assert.ok(client.lost > 0 && client.controls.includes('gap'), `client ${i}: ${client.lost} left out, ${client.controls}`);
        } else {
          assert_exact(client, sequence, i, stalls(i) ? 'a client that stalled' : 'a client that read');
          assert.equal(client.controls.filter((c) => c !== 'connected').length, 0, 'neither gap nor resync');
        }
        client.cut();
      }
    });
}

broker_test('clients that never read what they missed stay within the memory for catching up',
  { shards: 1, args: [...tight, '--catchup-bytes=1MiB', '--log-segment-bytes=2MiB'] }, async (broker) => {
    const sequence = new Sequence();
    for (let i = 0; i < 20_000; i += 500) {
      await publish_lines(broker, Array.from({ length: 500 }, (_, k) => sequence.event(`c.${(i + k) % few}`, { payload: { pad } })));
    }
    const clients = Array.from({ length: 40 }, (_, i) => new LightClient(broker, `/sse?channels=${own_channels(i, few)}&from=earliest`));
    for (const client of clients) client.pause();
    /* Until their sockets take nothing more. */
    let sent = -1;
    await eventually(async () => {
      const { value, memory } = await figures(broker);
      const held = value('catchup_bytes');
      assert.ok(held <= memory.bounds.catchup, `${held} bytes are held, ${memory.bounds.catchup} are the bound`);
      const before = sent;
      sent = value('sent_bytes_total');
      return value('clients{transport="sse",state="catchup"}') === clients.length && sent === before;
    }, 'all of them to stall');
    for (const client of clients) client.cut();
  });

broker_test('clients that never read what they missed do not keep others from what they missed',
  { shards: 1, args: [...tight, '--catchup-bytes=1MiB', '--log-segment-bytes=2MiB'], timeout: 4 * patience_ms }, async (broker) => {
    const sequence = new Sequence();
    for (let i = 0; i < 20_000; i += 500) {
      await publish_lines(broker, Array.from({ length: 500 }, (_, k) => sequence.event(`c.${(i + k) % few}`, { payload: { pad } })));
    }
    /* So many that a batch of each would fill the memory many times. */
    const stalled = [];
    for (let i = 0; i < 300; i++) {
      const client = new LightClient(broker, `/sse?channels=${own_channels(i, few)}&from=earliest`);
      client.pause();
      stalled.push(client);
    }
    await eventually(async () => (await figures(broker)).value('clients{transport="sse",state="catchup"}') === stalled.length, 'all of them to be there');
    const reader = await LightClient.open(broker, `/sse?channels=${own_channels(0)}&from=earliest`);
    await complete(reader, sequence, 0);
    assert_exact(reader, sequence, 0, 'the client that reads');
    for (const client of [...stalled, reader]) client.cut();
  });

broker_test('clients that never read their snapshot do not keep others from theirs',
  { shards: 1, args: [...tight, '--catchup-bytes=1MiB', '--log-segment-bytes=2MiB'], timeout: 4 * patience_ms }, async (broker) => {
    const sequence = new Sequence();
    for (let i = 0; i < 2000; i += 500) {
      await publish_lines(broker, Array.from({ length: 500 }, (_, k) => sequence.event(`c.${i + k}`, { payload: { pad: pad.repeat(4) } })));
    }
    const stalled = [];
    for (let i = 0; i < 300; i++) {
      const client = new LightClient(broker, '/sse?channels=*&from=snapshot');
      client.pause();
      stalled.push(client);
    }
    await eventually(async () => (await figures(broker)).value('clients{transport="sse",state="snapshot"}') > 0, 'some of them to be there');
    const reader = await LightClient.open(broker, '/sse?channels=*&from=snapshot');
    await reader.when(() => reader.ended || reader.controls.includes('snapshot-end'), 'the end of its snapshot', patience_ms);
    assert.ok(!reader.ended, `it was ended: ${reader.controls}`);
    for (const client of [...stalled, reader]) client.cut();
  });

broker_test('clients that all stall at once stay within the memory bound, and some of them are followed to the end',
  { args: [...tight, `--max-clients=${size.all + 10}`], timeout: 40 * patience_ms }, async (broker, t) => {
    const sequence = new Sequence();
    const clients = await connect(broker, size.all);
    for (const client of clients) client.pause();
    await assert_within_bound(broker, t, 'before');
    let last = Date.now();
    const look = async () => {
      if (Date.now() - last < 1000) return;
      last = Date.now();
      await assert_within_bound(broker, t, 'under load');
    };
    const seconds = long ? 30 : 5;
    await load(broker, sequence, seconds, look);
    let { value } = await assert_within_bound(broker, t, 'after the load');
    assert.equal(value('clients{transport="sse",state="closing"}'), 0);
    assert.ok(value('replays_total') > 0, 'there was more than the outboxes hold');
    const sample = clients.map((client, i) => [client, i]).filter(([, i]) => i % Math.floor(size.all / 50) === 0);
    for (const [client] of sample) client.resume();
    await publish_lines(broker, Array.from({ length: size.channels }, (_, k) => sequence.event(`c.${k}`)));
    /* Where begun batches of clients that read nothing fill the memory for catching up, some of those are closed. */
    await Promise.all(sample.map(async (own) => {
      const [client, i] = own;
      const all = () => own_channels(i).every((channel) => (client.next.get(channel) ?? 1) - 1 === sequence.newest(channel));
      await client.when(() => client.ended || all(), `everything of client ${i}, or its end`, wait_ms);
      if (all()) return;
      own[0] = await LightClient.open(broker, `/sse?channels=${own_channels(i)}`, { cursor: client.cursor, counts: client.next });
      await complete(own[0], sequence, i);
    }));
    for (const [client, i] of sample) assert_exact(client, sequence, i, 'a client that stalled');
    await assert_within_bound(broker, t, 'while they catch up');
    for (const client of [...clients, ...sample.map(([client]) => client)]) client.cut();
    /* A shard's figures are of the end of some turn of its own. */
    await eventually(async () => {
      ({ value } = await figures(broker));
      return value('connections{shard="0"}') + value('connections{shard="1"}') <= 2
        && value('outbox_bytes') === 0 && value('catchup_bytes') === value('replay_index_bytes');
    }, 'every client to be gone, and nothing to be left in outboxes and of catching up');
  });
