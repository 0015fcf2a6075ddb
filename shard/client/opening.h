/* How a stream is opened: from the request to the client's first frame.
 *
 * GET and POST /sse (synonyms /events, /events/stream). The client is in OPENING while it waits:
 * for its body (POST), for its admission (admission.h), for the places at which it starts
 * (from=<ms>: since.h). Nothing of the answer is sent before all of that is known, so every refusal
 * is a plain answer with its own status. Source: broker/API.md, "Following".
 * Thread: owner shard. Memory: struct tt_opening, from the request to the first frame. */
#ifndef TT_SHARD_CLIENT_OPENING_H
#define TT_SHARD_CLIENT_OPENING_H

#include "shard/client/client.h"

/* Request handler; context: the struct tt_shard. */
struct tt_exchange *tt_opening_handle(void *context, const struct tt_request *request);
/* The answer of admission.c to a client that waited for it. */
void tt_opening_admitted(struct tt_client *client, bool admitted);

#endif
