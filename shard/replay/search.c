#include "shard/replay/search.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "shard/replay/search_internal.h"

#define STEPS_MAX 64u /* views in one go */

/* ---- life ---- */

void tt_search_count_bytes(struct tt_search *s, int64_t bytes)
{
    s->bytes += (size_t)bytes;
    s->shard->replay->block_bytes += (size_t)bytes;
}

void tt_search_schedule(struct tt_search *s)
{
    if (tt_node_linked(&s->node)) return;
    tt_list_append(&s->shard->replay->searches, &s->node);
    s->shard->replay->woken = true;
}

static void leave_view(struct tt_search *s)
{
    struct tt_views *views = s->shard->replay->views;
    tt_view_index_cancel(&s->waiter);
    if (s->pinned) tt_view_index_put(views, s->view);
    s->pinned = false;
    tt_view_release(views, &s->view);
}

void tt_search_free(struct tt_search *s)
{
    TT_ASSERT(s->busy == 0);
    leave_view(s);
    if (tt_node_linked(&s->node)) tt_list_remove(&s->node);
    s->shard->replay->block_bytes -= s->bytes;
    free(s->wants);
    free(s->found);
    free(s->items);
    free(s->block);
    free(s);
}

void tt_search_end(struct tt_search *s, enum tt_status status)
{
    TT_ASSERT(s->busy == 0 && s->phase != TT_SEARCH_ENDED);
    leave_view(s);
    s->phase = TT_SEARCH_ENDED;
    s->status = status == TT_OK ? tt_search_finish(s) : status;
    if (s->lookup->kind == TT_LOOKUP_RANGE) {
        s->lookup->key = s->status == TT_OK ? s->limit : s->lookup->from;
        s->lookup->items_count = 0;
    }
}

bool tt_search_ended(const struct tt_search *s)
{
    return s->phase == TT_SEARCH_ENDED;
}

enum tt_status tt_search_status(const struct tt_search *s)
{
    TT_ASSERT(s->phase == TT_SEARCH_ENDED);
    return s->status;
}

const struct tt_lookup_item *tt_search_items(const struct tt_search *s, uint32_t *count)
{
    TT_ASSERT(s->phase == TT_SEARCH_ENDED);
    *count = s->items_count;
    return s->items;
}

void tt_search_close(struct tt_search **out)
{
    struct tt_search *s = *out;
    if (s == NULL) return;
    *out = NULL;
    s->closed = true;
    if (tt_node_linked(&s->node)) tt_list_remove(&s->node);
    tt_view_index_cancel(&s->waiter);
    if (s->busy == 0) tt_search_free(s);
}

/* ---- from view to view ---- */

/* RANGE: forwards, through segments with an index. */
static struct tt_view *next_range_view(struct tt_search *s)
{
    struct tt_views *views = s->shard->replay->views;
    struct tt_view *view = s->view == NULL
                               ? tt_views_at(views, s->lookup->partition, s->lookup->from)
                               : tt_views_after(views, s->view);
    if (view == NULL) {
        /* It has expired; or there is no newer one, which cannot be: one grows always. */
        s->limit = s->lookup->from;
        return NULL;
    }
    uint64_t first = view->segment.first_offset;
    if (first >= s->limit) return NULL;
    if (view->indexed && tt_view_sealed(view)) return view;
    s->limit = first > s->lookup->from ? first : s->lookup->from;
    return NULL;
}

/* LAST, VALUE: backwards, as long as something is missing. */
static struct tt_view *next_older_view(struct tt_search *s)
{
    uint64_t below = 0;
    for (uint32_t i = 0; i < s->wants_count; i++)
        if (s->wants[i].n != 0 && s->wants[i].below > below) below = s->wants[i].below;
    if (s->view != NULL && s->view->segment.first_offset < below)
        below = s->view->segment.first_offset;
    return tt_views_below(s->shard->replay->views, s->lookup->partition, below);
}

static void begin_view(struct tt_search *s)
{
    struct tt_view *view =
        s->lookup->kind == TT_LOOKUP_RANGE ? next_range_view(s) : next_older_view(s);
    if (view != NULL) tt_view_hold(view);
    leave_view(s);
    s->view = view;
    if (view == NULL) {
        tt_search_end(s, TT_OK);
        return;
    }
    s->phase = TT_SEARCH_VIEW;
    s->next = 0;
    s->bad = false;
}

void tt_search_view_done(struct tt_search *s)
{
    TT_ASSERT(s->busy == 0);
    if (s->lookup->kind == TT_LOOKUP_RANGE)
        tt_search_cut_range(s);
    else
        tt_search_cut_newest(s);
    begin_view(s);
}

/* What the index says cannot be relied on: the records themselves are read instead. */
static void index_bad(struct tt_search *s)
{
    tt_search_undo_view(s);
    if (s->pinned) tt_view_index_put(s->shard->replay->views, s->view);
    s->pinned = false;
    if (s->lookup->kind == TT_LOOKUP_RANGE) {
        uint64_t first = s->view->segment.first_offset;
        s->limit = first > s->lookup->from ? first : s->lookup->from;
        tt_search_end(s, TT_OK);
        return;
    }
    tt_search_cut_newest(s);
    s->phase = TT_SEARCH_SCAN;
    tt_search_scan(s);
}

static enum tt_status add_holes(struct tt_search *s)
{
    uint32_t count;
    const struct tt_index_hole *holes = tt_view_index_holes(s->view, &count);
    for (uint32_t i = 0; i < count; i++) {
        if (holes[i].end <= s->lookup->from || holes[i].first >= s->limit) continue;
        struct tt_lookup_item item = {.offset = holes[i].first,
                                      .place = holes[i].place,
                                      .hash = holes[i].end,
                                      .flags = TT_LOOKUP_HOLE};
        if (tt_search_add(s, UINT32_MAX, &item) != TT_OK) return TT_ENOMEM;
    }
    return TT_OK;
}

/* ---- lanes ---- */

static enum tt_status take_entries(struct tt_search *s, struct tt_search_lane *lane)
{
    struct tt_index_entry e;
    while (tt_index_search_take(&lane->index, &e)) {
        if (e.offset >= s->limit) continue;
        struct tt_lookup_item item = {.offset = e.offset,
                                      .place = e.place,
                                      .hash = s->wants[lane->channel].hash,
                                      .flags = e.flags};
        if (tt_search_add(s, s->wants[lane->channel].channel, &item) != TT_OK) return TT_ENOMEM;
    }
    if (s->lookup->kind == TT_LOOKUP_RANGE && s->found_count >= 2 * s->lookup->items_max)
        tt_search_cut_range(s);
    return TT_OK;
}

/* The lane's next read, or its end. */
static void step_lane(struct tt_search *s, struct tt_search_lane *lane)
{
    uint64_t position;
    uint32_t size;
    enum tt_status status = TT_END;
    if (!s->bad && s->status == TT_OK)
        status = tt_index_search_step(&lane->index, &position, &size);
    if (status == TT_MORE) {
        lane->read.position = position;
        lane->read.data = lane->buffer;
        lane->read.size = size;
        tt_view_index_read(s->view, &lane->read);
        return;
    }
    if (status != TT_END) {
        tt_view_index_bad(s->shard->replay->views, s->view, status);
        s->bad = true;
    }
    lane->busy = false;
    s->busy--;
}

static void lane_read(struct tt_file_read *read, int32_t result)
{
    struct tt_search_lane *lane = TT_CONTAINER_OF(read, struct tt_search_lane, read);
    struct tt_search *s = lane->search;
    if (s->closed) {
        s->busy--;
        if (s->busy == 0) tt_search_free(s);
        return;
    }
    if (result < 0 && !s->bad) {
        tt_view_index_bad(s->shard->replay->views, s->view, (enum tt_status)result);
        s->bad = true;
    }
    if (!s->bad && s->status == TT_OK) {
        tt_index_search_give(&lane->index, tt_bytes(lane->buffer, (size_t)result));
        s->status = take_entries(s, lane);
    }
    step_lane(s, lane);
    if (!lane->busy) tt_search_go_on(s);
}

static void begin_lane(struct tt_search *s, struct tt_search_lane *lane, uint32_t want)
{
    const struct tt_search_want *w = &s->wants[want];
    uint64_t first = s->view->segment.first_offset;
    if (w->n == 0 || w->below <= first || !tt_view_index_may_hold(s->view, w->hash)) return;
    switch (s->lookup->kind) {
    case TT_LOOKUP_RANGE:
        tt_index_search_range(&lane->index, s->header, w->hash, s->lookup->from, s->limit);
        break;
    case TT_LOOKUP_LAST:
        tt_index_search_last(&lane->index, s->header, w->hash, w->below, w->n);
        break;
    case TT_LOOKUP_VALUE: tt_index_search_value(&lane->index, s->header, w->hash, w->below); break;
    }
    lane->channel = want;
    lane->busy = true;
    s->busy++;
    step_lane(s, lane);
}

static struct tt_search_lane *free_lane(struct tt_search *s)
{
    for (uint32_t i = 0; i < s->lanes_count; i++)
        if (!s->lanes[i].busy) return &s->lanes[i];
    return NULL;
}

/* Puts channels to the lanes that are free. False: waits. */
static bool run_index(struct tt_search *s)
{
    uint32_t tests = 0;
    struct tt_search_lane *lane;
    while (!s->bad && s->status == TT_OK && s->next < s->wants_count &&
           (lane = free_lane(s)) != NULL) {
        if (tests++ == TT_SEARCH_FILTERS_MAX) {
            tt_search_schedule(s);
            return false;
        }
        begin_lane(s, lane, s->next++);
    }
    if (s->busy != 0) return false;
    if (s->status != TT_OK)
        tt_search_end(s, s->status);
    else if (s->bad)
        index_bad(s);
    else
        tt_search_view_done(s);
    return true;
}

static void index_ready(struct tt_index_waiter *waiter)
{
    tt_search_go_on(TT_CONTAINER_OF(waiter, struct tt_search, waiter));
}

/* False: waits. */
static bool run_view(struct tt_search *s)
{
    enum tt_status status =
        tt_view_index_get(s->shard->replay->views, s->view, &s->waiter, &s->header);
    if (status == TT_MORE) return false;
    if (status == TT_FULL) {
        tt_search_end(s, TT_ENOMEM);
    } else if (status == TT_OK) {
        s->pinned = true;
        s->phase = TT_SEARCH_INDEX;
        if (s->lookup->kind == TT_LOOKUP_RANGE) s->status = add_holes(s);
    } else {
        index_bad(s);
    }
    return true;
}

void tt_search_go_on(struct tt_search *s)
{
    for (unsigned steps = 0; steps < STEPS_MAX; steps++) {
        switch ((enum tt_search_phase)s->phase) {
        case TT_SEARCH_VIEW:
            if (!run_view(s)) return;
            break;
        case TT_SEARCH_INDEX:
            if (!run_index(s)) return;
            break;
        case TT_SEARCH_SCAN: return; /* search_scan.c's */
        case TT_SEARCH_ENDED: s->wake(s->owner); return;
        }
    }
    tt_search_schedule(s); /* enough for this turn */
}

void tt_search_run(struct tt_shard *shard)
{
    struct tt_list now;
    tt_list_init(&now);
    struct tt_node *node;
    while ((node = tt_list_take_first(&shard->replay->searches)) != NULL)
        tt_list_append(&now, node);
    while ((node = tt_list_take_first(&now)) != NULL)
        tt_search_go_on(TT_CONTAINER_OF(node, struct tt_search, node));
}

/* ---- opening ---- */

static int by_hash(const void *a, const void *b)
{
    uint64_t x = ((const struct tt_search_want *)a)->hash;
    uint64_t y = ((const struct tt_search_want *)b)->hash;
    return (x > y) - (x < y);
}

/* What is to be searched for; returns how many channels. */
static uint32_t fill_wants(const struct tt_lookup *l, struct tt_search_want *wants)
{
    uint32_t n = 0;
    for (uint32_t c = 0; c < l->channels_count; c++) {
        struct tt_search_want w = {
            .hash = l->channels[c].hash, .below = l->at, .n = 1, .channel = c};
        if (l->kind != TT_LOOKUP_RANGE) {
            w.below = l->channels[c].search_below;
            if (l->kind == TT_LOOKUP_LAST) w.n = l->last - l->channels[c].found;
            if (w.below == 0 || w.n == 0) continue;
        }
        if (wants != NULL) wants[n] = w;
        n++;
    }
    return n;
}

enum tt_status tt_search_open(struct tt_search **out, struct tt_shard *shard,
                              struct tt_lookup *lookup, void (*wake)(void *owner), void *owner)
{
    *out = NULL;
    TT_ASSERT(lookup->kind != TT_LOOKUP_RANGE ||
              (!lookup->by_pattern && lookup->channels_count <= TT_LOOKUP_RANGE_CHANNELS_MAX));
    uint32_t wants = fill_wants(lookup, NULL);
    if (wants == 0) return TT_IDLE;
    uint32_t lanes = wants < TT_SEARCH_LANES_MAX ? wants : TT_SEARCH_LANES_MAX;
    size_t bytes = sizeof(struct tt_search) + lanes * sizeof(struct tt_search_lane);
    size_t want_bytes = wants * sizeof(struct tt_search_want);
    if (!tt_replay_has_memory(shard, bytes + want_bytes)) return TT_FULL;
    struct tt_search *s = calloc(1, bytes);
    if (s == NULL) return TT_FULL;
    s->wants = malloc(want_bytes);
    if (s->wants == NULL) {
        free(s);
        return TT_FULL;
    }
    s->shard = shard;
    s->lookup = lookup;
    s->wake = wake;
    s->owner = owner;
    s->waiter.ready = index_ready;
    s->lanes_count = lanes;
    for (uint32_t i = 0; i < lanes; i++) {
        s->lanes[i].search = s;
        s->lanes[i].read.done = lane_read;
    }
    s->wants_count = fill_wants(lookup, s->wants);
    qsort(s->wants, wants, sizeof *s->wants, by_hash);
    s->limit = lookup->kind == TT_LOOKUP_RANGE ? lookup->at : UINT64_MAX;
    tt_search_count_bytes(s, (int64_t)(bytes + want_bytes));
    begin_view(s);
    tt_search_schedule(s);
    *out = s;
    return TT_OK;
}
