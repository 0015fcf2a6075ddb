#include "broker/operations.h"

#include <stdio.h>
#include <stdlib.h>

#include "broker/clients.h"
#include "broker/metrics.h"
#include "broker/process.h"
#include "broker/status.h"
#include "shard/http/assets.h"
#include "shard/http/routes.h"

#define OPERATION       2u  /* of completion tokens; the acceptor's is 1 */
#define CONNECTIONS_MAX 64u /* operators and scrapers, not clients */
#define ROUTES          9u

struct tt_operations {
    struct tt_io *io;
    struct tt_diag *diag;
    const struct tt_operations_view *view;
    struct tt_connections *connections;
    struct tt_address address;
    tt_socket listener;
    bool begun, starved;
    uint8_t *text; /* of one answer */
    size_t text_bytes;
    struct tt_clients *clients;
    struct tt_route table[ROUTES];
    struct tt_routes routes;
};

bool tt_operations_ready(const struct tt_operations_view *view)
{
    for (unsigned i = 0; i < TT_READINESS_DEGRADED_FIRST; i++)
        if (view->since_ms[i] != 0) return false;
    return true;
}

bool tt_operations_degraded(const struct tt_operations_view *view)
{
    for (unsigned i = TT_READINESS_DEGRADED_FIRST; i < TT_READINESS_REASONS; i++)
        if (view->since_ms[i] != 0) return true;
    return false;
}

/* ---- answers ---- */

static struct tt_exchange *reply(const struct tt_request *request, unsigned status,
                                 const char *content_type, const struct tt_writer *w)
{
    static const struct tt_header fresh = {"Cache-Control", {(const uint8_t *)"no-store", 8}};
    const struct tt_response response = {.status = status,
                                         .content_type = content_type,
                                         .content_length = (int64_t)w->size,
                                         .headers = &fresh,
                                         .headers_count = 1};
    return tt_reply(request, &response, tt_writer_bytes(w));
}

static struct tt_exchange *healthz(void *context, const struct tt_request *request)
{
    struct tt_operations *o = context;
    struct tt_writer w = tt_writer(o->text, o->text_bytes);
    tt_write_text(&w, "{\"alive\":true}\n");
    return reply(request, 200, "application/json", &w);
}

static struct tt_exchange *readyz(void *context, const struct tt_request *request)
{
    struct tt_operations *o = context;
    struct tt_writer w = tt_writer(o->text, o->text_bytes);
    tt_status_write_readiness(&w, o->view);
    return reply(request, tt_operations_ready(o->view) ? 200 : 503, "application/json", &w);
}

static struct tt_exchange *status(void *context, const struct tt_request *request)
{
    struct tt_operations *o = context;
    struct tt_writer w = tt_writer(o->text, o->text_bytes);
    tt_status_write(&w, o->view);
    return reply(request, 200, "application/json", &w);
}

static struct tt_exchange *metrics(void *context, const struct tt_request *request)
{
    struct tt_operations *o = context;
    struct tt_writer w = tt_writer(o->text, o->text_bytes);
    tt_metrics_write(&w, o->view);
    return reply(request, 200, "text/plain; version=0.0.4; charset=utf-8", &w);
}

/* ---- life ---- */

static void gone(void *context, const struct tt_peer *peer, enum tt_close_reason reason)
{
    struct tt_operations *o = context;
    tt_diag_write(o->diag, TT_DIAG_DEBUG, peer, "operations_closed", "%s",
                  tt_close_reason_text(reason));
}

static void log_line(void *context, const struct tt_peer *peer, const char *code,
                     const char *message)
{
    struct tt_operations *o = context;
    tt_diag_write(o->diag, TT_DIAG_INFO, peer, code, "operations: %s", message);
}

static enum tt_status serve(struct tt_operations *o, struct tt_timers *timers)
{
    const struct tt_connections_options options = {
        .connections_max = CONNECTIONS_MAX,
        .head_bytes_max = 16u << 10,
        .headers_max = 64,
        .body_bytes_max = 0,
        .header_timeout_ms = 10000,
        .body_timeout_ms = 10000,
        .keepalive_ms = 60000,
        .stall_ms = 30000,
        .prefix = "",
        .cors = NULL,
    };
    const struct tt_connections_hooks hooks = {.context = o,
                                               .handler = tt_routes_handle,
                                               .handler_context = &o->routes,
                                               .gone = gone,
                                               .log = log_line};
    return tt_connections_create(&o->connections, o->io, timers, &options, &hooks);
}

static struct tt_exchange *dashboard(void *context, const struct tt_request *request)
{
    (void)context;
    return tt_assets_reply(request, TT_BYTES_LITERAL("dashboard/"));
}

static void make_routes(struct tt_operations *o)
{
    static char up[] = "../";
    const struct tt_route rows[] = {
        {.path = "/healthz", .methods = TT_ROUTE_GET, .handler = healthz, .context = o},
        {.path = "/readyz", .methods = TT_ROUTE_GET, .handler = readyz, .context = o},
        {.path = "/status", .methods = TT_ROUTE_GET, .handler = status, .context = o},
        {.path = "/metrics", .methods = TT_ROUTE_GET, .handler = metrics, .context = o},
        {.path = "/clients",
         .methods = TT_ROUTE_GET,
         .handler = tt_clients_list,
         .context = o->clients},
        {.path = "/clients",
         .methods = TT_ROUTE_DELETE,
         .handler = tt_clients_end,
         .context = o->clients},
        {.path = "/", .methods = TT_ROUTE_GET, .handler = dashboard},
        {.path = "/dashboard/",
         .methods = TT_ROUTE_GET,
         .handler = tt_assets_redirect,
         .context = up},
        {.path = "/dashboard/",
         .methods = TT_ROUTE_GET,
         .below = true,
         .handler = tt_assets_handle},
    };
    _Static_assert(sizeof rows / sizeof rows[0] <= ROUTES, "there is room for all of them");
    memcpy(o->table, rows, sizeof rows);
    o->routes = (struct tt_routes){o->table, sizeof rows / sizeof rows[0]};
}

/* Of the longest answer. */
static size_t text_bytes(uint32_t partitions)
{
    size_t metrics_bytes = tt_metrics_bytes_max(TT_SHARDS_MAX, partitions);
    size_t status_bytes = tt_status_bytes_max(TT_SHARDS_MAX, partitions);
    return metrics_bytes > status_bytes ? metrics_bytes : status_bytes;
}

enum tt_status tt_operations_create(struct tt_operations **operations, struct tt_io *io,
                                    struct tt_timers *timers, const struct tt_operations_view *view,
                                    struct tt_diag *diag, char error[TT_CONFIG_ERROR_MAX])
{
    const struct tt_config *config = view->config;
    struct tt_operations *o = calloc(1, sizeof(*o));
    size_t bytes = text_bytes(0);
    uint8_t *text = malloc(bytes);
    struct tt_clients *clients = NULL;
    if (o == NULL || text == NULL || tt_clients_create(&clients, &view->world, diag) != TT_OK) {
        free(o);
        free(text);
        snprintf(error, TT_CONFIG_ERROR_MAX, "no memory");
        return TT_ENOMEM;
    }
    o->io = io;
    o->diag = diag;
    o->view = view;
    o->text = text;
    o->clients = clients;
    o->text_bytes = bytes;
    o->listener = TT_SOCKET_NONE;
    o->address = config->ops_listen;
    make_routes(o);

    const struct tt_listen_options options = {.backlog = 128, .no_delay = true, .keepalive = true};
    char address[TT_ADDRESS_TEXT_MAX];
    tt_address_text(&o->address, address);
    enum tt_status outcome = tt_process_listen(io, &o->address, &options, &o->listener);
    if (outcome != TT_OK)
        snprintf(error, TT_CONFIG_ERROR_MAX, "--ops-listen=%s: cannot listen: %s", address,
                 outcome == TT_EBUSY ? "the address is in use" : tt_status_text(outcome));
    else if ((outcome = serve(o, timers)) != TT_OK)
        snprintf(error, TT_CONFIG_ERROR_MAX, "operations listener: %s", tt_status_text(outcome));
    if (outcome != TT_OK)
        tt_operations_destroy(&o);
    else
        *operations = o;
    return outcome;
}

void tt_operations_destroy(struct tt_operations **operations)
{
    struct tt_operations *o = *operations;
    if (o == NULL) return;
    if (o->listener != TT_SOCKET_NONE) tt_io_accept_stop(o->io, o->listener);
    if (o->connections != NULL) tt_connections_destroy(&o->connections);
    tt_clients_destroy(&o->clients);
    free(o->text);
    free(o);
    *operations = NULL;
}

const struct tt_address *tt_operations_address(const struct tt_operations *operations)
{
    return &operations->address;
}

void tt_operations_start(struct tt_operations *operations)
{
    if (operations->begun && !operations->starved) return;
    operations->begun = true;
    operations->starved = false;
    tt_io_accept(operations->io, operations->listener, tt_token(OPERATION, 0, 0));
}

enum tt_status tt_operations_world_begins(struct tt_operations *operations)
{
    size_t bytes = text_bytes(operations->view->world->partitions_count);
    uint8_t *text = realloc(operations->text, bytes);
    if (text == NULL) return TT_ENOMEM;
    operations->text = text;
    operations->text_bytes = bytes;
    return TT_OK;
}

void tt_operations_world_ends(struct tt_operations *operations)
{
    tt_clients_world_ends(operations->clients);
}

bool tt_operations_done(struct tt_operations *operations, const struct tt_done *done)
{
    if (tt_connections_done(operations->connections, done)) return true;
    if (tt_token_operation(done->token) != OPERATION) return false;
    if (done->result >= 0) {
        struct tt_handoff handoff = tt_io_handoff(operations->io, done->result);
        tt_connections_adopt(operations->connections, &handoff);
    }
    if ((done->flags & TT_DONE_MORE) == 0 && done->result != TT_ECANCELED)
        operations->starved = true; /* the next tick tries again */
    return true;
}

bool tt_operations_flush(struct tt_operations *operations)
{
    (void)tt_connections_flush(operations->connections, TT_IO_SENDS_PER_SUBMIT);
    return tt_connections_ready(operations->connections);
}

void tt_operations_roster_done(struct tt_operations *operations)
{
    tt_clients_answered(operations->clients);
}

void tt_operations_tick(struct tt_operations *operations)
{
    if (operations->starved) tt_operations_start(operations);
}
