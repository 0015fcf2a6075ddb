/* From the tails to the outboxes: reads what owners have published, finds who follows it, encodes
 * it once for each wire form that somebody needs, and queues pointers.
 *
 * Queueing one event to all its clients is atomic; only flushing is sliced. A turn reads at most
 * TT_TURN_DESCRIPTORS_MAX descriptors or for TT_TURN_READ_US_MAX, rotating over the partitions.
 * Thread: owner shard. */
#ifndef TT_SHARD_FANOUT_FANOUT_H
#define TT_SHARD_FANOUT_FANOUT_H

#include "proto/event/event.h"
#include "shard/fanout/frame.h"

struct tt_shard;

TT_MUST_USE enum tt_status tt_fanout_create(struct tt_shard *shard);
void tt_fanout_destroy(struct tt_shard *shard);

/* Reads tails and queues. True: more is waiting (a limit of the turn was reached). */
bool tt_fanout_read(struct tt_shard *shard);
/* Published events wait to be read. */
bool tt_fanout_waiting(const struct tt_shard *shard);
/* The sequence up to which this shard has read a tail. */
uint64_t tt_fanout_place(const struct tt_shard *shard, uint32_t partition);

/* Encodes the frame of an event. partition: local number. form: as in struct tt_client. vector:
 * what its id says on wires with full ids (may be null: then it gets no id, which is written at the
 * pull). Null: out of memory. */
struct tt_frame *tt_fanout_encode(struct tt_shard *shard, struct tt_frame_memory *memory,
                                  uint32_t partition, const struct tt_placed_event *placed,
                                  unsigned form, const uint64_t *vector);
/* Demotes live clients whose place nears the edge of the arrivals ring, or that hold the oldest
 * frames while the shard's frame bytes are over their bound. Once a turn; scans only when there is
 * need. */
void tt_fanout_enforce(struct tt_shard *shard);

#endif
