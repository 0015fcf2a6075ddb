/* Catching up by index: a client that follows a few channels reads its records alone, instead of
 * all that lie between.
 *
 * For one partition at a time: which records come next is asked of the index files of sealed
 * segments (search.h), and of the owner where there is none yet (TT_LOOKUP_RANGE); then they are
 * read (places.h) and given to the client like those of a scan. Where the index says that they lie
 * close together, or there is no index, the part's scan_below says up to where scanning is better.
 * Holes come with the answers, so a client is told of them either way.
 *
 * Nothing is kept while the client's outbox is full: it begins anew at its position.
 * Thread: owner shard. Memory: one object while it runs, counted in shard->replay->block_bytes. */
#ifndef TT_SHARD_REPLAY_INDEXED_H
#define TT_SHARD_REPLAY_INDEXED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

struct tt_client;
struct tt_indexed;

#define TT_INDEXED_ITEMS 256u /* of one question */
/* Records that lie closer than this on average are scanned: a read of one alone takes about as long
 * as so many bytes of a scan, when they are in the page cache, and more when they are not. */
#define TT_INDEXED_APART_BYTES (16u << 10)

/* Does the client follow few enough channels, and no pattern? */
bool tt_indexed_may(const struct tt_client *client);
/* Begins to read the partition from the client's position on, which lies below what is in memory.
 * TT_OK: under way; TT_FULL: no memory now. */
TT_MUST_USE enum tt_status tt_indexed_open(struct tt_client *client, uint32_t partition);
/* It waits for something: the client will be woken. */
bool tt_indexed_waits(const struct tt_indexed *indexed);
/* Gives the client what there is. Returns the bytes looked at. The object may have ended. */
size_t tt_indexed_step(struct tt_client *client, size_t budget);
/* Nulls *indexed; harmless with null. */
void tt_indexed_close(struct tt_indexed **indexed);

#endif
