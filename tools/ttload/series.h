/* How a run went over time: one point for each interval, for the plots of the report. When the
 * memory is full, neighbours are merged and the interval doubles. Thread: main. Memory: 100 KB, the
 * caller's. */
#ifndef TT_TOOLS_TTLOAD_SERIES_H
#define TT_TOOLS_TTLOAD_SERIES_H

#include <stdint.h>

#define TT_SERIES_POINTS_MAX 1000u

struct tt_series_point {
    double at_s;   /* its end, since the first client was opened */
    double span_s; /* how long it is */
    /* in it: */
    double published, delivered, bytes; /* a second */
    double p50_ms, p99_ms, max_ms; /* of undisturbed clients; 0: nothing came. Of merged points:
                                      the mean of p50, the larger p99 and max */
    double cuts;                   /* and closes by the broker */
    /* at its end: */
    double live, stopped, missing;
};

struct tt_series {
    uint32_t count;
    uint32_t merged; /* how often neighbours were merged */
    struct tt_series_point points[TT_SERIES_POINTS_MAX];
};

void tt_series_add(struct tt_series *s, const struct tt_series_point *point);

#endif
