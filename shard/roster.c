#include "shard/roster.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "shard/client/conflate.h"
#include "shard/client/sse.h"
#include "shard/http/ack.h"
#include "shard/replay/age.h"
#include "shard/shard_internal.h"

/* The work of one turn, in looks at one client: about 0.1 ms. */
#define TURN_COST       512u
#define TURN_SLOTS      4096u /* that may be empty */
#define COST_PLACE      8u    /* finding the place of one that is not at the end of the log */
#define COST_PARTITIONS 32u   /* so many partitions cost as much as a client */
#define COST_ENTRIES    8u    /* so many entries of a dirty list, too */
#define COST_END        4u
#define COST_DESCRIBE   16u

enum phase { IDLE = 0, SCAN, DESCRIBE };

struct place {
    uint64_t key;
    uint32_t slot;
    uint32_t generation;
};

struct tt_roster {
    struct tt_roster_request *request;
    enum phase phase;
    uint32_t next_slot;
    uint32_t cost;      /* of this turn */
    struct place *heap; /* the last of those that are kept is at the top */
    uint32_t heap_count;
    uint32_t heap_max;
    uint32_t entries_first; /* they are described from the last one on */
};

enum tt_status tt_roster_create(struct tt_shard *shard)
{
    shard->roster = calloc(1, sizeof *shard->roster);
    return shard->roster == NULL ? TT_ENOMEM : TT_OK;
}

void tt_roster_destroy(struct tt_shard *shard)
{
    if (shard->roster != NULL) free(shard->roster->heap);
    free(shard->roster);
    shard->roster = NULL;
}

/* ---- the best ones ---- */

/* a is to be shown behind b. */
static bool is_behind(const struct place *a, const struct place *b)
{
    return a->key != b->key ? a->key < b->key : a->slot > b->slot;
}

static void sink(struct tt_roster *r, uint32_t at)
{
    for (;;) {
        uint32_t last = at;
        for (uint32_t child = 2 * at + 1; child <= 2 * at + 2 && child < r->heap_count; child++)
            if (is_behind(&r->heap[child], &r->heap[last])) last = child;
        if (last == at) return;
        struct place p = r->heap[at];
        r->heap[at] = r->heap[last];
        r->heap[last] = p;
        at = last;
    }
}

static void keep(struct tt_roster *r, const struct place *place)
{
    if (r->heap_count < r->heap_max) {
        uint32_t at = r->heap_count++;
        for (; at > 0 && is_behind(place, &r->heap[(at - 1) / 2]); at = (at - 1) / 2)
            r->heap[at] = r->heap[(at - 1) / 2];
        r->heap[at] = *place;
    } else if (r->heap_count > 0 && is_behind(&r->heap[0], place)) {
        r->heap[0] = *place;
        sink(r, 0);
    }
}

static struct place take_last(struct tt_roster *r)
{
    struct place last = r->heap[0];
    r->heap[0] = r->heap[--r->heap_count];
    sink(r, 0);
    return last;
}

/* ---- a client's figures ---- */

/* Is nothing of it waiting, so that its place is the newest arrival? */
static bool is_at_end(const struct tt_client *client)
{
    if (client->catchup != NULL) return false;
    if (client->state == TT_CLIENT_CONFLATING) return tt_conflate_count(client) == 0;
    return tt_client_first_arrival(client) == 0;
}

/* Of a client: how many offsets lie between what was sent and the heads. *worst: the partition with
 * most of them. */
static uint64_t lag_of(struct tt_shard *shard, const struct tt_client *client, uint32_t *worst)
{
    uint32_t partitions = shard->world->partitions_count;
    bool full = tt_client_full(client);
    uint32_t first = full ? 0 : client->partition;
    uint32_t end = full ? partitions : client->partition + 1;
    const uint64_t *vector = shard->arrivals.next;
    uint64_t lag = 0, most = 0;
    *worst = first;
    if (client->state == TT_CLIENT_OPENING || client->state == TT_CLIENT_CLOSING) return 0;
    shard->roster->cost += (end - first) / COST_PARTITIONS;
    if (!is_at_end(client)) {
        tt_client_sent_vector(client, shard->vector);
        vector = shard->vector;
        shard->roster->cost += COST_PLACE;
        shard->roster->cost += tt_conflate_count(client) / COST_ENTRIES;
    }
    for (uint32_t p = first; p < end; p++) {
        uint64_t behind = shard->heads[p] > vector[p] ? shard->heads[p] - vector[p] : 0;
        lag += behind;
        if (behind > most) {
            most = behind;
            *worst = p;
        }
    }
    return lag;
}

static uint64_t key_of(struct tt_shard *shard, const struct tt_client *client)
{
    uint32_t worst;
    uint64_t lag;
    switch (shard->roster->request->sort) {
    case TT_ROSTER_LAG: return lag_of(shard, client, &worst);
    case TT_ROSTER_ACKED: return tt_ack_lag(client, shard->heads, &lag) ? lag + 1 : 0;
    case TT_ROSTER_OUTBOX: return client->outbox.bytes + tt_conflate_bytes(client);
    case TT_ROSTER_AGE: return UINT32_MAX - client->since_s;
    }
    TT_UNREACHABLE();
}

/* The oldest event that waits for a client that does not read the log. */
static int64_t oldest_taken_us(const struct tt_client *client)
{
    if (client->state == TT_CLIENT_CONFLATING) {
        const struct tt_conflate_list *l = &client->conflate->list;
        struct tt_conflate_entry *e = tt_conflate_list_first(l);
        for (; e != NULL; e = tt_conflate_list_next(l, e))
            if (e->frame->kind == TT_FRAME_EVENT) return e->frame->taken_us;
        return 0;
    }
    struct tt_outbox_walk walk = {0};
    struct tt_frame *f;
    while ((f = tt_outbox_walk(&client->outbox, &walk)) != NULL)
        if (f->kind == TT_FRAME_EVENT) return f->taken_us;
    return 0;
}

/* worst: where a client that reads the log is furthest behind. */
static bool age_of(struct tt_shard *shard, const struct tt_client *client, uint32_t worst,
                   uint64_t *age_ms)
{
    int64_t age_us = 0;
    bool known = true;
    if (client->state == TT_CLIENT_OPENING || client->state == TT_CLIENT_CLOSING) {
        age_us = 0;
    } else if (client->catchup != NULL) {
        tt_client_sent_vector(client, shard->vector);
        known = tt_replay_age_us(shard, worst, shard->vector[worst], &age_us);
    } else {
        int64_t taken_us = oldest_taken_us(client);
        if (taken_us != 0) age_us = shard->wall_us - taken_us;
    }
    *age_ms = age_us > 0 ? (uint64_t)age_us / 1000 : 0;
    return known;
}

static void describe_channels(const struct tt_client *client, struct tt_roster_entry *e)
{
    const struct tt_subscription *sub = client->subscription;
    if (sub == NULL) return;
    struct tt_writer w = tt_writer(e->patterns, sizeof e->patterns);
    e->channels_count = sub->count;
    for (uint32_t i = 0; i < sub->count && e->patterns_count < TT_ROSTER_PATTERNS_MAX; i++) {
        const struct tt_followed *f = tt_subscription_followed(sub, i);
        size_t bytes = f->text_bytes + (f->kind == TT_PATTERN_EXACT ? 0u : 1u);
        if (bytes > w.capacity - w.size) continue;
        tt_write(&w, f->text, f->text_bytes);
        if (f->kind != TT_PATTERN_EXACT) tt_write_char(&w, '*');
        e->pattern_bytes[e->patterns_count++] = (uint16_t)bytes;
    }
}

static void describe(struct tt_shard *shard, const struct tt_client *client, uint64_t key,
                     struct tt_roster_entry *e)
{
    const struct tt_roster_request *request = shard->roster->request;
    uint32_t worst;
    *e = (struct tt_roster_entry){
        .key = key,
        .lag = lag_of(shard, client, &worst),
        .since_s = client->since_s,
        .silent_ms = (uint32_t)(shard->now_ns / 1000000) - client->taken_ms,
        .outbox_bytes = client->outbox.bytes + tt_conflate_bytes(client),
        .outbox_frames = client->outbox.count + tt_conflate_count(client),
        .shard = shard->index,
        .state = client->state,
        .policy = client->policy,
    };
    e->lag_ms_known = age_of(shard, client, worst, &e->lag_ms);
    e->acked = tt_ack_lag(client, shard->heads, &e->acked_lag);
    if (e->acked) e->acked_ms = client->extra->acked_ms;
    /* What it was sorted by is shown as it was then: the list is in order. */
    if (request->sort == TT_ROSTER_LAG) e->lag = key;
    if (request->sort == TT_ROSTER_OUTBOX) e->outbox_bytes = (uint32_t)key;
    if (request->sort == TT_ROSTER_ACKED && e->acked && key > 0) e->acked_lag = key - 1;
    if (client->exchange.connection != NULL) e->peer = *tt_exchange_peer(&client->exchange);
    struct tt_writer session = tt_writer(e->session, sizeof e->session - 1);
    tt_session_write(client, &session);
    if (client->extra != NULL) memcpy(e->label, client->extra->label, sizeof e->label);
    describe_channels(client, e);
}

/* ---- which ones ---- */

static bool matches(const struct tt_roster_filter *f, const struct tt_client *client)
{
    if (f->by_subject) return false;
    if (f->states != 0 && (f->states & (1u << client->state)) == 0) return false;
    if (f->by_label) {
        const char *label = client->extra == NULL ? "" : client->extra->label;
        if (strcmp(label, f->label) != 0) return false;
    }
    if (!f->by_address) return true;
    if (client->exchange.connection == NULL) return false;
    const struct tt_peer *peer = tt_exchange_peer(&client->exchange);
    return peer->family == f->address.family &&
           memcmp(peer->ip, f->address.ip, sizeof peer->ip) == 0 &&
           (f->address.port == 0 || peer->port == f->address.port);
}

/* It is told to come back. One whose socket is full would not hear that before it reads again, and
 * an operator who ends it wants it gone: its connection is broken. */
static void end_client(struct tt_shard *shard, struct tt_client *client)
{
    if (client->state == TT_CLIENT_CLOSING) return;
    shard->roster->cost += COST_END;
    shard->roster->request->ended++;
    if (client->exchange.connection != NULL && tt_exchange_blocked(&client->exchange)) {
        tt_client_abort(client, TT_CLOSE_OPERATOR);
        return;
    }
    uint32_t reconnect_ms = tt_sse_jittered_ms(shard, shard->options.retry_ms);
    tt_client_finish(client, TT_CLOSE_OPERATOR, tt_sse_shutdown_frame(shard, reconnect_ms));
}

static void meet(struct tt_shard *shard, struct tt_client *client)
{
    struct tt_roster *r = shard->roster;
    r->cost++;
    r->request->total++;
    if (!matches(&r->request->filter, client)) return;
    r->request->matched++;
    if (r->request->end) {
        end_client(shard, client);
        return;
    }
    struct place place = {.key = key_of(shard, client),
                          .slot = client->slot,
                          .generation = tt_pool_generation(&shard->clients, client->slot)};
    keep(r, &place);
}

/* ---- a request ---- */

void tt_roster_message(struct tt_shard *shard, const struct tt_message *message)
{
    struct tt_message m = *message;
    struct tt_roster *r = shard->roster;
    TT_ASSERT(r->phase == IDLE);
    r->request = TT_MESSAGE_BODY(&m, tt_message_roster)->request;
    r->phase = SCAN;
    r->next_slot = 0;
    r->heap_count = r->heap_max = 0;
    uint32_t used = tt_pool_used(&shard->clients);
    uint32_t most = r->request->limit < used ? r->request->limit : used;
    if (r->request->end || most == 0) return;
    r->heap = malloc(most * sizeof *r->heap);
    if (r->heap == NULL)
        r->request->no_memory = true;
    else
        r->heap_max = most;
}

static void finish(struct tt_shard *shard)
{
    struct tt_roster *r = shard->roster;
    struct tt_message m = {.kind = TT_MESSAGE_ROSTER_DONE};
    TT_MESSAGE_BODY(&m, tt_message_roster)->request = r->request;
    free(r->heap);
    *r = (struct tt_roster){0};
    tt_peers_post(shard->world->peers, shard->index, tt_peers_control(shard->world->peers), &m);
}

static void begin_describing(struct tt_shard *shard)
{
    struct tt_roster *r = shard->roster;
    if (r->heap_count != 0)
        r->request->entries = malloc(r->heap_count * sizeof(*r->request->entries));
    if (r->heap_count != 0 && r->request->entries == NULL) {
        r->request->no_memory = true;
        r->heap_count = 0;
    }
    r->request->entries_count = r->entries_first = r->heap_count;
    r->phase = DESCRIBE;
}

static void scan(struct tt_shard *shard)
{
    struct tt_roster *r = shard->roster;
    const char *session = r->request->filter.session;
    uint32_t slots = tt_pool_slots(&shard->clients);
    if (session[0] != '\0') {
        struct tt_client *client;
        if (tt_session_find(shard, tt_bytes_text(session), &client) == TT_OK) meet(shard, client);
        begin_describing(shard);
        return;
    }
    uint32_t end = slots - r->next_slot > TURN_SLOTS ? r->next_slot + TURN_SLOTS : slots;
    while (r->cost < TURN_COST) {
        uint32_t slot = tt_pool_next_below(&shard->clients, r->next_slot, end);
        r->next_slot = slot + 1;
        if (slot == end) {
            r->next_slot = end;
            break;
        }
        meet(shard, tt_pool_at(&shard->clients, slot));
    }
    if (r->next_slot >= slots) begin_describing(shard);
}

static void describe_some(struct tt_shard *shard)
{
    struct tt_roster *r = shard->roster;
    struct tt_roster_request *request = r->request;
    for (; r->heap_count > 0 && r->cost < TURN_COST; r->cost += COST_DESCRIBE) {
        struct place place = take_last(r);
        const struct tt_client *client =
            tt_pool_find(&shard->clients, place.slot, place.generation);
        if (client != NULL)
            describe(shard, client, place.key, &request->entries[--r->entries_first]);
    }
    if (r->heap_count > 0) return;
    /* Those that have gone meanwhile left their places in front. */
    request->entries_count -= r->entries_first;
    if (r->entries_first != 0 && request->entries_count != 0)
        memmove(request->entries, request->entries + r->entries_first,
                request->entries_count * sizeof *request->entries);
    finish(shard);
}

bool tt_roster_step(struct tt_shard *shard)
{
    struct tt_roster *r = shard->roster;
    if (r->phase == IDLE) return false;
    r->cost = 0;
    tt_shard_resume_bounds(shard);
    if (r->phase == SCAN) scan(shard);
    if (r->phase == DESCRIBE && r->cost < TURN_COST) describe_some(shard);
    return r->phase != IDLE;
}
