#include "shard/replay/indexed.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "shard/replay/catchup.h"
#include "shard/replay/lookup.h"
#include "shard/replay/places.h"
#include "shard/replay/replay_internal.h"
#include "shard/replay/search.h"
#include "store/kept.h"

#define DENSE_MIN 16u /* so many say something about how close they lie */

enum step {
    STEP_ASKED = 0, /* the owner has the question */
    STEP_SEARCHING, /* index files are read */
    STEP_ANSWERED,
    STEP_READ,
};

struct tt_indexed {
    struct tt_shard *shard;
    struct tt_client *client; /* null: forgotten; answered() frees it */
    uint32_t partition;
    uint8_t step; /* enum step */
    bool waiting;
    struct tt_search *search;
    struct tt_places *places;
    const struct tt_lookup_item *items; /* the answer */
    uint32_t items_count;
    struct tt_lookup_request request;
    struct tt_lookup_channel channels[TT_LOOKUP_RANGE_CHANNELS_MAX];
    struct tt_lookup_item owners[TT_INDEXED_ITEMS];
};

bool tt_indexed_may(const struct tt_client *client)
{
    const struct tt_subscription *s = client->subscription;
    return s->exact == s->count && s->count <= TT_LOOKUP_RANGE_CHANNELS_MAX;
}

static void indexed_free(struct tt_indexed *x)
{
    x->shard->replay->block_bytes -= sizeof *x;
    free(x);
}

void tt_indexed_close(struct tt_indexed **out)
{
    struct tt_indexed *x = *out;
    if (x == NULL) return;
    *out = NULL;
    x->client = NULL;
    tt_places_close(&x->places);
    tt_search_close(&x->search);
    if (x->step != STEP_ASKED) indexed_free(x);
}

bool tt_indexed_waits(const struct tt_indexed *x)
{
    return x->waiting;
}

static void wake(void *owner)
{
    struct tt_indexed *x = owner;
    x->waiting = false;
    tt_catchup_wake(x->client);
    tt_exchange_ready(&x->client->exchange);
}

static void answered(struct tt_lookup_request *request)
{
    struct tt_indexed *x = request->context;
    x->step = STEP_ANSWERED;
    if (x->client == NULL)
        indexed_free(x);
    else
        wake(x);
}

/* Asks for what comes next, whoever knows it. */
static enum tt_status ask(struct tt_indexed *x, const struct tt_view *view)
{
    struct tt_lookup *l = &x->request.lookup;
    x->waiting = true;
    if (view->indexed && tt_view_sealed(view)) {
        x->step = STEP_SEARCHING;
        return tt_search_open(&x->search, x->shard, l, wake, x);
    }
    x->step = STEP_ASKED;
    l->items = x->owners;
    l->key = l->from;
    x->request.done = answered;
    x->request.context = x;
    tt_lookup_ask(x->shard, &x->request);
    return TT_OK;
}

enum tt_status tt_indexed_open(struct tt_client *client, uint32_t partition)
{
    struct tt_shard *shard = client->shard;
    const struct tt_subscription *s = client->subscription;
    const struct tt_catchup_part *part = tt_catchup_part(client, partition);
    TT_ASSERT(client->catchup->indexed == NULL && tt_indexed_may(client));
    const struct tt_view *view = tt_views_at(shard->replay->views, partition, part->pos);
    if (view == NULL) return TT_ENOENT;
    if (!tt_replay_has_memory(shard, sizeof(struct tt_indexed))) return TT_FULL;
    struct tt_indexed *x = calloc(1, sizeof *x);
    if (x == NULL) return TT_FULL;
    x->shard = shard;
    x->client = client;
    x->partition = partition;
    for (uint32_t i = 0; i < s->count; i++)
        x->channels[i].hash = tt_subscription_followed(s, i)->hash;
    x->request.lookup = (struct tt_lookup){
        .kind = TT_LOOKUP_RANGE,
        .partition = partition,
        .at = shard->replay->first_offset[partition],
        .from = part->pos,
        .channels = x->channels,
        .channels_count = s->count,
        .items_max = TT_INDEXED_ITEMS,
    };
    shard->replay->block_bytes += sizeof *x;
    enum tt_status status = ask(x, view);
    if (status != TT_OK) {
        indexed_free(x);
        return TT_FULL;
    }
    client->catchup->indexed = x;
    return TT_OK;
}

/* ---- the answer ---- */

/* Nobody has an index of what comes next: it is scanned. */
static void scan_instead(const struct tt_indexed *x, struct tt_catchup_part *part)
{
    const struct tt_lookup *l = &x->request.lookup;
    struct tt_views *views = x->shard->replay->views;
    const struct tt_view *view = tt_views_at(views, x->partition, part->pos);
    uint64_t end = view == NULL ? l->at : tt_view_end_offset(views, view);
    /* Within the segment that grows the owner may know from where on it can tell. */
    if (l->memory_offset > part->pos && l->memory_offset < end) end = l->memory_offset;
    part->scan_below = end < l->at ? end : l->at;
}

/* Do the records lie so close that reading everything is cheaper? Then up to where. */
static bool is_dense(const struct tt_indexed *x, struct tt_catchup_part *part, uint64_t key)
{
    if (x->items_count < DENSE_MIN) return false;
    const struct tt_lookup_item *first = &x->items[0], *last = &x->items[x->items_count - 1];
    if (tt_kept_is(first->place) || last->place <= first->place) return false;
    if ((last->place - first->place) / x->items_count >= TT_INDEXED_APART_BYTES) return false;
    /* As it goes on so, it is asked less often. */
    uint64_t more = (key - part->pos) * 4;
    uint64_t at = x->request.lookup.at;
    part->scan_below = at - key < more ? at : key + more;
    /* Nothing that it wants lies before the first: that is where the scan begins. */
    if (part->pos < first->offset) part->pos = first->offset;
    part->place = first->place;
    return true;
}

/* Takes the answer. False: it has ended, the client goes on by itself. */
static bool take_answer(struct tt_indexed *x, struct tt_catchup_part *part)
{
    struct tt_lookup *l = &x->request.lookup;
    bool well = true;
    x->items = l->items;
    x->items_count = l->items_count;
    if (x->search != NULL) {
        well = tt_search_status(x->search) == TT_OK;
        x->items = tt_search_items(x->search, &x->items_count);
    }
    if (!well || l->key <= part->pos || part->pos != l->from) {
        scan_instead(x, part);
        return false;
    }
    if (x->items_count == 0) {
        part->pos = l->key;
        part->place = 0;
        return false;
    }
    if (is_dense(x, part, l->key)) return false;
    tt_metric_add(&x->shard->metrics.replay_batches_index, 1);
    return tt_places_open(&x->places, x->shard, x->partition, x->items, x->items_count, wake, x) ==
           TT_OK;
}

/* A record is not where the index has it. */
static void gone(struct tt_client *client, struct tt_catchup_part *part, const struct tt_indexed *x,
                 const struct tt_lookup_item *item)
{
    struct tt_tail *tail = x->shard->world->partitions[x->partition].tail;
    if (item->offset < tt_tail_oldest_offset(tail)) {
        tt_catchup_expired(client, x->partition);
        return;
    }
    /* The scan tells what is wrong with it: of the whole segment, or a client whose segment cannot
     * be read would be told for each of its records. */
    struct tt_views *views = x->shard->replay->views;
    const struct tt_view *view = tt_views_at(views, x->partition, item->offset);
    uint64_t end = view == NULL ? item->offset + 1 : tt_view_end_offset(views, view);
    part->scan_below = end < x->request.lookup.at ? end : x->request.lookup.at;
}

size_t tt_indexed_step(struct tt_client *client, size_t budget)
{
    struct tt_catchup *c = client->catchup;
    struct tt_indexed *x = c->indexed;
    struct tt_catchup_part *part = tt_catchup_part(client, x->partition);
    size_t used = 1;
    if (x->step != STEP_READ) {
        if (!take_answer(x, part)) {
            tt_indexed_close(&c->indexed);
            return used;
        }
        x->step = STEP_READ;
    }
    bool room = true;
    while (room && used < budget && client->state == TT_CLIENT_CATCHUP) {
        uint32_t index;
        struct tt_record record;
        enum tt_status status = tt_places_next(x->places, &index, &record);
        if (status == TT_FULL) {
            x->waiting = true;
            return used;
        }
        room = false;
        if (status == TT_OK) {
            used += record.length + sizeof(struct tt_lookup_item);
            part->place = 0;
            room = tt_catchup_take_record(client, x->partition, &record);
        } else if (status == TT_END) {
            if (part->pos < x->request.lookup.key) part->pos = x->request.lookup.key;
        } else {
            gone(client, part, x, &x->items[index]);
        }
        /* What was queued may have ended the client, or made it begin anew at what it has taken. */
        if (client->catchup != c || c->indexed != x) return used;
    }
    if (!room || client->state != TT_CLIENT_CATCHUP) tt_indexed_close(&c->indexed);
    return used;
}
