/* Lives and deaths of a mirror, from a seed: whatever power cuts, kills and bad bytes do, it opens
 * again, holds what Kafka holds between its two ends, and goes on where it ends. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/lookup.h"
#include "store/reader.h"
#include "tests/support/disk.h"

#define SEEDS        30
#define RECORDS      6000u
#define CHANNELS     12u
#define PAYLOAD_MAX  (120u << 10)
#define SEGMENT_SIZE (2u << 20)
#define BASE_US      INT64_C(1700000000000000)

/* What is in Kafka: the same in every life. */
struct record {
    uint64_t offset;
    uint32_t channel, payload_bytes;
    int64_t taken_us;
};
static struct record kafka[RECORDS];
static uint8_t bytes[PAYLOAD_MAX + 64];

struct mirror {
    uint64_t seed;
    struct disk *disk;
    struct tt_recovered *recovered;
    struct tt_tail_readers *readers;
    struct tt_tail *tail;
    struct tt_log *log;
    struct tt_log_now now;
    uint64_t sequence;
    uint64_t begun; /* where this life of the partition began */
    bool damaged;   /* some byte of it was changed */
    struct tt_log_operation flights[TT_LOG_LANES];
    bool flying[TT_LOG_LANES];
};

static void make_kafka(struct mirror *m)
{
    uint64_t offset = 1000;
    for (uint32_t i = 0; i < RECORDS; i++) {
        offset += 1 + (disk_below(m->disk, 4) == 0 ? disk_below(m->disk, 9) : 0);
        kafka[i] = (struct record){
            .offset = offset,
            .channel = (uint32_t)disk_below(m->disk, CHANNELS),
            .payload_bytes =
                10 + (uint32_t)disk_below(m->disk,
                                          disk_below(m->disk, 5) == 0 ? PAYLOAD_MAX - 10 : 2000),
            .taken_us = BASE_US + (int64_t)i * 1000 - (int64_t)disk_below(m->disk, 50000)};
    }
}

static uint32_t first_at(uint64_t offset)
{
    uint32_t i = 0;
    while (i < RECORDS && kafka[i].offset < offset) i++;
    return i;
}

static struct tt_event event_of(const struct record *r, char name[16])
{
    snprintf(name, 16, "c%u", r->channel);
    return (struct tt_event){.channel = tt_bytes_text(name),
                             .type = TT_BYTES_LITERAL("t"),
                             .payload = tt_bytes(bytes + r->offset % 64, r->payload_bytes),
                             .timestamp_ms = r->taken_us / 1000,
                             .taken_us = r->taken_us};
}

static void check_event(const struct mirror *m, const struct tt_record *found, uint32_t i)
{
    char name[16];
    cr_assert_lt(i, RECORDS);
    const struct tt_event expected = event_of(&kafka[i], name);
    cr_assert_eq(found->offset, kafka[i].offset, "seed %llu: %llu where %llu should be",
                 (unsigned long long)m->seed, (unsigned long long)found->offset,
                 (unsigned long long)kafka[i].offset);
    cr_assert_eq(tt_record_event_crc(&found->event), tt_record_event_crc(&expected));
    cr_assert_eq(found->event.taken_us, expected.taken_us);
}

/* ---- what the log holds ---- */

static void check_segments(const struct mirror *m)
{
    const struct tt_recovered_partition *p = &m->recovered->partitions[0];
    const struct tt_segment_list *list = &p->segments;
    uint32_t at = first_at(p->oldest_offset);
    for (uint32_t i = 0; i < list->count; i++) {
        const struct tt_segment *s = &list->items[i];
        bool sealed = s->end_place != TT_SEGMENT_GROWS;
        char path[TT_LOG_PATH_BYTES];
        cr_assert_eq(tt_segment_path("data/0", s->first_offset, path, sizeof path), TT_OK);
        const struct disk_file *f = disk_find(m->disk, path);
        cr_assert_not_null(f, "seed %llu: %s", (unsigned long long)m->seed, path);
        struct tt_reader reader;
        struct tt_record record;
        tt_reader_init(&reader, s->base_place, sealed ? s->end_place : p->place, sealed);
        enum tt_status status;
        at = first_at(s->first_offset);
        while ((status = tt_reader_next(&reader, s->base_place, tt_bytes(f->data, f->size),
                                        &record)) == TT_OK)
            if (record.class == TT_RECORD_EVENT) check_event(m, &record, at++);
        cr_assert(status == TT_END || (m->damaged && sealed), "seed %llu: %s: status %d",
                  (unsigned long long)m->seed, path, status);
        uint64_t end = sealed ? list->items[i + 1].first_offset : p->next_offset;
        if (status == TT_END)
            cr_assert_eq(at, first_at(end), "seed %llu: events are missing",
                         (unsigned long long)m->seed);
    }
    if (!p->has_last || m->damaged) return;
    uint32_t last = first_at(p->last_offset);
    char name[16];
    const struct tt_event expected = event_of(&kafka[last], name);
    cr_assert_eq(kafka[last].offset, p->last_offset);
    cr_assert_eq(p->last_crc, tt_record_event_crc(&expected));
    cr_assert_eq(first_at(p->next_offset), last + 1);
}

/* The value of each channel is its newest event, wherever that stands by now. */
static void check_values(const struct mirror *m)
{
    struct tt_lookup_item items[4];
    uint64_t next = tt_log_next_offset(m->log);
    if (m->damaged) return;
    for (uint32_t c = 0; c < CHANNELS; c++) {
        char name[16];
        snprintf(name, sizeof name, "c%u", c);
        struct tt_lookup_channel channel = {
            .hash = tt_hash(&m->recovered->hash_key, tt_bytes_text(name))};
        struct tt_lookup lookup = {.kind = TT_LOOKUP_VALUE,
                                   .channels = &channel,
                                   .channels_count = 1,
                                   .items = items,
                                   .items_max = 4,
                                   .at = next};
        tt_log_lookup(m->log, &lookup);
        uint32_t i = first_at(next);
        while (i > 0 && kafka[i - 1].channel != c) i--;
        bool expected = i > 0 && kafka[i - 1].offset >= m->begun;
        cr_assert_eq(lookup.items_count, expected ? 1 : 0, "seed %llu: channel %u",
                     (unsigned long long)m->seed, c);
        if (expected)
            cr_assert_eq(items[0].offset, kafka[i - 1].offset, "seed %llu: channel %u",
                         (unsigned long long)m->seed, c);
    }
}

/* ---- lives ---- */

static enum tt_status recover(struct mirror *m, char error[TT_RECOVERY_ERROR_BYTES])
{
    const struct tt_recovery_options options = {
        .files = &m->disk->access,
        .directory = "data",
        .partitions = 1,
        .segment_bytes = SEGMENT_SIZE,
        .mirror = true,
        .history = tt_history_from_bits(5),
        .hash_key = {1, 2},
        .wall_us = m->now.wall_us,
    };
    return tt_recovery_open(&m->recovered, &options, error);
}

static void open_mirror(struct mirror *m)
{
    char error[TT_RECOVERY_ERROR_BYTES];
    for (int tries = 0; tries < 2 && disk_below(m->disk, 4) == 0; tries++) {
        m->disk->fault = DISK_FAULT_DEAD; /* the power goes while it starts */
        m->disk->fault_hit = false;
        m->disk->fault_at = m->disk->operations + 1 + disk_below(m->disk, 30);
        (void)recover(m, error);
        disk_heal(m->disk);
        if (m->recovered != NULL) tt_recovery_destroy(&m->recovered);
        disk_power_cut(m->disk);
    }
    cr_assert_eq(recover(m, error), TT_OK, "seed %llu: %s", (unsigned long long)m->seed, error);
    struct tt_recovered_partition *p = &m->recovered->partitions[0];
    if (p->dropped || m->recovered->dropped) cr_assert(m->damaged, "%s", p->note);
    if (tt_recovery_is_empty(p)) {
        if (p->dropped || m->recovered->dropped) m->damaged = false;
        m->begun = kafka[disk_below(m->disk, 50)].offset;
        tt_recovery_begin_at(p, m->begun);
    }
    check_segments(m);
    cr_assert_eq(tt_tail_readers_create(&m->readers, 1), TT_OK);
    const struct tt_tail_options tail = {
        .bytes = 4u << 20,
        .record_bytes_max = TT_RECORD_BYTES_MAX(PAYLOAD_MAX + TT_RECORD_TEXT_BYTES_MAX),
        .next_offset = p->next_offset,
        .oldest_offset = p->oldest_offset,
        .readers = m->readers,
    };
    cr_assert_eq(tt_tail_create(&m->tail, &tail), TT_OK);
    const struct tt_log_options log = {
        .recovered = m->recovered,
        .tail = m->tail,
        .policy = TT_LOG_NEVER,
        .segment_bytes = SEGMENT_SIZE,
        .retention = {.bytes = 7u << 20, .ms = UINT64_MAX},
    };
    cr_assert_eq(tt_log_create(&m->log, &log), TT_OK);
    uint64_t next;
    m->sequence = tt_tail_start(m->tail, &next);
    check_values(m);
}

static void append_some(struct mirror *m)
{
    struct tt_event events[64];
    uint64_t offsets[64];
    char names[64][16];
    uint32_t count = 0, taken, from = first_at(tt_log_next_offset(m->log));
    uint32_t wanted = 1 + (uint32_t)disk_below(m->disk, 64);
    while (count < wanted && from + count < RECORDS) {
        events[count] = event_of(&kafka[from + count], names[count]);
        offsets[count] = kafka[from + count].offset;
        count++;
    }
    if (count == 0) return;
    enum tt_status status = tt_log_append_at(m->log, &m->now, events, offsets, count, &taken);
    cr_assert(status == TT_OK || status == TT_FULL, "status %d", status);
    if (status == TT_FULL) (void)tt_log_wait(m->log);
}

static void work(struct mirror *m)
{
    struct tt_log_operation op;
    while (disk_below(m->disk, 8) != 0 && tt_log_next_operation(m->log, &m->now, &op) == TT_OK) {
        m->flying[op.lane] = true;
        m->flights[op.lane] = op;
    }
    for (uint32_t lane = 0; lane < TT_LOG_LANES; lane++) {
        if (!m->flying[lane] || disk_below(m->disk, 3) == 0) continue;
        m->flying[lane] = false;
        int32_t result = disk_do(m->disk, &m->flights[lane]);
        tt_log_operation_done(m->log, (enum tt_log_lane)lane, result, &m->now);
    }
    struct tt_log_notice notice;
    while (tt_log_take_notice(m->log, &notice) == TT_OK) continue;
    (void)tt_log_publish(m->log);
}

static void read_all(struct mirror *m)
{
    m->sequence = tt_tail_head(m->tail);
    bool woken = tt_tail_advance(m->tail, 0, m->sequence);
    woken |= tt_tail_turn(m->readers, 0);
    (void)woken;
}

/* The dead hear of no result; the log is given one so that nothing is in flight. */
static void destroy(struct mirror *m)
{
    for (uint32_t lane = 0; lane < TT_LOG_LANES; lane++)
        if (m->flying[lane]) tt_log_operation_done(m->log, (enum tt_log_lane)lane, TT_EIO, &m->now);
    tt_log_destroy(&m->log);
    tt_tail_destroy(&m->tail);
    tt_tail_readers_destroy(&m->readers);
    tt_recovery_destroy(&m->recovered);
    memset(m->flying, 0, sizeof m->flying);
}

static void spoil(struct mirror *m)
{
    const struct tt_segment_list *list = tt_log_segments(m->log);
    char path[TT_LOG_PATH_BYTES];
    if (list->count == 0) return;
    const struct tt_segment *s = &list->items[disk_below(m->disk, list->count)];
    cr_assert_eq(tt_segment_path("data/0", s->first_offset, path, sizeof path), TT_OK);
    struct disk_file *f = disk_find(m->disk, path);
    if (f == NULL || f->size == 0) return;
    uint64_t at = disk_below(m->disk, f->size);
    if (disk_below(m->disk, 3) == 0) at = disk_below(m->disk, f->size < 200 ? f->size : 200);
    f->data[at] ^= 0x10;
    if (at < f->durable_size) f->durable[at] ^= 0x10;
    m->damaged = true;
}

static void live(struct mirror *m)
{
    uint64_t steps = 30 + disk_below(m->disk, 200);
    for (uint64_t i = 0; i < steps; i++) {
        m->now.ns += 1 + disk_below(m->disk, 50000000);
        append_some(m);
        work(m);
        if (disk_below(m->disk, 2) == 0) read_all(m);
    }
    check_values(m);
    if (disk_below(m->disk, 3) == 0) {
        tt_log_close(m->log);
        while (!tt_log_closed(m->log)) {
            m->now.ns += 1000000;
            work(m);
        }
    }
    for (uint32_t lane = 0; lane < TT_LOG_LANES; lane++)
        if (m->flying[lane]) disk_do_partly(m->disk, &m->flights[lane]);
    if (disk_below(m->disk, 6) == 0) spoil(m);
}

Test(crash_mirror, opens_again_and_holds_what_kafka_holds, .timeout = 600)
{
    uint64_t dropped = 0;
    memset(bytes, 'k', sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)('a' + i % 26);
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct mirror m = {
            .seed = seed, .disk = disk_create(seed), .now = {.ns = 1000000000, .wall_us = BASE_US}};
        make_kafka(&m);
        for (int life = 0; life < 5; life++) {
            open_mirror(&m);
            dropped += m.recovered->partitions[0].dropped;
            live(&m);
            destroy(&m);
            if (disk_below(m.disk, 2) == 0) disk_power_cut(m.disk);
        }
        disk_destroy(&m.disk);
    }
    cr_assert_gt(dropped, 0, "some damage was outside the newest segment");
}
