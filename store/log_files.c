/* The file work of a log: which operation comes next in each lane, and what its end means. */
#include <stdio.h>

#include "proto/base/assert.h"
#include "store/index_file.h"
#include "store/log_internal.h"

#define RETENTION_EVERY_NS UINT64_C(200000000)
#define WRITE_ALIGN        (64u << 10)

static struct tt_segment *newest(const struct tt_log *log)
{
    return &log->segments.items[log->segments.count - 1];
}

void tt_log_notify(struct tt_log *log, enum tt_log_segment_event event,
                   const struct tt_segment *segment)
{
    TT_ASSERT(log->notices_count < TT_LOG_NOTICES_MAX);
    uint32_t at = (log->notices_first + log->notices_count++) % TT_LOG_NOTICES_MAX;
    log->notices[at] = (struct tt_log_notice){event, *segment};
}

bool tt_log_notices_have_room(const struct tt_log *log, uint32_t count)
{
    return log->notices_count + count <= TT_LOG_NOTICES_MAX;
}

static void fail(struct tt_log *log, const struct tt_log_operation *op, enum tt_status status)
{
    if (log->read_only) return; /* the first failure is the one to be told */
    log->read_only = true;
    log->reason = status;
    log->failed = op->kind;
    snprintf(log->failed_path, sizeof log->failed_path, "%s", log->paths[op->lane]);
}

/* Nothing was done, and doing it again is safe. */
static void stall(struct tt_log *log, const struct tt_log_operation *op, enum tt_status status,
                  const struct tt_log_now *now)
{
    if (log->closing != TT_LOG_CLOSING_NOT) { /* nobody waits for space at the end */
        fail(log, op, status);
        return;
    }
    log->stalled[op->lane] = true;
    log->retry_ns = now->ns + TT_LOG_RETRY_NS;
    log->reason = status;
    log->failed = op->kind;
    snprintf(log->failed_path, sizeof log->failed_path, "%s", log->paths[op->lane]);
}

/* The path that an operation opens or removes; kept as the name of what the lane works on. */
static const char *path_of(struct tt_log *log, enum tt_log_lane lane, uint64_t first_offset)
{
    enum tt_status status =
        tt_segment_path(log->directory, first_offset, log->paths[lane], TT_LOG_PATH_BYTES);
    TT_ASSERT(status == TT_OK); /* recovery bounds the directory's name */
    return log->paths[lane];
}

/* ---- WRITE ---- */

/* The newest segment takes no more writes. */
static void seal(struct tt_log *log)
{
    const struct tt_segment *next = &log->planned.items[0];
    struct tt_segment *s = newest(log);
    tt_segment_list_seal(&log->segments, s->base_place, next->base_place, next->taken_max_us);
    log->sealed = (struct tt_log_sealed){.file = log->file,
                                         .step = TT_LOG_END_SYNC,
                                         .segment = *s,
                                         .next_offset = next->first_offset};
    log->file = TT_LOG_FILE_NONE;
    log->unindexed++;
    tt_log_notify(log, TT_LOG_SEGMENT_SEALED, s);
}

/* A write that begins and ends at a multiple of WRITE_ALIGN lets the file system use large pages,
 * and touches none twice: half the cost of one that does not. So under load what is behind the last
 * multiple waits for the next turn, with what comes until then. Not with `always`, where it would
 * wait for a whole sync. */
static uint64_t write_end(struct tt_log *log, const struct tt_log_now *now, uint64_t end)
{
    if (end - log->written_place > TT_WRITE_BYTES_MAX)
        end = log->written_place + TT_WRITE_BYTES_MAX;
    if (log->policy == TT_LOG_ALWAYS) return end;
    uint64_t aligned = end - end % WRITE_ALIGN;
    if (aligned > log->written_place) {
        log->aligned_ns = now->ns;
        return aligned;
    }
    return log->aligned_ns == now->ns ? log->written_place : end;
}

static bool next_bytes(struct tt_log *log, const struct tt_log_now *now,
                       struct tt_log_operation *op)
{
    uint64_t end = log->planned.count != 0 ? log->planned.items[0].base_place : log->place;
    if (log->file != TT_LOG_FILE_NONE && log->written_place < end) {
        end = write_end(log, now, end);
        if (end == log->written_place) return false;
        struct tt_bytes bytes = tt_tail_bytes(log->tail, log->written_place, end);
        op->kind = TT_LOG_WRITE;
        op->file = log->file;
        op->offset = log->written_place - newest(log)->base_place;
        op->data = bytes.data;
        op->size = bytes.size;
        log->batch_due = true;
        path_of(log, TT_LOG_LANE_WRITE, newest(log)->first_offset);
        return true;
    }
    /* The one before must be on disk and closed first; so two files are open at most. */
    if (log->planned.count == 0 || log->sealed.file != TT_LOG_FILE_NONE ||
        !tt_log_notices_have_room(log, 2))
        return false;
    if (log->file != TT_LOG_FILE_NONE) seal(log);
    log->step = TT_LOG_STEP_CREATE;
    op->kind = TT_LOG_OPEN_NEW;
    op->path = path_of(log, TT_LOG_LANE_WRITE, log->planned.items[0].first_offset);
    return true;
}

static bool next_write(struct tt_log *log, const struct tt_log_now *now,
                       struct tt_log_operation *op)
{
    switch (log->step) {
    case TT_LOG_STEP_DIRECTORY:
        snprintf(log->paths[TT_LOG_LANE_WRITE], TT_LOG_PATH_BYTES, "%s", log->directory);
        op->kind = TT_LOG_OPEN_DIRECTORY;
        op->path = log->paths[TT_LOG_LANE_WRITE];
        return true;
    case TT_LOG_STEP_REOPEN:
        op->kind = TT_LOG_OPEN_EXISTING;
        op->path = path_of(log, TT_LOG_LANE_WRITE, newest(log)->first_offset);
        return true;
    case TT_LOG_STEP_RESERVE_OLD:
    case TT_LOG_STEP_RESERVE:
        op->kind = TT_LOG_PREALLOCATE;
        op->file = log->file;
        op->size = log->segment_bytes;
        return true;
    case TT_LOG_STEP_NAME:
        op->kind = TT_LOG_SYNC_DIRECTORY;
        op->file = log->directory_file;
        return true;
    case TT_LOG_STEP_CREATE:
        op->kind = TT_LOG_OPEN_NEW;
        op->path = path_of(log, TT_LOG_LANE_WRITE, log->planned.items[0].first_offset);
        return true;
    case TT_LOG_STEP_WRITE: return next_bytes(log, now, op);
    }
    TT_UNREACHABLE();
}

/* The new segment's file is there and named. */
static void add_segment(struct tt_log *log, const struct tt_log_operation *op)
{
    struct tt_segment s = log->planned.items[0];
    s.taken_max_us = INT64_MIN;
    if (tt_segment_list_add(&log->segments, &s) != TT_OK) {
        fail(log, op, TT_ENOMEM);
        return;
    }
    tt_segment_list_retire(&log->planned, s.base_place);
    tt_log_notify(log, TT_LOG_SEGMENT_ADDED, &s);
    log->segments_begun++;
    log->step = TT_LOG_STEP_WRITE;
}

static void bytes_written(struct tt_log *log, const struct tt_log_operation *op, uint64_t bytes,
                          const struct tt_log_now *now)
{
    TT_ASSERT(bytes <= op->size);
    log->written_place += bytes;
    tt_tail_whole_below(log->tail, log->written_place, &log->written_sequence, &log->written_end,
                        &log->written_offset);
    log->writes++;
    log->written_bytes += bytes;
    if (log->sync_due_ns == UINT64_MAX) log->sync_due_ns = now->ns + log->sync_interval_ns;
    tt_tail_set_places(log->tail, log->written_place, log->durable_place);
}

/* Which failures of the WRITE lane's operations heal: nothing was put into a file, or only what
 * will be put there again. */
static bool heals(const struct tt_log_operation *op, enum tt_status status)
{
    bool opens = op->kind == TT_LOG_OPEN_NEW || op->kind == TT_LOG_OPEN_EXISTING ||
                 op->kind == TT_LOG_OPEN_DIRECTORY;
    if (status == TT_ENOSPC) return op->kind != TT_LOG_SYNC && op->kind != TT_LOG_SYNC_DIRECTORY;
    return opens && (status == TT_ENOFILE || status == TT_EACCES || status == TT_ENOMEM);
}

static void write_done(struct tt_log *log, const struct tt_log_operation *op, int32_t result,
                       const struct tt_log_now *now)
{
    bool not_there = result == TT_EUNSUPPORTED || result == TT_EINVAL;
    if (not_there && (op->kind == TT_LOG_PREALLOCATE || op->kind == TT_LOG_SYNC_DIRECTORY))
        result = TT_OK; /* file systems that cannot: writes then find out about space */
    if (op->kind == TT_LOG_WRITE && result == 0) result = TT_EIO;
    if (result < 0) {
        if (heals(op, (enum tt_status)result))
            stall(log, op, (enum tt_status)result, now);
        else
            fail(log, op, (enum tt_status)result);
        return;
    }
    log->stalled[TT_LOG_LANE_WRITE] = false;
    switch (log->step) {
    case TT_LOG_STEP_DIRECTORY:
        log->directory_file = result;
        log->step = log->segments.count != 0 ? TT_LOG_STEP_REOPEN : TT_LOG_STEP_WRITE;
        return;
    case TT_LOG_STEP_REOPEN:
        log->file = result;
        log->step = TT_LOG_STEP_RESERVE_OLD;
        return;
    case TT_LOG_STEP_RESERVE_OLD: log->step = TT_LOG_STEP_WRITE; return;
    case TT_LOG_STEP_CREATE:
        log->file = result;
        log->step = TT_LOG_STEP_RESERVE;
        return;
    case TT_LOG_STEP_RESERVE: log->step = TT_LOG_STEP_NAME; return;
    case TT_LOG_STEP_NAME: add_segment(log, op); return;
    case TT_LOG_STEP_WRITE: bytes_written(log, op, (uint64_t)result, now); return;
    }
}

/* ---- SYNC ---- */

static bool all_written(const struct tt_log *log)
{
    return log->step == TT_LOG_STEP_WRITE && log->planned.count == 0 &&
           log->written_place == log->place;
}

/* The newest segment would be found after a power cut. */
static bool durably_begun(const struct tt_log *log)
{
    return log->durable_place > newest(log)->base_place;
}

static bool next_sync(struct tt_log *log, const struct tt_log_now *now, struct tt_log_operation *op)
{
    op->kind = TT_LOG_SYNC;
    if (log->sealed.file != TT_LOG_FILE_NONE && log->sealed.step == TT_LOG_END_SYNC) {
        log->sync_of_sealed = true;
        op->file = log->sealed.file;
        path_of(log, TT_LOG_LANE_SYNC, log->sealed.segment.first_offset);
        return true;
    }
    /* Nothing was written yet to a segment without an entry in the list. */
    if (log->file == TT_LOG_FILE_NONE || log->step != TT_LOG_STEP_WRITE ||
        log->written_place == log->durable_place)
        return false;
    bool due = log->policy == TT_LOG_ALWAYS ||
               (log->policy == TT_LOG_INTERVAL && now->ns >= log->sync_due_ns) ||
               (log->closing == TT_LOG_CLOSING_WRITE && all_written(log)) ||
               (log->retire_waits && !durably_begun(log));
    if (!due) return false;
    log->sync_of_sealed = false;
    log->sync_place = log->written_place;
    log->sync_end = log->written_end;
    log->sync_offset = log->written_offset;
    log->sync_whole = log->written_place == log->place ? log->written_place : log->written_end;
    log->sync_due_ns = UINT64_MAX;
    op->file = log->file;
    path_of(log, TT_LOG_LANE_SYNC, newest(log)->first_offset);
    return true;
}

static void sync_done(struct tt_log *log, const struct tt_log_operation *op, int32_t result,
                      const struct tt_log_now *now)
{
    if (result < 0) {
        fail(log, op, (enum tt_status)result);
        return;
    }
    log->syncs++;
    log->sync_ns_last = now->ns - log->sync_begun_ns;
    uint64_t place = log->sync_place, end = log->sync_end, offset = log->sync_offset;
    uint64_t whole = log->sync_whole;
    if (log->sync_of_sealed) {
        place = end = whole = log->sealed.segment.end_place;
        offset = log->sealed.next_offset;
        log->sealed.step = TT_LOG_END_TRUNCATE;
    }
    if (place > log->durable_place) {
        log->durable_place = place;
        tt_tail_set_places(log->tail, log->written_place, place);
    }
    if (whole > log->durable_whole) log->durable_whole = whole;
    if (end > log->durable_end) {
        log->durable_end = end;
        log->durable_offset = offset;
    }
    if (log->durable_place == log->written_place) log->sync_due_ns = UINT64_MAX;
    if (log->closing == TT_LOG_CLOSING_WRITE) tt_log_last_batch(log);
}

/* ---- CEILING ---- */

/* The ceiling that there should be, or the one that there is. */
static uint64_t ceiling_target(const struct tt_log *log)
{
    if (!tt_log_has_ceiling(log)) return log->ceiling;
    if (log->closing == TT_LOG_CLOSING_CEILING) return log->next_offset;
    if (log->closing != TT_LOG_CLOSING_NOT) return log->ceiling;
    uint64_t needed =
        log->ceiling_wanted > log->next_offset ? log->ceiling_wanted : log->next_offset;
    if (needed + TT_LOG_CEILING_BLOCK / 2 <= log->ceiling) return log->ceiling;
    uint64_t target = needed + TT_LOG_CEILING_BLOCK;
    return target > TT_NEXT_MAX ? TT_NEXT_MAX : target;
}

static bool next_ceiling(struct tt_log *log, struct tt_log_operation *op)
{
    op->file = log->ceiling_file;
    if (log->ceiling_step == TT_LOG_CEILING_SYNC) {
        op->kind = TT_LOG_SYNC;
        return true;
    }
    uint64_t target = ceiling_target(log);
    if (target == log->ceiling) return false;
    char *path = log->paths[TT_LOG_LANE_CEILING];
    snprintf(path, TT_LOG_PATH_BYTES, "%s/ceiling", log->directory);
    if (log->ceiling_step == TT_LOG_CEILING_OPEN) {
        op->kind = TT_LOG_OPEN_EXISTING;
        op->path = path;
        return true;
    }
    log->ceiling_next = (struct tt_ceiling){log->ceiling_version + 1, target};
    tt_ceiling_encode(log->ceiling_slot, &log->ceiling_next);
    op->kind = TT_LOG_WRITE;
    op->offset = tt_ceiling_place(log->ceiling_next.version);
    op->data = log->ceiling_slot;
    op->size = sizeof log->ceiling_slot;
    return true;
}

static void ceiling_done(struct tt_log *log, const struct tt_log_operation *op, int32_t result,
                         const struct tt_log_now *now)
{
    if (op->kind == TT_LOG_WRITE && result >= 0 && (uint64_t)result != op->size) result = TT_EIO;
    if (result < 0) {
        if (heals(op, (enum tt_status)result))
            stall(log, op, (enum tt_status)result, now);
        else
            fail(log, op, (enum tt_status)result);
        return;
    }
    log->stalled[TT_LOG_LANE_CEILING] = false;
    switch (log->ceiling_step) {
    case TT_LOG_CEILING_OPEN:
        log->ceiling_file = result;
        log->ceiling_step = TT_LOG_CEILING_WRITE;
        return;
    case TT_LOG_CEILING_WRITE: log->ceiling_step = TT_LOG_CEILING_SYNC; return;
    case TT_LOG_CEILING_SYNC:
        log->ceiling = log->ceiling_next.offset;
        log->ceiling_version = log->ceiling_next.version;
        if (log->ceiling_wanted <= log->ceiling) log->ceiling_wanted = 0;
        log->ceiling_step = TT_LOG_CEILING_WRITE;
        return;
    }
}

/* ---- CLEAN ---- */

static bool others_busy(const struct tt_log *log)
{
    return log->busy[TT_LOG_LANE_WRITE] || log->busy[TT_LOG_LANE_SYNC] ||
           log->busy[TT_LOG_LANE_CEILING];
}

static bool next_of_sealed(struct tt_log *log, struct tt_log_operation *op)
{
    struct tt_log_sealed *s = &log->sealed;
    if (s->file == TT_LOG_FILE_NONE) return false;
    if (log->read_only) { /* it will not be synced any more */
        if (log->busy[TT_LOG_LANE_SYNC]) return false;
        s->step = TT_LOG_END_CLOSE;
    }
    op->file = s->file;
    if (s->step == TT_LOG_END_TRUNCATE) {
        op->kind = TT_LOG_TRUNCATE;
        op->size = s->segment.end_place - s->segment.base_place;
        return true;
    }
    op->kind = TT_LOG_CLOSE;
    return s->step == TT_LOG_END_CLOSE;
}

bool tt_log_retire_due(const struct tt_log *log, const struct tt_log_now *now)
{
    if (log->read_only || log->closing != TT_LOG_CLOSING_NOT || log->segments.count < 2)
        return false;
    uint64_t active = log->written_place - newest(log)->base_place;
    if (newest(log)->end_place != TT_SEGMENT_GROWS) active = 0; /* the next is being made */
    if (tt_retention_due(&log->retention, &log->segments, active, now->wall_us) == 0) return false;
    /* One that is still being synced and closed is too young, unless its bytes have to go. */
    return log->sealed.file == TT_LOG_FILE_NONE ||
           log->sealed.segment.base_place != log->segments.items[0].base_place;
}

/* The next step of removing what was retired. */
static bool next_removal(struct tt_log *log, const struct tt_log_now *now,
                         struct tt_log_operation *op)
{
    if (log->removal == TT_LOG_REMOVAL_NONE || now->ns < log->unlink_retry_ns) return false;
    char *path = log->paths[TT_LOG_LANE_CLEAN];
    op->kind = TT_LOG_UNLINK;
    op->path = path;
    if (log->removal == TT_LOG_REMOVAL_NAMES) {
        op->kind = TT_LOG_SYNC_DIRECTORY;
        op->file = log->directory_file;
        snprintf(path, TT_LOG_PATH_BYTES, "%s", log->directory);
    } else if (log->removal == TT_LOG_REMOVAL_SEGMENT) {
        path_of(log, TT_LOG_LANE_CLEAN, log->retired.first_offset);
    } else {
        enum tt_status status =
            tt_index_path(log->directory, log->retired.first_offset, path, TT_LOG_PATH_BYTES);
        TT_ASSERT(status == TT_OK); /* recovery bounds the directory's name */
    }
    return true;
}

static bool next_to_retire(struct tt_log *log, const struct tt_log_now *now,
                           struct tt_log_operation *op)
{
    if (log->read_only || log->closing != TT_LOG_CLOSING_NOT) return false;
    if (log->removal != TT_LOG_REMOVAL_NONE) return next_removal(log, now, op);
    log->retire_waits = false;
    if (!tt_log_notices_have_room(log, 3) || log->directory_file == TT_LOG_FILE_NONE ||
        !tt_log_retire_due(log, now))
        return false;
    struct tt_segment oldest = log->segments.items[0];
    if (log->carried != oldest.base_place) return false; /* the lane KEEP sees to that */
    const struct tt_log_index *index = tt_log_index_at(log, oldest.base_place);
    if (index != NULL && index->lent) return false; /* it is being written */
    /* The last segment that a power cut would leave stays: without any, offsets that were given
     * out would be forgotten. */
    log->retire_waits = log->durable_place <= log->segments.items[1].base_place;
    if (log->retire_waits) return false;
    log->carried = TT_LOG_NOT_CARRIED;
    if (!oldest.indexed && !oldest.no_index) log->unindexed--;
    tt_log_index_drop(log, oldest.base_place);
    tt_segment_list_retire(&log->segments, oldest.base_place);
    tt_tail_set_oldest_offset(log->tail, log->segments.items[0].first_offset);
    tt_log_notify(log, TT_LOG_SEGMENT_RETIRED, &oldest);
    log->segments_retired++;
    log->retired = oldest;
    log->removal = TT_LOG_REMOVAL_INDEX;
    return next_removal(log, now, op);
}

static bool close_file(int32_t *file, struct tt_log_operation *op)
{
    if (*file == TT_LOG_FILE_NONE) return false;
    op->kind = TT_LOG_CLOSE;
    op->file = *file;
    *file = TT_LOG_FILE_NONE;
    return true;
}

/* The end, step by step; each step that has nothing to do falls to the next. */
static bool next_closing(struct tt_log *log, struct tt_log_operation *op)
{
    switch (log->closing) {
    case TT_LOG_CLOSING_NOT:
    case TT_LOG_CLOSING_DONE: return false;
    case TT_LOG_CLOSING_WRITE:
        if (others_busy(log) || log->sealed.file != TT_LOG_FILE_NONE) return false;
        if (!log->read_only && (!all_written(log) || log->durable_place != log->written_place))
            return false;
        log->closing = TT_LOG_CLOSING_TRUNCATE;
        if (!log->read_only && log->file != TT_LOG_FILE_NONE) {
            uint64_t bytes = log->written_place - newest(log)->base_place;
            op->kind = TT_LOG_TRUNCATE;
            op->file = log->file;
            op->size = (bytes + TT_CHUNK_BYTES - 1) / TT_CHUNK_BYTES * TT_CHUNK_BYTES;
            return true;
        }
        __attribute__((fallthrough));
    case TT_LOG_CLOSING_TRUNCATE:
        log->closing = TT_LOG_CLOSING_CEILING;
        __attribute__((fallthrough));
    case TT_LOG_CLOSING_CEILING:
        if (others_busy(log)) return false;
        if (!log->read_only && tt_log_has_ceiling(log) && log->ceiling != log->next_offset)
            return false; /* the ceiling's lane does it */
        log->closing = TT_LOG_CLOSING_FILE;
        __attribute__((fallthrough));
    case TT_LOG_CLOSING_FILE:
        if (close_file(&log->file, op)) return true;
        log->closing = TT_LOG_CLOSING_CEILING_FILE;
        __attribute__((fallthrough));
    case TT_LOG_CLOSING_CEILING_FILE:
        if (close_file(&log->ceiling_file, op)) return true;
        log->closing = TT_LOG_CLOSING_DIRECTORY;
        __attribute__((fallthrough));
    case TT_LOG_CLOSING_DIRECTORY:
        if (!tt_keep_closed(log->keep)) return false; /* it may be syncing names */
        if (close_file(&log->directory_file, op)) return true;
        log->closing = TT_LOG_CLOSING_DONE;
        return false;
    }
    TT_UNREACHABLE();
}

static bool next_clean(struct tt_log *log, const struct tt_log_now *now,
                       struct tt_log_operation *op)
{
    return next_of_sealed(log, op) || next_closing(log, op) || next_to_retire(log, now, op);
}

static void removal_done(struct tt_log *log, const struct tt_log_operation *op, int32_t result,
                         const struct tt_log_now *now)
{
    bool names = op->kind == TT_LOG_SYNC_DIRECTORY;
    if (names && (result == TT_EUNSUPPORTED || result == TT_EINVAL)) result = TT_OK;
    if (!names && result == TT_ENOENT) result = TT_OK;
    if (result < 0 && names) { /* nobody knows which names are there */
        fail(log, op, (enum tt_status)result);
        return;
    }
    if (result < 0) {
        log->unlink_retry_ns = now->ns + TT_LOG_RETRY_NS;
        return;
    }
    log->removal = names ? TT_LOG_REMOVAL_NONE : (enum tt_log_removal)(log->removal + 1);
}

/* Nothing here is more than tidiness, and harmless to try again. */
static void clean_done(struct tt_log *log, const struct tt_log_operation *op, int32_t result,
                       const struct tt_log_now *now)
{
    struct tt_log_sealed *s = &log->sealed;
    if (log->removal != TT_LOG_REMOVAL_NONE &&
        (op->kind == TT_LOG_UNLINK || op->kind == TT_LOG_SYNC_DIRECTORY)) {
        removal_done(log, op, result, now);
        return;
    }
    if (s->file == TT_LOG_FILE_NONE || op->file != s->file) return;
    if (op->kind == TT_LOG_TRUNCATE) s->step = TT_LOG_END_CLOSE;
    if (op->kind == TT_LOG_CLOSE) {
        s->step = TT_LOG_END_DONE;
        s->file = TT_LOG_FILE_NONE;
    }
}

/* ---- all lanes ---- */

/* A segment whose first event is old ends, so that it can be retired although little is written. */
static void look_at_age(struct tt_log *log, const struct tt_log_now *now)
{
    if (now->ns < log->retention_due_ns) return;
    log->retention_due_ns = now->ns + RETENTION_EVERY_NS;
    if (log->closing != TT_LOG_CLOSING_NOT || log->read_only || tt_log_no_space(log) ||
        log->planned.count != 0 || log->segment_taken_us == INT64_MIN ||
        now->wall_us < log->segment_taken_us ||
        now->wall_us - log->segment_taken_us <= tt_retention_segment_us(&log->retention))
        return;
    /* No room now: the next look will do it. */
    enum tt_status status = tt_log_begin_segment(log, now->wall_us);
    (void)status;
}

static bool next_of_lane(struct tt_log *log, enum tt_log_lane lane, const struct tt_log_now *now,
                         struct tt_log_operation *op)
{
    if (lane != TT_LOG_LANE_CLEAN && lane != TT_LOG_LANE_KEEP && log->read_only) return false;
    if (log->stalled[lane] && now->ns < log->retry_ns) return false;
    switch (lane) {
    case TT_LOG_LANE_WRITE: return next_write(log, now, op);
    case TT_LOG_LANE_SYNC: return next_sync(log, now, op);
    case TT_LOG_LANE_CEILING: return next_ceiling(log, op);
    case TT_LOG_LANE_CLEAN: return next_clean(log, now, op);
    case TT_LOG_LANE_KEEP: return tt_log_keep_next(log, now, op);
    case TT_LOG_LANES: break;
    }
    TT_UNREACHABLE();
}

enum tt_status tt_log_next_operation(struct tt_log *log, const struct tt_log_now *now,
                                     struct tt_log_operation *operation)
{
    static const enum tt_log_lane order[] = {TT_LOG_LANE_CEILING, TT_LOG_LANE_WRITE,
                                             TT_LOG_LANE_SYNC, TT_LOG_LANE_KEEP, TT_LOG_LANE_CLEAN,
                                             /* once more: closing may have come to it */
                                             TT_LOG_LANE_CEILING};
    log->wall_us = now->wall_us;
    look_at_age(log, now);
    for (unsigned i = 0; i < sizeof order / sizeof *order; i++) {
        enum tt_log_lane lane = order[i];
        struct tt_log_operation op = {.lane = lane, .file = TT_LOG_FILE_NONE};
        if (log->busy[lane] || !next_of_lane(log, lane, now, &op)) continue;
        log->busy[lane] = true;
        log->running[lane] = op;
        if (lane == TT_LOG_LANE_SYNC) log->sync_begun_ns = now->ns;
        *operation = op;
        return TT_OK;
    }
    return TT_IDLE;
}

void tt_log_operation_done(struct tt_log *log, enum tt_log_lane lane, int32_t result,
                           const struct tt_log_now *now)
{
    TT_ASSERT(lane < TT_LOG_LANES && log->busy[lane]);
    log->busy[lane] = false;
    struct tt_log_operation op = log->running[lane];
    switch (lane) {
    case TT_LOG_LANE_WRITE: write_done(log, &op, result, now); return;
    case TT_LOG_LANE_SYNC: sync_done(log, &op, result, now); return;
    case TT_LOG_LANE_CEILING: ceiling_done(log, &op, result, now); return;
    case TT_LOG_LANE_CLEAN: clean_done(log, &op, result, now); return;
    case TT_LOG_LANE_KEEP: tt_log_keep_done(log, result, now); return;
    case TT_LOG_LANES: break;
    }
    TT_UNREACHABLE();
}

/* The unix time at which something is too old, or INT64_MAX. */
static int64_t age_due_us(const struct tt_log *log)
{
    int64_t due = INT64_MAX, when;
    if (log->planned.count == 0 && log->segment_taken_us != INT64_MIN &&
        !__builtin_add_overflow(log->segment_taken_us, tt_retention_segment_us(&log->retention),
                                &when))
        due = when;
    if (log->segments.count < 2 || log->segments.items[0].taken_max_us == INT64_MIN) return due;
    int64_t age_us;
    if (__builtin_mul_overflow(log->retention.ms, 1000, &age_us) ||
        __builtin_add_overflow(log->segments.items[0].taken_max_us, age_us, &when))
        return due;
    return when < due ? when : due;
}

uint64_t tt_log_next_ns(const struct tt_log *log, const struct tt_log_now *now)
{
    uint64_t next = UINT64_MAX;
    if (log->closing == TT_LOG_CLOSING_DONE) return next;
    if (!log->busy[TT_LOG_LANE_KEEP]) next = tt_keep_next_ns(log->keep);
    if (log->read_only) return next;
    if (tt_log_no_space(log)) {
        if (log->retry_ns < next) next = log->retry_ns;
        /* What was left behind by an aligned write: in the next turn. */
    } else if (!log->busy[TT_LOG_LANE_WRITE] && log->aligned_ns == now->ns &&
               log->written_place < log->place) {
        next = now->ns < next ? now->ns : next;
    }
    if (log->policy == TT_LOG_INTERVAL && log->written_place != log->durable_place &&
        !log->busy[TT_LOG_LANE_SYNC] && log->sync_due_ns < next)
        next = log->sync_due_ns;
    if (log->removal != TT_LOG_REMOVAL_NONE && !log->busy[TT_LOG_LANE_CLEAN] &&
        log->unlink_retry_ns < next)
        next = log->unlink_retry_ns;
    int64_t due_us = age_due_us(log);
    if (due_us != INT64_MAX && log->closing == TT_LOG_CLOSING_NOT) {
        uint64_t in_us = due_us >= now->wall_us ? (uint64_t)(due_us - now->wall_us) + 1 : 0;
        uint64_t at = in_us > UINT64_MAX / 2000 ? UINT64_MAX : now->ns + in_us * 1000;
        if (at < log->retention_due_ns) at = log->retention_due_ns;
        if (at < next) next = at;
    }
    return next;
}

void tt_log_close(struct tt_log *log)
{
    if (log->closing != TT_LOG_CLOSING_NOT) return;
    log->closing = TT_LOG_CLOSING_WRITE;
    log->retry_ns = 0;
    tt_log_last_batch(log);
    tt_keep_close(log->keep);
}

bool tt_log_closed(const struct tt_log *log)
{
    return log->closing == TT_LOG_CLOSING_DONE;
}
