/* The SSE transport: the bytes that a client gets, from its greeting on. How one is opened stands
 * in opening.h. Source: broker/API.md, "Following"; WHATWG HTML section 9.2. Thread: owner shard.
 */
#ifndef TT_SHARD_CLIENT_SSE_H
#define TT_SHARD_CLIENT_SSE_H

#include "shard/client/client.h"

/* Control frames, one reference each; null: out of memory. */
struct tt_frame *tt_sse_connected_frame(struct tt_client *client, struct tt_bytes cursor);
/* partition: whose channels it concerns, or TT_PARTITION_ALL. cursor: null if the frame's id is
 * written when it is pulled; empty: it has none. */
struct tt_frame *tt_sse_resync_frame(struct tt_client *client, const char *reason,
                                     uint32_t partition, const struct tt_bytes *cursor);
struct tt_frame *tt_sse_snapshot_end_frame(struct tt_client *client, uint64_t events,
                                           struct tt_bytes cursor);
#define TT_SSE_SKIPPED_UNKNOWN UINT64_MAX /* then the gap says no number */
struct tt_frame *tt_sse_gap_frame(struct tt_client *client, const char *reason, uint64_t skipped,
                                  const struct tt_position *from, const struct tt_position *to);
/* Of the shard's feed as it is. */
struct tt_frame *tt_sse_feed_frame(struct tt_shard *shard);
struct tt_frame *tt_sse_shutdown_frame(struct tt_shard *shard, uint32_t reconnect_ms);
/* Sends a heartbeat if nothing was sent for the client's time, and arms the timer again. */
void tt_sse_heartbeat(struct tt_client *client);

/* The first frame: the pad, if one was asked for, and `retry:`. */
struct tt_frame *tt_sse_greeting_frame(struct tt_client *client, uint32_t pad_bytes);
/* A quarter more or less, so that clients that left together do not come back together. */
uint32_t tt_sse_jittered_ms(struct tt_shard *shard, uint32_t ms);

/* Of its struct tt_exchange_ops. */
enum tt_pull tt_sse_pull(struct tt_exchange *x, size_t budget, struct tt_slice *slices,
                         unsigned slices_max, unsigned *count);
void tt_sse_taken(struct tt_exchange *x, size_t bytes);

/* How many bytes of a frame its client is offered, from `offset` on, as at most two slices. */
uint32_t tt_sse_frame_bytes(const struct tt_client *client, const struct tt_frame *frame);
unsigned tt_sse_frame_slices(const struct tt_client *client, const struct tt_frame *frame,
                             uint32_t offset, struct tt_slice slices[2]);
/* The first frame was taken whole: out of the outbox, counted. */
void tt_sse_frame_taken(struct tt_client *client);

#endif
