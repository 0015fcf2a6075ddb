#include "tools/ttload/report.h"

#include <inttypes.h>
#include <stdarg.h>

#include "proto/base/bytes.h"

void tt_report_limit(struct tt_report *r, const char *format, ...)
{
    va_list arguments;
    if (r->limit_count == TT_REPORT_REASONS_MAX) return;
    va_start(arguments, format);
    vsnprintf(r->limits[r->limit_count++], sizeof r->limits[0], format, arguments);
    va_end(arguments);
}

void tt_report_failure(struct tt_report *r, const char *format, ...)
{
    va_list arguments;
    if (r->failure_count == TT_REPORT_REASONS_MAX) return;
    va_start(arguments, format);
    vsnprintf(r->failures[r->failure_count++], sizeof r->failures[0], format, arguments);
    va_end(arguments);
}

/* A second of the measured part; nothing when the run did not come so far. */
static double rate(const struct tt_report *r, uint64_t count)
{
    return r->seconds > 0 ? (double)count / r->seconds : 0;
}

static double per(double value, uint64_t count)
{
    return count == 0 ? 0 : value / (double)count;
}

static uint64_t core_busy_ms(const struct tt_proc_sample *s)
{
    return s->core_user_ms + s->core_system_ms + s->core_softirq_ms;
}

double tt_report_process_ns(const struct tt_report *r)
{
    if (!r->has_process) return 0;
    return per((double)(r->end.run_ns - r->begin.run_ns), r->window_delivered);
}

double tt_report_cores_ns(const struct tt_report *r)
{
    if (!r->has_process) return 0;
    return per((double)(core_busy_ms(&r->end) - core_busy_ms(&r->begin)) * 1e6,
               r->window_delivered);
}

/* Growth of the broker's resident memory for each client. */
static double bytes_per_client(const struct tt_report *r)
{
    double growth = (double)r->with_clients.rss_bytes - (double)r->before_clients.rss_bytes;
    return per(growth, r->connected);
}

static double tcp_bytes_per_client(const struct tt_report *r)
{
    double growth = (double)r->end.tcp_bytes - (double)r->before_clients.tcp_bytes;
    return per(growth, r->connected);
}

/* ---- text ---- */
static void text_ms(FILE *out, const char *name, const struct tt_histogram *h)
{
    if (h->count == 0) return;
    fprintf(out, "%-14s p50 %.3f   p90 %.3f   p99 %.3f   p99.9 %.3f   max %.3f ms\n", name,
            (double)tt_histogram_at(h, 0.5) / 1e6, (double)tt_histogram_at(h, 0.9) / 1e6,
            (double)tt_histogram_at(h, 0.99) / 1e6, (double)tt_histogram_at(h, 0.999) / 1e6,
            (double)h->max / 1e6);
}

static void text_process(const struct tt_report *r, FILE *out)
{
    double ms = r->seconds > 0 ? r->seconds * 10 : 1; /* of one core, for per cent */
    const struct tt_proc_sample *a = &r->begin;
    const struct tt_proc_sample *b = &r->end;

    fprintf(out, "%-14s %.0f %% of a core (user %.0f, system %.0f); %.3f us for each delivery\n",
            "broker CPU", (double)(b->run_ns - a->run_ns) / 1e6 / ms,
            (double)(b->user_ms - a->user_ms) / ms, (double)(b->system_ms - a->system_ms) / ms,
            tt_report_process_ns(r) / 1e3);
    fprintf(
        out,
        "%-14s %" PRIu32 " of it: busy %.0f %% (user %.0f, kernel %.0f, of that interrupts "
        "%.0f; stolen %.0f); %.3f us for each delivery\n",
        "its cores", r->core_count, (double)(core_busy_ms(b) - core_busy_ms(a)) / ms,
        (double)(b->core_user_ms - a->core_user_ms) / ms,
        (double)(b->core_system_ms - a->core_system_ms + b->core_softirq_ms - a->core_softirq_ms) /
            ms,
        (double)(b->core_softirq_ms - a->core_softirq_ms) / ms,
        (double)(b->core_steal_ms - a->core_steal_ms) / ms, tt_report_cores_ns(r) / 1e3);
    fprintf(out,
            "%-14s %.1f MiB before, %.1f with the clients (%.0f bytes each), %.1f at the end; "
            "the kernel's TCP memory %.0f bytes each\n",
            "memory", (double)r->before_clients.rss_bytes / 1048576,
            (double)r->with_clients.rss_bytes / 1048576, bytes_per_client(r),
            (double)b->rss_bytes / 1048576, tcp_bytes_per_client(r));
}

static void text_complete(const struct tt_report *r, FILE *out)
{
    fprintf(out,
            "%-14s %" PRIu64 " of %" PRIu64 " deliveries in the whole run: %" PRIu64
            " lost, %" PRIu64 " doubled, %" PRIu64 " out of order, %" PRIu64
            " notices of gap or resync\n",
            "complete", r->delivered, r->expected, r->lost, r->doubled, r->reordered, r->notices);
    if (r->told != 0 || r->again != 0) {
        fprintf(out, "%-14s %" PRIu64 " events told of as gone; %" PRIu64 " known values again\n",
                "told", r->told, r->again);
    }
    if (r->conflating != 0) {
        fprintf(out,
                "%-14s %" PRIu64 " events conflated, %" PRIu64 " told of by gap; %" PRIu64
                " channels not at their newest, %" PRIu64 " events lost that are never conflated\n",
                "conflation", r->conflated, r->skipped, r->stale, r->kept_lost);
    }
    if (r->settled_s >= 0) {
        fprintf(out, "%-14s %.2f s after the last event nobody missed anything\n", "settled",
                r->settled_s);
    }
}

/* Who was slow, cut off or closed; nothing where nobody was. */
static void text_roles(const struct tt_report *r, FILE *out)
{
    if (r->slow + r->reconnecting + r->conflating + r->disconnecting + r->lag_limited == 0) return;
    fprintf(out,
            "%-14s %" PRIu32 " slow, %" PRIu32 " reconnecting, %" PRIu32 " conflating (%" PRIu32
            " with max_rate), %" PRIu32 " of policy disconnect, %" PRIu32 " with max_lag\n",
            "of the clients", r->slow, r->reconnecting, r->conflating, r->rate_limited,
            r->disconnecting, r->lag_limited);
    fprintf(out,
            "%-14s %" PRIu64 " cuts, %" PRIu64 " of them inside an event; %" PRIu64
            " closed by the broker; %" PRIu64 " resumed\n",
            "reconnecting", r->cuts, r->cuts_inside, r->closed, r->resumed);
    text_ms(out, "resuming", &r->resume);
}

void tt_report_text(const struct tt_report *r, FILE *out)
{
    const struct tt_run_options *o = r->options;

    fprintf(out,
            "%-14s %" PRIu64 " clients on %" PRIu64 " threads (%s), %" PRIu64 " channels, %" PRIu64
            " bytes, %" PRIu64 " events/s wanted, %.1f s measured\n",
            "ttload run", o->clients, o->threads, r->io_name, o->channels, o->event_bytes, o->rate,
            r->seconds);
    text_ms(out, "connecting", &r->connect);
    fprintf(out, "%-14s %" PRIu64 " events, %.0f/s; %" PRIu64 " in the whole run\n", "published",
            r->window_published, rate(r, r->window_published), r->published);
    fprintf(out,
            "%-14s %" PRIu64 " deliveries, %.0f/s, %.1f MB/s, %.0f bytes each, %.2f a receive\n",
            "delivered", r->window_delivered, rate(r, r->window_delivered),
            rate(r, r->window_bytes) / 1e6, per((double)r->window_bytes, r->window_delivered),
            per((double)r->window_delivered, r->window_receives));
    text_ms(out, "latency", &r->latency);
    text_ms(out, "of disturbed", &r->disturbed);
    text_ms(out, "answers", &r->answer);
    if (r->has_process && r->seconds > 0) text_process(r, out);
    fprintf(out, "%-14s busiest thread %.0f %%, all %.2f cores; other processes %.2f cores\n",
            "ttload itself", r->busiest_thread * 100, r->own_cpu, r->foreign_cpu);
    text_ms(out, "its lateness", &r->lateness);
    for (unsigned i = 0; i < r->counter_count; i++) {
        fprintf(out, "%-14s %u: %" PRIu64 ", %.6f for each delivery\n", "counter", i,
                r->counters[i], per((double)r->counters[i], r->window_delivered));
    }
    text_roles(r, out);
    text_complete(r, out);
    for (unsigned i = 0; i < r->limit_count; i++) {
        fprintf(out, "%-14s %s\n", "LIMITED", r->limits[i]);
    }
    for (unsigned i = 0; i < r->failure_count; i++) {
        fprintf(out, "%-14s %s\n", "FAILED", r->failures[i]);
    }
    if (r->failure_count == 0) fprintf(out, "%-14s yes\n", "good");
}

/* ---- JSON ---- */
static void json_string(FILE *out, const char *text)
{
    char memory[2048];
    struct tt_writer w = tt_writer(memory, sizeof memory);
    tt_write_json_string(&w, tt_bytes_text(text));
    fprintf(out, "%.*s", (int)w.size, memory);
}

static void json_ms(FILE *out, const char *name, const struct tt_histogram *h)
{
    fprintf(out,
            ",\"%s\":{\"count\":%" PRIu64 ",\"mean\":%.6f,\"p50\":%.6f,\"p90\":%.6f,\"p99\":%.6f,"
            "\"p999\":%.6f,\"max\":%.6f}",
            name, h->count, tt_histogram_mean(h) / 1e6, (double)tt_histogram_at(h, 0.5) / 1e6,
            (double)tt_histogram_at(h, 0.9) / 1e6, (double)tt_histogram_at(h, 0.99) / 1e6,
            (double)tt_histogram_at(h, 0.999) / 1e6, (double)h->max / 1e6);
}

static void json_process(const struct tt_report *r, FILE *out)
{
    const struct tt_proc_sample *a = &r->begin;
    const struct tt_proc_sample *b = &r->end;

    fprintf(out,
            ",\"broker\":{\"pid\":%" PRIu64 ",\"cpu_ns\":%" PRIu64 ",\"user_ms\":%" PRIu64
            ",\"system_ms\":%" PRIu64 ",\"cpu_ns_per_delivery\":%.1f,\"rss_bytes_before\":%" PRIu64
            ",\"rss_bytes_with_clients\":%" PRIu64 ",\"rss_bytes_end\":%" PRIu64
            ",\"rss_bytes_per_client\":%.1f,\"tcp_bytes_per_client\":%.1f}",
            r->options->pid, b->run_ns - a->run_ns, b->user_ms - a->user_ms,
            b->system_ms - a->system_ms, tt_report_process_ns(r), r->before_clients.rss_bytes,
            r->with_clients.rss_bytes, b->rss_bytes, bytes_per_client(r), tcp_bytes_per_client(r));
    fprintf(out,
            ",\"cores\":{\"count\":%" PRIu32 ",\"user_ms\":%" PRIu64 ",\"system_ms\":%" PRIu64
            ",\"softirq_ms\":%" PRIu64 ",\"idle_ms\":%" PRIu64 ",\"steal_ms\":%" PRIu64
            ",\"busy_ns_per_delivery\":%.1f}",
            r->core_count, b->core_user_ms - a->core_user_ms, b->core_system_ms - a->core_system_ms,
            b->core_softirq_ms - a->core_softirq_ms, b->core_idle_ms - a->core_idle_ms,
            b->core_steal_ms - a->core_steal_ms, tt_report_cores_ns(r));
}

static void json_list(FILE *out, const char *name, unsigned count, const char *first, size_t stride)
{
    fprintf(out, ",\"%s\":[", name);
    for (unsigned i = 0; i < count; i++) {
        if (i != 0) fputc(',', out);
        json_string(out, first + i * stride);
    }
    fputc(']', out);
}

void tt_report_json(const struct tt_report *r, FILE *out)
{
    const struct tt_run_options *o = r->options;

    fprintf(out,
            "{\"good\":%s,\"clients\":%" PRIu64 ",\"threads\":%" PRIu64 ",\"io\":\"%s\""
            ",\"channels\":%" PRIu64 ",\"event_bytes\":%" PRIu64 ",\"rate\":%" PRIu64
            ",\"seconds\":%.6f",
            r->failure_count == 0 ? "true" : "false", o->clients, o->threads, r->io_name,
            o->channels, o->event_bytes, o->rate, r->seconds);
    fprintf(out,
            ",\"connected\":%" PRIu64 ",\"total\":{\"published\":%" PRIu64 ",\"expected\":%" PRIu64
            ",\"delivered\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"doubled\":%" PRIu64
            ",\"reordered\":%" PRIu64 ",\"gaps\":%" PRIu64 ",\"notices\":%" PRIu64
            ",\"told\":%" PRIu64 ",\"conflated\":%" PRIu64 ",\"skipped_told\":%" PRIu64
            ",\"kept_lost\":%" PRIu64 ",\"stale\":%" PRIu64 ",\"again\":%" PRIu64
            ",\"losses_told\":%" PRIu64 "}",
            r->connected, r->published, r->expected, r->delivered, r->lost, r->doubled,
            r->reordered, r->gaps, r->notices, r->told, r->conflated, r->skipped, r->kept_lost,
            r->stale, r->again, r->losses_told);
    fprintf(out,
            ",\"disturbed\":{\"slow\":%" PRIu32 ",\"reconnecting\":%" PRIu32
            ",\"conflating\":%" PRIu32 ",\"disconnecting\":%" PRIu32 ",\"max_rate\":%" PRIu32
            ",\"max_lag\":%" PRIu32 ",\"cuts\":%" PRIu64 ",\"cuts_inside\":%" PRIu64
            ",\"closed\":%" PRIu64 ",\"resumed\":%" PRIu64 ",\"settled_s\":%.3f}",
            r->slow, r->reconnecting, r->conflating, r->disconnecting, r->rate_limited,
            r->lag_limited, r->cuts, r->cuts_inside, r->closed, r->resumed, r->settled_s);
    fprintf(out,
            ",\"measured\":{\"published\":%" PRIu64
            ",\"published_per_s\":%.1f,\"delivered\":%" PRIu64
            ",\"delivered_per_s\":%.1f,\"bytes\":%" PRIu64 ",\"bytes_per_delivery\":%.3f"
            ",\"deliveries_per_receive\":%.3f}",
            r->window_published, rate(r, r->window_published), r->window_delivered,
            rate(r, r->window_delivered), r->window_bytes,
            per((double)r->window_bytes, r->window_delivered),
            per((double)r->window_delivered, r->window_receives));
    json_ms(out, "connect_ms", &r->connect);
    json_ms(out, "latency_ms", &r->latency);
    json_ms(out, "disturbed_ms", &r->disturbed);
    json_ms(out, "resume_ms", &r->resume);
    json_ms(out, "answer_ms", &r->answer);
    if (r->has_process && r->seconds > 0) json_process(r, out);
    fprintf(out, ",\"ttload\":{\"busiest_thread\":%.4f,\"own_cores\":%.4f,\"foreign_cores\":%.4f",
            r->busiest_thread, r->own_cpu, r->foreign_cpu);
    json_ms(out, "lateness_ms", &r->lateness);
    fputs("},\"counters\":[", out);
    for (unsigned i = 0; i < r->counter_count; i++) {
        fprintf(out, "%s%" PRIu64, i == 0 ? "" : ",", r->counters[i]);
    }
    fputc(']', out);
    json_list(out, "limited_by_ttload", r->limit_count, r->limits[0], sizeof r->limits[0]);
    json_list(out, "failures", r->failure_count, r->failures[0], sizeof r->failures[0]);
    fputs("}\n", out);
}
