/* Scanning segments for clients that catch up: in blocks, record by record. (What an index finds is
 * read by places.h.)
 *
 * What a client had no room for is kept, and the next block is read behind it before there is room
 * again, so that both go with one submit: as long as all that catch up need less than a quarter of
 * the memory for it. Beyond that a block is let go when its client has no room.
 *
 * The segments are views.h's, so one that was retired can be read on for a while; whoever wants
 * what is gone is told `expired`.
 * Thread: owner shard. Memory: blocks are counted in shard->replay_frames' bound, but for
 * a spare one. */
#ifndef TT_SHARD_REPLAY_SEGMENTS_H
#define TT_SHARD_REPLAY_SEGMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

struct tt_shard;
struct tt_client;
struct tt_segments;
struct tt_segment_reader;

#define TT_SEGMENT_BLOCK_BYTES     (64u << 10)  /* one read; more for a record that is larger */
#define TT_SEGMENT_BLOCK_BYTES_MAX (128u << 10) /* with what is left of the one before */

TT_MUST_USE enum tt_status tt_segments_create(struct tt_shard *shard,
                                              struct tt_segments **segments);
void tt_segments_destroy(struct tt_segments **segments);

/* Starts reading partition's log for a client: the record with the first offset >= `offset`, whose
 * place is `place` if not 0; not beyond `bound`, an offset. The client is given records later.
 * TT_OK: under way; TT_FULL: no memory now; TT_ENOENT: no segment holds it any more (expired). */
TT_MUST_USE enum tt_status tt_segments_read(struct tt_segments *s, struct tt_client *client,
                                            uint32_t partition, uint64_t offset, uint64_t place,
                                            uint64_t bound, struct tt_segment_reader **reader);
/* Records are there, to be taken by a step when the client has room. */
bool tt_segments_ready(const struct tt_segment_reader *reader);
/* Gives them to the client. Returns the bytes looked at. The reader may have ended. */
size_t tt_segments_step(struct tt_segment_reader *reader);
/* Lets go of what was kept for clients that take nothing. True: some is kept. */
bool tt_segments_tidy(struct tt_segments *s);
/* The client does not want the result any more. */
void tt_segments_forget(struct tt_segment_reader **reader);

#endif
