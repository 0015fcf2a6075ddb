/* The only question that is put to a partition's owner: where are the newest events, or the value,
 * of these channels?
 *
 * The asking shard fills a struct tt_lookup and lends it to the owner, which answers it in place
 * (tt_log_lookup) and gives it back; nothing is copied. The owner answers from memory alone, by the
 * channel table and by the indexes that are there: of the segment that grows, and of sealed ones
 * whose index file is not complete. What may lie in older segments the asking shard searches
 * itself, in index files or, where there is none, by scanning; `search_below` says from where on.
 *
 * Everything is asked as of `at`, an offset: only events below it count. Whoever needs several
 * answers for one picture carries the same `at` in all of them; it is best what the shard has read
 * of the partition, because then everything that is found can be read, and what follows comes by
 * the tail.
 *
 * A place that was answered may be gone when it is read, because its segment was retired or a kept
 * file was compacted: look it up again with the same `at`. If it is still gone, a newer event at or
 * above `at` has replaced the value (the tail brings it), or retention has taken it.
 *
 * Hashes are 64 bits (tt_hash by the log's key). Two channels may share one: the index tells them
 * apart only when the record is read, so whoever reads it compares the name.
 *
 * Thread: filled by the asker, answered by the owner's shard. Memory: all the asker's. */
#ifndef TT_STORE_LOOKUP_H
#define TT_STORE_LOOKUP_H

#include "proto/base/bytes.h"
#include "proto/event/channel.h"

struct tt_log;

enum tt_lookup_kind {
    TT_LOOKUP_VALUE = 1, /* the value of each channel: its newest event below `at` that is not
                          * never-conflate, unless that is a delete */
    TT_LOOKUP_LAST,      /* the newest `last` events of each channel below `at`, of any kind */
    TT_LOOKUP_RANGE,     /* the events of the channels from `from` on and below `at`, and the holes
                          * between; channels by hash only, at most TT_LOOKUP_RANGE_CHANNELS_MAX */
};

enum tt_lookup_flags {
    TT_LOOKUP_NEVER_CONFLATE = 1, /* as enum tt_index_flags */
    TT_LOOKUP_DELETE = 2,
    TT_LOOKUP_HOLE = 4, /* RANGE: offsets from `offset` to below `hash` were lost */
};

/* One record. place: in the log; with bit 63, in a kept file (store/keep.h). */
struct tt_lookup_item {
    uint64_t offset;
    uint64_t place;
    uint64_t hash;
    uint32_t flags; /* enum tt_lookup_flags */
};

struct tt_lookup_channel {
    uint64_t hash;  /* in; by pattern: out */
    uint32_t found; /* out: how many of the answer's items are this channel's */
    /* out: VALUE, LAST: what is missing (the value; `last` - found events) may lie below this
     * offset, in segments that the owner has no index of: search them. 0: there is no more. */
    uint64_t search_below;
};

#define TT_LOOKUP_END                UINT64_MAX
#define TT_LOOKUP_SLOTS_MAX          4096u /* of the channel table that one call looks at */
#define TT_LOOKUP_RANGE_CHANNELS_MAX 64u
#define TT_LOOKUP_RANGE_HOLES        16u  /* that one answer tells of */
#define TT_LOOKUP_BATCH              256u /* entries taken out of an index at once */
#define TT_LOOKUP_SAME_HASH_MAX      64u  /* channels with one hash */

struct tt_lookup {
    /* ---- in ---- */
    enum tt_lookup_kind kind;
    uint32_t partition; /* for whoever carries it to the owner */
    uint32_t last;      /* LAST: >= 1 */
    uint64_t at;
    uint64_t from; /* RANGE */
    /* By hash: channels[0 .. channels_count) are given. By pattern (VALUE, LAST): channels[] has
     * room for channels_max, and is filled with those that match, in the order of the table's
     * slots, which neither insertion nor removal changes. */
    bool by_pattern;
    struct tt_pattern pattern; /* borrowed text, until it is given back */
    struct tt_lookup_channel *channels;
    uint32_t channels_count; /* by pattern: out */
    uint32_t channels_max;   /* by pattern; >= 1 */
    /* Where to go on. In: 0 at first, then what came out; out: TT_LOOKUP_END when all was answered.
     *   by hash, VALUE and LAST: the index of the first channel that is not answered yet (items[]
     *                            was full): only channels from the key on are looked at
     *   by pattern:              the slot to go on with
     *   RANGE:                   the answer is complete below this offset: ask again with
     *                            from = key, until key is `at`. It is `from` itself when the owner
     * cannot say anything about `from`: read to `memory_offset` without it. */
    uint64_t key;
    /* ---- out ---- */
    struct tt_lookup_item *items; /* VALUE, LAST: grouped by channel, in the order of channels[],
                                   * oldest first within one; RANGE: by offset */
    uint32_t items_max; /* at least: LAST: `last`; RANGE: channels_count + 1; VALUE: 1 (channels
                         * that share a hash: all of them at once, or none is told) */
    uint32_t items_count;
    uint64_t memory_offset; /* from this offset on the owner has an index without gaps */
};

/* Answers it. Bounded work: at most TT_LOOKUP_SLOTS_MAX slots or channels, and items_max items.
 * Thread: the log's. Cannot fail. */
void tt_log_lookup(const struct tt_log *log, struct tt_lookup *lookup);

#endif
