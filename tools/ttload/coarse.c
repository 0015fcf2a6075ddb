#include "tools/ttload/coarse.h"

#include <math.h>

void tt_coarse_add(struct tt_coarse_counts *to, const struct tt_coarse *from)
{
    for (unsigned i = 0; i < TT_COARSE_BUCKETS; i++) {
        uint64_t n = atomic_load_explicit(&from->buckets[i], memory_order_relaxed);
        to->buckets[i] += n;
        to->count += n;
    }
}

void tt_coarse_subtract(struct tt_coarse_counts *to, const struct tt_coarse_counts *from)
{
    for (unsigned i = 0; i < TT_COARSE_BUCKETS; i++) to->buckets[i] -= from->buckets[i];
    to->count -= from->count;
}

static uint64_t bucket_end_ns(unsigned bucket)
{
    uint64_t value = bucket;
    if (bucket >= 2 * TT_COARSE_PARTS) {
        unsigned shift = bucket / TT_COARSE_PARTS - 1;
        value = ((uint64_t)(bucket % TT_COARSE_PARTS + TT_COARSE_PARTS + 1) << shift) - 1;
    }
    return (value + 1) << TT_COARSE_SHIFT;
}

uint64_t tt_coarse_at(const struct tt_coarse_counts *c, double share)
{
    if (c->count == 0) return 0;
    uint64_t wanted = (uint64_t)ceil(share * (double)c->count * (1 - 1e-12));
    uint64_t met = 0;
    if (wanted == 0) wanted = 1;
    for (unsigned i = 0; i < TT_COARSE_BUCKETS; i++) {
        met += c->buckets[i];
        if (met >= wanted) return bucket_end_ns(i);
    }
    return bucket_end_ns(TT_COARSE_BUCKETS - 1);
}
