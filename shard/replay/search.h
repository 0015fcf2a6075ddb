/* What index files of sealed segments say about channels: the part of a lookup (store/lookup.h)
 * that the partition's owner cannot answer from memory.
 *
 * The shard reads index files itself, through its own io and descriptors. Filters and holes stay in
 * memory (at most TT_SEARCH_CACHE_BYTES, the least used go first), so a segment that holds nothing
 * of a channel costs a few ns; descriptors that nobody used for a while are closed. A sealed
 * segment that has no index file yet, or whose file is damaged, is scanned instead (LAST, VALUE),
 * or said to be without one (RANGE: whoever asks scans it for what it wants).
 *
 * Asynchronous: tt_search_open() begins, wake(owner) says that it has ended.
 * Thread: owner shard. Memory: items; blocks and filters counted in shard->replay->block_bytes. */
#ifndef TT_SHARD_REPLAY_SEARCH_H
#define TT_SHARD_REPLAY_SEARCH_H

#include "store/lookup.h"

struct tt_shard;
struct tt_search;

#define TT_SEARCH_CACHE_BYTES (16u << 20)

/* LAST, VALUE: lookup was answered by the owner. Each channel whose search_below is not 0 is
 * searched below it, newest segment first, for what is missing. When it has ended,
 * tt_search_items() has the owner's items and those found here, and channels[].found and
 * search_below are set anew (0: there is nothing older). RANGE: of the channels[] those events with
 * from <= offset < at that lie in segments with an index file, and the holes; by offset.
 * lookup->key: complete below this offset; `from` itself when the segment of `from` has no index
 * file, or is not sealed, or is gone.
 *
 * lookup with its channels and items: borrowed until it has ended or was closed.
 * TT_OK: under way; TT_IDLE: there is nothing to search, lookup is complete as it is (*search is
 * null); TT_FULL: no memory now: try again in a later turn. wake: called from the reaping of
 * completions or the turn's catch-up phase, never inside a call of this header. */
TT_MUST_USE enum tt_status tt_search_open(struct tt_search **search, struct tt_shard *shard,
                                          struct tt_lookup *lookup, void (*wake)(void *owner),
                                          void *owner);
/* It has ended. */
bool tt_search_ended(const struct tt_search *search);
/* After it has ended: TT_OK, or what went wrong: TT_ENOENT: segments were retired meanwhile: ask
 * the owner again; TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_search_status(const struct tt_search *search);
/* LAST, VALUE: grouped by channel in the order of channels[], oldest first within one; RANGE: by
 * offset. Valid until it is closed. */
const struct tt_lookup_item *tt_search_items(const struct tt_search *search, uint32_t *count);
/* At any time. Null is fine. */
void tt_search_close(struct tt_search **search);

#endif
