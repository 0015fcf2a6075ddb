/* The inside of the log: log.c appends and publishes, log_files.c does the file work. */
#ifndef TT_STORE_LOG_INTERNAL_H
#define TT_STORE_LOG_INTERNAL_H

#include "store/ceiling.h"
#include "store/index.h"
#include "store/keep.h"
#include "store/log.h"
#include "store/values.h"

#define TT_LOG_FILE_NONE (-1)

/* Where the newest segment's file is on its way. */
enum tt_log_step {
    TT_LOG_STEP_DIRECTORY = 0, /* the directory is to be opened, for its syncs */
    TT_LOG_STEP_REOPEN,        /* the segment that was recovered is to be opened */
    TT_LOG_STEP_RESERVE_OLD,   /* ... and its space reserved again */
    TT_LOG_STEP_WRITE,         /* write what was appended to the file */
    TT_LOG_STEP_CREATE,        /* make the file of planned.items[0] */
    TT_LOG_STEP_RESERVE,       /* reserve its space */
    TT_LOG_STEP_NAME,          /* sync the directory: the file would be lost without its name */
};

/* What ends the file of a segment that takes no more writes, or of the log. */
enum tt_log_end {
    TT_LOG_END_SYNC = 0,
    TT_LOG_END_TRUNCATE, /* what was reserved and not used goes back */
    TT_LOG_END_CLOSE,
    TT_LOG_END_DONE,
};

struct tt_log_sealed {
    int32_t file; /* TT_LOG_FILE_NONE: none */
    enum tt_log_end step;
    struct tt_segment segment;
    uint64_t next_offset; /* behind its last event */
};

/* A retired segment's files are removed one after the other, and their names are synced away before
 * the next segment's turn: else a power cut could leave a gap between two that are there. */
enum tt_log_removal {
    TT_LOG_REMOVAL_NONE = 0,
    TT_LOG_REMOVAL_INDEX,
    TT_LOG_REMOVAL_SEGMENT,
    TT_LOG_REMOVAL_NAMES,
};

enum tt_log_ceiling_step { TT_LOG_CEILING_OPEN = 0, TT_LOG_CEILING_WRITE, TT_LOG_CEILING_SYNC };

/* The index of a segment that has no index file yet. */
struct tt_log_index {
    struct tt_index *index;
    uint64_t first_offset, base_place;
    bool lent; /* it is being written */
};

/* An event's channel, between the plan and the append. */
struct tt_log_opened {
    uint64_t hash;
    uint32_t slot;
};

/* Ends of a clean shutdown, in this order. */
enum tt_log_closing {
    TT_LOG_CLOSING_NOT = 0,
    TT_LOG_CLOSING_WRITE, /* until everything is written, synced, and sealed files are closed */
    TT_LOG_CLOSING_TRUNCATE,
    TT_LOG_CLOSING_CEILING,
    TT_LOG_CLOSING_FILE,
    TT_LOG_CLOSING_CEILING_FILE,
    TT_LOG_CLOSING_DIRECTORY,
    TT_LOG_CLOSING_DONE,
};

struct tt_log {
    struct tt_tail *tail;
    enum tt_log_policy policy;
    bool mirror; /* offsets are given; there is no ceiling */
    uint64_t sync_interval_ns;
    uint64_t segment_bytes;
    struct tt_retention retention;
    struct tt_record_segment identity;
    char *directory;

    /* appending */
    uint64_t next_offset;
    uint64_t place;      /* behind what was appended */
    uint64_t window_end; /* of the chunks that are open: place <= window_end */
    uint8_t *window;     /* memory of `place` */
    int64_t taken_max_us;
    int64_t segment_taken_us; /* of the first event of the newest segment; INT64_MIN: none yet */
    uint64_t segment_base;    /* of the newest segment, planned ones included */
    bool segment_begun;       /* there is one */
    bool segment_used;        /* it holds an event or a hole */
    bool batch_due;           /* a write was begun since the last BATCH record */
    bool told_last;           /* closing: the last BATCH is there */
    int64_t wall_us;          /* when an operation was asked for last */

    /* what stands where */
    struct tt_values *values;
    struct tt_log_opened *opened; /* of the batch that is being appended */
    uint32_t opened_capacity;
    struct tt_log_index indexes[TT_LOG_INDEXES_MAX]; /* oldest first */
    uint32_t indexes_count;
    struct tt_index *index; /* of the newest segment; null: it could not be made */
    size_t index_bytes_max; /* of all of them */
    struct tt_keep *keep;
    uint64_t carried; /* base place of the segment whose values were carried */
#define TT_LOG_NOT_CARRIED UINT64_MAX
    uint32_t unindexed; /* sealed segments whose index file is still to be made */
    uint64_t index_failures;

    /* files */
    struct tt_segment_list segments; /* with files; the last one takes writes */
    struct tt_segment_list planned;  /* begun in memory, no file yet. taken_max_us: of all before */
    enum tt_log_step step;
    struct tt_log_sealed sealed; /* the one before: synced and closed while the next is written */
    int32_t file;                /* of the newest segment */
    int32_t directory_file;
    uint64_t written_place;
    uint64_t aligned_ns; /* turn of the last write that was cut at WRITE_ALIGN */
    uint64_t durable_place;
    /* A write may end within a record. Where the last whole record ends, and the offset behind it:
     * what batches tell, since only whole records must be found again. */
    uint64_t written_sequence, written_end, written_offset;
    uint64_t durable_end, durable_offset;
    uint64_t durable_whole; /* every record that begins below is on disk whole */
    uint64_t sync_place, sync_end, sync_offset, sync_whole; /* of the sync in flight */
    bool sync_of_sealed;
    uint64_t sync_due_ns; /* interval; UINT64_MAX: nothing to sync */
    uint64_t sync_begun_ns;
    uint64_t retry_ns;         /* not before, after no space was left; 0: at once */
    uint64_t retention_due_ns; /* next look at retention */
    struct tt_segment retired; /* being removed */
    enum tt_log_removal removal;
    bool retire_waits; /* for the newest segment to be synced */
    uint64_t unlink_retry_ns;
    bool busy[TT_LOG_LANES];
    struct tt_log_operation running[TT_LOG_LANES];
    char paths[TT_LOG_LANES][TT_LOG_PATH_BYTES];

    /* ceiling */
    uint64_t ceiling; /* on disk */
    uint64_t ceiling_wanted;
    struct tt_ceiling ceiling_next; /* being written */
    uint64_t ceiling_version;
    enum tt_log_ceiling_step ceiling_step;
    int32_t ceiling_file;
    uint8_t ceiling_slot[TT_CEILING_SLOT_BYTES];

    /* state */
    enum tt_log_closing closing;
    bool read_only;
    bool stalled[TT_LOG_LANES]; /* no space was left for its operation: it is tried again */
    enum tt_status reason;
    enum tt_log_operation_kind failed;
    char failed_path[TT_LOG_PATH_BYTES];

    struct tt_log_notice notices[TT_LOG_NOTICES_MAX];
    uint32_t notices_first, notices_count;

    uint64_t appends, events, writes, written_bytes, syncs, segments_begun, segments_retired;
    uint64_t sync_ns_last;
};

/* Closing, when everything is durable: a last BATCH says so. Without it nothing would cover the
 * newest records, and a byte that goes bad in them would look like a torn tail at the next start,
 * which cuts them off. Left out where the chunk has no room for it. */
void tt_log_last_batch(struct tt_log *log);
/* Offsets may be seen before they are durable, and must not be used again. */
static inline bool tt_log_has_ceiling(const struct tt_log *log)
{
    return log->policy != TT_LOG_ALWAYS && !log->mirror;
}
/* The disk is full, or was a moment ago. */
bool tt_log_no_space(const struct tt_log *log);
/* Below it, tail memory is not needed for writing any more. */
uint64_t tt_log_reclaim_place(const struct tt_log *log);

/* ---- log_index.c ---- */
/* A segment begins: makes its index, or takes the one that was recovered (may be null). */
void tt_log_index_begin(struct tt_log *log, uint64_t first_offset, uint64_t base_place,
                        struct tt_index *recovered);
struct tt_index *tt_log_index_newest(const struct tt_log *log);
struct tt_log_index *tt_log_index_at(struct tt_log *log, uint64_t base_place);
void tt_log_index_drop(struct tt_log *log, uint64_t base_place);
uint64_t tt_log_index_bytes(const struct tt_log *log);
void tt_log_indexes_destroy(struct tt_log *log);

/* ---- log_keep.c: the lane KEEP ---- */
bool tt_log_keep_next(struct tt_log *log, const struct tt_log_now *now,
                      struct tt_log_operation *op);
void tt_log_keep_done(struct tt_log *log, int32_t result, const struct tt_log_now *now);
/* Whether retention wants the oldest segment gone. */
bool tt_log_retire_due(const struct tt_log *log, const struct tt_log_now *now);
/* For log_files.c and log_keep.c. */
void tt_log_notify(struct tt_log *log, enum tt_log_segment_event event,
                   const struct tt_segment *segment);
bool tt_log_notices_have_room(const struct tt_log *log, uint32_t count);

/* Seals the newest segment and begins another. TT_OK, TT_FULL, TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_log_begin_segment(struct tt_log *log, int64_t wall_us);

#endif
