/* Names of channels, patterns of subscriptions, and types of events: what is allowed, said exactly.
 *
 * A channel is 1 to 255 bytes of UTF-8 without control characters (U+0000-1F, U+007F-9F), comma,
 * space and `*`; dotted, at most 8 levels (at most 7 dots). A pattern is a channel, or a prefix
 * that ends in `.*` (matches every channel that begins with what stands before the star), or `*`
 * (every channel); a `*` anywhere else is not allowed. A type is 1 to 128 of `A-Z a-z 0-9 _ . : /
 * -`. The names of control events are reserved: no publisher may use them as a type.
 *
 * The checks write one English clause that says what is wrong into `why` (may be null), to be put
 * behind the name of the field, as in: channel "a b": has a space at byte 1; allowed are ...
 * Thread: any. Memory: none. */
#ifndef TT_PROTO_EVENT_CHANNEL_H
#define TT_PROTO_EVENT_CHANNEL_H

#include "proto/base/bytes.h"

/* TT_OK, or TT_EINVAL with the reason in *why. */
TT_MUST_USE enum tt_status tt_channel_check(struct tt_bytes name, struct tt_writer *why);
TT_MUST_USE enum tt_status tt_type_check(struct tt_bytes type, struct tt_writer *why);
/* connected, snapshot-end, resync, gap, feed, token-expiring, shutdown, ping, error. */
bool tt_type_is_reserved(struct tt_bytes type);

enum tt_pattern_kind {
    TT_PATTERN_EXACT = 0, /* one channel: text is its name */
    TT_PATTERN_PREFIX,    /* text is the prefix with its dot: "stock." */
    TT_PATTERN_ALL,       /* text is empty */
};
struct tt_pattern {
    enum tt_pattern_kind kind;
    struct tt_bytes text; /* borrowed from what was parsed */
};
/* TT_OK, or TT_EINVAL with the reason in *why. */
TT_MUST_USE enum tt_status tt_pattern_parse(struct tt_bytes text, struct tt_pattern *pattern,
                                            struct tt_writer *why);
/* Whether the channel, which must be a valid name, is matched. */
bool tt_pattern_match(const struct tt_pattern *pattern, struct tt_bytes channel);
/* Whether everything that `inner` matches is matched by `outer`: is a subscription within what a
 * token allows? */
bool tt_pattern_covers(const struct tt_pattern *outer, const struct tt_pattern *inner);

#endif
