/* The records at given places of one partition, in the order given: from tail memory where they are
 * there, else by reading segments or kept files (store/keep.h) through the shard's own io.
 *
 * Pulled by whoever has room for another record:
 *
 *     tt_places_open(&p, shard, partition, items, count, wake, owner)
 *     while (room) switch (tt_places_next(p, &index, &record)) {
 *         TT_OK      record is what items[index] names
 *         TT_ENOENT  items[index] is gone (retired, compacted, damaged): look it up again, or tell
 *         TT_FULL    it is being read: wake(owner) is called when it is there; go on then
 *         TT_END     all were given
 *     }
 *     tt_places_close(&p)
 *
 * What is read is verified: an EVENT of the item's offset whose channel has the item's hash. (Two
 * channels may share a hash: whoever knows the name compares it.) Items with TT_LOOKUP_HOLE are
 * given as a HOLE record without any reading. At most TT_PLACES_READS_MAX reads are in flight for
 * each; neighbours that lie in one block of TT_PLACES_BLOCK_BYTES are read together, and nothing is
 * read ahead of what bounds in memory allow.
 * Thread: owner shard. Memory: blocks, counted in shard->replay->block_bytes, within the bound of
 * shard->replay_frames: beyond it only one small block at a time, so that everybody gets on. */
#ifndef TT_SHARD_REPLAY_PLACES_H
#define TT_SHARD_REPLAY_PLACES_H

#include "store/lookup.h"
#include "store/record.h"

struct tt_shard;
struct tt_places;

#define TT_PLACES_READS_MAX   16u
#define TT_PLACES_BLOCK_BYTES (16u << 10)

/* items: borrowed until it is closed. wake: called from the reaping of completions or a timer,
 * never inside a call of this header; may call anything, also tt_places_close(). TT_OK; TT_FULL: no
 * memory or too many are open: try again in a later turn. */
TT_MUST_USE enum tt_status tt_places_open(struct tt_places **places, struct tt_shard *shard,
                                          uint32_t partition, const struct tt_lookup_item *items,
                                          uint32_t count, void (*wake)(void *owner), void *owner);
/* As above. record: valid until the next call for these places, at most to the end of the turn. */
TT_MUST_USE enum tt_status tt_places_next(struct tt_places *places, uint32_t *index,
                                          struct tt_record *record);
/* At any time; reads that are under way are forgotten, and freed when they end. Null is fine. */
void tt_places_close(struct tt_places **places);

#endif
