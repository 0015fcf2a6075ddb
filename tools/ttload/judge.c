#include "tools/ttload/judge.h"

#include <inttypes.h>

#define BUSY_LIMIT    0.9      /* a thread or core busier than this may have been the limit */
#define LATE_LIMIT_NS 1000000u /* and a schedule kept later than this */

static void report_trouble(struct tt_report *report, const struct tt_trouble *t)
{
    uint64_t count = atomic_load_explicit(&t->count, memory_order_acquire);
    if (count == 1) tt_report_failure(report, "%s", t->first);
    if (count > 1) tt_report_failure(report, "%s (and %" PRIu64 " more)", t->first, count - 1);
}

static void count_roles(const struct tt_plan *plan, struct tt_report *report)
{
    report->slow = tt_plan_count(plan, TT_PLAN_SLOW);
    report->reconnecting = tt_plan_count(plan, TT_PLAN_RECONNECTS);
    report->conflating = tt_plan_count(plan, TT_PLAN_CONFLATES);
    report->disconnecting = tt_plan_count(plan, TT_PLAN_DISCONNECTS);
    report->rate_limited = tt_plan_count(plan, TT_PLAN_MAX_RATE);
    report->lag_limited = tt_plan_count(plan, TT_PLAN_MAX_LAG);
}

static void copy_totals(const struct tt_totals *t, struct tt_report *report)
{
    report->connected = t->connected;
    report->published = t->published;
    report->expected = t->owed;
    report->delivered = t->delivered;
    report->doubled = t->doubled;
    report->reordered = t->reordered;
    report->gaps = t->gaps;
    report->notices = t->notices;
    report->told = t->told;
    report->conflated = t->conflated;
    report->skipped = t->skipped;
    report->kept_lost = t->kept_lost;
    report->again = t->again;
    report->losses_told = t->losses_told;
    report->cuts = t->cuts;
    report->cuts_inside = t->cuts_inside;
    report->closed = t->closed;
    report->resumed = t->resumed;
}

/* What the clients' last look at their channels showed. */
static void judge_end(const struct tt_crew *crew, struct tt_report *report)
{
    struct tt_proof_end sum = {0};

    for (uint32_t i = 0; i < crew->engines_started; i++) {
        const struct tt_proof_end *e = &crew->engines[i].end;
        sum.lost += e->lost;
        sum.unknown += e->unknown;
        sum.stale += e->stale;
        if (sum.miscounted == 0) {
            sum.miscounted_client = e->miscounted_client;
            sum.miscounted_told = e->miscounted_told;
            sum.miscounted_missed = e->miscounted_missed;
        }
        sum.miscounted += e->miscounted;
    }
    report->lost = sum.lost;
    report->stale = sum.stale;
    if (sum.lost != 0)
        tt_report_failure(report, "%" PRIu64 " deliveries lost%s", sum.lost,
                          report->settled_s < 0 ? ", or not there when --drain was over" : "");
    if (sum.unknown != 0) {
        tt_report_failure(report, "%" PRIu64 " deliveries of events that the broker did not accept",
                          sum.unknown);
    }
    if (sum.stale != 0) {
        tt_report_failure(report,
                          "%" PRIu64 " times the newest event of a channel never came to a client "
                          "that conflates",
                          sum.stale);
    }
    if (sum.miscounted != 0) {
        tt_report_failure(report,
                          "%" PRIu64 " clients were told a wrong count by gap; client %" PRIu32
                          " was told of %" PRIu32 " conflated events and missed %" PRIu32,
                          sum.miscounted, sum.miscounted_client, sum.miscounted_told,
                          sum.miscounted_missed);
    }
}

void tt_judge(const struct tt_crew *crew, struct tt_report *report)
{
    struct tt_totals totals;

    tt_crew_totals(crew, &totals);
    copy_totals(&totals, report);
    count_roles(&crew->plan, report);
    judge_end(crew, report);
    if (report->doubled != 0) {
        tt_report_failure(report, "%" PRIu64 " deliveries doubled", report->doubled);
    }
    if (report->reordered != 0) {
        tt_report_failure(report, "%" PRIu64 " deliveries out of order", report->reordered);
    }
    if (report->kept_lost != 0) {
        tt_report_failure(report,
                          "%" PRIu64 " events marked \"conflate\":false were conflated away",
                          report->kept_lost);
    }
    if (report->losses_told != 0 && !report->options->allow_told) {
        tt_report_failure(report,
                          "the broker told %" PRIu64
                          " times of events that are gone (resync, or gap "
                          "of a crash); --allow-told lets that pass",
                          report->losses_told);
    }
    for (uint32_t i = 0; i < crew->engines_started; i++) {
        report_trouble(report, &crew->engines[i].trouble);
    }
    if (crew->publisher_started) report_trouble(report, &crew->publisher.trouble);
    if (report->failure_count == 0 && report->published == 0) {
        tt_report_failure(report, "nothing was published");
    }
}

void tt_judge_ourselves(struct tt_report *report)
{
    uint64_t late_ns = tt_histogram_at(&report->lateness, 0.99);
    double idle_ms = (double)(report->end.core_idle_ms - report->begin.core_idle_ms);

    if (report->busiest_thread > BUSY_LIMIT) {
        tt_report_limit(report, "a thread of ttload was busy for %.0f %% of the time",
                        report->busiest_thread * 100);
    }
    if (late_ns > LATE_LIMIT_NS && late_ns * 10 > tt_histogram_at(&report->latency, 0.99)) {
        tt_report_limit(report, "ttload published late by its own fault (p99 %.1f ms)",
                        (double)late_ns / 1e6);
    }
    if (report->foreign_cpu > 0.1) {
        tt_report_limit(report, "other processes kept %.2f cores busy", report->foreign_cpu);
    }
    if (!report->has_process && report->seconds > 0 &&
        idle_ms < (1 - BUSY_LIMIT) * report->seconds * 1000 * report->core_count) {
        tt_report_limit(report, "the machine was busy for more than %.0f %% of the time",
                        BUSY_LIMIT * 100);
    }
}
