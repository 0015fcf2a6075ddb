/* `ttload feed --stdout`: the simulated market as lines for another program, one event each: its
 * channel, a tab, its envelope. `kcat -P -K '\t'` makes records of them that a broker with
 * --kafka-value=envelope publishes as they are.
 *
 * A reader that is slow holds the market up: what was due meanwhile is not made up for. Returns the
 * exit status: 0 when stopped by SIGINT, SIGTERM or --count; 1 when the reader is gone. */
#ifndef TT_TOOLS_TTLOAD_LINES_H
#define TT_TOOLS_TTLOAD_LINES_H

#include "tools/ttload/options.h"

int tt_feed_lines(const struct tt_feed_options *options);

#endif
