/* POST /publish: one envelope, an array of them, or lines of NDJSON, from a request's body into the
 * log (broker/API.md, "Publishing").
 *
 * A whole body (one envelope or an array) is kept until its events are accepted; nothing of it is
 * sent to the log before all of it was found valid. NDJSON is a stream: lines go to the log in
 * batches as they come, one batch under way and one being filled, so a stream of any length takes
 * the memory of two batches, and what was taken when an error comes is a prefix of the lines (of
 * each partition's). While both are busy no input is taken: the publisher is slowed down to what
 * the log can take.
 *
 * The memory of all bodies of one shard is bounded (publish_bytes); beyond it: 503.
 * Thread: owner shard. */
#ifndef TT_SHARD_HTTP_PUBLISH_H
#define TT_SHARD_HTTP_PUBLISH_H

#include "shard/conn/exchange.h"

/* A tt_request_handler for POST; context: the struct tt_shard. */
struct tt_exchange *tt_publish_handle(void *context, const struct tt_request *request);

#endif
