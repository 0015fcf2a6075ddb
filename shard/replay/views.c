#include "shard/replay/views.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "proto/base/pool.h"
#include "shard/replay/replay_internal.h"
#include "shard/replay/views_internal.h"
#include "store/log.h"

#define RETIRED_NS (TT_VIEW_RETIRED_MS * UINT64_C(1000000))
#define VIEWS_MAX  (1u << 20)

enum tt_status tt_views_create(struct tt_shard *shard, struct tt_views **out)
{
    struct tt_views *v = calloc(1, sizeof *v);
    *out = v;
    if (v == NULL) return TT_ENOMEM;
    v->shard = shard;
    tt_list_init(&v->retired);
    tt_list_init(&v->indexes);
    v->partitions = calloc(shard->world->partitions_count, sizeof *v->partitions);
    enum tt_status status = v->partitions == NULL ? TT_ENOMEM : TT_OK;
    if (status == TT_OK) status = tt_pool_init(&v->pool, sizeof(struct tt_view), 64, VIEWS_MAX);
    for (uint32_t p = 0; status == TT_OK && p < shard->world->partitions_count; p++) {
        const struct tt_segment_list *list = tt_log_segments(shard->world->partitions[p].log);
        for (uint32_t i = 0; i < list->count; i++) {
            struct tt_message_segment m = {.partition = p,
                                           .event = TT_LOG_SEGMENT_ADDED,
                                           .first_offset = list->items[i].first_offset,
                                           .base_place = list->items[i].base_place,
                                           .end_place = list->items[i].end_place,
                                           .taken_max_us = list->items[i].taken_max_us,
                                           .indexed = list->items[i].indexed};
            tt_views_message(v, &m);
        }
    }
    return status;
}

static void drop_view(struct tt_views *v, struct tt_view *view)
{
    if (tt_node_linked(&view->node)) tt_list_remove(&view->node);
    tt_view_index_drop(v, view);
    tt_read_file_put(&view->file);
    tt_pool_put(&v->pool, view->slot);
}

void tt_views_destroy(struct tt_views **out)
{
    struct tt_views *v = *out;
    if (v == NULL) return;
    for (uint32_t i = tt_pool_next(&v->pool, 0); i != TT_SLOT_NONE;
         i = tt_pool_next(&v->pool, i + 1))
        tt_view_index_free(v, tt_pool_at(&v->pool, i));
    if (v->partitions != NULL)
        for (uint32_t p = 0; p < v->shard->world->partitions_count; p++)
            free(v->partitions[p].items);
    free(v->partitions);
    tt_pool_deinit(&v->pool);
    free(v);
    *out = NULL;
}

/* ---- finding ---- */

/* How many of the partition's views begin at or below the offset. */
static uint32_t begun_at(const struct tt_partition_views *p, uint64_t offset)
{
    uint32_t low = 0, high = p->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (p->items[middle]->segment.first_offset <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_over(const struct tt_views *v, const struct tt_view *view)
{
    return v->shard->now_ns - view->retired_ns >= RETIRED_NS;
}

/* The retired one that holds it and may still be read; null: none. */
static struct tt_view *find_retired(const struct tt_views *v, uint32_t partition, uint64_t offset)
{
    struct tt_view *found = NULL;
    for (struct tt_node *n = tt_list_first(&v->retired); n != NULL;
         n = tt_list_next(&v->retired, n)) {
        struct tt_view *view = TT_CONTAINER_OF(n, struct tt_view, node);
        if (view->partition == partition && !is_over(v, view) &&
            view->segment.first_offset <= offset && tt_read_file_open(view->file) &&
            (found == NULL || found->segment.first_offset < view->segment.first_offset))
            found = view;
    }
    return found;
}

struct tt_view *tt_views_at(struct tt_views *v, uint32_t partition, uint64_t offset)
{
    const struct tt_partition_views *p = &v->partitions[partition];
    uint32_t n = begun_at(p, offset);
    if (n != 0) return p->items[n - 1];
    struct tt_view *view = find_retired(v, partition, offset);
    /* Nothing may be left out: it must hold the offset, not only begin before. */
    return view != NULL && offset < view->end_offset ? view : NULL;
}

struct tt_view *tt_views_at_place(struct tt_views *v, uint32_t partition, uint64_t place)
{
    const struct tt_partition_views *p = &v->partitions[partition];
    uint32_t low = 0, high = p->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (p->items[middle]->segment.base_place <= place)
            low = middle + 1;
        else
            high = middle;
    }
    if (low != 0) {
        struct tt_view *view = p->items[low - 1];
        return place < view->segment.end_place ? view : NULL;
    }
    for (struct tt_node *n = tt_list_first(&v->retired); n != NULL;
         n = tt_list_next(&v->retired, n)) {
        struct tt_view *view = TT_CONTAINER_OF(n, struct tt_view, node);
        if (view->partition == partition && !is_over(v, view) && tt_read_file_open(view->file) &&
            view->segment.base_place <= place && place < view->segment.end_place)
            return view;
    }
    return NULL;
}

struct tt_view *tt_views_after(struct tt_views *v, const struct tt_view *view)
{
    const struct tt_partition_views *p = &v->partitions[view->partition];
    if (view->retired) return tt_views_at(v, view->partition, view->end_offset);
    uint32_t n = begun_at(p, view->segment.first_offset);
    return n < p->count ? p->items[n] : NULL;
}

struct tt_view *tt_views_below(struct tt_views *v, uint32_t partition, uint64_t offset)
{
    if (offset == 0) return NULL;
    const struct tt_partition_views *p = &v->partitions[partition];
    uint32_t n = begun_at(p, offset - 1);
    return n == 0 ? NULL : p->items[n - 1];
}

uint64_t tt_view_end_offset(struct tt_views *v, const struct tt_view *view)
{
    if (view->retired) return view->end_offset;
    const struct tt_view *after = tt_views_after(v, view);
    return after == NULL ? UINT64_MAX : after->segment.first_offset;
}

void tt_view_hold(struct tt_view *view)
{
    view->holds++;
}

void tt_view_release(struct tt_views *v, struct tt_view **view)
{
    if (*view == NULL) return;
    TT_ASSERT((*view)->holds > 0);
    (*view)->holds--;
    if ((*view)->retired && (*view)->holds == 0 &&
        (is_over(v, *view) || !tt_read_file_open((*view)->file)))
        drop_view(v, *view);
    *view = NULL;
}

bool tt_view_read(struct tt_views *v, struct tt_view *view, struct tt_file_read *read)
{
    TT_ASSERT(view->holds > 0);
    if (view->file == NULL) {
        view->file = tt_read_file_get(v->shard->replay->files, TT_READ_SEGMENT, view->partition,
                                      view->segment.first_offset);
        if (view->file == NULL) return false;
    }
    TT_ASSERT(read->position >= view->segment.base_place);
    read->position -= view->segment.base_place;
    tt_files_read(view->file, read);
    return true;
}

/* ---- what the owner tells ---- */

static void add(struct tt_views *v, const struct tt_message_segment *m)
{
    struct tt_partition_views *p = &v->partitions[m->partition];
    if (p->count == p->max) {
        uint32_t max = p->max == 0 ? 16 : p->max * 2;
        struct tt_view **items = realloc(p->items, max * sizeof(struct tt_view *));
        if (items != NULL) {
            p->items = items;
            p->max = max;
        }
    }
    uint32_t slot;
    struct tt_view *view = p->count == p->max ? NULL : tt_pool_get(&v->pool, &slot);
    if (view == NULL) {
        tt_diag_write(v->shard->diag, TT_DIAG_ERROR, NULL, "segment_memory",
                      "out of memory: a segment of partition %u cannot be read here", m->partition);
        return;
    }
    TT_ASSERT(p->count == 0 || p->items[p->count - 1]->segment.first_offset < m->first_offset);
    view->slot = slot;
    view->partition = m->partition;
    view->segment.first_offset = m->first_offset;
    view->segment.base_place = m->base_place;
    view->segment.end_place = m->end_place;
    view->segment.taken_max_us = m->taken_max_us;
    view->indexed = m->indexed;
    p->items[p->count++] = view;
}

static void retire(struct tt_views *v, struct tt_partition_views *p, uint32_t index)
{
    struct tt_view *view = p->items[index];
    view->end_offset = tt_view_end_offset(v, view);
    memmove(&p->items[index], &p->items[index + 1],
            (p->count - index - 1) * sizeof(struct tt_view *));
    p->count--;
    view->retired = true;
    view->retired_ns = v->shard->now_ns;
    if (view->file != NULL && tt_read_file_open(view->file)) {
        tt_list_append(&v->retired, &view->node);
        tt_replay_tidy_soon(v->shard);
    } else if (view->holds == 0) {
        drop_view(v, view);
    }
}

void tt_views_message(struct tt_views *v, const struct tt_message_segment *m)
{
    struct tt_partition_views *p = &v->partitions[m->partition];
    if (m->event == TT_LOG_SEGMENT_ADDED) {
        add(v, m);
        return;
    }
    uint32_t n = begun_at(p, m->first_offset);
    struct tt_view *view = n == 0 ? NULL : p->items[n - 1];
    if (view == NULL || view->segment.first_offset != m->first_offset) return; /* no memory then */
    switch ((enum tt_log_segment_event)m->event) {
    case TT_LOG_SEGMENT_SEALED:
        view->segment.end_place = m->end_place;
        view->segment.taken_max_us = m->taken_max_us;
        return;
    case TT_LOG_SEGMENT_INDEXED:
        tt_view_index_drop(v, view); /* of one that was damaged and was made anew */
        view->indexed = view->index == NULL;
        return;
    case TT_LOG_SEGMENT_RETIRED: retire(v, p, n - 1); return;
    case TT_LOG_SEGMENT_ADDED: break;
    }
    TT_UNREACHABLE();
}

bool tt_views_tidy(struct tt_views *v)
{
    struct tt_node *next;
    for (struct tt_node *n = tt_list_first(&v->retired); n != NULL; n = next) {
        next = tt_list_next(&v->retired, n);
        struct tt_view *view = TT_CONTAINER_OF(n, struct tt_view, node);
        if (view->holds == 0 && (is_over(v, view) || !tt_read_file_open(view->file)))
            drop_view(v, view);
    }
    return !tt_list_empty(&v->retired);
}
