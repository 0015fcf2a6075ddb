/* What stands where, at start-up: values from checkpoint and kept files, the newest segment's
 * index, the keys of batches out of index files. Nothing of it can keep a log from being opened. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/assert.h"
#include "store/index_file.h"
#include "store/keep_load.h"
#include "store/log.h"
#include "store/recovery_internal.h"

void tt_recovery_note(struct tt_recovered_partition *p, const char *path, const char *format, ...)
{
    if (p->note[0] != '\0') return;
    va_list arguments;
    int used = snprintf(p->note, sizeof p->note, "%s: ", path);
    if (used < 0 || used >= (int)sizeof p->note) return;
    va_start(arguments, format);
    vsnprintf(p->note + used, sizeof p->note - (size_t)used, format, arguments);
    va_end(arguments);
}

static struct tt_record_segment identity_of(const struct tt_recovery *r, uint32_t index)
{
    return (struct tt_record_segment){.format = TT_RECORD_FORMAT,
                                      .partition = index,
                                      .partitions = r->options->partitions,
                                      .history = r->log->history,
                                      .hash_key = r->log->hash_key,
                                      .bytes = r->options->segment_bytes};
}

enum tt_status tt_recovery_load_values(struct tt_recovery *r, uint32_t index,
                                       struct tt_recovered_partition *p, uint64_t oldest_offset,
                                       uint64_t oldest_place, uint64_t *walk_place)
{
    const struct tt_record_segment identity = identity_of(r, index);
    const struct tt_keep_load_options options = {
        .files = r->files,
        .directory = p->directory,
        .identity = &identity,
        .channels_max =
            r->options->channels_max != 0 ? r->options->channels_max : TT_LOG_CHANNELS_MAX,
        .oldest_offset = oldest_offset,
        .oldest_place = oldest_place,
    };
    struct tt_keep_loaded loaded = {0};
    enum tt_status status = tt_keep_load(&loaded, &options);
    if (status != TT_OK)
        return tt_recovery_fail(r, status, loaded.note[0] != '\0' ? loaded.note : p->directory,
                                "%s", tt_status_text(status));
    p->values = loaded.values;
    p->kept = loaded.kept;
    p->scanned_bytes += loaded.read_bytes;
    if (loaded.note[0] != '\0') snprintf(p->note, sizeof p->note, "%s", loaded.note);
    *walk_place = loaded.place;
    return TT_OK;
}

void tt_recovery_begin_segment(struct tt_recovery *r, struct tt_recovered_partition *p,
                               uint64_t first_offset, uint64_t base_place)
{
    size_t bytes = r->options->index_bytes_max != 0
                       ? r->options->index_bytes_max
                       : tt_log_index_bytes_max(r->options->segment_bytes);
    const struct tt_index_options options = {
        .first_offset = first_offset, .base_place = base_place, .bytes_max = bytes / 2};
    tt_index_destroy(&p->index);
    if (tt_index_create(&p->index, &options) != TT_OK) p->index = NULL;
    if (first_offset > tt_values_mark(p->values)) tt_values_set_mark(p->values, first_offset);
}

enum tt_status tt_recovery_take_record(struct tt_recovery *r, struct tt_recovered_partition *p,
                                       const struct tt_record *record, uint64_t place)
{
    uint64_t hash = 0;
    if (record->class == TT_RECORD_EVENT) {
        uint32_t slot;
        hash = tt_hash(&r->log->hash_key, record->event.channel);
        enum tt_status status = tt_values_open_over(p->values, hash, record->event.channel, &slot);
        if (status != TT_OK) return status;
        tt_values_set(p->values, slot, record->offset, place, record->event.flags);
        tt_values_commit(p->values);
        if (record->has_idempotency)
            status = tt_recovery_take_key(r, p, &record->idempotency, record->offset, 1,
                                          record->event.taken_us);
        if (status != TT_OK) return status;
    }
    if (p->index != NULL) (void)tt_index_add_record(p->index, record, hash, place);
    return TT_OK;
}

/* ---- index files ---- */

/* Reads `size` bytes, all of them, or it is damaged. */
static enum tt_status read_whole(const struct tt_files *f, int32_t file, uint64_t position,
                                 void *data, size_t size)
{
    size_t done = 0;
    enum tt_status status = f->read(f->context, file, position, data, size, &done);
    return status == TT_OK && done != size ? TT_ECORRUPT : status;
}

static enum tt_status read_keys(struct tt_recovery *r, struct tt_recovered_partition *p,
                                int32_t file, const struct tt_segment *segment,
                                const struct tt_record_segment *identity)
{
    struct tt_index_header header;
    struct tt_index_idempotency entries[TT_INDEX_IDEMPOTENCY_PAGE];
    uint8_t *page = r->window;
    enum tt_status status = read_whole(r->files, file, 0, page, TT_INDEX_HEADER_BYTES);
    if (status == TT_OK)
        status =
            tt_index_header_read(tt_bytes(page, TT_INDEX_HEADER_BYTES), segment, identity, &header);
    if (status != TT_OK) return status;
    const struct tt_index_section *section = &header.idempotency;
    for (uint32_t n = 0; n < tt_index_section_pages(section); n++) {
        uint32_t count = 0;
        uint64_t position = section->position + (uint64_t)n * TT_INDEX_PAGE_BYTES;
        status = read_whole(r->files, file, position, page, TT_INDEX_PAGE_BYTES);
        if (status == TT_OK)
            status = tt_index_read_idempotency(&header, n, tt_bytes(page, TT_INDEX_PAGE_BYTES),
                                               entries, &count);
        for (uint32_t i = 0; status == TT_OK && i < count; i++) {
            struct tt_record_idempotency block = {.index = entries[i].index,
                                                  .count = entries[i].count};
            memcpy(block.key_hash, entries[i].key_hash, sizeof block.key_hash);
            memcpy(block.body_hash, entries[i].body_hash, sizeof block.body_hash);
            status = tt_recovery_take_key(r, p, &block, entries[i].first_offset, entries[i].events,
                                          entries[i].taken_us);
        }
        if (status != TT_OK) return status;
    }
    return TT_OK;
}

enum tt_status tt_recovery_keys_of_index(struct tt_recovery *r, uint32_t index,
                                         struct tt_recovered_partition *p,
                                         const struct tt_segment *segment)
{
    const struct tt_record_segment identity = identity_of(r, index);
    char path[TT_RECOVERY_PATH_BYTES];
    int32_t file;
    enum tt_status status = tt_index_path(p->directory, segment->first_offset, path, sizeof path);
    TT_ASSERT(status == TT_OK); /* the directory is bounded */
    status = r->files->open(r->files->context, path, TT_FILES_READ, &file);
    if (status == TT_ENOENT) return status;
    if (status == TT_OK) {
        uint32_t before = p->keys_count;
        status = read_keys(r, p, file, segment, &identity);
        r->files->close(r->files->context, file);
        if (status != TT_OK && p->keys_count > before) p->keys_count = before;
    }
    if (status == TT_OK || status == TT_ENOMEM) return status;
    tt_recovery_note(p, path, "%s; its segment is read instead", tt_status_text(status));
    return TT_ENOENT;
}

/* Takes an index file away. */
static enum tt_status remove_index(struct tt_recovery *r, struct tt_recovered_partition *p,
                                   uint64_t first_offset)
{
    char path[TT_RECOVERY_PATH_BYTES];
    enum tt_status status = tt_index_path(p->directory, first_offset, path, sizeof path);
    TT_ASSERT(status == TT_OK);
    status = r->files->unlink(r->files->context, path);
    if (status == TT_OK || status == TT_ENOENT) return TT_OK;
    return tt_recovery_fail(r, status, path, "%s", tt_status_text(status));
}

enum tt_status tt_recovery_settle_indexes(struct tt_recovery *r, struct tt_recovered_partition *p,
                                          const uint64_t *offsets, uint32_t count)
{
    /* The newest segment grows: an index that was made when it was thought to be at its end would
     * lie about it. */
    for (uint32_t i = 0; i < count; i++) {
        const struct tt_segment *found = tt_segment_list_find_offset(&p->segments, offsets[i]);
        if (found != NULL && found->first_offset == offsets[i] &&
            found->end_place != TT_SEGMENT_GROWS) {
            tt_segment_list_indexed(&p->segments, found->base_place);
            continue;
        }
        enum tt_status status = remove_index(r, p, offsets[i]);
        if (status != TT_OK) return status;
    }
    /* Always: a process that was killed may have removed a segment without syncing that. The next
     * one's removal must not reach the disk before it. */
    enum tt_status status = r->files->sync_directory(r->files->context, p->directory);
    if (status == TT_OK) return TT_OK;
    return tt_recovery_fail(r, status, p->directory, "%s", tt_status_text(status));
}
