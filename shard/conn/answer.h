/* Answers into bytes, for HTTP/1: heads, whole bodies, errors; pulling and taking.
 *
 * Implements the functions of exchange.h that answerers call. A whole answer (an error, a small
 * JSON) is encoded at once into the connection's own output, and its exchange, if any, is not asked
 * any more; a stream is pulled behind its head. Private to shard/conn. Thread: the engine's. */
#ifndef TT_SHARD_CONN_ANSWER_H
#define TT_SHARD_CONN_ANSWER_H

#include "shard/conn/connection.h"

/* Fills slices with what is to be sent now: own bytes first, then what the exchange offers. Returns
 * their number; 0: nothing now. An END or ABORT of the exchange is acted upon, and an answer that
 * is complete and sent ends (tt_http1_answered). With max 1 it only asks whether there is
 * something. */
unsigned tt_answer_slices(struct tt_connection *c, struct tt_slice *slices, unsigned max);
/* Everything of ours was taken: what follows, the exchange is asked for when it says it is ready.
 */
bool tt_answer_pulls(const struct tt_connection *c);
/* So many bytes of the last slices were taken by the socket. */
void tt_answer_taken(struct tt_connection *c, size_t bytes);

/* An error that the protocol answers itself; the connection ends behind it. */
void tt_answer_error(struct tt_connection *c, unsigned status, enum tt_close_reason reason,
                     const char *format, ...) TT_PRINTF(4, 5);
/* 100 (Continue). */
void tt_answer_continue(struct tt_connection *c);
/* The code of an error that has no more special one: 404 is "not_found". */
const char *tt_answer_code(unsigned status);

#endif
