#include "shard/admission.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "shard/client/opening.h"
#include "shard/shard_internal.h"

/* What a client may hold, in client->admission. */
enum { HOLDS_TOTAL = 1, HOLDS_ADDRESS = 2, ASKS = 4 };

#define KEY_TOTAL 0u

/* A counter of this home shard. */
struct count {
    uint64_t key;
    uint32_t count; /* 0: the place is free */
};

struct waiting_ask {
    uint32_t slot;
    uint32_t generation;
    uint64_t key;
};

/* A plain growing ring. */
struct ring {
    uint8_t *data;
    uint32_t item_bytes;
    uint32_t first;
    uint32_t count;
    uint32_t max; /* a power of two */
};

struct tt_admission {
    struct count *counts; /* open addressing, a power of two, at most half full */
    uint32_t counts_max;
    uint32_t counts_used;
    uint32_t total;
    struct tt_hash_key address_key;
    uint32_t *asks_open;     /* to each home */
    uint32_t *releases_open; /* to each home */
    struct ring *asks;       /* waiting, for each home */
    struct ring *releases;   /* waiting, for each home */
};

static bool ring_push(struct ring *r, const void *item)
{
    if (r->count == r->max) {
        uint32_t max = r->max == 0 ? 64 : r->max * 2;
        uint8_t *data = malloc((size_t)max * r->item_bytes);
        if (data == NULL) return false;
        for (uint32_t i = 0; i < r->count; i++)
            memcpy(data + (size_t)i * r->item_bytes,
                   r->data + (size_t)((r->first + i) & (r->max - 1)) * r->item_bytes,
                   r->item_bytes);
        free(r->data);
        r->data = data;
        r->first = 0;
        r->max = max;
    }
    memcpy(r->data + (size_t)((r->first + r->count) & (r->max - 1)) * r->item_bytes, item,
           r->item_bytes);
    r->count++;
    return true;
}

static bool ring_pop(struct ring *r, void *item)
{
    if (r->count == 0) return false;
    memcpy(item, r->data + (size_t)r->first * r->item_bytes, r->item_bytes);
    r->first = (r->first + 1) & (r->max - 1);
    r->count--;
    return true;
}

enum tt_status tt_admission_create(struct tt_shard *shard)
{
    uint32_t shards = shard->world->shards_count;
    struct tt_admission *a = calloc(1, sizeof *a);
    shard->admission = a;
    if (a == NULL) return TT_ENOMEM;
    a->counts_max = 1024;
    a->counts = calloc(a->counts_max, sizeof *a->counts);
    a->asks_open = calloc(shards, sizeof *a->asks_open);
    a->releases_open = calloc(shards, sizeof *a->releases_open);
    a->asks = calloc(shards, sizeof *a->asks);
    a->releases = calloc(shards, sizeof *a->releases);
    if (a->counts == NULL || a->asks_open == NULL || a->releases_open == NULL || a->asks == NULL ||
        a->releases == NULL)
        return TT_ENOMEM;
    for (uint32_t i = 0; i < shards; i++) {
        a->asks[i].item_bytes = sizeof(struct waiting_ask);
        a->releases[i].item_bytes = sizeof(uint64_t);
    }
    /* The same on every shard, so that all agree on an address's home; the log's key is secret too.
     */
    a->address_key = (struct tt_hash_key){shard->world->hash_key.k0 ^ UINT64_C(0x61646472657373),
                                          shard->world->hash_key.k1};
    return TT_OK;
}

void tt_admission_destroy(struct tt_shard *shard)
{
    struct tt_admission *a = shard->admission;
    if (a == NULL) return;
    for (uint32_t i = 0; i < shard->world->shards_count; i++) {
        if (a->asks != NULL) free(a->asks[i].data);
        if (a->releases != NULL) free(a->releases[i].data);
    }
    free(a->counts);
    free(a->asks_open);
    free(a->releases_open);
    free(a->asks);
    free(a->releases);
    free(a);
    shard->admission = NULL;
}

/* ---- the home's side ---- */

static struct count *place_of(struct tt_admission *a, uint64_t key)
{
    uint32_t i = (uint32_t)key & (a->counts_max - 1);
    while (a->counts[i].count != 0 && a->counts[i].key != key) i = (i + 1) & (a->counts_max - 1);
    return &a->counts[i];
}

static bool counts_grow(struct tt_admission *a)
{
    struct count *old = a->counts;
    uint32_t old_max = a->counts_max;
    a->counts = calloc((size_t)old_max * 2, sizeof *a->counts);
    if (a->counts == NULL) {
        a->counts = old;
        return false;
    }
    a->counts_max = old_max * 2;
    for (uint32_t i = 0; i < old_max; i++)
        if (old[i].count != 0) *place_of(a, old[i].key) = old[i];
    free(old);
    return true;
}

static bool home_admit(struct tt_admission *a, uint64_t key, uint32_t limit)
{
    if (key == KEY_TOTAL) {
        if (a->total >= limit) return false;
        a->total++;
        return true;
    }
    struct count *c = place_of(a, key);
    if (c->count >= limit) return false;
    if (c->count == 0) {
        if (a->counts_used * 2 >= a->counts_max) {
            if (!counts_grow(a)) return false;
            c = place_of(a, key);
        }
        a->counts_used++;
        c->key = key;
    }
    c->count++;
    return true;
}

static void home_release(struct tt_admission *a, uint64_t key)
{
    if (key == KEY_TOTAL) {
        TT_ASSERT(a->total > 0);
        a->total--;
        return;
    }
    struct count *c = place_of(a, key);
    TT_ASSERT(c->count > 0);
    if (--c->count != 0) return;
    a->counts_used--;
    /* Linear probing: what stands behind the hole may have to move into it. */
    uint32_t mask = a->counts_max - 1;
    uint32_t hole = (uint32_t)(c - a->counts);
    for (uint32_t i = (hole + 1) & mask; a->counts[i].count != 0; i = (i + 1) & mask) {
        uint32_t home = (uint32_t)a->counts[i].key & mask;
        if (((i - home) & mask) < ((i - hole) & mask)) continue;
        a->counts[hole] = a->counts[i];
        a->counts[i].count = 0;
        hole = i;
    }
}

/* ---- the asking side ---- */

static uint64_t address_of(struct tt_client *client)
{
    const struct tt_peer *peer = tt_exchange_peer(&client->exchange);
    struct tt_bytes ip = tt_bytes(peer->ip, peer->family == TT_ADDRESS_IP6 ? 16 : 4);
    uint64_t key = tt_hash(&client->shard->admission->address_key, ip);
    return key == KEY_TOTAL ? 1 : key;
}

static uint32_t home_of(const struct tt_shard *shard, uint64_t key)
{
    return (uint32_t)(key % shard->world->shards_count);
}

static void post_ask(struct tt_shard *shard, uint32_t home, const struct waiting_ask *ask)
{
    struct tt_message m = {.kind = TT_MESSAGE_ADMIT};
    struct tt_message_admit *body = TT_MESSAGE_BODY(&m, tt_message_admit);
    body->key = ask->key;
    body->slot = ask->slot;
    body->generation = ask->generation;
    body->limit =
        ask->key == KEY_TOTAL ? shard->options.clients_max : shard->options.clients_per_address_max;
    shard->admission->asks_open[home]++;
    tt_peers_post(shard->world->peers, shard->index, home, &m);
}

static void ask(struct tt_client *client, uint64_t key)
{
    struct tt_shard *shard = client->shard;
    struct tt_admission *a = shard->admission;
    uint32_t home = home_of(shard, key);
    struct waiting_ask item = {client->slot, tt_pool_generation(&shard->clients, client->slot),
                               key};
    client->admission |= ASKS;
    if (a->asks_open[home] < TT_ADMIT_OPEN_MAX)
        post_ask(shard, home, &item);
    else if (!ring_push(&a->asks[home], &item))
        tt_client_abort(client, TT_CLOSE_INTERNAL);
}

static void post_release(struct tt_shard *shard, uint32_t home, uint64_t key)
{
    struct tt_message m = {.kind = TT_MESSAGE_RELEASE};
    TT_MESSAGE_BODY(&m, tt_message_admit)->key = key;
    shard->admission->releases_open[home]++;
    tt_peers_post(shard->world->peers, shard->index, home, &m);
}

static void release(struct tt_shard *shard, uint64_t key)
{
    struct tt_admission *a = shard->admission;
    uint32_t home = home_of(shard, key);
    if (a->releases_open[home] < TT_RELEASE_OPEN_MAX)
        post_release(shard, home, key);
    else if (!ring_push(&a->releases[home], &key))
        tt_diag_write(shard->diag, TT_DIAG_ERROR, NULL, "admission_memory",
                      "out of memory: a client that left stays counted");
}

/* Asks for what is capped and not held yet; true when nothing is missing. */
static bool ask_next(struct tt_client *client)
{
    const struct tt_shard_options *options = &client->shard->options;
    if (options->clients_max != 0 && !(client->admission & HOLDS_TOTAL)) {
        ask(client, KEY_TOTAL);
        return false;
    }
    if (options->clients_per_address_max != 0 && !(client->admission & HOLDS_ADDRESS) &&
        tt_exchange_peer(&client->exchange)->family != TT_ADDRESS_UNIX) {
        ask(client, address_of(client));
        return false;
    }
    return true;
}

bool tt_admission_ask(struct tt_client *client)
{
    return ask_next(client);
}

void tt_admission_release(struct tt_client *client)
{
    if (client->admission & HOLDS_TOTAL) release(client->shard, KEY_TOTAL);
    if (client->admission & HOLDS_ADDRESS) release(client->shard, client->address_key);
    client->admission = 0;
}

static void answered(struct tt_shard *shard, uint32_t home, const struct tt_message_admit *answer)
{
    struct tt_admission *a = shard->admission;
    TT_ASSERT(a->asks_open[home] > 0);
    a->asks_open[home]--;
    struct waiting_ask next;
    if (ring_pop(&a->asks[home], &next)) post_ask(shard, home, &next);

    struct tt_client *client = tt_pool_find(&shard->clients, answer->slot, answer->generation);
    if (client == NULL || !(client->admission & ASKS)) {
        /* It left while it waited: what it was given goes back. */
        if (answer->admitted) release(shard, answer->key);
        return;
    }
    client->admission &= ~(uint32_t)ASKS;
    if (answer->admitted && answer->key == KEY_TOTAL) {
        client->admission |= HOLDS_TOTAL;
    } else if (answer->admitted) {
        client->admission |= HOLDS_ADDRESS;
        client->address_key = answer->key;
    }
    if (client->state != TT_CLIENT_OPENING) return; /* closing: destroyed soon, released then */
    if (!answer->admitted)
        tt_opening_admitted(client, false);
    else if (ask_next(client))
        tt_opening_admitted(client, true);
}

void tt_admission_message(struct tt_shard *shard, const struct tt_message *message)
{
    struct tt_admission *a = shard->admission;
    struct tt_message m = *message;
    struct tt_message_admit *body = TT_MESSAGE_BODY(&m, tt_message_admit);
    switch ((enum tt_message_kind)m.kind) {
    case TT_MESSAGE_ADMIT:
        body->admitted = home_admit(a, body->key, body->limit);
        m.kind = TT_MESSAGE_ADMITTED;
        tt_peers_post(shard->world->peers, shard->index, message->from, &m);
        return;
    case TT_MESSAGE_ADMITTED: answered(shard, message->from, body); return;
    case TT_MESSAGE_RELEASE:
        home_release(a, body->key);
        m.kind = TT_MESSAGE_RELEASED;
        tt_peers_post(shard->world->peers, shard->index, message->from, &m);
        return;
    case TT_MESSAGE_RELEASED: {
        TT_ASSERT(a->releases_open[message->from] > 0);
        a->releases_open[message->from]--;
        uint64_t key;
        if (ring_pop(&a->releases[message->from], &key)) post_release(shard, message->from, key);
        return;
    }
    case TT_MESSAGE_HANDOFF:
    case TT_MESSAGE_HANDOFF_TAKEN:
    case TT_MESSAGE_PUBLISH:
    case TT_MESSAGE_PUBLISHED:
    case TT_MESSAGE_SEGMENT:
    case TT_MESSAGE_SEGMENT_TAKEN:
    case TT_MESSAGE_CUT:
    case TT_MESSAGE_CUT_TAKEN:
    case TT_MESSAGE_LOOKUP:
    case TT_MESSAGE_LOOKUP_DONE:
    case TT_MESSAGE_SESSION_CALL:
    case TT_MESSAGE_SESSION_CALLED:
    case TT_MESSAGE_ROSTER:
    case TT_MESSAGE_ROSTER_DONE:
    case TT_MESSAGE_FEED:
    case TT_MESSAGE_FEED_TAKEN:
    case TT_MESSAGE_DRAIN:
    case TT_MESSAGE_DRAINED:
    case TT_MESSAGE_STOP:
    case TT_MESSAGE_STOPPED:
    case TT_MESSAGE_EXIT:
    case TT_MESSAGE_RELOAD:
    case TT_MESSAGE_RELOADED:
    case TT_MESSAGE_STARTED: break;
    }
    TT_UNREACHABLE();
}
