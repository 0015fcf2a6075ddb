/* Sets of patterns: without doubles and without what others cover, and whether one covers a
 * pattern. A subscription may have 100,000 of them, so nothing compares all with all. Thread: any.
 * Memory: none; texts are borrowed. */
#ifndef TT_PROTO_EVENT_PATTERNS_H
#define TT_PROTO_EVENT_PATTERNS_H

#include "proto/event/channel.h"

/* Sorts (channels, prefixes, star) and keeps what no other covers, each once, at the front. Returns
 * how many those are. Costs count * log(count). */
uint32_t tt_patterns_reduce(struct tt_pattern *patterns, uint32_t count);
/* Whether one of these, which tt_patterns_reduce() has left, covers it. Costs log(count). */
bool tt_patterns_cover(const struct tt_pattern *patterns, uint32_t count,
                       const struct tt_pattern *pattern);

#endif
