/* Topics whose channels turn out to lie elsewhere than was said, and places beyond the mirror's
 * end: a simulated broker (tests/support/sim.h) over a simulated Kafka (sim_source.h). */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/sim_clients_internal.h"
#include "tests/support/sim_source.h"

#define PARTITIONS 3u
#define TEXT_MAX   (1u << 20)

static struct sim sim;
static struct sim_source source;
static uint32_t own; /* where channel "a" belongs */

struct stream {
    struct sim_link *link;
    char *text; /* what has come, with a zero behind it */
    size_t size;
};

static void begin(void)
{
    sim_init(&sim, 1, 1);
    sim_source_init(&source, &sim, PARTITIONS);
    sim_option(&sim, "--outbox-bytes=4096");
    sim_option(&sim, "--header-timeout-ms=10m");
    sim_option(&sim, "--keepalive-ms=1h");
    sim_option(&sim, "--stall-ms=24h");
    sim_option(&sim, "--log-retention-ms=87600h");
    sim_start(&sim);
    own = tt_shard_partition_of(sim.world->shards[0], TT_BYTES_LITERAL("a"));
}

static void end(void)
{
    sim_deinit(&sim);
    sim_source_deinit(&source);
}

static void append(uint32_t partition, uint32_t flags, const char *payload)
{
    struct tt_event event = {.channel = TT_BYTES_LITERAL("a"),
                             .type = TT_BYTES_LITERAL("t"),
                             .payload = tt_bytes_text(payload),
                             .flags = flags};
    sim_source_append(&source, partition, 0, &event);
}

static struct stream open_stream(const char *query, const char *cursor, size_t room)
{
    struct stream s = {.link = sim_connect(&sim, 0, room), .text = calloc(1, TEXT_MAX + 1)};
    char request[4096];
    int n = snprintf(request, sizeof request,
                     "GET /sse?%s HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
                     "Last-Event-ID: %s\r\n\r\n",
                     query, cursor);
    sim_bytes_append(&s.link->to_shard, request, (size_t)n);
    return s;
}

static void take(struct stream *s)
{
    size_t bytes = s->link->to_peer.size;
    cr_assert_leq(s->size + bytes, TEXT_MAX);
    if (bytes != 0) memcpy(s->text + s->size, s->link->to_peer.data, bytes);
    sim_bytes_drop(&s->link->to_peer, bytes);
    s->size += bytes;
    s->text[s->size] = '\0';
}

/* Runs until the text has come. */
static bool comes(struct stream *s, const char *text)
{
    for (unsigned i = 0; i < 20000; i++) {
        take(s);
        if (strstr(s->text, text) != NULL) return true;
        (void)sim_step(&sim);
    }
    return false;
}

static void run_steps(unsigned n)
{
    while (n-- > 0) (void)sim_step(&sim);
}

/* The last whole id line. */
static const char *last_id(const struct stream *s)
{
    static char id[4096];
    const char *found = NULL;
    for (const char *at = s->text; (at = strstr(at, "id: ")) != NULL; at += 4)
        if (at != s->text && at[-1] == '\n' && strchr(at, '\n') != NULL) found = at + 4;
    cr_assert_not_null(found);
    size_t n = strcspn(found, "\n");
    cr_assert_lt(n, sizeof id);
    memcpy(id, found, n);
    id[n] = '\0';
    return id;
}

static void close_stream(struct stream *s)
{
    sim_cut(&s->link);
    free(s->text);
}

static uint64_t metric(size_t offset)
{
    return tt_metric_get(
        (const tt_metric *)(const void *)((const char *)tt_shard_metrics(sim.world->shards[0]) +
                                          offset));
}
#define METRIC(field) metric(offsetof(struct tt_shard_metrics, field))

Test(repartition, a_misplaced_record_reaches_a_live_client_that_was_narrow, .timeout = 60)
{
    begin();
    run_steps(500);
    struct stream s = open_stream("channels=a", "", 1 << 20);
    cr_assert(comes(&s, "event: connected"));
    append(own, 0, "\"first\"");
    cr_assert(comes(&s, "first"));
    cr_assert(comes(&s, "/3\n"), "its ids are narrow: %s", s.text);
    char before[4096];
    (void)snprintf(before, sizeof before, "%s", last_id(&s));
    append((own + 1) % PARTITIONS, TT_EVENT_MISPLACED, "\"elsewhere\"");
    cr_assert(comes(&s, "elsewhere"));
    cr_assert(comes(&s, "id: ~"), "and full from there on");
    append(own, 0, "\"third\"");
    cr_assert(comes(&s, "third"));
    cr_assert_eq(METRIC(repartitioned), 1);
    char after[4096];
    (void)snprintf(after, sizeof after, "%s", last_id(&s));
    close_stream(&s);

    /* Full cursors resume exactly, in all partitions. */
    append((own + 2) % PARTITIONS, TT_EVENT_MISPLACED, "\"fourth\"");
    append(own, 0, "\"fifth\"");
    s = open_stream("channels=a", after, 1 << 20);
    cr_assert(comes(&s, "fourth") && comes(&s, "fifth"));
    cr_assert_null(strstr(s.text, "resync"));
    cr_assert_null(strstr(s.text, "third"));
    close_stream(&s);

    /* The narrow one of before has to be told. */
    s = open_stream("channels=a", before, 1 << 20);
    cr_assert(comes(&s, "{\"reason\":\"repartitioned\",\"channels\":[\"a\"]}"));
    cr_assert(comes(&s, "fifth"));
    cr_assert_not_null(strstr(s.text, "third"));
    cr_assert_null(strstr(s.text, "elsewhere"));
    cr_assert_eq(METRIC(resyncs_repartitioned), 1);
    close_stream(&s);
    end();
}

Test(repartition, one_that_catches_up_misses_nothing, .timeout = 60)
{
    begin();
    run_steps(500);
    char pad[2000];
    memset(pad, 'x', sizeof pad);
    pad[0] = pad[sizeof pad - 2] = '"';
    pad[sizeof pad - 1] = '\0';
    struct stream s = open_stream("channels=a", "", 2000);
    cr_assert(comes(&s, "event: connected"));
    append(own, 0, "\"first\"");
    cr_assert(comes(&s, "first"));
    for (unsigned i = 0; i < 40; i++) append(own, 0, pad);
    for (unsigned i = 0; i < 20000 && METRIC(clients_catchup) == 0; i++) run_steps(1);
    cr_assert_eq(METRIC(clients_catchup), 1, "its outbox went over the bound");
    append((own + 1) % PARTITIONS, TT_EVENT_MISPLACED, "\"elsewhere\"");
    append(own, 0, "\"last\"");
    for (unsigned i = 0; i < 20000 && METRIC(repartitioned) == 0; i++) run_steps(1);
    s.link->room = 1 << 20;
    cr_assert(comes(&s, "elsewhere") && comes(&s, "last"));
    unsigned events = 0;
    for (const char *at = s.text; (at = strstr(at, "event: t\n")) != NULL; at++) events++;
    cr_assert_eq(events, 43, "each once: %u", events);
    cr_assert_null(strstr(s.text, "resync"));
    close_stream(&s);
    end();
}

Test(repartition, a_place_beyond_the_mirror_is_waited_for_until_the_source_ends_before_it,
     .timeout = 60)
{
    begin();
    run_steps(500);
    char cursor[64];
    /* Another instance has read up to offset 2 of it. */
    (void)snprintf(cursor, sizeof cursor, "kkkkkk-%u-2/3", own);
    struct stream s = open_stream("channels=a", cursor, 1 << 20);
    cr_assert(comes(&s, "event: connected"));
    append(own, 0, "\"zero\"");
    append(own, 0, "\"one\"");
    append(own, 0, "\"two\"");
    append(own, 0, "\"three\"");
    cr_assert(comes(&s, "three"));
    cr_assert_null(strstr(s.text, "two"), "it has that already");
    cr_assert_null(strstr(s.text, "resync"));
    close_stream(&s);

    (void)snprintf(cursor, sizeof cursor, "kkkkkk-%u-99/3", own);
    s = open_stream("channels=a", cursor, 1 << 20);
    cr_assert(comes(&s, "event: connected"));
    cr_assert_null(strstr(s.text, "resync"), "not before the source was asked");
    for (unsigned i = 0; i < 100; i++) {
        sim_pass_ns(&sim, UINT64_C(100000000));
        run_steps(50);
    }
    cr_assert(comes(&s, "{\"reason\":\"ahead\",\"channels\":[\"a\"]}"));
    append(own, 0, "\"four\"");
    cr_assert(comes(&s, "four"));
    cr_assert_null(strstr(s.text, "three"));
    close_stream(&s);
    end();
}
