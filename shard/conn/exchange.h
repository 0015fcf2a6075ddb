/* The seam between a protocol (HTTP/1 now, HTTP/2 later) and whoever answers a request.
 *
 * An exchange is one request and its answer. A live SSE client is one kind, POST /publish another,
 * an embedded file another. The protocol owns the connection and the framing of the wire; the
 * answerer owns the exchange object and what is said. Data is pulled: the protocol asks for bytes
 * when the socket can take them, so a peer that does not read costs what its exchange keeps,
 * nothing more.
 *
 *   protocol -> answerer   handler(request) -> exchange, then ops->body, pull, taken, closed
 *   answerer -> protocol   tt_exchange_start, tt_exchange_ready, tt_exchange_resume_body
 *
 * Order: handler; body* (the last with end); pull/taken after tt_exchange_start(); closed exactly
 * once, last. Upward calls never call back down before they return: they only note and link.
 * Thread: the thread of the connection engine (owner shard, or control thread). */
#ifndef TT_SHARD_CONN_EXCHANGE_H
#define TT_SHARD_CONN_EXCHANGE_H

#include "proto/base/bytes.h"
#include "shard/close_reason.h"
#include "shard/io/io.h"

struct tt_connection;
struct tt_connections;
struct tt_exchange;
struct tt_http1_head; /* proto/wire/http1_parse.h */

/* A peer's address, compact enough for an idle connection. */
struct tt_peer {
    uint8_t family; /* enum tt_address_family */
    uint16_t port;
    uint8_t ip[16];
};

enum tt_pull {
    TT_PULL_DATA,      /* slices were filled */
    TT_PULL_IDLE,      /* nothing now; tt_exchange_ready() when there is */
    TT_PULL_WAIT_DISK, /* the same, for metrics: waits for a read */
    TT_PULL_END,       /* the answer is complete (chunked: the protocol sends the last chunk) */
    TT_PULL_ABORT, /* end without the mark of completeness (chunked: no last chunk), then close */
};

struct tt_exchange_ops {
    const char *name;
    /* Bytes of the request's body, borrowed for the call; `end`: these are the last (may come with
     * no bytes). Returns how many were taken; fewer than offered is back-pressure: the rest is
     * offered again (same end) after tt_exchange_resume_body(). A request without a body gets one
     * call with no bytes and end. Null: the body is read and dropped. */
    size_t (*body)(struct tt_exchange *x, struct tt_bytes bytes, bool end);
    /* Offers about `budget` bytes (a frame is never split for it: at least one slice is offered) in
     * at most `slices_max` slices; the bytes are borrowed and stay valid until taken() or the end
     * of the turn. Pulling again without taken() offers the same bytes again. */
    enum tt_pull (*pull)(struct tt_exchange *x, size_t budget, struct tt_slice *slices,
                         unsigned slices_max, unsigned *count);
    /* The first `bytes` of what the last pull offered were taken by the socket (0 < bytes). If
     * there is more to pull, or the end to be said, the exchange calls tt_exchange_ready() here. */
    void (*taken)(struct tt_exchange *x, size_t bytes);
    /* The last call: the protocol forgets the exchange, which may free itself. Null is not allowed.
     */
    void (*closed)(struct tt_exchange *x, enum tt_close_reason reason);
};

/* The first member of every answerer's own object. */
struct tt_exchange {
    const struct tt_exchange_ops *ops;
    struct tt_connection *connection; /* set by the protocol; null after closed */
    bool
        chunked; /* set by tt_exchange_start for a body without length: pulled bytes carry their own
                  * chunk framing (HTTP/1.1). False: only the inside of frames (HTTP/1.0, HTTP/2) */
};

/* What a handler is given; everything is borrowed for the call of the handler. */
struct tt_request {
    struct tt_connection *connection;
    const struct tt_http1_head *head; /* method, target, headers */
    struct tt_bytes path;             /* percent-decoded, without the configured prefix */
    struct tt_bytes query;            /* raw, behind the '?' */
    struct tt_peer peer;
    bool has_body;
    int64_t content_length; /* -1: chunked, or none */
};

/* Answers a request: returns the exchange (never null; tt_reply_* for plain answers). A HEAD
 * request is handled like GET; the protocol leaves the body away and calls closed(). */
typedef struct tt_exchange *tt_request_handler(void *context, const struct tt_request *request);

struct tt_header {
    const char *name;
    struct tt_bytes value;
};

/* The head of an answer. Borrowed for the call. */
struct tt_response {
    unsigned status;
    const char *content_type;        /* null: none */
    int64_t content_length;          /* -1: a stream whose end is not known */
    const struct tt_header *headers; /* besides Content-Type, -Length, Date, Connection and CORS */
    unsigned headers_count;
    bool close; /* the connection is not used again */
};

/* Encodes the head; it is sent before the first pulled byte (also without any). Once for an
 * exchange. The answer may start before the request's body has been read whole: the rest is then
 * read and dropped within limits, or the connection closes after the answer. */
void tt_exchange_start(struct tt_exchange *x, const struct tt_response *response);
/* There is something to pull (or END/ABORT to say). Cheap; may be called again and again. */
void tt_exchange_ready(struct tt_exchange *x);
/* A send of what was pulled last is under way: its slices must stay, in order, until taken(). */
bool tt_exchange_sends(const struct tt_exchange *x);
/* Takes body bytes again. */
void tt_exchange_resume_body(struct tt_exchange *x);
/* The peer's address; valid while the exchange has a connection. */
const struct tt_peer *tt_exchange_peer(const struct tt_exchange *x);
void tt_peer_text(const struct tt_peer *peer, char text[TT_ADDRESS_TEXT_MAX]);

/* ---- plain answers: the whole body is known now ---- */
/* response->content_length is set from the body. */
/* An exchange that answers with a copy of `body`. It frees itself. */
struct tt_exchange *tt_reply(const struct tt_request *request, const struct tt_response *response,
                             struct tt_bytes body);
/* The same with a body that lives as long as the process (embedded files). */
struct tt_exchange *tt_reply_static(const struct tt_request *request,
                                    const struct tt_response *response, struct tt_bytes body);
/* {"error":{"code":...,"message":...}} as broker/API.md has it; also logged, with the peer's
 * address. retry_after_s 0: no Retry-After. */
struct tt_exchange *tt_reply_error(const struct tt_request *request, unsigned status,
                                   const char *code, unsigned retry_after_s, const char *format,
                                   ...) TT_PRINTF(5, 6);
/* The same with one more header field in place of Retry-After (405 owes Allow). */
struct tt_exchange *tt_reply_error_with(const struct tt_request *request, unsigned status,
                                        const char *code, const struct tt_header *header,
                                        const char *format, ...) TT_PRINTF(5, 6);
/* Answer an exchange that has not started, with a whole body (copied) or an error. The protocol
 * keeps and sends the bytes itself; pull and taken are not called any more, closed() comes at the
 * end. */
void tt_exchange_answer(struct tt_exchange *x, const struct tt_response *response,
                        struct tt_bytes body);
void tt_exchange_fail(struct tt_exchange *x, unsigned status, const char *code,
                      unsigned retry_after_s, const char *format, ...) TT_PRINTF(5, 6);

#endif
