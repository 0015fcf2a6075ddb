// The dashboard of the listener for operators, in a real browser: figures appear, a client that does not
// read shows as slow and can be ended, and a broker that does not answer is shown as such.
//
//   TT_CHROMIUM  the browser (/usr/bin/chromium)
//   TT_SHOTS     a directory for screenshots of what was tested

import assert from 'node:assert/strict';
import path from 'node:path';
import test from 'node:test';
import { chromium } from 'playwright-core';
import { with_broker } from '../integration/lib/broker.mjs';
import { request } from '../integration/lib/http.mjs';
import { publish_lines } from '../integration/lib/publish.mjs';
import { subscribe } from '../integration/lib/sse.mjs';
import { eventually, patience_ms } from '../integration/lib/wait.mjs';

const shots = process.env.TT_SHOTS;
const range = (n, f) => Array.from({ length: n }, (_, i) => f(i));
const args = ['--log-partitions=2', '--outbox-bytes=16KiB', '--drain-ms=0'];

/** A page of the dashboard; fails on any error of the page's scripts or on its console. */
function dashboard_test(name, { page: page_options = {}, broker: broker_args = ['--drain-delay-ms=0'], silent = false } = {}, body) {
  test(name, { timeout: 10 * patience_ms }, () =>
    with_broker({ args: [...args, ...broker_args] }, async (broker) => {
      const browser = await chromium.launch({
        executablePath: process.env.TT_CHROMIUM ?? '/usr/bin/chromium',
        args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
      });
      try {
        const page = await browser.newPage({ viewport: { width: 1440, height: 1000 }, colorScheme: 'light', ...page_options });
        page.setDefaultTimeout(2 * patience_ms);
        const errors = [];
        page.on('pageerror', (error) => errors.push(error.message));
        page.on('console', (message) => {
          if (['error', 'warning'].includes(message.type()) && !(silent && /ERR_CONNECTION|Failed to load/.test(message.text()))) errors.push(message.text());
        });
        await page.goto(`http://${broker.ops.host}:${broker.ops.port}/`);
        await page.waitForFunction(() => document.body.dataset.state === 'ready');
        await body({ broker, page });
        assert.deepEqual(errors, [], 'no errors of scripts, nothing on the console');
      } finally {
        await browser.close();
      }
    }),
  );
}

const text = (page, id) => page.textContent(`#${id}`);

async function shoot(page, name) {
  if (shots) await page.screenshot({ path: path.join(shots, `dashboard-${name}.png`), fullPage: true });
}

/** Publishes while `use` runs. */
async function with_feed(broker, use) {
  let on = true;
  const feed = (async () => {
    while (on) await publish_lines(broker, range(100, (i) => ({ channel: `c${i % 8}`, payload: i })));
  })();
  try {
    return await use();
  } finally {
    on = false;
    await feed;
  }
}

/** A client that does not read, behind by more than a thousand events. */
async function stalled_client(broker) {
  const client = await subscribe(broker, '/sse?channels=slow&id=stalled');
  client.pause();
  const pad = 'x'.repeat(2000);
  await eventually(async () => {
    await publish_lines(broker, range(500, (i) => ({ channel: 'slow', payload: { i, pad } })));
    const { json } = await request(broker.ops, { path: '/clients?label=stalled' });
    return json?.clients[0]?.lagEvents > 1000;
  }, 'a lag of a thousand events');
  return client;
}

dashboard_test('figures appear, and nothing jumps', {}, async ({ broker, page }) => {
  const clients = await Promise.all(range(20, (i) => subscribe(broker, `/sse?channels=c${i % 8},other&id=n${i}`, { on_event: () => {} })));
  await with_feed(broker, async () => {
    await page.waitForFunction(() => document.getElementById('clients').textContent === '20');
    await page.waitForFunction(() => document.querySelectorAll('#rows tr:not(.empty)').length === 10);
    await page.waitForFunction(() => ['events', 'deliveries', 'bytes'].every((id) => /[1-9]/.test(document.getElementById(id).textContent)));
    await page.waitForFunction(() => /ms|s$/.test(document.getElementById('p99').textContent));
    await page.evaluate(() => {
      globalThis.shifts = [];
      /* A unit moves with the length of its number; nothing else may. */
      const jumps = ({ previousRect: a, currentRect: b }) => a.y !== b.y || a.height !== b.height;
      new PerformanceObserver((list) => {
        for (const { sources } of list.getEntries())
          for (const { node, previousRect, currentRect } of sources.filter(jumps)) globalThis.shifts.push(`${node?.id || node?.outerHTML?.slice(0, 90)} from ${JSON.stringify(previousRect)} to ${JSON.stringify(currentRect)}`);
      }).observe({ type: 'layout-shift', buffered: false });
    });
    const before = await text(page, 'deliveries-sub');
    await page.waitForFunction((old) => document.getElementById('deliveries-sub').textContent !== old, before);
    await page.waitForFunction(() => (globalThis.turns = (globalThis.turns ?? 0) + 1) > 120); /* frames */
    assert.deepEqual(await page.evaluate(() => globalThis.shifts), []);
  });
  const full = await page.$eval('#rows tr', (row) => row.getBoundingClientRect().height);
  await page.waitForFunction(() => document.getElementById('count-live').textContent === '20');
  assert.equal(await text(page, 'lamp-text'), 'Ready');
  assert.match(await text(page, 'about'), new RegExp(`${broker.io} · history ${broker.history}`));
  assert.match(await text(page, 'resident'), /iB$/);
  assert.match(await text(page, 'bound'), /iB$/);
  assert.match(await text(page, 'most-frame_bytes'), /^ of .*iB$/);
  assert.match(await page.getAttribute('#gauge', 'aria-valuetext'), /iB of .*iB/);
  assert.equal(await page.locator('#shards tr').count(), broker.shards);
  assert.equal(await page.locator('#partitions tr').count(), 2);
  await page.waitForFunction(() => [...document.querySelectorAll('#partitions tr')].some((row) => Number(row.cells[2].textContent.replaceAll(',', '')) > 0));
  assert.match(await text(page, 'log-free'), /iB$/);
  const drawn = await page.evaluate(() => [...document.querySelectorAll('canvas')].map((canvas) => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return data.some((value) => value !== 0);
  }));
  assert.ok(drawn.length === 6 && drawn.every(Boolean), `every chart is drawn: ${drawn}`);
  const nameless = await page.$$eval('button, input, select, canvas, [role]:not([role=status])', (nodes) =>
    nodes.filter((node) => node.checkVisibility() && !(node.getAttribute('aria-label') || node.getAttribute('aria-labelledby') || node.textContent.trim() || node.closest('label')?.textContent.trim()) ).map((node) => node.outerHTML.slice(0, 100)));
  assert.deepEqual(nameless, [], 'everything has a name');
  await page.fill('#only', 'n7');
  await page.waitForFunction(() => document.querySelectorAll('#rows tr:not(.empty)').length === 1);
  assert.equal(await page.textContent('#rows tr b'), 'n7');
  assert.equal(await page.$eval('#rows tr.empty', (row) => row.getBoundingClientRect().height), full, 'a row without a client is as high');
  await page.fill('#only', '127.0.0.1');
  await page.waitForFunction(() => document.querySelectorAll('#rows tr:not(.empty)').length === 10);
  await page.hover('h1');
  await shoot(page, 'light');
  for (const client of clients) client.cut();
});

dashboard_test('a client that does not read shows as the slowest, and End ends it', {}, async ({ broker, page }) => {
  const other = await subscribe(broker, '/sse?channels=other&id=other');
  const stalled = await stalled_client(broker);
  /* What the page shows was asked a little earlier: the client may only have begun to stall. */
  await page.waitForFunction(() => {
    const row = document.querySelector('#rows tr');
    const lag = Number(row.querySelector('.n')?.textContent.replaceAll(',', ''));
    return row.querySelector('b').textContent === 'stalled' && row.querySelector('.state').textContent === 'catchup' && lag > 1000;
  });
  const end = page.getByRole('button', { name: /^End stalled at 127\.0\.0\.1:\d+$/ });
  await end.click();
  assert.equal(await page.isVisible('#confirm'), true);
  assert.match(await text(page, 'confirm-who'), /^stalled, 127\.0\.0\.1:\d+, catchup, /);
  await shoot(page, 'confirm');
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: /^End stalled/ }).focus();
  await page.keyboard.press('Enter');
  await page.waitForSelector('#confirm[open]');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Cancel', 'the harmless button has the focus');
  await page.keyboard.press('Enter');
  await page.waitForSelector('#confirm:not([open])', { state: 'attached' });
  assert.equal((await request(broker.ops, { path: '/clients' })).json.total, 2, 'asked first');
  await page.keyboard.press('Enter');
  await page.waitForSelector('#confirm[open]');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => document.getElementById('said').textContent === 'stalled was ended.');
  await page.waitForFunction(() => document.querySelector('#rows tr b').textContent === 'other' && document.querySelectorAll('#rows tr:not(.empty)').length === 1);
  const { json } = await request(broker.ops, { path: '/clients' });
  assert.deepEqual(json.clients.map(({ label }) => label), ['other']);
  stalled.cut();
  other.cut();
});

dashboard_test('rows keep their places while somebody points at them', {}, async ({ broker, page }) => {
  const others = await Promise.all(range(3, (i) => subscribe(broker, `/sse?channels=other&id=o${i}`)));
  await page.waitForFunction(() => document.querySelectorAll('#rows tr:not(.empty)').length === 3);
  await page.hover('#rows tr:nth-child(2)');
  const names = () => page.$$eval('#rows tr:not(.empty) b', (nodes) => nodes.map((node) => node.textContent));
  const before = await names();
  const stalled = await stalled_client(broker);
  await page.waitForFunction(() => /held/.test(document.getElementById('slow-hint').textContent));
  assert.deepEqual(await names(), before);
  await page.hover('h1');
  await page.waitForFunction(() => document.querySelector('#rows tr b').textContent === 'stalled');
  for (const client of [...others, stalled]) client.cut();
});

dashboard_test('dark by the system, by the button, and after a reload', { page: { colorScheme: 'dark', viewport: { width: 1440, height: 1000 } } }, async ({ page }) => {
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = 'rgb(15, 21, 19)';
  const light = 'rgb(233, 236, 230)';
  assert.equal(await ground(), dark);
  await page.click('#theme');
  assert.equal(await text(page, 'theme'), 'Colours: light');
  assert.equal(await ground(), light);
  await page.reload();
  await page.waitForFunction(() => document.body.dataset.state === 'ready');
  assert.equal(await ground(), light);
  await page.emulateMedia({ colorScheme: 'light' });
  await page.click('#theme');
  assert.equal(await ground(), dark);
  await shoot(page, 'dark');
  await page.click('#theme');
  assert.equal(await ground(), light, 'automatic again');
});

dashboard_test('a phone of 360 px does not scroll sideways', { page: { viewport: { width: 360, height: 780 }, deviceScaleFactor: 2 } }, async ({ broker, page }) => {
  const clients = await Promise.all(range(4, (i) => subscribe(broker, `/sse?channels=${'long-name-'.repeat(8)}${i}&id=${'W'.repeat(60)}${i}`)));
  await page.waitForFunction(() => document.querySelectorAll('#rows tr:not(.empty)').length === 4);
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth), 0);
  const hidden = await page.$$eval('#rows tr:not(.empty) .end', (buttons) => buttons.filter((b) => b.getBoundingClientRect().right > innerWidth).length);
  assert.equal(hidden, 0, 'every End can be reached');
  await shoot(page, 'phone');
  for (const client of clients) client.cut();
});

dashboard_test('a broker that does not answer is shown, and so is its return', { silent: true }, async ({ broker, page }) => {
  await broker.stop();
  await page.waitForFunction(() => document.body.dataset.state === 'down');
  assert.equal(await text(page, 'lamp-text'), 'No answer');
  assert.match(await text(page, 'verdict'), /does not answer since \d\d:\d\d:\d\d/);
  await shoot(page, 'down');
  await broker.restart();
  await page.waitForFunction(() => document.body.dataset.state === 'ready');
  await page.waitForFunction(() => /started anew/.test(document.getElementById('said').textContent));
});

dashboard_test('draining is not ready, with its reason', { broker: ['--drain-delay-ms=1m'] }, async ({ broker, page }) => {
  broker.signal('SIGTERM');
  await page.waitForFunction(() => document.body.dataset.state === 'unready');
  assert.equal(await text(page, 'lamp-text'), 'Not ready');
  assert.match(await text(page, 'verdict'), /^Not ready: broker draining since \d\d:\d\d:\d\d\.$/);
});

test('the page uses nothing from another host, and may not be framed', { timeout: 4 * patience_ms }, () =>
  with_broker({ args }, async (broker) => {
    const page = await request(broker.ops, { path: '/' });
    assert.match(page.headers.get('content-security-policy'), /default-src 'self'.*frame-ancestors 'none'/);
    assert.equal(page.headers.get('x-content-type-options'), 'nosniff');
    const files = [...page.text.matchAll(/(?:src|href)="(dashboard\/[^"]+)"/g)].map((m) => m[1]);
    assert.ok(files.length >= 3);
    for (const file of ['', ...files, 'dashboard/charts.mjs', 'dashboard/clients.mjs', 'dashboard/figures.mjs']) {
      const { status, text: source } = await request(broker.ops, { path: `/${file}` });
      assert.equal(status, 200, file);
      const hosts = [...source.matchAll(/\b(?:https?:)?\/\/[a-z0-9.-]+\.[a-z]{2,}/g)].map((m) => m[0]);
      assert.deepEqual(hosts.filter((host) => host !== 'http://www.w3.org'), [], file);
    }
    assert.equal((await request(broker.ops, { path: '/dashboard/' })).headers.get('location'), '../');
    assert.equal((await request(broker.ops, { path: '/dashboard/none' })).status, 404);
    assert.equal((await request(broker.http, { path: '/dashboard/main.mjs' })).status, 404, 'not for clients');
  }),
);
