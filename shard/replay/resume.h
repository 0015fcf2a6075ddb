/* Where a client starts: from its cursor (or `from`) to a position in every partition it can touch.
 *
 * Pure: what the shard knows comes as a view, what the client gets goes into a struct. The rules
 * are those of shard/client/README.md, "What an id may promise"; README.md beside this file tells
 * the whole way from Last-Event-ID to the join. All offsets are *next* offsets: the first that the
 * client does not have. Thread: owner shard. Memory: the caller's. */
#ifndef TT_SHARD_REPLAY_RESUME_H
#define TT_SHARD_REPLAY_RESUME_H

#include "proto/event/cursor.h"
#include "proto/wire/subscribe.h"
#include "shard/topology.h"

/* What a partition's source says (shard.h, tt_partition). */
struct tt_resume_source {
    uint64_t end; /* its next offset; 0: not known yet */
    bool backfilling;
};

/* What the shard knows of all partitions, by local number, at this moment. */
struct tt_resume_view {
    const struct tt_topology *topology;
    const uint64_t *next;                  /* R: what this shard has read */
    const uint64_t *head;                  /* next offset of the log; never below R */
    const uint64_t *oldest;                /* first offset that is still in the log */
    const struct tt_resume_source *source; /* null: events come by HTTP only */
    /* Bit i: the subscription can touch topic i. Of others nothing is missed. */
    uint64_t touched;
};

enum tt_resume_resync {
    TT_RESUME_EXACT = 0,     /* nothing to tell */
    TT_RESUME_PARTIAL,       /* says nothing about some partitions: those start live */
    TT_RESUME_REPARTITIONED, /* the same, because its topic has other partitions by now, or channels
                              * do not lie where they were said to */
    TT_RESUME_AHEAD,         /* beyond the end of a log that is written here: goes on live */
    TT_RESUME_HISTORY,       /* unreadable, or of another history: starts as `from` says */
};

struct tt_resume {
    uint32_t partition;           /* narrow client: its partition; else TT_PARTITION_ALL */
    enum tt_resume_resync resync; /* told before anything else; of several the last of the list */
    bool fresh;                   /* `from` decided: no cursor, or none of a history known here */
    bool repeat_cursor;           /* `connected` repeats the cursor that was given, unchanged */
    bool not_ready;               /* it would start where the source's end is, or at values that
                                   * are not here yet: nobody knows before backfilling is over */
    bool dropped;                 /* the cursor has partitions that there is no room for here */
};

/* Where from is snapshot, last or a time, positions are those of `live`: the first two join there,
 * the third is found by whoever called (since.h).
 * partition: the only one that the subscription can touch, or TT_PARTITION_ALL. pos: room for all
 * local numbers; a narrow client gets only its own entry filled.
 *
 * A position beyond the log's end of a topic that is read from a source is no reason for a resync:
 * this instance lags behind another one. The catch-up waits there (catchup.h). */
void tt_resume(const struct tt_resume_view *view, uint32_t partition, struct tt_bytes cursor,
               enum tt_subscribe_from from, struct tt_cursor_storage *storage,
               struct tt_resume *resume, uint64_t *pos);

/* "history", ...: the reason in the resync event; static storage. Not for TT_RESUME_EXACT. */
const char *tt_resume_resync_text(enum tt_resume_resync resync);

#endif
