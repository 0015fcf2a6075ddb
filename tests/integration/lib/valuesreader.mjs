// The values of a log's channels, read from its files as store/README.md ("Values") says, by nothing of the broker's.

import fs from 'node:fs';
import path from 'node:path';
import { LogError, classes, crc32c, flags, read_log, record_at } from './logreader.mjs';

function expect(file, at, holds, what) {
  if (!holds) throw new LogError(file, at, what);
}

const kept_bit = 1n << 63n;
const is_kept = (place) => (place & kept_bit) !== 0n;

/** { mark, place, kept_number, kept_byte, channels: Map }, or undefined when there is none. */
export function read_checkpoint(dir, meta, partition) {
  const file = path.join(dir, 'values');
  if (!fs.existsSync(file)) return undefined;
  const bytes = fs.readFileSync(file);
  expect(file, 0, bytes.toString('latin1', 0, 8) === 'ttlogchk', 'no magic');
  expect(file, 92, bytes.readUInt32LE(92) === crc32c(bytes.subarray(0, 92)), 'the checksum is wrong');
  expect(file, 8, bytes.readUInt32LE(8) === 1, 'another format');
  expect(file, 12, bytes.readUInt32LE(12) === partition, 'another partition');
  expect(file, 16, bytes.toString('latin1', 16, 22) === meta.history, 'another history');
  expect(file, 24, bytes.readBigUInt64LE(24) === meta.key.k0 && bytes.readBigUInt64LE(32) === meta.key.k1, 'another key');
  const checkpoint = {
    mark: Number(bytes.readBigUInt64LE(40)),
    place: Number(bytes.readBigUInt64LE(48)),
    kept_byte: Number(bytes.readBigUInt64LE(56)),
    kept_number: bytes.readUInt32LE(64),
    channels: new Map(),
  };
  let at = 96;
  for (let number = 1; ; number++) {
    const size = bytes.readUInt32LE(at);
    expect(file, at, size >= 24 && size <= 65536 && size % 8 === 0 && at + size <= bytes.length, `a block of ${size} bytes`);
    expect(file, at + 4, bytes.readUInt32LE(at + 4) === crc32c(bytes.subarray(at + 8, at + size)), 'the checksum is wrong');
    expect(file, at + 8, bytes.readUInt32LE(at + 8) === number, 'the number of a block');
    const count = bytes.readUInt32LE(at + 12);
    let entry = at + 16;
    if (count === 0) {
      expect(file, entry, Number(bytes.readBigUInt64LE(entry)) === checkpoint.channels.size, 'the number of channels');
      expect(file, at + size, at + size === bytes.length, 'something follows the last block');
      return checkpoint;
    }
    for (let i = 0; i < count; i++) {
      const name_bytes = bytes[entry + 29];
      const channel = bytes.toString('utf8', entry + 32, entry + 32 + name_bytes);
      expect(file, entry, !checkpoint.channels.has(channel), `${channel} twice`);
      checkpoint.channels.set(channel, {
        newest: Number(bytes.readBigUInt64LE(entry)),
        offset: Number(bytes.readBigUInt64LE(entry + 8)),
        place: bytes.readBigUInt64LE(entry + 16),
        state: bytes[entry + 28],
      });
      entry += 32 + name_bytes;
    }
    expect(file, entry, at + size - entry < 8, 'a block is longer than its entries');
    at += size;
  }
}

/** The kept files, oldest first: { number, file, records: [{ byte, ...event }] }. */
export function read_kept(dir, meta, partition) {
  const names = fs.readdirSync(dir).filter((name) => /^\d{7}\.val$/.test(name)).sort();
  return names.map((name) => {
    const file = path.join(dir, name);
    const bytes = fs.readFileSync(file);
    const number = Number(name.slice(0, 7));
    expect(file, 0, bytes.toString('latin1', 0, 8) === 'ttlogval', 'no magic');
    expect(file, 60, bytes.readUInt32LE(60) === crc32c(bytes.subarray(0, 60)), 'the checksum is wrong');
    expect(file, 8, bytes.readUInt32LE(8) === 1 && bytes.readUInt32LE(12) === partition, 'format or partition');
    expect(file, 16, bytes.toString('latin1', 16, 22) === meta.history, 'another history');
    expect(file, 24, bytes.readUInt32LE(24) === number, 'the number is not the name\'s');
    const records = [];
    for (let byte = 64; byte < bytes.length; ) {
      const record = record_at(file, bytes, byte, 0, 0);
      if (typeof record === 'string') break;
      expect(file, byte, record.class === classes.EVENT, 'no EVENT');
      records.push({ ...record, byte });
      byte += record.length;
    }
    return { number, file, records };
  });
}

/** Channel -> { offset, payload } of one partition of a log that is not written. */
function partition_values(partition, meta, by_checkpoint) {
  const checkpoint = by_checkpoint ? read_checkpoint(partition.dir, meta, partition.number) : undefined;
  const kept = read_kept(partition.dir, meta, partition.number);
  const at = new Map(); /* place -> event */
  for (const { number, records } of kept)
    for (const record of records) at.set(kept_bit | (BigInt(number) << 40n) | BigInt(record.byte), record);
  for (const event of partition.events) at.set(BigInt(event.place), event);
  const gone = (place) => !at.has(place);
  const values = new Map(checkpoint?.channels ?? []);
  const take = (event, place) => {
    const have = values.get(event.channel) ?? { state: 0, offset: 0, place: 0n };
    const deletes = (event.flags & flags.deletes) !== 0;
    if ((event.flags & flags.never_conflate) !== 0 && !deletes) return;
    if (have.state !== 0 && have.offset > event.offset) return;
    if (have.state !== 0 && have.offset === event.offset && !gone(have.place)) return;
    values.set(event.channel, { state: deletes ? 2 : 1, offset: event.offset, place });
  };
  for (const { number, records } of kept) {
    if (checkpoint && number < checkpoint.kept_number) continue;
    for (const record of records) {
      if (checkpoint && number === checkpoint.kept_number && record.byte < checkpoint.kept_byte) continue;
      take(record, kept_bit | (BigInt(number) << 40n) | BigInt(record.byte));
    }
  }
  const from = checkpoint ? (partition.segments.findLast(({ base }) => base <= checkpoint.place)?.base ?? 0) : 0;
  for (const event of partition.events) if (event.place >= from) take(event, BigInt(event.place));
  const result = new Map();
  for (const [channel, { state, offset, place }] of values) {
    const event = at.get(place);
    if (state !== 1 || event === undefined) continue; /* an old checkpoint's, deleted since */
    expect(partition.dir, 0, event.offset === offset && event.channel === channel, `the record of ${channel} is another`);
    result.set(channel, { offset, payload: JSON.parse(event.payload), kept: is_kept(place) });
  }
  return result;
}

/**
 * Channel -> { offset, payload, kept } of all partitions, read twice: by the checkpoint, and without it. The
 * broker has ended.
 */
export function read_values(dir) {
  const { meta, partitions } = read_log(dir);
  const all = new Map();
  for (const partition of partitions) {
    const values = partition_values(partition, meta, true);
    const slow = partition_values(partition, meta, false);
    /* Where a value was kept and its segment is still there, either place may be named. */
    const told = (map) => JSON.stringify([...map].map(([channel, { offset, payload }]) => [channel, offset, payload]).sort());
    expect(partition.dir, 0, told(values) === told(slow), 'the checkpoint and the whole log tell different values');
    for (const [channel, value] of values) all.set(channel, value);
  }
  return all;
}
