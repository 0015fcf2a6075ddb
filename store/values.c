#include "store/values.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "proto/base/limits.h"
#include "store/kept.h"

/* Names lie in pieces of a multiple of 16 bytes, cut from slabs; given back, they wait in a list of
 * their size. */
#define NAME_UNIT    16u
#define NAME_CLASSES (TT_CHANNEL_BYTES_MAX / NAME_UNIT + 1)
#define SLAB_BYTES   (64u << 10)

/* Finding: a word for each slot, the upper half of its hash beside its number + 1. */
#define EMPTY      UINT64_C(0)
#define GONE       UINT64_C(0xFFFFFFFF) /* something was here: go on looking */
#define TABLE_MIN  1024u
#define MOVED_EACH 16u /* words of the old table that each new channel moves; 4 would do */

enum flags {
    KEPT = 1,  /* tt_value_was_kept() */
    SEEN = 2,  /* an event was set */
    KNOWN = 4, /* one of them lies below the mark, although the newest does not */
    FRESH = 8, /* opened, and not committed yet */
};

struct table {
    uint64_t *words;
    size_t mask;
    size_t used; /* words that are not EMPTY */
};

struct slab {
    struct slab *next;
    uint8_t bytes[SLAB_BYTES];
};

struct tt_values {
    uint32_t channels_max;
    uint32_t channels;
    uint32_t slots;  /* that were ever in use */
    uint32_t unused; /* the first of those given back; linked by `offset` */
    struct tt_value **blocks;
    uint32_t blocks_count, blocks_capacity;
    struct table table, old; /* old: being moved into table; words null: nothing is */
    size_t moved;            /* words of it that were */
    struct slab *slabs;
    uint32_t slab_left; /* bytes of the first one */
    uint8_t *names[NAME_CLASSES];
    uint32_t *fresh;
    uint32_t fresh_count, fresh_capacity;
    uint64_t mark;
    uint64_t kept_bytes;
    size_t bytes;
};

static struct tt_value *slot_at(const struct tt_values *v, uint32_t slot)
{
    return &v->blocks[slot / TT_VALUES_BLOCK][slot % TT_VALUES_BLOCK];
}

/* ---- names ---- */

static uint32_t name_class(size_t bytes)
{
    return (uint32_t)((bytes + NAME_UNIT - 1) / NAME_UNIT - 1);
}

static char *take_name(struct tt_values *v, struct tt_bytes name)
{
    uint32_t class = name_class(name.size), bytes = (class + 1) * NAME_UNIT;
    uint8_t *at = v->names[class];
    if (at != NULL) {
        memcpy(&v->names[class], at, sizeof at);
    } else {
        if (v->slab_left < bytes) {
            struct slab *slab = malloc(sizeof *slab);
            if (slab == NULL) return NULL;
            slab->next = v->slabs;
            v->slabs = slab;
            v->slab_left = SLAB_BYTES;
            v->bytes += sizeof *slab;
        }
        at = v->slabs->bytes + SLAB_BYTES - v->slab_left;
        v->slab_left -= bytes;
    }
    memcpy(at, name.data, name.size);
    return (char *)at;
}

static void give_name(struct tt_values *v, struct tt_value *s)
{
    uint32_t class = name_class(s->name_bytes);
    uint8_t *at = (uint8_t *)s->name_;
    memcpy(at, &v->names[class], sizeof at);
    v->names[class] = at;
}

/* ---- finding ---- */

static uint64_t word_of(uint64_t hash, uint32_t slot)
{
    return (hash & UINT64_C(0xFFFFFFFF00000000)) | (slot + 1);
}

static void put_word(struct table *t, uint64_t hash, uint32_t slot)
{
    size_t i = (size_t)hash & t->mask;
    while (t->words[i] != EMPTY) i = (i + 1) & t->mask;
    t->words[i] = word_of(hash, slot);
    t->used++;
}

/* The word of a slot with this hash, and with the name unless that is null, from *i on; or null. */
static uint64_t *find_word(const struct tt_values *v, const struct table *t, uint64_t hash,
                           const struct tt_bytes *name, size_t i)
{
    if (t->words == NULL) return NULL;
    for (; t->words[i & t->mask] != EMPTY; i++) {
        uint64_t word = t->words[i & t->mask];
        if (word >> 32 != hash >> 32 || (uint32_t)word == (uint32_t)GONE) continue;
        const struct tt_value *s = slot_at(v, (uint32_t)word - 1);
        if (s->hash == hash && (name == NULL || tt_bytes_equal(tt_value_name(s), *name)))
            return &t->words[i & t->mask];
    }
    return NULL;
}

static uint64_t *find_both(const struct tt_values *v, uint64_t hash, const struct tt_bytes *name)
{
    uint64_t *word = find_word(v, &v->table, hash, name, (size_t)hash);
    return word != NULL ? word : find_word(v, &v->old, hash, name, (size_t)hash);
}

uint32_t tt_values_find(const struct tt_values *v, uint64_t hash, struct tt_bytes name)
{
    const uint64_t *word = find_both(v, hash, &name);
    return word != NULL ? (uint32_t)*word - 1 : TT_VALUES_NONE;
}

void tt_values_prefetch(const struct tt_values *v, uint64_t hash, unsigned stage)
{
    const uint64_t *at = &v->table.words[hash & v->table.mask];
    if (stage == 0) {
        __builtin_prefetch(at);
        return;
    }
    uint64_t word = *at;
    if (word >> 32 != hash >> 32 || (uint32_t)word == (uint32_t)GONE) return; /* or a later one */
    const struct tt_value *s = slot_at(v, (uint32_t)word - 1);
    if (stage == 1)
        __builtin_prefetch(s, 1);
    else if (s->name_ != NULL)
        __builtin_prefetch(s->name_);
}

uint32_t tt_values_find_hash(const struct tt_values *v, uint64_t hash, uint32_t after)
{
    const struct table *tables[2] = {&v->table, &v->old};
    bool passed = after == TT_VALUES_NONE;
    for (int k = 0; k < 2; k++) {
        size_t i = (size_t)hash;
        const uint64_t *word;
        while ((word = find_word(v, tables[k], hash, NULL, i)) != NULL) {
            uint32_t slot = (uint32_t)*word - 1;
            if (passed) return slot;
            passed = slot == after;
            /* Probing goes on behind it; counted from the hash, so that it cannot turn twice. */
            size_t from = (size_t)hash & tables[k]->mask, at = (size_t)(word - tables[k]->words);
            i = (size_t)hash + ((at - from) & tables[k]->mask) + 1;
        }
    }
    return TT_VALUES_NONE;
}

static void free_table(struct tt_values *v, struct table *t)
{
    if (t->words != NULL) v->bytes -= (t->mask + 1) * sizeof *t->words;
    free(t->words);
    *t = (struct table){0};
}

static enum tt_status make_table(struct tt_values *v, struct table *t, size_t words)
{
    t->words = calloc(words, sizeof *t->words);
    if (t->words == NULL) return TT_ENOMEM;
    t->mask = words - 1;
    t->used = 0;
    v->bytes += words * sizeof *t->words;
    return TT_OK;
}

/* Moves a few words of the old table, so that none of its turns takes long. */
static void move_some(struct tt_values *v)
{
    if (v->old.words == NULL) return;
    for (uint32_t i = 0; i < MOVED_EACH && v->moved <= v->old.mask; i++, v->moved++) {
        uint64_t *word = &v->old.words[v->moved];
        if (*word == EMPTY || *word == GONE) continue;
        uint32_t slot = (uint32_t)*word - 1;
        put_word(&v->table, slot_at(v, slot)->hash, slot);
        *word = GONE;
    }
    if (v->moved > v->old.mask) free_table(v, &v->old);
}

/* Room for one more word. */
static enum tt_status grow_table(struct tt_values *v)
{
    move_some(v);
    if (v->table.used + 1 <= (v->table.mask + 1) / 4 * 3) return TT_OK;
    TT_ASSERT(v->old.words == NULL); /* it is at most half full when it is made */
    size_t words = v->table.mask + 1;
    while (words / 2 < (size_t)v->channels + 1) words *= 2;
    struct table next;
    enum tt_status status = make_table(v, &next, words);
    if (status != TT_OK) return status;
    v->old = v->table;
    v->table = next;
    v->moved = 0;
    return TT_OK;
}

/* ---- slots ---- */

static enum tt_status make_block(struct tt_values *v)
{
    if (v->blocks_count == v->blocks_capacity) {
        uint32_t capacity = v->blocks_capacity * 2;
        struct tt_value **blocks = realloc(v->blocks, capacity * sizeof *blocks);
        if (blocks == NULL) return TT_ENOMEM;
        v->blocks = blocks;
        v->bytes += (capacity - v->blocks_capacity) * sizeof *blocks;
        v->blocks_capacity = capacity;
    }
    struct tt_value *block = calloc(TT_VALUES_BLOCK, sizeof *block);
    if (block == NULL) return TT_ENOMEM;
    v->blocks[v->blocks_count++] = block;
    v->bytes += TT_VALUES_BLOCK * sizeof *block;
    return TT_OK;
}

static enum tt_status remember_fresh(struct tt_values *v)
{
    if (v->fresh_count < v->fresh_capacity) return TT_OK;
    uint32_t capacity = v->fresh_capacity == 0 ? 256 : v->fresh_capacity * 2;
    uint32_t *fresh = realloc(v->fresh, capacity * sizeof *fresh);
    if (fresh == NULL) return TT_ENOMEM;
    v->fresh = fresh;
    v->bytes += (capacity - v->fresh_capacity) * sizeof *fresh;
    v->fresh_capacity = capacity;
    return TT_OK;
}

static enum tt_status open_slot(struct tt_values *v, uint64_t hash, struct tt_bytes name,
                                bool bounded, uint32_t *slot)
{
    TT_ASSERT(name.size > 0 && name.size <= TT_CHANNEL_BYTES_MAX);
    *slot = tt_values_find(v, hash, name);
    if (*slot != TT_VALUES_NONE) return TT_OK;
    if (bounded && v->channels >= v->channels_max) return TT_ETOOBIG;
    if (v->channels >= TT_VALUES_NONE - TT_VALUES_BLOCK) return TT_ETOOBIG;
    enum tt_status status = remember_fresh(v);
    if (status == TT_OK) status = grow_table(v);
    if (status == TT_OK && v->unused == TT_VALUES_NONE &&
        v->slots == v->blocks_count * TT_VALUES_BLOCK)
        status = make_block(v);
    if (status != TT_OK) return status;
    const char *text = take_name(v, name);
    if (text == NULL) return TT_ENOMEM;
    struct tt_value *s;
    if (v->unused != TT_VALUES_NONE) {
        *slot = v->unused;
        s = slot_at(v, *slot);
        v->unused = (uint32_t)s->offset;
    } else {
        *slot = v->slots++;
        s = slot_at(v, *slot);
    }
    *s = (struct tt_value){
        .hash = hash, .name_ = text, .name_bytes = (uint8_t)name.size, .flags_ = FRESH};
    put_word(&v->table, hash, *slot);
    v->channels++;
    v->fresh[v->fresh_count++] = *slot;
    return TT_OK;
}

static void set_kept(struct tt_values *v, struct tt_value *s, uint32_t bytes)
{
    v->kept_bytes += bytes;
    v->kept_bytes -= s->kept_bytes;
    s->kept_bytes = bytes;
}

static void drop(struct tt_values *v, uint32_t slot)
{
    struct tt_value *s = slot_at(v, slot);
    struct tt_bytes name = tt_value_name(s);
    uint64_t *word = find_both(v, s->hash, &name);
    TT_ASSERT(word != NULL && (uint32_t)*word == slot + 1);
    *word = GONE;
    set_kept(v, s, 0);
    give_name(v, s);
    *s = (struct tt_value){.offset = v->unused};
    v->unused = slot;
    v->channels--;
}

enum tt_status tt_values_open(struct tt_values *v, uint64_t hash, struct tt_bytes name,
                              uint32_t *slot)
{
    return open_slot(v, hash, name, true, slot);
}

enum tt_status tt_values_open_over(struct tt_values *v, uint64_t hash, struct tt_bytes name,
                                   uint32_t *slot)
{
    return open_slot(v, hash, name, false, slot);
}

void tt_values_commit(struct tt_values *v)
{
    for (uint32_t i = 0; i < v->fresh_count; i++) {
        struct tt_value *s = slot_at(v, v->fresh[i]);
        TT_ASSERT((s->flags_ & SEEN) != 0);
        s->flags_ &= (uint8_t)~FRESH;
    }
    v->fresh_count = 0;
}

void tt_values_rollback(struct tt_values *v)
{
    while (v->fresh_count > 0) {
        TT_ASSERT((slot_at(v, v->fresh[v->fresh_count - 1])->flags_ & SEEN) == 0);
        drop(v, v->fresh[--v->fresh_count]);
    }
}

/* ---- what is known of a channel ---- */

/* An event of whatever kind. */
static void see(const struct tt_values *v, struct tt_value *s, uint64_t offset)
{
    if ((s->flags_ & SEEN) == 0) {
        s->flags_ |= SEEN;
        s->newest_offset = offset;
        return;
    }
    uint64_t low = offset < s->newest_offset ? offset : s->newest_offset;
    if (offset > s->newest_offset) s->newest_offset = offset;
    if (low < v->mark && s->newest_offset >= v->mark) s->flags_ |= KNOWN;
}

void tt_values_set(struct tt_values *v, uint32_t slot, uint64_t offset, uint64_t place,
                   uint32_t flags)
{
    struct tt_value *s = slot_at(v, slot);
    TT_ASSERT(s->name_ != NULL);
    see(v, s, offset);
    if (tt_kept_is(place)) s->flags_ |= KEPT;
    bool deletes = (flags & TT_VALUES_DELETE) != 0;
    if ((flags & TT_VALUES_NEVER_CONFLATE) != 0 && !deletes) return;
    uint8_t state = deletes ? TT_VALUE_DELETED : TT_VALUE_HELD;
    if (s->state != TT_VALUE_NONE && offset == s->offset) {
        s->place = place;
        if (!tt_kept_is(place)) set_kept(v, s, 0);
        return;
    }
    if (s->state != TT_VALUE_NONE && offset < s->offset) {
        bool newer = s->older_state == TT_VALUE_NONE || offset >= s->older_offset;
        if (s->offset < v->mark || offset >= v->mark || !newer) return;
        s->older_offset = offset;
        s->older_place = place;
        s->older_state = state;
        return;
    }
    if (s->offset < v->mark && offset >= v->mark) {
        s->older_offset = s->offset;
        s->older_place = s->place;
        s->older_state = s->state;
    }
    s->offset = offset;
    s->place = place;
    s->state = state;
    set_kept(v, s, 0);
}

bool tt_values_repoint(struct tt_values *v, uint32_t slot, uint64_t offset, uint64_t from,
                       uint64_t to, uint32_t kept_bytes)
{
    struct tt_value *s = slot_at(v, slot);
    bool any = false;
    if (tt_kept_is(to)) s->flags_ |= KEPT;
    if (s->state != TT_VALUE_NONE && s->offset == offset && s->place == from) {
        s->place = to;
        set_kept(v, s, s->state == TT_VALUE_HELD ? kept_bytes : 0);
        any = true;
    }
    if (s->older_state != TT_VALUE_NONE && s->older_offset == offset && s->older_place == from) {
        s->older_place = to;
        any = true;
    }
    return any;
}

void tt_values_lose(struct tt_values *v, uint32_t slot, uint64_t offset)
{
    struct tt_value *s = slot_at(v, slot);
    if (s->state != TT_VALUE_NONE && s->offset == offset) {
        s->state = TT_VALUE_NONE; /* its offset stays: what is older must not come back */
        set_kept(v, s, 0);
    }
    if (s->older_state != TT_VALUE_NONE && s->older_offset == offset)
        s->older_state = TT_VALUE_NONE;
}

void tt_values_restore(struct tt_values *v, uint32_t slot, const struct tt_value_then *then,
                       uint32_t kept_bytes, bool was_kept)
{
    struct tt_value *s = slot_at(v, slot);
    s->flags_ |= was_kept ? SEEN | KEPT : SEEN;
    s->newest_offset = then->newest_offset;
    s->state = (uint8_t)then->state;
    s->offset = then->offset;
    s->place = then->place;
    set_kept(v, s, kept_bytes);
}

void tt_values_set_mark(struct tt_values *v, uint64_t offset)
{
    TT_ASSERT(offset >= v->mark);
    v->mark = offset;
}

uint64_t tt_values_mark(const struct tt_values *v)
{
    return v->mark;
}

bool tt_values_below_mark(const struct tt_values *v, uint32_t slot, struct tt_value_then *then)
{
    const struct tt_value *s = slot_at(v, slot);
    if (s->name_ == NULL || (s->flags_ & SEEN) == 0) return false;
    if (s->newest_offset >= v->mark && (s->flags_ & KNOWN) == 0) return false;
    bool older = s->offset >= v->mark;
    *then = (struct tt_value_then){
        .state = older ? s->older_state : s->state,
        .offset = older ? s->older_offset : s->offset,
        .place = older ? s->older_place : s->place,
        .newest_offset = s->newest_offset < v->mark ? s->newest_offset : v->mark - 1,
    };
    return true;
}

/* ---- dropping ---- */

static bool is_gone(uint64_t place, const struct tt_values_alive *alive)
{
    return tt_kept_is(place) ? place < alive->kept_from : place < alive->oldest_place;
}

void tt_values_sweep(struct tt_values *v, uint32_t *key, uint32_t count,
                     const struct tt_values_alive *alive, struct tt_values_swept *swept)
{
    for (; count > 0 && *key < v->slots; count--, (*key)++) {
        struct tt_value *s = slot_at(v, *key);
        if (s->name_ == NULL || (s->flags_ & FRESH) != 0) continue;
        bool gone = is_gone(s->place, alive);
        if (s->state == TT_VALUE_HELD && gone) {
            tt_values_lose(v, *key, s->offset);
            swept->lost++;
        }
        if (s->older_state == TT_VALUE_HELD && is_gone(s->older_place, alive))
            s->older_state = TT_VALUE_NONE;
        bool deletes = s->state == TT_VALUE_DELETED && tt_kept_is(s->place) && !gone;
        swept->graves += deletes;
        if (s->state != TT_VALUE_HELD && !deletes && s->newest_offset < alive->oldest_offset)
            drop(v, *key);
    }
}

/* ---- asking ---- */

const struct tt_value *tt_values_at(const struct tt_values *v, uint32_t slot)
{
    if (slot >= v->slots) return NULL;
    const struct tt_value *s = slot_at(v, slot);
    return s->name_ != NULL ? s : NULL;
}

uint32_t tt_values_slots(const struct tt_values *v)
{
    return v->slots;
}

uint32_t tt_values_walk(const struct tt_values *v, uint32_t *key, uint32_t *budget)
{
    while (*budget != 0 && v->slots > *key) {
        (*budget)--;
        uint32_t slot = (*key)++;
        if (slot_at(v, slot)->name_ != NULL) return slot;
    }
    return TT_VALUES_NONE;
}

uint32_t tt_values_channels(const struct tt_values *v)
{
    return v->channels;
}

void tt_values_set_channels_max(struct tt_values *v, uint32_t channels_max)
{
    TT_ASSERT(channels_max > 0);
    v->channels_max = channels_max;
}

uint32_t tt_values_channels_max(const struct tt_values *v)
{
    return v->channels_max;
}

size_t tt_values_bytes(const struct tt_values *v)
{
    return v->bytes;
}

uint64_t tt_values_kept_bytes(const struct tt_values *v)
{
    return v->kept_bytes;
}

uint64_t tt_values_bytes_bound(uint64_t channels)
{
    uint64_t words = TABLE_MIN, blocks = channels / TT_VALUES_BLOCK + 1;
    while (words / 2 < channels + 1) words *= 2;
    uint64_t names = channels / (SLAB_BYTES / (NAME_CLASSES * NAME_UNIT)) + 1;
    return sizeof(struct tt_values) + blocks * (TT_VALUES_BLOCK * sizeof(struct tt_value) + 16) +
           words * 3 / 2 * sizeof(uint64_t) + names * sizeof(struct slab) +
           2 * TT_PUBLISH_ARRAY_MAX * sizeof(uint32_t);
}

/* ---- life ---- */

enum tt_status tt_values_create(struct tt_values **values, uint32_t channels_max)
{
    TT_ASSERT(channels_max > 0);
    struct tt_values *v = calloc(1, sizeof *v);
    if (v == NULL) return TT_ENOMEM;
    v->channels_max = channels_max;
    v->unused = TT_VALUES_NONE;
    v->blocks_capacity = 16;
    v->blocks = malloc(v->blocks_capacity * sizeof *v->blocks);
    v->bytes = sizeof *v + v->blocks_capacity * sizeof *v->blocks;
    if (v->blocks == NULL || make_table(v, &v->table, TABLE_MIN) != TT_OK) {
        tt_values_destroy(&v);
        return TT_ENOMEM;
    }
    *values = v;
    return TT_OK;
}

void tt_values_destroy(struct tt_values **values)
{
    struct tt_values *v = *values;
    if (v == NULL) return;
    for (uint32_t i = 0; i < v->blocks_count; i++) free(v->blocks[i]);
    for (struct slab *s = v->slabs, *next; s != NULL; s = next) {
        next = s->next;
        free(s);
    }
    free(v->blocks);
    free(v->table.words);
    free(v->old.words);
    free(v->fresh);
    free(v);
    *values = NULL;
}
