/* The background jobs of one partition's log, sans-IO: files that nothing waits for.
 *
 *     INDEX       writes the index of a sealed segment beside it
 *     REBUILD     reads a sealed segment that has none, builds its index in memory, writes it
 *     CARRY       copies the values that stand in a segment to a kept file, before it is retired
 *     CHECKPOINT  writes the channel table; begun by itself after segments were begun
 *     COMPACT     copies what is alive in the oldest kept file to the newest, removes it; by itself
 *     SWEEP       drops channels that are gone from the table; by itself
 *
 * One job at a time, in one lane, at most one operation in flight. The log begins the first three
 * when nothing is under way (tt_keep_busy); the others begin within tt_keep_next(). The log
 * passes on what tt_keep_next() says, and takes results:
 *
 *     if (!tt_keep_busy(keep)) one of tt_keep_carry, tt_keep_index, tt_keep_rebuild, if due
 *     switch (tt_keep_next(keep, now, &view, &op)):
 *         TT_OK    start op; when it is done: tt_keep_done(keep, result, now)
 *         TT_MORE  a slice of work was done without io: ask again, best in the next turn
 *         TT_IDLE  nothing now: after tt_keep_next_ns()
 *     while (tt_keep_take_result(keep, &result) == TT_OK) see below
 *
 * What makes it safe to unlink a segment is CARRIED alone: the records of its values (and of the
 * deletions that still matter) have been copied to a kept file, that file and its name are synced,
 * and the table points there. Kept files tell by themselves what is in them, so the checkpoint
 * needs not be newer: start-up reads the checkpoint, the kept files behind the point that it names,
 * and the segments from its place on; whatever lay in a segment that is gone by then stands in a
 * kept file.
 *
 * A value in a segment is left behind only if a newer event of its channel is durable. Jobs that
 * look at the table as of its mark (CHECKPOINT, CARRY, COMPACT) begin only when everything below
 * the mark is durable, and the mark stays while they run; above it the table keeps both values, and
 * both are carried.
 *
 * Failures never touch the partition: it goes on taking events. TT_ENOSPC and whatever else goes
 * wrong: the job is given up, what it wrote is thrown away, and it may be begun again after
 * TT_LOG_RETRY_NS; meanwhile the segment is not given up. A kept file that a write or sync failed
 * for is never appended to again; nothing that was not synced is pointed at, so all of it is
 * copied anew to another file, and what was not synced is cut off, or removed with its file. A
 * record that cannot be read (damaged, or EIO TT_KEEP_TRIES_MAX times in a row) is lost, and
 * counted: otherwise retention would end.
 *
 * Work of each call: at most TT_VALUES_BLOCK slots, or a window of TT_KEEP_WINDOW_BYTES (a larger
 * record: its size), or one step of the index writer, or sorting TT_KEEP_BATCH places.
 * Thread: the log's. Memory: two windows and one batch while a job runs (tt_keep_figures). */
#ifndef TT_STORE_KEEP_H
#define TT_STORE_KEEP_H

#include "store/index.h"
#include "store/kept.h"
#include "store/log.h"
#include "store/values.h"

#define TT_KEEP_WINDOW_BYTES (256u << 10)
#define TT_KEEP_BATCH        8192u       /* values copied for each sync */
#define TT_KEEP_FILE_BYTES   (64u << 20) /* of a kept file; the next is begun beyond */
#define TT_KEEP_GARBAGE_BYTES                                                                      \
    (16u << 20)                /* COMPACT: kept files hold twice what is alive, and this */
#define TT_KEEP_FILES_MAX 256u /* COMPACT: more files than this */
/* COMPACT: more deletions in kept files than this and an eighth of the channels, or than an eighth
 * of channels_max. */
#define TT_KEEP_GRAVES_MAX 1024u
#define TT_KEEP_TRIES_MAX  8u /* reads of one record */
/* CHECKPOINT is due when the log has grown by so many times its size since the last. */
#define TT_KEEP_CHECKPOINT_RATIO 4u

struct tt_keep;
struct tt_keep_options {
    struct tt_values *values;                 /* borrowed */
    const char *directory;                    /* of the partition; borrowed */
    const struct tt_record_segment *identity; /* borrowed */
    struct tt_kept_files *kept;               /* of keep_load.h, taken over (zeroed); null: none */
    uint64_t mark_place;      /* of the segment whose first offset is the table's mark */
    uint64_t kept_file_bytes; /* 0: TT_KEEP_FILE_BYTES */
    uint64_t garbage_bytes;   /* 0: TT_KEEP_GARBAGE_BYTES */
    bool keep_last;           /* false: no values are carried, and kept files are removed */
};
/* TT_OK, TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_keep_create(struct tt_keep **keep,
                                          const struct tt_keep_options *options);
/* With nothing in flight. A null one is fine. */
void tt_keep_destroy(struct tt_keep **keep);

/* A segment was begun in memory: call it before tt_values_set() of its first event. Moves the
 * table's mark, unless a job uses it, and makes a checkpoint due. */
void tt_keep_segment_begun(struct tt_keep *keep, uint64_t first_offset, uint64_t base_place);

/* ---- jobs; TT_OK: begun; TT_IDLE: not now (busy, waiting after a failure, closing) ---- */
/* The index is borrowed until the result. */
TT_MUST_USE enum tt_status tt_keep_index(struct tt_keep *keep, const struct tt_log_now *now,
                                         const struct tt_segment *segment,
                                         const struct tt_index *index);
/* index_bytes_max: as in struct tt_index_options. */
TT_MUST_USE enum tt_status tt_keep_rebuild(struct tt_keep *keep, const struct tt_log_now *now,
                                           const struct tt_segment *segment,
                                           size_t index_bytes_max);
/* The oldest segment is to be retired. It is sealed and synced. */
TT_MUST_USE enum tt_status tt_keep_carry(struct tt_keep *keep, const struct tt_log_now *now,
                                         const struct tt_segment *segment);
bool tt_keep_busy(const struct tt_keep *keep);

/* ---- work ---- */
/* What the log is at this moment. */
struct tt_keep_view {
    uint64_t next_offset;   /* everything below is in the table, nothing else */
    uint64_t place;         /* where the next record goes */
    uint64_t newest_place;  /* where the newest segment begins, one without file included */
    uint64_t durable_place; /* every record that begins below is on disk, whole */
    uint64_t oldest_offset; /* of the oldest segment; all below has expired */
    uint64_t oldest_place;  /* where it begins */
    int32_t directory_file; /* open for syncing; < 0: not yet (CARRY and CHECKPOINT wait) */
};
TT_MUST_USE enum tt_status tt_keep_next(struct tt_keep *keep, const struct tt_log_now *now,
                                        const struct tt_keep_view *view,
                                        struct tt_log_operation *operation);
/* The operation has ended: as for tt_log_operation_done(). */
void tt_keep_done(struct tt_keep *keep, int32_t result, const struct tt_log_now *now);
/* When to ask again at the latest; 0: at once (work is left that needs no io); UINT64_MAX: when
 * something is done or begun. */
uint64_t tt_keep_next_ns(const struct tt_keep *keep);

enum tt_keep_event {
    TT_KEEP_INDEXED = 1, /* INDEX, REBUILD: the index file is whole, synced and in its place */
    TT_KEEP_UNINDEXED,   /* ... there is none. status: TT_ECORRUPT, TT_EVERSION: the segment cannot
                          * be read; TT_ENOMEM: too large; else: try again later */
    TT_KEEP_CARRIED,     /* the segment and its index may be unlinked */
    TT_KEEP_NOT_CARRIED, /* try again later */
};
struct tt_keep_result {
    enum tt_keep_event event;
    enum tt_status status;
    struct tt_segment segment;
};
/* TT_OK, TT_IDLE. Each job that was begun gives one. */
TT_MUST_USE enum tt_status tt_keep_take_result(struct tt_keep *keep, struct tt_keep_result *result);
/* Ends the job under way (its result says TT_ECANCELED) and closes its files: go on asking for
 * operations until closed. Begins nothing any more. */
void tt_keep_close(struct tt_keep *keep);
bool tt_keep_closed(const struct tt_keep *keep);

enum tt_keep_job {
    TT_KEEP_NOTHING = 0,
    TT_KEEP_INDEX,
    TT_KEEP_REBUILD,
    TT_KEEP_CARRY,
    TT_KEEP_CHECKPOINT,
    TT_KEEP_COMPACT,
    TT_KEEP_SWEEP,
};
struct tt_keep_figures {
    enum tt_keep_job job;
    bool failing;            /* the last job failed: it waits, or runs again */
    enum tt_status reason;   /* of the newest failure; TT_OK: there was none */
    const char *failed_path; /* of which file */
    uint64_t failures;
    uint64_t kept_files, kept_bytes; /* on disk */
    uint64_t checkpoints, checkpoint_bytes, indexes, rebuilds, carries, compactions;
    uint64_t carried_values, lost_values;
    uint64_t memory_bytes; /* of the job under way */
};
void tt_keep_figures(const struct tt_keep *keep, struct tt_keep_figures *figures);

#endif
