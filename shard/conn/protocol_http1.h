/* HTTP/1.0 and 1.1 on the server's side: requests out of bytes, and who answers them.
 *
 * One request at a time: what a client pipelines waits in the input buffer until the answer before
 * it was sent; when a head's worth of it has gathered, receiving pauses. A head or body that comes
 * whole is parsed where it was received; only what is incomplete is copied. After an error of
 * framing nothing more is read as a request (RFC 9112 section 11.2): the answer says
 * Connection: close, our side is shut down, and what still comes is dropped for a while, because
 * closing a socket with unread input makes the system throw the answer away.
 * Private to shard/conn. Thread: the engine's. */
#ifndef TT_SHARD_CONN_PROTOCOL_HTTP1_H
#define TT_SHARD_CONN_PROTOCOL_HTTP1_H

#include "shard/conn/connection.h"

/* Bytes came; borrowed for the call. */
void tt_http1_received(struct tt_connection *c, struct tt_bytes bytes);
/* The peer will send no more; looked at again whenever what it sent before was consumed. */
void tt_http1_peer_ended(struct tt_connection *c);
/* Whether more input is of use now (to be read as a request, or to be dropped). */
bool tt_http1_wants_input(const struct tt_connection *c);
/* The exchange takes body bytes again: goes on with those that were kept. */
void tt_http1_resume(struct tt_connection *c);
/* The answer is complete and sent: the exchange ends, the next request may come. */
void tt_http1_answered(struct tt_connection *c);
/* One of the waits for the peer's bytes took too long. */
void tt_http1_timeout(struct tt_connection *c, enum tt_connection_wait wait);

#endif
