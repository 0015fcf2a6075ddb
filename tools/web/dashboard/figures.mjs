// What the broker says, made into figures: rates out of counters, percentiles out of a histogram, and
// how numbers are written. No DOM; tested by tests/integration/figures.test.mjs.

/** Prometheus' text as a Map from name to a list of { labels, value }. */
export function parse_metrics(text) {
  const families = new Map();
  for (const line of text.split('\n')) {
    const m = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (!m) continue;
    const labels = {};
    for (const [, name, value] of (m[2] ?? '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) labels[name] = value;
    if (!families.has(m[1])) families.set(m[1], []);
    families.get(m[1]).push({ labels, value: Number(m[3]) });
  }
  return families;
}

/** The sum of a family over all its labels; null: there is none. */
export function total(families, name) {
  const rows = families.get(name);
  return rows ? rows.reduce((sum, { value }) => sum + value, 0) : null;
}

/** A histogram's buckets, cumulative, by rising bound: { bounds: [seconds], counts }. */
export function histogram(families, name) {
  const rows = (families.get(`${name}_bucket`) ?? []).map(({ labels, value }) => [Number(labels.le.replace('+Inf', 'Infinity')), value]);
  rows.sort((a, b) => a[0] - b[0]);
  return { bounds: rows.map(([bound]) => bound), counts: rows.map(([, count]) => count) };
}

/**
 * Of what was observed between two states of a histogram: the value below which `part` of it lies, in
 * seconds, as if each bucket were filled evenly. null: nothing was observed. Above the highest bound: Infinity.
 */
export function percentile(before, after, part) {
  const counts = after.counts.map((count, i) => count - (before.counts[i] ?? 0));
  const all = counts.at(-1) ?? 0;
  if (!(all > 0)) return null;
  const rank = part * all;
  const i = counts.findIndex((count) => count >= rank);
  const upper = after.bounds[i];
  if (upper === Infinity) return Infinity;
  const lower = i === 0 ? 0 : after.bounds[i - 1];
  const below = i === 0 ? 0 : counts[i - 1];
  return counts[i] === below ? upper : lower + ((upper - lower) * (rank - below)) / (counts[i] - below);
}

/** Counters that only rise, as rates; a broker that was started anew begins anew. */
export class Rates {
  constructor() {
    this.last = null;
  }

  /** values: { name: count }. { name: a second }; null the first time. */
  take(now_ms, life, values) {
    const { last } = this;
    this.last = { now_ms, life, values };
    if (!last || last.life !== life || now_ms <= last.now_ms) return null;
    const seconds = (now_ms - last.now_ms) / 1000;
    return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, Math.max(0, value - last.values[name]) / seconds]));
  }
}

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const three = new Intl.NumberFormat('en', { maximumSignificantDigits: 3 });

export const count = (n) => (n === null || n === undefined ? '–' : whole.format(n));

/** A number that may be large: 12,345 up to a hundred thousand, then 123k, 1.23M. */
export function short(n) {
  if (n === null || n === undefined) return '–';
  if (n < 10 && n % 1 !== 0) return n.toFixed(1);
  if (n < 99_999.5) return whole.format(n);
  if (n < 999_500) return `${three.format(n / 1e3)}k`;
  return n < 999_500_000 ? `${three.format(n / 1e6)}M` : `${three.format(n / 1e9)}G`;
}

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

export function bytes(n) {
  if (n === null || n === undefined || n > 2 ** 62) return '–';
  let unit = 0;
  while (n >= 1000 && unit < units.length - 1) {
    n /= 1024;
    unit++;
  }
  return `${unit === 0 ? whole.format(n) : n < 10 ? n.toFixed(2) : n < 100 ? n.toFixed(1) : whole.format(n)} ${units[unit]}`;
}

/** A latency in seconds. */
export function latency(s) {
  if (s === null || s === undefined) return '–';
  if (s === Infinity) return '> 1 s';
  const ms = s * 1000;
  return ms < 1 ? `${ms.toFixed(2)} ms` : ms < 100 ? `${ms.toFixed(1)} ms` : `${whole.format(ms)} ms`;
}

/** A time that has passed, in ms: 340 ms, 12 s, 3 min, 5 h, 2 d. */
export function passed(ms) {
  if (ms === null || ms === undefined) return '–';
  if (ms < 1000) return `${whole.format(ms)} ms`;
  const s = ms / 1000;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 120) return `${Math.floor(s)} s`;
  if (s < 7200) return `${Math.floor(s / 60)} min`;
  return s < 172_800 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86_400)} d`;
}

/** Is a text that an operator wrote an address (else it is a label)? */
export const is_address = (text) => /^\[?[0-9a-f]*:[0-9a-f:.]*\]?(:\d+)?$|^\d+(\.\d+){3}(:\d+)?$/i.test(text);
