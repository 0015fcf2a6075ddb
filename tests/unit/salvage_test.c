#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/reader.h"
#include "store/salvage.h"
#include "tests/support/store_rig.h"

#define EVENTS 300u

static struct store_rig rig;
static struct tt_segment segment;
static struct tt_record_segment identity;
static uint8_t *file;
static uint64_t end;
static uint64_t record_at[EVENTS], record_bytes[EVENTS]; /* by offset */
static uint8_t piece[TT_CHUNK_BYTES] __attribute__((aligned(64)));

/* One segment with events of many sizes, some larger than a chunk, and a batch before each few. */
static void set_up(void)
{
    const struct store_rig_options options = {.policy = TT_LOG_INTERVAL,
                                              .segment_bytes = 64u << 20,
                                              .tail_bytes = 64u << 20,
                                              .event_bytes_max = 4u << 20};
    unsigned seed = 11;
    store_rig_init(&rig);
    cr_assert_eq(store_rig_open(&rig, &options), TT_OK);
    for (unsigned i = 0; i < EVENTS; i++) {
        uint64_t offset, place;
        size_t bytes = i % 60 == 30 ? 2500000 : (size_t)rand_r(&seed) % 9000 + 1;
        cr_assert_eq(store_rig_append(&rig, "a", bytes, &offset, &place), TT_OK);
        if (i % 3 == 0) store_rig_run(&rig);
        store_rig_read(&rig);
    }
    store_rig_run(&rig);
    segment = tt_log_segments(rig.log)->items[0];
    end = tt_tail_written_place(rig.tail);
    file = malloc(end);
    memcpy(file, store_rig_find(&rig, "data/0/00000000000000000000.seg")->data, end);
}
static void tear_down(void)
{
    free(file);
    store_rig_deinit(&rig);
}
TestSuite(salvage, .init = set_up, .fini = tear_down, .timeout = 120);

/* What a whole walk found. */
struct walked {
    uint64_t events, lost;
    uint64_t next;
    bool seen[EVENTS];
    bool hole[EVENTS];
};

static void take(struct walked *w, const struct tt_record *r, uint64_t place)
{
    if (r->class == TT_RECORD_SEGMENT) identity = r->segment;
    if (r->class == TT_RECORD_EVENT) {
        record_at[r->offset] = place;
        record_bytes[r->offset] = r->length;
        w->seen[r->offset] = true;
        w->events++;
        w->next = r->offset + 1;
    } else if (r->class == TT_RECORD_HOLE) {
        for (uint64_t i = r->offset; i < r->hole_end; i++) w->hole[i] = true;
        w->lost += r->hole_end - r->offset;
        w->next = r->hole_end;
    } else {
        w->next = r->offset;
    }
}

/* Replaces the bytes from `from` on, where a walk met no record. */
static void mend(struct walked *w, uint64_t from, int64_t taken_max_us)
{
    struct tt_record record;
    uint64_t to = from + TT_RECORD_ALIGN;
    enum tt_status status = tt_salvage_next(0, tt_bytes(file, end), true, w->next, &to, &record);
    struct tt_salvage_fill fill = {.base = 0,
                                   .place = from,
                                   .end = status == TT_OK ? to : end,
                                   .next_offset = w->next,
                                   .lost_end = status == TT_OK ? record.offset : EVENTS,
                                   .taken_us = 1,
                                   .taken_max_us = taken_max_us,
                                   .segment = identity};
    size_t bytes;
    uint64_t at = from;
    while ((status = tt_salvage_fill_step(&fill, piece, &bytes)) == TT_OK) {
        memcpy(file + at, piece, bytes);
        at += bytes;
    }
    cr_assert_eq(status, TT_END);
    cr_assert_eq(at, fill.end);
}

/* Walks the whole file; bad bytes are mended, or counted as a failure. */
static struct walked walk(bool may_mend)
{
    struct walked w = {0};
    struct tt_reader r;
    struct tt_record record;
    int64_t taken_max_us = INT64_MIN;
    tt_reader_init(&r, 0, end, true);
    for (;;) {
        enum tt_status status = tt_reader_next(&r, 0, tt_bytes(file, end), &record);
        if (status == TT_END) return w;
        if (status == TT_OK) {
            if (record.class == TT_RECORD_EVENT && record.event.taken_us > taken_max_us)
                taken_max_us = record.event.taken_us;
            if (record.class == TT_RECORD_CHUNK)
                cr_assert_geq(record.taken_max_us, taken_max_us, "times of chunks never fall");
            take(&w, &record, tt_reader_place(&r) - record.length);
            continue;
        }
        cr_assert(may_mend, "bad bytes at %llu", (unsigned long long)tt_reader_place(&r));
        uint64_t from = tt_reader_place(&r);
        mend(&w, from, taken_max_us);
        tt_reader_init(&r, from, end, true); /* it must be readable now */
    }
}

/* Flips, zeroes or overwrites a random stretch; says which events it touched. */
static void damage(unsigned *seed, bool touched[EVENTS])
{
    uint64_t at = (uint64_t)rand_r(seed) % end;
    uint64_t bytes = 1 + (uint64_t)rand_r(seed) % (rand_r(seed) % 4 == 0 ? 3000000 : 300);
    int kind = rand_r(seed) % 3;
    if (rand_r(seed) % 5 == 0) at = at / TT_CHUNK_BYTES * TT_CHUNK_BYTES;
    if (bytes > end - at) bytes = end - at;
    for (uint64_t i = at; i < at + bytes; i++)
        file[i] = kind == 0 ? (uint8_t)(file[i] ^ 0x10) : kind == 1 ? 0 : (uint8_t)rand_r(seed);
    for (unsigned i = 0; i < EVENTS; i++)
        if (record_at[i] < at + bytes && at < record_at[i] + record_bytes[i]) touched[i] = true;
}

/* Whatever is damaged: afterwards everything can be read, each event that was not touched is there,
 * and the others lie in holes. */
Test(salvage, only_what_was_damaged_is_lost)
{
    struct walked whole = walk(false);
    cr_assert_eq(whole.events, EVENTS);
    uint8_t *copy = malloc(end);
    memcpy(copy, file, end);
    for (unsigned round = 0; round < 60; round++) {
        unsigned seed = 1000 + round;
        bool touched[EVENTS] = {false};
        memcpy(file, copy, end);
        for (int n = rand_r(&seed) % 3; n >= 0; n--) damage(&seed, touched);
        struct walked mended = walk(true);
        struct walked again = walk(false);
        for (unsigned i = 0; i < EVENTS; i++) {
            cr_assert(touched[i] || again.seen[i], "seed %u: event %u was not damaged",
                      1000 + round, i);
            cr_assert(again.seen[i] != again.hole[i], "seed %u: event %u is neither there nor lost",
                      1000 + round, i);
        }
        cr_assert_eq(again.events + again.lost, EVENTS);
        cr_assert_eq(again.events, mended.events);
        cr_assert_eq(again.next, EVENTS);
    }
    memcpy(file, copy, end);
    free(copy);
}

/* After a repair every offset is found through the chunk headers. */
Test(salvage, chunks_are_found_after_a_repair)
{
    walk(false);
    for (unsigned round = 0; round < 20; round++) {
        unsigned seed = 500 + round;
        bool touched[EVENTS] = {false};
        damage(&seed, touched);
        walk(true);
        for (uint64_t offset = 0; offset < EVENTS; offset += 7) {
            struct tt_reader_find find;
            struct tt_reader r;
            struct tt_record record;
            uint64_t place;
            tt_reader_find_offset(&find, &segment, end, offset);
            while (tt_reader_find_step(&find, &place) == TT_MORE)
                tt_reader_find_probe(&find, tt_bytes(file + place, TT_READER_PROBE_BYTES));
            tt_reader_init(&r, place, end, true);
            uint64_t covers = UINT64_MAX;
            while (tt_reader_next(&r, 0, tt_bytes(file, end), &record) == TT_OK) {
                if (record.class == TT_RECORD_EVENT && record.offset == offset) covers = offset;
                if (record.class == TT_RECORD_HOLE && record.offset <= offset &&
                    offset < record.hole_end)
                    covers = offset;
                if (covers == offset) break;
            }
            cr_assert_eq(covers, offset, "seed %u: offset %llu is not found from place %llu",
                         500 + round, (unsigned long long)offset, (unsigned long long)place);
        }
    }
}

/* Windows: whatever their size, the same record is found. */
Test(salvage, a_record_is_found_through_any_windows)
{
    struct tt_record record;
    walk(false);
    for (unsigned i = 1; i < EVENTS; i += 13) {
        uint64_t from = record_at[i - 1] + 8, whole = from;
        cr_assert_eq(tt_salvage_next(0, tt_bytes(file, end), true, 0, &whole, &record), TT_OK);
        uint64_t place = from;
        enum tt_status status = TT_MORE;
        while (status == TT_MORE) {
            uint64_t size = 6u << 20;
            bool last = end - place <= size;
            if (last) size = end - place;
            uint64_t at = place;
            status = tt_salvage_next(at, tt_bytes(file + at, size), last, 0, &place, &record);
        }
        cr_assert_eq(status, TT_OK);
        cr_assert_eq(place, whole);
    }
    uint64_t place = record_at[EVENTS - 1] + 8;
    cr_assert_eq(tt_salvage_next(0, tt_bytes(file, end), true, EVENTS + 1, &place, &record),
                 TT_END);
}
