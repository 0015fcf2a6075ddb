#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shard/client/client.h"
#include "shard/fanout/subscriptions.h"

#define CLIENTS 60u

static const struct tt_hash_key key = {11, 22};
static struct tt_subscriptions *subs;
static struct tt_pool pool;
static struct tt_client *clients; /* the pool's only slab: slot i is clients[i] */
static unsigned seed = 5;

static void begin(void)
{
    cr_assert_eq(tt_pool_init(&pool, sizeof *clients, CLIENTS, CLIENTS), TT_OK);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        uint32_t slot;
        struct tt_client *client = tt_pool_get(&pool, &slot);
        cr_assert(client != NULL && slot == i);
        client->slot = slot;
        if (i == 0) clients = client;
        cr_assert_eq(client, &clients[i]);
    }
    cr_assert_eq(tt_subscriptions_create(&subs, &key, &pool), TT_OK);
}

static void end(void)
{
    for (uint32_t i = 0; i < CLIENTS; i++)
        tt_subscriptions_remove(subs, i, &clients[i].subscription);
    cr_expect_eq(tt_subscriptions_followed(subs), 0);
    cr_expect_eq(tt_subscriptions_places(subs), 0);
    tt_subscriptions_destroy(&subs);
    tt_pool_deinit(&pool);
}

TestSuite(subscriptions, .init = begin, .fini = end);

static struct tt_pattern pattern(const char *text)
{
    struct tt_pattern p;
    cr_assert_eq(tt_pattern_parse(tt_bytes_text(text), &p, NULL), TT_OK, "%s", text);
    return p;
}

static void follow(struct tt_client *client, const char *const *texts, uint32_t count)
{
    struct tt_pattern patterns[16];
    for (uint32_t i = 0; i < count; i++) patterns[i] = pattern(texts[i]);
    cr_assert_eq(tt_subscriptions_add(subs, client->slot, patterns, count, &client->subscription),
                 TT_OK);
}

/* How often the client stands in the lists that match the channel. */
static unsigned hits(const struct tt_client *client, const char *channel)
{
    const struct tt_followed *matches[TT_MATCHES_MAX];
    unsigned n = tt_subscriptions_match(subs, tt_bytes_text(channel), matches);
    unsigned found = 0;
    for (unsigned i = 0; i < n; i++)
        for (uint32_t k = 0; k < matches[i]->clients_count; k++)
            found += tt_followed_clients(matches[i])[k] == client->slot;
    return found;
}

static uint32_t hash32(const char *channel)
{
    return (uint32_t)tt_hash(&key, tt_bytes_text(channel));
}

Test(subscriptions, overlapping_patterns_deliver_an_event_once)
{
    const char *texts[] = {"stock.*", "stock.AAPL", "stock.tech.*", "news", "news"};
    follow(&clients[0], texts, 5);
    cr_assert_eq(hits(&clients[0], "stock.AAPL"), 1);
    cr_assert_eq(hits(&clients[0], "stock.tech.MSFT"), 1);
    cr_assert_eq(hits(&clients[0], "news"), 1);
    cr_assert_eq(hits(&clients[0], "stock"), 0);
    cr_assert_eq(hits(&clients[0], "stocks.AAPL"), 0);
    cr_assert_eq(clients[0].subscription->count, 2);
}

Test(subscriptions, a_channel_and_a_prefix_with_the_same_bytes_are_two_things)
{
    const char *channel[] = {"a."};
    const char *prefix[] = {"a.*"};
    follow(&clients[0], channel, 1);
    follow(&clients[1], prefix, 1);
    cr_assert_eq(hits(&clients[0], "a."), 1);
    cr_assert_eq(hits(&clients[0], "a.b"), 0);
    cr_assert_eq(hits(&clients[1], "a.b"), 1);
    cr_assert_eq(hits(&clients[1], "a."), 1);
}

Test(subscriptions, the_bitmap_rules_out_only_what_nobody_follows)
{
    const char *texts[] = {"x.1"};
    cr_assert_not(tt_subscriptions_may_match(subs, hash32("x.1")));
    follow(&clients[0], texts, 1);
    cr_assert(tt_subscriptions_may_match(subs, hash32("x.1")));
    cr_assert_not(tt_subscriptions_may_match(subs, hash32("x.1") ^ 1u));
    tt_subscriptions_remove(subs, 0, &clients[0].subscription);
    cr_assert_not(tt_subscriptions_may_match(subs, hash32("x.1")));
    const char *all[] = {"*"};
    follow(&clients[1], all, 1);
    cr_assert(tt_subscriptions_may_match(subs, hash32("x.1") ^ 1u));
}

/* Random clients come and go; after each step the lists agree with a naive match of every pattern.
 */
Test(subscriptions, agrees_with_a_naive_match)
{
    static const char *const names[] = {"a",     "b",     "a.b", "a.c", "a.b.c",
                                        "a.b.d", "x.y.z", "x.y", "q",   "a.b.c.d"};
    static const char *const patterns[] = {"a",   "b",     "a.b",   "a.*",     "a.b.*", "*",
                                           "x.*", "x.y.*", "x.y.z", "a.b.c.d", "q",     "a.b.c.*"};
    static const char *chosen[CLIENTS][4];
    static uint32_t counts[CLIENTS];
    for (int step = 0; step < 1500; step++) {
        uint32_t i = (uint32_t)rand_r(&seed) % CLIENTS;
        if (clients[i].subscription != NULL) {
            tt_subscriptions_remove(subs, i, &clients[i].subscription);
            counts[i] = 0;
        } else {
            counts[i] = 1 + (uint32_t)rand_r(&seed) % 4;
            for (uint32_t k = 0; k < counts[i]; k++)
                chosen[i][k] =
                    patterns[(size_t)rand_r(&seed) % (sizeof patterns / sizeof *patterns)];
            follow(&clients[i], chosen[i], counts[i]);
        }
        const char *name = names[(size_t)rand_r(&seed) % (sizeof names / sizeof *names)];
        for (uint32_t c = 0; c < CLIENTS; c++) {
            bool expected = false;
            for (uint32_t k = 0; k < counts[c]; k++) {
                struct tt_pattern p = pattern(chosen[c][k]);
                expected |= tt_pattern_match(&p, tt_bytes_text(name));
            }
            cr_assert_eq(hits(&clients[c], name), expected ? 1 : 0, "client %u, %s", c, name);
            if (clients[c].subscription == NULL) continue;
            cr_assert_eq(
                tt_subscription_matches(clients[c].subscription, tt_bytes_text(name), hash32(name)),
                expected);
            if (expected) {
                cr_assert(tt_subscription_may_match(clients[c].subscription, hash32(name)));
                cr_assert(tt_subscriptions_may_match(subs, hash32(name)));
            }
        }
    }
}

/* As many as the option --max-channels-per-client allows, of all kinds, each some times: the time
 * limit is far from what it takes, and far below what comparing all with all takes. */
Test(subscriptions, a_hundred_thousand_patterns_in_one_subscription, .timeout = 60)
{
    enum { COUNT = 100000, LEVEL = 40 };
    char(*texts)[32] = malloc(COUNT * sizeof *texts);
    struct tt_pattern *patterns = malloc(COUNT * sizeof *patterns);
    bool *wide = calloc((size_t)LEVEL * LEVEL, sizeof *wide); /* a.b.* */
    bool *wider = calloc(LEVEL, sizeof *wider);               /* a.* */
    cr_assert(texts != NULL && patterns != NULL && wide != NULL && wider != NULL);
    for (uint32_t i = 0; i < COUNT; i++) {
        unsigned a = (unsigned)rand_r(&seed) % LEVEL, b = (unsigned)rand_r(&seed) % LEVEL,
                 c = (unsigned)rand_r(&seed) % 1000, kind = (unsigned)rand_r(&seed) % 100;
        if (kind == 0 && a % 4 == 0) {
            snprintf(texts[i], sizeof texts[i], "l%u.*", a);
            wider[a] = true;
        } else if (kind < 20 && b % 3 == 0) {
            snprintf(texts[i], sizeof texts[i], "l%u.m%u.*", a, b);
            wide[a * LEVEL + b] = true;
        } else {
            snprintf(texts[i], sizeof texts[i], "l%u.m%u.n%u", a, b, c);
        }
        patterns[i] = pattern(texts[i]);
    }
    for (uint32_t k = 0; k < 3; k++)
        cr_assert_eq(
            tt_subscriptions_add(subs, k, patterns, COUNT / (k + 1), &clients[k].subscription),
            TT_OK);
    const struct tt_subscription *sub = clients[0].subscription;
    cr_assert_gt(sub->exact, 10000);
    cr_assert_gt(sub->count - sub->exact, 300);
    for (uint32_t i = 0; i < COUNT; i += 7) {
        /* Its own name where it is a channel, else one below it. */
        char name[40];
        size_t size = strlen(texts[i]);
        if (patterns[i].kind == TT_PATTERN_PREFIX) size--;
        snprintf(name, sizeof name, "%.*s%s", (int)size, texts[i],
                 patterns[i].kind == TT_PATTERN_PREFIX ? "x" : "");
        cr_assert_eq(hits(&clients[0], name), 1, "%s", name);
        cr_assert(tt_subscription_matches(sub, tt_bytes_text(name), hash32(name)), "%s", name);
    }
    for (unsigned a = 0; a < LEVEL; a++) {
        for (unsigned b = 0; b < LEVEL; b++) {
            char name[40];
            snprintf(name, sizeof name, "l%u.m%u.nobody", a, b);
            bool expected = wider[a] || wide[a * LEVEL + b];
            cr_assert_eq(hits(&clients[0], name), expected, "%s", name);
            cr_assert_eq(tt_subscription_matches(sub, tt_bytes_text(name), hash32(name)), expected,
                         "%s", name);
        }
    }
    /* The first one goes, and its places are filled by the others. */
    tt_subscriptions_remove(subs, 0, &clients[0].subscription);
    for (uint32_t i = 0; i < COUNT / 3; i += 7)
        if (patterns[i].kind == TT_PATTERN_EXACT)
            for (uint32_t k = 1; k < 3; k++) cr_assert_eq(hits(&clients[k], texts[i]), 1);
    for (uint32_t k = 1; k < 3; k++) tt_subscriptions_remove(subs, k, &clients[k].subscription);
    cr_assert_eq(tt_subscriptions_places(subs), 0);
    free(texts);
    free(patterns);
    free(wide);
    free(wider);
}

/* A crowd comes to a channel and leaves it, beside many channels with one client each: what it
 * costs is said in the header, and nothing is left of it. */
Test(subscriptions, a_crowd_costs_what_is_said_and_leaves_nothing)
{
    enum { CROWD = 3000, QUIET = 2000 };
    struct tt_subscriptions *s;
    struct tt_pool crowd = {0};
    cr_assert_eq(tt_pool_init(&crowd, sizeof *clients, 256, CROWD), TT_OK);
    cr_assert_eq(tt_subscriptions_create(&s, &key, &crowd), TT_OK);
    size_t empty = tt_subscriptions_bytes(s);
    const struct tt_pattern hot = pattern("hot");
    for (uint32_t i = 0; i < CROWD; i++) {
        uint32_t slot;
        struct tt_client *client = tt_pool_get(&crowd, &slot);
        cr_assert_eq(tt_subscriptions_add(s, slot, &hot, 1, &client->subscription), TT_OK);
    }
    size_t one = sizeof(struct tt_subscription) + sizeof(struct tt_subscription_entry);
    cr_expect_leq(tt_subscriptions_bytes(s) - empty, CROWD * (one + 4 + 1) + 4096);
    const struct tt_followed *matches[TT_MATCHES_MAX];
    cr_assert_eq(tt_subscriptions_match(s, tt_bytes_text("hot"), matches), 1);
    cr_assert_eq(matches[0]->clients_count, CROWD);
    /* All but a few leave, in an order that fits no list. */
    for (uint32_t i = 0; i < CROWD; i++) {
        uint32_t slot = i * 7 % CROWD;
        struct tt_client *client = tt_pool_at(&crowd, slot);
        if (slot >= 10) tt_subscriptions_remove(s, slot, &client->subscription);
    }
    cr_assert_eq(matches[0]->clients_count, 10);
    for (uint32_t k = 0; k < 10; k++) cr_expect_lt(tt_followed_clients(matches[0])[k], 10);
    cr_expect_leq(tt_subscriptions_bytes(s) - empty, 4096);
    for (uint32_t slot = 0; slot < 10; slot++) {
        struct tt_client *client = tt_pool_at(&crowd, slot);
        tt_subscriptions_remove(s, slot, &client->subscription);
    }
    /* Numbers are used again: channels that come and go do not grow the tables. */
    size_t after = 0;
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < QUIET; i++) {
            char name[32];
            snprintf(name, sizeof name, "quiet.%u.%u", round, i);
            struct tt_client *client = tt_pool_at(&crowd, i);
            struct tt_pattern p = pattern(name);
            cr_assert_eq(tt_subscriptions_add(s, i, &p, 1, &client->subscription), TT_OK);
        }
        cr_assert_eq(tt_subscriptions_followed(s), QUIET);
        for (uint32_t i = 0; i < QUIET; i++) {
            struct tt_client *client = tt_pool_at(&crowd, i);
            tt_subscriptions_remove(s, i, &client->subscription);
        }
        if (round == 0) after = tt_subscriptions_bytes(s);
        cr_expect_eq(tt_subscriptions_bytes(s), after);
    }
    tt_subscriptions_destroy(&s);
    tt_pool_deinit(&crowd);
}
