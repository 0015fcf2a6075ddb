#include <criterion/criterion.h>
#include <stdlib.h>

#include "tools/ttload/plan.h"

static struct tt_run_options options;
static struct tt_plan plan;

static void make(const char *a, const char *b, const char *c, const char *d)
{
    const char *given[] = {a, b, c, d};
    char *argv[4];
    char error[512] = "";
    int count = 0;
    for (int i = 0; i < 4; i++) {
        if (given[i] != NULL) argv[count++] = (char *)(uintptr_t)given[i];
    }
    enum tt_status status = tt_run_options_parse(&options, count, argv, error, sizeof error);
    cr_assert_eq(status, TT_OK, "%s", error);
    cr_assert_eq(tt_plan_init(&plan, &options), TT_OK);
}

/* Every client follows per_client different channels, ascending, and `followers` counts them. */
static void check_channels(void)
{
    uint32_t *channels = calloc(plan.per_client, sizeof *channels);
    uint32_t *followers = calloc(plan.channels, sizeof *followers);
    uint32_t *again = calloc(plan.per_client, sizeof *again);
    for (uint32_t i = 0; i < plan.clients; i++) {
        tt_plan_channels(&plan, i, channels);
        tt_plan_channels(&plan, i, again);
        cr_assert_arr_eq(channels, again, plan.per_client * sizeof *channels);
        for (uint32_t k = 0; k < plan.per_client; k++) {
            cr_assert_lt(channels[k], plan.channels);
            if (k != 0) cr_assert_gt(channels[k], channels[k - 1]);
            followers[channels[k]]++;
        }
    }
    cr_assert_arr_eq(followers, plan.followers, plan.channels * sizeof *followers);
    free(channels);
    free(followers);
    free(again);
}

Test(ttload_plan, shares_are_exact_and_independent)
{
    make("--clients=1000", "--slow-share=10", "--reconnect-share=12.5%",
         "--policy=replay:80,conflate:15,disconnect:5");
    cr_assert_eq(tt_plan_count(&plan, TT_PLAN_SLOW), 100);
    cr_assert_eq(tt_plan_count(&plan, TT_PLAN_RECONNECTS), 125);
    cr_assert_eq(tt_plan_count(&plan, TT_PLAN_CONFLATES), 150);
    cr_assert_eq(tt_plan_count(&plan, TT_PLAN_DISCONNECTS), 50);
    unsigned both = 0;
    for (uint32_t i = 0; i < plan.clients; i++) {
        uint8_t policies = plan.roles[i] & (TT_PLAN_CONFLATES | TT_PLAN_DISCONNECTS);
        cr_assert_neq(policies, TT_PLAN_CONFLATES | TT_PLAN_DISCONNECTS, "one policy each");
        both += (plan.roles[i] & TT_PLAN_SLOW) && (plan.roles[i] & TT_PLAN_RECONNECTS) ? 1 : 0;
    }
    cr_assert(both > 0 && both < 50, "%u of 12 expected", both);
    tt_plan_deinit(&plan);
}

Test(ttload_plan, apart_are_the_last_ones_and_as_many)
{
    make("--clients=1000", "--slow-share=10", "--reconnect-share=12.5%", "--apart");
    cr_assert_eq(tt_plan_count(&plan, TT_PLAN_SLOW), 100);
    cr_assert_eq(tt_plan_count(&plan, TT_PLAN_RECONNECTS), 125);
    cr_assert_eq(plan.clients - plan.apart,
                 tt_plan_count(&plan, TT_PLAN_SLOW | TT_PLAN_RECONNECTS));
    for (uint32_t i = 0; i < plan.clients; i++)
        cr_assert_eq(i >= plan.apart, plan.roles[i] != 0, "client %u", i);
    tt_plan_deinit(&plan);
    make("--clients=1000", "--slow-share=10", NULL, NULL);
    cr_assert_eq(plan.apart, 1000, "nobody, unless asked for");
    tt_plan_deinit(&plan);
}

Test(ttload_plan, bounds_belong_to_their_policies)
{
    make("--clients=200", "--policy=replay:50,conflate:50", "--max-rate=0.5", "--max-lag=1s");
    for (uint32_t i = 0; i < plan.clients; i++) {
        bool conflates = (plan.roles[i] & TT_PLAN_CONFLATES) != 0;
        cr_assert_eq((plan.roles[i] & TT_PLAN_MAX_RATE) != 0, conflates);
        cr_assert_eq((plan.roles[i] & TT_PLAN_MAX_LAG) != 0, !conflates);
        cr_assert_lt(plan.roles[i], 64);
    }
    tt_plan_deinit(&plan);
    make("--clients=3", "--policy=conflate", "--max-rate=2", "--max-rate-share=34");
    cr_assert_eq(tt_plan_count(&plan, TT_PLAN_CONFLATES), 3);
    cr_assert_eq(tt_plan_count(&plan, TT_PLAN_MAX_RATE), 1);
    tt_plan_deinit(&plan);
    make("--clients=3", "--policy=conflate:50,disconnect:50", NULL, NULL);
    cr_assert_eq(tt_plan_count(&plan, TT_PLAN_CONFLATES | TT_PLAN_DISCONNECTS), 3,
                 "nobody is left over");
    tt_plan_deinit(&plan);
}

Test(ttload_plan, every_distribution_gives_different_channels)
{
    static const char *const distributions[] = {
        "--channel-distribution=sequential", "--channel-distribution=uniform",
        "--channel-distribution=zipf", "--channel-distribution=hot"};
    for (unsigned i = 0; i < 4; i++) {
        make("--clients=300", "--channels=1000", "--channels-per-client=105", distributions[i]);
        check_channels();
        tt_plan_deinit(&plan);
        /* As many as there are, and one of one. */
        make("--clients=5", "--channels=200", "--channels-per-client=200", distributions[i]);
        check_channels();
        tt_plan_deinit(&plan);
        make("--clients=5", "--channels=1", "--channels-per-client=1", distributions[i]);
        check_channels();
        tt_plan_deinit(&plan);
    }
    make("--clients=5", "--channels=7", NULL, NULL);
    cr_assert(plan.all);
    check_channels();
    tt_plan_deinit(&plan);
}

Test(ttload_plan, sequential_goes_on_in_a_circle)
{
    uint32_t channels[3];
    make("--clients=4", "--channels=7", "--channels-per-client=3", NULL);
    tt_plan_channels(&plan, 2, channels);
    cr_assert_eq(channels[0], 0);
    cr_assert_eq(channels[1], 1);
    cr_assert_eq(channels[2], 6);
    tt_plan_deinit(&plan);
}

Test(ttload_plan, zipf_and_hot_prefer_the_first)
{
    make("--clients=2000", "--channels=1000", "--channels-per-client=4",
         "--channel-distribution=zipf");
    cr_assert_gt(plan.followers[0], 4 * plan.followers[20]);
    cr_assert_gt(plan.followers[0] + plan.followers[1], 500);
    tt_plan_deinit(&plan);
    make("--clients=2000", "--channels=1000", "--channels-per-client=4",
         "--channel-distribution=hot");
    cr_assert_eq(plan.followers[0], 2000);
    for (uint32_t c = 1; c < 1000; c++) cr_assert_lt(plan.followers[c], 40);
    tt_plan_deinit(&plan);
}

static void count_events(const char *distribution, uint32_t *counts)
{
    make("--channels=100", distribution, NULL, NULL);
    memset(counts, 0, 100 * sizeof *counts);
    for (uint64_t i = 0; i < 10000; i++) {
        uint32_t channel = tt_plan_event_channel(&plan, i);
        cr_assert_lt(channel, 100);
        cr_assert_eq(channel, tt_plan_event_channel(&plan, i));
        counts[channel]++;
    }
    tt_plan_deinit(&plan);
}

Test(ttload_plan, events_go_where_the_distribution_says)
{
    static uint32_t counts[100];
    count_events("--publish-distribution=even", counts);
    for (unsigned c = 0; c < 100; c++) cr_assert_eq(counts[c], 100);
    count_events("--publish-distribution=hot", counts);
    cr_assert_eq(counts[0], 5000);
    for (unsigned c = 1; c < 100; c++) cr_assert(counts[c] >= 50 && counts[c] <= 51);
    count_events("--publish-distribution=zipf", counts);
    cr_assert(counts[0] > 1700 && counts[0] < 2150, "%u, 1928 expected", counts[0]);
    cr_assert(counts[1] > 850 && counts[1] < 1080, "%u, 964 expected", counts[1]);
}

Test(ttload_plan, kept_events_are_every_so_manieth)
{
    cr_assert_eq(tt_plan_kept(0, 0, 100), 0);
    cr_assert_eq(tt_plan_kept(1, 4, 9), 5);
    cr_assert_eq(tt_plan_kept(5, 0, 4), 0);
    cr_assert_eq(tt_plan_kept(5, 4, 5), 1);
    cr_assert_eq(tt_plan_kept(5, 5, 14), 1);
}
