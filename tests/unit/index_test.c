#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/crc32c.h"
#include "store/index_file.h"

/* What was added, in order, to be looked through from one end to the other. */
struct naive {
    struct entry {
        uint64_t hash;
        struct tt_index_entry e;
    } * entries;
    uint32_t count;
    struct tt_index_hole holes[64];
    uint32_t holes_count;
    bool no_holes;
    uint64_t hashes[600];
    uint32_t hashes_count;
    uint64_t first_offset, next_offset, base_place, place;
};
static struct naive naive;
static struct tt_index *indexed;
static uint64_t seed;

static uint64_t draw(void) /* xorshift64* */
{
    seed ^= seed >> 12;
    seed ^= seed << 25;
    seed ^= seed >> 27;
    return seed * UINT64_C(0x2545F4914F6CDD1D);
}
static uint64_t below(uint64_t n)
{
    return draw() % n;
}

static void start(uint64_t s, uint32_t channels, uint64_t first_offset, uint64_t base_place)
{
    seed = s * UINT64_C(0x9E3779B97F4A7C15) + 1;
    free(naive.entries);
    tt_index_destroy(&indexed);
    naive = (struct naive){.first_offset = first_offset,
                           .next_offset = first_offset,
                           .base_place = base_place,
                           .place = base_place + 200};
    naive.entries = malloc(200000 * sizeof *naive.entries);
    naive.hashes_count = channels;
    for (uint32_t i = 0; i < channels; i++) naive.hashes[i] = draw();
    /* Neighbours in the table, and in every order. */
    for (uint32_t i = 1; i < channels; i += 7) naive.hashes[i] = naive.hashes[i - 1] + below(3) + 1;
    struct tt_index_options options = {
        .first_offset = first_offset, .base_place = base_place, .channels_hint = 0};
    cr_assert_eq(tt_index_create(&indexed, &options), TT_OK);
}

static void add_one(void)
{
    /* A few channels have most of the events, many have one or none. */
    uint64_t r = below(naive.hashes_count), q = below(naive.hashes_count);
    uint64_t hash = naive.hashes[r * q / naive.hashes_count];
    if (below(5) == 0) naive.next_offset += below(50) == 0 ? draw() >> 30 : below(9);
    if (below(300) == 0 && naive.holes_count < 64 && !naive.no_holes) {
        struct tt_index_hole hole = {naive.next_offset, naive.next_offset + 1 + below(70000),
                                     naive.place};
        naive.holes[naive.holes_count++] = hole;
        cr_assert_eq(tt_index_add_hole(indexed, hole.first, hole.end, hole.place), TT_OK);
        naive.next_offset = hole.end;
        naive.place += 56;
        return;
    }
    struct tt_index_entry e = {naive.next_offset, naive.place,
                               below(3) == 0 ? (uint32_t)below(4) : 0};
    naive.entries[naive.count++] = (struct entry){hash, e};
    cr_assert_eq(tt_index_add(indexed, hash, e.offset, e.place, e.flags), TT_OK);
    naive.next_offset++;
    naive.place += 8 * (1 + (below(40) == 0 ? below(100000) : below(60)));
}

/* An offset that says something: near an entry, or anywhere, or beyond. */
static uint64_t some_offset(void)
{
    switch (below(6)) {
    case 0: return below(naive.next_offset + 10);
    case 1: return 0;
    case 2: return UINT64_MAX;
    default:
        if (naive.count == 0) return naive.first_offset;
        return naive.entries[below(naive.count)].e.offset + below(3) - (naive.first_offset != 0);
    }
}

static bool same(const struct tt_index_entry *a, const struct tt_index_entry *b)
{
    return a->offset == b->offset && a->place == b->place && a->flags == b->flags;
}

static uint32_t naive_range(uint64_t hash, uint64_t from, uint64_t to,
                            struct tt_index_entry *entries)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < naive.count; i++) {
        const struct entry *x = &naive.entries[i];
        if (x->hash == hash && x->e.offset >= from && x->e.offset < to) entries[n++] = x->e;
    }
    return n;
}

static struct tt_index_entry got[20000], want[20000];

static void compare_memory(uint64_t hash)
{
    uint64_t from = some_offset(), to = some_offset();
    uint32_t max = (uint32_t)(below(2) == 0 ? below(20) : 20000);
    uint32_t n = naive_range(hash, from, to, want);
    if (n > max) n = max;
    cr_assert_eq(tt_index_range(indexed, hash, from, to, got, max), n);
    for (uint32_t i = 0; i < n; i++) cr_assert(same(&got[i], &want[i]));

    n = naive_range(hash, 0, to, want);
    uint32_t last = n < max ? n : max;
    cr_assert_eq(tt_index_last(indexed, hash, to, max, got), last);
    for (uint32_t i = 0; i < last; i++) cr_assert(same(&got[i], &want[n - last + i]));

    enum tt_status status = TT_END;
    while (n > 0 && !tt_index_is_value(want[n - 1].flags)) n--;
    if (n > 0) status = (want[n - 1].flags & TT_INDEX_DELETE) != 0 ? TT_ENOENT : TT_OK;
    struct tt_index_entry value = {0};
    cr_assert_eq(tt_index_value(indexed, hash, to, &value), status);
    if (n > 0) cr_assert(same(&value, &want[n - 1]));

    cr_assert_eq(tt_index_count(indexed, hash), naive_range(hash, 0, UINT64_MAX, want));

    struct tt_index_hole holes[64];
    uint32_t found = tt_index_holes(indexed, from, to, holes, 64), k = 0;
    for (uint32_t i = 0; i < naive.holes_count; i++) {
        const struct tt_index_hole *h = &naive.holes[i];
        if (h->end <= from || h->first >= to) continue;
        cr_assert(k < found && holes[k].first == h->first && holes[k].end == h->end &&
                  holes[k].place == h->place);
        k++;
    }
    cr_assert_eq(k, found);
}

Test(index, answers_as_a_scan_does)
{
    for (uint64_t s = 1; s <= 12; s++) {
        fprintf(stderr, "seed %llu\n", (unsigned long long)s);
        start(s, (uint32_t)(1 + s * s * 4), s % 3 == 0 ? 0 : s << (3 * s), (s - 1) << 20);
        for (int round = 0; round < 40; round++) {
            for (uint64_t i = below(200); i > 0; i--) add_one();
            for (int i = 0; i < 10; i++) compare_memory(naive.hashes[below(naive.hashes_count)]);
            compare_memory(draw());
        }
        cr_assert_eq(tt_index_entries(indexed), naive.count);
    }
}

Test(index, many_channels_are_found_while_the_table_grows)
{
    start(5, 1, 0, 0);
    for (uint64_t i = 0; i < 100000; i++) {
        cr_assert_eq(tt_index_add(indexed, i * UINT64_C(0x9E3779B97F4A7C15), i, i * 8, 0), TT_OK);
        uint64_t some = below(i + 1);
        struct tt_index_entry e;
        cr_assert_eq(tt_index_value(indexed, some * UINT64_C(0x9E3779B97F4A7C15), i + 1, &e),
                     TT_OK);
        cr_assert_eq(e.offset, some);
    }
    cr_assert_eq(tt_index_channels(indexed), 100000);
}

Test(index, memory_is_bounded_and_a_broken_one_is_harmless)
{
    struct tt_index *x;
    struct tt_index_options options = {.bytes_max = 1u << 20};
    cr_assert_eq(tt_index_create(&x, &options), TT_OK);
    uint64_t i = 0;
    while (tt_index_add(x, i * 12345, i, i * 8, 0) == TT_OK) {
        cr_assert_leq(tt_index_bytes(x), 1u << 20);
        i++;
    }
    cr_assert_gt(i, 5000);
    cr_assert(tt_index_broken(x));
    cr_assert_lt(tt_index_bytes(x), 1000);
    struct tt_index_entry e;
    cr_assert_eq(tt_index_add(x, 1, i + 1, i * 8 + 8, 0), TT_ENOMEM);
    cr_assert_eq(tt_index_add_hole(x, i + 2, i + 3, i * 8), TT_ENOMEM);
    cr_assert_eq(tt_index_range(x, 12345, 0, UINT64_MAX, &e, 1), 0);
    cr_assert_eq(tt_index_last(x, 12345, UINT64_MAX, 1, &e), 0);
    cr_assert_eq(tt_index_value(x, 12345, UINT64_MAX, &e), TT_END);
    cr_assert_eq(tt_index_count(x, 12345), 0);
    tt_index_destroy(&x);
}

Test(index, the_blocks_of_a_batch_become_one_entry)
{
    start(1, 1, 0, 0);
    struct tt_record_idempotency block = {.count = 3};
    block.key_hash[0] = 7;
    for (uint32_t i = 0; i < 9; i++) {
        block.index = i % 3;
        block.body_hash[3] = i < 6 ? 1 : 2;
        cr_assert_eq(tt_index_add(indexed, i, 10 + i, i * 80, 0), TT_OK);
        cr_assert_eq(tt_index_add_idempotency(indexed, &block, 10 + i, i * 80 + 80, 1000 + i),
                     TT_OK);
    }
    uint32_t count;
    const struct tt_index_idempotency *runs = tt_index_idempotency(indexed, &count);
    cr_assert_eq(count, 3);
    for (uint32_t k = 0; k < 3; k++) {
        cr_assert_eq(runs[k].first_offset, 10 + 3 * k);
        cr_assert_eq(runs[k].events, 3);
        cr_assert_eq(runs[k].index, 0);
        cr_assert_eq(runs[k].count, 3);
        cr_assert_eq(runs[k].end_place, (3 * k + 3) * 80);
        cr_assert_eq(runs[k].taken_us, 1000 + 3 * k);
        cr_assert_eq(runs[k].body_hash[3], k < 2 ? 1 : 2);
    }
}

/* ---- the file ---- */

static uint8_t *file;
static size_t file_bytes, file_capacity;
static struct tt_segment segment;
static const struct tt_record_segment identity = {
    .format = 1, .partition = 3, .partitions = 4, .history = {{"k7Qp2a"}}, .hash_key = {5, 6}};
static struct tt_index_header header;
static uint8_t filter[TT_INDEX_FILTER_BYTES_MAX];

static void write_file(void)
{
    struct tt_index_writer *w;
    static uint8_t buffer[100000];
    segment = (struct tt_segment){.first_offset = naive.first_offset,
                                  .base_place = naive.base_place,
                                  .end_place = naive.place};
    cr_assert_eq(tt_index_writer_create(&w, indexed, &segment, &identity), TT_OK);
    struct tt_index_slice slice;
    file_bytes = 0;
    size_t capacity = TT_INDEX_STEP_BYTES_MIN + below(sizeof buffer - TT_INDEX_STEP_BYTES_MIN);
    while (tt_index_writer_step(w, buffer, capacity, &slice) == TT_OK) {
        cr_assert_leq(slice.size, capacity);
        if (slice.position + slice.size > file_capacity) {
            file_capacity = (slice.position + slice.size) * 2;
            file = realloc(file, file_capacity);
        }
        if (slice.position + slice.size > file_bytes) file_bytes = slice.position + slice.size;
        memcpy(file + slice.position, buffer, slice.size);
    }
    cr_assert_eq(tt_index_writer_bytes(w), file_bytes);
    tt_index_writer_destroy(&w);
}

/* What is read at a position, in memory of its own, so that reading too far shows. */
static struct tt_bytes fetch(uint64_t position, uint64_t size)
{
    static uint8_t *room;
    free(room);
    if (position > file_bytes) position = file_bytes;
    if (size > file_bytes - position) size = file_bytes - position;
    room = malloc(size == 0 ? 1 : size);
    memcpy(room, file + position, size);
    return tt_bytes(room, size);
}

static enum tt_status open_file(void)
{
    enum tt_status status =
        tt_index_header_read(fetch(0, TT_INDEX_HEADER_BYTES), &segment, &identity, &header);
    if (status != TT_OK) return status;
    struct tt_bytes bytes = fetch(header.filter.position, header.filter.bytes);
    status = tt_index_filter_check(&header, bytes);
    if (status == TT_OK) memcpy(filter, bytes.data, bytes.size);
    return status;
}

static uint32_t reads;
static enum tt_status run(struct tt_index_search *s, struct tt_index_entry *entries, uint32_t *n)
{
    uint64_t position;
    uint32_t size;
    enum tt_status status;
    *n = 0;
    reads = 0;
    while ((status = tt_index_search_step(s, &position, &size)) == TT_MORE) {
        cr_assert_leq(size, TT_INDEX_READ_BYTES);
        cr_assert_lt(reads++, 200000);
        tt_index_search_give(s, fetch(position, size));
        while (tt_index_search_take(s, &entries[*n])) ++*n;
    }
    return status;
}

static void compare_file(uint64_t hash)
{
    struct tt_index_search s;
    uint64_t from = some_offset(), to = some_offset();
    uint32_t found;
    uint32_t all = naive_range(hash, 0, UINT64_MAX, want);
    cr_assert(all == 0 || tt_index_filter_test(&header, filter, hash));

    tt_index_search_count_of(&s, &header, hash);
    cr_assert_eq(run(&s, got, &found), TT_END);
    cr_assert_eq(tt_index_search_count(&s), all);
    cr_assert_leq(reads, 12);

    uint32_t n = naive_range(hash, from, to, want);
    tt_index_search_range(&s, &header, hash, from, to);
    cr_assert_eq(run(&s, got, &found), TT_END);
    cr_assert_eq(found, n);
    for (uint32_t i = 0; i < n; i++) cr_assert(same(&got[i], &want[i]));

    n = naive_range(hash, 0, to, want);
    uint32_t max = (uint32_t)(below(2) == 0 ? below(10) : below(5000));
    tt_index_search_last(&s, &header, hash, to, max);
    /* Blocks come newest first: put each one before those that were given already. */
    uint32_t last = n < max ? n : max, at = last;
    uint64_t position;
    uint32_t size;
    enum tt_status status;
    while ((status = tt_index_search_step(&s, &position, &size)) == TT_MORE) {
        tt_index_search_give(&s, fetch(position, size));
        static struct tt_index_entry block[4096];
        uint32_t k = 0;
        while (tt_index_search_take(&s, &block[k])) k++;
        cr_assert_leq(k, at);
        at -= k;
        memcpy(&got[at], block, k * sizeof *block);
    }
    cr_assert_eq(status, TT_END);
    cr_assert_eq(at, 0);
    for (uint32_t i = 0; i < last; i++) cr_assert(same(&got[i], &want[n - last + i]));

    while (n > 0 && !tt_index_is_value(want[n - 1].flags)) n--;
    tt_index_search_value(&s, &header, hash, to);
    cr_assert_eq(run(&s, got, &found), TT_END);
    cr_assert_eq(found, n > 0);
    if (n > 0) cr_assert(same(&got[0], &want[n - 1]));
}

static void add_batches(uint32_t batches)
{
    struct tt_record_idempotency block = {.count = 1};
    for (uint32_t i = 0; i < batches; i++) {
        uint64_t offset = naive.next_offset;
        add_one();
        if (naive.entries[naive.count - 1].e.offset < offset) continue; /* it was a hole */
        memcpy(block.key_hash, &i, sizeof i);
        block.body_hash[15] = (uint8_t)i;
        cr_assert_eq(tt_index_add_idempotency(indexed, &block, naive.next_offset - 1, naive.place,
                                              (int64_t)i - 5),
                     TT_OK);
    }
}

static bool same_run(const struct tt_index_idempotency *a, const struct tt_index_idempotency *b)
{
    return memcmp(a->key_hash, b->key_hash, sizeof a->key_hash) == 0 &&
           memcmp(a->body_hash, b->body_hash, sizeof a->body_hash) == 0 &&
           a->first_offset == b->first_offset && a->end_place == b->end_place &&
           a->taken_us == b->taken_us && a->index == b->index && a->events == b->events &&
           a->count == b->count;
}

/* Everything there is in the file; TT_OK, or what is wrong with it. Whatever it answers is right.
 */
static enum tt_status read_all(void)
{
    enum tt_status status = open_file();
    if (status != TT_OK) return status;
    uint32_t n = 0, count, at = 0;
    for (uint32_t p = 0; p < tt_index_section_pages(&header.holes); p++) {
        static struct tt_index_hole holes[TT_INDEX_HOLES_PAGE];
        status = tt_index_read_holes(
            &header, p, fetch(header.holes.position + p * TT_INDEX_PAGE_BYTES, TT_INDEX_PAGE_BYTES),
            holes, &n);
        if (status != TT_OK) return status;
        for (uint32_t i = 0; i < n; i++, at++)
            cr_assert(holes[i].first == naive.holes[at].first &&
                      holes[i].end == naive.holes[at].end &&
                      holes[i].place == naive.holes[at].place);
    }
    cr_assert_eq(at, naive.holes_count);
    const struct tt_index_idempotency *runs = tt_index_idempotency(indexed, &count);
    at = 0;
    for (uint32_t p = 0; p < tt_index_section_pages(&header.idempotency); p++) {
        static struct tt_index_idempotency some[TT_INDEX_IDEMPOTENCY_PAGE];
        status = tt_index_read_idempotency(
            &header, p,
            fetch(header.idempotency.position + p * TT_INDEX_PAGE_BYTES, TT_INDEX_PAGE_BYTES), some,
            &n);
        if (status != TT_OK) return status;
        for (uint32_t i = 0; i < n; i++, at++) cr_assert(same_run(&some[i], &runs[at]));
    }
    cr_assert_eq(at, count);
    uint32_t total = 0;
    for (uint32_t i = 0; i < naive.hashes_count; i++) {
        struct tt_index_search s;
        tt_index_search_range(&s, &header, naive.hashes[i], 0, UINT64_MAX);
        status = run(&s, got, &n);
        if (status != TT_END) return status;
        uint32_t all = naive_range(naive.hashes[i], 0, UINT64_MAX, want);
        cr_assert_eq(n, all);
        for (uint32_t k = 0; k < n; k++) cr_assert(same(&got[k], &want[k]));
        total += n;
    }
    cr_assert_eq(total, naive.count);
    return TT_OK;
}

Test(index, the_file_answers_as_a_scan_does)
{
    for (uint64_t s = 1; s <= 10; s++) {
        fprintf(stderr, "seed %llu\n", (unsigned long long)s);
        start(s, (uint32_t)(1 + s * s * 4), s % 3 == 0 ? 0 : s << (3 * s), (s - 1) << 20);
        for (uint64_t i = below(6000); i > 0; i--) add_one();
        add_batches((uint32_t)below(200));
        write_file();
        cr_assert_eq(read_all(), TT_OK);
        for (int i = 0; i < 200; i++) compare_file(naive.hashes[below(naive.hashes_count)]);
        for (int i = 0; i < 20; i++) compare_file(draw());
    }
}

Test(index, a_long_list_is_read_in_parts)
{
    start(3, 1, 1000, 0);
    naive.no_holes = true;
    for (int i = 0; i < 15000; i++) add_one();
    write_file();
    cr_assert_eq(read_all(), TT_OK);
    struct tt_index_search s;
    uint32_t n;
    for (int i = 0; i < 200; i++) compare_file(naive.hashes[0]);
    /* A few of them cost a few reads, wherever they are. */
    for (uint32_t k = 0; k < 15000; k += 997) {
        uint64_t from = naive.entries[k].e.offset;
        tt_index_search_range(&s, &header, naive.hashes[0], from, from + 1);
        cr_assert_eq(run(&s, got, &n), TT_END);
        cr_assert_eq(n, 1);
        cr_assert_leq(reads, 8);
        tt_index_search_last(&s, &header, naive.hashes[0], from, 10);
        cr_assert_eq(run(&s, got, &n), TT_END);
        cr_assert_eq(n, k < 10 ? k : 10);
        cr_assert_leq(reads, 8);
    }
}

Test(index, many_channels_cost_two_reads)
{
    start(8, 1, 0, 0);
    naive.count = 60000;
    for (uint32_t i = 0; i < naive.count; i++) {
        naive.entries[i] = (struct entry){draw(), {i, i * 64, 0}};
        cr_assert_eq(tt_index_add(indexed, naive.entries[i].hash, i, i * 64, 0), TT_OK);
    }
    naive.place = 60000 * 64;
    write_file();
    cr_assert_eq(open_file(), TT_OK);
    uint64_t all_reads = 0, false_answers = 0;
    for (uint32_t i = 0; i < naive.count; i++) {
        struct tt_index_search s;
        uint32_t n;
        tt_index_search_range(&s, &header, naive.entries[i].hash, i, UINT64_MAX);
        cr_assert_eq(run(&s, got, &n), TT_END);
        cr_assert_eq(n, 1);
        cr_assert_eq(got[0].offset, i);
        cr_assert_leq(reads, 8);
        all_reads += reads;
        false_answers += tt_index_filter_test(&header, filter, draw());
    }
    cr_assert_leq(all_reads, naive.count * 3);
    cr_assert_leq(false_answers, naive.count / 25);
}

Test(index, one_without_events_is_a_file_too)
{
    start(2, 1, 500, 3 << 20);
    write_file();
    cr_assert_eq(read_all(), TT_OK);
    cr_assert_not(tt_index_filter_test(&header, filter, naive.hashes[0]));
    compare_file(naive.hashes[0]);
}

Test(index, damage_anywhere_is_told)
{
    start(4, 40, 1000000, 1 << 20);
    for (int i = 0; i < 3000; i++) add_one();
    add_batches(60);
    while (naive.holes_count == 0) add_one();
    write_file();
    cr_assert_eq(read_all(), TT_OK);
    fprintf(stderr, "%zu bytes\n", file_bytes);
    for (size_t i = 0; i < file_bytes; i++) {
        uint8_t old = file[i];
        file[i] ^= (uint8_t)(1u << i % 8);
        cr_assert_eq(read_all(), TT_ECORRUPT, "byte %zu", i);
        file[i] = old;
    }
    /* Cut short, or with bytes of another place in it: as a torn write leaves it. */
    size_t whole = file_bytes;
    for (int i = 0; i < 300; i++) {
        file_bytes = below(whole);
        cr_assert_eq(read_all(), TT_ECORRUPT, "%zu of %zu bytes", file_bytes, whole);
    }
    file_bytes = whole;
    uint8_t *copy = malloc(whole);
    memcpy(copy, file, whole);
    for (int i = 0; i < 300; i++) {
        size_t at = below(whole), size = 1 + below(5000);
        if (size > whole - at) size = whole - at;
        for (size_t k = 0; k < size; k++) file[at + k] = i % 2 == 0 ? 0 : (uint8_t)draw();
        if (memcmp(file, copy, whole) != 0) cr_assert_eq(read_all(), TT_ECORRUPT);
        memcpy(file, copy, whole);
    }
    free(copy);
}

Test(index, another_segments_file_and_a_newer_format_are_refused)
{
    start(4, 40, 1000000, 1 << 20);
    for (int i = 0; i < 300; i++) add_one();
    write_file();
    cr_assert_eq(open_file(), TT_OK);
    segment.end_place += 8;
    cr_assert_eq(open_file(), TT_ECORRUPT);
    segment.end_place -= 8;
    struct tt_record_segment other = identity;
    other.partition = 0;
    struct tt_bytes bytes = tt_bytes(file, TT_INDEX_HEADER_BYTES);
    cr_assert_eq(tt_index_header_read(bytes, &segment, &other, &header), TT_ECORRUPT);
    other = identity;
    other.history.text[0] = 'x';
    cr_assert_eq(tt_index_header_read(bytes, &segment, &other, &header), TT_ECORRUPT);
    file[8] = 2;
    uint32_t crc = tt_crc32c(0, file, TT_INDEX_HEADER_BYTES - 4);
    memcpy(file + TT_INDEX_HEADER_BYTES - 4, &crc, 4);
    cr_assert_eq(open_file(), TT_EVERSION);
}

Test(index, names)
{
    char name[TT_INDEX_NAME_BYTES], path[64];
    uint64_t offset;
    tt_index_name(1042, name);
    cr_assert_str_eq(name, "00000000000000001042.idx");
    cr_assert_eq(tt_index_name_parse(name, &offset), TT_OK);
    cr_assert_eq(offset, 1042);
    cr_assert_eq(tt_index_name_parse("00000000000000001042.seg", &offset), TT_EINVAL);
    cr_assert_eq(tt_index_name_parse("0000000000000000x042.idx", &offset), TT_EINVAL);
    cr_assert_eq(tt_index_name_parse("", &offset), TT_EINVAL);
    cr_assert_eq(tt_index_path("a/b", 7, path, sizeof path), TT_OK);
    cr_assert_str_eq(path, "a/b/00000000000000000007.idx");
    cr_assert_eq(tt_index_path("a/b", 7, path, 20), TT_EINVAL);
}
