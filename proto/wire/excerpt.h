/* A value of a peer, shown in a message to people. Thread: any. Memory: none. */
#ifndef TT_PROTO_WIRE_EXCERPT_H
#define TT_PROTO_WIRE_EXCERPT_H

#include "proto/base/bytes.h"

#define TT_EXCERPT_BYTES 60u /* of the value that is shown; a longer one is cut, then "..." */

/* Writes the start of the value as printable UTF-8: control characters, and bytes that are not
 * UTF-8, as \xNN. Cuts at a character. */
void tt_write_excerpt(struct tt_writer *w, struct tt_bytes value);

#endif
