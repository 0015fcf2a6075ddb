// The broker under `ttload run` with clients that are slow, cut off, conflate or skip: every event is accounted for.

import assert from 'node:assert/strict';
import { broker_test, io } from './lib/broker.mjs';
import { run } from './lib/fake.mjs';

for (const [what, args] of [
  ['stop reading', ['--slow=stop', '--slow-stop=400ms']],
  ['read in bursts', ['--slow=bursts', '--slow-stop=200ms', '--slow-read=100ms', '--apart']],
  ['trickle', ['--slow=trickle', '--slow-bytes-per-s=50KiB']],
]) {
  broker_test(`the broker keeps its promise to clients that ${what} and to clients that are cut`, { args: ['--outbox-bytes=8KiB', '--log-partitions=2'] }, async (broker) => {
    const { code, stdout, stderr } = await run(['run', `--url=${broker.url}`, '--clients=60', '--channels=20',
      '--channels-per-client=4', '--channel-distribution=zipf', '--rate=1000', '--event-bytes=400', '--warmup=100ms',
      '--duration=600ms', '--drain=60s', '--slow-share=30', '--reconnect-share=40', '--reconnect-every=200ms',
      '--policy=replay:70,disconnect:30', '--json', '--quiet', ...args]);
    assert.equal(code, 0, `${stdout}${stderr}`);
    const report = JSON.parse(stdout);
    assert.equal(report.total.delivered, report.total.expected);
    assert.equal(report.disturbed.slow, 18);
    assert.equal(report.disturbed.reconnecting, 24);
    assert.ok(report.disturbed.resumed > 0);
    assert.ok(report.io === io || io === '');
  });
}

for (const [what, args] of [
  ['conflate', ['--policy=conflate']],
  ['conflate by max_rate', ['--policy=conflate', '--max-rate=4']],
  ['skip what is too old', ['--max-lag=200ms']],
  ['skip what is too old, and are cut off', ['--max-lag=200ms', '--reconnect-share=40', '--reconnect-every=200ms']],
  ['are cut off as well, of all policies', ['--policy=replay:40,conflate:40,disconnect:20', '--reconnect-share=40', '--reconnect-every=200ms']],
]) {
  broker_test(`the broker keeps its promise to clients that ${what}`, { args: ['--outbox-bytes=8KiB'] }, async (broker) => {
    const { code, stdout, stderr } = await run(['run', `--url=${broker.url}`, '--clients=40', '--channels=20',
      '--channels-per-client=4', '--channel-distribution=hot', '--rate=1000', '--event-bytes=400', '--warmup=100ms',
      '--duration=800ms', '--drain=60s', '--slow-share=50', '--slow=stop', '--slow-stop=600ms', '--never-conflate-every=7',
      '--slow-buffer-bytes=8KiB', '--json', '--quiet', ...args]);
    assert.equal(code, 0, `${stdout}${stderr}`);
    const report = JSON.parse(stdout);
    assert.ok(report.disturbed.conflating + report.disturbed.max_lag > 0);
    assert.ok(report.total.conflated + report.total.told > 0);
  });
}
