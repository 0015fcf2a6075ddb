#include "tools/ttload/run.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/ttload/crew.h"
#include "tools/ttload/html.h"
#include "tools/ttload/judge.h"
#include "tools/ttload/monitor.h"
#include "tools/ttload/report.h"

#define LOOK_MS         5u
#define PUBLISH_LEAD_NS 200000000u /* from starting the publisher's thread to its first event */

struct run {
    struct tt_crew crew;
    struct tt_monitor monitor;
    struct tt_proc_target broker;
    struct tt_proc_target own;
    struct tt_report report;
    FILE *html; /* null: not wanted */
};

/* What is read at the beginning and at the end of the measured part. */
struct mark {
    struct tt_totals totals;
    uint64_t thread_ns[TT_CREW_ENGINES_MAX + 1];
    struct tt_proc_sample broker;
    struct tt_proc_sample own;
    uint64_t counters[TT_REPORT_COUNTERS_MAX];
    unsigned counter_count;
};

/* Looks around until then. */
static void wait_until(struct run *r, uint64_t at_ns)
{
    tt_monitor_until(&r->monitor, at_ns);
}

static void wait_a_moment(struct run *r)
{
    wait_until(r, tt_proc_now_ns() + LOOK_MS * 1000000u);
}

static uint64_t thread_cpu_ns(pthread_t thread)
{
    clockid_t clock;
    struct timespec t;
    if (pthread_getcpuclockid(thread, &clock) != 0 || clock_gettime(clock, &t) != 0) return 0;
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void read_counters(const struct run *r, struct mark *m)
{
    const char *path = r->crew.load.options->counters;
    if (path[0] == '\0') return;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    ssize_t size = pread(file, m->counters, sizeof m->counters, 0);
    close(file);
    m->counter_count = size < 0 ? 0 : (unsigned)((size_t)size / sizeof m->counters[0]);
}

static void take_mark(struct run *r, struct mark *m)
{
    *m = (struct mark){0};
    if (tt_proc_sample(&r->broker, &m->broker) != TT_OK) {
        tt_report_failure(&r->report, "--pid=%" PRIu64 ": the process is gone",
                          r->crew.load.options->pid);
    }
    if (tt_proc_sample(&r->own, &m->own) != TT_OK) m->own.run_ns = 0;
    tt_crew_totals(&r->crew, &m->totals);
    for (uint32_t i = 0; i < r->crew.engines_started; i++) {
        m->thread_ns[i] = thread_cpu_ns(r->crew.engines[i].thread);
    }
    bool ended = atomic_load_explicit(&r->crew.publisher.ended, memory_order_acquire);
    m->thread_ns[r->crew.engines_started] =
        ended ? tt_counter(&r->crew.publisher.cpu_ns) : thread_cpu_ns(r->crew.publisher.thread);
    read_counters(r, m);
}

/* ---- the phases ---- */
static bool start_engine(struct run *r, uint32_t first, uint32_t end)
{
    struct tt_engine *engine = &r->crew.engines[r->crew.engines_started];

    if (end == first) return true;
    if (tt_engine_start(engine, &r->crew.load, first, end - first) != TT_OK) {
        tt_report_failure(&r->report,
                          "no memory for %" PRIu32 " clients with %" PRIu32 " channels each",
                          r->crew.plan.clients, r->crew.plan.per_client);
        return false;
    }
    r->crew.engines_started++;
    return true;
}

static bool start_engines(struct run *r)
{
    const struct tt_plan *plan = &r->crew.plan;
    uint64_t threads = r->crew.load.options->threads;

    r->crew.engines = calloc(TT_CREW_ENGINES_MAX, sizeof *r->crew.engines);
    if (r->crew.engines == NULL) return false;
    for (uint32_t i = 0; i < threads; i++) {
        if (!start_engine(r, (uint32_t)(plan->apart * (uint64_t)i / threads),
                          (uint32_t)(plan->apart * (uint64_t)(i + 1) / threads)))
            return false;
    }
    return start_engine(r, plan->apart, plan->clients);
}

static uint64_t connected(const struct run *r)
{
    struct tt_totals totals;
    tt_crew_totals(&r->crew, &totals);
    return totals.connected;
}

static bool connect_all(struct run *r)
{
    const struct tt_run_options *o = r->crew.load.options;
    uint64_t end_ns = tt_proc_now_ns() + o->connect_ms * 1000000u;

    tt_monitor_phase(&r->monitor, "connecting", 0);
    if (!start_engines(r)) return false;
    while (connected(r) < o->clients) {
        if (tt_crew_in_trouble(&r->crew)) return false;
        if (tt_proc_now_ns() > end_ns) {
            tt_report_failure(&r->report,
                              "only %" PRIu64 " of %" PRIu64
                              " clients were connected within --connect-timeout",
                              connected(r), o->clients);
            return false;
        }
        wait_a_moment(r);
    }
    return true;
}

static void fill_window(struct run *r, const struct mark *a, const struct mark *b)
{
    struct tt_report *report = &r->report;
    double ns = (double)(b->broker.when_ns - a->broker.when_ns);

    report->begin = a->broker;
    report->end = b->broker;
    report->seconds = ns / 1e9;
    report->window_published = b->totals.published - a->totals.published;
    report->window_delivered = b->totals.delivered - a->totals.delivered;
    report->window_bytes = b->totals.bytes - a->totals.bytes;
    report->window_receives = b->totals.receives - a->totals.receives;
    for (uint32_t i = 0; i <= r->crew.engines_started; i++) {
        /* A thread of clients that gave up has no time any more; the run has failed then. */
        uint64_t used_ns =
            b->thread_ns[i] < a->thread_ns[i] ? 0 : b->thread_ns[i] - a->thread_ns[i];
        double share = (double)used_ns / ns;
        if (share > report->busiest_thread) report->busiest_thread = share;
        report->own_cpu += share;
    }
    double busy = (double)(b->broker.machine_busy_ms - a->broker.machine_busy_ms) * 1e6 / ns;
    double process = (double)(b->broker.run_ns - a->broker.run_ns) / ns;
    report->foreign_cpu = busy - process - report->own_cpu;
    if (report->foreign_cpu < 0) report->foreign_cpu = 0;
    report->counter_count = b->counter_count;
    for (unsigned i = 0; i < b->counter_count; i++) {
        report->counters[i] = b->counters[i] - a->counters[i];
    }
}

/* Publishes, and measures the middle of it. */
static bool publish_all(struct run *r)
{
    const struct tt_run_options *o = r->crew.load.options;
    uint64_t start_ns = tt_proc_now_ns() + PUBLISH_LEAD_NS;
    uint64_t from_ns = start_ns + o->warmup_ms * 1000000u;
    uint64_t end_ns = from_ns + o->duration_ms * 1000000u;
    struct mark begin;
    struct mark end;

    atomic_store_explicit(&r->crew.load.measure_from_ns, from_ns, memory_order_relaxed);
    if (tt_publisher_start(&r->crew.publisher, &r->crew.load, start_ns, end_ns) != TT_OK) {
        tt_report_failure(&r->report, "no memory for publishing");
        return false;
    }
    r->crew.publisher_started = true;
    r->report.measured_from_s = (double)(from_ns - r->monitor.start_ns) / 1e9;
    r->report.measured_to_s = (double)(end_ns - r->monitor.start_ns) / 1e9;
    if (o->warmup_ms != 0) tt_monitor_phase(&r->monitor, "warming up", from_ns);
    wait_until(r, from_ns);
    tt_monitor_phase(&r->monitor, "measuring", end_ns);
    take_mark(r, &begin);
    wait_until(r, end_ns);
    take_mark(r, &end);
    while (!atomic_load_explicit(&r->crew.publisher.ended, memory_order_acquire)) wait_a_moment(r);
    fill_window(r, &begin, &end);
    return true;
}

/* Waits for what is still on its way. */
static void drain(struct run *r)
{
    uint64_t start_ns = tt_proc_now_ns();
    uint64_t end_ns = start_ns + r->crew.load.options->drain_ms * 1000000u;

    tt_monitor_phase(&r->monitor, "draining", 0);
    atomic_store_explicit(&r->crew.load.published, r->crew.publisher.published,
                          memory_order_release);
    while (!tt_crew_settled(&r->crew) && tt_proc_now_ns() < end_ns) wait_a_moment(r);
    if (tt_crew_settled(&r->crew)) {
        r->report.settled_s = (double)(tt_proc_now_ns() - start_ns) / 1e9;
    }
    /* A moment more shows what comes twice. */
    wait_until(r, tt_proc_now_ns() + 50000000u);
}

static void stop(struct run *r)
{
    struct tt_crew *crew = &r->crew;

    atomic_store(&crew->load.stop, true);
    for (uint32_t i = 0; i < crew->engines_started; i++) {
        struct tt_engine *e = &crew->engines[i];
        tt_engine_stop(e);
        tt_histogram_merge(&r->report.latency, &e->latency);
        tt_histogram_merge(&r->report.disturbed, &e->disturbed);
        tt_histogram_merge(&r->report.connect, &e->connect);
        tt_histogram_merge(&r->report.resume, &e->resume);
        if (e->io_name != NULL) r->report.io_name = e->io_name;
    }
    if (crew->publisher_started) {
        tt_publisher_stop(&crew->publisher);
        tt_histogram_merge(&r->report.lateness, &crew->publisher.lateness);
        tt_histogram_merge(&r->report.answer, &crew->publisher.answer);
        if (crew->publisher.io_name != NULL) r->report.io_name = crew->publisher.io_name;
    }
}

/* ---- life ---- */
static void init_report(struct tt_report *report, const struct tt_run_options *options)
{
    report->options = options;
    report->io_name = "none";
    report->has_process = options->pid != 0;
    report->settled_s = -1;
    tt_histogram_init(&report->latency);
    tt_histogram_init(&report->disturbed);
    tt_histogram_init(&report->connect);
    tt_histogram_init(&report->resume);
    tt_histogram_init(&report->lateness);
    tt_histogram_init(&report->answer);
}

/* Before anything is opened: a report that cannot be written in the end is a wasted run. An old one
 * stays until there is a new one. */
static bool open_html(struct run *r)
{
    const char *path = r->crew.load.options->html;
    if (path[0] == '\0') return true;
    int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (file >= 0) r->html = fdopen(file, "w");
    if (r->html == NULL && file >= 0) close(file);
    if (r->html != NULL) return true;
    fprintf(stderr,
            "ttload: --html=%s: cannot be written: %s; allowed: a file, in a directory that "
            "is there\n",
            path, strerror(errno));
    return false;
}

/* 0, or the exit status. */
static int init(struct run *r, const struct tt_run_options *options)
{
    r->crew.load.options = options;
    r->crew.load.plan = &r->crew.plan;
    tt_address_text(&options->address, r->crew.load.host);
    init_report(&r->report, options);
    if (tt_proc_target_init(&r->broker, (uint32_t)options->pid) != TT_OK ||
        tt_proc_target_init(&r->own, (uint32_t)getpid()) != TT_OK) {
        fprintf(stderr, "ttload: --pid=%" PRIu64 ": there is no such process\n", options->pid);
        return 1;
    }
    if (!open_html(r)) return 2;
    if (tt_plan_init(&r->crew.plan, options) != TT_OK) {
        fprintf(stderr, "ttload: --clients=%" PRIu64 ": no memory for so many\n", options->clients);
        return 1;
    }
    r->report.core_count = r->broker.core_count;
    return tt_proc_sample(&r->broker, &r->report.before_clients) == TT_OK ? 0 : 1;
}

static void deinit(struct run *r)
{
    if (r->html != NULL) fclose(r->html);
    if (r->crew.publisher_started) tt_publisher_deinit(&r->crew.publisher);
    tt_plan_deinit(&r->crew.plan);
    free(r->crew.engines);
    free(r);
}

/* Returns whether everything could be written. */
static bool write_reports(struct run *r)
{
    bool good = true;

    if (r->crew.load.options->json) tt_report_json(&r->report, stdout);
    if (!r->crew.load.options->json) tt_report_text(&r->report, stdout);
    if (r->html != NULL) {
        good = ftruncate(fileno(r->html), 0) == 0;
        tt_html_write(&r->report, &r->monitor.series, r->html);
        good = fflush(r->html) == 0 && good && ferror(r->html) == 0;
        if (!good)
            fprintf(stderr, "ttload: --html=%s: writing failed\n", r->crew.load.options->html);
    }
    return fflush(stdout) == 0 && good;
}

int tt_run(const struct tt_run_options *options)
{
    struct run *r = calloc(1, sizeof *r);
    int status = r == NULL ? 1 : init(r, options);

    if (status != 0) {
        if (r != NULL) deinit(r);
        return status;
    }
    tt_monitor_init(&r->monitor, &r->crew);
    if (connect_all(r)) {
        /* Memory is compared after the broker has come to rest. */
        wait_until(r, tt_proc_now_ns() + 100000000u);
        if (tt_proc_sample(&r->broker, &r->report.with_clients) == TT_OK && publish_all(r))
            drain(r);
    }
    tt_monitor_end(&r->monitor);
    stop(r);
    tt_judge(&r->crew, &r->report);
    if (r->report.failure_count != 0) tt_view_say(&r->monitor.view, r->report.failures[0]);
    tt_judge_ourselves(&r->report);
    if (!write_reports(r) || r->report.failure_count != 0) status = 1;
    deinit(r);
    return status;
}
