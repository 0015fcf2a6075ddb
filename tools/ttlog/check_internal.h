/* The inside of the check: adding a finding. */
#ifndef TT_TTLOG_CHECK_INTERNAL_H
#define TT_TTLOG_CHECK_INTERNAL_H

#include "tools/ttlog/check.h"

/* Null: out of memory. */
struct tt_finding *tt_check_add(struct tt_check *check, enum tt_finding_kind kind,
                                uint32_t partition, const char *path, uint64_t byte,
                                const char *format, ...) TT_PRINTF(6, 7);

#endif
