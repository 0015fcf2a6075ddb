/* /status and /readyz: the state of the process as JSON. Thread: control. */
#ifndef TT_BROKER_STATUS_H
#define TT_BROKER_STATUS_H

#include "broker/operations.h"

/* Enough for either. */
size_t tt_status_bytes_max(uint32_t shards_count, uint32_t partitions_count);
void tt_status_write(struct tt_writer *w, const struct tt_operations_view *view);
void tt_status_write_readiness(struct tt_writer *w, const struct tt_operations_view *view);

#endif
