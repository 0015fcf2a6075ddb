// Clients whose address says from=snapshot or last=N, cut off at random bytes, also within the snapshot and
// within an event. Each comes back with the last complete id, or begins anew when it has none yet. What it
// holds is at every moment the state at its snapshot and every event since.

import assert from 'node:assert/strict';
import { broker_test } from './lib/broker.mjs';
import { Sequence } from './lib/counter.mjs';
import { publish_lines } from './lib/publish.mjs';
import { seeded } from './lib/random.mjs';
import { Feed } from './lib/snapshot.mjs';
import { SseClient } from './lib/sse.mjs';

const run_ms = 1000 * Number(process.env.TT_RUN_S ?? (process.env.TT_LONG === '1' ? 60 : 3));
const range = (n, f) => Array.from({ length: n }, (_, i) => f(i));
const channels = range(40, (i) => `${i % 2 ? 'x' : 'y'}.${i}`);

/** What one client holds, over all its connections. */
class Holder {
  constructor(name, last) {
    this.name = name;
    this.last = last;
    this.begun = 0; /* snapshots that were begun, and that were complete */
    this.complete = 0;
    this.next = null; /* channel -> the number that comes next; null: no snapshot is complete */
    this.cursor = '';
  }

  /** A connection's events, in order; it was opened with this.cursor. */
  take(events) {
    const anew = this.cursor === '';
    if (anew) this.begun++;
    const values = new Map();
    let within = anew;
    for (const event of events) {
      if (event.type === 'snapshot-end') {
        assert.ok(within, `${this.name}: a snapshot only without a cursor`);
        within = false;
        this.complete++;
        this.next = values;
      } else if (!event.control) {
        const { channel, payload } = event.json;
        if (within) this.#value(values, channel, payload.n);
        else this.#event(channel, payload.n);
      } else {
        assert.equal(event.type, 'connected', `${this.name}: ${event.lines}`);
      }
      if (event.id === undefined) continue;
      assert.ok(!within, `${this.name}: an id within a snapshot`);
      this.cursor = event.id;
    }
  }

  #value(values, channel, n) {
    const next = values.get(channel);
    if (this.last === 0) assert.equal(next, undefined, `${this.name}: ${channel}: a second value`);
    else if (next !== undefined) assert.equal(n, next, `${this.name}: ${channel}: the last events are in a row`);
    values.set(channel, n + 1);
  }

  #event(channel, n) {
    assert.equal(n, this.next.get(channel) ?? 1, `${this.name}: ${channel}: neither a gap nor a double`);
    this.next.set(channel, n + 1);
  }
}

async function follow(broker, random, holder, path, going) {
  while (going()) {
    const cut_after = random.pick([random.between(1, 500), random.between(1, 8000), random.between(1, 60_000)]);
    const client = await SseClient.open(broker, path, { cursor: holder.cursor, cut_after });
    await client.when((c) => c.ended || !going(), 'its cut').catch((error) => {
      if (client.problem || !client.ended) throw error;
    });
    client.cut();
    /* Ids may come in blocks without an event: they count as well. */
    holder.take(client.all);
    if (client.cursor !== '' && holder.cursor !== '') holder.cursor = client.cursor;
    if (random.next() < 0.1) holder.cursor = ''; /* it has forgotten everything */
  }
}

for (const [name, args] of [
  ['in memory', ['--log-partitions=1']],
  ['over segments', ['--log-partitions=3', '--log-segment-bytes=2MiB', '--tail-bytes=2MiB', '--outbox-bytes=4KiB']],
]) {
  broker_test(`cut anywhere, ${name}`, { args: [...args, '--heartbeat-ms=100'], shards: 3, small: args.length > 1, timeout: 200_000 + run_ms }, async (broker, t) => {
    const random = seeded(t);
    const sequence = new Sequence();
    const pad = 'p'.repeat(args.length > 1 ? 1500 : 50);
    const feed = new Feed(broker, publish_lines, () => sequence.event(random.pick(channels), { payload: { pad: pad.slice(0, random.between(0, pad.length)) } }));
    await feed.more(20);
    const end = Date.now() + run_ms;
    const holders = [];
    const enough = () => holders.every((h) => h.begun >= 2 || h.complete >= 1) && holders.some((h) => h.begun > h.complete);
    const going = () => Date.now() < end || (!enough() && Date.now() < end + 60_000);
    const lives = [];
    for (const follows of ['*', 'x.*', 'y.0,y.2,x.1', 'x.1', channels.join(',')]) {
      for (const last of [0, 3]) {
        const holder = new Holder(`${follows.slice(0, 20)} last=${last}`, last);
        holders.push(holder);
        lives.push(follow(broker, random, holder, `/sse?channels=${follows}&${last ? `last=${last}` : 'from=snapshot'}`, going));
      }
    }
    await Promise.all(lives);
    await feed.stop();
    assert.ok(enough(), 'snapshots were cut off, and completed');
    /* Once more, to the end. */
    for (const [i, holder] of holders.entries()) {
      const follows = ['*', 'x.*', 'y.0,y.2,x.1', 'x.1', channels.join(',')][i >> 1];
      const wanted = channels.filter((c) => follows === '*' || follows.split(',').some((p) => p === c || (p.endsWith('.*') && c.startsWith(p.slice(0, -1)))));
      const client = await SseClient.open(broker, `/sse?channels=${follows}&${holder.last ? `last=${holder.last}` : 'from=snapshot'}`, { cursor: holder.cursor });
      const trial = () => {
        const copy = Object.assign(new Holder(holder.name, holder.last), { cursor: holder.cursor, next: holder.next && new Map(holder.next) });
        copy.take(client.all);
        return copy.next !== null && wanted.every((c) => (copy.next.get(c) ?? 1) === sequence.newest(c) + 1);
      };
      await client.when(trial, `${holder.name}: the newest of every channel`);
      client.cut();
    }
    t.diagnostic?.(`snapshots begun ${holders.reduce((n, h) => n + h.begun, 0)}, complete ${holders.reduce((n, h) => n + h.complete, 0)}`);
  });
}
