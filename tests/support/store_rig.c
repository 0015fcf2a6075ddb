#include "tests/support/store_rig.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/base/assert.h"
#include "store/reader.h"

#define SLICES_MAX 1000

struct store_rig_file *store_rig_find(struct store_rig *rig, const char *path)
{
    for (int i = 0; i < rig->count; i++)
        if (rig->files[i].exists && strcmp(rig->files[i].path, path) == 0) return &rig->files[i];
    return NULL;
}

static struct store_rig_file *make(struct store_rig *rig, const char *path, bool directory)
{
    TT_ASSERT(rig->count < STORE_RIG_FILES_MAX);
    struct store_rig_file *f = &rig->files[rig->count++];
    *f = (struct store_rig_file){.exists = true, .directory = directory};
    snprintf(f->path, sizeof f->path, "%s", path);
    return f;
}

static void resize(struct store_rig_file *f, size_t size)
{
    if (size > f->capacity) {
        f->data = realloc(f->data, size);
        TT_ASSERT(f->data != NULL);
        f->capacity = size;
    }
    if (size > f->size) memset(f->data + f->size, 0, size - f->size);
    f->size = size;
}

static void put(struct store_rig_file *f, uint64_t offset, const void *data, size_t size)
{
    if (size == 0) return;
    if (offset + size > f->size) resize(f, offset + size);
    memcpy(f->data + offset, data, size);
}

static void sync_file(struct store_rig_file *f)
{
    f->synced = realloc(f->synced, f->size + 1);
    TT_ASSERT(f->synced != NULL);
    if (f->size != 0) memcpy(f->synced, f->data, f->size);
    f->synced_size = f->size;
}

/* ---- recovery's access ---- */

static enum tt_status files_list(void *context, const char *directory,
                                 enum tt_status (*entry)(void *, const char *), void *argument)
{
    struct store_rig *rig = context;
    size_t n = strlen(directory);
    for (int i = 0; i < rig->count; i++) {
        const char *path = rig->files[i].path;
        if (!rig->files[i].exists || strncmp(path, directory, n) != 0 || path[n] != '/') continue;
        if (strchr(path + n + 1, '/') != NULL) continue;
        enum tt_status status = entry(argument, path + n + 1);
        if (status != TT_OK) return status;
    }
    return TT_OK;
}

static enum tt_status files_make_directory(void *context, const char *path)
{
    struct store_rig *rig = context;
    if (store_rig_find(rig, path) != NULL) return TT_EEXIST;
    make(rig, path, true);
    return TT_OK;
}

static enum tt_status files_open(void *context, const char *path, enum tt_files_open how,
                                 int32_t *file)
{
    struct store_rig *rig = context;
    struct store_rig_file *f = store_rig_find(rig, path);
    if (f == NULL && how != TT_FILES_CREATE) return TT_ENOENT;
    if (f == NULL) f = make(rig, path, false);
    if (how == TT_FILES_CREATE) f->size = 0;
    *file = (int32_t)(f - rig->files);
    return TT_OK;
}

static void files_close(void *context, int32_t file)
{
    (void)context;
    (void)file;
}

static enum tt_status files_size(void *context, int32_t file, uint64_t *bytes)
{
    *bytes = ((struct store_rig *)context)->files[file].size;
    return TT_OK;
}

static enum tt_status files_read(void *context, int32_t file, uint64_t offset, void *data,
                                 size_t size, size_t *done)
{
    struct store_rig *rig = context;
    const struct store_rig_file *f = &rig->files[file];
    *done = offset >= f->size ? 0 : f->size - offset < size ? f->size - offset : size;
    if (*done != 0) memcpy(data, f->data + offset, *done);
    rig->read_bytes += *done;
    return TT_OK;
}

static enum tt_status files_write(void *context, int32_t file, uint64_t offset, const void *data,
                                  size_t size)
{
    put(&((struct store_rig *)context)->files[file], offset, data, size);
    return TT_OK;
}

static enum tt_status files_truncate(void *context, int32_t file, uint64_t size)
{
    resize(&((struct store_rig *)context)->files[file], size);
    return TT_OK;
}

static enum tt_status files_sync(void *context, int32_t file)
{
    sync_file(&((struct store_rig *)context)->files[file]);
    return TT_OK;
}

static enum tt_status files_sync_directory(void *context, const char *path)
{
    return store_rig_find(context, path) != NULL ? TT_OK : TT_ENOENT;
}

static enum tt_status files_rename(void *context, const char *from, const char *to)
{
    struct store_rig_file *f = store_rig_find(context, from), *old = store_rig_find(context, to);
    if (f == NULL) return TT_ENOENT;
    if (old != NULL) old->exists = false;
    snprintf(f->path, sizeof f->path, "%s", to);
    return TT_OK;
}

static enum tt_status files_unlink(void *context, const char *path)
{
    struct store_rig_file *f = store_rig_find(context, path);
    if (f == NULL) return TT_ENOENT;
    f->exists = false;
    return TT_OK;
}

void store_rig_init(struct store_rig *rig)
{
    memset(rig, 0, sizeof *rig);
    rig->access = (struct tt_files){rig,         files_list,           files_make_directory,
                                    files_open,  files_close,          files_size,
                                    files_read,  files_write,          files_truncate,
                                    files_sync,  files_sync_directory, files_rename,
                                    files_unlink};
    rig->now = (struct tt_log_now){.ns = 1000000000, .wall_us = 1700000000000000};
    make(rig, "data", true);
}

void store_rig_deinit(struct store_rig *rig)
{
    store_rig_kill(rig);
    for (int i = 0; i < rig->count; i++) {
        free(rig->files[i].data);
        free(rig->files[i].synced);
    }
}

enum tt_status store_rig_recover(struct store_rig *rig, const struct store_rig_options *o)
{
    struct tt_history history = {0};
    enum tt_status status =
        tt_history_parse(tt_bytes_text(o->history != NULL ? o->history : "mirror"), &history);
    TT_ASSERT(status == TT_OK);
    const struct tt_recovery_options options = {
        .files = &rig->access,
        .directory = "data",
        .partitions = o->partitions != 0 || o->mirror ? o->partitions : 1,
        .segment_bytes = o->segment_bytes,
        .ceilings = o->policy != TT_LOG_ALWAYS,
        .random = {11, 22, 33},
        .wall_us = rig->now.wall_us,
        .channels_max = o->channels_max,
        .mirror = o->mirror,
        .history = history,
        .hash_key = {o->key, 7},
        .slots = o->slots,
    };
    rig->read_bytes = 0;
    return tt_recovery_open(&rig->recovered, &options, rig->error);
}

enum tt_status store_rig_open(struct store_rig *rig, const struct store_rig_options *o)
{
    enum tt_status status = store_rig_recover(rig, o);
    if (status != TT_OK) return status;
    status = tt_tail_readers_create(&rig->readers, 1);
    TT_ASSERT(status == TT_OK);
    struct tt_recovered_partition *p = &rig->recovered->partitions[0];
    if (o->mirror && tt_recovery_is_empty(p)) tt_recovery_begin_at(p, o->begin);
    const struct tt_tail_options tail = {
        .bytes = o->tail_bytes,
        .record_bytes_max = TT_RECORD_BYTES_MAX(o->event_bytes_max + TT_RECORD_TEXT_BYTES_MAX),
        .next_offset = p->next_offset,
        .oldest_offset = p->oldest_offset,
        .readers = rig->readers,
    };
    status = tt_tail_create(&rig->tail, &tail);
    TT_ASSERT(status == TT_OK);
    const struct tt_log_options log = {
        .recovered = rig->recovered,
        .tail = rig->tail,
        .policy = o->policy,
        .sync_interval_ns = 100000000,
        .segment_bytes = o->segment_bytes,
        .retention =
            o->retention.bytes != 0 ? o->retention : (struct tt_retention){UINT64_MAX, UINT64_MAX},
        .channels_max = o->channels_max,
        .forget_values = o->forget_values,
    };
    status = tt_log_create(&rig->log, &log);
    TT_ASSERT(status == TT_OK);
    uint64_t next_offset;
    rig->sequence = tt_tail_start(rig->tail, &next_offset);
    return TT_OK;
}

/* ---- the log's operations ---- */

static int32_t carry_out(struct store_rig *rig, const struct tt_log_operation *op)
{
    struct store_rig_file *f;
    switch (op->kind) {
    case TT_LOG_OPEN_NEW:
        if (store_rig_find(rig, op->path) != NULL) return TT_EEXIST;
        return (int32_t)(make(rig, op->path, false) - rig->files);
    case TT_LOG_OPEN_EXISTING:
    case TT_LOG_OPEN_DIRECTORY:
        f = store_rig_find(rig, op->path);
        return f != NULL ? (int32_t)(f - rig->files) : TT_ENOENT;
    case TT_LOG_PREALLOCATE:
        f = &rig->files[op->file];
        if (op->offset + op->size > f->size) resize(f, op->offset + op->size);
        return TT_OK;
    case TT_LOG_WRITE:
        put(&rig->files[op->file], op->offset, op->data, op->size);
        return (int32_t)op->size;
    case TT_LOG_SYNC: sync_file(&rig->files[op->file]); return TT_OK;
    case TT_LOG_SYNC_DIRECTORY: return TT_OK;
    case TT_LOG_TRUNCATE: resize(&rig->files[op->file], op->size); return TT_OK;
    case TT_LOG_CLOSE: return TT_OK;
    case TT_LOG_UNLINK: return files_unlink(rig, op->path);
    case TT_LOG_OPEN_READ:
        f = store_rig_find(rig, op->path);
        return f != NULL ? (int32_t)(f - rig->files) : TT_ENOENT;
    case TT_LOG_READ: {
        size_t done = 0;
        (void)files_read(rig, op->file, op->offset, op->buffer, op->size, &done);
        return (int32_t)done;
    }
    case TT_LOG_RENAME: return files_rename(rig, op->path, op->path_to);
    }
    TT_UNREACHABLE();
}

bool store_rig_step(struct store_rig *rig)
{
    struct tt_log_operation op;
    rig->now.ns++; /* a turn of its own */
    if (tt_log_next_operation(rig->log, &rig->now, &op) != TT_OK) return false;
    int32_t result = rig->fault != NULL ? rig->fault(rig, &op) : 0;
    if (result == 0) {
        result = carry_out(rig, &op);
    } else if (result > 0) {
        put(&rig->files[op.file], op.offset, op.data, (size_t)result);
    }
    tt_log_operation_done(rig->log, op.lane, result, &rig->now);
    return true;
}

void store_rig_run(struct store_rig *rig)
{
    /* Work that needs no operation is done in slices: the log wants to be asked again at once. */
    for (int asked = 0; asked < SLICES_MAX; asked++) {
        if (store_rig_step(rig))
            asked = 0;
        else if (tt_log_next_ns(rig->log, &rig->now) > rig->now.ns)
            break;
    }
    (void)tt_log_publish(rig->log);
}

uint32_t store_rig_read(struct store_rig *rig)
{
    uint32_t events = 0, count;
    const struct tt_tail_descriptor *run;
    while ((count = tt_tail_read(rig->tail, rig->sequence, UINT32_MAX, &run)) != 0) {
        for (uint32_t i = 0; i < count; i++) events += run[i].class == TT_RECORD_EVENT;
        rig->sequence += count;
    }
    /* The owner is this thread: nobody has to be woken. */
    bool woken = tt_tail_advance(rig->tail, 0, rig->sequence);
    woken |= tt_tail_turn(rig->readers, 0);
    (void)woken;
    return events;
}

void store_rig_kill(struct store_rig *rig)
{
    if (rig->log != NULL) tt_log_destroy(&rig->log);
    if (rig->tail != NULL) tt_tail_destroy(&rig->tail);
    if (rig->readers != NULL) tt_tail_readers_destroy(&rig->readers);
    if (rig->recovered != NULL) tt_recovery_destroy(&rig->recovered);
}

void store_rig_close(struct store_rig *rig)
{
    tt_log_close(rig->log);
    store_rig_run(rig);
}

void store_rig_power_cut(struct store_rig *rig)
{
    store_rig_kill(rig);
    for (int i = 0; i < rig->count; i++) {
        struct store_rig_file *f = &rig->files[i];
        if (f->directory || !f->exists) continue;
        f->size = 0;
        if (f->synced_size != 0) put(f, 0, f->synced, f->synced_size);
    }
}

enum tt_status store_rig_append(struct store_rig *rig, const char *channel, size_t payload_bytes,
                                uint64_t *offset, uint64_t *end_place)
{
    uint8_t *payload = malloc(payload_bytes + 1);
    TT_ASSERT(payload != NULL);
    memset(payload, '7', payload_bytes);
    const struct tt_event event = {.channel = tt_bytes_text(channel),
                                   .type = TT_BYTES_LITERAL("message"),
                                   .payload = tt_bytes(payload, payload_bytes),
                                   .timestamp_ms = rig->now.wall_us / 1000,
                                   .taken_us = rig->now.wall_us};
    enum tt_status status = tt_log_append(rig->log, &rig->now, &event, 1, NULL, offset, end_place);
    free(payload);
    return status;
}

uint64_t store_rig_walk(struct store_rig *rig, uint64_t *first, uint64_t *next, uint64_t *holes)
{
    const struct tt_segment_list *list = tt_log_segments(rig->log);
    uint64_t events = 0;
    *holes = 0;
    *first = *next = UINT64_MAX;
    for (uint32_t i = 0; i < list->count; i++) {
        const struct tt_segment *s = &list->items[i];
        char path[TT_LOG_PATH_BYTES];
        enum tt_status status = tt_segment_path("data/0", s->first_offset, path, sizeof path);
        TT_ASSERT(status == TT_OK);
        const struct store_rig_file *f = store_rig_find(rig, path);
        TT_ASSERT(f != NULL);
        bool sealed = s->end_place != TT_SEGMENT_GROWS;
        uint64_t end = sealed ? s->end_place : tt_tail_written_place(rig->tail);
        struct tt_reader reader;
        struct tt_record record;
        tt_reader_init(&reader, s->base_place, end, sealed);
        while ((status = tt_reader_next(&reader, s->base_place, tt_bytes(f->data, f->size),
                                        &record)) == TT_OK) {
            if (record.class != TT_RECORD_EVENT && record.class != TT_RECORD_HOLE) continue;
            if (*first == UINT64_MAX) *first = *next = record.offset;
            TT_ASSERT(record.offset == *next);
            *next = record.class == TT_RECORD_HOLE ? record.hole_end : record.offset + 1;
            if (record.class == TT_RECORD_HOLE)
                ++*holes;
            else
                events++;
        }
        TT_ASSERT(status == TT_END);
    }
    return events;
}
