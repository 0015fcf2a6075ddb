/* What the table of subscriptions costs, alone: no sockets, no shard.
 *
 *   subscriptions --clients=9500 --each=105 --channels=10000 --quiet=100000
 *
 * Prints a line of JSON: bytes as the table counts them and as the allocator does, for each
 * subscription of a client and for each channel; and CPU nanoseconds of a match (a followed
 * channel, one of many that nobody follows, a hot one beside --quiet channels with one client
 * each), of following and of leaving. */
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "shard/client/client.h"
#include "shard/fanout/subscriptions.h"

#define MATCHES 2000000u

struct bench {
    uint32_t clients, each, channels, quiet;
    struct tt_pool pool;
    struct tt_subscriptions *subscriptions;
    struct tt_hash_key key;
    uint64_t seed, found;
    char (*names)[24];
};

static void stop(const char *what)
{
    fprintf(stderr, "subscriptions: %s\n", what);
    exit(2);
}

static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint32_t draw(struct bench *b, uint32_t below)
{
    b->seed = b->seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)((b->seed >> 33) % below);
}

static size_t allocated(void)
{
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

static struct tt_pattern exact(const char *name)
{
    return (struct tt_pattern){TT_PATTERN_EXACT, tt_bytes_text(name)};
}

static void begin(struct bench *b, uint32_t clients)
{
    uint32_t slot;
    if (tt_pool_init(&b->pool, sizeof(struct tt_client), 256, clients) != TT_OK ||
        tt_subscriptions_create(&b->subscriptions, &b->key, &b->pool) != TT_OK)
        stop("memory");
    for (uint32_t i = 0; i < clients; i++)
        if (tt_pool_get(&b->pool, &slot) == NULL) stop("memory");
}

static void follow(struct bench *b, uint32_t client, const struct tt_pattern *patterns,
                   uint32_t count)
{
    struct tt_client *c = tt_pool_at(&b->pool, client);
    if (tt_subscriptions_add(b->subscriptions, client, patterns, count, &c->subscription) != TT_OK)
        stop("memory");
}

/* CPU of a match of these names, drawn at random. */
static double match(struct bench *b, char (*names)[24], uint32_t count)
{
    const struct tt_followed *matches[TT_MATCHES_MAX];
    uint64_t from = cpu_ns();
    for (uint32_t i = 0; i < MATCHES; i++) {
        struct tt_bytes name = tt_bytes_text(names[draw(b, count)]);
        b->found += tt_subscriptions_match(b->subscriptions, name, matches);
    }
    return (double)(cpu_ns() - from) / MATCHES;
}

static double leave_all(struct bench *b, uint32_t clients, uint64_t subscriptions)
{
    uint64_t from = cpu_ns();
    for (uint32_t i = 0; i < clients; i++) {
        uint32_t slot = (uint32_t)((uint64_t)i * 7919 % clients); /* in no order of the lists */
        struct tt_client *c = tt_pool_at(&b->pool, slot);
        tt_subscriptions_remove(b->subscriptions, slot, &c->subscription);
    }
    for (uint32_t i = 0; i < clients; i++) { /* 7919 may divide the number */
        struct tt_client *c = tt_pool_at(&b->pool, i);
        tt_subscriptions_remove(b->subscriptions, i, &c->subscription);
    }
    return (double)(cpu_ns() - from) / (double)subscriptions;
}

static void million(struct bench *b)
{
    begin(b, b->clients);
    struct tt_pattern *patterns = malloc(b->each * sizeof *patterns);
    if (patterns == NULL) stop("memory");
    size_t counted = tt_subscriptions_bytes(b->subscriptions), heap = allocated();
    uint64_t subscriptions = (uint64_t)b->clients * b->each;
    uint64_t from = cpu_ns();
    for (uint32_t i = 0; i < b->clients; i++) {
        for (uint32_t k = 0; k < b->each; k++)
            patterns[k] = exact(b->names[((uint64_t)i * b->each + k) % b->channels]);
        follow(b, i, patterns, b->each);
    }
    double followed_ns = (double)(cpu_ns() - from) / (double)subscriptions;
    counted = tt_subscriptions_bytes(b->subscriptions) - counted;
    heap = allocated() - heap;
    double match_ns = match(b, b->names, b->channels);
    char(*strangers)[24] = b->names + b->channels;
    double stranger_ns = match(b, strangers, b->channels);
    double left_ns = leave_all(b, b->clients, subscriptions);
    printf("\"subscriptions\":%" PRIu64 ",\"bytes\":%zu,\"heap_bytes\":%zu,\"follow_ns\":%.1f"
           ",\"match_ns\":%.1f,\"match_nobody_ns\":%.1f,\"leave_ns\":%.1f",
           subscriptions, counted, heap, followed_ns, match_ns, stranger_ns, left_ns);
    tt_subscriptions_destroy(&b->subscriptions);
    tt_pool_deinit(&b->pool);
    free(patterns);
}

static void hot(struct bench *b)
{
    begin(b, b->quiet);
    size_t heap = allocated(), counted = tt_subscriptions_bytes(b->subscriptions);
    for (uint32_t i = 0; i < b->quiet; i++) {
        char name[24];
        (void)snprintf(name, sizeof name, "quiet.%u", i);
        struct tt_pattern p = exact(name);
        follow(b, i, &p, 1);
    }
    double quiet_bytes = (double)(tt_subscriptions_bytes(b->subscriptions) - counted) / b->quiet;
    double quiet_heap = (double)(allocated() - heap) / b->quiet;
    double without_ns = 0, with_ns;
    char names[1][24] = {"quiet.7"};
    without_ns = match(b, names, 1);
    with_ns = match(b, b->names, b->channels);
    double left_ns = leave_all(b, b->quiet, b->quiet);
    printf(",\"quiet_bytes\":%.1f,\"quiet_heap_bytes\":%.1f,\"hot_match_ns\":%.1f"
           ",\"beside_quiet_nobody_ns\":%.1f,\"quiet_leave_ns\":%.1f",
           quiet_bytes, quiet_heap, without_ns, with_ns, left_ns);
    tt_subscriptions_destroy(&b->subscriptions);
    tt_pool_deinit(&b->pool);
}

static uint32_t option(const char *argument, const char *name, uint32_t before)
{
    size_t size = strlen(name);
    return strncmp(argument, name, size) == 0 ? (uint32_t)strtoul(argument + size, NULL, 10)
                                              : before;
}

int main(int count, char **arguments)
{
    struct bench b = {.clients = 9500, .each = 105, .channels = 10000, .quiet = 100000, .seed = 1};
    b.key = (struct tt_hash_key){1, 2};
    for (int i = 1; i < count; i++) {
        b.clients = option(arguments[i], "--clients=", b.clients);
        b.each = option(arguments[i], "--each=", b.each);
        b.channels = option(arguments[i], "--channels=", b.channels);
        b.quiet = option(arguments[i], "--quiet=", b.quiet);
    }
    if (b.clients == 0 || b.each == 0 || b.channels < b.each || b.quiet == 0)
        stop("--clients=N --each=N --channels=N (at least --each) --quiet=N");
    b.names = malloc((size_t)b.channels * 2 * sizeof *b.names);
    if (b.names == NULL) stop("memory");
    for (uint32_t i = 0; i < b.channels; i++) {
        (void)snprintf(b.names[i], sizeof *b.names, "stock.%u", i);
        (void)snprintf(b.names[b.channels + i], sizeof *b.names, "other.%u", i);
    }
    printf("{");
    million(&b);
    hot(&b);
    printf(",\"found\":%" PRIu64 "}\n", b.found);
    free(b.names);
    return 0;
}
