/* Asking for a snapshot's channels, batch by batch, and what becomes of the answers. */
#include <stdlib.h>

#include "proto/base/assert.h"
#include "shard/client/sse.h"
#include "shard/replay/snapshot_internal.h"

#define TRIES_MAX 8u /* of one batch whose segments are retired while it is searched */

/* ---- memory of a batch ---- */

static void count_bytes(struct tt_snapshot *s, size_t more, size_t less)
{
    struct tt_replay *r = s->shard->replay;
    s->counted += more - less;
    r->snapshot_bytes += more - less;
    r->block_bytes += more - less;
}

/* Memory of a batch. */
static void *take(struct tt_snapshot *s, size_t count, size_t size)
{
    void *p = malloc(count * size == 0 ? 1 : count * size);
    if (p == NULL) return NULL;
    count_bytes(s, count * size, 0);
    return p;
}

static void give_back(struct tt_snapshot *s, void *p, size_t count, size_t size)
{
    if (p == NULL) return;
    TT_ASSERT(s->counted >= count * size);
    count_bytes(s, 0, count * size);
    free(p);
}

void tt_snapshot_drop_question(struct tt_snapshot *s)
{
    struct tt_lookup *l = &s->request.lookup;
    give_back(s, l->channels, l->channels_max, sizeof *l->channels);
    give_back(s, l->items, l->items_max, sizeof *l->items);
    l->channels = NULL;
    l->items = NULL;
}

void tt_snapshot_drop_items(struct tt_snapshot *s)
{
    give_back(s, s->items, s->items_max, sizeof *s->items);
    s->items = NULL;
    s->items_count = s->items_max = s->items_given = s->items_opened = 0;
}

/* ---- asking ---- */

static void answered(struct tt_lookup_request *request)
{
    struct tt_snapshot *s = request->context;
    s->step = TT_SNAPSHOT_SEARCH;
    if (s->client == NULL)
        tt_snapshot_free(s);
    else
        tt_snapshot_wake(s);
}

static bool is_in_partition(const struct tt_snapshot *s, const struct tt_snapshot_ask *a)
{
    return a->pattern.kind != TT_PATTERN_EXACT ||
           tt_topology_may_hold(&s->shard->topology, tt_snapshot_partition(s), a->pattern.text,
                                a->hash);
}

/* Exact channels of the partition from asks[first] on, at most `max`; hashes into channels[] (null:
 * counted alone). *next: the first that is not among them. */
static uint32_t exact_asks(const struct tt_snapshot *s, uint32_t first, uint32_t max,
                           struct tt_lookup_channel *channels, uint32_t *next)
{
    uint32_t n = 0;
    uint32_t i = first;
    for (; i < s->asks_count && s->asks[i].pattern.kind == TT_PATTERN_EXACT && n < max; i++) {
        if (!is_in_partition(s, &s->asks[i])) continue;
        if (channels != NULL) channels[n] = (struct tt_lookup_channel){.hash = s->asks[i].hash};
        n++;
    }
    *next = i;
    return n;
}

/* Room for what all questions of this partition may find. */
static uint32_t items_room(const struct tt_snapshot *s, uint32_t channels, bool by_pattern)
{
    if (s->last == 0) return channels;
    uint32_t next;
    uint64_t all = (uint64_t)exact_asks(s, 0, UINT32_MAX, NULL, &next) * s->last;
    uint32_t most = 2 * s->limit;
    return by_pattern || next != s->asks_count || all > most ? most : (uint32_t)all;
}

/* Of all lists: a quarter, so that those that have an answer can read what it names. */
static size_t lists_max(const struct tt_shard *shard)
{
    return shard->replay_frames.bytes_max / 4;
}

static enum tt_status prepare(struct tt_snapshot *s, uint32_t channels, uint32_t each,
                              bool by_pattern)
{
    struct tt_shard *shard = s->shard;
    struct tt_lookup *l = &s->request.lookup;
    uint32_t room = s->items == NULL ? items_room(s, channels, by_pattern) : 0;
    size_t need = channels * sizeof *l->channels +
                  ((size_t)channels * each + room) * sizeof(struct tt_lookup_item);
    /* Without room still one at a time, so that everybody gets on. */
    size_t others = shard->replay->snapshot_bytes - s->counted;
    bool room_for_it = others + need <= lists_max(shard) && tt_replay_has_memory(shard, need);
    if (!room_for_it && others != 0) {
        shard->replay->starved = true;
        return TT_FULL;
    }
    *l = (struct tt_lookup){.kind = s->last == 0 ? TT_LOOKUP_VALUE : TT_LOOKUP_LAST,
                            .partition = tt_snapshot_partition(s),
                            .last = s->last,
                            .at = s->client->catchup->parts[s->part].pos,
                            .channels_max = channels,
                            .items_max = channels * each};
    if (room != 0) {
        s->items = take(s, room, sizeof *s->items);
        if (s->items == NULL) return TT_FULL;
        s->items_max = room;
    }
    l->channels = take(s, l->channels_max, sizeof *l->channels);
    l->items = take(s, l->items_max, sizeof *l->items);
    if (l->channels != NULL && l->items != NULL) return TT_OK;
    if (l->channels == NULL) l->channels_max = 0;
    if (l->items == NULL) l->items_max = 0;
    tt_snapshot_drop_question(s);
    return TT_FULL;
}

static void send(struct tt_snapshot *s)
{
    s->request.done = answered;
    s->request.context = s;
    s->step = TT_SNAPSHOT_ASKED;
    s->waiting = true;
    tt_lookup_ask(s->shard, &s->request);
}

/* Channels of one question for values. What it finds is kept until the client has taken it, so the
 * less is left of what lists may have, the shorter they are. */
static uint32_t batch_channels(const struct tt_snapshot *s)
{
    size_t max = lists_max(s->shard), others = s->shard->replay->snapshot_bytes - s->counted;
    size_t left = others < max ? max - others : 0;
    size_t each = sizeof(struct tt_lookup_channel) + 2 * sizeof(struct tt_lookup_item);
    size_t n = left / TT_SNAPSHOT_LIST_PART / each;
    if (n > TT_SNAPSHOT_BATCH_CHANNELS) return TT_SNAPSHOT_BATCH_CHANNELS;
    return n < TT_SNAPSHOT_BATCH_LEAST ? TT_SNAPSHOT_BATCH_LEAST : (uint32_t)n;
}

/* Asks for the batch that begins at asks[ask], key. */
static void ask_batch(struct tt_snapshot *s)
{
    struct tt_lookup *l = &s->request.lookup;
    const struct tt_snapshot_ask *a = &s->asks[s->ask];
    bool by_pattern = a->pattern.kind != TT_PATTERN_EXACT;
    uint32_t each = s->last == 0 ? 1 : s->last;
    uint32_t max = s->last == 0 ? batch_channels(s) : TT_SNAPSHOT_BATCH_EVENTS / s->last;
    uint32_t next = s->ask + 1;
    if (!by_pattern) max = exact_asks(s, s->ask, max, NULL, &next);
    if (prepare(s, max, each, by_pattern) != TT_OK) return; /* in a later turn */
    s->next_ask = next;
    l->key = s->key;
    l->by_pattern = by_pattern;
    if (by_pattern)
        l->pattern = a->pattern;
    else
        l->channels_count = exact_asks(s, s->ask, max, l->channels, &next);
    send(s);
}

/* What was gone, once more. */
static bool ask_again(struct tt_snapshot *s)
{
    if (prepare(s, s->gone_count, 1, false) != TT_OK) return false;
    struct tt_lookup *l = &s->request.lookup;
    for (uint32_t i = 0; i < s->gone_count; i++)
        l->channels[i] = (struct tt_lookup_channel){.hash = s->gone[i]};
    l->channels_count = s->gone_count;
    free(s->gone);
    s->gone = NULL;
    s->gone_count = 0;
    s->again = true;
    send(s);
    return true;
}

static void next_partition(struct tt_snapshot *s)
{
    tt_snapshot_drop_items(s); /* the next one may need more room */
    s->part++;
    s->ask = 0;
    s->key = 0;
    s->skipped = s->cutoff = 0;
}

static void sort_items(struct tt_snapshot *s);

void tt_snapshot_ask(struct tt_snapshot *s)
{
    if (s->gone_count != 0) {
        ask_again(s);
        return;
    }
    const struct tt_catchup *c = s->client->catchup;
    while (s->part < c->parts_count) {
        bool any = c->parts[s->part].pos > 0;
        while (any && s->ask < s->asks_count && !is_in_partition(s, &s->asks[s->ask])) s->ask++;
        if (any && s->ask < s->asks_count) {
            ask_batch(s);
            return;
        }
        if (s->items_count != 0) { /* last: the partition is complete */
            sort_items(s);
            s->step = TT_SNAPSHOT_READ;
            return;
        }
        next_partition(s);
    }
    s->step = TT_SNAPSHOT_END;
}

/* ---- the answer ---- */

static int by_offset(const void *a, const void *b)
{
    const struct tt_lookup_item *x = a;
    const struct tt_lookup_item *y = b;
    return x->offset < y->offset ? -1 : x->offset > y->offset ? 1 : 0;
}

static int by_place(const void *a, const void *b)
{
    const struct tt_lookup_item *x = a;
    const struct tt_lookup_item *y = b;
    return x->place < y->place ? -1 : x->place > y->place ? 1 : 0;
}

static void skip(struct tt_snapshot *s, uint64_t first, uint64_t last, uint64_t count)
{
    if (s->skipped == 0 || first < s->skipped_first) s->skipped_first = first;
    if (s->skipped == 0 || last > s->skipped_last) s->skipped_last = last;
    s->skipped += count;
}

/* last: keeps the newest `limit`, in order. */
static void prune(struct tt_snapshot *s)
{
    qsort(s->items, s->items_count, sizeof *s->items, by_offset);
    if (s->items_count <= s->limit) return;
    uint32_t old = s->items_count - s->limit;
    skip(s, s->items[0].offset, s->items[old - 1].offset, old);
    memmove(s->items, s->items + old, s->limit * sizeof *s->items);
    s->items_count = s->limit;
    s->cutoff = s->items[0].offset;
}

/* A slow client keeps what it needs, not what there might have been. */
static void shrink_items(struct tt_snapshot *s)
{
    if (s->items_count == 0 || s->items_count == s->items_max) return;
    void *items = realloc(s->items, s->items_count * sizeof *s->items);
    if (items == NULL) return;
    count_bytes(s, 0, (s->items_max - s->items_count) * sizeof *s->items);
    s->items = items;
    s->items_max = s->items_count;
}

/* In the order in which they are read and sent. */
static void sort_items(struct tt_snapshot *s)
{
    if (s->last != 0)
        prune(s);
    else if (s->items_count != 0)
        qsort(s->items, s->items_count, sizeof *s->items, by_place);
    shrink_items(s);
    if (s->skipped == 0) return;
    const struct tt_topology *t = &s->shard->topology;
    uint32_t p = tt_snapshot_partition(s);
    struct tt_position from = tt_topology_position(t, p, s->skipped_first);
    struct tt_position to = tt_topology_position(t, p, s->skipped_last);
    struct tt_frame *f = tt_sse_gap_frame(s->client, "limit", s->skipped, &from, &to);
    s->skipped = 0;
    if (f == NULL) {
        tt_client_abort(s->client, TT_CLOSE_INTERNAL);
        return;
    }
    f->kind = TT_FRAME_CONTROL; /* it moves no position */
    tt_metric_add(&s->shard->metrics.gaps_limit, 1);
    tt_client_queue(s->client, f);
}

/* Takes over what was found for the batch. */
static void collect(struct tt_snapshot *s, const struct tt_lookup_item *found, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct tt_lookup_item *item = &found[i];
        TT_ASSERT(item->offset < s->request.lookup.at);
        if (s->last == 0 && (item->flags & TT_LOOKUP_DELETE)) continue;
        if (item->offset < s->cutoff) {
            skip(s, item->offset, item->offset, 1);
            continue;
        }
        if (s->items_count == s->items_max && s->last != 0) prune(s);
        if (s->items_count == s->items_max)
            break; /* values: more channels of one hash than asked */
        s->items[s->items_count++] = *item;
    }
    s->tries = 0;
    if (!s->again) {
        uint64_t key = s->request.lookup.key;
        s->key = key == TT_LOOKUP_END ? 0 : key;
        if (key == TT_LOOKUP_END) s->ask = s->next_ask;
    }
    tt_snapshot_drop_question(s);
    s->step = TT_SNAPSHOT_ASK;
    if (s->last == 0) {
        sort_items(s);
        s->step = TT_SNAPSHOT_READ;
    }
}

void tt_snapshot_search(struct tt_snapshot *s)
{
    struct tt_lookup *l = &s->request.lookup;
    enum tt_status status = tt_search_open(&s->search, s->shard, l, tt_snapshot_wake, s);
    if (status == TT_OK)
        s->step = TT_SNAPSHOT_SEARCHING;
    else if (status == TT_IDLE)
        collect(s, l->items, l->items_count);
}

void tt_snapshot_searched(struct tt_snapshot *s)
{
    if (!tt_search_ended(s->search)) {
        s->waiting = true;
        return;
    }
    if (tt_search_status(s->search) == TT_OK) {
        uint32_t count;
        const struct tt_lookup_item *items = tt_search_items(s->search, &count);
        collect(s, items, count);
        tt_search_close(&s->search);
        return;
    }
    /* Segments were retired meanwhile: the owner knows more by now. */
    tt_search_close(&s->search);
    if (++s->tries > TRIES_MAX) {
        tt_client_abort(s->client, TT_CLOSE_INTERNAL);
        return;
    }
    struct tt_lookup *l = &s->request.lookup;
    l->key = s->again ? 0 : s->key;
    l->items_count = 0;
    if (l->by_pattern) l->channels_count = 0;
    for (uint32_t i = 0; i < l->channels_count; i++)
        l->channels[i] = (struct tt_lookup_channel){.hash = l->channels[i].hash};
    send(s);
}
