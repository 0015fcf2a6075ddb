/* Random schedules of a simulated broker (tests/support/sim.h) against a ledger that knows
 * everything: publishers, followers that are cut anywhere and resume anywhere, slow sockets,
 * retention, kills. Every decision comes from the seed; a failed seed is printed and can be run
 * alone:
 *
 *     TT_SIM_FIRST=4711 TT_SIM_COUNT=1 build/debug/unit/sim_resume_test
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shard/roster.h"
#include "tests/support/sim_clients.h"

#define FOLLOWERS_MAX  8u
#define PUBLISHERS_MAX 3u

static const char *const channels[] = {"a", "b", "c", "x.1", "x.2", "y.z.1", "y.z.2", "y.3"};

struct schedule {
    struct sim sim;
    struct sim_ledger ledger;
    struct sim_publisher publishers[PUBLISHERS_MAX];
    struct sim_follower followers[FOLLOWERS_MAX];
    uint32_t followers_count, publishers_count;
    uint32_t pad_max;
    unsigned kills, starts;
    unsigned step;
    struct tt_roster_request roster[SIM_SHARDS_MAX]; /* the last one of each shard */
    bool asked[SIM_SHARDS_MAX];
    uint64_t listed, ended;
};

struct kind {
    bool large;     /* events that fill segments */
    bool medium;    /* many events that fill segments */
    bool retention; /* and segments that go */
    bool kills;
    bool snapshots;
    bool conflates; /* most followers do */
    bool operators; /* list clients, and end them */
};

/* What happened over all schedules of a test: a test that met nothing would show nothing. */
static struct {
    uint64_t events, connections, bare_ids, resyncs, gaps, snapshots, kills, replaced, told;
    uint64_t listed, ended;
} met;

static void connect_publishers(struct schedule *c)
{
    for (uint32_t i = 0; i < c->publishers_count; i++)
        if (c->publishers[i].link == NULL)
            c->publishers[i].link =
                sim_connect(&c->sim, (uint32_t)(sim_random(&c->sim.random) % c->sim.shards), 4096);
}

static void begin(struct schedule *c, uint64_t seed, const struct kind *kind)
{
    memset(c, 0, sizeof *c);
    uint64_t r = seed * UINT64_C(0x2545F4914F6CDD1D) + 99;
    sim_init(&c->sim, sim_random(&r), (uint32_t)sim_between(&r, 1, 3));
    uint32_t partitions = (uint32_t)sim_between(&r, 1, 3);
    static const char *const syncs[] = {"always", "interval", "never"};
    sim_option(&c->sim, "--log-partitions=%u", partitions);
    sim_option(&c->sim, "--log-sync=%s", syncs[sim_random(&r) % 3]);
    sim_option(&c->sim, "--log-sync-ms=%u", (unsigned)sim_between(&r, 1, 50));
    sim_option(&c->sim, "--log-segment-bytes=2MiB");
    sim_option(&c->sim, "--tail-bytes=2MiB");
    sim_option(&c->sim, "--outbox-bytes=%u", (unsigned)sim_between(&r, 4096, 20000));
    sim_option(&c->sim, "--heartbeat-ms=%u", (unsigned)sim_between(&r, 100, 400));
    sim_option(&c->sim, "--catchup-bytes=%u", 1u << (unsigned)sim_between(&r, 20, 23));
    sim_option(&c->sim, "--frame-bytes=1MiB");
    if (kind->conflates)
        sim_option(&c->sim, "--conflate-wait-ms=%u", (unsigned)sim_between(&r, 0, 300));
    /* Time runs fast here: nothing but heartbeats and syncs may depend on it. */
    sim_option(&c->sim, "--log-retention-ms=87600h");
    sim_option(&c->sim, "--keepalive-ms=1h");
    sim_option(&c->sim, "--header-timeout-ms=10m");
    sim_option(&c->sim, "--stall-ms=24h");
    sim_option(&c->sim, "--publish-wait-ms=1m");
    if (kind->retention) sim_option(&c->sim, "--log-retention-bytes=%uMiB", 2 * partitions);
    c->ledger = (struct sim_ledger){.sim = &c->sim,
                                    .channels = channels,
                                    .channels_count = sizeof channels / sizeof *channels,
                                    .partitions = partitions,
                                    .crashes = kind->kills,
                                    .retention = kind->retention};
    c->pad_max = kind->large ? 60000 : kind->medium ? 4000 : (uint32_t)sim_between(&r, 0, 600);
    sim_start(&c->sim);
    c->publishers_count = (uint32_t)sim_between(&r, 1, PUBLISHERS_MAX);
    c->followers_count = (uint32_t)sim_between(&r, 2, FOLLOWERS_MAX);
    for (uint32_t i = 0; i < c->followers_count; i++) {
        sim_follower_init(&c->followers[i], &c->ledger, &r, i, kind->snapshots);
        if (kind->conflates) sim_follower_conflate(&c->followers[i], &r);
        if (kind->operators) c->followers[i].ends = true;
    }
    connect_publishers(c);
}

static void steps(struct schedule *c, unsigned n)
{
    while (n-- > 0 && sim_step(&c->sim)) c->step++;
    for (uint32_t i = 0; i < c->publishers_count; i++)
        sim_publisher_take(&c->publishers[i], &c->ledger);
}

static uint32_t any_shard(struct schedule *c)
{
    return (uint32_t)(sim_random(&c->sim.random) % c->sim.shards);
}

static void kill_and_start(struct schedule *c)
{
    uint64_t *r = &c->sim.random;
    c->sim.starved = SIM_SHARDS_MAX;
    for (uint32_t i = 0; i < c->followers_count; i++)
        if (c->followers[i].spare != NULL) sim_cut(&c->followers[i].spare);
    for (uint32_t i = 0; i < c->followers_count; i++)
        sim_follower_take(&c->followers[i], sim_between(r, 0, 20000));
    if (sim_chance(r, 3)) {
        sim_stop(&c->sim);
    } else {
        sim_kill(&c->sim);
        c->kills++;
    }
    c->starts++;
    for (uint32_t i = 0; i < c->followers_count; i++) sim_follower_cut(&c->followers[i]);
    for (uint32_t i = 0; i < c->publishers_count; i++) {
        sim_publisher_take(&c->publishers[i], &c->ledger); /* the last answer */
        sim_publisher_lost(&c->publishers[i]);
    }
    sim_start(&c->sim);
    connect_publishers(c);
}

/* Looks at the answer of an operator's last question, and asks another one. */
static void operate(struct schedule *c)
{
    uint64_t *r = &c->sim.random;
    uint32_t shard = any_shard(c);
    struct tt_roster_request *q = &c->roster[shard];
    if (sim_roster_is_out(&c->sim, shard)) return;
    if (c->asked[shard]) {
        uint64_t shown = q->matched < q->limit ? q->matched : q->limit;
        if (q->matched > q->total || q->entries_count > (q->end ? 0 : shown) || q->no_memory)
            sim_violation(&c->ledger, "a list of %u of %llu of %llu clients", q->entries_count,
                          (unsigned long long)q->matched, (unsigned long long)q->total);
        for (uint32_t i = 1; i < q->entries_count; i++)
            if (q->entries[i].key > q->entries[i - 1].key)
                sim_violation(&c->ledger, "a list of clients that is not in order");
        c->listed += q->entries_count;
        c->ended += q->ended;
        free(q->entries);
    }
    c->asked[shard] = true;
    *q = (struct tt_roster_request){.sort = (enum tt_roster_sort)(sim_random(r) % 4),
                                    .limit = (uint32_t)sim_between(r, 1, FOLLOWERS_MAX),
                                    .end = sim_chance(r, 2)};
    if (sim_chance(r, 2))
        q->filter.states = (uint32_t)sim_between(r, 1, (1u << TT_CLIENT_STATES) - 1);
    sim_roster(&c->sim, shard, q);
}

/* One decision of the schedule. */
static void act(struct schedule *c, const struct kind *kind)
{
    uint64_t *r = &c->sim.random;
    if (kind->operators && sim_chance(r, 12)) {
        operate(c);
        return;
    }
    struct sim_follower *f = &c->followers[sim_random(r) % c->followers_count];
    uint64_t choice = sim_between(r, 0, 99);
    if (choice < 25) {
        struct sim_publisher *p = &c->publishers[sim_random(r) % c->publishers_count];
        if (sim_publisher_idle(p))
            sim_publish(p, &c->ledger, (uint32_t)sim_between(r, 1, kind->large ? 6 : 40),
                        c->pad_max, -1);
    } else if (choice < 65) {
        steps(c, (unsigned)sim_between(r, 1, 12));
    } else if (choice < 88) {
        if (f->link == NULL)
            sim_follower_connect(f, any_shard(c),
                                 sim_between(r, 100, sim_chance(r, 2) ? 3000 : 60000));
        else
            sim_follower_take(f, sim_between(r, 1, sim_chance(r, 3) ? 300 : 30000));
    } else if (choice < 93) {
        sim_follower_take(f, sim_between(r, 0, 2000));
        sim_follower_cut(f);
        /* At once on another shard, which may not have read what the cursor has. */
        if (f->spare != NULL) sim_follower_connect(f, 0, 0);
    } else if (choice < 95) {
        /* A connection that is open already, and later its shard falls behind. */
        if (f->spare == NULL)
            sim_follower_prepare(f, any_shard(c), sim_between(r, 100, 60000));
        else
            c->sim.starved = sim_chance(r, 4) ? SIM_SHARDS_MAX : f->spare_shard;
    } else if (choice < 98) {
        sim_pass_ns(&c->sim, sim_between(r, 1000, UINT64_C(150000000)));
    } else if (kind->kills && c->starts < 3 && sim_chance(r, 6)) {
        kill_and_start(c);
    }
}

/* Everybody gets everything. */
static void quiet(struct schedule *c)
{
    struct sim_follower auditor;
    uint64_t r = 1;
    sim_follower_init(&auditor, &c->ledger, &r, 99, false);
    auditor.patterns_count = 1;
    auditor.list = auditor.ends = false;
    auditor.start_kind = SIM_EARLIEST;
    TT_ASSERT(tt_pattern_parse(tt_bytes_text("*"), &auditor.patterns[0], NULL) == TT_OK);
    strcpy(auditor.query, "/sse?channels=*&from=earliest");
    strcpy(auditor.name, "the auditor");
    bool done = false;
    c->sim.starved = SIM_SHARDS_MAX;
    for (unsigned round = 0; round < 4000 && !done && c->ledger.violations == 0; round++) {
        steps(c, 200);
        done = true;
        for (uint32_t i = 0; i < c->publishers_count; i++)
            done &= sim_publisher_idle(&c->publishers[i]);
        if (!done) continue;
        for (uint32_t i = 0; i <= c->followers_count; i++) {
            struct sim_follower *f = i == c->followers_count ? &auditor : &c->followers[i];
            if (f->link == NULL)
                sim_follower_connect(f, any_shard(c), 1 << 20);
            else
                f->link->room = 1 << 20;
            sim_follower_take(f, SIZE_MAX);
            done &= sim_follower_complete(f);
        }
    }
    if (!done && c->ledger.violations == 0) {
        for (uint32_t i = 0; i < c->followers_count; i++)
            if (!sim_follower_complete(&c->followers[i]))
                sim_violation(&c->ledger, "%s never gets everything: promised %llu, %llu, %llu",
                              c->followers[i].name, (unsigned long long)c->followers[i].promised[0],
                              (unsigned long long)c->followers[i].promised[1],
                              (unsigned long long)c->followers[i].promised[2]);
        if (!sim_follower_complete(&auditor))
            sim_violation(&c->ledger, "the auditor never gets everything");
        for (uint32_t i = 0; i < c->publishers_count; i++)
            if (!sim_publisher_idle(&c->publishers[i]))
                sim_violation(&c->ledger, "a publisher is never answered");
    }
    sim_ledger_audit(&c->ledger, &auditor);
    sim_follower_finish(&auditor);
    for (uint32_t i = 0; i < c->followers_count; i++) sim_follower_finish(&c->followers[i]);
    sim_follower_cut(&auditor);
    sim_follower_deinit(&auditor);
}

static uint32_t run(uint64_t seed, const struct kind *kind)
{
    static struct schedule schedule;
    struct schedule *c = &schedule;
    begin(c, seed, kind);
    unsigned actions = (unsigned)sim_between(&c->sim.random, 50, kind->large ? 700 : 900);
    for (unsigned i = 0; i < actions && c->ledger.violations == 0; i++) act(c, kind);
    if (c->ledger.violations == 0) quiet(c);
    uint32_t violations = c->ledger.violations;
    if (violations != 0) sim_print_log(&c->sim);
    met.kills += c->kills;
    for (uint32_t i = 0; i < c->followers_count; i++) {
        struct sim_follower *f = &c->followers[i];
        met.events += f->events;
        met.connections += f->connections;
        met.bare_ids += f->bare_ids;
        met.resyncs += f->resyncs;
        met.gaps += f->gaps;
        met.snapshots += f->snapshots_count;
        met.replaced += f->replaced;
        met.told += f->skipped_count;
        sim_follower_cut(f);
        sim_follower_deinit(f);
    }
    met.listed += c->listed;
    met.ended += c->ended;
    sim_deinit(&c->sim);
    /* The last ones may not have been given back: the shards have ended. */
    for (uint32_t i = 0; i < SIM_SHARDS_MAX; i++) free(c->roster[i].entries);
    sim_ledger_deinit(&c->ledger);
    return violations;
}

static uint64_t number_of(const char *name, uint64_t fallback)
{
    const char *text = getenv(name);
    return text == NULL ? fallback : strtoull(text, NULL, 10);
}

static void many(const struct kind *kind, uint64_t count)
{
    memset(&met, 0, sizeof met);
    uint64_t first = number_of("TT_SIM_FIRST", 1);
    if (getenv("TT_LONG") != NULL) count *= 20;
    count = number_of("TT_SIM_COUNT", count);
    for (uint64_t seed = first; seed < first + count; seed++)
        cr_assert_eq(run(seed, kind), 0, "TT_SIM_FIRST=%llu TT_SIM_COUNT=1",
                     (unsigned long long)seed);
    fprintf(stderr,
            "# events %llu, connections %llu, bare ids %llu, resyncs %llu, gaps %llu, snapshots "
            "%llu, kills %llu, conflated %llu, of which %llu gaps tell\n",
            (unsigned long long)met.events, (unsigned long long)met.connections,
            (unsigned long long)met.bare_ids, (unsigned long long)met.resyncs,
            (unsigned long long)met.gaps, (unsigned long long)met.snapshots,
            (unsigned long long)met.kills, (unsigned long long)met.replaced,
            (unsigned long long)met.told);
}

Test(sim_resume, from_memory, .timeout = 1500)
{
    many(&(struct kind){0}, 40);
}

Test(sim_resume, from_segments_and_across_retention, .timeout = 1500)
{
    many(&(struct kind){.large = true}, 12);
    many(&(struct kind){.large = true, .retention = true}, 12);
}

Test(sim_resume, over_kills, .timeout = 1500)
{
    many(&(struct kind){.kills = true}, 16);
}

Test(sim_resume, from_snapshots_and_the_last_events, .timeout = 1500)
{
    many(&(struct kind){.snapshots = true}, 30);
    many(&(struct kind){.snapshots = true, .large = true}, 12);
    many(&(struct kind){.snapshots = true, .large = true, .retention = true}, 12);
}

Test(sim_resume, conflating, .timeout = 1500)
{
    many(&(struct kind){.conflates = true}, 40);
    many(&(struct kind){.conflates = true, .snapshots = true}, 20);
    many(&(struct kind){.conflates = true, .large = true, .snapshots = true}, 8);
    many(&(struct kind){.conflates = true, .medium = true}, 25);
    many(&(struct kind){.conflates = true, .large = true, .retention = true}, 8);
}

/* Whatever its state is when an operator ends it, a follower comes back and misses nothing. */
Test(sim_resume, while_operators_list_and_end_clients, .timeout = 1500)
{
    many(&(struct kind){.operators = true, .snapshots = true}, 16);
    cr_assert(met.listed > 20 && met.ended > 20);
    many(&(struct kind){.operators = true, .conflates = true, .snapshots = true}, 16);
    cr_assert(met.listed > 20 && met.ended > 20);
    many(&(struct kind){.operators = true, .conflates = true, .large = true, .retention = true}, 6);
    cr_assert(met.listed > 5 && met.ended > 5);
}

Test(sim_resume, conflating_over_kills, .timeout = 1500)
{
    many(&(struct kind){.conflates = true, .kills = true}, 16);
}
