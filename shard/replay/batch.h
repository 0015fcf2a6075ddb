/* Many events of the log in one frame: what makes replay fast.
 *
 * A client that catches up gets its events alone, so they need no frame each: they are written one
 * behind the other into one frame, which goes out as one chunk and one slice. Its head has a fixed
 * width and is written when the frame is offered. A frame grows while it is the newest of the
 * outbox and was not offered to the socket. Only for narrow clients on chunked wires: an id that
 * depends on what was taken cannot be written ahead. Thread: owner shard. Memory: replay_frames;
 * frames begin small and grow with what the client turns out to miss. */
#ifndef TT_SHARD_REPLAY_BATCH_H
#define TT_SHARD_REPLAY_BATCH_H

#include "proto/event/event.h"
#include "shard/replay/catchup.h"

/* Puts the event into the client's newest frame, or into a new one that is queued. TT_OK;
 * TT_EUNSUPPORTED: this client, or so large an event, wants a frame of its own; TT_ENOMEM. The
 * partition's `waiting` (settled: as in tt_catchup_waits) and the metrics are kept up to date. */
TT_MUST_USE enum tt_status tt_batch_put(struct tt_client *client, uint32_t partition,
                                        uint64_t settled, const struct tt_placed_event *placed);
/* Writes the head of a frame of kind TT_FRAME_EVENTS, before its first byte is offered. */
void tt_batch_finish(struct tt_frame *frame);

#endif
