/* The inside of snapshot.h: what a snapshot is, for snapshot.c (its life, what it sends) and
 * snapshot_ask.c (what it asks). Thread: owner shard. */
#ifndef TT_SHARD_REPLAY_SNAPSHOT_INTERNAL_H
#define TT_SHARD_REPLAY_SNAPSHOT_INTERNAL_H

#include "shard/replay/catchup.h"
#include "shard/replay/lookup.h"
#include "shard/replay/places.h"
#include "shard/replay/replay_internal.h"
#include "shard/replay/search.h"
#include "shard/replay/snapshot.h"
#include "shard/shard_internal.h"

enum tt_snapshot_step_kind {
    TT_SNAPSHOT_ASK = 0,   /* the next batch is to be asked for */
    TT_SNAPSHOT_ASKED,     /* it is the owner's */
    TT_SNAPSHOT_SEARCH,    /* answered; what the owner does not know is to be searched */
    TT_SNAPSHOT_SEARCHING, /* it is being searched */
    TT_SNAPSHOT_READ,      /* items[] are being given */
    TT_SNAPSHOT_END,       /* all are queued; when they are taken it is over */
};

struct tt_snapshot_ask {
    struct tt_pattern pattern; /* text: in the snapshot's own memory */
    uint64_t hash;             /* of an exact one */
};

struct tt_snapshot {
    size_t own_bytes;         /* of this block, counted in shard->replay->block_bytes */
    struct tt_client *client; /* null: forgotten; done() frees it */
    struct tt_shard *shard;
    struct tt_lookup_request request;
    struct tt_search *search;
    struct tt_places *places;
    struct tt_lookup_item *items; /* of the batch; with last: what the partition has so far */
    uint32_t items_count;
    uint32_t items_max;
    uint32_t items_given; /* of them; places began at items_opened */
    uint32_t items_opened;
    uint64_t *gone; /* hashes of values whose places were gone; null: none */
    uint32_t gone_count;
    size_t counted; /* in block_bytes */
    uint32_t last;
    uint32_t limit; /* last: most events of a partition */
    uint8_t step;   /* enum tt_snapshot_step_kind */
    bool waiting;   /* for an answer, a search or a read */
    bool again;     /* the batch is what was gone the first time */
    uint8_t tries;
    uint32_t given_ms; /* low bits of the shard's clock when a value was queued behind nothing */
    uint32_t part;     /* of client->catchup */
    uint32_t ask;      /* the batch begins with this one */
    uint32_t next_ask; /* the one behind it does with this one */
    uint64_t key;      /* of the batch, within a pattern */
    uint64_t events;   /* queued so far */
    /* last: events of the partition that are left out because there are newer ones enough */
    uint64_t skipped, skipped_first, skipped_last;
    uint64_t cutoff; /* those below are left out */
    uint32_t asks_count;
    uint32_t except_count;
    struct tt_pattern *except;
    struct tt_snapshot_ask asks[]; /* exact ones first; behind them except, and all texts */
};

/* ---- snapshot.c ---- */
void tt_snapshot_wake(void *owner); /* an answer, a search or a read has come */
void tt_snapshot_free(struct tt_snapshot *s);

static inline uint32_t tt_snapshot_partition(const struct tt_snapshot *s)
{
    return tt_client_full(s->client) ? s->part : s->client->partition;
}

/* ---- snapshot_ask.c ---- */
/* In TT_SNAPSHOT_ASK: what comes next; in a later turn if there is no memory. */
void tt_snapshot_ask(struct tt_snapshot *s);
void tt_snapshot_search(struct tt_snapshot *s);   /* in TT_SNAPSHOT_SEARCH */
void tt_snapshot_searched(struct tt_snapshot *s); /* in TT_SNAPSHOT_SEARCHING */
void tt_snapshot_drop_question(struct tt_snapshot *s);
void tt_snapshot_drop_items(struct tt_snapshot *s);

#endif
