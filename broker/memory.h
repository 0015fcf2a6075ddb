/* memory_bound_bytes: the sum of all bounds of the process. BOUNDS.md has the table that this adds
 * up. Computed once at start from the configuration and the partitions that there are. Thread: any.
 */
#ifndef TT_BROKER_MEMORY_H
#define TT_BROKER_MEMORY_H

#include "broker/config.h"
#include "shard/memory.h"
#include "shard/shard.h"

struct tt_memory_bound {
    uint64_t total;
    uint64_t log;     /* tails, tables of channels, indexes, idempotency keys */
    uint64_t kafka;   /* messages fetched and not taken, events that wait to be acknowledged */
    uint64_t process; /* the control thread, log lines, answers to operators */
    struct tt_shard_bounds shards; /* of all shards together */
};

void tt_memory_bound(const struct tt_config *config, const struct tt_shard_options *options,
                     const struct tt_world *world, struct tt_memory_bound *bound);

#endif
