#include "shard/replay/lookup.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "shard/owner.h"
#include "shard/shard_internal.h"

struct tt_lookups {
    uint32_t *open;          /* to each owner */
    struct tt_list *waiting; /* for each owner: what would be beyond the bound, in order */
    uint32_t total;          /* open and waiting */
};

enum tt_status tt_lookups_create(struct tt_shard *shard)
{
    uint32_t shards = shard->world->shards_count;
    struct tt_lookups *l = calloc(1, sizeof *l);
    shard->lookups = l;
    if (l == NULL) return TT_ENOMEM;
    l->open = calloc(shards, sizeof *l->open);
    l->waiting = calloc(shards, sizeof *l->waiting);
    if (l->open == NULL || l->waiting == NULL) return TT_ENOMEM;
    for (uint32_t i = 0; i < shards; i++) tt_list_init(&l->waiting[i]);
    return TT_OK;
}

void tt_lookups_destroy(struct tt_shard *shard)
{
    struct tt_lookups *l = shard->lookups;
    if (l == NULL) return;
    TT_ASSERT(l->total == 0);
    free(l->open);
    free(l->waiting);
    free(l);
    shard->lookups = NULL;
}

static void lend(struct tt_shard *shard, uint32_t owner, struct tt_lookup_request *request)
{
    shard->lookups->open[owner]++;
    if (owner == shard->index) {
        tt_owner_lookup(shard, request);
        return;
    }
    struct tt_message m = {.kind = TT_MESSAGE_LOOKUP};
    TT_MESSAGE_BODY(&m, tt_message_lookup)->request = request;
    tt_peers_post(shard->world->peers, shard->index, owner, &m);
}

void tt_lookup_ask(struct tt_shard *shard, struct tt_lookup_request *request)
{
    struct tt_lookups *l = shard->lookups;
    TT_ASSERT(request->lookup.partition < shard->world->partitions_count);
    TT_ASSERT(request->done != NULL);
    uint32_t owner = shard->world->partitions[request->lookup.partition].owner;
    request->origin_ = shard->index;
    l->total++;
    if (l->open[owner] == TT_LOOKUP_OPEN_MAX)
        tt_list_append(&l->waiting[owner], &request->node_);
    else
        lend(shard, owner, request);
}

bool tt_lookup_idle(const struct tt_shard *shard)
{
    return shard->lookups->total == 0;
}

void tt_lookup_answered(struct tt_shard *shard, struct tt_lookup_request *request)
{
    struct tt_lookups *l = shard->lookups;
    uint32_t owner = shard->world->partitions[request->lookup.partition].owner;
    TT_ASSERT(request->origin_ == shard->index && l->open[owner] > 0 && l->total > 0);
    l->open[owner]--;
    l->total--;
    struct tt_node *node = tt_list_take_first(&l->waiting[owner]);
    if (node != NULL) lend(shard, owner, TT_CONTAINER_OF(node, struct tt_lookup_request, node_));
    request->done(request);
}
