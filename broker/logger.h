/* Writes the log lines of all threads to standard error, as text or JSON, limited by code.
 *
 * Never blocks: while standard error takes nothing, lines stay in the rings, which then drop and
 * count (diag.h). Thread: control. */
#ifndef TT_BROKER_LOGGER_H
#define TT_BROKER_LOGGER_H

#include "broker/config.h"
#include "shard/diag.h"

#define TT_LOGGER_LINES_PER_SECOND 20u /* of one code; the rest is counted and told in one line */

struct tt_logger;

/* rings: borrowed; the last of them is the control thread's own, which tells what was suppressed.
 * TT_OK, TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_logger_create(struct tt_logger **logger, struct tt_diag **rings,
                                            uint32_t rings_count, enum tt_diag_format format);
void tt_logger_destroy(struct tt_logger **logger);
/* Writes what is there, oldest first within each ring. */
void tt_logger_drain(struct tt_logger *logger, int64_t wall_us);
/* Lines lost so far because a ring was full, and lines held back by the limit. */
uint64_t tt_logger_dropped(const struct tt_logger *logger);
uint64_t tt_logger_suppressed(const struct tt_logger *logger);

#endif
