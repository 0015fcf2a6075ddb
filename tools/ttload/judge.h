/* What a run was worth: whether it was complete, and whether its figures are the broker's or those
 * of ttload and the machine. Thread: main, after the threads have ended. */
#ifndef TT_TOOLS_TTLOAD_JUDGE_H
#define TT_TOOLS_TTLOAD_JUDGE_H

#include "tools/ttload/crew.h"
#include "tools/ttload/report.h"

/* Fills the counts of the whole run, and says everything that was wrong. */
void tt_judge(const struct tt_crew *crew, struct tt_report *report);
/* Says what may have been the limit instead of the broker. */
void tt_judge_ourselves(struct tt_report *report);

#endif
