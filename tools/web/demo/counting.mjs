// Counting exactly once. Every payload carries `n`, which rises by one for each channel; the event's id
// says whether an n that comes again is the same event (doubled) or a feed that began anew.

/** Splits an event id `<history>-<partition>-<offset>`. */
export function position(id) {
  const m = /^([A-Za-z0-9]+)-(\d+)-(\d+)$/.exec(id ?? '');
  return m ? { lane: `${m[1]}-${m[2]}`, offset: Number(m[3]) } : { lane: '', offset: NaN };
}

export class Ledger {
  constructor() {
    this.channels = new Map(); /* channel: { n, lane, offset, checked } */
    this.received = 0;
    this.lost = 0;
    this.doubled = 0;
    this.skipped = 0; /* told by the broker's `gap` events, not lost */
    this.cuts = 0;
    this.incident = null;
  }

  /** Takes one event. Answers 'first', 'next', 'lost', 'doubled' or 'anew'. */
  take(channel, n, id) {
    const { lane, offset } = position(id);
    const seen = this.channels.get(channel);
    this.received++;
    if (!seen) {
      this.channels.set(channel, { n, lane, offset, checked: this.cuts });
      return 'first';
    }
    if (seen.checked !== this.cuts) {
      seen.checked = this.cuts;
      if (this.incident) this.incident.checked++;
    }
    if (lane === seen.lane && offset <= seen.offset) {
      this.doubled++;
      return 'doubled';
    }
    const anew = n <= seen.n || (lane !== seen.lane && lane.split('-')[0] !== seen.lane.split('-')[0]);
    const expected = anew ? 1 : seen.n + 1;
    const result = anew ? 'anew' : n > expected ? 'lost' : 'next';
    /* A feed that began anew may begin anywhere in another history: nothing can be said of it. */
    if (lane === seen.lane) this.lost += Math.max(0, n - expected);
    Object.assign(seen, { n, lane, offset });
    return result;
  }

  /** The connection broke: what follows is judged by itself. */
  broke(now) {
    if (this.incident && !this.incident.settled) return;
    this.cuts++;
    this.incident = {
      at: now,
      back: 0,
      settled: false,
      lost: this.lost,
      doubled: this.doubled,
      skipped: this.skipped,
      replayed: 0,
      checked: 0,
      channels: this.channels.size,
    };
  }

  /** What happened since the connection broke: { lost, doubled, skipped }. */
  outcome() {
    const from = this.incident;
    return { lost: this.lost - from.lost, doubled: this.doubled - from.doubled, skipped: this.skipped - from.skipped };
  }
}

/** Median and 99th percentile of the last `size` values. */
export class Recent {
  constructor(size) {
    this.values = new Float64Array(size);
    this.count = 0;
  }

  add(value) {
    this.values[this.count++ % this.values.length] = value;
  }

  quantiles(...wanted) {
    const have = Math.min(this.count, this.values.length);
    if (have === 0) return wanted.map(() => undefined);
    const sorted = this.values.slice(0, have).sort();
    return wanted.map((q) => sorted[Math.min(have - 1, Math.floor(q * have))]);
  }
}
