/* Watches a run: looks at the threads four times a second, keeps the series for the plots, and
 * shows the state to whoever sits before it (view.h). Thread: main. */
#ifndef TT_TOOLS_TTLOAD_MONITOR_H
#define TT_TOOLS_TTLOAD_MONITOR_H

#include "tools/ttload/crew.h"
#include "tools/ttload/series.h"
#include "tools/ttload/view.h"

#define TT_MONITOR_LOOKS 4u /* in a second */

struct tt_monitor {
    const struct tt_crew *crew;
    struct tt_view view;
    struct tt_series series;
    uint64_t start_ns;
    uint64_t series_ns; /* the least length of a point */
    uint64_t next_ns_;  /* the next look */
    uint32_t looks_;
    /* The looks of the last second, a ring, and the one at the end of the last point. */
    struct tt_totals totals_[TT_MONITOR_LOOKS];
    struct tt_coarse_counts recent_[TT_MONITOR_LOOKS];
    struct tt_totals point_totals_;
    struct tt_coarse_counts point_recent_;
    struct tt_coarse_counts scratch_[2];
};

void tt_monitor_init(struct tt_monitor *m, const struct tt_crew *crew);
/* A new phase begins: its name, and when it will be over (0: not known). */
void tt_monitor_phase(struct tt_monitor *m, const char *name, uint64_t end_ns);
/* Looks if it is time to. */
void tt_monitor_look(struct tt_monitor *m);
/* Looks and sleeps until then. */
void tt_monitor_until(struct tt_monitor *m, uint64_t at_ns);
/* The last look; ends the view. */
void tt_monitor_end(struct tt_monitor *m);

#endif
