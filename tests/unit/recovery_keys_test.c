/* The keys that recovery notes: in whatever order they come, joined, and bounded. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "store/recovery_internal.h"

static struct tt_recovery_options options;
static struct tt_recovery recovery = {.options = &options};
static struct tt_recovered_partition partition;

static void begin(uint32_t keys_max)
{
    options = (struct tt_recovery_options){
        .wall_us = 1000000, .keys_window_us = 1000, .keys_max = keys_max};
    partition = (struct tt_recovered_partition){0};
}

static void take(uint8_t key, uint8_t body, uint32_t index, uint64_t offset, uint32_t count,
                 int64_t age_us)
{
    struct tt_record_idempotency block = {.index = index, .count = 1000};
    block.key_hash[0] = key;
    block.body_hash[15] = body;
    cr_assert_eq(tt_recovery_take_key(&recovery, &partition, &block, offset, count,
                                      options.wall_us - age_us),
                 TT_OK);
}

static void has(uint32_t i, uint8_t key, uint32_t index, uint64_t offset, uint32_t count)
{
    cr_assert_lt(i, partition.keys_count);
    const struct tt_recovered_key *k = &partition.keys[i];
    cr_assert_eq(k->block.key_hash[0], key);
    cr_assert_eq(k->block.index, index);
    cr_assert_eq(k->first_offset, offset);
    cr_assert_eq(k->count, count);
}

static void end(uint32_t keys_count)
{
    tt_recovery_finish_keys(&recovery, &partition);
    cr_assert_eq(partition.keys_count, keys_count);
}

Test(recovery_keys, events_of_one_batch_become_one)
{
    begin(100);
    for (uint32_t i = 0; i < 10; i++) take(1, 0, 3 * i, 50 + i, 1, 5);
    take(2, 0, 0, 60, 1, 5);
    take(1, 0, 40, 61, 1, 5); /* the rest of the first, by a retry */
    take(1, 0, 45, 62, 1, 5);
    take(1, 1, 46, 63, 1, 5); /* another body */
    take(1, 1, 0, 64, 1, 5);  /* the same batch once more, from its beginning */
    end(5);
    has(0, 1, 0, 50, 10);
    has(1, 2, 0, 60, 1);
    has(2, 1, 40, 61, 2);
    has(3, 1, 46, 63, 1);
    has(4, 1, 0, 64, 1);
    free(partition.keys);
}

Test(recovery_keys, come_in_any_order)
{
    begin(100);
    for (uint32_t i = 0; i < 5; i++) take(2, 0, 5 + i, 25 + i, 1, 5); /* the newest segment */
    take(3, 0, 0, 30, 1, 5);
    take(1, 0, 0, 10, 10, 5); /* and what its predecessor's index says */
    take(2, 0, 0, 20, 5, 5);
    end(3);
    has(0, 1, 0, 10, 10);
    has(1, 2, 0, 20, 10);
    has(2, 3, 0, 30, 1);
    free(partition.keys);
}

Test(recovery_keys, the_window_bounds_them)
{
    begin(100);
    take(1, 0, 0, 1, 1, 1000);
    take(2, 0, 0, 2, 1, 999);
    take(3, 0, 0, 3, 1, -5000000); /* the clock went backwards since */
    end(2);
    has(0, 2, 0, 2, 1);
    has(1, 3, 0, 3, 1);
    free(partition.keys);
}

Test(recovery_keys, the_newest_are_kept)
{
    for (uint32_t most = 1; most < 300; most = most * 3 + 1) {
        begin(most);
        for (uint32_t i = 0; i < 1000; i++) take((uint8_t)i, (uint8_t)(i >> 8), 0, i, 1, 5);
        cr_assert_leq(partition.keys_capacity, 4 * most < 64 ? 64 : 4 * most);
        end(most);
        for (uint32_t i = 0; i < most; i++) {
            uint32_t expected = 1000 - most + i;
            has(i, (uint8_t)expected, 0, expected, 1);
        }
        free(partition.keys);
    }
    begin(0);
    take(1, 0, 0, 1, 1, 5);
    end(0);
    cr_assert_null(partition.keys);
}
