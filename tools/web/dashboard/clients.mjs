// The table of the slowest clients. Its rows do not change places while somebody points at them or has the
// focus in them: a button that is about to be pressed must not become another client's.

import { bytes, count, is_address, passed, short } from './figures.mjs';

export const rows_shown = 10;
const $ = (id) => document.getElementById(id);

function cell(row, name, label) {
  const td = document.createElement('td');
  td.className = name;
  if (label) td.dataset.label = label;
  row.append(td);
  return td;
}

function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export class Clients {
  constructor() {
    this.body = $('rows');
    this.rows = Array.from({ length: rows_shown }, () => this.#make_row());
    this.shown = []; /* the clients in the rows */
    this.pointed = false;
    this.body.addEventListener('pointerenter', (event) => (this.pointed = event.pointerType === 'mouse'));
    this.body.addEventListener('pointerleave', () => (this.pointed = false));
    this.body.addEventListener('click', (event) => {
      const button = event.target.closest('button');
      if (button) this.#end(this.shown[this.rows.findIndex((row) => row.end === button)]);
    });
    $('ask').addEventListener('submit', (event) => event.preventDefault());
    for (const id of ['sort', 'only']) $(id).addEventListener('input', () => this.asked?.());
  }

  #make_row() {
    const tr = document.createElement('tr');
    tr.hidden = false;
    tr.className = 'empty';
    const who = cell(tr, 'who');
    const name = document.createElement('b');
    const address = document.createElement('span');
    who.append(name, address);
    const state = cell(tr, 'state', 'State');
    const follows = cell(tr, 'follows', 'Follows');
    const events = cell(tr, 'n', 'Behind');
    const time = cell(tr, 'n', 'By time');
    const acked = cell(tr, 'n', 'Unacknowledged');
    const outbox = cell(tr, 'n', 'Outbox');
    const connected = cell(tr, 'n', 'Connected');
    const end = document.createElement('button');
    end.type = 'button';
    end.className = 'end';
    end.textContent = 'End';
    end.disabled = true;
    cell(tr, 'act').append(end);
    this.body.append(tr);
    return { tr, name, address, state, follows, events, time, acked, outbox, connected, end };
  }

  /** The query for /clients. */
  query() {
    const query = new URLSearchParams({ sort: $('sort').value, limit: String(rows_shown) });
    const only = $('only').value.trim();
    if (only !== '') query.set(is_address(only) ? 'address' : 'label', only);
    return query;
  }

  /** An answer of /clients; now_ms: the broker's time. */
  show(answer, now_ms) {
    const held = this.shown.length > 0 && (this.pointed || this.body.contains(document.activeElement));
    let list = answer.clients;
    if (held) {
      const fresh = new Map(list.map((client) => [client.session, client]));
      list = this.shown.map((client) => fresh.get(client.session) ?? { ...client, stale: true });
    }
    this.shown = list;
    this.rows.forEach((row, i) => this.#fill(row, list[i], now_ms));
    const of = `${count(Math.min(rows_shown, answer.matched))} of ${count(answer.matched)}`;
    put($('slow-hint'), held ? `${of}; the order is held while you are here` : of);
  }

  #fill(row, client, now_ms) {
    row.tr.classList.toggle('empty', !client);
    row.tr.classList.toggle('stale', Boolean(client?.stale));
    row.end.disabled = !client;
    if (!client) {
      for (const node of [row.name, row.address, row.state, row.follows, row.events, row.time, row.acked, row.outbox, row.connected]) put(node, '');
      row.tr.removeAttribute('data-session');
      row.end.removeAttribute('aria-label');
      delete row.state.dataset.state;
      return;
    }
    const { count: channels, first } = client.channels;
    row.tr.dataset.session = client.session;
    put(row.name, name_of(client));
    put(row.address, client.address);
    put(row.state, client.state);
    row.state.dataset.state = client.state;
    put(row.follows, channels > 1 ? `${first[0] ?? ''} +${count(channels - 1)}` : (first[0] ?? ''));
    row.follows.title = first.join(', ') + (channels > first.length ? ', …' : '');
    put(row.events, short(client.lagEvents));
    row.events.classList.toggle('late', client.lagEvents > 0 && client.state !== 'live');
    put(row.time, client.lagMs === null ? '–' : client.lagMs === 0 ? '0' : passed(client.lagMs));
    put(row.acked, client.ackedLagEvents === null ? '–' : short(client.ackedLagEvents));
    put(row.outbox, client.outboxBytes === 0 ? '0' : bytes(client.outboxBytes));
    put(row.connected, passed(Math.max(0, now_ms - client.connectedAt)));
    const label = `End ${name_of(client)} at ${client.address}`;
    if (row.end.getAttribute('aria-label') !== label) row.end.setAttribute('aria-label', label);
  }

  async #end(client) {
    if (!client) return;
    const dialog = $('confirm');
    $('confirm-who').textContent = `${name_of(client)}, ${client.address}, ${client.state}, ${count(client.lagEvents)} events behind`;
    dialog.returnValue = 'no';
    dialog.showModal();
    await new Promise((resolve) => dialog.addEventListener('close', resolve, { once: true }));
    if (dialog.returnValue !== 'yes') return;
    try {
      const answer = await fetch(`clients?${new URLSearchParams({ session: client.session })}`, { method: 'DELETE', signal: AbortSignal.timeout(10_000) });
      const body = await answer.json();
      if (!answer.ok) throw new Error(body.error?.message ?? `status ${answer.status}`);
      this.say(body.ended === 1 ? `${name_of(client)} was ended.` : `${name_of(client)} was gone already.`);
    } catch (error) {
      this.say(`${name_of(client)} could not be ended: ${error.message}`);
    }
    /* What had the focus is another client's button from now on. */
    if (this.body.contains(document.activeElement)) document.activeElement.blur();
    this.pointed = false;
    this.asked?.();
  }

  say(text) {
    $('said').textContent = text;
  }
}

const name_of = (client) => client.label ?? `session ${client.session.split('-').slice(0, 3).join('-')}`;
