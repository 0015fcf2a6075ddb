#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/index.h"

/* What was added, in order, to be looked through from one end to the other. */
struct naive {
    struct entry {
        uint64_t hash;
        struct tt_index_entry e;
    } * entries;
    uint32_t count;
    struct tt_index_hole holes[64];
    uint32_t holes_count;
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
    if (below(300) == 0 && naive.holes_count < 64) {
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
