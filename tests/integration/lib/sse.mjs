// A strict reader of Server-Sent Events over a raw socket. It takes nothing that broker/API.md does not
// promise: chunks without extensions, LF as the only line end, known fields in the order event, data,
// id. What it objects to fails every wait that follows.

import assert from 'node:assert/strict';
import { RawConnection } from './http.mjs';
import { patience_ms } from './wait.mjs';

/** Decodes a chunked body byte by byte as strictly as RFC 9112 section 7.1 allows. */
export class ChunkDecoder {
  constructor() {
    this.state = 'size';
    this.line = '';
    this.left = 0;
    this.done = false; /* the last chunk has come */
    this.chunks = 0;
  }

  /** Returns the body's bytes within `bytes`. */
  feed(bytes) {
    const out = [];
    let at = 0;
    while (at < bytes.length) {
      assert.ok(!this.done, 'nothing follows the last chunk');
      if (this.state === 'body') {
        const count = Math.min(this.left, bytes.length - at);
        out.push(bytes.subarray(at, at + count));
        at += count;
        this.left -= count;
        if (this.left === 0) this.state = 'body-end';
        continue;
      }
      this.line += String.fromCharCode(bytes[at++]);
      if (this.state === 'size') this.#size();
      else this.#line_end();
    }
    return Buffer.concat(out);
  }

  #size() {
    assert.match(this.line, /^[0-9A-Fa-f]{1,8}\r?\n?$/, `a chunk size line: ${JSON.stringify(this.line)}`);
    if (!this.line.endsWith('\n')) return;
    assert.ok(this.line.endsWith('\r\n'), 'a chunk size line ends in CR LF');
    this.left = parseInt(this.line, 16);
    this.chunks++;
    this.state = this.left === 0 ? 'last' : 'body';
    this.line = '';
  }

  #line_end() {
    assert.ok('\r\n'.startsWith(this.line), `CR LF after a chunk: ${JSON.stringify(this.line)}`);
    if (this.line !== '\r\n') return;
    this.line = '';
    if (this.state === 'last') this.done = true;
    else this.state = 'size';
  }
}

const fields = ['event', 'data', 'id', 'retry'];

/** Decodes the text of a stream into blocks: { type, data, id, order, comments, retry }. */
export class StreamDecoder {
  constructor(emit) {
    this.emit = emit;
    this.rest = Buffer.alloc(0);
    this.block = null;
    this.first = true;
    this.utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  }

  feed(bytes) {
    this.rest = this.rest.length === 0 ? bytes : Buffer.concat([this.rest, bytes]);
    let from = 0;
    for (;;) {
      const end = this.rest.indexOf(10, from);
      if (end < 0) break;
      this.#line(this.utf8.decode(this.rest.subarray(from, end)));
      from = end + 1;
    }
    this.rest = this.rest.subarray(from);
  }

  #line(line) {
    assert.ok(!line.includes('\r'), `CR in a line: ${JSON.stringify(line)}`);
    assert.ok(!line.includes('\0'), `NUL in a line: ${JSON.stringify(line)}`);
    if (this.first) assert.ok(!line.startsWith('\ufeff'), 'no byte order mark');
    this.first = false;
    if (line === '') {
      if (this.block) this.emit(this.block);
      this.block = null;
      return;
    }
    this.block ??= { data: undefined, type: undefined, id: undefined, order: [], comments: [], lines: [] };
    const block = this.block;
    block.lines.push(line);
    if (line.startsWith(':')) {
      block.comments.push(line.slice(1));
      return;
    }
    const m = /^([a-z]+):(?: (.*))?$/s.exec(line);
    assert.ok(m && fields.includes(m[1]), `a known field: ${JSON.stringify(line)}`);
    const [, name, value = ''] = m;
    if (name === 'data') {
      block.data = block.data === undefined ? value : `${block.data}\n${value}`;
      if (block.order.at(-1) !== 'data') block.order.push('data');
    } else {
      assert.ok(!block.order.includes(name), `one ${name}: for a block: ${JSON.stringify(block.lines)}`);
      block.order.push(name);
      block[name === 'event' ? 'type' : name] = value;
    }
    if (name === 'retry') assert.match(value, /^\d+$/);
    const order = block.order.filter((field) => field !== 'retry');
    const expected = ['event', 'data', 'id'].filter((field) => order.includes(field));
    assert.deepEqual(order, expected, `event, data, id in this order: ${JSON.stringify(block.lines)}`);
  }
}

export const control_types = new Set([
  'connected',
  'snapshot-end',
  'resync',
  'gap',
  'feed',
  'token-expiring',
  'shutdown',
  'ping',
  'error',
]);

/**
 * One open stream.
 *   all       every dispatched event, with control events: { type, data, id, json, order }
 *   events    those that were published
 *   cursor    the id to resume after, as the HTML standard keeps it: taken over at the end of a block
 *   bare_ids  the ids that came in a block without data
 *   comments, retry_ms, bytes (of the body, decoded), chunked
 *   ended     false, 'last-chunk', 'eof', 'reset' or 'cut' (by us)
 */
export class SseClient {
  /** options: { method, headers, body, cursor, keep (an older client whose cursor goes on), http10, cut_after } */
  static async open(broker, path = '/sse', options = {}) {
    const raw = await RawConnection.open(broker.http ?? broker, options);
    const client = new SseClient(raw, options);
    const where = broker.http ?? broker;
    const method = options.method ?? (options.body === undefined ? 'GET' : 'POST');
    const cursor = options.cursor ?? options.keep?.cursor ?? '';
    let head = `${method} ${path} HTTP/1.${options.http10 ? 0 : 1}\r\nHost: ${where.host}:${where.port}\r\nAccept: text/event-stream\r\n`;
    if (cursor !== '') head += `Last-Event-ID: ${cursor}\r\n`;
    for (const [name, value] of Object.entries(options.headers ?? {})) head += `${name}: ${value}\r\n`;
    if (options.body !== undefined) {
      head += `Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(options.body)}\r\n`;
    }
    raw.send(Buffer.from(`${head}\r\n${options.body ?? ''}`, 'utf8'));
    client.cursor = cursor;
    client.head = await raw.read_head();
    client.status = client.head.status;
    client.headers = client.head.headers;
    if (client.status !== 200) {
      raw.cut();
      const error = new Error(`${method} ${path}: ${client.status} ${raw.received.toString('utf8')}`);
      error.status = client.status;
      throw error;
    }
    client.#start();
    return client;
  }

  constructor(raw, options) {
    this.raw = raw;
    this.options = options;
    this.all = [];
    this.events = [];
    this.bare_ids = [];
    this.comments = [];
    this.retry_ms = undefined;
    this.bytes = 0;
    this.ended = false;
    this.problem = null;
    this.waiters = new Set();
    this.cut_after = options.cut_after ?? Infinity;
    this.decoder = new StreamDecoder((block) => this.#block(block));
  }

  #start() {
    this.chunked = this.headers.get('transfer-encoding') === 'chunked';
    this.chunks = this.chunked ? new ChunkDecoder() : null;
    const pump = () => {
      if (this.raw.received.length > 0) this.#bytes(this.raw.take(this.raw.received.length));
      if (this.raw.ended) this.#end(this.chunks?.done ? 'last-chunk' : this.raw.ended);
    };
    this.raw.waiters.add(pump);
    pump();
  }

  #bytes(bytes) {
    if (this.problem || this.ended === 'cut') return;
    try {
      let body = this.chunks ? this.chunks.feed(bytes) : bytes;
      const room = this.cut_after - this.bytes;
      const cut = body.length >= room;
      if (cut) body = body.subarray(0, room);
      this.bytes += body.length;
      this.decoder.feed(body);
      if (cut) this.cut();
    } catch (error) {
      this.problem = error;
      this.raw.cut();
    }
    this.#wake();
  }

  #end(how) {
    if (!this.ended) this.ended = how;
    this.#wake();
  }

  #wake() {
    for (const waiter of [...this.waiters]) waiter();
  }

  #block(block) {
    this.comments.push(...block.comments);
    if (block.retry !== undefined) this.retry_ms = Number(block.retry);
    if (block.id !== undefined) this.cursor = block.id;
    if (block.data === undefined) {
      assert.equal(block.type, undefined, `an event without data: ${JSON.stringify(block.lines)}`);
      if (block.id !== undefined) this.bare_ids.push(block.id);
      this.options.on_block?.(block);
      return;
    }
    const event = {
      type: block.type ?? 'message',
      named: block.type !== undefined,
      data: block.data,
      id: block.id,
      order: block.order,
      lines: block.lines,
    };
    try {
      event.json = JSON.parse(block.data);
    } catch {
      event.json = undefined;
    }
    event.control = control_types.has(event.type) && block.type !== undefined;
    this.all.push(event);
    if (!event.control) this.events.push(event);
    this.options.on_event?.(event, this);
  }

  /** Waits until `ready(client)` answers something that is neither undefined nor false. */
  when(ready, what, limit_ms = patience_ms) {
    let timer;
    let waiter;
    return new Promise((resolve, reject) => {
      waiter = () => {
        if (this.problem) return reject(this.problem);
        let answer;
        try {
          answer = ready(this);
        } catch (error) {
          return reject(error);
        }
        if (answer !== undefined && answer !== false) return resolve(answer);
        if (this.ended) reject(new Error(`the stream ended (${this.ended}) before ${what}: ${this.describe()}`));
        return undefined;
      };
      timer = setTimeout(() => reject(new Error(`waited ${limit_ms} ms for ${what}: ${this.describe()}`)), limit_ms);
      this.waiters.add(waiter);
      waiter();
    }).finally(() => {
      clearTimeout(timer);
      this.waiters.delete(waiter);
    });
  }

  describe() {
    const last = this.all.slice(-5).map((event) => event.lines.join('|').slice(0, 200));
    return `${this.all.length} events, the last: ${JSON.stringify(last)}`;
  }

  /** Resolves to the first control event of a name, which may have come already. */
  control(type, limit_ms) {
    return this.when((c) => c.all.find((event) => event.control && event.type === type), `event ${type}`, limit_ms);
  }

  connected(limit_ms) {
    return this.control('connected', limit_ms);
  }

  /** Resolves to `events` once at least `count` published events have come. */
  received(count, limit_ms) {
    return this.when((c) => (c.events.length >= count ? c.events : undefined), `${count} published events`, limit_ms);
  }

  /** Resolves to how the stream ended. */
  closed(limit_ms = patience_ms) {
    return this.when((c) => c.ended || undefined, 'the end of the stream', limit_ms);
  }

  /** Stops reading: bytes pile up in the kernel's buffers, then at the broker. */
  pause() {
    this.raw.pause();
  }

  resume() {
    this.raw.resume();
  }

  cut() {
    if (!this.ended) this.ended = 'cut';
    this.raw.cut();
    this.#wake();
  }
}

/** Opens a stream and waits for `connected`. */
export async function subscribe(broker, path, options) {
  const client = await SseClient.open(broker, path, options);
  await client.connected();
  return client;
}
