/* Accepts connections on every listener and hands each to the shard with the fewest.
 *
 * Never reads or writes a byte of a client. A shard has TT_HANDOFF_CREDITS connections on their way
 * at most; what comes faster waits here, in order, up to a bound; beyond it connections get 503.
 * When the process has no descriptor left, accepting stops and is tried again: connections wait in
 * the kernel's backlog. Socket options are set on the listeners, accepted sockets inherit them.
 * Thread: control. */
#ifndef TT_BROKER_ACCEPTOR_H
#define TT_BROKER_ACCEPTOR_H

#include "broker/config.h"
#include "shard/diag.h"
#include "shard/shard.h"

#define TT_ACCEPTOR_OPERATION 1u /* of completion tokens */
/* Connections that wait for a shard, each on a descriptor: half of those that the process may have
 * (the log needs some), but at least the first, and at most the
 * second; over it: 503. A crowd that comes at once fits, a shard needs longer for its requests than
 * accepting does. */
#define TT_ACCEPTOR_WAITING_MIN 4096u
#define TT_ACCEPTOR_WAITING     65536u

struct tt_acceptor;

struct tt_acceptor_figures {
    uint64_t accepted;
    uint64_t refused;  /* nobody could take them: 503 */
    uint64_t over_cap; /* handed over only to be told that the broker is full */
    uint64_t starved;  /* times that no descriptor was left */
    uint32_t waiting;  /* accepted, not handed over yet */
};

/* Binds every address; nothing is accepted yet. On failure *error holds one line. TT_OK; TT_EBUSY;
 * others of tt_io_listen(). */
TT_MUST_USE enum tt_status tt_acceptor_create(struct tt_acceptor **acceptor, struct tt_io *io,
                                              const struct tt_config *config, struct tt_diag *diag,
                                              char error[TT_CONFIG_ERROR_MAX]);
void tt_acceptor_destroy(struct tt_acceptor **acceptor);
/* The address with the port that was chosen. */
const struct tt_address *tt_acceptor_address(const struct tt_acceptor *acceptor, uint32_t index);

/* Begins, or goes on with other shards. connections_max: of all shards together; beyond it
 * connections are handed over as over_cap. world: borrowed, its shards run. */
void tt_acceptor_start(struct tt_acceptor *acceptor, const struct tt_world *world,
                       uint64_t connections_max);
/* Handles a completion; false: not its token. */
bool tt_acceptor_done(struct tt_acceptor *acceptor, const struct tt_done *done, uint64_t now_ns);
/* The shard has taken (or refused) a connection: TT_MESSAGE_HANDOFF_TAKEN. */
void tt_acceptor_taken(struct tt_acceptor *acceptor, uint32_t shard);
/* Tries again what failed for want of descriptors; about every 100 ms. */
void tt_acceptor_tick(struct tt_acceptor *acceptor, uint64_t now_ns);
/* The shards are about to end and others will come: what is accepted from now on waits for
 * tt_acceptor_start(). Shards still give back what they were handed. */
void tt_acceptor_pause(struct tt_acceptor *acceptor);
/* Closes the listeners. What waits is refused with 503; what is with the shards stays there. */
void tt_acceptor_stop(struct tt_acceptor *acceptor);
struct tt_acceptor_figures tt_acceptor_figures(const struct tt_acceptor *acceptor);

#endif
