#include <criterion/criterion.h>
#include <stdlib.h>

#include "shard/client/outbox.h"

static struct tt_outbox_pool pool;
static struct tt_frame_memory memory;
static struct tt_outbox box;

static void begin(void)
{
    tt_outbox_pool_init(&pool);
    tt_frame_memory_init(&memory, 1 << 20);
    box = (struct tt_outbox){0};
}

static void end(void)
{
    tt_outbox_clear(&box, &pool);
    cr_expect_eq(memory.bytes, 0, "every frame was put");
    cr_expect_eq(pool.blocks, 0, "every block was put");
    tt_outbox_pool_deinit(&pool);
    tt_frame_memory_deinit(&memory);
}

static void push(uint64_t number, enum tt_frame_kind kind)
{
    struct tt_frame *f = tt_frame_create(&memory, 10);
    f->bytes = f->a_bytes = 10;
    f->arrival = number;
    f->kind = (uint8_t)kind;
    cr_assert_eq(tt_outbox_push(&box, &pool, f), TT_OK);
}

static uint64_t pop(void)
{
    struct tt_frame *f = tt_outbox_pop(&box, &pool);
    uint64_t number = f->arrival;
    tt_frame_put(&f);
    return number;
}

TestSuite(outbox, .init = begin, .fini = end);

Test(outbox, keeps_order_through_any_mixture_of_pushes_and_pops)
{
    unsigned seed = 3;
    uint64_t in = 0, out = 0;
    for (int i = 0; i < 20000; i++) {
        if (rand_r(&seed) % 100 < 52) {
            push(++in, TT_FRAME_EVENT);
        } else if (out < in) {
            cr_assert_eq(tt_outbox_first(&box)->arrival, out + 1);
            cr_assert_eq(pop(), ++out);
        }
        cr_assert_eq(box.count, in - out);
        cr_assert_eq(box.bytes, (in - out) * (10 + TT_OUTBOX_ENTRY_BYTES));
        if (i % 500 == 0) {
            struct tt_outbox_walk walk = {0};
            uint64_t expected = out;
            struct tt_frame *f;
            while ((f = tt_outbox_walk(&box, &walk)) != NULL) cr_assert_eq(f->arrival, ++expected);
            cr_assert_eq(expected, in, "a walk meets all");
        }
    }
}

Test(outbox, dropping_events_keeps_control_frames_and_what_was_begun)
{
    for (unsigned sent = 0; sent < 2; sent++) {
        for (unsigned n = 0; n < 60; n++) {
            for (uint64_t i = 1; i <= n; i++)
                push(i, i % 7 == 0    ? TT_FRAME_CONTROL
                        : i % 11 == 0 ? TT_FRAME_RESYNC
                        : i % 13 == 0 ? TT_FRAME_GAP
                        : i % 5 == 0  ? TT_FRAME_HEARTBEAT
                                      : TT_FRAME_EVENT);
            box.sent = n != 0 ? sent * 4 : 0;
            cr_assert_eq(tt_outbox_drop_events(&box, &pool), TT_OK);
            cr_assert_eq(box.sent, n != 0 && sent != 0 ? 4 : 0);
            for (uint64_t i = 1; i <= n; i++) {
                bool keep = (i == 1 && sent != 0) || i % 7 == 0;
                if (keep) cr_assert_eq(pop(), i, "of %u", n);
            }
            cr_assert_eq(box.count, 0, "of %u", n);
        }
    }
}

Test(outbox, a_position_told_goes_with_an_event_dropped_before_it)
{
    /* Each kind that moves the client's position, before and behind an event, and behind one that
     * was begun and is kept. */
    enum tt_frame_kind kinds[] = {TT_FRAME_RESYNC, TT_FRAME_GAP};
    for (unsigned k = 0; k < 2; k++) {
        push(1, TT_FRAME_CONTROL);
        push(2, kinds[k]);
        push(3, TT_FRAME_HEARTBEAT);
        push(4, kinds[k]);
        push(5, TT_FRAME_EVENT);
        push(6, kinds[k]);
        push(7, TT_FRAME_CONTROL);
        cr_assert_eq(tt_outbox_drop_events(&box, &pool), TT_OK);
        cr_assert_eq(pop(), 1);
        cr_assert_eq(pop(), 2);
        cr_assert_eq(pop(), 4, "a heartbeat moves nothing");
        cr_assert_eq(pop(), 7, "6 would move past 5, which is dropped");
        cr_assert_eq(box.count, 0);

        push(1, TT_FRAME_EVENT);
        push(2, kinds[k]);
        push(3, TT_FRAME_EVENT);
        push(4, kinds[k]);
        box.sent = 1;
        cr_assert_eq(tt_outbox_drop_events(&box, &pool), TT_OK);
        cr_assert_eq(pop(), 1);
        cr_assert_eq(pop(), 2, "1 was begun: it is sent whole");
        cr_assert_eq(box.count, 0);
    }
}

Test(outbox, a_shared_frame_lives_until_its_last_reference_is_put)
{
    struct tt_frame *f = tt_frame_create(&memory, 100);
    size_t held = memory.bytes;
    struct tt_frame *again = tt_frame_get(f);
    tt_frame_put(&f);
    cr_assert_null(f);
    cr_assert_eq(memory.bytes, held);
    tt_frame_put(&again);
    cr_assert_eq(memory.bytes, 0);
}

Test(outbox, frames_of_a_size_are_used_again_without_asking_the_system)
{
    for (size_t size = 0; size < 20000; size += 333) {
        struct tt_frame *f = tt_frame_create(&memory, size);
        memset(f->data, 0xAB, size);
        tt_frame_put(&f);
        uint64_t before = memory.allocations;
        if (size > 16000) continue; /* larger ones are not kept */
        for (int i = 0; i < 10; i++) {
            f = tt_frame_create(&memory, size);
            tt_frame_put(&f);
        }
        cr_assert_eq(memory.allocations, before, "size %zu", size);
    }
}

Test(outbox, the_last_frame_is_the_one_pushed_last)
{
    struct tt_outbox o = {0};
    cr_assert_null(tt_outbox_last(&o));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 40; i++) {
            struct tt_frame *f = tt_frame_create(&memory, 10);
            cr_assert_eq(tt_outbox_push(&o, &pool, f), TT_OK);
            cr_assert_eq(tt_outbox_last(&o), f);
        }
        struct tt_frame *last = tt_outbox_last(&o);
        while (o.count != 0) {
            cr_assert_eq(tt_outbox_last(&o), last);
            struct tt_frame *f = tt_outbox_pop(&o, &pool);
            tt_frame_put(&f);
        }
        cr_assert_null(tt_outbox_last(&o));
    }
}
