/* The inside of keep.h: keep.c chooses and ends jobs, keep_copy.c copies values (CARRY, COMPACT),
 * keep_write.c writes index files and checkpoints. */
#ifndef TT_STORE_KEEP_INTERNAL_H
#define TT_STORE_KEEP_INTERNAL_H

#include "store/checkpoint.h"
#include "store/index_file.h"
#include "store/keep.h"
#include "store/reader.h"

#define TT_KEEP_FILE_NONE (-1)

/* A record that is to be copied. */
struct tt_keep_entry {
    uint64_t place, offset;
    uint64_t to; /* where it was put; 0: nowhere yet, or it is lost */
    uint32_t slot;
    uint32_t bytes;
};

/* A window of a file in memory: bytes [place, place + have). */
struct tt_keep_window {
    uint8_t *data;
    size_t capacity;
    uint64_t place; /* in the file that is read */
    size_t have;
    size_t wanted; /* READ up to so many */
};

struct tt_keep {
    struct tt_values *values;
    struct tt_record_segment identity;
    char *directory;
    bool keep_last;
    uint64_t kept_file_bytes, garbage_bytes;

    /* What is on disk. */
    struct tt_kept_files kept;
    bool current;       /* the last kept file takes more: this process made it, nothing failed */
    uint64_t kept_size; /* synced bytes of it */
    /* A kept file with copies whose sync failed, which could not be cut off yet: nothing is copied
     * before that is done. */
    bool cut_pending;
    char cut_path[TT_LOG_PATH_BYTES];
    uint64_t cut_size;
    bool remove_no_more; /* whether the last one removed is gone for good is not known */

    /* The table's mark: everything below mark_offset_place must be durable to use it. */
    uint64_t mark_place; /* where the walk of a start-up has to begin */
    uint64_t mark_needs;
    bool mark_missed; /* a segment was begun while the mark was held */
    bool mark_held;
    uint64_t swept_offset; /* oldest_offset and kept_from of the last sweep */
    uint64_t swept_kept;

    /* The job. */
    enum tt_keep_job job;
    uint8_t step; /* of the job's own enum */
    bool ending;  /* files are closed, then it is over */
    bool closing;
    bool more; /* work is left that needs no io */
    enum tt_status status;
    struct tt_segment segment;
    bool in_flight;
    struct tt_log_operation running;
    int32_t in, out; /* files that the job has open */
    bool remove_out; /* out_path is to be unlinked at the end */
    bool cut_out;    /* `out` is to be cut to kept_size at the end */
    char in_path[TT_LOG_PATH_BYTES], out_path[TT_LOG_PATH_BYTES], to_path[TT_LOG_PATH_BYTES];
    struct tt_keep_window window;
    /* What is to be written to `out`: bytes [written, size) of data go to position + written. */
    uint8_t *data;
    size_t data_capacity, data_size, data_written;
    uint64_t position;

    /* CARRY, COMPACT */
    struct tt_keep_entry *entries; /* 2 * TT_KEEP_BATCH */
    uint32_t entries_count, entry;
    uint32_t key;       /* of the walk through the table */
    bool all_gathered;  /* no more than these */
    uint64_t from, to;  /* places of the source that are left */
    uint64_t limit;     /* entries at or above it wait for the next batch */
    uint64_t source;    /* place of the source's first byte */
    bool made;          /* `out` was made by this job: its name is to be synced */
    uint64_t bad_place; /* could not be read */
    uint32_t bad_tries;

    /* INDEX, REBUILD, CHECKPOINT */
    const struct tt_index *index;
    struct tt_index *own_index;
    size_t index_bytes_max;
    struct tt_index_writer *writer;
    struct tt_reader reader;
    struct tt_checkpoint_writer checkpoint;
    struct tt_checkpoint_header checkpoint_header;
    bool all_given;
    uint64_t checkpoint_bytes;
    uint32_t sweep_key;
    struct tt_values_swept swept;
    uint64_t graves; /* that the last sweep has counted */

    struct tt_keep_result result;
    bool has_result;
    uint64_t now_ns; /* of the call */
    uint64_t retry_ns;
    bool failing;
    enum tt_status reason;
    char failed_path[TT_LOG_PATH_BYTES];
    struct tt_keep_figures figures;
};

/* The job is over, well or badly: it is cleaned up after. path: of what failed. */
void tt_keep_finish(struct tt_keep *keep, enum tt_status status, const char *path);
/* Makes sure of so much memory. TT_OK, TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_keep_room(uint8_t **data, size_t *capacity, size_t bytes);
/* Describes the next piece of data that is to be written, or read into the window. */
bool tt_keep_write(struct tt_keep *keep, struct tt_log_operation *op);
void tt_keep_read(struct tt_keep *keep, struct tt_log_operation *op);
/* What came of it. TT_OK; TT_END: the file ends here; else the failure. */
enum tt_status tt_keep_written(struct tt_keep *keep, int32_t result);
enum tt_status tt_keep_was_read(struct tt_keep *keep, int32_t result);

/* keep_copy.c. next: as tt_keep_next(). */
void tt_keep_copy_begin(struct tt_keep *keep, enum tt_keep_job job);
enum tt_status tt_keep_copy_next(struct tt_keep *keep, const struct tt_keep_view *view,
                                 struct tt_log_operation *op);
void tt_keep_copy_done(struct tt_keep *keep, int32_t result);
/* keep_write.c */
void tt_keep_write_begin(struct tt_keep *keep, enum tt_keep_job job);
enum tt_status tt_keep_write_next(struct tt_keep *keep, const struct tt_keep_view *view,
                                  struct tt_log_operation *op);
void tt_keep_write_done(struct tt_keep *keep, int32_t result);

#endif
