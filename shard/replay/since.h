/* Where `from=<unix ms>` starts: in each partition the first record that the broker took at or
 * after that time, and everything behind it, also where clocks went backwards in between.
 *
 * Which segment it is in is known by heart (times of segments are the newest of everything before
 * their end, so they only rise), then chunk headers are searched by halves, then records are read
 * from the chunk on, to the end of the files and through the tail. Bytes that are bad, or cannot be
 * read, end the search there: the client starts at them, and is told by its catch-up.
 *
 * Asynchronous, because older places are found by reading segments; one partition after the other,
 * at most TT_SINCE_RUNNING_MAX at once. Thread: owner shard. Memory: a block of 64 KiB for each
 * that runs (more for a larger record), counted in shard->replay->block_bytes. */
#ifndef TT_SHARD_REPLAY_SINCE_H
#define TT_SHARD_REPLAY_SINCE_H

#include <stdint.h>

#include "proto/base/status.h"

struct tt_shard;
struct tt_since;

#define TT_SINCE_RUNNING_MAX 16u /* of a shard: each has a block in memory; the others wait */

/* partition: a narrow client's, or TT_PARTITION_ALL. pos: one entry for each partition of the log;
 * those that are asked for are filled with the offset to start at (what comes next, if no record is
 * so new); borrowed until it has ended or was closed.
 * TT_OK: under way, wake(owner) is called once, when pos is complete, never inside a call of this
 * header; TT_IDLE: pos is complete, *since is null; TT_FULL: no memory. */
TT_MUST_USE enum tt_status tt_since_open(struct tt_since **since, struct tt_shard *shard,
                                         uint32_t partition, int64_t from_ms, uint64_t *pos,
                                         void (*wake)(void *owner), void *owner);
/* At any time, also inside wake(). Null is fine. */
void tt_since_close(struct tt_since **since);

#endif
