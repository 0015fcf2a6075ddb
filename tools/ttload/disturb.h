/* Clients that misbehave: slow ones stop reading, read in bursts or trickle; others are cut off,
 * also in the middle of an event, and come back with their cursor.
 *
 * All of it happens from the end of the warm-up until publishing has ended; then everybody reads
 * and stays, so that what is still missing can come. Times are kept to about 5 ms. Thread: the
 * engine's.
 */
#ifndef TT_TOOLS_TTLOAD_DISTURB_H
#define TT_TOOLS_TTLOAD_DISTURB_H

#include "tools/ttload/client.h"

/* Does what is due with the special clients. */
void tt_disturb_look(struct tt_engine *e, struct tt_io *io);
/* The client has become live. */
void tt_disturb_connected(struct tt_engine *e, struct tt_engine_client *c);
/* Bytes have come for a live client. Returns how many of them it still gets: all, or fewer where it
 * is cut inside of them: the caller cuts it when it has taken these. */
size_t tt_disturb_received(struct tt_engine *e, struct tt_io *io, struct tt_engine_client *c,
                           size_t bytes);
void tt_disturb_cut(struct tt_engine *e, struct tt_io *io, struct tt_engine_client *c);

/* Receiving, as the client's phase wants it. */
void tt_disturb_read(struct tt_engine *e, struct tt_io *io, struct tt_engine_client *c);

#endif
