#include "tools/ttload/series.h"

static double weighted(double a, double a_s, double b, double b_s)
{
    return a_s + b_s > 0 ? (a * a_s + b * b_s) / (a_s + b_s) : 0;
}

static struct tt_series_point merge(const struct tt_series_point *a,
                                    const struct tt_series_point *b)
{
    struct tt_series_point p = *b;
    p.span_s = a->span_s + b->span_s;
    p.published = weighted(a->published, a->span_s, b->published, b->span_s);
    p.delivered = weighted(a->delivered, a->span_s, b->delivered, b->span_s);
    p.bytes = weighted(a->bytes, a->span_s, b->bytes, b->span_s);
    p.p50_ms = a->p50_ms > 0 && b->p50_ms > 0 ? (a->p50_ms + b->p50_ms) / 2 : a->p50_ms + b->p50_ms;
    p.p99_ms = a->p99_ms > b->p99_ms ? a->p99_ms : b->p99_ms;
    p.max_ms = a->max_ms > b->max_ms ? a->max_ms : b->max_ms;
    p.cuts = a->cuts + b->cuts;
    return p;
}

void tt_series_add(struct tt_series *s, const struct tt_series_point *point)
{
    if (s->count == TT_SERIES_POINTS_MAX) {
        for (uint32_t i = 0; i < TT_SERIES_POINTS_MAX / 2; i++) {
            s->points[i] = merge(&s->points[2 * i], &s->points[2 * i + 1]);
        }
        s->count = TT_SERIES_POINTS_MAX / 2;
        s->merged++;
    }
    s->points[s->count++] = *point;
}
