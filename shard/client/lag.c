#include "shard/client/lag.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "shard/client/change.h"
#include "shard/client/sse.h"
#include "shard/replay/catchup.h"
#include "shard/replay/snapshot.h"
#include "shard/shard_internal.h"

enum tt_status tt_lag_create(struct tt_client *client, uint32_t max_ms)
{
    TT_ASSERT(client->extra != NULL && client->extra->lag == NULL && max_ms != 0);
    uint32_t n = client->shard->world->partitions_count;
    struct tt_lag *lag = calloc(1, sizeof *lag + n * sizeof lag->missed[0]);
    if (lag == NULL) return TT_ENOMEM;
    lag->client = client;
    lag->max_ms = max_ms;
    client->extra->lag = lag;
    return TT_OK;
}

void tt_lag_destroy(struct tt_lag **out)
{
    struct tt_lag *lag = *out;
    if (lag == NULL) return;
    if (tt_node_linked(&lag->node)) tt_list_remove(&lag->node);
    free(lag);
    *out = NULL;
}

/* ---- when ---- */

static bool is_too_old(const struct tt_lag *lag, int64_t taken_us)
{
    return lag->client->shard->wall_us - taken_us > (int64_t)lag->max_ms * 1000;
}

static void skip_soon(struct tt_lag *lag)
{
    if (!tt_node_linked(&lag->node)) tt_list_append(&lag->client->shard->lagging, &lag->node);
}

/* One event of which no byte was taken is too old. Live, the oldest stands first; who catches up on
 * several partitions has them side by side. */
static bool holds_old(const struct tt_lag *lag)
{
    const struct tt_client *client = lag->client;
    struct tt_outbox_walk walk = {0};
    const struct tt_frame *f = tt_outbox_walk(&client->outbox, &walk);
    if (f != NULL && client->outbox.sent != 0) f = tt_outbox_walk(&client->outbox, &walk);
    for (; f != NULL; f = tt_outbox_walk(&client->outbox, &walk)) {
        if (f->kind != TT_FRAME_EVENT && f->kind != TT_FRAME_EVENTS) continue;
        if (is_too_old(lag, f->taken_us)) return true;
        if (!tt_client_full(client) || client->catchup == NULL) return false;
    }
    return false;
}

bool tt_lag_holds(struct tt_client *client)
{
    struct tt_lag *lag = tt_lag_of(client);
    if (lag == NULL || (client->state != TT_CLIENT_LIVE && client->state != TT_CLIENT_CATCHUP))
        return false;
    if (!tt_node_linked(&lag->node)) {
        if (!holds_old(lag)) return false;
        skip_soon(lag);
    }
    return true;
}

bool tt_lag_reads(struct tt_client *client, uint32_t partition, const struct tt_event *event)
{
    struct tt_lag *lag = tt_lag_of(client);
    if (lag == NULL) return true;
    if (is_too_old(lag, event->taken_us)) {
        skip_soon(lag);
        return false;
    }
    if (!lag->unknown) {
        TT_ASSERT_SLOW(lag->missed[partition] > 0);
        if (lag->missed[partition] > 0) lag->missed[partition]--;
    }
    return true;
}

/* ---- how many ---- */

void tt_lag_missed(struct tt_client *client, uint32_t partition,
                   const struct tt_placed_event *placed)
{
    struct tt_lag *lag = tt_lag_of(client);
    if (lag == NULL || client->catchup == NULL || client->state == TT_CLIENT_CLOSING) return;
    if (placed->position.offset < tt_catchup_part(client, partition)->pos) return; /* ahead */
    if (tt_client_wants(client, placed->event.type)) lag->missed[partition]++;
}

void tt_lag_dropping(struct tt_client *client)
{
    struct tt_lag *lag = tt_lag_of(client);
    if (lag == NULL) return;
    struct tt_outbox_walk walk = {0};
    const struct tt_frame *f = tt_outbox_walk(&client->outbox, &walk);
    if (f != NULL && client->outbox.sent != 0) f = tt_outbox_walk(&client->outbox, &walk);
    for (; f != NULL; f = tt_outbox_walk(&client->outbox, &walk)) {
        if (f->kind == TT_FRAME_EVENT) lag->missed[f->partition]++;
        if (f->kind == TT_FRAME_EVENTS) lag->missed[f->partition] += f->arrival;
    }
}

void tt_lag_unknown(struct tt_client *client)
{
    struct tt_lag *lag = tt_lag_of(client);
    if (lag != NULL) lag->unknown = true;
}

static void nothing_missed(struct tt_lag *lag)
{
    lag->unknown = false;
    memset(lag->missed, 0, lag->client->shard->world->partitions_count * sizeof lag->missed[0]);
}

void tt_lag_joined(struct tt_client *client)
{
    struct tt_lag *lag = tt_lag_of(client);
    if (lag == NULL) return;
    for (uint32_t p = 0; !lag->unknown && p < client->shard->world->partitions_count; p++)
        TT_ASSERT_SLOW(lag->missed[p] == 0);
    nothing_missed(lag);
}

/* ---- skipping ---- */

/* Tells of everything up to R, and goes on there. */
static void tell(struct tt_client *client, uint32_t partition)
{
    struct tt_shard *shard = client->shard;
    struct tt_lag *lag = tt_lag_of(client);
    struct tt_catchup_part *part = tt_catchup_part(client, partition);
    uint64_t next = shard->arrivals.next[partition];
    if (part->pos >= next) return;
    uint64_t skipped = lag->unknown ? TT_SSE_SKIPPED_UNKNOWN : lag->missed[partition];
    if (skipped == 0) { /* nothing of its channels */
        part->pos = next;
        part->place = 0;
        return;
    }
    struct tt_position from = tt_topology_position(&shard->topology, partition, part->pos);
    struct tt_position to = tt_topology_position(&shard->topology, partition, next - 1);
    tt_metric_add(&shard->metrics.gaps_lag, 1);
    if (!lag->unknown) tt_metric_add(&shard->metrics.lag_skipped, skipped);
    tt_catchup_tell(client, partition, tt_sse_gap_frame(client, "lag", skipped, &from, &to), next);
}

static void skip(struct tt_client *client)
{
    struct tt_shard *shard = client->shard;
    if (client->state != TT_CLIENT_LIVE && client->state != TT_CLIENT_CATCHUP) return;
    struct tt_pattern *patterns = tt_client_copy_patterns(client->subscription);
    if (patterns == NULL) {
        tt_client_abort(client, TT_CLOSE_INTERNAL);
        return;
    }
    tt_client_move(client, TT_CLIENT_LAGGING, TT_CLOSE_NONE);
    for (uint32_t p = 0; p < shard->world->partitions_count; p++)
        if (client->state == TT_CLIENT_SNAPSHOT &&
            (tt_client_full(client) || client->partition == p))
            tell(client, p);
    if (client->state == TT_CLIENT_SNAPSHOT) {
        nothing_missed(tt_lag_of(client));
        struct tt_snapshot_options options = {.patterns = patterns,
                                              .patterns_count = client->subscription->count};
        if (tt_snapshot_create(client, &options) != TT_OK)
            tt_client_abort(client, TT_CLOSE_INTERNAL);
    }
    free(patterns);
    if (client->state == TT_CLIENT_SNAPSHOT) tt_exchange_ready(&client->exchange);
}

void tt_lag_run(struct tt_shard *shard)
{
    while (!tt_list_empty(&shard->lagging)) {
        struct tt_node *node = tt_list_take_first(&shard->lagging);
        skip(TT_CONTAINER_OF(node, struct tt_lag, node)->client);
    }
}
