#include "broker/feed_teller.h"

#include "broker/kafka/watch.h"
#include "proto/base/assert.h"

static void post(struct tt_feed_teller *t, uint32_t shard)
{
    struct tt_message message = {.kind = TT_MESSAGE_FEED};
    struct tt_message_feed *body = TT_MESSAGE_BODY(&message, tt_message_feed);
    if (t->shards[shard].open || t->shards[shard].told == t->version) return;
    body->stale = t->stale;
    body->cause = t->cause;
    body->since_ms = t->since_ms;
    t->shards[shard].open = true;
    t->shards[shard].told = t->version;
    tt_peers_post(t->world->peers, tt_peers_control(t->world->peers), shard, &message);
}

void tt_feed_teller_begin(struct tt_feed_teller *teller, const struct tt_world *world)
{
    *teller = (struct tt_feed_teller){.world = world};
}

void tt_feed_teller_tell(struct tt_feed_teller *t, const struct tt_kafka_news *news)
{
    if (news->stale == t->stale && news->cause == t->cause) return;
    t->stale = news->stale;
    t->cause = news->cause;
    t->since_ms = news->since_ms;
    t->version++;
    for (uint32_t i = 0; i < t->world->shards_count; i++) post(t, i);
}

void tt_feed_teller_taken(struct tt_feed_teller *t, uint32_t shard)
{
    TT_ASSERT(t->shards[shard].open);
    t->shards[shard].open = false;
    post(t, shard);
}
