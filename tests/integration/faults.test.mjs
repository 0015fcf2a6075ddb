// What the broker does when operations on files fail: the n-th of a whole life, for many n and every error;
// disks that fill up and are emptied; directories that turn read-only; a disk that is slow.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { Broker, broker_test, io, run_to_end, temporary_directory, with_broker } from './lib/broker.mjs';
import { request } from './lib/http.mjs';
import { metric } from './lib/metrics.mjs';
import { post } from './lib/publish.mjs';
import { seeded } from './lib/random.mjs';
import { subscribe } from './lib/sse.mjs';
import { eventually, patience_ms } from './lib/wait.mjs';

const skip = process.env.TT_SMALL === '1' && 'not in the small set';
const long = process.env.TT_LONG === '1';

const small_log = ['--log-segment-bytes=2MiB', '--tail-bytes=4MiB', '--log-sync-ms=5', '--heartbeat-ms=100', '--drain-delay-ms=0', '--drain-ms=0'];
const batch_events = 16;
const pad = 'x'.repeat(20_000); /* a batch takes 320 KiB, a segment six of them */

const offset_of = (id) => Number(id.split('-')[2].split('/')[0]);

/** Publishes batches and remembers what was answered: offset -> n. No n is used twice, whatever became of it. */
class Publisher {
  constructor(broker) {
    this.broker = broker;
    this.answered = new Map();
    this.refused = new Set();
    this.n = 0;
  }

  /** One batch; resolves to the answer. */
  async batch(count = batch_events) {
    const ns = Array.from({ length: count }, () => ++this.n);
    const answer = await post(this.broker, '/publish', JSON.stringify(ns.map((n) => ({ channel: 'c', payload: { n, pad } }))));
    if (answer.status === 202) {
      answer.json.ids.forEach((id, i) => {
        assert.ok(!this.answered.has(offset_of(id)), `${id} was given out once`);
        this.answered.set(offset_of(id), ns[i]);
      });
    } else {
      assert.equal(answer.status, 503, answer.text);
      assert.match(answer.headers['retry-after'], /^[1-9]\d*$/);
      for (const n of ns) this.refused.add(n);
    }
    return answer;
  }

  /** `count` batches that must all be taken. */
  async batches(count) {
    for (let i = 0; i < count; i++) {
      const answer = await this.batch();
      assert.equal(answer.status, 202, answer.text);
    }
  }

  /** Batches until one is taken. */
  until_taken(what) {
    return eventually(async () => (await this.batch(1)).status === 202, what);
  }

  newest() {
    return Math.max(-1, ...this.answered.keys());
  }

  /**
   * Reads the log from its oldest event: every answered event that retention has left is there once, under its
   * own id; nothing that was never published is there.
   */
  async assert_kept(what, at_least = 0) {
    const client = await subscribe(this.broker, '/sse?channels=c&from=earliest');
    const end = await post(this.broker, '/publish', JSON.stringify({ channel: 'c', payload: { n: 0 } }));
    assert.equal(end.status, 202, `${what}: ${end.text}`);
    await client.when((c) => c.events.some((event) => event.json.id === end.json.id), `${what}: all that there is`);
    client.cut();
    const seen = new Set();
    let last = -1;
    for (const event of client.events) {
      const offset = offset_of(event.json.id);
      const { n } = event.json.payload;
      assert.ok(offset > last, `${what}: offset ${offset} after ${last}`);
      last = offset;
      assert.ok(n === 0 || !seen.has(n), `${what}: event ${n} twice`);
      if (n !== 0) seen.add(n);
      if (this.answered.has(offset)) assert.equal(n, this.answered.get(offset), `${what}: the event of offset ${offset}`);
    }
    /* Retention goes on while it is read: what was skipped for it was told. */
    const skipped = client.all.filter((event) => event.control && event.type === 'resync').map((event) => offset_of(event.id) + 1);
    const oldest = Math.max(offset_of(client.events[0].json.id), ...skipped);
    for (const [offset, n] of this.answered) {
      assert.ok(offset < oldest || seen.has(n), `${what}: event ${n}, answered as offset ${offset}, is lost; the log begins at ${oldest}`);
    }
    assert.ok(seen.size >= Math.min(at_least, this.answered.size), `${what}: ${seen.size} events are left`);
  }
}

async function reasons(broker) {
  const { status, json } = await request(broker.ops, { path: '/readyz' });
  const { ready, reasons: list } = json;
  assert.equal(status, ready ? 200 : 503);
  return list;
}
const lines = (broker, pattern) => broker.stderr.split('\n').filter((line) => pattern.test(line));
const state_line = /code=log_(read_only|no_space) partition/;

/** The client is served on: a heartbeat comes that had not come before. */
async function assert_served(client, what) {
  const before = client.comments.length;
  await client.when((c) => c.comments.length > before, `${what}: a heartbeat`);
}

/* ---- the sweep ---- */

/** How many operations the first rule saw, from the line that the broker prints at its end. */
function operations(stderr) {
  const m = /--test-fault=\S+: (\d+) operations, (\d+) struck/.exec(stderr);
  assert.ok(m, `what became of the fault:\n${stderr}`);
  return { matched: Number(m[1]), struck: Number(m[2]) };
}

/**
 * One life with a fault: start, publish over several segments with a live client and retention, stop; then a life
 * without it, in which everything answered is there.
 */
async function life(fault, { sync, what }) {
  const data = temporary_directory();
  const args = [...small_log, `--log-sync=${sync}`, '--log-retention-bytes=6MiB', '--publish-wait-ms=100ms', `--test-fault=${fault}`];
  let stderr;
  try {
    let broker;
    try {
      broker = await Broker.start({ data, args, shards: 1 });
    } catch (error) {
      /* A start that fails says which file. */
      assert.match(error.message, /ended with 1 before it was ready/, what);
      assert.match(error.message, /tickertape: --data=\S+: \S+: .*(input or output|no space|not permitted|descriptors)/, what);
      stderr = error.message;
    }
    if (broker) {
      try {
        stderr = await live(broker, what);
      } catch (error) {
        error.message = `${what}: ${error.message}\n${broker.stderr}`;
        throw error;
      } finally {
        await broker.dispose();
      }
    } else {
      await with_broker({ data, args: small_log, shards: 1 }, (again) => new Publisher(again).batches(1));
    }
  } finally {
    fs.rmSync(data, { recursive: true, force: true });
  }
  return operations(stderr);
}

async function live(broker, what) {
  const publisher = new Publisher(broker);
  const client = await subscribe(broker, '/sse?channels=c');
  for (let i = 0; i < 28; i++) {
    const { status, json } = await publisher.batch();
    if (status === 202) continue;
    assert.match(json.error.code, /^(disk_full|log_read_only|unavailable)$/, what);
    const [reason] = await eventually(async () => {
      const list = await reasons(broker);
      return (list.length > 0 || (await metric(broker, 'log_segments')) > 0) && [list[0]];
    }, `${what}: what /readyz says`);
    if (reason) assert.equal(reason.what, 'log');
    /* It heals by itself, or says that it does not. */
    const for_good = () => lines(broker, /code=log_read_only .*until the broker is restarted/).length > 0;
    const ended = await eventually(async () => (await publisher.batch(1)).status === 202 || for_good(), `${what}: the log heals`);
    assert.ok(ended);
    if (for_good()) break;
  }
  await assert_served(client, what);
  client.cut();
  const changes = lines(broker, state_line);
  assert.ok(changes.length <= 2, `${what}: one line for each change:\n${changes.join('\n')}`);
  await broker.stop();
  const { stderr } = broker;
  await broker.restart({ args: ['--test-fault=error=EIO;n=1000000000', '--log-retention-bytes=1GiB'] });
  publisher.broker = broker;
  await publisher.assert_kept(what, 2 * batch_events);
  await broker.stop();
  return stderr;
}

const errors = ['EIO', 'ENOSPC', 'EDQUOT', 'EROFS', 'EACCES', 'EINTR', 'short'];
const syncs = ['always', 'interval', 'never'];

test('the n-th operation on files fails, for many n and every error', { skip, timeout: (long || process.env.TT_LIVES ? 600 : 40) * patience_ms }, async (t) => {
  const random = seeded(t);
  const { matched } = await life('error=EIO;n=1000000000', { sync: 'interval', what: 'without a fault' });
  assert.ok(matched > 60, `a life has many operations: ${matched}`);
  let lives = 0;
  for (const error of errors) {
    const ns = long
      ? Array.from({ length: matched + 8 }, (_, i) => i + 1)
      : Array.from({ length: Number(process.env.TT_LIVES ?? (process.env.TT_VARIANT === 'asan' ? 2 : 4)) }, () => random.between(1, matched));
    for (const n of ns) {
      const sync = random.pick(syncs);
      await life(`error=${error};n=${n}`, { sync, what: `error=${error};n=${n}, sync=${sync}` });
      lives++;
    }
  }
  t.diagnostic(`${lives} lives of about ${matched} operations`);
});

test('operations that are all interrupted, short or slow change nothing', { skip, timeout: 8 * patience_ms }, async () => {
  for (const fault of ['error=EINTR;times=forever', 'error=short;kind=read|write;times=forever', 'delay_ms=3;times=forever']) {
    const { struck } = await life(fault, { sync: 'interval', what: fault });
    assert.ok(struck > 20, `${fault}: ${struck} were struck`);
  }
});

/* ---- full, and emptied again ---- */

for (const [error, kind, glob] of [
  ['ENOSPC', 'preallocate', '*.seg'],
  ['ENOSPC', 'write', '*.seg'],
  ['EDQUOT', 'write', '*.seg'],
  ['EDQUOT', 'open', '*.seg'],
  ['ENOSPC', 'write', '*/ceiling'],
]) {
  test(`${error} of ${kind} ${glob} is told, and heals by itself`, { skip, timeout: 8 * patience_ms }, async () => {
    const data = temporary_directory();
    const full = path.join(data, 'full');
    const args = [...small_log, '--publish-wait-ms=100ms', `--test-fault=error=${error};kind=${kind};path=${glob};times=forever;while=${full}`];
    try {
      await with_broker({ data, args }, async (broker) => {
        const publisher = new Publisher(broker);
        await publisher.batches(20);
        const client = await subscribe(broker, '/sse?channels=c');
        fs.writeFileSync(full, '');
        let answer;
        if (glob.includes('ceiling')) {
          /* Offsets run out only after half a block. */
          const body = JSON.stringify(Array.from({ length: 4000 }, () => ({ channel: 'd', payload: 0 })));
          do answer = await post(broker, '/publish', body);
          while (answer.status === 202);
        } else {
          do answer = await publisher.batch();
          while (answer.status === 202);
        }
        assert.equal(answer.status, 503);
        assert.equal(answer.json.error.code, 'disk_full', answer.text);
        assert.ok(Number(answer.headers['retry-after']) >= 1);
        const [reason] = await eventually(async () => {
          const list = await reasons(broker);
          return list.length > 0 && list;
        }, '/readyz to say so');
        assert.ok(Date.now() - reason.since < 10 * 60_000, `since ${reason.since}`);
        assert.deepEqual({ ...reason, since: 0 }, { what: 'log', state: 'no_space', since: 0, partition: 0, partitions: 1 });
        assert.equal(await metric(broker, 'log_no_space'), 1);
        assert.equal(await metric(broker, 'log_read_only'), 0);
        /* Served on: who is live, and who reads what is on the disk. */
        await assert_served(client, 'while it is full');
        if (kind !== 'open') {
          const reader = await subscribe(broker, '/sse?channels=c&from=earliest');
          await reader.received(10 * batch_events);
          reader.cut();
        }
        fs.unlinkSync(full);
        await publisher.until_taken('the log to heal');
        await eventually(async () => (await reasons(broker)).length === 0, '/readyz to say 200 again');
        assert.equal(await metric(broker, 'log_no_space'), 0);
        const told = lines(broker, state_line);
        assert.equal(told.length, 2, `one line for each change:\n${told.join('\n')}`);
        assert.match(told[0], /error .*until there is space for/);
        assert.match(told[1], /takes events again/);
        client.cut();
        await publisher.batches(7);
        await publisher.assert_kept('before the restart');
        await broker.stop();
        await broker.restart({ args: ['--test-fault=error=EIO;n=1000000000'] });
        await publisher.assert_kept('after the restart');
      });
    } finally {
      fs.rmSync(data, { recursive: true, force: true });
    }
  });
}

/* ---- failures that do not heal ---- */

for (const [error, kind, sync] of [
  ['EIO', 'write', 'interval'],
  ['EIO', 'sync', 'interval'],
  ['EIO', 'sync', 'always'],
  ['EROFS', 'write', 'never'],
  ['ENOSPC', 'sync', 'always'], /* by then the data may be lost: not a full disk that heals */
]) {
  test(`${error} of ${kind} with sync=${sync}: read-only until the restart, and clients are served on`, { skip, timeout: 8 * patience_ms }, async () => {
    const data = temporary_directory();
    const broken = path.join(data, 'broken');
    const args = [...small_log, `--log-sync=${sync}`, '--publish-wait-ms=100ms', `--test-fault=error=${error};kind=${kind};path=*.seg;times=1;while=${broken}`];
    try {
      await with_broker({ data, args }, async (broker) => {
        const publisher = new Publisher(broker);
        await publisher.batches(20);
        const client = await subscribe(broker, '/sse?channels=c');
        fs.writeFileSync(broken, '');
        let answer;
        do answer = await publisher.batch(1);
        while (answer.status === 202);
        fs.unlinkSync(broken);
        assert.equal(answer.status, 503);
        assert.equal(answer.json.error.code, 'log_read_only', answer.text);
        const [reason] = await eventually(async () => {
          const list = await reasons(broker);
          return list.length > 0 && list;
        }, '/readyz to say so');
        assert.deepEqual({ ...reason, since: 0 }, { what: 'log', state: 'read_only', since: 0, partition: 0, partitions: 1 });
        assert.equal(await metric(broker, 'log_read_only'), 1);
        /* Nothing is tried again: it struck once, and stays read-only. */
        for (let i = 0; i < 5; i++) assert.equal((await publisher.batch(1)).status, 503);
        assert.equal(await metric(broker, 'test_faults_total'), 1);
        await assert_served(client, 'while it is read-only');
        const reader = await subscribe(broker, '/sse?channels=c&from=earliest');
        await reader.received(20 * batch_events);
        reader.cut();
        client.cut();
        const told = lines(broker, state_line);
        assert.equal(told.length, 1, told.join('\n'));
        assert.match(told[0], /until the broker is restarted: \S+\.seg: /);
        await broker.stop();
        await broker.restart({ args: ['--test-fault=error=EIO;n=1000000000'] });
        await publisher.assert_kept('after the restart', 20 * batch_events);
        await publisher.batches(7);
        await publisher.assert_kept('and on');
      });
    } finally {
      fs.rmSync(data, { recursive: true, force: true });
    }
  });
}

/* ---- files that are made in the background ---- */

for (const [error, glob] of [
  ['EIO', '*.idx*'],
  ['ENOSPC', '*.idx*'],
  ['EIO', '*/values*'],
  ['ENOSPC', '*/values*'],
  ['EIO', '*.val*'],
  ['ENOSPC', '*.val*'],
]) {
  test(`${error} of everything that is done to ${glob}: the log goes on, and nothing is lost when it is over`, { skip, timeout: 8 * patience_ms }, async () => {
    const data = temporary_directory();
    const broken = path.join(data, 'broken');
    const args = [...small_log, '--log-retention-bytes=4MiB', `--test-fault=error=${error};kind=open|write|sync|preallocate|truncate|rename|unlink;path=${glob};times=forever;while=${broken}`];
    const value_of = async (broker, channel) => {
      const client = await subscribe(broker, `/sse?channels=${channel}&from=snapshot`);
      await client.control('snapshot-end');
      client.cut();
      return client.events.map((event) => event.json.payload);
    };
    try {
      await with_broker({ data, args, shards: 1 }, async (broker) => {
        const publisher = new Publisher(broker);
        await publisher.batches(2);
        assert.equal((await post(broker, '/publish', JSON.stringify({ channel: 'kept', payload: 'old' }))).status, 202);
        fs.writeFileSync(broken, '');
        /* Over several segments; the first of them would be due for retention. */
        await publisher.batches(28);
        assert.deepEqual(await reasons(broker), []);
        assert.equal(await metric(broker, 'log_read_only'), 0);
        assert.deepEqual(await value_of(broker, 'kept'), ['old']);
        await publisher.assert_kept('meanwhile', 2 * batch_events);
        await broker.kill();
        await broker.restart();
        publisher.broker = broker;
        assert.deepEqual(await value_of(broker, 'kept'), ['old'], 'after a crash in the middle of it');
        await publisher.assert_kept('after a crash in the middle of it', 2 * batch_events);
        await publisher.batches(14);
        fs.unlinkSync(broken);
        const struck = await metric(broker, 'test_faults_total');
        await eventually(async () => (await publisher.batch()) && (await metric(broker, 'log_segments')) <= 4, 'retention to catch up');
        assert.ok(struck > 0, 'the fault was met');
        assert.deepEqual(await value_of(broker, 'kept'), ['old'], 'beyond retention');
        await broker.stop();
        await broker.restart({ args: ['--test-fault=error=EIO;n=1000000000'] });
        assert.deepEqual(await value_of(broker, 'kept'), ['old'], 'after the restart');
        await publisher.assert_kept('after the restart', 2 * batch_events);
      });
    } finally {
      fs.rmSync(data, { recursive: true, force: true });
    }
  });
}

/* ---- reading ---- */

test('a segment that cannot be read is told to whoever wanted it, and nobody else notices', { skip, timeout: 8 * patience_ms }, async () => {
  const data = temporary_directory();
  const broken = path.join(data, 'broken');
  const args = [...small_log, `--test-fault=error=EIO;kind=read;path=*.seg;times=forever;while=${broken}`];
  try {
    await with_broker({ data, args }, async (broker) => {
      const publisher = new Publisher(broker);
      await publisher.batches(30);
      const live_client = await subscribe(broker, '/sse?channels=c');
      fs.writeFileSync(broken, '');
      const clients = [];
      for (let i = 0; i < 20; i++) clients.push(await subscribe(broker, '/sse?channels=c&from=earliest'));
      /* The newest events are in memory: everybody comes that far, and is told what is missing. */
      await publisher.batches(1);
      const newest = publisher.newest();
      for (const client of clients) {
        await client.when((c) => c.events.some((event) => offset_of(event.json.id) === newest), 'the newest event');
        assert.equal((await client.control('resync')).json.reason, 'expired');
        client.cut();
      }
      assert.ok((await metric(broker, 'log_read_errors_total')) > 0);
      /* At most so many lines a second of each thread and code; windows are not those of the clock. */
      const told = new Map();
      for (const line of lines(broker, /code=(segment|place)_read /)) {
        const key = line.replace(/^(\S+)\.\d+Z \S+ (\S+ \S+) .*/, '$1 $2');
        told.set(key, (told.get(key) ?? 0) + 1);
      }
      assert.ok(told.size > 0, 'it is logged');
      for (const [key, count] of told) assert.ok(count <= 42, `${key}: ${count} lines`);
      for (const client of clients) {
        const resyncs = client.all.filter((event) => event.type === 'resync').length;
        assert.ok(resyncs <= 8, `${resyncs} times resync for a handful of segments`);
      }
      await assert_served(live_client, 'meanwhile');
      live_client.cut();
      fs.unlinkSync(broken);
      await publisher.assert_kept('once it can be read again', 31 * batch_events);
    });
  } finally {
    fs.rmSync(data, { recursive: true, force: true });
  }
});

/* ---- real disks ---- */

/** A file system of `size` in memory, or null where nobody may mount one. */
function mount_small(size) {
  const directory = temporary_directory();
  const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', directory]);
  if (status === 0) return { directory, end: () => (spawnSync('umount', [directory]), fs.rmdirSync(directory)) };
  fs.rmdirSync(directory);
  return null;
}

/** Takes all the space that there is; returns what gives it back. */
function fill_up(directory) {
  const file = path.join(directory, 'filler');
  const handle = fs.openSync(file, 'w');
  for (const size of [1 << 20, 4096]) {
    try {
      for (;;) fs.writeSync(handle, Buffer.alloc(size));
    } catch (error) {
      assert.equal(error.code, 'ENOSPC');
    }
  }
  fs.closeSync(handle);
  return () => fs.unlinkSync(file);
}

test('a disk that is really full', { skip, timeout: 8 * patience_ms }, async (t) => {
  const disk = mount_small('24m');
  if (!disk) return t.skip('mounting is not permitted');
  const data = path.join(disk.directory, 'log');
  try {
    await with_broker({ data, args: [...small_log, '--publish-wait-ms=100ms'] }, async (broker) => {
      const publisher = new Publisher(broker);
      await publisher.batches(10);
      const client = await subscribe(broker, '/sse?channels=c');
      const empty = fill_up(disk.directory);
      let answer;
      do answer = await publisher.batch();
      while (answer.status === 202);
      assert.equal(answer.json.error.code, 'disk_full', answer.text);
      await eventually(async () => (await reasons(broker))[0]?.state === 'no_space', '/readyz to say so');
      await assert_served(client, 'while it is full');
      client.cut();
      empty();
      await publisher.until_taken('the log to heal');
      await publisher.batches(7);
      await publisher.assert_kept('healed');
      /* Stopped while it is full, started again when it is not. */
      const empty_again = fill_up(disk.directory);
      do answer = await publisher.batch();
      while (answer.status === 202);
      await broker.stop();
      empty_again();
      await broker.restart();
      await publisher.assert_kept('after the restart');
      await broker.stop();
    });
    /* A start with a full disk, of this log and of a new one. */
    fill_up(disk.directory);
    const common = ['--listen=127.0.0.1:0', '--ops-listen=127.0.0.1:0', '--shards=1', ...(io ? [`--io=${io}`] : [])];
    const { code, stderr } = await run_to_end([...common, `--data=${path.join(disk.directory, 'new')}`]);
    assert.notEqual(code, 0);
    assert.match(stderr, /tickertape: --data=\S+: .*no space left|No space left/i);
  } finally {
    disk.end();
  }
});

test('files that may not grow are a full disk, too', { skip, timeout: 8 * patience_ms }, async (t) => {
  if (spawnSync('prlimit', ['--version']).status !== 0) return t.skip('there is no prlimit');
  return with_broker({ args: [...small_log, '--publish-wait-ms=100ms'] }, async (broker) => {
    const publisher = new Publisher(broker);
    await publisher.batches(4);
    const limit = (value) => assert.equal(spawnSync('prlimit', ['--pid', String(broker.pid), `--fsize=${value}:`]).status, 0);
    limit(1 << 20);
    let answer;
    do answer = await publisher.batch();
    while (answer.status === 202);
    assert.equal(answer.json.error.code, 'disk_full', answer.text);
    limit('unlimited');
    await publisher.until_taken('the log to heal');
    await publisher.assert_kept('healed');
  });
});

test('a directory that turns read-only, and back', { skip, timeout: 8 * patience_ms }, async (t) => {
  await with_broker({ args: [...small_log, '--publish-wait-ms=100ms'] }, async (broker) => {
    const publisher = new Publisher(broker);
    await publisher.batches(4);
    const directory = path.join(broker.data, '0');
    const root = process.getuid() === 0;
    const writable = (yes) => {
      if (!root) return fs.chmodSync(directory, yes ? 0o750 : 0o550), true;
      return spawnSync('chattr', [yes ? '-i' : '+i', directory]).status === 0;
    };
    if (!writable(false)) return t.skip('the file system has no immutable directories');
    try {
      let answer;
      do answer = await publisher.batch();
      while (answer.status === 202);
      assert.equal(answer.json.error.code, 'log_read_only', answer.text);
      const [reason] = await eventually(async () => {
        const list = await reasons(broker);
        return list.length > 0 && list;
      }, '/readyz to say so');
      assert.equal(reason.state, 'read_only');
      assert.equal(await metric(broker, 'log_read_only'), 1);
      assert.equal(lines(broker, state_line).length, 1);
    } finally {
      writable(true);
    }
    /* Nothing was lost by not making a file: it heals. */
    await publisher.until_taken('the log to heal');
    await publisher.batches(7);
    await publisher.assert_kept('healed');
    await broker.stop();
    await broker.restart();
    await publisher.assert_kept('after the restart');
  });
});

broker_test('a disk that takes its time holds up no client', { args: [...small_log, '--test-fault=delay_ms=400;kind=write|sync;path=*.seg;times=8'] }, async (broker) => {
  const publisher = new Publisher(broker);
  const client = await subscribe(broker, '/sse?channels=c');
  const publishing = publisher.batches(4);
  for (let i = 0; i < 3; i++) await assert_served(client, 'while the disk is slow');
  await publishing;
  await publisher.assert_kept('at the end');
  client.cut();
});

broker_test('a fault that cannot be read is refused with what is allowed', {}, async () => {
  const directory = temporary_directory();
  try {
    const { code, stderr } = await run_to_end([`--data=${directory}`, '--test-fault=error=EPERM']);
    assert.notEqual(code, 0);
    assert.match(stderr, /--test-fault=error=EPERM: .*allowed: EIO/);
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
});
