#include "shard/replay/snapshot.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "shard/client/sse.h"
#include "shard/fanout/fanout.h"
#include "shard/replay/catchup.h"
#include "shard/replay/lookup.h"
#include "shard/replay/places.h"
#include "shard/replay/replay_internal.h"
#include "shard/replay/search.h"
#include "shard/shard_internal.h"

#define TRIES_MAX 8u /* of one batch whose segments are retired while it is searched */

enum step {
    STEP_ASK = 0,   /* the next batch is to be asked for */
    STEP_ASKED,     /* it is the owner's */
    STEP_SEARCH,    /* answered; what the owner does not know is to be searched */
    STEP_SEARCHING, /* it is being searched */
    STEP_READ,      /* items[] are being given */
    STEP_END,       /* all are queued; when they are taken it is over */
};

struct ask {
    struct tt_pattern pattern; /* text: in the snapshot's own memory */
    uint64_t hash;             /* of an exact one */
};

struct tt_snapshot {
    struct tt_client *client; /* null: forgotten; done() frees it */
    struct tt_shard *shard;
    struct tt_lookup_request request;
    struct tt_search *search;
    struct tt_places *places;
    struct tt_lookup_item *items; /* of the batch; with last: what the partition has so far */
    uint32_t items_count;
    uint32_t items_max;
    uint64_t *gone; /* hashes of values whose places were gone; null: none */
    uint32_t gone_count;
    size_t counted; /* in block_bytes */
    uint32_t last;
    uint32_t limit; /* last: most events of a partition */
    uint8_t step;   /* enum step */
    bool waiting;   /* for an answer, a search or a read */
    bool again;     /* the batch is what was gone the first time */
    uint8_t tries;
    uint32_t given_ms; /* low bits of the shard's clock when something was queued last */
    uint32_t part;     /* of client->catchup */
    uint32_t ask;      /* the batch begins with this one */
    uint32_t next_ask; /* the one behind it does with this one */
    uint64_t key;      /* of the batch, within a pattern */
    uint64_t events;   /* queued so far */
    /* last: events of the partition that are left out because there are newer ones enough */
    uint64_t skipped, skipped_first, skipped_last;
    uint64_t cutoff; /* those below are left out */
    uint32_t asks_count;
    uint32_t except_count;
    struct tt_pattern *except;
    struct ask asks[]; /* exact ones first; behind them except, and all texts */
};

/* ---- life ---- */

static bool is_covered(const struct tt_pattern *patterns, uint32_t count, uint32_t i)
{
    for (uint32_t j = 0; j < count; j++) {
        if (j == i || !tt_pattern_covers(&patterns[j], &patterns[i])) continue;
        if (!tt_pattern_covers(&patterns[i], &patterns[j]) || j < i) return true;
    }
    return false;
}

static void add_asks(struct tt_snapshot *s, const struct tt_snapshot_options *o, bool exact,
                     uint8_t **text)
{
    for (uint32_t i = 0; i < o->patterns_count; i++) {
        const struct tt_pattern *p = &o->patterns[i];
        if ((p->kind == TT_PATTERN_EXACT) != exact) continue;
        if (is_covered(o->patterns, o->patterns_count, i)) continue;
        struct ask *a = &s->asks[s->asks_count++];
        if (p->text.size != 0) memcpy(*text, p->text.data, p->text.size);
        a->pattern = (struct tt_pattern){p->kind, tt_bytes(*text, p->text.size)};
        if (exact) a->hash = tt_hash(&s->shard->world->hash_key, p->text);
        *text += p->text.size;
    }
}

enum tt_status tt_snapshot_create(struct tt_client *client, const struct tt_snapshot_options *o)
{
    struct tt_catchup *c = client->catchup;
    TT_ASSERT(c != NULL && c->snapshot == NULL);
    size_t size = sizeof(struct tt_snapshot) + o->patterns_count * sizeof(struct ask) +
                  o->except_count * sizeof(struct tt_pattern);
    size_t texts = 0;
    for (uint32_t i = 0; i < o->patterns_count; i++) texts += o->patterns[i].text.size;
    for (uint32_t i = 0; i < o->except_count; i++) texts += o->except[i].text.size;
    struct tt_snapshot *s = calloc(1, size + texts);
    if (s == NULL) return TT_ENOMEM;
    s->client = client;
    s->shard = client->shard;
    s->last = o->last;
    uint64_t most = client->shard->options.max_replay;
    s->limit = most != 0 && most < TT_SNAPSHOT_LAST_MAX ? (uint32_t)most : TT_SNAPSHOT_LAST_MAX;
    uint8_t *text = (uint8_t *)s + size;
    add_asks(s, o, true, &text);
    add_asks(s, o, false, &text);
    s->except = (struct tt_pattern *)(void *)(s->asks + o->patterns_count);
    s->except_count = o->except_count;
    for (uint32_t i = 0; i < o->except_count; i++) {
        const struct tt_pattern *p = &o->except[i];
        if (p->text.size != 0) memcpy(text, p->text.data, p->text.size);
        s->except[i] = (struct tt_pattern){p->kind, tt_bytes(text, p->text.size)};
        text += p->text.size;
    }
    c->snapshot = s;
    tt_catchup_hold(client);
    tt_metric_add(&client->shard->metrics.snapshots, 1);
    tt_catchup_wake(client);
    return TT_OK;
}

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
    void *p = malloc(count * size);
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

static void drop_question(struct tt_snapshot *s)
{
    struct tt_lookup *l = &s->request.lookup;
    give_back(s, l->channels, l->channels_max, sizeof *l->channels);
    give_back(s, l->items, l->items_max, sizeof *l->items);
    l->channels = NULL;
    l->items = NULL;
}

static void drop_items(struct tt_snapshot *s)
{
    give_back(s, s->items, s->items_max, sizeof *s->items);
    s->items = NULL;
    s->items_count = s->items_max = 0;
}

static void snapshot_free(struct tt_snapshot *s)
{
    drop_question(s);
    drop_items(s);
    TT_ASSERT(s->counted == 0);
    free(s->gone);
    free(s);
}

void tt_snapshot_destroy(struct tt_snapshot **out)
{
    struct tt_snapshot *s = *out;
    if (s == NULL) return;
    *out = NULL;
    s->client = NULL;
    tt_search_close(&s->search);
    tt_places_close(&s->places);
    if (s->step != STEP_ASKED) snapshot_free(s);
}

static void wake(void *owner)
{
    struct tt_snapshot *s = owner;
    s->waiting = false;
    tt_catchup_wake(s->client);
}

static void answered(struct tt_lookup_request *request)
{
    struct tt_snapshot *s = request->context;
    s->step = STEP_SEARCH;
    if (s->client == NULL)
        snapshot_free(s);
    else
        wake(s);
}

/* ---- asking ---- */

static uint32_t partition_of(const struct tt_snapshot *s)
{
    return tt_client_full(s->client) ? s->part : s->client->partition;
}

static bool is_in_partition(const struct tt_snapshot *s, const struct ask *a)
{
    return a->pattern.kind != TT_PATTERN_EXACT ||
           a->hash % s->shard->world->partitions_count == partition_of(s);
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

static enum tt_status prepare(struct tt_snapshot *s, uint32_t channels, uint32_t each,
                              bool by_pattern)
{
    struct tt_shard *shard = s->shard;
    struct tt_lookup *l = &s->request.lookup;
    uint32_t room = s->items == NULL ? items_room(s, channels, by_pattern) : 0;
    size_t need = channels * sizeof *l->channels +
                  ((size_t)channels * each + room) * sizeof(struct tt_lookup_item);
    /* Without room still one at a time, so that everybody gets on. */
    if (!tt_replay_has_memory(shard, need) && shard->replay->snapshot_bytes != s->counted) {
        shard->replay->starved = true;
        return TT_FULL;
    }
    *l = (struct tt_lookup){.kind = s->last == 0 ? TT_LOOKUP_VALUE : TT_LOOKUP_LAST,
                            .partition = partition_of(s),
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
    drop_question(s);
    return TT_FULL;
}

static void send(struct tt_snapshot *s)
{
    s->request.done = answered;
    s->request.context = s;
    s->step = STEP_ASKED;
    s->waiting = true;
    tt_lookup_ask(s->shard, &s->request);
}

/* Asks for the batch that begins at asks[ask], key. */
static void ask_batch(struct tt_snapshot *s)
{
    struct tt_lookup *l = &s->request.lookup;
    const struct ask *a = &s->asks[s->ask];
    bool by_pattern = a->pattern.kind != TT_PATTERN_EXACT;
    uint32_t each = s->last == 0 ? 1 : s->last;
    uint32_t max = s->last == 0 ? TT_SNAPSHOT_BATCH_CHANNELS : TT_SNAPSHOT_BATCH_EVENTS / s->last;
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
    drop_items(s); /* the next one may need more room */
    s->part++;
    s->ask = 0;
    s->key = 0;
    s->skipped = s->cutoff = 0;
}

static void sort_items(struct tt_snapshot *s);

static void ask(struct tt_snapshot *s)
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
            s->step = STEP_READ;
            return;
        }
        next_partition(s);
    }
    s->step = STEP_END;
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
    const struct tt_world *world = s->shard->world;
    struct tt_position from = {world->history, partition_of(s), s->skipped_first};
    struct tt_position to = {world->history, partition_of(s), s->skipped_last};
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
    drop_question(s);
    s->step = STEP_ASK;
    if (s->last == 0) {
        sort_items(s);
        s->step = STEP_READ;
    }
}

static void search(struct tt_snapshot *s)
{
    struct tt_lookup *l = &s->request.lookup;
    enum tt_status status = tt_search_open(&s->search, s->shard, l, wake, s);
    if (status == TT_OK)
        s->step = STEP_SEARCHING;
    else if (status == TT_IDLE)
        collect(s, l->items, l->items_count);
}

static void searched(struct tt_snapshot *s)
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

/* ---- reading ---- */

static bool has_room(const struct tt_client *client)
{
    return client->outbox.bytes < TT_PULL_BYTES_MAX && client->outbox.count < 4096;
}

static bool is_wanted(const struct tt_snapshot *s, const struct tt_event *event, uint64_t hash)
{
    if (!tt_subscription_matches(s->client->subscription, event->channel, (uint32_t)hash))
        return false; /* two channels of one hash */
    for (uint32_t i = 0; i < s->except_count; i++)
        if (tt_pattern_match(&s->except[i], event->channel)) return false;
    return tt_client_wants(s->client, event->type);
}

static void give(struct tt_snapshot *s, const struct tt_lookup_item *item,
                 const struct tt_record *record)
{
    if (record->class != TT_RECORD_EVENT || !is_wanted(s, &record->event, item->hash)) return;
    struct tt_shard *shard = s->shard;
    struct tt_placed_event placed = {
        .event = record->event,
        .position = {shard->world->history, partition_of(s), record->offset}};
    /* Full without a vector: no id line. */
    struct tt_frame *f = tt_fanout_encode(shard, &shard->replay_frames, &placed,
                                          s->client->form | TT_FORM_FULL, NULL);
    if (f == NULL) {
        tt_client_abort(s->client, TT_CLOSE_INTERNAL);
        return;
    }
    f->kind = TT_FRAME_VALUE;
    s->given_ms = (uint32_t)(shard->now_ns / 1000000) | 1; /* 0: nothing was */
    s->events++;
    tt_metric_add(&shard->metrics.snapshot_events, 1);
    tt_client_queue(s->client, f);
}

/* Only a value may have been moved: it is asked for again. */
static void gone(struct tt_snapshot *s, const struct tt_lookup_item *item)
{
    if (s->last != 0 || s->again) return;
    if (s->gone == NULL) s->gone = malloc(s->items_count * sizeof *s->gone);
    if (s->gone == NULL)
        tt_client_abort(s->client, TT_CLOSE_INTERNAL);
    else
        s->gone[s->gone_count++] = item->hash;
}

static size_t read_items(struct tt_snapshot *s, size_t budget)
{
    struct tt_client *client = s->client;
    size_t used = 1;
    if (s->places == NULL && s->items_count != 0 &&
        tt_places_open(&s->places, s->shard, partition_of(s), s->items, s->items_count, wake, s) !=
            TT_OK)
        return 0; /* in a later turn */
    enum tt_status status = s->places == NULL ? TT_END : TT_OK;
    while (status != TT_END && used < budget && has_room(client) &&
           client->state == TT_CLIENT_SNAPSHOT) {
        uint32_t index;
        struct tt_record record;
        status = tt_places_next(s->places, &index, &record);
        if (status == TT_OK) {
            used += record.length;
            give(s, &s->items[index], &record);
        } else if (status == TT_ENOENT) {
            used += sizeof record;
            gone(s, &s->items[index]);
        } else if (status == TT_FULL) {
            s->waiting = true;
            return used;
        }
    }
    if (status != TT_END) return used;
    tt_places_close(&s->places);
    drop_items(s);
    s->again = false;
    s->step = STEP_ASK;
    return used;
}

/* ---- the step ---- */

static void end(struct tt_snapshot *s)
{
    struct tt_client *client = s->client;
    uint64_t *vector = s->shard->vector;
    tt_client_queued_vector(client, vector);
    uint8_t text[TT_CURSOR_BYTES_MAX];
    struct tt_writer cursor = tt_writer(text, sizeof text);
    tt_client_write_cursor(client, vector, &cursor);
    struct tt_frame *f = tt_sse_snapshot_end_frame(client, s->events, tt_writer_bytes(&cursor));
    if (f == NULL) {
        tt_client_abort(client, TT_CLOSE_INTERNAL);
        return;
    }
    tt_client_queue(client, f);
    if (client->state == TT_CLIENT_SNAPSHOT)
        tt_client_move(client, TT_CLIENT_SNAPSHOT_END, TT_CLOSE_NONE);
}

static uint32_t now_ms(const struct tt_snapshot *s)
{
    return (uint32_t)(s->shard->now_ns / 1000000);
}

bool tt_snapshot_is_stuck(const struct tt_snapshot *s)
{
    const struct tt_frame *f = tt_outbox_first(&s->client->outbox);
    return f != NULL && f->kind != TT_FRAME_HEARTBEAT && s->given_ms != 0 &&
           now_ms(s) - s->given_ms > TT_SNAPSHOT_SILENT_MS &&
           now_ms(s) - s->client->taken_ms > TT_SNAPSHOT_SILENT_MS;
}

bool tt_snapshot_wants_step(const struct tt_snapshot *s)
{
    if (s->waiting) return false;
    if (s->step == STEP_END)
        return tt_outbox_empty(&s->client->outbox) && s->client->catchup->carry == NULL;
    return has_room(s->client);
}

size_t tt_snapshot_step(struct tt_snapshot *s, size_t budget)
{
    enum step before = (enum step)s->step;
    switch (before) {
    case STEP_ASK: ask(s); break;
    case STEP_ASKED: return 0;
    case STEP_SEARCH: search(s); break;
    case STEP_SEARCHING: searched(s); break;
    case STEP_READ: return read_items(s, budget);
    case STEP_END: end(s); return 1; /* the snapshot is gone */
    }
    return s->step != before || s->waiting ? 1 : 0;
}
