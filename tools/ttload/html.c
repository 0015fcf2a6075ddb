#include "tools/ttload/html.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "tools/ttload/plot.h"
#include "tools/ttload/view.h"

static const char head[] =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
    "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
    "<meta name=\"color-scheme\" content=\"light dark\"><title>ttload run</title>\n<style>\n"
    ":root{--page:#f6f6f4;--card:#fff;--ink:#15181c;--quiet:#5d6570;--line:#e1e3e6;--shade:#"
    "0000000a;"
    "--s1:#2a6fdb;--s2:#d9541e;--s3:#8b929c;--good:#1a7f37;--bad:#c62828;--warn:#9a6700}\n"
    "@media(prefers-color-scheme:dark){:root{--page:#14161a;--card:#1d2026;--ink:#e9ebee;"
    "--quiet:#9aa3ae;--line:#333841;--shade:#ffffff0c;--s1:#5b9bff;--s2:#ff8a4c;--s3:#828b97;"
    "--good:#4cc26b;--bad:#ff7b72;--warn:#e3b341}}\n"
    "*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);"
    "font:15px/1.45 system-ui,sans-serif}main{max-width:1440px;margin:0 auto;padding:24px 20px "
    "40px}\n"
    "h1{font-size:22px;margin:0 0 4px}h2{font-size:16px;margin:28px 0 10px}"
    "p{margin:4px 0}p.note{margin-top:12px;font-size:13px}.quiet{color:var(--quiet)}\n"
    ".verdict{font-weight:600}.good{color:var(--good)}.bad{color:var(--bad)}.warn{color:var(--warn)"
    "}\n"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(132px,1fr));gap:12px;"
    "margin:18px 0}.tile,figure,.box{background:var(--card);border:1px solid var(--line);"
    "border-radius:8px}.tile{padding:10px 14px}.tile "
    "b{display:block;font-size:22px;font-weight:600;"
    "white-space:nowrap}.tile span{color:var(--quiet);font-size:13px}\n"
    ".plots,.tables{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,460px),1fr))"
    ";"
    "gap:14px;align-items:start}figure{margin:0;padding:12px 12px 6px}figcaption{font-size:14px;"
    "color:var(--quiet)}figcaption b{color:var(--ink);font-weight:600;margin-right:4px}\n"
    ".key{margin-left:14px;white-space:nowrap}.key i{display:inline-block;width:14px;height:3px;"
    "border-radius:2px;vertical-align:middle;margin-right:5px}.key.s1 i{background:var(--s1)}"
    ".key.s2 i{background:var(--s2)}.key.s3 i{background:var(--s3)}\n"
    "svg{display:block;width:100%;height:auto}svg text{font-size:11.5px;fill:var(--quiet)}"
    ".y{text-anchor:end}.x{text-anchor:middle}.grid{stroke:var(--line);stroke-width:1;fill:none}"
    ".line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}.s1{stroke:var(--s1)"
    "}"
    ".s2{stroke:var(--s2)}.s3{stroke:var(--s3)}.out{fill:var(--shade)}.hint{fill:transparent}"
    ".hint:hover{fill:var(--shade)}\n"
    ".box{padding:4px 14px 8px;overflow-x:auto}table{border-collapse:collapse;width:100%;"
    "font-variant-numeric:tabular-nums}th,td{text-align:left;padding:4px 14px 4px 0;"
    "border-bottom:1px solid var(--line);vertical-align:top}tr:last-child>*{border-bottom:0}"
    "th{font-weight:500;color:var(--quiet);font-size:13px}td.n,th.n{text-align:right}"
    "td.set{font-weight:600}\n</style></head><body><main>\n";

static void text(FILE *out, const char *t)
{
    for (; *t != '\0'; t++) {
        switch (*t) {
        case '<': fputs("&lt;", out); break;
        case '>': fputs("&gt;", out); break;
        case '&': fputs("&amp;", out); break;
        case '"': fputs("&quot;", out); break;
        default: fputc(*t, out);
        }
    }
}

/* ---- the top ---- */
static void write_verdict(const struct tt_report *r, FILE *out)
{
    const struct tt_run_options *o = r->options;
    char when[64];
    time_t now = time(NULL);
    struct tm utc;

    strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S UTC", gmtime_r(&now, &utc));
    fputs("<h1>ttload run: ", out);
    fprintf(out, "<span class=\"verdict %s\">%s</span></h1>\n",
            r->failure_count == 0 ? "good" : "bad", r->failure_count == 0 ? "passed" : "failed");
    fprintf(out,
            "<p class=\"quiet\">%" PRIu64 " clients, %" PRIu64 " channels, %" PRIu64
            " events/s of %" PRIu64 " bytes wanted, %.1f s measured; ",
            o->clients, o->channels, o->rate, o->event_bytes, r->seconds);
    text(out, o->url);
    fprintf(out, "; %s; %s</p>\n", r->io_name, when);
    for (unsigned i = 0; i < r->failure_count; i++) {
        fputs("<p class=\"bad\">", out);
        text(out, r->failures[i]);
        fputs("</p>\n", out);
    }
    for (unsigned i = 0; i < r->limit_count; i++) {
        fputs("<p class=\"warn\">Limited by ttload or the machine: ", out);
        text(out, r->limits[i]);
        fputs("</p>\n", out);
    }
}

static void tile(FILE *out, const char *value, const char *unit, const char *name)
{
    fprintf(out, "<div class=\"tile\"><b>%s%s</b><span>%s</span></div>\n", value, unit, name);
}

static void tile_number(FILE *out, double number, const char *unit, const char *name)
{
    char value[28];
    tt_view_number((uint64_t)(number + 0.5), value);
    tile(out, value, unit, name);
}

static void tile_ms(FILE *out, double ms, const char *name)
{
    char value[32];
    snprintf(value, sizeof value, ms < 10 ? "%.2f" : ms < 1000 ? "%.1f" : "%.0f", ms);
    tile(out, value, " ms", name);
}

static void write_tiles(const struct tt_report *r, FILE *out)
{
    double s = r->seconds > 0 ? r->seconds : 1;
    char missing[28];

    fputs("<div class=\"tiles\">\n", out);
    tile_number(out, (double)r->connected, "", "clients connected");
    tile_number(out, (double)r->window_published / s, "/s", "events published");
    tile_number(out, (double)r->window_delivered / s, "/s", "deliveries");
    tile_ms(out, (double)tt_histogram_at(&r->latency, 0.5) / 1e6, "latency p50");
    tile_ms(out, (double)tt_histogram_at(&r->latency, 0.99) / 1e6, "latency p99");
    tile_ms(out, (double)r->latency.max / 1e6, "latency max");
    tt_view_number(r->lost + r->kept_lost + r->stale, missing);
    tile(out, missing, "", "missing in the end");
    if (r->resumed != 0) tile_number(out, (double)r->resumed, "", "times a client came back");
    if (r->has_process && r->seconds > 0) {
        char value[32];
        snprintf(value, sizeof value, "%.2f", tt_report_process_ns(r) / 1e3);
        tile(out, value, " us", "CPU of the broker a delivery");
    }
    fputs("</div>\n", out);
}

/* ---- plots ---- */
#define LINE(name, style, field)                                                                   \
    {                                                                                              \
        name, style, offsetof(struct tt_series_point, field)                                       \
    }

static void write_plots(const struct tt_report *r, const struct tt_series *series, FILE *out)
{
    static const struct tt_plot_line latency[] = {
        LINE("p50", "s1", p50_ms), LINE("p99", "s2", p99_ms), LINE("max", "s3", max_ms)};
    static const struct tt_plot_line delivered[] = {LINE("deliveries", "s1", delivered)};
    static const struct tt_plot_line published[] = {LINE("events", "s1", published)};
    static const struct tt_plot_line missing[] = {LINE("missing", "s2", missing)};
    static const struct tt_plot_line clients[] = {LINE("live", "s1", live),
                                                  LINE("not reading", "s2", stopped),
                                                  LINE("cut or closed", "s3", cuts)};
    const struct tt_plot plots[] = {
        {"Latency over time", "ms", latency, 3, true, 0, 0},
        {"Deliveries", "a second", delivered, 1, false, 0, 0},
        {"Events published", "a second", published, 1, false, 0, 0},
        {"Missing so far", "events jumped over and not told of", missing, 1, false, 0, 0},
        {"Clients", "", clients, r->slow + r->reconnecting + r->disconnecting != 0 ? 3 : 1, false,
         0, 0},
    };
    const struct tt_plot_histogram percentiles[] = {{"undisturbed clients", "s1", &r->latency},
                                                    {"disturbed clients", "s2", &r->disturbed}};

    fputs("<div class=\"plots\">\n", out);
    for (unsigned i = 0; i < sizeof plots / sizeof plots[0]; i++) {
        struct tt_plot plot = plots[i];
        plot.from_s = r->measured_from_s;
        plot.to_s = r->measured_to_s;
        tt_plot_over_time(out, &plot, series);
        if (i == 0) tt_plot_percentiles(out, "Latency by percentile", percentiles, 2);
    }
    fputs("</div>\n<p class=\"quiet note\">Shaded: outside of the measured part (connecting and "
          "warm-up "
          "before it, the "
          "wait for what was missing behind it). Latency over time: of clients that are not "
          "disturbed, at most 3 % "
          "above the exact figure.</p>\n",
          out);
}

/* ---- tables ---- */
static void row(FILE *out, const char *name, const char *format, ...) TT_PRINTF(3, 4);
static void row(FILE *out, const char *name, const char *format, ...)
{
    char value[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(value, sizeof value, format, arguments);
    va_end(arguments);
    fprintf(out, "<tr><th>%s</th><td>", name);
    text(out, value);
    fputs("</td></tr>\n", out);
}

static void row_ms(FILE *out, const char *name, const struct tt_histogram *h)
{
    static const double shares[] = {0.5, 0.9, 0.99, 0.999, 0.9999};
    char count[28];
    if (h->count == 0) return;
    tt_view_number(h->count, count);
    fprintf(out, "<tr><th>%s</th><td class=\"n\">%s</td><td class=\"n\">%.3f</td>", name, count,
            tt_histogram_mean(h) / 1e6);
    for (unsigned i = 0; i < 5; i++) {
        fprintf(out, "<td class=\"n\">%.3f</td>", (double)tt_histogram_at(h, shares[i]) / 1e6);
    }
    fprintf(out, "<td class=\"n\">%.3f</td></tr>\n", (double)h->max / 1e6);
}

static void write_latencies(const struct tt_report *r, FILE *out)
{
    fputs("<h2>Latencies in milliseconds</h2><div class=\"box\"><table><tr><th></th>"
          "<th class=\"n\">count</th><th class=\"n\">mean</th><th class=\"n\">p50</th><th "
          "class=\"n\">p90</th>"
          "<th class=\"n\">p99</th><th class=\"n\">p99.9</th><th class=\"n\">p99.99</th>"
          "<th class=\"n\">max</th></tr>\n",
          out);
    row_ms(out, "delivery, from the time an event was due", &r->latency);
    row_ms(out, "the same, clients that are slow, cut off or rate-limited", &r->disturbed);
    row_ms(out, "connecting, until <code>connected</code>", &r->connect);
    row_ms(out, "the same, of clients that come back", &r->resume);
    row_ms(out, "answers to publishing", &r->answer);
    row_ms(out, "ttload late by its own fault", &r->lateness);
    fputs("</table></div>\n", out);
}

static void write_completeness(const struct tt_report *r, FILE *out)
{
    fputs("<div><h2>Completeness, the whole run</h2><div class=\"box\"><table>\n", out);
    row(out, "events published", "%" PRIu64, r->published);
    row(out, "deliveries", "%" PRIu64 " of %" PRIu64, r->delivered, r->expected);
    row(out, "lost", "%" PRIu64, r->lost);
    row(out, "doubled", "%" PRIu64, r->doubled);
    row(out, "out of order", "%" PRIu64, r->reordered);
    row(out, "told of as gone (resync, gap)", "%" PRIu64 " events, %" PRIu64 " notices", r->told,
        r->notices);
    if (r->conflating != 0) {
        row(out, "conflated", "%" PRIu64 ", told of by gap: %" PRIu64, r->conflated, r->skipped);
        row(out, "channels not at their newest", "%" PRIu64, r->stale);
        row(out, "never to be conflated, but were", "%" PRIu64, r->kept_lost);
    }
    row(out, "clients",
        "%" PRIu32 " slow, %" PRIu32 " reconnecting, %" PRIu32 " conflating, %" PRIu32
        " of policy disconnect",
        r->slow, r->reconnecting, r->conflating, r->disconnecting);
    row(out, "cut off", "%" PRIu64 " times, %" PRIu64 " inside an event", r->cuts, r->cuts_inside);
    row(out, "closed by the broker", "%" PRIu64 " times", r->closed);
    if (r->settled_s >= 0) {
        row(out, "nobody missed anything", "%.2f s after the last event", r->settled_s);
    }
    fputs("</table></div></div>\n", out);
}

static void write_broker(const struct tt_report *r, FILE *out)
{
    const struct tt_proc_sample *a = &r->begin;
    const struct tt_proc_sample *b = &r->end;
    double ms = r->seconds > 0 ? r->seconds * 10 : 1;

    fputs("<div><h2>The broker and ttload</h2><div class=\"box\"><table>\n", out);
    if (r->has_process && r->seconds > 0) {
        row(out, "broker CPU", "%.0f %% of a core, %.3f us a delivery",
            (double)(b->run_ns - a->run_ns) / 1e6 / ms, tt_report_process_ns(r) / 1e3);
        row(out, "its cores", "%" PRIu32 ", %.3f us of busy time a delivery", r->core_count,
            tt_report_cores_ns(r) / 1e3);
        row(out, "its memory", "%.1f MiB before, %.1f with the clients, %.1f at the end",
            (double)r->before_clients.rss_bytes / 1048576,
            (double)r->with_clients.rss_bytes / 1048576, (double)b->rss_bytes / 1048576);
    } else {
        row(out, "broker", "its process was not named (--pid)");
    }
    row(out, "ttload", "busiest thread %.0f %%, all %.2f cores", r->busiest_thread * 100,
        r->own_cpu);
    row(out, "other processes", "%.2f cores", r->foreign_cpu);
    fputs("</table></div></div>\n", out);
}

static void cpu_model(char *model, size_t size)
{
    char line[512];
    snprintf(model, size, "unknown");
    FILE *file = fopen("/proc/cpuinfo", "re");
    if (file == NULL) return;
    while (fgets(line, sizeof line, file) != NULL) {
        char *colon = strncmp(line, "model name", 10) == 0 ? strchr(line, ':') : NULL;
        if (colon == NULL) continue;
        colon[1 + strcspn(colon + 1, "\n")] = '\0';
        snprintf(model, size, "%s", colon + 1 + strspn(colon + 1, " "));
        break;
    }
    fclose(file);
}

static void write_machine(FILE *out)
{
    struct utsname name;
    struct sysinfo info;
    char model[256];

    cpu_model(model, sizeof model);
    fputs("<div><h2>Machine</h2><div class=\"box\"><table>\n", out);
    row(out, "processor", "%s", model);
    row(out, "cores", "%ld", sysconf(_SC_NPROCESSORS_ONLN));
    if (sysinfo(&info) == 0) {
        row(out, "memory", "%.1f GiB", (double)info.totalram * info.mem_unit / 1073741824.0);
    }
    if (uname(&name) == 0) row(out, "system", "%s %s %s", name.sysname, name.release, name.machine);
    fputs("</table></div></div>\n", out);
}

static void write_option(void *context, const char *name, const char *value, bool preset)
{
    FILE *out = context;
    fprintf(out, "<tr><th>--%s</th><td%s>", name, preset ? "" : " class=\"set\"");
    text(out, value);
    fputs("</td></tr>\n", out);
}

void tt_html_write(const struct tt_report *report, const struct tt_series *series, FILE *out)
{
    fputs(head, out);
    write_verdict(report, out);
    write_tiles(report, out);
    write_plots(report, series, out);
    write_latencies(report, out);
    fputs("<div class=\"tables\">\n", out);
    write_completeness(report, out);
    write_broker(report, out);
    write_machine(out);
    fputs("<div><h2>Options (bold: not the default)</h2><div class=\"box\"><table>\n", out);
    tt_run_options_each(report->options, write_option, out);
    fputs("</table></div></div>\n</div>\n</main></body></html>\n", out);
}
