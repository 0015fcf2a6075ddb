// The arithmetic of the dashboard: rates, percentiles, and how numbers are written.

import assert from 'node:assert/strict';
import test from 'node:test';
import { Rates, bytes, histogram, is_address, latency, parse_metrics, passed, percentile, short, total } from '../../tools/web/dashboard/figures.mjs';

const text = `# HELP t_a Help.
# TYPE t_a counter
t_a{x="1",y="a \\"b\\""} 3
t_a{x="2"} 4.5
t_h_bucket{le="0.001"} 10
t_h_bucket{le="0.01"} 30
t_h_bucket{le="+Inf"} 40
t_h_sum 0.5
`;

test('Prometheus text is read', () => {
  const families = parse_metrics(text);
  assert.equal(total(families, 't_a'), 7.5);
  assert.equal(total(families, 't_none'), null);
  assert.equal(families.get('t_a')[0].labels.x, '1');
  assert.deepEqual(histogram(families, 't_h'), { bounds: [0.001, 0.01, Infinity], counts: [10, 30, 40] });
  assert.deepEqual(histogram(families, 't_none'), { bounds: [], counts: [] });
});

test('percentiles of what came between two states', () => {
  const bounds = [0.001, 0.01, 0.1, Infinity];
  const zero = { bounds, counts: [0, 0, 0, 0] };
  assert.equal(percentile(zero, zero, 0.5), null, 'nothing was observed');
  assert.equal(percentile(zero, { bounds, counts: [10, 10, 10, 10] }, 0.5), 0.0005);
  assert.equal(percentile(zero, { bounds, counts: [0, 10, 10, 10] }, 0.5).toFixed(6), '0.005500');
  assert.equal(percentile(zero, { bounds, counts: [10, 20, 20, 20] }, 0.5), 0.001);
  assert.equal(percentile(zero, { bounds, counts: [0, 0, 0, 1] }, 0.5), Infinity);
  assert.equal(percentile({ bounds, counts: [100, 100, 100, 100] }, { bounds, counts: [100, 100, 110, 110] }, 1), 0.1);
  assert.equal(percentile({ bounds: [], counts: [] }, { bounds, counts: [10, 10, 10, 10] }, 1), 0.001);
});

test('rates of counters', () => {
  const rates = new Rates();
  assert.equal(rates.take(1000, 1, { a: 100 }), null);
  assert.deepEqual(rates.take(3000, 1, { a: 300 }), { a: 100 });
  assert.equal(rates.take(4000, 2, { a: 5 }), null, 'another life');
  assert.deepEqual(rates.take(5000, 2, { a: 5 }), { a: 0 });
  assert.equal(rates.take(5000, 2, { a: 6 }), null, 'no time has passed');
});

test('numbers are short, and never too long for their place', () => {
  assert.deepEqual([0, 0.4, 12, 12_345, 99_999, 100_000, 999_499, 999_500, 1_234_567, 999_600_000].map(short), ['0', '0.4', '12', '12,345', '99,999', '100k', '999k', '1M', '1.23M', '1G']);
  assert.deepEqual([0, 999, 1000, 1536, 65_536, 5 * 2 ** 20, 968 * 2 ** 20, null, 2 ** 64].map(bytes), ['0 B', '999 B', '0.98 KiB', '1.50 KiB', '64.0 KiB', '5.00 MiB', '968 MiB', '–', '–']);
  assert.deepEqual([null, 0.00012, 0.0082, 0.248, Infinity].map(latency), ['–', '0.12 ms', '8.2 ms', '248 ms', '> 1 s']);
  assert.deepEqual([null, 0, 340, 1500, 12_345, 200_000, 3 * 3_600_000, 3 * 86_400_000].map(passed), ['–', '0 ms', '340 ms', '1.5 s', '12 s', '3 min', '3 h', '3 d']);
  for (let n = 1; n < 1e12; n = Math.ceil(n * 1.7)) assert.ok(short(n).length <= 6 && bytes(n).length <= 8, `${short(n)}, ${bytes(n)}`);
});

test('an address is told from a label', () => {
  for (const address of ['127.0.0.1', '10.0.0.7:51766', '::1', '[::1]', '[2001:db8::1]:80', 'fe80::1']) assert.ok(is_address(address), address);
  for (const label of ['board-7', 'c1', 'feed', '1.2.3', 'a b', 'kiosk:7']) assert.ok(!is_address(label), label);
});
