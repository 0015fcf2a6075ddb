/* A batch of events on its way into the log: collected in the order given, sorted by partition,
 * sent to the owners, and answered by all of them.
 *
 * Collect with add(), then submit() once; when all owners have answered, done() is called (or
 * submit() says so itself). Then placed() gives the place of each event. reset() makes it empty
 * again. The events' bytes belong to the caller and stay as they are from submit() to the answer.
 * Within one partition a batch is taken whole or not at all.
 *
 * With an idempotency key, one that does not lie in the key's home partition alone first claims the
 * key there (shard/shard.h, struct tt_publish_request), and is sent only if the key is its own.
 * Thread: owner shard. Memory: counted in the shard's publish_bytes, bounded by
 * publish_bytes of the options. */
#ifndef TT_SHARD_HTTP_PUBLISH_BATCH_H
#define TT_SHARD_HTTP_PUBLISH_BATCH_H

#include "shard/http/publish_refusal.h"
#include "shard/shard.h"
#include "store/record.h"

struct tt_publish_batch;

/* The events of a batch for one partition. */
struct tt_publish_part {
    struct tt_publish_request request;
    struct tt_publish_batch *batch;
    uint32_t next; /* while events are dealt out or places given: how many so far */
};

struct tt_publish_batch {
    struct tt_shard *shard;
    /* Never called inside of add, submit or cancel. */
    void (*done)(struct tt_publish_batch *batch);
    struct tt_event *events; /* as given */
    uint64_t *lines;         /* of each event: what the caller gave to add() */
    uint32_t count;
    const char *why; /* of the last add() that was refused */
    /* private: */
    uint32_t capacity_;
    struct tt_event *sorted_; /* by partition; null while there is one partition */
    uint16_t *part_of_;       /* of each event: index in parts_, and before submit() its partition;
                               * null while there is one partition */
    struct tt_publish_place *places_; /* with a source: of each event, in the order sorted */
    uint16_t *index_of_; /* of each partition: index in parts_, or UINT16_MAX; likewise */
    struct tt_publish_part *parts_;
    uint32_t parts_count_;
    uint32_t parts_capacity_;
    uint32_t submitted_; /* parts sent (or refused at once) */
    uint32_t open_;      /* parts sent and not answered, a claim included */
    bool waiting_;
    bool claim_due_;                       /* it is to be sent, before the parts */
    bool claiming_;                        /* it was sent: the parts wait for its answer */
    struct tt_record_idempotency *blocks_; /* of sorted_, or of events; null: no key */
    uint32_t blocks_capacity_;
    struct tt_record_idempotency claim_block_;
    struct tt_publish_part claim_;
    struct tt_publish_waiter waiter_;
};

/* Counts memory that a publisher asks for. False: beyond the shard's bound. */
bool tt_publish_memory_get(struct tt_shard *shard, size_t bytes);
void tt_publish_memory_put(struct tt_shard *shard, size_t bytes);

void tt_publish_batch_init(struct tt_publish_batch *b, struct tt_shard *shard,
                           void (*done)(struct tt_publish_batch *batch));
/* The batch must be idle. */
void tt_publish_batch_deinit(struct tt_publish_batch *b);

/* Copies the event (not its bytes). TT_OK; TT_ENOMEM: memory is short or over its bound; TT_EINVAL:
 * the source can never take it, b->why says why. */
TT_MUST_USE enum tt_status tt_publish_batch_add(struct tt_publish_batch *b,
                                                const struct tt_event *event, uint64_t line);
/* Sends it. key: the two hashes of a block (store/idempotency.h), copied; null: it has no key.
 * TT_OK: done() will be called; TT_END: all is answered already (or it was empty and has no key);
 * TT_ENOMEM: nothing was sent. */
TT_MUST_USE enum tt_status tt_publish_batch_submit(struct tt_publish_batch *b,
                                                   const struct tt_record_idempotency *key);
/* Sends nothing more. True: it is idle now; false: done() will still be called. */
bool tt_publish_batch_cancel(struct tt_publish_batch *b);
/* Sent and not answered yet. */
bool tt_publish_batch_busy(const struct tt_publish_batch *b);
/* Forgets the events; keeps the memory. The batch must be idle. */
void tt_publish_batch_reset(struct tt_publish_batch *b);

/* After the answer: places in the order given. Call rewind() once, then next() for each event
 * from the first on. True: taken, *place says where; false: refused, *why (may be null) says why.
 */
void tt_publish_batch_rewind(struct tt_publish_batch *b);
bool tt_publish_batch_next(struct tt_publish_batch *b, uint32_t index,
                           struct tt_publish_place *place, struct tt_publish_refusal *why);
/* As an id names it. */
struct tt_position tt_publish_position(const struct tt_shard *shard,
                                       const struct tt_publish_place *place);

/* The key belongs to another body: nothing was sent, or (its claim was forgotten) parts of it were
 * refused. */
bool tt_publish_batch_mismatched(const struct tt_publish_batch *b);
/* Its key could not be claimed: nothing was sent. Then *request says why. */
bool tt_publish_batch_unclaimed(const struct tt_publish_batch *b,
                                const struct tt_publish_request **request);
/* Some of its events had been there before. */
bool tt_publish_batch_repeated(const struct tt_publish_batch *b);

#endif
