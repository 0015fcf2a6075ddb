/* From a source into the mirror, and publishing to it: a simulated broker (tests/support/sim.h)
 * over a simulated Kafka (sim_source.h). Schedules are drawn from a seed; a failed one is printed
 * and can be run alone:
 *
 *     TT_SIM_FIRST=4711 TT_SIM_COUNT=1 build/debug/unit/ingest_test
 *
 * All tests have one timeout: with several, Criterion 2.4 leaks in its own process, and a sanitizer
 * says so. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/sim_clients_internal.h"
#include "tests/support/sim_source.h"

#define FOLLOWERS 5u

static const char *const channels[] = {"a", "b", "c", "x.1", "x.2", "y.z.1", "y.z.2", "y.3"};
#define CHANNELS (sizeof channels / sizeof *channels)

struct rig {
    struct sim sim;
    struct sim_source source;
    struct sim_ledger ledger;
    struct sim_publisher publisher;
    struct sim_follower followers[FOLLOWERS];
    uint32_t followers_count;
    uint32_t pad_max;
    unsigned starts;
    bool settles; /* what is produced is acknowledged by and by */
};

static void begin(struct rig *r, uint64_t seed, uint32_t shards, uint32_t partitions)
{
    memset(r, 0, sizeof *r);
    sim_init(&r->sim, seed, shards);
    sim_source_init(&r->source, &r->sim, partitions);
    sim_option(&r->sim, "--log-segment-bytes=2MiB");
    sim_option(&r->sim, "--tail-bytes=2MiB");
    sim_option(&r->sim, "--outbox-bytes=8192");
    sim_option(&r->sim, "--heartbeat-ms=200");
    sim_option(&r->sim, "--catchup-bytes=4MiB");
    sim_option(&r->sim, "--log-retention-ms=87600h");
    sim_option(&r->sim, "--keepalive-ms=1h");
    sim_option(&r->sim, "--header-timeout-ms=10m");
    sim_option(&r->sim, "--stall-ms=24h");
    r->ledger = (struct sim_ledger){
        .sim = &r->sim, .channels = channels, .channels_count = CHANNELS, .partitions = partitions};
}

static void end(struct rig *r)
{
    if (r->publisher.link != NULL) sim_cut(&r->publisher.link);
    for (uint32_t i = 0; i < r->followers_count; i++) {
        sim_follower_cut(&r->followers[i]);
        sim_follower_deinit(&r->followers[i]);
    }
    sim_deinit(&r->sim);
    sim_source_deinit(&r->source);
    sim_ledger_deinit(&r->ledger);
}

/* Another producer's event. */
static void append(struct rig *r, uint32_t hole, uint32_t pad)
{
    static char payload[70002];
    char type[16];
    uint64_t *random = &r->sim.random;
    struct sim_event e = {.channel = (uint8_t)(sim_random(random) % CHANNELS),
                          .pad = pad,
                          .placed = true,
                          .answered = true};
    memset(payload, 'x', pad + 2);
    payload[0] = payload[pad + 1] = '"';
    (void)snprintf(type, sizeof type, "v%u", r->ledger.count);
    struct tt_event event = {.channel = tt_bytes_text(channels[e.channel]),
                             .type = tt_bytes_text(type),
                             .payload = tt_bytes(payload, pad + 2)};
    e.partition =
        (uint8_t)tt_shard_partition_of(r->sim.world->shards[0], tt_bytes_text(channels[e.channel]));
    e.offset = sim_source_append(&r->source, e.partition, hole, &event);
    SIM_PUSH(r->ledger.events, r->ledger.count, r->ledger.capacity, e);
}

static void steps(struct rig *r, unsigned n)
{
    while (n-- > 0 && sim_step(&r->sim))
        if (r->settles && sim_chance(&r->sim.random, 8)) (void)sim_source_settle(&r->source);
    if (r->publisher.link != NULL) sim_publisher_take(&r->publisher, &r->ledger);
}

static uint64_t sum(const struct rig *r, size_t offset)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < r->sim.shards; i++)
        total += tt_metric_get((const tt_metric *)(const void *)((const char *)tt_shard_metrics(
                                                                     r->sim.world->shards[i]) +
                                                                 offset));
    return total;
}
#define SUM(r, field) sum(r, offsetof(struct tt_shard_metrics, field))

/* ---- everything, drawn ---- */

static uint32_t any_shard(struct rig *r)
{
    return (uint32_t)(sim_random(&r->sim.random) % r->sim.shards);
}

static void start(struct rig *r)
{
    sim_start(&r->sim);
    r->publisher.link = sim_connect(&r->sim, any_shard(r), 4096);
    r->starts++;
}

/* The source is the same behind it; what was being published has an unknown fate, so none is. */
static void start_again(struct rig *r)
{
    if (!sim_publisher_idle(&r->publisher)) return;
    for (uint32_t i = 0; i < r->followers_count; i++) {
        if (r->followers[i].spare != NULL) sim_cut(&r->followers[i].spare);
        sim_follower_take(&r->followers[i], sim_between(&r->sim.random, 0, 20000));
    }
    if (sim_chance(&r->sim.random, 2)) {
        sim_stop(&r->sim);
    } else {
        sim_kill(&r->sim);
        sim_source_forget(&r->source);
    }
    for (uint32_t i = 0; i < r->followers_count; i++) sim_follower_cut(&r->followers[i]);
    sim_publisher_lost(&r->publisher);
    start(r);
}

static void act(struct rig *r)
{
    uint64_t *random = &r->sim.random;
    struct sim_follower *f = &r->followers[sim_random(random) % r->followers_count];
    uint64_t choice = sim_between(random, 0, 99);
    if (choice < 20) {
        for (uint64_t n = sim_between(random, 1, 60); n > 0; n--)
            append(r, sim_chance(random, 4) ? (uint32_t)sim_between(random, 1, 9) : 0,
                   (uint32_t)sim_between(random, 0, r->pad_max));
    } else if (choice < 24) {
        uint32_t p = (uint32_t)(sim_random(random) % r->source.partitions_count);
        if (sim_chance(random, 2))
            sim_source_poison(&r->source, p);
        else
            sim_source_mark(&r->source, p, (uint32_t)sim_between(random, 1, 5));
    } else if (choice < 30) {
        if (sim_publisher_idle(&r->publisher))
            sim_publish(&r->publisher, &r->ledger, (uint32_t)sim_between(random, 1, 20), r->pad_max,
                        -1);
    } else if (choice < 40) {
        for (uint64_t n = sim_between(random, 1, 10); n > 0; n--)
            (void)sim_source_settle(&r->source);
    } else if (choice < 70) {
        steps(r, (unsigned)sim_between(random, 1, 12));
    } else if (choice < 90) {
        if (f->link == NULL)
            sim_follower_connect(f, any_shard(r), sim_between(random, 100, 60000));
        else
            sim_follower_take(f, sim_between(random, 1, 30000));
    } else if (choice < 95) {
        sim_follower_take(f, sim_between(random, 0, 2000));
        sim_follower_cut(f);
    } else if (choice < 98) {
        sim_pass_ns(&r->sim, sim_between(random, 1000, UINT64_C(50000000)));
    } else if (r->starts < 4 && sim_chance(random, 5)) {
        start_again(r);
    }
}

static bool all_is_mirrored(const struct rig *r)
{
    for (uint32_t p = 0; p < r->source.partitions_count; p++)
        if (tt_metric_get(&r->sim.world->partitions[p].mirror_next) != r->source.partitions[p].end)
            return false;
    return true;
}

/* Everybody gets everything, and the figures come to rest at the source's end. */
static void quiet(struct rig *r)
{
    bool done = false;
    for (unsigned round = 0; round < 3000 && !done && r->ledger.violations == 0; round++) {
        while (sim_source_settle(&r->source)) continue;
        steps(r, 200);
        done = sim_publisher_idle(&r->publisher) && all_is_mirrored(r);
        for (uint32_t i = 0; i < r->followers_count; i++) {
            struct sim_follower *f = &r->followers[i];
            if (f->link == NULL)
                sim_follower_connect(f, any_shard(r), 1 << 20);
            else
                f->link->room = 1 << 20;
            sim_follower_take(f, SIZE_MAX);
            done &= sim_follower_complete(f);
        }
    }
    if (!done) sim_violation(&r->ledger, "somebody never gets everything");
    for (uint32_t p = 0; done && p < r->source.partitions_count; p++) {
        const struct tt_partition *partition = &r->sim.world->partitions[p];
        uint64_t end = r->source.partitions[p].end;
        for (unsigned i = 0; i < 5000 && tt_metric_get(&partition->read_next) != end; i++)
            steps(r, 1);
        if (tt_metric_get(&partition->read_next) != end ||
            tt_metric_get(&partition->source_end) != end ||
            tt_metric_get(&partition->backfilling) != 0)
            sim_violation(&r->ledger, "the figures of partition %u are not those of the end", p);
    }
    for (uint32_t i = 0; i < r->followers_count; i++) sim_follower_finish(&r->followers[i]);
}

static struct {
    uint64_t events, duplicates, polls, waits, produced;
} met;

static uint32_t run(uint64_t seed, uint32_t pad_max)
{
    static struct rig rig;
    struct rig *r = &rig;
    uint64_t random = seed * UINT64_C(0x2545F4914F6CDD1D) + 7;
    uint32_t shards = (uint32_t)sim_between(&random, 1, 3);
    begin(r, sim_random(&random), shards, (uint32_t)sim_between(&random, 1, SIM_PARTITIONS_MAX));
    r->sim.publish_wait_ms = 86400000; /* time jumps to whatever is next */
    r->pad_max = pad_max;
    r->settles = true;
    r->source.under_way_max = (uint32_t)sim_between(&random, 1, 30);
    start(r);
    r->followers_count = (uint32_t)sim_between(&random, 1, FOLLOWERS);
    for (uint32_t i = 0; i < r->followers_count; i++)
        sim_follower_init(&r->followers[i], &r->ledger, &random, i, true);
    for (uint64_t n = sim_between(&random, 50, 500); n > 0 && r->ledger.violations == 0; n--)
        act(r);
    quiet(r);
    uint32_t violations = r->ledger.violations;
    if (violations != 0) sim_print_log(&r->sim);
    met.duplicates += r->source.duplicates;
    met.polls += r->source.polls;
    met.waits += SUM(r, ingest_waits);
    met.produced += SUM(r, produced);
    for (uint32_t i = 0; i < r->followers_count; i++) met.events += r->followers[i].events;
    end(r);
    return violations;
}

static uint64_t number_of(const char *name, uint64_t fallback)
{
    const char *text = getenv(name);
    return text == NULL ? fallback : strtoull(text, NULL, 10);
}

static void many(uint32_t pad_max, uint64_t count)
{
    memset(&met, 0, sizeof met);
    uint64_t first = number_of("TT_SIM_FIRST", 1);
    if (getenv("TT_LONG") != NULL) count *= 20;
    count = number_of("TT_SIM_COUNT", count);
    for (uint64_t seed = first; seed < first + count; seed++)
        cr_assert_eq(run(seed, pad_max), 0, "TT_SIM_FIRST=%llu TT_SIM_COUNT=1",
                     (unsigned long long)seed);
    (void)fprintf(stderr, "# events %llu, polls %llu, duplicates %llu, waits %llu, produced %llu\n",
                  (unsigned long long)met.events, (unsigned long long)met.polls,
                  (unsigned long long)met.duplicates, (unsigned long long)met.waits,
                  (unsigned long long)met.produced);
}

Test(ingest, exactly_once_of_whatever_comes, .timeout = 600)
{
    many(400, 30);
    cr_assert(met.duplicates > 0 && met.produced > 0 && met.events > 0);
}

Test(ingest, exactly_once_when_tails_are_small, .timeout = 600)
{
    many(60000, 8);
}

/* ---- back-pressure ---- */

/* A shard that does not read keeps the tail full: the owner takes nothing more from the source, and
 * goes on by itself when there is room. */
Test(ingest, a_full_tail_stops_the_source_and_loses_nothing, .timeout = 600)
{
    static struct rig rig;
    struct rig *r = &rig;
    begin(r, 11, 2, 1);
    sim_start(&r->sim);
    steps(r, 200);
    r->sim.starved = 1; /* partition 0 is written by shard 0 */
    for (unsigned i = 0; i < 400; i++) append(r, i % 3, 30000);
    uint64_t end_offset = r->source.partitions[0].end;
    const struct tt_partition *p = &r->sim.world->partitions[0];
    for (unsigned i = 0; i < 20000 && SUM(r, ingest_waits) == 0; i++) {
        r->sim.scheduler.hurry = true;
        steps(r, 1);
        sim_pass_ns(&r->sim, 1000000);
    }
    cr_assert_eq(SUM(r, ingest_waits), 1);
    sim_pass_ns(&r->sim,
                UINT64_C(100000000)); /* time stands while only the starved one could run */
    steps(r, 2000);
    uint64_t stands = tt_metric_get(&p->mirror_next);
    cr_assert(stands > 0 && stands < end_offset, "%llu", (unsigned long long)stands);
    uint64_t polls = r->source.polls;
    for (unsigned i = 0; i < 100; i++) {
        steps(r, 20);
        sim_pass_ns(&r->sim, UINT64_C(20000000));
    }
    cr_assert_eq(r->source.polls, polls, "it is not polled while the tail is full");
    r->sim.starved = SIM_SHARDS_MAX;
    for (unsigned i = 0; i < 20000 && tt_metric_get(&p->read_next) != end_offset; i++) steps(r, 1);
    cr_assert_eq(tt_metric_get(&p->read_next), end_offset);
    cr_assert_eq(SUM(r, events_kafka), 400);
    end(r);
}

/* ---- ends ---- */

Test(ingest, backfilling_is_over_at_the_first_end, .timeout = 600)
{
    static struct rig rig;
    struct rig *r = &rig;
    begin(r, 12, 1, 2);
    /* Partition 0: records, and behind them marks of a transaction; partition 1 is empty. */
    struct tt_event event = {.channel = TT_BYTES_LITERAL("a"),
                             .type = TT_BYTES_LITERAL("v0"),
                             .payload = TT_BYTES_LITERAL("1")};
    for (unsigned i = 0; i < 3000; i++) sim_source_append(&r->source, 0, 0, &event);
    sim_source_mark(&r->source, 0, 3);
    sim_start(&r->sim);
    const struct tt_partition *p = r->sim.world->partitions;
    cr_assert_eq(tt_metric_get(&p[0].backfilling), 1);
    for (unsigned n = 0; n < 2; n++) {
        for (unsigned i = 0; i < 5000 && tt_metric_get(&p[n].backfilling) != 0; i++) steps(r, 1);
        cr_assert_eq(tt_metric_get(&p[n].backfilling), 0);
    }
    for (unsigned i = 0; i < 5000 && tt_metric_get(&p[0].mirror_next) != 3003; i++) steps(r, 1);
    cr_assert_eq(tt_metric_get(&p[0].mirror_next), 3003);
    cr_assert_eq(r->source.partitions[0].read, 3003, "commit_group is told");
    /* After a restart what stood behind the last event is fetched again. */
    sim_stop(&r->sim);
    sim_start(&r->sim);
    steps(r, 500);
    cr_assert_eq(SUM(r, events_kafka), 0);
    cr_assert_eq(tt_metric_get(&r->sim.world->partitions[0].mirror_next), 3003);
    end(r);
}

/* ---- publishing ---- */

static struct sim_link *post(struct rig *r, const char *fields, const char *body)
{
    char text[2000];
    int n = snprintf(text, sizeof text,
                     "POST /publish HTTP/1.1\r\nHost: x\r\n%sContent-Length: %zu\r\n\r\n%s", fields,
                     strlen(body), body);
    struct sim_link *link = sim_connect(&r->sim, 0, 1 << 16);
    sim_bytes_append(&link->to_shard, text, (size_t)n);
    return link;
}

static const char *answer_of(struct rig *r, struct sim_link *link, unsigned steps_max)
{
    static const char *end_of_head = "\r\n\r\n";
    for (unsigned i = 0; i < steps_max; i++) {
        steps(r, 1);
        if (link->to_peer.size == 0) continue;
        sim_bytes_append(&link->to_peer, "", 1);
        link->to_peer.size--;
        if (strstr((const char *)link->to_peer.data, end_of_head) != NULL)
            return (const char *)link->to_peer.data;
    }
    return NULL;
}

#define SAYS(text, what) cr_assert(text != NULL && strstr(text, what) != NULL, "%s", text)

Test(ingest, published_events_come_back_with_their_ids, .timeout = 600)
{
    static struct rig rig;
    struct rig *r = &rig;
    begin(r, 13, 2, 2);
    sim_start(&r->sim);
    struct sim_link *link = post(r, "", "{\"channel\":\"a\",\"payload\":1}");
    cr_assert_null(answer_of(r, link, 300), "nothing is answered before Kafka has acknowledged it");
    cr_assert(sim_source_settle(&r->source));
    const char *text = answer_of(r, link, 300);
    SAYS(text, "HTTP/1.1 202");
    SAYS(text, "{\"id\":\"kkkkkk-");
    sim_cut(&link);
    link = post(r, "", "[{\"channel\":\"a\"},{\"channel\":\"bad.x\"}]");
    text = answer_of(r, link, 300);
    SAYS(text, "HTTP/1.1 400");
    SAYS(text, "element 1: channel: begins with");
    sim_cut(&link);
    link = post(r, "Idempotency-Key: k\r\n", "{\"channel\":\"a\"}");
    SAYS(answer_of(r, link, 300), "idempotency_unsupported");
    sim_cut(&link);
    for (unsigned i = 0; i < 1000 && SUM(r, events_kafka) == 0; i++) steps(r, 1);
    cr_assert_eq(SUM(r, events_kafka), 1);
    end(r);
}

Test(ingest, what_kafka_does_not_take_in_time_is_503, .timeout = 600)
{
    static struct rig rig;
    struct rig *r = &rig;
    begin(r, 14, 1, 1);
    sim_option(&r->sim, "--publish-wait-ms=1s");
    r->source.under_way_max = 1;
    sim_start(&r->sim);
    /* The first is under way, the second waits for it, and no longer than it may. */
    struct sim_link *first = post(r, "", "{\"channel\":\"a\"}");
    cr_assert_null(answer_of(r, first, 100));
    struct sim_link *second = post(r, "", "{\"channel\":\"a\"}");
    /* Time passes by itself where nobody has anything to do. */
    const char *text = answer_of(r, second, 300);
    SAYS(text, "HTTP/1.1 503");
    SAYS(text, "Retry-After: 1");
    SAYS(text, "was not handed to it");
    r->source.fails = 1;
    cr_assert(sim_source_settle(&r->source));
    text = answer_of(r, first, 300);
    SAYS(text, "HTTP/1.1 503");
    SAYS(text, "kafka_unavailable");
    SAYS(text, "it may have been taken all the same");
    sim_cut(&first);
    sim_cut(&second);
    end(r);
}

/* What is under way when the broker ends is answered or forgotten, not waited for. */
Test(ingest, stopping_while_something_is_under_way, .timeout = 600)
{
    static struct rig rig;
    struct rig *r = &rig;
    begin(r, 15, 2, 2);
    r->source.under_way_max = 2;
    sim_start(&r->sim);
    struct sim_link *links[6];
    for (unsigned i = 0; i < 6; i++)
        links[i] = post(r, "", "[{\"channel\":\"a\"},{\"channel\":\"b\"},{\"channel\":\"c\"}]");
    steps(r, 100);
    sim_stop(&r->sim);
    for (unsigned i = 0; i < 6; i++) sim_cut(&links[i]);
    sim_start(&r->sim);
    for (unsigned i = 0; i < 20; i++) append(r, 0, 10);
    for (unsigned i = 0; i < 2000 && SUM(r, events_kafka) != 20; i++) steps(r, 1);
    cr_assert_eq(SUM(r, events_kafka), 20);
    end(r);
}

/* ---- event: feed ---- */

static struct sim_link *follow(struct rig *r, uint32_t shard)
{
    static const char request[] = "GET /sse?channels=a HTTP/1.1\r\nHost: x\r\n\r\n";
    struct sim_link *link = sim_connect(&r->sim, shard, 1 << 16);
    sim_bytes_append(&link->to_shard, request, sizeof request - 1);
    return link;
}

/* Whether the client has got the text by now. */
static bool has(struct rig *r, struct sim_link *link, const char *text)
{
    steps(r, 300);
    sim_bytes_append(&link->to_peer, "", 1);
    link->to_peer.size--;
    return strstr((const char *)link->to_peer.data, text) != NULL;
}

Test(ingest, clients_are_told_when_the_feed_is_stale, .timeout = 600)
{
    static struct rig rig;
    struct rig *r = &rig;
    begin(r, 16, 2, 1);
    sim_start(&r->sim);
    struct sim_link *early[2] = {follow(r, 0), follow(r, 1)};
    for (unsigned i = 0; i < 2; i++) {
        cr_assert(has(r, early[i], "event: connected"));
        cr_assert_not(has(r, early[i], "event: feed"));
    }
    sim_feed(&r->sim, true, 1700000000123, "no broker of \"k:9092\" can be reached");
    static const char stale[] = "event: feed\ndata: {\"state\":\"stale\",\"since\":1700000000123,"
                                "\"cause\":\"no broker of \\\"k:9092\\\" can be reached\"}\n\n";
    for (unsigned i = 0; i < 2; i++) cr_assert(has(r, early[i], stale));
    cr_assert_eq(SUM(r, feed_stale), 2);
    /* Behind `connected`, and before anything else. */
    struct sim_link *late = follow(r, 1);
    cr_assert(has(r, late, stale));
    const char *text = (const char *)late->to_peer.data;
    cr_assert(strstr(text, "event: connected") < strstr(text, stale));
    /* Told twice, heard once. */
    sim_feed(&r->sim, true, 1700000000123, "no broker of \"k:9092\" can be reached");
    cr_assert(has(r, late, stale));
    cr_assert_null(strstr(strstr((const char *)late->to_peer.data, stale) + 1, stale));
    sim_feed(&r->sim, false, 1700000000456, NULL);
    static const char live[] =
        "event: feed\ndata: {\"state\":\"live\",\"since\":1700000000456}\n\n";
    cr_assert(has(r, late, live));
    for (unsigned i = 0; i < 2; i++) cr_assert(has(r, early[i], live));
    cr_assert_eq(SUM(r, feed_stale), 0);
    struct sim_link *last = follow(r, 0);
    cr_assert(has(r, last, "event: connected"));
    cr_assert_not(has(r, last, "event: feed"));
    for (unsigned i = 0; i < 2; i++) sim_cut(&early[i]);
    sim_cut(&late);
    sim_cut(&last);
    end(r);
}
