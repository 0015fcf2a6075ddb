// A client that costs a test little: it counts what comes, and keeps nothing but the next number of each channel and
// its cursor. For scenarios with thousands of clients; the strict ones are in sse.mjs.

import net from 'node:net';
import { patience_ms, within } from './wait.mjs';

export class LightClient {
  /** options: { cursor, counts (Map channel -> next n, of the client that this one continues) } */
  constructor(broker, path, options = {}) {
    this.cursor = options.cursor ?? '';
    this.next = options.counts ?? new Map();
    this.events = 0;
    this.lost = 0;
    this.doubled = 0;
    this.controls = [];
    this.rest = '';
    this.id = this.cursor;
    this.data = '';
    this.ended = false;
    this.waiters = new Set();
    const head = `GET ${path} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n`;
    this.socket = net.connect({ host: broker.http.host, port: broker.http.port, noDelay: true });
    this.socket.setEncoding('latin1');
    this.socket.write(`${head}${this.cursor === '' ? '' : `Last-Event-ID: ${this.cursor}\r\n`}\r\n`);
    this.socket.on('data', (text) => this.#take(text));
    const end = () => {
      this.ended = true;
      this.#wake();
    };
    this.socket.on('error', end).on('close', end).on('end', end);
  }

  static async open(broker, path, options) {
    const client = new LightClient(broker, path, options);
    await client.when(() => client.controls.length > 0, 'connected');
    return client;
  }

  /* Chunk sizes stand on lines of their own: every frame is a chunk, and ends with an event. */
  #take(text) {
    const lines = (this.rest + text).split('\n');
    this.rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith('data: {"type":')) this.data = line;
      else if (line.startsWith('id: ')) this.id = line.slice(4);
      else if (line === '') this.#dispatch();
      else if (line.startsWith('event: ') && this.#is_control(line)) this.controls.push(line.slice(7));
    }
    this.#wake();
  }

  /* What has no empty line behind it did not come: the connection was cut inside. */
  #dispatch() {
    this.cursor = this.id;
    if (this.data !== '') this.#event(this.data);
    this.data = '';
  }

  #is_control(line) {
    return line === 'event: connected' || line === 'event: resync' || line === 'event: gap' || line === 'event: snapshot-end';
  }

  #event(line) {
    const c = line.indexOf('"channel":"') + 11;
    const channel = line.slice(c, line.indexOf('"', c));
    const at = line.indexOf('"n":', c) + 4;
    const n = Number.parseInt(line.slice(at, at + 12), 10);
    const expected = this.next.get(channel) ?? 1;
    if (n < expected) this.doubled++;
    else this.lost += n - expected;
    this.next.set(channel, Math.max(expected, n + 1));
    this.events++;
  }

  #wake() {
    for (const waiter of [...this.waiters]) waiter();
  }

  async when(ready, what, limit_ms = patience_ms) {
    let waiter;
    const done = new Promise((resolve) => {
      waiter = () => ready(this) && resolve();
      this.waiters.add(waiter);
      waiter();
    });
    await within(done, () => `${what}; ${this.events} events, ${this.controls}`, limit_ms).finally(() => this.waiters.delete(waiter));
  }

  pause() {
    this.socket.pause();
  }

  resume() {
    this.socket.resume();
  }

  cut() {
    this.ended = true;
    this.socket.destroy();
  }
}

/** The memory of a process that is its own: resident pages of mappings that can be written. */
export async function own_memory_bytes(pid) {
  const fs = await import('node:fs');
  let writable = false;
  let kb = 0;
  for (const line of fs.readFileSync(`/proc/${pid}/smaps`, 'utf8').split('\n')) {
    const mapping = /^[0-9a-f]+-[0-9a-f]+ (\S+) /.exec(line);
    if (mapping) writable = mapping[1][1] === 'w';
    else if (writable && line.startsWith('Rss:')) kb += Number(/\d+/.exec(line)[0]);
  }
  return kb * 1024;
}
