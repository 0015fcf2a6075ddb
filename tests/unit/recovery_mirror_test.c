/* Opening a mirror: nothing that stands there is a reason to refuse. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/store_rig.h"

static struct store_rig rig;
static struct store_rig_options options;

static void set_up(void)
{
    store_rig_init(&rig);
    options = (struct store_rig_options){.policy = TT_LOG_NEVER,
                                         .segment_bytes = 2u << 20,
                                         .tail_bytes = 4u << 20,
                                         .event_bytes_max = 256u << 10,
                                         .mirror = true,
                                         .partitions = 2,
                                         .begin = 100};
}
static void tear_down(void)
{
    store_rig_deinit(&rig);
}
TestSuite(recovery_mirror, .init = set_up, .fini = tear_down);

static void open_log(void)
{
    cr_assert_eq(store_rig_open(&rig, &options), TT_OK, "%s", rig.error);
    store_rig_run(&rig);
}

static void recover(void)
{
    store_rig_kill(&rig);
    cr_assert_eq(store_rig_recover(&rig, &options), TT_OK, "%s", rig.error);
}

static const struct tt_recovered_partition *partition(uint32_t i)
{
    return &rig.recovered->partitions[i];
}

static void append(size_t bytes)
{
    static uint8_t payload[256u << 10];
    const struct tt_event event = {.channel = TT_BYTES_LITERAL("a"),
                                   .type = TT_BYTES_LITERAL("t"),
                                   .payload = tt_bytes(payload, bytes),
                                   .taken_us = rig.now.wall_us};
    uint64_t offset = tt_log_next_offset(rig.log) + 1;
    uint32_t taken;
    memset(payload, '1', bytes);
    cr_assert_eq(tt_log_append_at(rig.log, &rig.now, &event, &offset, 1, &taken), TT_OK);
    store_rig_run(&rig);
    (void)store_rig_read(&rig);
    (void)store_rig_read(&rig);
    struct tt_log_notice notice;
    while (tt_log_take_notice(rig.log, &notice) == TT_OK) continue;
}

/* So many events in three segments or more, cleanly ended. */
static void fill(int events)
{
    open_log();
    for (int i = 0; i < events; i++) append(100u << 10);
    store_rig_close(&rig);
}

static struct store_rig_file *segment(bool newest)
{
    struct store_rig_file *found = NULL;
    for (int i = 0; i < rig.count; i++) {
        struct store_rig_file *f = &rig.files[i];
        if (!f->exists || strstr(f->path, ".seg") == NULL) continue;
        if (found == NULL || (strcmp(f->path, found->path) > 0) == newest) found = f;
    }
    cr_assert_not_null(found);
    return found;
}

static uint32_t files_in(const char *directory)
{
    uint32_t count = 0;
    size_t n = strlen(directory);
    for (int i = 0; i < rig.count; i++)
        count += rig.files[i].exists && strncmp(rig.files[i].path, directory, n) == 0;
    return count;
}

Test(recovery_mirror, is_made_as_it_was_asked_for)
{
    options.history = "abc123";
    options.key = 77;
    options.slots = 4;
    recover();
    cr_assert(rig.recovered->created);
    cr_assert_not(rig.recovered->dropped);
    cr_assert_str_eq(rig.recovered->history.text, "abc123");
    cr_assert_eq(rig.recovered->hash_key.k0, 77);
    cr_assert_eq(rig.recovered->known, 2);
    cr_assert_eq(rig.recovered->partitions_count, 4);
    cr_assert_not_null(store_rig_find(&rig, "data/3"));
    options.partitions = 0; /* Kafka has not said */
    recover();
    cr_assert_not(rig.recovered->created);
    cr_assert_eq(rig.recovered->known, 2);
}

Test(recovery_mirror, partitions_grow_and_never_shrink)
{
    recover();
    options.partitions = 5;
    recover();
    cr_assert_eq(rig.recovered->known, 5);
    options.partitions = 3;
    recover();
    cr_assert_eq(rig.recovered->known, 5);
    cr_assert_eq(rig.recovered->partitions_count, 5);
    cr_assert_not(rig.recovered->dropped);
}

Test(recovery_mirror, a_slot_that_was_used_is_a_partition)
{
    options.slots = 6;
    fill(3);
    store_rig_kill(&rig);
    /* What stands in slot 0 as if it were of slot 4: it is another partition's, and dropped; but an
     * empty beginning of one would do. */
    struct store_rig_file *f = segment(true);
    snprintf(f->path, sizeof f->path, "data/4/%s", "00000000000000000100.seg");
    options.slots = 2;
    recover();
    cr_assert_eq(rig.recovered->partitions_count, 5, "it is not forgotten");
    cr_assert(partition(4)->dropped);
    cr_assert(strstr(partition(4)->note, "belongs to partition 0") != NULL, "%s",
              partition(4)->note);
}

Test(recovery_mirror, a_bad_byte_in_the_newest_segment_is_cut_off_although_it_was_durable)
{
    fill(50);
    store_rig_kill(&rig);
    struct store_rig_file *f = segment(true);
    uint64_t first = strtoull(strrchr(f->path, '/') + 1, NULL, 10);
    f->data[300u << 10] ^= 1;
    recover();
    const struct tt_recovered_partition *p = partition(0);
    cr_assert_not(p->dropped);
    cr_assert_gt(p->torn_bytes, 0);
    cr_assert_eq(p->oldest_offset, 100);
    cr_assert_geq(p->next_offset, first);
    cr_assert_lt(p->next_offset, 200);
    cr_assert_eq(p->last_offset + 1, p->next_offset);
    uint64_t next = p->next_offset;
    store_rig_kill(&rig);
    open_log();
    cr_assert_eq(tt_log_next_offset(rig.log), next);
    append(1000);
    store_rig_close(&rig);
    recover();
    cr_assert_eq(partition(0)->next_offset, next + 2);
    cr_assert_eq(partition(0)->torn_bytes, 0);
}

Test(recovery_mirror, a_newest_segment_without_a_beginning_is_removed)
{
    fill(50);
    store_rig_kill(&rig);
    memset(segment(true)->data, 0x55, 1000);
    recover();
    cr_assert_eq(rig.recovered->partitions_count, 2);
    /* Whether the ones before are whole was said by what is gone: all of it may go, none is
     * refused. */
    cr_assert(partition(0)->dropped || partition(0)->next_offset > 100);
}

Test(recovery_mirror, damage_in_an_older_segment_drops_the_partition)
{
    fill(50);
    store_rig_kill(&rig);
    memset(segment(false)->data, 0x55, 1000);
    recover();
    const struct tt_recovered_partition *p = partition(0);
    cr_assert(p->dropped);
    cr_assert(tt_recovery_is_empty(p));
    cr_assert_not(p->has_last);
    cr_assert(strstr(p->note, ".seg: damaged at byte 0") != NULL, "%s", p->note);
    cr_assert(strstr(p->note, "the mirror is dropped") != NULL, "%s", p->note);
    cr_assert(strstr(p->note, "repair") == NULL, "there is nothing to be repaired: %s", p->note);
    cr_assert_eq(files_in("data/0/"), 0);
    cr_assert_not(partition(1)->dropped);
    cr_assert_not(rig.recovered->dropped);
    store_rig_kill(&rig);
    options.begin = 7;
    open_log();
    append(10);
    cr_assert_eq(tt_log_next_offset(rig.log), 9);
    cr_assert_eq(tt_tail_oldest_offset(rig.tail), 7);
}

Test(recovery_mirror, a_missing_segment_drops_the_partition)
{
    fill(70);
    store_rig_kill(&rig);
    struct store_rig_file *oldest = segment(false);
    oldest->exists = false;
    struct store_rig_file *second = segment(false);
    oldest->exists = true;
    second->exists = false;
    recover();
    cr_assert(partition(0)->dropped);
    cr_assert_eq(files_in("data/0/"), 0);
}

Test(recovery_mirror, a_bad_meta_drops_all)
{
    for (int kind = 0; kind < 3; kind++) {
        store_rig_deinit(&rig);
        store_rig_init(&rig);
        options.partitions = 2;
        fill(50);
        store_rig_kill(&rig);
        struct store_rig_file *meta = store_rig_find(&rig, "data/META");
        if (kind == 0) meta->data[20] ^= 1;
        if (kind == 1) meta->exists = false;
        if (kind == 2) meta->size = 10;
        options.partitions = 0;
        recover();
        cr_assert(rig.recovered->created);
        cr_assert_eq(rig.recovered->dropped, kind != 1);
        cr_assert_eq(rig.recovered->note[0] != '\0', kind != 1);
        cr_assert_eq(files_in("data/0/"), 0, "kind %d", kind);
        cr_assert(tt_recovery_is_empty(partition(0)));
        options.partitions = 1;
        recover();
        cr_assert_not(rig.recovered->created);
    }
}

Test(recovery_mirror, another_history_or_key_drops_all)
{
    fill(50);
    store_rig_kill(&rig);
    options.history = "other1";
    recover();
    cr_assert(rig.recovered->dropped);
    cr_assert(rig.recovered->created);
    cr_assert(strstr(rig.recovered->note, "history mirror") != NULL, "%s", rig.recovered->note);
    cr_assert_str_eq(rig.recovered->history.text, "other1");
    cr_assert_eq(files_in("data/0/"), 0);
    store_rig_kill(&rig);
    fill(3);
    store_rig_kill(&rig);
    recover();
    cr_assert_not(rig.recovered->dropped);
    cr_assert(partition(0)->has_last);
    options.key = 5;
    recover();
    cr_assert(rig.recovered->dropped);
    cr_assert_not(partition(0)->has_last);
}

Test(recovery_mirror, a_partition_is_dropped_on_demand_and_begins_elsewhere)
{
    char error[TT_RECOVERY_ERROR_BYTES];
    fill(50);
    recover();
    cr_assert_eq(tt_recovery_drop_partition(rig.recovered, &rig.access, 0, error), TT_OK);
    cr_assert(partition(0)->dropped);
    cr_assert(tt_recovery_is_empty(partition(0)));
    cr_assert_eq(files_in("data/0/"), 0);
    store_rig_kill(&rig);
    options.begin = 9000;
    open_log();
    cr_assert_eq(tt_log_next_offset(rig.log), 9000);
    append(10);
    store_rig_close(&rig);
    recover();
    cr_assert_eq(partition(0)->oldest_offset, 9000);
    cr_assert_eq(partition(0)->next_offset, 9002);
}

Test(recovery_mirror, the_last_event_may_lie_in_an_older_segment)
{
    options.retention = (struct tt_retention){UINT64_MAX, 400000};
    open_log();
    for (int i = 0; i < 3; i++) append(1000);
    rig.now.wall_us += 300000000; /* older than a quarter: a new segment is begun, empty */
    rig.now.ns += UINT64_C(300000000000);
    store_rig_run(&rig);
    cr_assert_eq(tt_log_segments(rig.log)->count, 2);
    store_rig_close(&rig);
    recover();
    cr_assert(partition(0)->has_last);
    cr_assert_eq(partition(0)->last_offset, 105);
    cr_assert_eq(partition(0)->next_offset, 106);
}

static enum tt_status refuse_unlink(void *context, const char *path)
{
    (void)context;
    (void)path;
    return TT_EACCES;
}

Test(recovery_mirror, what_cannot_be_removed_is_told)
{
    fill(3);
    store_rig_kill(&rig);
    options.history = "other1";
    rig.access.unlink = refuse_unlink;
    cr_assert_eq(store_rig_recover(&rig, &options), TT_EACCES);
    cr_assert(strstr(rig.error, "META") != NULL, "%s", rig.error);
}
