/* The segments of each partition as this shard knows them, with what it has of their files.
 *
 * The owner tells every shard when a segment was added, sealed, indexed or retired (its files are
 * unlinked then); these copies change only by that. A retired segment whose file somebody reads
 * stays readable for TT_VIEW_RETIRED_MS: a client in the middle of it goes on, and whoever takes
 * longer is told that it has expired. tt_view_hold() keeps the object, not the segment.
 *
 * The index of a sealed segment (tt_view_index_*): its header, filter and holes are read when
 * they are first wanted, and stay until their memory is wanted for others.
 * Thread: owner shard. Memory: an object for each segment; filters and holes are counted in
 * shard->replay->block_bytes, at most TT_VIEW_CACHE_BYTES and a quarter of the catch-up memory. */
#ifndef TT_SHARD_REPLAY_VIEWS_H
#define TT_SHARD_REPLAY_VIEWS_H

#include "shard/messages.h"
#include "shard/replay/files.h"
#include "store/index_file.h"

struct tt_views;
struct tt_view_index;

#define TT_VIEW_RETIRED_MS  10000u
#define TT_VIEW_CACHE_BYTES (16u << 20)

struct tt_view {
    struct tt_segment segment;
    uint32_t partition;
    uint32_t slot;
    uint32_t holds;
    bool retired;
    bool indexed; /* there is an index file; false again when it turned out to be damaged */
    uint64_t retired_ns;
    uint64_t end_offset; /* retired: where the next one began */
    struct tt_node node; /* retired, in views->retired */
    struct tt_read_file *file;
    struct tt_view_index *index; /* null: not read yet, or forgotten */
};

TT_MUST_USE enum tt_status tt_views_create(struct tt_shard *shard, struct tt_views **views);
void tt_views_destroy(struct tt_views **views);
void tt_views_message(struct tt_views *views, const struct tt_message_segment *message);
/* Once a second or so, while there is something to tidy: lets go of what was retired too long ago.
 * True: there is more to come. */
bool tt_views_tidy(struct tt_views *views);

/* The segment of the first record with an offset >= `offset`; null: it has expired. */
struct tt_view *tt_views_at(struct tt_views *views, uint32_t partition, uint64_t offset);
/* The one in which the place lies; null: it is gone. */
struct tt_view *tt_views_at_place(struct tt_views *views, uint32_t partition, uint64_t place);
/* The one behind it; null: it is the newest. */
struct tt_view *tt_views_after(struct tt_views *views, const struct tt_view *view);
/* The newest that begins below `offset`; null: none. Retired ones are not given. */
struct tt_view *tt_views_below(struct tt_views *views, uint32_t partition, uint64_t offset);
/* Records of this view have lower offsets: where the next one begins; UINT64_MAX: the newest. */
uint64_t tt_view_end_offset(struct tt_views *views, const struct tt_view *view);
static inline bool tt_view_sealed(const struct tt_view *view)
{
    return view->segment.end_place != TT_SEGMENT_GROWS;
}

/* Around everything that keeps a pointer to it beyond a call. */
void tt_view_hold(struct tt_view *view);
void tt_view_release(struct tt_views *views, struct tt_view **view); /* nulls it; null is fine */
/* Reads from the segment at read->position, a place. False: no memory. */
TT_MUST_USE bool tt_view_read(struct tt_views *views, struct tt_view *view,
                              struct tt_file_read *read);

/* ---- its index ---- */
struct tt_index_waiter {
    struct tt_node node_;
    /* The index was read, or could not be: ask again. Never inside tt_view_index_get(). */
    void (*ready)(struct tt_index_waiter *waiter);
};
/* TT_OK: *header, filter and holes are there, until tt_view_index_put(). TT_MORE: they are being
 * read, ready() comes. TT_ENOENT: there is no index file. TT_FULL: no memory now. Hold the view. */
TT_MUST_USE enum tt_status tt_view_index_get(struct tt_views *views, struct tt_view *view,
                                             struct tt_index_waiter *waiter,
                                             const struct tt_index_header **header);
void tt_view_index_put(struct tt_views *views, struct tt_view *view);
/* The waiter does not want to be told any more. Harmless when it does not wait. */
void tt_view_index_cancel(struct tt_index_waiter *waiter);
bool tt_view_index_may_hold(const struct tt_view *view, uint64_t hash);
const struct tt_index_hole *tt_view_index_holes(const struct tt_view *view, uint32_t *count);
/* Reads from the index file. */
void tt_view_index_read(struct tt_view *view, struct tt_file_read *read);
/* It turned out to be damaged (or unreadable): told in the log once, and scanned from now on. */
void tt_view_index_bad(struct tt_views *views, struct tt_view *view, enum tt_status status);
/* Bytes of filters and holes in memory. */
size_t tt_views_index_bytes(const struct tt_views *views);

#endif
