#include "store/record.h"

#include "proto/base/assert.h"
#include "proto/base/crc32c.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the log is little endian");

/* The header, as README.md draws it. */
struct header {
    uint32_t length;
    uint32_t crc32c;
    uint64_t offset;
    int64_t timestamp_ms;
    int64_t taken_us;
    uint16_t flags;
    uint8_t class;
    uint8_t type_bytes;
    uint8_t channel_bytes;
    uint8_t reserved;
    uint16_t headers_bytes;
    uint32_t payload_bytes;
    uint32_t reserved2;
};
_Static_assert(sizeof(struct header) == TT_RECORD_HEADER_BYTES, "no holes");
_Static_assert(sizeof(struct tt_record_idempotency) == TT_RECORD_IDEMPOTENCY_BYTES, "no holes");

/* The body of a SEGMENT record. */
struct segment_body {
    uint8_t magic[8];
    uint64_t place;
    int64_t taken_max_us;
    uint32_t format;
    uint32_t partition;
    struct tt_history history;
    uint64_t k0;
    uint64_t k1;
    uint64_t bytes;
    uint32_t chunk_bytes;
    uint32_t partitions;
    uint64_t reserved;
};
_Static_assert(sizeof(struct segment_body) == TT_RECORD_SEGMENT_BYTES - TT_RECORD_HEADER_BYTES,
               "no holes");
static const uint8_t magic[8] = {'t', 't', 'l', 'o', 'g', 's', 'e', 'g'};

#define CRC_FROM 8u
/* No record of ours is longer: the largest event with everything that it can have. */
#define LENGTH_MAX TT_RECORD_BYTES_MAX(TT_EVENT_BYTES_CEILING + TT_RECORD_TEXT_BYTES_MAX)

static uint32_t padded(size_t bytes)
{
    return (uint32_t)((bytes + TT_RECORD_ALIGN - 1) & ~(size_t)(TT_RECORD_ALIGN - 1));
}

static void seal(uint8_t *out, uint32_t length)
{
    uint32_t crc = tt_crc32c(0, out + CRC_FROM, length - CRC_FROM);
    memcpy(out + 4, &crc, sizeof crc);
}

size_t tt_record_event_bytes(const struct tt_event *e,
                             const struct tt_record_idempotency *idempotency)
{
    return padded(TT_RECORD_HEADER_BYTES + (idempotency != NULL ? TT_RECORD_IDEMPOTENCY_BYTES : 0) +
                  e->channel.size + e->type.size + e->headers.size + e->payload.size);
}

static uint8_t *put(uint8_t *at, struct tt_bytes bytes)
{
    if (bytes.size != 0) memcpy(at, bytes.data, bytes.size);
    return at + bytes.size;
}

uint32_t tt_record_encode_event(uint8_t *out, const struct tt_event *e, uint64_t offset,
                                const struct tt_record_idempotency *idempotency)
{
    TT_ASSERT(e->channel.size <= UINT8_MAX && e->type.size <= UINT8_MAX);
    TT_ASSERT(e->headers.size <= UINT16_MAX && e->payload.size <= UINT32_MAX / 2);
    uint32_t length = (uint32_t)tt_record_event_bytes(e, idempotency);
    struct header h = {.length = length,
                       .offset = offset,
                       .timestamp_ms = e->timestamp_ms,
                       .taken_us = e->taken_us,
                       .flags = (uint16_t)((e->flags & TT_RECORD_FLAG_EVENT_MASK) |
                                           (idempotency != NULL ? TT_RECORD_FLAG_IDEMPOTENCY : 0u)),
                       .class = TT_RECORD_EVENT,
                       .type_bytes = (uint8_t)e->type.size,
                       .channel_bytes = (uint8_t)e->channel.size,
                       .headers_bytes = (uint16_t)e->headers.size,
                       .payload_bytes = (uint32_t)e->payload.size};
    memcpy(out, &h, sizeof h);
    uint8_t *at = out + sizeof h;
    if (idempotency != NULL) at = put(at, tt_bytes(idempotency, sizeof *idempotency));
    at = put(at, e->channel);
    at = put(at, e->type);
    at = put(at, e->headers);
    at = put(at, e->payload);
    memset(at, 0, (size_t)(out + length - at));
    seal(out, length);
    return length;
}

uint32_t tt_record_event_crc(const struct tt_event *e)
{
    const struct tt_bytes parts[] = {e->channel, e->type, e->headers, e->payload};
    uint32_t crc = 0;
    for (unsigned i = 0; i < sizeof parts / sizeof *parts; i++) {
        uint64_t size = parts[i].size; /* where one ends and the next begins counts too */
        crc = tt_crc32c(crc, &size, sizeof size);
        if (size != 0) crc = tt_crc32c(crc, parts[i].data, parts[i].size);
    }
    return crc;
}

uint32_t tt_record_encode_pad(uint8_t *out, uint32_t bytes)
{
    TT_ASSERT(bytes >= TT_RECORD_PAD_BYTES_MIN && bytes % TT_RECORD_ALIGN == 0);
    memset(out, 0, bytes);
    if (bytes < TT_RECORD_HEADER_BYTES) {
        memcpy(out, &bytes, sizeof bytes); /* too short for a header: its length says what it is */
        seal(out, bytes);
        return bytes;
    }
    struct header h = {.length = bytes, .class = TT_RECORD_PAD};
    memcpy(out, &h, sizeof h);
    seal(out, bytes);
    return bytes;
}

/* The classes of fixed length: a header and a body. */
static uint32_t encode_fixed(uint8_t *out, enum tt_record_class class, uint64_t offset,
                             int64_t taken_us, const void *body, size_t body_bytes)
{
    uint32_t length = TT_RECORD_HEADER_BYTES + (uint32_t)body_bytes;
    struct header h = {.length = length,
                       .offset = offset,
                       .timestamp_ms = taken_us / 1000,
                       .taken_us = taken_us,
                       .class = (uint8_t) class};
    memcpy(out, &h, sizeof h);
    memcpy(out + sizeof h, body, body_bytes);
    seal(out, length);
    return length;
}

uint32_t tt_record_encode_batch(uint8_t *out, uint64_t next_offset, int64_t taken_us,
                                uint64_t place, uint64_t durable_place, uint64_t durable_offset)
{
    uint64_t values[3] = {place, durable_place, durable_offset};
    return encode_fixed(out, TT_RECORD_BATCH, next_offset, taken_us, values, sizeof values);
}

uint32_t tt_record_encode_chunk(uint8_t *out, uint64_t next_offset, int64_t taken_us,
                                uint64_t place, int64_t taken_max_us)
{
    uint64_t values[2] = {place, (uint64_t)taken_max_us};
    return encode_fixed(out, TT_RECORD_CHUNK, next_offset, taken_us, values, sizeof values);
}

uint32_t tt_record_encode_hole(uint8_t *out, uint64_t first, uint64_t end, int64_t taken_us)
{
    TT_ASSERT(end > first);
    return encode_fixed(out, TT_RECORD_HOLE, first, taken_us, &end, sizeof end);
}

uint32_t tt_record_encode_segment(uint8_t *out, uint64_t next_offset, int64_t taken_us,
                                  uint64_t place, int64_t taken_max_us,
                                  const struct tt_record_segment *segment)
{
    struct segment_body body = {.place = place,
                                .taken_max_us = taken_max_us,
                                .format = segment->format,
                                .partition = segment->partition,
                                .history = segment->history,
                                .k0 = segment->hash_key.k0,
                                .k1 = segment->hash_key.k1,
                                .bytes = segment->bytes,
                                .chunk_bytes = TT_CHUNK_BYTES,
                                .partitions = segment->partitions};
    memcpy(body.magic, magic, sizeof magic);
    return encode_fixed(out, TT_RECORD_SEGMENT, next_offset, taken_us, &body, sizeof body);
}

/* The length of a class that has always the same; 0: others. */
static uint32_t fixed_bytes(enum tt_record_class class)
{
    switch (class) {
    case TT_RECORD_BATCH: return TT_RECORD_BATCH_BYTES;
    case TT_RECORD_CHUNK: return TT_RECORD_CHUNK_BYTES;
    case TT_RECORD_HOLE: return TT_RECORD_HOLE_BYTES;
    case TT_RECORD_SEGMENT: return TT_RECORD_SEGMENT_BYTES;
    case TT_RECORD_NONE:
    case TT_RECORD_EVENT:
    case TT_RECORD_PAD:
    case TT_RECORD_CLASSES: break;
    }
    return 0;
}

static enum tt_status decode_segment(const uint8_t *at, struct tt_record *record)
{
    struct segment_body body;
    memcpy(&body, at, sizeof body);
    if (memcmp(body.magic, magic, sizeof magic) != 0) return TT_ECORRUPT;
    record->place = body.place;
    record->taken_max_us = body.taken_max_us;
    record->segment.format = body.format;
    if (body.format > TT_RECORD_FORMAT) return TT_EVERSION;
    struct tt_history history;
    if (tt_history_parse(tt_bytes(body.history.text, TT_HISTORY_BYTES), &history) != TT_OK ||
        body.chunk_bytes != TT_CHUNK_BYTES)
        return TT_ECORRUPT;
    record->segment.partition = body.partition;
    record->segment.partitions = body.partitions;
    record->segment.history = history;
    record->segment.hash_key = (struct tt_hash_key){body.k0, body.k1};
    record->segment.bytes = body.bytes;
    return TT_OK;
}

static enum tt_status decode_event(const uint8_t *at, const struct header *h,
                                   struct tt_record *record)
{
    size_t needed = TT_RECORD_HEADER_BYTES + (size_t)h->channel_bytes + h->type_bytes +
                    h->headers_bytes + h->payload_bytes;
    record->has_idempotency = (h->flags & TT_RECORD_FLAG_IDEMPOTENCY) != 0;
    if (record->has_idempotency) needed += TT_RECORD_IDEMPOTENCY_BYTES;
    if (needed > h->length || padded(needed) != h->length) return TT_ECORRUPT;
    at += TT_RECORD_HEADER_BYTES;
    if (record->has_idempotency) {
        memcpy(&record->idempotency, at, sizeof record->idempotency);
        at += TT_RECORD_IDEMPOTENCY_BYTES;
    }
    struct tt_event *e = &record->event;
    e->channel = tt_bytes(at, h->channel_bytes);
    at += h->channel_bytes;
    e->type = tt_bytes(at, h->type_bytes);
    at += h->type_bytes;
    e->headers = tt_bytes(at, h->headers_bytes);
    at += h->headers_bytes;
    e->payload = tt_bytes(at, h->payload_bytes);
    e->timestamp_ms = h->timestamp_ms;
    e->flags = h->flags & TT_RECORD_FLAG_EVENT_MASK;
    return TT_OK;
}

static enum tt_status decode_body(const uint8_t *at, const struct header *h,
                                  struct tt_record *record)
{
    uint64_t values[3];
    switch (record->class) {
    case TT_RECORD_EVENT: return decode_event(at, h, record);
    case TT_RECORD_SEGMENT: return decode_segment(at + sizeof *h, record);
    case TT_RECORD_BATCH:
        memcpy(values, at + sizeof *h, 24);
        record->place = values[0];
        record->durable_place = values[1];
        record->durable_offset = values[2];
        return TT_OK;
    case TT_RECORD_HOLE:
        memcpy(values, at + sizeof *h, 8);
        record->hole_end = values[0];
        return values[0] > h->offset ? TT_OK : TT_ECORRUPT;
    case TT_RECORD_CHUNK:
        memcpy(values, at + sizeof *h, 16);
        record->place = values[0];
        record->taken_max_us = (int64_t)values[1];
        return TT_OK;
    case TT_RECORD_PAD: return TT_OK;
    case TT_RECORD_NONE:
    case TT_RECORD_CLASSES: break;
    }
    return TT_ECORRUPT;
}

static enum tt_status decode(struct tt_bytes bytes, struct tt_record *record, bool check)
{
    record->length = 0;
    if (bytes.size < TT_RECORD_ALIGN) return TT_MORE;
    uint32_t length, crc;
    memcpy(&length, bytes.data, sizeof length);
    memcpy(&crc, bytes.data + 4, sizeof crc);
    record->length = length;
    if (length == 0) return crc == 0 ? TT_END : TT_ECORRUPT;
    if (length % TT_RECORD_ALIGN != 0 || length > LENGTH_MAX) return TT_ECORRUPT;
    if (bytes.size < length) return TT_MORE;
    if (check && crc != tt_crc32c(0, bytes.data + CRC_FROM, length - CRC_FROM)) return TT_ECORRUPT;
    if (length < TT_RECORD_HEADER_BYTES) {
        record->class = TT_RECORD_PAD;
        record->offset = 0;
        return TT_OK;
    }
    struct header h;
    memcpy(&h, bytes.data, sizeof h);
    if (h.class == TT_RECORD_NONE || h.class >= TT_RECORD_CLASSES) return TT_ECORRUPT;
    record->class = (enum tt_record_class)h.class;
    record->offset = h.offset;
    record->event.taken_us = h.taken_us;
    record->has_idempotency = false;
    if (fixed_bytes(record->class) != 0 && length != fixed_bytes(record->class)) return TT_ECORRUPT;
    return decode_body(bytes.data, &h, record);
}

enum tt_status tt_record_decode(struct tt_bytes bytes, struct tt_record *record)
{
    return decode(bytes, record, false);
}

enum tt_status tt_record_read(struct tt_bytes bytes, struct tt_record *record)
{
    return decode(bytes, record, true);
}
