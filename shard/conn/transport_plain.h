/* The transport without TLS: the bytes of the socket are the bytes of the protocol.
 *
 * It keeps a receive armed while the protocol wants input, and has at most one send under way.
 * Sends never stay in flight (shard/io/io.h), so what an exchange offered is needed until the next
 * submit only. A full socket is waited for by a poll, and the stall timer runs until the peer takes
 * a byte. Private to shard/conn. Thread: the engine's. */
#ifndef TT_SHARD_CONN_TRANSPORT_PLAIN_H
#define TT_SHARD_CONN_TRANSPORT_PLAIN_H

#include "shard/conn/connection.h"

/* Arms or pauses the receive, as the protocol wants input or not. */
void tt_plain_receive(struct tt_connection *c);
/* Queues one send of what there is. False: there was nothing. */
bool tt_plain_flush(struct tt_connection *c);

/* Completions of the socket's operations. */
void tt_plain_received(struct tt_connection *c, const struct tt_done *done);
void tt_plain_sent(struct tt_connection *c, const struct tt_done *done);
void tt_plain_writable(struct tt_connection *c, const struct tt_done *done);

#endif
