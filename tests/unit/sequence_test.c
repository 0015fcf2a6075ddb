#include <criterion/criterion.h>

#include "tools/ttload/sequence.h"

Test(sequence, in_order_from_one)
{
    struct tt_sequence s = {0};
    for (uint32_t i = 1; i < 1000; i++) cr_assert_eq(tt_sequence_take(&s, i), TT_SEQUENCE_NEXT);
}

Test(sequence, a_missing_first_event_is_a_gap)
{
    struct tt_sequence s = {0};
    cr_assert_eq(tt_sequence_take(&s, 2), TT_SEQUENCE_GAP);
    cr_assert_eq(tt_sequence_take(&s, 3), TT_SEQUENCE_NEXT);
}

Test(sequence, tells_late_from_doubled)
{
    struct tt_sequence s = {0};
    cr_assert_eq(tt_sequence_take(&s, 1), TT_SEQUENCE_NEXT);
    cr_assert_eq(tt_sequence_take(&s, 1), TT_SEQUENCE_DOUBLED);
    cr_assert_eq(tt_sequence_take(&s, 4), TT_SEQUENCE_GAP);
    cr_assert_eq(tt_sequence_take(&s, 3), TT_SEQUENCE_LATE);
    cr_assert_eq(tt_sequence_take(&s, 3), TT_SEQUENCE_DOUBLED);
    cr_assert_eq(tt_sequence_take(&s, 2), TT_SEQUENCE_LATE);
    cr_assert_eq(tt_sequence_take(&s, 2), TT_SEQUENCE_DOUBLED);
    cr_assert_eq(tt_sequence_take(&s, 5), TT_SEQUENCE_NEXT);
}

Test(sequence, remembers_sixty_four_one_by_one)
{
    struct tt_sequence s = {0};
    cr_assert_eq(tt_sequence_take(&s, 100), TT_SEQUENCE_GAP);
    cr_assert_eq(tt_sequence_take(&s, 37), TT_SEQUENCE_LATE);
    cr_assert_eq(tt_sequence_take(&s, 37), TT_SEQUENCE_DOUBLED);
    cr_assert_eq(tt_sequence_take(&s, 36), TT_SEQUENCE_DOUBLED, "older than what is remembered");
    cr_assert_eq(tt_sequence_take(&s, 1000), TT_SEQUENCE_GAP);
    cr_assert_eq(tt_sequence_take(&s, 999), TT_SEQUENCE_LATE);
    cr_assert_eq(tt_sequence_take(&s, 1000), TT_SEQUENCE_DOUBLED);
}
