#include "shard/memory.h"

#include "shard/client/conflate_list.h"
#include "shard/client/lag.h"
#include "shard/conn/connection.h"
#include "shard/fanout/arrivals.h"
#include "shard/replay/catchup.h"
#include "shard/roster.h"
#include "shard/shard_internal.h"

#define MALLOC_BYTES       16u  /* what the allocator keeps with each block */
#define SLOT_BYTES         4u   /* of a pool, for each object */
#define IO_SOCKET_BYTES    64u  /* of a socket in a back end's table */
#define PATTERN_BYTES      320u /* of one channel of a subscription: the longest name, its places */
#define CATCHUP_STEP_BYTES (2u * TT_FRAME_BATCH_BYTES) /* the last batch that had room */
#define TABLES_BYTES       (2u << 20) /* timers, routes, diag, mailboxes' credits, admission */

/* What each client may need beside what is queued for it. */
static uint64_t client_bytes(uint32_t partitions)
{
    return sizeof(struct tt_client) + sizeof(struct tt_connection) + 2 * SLOT_BYTES +
           IO_SOCKET_BYTES + tt_catchup_bytes(partitions) + sizeof(struct tt_client_extra) +
           sizeof(struct tt_lag) + partitions * sizeof(uint64_t) + 3 * MALLOC_BYTES;
}

void tt_shard_bounds(const struct tt_shard_options *o, uint32_t partitions, uint32_t shards,
                     struct tt_shard_bounds *b)
{
    uint64_t arrivals =
        TT_ARRIVALS_RING * UINT64_C(16) +
        (TT_ARRIVALS_RING / TT_ARRIVALS_VECTOR_EVERY + 1) * (uint64_t)partitions * sizeof(uint64_t);
    uint64_t caches = 2 * (uint64_t)TT_FRAME_CACHE_BYTES_MAX + TT_OUTBOX_CACHE_BYTES_MAX;
    *b = (struct tt_shard_bounds){
        .frames = o->frame_bytes + TT_FORMS * (uint64_t)o->event_bytes_max,
        .catchup = o->catchup_bytes + CATCHUP_STEP_BYTES,
        .publish = o->publish_bytes,
        .connections = o->connections.work_bytes_max +
                       o->connections.connections_max * (uint64_t)TT_CONNECTION_WORK_BYTES_MIN,
        .subscriptions =
            o->subscription_bytes + o->channels_per_client_max * (uint64_t)PATTERN_BYTES,
        .clients = o->connections.connections_max * client_bytes(partitions),
        .receive = (uint64_t)o->io.recv_buffer_bytes * o->io.recv_buffers,
        .fixed = arrivals + caches + TT_SCRATCH_BYTES + TT_ROSTER_BYTES_MAX + TABLES_BYTES +
                 TT_CONFLATE_WAITS_MAX * (uint64_t)sizeof(struct tt_conflate_wait) +
                 2 * sizeof(struct tt_message) * /* rings are powers of two */
                     ((uint64_t)shards * TT_MAILBOX_SHARD_MESSAGES + TT_MAILBOX_TO_SHARD_MESSAGES +
                      TT_MAILBOX_TO_CONTROL_MESSAGES),
    };
}

uint64_t tt_shard_bounds_total(const struct tt_shard_bounds *b)
{
    return b->frames + b->catchup + b->publish + b->connections + b->subscriptions + b->clients +
           b->receive + b->fixed;
}

size_t tt_shard_subscription_bytes(const struct tt_shard *shard)
{
    return tt_subscriptions_bytes(shard->subscriptions) + shard->types_bytes;
}

bool tt_shard_has_subscription_room(const struct tt_shard *shard)
{
    return tt_shard_subscription_bytes(shard) < shard->options.subscription_bytes;
}

size_t tt_shard_frame_bytes(const struct tt_shard *shard)
{
    return shard->frames.bytes + shard->outboxes.blocks * sizeof(struct tt_outbox_block);
}
