/* DATA/kafka/<topic>/PLACING: whether the declared partitioner holds for everything that a mirror
 * has. It does not any more once a record was found elsewhere, or the topic has got more
 * partitions, or the mirror was begun under another declaration: then a channel's events may lie in
 * several of its partitions, also after a restart, until the mirror is made again.
 * Blocking. Thread: Kafka's. */
#ifndef TT_BROKER_KAFKA_PLACING_FILE_H
#define TT_BROKER_KAFKA_PLACING_FILE_H

#include "shard/topology.h"
#include "store/recovery.h"

struct tt_kafka_placing {
    struct tt_history history;
    enum tt_partitioner partitioner;
    uint32_t partitions; /* N; 0: there was none yet */
    bool anywhere;       /* it does not hold */
};

/* directory: the topic's. False: it is not there, or not ours. */
bool tt_kafka_placing_read(const struct tt_files *files, const char *directory,
                           struct tt_kafka_placing *placing);
/* TT_OK; TT_EINVAL (a path that is too long), TT_EACCES, TT_ENOSPC, TT_EIO. */
TT_MUST_USE enum tt_status tt_kafka_placing_write(const struct tt_files *files,
                                                  const char *directory,
                                                  const struct tt_kafka_placing *placing);
/* What is to be written for a mirror that is opened, from what is written there (null: nothing).
 * now: as declared, with N as known; empty: the mirror has no record. */
struct tt_kafka_placing tt_kafka_placing_next(const struct tt_kafka_placing *before,
                                              const struct tt_kafka_placing *now, bool empty);

#endif
