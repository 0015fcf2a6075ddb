#include "shard/http/routes.h"

#include "proto/wire/http1_parse.h"
#include "shard/conn/connections.h"

#define LIST_BYTES_MAX 64u

/* What a page may send beside the fields that every page may: the union of what any path reads. */
#define ALLOWED_FIELDS "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, Cache-Control"

static bool is_exactly(const struct tt_route *route, struct tt_bytes path)
{
    return !route->below && tt_bytes_equal(path, tt_bytes_text(route->path));
}

/* A path with rows of its own is not also one of those below another: with /demo/cut for POST,
 * GET /demo/cut is 405, not a file that does not exist. */
static bool path_matches(const struct tt_routes *routes, uint32_t index, struct tt_bytes path)
{
    const struct tt_route *route = &routes->routes[index];

    if (!route->below) return is_exactly(route, path);
    if (!tt_bytes_starts(path, tt_bytes_text(route->path))) return false;
    for (uint32_t i = 0; i < routes->count; i++) {
        if (is_exactly(&routes->routes[i], path)) return false;
    }
    return true;
}

/* The methods of all rows of a path; 0: there is no such path. */
static uint32_t methods_of(const struct tt_routes *routes, struct tt_bytes path)
{
    uint32_t methods = 0;

    for (uint32_t i = 0; i < routes->count; i++) {
        if (path_matches(routes, i, path)) methods |= routes->routes[i].methods;
    }
    return methods;
}

static struct tt_bytes write_methods(char text[LIST_BYTES_MAX], uint32_t methods)
{
    struct tt_writer w = tt_writer(text, LIST_BYTES_MAX);

    if ((methods & TT_ROUTE_GET) != 0) tt_write_text(&w, "GET, HEAD, ");
    if ((methods & TT_ROUTE_POST) != 0) tt_write_text(&w, "POST, ");
    if ((methods & TT_ROUTE_DELETE) != 0) tt_write_text(&w, "DELETE, ");
    tt_write_text(&w, "OPTIONS");
    return tt_writer_bytes(&w);
}

/* RFC 9110 section 9.3.7; and the preflight (WHATWG Fetch, CORS-preflight fetch), to which the
 * protocol adds whether the origin is allowed. */
static struct tt_exchange *answer_options(const struct tt_request *request, uint32_t methods)
{
    char text[LIST_BYTES_MAX];
    struct tt_bytes list = write_methods(text, methods);
    struct tt_header headers[] = {
        {"Allow", list},
        {"Access-Control-Allow-Methods", list},
        {"Access-Control-Allow-Headers", TT_BYTES_LITERAL(ALLOWED_FIELDS)},
        {"Access-Control-Max-Age", TT_BYTES_LITERAL("600")},
    };
    bool preflight = request->head->known[TT_HTTP1_ORIGIN].data != NULL &&
                     request->head->known[TT_HTTP1_ACCESS_CONTROL_REQUEST_METHOD].data != NULL &&
                     tt_request_origin_allowed(request);
    struct tt_response response = {
        .status = 204,
        .headers = headers,
        .headers_count = preflight ? 4 : 1,
    };

    return tt_reply(request, &response, TT_BYTES_NONE);
}

static struct tt_exchange *refuse_method(const struct tt_request *request, uint32_t methods)
{
    char text[LIST_BYTES_MAX];
    struct tt_header allow = {"Allow", write_methods(text, methods)};
    struct tt_bytes method = request->head->method_text;

    return tt_reply_error_with(request, 405, "method_not_allowed", &allow,
                               "method: %.*s is not allowed here; allowed are %.*s",
                               (int)method.size, (const char *)method.data, (int)allow.value.size,
                               (const char *)allow.value.data);
}

static uint32_t method_bit(const struct tt_http1_head *head)
{
    switch (head->method) {
    case TT_HTTP1_GET:
    case TT_HTTP1_HEAD: return TT_ROUTE_GET;
    case TT_HTTP1_POST: return TT_ROUTE_POST;
    case TT_HTTP1_DELETE: return TT_ROUTE_DELETE;
    case TT_HTTP1_PUT:
    case TT_HTTP1_OPTIONS:
    case TT_HTTP1_PATCH:
    case TT_HTTP1_TRACE: break;
    }
    return 0;
}

static struct tt_exchange *answer_by(const struct tt_route *route, const struct tt_request *request,
                                     uint32_t method)
{
    struct tt_bytes origin = request->head->known[TT_HTTP1_ORIGIN];

    if (method != TT_ROUTE_GET && !tt_request_origin_allowed(request)) {
        return tt_reply_error(request, 403, "origin_not_allowed", 0,
                              "Origin: %.*s is not allowed to change anything here; allowed are "
                              "the server's own pages and the origins of --allow-origin",
                              (int)(origin.size < 200 ? origin.size : 200),
                              (const char *)origin.data);
    }
    if (route->body_required && !request->has_body) {
        return tt_reply_error(request, 411, "length_required", 0,
                              "body: is missing; send one with Content-Length or "
                              "Transfer-Encoding: chunked");
    }
    return route->handler(route->context, request);
}

struct tt_exchange *tt_routes_handle(void *context, const struct tt_request *request)
{
    const struct tt_routes *routes = context;
    uint32_t method = method_bit(request->head);
    uint32_t methods;

    if (request->head->method == TT_HTTP1_OPTIONS && tt_bytes_is(request->path, "*")) {
        return answer_options(request, TT_ROUTE_GET | TT_ROUTE_POST);
    }
    methods = methods_of(routes, request->path);
    if (methods == 0) {
        return tt_reply_error(request, 404, "not_found", 0, "path: %.*s does not exist",
                              (int)(request->path.size < 200 ? request->path.size : 200),
                              (const char *)request->path.data);
    }
    if (request->head->method == TT_HTTP1_OPTIONS) return answer_options(request, methods);
    for (uint32_t i = 0; i < routes->count; i++) {
        const struct tt_route *route = &routes->routes[i];
        if ((route->methods & method) != 0 && path_matches(routes, i, request->path)) {
            return answer_by(route, request, method);
        }
    }
    return refuse_method(request, methods);
}
