#include "tools/ttlog/mend.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/limits.h"
#include "store/salvage.h"

#define PATH_BYTES (TT_LISTING_PATH_BYTES + 32)

static enum tt_status fail(struct tt_mend *m, enum tt_status status, const char *path)
{
    snprintf(m->error, sizeof m->error, "%s: %s", path, tt_status_text(status));
    return status;
}

static bool exists(const struct tt_files *io, const char *path)
{
    int32_t file;
    if (io->open(io->context, path, TT_FILES_READ, &file) != TT_OK) return false;
    io->close(io->context, file);
    return true;
}

/* "<path><suffix>", with a number behind when that is taken: nothing is ever overwritten. */
static void free_name(const struct tt_files *io, char *name, size_t bytes, const char *path,
                      const char *suffix)
{
    snprintf(name, bytes, "%s%s", path, suffix);
    for (unsigned i = 1; exists(io, name); i++) snprintf(name, bytes, "%s%s.%u", path, suffix, i);
}

static enum tt_status sync_parent(struct tt_mend *m, const char *path)
{
    char directory[PATH_BYTES];
    const struct tt_files *io = m->check->view->io;
    snprintf(directory, sizeof directory, "%s", path);
    char *slash = strrchr(directory, '/');
    if (slash != NULL) *slash = '\0';
    enum tt_status status = io->sync_directory(io->context, directory);
    return status == TT_OK ? TT_OK : fail(m, status, directory);
}

static enum tt_status write_file(struct tt_mend *m, const char *path, const void *data, size_t size)
{
    const struct tt_files *io = m->check->view->io;
    int32_t file;
    enum tt_status status = io->open(io->context, path, TT_FILES_CREATE, &file);
    if (status != TT_OK) return fail(m, status, path);
    status = io->write(io->context, file, 0, data, size);
    if (status == TT_OK) status = io->sync(io->context, file);
    io->close(io->context, file);
    return status == TT_OK ? sync_parent(m, path) : fail(m, status, path);
}

static enum tt_status move(struct tt_mend *m, const char *from, const char *to)
{
    const struct tt_files *io = m->check->view->io;
    enum tt_status status = io->rename(io->context, from, to);
    return status == TT_OK ? sync_parent(m, to) : fail(m, status, from);
}

static enum tt_status move_away(struct tt_mend *m, const char *path)
{
    char name[PATH_BYTES];
    free_name(m->check->view->io, name, sizeof name, path, ".away");
    return move(m, path, name);
}

/* ---- META, ceiling ---- */

static enum tt_status mend_meta(struct tt_mend *m, const struct tt_finding *f)
{
    const struct tt_listing *view = m->check->view;
    enum tt_status status = TT_OK;
    if (f->kind == TT_FINDING_META) status = move_away(m, f->path);
    if (status != TT_OK || !view->meta_known) return status;
    uint8_t bytes[TT_META_BYTES];
    char next[PATH_BYTES];
    tt_meta_encode(bytes, &view->meta);
    snprintf(next, sizeof next, "%s.new", f->path);
    status = write_file(m, next, bytes, sizeof bytes);
    return status == TT_OK ? move(m, next, f->path) : status;
}

static enum tt_status mend_ceiling(struct tt_mend *m, const char *path, uint64_t next_offset)
{
    uint8_t slots[TT_CEILING_FILE_BYTES] = {0};
    struct tt_ceiling ceiling = {.version = 1, .offset = next_offset + TT_MEND_CEILING_JUMP};
    if (exists(m->check->view->io, path)) {
        enum tt_status status = move_away(m, path);
        if (status != TT_OK) return status;
    }
    tt_ceiling_encode(slots + tt_ceiling_place(ceiling.version), &ceiling);
    return write_file(m, path, slots, sizeof slots);
}

static enum tt_status mend_directory(struct tt_mend *m, const struct tt_finding *f)
{
    const struct tt_files *io = m->check->view->io;
    char path[PATH_BYTES];
    enum tt_status status = io->make_directory(io->context, f->path);
    if (status != TT_OK) return fail(m, status, f->path);
    status = sync_parent(m, f->path);
    snprintf(path, sizeof path, "%s/ceiling", f->path);
    return status == TT_OK ? mend_ceiling(m, path, 0) : status;
}

/* ---- segments ---- */

static const struct tt_listing_partition *partition_of(const struct tt_mend *m,
                                                       const struct tt_finding *f)
{
    return &m->check->view->partitions[f->partition];
}

/* The directory that a path lies in, and another name there. */
static void beside(const struct tt_mend *m, const struct tt_finding *f, const char *name,
                   char path[PATH_BYTES])
{
    snprintf(path, PATH_BYTES, "%s/%s", partition_of(m, f)->directory, name);
}

/* What was made from the segments is made again by the broker. */
static enum tt_status drop_derived(struct tt_mend *m, const struct tt_finding *f)
{
    const struct tt_files *io = m->check->view->io;
    char name[TT_SEGMENT_NAME_BYTES], path[PATH_BYTES];
    tt_segment_name(f->file_offset, name);
    memcpy(strrchr(name, '.'), ".idx", sizeof ".idx");
    beside(m, f, name, path);
    enum tt_status status = io->unlink(io->context, path);
    if (status != TT_OK && status != TT_ENOENT) return fail(m, status, path);
    beside(m, f, "values", path);
    status = io->unlink(io->context, path);
    if (status != TT_OK && status != TT_ENOENT) return fail(m, status, path);
    return sync_parent(m, path);
}

static enum tt_status sync_file(struct tt_mend *m, const char *path)
{
    const struct tt_files *io = m->check->view->io;
    int32_t file;
    enum tt_status status = io->open(io->context, path, TT_FILES_WRITE, &file);
    if (status != TT_OK) return fail(m, status, path);
    status = io->sync(io->context, file);
    io->close(io->context, file);
    return status == TT_OK ? TT_OK : fail(m, status, path);
}

/* A new beginning calls what stands before it durable. */
static enum tt_status sync_before(struct tt_mend *m, const struct tt_finding *f)
{
    const struct tt_listing_partition *p = partition_of(m, f);
    for (uint32_t i = 0; i < p->files_count && p->files[i].first_offset < f->file_offset; i++) {
        char path[TT_LISTING_PATH_BYTES];
        tt_listing_path(p, &p->files[i], path);
        enum tt_status status = sync_file(m, path);
        if (status != TT_OK) return status;
    }
    return TT_OK;
}

static struct tt_record_segment identity_of(const struct tt_mend *m, const struct tt_finding *f)
{
    const struct tt_listing_partition *p = partition_of(m, f);
    const struct tt_meta *meta = &m->check->view->meta;
    struct tt_record_segment segment = {.format = TT_RECORD_FORMAT,
                                        .partition = f->partition,
                                        .partitions = meta->partitions,
                                        .history = meta->history,
                                        .hash_key = meta->hash_key,
                                        .bytes = UINT64_C(128) << 20};
    for (uint32_t i = 0; i < p->files_count; i++)
        if (p->files[i].identity.bytes != 0) segment.bytes = p->files[i].identity.bytes;
    return segment;
}

/* Copies the bad bytes, as far as there are any, to a file beside. */
static enum tt_status keep_bytes(struct tt_mend *m, const struct tt_finding *f, int32_t file,
                                 uint8_t *buffer)
{
    const struct tt_files *io = m->check->view->io;
    char suffix[32], name[PATH_BYTES];
    uint64_t size, end = f->byte + (f->end - f->place), done = 0;
    enum tt_status status = io->size(io->context, file, &size);
    if (status != TT_OK) return fail(m, status, f->path);
    if (end > size) end = size;
    if (end <= f->byte) return TT_OK;
    snprintf(suffix, sizeof suffix, ".bad-%" PRIu64, f->byte);
    free_name(io, name, sizeof name, f->path, suffix);
    int32_t copy;
    status = io->open(io->context, name, TT_FILES_CREATE, &copy);
    if (status != TT_OK) return fail(m, status, name);
    while (status == TT_OK && f->byte + done < end) {
        size_t piece = TT_CHUNK_BYTES, got = 0;
        if (piece > end - f->byte - done) piece = (size_t)(end - f->byte - done);
        status = io->read(io->context, file, f->byte + done, buffer, piece, &got);
        if (status == TT_OK && got == 0) status = TT_EIO;
        if (status == TT_OK) status = io->write(io->context, copy, done, buffer, got);
        done += got;
    }
    if (status == TT_OK) status = io->sync(io->context, copy);
    io->close(io->context, copy);
    return status == TT_OK ? sync_parent(m, name) : fail(m, status, name);
}

static enum tt_status fill(struct tt_mend *m, const struct tt_finding *f, int32_t file,
                           uint8_t *buffer)
{
    const struct tt_files *io = m->check->view->io;
    struct tt_salvage_fill pieces = {.base = f->base,
                                     .place = f->place,
                                     .end = f->end,
                                     .next_offset = f->lost_first,
                                     .lost_end = f->lost_end,
                                     .taken_us = m->now_us,
                                     .taken_max_us = f->taken_max_us,
                                     .segment = identity_of(m, f)};
    for (;;) {
        uint64_t position = pieces.place - f->base;
        size_t bytes = 0;
        enum tt_status status = tt_salvage_fill_step(&pieces, buffer, &bytes);
        if (status == TT_END) break;
        if (status == TT_FULL) {
            snprintf(m->error, sizeof m->error, "%s: no room for a hole at byte %" PRIu64, f->path,
                     f->byte);
            return status;
        }
        status = io->write(io->context, file, position, buffer, bytes);
        if (status != TT_OK) return fail(m, status, f->path);
    }
    enum tt_status status = io->sync(io->context, file);
    return status == TT_OK ? TT_OK : fail(m, status, f->path);
}

static enum tt_status mend_records(struct tt_mend *m, const struct tt_finding *f)
{
    const struct tt_files *io = m->check->view->io;
    enum tt_status status =
        f->byte < TT_RECORD_SEGMENT_BYTES + TT_RECORD_BATCH_BYTES ? sync_before(m, f) : TT_OK;
    int32_t file;
    if (status != TT_OK) return status;
    uint8_t *buffer = aligned_alloc(64, TT_CHUNK_BYTES);
    if (buffer == NULL) return fail(m, TT_ENOMEM, f->path);
    status = io->open(io->context, f->path, TT_FILES_WRITE, &file);
    if (status == TT_OK) {
        status = keep_bytes(m, f, file, buffer);
        if (status == TT_OK) status = fill(m, f, file, buffer);
        io->close(io->context, file);
    } else {
        fail(m, status, f->path);
    }
    free(buffer);
    return status == TT_OK ? drop_derived(m, f) : status;
}

/* ---- files that are no part of this log ---- */

/* The name that a segment ought to have, if it is one of this partition and nothing has it. */
static bool own_name(const struct tt_mend *m, const struct tt_finding *f, char path[PATH_BYTES])
{
    char name[TT_SEGMENT_NAME_BYTES];
    if (!f->misnamed) return false;
    tt_segment_name(f->own_offset, name);
    beside(m, f, name, path);
    return !exists(m->check->view->io, path);
}

static enum tt_status mend_foreign(struct tt_mend *m, const struct tt_finding *f)
{
    char path[PATH_BYTES];
    return own_name(m, f, path) ? move(m, f->path, path) : move_away(m, f->path);
}

/* ---- all ---- */

const char *tt_mend_plan(const struct tt_check *check, const struct tt_finding *f,
                         char text[TT_LISTING_ERROR_BYTES])
{
    const struct tt_mend m = {.check = check};
    char path[PATH_BYTES];
    switch (f->kind) {
    case TT_FINDING_META_MISSING:
    case TT_FINDING_META:
        if (check->view->meta_known)
            snprintf(text, TT_LISTING_ERROR_BYTES,
                     "is written anew, as the segments say: history %s, %u partitions",
                     check->view->meta.history.text, check->view->meta.partitions);
        else
            snprintf(text, TT_LISTING_ERROR_BYTES,
                     "is moved away: no segment is left, the next start makes a new log");
        return text;
    case TT_FINDING_CEILING:
        snprintf(text, TT_LISTING_ERROR_BYTES,
                 "is written anew, %" PRIu64
                 " above the last offset: nobody knows which were given "
                 "out and lost; clients are told by gap",
                 TT_MEND_CEILING_JUMP);
        return text;
    case TT_FINDING_DIRECTORY:
        if (f->status != TT_ENOENT) return NULL;
        snprintf(text, TT_LISTING_ERROR_BYTES,
                 "is made anew, empty: all its events are lost, offsets go on at %" PRIu64,
                 TT_MEND_CEILING_JUMP);
        return text;
    case TT_FINDING_FOREIGN:
        if (own_name(&m, f, path))
            snprintf(text, TT_LISTING_ERROR_BYTES, "is renamed to what it is");
        else
            snprintf(text, TT_LISTING_ERROR_BYTES, "is moved away (.away); what it holds is lost");
        return text;
    case TT_FINDING_TORN:
    case TT_FINDING_RECORDS:
    case TT_FINDING_MISSING:
        if (f->kind == TT_FINDING_TORN && f->behind == 0) return NULL;
        snprintf(text, TT_LISTING_ERROR_BYTES,
                 "the bytes are kept in a file beside (.bad-%" PRIu64 ") and replaced%s", f->byte,
                 f->lost_end != f->lost_first ? "; clients are told of the lost offsets by gap"
                                              : "; no event is lost");
        return text;
    case TT_FINDING_BESIDE:
        snprintf(text, TT_LISTING_ERROR_BYTES, "is removed; the broker makes it again");
        return text;
    case TT_FINDING_VALUE:
    case TT_FINDING_UNREADABLE:
    case TT_FINDING_REFUSED: break;
    }
    return NULL;
}

static enum tt_status mend_beside(struct tt_mend *m, const struct tt_finding *f)
{
    const struct tt_files *io = m->check->view->io;
    enum tt_status status = io->unlink(io->context, f->path);
    /* It may have gone with a segment that was mended. */
    return status == TT_OK || status == TT_ENOENT ? sync_parent(m, f->path)
                                                  : fail(m, status, f->path);
}

enum tt_status tt_mend_do(struct tt_mend *m, const struct tt_finding *f)
{
    m->error[0] = '\0';
    switch (f->kind) {
    case TT_FINDING_META_MISSING:
    case TT_FINDING_META: return mend_meta(m, f);
    case TT_FINDING_CEILING: return mend_ceiling(m, f->path, f->lost_first);
    case TT_FINDING_DIRECTORY: return mend_directory(m, f);
    case TT_FINDING_FOREIGN: return mend_foreign(m, f);
    case TT_FINDING_TORN: return f->behind != 0 && f->end > f->place ? mend_records(m, f) : TT_OK;
    case TT_FINDING_RECORDS:
    case TT_FINDING_MISSING: return mend_records(m, f);
    case TT_FINDING_BESIDE: return mend_beside(m, f);
    case TT_FINDING_VALUE:
    case TT_FINDING_UNREADABLE:
    case TT_FINDING_REFUSED: break;
    }
    return TT_OK;
}
