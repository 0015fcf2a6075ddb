// Idempotency-Key: a request that is sent again gets the answer of the first, and each of its events is in the log
// once; whatever happens between the two, and however many come at the same time. The log itself is read
// (logreader.mjs) to see what was taken.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { broker_test, temporary_directory } from './lib/broker.mjs';
import { RawConnection, assert_error, request } from './lib/http.mjs';
import { read_log } from './lib/logreader.mjs';
import { metric } from './lib/metrics.mjs';
import { post, publish } from './lib/publish.mjs';
import { seeded } from './lib/random.mjs';
import { eventually, pass_ms, patience_ms } from './lib/wait.mjs';

const ndjson = { 'content-type': 'application/x-ndjson' };
const partitions = 4;
const small = ['--log-segment-bytes=2MiB', '--drain-delay-ms=0']; /* the files are read whole here */
const four = { args: [`--log-partitions=${partitions}`, ...small] };

const keyed = (broker, key, body, { target = '/publish', headers = {} } = {}) =>
  post(broker, target, body, { headers: { ...headers, 'idempotency-key': key } });

/** The same on a connection of its own, so that any number comes at once. */
const keyed_alone = (broker, key, body, { target = '/publish', headers = {} } = {}) =>
  request(broker.http, { method: 'POST', path: target, body, headers: { ...headers, 'Idempotency-Key': key } });

/** How often each payload is in the log. */
function taken(broker) {
  const counts = new Map();
  for (const partition of read_log(broker.data, { live: true }).partitions) {
    for (const { payload } of partition.events) counts.set(payload, (counts.get(payload) ?? 0) + 1);
  }
  return counts;
}

function assert_each_once(broker, payloads) {
  const counts = taken(broker);
  for (const payload of payloads) {
    assert.equal(counts.get(String(payload)), 1, `${payload} is in the log once`);
    counts.delete(String(payload));
  }
  assert.deepEqual([...counts], [], 'nothing else is in the log');
}

/** A channel for each partition. */
async function channels_of(broker, count = partitions) {
  const found = new Map();
  for (let i = 0; found.size < count; i++) {
    const id = await publish(broker, { channel: `c${i}`, payload: 'probe' });
    found.set(Number(id.split('-')[1]), `c${i}`);
  }
  return Array.from({ length: count }, (_, p) => found.get(p));
}

const bodies = [
  { name: 'one', body: '{"channel":"a","payload":1}', payloads: [1] },
  { name: 'array', body: '[{"channel":"a","payload":2},{"channel":"b","payload":3},{"channel":"c","payload":4}]', payloads: [2, 3, 4] },
  { name: 'lines', body: '{"channel":"a","payload":5}\n\n{"channel":"b","payload":6}\r\n', payloads: [5, 6], headers: ndjson },
  { name: 'ids', body: '{"channel":"b","payload":7}\n{"channel":"c","payload":8}', payloads: [7, 8], headers: ndjson, target: '/publish?ids=1' },
  { name: 'none', body: '[]', payloads: [] },
];

for (const count of [1, partitions]) {
  broker_test(`a retry gets the same answer, ${count} partitions`, { args: [`--log-partitions=${count}`], small: true }, async (broker) => {
    const first = [];
    for (const { name, body, headers, target } of bodies) first.push(await keyed(broker, name, body, { headers, target }));
    for (const answer of first) assert.equal(answer.status, 202, answer.text);
    assert.match(first[0].text, /^\{"id":"[^"]+"\}\n$/);
    assert.match(first[2].text, /^\{"count":2,"first":"[^"]+","last":"[^"]+"\}\n$/);
    assert.equal(first[3].json.ids.length, 2);
    for (const { name, body, headers, target } of bodies) {
      const again = await keyed(broker, name, body, { headers, target });
      const before = first[bodies.findIndex((b) => b.name === name)];
      assert.equal(again.status, 202);
      assert.equal(again.text, before.text, name);
    }
    assert_each_once(broker, bodies.flatMap((b) => b.payloads));
    assert.equal(await metric(broker, 'idempotent_retries_total'), 4, 'the empty array had nothing to repeat');
    assert.equal(await metric(broker, 'events_total{source="http"}'), 8);
    assert.ok((await metric(broker, 'idempotency_keys')) >= 5);
  });
}

broker_test('fifty at once are one', four, async (broker) => {
  for (const { name, body, headers, target } of bodies.slice(0, 4)) {
    const answers = await Promise.all(Array.from({ length: 50 }, () => keyed_alone(broker, name, body, { headers, target })));
    for (const answer of answers) {
      assert.equal(answer.status, 202, answer.text);
      assert.equal(answer.text, answers[0].text);
    }
  }
  assert_each_once(broker, bodies.flatMap((b) => b.payloads));
});

broker_test('a retry while the first runs waits for it', { args: ['--log-sync=always', '--test-fault=delay_ms=700;kind=sync;path=*.seg;times=forever'] }, async (broker) => {
  const body = '{"channel":"a","payload":1}';
  const order = [];
  const ask = (name) => keyed_alone(broker, 'k', body).then((answer) => (order.push(name), answer));
  const first = ask('first');
  /* The second is sent once the first is in the log's file: it is not synced then. */
  await eventually(() => taken(broker).size === 1, 'the first in the file');
  assert.deepEqual(order, [], 'it is not answered before it is durable');
  const answers = await Promise.all([first, ask('second')]);
  assert.equal(answers[0].status, 202);
  assert.equal(answers[1].text, answers[0].text);
  assert_each_once(broker, [1]);
});

broker_test('another body is 422, wherever it would go', four, async (broker) => {
  const channels = await channels_of(broker);
  const before = taken(broker).get('"probe"');
  for (const [p, channel] of channels.entries()) {
    const key = `key-${p}`;
    const body = JSON.stringify({ channel, payload: `first ${p}` });
    const first = await keyed(broker, key, body);
    assert.equal(first.status, 202);
    for (const [q, other] of channels.entries()) {
      assert_error(await keyed(broker, key, JSON.stringify({ channel: other, payload: `other ${q}` })), 422, 'Idempotency-Key', key, 'another body', 'one body');
    }
    assert_error(await keyed(broker, key, `${body} `), 422, key);
    assert_error(await keyed(broker, key, body, { headers: ndjson }), 422, key);
    assert_error(await keyed(broker, key, JSON.stringify(channels.map((c) => ({ channel: c })))), 422, key);
    assert_error(await keyed(broker, key, '[]'), 422, key);
    assert.equal((await keyed(broker, key, body)).text, first.text);
  }
  const counts = taken(broker);
  assert.deepEqual([...counts], [['"probe"', before], ...channels.map((_, p) => [`"first ${p}"`, 1])]);
  assert.equal(await metric(broker, 'publish_errors_total{code="422"}'), partitions * (partitions + 4));
});

broker_test('two bodies with one key at the same time: one is taken, whole', four, async (broker) => {
  const channels = await channels_of(broker);
  const winners = [];
  for (let round = 0; round < 20; round++) {
    const body = (who) => JSON.stringify(channels.map((channel, i) => ({ channel, payload: `${round} ${who} ${i}` })));
    const answers = await Promise.all(Array.from({ length: 10 }, (_, i) => keyed_alone(broker, `key-${round}`, body(i % 2))));
    const winner = answers.findIndex((answer) => answer.status === 202) % 2;
    assert.deepEqual(answers.map((answer) => answer.status), answers.map((_, i) => (i % 2 === winner ? 202 : 422)));
    winners.push(winner);
  }
  const counts = taken(broker);
  for (const [round, winner] of winners.entries()) {
    for (let i = 0; i < partitions; i++) {
      assert.equal(counts.get(`"${round} ${winner} ${i}"`), 1);
      assert.equal(counts.get(`"${round} ${1 - winner} ${i}"`), undefined);
    }
  }
});

/* A disk that is full for one of four partitions, while a file exists. */
const full = path.join(temporary_directory(), 'full');
process.on('exit', () => fs.rmSync(path.dirname(full), { recursive: true, force: true }));
broker_test(
  'a retry completes what one of several partitions refused',
  { args: [...four.args, '--publish-wait-ms=100ms', `--test-fault=error=ENOSPC;kind=write|preallocate;path=*/2/*.seg;times=forever;while=${full}`] },
  async (broker) => {
    const channels = await channels_of(broker);
    fs.writeFileSync(full, '');
    const bodies_of = (round) => JSON.stringify(channels.flatMap((channel) => [{ channel, payload: `${round} ${channel} x` }, { channel, payload: `${round} ${channel} y` }]));
    const refused = [];
    for (let round = 0; round < 3; round++) {
      const answer = await keyed(broker, `key-${round}`, bodies_of(round));
      assert_error(answer, 503, '2 of 8 events were not taken');
      assert.deepEqual(answer.json.ids.map((id) => id === null), [0, 1, 2, 3].flatMap((p) => [p === 2, p === 2]));
      refused.push(answer.json.ids);
    }
    fs.unlinkSync(full);
    for (const [round, ids] of refused.entries()) {
      const whole = await eventually(async () => {
        const answer = await keyed(broker, `key-${round}`, bodies_of(round));
        return answer.status === 202 && answer;
      }, 'the disk has room again');
      assert.deepEqual(whole.json.ids.map((id, i) => (ids[i] === null ? null : id)), ids, 'what was taken stays where it was');
      assert.equal((await keyed(broker, `key-${round}`, bodies_of(round))).text, whole.text);
    }
    const counts = taken(broker);
    counts.delete('"probe"');
    assert.equal(counts.size, 3 * 8);
    for (const [payload, count] of counts) assert.equal(count, 1, payload);
  },
);

for (const how of ['stop', 'kill']) {
  for (const count of [1, partitions]) {
    broker_test(`keys outlive a ${how === 'kill' ? 'kill -9' : 'clean restart'}, ${count} partitions`, { args: [`--log-partitions=${count}`, ...small] }, async (broker) => {
      const channels = await channels_of(broker, count);
      const first = [];
      for (let life = 0; life < 3; life++) {
        for (const { name, body, headers, target } of bodies.slice(0, 4)) {
          const answer = await keyed(broker, `${life} ${name}`.replace(' ', '-'), body, { headers, target });
          assert.equal(answer.status, 202, answer.text);
          first.push({ key: `${life}-${name}`, body, headers, target, answer });
        }
        await broker[how]();
        await broker.restart();
        for (const { key, body, headers, target, answer } of first) {
          const again = await keyed(broker, key, body, { headers, target });
          assert.equal(again.status, 202, again.text);
          assert.equal(again.text, answer.text, key);
          for (const channel of channels) {
            assert_error(await keyed(broker, key, JSON.stringify({ channel, payload: 'other' })), 422, key);
          }
        }
      }
      const counts = taken(broker);
      counts.delete('"probe"');
      assert.deepEqual([...counts].sort(), [1, 2, 3, 4, 5, 6, 7, 8].map((payload) => [String(payload), 3]), 'once for each life');
    });
  }
}

/* A batch takes several writes; one of them fails, and the broker is killed: the log holds a part of it. */
const failing = (n) => `--test-fault=error=EIO;kind=write;path=*.seg;n=${n}`;
broker_test('a retry appends what a crash has cut off', { args: [...small, failing(2)] }, async (broker) => {
  const events = Array.from({ length: 6000 }, (_, i) => ({ channel: `c${i % 7}`, payload: `${i} ${'x'.repeat(100)}` }));
  const body = JSON.stringify(events);
  let before = 0;
  for (const next of [4, 1_000_000]) {
    assert_error(await keyed(broker, 'k', body), 503, 'not taken');
    await broker.kill();
    const held = taken(broker).size;
    assert.ok(held > before && held < events.length, `a part of the batch is there: ${held}`);
    before = held;
    await broker.restart({ args: [failing(next)] });
  }
  const whole = await keyed(broker, 'k', body);
  assert.equal(whole.status, 202, whole.text);
  const offsets = whole.json.ids.map((id) => Number(id.split('-')[2]));
  assert.equal(offsets.filter((offset, i) => i > 0 && offset !== offsets[i - 1] + 1).length, 2, 'it lies in three pieces');
  assert_each_once(broker, events.map((event) => JSON.stringify(event.payload)));
  assert_error(await keyed(broker, 'k', `${body} `), 422, 'another body');
  await broker.kill();
  await broker.restart();
  assert.equal((await keyed(broker, 'k', body)).text, whole.text);
});

broker_test('keys of sealed segments outlive a restart, too', { args: [...small, '--tail-bytes=2MiB'] }, async (broker) => {
  const asked = [];
  for (const how of ['kill', 'stop']) {
    for (let i = 0; i < 40; i++) {
      const request = { key: `${how}-${i}`, body: JSON.stringify({ channel: 'a', payload: `${how} ${i} ${'x'.repeat(150_000)}` }) };
      asked.push({ ...request, text: (await keyed(broker, request.key, request.body)).text });
    }
    const files = fs.readdirSync(path.join(broker.data, '0')).filter((name) => name.endsWith('.seg'));
    assert.ok(files.length > 3, `several segments: ${files}`);
    await broker[how]();
    await broker.restart();
    for (const { key, body, text } of asked) {
      assert.equal((await keyed(broker, key, body)).text, text, key);
      assert_error(await keyed(broker, key, '[]'), 422, key);
    }
  }
});

broker_test('a key is new again when its window is over', { args: ['--idempotency-window-ms=300ms'] }, async (broker) => {
  const body = '{"channel":"a","payload":1}';
  const started = Date.now();
  const first = await keyed(broker, 'k', body);
  const later = await eventually(async () => {
    const answer = await keyed(broker, 'k', body);
    assert.equal(answer.status, 202);
    return answer.text !== first.text && answer;
  }, 'a new id');
  assert.ok(Date.now() - started >= 300, 'not before');
  assert.notEqual(later.json.id, first.json.id);
  assert.equal((await keyed(broker, 'k', body)).text, later.text, 'and it is known from then on');
  await eventually(async () => (await keyed(broker, 'k', '{"channel":"a","payload":2}')).status === 202, 'any body');
  await eventually(async () => (await publish(broker, { channel: 'a' })) && (await metric(broker, 'idempotency_keys')) === 0, 'no key is held');
  assert.equal(await metric(broker, 'idempotency_evicted_total'), 0);
});

broker_test('beyond --idempotency-keys-max the oldest key is forgotten', { args: ['--idempotency-keys-max=10'] }, async (broker) => {
  const body = '{"channel":"a","payload":1}';
  const ids = [];
  for (let i = 0; i < 15; i++) ids.push((await keyed(broker, `key-${i}`, body)).json.id);
  assert.equal(await metric(broker, 'idempotency_keys'), 10);
  assert.equal(await metric(broker, 'idempotency_evicted_total'), 5);
  for (let i = 5; i < 15; i++) assert.equal((await keyed(broker, `key-${i}`, body)).json.id, ids[i]);
  const again = (await keyed(broker, 'key-0', body)).json.id;
  assert.ok(!ids.includes(again), 'it is new');
  await broker.kill();
  await broker.restart();
  assert.equal((await keyed(broker, 'key-0', body)).json.id, again);
  for (let i = 6; i < 15; i++) assert.equal((await keyed(broker, `key-${i}`, body)).json.id, ids[i]);
  assert.equal(await metric(broker, 'idempotency_keys'), 10);
});

broker_test('what a key may be, and what does not use one up', four, async (broker) => {
  const body = '{"channel":"a","payload":1}';
  for (const key of ['k'.repeat(256), 'a b', 'caf\u00e9', '']) {
    const answer = await keyed(broker, key, body);
    assert_error(answer, 400, 'Idempotency-Key', '1 to 255 bytes of visible ASCII');
    assert.equal(answer.json.error.code, 'invalid_idempotency_key');
  }
  assert.equal((await keyed(broker, 'k'.repeat(255), body)).status, 202);
  assert_error(await keyed(broker, 'key', '{"channel":'), 400, 'JSON');
  assert_error(await keyed(broker, 'key', '[{"channel":"a"},{"channel":"b c"}]'), 400, 'element 1');
  const lines = await keyed(broker, 'key', '{"channel":"a"}\n{"channel":"b"}\n{}\n', { headers: ndjson });
  assert_error(lines, 400, 'line 3', '0 events were taken');
  assert.deepEqual([lines.json.count, lines.json.first, lines.json.last], [0, null, null]);
  assert.equal((await keyed(broker, 'key', '{"channel":"a","payload":2}')).status, 202, 'the key is free all the same');
  assert_each_once(broker, [1, 2]);
});

broker_test('lines with a key are bounded as an array is', { args: ['--max-body-bytes=64KiB', '--max-event-bytes=16KiB'] }, async (broker) => {
  const line = `{"channel":"a","payload":"${'x'.repeat(1000)}"}\n`;
  const body = line.repeat(Math.ceil((64 << 10) / line.length) + 1);
  assert_error(await keyed(broker, 'k', body, { headers: ndjson }), 413, 'body');
  const raw = await RawConnection.open(broker.http);
  raw.send(`POST /publish HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n`);
  raw.send(`${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`);
  assert_error(await raw.read_response({ method: 'POST' }), 413, 'body');
  raw.cut();
  assert.equal(taken(broker).size, 0);
  assert.equal((await post(broker, '/publish', body, { headers: ndjson })).status, 202, 'without one they are a stream');
});

/** Sends a request and cuts the connection somewhere: before it was whole, behind it, or behind the answer. */
async function send_and_cut(broker, random, key, { body, headers = {}, target = '/publish' }) {
  const raw = await RawConnection.open(broker.http);
  let head = `POST ${target} HTTP/1.1\r\nHost: a\r\nIdempotency-Key: ${key}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n`;
  for (const [name, value] of Object.entries(headers)) head += `${name}: ${value}\r\n`;
  const bytes = Buffer.from(`${head}\r\n${body}`);
  const whole = random.next() < 0.8;
  raw.send(whole ? bytes : bytes.subarray(0, random.between(1, bytes.length - 1)));
  if (random.next() < 0.7) await pass_ms(random.between(0, 4)); /* where the cut falls is random */
  raw.cut();
}

for (const count of [1, partitions]) {
  broker_test(
    `connections cut before the answer, under load, with crashes, ${count} partitions`,
    { args: [`--log-partitions=${count}`], shards: 3, timeout: 8 * patience_ms },
    async (broker, t) => {
      const random = seeded(t);
      const requests_each = 40;
      const publishers = 16;
      const expected = [];
      let ended = 0;
      const again = async (make) => {
        for (;;) {
          try {
            return await make();
          } catch (error) {
            if (error.code === undefined && !/connection (ended|was)/.test(error.message)) throw error;
            await pass_ms(10); /* the broker is away */
          }
        }
      };
      const publisher = async (who) => {
        for (let n = 0; n < requests_each; n++) {
          const events = Array.from({ length: random.pick([1, 3, 50]) }, (_, i) => ({ channel: `c${random.between(0, 30)}`, payload: `${who} ${n} ${i} ${'x'.repeat(random.between(0, 200))}` }));
          expected.push(...events.map((event) => JSON.stringify(event.payload)));
          const lines = random.next() < 0.3;
          const sent = lines
            ? { body: events.map((event) => JSON.stringify(event)).join('\n'), headers: ndjson, target: '/publish?ids=1' }
            : { body: JSON.stringify(events) };
          const key = `${who}-${n}`;
          for (let cuts = random.between(0, 3); cuts > 0; cuts--) await again(() => send_and_cut(broker, random, key, sent));
          const answers = [];
          for (let i = 0; i < 2; i++) {
            answers.push(await again(async () => {
              const answer = await keyed_alone(broker, key, sent.body, sent);
              if (answer.status === 503) throw Object.assign(new Error(answer.text), { code: 'EAGAIN' });
              return answer;
            }));
          }
          assert.equal(answers[0].status, 202, answers[0].text);
          assert.equal(answers[1].text, answers[0].text);
          assert.equal(answers[0].json.ids.length, events.length);
        }
        ended++;
      };
      const crashing = async () => {
        for (let i = 0; i < 3 && ended < publishers; i++) {
          await pass_ms(random.between(100, 400));
          await broker.kill();
          await broker.restart();
        }
      };
      await Promise.all([...Array.from({ length: publishers }, (_, who) => publisher(who)), crashing()]);
      assert_each_once(broker, expected);
    },
  );
}
