// HTTP/1.1 over a raw socket: bytes out as given, answers read strictly. For what a well-behaved client
// library would hide or forbid.

import assert from 'node:assert/strict';
import net from 'node:net';
import { patience_ms, within } from './wait.mjs';

/** A socket whose received bytes stay in `received` until a reader takes them. */
export class RawConnection {
  static async open({ host, port }, options = {}) {
    const socket = net.connect({ host, port, noDelay: true, localAddress: options.localAddress });
    const raw = new RawConnection(socket);
    await within(
      new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject)),
      `a connection to ${host}:${port}`,
    );
    return raw;
  }

  constructor(socket) {
    this.socket = socket;
    this.received = Buffer.alloc(0);
    this.ended = false; /* false, 'eof' or 'reset' */
    this.waiters = new Set();
    socket.on('data', (bytes) => {
      this.received = Buffer.concat([this.received, bytes]);
      this.#wake();
    });
    socket.on('end', () => this.#end('eof'));
    socket.on('error', () => this.#end('reset'));
    socket.on('close', () => this.#end('eof'));
  }

  #end(how) {
    if (!this.ended) this.ended = how;
    this.#wake();
  }

  #wake() {
    for (const waiter of [...this.waiters]) waiter();
  }

  /** Sends text (as latin1, so that every byte can be written) or bytes. */
  send(bytes) {
    this.socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
  }

  /** Sends piece by piece, each in a segment of its own as far as the kernel allows. */
  async send_slowly(bytes, size = 1) {
    const all = typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes;
    for (let at = 0; at < all.length; at += size) {
      this.socket.write(all.subarray(at, at + size));
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Says that nothing more will be sent, and goes on reading. */
  half_close() {
    this.socket.end();
  }

  cut() {
    this.socket.destroy();
  }

  /** Resets the connection: the peer sees ECONNRESET. */
  reset() {
    this.socket.resetAndDestroy();
  }

  pause() {
    this.socket.pause();
  }

  resume() {
    this.socket.resume();
  }

  /** Waits until `ready()` answers something that is not undefined. */
  when(ready, what, limit_ms = patience_ms) {
    let waiter;
    const done = new Promise((resolve, reject) => {
      waiter = () => {
        try {
          const answer = ready();
          if (answer !== undefined) resolve(answer);
        } catch (error) {
          reject(error);
        }
      };
      this.waiters.add(waiter);
      waiter();
    });
    const sofar = () => JSON.stringify(this.received.toString('latin1').slice(0, 2000));
    return within(done, () => `${what}; received so far: ${sofar()} (${this.ended || 'open'})`, limit_ms).finally(() =>
      this.waiters.delete(waiter),
    );
  }

  /** The end of the connection by the peer: 'eof' or 'reset'. */
  closed(limit_ms) {
    return this.when(() => this.ended || undefined, 'the end of the connection', limit_ms);
  }

  take(count) {
    const bytes = this.received.subarray(0, count);
    this.received = this.received.subarray(count);
    return bytes;
  }

  /** Takes everything up to and with `mark`. */
  async read_until(mark, limit_ms) {
    const wanted = Buffer.from(mark, 'latin1');
    const end = await this.when(
      () => {
        const at = this.received.indexOf(wanted);
        if (at >= 0) return at + wanted.length;
        if (this.ended) throw new Error(`the connection ended (${this.ended}) before ${JSON.stringify(mark)}`);
        return undefined;
      },
      JSON.stringify(mark),
      limit_ms,
    );
    return this.take(end);
  }

  async read_exactly(count, limit_ms) {
    await this.when(
      () => {
        if (this.received.length >= count) return true;
        if (this.ended) throw new Error(`the connection ended (${this.ended}) after ${this.received.length} of ${count} bytes`);
        return undefined;
      },
      `${count} bytes`,
      limit_ms,
    );
    return this.take(count);
  }

  /** Everything until the peer ends the connection. */
  async read_all(limit_ms) {
    await this.closed(limit_ms);
    return this.take(this.received.length);
  }

  async read_head(limit_ms) {
    return parse_head(await this.read_until('\r\n\r\n', limit_ms));
  }

  /** One whole answer. `method` decides whether a body follows; interim answers are returned too. */
  async read_response({ method = 'GET', limit_ms } = {}) {
    const head = await this.read_head(limit_ms);
    head.body = Buffer.alloc(0);
    if (method === 'HEAD' || head.status < 200 || head.status === 204 || head.status === 304) return head;
    const coding = head.headers.get('transfer-encoding');
    const length = head.headers.get('content-length');
    assert.ok(coding === undefined || length === undefined, 'an answer has one length, not two');
    if (coding !== undefined) {
      assert.equal(coding, 'chunked');
      head.body = await this.#read_chunks(limit_ms);
    } else if (length !== undefined) {
      assert.match(length, /^\d+$/);
      head.body = await this.read_exactly(Number(length), limit_ms);
    } else {
      head.body = await this.read_all(limit_ms);
    }
    return head;
  }

  async #read_chunks(limit_ms) {
    const parts = [];
    for (;;) {
      const line = (await this.read_until('\r\n', limit_ms)).toString('latin1').slice(0, -2);
      assert.match(line, /^[0-9A-Fa-f]+$/, 'a chunk size');
      const size = parseInt(line, 16);
      if (size > 0) parts.push(await this.read_exactly(size, limit_ms));
      assert.equal((await this.read_exactly(2, limit_ms)).toString('latin1'), '\r\n');
      if (size === 0) return Buffer.concat(parts);
    }
  }
}

/** Status line and fields, strictly (RFC 9112 sections 4 and 5). Names in lower case, in a Map. */
export function parse_head(bytes) {
  const lines = bytes.toString('latin1').slice(0, -4).split('\r\n');
  const status_line = /^HTTP\/1\.([01]) ([1-5]\d\d) ([\x20-\x7e]*)$/.exec(lines[0]);
  assert.ok(status_line, `a status line: ${JSON.stringify(lines[0])}`);
  const headers = new Map();
  const fields = [];
  for (const line of lines.slice(1)) {
    const m = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?|)$/.exec(line);
    assert.ok(m, `a field line: ${JSON.stringify(line)}`);
    const name = m[1].toLowerCase();
    fields.push([name, m[2]]);
    headers.set(name, headers.has(name) ? `${headers.get(name)}, ${m[2]}` : m[2]);
  }
  return { minor: Number(status_line[1]), status: Number(status_line[2]), reason: status_line[3], headers, fields };
}

/** One request on a connection of its own; the answer with `text` and, where it is JSON, `json`. */
export async function request(where, { method = 'GET', path = '/', headers = {}, body, limit_ms } = {}) {
  const raw = await RawConnection.open(where);
  try {
    const bytes = body === undefined ? undefined : Buffer.from(body);
    let head = `${method} ${path} HTTP/1.1\r\nHost: ${where.host}:${where.port}\r\nConnection: close\r\n`;
    for (const [name, value] of Object.entries(headers)) head += `${name}: ${value}\r\n`;
    if (bytes) head += `Content-Length: ${bytes.length}\r\n`;
    raw.send(Buffer.from(`${head}\r\n`, 'utf8'));
    if (bytes) raw.send(bytes);
    let answer = await raw.read_response({ method, limit_ms });
    while (answer.status < 200) answer = await raw.read_response({ method, limit_ms });
    answer.text = answer.body.toString('utf8');
    if (/^application\/json\b/.test(answer.headers.get('content-type') ?? '') && answer.text !== '') {
      answer.json = JSON.parse(answer.text);
    }
    return answer;
  } finally {
    raw.cut();
  }
}

/** Asserts that an answer is an error as broker/API.md writes them, whose message names every `word`. */
export function assert_error(answer, status, ...words) {
  assert.equal(answer.status, status, `status of ${answer.text ?? answer.body}`);
  const error = (answer.json ?? JSON.parse(answer.body.toString('utf8'))).error;
  assert.equal(typeof error.code, 'string');
  assert.equal(typeof error.message, 'string');
  for (const word of words) {
    assert.ok(error.message.includes(word), `"${error.message}" names ${JSON.stringify(word)}`);
  }
}
