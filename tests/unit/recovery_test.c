#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/ceiling.h"
#include "tests/support/store_rig.h"

static struct store_rig rig;
static struct store_rig_options options;

static void set_up(void)
{
    store_rig_init(&rig);
    options = (struct store_rig_options){.policy = TT_LOG_INTERVAL,
                                         .segment_bytes = 2u << 20,
                                         .tail_bytes = 4u << 20,
                                         .event_bytes_max = 256u << 10};
}
static void tear_down(void)
{
    store_rig_deinit(&rig);
}
TestSuite(recovery, .init = set_up, .fini = tear_down);

static void open_log(void)
{
    cr_assert_eq(store_rig_open(&rig, &options), TT_OK, "%s", rig.error);
    store_rig_run(&rig);
}

static uint64_t append_ok(size_t bytes)
{
    uint64_t offset, end;
    enum tt_status status = store_rig_append(&rig, "a", bytes, &offset, &end);
    cr_assert_eq(status, TT_OK, "status %d", status);
    return offset;
}

static void pump(int events, size_t bytes)
{
    for (int i = 0; i < events; i++) {
        append_ok(bytes);
        rig.now.ns += 200000000; /* the sync is due */
        store_rig_run(&rig);
        store_rig_read(&rig);
        store_rig_read(&rig);
        struct tt_log_notice notice;
        while (tt_log_take_notice(rig.log, &notice) == TT_OK) continue;
    }
}

/* What was written is synced. */
static void settle(void)
{
    rig.now.ns += 200000000;
    store_rig_run(&rig);
}

static const struct tt_recovered_partition *recovered(void)
{
    return &rig.recovered->partitions[0];
}

static struct store_rig_file *newest_segment(void)
{
    struct store_rig_file *newest = NULL;
    for (int i = 0; i < rig.count; i++) {
        struct store_rig_file *f = &rig.files[i];
        if (!f->exists || strstr(f->path, ".seg") == NULL) continue;
        if (newest == NULL || strcmp(f->path, newest->path) > 0) newest = f;
    }
    return newest;
}

Test(recovery, a_new_log_is_made_and_found_again)
{
    open_log();
    cr_assert(rig.recovered->created);
    struct tt_history history = rig.recovered->history;
    store_rig_close(&rig);
    store_rig_kill(&rig);
    open_log();
    cr_assert_not(rig.recovered->created);
    cr_assert(tt_history_equal(history, rig.recovered->history));
    cr_assert_eq(rig.recovered->hash_key.k0, 22);
    cr_assert_eq(rig.recovered->hash_key.k1, 33);
    cr_assert_eq(recovered()->next_offset, 0);
    cr_assert_eq(recovered()->hole_first, recovered()->hole_end);
}

Test(recovery, a_clean_stop_goes_on_with_the_next_offset)
{
    uint64_t first, next, holes;
    for (int life = 0; life < 8; life++) {
        open_log();
        cr_assert_eq(recovered()->hole_first, recovered()->hole_end);
        cr_assert_eq(recovered()->torn_bytes, 0);
        for (int i = 0; i < 7; i++) cr_assert_eq(append_ok(60000), (uint64_t)(life * 7 + i));
        store_rig_close(&rig);
        cr_assert(tt_log_closed(rig.log));
        store_rig_kill(&rig);
    }
    open_log();
    cr_assert_eq(store_rig_walk(&rig, &first, &next, &holes), 56);
    cr_assert_eq(first, 0);
    cr_assert_eq(next, 56);
    cr_assert_eq(holes, 0);
}

/* A stop says, in a last batch, that everything before is on the disk: what goes bad there later is
 * damage, also in the newest records, and no torn tail that may be cut off. */
Test(recovery, after_a_clean_stop_a_bad_byte_is_never_taken_for_a_torn_tail)
{
    for (int policy = TT_LOG_ALWAYS; policy <= TT_LOG_NEVER; policy++) {
        options.policy = (enum tt_log_policy)policy;
        for (int synced = 0; synced < 2; synced++) {
            store_rig_deinit(&rig);
            store_rig_init(&rig);
            open_log();
            for (int i = 0; i < 5; i++) append_ok(1000);
            if (synced) settle();
            uint64_t offset, last;
            cr_assert_eq(store_rig_append(&rig, "a", 1000, &offset, &last), TT_OK);
            if (synced) settle();
            store_rig_close(&rig);
            cr_assert(tt_log_closed(rig.log));
            store_rig_kill(&rig);
            newest_segment()->data[last - 100] ^= 1; /* in the newest event */
            cr_assert_eq(store_rig_open(&rig, &options), TT_ECORRUPT, "policy %d, synced %d: %s",
                         policy, synced, rig.error);
            store_rig_kill(&rig);
        }
    }
}

Test(recovery, after_a_kill_no_offset_is_used_again)
{
    open_log();
    pump(10, 100);
    append_ok(100); /* seen by a client, perhaps, but never written */
    cr_assert(tt_log_publish(rig.log));
    store_rig_kill(&rig);
    open_log();
    cr_assert_eq(recovered()->hole_first, 10);
    cr_assert_geq(recovered()->hole_end, 11);
    cr_assert_eq(tt_tail_head_offset(rig.tail), recovered()->hole_end);
    cr_assert_eq(append_ok(100), recovered()->hole_end);
    /* The hole is in memory below what shards start with, and on disk. */
    uint64_t first_offset, start_offset, first = tt_tail_first(rig.tail, &first_offset);
    cr_assert_eq(first_offset, 10);
    cr_assert_eq(tt_tail_start(rig.tail, &start_offset), 1);
    cr_assert_eq(start_offset, recovered()->hole_end);
    cr_assert_eq(tt_tail_find(rig.tail, first, 1, 11), 0, "offsets in the hole find the hole");
    store_rig_run(&rig);
    uint64_t next, holes, oldest;
    cr_assert_eq(store_rig_walk(&rig, &oldest, &next, &holes), 11);
    cr_assert_eq(holes, 1);
}

Test(recovery, always_leaves_no_hole)
{
    options.policy = TT_LOG_ALWAYS;
    open_log();
    for (int i = 0; i < 5; i++) pump(1, 100);
    store_rig_power_cut(&rig);
    open_log();
    cr_assert_eq(recovered()->next_offset, 5);
    cr_assert_eq(recovered()->hole_first, recovered()->hole_end);
}

Test(recovery, a_power_cut_loses_only_what_was_not_synced)
{
    open_log();
    pump(5, 1000);
    settle();
    for (int i = 0; i < 3; i++) append_ok(1000);
    store_rig_run(&rig); /* written, not synced */
    store_rig_power_cut(&rig);
    open_log();
    cr_assert_eq(recovered()->hole_first, 5);
    store_rig_run(&rig);
    uint64_t first, next, holes;
    cr_assert_eq(store_rig_walk(&rig, &first, &next, &holes), 5);
}

/* What is torn at the end, at any length and with any bytes behind, is cut off. */
Test(recovery, a_torn_tail_is_cut_at_every_length)
{
    open_log();
    pump(3, 50);
    settle();
    struct store_rig_file *f = newest_segment();
    uint64_t durable = tt_tail_durable_place(rig.tail);
    append_ok(50);
    store_rig_run(&rig); /* the fourth: written, not synced */
    uint64_t end = tt_tail_written_place(rig.tail);
    size_t size = f->size;
    static uint8_t whole[2u << 20];
    cr_assert_leq(size, sizeof whole);
    memcpy(whole, f->data, size);
    for (uint64_t cut = durable; cut < end; cut++) {
        store_rig_kill(&rig);
        f->size = size;
        memcpy(f->data, whole, size);
        memset(f->data + cut, cut % 2 == 0 ? 0 : 0xA5, end - cut);
        cr_assert_eq(store_rig_recover(&rig, &options), TT_OK, "cut at %llu: %s",
                     (unsigned long long)cut, rig.error);
        bool changed = false; /* the padding of a record is zeros */
        for (uint64_t i = cut; i < end; i++) changed |= whole[i] != (cut % 2 == 0 ? 0 : 0xA5);
        cr_assert_eq(recovered()->hole_first, changed ? 3 : 4, "cut at %llu",
                     (unsigned long long)cut);
    }
    store_rig_kill(&rig);
    open_log(); /* and it goes on */
    append_ok(50);
    store_rig_run(&rig);
    uint64_t first, next, holes;
    cr_assert_eq(store_rig_walk(&rig, &first, &next, &holes), 4);
}

/* Every byte of what was durable counts: a change is refused, and told where. */
Test(recovery, damage_below_the_durable_place_is_refused)
{
    open_log();
    pump(6, 40); /* the batch of each tells that the one before was durable */
    struct store_rig_file *f = newest_segment();
    store_rig_kill(&rig);
    size_t refused = 0, tried = 0;
    for (size_t at = 210; at < 700; at += 3) {
        f->data[at] ^= 0x10;
        enum tt_status status = store_rig_recover(&rig, &options);
        tried++;
        if (status == TT_ECORRUPT) {
            cr_assert_not_null(strstr(rig.error, f->path), "%s", rig.error);
            cr_assert_not_null(strstr(rig.error, "byte "), "%s", rig.error);
            cr_assert_not_null(strstr(rig.error, "ttlog verify data"), "%s", rig.error);
            cr_assert_not_null(strstr(rig.error, "ttlog repair"), "%s", rig.error);
            refused++;
        }
        f->data[at] ^= 0x10;
        cr_assert_eq(status, TT_ECORRUPT, "byte %zu was not noticed", at);
    }
    cr_assert_eq(refused, tried);
}

Test(recovery, a_missing_segment_is_refused)
{
    open_log();
    pump(60, 100000);
    store_rig_close(&rig);
    const struct tt_segment *second = &tt_log_segments(rig.log)->items[1];
    char path[TT_LOG_PATH_BYTES];
    cr_assert_eq(tt_segment_path("data/0", second->first_offset, path, sizeof path), TT_OK);
    store_rig_find(&rig, path)->exists = false;
    store_rig_kill(&rig);
    cr_assert_eq(store_rig_recover(&rig, &options), TT_ECORRUPT);
    cr_assert_not_null(strstr(rig.error, "missing"), "%s", rig.error);
}

Test(recovery, sealed_segments_are_not_read)
{
    open_log();
    pump(20, 100000);
    store_rig_close(&rig);
    store_rig_kill(&rig);
    cr_assert_eq(store_rig_recover(&rig, &options), TT_OK);
    uint64_t few = rig.read_bytes;
    store_rig_kill(&rig);
    open_log();
    pump(200, 100000);
    store_rig_close(&rig);
    store_rig_kill(&rig);
    cr_assert_eq(store_rig_recover(&rig, &options), TT_OK);
    cr_assert_leq(rig.read_bytes, few + (2u << 20) + 20 * 1000, "%llu, then %llu",
                  (unsigned long long)few, (unsigned long long)rig.read_bytes);
}

Test(recovery, a_segment_that_was_not_finished_is_removed)
{
    open_log();
    pump(5, 100);
    store_rig_close(&rig);
    store_rig_kill(&rig);
    struct store_rig_file *f = &rig.files[rig.count++];
    *f = (struct store_rig_file){.exists = true, .size = 2u << 20};
    f->data = calloc(1, f->size);
    f->capacity = f->size;
    snprintf(f->path, sizeof f->path, "data/0/%020llu.seg", 5ull);
    open_log();
    cr_assert_eq(recovered()->removed_files, 1);
    cr_assert_eq(recovered()->next_offset, 5);
    cr_assert_eq(append_ok(10), 5);
}

Test(recovery, the_number_of_partitions_is_fixed)
{
    open_log();
    store_rig_kill(&rig);
    options.partitions = 8;
    cr_assert_eq(store_rig_recover(&rig, &options), TT_EINVAL);
    cr_assert_str_eq(rig.error, "data/META: the log was created with 1 partitions, 8 are "
                                "configured; their number cannot change");
}

Test(recovery, damaged_small_files_are_refused)
{
    open_log();
    store_rig_kill(&rig);
    struct store_rig_file *meta = store_rig_find(&rig, "data/META");
    meta->data[20] ^= 1;
    cr_assert_eq(store_rig_recover(&rig, &options), TT_ECORRUPT);
    cr_assert_not_null(strstr(rig.error, "META"));
    meta->data[20] ^= 1;
    struct store_rig_file *ceiling = store_rig_find(&rig, "data/0/ceiling");
    ceiling->data[9] ^= 1; /* one slot may be torn */
    cr_assert_eq(store_rig_recover(&rig, &options), TT_OK, "%s", rig.error);
    store_rig_kill(&rig);
    memset(ceiling->data, 0, ceiling->size);
    cr_assert_eq(store_rig_recover(&rig, &options), TT_ECORRUPT);
    cr_assert_not_null(strstr(rig.error, "data/0/ceiling"), "%s", rig.error);
}

Test(recovery, a_creation_that_did_not_end_is_done_again)
{
    open_log();
    store_rig_kill(&rig);
    store_rig_find(&rig, "data/META")->exists = false;
    open_log();
    cr_assert(rig.recovered->created);
    pump(1, 10);
    store_rig_kill(&rig);
    store_rig_find(&rig, "data/META")->exists = false;
    cr_assert_eq(store_rig_recover(&rig, &options), TT_ECORRUPT, "not over somebody's events");
}

/* Random lives: appends, syncs, kills and power cuts. Accepted events stay (with a power cut: those
 * that were synced), and no offset is used twice. */
Test(recovery, many_lives, .timeout = 120)
{
    for (unsigned seed = 1; seed <= 60; seed++) {
        unsigned state = seed;
        store_rig_deinit(&rig);
        store_rig_init(&rig);
        options.policy = (enum tt_log_policy)(seed % 3);
        uint64_t highest = 0; /* behind the newest offset that anybody saw */
        uint64_t safe = 0;
        for (int life = 0; life < 6; life++) {
            cr_assert_eq(store_rig_open(&rig, &options), TT_OK, "seed %u life %d: %s", seed, life,
                         rig.error);
            cr_assert_geq(recovered()->hole_first, safe, "seed %u life %d", seed, life);
            cr_assert_geq(recovered()->next_offset, highest, "seed %u life %d", seed, life);
            int events = rand_r(&state) % 60;
            for (int i = 0; i < events; i++) {
                uint64_t offset, end;
                enum tt_status status =
                    store_rig_append(&rig, "a", (size_t)rand_r(&state) % 200000 + 1, &offset, &end);
                cr_assert(status == TT_OK || status == TT_FULL);
                (void)tt_log_publish(rig.log);
                for (int k = rand_r(&state) % 8; k > 0 && store_rig_step(&rig); k--) continue;
                (void)tt_log_publish(rig.log);
                if (tt_tail_head_offset(rig.tail) > highest)
                    highest = tt_tail_head_offset(rig.tail);
                if (rand_r(&state) % 3 == 0) rig.now.ns += 50000000;
                store_rig_read(&rig);
                struct tt_log_notice notice;
                while (tt_log_take_notice(rig.log, &notice) == TT_OK) continue;
            }
            struct tt_log_figures f;
            if (rand_r(&state) % 4 == 0) {
                store_rig_close(&rig);
                tt_log_figures(rig.log, &f);
                safe = highest = f.next_offset;
                store_rig_kill(&rig);
            } else if (rand_r(&state) % 2 == 0) {
                store_rig_run(&rig); /* all of it is written */
                tt_log_figures(rig.log, &f);
                safe = f.next_offset;
                if (tt_tail_head_offset(rig.tail) > highest)
                    highest = tt_tail_head_offset(rig.tail);
                store_rig_kill(&rig);
            } else {
                if (options.policy == TT_LOG_ALWAYS) safe = tt_tail_head_offset(rig.tail);
                store_rig_power_cut(&rig);
            }
        }
    }
}
