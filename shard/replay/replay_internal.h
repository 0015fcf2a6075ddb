/* The inside of replay/, for its own files. */
#ifndef TT_SHARD_REPLAY_REPLAY_INTERNAL_H
#define TT_SHARD_REPLAY_REPLAY_INTERNAL_H

#include "proto/base/list.h"
#include "shard/replay/segments.h"
#include "store/record.h"
#include "store/tail.h"

struct tt_client;

struct tt_replay {
    struct tt_list rotation; /* clients that may have something to do */
    uint32_t clients;        /* that are catching up */
    bool woken;              /* somebody was put into the rotation since the last step */
    struct tt_segments *segments;
    uint64_t tidy_ns;
    size_t block_bytes;     /* of reads under way */
    uint64_t *first;        /* of each tail: first sequence in memory, loaded once a turn */
    uint64_t *first_offset; /* and its offset */
};

/* Gives the client one record of the log. False: its outbox has no more room (or it is closing). */
bool tt_catchup_take_record(struct tt_client *client, uint32_t partition,
                            const struct tt_record *record);

/* What the client wants next is not in the log any more: tells it, and goes on from the oldest (or
 * from its position, where that was moved on already). */
void tt_catchup_expired(struct tt_client *client, uint32_t partition);

#endif
