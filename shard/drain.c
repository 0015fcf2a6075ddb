#include "shard/drain.h"

#include "proto/base/assert.h"
#include "shard/client/sse.h"
#include "shard/shard_internal.h"

#define STEP_NS UINT64_C(10000000)

void tt_drain_begin(struct tt_shard *shard, uint32_t drain_ms)
{
    shard->phase = TT_SHARD_DRAINING;
    shard->drain_from_ns = shard->now_ns;
    /* The first half of the time ends the clients, the second lets their last bytes go out. A few
     * clients need no pacing. */
    uint64_t pace_ns = (uint64_t)drain_ms * 1000000 / 2;
    uint64_t enough_ns = tt_pool_used(&shard->clients) * UINT64_C(1000000);
    shard->drain_until_ns = shard->now_ns + (pace_ns < enough_ns ? pace_ns : enough_ns);
    shard->drain_slots = 0;
    for (uint32_t s = tt_pool_next(&shard->clients, 0); s != TT_SLOT_NONE;
         s = tt_pool_next(&shard->clients, s + 1))
        shard->drain_slots = s + 1;
    shard->drain_next_slot = 0;
    tt_connections_drain(shard->connections);
}

static void end_client(struct tt_shard *shard, struct tt_client *client)
{
    if (client->state == TT_CLIENT_CLOSING) return;
    uint32_t ms = shard->options.retry_ms;
    uint32_t reconnect_ms = ms - ms / 4 + (uint32_t)(tt_io_random(shard->io) % (ms / 2 + 1));
    tt_client_finish(client, TT_CLOSE_DRAIN, tt_sse_shutdown_frame(shard, reconnect_ms));
}

uint64_t tt_drain_step(struct tt_shard *shard)
{
    if (shard->phase != TT_SHARD_DRAINING) return UINT64_MAX;
    uint32_t until = shard->drain_slots;
    if (shard->now_ns < shard->drain_until_ns) {
        uint64_t passed = shard->now_ns - shard->drain_from_ns;
        uint64_t all = shard->drain_until_ns - shard->drain_from_ns;
        until = (uint32_t)((double)shard->drain_slots * (double)passed / (double)all);
    }
    while (shard->drain_next_slot < until) {
        uint32_t s = tt_pool_next(&shard->clients, shard->drain_next_slot);
        if (s == TT_SLOT_NONE || s >= until) {
            shard->drain_next_slot = until;
            break;
        }
        end_client(shard, tt_pool_at(&shard->clients, s));
        shard->drain_next_slot = s + 1;
    }
    return shard->drain_next_slot < shard->drain_slots ? shard->now_ns + STEP_NS : UINT64_MAX;
}

void tt_drain_cut(struct tt_shard *shard, const struct tt_message_cut *cut)
{
    for (uint32_t s = tt_pool_next(&shard->clients, 0); s != TT_SLOT_NONE;
         s = tt_pool_next(&shard->clients, s + 1)) {
        struct tt_client *client = tt_pool_at(&shard->clients, s);
        if (client->exchange.connection == NULL) continue;
        const struct tt_peer *peer = tt_exchange_peer(&client->exchange);
        if (peer->family != cut->peer.family ||
            memcmp(peer->ip, cut->peer.ip, sizeof peer->ip) != 0)
            continue;
        const char *label = client->extra == NULL ? "" : client->extra->label;
        if (!cut->every &&
            tt_hash(&shard->world->hash_key, tt_bytes_text(label)) != cut->label_hash)
            continue;
        tt_client_abort(client, TT_CLOSE_CUT);
    }
}
