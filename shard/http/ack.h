/* POST /ack: how far a client has really come, told by itself for its live stream.
 *
 * The broker knows what a client's socket has taken; what was read, handled and kept only the
 * client knows. The last acknowledgement is kept with it, as one sum: 24 bytes whatever the number
 * of partitions, and only for clients that acknowledge. How the request reaches the stream's shard
 * stands in session_call.h. Source: broker/API.md, "Acknowledging". Thread: owner shard. */
#ifndef TT_SHARD_HTTP_ACK_H
#define TT_SHARD_HTTP_ACK_H

#include <stdbool.h>
#include <stdint.h>

#include "shard/conn/exchange.h"

struct tt_client;

/* Request handler; context: the struct tt_shard. */
struct tt_exchange *tt_ack_handle(void *context, const struct tt_request *request);

/* How many offsets lie between what the client has acknowledged and the heads of the partitions
 * that it can touch (heads[p]: next offsets). False: it has not acknowledged, or not since it
 * follows more partitions. */
bool tt_ack_lag(const struct tt_client *client, const uint64_t *heads, uint64_t *lag);

#endif
