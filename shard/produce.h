/* Publishing in a world with a source (source.h): requests whose partition this shard owns, on
 * their way to the source and back.
 *
 * Events are handed over one by one in the order in which their requests came, so that a channel's
 * events stay in order. While the source takes no more, requests wait in order, each at most
 * publish_wait_ms: what was not handed over by then is refused, what was is waited for. A request
 * is answered when all its events have come back; `places` says what became of each.
 *
 * Thread: owner shard. Memory: TT_PRODUCE_MAX events under way. */
#ifndef TT_SHARD_PRODUCE_H
#define TT_SHARD_PRODUCE_H

#include "shard/shard.h"

#define TT_PRODUCE_MAX 4096u /* events of one shard that wait to be acknowledged */

/* Of each shard, if there is a source; for memory_bound_bytes. */
size_t tt_produce_memory_bytes(void);
TT_MUST_USE enum tt_status tt_produce_create(struct tt_shard *shard);
void tt_produce_destroy(struct tt_shard *shard);
/* Takes the request over until it is answered (tt_owner_answer). */
void tt_produce_accept(struct tt_shard *shard, struct tt_publish_request *request);
/* The source may have something to give back. */
void tt_produce_due(struct tt_shard *shard);
/* Takes what has come back, answers, hands over what waits. True: there is more. */
bool tt_produce_work(struct tt_shard *shard);
/* When tt_produce_work() has to be called at the latest. */
uint64_t tt_produce_next_ns(const struct tt_shard *shard);
/* Answers everything; behind tt_ingest_stop(), when the source knows nothing of it any more. */
void tt_produce_stop(struct tt_shard *shard);

#endif
