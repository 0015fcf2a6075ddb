/* The threads of the process and how they reach each other: a mailbox for each ordered pair, a
 * parked flag and an io to wake for each thread.
 *
 * Threads 0 .. shards-1 are shards, thread `shards` is the control thread. Posting never fails: the
 * capacity of each mailbox is the sum of everything that may be open (messages.h). Posts become
 * visible and doorbells are rung by tt_peers_ring(): an owner calls it right after it has published
 * events, and every thread at its turn's end. Parking: parked = 1; seq_cst
 * fence; look at mailboxes and heads once more; wait. A poster: publish; seq_cst fence; wake
 * whoever is parked. Memory: created before the threads start, destroyed after they have ended. */
#ifndef TT_SHARD_PEERS_H
#define TT_SHARD_PEERS_H

#include "shard/io/io.h"
#include "shard/mailbox.h"

struct tt_peers;

TT_MUST_USE enum tt_status tt_peers_create(struct tt_peers **p, uint32_t shards);
void tt_peers_destroy(struct tt_peers **p);
uint32_t tt_peers_shards(const struct tt_peers *p);
uint32_t tt_peers_control(const struct tt_peers *p); /* the control thread's number */

/* Makes the thread reachable; before the first wake can be needed. Thread: `self`. */
void tt_peers_join(struct tt_peers *p, uint32_t self, struct tt_io *io);
/* Copies the message into the box from `self` to `to`; from is filled in. Posting to oneself works.
 */
void tt_peers_post(struct tt_peers *p, uint32_t self, uint32_t to,
                   const struct tt_message *message);
/* Publishes posts and wakes parked receivers of them. With `everyone`: wakes every parked shard
 * (new events were published). */
void tt_peers_ring(struct tt_peers *p, uint32_t self, bool everyone);
/* Wakes one thread if it is parked (space for an owner that waits). */
void tt_peers_wake(struct tt_peers *p, uint32_t self, uint32_t to);
/* Takes at most `max` messages, rotating over the senders. */
unsigned tt_peers_take(struct tt_peers *p, uint32_t self, struct tt_message *messages,
                       unsigned max);
bool tt_peers_waiting(const struct tt_peers *p, uint32_t self); /* a message waits for self */

/* Sets the parked flag with its fence; the caller then looks once more at everything that could
 * wake it, and if nothing is there waits in tt_io_submit(). */
void tt_peers_park(struct tt_peers *p, uint32_t self);
/* Clears it, with the fence that the reuse of tail chunks relies on. */
void tt_peers_unpark(struct tt_peers *p, uint32_t self);

#endif
