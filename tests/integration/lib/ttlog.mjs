// ttlog as a child process, and what tests do to the files of a log.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { binary } from './broker.mjs';
import { within } from './wait.mjs';

const program = path.join(path.dirname(binary), 'ttlog');
const fatal = /Sanitizer|ASSERT|runtime error:/;

/** Runs ttlog to its end: { code, stdout, stderr }. */
export function ttlog(...args) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text));
  const end = new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code: signal ?? code, stdout, stderr }));
  });
  return within(end, () => `the end of ttlog ${args.join(' ')}:\n${stderr}`).then((result) => {
    assert.doesNotMatch(result.stderr, fatal);
    return result;
  });
}

/** `dump --follow`: { lines, ended }, and stop(), which asserts that nothing was complained about. */
export function follow(directory, ...args) {
  const child = spawn(program, ['dump', directory, '--follow', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const following = { lines: [], ended: false };
  let rest = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    const parts = (rest + text).split('\n');
    rest = parts.pop();
    following.lines.push(...parts.map((line) => JSON.parse(line)));
  });
  child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text));
  const closed = new Promise((resolve) => {
    child.on('close', () => resolve((following.ended = true)));
  });
  following.stop = async () => {
    child.kill('SIGTERM');
    await within(closed, 'the end of ttlog dump --follow');
    assert.equal(stderr, '');
  };
  return following;
}

/** A command with --json: { code } and what it printed. */
export async function ttlog_json(...args) {
  const { stdout, stderr, code } = await ttlog(...args, '--json');
  assert.equal(stderr, '');
  return { code, ...JSON.parse(stdout) };
}

/** The lines of `dump`. */
export async function dump(directory, ...args) {
  const { code, stdout, stderr } = await ttlog('dump', directory, ...args);
  assert.equal(stderr, '');
  assert.equal(code, 0);
  return stdout.trim() === '' ? [] : stdout.trimEnd().split('\n').map((line) => JSON.parse(line));
}

const table = Uint32Array.from({ length: 256 }, (_, i) => {
  let crc = i;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc >>> 0;
});

export function crc32c(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = table[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/**
 * Changes when the events of a log were taken (store/README.md): taken_us(partition, offset) gives a number.
 * As if the broker's clock had been like that: the times that chunks and segments give are made to fit.
 */
export async function retime(directory, taken_us) {
  const newest = new Map();
  let open = { path: '', bytes: Buffer.alloc(0) };
  const save = () => open.path && fs.writeFileSync(open.path, open.bytes);
  for (const record of await dump(directory, '--raw')) {
    const file = path.join(directory, String(record.partition), record.file);
    if (file !== open.path) {
      save();
      open = { path: file, bytes: fs.readFileSync(file) };
    }
    const at = open.bytes.subarray(record.byte, record.byte + record.length);
    const before = newest.get(record.partition);
    if (record.class === 'event') {
      const us = BigInt(taken_us(record.partition, record.offset));
      at.writeBigInt64LE(us / 1000n, 16);
      at.writeBigInt64LE(us, 24);
      if (before === undefined || us > before) newest.set(record.partition, us);
    } else if (before !== undefined && (record.class === 'chunk' || record.class === 'segment')) {
      at.writeBigInt64LE(before, record.class === 'chunk' ? 56 : 64);
    }
    at.writeUInt32LE(crc32c(at.subarray(8)), 4);
  }
  save();
}
