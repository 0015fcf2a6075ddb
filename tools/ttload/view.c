#include "tools/ttload/view.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define SAY_NS      UINT64_C(5000000000)
#define LINE_BYTES  512u
#define COLUMNS_MAX 400u
#define BAR_MAX     40u
#define NARROW      60u /* columns; below, latencies are p50/p99/max without words */

void tt_view_number(uint64_t number, char text[28])
{
    char digits[24];
    int count = snprintf(digits, sizeof digits, "%" PRIu64, number);
    char *to = text;
    for (int i = 0; i < count; i++) {
        if (i != 0 && (count - i) % 3 == 0) *to++ = ',';
        *to++ = digits[i];
    }
    *to = '\0';
}

size_t tt_view_fit(const char *text, unsigned columns)
{
    size_t at = 0;
    unsigned used = 0;
    while (text[at] != '\0') {
        if (text[at] == '\x1b') {
            while (text[at] != '\0' && text[at] != 'm') at++;
            if (text[at] == 'm') at++;
            continue;
        }
        if (used == columns) break;
        used++;
        at++;
        while (((unsigned char)text[at] & 0xC0) == 0x80) at++; /* the rest of a character */
    }
    return at;
}

static unsigned columns_of(const struct tt_view *v)
{
    struct winsize size;
    if (ioctl(fileno(v->out), TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
    return size.ws_col < COLUMNS_MAX ? size.ws_col : COLUMNS_MAX;
}

static bool is_utf8(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (unsigned i = 0; i < 3; i++) {
        const char *value = getenv(names[i]);
        if (value == NULL || value[0] == '\0') continue;
        return strcasestr(value, "utf-8") != NULL || strcasestr(value, "utf8") != NULL;
    }
    return false;
}

void tt_view_init(struct tt_view *v, bool quiet, uint64_t clients)
{
    const char *terminal = getenv("TERM");
    const char *no_colour = getenv("NO_COLOR");
    bool dumb = terminal == NULL || terminal[0] == '\0' || strcmp(terminal, "dumb") == 0;

    *v = (struct tt_view){.out = quiet ? NULL : stderr, .clients = clients, .phase = ""};
    v->terminal = !quiet && !dumb && isatty(STDERR_FILENO);
    v->colour = v->terminal && (no_colour == NULL || no_colour[0] == '\0');
    v->blocks = is_utf8();
}

/* ---- drawing in place ---- */
static void line(struct tt_view *v, unsigned columns, const char *text)
{
    fprintf(v->out, "\r\x1b[2K%.*s%s\n", (int)tt_view_fit(text, columns), text,
            v->colour ? "\x1b[0m" : "");
    v->lines++;
}

static const char *on(const struct tt_view *v, const char *code)
{
    return v->colour ? code : "";
}

/* How far the phase is, 0 to 1; negative: not known. */
static double done(const struct tt_view *v, const struct tt_view_state *state)
{
    if (v->end_ns <= v->phase_ns) {
        if (strcmp(v->phase, "connecting") != 0 || v->clients == 0) return -1;
        return (double)state->totals->connected / (double)v->clients;
    }
    double part =
        (double)(state->totals->when_ns - v->phase_ns) / (double)(v->end_ns - v->phase_ns);
    return part < 0 ? 0 : part > 1 ? 1 : part;
}

static void bar(const struct tt_view *v, double part, unsigned width, char *text, size_t size)
{
    size_t used = 0;
    unsigned full = part < 0 ? 0 : (unsigned)(part * width + 0.5);
    text[0] = '\0';
    for (unsigned i = 0; i < width && used + 4 < size; i++) {
        const char *piece = v->blocks ? i < full ? "\u2588" : "\u2591" : i < full ? "#" : "-";
        used += (size_t)snprintf(text + used, size - used, "%s", piece);
    }
}

static void draw_head(struct tt_view *v, const struct tt_view_state *state, unsigned columns)
{
    char text[LINE_BYTES];
    char cells[BAR_MAX * 3 + 8];
    double part = done(v, state);
    double at_s = (double)(state->totals->when_ns - v->phase_ns) / 1e9;
    unsigned width = columns < 50 ? 0 : columns - 40 < BAR_MAX ? columns - 40 : BAR_MAX;

    bar(v, part, part < 0 ? 0 : width, cells, sizeof cells);
    int used = snprintf(text, sizeof text, "%sttload%s %-10s %s%s%s ", on(v, "\x1b[1m"),
                        on(v, "\x1b[0m"), v->phase, on(v, "\x1b[36m"), cells, on(v, "\x1b[0m"));
    if (part >= 0)
        used += snprintf(text + used, sizeof text - (size_t)used, "%3.0f %%  ", part * 100);
    used += snprintf(text + used, sizeof text - (size_t)used, "%.0f s", at_s);
    if (v->end_ns > v->phase_ns) {
        snprintf(text + used, sizeof text - (size_t)used, " of %.0f",
                 (double)(v->end_ns - v->phase_ns) / 1e9);
    }
    line(v, columns, text);
}

static void draw_clients(struct tt_view *v, const struct tt_totals *t, unsigned columns)
{
    char text[LINE_BYTES];
    char live[28], all[28], stopped[28], resumed[28];

    tt_view_number(t->live, live);
    tt_view_number(v->clients, all);
    tt_view_number(t->stopped, stopped);
    tt_view_number(t->resumed, resumed);
    int used = snprintf(text, sizeof text, "  clients   %s of %s live", live, all);
    if (t->stopped != 0) {
        used += snprintf(text + used, sizeof text - (size_t)used, ", %s do not read", stopped);
    }
    if (t->resumed != 0)
        snprintf(text + used, sizeof text - (size_t)used, ", %s came back", resumed);
    line(v, columns, text);
}

static void draw_rates(struct tt_view *v, const struct tt_view_state *s, unsigned columns)
{
    char text[LINE_BYTES];
    char rate[28], sum[28];

    tt_view_number((uint64_t)(s->published_per_s + 0.5), rate);
    tt_view_number(s->totals->published, sum);
    snprintf(text, sizeof text, "  published %12s/s  %s events", rate, sum);
    line(v, columns, text);
    tt_view_number((uint64_t)(s->delivered_per_s + 0.5), rate);
    tt_view_number(s->totals->delivered, sum);
    snprintf(text, sizeof text, "  delivered %12s/s  %s, %.1f MB/s", rate, sum,
             s->bytes_per_s / 1e6);
    line(v, columns, text);
}

static void draw_figures(struct tt_view *v, unsigned columns, const char *name, const char *span,
                         const double ms[3])
{
    char text[LINE_BYTES];

    if (columns < NARROW) {
        snprintf(text, sizeof text, "  %-9s %.1f/%.1f/%.1f ms", name, ms[0], ms[1], ms[2]);
    } else {
        snprintf(text, sizeof text, "  %-9s p50 %.2f   p99 %.2f   max %.2f ms, %s", name, ms[0],
                 ms[1], ms[2], span);
    }
    line(v, columns, text);
}

static void draw_latency(struct tt_view *v, const struct tt_view_state *s, unsigned columns)
{
    const double now[3] = {s->now_p50_ms, s->now_p99_ms, s->now_max_ms};
    const double all[3] = {s->p50_ms, s->p99_ms, s->max_ms};

    draw_figures(v, columns, columns < NARROW ? "now" : "latency", "last second", now);
    draw_figures(v, columns, columns < NARROW ? "so far" : "", "so far", all);
}

static void draw_missing(struct tt_view *v, const struct tt_totals *t, unsigned columns)
{
    char text[LINE_BYTES];
    char missing[28], conflated[28], told[28];
    bool bad = t->missing != 0 || t->doubled != 0 || t->reordered != 0 || t->kept_lost != 0;

    tt_view_number(t->missing + t->kept_lost, missing);
    tt_view_number(t->conflated, conflated);
    tt_view_number(t->told, told);
    int used = snprintf(text, sizeof text, "  %smissing   %s%s",
                        on(v, bad ? "\x1b[31m" : "\x1b[32m"), missing, on(v, "\x1b[0m"));
    if (t->doubled != 0 || t->reordered != 0) {
        used +=
            snprintf(text + used, sizeof text - (size_t)used,
                     ", %" PRIu64 " doubled, %" PRIu64 " out of order", t->doubled, t->reordered);
    }
    if (t->conflated != 0) {
        used += snprintf(text + used, sizeof text - (size_t)used, ", %s conflated", conflated);
    }
    if (t->told != 0) snprintf(text + used, sizeof text - (size_t)used, ", %s told of", told);
    line(v, columns, text);
}

static void draw(struct tt_view *v, const struct tt_view_state *s)
{
    unsigned columns = columns_of(v);

    if (v->lines != 0) fprintf(v->out, "\x1b[%uA", v->lines);
    v->lines = 0;
    draw_head(v, s, columns);
    draw_clients(v, s->totals, columns);
    draw_rates(v, s, columns);
    draw_latency(v, s, columns);
    draw_missing(v, s->totals, columns);
    fflush(v->out);
}

/* ---- lines ---- */
void tt_view_say(struct tt_view *v, const char *text)
{
    if (v->out == NULL) return;
    fprintf(v->out, "ttload: %s\n", text);
    v->lines = 0; /* what was drawn stays above it */
}

void tt_view_phase(struct tt_view *v, const char *name, uint64_t now_ns, uint64_t end_ns)
{
    v->phase = name;
    v->phase_ns = now_ns;
    v->end_ns = end_ns;
    v->said_ns = now_ns;
    if (!v->terminal) tt_view_say(v, name);
}

void tt_view_show(struct tt_view *v, const struct tt_view_state *s)
{
    char text[LINE_BYTES];
    char published[28], delivered[28];
    const struct tt_totals *t = s->totals;

    if (v->out == NULL) return;
    if (v->terminal) {
        draw(v, s);
        return;
    }
    if (t->when_ns < v->said_ns + SAY_NS) return;
    v->said_ns = t->when_ns;
    tt_view_number((uint64_t)(s->published_per_s + 0.5), published);
    tt_view_number((uint64_t)(s->delivered_per_s + 0.5), delivered);
    snprintf(text, sizeof text,
             "%s, %.0f s: %" PRIu64 " of %" PRIu64 " clients live, %s events/s, %s deliveries/s, "
             "p50 %.2f p99 %.2f max %.2f ms, %" PRIu64 " missing",
             v->phase, (double)(t->when_ns - v->phase_ns) / 1e9, t->live, v->clients, published,
             delivered, s->now_p50_ms, s->now_p99_ms, s->now_max_ms, t->missing + t->kept_lost);
    tt_view_say(v, text);
}

void tt_view_end(struct tt_view *v)
{
    v->lines = 0;
}
