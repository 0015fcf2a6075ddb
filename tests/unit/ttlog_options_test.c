#include <criterion/criterion.h>

#include "tools/ttlog/options.h"

#define NOW INT64_C(1800000000000000)

static struct tt_ttlog_options options;
static char error[TT_TTLOG_ERROR_BYTES];

static enum tt_status parse(enum tt_ttlog_command command, const char *const *argv, int argc)
{
    error[0] = '\0';
    return tt_ttlog_options_parse(&options, command, argc, (char **)argv, NOW, error);
}
#define PARSE(command, ...)                                                                        \
    parse(command, (const char *const[]){__VA_ARGS__},                                             \
          (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)))

Test(ttlog_options, defaults_are_everything)
{
    cr_assert_eq(PARSE(TT_TTLOG_DUMP, "data"), TT_OK);
    cr_assert_str_eq(options.directory, "data");
    cr_assert_eq(options.partition, TT_TTLOG_ALL);
    cr_assert_eq(options.from, 0);
    cr_assert_eq(options.to, UINT64_MAX);
    cr_assert_eq(options.since_us, INT64_MIN);
    cr_assert_eq(options.until_us, INT64_MAX);
    cr_assert_eq(options.limit, UINT64_MAX);
    cr_assert_eq(options.patterns_count, 0);
    cr_assert_not(options.raw || options.follow || options.json || options.yes);
}

Test(ttlog_options, values_may_stand_behind_or_in_the_next_argument)
{
    cr_assert_eq(PARSE(TT_TTLOG_DUMP, "--from", "5", "data", "--to=9", "--limit=0",
                       "--channel=a,b.*", "--channel", "*"),
                 TT_OK);
    cr_assert_eq(options.from, 5);
    cr_assert_eq(options.to, 9);
    cr_assert_eq(options.limit, 0);
    cr_assert_eq(options.patterns_count, 3);
    cr_assert_eq(options.patterns[1].kind, TT_PATTERN_PREFIX);
    cr_assert_eq(options.patterns[2].kind, TT_PATTERN_ALL);
}

Test(ttlog_options, an_id_names_its_partition)
{
    cr_assert_eq(PARSE(TT_TTLOG_DUMP, "data", "--from=k7Qp2a-3-1042"), TT_OK);
    cr_assert_eq(options.partition, 3);
    cr_assert_eq(options.from, 1042);
    cr_assert_str_eq(options.named.text, "k7Qp2a");
    cr_assert_eq(PARSE(TT_TTLOG_DUMP, "data", "--partition=2", "--from=k7Qp2a-3-1042"), TT_EINVAL);
    cr_assert_eq(PARSE(TT_TTLOG_DUMP, "data", "--from=k7Qp2a-3-1", "--partition=2"), TT_EINVAL);
    cr_assert_eq(PARSE(TT_TTLOG_DUMP, "data", "--from=k7Qp2a-3-1", "--to=k7Qp2a-4-9"), TT_EINVAL);
}

Test(ttlog_options, times)
{
    int64_t us;
    static const struct {
        const char *text;
        int64_t us;
    } good[] = {
        {"0", 0},
        {"1732558200000", INT64_C(1732558200000000)},
        {"10s", NOW - 10000000},
        {"5m", NOW - 300000000},
        {"2h", NOW - INT64_C(7200000000)},
        {"1d", NOW - INT64_C(86400000000)},
        {"2026-01-31T12:00:00Z", INT64_C(1769860800000000)},
        {"2026-01-31T12:00:00.25Z", INT64_C(1769860800250000)},
        {"1970-01-01T00:00:00Z", 0},
    };
    static const char *const bad[] = {"",    "-1",  "10x", "m",          "10ms",
                                      "1e3", "now", "1 s", "2026-01-31", "2026-01-31T12:00:00"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        cr_assert_eq(tt_ttlog_time(good[i].text, NOW, &us), TT_OK, "%s", good[i].text);
        cr_assert_eq(us, good[i].us, "%s: %lld", good[i].text, (long long)us);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert_eq(tt_ttlog_time(bad[i], NOW, &us), TT_EINVAL, "%s", bad[i]);
}

Test(ttlog_options, where_a_cursor_is_made)
{
    cr_assert_eq(PARSE(TT_TTLOG_CURSOR, "data", "--at=latest"), TT_OK);
    cr_assert_eq(PARSE(TT_TTLOG_CURSOR, "data", "--at=10m"), TT_OK);
    cr_assert_eq(options.at_us, NOW - 600000000);
    cr_assert_eq(PARSE(TT_TTLOG_CURSOR, "data", "--at=later"), TT_EINVAL);
    cr_assert_eq(PARSE(TT_TTLOG_CURSOR, "data", "c", "--at=latest"), TT_EINVAL);
    cr_assert_eq(PARSE(TT_TTLOG_CURSOR, "data"), TT_EINVAL);
}
