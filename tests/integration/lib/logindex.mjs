// Index files and values of the log, read as store/README.md has them and nothing else; beside
// logreader.mjs, which reads the segments. What an index says is held against a walk of its segment.

import fs from 'node:fs';
import path from 'node:path';
import { classes, crc32c, flags, LogError, read_record, siphash13 } from './logreader.mjs';

const page_bytes = 4096;
const zeros = Buffer.alloc(65_536);

function expect(file, at, holds, what) {
  if (!holds) throw new LogError(file, at, what);
}

function is_zero(bytes) {
  return bytes.equals(zeros.subarray(0, bytes.length));
}

function number(bytes, at) {
  const value = bytes.readBigUInt64LE(at);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new Error(`${value} at ${at} is too large`);
  return Number(value);
}

// ---- index files ---------------------------------------------------------------------------------------

const kinds = { directory: 1, holes: 2, idempotency: 3 };
const page_entries = { directory: 170, holes: 170, idempotency: 56 };
const entry_bytes = { directory: 24, holes: 24, idempotency: 72 };

/** The index of a segment file's name, or undefined when there is none. Throws LogError where it is not as the page says. */
export function read_index(segment_file, meta) {
  const file = segment_file.replace(/\.seg$/, '.idx');
  if (!fs.existsSync(file)) return undefined;
  const bytes = fs.readFileSync(file);
  expect(file, 0, bytes.length >= 256, `${bytes.length} bytes`);
  const head = bytes.subarray(0, 256);
  expect(file, 0, head.toString('latin1', 0, 8) === 'ttindex\0', 'no magic');
  expect(file, 252, head.readUInt32LE(252) === crc32c(head.subarray(0, 252)), 'the checksum of the header is wrong');
  expect(file, 8, head.readUInt32LE(8) === 1, `format ${head.readUInt32LE(8)}`);
  expect(file, 16, head.toString('latin1', 16, 24) === `${meta.history}\0\0`, 'another history');
  expect(file, 24, head.readBigUInt64LE(24) === meta.key.k0 && head.readBigUInt64LE(32) === meta.key.k1, 'another hash key');
  expect(file, 92, is_zero(head.subarray(92, 96)) && is_zero(head.subarray(224, 252)), 'reserved bytes');
  const index = {
    file,
    partition: head.readUInt32LE(12),
    first: number(head, 40),
    base: number(head, 48),
    end: number(head, 56),
    next: number(head, 64),
    entries: number(head, 72),
    channels: head.readUInt32LE(80),
    probes: head.readUInt32LE(84),
  };
  const sections = {};
  let at = 256;
  for (const [i, name] of ['lists', 'directory', 'holes', 'idempotency', 'filter'].entries()) {
    const section = { position: number(head, 96 + 24 * i), bytes: number(head, 104 + 24 * i), entries: number(head, 112 + 24 * i) };
    expect(file, 96 + 24 * i, section.position === at, `${name} begins at ${section.position}, not ${at}`);
    at += section.bytes;
    sections[name] = section;
    if (['lists', 'directory', 'filter'].includes(name)) expect(file, 112 + 24 * i, section.entries === index.channels, `${section.entries} entries of ${name}`);
  }
  expect(file, 216, number(head, 216) === at && bytes.length === at, `${bytes.length} bytes, the parts end at ${at}`);

  index.directory = pages(file, bytes, sections.directory, 'directory').map((e) => ({
    hash: e.readBigUInt64LE(0),
    position: number(e, 8),
    bytes: e.readUInt32LE(16),
    events: e.readUInt32LE(20),
  }));
  index.holes = pages(file, bytes, sections.holes, 'holes').map((e) => ({ offset: number(e, 0), end: number(e, 8), place: number(e, 16) }));
  index.runs = pages(file, bytes, sections.idempotency, 'idempotency').map((e) => ({
    key: e.toString('hex', 0, 16),
    body: e.toString('hex', 16, 32),
    offset: number(e, 32),
    behind: number(e, 40),
    taken_us: number(e, 48),
    index: e.readUInt32LE(56),
    count: e.readUInt32LE(60),
    of: e.readUInt32LE(64),
  }));
  let before = -1n;
  let lists_end = 0;
  for (const entry of index.directory) {
    expect(file, sections.directory.position, entry.hash > before, 'the directory is not in order');
    before = entry.hash;
    lists_end = Math.max(lists_end, entry.position + entry.bytes);
    entry.list = read_list(file, bytes, sections.lists, index, entry);
  }
  expect(file, sections.lists.position, lists_end === sections.lists.bytes, 'bytes behind the last list');
  const filter = bytes.subarray(sections.filter.position, sections.filter.position + sections.filter.bytes);
  expect(file, 88, head.readUInt32LE(88) === crc32c(filter), 'the checksum of the filter is wrong');
  expect(file, 208, filter.length === Math.min(131_072, Math.ceil(index.channels / 64) * 64), `a filter of ${filter.length} bytes`);
  index.may_have = (hash) => probes_of(index, filter.length, hash).every((bit) => (filter[bit >> 3] >> (bit & 7)) & 1);
  const made = Buffer.alloc(filter.length);
  for (const { hash } of index.directory) for (const bit of probes_of(index, filter.length, hash)) made[bit >> 3] |= 1 << (bit & 7);
  expect(file, sections.filter.position, made.equals(filter), 'the filter is not that of its channels');
  return index;
}

function probes_of(index, filter_bytes, hash) {
  const m = BigInt(8 * filter_bytes);
  const low = BigInt.asUintN(32, hash);
  const high = (hash >> 32n) | 1n;
  return Array.from({ length: index.probes }, (_, i) => Number((BigInt.asUintN(32, low + BigInt(i) * high) * m) >> 32n));
}

/** The entries of a section's pages, as bytes. */
function pages(file, bytes, section, name) {
  const entries = [];
  expect(file, section.position, section.bytes % page_bytes === 0, `${name} of ${section.bytes} bytes`);
  for (let i = 0; i * page_bytes < section.bytes; i++) {
    const at = section.position + i * page_bytes;
    const page = bytes.subarray(at, at + page_bytes);
    expect(file, at, page.readUInt32LE(4092) === crc32c(page.subarray(0, 4092)), 'the checksum of a page is wrong');
    expect(file, at + 4080, page.readUInt32LE(4080) === kinds[name] && page.readUInt32LE(4084) === i, `page ${i} of ${name} is another`);
    const count = page.readUInt32LE(4088);
    const last = (i + 1) * page_bytes === section.bytes;
    expect(file, at + 4088, last ? count > 0 && count <= page_entries[name] : count === page_entries[name], `${count} entries in page ${i} of ${name}`);
    for (let k = 0; k < count; k++) entries.push(page.subarray(k * entry_bytes[name], (k + 1) * entry_bytes[name]));
    expect(file, at, is_zero(page.subarray(count * entry_bytes[name], 4080)), 'no zeros behind the entries of a page');
  }
  expect(file, section.position, entries.length === section.entries, `${entries.length} entries of ${name}`);
  return entries;
}

/** A channel's records: [{ offset, place, flags }]. */
function read_list(file, bytes, lists, index, entry) {
  const list = [];
  const from = lists.position + entry.position;
  const whole = bytes.subarray(from, from + entry.bytes);
  for (let i = 0; i * 4096 < whole.length; i++) {
    const block = whole.subarray(i * 4096, Math.min(whole.length, (i + 1) * 4096));
    const prefix = Buffer.alloc(16);
    prefix.writeBigUInt64LE(entry.hash, 0);
    prefix.writeUInt32LE(i, 8);
    expect(file, from + i * 4096, block.readUInt32LE(0) === crc32c(Buffer.concat([prefix, block.subarray(4)])), 'the checksum of a list is wrong');
    const count = block.readUInt16LE(4);
    const used = block.readUInt16LE(6);
    let at = 8;
    const varint = () => {
      let value = 0;
      for (let scale = 1; ; scale *= 128) {
        const byte = block[at++];
        value += (byte & 0x7f) * scale;
        if (byte < 128) return value;
      }
    };
    let offset = index.first;
    let place = index.base;
    for (let k = 0; k < count; k++) {
      const first = varint();
      const second = varint();
      offset += Math.floor(first / 4);
      place += second * 8;
      list.push({ offset, place, flags: first % 4 });
    }
    expect(file, from + i * 4096, at === used, `a block of a list uses ${used} bytes, its entries ${at}`);
    expect(file, from + i * 4096, is_zero(block.subarray(used)), 'no zeros behind the entries of a list');
  }
  expect(file, from, list.length === entry.events, `${list.length} events in a list of ${entry.events}`);
  return list;
}

/** Holds an index against its segment as it was walked; `behind` is the next segment, `hash(channel)` a cache. */
export function compare_index(index, segment, partition, behind, hash) {
  const { file } = index;
  const events = partition.events.filter((event) => event.segment === segment);
  expect(file, 12, index.partition === partition.number, `partition ${index.partition}`);
  expect(file, 40, index.first === segment.first && index.base === segment.base, 'another segment');
  expect(file, 56, index.end === behind.base, `ends at place ${index.end}, the next segment begins at ${behind.base}`);
  expect(file, 64, index.next === behind.first, `next offset ${index.next}, the next segment has ${behind.first}`);
  expect(file, 72, index.entries === events.length, `${index.entries} entries, ${events.length} events`);
  const lists = new Map();
  for (const event of events) {
    const key = hash(event.channel);
    if (!lists.has(key)) lists.set(key, []);
    lists.get(key).push({ offset: event.offset, place: event.place, flags: event.flags & 3 });
  }
  expect(file, 80, lists.size === index.channels, `${index.channels} channels, the events have ${lists.size}`);
  for (const entry of index.directory) {
    const expected = lists.get(entry.hash);
    expect(file, 120, expected && JSON.stringify(expected) === JSON.stringify(entry.list), `the list of hash ${entry.hash}`);
    expect(file, 192, index.may_have(entry.hash), `the filter lacks hash ${entry.hash}`);
  }
  const holes = partition.holes.filter((hole) => hole.segment === segment).map(({ offset, end, place }) => ({ offset, end, place }));
  expect(file, 144, JSON.stringify(holes) === JSON.stringify(index.holes), `holes ${JSON.stringify(index.holes)}`);
  const runs = [];
  for (const event of events) {
    if (!event.idempotency) continue;
    const { key, body, index: i, count } = event.idempotency;
    const run = runs.at(-1);
    if (run && run.key === key && run.body === body && run.offset + run.count === event.offset && run.index + run.count === i) {
      run.count++;
      run.behind = event.place + event.length;
    } else {
      runs.push({ key, body, offset: event.offset, behind: event.place + event.length, taken_us: event.taken_us, index: i, count: 1, of: count });
    }
  }
  expect(file, 168, JSON.stringify(runs) === JSON.stringify(index.runs), `runs of keys ${JSON.stringify(index.runs).slice(0, 300)}, not ${JSON.stringify(runs).slice(0, 300)}`);
}

// ---- values ----------------------------------------------------------------------------------------------------

/** The kept files of a partition, by their number: [{ number, file, bytes, records: [event with .byte] }]. */
function read_kept(dir, partition, meta) {
  const files = [];
  for (const name of fs.readdirSync(dir).sort()) {
    if (!/^\d{7}\.val$/.test(name)) continue;
    const file = path.join(dir, name);
    const bytes = fs.readFileSync(file);
    expect(file, 0, bytes.length >= 64 && bytes.toString('latin1', 0, 8) === 'ttlogval', 'no magic');
    expect(file, 60, bytes.readUInt32LE(60) === crc32c(bytes.subarray(0, 60)), 'the checksum is wrong');
    expect(file, 8, bytes.readUInt32LE(8) === 1 && bytes.readUInt32LE(12) === partition, 'another format or partition');
    expect(file, 16, bytes.toString('latin1', 16, 24) === `${meta.history}\0\0`, 'another history');
    expect(file, 24, bytes.readUInt32LE(24) === Number(name.slice(0, 7)), 'the number is not the name');
    expect(file, 28, is_zero(bytes.subarray(28, 60)), 'reserved bytes');
    const records = [];
    for (let at = 64; at < bytes.length; ) {
      const record = read_record(file, bytes, at);
      if (typeof record === 'string' || record.class !== classes.EVENT) break;
      records.push({ ...record, byte: at });
      at += record.length;
    }
    files.push({ number: Number(name.slice(0, 7)), file, bytes, records });
  }
  return files;
}

/** The checkpoint: { mark, place, kept_byte, kept_number, table: Map(channel -> entry) }, or undefined. */
function read_checkpoint(dir, partition, meta) {
  const file = path.join(dir, 'values');
  if (!fs.existsSync(file)) return undefined;
  const bytes = fs.readFileSync(file);
  expect(file, 0, bytes.length >= 96 && bytes.toString('latin1', 0, 8) === 'ttlogchk', 'no magic');
  expect(file, 92, bytes.readUInt32LE(92) === crc32c(bytes.subarray(0, 92)), 'the checksum of the header is wrong');
  expect(file, 8, bytes.readUInt32LE(8) === 1 && bytes.readUInt32LE(12) === partition, 'another format or partition');
  expect(file, 16, bytes.toString('latin1', 16, 24) === `${meta.history}\0\0`, 'another history');
  expect(file, 24, bytes.readBigUInt64LE(24) === meta.key.k0 && bytes.readBigUInt64LE(32) === meta.key.k1, 'another hash key');
  expect(file, 68, is_zero(bytes.subarray(68, 92)), 'reserved bytes');
  const checkpoint = { file, mark: number(bytes, 40), place: number(bytes, 48), kept_byte: number(bytes, 56), kept_number: bytes.readUInt32LE(64), table: new Map() };
  let at = 96;
  for (let block = 1; ; block++) {
    expect(file, at, at + 16 <= bytes.length, 'it ends within its blocks');
    const size = bytes.readUInt32LE(at);
    expect(file, at, size % 8 === 0 && size >= 24 && size <= 65_536 && at + size <= bytes.length, `a block of ${size} bytes`);
    const whole = bytes.subarray(at, at + size);
    expect(file, at + 4, whole.readUInt32LE(4) === crc32c(whole.subarray(8)), 'the checksum of a block is wrong');
    expect(file, at + 8, whole.readUInt32LE(8) === block, `block ${whole.readUInt32LE(8)} where ${block} stands`);
    const count = whole.readUInt32LE(12);
    at += size;
    if (count === 0) {
      expect(file, at, size === 24 && number(whole, 16) === checkpoint.table.size, `${number(whole, 16)} channels, the blocks have ${checkpoint.table.size}`);
      expect(file, at, at === bytes.length, 'something follows the last block');
      return checkpoint;
    }
    let from = 16;
    for (let i = 0; i < count; i++) {
      const entry = whole.subarray(from);
      const size_of_name = entry[29];
      const name = entry.toString('utf8', 32, 32 + size_of_name);
      expect(file, at, entry[31] === 0 && entry[28] <= 2 && entry[30] <= 1, `the entry of ${name}`);
      expect(file, at, !checkpoint.table.has(name), `${name} stands there twice`);
      checkpoint.table.set(name, {
        newest: number(entry, 0),
        offset: number(entry, 8),
        place: entry.readBigUInt64LE(16),
        kept_bytes: entry.readUInt32LE(24),
        state: entry[28],
        was_kept: entry[30],
      });
      from += 32 + size_of_name;
    }
    expect(file, at, size - from < 8 && is_zero(whole.subarray(from)), 'entries and zeros do not fill their block');
  }
}

/**
 * Every value of a partition, Map(channel -> event), by "Who wants every value": with the checkpoint
 * where there is one, and without it. Throws LogError when the two are not the same.
 */
export function read_values(log, number_of_partition) {
  const partition = log.partitions[number_of_partition];
  const { dir } = partition;
  const kept = read_kept(dir, number_of_partition, log.meta);
  const checkpoint = read_checkpoint(dir, number_of_partition, log.meta);
  const at_place = new Map(partition.events.map((event) => [BigInt(event.place), event]));
  const at_kept = new Map();
  for (const { number: n, records } of kept) for (const record of records) at_kept.set((1n << 63n) | (BigInt(n) << 40n) | BigInt(record.byte), record);

  const gather = (start, kept_from, place_from) => {
    const newest = new Map(start);
    const take = (event) => {
      if (event.flags & flags.never_conflate && !(event.flags & flags.deletes)) return;
      const before = newest.get(event.channel);
      if (before === undefined || event.offset >= before.offset) newest.set(event.channel, event);
    };
    for (const { number: n, records } of kept) for (const record of records) if (!kept_from(n, record.byte)) take(record);
    for (const event of partition.events) if (event.place >= place_from) take(event);
    const values = new Map();
    for (const [channel, event] of newest) if (!(event.flags & flags.deletes)) values.set(channel, event);
    return values;
  };
  const without = gather([], () => false, 0);
  if (checkpoint === undefined) return { values: without, checkpoint, kept };

  const start = [];
  for (const [channel, entry] of checkpoint.table) {
    expect(checkpoint.file, 0, entry.newest >= entry.offset || entry.state === 0, `${channel}: newest ${entry.newest}, value ${entry.offset}`);
    expect(checkpoint.file, 0, entry.newest < checkpoint.mark, `${channel}: ${entry.newest} is not below the mark`);
    if (entry.state === 0) continue;
    const event = at_place.get(entry.place) ?? at_kept.get(entry.place);
    if (event) {
      expect(checkpoint.file, 0, event.channel === channel && event.offset === entry.offset, `the place of ${channel} is another record's`);
      expect(checkpoint.file, 0, Boolean(event.flags & flags.deletes) === (entry.state === 2), `the state of ${channel}`);
      start.push([channel, event]);
    } else {
      /* Carried to a kept file, or superseded, since; what counts then comes behind. */
      start.push([channel, { channel, offset: entry.offset, flags: entry.state === 2 ? flags.deletes : 0, gone: true }]);
    }
  }
  const is_before = (n, byte) => n < checkpoint.kept_number || (n === checkpoint.kept_number && byte < checkpoint.kept_byte);
  const from = partition.segments.findLast((segment) => segment.base <= checkpoint.place) ?? partition.segments[0];
  const values = gather(start, is_before, from?.base ?? 0);
  for (const [channel, event] of values) {
    expect(checkpoint.file, 0, !event.gone, `the value of ${channel} (offset ${event.offset}) is nowhere`);
    expect(checkpoint.file, 0, without.get(channel)?.offset === event.offset, `${channel}: ${event.offset} with the checkpoint, ${without.get(channel)?.offset} without`);
  }
  expect(checkpoint.file, 0, values.size === without.size, `${values.size} values with the checkpoint, ${without.size} without`);
  return { values, checkpoint, kept };
}

/** A cache of the log's hash of channels. */
export function hasher(meta) {
  const known = new Map();
  return (channel) => {
    if (!known.has(channel)) known.set(channel, siphash13(meta.key, Buffer.from(channel)));
    return known.get(channel);
  };
}
