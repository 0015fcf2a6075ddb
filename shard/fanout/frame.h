/* A frame: an event's (or a control message's) bytes on one wire form, encoded once for a shard.
 *
 * Layout of an event's frame, contiguous, so that a live client on HTTP/1.1 gets it as one slice:
 *
 *     [head A][event: and data: lines]CRLF [head B][id: line, blank line]CRLF
 *      `----- chunk A, a_bytes ------'      `---- chunk B ----------------'
 *
 * Clients with a private id send chunk A and a chunk B of their own; wires without chunked coding
 * send the insides. Control frames have no chunk B. References are plain integers: a frame never
 * leaves its shard. Thread: owner shard. Memory: frames_bytes is counted; size classes are kept for
 * reuse. */
#ifndef TT_SHARD_FANOUT_FRAME_H
#define TT_SHARD_FANOUT_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/bytes.h"

enum tt_frame_kind {
    TT_FRAME_EVENT = 0, /* dropped when its client is demoted: the log has it */
    TT_FRAME_EVENTS,    /* many events, read from the log for one client; likewise */
    TT_FRAME_HEARTBEAT, /* dropped likewise: it may carry an id that leans on what stands before it
                         */
    TT_FRAME_VALUE,     /* of a snapshot: it has no id; dropped only when its client is closing */
    TT_FRAME_CONTROL,   /* never dropped */
    TT_FRAME_RESYNC,    /* dropped only with an event that stands before it; when taken, moves
                         * `partition` of its client to `offset`; its id is written when it is pulled
                         */
    TT_FRAME_GAP,       /* the same without an id */
};

#define TT_FRAME_NEVER_CONFLATE UINT64_C(1) /* of `channel` */

struct tt_frame_memory;

struct tt_frame {
    struct tt_frame_memory *memory_;
    uint64_t
        arrival; /* EVENT: number in the shard's order; 0: read from the log. EVENTS: how many */
    int64_t taken_us; /* events: when the broker took it */
    /* EVENT, while a client of the shard conflates: the hash of its channel, with the lowest bit
     * set if it must never be dropped in favour of a newer one. Else 0. */
    uint64_t channel;
    uint64_t offset; /* events: offset, of the last one; RESYNC, GAP: the next offset it moves to */
    uint32_t partition;
    uint32_t references;
    uint32_t a_bytes; /* chunk A with its framing; == bytes where there is no B */
    uint32_t bytes;
    uint8_t a_head_bytes; /* of the chunk's size line */
    uint8_t b_head_bytes;
    uint8_t kind; /* enum tt_frame_kind */
    uint8_t size_class_;
    uint32_t allocated_;
    uint8_t data[];
};

#define TT_FRAME_CLASSES         40u
#define TT_FRAME_CACHE_BYTES_MAX (4u << 20) /* of frames that are not in use, kept for the next */
#define TT_FRAME_BATCH_BYTES                                                                       \
    (68u << 10) /* a frame of exactly this size, with its struct, is kept */

struct tt_frame_memory {
    size_t bytes; /* held by frames in use, and charged to them */
    size_t
        bytes_max; /* over it the oldest holders are demoted; new frames still come (by one turn) */
    uint64_t allocations; /* times that the system was asked for memory */
    size_t cached_bytes_;
    void *free_[TT_FRAME_CLASSES];
};

void tt_frame_memory_init(struct tt_frame_memory *m, size_t bytes_max);
void tt_frame_memory_deinit(struct tt_frame_memory *m); /* every frame must have been put */

/* A frame with room for `bytes`, one reference, everything else zero. Null: out of memory. */
struct tt_frame *tt_frame_create(struct tt_frame_memory *m, size_t bytes);
void tt_frame_put(struct tt_frame **frame);

/* Memory that holds the frame in place (an entry of a dirty list) counts with it; taken back before
 * the frame is put. */
static inline void tt_frame_charge(struct tt_frame *f, uint32_t bytes)
{
    f->memory_->bytes += bytes;
}
static inline void tt_frame_discharge(struct tt_frame *f, uint32_t bytes)
{
    f->memory_->bytes -= bytes;
}

/* Bytes that fit into its data. */
static inline size_t tt_frame_capacity(const struct tt_frame *f)
{
    return f->allocated_ - sizeof *f;
}

static inline struct tt_frame *tt_frame_get(struct tt_frame *frame)
{
    frame->references++;
    return frame;
}

/* The insides of the chunks, for wires without chunked coding. */
static inline struct tt_bytes tt_frame_inside_a(const struct tt_frame *f)
{
    return tt_bytes(f->data + f->a_head_bytes, f->a_bytes - f->a_head_bytes - 2u);
}
static inline struct tt_bytes tt_frame_inside_b(const struct tt_frame *f)
{
    if (f->bytes == f->a_bytes) return TT_BYTES_NONE;
    return tt_bytes(f->data + f->a_bytes + f->b_head_bytes,
                    f->bytes - f->a_bytes - f->b_head_bytes - 2u);
}

#endif
