/* How old the event is that a client reads next, for operators. Thread: owner shard. */
#ifndef TT_SHARD_REPLAY_AGE_H
#define TT_SHARD_REPLAY_AGE_H

#include <stdbool.h>
#include <stdint.h>

struct tt_shard;

/* The age of the first event of the partition at or behind `offset`; 0 at its end. Exact in tail
 * memory; in a segment estimated, between the times of its first and last record. False: not known.
 */
bool tt_replay_age_us(struct tt_shard *shard, uint32_t partition, uint64_t offset, int64_t *age_us);

#endif
