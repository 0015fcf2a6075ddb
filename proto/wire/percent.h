/* Percent-decoding (RFC 3986 section 2.1), shared by paths and form-encoded text. Thread: any.
 * Memory: none. */
#ifndef TT_PROTO_WIRE_PERCENT_H
#define TT_PROTO_WIRE_PERCENT_H

#include "proto/base/bytes.h"

/* The value of a hex digit, or -1. */
int tt_hex_value(uint8_t c);
/* Writes `raw` with %XX replaced by its byte, and `+` by a space if asked for. What is wrong is
 * written as it stands, so the result is complete either way; at most raw.size bytes.
 * TT_OK; TT_EINVAL: a '%' without two hex digits behind it. */
TT_MUST_USE enum tt_status tt_percent_decode(struct tt_bytes raw, bool plus_is_space,
                                             struct tt_writer *w);

#endif
