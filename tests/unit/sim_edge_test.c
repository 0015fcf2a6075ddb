/* A single schedule of the simulated broker (tests/support/sim.h) that takes too many events for
 * sim_resume_test.c. */
#include <criterion/criterion.h>
#include <string.h>

#include "tests/support/sim_clients.h"

/* What waits in a live client's outbox may fall so far behind what the shard has read that its
 * place cannot be told any more: then it reads the log. */
Test(sim_edge, at_the_edge_of_the_arrivals_ring, .timeout = 600)
{
    static const char *const two[] = {"a", "b"};
    struct sim sim;
    sim_init(&sim, 3, 2);
    sim_option(&sim, "--log-partitions=2");
    sim_option(&sim, "--log-sync=never");
    sim_option(&sim, "--outbox-bytes=1MiB");
    sim_option(&sim, "--stall-ms=24h");
    sim_start(&sim);
    struct sim_ledger l = {.sim = &sim, .channels = two, .channels_count = 2, .partitions = 2};
    struct sim_publisher p = {.link = sim_connect(&sim, 0, 4096)};
    struct sim_follower f[2];
    uint64_t r = 5;
    for (uint32_t i = 0; i < 2; i++) {
        sim_follower_init(&f[i], &l, &r, i, false);
        f[i].patterns_count = 1;
        cr_assert_eq(tt_pattern_parse(tt_bytes_text("a"), &f[i].patterns[0], NULL), TT_OK);
        f[i].ends = f[i].list = false;
        strcpy(f[i].query,
               i == 0 ? "/sse?channels=a&from=live" : "/sse?channels=a,a.x.*&from=live");
        sim_follower_connect(&f[i], i, 600);
        while (!f[i].begun && sim_step(&sim)) sim_follower_take(&f[i], SIZE_MAX);
    }
    uint64_t replays = 0;
    for (uint32_t i = 0; i < 2; i++)
        replays += tt_metric_get(&tt_shard_metrics(sim.world->shards[i])->replays);
    for (unsigned batch = 0; batch < 66000 / SIM_BATCH_MAX; batch++) {
        sim_publish(&p, &l, batch < 3 ? 2 : SIM_BATCH_MAX, batch < 3 ? 3000 : 0, batch < 3 ? 0 : 1);
        for (unsigned i = 0; i < 10000 && !sim_publisher_idle(&p); i++) {
            cr_assert(sim_step(&sim));
            sim_publisher_take(&p, &l);
        }
        cr_assert(sim_publisher_idle(&p));
    }
    uint64_t after = 0;
    for (uint32_t i = 0; i < 2; i++)
        after += tt_metric_get(&tt_shard_metrics(sim.world->shards[i])->replays);
    cr_assert_eq(after, replays + 2, "both were demoted");
    for (uint32_t i = 0; i < 2; i++) {
        for (unsigned n = 0; n < 100000 && !sim_follower_complete(&f[i]); n++) {
            sim_step(&sim);
            sim_follower_take(&f[i], 100);
        }
        sim_follower_finish(&f[i]);
        cr_assert_eq(f[i].events, 6);
        cr_assert_eq(f[i].connections, 1);
        sim_follower_cut(&f[i]);
        sim_follower_deinit(&f[i]);
    }
    cr_assert_eq(l.violations, 0);
    sim_cut(&p.link);
    sim_deinit(&sim);
    sim_ledger_deinit(&l);
}
