/* When the memory for catching up is short: who lets go of what. */
#include "proto/base/assert.h"
#include "shard/client/outbox.h"
#include "shard/replay/catchup.h"
#include "shard/replay/replay_internal.h"
#include "shard/replay/snapshot.h"

/* Of a client that has taken nothing for so long what can be read again is dropped, and it is
 * closed when that is not enough. */
#define SILENT_MS_MAX          1000u
#define SILENT_MS_CLOSED_AFTER 5000u
#define RELIEF_NS              UINT64_C(20000000) /* between two looks for memory */

static uint32_t silent_ms(const struct tt_client *client)
{
    return (uint32_t)(client->shard->now_ns / 1000000) - client->taken_ms;
}

bool tt_replay_waits_for_socket(const struct tt_client *client)
{
    const struct tt_shard *shard = client->shard;
    return TT_UNLIKELY(shard->replay_frames.bytes > tt_replay_frames_max(shard) / 2) &&
           (client->conflate == NULL || silent_ms(client) > SILENT_MS_MAX) &&
           tt_exchange_blocked(&client->exchange);
}

/* More than a frame that was begun, which has to be sent whole. */
static bool holds_what_can_be_dropped(const struct tt_client *client)
{
    return client->outbox.count > (client->outbox.sent != 0) || !tt_conflate_empty(client);
}

/* Drops the batches and lists of clients whose socket takes nothing: the log has them. */
static void drop_batches(struct tt_shard *shard)
{
    for (uint32_t s = tt_pool_next(&shard->clients, 0);
         s != TT_SLOT_NONE && shard->replay_frames.bytes > tt_replay_frames_max(shard) / 2;
         s = tt_pool_next(&shard->clients, s + 1)) {
        struct tt_client *client = tt_pool_at(&shard->clients, s);
        if (client->state == TT_CLIENT_CATCHUP && holds_what_can_be_dropped(client) &&
            silent_ms(client) > SILENT_MS_MAX)
            tt_catchup_overflow(client);
    }
}

/* What closing the client would free. */
static size_t held_while_silent(const struct tt_client *client)
{
    if (client->state != TT_CLIENT_CATCHUP || client->outbox.count == 0 ||
        !tt_exchange_blocked(&client->exchange) || silent_ms(client) <= SILENT_MS_CLOSED_AFTER)
        return 0;
    size_t bytes = 0;
    struct tt_outbox_walk walk = {0};
    for (struct tt_frame *f; (f = tt_outbox_walk(&client->outbox, &walk)) != NULL;)
        if (f->memory_ == &client->shard->replay_frames) bytes += f->allocated_;
    return bytes;
}

/* A batch that was begun has to be sent whole. Where those fill the memory, so many of their
 * clients are closed that the others get on; they resume by cursor. Where it is full of what others
 * hold, who take it, closing them would help nobody. The memory comes back when their connections
 * have ended, a little later. */
static void close_silent(struct tt_shard *shard)
{
    size_t max = tt_replay_frames_max(shard), silent = 0, left = shard->replay_frames.bytes;
    for (uint32_t s = tt_pool_next(&shard->clients, 0); s != TT_SLOT_NONE;
         s = tt_pool_next(&shard->clients, s + 1))
        silent += held_while_silent(tt_pool_at(&shard->clients, s));
    if (silent < max / 2) return;
    for (uint32_t s = tt_pool_next(&shard->clients, 0); s != TT_SLOT_NONE && left > max / 4 * 3;
         s = tt_pool_next(&shard->clients, s + 1)) {
        struct tt_client *client = tt_pool_at(&shard->clients, s);
        size_t held = held_while_silent(client);
        if (held == 0) continue;
        left -= held < left ? held : left;
        tt_client_abort(client, TT_CLOSE_SLOW);
    }
}

/* What a snapshot has queued cannot be read again in this order: its client is closed when memory
 * is short, and begins anew. */
static void relieve_snapshots(struct tt_shard *shard)
{
    for (uint32_t s = tt_pool_next(&shard->clients, 0); s != TT_SLOT_NONE;
         s = tt_pool_next(&shard->clients, s + 1)) {
        struct tt_client *client = tt_pool_at(&shard->clients, s);
        if (client->state == TT_CLIENT_SNAPSHOT && tt_snapshot_is_stuck(client->catchup->snapshot))
            tt_client_abort(client, TT_CLOSE_SLOW);
    }
}

void tt_replay_relieve(struct tt_shard *shard)
{
    struct tt_replay *r = shard->replay;
    bool full = tt_replay_frames_full(shard);
    if (!full && !r->starved) return;
    /* It walks over all clients, of which nobody becomes silent from one turn to the next. */
    if (shard->now_ns - r->relieved_ns < RELIEF_NS) return;
    r->relieved_ns = shard->now_ns;
    r->starved = false;
    if (full) drop_batches(shard);
    if (tt_replay_frames_full(shard)) close_silent(shard);
    relieve_snapshots(shard);
    tt_replay_tidy_soon(shard); /* who waits for memory is looked at again, also on an idle shard */
}
