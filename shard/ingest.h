/* From the source into the mirror: the partitions that this shard owns, in a world with a source
 * (source.h).
 *
 * Each turn takes some of what the source has, in its order, and appends it at its own offsets.
 * What the mirror has already is dropped. A tail that is full keeps the rest of the batch, and
 * nothing more is taken from the source until there is room: the shard's other partitions wait too,
 * they share one queue. A partition whose log can take nothing until a restart stands still at its
 * place, and what comes for it is dropped: it is fetched again from there.
 *
 * Thread: owner shard. Memory: one batch of items, which point into the source's memory. */
#ifndef TT_SHARD_INGEST_H
#define TT_SHARD_INGEST_H

#include "shard/shard.h"

/* Of each shard, if there is a source; for memory_bound_bytes. */
size_t tt_ingest_memory_bytes(void);
/* Attaches to the source, if there is one. After tt_owner_create(). */
TT_MUST_USE enum tt_status tt_ingest_create(struct tt_shard *shard);
void tt_ingest_destroy(struct tt_shard *shard);
bool tt_ingest_done(struct tt_shard *shard, const struct tt_done *done); /* false: not its token */
/* Takes and appends. Early in a turn, before tt_owner_publish(). True: there is more. */
bool tt_ingest_take(struct tt_shard *shard);
/* Tries again what found no room, and brings the figures up to date. Behind tt_owner_work(). True:
 * there is more, or something was appended: the shard must not wait. */
bool tt_ingest_work(struct tt_shard *shard);
/* When tt_ingest_work() has to be called at the latest. */
uint64_t tt_ingest_next_ns(const struct tt_shard *shard);
/* Detaches. Before the logs close. */
void tt_ingest_stop(struct tt_shard *shard);

#endif
