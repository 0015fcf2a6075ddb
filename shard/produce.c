#include "shard/produce.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "shard/owner.h"
#include "shard/shard_internal.h"

#define DONE_MAX 256u /* taken from the source at a time */
#define TURN_MAX 4096u

/* An event under way. */
struct slot {
    struct tt_node node; /* free */
    struct tt_source_produce p;
    struct tt_publish_request *request; /* null: it is free */
    uint32_t index;                     /* in its request */
};

struct tt_produce {
    struct tt_source *source;
    struct tt_list waiting; /* requests of which something was not handed over yet, in order */
    struct tt_list free;
    uint32_t under_way;
    bool due;  /* something may have come back */
    bool full; /* the source takes no more until something comes back */
    struct slot slots[TT_PRODUCE_MAX];
};

static void settle(struct tt_shard *shard, struct tt_publish_request *r, uint32_t index,
                   const struct tt_publish_place *place)
{
    r->places[index] = *place;
    tt_metric_add(
        place->status == TT_OK ? &shard->metrics.produced : &shard->metrics.produce_failures, 1);
}

/* Nothing of it is waiting or under way. */
static void answer_if_done(struct tt_shard *shard, struct tt_publish_request *r)
{
    if (r->handed == r->events_count && r->under_way == 0) tt_owner_answer(shard, r, TT_OK);
}

static void refuse_rest(struct tt_shard *shard, struct tt_publish_request *r, enum tt_status status)
{
    const struct tt_publish_place place = {.status = status};
    tt_list_remove(&r->node);
    for (; r->handed < r->events_count; r->handed++) settle(shard, r, r->handed, &place);
    answer_if_done(shard, r);
}

static struct tt_publish_request *first_waiting(const struct tt_produce *o)
{
    const struct tt_node *node = tt_list_first(&o->waiting);
    return node == NULL ? NULL : TT_CONTAINER_OF(node, struct tt_publish_request, node);
}

static void put_back(struct tt_produce *o, struct slot *slot)
{
    slot->request = NULL;
    tt_list_prepend(&o->free, &slot->node);
}

/* Hands over the next event of the request. False: the source, or our own bound, takes no more. */
static bool hand_over(struct tt_shard *shard, struct tt_publish_request *r)
{
    struct tt_produce *o = shard->produce;
    struct tt_node *node = tt_list_take_first(&o->free);
    if (node == NULL) return false;
    struct slot *slot = TT_CONTAINER_OF(node, struct slot, node);
    slot->request = r;
    slot->index = r->handed;
    slot->p = (struct tt_source_produce){.event = r->events[r->handed], .partition = r->partition};
    enum tt_status status = o->source->ops->produce(o->source, shard->index, &slot->p);
    if (status == TT_FULL) {
        put_back(o, slot);
        o->full = true;
        return false;
    }
    r->handed++;
    if (status == TT_OK) {
        r->under_way++;
        o->under_way++;
        return true;
    }
    const struct tt_publish_place place = {
        .status = slot->p.status, .maybe = slot->p.maybe, .why = slot->p.why};
    put_back(o, slot);
    settle(shard, r, slot->index, &place);
    return true;
}

static void hand_over_all(struct tt_shard *shard)
{
    struct tt_produce *o = shard->produce;
    struct tt_publish_request *r;
    while (!o->full && (r = first_waiting(o)) != NULL) {
        while (r->handed < r->events_count)
            if (!hand_over(shard, r)) break;
        if (r->handed < r->events_count) break;
        tt_list_remove(&r->node);
        answer_if_done(shard, r);
    }
    tt_metric_set(&shard->metrics.producing, o->under_way);
}

static void came_back(struct tt_shard *shard, struct tt_source_produce *p)
{
    struct tt_produce *o = shard->produce;
    struct slot *slot = TT_CONTAINER_OF(p, struct slot, p);
    struct tt_publish_request *r = slot->request;
    TT_ASSERT(r != NULL && r->under_way > 0 && o->under_way > 0);
    const struct tt_publish_place place = {.offset = p->offset,
                                           .partition = p->placed,
                                           .status = p->status,
                                           .maybe = p->maybe,
                                           .why = p->why};
    r->under_way--;
    o->under_way--;
    settle(shard, r, slot->index, &place);
    put_back(o, slot);
    answer_if_done(shard, r);
}

void tt_produce_accept(struct tt_shard *shard, struct tt_publish_request *request)
{
    TT_ASSERT(request->places != NULL && request->events_count > 0);
    request->deadline_ns = shard->now_ns + shard->options.publish_wait_ms * UINT64_C(1000000);
    request->handed = request->under_way = 0;
    tt_list_append(&shard->produce->waiting, &request->node);
    hand_over_all(shard);
}

void tt_produce_due(struct tt_shard *shard)
{
    if (shard->produce != NULL) shard->produce->due = true;
}

bool tt_produce_work(struct tt_shard *shard)
{
    struct tt_produce *o = shard->produce;
    if (o == NULL) return false;
    struct tt_source_produce *done[DONE_MAX];
    for (uint32_t left = TURN_MAX; o->due && left > 0; left -= DONE_MAX) {
        uint32_t n = o->source->ops->produced(o->source, shard->index, done, DONE_MAX);
        for (uint32_t i = 0; i < n; i++) came_back(shard, done[i]);
        o->due = n != 0;
        if (n != 0) o->full = false;
    }
    hand_over_all(shard);
    struct tt_publish_request *r;
    while ((r = first_waiting(o)) != NULL && shard->now_ns >= r->deadline_ns)
        refuse_rest(shard, r, TT_FULL);
    return o->due;
}

uint64_t tt_produce_next_ns(const struct tt_shard *shard)
{
    const struct tt_publish_request *r =
        shard->produce == NULL ? NULL : first_waiting(shard->produce);
    return r == NULL ? UINT64_MAX : r->deadline_ns;
}

/* ---- life ---- */

size_t tt_produce_memory_bytes(void)
{
    return sizeof(struct tt_produce);
}

enum tt_status tt_produce_create(struct tt_shard *shard)
{
    if (shard->world->source == NULL) return TT_OK;
    struct tt_produce *o = calloc(1, sizeof *o);
    shard->produce = o;
    if (o == NULL) return TT_ENOMEM;
    o->source = shard->world->source;
    o->due = true; /* asked once, the descriptor tells what comes later */
    tt_list_init(&o->waiting);
    tt_list_init(&o->free);
    for (uint32_t i = 0; i < TT_PRODUCE_MAX; i++) tt_list_append(&o->free, &o->slots[i].node);
    return TT_OK;
}

void tt_produce_destroy(struct tt_shard *shard)
{
    free(shard->produce);
    shard->produce = NULL;
}

void tt_produce_stop(struct tt_shard *shard)
{
    struct tt_produce *o = shard->produce;
    struct tt_publish_request *r;
    if (o == NULL) return;
    while ((r = first_waiting(o)) != NULL) refuse_rest(shard, r, TT_ECLOSED);
    for (uint32_t i = 0; i < TT_PRODUCE_MAX; i++) {
        if (o->slots[i].request == NULL) continue;
        o->slots[i].p.status = TT_ETIMEDOUT;
        o->slots[i].p.maybe = true;
        o->slots[i].p.why = NULL;
        came_back(shard, &o->slots[i].p);
    }
    tt_metric_set(&shard->metrics.producing, 0);
}
