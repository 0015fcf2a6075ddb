#include "tools/ttlog/listing.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "broker/startup_files.h"
#include "proto/base/limits.h"
#include "store/record.h"

/* ---- reading small files ---- */

static enum tt_status read_some(const struct tt_files *io, const char *path, void *data,
                                size_t capacity, size_t *size, uint64_t *bytes)
{
    int32_t file;
    *size = 0;
    enum tt_status status = io->open(io->context, path, TT_FILES_READ, &file);
    if (status != TT_OK) return status;
    if (bytes != NULL) status = io->size(io->context, file, bytes);
    if (status == TT_OK && capacity != 0)
        status = io->read(io->context, file, 0, data, capacity, size);
    io->close(io->context, file);
    return status;
}

static bool join(char path[TT_LISTING_PATH_BYTES], const char *directory, const char *name)
{
    int size = snprintf(path, TT_LISTING_PATH_BYTES, "%s/%s", directory, name);
    return size > 0 && size < (int)TT_LISTING_PATH_BYTES;
}

/* ---- is a broker running? ---- */

static void look_at_lock(struct tt_listing *view)
{
    char path[TT_LISTING_PATH_BYTES];
    if (!join(path, view->directory, view->is_mirror ? "../../LOCK" : "LOCK")) return;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    if (flock(file, LOCK_SH | LOCK_NB) != 0) {
        view->live = true;
        ssize_t size = pread(file, view->owner, sizeof view->owner - 1, 0);
        view->owner[size > 0 ? strspn(view->owner, "0123456789") : 0] = '\0';
    }
    close(file); /* lets it go again */
}

/* ---- segments ---- */

/* TT_ENOENT: it is gone again. */
static enum tt_status read_begin(const struct tt_listing *view,
                                 const struct tt_listing_partition *p, struct tt_listing_file *f)
{
    _Alignas(8) uint8_t bytes[TT_RECORD_SEGMENT_BYTES + TT_RECORD_BATCH_BYTES];
    char path[TT_LISTING_PATH_BYTES];
    size_t size;
    struct tt_record segment, batch;
    tt_listing_path(p, f, path);
    enum tt_status status = read_some(view->io, path, bytes, sizeof bytes, &size, &f->bytes);
    if (status != TT_OK) return status;
    if (tt_record_read(tt_bytes(bytes, size), &segment) != TT_OK ||
        segment.class != TT_RECORD_SEGMENT || segment.place % TT_CHUNK_BYTES != 0)
        return TT_OK;
    f->identity = segment.segment;
    f->own_offset = segment.offset;
    f->base_place = segment.place;
    f->taken_max_us = segment.taken_max_us;
    f->foreign = f->own_offset != f->first_offset || f->identity.partition != p->number ||
                 (view->meta_known && !tt_history_equal(f->identity.history, view->meta.history));
    f->valid = !f->foreign;
    struct tt_bytes rest = tt_bytes_from(tt_bytes(bytes, size), TT_RECORD_SEGMENT_BYTES);
    if (tt_record_read(rest, &batch) == TT_OK && batch.class == TT_RECORD_BATCH &&
        batch.place == segment.place + TT_RECORD_SEGMENT_BYTES)
        f->durable_place = batch.durable_place;
    return TT_OK;
}

static enum tt_status grow(void **items, uint32_t count, uint32_t *max, size_t size)
{
    if (count < *max) return TT_OK;
    uint32_t next = *max == 0 ? 32 : *max * 2;
    void *larger = realloc(*items, next * size);
    if (larger == NULL) return TT_ENOMEM;
    *items = larger;
    *max = next;
    return TT_OK;
}

static enum tt_status take_name(void *argument, const char *name)
{
    struct tt_listing_partition *p = argument;
    uint64_t first_offset;
    enum tt_status status;
    if (tt_segment_name_parse(name, &first_offset) == TT_OK) {
        status = grow((void **)&p->files, p->files_count, &p->files_max, sizeof *p->files);
        if (status == TT_OK)
            p->files[p->files_count++] = (struct tt_listing_file){.first_offset = first_offset};
        return status;
    }
    if (strcmp(name, "ceiling") == 0) return TT_OK;
    status = grow((void **)&p->others, p->others_count, &p->others_max, sizeof *p->others);
    if (status != TT_OK) return status;
    char *copy = strdup(name);
    if (copy == NULL) return TT_ENOMEM;
    p->others[p->others_count++] = (struct tt_listing_other){.name = copy};
    return TT_OK;
}

static int by_offset(const void *a, const void *b)
{
    const struct tt_listing_file *left = a, *right = b;
    return left->first_offset < right->first_offset ? -1 : left->first_offset > right->first_offset;
}

static int by_name(const void *a, const void *b)
{
    const struct tt_listing_other *left = a, *right = b;
    return strcmp(left->name, right->name);
}

static void look_at_ceiling(const struct tt_listing *view, struct tt_listing_partition *p)
{
    uint8_t slots[TT_CEILING_FILE_BYTES];
    char path[TT_LISTING_PATH_BYTES];
    size_t size;
    p->ceiling_status = join(path, p->directory, "ceiling")
                            ? read_some(view->io, path, slots, sizeof slots, &size, NULL)
                            : TT_EINVAL;
    if (p->ceiling_status == TT_OK)
        p->ceiling_status = tt_ceiling_decode(tt_bytes(slots, size), &p->ceiling);
}

static void forget_files(struct tt_listing_partition *p)
{
    for (uint32_t i = 0; i < p->others_count; i++) free(p->others[i].name);
    p->files_count = p->others_count = 0;
}

/* While a broker runs, files go before they are looked at, and the newest may not have begun. */
static void read_begins(const struct tt_listing *view, struct tt_listing_partition *p)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < p->files_count; i++) {
        struct tt_listing_file *f = &p->files[i];
        if (read_begin(view, p, f) == TT_ENOENT) continue;
        if (view->live && i + 1 == p->files_count && !f->valid && !f->foreign) continue;
        p->files[count++] = *f;
    }
    p->files_count = count;
}

enum tt_status tt_listing_refresh(const struct tt_listing *view, struct tt_listing_partition *p)
{
    forget_files(p);
    p->status = view->io->list(view->io->context, p->directory, take_name, p);
    if (p->status == TT_ENOMEM) return TT_ENOMEM;
    if (p->status != TT_OK) return TT_OK;
    if (p->files_count != 0) qsort(p->files, p->files_count, sizeof *p->files, by_offset);
    if (p->others_count != 0) qsort(p->others, p->others_count, sizeof *p->others, by_name);
    read_begins(view, p);
    for (uint32_t i = 0; i < p->others_count; i++) {
        char path[TT_LISTING_PATH_BYTES];
        size_t size;
        if (!join(path, p->directory, p->others[i].name) ||
            read_some(view->io, path, NULL, 0, &size, &p->others[i].bytes) != TT_OK)
            p->others[i].bytes = 0;
    }
    look_at_ceiling(view, p);
    return TT_OK;
}

void tt_listing_path(const struct tt_listing_partition *p, const struct tt_listing_file *file,
                     char path[TT_LISTING_PATH_BYTES])
{
    enum tt_status status =
        tt_segment_path(p->directory, file->first_offset, path, TT_LISTING_PATH_BYTES);
    if (status != TT_OK) path[0] = '\0'; /* tt_listing_open() bounds the directory's name */
}

uint64_t tt_listing_end(const struct tt_listing_partition *p, uint32_t index, bool *sealed)
{
    const struct tt_listing_file *f = &p->files[index];
    *sealed = index + 1 < p->files_count && p->files[index + 1].valid;
    return *sealed ? p->files[index + 1].base_place : f->base_place + f->bytes;
}

struct tt_segment tt_listing_segment(const struct tt_listing_partition *p, uint32_t index)
{
    bool sealed;
    uint64_t end = tt_listing_end(p, index, &sealed);
    return (struct tt_segment){.first_offset = p->files[index].first_offset,
                               .base_place = p->files[index].base_place,
                               .end_place = sealed ? end : TT_SEGMENT_GROWS,
                               .taken_max_us =
                                   sealed ? p->files[index + 1].taken_max_us : INT64_MIN};
}

uint32_t tt_listing_find(const struct tt_listing_partition *p, uint64_t offset)
{
    uint32_t found = 0;
    while (found + 1 < p->files_count && p->files[found + 1].first_offset <= offset) found++;
    return p->files_count == 0 ? 0 : found;
}

/* ---- META ---- */

static enum tt_status read_meta(struct tt_listing *view, char *error)
{
    uint8_t bytes[TT_META_BYTES];
    char path[TT_LISTING_PATH_BYTES];
    size_t size;
    if (!join(path, view->directory, "META")) path[0] = '\0';
    view->meta_status = read_some(view->io, path, bytes, sizeof bytes, &size, NULL);
    if (view->meta_status == TT_OK)
        view->meta_status = tt_meta_decode(tt_bytes(bytes, size), &view->meta, &view->meta_why);
    view->meta_known = view->meta_status == TT_OK;
    if (view->meta_status == TT_EVERSION) {
        snprintf(error, TT_LISTING_ERROR_BYTES,
                 "%s: was written in format %u by a newer version; this one knows %u", path,
                 view->meta.format, TT_RECORD_FORMAT);
        return TT_EVERSION;
    }
    if (view->meta_known || view->meta_status == TT_ENOENT || view->meta_status == TT_ECORRUPT)
        return TT_OK;
    snprintf(error, TT_LISTING_ERROR_BYTES, "%s: %s", path, tt_status_text(view->meta_status));
    return view->meta_status;
}

static enum tt_status count_partition(void *argument, const char *name)
{
    uint32_t *count = argument;
    uint64_t number;
    if (tt_bytes_to_u64(tt_bytes_text(name), TT_PARTITIONS_MAX - 1, &number) == TT_OK &&
        tt_digits_u64(number) == strlen(name) && number >= *count)
        *count = (uint32_t)number + 1;
    return TT_OK;
}

/* Any segment says what log it belongs to. */
static void guess_meta(struct tt_listing *view)
{
    for (uint32_t i = 0; i < view->partitions_count; i++) {
        const struct tt_listing_partition *p = &view->partitions[i];
        for (uint32_t k = 0; k < p->files_count; k++) {
            const struct tt_listing_file *f = &p->files[k];
            if (!f->valid || f->identity.partitions <= i) continue;
            view->meta = (struct tt_meta){.format = f->identity.format,
                                          .partitions = f->identity.partitions,
                                          .history = f->identity.history,
                                          .hash_key = f->identity.hash_key};
            view->meta_known = true;
            return;
        }
    }
}

static enum tt_status open_partitions(struct tt_listing *view, uint32_t count)
{
    if (count <= view->partitions_count) return TT_OK;
    struct tt_listing_partition *partitions =
        realloc(view->partitions, count * sizeof *view->partitions);
    if (partitions == NULL) return TT_ENOMEM;
    view->partitions = partitions;
    while (view->partitions_count < count) {
        struct tt_listing_partition *p = &partitions[view->partitions_count];
        *p = (struct tt_listing_partition){.number = view->partitions_count};
        snprintf(p->directory, sizeof p->directory, "%s/%u", view->directory, p->number);
        view->partitions_count++;
        enum tt_status status = tt_listing_refresh(view, p);
        if (status != TT_OK) return status;
    }
    return TT_OK;
}

static void look_at_mirror(struct tt_listing *view)
{
    enum tt_status status = tt_mirror_read(view->io, view->directory, &view->mirror);
    view->is_mirror = status == TT_OK || status == TT_EINVAL;
    if (status != TT_OK) view->mirror = (struct tt_mirror){0};
}

static enum tt_status see_segment(void *argument, const char *name)
{
    uint64_t offset;
    (void)argument;
    return tt_segment_name_parse(name, &offset) == TT_OK ? TT_EEXIST : TT_OK;
}

/* META learns of a partition that was added only at the next start. */
static uint32_t used_slots(const struct tt_listing *view, uint32_t known)
{
    uint32_t count = known;
    for (uint32_t i = known; i < TT_PARTITIONS_MAX; i++) {
        char path[TT_LISTING_PATH_BYTES], name[16];
        snprintf(name, sizeof name, "%u", i);
        if (!join(path, view->directory, name)) break;
        enum tt_status status = view->io->list(view->io->context, path, see_segment, NULL);
        if (status == TT_EEXIST) count = i + 1;
        if (status != TT_EEXIST && status != TT_OK) break;
    }
    return count;
}

static enum tt_status open_view(struct tt_listing *view, char *error)
{
    if (strlen(view->directory) > TT_RECOVERY_DIRECTORY_MAX) {
        snprintf(error, TT_LISTING_ERROR_BYTES, "%s: is longer than %u bytes", view->directory,
                 TT_RECOVERY_DIRECTORY_MAX);
        return TT_EINVAL;
    }
    enum tt_status status = read_meta(view, error);
    if (status != TT_OK) return status;
    look_at_mirror(view);
    look_at_lock(view);
    uint32_t count = view->meta.partitions;
    if (view->is_mirror && view->meta_known) count = used_slots(view, count);
    if (!view->meta_known) {
        count = 0;
        status = view->io->list(view->io->context, view->directory, count_partition, &count);
        if (status == TT_OK && count == 0 && view->meta_status == TT_ENOENT) status = TT_ENOENT;
    }
    if (status == TT_OK) status = open_partitions(view, count);
    if (status == TT_OK && !view->meta_known) {
        guess_meta(view);
        if (view->meta_known) status = open_partitions(view, view->meta.partitions);
    }
    if (status == TT_ENOENT)
        snprintf(error, TT_LISTING_ERROR_BYTES,
                 "%s: there is no log here: it has no META (give the directory of --data)",
                 view->directory);
    else if (status != TT_OK)
        snprintf(error, TT_LISTING_ERROR_BYTES, "%s: %s", view->directory, tt_status_text(status));
    return status;
}

enum tt_status tt_listing_open(struct tt_listing *view, const char *directory,
                               char error[TT_LISTING_ERROR_BYTES])
{
    *view = (struct tt_listing){.files = tt_startup_files(NULL), .directory = directory};
    view->io = &view->files;
    enum tt_status status = open_view(view, error);
    if (status != TT_OK) tt_listing_close(view);
    return status;
}

void tt_listing_close(struct tt_listing *view)
{
    for (uint32_t i = 0; i < view->partitions_count; i++) {
        struct tt_listing_partition *p = &view->partitions[i];
        forget_files(p);
        free(p->files);
        free(p->others);
    }
    free(view->partitions);
    *view = (struct tt_listing){0};
}
