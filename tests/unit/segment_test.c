#include <criterion/criterion.h>

#include "store/segment.h"

static struct tt_segment_list list;

static void fill(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct tt_segment s = {.first_offset = 10 + i * 100,
                               .base_place = (uint64_t)i << 20,
                               .end_place = TT_SEGMENT_GROWS,
                               .taken_max_us = INT64_MIN};
        if (i != 0) tt_segment_list_seal(&list, (uint64_t)(i - 1) << 20, (uint64_t)i << 20, i);
        cr_assert_eq(tt_segment_list_add(&list, &s), TT_OK);
    }
}

Test(segment, found_by_offset_and_place)
{
    fill(50);
    cr_assert_null(tt_segment_list_find_offset(&list, 9), "expired");
    for (uint64_t offset = 10; offset < 6000; offset += 7) {
        uint64_t want = (offset - 10) / 100 < 50 ? (offset - 10) / 100 : 49;
        cr_assert_eq(tt_segment_list_find_offset(&list, offset), &list.items[want]);
    }
    cr_assert_eq(tt_segment_list_find_place(&list, 0), &list.items[0]);
    cr_assert_eq(tt_segment_list_find_place(&list, (1u << 20) - 1), &list.items[0]);
    cr_assert_eq(tt_segment_list_find_place(&list, 1u << 20), &list.items[1]);
    cr_assert_eq(tt_segment_list_find_place(&list, UINT64_C(1) << 40), &list.items[49]);
    cr_assert_eq(tt_segment_list_sealed_bytes(&list), UINT64_C(49) << 20);
    tt_segment_list_deinit(&list);
}

Test(segment, retired_from_the_oldest_only)
{
    fill(5);
    tt_segment_list_retire(&list, 1u << 20);
    cr_assert_eq(list.count, 5, "not the oldest");
    tt_segment_list_retire(&list, 0);
    tt_segment_list_retire(&list, 0);
    cr_assert_eq(list.count, 4);
    cr_assert_null(tt_segment_list_find_offset(&list, 109));
    cr_assert_eq(tt_segment_list_find_offset(&list, 110)->base_place, 1u << 20);
    cr_assert_null(tt_segment_list_at(&list, 0));
    cr_assert_eq(tt_segment_list_at(&list, 2u << 20)->first_offset, 210);
    tt_segment_list_deinit(&list);
}

Test(segment, names)
{
    char name[TT_SEGMENT_NAME_BYTES], path[64];
    uint64_t offset;
    tt_segment_name(1042, name);
    cr_assert_str_eq(name, "00000000000000001042.seg");
    cr_assert_eq(tt_segment_name_parse(name, &offset), TT_OK);
    cr_assert_eq(offset, 1042);
    static const char *const bad[] = {"",
                                      "ceiling",
                                      "1042.seg",
                                      "0000000000000000104x.seg",
                                      "00000000000000001042.idx",
                                      "99999999999999999999.seg",
                                      "00000000000000001042.seg.new"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert_eq(tt_segment_name_parse(bad[i], &offset), TT_EINVAL, "%s", bad[i]);
    cr_assert_eq(tt_segment_path("data/0", 7, path, sizeof path), TT_OK);
    cr_assert_str_eq(path, "data/0/00000000000000000007.seg");
    cr_assert_eq(tt_segment_path("data/0", 7, path, 31), TT_EINVAL);
}
