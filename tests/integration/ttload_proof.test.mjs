// The proof of completeness of `ttload run` can fail: a broker made for the purpose loses, doubles or reorders an
// event across a resume, or lies in a gap, and is found out; and it passes what the policies allow.

import assert from 'node:assert/strict';
import test from 'node:test';
import { Fake, measured } from './lib/fake.mjs';

/** One client that follows one channel, so that what happens is known to the event. */
const one = ['--clients=1', '--channels=1', '--publish=single', '--rate=400'];
const cut = ['--reconnect-share=100', '--reconnect-every=50ms', '--reconnect-wait=10ms', '--drain=5s'];

test('cut anywhere and resumed: complete, and cut inside events too', async () => {
  for (const where of ['inside', 'between', 'any']) {
    const { code, report } = await measured(new Fake({}), [...cut, `--reconnect-cut=${where}`, '--clients=10',
      '--channels=9', '--channels-per-client=4', '--channel-distribution=uniform', '--rate=1000', '--duration=400ms']);
    assert.deepEqual(report.failures, []);
    assert.equal(code, 0);
    assert.equal(report.total.delivered, report.total.expected);
    const { cuts, cuts_inside, resumed } = report.disturbed;
    assert.ok(cuts > 0);
    assert.equal(resumed, cuts);
    if (where === 'inside') assert.ok(cuts_inside > 0);
    if (where === 'between') assert.equal(cuts_inside, 0);
    assert.equal(report.disturbed_ms.count + report.latency_ms.count, report.total.expected);
  }
});

for (const [what, by, counted] of [
  ['lost', 1, { lost: 1 }],
  ['doubled', -1, { doubled: 1 }],
]) {
  test(`an event ${what} by a resume is found`, async () => {
    let done = false;
    const resume = (next) => (done || next < 20 ? next : ((done = true), next + by));
    const fake = new Fake({ resume });
    /* The place that it resumes from wrongly must exist: events come while it is away. */
    const { code, report } = await measured(fake, [...one, ...cut, '--reconnect-wait=50ms', '--duration=1s', '--drain=500ms']);
    assert.equal(code, 1);
    for (const [name, count] of Object.entries(counted)) assert.equal(report.total[name], count);
    assert.match(report.failures.join('\n'), new RegExp(`1 deliveries ${what}`));
  });
}

test('events out of order behind a resume are found', async () => {
  let held = null;
  let done = false;
  const deliver = (stream, frames) => frames.forEach((frame) => {
    if (stream.resumed && !done && held === null) {
      held = frame;
      return;
    }
    stream.write(frame + (held ?? ''));
    if (held !== null) done = true;
    held = null;
  });
  const { code, report } = await measured(new Fake({ deliver }), [...one, ...cut, '--reconnect-every=400ms', '--duration=2s', '--drain=500ms']);
  assert.equal(code, 1);
  assert.equal(report.total.reordered, 1);
});

/** A stream that leaves out the frames whose number (from 0, of the run) `skips` names, and tells of it by gap. */
function conflating(skips, told) {
  let n = 0;
  let left = 0;
  return (stream, frames) => {
    for (const frame of frames) {
      if (skips(n++)) {
        left++;
        continue;
      }
      const gap = left === 0 ? '' : told(left);
      stream.write(frame + gap);
      left = 0;
    }
  };
}
const gap = (reason, skipped) => `event: gap\ndata: {"reason":"${reason}","skipped":${skipped},"from":"a","to":"b"}\n\n`;
const skip_some = (n) => n < 50 && n % 7 >= 4;

for (const [what, deliver, args, message] of [
  ['conflation that is told of', conflating(skip_some, (n) => gap('conflated', n)), [], null],
  ['conflation by max_rate, not told of', conflating(skip_some, () => ''), ['--max-rate=2.5'], null],
  ['a gap that tells of too few', conflating(skip_some, (n) => gap('conflated', n - 1)), [], /told a wrong count/],
  ['a gap that tells of too many', conflating(skip_some, (n) => gap('conflated', n + 1)), [], /told a wrong count/],
  ['conflation that is not told of', conflating(skip_some, () => ''), [], /was told of 0 conflated events and missed \d+/],
  ['a trade that is conflated away', conflating((n) => n === 9, (n) => gap('conflated', n)), ['--never-conflate-every=5'], /1 events marked "conflate":false were conflated away/],
  ['the newest event, which never comes', conflating((n) => n >= 20, (n) => gap('conflated', n)), [], /the newest event of a channel never came/],
]) {
  test(`conflating: ${what} ${message ? 'fails the run' : 'passes'}`, async () => {
    const { code, report } = await measured(new Fake({ deliver }), [...one, '--policy=conflate', ...args]);
    if (message) assert.match(report.failures.join('\n'), message);
    else assert.deepEqual(report.failures, []);
    assert.equal(code, message ? 1 : 0);
    assert.equal(report.disturbed.conflating, 1);
  });
}

test('conflating: an older event behind a newer one fails the run', async () => {
  let first = null;
  const deliver = (stream, frames) => frames.forEach((frame) => {
    first ??= frame;
    stream.write(frame === first ? '' : first === '' ? frame : frame + first);
    if (frame !== first) first = '';
  });
  const { code, report } = await measured(new Fake({ deliver }), [...one, '--policy=conflate']);
  assert.equal(code, 1);
  assert.equal(report.total.reordered, 1);
});

test('what a lossless client is not told of is lost, whatever a gap says', async () => {
  const deliver = conflating((n) => n === 10, (n) => gap('conflated', n));
  const { code, report } = await measured(new Fake({ deliver }), one);
  assert.equal(code, 1);
  assert.equal(report.total.lost, 1);
  assert.match(report.failures.join('\n'), /a gap of conflation for a client that does not conflate/);
});

test('a resync is told apart from a loss; --allow-told lets it pass', async () => {
  const fake = () => {
    let n = 0;
    return new Fake({ deliver: (stream, frames) => frames.forEach((frame) => {
      if (n++ === 10) stream.write('event: resync\ndata: {"reason":"expired","channels":[]}\nid: x-0-1\n\n');
      else stream.write(frame);
    }) });
  };
  const failed = await measured(fake(), one);
  assert.equal(failed.code, 1);
  assert.equal(failed.report.total.lost, 0);
  assert.equal(failed.report.total.told, 1);
  assert.match(failed.report.failures.join('\n'), /told 1 times of events that are gone/);
  const passed = await measured(fake(), [...one, '--allow-told']);
  assert.deepEqual(passed.report.failures, []);
  assert.equal(passed.code, 0);
});

test('max_lag: a gap, the newest value without id, and on; a hole without a gap is a loss', async () => {
  for (const told of [true, false]) {
    let n = 0;
    const deliver = (stream, frames) => frames.forEach((frame) => {
      n++;
      const value = frame.replace(/id: .*\n\n$/, '\n');
      if (n > 10 && n < 20) return;
      if (n === 20 && told) stream.write(`${gap('lag', 9)}${value}event: snapshot-end\ndata: {"events":1}\nid: fake00-0-19\n\n`);
      else stream.write(frame);
    });
    const { code, report } = await measured(new Fake({ deliver }), [...one, '--max-lag=100ms']);
    assert.equal(report.total.told, told ? 9 : 0);
    assert.equal(report.total.lost, told ? 0 : 9);
    assert.equal(code, told ? 0 : 1);
  }
});

test('policy disconnect: closed by the broker, resumed, complete', async () => {
  let n = 0;
  const deliver = (stream, frames) => {
    if (++n % 30 === 0) stream.destroy();
    else stream.write(frames.join(''));
  };
  const { code, report } = await measured(new Fake({ deliver }), [...one, '--policy=disconnect', '--drain=5s', '--reconnect-wait=0']);
  assert.deepEqual(report.failures, []);
  assert.equal(code, 0);
  assert.ok(report.disturbed.closed > 0);
  assert.equal(report.total.delivered, report.total.expected);
});
