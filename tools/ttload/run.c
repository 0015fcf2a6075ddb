#include "tools/ttload/run.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "tools/ttload/engine.h"
#include "tools/ttload/payload.h"
#include "tools/ttload/publisher.h"
#include "tools/ttload/report.h"

#define LOOK_MS         5u
#define PUBLISH_LEAD_NS 200000000u /* from starting the publisher's thread to its first event */
#define BUSY_LIMIT      0.9        /* a thread or core busier than this may have been the limit */
#define LATE_LIMIT_NS   1000000u   /* and a schedule kept later than this */

struct run {
    struct tt_load load;
    struct tt_publisher publisher;
    struct tt_engine *engines;
    uint32_t engines_started;
    bool publisher_started;
    struct tt_proc_target broker;
    struct tt_proc_target own;
    struct tt_report report;
};

/* What is read at the beginning and at the end of the measured part. */
struct mark {
    uint64_t published, delivered, bytes, receives;
    uint64_t thread_ns[65];
    struct tt_proc_sample broker;
    struct tt_proc_sample own;
    uint64_t counters[TT_REPORT_COUNTERS_MAX];
    unsigned counter_count;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void sleep_until(uint64_t at_ns)
{
    struct timespec t = {(time_t)(at_ns / 1000000000u), (long)(at_ns % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) != 0) {
    }
}

static void progress(const struct run *r, const char *text)
{
    if (!r->load.options->quiet) fprintf(stderr, "ttload: %s\n", text);
}

/* ---- sums over the threads ---- */
#define SUM(run, counter)                                                                          \
    ({                                                                                             \
        uint64_t sum_ = 0;                                                                         \
        for (uint32_t i_ = 0; i_ < (run)->engines_started; i_++)                                   \
            sum_ += tt_counter(&(run)->engines[i_].counter);                                       \
        sum_;                                                                                      \
    })

static bool in_trouble(const struct run *r)
{
    for (uint32_t i = 0; i < r->engines_started; i++) {
        if (tt_counter(&r->engines[i].trouble.count) != 0) return true;
    }
    return r->publisher_started && tt_counter(&r->publisher.trouble.count) != 0;
}

static void report_trouble(struct tt_report *report, const struct tt_trouble *t)
{
    uint64_t count = atomic_load_explicit(&t->count, memory_order_acquire);
    if (count == 1) tt_report_failure(report, "%s", t->first);
    if (count > 1) tt_report_failure(report, "%s (and %" PRIu64 " more)", t->first, count - 1);
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
    const char *path = r->load.options->counters;
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
                          r->load.options->pid);
    }
    if (tt_proc_sample(&r->own, &m->own) != TT_OK) m->own.run_ns = 0;
    m->published = tt_counter(&r->publisher.accepted);
    m->delivered = SUM(r, delivered);
    m->bytes = SUM(r, bytes);
    m->receives = SUM(r, receives);
    for (uint32_t i = 0; i < r->engines_started; i++) {
        m->thread_ns[i] = thread_cpu_ns(r->engines[i].thread);
    }
    bool ended = atomic_load_explicit(&r->publisher.ended, memory_order_acquire);
    m->thread_ns[r->engines_started] =
        ended ? tt_counter(&r->publisher.cpu_ns) : thread_cpu_ns(r->publisher.thread);
    read_counters(r, m);
}

/* ---- the phases ---- */
static bool start_engines(struct run *r)
{
    const struct tt_run_options *o = r->load.options;
    uint32_t threads = o->clients == 0 ? 0 : (uint32_t)o->threads;
    uint64_t next = 0;

    r->engines = calloc(threads + 1, sizeof *r->engines);
    if (r->engines == NULL) return false;
    for (uint32_t i = 0; i < threads; i++) {
        uint64_t end = o->clients * (i + 1) / threads;
        if (tt_engine_start(&r->engines[i], &r->load, (uint32_t)next, (uint32_t)(end - next)) !=
            TT_OK) {
            tt_report_failure(&r->report,
                              "no memory for %" PRIu64 " clients with %" PRIu32 " channels each",
                              o->clients, r->load.per_client);
            return false;
        }
        r->engines_started++;
        next = end;
    }
    return true;
}

static bool connect_all(struct run *r)
{
    const struct tt_run_options *o = r->load.options;
    uint64_t end_ns = now_ns() + o->connect_ms * 1000000u;

    progress(r, "connecting");
    if (!start_engines(r)) return false;
    while (SUM(r, connected) < o->clients) {
        if (in_trouble(r)) return false;
        if (now_ns() > end_ns) {
            tt_report_failure(&r->report,
                              "only %" PRIu64 " of %" PRIu64
                              " clients were connected within --connect-timeout",
                              SUM(r, connected), o->clients);
            return false;
        }
        sleep_until(now_ns() + LOOK_MS * 1000000u);
    }
    return true;
}

/* How many deliveries what was published must lead to. */
static uint64_t expected_deliveries(const struct run *r)
{
    const struct tt_load *load = &r->load;
    uint64_t expected = 0;

    uint64_t *followers = calloc(load->channels, sizeof *followers);
    if (followers == NULL) return 0;
    for (uint32_t i = 0; i < load->options->clients; i++) {
        uint32_t channel = tt_load_first_channel(load, i);
        if (load->per_client == load->channels) {
            followers[0]++;
            continue;
        }
        for (uint32_t k = 0; k < load->per_client; k++) {
            followers[(channel + k) % load->channels]++;
        }
    }
    for (uint32_t c = 0; c < load->channels; c++) {
        uint64_t who = load->per_client == load->channels ? followers[0] : followers[c];
        expected += who * r->publisher.published[c];
    }
    free(followers);
    return expected;
}

static void fill_window(struct run *r, const struct mark *a, const struct mark *b)
{
    struct tt_report *report = &r->report;
    double ns = (double)(b->broker.when_ns - a->broker.when_ns);

    report->begin = a->broker;
    report->end = b->broker;
    report->seconds = ns / 1e9;
    report->window_published = b->published - a->published;
    report->window_delivered = b->delivered - a->delivered;
    report->window_bytes = b->bytes - a->bytes;
    report->window_receives = b->receives - a->receives;
    for (uint32_t i = 0; i <= r->engines_started; i++) {
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
    const struct tt_run_options *o = r->load.options;
    uint64_t start_ns = now_ns() + PUBLISH_LEAD_NS;
    uint64_t from_ns = start_ns + o->warmup_ms * 1000000u;
    uint64_t end_ns = from_ns + o->duration_ms * 1000000u;
    struct mark begin;
    struct mark end;

    atomic_store_explicit(&r->load.measure_from_ns, from_ns, memory_order_relaxed);
    if (tt_publisher_start(&r->publisher, &r->load, start_ns, end_ns) != TT_OK) {
        tt_report_failure(&r->report, "no memory for publishing");
        return false;
    }
    r->publisher_started = true;
    progress(r, "publishing");
    sleep_until(from_ns);
    take_mark(r, &begin);
    sleep_until(end_ns);
    take_mark(r, &end);
    while (!atomic_load_explicit(&r->publisher.ended, memory_order_acquire)) {
        sleep_until(now_ns() + LOOK_MS * 1000000u);
    }
    fill_window(r, &begin, &end);
    return true;
}

/* Waits for what is still on its way. */
static void drain(struct run *r)
{
    uint64_t end_ns = now_ns() + r->load.options->drain_ms * 1000000u;
    struct tt_report *report = &r->report;

    progress(r, "waiting for the rest");
    report->published = tt_counter(&r->publisher.accepted);
    report->expected = expected_deliveries(r);
    while (SUM(r, delivered) < report->expected && now_ns() < end_ns) {
        sleep_until(now_ns() + LOOK_MS * 1000000u);
    }
    /* A moment more shows what comes twice. */
    sleep_until(now_ns() + 50000000u);
}

static void judge(struct run *r)
{
    struct tt_report *report = &r->report;

    report->connected = SUM(r, connected);
    report->delivered = SUM(r, delivered);
    report->doubled = SUM(r, doubled);
    report->reordered = SUM(r, reordered);
    report->gaps = SUM(r, gaps);
    report->notices = SUM(r, notices);
    if (report->expected > report->delivered) report->lost = report->expected - report->delivered;
    if (report->lost != 0) tt_report_failure(report, "%" PRIu64 " deliveries lost", report->lost);
    if (report->delivered > report->expected) {
        tt_report_failure(report, "%" PRIu64 " deliveries of events that the broker did not accept",
                          report->delivered - report->expected);
    }
    if (report->doubled != 0) {
        tt_report_failure(report, "%" PRIu64 " deliveries doubled", report->doubled);
    }
    if (report->reordered != 0) {
        tt_report_failure(report, "%" PRIu64 " deliveries out of order", report->reordered);
    }
    for (uint32_t i = 0; i < r->engines_started; i++) {
        report_trouble(report, &r->engines[i].trouble);
    }
    if (r->publisher_started) report_trouble(report, &r->publisher.trouble);
    if (report->failure_count == 0 && report->published == 0) {
        tt_report_failure(report, "nothing was published");
    }
}

static void judge_ourselves(struct run *r)
{
    struct tt_report *report = &r->report;
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

static bool init(struct run *r, const struct tt_run_options *options)
{
    r->load.options = options;
    r->load.channels = (uint32_t)options->channels;
    r->load.per_client = options->channels_per_client == 0 ? r->load.channels
                                                           : (uint32_t)options->channels_per_client;
    tt_address_text(&options->address, r->load.host);
    r->report.options = options;
    r->report.io_name = "none";
    r->report.has_process = options->pid != 0;
    tt_histogram_init(&r->report.latency);
    tt_histogram_init(&r->report.connect);
    tt_histogram_init(&r->report.lateness);
    tt_histogram_init(&r->report.answer);
    if (tt_proc_target_init(&r->broker, (uint32_t)options->pid) != TT_OK ||
        tt_proc_target_init(&r->own, (uint32_t)getpid()) != TT_OK) {
        fprintf(stderr, "ttload: --pid=%" PRIu64 ": there is no such process\n", options->pid);
        return false;
    }
    r->report.core_count = r->broker.core_count;
    return tt_proc_sample(&r->broker, &r->report.before_clients) == TT_OK;
}

static void stop(struct run *r)
{
    atomic_store(&r->load.stop, true);
    for (uint32_t i = 0; i < r->engines_started; i++) {
        tt_engine_stop(&r->engines[i]);
        tt_histogram_merge(&r->report.latency, &r->engines[i].latency);
        tt_histogram_merge(&r->report.connect, &r->engines[i].connect);
        if (r->engines[i].io_name != NULL) r->report.io_name = r->engines[i].io_name;
    }
    if (r->publisher_started) {
        tt_publisher_stop(&r->publisher);
        tt_histogram_merge(&r->report.lateness, &r->publisher.lateness);
        tt_histogram_merge(&r->report.answer, &r->publisher.answer);
        if (r->publisher.io_name != NULL) r->report.io_name = r->publisher.io_name;
    }
}

int tt_run(const struct tt_run_options *options)
{
    struct run *r = calloc(1, sizeof *r);
    if (r == NULL || !init(r, options)) {
        free(r);
        return 1;
    }
    if (connect_all(r)) {
        /* Memory is compared after the broker has come to rest. */
        sleep_until(now_ns() + 100000000u);
        if (tt_proc_sample(&r->broker, &r->report.with_clients) == TT_OK && publish_all(r))
            drain(r);
    }
    judge(r);
    if (r->report.failure_count != 0) progress(r, r->report.failures[0]);
    stop(r);
    judge_ourselves(r);
    if (options->json) tt_report_json(&r->report, stdout);
    if (!options->json) tt_report_text(&r->report, stdout);
    int status = r->report.failure_count == 0 ? 0 : 1;
    if (r->publisher_started) tt_publisher_deinit(&r->publisher);
    free(r->engines);
    free(r);
    return status;
}
