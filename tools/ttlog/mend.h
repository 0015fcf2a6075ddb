/* Mends what a check found, one finding at a time. The log's lock is held.
 *
 * Whatever is taken away is kept beside: bytes in "<file>.bad-<byte>", whole files as
 * "<file>.away". Everything that was changed is synced when a call returns. Thread: one. */
#ifndef TT_TTLOG_MEND_H
#define TT_TTLOG_MEND_H

#include "tools/ttlog/check.h"

/* By how much the ceiling is raised where nobody knows it: far more than can have been given out
 * and lost (with --log-sync=never a power cut may take a few segments), and nothing of 2^63. */
#define TT_MEND_CEILING_JUMP (UINT64_C(1) << 30)

struct tt_mend {
    const struct tt_check *check; /* that found it, with its view */
    int64_t now_us;
    char error[TT_LISTING_ERROR_BYTES];
};

/* What would be done, as one clause; null: this cannot be mended here. */
const char *tt_mend_plan(const struct tt_check *check, const struct tt_finding *finding,
                         char text[TT_LISTING_ERROR_BYTES]);
/* Does it. TT_OK; else mend->error says what went wrong, with which file. */
TT_MUST_USE enum tt_status tt_mend_do(struct tt_mend *mend, const struct tt_finding *finding);

#endif
