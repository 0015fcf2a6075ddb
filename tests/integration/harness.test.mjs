// The harness must be able to fail: what its strict readers are there to object to.

import assert from 'node:assert/strict';
import test from 'node:test';
import { Counter } from './lib/counter.mjs';
import { parse_head } from './lib/http.mjs';
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
