#!/usr/bin/env node
// Does a read from a cold disk hold up the shard's loop? The longest turn while clients replay segments that are not
// in the page cache, compared with segments that are. See README.md.
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { build, cores, first, keep, makeData, metric, options, post, startBroker, table } from './lib.mjs';

const o = options({
  crowd: 50, // clients that replay at once
  megabytes: 256,
  seconds: 3,
  'limit-ms': 10, // the longest turn, else exit 1
});
const core = cores();
const end = 'this-is-the-last-event';
const broker = ['--tail-bytes=2MiB', '--log-segment-bytes=16MiB'];

function run(...args) {
  const { status, stdout, stderr } = spawnSync(first[0], [...first.slice(1), join(build, 'bench_replay'), ...args], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`bench_replay: ${stderr}`);
  return stdout;
}

async function measure(data, cold) {
  const server = await startBroker(core.measured, broker, {}, data);
  try {
    if (cold) run(`--drop=${join(data, '0')}`);
    const { bytes } = JSON.parse(run(`--crowd=${o.crowd}`, `--seconds=${o.seconds}`, `--url=${server.url.slice(7)}`,
      '--path=/sse?channels=*&from=earliest', `--until=${end}`, `--reader-cpu=${core.load}`));
    const turn = (await metric(server, 'shard_turn_seconds_max{shard="0"}')) * 1e3;
    return { cold, turn_max_ms: turn, mb_s: bytes / 1e6 / o.seconds };
  } finally {
    await server.stop();
  }
}

const data = makeData();
try {
  const filling = await startBroker(core.measured, broker, {}, data);
  const pad = 'x'.repeat(1022);
  const thousand = Array.from({ length: 1000 }, (_, i) => `{"channel":"stock.${i}","type":"quote","payload":"${pad}"}\n`).join('');
  for (let i = 0; i < o.megabytes; i++) await post(filling, thousand);
  await post(filling, `{"channel":"stock.0","type":"quote","payload":"${end}"}\n`);
  await filling.stop();
  const results = [await measure(data, false), await measure(data, true)];
  table([['segments', 'longest turn ms', 'MB/s'], ...results.map((r) => [r.cold ? 'on disk' : 'in the page cache', r.turn_max_ms.toFixed(2), r.mb_s.toFixed(0)])]);
  const worst = results[1].turn_max_ms;
  console.log(`reading from disk, the longest turn takes ${worst.toFixed(2)} ms; wanted: at most ${o['limit-ms']}`);
  keep('replay_cold', { options: o, results });
  process.exitCode = worst <= o['limit-ms'] ? 0 : 1;
} finally {
  rmSync(data, { recursive: true, force: true });
}
