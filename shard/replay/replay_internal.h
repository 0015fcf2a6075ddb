/* The inside of replay/, for its own files. */
#ifndef TT_SHARD_REPLAY_REPLAY_INTERNAL_H
#define TT_SHARD_REPLAY_REPLAY_INTERNAL_H

#include "proto/base/list.h"
#include "proto/wire/sse_frame.h"
#include "shard/client/conflate.h"
#include "shard/client/lag.h"
#include "shard/replay/files.h"
#include "shard/replay/segments.h"
#include "shard/replay/views.h"
#include "shard/shard_internal.h"
#include "shard/timers.h"
#include "store/record.h"
#include "store/tail.h"

struct tt_replay {
    struct tt_list rotation; /* clients that may have something to do */
    uint32_t clients;        /* that are catching up */
    bool woken;              /* somebody was put into the rotation since the last step */
    uint64_t relieved_ns;    /* when memory was last looked for among silent clients */
    struct tt_files *files;
    struct tt_views *views;
    struct tt_segments *segments;
    struct tt_list kept;          /* places.c: kept files that are read */
    struct tt_list searches;      /* search.c: those that can go on */
    struct tt_list since_waiting; /* since.c: for their turn */
    struct tt_list since_ready;   /* since.c: those that can go on */
    uint32_t since_running;
    struct tt_timer tidy;      /* armed while files are open or segments wait to be forgotten */
    struct tt_sse_texts texts; /* batch.c */
    size_t block_bytes;        /* of what is read from files: blocks, items, filters */
    size_t snapshot_bytes;     /* the part of it that snapshots hold */
    bool starved;              /* a snapshot waits for memory */
    uint64_t *first;           /* of each tail: first sequence in memory, loaded once a turn */
    uint64_t *first_offset;    /* and its offset */
};

/* Gives the client one record of the log. False: its outbox has no more room (or it is closing). */
bool tt_catchup_take_record(struct tt_client *client, uint32_t partition,
                            const struct tt_record *record);

/* What the client wants next is not in the log any more: tells it, and goes on from the oldest (or
 * from its position, where that was moved on already). */
void tt_catchup_expired(struct tt_client *client, uint32_t partition);

/* The memory for catching up is one sum, of frames and of blocks. Blocks have half of it at most,
 * and frames what blocks leave, which is half at least: so whoever holds blocks can make frames of
 * them, and neither waits for the other. An eighth is kept for blocks: frames that stay, because
 * nobody reads them, must not leave too little for a block and yet not be full (relief.c). (What
 * snapshots ask with is no part of blocks' half: they must not wait for themselves.) Over it are at
 * most what one step makes, and the lists that snapshots ask with. */

/* So much may frames have now. */
static inline size_t tt_replay_frames_max(const struct tt_shard *shard)
{
    size_t max = shard->replay_frames.bytes_max, blocks = shard->replay->block_bytes;
    if (blocks < max / 8) blocks = max / 8;
    return max - (blocks < max / 2 ? blocks : max / 2);
}
static inline bool tt_replay_frames_full(const struct tt_shard *shard)
{
    return shard->replay_frames.bytes > tt_replay_frames_max(shard);
}
/* What a client whose side has taken nothing yet since its socket was full may be given of what is
 * left: its largest frame, or what waits for its socket in all. A frame that was begun has to stay
 * until it was sent whole, so where many do not read it is the size of frames that says how many of
 * them there is memory for. */
static inline size_t tt_replay_share(const struct tt_client *client, unsigned part)
{
    const struct tt_shard *shard = client->shard;
    if (tt_exchange_reads(&client->exchange)) return SIZE_MAX;
    size_t max = tt_replay_frames_max(shard), held = shard->replay_frames.bytes;
    return held < max ? (max - held) / part : 0;
}
#define TT_REPLAY_FRAME_PART 128u
#define TT_REPLAY_ROOM_PART  32u
#define TT_REPLAY_ROOM_MIN   (1u << 10)

/* The outbox may have more of what was read. */
static inline bool tt_replay_outbox_has_room(const struct tt_client *client)
{
    if (client->outbox.bytes < TT_REPLAY_ROOM_MIN) return client->outbox.count < 4096;
    return client->outbox.bytes < TT_PULL_BYTES_MAX && client->outbox.count < 4096 &&
           client->outbox.bytes < tt_replay_share(client, TT_REPLAY_ROOM_PART);
}
/* The client can be given more. */
static inline bool tt_catchup_has_room(const struct tt_client *client)
{
    if (TT_UNLIKELY(client->extra != NULL) && tt_lag_skips(client)) return false;
    if (TT_UNLIKELY(client->conflate != NULL)) return tt_conflate_room(client->conflate);
    return tt_replay_outbox_has_room(client);
}
/* More than half of the memory is used: who cannot go on now keeps no more than it must. */
static inline bool tt_replay_is_short(const struct tt_shard *shard)
{
    return shard->replay_frames.bytes + shard->replay->block_bytes >
           shard->replay_frames.bytes_max / 2;
}
/* There is room for so many bytes more of blocks. (A record that is large for this memory is read
 * all the same.) */
static inline bool tt_replay_has_memory(const struct tt_shard *shard, size_t bytes)
{
    const struct tt_replay *r = shard->replay;
    size_t max = shard->replay_frames.bytes_max, blocks = r->block_bytes + bytes;
    return (blocks - r->snapshot_bytes <= max / 2 || bytes > max / 4) &&
           shard->replay_frames.bytes + blocks <= max;
}
/* Half of the memory is for those whose socket can be written: what is read for the others may stay
 * for as long as they like. A client that conflates reads on until it has taken nothing for long.
 */
bool tt_replay_waits_for_socket(const struct tt_client *client);
/* relief.c: where memory is full, drops what the log has, and ends who holds what it has not. */
void tt_replay_relieve(struct tt_shard *shard);
/* Goes on with the searches that can. */
void tt_search_run(struct tt_shard *shard);
/* since.c: goes on with those that look for a time. True: there is more to do at once. */
bool tt_since_step(struct tt_shard *shard);
/* Something was opened or retired that has to be let go later. */
void tt_replay_tidy_soon(struct tt_shard *shard);
/* places.c: kept files that nobody reads from any more. True: there are some left. */
bool tt_places_tidy(struct tt_shard *shard);
void tt_places_free_kept(struct tt_shard *shard); /* all of them, at the end */

#endif
