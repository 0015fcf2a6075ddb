/* One connection, as the files of shard/conn see it; nobody else includes this.
 *
 *   connections.c      the engine: adopting, dispatching completions, the ready list, timers, the
 * end transport_plain.*  bytes of a socket: receiving with pauses, one send at a time, closing
 *   protocol_http1.*   requests out of bytes: heads, bodies, whom they are given to
 *   answer.*           answers into bytes: heads, whole bodies, errors; pulling and taking
 *
 * States, and what moves a connection on:
 *
 *   ADOPTING  the socket is being taken over                    adopted: HEAD; failed: gone
 *   HEAD      between two requests, or a head is incomplete     head complete: BODY or ANSWER
 *   BODY      the request's body is being read                  last byte: ANSWER
 *   ANSWER    the request is read, its answer is not all sent   sent: HEAD, or LINGER
 *   LINGER    our side is shut down; what comes is dropped      peer's end or timeout: CLOSING
 *   CLOSING   tt_io_close() was called                          its completion: gone
 *
 * From any state a reset, a stall or an abort leads to CLOSING. An answer may be complete while the
 * state is BODY; then the rest of the body is dropped (within bounds) before the next request.
 * Thread: the engine's. */
#ifndef TT_SHARD_CONN_CONNECTION_H
#define TT_SHARD_CONN_CONNECTION_H

#include "proto/base/list.h"
#include "proto/base/pool.h"
#include "proto/wire/http1_parse.h"
#include "shard/conn/connections.h"

enum tt_connection_state {
    TT_CONNECTION_ADOPTING = 0,
    TT_CONNECTION_HEAD,
    TT_CONNECTION_BODY,
    TT_CONNECTION_ANSWER,
    TT_CONNECTION_LINGER,
    TT_CONNECTION_CLOSING,
};

/* What the connection's one timer waits for. */
enum tt_connection_wait {
    TT_WAIT_NOTHING = 0,
    TT_WAIT_FIRST, /* the first byte after the accept */
    TT_WAIT_NEXT,  /* the first byte of a further request */
    TT_WAIT_HEAD,  /* the end of the head, from its first byte on */
    TT_WAIT_BODY,  /* the next piece of the body */
    TT_WAIT_STALL, /* the peer to take a byte */
    TT_WAIT_LINGER,
};

/* Bytes in memory of our own; from..size are still of use. */
struct tt_buffer {
    uint8_t *data;
    size_t from;
    size_t size;
    size_t capacity;
};

/* What a connection needs only while a request is read or a head is sent. An idle one has none. */
struct tt_work {
    struct tt_buffer in;  /* received and not consumed */
    struct tt_buffer out; /* to be sent before anything is pulled */
    struct tt_bytes rest; /* static bytes to be sent behind `out` */
    struct tt_http1_progress progress;
    struct tt_http1_body body;
    int64_t content_length; /* of the request; -1: chunked */
    uint64_t timed_bytes;   /* of the body, when its time began anew */
    uint64_t dropped_bytes; /* of a body that nobody wants */
    char *origin;           /* to be named in Access-Control-Allow-Origin; null: none */
};

/* 96 bytes: this is what an idle client's connection costs. */
struct tt_connection {
    struct tt_timer timer;
    struct tt_node ready; /* in one of the engine's lists of connections with something to do */
    struct tt_connections *engine;
    struct tt_exchange *exchange;
    struct tt_work *work;
    tt_socket socket;
    uint32_t slot;
    struct tt_peer peer;
    unsigned state : 3;
    unsigned wait : 3;
    unsigned reason : 5; /* enum tt_close_reason; NONE: no reason to close yet */
    /* the socket */
    unsigned receiving : 1; /* a receive is armed */
    unsigned pausing : 1;   /* it was told to stop, its last completion is to come */
    unsigned ended : 1;     /* the peer has ended its side */
    unsigned sending : 1;   /* a send is queued or its completion is to come */
    unsigned blocked : 1;   /* the socket is full; waits for writability */
    unsigned reads : 1;     /* it was full, and had room again */
    /* the request */
    unsigned head_only : 1; /* HEAD */
    unsigned http10 : 1;
    unsigned expects_continue : 1; /* 100 was asked for and not sent */
    unsigned held : 1;             /* the exchange did not take body bytes: wait for resume */
    unsigned resume : 1;           /* it has asked for them again */
    unsigned unbounded : 1;        /* body_bytes_max does not apply */
    unsigned foreign : 1;          /* the Origin is not allowed to change anything */
    /* the answer */
    unsigned started : 1;    /* its head was encoded */
    unsigned stream : 1;     /* without a length known from the start */
    unsigned whole : 1;      /* all bytes are in work: nothing is pulled (any more) */
    unsigned last : 1;       /* the connection is not used again */
    unsigned close_now : 1;  /* to be closed at the next flush, unsent bytes dropped */
    unsigned persistent : 1; /* HTTP/1.0 that asked for keep-alive */
    unsigned bulk : 1;       /* tt_exchange_set_bulk() */
};
_Static_assert(sizeof(struct tt_connection) == 96, "counted in the budget of an idle client");
_Static_assert(TT_CLOSE_REASONS <= 32, "a reason fits its bits");

struct tt_connections {
    struct tt_io *io;
    struct tt_timers *timers;
    struct tt_connections_options options;
    struct tt_connections_hooks hooks;
    struct tt_http1_limits limits;
    struct tt_pool pool;
    struct tt_list ready;
    struct tt_list bulk;      /* the same, of those whose sends can wait */
    size_t pull_bytes;        /* about so many are asked of an exchange at once */
    struct tt_exchange plain; /* stands for an answer that is all in the connection's memory */
    uint8_t timer_kind;
    bool draining;
    size_t work_bytes;
    bool over_bound; /* the last room was refused because of work_bytes_max */
    int64_t date_s;  /* the second that `date` is of */
    char date[32];
    size_t date_bytes;
    struct tt_http1_head head; /* of the request that is being parsed; valid within one call */
    uint8_t *path;             /* its decoded path: head_bytes_max bytes */
};

/* What a completion was for: the operation of its token, TT_CONNECTIONS_OPERATION added. */
enum tt_connection_operation {
    TT_OPERATION_ADOPT = TT_CONNECTIONS_OPERATION,
    TT_OPERATION_RECV,
    TT_OPERATION_SEND,
    TT_OPERATION_POLL,
    TT_OPERATION_CLOSE,
    TT_OPERATIONS_END,
};
uint64_t tt_connection_token(const struct tt_connection *c, enum tt_connection_operation operation);

/* ---- of connections.c, for the others ---- */
void tt_connection_link(struct tt_connection *c); /* into the ready list, if it is in none */
/* Arms the timer for `wait` unless it waits for just that; NOTHING cancels it. */
void tt_connection_wait(struct tt_connection *c, enum tt_connection_wait wait);
/* The same, from now on in any case. */
void tt_connection_wait_again(struct tt_connection *c, enum tt_connection_wait wait);
/* Ends it now: the exchange is told, the socket closed (`reset`: unsent bytes are dropped). No send
 * may be under way (asserted). The first reason that was noted wins. */
void tt_connection_close(struct tt_connection *c, enum tt_close_reason reason, bool reset);
/* The same as soon as no send is under way; bytes that the system took are delivered. */
void tt_connection_end(struct tt_connection *c, enum tt_close_reason reason);
/* Notes that it has to end with unsent bytes dropped; done by the next flush, or when the send that
 * is under way completes. */
void tt_connection_close_later(struct tt_connection *c, enum tt_close_reason reason);
void tt_connection_note(struct tt_connection *c, enum tt_close_reason reason);
void tt_connection_forget_exchange(struct tt_connection *c, enum tt_close_reason reason);

/* The work, made when there is none; null when memory is short. */
struct tt_work *tt_connection_work(struct tt_connection *c);
void tt_connection_free_work(struct tt_connection *c);
/* Appends; false when memory is short. */
bool tt_buffer_append(struct tt_connections *engine, struct tt_buffer *b, const void *data,
                      size_t size);
/* Why the last room was refused: memory is short, or it would pass work_bytes_max. */
enum tt_close_reason tt_buffer_refused(const struct tt_connections *engine);
/* What each connection may always have, whatever the others have. */
#define TT_CONNECTION_BUFFER_BYTES_MIN 512u
#define TT_CONNECTION_WORK_BYTES_MIN   (sizeof(struct tt_work) + 2 * TT_CONNECTION_BUFFER_BYTES_MIN)
/* Room for `size` more bytes at data + size, or null. */
uint8_t *tt_buffer_reserve(struct tt_connections *engine, struct tt_buffer *b, size_t size);
void tt_buffer_free(struct tt_connections *engine, struct tt_buffer *b);
static inline struct tt_bytes tt_buffer_bytes(const struct tt_buffer *b)
{
    return (struct tt_bytes){b->data + b->from, b->size - b->from};
}

#endif
