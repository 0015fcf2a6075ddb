/* /clients on the operations listener: who follows, by lag; and the end of some of them.
 *
 * The control thread has no client and touches no shard's data: it asks every shard by a ROSTER
 * message (shard/roster.h), one question at a time, and merges what comes back. Questions wait for
 * their turn in order; more than TT_CLIENTS_CALLS_MAX that wait, run, or are still being sent to
 * their operator get 503. One whose operator has gone is dropped if it waits; if it runs, it is
 * forgotten when the shards have answered. Source: broker/API.md, "Clients". Thread: control.
 * Memory: for each question at most TT_ROSTER_CLIENTS_MAX entries a shard until they are merged,
 * and the text of one answer until it is sent. */
#ifndef TT_BROKER_CLIENTS_H
#define TT_BROKER_CLIENTS_H

#include "shard/conn/exchange.h"
#include "shard/shard.h"

#define TT_CLIENTS_CALLS_MAX 8u

struct tt_clients;

/* world: where the world will be found, once it runs. diag: for a line that says whom an operator
 * has ended. TT_OK, TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_clients_create(struct tt_clients **clients,
                                             const struct tt_world *const *world,
                                             struct tt_diag *diag);
/* After the connections of its exchanges were ended, and every shard's thread. */
void tt_clients_destroy(struct tt_clients **clients);

/* Request handlers; context: the struct tt_clients. */
struct tt_exchange *tt_clients_list(void *context, const struct tt_request *request);
struct tt_exchange *tt_clients_end(void *context, const struct tt_request *request);
/* A shard has answered (ROSTER_DONE). */
void tt_clients_answered(struct tt_clients *clients);
/* The shards' threads have ended and their world is about to go: whoever still asks gets 503. */
void tt_clients_world_ends(struct tt_clients *clients);

#endif
