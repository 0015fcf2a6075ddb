// The last minute as bars, by the time at which events were published: what came live, what came late
// because the connection was away, and the time away itself. A cut shows as a hole that fills.

const bucket_ms = 250;
const span_ms = 60_000;

export class Chart {
  constructor(canvas) {
    this.canvas = canvas;
    this.buckets = new Map(); /* publish time / bucket_ms: { live, replayed } */
    this.away = []; /* { from, to }, to = 0 while it lasts */
    this.top = 8;
    this.read_colours();
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.read_colours());
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  read_colours() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    this.colours = { live: colour('--live'), replayed: colour('--replayed'), away: colour('--away'), rule: colour('--sheet-edge'), ink: colour('--ink-2'), font: colour('--text') };
  }

  resize() {
    const ratio = Math.min(devicePixelRatio || 1, 2);
    this.width = this.canvas.clientWidth;
    this.height = this.canvas.clientHeight;
    this.canvas.width = Math.round(this.width * ratio);
    this.canvas.height = Math.round(this.height * ratio);
    this.ratio = ratio;
  }

  add(published_ms, replayed) {
    const key = Math.floor(published_ms / bucket_ms);
    let bucket = this.buckets.get(key);
    if (!bucket) this.buckets.set(key, (bucket = { live: 0, replayed: 0 }));
    if (replayed) bucket.replayed++;
    else bucket.live++;
  }

  went_away(now) {
    this.away.push({ from: now, to: 0 });
  }

  came_back(now) {
    const last = this.away.at(-1);
    if (last && last.to === 0) last.to = now;
  }

  draw(now) {
    if (!this.width) return;
    const { colours, width, height } = this;
    const c = this.canvas.getContext('2d');
    const start = now - span_ms;
    for (const key of this.buckets.keys()) if ((key + 1) * bucket_ms < start) this.buckets.delete(key);
    this.away = this.away.filter(({ to }) => to === 0 || to > start);

    c.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    c.clearRect(0, 0, width, height);
    const base = height - 18;
    const x_of = (ms) => ((ms - start) / span_ms) * width;

    let most = 4;
    for (const { live, replayed } of this.buckets.values()) most = Math.max(most, live + replayed);
    this.top += (most * 1.12 - this.top) * 0.15;

    c.font = `12px ${colours.font}`;
    c.fillStyle = colours.ink;
    c.strokeStyle = colours.rule;
    c.lineWidth = 1;
    c.textAlign = 'center';
    const every = width < 480 ? 20 : 10;
    for (let back = every; back < 60; back += every) {
      const x = Math.round(x_of(now - back * 1000)) + 0.5;
      c.beginPath();
      c.moveTo(x, 0);
      c.lineTo(x, base);
      c.stroke();
      c.fillText(`${back} s ago`, x, height - 3);
    }

    const step = (bucket_ms / span_ms) * width;
    for (const { from, to } of this.away) {
      const left = Math.max(0, x_of(from));
      const right = to === 0 ? width : x_of(to);
      this.#hatch(c, left, Math.max(2, right - left), base);
    }
    /* The newest bucket is still filling: it is drawn when its time is over. */
    const last = Math.floor(now / bucket_ms);
    for (const [key, { live, replayed }] of this.buckets) {
      if (key >= last) continue;
      const x = x_of(key * bucket_ms);
      const w = Math.max(1, step - (step > 3 ? 1 : 0.25));
      const tall = ((live + replayed) / this.top) * base;
      const late = (replayed / this.top) * base;
      c.fillStyle = colours.live;
      c.fillRect(x, base - tall, w, tall - late);
      c.fillStyle = colours.replayed;
      c.fillRect(x, base - late, w, late);
    }
    c.strokeStyle = colours.ink;
    c.beginPath();
    c.moveTo(0, base + 0.5);
    c.lineTo(width, base + 0.5);
    c.stroke();
  }

  #hatch(c, left, wide, tall) {
    c.save();
    c.beginPath();
    c.rect(left, 0, wide, tall);
    c.clip();
    c.globalAlpha = 0.12;
    c.fillStyle = this.colours.away;
    c.fillRect(left, 0, wide, tall);
    c.globalAlpha = 0.5;
    c.strokeStyle = this.colours.away;
    c.lineWidth = 1;
    c.beginPath();
    const first = Math.floor((left - tall) / 8) * 8;
    for (let x = first; x < left + wide; x += 8) {
      c.moveTo(x, tall);
      c.lineTo(x + tall, 0);
    }
    c.stroke();
    c.restore();
  }
}
