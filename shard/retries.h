/* Recognises retries: what of a request with an idempotency key is in its partition already.
 * For owner.c. Thread: owner shard. Memory: none. */
#ifndef TT_SHARD_RETRIES_H
#define TT_SHARD_RETRIES_H

#include "shard/shard.h"

/* Fills the request's runs with where its first events are, *known: how many, and its end_place
 * behind them. TT_OK: the rest is to be appended; TT_EEXIST: the key belongs to another body;
 * TT_ECORRUPT: what is there does not fit the request, or no further run can be told. */
TT_MUST_USE enum tt_status tt_retry_find(const struct tt_idempotency *keys,
                                         struct tt_publish_request *request, int64_t now_us,
                                         uint32_t *known);
/* Its key is known here, with this body or with another: it needs no room in the log, or only for
 * what a crash has cut off. */
bool tt_retry_is_known(const struct tt_idempotency *keys, const struct tt_publish_request *request,
                       int64_t now_us);
/* The events from `known` on were appended: the last of the request's runs. */
void tt_retry_note(struct tt_idempotency *keys, const struct tt_publish_request *request,
                   uint32_t known, int64_t now_us);
/* Makes the key this body's if it is new. TT_OK; TT_EEXIST: it is another's. */
TT_MUST_USE enum tt_status tt_retry_claim(struct tt_idempotency *keys,
                                          const struct tt_publish_request *request, int64_t now_us);

#endif
