/* The end of a shard's clients: paced, each told when to come back, and breaking streams on
 * request. Thread: owner shard. */
#ifndef TT_SHARD_DRAIN_H
#define TT_SHARD_DRAIN_H

#include "shard/messages.h"

struct tt_shard;

void tt_drain_begin(struct tt_shard *shard, uint32_t drain_ms);
/* Ends as many clients as the time that has passed asks for. Returns when to be called next. */
uint64_t tt_drain_step(struct tt_shard *shard);
/* Breaks the streams of one address, all or those with a label; on this shard. */
void tt_drain_cut(struct tt_shard *shard, const struct tt_message_cut *cut);

#endif
