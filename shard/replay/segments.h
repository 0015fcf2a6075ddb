/* The segments that a shard reads for clients that catch up: its own copy of each partition's list,
 * its own descriptors, and blocks read through its own io.
 *
 * The owner tells every shard when a segment was added, sealed or retired; the copy changes only by
 * these messages. A segment is opened when it is first needed and closed when nobody has read from
 * it for a while (TT_SEGMENT_IDLE_MS). A retired one (already unlinked) stays open until the reads
 * that are under way have ended; whoever wants more of it is told `expired`.
 * Thread: owner shard. Memory: blocks are counted in shard->replay_frames' bound. */
#ifndef TT_SHARD_REPLAY_SEGMENTS_H
#define TT_SHARD_REPLAY_SEGMENTS_H

#include "shard/io/io.h"
#include "shard/messages.h"
#include "store/segment.h"

struct tt_shard;
struct tt_client;
struct tt_catchup;
struct tt_segments;
struct tt_segment_reader;

#define TT_SEGMENT_IDLE_MS     10000u
#define TT_SEGMENT_BLOCK_BYTES (64u << 10) /* one read; more for a record that is larger */

TT_MUST_USE enum tt_status tt_segments_create(struct tt_shard *shard,
                                              struct tt_segments **segments);
void tt_segments_destroy(struct tt_segments **segments);
void tt_segments_message(struct tt_segments *s, const struct tt_message_segment *message);
bool tt_segments_done(struct tt_segments *s, const struct tt_done *done);
/* Closes what was not used for a while. Once a second or so. */
void tt_segments_tidy(struct tt_segments *s);

/* Starts reading partition's log for a client: the record with the first offset >= `offset`, whose
 * place is *place if not 0. tt_catchup_block() is called later with what was read.
 * TT_OK: under way; TT_FULL: no memory now; TT_ENOENT: no segment holds it any more (expired). */
TT_MUST_USE enum tt_status tt_segments_read(struct tt_segments *s, struct tt_client *client,
                                            uint32_t partition, uint64_t offset, uint64_t place,
                                            struct tt_segment_reader **reader);
/* The client does not want the result any more. */
void tt_segments_forget(struct tt_segment_reader **reader);

#endif
