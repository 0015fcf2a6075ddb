#include "broker/clients.h"

#include <stdlib.h>

#include "broker/clients_query.h"
#include "broker/clients_text.h"
#include "proto/base/assert.h"
#include "proto/base/list.h"
#include "shard/diag.h"
#include "shard/messages.h"
#include "shard/peers.h"

/* One question, from its head to the last byte of its answer. */
struct call {
    struct tt_exchange exchange;
    struct tt_clients *clients;
    struct tt_node node; /* while it waits */
    struct tt_roster_request request;
    uint8_t *text; /* of the answer, while it is sent */
    size_t text_bytes;
    size_t sent_bytes;
};

struct tt_clients {
    const struct tt_world *const *world;
    struct tt_diag *diag;
    uint32_t calls; /* waiting, running, or being sent */
    struct tt_list waiting;
    bool running;
    struct call *caller;             /* of the one that runs; null: it has gone */
    struct tt_roster_request *parts; /* lent to the shards while one runs */
    uint32_t open;                   /* shards that have not answered */
};

enum tt_status tt_clients_create(struct tt_clients **clients, const struct tt_world *const *world,
                                 struct tt_diag *diag)
{
    struct tt_clients *c = calloc(1, sizeof *c);
    if (c == NULL) return TT_ENOMEM;
    c->world = world;
    c->diag = diag;
    tt_list_init(&c->waiting);
    *clients = c;
    return TT_OK;
}

static void free_parts(struct tt_clients *c)
{
    if (c->parts != NULL)
        for (uint32_t i = 0; i < (*c->world)->shards_count; i++) free(c->parts[i].entries);
    free(c->parts);
    c->parts = NULL;
}

void tt_clients_destroy(struct tt_clients **clients)
{
    struct tt_clients *c = *clients;
    if (c == NULL) return;
    TT_ASSERT(c->calls == 0);
    free_parts(c);
    free(c);
    *clients = NULL;
}

/* ---- asking ---- */

static void fail(struct call *call, const char *why)
{
    tt_exchange_fail(&call->exchange, 503, "unavailable", 1, "clients: %s", why);
}

/* False: there is no memory. */
static bool run(struct tt_clients *c, struct call *call)
{
    const struct tt_world *world = *c->world;
    c->parts = calloc(world->shards_count, sizeof *c->parts);
    if (c->parts == NULL) return false;
    c->running = true;
    c->caller = call;
    c->open = world->shards_count;
    for (uint32_t i = 0; i < world->shards_count; i++) {
        c->parts[i] = call->request;
        struct tt_message m = {.kind = TT_MESSAGE_ROSTER};
        TT_MESSAGE_BODY(&m, tt_message_roster)->request = &c->parts[i];
        tt_peers_post(world->peers, tt_peers_control(world->peers), i, &m);
    }
    return true;
}

static void run_next(struct tt_clients *c)
{
    struct tt_node *node;
    while (!c->running && (node = tt_list_take_first(&c->waiting)) != NULL) {
        struct call *call = TT_CONTAINER_OF(node, struct call, node);
        if (!run(c, call)) fail(call, "out of memory");
    }
}

/* ---- answering ---- */

/* Whoever looks for the reason later finds it in the log. */
static void note_end(const struct tt_clients *c, const struct call *call)
{
    uint64_t ended = 0;
    if (!call->request.end) return;
    for (uint32_t i = 0; i < (*c->world)->shards_count; i++) ended += c->parts[i].ended;
    tt_diag_write(c->diag, TT_DIAG_INFO, tt_exchange_peer(&call->exchange), "clients_ended",
                  "DELETE /clients ended %llu clients", (unsigned long long)ended);
}

static void answer(struct tt_clients *c, struct call *call)
{
    static const struct tt_header fresh = {"Cache-Control", {(const uint8_t *)"no-store", 8}};
    note_end(c, call);
    struct tt_writer text = tt_clients_text(c->parts, (*c->world)->shards_count);
    if (text.data == NULL) {
        fail(call, "out of memory");
        return;
    }
    call->text = text.data;
    call->text_bytes = text.size;
    const struct tt_response response = {.status = 200,
                                         .content_type = "application/json",
                                         .content_length = (int64_t)text.size,
                                         .headers = &fresh,
                                         .headers_count = 1};
    tt_exchange_start(&call->exchange, &response);
    tt_exchange_ready(&call->exchange);
}

void tt_clients_answered(struct tt_clients *c)
{
    TT_ASSERT(c->running && c->open > 0);
    if (--c->open != 0) return;
    c->running = false;
    if (c->caller != NULL) answer(c, c->caller);
    c->caller = NULL;
    free_parts(c);
    run_next(c);
}

void tt_clients_world_ends(struct tt_clients *c)
{
    struct tt_node *node;
    if (c->caller != NULL) fail(c->caller, "the shards start anew");
    while ((node = tt_list_take_first(&c->waiting)) != NULL)
        fail(TT_CONTAINER_OF(node, struct call, node), "the shards start anew");
    c->caller = NULL;
    c->running = false;
    c->open = 0;
    free_parts(c);
}

static enum tt_pull call_pull(struct tt_exchange *x, size_t budget, struct tt_slice *slices,
                              unsigned slices_max, unsigned *count)
{
    struct call *call = (struct call *)x;
    size_t left = call->text_bytes - call->sent_bytes;
    if (left == 0) return TT_PULL_END;
    TT_ASSERT(slices_max > 0);
    slices[0] = (struct tt_slice){call->text + call->sent_bytes, left < budget ? left : budget};
    *count = 1;
    return TT_PULL_DATA;
}

static void call_taken(struct tt_exchange *x, size_t bytes)
{
    struct call *call = (struct call *)x;
    call->sent_bytes += bytes;
    TT_ASSERT(call->sent_bytes <= call->text_bytes);
    tt_exchange_ready(x);
}

static void call_closed(struct tt_exchange *x, enum tt_close_reason reason)
{
    (void)reason;
    struct call *call = (struct call *)x;
    struct tt_clients *c = call->clients;
    if (tt_node_linked(&call->node)) tt_list_remove(&call->node);
    if (c->caller == call) c->caller = NULL;
    c->calls--;
    free(call->text);
    free(call);
}

static const struct tt_exchange_ops call_ops = {
    .name = "clients", .pull = call_pull, .taken = call_taken, .closed = call_closed};

/* ---- requests ---- */

static struct tt_exchange *ask(struct tt_clients *c, const struct tt_request *request, bool end)
{
    struct tt_roster_request wanted;
    char message[TT_CLIENTS_MESSAGE_MAX];
    if (*c->world == NULL)
        return tt_reply_error(request, 503, "unavailable", 1, "clients: no shard runs at present");
    if (tt_clients_query(request->query, end, &wanted, message) != TT_OK)
        return tt_reply_error(request, 400, "invalid_parameter", 0, "%s", message);
    if (c->calls == TT_CLIENTS_CALLS_MAX)
        return tt_reply_error(request, 503, "busy", 1,
                              "clients: %u questions are under way already; try again later",
                              TT_CLIENTS_CALLS_MAX);
    struct call *call = calloc(1, sizeof *call);
    if (call == NULL) return tt_reply_error(request, 503, "unavailable", 1, "clients: no memory");
    call->exchange.ops = &call_ops;
    call->clients = c;
    call->request = wanted;
    if (c->running) {
        tt_list_append(&c->waiting, &call->node);
    } else if (!run(c, call)) {
        free(call);
        return tt_reply_error(request, 503, "unavailable", 1, "clients: no memory");
    }
    c->calls++;
    return &call->exchange;
}

struct tt_exchange *tt_clients_list(void *context, const struct tt_request *request)
{
    return ask(context, request, false);
}

struct tt_exchange *tt_clients_end(void *context, const struct tt_request *request)
{
    return ask(context, request, true);
}
