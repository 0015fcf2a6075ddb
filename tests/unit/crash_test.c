/* Kills and power cuts of a log, from seeds (tests/support/crash.h). TT_SEED=n runs that one,
 * TT_SEEDS=n so many; TT_LONG runs 10,000. ASan, which takes four times as long, gets other seeds
 * and fewer. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/crash.h"

#ifdef __SANITIZE_ADDRESS__
#define FIRST_SEED 301u
#define SEEDS      80u
#define EVERY      37u
#else
#define FIRST_SEED 1u
#define SEEDS      300u
#define EVERY      11u
#endif

static uint64_t number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

Test(crash, every_life_finds_what_the_one_before_promised, .timeout = 3000)
{
    uint64_t first = number("TT_SEED", FIRST_SEED);
    uint64_t seeds = number("TT_SEEDS", getenv("TT_SEED") != NULL   ? 1
                                        : getenv("TT_LONG") != NULL ? 10000
                                                                    : SEEDS);
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

/* Every operation of two lives fails, in every way; a life takes some hundred. */
static void sweep(uint64_t seed, uint64_t every)
{
    static const struct crash_faults kinds[] = {
        {.kind = DISK_FAULT_ERROR, .status = TT_EIO},
        {.kind = DISK_FAULT_ERROR, .status = TT_ENOSPC},
        {.kind = DISK_FAULT_ERROR, .status = TT_EACCES},
        {.kind = DISK_FAULT_SHORT, .status = TT_ENOSPC},
        {.kind = DISK_FAULT_SHORT, .status = TT_EIO},
        {.kind = DISK_FAULT_ERROR, .status = TT_EIO, .for_ever = true},
        {.kind = DISK_FAULT_ERROR, .status = TT_ENOSPC, .for_ever = true},
        {.kind = DISK_FAULT_ERROR, .status = TT_EACCES, .for_ever = true},
    };
    char problem[CRASH_PROBLEM_BYTES];
    struct crash_faults none = {.at = UINT64_MAX};
    cr_assert(crash_run_with_fault(seed, &none, problem), "%s", problem);
    uint64_t failed = 0;
    for (unsigned k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        for (uint64_t at = 1 + (seed + k) % every; at <= none.operations; at += every) {
            struct crash_faults faults = kinds[k];
            faults.at = at;
            if (crash_run_with_fault(seed, &faults, problem)) continue;
            fprintf(stderr, "%s\n", problem);
            failed++;
        }
    }
    cr_assert_eq(failed, 0, "seed %llu: %llu faults", (unsigned long long)seed,
                 (unsigned long long)failed);
}

static uint64_t every(void)
{
    return number("TT_EVERY", getenv("TT_LONG") != NULL ? 1 : EVERY);
}

Test(crash, any_operation_may_fail_with_sync_always, .timeout = 3000)
{
    sweep(number("TT_SEED", 3), every());
}

Test(crash, any_operation_may_fail_with_sync_interval, .timeout = 3000)
{
    sweep(number("TT_SEED", 4), every());
}

Test(crash, any_operation_may_fail_with_sync_never, .timeout = 3000)
{
    sweep(number("TT_SEED", 5), every());
}
