#include <criterion/criterion.h>

#include "store/retention.h"

static struct tt_segment_list list;

/* Four sealed segments of 10 bytes, whose newest events were taken at 1 s, 2 s, 3 s, 4 s. */
static void fill(void)
{
    for (uint32_t i = 0; i < 5; i++) {
        struct tt_segment s = {.first_offset = i,
                               .base_place = i * 10,
                               .end_place = TT_SEGMENT_GROWS,
                               .taken_max_us = INT64_MIN};
        cr_assert_eq(tt_segment_list_add(&list, &s), TT_OK);
        if (i < 4) tt_segment_list_seal(&list, i * 10, i * 10 + 10, (int64_t)(i + 1) * 1000000);
    }
}
static void drop(void)
{
    tt_segment_list_deinit(&list);
}
TestSuite(retention, .init = fill, .fini = drop);

static uint32_t due(uint64_t bytes, uint64_t ms, uint64_t active_bytes, int64_t wall_us)
{
    const struct tt_retention r = {.bytes = bytes, .ms = ms};
    return tt_retention_due(&r, &list, active_bytes, wall_us);
}

Test(retention, by_bytes)
{
    cr_assert_eq(due(45, UINT64_MAX, 5, 0), 0);
    cr_assert_eq(due(44, UINT64_MAX, 5, 0), 1);
    cr_assert_eq(due(35, UINT64_MAX, 5, 0), 1);
    cr_assert_eq(due(34, UINT64_MAX, 5, 0), 2);
    cr_assert_eq(due(0, UINT64_MAX, 5, 0), 4, "the one that grows stays");
}

Test(retention, by_age)
{
    cr_assert_eq(due(UINT64_MAX, 1000, 5, 2000000), 0, "not older than a second");
    cr_assert_eq(due(UINT64_MAX, 1000, 5, 2000001), 1);
    cr_assert_eq(due(UINT64_MAX, 1000, 5, 4500000), 3);
    cr_assert_eq(due(UINT64_MAX, 1000, 5, 99000000), 4);
    cr_assert_eq(due(UINT64_MAX, 1000, 5, 500000), 0, "a clock that went back keeps them");
    cr_assert_eq(due(UINT64_MAX, UINT64_MAX, 5, INT64_MAX), 0);
}
