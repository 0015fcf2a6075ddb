/* The outcome of `ttload run`, as text for people or as one JSON object for programs (the names of
 * its members are stable). Thread: any. */
#ifndef TT_TOOLS_TTLOAD_REPORT_H
#define TT_TOOLS_TTLOAD_REPORT_H

#include <stdio.h>

#include "tools/ttload/histogram.h"
#include "tools/ttload/options.h"
#include "tools/ttload/proc.h"

#define TT_REPORT_COUNTERS_MAX 8u
#define TT_REPORT_REASONS_MAX  8u

struct tt_report {
    const struct tt_run_options *options;
    const char *io_name;
    /* completeness, over the whole run */
    uint64_t connected;
    uint64_t published; /* events accepted by the broker */
    uint64_t expected;  /* deliveries */
    uint64_t delivered; /* different ones */
    uint64_t lost, doubled, reordered, gaps, notices;
    uint64_t told;        /* jumped over behind a hole that the broker told of */
    uint64_t conflated;   /* jumped over by clients that conflate, ... */
    uint64_t skipped;     /* ... as counted in the broker's `gap` */
    uint64_t kept_lost;   /* of these, never to be conflated */
    uint64_t stale;       /* channels of such clients whose newest event never came */
    uint64_t again;       /* state that was known already */
    uint64_t losses_told; /* notices that events are gone */
    /* who is what, and what became of them */
    uint32_t slow, reconnecting, conflating, disconnecting, rate_limited, lag_limited; /* clients */
    uint64_t cuts, cuts_inside, closed, resumed;
    double settled_s; /* from the end of publishing until nobody missed anything; negative: never */
    /* the measured part */
    double seconds;
    double measured_from_s, measured_to_s; /* since the first client was opened */
    uint64_t window_published;
    uint64_t window_delivered;
    uint64_t window_bytes;    /* received by the clients */
    uint64_t window_receives; /* how many pieces they came in */
    struct tt_histogram
        latency; /* of clients that are neither slow, nor cut off, nor rate-limited */
    struct tt_histogram disturbed; /* of the others */
    struct tt_histogram connect, resume, lateness, answer;
    /* the broker's process and its cores; has_process false: none was named */
    bool has_process;
    uint32_t core_count;
    struct tt_proc_sample before_clients, with_clients, begin, end;
    /* ttload itself */
    double busiest_thread; /* share of the measured time */
    double foreign_cpu;    /* cores kept busy by others, in cores */
    double own_cpu;        /* cores */
    unsigned counter_count;
    uint64_t counters[TT_REPORT_COUNTERS_MAX]; /* growth in the measured part */
    unsigned limit_count; /* why ttload, not the broker, may have set the figures */
    char limits[TT_REPORT_REASONS_MAX][160];
    unsigned failure_count; /* empty: the run is good */
    char failures[TT_REPORT_REASONS_MAX][320];
};

void tt_report_limit(struct tt_report *r, const char *format, ...) TT_PRINTF(2, 3);
void tt_report_failure(struct tt_report *r, const char *format, ...) TT_PRINTF(2, 3);
void tt_report_text(const struct tt_report *r, FILE *out);
void tt_report_json(const struct tt_report *r, FILE *out);

/* Nanoseconds of CPU for each delivery of the measured part; 0 without a process. */
double tt_report_process_ns(const struct tt_report *r); /* of the broker's threads */
double tt_report_cores_ns(const struct tt_report *r);   /* busy time of its cores */

#endif
