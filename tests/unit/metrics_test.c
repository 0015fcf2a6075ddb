/* Figures of a shard: counting, and into which bucket a duration falls. */
#include <criterion/criterion.h>

#include "shard/metrics.h"

Test(metrics, counters_and_gauges)
{
    static struct tt_shard_metrics m;
    tt_metric_add(&m.events_http, 3);
    tt_metric_add(&m.events_http, 4);
    cr_assert_eq(tt_metric_get(&m.events_http), 7);
    tt_metric_set(&m.frame_bytes, 100);
    tt_metric_sub(&m.frame_bytes, 30);
    cr_assert_eq(tt_metric_get(&m.frame_bytes), 70);
    tt_metric_raise(&m.turn_max_ns, 5);
    tt_metric_raise(&m.turn_max_ns, 4);
    cr_assert_eq(tt_metric_get(&m.turn_max_ns), 5);
}

Test(metrics, a_duration_at_a_bound_belongs_below_it)
{
    static struct tt_shard_metrics m;
    for (unsigned i = 0; i < TT_METRIC_BOUNDS; i++) {
        uint64_t bound_ns = tt_metric_bounds_us[i] * UINT64_C(1000);
        tt_metric_observe_ns(&m.log_sync, bound_ns);
        cr_assert_eq(tt_metric_get(&m.log_sync.buckets[i]), 1 + (i != 0));
        tt_metric_observe_ns(&m.log_sync, bound_ns + 1);
        cr_assert_eq(tt_metric_get(&m.log_sync.buckets[i + 1]), 1);
    }
    for (unsigned i = 1; i < TT_METRIC_BOUNDS; i++)
        cr_assert_lt(tt_metric_bounds_us[i - 1], tt_metric_bounds_us[i]);
}

Test(metrics, names_are_what_prometheus_allows)
{
    static const char *const families[] = {
#define TT_METRIC(field, type, scope, unit, family, labels, help) family,
#define TT_METRIC_REASONS(field, family, help)                    family,
#define TT_METRIC_HISTOGRAM(field, family, help)                  family,
#include "shard/metrics.def"
    };
    const char *letters = "abcdefghijklmnopqrstuvwxyz_";
    for (unsigned i = 0; i < sizeof(families) / sizeof(families[0]); i++)
        cr_assert_eq(strspn(families[i], letters), strlen(families[i]), "%s", families[i]);
        /* A counter ends in _total, nothing else does. */
#define TT_METRIC(field, type, scope, unit, family, labels, help)                                  \
    cr_assert_eq(strcmp(#type, "COUNTER") == 0,                                                    \
                 strlen(family) > 6 && strcmp(family + strlen(family) - 6, "_total") == 0, "%s",   \
                 family);
#include "shard/metrics.def"
}

/* The rows of a family stand together, as Prometheus' format asks. */
Test(metrics, families_are_not_torn_apart)
{
    static const char *const families[] = {
#define TT_METRIC(field, type, scope, unit, family, labels, help) family,
#include "shard/metrics.def"
    };
    unsigned count = sizeof(families) / sizeof(families[0]);
    for (unsigned i = 1; i < count; i++)
        for (unsigned j = 0; j + 1 < i; j++)
            if (strcmp(families[i], families[i - 1]) != 0)
                cr_assert_str_neq(families[i], families[j]);
}
