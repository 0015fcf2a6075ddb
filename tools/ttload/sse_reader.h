/* Reads one event stream: the head of the response, chunked coding, and the lines of events, split
 * at any byte.
 *
 * Made to be cheap, because it shares the machine with what it measures: an event is found by
 * memchr, and only what lies across two chunks or two receives is copied. Strict where the standard
 * forgives (WHATWG HTML 9.2, RFC 9112 7.1): only LF ends a line, fields are event, data, id in this
 * order, retry, or a comment; one space behind the colon; chunks have no extensions. A stream that
 * breaks this is an error of the server. Thread: the owner's. Memory: a buffer for incomplete
 * events, allocated when first needed. */
#ifndef TT_TOOLS_TTLOAD_SSE_READER_H
#define TT_TOOLS_TTLOAD_SSE_READER_H

#include <stdbool.h>

#include "proto/base/bytes.h"

#define TT_SSE_READER_EVENT_BYTES_MAX (8u << 20) /* twice the largest event; over it: TT_EPROTO */

struct tt_sse_reader {
    uint8_t *carry_; /* the beginning of an event, or of the head */
    uint32_t carry_size_;
    uint32_t carry_capacity_;
    const char *why_;
    uint64_t chunk_left_;
    uint16_t status_;
    uint8_t state_;
    uint8_t digits_;
    bool chunked_;
    bool carry_used_; /* what the carry holds was given out and goes at the next call */
};

/* Whatever is absent is empty. All point into the input or into the reader, until the next call. */
struct tt_sse_event {
    struct tt_bytes type;    /* of the `event:` line */
    struct tt_bytes data;    /* of the first data line */
    struct tt_bytes id;      /* of the `id:` line */
    struct tt_bytes comment; /* of the last comment line */
    unsigned data_lines;
    bool has_id;
    bool has_retry;
};

void tt_sse_reader_init(struct tt_sse_reader *r);
void tt_sse_reader_deinit(struct tt_sse_reader *r);

/* Takes at most one event from *in, advancing it. TT_OK: an event (comments alone count as one);
 * TT_MORE: *in is used up; TT_END: the last chunk has come; TT_EPROTO: see tt_sse_reader_why(),
 * also for a status other than 200 and a content type other than text/event-stream; TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_sse_reader_next(struct tt_sse_reader *r, struct tt_bytes *in,
                                              struct tt_sse_event *event);
/* True while the stream stands between two events: a connection that ends elsewhere cut one. */
bool tt_sse_reader_between(const struct tt_sse_reader *r);
unsigned tt_sse_reader_status(const struct tt_sse_reader *r); /* of the response; 0 before it */
const char *tt_sse_reader_why(const struct tt_sse_reader *r); /* static storage; never null */

#endif
