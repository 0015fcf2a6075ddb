// What a stream that begins with from=snapshot or last=N must hold, checked from the sequence numbers in
// its payloads (lib/counter.mjs): values without ids, `snapshot-end` with one, and behind it every later
// event, with neither a gap nor a double at the join.

import assert from 'node:assert/strict';

/** Publishes batches without a pause until stopped; remembers what it published. */
export class Feed {
  /** make(): the next event, from a Sequence; publish: one of lib/publish.mjs; per: events in a batch. */
  constructor(broker, publish, make, { per = 50 } = {}) {
    this.stopping = false;
    this.batches = 0;
    this.waiters = [];
    /* One writer: batches of several would overtake each other, and with them the numbers. */
    this.done = (async () => {
      while (!this.stopping) {
        await publish(broker, Array.from({ length: per }, make));
        this.batches++;
        for (const waiter of this.waiters.splice(0)) waiter();
      }
    })();
    this.done.catch(() => {});
  }

  /** Until `count` more batches were published. */
  async more(count) {
    for (let i = 0; i < count; i++) {
      await Promise.race([new Promise((resolve) => this.waiters.push(resolve)), this.done]);
    }
  }

  async stop() {
    this.stopping = true;
    await this.done;
  }
}

/** Splits what a client has: { before, after, end }, and checks which of it carries ids. */
export function parts(client) {
  const at = client.all.findIndex((event) => event.control && event.type === 'snapshot-end');
  assert.ok(at >= 0, 'there is a snapshot-end');
  const before = client.all.slice(0, at);
  for (const event of before) assert.equal(event.id, undefined, `no id before snapshot-end: ${event.lines}`);
  assert.ok(client.all[at].id, 'snapshot-end has an id');
  const after = client.all.slice(at + 1).filter((event) => !event.control);
  for (const event of after) assert.ok(event.id, 'an id behind snapshot-end');
  assert.equal(client.all.filter((event) => event.type === 'snapshot-end').length, 1);
  const values = before.filter((event) => !event.control);
  assert.equal(client.all[at].json.events, values.length, 'snapshot-end says how many there were');
  return { before: values, end: client.all[at], after };
}

/** Channel -> numbers, in the order in which they came. */
export function numbers(events) {
  const map = new Map();
  for (const { json } of events) {
    if (!map.has(json.channel)) map.set(json.channel, []);
    map.get(json.channel).push(json.payload.n);
  }
  return map;
}

/**
 * Checks the join. channels: those that have events; options: last (0: values), skips(channel, n): an event
 * that is no value (never-conflate, or of another type), oldest(channel): the first number that may be there
 * (default 1).
 */
export function check_join(client, channels, { last = 0, skips = () => false, oldest = () => 1 } = {}) {
  const { before, after } = parts(client);
  const values = numbers(before);
  const live = numbers(after);
  for (const channel of channels) {
    const have = values.get(channel) ?? [];
    const next = live.get(channel) ?? [];
    for (let i = 1; i < next.length; i++) {
      assert.equal(next[i], next[i - 1] + 1, `${channel}: in order and without a gap behind the join`);
    }
    if (last === 0) assert.ok(have.length <= 1, `${channel}: one value: ${have}`);
    for (let i = 1; i < have.length; i++) assert.equal(have[i], have[i - 1] + 1, `${channel}: the last events: ${have}`);
    let first = have.at(-1) ?? oldest(channel) - 1;
    if (last === 0) {
      assert.ok(have.length === 0 || !skips(channel, first), `${channel}: ${first} is no value`);
      while (next.length !== 0 && first + 1 < next[0] && skips(channel, first + 1)) first++;
    } else if (have.length < last) {
      assert.ok(have.length === 0 || have[0] === oldest(channel), `${channel}: ${last} events or all: ${have}`);
    }
    if (next.length !== 0) assert.equal(next[0], first + 1, `${channel}: the join; before it ${have}`);
  }
}
