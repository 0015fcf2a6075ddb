#include "store/index_internal.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/assert.h"

#define TABLE_MIN               64u
#define MOVES_PER_ADD           8u
#define ARRAY_FIRST             16u
#define PREFETCHED_CHANNELS_MIN 2048u             /* fewer stay in the cache */
#define OFFSET_STEP_MAX         (UINT64_MAX >> 2) /* two bits are the flags' */

_Static_assert(TT_INDEX_UNIT << TT_INDEX_CLASS_MAX <= TT_INDEX_SLAB_BYTES,
               "a block is in one slab");
_Static_assert((int)TT_INDEX_NEVER_CONFLATE == (int)TT_EVENT_NEVER_CONFLATE &&
                   (int)TT_INDEX_DELETE == (int)TT_EVENT_OP_DELETE,
               "flags of events are taken as they are");
_Static_assert(sizeof(struct tt_index_list) == 32, "two to a cache line");

/* ---- memory ---- */

static bool take_bytes(struct tt_index *x, size_t bytes)
{
    if (bytes > x->bytes_max - x->bytes) return false;
    x->bytes += bytes;
    return true;
}

/* A larger array; null: no memory, nothing has changed. */
static void *grow(struct tt_index *x, void *old, size_t old_bytes, size_t new_bytes)
{
    if (!take_bytes(x, new_bytes - old_bytes)) return NULL;
    void *new = realloc(old, new_bytes);
    if (new == NULL) x->bytes -= new_bytes - old_bytes;
    return new;
}

static bool add_slab(struct tt_index *x, struct tt_index_slabs *s)
{
    if (s->count == s->capacity) {
        uint32_t capacity = s->capacity == 0 ? ARRAY_FIRST : s->capacity * 2;
        uint8_t **items = grow(x, s->items, s->capacity * sizeof *items, capacity * sizeof *items);
        if (items == NULL) return false;
        s->items = items;
        s->capacity = capacity;
    }
    if (!take_bytes(x, TT_INDEX_SLAB_BYTES)) return false;
    uint8_t *slab = aligned_alloc(TT_INDEX_UNIT, TT_INDEX_SLAB_BYTES);
    if (slab == NULL) {
        x->bytes -= TT_INDEX_SLAB_BYTES;
        return false;
    }
    s->items[s->count++] = slab;
    return true;
}

static void free_slabs(struct tt_index_slabs *s)
{
    for (uint32_t i = 0; i < s->count; i++) free(s->items[i]);
    free(s->items);
    *s = (struct tt_index_slabs){0};
}

static void free_table(struct tt_index *x, struct tt_index_table *t)
{
    if (t->slots != NULL) x->bytes -= ((size_t)t->mask + 1) * sizeof *t->slots;
    free(t->slots);
    *t = (struct tt_index_table){0};
}

static bool make_table(struct tt_index *x, struct tt_index_table *t, uint64_t slots)
{
    if (slots > UINT64_C(1) << 31 || !take_bytes(x, slots * sizeof *t->slots)) return false;
    /* Large ones are mapped and become real page by page, as they are used. */
    t->slots = calloc(slots, sizeof *t->slots);
    if (t->slots == NULL) {
        x->bytes -= slots * sizeof *t->slots;
        return false;
    }
    t->mask = (uint32_t)(slots - 1);
    return true;
}

void tt_index_break(struct tt_index *x)
{
    free_table(x, &x->table);
    free_table(x, &x->old);
    free_slabs(&x->lists);
    free_slabs(&x->blocks);
    free(x->holes);
    free(x->batches);
    x->holes = NULL;
    x->batches = NULL;
    x->holes_count = x->holes_capacity = x->batches_count = x->batches_capacity = 0;
    x->lists_count = 0;
    x->entries = 0;
    x->bytes = sizeof *x;
    x->broken = true;
}

static enum tt_status break_it(struct tt_index *x)
{
    tt_index_break(x);
    return TT_ENOMEM;
}

enum tt_status tt_index_create(struct tt_index **out, const struct tt_index_options *options)
{
    TT_ASSERT(options->base_place % TT_RECORD_ALIGN == 0);
    struct tt_index *x = calloc(1, sizeof *x);
    *out = x;
    if (x == NULL) return TT_ENOMEM;
    x->first_offset = x->next_offset = options->first_offset;
    x->base_place = options->base_place;
    x->bytes = sizeof *x;
    x->bytes_max = options->bytes_max == 0 ? TT_INDEX_BYTES_MAX : options->bytes_max;
    if (x->bytes_max < sizeof *x) x->bytes_max = sizeof *x;
    uint64_t slots = TABLE_MIN;
    while (slots * 2 < (uint64_t)options->channels_hint * 3) slots *= 2;
    if (make_table(x, &x->table, slots)) return TT_OK;
    tt_index_destroy(out);
    return TT_ENOMEM;
}

void tt_index_destroy(struct tt_index **x)
{
    if (*x == NULL) return;
    tt_index_break(*x);
    free(*x);
    *x = NULL;
}

size_t tt_index_bytes(const struct tt_index *x)
{
    return x->bytes;
}

bool tt_index_broken(const struct tt_index *x)
{
    return x->broken;
}

/* ---- the table ---- */

static uint32_t find_in(const struct tt_index *x, const struct tt_index_table *t, uint64_t hash)
{
    for (uint32_t i = (uint32_t)hash & t->mask;; i = (i + 1) & t->mask) {
        struct tt_index_slot slot = t->slots[i];
        if (slot.list == 0) return UINT32_MAX;
        if (slot.hash == (uint32_t)hash && tt_index_list_at(x, slot.list - 1)->hash == hash)
            return slot.list - 1;
    }
}

static void put_in(struct tt_index_table *t, struct tt_index_slot slot)
{
    uint32_t i = slot.hash & t->mask;
    while (t->slots[i].list != 0) i = (i + 1) & t->mask;
    t->slots[i] = slot;
}

/* Moves some of the old table's lists on. It is only read, so what was moved is still found in it,
 * too; the number of a list never changes. */
static void move_some(struct tt_index *x)
{
    for (uint32_t i = 0; i < MOVES_PER_ADD; i++) {
        struct tt_index_slot slot = x->old.slots[x->moved];
        if (slot.list != 0) put_in(&x->table, slot);
        if (x->moved++ == x->old.mask) {
            free_table(x, &x->old);
            return;
        }
    }
}

static uint32_t find_list(const struct tt_index *x, uint64_t hash)
{
    if (x->broken) return UINT32_MAX;
    uint32_t number = find_in(x, &x->table, hash);
    if (number == UINT32_MAX && x->old.slots != NULL) number = find_in(x, &x->old, hash);
    return number;
}

static struct tt_index_list *make_list(struct tt_index *x, uint64_t hash)
{
    /* At most two thirds are used. The old table is empty long before the new one is full. */
    if (((uint64_t)x->lists_count + 1) * 3 > ((uint64_t)x->table.mask + 1) * 2) {
        TT_ASSERT(x->old.slots == NULL);
        struct tt_index_table larger;
        if (!make_table(x, &larger, ((uint64_t)x->table.mask + 1) * 2)) return NULL;
        x->old = x->table;
        x->table = larger;
        x->moved = 0;
    }
    if (x->lists_count == x->lists.count * TT_INDEX_SLAB_LISTS && !add_slab(x, &x->lists))
        return NULL;
    uint32_t number = x->lists_count++;
    put_in(&x->table, (struct tt_index_slot){(uint32_t)hash, number + 1});
    struct tt_index_list *list = tt_index_list_at(x, number);
    *list = (struct tt_index_list){.hash = hash};
    return list;
}

/* ---- adding ---- */

/* A block of that class. 0: no memory. */
static uint32_t make_block(struct tt_index *x, uint32_t class)
{
    uint32_t units = 1u << class;
    if (units > x->units_left) {
        if (!add_slab(x, &x->blocks)) return 0;
        /* Unit 0 names no block. */
        x->units_left = TT_INDEX_SLAB_UNITS - (x->blocks.count == 1);
    }
    uint32_t unit = x->blocks.count * TT_INDEX_SLAB_UNITS - x->units_left;
    x->units_left -= units;
    return unit;
}

static bool add_block(struct tt_index *x, struct tt_index_list *list, uint64_t offset,
                      uint32_t place, uint32_t flags)
{
    uint32_t class = 0;
    if (list->last != 0) {
        class = tt_index_block_at(x, list->last)->class + 1u;
        if (class > TT_INDEX_CLASS_MAX) class = TT_INDEX_CLASS_MAX;
    }
    uint32_t unit = make_block(x, class);
    if (unit == 0) return false;
    struct tt_index_block *block = tt_index_block_at(x, unit);
    *block = (struct tt_index_block){.first_offset = offset,
                                     .first_place = place,
                                     .previous = list->last,
                                     .count = 1,
                                     .class = (uint8_t) class,
                                     .first_flags = (uint8_t)flags,
                                     .has_value = tt_index_is_value(flags)};
    if (list->last == 0)
        list->first = unit;
    else
        tt_index_block_at(x, list->last)->next = unit;
    list->last = unit;
    return true;
}

/* Behind the list's last entry. */
static bool add_entry(struct tt_index *x, struct tt_index_list *list, uint64_t offset,
                      uint32_t place, uint32_t flags)
{
    if (list->last == 0) return add_block(x, list, offset, place, flags);
    struct tt_index_block *block = tt_index_block_at(x, list->last);
    size_t capacity =
        ((size_t)TT_INDEX_UNIT << block->class) - offsetof(struct tt_index_block, data);
    size_t left = capacity - block->used;
    uint8_t bytes[2 * TT_INDEX_VARINT_BYTES];
    uint8_t *at = block->data + block->used;
    uint8_t *begin =
        left >= sizeof bytes ? at : bytes; /* at once to its place, if it fits surely */
    uint8_t *end = tt_index_put_varint(begin, (offset - list->last_offset) << 2 | flags);
    end = tt_index_put_varint(end, place - list->last_place);
    size_t size = (size_t)(end - begin);
    if (size > left) return add_block(x, list, offset, place, flags);
    if (begin == bytes) memcpy(at, bytes, size);
    block->used = (uint16_t)(block->used + size);
    block->count++;
    if (tt_index_is_value(flags)) block->has_value = 1;
    return true;
}

enum tt_status tt_index_add(struct tt_index *x, uint64_t hash, uint64_t offset, uint64_t place,
                            uint32_t flags)
{
    if (x->broken) return TT_ENOMEM;
    TT_ASSERT(offset >= x->next_offset);
    TT_ASSERT(place >= x->base_place && place % TT_RECORD_ALIGN == 0);
    if (x->old.slots != NULL) move_some(x);
    uint32_t number = find_list(x, hash);
    struct tt_index_list *list =
        number == UINT32_MAX ? make_list(x, hash) : tt_index_list_at(x, number);
    uint64_t relative = place - x->base_place;
    if (list == NULL || relative > TT_INDEX_PLACE_MAX || offset - x->first_offset > OFFSET_STEP_MAX)
        return break_it(x);
    uint32_t place8 = (uint32_t)(relative / TT_RECORD_ALIGN);
    TT_ASSERT(list->count == 0 || place8 > list->last_place);
    if (!add_entry(x, list, offset, place8, flags & TT_INDEX_FLAGS_MASK)) return break_it(x);
    list->last_offset = offset;
    list->last_place = place8;
    list->count++;
    x->entries++;
    x->next_offset = offset + 1;
    return TT_OK;
}

void tt_index_prefetch(const struct tt_index *x, uint64_t hash, unsigned step)
{
    if (x->broken || x->lists_count < PREFETCHED_CHANNELS_MIN) return;
    const struct tt_index_slot *slot = &x->table.slots[(uint32_t)hash & x->table.mask];
    if (step == 0) {
        __builtin_prefetch(slot);
        return;
    }
    /* The first slot is its own mostly; where it is not, nothing is won. */
    if (slot->list == 0 || slot->hash != (uint32_t)hash) return;
    const struct tt_index_list *list = tt_index_list_at(x, slot->list - 1);
    if (step == 1)
        __builtin_prefetch(list, 1);
    else if (list->last != 0)
        __builtin_prefetch(tt_index_block_at(x, list->last), 1);
}

enum tt_status tt_index_add_hole(struct tt_index *x, uint64_t first, uint64_t end, uint64_t place)
{
    if (x->broken) return TT_ENOMEM;
    TT_ASSERT(first >= x->next_offset && end > first);
    if (x->holes_count == x->holes_capacity) {
        uint32_t capacity = x->holes_capacity == 0 ? ARRAY_FIRST : x->holes_capacity * 2;
        void *holes =
            grow(x, x->holes, x->holes_capacity * sizeof *x->holes, capacity * sizeof *x->holes);
        if (holes == NULL) return break_it(x);
        x->holes = holes;
        x->holes_capacity = capacity;
    }
    x->holes[x->holes_count++] = (struct tt_index_hole){first, end, place};
    x->next_offset = end;
    return TT_OK;
}

/* Does the event go on where the last run ends? */
static bool is_next(const struct tt_index_idempotency *run,
                    const struct tt_record_idempotency *block, uint64_t offset)
{
    return offset == run->first_offset + run->events && block->index == run->index + run->events &&
           block->count == run->count &&
           memcmp(block->key_hash, run->key_hash, sizeof run->key_hash) == 0 &&
           memcmp(block->body_hash, run->body_hash, sizeof run->body_hash) == 0;
}

enum tt_status tt_index_add_idempotency(struct tt_index *x,
                                        const struct tt_record_idempotency *block, uint64_t offset,
                                        uint64_t end_place, int64_t taken_us)
{
    if (x->broken) return TT_ENOMEM;
    if (x->batches_count != 0) {
        struct tt_index_idempotency *run = &x->batches[x->batches_count - 1];
        if (is_next(run, block, offset)) {
            run->events++;
            run->end_place = end_place;
            return TT_OK;
        }
    }
    if (x->batches_count == x->batches_capacity) {
        uint32_t capacity = x->batches_capacity == 0 ? ARRAY_FIRST : x->batches_capacity * 2;
        void *batches = grow(x, x->batches, x->batches_capacity * sizeof *x->batches,
                             capacity * sizeof *x->batches);
        if (batches == NULL) return break_it(x);
        x->batches = batches;
        x->batches_capacity = capacity;
    }
    struct tt_index_idempotency *run = &x->batches[x->batches_count++];
    *run = (struct tt_index_idempotency){.first_offset = offset,
                                         .end_place = end_place,
                                         .taken_us = taken_us,
                                         .index = block->index,
                                         .events = 1,
                                         .count = block->count};
    memcpy(run->key_hash, block->key_hash, sizeof run->key_hash);
    memcpy(run->body_hash, block->body_hash, sizeof run->body_hash);
    return TT_OK;
}

enum tt_status tt_index_add_record(struct tt_index *x, const struct tt_record *record,
                                   uint64_t hash, uint64_t place)
{
    if (record->class == TT_RECORD_HOLE)
        return tt_index_add_hole(x, record->offset, record->hole_end, place);
    if (record->class != TT_RECORD_EVENT) return x->broken ? TT_ENOMEM : TT_OK;
    enum tt_status status =
        tt_index_add(x, hash, record->offset, place, record->event.flags & TT_INDEX_FLAGS_MASK);
    if (status == TT_OK && record->has_idempotency)
        status = tt_index_add_idempotency(x, &record->idempotency, record->offset,
                                          place + record->length, record->event.taken_us);
    return status;
}

/* ---- asking ---- */

uint32_t tt_index_channels(const struct tt_index *x)
{
    return x->lists_count;
}

uint64_t tt_index_entries(const struct tt_index *x)
{
    return x->entries;
}

static const struct tt_index_list *list_of(const struct tt_index *x, uint64_t hash)
{
    uint32_t number = find_list(x, hash);
    return number == UINT32_MAX ? NULL : tt_index_list_at(x, number);
}

uint32_t tt_index_count(const struct tt_index *x, uint64_t hash)
{
    const struct tt_index_list *list = list_of(x, hash);
    return list == NULL ? 0 : list->count;
}

static struct tt_index_entry entry_of(const struct tt_index *x, const struct tt_index_walk *w)
{
    return (struct tt_index_entry){w->offset, x->base_place + (uint64_t)w->place * TT_RECORD_ALIGN,
                                   w->flags};
}

uint32_t tt_index_range(const struct tt_index *x, uint64_t hash, uint64_t from, uint64_t below,
                        struct tt_index_entry *entries, uint32_t max)
{
    const struct tt_index_list *list = list_of(x, hash);
    if (list == NULL) return 0;
    const struct tt_index_block *block = tt_index_block_at(x, list->last);
    while (block->first_offset > from && block->previous != 0)
        block = tt_index_block_at(x, block->previous);
    uint32_t n = 0;
    for (;;) {
        struct tt_index_walk w = tt_index_walk(block);
        while (tt_index_walk_next(&w)) {
            if (w.offset >= below || n == max) return n;
            if (w.offset >= from) entries[n++] = entry_of(x, &w);
        }
        if (block->next == 0) return n;
        block = tt_index_block_at(x, block->next);
    }
}

/* How many of a block's entries are below. */
static uint32_t count_below(const struct tt_index_block *block, uint64_t below)
{
    uint32_t n = 0;
    struct tt_index_walk w = tt_index_walk(block);
    while (tt_index_walk_next(&w) && w.offset < below) n++;
    return n;
}

uint32_t tt_index_last(const struct tt_index *x, uint64_t hash, uint64_t below, uint32_t n,
                       struct tt_index_entry *entries)
{
    const struct tt_index_list *list = list_of(x, hash);
    if (list == NULL || n == 0) return 0;
    const struct tt_index_block *block = tt_index_block_at(x, list->last);
    while (block->first_offset >= below && block->previous != 0)
        block = tt_index_block_at(x, block->previous);
    uint64_t have = count_below(block, below);
    while (have < n && block->previous != 0) {
        block = tt_index_block_at(x, block->previous);
        have += block->count;
    }
    uint64_t skip = have > n ? have - n : 0;
    uint32_t given = 0;
    for (;;) {
        struct tt_index_walk w = tt_index_walk(block);
        while (tt_index_walk_next(&w)) {
            if (w.offset >= below || given == n) return given;
            if (skip > 0)
                skip--;
            else
                entries[given++] = entry_of(x, &w);
        }
        if (block->next == 0) return given;
        block = tt_index_block_at(x, block->next);
    }
}

enum tt_status tt_index_value(const struct tt_index *x, uint64_t hash, uint64_t below,
                              struct tt_index_entry *entry)
{
    const struct tt_index_list *list = list_of(x, hash);
    if (list == NULL) return TT_END;
    for (uint32_t unit = list->last; unit != 0;) {
        const struct tt_index_block *block = tt_index_block_at(x, unit);
        unit = block->previous;
        if (!block->has_value || block->first_offset >= below) continue;
        bool found = false;
        struct tt_index_walk w = tt_index_walk(block);
        while (tt_index_walk_next(&w) && w.offset < below) {
            if (!tt_index_is_value(w.flags)) continue;
            *entry = entry_of(x, &w);
            found = true;
        }
        if (found) return (entry->flags & TT_INDEX_DELETE) != 0 ? TT_ENOENT : TT_OK;
    }
    return TT_END;
}

uint32_t tt_index_holes(const struct tt_index *x, uint64_t from, uint64_t below,
                        struct tt_index_hole *holes, uint32_t max)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < x->holes_count && n < max; i++)
        if (x->holes[i].end > from && x->holes[i].first < below) holes[n++] = x->holes[i];
    return n;
}

const struct tt_index_idempotency *tt_index_idempotency(const struct tt_index *x, uint32_t *count)
{
    *count = x->batches_count;
    return x->batches;
}
