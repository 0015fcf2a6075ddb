/* ttlog repair: makes a damaged log usable again. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "broker/process.h"
#include "tools/ttlog/commands.h"
#include "tools/ttlog/figures.h"
#include "tools/ttlog/findings.h"
#include "tools/ttlog/mend.h"

#define COMMAND "repair"
/* Renaming a file may show what was hidden behind it; each round mends all that can be seen. */
#define ROUNDS_MAX 4u

static int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* ---- what would be done ---- */

static uint64_t lost_events(const struct tt_check *check)
{
    uint64_t lost = 0;
    for (uint32_t i = 0; i < check->count; i++)
        lost += check->items[i].lost_end - check->items[i].lost_first;
    return lost;
}

/* Whether there is anything to do. */
static bool print_plan(const struct tt_check *check)
{
    bool any = false;
    tt_findings_print(check);
    printf("\n");
    for (uint32_t i = 0; i < check->count; i++) {
        const struct tt_finding *f = &check->items[i];
        char text[TT_LISTING_ERROR_BYTES];
        const char *plan = tt_mend_plan(check, f, text);
        if (plan == NULL && !tt_finding_is_damage(f)) continue;
        printf("to do: %s: %s\n", f->path, plan != NULL ? plan : "cannot be mended here");
        any |= plan != NULL;
    }
    printf("In all %" PRIu64 " offsets are lost. They are not used again.\n", lost_events(check));
    return any;
}

static bool agreed(const struct tt_ttlog_options *options)
{
    if (options->yes) return true;
    if (options->json || !isatty(STDIN_FILENO)) {
        if (!options->json) printf("Nothing was changed: --yes does it.\n");
        return false;
    }
    char answer[16] = "";
    printf("Do this? [y/N] ");
    fflush(stdout);
    if (fgets(answer, sizeof answer, stdin) != NULL && (answer[0] == 'y' || answer[0] == 'Y'))
        return true;
    printf("Nothing was changed.\n");
    return false;
}

/* ---- doing it ---- */

/* Ceilings and what lies before segments come first as they were found; an error ends it. */
static enum tt_status mend_all(const struct tt_check *check)
{
    struct tt_mend mend = {.check = check, .now_us = now_us()};
    for (uint32_t i = 0; i < check->count; i++) {
        enum tt_status status = tt_mend_do(&mend, &check->items[i]);
        if (status == TT_OK) continue;
        fprintf(stderr, "ttlog repair: %s; what was done until then stays\n", mend.error);
        return status;
    }
    return TT_OK;
}

static enum tt_status look(const struct tt_ttlog_options *options, struct tt_listing *view,
                           struct tt_check *check)
{
    char error[TT_LISTING_ERROR_BYTES] = "";
    enum tt_status status = tt_listing_open(view, options->directory, error);
    if (status != TT_OK) {
        fprintf(stderr, "ttlog repair: %s\n", error);
        return status;
    }
    view->live = false; /* the lock is ours */
    status = tt_check_init(check, view);
    if (status == TT_OK) status = tt_check_run(check, options->partition);
    if (status == TT_OK && view->meta_known && options->partition == TT_TTLOG_ALL)
        status = tt_findings_recovery(check);
    if (status != TT_OK) {
        tt_ttlog_fail(COMMAND, options->directory, status);
        tt_check_deinit(check);
        tt_listing_close(view);
    }
    return status;
}

static bool can_be_mended(const struct tt_check *check)
{
    char text[TT_LISTING_ERROR_BYTES];
    for (uint32_t i = 0; i < check->count; i++)
        if (tt_mend_plan(check, &check->items[i], text) != NULL) return true;
    return false;
}

struct outcome {
    json_t *findings; /* of the first look; null: not for JSON */
    uint64_t lost;
    bool damaged; /* before */
    bool done;
    bool still; /* damaged afterwards */
};

/* TT_OK: nothing failed. */
static enum tt_status repair(const struct tt_ttlog_options *options, struct outcome *o)
{
    for (unsigned round = 0; round < ROUNDS_MAX; round++) {
        struct tt_listing view;
        struct tt_check check;
        enum tt_status status = look(options, &view, &check);
        if (status == TT_ENOENT && round != 0) return TT_OK; /* META was moved away: a new log */
        if (status != TT_OK) return status;
        bool go_on = can_be_mended(&check);
        o->still = tt_check_damaged(&check);
        if (round == 0) {
            o->damaged = o->still || go_on;
            o->lost = lost_events(&check);
            if (options->json)
                o->findings = tt_findings_json(&check);
            else if (o->damaged)
                go_on = print_plan(&check);
            if (go_on && !agreed(options)) go_on = false;
        }
        if (go_on) {
            status = mend_all(&check);
            o->done = true;
        }
        tt_check_deinit(&check);
        tt_listing_close(&view);
        if (status != TT_OK || !go_on) return status;
    }
    return TT_OK;
}

static void tell(const struct tt_ttlog_options *options, const struct outcome *o)
{
    if (options->json) {
        json_t *all = json_pack("{s:s, s:b, s:b, s:b, s:I, s:o}", "directory", options->directory,
                                "damaged", o->damaged, "repaired", o->done, "damaged_now", o->still,
                                "lost", (json_int_t)o->lost, "findings",
                                o->findings != NULL ? o->findings : json_array());
        json_dumpf(all, stdout, JSON_INDENT(2));
        printf("\n");
        json_decref(all);
    } else if (!o->damaged) {
        printf("%s: good, there is nothing to do\n", options->directory);
    } else if (o->done) {
        printf("%s: %s\n", options->directory,
               o->still ? "not everything could be mended: see ttlog verify"
                        : "repaired, the broker may be started");
    }
}

int tt_ttlog_repair(const struct tt_ttlog_options *options)
{
    struct tt_listing view;
    int result = tt_ttlog_open(options, COMMAND, &view); /* is there a log at all? */
    if (result != TT_TTLOG_GOOD) return result;
    bool is_mirror = view.is_mirror;
    tt_listing_close(&view);
    if (is_mirror) {
        fprintf(stderr,
                "ttlog repair: %s is a mirror of what is in Kafka: the broker never refuses it, "
                "removes what is damaged when it starts, and fetches it again\n",
                options->directory);
        return TT_TTLOG_USAGE;
    }
    char error[TT_PROCESS_ERROR_MAX];
    int lock;
    enum tt_status status = tt_process_lock_directory(options->directory, &lock, error);
    if (status != TT_OK) {
        fprintf(stderr, "ttlog repair: %s\n", error);
        return status == TT_EBUSY ? TT_TTLOG_IN_USE : TT_TTLOG_FAILED;
    }
    struct outcome o = {0};
    status = repair(options, &o);
    if (status == TT_OK) tell(options, &o);
    close(lock);
    if (status != TT_OK) return TT_TTLOG_FAILED;
    return o.still ? TT_TTLOG_DAMAGED : TT_TTLOG_GOOD;
}
