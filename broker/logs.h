/* Opens the event log at start: recovers every partition through blocking file access, and builds
 * the tails that the shards share.
 *
 * Thread: start-up, before the shards run, and again after they have ended. Memory: owned here; the
 * world borrows it. */
#ifndef TT_BROKER_LOGS_H
#define TT_BROKER_LOGS_H

#include "broker/config.h"
#include "shard/shard.h"

struct tt_logs;

struct tt_faults;

/* Creates the log where there is none (its history, key and number of partitions are fixed then),
 * else recovers it, and fills history, hash key, partitions and readers of *world, whose shards
 * are counted already. faults: of the files, for tests; null: none. On failure *error holds one
 * line that names the file. TT_OK; TT_ECORRUPT, TT_EVERSION, TT_EINVAL (made with other options),
 * TT_EACCES, TT_EIO, ... */
TT_MUST_USE enum tt_status tt_logs_open(struct tt_logs **logs, const struct tt_config *config,
                                        struct tt_faults *faults, struct tt_io *io,
                                        struct tt_world *world, struct tt_diag *diag,
                                        char error[TT_CONFIG_ERROR_MAX]);
/* Frees what tt_logs_open() made. The logs themselves were closed by their shards. */
void tt_logs_close(struct tt_logs **logs);
/* Memory of all partitions: tails, tables of channels, indexes, idempotency keys. */
uint64_t tt_logs_memory_bound_bytes(const struct tt_config *config);

#endif
