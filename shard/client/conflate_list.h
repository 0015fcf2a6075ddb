/* The dirty list of a client that conflates: of each channel the newest event, in the order in
 * which the events came.
 *
 * An event takes the place of its channel's entry and stands at the list's end, so the list stays
 * in arrival order and an event's id stays true for all that was sent before it. Entries that do
 * not give way any more are sealed and keep their place:
 *   - events marked "conflate":false, and the entry of their channel that stood before them;
 *   - an entry whose channel has waited for `wait_ms`, or a busy channel would starve at the list's
 *     end: at most one such entry and one open one stand for a channel;
 *   - all of them when a tick releases the list (max_rate);
 *   - those that a send is under way for, while it is (`held`).
 * RESYNC and GAP frames (frame.h) stand in the list, too, and no event passes them.
 *
 * What was skipped is counted exactly: an event that gave way is counted at the next entry of its
 * partition, and told when that is taken. If the list is dropped instead, to be read again from the
 * log, what is read again was not skipped.
 *
 * Waits outlive a drop. A channel whose events gave way to newer ones stands near the end when the
 * list is dropped, and would begin to wait anew with every drop. So the list remembers since when
 * it has waited: what is read of it first has waited so long already, and keeps its place as soon
 * as something newer comes. It is forgotten when that has been read, or the list was empty.
 *
 * A channel is known by the keyed 64-bit hash in its frame: two channels share one with a
 * probability of 2^-63, and nobody can compute such a pair without the log's key.
 *
 * Thread: owner shard. Memory: entries come from the shard's pool; `bytes` counts them and their
 * frames. Units: times are low bits of the shard's clock in ms. */
#ifndef TT_SHARD_CLIENT_CONFLATE_LIST_H
#define TT_SHARD_CLIENT_CONFLATE_LIST_H

#include "proto/base/list.h"
#include "proto/base/status.h"
#include "shard/fanout/frame.h"

/* Events that gave way, in the order of their partition. */
struct tt_skipped {
    uint64_t count;
    uint64_t first, last; /* offsets; with count 0 they mean nothing */
};

struct tt_conflate_entry {
    struct tt_node node;
    struct tt_conflate_entry *next_; /* in its bucket; of the pool: the next free one */
    struct tt_frame *frame;          /* one reference */
    struct tt_skipped skipped;       /* between the entry before it in its partition and this one */
    uint32_t since_ms;               /* since when its channel waits */
    uint8_t seal;                    /* enum tt_conflate_seal */
    uint8_t pull;                    /* low bits of the number of the last pull that offered it */
    bool moved;                      /* its channel has waited since before its event came */
};

/* A channel that was waiting when the list was dropped. */
struct tt_conflate_wait {
    uint64_t channel; /* the lowest bit: it waits no more */
    uint32_t since_ms;
};
/* Of all lists of a shard; beyond it, they begin to wait anew. */
#define TT_CONFLATE_WAITS_MAX (128u << 10)

enum tt_conflate_seal {
    TT_CONFLATE_OPEN = 0, /* gives way to the next event of its channel */
    TT_CONFLATE_WAITED,   /* sealed, because its channel has waited for long; still in the table */
    TT_CONFLATE_SEALED,
};

/* Entries that are not in use; kept for the next slow client. */
struct tt_conflate_pool {
    struct tt_conflate_entry *free_;
    size_t entries; /* in use */
    size_t cached_;
    size_t waits; /* that are remembered */
};
void tt_conflate_pool_init(struct tt_conflate_pool *pool);
void tt_conflate_pool_deinit(struct tt_conflate_pool *pool); /* all entries must be back */

struct tt_conflate_list {
    struct tt_list entries;
    struct tt_conflate_pool *pool;
    struct tt_conflate_entry **buckets_; /* open and waited entries by channel */
    uint32_t buckets_count_;
    uint32_t known_; /* entries in the table */
    uint32_t count;
    uint32_t released; /* of them, from the head on: what a tick has let go */
    uint32_t bytes;
    uint32_t wait_ms;                /* 0: a channel's wait seals nothing */
    uint8_t pulls;                   /* low bits of their number */
    bool held;                       /* what the last one offered does not give way */
    struct tt_conflate_wait *waits_; /* by channel; null: none */
    uint32_t waits_count_;
    uint32_t waits_left_; /* of them, that still wait to be read */
};

/* What an entry costs beside its frame's bytes, with its share of the table. It is charged to the
 * memory of the frame, so the bounds of frames of live events (--frame-bytes) and of frames from
 * the log (--catchup-bytes) hold for both. */
#define TT_CONFLATE_ENTRY_BYTES                                                                    \
    ((uint32_t)(sizeof(struct tt_conflate_entry) + 2 * sizeof(struct tt_conflate_entry *)))

/* TT_OK; TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_conflate_list_init(struct tt_conflate_list *l,
                                                 struct tt_conflate_pool *pool, uint32_t wait_ms);
void tt_conflate_list_deinit(struct tt_conflate_list *l); /* drops what is in it */

/* Appends, taking over one reference. *gone: the frame that gave way to it (its reference is the
 * caller's), or null. TT_OK; TT_ENOMEM: nothing was changed, the reference stays the caller's. */
TT_MUST_USE enum tt_status tt_conflate_list_add(struct tt_conflate_list *l, struct tt_frame *frame,
                                                uint32_t now_ms, struct tt_frame **gone);
/* Takes the head out: its frame's reference, and what was skipped before it, are the caller's. */
struct tt_frame *tt_conflate_list_take(struct tt_conflate_list *l, struct tt_skipped *skipped);
/* Seals all entries and lets them go: see `released`. */
void tt_conflate_list_release(struct tt_conflate_list *l);
void tt_conflate_list_clear(struct tt_conflate_list *l);
/* The same, to be filled again from the log: who waits is remembered. */
void tt_conflate_list_drop(struct tt_conflate_list *l);

static inline bool tt_conflate_list_empty(const struct tt_conflate_list *l)
{
    return l->count == 0;
}
static inline struct tt_conflate_entry *tt_conflate_list_first(const struct tt_conflate_list *l)
{
    struct tt_node *n = tt_list_first(&l->entries);
    return n == NULL ? NULL : TT_CONTAINER_OF(n, struct tt_conflate_entry, node);
}
static inline struct tt_conflate_entry *tt_conflate_list_next(const struct tt_conflate_list *l,
                                                              const struct tt_conflate_entry *e)
{
    struct tt_node *n = tt_list_next(&l->entries, &e->node);
    return n == NULL ? NULL : TT_CONTAINER_OF(n, struct tt_conflate_entry, node);
}

/* Where the list could be read again from the log: for each partition of which anything is in the
 * list, vector[p] becomes the offset of its first event, 0 if a RESYNC or GAP stands before that.
 * All entries of vector must be UINT64_MAX before, and the others stay so. What was skipped before
 * these events stays skipped: told(context, partition, skipped) is called for it. */
void tt_conflate_list_places(const struct tt_conflate_list *l, uint64_t *vector,
                             void (*told)(void *context, uint32_t partition,
                                          const struct tt_skipped *skipped),
                             void *context);

#endif
