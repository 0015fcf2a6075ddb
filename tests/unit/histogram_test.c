#include <criterion/criterion.h>
#include <stdlib.h>

#include "tools/ttload/histogram.h"

static struct tt_histogram h;
static struct tt_histogram other;

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

Test(histogram, is_empty_at_first)
{
    tt_histogram_init(&h);
    cr_assert_eq(tt_histogram_at(&h, 0.5), 0);
    cr_assert_eq(h.max, 0);
    cr_assert_eq(tt_histogram_mean(&h), 0);
}

Test(histogram, small_values_are_exact)
{
    tt_histogram_init(&h);
    for (uint64_t v = 0; v < 2048; v++) tt_histogram_record(&h, v);
    for (uint64_t v = 0; v < 2048; v++) {
        cr_assert_eq(tt_histogram_at(&h, (double)(v + 1) / 2048), v);
    }
    cr_assert_eq(h.min, 0);
    cr_assert_eq(h.max, 2047);
    cr_assert_float_eq(tt_histogram_mean(&h), 1023.5, 1e-9);
}

Test(histogram, every_value_is_reported_with_three_digits_and_never_too_low)
{
    for (unsigned bit = 0; bit < TT_HISTOGRAM_BITS; bit++) {
        for (int64_t near = -3; near <= 3; near++) {
            int64_t value = (int64_t)(UINT64_C(1) << bit) + near;
            if (value < 0 || (uint64_t)value > TT_HISTOGRAM_MAX) continue;
            tt_histogram_init(&h);
            tt_histogram_record(&h, (uint64_t)value);
            tt_histogram_record(&h, TT_HISTOGRAM_MAX); /* so that the maximum does not help */
            uint64_t got = tt_histogram_at(&h, 0.5);
            cr_assert(got >= (uint64_t)value, "%lu for %ld", got, value);
            cr_assert(got - (uint64_t)value <= (uint64_t)value / 1000, "%lu for %ld", got, value);
        }
    }
}

Test(histogram, percentiles_agree_with_sorting)
{
    enum { COUNT = 20000 };
    static uint64_t values[COUNT];
    uint64_t seed = 7;

    tt_histogram_init(&h);
    for (unsigned i = 0; i < COUNT; i++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        values[i] = (seed >> 20) % (UINT64_C(1) << (10 + i % 30));
        tt_histogram_record(&h, values[i]);
    }
    qsort(values, COUNT, sizeof values[0], by_value);
    for (unsigned permille = 1; permille <= 1000; permille++) {
        uint64_t exact = values[(uint64_t)COUNT * permille / 1000 - 1];
        uint64_t got = tt_histogram_at(&h, permille / 1000.0);
        cr_assert(got >= exact && got - exact <= exact / 1000, "%u permille: %lu for %lu", permille,
                  got, exact);
    }
    cr_assert_eq(tt_histogram_at(&h, 1.0), values[COUNT - 1]);
}

Test(histogram, values_above_the_range_keep_the_maximum)
{
    tt_histogram_init(&h);
    tt_histogram_record(&h, 5);
    tt_histogram_record(&h, UINT64_MAX / 2);
    cr_assert_eq(h.count, 2);
    cr_assert_eq(h.max, UINT64_MAX / 2);
    cr_assert_eq(tt_histogram_at(&h, 0.5), 5);
    cr_assert_eq(tt_histogram_at(&h, 1.0), UINT64_MAX / 2);
}

Test(histogram, merging_is_like_recording_into_one)
{
    static struct tt_histogram both;
    tt_histogram_init(&h);
    tt_histogram_init(&other);
    tt_histogram_init(&both);
    for (uint64_t v = 1; v < 100000; v = v * 3 / 2 + 1) {
        tt_histogram_record(v % 2 == 0 ? &h : &other, v);
        tt_histogram_record(&both, v);
    }
    tt_histogram_merge(&h, &other);
    cr_assert_arr_eq(h.buckets, both.buckets, sizeof both.buckets);
    cr_assert_eq(h.count, both.count);
    cr_assert_eq(h.min, both.min);
    cr_assert_eq(h.max, both.max);
}
