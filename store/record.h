/* Records: what a log consists of, in memory and on disk alike. Byte-exact format: README.md.
 *
 * A record is self-framing (its length comes first), carries a CRC32C over everything behind the
 * checksum, starts at a multiple of 8 bytes, and lies within one chunk unless it is larger than
 * one. Encoding and decoding copy nothing but into the tail. Thread: any. Memory: the caller's. */
#ifndef TT_STORE_RECORD_H
#define TT_STORE_RECORD_H

#include "proto/base/hash.h"
#include "proto/base/limits.h"
#include "proto/event/event.h"

#define TT_RECORD_HEADER_BYTES      48u
#define TT_RECORD_IDEMPOTENCY_BYTES 40u
#define TT_RECORD_ALIGN             8u
/* The largest record of an event of that many bytes of payload, channel, type and headers: what
 * tails are sized by, with TT_RECORD_TEXT_BYTES_MAX added to the largest payload. */
#define TT_RECORD_BYTES_MAX(event_bytes)                                                           \
    ((size_t)(event_bytes) + TT_RECORD_HEADER_BYTES + TT_RECORD_IDEMPOTENCY_BYTES + TT_RECORD_ALIGN)

#define TT_RECORD_TEXT_BYTES_MAX (TT_CHANNEL_BYTES_MAX + TT_TYPE_BYTES_MAX + TT_HEADERS_BYTES_MAX)

enum tt_record_class {
    TT_RECORD_NONE = 0, /* zeros: nothing was written here */
    TT_RECORD_EVENT,
    TT_RECORD_PAD,     /* to the chunk's end */
    TT_RECORD_BATCH,   /* first of a write: what was durable when it was begun */
    TT_RECORD_HOLE,    /* offsets that were lost in a crash and are never used */
    TT_RECORD_CHUNK,   /* first of a chunk: finds an offset or a time by binary search */
    TT_RECORD_SEGMENT, /* first of a segment, and of its first chunk: what the file is */
    TT_RECORD_CLASSES,
};

enum tt_record_flags {
    TT_RECORD_FLAG_EVENT_MASK = 0xFF,   /* enum tt_event_flags */
    TT_RECORD_FLAG_IDEMPOTENCY = 0x100, /* the idempotency block stands behind the header */
};

/* What a retry is recognised by. */
struct tt_record_idempotency {
    uint8_t key_hash[16];
    uint8_t body_hash[16];
    uint32_t index; /* of the event in its batch */
    uint32_t count; /* events of the batch */
};

/* What a segment says of itself. */
struct tt_record_segment {
    uint32_t format; /* TT_RECORD_FORMAT */
    uint32_t partition;
    uint32_t partitions; /* of the log */
    struct tt_history history;
    struct tt_hash_key hash_key; /* of channel hashes in descriptors and indexes */
    uint64_t bytes;              /* that a segment was configured to have when this one was begun */
};
#define TT_RECORD_FORMAT 1u /* a reader refuses higher ones */

struct tt_record {
    enum tt_record_class class;
    uint32_t length; /* whole, with padding: the next record begins there */
    uint64_t offset; /* EVENT: its own; HOLE: the first lost; CHUNK, BATCH, SEGMENT: the next's */
    struct tt_event event; /* EVENT: points into the record; taken_us: of every class but PAD */
    bool has_idempotency;
    struct tt_record_idempotency idempotency;
    uint64_t hole_end;       /* HOLE: the offset behind the lost range */
    uint64_t durable_place;  /* BATCH */
    uint64_t durable_offset; /* BATCH */
    uint64_t place;          /* BATCH, CHUNK, SEGMENT: where it stands: no stray copy passes */
    int64_t taken_max_us; /* CHUNK, SEGMENT: newest taken_us of all records before; never falls */
    struct tt_record_segment segment; /* SEGMENT */
};

/* Bytes of an event's record, padded. idempotency: may be null. */
size_t tt_record_event_bytes(const struct tt_event *event,
                             const struct tt_record_idempotency *idempotency);
/* Writes it whole, checksum included; out is 8-byte aligned and has room. Returns its length. */
uint32_t tt_record_encode_event(uint8_t *out, const struct tt_event *event, uint64_t offset,
                                const struct tt_record_idempotency *idempotency);
/* Of what an event says: channel, type, headers and payload, not when or where. Two that were made
 * of the same record of Kafka have the same. */
uint32_t tt_record_event_crc(const struct tt_event *event);
#define TT_RECORD_PAD_BYTES_MIN 8u /* shorter than a header: its length, its checksum, zeros */
uint32_t tt_record_encode_pad(uint8_t *out, uint32_t bytes);
#define TT_RECORD_BATCH_BYTES 72u
uint32_t tt_record_encode_batch(uint8_t *out, uint64_t next_offset, int64_t taken_us,
                                uint64_t place, uint64_t durable_place, uint64_t durable_offset);
#define TT_RECORD_CHUNK_BYTES 64u
uint32_t tt_record_encode_chunk(uint8_t *out, uint64_t next_offset, int64_t taken_us,
                                uint64_t place, int64_t taken_max_us);
#define TT_RECORD_HOLE_BYTES 56u
uint32_t tt_record_encode_hole(uint8_t *out, uint64_t first, uint64_t end, int64_t taken_us);
#define TT_RECORD_SEGMENT_BYTES 128u
uint32_t tt_record_encode_segment(uint8_t *out, uint64_t next_offset, int64_t taken_us,
                                  uint64_t place, int64_t taken_max_us,
                                  const struct tt_record_segment *segment);

/* Reads the record at the start of bytes, without looking at its checksum: for memory that this
 * process wrote. TT_OK; TT_MORE: the record is longer than bytes (length is set if 4 bytes are
 * there); TT_END: nothing was written here; TT_ECORRUPT: no record of ours; TT_EVERSION: a SEGMENT
 * of a newer format. */
TT_MUST_USE enum tt_status tt_record_decode(struct tt_bytes bytes, struct tt_record *record);
/* The same for bytes from a disk: the checksum counts. */
TT_MUST_USE enum tt_status tt_record_read(struct tt_bytes bytes, struct tt_record *record);

#endif
