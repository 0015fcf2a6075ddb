// ttlog against logs of real brokers: while they are written, and after bytes of every kind of file were
// damaged. What is repaired must be served again, and clients must be told what is lost.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { broker_test, Broker, run_to_end, temporary_directory } from './lib/broker.mjs';
import { publish, publish_all, publish_lines } from './lib/publish.mjs';
import { seeded } from './lib/random.mjs';
import { subscribe } from './lib/sse.mjs';
import { dump, follow, ttlog, ttlog_json as json } from './lib/ttlog.mjs';
import { eventually } from './lib/wait.mjs';

const skip = process.env.TT_SMALL === '1' ? 'not in the small set' : false;

const pad = 'x'.repeat(500);
/* So many channels that none of two partitions stays empty. */
const event = (n, channel = `c.${n % 41}`) => ({ channel, payload: { n, pad } });

/** A log with `count` events in segments of 2 MiB, whose broker was ended cleanly. Gives its directory. */
async function make_log(count, args = []) {
  const broker = await Broker.start({
    data: temporary_directory(),
    args: ['--log-segment-bytes=2MiB', '--tail-bytes=2MiB', ...args],
  });
  for (let n = 0; n < count; n += 500) {
    await publish_lines(broker, Array.from({ length: Math.min(500, count - n) }, (_, i) => event(n + i)));
  }
  await broker.stop();
  return { directory: broker.data, history: broker.history, args: broker.options.args };
}

async function with_log(count, args, use) {
  const log = await make_log(count, args);
  try {
    await use(log);
  } finally {
    fs.rmSync(log.directory, { recursive: true, force: true });
  }
}

function flip(file, byte, bits = 0x40) {
  const fd = fs.openSync(file, 'r+');
  const one = Buffer.alloc(1);
  fs.readSync(fd, one, 0, 1, byte);
  one[0] ^= bits;
  fs.writeSync(fd, one, 0, 1, byte);
  fs.closeSync(fd);
}

function segments(directory, partition = 0) {
  return fs
    .readdirSync(path.join(directory, String(partition)))
    .filter((name) => name.endsWith('.seg'))
    .sort();
}

const seg = (log, index, partition = 0) =>
  path.join(log.directory, String(partition), segments(log.directory, partition).at(index));

/** The records of one segment file, as `dump --raw` tells them. */
async function records_of(log, file) {
  return (await dump(log.directory, '--raw')).filter((record) => record.file === path.basename(file));
}

test('the command line says what it takes, and refuses the rest', async () => {
  const help = await ttlog('--help');
  assert.equal(help.code, 0);
  for (const command of ['ls', 'dump', 'verify', 'cursor', 'repair']) {
    assert.match(help.stdout, new RegExp(`ttlog ${command} `));
    const own = await ttlog(command, '--help');
    assert.equal(own.code, 0);
    assert.match(own.stdout, /Exit status: 0 good; 1 damage/);
    const missing = await ttlog(command);
    assert.equal(missing.code, 2);
    assert.match(missing.stderr, /directory is missing/);
  }
  for (const [args, why] of [
    [[], /usage/],
    [['list', '.'], /list: allowed: ls, dump/],
    [['dump', '.', '--from=x'], /--from=x: allowed: an offset, or an event's id/],
    [['dump', '.', '--from=9', '--to=3'], /--from is behind --to/],
    [['dump', '.', '--channel=a*b'], /--channel=a\*b: /],
    [['dump', '.', '--since=yesterday'], /--since=yesterday: allowed: unix ms/],
    [['ls', '.', '--yes'], /--yes: there is no such option here/],
    [['verify', '.', '--json=1'], /takes no value/],
    [['dump', '.', '--limit'], /--limit: a value is missing/],
    [['cursor', '.'], /give either a cursor or --at/],
    [['cursor', '.', 'a', 'b'], /b: one argument too many/],
  ]) {
    const { code, stderr, stdout } = await ttlog(...args);
    assert.equal(code, 2, args.join(' '));
    assert.match(stderr, why);
    assert.equal(stdout, '');
  }
  const nothing = await ttlog('ls', '/dev');
  assert.equal(nothing.code, 3);
  assert.match(nothing.stderr, /there is no log here/);
});

broker_test(
  'a log is looked at while it is written, rolled and retired',
  {
    args: [
      '--log-partitions=2', '--log-segment-bytes=2MiB', '--tail-bytes=2MiB', '--log-retention-bytes=16MiB',
    ],
  },
  async (broker, t) => {
    const random = seeded(t);
    let published = 0;
    let stop = false;
    const publishing = (async () => {
      while (!stop) {
        const batch = Array.from({ length: 100 }, () => event(published++, `c.${random.between(0, 49)}`));
        await publish_lines(broker, batch);
      }
    })();
    try {
      const oldest = segments(broker.data)[0];
      do {
        const { code, damaged, in_use, findings } = await json('verify', broker.data);
        assert.deepEqual({ code, damaged, in_use, findings }, { code: 0, damaged: false, in_use: true, findings: [] });
        const ls = await json('ls', broker.data);
        assert.equal(ls.process, String(broker.pid));
        assert.equal(ls.partitions.length, 2);
        /* What is there is told without a gap, though files come and go meanwhile; what retention takes
         * away while it is read may only be missing at the beginning. */
        for (const partition of [0, 1]) {
          const from = ls.partitions[partition].next;
          const lines = await dump(broker.data, `--partition=${partition}`, `--from=${from}`);
          lines.forEach((line, i) => assert.equal(line.id, `${broker.history}-${partition}-${from + i}`));
        }
        await publish_all(broker, [event(0, 'other')]);
      } while (segments(broker.data)[0] === oldest);
    } finally {
      stop = true;
      await publishing;
    }
    const refused = await ttlog('repair', broker.data, '--yes');
    assert.equal(refused.code, 4);
    assert.match(refused.stderr, /locked by another broker/);
  },
);

broker_test('dump gives what subscribers got, and chooses', { args: ['--log-partitions=3'] }, async (broker) => {
  const client = await subscribe(broker, '/sse?channels=*');
  const ids = [];
  for (let n = 0; n < 60; n++) {
    ids.push(await publish(broker, { ...event(n), headers: { a: 'b' }, ...(n % 5 ? {} : { conflate: false }) }));
  }
  const got = await client.received(60);
  const lines = await dump(broker.data);
  assert.equal(lines.length, 60);
  const by_id = new Map(lines.map((line) => [line.id, line]));
  for (const one of got) assert.deepEqual(by_id.get(one.json.id), one.json);
  const only = await dump(broker.data, '--channel=c.1,c.2');
  assert.deepEqual(
    only.map((line) => line.channel).filter((channel) => channel !== 'c.1' && channel !== 'c.2'), [],
  );
  assert.equal(only.length, lines.filter((line) => /^c\.[12]$/.test(line.channel)).length);
  assert.equal((await dump(broker.data, '--channel=c.*', '--limit=7')).length, 7);
  const id = ids.at(-1);
  assert.deepEqual((await dump(broker.data, `--from=${id}`)).map((line) => line.id), [id]);
  const other = await ttlog('dump', broker.data, '--from=zzzzzz-0-1');
  assert.equal(other.code, 2);
  assert.match(other.stderr, /history zzzzzz/);
  /* By the time at which the broker took it. */
  const ms = got[30].json.timestamp;
  const since = await dump(broker.data, `--since=${ms}`);
  const until = await dump(broker.data, `--until=${ms}`);
  assert.equal(since.length + until.length, 60);
  assert.ok(since.every((line) => line.timestamp >= ms) && until.every((line) => line.timestamp < ms));
  client.cut();
});

broker_test(
  'dump --follow goes on through files that roll',
  { args: ['--log-segment-bytes=2MiB', '--tail-bytes=2MiB'] },
  async (broker) => {
    await publish(broker, event(0));
    const following = follow(broker.data, '--channel=c.*');
    await eventually(() => following.lines.length >= 1, 'what is there');
    let n = 1;
    for (; segments(broker.data).length < 4; n += 300) {
      await publish_lines(broker, Array.from({ length: 300 }, (_, i) => event(n + i)));
    }
    await eventually(() => following.lines.length >= n, () => `${n} lines, ${following.lines.length} are there`);
    assert.deepEqual(following.lines.map((line) => line.payload.n), Array.from({ length: n }, (_, i) => i));
    await following.stop();
  },
);

broker_test('cursors are explained, and made', { args: ['--log-partitions=2'] }, async (broker) => {
  for (let n = 0; n < 40; n++) await publish(broker, event(n));
  const earliest = (await json('cursor', broker.data, '--at=earliest')).cursor;
  const latest = (await json('cursor', broker.data, '--at=latest')).cursor;
  const told = await json('cursor', broker.data, earliest);
  assert.equal(told.form, 'full');
  assert.equal(told.resync, null);
  assert.equal(told.partitions.reduce((sum, p) => sum + p.to_come, 0), 40);
  assert.ok((await json('cursor', broker.data, latest)).partitions.every((p) => p.to_come === 0));
  /* The broker agrees. */
  const client = await subscribe(broker, `/sse?channels=*&cursor=${encodeURIComponent(earliest)}`);
  assert.equal((await client.received(40)).length, 40);
  assert.equal(client.all.filter((one) => one.control).length, 1);
  client.cut();
  const narrow = await json('cursor', broker.data, `${broker.history}-1-3/2`);
  assert.equal(narrow.partitions.length, 1);
  assert.equal(narrow.partitions[0].start, 4);
  const list = await json('cursor', broker.data, `${broker.history}-1-3/2,${broker.history}-1-7`);
  assert.equal(list.partitions[0].start, 8);
  for (const [cursor, resync] of [
    ['rubbish', 'history'],
    ['zzzzzz-0-5/2', 'history'],
    [`${broker.history}-0-${2 ** 40}/2`, 'ahead'],
  ]) {
    const answer = await json('cursor', broker.data, cursor);
    assert.equal(answer.code, 0);
    assert.equal(answer.resync, resync, cursor);
    const asked = await subscribe(broker, `/sse?channels=*&cursor=${encodeURIComponent(cursor)}`);
    assert.equal((await asked.control('resync')).json.reason, resync, cursor);
    asked.cut();
  }
  const text = await ttlog('cursor', broker.data, earliest);
  assert.match(text.stdout, /the broker resumes exactly/);
});

test('every kind of damaged file is found, named, and repaired', { skip, timeout: 600_000 }, async (t) => {
  const random = seeded(t);
  await with_log(12000, [], async (log) => {
    assert.ok(segments(log.directory).length >= 3);
    const pristine = `${log.directory}.pristine`;
    fs.cpSync(log.directory, pristine, { recursive: true });
    try {
      const first = await records_of(log, seg(log, 0));
      const of = (what) => first.filter((record) => record.class === what);
      const one = random.pick(of('event').slice(1, -1));
      const file = path.relative(log.directory, seg(log, 0));
      const middle = path.relative(log.directory, seg(log, 1));
      const cases = [
        { what: 'an event', file, byte: one.byte + 20, at: one.byte, lost: 1 },
        { what: 'the length of an event', file, byte: one.byte, at: one.byte, lost: 1 },
        { what: 'a batch', file, byte: of('batch').at(-1).byte + 50, at: of('batch').at(-1).byte, lost: 0 },
        { what: 'the beginning of a segment', file: middle, byte: 30, at: 0, lost: 0, refused: true },
        { what: 'the batch at the beginning', file: middle, byte: 150, at: 128, lost: 0, refused: true },
        { what: 'META', file: 'META', byte: 20, lost: 0, refused: true },
        { what: 'META that is gone', file: 'META', gone: true, lost: 0, refused: true },
        { what: 'the ceiling', file: '0/ceiling', byte: 10, also: 4106, lost: 0, refused: true },
        { what: 'a segment that was cut short', file, cut: 500_000, lost: 'some', refused: true },
        { what: 'a segment that is gone', file: middle, gone: true, lost: 'some', refused: true },
      ];
      for (const one_case of cases) {
        fs.rmSync(log.directory, { recursive: true });
        fs.cpSync(pristine, log.directory, { recursive: true });
        const damaged = path.join(log.directory, one_case.file);
        if (one_case.gone) fs.unlinkSync(damaged);
        else if (one_case.cut) fs.truncateSync(damaged, one_case.cut);
        else flip(damaged, one_case.byte);
        if (one_case.also) flip(damaged, one_case.also);
        const found = await json('verify', log.directory);
        assert.equal(found.code, 1, one_case.what);
        const finding = found.findings.find((each) => each.damage);
        /* Of a file that is gone, the one before it is told. */
        if (!one_case.gone) assert.equal(finding.file, damaged, one_case.what);
        if (one_case.at !== undefined) assert.equal(finding.byte, one_case.at, one_case.what);
        const lost = found.findings.reduce((sum, each) => sum + each.lost_count, 0);
        if (one_case.lost === 'some') assert.ok(lost > 0 && lost < 12000, one_case.what);
        else assert.equal(lost, one_case.lost, one_case.what);
        if (one_case.refused) {
          const { code, stderr } = await run_to_end([
            `--data=${log.directory}`, '--listen=127.0.0.1:0', '--ops-listen=127.0.0.1:0', ...log.args,
          ]);
          assert.notEqual(code, 0, one_case.what);
          assert.ok(stderr.includes(log.directory), `${one_case.what}: names the file: ${stderr}`);
          assert.match(stderr, /ttlog verify .*ttlog repair/, one_case.what);
          assert.doesNotMatch(stderr, /not to be had/, 'that is no fault of io_uring');
        }
        const before = fs.readdirSync(path.join(log.directory, '0')).length;
        const asked = await ttlog('repair', log.directory);
        assert.equal(asked.code, 1, 'nothing is done without --yes');
        assert.match(asked.stdout, /Nothing was changed: --yes does it/);
        assert.equal(fs.readdirSync(path.join(log.directory, '0')).length, before);
        const repaired = await json('repair', log.directory, '--yes');
        assert.deepEqual(
          { code: repaired.code, damaged_now: repaired.damaged_now, lost: repaired.lost },
          { code: 0, damaged_now: false, lost },
          one_case.what,
        );
        const after = await json('verify', log.directory);
        assert.equal(after.code, 0, `${one_case.what}: ${JSON.stringify(after.findings)}`);
        assert.equal(after.events, 12000 - lost);
        const broker = await Broker.start({ data: log.directory, args: log.args });
        try {
          assert.equal(broker.history, log.history, 'the history is the same');
          const client = await subscribe(broker, '/sse?channels=*&from=earliest');
          const id = await publish(broker, event(-1));
          assert.ok(Number(id.split('-')[2]) >= 12000, 'no offset is used again');
          await client.when((c) => c.events.at(-1)?.json.id === id, `the event behind ${one_case.what}`);
          assert.equal(client.events.length, 12001 - lost);
          if (lost !== 0) {
            const gap = client.all.find((each) => each.type === 'gap');
            assert.equal(gap?.json.reason, 'crash', `${one_case.what}: the loss is told`);
          }
          client.cut();
        } finally {
          await broker.stop();
          await broker.dispose();
        }
      }
    } finally {
      fs.rmSync(pristine, { recursive: true, force: true });
    }
  });
});

test('bad bytes below what was durable are refused with file and byte, and repaired', { skip }, async (t) => {
  const random = seeded(t);
  const broker = await Broker.start({ data: temporary_directory(), args: ['--log-sync=always'] });
  const directory = broker.data;
  try {
    for (let n = 0; n < 30; n++) await publish(broker, event(n));
    await broker.stop();
    const file = path.join(directory, '0', segments(directory)[0]);
    const events = (await dump(directory, '--raw')).filter((record) => record.class === 'event');
    const hit = random.pick(events.slice(2, 28));
    flip(file, hit.byte + random.between(0, hit.length - 1), 1 << random.between(0, 7));
    const { code, stderr } = await run_to_end([
      `--data=${directory}`, '--listen=127.0.0.1:0', '--ops-listen=127.0.0.1:0', '--log-sync=always',
    ]);
    assert.notEqual(code, 0);
    assert.ok(stderr.includes(`${file}: damaged at byte ${hit.byte}`), stderr);
    assert.match(stderr, /ttlog verify/);
    const found = await json('verify', directory);
    assert.deepEqual(
      found.findings.map(({ kind, file: named, byte, lost_first, lost_count }) => ({ kind, named, byte, lost_first, lost_count })),
      [{ kind: 'records', named: file, byte: hit.byte, lost_first: hit.offset, lost_count: 1 }],
    );
    assert.equal((await json('repair', directory, '--yes')).code, 0);
    await broker.restart();
    const client = await subscribe(broker, `/sse?channels=*&cursor=${broker.history}-0-${hit.offset - 1}`);
    await client.received(30 - hit.offset - 1);
    assert.deepEqual(client.all.slice(1, 2).map((each) => [each.type, each.json.reason]), [['gap', 'crash']]);
    client.cut();
  } finally {
    await broker.dispose();
    fs.rmSync(directory, { recursive: true, force: true });
  }
});

test('whatever bytes are damaged, repair loses only what was hit', { skip, timeout: 600_000 }, async (t) => {
  const random = seeded(t);
  await with_log(9000, ['--log-partitions=2'], async (log) => {
    const pristine = `${log.directory}.pristine`;
    fs.cpSync(log.directory, pristine, { recursive: true });
    const records = await dump(log.directory, '--raw');
    const whole = new Map((await dump(log.directory)).map((line) => [line.id, line]));
    try {
      for (let round = 0; round < 25; round++) {
        fs.rmSync(log.directory, { recursive: true });
        fs.cpSync(pristine, log.directory, { recursive: true });
        const hit = new Set();
        for (let n = random.between(1, 4); n > 0; n--) {
          const partition = random.between(0, 1);
          const name = random.pick(segments(log.directory, partition));
          const file = path.join(log.directory, String(partition), name);
          const of_file = records.filter((each) => each.partition === partition && each.file === name);
          /* Not the batch that covers the newest events: without it they may be a write that was not finished. */
          const last = of_file.at(-1);
          const used = last.class === 'batch' ? last.byte : last.byte + last.length;
          const at = random.between(0, used - 1);
          const length = Math.min(random.pick([1, 1, 50, 3000]), used - at);
          for (let i = at; i < at + length; i++) flip(file, i, random.between(1, 255));
          for (const each of of_file) {
            if (each.class !== 'event' || each.byte >= at + length || each.byte + each.length <= at) continue;
            hit.add(`${log.history}-${partition}-${each.offset}`);
          }
        }
        const repaired = await json('repair', log.directory, '--yes');
        assert.equal(repaired.code, 0, `round ${round}: ${JSON.stringify(repaired.findings)}`);
        assert.equal((await json('verify', log.directory)).code, 0);
        const left = (await dump(log.directory)).filter((line) => !line.gap);
        const expected = [...whole.keys()].filter((id) => !hit.has(id));
        assert.deepEqual(left.map((line) => line.id), expected, `round ${round}`);
        for (const line of left) assert.deepEqual(line, whole.get(line.id));
      }
    } finally {
      fs.rmSync(pristine, { recursive: true, force: true });
    }
  });
});

test('files beside the segments are checked against the records, and made again', { skip, timeout: 300_000 }, async () => {
  const broker = await Broker.start({
    data: temporary_directory(),
    args: ['--log-segment-bytes=2MiB', '--tail-bytes=2MiB', '--log-retention-bytes=8MiB'],
  });
  const directory = broker.data;
  const pristine = `${directory}.pristine`;
  const names = () => fs.readdirSync(path.join(directory, '0')).sort();
  const find = (ending) => names().find((name) => name.endsWith(ending));
  try {
    await publish(broker, event(0, 'once'));
    for (let n = 0; find('.val') === undefined || find('.idx') === undefined; n += 500) {
      await publish_lines(broker, Array.from({ length: 500 }, (_, i) => event(n + i)));
    }
    /* The index of each segment that is sealed. */
    await eventually(() => {
      const sealed = segments(directory).slice(0, -1).map((name) => name.replace('.seg', '.idx'));
      return sealed.every((name) => names().includes(name)) && names().includes('values');
    }, 'the index files');
    await broker.stop();
    fs.cpSync(directory, pristine, { recursive: true });
    assert.equal((await json('verify', directory)).code, 0);
    const sizes = new Map(names().map((name) => [name, fs.statSync(path.join(directory, '0', name)).size]));
    for (const [name, byte] of [
      [find('.idx'), 100],
      [find('.idx'), 300],
      [find('.idx'), sizes.get(find('.idx')) - 5],
      ['values', 10],
      ['values', 120],
      ['values', sizes.get('values') - 5],
    ]) {
      fs.rmSync(directory, { recursive: true });
      fs.cpSync(pristine, directory, { recursive: true });
      flip(path.join(directory, '0', name), byte);
      const found = await json('verify', directory);
      assert.equal(found.code, 1, `${name} at byte ${byte}`);
      assert.deepEqual(found.findings.map((each) => each.file), [path.join(directory, '0', name)]);
      if (name.endsWith('.idx')) assert.equal(found.findings[0].byte, byte);
      assert.equal((await json('repair', directory, '--yes')).code, 0);
      assert.equal(names().includes(name), false, 'it is removed');
      assert.equal((await json('verify', directory)).code, 0);
    }
    await broker.restart();
    await publish(broker, event(1));
    await eventually(() => names().includes('values'), 'the checkpoint is made again');
    await broker.stop();
  } finally {
    fs.rmSync(pristine, { recursive: true, force: true });
    fs.rmSync(directory, { recursive: true, force: true });
    await broker.dispose();
  }
});

test('a client resumes across what a repair took away, and is told by gap', { skip }, async () => {
  await with_log(3000, [], async (log) => {
    const records = (await records_of(log, seg(log, 0))).filter((record) => record.class === 'event');
    const lost = records.slice(100, 104);
    for (const record of lost) flip(seg(log, 0), record.byte + 60);
    const { code, findings } = await json('repair', log.directory, '--yes');
    assert.equal(code, 0);
    assert.equal(findings[0].lost_first, lost[0].offset);
    assert.equal(findings[0].lost_count, 4, 'neighbours are one finding');
    const kept = fs.readdirSync(path.join(log.directory, '0')).filter((name) => name.includes('.bad-'));
    assert.deepEqual(kept, [`${path.basename(seg(log, 0))}.bad-${lost[0].byte}`]);
    const size = fs.statSync(path.join(log.directory, '0', kept[0])).size;
    assert.equal(size, lost.reduce((sum, record) => sum + record.length, 0), 'the bad bytes are kept');
    const gaps = (await dump(log.directory)).filter((line) => line.gap);
    assert.deepEqual(gaps, [{ gap: { partition: 0, from: lost[0].offset, to: lost[3].offset } }]);
    const broker = await Broker.start({ data: log.directory, args: log.args });
    try {
      const cursor = `${log.history}-0-${lost[0].offset - 1}`;
      const client = await subscribe(broker, `/sse?channels=*&cursor=${cursor}`);
      await client.when((c) => c.events.length === 3000 - lost[3].offset - 1, 'everything behind the gap');
      assert.equal(client.all.filter((each) => each.type === 'gap').length, 1);
      assert.equal(client.events[0].json.id, `${log.history}-0-${lost[3].offset + 1}`);
      client.cut();
      const later = await subscribe(broker, `/sse?channels=*&cursor=${log.history}-0-${lost[3].offset}`);
      await later.when((c) => c.events.length === 3000 - lost[3].offset - 1, 'everything behind');
      assert.equal(later.all.some((each) => each.type === 'gap'), false, 'not for who had it');
      later.cut();
    } finally {
      await broker.stop();
      await broker.dispose();
    }
  });
});
