#include "tools/ttload/histogram.h"

#include <math.h>
#include <string.h>

#include "proto/base/assert.h"

/* How far a value is shifted so that its leading bits fall into [1024, 2048); 0 for small ones. */
static unsigned shift_of(uint64_t value)
{
    return 53u - (unsigned)__builtin_clzll(value | (2u * TT_HISTOGRAM_HALF - 1u));
}

static unsigned bucket_of(uint64_t value)
{
    unsigned shift = shift_of(value);
    return shift * TT_HISTOGRAM_HALF + (unsigned)(value >> shift);
}

static uint64_t bucket_end(unsigned bucket)
{
    if (bucket < 2 * TT_HISTOGRAM_HALF) return bucket;
    unsigned shift = bucket / TT_HISTOGRAM_HALF - 1;
    uint64_t lead = bucket % TT_HISTOGRAM_HALF + TT_HISTOGRAM_HALF;
    return ((lead + 1) << shift) - 1;
}

void tt_histogram_init(struct tt_histogram *h)
{
    memset(h, 0, sizeof *h);
    h->min = UINT64_MAX;
}

void tt_histogram_record(struct tt_histogram *h, uint64_t value)
{
    uint64_t held = value > TT_HISTOGRAM_MAX ? TT_HISTOGRAM_MAX : value;
    unsigned bucket = bucket_of(held);
    TT_ASSERT(bucket < TT_HISTOGRAM_BUCKETS);
    h->buckets[bucket]++;
    h->count++;
    h->sum += (double)value;
    if (value < h->min) h->min = value;
    if (value > h->max) h->max = value;
}

void tt_histogram_merge(struct tt_histogram *into, const struct tt_histogram *from)
{
    for (unsigned i = 0; i < TT_HISTOGRAM_BUCKETS; i++) into->buckets[i] += from->buckets[i];
    into->count += from->count;
    into->sum += from->sum;
    if (from->min < into->min) into->min = from->min;
    if (from->max > into->max) into->max = from->max;
}

uint64_t tt_histogram_at(const struct tt_histogram *h, double share)
{
    if (h->count == 0) return 0;
    /* Less a little, so that 0.07 of 100 is 7 and not the 8th. */
    uint64_t wanted = (uint64_t)ceil(share * (double)h->count * (1 - 1e-12));
    uint64_t met = 0;
    if (wanted == 0) wanted = 1;
    for (unsigned i = 0; i < TT_HISTOGRAM_BUCKETS; i++) {
        met += h->buckets[i];
        if (met >= wanted) {
            uint64_t end = bucket_end(i);
            return end > h->max || end == TT_HISTOGRAM_MAX ? h->max : end;
        }
    }
    return h->max;
}

double tt_histogram_mean(const struct tt_histogram *h)
{
    return h->count == 0 ? 0 : h->sum / (double)h->count;
}
