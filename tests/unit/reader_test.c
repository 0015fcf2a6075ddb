#include <criterion/criterion.h>
#include <stdlib.h>

#include "store/reader.h"
#include "tests/support/store_rig.h"

static struct store_rig rig;
static struct store_rig_options options;
static const struct tt_segment *segment;
static struct tt_bytes file;
static uint64_t end;

/* One segment with events of many sizes, some larger than a chunk; event i was taken at second i,
 * but each tenth by a clock that was an hour slow. */
static void set_up(void)
{
    uint64_t offset, place;
    unsigned seed = 3;
    store_rig_init(&rig);
    options = (struct store_rig_options){.policy = TT_LOG_INTERVAL,
                                         .segment_bytes = 64u << 20,
                                         .tail_bytes = 64u << 20,
                                         .event_bytes_max = 4u << 20};
    cr_assert_eq(store_rig_open(&rig, &options), TT_OK);
    for (int i = 0; i < 400; i++) {
        size_t bytes = (size_t)rand_r(&seed) % 60000 + 1;
        if (i % 50 == 20) bytes = 3000000;
        int64_t wall_us = rig.now.wall_us;
        rig.now.wall_us = i * INT64_C(1000000) - (i % 10 == 9 ? INT64_C(3600000000) : 0);
        cr_assert_eq(store_rig_append(&rig, "a", bytes, &offset, &place), TT_OK);
        rig.now.wall_us = wall_us;
        store_rig_run(&rig);
        store_rig_read(&rig);
    }
    segment = &tt_log_segments(rig.log)->items[0];
    struct store_rig_file *f = store_rig_find(&rig, "data/0/00000000000000000000.seg");
    file = tt_bytes(f->data, f->size);
    end = tt_tail_written_place(rig.tail);
}
static void tear_down(void)
{
    store_rig_deinit(&rig);
}
TestSuite(reader, .init = set_up, .fini = tear_down);

/* Walks with windows of that many bytes; the number of events. */
static uint64_t walk(uint64_t from, uint64_t window_bytes, uint64_t *first)
{
    struct tt_reader r;
    struct tt_record record;
    uint64_t events = 0;
    enum tt_status status = TT_MORE;
    tt_reader_init(&r, from, end, false);
    while (status == TT_MORE) {
        uint64_t at = tt_reader_place(&r);
        uint64_t size = window_bytes > tt_reader_needs(&r) ? window_bytes : tt_reader_needs(&r);
        if (size > file.size - at) size = file.size - at;
        struct tt_bytes window = tt_bytes(file.data + at, size);
        while ((status = tt_reader_next(&r, at, window, &record)) == TT_OK)
            if (record.class == TT_RECORD_EVENT && events++ == 0) *first = record.offset;
    }
    cr_assert_eq(status, TT_END, "status %d at %llu", status,
                 (unsigned long long)tt_reader_place(&r));
    cr_assert_eq(tt_reader_place(&r), end);
    return events;
}

Test(reader, windows_of_any_size_give_the_same)
{
    static const uint64_t sizes[] = {1, 48, 100, 4096, 65536, 8u << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint64_t first = 99;
        cr_assert_eq(walk(0, sizes[i], &first), 400, "windows of %llu",
                     (unsigned long long)sizes[i]);
        cr_assert_eq(first, 0);
    }
}

static uint64_t find(struct tt_reader_find *f, int *probes)
{
    uint64_t place;
    *probes = 0;
    while (tt_reader_find_step(f, &place) == TT_MORE) {
        tt_reader_find_probe(f, tt_bytes(file.data + place, TT_READER_PROBE_BYTES));
        ++*probes;
    }
    return place;
}

Test(reader, every_offset_is_found_close_behind_where_to_begin)
{
    for (uint64_t offset = 0; offset < 400; offset++) {
        struct tt_reader_find f;
        struct tt_record record;
        struct tt_reader r;
        int probes;
        tt_reader_find_offset(&f, segment, end, offset);
        uint64_t place = find(&f, &probes);
        cr_assert_leq(probes, 24);
        tt_reader_init(&r, place, end, false);
        do {
            cr_assert_eq(tt_reader_next(&r, 0, file, &record), TT_OK);
        } while (record.class != TT_RECORD_EVENT || record.offset < offset);
        cr_assert_eq(record.offset, offset);
        cr_assert_leq(tt_reader_place(&r) - place, 5u << 20, "offset %llu",
                      (unsigned long long)offset);
    }
}

Test(reader, a_time_is_found_though_clocks_went_backwards)
{
    for (int64_t second = -10; second < 405; second++) {
        struct tt_reader_find f;
        struct tt_record record;
        struct tt_reader r;
        int probes;
        tt_reader_find_taken(&f, segment, end, second * 1000000);
        tt_reader_init(&r, find(&f, &probes), end, false);
        enum tt_status status;
        while ((status = tt_reader_next(&r, 0, file, &record)) == TT_OK)
            if (record.class == TT_RECORD_EVENT && record.event.taken_us >= second * 1000000) break;
        uint64_t want = 0; /* the first by looking at all */
        while (want < 400 && (want % 10 == 9 ? (int64_t)want - 3600 : (int64_t)want) < second)
            want++;
        if (want == 400)
            cr_assert_eq(status, TT_END);
        else
            cr_assert_eq(record.offset, want, "second %lld", (long long)second);
    }
}

Test(reader, damage_is_told_with_its_place)
{
    struct tt_reader r;
    struct tt_record record;
    for (uint64_t at = 300; at < 4000; at += 97) {
        ((uint8_t *)(uintptr_t)file.data)[at] ^= 4;
        enum tt_status status;
        tt_reader_init(&r, 0, end, false);
        while ((status = tt_reader_next(&r, 0, file, &record)) == TT_OK) continue;
        cr_assert(status == TT_ECORRUPT || status == TT_END || status == TT_MORE);
        cr_assert_leq(tt_reader_place(&r), at);
        ((uint8_t *)(uintptr_t)file.data)[at] ^= 4;
    }
}

Test(reader, in_a_growing_segment_a_record_that_crosses_the_end_is_not_there_yet)
{
    struct tt_reader r;
    struct tt_record record;
    uint64_t whole = end;
    for (uint64_t cut = whole - 300; cut < whole; cut++) {
        enum tt_status status;
        tt_reader_init(&r, 0, cut, false);
        while ((status = tt_reader_next(&r, 0, file, &record)) == TT_OK) continue;
        cr_assert_eq(status, TT_END);
        tt_reader_init(&r, 0, cut, true);
        while ((status = tt_reader_next(&r, 0, file, &record)) == TT_OK) continue;
        cr_assert(status == TT_ECORRUPT || tt_reader_place(&r) == cut,
                  "a sealed one must be whole");
    }
}
