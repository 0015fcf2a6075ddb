#include <criterion/criterion.h>

#include "tools/ttload/options.h"

static struct tt_run_options run;
static struct tt_feed_options feed;
static char error[512];

static enum tt_status parse(const char *a, const char *b)
{
    char *argv[] = {(char *)(uintptr_t)a, (char *)(uintptr_t)b};
    error[0] = '\0';
    return tt_run_options_parse(&run, b == NULL ? (a == NULL ? 0 : 1) : 2, argv, error,
                                sizeof error);
}

static void refused(const char *a, const char *b, const char *message)
{
    cr_assert_eq(parse(a, b), TT_EINVAL, "%s", a);
    cr_assert_str_eq(error, message);
}

Test(ttload_options, presets_are_taken_from_the_table)
{
    cr_assert_eq(parse(NULL, NULL), TT_OK);
    cr_assert_eq(run.clients, 100);
    cr_assert_eq(run.duration_ms, 10000);
    cr_assert_eq(run.io, 0);
    cr_assert_not(run.json);
    cr_assert_eq(run.address.port, 8080);
    cr_assert_str_eq(run.prefix, "");
    cr_assert_eq(tt_feed_options_parse(&feed, 0, NULL, error, sizeof error), TT_OK);
    cr_assert_eq(feed.symbols, 200);
    cr_assert_eq(feed.rate, 60);
}

Test(ttload_options, values_units_and_both_spellings)
{
    cr_assert_eq(parse("--duration=2m", "--event-bytes=4KiB"), TT_OK);
    cr_assert_eq(run.duration_ms, 120000);
    cr_assert_eq(run.event_bytes, 4096);
    cr_assert_eq(parse("--clients", "7"), TT_OK);
    cr_assert_eq(run.clients, 7);
    cr_assert_eq(parse("--publish=single", "--json"), TT_OK);
    cr_assert_eq(run.publish, TT_PUBLISH_SINGLE);
    cr_assert(run.json);
    cr_assert_eq(parse("--url=http://[::1]:81/a/b/", "--io=epoll"), TT_OK);
    cr_assert_eq(run.address.family, TT_ADDRESS_IP6);
    cr_assert_eq(run.address.port, 81);
    cr_assert_str_eq(run.prefix, "/a/b");
    cr_assert_eq(tt_options_io_kind(run.io), TT_IO_EPOLL);
    cr_assert_eq(parse("--url=http://localhost", NULL), TT_OK);
    cr_assert_eq(run.address.port, 80);
}

Test(ttload_options, shares_rates_and_other_names)
{
    cr_assert_eq(parse("--slow-share=12.5", "--ramp=500"), TT_OK);
    cr_assert_eq(run.slow_share, 12500);
    cr_assert_eq(run.connect_rate, 500);
    cr_assert_eq(parse("--slow-share=0.125%", "--warm-up=2s"), TT_OK);
    cr_assert_eq(run.slow_share, 125);
    cr_assert_eq(run.warmup_ms, 2000);
    cr_assert_eq(parse("--max-rate=0.5", "--policy=conflate"), TT_OK);
    cr_assert_eq(run.max_rate, 500);
    cr_assert_eq(run.policy_share[TT_SHARE_CONFLATE], 100000);
    cr_assert_eq(parse("--policy=disconnect:33.3,replay:66.7", NULL), TT_OK);
    cr_assert_eq(run.policy_share[TT_SHARE_REPLAY], 66700);
    cr_assert_eq(run.policy_share[TT_SHARE_CONFLATE], 0);
    cr_assert_eq(parse(NULL, NULL), TT_OK);
    cr_assert_eq(run.policy_share[TT_SHARE_REPLAY], 100000);
    static const char *const wrong[] = {
        "--slow-share=1.0001",  "--slow-share=",      "--slow-share=.5",
        "--slow-share=1.",      "--slow-share=-1",    "--slow-share=100.001",
        "--policy=fast",        "--policy=replay:50", "--policy=replay:50,replay:50",
        "--policy=replay:100,", "--policy=replay:x",  "--policy=,"};
    for (unsigned i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        cr_assert_eq(parse(wrong[i], NULL), TT_EINVAL, "%s", wrong[i]);
    }
    cr_assert_eq(parse("--policy=conflate", "--max-lag=1s"), TT_EINVAL);
    cr_assert_eq(parse("--query=x=1&policy=conflate", NULL), TT_EINVAL);
    cr_assert_eq(parse("--channel-distribution=zipf", NULL), TT_EINVAL);
    cr_assert_str_eq(error, "--channel-distribution: allowed beside --channels-per-client=0, where "
                            "every client follows all channels: sequential");
}

Test(ttload_options, errors_name_option_value_and_what_is_allowed)
{
    refused("--clients=x", NULL, "--clients=x: allowed: 0 to 1000000");
    refused("--clients=", NULL, "--clients=: allowed: 0 to 1000000");
    refused("--clients=-1", NULL, "--clients=-1: allowed: 0 to 1000000");
    refused("--clients=1000001", NULL, "--clients=1000001: allowed: 0 to 1000000");
    refused("--clients=99999999999999999999", NULL,
            "--clients=99999999999999999999: allowed: 0 to 1000000");
    refused("--event-bytes=5MiB", NULL,
            "--event-bytes=5MiB: allowed: 80 to 4194304 bytes (KiB and MiB are understood)");
    refused("--duration=10x", NULL,
            "--duration=10x: allowed: 10 to 86400000 ms (s, m and h are understood)");
    refused("--io=kqueue", NULL, "--io=kqueue: allowed: auto|io_uring|epoll");
    refused("--io=epol", NULL, "--io=epol: allowed: auto|io_uring|epoll");
    refused("--clients", NULL, "--clients: a value is missing; allowed: 0 to 1000000");
    refused("--json=yes", NULL, "--json=yes: --json takes no value");
    refused("--client=3", NULL, "--client: there is no such option (--help)");
    refused("clients", NULL, "clients: only options are understood here (--help)");
    refused("--channels=2", "--channels-per-client=3",
            "--channels-per-client=3: allowed: 0 to 2 (--channels)");
    refused("--channels=2", "--publish-connections=3",
            "--publish-connections=3: allowed: 1 to 2 (--channels), because a channel's order is "
            "kept by one connection");
    refused("--url=https://127.0.0.1", NULL,
            "--url=https://127.0.0.1: allowed: http://ADDRESS:PORT or http://ADDRESS:PORT/PREFIX, "
            "where ADDRESS is an IPv4 address, an IPv6 address in brackets, or localhost");
    cr_assert_eq(parse("--url=http://127.0.0.1:99999", NULL), TT_EINVAL);
    cr_assert_eq(parse("--url=http:///x", NULL), TT_EINVAL);
    cr_assert_eq(parse("--url=http://example.com", NULL), TT_EINVAL);
    cr_assert_eq(parse("--url=http://127.0.0.1:80/a?b", NULL), TT_EINVAL);
}
