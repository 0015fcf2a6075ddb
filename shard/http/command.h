/* POST /command: one JSON object from a page or a service to whoever follows the channel
 * "commands" (broker/API.md, "Commands"). Published as everything else is: the answer, its errors
 * and bounds are those of POST /publish with one envelope. Thread: owner shard. */
#ifndef TT_SHARD_HTTP_COMMAND_H
#define TT_SHARD_HTTP_COMMAND_H

#include "shard/conn/exchange.h"

/* A tt_request_handler for POST; context: the struct tt_shard. */
struct tt_exchange *tt_command_handle(void *context, const struct tt_request *request);

#endif
