/* Where events come from besides HTTP, and where publishing goes then: Kafka (broker/kafka), later
 * another broker. Not there for an embedded log.
 *
 * Items of a partition come in order, with rising offsets, to the shard that owns it, which appends
 * events to the mirror at their own offsets. Not polling is back-pressure: nothing is skipped.
 * An event that cannot be used is a SKIP, so that the owner's position moves past it.
 *
 * Thread: each function by the shard that is named, for itself. */
#ifndef TT_SHARD_SOURCE_H
#define TT_SHARD_SOURCE_H

#include "proto/event/event.h"

enum tt_source_kind {
    TT_SOURCE_EVENT = 1,
    TT_SOURCE_SKIP, /* counted and logged by the source already */
    TT_SOURCE_END,  /* everything below `offset` was handed over: the partition's present end */
    TT_SOURCE_LOST, /* the source has nothing at the place we are at (retention, or made anew): the
                     * source has asked for a new life already; the partition stands still */
};
struct tt_source_item {
    enum tt_source_kind kind;
    uint32_t partition; /* local number */
    uint64_t offset;    /* END: next offset */
    bool misplaced;     /* EVENT: not where the declared partitioner puts its key */
    struct tt_event event;
};

/* One event to be produced. The caller's, untouched until it is given back by produced(). */
struct tt_source_produce {
    struct tt_event event;
    uint32_t partition; /* local number: where it is expected to go */
    void *owner;        /* the caller's */
    /* Filled when it comes back: */
    enum tt_status status; /* TT_OK; TT_ETIMEDOUT or TT_EBUSY: not acknowledged in time (it may be
                            * there all the same); TT_EACCES: refused; TT_ETOOBIG; TT_EIO */
    uint64_t offset;       /* TT_OK */
    uint32_t placed;       /* TT_OK: local number of the partition that took it */
};

struct tt_source;
struct tt_source_ops {
    /* The shard begins. Returns a descriptor that becomes readable when poll() or produced() may
     * have something after they had nothing (an eventfd, which the shard reads empty); < 0: failed.
     * `next`: for each local partition that the shard owns, the next offset wanted (array over all
     * local numbers). */
    int (*attach)(struct tt_source *s, uint32_t shard, const uint64_t *next);
    void (*detach)(struct tt_source *s, uint32_t shard); /* nothing is produced any more */
    /* At most max items; they point into memory that is valid until the next poll or detach. 0:
     * nothing now; the descriptor will tell. */
    uint32_t (*poll)(struct tt_source *s, uint32_t shard, struct tt_source_item *items,
                     uint32_t max);
    /* The source's end (next offset) of a partition as known now without waiting; false: unknown.
     */
    bool (*end)(struct tt_source *s, uint32_t shard, uint32_t partition, uint64_t *next);
    /* What every shard has read of a partition: for Kafka's own lag figures (commit_group). Cheap;
     * the source commits now and then. */
    void (*read)(struct tt_source *s, uint32_t shard, uint32_t partition, uint64_t next);
    /* Hands one event over. TT_OK: it comes back by produced(); TT_FULL: too much is under way
     * (bounded); TT_EINVAL: cannot be produced, *why says (channel does not fit the template...).
     */
    enum tt_status (*produce)(struct tt_source *s, uint32_t shard, struct tt_source_produce *p);
    uint32_t (*produced)(struct tt_source *s, uint32_t shard, struct tt_source_produce **done,
                         uint32_t max);
    /* Could this event be produced at all? TT_OK, or TT_EINVAL with the reason (static text). Any
     * shard. */
    enum tt_status (*check)(struct tt_source *s, const struct tt_event *event, const char **why);
};
struct tt_source {
    const struct tt_source_ops *ops;
    uint32_t publish_topic; /* index into world->topics; UINT32_MAX: publishing is off */
};

#endif
