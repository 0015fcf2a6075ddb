// A client that lives over many connections: it is cut at random places, also inside an event, comes back with
// the last complete `id:` it has read, and keeps what it was given. It is fast (thousands of events a second)
// and sees bytes only: chunks, lines, and an id that counts at the blank line behind it.
//
// While it reads it holds every id against what it was given:
//   - events of a partition come in rising order, none twice;
//   - an id promises only what came before it: nothing below it may follow, in this life or a later one;
//   - ids never go back, and an event's id has the event behind it.
// What it must have been given is the business of the ledger (ledger.mjs), once everything is published.

import assert from 'node:assert/strict';
import net from 'node:net';
import { patience_ms } from './wait.mjs';

const lf = 10;

/** Chunked coding, then blocks of lines; feed() may be given any piece of either. */
export class BlockParser {
  constructor(on_block) {
    this.on_block = on_block;
    this.state = 'size';
    this.held = Buffer.alloc(0); /* of a size line, or of the line break behind a chunk */
    this.left = 0;
    this.text = []; /* pieces of the block that is not complete */
    this.newline = false; /* the last byte of them ends a line */
    this.last_chunk = false;
  }

  feed(bytes) {
    let at = 0;
    while (at < bytes.length) {
      if (this.state === 'data') {
        const end = Math.min(bytes.length, at + this.left);
        this.#body(bytes.subarray(at, end));
        this.left -= end - at;
        at = end;
        if (this.left === 0) this.state = 'break';
        continue;
      }
      const end = bytes.indexOf(lf, at);
      const stop = end < 0 ? bytes.length : end + 1;
      this.held = this.held.length === 0 ? bytes.subarray(at, stop) : Buffer.concat([this.held, bytes.subarray(at, stop)]);
      at = stop;
      if (end < 0) break;
      this.#framing(this.held.toString('latin1'));
      this.held = Buffer.alloc(0);
    }
    if (this.held.length > 0) this.held = Buffer.from(this.held); /* it does not keep the whole piece */
  }

  #framing(line) {
    assert.ok(!this.last_chunk, 'nothing follows the last chunk');
    if (this.state === 'break') {
      assert.equal(line, '\r\n', 'a line break behind a chunk');
      this.state = 'size';
      return;
    }
    assert.match(line, /^[0-9a-fA-F]+\r\n$/, 'the size of a chunk');
    this.left = parseInt(line, 16);
    this.last_chunk = this.left === 0;
    this.state = this.last_chunk ? 'break' : 'data';
  }

  #body(bytes) {
    let from = 0;
    /* A blank line whose two line ends lie in different pieces. */
    if (this.newline && bytes.length > 0 && bytes[0] === lf) {
      this.#block(bytes.subarray(0, 1));
      from = 1;
    }
    for (;;) {
      const end = bytes.indexOf('\n\n', from, 'latin1');
      if (end < 0) break;
      this.#block(bytes.subarray(from, end + 2));
      from = end + 2;
    }
    if (from < bytes.length) {
      this.text.push(Buffer.from(bytes.subarray(from)));
      this.newline = bytes[bytes.length - 1] === lf;
    } else if (bytes.length > 0) {
      this.newline = false;
    }
  }

  #block(last) {
    const text = this.text.length === 0 ? last.toString('utf8') : Buffer.concat([...this.text, last]).toString('utf8');
    this.text = [];
    const block = { type: undefined, data: undefined, id: undefined, comment: undefined };
    for (const line of text.split('\n')) {
      if (line === '') continue;
      if (line.startsWith('data: ')) block.data = block.data === undefined ? line.slice(6) : `${block.data}\n${line.slice(6)}`;
      else if (line.startsWith('id: ')) block.id = line.slice(4);
      else if (line.startsWith('event: ')) block.type = line.slice(7);
      else if (line.startsWith(':')) block.comment = line.slice(1);
      else assert.match(line, /^retry: \d+$/, 'a line of a stream');
    }
    this.on_block(block);
  }
}

/**
 * The next offset of each partition by a cursor of this history (proto/event/cursor.h has the form); undefined
 * where it says nothing. Clients need none of this: it is here to hold ids against what was delivered.
 */
export function vector_of(text, history, partitions) {
  const next = new Array(partitions).fill(undefined);
  const [first, ...ids] = text.split(',');
  const raise = (id) => {
    const m = /^([A-Za-z0-9]{6})-(\d+)-(\d+)(?:\/(\d+))?$/.exec(id);
    assert.ok(m && m[1] === history && Number(m[2]) < partitions, `an id of this log: ${id}`);
    assert.equal(m[4] ?? String(partitions), String(partitions), `partitions in ${id}`);
    next[m[2]] = Math.max(next[m[2]] ?? 0, Number(m[3]) + 1);
  };
  if (first.startsWith('~')) full_vector(first, history, next);
  else raise(first);
  ids.forEach(raise);
  return next;
}

function full_vector(text, history, next) {
  const bytes = Buffer.from(text.slice(1), 'base64url');
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      value += (bytes[at] & 0x7f) * scale;
      if ((bytes[at++] & 0x80) === 0) return value;
    }
  };
  assert.equal(bytes[at++], 1, `version of ${text}`);
  assert.equal(bytes.toString('latin1', at, at + 6), history, `history of ${text}`);
  at += 6;
  assert.equal(varint(), next.length, `partitions of ${text}`);
  const minimum = varint();
  const width = bytes[at++];
  for (let p = 0; p < next.length; p++) {
    let difference = 0;
    for (let i = 0; i < width; i++) difference = difference * 256 + bytes[at++];
    next[p] = minimum + difference;
  }
  assert.equal(at, bytes.length, `the end of ${text}`);
}

/**
 * options:
 *   path        of the subscription, with its query
 *   partitions  of the log
 *   from        'live' or 'earliest', as the path says
 *   list        resume with `<cursor>,<id>,<id>` instead of the last id
 *   random      a generator
 *   plan(random) -> { cut_bytes, cut_ms, pause_bytes, pause_ms, away_ms }: how a connection goes, each may be missing
 *   ends        the broker may end its streams (policy=disconnect)
 *   crashes     the broker may be killed and come again
 *   segments(p) where partition p's files begin: what expired is gone, or retired and about to be unlinked
 */
export class Follower {
  constructor(name, broker, options) {
    this.name = name;
    this.broker = broker;
    this.options = options;
    this.random = options.random;
    this.cursor = undefined; /* the last complete id */
    this.base = undefined; /* list: the cursor that stands first, and the ids behind it */
    this.since = [];
    this.start = undefined; /* the vector that it began at */
    const each = (make) => Array.from({ length: options.partitions }, make);
    this.promised = each(() => undefined);
    this.got = each(() => ({ offsets: [], values: [] }));
    this.excused = each(() => []);
    this.told = [];
    this.trail = []; /* of each connection: what it sent, what it was told and given; for whoever looks for a bug */
    this.counts = { connections: 0, bare_ids: 0, inside: 0, paused: 0, list: 0 };
    this.finishing = false;
    this.interrupt = new Set();
  }

  #fail(what) {
    throw new Error(`${this.name}, connection ${this.counts.connections}: ${what}`);
  }

  /** Nothing is published any more: no cut, no pause, no absence from now on. */
  finish() {
    this.finishing = true;
    for (const interrupt of [...this.interrupt]) interrupt();
  }

  #pass(ms) {
    if (this.finishing || !ms) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.interrupt.delete(done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.interrupt.add(done);
    });
  }

  /** Connects again and again until finish() was called and `complete(this)` holds. */
  async live(complete) {
    for (;;) {
      const plan = this.finishing ? {} : this.options.plan(this.random);
      try {
        await this.#connection(plan, complete);
      } catch (error) {
        if (!error.away) throw error;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      if (this.finishing && complete(this)) return;
      await this.#pass(plan.away_ms);
    }
  }

  #resume_text() {
    if (!this.options.list || this.base === undefined || this.since.length === 0) return this.cursor;
    this.counts.list++;
    const text = [this.base, ...this.since].join(',');
    /* It says less than the last id where other channels' events have passed, never less than was received. */
    this.promised = vector_of(text, this.broker.history, this.options.partitions);
    return text;
  }

  /** One connection, to its end. Resolves when it was cut or, at last, when everything has come. */
  #connection(plan, complete) {
    this.counts.connections++;
    const sent = this.#resume_text();
    const trail = { sent, vector: [...this.promised], events: [] };
    this.trail.push(trail);
    const { host, port } = this.broker.http;
    const socket = net.connect({ host, port, noDelay: true });
    let head = `GET ${this.options.path} HTTP/1.1\r\nHost: ${host}:${port}\r\nAccept: text/event-stream\r\n`;
    if (sent !== undefined) head += `Last-Event-ID: ${sent}\r\n`;
    socket.write(`${head}\r\n`);

    return new Promise((resolve, reject) => {
      const state = { head: undefined, taken: 0, sent, connected: false, resynced: false, last_was_complete: true };
      const parser = new BlockParser((block) => this.#block(block, state));
      let paused = false;
      let progress = Date.now();
      const timers = [];
      const end = (how) => {
        trail.end = [...this.promised];
        timers.forEach(clearTimeout);
        clearInterval(watch);
        this.interrupt.delete(hurry);
        if (parser.text.length > 0 || parser.state !== 'size') this.counts.inside++;
        socket.destroy();
        if (how instanceof Error) reject(how);
        else resolve();
      };
      const cut = () => {
        if (!this.finishing) end('cut');
      };
      const hurry = () => {
        plan = {};
        socket.resume();
      };
      this.interrupt.add(hurry);
      if (plan.cut_ms) timers.push(setTimeout(cut, plan.cut_ms));
      const watch = setInterval(() => {
        if (!paused && Date.now() - progress > patience_ms) end(new Error(`${this.name}: nothing came for ${patience_ms} ms; ${this.describe()}`));
      }, 1000);
      socket.on('data', (bytes) => {
        try {
          progress = Date.now();
          if (state.head === undefined || !state.head.done) bytes = this.#head(state, bytes);
          /* The connection ends where the plan says, to the byte. */
          const room = this.finishing ? Infinity : (plan.cut_bytes ?? Infinity) - state.taken;
          const take = bytes.length >= room ? bytes.subarray(0, room) : bytes;
          state.taken += take.length;
          parser.feed(take);
          if (this.finishing && complete(this)) {
            this.completed ??= this.counts.bare_ids + this.told.length;
            return end('complete');
          }
          if (bytes.length >= room) return end('cut');
          if (plan.pause_ms && !paused && state.taken >= (plan.pause_bytes ?? 0)) {
            paused = true;
            this.counts.paused++;
            socket.pause();
            this.#pass(plan.pause_ms).then(() => {
              paused = false;
              plan.pause_ms = undefined;
              progress = Date.now();
              socket.resume();
            });
          }
        } catch (error) {
          end(error);
        }
        return undefined;
      });
      const over = (error) => {
        if ((this.options.ends || this.options.crashes) && state.head?.done) return end('ended');
        const failed = new Error(`${this.name}: the stream ended (${error?.message ?? 'EOF'}); ${this.describe()}`);
        failed.away = this.options.crashes;
        return end(failed);
      };
      socket.on('error', over);
      socket.on('end', () => over());
    });
  }

  /** Takes the head's bytes; returns what stands behind it. */
  #head(state, bytes) {
    state.head ??= { bytes: Buffer.alloc(0), done: false };
    const all = Buffer.concat([state.head.bytes, bytes]);
    const end = all.indexOf('\r\n\r\n');
    state.head.bytes = all;
    if (end < 0) return Buffer.alloc(0);
    state.head.done = true;
    const text = all.toString('latin1', 0, end);
    if (!/^HTTP\/1\.1 200 /.test(text)) this.#fail(text);
    return all.subarray(end + 4);
  }

  #block(block, state) {
    if (block.data === undefined) {
      if (block.id === undefined) return;
      this.counts.bare_ids++;
      this.#take_id(block.id, 'a bare id');
      return;
    }
    const json = JSON.parse(block.data);
    switch (block.type) {
      case 'connected':
        return this.#connected(block, state);
      case 'resync':
        return this.#resync(block, json, state);
      case 'gap':
        return this.#gap(json);
      case 'ping':
      case 'shutdown':
      case 'feed':
        return undefined;
      default:
        return this.#event(block, json);
    }
  }

  #connected(block, state) {
    state.connected = true;
    if (state.sent !== undefined) {
      if (block.id !== undefined) assert.equal(block.id, state.sent, `${this.name}: connected repeats the cursor`);
      return;
    }
    if (block.id === undefined) this.#fail('connected without a cursor');
    const vector = vector_of(block.id, this.broker.history, this.options.partitions);
    /* Cut before connected was complete, it has begun nowhere: this is its beginning. */
    this.start = vector.map((next) => next ?? 0);
    this.start_partitions = vector.map((next) => next !== undefined);
    this.#take_id(block.id, 'connected');
  }

  #event(block, json) {
    const m = /^([A-Za-z0-9]{6})-(\d+)-(\d+)$/.exec(json.id);
    if (!m || m[1] !== this.broker.history) this.#fail(`an event of another log: ${json.id}`);
    const p = Number(m[2]);
    const offset = Number(m[3]);
    const got = this.got[p];
    if (offset < (this.promised[p] ?? 0)) this.#fail(`${json.id} came after an id that promised all below ${this.promised[p]}`);
    if (offset <= (got.offsets.at(-1) ?? -1)) this.#fail(`${json.id} came after offset ${got.offsets.at(-1)}`);
    got.offsets.push(offset);
    const { events } = this.trail.at(-1);
    events[p] ??= { first: offset, count: 0 };
    events[p].last = offset;
    events[p].count++;
    got.values.push(json.payload.v);
    if (block.id === undefined) this.#fail(`${json.id} without an id line`);
    this.#take_id(block.id, json.id);
    if (this.promised[p] <= offset) this.#fail(`the id line of ${json.id} does not have it behind it: ${block.id}`);
    if (this.options.list) this.#keep_for_list(block.id, json.id);
  }

  #keep_for_list(id, event_id) {
    if (this.base !== undefined && this.since.length < 20) this.since.push(event_id);
    else {
      this.base = id;
      this.since = [];
    }
  }

  #take_id(id, of) {
    const vector = vector_of(id, this.broker.history, this.options.partitions);
    for (let p = 0; p < vector.length; p++) {
      if (vector[p] === undefined) continue;
      if (vector[p] < (this.promised[p] ?? 0)) this.#fail(`the id of ${of} went back from ${this.promised[p]} to ${vector[p]} in partition ${p}`);
      this.promised[p] = vector[p];
    }
    this.cursor = id;
    if (/^[A-Za-z0-9]{6}-/.test(of)) return;
    this.base = id;
    this.since = [];
  }

  /** What it is told to have lost is excused: from what was promised to where it goes on. */
  #resync(block, json, state) {
    state.resynced = true;
    const vector = vector_of(block.id, this.broker.history, this.options.partitions);
    this.told.push({ type: 'resync', reason: json.reason, vector, before: [...this.promised] });
    if (json.reason !== 'expired') this.#fail(`resync ${json.reason}, though its cursor ${state.sent} is of this log`);
    for (let p = 0; p < vector.length; p++) {
      const from = Math.max(this.promised[p] ?? this.start?.[p] ?? 0, (this.got[p].offsets.at(-1) ?? -1) + 1);
      if (vector[p] <= from) continue;
      const begin = this.options.segments?.(p);
      if (begin !== undefined && (begin.length < 2 || (vector[p] > begin[0] && !begin.includes(vector[p])))) {
        this.#fail(`${p}-${from} to ${vector[p]} expired, it was told, but the files begin at ${begin}`);
      }
      this.excused[p].push({ from, to: vector[p], reason: 'expired' });
    }
    this.#take_id(block.id, 'resync');
  }

  #gap(json) {
    assert.equal(json.reason, 'crash', `${this.name}: a gap`);
    const [, p, from] = json.from.split('-').map(Number);
    const to = Number(json.to.split('-')[2]) + 1;
    this.told.push({ type: 'gap', partition: p, from, to });
    this.trail.at(-1).gap = [...(this.trail.at(-1).gap ?? []), json];
    this.excused[p].push({ from, to, reason: 'crash' });
  }

  get events() {
    return this.got.reduce((sum, got) => sum + got.offsets.length, 0);
  }

  describe() {
    return `${this.events} events, promised ${this.promised}, ${JSON.stringify(this.counts)}, told ${JSON.stringify(this.told.slice(-3))}`;
  }
}
