// What the demo page counts: it must see a loss and a double, or its "0 lost, 0 doubled" says nothing.

import assert from 'node:assert/strict';
import test from 'node:test';
import { Ledger, Recent, position } from '../../tools/web/demo/counting.mjs';

test('an unbroken sequence is neither lost nor doubled', () => {
  const ledger = new Ledger();
  assert.equal(ledger.take('a', 7, 'h-0-10'), 'first');
  assert.equal(ledger.take('b', 1, 'h-0-11'), 'first');
  assert.equal(ledger.take('a', 8, 'h-0-12'), 'next');
  assert.deepEqual([ledger.received, ledger.lost, ledger.doubled], [3, 0, 0]);
});

test('a hole is lost, an event that comes again is doubled', () => {
  const ledger = new Ledger();
  ledger.take('a', 1, 'h-0-1');
  assert.equal(ledger.take('a', 4, 'h-0-4'), 'lost');
  assert.equal(ledger.take('a', 4, 'h-0-4'), 'doubled');
  assert.equal(ledger.take('a', 2, 'h-0-2'), 'doubled');
  assert.equal(ledger.take('a', 5, 'h-0-5'), 'next');
  assert.deepEqual([ledger.lost, ledger.doubled], [2, 2]);
});

test('a feed that begins anew is no double, and its missing start is lost', () => {
  const ledger = new Ledger();
  ledger.take('a', 50, 'h-0-50');
  assert.equal(ledger.take('a', 1, 'h-0-51'), 'anew');
  assert.equal(ledger.take('a', 2, 'h-0-52'), 'next');
  assert.deepEqual([ledger.lost, ledger.doubled], [0, 0]);
  ledger.take('b', 50, 'h-0-53');
  assert.equal(ledger.take('b', 3, 'h-0-54'), 'anew');
  assert.deepEqual([ledger.lost, ledger.doubled], [2, 0]);
});

test('another history starts over without a verdict', () => {
  const ledger = new Ledger();
  ledger.take('a', 50, 'old-0-50');
  assert.equal(ledger.take('a', 80, 'new-0-3'), 'anew');
  assert.equal(ledger.take('a', 81, 'new-0-4'), 'next');
  assert.deepEqual([ledger.lost, ledger.doubled], [0, 0]);
});

test('an incident is judged by itself, and a channel is checked by its first event after it', () => {
  const ledger = new Ledger();
  ledger.take('a', 1, 'h-0-1');
  ledger.take('a', 3, 'h-0-3');
  ledger.take('b', 1, 'h-0-4');
  ledger.broke(1000);
  ledger.broke(1100);
  assert.equal(ledger.incident.at, 1000, 'a break within a break is the same');
  assert.deepEqual(ledger.outcome(), { lost: 0, doubled: 0, skipped: 0 });
  ledger.take('a', 4, 'h-0-5');
  ledger.take('a', 5, 'h-0-6');
  assert.equal(ledger.incident.checked, 1);
  ledger.take('b', 4, 'h-0-9');
  assert.equal(ledger.incident.checked, 2);
  assert.equal(ledger.incident.channels, 2);
  assert.deepEqual(ledger.outcome(), { lost: 2, doubled: 0, skipped: 0 });
});

test('positions are read from event ids only', () => {
  assert.deepEqual(position('k7Qp2a-3-1042'), { lane: 'k7Qp2a-3', offset: 1042 });
  assert.ok(Number.isNaN(position('~AAAA').offset));
});

test('quantiles are of the newest values', () => {
  const recent = new Recent(100);
  assert.deepEqual(recent.quantiles(0.5), [undefined]);
  for (let i = 0; i < 1000; i++) recent.add(i);
  assert.deepEqual(recent.quantiles(0.5, 0.99), [950, 999]);
});
