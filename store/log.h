/* The log of one partition: its owner's state machine, sans-IO.
 *
 * Events are appended to the tail (memory), numbered, and published to the readers. What has to
 * happen to files is described by operations, which the caller carries out through its io:
 *
 *     while (tt_log_next_operation(log, now, &op) == TT_OK) start it
 *     ... on completion: tt_log_operation_done(log, op.lane, result, now); then ask again
 *
 * There are five lanes, each with at most one operation in flight, so at most
 * TT_LOG_LANES for a partition: WRITE (open, preallocate, write), SYNC, CEILING, CLEAN (close,
 * truncate, unlink), and KEEP (background jobs, keep.h: index files, kept values, the checkpoint).
 * Operations of different lanes may run at the same time and end in any order.
 *
 * What stands where. With each event its channel's entry in the table of values (values.h) and the
 * index of the newest segment (index.h) are brought up to date; tt_log_lookup() (lookup.h) asks
 * both. The index of a sealed segment stays in memory until its file is complete. An index that
 * cannot be made or written never stops the log: its segment is read whole instead, and the index
 * is made again in the background. When retention wants the oldest segment gone, the values that
 * stand in it are carried to a kept file first (kept.h).
 *
 * Visible and accepted: with always, both when synced; else an event is visible at once (published)
 * and accepted when written. An offset may be given out only below the *ceiling*, which is on disk
 * and synced before (blocks of TT_LOG_CEILING_BLOCK, raised at half a block); after an unclean stop
 * numbering goes on from it, so no offset names two events. With always nothing is visible before
 * it is durable: no ceiling is needed and the file says so.
 *
 * A mirror (recovery.h) takes events at offsets of their own, which rise but may leave holes, by
 * tt_log_append_at(), and no others. It has no ceiling, whatever the policy. taken_us of its events
 * is the record's own time, which may go backwards and lie in the future: places are found by the
 * newest time so far, which never falls (from=<ms> then means: from the first event that is not
 * older, as in Kafka); retention by age goes by the newest time of a segment and of all before, so
 * one event from the future keeps what is before it until then (or until the bytes are too many).
 * Its segments end by age counted from when they were begun, so that old events that are fetched
 * do not make a segment each.
 *
 * Failures. A write or sync that fails (TT_EIO, anything but TT_ENOSPC) is never repeated: after it
 * the kernel may have dropped the page and call it clean. The partition is read-only until the
 * process restarts and recovers; what was appended and not accepted stays unaccepted, readers go
 * on. TT_ENOSPC of a preallocation, a write or a ceiling heals: nothing was written beyond what was
 * reported, so the same bytes are written to the same place again after TT_LOG_RETRY_NS; until then
 * appends get TT_ENOSPC. TT_ENOSPC of a sync does not heal: by then the data may be lost.
 *
 * Thread: owner shard; created and destroyed at start-up and end. Memory: by tt_log_create(), but
 * for the growth of the list of segments (one doubling for many segments). */
#ifndef TT_STORE_LOG_H
#define TT_STORE_LOG_H

#include "store/record.h"
#include "store/recovery.h"
#include "store/retention.h"
#include "store/segment.h"
#include "store/tail.h"

#define TT_LOG_CEILING_BLOCK 65536u
#define TT_LOG_RETRY_NS      UINT64_C(1000000000)
#define TT_LOG_PATH_BYTES    576u

/* The values are those of the option --log-sync, in its order. */
enum tt_log_policy { TT_LOG_ALWAYS = 0, TT_LOG_INTERVAL, TT_LOG_NEVER };

struct tt_log;
struct tt_log_options {
    struct tt_recovered *recovered; /* of the whole log: history, key, partitions */
    uint32_t partition;             /* which of its partitions */
    struct tt_tail *tail;           /* borrowed; made with the recovered offsets */
    enum tt_log_policy policy;
    uint64_t sync_interval_ns; /* TT_LOG_INTERVAL */
    uint64_t segment_bytes;    /* rounded down to whole chunks, at least two */
    struct tt_retention retention;
    uint32_t channels_max;  /* of this partition; 0: TT_LOG_CHANNELS_MAX */
    size_t index_bytes_max; /* of its indexes in memory; 0: as tt_log_index_bytes_max() says */
    bool forget_values;     /* of retired segments: they are not carried to kept files */
};
#define TT_LOG_CHANNELS_MAX 1000000u
/* Indexes in memory, of the newest segments; older ones than these wait for their files unindexed.
 */
#define TT_LOG_INDEXES_MAX 16u
/* An eighth of a segment: 8 bytes for each record of 64. At least 4 MiB. */
size_t tt_log_index_bytes_max(uint64_t segment_bytes);
/* What a log of these options may come to hold in memory, its tail not counted. */
uint64_t tt_log_memory_bytes(const struct tt_log_options *options);

/* What time it is; read once a turn. */
struct tt_log_now {
    uint64_t ns;     /* monotonic */
    int64_t wall_us; /* unix time */
};

/* Takes the partition over as it was recovered, its values and its index out of `recovered`; a
 * hole, if one is due, is the first thing appended. TT_OK; TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_log_create(struct tt_log **log, const struct tt_log_options *options);
void tt_log_destroy(struct tt_log **log);

/* ---- appending ---- */
/* Appends all events in order, or none. idempotency: null, or one for each event. On TT_OK events
 * have the offsets *first_offset, +1, ..., and are accepted once tt_log_accepted_place() >=
 * *end_place. Everything is copied. Not visible before tt_log_publish().
 * TT_OK; TT_FULL: no room in the tail (tt_log_wait) or below the ceiling, which is on its way;
 * TT_ENOSPC: the disk is full; TT_EACCES: read-only; TT_ETOOBIG: can never fit into the tail at
 * once; TT_EBUSY: it would be one channel more than channels_max; TT_ECLOSED: closing;
 * TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_log_append(struct tt_log *log, const struct tt_log_now *now,
                                         const struct tt_event *events, uint32_t count,
                                         const struct tt_record_idempotency *idempotency,
                                         uint64_t *first_offset, uint64_t *end_place);
/* A mirror's append: events with the offsets given, which rise strictly; the first is not below the
 * next offset (figures, or behind the last one). Takes as many from the front as fit, *taken, and
 * at least one on TT_OK: what is left is appended later (tt_log_wait) or, if it is the next one
 * that can never be, left out. All else as above; TT_EINVAL: the offsets do not rise. */
TT_MUST_USE enum tt_status tt_log_append_at(struct tt_log *log, const struct tt_log_now *now,
                                            const struct tt_event *events, const uint64_t *offsets,
                                            uint32_t count, uint32_t *taken);
/* Of the next event, at the earliest. */
uint64_t tt_log_next_offset(const struct tt_log *log);
/* An append got TT_FULL and will be tried again: true: in the next turn, without waiting; false:
 * when the owner is woken or an operation is done. */
bool tt_log_wait(struct tt_log *log);
/* Nobody waits any more. */
void tt_log_wait_over(struct tt_log *log);
/* Moves the head as far as the policy allows. True: it moved, ring the doorbells. Call after
 * appends and after completions. */
bool tt_log_publish(struct tt_log *log);
/* Appends that end at or below this place may be answered. */
uint64_t tt_log_accepted_place(const struct tt_log *log);

/* ---- file work ---- */
enum tt_log_lane {
    TT_LOG_LANE_WRITE = 0,
    TT_LOG_LANE_SYNC,
    TT_LOG_LANE_CEILING,
    TT_LOG_LANE_CLEAN,
    TT_LOG_LANE_KEEP,
    TT_LOG_LANES,
};
enum tt_log_operation_kind {
    TT_LOG_OPEN_NEW = 1,   /* path: create (exclusive), write; result: the file, >= 0 */
    TT_LOG_OPEN_EXISTING,  /* path: open for writing; result: the file */
    TT_LOG_OPEN_DIRECTORY, /* path: open for syncing; result: the file */
    TT_LOG_PREALLOCATE,    /* file, offset, size; result: TT_OK, TT_EUNSUPPORTED is fine */
    TT_LOG_WRITE,          /* file, offset, data, size; result: bytes written, may be short */
    TT_LOG_SYNC,           /* file: data and size (fdatasync) */
    TT_LOG_SYNC_DIRECTORY, /* file: fsync */
    TT_LOG_TRUNCATE,       /* file, size */
    TT_LOG_CLOSE,          /* file */
    TT_LOG_UNLINK,         /* path */
    TT_LOG_OPEN_READ,      /* path: open for reading; result: the file */
    TT_LOG_READ,   /* file, offset, buffer, size; result: bytes read, may be short; 0: end */
    TT_LOG_RENAME, /* path becomes path_to, which is replaced */
};
struct tt_log_operation {
    enum tt_log_operation_kind kind;
    enum tt_log_lane lane;
    int32_t file;
    const char *path;    /* valid until the operation is done */
    const char *path_to; /* the same */
    uint64_t offset;
    uint64_t size;
    const void *data; /* valid and unchanging until the operation is done */
    void *buffer;     /* valid until the operation is done */
};
/* The next thing to do. TT_OK; TT_IDLE: nothing that can be begun now. */
TT_MUST_USE enum tt_status tt_log_next_operation(struct tt_log *log, const struct tt_log_now *now,
                                                 struct tt_log_operation *operation);
/* The operation in flight of that lane has ended: >= 0 as above, or a negative enum tt_status. */
void tt_log_operation_done(struct tt_log *log, enum tt_log_lane lane, int32_t result,
                           const struct tt_log_now *now);
/* When tt_log_next_operation() has to be asked again at the latest, although nothing was appended
 * or done; UINT64_MAX: never. */
uint64_t tt_log_next_ns(const struct tt_log *log, const struct tt_log_now *now);
/* Ends the log cleanly: no more appends; everything is written, synced, the ceiling lowered to the
 * next offset, files closed. Go on asking for operations until tt_log_closed(). */
void tt_log_close(struct tt_log *log);
bool tt_log_closed(const struct tt_log *log);

/* ---- what becomes of segments, for the copies that other shards keep ---- */
enum tt_log_segment_event {
    TT_LOG_SEGMENT_ADDED = 1,
    TT_LOG_SEGMENT_SEALED,
    TT_LOG_SEGMENT_RETIRED,
    TT_LOG_SEGMENT_INDEXED, /* its index file (index_file.h) is complete and may be read */
};
struct tt_log_notice {
    enum tt_log_segment_event event;
    struct tt_segment segment;
};
/* Takes the oldest notice. TT_OK, TT_IDLE. While TT_LOG_NOTICES_MAX are not taken, no segment is
 * begun and none is retired. The segments that were recovered are not announced: copy the list
 * of tt_log_segments() before shards run. */
#define TT_LOG_NOTICES_MAX 64u
TT_MUST_USE enum tt_status tt_log_take_notice(struct tt_log *log, struct tt_log_notice *notice);
/* Those whose files exist. */
const struct tt_segment_list *tt_log_segments(const struct tt_log *log);

/* ---- figures ---- */
enum tt_log_state {
    TT_LOG_OPEN = 0,
    TT_LOG_NO_SPACE,
    TT_LOG_READ_ONLY,
    TT_LOG_CLOSING,
    TT_LOG_CLOSED
};
struct tt_log_figures {
    enum tt_log_state state;
    enum tt_status reason;             /* READ_ONLY, NO_SPACE: of the operation that failed */
    enum tt_log_operation_kind failed; /* which it was */
    const char *failed_path;           /* of which file; empty: none failed */
    uint64_t oldest_offset;
    uint64_t next_offset;
    uint64_t ceiling; /* UINT64_MAX: none needed */
    uint64_t appended_place, written_place, durable_place;
    uint64_t segments;
    uint64_t bytes; /* of all segments */
    uint64_t appends, events, writes, written_bytes, syncs, segments_begun, segments_retired;
    uint64_t sync_ns_last; /* duration of the last sync, as the caller's clock saw it */
    uint64_t channels, channels_max;
    uint64_t values_bytes, index_bytes; /* memory */
    uint64_t unindexed;                 /* sealed segments without a complete index file */
    uint64_t kept_files, kept_bytes;    /* on disk */
    uint64_t keep_failures;             /* of background jobs */
    enum tt_status keep_reason;         /* of the newest one; TT_OK: none, or it went well since */
    const char *keep_failed_path;
    uint64_t values_lost; /* whose record could not be read */
    uint64_t indexes, checkpoints, carries;
};
void tt_log_figures(const struct tt_log *log, struct tt_log_figures *figures);

#endif
