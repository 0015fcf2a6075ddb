/* Who follows what on this shard: channels and patterns, each with the list of its clients.
 *
 * A descriptor's 32-bit channel hash is first tested against a bitmap (a few ns for an event that
 * nobody here wants); what passes is looked up by its name: the exact channel, each dotted prefix
 * that somebody follows, and the star. Within one subscription patterns that cover each other are
 * reduced when it is added, so a client stands in at most one list that matches an event, and needs
 * no check for doubles at delivery. Thread: owner shard. Memory: what a client follows costs it 8
 * bytes (number of the channel, place in its list) and the channel's list 4 (slot of the client,
 * beside at most a quarter of growth); a channel itself 38 bytes and its name, 12 in the tables, 4
 * to 8 in the buckets. */
#ifndef TT_SHARD_FANOUT_SUBSCRIPTIONS_H
#define TT_SHARD_FANOUT_SUBSCRIPTIONS_H

#include "proto/base/hash.h"
#include "proto/base/limits.h"
#include "proto/base/pool.h"
#include "proto/event/channel.h"

struct tt_client;

struct tt_subscriptions;

#define TT_FOLLOWED_FEW 2u /* clients that a channel holds without memory of a list's own */

/* A channel or pattern that at least one client follows. */
struct tt_followed {
    union {
        uint32_t few[TT_FOLLOWED_FEW];
        uint32_t *many;
    } clients_; /* slots, in no order that means anything */
    uint32_t clients_count;
    uint32_t clients_max_; /* at most TT_FOLLOWED_FEW: they are few */
    uint32_t next_;        /* in its bucket */
    uint32_t number_;      /* in the table */
    uint64_t hash;
    uint8_t kind; /* enum tt_pattern_kind */
    uint8_t text_bytes;
    char text[];
};

struct tt_subscription_entry {
    uint32_t number; /* of what is followed */
    uint32_t index;  /* of the client in its list */
};

/* What one client follows; owned by the client, changed here only. */
struct tt_subscription {
    const struct tt_subscriptions *of;
    uint32_t count;
    uint32_t exact; /* the first `exact` entries are channels, by hash; then patterns, by text */
    struct tt_subscription_entry entries[];
};

/* Slots of the clients that follow it: clients_count of them. */
static inline const uint32_t *tt_followed_clients(const struct tt_followed *f)
{
    return f->clients_max_ <= TT_FOLLOWED_FEW ? f->clients_.few : f->clients_.many;
}
/* What entry i of a subscription follows. */
const struct tt_followed *tt_subscription_followed(const struct tt_subscription *s, uint32_t i);

/* client.c's: when a place in a list moves, its client's entry is found through this. */
struct tt_subscription *tt_client_subscription(struct tt_client *client);

/* clients: the pool whose slots name them; borrowed. */
TT_MUST_USE enum tt_status tt_subscriptions_create(struct tt_subscriptions **s,
                                                   const struct tt_hash_key *key,
                                                   const struct tt_pool *clients);
void tt_subscriptions_destroy(
    struct tt_subscriptions **s); /* nobody may follow anything any more */

/* The client (its slot) follows these patterns from now on (count > 0). Costs count * log(count).
 * TT_OK, TT_ENOMEM (nothing changed). */
TT_MUST_USE enum tt_status tt_subscriptions_add(struct tt_subscriptions *s, uint32_t client,
                                                const struct tt_pattern *patterns, uint32_t count,
                                                struct tt_subscription **subscription);
void tt_subscriptions_remove(struct tt_subscriptions *s, uint32_t client,
                             struct tt_subscription **subscription);

/* False: nobody here follows a channel of this hash (low 32 bits of the key's hash of its name). */
bool tt_subscriptions_may_match(const struct tt_subscriptions *s, uint32_t channel_hash);

#define TT_MATCHES_MAX (TT_CHANNEL_LEVELS_MAX + 1u) /* exact, up to 7 prefixes, star */
/* The lists whose clients follow this channel; valid until the next add or remove. */
unsigned tt_subscriptions_match(const struct tt_subscriptions *s, struct tt_bytes channel,
                                const struct tt_followed *matches[TT_MATCHES_MAX]);
/* Does this one subscription follow the channel? For catching up: hash as in the descriptor. */
bool tt_subscription_matches(const struct tt_subscription *subscription, struct tt_bytes channel,
                             uint32_t channel_hash);
/* The same by the hash alone: false is certain, true must be asked with the name. */
bool tt_subscription_may_match(const struct tt_subscription *subscription, uint32_t channel_hash);

/* Channels and patterns followed, and all places in their lists: for metrics. */
uint32_t tt_subscriptions_followed(const struct tt_subscriptions *s);
uint64_t tt_subscriptions_places(const struct tt_subscriptions *s);
size_t tt_subscriptions_bytes(const struct tt_subscriptions *s);

#endif
