/* One subscriber: what it follows, how far it has come, what waits for it.
 *
 * A client is an exchange (the first member), lives in the shard's pool, and is named by slot and
 * generation. While LIVE its position is a place in the shard's arrivals, so it keeps no offsets;
 * while it catches up, struct tt_catchup holds a position for each partition. Which bytes it gets
 * is its `form`: the wire form of sse_frame.h, and whether ids are narrow or full. Thread: owner
 * shard. Memory: see the assertion at the end; the rest is counted where it lives. */
#ifndef TT_SHARD_CLIENT_CLIENT_H
#define TT_SHARD_CLIENT_CLIENT_H

#include "shard/client/outbox.h"
#include "shard/client/state.h"
#include "shard/conn/exchange.h"
#include "shard/fanout/subscriptions.h"
#include "shard/replay/resume.h"
#include "shard/timers.h"

struct tt_shard;
struct tt_catchup;
struct tt_conflate;
struct tt_event;
struct tt_lag;

#define TT_FORM_FULL TT_SSE_FORMS        /* this bit: ids are full cursors */
#define TT_FORMS     (2u * TT_SSE_FORMS) /* frames that one event may need on a shard */

/* What only some clients have, and what all have only while they open. */
struct tt_client_extra {
    /* POST /ack (http/ack.h): the sum of the next offsets that it says it has come to, over what
     * was its `partition` then. */
    uint64_t acked_sum;
    int64_t acked_ms; /* unix time of the last one; 0: none */
    uint32_t acked_partition;
    uint32_t types_count;
    uint32_t types_bytes;
    char label[TT_SUBSCRIBE_LABEL_BYTES_MAX + 1];
    uint8_t *types;     /* length byte, text, ... */
    struct tt_lag *lag; /* lag.c; null: no max_lag */
};

struct tt_client {
    struct tt_exchange exchange;
    struct tt_shard *shard;
    struct tt_subscription *subscription;
    struct tt_catchup *catchup;    /* while it catches up, else null */
    struct tt_client_extra *extra; /* null: no types, no label */
    struct tt_opening *opening;    /* opening.c's, while OPENING */
    struct tt_conflate *conflate;  /* while it conflates (conflate.h), else null */
    struct tt_outbox outbox;
    struct tt_timer timer; /* heartbeat */
    uint64_t address_key;  /* admission.c: the counter of its address */
    uint64_t id_place;     /* the arrival up to which ids were given */
    uint32_t slot;
    uint32_t partition; /* narrow: the only one it touches; else TT_PARTITION_ALL */
    uint32_t heartbeat_ms;
    uint32_t taken_ms;  /* low bits of the shard's clock when bytes were last taken */
    uint32_t admission; /* flags of admission.h: what has to be released */
    uint8_t state;      /* enum tt_client_state */
    uint8_t policy;     /* enum tt_subscribe_policy */
    uint8_t form;
    uint8_t reason; /* enum tt_close_reason, in CLOSING */
    bool ping_event;
    bool started;     /* the answer's head is out */
    uint32_t since_s; /* unix time at which it came */
};
_Static_assert(sizeof(struct tt_client) <= 256, "the budget of an idle client");

static inline struct tt_client *tt_client_of(struct tt_exchange *x)
{
    return (struct tt_client *)x;
}
static inline bool tt_client_full(const struct tt_client *c)
{
    return c->partition == TT_PARTITION_ALL;
}

/* A client in OPENING, in the shard's pool; null when the pool is full. */
struct tt_client *tt_client_create(struct tt_shard *shard);
/* Frees it and all it holds. The exchange must be closed. */
void tt_client_destroy(struct tt_client *client);

/* Moves by the table and does what goes with the move. `reason` counts for TT_CLIENT_ENDED. */
void tt_client_move(struct tt_client *client, enum tt_client_event event,
                    enum tt_close_reason reason);

/* The client starts: its subscription is registered, resume tells where. Queues `connected` and
 * what must be told, and goes LIVE, CATCHUP or SNAPSHOT. */
void tt_client_begin(struct tt_client *client, const struct tt_resume *resume, const uint64_t *pos,
                     const struct tt_subscribe *subscribe);

/* Does the client want events of this type? */
bool tt_client_wants(const struct tt_client *client, struct tt_bytes type);
/* Puts a frame (one reference goes over) into the outbox and applies the bound; the client may be
 * demoted or closing afterwards. */
void tt_client_queue(struct tt_client *client, struct tt_frame *frame);
/* The number of the first event in the outbox of which no byte was taken; 0: none. */
uint64_t tt_client_first_arrival(const struct tt_client *client);
/* Ends it in good order: the partly sent frame is finished, `last` (may be null; one reference goes
 * over) is sent, then the stream ends without its last chunk. */
void tt_client_finish(struct tt_client *client, enum tt_close_reason reason, struct tt_frame *last);
/* Breaks its connection at once. */
void tt_client_abort(struct tt_client *client, enum tt_close_reason reason);

/* Writes the cursor that says: everything below vector[p] was sent. Narrow: of its partition alone.
 */
void tt_client_write_cursor(const struct tt_client *client, const uint64_t *vector,
                            struct tt_writer *w);
/* The vector of what was sent or is queued: everything before it comes before what is queued now.
 */
void tt_client_queued_vector(const struct tt_client *client, uint64_t *vector);
/* The vector of what was sent: no id that it was given is beyond. Not while completions are
 * handled. */
void tt_client_sent_vector(const struct tt_client *client, uint64_t *vector);

#endif
