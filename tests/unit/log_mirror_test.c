/* A log whose events have offsets of their own: a mirror of what is in Kafka. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/log_internal.h"
#include "store/lookup.h"
#include "store/reader.h"
#include "tests/support/store_rig.h"

#define BATCH_MAX 512u

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
                                         .begin = 5000};
}
static void tear_down(void)
{
    store_rig_deinit(&rig);
}
TestSuite(log_mirror, .init = set_up, .fini = tear_down);

static void open_log(void)
{
    cr_assert_eq(store_rig_open(&rig, &options), TT_OK, "%s", rig.error);
    store_rig_run(&rig);
}

static void reopen(void)
{
    store_rig_close(&rig);
    store_rig_kill(&rig);
    open_log();
}

static struct tt_event event_of(const char *channel, size_t payload_bytes, int64_t taken_us)
{
    static uint8_t payload[256u << 10];
    memset(payload, '7', payload_bytes);
    return (struct tt_event){.channel = tt_bytes_text(channel),
                             .type = TT_BYTES_LITERAL("message"),
                             .payload = tt_bytes(payload, payload_bytes),
                             .timestamp_ms = taken_us / 1000,
                             .taken_us = taken_us};
}

static enum tt_status append(const char *channel, size_t payload_bytes, uint64_t offset)
{
    const struct tt_event event = event_of(channel, payload_bytes, rig.now.wall_us);
    uint32_t taken;
    return tt_log_append_at(rig.log, &rig.now, &event, &offset, 1, &taken);
}

static void settle(void)
{
    store_rig_run(&rig);
    (void)store_rig_read(&rig);
    (void)store_rig_read(&rig);
    struct tt_log_notice notice;
    while (tt_log_take_notice(rig.log, &notice) == TT_OK) continue;
}

static void append_ok(const char *channel, size_t payload_bytes, uint64_t offset)
{
    enum tt_status status = append(channel, payload_bytes, offset);
    cr_assert_eq(status, TT_OK, "status %d", status);
    settle();
}

/* The offsets of all events on disk, in order; their number. */
static uint32_t on_disk(uint64_t *offsets, uint32_t max)
{
    const struct tt_segment_list *list = tt_log_segments(rig.log);
    uint32_t count = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        const struct tt_segment *s = &list->items[i];
        char path[TT_LOG_PATH_BYTES];
        cr_assert_eq(tt_segment_path("data/0", s->first_offset, path, sizeof path), TT_OK);
        const struct store_rig_file *f = store_rig_find(&rig, path);
        cr_assert_not_null(f);
        bool sealed = s->end_place != TT_SEGMENT_GROWS;
        struct tt_reader reader;
        struct tt_record record;
        tt_reader_init(&reader, s->base_place,
                       sealed ? s->end_place : tt_tail_written_place(rig.tail), sealed);
        enum tt_status status;
        while ((status = tt_reader_next(&reader, s->base_place, tt_bytes(f->data, f->size),
                                        &record)) == TT_OK)
            if (record.class == TT_RECORD_EVENT && count < max) offsets[count++] = record.offset;
        cr_assert_eq(status, TT_END, "status %d", status);
    }
    return count;
}

Test(log_mirror, offsets_are_those_that_were_given)
{
    static const uint64_t given[] = {5000, 5003, 5010};
    struct tt_event events[3];
    const struct tt_tail_descriptor *run;
    uint32_t taken;
    open_log();
    for (int i = 0; i < 3; i++) events[i] = event_of("a", 10, rig.now.wall_us);
    cr_assert_eq(tt_log_append_at(rig.log, &rig.now, events, given, 3, &taken), TT_OK);
    cr_assert_eq(taken, 3);
    store_rig_run(&rig);
    cr_assert_eq(tt_tail_read(rig.tail, rig.sequence, 100, &run), 3);
    for (int i = 0; i < 3; i++) cr_assert_eq(run[i].offset, given[i]);
    cr_assert_eq(tt_tail_head_offset(rig.tail), 5011);
    cr_assert_eq(tt_tail_oldest_offset(rig.tail), 5000);
    /* What is not there is found at the next one that is. */
    cr_assert_eq(tt_tail_find(rig.tail, rig.sequence, rig.sequence + 3, 5001), rig.sequence + 1);
    cr_assert_null(store_rig_find(&rig, "data/0/ceiling"), "a mirror has no ceiling");
}

Test(log_mirror, goes_on_behind_the_last_event_after_any_end)
{
    for (int unclean = 0; unclean < 2; unclean++) {
        open_log();
        uint64_t next = tt_log_next_offset(rig.log);
        append_ok("a", 10, next + 2);
        append_ok("b", 30, next + 7);
        const struct tt_event event = event_of("b", 30, 0);
        if (!unclean) store_rig_close(&rig);
        store_rig_kill(&rig);
        cr_assert_eq(store_rig_recover(&rig, &options), TT_OK, "%s", rig.error);
        const struct tt_recovered_partition *p = &rig.recovered->partitions[0];
        cr_assert_eq(p->next_offset, next + 8, "no offset is given up: %llu",
                     (unsigned long long)p->next_offset);
        cr_assert_eq(p->hole_first, p->hole_end);
        cr_assert(p->has_last);
        cr_assert_eq(p->last_offset, next + 7);
        cr_assert_eq(p->last_taken_us, rig.now.wall_us);
        cr_assert_eq(p->last_crc, tt_record_event_crc(&event));
        store_rig_kill(&rig);
    }
    open_log();
    cr_assert_eq(tt_tail_oldest_offset(rig.tail), 5000, "the place it was begun at counts");
}

Test(log_mirror, another_event_has_another_crc)
{
    struct tt_event a = event_of("a", 10, 1), b = event_of("a", 11, 1), c = event_of("ab", 10, 1);
    c.type = TT_BYTES_LITERAL("essage"); /* the same bytes in a row, cut elsewhere */
    struct tt_event d = a;
    d.type = TT_BYTES_LITERAL("amessage");
    d.channel = TT_BYTES_LITERAL("");
    cr_assert_neq(tt_record_event_crc(&a), tt_record_event_crc(&b));
    cr_assert_neq(tt_record_event_crc(&a), tt_record_event_crc(&c));
    cr_assert_neq(tt_record_event_crc(&a), tt_record_event_crc(&d));
    struct tt_event later = event_of("a", 10, 99);
    later.flags = TT_EVENT_MISPLACED;
    cr_assert_eq(tt_record_event_crc(&a), tt_record_event_crc(&later), "when and where: no matter");
}

Test(log_mirror, offsets_must_rise)
{
    static const uint64_t same[] = {5005, 5005}, falls[] = {5006, 5005};
    struct tt_event events[2];
    uint32_t taken = 9;
    open_log();
    for (int i = 0; i < 2; i++) events[i] = event_of("a", 10, rig.now.wall_us);
    cr_assert_eq(append("a", 10, 4999), TT_EINVAL);
    cr_assert_eq(tt_log_append_at(rig.log, &rig.now, events, same, 2, &taken), TT_EINVAL);
    cr_assert_eq(taken, 0);
    cr_assert_eq(tt_log_append_at(rig.log, &rig.now, events, falls, 2, &taken), TT_EINVAL);
    append_ok("a", 10, 5005);
    cr_assert_eq(append("a", 10, 5005), TT_EINVAL);
    cr_assert_eq(tt_log_next_offset(rig.log), 5006);
}

Test(log_mirror, takes_as_many_as_fit)
{
    static struct tt_event events[BATCH_MAX];
    static uint64_t offsets[BATCH_MAX], found[2 * BATCH_MAX];
    uint32_t done = 0, parts = 0;
    open_log();
    for (uint32_t i = 0; i < BATCH_MAX; i++) {
        events[i] = event_of(i % 3 == 0 ? "a" : "b", 16u << 10, rig.now.wall_us);
        offsets[i] = 5000 + (uint64_t)i * 3;
    }
    while (done < BATCH_MAX) {
        uint32_t taken;
        enum tt_status status = tt_log_append_at(rig.log, &rig.now, events + done, offsets + done,
                                                 BATCH_MAX - done, &taken);
        cr_assert(status == TT_OK ? taken > 0 : status == TT_FULL && taken == 0, "%d", status);
        if (status == TT_FULL) (void)tt_log_wait(rig.log);
        parts += taken != 0;
        done += taken;
        settle();
    }
    tt_log_wait_over(rig.log);
    cr_assert_gt(parts, 1, "8 MiB do not fit into 4 at once");
    cr_assert_eq(on_disk(found, 2 * BATCH_MAX), BATCH_MAX);
    for (uint32_t i = 0; i < BATCH_MAX; i++) cr_assert_eq(found[i], offsets[i]);
    reopen();
    cr_assert_eq(on_disk(found, 2 * BATCH_MAX), BATCH_MAX);
    cr_assert_eq(tt_log_next_offset(rig.log), offsets[BATCH_MAX - 1] + 1);
}

Test(log_mirror, what_can_never_be_taken_is_told_when_it_is_the_first)
{
    static const uint64_t offsets[] = {5000, 5001, 5002, 5003};
    struct tt_event events[4];
    uint32_t taken;
    options.channels_max = 2;
    open_log();
    events[0] = event_of("a", 10, rig.now.wall_us);
    events[1] = event_of("b", 10, rig.now.wall_us);
    events[2] = event_of("c", 10, rig.now.wall_us); /* one channel too many */
    events[3] = event_of("a", 10, rig.now.wall_us);
    cr_assert_eq(tt_log_append_at(rig.log, &rig.now, events, offsets, 4, &taken), TT_OK);
    cr_assert_eq(taken, 2);
    cr_assert_eq(tt_log_append_at(rig.log, &rig.now, events + 2, offsets + 2, 2, &taken), TT_EBUSY);
    cr_assert_eq(tt_log_append_at(rig.log, &rig.now, events + 3, offsets + 3, 1, &taken), TT_OK);
    cr_assert_eq(taken, 1);
}

Test(log_mirror, an_empty_one_may_stay_empty)
{
    open_log();
    reopen();
    cr_assert_eq(tt_log_next_offset(rig.log), 5000);
    append_ok("a", 10, 7000);
    reopen();
    cr_assert_eq(tt_log_next_offset(rig.log), 7001);
    cr_assert_eq(tt_tail_oldest_offset(rig.tail), 5000);
}

Test(log_mirror, segments_are_retired_and_their_edges_are_known)
{
    options.retention = (struct tt_retention){6u << 20, UINT64_MAX};
    open_log();
    uint64_t offset = 5000;
    for (int i = 0; i < 200; i++, offset += 5) append_ok("a", 100u << 10, offset);
    settle();
    uint64_t oldest = tt_tail_oldest_offset(rig.tail);
    cr_assert_gt(oldest, 5000);
    cr_assert_eq(tt_log_segments(rig.log)->items[0].first_offset, oldest);
    uint64_t found[256];
    uint32_t count = on_disk(found, 256);
    /* Whoever wants what is behind the last retired event gets it: nothing is missing between. */
    cr_assert_eq(found[0], oldest + 4, "events are 5 apart");
    cr_assert_eq(found[count - 1], offset - 5);
    reopen();
    cr_assert_eq(tt_tail_oldest_offset(rig.tail), oldest);
    cr_assert_eq(tt_log_next_offset(rig.log), offset - 4);
}

Test(log_mirror, old_events_do_not_make_a_segment_each)
{
    options.retention = (struct tt_retention){UINT64_MAX, UINT64_C(86400000)};
    open_log();
    int64_t hour_us = INT64_C(3600000000);
    struct tt_log_figures figures;
    for (uint64_t i = 0; i < 50; i++) {
        const struct tt_event event = event_of("a", 100, rig.now.wall_us - 20 * hour_us);
        uint64_t offset = 5000 + i;
        uint32_t taken;
        cr_assert_eq(tt_log_append_at(rig.log, &rig.now, &event, &offset, 1, &taken), TT_OK);
        rig.now.ns += UINT64_C(1000000000);
        rig.now.wall_us += 1000000;
        settle();
    }
    tt_log_figures(rig.log, &figures);
    cr_assert_eq(figures.segments_begun, 1);
    /* They go when the newest of them is too old. */
    for (int i = 0; i < 10; i++) {
        rig.now.ns += UINT64_C(3600000000000);
        rig.now.wall_us += hour_us;
        settle();
    }
    cr_assert_geq(tt_tail_oldest_offset(rig.tail), 5050);
    cr_assert_eq(tt_log_next_offset(rig.log), 5050);
}

/* Kafka's timestamps may go backwards; from=<ms> means: from the first event that is not older. */
Test(log_mirror, times_that_go_backwards_are_found)
{
    options.segment_bytes = 64u << 20;
    options.tail_bytes = 32u << 20;
    open_log();
    int64_t base_us = INT64_C(1600000000000000);
    unsigned seed = 5;
    static int64_t times[1000];
    for (uint64_t i = 0; i < 200; i++) {
        times[i] = base_us + ((int64_t)i - rand_r(&seed) % 60) * 1000000;
        const struct tt_event event = event_of("a", 100u << 10, times[i]);
        uint64_t offset = 5000 + 2 * i;
        uint32_t taken;
        cr_assert_eq(tt_log_append_at(rig.log, &rig.now, &event, &offset, 1, &taken), TT_OK);
        settle();
    }
    const struct tt_segment *s = &tt_log_segments(rig.log)->items[0];
    const struct store_rig_file *f = store_rig_find(&rig, "data/0/00000000000000005000.seg");
    cr_assert_not_null(f);
    uint64_t end = tt_tail_written_place(rig.tail);
    for (int k = 0; k < 150; k += 7) {
        struct tt_reader_find find;
        uint64_t place;
        int64_t wanted = base_us + k * INT64_C(1000000);
        tt_reader_find_taken(&find, s, end, wanted);
        while (tt_reader_find_step(&find, &place) == TT_MORE)
            tt_reader_find_probe(&find, tt_bytes(f->data + place, TT_READER_PROBE_BYTES));
        struct tt_reader reader;
        struct tt_record record;
        tt_reader_init(&reader, place, end, false);
        do {
            cr_assert_eq(tt_reader_next(&reader, 0, tt_bytes(f->data, f->size), &record), TT_OK);
        } while (record.class != TT_RECORD_EVENT || record.event.taken_us < wanted);
        uint64_t first = 0;
        while (times[first] < wanted) first++;
        cr_assert_eq(record.offset, 5000 + 2 * first);
    }
}

static void look(struct tt_lookup *lookup, struct tt_lookup_channel *channel,
                 struct tt_lookup_item *items, uint64_t at)
{
    channel->hash = tt_hash(&rig.recovered->hash_key, TT_BYTES_LITERAL("a"));
    lookup->channels = channel;
    lookup->channels_count = 1;
    lookup->items = items;
    lookup->items_max = 64;
    lookup->at = at;
    lookup->partition = 0;
    tt_log_lookup(rig.log, lookup);
}

Test(log_mirror, lookups_know_of_holes)
{
    struct tt_lookup_item items[64];
    open_log();
    for (uint64_t i = 0; i < 30; i++) append_ok(i % 3 == 0 ? "a" : "b", 1000, 5000 + i * 10);
    for (int restarted = 0; restarted < 2; restarted++) {
        struct tt_lookup_channel channel = {0};
        struct tt_lookup value = {.kind = TT_LOOKUP_VALUE};
        look(&value, &channel, items, 5301);
        cr_assert_eq(channel.found, 1);
        cr_assert_eq(items[0].offset, 5270);
        struct tt_lookup older = {.kind = TT_LOOKUP_VALUE};
        look(&older, &channel, items, 5035); /* between two events */
        cr_assert_eq(items[0].offset, 5030);
        struct tt_lookup last = {.kind = TT_LOOKUP_LAST, .last = 4};
        look(&last, &channel, items, 5301);
        cr_assert_eq(channel.found, 4);
        cr_assert_eq(items[0].offset, 5180);
        struct tt_lookup range = {.kind = TT_LOOKUP_RANGE, .from = 5001};
        look(&range, &channel, items, 5100);
        cr_assert_eq(range.items_count, 3);
        cr_assert_eq(items[0].offset, 5030);
        cr_assert_eq(items[2].offset, 5090);
        if (!restarted) reopen();
    }
}
