#include "shard/replay/snapshot.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "proto/event/patterns.h"
#include "shard/client/sse.h"
#include "shard/fanout/fanout.h"
#include "shard/replay/snapshot_internal.h"

/* ---- life ---- */

/* One question for each pattern that no other covers, channels first. TT_OK, TT_ENOMEM. */
static enum tt_status add_asks(struct tt_snapshot *s, const struct tt_snapshot_options *o,
                               uint8_t **text)
{
    if (o->patterns_count == 0) return TT_OK;
    struct tt_pattern *patterns = malloc(o->patterns_count * sizeof *patterns);
    if (patterns == NULL) return TT_ENOMEM;
    memcpy(patterns, o->patterns, o->patterns_count * sizeof *patterns);
    s->asks_count = tt_patterns_reduce(patterns, o->patterns_count);
    for (uint32_t i = 0; i < s->asks_count; i++) {
        const struct tt_pattern *p = &patterns[i];
        struct tt_snapshot_ask *a = &s->asks[i];
        if (p->text.size != 0) memcpy(*text, p->text.data, p->text.size);
        a->pattern = (struct tt_pattern){p->kind, tt_bytes(*text, p->text.size)};
        if (p->kind == TT_PATTERN_EXACT) a->hash = tt_hash(&s->shard->world->hash_key, p->text);
        *text += p->text.size;
    }
    free(patterns);
    return TT_OK;
}

enum tt_status tt_snapshot_create(struct tt_client *client, const struct tt_snapshot_options *o)
{
    struct tt_catchup *c = client->catchup;
    TT_ASSERT(c != NULL && c->snapshot == NULL);
    size_t size = sizeof(struct tt_snapshot) + o->patterns_count * sizeof(struct tt_snapshot_ask) +
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
    if (add_asks(s, o, &text) != TT_OK) {
        free(s);
        return TT_ENOMEM;
    }
    s->except = (struct tt_pattern *)(void *)(s->asks + o->patterns_count);
    s->except_count = o->except_count;
    for (uint32_t i = 0; i < o->except_count; i++) {
        const struct tt_pattern *p = &o->except[i];
        if (p->text.size != 0) memcpy(text, p->text.data, p->text.size);
        s->except[i] = (struct tt_pattern){p->kind, tt_bytes(text, p->text.size)};
        text += p->text.size;
    }
    s->own_bytes = size + texts;
    s->shard->replay->block_bytes += s->own_bytes;
    c->snapshot = s;
    tt_catchup_hold(client);
    tt_metric_add(&client->shard->metrics.snapshots, 1);
    tt_catchup_wake(client);
    return TT_OK;
}

void tt_snapshot_free(struct tt_snapshot *s)
{
    tt_snapshot_drop_question(s);
    tt_snapshot_drop_items(s);
    TT_ASSERT(s->counted == 0);
    free(s->gone);
    s->shard->replay->block_bytes -= s->own_bytes;
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
    if (s->step != TT_SNAPSHOT_ASKED) tt_snapshot_free(s);
}

void tt_snapshot_wake(void *owner)
{
    struct tt_snapshot *s = owner;
    s->waiting = false;
    tt_catchup_wake(s->client);
}

/* ---- reading ---- */

/* What is queued cannot be dropped and read again. So where frames are many, a client is given
 * little at a time, and nothing while its socket is full. */
static bool has_room(const struct tt_client *client)
{
    const struct tt_shard *shard = client->shard;
    size_t max = tt_replay_frames_max(shard), held = shard->replay_frames.bytes;
    if (held > max / 2 && client->outbox.bytes >= TT_REPLAY_ROOM_MIN) {
        size_t left = held < max ? max - held : 0;
        if (tt_exchange_blocked(&client->exchange) ||
            client->outbox.bytes >= left / TT_REPLAY_FRAME_PART)
            return false;
    }
    return tt_replay_outbox_has_room(client);
}

static bool is_wanted(const struct tt_snapshot *s, const struct tt_event *event, uint64_t hash)
{
    if (!tt_subscription_matches(s->client->subscription, event->channel, (uint32_t)hash))
        return false; /* two channels of one hash */
    struct tt_pattern channel = {TT_PATTERN_EXACT, event->channel};
    if (tt_patterns_cover(s->except, s->except_count, &channel)) return false;
    return tt_client_wants(s->client, event->type);
}

static void give(struct tt_snapshot *s, const struct tt_lookup_item *item,
                 const struct tt_record *record)
{
    if (record->class != TT_RECORD_EVENT || !is_wanted(s, &record->event, item->hash)) return;
    struct tt_shard *shard = s->shard;
    uint32_t partition = tt_snapshot_partition(s);
    struct tt_placed_event placed = {
        .event = record->event,
        .position = tt_topology_position(&shard->topology, partition, record->offset)};
    /* Full without a vector: no id line. */
    struct tt_frame *f = tt_fanout_encode(shard, &shard->replay_frames, partition, &placed,
                                          s->client->form | TT_FORM_FULL, NULL);
    if (f == NULL) {
        tt_client_abort(s->client, TT_CLOSE_INTERNAL);
        return;
    }
    f->kind = TT_FRAME_VALUE;
    /* Behind what waits it is no news: who takes nothing would seem to have begun only now. */
    if (s->given_ms == 0 || tt_outbox_empty(&s->client->outbox))
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

static bool open_places(struct tt_snapshot *s)
{
    if (s->places != NULL || s->items_given == s->items_count) return true;
    s->items_opened = s->items_given;
    return tt_places_open(&s->places, s->shard, tt_snapshot_partition(s),
                          s->items + s->items_opened, s->items_count - s->items_opened,
                          tt_snapshot_wake, s) == TT_OK;
}

static size_t read_items(struct tt_snapshot *s, size_t budget)
{
    struct tt_client *client = s->client;
    size_t used = 1;
    if (!open_places(s)) return 0; /* in a later turn */
    enum tt_status status = s->places == NULL ? TT_END : TT_OK;
    bool room = true;
    while (status != TT_END && used < budget && client->state == TT_CLIENT_SNAPSHOT &&
           (room = has_room(client))) {
        uint32_t index;
        struct tt_record record;
        status = tt_places_next(s->places, &index, &record);
        if (status == TT_FULL) {
            s->waiting = true;
            return used;
        }
        if (status == TT_END) break;
        const struct tt_lookup_item *item = &s->items[s->items_opened + index];
        s->items_given = s->items_opened + index + 1;
        if (status == TT_OK) {
            used += record.length;
            give(s, item, &record);
        } else {
            used += sizeof record;
            gone(s, item);
        }
    }
    /* Others may need what was read ahead of a client that has not shown that it reads. */
    if (!room && tt_replay_is_short(s->shard) && !tt_exchange_reads(&client->exchange))
        tt_places_close(&s->places);
    if (status != TT_END) return used;
    tt_places_close(&s->places);
    tt_snapshot_drop_items(s);
    s->again = false;
    s->step = TT_SNAPSHOT_ASK;
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
    if (s->step == TT_SNAPSHOT_END)
        return tt_outbox_empty(&s->client->outbox) && s->client->catchup->carry == NULL;
    return has_room(s->client);
}

size_t tt_snapshot_step(struct tt_snapshot *s, size_t budget)
{
    enum tt_snapshot_step_kind before = (enum tt_snapshot_step_kind)s->step;
    switch (before) {
    case TT_SNAPSHOT_ASK: tt_snapshot_ask(s); break;
    case TT_SNAPSHOT_ASKED: return 0;
    case TT_SNAPSHOT_SEARCH: tt_snapshot_search(s); break;
    case TT_SNAPSHOT_SEARCHING: tt_snapshot_searched(s); break;
    case TT_SNAPSHOT_READ: return read_items(s, budget);
    case TT_SNAPSHOT_END: end(s); return 1; /* the snapshot is gone */
    }
    return s->step != before || s->waiting ? 1 : 0;
}
