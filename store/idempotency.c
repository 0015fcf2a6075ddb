#include "store/idempotency.h"

#include <stdlib.h>

#include "proto/base/assert.h"

/* An entry lies where it was put in a ring, in order of coming, until the ring has gone around: so
 * the oldest is always the one to go, and nothing moves. Entries of keys are found through an index
 * of open addressing (linear probing, at most half full); further runs of a key hang on the entry
 * of its first run, which is older and so goes before them. */
struct entry {
    uint8_t key_hash[16];
    uint8_t body_hash[16];
    int64_t taken_us;
    uint64_t first_offset;
    uint64_t end_place;
    uint32_t index;
    uint32_t count; /* 0: claimed */
    uint32_t next;  /* ring position + 1 of the next run; 0: none */
    bool key;       /* the index leads here; else: a further run, or forgotten */
};

struct tt_idempotency {
    struct entry *ring;
    uint32_t *index; /* ring position + 1; 0: free */
    uint32_t mask;
    uint32_t capacity; /* of the ring */
    uint32_t first;    /* position of the oldest */
    uint32_t used;
    uint32_t keys;
    int64_t window_us;
    uint64_t evicted;
};

/* ---- life ---- */

static uint32_t index_size(uint32_t keys_max)
{
    uint32_t size = 4;
    while (size / 2 < keys_max) size *= 2;
    return size;
}

size_t tt_idempotency_memory_bytes(uint32_t keys_max)
{
    return sizeof(struct tt_idempotency) + keys_max * sizeof(struct entry) +
           index_size(keys_max) * sizeof(uint32_t);
}

enum tt_status tt_idempotency_create(struct tt_idempotency **out, uint32_t keys_max,
                                     int64_t window_us)
{
    TT_ASSERT(keys_max > 0 && keys_max <= UINT32_MAX / 4 && window_us > 0);
    struct tt_idempotency *t = calloc(1, sizeof *t);
    if (t == NULL) return TT_ENOMEM;
    t->capacity = keys_max;
    t->mask = index_size(keys_max) - 1;
    t->window_us = window_us;
    t->ring = calloc(keys_max, sizeof *t->ring);
    t->index = calloc((size_t)t->mask + 1, sizeof *t->index);
    if (t->ring == NULL || t->index == NULL) {
        tt_idempotency_destroy(&t);
        return TT_ENOMEM;
    }
    *out = t;
    return TT_OK;
}

void tt_idempotency_destroy(struct tt_idempotency **table)
{
    struct tt_idempotency *t = *table;
    if (t == NULL) return;
    free(t->ring);
    free(t->index);
    free(t);
    *table = NULL;
}

/* ---- the index ---- */

static uint64_t word(const uint8_t *bytes)
{
    uint64_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

/* The first word chooses the key's home, the second its slot there. */
static uint32_t slot_of(const struct tt_idempotency *t, const uint8_t key_hash[16])
{
    return (uint32_t)word(key_hash + 8) & t->mask;
}

/* The slot that leads to the key's entry, or the free one where it would. */
static uint32_t find_slot(const struct tt_idempotency *t, const uint8_t key_hash[16])
{
    uint32_t slot = slot_of(t, key_hash);
    while (t->index[slot] != 0 &&
           memcmp(t->ring[t->index[slot] - 1].key_hash, key_hash, sizeof t->ring->key_hash) != 0)
        slot = (slot + 1) & t->mask;
    return slot;
}

/* Those behind it move up, so that no probe ends at the free slot too early. */
static void free_slot(struct tt_idempotency *t, uint32_t slot)
{
    uint32_t hole = slot;
    for (;;) {
        slot = (slot + 1) & t->mask;
        if (t->index[slot] == 0) break;
        uint32_t wanted = slot_of(t, t->ring[t->index[slot] - 1].key_hash);
        if (((slot - wanted) & t->mask) < ((slot - hole) & t->mask)) continue;
        t->index[hole] = t->index[slot];
        hole = slot;
    }
    t->index[hole] = 0;
}

static void forget(struct tt_idempotency *t, struct entry *e)
{
    uint32_t slot = find_slot(t, e->key_hash);
    TT_ASSERT(e->key && &t->ring[t->index[slot] - 1] == e);
    free_slot(t, slot);
    e->key = false;
    t->keys--;
}

/* ---- the ring ---- */

static bool is_over(const struct tt_idempotency *t, const struct entry *e, int64_t now_us)
{
    return e->taken_us <= now_us - t->window_us;
}

static void drop_oldest(struct tt_idempotency *t)
{
    struct entry *e = &t->ring[t->first];
    if (e->key) forget(t, e);
    t->first = t->first + 1 == t->capacity ? 0 : t->first + 1;
    t->used--;
}

void tt_idempotency_expire(struct tt_idempotency *t, int64_t now_us, uint32_t most)
{
    for (; most > 0 && t->used > 0; most--) {
        const struct entry *e = &t->ring[t->first];
        if (e->key && !is_over(t, e, now_us)) return;
        drop_oldest(t);
    }
}

/* A new entry at the young end, not in the index. */
static struct entry *push(struct tt_idempotency *t, const struct entry *entry, int64_t now_us)
{
    /* Two for one: it shrinks again when keys expire. */
    tt_idempotency_expire(t, now_us, 2);
    if (t->used == t->capacity) {
        t->evicted += t->ring[t->first].key;
        drop_oldest(t);
    }
    uint32_t position = t->first + t->used;
    if (position >= t->capacity) position -= t->capacity;
    t->used++;
    t->ring[position] = *entry;
    return &t->ring[position];
}

static uint32_t number_of(const struct tt_idempotency *t, const struct entry *e)
{
    return (uint32_t)(e - t->ring) + 1;
}

static void push_key(struct tt_idempotency *t, struct entry *entry, int64_t now_us)
{
    entry->key = true;
    struct entry *e = push(t, entry, now_us);
    t->index[find_slot(t, e->key_hash)] = number_of(t, e);
    t->keys++;
}

/* ---- keys ---- */

static struct entry *find_entry(const struct tt_idempotency *t,
                                const struct tt_record_idempotency *block)
{
    TT_ASSERT(t->ring != NULL);
    uint32_t number = t->index[find_slot(t, block->key_hash)];
    return number == 0 ? NULL : &t->ring[number - 1];
}

static bool same_body(const struct entry *e, const struct tt_record_idempotency *block)
{
    return memcmp(e->body_hash, block->body_hash, sizeof e->body_hash) == 0;
}

static const struct entry *next_run(const struct tt_idempotency *t, const struct entry *e)
{
    return e->next == 0 ? NULL : &t->ring[e->next - 1];
}

enum tt_status tt_idempotency_find(const struct tt_idempotency *t,
                                   const struct tt_record_idempotency *block, int64_t now_us,
                                   struct tt_idempotency_found *found)
{
    const struct entry *e = find_entry(t, block);
    *found = (struct tt_idempotency_found){0};
    if (e == NULL || is_over(t, e, now_us)) return TT_ENOENT;
    if (!same_body(e, block)) return TT_EEXIST;
    for (; e != NULL && e->count != 0; e = next_run(t, e)) {
        TT_ASSERT(found->runs_count < TT_IDEMPOTENCY_RUNS_MAX);
        found->runs[found->runs_count++] =
            (struct tt_idempotency_run){e->first_offset, e->index, e->count};
        found->end_place = e->end_place;
    }
    return TT_OK;
}

static struct entry entry_of(const struct tt_record_idempotency *block, int64_t taken_us)
{
    struct entry e = {.taken_us = taken_us, .index = block->index};
    memcpy(e.key_hash, block->key_hash, sizeof e.key_hash);
    memcpy(e.body_hash, block->body_hash, sizeof e.body_hash);
    return e;
}

void tt_idempotency_claim(struct tt_idempotency *t, const struct tt_record_idempotency *block,
                          int64_t taken_us, int64_t now_us)
{
    struct entry *e = find_entry(t, block);
    if (e != NULL) {
        if (same_body(e, block) && !is_over(t, e, now_us)) return;
        forget(t, e);
    }
    struct entry claimed = entry_of(block, taken_us);
    push_key(t, &claimed, now_us);
}

/* A further run of a key that is known. */
static enum tt_status add_run(struct tt_idempotency *t, struct entry *last, uint32_t runs,
                              struct entry *run, int64_t now_us)
{
    if (runs >= TT_IDEMPOTENCY_RUNS_MAX) return TT_ETOOBIG;
    uint32_t last_number = number_of(t, last);
    struct entry *e = push(t, run, now_us);
    /* The push may have taken the key itself away: then nothing leads to its runs any more. */
    if (last != e) t->ring[last_number - 1].next = number_of(t, e);
    return TT_OK;
}

enum tt_status tt_idempotency_add(struct tt_idempotency *t,
                                  const struct tt_record_idempotency *block, uint64_t first_offset,
                                  uint32_t count, uint64_t end_place, int64_t taken_us,
                                  int64_t now_us)
{
    TT_ASSERT(count > 0);
    struct entry *e = find_entry(t, block);
    struct entry run = entry_of(block, taken_us);
    run.first_offset = first_offset;
    run.count = count;
    run.end_place = end_place;
    if (e != NULL && same_body(e, block) && !is_over(t, e, now_us)) {
        if (e->count == 0) { /* it was claimed: from then on it counts */
            e->first_offset = first_offset;
            e->index = block->index;
            e->count = count;
            e->end_place = end_place;
            return TT_OK;
        }
        uint32_t runs = 1;
        struct entry *last = e;
        for (; last->next != 0; last = &t->ring[last->next - 1]) runs++;
        if (block->index > last->index) return add_run(t, last, runs, &run, now_us);
    }
    if (e != NULL) forget(t, e);
    push_key(t, &run, now_us);
    return TT_OK;
}

uint32_t tt_idempotency_keys(const struct tt_idempotency *t)
{
    return t->keys;
}

uint64_t tt_idempotency_evicted(const struct tt_idempotency *t)
{
    return t->evicted;
}

/* ---- hashes ---- */

/* SipHash gives 64 bits: two of them, under keys that are derived from the log's for this use. */
static void hash_twice(const struct tt_hash_key *hash_key, const char *what, struct tt_bytes bytes,
                       uint8_t hash[16])
{
    for (unsigned half = 0; half < 2; half++) {
        char label[32];
        struct tt_writer w = tt_writer(label, sizeof label);
        tt_write_text(&w, what);
        tt_write_char(&w, (char)('0' + 2 * half));
        struct tt_hash_key key = {.k0 = tt_hash(hash_key, tt_writer_bytes(&w))};
        label[w.size - 1]++;
        key.k1 = tt_hash(hash_key, tt_writer_bytes(&w));
        uint64_t value = tt_hash(&key, bytes);
        for (unsigned i = 0; i < 8; i++) hash[8 * half + i] = (uint8_t)(value >> 8 * i);
    }
}

void tt_idempotency_key_hash(const struct tt_hash_key *hash_key, struct tt_bytes scope,
                             struct tt_bytes key, uint8_t hash[16])
{
    uint8_t both[32] = {0};
    if (scope.size != 0) hash_twice(hash_key, "idempotency scope ", scope, both);
    hash_twice(hash_key, "idempotency key ", key, both + 16);
    hash_twice(hash_key, "idempotency ", tt_bytes(both, sizeof both), hash);
}

void tt_idempotency_body_hash(const struct tt_hash_key *hash_key, uint8_t form,
                              struct tt_bytes body, uint8_t hash[16])
{
    uint8_t both[17];
    hash_twice(hash_key, "idempotency body ", body, both);
    both[16] = form;
    hash_twice(hash_key, "idempotency ", tt_bytes(both, sizeof both), hash);
}

uint32_t tt_idempotency_home(const uint8_t key_hash[16], uint32_t partitions)
{
    return (uint32_t)(word(key_hash) % partitions);
}
