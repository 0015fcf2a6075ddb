#include "broker/memory.h"

#include "broker/logs.h"
#include "shard/ingest.h"
#include "shard/produce.h"

/* The control thread's io and connections, rings of log lines, answers to operators, the threads'
 * stacks, the C library. None of it grows with clients or events. */
#define PROCESS_BYTES (8u << 20)
#define THREAD_BYTES  (256u << 10) /* what a shard's stack and its ring of log lines touch */

void tt_memory_bound(const struct tt_config *config, const struct tt_shard_options *options,
                     const struct tt_world *world, struct tt_memory_bound *bound)
{
    struct tt_shard_bounds *b = &bound->shards;
    uint32_t shards = world->shards_count;
    tt_shard_bounds(options, world->partitions_count, shards, b);
    bound->log = tt_logs_memory_bound_bytes(config, world);
    if (!world->topics[0].fixed) /* there is a source: config has its bounds */
        bound->kafka = config->kafka_queued_bytes +
                       shards * (config->kafka_producing_bytes + tt_ingest_memory_bytes() +
                                 tt_produce_memory_bytes());
    bound->process = PROCESS_BYTES + shards * (uint64_t)THREAD_BYTES;
    bound->total = bound->log + bound->kafka + bound->process + shards * tt_shard_bounds_total(b);
    b->frames *= shards;
    b->catchup *= shards;
    b->publish *= shards;
    b->connections *= shards;
    b->subscriptions *= shards;
    b->clients *= shards;
    b->receive *= shards;
    b->fixed *= shards;
}
