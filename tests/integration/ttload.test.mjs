// ttload against a broker made for the purpose, which does wrong when it is told to: a tool that
// measures must notice; and a feed must stay exactly once whatever becomes of its requests.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import http from 'node:http';
import path from 'node:path';
import test from 'node:test';
import { binary, io } from './lib/broker.mjs';

const ttload = path.join(path.dirname(binary), 'ttload');

/** Runs ttload to its end. */
function run(args) {
  const child = spawn(ttload, io && args.length ? [...args, `--io=${io}`] : args);
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
 * A broker of a few lines: one partition, narrow cursors. `deliver(stream, frames)` decides what a
 * stream gets of the frames of one request; `take(number)` what becomes of the request itself:
 * 'answer', 'take and drop', 'drop', or { status, body }.
 */
class Fake {
  constructor({ deliver = (stream, frames) => stream.write(frames.join('')), take = () => 'answer', greet }) {
    Object.assign(this, { deliver, take, greet });
    this.log = [];
    this.streams = [];
    this.requests = 0;
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
    if (request.method === 'GET') return this.#subscribe(url, response);
    const parts = [];
    request.on('data', (part) => parts.push(part));
    request.on('end', () => this.#publish(Buffer.concat(parts).toString(), request, response));
  }

  #subscribe(url, response) {
    if (this.greet?.(response, this.streams.length)) return;
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    const patterns = url.searchParams.get('channels').split(',');
    response.follows = (channel) => patterns.some((p) =>
      p.endsWith('*') ? channel.startsWith(p.slice(0, -1)) : channel === p);
    const cursor = url.searchParams.get('cursor');
    const from = cursor ? Number(cursor.split('-')[2]) + 1
      : url.searchParams.get('from') === 'earliest' ? 0 : this.log.length;
    response.write('retry: 3000\n\nevent: connected\ndata: {}\n\n');
    for (const e of this.log.slice(from)) if (response.follows(e.channel)) response.write(e.frame);
    this.streams.push(response);
  }

  #append(envelope, text) {
    const id = `fake00-0-${this.log.length}`;
    const data = `${text.replace(/(,"conflate":false)?\}$/, '')},"timestamp":1,"id":"${id}"}`;
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
    for (const stream of this.streams) {
      const frames = events.filter((e) => stream.follows(e.channel)).map((e) => e.frame);
      if (frames.length) this.deliver(stream, frames);
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

async function measured(fake, args = []) {
  const url = await fake.listen();
  try {
    const how = await run(['run', `--url=${url}`, '--clients=5', '--channels=2', '--rate=200',
      '--warmup=0', '--duration=300ms', '--drain=200ms', '--json', '--quiet', ...args]);
    assert.equal(how.signal, null, how.stderr);
    return { ...how, report: JSON.parse(how.stdout) };
  } finally {
    fake.close();
  }
}

for (const [what, args] of [
  ['NDJSON to all', []],
  ['single envelopes', ['--publish=single', '--publish-connections=2']],
  ['clients that follow a part', ['--channels=7', '--channels-per-client=3', '--threads=2']],
  ['events larger than a receive', ['--event-bytes=100KiB', '--rate=20']],
]) {
  test(`a good run: ${what}`, async () => {
    const { code, report } = await measured(new Fake({}), args);
    assert.deepEqual(report.failures, []);
    assert.equal(code, 0);
    assert.ok(report.total.published > 0);
    assert.equal(report.total.delivered, report.total.expected);
    assert.equal(report.latency_ms.count, report.total.expected);
    assert.equal(report.connected, 5);
    assert.ok(report.latency_ms.p50 <= report.latency_ms.p99 && report.latency_ms.p99 <= report.latency_ms.max);
  });
}

/** Does something else with one request's frames, on one stream, once. */
function once(what) {
  let done = false;
  return (stream, frames) => {
    const now = !done && frames.length === 1;
    if (now) done = true;
    if (now) what(stream, frames[0]);
    else stream.write(frames.join(''));
  };
}

for (const [what, deliver, counted] of [
  ['lost', once(() => {}), { lost: 1, gaps: 1 }],
  ['doubled', once((stream, frame) => stream.write(frame + frame)), { doubled: 1 }],
]) {
  test(`one event ${what} for one client fails the run`, async () => {
    const { code, report } = await measured(new Fake({ deliver }), ['--publish=single']);
    assert.equal(code, 1);
    assert.equal(report.good, false);
    for (const [name, count] of Object.entries(counted)) assert.equal(report.total[name], count);
    assert.match(report.failures[0], new RegExp(`1 deliveries ${what}`));
  });
}

test('one event out of order for one client fails the run', async () => {
  const held = new Map();
  let done = false;
  const deliver = (stream, [frame]) => {
    if (!done && !held.has(stream)) {
      done = true;
      held.set(stream, frame);
    } else {
      stream.write(frame + (held.get(stream) ?? ''));
      held.set(stream, '');
    }
  };
  const { code, report } = await measured(new Fake({ deliver }), ['--publish=single', '--channels=1']);
  assert.equal(code, 1);
  assert.equal(report.total.reordered, 1);
  assert.equal(report.total.lost, 0);
});

for (const [what, options, message] of [
  ['a payload that was changed', { deliver: once((s, frame) => s.write(frame.replace('"pad":"a', '"pad":"b').replace('"due":', '"due": '))) }, /not an event that was published/],
  ['an event of a channel that is not followed', { args: ['--channels=7', '--channels-per-client=3'], deliver: (s, frames) => s.write(frames[0].replaceAll(/load\.(\d)","payload":\{"seq":(\d+),"channel":\d/g, (m, c, n) => `load.${(Number(c) + 3) % 7}","payload":{"seq":${n},"channel":${(Number(c) + 3) % 7}`)) }, /without following it/],
  ['a stream that ends', { deliver: once((s) => s.end()) }, /ended the stream/],
  ['a connection that is cut', { deliver: once((s) => s.destroy()) }, /closed the connection/],
  ['an event that nobody published', { deliver: once((s, frame) => s.write(`${frame}event: surprise\ndata: 1\nid: x\n\n`)) }, /unexpected event surprise/],
  ['a stream that is refused', { greet: (r, n) => n === 3 && r.writeHead(503).end('no') }, /status is not 200 \(status 503\)/],
  ['an answer that is no stream', { greet: (r) => r.writeHead(200, { 'Content-Type': 'text/html' }).end('x') }, /not text\/event-stream/],
  ['a publish that is refused', { take: (n) => (n === 5 ? { status: 503, body: '{"error":{}}' } : 'answer') }, /answered 503/],
  ['a publish without an answer', { take: (n) => (n === 5 ? 'take and drop' : 'answer') }, /closed the connection/],
]) {
  test(`${what} fails the run, and is named`, async () => {
    const { code, report } = await measured(new Fake(options), ['--publish=single', ...(options.args ?? [])]);
    assert.equal(code, 1);
    assert.match(report.failures.join('\n'), message);
  });
}

test('nobody there: one clear line, exit status 1', async () => {
  const fake = new Fake({});
  const url = await fake.listen();
  fake.close();
  const { code, stdout } = await run(['run', `--url=${url}`, '--clients=1', '--quiet']);
  assert.equal(code, 1);
  assert.match(stdout, /FAILED +client 0: connecting to 127\.0\.0\.1:\d+: /);
});

test('wrong options: exit status 2, and what is allowed', async () => {
  for (const [args, message] of [
    [['run', '--clients=many'], /^ttload: --clients=many: allowed: 0 to 1000000\n$/],
    [['feed', '--rate=0'], /^ttload: --rate=0: allowed: 1 to 1000000\n$/],
    [['feed', '--speed=3'], /^ttload: --speed: there is no such option/],
    [['walk'], /^ttload: walk: allowed: run, feed\n/],
    [[], /^usage: ttload run/],
  ]) {
    const child = await run(args);
    assert.equal(child.code, 2, args.join(' '));
    assert.match(child.stderr, message);
  }
});

test('--help lists every option', async () => {
  const { code, stdout } = await run(['run', '--help']);
  assert.equal(code, 0);
  for (const name of ['--clients=100', '--rate=100', '--io=auto', '--pid=0', '--json', '--duration=10s']) {
    assert.ok(stdout.includes(name), name);
  }
});

/** Whether the log holds n = 1, 2, 3, ... of each stock, each once. */
function exactly_once(fake) {
  const n = new Map();
  let count = 0;
  for (const e of fake.log) {
    if (!e.channel.startsWith('stock.')) continue;
    assert.equal(e.payload.n, (n.get(e.channel) ?? 0) + 1, `${e.channel} at ${e.id}`);
    n.set(e.channel, e.payload.n);
    count++;
  }
  return count;
}

for (const [what, take] of [
  ['answers are lost, the events taken', (n) => (n % 7 === 3 ? 'take and drop' : 'answer')],
  ['requests are lost', (n) => (n % 7 === 3 ? 'drop' : 'answer')],
  ['the first answer of all is lost', (n) => (n === 0 ? 'take and drop' : 'answer')],
  ['marks are lost too', (n) => (n % 3 === 1 ? 'take and drop' : n % 5 === 4 ? 'drop' : 'answer')],
  ['the broker is full for a while', (n) => (n > 3 && n < 6 ? { status: 503, body: '{"error":{}}' } : 'answer')],
  ['the broker has errors of its own', (n) => (n % 7 === 3 ? { status: 500, body: 'oops' } : 'answer')],
]) {
  test(`a feed is exactly once when ${what}`, async () => {
    const fake = new Fake({ take });
    const url = await fake.listen();
    const how = await run(['feed', `--url=${url}`, '--rate=200', '--count=100', '--symbols=10', '--backoff=20ms']);
    fake.close();
    assert.equal(how.code, 0, how.stderr);
    assert.equal(exactly_once(fake), 100);
    assert.match(how.stderr, /published 100 events\n$/);
  });
}

test('a feed waits for a broker that is not there yet, and ends cleanly on SIGTERM', async () => {
  const first = new Fake({});
  const url = await first.listen();
  const { port } = first.server.address();
  first.close();
  const child = spawn(ttload, ['feed', `--url=${url}`, '--rate=500', '--backoff=20ms', ...(io ? [`--io=${io}`] : [])]);
  let text = '';
  const away = new Promise((resolve) => child.stderr.on('data', (data) => {
    text += data;
    if (/is away/.test(text)) resolve();
  }));
  const ended = new Promise((resolve) => child.on('close', (code, signal) => resolve({ code, signal })));
  await Promise.race([away, ended]);
  const fake = new Fake({ take: (n) => (n === 20 && child.kill('SIGTERM'), 'answer') });
  await new Promise((resolve) => fake.server.listen(port, '127.0.0.1', resolve));
  assert.deepEqual(await ended, { code: 0, signal: null }, text);
  fake.close();
  const count = exactly_once(fake);
  assert.ok(count >= 20, text);
  assert.match(text, new RegExp(`connected to .*published ${count} events\n$`, 's'));
});

test('a feed that is refused for good says why and ends', async () => {
  const fake = new Fake({ take: () => ({ status: 403, body: '{"error":{"code":"forbidden"}}' }) });
  const url = await fake.listen();
  const how = await run(['feed', `--url=${url}`]);
  fake.close();
  assert.equal(how.code, 1);
  assert.match(how.stderr, /refused: 403 .*forbidden/);
});
