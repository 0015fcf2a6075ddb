#include "shard/feed.h"

#include "shard/client/sse.h"
#include "shard/shard_internal.h"

static void tell_all(struct tt_shard *shard)
{
    struct tt_frame *f = tt_sse_feed_frame(shard);
    for (uint32_t s = tt_pool_next(&shard->clients, 0); s != TT_SLOT_NONE;
         s = tt_pool_next(&shard->clients, s + 1)) {
        struct tt_client *client = tt_pool_at(&shard->clients, s);
        /* One that opens learns it when it is greeted. */
        if (client->state == TT_CLIENT_CLOSING || client->state == TT_CLIENT_OPENING) continue;
        if (f == NULL) /* out of memory: a client must not take old prices for new ones */
            tt_client_abort(client, TT_CLOSE_INTERNAL);
        else
            tt_client_queue(client, tt_frame_get(f));
    }
    if (f != NULL) tt_frame_put(&f);
}

void tt_feed_message(struct tt_shard *shard, const struct tt_message *message)
{
    struct tt_message m = *message;
    const struct tt_message_feed *body = TT_MESSAGE_BODY(&m, tt_message_feed);
    bool changed = body->stale != shard->feed.stale;
    shard->feed = (struct tt_feed){body->since_ms, body->cause, body->stale};
    tt_metric_set(&shard->metrics.feed_stale, body->stale);
    if (changed) tell_all(shard);
    m.kind = TT_MESSAGE_FEED_TAKEN;
    tt_peers_post(shard->world->peers, shard->index, tt_peers_control(shard->world->peers), &m);
}

void tt_feed_greet(struct tt_client *client)
{
    if (!client->shard->feed.stale) return;
    struct tt_frame *f = tt_sse_feed_frame(client->shard);
    if (f == NULL)
        tt_client_abort(client, TT_CLOSE_INTERNAL);
    else
        tt_client_queue(client, f);
}
