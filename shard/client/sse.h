/* The SSE transport: from a request to a live client, and the bytes that it gets.
 *
 * GET and POST /sse (synonyms /events, /events/stream). Source: broker/API.md, "Following";
 * WHATWG HTML section 9.2. Thread: owner shard. */
#ifndef TT_SHARD_CLIENT_SSE_H
#define TT_SHARD_CLIENT_SSE_H

#include "shard/client/client.h"

/* Request handler; context: the struct tt_shard. */
struct tt_exchange *tt_sse_handle(void *context, const struct tt_request *request);
/* The answer of admission.c to a client that waited for it. */
void tt_sse_admitted(struct tt_client *client, bool admitted);

/* Control frames, one reference each; null: out of memory. */
struct tt_frame *tt_sse_connected_frame(struct tt_client *client, struct tt_bytes cursor);
/* partition: whose channels it concerns, or TT_PARTITION_ALL. cursor: empty if the frame's id is
 * written when it is pulled. */
struct tt_frame *tt_sse_resync_frame(struct tt_client *client, const char *reason,
                                     uint32_t partition, struct tt_bytes cursor);
struct tt_frame *tt_sse_gap_frame(struct tt_client *client, const char *reason, uint64_t skipped,
                                  const struct tt_position *from, const struct tt_position *to);
struct tt_frame *tt_sse_shutdown_frame(struct tt_shard *shard, uint32_t reconnect_ms);
/* Sends a heartbeat if nothing was sent for the client's time, and arms the timer again. */
void tt_sse_heartbeat(struct tt_client *client);

/* How many bytes of a frame its client is offered, from `offset` on, as at most two slices. */
uint32_t tt_sse_frame_bytes(const struct tt_client *client, const struct tt_frame *frame);
unsigned tt_sse_frame_slices(const struct tt_client *client, const struct tt_frame *frame,
                             uint32_t offset, struct tt_slice slices[2]);
/* The first frame was taken whole: out of the outbox, counted. */
void tt_sse_frame_taken(struct tt_client *client);

#endif
