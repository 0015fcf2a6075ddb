/* The figures of one shard: counters, gauges and histograms that one thread writes and any thread
 * may read (metrics.def lists them).
 *
 * Every figure is a relaxed atomic with a single writer, the owning shard: a change is a plain load
 * and store, never a locked instruction. A reader sees each figure whole, but no two of them from
 * the same moment. Thread: changes by the owner, reads by any. Memory: embedded in the shard, on
 * cache lines of its own. */
#ifndef TT_SHARD_METRICS_H
#define TT_SHARD_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

#include "shard/close_reason.h"

typedef _Atomic uint64_t tt_metric;

/* Upper bounds of a histogram's buckets in microseconds; one more bucket holds what is above. */
#define TT_METRIC_BOUNDS_US(X)                                                                     \
    X(100)                                                                                         \
    X(250)                                                                                         \
    X(500)                                                                                         \
    X(1000) X(2500) X(5000) X(10000) X(25000) X(50000) X(100000) X(250000) X(500000) X(1000000)
#define TT_METRIC_ONE_(bound) +1
enum { TT_METRIC_BOUNDS = 0 TT_METRIC_BOUNDS_US(TT_METRIC_ONE_) };
extern const uint32_t tt_metric_bounds_us[TT_METRIC_BOUNDS];

struct tt_metric_histogram {
    tt_metric buckets[TT_METRIC_BOUNDS + 1]; /* not cumulative */
    tt_metric sum_ns;
};

struct tt_shard_metrics {
#define TT_METRIC(field, type, scope, unit, family, labels, help) tt_metric field;
#define TT_METRIC_REASONS(field, family, help)                    tt_metric field[TT_CLOSE_REASONS];
#define TT_METRIC_HISTOGRAM(field, family, help)                  struct tt_metric_histogram field;
#include "shard/metrics.def"
} __attribute__((aligned(64)));

static inline uint64_t tt_metric_get(const tt_metric *metric)
{
    return atomic_load_explicit(metric, memory_order_relaxed);
}
static inline void tt_metric_set(tt_metric *metric, uint64_t value)
{
    atomic_store_explicit(metric, value, memory_order_relaxed);
}
static inline void tt_metric_add(tt_metric *metric, uint64_t value)
{
    tt_metric_set(metric, tt_metric_get(metric) + value);
}
/* For gauges; never below zero by the caller's own counting. */
static inline void tt_metric_sub(tt_metric *metric, uint64_t value)
{
    tt_metric_set(metric, tt_metric_get(metric) - value);
}
static inline void tt_metric_raise(tt_metric *metric, uint64_t value)
{
    if (value > tt_metric_get(metric)) tt_metric_set(metric, value);
}
/* Counts one duration into its bucket. */
void tt_metric_observe_ns(struct tt_metric_histogram *histogram, uint64_t duration_ns);

#endif
