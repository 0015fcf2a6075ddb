/* POST /subscribe: changes the channels of a live stream, which is named by its session.
 *
 * How the request reaches the stream's shard stands in session_call.h, what is changed there in
 * client/change.h. Source: broker/API.md, "Changing a stream". Thread: owner shard. Memory: the
 * request's own, at most TT_SUBSCRIBE_BODY_BYTES_MAX for the body and as much again for what it
 * says. */
#ifndef TT_SHARD_HTTP_SUBSCRIBE_H
#define TT_SHARD_HTTP_SUBSCRIBE_H

#include "shard/conn/exchange.h"

/* Request handler; context: the struct tt_shard. */
struct tt_exchange *tt_subscribe_handle(void *context, const struct tt_request *request);

#endif
