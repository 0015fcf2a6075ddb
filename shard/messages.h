/* What threads say to each other: the kinds of mailbox messages and their bodies.
 *
 * A message is 64 bytes and copied. A pointer in one lends or returns an object whose owner is
 * written beside it; the poster's writes are visible to the receiver. Every request is answered by
 * exactly one message, also when the client it was for is gone. Capacities (peers.c) are sums over
 * this table:
 *
 *   - HANDOFF: control -> shard, at most TT_HANDOFF_CREDITS open; each returned by HANDOFF_TAKEN
 *   - PUBLISH: shard -> owner, at most TT_PUBLISH_OPEN_MAX open a pair; answered by PUBLISHED
 *   - SEGMENT: owner -> every shard, at most TT_SEGMENT_CREDITS open; returned by SEGMENT_TAKEN
 *   - ADMIT, RELEASE: shard -> home shard, at most TT_ADMIT_OPEN_MAX, TT_RELEASE_OPEN_MAX open a
 *     pair; answered by ADMITTED, RELEASED
 *   - LOOKUP: shard -> owner, at most TT_LOOKUP_OPEN_MAX open a pair; answered by LOOKUP_DONE
 *   - SESSION_CALL: shard -> shard of a session, at most TT_SESSION_CALL_OPEN_MAX open a pair;
 *     answered by SESSION_CALLED
 *   - CUT: shard -> every shard, at most one open a pair; returned by CUT_TAKEN
 *   - ROSTER: control -> shard, at most one open; given back by ROSTER_DONE
 *   - FEED: control -> shard, at most one open; returned by FEED_TAKEN (what changed meanwhile is
 *     posted then)
 *   - DRAIN, STOP, RELOAD, EXIT: control -> shard, one of each open
 *
 * Thread: see each. */
#ifndef TT_SHARD_MESSAGES_H
#define TT_SHARD_MESSAGES_H

#include "shard/conn/exchange.h"
#include "shard/mailbox.h"

enum tt_message_kind {
    TT_MESSAGE_HANDOFF = 1,
    TT_MESSAGE_HANDOFF_TAKEN,
    TT_MESSAGE_PUBLISH,
    TT_MESSAGE_PUBLISHED,
    TT_MESSAGE_SEGMENT,
    TT_MESSAGE_SEGMENT_TAKEN,
    TT_MESSAGE_ADMIT,
    TT_MESSAGE_ADMITTED,
    TT_MESSAGE_RELEASE,
    TT_MESSAGE_RELEASED,
    TT_MESSAGE_CUT,
    TT_MESSAGE_CUT_TAKEN,
    TT_MESSAGE_LOOKUP,
    TT_MESSAGE_LOOKUP_DONE,
    TT_MESSAGE_SESSION_CALL,
    TT_MESSAGE_SESSION_CALLED,
    TT_MESSAGE_ROSTER, /* control -> shard: list clients, or end them */
    TT_MESSAGE_ROSTER_DONE,
    TT_MESSAGE_FEED, /* control -> shard: the source's events are stale, or live again */
    TT_MESSAGE_FEED_TAKEN,
    TT_MESSAGE_DRAIN,   /* control -> shard: end the clients, paced, within drain_ms */
    TT_MESSAGE_DRAINED, /* shard -> control: no connection is left */
    TT_MESSAGE_STOP,    /* control -> shard: end connections, close the logs cleanly */
    TT_MESSAGE_STOPPED, /* shard -> control: the logs are closed */
    TT_MESSAGE_EXIT,    /* control -> shard, when all have stopped: end the thread */
    TT_MESSAGE_RELOAD,  /* control -> shard: new immutable settings */
    TT_MESSAGE_RELOADED,
    TT_MESSAGE_STARTED, /* shard -> control: serving (or body.started.status: why not) */
};

#define TT_HANDOFF_CREDITS       256u
#define TT_PUBLISH_OPEN_MAX      128u
#define TT_SEGMENT_CREDITS       16u
#define TT_ADMIT_OPEN_MAX        64u
#define TT_RELEASE_OPEN_MAX      64u
#define TT_SESSION_CALL_OPEN_MAX 32u
#define TT_LOOKUP_OPEN_MAX       32u
/* The sums. Between shards, each direction: my requests, and the replies that I owe. */
#define TT_MAILBOX_SHARD_MESSAGES                                                                  \
    (2u * (TT_PUBLISH_OPEN_MAX + TT_SEGMENT_CREDITS + TT_ADMIT_OPEN_MAX + TT_RELEASE_OPEN_MAX +    \
           TT_LOOKUP_OPEN_MAX + TT_SESSION_CALL_OPEN_MAX + 1u))
/* Control to shard: hand-overs, and one each of roster, feed, drain, stop, reload, exit. */
#define TT_MAILBOX_TO_SHARD_MESSAGES (TT_HANDOFF_CREDITS + 8u)
/* Shard to control: hand-overs returned, and started, roster done, feed taken, drained, stopped,
 * reloaded. */
#define TT_MAILBOX_TO_CONTROL_MESSAGES (TT_HANDOFF_CREDITS + 8u)

/* Bodies lie in an array of bytes: without this the compiler may take a store through a body for
 * unrelated to the copy of the message that follows it (gcc 12 at -O2 warned of exactly that). */
#define TT_MESSAGE_ALIAS __attribute__((may_alias))

struct tt_message_handoff {
    int32_t reference;
    struct tt_peer peer;
} TT_MESSAGE_ALIAS;

struct tt_message_publish {
    struct tt_publish_request *request; /* lent to the owner by PUBLISH, given back by PUBLISHED */
} TT_MESSAGE_ALIAS;

struct tt_message_lookup {
    struct tt_lookup_request *request; /* lent to the owner by LOOKUP, given back by LOOKUP_DONE */
} TT_MESSAGE_ALIAS;

struct tt_message_session_call {
    struct tt_session_call *call; /* lent by SESSION_CALL, given back by SESSION_CALLED */
} TT_MESSAGE_ALIAS;

struct tt_message_segment {
    uint32_t partition;
    uint32_t event; /* enum tt_log_segment_event */
    uint64_t first_offset;
    uint64_t base_place;
    uint64_t end_place;
    int64_t taken_max_us; /* of a sealed one: newest of its records and all before */
    bool indexed;         /* ADDED, at start-up: its index file is complete */
} TT_MESSAGE_ALIAS;

struct tt_message_admit {
    uint64_t key;  /* what is counted: a keyed hash of the address, 0: all clients */
    uint32_t slot; /* the client on the asking shard */
    uint32_t generation;
    uint32_t limit;
    bool admitted; /* in ADMITTED */
} TT_MESSAGE_ALIAS;

struct tt_message_cut {
    struct tt_peer peer;
    bool every;          /* every stream of the address, else: */
    uint64_t label_hash; /* those with this label, by the log's key */
} TT_MESSAGE_ALIAS;

struct tt_message_roster {
    struct tt_roster_request *request; /* lent by ROSTER, given back by ROSTER_DONE */
} TT_MESSAGE_ALIAS;

struct tt_message_feed {
    int64_t since_ms;  /* unix time of the change */
    const char *cause; /* stale: why, plain text, lives until the process ends; else null */
    bool stale;
} TT_MESSAGE_ALIAS;

struct tt_message_drain {
    uint32_t drain_ms;
} TT_MESSAGE_ALIAS;

struct tt_message_reload {
    const struct tt_cors *cors; /* lives until the process ends */
} TT_MESSAGE_ALIAS;

struct tt_message_started {
    int32_t status; /* enum tt_status */
} TT_MESSAGE_ALIAS;

/* The body of a struct tt_message (56 bytes) as one of the above. */
#define TT_MESSAGE_BODY(message, type) ((struct type *)(void *)(message)->body)

#endif
