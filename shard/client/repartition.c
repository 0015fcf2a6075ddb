#include "shard/client/repartition.h"

#include "shard/client/lag.h"
#include "shard/replay/catchup.h"
#include "shard/shard_internal.h"

static void widen(struct tt_client *client)
{
    switch ((enum tt_client_state)client->state) {
    case TT_CLIENT_LIVE:
    case TT_CLIENT_CONFLATING:
        /* What waits for it has narrow ids, which say less than they could, but nothing wrong. */
        client->form |= TT_FORM_FULL;
        client->partition = TT_PARTITION_ALL;
        client->id_place = 0; /* the next heartbeat brings a full one */
        return;
    case TT_CLIENT_CATCHUP:
        tt_lag_unknown(client);
        tt_catchup_overflow(client);
        if (client->state != TT_CLIENT_CATCHUP) return;
        client->form |= TT_FORM_FULL;
        if (tt_catchup_widen(client) != TT_OK) tt_client_abort(client, TT_CLOSE_INTERNAL);
        return;
    case TT_CLIENT_SNAPSHOT: tt_client_finish(client, TT_CLOSE_REPARTITIONED, NULL); return;
    case TT_CLIENT_OPENING: /* looks once more before it starts, see opening.c */
    case TT_CLIENT_CLOSING:
    case TT_CLIENT_STATES: return;
    }
}

/* Every shard comes to it by itself: one of them tells. */
static void tell(struct tt_shard *shard, uint32_t partition, enum tt_repartition_cause cause)
{
    static const char *const causes[] = {
        [TT_REPARTITION_GREW] = "it has more partitions than it began with",
        [TT_REPARTITION_MISPLACED] = "a record's key does not belong there by the declared one",
    };
    if (shard->index != 0) return;
    tt_metric_add(&shard->metrics.repartitioned, 1);
    tt_diag_write(shard->diag, TT_DIAG_WARN, NULL, "repartitioned",
                  "topic %s, partition %u: %s; from now on its channels may lie anywhere: "
                  "partitioner=any",
                  tt_topology_topic(&shard->topology, partition)->name,
                  tt_topology_local(&shard->topology, partition)->number, causes[cause]);
}

void tt_repartition(struct tt_shard *shard, uint32_t partition, enum tt_repartition_cause cause)
{
    const struct tt_topology *t = &shard->topology;
    uint32_t topic = tt_topology_local(t, partition)->topic;
    tell(shard, partition, cause);
    for (uint32_t s = tt_pool_next(&shard->clients, 0); s != TT_SLOT_NONE;
         s = tt_pool_next(&shard->clients, s + 1)) {
        struct tt_client *client = tt_pool_at(&shard->clients, s);
        if (tt_client_full(client) || tt_topology_local(t, client->partition)->topic != topic)
            continue;
        if (tt_topology_cursor_fits(t))
            widen(client);
        else /* told by 400 when it comes again */
            tt_client_finish(client, TT_CLOSE_REPARTITIONED, NULL);
    }
}
