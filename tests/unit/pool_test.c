#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>

#include "proto/base/pool.h"

struct object {
    uint64_t value;
    uint64_t more[10];
};

static struct tt_pool pool;

static void start(uint32_t slab, uint32_t max)
{
    cr_assert_eq(tt_pool_init(&pool, sizeof(struct object), slab, max), TT_OK);
}

static void stop(void)
{
    tt_pool_deinit(&pool);
}

Test(pool, gives_zeroed_objects_until_the_bound, .fini = stop)
{
    uint32_t slot;

    start(4, 10);
    for (uint32_t i = 0; i < 10; i++) {
        struct object *o = tt_pool_get(&pool, &slot);
        cr_assert_not_null(o);
        cr_assert_eq(slot, i);
        for (unsigned k = 0; k < 10; k++) cr_assert_eq(o->more[k], 0);
        memset(o, 0xAA, sizeof(*o));
    }
    cr_assert_null(tt_pool_get(&pool, &slot));
    cr_assert_eq(tt_pool_used(&pool), 10);
    tt_pool_put(&pool, 7);
    struct object *again = tt_pool_get(&pool, &slot);
    cr_assert_eq(slot, 7);
    cr_assert_eq(again->value, 0, "a reused object is zeroed");
    cr_assert_null(tt_pool_get(&pool, &slot));
}

Test(pool, a_name_that_outlived_its_object_is_recognised, .fini = stop)
{
    uint32_t slot;
    uint32_t other;

    start(4, 8);
    struct object *o = tt_pool_get(&pool, &slot);
    uint32_t generation = tt_pool_generation(&pool, slot);
    cr_assert_neq(generation, 0);
    cr_assert_eq(tt_pool_find(&pool, slot, generation), o);
    cr_assert_null(tt_pool_find(&pool, slot, generation + 1));
    cr_assert_null(tt_pool_find(&pool, slot, 0));
    cr_assert_null(tt_pool_find(&pool, slot + 1, 1), "a slot that was never handed out");
    cr_assert_null(tt_pool_find(&pool, TT_SLOT_NONE, generation));
    tt_pool_put(&pool, slot);
    cr_assert_null(tt_pool_find(&pool, slot, generation));
    cr_assert_null(tt_pool_find(&pool, slot, generation + 1), "free, though of that generation");
    cr_assert_eq(tt_pool_get(&pool, &other), o);
    cr_assert_eq(other, slot);
    cr_assert_null(tt_pool_find(&pool, slot, generation));
    cr_assert_eq(tt_pool_find(&pool, slot, generation + 1), o);
}

Test(pool, objects_do_not_move_or_overlap_and_memory_stops_growing, .fini = stop)
{
    enum { COUNT = 1000 };
    static struct object *objects[COUNT];
    static uint32_t slots[COUNT];
    unsigned seed = 1;

    start(64, COUNT);
    for (uint64_t i = 0; i < COUNT; i++) {
        objects[i] = tt_pool_get(&pool, &slots[i]);
        objects[i]->value = i;
        objects[i]->more[9] = ~i;
    }
    size_t bytes = tt_pool_bytes(&pool);
    cr_assert_leq(bytes, tt_pool_bytes_max(&pool));
    for (unsigned round = 0; round < 20000; round++) {
        size_t i = (size_t)rand_r(&seed) % COUNT;
        cr_assert_eq(tt_pool_at(&pool, slots[i]), objects[i]);
        cr_assert_eq(objects[i]->value, i);
        cr_assert_eq(objects[i]->more[9], ~(uint64_t)i);
        tt_pool_put(&pool, slots[i]);
        objects[i] = tt_pool_get(&pool, &slots[i]);
        objects[i]->value = i;
        objects[i]->more[9] = ~(uint64_t)i;
    }
    cr_assert_eq(tt_pool_bytes(&pool), bytes);
}

Test(pool, walks_what_is_in_use, .fini = stop)
{
    uint32_t slot;
    uint32_t met[3];
    unsigned count = 0;

    start(2, 16);
    cr_assert_eq(tt_pool_next(&pool, 0), TT_SLOT_NONE);
    for (unsigned i = 0; i < 6; i++) cr_assert_not_null(tt_pool_get(&pool, &slot));
    tt_pool_put(&pool, 0);
    tt_pool_put(&pool, 3);
    tt_pool_put(&pool, 5);
    for (uint32_t s = tt_pool_next(&pool, 0); s != TT_SLOT_NONE; s = tt_pool_next(&pool, s + 1)) {
        met[count++] = s;
    }
    cr_assert_eq(count, 3);
    cr_assert(met[0] == 1 && met[1] == 2 && met[2] == 4);
}

Test(pool, generations_skip_zero_when_they_wrap, .fini = stop)
{
    uint32_t slot;

    start(1, 1);
    cr_assert_not_null(tt_pool_get(&pool, &slot));
    for (uint32_t i = 0; i < TT_POOL_GENERATION_MAX; i++) {
        tt_pool_put(&pool, slot);
        if (tt_pool_get(&pool, &slot) == NULL || tt_pool_generation(&pool, slot) == 0) {
            cr_assert_fail("life %u", i);
        }
    }
    cr_assert_eq(tt_pool_generation(&pool, slot), 1);
}

Test(pool, an_object_costs_its_size_and_four_bytes, .fini = stop)
{
    start(1024, 1024);
    cr_assert_leq(tt_pool_bytes_max(&pool), 1024 * (sizeof(struct object) + 4) + 64);
}

Test(pool, putting_twice_stops_the_program, .signal = SIGABRT)
{
    uint32_t slot;

    start(4, 4);
    cr_assert_not_null(tt_pool_get(&pool, &slot));
    tt_pool_put(&pool, slot);
    tt_pool_put(&pool, slot);
}
