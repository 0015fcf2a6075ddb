/* /metrics: the figures of all shards and of the process in Prometheus' text format (version
 * 0.0.4). Thread: control. */
#ifndef TT_BROKER_METRICS_H
#define TT_BROKER_METRICS_H

#include "broker/operations.h"

/* Enough for tt_metrics_write(). */
size_t tt_metrics_bytes_max(uint32_t shards_count, uint32_t partitions_count);
void tt_metrics_write(struct tt_writer *w, const struct tt_operations_view *view);

/* The two lines of comments before a family's values. */
void tt_metrics_write_family(struct tt_writer *w, const char *family, const char *type,
                             const char *help);

#endif
