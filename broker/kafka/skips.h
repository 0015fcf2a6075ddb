/* Records that could not become events: counted by reason, and told in the log, at most one line a
 * second for each shard, which also says how many were passed over in silence since the last one.
 *
 * Thread: one writer, the shard that polls; figures are read by any. Memory: embedded, zeroed. */
#ifndef TT_BROKER_KAFKA_SKIPS_H
#define TT_BROKER_KAFKA_SKIPS_H

#include "broker/kafka/mapping.h"
#include "shard/diag.h"
#include "shard/metrics.h"

#define TT_KAFKA_SKIPS_LINE_NS UINT64_C(1000000000)

struct tt_kafka_skips {
    tt_metric counts[TT_KAFKA_SKIPS];
    uint64_t next_ns_;  /* no line before */
    uint64_t unspoken_; /* since the last line */
} __attribute__((aligned(64)));

/* now_ns: a monotonic clock's. diag: the shard's, may be null. */
void tt_kafka_skips_note(struct tt_kafka_skips *skips, struct tt_diag *diag, uint64_t now_ns,
                         const char *topic, int32_t partition, int64_t offset,
                         enum tt_kafka_skip reason);
/* kafka_skipped_total{reason} of all shards together, as /metrics shows it. */
#define TT_KAFKA_SKIPS_METRIC_BYTES_MAX (256u + TT_KAFKA_SKIPS * 128u)
void tt_kafka_skips_write(struct tt_writer *w, const struct tt_kafka_skips *shards,
                          uint32_t shards_count);

#endif
