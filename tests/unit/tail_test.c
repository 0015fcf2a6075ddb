#include <criterion/criterion.h>
#include <stdlib.h>

#include "store/record.h"
#include "store/tail.h"

static struct tt_tail_readers *readers;
static struct tt_tail *tail;
static uint64_t place, window_end, offset;
static uint8_t *window;

static void set_up(void)
{
    cr_assert_eq(tt_tail_readers_create(&readers, 2), TT_OK);
    const struct tt_tail_options options = {
        .bytes = 6u << 20, .record_bytes_max = 2u << 20, .next_offset = 7, .readers = readers};
    cr_assert_eq(tt_tail_create(&tail, &options), TT_OK);
    offset = 7;
}
static void tear_down(void)
{
    tt_tail_destroy(&tail);
    tt_tail_readers_destroy(&readers);
}
TestSuite(tail, .init = set_up, .fini = tear_down);

/* Puts one record of so many bytes at the next place; a large one, or one that does not fit, into
 * chunks of its own. */
static enum tt_status put(uint32_t bytes)
{
    if (place + bytes > window_end) {
        uint32_t chunks = (bytes + TT_CHUNK_BYTES - 1) / TT_CHUNK_BYTES;
        struct tt_tail_plan plan = tt_tail_plan(tail);
        (void)tt_tail_reclaim(tail, place);
        enum tt_status status = tt_tail_plan_open(tail, &plan, chunks);
        if (status != TT_OK) {
            tt_tail_want(tail, &plan, 1);
            return status;
        }
        place = window_end;
        window = tt_tail_open_chunks(tail, place, chunks);
        cr_assert_not_null(window);
        window_end += (uint64_t)chunks * TT_CHUNK_BYTES;
    }
    struct tt_tail_descriptor d = {
        .offset = offset++, .place = place, .length = bytes, .class = TT_RECORD_EVENT};
    memset(window, (int)(d.offset & 0xFF), bytes);
    tt_tail_commit(tail, &d, window);
    window += bytes;
    place += bytes;
    return TT_OK;
}

static void read_all(uint32_t shard)
{
    bool wake = tt_tail_advance(tail, shard, tt_tail_head(tail));
    wake |= tt_tail_turn(readers, shard);
    (void)wake;
}

Test(tail, seen_once_published)
{
    const struct tt_tail_descriptor *run;
    uint64_t next;
    cr_assert_eq(tt_tail_start(tail, &next), 0);
    cr_assert_eq(next, 7);
    cr_assert_eq(put(64), TT_OK);
    cr_assert_eq(put(128), TT_OK);
    cr_assert_eq(tt_tail_read(tail, 0, 100, &run), 0);
    cr_assert(tt_tail_publish(tail, 9));
    cr_assert_eq(tt_tail_head_offset(tail), 9);
    cr_assert_eq(tt_tail_read(tail, 0, 1, &run), 1);
    cr_assert_eq(tt_tail_read(tail, 0, 100, &run), 2);
    cr_assert_eq(run[1].offset, 8);
    struct tt_bytes record = tt_tail_record(tail, &run[1]);
    cr_assert_eq(record.size, 128);
    cr_assert_eq(record.data[127], 8);
}

Test(tail, published_below_a_place_only_what_ends_there)
{
    for (int i = 0; i < 5; i++) cr_assert_eq(put(100 * 8), TT_OK);
    cr_assert_not(tt_tail_publish_below(tail, 799));
    cr_assert(tt_tail_publish_below(tail, 800));
    cr_assert_eq(tt_tail_head(tail), 1);
    cr_assert_eq(tt_tail_head_offset(tail), 8);
    cr_assert(tt_tail_publish_below(tail, 3999));
    cr_assert_eq(tt_tail_head(tail), 4);
}

Test(tail, memory_is_freed_only_after_every_shards_turn)
{
    uint64_t first_offset;
    for (int i = 0; i < 12; i++) cr_assert_eq(put(TT_CHUNK_BYTES / 2), TT_OK);
    cr_assert_eq(put(8), TT_FULL, "nobody has read");
    cr_assert(tt_tail_publish(tail, offset));
    read_all(0);
    cr_assert_eq(put(8), TT_FULL, "one has not read");
    read_all(1);
    cr_assert_eq(put(8), TT_FULL, "first has moved, turns must end");
    cr_assert_gt(tt_tail_first(tail, &first_offset), 0);
    cr_assert_geq(first_offset, 9);
    read_all(0);
    cr_assert_eq(put(8), TT_FULL, "one turn has not ended");
    bool wake = tt_tail_park(readers, 1); /* counts as an end */
    (void)wake;
    cr_assert_eq(put(8), TT_OK);
    tt_tail_unpark(readers, 1);
}

Test(tail, memory_is_freed_only_when_written)
{
    for (int i = 0; i < 12; i++) cr_assert_eq(put(TT_CHUNK_BYTES / 2), TT_OK);
    cr_assert(tt_tail_publish(tail, offset));
    read_all(0);
    read_all(1);
    cr_assert_not(tt_tail_reclaim(tail, TT_CHUNK_BYTES - 8));
    read_all(0);
    read_all(1);
    cr_assert_not(tt_tail_reclaim(tail, TT_CHUNK_BYTES - 8));
    cr_assert_not(tt_tail_reclaim(tail, TT_CHUNK_BYTES), "withdrawn, turns under way");
    read_all(0);
    read_all(1);
    cr_assert(tt_tail_reclaim(tail, TT_CHUNK_BYTES));
}

Test(tail, who_waits_for_room_is_named)
{
    for (int i = 0; i < 12; i++) cr_assert_eq(put(TT_CHUNK_BYTES / 2), TT_OK);
    cr_assert(tt_tail_publish(tail, offset));
    cr_assert_not(tt_tail_advance(tail, 0, 1));
    cr_assert_not(tt_tail_turn(readers, 0));
    cr_assert_eq(put(8), TT_FULL);
    cr_assert_not(tt_tail_wait(tail, place));
    cr_assert(tt_tail_advance(tail, 0, 2));
    cr_assert(tt_tail_turn(readers, 0));
    cr_assert(tt_tail_park(readers, 1));
    cr_assert(tt_tail_owner_waits(readers, 0));
    cr_assert_not(tt_tail_owner_waits(readers, 1));
    tt_tail_wait_over(tail);
    cr_assert_not(tt_tail_advance(tail, 0, 3));
    cr_assert_not(tt_tail_turn(readers, 0));
}

Test(tail, the_owners_own_turn_is_nothing_to_sleep_for)
{
    for (int i = 0; i < 12; i++) cr_assert_eq(put(TT_CHUNK_BYTES / 2), TT_OK);
    cr_assert(tt_tail_publish(tail, offset));
    read_all(0);
    read_all(1);
    cr_assert_eq(put(8), TT_FULL);
    cr_assert_not(tt_tail_wait(tail, place), "shard 1 is in its turn, and will wake the owner");
    cr_assert(tt_tail_turn(readers, 1));
    cr_assert(tt_tail_wait(tail, place), "only its own is left");
    cr_assert(tt_tail_turn(readers, 0));
    cr_assert_eq(put(8), TT_OK);
}

/* Whatever came before, the largest record always fits in the end. */
Test(tail, large_records_fit_at_any_position_of_the_ring)
{
    unsigned seed = 9;
    for (int i = 0; i < 3000; i++) {
        uint32_t bytes =
            rand_r(&seed) % 5 == 0 ? 2u << 20 : ((uint32_t)rand_r(&seed) % 90000 + 1) * 8;
        enum tt_status status;
        for (int turns = 0; (status = put(bytes)) == TT_FULL; turns++) {
            cr_assert_lt(turns, 8, "record %d of %u bytes does not get room", i, bytes);
            (void)tt_tail_publish(tail, offset);
            read_all(0);
            read_all(1);
        }
        cr_assert_eq(status, TT_OK);
    }
}

Test(tail, small_records_never_run_out_of_descriptors_for_good)
{
    for (int i = 0; i < 200000; i++) {
        for (int turns = 0; tt_tail_has_descriptors(tail, 1) != TT_OK; turns++) {
            cr_assert_lt(turns, 8);
            (void)tt_tail_publish(tail, offset);
            (void)tt_tail_reclaim(tail, place);
            read_all(0);
            read_all(1);
        }
        enum tt_status status;
        while ((status = put(56)) == TT_FULL) {
            (void)tt_tail_publish(tail, offset);
            read_all(0);
            read_all(1);
        }
        cr_assert_eq(status, TT_OK);
    }
}

Test(tail, found_by_offset_and_by_place)
{
    for (int i = 0; i < 100; i++) {
        cr_assert_eq(put(80), TT_OK);
        offset++; /* every other offset is missing, as in Kafka */
    }
    cr_assert(tt_tail_publish(tail, offset));
    for (uint64_t o = 0; o < offset + 3; o++) {
        uint64_t want = o <= 7 ? 0 : (o - 7 + 1) / 2;
        if (want > 100) want = 100;
        cr_assert_eq(tt_tail_find(tail, 0, 100, o), want, "offset %llu", (unsigned long long)o);
    }
    struct tt_bytes bytes = tt_tail_bytes(tail, 160, 400);
    cr_assert_eq(bytes.size, 240);
    cr_assert_eq(bytes.data[0], 7 + 2 * 2);
    uint64_t sequence = 0, end = 1, next = 2;
    tt_tail_whole_below(tail, 79, &sequence, &end, &next);
    cr_assert_eq(end, 1);
    tt_tail_whole_below(tail, 399, &sequence, &end, &next);
    cr_assert_eq(sequence, 4);
    cr_assert_eq(end, 320);
    cr_assert_eq(next, 7 + 3 * 2 + 1);
}
