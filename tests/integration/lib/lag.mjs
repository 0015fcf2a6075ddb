// What a stream with max_lag must hold, checked against what was published: of each partition every event of the
// client's channels is either received, in order and once, or inside a `gap` that says how many it holds; behind
// the gaps stand the values of all channels as of there, then `snapshot-end`, then what follows.

import assert from 'node:assert/strict';
import { publish_all } from './publish.mjs';

export function place(id) {
  const [, partition, offset] = id.split('-');
  return { partition: Number(partition), offset: Number(offset) };
}

/** What was published: partition -> [{ offset, channel, type, n, value }] in the order of offsets. */
export class Published {
  constructor() {
    this.partitions = new Map();
    this.total = 0;
  }

  async publish(broker, events) {
    const ids = await publish_all(broker, events);
    for (const [i, event] of events.entries()) {
      const { partition, offset } = place(ids[i]);
      if (!this.partitions.has(partition)) this.partitions.set(partition, []);
      const { channel, type, payload } = event;
      this.partitions.get(partition).push({ offset, channel, type, n: payload.n, value: event.conflate !== false });
    }
    this.total += events.length;
  }

  /** Those in [from, to) of a partition that `wants` names. */
  between(partition, from, to, wants) {
    return (this.partitions.get(partition) ?? []).filter((e) => e.offset >= from && e.offset < to && wants(e));
  }
}

/**
 * Follows one client through its streams. wants(event of Published): is it on its channels and types;
 * follows(channel): is it one of its channels (a value of another type hides an older one).
 */
export class LagChecker {
  constructor(published, { wants = () => true, follows = () => true } = {}) {
    Object.assign(this, { published, wants, follows });
    this.next = new Map();
    this.received = 0;
    this.skipped = 0;
    this.gaps = [];
    this.unknown = 0;
    this.snapshot = null;
    /* What has come, looked at by assert_complete(): an event may reach its client before its publisher is answered. */
    this.taken = [];
    this.in_snapshot = false;
    this.values = 0; /* of the snapshot under way */
    this.snapshots = 0; /* that have ended */
  }

  take(event) {
    this.taken.push(event);
    if (event.type === 'gap') {
      if (!this.in_snapshot) this.values = 0;
      this.in_snapshot = true;
    } else if (event.type === 'snapshot-end') {
      this.in_snapshot = false;
      this.snapshots++;
    } else if (!event.control && this.in_snapshot) {
      this.values++;
    }
  }

  #at(partition) {
    return this.next.get(partition) ?? 0;
  }

  /** Nothing that was wanted lies between the place of the client and `offset`. */
  #reach(partition, offset, what) {
    const missing = this.published.between(partition, this.#at(partition), offset, this.wants);
    assert.deepEqual(missing.slice(0, 3), [], `${what}: ${missing.length} events were neither sent nor skipped`);
    assert.ok(offset >= this.#at(partition), `${what}: not again what was sent or skipped (${this.#at(partition)})`);
  }

  #check(event) {
    if (event.places) return this.#resumed(event.places);
    if (!event.control) return this.#event(event);
    if (event.type === 'gap') return this.#gap(event);
    if (event.type === 'snapshot-end') return this.#end(event);
    assert.notEqual(event.type, 'resync', event.data);
    return undefined;
  }

  #event(event) {
    const { channel, payload, id } = event.json;
    if (this.snapshot) {
      assert.equal(event.id, undefined, 'a value has no id');
      assert.ok(!this.snapshot.has(channel), `one value of ${channel}`);
      this.snapshot.set(channel, { id, n: payload.n });
      return;
    }
    const { partition, offset } = place(id);
    this.#reach(partition, offset, id);
    this.next.set(partition, offset + 1);
    this.received++;
  }

  #gap(event) {
    const { reason, skipped, from, to } = event.json;
    assert.equal(reason, 'lag');
    assert.equal(event.id, undefined, 'a gap has no id');
    assert.ok(this.snapshot === null || this.snapshot.size === 0, 'gaps stand before the values');
    const [first, last] = [place(from), place(to)];
    assert.equal(first.partition, last.partition);
    assert.ok(first.offset <= last.offset);
    this.#reach(first.partition, first.offset, `from ${from}`);
    const inside = this.published.between(first.partition, this.#at(first.partition), last.offset + 1, this.wants);
    if (skipped === undefined) this.unknown++;
    else assert.equal(skipped, inside.length, `skipped is what lies in ${from} to ${to}`);
    this.gaps.push(event.json);
    this.skipped += inside.length;
    this.next.set(first.partition, last.offset + 1);
    this.snapshot ??= new Map();
  }

  /** Every channel that has a value, with its newest as of here. */
  #end(event) {
    assert.ok(event.id, 'snapshot-end has a cursor');
    const newest = new Map();
    for (const [partition, events] of this.published.partitions) {
      for (const e of events) {
        if (this.follows(e.channel) && e.value && e.offset < this.#at(partition)) newest.set(e.channel, e);
      }
    }
    const expected = new Map([...newest].filter(([, e]) => this.wants(e)).map(([channel, e]) => [channel, e.n]));
    const values = new Map([...this.snapshot].map(([channel, { n }]) => [channel, n]));
    assert.deepEqual([...values].sort(), [...expected].sort(), 'the newest value of each channel that has one');
    this.snapshot = null;
  }

  /** The client was cut: what it holds counts up to its cursor, and an unfinished snapshot not at all. */
  resumes(places) {
    this.in_snapshot = false;
    this.taken.push({ places });
  }

  #resumed(places) {
    this.snapshot = null;
    for (const [partition, next] of places) this.next.set(partition, next);
  }

  /** Everything was sent or skipped. */
  assert_complete() {
    for (const event of this.taken.splice(0)) this.#check(event);
    assert.equal(this.snapshot, null, 'the last snapshot has ended');
    for (const [partition, events] of this.published.partitions) {
      this.#reach(partition, Math.max(this.#at(partition), events.at(-1).offset + 1), `partition ${partition}`);
    }
  }
}
