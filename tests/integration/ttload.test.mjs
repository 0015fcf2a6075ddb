// ttload against a broker made for the purpose, which does wrong when it is told to: a tool that
// measures must notice; and a feed must stay exactly once whatever becomes of its requests.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { io } from './lib/broker.mjs';
import { Fake, measured, run, ttload } from './lib/fake.mjs';

for (const [what, args] of [
  ['NDJSON to all', []],
  ['single envelopes', ['--publish=single', '--publish-connections=2']],
  ['clients that follow a part', ['--channels=7', '--channels-per-client=3', '--threads=2']],
  ['events larger than a receive', ['--event-bytes=100KiB', '--rate=20']],
]) {
  test(`a good run: ${what}`, async () => {
    const { code, report } = await measured(new Fake({}), [...args, '--drain=30s']);
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
    [['run', '--slow-share=101'], /^ttload: --slow-share=101: allowed: 0 to 100 per cent, at most three decimals\n$/],
    [['run', '--ramp=fast'], /^ttload: --ramp=fast: allowed: 0 to 1000000\n$/],
    [['run', '--policy=replay:80,conflate:30'], /^ttload: --policy=replay:80,conflate:30: allowed: .*100 together/],
    [['run', '--max-rate=2'], /^ttload: --max-rate: allowed beside a --policy that gives conflate a share/],
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

test('--html: a file that cannot be written is refused before anything begins', async () => {
  const fake = new Fake({});
  const url = await fake.listen();
  const name = path.join(os.tmpdir(), 'ttload-there-is-no-such-directory', 'x.html');
  const child = await run(['run', `--url=${url}`, '--clients=1', `--html=${name}`]);
  fake.close();
  assert.equal(child.code, 2);
  assert.equal(child.stderr, `ttload: --html=${name}: cannot be written: No such file or directory; allowed: a file, in a directory that is there\n`);
  assert.equal(fake.opened, 0);
});

test('--html: a page that needs nothing else, beside the JSON report, over an older and longer one', async () => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'ttload-test-'));
  const name = path.join(directory, 'report.html');
  fs.writeFileSync(name, 'old'.repeat(100_000));
  const { code, report } = await measured(new Fake({}), [`--html=${name}`, '--slow-share=20', '--slow-stop=50ms']);
  const page = fs.readFileSync(name, 'utf8');
  fs.rmSync(directory, { recursive: true });
  assert.equal(code, 0);
  assert.equal(report.disturbed.slow, 1);
  assert.match(page, /^<!doctype html>/);
  assert.match(page, /<\/html>\n$/);
  assert.equal(page.match(/<svg /g).length, page.match(/<\/svg>/g).length);
  assert.doesNotMatch(page, /src=|href=|<script|url\(|@import/);
  assert.match(page, /Latency by percentile/);
});

test('progress: a line for each phase where there is no terminal, none with --quiet', async () => {
  const fake = new Fake({});
  const url = await fake.listen();
  const args = ['run', `--url=${url}`, '--clients=1', '--duration=20ms', '--warmup=10ms'];
  const said = await run(args);
  const quiet = await run([...args, '--quiet']);
  fake.close();
  assert.equal(said.stderr, 'ttload: connecting\nttload: warming up\nttload: measuring\nttload: draining\n');
  assert.equal(quiet.stderr, '');
});

/** What ttload writes to a terminal of so many columns: the text of each line that it drew. */
async function on_terminal(columns, environment) {
  const fake = new Fake({});
  const url = await fake.listen();
  const command = `stty cols ${columns}; exec '${ttload}' run --url=${url} --clients=3 --duration=700ms --warmup=0 --json ${io ? `--io=${io}` : ''} >/dev/null`;
  const child = spawn('script', ['-qec', command, '/dev/null'], {
    stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, TERM: 'xterm', LC_ALL: 'C.UTF-8', NO_COLOR: '', ...environment } });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (data) => (text += data));
  const code = await new Promise((resolve, reject) => child.on('error', reject).on('close', resolve));
  fake.close();
  assert.equal(code, 0, text);
  return text;
}

for (const columns of [120, 60, 38, 12]) {
  test(`a terminal of ${columns} columns: redrawn in place, no line is wider`, async () => {
    const text = await on_terminal(columns, {});
    assert.match(text, /\x1b\[7A/);
    assert.match(text, /\x1b\[3[0-9]m/);
    for (const line of text.replaceAll(/\x1b\[[0-9;]*[A-Za-z]|\r/g, '').split('\n')) assert.ok([...line].length <= columns, line);
    if (columns < 60) return;
    assert.match(text, /3 of 3 live/);
    assert.match(text, /last second/);
    assert.match(text, /\u2588/);
  });
}

test('a terminal without colours, and one that cannot do anything', async () => {
  const plain = await on_terminal(80, { NO_COLOR: '1' });
  assert.match(plain, /\x1b\[7A/);
  assert.doesNotMatch(plain, /\x1b\[[0-9;]*m/);
  const dumb = await on_terminal(80, { TERM: 'dumb' });
  assert.doesNotMatch(dumb, /\x1b/);
  assert.match(dumb, /^ttload: connecting\r?\n/);
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

test('a feed writes lines for kcat: the channel, a tab, the envelope', async () => {
  const how = await run(['feed', '--stdout', '--rate=100000', '--count=50', '--symbols=3']);
  assert.equal(how.code, 0, how.stderr);
  const lines = how.stdout.split('\n');
  assert.equal(lines.pop(), '');
  assert.equal(lines.length, 50);
  const counts = new Map();
  for (const line of lines) {
    const [channel, text] = line.split('\t');
    const event = JSON.parse(text);
    assert.equal(event.channel, channel);
    counts.set(channel, (counts.get(channel) ?? 0) + 1);
    assert.equal(event.payload.n, counts.get(channel));
  }
});
