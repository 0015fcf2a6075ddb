/* The question to the owner (lookup.h), answered from the channel table and the indexes in memory.
 */
#include <stdlib.h>

#include "proto/base/assert.h"
#include "store/log_internal.h"
#include "store/lookup.h"

_Static_assert((int)TT_LOOKUP_NEVER_CONFLATE == (int)TT_INDEX_NEVER_CONFLATE &&
                   (int)TT_LOOKUP_DELETE == (int)TT_INDEX_DELETE,
               "flags of an answer are those of the index");

/* ---- which indexes ---- */

/* The oldest of the indexes that follow each other without a gap up to the newest segment;
 * indexes_count: the newest segment has none. */
static uint32_t first_index(const struct tt_log *log)
{
    uint32_t i = log->indexes_count;
    uint64_t base = log->segment_base;
    while (i > 0) {
        const struct tt_log_index *x = &log->indexes[i - 1];
        if (x->base_place != base || tt_index_broken(x->index)) break;
        i--;
        /* Of the segment before. */
        const struct tt_segment_list *lists[] = {&log->planned, &log->segments};
        base = UINT64_MAX;
        for (int l = 0; l < 2 && base == UINT64_MAX; l++)
            for (uint32_t k = lists[l]->count; k > 0 && base == UINT64_MAX; k--)
                if (lists[l]->items[k - 1].base_place < x->base_place)
                    base = lists[l]->items[k - 1].base_place;
    }
    return i;
}

/* What one question finds in memory: indexes[first ..), everything from `offset` on. */
struct memory {
    const struct tt_log *log;
    uint32_t first;
    uint64_t offset;
    uint64_t oldest_place; /* of all segments */
    bool older;            /* there are segments before */
};

static struct memory memory_of(const struct tt_log *log)
{
    struct memory m = {.log = log, .first = first_index(log)};
    m.offset = m.first < log->indexes_count ? log->indexes[m.first].first_offset : log->next_offset;
    const struct tt_segment_list *l = log->segments.count != 0 ? &log->segments : &log->planned;
    m.oldest_place = l->count != 0 ? l->items[0].base_place : log->place;
    m.older = l->count != 0 && l->items[0].first_offset < m.offset;
    return m;
}

/* What is older than memory, asked as of `at`. */
static uint64_t search_below(const struct memory *m, uint64_t at)
{
    if (!m->older) return 0;
    return m->offset < at ? m->offset : at;
}

/* ---- answers ---- */

static void put(struct tt_lookup *lookup, uint64_t hash, const struct tt_index_entry *e)
{
    TT_ASSERT(lookup->items_count < lookup->items_max);
    lookup->items[lookup->items_count++] =
        (struct tt_lookup_item){e->offset, e->place, hash, e->flags};
}

/* The value of one channel, known by its slot. */
static void answer_value(const struct memory *m, struct tt_lookup *lookup, const struct tt_value *v,
                         struct tt_lookup_channel *c)
{
    struct tt_index_entry entry = {v->offset, v->place, 0};
    if (v->state == TT_VALUE_NONE || v->offset < lookup->at) {
        /* Retired, and not to be kept: it goes with the next sweep. */
        bool gone = !tt_kept_is(v->place) && v->place < m->oldest_place;
        if (v->state != TT_VALUE_HELD || gone) return;
        put(lookup, c->hash, &entry);
        c->found++;
        return;
    }
    /* It has a newer one: what was it then? */
    for (uint32_t i = m->log->indexes_count; i > m->first; i--) {
        enum tt_status status =
            tt_index_value(m->log->indexes[i - 1].index, c->hash, lookup->at, &entry);
        if (status == TT_END) continue;
        if (status == TT_OK) {
            entry.flags &= TT_INDEX_FLAGS_MASK;
            put(lookup, c->hash, &entry);
            c->found++;
        }
        return;
    }
    c->search_below = search_below(m, lookup->at);
}

/* The newest events of one channel. */
static void answer_last(const struct memory *m, struct tt_lookup *lookup,
                        struct tt_lookup_channel *c)
{
    struct tt_index_entry entries[TT_LOOKUP_BATCH];
    uint32_t begin = lookup->items_count;
    uint64_t below = lookup->at;
    /* Newest first, so what is found goes before what was found: in reverse, and turned at the end.
     */
    for (uint32_t i = m->log->indexes_count; i > m->first && c->found < lookup->last;) {
        uint32_t wanted = lookup->last - c->found;
        if (wanted > TT_LOOKUP_BATCH) wanted = TT_LOOKUP_BATCH;
        uint32_t n = tt_index_last(m->log->indexes[i - 1].index, c->hash, below, wanted, entries);
        for (uint32_t k = n; k > 0; k--) put(lookup, c->hash, &entries[k - 1]);
        c->found += n;
        if (n != 0) below = entries[0].offset;
        if (n < wanted) i--; /* no more in this one */
    }
    for (uint32_t a = begin, b = lookup->items_count; a + 1 < b; a++, b--) {
        struct tt_lookup_item item = lookup->items[a];
        lookup->items[a] = lookup->items[b - 1];
        lookup->items[b - 1] = item;
    }
    if (c->found < lookup->last) c->search_below = search_below(m, lookup->at);
}

/* Whether another channel's answer fits. */
static bool has_room(const struct tt_lookup *lookup, uint32_t slots)
{
    uint32_t needs = lookup->kind == TT_LOOKUP_LAST ? lookup->last : slots;
    return lookup->items_max - lookup->items_count >= needs;
}

/* ---- by hash ---- */

/* Channels that share the hash; those of LAST share their lists too. */
static void answer_hash(const struct memory *m, struct tt_lookup *lookup,
                        struct tt_lookup_channel *c, uint32_t slot)
{
    c->found = 0;
    c->search_below = 0;
    if (slot == TT_VALUES_NONE) return;
    if (lookup->kind == TT_LOOKUP_LAST) {
        answer_last(m, lookup, c);
        return;
    }
    while (slot != TT_VALUES_NONE) {
        uint64_t older = c->search_below;
        answer_value(m, lookup, tt_values_at(m->log->values, slot), c);
        if (c->search_below == 0) c->search_below = older;
        slot = tt_values_find_hash(m->log->values, c->hash, slot);
    }
}

static uint32_t slots_of(const struct tt_log *log, uint64_t hash, uint32_t *first)
{
    uint32_t n = 0;
    *first = tt_values_find_hash(log->values, hash, TT_VALUES_NONE);
    for (uint32_t slot = *first; slot != TT_VALUES_NONE && n < TT_LOOKUP_SAME_HASH_MAX; n++)
        slot = tt_values_find_hash(log->values, hash, slot);
    return n;
}

static void by_hash(const struct memory *m, struct tt_lookup *lookup)
{
    uint32_t from = (uint32_t)lookup->key, i = from;
    for (; i < lookup->channels_count && i - from < TT_LOOKUP_SLOTS_MAX; i++) {
        struct tt_lookup_channel *c = &lookup->channels[i];
        uint32_t slot;
        uint32_t slots = slots_of(m->log, c->hash, &slot);
        /* One that can never fit is answered without its items: nobody has so many by chance. */
        if (slots > lookup->items_max && lookup->kind == TT_LOOKUP_VALUE) slot = TT_VALUES_NONE;
        if (slot != TT_VALUES_NONE && !has_room(lookup, slots)) break;
        answer_hash(m, lookup, c, slot);
    }
    lookup->key = i < lookup->channels_count ? i : TT_LOOKUP_END;
}

/* ---- by pattern ---- */

static void by_pattern(const struct memory *m, struct tt_lookup *lookup)
{
    const struct tt_values *values = m->log->values;
    uint32_t key = (uint32_t)lookup->key, budget = TT_LOOKUP_SLOTS_MAX;
    lookup->channels_count = 0;
    while (lookup->channels_count < lookup->channels_max && has_room(lookup, 1)) {
        uint32_t slot = tt_values_walk(values, &key, &budget);
        if (slot == TT_VALUES_NONE) break;
        const struct tt_value *v = tt_values_at(values, slot);
        if (!tt_pattern_match(&lookup->pattern, tt_value_name(v))) continue;
        struct tt_lookup_channel *c = &lookup->channels[lookup->channels_count];
        *c = (struct tt_lookup_channel){.hash = v->hash};
        if (lookup->kind == TT_LOOKUP_LAST)
            answer_last(m, lookup, c);
        else
            answer_value(m, lookup, v, c);
        if (c->found != 0 || c->search_below != 0) lookup->channels_count++;
    }
    lookup->key = key == tt_values_slots(values) ? TT_LOOKUP_END : key;
}

/* ---- ranges ---- */

static int by_offset(const void *a, const void *b)
{
    const struct tt_lookup_item *left = a, *right = b;
    return left->offset < right->offset ? -1 : left->offset > right->offset;
}

/* Events of one index from lookup->key on; *complete: everything below was found. */
static void range_of(const struct tt_index *index, struct tt_lookup *lookup, uint64_t *complete)
{
    struct tt_index_entry entries[TT_LOOKUP_BATCH];
    struct tt_index_hole holes[TT_LOOKUP_RANGE_HOLES];
    uint32_t lists = lookup->channels_count + 1;
    uint32_t each = lookup->items_max / lists;
    for (uint32_t i = 0; i < lookup->channels_count; i++) {
        uint64_t from = lookup->key;
        for (uint32_t left = each; left != 0;) {
            uint32_t wanted = left < TT_LOOKUP_BATCH ? left : TT_LOOKUP_BATCH;
            uint32_t n =
                tt_index_range(index, lookup->channels[i].hash, from, *complete, entries, wanted);
            for (uint32_t k = 0; k < n; k++) put(lookup, lookup->channels[i].hash, &entries[k]);
            left -= n;
            if (n < wanted) break;
            from = entries[n - 1].offset + 1;
            if (left == 0) *complete = from; /* there may be more of this one */
        }
    }
    uint32_t most = each < TT_LOOKUP_RANGE_HOLES ? each : TT_LOOKUP_RANGE_HOLES;
    uint32_t n = tt_index_holes(index, lookup->key, *complete, holes, most);
    for (uint32_t k = 0; k < n; k++) {
        const struct tt_index_entry e = {holes[k].first, holes[k].place, TT_LOOKUP_HOLE};
        put(lookup, holes[k].end, &e);
    }
    if (n == most && n != 0 && holes[n - 1].first + 1 < *complete)
        *complete = holes[n - 1].first + 1;
    qsort(lookup->items, lookup->items_count, sizeof *lookup->items, by_offset);
    while (lookup->items_count != 0 && lookup->items[lookup->items_count - 1].offset >= *complete)
        lookup->items_count--;
}

static void range(const struct memory *m, struct tt_lookup *lookup)
{
    const struct tt_log *log = m->log;
    TT_ASSERT(lookup->channels_count <= TT_LOOKUP_RANGE_CHANNELS_MAX);
    TT_ASSERT(lookup->items_max > lookup->channels_count);
    lookup->key = lookup->from;
    if (lookup->from < m->offset || m->first == log->indexes_count) return;
    for (uint32_t i = m->first; i < log->indexes_count && lookup->key < lookup->at; i++) {
        uint64_t end = i + 1 < log->indexes_count ? log->indexes[i + 1].first_offset : lookup->at;
        if (end > lookup->at) end = lookup->at;
        if (end <= lookup->key) continue;
        uint64_t complete = end;
        range_of(log->indexes[i].index, lookup, &complete);
        lookup->key = complete;
        if (lookup->items_count != 0 || complete != end) return;
    }
}

void tt_log_lookup(const struct tt_log *log, struct tt_lookup *lookup)
{
    const struct memory m = memory_of(log);
    lookup->items_count = 0;
    lookup->memory_offset = m.offset;
    if (lookup->kind == TT_LOOKUP_RANGE)
        range(&m, lookup);
    else if (lookup->by_pattern)
        by_pattern(&m, lookup);
    else
        by_hash(&m, lookup);
}
