// How many clients a broker holds against its limit of descriptors: on io_uring sockets leave the process's
// table, on epoll they do not and the broker takes no more than it can hold. Every delivery is counted.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import path from 'node:path';
import { binary, broker_test } from './lib/broker.mjs';
import { request } from './lib/http.mjs';
import { logged } from './lib/wait.mjs';

const long = process.env.TT_LONG === '1' && !/\/(asan|tsan)\//.test(binary);

/** Runs `ttload run` against the broker; resolves to its exit code and report. */
async function load(broker, args) {
  const child = spawn(path.join(path.dirname(binary), 'ttload'), ['run', `--url=${broker.url}`, '--json', '--quiet', ...args]);
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (text) => (stdout += text));
  child.stderr.on('data', (text) => (stderr += text));
  const code = await new Promise((resolve, reject) => child.on('error', reject).on('close', resolve));
  assert.equal(code, 0, `ttload found something wrong:\n${stdout}\n${stderr}`);
  return JSON.parse(stdout);
}

async function metric(broker, name) {
  const { text } = await request(broker.ops, { path: '/metrics' });
  return text.split('\n').filter((line) => line.startsWith(`tickertape_${name}`)).reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

broker_test('on io_uring more clients than the limit of descriptors', { descriptors: 450 }, async (broker, t) => {
  if (broker.io !== 'io_uring') return t.skip('epoll cannot: see the next test');
  await load(broker, ['--clients=700', '--rate=20', '--warmup=10ms', '--duration=500ms', '--drain=60s']);
  assert.equal(await metric(broker, 'deliveries_total') % 700, 0);
  assert.ok(await metric(broker, 'deliveries_total') > 0);
});

broker_test('on epoll the number of clients is clamped to the limit of descriptors', { descriptors: 700 }, async (broker, t) => {
  if (broker.io !== 'epoll') return t.skip('io_uring is not bound by it');
  await logged(broker, /clients_clamped/);
  const most = Number(/at most (\d+) clients/.exec(broker.stderr)[1]);
  assert.ok(most > 0 && most < 700, `at most ${most}`);
  await load(broker, [`--clients=${most - 20}`, '--rate=20', '--warmup=10ms', '--duration=300ms', '--drain=60s']);
});

if (long) {
  broker_test('30,000 clients with a limit of 20,000 descriptors', { descriptors: 20000, timeout: 600_000 }, async (broker, t) => {
    if (broker.io !== 'io_uring') return t.skip('epoll cannot');
    await load(broker, ['--clients=30000', '--threads=2', '--rate=1', '--warmup=1s', '--duration=5s', '--drain=120s', '--connect-timeout=300s']);
    assert.equal(await metric(broker, 'deliveries_total') % 30000, 0);
  });
}
