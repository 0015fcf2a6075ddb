/* DIR/META: what a log is, fixed when it is created. Format: README.md.
 *
 * Thread: any. Memory: none. */
#ifndef TT_STORE_META_H
#define TT_STORE_META_H

#include "proto/base/hash.h"
#include "proto/event/position.h"

#define TT_META_BYTES 64u

struct tt_meta {
    uint32_t format; /* TT_RECORD_FORMAT */
    uint32_t partitions;
    struct tt_history history;
    struct tt_hash_key hash_key;
    int64_t created_us;
};

void tt_meta_encode(uint8_t out[TT_META_BYTES], const struct tt_meta *meta);
/* From the file's bytes, as many as there are. TT_OK; TT_EVERSION: a newer format (only `format` is
 * set); TT_ECORRUPT, with a clause in *why that says what is wrong (static; may be null). */
TT_MUST_USE enum tt_status tt_meta_decode(struct tt_bytes file, struct tt_meta *meta,
                                          const char **why);

#endif
