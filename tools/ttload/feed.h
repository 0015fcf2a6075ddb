/* `ttload feed`: publishes a simulated market until it is stopped.
 *
 * Every event is published exactly once, also when the broker goes away in between: a batch whose
 * answer was lost is settled (settle.h) before anything else is published, so the "n" of a channel
 * has neither holes nor repetitions. While the broker is away the market stands still.
 * Returns the exit status: 0 when stopped by SIGINT, SIGTERM or --count; 1 when the broker refuses
 * what is published. */
#ifndef TT_TOOLS_TTLOAD_FEED_H
#define TT_TOOLS_TTLOAD_FEED_H

#include "tools/ttload/options.h"

int tt_feed(const struct tt_feed_options *options);

#endif
