/* Tells every shard what Kafka's thread says about the feed (TT_MESSAGE_FEED): at most one message
 * to each is open, and what has changed meanwhile is told when that one comes back.
 * Thread: control. */
#ifndef TT_BROKER_FEED_TELLER_H
#define TT_BROKER_FEED_TELLER_H

#include "shard/shard.h"

struct tt_kafka_news;

struct tt_feed_teller {
    const struct tt_world *world;
    bool stale;
    const char *cause;
    int64_t since_ms;
    uint64_t version; /* of what is to be told; 0: nothing yet, the feed is live */
    struct {
        uint64_t told;
        bool open;
    } shards[TT_SHARDS_MAX];
};

/* A new life: its shards take the feed for live. */
void tt_feed_teller_begin(struct tt_feed_teller *teller, const struct tt_world *world);
void tt_feed_teller_tell(struct tt_feed_teller *teller, const struct tt_kafka_news *news);
/* FEED_TAKEN. */
void tt_feed_teller_taken(struct tt_feed_teller *teller, uint32_t shard);

#endif
