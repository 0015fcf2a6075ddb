// The harness must be able to fail: what its strict readers are there to object to.

import assert from 'node:assert/strict';
import net from 'node:net';
import test from 'node:test';
import { Counter } from './lib/counter.mjs';
import { BlockParser, Follower } from './lib/follower.mjs';
import { parse_head } from './lib/http.mjs';
import { Ledger } from './lib/ledger.mjs';
import { ChunkDecoder, StreamDecoder } from './lib/sse.mjs';

function blocks(text, piece = 1e9) {
  const out = [];
  const decoder = new StreamDecoder((block) => out.push(block));
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += piece) decoder.feed(bytes.subarray(at, at + piece));
  return out;
}

test('a stream is read the same whole and byte by byte', () => {
  const text = 'retry: 3000\n\n: pad\n\nevent: a\ndata: {"é":1}\ndata: 2\nid: k-0-1\n\nid: k-0-2\n\n';
  assert.deepEqual(blocks(text, 1), blocks(text));
  const event = blocks(text)[2];
  assert.equal(event.data, '{"é":1}\n2');
  assert.deepEqual(event.order, ['event', 'data', 'id']);
});

for (const [what, text] of [
  ['CR LF', 'data: 1\r\n\r\n'],
  ['a lone CR', 'data: 1\rdata: 2\n\n'],
  ['a byte order mark', '\ufeffdata: 1\n\n'],
  ['NUL', 'data: a\0b\n\n'],
  ['an unknown field', 'color: red\n\n'],
  ['a field without a colon', 'data\n\n'],
  ['no space after the colon', 'data:1\n\n'],
  ['id before data', 'id: 1\ndata: 2\n\n'],
  ['two ids', 'data: 2\nid: 1\nid: 2\n\n'],
  ['data after id', 'data: 1\nid: 1\ndata: 2\n\n'],
  ['retry that is no number', 'retry: soon\n\n'],
]) {
  test(`a stream with ${what} is refused`, () => assert.throws(() => blocks(text)));
}

test('bytes that are not UTF-8 are refused', () => {
  const decoder = new StreamDecoder(() => {});
  assert.throws(() => decoder.feed(Buffer.from([0x64, 0x3a, 0x20, 0xff, 0x0a])));
});

test('chunks are read the same whole and byte by byte', () => {
  const bytes = Buffer.from('3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n');
  const whole = new ChunkDecoder();
  assert.equal(whole.feed(bytes).toString(), 'abc0123456789');
  assert.ok(whole.done);
  const slow = new ChunkDecoder();
  let text = '';
  for (const byte of bytes) text += slow.feed(Buffer.from([byte])).toString();
  assert.equal(text, 'abc0123456789');
  assert.ok(slow.done);
});

for (const [what, text] of [
  ['an extension', '3;a=b\r\nabc\r\n'],
  ['LF alone', '3\nabc\r\n'],
  ['no size', '\r\n'],
  ['too much in it', '3\r\nabcd\r\n'],
  ['something after the last one', '0\r\n\r\nx'],
]) {
  test(`a chunk with ${what} is refused`, () => assert.throws(() => new ChunkDecoder().feed(Buffer.from(text))));
}

test('a head with a space before the colon or a bare LF is refused', () => {
  assert.equal(parse_head(Buffer.from('HTTP/1.1 200 OK\r\nA: b\r\n\r\n')).headers.get('a'), 'b');
  assert.throws(() => parse_head(Buffer.from('HTTP/1.1 200 OK\r\nA : b\r\n\r\n')));
  assert.throws(() => parse_head(Buffer.from('HTTP/1.1 200 OK\nA: b\r\n\r\n')));
});

test('a counter sees what is lost and what is doubled', () => {
  const event = (n) => ({ id: `x-0-${n}`, json: { channel: 'c', payload: { n } } });
  const counter = new Counter();
  for (const n of [1, 2, 4, 4, 5]) counter.take(event(n));
  assert.equal(counter.lost, 1);
  assert.equal(counter.doubled, 1);
  assert.throws(() => counter.assert_exact());
});

// ---- the follower and the ledger of the exactly-once runs ------------------------------------------------

const history = 'AbCdEf';

/** A server that answers each connection with the next script: bytes of a chunked stream, then it waits. */
async function scripted(scripts, use) {
  const sockets = new Set();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('data', () => {
      const body = Buffer.from(scripts.shift() ?? '');
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
      /* In chunks of a few bytes, so that events lie over their ends. */
      for (let at = 0; at < body.length; at += 7) {
        const part = body.subarray(at, at + 7);
        socket.write(Buffer.concat([Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from('\r\n')]));
      }
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    return await use({ http: { host: '127.0.0.1', port: server.address().port }, history });
  } finally {
    sockets.forEach((socket) => socket.destroy());
    server.close();
  }
}

const id = (next) => `id: ${history}-0-${next - 1}\n\n`;
const connected = `event: connected\ndata: {}\n${id(10)}`;
const event = (offset, next = offset + 1) => `event: count\ndata: {"id":"${history}-0-${offset}","payload":{"v":${offset}}}\n${id(next)}`;

/** What a follower of the script says, with the ledger of offsets 10 to 14; undefined: nothing. */
function verdict(script) {
  return scripted([script], async (server) => {
    const ledger = new Ledger(['a'], 1);
    for (let offset = 10; offset < 15; offset++) ledger.partitions[0].push({ offset, channel: 0, value: offset });
    const follower = new Follower('f', server, { path: '/sse', partitions: 1, random: {}, plan: () => ({}) });
    follower.finish();
    try {
      await follower.live((f) => f.promised[0] >= 15);
      ledger.assert_holds(follower, [true]);
    } catch (error) {
      return error.message;
    }
    return undefined;
  });
}

test('the follower and its ledger object to what is not exactly once', async () => {
  const all = [10, 11, 12, 13, 14];
  const stream = (events) => connected + events.join('');
  assert.equal(await verdict(stream(all.map((o) => event(o)))), undefined);
  assert.equal(await verdict(`: c\n\n${stream([...all.slice(0, 3).map((o) => event(o)), `: 1\n${id(13)}`, event(13), event(14)])}`), undefined);
  assert.match(await verdict(stream([event(10), event(11), event(13), event(14)])), /0-12 on a is missing, and nobody has told/);
  assert.match(await verdict(stream([event(10), event(11), event(11)])), /came after/);
  assert.match(await verdict(stream([event(10), event(12), event(11)])), /came after/);
  assert.match(await verdict(stream([event(10), id(12), event(11)])), /promised all below 12/);
  assert.match(await verdict(stream([event(10), id(12), id(11)])), /went back from 12 to 11/);
  assert.match(await verdict(stream([event(10), event(11, 11)])), /does not have it behind it/);
  assert.match(await verdict(stream([...all.slice(0, 4).map((o) => event(o)), event(14).replace('"v":14', '"v":99')])), /0-14/);
  const resync = (reason, next) => `event: resync\ndata: {"reason":"${reason}"}\n${id(next)}`;
  assert.equal(await verdict(stream([event(10), resync('expired', 13), event(13), event(14)])), undefined);
  assert.match(await verdict(stream([event(10), resync('expired', 12), event(13), event(14)])), /0-12 on a is missing/);
  assert.match(await verdict(stream([event(10), resync('history', 13)])), /resync history/);
});

test('the follower takes an id over only at the blank line behind it', async () => {
  const whole = connected + event(10) + event(11);
  for (let at = 0; at <= whole.length; at += 3) {
    /* The bytes of the stream, cut off; framed in one chunk, so that every byte counts. */
    const blocks = [];
    const parser = new BlockParser((block) => blocks.push(block));
    const framed = Buffer.from(`${whole.length.toString(16)}\r\n${whole}\r\n`);
    const head = framed.length - whole.length - 2;
    for (const byte of framed.subarray(0, head + at)) parser.feed(Buffer.from([byte]));
    const complete = whole.slice(0, at).split('\n\n').length - 1;
    assert.equal(blocks.length, complete, `after ${at} bytes`);
    assert.equal(blocks.at(-1)?.id, [undefined, `${history}-0-9`, `${history}-0-10`, `${history}-0-11`][complete]);
  }
});
