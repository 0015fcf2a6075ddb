/* clang-format off */
/* The delivery states of a client and the one function that moves between them.
 *
 *   state      | event on its channel         | when writable              | leaves by
 *   -----------+------------------------------+----------------------------+-------------------------------
 *   OPENING    | ignored                      | nothing                    | ADMITTED_LIVE: LIVE
 *              |                              |                            |   (max_rate: CONFLATING)
 *              |                              |                            | ADMITTED_BEHIND: CATCHUP
 *              |                              |                            | ADMITTED_SNAPSHOT: SNAPSHOT
 *   SNAPSHOT   | ignored: it reads them later | what was looked up,        | SNAPSHOT_END: CATCHUP from the
 *              |                              | without an id              |   snapshot's place
 *   CATCHUP    | by partition: reading        | what was read from the     | JOINED: LIVE
 *              | ignores, ahead suppresses    | log, with a private id;    |   (max_rate: CONFLATING)
 *              | below pos, joined queues     | conflate: the dirty list's | OVER_BOUND: reads again
 *              | (conflate: into the dirty    | head                       | HOLE (conflate): SNAPSHOT
 *              | list)                        |                            | SUBSCRIBED: reads again
 *              |                              |                            | SUBSCRIBED_SNAPSHOT: SNAPSHOT
 *   LIVE       | queued                       | shared frames              | OVER_BOUND: CATCHUP at its place
 *              |                              |                            |   (conflate: CONFLATING, what
 *              |                              |                            |   was not taken is its list)
 *              |                              |                            | RING_EDGE: CATCHUP at its place
 *              |                              |                            | SUBSCRIBED: CATCHUP
 *              |                              |                            | SUBSCRIBED_SNAPSHOT: SNAPSHOT
 *   CONFLATING | replaces its channel's entry | the dirty list's head;     | DRAINED (conflate): LIVE
 *              | in the dirty list and stands | max_rate: only what the    | OVER_BOUND, RING_EDGE: CATCHUP
 *              | at its end; never-conflate:  | tick has let go            |   at its place
 *              | seals it and is appended     |                            | SUBSCRIBED: CATCHUP
 *              |                              |                            | SUBSCRIBED_SNAPSHOT: SNAPSHOT
 *   CLOSING    | ignored                      | the partly sent frame, the | nothing: the connection frees
 *              |                              | last message, then the end |   it
 *
 * From CATCHUP, LIVE and CONFLATING LAGGING leads to SNAPSHOT (lag.h). From every state ENDED leads to CLOSING;
 * with policy `disconnect` OVER_BOUND and RING_EDGE do, too. The function is pure: it says what the
 * next state is, or that the event cannot happen there, which is a bug and asserted. What goes with
 * a transition is done in client.c. Thread: any. */
/* clang-format on */
#ifndef TT_SHARD_CLIENT_STATE_H
#define TT_SHARD_CLIENT_STATE_H

#include "proto/wire/subscribe.h"

enum tt_client_state {
    TT_CLIENT_OPENING = 0,
    TT_CLIENT_SNAPSHOT,
    TT_CLIENT_CATCHUP,
    TT_CLIENT_LIVE,
    TT_CLIENT_CONFLATING,
    TT_CLIENT_CLOSING,
    TT_CLIENT_STATES,
};

enum tt_client_event {
    TT_CLIENT_ADMITTED_LIVE = 0, /* every partition at R */
    TT_CLIENT_ADMITTED_BEHIND,
    TT_CLIENT_ADMITTED_SNAPSHOT, /* it starts with values, or with the last events */
    TT_CLIENT_SNAPSHOT_END,      /* all of them were taken */
    TT_CLIENT_JOINED,            /* all partitions joined and nothing queued at a turn's end */
    TT_CLIENT_OVER_BOUND,        /* its outbox, or its dirty list */
    TT_CLIENT_RING_EDGE,         /* its place would leave the arrivals ring, or the shard wants the
                                  * memory of its frames back */
    TT_CLIENT_DRAINED,           /* nothing is left in its dirty list */
    TT_CLIENT_HOLE,              /* a conflating client has come to a hole in the log */
    TT_CLIENT_SUBSCRIBED,        /* its channels were changed */
    TT_CLIENT_SUBSCRIBED_SNAPSHOT, /* the same, and those added begin with their history */
    TT_CLIENT_LAGGING,             /* its oldest untaken event is older than its max_lag */
    TT_CLIENT_ENDED,               /* peer, error, drain, cap, operator */
    TT_CLIENT_EVENTS,
};

/* The next state; TT_CLIENT_STATES: the event cannot happen in this state, or with this policy. */
enum tt_client_state tt_client_next(enum tt_client_state state, enum tt_client_event event,
                                    enum tt_subscribe_policy policy);

#endif
