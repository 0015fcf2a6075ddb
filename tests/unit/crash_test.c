/* Kills and power cuts of a log, from seeds (tests/support/crash.h). TT_SEED=n runs that one,
 * TT_SEEDS=n so many; TT_LONG runs 10,000. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/crash.h"

static uint64_t number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

Test(crash, every_life_finds_what_the_one_before_promised)
{
    uint64_t first = number("TT_SEED", 1);
    uint64_t seeds =
        number("TT_SEEDS", getenv("TT_SEED") != NULL ? 1 : getenv("TT_LONG") != NULL ? 10000 : 300);
    uint64_t failed = 0;
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        char problem[CRASH_PROBLEM_BYTES];
        if (crash_run(seed, problem)) continue;
        fprintf(stderr, "%s\n", problem);
        if (++failed == 20) break;
    }
    cr_assert_eq(failed, 0, "%llu of the seeds from %llu on failed", (unsigned long long)failed,
                 (unsigned long long)first);
}
