/* Start-up: fills a partition's channel table from its checkpoint and kept files.
 *
 *     tt_keep_load(...)            -> values, and the place from which segments must be walked
 *     for each segment from there on: tt_values_set_mark(values, its first offset), then for
 *         each EVENT of it tt_values_open_over() and tt_values_set()
 *     tt_keep_settle(...)
 *
 * A record in a kept file counts only where its original is gone (its segment was retired, its
 * kept file removed); at the end of a file such copies are cut off: perhaps they are what a sync
 * has failed for, and later they would be taken for good. Kept files that were read are synced, and
 * the directory: what was found in them counts as durable from here on. A damaged checkpoint is no
 * failure (everything there is is walked then), nor is a kept file that cannot be read: the note
 * says so. Thread: start-up. Memory: one window while it runs. */
#ifndef TT_STORE_KEEP_LOAD_H
#define TT_STORE_KEEP_LOAD_H

#include "store/kept.h"
#include "store/recovery.h"

struct tt_keep_load_options {
    const struct tt_files *files;
    const char *directory; /* of the partition */
    const struct tt_record_segment *identity;
    uint32_t channels_max;
    uint64_t oldest_offset; /* of the oldest segment; UINT64_MAX: there is none */
    uint64_t oldest_place;  /* where it begins */
};
struct tt_keep_loaded {
    struct tt_values *values;  /* owned by the caller from here on */
    struct tt_kept_files kept; /* the caller's, as well: for tt_keep_create() */
    bool checkpoint;           /* there was a valid one */
    uint64_t place; /* walk the segments from the one in which this lies (0: from the oldest). One
                     * began here; a power cut may have taken it, and the one before gone on */
    uint64_t read_bytes;
    char note[TT_RECOVERY_ERROR_BYTES]; /* a line for the log that names a file; empty: all is well
                                         */
};
/* TT_OK; TT_ENOMEM; TT_EIO and other failures to read, with the line in note. */
TT_MUST_USE enum tt_status tt_keep_load(struct tt_keep_loaded *loaded,
                                        const struct tt_keep_load_options *options);
/* When everything was walked: values that only the checkpoint still knew (they were deleted, and
 * the deletion has expired) are forgotten, channels that are gone are dropped. */
void tt_keep_settle(struct tt_values *values, const struct tt_kept_files *kept,
                    uint64_t oldest_offset, uint64_t oldest_place);

#endif
