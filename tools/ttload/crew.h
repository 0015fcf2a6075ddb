/* The threads of a run together, as the main thread sees them. Thread: main. */
#ifndef TT_TOOLS_TTLOAD_CREW_H
#define TT_TOOLS_TTLOAD_CREW_H

#include "tools/ttload/engine.h"
#include "tools/ttload/publisher.h"

#define TT_CREW_ENGINES_MAX 65u /* --threads, and one for those of --apart */

struct tt_crew {
    struct tt_plan plan;
    struct tt_load load;
    struct tt_publisher publisher;
    struct tt_engine *engines;
    uint32_t engines_started;
    bool publisher_started;
};

/* Sums over the threads, as of now. */
struct tt_totals {
    uint64_t when_ns;
    uint64_t connected, live, resumed, cuts, cuts_inside, closed, stopped;
    uint64_t published; /* events accepted by the broker */
    uint64_t owed;      /* deliveries that they lead to */
    uint64_t delivered, doubled, reordered, gaps, missing, told, conflated, kept_lost, again,
        notices, losses_told, skipped;
    uint64_t bytes, receives;
};

void tt_crew_totals(const struct tt_crew *crew, struct tt_totals *totals);
/* Latencies so far, of clients that are not disturbed. */
void tt_crew_recent(const struct tt_crew *crew, struct tt_coarse_counts *counts);
bool tt_crew_in_trouble(const struct tt_crew *crew);
/* Publishing has ended, and every client is there and misses nothing, but for those that are gone
 * for good. */
bool tt_crew_settled(const struct tt_crew *crew);

#endif
