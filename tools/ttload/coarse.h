/* A small histogram of durations that may be read while it is written: for what is shown during a
 * run and plotted afterwards. Values share a bucket when their leading 6 bits are equal, so a
 * figure is at most one part in 32 above what was recorded. The exact figures of a report come from
 * histogram.h. Thread: one writer, any readers. Memory: the caller's, 9 KB. */
#ifndef TT_TOOLS_TTLOAD_COARSE_H
#define TT_TOOLS_TTLOAD_COARSE_H

#include <stdatomic.h>
#include <stdint.h>

#define TT_COARSE_PARTS   32u /* buckets of one power of two */
#define TT_COARSE_BITS    42u /* of the highest value: 73 minutes in nanoseconds */
#define TT_COARSE_SHIFT   9u  /* everything below 512 ns * 32 counts in steps of 512 ns */
#define TT_COARSE_BUCKETS ((TT_COARSE_BITS - TT_COARSE_SHIFT - 4u) * TT_COARSE_PARTS)

struct tt_coarse {
    _Atomic uint64_t buckets[TT_COARSE_BUCKETS];
};

/* The same, at rest: sums and differences. */
struct tt_coarse_counts {
    uint64_t count;
    uint64_t buckets[TT_COARSE_BUCKETS];
};

static inline unsigned tt_coarse_bucket(uint64_t ns)
{
    uint64_t value = ns >> TT_COARSE_SHIFT;
    uint64_t most = (UINT64_C(1) << (TT_COARSE_BITS - TT_COARSE_SHIFT)) - 1;
    if (value > most) value = most;
    if (value < TT_COARSE_PARTS) return (unsigned)value;
    unsigned shift = 58u - (unsigned)__builtin_clzll(value);
    return shift * TT_COARSE_PARTS + (unsigned)(value >> shift);
}

static inline void tt_coarse_record(struct tt_coarse *c, uint64_t ns)
{
    _Atomic uint64_t *bucket = &c->buckets[tt_coarse_bucket(ns)];
    atomic_store_explicit(bucket, atomic_load_explicit(bucket, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

/* Adds what was recorded so far. */
void tt_coarse_add(struct tt_coarse_counts *to, const struct tt_coarse *from);
/* to -= from, of an earlier reading. */
void tt_coarse_subtract(struct tt_coarse_counts *to, const struct tt_coarse_counts *from);
/* The end of the bucket that `share` (0 to 1) of the values lie in or below, ns; 0 when empty. */
uint64_t tt_coarse_at(const struct tt_coarse_counts *c, double share);

#endif
