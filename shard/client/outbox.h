/* What waits to be sent to one client: a FIFO of references to frames.
 *
 * Two frames stand in the client itself (the common case: one event, sent at once); more spill into
 * blocks of a shard-wide pool. `sent` counts the bytes of the first frame that the socket has
 * taken, in the form in which they are offered. Bounded by the caller through `bytes`. Thread:
 * owner shard. */
#ifndef TT_SHARD_CLIENT_OUTBOX_H
#define TT_SHARD_CLIENT_OUTBOX_H

#include "shard/fanout/frame.h"

#define TT_OUTBOX_BLOCK_FRAMES    14u
#define TT_OUTBOX_CACHE_BYTES_MAX (2u << 20) /* of blocks that are not in use */

struct tt_outbox_block {
    struct tt_outbox_block *next;
    uint16_t first;
    uint16_t end;
    struct tt_frame *frames[TT_OUTBOX_BLOCK_FRAMES];
};

/* Blocks that are not in use; kept for the next burst. */
struct tt_outbox_pool {
    struct tt_outbox_block *free_;
    size_t blocks; /* in use */
    size_t cached_;
};
void tt_outbox_pool_init(struct tt_outbox_pool *pool);
void tt_outbox_pool_deinit(struct tt_outbox_pool *pool); /* all blocks must be back */

struct tt_outbox {
    struct tt_frame *near_[2];
    struct tt_outbox_block *head_;
    struct tt_outbox_block *tail_;
    uint32_t bytes; /* of all frames in it, plus a pointer's cost for each */
    uint32_t count;
    uint32_t sent; /* of the first frame */
};

#define TT_OUTBOX_ENTRY_BYTES                                                                      \
    16u /* what one place in the outbox costs beside the frame's bytes                             \
         */

static inline bool tt_outbox_empty(const struct tt_outbox *o)
{
    return o->count == 0;
}
static inline uint32_t tt_outbox_cost(const struct tt_frame *f)
{
    return f->bytes + TT_OUTBOX_ENTRY_BYTES;
}

/* Appends, taking over one reference. TT_OK or TT_ENOMEM (the reference stays the caller's). */
TT_MUST_USE enum tt_status tt_outbox_push(struct tt_outbox *o, struct tt_outbox_pool *pool,
                                          struct tt_frame *frame);
struct tt_frame *tt_outbox_first(const struct tt_outbox *o); /* null: empty */
struct tt_frame *tt_outbox_last(const struct tt_outbox *o);  /* null: empty */
/* Takes the first frame out; the reference is the caller's. */
struct tt_frame *tt_outbox_pop(struct tt_outbox *o, struct tt_outbox_pool *pool);

/* Walks from the first frame on: start with {0}. Null at the end. */
struct tt_outbox_walk {
    unsigned near_;
    const struct tt_outbox_block *block_;
    unsigned index_;
    bool started_;
};
struct tt_frame *tt_outbox_walk(const struct tt_outbox *o, struct tt_outbox_walk *walk);

/* Drops events and heartbeats of which no byte was taken; control frames stay in order. So do
 * RESYNC and GAP, but not behind an event that is dropped: they would move the client's position
 * past it, and whoever reads the log again meets their cause again. TT_OK, or TT_ENOMEM: a control
 * frame was lost, the client cannot go on. */
TT_MUST_USE enum tt_status tt_outbox_drop_events(struct tt_outbox *o, struct tt_outbox_pool *pool);
void tt_outbox_clear(struct tt_outbox *o, struct tt_outbox_pool *pool);

#endif
