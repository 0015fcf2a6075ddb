// An independent reader of the log: written from store/README.md alone, so that the page and the broker
// are held against each other. It is stricter than a reader has to be: what the page says about the
// writer (where records lie, what a header repeats, that reserved bytes are 0) is checked as well, and
// everything that is not so throws LogError with the file and the byte.
//
//   const log = read_log(dir);             a log that nobody writes
//   const log = read_log(dir, { live: true });   beside a running broker: the newest record may be half written
//   log.meta                               { format, partitions, history, key, created_us }
//   log.partitions[p].events               every EVENT, in order: see Record below
//   log.partitions[p].holes                [{ offset, end }]
//   log.partitions[p].next                 the next offset that the segments give
//   log.partitions[p].ceiling              or undefined without a ceiling file
//   log.partitions[p].last                 the newest whole record, of any class
//   log.partitions[p].tail                 how the newest segment ends: { place, state: 'end' | 'torn' | 'damaged' }
//   find_offset(partition, offset), find_time(partition, taken_us)   the searches of "Reading"

import fs from 'node:fs';
import path from 'node:path';

export const chunk_bytes = 1 << 20;
const record_bytes_max = 4_198_879;
const header_bytes = 48;

export const classes = { EVENT: 1, PAD: 2, BATCH: 3, HOLE: 4, CHUNK: 5, SEGMENT: 6 };
const class_bytes = { [classes.BATCH]: 72, [classes.HOLE]: 56, [classes.CHUNK]: 64, [classes.SEGMENT]: 128 };
export const flags = { never_conflate: 1, deletes: 2, base64: 4, timestamp_given: 8, idempotency: 256 };
const flags_known = Object.values(flags).reduce((all, flag) => all | flag, 0);

export class LogError extends Error {
  constructor(file, at, what) {
    super(`${file}: byte ${at}: ${what}`);
    this.file = file;
    this.at = at;
  }
}

// ---- CRC-32C: polynomial 1EDC6F41, reflected ------------------------------------------------------------

const crc_table = new Uint32Array(256);
for (let i = 0; i < 256; i++) {
  let c = i;
  for (let bit = 0; bit < 8; bit++) c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1;
  crc_table[i] = c >>> 0;
}

export function crc32c(bytes) {
  let c = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) c = crc_table[(c ^ bytes[i]) & 0xff] ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}

// ---- SipHash-1-3 (one round for each word, three at the end), as in the paper by Aumasson and Bernstein -----

const u64 = (x) => BigInt.asUintN(64, x);
const rotate = (x, by) => u64((x << by) | (x >> (64n - by)));

export function siphash13({ k0, k1 }, bytes) {
  let v0 = k0 ^ 0x736f6d6570736575n;
  let v1 = k1 ^ 0x646f72616e646f6dn;
  let v2 = k0 ^ 0x6c7967656e657261n;
  let v3 = k1 ^ 0x7465646279746573n;
  const round = () => {
    v0 = u64(v0 + v1);
    v1 = rotate(v1, 13n) ^ v0;
    v0 = rotate(v0, 32n);
    v2 = u64(v2 + v3);
    v3 = rotate(v3, 16n) ^ v2;
    v0 = u64(v0 + v3);
    v3 = rotate(v3, 21n) ^ v0;
    v2 = u64(v2 + v1);
    v1 = rotate(v1, 17n) ^ v2;
    v2 = rotate(v2, 32n);
  };
  const whole = bytes.length & ~7;
  const last = Buffer.alloc(8);
  bytes.copy(last, 0, whole);
  last[7] = bytes.length & 0xff;
  for (let at = 0; at <= whole; at += 8) {
    const word = at < whole ? bytes.readBigUInt64LE(at) : last.readBigUInt64LE(0);
    v3 ^= word;
    round();
    v0 ^= word;
  }
  v2 ^= 0xffn;
  round();
  round();
  round();
  return v0 ^ v1 ^ v2 ^ v3;
}

// ---- numbers ------------------------------------------------------------------------------------------------

/** A 64-bit number that has to be exact as a JavaScript number. */
function number_at(file, bytes, at) {
  const value = bytes.readBigUInt64LE(at);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new LogError(file, at, `${value} is too large`);
  return Number(value);
}

const zeros = Buffer.alloc(chunk_bytes);

function all_zero(bytes) {
  return bytes.length <= 64 ? bytes.every((byte) => byte === 0) : bytes.equals(zeros.subarray(0, bytes.length));
}

function expect(file, at, holds, what) {
  if (!holds) throw new LogError(file, at, what);
}

// ---- META and ceiling ------------------------------------------------------------------------------------------

export function read_meta(dir) {
  const file = path.join(dir, 'META');
  const bytes = fs.readFileSync(file);
  expect(file, 0, bytes.length === 64, `${bytes.length} bytes, not 64`);
  expect(file, 0, bytes.toString('latin1', 0, 8) === 'ttlogmet', 'no magic');
  expect(file, 60, bytes.readUInt32LE(60) === crc32c(bytes.subarray(0, 60)), 'the checksum is wrong');
  const format = bytes.readUInt32LE(8);
  expect(file, 8, format === 1, `format ${format}`);
  const partitions = bytes.readUInt32LE(12);
  expect(file, 12, partitions >= 1 && partitions <= 1024, `${partitions} partitions`);
  const history = bytes.toString('latin1', 16, 22);
  expect(file, 16, /^[A-Za-z0-9]{6}$/.test(history), `history ${JSON.stringify(history)}`);
  expect(file, 22, all_zero(bytes.subarray(22, 24)), 'no zeros behind the history');
  expect(file, 48, all_zero(bytes.subarray(48, 60)), 'reserved bytes');
  return {
    format,
    partitions,
    history,
    key: { k0: bytes.readBigUInt64LE(24), k1: bytes.readBigUInt64LE(32) },
    created_us: Number(bytes.readBigInt64LE(40)),
  };
}

/** The ceiling of a partition's directory: { version, offset }, or undefined when there is none. */
export function read_ceiling(dir) {
  const file = path.join(dir, 'ceiling');
  if (!fs.existsSync(file)) return undefined;
  const bytes = fs.readFileSync(file);
  let best;
  for (const at of [0, 4096]) {
    const slot = bytes.subarray(at, at + 64);
    if (slot.length < 64 || slot.toString('latin1', 0, 8) !== 'ttceil\0\x01') continue;
    if (slot.readUInt32LE(60) !== crc32c(slot.subarray(0, 60))) continue;
    const version = number_at(file, slot, 8);
    expect(file, at + 8, (version % 2) * 4096 === at, `version ${version} in the wrong slot`);
    expect(file, at + 24, all_zero(slot.subarray(24, 60)), 'reserved bytes');
    if (!best || version > best.version) best = { version, offset: number_at(file, slot, 16) };
  }
  expect(file, 0, best, 'no valid slot');
  return best;
}

// ---- records -----------------------------------------------------------------------------------------------------

/**
 * The record at byte `at` of a segment's `bytes`, or text that says why none stands there. `next` is the
 * next offset by the records before it.
 */
export function record_at(file, bytes, at, base, next) {
  if (at + 8 > bytes.length) return 'beyond the end of the file';
  const length = bytes.readUInt32LE(at);
  if (length % 8 !== 0 || length < 8 || length > record_bytes_max) return `length ${length}`;
  if (at + length > bytes.length) return `length ${length} runs beyond the file`;
  const whole = bytes.subarray(at, at + length);
  if (whole.readUInt32LE(4) !== crc32c(whole.subarray(8))) return 'the checksum is wrong';
  const place = base + at;
  if (length < header_bytes) {
    if (!all_zero(whole.subarray(8))) return 'a short record that is no PAD';
    return { place, length, class: classes.PAD };
  }
  const record = {
    place,
    length,
    class: whole[34],
    offset: number_at(file, whole, 8),
    timestamp_ms: Number(whole.readBigInt64LE(16)),
    taken_us: Number(whole.readBigInt64LE(24)),
    flags: whole.readUInt16LE(32), /* without 256 once the block was read */
  };
  const sizes = {
    type: whole[35],
    channel: whole[36],
    headers: whole.readUInt16LE(38),
    payload: whole.readUInt32LE(40),
  };
  expect(file, at + 37, whole[37] === 0 && whole.readUInt32LE(44) === 0, 'reserved bytes of a header');
  if (record.class === classes.EVENT) return event_of(file, at, whole, record, sizes, next);
  expect(file, at + 32, record.flags === 0, `flags of class ${record.class}`);
  expect(file, at + 35, Object.values(sizes).every((size) => size === 0), `sizes of class ${record.class}`);
  expect(file, at + 16, record.timestamp_ms === Math.floor(record.taken_us / 1000), `timestamp of class ${record.class}`);
  if (record.class === classes.PAD) {
    expect(file, at + 8, record.offset === 0, 'offset of a PAD');
    expect(file, at + header_bytes, all_zero(whole.subarray(header_bytes)), 'a PAD that is not zeros');
    return record;
  }
  if (class_bytes[record.class] === undefined) return `class ${record.class}`;
  if (length !== class_bytes[record.class]) return `class ${record.class} of ${length} bytes`;
  if (record.class === classes.HOLE) {
    record.end = number_at(file, whole, 48);
    expect(file, at + 48, record.end > record.offset, 'an empty HOLE');
    return record.offset < next ? `a HOLE at ${record.offset}, below ${next}` : record;
  }
  const own_place_at = record.class === classes.SEGMENT ? 56 : 48;
  if (number_at(file, whole, own_place_at) !== place) return 'its own place is another';
  if (record.offset < next) return `offset ${record.offset}, below ${next}`;
  if (record.class === classes.BATCH) {
    record.durable_place = number_at(file, whole, 56);
    record.durable_offset = number_at(file, whole, 64);
  } else {
    record.taken_max_us = whole.readBigInt64LE(record.class === classes.SEGMENT ? 64 : 56);
  }
  if (record.class === classes.SEGMENT) segment_fields(file, at, whole, record);
  return record;
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function event_of(file, at, whole, record, sizes, next) {
  if (record.offset < next) return `offset ${record.offset}, below ${next}`;
  let from = header_bytes;
  const take = (count) => whole.subarray(from, (from += count));
  const block = record.flags & flags.idempotency ? 40 : 0;
  const used = header_bytes + block + sizes.channel + sizes.type + sizes.headers + sizes.payload;
  if (Math.ceil(used / 8) * 8 !== record.length) return `${record.length} bytes for ${used}`;
  expect(file, at + 32, (record.flags & ~flags_known) === 0, `flags ${record.flags}`);
  record.flags &= ~flags.idempotency;
  if (block) {
    const bytes = take(block);
    record.idempotency = {
      key: bytes.toString('hex', 0, 16),
      body: bytes.toString('hex', 16, 32),
      index: bytes.readUInt32LE(32),
      count: bytes.readUInt32LE(36),
    };
  }
  record.channel = utf8.decode(take(sizes.channel));
  record.type = utf8.decode(take(sizes.type));
  record.headers = utf8.decode(take(sizes.headers));
  record.payload = utf8.decode(take(sizes.payload));
  expect(file, at + from, all_zero(whole.subarray(from)), 'no zeros behind an event');
  expect(file, at, !whole.subarray(header_bytes + block, from).includes(0), 'a zero byte in the texts of an event');
  expect(file, at, sizes.channel > 0 && sizes.type > 0, 'an event without channel or type');
  return record;
}

/** The record at byte `at` of bytes that are no segment: text where none stands. */
export function read_record(file, bytes, at) {
  return record_at(file, bytes, at, 0, 0);
}

function segment_fields(file, at, whole, record) {
  expect(file, at + 48, whole.toString('latin1', 48, 56) === 'ttlogseg', 'no magic of a SEGMENT');
  record.format = whole.readUInt32LE(72);
  record.partition = whole.readUInt32LE(76);
  record.history = whole.toString('latin1', 80, 86);
  record.key = { k0: whole.readBigUInt64LE(88), k1: whole.readBigUInt64LE(96) };
  record.segment_bytes = number_at(file, whole, 104);
  record.chunk_bytes = whole.readUInt32LE(112);
  record.partitions = whole.readUInt32LE(116);
  expect(file, at + 120, all_zero(whole.subarray(120, 128)), 'reserved bytes of a SEGMENT');
}

// ---- one segment ---------------------------------------------------------------------------------------------------

/**
 * Reads a segment from byte 0: `state` has { next, taken_max_us, place } of what was before and goes on
 * with it. `limit` is the place where the next segment begins, undefined for the newest.
 */
function read_segment(segment, state, meta, limit, on_record) {
  const { file, bytes, base } = segment;
  const end = limit === undefined ? bytes.length : limit - base;
  expect(file, 0, bytes.length >= end, `the file has ${bytes.length} bytes, the next segment begins at ${end}`);
  let at = 0;
  let headers_due = ['SEGMENT', 'BATCH'];
  let event_in_chunk = false;
  while (at < end) {
    if (limit === undefined && at + 8 <= bytes.length && all_zero(bytes.subarray(at, at + 8))) break;
    const record = record_at(file, bytes, at, base, state.next);
    if (typeof record === 'string') {
      segment.invalid = record;
      break;
    }
    const in_chunk = at % chunk_bytes;
    const room = chunk_bytes - in_chunk;
    /* Where a class may stand. */
    if (headers_due.length > 0) {
      const due = headers_due.shift();
      expect(file, at, record.class === classes[due], `class ${record.class} where ${due} stands`);
    } else if (record.class === classes.SEGMENT || record.class === classes.CHUNK) {
      throw new LogError(file, at, `class ${record.class} within a chunk`);
    }
    if (record.class === classes.PAD) {
      expect(file, at, record.length === room, `a PAD of ${record.length} bytes with ${room} left in the chunk`);
    } else if (record.length > room) {
      expect(file, at, record.class === classes.EVENT, `class ${record.class} over a chunk's end`);
      expect(file, at, in_chunk > 0 && !event_in_chunk, 'a record crosses a chunk although another stands before it there');
      segment.large = (segment.large ?? 0) + 1;
    }
    state_of(file, at, record, state, meta);
    record.segment = segment;
    on_record(record);
    at += record.length;
    if (record.length >= room) event_in_chunk = record.length > room;
    else if (record.class === classes.EVENT || record.class === classes.HOLE) event_in_chunk = true;
    if (at % chunk_bytes === 0) headers_due = ['CHUNK'];
  }
  segment.end = base + at;
  if (limit !== undefined && segment.invalid === undefined) expect(file, at, at === end, `records end at ${at}, not ${end}`);
}

/** What a record says about those before it, and what it changes. */
function state_of(file, at, record, state, meta) {
  switch (record.class) {
    case classes.EVENT:
      state.next = record.offset + 1;
      if (BigInt(record.taken_us) > state.taken_max_us) state.taken_max_us = BigInt(record.taken_us);
      break;
    case classes.HOLE:
      state.next = record.end;
      break;
    case classes.BATCH:
      expect(file, at + 8, record.offset === state.next, `a BATCH says ${record.offset}, the records ${state.next}`);
      expect(file, at + 56, record.durable_place <= record.place, 'durable beyond what was written');
      expect(file, at + 64, record.durable_offset <= record.offset, 'an offset durable before it was given');
      expect(file, at + 56, record.durable_place >= (state.durable_place ?? 0), 'the durable place falls');
      state.durable_place = record.durable_place;
      break;
    case classes.SEGMENT:
      expect(file, at + 72, record.format === meta.format, `format ${record.format}`);
      expect(file, at + 76, record.partition === state.partition, `partition ${record.partition}`);
      expect(file, at + 80, record.history === meta.history, `history ${record.history}`);
      expect(file, at + 88, record.key.k0 === meta.key.k0 && record.key.k1 === meta.key.k1, 'another hash key');
      expect(file, at + 112, record.chunk_bytes === chunk_bytes, `chunks of ${record.chunk_bytes} bytes`);
      expect(file, at + 116, record.partitions === meta.partitions, `${record.partitions} partitions`);
      expect(file, at + 8, record.offset === state.next, `SEGMENT says ${record.offset}, the records before ${state.next}`);
      state.taken_max_us ??= record.taken_max_us;
      expect(file, at + 64, record.taken_max_us === state.taken_max_us, `taken_max_us ${record.taken_max_us}, by the events ${state.taken_max_us}`);
      break;
    case classes.CHUNK:
      expect(file, at + 8, record.offset === state.next, `a CHUNK says ${record.offset}, the records ${state.next}`);
      expect(file, at + 56, record.taken_max_us === state.taken_max_us, `taken_max_us ${record.taken_max_us}, by the events ${state.taken_max_us}`);
      break;
  }
}

// ---- a partition, the log ----------------------------------------------------------------------------------------------

const segment_name = /^(\d{20})\.seg$/;

/** The segment files of a partition's directory, oldest first, each with the base that its SEGMENT says. */
function open_segments(dir) {
  const segments = [];
  for (const name of fs.readdirSync(dir).sort()) {
    const m = segment_name.exec(name);
    if (!m) continue;
    const file = path.join(dir, name);
    let bytes;
    try {
      bytes = fs.readFileSync(file);
    } catch (error) {
      if (error.code !== 'ENOENT') throw error; /* retention was quicker */
      continue;
    }
    const first = Number(m[1]);
    const valid = bytes.length >= 128 && bytes.readUInt32LE(0) === 128 && bytes[34] === classes.SEGMENT;
    const base = valid ? number_at(file, bytes, 56) : undefined;
    segments.push({ file, first, base, bytes });
  }
  return segments;
}

function read_partition(dir, number, meta, live) {
  const segments = open_segments(dir);
  const partition = { number, dir, segments, events: [], holes: [], counts: {}, ceiling: undefined };
  const state = { partition: number, next: undefined, taken_max_us: undefined };
  let unfinished;
  let broken;
  if (segments.length > 0 && segments.at(-1).base === undefined) unfinished = segments.pop();
  for (const [i, segment] of segments.entries()) {
    expect(segment.file, 0, segment.base !== undefined, 'no SEGMENT at the beginning');
    expect(segment.file, 0, segment.base % chunk_bytes === 0, `begins at place ${segment.base}`);
    const limit = segments[i + 1]?.base;
    state.next ??= segment.first;
    read_segment(segment, state, meta, limit, (record) => {
      if (record.class === classes.SEGMENT) expect(segment.file, 8, record.offset === segment.first, `offset ${record.offset} is not the name's`);
      partition.counts[record.class] = (partition.counts[record.class] ?? 0) + 1;
      partition.last = record;
      if (record.class === classes.EVENT) partition.events.push(record);
      if (record.class === classes.HOLE) partition.holes.push({ offset: record.offset, end: record.end, place: record.place, segment });
    });
    if (segment.invalid === undefined) continue;
    expect(segment.file, segment.end - segment.base, !live || limit === undefined, segment.invalid);
    broken = i;
    break;
  }
  partition.next = state.next ?? 0;
  partition.ceiling = read_ceiling(dir)?.offset;
  const last = segments[broken ?? segments.length - 1];
  partition.tail = { place: last?.end ?? 0, state: 'end', why: last?.invalid };
  const behind = segments.slice(segments.indexOf(last));
  if (unfinished) behind.push(unfinished);
  if ((unfinished || broken !== undefined) && !live) {
    partition.tail.state = torn_or_damaged(partition.tail.place, behind, state.durable_place ?? 0);
  }
  return partition;
}

/** "Recovery": does any BATCH, before or behind place `x`, tell of a durable place above it? */
function torn_or_damaged(x, behind, durable_before) {
  let durable = durable_before;
  for (const segment of behind) {
    const base = segment.base ?? x;
    const { bytes } = segment;
    for (let at = Math.max(0, x - base); at + 72 <= bytes.length; at += 8) {
      if (bytes[at] !== 72 || bytes[at + 34] !== classes.BATCH || bytes.readUInt32LE(at) !== 72) continue;
      const record = record_at(segment.file, bytes, at, base, 0);
      if (typeof record !== 'string') durable = Math.max(durable, record.durable_place);
    }
  }
  return durable > x ? 'damaged' : 'torn';
}

export function read_log(dir, { live = false } = {}) {
  const meta = read_meta(dir);
  const partitions = [];
  for (let p = 0; p < meta.partitions; p++) partitions.push(read_partition(path.join(dir, String(p)), p, meta, live));
  return { meta, partitions };
}

/** The id that subscribers see. */
export function event_id(log, partition, event) {
  return `${log.meta.history}-${partition.number}-${event.offset}`;
}

// ---- searches ("Reading") ---------------------------------------------------------------------------------------------------

/** The last chunk of a segment for which `before(header)` holds, by halves: a byte of its file. */
function last_chunk(segment, before) {
  const header = (chunk) => {
    /* A chunk without a header belongs to the one before. */
    for (let at = chunk * chunk_bytes; at > 0; at -= chunk_bytes) {
      const record = record_at(segment.file, segment.bytes, at, segment.base, 0);
      if (typeof record !== 'string' && record.class === classes.CHUNK) return { ...record, at };
    }
    return { ...record_at(segment.file, segment.bytes, 0, segment.base, 0), at: 0 };
  };
  let low = 0;
  let high = Math.ceil((segment.end - segment.base) / chunk_bytes) - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (before(header(middle))) low = middle;
    else high = middle - 1;
  }
  return header(low).at;
}

/** Reads on from byte `at` of segment `index` until `wanted(record)`. */
function read_on(partition, index, at, wanted) {
  for (let i = index; i < partition.segments.length; i++) {
    const segment = partition.segments[i];
    for (let byte = i === index ? at : 0; byte < segment.end - segment.base; ) {
      const record = record_at(segment.file, segment.bytes, byte, segment.base, 0);
      if (wanted(record)) return record;
      byte += record.length;
    }
  }
  return undefined;
}

/** The first event whose offset is at or behind `offset`; 'expired' when it may have been removed. */
export function find_offset(partition, offset) {
  const index = partition.segments.findLastIndex((segment) => segment.first <= offset);
  if (index < 0) return 'expired';
  const at = last_chunk(partition.segments[index], (header) => header.offset <= offset);
  return read_on(partition, index, at, (record) => record.class === classes.EVENT && record.offset >= offset);
}

/** The first event that was taken at or after `taken_us`. */
export function find_time(partition, taken_us) {
  const wanted = BigInt(taken_us);
  const header = (segment) => record_at(segment.file, segment.bytes, 0, segment.base, 0);
  const index = Math.max(0, partition.segments.findLastIndex((segment) => header(segment).taken_max_us < wanted));
  if (partition.segments.length === 0) return undefined;
  const at = last_chunk(partition.segments[index], (h) => h.taken_max_us < wanted);
  return read_on(partition, index, at, (record) => record.class === classes.EVENT && record.taken_us >= taken_us);
}
