/* Whether what the source brings is up to date, as clients are told (`event: feed`, broker/API.md).
 *
 * Control says when it changes; the shard tells all its clients, in order with everything else, and
 * whoever comes while it is stale right behind `connected`. Thread: owner shard. */
#ifndef TT_SHARD_FEED_H
#define TT_SHARD_FEED_H

#include <stdbool.h>
#include <stdint.h>

struct tt_client;
struct tt_message;
struct tt_shard;

struct tt_feed {
    int64_t since_ms;  /* unix time of the last change */
    const char *cause; /* while stale; lives until the process ends */
    bool stale;
};

/* FEED: taken over, told, and given back. */
void tt_feed_message(struct tt_shard *shard, const struct tt_message *message);
/* Behind `connected`. */
void tt_feed_greet(struct tt_client *client);

#endif
