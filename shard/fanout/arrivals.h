/* The order in which a shard read the events of all tails, and how to turn a place in that order
 * back into a vector of offsets.
 *
 * Every record that a shard reads is an arrival and gets the next number. R, the next offset of
 * each partition, is the vector behind the newest arrival. A live client keeps only a place: the
 * number of an arrival. A ring of the last 65,536 arrivals (partition, previous offset) walks back
 * from a checkpoint vector (one every 1,024 arrivals) to any place in it; whoever would leave the
 * ring must be demoted first. Thread: owner shard. Memory: fixed at creation.
 */
#ifndef TT_SHARD_FANOUT_ARRIVALS_H
#define TT_SHARD_FANOUT_ARRIVALS_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/limits.h"
#include "proto/base/status.h"

struct tt_arrival {
    uint64_t previous;
    uint32_t partition;
};

struct tt_arrivals {
    uint32_t partitions;
    uint64_t sequence; /* number of the newest arrival; the first is 1 */
    uint64_t *next;    /* R: next offset of each partition */
    struct tt_arrival *ring_;
    uint64_t *vectors_;
};

/* `next`: where reading starts in each partition. TT_OK or TT_ENOMEM (nothing to undo then). */
TT_MUST_USE enum tt_status tt_arrivals_init(struct tt_arrivals *a, uint32_t partitions,
                                            const uint64_t *next);
void tt_arrivals_deinit(struct tt_arrivals *a);

/* A record of `partition` was read; `next` is the offset behind it. Returns its number. */
uint64_t tt_arrivals_push(struct tt_arrivals *a, uint32_t partition, uint64_t next);
/* Can `place` still be turned into a vector? */
bool tt_arrivals_holds(const struct tt_arrivals *a, uint64_t place);
/* The vector behind arrival `place`, into vector[partitions]. The place must be held. */
void tt_arrivals_vector(const struct tt_arrivals *a, uint64_t place, uint64_t *vector);

#endif
