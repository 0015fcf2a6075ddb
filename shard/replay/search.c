#include "shard/replay/search.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "shard/replay/search_internal.h"

#define STEPS_MAX 64u /* rounds over the views in one go */

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

static void leave_context(struct tt_search *s, struct tt_search_context *c)
{
    TT_ASSERT(c->busy == 0);
    if (c->view == NULL) return;
    struct tt_views *views = s->shard->replay->views;
    tt_view_index_cancel(&c->waiter);
    if (c->header != NULL) tt_view_index_put(views, c->view);
    tt_view_release(views, &c->view);
    c->header = NULL;
    c->waiting = false;
}

static void leave_views(struct tt_search *s)
{
    for (uint32_t i = 0; i < TT_SEARCH_WINDOW_MAX; i++) leave_context(s, &s->contexts[i]);
    tt_view_release(s->shard->replay->views, &s->view);
}

void tt_search_free(struct tt_search *s)
{
    TT_ASSERT(s->busy == 0);
    leave_views(s);
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
    leave_views(s);
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
    for (uint32_t i = 0; i < TT_SEARCH_WINDOW_MAX; i++)
        tt_view_index_cancel(&s->contexts[i].waiter);
    if (s->busy == 0) tt_search_free(s);
}

/* ---- from view to view ---- */

/* Nothing from this offset on is found here. */
static void lower_limit(struct tt_search *s, uint64_t offset)
{
    if (offset < s->lookup->from) offset = s->lookup->from;
    if (offset < s->limit) s->limit = offset;
}

/* RANGE: forwards, through segments with an index. */
static struct tt_view *next_range_view(struct tt_search *s)
{
    struct tt_views *views = s->shard->replay->views;
    struct tt_view *view = s->view == NULL
                               ? tt_views_at(views, s->lookup->partition, s->lookup->from)
                               : tt_views_after(views, s->view);
    if (view != NULL && view->segment.first_offset >= s->limit) return NULL;
    if (view != NULL && view->indexed && tt_view_sealed(view)) return view;
    if (view != NULL)
        lower_limit(s, view->segment.first_offset);
    else /* it has expired, or there is no newer one here */
        lower_limit(s, s->view == NULL ? 0 : tt_view_end_offset(views, s->view));
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

/* The next segment to the context. False: there is none. */
static bool begin_view(struct tt_search *s, struct tt_search_context *c)
{
    struct tt_view *view =
        s->lookup->kind == TT_LOOKUP_RANGE ? next_range_view(s) : next_older_view(s);
    if (view == NULL) return false;
    tt_view_hold(view); /* for the context */
    tt_view_hold(view); /* as the one that was begun last */
    tt_view_release(s->shard->replay->views, &s->view);
    s->view = view;
    c->view = view;
    c->next = 0;
    c->bad = false;
    return true;
}

void tt_search_scan_done(struct tt_search *s)
{
    TT_ASSERT(s->busy == 0);
    tt_search_cut_newest(s);
    s->phase = TT_SEARCH_INDEX;
}

/* What the index says cannot be relied on: the records themselves are read instead. */
static void index_bad(struct tt_search *s, struct tt_search_context *c)
{
    uint64_t first = c->view->segment.first_offset;
    leave_context(s, c);
    if (s->lookup->kind == TT_LOOKUP_RANGE) {
        lower_limit(s, first); /* by whoever asks */
        return;
    }
    tt_search_undo_view(s);
    tt_search_cut_newest(s);
    s->phase = TT_SEARCH_SCAN;
    tt_search_scan(s);
}

static enum tt_status add_holes(struct tt_search *s, const struct tt_search_context *c)
{
    uint32_t count;
    const struct tt_index_hole *holes = tt_view_index_holes(c->view, &count);
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
    const struct tt_search_want *w = &s->wants[lane->want];
    struct tt_index_entry e;
    while (tt_index_search_take(&lane->index, &e)) {
        if (e.offset >= s->limit) continue;
        struct tt_lookup_item item = {
            .offset = e.offset, .place = e.place, .hash = w->hash, .flags = e.flags};
        if (tt_search_add(s, w->channel, &item) != TT_OK) return TT_ENOMEM;
    }
    if (s->lookup->kind == TT_LOOKUP_RANGE && s->found_count >= 2 * s->lookup->items_max)
        tt_search_cut_range(s);
    return TT_OK;
}

/* The lane's next read, or its end. */
static void step_lane(struct tt_search *s, struct tt_search_lane *lane)
{
    struct tt_search_context *c = lane->context;
    uint64_t position;
    uint32_t size;
    enum tt_status status = TT_END;
    if (!c->bad && s->status == TT_OK)
        status = tt_index_search_step(&lane->index, &position, &size);
    if (status == TT_MORE) {
        lane->read.position = position;
        lane->read.data = lane->buffer;
        lane->read.size = size;
        tt_view_index_read(c->view, &lane->read);
        return;
    }
    if (status != TT_END) {
        tt_view_index_bad(s->shard->replay->views, c->view, status);
        c->bad = true;
    }
    lane->context = NULL;
    c->busy--;
    s->busy--;
}

static void lane_read(struct tt_file_read *read, int32_t result)
{
    struct tt_search_lane *lane = TT_CONTAINER_OF(read, struct tt_search_lane, read);
    struct tt_search *s = lane->search;
    struct tt_search_context *c = lane->context;
    if (s->closed) {
        c->busy--;
        s->busy--;
        if (s->busy == 0) tt_search_free(s);
        return;
    }
    if (result < 0 && !c->bad) {
        tt_view_index_bad(s->shard->replay->views, c->view, (enum tt_status)result);
        c->bad = true;
    }
    if (!c->bad && s->status == TT_OK) {
        tt_index_search_give(&lane->index, tt_bytes(lane->buffer, (size_t)result));
        s->status = take_entries(s, lane);
    }
    step_lane(s, lane);
    if (lane->context == NULL) tt_search_go_on(s);
}

static void begin_lane(struct tt_search *s, struct tt_search_lane *lane,
                       struct tt_search_context *c, uint32_t want)
{
    const struct tt_search_want *w = &s->wants[want];
    uint64_t first = c->view->segment.first_offset;
    if (w->n == 0 || w->below <= first || !tt_view_index_may_hold(c->view, w->hash)) return;
    switch (s->lookup->kind) {
    case TT_LOOKUP_RANGE:
        tt_index_search_range(&lane->index, c->header, w->hash, s->lookup->from, s->limit);
        break;
    case TT_LOOKUP_LAST:
        tt_index_search_last(&lane->index, c->header, w->hash, w->below, w->n);
        break;
    case TT_LOOKUP_VALUE: tt_index_search_value(&lane->index, c->header, w->hash, w->below); break;
    }
    lane->want = want;
    lane->context = c;
    c->busy++;
    s->busy++;
    step_lane(s, lane);
}

static struct tt_search_lane *free_lane(struct tt_search *s)
{
    for (uint32_t i = 0; i < s->lanes_count; i++)
        if (s->lanes[i].context == NULL) return &s->lanes[i];
    return NULL;
}

/* ---- going on ---- */

static void index_ready(struct tt_index_waiter *waiter)
{
    struct tt_search_context *c = TT_CONTAINER_OF(waiter, struct tt_search_context, waiter);
    c->waiting = false;
    tt_search_go_on(c->search);
}

/* The context's header, if it can be had. */
static void want_header(struct tt_search *s, struct tt_search_context *c)
{
    const struct tt_index_header *header;
    enum tt_status status =
        tt_view_index_get(s->shard->replay->views, c->view, &c->waiter, &header);
    c->waiting = status == TT_MORE;
    c->bad = status != TT_OK && status != TT_MORE && status != TT_FULL;
    if (status == TT_FULL) s->status = TT_ENOMEM;
    if (status != TT_OK) return;
    c->header = header;
    if (s->lookup->kind == TT_LOOKUP_RANGE) s->status = add_holes(s, c);
}

/* Everything was asked of this segment. */
static void context_done(struct tt_search *s, struct tt_search_context *c)
{
    if (c->bad) {
        index_bad(s, c);
        return;
    }
    leave_context(s, c);
    if (s->lookup->kind != TT_LOOKUP_RANGE) {
        tt_search_cut_newest(s);
        return;
    }
    tt_search_cut_range(s);
    if (s->window < TT_SEARCH_WINDOW_MAX) s->window *= 2;
}

/* Goes on with one segment. True: it is done with. */
static bool run_context(struct tt_search *s, struct tt_search_context *c, uint32_t *tests)
{
    if (c->header == NULL && !c->waiting && !c->bad && s->status == TT_OK) want_header(s, c);
    struct tt_search_lane *lane;
    while (c->header != NULL && !c->bad && s->status == TT_OK && c->next < s->wants_count &&
           *tests < TT_SEARCH_FILTERS_MAX && (lane = free_lane(s)) != NULL) {
        ++*tests;
        begin_lane(s, lane, c, c->next++);
    }
    if (c->busy != 0 || s->status != TT_OK) return false;
    if (!c->bad && (c->header == NULL || c->next < s->wants_count)) return false;
    context_done(s, c);
    return true;
}

/* False: waits for something. */
static bool run_contexts(struct tt_search *s, uint32_t *tests)
{
    bool any = false, went_on = false;
    for (uint32_t i = 0; i < s->window && s->phase == TT_SEARCH_INDEX; i++) {
        struct tt_search_context *c = &s->contexts[i];
        if (c->view == NULL && s->status == TT_OK && !s->all_begun)
            s->all_begun = !begin_view(s, c) && s->lookup->kind == TT_LOOKUP_RANGE;
        if (c->view == NULL) continue;
        any = true;
        if (run_context(s, c, tests)) went_on = true;
    }
    if (s->phase != TT_SEARCH_INDEX) return true;
    if (s->busy == 0 && (s->status != TT_OK || !any)) {
        tt_search_end(s, s->status);
        return true;
    }
    return went_on;
}

void tt_search_go_on(struct tt_search *s)
{
    uint32_t tests = 0;
    for (unsigned steps = 0; steps < STEPS_MAX && tests < TT_SEARCH_FILTERS_MAX; steps++) {
        switch ((enum tt_search_phase)s->phase) {
        case TT_SEARCH_INDEX:
            if (!run_contexts(s, &tests) && tests < TT_SEARCH_FILTERS_MAX) return;
            break;
        case TT_SEARCH_SCAN: return; /* search_scan.c's */
        case TT_SEARCH_ENDED:
            if (tt_node_linked(&s->node)) tt_list_remove(&s->node);
            s->wake(s->owner);
            return;
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
    uint32_t lanes = lookup->kind == TT_LOOKUP_RANGE ? TT_SEARCH_LANES_MAX : wants;
    if (lanes > TT_SEARCH_LANES_MAX) lanes = TT_SEARCH_LANES_MAX;
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
    s->window = 1;
    s->lanes_count = lanes;
    for (uint32_t i = 0; i < TT_SEARCH_WINDOW_MAX; i++) {
        s->contexts[i].search = s;
        s->contexts[i].waiter.ready = index_ready;
    }
    for (uint32_t i = 0; i < lanes; i++) {
        s->lanes[i].search = s;
        s->lanes[i].read.done = lane_read;
    }
    s->wants_count = fill_wants(lookup, s->wants);
    qsort(s->wants, wants, sizeof *s->wants, by_hash);
    s->limit = lookup->kind == TT_LOOKUP_RANGE ? lookup->at : UINT64_MAX;
    tt_search_count_bytes(s, (int64_t)(bytes + want_bytes));
    tt_search_schedule(s);
    *out = s;
    return TT_OK;
}
