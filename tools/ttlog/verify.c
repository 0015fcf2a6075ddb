/* ttlog verify: checks a log whole. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "tools/ttlog/check.h"
#include "tools/ttlog/commands.h"
#include "tools/ttlog/figures.h"
#include "tools/ttlog/findings.h"

#define COMMAND "verify"

static void print_json(const struct tt_check *check, const char *directory)
{
    json_t *all = json_pack("{s:s, s:b, s:b, s:I, s:I, s:I, s:I, s:o}", "directory", directory,
                            "in_use", check->view->live, "damaged", tt_check_damaged(check),
                            "segments", (json_int_t)check->segments, "records",
                            (json_int_t)check->records, "events", (json_int_t)check->events,
                            "bytes", (json_int_t)check->bytes, "findings", tt_findings_json(check));
    json_dumpf(all, stdout, JSON_INDENT(2));
    printf("\n");
    json_decref(all);
}

static void print_text(const struct tt_check *check, const char *directory)
{
    char bytes[TT_FIGURE_BYTES];
    tt_findings_print(check);
    printf("%s: %u segment%s, %" PRIu64 " events in %s: %s\n", directory, check->segments,
           check->segments == 1 ? "" : "s", check->events, tt_figure_bytes(check->bytes, bytes),
           !tt_check_damaged(check) ? "good"
           : check->view->is_mirror
               ? "damaged (a mirror: the next start removes what is, and fetches it again)"
               : "damaged (ttlog repair says what is lost, and asks before it mends)");
}

int tt_ttlog_verify(const struct tt_ttlog_options *options)
{
    struct tt_listing view;
    struct tt_check check;
    int result = tt_ttlog_open(options, COMMAND, &view);
    if (result != TT_TTLOG_GOOD) return result;
    enum tt_status status = tt_check_init(&check, &view);
    if (status == TT_OK) status = tt_check_run(&check, options->partition);
    if (status == TT_OK && !view.live) status = tt_findings_recovery(&check);
    if (status != TT_OK) {
        result = tt_ttlog_fail(COMMAND, view.directory, status);
    } else {
        if (options->json)
            print_json(&check, view.directory);
        else
            print_text(&check, view.directory);
        result = tt_check_damaged(&check) ? TT_TTLOG_DAMAGED : TT_TTLOG_GOOD;
    }
    tt_check_deinit(&check);
    tt_listing_close(&view);
    return result;
}
