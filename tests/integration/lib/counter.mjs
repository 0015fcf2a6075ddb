// Counting exactly once: every published payload carries { channel, n } with n rising by one for each
// channel. A counter sees what one client received, over all its connections.

import assert from 'node:assert/strict';

export class Counter {
  constructor() {
    this.next = new Map();
    this.total = 0;
    this.lost = 0;
    this.doubled = 0;
    this.problems = [];
  }

  /** Takes one received event of the envelope form. */
  take(event) {
    const { channel, payload } = event.json;
    const expected = this.next.get(channel) ?? payload.first ?? 1;
    if (payload.n < expected) {
      this.doubled++;
      this.#note(`${channel}: ${payload.n} again (expected ${expected}), ${event.id}`);
      return;
    }
    if (payload.n > expected) {
      this.lost += payload.n - expected;
      this.#note(`${channel}: ${payload.n} after ${expected - 1}, ${event.id}`);
    }
    this.next.set(channel, payload.n + 1);
    this.total++;
  }

  #note(text) {
    if (this.problems.length < 10) this.problems.push(text);
  }

  /** The newest n of a channel, 0 before the first. */
  newest(channel) {
    return (this.next.get(channel) ?? 1) - 1;
  }

  assert_exact(what = 'every event exactly once') {
    assert.deepEqual({ lost: this.lost, doubled: this.doubled, problems: this.problems }, { lost: 0, doubled: 0, problems: [] }, what);
  }
}

/** A publisher's side: makes the next event of a channel. */
export class Sequence {
  constructor() {
    this.counts = new Map();
  }

  event(channel, more = {}) {
    const n = (this.counts.get(channel) ?? 0) + 1;
    this.counts.set(channel, n);
    const { payload, ...rest } = more;
    return { channel, type: 'count', ...rest, payload: { n, ...payload } };
  }

  get total() {
    return [...this.counts.values()].reduce((sum, n) => sum + n, 0);
  }

  newest(channel) {
    return this.counts.get(channel) ?? 0;
  }
}
