/* What one client has seen of one channel, by the numbers that the publisher gave its events (1, 2,
 * 3, ... in each channel): enough to tell a lost event from a late one and a doubled one.
 *
 * The last 64 numbers are remembered one by one. Something older than that which comes again counts
 * as doubled; what never comes shows in the sums at the end of a run. Either fails the run.
 * Thread: the owner's. Memory: 16 bytes for each client and channel, the caller's; zeroed is new.
 */
#ifndef TT_TOOLS_TTLOAD_SEQUENCE_H
#define TT_TOOLS_TTLOAD_SEQUENCE_H

#include <stdint.h>

struct tt_sequence {
    uint32_t last_; /* highest number seen; 0: none */
    uint32_t tag;   /* the owner's */
    uint64_t seen_; /* bit i: last_ - i was seen */
};

enum tt_sequence_verdict {
    TT_SEQUENCE_NEXT = 0, /* the one after the last: all is well */
    TT_SEQUENCE_GAP,      /* ahead: those between are missing so far */
    TT_SEQUENCE_LATE,     /* one of the missing, behind a later one: the order was broken */
    TT_SEQUENCE_DOUBLED,  /* seen before */
};

/* seq >= 1. */
enum tt_sequence_verdict tt_sequence_take(struct tt_sequence *s, uint32_t seq);

#endif
