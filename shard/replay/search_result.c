#include <stdlib.h>

#include "proto/base/assert.h"
#include "shard/replay/search_internal.h"

#define FOUND_FIRST 64u

enum tt_status tt_search_add(struct tt_search *s, uint32_t channel,
                             const struct tt_lookup_item *item)
{
    if (s->found_count == s->found_max) {
        uint32_t max = s->found_max == 0 ? FOUND_FIRST : s->found_max * 2;
        size_t more = (max - s->found_max) * sizeof *s->found;
        if (!tt_replay_has_memory(s->shard, more)) return TT_ENOMEM;
        struct tt_search_found *found = realloc(s->found, max * sizeof *found);
        if (found == NULL) return TT_ENOMEM;
        tt_search_count_bytes(s, (int64_t)more);
        s->found = found;
        s->found_max = max;
    }
    s->found[s->found_count++] = (struct tt_search_found){*item, channel};
    return TT_OK;
}

static int by_offset(const void *a, const void *b)
{
    uint64_t x = ((const struct tt_search_found *)a)->item.offset;
    uint64_t y = ((const struct tt_search_found *)b)->item.offset;
    return (x > y) - (x < y);
}

static int by_channel(const void *a, const void *b)
{
    uint32_t x = ((const struct tt_search_found *)a)->channel;
    uint32_t y = ((const struct tt_search_found *)b)->channel;
    return x != y ? (x > y) - (x < y) : by_offset(a, b);
}

void tt_search_cut_range(struct tt_search *s)
{
    if (s->found_count == 0) return;
    qsort(s->found, s->found_count, sizeof *s->found, by_offset);
    while (s->found_count != 0 && s->found[s->found_count - 1].item.offset >= s->limit)
        s->found_count--;
    if (s->found_count < s->lookup->items_max) return;
    s->found_count = s->lookup->items_max;
    uint64_t limit = s->found[s->found_count - 1].item.offset + 1;
    if (limit < s->limit) s->limit = limit;
}

/* How many the channel lacked when the search was begun. */
static uint32_t lacked(const struct tt_search *s, uint32_t channel)
{
    if (s->lookup->kind == TT_LOOKUP_VALUE) return 1;
    return s->lookup->last - s->lookup->channels[channel].found;
}

static uint32_t run_end(const struct tt_search *s, uint32_t from)
{
    uint32_t to = from;
    while (to < s->found_count && s->found[to].channel == s->found[from].channel) to++;
    return to;
}

void tt_search_cut_newest(struct tt_search *s)
{
    if (s->found_count != 0) qsort(s->found, s->found_count, sizeof *s->found, by_channel);
    uint32_t kept = 0;
    for (uint32_t from = 0, to; from < s->found_count; from = to) {
        to = run_end(s, from);
        uint32_t most = lacked(s, s->found[from].channel);
        if (to - from > most) from = to - most;
        memmove(&s->found[kept], &s->found[from], (to - from) * sizeof *s->found);
        kept += to - from;
    }
    s->found_count = kept;
    for (uint32_t i = 0; i < s->wants_count; i++) {
        struct tt_search_want *w = &s->wants[i];
        uint32_t low = 0, high = kept; /* the channel's run: by halves */
        while (low < high) {
            uint32_t middle = low + (high - low) / 2;
            if (s->found[middle].channel < w->channel)
                low = middle + 1;
            else
                high = middle;
        }
        uint32_t have =
            low < kept && s->found[low].channel == w->channel ? run_end(s, low) - low : 0;
        w->n = lacked(s, w->channel) - have;
    }
}

void tt_search_undo_view(struct tt_search *s)
{
    uint64_t first = s->view->segment.first_offset;
    uint64_t end = tt_view_end_offset(s->shard->replay->views, s->view);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < s->found_count; i++)
        if (s->found[i].item.offset < first || s->found[i].item.offset >= end)
            s->found[kept++] = s->found[i];
    s->found_count = kept;
}

/* For each channel what was found here, then what the owner has found, which is newer. */
static void merge(struct tt_search *s)
{
    struct tt_lookup *l = s->lookup;
    uint32_t ours = 0, theirs = 0, n = 0;
    for (uint32_t c = 0; c < l->channels_count; c++) {
        uint32_t owners = l->channels[c].found, from = n;
        for (; ours < s->found_count && s->found[ours].channel == c; ours++) {
            const struct tt_lookup_item *item = &s->found[ours].item;
            bool deleted = l->kind == TT_LOOKUP_VALUE && (item->flags & TT_LOOKUP_DELETE) != 0;
            if (!deleted) s->items[n++] = *item;
        }
        TT_ASSERT(theirs + owners <= l->items_count);
        memcpy(&s->items[n], &l->items[theirs], owners * sizeof *s->items);
        theirs += owners;
        n += owners;
        l->channels[c].found = n - from;
        l->channels[c].search_below = 0;
    }
    s->items_count = n;
}

enum tt_status tt_search_finish(struct tt_search *s)
{
    bool range = s->lookup->kind == TT_LOOKUP_RANGE;
    size_t count = s->found_count + (range ? 0 : (size_t)s->lookup->items_count);
    s->items = malloc((count + 1) * sizeof *s->items);
    if (s->items == NULL) return TT_ENOMEM;
    tt_search_count_bytes(s, (int64_t)(count * sizeof *s->items));
    if (range) {
        tt_search_cut_range(s);
        for (uint32_t i = 0; i < s->found_count; i++) s->items[i] = s->found[i].item;
        s->items_count = s->found_count;
    } else {
        tt_search_cut_newest(s);
        merge(s);
    }
    tt_search_count_bytes(s, -(int64_t)(s->found_max * sizeof *s->found));
    free(s->found);
    s->found = NULL;
    s->found_count = s->found_max = 0;
    return TT_OK;
}
