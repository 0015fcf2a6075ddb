/* Questions of a shard to the owners of partitions (store/lookup.h), and their way there and back.
 *
 * The asker fills a struct tt_lookup_request, which it owns, and lends it: tt_lookup_ask() sends it
 * to the partition's owner by a LOOKUP message, the owner answers it in place when its turn has
 * time for it (at most TT_TURN_LOOKUPS_MAX in a turn), LOOKUP_DONE brings it back, and done() is
 * called: exactly once, on the asking shard, never from inside tt_lookup_ask(), also when the
 * partition is the shard's own. At most TT_LOOKUP_OPEN_MAX are open for each pair of shards; what
 * is asked beyond waits here in order, so asking cannot fail.
 *
 * A request cannot be withdrawn, because the owner may be writing into it. Whoever does not want
 * the answer any more (its client is gone) keeps the request and all memory that it points to until
 * done(), and frees them there. A shard stops only when all of its questions are answered
 * (tt_lookup_idle).
 *
 * Thread: owner shard of the caller; done() too. Memory: the asker's. */
#ifndef TT_SHARD_REPLAY_LOOKUP_H
#define TT_SHARD_REPLAY_LOOKUP_H

#include "proto/base/list.h"
#include "shard/messages.h"
#include "store/lookup.h"

struct tt_shard;
struct tt_lookups;

struct tt_lookup_request {
    struct tt_lookup lookup; /* the question, by the asker; the answer, when done() is called */
    /* The request, and what it points to, is the asker's again. May ask again. */
    void (*done)(struct tt_lookup_request *request);
    void *context;
    struct tt_node node_; /* where it waits */
    uint32_t origin_;
};

TT_MUST_USE enum tt_status tt_lookups_create(struct tt_shard *shard);
void tt_lookups_destroy(struct tt_shard *shard); /* everything must be answered */

/* Lends the request to the owner of request->lookup.partition. */
void tt_lookup_ask(struct tt_shard *shard, struct tt_lookup_request *request);
/* No question of this shard is open. */
bool tt_lookup_idle(const struct tt_shard *shard);

/* LOOKUP_DONE came, or the shard's own owner has answered. */
void tt_lookup_answered(struct tt_shard *shard, struct tt_lookup_request *request);

#endif
