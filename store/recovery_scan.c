/* Where do the segments of a partition end, and is what is missing torn or damaged? */
#include <stdlib.h>

#include "proto/base/assert.h"
#include "store/index_file.h"
#include "store/keep_load.h"
#include "store/reader.h"
#include "store/recovery_internal.h"

/* What a segment begins with: itself, and the batch that says what was durable then. */
#define BEGINS_BYTES (TT_RECORD_SEGMENT_BYTES + TT_RECORD_BATCH_BYTES)
#define SEARCH_BYTES (1u << 20)

struct file {
    uint64_t first_offset; /* as it is named */
    uint64_t size;
    bool valid; /* it begins as a segment of this log; then: */
    uint64_t base;
    uint64_t durable;
    int64_t taken_max_us;
};

struct scan {
    struct tt_recovery *r;
    struct tt_recovered_partition *p;
    uint32_t partition;
    struct file *files; /* oldest first */
    uint32_t count, capacity;
    uint64_t *indexes; /* first offsets of the index files there are */
    uint32_t indexes_count, indexes_capacity;
    uint64_t durable; /* newest place known to be so */
    /* The walk: */
    uint64_t place; /* where it is, or ended */
    uint64_t next_offset;
    int64_t taken_max_us;
    int64_t first_taken_us; /* of the segment it is in */
    enum tt_status taken;   /* TT_ENOMEM: there was no memory for what a record says */
};

static const char *path_of(const struct scan *s, const struct file *f,
                           char path[TT_RECOVERY_PATH_BYTES])
{
    enum tt_status status =
        tt_segment_path(s->p->directory, f->first_offset, path, TT_RECOVERY_PATH_BYTES);
    TT_ASSERT(status == TT_OK); /* the directory is bounded */
    return path;
}

static enum tt_status fail_at(struct scan *s, const struct file *f, enum tt_status status)
{
    char path[TT_RECOVERY_PATH_BYTES];
    return tt_recovery_fail(s->r, status, path_of(s, f, path), "%s", tt_status_text(status));
}

/* Opens for reading; for_writing: also to be cut. */
static enum tt_status open_file(struct scan *s, const struct file *f, bool for_writing,
                                int32_t *file)
{
    char path[TT_RECOVERY_PATH_BYTES];
    enum tt_status status = s->r->files->open(s->r->files->context, path_of(s, f, path),
                                              for_writing ? TT_FILES_WRITE : TT_FILES_READ, file);
    return status == TT_OK ? TT_OK : fail_at(s, f, status);
}

/* ---- which files there are ---- */

static enum tt_status take_index(struct scan *s, uint64_t first_offset)
{
    if (s->indexes_count == s->indexes_capacity) {
        uint32_t capacity = s->indexes_capacity == 0 ? 64 : s->indexes_capacity * 2;
        uint64_t *indexes = realloc(s->indexes, capacity * sizeof *indexes);
        if (indexes == NULL) return TT_ENOMEM;
        s->indexes = indexes;
        s->indexes_capacity = capacity;
    }
    s->indexes[s->indexes_count++] = first_offset;
    return TT_OK;
}

static enum tt_status take_name(void *argument, const char *name)
{
    struct scan *s = argument;
    uint64_t first_offset;
    if (tt_index_name_parse(name, &first_offset) == TT_OK) return take_index(s, first_offset);
    if (tt_segment_name_parse(name, &first_offset) != TT_OK) return TT_OK;
    if (s->count == s->capacity) {
        uint32_t capacity = s->capacity == 0 ? 64 : s->capacity * 2;
        struct file *files = realloc(s->files, capacity * sizeof *files);
        if (files == NULL) return TT_ENOMEM;
        s->files = files;
        s->capacity = capacity;
    }
    s->files[s->count++] = (struct file){.first_offset = first_offset};
    return TT_OK;
}

static int by_offset(const void *a, const void *b)
{
    const struct file *left = a, *right = b;
    return left->first_offset < right->first_offset ? -1 : left->first_offset > right->first_offset;
}

static enum tt_status read_begin(struct scan *s, struct file *f)
{
    const struct tt_files *io = s->r->files;
    uint8_t bytes[BEGINS_BYTES];
    size_t size = 0;
    int32_t file;
    enum tt_status status = open_file(s, f, false, &file);
    if (status != TT_OK) return status;
    status = io->size(io->context, file, &f->size);
    if (status == TT_OK) status = io->read(io->context, file, 0, bytes, sizeof bytes, &size);
    io->close(io->context, file);
    if (status != TT_OK) return fail_at(s, f, status);
    struct tt_record segment, batch;
    char path[TT_RECOVERY_PATH_BYTES];
    status = tt_record_read(tt_bytes(bytes, size), &segment);
    if (status == TT_EVERSION)
        return tt_recovery_fail(s->r, status, path_of(s, f, path),
                                "was written in format %u by a newer version; this one knows %u",
                                segment.segment.format, TT_RECORD_FORMAT);
    if (status != TT_OK || segment.class != TT_RECORD_SEGMENT) return TT_OK; /* not valid */
    const struct tt_record_segment *is = &segment.segment;
    if (!tt_history_equal(is->history, s->r->log->history) || is->partition != s->partition)
        return tt_recovery_fail(s->r, TT_ECORRUPT, path_of(s, f, path),
                                "belongs to partition %u of the log %s, not to this one",
                                is->partition, is->history.text);
    if (segment.offset != f->first_offset)
        return tt_recovery_fail(s->r, TT_ECORRUPT, path_of(s, f, path),
                                "begins with offset %llu: it was renamed",
                                (unsigned long long)segment.offset);
    struct tt_bytes rest = tt_bytes_from(tt_bytes(bytes, size), TT_RECORD_SEGMENT_BYTES);
    if (tt_record_read(rest, &batch) != TT_OK || batch.class != TT_RECORD_BATCH ||
        segment.place % TT_CHUNK_BYTES != 0 ||
        batch.place != segment.place + TT_RECORD_SEGMENT_BYTES)
        return TT_OK;
    f->valid = true;
    f->base = segment.place;
    f->durable = batch.durable_place;
    f->taken_max_us = segment.taken_max_us;
    return TT_OK;
}

static enum tt_status find_files(struct scan *s)
{
    const struct tt_files *io = s->r->files;
    enum tt_status status = io->list(io->context, s->p->directory, take_name, s);
    if (status != TT_OK)
        return tt_recovery_fail(s->r, status, s->p->directory, "%s", tt_status_text(status));
    if (s->count != 0) qsort(s->files, s->count, sizeof *s->files, by_offset);
    for (uint32_t i = 0; status == TT_OK && i < s->count; i++) status = read_begin(s, &s->files[i]);
    return status;
}

/* ---- torn, or damaged? ---- */

static enum tt_status damaged(struct scan *s, const struct file *f, uint64_t position,
                              uint64_t durable)
{
    char path[TT_RECOVERY_PATH_BYTES];
    if (f->valid && position >= f->size)
        return tt_recovery_fail(s->r, TT_ECORRUPT, path_of(s, f, path),
                                "ends at byte %llu (place %llu), but everything below place %llu "
                                "had reached the disk: the file behind is missing, or this one was "
                                "cut short",
                                (unsigned long long)position, (unsigned long long)s->place,
                                (unsigned long long)durable);
    return tt_recovery_fail(s->r, TT_ECORRUPT, path_of(s, f, path),
                            "damaged at byte %llu (place %llu): what stands there is no record, "
                            "but everything below place %llu had reached the disk",
                            (unsigned long long)position, (unsigned long long)s->place,
                            (unsigned long long)durable);
}

/* The newest durable place that batches in these bytes tell of, as far as they stand where they
 * say. base: of the file, or UINT64_MAX: any. Also the position behind the last byte that is not
 * zero. */
static void search(const uint8_t *data, size_t size, uint64_t position, uint64_t base,
                   uint64_t *durable, uint64_t *used)
{
    for (size_t i = 0; i + TT_RECORD_ALIGN <= size; i += TT_RECORD_ALIGN) {
        uint64_t word;
        memcpy(&word, data + i, sizeof word);
        if (word == 0) continue;
        *used = position + i + TT_RECORD_ALIGN;
        if ((uint32_t)word != TT_RECORD_BATCH_BYTES || i + TT_RECORD_BATCH_BYTES > size) continue;
        struct tt_record record;
        if (tt_record_read(tt_bytes(data + i, TT_RECORD_BATCH_BYTES), &record) != TT_OK ||
            record.class != TT_RECORD_BATCH)
            continue;
        if (base != UINT64_MAX && record.place != base + position + i) continue;
        if (record.durable_place > *durable) *durable = record.durable_place;
    }
}

/* Looks through the rest of a file. *used: bytes of the file that hold anything. */
static enum tt_status search_file(struct scan *s, const struct file *f, uint64_t position,
                                  uint64_t *durable, uint64_t *used)
{
    const struct tt_files *io = s->r->files;
    int32_t file;
    enum tt_status status = open_file(s, f, false, &file);
    if (status != TT_OK) return status;
    while (position < f->size) {
        size_t size = 0;
        status = io->read(io->context, file, position, s->r->window, SEARCH_BYTES, &size);
        if (status != TT_OK || size == 0) break;
        /* A last word that is cut short counts as used. */
        size_t whole = size / TT_RECORD_ALIGN * TT_RECORD_ALIGN;
        search(s->r->window, whole, position, f->valid ? f->base : UINT64_MAX, durable, used);
        s->p->scanned_bytes += size;
        if (whole == size && size == SEARCH_BYTES) {
            /* Windows overlap, so that a batch on the border is seen in one of them. */
            position += size - TT_RECORD_BATCH_BYTES;
        } else {
            if (whole != size) *used = position + size;
            break;
        }
    }
    io->close(io->context, file);
    return status == TT_OK ? TT_OK : fail_at(s, f, status);
}

/* The walk ended at s->place in file i, or before file i: is anything behind known to have been
 * durable? If not, cuts it off. */
static enum tt_status end_at(struct scan *s, uint32_t i, bool within)
{
    const struct tt_files *io = s->r->files;
    const struct file *f = &s->files[i];
    uint64_t position = within ? s->place - f->base : 0;
    uint64_t durable = s->durable, used = position;
    for (uint32_t k = i; k < s->count; k++) {
        uint64_t nothing = 0;
        enum tt_status status = search_file(s, &s->files[k], k == i ? position : 0, &durable,
                                            k == i ? &used : &nothing);
        if (status != TT_OK) return status;
        if (k != i) s->p->torn_bytes += nothing;
    }
    /* A mirror's newest bytes are fetched again. Values on disk may point into older segments. */
    bool again = s->r->options->mirror && i + 1 == s->count;
    if (durable > s->place && !again) return damaged(s, f, position, durable);
    s->p->torn_place = s->place;
    s->p->torn_bytes += used - position;
    bool changed = false;
    for (uint32_t k = s->count; k > i + (within ? 1 : 0); k--) {
        char path[TT_RECOVERY_PATH_BYTES];
        enum tt_status status = io->unlink(io->context, path_of(s, &s->files[k - 1], path));
        if (status != TT_OK) return fail_at(s, &s->files[k - 1], status);
        s->p->removed_files++;
        changed = true;
    }
    s->count = i + (within ? 1 : 0);
    if (changed) {
        enum tt_status status = io->sync_directory(io->context, s->p->directory);
        if (status != TT_OK)
            return tt_recovery_fail(s->r, status, s->p->directory, "%s", tt_status_text(status));
    }
    if (!within || used == position) return TT_OK;
    int32_t file;
    enum tt_status status = open_file(s, f, true, &file);
    if (status != TT_OK) return status;
    status = io->truncate(io->context, file, position);
    if (status == TT_OK) status = io->sync(io->context, file);
    io->close(io->context, file);
    return status == TT_OK ? TT_OK : fail_at(s, f, status);
}

/* ---- the walk ---- */

static void take_last(struct tt_recovered_partition *p, const struct tt_record *record)
{
    p->has_last = true;
    p->last_offset = record->offset;
    p->last_taken_us = record->event.taken_us;
    p->last_crc = tt_record_event_crc(&record->event);
}

static void take_record(struct scan *s, const struct tt_record *record, uint64_t place)
{
    if (record->class == TT_RECORD_EVENT) {
        if (s->r->options->mirror) take_last(s->p, record);
        s->next_offset = record->offset + 1;
        if (s->first_taken_us == INT64_MIN) s->first_taken_us = record->event.taken_us;
        if (record->event.taken_us > s->taken_max_us) s->taken_max_us = record->event.taken_us;
    } else if (record->class == TT_RECORD_HOLE) {
        s->next_offset = record->hole_end;
    } else if (record->offset > s->next_offset) {
        s->next_offset = record->offset;
    }
    if (record->class == TT_RECORD_BATCH && record->durable_place > s->durable)
        s->durable = record->durable_place;
    if (s->taken == TT_OK) s->taken = tt_recovery_take_record(s->r, s->p, record, place);
}

/* Reads a file's records to `end`; *place: where that ended. */
static enum tt_status read_records(struct scan *s, const struct file *f, int32_t file, uint64_t end,
                                   uint64_t *place)
{
    const struct tt_files *io = s->r->files;
    struct tt_reader reader;
    tt_reader_init(&reader, f->base, end, false);
    s->first_taken_us = INT64_MIN;
    tt_recovery_begin_segment(s->r, s->p, f->first_offset, f->base);
    enum tt_status step = TT_MORE;
    size_t size = 0;
    while (step == TT_MORE) {
        uint64_t from = tt_reader_place(&reader);
        enum tt_status status = io->read(io->context, file, from - f->base, s->r->window,
                                         TT_RECOVERY_WINDOW_BYTES, &size);
        if (status != TT_OK) return status;
        s->p->scanned_bytes += size;
        struct tt_record record;
        while ((step = tt_reader_next(&reader, from, tt_bytes(s->r->window, size), &record)) ==
               TT_OK)
            take_record(s, &record, tt_reader_place(&reader) - record.length);
        if (step == TT_MORE && tt_reader_place(&reader) == from) break; /* the file ends here */
    }
    *place = tt_reader_place(&reader);
    return s->taken;
}

/* Walks a file to `end`. *whole: it got there; else s->place is where it stopped. */
static enum tt_status walk(struct scan *s, const struct file *f, uint64_t end, bool *whole)
{
    const struct tt_files *io = s->r->files;
    int32_t file;
    enum tt_status status = open_file(s, f, false, &file);
    if (status != TT_OK) return status;
    status = read_records(s, f, file, end, &s->place);
    /* After a crash of the process alone it may be in the page cache only; from here on it counts
     * as durable. */
    if (status == TT_OK) status = io->sync(io->context, file);
    io->close(io->context, file);
    *whole = s->place == end;
    return status == TT_OK ? TT_OK : fail_at(s, f, status);
}

/* Walks sealed files that are older than all that may be torn, only for the values or the keys that
 * stand in them. Damage there does not keep the log from being opened: whoever reads it is told. */
static enum tt_status walk_older(struct scan *s, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++) {
        const struct file *f = &s->files[i];
        uint64_t end = s->files[i + 1].base, place;
        int32_t file;
        enum tt_status status = open_file(s, f, false, &file);
        if (status != TT_OK) return status;
        status = read_records(s, f, file, end, &place);
        s->r->files->close(s->r->files->context, file);
        if (status != TT_OK) return fail_at(s, f, status);
        if (place == end) continue;
        char path[TT_RECOVERY_PATH_BYTES];
        tt_recovery_note(s->p, path_of(s, f, path),
                         "damaged at byte %llu: values that stand behind it may be lost",
                         (unsigned long long)(place - f->base));
    }
    return TT_OK;
}

/* The newest event of file i, which was not walked, or what stands before its damage. */
static enum tt_status last_of(struct scan *s, uint32_t i)
{
    const struct tt_files *io = s->r->files;
    const struct file *f = &s->files[i];
    int32_t file;
    enum tt_status status = open_file(s, f, false, &file);
    if (status != TT_OK) return status;
    struct tt_reader reader;
    tt_reader_init(&reader, f->base, s->files[i + 1].base, false);
    enum tt_status step = TT_MORE;
    while (step == TT_MORE) {
        uint64_t from = tt_reader_place(&reader);
        size_t size = 0;
        status = io->read(io->context, file, from - f->base, s->r->window, TT_RECOVERY_WINDOW_BYTES,
                          &size);
        if (status != TT_OK) break;
        s->p->scanned_bytes += size;
        struct tt_record record;
        while ((step = tt_reader_next(&reader, from, tt_bytes(s->r->window, size), &record)) ==
               TT_OK)
            if (record.class == TT_RECORD_EVENT) take_last(s->p, &record);
        if (tt_reader_place(&reader) == from) break;
    }
    io->close(io->context, file);
    return status == TT_OK ? TT_OK : fail_at(s, f, status);
}

/* A mirror is compared by its newest event, which may be older than what was walked. */
static enum tt_status find_last(struct scan *s, uint32_t first)
{
    if (!s->r->options->mirror) return TT_OK;
    enum tt_status status = TT_OK;
    for (uint32_t i = first; status == TT_OK && i > 0 && !s->p->has_last; i--)
        status = last_of(s, i - 1);
    return status;
}

/* The newest file that begins as a segment. False: none does. */
static bool newest_valid(const struct scan *s, uint32_t *newest)
{
    for (uint32_t i = s->count; i > 0; i--) {
        if (!s->files[i - 1].valid) continue;
        *newest = i - 1;
        return true;
    }
    return false;
}

/* Files below the one where the walk begins are not read: they must be there, whole. */
static enum tt_status check_older(struct scan *s, uint32_t walk_from)
{
    for (uint32_t i = 0; i <= walk_from; i++) {
        const struct file *f = &s->files[i];
        if (!f->valid) {
            s->place = i == 0 ? 0 : f[-1].base + f[-1].size;
            return damaged(s, f, 0, s->durable);
        }
        if (i == 0 || (f->base > f[-1].base && f->base - f[-1].base <= f[-1].size)) continue;
        char path[TT_RECOVERY_PATH_BYTES];
        return tt_recovery_fail(s->r, TT_ECORRUPT, path_of(s, f, path),
                                "begins at place %llu, but the file before ends at %llu: one "
                                "between them is missing, or that one was cut short",
                                (unsigned long long)f->base,
                                (unsigned long long)(f[-1].base + f[-1].size));
    }
    return TT_OK;
}

static enum tt_status walk_from(struct scan *s, uint32_t first)
{
    s->next_offset = s->files[first].first_offset;
    s->taken_max_us = s->files[first].taken_max_us;
    for (uint32_t i = first; i < s->count; i++) {
        const struct file *f = &s->files[i];
        /* Where the next begins, this one ends; else wherever its bytes do. */
        bool sealed = i + 1 < s->count && s->files[i + 1].valid;
        if (!f->valid || (i != first && f->base != s->place)) return end_at(s, i, false);
        bool whole;
        enum tt_status status =
            walk(s, f, sealed ? s->files[i + 1].base : f->base + f->size, &whole);
        if (status != TT_OK) return status;
        if (!whole || !sealed) return end_at(s, i, true);
    }
    TT_UNREACHABLE();
}

/* ---- what may be in the page cache only ---- */

/* Bytes of file f from place `from` to s->place or its end, written once more. */
static enum tt_status write_again(struct scan *s, const struct file *f, uint64_t from, uint64_t end)
{
    const struct tt_files *io = s->r->files;
    int32_t file;
    enum tt_status status = open_file(s, f, true, &file);
    if (status != TT_OK) return status;
    while (status == TT_OK && from < end) {
        size_t size = end - from < SEARCH_BYTES ? (size_t)(end - from) : SEARCH_BYTES, done = 0;
        status = io->read(io->context, file, from - f->base, s->r->window, size, &done);
        if (status == TT_OK && done != size) status = TT_EIO; /* it was there a moment ago */
        if (status == TT_OK)
            status = io->write(io->context, file, from - f->base, s->r->window, size);
        from += size;
    }
    if (status == TT_OK) status = io->sync(io->context, file);
    io->close(io->context, file);
    return status == TT_OK ? TT_OK : fail_at(s, f, status);
}

/* A sync that failed in the process before may have left bytes in the page cache that are called
 * clean there and are not on the disk: no sync of ours would find them. So what is not known to be
 * durable is written again, the same bytes to the same place, before it counts as durable. After a
 * clean end (the ceiling says so) all of it was synced. A mirror may lose it. */
static enum tt_status make_durable(struct scan *s)
{
    if (s->r->options->mirror || s->p->ceiling == s->next_offset) return TT_OK;
    for (uint32_t i = 0; i < s->count; i++) {
        const struct file *f = &s->files[i];
        uint64_t end = i + 1 < s->count ? s->files[i + 1].base : s->place;
        uint64_t from = f->base > s->durable ? f->base : s->durable;
        if (from >= end) continue;
        enum tt_status status = write_again(s, f, from, end);
        if (status != TT_OK) return status;
    }
    return TT_OK;
}

/* ---- what stands where ---- */

static struct tt_segment segment_of(const struct scan *s, uint32_t i)
{
    bool last = i + 1 == s->count;
    return (struct tt_segment){
        .first_offset = s->files[i].first_offset,
        .base_place = s->files[i].base,
        .end_place = last ? TT_SEGMENT_GROWS : s->files[i + 1].base,
        .taken_max_us = last ? INT64_MIN : s->files[i + 1].taken_max_us,
    };
}

/* Values of the segments from the one in which the checkpoint's place lies, below file `first`. */
static enum tt_status older_values(struct scan *s, uint32_t first, uint32_t *from)
{
    uint64_t place = 0;
    const struct file *oldest = s->count != 0 ? &s->files[0] : NULL;
    enum tt_status status = tt_recovery_load_values(
        s->r, s->partition, s->p, oldest != NULL ? oldest->first_offset : UINT64_MAX,
        oldest != NULL ? oldest->base : UINT64_MAX >> 1, &place);
    if (status != TT_OK) return status;
    *from = 0;
    while (*from < first && s->files[*from + 1].base <= place) ++*from;
    return walk_older(s, *from, first);
}

/* Keys of the segments below file `first`, newest first, as long as they may be young enough. */
static enum tt_status older_keys(struct scan *s, uint32_t first)
{
    if (s->r->options->keys_max == 0) return TT_OK;
    for (uint32_t i = first; i > 0; i--) {
        const struct tt_segment segment = segment_of(s, i - 1);
        if (segment.taken_max_us <= s->r->options->wall_us - s->r->options->keys_window_us)
            return TT_OK;
        enum tt_status status = tt_recovery_keys_of_index(s->r, s->partition, s->p, &segment);
        if (status == TT_ENOENT) status = walk_older(s, i - 1, i);
        if (status != TT_OK) return status;
    }
    return TT_OK;
}

/* ---- all of it ---- */

static enum tt_status fill(struct scan *s)
{
    struct tt_recovered_partition *p = s->p;
    enum tt_status status = make_durable(s);
    if (status != TT_OK) return status;
    for (uint32_t i = 0; i < s->count; i++) {
        const struct tt_segment segment = segment_of(s, i);
        status = tt_segment_list_add(&p->segments, &segment);
        if (status != TT_OK) return status;
    }
    p->place = s->place;
    p->next_offset = s->next_offset;
    p->oldest_offset = s->count != 0 ? s->files[0].first_offset : s->next_offset;
    p->taken_max_us = s->taken_max_us;
    p->active_taken_us = s->first_taken_us;
    tt_recovery_finish_keys(s->r, p);
    tt_keep_settle(p->values, &p->kept, p->oldest_offset,
                   s->count != 0 ? s->files[0].base : s->place);
    return tt_recovery_settle_indexes(s->r, p, s->indexes, s->indexes_count);
}

static enum tt_status scan(struct scan *s)
{
    enum tt_status status = find_files(s);
    if (status != TT_OK) return status;
    uint32_t newest;
    if (!newest_valid(s, &newest)) {
        /* No segment was ever finished, or the only one is damaged. */
        if (s->count != 0) status = end_at(s, 0, false);
        if (status == TT_OK) status = older_values(s, 0, &newest);
        return status == TT_OK ? fill(s) : status;
    }
    s->durable = s->files[newest].durable;
    /* Everything below is on disk: begin with the file in which that place lies. */
    uint32_t first = newest;
    while (first > 0 && (!s->files[first].valid || s->files[first].base > s->durable)) first--;
    if (!s->files[first].valid && s->durable == 0) {
        /* The very first segment never reached the disk, only the one behind it did. */
        status = end_at(s, 0, false);
        if (status == TT_OK) status = older_values(s, 0, &newest);
        return status == TT_OK ? fill(s) : status;
    }
    status = check_older(s, first);
    uint32_t walked = 0;
    if (status == TT_OK) status = older_values(s, first, &walked);
    if (status == TT_OK) status = older_keys(s, walked);
    if (status == TT_OK) status = walk_from(s, first);
    if (status == TT_OK) status = find_last(s, first);
    return status == TT_OK ? fill(s) : status;
}

enum tt_status tt_recovery_scan(struct tt_recovery *r, uint32_t index,
                                struct tt_recovered_partition *partition)
{
    struct scan s = {.r = r,
                     .p = partition,
                     .partition = index,
                     .taken_max_us = INT64_MIN,
                     .first_taken_us = INT64_MIN};
    enum tt_status status = scan(&s);
    free(s.files);
    free(s.indexes);
    return status;
}
