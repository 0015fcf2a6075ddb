#include "store/segment.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/base/assert.h"
#include "proto/event/position.h"

void tt_segment_list_deinit(struct tt_segment_list *l)
{
    free(l->items);
    *l = (struct tt_segment_list){0};
}

enum tt_status tt_segment_list_reserve(struct tt_segment_list *l, uint32_t more)
{
    if (l->capacity_ - l->count >= more) return TT_OK;
    uint32_t capacity = l->capacity_ == 0 ? 16 : l->capacity_ * 2;
    if (capacity < l->count + more) capacity = l->count + more;
    struct tt_segment *items = realloc(l->items, capacity * sizeof *items);
    if (items == NULL) return TT_ENOMEM;
    l->items = items;
    l->capacity_ = capacity;
    return TT_OK;
}

enum tt_status tt_segment_list_add(struct tt_segment_list *l, const struct tt_segment *segment)
{
    enum tt_status status = tt_segment_list_reserve(l, 1);
    if (status != TT_OK) return status;
    if (l->count != 0) {
        const struct tt_segment *last = &l->items[l->count - 1];
        TT_ASSERT(segment->first_offset > last->first_offset);
        TT_ASSERT(last->end_place == TT_SEGMENT_GROWS || segment->base_place == last->end_place);
        TT_ASSERT(segment->base_place > last->base_place);
    }
    l->items[l->count++] = *segment;
    return TT_OK;
}

/* The number of segments that begin at or before the place. */
static uint32_t begun_at(const struct tt_segment_list *l, uint64_t place)
{
    uint32_t low = 0, high = l->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (l->items[middle].base_place <= place)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct tt_segment *tt_segment_list_at(const struct tt_segment_list *l, uint64_t base_place)
{
    uint32_t n = begun_at(l, base_place);
    return n != 0 && l->items[n - 1].base_place == base_place ? &l->items[n - 1] : NULL;
}

void tt_segment_list_seal(struct tt_segment_list *l, uint64_t base_place, uint64_t end_place,
                          int64_t taken_max_us)
{
    struct tt_segment *s = tt_segment_list_at(l, base_place);
    if (s == NULL) return; /* retired at once */
    s->end_place = end_place;
    s->taken_max_us = taken_max_us;
}

void tt_segment_list_indexed(struct tt_segment_list *l, uint64_t base_place)
{
    struct tt_segment *s = tt_segment_list_at(l, base_place);
    if (s != NULL) s->indexed = true; /* else it was retired at once */
}

void tt_segment_list_retire(struct tt_segment_list *l, uint64_t base_place)
{
    if (l->count == 0 || l->items[0].base_place != base_place) return;
    l->count--;
    memmove(l->items, l->items + 1, l->count * sizeof *l->items);
}

const struct tt_segment *tt_segment_list_find_offset(const struct tt_segment_list *l,
                                                     uint64_t offset)
{
    uint32_t low = 0, high = l->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (l->items[middle].first_offset <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? NULL : &l->items[low - 1];
}

const struct tt_segment *tt_segment_list_find_place(const struct tt_segment_list *l, uint64_t place)
{
    uint32_t n = begun_at(l, place);
    return n != 0 && place < l->items[n - 1].end_place ? &l->items[n - 1] : NULL;
}

uint64_t tt_segment_list_sealed_bytes(const struct tt_segment_list *l)
{
    uint32_t n = l->count;
    if (n != 0 && l->items[n - 1].end_place == TT_SEGMENT_GROWS) n--;
    return n == 0 ? 0 : l->items[n - 1].end_place - l->items[0].base_place;
}

#define NAME_DIGITS 20u

void tt_segment_name(uint64_t first_offset, char name[TT_SEGMENT_NAME_BYTES])
{
    int written =
        snprintf(name, TT_SEGMENT_NAME_BYTES, "%020llu.seg", (unsigned long long)first_offset);
    TT_ASSERT(written == (int)TT_SEGMENT_NAME_BYTES - 1);
}

enum tt_status tt_segment_name_parse(const char *name, uint64_t *first_offset)
{
    struct tt_bytes text = tt_bytes_text(name);
    if (text.size != TT_SEGMENT_NAME_BYTES - 1) return TT_EINVAL;
    if (!tt_bytes_is(tt_bytes_from(text, NAME_DIGITS), ".seg")) return TT_EINVAL;
    return tt_bytes_to_u64(tt_bytes(text.data, NAME_DIGITS), TT_NEXT_MAX, first_offset);
}

enum tt_status tt_segment_path(const char *directory, uint64_t first_offset, char *path,
                               size_t bytes)
{
    char name[TT_SEGMENT_NAME_BYTES];
    tt_segment_name(first_offset, name);
    int written = snprintf(path, bytes, "%s/%s", directory, name);
    return written >= 0 && (size_t)written < bytes ? TT_OK : TT_EINVAL;
}
