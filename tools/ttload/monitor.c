#include "tools/ttload/monitor.h"

#include <time.h>

#include "tools/ttload/proc.h"

#define LOOK_NS       (1000000000u / TT_MONITOR_LOOKS)
#define POINTS_WANTED 240u /* in a plot */

static void sleep_until(uint64_t at_ns)
{
    struct timespec t = {(time_t)(at_ns / 1000000000u), (long)(at_ns % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) != 0) {
    }
}

void tt_monitor_init(struct tt_monitor *m, const struct tt_crew *crew)
{
    const struct tt_run_options *o = crew->load.options;
    uint64_t wanted_ns = (o->warmup_ms + o->duration_ms) * 1000000u / POINTS_WANTED;

    *m = (struct tt_monitor){.crew = crew, .start_ns = tt_proc_now_ns()};
    m->series_ns = wanted_ns < LOOK_NS ? LOOK_NS : wanted_ns;
    m->next_ns_ = m->start_ns + LOOK_NS;
    m->point_totals_.when_ns = m->start_ns;
    m->totals_[0].when_ns = m->start_ns;
    m->looks_ = 1;
    tt_view_init(&m->view, o->quiet, o->clients);
}

static double rate(uint64_t now, uint64_t before, double seconds)
{
    return seconds > 0 ? (double)(now - before) / seconds : 0;
}

static void add_point(struct tt_monitor *m, const struct tt_totals *now,
                      const struct tt_coarse_counts *recent)
{
    const struct tt_totals *before = &m->point_totals_;
    struct tt_coarse_counts *in = &m->scratch_[0];
    double seconds = (double)(now->when_ns - before->when_ns) / 1e9;

    *in = *recent;
    tt_coarse_subtract(in, &m->point_recent_);
    struct tt_series_point point = {
        .at_s = (double)(now->when_ns - m->start_ns) / 1e9,
        .span_s = seconds,
        .published = rate(now->published, before->published, seconds),
        .delivered = rate(now->delivered, before->delivered, seconds),
        .bytes = rate(now->bytes, before->bytes, seconds),
        .p50_ms = (double)tt_coarse_at(in, 0.5) / 1e6,
        .p99_ms = (double)tt_coarse_at(in, 0.99) / 1e6,
        .max_ms = (double)tt_coarse_at(in, 1) / 1e6,
        .cuts = (double)(now->cuts + now->closed - before->cuts - before->closed),
        .live = (double)now->live,
        .stopped = (double)now->stopped,
        .missing = (double)now->missing,
    };
    tt_series_add(&m->series, &point);
    m->point_totals_ = *now;
    m->point_recent_ = *recent;
}

static void show(struct tt_monitor *m, const struct tt_totals *now,
                 const struct tt_coarse_counts *recent)
{
    uint32_t oldest = m->looks_ < TT_MONITOR_LOOKS ? 0 : m->looks_ % TT_MONITOR_LOOKS;
    const struct tt_totals *before = &m->totals_[oldest];
    struct tt_coarse_counts *in = &m->scratch_[0];
    double seconds = (double)(now->when_ns - before->when_ns) / 1e9;

    *in = *recent;
    tt_coarse_subtract(in, &m->recent_[oldest]);
    struct tt_view_state state = {
        .totals = now,
        .published_per_s = rate(now->published, before->published, seconds),
        .delivered_per_s = rate(now->delivered, before->delivered, seconds),
        .bytes_per_s = rate(now->bytes, before->bytes, seconds),
        .now_p50_ms = (double)tt_coarse_at(in, 0.5) / 1e6,
        .now_p99_ms = (double)tt_coarse_at(in, 0.99) / 1e6,
        .now_max_ms = (double)tt_coarse_at(in, 1) / 1e6,
        .p50_ms = (double)tt_coarse_at(recent, 0.5) / 1e6,
        .p99_ms = (double)tt_coarse_at(recent, 0.99) / 1e6,
        .max_ms = (double)tt_coarse_at(recent, 1) / 1e6,
    };
    tt_view_show(&m->view, &state);
}

static void look(struct tt_monitor *m, bool last)
{
    struct tt_totals now;
    struct tt_coarse_counts *recent = &m->scratch_[1];

    tt_crew_totals(m->crew, &now);
    tt_crew_recent(m->crew, recent);
    /* A look is a little late at times: half of one decides. */
    if (last || now.when_ns + LOOK_NS / 2 >= m->point_totals_.when_ns + m->series_ns) {
        add_point(m, &now, recent);
    }
    show(m, &now, recent);
    m->totals_[m->looks_ % TT_MONITOR_LOOKS] = now;
    m->recent_[m->looks_ % TT_MONITOR_LOOKS] = *recent;
    m->looks_++;
}

void tt_monitor_look(struct tt_monitor *m)
{
    uint64_t now_ns = tt_proc_now_ns();
    if (now_ns < m->next_ns_) return;
    look(m, false);
    m->next_ns_ += LOOK_NS;
    if (m->next_ns_ <= now_ns) m->next_ns_ = now_ns + LOOK_NS;
}

void tt_monitor_until(struct tt_monitor *m, uint64_t at_ns)
{
    for (;;) {
        tt_monitor_look(m);
        if (m->next_ns_ >= at_ns) break;
        sleep_until(m->next_ns_);
    }
    sleep_until(at_ns);
}

void tt_monitor_phase(struct tt_monitor *m, const char *name, uint64_t end_ns)
{
    tt_view_phase(&m->view, name, tt_proc_now_ns(), end_ns);
}

void tt_monitor_end(struct tt_monitor *m)
{
    look(m, true);
    tt_view_end(&m->view);
}
