/* The memory of a shard, added up: what each of its bounds allows, for memory_bound_bytes, and the
 * checks of those bounds that several parts share. broker/BOUNDS.md has the table of all bounds.
 *
 * Every part that grows with clients or events has a bound of its own; the parts that do not grow
 * are counted as `fixed`. What a bound may be passed by (the frames of one event, one batch) is
 * counted there, too. Thread: any for the sums; owner shard for the checks. */
#ifndef TT_SHARD_MEMORY_H
#define TT_SHARD_MEMORY_H

#include "shard/shard.h"

struct tt_shard_bounds {
    uint64_t frames;        /* encoded events, and the outboxes' blocks that point to them */
    uint64_t catchup;       /* what clients that catch up have read, indexes of segments */
    uint64_t publish;       /* bodies, and events that are being published */
    uint64_t connections;   /* heads of requests, answers */
    uint64_t subscriptions; /* what clients follow */
    uint64_t clients;       /* clients and their connections themselves */
    uint64_t receive;       /* buffers that the system fills */
    uint64_t fixed;
};
void tt_shard_bounds(const struct tt_shard_options *options, uint32_t partitions, uint32_t shards,
                     struct tt_shard_bounds *bounds);
/* Their sum. */
uint64_t tt_shard_bounds_total(const struct tt_shard_bounds *bounds);

/* What the clients' subscriptions and lists of types take. */
size_t tt_shard_subscription_bytes(const struct tt_shard *shard);
/* One subscription more has room; else whoever asks for it is told to come later. */
bool tt_shard_has_subscription_room(const struct tt_shard *shard);

/* Encoded events and the blocks of outboxes; over frame_bytes the oldest holders are demoted. */
size_t tt_shard_frame_bytes(const struct tt_shard *shard);

#endif
