// The page: one plain EventSource, and what it shows.

import { Board } from './board.mjs';
import { Chart } from './chart.mjs';
import { Ledger, Recent } from './counting.mjs';
import { Tape } from './tape.mjs';

const $ = (id) => document.getElementById(id);
const stream_path = '../sse?channels=stock.*';
const still = matchMedia('(prefers-reduced-motion: reduce)');
const whole = new Intl.NumberFormat('en');

const ledger = new Ledger();
const latency = new Recent(2000);
const board = new Board($('tiles'), $('none'), still);
const chart = new Chart($('chart'));
const tape = new Tape($('run'), still);
const trades = [];
const seconds = new Array(5).fill(0); /* events in each of the last fifths of a second */

let source;
let state = 'connecting';
let cursor = '';
let resumed_at = 0; /* the broker's time at which the connection came back */
let newest_ms = 0; /* when the newest event came */
let retry_timer = 0;
let cut_pressed = false;

/* ---- what is shown -------------------------------------------------------------------------------- */

function set_text(id, text) {
  const element = $(id);
  if (element.textContent !== text) element.textContent = text;
}

function show_state(next) {
  state = next;
  $('lamp').dataset.state = next;
  set_text('lamp-text', { connecting: 'Connecting', live: 'Live', replaying: 'Catching up', away: 'Reconnecting' }[next]);
  tape.set_moving(next === 'live' || next === 'replaying');
}

function verdict(kind, text, more) {
  $('verdict').dataset.kind = kind;
  set_text('verdict-text', text);
  set_text('verdict-more', more);
}

const count = (n, one) => `${whole.format(n)} ${one}${n === 1 ? '' : 's'}`;
const seconds_of = (ms) => `${(ms / 1000).toFixed(1)} s`;

function show_outcome() {
  const incident = ledger.incident;
  const { lost, doubled, skipped } = ledger.outcome();
  const good = lost === 0 && doubled === 0;
  const told = skipped > 0 ? `, ${whole.format(skipped)} skipped` : '';
  const checked =
    incident.checked >= incident.channels
      ? `All ${count(incident.channels, 'channel')} checked.`
      : `${incident.checked} of ${count(incident.channels, 'channel')} checked so far.`;
  verdict(
    good ? 'good' : 'bad',
    `Resumed, ${whole.format(lost)} lost, ${whole.format(doubled)} doubled${told}`,
    `Away for ${seconds_of(incident.back - incident.at)}; ${count(incident.replayed, 'event')} replayed on return. ${checked}`,
  );
}

/* ---- the stream ------------------------------------------------------------------------------------ */

function broke() {
  const now = Date.now();
  ledger.broke(now);
  if (state !== 'away') chart.went_away(now);
  show_state('away');
  verdict('away', cut_pressed ? 'Cut. Coming back …' : 'Connection lost. Coming back …', 'The browser waits for the time that the broker has set, then asks for everything after the last event that it has.');
}

function connected(event) {
  const { timestamp } = JSON.parse(event.data);
  const now = Date.now();
  $('cut').disabled = false;
  if (state === 'away' && ledger.incident) {
    chart.came_back(now);
    ledger.incident.back = now;
    resumed_at = timestamp;
    newest_ms = now;
    show_state('replaying');
  } else if (state !== 'live') {
    show_state('live');
  }
}

/** An event that was published after the connection came back: everything before it has come. */
function caught_up() {
  cut_pressed = false;
  show_state('live');
  ledger.incident.settled = true;
  show_outcome();
}

function market(event) {
  const envelope = JSON.parse(event.data);
  const { payload, timestamp } = envelope;
  const now = performance.timeOrigin + performance.now();
  cursor = event.lastEventId;
  newest_ms = Date.now();
  const result = ledger.take(envelope.channel, payload.n, envelope.id);
  const late = state === 'replaying' && timestamp < resumed_at;
  if (late) ledger.incident.replayed++;
  else latency.add(now - timestamp);
  if (state === 'replaying' && !late) caught_up();
  chart.add(timestamp, late);
  seconds[0]++;
  if (result === 'doubled') return;
  const moved = board.update(payload, now);
  if (event.type === 'trade') {
    tape.offer({ ...payload, sign: moved || (payload.side === 'sell' ? -1 : 1) });
    trades.unshift({ ...payload, timestamp });
    if (trades.length > 40) trades.pop();
  }
}

function resync(event) {
  const { reason } = JSON.parse(event.data);
  const why = {
    expired: 'The log no longer holds everything that was missed; it goes on from the oldest event that is left.',
    history: 'The broker has a new log; the stream starts afresh.',
    ahead: 'The broker’s log ends before the last event that this page has; the stream goes on live.',
  };
  verdict('away', `Resynchronized: ${reason}`, why[reason] ?? 'The stream could not be resumed exactly.');
}

function open() {
  clearTimeout(retry_timer);
  const query = cursor ? `&cursor=${encodeURIComponent(cursor)}` : '';
  source = new EventSource(new URL(stream_path + query, location.href));
  source.addEventListener('connected', connected);
  source.addEventListener('quote', market);
  source.addEventListener('trade', market);
  source.addEventListener('resync', resync);
  source.addEventListener('gap', (event) => {
    ledger.skipped += JSON.parse(event.data).skipped ?? 0;
  });
  source.addEventListener('error', () => {
    if (state === 'live' || state === 'replaying') broke();
    /* A browser gives up after an answer that is no stream, from a proxy say; the page does not. */
    if (source.readyState === EventSource.CLOSED) {
      clearTimeout(retry_timer);
      retry_timer = setTimeout(open, 3000);
    }
  });
}

async function cut() {
  cut_pressed = true;
  $('cut').disabled = true;
  try {
    const answer = await fetch('cut', { method: 'POST' });
    if (!answer.ok) throw new Error(`the broker answered ${answer.status}`);
  } catch (problem) {
    cut_pressed = false;
    $('cut').disabled = false;
    verdict('bad', 'The cut did not reach the broker', `${problem.message}`);
  }
}

/* ---- painting -------------------------------------------------------------------------------------- */

function paint_figures() {
  const total = seconds.reduce((sum, n) => sum + n, 0);
  seconds.pop();
  seconds.unshift(0);
  set_text('rate', whole.format(total));
  set_text('received', whole.format(ledger.received));
  for (const name of ['lost', 'doubled']) {
    set_text(name, whole.format(ledger[name]));
    $(name).dataset.good = String(ledger[name] === 0);
  }
  set_text('skipped', whole.format(ledger.skipped));
  $('skipped-box').hidden = ledger.skipped === 0;
  const [p50, p99] = latency.quantiles(0.5, 0.99);
  const ms = (value) => (value === undefined ? '–' : value < 0 ? '< 1 ms' : value < 10 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`);
  set_text('latency-p50', ms(p50));
  set_text('latency-p99', ms(p99));
  set_text('board-count', board.size ? `${board.size} symbols` : '');
  $('waiting').hidden = ledger.received > 0;
  /* Where nothing new is published, silence says that everything has come. */
  if (state === 'replaying' && Date.now() - newest_ms > 2000) caught_up();
  if (ledger.incident?.settled && state === 'live' && $('verdict').dataset.kind !== 'idle') show_outcome();
}

const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const rows_wide = 24;
const rows_narrow = 6;

function paint_trades() {
  const body = $('trades');
  const rows = Math.min(trades.length, innerWidth <= 780 ? rows_narrow : rows_wide);
  while (body.rows.length < rows) {
    const row = body.insertRow();
    for (let i = 0; i < 4; i++) row.insertCell();
  }
  while (body.rows.length > rows) body.deleteRow(-1);
  for (let i = 0; i < rows; i++) {
    const { timestamp, symbol, size, price, side } = trades[i];
    const row = body.rows[i];
    row.dataset.side = side;
    const texts = [clock.format(timestamp), symbol, whole.format(size), price.toFixed(2)];
    for (const [k, text] of texts.entries()) if (row.cells[k].textContent !== text) row.cells[k].textContent = text;
  }
}

let last_frame = performance.now();
let frames = 0;

function frame(now) {
  tape.frame(now - last_frame, now);
  last_frame = now;
  /* The board and the chart at 20 frames a second at most: text that changes faster cannot be read. */
  if (frames++ % 3 === 0) {
    board.paint(now);
    chart.draw(Date.now());
  }
  requestAnimationFrame(frame);
}

$('cut').addEventListener('click', cut);
$('order').addEventListener('change', (event) => {
  board.order = event.target.value;
  board.arrange(true);
});
$('filter').addEventListener('input', (event) => {
  board.filter = event.target.value;
  board.arrange(true);
});
set_text('curl', `curl -N '${new URL(stream_path, location.href)}'`);
setInterval(paint_figures, 200);
setInterval(paint_trades, 250);
setInterval(() => board.arrange(false), 1500);
requestAnimationFrame(frame);
open();
