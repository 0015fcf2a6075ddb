/* Which segments have outlived the log's bounds. Whole segments, oldest first, never the one that
 * grows. Thread: any. Memory: none. */
#ifndef TT_STORE_RETENTION_H
#define TT_STORE_RETENTION_H

#include "store/segment.h"

struct tt_retention {
    uint64_t bytes; /* keep at most so many in sealed segments and the newest together */
    uint64_t ms;    /* keep what was taken within so many */
};

/* How many of the oldest segments are to go. active_bytes: size of the newest so far. */
uint32_t tt_retention_due(const struct tt_retention *retention, const struct tt_segment_list *list,
                          uint64_t active_bytes, int64_t wall_us);
/* A quarter of the age to keep, at least a second: the newest segment is sealed when its first
 * record is so old, so that a slow partition's events expire too. */
int64_t tt_retention_segment_us(const struct tt_retention *retention);

#endif
