/* The connection engine: adopts sockets, reads requests, calls the handler, pulls answers, closes.
 *
 * One for each thread that serves HTTP (every shard, and the control thread for operations). It
 * owns the connections, their parsers and input buffers; exchanges belong to their answerers. An
 * idle connection (a live SSE client, or one kept alive between requests) keeps no buffer.
 *
 * Ready connections stand in one FIFO list, each once; a flush lets every one send once: up to 64
 * KiB or 64 slices, straight from what its exchange offers. A connection whose socket is full
 * leaves the list until the socket can be written. Sources: RFC 9110, RFC 9112. Thread: the owner
 * of the io. Memory: bounded by connections_max and the options below. */
#ifndef TT_SHARD_CONN_CONNECTIONS_H
#define TT_SHARD_CONN_CONNECTIONS_H

#include "shard/conn/exchange.h"
#include "shard/timers.h"

/* Operations of tokens with this bit belong to the connection engine; all others to its user. */
#define TT_CONNECTIONS_OPERATION 0x80u

struct tt_cors; /* shard/http/cors.h */

struct tt_connections_options {
    uint32_t connections_max;
    uint32_t head_bytes_max; /* request line and headers; over it: 431 (line: 414) */
    uint64_t work_bytes_max; /* of all heads and whole answers; who needs more is closed with reason
                              * OVERLOAD; 0: no bound */
    uint32_t headers_max;    /* over it: 431 */
    uint64_t body_bytes_max; /* a body with a Content-Length over it: 413, unless the handler's
                              * exchange streams (tt_request_stream_body) */
    uint32_t header_timeout_ms; /* from the first byte (or the accept) to the end of the head */
    uint32_t body_timeout_ms;   /* for each KiB of a body; of a stream, for each piece */
    uint32_t keepalive_ms;      /* idle between two requests */
    uint32_t stall_ms;          /* an answer of which no byte was taken */
    const char *prefix;         /* http.prefix, "" or "/x": stripped from paths; others are 404 */
    const struct tt_cors *cors; /* may be null: no CORS headers */
};

/* Called by the engine: */
struct tt_connections_hooks {
    void *context; /* of gone and log */
    tt_request_handler *handler;
    void *handler_context;
    /* A connection is gone: counts and hand-over credits. */
    void (*gone)(void *context, const struct tt_peer *peer, enum tt_close_reason reason);
    /* A line for the log (rate-limited by the receiver); may be null. */
    void (*log)(void *context, const struct tt_peer *peer, const char *code, const char *message);
};

TT_MUST_USE enum tt_status tt_connections_create(struct tt_connections **c, struct tt_io *io,
                                                 struct tt_timers *timers,
                                                 const struct tt_connections_options *options,
                                                 const struct tt_connections_hooks *hooks);
/* closed() of every exchange is called; the io must be destroyed after it, not before. */
void tt_connections_destroy(struct tt_connections **c);

/* Takes the handed-over connection; refuses it with 503 if connections_max is reached (then `gone`
 * is called at once). */
void tt_connections_adopt(struct tt_connections *c, struct tt_handoff *handoff);
/* Handles a completion of this engine; false: not its token. */
bool tt_connections_done(struct tt_connections *c, const struct tt_done *done);
/* Lets ready connections send, until `sends_max` sends are queued or tt_io_sends_full(). Returns
 * the number queued; the caller then submits and reaps. */
unsigned tt_connections_flush(struct tt_connections *c, unsigned sends_max);
bool tt_connections_ready(const struct tt_connections *c); /* the ready list is not empty */
/* The same for the list of those whose exchange is bulk (tt_exchange_set_bulk()); one send of about
 * so many bytes. */
unsigned tt_connections_flush_bulk(struct tt_connections *c, size_t pull_bytes);
bool tt_connections_bulk_ready(const struct tt_connections *c);
uint32_t tt_connections_count(const struct tt_connections *c);
/* Bytes of input buffers, heads and answers held now. */
size_t tt_connections_bytes(const struct tt_connections *c);
/* From now on: connections that are idle between requests close, answers carry Connection: close.
 */
void tt_connections_drain(struct tt_connections *c);
/* Ends every connection at once, as tt_exchange_abort() does; the count goes to 0 as they close. */
void tt_connections_end(struct tt_connections *c);
/* Ends the exchange's connection at once (unsent bytes are dropped). closed() comes later, never
 * inside this call. */
void tt_exchange_abort(struct tt_exchange *x, enum tt_close_reason reason);
/* Its socket is full: the peer does not take what was sent. While the exchange has a connection. */
bool tt_exchange_blocked(const struct tt_exchange *x);
/* Its socket was full and had room again: the peer's side took more. Not that the peer reads: its
 * kernel takes some, too. While the exchange has a connection. */
bool tt_exchange_reads(const struct tt_exchange *x);
/* Fetches what the next call for it will touch. */
void tt_exchange_fetch(const struct tt_exchange *x);
/* Bulk: what is sent to it waits behind whatever is sent to others. */
void tt_exchange_set_bulk(struct tt_exchange *x, bool bulk);
/* Called by a handler on the exchange it returns: body_bytes_max does not apply (NDJSON). */
void tt_request_stream_body(const struct tt_request *request);
/* Whether a page that made this request may change something: there is no Origin field, or it is
 * that of the server itself, or it is in the table of allowed origins. */
bool tt_request_origin_allowed(const struct tt_request *request);
/* Reload: the new table must outlive the engine or the next call. */
void tt_connections_set_cors(struct tt_connections *c, const struct tt_cors *cors);

#endif
