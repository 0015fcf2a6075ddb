#!/usr/bin/env node
// What appending to the log costs, compared with writing the same bytes (log_append.c). See README.md.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { build, cores, first, keep, options, table } from './lib.mjs';

const o = options({
  rounds: 5,
  payload: 1024, // bytes
  directory: '/tmp', // on the disk that is asked about
});
const core = cores();
const rows = [['sync', 'bare MB/s', 'log MB/s', 'log events/s', 'ratio', 'wanted']];
const results = [];
let good = true;
for (const [sync, wanted] of [['never', 0.8], ['always', 0.9]]) {
  const command = [...first, 'taskset', '-c', String(core.measured), join(build, 'bench_log_append'), `--sync=${sync}`, `--rounds=${o.rounds}`, `--payload=${o.payload}`, o.directory];
  const { status, stdout, stderr } = spawnSync(command[0], command.slice(1), { encoding: 'utf8' });
  if (status !== 0 && status !== 1) throw new Error(`bench_log_append: ${stderr}`);
  const r = JSON.parse(stdout);
  results.push({ ...r, wanted });
  good &&= status === 0;
  rows.push([sync, r.bare_mb_s, r.log_mb_s, r.log_events_s, r.ratio.toFixed(2), wanted.toFixed(1)]);
}
table(rows);
keep('log_append', { options: o, results });
process.exit(good ? 0 : 1);
