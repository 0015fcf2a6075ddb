/* A histogram of durations with a fixed relative error: three significant decimal digits over the
 * whole range, as HdrHistogram does it (http://hdrhistogram.org).
 *
 * Values share a bucket when their leading 11 bits are equal, so a reported value is at most one
 * part in 1,024 above what was recorded; below 2,048 every value is exact. Recording costs a few
 * instructions and never allocates. Thread: one writer; merge after it has ended.
 * Memory: the caller's, about 270 KB. */
#ifndef TT_TOOLS_TTLOAD_HISTOGRAM_H
#define TT_TOOLS_TTLOAD_HISTOGRAM_H

#include <stdint.h>

#define TT_HISTOGRAM_HALF    1024u /* buckets of one power of two */
#define TT_HISTOGRAM_BITS    42u   /* of the highest value: 73 minutes in nanoseconds */
#define TT_HISTOGRAM_MAX     ((UINT64_C(1) << TT_HISTOGRAM_BITS) - 1)
#define TT_HISTOGRAM_BUCKETS ((TT_HISTOGRAM_BITS - 9u) * TT_HISTOGRAM_HALF)

struct tt_histogram {
    uint64_t count;
    uint64_t min; /* exact; of an empty histogram UINT64_MAX */
    uint64_t max; /* exact; 0 when empty */
    double sum;
    uint64_t buckets[TT_HISTOGRAM_BUCKETS];
};

void tt_histogram_init(struct tt_histogram *h);
/* Values above TT_HISTOGRAM_MAX are counted as TT_HISTOGRAM_MAX; `max` keeps them exactly. */
void tt_histogram_record(struct tt_histogram *h, uint64_t value);
void tt_histogram_merge(struct tt_histogram *into, const struct tt_histogram *from);
/* The smallest value that `share` (0 to 1) of all recorded values do not exceed, rounded up to its
 * bucket's end but never above the exact maximum. 0 when empty. */
uint64_t tt_histogram_at(const struct tt_histogram *h, double share);
double tt_histogram_mean(const struct tt_histogram *h); /* 0 when empty */

#endif
