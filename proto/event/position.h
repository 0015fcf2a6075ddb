/* Where an event stands: history, partition, offset; and its text, the event's id.
 *
 * A history names one life of a topic or of an embedded log, 6 characters of base 62. An id is
 * `<history>-<partition>-<offset>`, as in k7Qp2a-0-1042: decimal, no signs, no leading zeros, so
 * that one position has exactly one id. Thread: any. Memory: none. */
#ifndef TT_PROTO_EVENT_POSITION_H
#define TT_PROTO_EVENT_POSITION_H

#include "proto/base/bytes.h"
#include "proto/base/limits.h"

/* The highest offset of an event; the *next* offset behind it is the highest next. Both fit the
 * signed 64 bits of Kafka. */
#define TT_OFFSET_MAX ((uint64_t)INT64_MAX - 1)
#define TT_NEXT_MAX   ((uint64_t)INT64_MAX)

/* 6 characters and two zeros, so that it can be compared, copied and printed as a whole. */
struct tt_history {
    char text[8];
};
struct tt_position {
    struct tt_history history;
    uint32_t partition;
    uint64_t offset;
};

#define TT_POSITION_TEXT_MAX (TT_HISTORY_BYTES + 1 + 4 + 1 + 19) /* bytes, without a final zero */

/* A history from 64 random (or hashed) bits. */
struct tt_history tt_history_from_bits(uint64_t bits);
/* Exactly 6 of A-Z a-z 0-9. TT_OK, TT_EINVAL. */
TT_MUST_USE enum tt_status tt_history_parse(struct tt_bytes text, struct tt_history *history);
bool tt_history_equal(struct tt_history a, struct tt_history b);
static inline struct tt_bytes tt_history_bytes(const struct tt_history *history)
{
    return tt_bytes(history->text, TT_HISTORY_BYTES);
}

void tt_position_write(struct tt_writer *w, const struct tt_position *position);
/* The number of bytes that tt_position_write() writes. */
size_t tt_position_text_bytes(const struct tt_position *position);
/* The whole run must be an id: partition < TT_PARTITIONS_MAX, offset <= TT_OFFSET_MAX. TT_OK,
 * TT_EINVAL (*position is untouched). */
TT_MUST_USE enum tt_status tt_position_parse(struct tt_bytes text, struct tt_position *position);

#endif
