#include "store/idempotency.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define SECOND INT64_C(1000000)

static const struct tt_hash_key hash_key = {7, 9};
static struct tt_idempotency *table;

static struct tt_record_idempotency block_of(const char *key, const char *body, uint32_t index)
{
    struct tt_record_idempotency b = {.index = index, .count = 100};
    tt_idempotency_key_hash(&hash_key, TT_BYTES_NONE, tt_bytes_text(key), b.key_hash);
    tt_idempotency_body_hash(&hash_key, 0, tt_bytes_text(body), b.body_hash);
    return b;
}

static enum tt_status find(const char *key, const char *body, int64_t now_us,
                           struct tt_idempotency_found *found)
{
    const struct tt_record_idempotency b = block_of(key, body, 0);
    return tt_idempotency_find(table, &b, now_us, found);
}

static enum tt_status add(const char *key, const char *body, uint32_t index, uint64_t offset,
                          uint32_t count, int64_t now_us)
{
    const struct tt_record_idempotency b = block_of(key, body, index);
    return tt_idempotency_add(table, &b, offset, count, offset * 100, now_us, now_us);
}

static void claim(const char *key, const char *body, int64_t now_us)
{
    const struct tt_record_idempotency b = block_of(key, body, 0);
    tt_idempotency_claim(table, &b, now_us, now_us);
}

static void create(uint32_t keys_max)
{
    cr_assert_eq(tt_idempotency_create(&table, keys_max, 10 * SECOND), TT_OK);
}
static void destroy(void)
{
    tt_idempotency_destroy(&table);
    cr_assert_null(table);
}

Test(idempotency, knows_a_key_with_its_body_within_the_window)
{
    struct tt_idempotency_found f;
    create(10);
    cr_assert_eq(find("k", "b", 0, &f), TT_ENOENT);
    cr_assert_eq(add("k", "b", 0, 42, 3, 5 * SECOND), TT_OK);
    cr_assert_eq(find("k", "b", 5 * SECOND, &f), TT_OK);
    cr_assert_eq(f.runs_count, 1);
    cr_assert_eq(f.runs[0].first_offset, 42);
    cr_assert_eq(f.runs[0].index, 0);
    cr_assert_eq(f.runs[0].count, 3);
    cr_assert_eq(f.end_place, 4200);
    cr_assert_eq(find("k", "B", 5 * SECOND, &f), TT_EEXIST);
    cr_assert_eq(find("K", "b", 5 * SECOND, &f), TT_ENOENT);
    cr_assert_eq(find("k", "b", 15 * SECOND - 1, &f), TT_OK, "the last moment of its window");
    cr_assert_eq(find("k", "b", 15 * SECOND, &f), TT_ENOENT, "over");
    cr_assert_eq(find("k", "B", 15 * SECOND, &f), TT_ENOENT, "over for any body");
    cr_assert_eq(find("k", "b", -SECOND, &f), TT_OK, "the clock went backwards");
    destroy();
}

Test(idempotency, a_claim_has_no_events_until_they_are_added)
{
    struct tt_idempotency_found f;
    create(10);
    claim("k", "b", 0);
    cr_assert_eq(find("k", "b", 0, &f), TT_OK);
    cr_assert_eq(f.runs_count, 0);
    cr_assert_eq(find("k", "c", 0, &f), TT_EEXIST);
    cr_assert_eq(add("k", "b", 2, 7, 1, SECOND), TT_OK);
    cr_assert_eq(tt_idempotency_keys(table), 1, "one key, claimed and with events");
    cr_assert_eq(find("k", "b", SECOND, &f), TT_OK);
    cr_assert_eq(f.runs_count, 1);
    cr_assert_eq(f.runs[0].index, 2);
    claim("k", "b", SECOND);
    cr_assert_eq(find("k", "b", SECOND, &f), TT_OK);
    cr_assert_eq(f.runs_count, 1, "a second claim changes nothing");
    claim("k", "c", 11 * SECOND);
    cr_assert_eq(find("k", "c", 11 * SECOND, &f), TT_OK, "the first claim's window is over");
    cr_assert_eq(f.runs_count, 0);
    destroy();
}

Test(idempotency, keeps_the_runs_of_a_part_that_crashes_have_cut)
{
    struct tt_idempotency_found f;
    create(10);
    for (uint32_t i = 0; i < TT_IDEMPOTENCY_RUNS_MAX; i++)
        cr_assert_eq(add("k", "b", 10 * i, 100 * i, 10, 0), TT_OK);
    cr_assert_eq(add("k", "b", 1000, 1000, 10, 0), TT_ETOOBIG);
    cr_assert_eq(find("k", "b", 0, &f), TT_OK);
    cr_assert_eq(f.runs_count, TT_IDEMPOTENCY_RUNS_MAX);
    for (uint32_t i = 0; i < f.runs_count; i++) {
        cr_assert_eq(f.runs[i].first_offset, 100 * i);
        cr_assert_eq(f.runs[i].index, 10 * i);
        cr_assert_eq(f.runs[i].count, 10);
    }
    cr_assert_eq(f.end_place, 100 * 100 * (TT_IDEMPOTENCY_RUNS_MAX - 1));
    cr_assert_eq(tt_idempotency_keys(table), 1);
    /* The same batch once more, from its beginning: it was forgotten in between. */
    cr_assert_eq(add("k", "b", 0, 5000, 40, 0), TT_OK);
    cr_assert_eq(find("k", "b", 0, &f), TT_OK);
    cr_assert_eq(f.runs_count, 1);
    cr_assert_eq(f.runs[0].first_offset, 5000);
    cr_assert_eq(tt_idempotency_keys(table), 1);
    destroy();
}

Test(idempotency, forgets_the_oldest_beyond_its_bound)
{
    char name[16];
    struct tt_idempotency_found f;
    create(100);
    for (int i = 0; i < 250; i++) {
        snprintf(name, sizeof name, "key-%d", i);
        cr_assert_eq(add(name, "b", 0, (uint64_t)i, 1, 0), TT_OK);
        cr_assert_leq(tt_idempotency_keys(table), 100);
    }
    cr_assert_eq(tt_idempotency_keys(table), 100);
    cr_assert_eq(tt_idempotency_evicted(table), 150);
    for (int i = 0; i < 250; i++) {
        snprintf(name, sizeof name, "key-%d", i);
        cr_assert_eq(find(name, "b", 0, &f), i < 150 ? TT_ENOENT : TT_OK, "%s", name);
    }
    destroy();
}

Test(idempotency, gives_room_back_when_windows_are_over)
{
    char name[16];
    create(100);
    for (int i = 0; i < 50; i++) {
        snprintf(name, sizeof name, "key-%d", i);
        cr_assert_eq(add(name, "b", 0, (uint64_t)i, 1, i * SECOND / 10), TT_OK);
    }
    tt_idempotency_expire(table, 12 * SECOND, 5);
    cr_assert_eq(tt_idempotency_keys(table), 45, "at most as many as it was told");
    tt_idempotency_expire(table, 12 * SECOND, 1000);
    cr_assert_eq(tt_idempotency_keys(table), 29, "0 to 2.0 seconds are over");
    tt_idempotency_expire(table, 100 * SECOND, 1000);
    cr_assert_eq(tt_idempotency_keys(table), 0);
    cr_assert_eq(tt_idempotency_evicted(table), 0);
    destroy();
}

Test(idempotency, holds_one_key_in_a_table_of_one)
{
    struct tt_idempotency_found f;
    create(1);
    cr_assert_eq(add("a", "b", 0, 1, 1, 0), TT_OK);
    cr_assert_eq(add("a", "b", 5, 9, 1, 0), TT_OK, "the run takes the place of its key");
    cr_assert_eq(find("a", "b", 0, &f), TT_ENOENT);
    cr_assert_eq(add("c", "b", 0, 2, 1, 0), TT_OK);
    cr_assert_eq(find("c", "b", 0, &f), TT_OK);
    cr_assert_eq(tt_idempotency_keys(table), 1);
    destroy();
}

/* ---- against a model: a list ---- */

struct known {
    unsigned key, body;
    int64_t taken_us;
    struct tt_idempotency_run runs[TT_IDEMPOTENCY_RUNS_MAX];
    uint32_t runs_count;
    bool live;      /* else a further run, or replaced */
    unsigned owner; /* of a further run: which entry it hangs on */
};

#define MODEL_MAX 40000
static struct known model[MODEL_MAX];
static unsigned model_first, model_end;

static struct known *model_find(unsigned key)
{
    for (unsigned i = model_end; i > model_first; i--)
        if (model[i - 1].live && model[i - 1].key == key) return &model[i - 1];
    return NULL;
}

static void model_push(unsigned keys_max, const struct known *k, int64_t now_us)
{
    for (int i = 0; i < 2 && model_first < model_end; i++) {
        const struct known *oldest = &model[model_first];
        if (oldest->live && oldest->taken_us > now_us - 10 * SECOND) break;
        model_first++;
    }
    if (model_end - model_first == keys_max) model_first++;
    cr_assert_lt(model_end, MODEL_MAX);
    model[model_end++] = *k;
}

static unsigned random_state;
static unsigned draw(unsigned below)
{
    random_state = random_state * 1103515245u + 12345u;
    return (random_state >> 16) % below;
}

Test(idempotency, agrees_with_a_list)
{
    const char *given = getenv("TT_SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 10) : 20241125u;
    fprintf(stderr, "TT_SEED=%u\n", seed);
    for (unsigned keys_max = 1; keys_max < 70; keys_max += 1 + keys_max / 2) {
        random_state = seed + keys_max;
        model_first = model_end = 0;
        int64_t now = 0;
        create(keys_max);
        for (unsigned step = 0; step < 20000; step++) {
            char key[16], body[16];
            unsigned k = draw(100), b = draw(8) == 0, index = draw(4) * 10;
            snprintf(key, sizeof key, "k%u", k);
            snprintf(body, sizeof body, "b%u", b);
            now += draw(SECOND / 4);
            struct known *known = model_find(k);
            bool over = known == NULL || known->taken_us <= now - 10 * SECOND;
            struct tt_idempotency_found f;
            enum tt_status expected = over ? TT_ENOENT : known->body == b ? TT_OK : TT_EEXIST;
            cr_assert_eq(find(key, body, now, &f), expected, "keys_max %u, step %u", keys_max,
                         step);
            if (expected == TT_OK) {
                cr_assert_eq(f.runs_count, known->runs_count);
                cr_assert_eq(memcmp(f.runs, known->runs, f.runs_count * sizeof f.runs[0]), 0);
            }
            const struct tt_idempotency_run run = {step, index, 1 + draw(9)};
            struct known added = {.key = k, .body = b, .taken_us = now, .live = true};
            if (draw(4) == 0) {
                claim(key, body, now);
                if (expected == TT_OK) continue;
                if (known != NULL) known->live = false;
                model_push(keys_max, &added, now);
                continue;
            }
            added.runs[added.runs_count++] = run;
            enum tt_status status = add(key, body, index, run.first_offset, run.count, now);
            if (expected == TT_OK && known->runs_count == 0) {
                known->runs[known->runs_count++] = run;
            } else if (expected == TT_OK && index > known->runs[known->runs_count - 1].index) {
                cr_assert_eq(status,
                             known->runs_count == TT_IDEMPOTENCY_RUNS_MAX ? TT_ETOOBIG : TT_OK);
                if (status != TT_OK) continue;
                known->runs[known->runs_count++] = run;
                added.live = false; /* it takes a place, and that is all */
                model_push(keys_max, &added, now);
            } else {
                cr_assert_eq(status, TT_OK);
                if (known != NULL) known->live = false;
                model_push(keys_max, &added, now);
            }
        }
        uint32_t live = 0;
        for (unsigned i = model_first; i < model_end; i++) live += model[i].live;
        cr_assert_eq(tt_idempotency_keys(table), live);
        destroy();
    }
}

/* ---- hashes ---- */

Test(idempotency, hashes_tell_scope_key_and_form_apart)
{
    uint8_t a[16], b[16];
    tt_idempotency_key_hash(&hash_key, TT_BYTES_NONE, tt_bytes_text("ab"), a);
    tt_idempotency_key_hash(&hash_key, tt_bytes_text("a"), tt_bytes_text("b"), b);
    cr_assert_neq(memcmp(a, b, 16), 0);
    tt_idempotency_key_hash(&hash_key, tt_bytes_text("x"), tt_bytes_text("ab"), b);
    cr_assert_neq(memcmp(a, b, 16), 0);
    tt_idempotency_key_hash(&hash_key, TT_BYTES_NONE, tt_bytes_text("ab"), b);
    cr_assert_eq(memcmp(a, b, 16), 0);
    tt_idempotency_body_hash(&hash_key, 0, tt_bytes_text("{}"), a);
    tt_idempotency_body_hash(&hash_key, 1, tt_bytes_text("{}"), b);
    cr_assert_neq(memcmp(a, b, 16), 0);
    const struct tt_hash_key other = {7, 10};
    tt_idempotency_body_hash(&other, 0, tt_bytes_text("{}"), b);
    cr_assert_neq(memcmp(a, b, 16), 0, "by the log's key");
    cr_assert_neq(memcmp(a, a + 8, 8), 0, "128 bits");
}

Test(idempotency, hashes_stay_what_they_are)
{
    /* Stored in records: these values may never change. */
    static const uint8_t key[16] = {0x05, 0x6c, 0x95, 0x06, 0xa4, 0x3a, 0x3a, 0xe9,
                                    0xe2, 0x23, 0xaa, 0x6a, 0x1a, 0xd0, 0x5f, 0x49};
    static const uint8_t body[16] = {0xa5, 0xde, 0x2e, 0xa1, 0xc7, 0x1a, 0x06, 0x39,
                                     0x3d, 0x15, 0xdc, 0xaa, 0x09, 0xe1, 0x0d, 0xe8};
    uint8_t hash[16];
    tt_idempotency_key_hash(&hash_key, tt_bytes_text("u42"), tt_bytes_text("order-1"), hash);
    cr_assert_eq(memcmp(hash, key, 16), 0);
    tt_idempotency_body_hash(&hash_key, 1, tt_bytes_text("{\"channel\":\"a\"}"), hash);
    cr_assert_eq(memcmp(hash, body, 16), 0);
}

Test(idempotency, every_partition_is_a_home)
{
    bool home[64] = {false};
    char name[16];
    for (int i = 0; i < 2000; i++) {
        snprintf(name, sizeof name, "key-%d", i);
        const struct tt_record_idempotency b = block_of(name, "b", 0);
        cr_assert_eq(tt_idempotency_home(b.key_hash, 1), 0);
        uint32_t h = tt_idempotency_home(b.key_hash, 64);
        cr_assert_lt(h, 64);
        home[h] = true;
    }
    for (int i = 0; i < 64; i++) cr_assert(home[i], "partition %d", i);
}
