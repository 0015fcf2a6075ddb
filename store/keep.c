/* Which job is next, how each of them ends, and what is said of them. */
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/assert.h"
#include "store/keep_internal.h"

/* ---- the kept files ---- */

void tt_kept_files_deinit(struct tt_kept_files *k)
{
    free(k->files);
    *k = (struct tt_kept_files){0};
}

enum tt_status tt_kept_files_add(struct tt_kept_files *k, uint32_t number, uint64_t bytes)
{
    TT_ASSERT(k->count == 0 || k->files[k->count - 1].number < number);
    if (k->count == k->capacity_) {
        uint32_t capacity = k->capacity_ == 0 ? 16 : k->capacity_ * 2;
        struct tt_kept_file *files = realloc(k->files, capacity * sizeof *files);
        if (files == NULL) return TT_ENOMEM;
        k->files = files;
        k->capacity_ = capacity;
    }
    k->files[k->count++] = (struct tt_kept_file){number, bytes};
    k->next = number + 1;
    return TT_OK;
}

uint64_t tt_kept_files_from(const struct tt_kept_files *k)
{
    return tt_kept_place(k->count != 0 ? k->files[0].number : k->next, 0);
}

uint64_t tt_kept_files_bytes(const struct tt_kept_files *k)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < k->count; i++) bytes += k->files[i].bytes;
    return bytes;
}

/* ---- reading and writing ---- */

enum tt_status tt_keep_room(uint8_t **data, size_t *capacity, size_t bytes)
{
    if (bytes <= *capacity) return TT_OK;
    uint8_t *more = realloc(*data, bytes);
    if (more == NULL) return TT_ENOMEM;
    *data = more;
    *capacity = bytes;
    return TT_OK;
}

bool tt_keep_write(struct tt_keep *k, struct tt_log_operation *op)
{
    if (k->data_written == k->data_size) return false;
    size_t size = k->data_size - k->data_written;
    op->kind = TT_LOG_WRITE;
    op->file = k->out;
    op->offset = k->position + k->data_written;
    op->data = k->data + k->data_written;
    op->size = size < TT_KEEP_WINDOW_BYTES ? size : TT_KEEP_WINDOW_BYTES;
    return true;
}

enum tt_status tt_keep_written(struct tt_keep *k, int32_t result)
{
    if (result < 0) return (enum tt_status)result;
    if (result == 0) return TT_EIO;
    TT_ASSERT((uint64_t)result <= k->running.size);
    k->data_written += (size_t)result;
    return TT_OK;
}

void tt_keep_read(struct tt_keep *k, struct tt_log_operation *op)
{
    struct tt_keep_window *w = &k->window;
    TT_ASSERT(w->wanted > w->have && w->wanted <= w->capacity);
    op->kind = TT_LOG_READ;
    op->file = k->in;
    op->offset = w->place + w->have;
    op->buffer = w->data + w->have;
    op->size = w->wanted - w->have;
}

enum tt_status tt_keep_was_read(struct tt_keep *k, int32_t result)
{
    if (result < 0) return (enum tt_status)result;
    if (result == 0) return TT_END;
    TT_ASSERT((uint64_t)result <= k->running.size);
    k->window.have += (size_t)result;
    return TT_OK;
}

/* ---- the end of a job ---- */

void tt_keep_finish(struct tt_keep *k, enum tt_status status, const char *path)
{
    TT_ASSERT(!k->ending);
    k->ending = true;
    k->status = status;
    bool copies = k->job == TT_KEEP_CARRY || k->job == TT_KEEP_COMPACT;
    if (copies && status != TT_OK) {
        k->cut_out = k->out != TT_KEEP_FILE_NONE;
        k->remove_out = k->made; /* nothing points to it */
    }
    if (status == TT_OK || status == TT_ECANCELED) return;
    k->reason = status;
    k->figures.failures++;
    snprintf(k->failed_path, sizeof k->failed_path, "%s", path);
}

/* What is left open or behind. False: nothing is. */
static bool next_cleanup(struct tt_keep *k, struct tt_log_operation *op)
{
    if (k->cut_out) {
        /* Copies whose sync failed must not be found by a start-up: it would take them for
         * durable. A file that is to be removed is emptied before, in case that fails. */
        k->cut_out = false;
        op->kind = TT_LOG_TRUNCATE;
        op->file = k->out;
        op->size = k->made ? 0 : k->kept_size;
        return true;
    }
    int32_t *file = k->in != TT_KEEP_FILE_NONE ? &k->in : &k->out;
    if (*file != TT_KEEP_FILE_NONE) {
        op->kind = TT_LOG_CLOSE;
        op->file = *file;
        *file = TT_KEEP_FILE_NONE;
        return true;
    }
    if (!k->remove_out) return false;
    k->remove_out = false;
    op->kind = TT_LOG_UNLINK;
    op->path = k->out_path;
    return true;
}

static void count_job(struct tt_keep *k)
{
    struct tt_keep_figures *f = &k->figures;
    switch (k->job) {
    case TT_KEEP_INDEX: f->indexes++; return;
    case TT_KEEP_REBUILD: f->rebuilds++; return;
    case TT_KEEP_CARRY: f->carries++; return;
    case TT_KEEP_CHECKPOINT: f->checkpoints++; return;
    case TT_KEEP_COMPACT: f->compactions++; return;
    case TT_KEEP_SWEEP:
    case TT_KEEP_NOTHING: return;
    }
}

static void complete(struct tt_keep *k)
{
    bool ok = k->status == TT_OK;
    if (k->job == TT_KEEP_INDEX || k->job == TT_KEEP_REBUILD || k->job == TT_KEEP_CARRY) {
        bool carry = k->job == TT_KEEP_CARRY;
        k->result =
            (struct tt_keep_result){.event = carry ? (ok ? TT_KEEP_CARRIED : TT_KEEP_NOT_CARRIED)
                                                   : (ok ? TT_KEEP_INDEXED : TT_KEEP_UNINDEXED),
                                    .status = k->status,
                                    .segment = k->segment};
        k->has_result = true;
    }
    if (ok) {
        count_job(k);
        k->failing = false;
    } else if (k->status != TT_ECANCELED) {
        k->failing = true;
        k->retry_ns = k->now_ns + TT_LOG_RETRY_NS;
    }
    tt_index_writer_destroy(&k->writer);
    tt_index_destroy(&k->own_index);
    k->index = NULL;
    free(k->window.data);
    free(k->data);
    free(k->entries);
    k->window = (struct tt_keep_window){0};
    k->data = NULL;
    k->entries = NULL;
    k->data_capacity = k->data_size = k->data_written = 0;
    k->ending = false;
    k->mark_held = false;
    k->job = TT_KEEP_NOTHING;
}

/* ---- beginning ---- */

static bool may_begin(const struct tt_keep *k, uint64_t now_ns)
{
    return k->job == TT_KEEP_NOTHING && !k->closing && !k->has_result && now_ns >= k->retry_ns;
}

enum tt_status tt_keep_index(struct tt_keep *k, const struct tt_log_now *now,
                             const struct tt_segment *segment, const struct tt_index *index)
{
    if (!may_begin(k, now->ns)) return TT_IDLE;
    k->segment = *segment;
    k->index = index;
    tt_keep_write_begin(k, TT_KEEP_INDEX);
    return TT_OK;
}

enum tt_status tt_keep_rebuild(struct tt_keep *k, const struct tt_log_now *now,
                               const struct tt_segment *segment, size_t index_bytes_max)
{
    if (!may_begin(k, now->ns)) return TT_IDLE;
    k->segment = *segment;
    k->index_bytes_max = index_bytes_max;
    tt_keep_write_begin(k, TT_KEEP_REBUILD);
    return TT_OK;
}

enum tt_status tt_keep_carry(struct tt_keep *k, const struct tt_log_now *now,
                             const struct tt_segment *segment)
{
    TT_ASSERT(segment->end_place != TT_SEGMENT_GROWS);
    if (!may_begin(k, now->ns)) return TT_IDLE;
    /* Values that are not kept: what an earlier life did keep goes first, for good. A start that
     * keeps them again would take those for the values of channels whose newer ones went with
     * their segments. */
    if (!k->keep_last && k->kept.count != 0 && !k->remove_no_more) return TT_IDLE;
    k->segment = *segment;
    tt_keep_copy_begin(k, TT_KEEP_CARRY);
    return TT_OK;
}

static bool checkpoint_due(const struct tt_keep *k)
{
    const struct tt_kept_files *f = &k->kept;
    return k->mark_place > f->checkpoint_place &&
           k->mark_place - f->checkpoint_place >= TT_KEEP_CHECKPOINT_RATIO * f->checkpoint_bytes;
}

static bool compact_due(const struct tt_keep *k)
{
    if (k->kept.count == 0 || k->remove_no_more) return false;
    if (!k->keep_last || k->kept.count > TT_KEEP_FILES_MAX) return true;
    if (k->graves > TT_KEEP_GRAVES_MAX + tt_values_channels(k->values) / 8 ||
        k->graves > tt_values_channels_max(k->values) / 8)
        return true;
    return tt_kept_files_bytes(&k->kept) > 2 * tt_values_kept_bytes(k->values) + k->garbage_bytes;
}

/* A job that nobody has to ask for. */
static bool begin_own(struct tt_keep *k, const struct tt_keep_view *view)
{
    if (k->closing || k->now_ns < k->retry_ns) return false;
    if (view->oldest_offset != k->swept_offset || tt_kept_files_from(&k->kept) != k->swept_kept) {
        k->job = TT_KEEP_SWEEP;
        k->sweep_key = 0;
        k->swept = (struct tt_values_swept){0};
        k->swept_offset = view->oldest_offset;
        k->swept_kept = tt_kept_files_from(&k->kept);
    } else if (checkpoint_due(k)) {
        tt_keep_write_begin(k, TT_KEEP_CHECKPOINT);
    } else if (compact_due(k)) {
        tt_keep_copy_begin(k, TT_KEEP_COMPACT);
    }
    return k->job != TT_KEEP_NOTHING;
}

/* ---- work ---- */

void tt_keep_segment_begun(struct tt_keep *k, uint64_t first_offset, uint64_t base_place)
{
    if (k->mark_held) {
        k->mark_missed = true;
        return;
    }
    k->mark_missed = false;
    k->mark_place = k->mark_needs = base_place;
    tt_values_set_mark(k->values, first_offset);
}

/* The mark could not follow when a segment was begun: it comes to lie within that. */
static void follow(struct tt_keep *k, const struct tt_keep_view *view)
{
    if (!k->mark_missed || k->mark_held) return;
    k->mark_missed = false;
    k->mark_place = view->newest_place;
    k->mark_needs = view->place;
    tt_values_set_mark(k->values, view->next_offset);
}

static enum tt_status next_sweep(struct tt_keep *k, const struct tt_keep_view *view)
{
    struct tt_values_alive alive = {.oldest_offset = view->oldest_offset,
                                    .oldest_place = view->oldest_place,
                                    .kept_from = tt_kept_files_from(&k->kept)};
    tt_values_sweep(k->values, &k->sweep_key, TT_VALUES_BLOCK, &alive, &k->swept);
    if (k->sweep_key != tt_values_slots(k->values)) return TT_MORE;
    if (k->keep_last) k->figures.lost_values += k->swept.lost;
    k->graves = k->swept.graves;
    tt_keep_finish(k, TT_OK, "");
    return TT_MORE;
}

static enum tt_status next_of_job(struct tt_keep *k, const struct tt_keep_view *view,
                                  struct tt_log_operation *op)
{
    switch (k->job) {
    case TT_KEEP_CARRY:
    case TT_KEEP_COMPACT: return tt_keep_copy_next(k, view, op);
    case TT_KEEP_INDEX:
    case TT_KEEP_REBUILD:
    case TT_KEEP_CHECKPOINT: return tt_keep_write_next(k, view, op);
    case TT_KEEP_SWEEP: return next_sweep(k, view);
    case TT_KEEP_NOTHING: break;
    }
    TT_UNREACHABLE();
}

static enum tt_status next(struct tt_keep *k, const struct tt_keep_view *view,
                           struct tt_log_operation *op)
{
    follow(k, view);
    if (k->job == TT_KEEP_NOTHING && !begin_own(k, view)) return TT_IDLE;
    if (k->closing && !k->ending) tt_keep_finish(k, TT_ECANCELED, "");
    if (!k->ending) return next_of_job(k, view, op);
    if (next_cleanup(k, op)) return TT_OK;
    complete(k);
    return TT_MORE;
}

enum tt_status tt_keep_next(struct tt_keep *k, const struct tt_log_now *now,
                            const struct tt_keep_view *view, struct tt_log_operation *operation)
{
    if (k->in_flight) return TT_IDLE;
    k->now_ns = now->ns;
    struct tt_log_operation op = {.lane = operation->lane, .file = TT_KEEP_FILE_NONE};
    enum tt_status status = next(k, view, &op);
    k->more = status == TT_MORE;
    if (status != TT_OK) return status;
    k->in_flight = true;
    k->running = op;
    *operation = op;
    return TT_OK;
}

void tt_keep_done(struct tt_keep *k, int32_t result, const struct tt_log_now *now)
{
    TT_ASSERT(k->in_flight);
    k->in_flight = false;
    k->now_ns = now->ns;
    k->more = true;
    if (k->job == TT_KEEP_CARRY || k->job == TT_KEEP_COMPACT)
        tt_keep_copy_done(k, result);
    else if (!k->ending)
        tt_keep_write_done(k, result);
}

uint64_t tt_keep_next_ns(const struct tt_keep *k)
{
    if (k->in_flight) return UINT64_MAX;
    if (k->more) return 0;
    return k->failing && !k->closing && k->job == TT_KEEP_NOTHING ? k->retry_ns : UINT64_MAX;
}

enum tt_status tt_keep_take_result(struct tt_keep *k, struct tt_keep_result *result)
{
    if (!k->has_result) return TT_IDLE;
    *result = k->result;
    k->has_result = false;
    return TT_OK;
}

bool tt_keep_busy(const struct tt_keep *k)
{
    return k->job != TT_KEEP_NOTHING;
}

void tt_keep_close(struct tt_keep *k)
{
    k->closing = true;
}

bool tt_keep_closed(const struct tt_keep *k)
{
    return k->closing && k->job == TT_KEEP_NOTHING;
}

void tt_keep_figures(const struct tt_keep *k, struct tt_keep_figures *f)
{
    *f = k->figures;
    f->job = k->job;
    f->failing = k->failing;
    f->reason = k->reason;
    f->failed_path = k->failed_path;
    f->kept_files = k->kept.count;
    f->kept_bytes = tt_kept_files_bytes(&k->kept);
    f->checkpoint_bytes = k->kept.checkpoint_bytes;
    f->memory_bytes = k->window.capacity + k->data_capacity +
                      (k->entries != NULL ? 2 * TT_KEEP_BATCH * sizeof *k->entries : 0) +
                      (k->own_index != NULL ? tt_index_bytes(k->own_index) : 0);
}

/* ---- life ---- */

enum tt_status tt_keep_create(struct tt_keep **keep, const struct tt_keep_options *options)
{
    struct tt_keep *k = calloc(1, sizeof *k);
    if (k == NULL) return TT_ENOMEM;
    size_t size = strlen(options->directory) + 1;
    k->directory = malloc(size);
    if (k->directory == NULL) {
        free(k);
        return TT_ENOMEM;
    }
    memcpy(k->directory, options->directory, size);
    k->values = options->values;
    k->identity = *options->identity;
    k->keep_last = options->keep_last;
    k->kept_file_bytes =
        options->kept_file_bytes != 0 ? options->kept_file_bytes : TT_KEEP_FILE_BYTES;
    k->garbage_bytes = options->garbage_bytes != 0 ? options->garbage_bytes : TT_KEEP_GARBAGE_BYTES;
    k->mark_place = k->mark_needs = options->mark_place;
    k->in = k->out = TT_KEEP_FILE_NONE;
    k->swept_kept = UINT64_MAX; /* none yet */
    k->bad_place = UINT64_MAX;
    if (options->kept != NULL) {
        k->kept = *options->kept;
        *options->kept = (struct tt_kept_files){0};
    }
    *keep = k;
    return TT_OK;
}

void tt_keep_destroy(struct tt_keep **keep)
{
    struct tt_keep *k = *keep;
    if (k == NULL) return;
    TT_ASSERT(!k->in_flight);
    tt_index_writer_destroy(&k->writer);
    tt_index_destroy(&k->own_index);
    tt_kept_files_deinit(&k->kept);
    free(k->window.data);
    free(k->data);
    free(k->entries);
    free(k->directory);
    free(k);
    *keep = NULL;
}
