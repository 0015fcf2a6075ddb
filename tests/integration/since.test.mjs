// from=<unix ms>: each partition's first record that the broker took at or after that time, and everything
// behind it; also where clocks went backwards in between.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import test from 'node:test';
import { Broker, broker_test, temporary_directory } from './lib/broker.mjs';
import { publish, publish_all, publish_lines } from './lib/publish.mjs';
import { seeded } from './lib/random.mjs';
import { subscribe } from './lib/sse.mjs';
import { dump, retime, ttlog_json } from './lib/ttlog.mjs';

const skip = process.env.TT_SMALL === '1' ? 'not in the small set' : false;
const pad = 'x'.repeat(700);
const position = (id) => id.split('-').slice(1).map(Number);

/** Where a stream starts, by the cursor of its `connected`: the next offset of each partition. */
async function starts(broker, path) {
  const client = await subscribe(broker, path);
  const connected = await client.connected();
  client.cut();
  assert.ok(connected.id, '`connected` carries the start');
  const told = await ttlog_json('cursor', broker.data, connected.id);
  assert.equal(told.resync, null);
  return told.partitions.map((p) => p.start);
}

test('every time starts where a naive search says, with clocks that went backwards', { skip, timeout: 300_000 }, async (t) => {
  const random = seeded(t);
  const partitions = 3;
  const broker = await Broker.start({
    data: temporary_directory(),
    args: [
      `--log-partitions=${partitions}`, '--log-segment-bytes=2MiB', '--tail-bytes=2MiB', '--log-retention-ms=87600h',
    ],
  });
  try {
    for (let n = 0; n < 16_000; n += 500) {
      await publish_lines(broker, Array.from({ length: 500 }, (_, i) => ({ channel: `c.${(n + i) % 97}`, payload: { pad } })));
    }
    await broker.stop();
    /* A clock that goes on by some ms, stands still, and now and then jumps in either direction. */
    const times = [];
    let now = (Date.now() - 86_400_000) * 1000;
    for (let p = 0; p < partitions; p++) {
      times.push([]);
      for (let n = 0; n < 16_000; n++) {
        const what = random.between(0, 999);
        if (what < 700) now += random.between(0, 3_000);
        else if (what === 999) now += random.between(-20_000_000, 20_000_000);
        times[p].push(now);
      }
    }
    await retime(broker.data, (partition, offset) => times[partition][offset]);
    assert.equal((await ttlog_json('verify', broker.data)).code, 0);
    await broker.restart();
    const ends = (await ttlog_json('ls', broker.data)).partitions.map((p) => p.next);
    assert.ok((await ttlog_json('ls', broker.data)).partitions.every((p) => p.segments.length >= 2));
    const expected = (ms) =>
      times.map((list, p) => {
        const found = list.slice(0, ends[p]).findIndex((us) => us >= ms * 1000);
        return found < 0 ? ends[p] : found;
      });
    const asked = [0, 1, Date.now() + 86_400_000];
    for (let i = 0; i < 60; i++) {
      const p = random.between(0, partitions - 1);
      asked.push(Math.floor(times[p][random.between(0, ends[p] - 1)] / 1000) + random.between(-1, 1));
    }
    for (let p = 0; p < partitions; p++) {
      const newest = times[p].slice(0, ends[p]).reduce((a, b) => Math.max(a, b));
      asked.push(Math.floor(newest / 1000), Math.floor(newest / 1000) + 1);
    }
    for (const ms of asked) {
      assert.deepEqual(await starts(broker, `/sse?channels=*&from=${ms}`), expected(ms), `from=${ms}`);
    }
    /* ttlog agrees. */
    const made = await ttlog_json('cursor', broker.data, `--at=${asked[5]}`);
    const told = await ttlog_json('cursor', broker.data, made.cursor);
    assert.deepEqual(told.partitions.map((p) => p.start), expected(asked[5]));
    /* What comes is everything from there on, in the log's order, and live events behind it. */
    const ms = Math.floor(times[1][Math.floor(ends[1] * 0.9)] / 1000);
    const from = expected(ms);
    const client = await subscribe(broker, `/sse?channels=*&from=${ms}`);
    const ids = await publish_all(broker, [{ channel: 'c.1', payload: 1 }, { channel: 'c.2', payload: 2 }]);
    const count = from.reduce((sum, offset, p) => sum + ends[p] - offset, 0) + ids.length;
    const events = await client.received(count);
    const next = [...from];
    for (const event of events) {
      const [p, offset] = position(event.json.id);
      assert.equal(offset, next[p]++, `in partition ${p}`);
    }
    assert.equal(client.all.filter((event) => event.control).length, 1, 'connected is the only control event');
    client.cut();
    /* A narrow client has its own partition only. */
    const narrow = await subscribe(broker, `/sse?channels=c.1&from=${ms}`);
    const first = (await narrow.received(1))[0];
    const [p, offset] = position(first.json.id);
    const mine = (await dump(broker.data, '--channel=c.1')).map((event) => position(event.id)[1]);
    assert.equal(offset, mine.find((each) => each >= from[p]));
    narrow.cut();
    /* A cursor that cannot be kept: told, and on from that time. */
    const strange = await subscribe(broker, `/sse?channels=*&from=${ms}&cursor=rubbish`);
    assert.equal((await strange.control('resync')).json.reason, 'history');
    assert.equal((await strange.received(count)).length, count);
    strange.cut();
  } finally {
    await broker.dispose();
    fs.rmSync(broker.data, { recursive: true, force: true });
  }
});

test('a search that meets bad bytes starts there, and the client is told', { skip }, async () => {
  const broker = await Broker.start({ data: temporary_directory(), args: ['--log-segment-bytes=2MiB', '--tail-bytes=2MiB'] });
  try {
    for (let n = 0; n < 8000; n += 500) {
      await publish_lines(broker, Array.from({ length: 500 }, () => ({ channel: 'c', payload: { pad } })));
    }
    await broker.stop();
    const base = (Date.now() - 60_000) * 1000;
    await retime(broker.data, (_, offset) => base + offset * 1000);
    /* In the oldest of several segments, which a start does not read. */
    const raw = (await dump(broker.data, '--raw')).filter((record) => record.class === 'event');
    const bad = raw[100];
    const file = `${broker.data}/0/${bad.file}`;
    const bytes = fs.readFileSync(file);
    bytes[bad.byte + 100] ^= 1;
    fs.writeFileSync(file, bytes);
    await broker.restart();
    const client = await subscribe(broker, `/sse?channels=c&from=${base / 1000 + 200}`);
    await client.when((c) => position(c.events.at(-1)?.json.id ?? '-0-0')[1] === 7999, 'the last event');
    assert.deepEqual(client.all.slice(0, 2).map((event) => event.type), ['connected', 'resync'], 'told before anything else');
    assert.equal((await fetch(`http://${broker.ops.host}:${broker.ops.port}/healthz`)).status, 200);
    client.cut();
  } finally {
    await broker.dispose();
    fs.rmSync(broker.data, { recursive: true, force: true });
  }
});

for (const sync of ['interval', 'always']) {
  broker_test(
    `while events are published without a pause, the join has neither gap nor double (${sync})`,
    {
      args: ['--log-partitions=2', '--log-segment-bytes=2MiB', '--tail-bytes=2MiB', `--log-sync=${sync}`],
      timeout: 300_000,
    },
    async (broker, t) => {
      const random = seeded(t);
      let stop = false;
      let published = 0;
      const publishing = [0, 1].map(async () => {
        while (!stop) {
          const batch = Array.from({ length: 50 }, () => ({ channel: `c.${published++ % 31}`, payload: { pad } }));
          await publish_lines(broker, batch);
        }
      });
      const clients = [];
      const started = Date.now();
      try {
        for (let i = 0; i < 12; i++) {
          /* Not later than what somebody has seen: then there is such a record. */
          const seen = clients.at(-1)?.client.events.at(-1)?.json.timestamp ?? started;
          const ms = random.pick([seen, random.between(started - 5, seen)]);
          const client = await subscribe(broker, `/sse?channels=*&from=${ms}`);
          clients.push({ client, ms });
          await client.received(random.between(1, 200));
        }
      } finally {
        stop = true;
        await Promise.all(publishing);
      }
      const records = (await dump(broker.data, '--raw')).filter((record) => record.class === 'event');
      const of = [0, 1].map((p) => records.filter((record) => record.partition === p));
      for (const { client, ms } of clients) {
        const wanted = of.map((list) => {
          const first = list.findIndex((record) => record.taken_us >= ms * 1000);
          return list.slice(first).map((record) => record.offset);
        });
        await client.when(
          (c) => [0, 1].every((p) => wanted[p].length === 0 || c.events.some((event) => event.json.id.endsWith(`-${p}-${wanted[p].at(-1)}`))),
          'the last event of each partition',
        );
        for (const p of [0, 1]) {
          const got = client.events.map((event) => position(event.json.id)).filter(([q]) => q === p).map(([, offset]) => offset);
          /* Where nothing so late is durable yet, it starts at what becomes durable next. */
          const early = sync === 'always' ? got.indexOf(wanted[p][0]) : 0;
          assert.ok(early >= 0, `partition ${p} from=${ms}: the first is missing`);
          const whole = Array.from({ length: early }, (_, k) => wanted[p][0] - early + k).concat(wanted[p]);
          assert.deepEqual(got, whole, `partition ${p} from=${ms}`);
        }
        assert.equal(client.all.filter((event) => event.control).length, 1);
        client.cut();
      }
    },
  );
}

broker_test('from is refused where it is no time', { small: true }, async (broker) => {
  for (const bad of ['now', '-5', '1.5', '1e3', '99999999999999999999']) {
    const client = await fetch(`${broker.url}/sse?from=${bad}`);
    assert.equal(client.status, 400, bad);
    assert.match((await client.json()).error.message, /live, earliest, snapshot, or a time in unix milliseconds/);
  }
  const client = await subscribe(broker, `/sse?channels=c&from=${Date.now()}`);
  await publish(broker, { channel: 'c', payload: 1 });
  assert.equal((await client.received(1))[0].json.payload, 1);
  client.cut();
});
