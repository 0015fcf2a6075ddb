/* The head of an HTTP/1.1 response, as a strict client of our own broker reads it.
 *
 * Source: RFC 9112 sections 2 to 6. Stricter than a browser: lines end in CRLF, names are followed
 * by the colon at once, a length is given once, and never beside chunked coding. Whoever measures a
 * server must not forgive it. Thread: any. Memory: borrowed. */
#ifndef TT_TOOLS_TTLOAD_RESPONSE_H
#define TT_TOOLS_TTLOAD_RESPONSE_H

#include <stdbool.h>

#include "proto/base/bytes.h"

#define TT_RESPONSE_HEAD_BYTES_MAX 16384u

struct tt_response {
    unsigned status;
    bool chunked;
    bool has_length;
    bool closes; /* Connection: close, or HTTP/1.0 */
    uint64_t length_bytes;
    uint32_t retry_after_s;       /* of Retry-After in seconds; 0: none */
    struct tt_bytes content_type; /* points into the input */
};

/* Reads the head at the start of `in`, advancing it past the empty line. TT_OK; TT_MORE: not whole
 * yet, in is unchanged; TT_EPROTO, with a reason in *why (static storage). */
TT_MUST_USE enum tt_status tt_response_read(struct tt_bytes *in, struct tt_response *response,
                                            const char **why);

#endif
