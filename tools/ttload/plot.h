/* Plots as SVG, drawn into a page: lines over time, and latencies by percentile. Colours come from
 * the page's classes (html.c), so that they follow light and dark. Thread: main. */
#ifndef TT_TOOLS_TTLOAD_PLOT_H
#define TT_TOOLS_TTLOAD_PLOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "tools/ttload/histogram.h"
#include "tools/ttload/series.h"

#define TT_PLOT_LINES_MAX 3u

struct tt_plot_line {
    const char *name;
    const char *style; /* class of the line: s1, s2, s3 */
    size_t offset;     /* of the figure in struct tt_series_point */
};

struct tt_plot {
    const char *title;
    const char *unit;
    const struct tt_plot_line *lines;
    unsigned count;
    bool logarithmic;    /* figures of 0 are left out */
    double from_s, to_s; /* the measured part; what lies outside is shaded */
};
void tt_plot_over_time(FILE *out, const struct tt_plot *plot, const struct tt_series *series);

struct tt_plot_histogram {
    const char *name;
    const char *style;
    const struct tt_histogram *histogram; /* ns */
};
/* The share of values on a scale on which each nine is as wide as the one before, against
 * milliseconds. Empty histograms are left out. */
void tt_plot_percentiles(FILE *out, const char *title, const struct tt_plot_histogram *histograms,
                         unsigned count);

/* ---- scales ---- */
/* The step (1, 2 or 5 times a power of ten) that divides `span` into at most `most` parts. */
double tt_plot_step(double span, unsigned most);

#endif
