/* `ttload run`: opens clients, publishes, waits until everything has arrived, and reports.
 * Returns the exit status: 0, or 1 when anything was lost, doubled, reordered or went wrong. */
#ifndef TT_TOOLS_TTLOAD_RUN_H
#define TT_TOOLS_TTLOAD_RUN_H

#include "tools/ttload/options.h"

int tt_run(const struct tt_run_options *options);

#endif
