/* Requests about a live stream, which a session names: carried to the stream's shard and back.
 *
 * Such a request may arrive at any shard. Its body is read there; then it is lent to the shard of
 * the session by a SESSION_CALL message, carried out on the stream's client, and given back by
 * SESSION_CALLED: always, also when its sender is gone; then it is only freed. At most
 * TT_SESSION_CALL_OPEN_MAX are open for each pair of shards, the others wait in order. What kind of
 * request it is (subscribe.c, ack.c) says a table of functions. Source: broker/API.md, "Changing a
 * stream". Thread: owner shard. Memory: the request's own, at most its kind's `body_bytes_max` for
 * the body and what the kind makes of it. */
#ifndef TT_SHARD_HTTP_SESSION_CALL_H
#define TT_SHARD_HTTP_SESSION_CALL_H

#include "proto/base/list.h"
#include "shard/conn/exchange.h"
#include "shard/messages.h"

struct tt_shard;
struct tt_client;
struct tt_session_calls;
struct tt_session_call;

struct tt_session_kind {
    const char *name;
    uint32_t body_bytes_max;
    const char *too_large; /* the message of 413 */
    const char *missing;   /* the message of 400 for a body without a session, and its code */
    const char *missing_code;
    size_t size; /* of the kind's own object, whose first member is the call */
    /* The body is complete: reads it, then refuses or sends. Where it came in. */
    void (*parse)(struct tt_session_call *call);
    /* Carries it out and says how it went by tt_session_call_result(). On the session's shard. */
    void (*run)(struct tt_session_call *call, struct tt_shard *shard, struct tt_client *client);
    /* It went well (status 200): answers the exchange. Where it came in. */
    void (*answer)(struct tt_session_call *call);
    void (*release)(struct tt_session_call *call); /* the kind's own memory; may be null */
};

/* One request, from its head to its answer. */
struct tt_session_call {
    struct tt_exchange exchange;
    const struct tt_session_kind *kind;
    struct tt_shard *shard; /* where it came in */
    struct tt_node node;
    bool lent;    /* waiting, or with the session's shard */
    bool orphan;  /* its connection is gone: freed when it is given back */
    bool refused; /* it was answered already: the rest of its body is dropped */
    uint8_t *body;
    size_t body_bytes;
    struct tt_bytes session; /* in memory of the kind's */
    unsigned status;         /* of HTTP */
    const char *code;
    const char *message; /* a clause that follows `session "...": `, or with `whole` all of it */
    bool whole;
};

TT_MUST_USE enum tt_status tt_session_calls_create(struct tt_shard *shard);
void tt_session_calls_destroy(struct tt_shard *shard); /* everything must be answered */
/* SESSION_CALL, SESSION_CALLED. */
void tt_session_calls_message(struct tt_shard *shard, const struct tt_message *message);
/* No request of this shard is with another. */
bool tt_session_calls_idle(const struct tt_shard *shard);

/* ---- for the kinds ---- */
/* A new request: the exchange for its handler to return. */
struct tt_exchange *tt_session_call_handle(const struct tt_session_kind *kind,
                                           struct tt_shard *shard,
                                           const struct tt_request *request);
/* Answers it with an error before it was sent anywhere. */
void tt_session_call_refuse(struct tt_session_call *call, unsigned status, const char *code,
                            const char *format, ...) TT_PRINTF(4, 5);
/* Finds the member `session` of the body, which is known to be an object, and decodes it behind
 * what `text` holds. False: it was refused. */
TT_MUST_USE bool tt_session_call_read(struct tt_session_call *call, struct tt_writer *text);
/* On its way to the session's shard (or refused: it cannot be a session). */
void tt_session_call_send(struct tt_session_call *call);
/* code and message: static, or the kind's own; not looked at with 200. */
void tt_session_call_result(struct tt_session_call *call, unsigned status, const char *code,
                            const char *message);

#endif
