#include <criterion/criterion.h>
#include <stdlib.h>

#include "store/lookup.h"
#include "tests/support/store_rig.h"

static struct store_rig rig;
static struct store_rig_options options;

static void set_up(void)
{
    store_rig_init(&rig);
    options = (struct store_rig_options){.policy = TT_LOG_INTERVAL,
                                         .segment_bytes = 4u << 20,
                                         .tail_bytes = 4u << 20,
                                         .event_bytes_max = 256u << 10};
}
static void tear_down(void)
{
    store_rig_deinit(&rig);
}
TestSuite(log, .init = set_up, .fini = tear_down);

static void open_log(void)
{
    cr_assert_eq(store_rig_open(&rig, &options), TT_OK, "%s", rig.error);
    store_rig_run(&rig);
}

static uint64_t append_ok(size_t bytes)
{
    uint64_t offset, end;
    enum tt_status status = store_rig_append(&rig, "stock.AAPL", bytes, &offset, &end);
    cr_assert_eq(status, TT_OK, "status %d", status);
    return offset;
}

static struct tt_log_figures figures(void)
{
    struct tt_log_figures f;
    tt_log_figures(rig.log, &f);
    return f;
}

/* Appends, writes and reads so many events, as a broker's turns would. */
static void pump(uint64_t events, size_t bytes)
{
    for (uint64_t i = 0; i < events; i++) {
        uint64_t offset, end;
        enum tt_status status;
        int tries = 0;
        while ((status = store_rig_append(&rig, "stock.AAPL", bytes, &offset, &end)) == TT_FULL) {
            store_rig_run(&rig);
            store_rig_read(&rig);
            struct tt_log_notice notice;
            while (tt_log_take_notice(rig.log, &notice) == TT_OK) continue;
            cr_assert_lt(++tries, 10, "the tail stays full at event %llu", (unsigned long long)i);
        }
        cr_assert_eq(status, TT_OK);
    }
    store_rig_run(&rig);
    store_rig_read(&rig);
}

Test(log, events_are_numbered_seen_and_written)
{
    open_log();
    uint64_t first, next, holes;
    for (uint64_t i = 0; i < 100; i++) cr_assert_eq(append_ok(100), i);
    cr_assert_eq(tt_tail_head(rig.tail), 0, "nothing is seen before it is published");
    cr_assert(tt_log_publish(rig.log));
    cr_assert_not(tt_log_publish(rig.log), "the head moves once");
    cr_assert_eq(store_rig_read(&rig), 100);
    store_rig_run(&rig);
    cr_assert_eq(store_rig_walk(&rig, &first, &next, &holes), 100);
    cr_assert_eq(first, 0);
    cr_assert_eq(next, 100);
}

Test(log, a_batch_is_taken_whole_or_not_at_all)
{
    open_log();
    struct tt_event events[40];
    static uint8_t payload[200000];
    memset(payload, '1', sizeof payload);
    for (int i = 0; i < 40; i++)
        events[i] = (struct tt_event){.channel = TT_BYTES_LITERAL("a"),
                                      .type = TT_BYTES_LITERAL("t"),
                                      .payload = tt_bytes(payload, sizeof payload)};
    uint64_t offset, end;
    cr_assert_eq(tt_log_append(rig.log, &rig.now, events, 40, NULL, &offset, &end), TT_ETOOBIG,
                 "8 MB never fit into 4");
    cr_assert_eq(figures().next_offset, 0);
    cr_assert_eq(tt_log_append(rig.log, &rig.now, events, 12, NULL, &offset, &end), TT_OK);
    cr_assert_eq(tt_log_append(rig.log, &rig.now, events, 12, NULL, &offset, &end), TT_FULL);
    cr_assert_eq(figures().next_offset, 12, "nothing of what did not fit was taken");
    store_rig_run(&rig);
    store_rig_read(&rig);
    cr_assert_eq(tt_log_append(rig.log, &rig.now, events, 12, NULL, &offset, &end), TT_FULL,
                 "freed once every shard has finished a turn");
    store_rig_read(&rig);
    cr_assert_eq(tt_log_append(rig.log, &rig.now, events, 12, NULL, &offset, &end), TT_OK);
    cr_assert_eq(offset, 12);
}

Test(log, accepted_when_written_or_when_synced)
{
    uint64_t offset, end;
    open_log();
    cr_assert_eq(store_rig_append(&rig, "a", 10, &offset, &end), TT_OK);
    cr_assert_lt(tt_log_accepted_place(rig.log), end);
    store_rig_run(&rig);
    cr_assert_geq(tt_log_accepted_place(rig.log), end);
    cr_assert_lt(tt_tail_durable_place(rig.tail), end, "the interval is not over");
    cr_assert_leq(tt_log_next_ns(rig.log, &rig.now), rig.now.ns + 100000000);
    rig.now.ns += 100000000;
    store_rig_run(&rig);
    cr_assert_geq(tt_tail_durable_place(rig.tail), end);
}

Test(log, always_shows_nothing_before_it_is_durable)
{
    uint64_t offset, end;
    options.policy = TT_LOG_ALWAYS;
    open_log();
    cr_assert_eq(store_rig_append(&rig, "a", 10, &offset, &end), TT_OK);
    cr_assert_not(tt_log_publish(rig.log));
    while (tt_tail_written_place(rig.tail) < end) cr_assert(store_rig_step(&rig));
    cr_assert_not(tt_log_publish(rig.log));
    cr_assert_lt(tt_log_accepted_place(rig.log), end);
    store_rig_run(&rig);
    cr_assert_eq(store_rig_read(&rig), 1);
    cr_assert_geq(tt_log_accepted_place(rig.log), end);
}

Test(log, segments_follow_each_other_and_are_announced)
{
    open_log();
    uint64_t first, next, holes;
    struct tt_log_notice notice;
    uint32_t added = 0, sealed = 0;
    for (int i = 0; i < 200; i++) {
        pump(1, 100000);
        while (tt_log_take_notice(rig.log, &notice) == TT_OK) {
            added += notice.event == TT_LOG_SEGMENT_ADDED;
            sealed += notice.event == TT_LOG_SEGMENT_SEALED;
        }
    }
    cr_assert_geq(added, 4);
    cr_assert_eq(sealed, added - 1);
    cr_assert_eq(figures().segments, added);
    cr_assert_eq(store_rig_walk(&rig, &first, &next, &holes), 200);
    cr_assert_eq(next, 200);
    const struct tt_segment_list *l = tt_log_segments(rig.log);
    for (uint32_t i = 0; i + 1 < l->count; i++)
        cr_assert_leq(l->items[i].end_place - l->items[i].base_place, options.segment_bytes);
}

Test(log, events_of_every_size_fill_chunks_to_the_byte)
{
    open_log();
    unsigned seed = 4;
    uint64_t first, next, holes;
    for (int i = 0; i < 3000; i++) pump(1, 1 + (size_t)rand_r(&seed) % 20000);
    cr_assert_eq(store_rig_walk(&rig, &first, &next, &holes), 3000);
}

Test(log, events_larger_than_a_chunk)
{
    options.event_bytes_max = 4u << 20;
    options.segment_bytes = 2u << 20;
    open_log();
    uint64_t first, next, holes;
    unsigned seed = 5;
    for (int i = 0; i < 30; i++)
        pump(1, i % 3 == 0 ? (size_t)(4u << 20) - 100 : (size_t)rand_r(&seed) % (3u << 20) + 1);
    cr_assert_eq(store_rig_walk(&rig, &first, &next, &holes), 30);
    cr_assert_eq(next, 30);
}

Test(log, retention_by_bytes)
{
    options.retention = (struct tt_retention){.bytes = 10u << 20, .ms = UINT64_MAX};
    open_log();
    uint64_t first, next, holes;
    pump(400, 100000);
    struct tt_log_figures f = figures();
    cr_assert_leq(f.bytes, (10u << 20) + (4u << 20));
    cr_assert_gt(f.segments_retired, 5);
    cr_assert_gt(f.oldest_offset, 0);
    store_rig_walk(&rig, &first, &next, &holes);
    cr_assert_eq(first, f.oldest_offset);
    cr_assert_eq(next, 400);
}

Test(log, retention_by_age_also_of_a_partition_that_is_quiet)
{
    options.retention = (struct tt_retention){.bytes = UINT64_MAX, .ms = 10000};
    open_log();
    pump(3, 10);
    for (int i = 0; i < 30; i++) {
        rig.now.ns += 1000000000;
        rig.now.wall_us += 1000000;
        store_rig_run(&rig);
        store_rig_read(&rig);
    }
    cr_assert_eq(figures().oldest_offset, 3);
    cr_assert_eq(figures().segments, 1);
    append_ok(10);
    store_rig_close(&rig);
    store_rig_kill(&rig);
    open_log();
    cr_assert_eq(figures().oldest_offset, 3);
    cr_assert_eq(append_ok(10), 4);
}

/* ---- failures ---- */

static int32_t fail_write(struct store_rig *r, const struct tt_log_operation *op)
{
    if (op->kind != TT_LOG_WRITE || op->lane != TT_LOG_LANE_WRITE) return 0;
    r->fault_hit = true;
    return TT_EIO;
}

Test(log, a_failed_write_makes_it_read_only_and_is_not_repeated)
{
    uint64_t offset, end;
    open_log();
    rig.fault = fail_write;
    cr_assert_eq(store_rig_append(&rig, "a", 10, &offset, &end), TT_OK);
    store_rig_run(&rig);
    rig.fault = NULL;
    rig.now.ns += 10000000000;
    store_rig_run(&rig);
    cr_assert_eq(figures().state, TT_LOG_READ_ONLY);
    cr_assert_eq(figures().reason, TT_EIO);
    cr_assert_str_eq(figures().failed_path, "data/0/00000000000000000000.seg");
    cr_assert_lt(tt_log_accepted_place(rig.log), end);
    cr_assert_eq(store_rig_append(&rig, "a", 10, &offset, &end), TT_EACCES);
    store_rig_close(&rig);
    cr_assert(tt_log_closed(rig.log));
}

static int32_t fail_sync(struct store_rig *r, const struct tt_log_operation *op)
{
    (void)r;
    return op->kind == TT_LOG_SYNC && op->lane == TT_LOG_LANE_SYNC ? TT_EIO : 0;
}

Test(log, a_failed_sync_is_never_taken_for_done)
{
    uint64_t offset, end;
    options.policy = TT_LOG_ALWAYS;
    open_log();
    rig.fault = fail_sync;
    cr_assert_eq(store_rig_append(&rig, "a", 10, &offset, &end), TT_OK);
    store_rig_run(&rig);
    rig.fault = NULL;
    store_rig_run(&rig);
    cr_assert_eq(figures().state, TT_LOG_READ_ONLY);
    cr_assert_lt(tt_log_accepted_place(rig.log), end);
    cr_assert_eq(store_rig_read(&rig), 0);
}

static int32_t no_space(struct store_rig *r, const struct tt_log_operation *op)
{
    bool takes = op->kind == TT_LOG_PREALLOCATE ||
                 (op->kind == TT_LOG_WRITE && op->lane == TT_LOG_LANE_WRITE);
    if (!takes) return 0;
    if (op->kind == TT_LOG_WRITE && r->fault_left-- > 0) return (int32_t)op->size / 16 * 8;
    r->fault_hit = true;
    return TT_ENOSPC;
}

Test(log, a_full_disk_heals)
{
    uint64_t offset, end, first, next, holes;
    open_log();
    append_ok(10);
    store_rig_run(&rig);
    rig.fault = no_space;
    rig.fault_left = 1; /* one short write, then nothing more */
    for (int i = 0; i < 5; i++) append_ok(1000);
    store_rig_run(&rig);
    cr_assert(rig.fault_hit);
    cr_assert_eq(figures().state, TT_LOG_NO_SPACE);
    cr_assert_eq(store_rig_append(&rig, "a", 10, &offset, &end), TT_ENOSPC);
    cr_assert_leq(tt_log_next_ns(rig.log, &rig.now), rig.now.ns + TT_LOG_RETRY_NS);
    rig.fault = NULL;
    store_rig_run(&rig);
    cr_assert_eq(figures().state, TT_LOG_NO_SPACE, "not before its time");
    rig.now.ns += TT_LOG_RETRY_NS;
    store_rig_run(&rig);
    cr_assert_eq(figures().state, TT_LOG_OPEN);
    append_ok(10);
    store_rig_run(&rig);
    cr_assert_eq(store_rig_walk(&rig, &first, &next, &holes), 7);
}

static int32_t half(struct store_rig *r, const struct tt_log_operation *op)
{
    (void)r;
    if (op->kind != TT_LOG_WRITE || op->lane != TT_LOG_LANE_WRITE || op->size < 16) return 0;
    return (int32_t)(op->size / 2);
}

Test(log, short_writes_are_gone_on_with)
{
    uint64_t first, next, holes;
    open_log();
    rig.fault = half;
    for (int i = 0; i < 50; i++) {
        append_ok(1000);
        store_rig_run(&rig);
    }
    cr_assert_eq(store_rig_walk(&rig, &first, &next, &holes), 50);
    cr_assert_eq(tt_log_accepted_place(rig.log), figures().appended_place);
}

static int32_t fail_nth(struct store_rig *r, const struct tt_log_operation *op)
{
    (void)op;
    if (r->fault_left-- != 0) return 0;
    r->fault_hit = true;
    return TT_EIO;
}

/* Whichever operation fails: no crash, no endless loop, it ends, and what was accepted is there. */
Test(log, any_operation_may_fail, .timeout = 120)
{
    options.retention = (struct tt_retention){.bytes = 6u << 20, .ms = UINT64_MAX};
    options.segment_bytes = 2u << 20;
    for (int n = 0; n < 120; n++) {
        store_rig_deinit(&rig);
        store_rig_init(&rig);
        cr_assert_eq(store_rig_open(&rig, &options), TT_OK);
        rig.fault = fail_nth;
        rig.fault_left = n;
        uint64_t accepted = 0, offset, end;
        for (int i = 0; i < 120; i++) {
            rig.now.ns += TT_LOG_RETRY_NS;
            enum tt_status status = store_rig_append(&rig, "a", 100000, &offset, &end);
            store_rig_run(&rig);
            store_rig_read(&rig);
            struct tt_log_notice notice;
            while (tt_log_take_notice(rig.log, &notice) == TT_OK) continue;
            if (status == TT_OK && tt_log_accepted_place(rig.log) >= end) accepted = offset + 1;
        }
        store_rig_close(&rig);
        cr_assert(tt_log_closed(rig.log), "failure %d: does not end", n);
        store_rig_kill(&rig);
        rig.fault = NULL;
        cr_assert_eq(store_rig_open(&rig, &options), TT_OK, "failure %d: %s", n, rig.error);
        cr_assert_geq(figures().next_offset, accepted, "failure %d", n);
        uint64_t first, next, holes;
        store_rig_run(&rig);
        uint64_t events = store_rig_walk(&rig, &first, &next, &holes);
        if (accepted != 0) cr_assert_geq(first + events, accepted, "failure %d", n);
        if (!rig.fault_hit && n > 100) break;
    }
}

/* The background work looked at the table while the first segment had an event and no file yet, and
 * took that event for one that retention had removed. */
Test(log, regress_the_value_in_the_first_event_of_a_log_is_kept)
{
    open_log();
    uint64_t offset = append_ok(100);
    /* The file is being made, and everything else that there is to do is begun. */
    struct tt_log_operation op;
    unsigned begun = 0;
    while (tt_log_next_operation(rig.log, &rig.now, &op) == TT_OK)
        begun += op.kind == TT_LOG_OPEN_NEW;
    cr_assert_eq(begun, 1);
    struct tt_lookup_channel channel = {
        .hash = tt_hash(&rig.recovered->hash_key, TT_BYTES_LITERAL("stock.AAPL"))};
    struct tt_lookup_item item;
    struct tt_lookup lookup = {.kind = TT_LOOKUP_VALUE,
                               .at = offset + 1,
                               .channels = &channel,
                               .channels_count = 1,
                               .items = &item,
                               .items_max = 1};
    tt_log_lookup(rig.log, &lookup);
    cr_assert_eq(lookup.items_count, 1);
    cr_assert_eq(item.offset, offset);
}
