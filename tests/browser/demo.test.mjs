// The demo page in a real browser, fed by ttload: prices move, a cut and a restart of the broker lose
// nothing.
//
//   TT_LOAD      the ttload to feed it (default: beside the broker)
//   TT_CHROMIUM  the browser (/usr/bin/chromium)
//   TT_SHOTS     a directory for screenshots of what was tested

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import path from 'node:path';
import test from 'node:test';
import { chromium } from 'playwright-core';
import { binary, with_broker } from '../integration/lib/broker.mjs';
import { request } from '../integration/lib/http.mjs';
import { patience_ms, within } from '../integration/lib/wait.mjs';

const load = process.env.TT_LOAD ?? path.join(path.dirname(binary), 'ttload');
const shots = process.env.TT_SHOTS;
const broker_args = ['--demo', '--retry-ms=1s', '--drain-delay-ms=0', '--drain-ms=0'];

function start_feed(broker) {
  const child = spawn(load, ['feed', `--url=${broker.url}`, '--rate=600', '--backoff=100ms'], { stdio: ['ignore', 'ignore', 'pipe'] });
  const feed = { child, text: '' };
  child.stderr.setEncoding('utf8').on('data', (text) => (feed.text += text));
  feed.closed = new Promise((resolve) => child.on('close', (code, signal) => resolve(signal ?? code)));
  child.on('error', (error) => (feed.text += error.message));
  return feed;
}

async function stop_feed(feed) {
  feed.child.kill('SIGTERM');
  await within(feed.closed, 'the end of ttload feed').catch(async (late) => {
    feed.child.kill('SIGKILL');
    throw late;
  });
}

/** A page of the demo while a market runs; fails on any error of the page's scripts. */
function market_test(name, options, body) {
  test(name, { timeout: 10 * patience_ms }, () =>
    with_broker({ args: broker_args }, async (broker) => {
      const feed = start_feed(broker);
      const browser = await chromium.launch({
        executablePath: process.env.TT_CHROMIUM ?? '/usr/bin/chromium',
        args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
      });
      try {
        const page = await browser.newPage({ viewport: { width: 1440, height: 900 }, ...options });
        page.setDefaultTimeout(2 * patience_ms);
        const errors = [];
        page.on('pageerror', (error) => errors.push(error.message));
        await page.goto(`${broker.url}/`);
        await page.waitForFunction(() => document.querySelectorAll('#tiles .tile').length >= 100);
        await body({ broker, page, feed });
        assert.deepEqual(errors, [], 'no errors of scripts');
      } catch (error) {
        error.message += `\n--- ttload feed:\n${feed.text}`;
        throw error;
      } finally {
        await browser.close();
        await stop_feed(feed);
      }
    }),
  );
}

const text = (page, id) => page.textContent(`#${id}`);
const number = async (page, id) => Number((await text(page, id)).replaceAll(',', ''));
const received_more = async (page, than) =>
  page.waitForFunction((n) => Number(document.getElementById('received').textContent.replaceAll(',', '')) > n, than);
const prices = (page) => page.$$eval('#tiles .price', (items) => items.map((item) => item.textContent).join());

async function resumed(page) {
  await page.waitForFunction(() => /^Resumed/.test(document.getElementById('verdict-text').textContent));
  /* Each channel is checked by its first event after the return. */
  await page.waitForFunction(() => /All [\d,]+ channels checked/.test(document.getElementById('verdict-more').textContent));
  assert.equal(await text(page, 'verdict-text'), 'Resumed, 0 lost, 0 doubled');
  assert.equal(await text(page, 'lost'), '0');
  assert.equal(await text(page, 'doubled'), '0');
  assert.equal(await page.getAttribute('#lamp', 'data-state'), 'live');
}

async function shoot(page, name) {
  if (shots) await page.screenshot({ path: path.join(shots, `${name}.png`) });
}

market_test('prices move', {}, async ({ page }) => {
  const before = await prices(page);
  await page.waitForFunction((old) => [...document.querySelectorAll('#tiles .price')].map((item) => item.textContent).join() !== old, before);
  await page.waitForFunction(() => document.querySelectorAll('#trades tr').length > 5 && Number(document.getElementById('rate').textContent) > 0);
  await page.waitForFunction(() => document.querySelector('#run span'), undefined);
  assert.equal(await text(page, 'lamp-text'), 'Live');
  assert.equal(await number(page, 'lost'), 0);
  await page.fill('#filter', 'no such company');
  assert.equal(await page.isVisible('#none'), true);
  await page.fill('#filter', '');
  await page.selectOption('#order', 'up');
  await shoot(page, 'wide-light');
});

market_test('Cut resumes with nothing lost and nothing doubled', { colorScheme: 'dark' }, async ({ page }) => {
  for (let round = 0; round < 2; round++) {
    await page.click('#cut');
    await page.waitForFunction(() => document.getElementById('lamp').dataset.state === 'away');
    await resumed(page);
    const replayed = /; ([\d,]+) events? replayed/.exec(await text(page, 'verdict-more'));
    assert.ok(Number(replayed[1].replaceAll(',', '')) > 0, 'it was away while events were published');
    await received_more(page, await number(page, 'received'));
  }
  await shoot(page, 'wide-dark');
});

market_test('a restart of the broker loses nothing', { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2 }, async ({ broker, page }) => {
  await received_more(page, 500);
  await broker.stop();
  await page.waitForFunction(() => document.getElementById('lamp').dataset.state === 'away');
  await broker.restart();
  await resumed(page);
  await received_more(page, await number(page, 'received'));
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(wide <= 0, 'a phone does not scroll sideways');
  await shoot(page, 'narrow-light');
});

market_test('with reduced motion nothing flashes, and prices still change', { reducedMotion: 'reduce', colorScheme: 'dark', viewport: { width: 390, height: 844 } }, async ({ page }) => {
  const before = await prices(page);
  await page.waitForFunction((old) => [...document.querySelectorAll('#tiles .price')].map((item) => item.textContent).join() !== old, before);
  const running = await page.evaluate(() => document.getAnimations().length);
  assert.equal(running, 0);
  await shoot(page, 'narrow-dark');
});

test('the page uses nothing from another host', { timeout: 4 * patience_ms }, () =>
  with_broker({ args: broker_args }, async (broker) => {
    const page = await request(broker.http, { path: '/demo/' });
    const files = [...page.text.matchAll(/(?:src|href)="([^"]+)"/g)].map((m) => m[1]);
    for (const file of ['', ...files]) {
      const { text: source } = await request(broker.http, { path: `/demo/${file}` });
      const hosts = [...source.matchAll(/\b(?:https?:)?\/\/[a-z0-9.-]+\.[a-z]{2,}/g)].map((m) => m[0]);
      assert.deepEqual(hosts.filter((host) => host !== 'http://www.w3.org'), [], file);
    }
  }),
);
