// A broker of a few lines that does wrong when it is told to, and ttload as a child process: for the tests of ttload.

import { spawn } from 'node:child_process';
import http from 'node:http';
import path from 'node:path';
import { binary, io } from './broker.mjs';

export const ttload = path.join(path.dirname(binary), 'ttload');

/** Runs ttload to its end. */
export function run(args, options = {}) {
  const child = spawn(ttload, io && args.length ? [...args, `--io=${io}`] : args, options);
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (data) => (stdout += data));
  child.stderr.on('data', (data) => (stderr += data));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

/**
 * One partition, narrow cursors. `deliver(stream, frames)` decides what a
 * stream gets of the frames of one request; `take(number)` what becomes of the request itself:
 * 'answer', 'take and drop', 'drop', or { status, body }; `resume(next)` where a stream that gives a cursor goes on.
 * A stream knows its `query` (URLSearchParams) and whether it has `resumed`.
 */
export class Fake {
  constructor({ deliver = (stream, frames) => stream.write(frames.join('')), take = () => 'answer', greet, resume = (next) => next }) {
    Object.assign(this, { deliver, take, greet, resume });
    this.log = [];
    this.streams = [];
    this.requests = 0;
    this.opened = 0;
    this.server = http.createServer((request, response) => this.#on(request, response));
  }

  async listen() {
    await new Promise((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${this.server.address().port}`;
  }

  close() {
    this.server.closeAllConnections();
    this.server.close();
  }

  #on(request, response) {
    const url = new URL(request.url, 'http://x');
    if (request.method === 'GET') return this.#subscribe(url, request, response);
    const parts = [];
    request.on('data', (part) => parts.push(part));
    request.on('end', () => this.#publish(Buffer.concat(parts).toString(), request, response));
  }

  #subscribe(url, request, response) {
    if (this.greet?.(response, this.opened++)) return;
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    const patterns = url.searchParams.get('channels').split(',');
    response.follows = (channel) => patterns.some((p) =>
      p.endsWith('*') ? channel.startsWith(p.slice(0, -1)) : channel === p);
    response.query = url.searchParams;
    const cursor = request.headers['last-event-id'] ?? url.searchParams.get('cursor');
    response.resumed = cursor != null;
    const from = response.resumed ? this.resume(parseInt(cursor.split('-')[2], 10) + (cursor.endsWith('/next') ? 0 : 1))
      : url.searchParams.get('from') === 'earliest' ? 0 : this.log.length;
    const at = `fake00-0-${this.log.length}/next`;
    response.write(`retry: 3000\n\nevent: connected\ndata: {}\nid: ${response.resumed ? cursor : at}\n\n`);
    response.on('close', () => this.streams.splice(this.streams.indexOf(response), 1));
    for (const e of this.log.slice(from)) if (response.follows(e.channel)) response.write(e.frame);
    this.streams.push(response);
  }

  #append(envelope, text) {
    const id = `fake00-0-${this.log.length}`;
    const mark = envelope.conflate === false ? ',"conflate":false' : '';
    const data = `${text.replace(/(,"conflate":false)?\}$/, '')},"timestamp":1,"id":"${id}"${mark}}`;
    const frame = `event: ${envelope.type}\ndata: ${data}\nid: ${id}\n\n`;
    this.log.push({ ...envelope, id, frame });
    return this.log.at(-1);
  }

  #publish(body, request, response) {
    const how = this.take(this.requests++);
    if (how.status) {
      response.writeHead(how.status, { 'Content-Type': 'application/json', 'Content-Length': how.body.length });
      return response.end(how.body);
    }
    if (how === 'drop') return request.socket.destroy();
    const ndjson = request.headers['content-type'] === 'application/x-ndjson';
    const texts = ndjson ? body.trim().split('\n')
      : body[0] === '[' ? body.slice(1, -1).split(/,(?=\{"(?:type|channel)":)/) : [body];
    const events = texts.map((text) => this.#append(JSON.parse(text), text));
    for (const stream of [...this.streams]) {
      const frames = events.filter((e) => stream.follows(e.channel)).map((e) => e.frame);
      if (frames.length) this.deliver(stream, frames, this);
    }
    if (how === 'take and drop') return request.socket.destroy();
    const ids = events.map((e) => e.id);
    const answer = ndjson ? { count: ids.length, first: ids[0], last: ids.at(-1) }
      : body[0] === '[' ? { ids } : { id: ids[0] };
    const text = JSON.stringify(answer);
    response.writeHead(202, { 'Content-Type': 'application/json', 'Content-Length': text.length });
    response.end(text);
  }
}

/** `ttload run` against the fake broker: { code, stderr, report }. */
export async function measured(fake, args = []) {
  const url = await fake.listen();
  try {
    const how = await run(['run', `--url=${url}`, '--clients=5', '--channels=2', '--rate=200',
      '--warmup=0', '--duration=300ms', '--drain=200ms', '--json', '--quiet', ...args]);
    if (how.signal) throw new Error(`ttload was ended by ${how.signal}: ${how.stderr}`);
    return { ...how, report: JSON.parse(how.stdout) };
  } finally {
    fake.close();
  }
}
