// The dashboard: asks /status, /metrics and /clients once a second, and shows what they say. Nothing is
// asked of another host, nothing is kept but the choice of colours.

import { Chart, redraw } from './charts.mjs';
import { Clients } from './clients.mjs';
import { Rates, bytes, count, histogram, latency, parse_metrics, passed, percentile, short, total } from './figures.mjs';

const $ = (id) => document.getElementById(id);
const period_ms = 1000;
const patience_ms = 3000; /* for one answer */
const window_s = 10; /* of percentiles */
const partitions_shown = 64;

const states = [
  ['live', '--live'],
  ['conflating', '--conflating'],
  ['catchup', '--catchup'],
  ['snapshot', '--snapshot'],
  ['opening', '--opening'],
  ['closing', '--closing'],
];
/* Metric, title, and its bound among those of /status. */
const memory_parts = [
  ['frame_bytes', 'Frames', 'frames'],
  ['catchup_bytes', 'Catching up', 'catchup'],
  ['publish_bytes', 'Publishing', 'publish'],
  ['connection_bytes', 'Connections', 'connections'],
  ['subscription_bytes', 'Subscriptions', 'subscriptions'],
  ['outbox_bytes', 'Outboxes'],
  ['log_values_bytes', 'Channels and values'],
  ['log_index_bytes', 'Indexes'],
];

const spark = (id, name, format, colour = '--live') =>
  new Chart($(id), { axis: false, series: [{ colour, name, fill: true }], format, least: 1 });
const sparks = {
  clients: spark('spark-clients', 'clients', count),
  events: spark('spark-events', 'events', short),
  deliveries: spark('spark-deliveries', 'deliveries', short),
  bytes: spark('spark-bytes', 'bytes', bytes),
};
const latency_chart = new Chart($('latency'), {
  log: [0.0001, 1],
  format: (s) => (s >= 1 ? '1 s' : s >= 0.001 ? `${+(s * 1000).toPrecision(2)} ms` : `${+(s * 1000).toPrecision(1)} ms`),
  series: [{ colour: '--live', name: 'half below' }, { colour: '--catchup', name: '99 % below' }],
});
const states_chart = new Chart($('states'), {
  stacked: true,
  format: short,
  series: states.map(([name, colour]) => ({ colour, name, fill: true })),
});

const clients = new Clients();
const rates = new Rates();
const heads = new Rates();
let histograms = []; /* of the last seconds, oldest first */
let life = null; /* startedAt of the broker that answered last */
let answered_at = 0;
let silent_since = 0; /* it does not answer since then; 0: it does */
let timer = 0;
let asking = false;
let again = false;

function put(id, text) {
  const node = typeof id === 'string' ? $(id) : id;
  if (node.textContent !== text) node.textContent = text;
}

const clock = (ms) => new Date(ms).toLocaleTimeString('en-GB');

/* ---- what one answer shows ------------------------------------------------------------------------ */

function show_readiness(status) {
  const { ready, degraded, reasons } = status.readiness;
  const state = !ready ? 'unready' : degraded ? 'degraded' : 'ready';
  document.body.dataset.state = state;
  put('lamp-text', { unready: 'Not ready', degraded: 'Degraded', ready: 'Ready' }[state]);
  const words = reasons.map(({ what, state: how, since, partition, partitions }) => {
    const where = partition === undefined ? '' : ` (partition ${partition}${partitions > 1 ? ` and ${partitions - 1} more` : ''})`;
    return `${what} ${how.replaceAll('_', ' ')}${where} since ${clock(since)}`;
  });
  put('verdict', words.length > 0 ? `${ready ? 'Ready, but' : 'Not ready:'} ${words.join('; ')}.` : `Takes events and clients since ${clock(status.startedAt)}.`);
  put('about', `${status.version} · ${status.io} · history ${status.history} · up ${passed(status.uptimeMs)}`);
}

function show_rates(status, now) {
  const sum = (name) => status.shards.reduce((all, shard) => all + shard[name], 0);
  const values = { events: sum('events'), deliveries: sum('deliveries'), bytes: sum('sentBytes') };
  const rate = rates.take(now, status.startedAt, values);
  const formats = { events: short, deliveries: short, bytes };
  for (const [name, format] of Object.entries(formats)) {
    put(name, rate ? format(Math.round(rate[name])) : '–');
    put(`${name}-sub`, `${format(values[name])} since the start`);
    sparks[name].add(now, [rate ? rate[name] : null]);
  }
}

function show_states(status, now) {
  const counts = states.map(([name]) => status.shards.reduce((sum, shard) => sum + (shard.clients[name] ?? 0), 0));
  const all = counts.reduce((a, b) => a + b, 0);
  put('clients', count(all));
  const most = status.accept.connectionsMax;
  put('clients-sub', `room for ${short(most)} connections`);
  sparks.clients.add(now, [all]);
  states_chart.add(now, counts);
  states.forEach(([name], i) => {
    put(`count-${name}`, count(counts[i]));
    $(`share-${name}`).style.flexGrow = String(counts[i]);
    $(`share-${name}`).hidden = counts[i] === 0;
    $(`legend-${name}`).classList.toggle('none', counts[i] === 0);
  });
}

function show_latency(families, now) {
  const newest = histogram(families, 'tickertape_publish_to_socket_seconds');
  histograms.push(newest);
  if (histograms.length > window_s + 1) histograms.shift();
  const of = (before, part) => (newest.counts.length > 0 ? percentile(before, newest, part) : null);
  const oldest = histograms[0];
  put('p50', latency(of(oldest, 0.5)));
  put('p90', latency(of(oldest, 0.9)));
  put('p99', latency(of(oldest, 0.99)));
  const recent = histograms[Math.max(0, histograms.length - 4)];
  latency_chart.add(now, [of(recent, 0.5), of(recent, 0.99)]);
}

function show_memory(status, families) {
  const { residentBytes, boundBytes, bounds } = status.memory;
  const share = boundBytes > 0 ? (100 * residentBytes) / boundBytes : 0;
  put('resident', bytes(residentBytes));
  put('bound', bytes(boundBytes));
  const gauge = $('gauge');
  gauge.firstElementChild.style.width = `${Math.min(100, share)}%`;
  gauge.dataset.level = share > 100 ? 'over' : share > 80 ? 'high' : 'fine';
  gauge.setAttribute('aria-valuenow', share.toFixed(0));
  gauge.setAttribute('aria-valuetext', `${bytes(residentBytes)} of ${bytes(boundBytes)}`);
  for (const [name, , bound] of memory_parts) {
    put(`part-${name}`, bytes(total(families, `tickertape_${name}`)));
    const most = bounds?.[bound];
    put(`most-${name}`, most ? ` of ${bytes(most)}` : '');
  }
}

/** As many rows as there are items; the cells of a new one by `make`. */
function rows(body, items, make) {
  while (body.rows.length > items.length) body.deleteRow(-1);
  while (body.rows.length < items.length) make(body.insertRow());
  return [...body.rows];
}

function show_shards(status) {
  const made = rows($('shards'), status.shards, (row) => {
    row.innerHTML = '<th scope="row"></th><td class="n"></td><td><span class="busy"><i></i></span><span class="percent"></span></td><td class="n"></td><td class="n"></td>';
  });
  status.shards.forEach((shard, i) => {
    const [name, clients_cell, busy, recent, longest] = made[i].cells;
    put(name, String(shard.shard));
    put(clients_cell, count(Object.values(shard.clients).reduce((a, b) => a + b, 0)));
    busy.firstElementChild.firstElementChild.style.width = `${Math.min(100, shard.busyRatio * 100)}%`;
    put(busy.lastElementChild, `${Math.round(shard.busyRatio * 100)} %`);
    put(recent, latency((shard.longestRecentTurnMs ?? shard.longestTurnMs) / 1000));
    put(longest, latency(shard.longestTurnMs / 1000));
  });
}

function show_log(status, now) {
  const { log, partitions } = status;
  put('log-hint', `${log.directory}, sync ${log.sync}`);
  put('log-bytes', bytes(log.bytes));
  put('log-segments', count(log.segments));
  put('log-free', bytes(log.freeBytes));
  put('log-channels', short(log.channels));
  const rate = heads.take(now, status.startedAt, Object.fromEntries(partitions.map(({ partition, head }) => [partition, head])));
  const some = partitions.slice(0, partitions_shown);
  const made = rows($('partitions'), some, (row) => {
    row.innerHTML = '<th scope="row"></th><td class="n"></td><td class="n"></td><td class="n"></td><td class="n"></td>';
  });
  some.forEach((p, i) => {
    const [name, oldest, head, events, volatile_bytes] = made[i].cells;
    const last = i === partitions_shown - 1 && partitions.length > partitions_shown;
    put(name, last ? `${p.partition} (of ${partitions.length})` : String(p.partition));
    put(oldest, count(p.oldest));
    put(head, count(p.head));
    put(events, rate ? short(Math.round(rate[p.partition] ?? 0)) : '–');
    put(volatile_bytes, bytes(Math.max(0, p.writtenPlace - p.durablePlace)));
  });
}

/* ---- asking --------------------------------------------------------------------------------------- */

function began_anew(status) {
  if (life !== null && life !== status.startedAt) {
    histograms = [];
    clients.say(`The broker was started anew at ${clock(status.startedAt)}.`);
  }
  life = status.startedAt;
}

async function ask(path) {
  const answer = await fetch(path, { cache: 'no-store', signal: AbortSignal.timeout(patience_ms) });
  if (answer.status === 503 && path.startsWith('clients')) return null; /* others ask, too: next time */
  if (!answer.ok) {
    const body = await answer.json().catch(() => null);
    throw Object.assign(new Error(body?.error?.message ?? `${path.split('?')[0]} answers ${answer.status}`), { answered: true });
  }
  return answer;
}

async function ask_clients() {
  try {
    const answer = await ask(`clients?${clients.query()}`);
    return answer ? await answer.json() : null;
  } catch (error) {
    if (!error.answered) throw error;
    clients.say(error.message);
    return null;
  }
}

function went_silent(error) {
  silent_since ||= answered_at || Date.now();
  document.body.dataset.state = 'down';
  put('lamp-text', 'No answer');
  const shown = answered_at ? '; shown is what it said then' : '';
  put('verdict', error.answered ? `The broker answers, but not as expected: ${error.message}.` : `The broker does not answer since ${clock(silent_since)}${shown}. Asking again every second.`);
}

async function turn() {
  if (asking) {
    again = true;
    return;
  }
  asking = true;
  again = false;
  clearTimeout(timer);
  const began = performance.now();
  try {
    /* One that does not answer is asked one question, not three. */
    const first = ask('status').then((answer) => answer.json());
    if (silent_since !== 0) await first;
    const [status, metrics, list] = await Promise.all([
      first,
      ask('metrics').then((answer) => answer.text()),
      ask_clients(),
    ]);
    const now = Date.now();
    const families = parse_metrics(metrics);
    answered_at = now;
    silent_since = 0;
    began_anew(status);
    show_readiness(status);
    show_rates(status, now);
    show_states(status, now);
    show_latency(families, now);
    show_memory(status, families);
    show_shards(status);
    show_log(status, now);
    if (list) clients.show(list, status.startedAt + status.uptimeMs);
  } catch (error) {
    went_silent(error);
  }
  asking = false;
  timer = setTimeout(turn, again ? 0 : Math.max(0, period_ms - (performance.now() - began)));
}

/* ---- colours -------------------------------------------------------------------------------------- */

const themes = ['auto', 'light', 'dark'];

function stored_theme() {
  try {
    return localStorage.getItem('theme') ?? 'auto';
  } catch {
    return 'auto';
  }
}

function set_theme(theme) {
  document.documentElement.dataset.theme = theme;
  $('theme').textContent = `Colours: ${theme}`;
  try {
    localStorage.setItem('theme', theme);
  } catch {
    /* Storage may be forbidden: then it is chosen anew each time. */
  }
  redraw();
}

/* ---- start ---------------------------------------------------------------------------------------- */

for (const [name, colour] of states) {
  const part = document.createElement('i');
  part.id = `share-${name}`;
  part.style.background = `var(${colour})`;
  $('stack').append(part);
  const item = document.createElement('li');
  item.id = `legend-${name}`;
  const key = document.createElement('i');
  key.style.background = `var(${colour})`;
  const number = document.createElement('b');
  number.id = `count-${name}`;
  number.textContent = '–';
  item.append(key, `${name} `, number);
  $('legend').append(item);
}
for (const [name, title] of memory_parts) {
  const box = document.createElement('div');
  const term = document.createElement('dt');
  term.textContent = title;
  const value = document.createElement('dd');
  const used = document.createElement('span');
  used.id = `part-${name}`;
  used.textContent = '–';
  const most = document.createElement('span');
  most.id = `most-${name}`;
  most.className = 'most';
  value.append(used, most);
  box.append(term, value);
  $('parts').append(box);
}
clients.asked = turn;
$('theme').addEventListener('click', () => set_theme(themes[(themes.indexOf(document.documentElement.dataset.theme) + 1) % themes.length]));
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
document.addEventListener('visibilitychange', () => document.hidden || turn());
set_theme(themes.includes(stored_theme()) ? stored_theme() : 'auto');
turn();
