// The price board: one tile for each symbol, painted at most some times a second and only while it can be
// seen. A price that moved washes its tile in its colour.

const points = 48;
const sample_ms = 500;
const flash_ms = 700;

export class Board {
  constructor(list, none, still) {
    this.list = list;
    this.none = none;
    this.still = still;
    this.tiles = new Map();
    this.order = 'symbol';
    this.filter = '';
    this.stale = false; /* the order may have changed */
    this.seen = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        const tile = this.tiles.get(entry.target.dataset.symbol);
        tile.visible = entry.isIntersecting;
        tile.dirty = true;
        tile.redraw = true;
      }
    }, { rootMargin: '300px' });
    this.read_colours();
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.read_colours());
  }

  get size() {
    return this.tiles.size;
  }

  read_colours() {
    const style = getComputedStyle(document.documentElement);
    this.colours = {};
    for (const name of ['up', 'down', 'up-wash', 'down-wash', 'ink-2']) this.colours[name] = style.getPropertyValue(`--${name}`).trim();
    for (const tile of this.tiles.values()) tile.redraw = tile.dirty = true;
  }

  /** Takes a quote or a trade; answers the direction in which the price moved: -1, 0 or 1. */
  update({ symbol, name, price, open, volume }, now) {
    let tile = this.tiles.get(symbol);
    if (!tile) tile = this.#add(symbol, price);
    const sign = Math.sign(price - tile.price);
    tile.price = price;
    if (open !== undefined) tile.open = open;
    if (volume !== undefined) tile.volume = volume;
    if (name !== undefined && name !== tile.name) {
      tile.name = name;
      tile.root.title = name;
      tile.label.textContent = name;
    }
    if (sign !== 0) tile.moved = sign;
    if (now - tile.sampled >= sample_ms) {
      tile.history.push(price);
      if (tile.history.length > points) tile.history.shift();
      tile.sampled = now;
      tile.redraw = true;
    }
    tile.dirty = true;
    return sign;
  }

  #add(symbol, price) {
    const make = (tag, name) => Object.assign(document.createElement(tag), { className: name });
    const root = make('li', 'tile');
    root.dataset.symbol = symbol;
    const tile = {
      root,
      symbol,
      name: '',
      price,
      open: price,
      volume: 0,
      moved: 0,
      history: [price],
      sampled: 0,
      flashed: 0,
      visible: false,
      dirty: true,
      redraw: true,
      wash: make('span', 'wash'),
      label: make('span', 'sr'),
      price_text: make('span', 'price'),
      spark: make('canvas', ''),
      change: make('span', 'change'),
    };
    const sym = make('span', 'sym');
    sym.textContent = symbol;
    tile.spark.setAttribute('aria-hidden', 'true');
    sym.append(tile.label);
    root.append(tile.wash, sym, tile.price_text, tile.spark, tile.change);
    this.tiles.set(symbol, tile);
    this.list.append(root);
    this.seen.observe(root);
    this.stale = true;
    return tile;
  }

  /** Puts the tiles in order and hides those that the filter leaves out. */
  arrange(force) {
    if (!force && !this.stale && this.order === 'symbol') return;
    this.stale = false;
    const change = (t) => t.price / t.open;
    const compare = {
      symbol: (a, b) => (a.symbol < b.symbol ? -1 : 1),
      up: (a, b) => change(b) - change(a),
      down: (a, b) => change(a) - change(b),
      volume: (a, b) => b.volume - a.volume,
    }[this.order];
    const wanted = this.filter.trim().toLowerCase();
    let shown = 0;
    let before = null;
    for (const tile of [...this.tiles.values()].sort(compare)) {
      const match = tile.symbol.toLowerCase().includes(wanted) || tile.name.toLowerCase().includes(wanted);
      tile.root.hidden = !match;
      if (match) shown++;
      const place = before ? before.nextSibling : this.list.firstChild;
      if (place !== tile.root) this.list.insertBefore(tile.root, place);
      before = tile.root;
    }
    this.none.hidden = shown > 0 || this.tiles.size === 0;
  }

  paint(now) {
    for (const tile of this.tiles.values()) {
      if (!tile.dirty || !tile.visible) continue;
      tile.dirty = false;
      const percent = (tile.price / tile.open - 1) * 100;
      const sign = percent >= 0.005 ? 'up' : percent <= -0.005 ? 'down' : 'flat';
      tile.price_text.textContent = tile.price.toFixed(2);
      tile.change.textContent = `${sign === 'up' ? '▲' : sign === 'down' ? '▼' : ''}${Math.abs(percent).toFixed(2)}%`;
      if (tile.root.dataset.sign !== sign) tile.root.dataset.sign = sign;
      if (tile.moved !== 0) {
        if (!this.still.matches && now - tile.flashed > flash_ms * 0.6) {
          tile.flashed = now;
          tile.wash.style.background = this.colours[tile.moved > 0 ? 'up-wash' : 'down-wash'];
          tile.wash.animate([{ opacity: 1 }, { opacity: 0 }], { duration: flash_ms, easing: 'ease-out' });
        }
        tile.price_text.style.color = this.colours[tile.moved > 0 ? 'up' : 'down'];
        tile.moved = 0;
      }
      if (tile.redraw) {
        tile.redraw = false;
        this.#spark(tile, sign);
      }
    }
  }

  #spark(tile, sign) {
    const { spark, history } = tile;
    const ratio = Math.min(devicePixelRatio || 1, 2);
    const width = spark.clientWidth;
    const height = spark.clientHeight;
    if (!width) return;
    if (spark.width !== Math.round(width * ratio)) {
      spark.width = Math.round(width * ratio);
      spark.height = Math.round(height * ratio);
    }
    const c = spark.getContext('2d');
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, width, height);
    if (history.length < 2) return;
    const low = Math.min(...history);
    const high = Math.max(...history);
    const y = (price) => height - 2 - ((price - low) / (high - low || 1)) * (height - 4);
    c.beginPath();
    for (const [i, price] of history.entries()) {
      const x = width - (history.length - 1 - i) * (width / (points - 1));
      if (i === 0) c.moveTo(x, y(price));
      else c.lineTo(x, y(price));
    }
    c.strokeStyle = this.colours[sign === 'flat' ? 'ink-2' : sign];
    c.lineWidth = 1.25;
    c.lineJoin = 'round';
    c.stroke();
  }
}
