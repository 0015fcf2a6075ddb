/* Copies the values that stand in a segment, or in a kept file, to the newest kept file: in
 * batches, by rising place, each batch synced before the table points to it. */
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/assert.h"
#include "store/keep_internal.h"

#define READ_FEW_BYTES 16384u /* when nothing else is near */

enum step {
    CUT_OPEN, /* what could not be cut off when it failed */
    CUT,
    CUT_CLOSE,
    WAIT,   /* until everything below the mark is durable */
    GATHER, /* which values stand in the source */
    OPEN_IN,
    OPEN_OUT,
    COPY, /* reads as it needs to */
    WRITE,
    SYNC,
    SYNC_NAME, /* the file is new */
    POINT,     /* the table to the copies */
    CLOSE_OUT, /* it has grown enough */
    REMOVE,    /* COMPACT: the source */
    SYNC_GONE, /* its name */
};

void tt_keep_copy_begin(struct tt_keep *k, enum tt_keep_job job)
{
    k->job = job;
    k->step = k->cut_pending ? CUT_OPEN : WAIT;
    k->data_size = k->data_written = 0;
    k->made = false;
    if (job == TT_KEEP_CARRY) {
        k->source = k->from = k->segment.base_place;
        k->to = k->segment.end_place;
    } else {
        uint32_t number = k->kept.files[0].number;
        if (k->kept.count == 1) k->current = false;
        k->source = k->from = tt_kept_place(number, 0);
        k->to = tt_kept_place(number + 1, 0);
    }
}

static void name_source(struct tt_keep *k)
{
    enum tt_status status =
        k->job == TT_KEEP_CARRY
            ? tt_segment_path(k->directory, k->segment.first_offset, k->in_path, sizeof k->in_path)
            : tt_kept_path(k->directory, k->kept.files[0].number, k->in_path, sizeof k->in_path);
    TT_ASSERT(status == TT_OK); /* recovery bounds the directory's name */
}

/* ---- WAIT, GATHER ---- */

static void begin_gathering(struct tt_keep *k)
{
    k->step = GATHER;
    k->key = 0;
    k->entries_count = 0;
    k->limit = k->to;
    k->all_gathered = true;
}

/* False: not yet. */
static bool begin(struct tt_keep *k, const struct tt_keep_view *view)
{
    k->mark_held = true;
    if (!k->keep_last) {
        if (k->job == TT_KEEP_CARRY)
            tt_keep_finish(k, TT_OK, "");
        else
            k->step = REMOVE;
        return true;
    }
    if (view->durable_place < k->mark_needs || view->directory_file < 0) return false;
    name_source(k);
    k->entries = malloc(2 * TT_KEEP_BATCH * sizeof *k->entries);
    enum tt_status status = k->entries != NULL ? TT_OK : TT_ENOMEM;
    if (status == TT_OK)
        status = tt_keep_room(&k->window.data, &k->window.capacity, TT_KEEP_WINDOW_BYTES);
    if (status == TT_OK) status = tt_keep_room(&k->data, &k->data_capacity, TT_KEEP_WINDOW_BYTES);
    /* A value above the mark that is superseded by one that is not durable would not be found. */
    if (k->job == TT_KEEP_CARRY && k->segment.end_place > k->mark_place) status = TT_EBUSY;
    if (status != TT_OK)
        tt_keep_finish(k, status, k->in_path);
    else
        begin_gathering(k);
    return true;
}

static void swap(struct tt_keep_entry *a, struct tt_keep_entry *b)
{
    struct tt_keep_entry t = *a;
    *a = *b;
    *b = t;
}

/* Puts the TT_KEEP_BATCH entries with the lowest places first; the next lowest behind them. */
static void select_lowest(struct tt_keep_entry *e, uint32_t count)
{
    uint32_t low = 0, high = count - 1;
    while (low < high) {
        uint64_t pivot = e[low + (high - low) / 2].place;
        uint32_t i = low, j = high;
        for (;;) {
            while (e[i].place < pivot) i++;
            while (e[j].place > pivot) j--;
            if (i >= j) break;
            swap(&e[i++], &e[j--]);
        }
        /* Places differ, so all up to j are below those behind it, or j is the pivot. */
        if (e[j].place > pivot) j--;
        if (TT_KEEP_BATCH <= j)
            high = j;
        else
            low = j + 1;
    }
}

static void consider(struct tt_keep *k, uint32_t slot, uint64_t place, uint64_t offset)
{
    if (place < k->from || place >= k->limit) return;
    k->entries[k->entries_count++] =
        (struct tt_keep_entry){.place = place, .offset = offset, .slot = slot};
    if (k->entries_count < 2 * TT_KEEP_BATCH) return;
    select_lowest(k->entries, k->entries_count);
    k->limit = k->entries[TT_KEEP_BATCH].place;
    k->entries_count = TT_KEEP_BATCH;
    k->all_gathered = false;
}

/* A deletion is kept while kept files may hold older values of its channel: not when it stands in
 * the oldest of them itself. */
static bool is_wanted(const struct tt_keep *k, const struct tt_value *v, uint8_t state)
{
    return state == TT_VALUE_HELD ||
           (state == TT_VALUE_DELETED && k->job == TT_KEEP_CARRY && tt_value_was_kept(v));
}

static int by_place(const void *a, const void *b)
{
    const struct tt_keep_entry *left = a, *right = b;
    return left->place < right->place ? -1 : left->place > right->place;
}

static void source_done(struct tt_keep *k)
{
    if (k->job == TT_KEEP_CARRY)
        tt_keep_finish(k, TT_OK, "");
    else
        k->step = REMOVE;
}

static void gathered(struct tt_keep *k)
{
    if (k->entries_count == 0) {
        source_done(k);
        return;
    }
    if (k->entries_count > TT_KEEP_BATCH) {
        select_lowest(k->entries, k->entries_count);
        k->entries_count = TT_KEEP_BATCH;
        k->all_gathered = false;
    }
    qsort(k->entries, k->entries_count, sizeof *k->entries, by_place);
    k->entry = 0;
    k->window.have = 0;
    k->step = k->in == TT_KEEP_FILE_NONE ? OPEN_IN : k->out == TT_KEEP_FILE_NONE ? OPEN_OUT : COPY;
}

static void gather(struct tt_keep *k)
{
    uint32_t slots = tt_values_slots(k->values);
    uint64_t mark = tt_values_mark(k->values);
    for (uint32_t i = 0; i < TT_VALUES_BLOCK && k->key < slots; i++, k->key++) {
        const struct tt_value *v = tt_values_at(k->values, k->key);
        if (v == NULL) continue;
        if (is_wanted(k, v, v->state)) consider(k, k->key, v->place, v->offset);
        if (v->offset >= mark && is_wanted(k, v, v->older_state))
            consider(k, k->key, v->older_place, v->older_offset);
    }
    if (k->key == slots) gathered(k);
}

/* ---- COPY ---- */

/* The record cannot be had. */
static void lose(struct tt_keep *k, struct tt_keep_entry *e)
{
    e->to = 0;
    tt_values_lose(k->values, e->slot, e->offset);
    k->figures.lost_values++;
}

static bool is_it(const struct tt_keep *k, const struct tt_keep_entry *e,
                  const struct tt_record *record)
{
    const struct tt_value *v = tt_values_at(k->values, e->slot);
    return record->class == TT_RECORD_EVENT && record->offset == e->offset && v != NULL &&
           tt_bytes_equal(record->event.channel, tt_value_name(v));
}

/* How much to read for the entry: as far as there are others near, or little. */
static size_t read_size(const struct tt_keep *k)
{
    const struct tt_keep_entry *e = &k->entries[k->entry];
    if (k->bad_place == e->place)
        return READ_FEW_BYTES; /* by itself: perhaps others fail, not it */
    bool near = k->entry + 1 < k->entries_count && e[1].place - e->place < TT_KEEP_WINDOW_BYTES / 4;
    return near ? TT_KEEP_WINDOW_BYTES : READ_FEW_BYTES;
}

/* Reads on for the entry whose record begins at `at` of the file and needs so many bytes. */
static enum tt_status want(struct tt_keep *k, uint64_t at, size_t needs)
{
    struct tt_keep_window *w = &k->window;
    size_t left = 0;
    if (at >= w->place && at - w->place < w->have) {
        size_t passed = (size_t)(at - w->place);
        left = w->have - passed;
        memmove(w->data, w->data + passed, left);
    }
    w->place = at;
    w->have = left;
    w->wanted = read_size(k);
    if (w->wanted < needs) w->wanted = needs;
    return tt_keep_room(&w->data, &w->capacity, w->wanted);
}

/* TT_OK: copied, or lost; TT_MORE: its bytes are to be read; TT_FULL: write first; TT_ENOMEM. */
static enum tt_status copy_one(struct tt_keep *k)
{
    struct tt_keep_entry *e = &k->entries[k->entry];
    const struct tt_keep_window *w = &k->window;
    uint64_t at = e->place - k->source;
    struct tt_bytes bytes = TT_BYTES_NONE;
    if (at >= w->place && at - w->place < w->have)
        bytes = tt_bytes_from(tt_bytes(w->data, w->have), (size_t)(at - w->place));
    struct tt_record record = {0};
    enum tt_status status = bytes.size < TT_RECORD_ALIGN ? TT_MORE : tt_record_read(bytes, &record);
    if (status == TT_MORE) {
        size_t needs = record.length != 0 ? record.length : TT_RECORD_HEADER_BYTES;
        status = want(k, at, needs);
        return status == TT_OK ? TT_MORE : status;
    }
    if (status != TT_OK || !is_it(k, e, &record)) {
        lose(k, e);
        k->entry++;
        return TT_OK;
    }
    if (k->data_size != 0 && k->data_size + record.length > TT_KEEP_WINDOW_BYTES) return TT_FULL;
    status = tt_keep_room(&k->data, &k->data_capacity, k->data_size + record.length);
    if (status != TT_OK) return status;
    memcpy(k->data + k->data_size, bytes.data, record.length);
    e->to = tt_kept_place(k->kept.files[k->kept.count - 1].number, k->position + k->data_size);
    e->bytes = record.length;
    k->data_size += record.length;
    k->entry++;
    return TT_OK;
}

static enum tt_status next_copy(struct tt_keep *k, struct tt_log_operation *op)
{
    enum tt_status status = TT_OK;
    while (status == TT_OK && k->entry < k->entries_count) status = copy_one(k);
    if (status == TT_MORE) {
        tt_keep_read(k, op);
        return TT_OK;
    }
    if (status == TT_OK || status == TT_FULL)
        k->step = WRITE;
    else
        tt_keep_finish(k, status, k->in_path);
    return TT_MORE;
}

static void written_all(struct tt_keep *k)
{
    k->position += k->data_size;
    k->data_size = k->data_written = 0;
    k->step = k->entry < k->entries_count ? COPY : SYNC;
}

/* ---- POINT ---- */

static void point(struct tt_keep *k)
{
    for (uint32_t i = 0; i < k->entries_count; i++) {
        const struct tt_keep_entry *e = &k->entries[i];
        if (e->to == 0 ||
            !tt_values_repoint(k->values, e->slot, e->offset, e->place, e->to, e->bytes))
            continue;
        k->figures.carried_values++;
    }
    if (k->out != TT_KEEP_FILE_NONE) {
        k->kept_size = k->position;
        k->kept.files[k->kept.count - 1].bytes = k->position;
        if (k->position >= k->kept_file_bytes) k->current = false;
    }
    k->from = k->entries[k->entries_count - 1].place + 1;
    if (k->all_gathered)
        source_done(k);
    else if (k->out != TT_KEEP_FILE_NONE && !k->current)
        k->step = CLOSE_OUT;
    else
        begin_gathering(k);
}

/* ---- the next operation ---- */

static enum tt_status next_open_out(struct tt_keep *k, struct tt_log_operation *op)
{
    uint32_t number = k->current ? k->kept.files[k->kept.count - 1].number : k->kept.next;
    if (number >= TT_KEPT_NUMBER_MAX) {
        tt_keep_finish(k, TT_EUNSUPPORTED, k->directory);
        return TT_MORE;
    }
    enum tt_status status = tt_kept_path(k->directory, number, k->out_path, sizeof k->out_path);
    TT_ASSERT(status == TT_OK);
    op->kind = k->current ? TT_LOG_OPEN_EXISTING : TT_LOG_OPEN_NEW;
    op->path = k->out_path;
    return TT_OK;
}

enum tt_status tt_keep_copy_next(struct tt_keep *k, const struct tt_keep_view *view,
                                 struct tt_log_operation *op)
{
    switch ((enum step)k->step) {
    case CUT_OPEN:
        op->kind = TT_LOG_OPEN_EXISTING;
        op->path = k->cut_path;
        return TT_OK;
    case CUT:
        op->kind = TT_LOG_TRUNCATE;
        op->file = k->in;
        op->size = k->cut_size;
        return TT_OK;
    case CUT_CLOSE:
        op->kind = TT_LOG_CLOSE;
        op->file = k->in;
        k->in = TT_KEEP_FILE_NONE;
        return TT_OK;
    case WAIT: return begin(k, view) ? TT_MORE : TT_IDLE;
    case GATHER: gather(k); return TT_MORE;
    case OPEN_IN:
        op->kind = TT_LOG_OPEN_READ;
        op->path = k->in_path;
        return TT_OK;
    case OPEN_OUT: return next_open_out(k, op);
    case COPY: return next_copy(k, op);
    case WRITE:
        if (tt_keep_write(k, op)) return TT_OK;
        written_all(k);
        return TT_MORE;
    case SYNC:
        op->kind = TT_LOG_SYNC;
        op->file = k->out;
        return TT_OK;
    case SYNC_NAME:
        op->kind = TT_LOG_SYNC_DIRECTORY;
        op->file = view->directory_file;
        return TT_OK;
    case POINT: point(k); return TT_MORE;
    case CLOSE_OUT:
        op->kind = TT_LOG_CLOSE;
        op->file = k->out;
        k->out = TT_KEEP_FILE_NONE;
        return TT_OK;
    case REMOVE:
        name_source(k);
        op->kind = TT_LOG_UNLINK;
        op->path = k->in_path;
        return TT_OK;
    case SYNC_GONE:
        if (view->directory_file < 0) return TT_IDLE;
        op->kind = TT_LOG_SYNC_DIRECTORY;
        op->file = view->directory_file;
        return TT_OK;
    }
    TT_UNREACHABLE();
}

/* ---- what came of it ---- */

/* The kept file that was written to is not trusted any more. */
static void give_up(struct tt_keep *k, enum tt_status status, const char *path)
{
    k->current = false;
    tt_keep_finish(k, status, path);
}

/* Whether the failure is the file's, and may be for ever, and not one of means that are scarce. */
static bool is_lasting(enum tt_status status)
{
    return status != TT_ENOFILE && status != TT_ENOMEM;
}

/* Something about `place` could not be read: has that happened too often? */
static bool is_hopeless(struct tt_keep *k, uint64_t place, enum tt_status status)
{
    if (!is_lasting(status)) return false;
    if (k->bad_place != place) k->bad_tries = 0;
    k->bad_place = place;
    return ++k->bad_tries >= TT_KEEP_TRIES_MAX;
}

static void cut_opened(struct tt_keep *k, int32_t result)
{
    if (result >= 0) {
        k->in = result;
        k->step = CUT;
    } else if (result == TT_ENOENT) {
        k->cut_pending = false;
        k->step = WAIT;
    } else {
        tt_keep_finish(k, (enum tt_status)result, k->cut_path);
    }
}

static void opened_in(struct tt_keep *k, int32_t result)
{
    if (result >= 0) {
        k->in = result;
        k->step = OPEN_OUT;
    } else if (result == TT_ENOENT || is_hopeless(k, k->source, (enum tt_status)result)) {
        for (uint32_t i = 0; i < k->entries_count; i++) lose(k, &k->entries[i]);
        k->step = POINT;
    } else {
        tt_keep_finish(k, (enum tt_status)result, k->in_path);
    }
}

static void opened_out(struct tt_keep *k, int32_t result)
{
    if (result == TT_EEXIST && !k->current) { /* nobody knows it: not ours */
        k->kept.next++;
        return;
    }
    if (result < 0) {
        give_up(k, (enum tt_status)result, k->out_path);
        return;
    }
    k->out = result;
    k->step = COPY;
    k->position = k->kept_size;
    if (k->current) return;
    k->made = true;
    k->position = k->kept_size = 0;
    uint32_t number = k->kept.next;
    enum tt_status status = tt_kept_files_add(&k->kept, number, 0);
    if (status != TT_OK) { /* it is not in the list */
        give_up(k, status, k->out_path);
        k->made = false;
        return;
    }
    k->current = true;
    tt_kept_header_encode(k->data, number, &k->identity);
    k->data_size = TT_KEPT_HEADER_BYTES;
}

static void was_read(struct tt_keep *k, int32_t result)
{
    enum tt_status status = tt_keep_was_read(k, result);
    struct tt_keep_entry *e = &k->entries[k->entry];
    if (status == TT_OK) return;
    if (status != TT_END && !is_hopeless(k, e->place, status)) {
        give_up(k, status, k->in_path);
        return;
    }
    lose(k, e); /* the file ends before the record does, or cannot be read */
    k->entry++;
}

/* The oldest kept file must be gone for good before the next is removed: else a power cut could
 * bring back a value without the deletion that stood in the next. */
static void removed(struct tt_keep *k, enum tt_status status)
{
    if (status == TT_EUNSUPPORTED || status == TT_EINVAL) status = TT_OK;
    if (status != TT_OK) {
        k->remove_no_more = true; /* a sync is not tried twice */
        tt_keep_finish(k, status, k->directory);
        return;
    }
    struct tt_kept_files *f = &k->kept;
    f->count--;
    memmove(f->files, f->files + 1, f->count * sizeof *f->files);
    tt_keep_finish(k, TT_OK, "");
}

/* After the end. What failed is to be cut off; a file that the job had made is gone, and its number
 * free again. */
static void cleaned_up(struct tt_keep *k, int32_t result)
{
    struct tt_kept_files *f = &k->kept;
    if (k->running.kind == TT_LOG_TRUNCATE && result < 0) {
        k->cut_pending = true;
        k->cut_size = k->running.size;
        memcpy(k->cut_path, k->out_path, sizeof k->cut_path);
    }
    if (k->running.kind != TT_LOG_UNLINK || result < 0 || !k->made) return;
    k->made = false;
    k->cut_pending = false;
    f->count--;
    f->next = f->files[f->count].number;
}

void tt_keep_copy_done(struct tt_keep *k, int32_t result)
{
    if (k->ending) {
        cleaned_up(k, result);
        return;
    }
    enum tt_status status = result < 0 ? (enum tt_status)result : TT_OK;
    switch ((enum step)k->step) {
    case CUT_OPEN: cut_opened(k, result); return;
    case CUT:
        if (status != TT_OK) break;
        k->cut_pending = false;
        k->step = CUT_CLOSE;
        return;
    case CUT_CLOSE: k->step = WAIT; return;
    case OPEN_IN: opened_in(k, result); return;
    case OPEN_OUT: opened_out(k, result); return;
    case COPY: was_read(k, result); return;
    case WRITE: status = tt_keep_written(k, result); break;
    case SYNC:
        if (status == TT_OK) k->step = k->made ? SYNC_NAME : POINT;
        break;
    case SYNC_NAME:
        if (status == TT_EUNSUPPORTED || status == TT_EINVAL) status = TT_OK;
        if (status != TT_OK) break;
        k->made = false;
        k->step = POINT;
        break;
    case CLOSE_OUT: begin_gathering(k); return;
    case REMOVE:
        if (status == TT_OK || status == TT_ENOENT)
            k->step = SYNC_GONE;
        else
            tt_keep_finish(k, status, k->in_path);
        return;
    case SYNC_GONE: removed(k, status); return;
    case WAIT:
    case GATHER:
    case POINT: TT_UNREACHABLE();
    }
    if (status != TT_OK) give_up(k, status, k->cut_pending ? k->cut_path : k->out_path);
}
