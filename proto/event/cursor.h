/* How far a client has come, as one line of printable ASCII.
 *
 * Three forms are read:
 *   narrow  `<id>` or `<id>/N`: the client has everything of that partition up to and including the
 *           event; N is the history's number of partitions, left out only where it is 1 for ever;
 *   full    `~` and unpadded base64url (RFC 4648 section 5) of
 *               version    1 byte, 1
 *               and for each topic:
 *               history    6 bytes, as text
 *               N          varint (LEB128, shortest form), 0 to TT_PARTITIONS_MAX
 *               minimum    varint, the smallest next offset (0 if N is 0)
 *               width      1 byte, 0 to 8: bytes of a difference, the fewest that hold the largest
 *               difference width bytes big endian, N times: next offset minus minimum
 *   list    `<narrow or full>,<id>,<id>...`: with ids of events received since; each raises its
 *           partition. `<id>/N` is taken for `<id>` here.
 *
 * Everything inside is a *next* offset: the first that the client does not have; an empty partition
 * is 0. One state has exactly one full text: what is not canonical is unreadable. A cursor is
 * opaque to clients and comes from peers: whatever is unreadable is TT_EINVAL, which the caller
 * answers by `resync`, never by 400.
 * Thread: any. Memory: the caller's. */
#ifndef TT_PROTO_EVENT_CURSOR_H
#define TT_PROTO_EVENT_CURSOR_H

#include "proto/base/bytes.h"
#include "proto/base/limits.h"
#include "proto/event/position.h"

#define TT_CURSOR_TOPICS_MAX     64u   /* topics in one cursor; beyond it: unreadable */
#define TT_CURSOR_NEXT_MAX       4096u /* partitions of all its topics together; beyond: unreadable */
#define TT_CURSOR_LIST_BYTES_MAX (2 * TT_CURSOR_BYTES_MAX)      /* a list with its ids */
#define TT_CURSOR_NARROW_MAX     (TT_POSITION_TEXT_MAX + 1 + 4) /* bytes of a narrow cursor */

/* Values of next[] beside offsets. */
#define TT_CURSOR_UNKNOWN   UINT64_MAX       /* the cursor says nothing about this partition */
#define TT_CURSOR_BEGINNING (UINT64_MAX - 1) /* newer than the cursor: from its beginning */

struct tt_cursor_topic {
    struct tt_history history;
    uint32_t partitions; /* N as the cursor gives it; 0 in a bare id: not given */
    uint32_t first;      /* index of its partition 0 in next[] */
    uint32_t count; /* entries in next[]: N, or more where a list's id named a newer partition */
    bool bare;      /* from bare ids only: N was not given */
};

/* A cursor that was read, or is to be written. The two arrays are the caller's. Topics stand in
 * next[] one behind the other, in order. */
struct tt_cursor {
    struct tt_cursor_topic *topics;
    uint32_t topics_count;
    uint32_t topics_max;
    uint64_t *next;
    uint32_t next_count;
    uint32_t next_max;
    bool full; /* the first element was in the full form */
};

/* Memory for the largest cursor (33 KiB: one for each shard, not on the stack of each call). */
struct tt_cursor_storage {
    struct tt_cursor_topic topics[TT_CURSOR_TOPICS_MAX];
    uint64_t next[TT_CURSOR_NEXT_MAX];
};
/* An empty cursor over that memory. */
void tt_cursor_init(struct tt_cursor *cursor, struct tt_cursor_storage *storage);

/* Reads any form into *cursor (whose arrays and their sizes are set; what it held is dropped).
 * TT_OK; TT_EINVAL: unreadable, too long, or more than the arrays hold; *cursor is empty then. */
TT_MUST_USE enum tt_status tt_cursor_parse(struct tt_bytes text, struct tt_cursor *cursor);

/* The topic of that history, or null. */
const struct tt_cursor_topic *tt_cursor_find(const struct tt_cursor *cursor,
                                             struct tt_history history);
/* The next offset of a partition of a topic of this cursor, or TT_CURSOR_UNKNOWN, or
 * TT_CURSOR_BEGINNING for a partition >= N where N is given. */
uint64_t tt_cursor_next(const struct tt_cursor *cursor, const struct tt_cursor_topic *topic,
                        uint32_t partition);

/* Appends a topic with N partitions, all TT_CURSOR_UNKNOWN, and gives its entries to be filled, or
 * null when the arrays are full (or N > TT_PARTITIONS_MAX). The history must be new to the cursor
 * (asserted). */
TT_MUST_USE uint64_t *tt_cursor_add(struct tt_cursor *cursor, struct tt_history history,
                                    uint32_t partitions);

/* Writes the narrow form for an event: `partitions` 0 leaves `/N` out. */
void tt_cursor_write_narrow(struct tt_writer *w, const struct tt_position *position,
                            uint32_t partitions);
/* What that writes behind the text of the position. */
void tt_cursor_write_partitions(struct tt_writer *w, uint32_t partitions);
size_t tt_cursor_narrow_bytes(const struct tt_position *position, uint32_t partitions);

/* Writes the full form. Every entry must be an offset, not UNKNOWN or BEGINNING (asserted). All
 * topics are written with all their entries (`count`). */
void tt_cursor_write_full(struct tt_writer *w, const struct tt_cursor *cursor);
/* The number of bytes that it writes; a subscription whose cursor exceeds TT_CURSOR_BYTES_MAX is
 * refused. */
size_t tt_cursor_full_bytes(const struct tt_cursor *cursor);
/* The same for the widest offsets that these numbers of partitions can have: no cursor of such
 * topics is ever longer. */
size_t tt_cursor_full_bytes_max(const uint32_t *partitions, uint32_t topics);

#endif
