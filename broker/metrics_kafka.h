/* The metrics that are about Kafka and belong to no shard. Thread: control. */
#ifndef TT_BROKER_METRICS_KAFKA_H
#define TT_BROKER_METRICS_KAFKA_H

#include "broker/operations.h"

#define TT_METRICS_KAFKA_BYTES ((size_t)8192)

void tt_metrics_kafka_write(struct tt_writer *w, const struct tt_operations_view *view);

#endif
