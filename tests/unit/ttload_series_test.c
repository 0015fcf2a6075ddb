#include <criterion/criterion.h>

#include "tools/ttload/coarse.h"
#include "tools/ttload/series.h"
#include "tools/ttload/view.h"

static struct tt_coarse coarse;
static struct tt_coarse_counts counts;
static struct tt_coarse_counts before;
static struct tt_series series;

Test(ttload_series, a_coarse_figure_is_at_most_a_thirtysecond_above)
{
    for (uint64_t ns = 1; ns < UINT64_C(1) << 41; ns += ns / 7 + 1) {
        unsigned bucket = tt_coarse_bucket(ns);
        cr_assert_lt(bucket, TT_COARSE_BUCKETS);
        coarse = (struct tt_coarse){0};
        counts = (struct tt_coarse_counts){0};
        tt_coarse_record(&coarse, ns);
        tt_coarse_add(&counts, &coarse);
        uint64_t at = tt_coarse_at(&counts, 0.5);
        cr_assert(at > ns && at <= ns + ns / 32 + 512, "%lu for %lu", at, ns);
    }
    cr_assert_lt(tt_coarse_bucket(UINT64_MAX), TT_COARSE_BUCKETS);
}

Test(ttload_series, a_difference_shows_what_came_between)
{
    for (int i = 0; i < 100; i++) tt_coarse_record(&coarse, 1000000);
    tt_coarse_add(&before, &coarse);
    cr_assert_eq(tt_coarse_at(&counts, 0.5), 0);
    for (int i = 0; i < 99; i++) tt_coarse_record(&coarse, 2000000);
    tt_coarse_record(&coarse, 90000000);
    tt_coarse_add(&counts, &coarse);
    cr_assert_eq(counts.count, 200);
    tt_coarse_subtract(&counts, &before);
    cr_assert_eq(counts.count, 100);
    cr_assert(tt_coarse_at(&counts, 0.99) < 2100000);
    cr_assert(tt_coarse_at(&counts, 1) >= 90000000);
}

Test(ttload_series, a_full_series_merges_neighbours)
{
    for (uint32_t i = 0; i < TT_SERIES_POINTS_MAX + 1; i++) {
        struct tt_series_point p = {.at_s = i + 1,
                                    .span_s = 1,
                                    .published = i % 2 == 0 ? 100 : 200,
                                    .p50_ms = i % 2 == 0 ? 0 : 4,
                                    .max_ms = i % 2 == 0 ? 7 : 3,
                                    .cuts = 1,
                                    .live = i};
        tt_series_add(&series, &p);
    }
    cr_assert_eq(series.count, TT_SERIES_POINTS_MAX / 2 + 1);
    cr_assert_eq(series.merged, 1);
    const struct tt_series_point *p = &series.points[3];
    cr_assert_eq(p->at_s, 8);
    cr_assert_eq(p->span_s, 2);
    cr_assert_eq(p->published, 150);
    cr_assert_eq(p->p50_ms, 4, "a second without events says nothing of latency");
    cr_assert_eq(p->max_ms, 7);
    cr_assert_eq(p->cuts, 2);
    cr_assert_eq(p->live, 7);
}

Test(ttload_series, numbers_and_lines_of_the_view)
{
    char text[28];
    tt_view_number(0, text);
    cr_assert_str_eq(text, "0");
    tt_view_number(1234567, text);
    cr_assert_str_eq(text, "1,234,567");
    tt_view_number(UINT64_MAX, text);
    cr_assert_str_eq(text, "18,446,744,073,709,551,615");
    cr_assert_eq(tt_view_fit("abc", 10), 3);
    cr_assert_eq(tt_view_fit("abc", 2), 2);
    cr_assert_eq(tt_view_fit("\x1b[31mabc\x1b[0m", 2), 7);
    cr_assert_eq(tt_view_fit("\x1b[31mabc\x1b[0m", 3), 12, "a sequence behind the last column");
    cr_assert_eq(tt_view_fit("\u2588\u2588\u2588", 2), 6);
}
