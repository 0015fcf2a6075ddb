/* Opens a log's directory at start-up: makes a new one, or finds out where an existing one ends.
 *
 *     DIR/META                 format, history, number of partitions, hash key
 *     DIR/<partition>/ceiling  below which offsets may have been given out
 *     DIR/<partition>/<first offset, 20 digits>.seg
 *
 * Of each partition only the newest segments are read, back to the one that holds the newest place
 * known to be durable; of the others the 128 bytes of their header. What a crash left behind at the
 * end (a torn tail) is cut off; bad bytes below a durable place are corruption: the log is refused.
 * The rule and its reasons stand in README.md. When this returns, everything that was changed is
 * synced, and every partition's ceiling is on disk.
 *
 * A *mirror* repeats what is in Kafka, at Kafka's offsets, so nothing in it is worth a refusal:
 * it has no ceilings (the same offset always names the same event), bad bytes in its newest segment
 * are cut off wherever they are, and a partition that is damaged elsewhere is dropped: it begins
 * empty. One of another history or key is dropped whole. Its number of partitions may grow, and it
 * has slots: directories of partitions that there may be.
 *
 * Files are reached through a table of blocking functions, used here and nowhere else.
 * Thread: start-up. Memory: what is returned, and one buffer while it runs. */
#ifndef TT_STORE_RECOVERY_H
#define TT_STORE_RECOVERY_H

#include "proto/base/hash.h"
#include "proto/event/position.h"
#include "store/index.h"
#include "store/kept.h"
#include "store/record.h"
#include "store/segment.h"
#include "store/values.h"

#define TT_RECOVERY_ERROR_BYTES 900u

enum tt_files_open { TT_FILES_READ = 0, TT_FILES_WRITE, TT_FILES_CREATE };
/* Blocking file access. Paths are absolute or relative to the process. Errors: TT_ENOENT,
 * TT_EEXIST, TT_EACCES, TT_ENOSPC, TT_ENOFILE, TT_EIO. EINTR and short transfers are hidden inside.
 */
struct tt_files {
    void *context;
    /* Calls entry(argument, name) for each name in the directory but . and .., in any order. A
     * failure of entry() ends it and is returned. */
    enum tt_status (*list)(void *context, const char *directory,
                           enum tt_status (*entry)(void *argument, const char *name),
                           void *argument);
    enum tt_status (*make_directory)(void *context, const char *path); /* TT_EEXIST */
    /* READ: must exist; WRITE: reading and writing, must exist; CREATE: the same, is made or
     * emptied. */
    enum tt_status (*open)(void *context, const char *path, enum tt_files_open how, int32_t *file);
    void (*close)(void *context, int32_t file);
    enum tt_status (*size)(void *context, int32_t file, uint64_t *bytes);
    /* Reads `size` bytes, or fewer only at the end of the file; *done: how many. */
    enum tt_status (*read)(void *context, int32_t file, uint64_t offset, void *data, size_t size,
                           size_t *done);
    enum tt_status (*write)(void *context, int32_t file, uint64_t offset, const void *data,
                            size_t size); /* all of it, or a failure */
    enum tt_status (*truncate)(void *context, int32_t file, uint64_t size);
    enum tt_status (*sync)(void *context,
                           int32_t file); /* data and metadata, of a file opened in any way */
    enum tt_status (*sync_directory)(void *context, const char *path);
    enum tt_status (*rename)(void *context, const char *from, const char *to);
    enum tt_status (*unlink)(void *context, const char *path);
};

struct tt_recovery_options {
    const struct tt_files *files;
    const char
        *directory; /* exists; the caller holds its lock. At most TT_RECOVERY_DIRECTORY_MAX */
    /* As configured, 1 to TT_PARTITIONS_MAX; fixed when the log is created. A mirror: those that
     * are known, at least; 0: as it says itself. */
    uint32_t partitions;
    uint64_t segment_bytes;
    bool ceilings;      /* policy is not always: offsets may be seen before they are durable */
    uint64_t random[3]; /* history and hash key of a new log */
    bool mirror;        /* instead of the two: */
    struct tt_history history;
    struct tt_hash_key hash_key;
    uint32_t slots; /* partitions that can be opened, at least */
    int64_t wall_us;
    /* Keys of batches (store/idempotency.h) are given back that were taken in this time before
     * wall_us, the newest so many of each partition; 0: none. */
    int64_t keys_window_us;
    uint32_t keys_max;
    uint32_t channels_max;  /* of each partition; 0: TT_LOG_CHANNELS_MAX. What is there counts,
                             * even if there are more */
    size_t index_bytes_max; /* of the index of a newest segment; 0: by segment_bytes */
};
#define TT_RECOVERY_DIRECTORY_MAX 512u /* a topic's name may have 249 */

/* Events of one batch with a key that lie one behind the other: offsets without a gap. */
struct tt_recovered_key {
    struct tt_record_idempotency block; /* of the first of them */
    uint64_t first_offset;
    uint32_t count;
    int64_t taken_us;
};
struct tt_recovered_partition {
    /* What stands where; tt_log_create() takes them out. Null: tt_recovery_open() was asked for a
     * log without. */
    struct tt_values *values;
    struct tt_index *index; /* of the newest segment; null: there is none, or no memory for one */
    struct tt_kept_files kept;
    char *directory;                 /* "DIR/0" */
    struct tt_segment_list segments; /* the newest is not sealed; empty: nothing was ever written */
    uint64_t next_offset;            /* of the next event: behind the hole, if there is one */
    uint64_t oldest_offset;          /* first that the segments may hold, or that is lost */
    uint64_t place;                  /* where the next record goes */
    int64_t taken_max_us;
    int64_t active_taken_us; /* first taken_us in the newest segment; INT64_MIN: it holds none */
    uint64_t hole_first, hole_end; /* equal: no hole is due */
    uint64_t ceiling;              /* on disk now; UINT64_MAX: none needed */
    uint64_t ceiling_version;
    struct tt_recovered_key *keys; /* oldest first */
    uint32_t keys_count, keys_capacity;
    /* For the log line of the start: */
    uint64_t torn_bytes; /* cut off; 0: none */
    uint64_t torn_place;
    uint64_t scanned_bytes;
    uint32_t removed_files;             /* that a crash had left unfinished */
    char note[TT_RECOVERY_ERROR_BYTES]; /* what was wrong with files that can be made anew, or with
                                         * old segments that were read for them; empty: nothing */
    /* Mirrors: */
    bool dropped;  /* it was damaged (note) or unwanted, and is empty now */
    bool has_last; /* the newest event: */
    uint64_t last_offset;
    int64_t last_taken_us;
    uint32_t last_crc; /* tt_record_event_crc() */
};
struct tt_recovered {
    bool created;
    bool mirror;
    bool dropped;   /* mirror: there was one, and all of it had to go (note): created as well */
    uint32_t known; /* partitions that there are; mirror: of partitions_count, which are slots */
    char note[TT_RECOVERY_ERROR_BYTES];
    int64_t wall_us; /* of the options: when it was opened */
    uint32_t format;
    struct tt_history history;
    struct tt_hash_key hash_key;
    uint32_t partitions_count;
    struct tt_recovered_partition *partitions;
};

/* TT_OK; else *error holds one line that names the file (and offset in it) and what is wrong with
 * it: TT_EVERSION (a newer format), TT_EINVAL (other number of partitions), TT_ECORRUPT, TT_EACCES,
 * TT_ENOSPC, TT_EIO, TT_ENOENT, TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_recovery_open(struct tt_recovered **recovered,
                                            const struct tt_recovery_options *options,
                                            char error[TT_RECOVERY_ERROR_BYTES]);
void tt_recovery_destroy(struct tt_recovered **recovered);

/* ---- mirrors, between tt_recovery_open() and the making of tail and log ---- */
/* Removes all there is of a partition, on disk too: it is empty from here on. TT_OK; else *error,
 * as above, and the partition is not to be used. */
TT_MUST_USE enum tt_status tt_recovery_drop_partition(struct tt_recovered *recovered,
                                                      const struct tt_files *files,
                                                      uint32_t partition,
                                                      char error[TT_RECOVERY_ERROR_BYTES]);
/* No segment says where it stands. */
bool tt_recovery_is_empty(const struct tt_recovered_partition *partition);
/* An empty partition is to begin with this offset. */
void tt_recovery_begin_at(struct tt_recovered_partition *partition, uint64_t offset);

#endif
