/* The parts of /status and /readyz that are about Kafka. Nothing of how one gets to it is shown:
 * neither properties nor addresses with passwords in them. Thread: control. */
#ifndef TT_BROKER_STATUS_KAFKA_H
#define TT_BROKER_STATUS_KAFKA_H

#include "broker/operations.h"

/* A partition's row, with its share of what is said of its topic. */
#define TT_STATUS_PARTITION_BYTES ((size_t)2048)

/* ,"kafka":{...} */
void tt_status_kafka_write(struct tt_writer *w, const struct tt_operations_view *view);
/* It is one, as far as is known, and no slot that waits for one. */
bool tt_status_kafka_is_partition(const struct tt_operations_view *view, uint32_t partition);
/* Further members of a partition. */
void tt_status_kafka_write_partition(struct tt_writer *w, const struct tt_partition *partition);
/* Further members of a reason of readiness. */
void tt_status_kafka_write_reason(struct tt_writer *w, const struct tt_operations_view *view,
                                  unsigned reason);

#endif
