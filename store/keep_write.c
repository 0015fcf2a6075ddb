/* Index files and checkpoints: written under another name, synced, renamed. */
#include <stdio.h>

#include "proto/base/assert.h"
#include "store/keep_internal.h"

enum step {
    WAIT = 0, /* CHECKPOINT: until everything below the mark is durable */
    OPEN_IN,  /* REBUILD: the segment */
    SCAN,
    OPEN_OUT,
    CLEAR, /* a file of that name was left behind */
    FILL,  /* the next bytes */
    WRITE,
    SYNC,
    RENAME,
    SYNC_NAME,
};

void tt_keep_write_begin(struct tt_keep *k, enum tt_keep_job job)
{
    static const enum step first[] = {
        [TT_KEEP_CHECKPOINT] = WAIT, [TT_KEEP_REBUILD] = OPEN_IN, [TT_KEEP_INDEX] = OPEN_OUT};
    k->job = job;
    k->step = (uint8_t)first[job];
    k->all_given = k->made = false;
    k->position = 0;
    if (job == TT_KEEP_CHECKPOINT) {
        snprintf(k->to_path, sizeof k->to_path, "%s/" TT_CHECKPOINT_NAME, k->directory);
        snprintf(k->out_path, sizeof k->out_path, "%s/" TT_CHECKPOINT_NAME_NEW, k->directory);
        return;
    }
    enum tt_status status =
        tt_index_path(k->directory, k->segment.first_offset, k->to_path, sizeof k->to_path);
    TT_ASSERT(status == TT_OK); /* recovery bounds the directory's name */
    size_t size = strlen(k->to_path);
    TT_ASSERT(size + sizeof ".new" <= sizeof k->out_path);
    memcpy(k->out_path, k->to_path, size);
    memcpy(k->out_path + size, ".new", sizeof ".new");
}

/* ---- REBUILD ---- */

static enum tt_status begin_scan(struct tt_keep *k)
{
    const struct tt_index_options options = {.first_offset = k->segment.first_offset,
                                             .base_place = k->segment.base_place,
                                             .bytes_max = k->index_bytes_max};
    enum tt_status status =
        tt_keep_room(&k->window.data, &k->window.capacity, TT_KEEP_WINDOW_BYTES);
    if (status == TT_OK) status = tt_index_create(&k->own_index, &options);
    tt_reader_init(&k->reader, k->segment.base_place, k->segment.end_place, true);
    k->index = k->own_index;
    k->window.place = 0;
    k->window.have = 0;
    k->window.wanted = TT_KEEP_WINDOW_BYTES;
    return status;
}

static void add_record(struct tt_keep *k, const struct tt_record *record)
{
    uint64_t hash = 0;
    if (record->class == TT_RECORD_EVENT)
        hash = tt_hash(&k->identity.hash_key, record->event.channel);
    (void)tt_index_add_record(k->own_index, record, hash,
                              tt_reader_place(&k->reader) - record->length);
}

/* Takes the window's records. TT_OK: read on; TT_END: that was the last; else a failure. */
static enum tt_status scan(struct tt_keep *k)
{
    struct tt_keep_window *w = &k->window;
    uint64_t base = k->segment.base_place;
    struct tt_record record;
    enum tt_status status;
    while ((status = tt_reader_next(&k->reader, base + w->place, tt_bytes(w->data, w->have),
                                    &record)) == TT_OK)
        add_record(k, &record);
    if (tt_index_broken(k->own_index)) return TT_ENOMEM;
    if (status != TT_MORE) return status;
    uint64_t at = tt_reader_place(&k->reader) - base;
    size_t passed = (size_t)(at - w->place), needs = tt_reader_needs(&k->reader);
    size_t left = passed < w->have ? w->have - passed : 0;
    if (left != 0) memmove(w->data, w->data + passed, left);
    w->place = at;
    w->have = left;
    w->wanted = needs > TT_KEEP_WINDOW_BYTES ? needs : TT_KEEP_WINDOW_BYTES;
    return tt_keep_room(&w->data, &w->capacity, w->wanted);
}

static enum tt_status next_scan(struct tt_keep *k, struct tt_log_operation *op)
{
    enum tt_status status = scan(k);
    if (status == TT_OK) {
        tt_keep_read(k, op);
        return TT_OK;
    }
    if (status == TT_END)
        k->step = OPEN_OUT;
    else
        tt_keep_finish(k, status, k->in_path);
    return TT_MORE;
}

/* ---- what is written ---- */

static enum tt_status begin_out(struct tt_keep *k)
{
    enum tt_status status = tt_keep_room(&k->data, &k->data_capacity, TT_KEEP_WINDOW_BYTES);
    if (status != TT_OK) return status;
    if (k->job == TT_KEEP_CHECKPOINT) {
        k->checkpoint_bytes = 0;
        tt_checkpoint_begin(&k->checkpoint, k->values);
        return TT_OK;
    }
    status = tt_index_writer_create(&k->writer, k->index, &k->segment, &k->identity);
    return status == TT_EINVAL ? TT_ENOMEM : status; /* it is broken */
}

static enum tt_status fill(struct tt_keep *k)
{
    k->data_size = k->data_written = 0;
    if (k->job == TT_KEEP_CHECKPOINT) {
        enum tt_status status = tt_checkpoint_step(&k->checkpoint, &k->checkpoint_header,
                                                   &k->identity, k->data, &k->data_size);
        k->position = k->checkpoint_bytes;
        k->checkpoint_bytes += k->data_size;
        if (status == TT_END) k->all_given = true;
        return TT_OK;
    }
    struct tt_index_slice slice = {0};
    enum tt_status status = tt_index_writer_step(k->writer, k->data, k->data_capacity, &slice);
    if (status == TT_END) {
        k->all_given = true;
        return TT_OK;
    }
    k->position = slice.position;
    k->data_size = slice.size;
    return status;
}

/* Everything below the mark is durable: the table may be written as of it. */
static bool begin_checkpoint(struct tt_keep *k, const struct tt_keep_view *view)
{
    k->mark_held = true;
    if (view->durable_place < k->mark_needs || view->directory_file < 0) return false;
    const struct tt_kept_files *f = &k->kept;
    k->checkpoint_header = (struct tt_checkpoint_header){
        .mark = tt_values_mark(k->values), .place = k->mark_place, .kept_number = f->next};
    if (k->current) {
        k->checkpoint_header.kept_number = f->files[f->count - 1].number;
        k->checkpoint_header.kept_byte = k->kept_size;
    }
    return true;
}

enum tt_status tt_keep_write_next(struct tt_keep *k, const struct tt_keep_view *view,
                                  struct tt_log_operation *op)
{
    enum tt_status status;
    switch ((enum step)k->step) {
    case WAIT:
        if (!begin_checkpoint(k, view)) return TT_IDLE;
        k->step = OPEN_OUT;
        return TT_MORE;
    case OPEN_IN:
        status =
            tt_segment_path(k->directory, k->segment.first_offset, k->in_path, sizeof k->in_path);
        TT_ASSERT(status == TT_OK);
        op->kind = TT_LOG_OPEN_READ;
        op->path = k->in_path;
        return TT_OK;
    case SCAN: return next_scan(k, op);
    case OPEN_OUT:
        op->kind = TT_LOG_OPEN_NEW;
        op->path = k->out_path;
        return TT_OK;
    case CLEAR:
        op->kind = TT_LOG_UNLINK;
        op->path = k->out_path;
        return TT_OK;
    case FILL:
        status = fill(k);
        if (status != TT_OK)
            tt_keep_finish(k, status, k->out_path);
        else
            k->step = WRITE;
        return TT_MORE;
    case WRITE:
        if (tt_keep_write(k, op)) return TT_OK;
        k->step = k->all_given ? SYNC : FILL;
        return TT_MORE;
    case SYNC:
        op->kind = TT_LOG_SYNC;
        op->file = k->out;
        return TT_OK;
    case RENAME:
        op->kind = TT_LOG_RENAME;
        op->path = k->out_path;
        op->path_to = k->to_path;
        return TT_OK;
    case SYNC_NAME:
        op->kind = TT_LOG_SYNC_DIRECTORY;
        op->file = view->directory_file;
        return TT_OK;
    }
    TT_UNREACHABLE();
}

/* ---- what came of it ---- */

static void opened_out(struct tt_keep *k, int32_t result)
{
    if (result == TT_EEXIST) {
        k->step = CLEAR;
        return;
    }
    if (result < 0) {
        tt_keep_finish(k, (enum tt_status)result, k->out_path);
        return;
    }
    k->out = result;
    k->remove_out = true;
    enum tt_status status = begin_out(k);
    if (status != TT_OK)
        tt_keep_finish(k, status, k->out_path);
    else
        k->step = FILL;
}

static void opened_in(struct tt_keep *k, int32_t result)
{
    enum tt_status status = result < 0 ? (enum tt_status)result : TT_OK;
    if (status == TT_OK) {
        k->in = result;
        status = begin_scan(k);
    }
    if (status != TT_OK)
        tt_keep_finish(k, status, k->in_path);
    else
        k->step = SCAN;
}

static void renamed(struct tt_keep *k)
{
    k->remove_out = false;
    /* An index that is lost with its name is made again. */
    if (k->job == TT_KEEP_CHECKPOINT)
        k->step = SYNC_NAME;
    else
        tt_keep_finish(k, TT_OK, "");
}

static void name_synced(struct tt_keep *k)
{
    k->kept.checkpoint_place = k->checkpoint_header.place;
    k->kept.checkpoint_bytes = k->checkpoint_bytes;
    tt_keep_finish(k, TT_OK, "");
}

void tt_keep_write_done(struct tt_keep *k, int32_t result)
{
    enum tt_status status = result < 0 ? (enum tt_status)result : TT_OK;
    const char *path = k->out_path;
    switch ((enum step)k->step) {
    case OPEN_IN: opened_in(k, result); return;
    case OPEN_OUT: opened_out(k, result); return;
    case SCAN:
        path = k->in_path;
        status = tt_keep_was_read(k, result);
        if (status == TT_END) status = TT_ECORRUPT; /* the file is shorter than the segment */
        break;
    case CLEAR:
        if (status == TT_ENOENT) status = TT_OK;
        if (status == TT_OK) k->step = OPEN_OUT;
        break;
    case WRITE: status = tt_keep_written(k, result); break;
    case SYNC:
        if (status == TT_OK) k->step = RENAME;
        break;
    case RENAME:
        if (status == TT_OK) renamed(k);
        break;
    case SYNC_NAME:
        path = k->to_path;
        if (status == TT_EUNSUPPORTED || status == TT_EINVAL) status = TT_OK;
        if (status == TT_OK) name_synced(k);
        break;
    case WAIT:
    case FILL: TT_UNREACHABLE();
    }
    if (status != TT_OK) tt_keep_finish(k, status, path);
}
