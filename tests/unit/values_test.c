#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/checkpoint.h"
#include "store/kept.h"
#include "store/values.h"

/* ---- a naive model: every event that was ever set ---- */

#define NAMES 400u
#define MAX   20000u

struct event {
    uint32_t name;
    uint64_t offset, place;
    uint32_t flags;
};
static struct event events[MAX];
static uint32_t events_count;
static struct tt_values *values;
static uint64_t seed;
static const struct tt_hash_key key = {1, 2};

static uint64_t random64(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed * UINT64_C(2685821657736338717);
}

static void set_up(void)
{
    cr_assert_eq(tt_values_create(&values, NAMES), TT_OK);
    events_count = 0;
    seed = (uint64_t)(uintptr_t)getenv("SEED") != 0 ? strtoull(getenv("SEED"), NULL, 10) : 1234567;
    fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
}
static void tear_down(void)
{
    tt_values_destroy(&values);
}
TestSuite(values, .init = set_up, .fini = tear_down);

static struct tt_bytes name_of(uint32_t i, char text[TT_CHANNEL_BYTES_MAX + 1])
{
    int size = snprintf(text, TT_CHANNEL_BYTES_MAX + 1, "c%u.%0*u", i, (int)(i * 7 % 240 + 1), i);
    return tt_bytes(text, (size_t)size);
}

static uint64_t hash_of(struct tt_bytes name)
{
    uint64_t hash = tt_hash(&key, name);
    return hash & ~(UINT64_C(0xF) << 8); /* a few that share their place in the table */
}

static uint32_t slot_of(uint32_t name)
{
    char text[TT_CHANNEL_BYTES_MAX + 1];
    struct tt_bytes n = name_of(name, text);
    return tt_values_find(values, hash_of(n), n);
}

static void put(uint32_t name, uint64_t offset, uint64_t place, uint32_t flags)
{
    char text[TT_CHANNEL_BYTES_MAX + 1];
    struct tt_bytes n = name_of(name, text);
    uint32_t slot;
    cr_assert_eq(tt_values_open(values, hash_of(n), n, &slot), TT_OK);
    tt_values_set(values, slot, offset, place, flags);
    tt_values_commit(values);
    events[events_count++] = (struct event){name, offset, place, flags};
}

/* The newest event of the channel below the offset; of those that make or delete a value. */
static const struct event *newest(uint32_t name, uint64_t below, bool of_value)
{
    const struct event *found = NULL;
    for (uint32_t i = 0; i < events_count; i++) {
        const struct event *e = &events[i];
        if (e->name != name || e->offset >= below || (found != NULL && e->offset < found->offset))
            continue;
        if (of_value && e->flags == TT_VALUES_NEVER_CONFLATE) continue;
        found = e;
    }
    return found;
}

static void check_channel(uint32_t name)
{
    uint32_t slot = slot_of(name);
    const struct event *last = newest(name, UINT64_MAX, false);
    cr_assert_eq(slot == TT_VALUES_NONE, last == NULL, "channel %u", name);
    if (last == NULL) return;
    const struct tt_value *v = tt_values_at(values, slot);
    const struct event *e = newest(name, UINT64_MAX, true);
    cr_assert_eq(v->newest_offset, last->offset);
    cr_assert_eq(v->state == TT_VALUE_NONE, e == NULL);
    if (e != NULL) {
        cr_assert_eq(v->offset, e->offset);
        cr_assert_eq(v->place, e->place);
        cr_assert_eq(v->state == TT_VALUE_DELETED, (e->flags & TT_VALUES_DELETE) != 0);
    }
    uint64_t mark = tt_values_mark(values);
    struct tt_value_then then = {0};
    bool existed = tt_values_below_mark(values, slot, &then);
    const struct event *below = newest(name, mark, false);
    cr_assert_eq(existed, below != NULL, "channel %u below the mark %llu", name,
                 (unsigned long long)mark);
    if (below == NULL) return;
    cr_assert_geq(then.newest_offset, below->offset);
    cr_assert_lt(then.newest_offset, mark);
    e = newest(name, mark, true);
    cr_assert_eq(then.state == TT_VALUE_NONE, e == NULL, "channel %u", name);
    if (e == NULL) return;
    cr_assert_eq(then.offset, e->offset);
    cr_assert_eq(then.place, e->place);
    cr_assert_eq(then.state == TT_VALUE_DELETED, (e->flags & TT_VALUES_DELETE) != 0);
}

Test(values, agrees_with_a_list_of_all_events)
{
    static const uint32_t kinds[] = {0,
                                     0,
                                     0,
                                     TT_VALUES_NEVER_CONFLATE,
                                     TT_VALUES_DELETE,
                                     TT_VALUES_DELETE | TT_VALUES_NEVER_CONFLATE};
    uint64_t offset = 0;
    for (uint32_t i = 0; i < 4000; i++) {
        put((uint32_t)(random64() % (i < 1000 ? 20 : NAMES)), offset, offset * 8,
            kinds[random64() % 6]);
        offset += 1 + random64() % 3;
        if (random64() % 100 == 0) tt_values_set_mark(values, offset);
        if (i % 97 == 0)
            for (uint32_t name = 0; name < NAMES; name++) check_channel(name);
    }
    for (uint32_t name = 0; name < NAMES; name++) check_channel(name);
}

Test(values, an_older_event_changes_nothing_and_the_same_tells_its_place)
{
    put(1, 10, 1000, 0);
    put(1, 5, 500, TT_VALUES_DELETE);
    const struct tt_value *v = tt_values_at(values, slot_of(1));
    cr_assert_eq(v->offset, 10);
    cr_assert_eq(v->state, TT_VALUE_HELD);
    put(1, 10, 2000, 0);
    cr_assert_eq(v->place, 2000);
    cr_assert_eq(v->newest_offset, 10);
}

Test(values, a_batch_is_taken_whole_or_not_at_all)
{
    char text[TT_CHANNEL_BYTES_MAX + 1];
    uint32_t slot;
    for (uint32_t i = 0; i < NAMES - 2; i++) put(i, i, i, 0);
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = NAMES - 4; i < NAMES + 1; i++) {
            struct tt_bytes n = name_of(i, text);
            enum tt_status status = tt_values_open(values, hash_of(n), n, &slot);
            cr_assert_eq(status, i < NAMES ? TT_OK : TT_ETOOBIG, "channel %u: %d", i, status);
        }
        tt_values_rollback(values);
        cr_assert_eq(tt_values_channels(values), NAMES - 2);
        cr_assert_eq(slot_of(NAMES - 2), TT_VALUES_NONE);
        cr_assert_neq(slot_of(NAMES - 3), TT_VALUES_NONE);
    }
    struct tt_bytes n = name_of(NAMES + 1, text);
    put(NAMES - 1, 5000, 5000, 0);
    put(NAMES - 2, 5001, 5001, 0);
    cr_assert_eq(tt_values_open(values, hash_of(n), n, &slot), TT_ETOOBIG, "one too many");
    cr_assert_eq(tt_values_open_over(values, hash_of(n), n, &slot), TT_OK, "but for recovery");
    tt_values_rollback(values);
}

Test(values, a_walk_sees_each_channel_once_while_the_table_grows)
{
    struct tt_values *big;
    cr_assert_eq(tt_values_create(&big, 200000), TT_OK);
    uint32_t made = 0, seen_count = 0;
    static uint8_t seen[200000];
    uint32_t key_of_walk = 0, first = 20000;
    char text[32];
    for (;;) {
        uint32_t add = made == 0 ? first : 37;
        for (uint32_t i = 0; i < add && made < 200000; i++, made++) {
            uint32_t slot;
            struct tt_bytes n = tt_bytes(text, (size_t)snprintf(text, sizeof text, "%u", made));
            cr_assert_eq(tt_values_open(big, tt_hash(&key, n), n, &slot), TT_OK);
            tt_values_set(big, slot, made, made, 0);
            tt_values_commit(big);
        }
        uint32_t budget = 1 + (uint32_t)(random64() % 50), before = budget;
        uint32_t slot = tt_values_walk(big, &key_of_walk, &budget);
        cr_assert(budget < before || key_of_walk == tt_values_slots(big));
        if (slot == TT_VALUES_NONE) {
            if (key_of_walk == tt_values_slots(big)) break;
            continue;
        }
        struct tt_bytes n = tt_value_name(tt_values_at(big, slot));
        memcpy(text, n.data, n.size);
        text[n.size] = '\0';
        uint32_t number = (uint32_t)strtoul(text, NULL, 10);
        cr_assert_eq(seen[number], 0, "%u twice", number);
        seen[number] = 1;
        seen_count++;
    }
    for (uint32_t i = 0; i < first; i++) cr_assert_eq(seen[i], 1, "%u was not seen", i);
    for (uint32_t i = 0; i < made; i++) {
        struct tt_bytes n = tt_bytes(text, (size_t)snprintf(text, sizeof text, "%u", i));
        uint32_t slot = tt_values_find(big, tt_hash(&key, n), n);
        cr_assert_neq(slot, TT_VALUES_NONE, "%u of %u", i, made);
        cr_assert_eq(tt_values_find_hash(big, tt_hash(&key, n), TT_VALUES_NONE), slot);
    }
    cr_assert_leq(tt_values_bytes(big), tt_values_bytes_bound(made));
    tt_values_destroy(&big);
}

Test(values, two_channels_with_one_hash)
{
    struct tt_bytes a = TT_BYTES_LITERAL("a"), b = TT_BYTES_LITERAL("b");
    uint32_t slot_a, slot_b;
    cr_assert_eq(tt_values_open(values, 77, a, &slot_a), TT_OK);
    cr_assert_eq(tt_values_open(values, 77, b, &slot_b), TT_OK);
    cr_assert_neq(slot_a, slot_b);
    cr_assert_eq(tt_values_find(values, 77, b), slot_b);
    uint32_t first = tt_values_find_hash(values, 77, TT_VALUES_NONE);
    uint32_t second = tt_values_find_hash(values, 77, first);
    cr_assert(first != second && (first == slot_a || first == slot_b));
    cr_assert(second == slot_a || second == slot_b);
    cr_assert_eq(tt_values_find_hash(values, 77, second), TT_VALUES_NONE);
    tt_values_rollback(values);
    cr_assert_eq(tt_values_find_hash(values, 77, TT_VALUES_NONE), TT_VALUES_NONE);
}

Test(values, what_has_expired_is_dropped_and_its_slot_is_used_again)
{
    put(1, 10, 80, 0);
    put(2, 11, 88, TT_VALUES_DELETE);
    put(3, 12, 96, TT_VALUES_NEVER_CONFLATE);
    put(4, 13, tt_kept_place(5, 64), TT_VALUES_DELETE);
    put(5, 30, 240, TT_VALUES_DELETE);
    put(6, 14, tt_kept_place(4, 64), 0);
    uint32_t slots = tt_values_slots(values), walk = 0;
    struct tt_values_alive alive = {
        .oldest_offset = 20, .oldest_place = 80, .kept_from = tt_kept_place(5, 0)};
    struct tt_values_swept swept = {0};
    tt_values_sweep(values, &walk, UINT32_MAX, &alive, &swept);
    cr_assert_eq(swept.lost, 1, "6 is lost");
    cr_assert_eq(swept.graves, 1, "4");
    cr_assert_eq(walk, slots);
    cr_assert_neq(slot_of(1), TT_VALUES_NONE);
    cr_assert_eq(slot_of(2), TT_VALUES_NONE);
    cr_assert_eq(slot_of(3), TT_VALUES_NONE);
    cr_assert_neq(slot_of(4), TT_VALUES_NONE, "older values of it may stand in kept files");
    cr_assert_neq(slot_of(5), TT_VALUES_NONE);
    cr_assert_eq(slot_of(6), TT_VALUES_NONE);
    for (uint32_t i = 0; i < 3; i++) put(100 + i, 40 + i, 320 + i, 0);
    cr_assert_eq(tt_values_slots(values), slots, "slots are used again");
    cr_assert_eq(tt_values_channels(values), 6);
    alive.kept_from = tt_kept_place(6, 0);
    walk = 0;
    tt_values_sweep(values, &walk, UINT32_MAX, &alive, &swept);
    cr_assert_eq(swept.lost, 1);
    cr_assert_eq(slot_of(4), TT_VALUES_NONE);
}

Test(values, many_come_and_go_within_the_bound)
{
    for (uint32_t round = 0; round < 200; round++) {
        uint64_t base = (uint64_t)round * 1000;
        for (uint32_t i = 0; i < NAMES; i++) {
            events_count = 0;
            put(round * NAMES + i, base + i, base + i, TT_VALUES_DELETE);
        }
        uint32_t walk = 0;
        struct tt_values_alive alive = {.oldest_offset = base + 1000, .oldest_place = base + 1000};
        struct tt_values_swept swept = {0};
        tt_values_sweep(values, &walk, UINT32_MAX, &alive, &swept);
        cr_assert_eq(swept.lost, 0);
        cr_assert_eq(tt_values_channels(values), 0);
        cr_assert_leq(tt_values_bytes(values), tt_values_bytes_bound(NAMES));
    }
    cr_assert_eq(tt_values_slots(values), NAMES);
}

/* ---- the checkpoint ---- */

static const struct tt_record_segment identity = {
    .format = 1, .partition = 3, .partitions = 4, .history = {"k7Qp2a"}, .hash_key = {1, 2}};
static const struct tt_checkpoint_header header = {
    .mark = 700, .place = 5600, .kept_number = 9, .kept_byte = 4096};

static uint8_t *write_checkpoint(size_t *size)
{
    struct tt_checkpoint_writer writer;
    size_t capacity = 0, piece;
    uint8_t *file = NULL;
    *size = 0;
    tt_checkpoint_begin(&writer, values);
    enum tt_status status;
    do {
        if (capacity - *size < TT_CHECKPOINT_BLOCK_BYTES_MAX) {
            capacity += 2 * TT_CHECKPOINT_BLOCK_BYTES_MAX;
            file = realloc(file, capacity);
            cr_assert_not_null(file);
        }
        status = tt_checkpoint_step(&writer, &header, &identity, file + *size, &piece);
        cr_assert_leq(piece, TT_CHECKPOINT_BLOCK_BYTES_MAX);
        *size += piece;
    } while (status == TT_OK);
    cr_assert_eq(status, TT_END);
    return file;
}

static enum tt_status read_checkpoint(const uint8_t *file, size_t size, struct tt_values **into,
                                      size_t piece)
{
    struct tt_checkpoint_reader reader;
    cr_assert_eq(tt_values_create(into, NAMES), TT_OK);
    tt_checkpoint_read_begin(&reader, *into, &identity);
    size_t at = 0, end = 0, taken;
    enum tt_status status = TT_MORE;
    while (status == TT_MORE && end < size) {
        end = size - end > piece ? end + piece : size;
        status = tt_checkpoint_read(&reader, tt_bytes(file + at, end - at), &taken);
        at += taken;
    }
    if (status == TT_END && at != size) return TT_ECORRUPT;
    if (status == TT_END) {
        const struct tt_checkpoint_header *h = tt_checkpoint_read_header(&reader);
        cr_assert_eq(h->mark, header.mark);
        cr_assert_eq(h->place, header.place);
        cr_assert_eq(h->kept_number, header.kept_number);
        cr_assert_eq(h->kept_byte, header.kept_byte);
    }
    return status;
}

/* Channels here are hashed as a log does it. */
static void fill_table(uint32_t names, uint32_t count)
{
    char text[TT_CHANNEL_BYTES_MAX + 1];
    for (uint64_t offset = 0; offset < count; offset++) {
        if (offset == header.mark) tt_values_set_mark(values, offset);
        struct tt_bytes n = name_of((uint32_t)(random64() % names), text);
        uint32_t slot;
        cr_assert_eq(tt_values_open(values, tt_hash(&key, n), n, &slot), TT_OK);
        tt_values_set(values, slot, offset, random64() % 2 ? offset * 8 : tt_kept_place(2, offset),
                      (uint32_t)(random64() % 3));
        tt_values_commit(values);
    }
}

Test(values, a_checkpoint_is_the_table_as_it_was_below_the_mark)
{
    fill_table(NAMES, 1500);
    size_t size;
    uint8_t *file = write_checkpoint(&size);
    for (size_t piece = 1; piece < 2 * size; piece = piece * 3 + 1) {
        struct tt_values *again;
        cr_assert_eq(read_checkpoint(file, size, &again, piece), TT_END);
        uint32_t count = 0;
        for (uint32_t slot = 0; slot < tt_values_slots(values); slot++) {
            struct tt_value_then then;
            if (!tt_values_below_mark(values, slot, &then)) continue;
            const struct tt_value *v = tt_values_at(values, slot);
            uint32_t other = tt_values_find(again, v->hash, tt_value_name(v));
            cr_assert_neq(other, TT_VALUES_NONE);
            const struct tt_value *w = tt_values_at(again, other);
            cr_assert_eq(w->state, then.state);
            if (then.state != TT_VALUE_NONE) {
                cr_assert_eq(w->offset, then.offset);
                cr_assert_eq(w->place, then.place);
            }
            cr_assert_eq(w->newest_offset, then.newest_offset);
            count++;
        }
        cr_assert_eq(tt_values_channels(again), count);
        cr_assert_gt(count, NAMES / 2);
        tt_values_destroy(&again);
    }
    free(file);
}

Test(values, every_flipped_bit_of_a_checkpoint_is_found, .timeout = 120)
{
    fill_table(12, 900);
    size_t size;
    uint8_t *file = write_checkpoint(&size);
    struct tt_values *again;
    for (size_t i = 0; i < size * 8; i++) {
        file[i / 8] ^= (uint8_t)(1u << i % 8);
        enum tt_status status = read_checkpoint(file, size, &again, size);
        cr_assert(status != TT_END && status != TT_OK, "bit %zu", i);
        file[i / 8] ^= (uint8_t)(1u << i % 8);
        tt_values_destroy(&again);
    }
    for (size_t cut = 0; cut < size; cut++) {
        enum tt_status status = read_checkpoint(file, cut, &again, size);
        cr_assert_neq(status, TT_END, "cut at %zu", cut);
        tt_values_destroy(&again);
    }
    free(file);
}

Test(values, an_empty_checkpoint)
{
    size_t size;
    uint8_t *file = write_checkpoint(&size);
    struct tt_values *again;
    cr_assert_eq(read_checkpoint(file, size, &again, 7), TT_END);
    cr_assert_eq(tt_values_channels(again), 0);
    tt_values_destroy(&again);
    free(file);
}

Test(values, names_of_kept_files)
{
    char name[TT_KEPT_NAME_BYTES];
    uint32_t number = 0;
    tt_kept_name(42, name);
    cr_assert_str_eq(name, "0000042.val");
    cr_assert_eq(tt_kept_name_parse(name, &number), TT_OK);
    cr_assert_eq(number, 42);
    static const char *const bad[] = {
        "",           "42.val",      "00000042.val", "000004a.val",
        "0000042.va", "0000042.seg", "8388608.val",  "0000042.val.new"};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert_eq(tt_kept_name_parse(bad[i], &number), TT_EINVAL, "%s", bad[i]);
    uint64_t place = tt_kept_place(TT_KEPT_NUMBER_MAX, (UINT64_C(1) << 40) - 8);
    cr_assert(tt_kept_is(place) && !tt_kept_is(place << 1 >> 1));
    cr_assert_eq(tt_kept_number(place), TT_KEPT_NUMBER_MAX);
    cr_assert_eq(tt_kept_byte(place), (UINT64_C(1) << 40) - 8);
    uint8_t bytes[TT_KEPT_HEADER_BYTES];
    tt_kept_header_encode(bytes, 42, &identity);
    cr_assert_eq(tt_kept_header_check(tt_bytes(bytes, sizeof bytes), 42, &identity), TT_OK);
    cr_assert_eq(tt_kept_header_check(tt_bytes(bytes, sizeof bytes), 43, &identity), TT_ECORRUPT);
    for (size_t i = 0; i < sizeof bytes * 8; i++) {
        bytes[i / 8] ^= (uint8_t)(1u << i % 8);
        cr_assert_neq(tt_kept_header_check(tt_bytes(bytes, sizeof bytes), 42, &identity), TT_OK);
        bytes[i / 8] ^= (uint8_t)(1u << i % 8);
    }
}
