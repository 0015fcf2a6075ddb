// Which web origins may read the answers: the table of --allow-origin, immutable once made.
//
// An entry is an exact origin ("https://app.example.com", "http://localhost:3000") or has one
// wildcard in front of the host ("https://*.example.com": every host below example.com at any
// depth, not example.com itself; same scheme, same port). There is no "*": answers may depend on
// cookies, and the list is what keeps foreign pages out. (Line comments, because of the wildcard.)
// Sources: RFC 6454 (origins), WHATWG Fetch (CORS). Thread: made and freed by the control thread,
// read by any.
#ifndef TT_SHARD_HTTP_CORS_H
#define TT_SHARD_HTTP_CORS_H

#include "proto/base/bytes.h"

struct tt_cors;

/* Checks one entry of --allow-origin, with the reason in *why (may be null). TT_OK, TT_EINVAL. */
TT_MUST_USE enum tt_status tt_cors_check(struct tt_bytes entry, struct tt_writer *why);
/* A table of checked entries (copied; asserted to be valid). TT_OK, TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_cors_create(struct tt_cors **cors, const struct tt_bytes *entries,
                                          uint32_t count);
void tt_cors_destroy(struct tt_cors **cors);

/* Whether the value of an Origin field is in the table. `cors` may be null: nothing is. */
bool tt_cors_allows(const struct tt_cors *cors, struct tt_bytes origin);
/* Whether an Origin is that of the server itself: its host and port are what the Host field says
 * (the scheme is not known behind a proxy that ends TLS). */
bool tt_cors_same_host(struct tt_bytes origin, struct tt_bytes host);

#endif
