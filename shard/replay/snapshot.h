/* A snapshot: the value of each channel (from=snapshot), or its last N events (last=N), before a
 * client follows what comes next.
 *
 * A client in SNAPSHOT has a catch-up that stands still: its positions are the snapshot's `at`, one
 * vector for all of it, so everything that is sent lies below them, and the catch-up that follows
 * goes on from them without a gap or a doubled event. Partitions are served one after another. In
 * each, the channels are asked for in batches (lookup.h; what the owner does not know in search.h),
 * then read in the order of their offsets (places.h) and queued without an id while the outbox has
 * room. A batch is asked for when the one before was queued whole, so a slow client holds one batch
 * and one outbox, and no live event waits for it: the log has them. With last=N all that is found
 * in a partition is one batch, because it is sent in the order of positions; of more than
 * TT_SNAPSHOT_LAST_MAX (or --max-replay) the newest are kept, which `gap {"reason":"limit"}` tells
 * before them.
 *
 * A place that is gone when it is read is asked for again, once, at the same `at`; what is gone
 * then has been replaced by an event that the catch-up brings, or retention has taken it.
 *
 * When everything was taken, `snapshot-end` with the cursor is queued and the client moves on.
 * Thread: owner shard. Memory: what a batch needs is counted in shard->replay->block_bytes, within
 * the bound of shard->replay_frames: beyond it, a snapshot waits before its next batch. */
#ifndef TT_SHARD_REPLAY_SNAPSHOT_H
#define TT_SHARD_REPLAY_SNAPSHOT_H

#include "shard/client/client.h"

struct tt_snapshot;

#define TT_SNAPSHOT_BATCH_CHANNELS 1024u /* of one question for values */
#define TT_SNAPSHOT_BATCH_LEAST    32u   /* the same, where memory is short */
#define TT_SNAPSHOT_LIST_PART      16u   /* one part in so many of what is left for lists */
#define TT_SNAPSHOT_BATCH_EVENTS   4096u /* of one answer with last=N; at least one channel's */
#define TT_SNAPSHOT_LAST_MAX       10000u /* last=N: events of each partition; over it: told by gap */

#define TT_SNAPSHOT_SILENT_MS 5000u /* when memory is short; over it the client is closed */

/* What a client asked for. */
struct tt_snapshot_options {
    uint32_t last; /* 0: values */
    /* The channels: borrowed for the call. Those that match one of `except`, which is as
     * tt_patterns_reduce() leaves it, are left out: the client follows them already. Hashes are
     * computed here. */
    const struct tt_pattern *patterns;
    uint32_t patterns_count;
    const struct tt_pattern *except;
    uint32_t except_count;
};

/* Gives the client, which has a catch-up, a snapshot at its positions. TT_OK; TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_snapshot_create(struct tt_client *client,
                                              const struct tt_snapshot_options *options);
/* Forgets it: what is under way ends without its client. Nulls *snapshot; harmless with null. */
void tt_snapshot_destroy(struct tt_snapshot **snapshot);
/* Its client has taken nothing of what was queued for it for TT_SNAPSHOT_SILENT_MS. */
bool tt_snapshot_is_stuck(const struct tt_snapshot *snapshot);
/* It could do something now. */
bool tt_snapshot_wants_step(const struct tt_snapshot *snapshot);
/* One step; returns the bytes that were looked at, 0: nothing could be done now. The client may
 * have moved to CATCHUP, or be closing, afterwards. */
size_t tt_snapshot_step(struct tt_snapshot *snapshot, size_t budget);

#endif
