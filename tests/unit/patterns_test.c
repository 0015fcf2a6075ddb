#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/event/patterns.h"

#define MAX 24u

static unsigned seed = 7;

static struct tt_pattern pattern(const char *text)
{
    struct tt_pattern p;
    cr_assert_eq(tt_pattern_parse(tt_bytes_text(text), &p, NULL), TT_OK, "%s", text);
    return p;
}

/* What comparing all with all leaves: covered by none other, of equal ones one. */
static bool is_left(const struct tt_pattern *patterns, uint32_t count, uint32_t i)
{
    for (uint32_t j = 0; j < count; j++) {
        if (j == i || !tt_pattern_covers(&patterns[j], &patterns[i])) continue;
        if (!tt_pattern_covers(&patterns[i], &patterns[j]) || j < i) return false;
    }
    return true;
}

Test(patterns, agree_with_comparing_all_with_all)
{
    static const char *const texts[] = {"a",   "b",     "a.b",   "a.*",     "a.b.*",   "a.b.c",
                                        "x.*", "x.y.*", "x.y.z", "a.b.c.d", "a.b.c.*", "q",
                                        "a.",  "a..*",  "a..b",  "b.*",     "b.",      "*"};
    for (int round = 0; round < 5000; round++) {
        struct tt_pattern given[MAX], reduced[MAX];
        uint32_t count = (uint32_t)rand_r(&seed) % (MAX + 1);
        /* The star, which covers everything, only now and then. */
        size_t of = sizeof texts / sizeof *texts - (round % 8 != 0);
        for (uint32_t i = 0; i < count; i++)
            reduced[i] = given[i] = pattern(texts[(size_t)rand_r(&seed) % of]);
        uint32_t left = tt_patterns_reduce(reduced, count);
        uint32_t expected = 0;
        for (uint32_t i = 0; i < count; i++) expected += is_left(given, count, i);
        cr_assert_eq(left, expected);
        for (uint32_t i = 0; i < left; i++) {
            cr_assert(is_left(reduced, left, i));
            cr_assert(i == 0 || reduced[i - 1].kind <= reduced[i].kind, "channels come first");
        }
        for (size_t t = 0; t < sizeof texts / sizeof *texts; t++) {
            struct tt_pattern p = pattern(texts[t]);
            bool covered = false;
            for (uint32_t i = 0; i < count; i++) covered |= tt_pattern_covers(&given[i], &p);
            cr_assert_eq(tt_patterns_cover(reduced, left, &p), covered, "%s", texts[t]);
        }
    }
}

/* The time limit is far from what it takes, and far below what comparing all with all takes. */
Test(patterns, a_hundred_thousand, .timeout = 30)
{
    enum { COUNT = 100000 };
    char(*texts)[24] = malloc(COUNT * sizeof *texts);
    struct tt_pattern *patterns = malloc(COUNT * sizeof *patterns);
    cr_assert(texts != NULL && patterns != NULL);
    for (uint32_t i = 0; i < COUNT; i++) {
        snprintf(texts[i], sizeof texts[i], i % 100 == 0 ? "g%u.*" : "g%u.c%u", i % 7000, i);
        patterns[i] = pattern(texts[i]);
    }
    uint32_t left = tt_patterns_reduce(patterns, COUNT);
    cr_assert_lt(left, COUNT);
    for (uint32_t i = 0; i < COUNT; i++) {
        struct tt_pattern p = pattern(texts[i]);
        cr_assert(tt_patterns_cover(patterns, left, &p));
    }
    free(texts);
    free(patterns);
}
