/* The files beside the segments of one partition, against the records: index files and the
 * checkpoint with the kept files.
 *
 * An index file is what its writer makes of the segment's records, so it is made again and compared
 * byte by byte. Of the checkpoint every value must stand where it says. While a broker runs, files
 * beside are replaced at any time: only what is complete is looked at, and of the checkpoint only
 * its own checksums. Thread: one. Memory: the index of one segment, the table of the checkpoint.
 */
#ifndef TT_TTLOG_BESIDE_H
#define TT_TTLOG_BESIDE_H

#include "store/index.h"
#include "store/values.h"
#include "tools/ttlog/check.h"

struct tt_beside_place {
    uint64_t place, offset;
};

struct tt_beside {
    struct tt_check *check;
    const struct tt_listing_partition *partition;
    struct tt_record_segment identity;
    struct tt_values *values;       /* of the checkpoint; null: there is none, or it is bad */
    struct tt_beside_place *places; /* where its values stand, rising: in segments, then kept */
    uint32_t places_count, places_at;
    struct tt_index *index; /* of the segment that is walked; null: not wanted */
    bool told;              /* one value that is not there is enough */
};

/* Reads the checkpoint. TT_OK, TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_beside_begin(struct tt_beside *beside, struct tt_check *check,
                                           const struct tt_listing_partition *partition);
/* A segment's records follow, in order. */
TT_MUST_USE enum tt_status tt_beside_segment(struct tt_beside *beside,
                                             const struct tt_segment *segment);
void tt_beside_record(struct tt_beside *beside, const struct tt_record *record, uint64_t place);
/* It was read whole (clean), or not: then its index is not looked at. */
TT_MUST_USE enum tt_status tt_beside_segment_end(struct tt_beside *beside,
                                                 const struct tt_segment *segment, bool clean);
/* All segments were walked; clean: whole, then the kept files are looked at, too. Frees
 * everything. */
void tt_beside_end(struct tt_beside *beside, bool clean);

#endif
