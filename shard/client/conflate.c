#include "shard/client/conflate.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "shard/client/change.h"
#include "shard/client/sse.h"
#include "shard/replay/catchup.h"
#include "shard/replay/snapshot.h"
#include "shard/shard_internal.h"

/* ---- life ---- */

enum tt_status tt_conflate_begin(struct tt_client *client, uint64_t tick_ns)
{
    if (client->conflate != NULL) return TT_OK;
    struct tt_shard *shard = client->shard;
    struct tt_conflate *c = calloc(1, sizeof *c);
    if (c == NULL) return TT_ENOMEM;
    /* Ticks send the whole list: no channel can starve, and none gets two values from one tick. */
    uint32_t wait_ms = tick_ns != 0 ? 0 : shard->options.conflate_wait_ms;
    if (tt_conflate_list_init(&c->list, &shard->conflate_pool, wait_ms) != TT_OK) {
        free(c);
        return TT_ENOMEM;
    }
    c->client = client;
    c->tick_ns = tick_ns;
    tt_timer_init(&c->timer, shard->tick_kind);
    client->conflate = c;
    return TT_OK;
}

void tt_conflate_end(struct tt_client *client)
{
    struct tt_conflate *c = client->conflate;
    if (c == NULL) return;
    tt_timer_cancel(&c->timer);
    tt_conflate_list_deinit(&c->list);
    free(c);
    client->conflate = NULL;
}

static void tell(struct tt_client *client)
{
    const struct tt_conflate *c = client->conflate;
    struct tt_shard *shard = client->shard;
    struct tt_position from = tt_topology_position(&shard->topology, c->first_partition, c->first);
    struct tt_position to = tt_topology_position(&shard->topology, c->last_partition, c->last);
    struct tt_frame *f = tt_sse_gap_frame(client, "conflated", c->skipped, &from, &to);
    if (f == NULL) {
        tt_client_abort(client, TT_CLOSE_INTERNAL);
        return;
    }
    f->kind = TT_FRAME_CONTROL; /* it moves no position */
    tt_metric_add(&shard->metrics.gaps_conflated, 1);
    tt_client_queue(client, f);
}

void tt_conflate_finish(struct tt_client *client)
{
    struct tt_conflate *c = client->conflate;
    if (c == NULL) return;
    TT_ASSERT(c->tick_ns == 0 && tt_conflate_list_empty(&c->list));
    if (c->skipped != 0) tell(client);
    tt_conflate_end(client);
}

/* ---- the tick ---- */

static void arm(struct tt_conflate *c)
{
    if (c->tick_ns == 0 || c->list.count == 0 || c->list.released != 0 || tt_timer_armed(&c->timer))
        return;
    struct tt_shard *shard = c->client->shard;
    uint64_t due_ns = c->ticked_ns == 0 ? 0 : c->ticked_ns + c->tick_ns;
    tt_timer_arm(shard->timers, &c->timer, due_ns > shard->now_ns ? due_ns : shard->now_ns);
}

static void let_go(struct tt_conflate *c)
{
    tt_conflate_list_release(&c->list);
    c->ticked_ns = c->client->shard->now_ns;
    if (c->list.count != 0) tt_exchange_ready(&c->client->exchange);
}

void tt_conflate_ticked(struct tt_timer *timer, uint64_t now_ns, void *context)
{
    (void)now_ns, (void)context;
    struct tt_conflate *c = TT_CONTAINER_OF(timer, struct tt_conflate, timer);
    if (c->client->state == TT_CLIENT_CONFLATING || c->client->state == TT_CLIENT_CATCHUP)
        let_go(c);
}

/* ---- in ---- */

/* Counts what was skipped for good. */
static void count(void *context, uint32_t partition, const struct tt_skipped *skipped)
{
    struct tt_conflate *c = context;
    if (skipped->count == 0) return;
    if (c->skipped == 0) {
        c->first = skipped->first;
        c->first_partition = partition;
    }
    c->last = skipped->last;
    c->last_partition = partition;
    c->skipped += skipped->count;
}

/* False: the client is closing. */
static bool add(struct tt_client *client, struct tt_frame *frame)
{
    struct tt_shard *shard = client->shard;
    struct tt_conflate *c = client->conflate;
    struct tt_frame *gone;
    /* A block that was read comes between a pull and its taken(). */
    c->list.held = tt_exchange_sends(&client->exchange);
    if (tt_conflate_list_add(&c->list, frame, (uint32_t)(shard->now_ns / 1000000), &gone) !=
        TT_OK) {
        tt_frame_put(&frame);
        tt_client_abort(client, TT_CLOSE_INTERNAL);
        return false;
    }
    if (gone == NULL) return true;
    if (client->catchup != NULL) {
        struct tt_catchup_part *part = tt_catchup_part(client, gone->partition);
        TT_ASSERT(part->waiting > 0);
        part->waiting--;
    }
    tt_metric_add(&shard->metrics.conflated, 1);
    tt_frame_put(&gone);
    return true;
}

/* Too much for the client, or for the shard before this turn's end sees to it. One frame alone is
 * never too much, however large. */
static bool is_over(const struct tt_client *client)
{
    const struct tt_shard *shard = client->shard;
    const struct tt_conflate_list *l = &client->conflate->list;
    size_t frames_max = shard->frames.bytes_max + shard->frames.bytes_max / 2;
    return l->count > 1 &&
           (l->bytes > shard->options.outbox_bytes || shard->frames.bytes > frames_max);
}

void tt_conflate_queue(struct tt_client *client, struct tt_frame *frame)
{
    /* What was read from the log stops by tt_conflate_room(). */
    bool live = frame->kind == TT_FRAME_EVENT && frame->arrival != 0;
    if (!add(client, frame)) return;
    if (TT_UNLIKELY(live && is_over(client))) {
        tt_client_move(client, TT_CLIENT_OVER_BOUND, TT_CLOSE_SLOW);
        return;
    }
    arm(client->conflate);
    if (tt_conflate_sendable(client) != 0) tt_exchange_ready(&client->exchange);
}

void tt_conflate_take_outbox(struct tt_client *client)
{
    struct tt_shard *shard = client->shard;
    struct tt_outbox *o = &client->outbox;
    uint32_t sent = o->sent, n = o->count;
    for (uint32_t i = 0; i < n; i++) {
        struct tt_frame *f = tt_outbox_pop(o, &shard->outboxes);
        bool begun = i == 0 && sent != 0;
        if (!begun && tt_conflate_takes(f)) {
            if (client->state == TT_CLIENT_CLOSING)
                tt_frame_put(&f);
            else
                (void)add(client, f);
        } else if (tt_outbox_push(o, &shard->outboxes, f) != TT_OK) {
            tt_frame_put(&f);
            tt_client_abort(client, TT_CLOSE_INTERNAL);
        }
    }
    o->sent = o->count != 0 ? sent : 0;
    if (client->state == TT_CLIENT_CLOSING) return;
    if (is_over(client))
        tt_client_move(client, TT_CLIENT_OVER_BOUND, TT_CLOSE_SLOW);
    else
        tt_exchange_ready(&client->exchange);
}

/* Of each partition of which something is in the list the place of the first, the others
 * UINT64_MAX; counts what is skipped for good, if asked to. */
static void places(const struct tt_client *client, uint64_t *vector,
                   void (*told)(void *, uint32_t, const struct tt_skipped *))
{
    for (uint32_t p = 0; p < client->shard->world->partitions_count; p++) vector[p] = UINT64_MAX;
    tt_conflate_list_places(&client->conflate->list, vector, told, client->conflate);
}

static void ignore(void *context, uint32_t partition, const struct tt_skipped *skipped)
{
    (void)context, (void)partition, (void)skipped;
}

void tt_conflate_places(const struct tt_client *client, uint64_t *vector)
{
    const struct tt_arrivals *arrivals = &client->shard->arrivals;
    places(client, vector, ignore);
    for (uint32_t p = 0; p < arrivals->partitions; p++)
        if (vector[p] == UINT64_MAX) vector[p] = arrivals->next[p];
}

void tt_conflate_drop(struct tt_client *client)
{
    struct tt_conflate *c = client->conflate;
    uint64_t *vector = client->shard->oldest; /* scratch; the caller may hold the other one */
    places(client, vector, count);
    for (uint32_t i = 0; client->catchup != NULL && i < client->catchup->parts_count; i++) {
        struct tt_catchup_part *part = &client->catchup->parts[i];
        uint64_t first = vector[tt_client_full(client) ? i : client->partition];
        if (first != UINT64_MAX && first > part->taken) part->taken = first;
    }
    tt_conflate_list_drop(&c->list);
    tt_timer_cancel(&c->timer);
    c->full = false;
    c->hole.end = 0; /* it is met again */
}

/* ---- catching up ---- */

bool tt_conflate_is_full(const struct tt_conflate *c)
{
    return c->list.bytes >= c->client->shard->options.outbox_bytes && c->list.count > 1;
}

bool tt_conflate_room(struct tt_conflate *c)
{
    if (c->hole.end != 0) return false;
    size_t max = c->client->shard->options.outbox_bytes;
    if (tt_conflate_is_full(c))
        c->full = true;
    else if (c->list.bytes <= max / 2 || c->list.count <= 1)
        c->full = false;
    if (c->full && c->tick_ns != 0 && c->list.released == 0) let_go(c);
    return !c->full;
}

bool tt_conflate_may_tell(const struct tt_conflate *c)
{
    const struct tt_catchup *catchup = c->client->catchup;
    return catchup->parts[catchup->parts_count == 1 ? 0 : c->hole.partition].waiting == 0;
}

void tt_conflate_meet_hole(struct tt_conflate *c, uint32_t partition, uint64_t from, uint64_t end)
{
    c->hole = (struct tt_conflate_hole){.from = from, .end = end, .partition = partition};
}

void tt_conflate_across_hole(struct tt_client *client)
{
    struct tt_shard *shard = client->shard;
    struct tt_conflate_hole hole = client->conflate->hole;
    tt_client_move(client, TT_CLIENT_HOLE,
                   TT_CLOSE_NONE); /* the others go back to what was taken */
    if (client->state == TT_CLIENT_CLOSING) return;
    struct tt_catchup_part *part = tt_catchup_part(client, hole.partition);
    part->pos = part->taken = hole.end;
    struct tt_position from = tt_topology_position(&shard->topology, hole.partition, hole.from);
    struct tt_position to = tt_topology_position(&shard->topology, hole.partition, hole.end - 1);
    struct tt_frame *f = tt_sse_gap_frame(client, "crash", 0, &from, &to);
    struct tt_pattern *patterns = tt_client_copy_patterns(client->subscription);
    struct tt_snapshot_options options = {.patterns = patterns,
                                          .patterns_count = client->subscription->count};
    if (f != NULL) {
        f->kind = TT_FRAME_CONTROL;
        tt_metric_add(&shard->metrics.gaps_crash, 1);
        tt_client_queue(client, f);
    }
    if (f == NULL || patterns == NULL || tt_snapshot_create(client, &options) != TT_OK)
        tt_client_abort(client, TT_CLOSE_INTERNAL);
    free(patterns);
}

/* ---- out ---- */

void tt_conflate_next(struct tt_client *client)
{
    struct tt_conflate *c = client->conflate;
    TT_ASSERT(tt_conflate_sendable(client) != 0 && tt_outbox_empty(&client->outbox));
    struct tt_skipped skipped;
    struct tt_frame *f = tt_conflate_list_take(&c->list, &skipped);
    count(c, f->partition, &skipped);
    /* The first place of an outbox is in the client: no memory is needed. */
    enum tt_status status = tt_outbox_push(&client->outbox, &client->shard->outboxes, f);
    TT_ASSERT(status == TT_OK);
    arm(c);
}

void tt_conflate_taken(struct tt_client *client)
{
    if (client->state == TT_CLIENT_CONFLATING && client->policy == TT_POLICY_CONFLATE &&
        tt_conflate_list_empty(&client->conflate->list))
        tt_client_move(client, TT_CLIENT_DRAINED, TT_CLOSE_NONE);
}
