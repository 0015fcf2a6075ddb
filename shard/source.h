/* Where events come from besides HTTP, and where publishing goes then: Kafka (broker/kafka), later
 * another broker. Not there for an embedded log.
 *
 * Items of a partition come in order, with rising offsets, to the shard that owns it, which appends
 * events to the mirror at their own offsets. Not polling is back-pressure: nothing is skipped.
 * An event that cannot be used is a SKIP, so that the owner's position moves past it.
 *
 * What is published in such a world goes to the source instead of the log, by the owner of the
 * partition that is expected to take it, so that what one shard publishes on a channel stays in
 * order; it comes back as an item, as everybody's events do.
 *
 * Thread: each function by the shard that is named, for itself. None of them blocks. */
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
    uint32_t partition; /* local number; of this shard */
    uint64_t offset;    /* END: next offset */
    bool misplaced;     /* EVENT: not where the declared partitioner puts its key */
    struct tt_event event;
};

/* One event to be produced: the caller's, who leaves it alone until produced() gives it back. */
struct tt_source_produce {
    struct tt_event event; /* its bytes are copied by produce() */
    uint32_t partition;    /* local number, as place() said */
    enum tt_status status; /* filled when it comes back: TT_OK; TT_ETIMEDOUT: not acknowledged in
                            * time, it may be there all the same; TT_EACCES: refused; TT_ETOOBIG;
                            * TT_EIO: anything else, `maybe` says whether it may be there */
    bool maybe;            /* not TT_OK: it may have been taken all the same */
    const char *why; /* not TT_OK: more about it; lives as long as the source. Null: no more */
    uint64_t offset; /* TT_OK */
    uint32_t placed; /* TT_OK: local number of the partition that took it */
};

struct tt_source;
struct tt_source_ops {
    /* The shard begins; once, before anything else it calls. Returns a descriptor that becomes
     * readable when poll() or produced() may have something after they had nothing; < 0: a negative
     * enum tt_status. The shard waits for edges (tt_io_poll_in) and never reads it: whoever made it
     * empties it, in poll(), before it looks.
     * next: for each local partition that the shard owns, the next offset wanted (an array over all
     * local numbers; the others' entries mean nothing). */
    int (*attach)(struct tt_source *s, uint32_t shard, const uint64_t *next);
    /* The shard ends; its descriptor may be closed. What is being produced is forgotten: it is
     * never touched again. */
    void (*detach)(struct tt_source *s, uint32_t shard);
    /* At most max items; they point into memory that is valid until the next poll or detach. 0:
     * nothing now; the descriptor will tell. */
    uint32_t (*poll)(struct tt_source *s, uint32_t shard, struct tt_source_item *items,
                     uint32_t max);
    /* The source's end (next offset) of a partition as known now without waiting, and not older
     * than a second or two: a client beyond it is told that there is no such place. False: unknown,
     * or too old. */
    bool (*end)(struct tt_source *s, uint32_t shard, uint32_t partition, uint64_t *next);
    /* Every shard has read what is below `next` of a partition that this one owns: for Kafka's own
     * lag figures (commit_group). Called when it has changed, at most every 50 ms. */
    void (*read)(struct tt_source *s, uint32_t shard, uint32_t partition, uint64_t next);

    /* ---- publishing; not called while publish_topic is UINT32_MAX ---- */
    /* Where an event would go: the local number of its partition. TT_EINVAL: it cannot be produced
     * at all, *why says (a member, its value if it is short, what is allowed; lives as long as the
     * source): "channel: does not begin with \"stock.\", as the channels of topic quotes do".
     * The partition may be any shard's. */
    enum tt_status (*place)(struct tt_source *s, uint32_t shard, const struct tt_event *event,
                            uint32_t *partition, const char **why);
    /* Hands one event over. TT_OK: it comes back by produced(); TT_FULL: too much is under way
     * (bounded): something will come back, try again then; else it is not taken, with `status` (as
     * above, or TT_EINVAL) and `why`. */
    enum tt_status (*produce)(struct tt_source *s, uint32_t shard, struct tt_source_produce *p);
    uint32_t (*produced)(struct tt_source *s, uint32_t shard, struct tt_source_produce **done,
                         uint32_t max);
};
struct tt_source {
    const struct tt_source_ops *ops;
    uint32_t publish_topic; /* index into world->topics; UINT32_MAX: publishing is off */
};

#endif
