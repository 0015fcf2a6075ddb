// The command line, the environment and the configuration file; and what makes a start impossible. Each
// gives one clear line and a status that is not 0.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { Broker, broker_test, io, run_to_end, temporary_directory, with_broker } from './lib/broker.mjs';
import { assert_error, request } from './lib/http.mjs';
import { publish } from './lib/publish.mjs';
import { subscribe } from './lib/sse.mjs';

const skip = process.env.TT_SMALL === '1' && 'not in the small set';
const here = (name, body) => test(name, { skip, timeout: 120_000 }, body);

/** Arguments that would start, so that only what a test adds can be wrong. */
function sound(directory) {
  return ['--listen=127.0.0.1:0', '--ops-listen=127.0.0.1:0', `--data=${directory}`, '--shards=1', ...(io ? [`--io=${io}`] : [])];
}

/** CRC32C, as store/README.md names it for the file META. */
function crc32c(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return ~crc >>> 0;
}

async function refused(args, words, options) {
  const directory = temporary_directory();
  try {
    const { code, stdout, stderr } = await run_to_end([...sound(directory), ...args], options);
    assert.ok(code !== 0 && code !== null, `${args}: it ends with a status that is not 0, not ${code}`);
    assert.doesNotMatch(stdout, /tickertape ready/);
    const lines = stderr.trim().split('\n');
    for (const word of words) assert.ok(stderr.includes(word), `${args}: "${stderr.trim()}" names "${word}"`);
    assert.equal(lines.length, 1, `${args}: one line, not\n${stderr}`);
    return stderr;
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

here('--help prints every option, --version a version', async () => {
  const help = await run_to_end(['--help']);
  assert.equal(help.code, 0);
  for (const name of ['listen', 'ops-listen', 'data', 'shards', 'io', 'log-sync', 'log-partitions', 'tail-bytes', 'max-clients', 'stall-ms', 'drain-ms', 'heartbeat-ms', 'retry-ms', 'http-prefix', 'http-overload', 'allow-origin', 'insecure', 'demo', 'diag-format', 'config', 'check', 'help', 'version']) {
    assert.match(help.stdout, new RegExp(`--${name}\\b`), name);
  }
  const version = await run_to_end(['--version']);
  assert.equal(version.code, 0);
  assert.match(version.stdout, /\d+\.\d+/);
});

here('wrong options are refused with key, value and what is allowed', async () => {
  for (const [args, ...words] of [
    [['--no-such-option=1'], 'no-such-option'],
    [['--shards=many'], 'shards', 'many'],
    [['--shards=100000'], 'shards', '100000', '256'],
    [['--io=uring'], 'io', 'uring', 'epoll'],
    [['--heartbeat-ms=99'], 'heartbeat-ms', '99', '100'],
    [['--heartbeat-ms=11m'], 'heartbeat-ms', '11m'],
    [['--tail-bytes=1KiB'], 'tail-bytes', '1KiB'],
    [['--max-event-bytes=5MiB'], 'max-event-bytes', '5MiB', '4'],
    [['--max-event-bytes=1 potato'], 'max-event-bytes', 'potato'],
    [['--log-sync=sometimes'], 'log-sync', 'sometimes', 'interval'],
    [['--log-partitions=0'], 'log-partitions', '0'],
    [['--listen=nowhere'], 'listen', 'nowhere'],
    [['--listen=127.0.0.1:70000'], 'listen', '70000'],
    [['--allow-origin=example.com/path'], 'allow-origin'],
    [['--http-prefix=push'], 'prefix', 'push'],
    [['--diag-format=xml'], 'diag-format', 'xml', 'json'],
    [['--config=/no/such/file.ini'], '/no/such/file.ini'],
    [['stray'], 'stray'],
  ]) {
    await refused(args, words);
  }
});

here('options that this version does not have are refused, not ignored', async () => {
  for (const name of ['tls-cert', 'jwt-key', 'kafka-brokers', 'trusted-proxies']) await refused([`--${name}=x`], [name]);
});

here('--check says what is wrong, or nothing', async () => {
  const directory = temporary_directory();
  const good = await run_to_end([...sound(directory), '--check']);
  assert.equal(good.code, 0, good.stderr);
  await refused(['--check', '--retry-ms=1'], ['retry-ms']);
  fs.rmSync(directory, { recursive: true, force: true });
});

here('beyond loopback it listens only with --insecure', async () => {
  await refused(['--listen=0.0.0.0:0'], ['0.0.0.0', 'insecure']);
  await refused(['--listen=[::]:0'], ['insecure']);
  await with_broker({ args: ['--listen=0.0.0.0:0', '--insecure'] }, async (broker) => {
    await publish(broker, { channel: 'c', payload: 1 });
  });
});

broker_test('a port in use is said in one line', {}, async (broker) => {
  const used = `127.0.0.1:${broker.http.port}`;
  await refused([`--listen=${used}`], [used, 'in use']);
  const ops = `127.0.0.1:${broker.ops.port}`;
  await refused([`--ops-listen=${ops}`], [ops, 'in use']);
});

broker_test('a data directory that another broker uses is refused, and stays whole', {}, async (broker) => {
  const id = await publish(broker, { channel: 'c', payload: 1 });
  await refused([`--data=${broker.data}`], [broker.data]);
  const client = await subscribe(broker, '/sse?channels=c&from=earliest');
  assert.equal((await client.received(1))[0].id, id);
  client.cut();
});

here('a data directory that cannot be used is refused', async () => {
  const directory = temporary_directory();
  const file = path.join(directory, 'file');
  fs.writeFileSync(file, 'text');
  await refused([`--data=${file}`], [file]);
  await refused([`--data=${file}/below`], [`${file}/below`]);
  await refused(['--data=/proc/tickertape'], ['/proc/tickertape']);
  fs.rmSync(directory, { recursive: true, force: true });
});

here('a data directory of a newer format, or a damaged one, is refused and left alone', async () => {
  const broker = await Broker.start({ args: ['--drain-delay-ms=0'] });
  try {
    await publish(broker, { channel: 'c', payload: 1 });
    await broker.stop();
    const meta = path.join(broker.data, 'META');
    const good = fs.readFileSync(meta);
    const newer = Buffer.from(good);
    newer.writeUInt32LE(newer.readUInt32LE(8) + 1, 8);
    newer.writeUInt32LE(crc32c(newer.subarray(0, 60)), 60);
    for (const [bytes, word] of [
      [newer, 'version'],
      [good.subarray(0, 20), 'META'],
      [Buffer.from(good.map((byte, i) => (i === 20 ? byte ^ 1 : byte))), 'META'],
    ]) {
      fs.writeFileSync(meta, bytes);
      await refused([`--data=${broker.data}`], [broker.data, word]);
      assert.deepEqual(fs.readFileSync(meta), bytes, 'it is left as it was');
    }
    fs.writeFileSync(meta, good);
    await broker.restart();
    const client = await subscribe(broker, '/sse?channels=c&from=earliest');
    await client.received(1);
    client.cut();
  } finally {
    await broker.dispose();
  }
});

here('the number of partitions is fixed when the log is created', async () => {
  const broker = await Broker.start({ args: ['--log-partitions=3', '--drain-delay-ms=0'] });
  try {
    await publish(broker, { channel: 'c', payload: 1 });
    await broker.stop();
    await refused([`--data=${broker.data}`, '--log-partitions=4'], ['partitions', '3', '4']);
    await broker.restart();
    await publish(broker, { channel: 'c', payload: 2 });
  } finally {
    await broker.dispose();
  }
});

broker_test('options come from the command line, the environment and a file, in this order', {}, async () => {
  const directory = temporary_directory();
  const file = path.join(directory, 'tickertape.ini');
  fs.writeFileSync(file, 'retry-ms = 1s\nheartbeat-ms = 1s\n[http]\nprefix = /file\n[log]\npartitions = 2\n');
  const heartbeat = async (options, prefix) =>
    with_broker({ ...options, args: [...(options.args ?? []), `--config=${file}`] }, async (broker) => {
      const client = await subscribe(broker, `${prefix}/sse?channels=c.*`);
      const ms = client.all[0].json.heartbeat;
      client.cut();
      return ms;
    });
  assert.equal(await heartbeat({}, '/file'), 1000);
  assert.equal(await heartbeat({ env: { TICKERTAPE_HEARTBEAT_MS: '2s', TICKERTAPE_HTTP_PREFIX: '/env' } }, '/env'), 2000);
  assert.equal(await heartbeat({ env: { TICKERTAPE_HEARTBEAT_MS: '2s' }, args: ['--heartbeat-ms=3s', '--http-prefix=/line'] }, '/line'), 3000);
  for (const [text, ...words] of [
    ['[log]\nsink = 1\n', 'sink'],
    ['[nothing]\nsync = never\n', 'nothing'],
    ['[log]\nsync = never\npartitions = 0\n', 'partitions', '0'],
    ['heartbeat-ms = soon\n', 'heartbeat-ms', 'soon'],
    ['no equals sign\n', 'tickertape.ini'],
  ]) {
    fs.writeFileSync(file, text);
    await refused([`--config=${file}`], words);
  }
  await refused([], ['RETRY_MS', 'soon'], { env: { TICKERTAPE_RETRY_MS: 'soon' } });
  fs.rmSync(directory, { recursive: true, force: true });
});

broker_test('--http-prefix stands in front of every path', { args: ['--http-prefix=/push'] }, async (broker) => {
  const client = await subscribe(broker, '/push/sse?channels=c');
  const answer = await request(broker.http, { method: 'POST', path: '/push/publish', body: '{"channel":"c","payload":1}' });
  assert.equal(answer.status, 202);
  await client.received(1);
  assert_error(await request(broker.http, { path: '/sse' }), 404);
  client.cut();
});

broker_test('log lines can be JSON, one object a line', { args: ['--diag-format=json', '--diag-level=debug', '--drain-delay-ms=0'] }, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=c&id=my"name');
  client.cut();
  await request(broker.http, { method: 'POST', path: '/publish', body: 'rubbish' });
  await broker.stop();
  const lines = broker.stderr.trim().split('\n');
  assert.ok(lines.length > 0 && lines[0] !== '', 'it logs something');
  for (const line of lines) assert.equal(typeof JSON.parse(line), 'object', line);
});

broker_test('parameters and paths that are not there yet are refused, not ignored', {}, async (broker) => {
  for (const name of ['subscription=x']) {
    assert_error(await request(broker.http, { path: `/sse?channels=c&${name}` }), 400, name.split('=')[0]);
  }
  for (const path of ['/ws', '/poll', '/handshake', '/nothing', '/demo/', '/demo/cut', '/test/echo']) {
    assert.equal((await request(broker.http, { path })).status, 404, path);
  }
});
