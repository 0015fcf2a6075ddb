/* One life: a world (topics, partitions, their logs and tails) and the shards that share it, from
 * opening the logs to the end of the last thread.
 *
 * With an embedded log there is one, as long as the process. With Kafka the world is planned anew
 * (kafka/plan.h) whenever something rare has changed that shards take for fixed.
 * Thread: the main one, which is the control thread. */
#ifndef TT_BROKER_LIFE_H
#define TT_BROKER_LIFE_H

#include "broker/config.h"
#include "broker/process.h"
#include "shard/shard.h"

struct tt_control;
struct tt_faults;
struct tt_kafka_watch;

/* What outlives it; borrowed. */
struct tt_life_options {
    const struct tt_config *config;
    const struct tt_processors *processors;
    struct tt_control *control;
    struct tt_kafka_watch *kafka; /* null: an embedded log */
    struct tt_faults *faults;     /* --test-fault; null: none */
    struct tt_diag **diags;       /* by shard; then others; the control thread's is last */
    uint32_t diags_count;
    uint32_t shards_count;
    const struct tt_shard_options *shard; /* of every shard, but for what depends on the world */
    uint64_t connections_max;             /* of all shards */
};

/* TT_OK: it ended as asked (tt_control_again() says whether another is to follow); else *error
 * holds one line. *shards: it came so far that shards were started. */
TT_MUST_USE enum tt_status tt_life_run(const struct tt_life_options *options, bool *shards,
                                       char error[TT_CONFIG_ERROR_MAX]);

#endif
