/* Findings of a check, as text and JSON. Thread: one. */
#ifndef TT_TTLOG_FINDINGS_H
#define TT_TTLOG_FINDINGS_H

#include <jansson.h>

#include "tools/ttlog/check.h"

/* One line each. */
void tt_findings_print(const struct tt_check *check);
json_t *tt_findings_json(const struct tt_check *check);
/* Where nothing was found: asks the recovery, which adds what it refuses the log for. TT_OK,
 * TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_findings_recovery(struct tt_check *check);

#endif
