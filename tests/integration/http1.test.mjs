// HTTP/1 as bytes: what a client library would hide, against the built broker.

import assert from 'node:assert/strict';
import { broker_test } from './lib/broker.mjs';
import { RawConnection, assert_error, request } from './lib/http.mjs';
import { publish } from './lib/publish.mjs';
import { seeded } from './lib/random.mjs';
import { subscribe } from './lib/sse.mjs';

const event = (n) => JSON.stringify({ channel: 'http.test', payload: n });

/** A whole POST /publish as text, counted or in chunks of `chunk` bytes. */
function post(body, { fields = '', chunk = 0, tail = '0\r\n\r\n' } = {}) {
  const head = `POST /publish HTTP/1.1\r\nHost: t\r\n${fields}`;
  if (chunk === 0) return `${head}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
  let text = `${head}Transfer-Encoding: chunked\r\n\r\n`;
  for (let at = 0; at < body.length; at += chunk) {
    const part = body.slice(at, at + chunk);
    text += `${part.length.toString(16)}\r\n${part}\r\n`;
  }
  return text + tail;
}

const get = (path, fields = '') => `GET ${path} HTTP/1.1\r\nHost: t\r\n${fields}\r\n`;

const json = (answer) => JSON.parse(answer.body.toString('utf8'));

function offset_of(answer) {
  assert.equal(answer.status, 202, answer.body.toString('utf8'));
  return Number(json(answer).id.split('-')[2]);
}

/** Sends bytes on a connection of its own and reads everything until the broker ends it, in order. */
async function all_of(broker, bytes) {
  const raw = await RawConnection.open(broker.http);
  raw.send(bytes);
  const text = (await raw.read_all()).toString('latin1');
  assert.equal(raw.ended, 'eof', `ended in order, after ${text}`);
  raw.cut();
  return text;
}

const statuses = (text) => [...text.matchAll(/^HTTP\/1\.1 (\d{3}) /gm)].map((m) => Number(m[1]));

broker_test('one connection serves request after request, also those sent ahead', { small: true }, async (broker) => {
  const raw = await RawConnection.open(broker.http);
  raw.send(post(event(1)));
  const first = await raw.read_response();
  assert.equal(first.headers.get('connection'), undefined);
  assert.match(first.headers.get('date'), /^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/);
  const at = offset_of(first);
  raw.send(post(event(2)) + post(event(3), { chunk: 5 }) + get('/nowhere') + post(event(4)));
  assert.equal(offset_of(await raw.read_response()), at + 1);
  assert.equal(offset_of(await raw.read_response()), at + 2);
  assert_error(await raw.read_response(), 404, '/nowhere');
  assert.equal(offset_of(await raw.read_response()), at + 3);
  raw.send(post(event(5), { fields: 'Connection: close\r\n' }) + post(event(6)));
  const last = await raw.read_response();
  assert.equal(last.headers.get('connection'), 'close');
  assert.equal(offset_of(last), at + 4);
  assert.equal((await raw.read_all()).length, 0, 'what follows Connection: close is not answered');
  assert.equal(await publish(broker, { channel: 'http.test', payload: 7 }), `${broker.history}-0-${at + 5}`);
});

broker_test('however the bytes are cut, the answers are the same', {}, async (broker, t) => {
  const random = seeded(t);
  const text = [
    post(event('counted')),
    post(event('chunked'), { chunk: 7, tail: '0\r\nX-Trailer: a\r\n\r\n' }),
    post('{"channel":', {}),
    get('/nowhere'),
    'OPTIONS /publish HTTP/1.1\r\nHost: t\r\n\r\n',
    post(event('last'), { fields: 'Connection: close\r\n' }),
  ].join('');
  const expected = [202, 202, 400, 404, 204, 202];
  assert.deepEqual(statuses(await all_of(broker, text)), expected);
  const slowly = await RawConnection.open(broker.http);
  await slowly.send_slowly(text);
  assert.deepEqual(statuses((await slowly.read_all()).toString('latin1')), expected);
  for (let round = 0; round < 20; round++) {
    const raw = await RawConnection.open(broker.http);
    for (let from = 0; from < text.length; ) {
      const size = random.between(1, 120);
      raw.send(text.slice(from, from + size));
      from += size;
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.deepEqual(statuses((await raw.read_all()).toString('latin1')), expected);
    raw.cut();
  }
});

broker_test('HEAD, OPTIONS, methods and paths that do not exist', { args: ['--demo'] }, async (broker) => {
  const raw = await RawConnection.open(broker.http);
  raw.send(get('/demo/').replace('GET', 'HEAD') + get('/demo/'));
  const head = await raw.read_response({ method: 'HEAD' });
  const page = await raw.read_response();
  assert.equal(head.status, 200);
  assert.equal(page.status, 200);
  assert.equal(head.headers.get('content-length'), String(page.body.length));
  assert.match(page.headers.get('content-type'), /^text\/html/);
  raw.send(get('/demo/', `If-None-Match: "x", ${page.headers.get('etag')}\r\n`));
  assert.equal((await raw.read_response()).status, 304);
  raw.send(get('/sse').replace('GET', 'HEAD'));
  const stream = await raw.read_response({ method: 'HEAD' });
  assert.equal(stream.status, 200);
  assert.match(stream.headers.get('content-type'), /^text\/event-stream/);
  raw.send(get('/publish'));
  const refused = await raw.read_response();
  assert_error(refused, 405, 'GET', 'POST');
  assert.equal(refused.headers.get('allow'), 'POST, OPTIONS');
  raw.send('OPTIONS /sse HTTP/1.1\r\nHost: t\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n');
  const options = await raw.read_response();
  assert.equal(options.status, 204);
  assert.equal(options.headers.get('allow'), 'GET, HEAD, POST, OPTIONS');
  assert.equal((await raw.read_response()).status, 204);
  raw.send('POST /publish HTTP/1.1\r\nHost: t\r\n\r\n');
  assert_error(await raw.read_response(), 411, 'Content-Length');
  raw.send(get('/demo/../publish'));
  assert_error(await raw.read_response(), 404);
  raw.send(get('/%', 'Connection: close\r\n'));
  assert_error(await raw.read_response(), 400, '%');
  raw.cut();
});

broker_test('100 (Continue) comes before the body, and not when the answer is known', {}, async (broker) => {
  const raw = await RawConnection.open(broker.http);
  const body = event(1);
  raw.send(post('', { fields: `Expect: 100-continue\r\nContent-Length: ${body.length}\r\n` }).replace('Content-Length: 0\r\n', ''));
  const interim = await raw.read_head();
  assert.equal(interim.status, 100);
  raw.send(body);
  assert.equal((await raw.read_response()).status, 202);
  raw.send('POST /nowhere HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n');
  const refused = await raw.read_response();
  assert_error(refused, 404);
  assert.equal(refused.headers.get('connection'), 'close');
  assert.equal(await raw.closed(), 'eof');
});

broker_test('HTTP/1.0: one request, or more when it asks; streams end with the connection', {}, async (broker) => {
  const body = event(1);
  const plain = `POST /publish HTTP/1.0\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  const once = await all_of(broker, plain);
  assert.deepEqual(statuses(once), [202]);
  const twice = await all_of(broker, plain.replace('\r\n', '\r\nConnection: keep-alive\r\n') + plain);
  assert.deepEqual(statuses(twice), [202, 202]);
  const stream = await subscribe(broker, '/sse?channels=http.test', { http10: true });
  await publish(broker, { channel: 'http.test', payload: 2 });
  await stream.received(1);
  assert.equal(stream.chunked, false);
  stream.cut();
});

/** [what, bytes, status] */
const refused = [
  ['no Host', 'GET /sse HTTP/1.1\r\n\r\n', 400],
  ['two Hosts', 'GET /sse HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n', 400],
  ['a Host that is none', 'GET /sse HTTP/1.1\r\nHost: a b\r\n\r\n', 400],
  ['absolute-form with another authority', 'GET http://b/sse HTTP/1.1\r\nHost: a\r\n\r\n', 400],
  ['both lengths', 'POST /publish HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n', 400],
  ['two lengths', 'POST /publish HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n', 400],
  ['a repeated length', 'POST /publish HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\n', 400],
  ['a signed length', 'POST /publish HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\n', 400],
  ['a huge length', 'POST /publish HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n', [400, 413]],
  ['an unknown coding', 'POST /publish HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n', [400, 501]],
  ['chunked twice', 'POST /publish HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n', 400],
  ['a folded field', 'GET /sse HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n', 400],
  ['a bare LF', 'GET /sse HTTP/1.1\nHost: a\n\n', 400],
  ['a bare CR', 'GET /sse HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n', 400],
  ['a NUL', 'GET /sse HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n', 400],
  ['a space before the colon', 'GET /sse HTTP/1.1\r\nHost : a\r\n\r\n', 400],
  ['a name that is no token', 'GET /sse HTTP/1.1\r\nHost: a\r\nX(Y): b\r\n\r\n', 400],
  ['a field without colon', 'GET /sse HTTP/1.1\r\nHost: a\r\nX\r\n\r\n', 400],
  ['two spaces in the request line', 'GET  /sse HTTP/1.1\r\nHost: a\r\n\r\n', 400],
  ['HTTP/2.0 in a request line', 'GET /sse HTTP/2.0\r\nHost: a\r\n\r\n', 505],
  ['an unknown method', 'BREW /sse HTTP/1.1\r\nHost: a\r\n\r\n', 501],
  ['an unknown expectation', 'GET /sse HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n', 417],
  ['a TLS greeting', '\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03', 400],
  ['a long request line', `GET /${'x'.repeat(100000)} HTTP/1.1\r\nHost: a\r\n\r\n`, 414],
  ['a long field', `GET /sse HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(100000)}\r\n\r\n`, 431],
  ['many fields', `GET /sse HTTP/1.1\r\nHost: a\r\n${'X: y\r\n'.repeat(5000)}\r\n`, 431],
  ['a bad chunk size', post('', { chunk: 1, tail: 'zz\r\n' }), 400],
  ['a chunk size with a space', post('', { chunk: 1, tail: '1 \r\na\r\n0\r\n\r\n' }), 400],
  ['a chunk size that overflows', post('', { chunk: 1, tail: 'fffffffffffffffff\r\n' }), 400],
  ['a chunk that is longer than it says', post('', { chunk: 1, tail: '1\r\nab\r\n0\r\n\r\n' }), 400],
  ['endless chunk extensions', post('', { chunk: 1, tail: `1;${'x'.repeat(100000)}` }), 400],
  ['endless trailers', post('', { chunk: 1, tail: `0\r\n${'X: y\r\n'.repeat(20000)}` }), 431],
];

broker_test('what is ambiguous is refused, and nothing behind it is read as a request', {}, async (broker, t) => {
  for (const [what, bytes, status] of refused) {
    await t.test(what, async () => {
      const text = await all_of(broker, bytes + post(event('smuggled')));
      const [head, body] = text.split('\r\n\r\n');
      assert.deepEqual(statuses(text).length, 1, text.slice(0, 500));
      assert.ok([status].flat().includes(statuses(text)[0]), text.slice(0, 500));
      assert.match(head, /^Connection: close$/m);
      const { error } = JSON.parse(body);
      assert.match(error.code, /^[a-z0-9_]+$/);
      assert.ok(error.message.length > 5, error.message);
    });
  }
  const stream = await subscribe(broker, '/sse?channels=http.test&from=earliest');
  const id = await publish(broker, { channel: 'http.test', payload: 'end' });
  await stream.received(1);
  assert.deepEqual(stream.events.map((e) => e.id), [id], 'nothing was smuggled');
  stream.cut();
});

broker_test('a body over the limit is refused while the client still sends', { args: ['--max-body-bytes=64KiB', '--max-event-bytes=16KiB'] }, async (broker) => {
  const big = `[${Array.from({ length: 4000 }, (_, i) => event(`${i}`.padStart(100, 'x'))).join(',')}]`;
  assert.ok(big.length > 400000);
  for (const chunk of [0, 4096]) {
    const text = await all_of(broker, post(big, { chunk }));
    assert.deepEqual(statuses(text), [413], text);
    assert.match(text, /65536/);
  }
  const small = await request(broker.http, { method: 'POST', path: '/publish', body: event(1) });
  assert.equal(small.status, 202);
  const lines = `${event(1)}\n`.repeat(4000);
  const streamed = await request(broker.http, {
    method: 'POST',
    path: '/publish',
    headers: { 'Content-Type': 'application/x-ndjson' },
    body: lines,
  });
  assert.equal(streamed.status, 202, 'a stream of lines has no bound on the whole');
  assert.equal(streamed.json.count, 4000);
});

broker_test('a body that never ends is not published', {}, async (broker) => {
  const raw = await RawConnection.open(broker.http);
  raw.send(post(event('cut')).slice(0, -1));
  raw.half_close();
  assert.equal((await raw.read_all()).length, 0);
  const reset = await RawConnection.open(broker.http);
  reset.send(post(event('cut'), { chunk: 10, tail: '' }));
  reset.reset();
  const stream = await subscribe(broker, '/sse?channels=http.test&from=earliest');
  const id = await publish(broker, { channel: 'http.test', payload: 'whole' });
  await stream.received(1);
  assert.deepEqual(stream.events.map((e) => e.id), [id]);
  stream.cut();
});

broker_test('a publisher that ends its own side still gets its answer', {}, async (broker) => {
  const raw = await RawConnection.open(broker.http);
  raw.send(post(event(1)) + post(event(2)));
  raw.half_close();
  assert.equal((await raw.read_response()).status, 202);
  assert.equal((await raw.read_response()).status, 202);
  assert.equal(await raw.closed(), 'eof');
});

broker_test(
  'slow senders are told so and closed',
  { args: ['--header-timeout-ms=200', '--body-timeout-ms=200', '--keepalive-ms=200'] },
  async (broker) => {
    const head = await RawConnection.open(broker.http);
    head.send('GET /sse HTTP/1.1\r\nHost: ');
    assert_error(await head.read_response(), 408);
    assert.equal(await head.closed(), 'eof');
    const body = await RawConnection.open(broker.http);
    body.send(post(event(1)).slice(0, -3));
    assert_error(await body.read_response(), 408);
    assert.equal(await body.closed(), 'eof');
    /* A byte now and then buys no more time. */
    const drip = await RawConnection.open(broker.http);
    drip.send('POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{');
    drip.socket.on('error', () => {});
    const byte = setInterval(() => drip.send(' '), 20);
    try {
      assert_error(await drip.read_response(), 408);
    } finally {
      clearInterval(byte);
    }
    drip.cut();
    const silent = await RawConnection.open(broker.http);
    assert.equal((await silent.read_all()).length, 0, 'nothing was asked, nothing is said');
    const idle = await RawConnection.open(broker.http);
    idle.send(post(event(1)));
    assert.equal((await idle.read_response()).status, 202);
    assert.equal((await idle.read_all()).length, 0);
    /* A live stream is not idle, however silent its client. */
    const stream = await subscribe(broker, '/sse?channels=http.test');
    const witness = await RawConnection.open(broker.http);
    await witness.closed();
    await publish(broker, { channel: 'http.test', payload: 2 });
    await stream.received(1);
    stream.cut();
  },
);

broker_test('a client that sends on and on into its stream is closed', {}, async (broker) => {
  const raw = await RawConnection.open(broker.http);
  raw.send(get('/sse?channels=http.test'));
  assert.equal((await raw.read_head()).status, 200);
  raw.socket.on('error', () => {});
  raw.send('x'.repeat(1 << 20));
  await raw.closed();
});

broker_test(
  'pages of allowed origins may read and publish, others may not change anything',
  { args: ['--allow-origin=https://app.example.com', '--allow-origin=https://*.example.org'] },
  async (broker) => {
    const ask = (method, path, headers, body) => request(broker.http, { method, path, headers, body });
    for (const origin of ['https://app.example.com', 'https://a.b.example.org']) {
      const preflight = await ask('OPTIONS', '/publish', {
        Origin: origin,
        'Access-Control-Request-Method': 'POST',
        'Access-Control-Request-Headers': 'content-type, idempotency-key',
      });
      assert.equal(preflight.status, 204);
      assert.equal(preflight.headers.get('access-control-allow-origin'), origin);
      assert.equal(preflight.headers.get('access-control-allow-credentials'), 'true');
      assert.match(preflight.headers.get('access-control-allow-methods'), /\bPOST\b/);
      assert.match(preflight.headers.get('access-control-allow-headers'), /content-type/i);
      assert.match(preflight.headers.get('access-control-allow-headers'), /idempotency-key/i);
      assert.match(preflight.headers.get('vary'), /origin/i);
      const done = await ask('POST', '/publish', { Origin: origin }, event(1));
      assert.equal(done.status, 202);
      assert.equal(done.headers.get('access-control-allow-origin'), origin);
      const wrong = await ask('POST', '/publish', { Origin: origin }, '{');
      assert.equal(wrong.status, 400);
      assert.equal(wrong.headers.get('access-control-allow-origin'), origin, 'a page can read the error');
    }
    for (const origin of ['https://evil.example', 'https://example.org', 'http://app.example.com', 'null']) {
      const preflight = await ask('OPTIONS', '/publish', { Origin: origin, 'Access-Control-Request-Method': 'POST' });
      assert.equal(preflight.headers.get('access-control-allow-origin'), undefined, origin);
      assert_error(await ask('POST', '/publish', { Origin: origin }, event(1)), 403, origin);
    }
    const own = `http://${broker.http.host}:${broker.http.port}`;
    assert.equal((await ask('POST', '/publish', { Origin: own }, event(1))).status, 202);
    const raw = await RawConnection.open(broker.http);
    raw.send(get('/sse?channels=http.test', 'Origin: https://app.example.com\r\n'));
    const stream = await raw.read_head();
    assert.equal(stream.headers.get('access-control-allow-origin'), 'https://app.example.com');
    raw.cut();
  },
);

broker_test('everything lies below the prefix', { args: ['--http-prefix=/push'] }, async (broker) => {
  const ask = (path) => request(broker.http, { method: 'POST', path, body: event(1) });
  assert.equal((await ask('/push/publish')).status, 202);
  assert_error(await ask('/publish'), 404, '/push');
  assert_error(await ask('/pushpublish'), 404, '/push');
});
