/* What a log does beside appending: channels, index files, kept values. What they hold is checked
 * by crash_test (values, lookups and index files against what was appended, after each death). */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/index_file.h"
#include "store/lookup.h"
#include "tests/support/store_rig.h"

static struct store_rig rig;
static struct store_rig_options options;
static uint32_t indexed; /* notices */

static void set_up(void)
{
    store_rig_init(&rig);
    options = (struct store_rig_options){.policy = TT_LOG_INTERVAL,
                                         .segment_bytes = 2u << 20,
                                         .tail_bytes = 4u << 20,
                                         .event_bytes_max = 256u << 10};
    indexed = 0;
}
static void tear_down(void)
{
    store_rig_deinit(&rig);
}
TestSuite(log_values, .init = set_up, .fini = tear_down);

static void open_log(void)
{
    cr_assert_eq(store_rig_open(&rig, &options), TT_OK, "%s", rig.error);
    store_rig_run(&rig);
}

static struct tt_log_figures figures(void)
{
    struct tt_log_figures f;
    tt_log_figures(rig.log, &f);
    return f;
}

static void turn(void)
{
    rig.now.ns += 200000000;
    store_rig_run(&rig);
    store_rig_read(&rig);
    store_rig_read(&rig);
    struct tt_log_notice notice;
    while (tt_log_take_notice(rig.log, &notice) == TT_OK)
        indexed += notice.event == TT_LOG_SEGMENT_INDEXED;
}

/* Events of a channel, with the turns of a broker between. */
static void pump(const char *channel, int events, size_t bytes)
{
    for (int i = 0; i < events; i++) {
        uint64_t offset, end;
        cr_assert_eq(store_rig_append(&rig, channel, bytes, &offset, &end), TT_OK);
        turn();
    }
    turn();
}

static uint32_t files(const char *ending)
{
    uint32_t count = 0;
    size_t size = strlen(ending);
    for (int i = 0; i < rig.count; i++) {
        const char *path = rig.files[i].path;
        count += rig.files[i].exists && strlen(path) > size &&
                 strcmp(path + strlen(path) - size, ending) == 0;
    }
    return count;
}

Test(log_values, one_channel_too_many_is_refused_with_its_batch)
{
    options.channels_max = 3;
    open_log();
    uint64_t offset, end;
    struct tt_event events[4];
    static const char *const names[] = {"a", "b", "c", "d"};
    for (int i = 0; i < 4; i++)
        events[i] = (struct tt_event){.channel = tt_bytes_text(names[i]),
                                      .type = TT_BYTES_LITERAL("t"),
                                      .payload = TT_BYTES_LITERAL("1")};
    cr_assert_eq(tt_log_append(rig.log, &rig.now, events, 4, NULL, &offset, &end), TT_EBUSY);
    cr_assert_eq(figures().next_offset, 0, "nothing of the batch was taken");
    cr_assert_eq(figures().channels, 0);
    cr_assert_eq(tt_log_append(rig.log, &rig.now, events, 3, NULL, &offset, &end), TT_OK);
    cr_assert_eq(tt_log_append(rig.log, &rig.now, &events[3], 1, NULL, &offset, &end), TT_EBUSY);
    cr_assert_eq(tt_log_append(rig.log, &rig.now, events, 3, NULL, &offset, &end), TT_OK,
                 "channels that are known go on");
    cr_assert_eq(figures().channels, 3);
    cr_assert_eq(figures().channels_max, 3);
    turn();
    /* What is in the log counts, also after a start with a lower bound. */
    store_rig_close(&rig);
    store_rig_kill(&rig);
    options.channels_max = 2;
    open_log();
    cr_assert_eq(figures().channels, 3);
    cr_assert_eq(tt_log_append(rig.log, &rig.now, events, 3, NULL, &offset, &end), TT_OK);
    cr_assert_eq(tt_log_append(rig.log, &rig.now, &events[3], 1, NULL, &offset, &end), TT_EBUSY);
}

Test(log_values, a_sealed_segment_gets_an_index_file_and_that_is_told)
{
    open_log();
    pump("a", 70, 100000);
    uint32_t sealed = tt_log_segments(rig.log)->count - 1;
    cr_assert_geq(sealed, 3);
    cr_assert_eq(files(".idx"), sealed);
    cr_assert_eq(indexed, sealed);
    cr_assert_eq(figures().unindexed, 0);
    cr_assert_eq(files(".new"), 0);
    for (uint32_t i = 0; i < sealed; i++) cr_assert(tt_log_segments(rig.log)->items[i].indexed);
    cr_assert_not(tt_log_segments(rig.log)->items[sealed].indexed);
    store_rig_close(&rig);
    store_rig_kill(&rig);
    open_log();
    for (uint32_t i = 0; i < sealed; i++) cr_assert(tt_log_segments(rig.log)->items[i].indexed);
}

Test(log_values, a_missing_index_file_is_made_again)
{
    open_log();
    pump("a", 70, 100000);
    uint32_t sealed = tt_log_segments(rig.log)->count - 1;
    store_rig_close(&rig);
    store_rig_kill(&rig);
    for (int i = 0; i < rig.count; i++)
        if (strstr(rig.files[i].path, ".idx") != NULL) rig.files[i].exists = false;
    cr_assert_eq(store_rig_open(&rig, &options), TT_OK, "%s", rig.error);
    cr_assert_eq(figures().unindexed, sealed);
    indexed = 0;
    turn();
    cr_assert_eq(files(".idx"), sealed);
    cr_assert_eq(figures().unindexed, 0);
    cr_assert_eq(indexed, sealed);
}

static int32_t no_index_files(struct store_rig *r, const struct tt_log_operation *op)
{
    bool hit = op->kind == TT_LOG_OPEN_NEW && strstr(op->path, ".idx") != NULL;
    r->fault_hit |= hit;
    return hit ? TT_ENOSPC : 0;
}

Test(log_values, an_index_file_that_cannot_be_written_stops_nothing)
{
    open_log();
    rig.fault = no_index_files;
    pump("a", 70, 100000);
    cr_assert(rig.fault_hit);
    cr_assert_eq(figures().state, TT_LOG_OPEN);
    cr_assert_eq(figures().next_offset, 70);
    cr_assert_geq(figures().unindexed, 3);
    cr_assert_eq(figures().keep_reason, TT_ENOSPC);
    cr_assert_not_null(strstr(figures().keep_failed_path, ".idx"));
    cr_assert_gt(figures().index_bytes, 0, "they wait in memory, and answer");
    rig.fault = NULL;
    rig.now.ns += 2 * TT_LOG_RETRY_NS;
    turn();
    cr_assert_eq(figures().unindexed, 0);
    cr_assert_eq(figures().keep_reason, TT_OK);
    cr_assert_eq(files(".idx"), tt_log_segments(rig.log)->count - 1);
}

static struct tt_lookup_item value_of(const char *channel, uint32_t *found)
{
    struct tt_lookup_item item = {0};
    struct tt_lookup_channel c = {.hash =
                                      tt_hash(&rig.recovered->hash_key, tt_bytes_text(channel))};
    struct tt_lookup lookup = {.kind = TT_LOOKUP_VALUE,
                               .at = UINT64_MAX,
                               .channels = &c,
                               .channels_count = 1,
                               .items = &item,
                               .items_max = 1};
    tt_log_lookup(rig.log, &lookup);
    cr_assert_eq(lookup.key, TT_LOOKUP_END);
    cr_assert_eq(c.search_below, 0);
    *found = c.found;
    return item;
}

Test(log_values, a_value_outlives_its_segment_only_when_it_is_to_be_kept)
{
    options.retention = (struct tt_retention){.bytes = 6u << 20, .ms = UINT64_MAX};
    open_log();
    pump("old", 1, 100);
    pump("a", 200, 100000);
    cr_assert_gt(figures().oldest_offset, 0);
    uint32_t found;
    struct tt_lookup_item item = value_of("old", &found);
    cr_assert_eq(found, 1);
    cr_assert_eq(item.offset, 0);
    cr_assert(tt_kept_is(item.place));
    cr_assert_geq(files(".val"), 1);
    cr_assert_eq(files(".idx"), tt_log_segments(rig.log)->count - 1,
                 "those of removed ones are gone");
    store_rig_close(&rig);
    store_rig_kill(&rig);
    options.forget_values = true;
    open_log();
    pump("a", 100, 100000);
    value_of("old", &found);
    cr_assert_eq(found, 0);
    cr_assert_eq(files(".val"), 0);
}

static int32_t no_space_for_values(struct store_rig *r, const struct tt_log_operation *op)
{
    bool hit = op->kind == TT_LOG_OPEN_NEW && strstr(op->path, ".val") != NULL;
    r->fault_hit |= hit;
    return hit ? TT_ENOSPC : 0;
}

Test(log_values, a_segment_stays_until_its_values_are_safe)
{
    options.retention = (struct tt_retention){.bytes = 6u << 20, .ms = UINT64_MAX};
    open_log();
    rig.fault = no_space_for_values;
    pump("old", 1, 100);
    pump("a", 100, 100000);
    cr_assert(rig.fault_hit);
    cr_assert_eq(figures().oldest_offset, 0, "it was given up with a value in it");
    cr_assert_gt(figures().bytes, 8u << 20);
    cr_assert_eq(figures().keep_reason, TT_ENOSPC);
    rig.fault = NULL;
    rig.now.ns += 2 * TT_LOG_RETRY_NS;
    for (int i = 0; i < 40; i++) turn();
    cr_assert_gt(figures().oldest_offset, 0);
    cr_assert_leq(figures().bytes, 8u << 20);
    uint32_t found;
    value_of("old", &found);
    cr_assert_eq(found, 1);
}

/* A quiet log's segments are retired too: the newest is synced for it, whatever the policy. */
Test(log_values, retention_by_age_of_a_log_that_is_never_synced)
{
    options.policy = TT_LOG_NEVER;
    options.retention = (struct tt_retention){.bytes = UINT64_MAX, .ms = 10000};
    open_log();
    pump("a", 3, 100000);
    for (int i = 0; i < 100; i++) {
        rig.now.wall_us += 1000000;
        rig.now.ns += 1000000000;
        turn();
    }
    cr_assert_gt(figures().oldest_offset, 0);
    store_rig_power_cut(&rig);
    open_log();
    cr_assert_geq(figures().next_offset, 3, "the offsets are not used again");
}
