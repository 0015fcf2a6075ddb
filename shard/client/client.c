#include "shard/client/client.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "shard/admission.h"
#include "shard/client/conflate.h"
#include "shard/client/lag.h"
#include "shard/client/sse.h"
#include "shard/replay/catchup.h"
#include "shard/replay/snapshot.h"
#include "shard/shard_internal.h"

static tt_metric *state_gauge(struct tt_shard *shard, enum tt_client_state state)
{
    switch (state) {
    case TT_CLIENT_OPENING: return &shard->metrics.clients_opening;
    case TT_CLIENT_SNAPSHOT: return &shard->metrics.clients_snapshot;
    case TT_CLIENT_CATCHUP: return &shard->metrics.clients_catchup;
    case TT_CLIENT_LIVE: return &shard->metrics.clients_live;
    case TT_CLIENT_CONFLATING: return &shard->metrics.clients_conflating;
    case TT_CLIENT_CLOSING: return &shard->metrics.clients_closing;
    case TT_CLIENT_STATES: break;
    }
    TT_UNREACHABLE();
}

static void set_state(struct tt_client *client, enum tt_client_state state)
{
    tt_metric_sub(state_gauge(client->shard, (enum tt_client_state)client->state), 1);
    client->state = (uint8_t)state;
    tt_metric_add(state_gauge(client->shard, state), 1);
    /* What is missed is sent behind what is live. */
    if (client->exchange.connection != NULL)
        tt_exchange_set_bulk(&client->exchange,
                             state == TT_CLIENT_SNAPSHOT || state == TT_CLIENT_CATCHUP);
}

struct tt_client *tt_client_create(struct tt_shard *shard)
{
    uint32_t slot;
    struct tt_client *client = tt_pool_get(&shard->clients, &slot);
    if (client == NULL) return NULL;
    client->shard = shard;
    client->slot = slot;
    client->partition = TT_PARTITION_ALL;
    client->heartbeat_ms = shard->options.heartbeat_ms;
    client->taken_ms = (uint32_t)(shard->now_ns / 1000000);
    client->since_s = (uint32_t)(shard->wall_us / 1000000);
    tt_timer_init(&client->timer, shard->heartbeat_kind);
    tt_metric_add(&shard->metrics.clients_opening, 1);
    return client;
}

void tt_client_destroy(struct tt_client *client)
{
    struct tt_shard *shard = client->shard;
    TT_ASSERT(client->exchange.connection == NULL);
    tt_metric_add(&shard->metrics.closes[client->reason], 1);
    tt_metric_sub(state_gauge(shard, (enum tt_client_state)client->state), 1);
    tt_timer_cancel(&client->timer);
    tt_admission_release(client);
    tt_subscriptions_remove(shard->subscriptions, client->slot, &client->subscription);
    tt_catchup_destroy(client);
    tt_conflate_end(client);
    if (tt_client_conflates(client)) shard->conflating--;
    tt_outbox_clear(&client->outbox, &shard->outboxes);
    if (client->extra != NULL) {
        tt_lag_destroy(&client->extra->lag);
        if (client->extra->types != NULL) shard->types_bytes -= client->extra->types_bytes;
        free(client->extra->types);
    }
    free(client->extra);
    tt_pool_put(&shard->clients, client->slot);
}

struct tt_subscription *tt_client_subscription(struct tt_client *client)
{
    return client->subscription;
}

bool tt_client_wants(const struct tt_client *client, struct tt_bytes type)
{
    const struct tt_client_extra *extra = client->extra;
    if (extra == NULL || extra->types_count == 0) return true;
    const uint8_t *at = extra->types;
    for (uint32_t i = 0; i < extra->types_count; i++) {
        if (tt_bytes_equal(tt_bytes(at + 1, at[0]), type)) return true;
        at += 1 + at[0];
    }
    return false;
}

uint64_t tt_client_first_arrival(const struct tt_client *client)
{
    if (client->state == TT_CLIENT_CONFLATING) {
        const struct tt_conflate_entry *e = tt_conflate_list_first(&client->conflate->list);
        return e == NULL ? 0 : e->frame->arrival;
    }
    struct tt_outbox_walk walk = {0};
    struct tt_frame *f = tt_outbox_walk(&client->outbox, &walk);
    /* A frame of which one byte was taken counts as sent. */
    if (f != NULL && client->outbox.sent != 0) f = tt_outbox_walk(&client->outbox, &walk);
    for (; f != NULL; f = tt_outbox_walk(&client->outbox, &walk))
        if (f->kind == TT_FRAME_EVENT) return f->arrival;
    return 0;
}

/* The place of a live client as a vector: before its oldest untaken frame, or R. */
static void place_vector(const struct tt_client *client, uint64_t *vector)
{
    const struct tt_arrivals *arrivals = &client->shard->arrivals;
    uint64_t first = tt_client_first_arrival(client);
    tt_arrivals_vector(arrivals, first == 0 ? arrivals->sequence : first - 1, vector);
}

void tt_client_queued_vector(const struct tt_client *client, uint64_t *vector)
{
    const struct tt_arrivals *arrivals = &client->shard->arrivals;
    for (uint32_t p = 0; p < arrivals->partitions; p++) vector[p] = arrivals->next[p];
    if (client->catchup != NULL) tt_catchup_queued_vector(client, vector);
}

void tt_client_sent_vector(const struct tt_client *client, uint64_t *vector)
{
    if (client->catchup != NULL)
        tt_client_queued_vector(client, vector);
    else if (client->state == TT_CLIENT_CONFLATING)
        tt_conflate_places(client, vector);
    else
        place_vector(client, vector);
}

void tt_client_write_cursor(const struct tt_client *client, const uint64_t *vector,
                            struct tt_writer *w)
{
    const struct tt_topology *t = &client->shard->topology;
    uint32_t p = client->partition;
    if (!tt_client_full(client) && vector[p] > 0) {
        struct tt_position position = tt_topology_position(t, p, vector[p] - 1);
        tt_cursor_write_narrow(w, &position, tt_topology_narrow_partitions(t, p));
        return;
    }
    /* Full clients; and a narrow one whose partition is empty, which has no event to name. */
    tt_topology_write_full(t, vector, w);
}

static void begin_catchup(struct tt_client *client, const uint64_t *pos)
{
    struct tt_shard *shard = client->shard;
    if (tt_catchup_create(client, pos) != TT_OK ||
        (tt_client_conflates(client) && tt_conflate_begin(client, 0) != TT_OK)) {
        tt_client_abort(client, TT_CLOSE_INTERNAL);
        return;
    }
    set_state(client, TT_CLIENT_CATCHUP);
    tt_metric_add(&shard->metrics.replays, 1);
}

/* From LIVE or CONFLATING to its place in the log. */
static void demote(struct tt_client *client)
{
    struct tt_shard *shard = client->shard;
    if (client->state == TT_CLIENT_CONFLATING) {
        tt_conflate_places(client, shard->vector);
        tt_conflate_drop(client);
    } else {
        TT_ASSERT(client->state == TT_CLIENT_LIVE); /* from OPENING: tt_client_begin */
        place_vector(client, shard->vector);
    }
    tt_lag_dropping(client);
    if (tt_outbox_drop_events(&client->outbox, &shard->outboxes) != TT_OK)
        tt_client_abort(client, TT_CLOSE_INTERNAL);
    else
        begin_catchup(client, shard->vector);
}

/* From LIVE: what waits becomes the dirty list. */
static void conflate(struct tt_client *client)
{
    if (tt_conflate_begin(client, 0) == TT_OK)
        tt_conflate_take_outbox(client);
    else
        tt_client_abort(client, TT_CLOSE_INTERNAL);
}

void tt_client_move(struct tt_client *client, enum tt_client_event event,
                    enum tt_close_reason reason)
{
    struct tt_shard *shard = client->shard;
    enum tt_client_state from = (enum tt_client_state)client->state;
    enum tt_client_state to = tt_client_next(from, event, (enum tt_subscribe_policy)client->policy);
    TT_ASSERT(to != TT_CLIENT_STATES);
    switch (to) {
    case TT_CLIENT_LIVE:
    case TT_CLIENT_CONFLATING:
        tt_catchup_destroy(client);
        tt_lag_joined(client);
        client->id_place = 0; /* ids were private: the next heartbeat gives the live one */
        set_state(client, to);
        if (to == TT_CLIENT_LIVE)
            tt_conflate_finish(client);
        else if (from == TT_CLIENT_LIVE)
            conflate(client);
        return;
    case TT_CLIENT_CATCHUP:
        if (from == TT_CLIENT_CATCHUP) {
            tt_catchup_overflow(client);
        } else if (from == TT_CLIENT_SNAPSHOT) {
            set_state(client, to);
            tt_catchup_go_on(client);
        } else {
            demote(client);
        }
        return;
    case TT_CLIENT_SNAPSHOT: /* whoever calls gives it one, see change.c */
        if (from == TT_CLIENT_CATCHUP)
            tt_catchup_overflow(client);
        else
            demote(client);
        if (client->state == TT_CLIENT_CATCHUP) set_state(client, to);
        return;
    case TT_CLIENT_CLOSING:
        if (event != TT_CLIENT_ENDED) reason = TT_CLOSE_SLOW;
        if (from == TT_CLIENT_CLOSING) return;
        client->reason = (uint8_t)reason;
        set_state(client, to);
        /* Its last bytes may wait for the peer for long: what it would have read next must not. */
        if (client->catchup != NULL) tt_snapshot_destroy(&client->catchup->snapshot);
        if (client->conflate != NULL) tt_conflate_drop(client);
        if (tt_outbox_drop_events(&client->outbox, &shard->outboxes) != TT_OK)
            tt_exchange_abort(&client->exchange, TT_CLOSE_INTERNAL);
        else if (client->started)
            tt_exchange_ready(&client->exchange); /* pull finishes what is left, then aborts */
        return;
    case TT_CLIENT_OPENING:
    case TT_CLIENT_STATES: break;
    }
    TT_UNREACHABLE();
}

void tt_client_abort(struct tt_client *client, enum tt_close_reason reason)
{
    if (client->state != TT_CLIENT_CLOSING) {
        client->reason = (uint8_t)reason;
        set_state(client, TT_CLIENT_CLOSING);
    }
    if (client->exchange.connection != NULL) tt_exchange_abort(&client->exchange, reason);
}

void tt_client_finish(struct tt_client *client, enum tt_close_reason reason, struct tt_frame *last)
{
    if (client->state == TT_CLIENT_CLOSING || !client->started) {
        if (last != NULL) tt_frame_put(&last);
        if (!client->started) tt_client_abort(client, reason);
        return;
    }
    tt_client_move(client, TT_CLIENT_ENDED, reason);
    if (last != NULL && tt_outbox_push(&client->outbox, &client->shard->outboxes, last) != TT_OK)
        tt_frame_put(&last); /* it ends without its last words */
}

void tt_client_queue(struct tt_client *client, struct tt_frame *frame)
{
    struct tt_shard *shard = client->shard;
    if (TT_UNLIKELY(client->conflate != NULL) && tt_conflate_takes(frame)) {
        tt_conflate_queue(client, frame);
        return;
    }
    if (tt_outbox_push(&client->outbox, &shard->outboxes, frame) != TT_OK) {
        tt_frame_put(&frame);
        tt_client_abort(client, TT_CLOSE_INTERNAL);
        return;
    }
    /* One frame alone is never too much, however large: it must be sent whole in any case. */
    if (TT_UNLIKELY(client->outbox.bytes > shard->options.outbox_bytes) &&
        client->outbox.count > 1 && frame->kind == TT_FRAME_EVENT && frame->arrival != 0) {
        tt_client_move(client, TT_CLIENT_OVER_BOUND, TT_CLOSE_SLOW);
        return;
    }
    tt_exchange_ready(&client->exchange);
}

/* with_id: it carries the cursor of what it continues from. */
static void queue_resync(struct tt_client *client, enum tt_resume_resync resync,
                         const uint64_t *pos, bool with_id)
{
    struct tt_shard *shard = client->shard;
    switch (resync) {
    case TT_RESUME_HISTORY: tt_metric_add(&shard->metrics.resyncs_history, 1); break;
    case TT_RESUME_AHEAD: tt_metric_add(&shard->metrics.resyncs_ahead, 1); break;
    case TT_RESUME_PARTIAL: tt_metric_add(&shard->metrics.resyncs_partial, 1); break;
    case TT_RESUME_REPARTITIONED: tt_metric_add(&shard->metrics.resyncs_repartitioned, 1); break;
    case TT_RESUME_EXACT: return;
    }
    uint8_t text[TT_CURSOR_BYTES_MAX];
    struct tt_writer w = tt_writer(text, sizeof text);
    if (with_id) tt_client_write_cursor(client, pos, &w);
    struct tt_bytes cursor = tt_writer_bytes(&w);
    struct tt_frame *f =
        tt_sse_resync_frame(client, tt_resume_resync_text(resync), TT_PARTITION_ALL, &cursor);
    if (f == NULL) {
        tt_client_abort(client, TT_CLOSE_INTERNAL);
        return;
    }
    tt_client_queue(client, f);
}

/* `connected`, and what the client must be told first. A snapshot has no id before its end, or a
 * client that is cut off within it would never get the rest. */
static void greet(struct tt_client *client, const struct tt_resume *resume, const uint64_t *pos,
                  struct tt_bytes cursor, bool snapshot)
{
    uint8_t text[TT_CURSOR_BYTES_MAX];
    struct tt_writer w = tt_writer(text, sizeof text);
    /* `connected` repeats a given cursor unchanged, and carries none when the client must be told
     * something first: the resync that follows moves it. */
    if (cursor.size == 0 && !snapshot) {
        tt_client_write_cursor(client, pos, &w);
        cursor = tt_writer_bytes(&w);
    } else if (!resume->repeat_cursor) {
        cursor = TT_BYTES_NONE;
    }
    TT_ASSERT(!w.overflow);
    struct tt_frame *connected = tt_sse_connected_frame(client, cursor);
    if (connected == NULL) {
        tt_client_abort(client, TT_CLOSE_INTERNAL);
        return;
    }
    tt_client_queue(client, connected);
    tt_feed_greet(client);
    queue_resync(client, resume->resync, pos, !snapshot);
}

static enum tt_client_event admission_event(const struct tt_client *client, const uint64_t *pos,
                                            bool snapshot)
{
    const struct tt_arrivals *arrivals = &client->shard->arrivals;
    if (snapshot) return TT_CLIENT_ADMITTED_SNAPSHOT;
    for (uint32_t p = 0; p < arrivals->partitions; p++)
        if ((tt_client_full(client) || client->partition == p) && pos[p] != arrivals->next[p])
            return TT_CLIENT_ADMITTED_BEHIND;
    return TT_CLIENT_ADMITTED_LIVE;
}

static void begin_snapshot(struct tt_client *client, const uint64_t *pos,
                           const struct tt_snapshot_options *options)
{
    if (tt_catchup_create(client, pos) != TT_OK || tt_snapshot_create(client, options) != TT_OK) {
        tt_client_abort(client, TT_CLOSE_INTERNAL);
        return;
    }
    set_state(client, TT_CLIENT_SNAPSHOT);
}

void tt_client_begin(struct tt_client *client, const struct tt_resume *resume, const uint64_t *pos,
                     const struct tt_subscribe *subscribe)
{
    struct tt_shard *shard = client->shard;
    bool resumed = subscribe->cursor.size != 0;
    bool snapshot =
        resume->fresh && (subscribe->from == TT_FROM_SNAPSHOT || subscribe->from == TT_FROM_LAST);
    greet(client, resume, pos, subscribe->cursor, snapshot);
    if (client->state == TT_CLIENT_CLOSING) return;
    tt_metric_add(resumed ? &shard->metrics.connects_resumed : &shard->metrics.connects_new, 1);
    client->id_place = shard->arrivals.sequence;
    struct tt_snapshot_options options = {.last = subscribe->last,
                                          .patterns = subscribe->patterns,
                                          .patterns_count = subscribe->patterns_count};
    enum tt_client_event event = admission_event(client, pos, snapshot);
    if (event == TT_CLIENT_ADMITTED_BEHIND) tt_lag_unknown(client);
    switch (tt_client_next(TT_CLIENT_OPENING, event, (enum tt_subscribe_policy)client->policy)) {
    case TT_CLIENT_SNAPSHOT: begin_snapshot(client, pos, &options); break;
    case TT_CLIENT_CATCHUP:
        begin_catchup(client, pos);
        if (client->state == TT_CLIENT_CATCHUP) tt_catchup_limit(client, shard->options.max_replay);
        break;
    case TT_CLIENT_LIVE: set_state(client, TT_CLIENT_LIVE); break;
    case TT_CLIENT_CONFLATING: set_state(client, TT_CLIENT_CONFLATING); break; /* max_rate */
    case TT_CLIENT_OPENING:
    case TT_CLIENT_CLOSING:
    case TT_CLIENT_STATES: TT_UNREACHABLE();
    }
    tt_timer_arm(shard->timers, &client->timer,
                 shard->now_ns + client->heartbeat_ms * UINT64_C(1000000));
}
