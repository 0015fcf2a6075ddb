#include "shard/metrics.h"

#define TT_METRIC_LIST_(bound) (bound),
const uint32_t tt_metric_bounds_us[TT_METRIC_BOUNDS] = {TT_METRIC_BOUNDS_US(TT_METRIC_LIST_)};

void tt_metric_observe_ns(struct tt_metric_histogram *histogram, uint64_t duration_ns)
{
    unsigned bucket = 0;
    while (bucket < TT_METRIC_BOUNDS && duration_ns > tt_metric_bounds_us[bucket] * UINT64_C(1000))
        bucket++;
    tt_metric_add(&histogram->buckets[bucket], 1);
    tt_metric_add(&histogram->sum_ns, duration_ns);
}
