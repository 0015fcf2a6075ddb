/* POST /subscribe: changes the channels of a live stream, which is named by its session.
 *
 * The request may arrive at any shard. It is read there, lent to the shard of the session by a
 * SUBSCRIBE message, carried out (client/change.h), and given back by SUBSCRIBED: always, also when
 * its publisher is gone; then it is only freed. At most TT_SUBSCRIBE_OPEN_MAX are open for each
 * pair of shards, the others wait in order. Source: broker/API.md, "Changing a stream".
 * Thread: owner shard. Memory: the request's own, at most TT_SUBSCRIBE_BODY_BYTES_MAX for the body
 * and as much again for what it says. */
#ifndef TT_SHARD_HTTP_SUBSCRIBE_H
#define TT_SHARD_HTTP_SUBSCRIBE_H

#include "shard/conn/exchange.h"
#include "shard/messages.h"

struct tt_shard;
struct tt_subscribes;
struct tt_subscribe_call;

TT_MUST_USE enum tt_status tt_subscribes_create(struct tt_shard *shard);
void tt_subscribes_destroy(struct tt_shard *shard); /* everything must be answered */

/* Request handler; context: the struct tt_shard. */
struct tt_exchange *tt_subscribe_handle(void *context, const struct tt_request *request);
/* SUBSCRIBE, SUBSCRIBED. */
void tt_subscribes_message(struct tt_shard *shard, const struct tt_message *message);
/* No request of this shard is with another. */
bool tt_subscribes_idle(const struct tt_shard *shard);

#endif
