#include "store/recovery.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/assert.h"
#include "store/log.h"
#include "store/meta.h"
#include "store/recovery_internal.h"

enum tt_status tt_recovery_fail(struct tt_recovery *r, enum tt_status status, const char *path,
                                const char *format, ...)
{
    va_list arguments;
    int used = snprintf(r->error, TT_RECOVERY_ERROR_BYTES, "%s: ", path);
    if (used < 0 || used >= (int)TT_RECOVERY_ERROR_BYTES) return status;
    va_start(arguments, format);
    int more =
        vsnprintf(r->error + used, TT_RECOVERY_ERROR_BYTES - (size_t)used, format, arguments);
    va_end(arguments);
    used += more;
    bool repairable = status == TT_ECORRUPT && !r->options->mirror;
    if (repairable && more > 0 && used < (int)TT_RECOVERY_ERROR_BYTES)
        snprintf(r->error + used, TT_RECOVERY_ERROR_BYTES - (size_t)used,
                 " (`ttlog verify %s` lists all damage; `ttlog repair` saves what is left)",
                 r->options->directory);
    return status;
}

enum tt_status tt_recovery_plain_fail(struct tt_recovery *r, enum tt_status status,
                                      const char *path)
{
    return tt_recovery_fail(r, status, path, "%s", tt_status_text(status));
}

void tt_recovery_join(char path[TT_RECOVERY_PATH_BYTES], const char *directory, const char *name)
{
    int used = snprintf(path, TT_RECOVERY_PATH_BYTES, "%s/%s", directory, name);
    TT_ASSERT(used > 0 && used < (int)TT_RECOVERY_PATH_BYTES); /* the directory is bounded */
}

/* Writes a small file whole and syncs it. */
static enum tt_status write_file(struct tt_recovery *r, const char *path, const void *data,
                                 size_t size)
{
    const struct tt_files *f = r->files;
    int32_t file;
    enum tt_status status = f->open(f->context, path, TT_FILES_CREATE, &file);
    if (status != TT_OK) return tt_recovery_plain_fail(r, status, path);
    status = f->write(f->context, file, 0, data, size);
    if (status == TT_OK) status = f->sync(f->context, file);
    f->close(f->context, file);
    return status == TT_OK ? TT_OK : tt_recovery_plain_fail(r, status, path);
}

/* ---- META ---- */

enum tt_status tt_recovery_read_meta(struct tt_recovery *r, struct tt_meta *meta)
{
    const struct tt_files *f = r->files;
    char path[TT_RECOVERY_PATH_BYTES];
    tt_recovery_join(path, r->options->directory, "META");
    int32_t file;
    enum tt_status status = f->open(f->context, path, TT_FILES_READ, &file);
    if (status == TT_ENOENT) return status;
    if (status != TT_OK) return tt_recovery_plain_fail(r, status, path);
    uint8_t bytes[TT_META_BYTES];
    size_t size = 0;
    status = f->read(f->context, file, 0, bytes, sizeof bytes, &size);
    f->close(f->context, file);
    if (status != TT_OK) return tt_recovery_plain_fail(r, status, path);
    const char *why = NULL;
    status = tt_meta_decode(tt_bytes(bytes, size), meta, &why);
    if (status == TT_EVERSION)
        return tt_recovery_fail(r, status, path,
                                "was written in format %u by a newer version; this one knows %u",
                                meta->format, TT_RECORD_FORMAT);
    return status == TT_OK ? TT_OK : tt_recovery_fail(r, status, path, "%s", why);
}

enum tt_status tt_recovery_write_meta(struct tt_recovery *r, const struct tt_meta *meta)
{
    const struct tt_files *f = r->files;
    const char *directory = r->options->directory;
    uint8_t bytes[TT_META_BYTES];
    tt_meta_encode(bytes, meta);
    char path[TT_RECOVERY_PATH_BYTES], next[TT_RECOVERY_PATH_BYTES];
    tt_recovery_join(path, directory, "META");
    tt_recovery_join(next, directory, "META.new");
    enum tt_status status = write_file(r, next, bytes, sizeof bytes);
    if (status != TT_OK) return status;
    /* The partitions' names first: META must not be there without them. */
    status = f->sync_directory(f->context, directory);
    if (status != TT_OK) return tt_recovery_plain_fail(r, status, directory);
    status = f->rename(f->context, next, path);
    if (status == TT_OK) status = f->sync_directory(f->context, directory);
    return status == TT_OK ? TT_OK : tt_recovery_plain_fail(r, status, path);
}

static enum tt_status open_meta(struct tt_recovery *r)
{
    struct tt_recovered *log = r->log;
    struct tt_meta meta = {0};
    enum tt_status status = tt_recovery_read_meta(r, &meta);
    if (status != TT_OK) return status;
    char path[TT_RECOVERY_PATH_BYTES];
    tt_recovery_join(path, r->options->directory, "META");
    if (meta.partitions != r->options->partitions)
        return tt_recovery_fail(r, TT_EINVAL, path,
                                "the log was created with %u partitions, %u are configured; their "
                                "number cannot change",
                                meta.partitions, r->options->partitions);
    log->format = meta.format;
    log->history = meta.history;
    log->hash_key = meta.hash_key;
    return TT_OK;
}

/* ---- creating ---- */

static enum tt_status refuse_segment(void *argument, const char *name)
{
    uint64_t first_offset;
    (void)argument;
    return tt_segment_name_parse(name, &first_offset) == TT_OK ? TT_EEXIST : TT_OK;
}

static enum tt_status create_partition(struct tt_recovery *r, const char *directory)
{
    const struct tt_files *f = r->files;
    enum tt_status status = f->make_directory(f->context, directory);
    if (status == TT_EEXIST) {
        /* Left by a creation that did not end; but segments are not made before META. */
        status = f->list(f->context, directory, refuse_segment, NULL);
        if (status == TT_EEXIST)
            return tt_recovery_fail(r, TT_ECORRUPT, directory,
                                    "holds segments, but META beside it is missing");
    }
    if (status != TT_OK) return tt_recovery_plain_fail(r, status, directory);
    uint8_t slots[TT_CEILING_FILE_BYTES] = {0};
    struct tt_ceiling ceiling = {.version = 1, .offset = 0};
    tt_ceiling_encode(slots + tt_ceiling_place(ceiling.version), &ceiling);
    char path[TT_RECOVERY_PATH_BYTES];
    tt_recovery_join(path, directory, "ceiling");
    status = write_file(r, path, slots, sizeof slots);
    if (status == TT_OK) {
        status = f->sync_directory(f->context, directory);
        if (status != TT_OK) return tt_recovery_plain_fail(r, status, directory);
    }
    return status;
}

/* META comes last: a log that has one is complete. */
static enum tt_status create(struct tt_recovery *r)
{
    const struct tt_recovery_options *o = r->options;
    for (uint32_t i = 0; i < o->partitions; i++) {
        enum tt_status status = create_partition(r, r->log->partitions[i].directory);
        if (status != TT_OK) return status;
    }
    struct tt_meta meta = {.format = TT_RECORD_FORMAT,
                           .partitions = o->partitions,
                           .history = tt_history_from_bits(o->random[0]),
                           .hash_key = {o->random[1], o->random[2]},
                           .created_us = o->wall_us};
    enum tt_status status = tt_recovery_write_meta(r, &meta);
    if (status != TT_OK) return status;
    r->log->created = true;
    return open_meta(r);
}

/* ---- a partition ---- */

static enum tt_status read_ceiling(struct tt_recovery *r, const char *path,
                                   struct tt_ceiling *ceiling)
{
    const struct tt_files *f = r->files;
    uint8_t slots[TT_CEILING_FILE_BYTES];
    size_t size = 0;
    int32_t file;
    enum tt_status status = f->open(f->context, path, TT_FILES_READ, &file);
    if (status != TT_OK) return tt_recovery_plain_fail(r, status, path);
    status = f->read(f->context, file, 0, slots, sizeof slots, &size);
    f->close(f->context, file);
    if (status != TT_OK) return tt_recovery_plain_fail(r, status, path);
    if (tt_ceiling_decode(tt_bytes(slots, size), ceiling) != TT_OK)
        return tt_recovery_fail(r, TT_ECORRUPT, path,
                                "is damaged: neither of its two slots is valid");
    return TT_OK;
}

static enum tt_status write_ceiling(struct tt_recovery *r, const char *path,
                                    const struct tt_ceiling *ceiling)
{
    const struct tt_files *f = r->files;
    uint8_t slot[TT_CEILING_SLOT_BYTES];
    int32_t file;
    enum tt_status status = f->open(f->context, path, TT_FILES_WRITE, &file);
    if (status != TT_OK) return tt_recovery_plain_fail(r, status, path);
    tt_ceiling_encode(slot, ceiling);
    status = f->write(f->context, file, tt_ceiling_place(ceiling->version), slot, sizeof slot);
    if (status == TT_OK) status = f->sync(f->context, file);
    f->close(f->context, file);
    return status == TT_OK ? TT_OK : tt_recovery_plain_fail(r, status, path);
}

static enum tt_status open_partition(struct tt_recovery *r, uint32_t index)
{
    struct tt_recovered_partition *p = &r->log->partitions[index];
    char path[TT_RECOVERY_PATH_BYTES];
    struct tt_ceiling ceiling = {0};
    tt_recovery_join(path, p->directory, "ceiling");
    enum tt_status status = read_ceiling(r, path, &ceiling);
    p->ceiling = ceiling.offset;
    if (status == TT_OK) status = tt_recovery_scan(r, index, p);
    if (status != TT_OK) return status;
    /* Offsets from here to the ceiling may have been seen: they name nothing any more. */
    p->hole_first = p->hole_end = p->next_offset;
    if (ceiling.offset > p->next_offset) p->next_offset = p->hole_end = ceiling.offset;
    uint64_t wanted = ceiling.offset;
    if (r->options->ceilings) {
        wanted = p->next_offset + TT_LOG_CEILING_BLOCK;
        if (wanted > TT_NEXT_MAX) wanted = TT_NEXT_MAX;
    }
    if (wanted != ceiling.offset) {
        ceiling = (struct tt_ceiling){ceiling.version + 1, wanted};
        status = write_ceiling(r, path, &ceiling);
    }
    p->ceiling = r->options->ceilings ? ceiling.offset : UINT64_MAX;
    p->ceiling_version = ceiling.version;
    return status;
}

/* ---- life ---- */

enum tt_status tt_recovery_allocate(struct tt_recovery *r, uint32_t partitions)
{
    const char *root = r->options->directory;
    struct tt_recovered *log = r->log;
    log->partitions = calloc(partitions, sizeof *log->partitions);
    if (log->partitions == NULL) return tt_recovery_plain_fail(r, TT_ENOMEM, root);
    log->partitions_count = partitions;
    for (uint32_t i = 0; i < partitions; i++) {
        size_t size = strlen(root) + sizeof "/4294967295";
        char *directory = malloc(size);
        if (directory == NULL) return tt_recovery_plain_fail(r, TT_ENOMEM, root);
        snprintf(directory, size, "%s/%u", root, i);
        log->partitions[i].directory = directory;
    }
    return TT_OK;
}

static enum tt_status open_log(struct tt_recovery *r)
{
    uint32_t partitions = r->options->partitions;
    TT_ASSERT(partitions > 0 && partitions <= TT_PARTITIONS_MAX);
    r->log->known = partitions;
    enum tt_status status = tt_recovery_allocate(r, partitions);
    if (status == TT_OK) status = open_meta(r);
    if (status == TT_ENOENT && r->error[0] == '\0') status = create(r);
    for (uint32_t i = 0; status == TT_OK && i < partitions; i++) status = open_partition(r, i);
    return status;
}

enum tt_status tt_recovery_open(struct tt_recovered **recovered,
                                const struct tt_recovery_options *options,
                                char error[TT_RECOVERY_ERROR_BYTES])
{
    struct tt_recovery r = {.options = options, .files = options->files, .error = error};
    error[0] = '\0';
    if (strlen(options->directory) > TT_RECOVERY_DIRECTORY_MAX)
        return tt_recovery_fail(&r, TT_EINVAL, options->directory, "is longer than %u bytes",
                                TT_RECOVERY_DIRECTORY_MAX);
    r.log = calloc(1, sizeof *r.log);
    r.window = malloc(TT_RECOVERY_WINDOW_BYTES);
    enum tt_status status;
    if (r.log == NULL || r.window == NULL) {
        status = tt_recovery_plain_fail(&r, TT_ENOMEM, options->directory);
    } else {
        r.log->wall_us = options->wall_us;
        r.log->mirror = options->mirror;
        status = options->mirror ? tt_recovery_open_mirror(&r) : open_log(&r);
    }
    free(r.window);
    if (status != TT_OK)
        tt_recovery_destroy(&r.log);
    else
        *recovered = r.log;
    return status;
}

void tt_recovery_reset(struct tt_recovered_partition *p)
{
    free(p->keys);
    tt_values_destroy(&p->values);
    tt_index_destroy(&p->index);
    tt_kept_files_deinit(&p->kept);
    tt_segment_list_deinit(&p->segments);
    *p = (struct tt_recovered_partition){.directory = p->directory,
                                         .taken_max_us = INT64_MIN,
                                         .active_taken_us = INT64_MIN,
                                         .ceiling = UINT64_MAX};
}

void tt_recovery_destroy(struct tt_recovered **recovered)
{
    struct tt_recovered *log = *recovered;
    if (log == NULL) return;
    for (uint32_t i = 0; log->partitions != NULL && i < log->partitions_count; i++) {
        tt_recovery_reset(&log->partitions[i]);
        free(log->partitions[i].directory);
    }
    free(log->partitions);
    free(log);
    *recovered = NULL;
}
