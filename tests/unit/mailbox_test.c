#include "shard/mailbox.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

static struct tt_mailbox *box_of(uint32_t capacity)
{
    struct tt_mailbox *box;
    cr_assert_eq(tt_mailbox_create(&box, capacity), TT_OK);
    return box;
}

static void post(struct tt_mailbox *box, uint32_t kind)
{
    struct tt_message m = {.kind = kind, .from = 7};
    memset(m.body, (int)kind, sizeof m.body);
    tt_mailbox_post(box, &m);
}

static void expect(struct tt_mailbox *box, uint32_t kind)
{
    struct tt_message m;
    cr_assert_eq(tt_mailbox_take(box, &m, 1), 1);
    cr_assert_eq(m.kind, kind);
    cr_assert_eq(m.from, 7);
    for (size_t i = 0; i < sizeof m.body; i++) cr_assert_eq(m.body[i], (uint8_t)kind);
}

Test(mailbox, posts_show_when_they_are_published_and_not_before)
{
    struct tt_mailbox *box = box_of(8);
    struct tt_message m;
    cr_assert_not(tt_mailbox_publish(box)); /* nothing posted */
    post(box, 1);
    post(box, 2);
    cr_assert_not(tt_mailbox_waiting(box));
    cr_assert_eq(tt_mailbox_take(box, &m, 1), 0);
    cr_assert(tt_mailbox_publish(box));
    cr_assert_not(tt_mailbox_publish(box)); /* nothing new */
    cr_assert(tt_mailbox_waiting(box));
    post(box, 3);
    expect(box, 1);
    expect(box, 2);
    cr_assert_not(tt_mailbox_waiting(box));
    cr_assert(tt_mailbox_publish(box));
    expect(box, 3);
    tt_mailbox_destroy(&box);
    cr_assert_null(box);
}

Test(mailbox, every_capacity_holds_exactly_itself_through_many_rounds)
{
    for (uint32_t capacity = 1; capacity <= 17; capacity++) {
        struct tt_mailbox *box = box_of(capacity);
        cr_assert_eq(tt_mailbox_capacity(box), capacity);
        uint32_t posted = 0;
        uint32_t taken = 0;
        for (uint32_t round = 0; round < 100; round++) {
            while (posted - taken < capacity) post(box, ++posted);
            cr_assert(tt_mailbox_publish(box));
            for (uint32_t i = 0; i <= round % capacity; i++) expect(box, ++taken);
        }
        while (taken < posted) expect(box, ++taken);
        cr_assert_not(tt_mailbox_waiting(box));
        tt_mailbox_destroy(&box);
    }
}

Test(mailbox, taking_stops_at_its_limit_and_keeps_the_order)
{
    struct tt_mailbox *box = box_of(100);
    struct tt_message m[64];
    for (uint32_t i = 0; i < 100; i++) post(box, i);
    cr_assert(tt_mailbox_publish(box));
    cr_assert_eq(tt_mailbox_take(box, m, 64), 64);
    cr_assert_eq(m[63].kind, 63);
    cr_assert_eq(tt_mailbox_take(box, m, 0), 0);
    cr_assert_eq(tt_mailbox_take(box, m, 64), 36);
    cr_assert_eq(m[0].kind, 64);
    cr_assert_eq(m[35].kind, 99);
    cr_assert_eq(tt_mailbox_take(box, m, 64), 0);
    tt_mailbox_destroy(&box);
}

/* Capacities that are no powers of two are bounds all the same: the sum is wrong, so we stop. */
Test(mailbox, a_post_beyond_the_written_sum_is_a_bug, .signal = SIGABRT)
{
    struct tt_mailbox *box = box_of(5);
    for (uint32_t i = 0; i < 5; i++) post(box, i);
    tt_mailbox_publish(box);
    post(box, 5);
}

Test(mailbox, parking_is_seen_until_it_ends)
{
    struct tt_parking p;
    tt_parking_init(&p);
    cr_assert_not(tt_parking_is_set(&p));
    tt_parking_set(&p);
    tt_parking_fence();
    cr_assert(tt_parking_is_set(&p));
    tt_parking_clear(&p);
    cr_assert_not(tt_parking_is_set(&p));
}
