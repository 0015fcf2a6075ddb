/* The writing side of a shard: the partitions it owns, their logs, and publish requests on their
 * way.
 *
 * Requests come from the shard's own exchanges or by PUBLISH from other shards. One is appended to
 * the log at once, or waits in order for room (publish_wait_ms), and is answered when it is
 * accepted. What the log wants done to its files is done through the shard's io; what becomes of
 * segments is told to every shard. Lookups are answered in order, some in each turn. Thread: owner
 * shard. */
#ifndef TT_SHARD_OWNER_H
#define TT_SHARD_OWNER_H

#include "shard/messages.h"
#include "shard/shard.h"

struct tt_owner;

TT_MUST_USE enum tt_status tt_owner_create(struct tt_shard *shard);
void tt_owner_destroy(struct tt_shard *shard);

struct tt_lookup_request;

/* A publish request goes back to its origin. */
void tt_owner_answer(struct tt_shard *shard, struct tt_publish_request *request,
                     enum tt_status status);
/* PUBLISH, PUBLISHED, SEGMENT_TAKEN, LOOKUP. */
void tt_owner_message(struct tt_shard *shard, const struct tt_message *message);
/* A question of this shard to itself: answered by a later tt_owner_work(). */
void tt_owner_lookup(struct tt_shard *shard, struct tt_lookup_request *request);
bool tt_owner_done(struct tt_shard *shard, const struct tt_done *done); /* false: not its token */
/* Makes appended events visible; rings the other shards if there were any. Early in a turn. */
void tt_owner_publish(struct tt_shard *shard);
/* Waiting requests, file work, answers, retention. Late in a turn. */
void tt_owner_work(struct tt_shard *shard);
/* When tt_owner_work() has to be called at the latest. */
uint64_t tt_owner_next_ns(const struct tt_shard *shard);
/* Refuses what waits and closes the logs; true from tt_owner_stopped() when all is on disk and
 * every request was answered. */
void tt_owner_stop(struct tt_shard *shard);
bool tt_owner_stopped(const struct tt_shard *shard);

#endif
