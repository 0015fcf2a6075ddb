/* Opens the event log at start: recovers every partition through blocking file access, and builds
 * the tails that the shards share.
 *
 * An embedded log is one topic, in --data. With Kafka there is a mirror for each topic, and opening
 * has two steps, so that whoever plans a life can compare what is mirrored with Kafka in between:
 *
 *     tt_logs_mirror_key(...)              one key for all topics of a data directory
 *     for each topic: fill it in; tt_logs_recover(&topic, ...)
 *         topic.recovered: known, dropped, partitions[i].{next_offset, oldest_offset, has_last ...}
 *         another history after all:       tt_logs_forget(&topic), tt_logs_recover() with that one
 *         a partition that is of no use:   tt_logs_drop_partition(&topic, i, ...)
 *         one that is empty begins at X:   tt_recovery_begin_at(&topic.recovered->partitions[i], X)
 *     tt_logs_open(...)
 *
 * Thread: start-up, before the shards run, and again after they have ended. Memory: owned here; the
 * world borrows it. */
#ifndef TT_BROKER_LOGS_H
#define TT_BROKER_LOGS_H

#include "broker/config.h"
#include "shard/shard.h"
#include "store/recovery.h"

struct tt_logs;
struct tt_faults;

/* The mirror of a Kafka topic. */
struct tt_logs_topic {
    /* By the caller: name, history, partitioner, keyed, prefix, suffix, capacity (slots, at least)
     * and partitions: N, or 0 if Kafka has not said; texts are borrowed until tt_logs_close(). By
     * tt_logs_recover(): partitions is at least what the mirror has. By tt_logs_open(): first,
     * capacity. */
    struct tt_topic is;
    struct tt_recovered *recovered; /* by tt_logs_recover(); taken by tt_logs_open() */
};

/* DATA/kafka/KEY: the key of channel hashes for all mirrors of a data directory, made out of
 * `random` the first time, or if what stands there is none. TT_OK; else *error. */
TT_MUST_USE enum tt_status tt_logs_mirror_key(const struct tt_config *config,
                                              struct tt_faults *faults, const uint64_t random[2],
                                              struct tt_hash_key *key,
                                              char error[TT_CONFIG_ERROR_MAX]);
/* Opens the topic's mirror in DATA/kafka/NAME, or makes one: of topic->is.history and the key; one
 * that has others is dropped. Nothing that stands there is a reason to refuse; what can be:
 * TT_EACCES, TT_ENOSPC, TT_EIO, TT_ENOMEM, TT_EINVAL (a path too long). */
TT_MUST_USE enum tt_status tt_logs_recover(struct tt_logs_topic *topic,
                                           const struct tt_config *config,
                                           const struct tt_hash_key *key, struct tt_faults *faults,
                                           int64_t wall_us, char error[TT_CONFIG_ERROR_MAX]);
TT_MUST_USE enum tt_status tt_logs_drop_partition(struct tt_logs_topic *topic, uint32_t partition,
                                                  struct tt_faults *faults,
                                                  char error[TT_CONFIG_ERROR_MAX]);
/* Gives up what tt_logs_recover() made; files stay. */
void tt_logs_forget(struct tt_logs_topic *topic);
/* "DATA/kafka/NAME"; NAME empty: "DATA/kafka". TT_OK, TT_EINVAL: too long. */
TT_MUST_USE enum tt_status tt_logs_mirror_path(const struct tt_config *config, const char *name,
                                               char path[TT_RECOVERY_DIRECTORY_MAX + 1]);

struct tt_logs_options {
    struct tt_logs_topic *topics; /* null: the log of --data */
    uint32_t topics_count;
    struct tt_faults *faults; /* of the files, for tests; null: none */
    struct tt_io *io;         /* time and random numbers; with topics not needed */
    struct tt_diag *diag;
};
/* What is shared out to partitions (--log-retention-bytes, --channels-max) goes by those that are
 * known: spare slots get as much as one of these each, and take nothing from them.
 *
 * No topics: creates the log of --data where there is none (its history, key and number of
 * partitions are fixed then), else recovers it. With topics: takes over what was recovered (also on
 * failure). Fills topics, history (of the first), hash key, partitions and readers of *world, whose
 * shards are counted already. On failure *error holds one line that names the file. TT_OK;
 * TT_ECORRUPT, TT_EVERSION, TT_EINVAL (made with other options), TT_EACCES, TT_EIO, ... */
TT_MUST_USE enum tt_status tt_logs_open(struct tt_logs **logs, const struct tt_config *config,
                                        const struct tt_logs_options *options,
                                        struct tt_world *world, char error[TT_CONFIG_ERROR_MAX]);
/* Frees what tt_logs_open() made. The logs themselves were closed by their shards. */
void tt_logs_close(struct tt_logs **logs);
/* Memory of all the world's partitions, slots included: tails, tables of channels, indexes,
 * idempotency keys. */
uint64_t tt_logs_memory_bound_bytes(const struct tt_config *config, const struct tt_world *world);

#endif
