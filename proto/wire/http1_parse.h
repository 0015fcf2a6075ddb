/* HTTP/1.x requests from bytes: the head (request line and header fields), and the body's framing.
 *
 * Strict, incremental, without allocation. What is ambiguous is never guessed at: it is refused and
 * the connection closes, because two parsers that guess differently are how requests get smuggled.
 * An error carries the status owed to the peer (400, 413, 414, 417, 431, 501, 505) and a short
 * text; after any error the connection must be closed, its framing is not known any more.
 *
 * Sources: RFC 9110 (semantics), RFC 9112 (HTTP/1.1); the sections stand beside the rules.
 * Thread: any. Memory: none is allocated; slices point into the caller's buffer. */
#ifndef TT_PROTO_WIRE_HTTP1_PARSE_H
#define TT_PROTO_WIRE_HTTP1_PARSE_H

#include "proto/base/bytes.h"

#define TT_HTTP1_FIELDS_MAX 100u /* room in struct tt_http1_head; limits.fields_max is clamped */

struct tt_http1_limits {
    uint32_t line_bytes_max; /* of one line, without CRLF: request line 414, field 431 */
    uint32_t fields_max;     /* header fields; over it: 431 */
    uint32_t head_bytes_max; /* the whole head with its final CRLF; over it: 431 */
};

enum tt_http1_method {
    TT_HTTP1_GET = 1,
    TT_HTTP1_HEAD,
    TT_HTTP1_POST,
    TT_HTTP1_PUT,
    TT_HTTP1_DELETE,
    TT_HTTP1_OPTIONS,
    TT_HTTP1_PATCH,
    TT_HTTP1_TRACE,
};

/* Fields that the broker looks at; each header field of a head names which one it is. */
enum tt_http1_known {
    TT_HTTP1_OTHER = 0,
    TT_HTTP1_HOST,
    TT_HTTP1_CONTENT_LENGTH,
    TT_HTTP1_TRANSFER_ENCODING,
    TT_HTTP1_EXPECT,
    TT_HTTP1_CONNECTION,
    TT_HTTP1_CONTENT_TYPE,
    TT_HTTP1_CONTENT_ENCODING,
    TT_HTTP1_ORIGIN,
    TT_HTTP1_ACCEPT,
    TT_HTTP1_AUTHORIZATION,
    TT_HTTP1_COOKIE,
    TT_HTTP1_LAST_EVENT_ID,
    TT_HTTP1_IDEMPOTENCY_KEY,
    TT_HTTP1_ACCESS_CONTROL_REQUEST_METHOD,
    TT_HTTP1_ACCESS_CONTROL_REQUEST_HEADERS,
    TT_HTTP1_RANGE,
    TT_HTTP1_IF_NONE_MATCH,
    TT_HTTP1_UPGRADE,
    TT_HTTP1_KNOWN_COUNT,
};

struct tt_http1_field {
    struct tt_bytes name;  /* as sent */
    struct tt_bytes value; /* without the white space around it; may be empty */
    enum tt_http1_known known;
};

enum tt_http1_framing {
    TT_HTTP1_NO_BODY = 0, /* neither length nor coding (RFC 9112 6.3, 7) */
    TT_HTTP1_COUNTED,     /* content_length bytes; 0 is possible */
    TT_HTTP1_CHUNKED,
};

/* A parsed head. All slices point into the input that was parsed. */
struct tt_http1_head {
    enum tt_http1_method method;
    struct tt_bytes method_text;
    struct tt_bytes target; /* as sent */
    struct tt_bytes path;   /* raw, begins with '/', or is "*" (OPTIONS) */
    struct tt_bytes query;  /* raw, behind the first '?'; data is null when there is no '?' */
    struct tt_bytes host;   /* authority: of the Host field; empty with HTTP/1.0 without one */
    unsigned minor;         /* HTTP/1.<minor>: 0, or 1 (also for higher minors) */
    bool keep_alive;        /* the peer wants the connection to go on (RFC 9112 9.3) */
    bool expect_continue;   /* send 100 (Continue) before the body is awaited (RFC 9110 10.1.1) */
    enum tt_http1_framing framing;
    uint64_t content_length; /* with TT_HTTP1_COUNTED */
    uint32_t fields_count;
    struct tt_bytes known[TT_HTTP1_KNOWN_COUNT]; /* value of the first such field; data null: none.
                                                  * known[TT_HTTP1_OTHER] is unused */
    struct tt_http1_field fields[TT_HTTP1_FIELDS_MAX];
};

struct tt_http1_error {
    unsigned status;  /* owed to the peer */
    const char *text; /* what was wrong, one English clause; static */
};

/* How far an incomplete head was searched, so that a slow sender does not make the parser look at
 * the same bytes again and again. All zeros before each request. */
struct tt_http1_progress {
    uint32_t scanned_;
    uint32_t line_start_;
    uint32_t lines_;
};

/* Parses the head at the start of `input`, which holds all bytes received since the last request's
 * end (more may follow: pipelining). `input` must begin with the same bytes at each call for one
 * request, at any address.
 * TT_OK: *head is filled, *used bytes belong to it; TT_MORE: incomplete so far and nothing wrong
 * with it, call again with more behind; TT_EPROTO: *error is filled. */
TT_MUST_USE enum tt_status tt_http1_parse(struct tt_bytes input,
                                          const struct tt_http1_limits *limits,
                                          struct tt_http1_progress *progress,
                                          struct tt_http1_head *head, size_t *used,
                                          struct tt_http1_error *error);

/* The next element of a comma-separated list (RFC 9110 5.6.1), without white space around it; empty
 * ones are passed over; commas inside quoted strings do not separate. *list moves behind it. False
 * at the end. */
bool tt_http1_list_next(struct tt_bytes *list, struct tt_bytes *element);
/* A media type without its parameters: "application/json; charset=utf-8" -> "application/json". */
struct tt_bytes tt_http1_media_type(struct tt_bytes value);
/* Whether the request's Accept fields name this media type literally with q > 0 (wildcards do not
 * count: an EventSource always names text/event-stream). */
bool tt_http1_accepts(const struct tt_http1_head *head, const char *media_type);
/* Writes a percent-decoded path (`+` stays). TT_OK; TT_EINVAL: a '%' without two hex digits, or
 * what comes out is not UTF-8 or holds a NUL. The writer needs at most path.size bytes. */
TT_MUST_USE enum tt_status tt_http1_decode_path(struct tt_bytes path, struct tt_writer *w);

/* ---- the body ---- */

struct tt_http1_body_limits {
    uint32_t extension_bytes_max; /* chunk extensions of one body together; over it: 400 */
    uint32_t trailer_bytes_max;   /* the trailer section; over it: 431 */
};

/* Takes the framing off a body. Fields are private except `received`. */
struct tt_http1_body {
    uint64_t received; /* bytes of body taken so far */
    uint64_t left_;    /* of the counted body, or of the current chunk */
    struct tt_http1_body_limits limits_;
    uint32_t extension_bytes_;
    uint32_t trailer_bytes_;
    struct tt_http1_error error_;
    uint8_t state_;
    uint8_t digits_; /* of the current chunk's size */
};

void tt_http1_body_init(struct tt_http1_body *body, const struct tt_http1_head *head,
                        const struct tt_http1_body_limits *limits);
/* Moves *input past framing bytes, and gives in *run the body bytes at its start (not yet taken:
 * take some of them, then call again).
 * TT_OK: *run has at least one byte; TT_MORE: *input is used up; TT_END: the body is complete,
 * *input stands at the next request; stays so; TT_EPROTO: *error is filled, stays so. */
TT_MUST_USE enum tt_status tt_http1_body_next(struct tt_http1_body *body, struct tt_bytes *input,
                                              struct tt_bytes *run, struct tt_http1_error *error);
/* The first `bytes` of the last run were taken: moves *input past them. At most the run's size
 * (asserted). */
void tt_http1_body_take(struct tt_http1_body *body, struct tt_bytes *input, size_t bytes);
/* The whole body was seen, the next request may follow. True at once for TT_HTTP1_NO_BODY and for a
 * length of 0. */
bool tt_http1_body_done(const struct tt_http1_body *body);

#endif
