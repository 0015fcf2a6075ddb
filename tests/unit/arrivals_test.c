#include <criterion/criterion.h>
#include <stdlib.h>

#include "shard/fanout/arrivals.h"

/* A naive model beside it: the whole vector behind every arrival. */
static unsigned seed = 7;

Test(arrivals, place_zero_is_where_reading_began)
{
    uint64_t start[3] = {5, 0, 900};
    uint64_t v[3];
    struct tt_arrivals a;
    cr_assert_eq(tt_arrivals_init(&a, 3, start), TT_OK);
    cr_assert_eq(tt_arrivals_push(&a, 1, 1), 1);
    cr_assert_eq(tt_arrivals_push(&a, 2, 905), 2); /* Kafka leaves holes */
    tt_arrivals_vector(&a, 0, v);
    cr_assert_arr_eq(v, start, sizeof v);
    tt_arrivals_vector(&a, 1, v);
    cr_assert_eq(v[0], 5);
    cr_assert_eq(v[1], 1);
    cr_assert_eq(v[2], 900);
    tt_arrivals_vector(&a, 2, v);
    cr_assert_eq(v[2], 905);
    tt_arrivals_deinit(&a);
}

Test(arrivals, every_held_place_gives_the_vector_of_then)
{
    enum { PARTITIONS = 5, PUSHES = 70000, SAMPLE = 37 };
    uint64_t next[PARTITIONS] = {0};
    struct tt_arrivals a;
    cr_assert_eq(tt_arrivals_init(&a, PARTITIONS, next), TT_OK);
    uint64_t(*model)[PARTITIONS] = calloc(PUSHES + 1, sizeof *model);
    for (uint64_t i = 1; i <= PUSHES; i++) {
        uint32_t p = (uint32_t)rand_r(&seed) % PARTITIONS;
        next[p] += 1 + (uint32_t)rand_r(&seed) % 3;
        cr_assert_eq(tt_arrivals_push(&a, p, next[p]), i);
        memcpy(model[i], next, sizeof next);
    }
    uint64_t v[PARTITIONS];
    uint64_t held = 0;
    for (uint64_t place = 0; place <= PUSHES; place += SAMPLE) {
        cr_assert_eq(tt_arrivals_holds(&a, place), PUSHES - place < TT_ARRIVALS_RING);
        if (!tt_arrivals_holds(&a, place)) continue;
        held++;
        tt_arrivals_vector(&a, place, v);
        cr_assert_arr_eq(v, model[place], sizeof v, "place %llu", (unsigned long long)place);
    }
    cr_assert_gt(held, 1000);
    cr_assert_not(tt_arrivals_holds(&a, PUSHES + 1));
    free(model);
    tt_arrivals_deinit(&a);
}
