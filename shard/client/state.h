/* The delivery states of a client and the one function that moves between them.
 *
 *   state    | event on its channel         | when writable               | leaves by
 *   ---------+------------------------------+-----------------------------+------------------------
 *   OPENING  | ignored                      | nothing                     | ADMITTED_LIVE: LIVE
 *            |                              |                             | ADMITTED_BEHIND:
 * CATCHUP |                              |                             | ADMITTED_SNAPSHOT: | | |
 * SNAPSHOT SNAPSHOT | ignored: it reads them later | what was looked up, without | SNAPSHOT_END:
 * CATCHUP |                              | an id                       | from the snapshot's place
 *   CATCHUP  | by partition: reading        | what was read from the log, | JOINED: LIVE
 *            | ignores, ahead suppresses    | with a private id           | OVER_BOUND: reads again
 *            | below pos, joined queues     |                             | SUBSCRIBED: reads again
 *            |                              |                             | SUBSCRIBED_SNAPSHOT:
 *            |                              |                             | SNAPSHOT
 *   LIVE     | queued                       | shared frames               | OVER_BOUND, RING_EDGE:
 *            |                              |                             | CATCHUP at its place
 *            |                              |                             | SUBSCRIBED: CATCHUP
 *            |                              |                             | SUBSCRIBED_SNAPSHOT:
 *            |                              |                             | SNAPSHOT
 *   CLOSING  | ignored                      | the partly sent frame, the  | nothing: the connection
 *            |                              | last message, then the end  | frees it
 *
 * From every state ENDED leads to CLOSING; with policy `disconnect` OVER_BOUND and RING_EDGE do,
 * too. The function is pure: it says what the next state is, or that the event cannot happen there,
 * which is a bug and asserted. What goes with a transition is done in client.c. Thread: any. */
#ifndef TT_SHARD_CLIENT_STATE_H
#define TT_SHARD_CLIENT_STATE_H

#include "proto/wire/subscribe.h"

enum tt_client_state {
    TT_CLIENT_OPENING = 0,
    TT_CLIENT_SNAPSHOT,
    TT_CLIENT_CATCHUP,
    TT_CLIENT_LIVE,
    TT_CLIENT_CLOSING,
    TT_CLIENT_STATES,
};

enum tt_client_event {
    TT_CLIENT_ADMITTED_LIVE = 0, /* every partition at R */
    TT_CLIENT_ADMITTED_BEHIND,
    TT_CLIENT_ADMITTED_SNAPSHOT,   /* it starts with values, or with the last events */
    TT_CLIENT_SNAPSHOT_END,        /* all of them were taken */
    TT_CLIENT_JOINED,              /* all partitions joined and the outbox empty at a turn's end */
    TT_CLIENT_OVER_BOUND,          /* outbox or shard-wide frame bytes */
    TT_CLIENT_RING_EDGE,           /* its place would leave the arrivals ring */
    TT_CLIENT_SUBSCRIBED,          /* its channels were changed */
    TT_CLIENT_SUBSCRIBED_SNAPSHOT, /* the same, and those added begin with their history */
    TT_CLIENT_ENDED,               /* peer, error, drain, cap, operator */
    TT_CLIENT_EVENTS,
};

/* The next state; TT_CLIENT_STATES: the event cannot happen in this state. */
enum tt_client_state tt_client_next(enum tt_client_state state, enum tt_client_event event,
                                    enum tt_subscribe_policy policy);

#endif
