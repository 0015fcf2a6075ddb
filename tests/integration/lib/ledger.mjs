// What was published, by the broker's answers, and what a follower must therefore hold.

import assert from 'node:assert/strict';

export class Ledger {
  constructor(channels, partitions) {
    this.channels = channels;
    this.counts = channels.map(() => 0);
    this.partitions = Array.from({ length: partitions }, () => []); /* { offset, channel, value } */
    this.value = 0;
    this.total = 0;
  }

  /** The next event of a channel (its number). The value is unique over everything. */
  event(channel, pad = '') {
    const v = ++this.value;
    this.counts[channel]++;
    return { channel: this.channels[channel], type: 'count', payload: pad === '' ? { v } : { v, pad }, number: channel };
  }

  /** The broker has answered these events with these ids. */
  answered(events, ids) {
    assert.equal(ids.length, events.length);
    for (const [i, id] of ids.entries()) {
      const [, p, offset] = id.split('-').map(Number);
      this.partitions[p].push({ offset, channel: events[i].number, value: events[i].payload.v });
    }
    this.total += ids.length;
  }

  /** Everything is published: brings it into the log's order. */
  close() {
    for (const [p, list] of this.partitions.entries()) {
      list.sort((a, b) => a.offset - b.offset);
      for (let i = 1; i < list.length; i++) {
        assert.notEqual(list[i].offset, list[i - 1].offset, `one offset for two events, partition ${p}`);
      }
    }
  }

  /** For each partition the newest offset on the follower's channels from its start on, or -1. */
  newest(follows, start) {
    return this.partitions.map((list, p) => {
      const last = list.findLast((event) => follows[event.channel]);
      return last === undefined || last.offset < start[p] ? -1 : last.offset;
    });
  }

  /**
   * Holds a follower against the ledger: exactly what was published on its channels from its start on, but
   * for what it was told to have lost. `follows[channel]`: is it one of its channels?
   */
  assert_holds(follower, follows) {
    for (const [p, list] of this.partitions.entries()) {
      const { offsets, values } = follower.got[p];
      const excused = follower.excused[p];
      let at = 0;
      for (const { offset, channel, value } of list) {
        if (!follows[channel] || offset < follower.start[p]) continue;
        const where = `${follower.name}: ${p}-${offset} on ${this.channels[channel]}`;
        if (offsets[at] === offset) {
          assert.equal(values[at], value, where);
          at++;
          continue;
        }
        /* Delivered, and lost in a crash: its number lies in a hole. */
        while (offsets[at] < offset && list.holes?.some((hole) => offsets[at] >= hole.offset && offsets[at] < hole.end)) {
          this.lost = (this.lost ?? 0) + 1;
          at++;
        }
        if (offsets[at] === offset) {
          assert.equal(values[at++], value, where);
          continue;
        }
        const told = excused.some(({ from, to }) => offset >= from && offset < to);
        if (!told) describe_missing(list, follows, follower, p, offset);
        assert.ok(told, `${where} is missing, and nobody has told (next is ${offsets[at]}); ${follower.describe()}`);
      }
      while (list.holes?.some((hole) => offsets[at] >= hole.offset && offsets[at] < hole.end)) at++;
      for (const hole of list.holes ?? []) {
        if (follower.start[p] >= hole.end || follower.promised[p] === undefined || follower.promised[p] < hole.end) continue;
        const told = follower.told.some((t) => t.type === 'gap' && t.partition === p && t.to === hole.end);
        assert.ok(told, `${follower.name} came over the hole ${p}-${hole.offset} to ${hole.end}, and nobody has told; ${follower.describe()}`);
      }
      assert.equal(at, offsets.length, `${follower.name}: ${p}-${offsets[at]} was never published on its channels`);
    }
  }
}

/** Says on the standard error what is missing and on which connections it should have come. */
function describe_missing(list, follows, follower, p, first) {
  const held = new Set(follower.got[p].offsets);
  const missing = list.filter((event) => event.offset >= first && follows[event.channel] && !held.has(event.offset)).map((event) => event.offset);
  console.error(`# ${follower.name}: ${missing.length} missing in partition ${p}, ${missing.at(0)} to ${missing.at(-1)}`);
  for (const [i, trail] of follower.trail.entries()) {
    const { first: from, last: to } = trail.events[p] ?? {};
    if (trail.end?.[p] < first - 500 || from > missing.at(-1) + 500) continue;
    console.error(`#   connection ${i + 1}: sent ${trail.sent} (${trail.vector}), ${p}: ${from} to ${to} ${JSON.stringify(trail.gap ?? [])}, promised ${trail.end}`);
  }
}

/**
 * The ledger of a broker that was killed: what its log holds (logreader.mjs) is what was published. Every answered
 * event must be there under the id of its answer, every one without an answer at most once, and nothing else.
 */
export function ledger_of_log(ledger, log, unanswered) {
  const truth = new Ledger(ledger.channels, log.partitions.length);
  const numbers = new Map(ledger.channels.map((channel, i) => [channel, i]));
  const open = new Set(unanswered);
  for (const [p, partition] of log.partitions.entries()) {
    const answered = new Map(ledger.partitions[p].map((event) => [event.offset, event]));
    for (const { offset, channel, payload } of partition.events) {
      const { v } = JSON.parse(payload);
      const expected = answered.get(offset);
      answered.delete(offset);
      if (expected) assert.equal(v, expected.value, `${p}-${offset} is another event than the answer said`);
      else assert.ok(open.delete(v), `${p}-${offset} (value ${v}) is there twice, or was never published`);
      truth.partitions[p].push({ offset, channel: numbers.get(channel), value: v });
    }
    assert.equal(answered.size, 0, `answered and lost: ${[...answered.keys()].slice(0, 5)} of partition ${p}`);
    truth.partitions[p].holes = partition.holes;
  }
  return truth;
}

/** Does a subscription `a,b.*,*` follow each of these channels? */
export function followed(patterns, channels) {
  const each = patterns.split(',');
  return channels.map((channel) =>
    each.some((pattern) => pattern === '*' || pattern === channel || (pattern.endsWith('.*') && channel.startsWith(pattern.slice(0, -1)))),
  );
}
