/* The files that are embedded in the broker (tools/web), with entity tags.
 *
 * Thread: the engine's. Memory: none; the files are static. */
#ifndef TT_SHARD_HTTP_ASSETS_H
#define TT_SHARD_HTTP_ASSETS_H

#include "shard/conn/exchange.h"

/* Answers with the embedded file of that path below tools/web ("demo/index.html"): 200, 304 when
 * If-None-Match names its tag, or 404. A path that is empty or ends in '/' stands for index.html in
 * it. */
struct tt_exchange *tt_assets_reply(const struct tt_request *request, struct tt_bytes path);

/* A tt_request_handler that serves the file named by the request's path without its first '/':
 * /demo/board.js is demo/board.js. context is not used. */
struct tt_exchange *tt_assets_handle(void *context, const struct tt_request *request);

/* A tt_request_handler that answers 302 to the path in `context` (a const char *, with the prefix:
 * "/demo/"). */
struct tt_exchange *tt_assets_redirect(void *context, const struct tt_request *request);

#endif
