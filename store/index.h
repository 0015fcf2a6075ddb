/* The index of one segment while it grows, in memory: for each channel hash the list of its
 * records.
 *
 * A list holds offset, place and flags of each record as delta varints, in blocks from an arena of
 * slabs; channels are found through an open-addressing table of 64-bit hashes that grows a few
 * slots with each add, so no add takes long. Two channels may share a hash, and then a list:
 * whoever reads the records compares the name. Beside the lists stand what a reader must be told as
 * well: holes, and the idempotency blocks of batches.
 *
 * When the segment is sealed its index is written to a file (index_file.h); until that is complete
 * the object stays and answers. Offsets and places only rise from add to add (asserted).
 *
 * An index may break: no memory, or over its bound. It answers nothing from then on (its segment is
 * scanned), and never fails the append.
 * Thread: the owner of the log, or of whatever builds it. Memory: slabs and tables, on demand, at
 * most bytes_max; tt_index_bytes() tells. */
#ifndef TT_STORE_INDEX_H
#define TT_STORE_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"
#include "store/record.h"

enum tt_index_flags {
    TT_INDEX_NEVER_CONFLATE = 1,
    TT_INDEX_DELETE = 2, /* deletes the channel's value */
};
#define TT_INDEX_FLAGS_MASK 3u
/* Does an event of these flags set, or delete, its channel's value? A delete always does. */
static inline bool tt_index_is_value(uint32_t flags)
{
    return (flags & TT_INDEX_NEVER_CONFLATE) == 0 || (flags & TT_INDEX_DELETE) != 0;
}

struct tt_index_entry {
    uint64_t offset;
    uint64_t place;
    uint32_t flags; /* enum tt_index_flags */
};

struct tt_index_hole {
    uint64_t first; /* lost offset */
    uint64_t end;   /* behind the last one */
    uint64_t place; /* of the HOLE record */
};

/* A run of events of one batch that lie one behind the other in this segment. */
struct tt_index_idempotency {
    uint8_t key_hash[16];
    uint8_t body_hash[16];
    uint64_t first_offset;
    uint64_t end_place; /* behind the run's last record */
    int64_t taken_us;
    uint32_t index;  /* of the run's first event in its batch */
    uint32_t events; /* of the run */
    uint32_t count;  /* events of the whole batch */
};

struct tt_index_options {
    uint64_t first_offset;  /* of the segment */
    uint64_t base_place;    /* of the segment */
    uint32_t channels_hint; /* how many the segment before had: its table needs no growing; 0 */
    size_t bytes_max;       /* it breaks beyond; 0: TT_INDEX_BYTES_MAX */
};
#define TT_INDEX_BYTES_MAX ((size_t)1 << 30)

struct tt_index;
/* TT_OK, TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_index_create(struct tt_index **index,
                                           const struct tt_index_options *options);
void tt_index_destroy(struct tt_index **index); /* a null one is fine */
/* All it has allocated. */
size_t tt_index_bytes(const struct tt_index *index);
/* It lacks something: answers nothing, takes nothing, cannot be written. Its memory, but for the
 * object, is free already. */
bool tt_index_broken(const struct tt_index *index);
/* Breaks it. */
void tt_index_break(struct tt_index *index);

/* ---- adding: by rising offset and place. TT_OK; TT_ENOMEM: it is broken. A broken one takes
 * everything and keeps nothing (TT_ENOMEM again), so the result may be ignored. ---- */
/* About 40 ns, and the time of three to four cache misses where there are more channels than fit.
 */
enum tt_status tt_index_add(struct tt_index *index, uint64_t hash, uint64_t offset, uint64_t place,
                            uint32_t flags);
enum tt_status tt_index_add_hole(struct tt_index *index, uint64_t first, uint64_t end,
                                 uint64_t place);
/* The block of an event that was added; those of one batch become one entry. end_place: behind its
 * record. */
enum tt_status tt_index_add_idempotency(struct tt_index *index,
                                        const struct tt_record_idempotency *block, uint64_t offset,
                                        uint64_t end_place, int64_t taken_us);
/* What a record of the segment adds, whatever its class: for recovery and rebuilding. hash: of the
 * channel, for an EVENT. place: where it stands. */
enum tt_status tt_index_add_record(struct tt_index *index, const struct tt_record *record,
                                   uint64_t hash, uint64_t place);

/* What adding an entry of this hash will touch is fetched, for whoever knows some hashes ahead:
 * first all with step 0, then some before each is added with step 1, then 2. Says nothing, changes
 * nothing. */
void tt_index_prefetch(const struct tt_index *index, uint64_t hash, unsigned step);

/* ---- asking; a broken index answers as if it were empty ---- */
uint32_t tt_index_channels(const struct tt_index *index);
uint64_t tt_index_entries(const struct tt_index *index);
/* Entries of one channel. */
uint32_t tt_index_count(const struct tt_index *index, uint64_t hash);
/* The first `max` of those with from <= offset < below, oldest first; returns their number. Time:
 * by the entries from `from` on. */
uint32_t tt_index_range(const struct tt_index *index, uint64_t hash, uint64_t from, uint64_t below,
                        struct tt_index_entry *entries, uint32_t max);
/* The newest n below that offset, oldest first. */
uint32_t tt_index_last(const struct tt_index *index, uint64_t hash, uint64_t below, uint32_t n,
                       struct tt_index_entry *entries);
/* The newest below that offset that tt_index_is_value(). TT_OK: *entry is the value's record;
 * TT_ENOENT: it deletes the value (*entry says which); TT_END: there is none in this index. */
TT_MUST_USE enum tt_status tt_index_value(const struct tt_index *index, uint64_t hash,
                                          uint64_t below, struct tt_index_entry *entry);
/* Those that end above `from` and begin below `below`, oldest first. */
uint32_t tt_index_holes(const struct tt_index *index, uint64_t from, uint64_t below,
                        struct tt_index_hole *holes, uint32_t max);
/* All of them, oldest first, until it changes; *count: how many. */
const struct tt_index_idempotency *tt_index_idempotency(const struct tt_index *index,
                                                        uint32_t *count);

#endif
