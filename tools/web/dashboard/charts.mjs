// Lines over the last two minutes, on canvas. Each point has a time of its own, so a broker that does not
// answer leaves a hole.

const span_ms = 120_000;
const hole_ms = 3500; /* two points further apart than this are not joined */
const all = new Set();
let pending = false;

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Draws every chart anew, once for each frame: new points, new colours, another size. */
export function redraw() {
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => {
    pending = false;
    for (const chart of all) chart.draw();
  });
}

function round_up(value) {
  const step = 10 ** Math.floor(Math.log10(value));
  return step * [1, 2, 2.5, 5, 10].find((n) => n * step >= value * 0.9999);
}

/**
 * options: { series: [{ colour, name, fill }], format, stacked, log: [lowest, highest], axis: false for a
 * sparkline }. A point is { at, values: [of each series, null: none] }.
 */
export class Chart {
  constructor(canvas, options) {
    this.canvas = canvas;
    this.options = options;
    this.points = [];
    this.pointer = null;
    all.add(this);
    new ResizeObserver(redraw).observe(canvas);
    if (options.axis === false) return;
    canvas.addEventListener('pointermove', (event) => this.#point(event.offsetX));
    canvas.addEventListener('pointerleave', () => this.#point(null));
  }

  #point(x) {
    this.pointer = x;
    redraw();
  }

  add(at, values) {
    this.points.push({ at, values });
    while (this.points[0].at < at - span_ms - hole_ms) this.points.shift();
    this.now = at;
    redraw();
  }

  clear() {
    this.points = [];
  }

  /** Where the series stand at a point: their values, or the sums of those below. */
  #heights(point) {
    if (!this.options.stacked) return point.values;
    let sum = 0;
    return point.values.map((value) => (sum += value ?? 0));
  }

  draw() {
    const { canvas, options } = this;
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    if (!width || !height) return;
    const ratio = Math.min(devicePixelRatio || 1, 2);
    if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
    if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
    const c = canvas.getContext('2d');
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, width, height);
    const axis = options.axis !== false;
    const area = { left: axis ? 52 : 1, right: width - (axis ? 6 : 2), top: axis ? 8 : 3, bottom: height - (axis ? 20 : 2) };
    const now = this.now ?? 0;
    const x_of = (at) => area.right - ((now - at) / span_ms) * (area.right - area.left);
    let most = 0;
    for (const point of this.points) for (const value of this.#heights(point)) if (value !== null && value !== Infinity) most = Math.max(most, value);
    const [low, high] = options.log ?? [0, Math.max(most > 0 ? round_up(most * 1.05) : 0, options.least ?? 4)];
    const part = (value) => (options.log ? Math.log(Math.min(Math.max(value, low), high) / low) / Math.log(high / low) : value / high);
    const y_of = (value) => area.bottom - part(value) * (area.bottom - area.top);
    if (axis) this.#axes(c, area, low, high, x_of, y_of, now);
    c.save();
    c.beginPath();
    c.rect(area.left, 0, area.right - area.left + 3, height);
    c.clip();
    for (let s = options.series.length - 1; s >= 0; s--) this.#line(c, s, area, x_of, y_of);
    c.restore();
    if (this.pointer !== null) this.#tell(c, area, x_of, y_of, width);
  }

  #axes(c, area, low, high, x_of, y_of, now) {
    c.font = `12px ${colour('--text')}`;
    c.lineWidth = 1;
    c.strokeStyle = colour('--rule');
    c.fillStyle = colour('--ink-2');
    c.textBaseline = 'middle';
    c.textAlign = 'right';
    const ticks = [];
    if (this.options.log) for (let v = low; v <= high * 1.001; v *= 10) ticks.push(v);
    else for (let i = 0; i <= 2; i++) ticks.push((high * i) / 2);
    for (const tick of ticks) {
      const y = Math.round(y_of(tick)) + 0.5;
      c.beginPath();
      c.moveTo(area.left, y);
      c.lineTo(area.right, y);
      c.stroke();
      c.fillText(this.options.format(tick), area.left - 8, y);
    }
    c.textBaseline = 'alphabetic';
    for (const back of [120, 60, 0]) {
      c.textAlign = back === 120 ? 'left' : back === 0 ? 'right' : 'center';
      c.fillText(back === 0 ? 'now' : `${back / 60} min ago`, x_of(now - back * 1000), area.bottom + 16);
    }
  }

  #line(c, s, area, x_of, y_of) {
    const { colour: name, fill } = this.options.series[s];
    const runs = [];
    let last = null;
    for (const point of this.points) {
      const value = this.#heights(point)[s];
      if (value === null || point.values[s] === null) {
        last = null;
        continue;
      }
      if (last === null || point.at - last > hole_ms) runs.push([]);
      runs.at(-1).push([x_of(point.at), y_of(value)]);
      last = point.at;
    }
    const ink = colour(name);
    for (const run of runs) {
      c.beginPath();
      run.forEach(([x, y], i) => (i === 0 ? c.moveTo(x, y) : c.lineTo(x, y)));
      if (fill) {
        c.save();
        c.lineTo(run.at(-1)[0], area.bottom);
        c.lineTo(run[0][0], area.bottom);
        c.closePath();
        /* In a stack the area below belongs to the next one: it is wiped out first. */
        if (this.options.stacked) {
          c.fillStyle = colour('--sheet');
          c.fill();
        }
        c.globalAlpha = this.options.stacked ? 0.55 : 0.14;
        c.fillStyle = ink;
        c.fill();
        c.restore();
        c.beginPath();
        run.forEach(([x, y], i) => (i === 0 ? c.moveTo(x, y) : c.lineTo(x, y)));
      }
      c.strokeStyle = ink;
      c.lineWidth = this.options.stacked ? 1 : 1.75;
      c.lineJoin = 'round';
      c.stroke();
      if (run.length === 1) {
        c.fillStyle = ink;
        c.fillRect(run[0][0] - 1, run[0][1] - 1, 2, 2);
      }
    }
  }

  /** What the point under the pointer says. */
  #tell(c, area, x_of, y_of, width) {
    let best = null;
    for (const point of this.points) if (best === null || Math.abs(x_of(point.at) - this.pointer) < Math.abs(x_of(best.at) - this.pointer)) best = point;
    if (best === null) return;
    const x = x_of(best.at);
    const lines = this.options.series
      .map(({ name, colour: ink }, i) => ({ ink, text: `${name} ${best.values[i] === null ? 'none' : this.options.format(best.values[i])}`, value: best.values[i] }))
      .filter(({ value }) => !this.options.stacked || value > 0)
      .reverse();
    c.strokeStyle = colour('--ink-2');
    c.lineWidth = 1;
    c.beginPath();
    c.moveTo(Math.round(x) + 0.5, area.top);
    c.lineTo(Math.round(x) + 0.5, area.bottom);
    c.stroke();
    c.font = `12px ${colour('--text')}`;
    const seconds = Math.round((this.now - best.at) / 1000);
    const title = seconds === 0 ? 'now' : `${seconds} s ago`;
    const wide = Math.max(c.measureText(title).width, ...lines.map(({ text }) => c.measureText(text).width + 14)) + 18;
    const tall = 12 + 17 * (lines.length + 1);
    const left = x + 10 + wide > width ? x - 10 - wide : x + 10;
    c.fillStyle = colour('--sheet');
    c.strokeStyle = colour('--edge');
    c.beginPath();
    c.roundRect(left, area.top, wide, tall, 6);
    c.fill();
    c.stroke();
    c.textAlign = 'left';
    c.textBaseline = 'middle';
    c.fillStyle = colour('--ink-2');
    c.fillText(title, left + 9, area.top + 14);
    lines.forEach(({ ink, text }, i) => {
      const y = area.top + 14 + 17 * (i + 1);
      c.fillStyle = colour(ink);
      c.fillRect(left + 9, y - 4, 8, 8);
      c.fillStyle = colour('--ink');
      c.fillText(text, left + 23, y);
    });
  }
}
