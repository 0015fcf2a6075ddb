#include "tools/ttload/plot.h"

#include <math.h>

/* Places in the picture, in its own units. */
#define WIDTH           680.0
#define HEIGHT          250.0
#define LEFT            58.0
#define RIGHT           14.0
#define TOP             14.0
#define BOTTOM          32.0
#define NINES           5.0  /* the percentile scale ends at 99.999 */
#define PERCENTILE_STEP 0.05 /* nines between two points of a curve */

struct scale {
    double low, high; /* of the figures; of their logarithms */
    double from, to;  /* in the picture */
    bool logarithmic;
};

static double place(const struct scale *s, double value)
{
    double at = s->logarithmic ? log10(value) : value;
    double span = s->high - s->low;
    double share = span > 0 ? (at - s->low) / span : 0;
    return s->from + (share < 0 ? 0 : share > 1 ? 1 : share) * (s->to - s->from);
}

double tt_plot_step(double span, unsigned most)
{
    if (!(span > 0) || most == 0) return 1;
    double ten = pow(10, floor(log10(span / most)));
    for (unsigned i = 0; i < 3; i++) {
        static const double factors[] = {1, 2, 5};
        if (span / (ten * factors[i]) <= most) return ten * factors[i];
    }
    return ten * 10;
}

/* Above the largest figure, at a step's end. */
static struct scale vertical(double least, double largest, bool logarithmic)
{
    struct scale s = {.from = HEIGHT - BOTTOM, .to = TOP, .logarithmic = logarithmic};
    if (logarithmic) {
        s.low = least > 0 ? floor(log10(least)) : -3;
        s.high = largest > 0 ? ceil(log10(largest)) : 0;
        if (s.high <= s.low) s.high = s.low + 1;
        return s;
    }
    double step = tt_plot_step(largest, 5);
    s.high = largest > 0 ? ceil(largest / step * 1.02) * step : 1;
    return s;
}

static void number(FILE *out, double value)
{
    if (value >= 1e6) {
        fprintf(out, "%g M", value / 1e6);
    } else if (value >= 1e4) {
        fprintf(out, "%g k", value / 1e3);
    } else {
        fprintf(out, "%.4g", value);
    }
}

static void grid_line(FILE *out, const struct scale *y, double value)
{
    double at = place(y, value);
    fprintf(out,
            "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/><text class=\"y\" x=\"%.1f\" y=\"%.1f\">",
            LEFT, at, WIDTH - RIGHT, LEFT - 7, at + 4);
    number(out, value);
    fputs("</text>", out);
}

static void grid(FILE *out, const struct scale *y)
{
    if (y->logarithmic) {
        bool fine = y->high - y->low <= 2;
        int high = (int)y->high;
        for (int e = (int)y->low; e <= high; e++) {
            grid_line(out, y, pow(10, e));
            for (unsigned i = 2; fine && i <= 5 && e < high; i += 3)
                grid_line(out, y, i * pow(10, e));
        }
        return;
    }
    double step = tt_plot_step(y->high, 5);
    unsigned parts = (unsigned)lround(y->high / step);
    for (unsigned i = 0; i <= parts; i++) grid_line(out, y, i * step);
}

static void mark_x(FILE *out, double at, const char *text)
{
    fprintf(out, "<text class=\"x\" x=\"%.1f\" y=\"%.1f\">%s</text>", at, HEIGHT - BOTTOM + 18,
            text);
}

static void legend(FILE *out, const char *name, const char *style)
{
    fprintf(out, "<span class=\"key %s\"><i></i>%s</span>", style, name);
}

static void begin(FILE *out, const char *title)
{
    fprintf(out, "</figcaption><svg viewBox=\"0 0 %g %g\" role=\"img\" aria-label=\"%s\">", WIDTH,
            HEIGHT, title);
}

/* ---- over time ---- */
static double figure(const struct tt_series_point *p, const struct tt_plot_line *line)
{
    return *(const double *)(const void *)((const char *)p + line->offset);
}

static void shade(FILE *out, const struct scale *x, double from, double to)
{
    double a = place(x, from);
    double b = place(x, to);
    if (b - a < 0.5) return;
    fprintf(out, "<rect class=\"out\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>", a,
            TOP, b - a, HEIGHT - TOP - BOTTOM);
}

static void draw_line(FILE *out, const struct tt_plot_line *line, const struct tt_series *series,
                      const struct scale *x, const struct scale *y)
{
    bool drawing = false;
    fprintf(out, "<path class=\"line %s\" d=\"", line->style);
    for (uint32_t i = 0; i < series->count; i++) {
        const struct tt_series_point *p = &series->points[i];
        double value = figure(p, line);
        if (y->logarithmic && !(value > 0)) {
            drawing = false;
            continue;
        }
        /* In the middle of the time that it stands for; a dot where it stands alone. */
        fprintf(out, "%c%.1f %.1f", drawing ? 'L' : 'M', place(x, p->at_s - p->span_s / 2),
                place(y, value));
        if (!drawing) fputs("h0", out);
        drawing = true;
    }
    fputs("\"/>", out);
}

/* What a reader sees who rests the pointer on a moment. */
static void draw_hints(FILE *out, const struct tt_plot *plot, const struct tt_series *series,
                       const struct scale *x)
{
    for (uint32_t i = 0; i < series->count; i++) {
        const struct tt_series_point *p = &series->points[i];
        double a = place(x, p->at_s - p->span_s);
        fprintf(out,
                "<rect class=\"hint\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
                "height=\"%.1f\"><title>%.2f s",
                a, TOP, place(x, p->at_s) - a, HEIGHT - TOP - BOTTOM, p->at_s);
        for (unsigned k = 0; k < plot->count; k++) {
            fprintf(out, "\n%s %.6g %s", plot->lines[k].name, figure(p, &plot->lines[k]),
                    plot->unit);
        }
        fputs("</title></rect>", out);
    }
}

void tt_plot_over_time(FILE *out, const struct tt_plot *plot, const struct tt_series *series)
{
    double least = 0;
    double largest = 0;
    double end_s = series->count == 0 ? 1 : series->points[series->count - 1].at_s;

    for (uint32_t i = 0; i < series->count; i++) {
        for (unsigned k = 0; k < plot->count; k++) {
            double value = figure(&series->points[i], &plot->lines[k]);
            if (value > largest) largest = value;
            if (value > 0 && (!(least > 0) || value < least)) least = value;
        }
    }
    struct scale x = {0, end_s, LEFT, WIDTH - RIGHT, false};
    struct scale y = vertical(least, largest, plot->logarithmic);
    fprintf(out, "<figure><figcaption><b>%s</b> %s", plot->title, plot->unit);
    for (unsigned k = 0; k < plot->count; k++)
        legend(out, plot->lines[k].name, plot->lines[k].style);
    begin(out, plot->title);
    if (plot->to_s > plot->from_s) {
        shade(out, &x, 0, plot->from_s);
        shade(out, &x, plot->to_s, end_s);
    }
    grid(out, &y);
    double step = tt_plot_step(end_s, 8);
    for (unsigned i = 0; i * step <= end_s; i++) {
        char text[32];
        snprintf(text, sizeof text, "%g s", i * step);
        mark_x(out, place(&x, i * step), text);
    }
    for (unsigned k = plot->count; k-- > 0;) draw_line(out, &plot->lines[k], series, &x, &y);
    draw_hints(out, plot, series, &x);
    fputs("</svg></figure>\n", out);
}

/* ---- percentiles ---- */
/* 0 -> 0, 0.9 -> 1, 0.99 -> 2, ... */
static double nines(double share)
{
    return -log10(1 - share);
}

static void draw_percentiles(FILE *out, const struct tt_plot_histogram *h, const struct scale *x,
                             const struct scale *y)
{
    /* Beyond this there is no value left that a share could tell from the largest. */
    double last = log10((double)h->histogram->count);
    if (last > NINES) last = NINES;
    fprintf(out, "<path class=\"line %s\" d=\"", h->style);
    for (unsigned i = 0; i * PERCENTILE_STEP <= last + 1e-9; i++) {
        double n = i * PERCENTILE_STEP;
        double share = 1 - pow(10, -n);
        double ms = (double)tt_histogram_at(h->histogram, share) / 1e6;
        fprintf(out, "%s%.1f %.1f", i > 0 ? "L" : "M", place(x, n), place(y, ms > 0 ? ms : 1e-6));
        if (i == 0) fputs("h0", out);
    }
    fputs("\"/>", out);
}

void tt_plot_percentiles(FILE *out, const char *title, const struct tt_plot_histogram *histograms,
                         unsigned count)
{
    static const struct {
        double share;
        const char *text;
    } marks[] = {{0, "0 %"},        {0.5, "50 %"},       {0.9, "90 %"},        {0.99, "99 %"},
                 {0.999, "99.9 %"}, {0.9999, "99.99 %"}, {0.99999, "99.999 %"}};
    double least = 0;
    double largest = 0;

    for (unsigned i = 0; i < count; i++) {
        const struct tt_histogram *h = histograms[i].histogram;
        if (h->count == 0) continue;
        if ((double)h->max / 1e6 > largest) largest = (double)h->max / 1e6;
        double min_ms = (double)(h->min == 0 ? 1000 : h->min) / 1e6;
        if (!(least > 0) || min_ms < least) least = min_ms;
    }
    struct scale x = {0, NINES, LEFT, WIDTH - RIGHT - 20, false};
    struct scale y = vertical(least, largest, true);
    fprintf(out, "<figure><figcaption><b>%s</b> ms", title);
    for (unsigned i = 0; i < count; i++) {
        if (histograms[i].histogram->count != 0)
            legend(out, histograms[i].name, histograms[i].style);
    }
    begin(out, title);
    grid(out, &y);
    for (unsigned i = 0; i < sizeof marks / sizeof marks[0]; i++) {
        double at = place(&x, nines(marks[i].share));
        fprintf(out, "<path class=\"grid\" d=\"M%.1f %.1fV%.1f\"/>", at, TOP, HEIGHT - BOTTOM);
        mark_x(out, at, marks[i].text);
    }
    for (unsigned i = count; i-- > 0;) {
        if (histograms[i].histogram->count != 0) draw_percentiles(out, &histograms[i], &x, &y);
    }
    fputs("</svg></figure>\n", out);
}
