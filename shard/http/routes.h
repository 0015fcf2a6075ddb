/* Which path and method is answered by whom; and the answers that need no answerer: 404, 405 with
 * Allow, 411, OPTIONS (the preflight of CORS included), and 403 for a browser's request that would
 * change something and comes from a page of an origin that is not allowed.
 *
 * A table is plain data, made once for a thread: several rows may have one path. HEAD is handled by
 * the row of GET; the protocol leaves the body away. Use tt_routes_handle as the handler of the
 * connection engine with the table as its context. Thread: the engine's. Memory: the caller's. */
#ifndef TT_SHARD_HTTP_ROUTES_H
#define TT_SHARD_HTTP_ROUTES_H

#include "shard/conn/exchange.h"

enum tt_route_methods {
    TT_ROUTE_GET = 1, /* HEAD too */
    TT_ROUTE_POST = 2,
    TT_ROUTE_DELETE = 4,
};

struct tt_route {
    const char *path;   /* "/publish"; matched whole, byte for byte, behind http.prefix */
    uint32_t methods;   /* enum tt_route_methods */
    bool below;         /* also every path that continues it: "/demo/" matches "/demo/app.js" */
    bool body_required; /* without Content-Length or chunks: 411 */
    tt_request_handler *handler;
    void *context;
};

struct tt_routes {
    const struct tt_route *routes; /* the first row that matches path and method is taken */
    uint32_t count;
};

/* A tt_request_handler; context: struct tt_routes. */
struct tt_exchange *tt_routes_handle(void *context, const struct tt_request *request);

#endif
