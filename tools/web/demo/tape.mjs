// The strip of paper at the top. It runs at a steady speed and prints a trade whenever there is room
// at its right end: the largest of those that came meanwhile, of a symbol not printed just now. Without
// motion it stands, and a new trade takes the place of the oldest.

const speed_px_s = 90;
const space_px = 34;

export class Tape {
  constructor(run, still) {
    this.run = run;
    this.box = run.parentElement;
    this.still = still;
    this.offset = 0;
    this.end = 0; /* where the next trade is printed, in the run's own coordinates */
    this.printed = [];
    this.best = null;
    this.moving = true;
    this.next_still = 0;
  }

  offer(trade) {
    /* Not the same few again and again. */
    if (this.printed.slice(-8).some(({ symbol }) => symbol === trade.symbol)) return;
    if (!this.best || trade.size > this.best.size) this.best = trade;
  }

  set_moving(moving) {
    this.moving = moving;
    this.box.classList.toggle('paused', !moving);
  }

  frame(elapsed_ms, now) {
    const width = this.box.clientWidth;
    if (this.still.matches) {
      this.#still_frame(width, now);
      return;
    }
    if (this.moving) this.offset += (speed_px_s * Math.min(elapsed_ms, 100)) / 1000;
    this.run.style.transform = `translate3d(${-this.offset.toFixed(1)}px,0,0)`;
    const edge = this.offset + width;
    if (this.end < edge - 400) this.end = this.printed.length ? edge : this.offset + 24;
    while (this.best && this.end <= edge) {
      this.#print(this.best, this.end);
      this.best = null;
    }
    while (this.printed.length && this.printed[0].right < this.offset) this.printed.shift().item.remove();
    if (this.offset > 1e6) this.#rewind();
  }

  #still_frame(width, now) {
    this.run.style.transform = '';
    if (!this.best || now < this.next_still) return;
    this.next_still = now + 2000;
    if (this.end > width - 60) {
      for (const { item } of this.printed.splice(0)) item.remove();
      this.end = 12;
    }
    this.#print(this.best, Math.max(12, this.end));
    this.best = null;
  }

  #print({ symbol, price, size, sign }, left) {
    const item = document.createElement('span');
    const part = (tag, text) => item.append(Object.assign(document.createElement(tag), { textContent: text }));
    part('b', symbol);
    part('i', `${sign < 0 ? '▼' : sign > 0 ? '▲' : ''}${price.toFixed(2)}`);
    part('small', `${size}`);
    item.className = sign < 0 ? 'down' : 'up';
    item.style.left = `${left}px`;
    this.run.append(item);
    const right = left + item.offsetWidth;
    this.end = right + space_px;
    this.printed.push({ item, symbol, left, right });
  }

  /** Keeps coordinates small on a page that stays open for days. */
  #rewind() {
    for (const p of this.printed) {
      p.left -= this.offset;
      p.right -= this.offset;
      p.item.style.left = `${p.left}px`;
    }
    this.end -= this.offset;
    this.offset = 0;
  }
}
