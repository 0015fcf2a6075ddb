#include "store/keep_load.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/assert.h"
#include "store/checkpoint.h"
#include "store/index_file.h"
#include "store/log.h"

#define WINDOW_BYTES   ((size_t)256 << 10)
#define LEFTOVERS_MAX  16u /* one job is under way at a time; others go at the next start */
#define LEFTOVER_BYTES (TT_INDEX_NAME_BYTES + sizeof ".new")

struct load {
    const struct tt_keep_load_options *options;
    struct tt_keep_loaded *out;
    uint8_t *window;
    size_t capacity;
    bool kept_read;                                /* records of kept files */
    char leftovers[LEFTOVERS_MAX][LEFTOVER_BYTES]; /* names of what is to be removed */
    uint32_t leftovers_count;
    struct tt_checkpoint_header header; /* of the checkpoint, if there is one */
};

/* The first thing that is wrong is what is told. */
TT_PRINTF(3, 4)
static void note(struct load *l, const char *path, const char *format, ...)
{
    char *text = l->out->note;
    if (text[0] != '\0') return;
    int size = snprintf(text, sizeof l->out->note, "%s: ", path);
    if (size < 0 || (size_t)size >= sizeof l->out->note) return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + size, sizeof l->out->note - (size_t)size, format, arguments);
    va_end(arguments);
}

static void path_to(const struct load *l, const char *name, char path[TT_LOG_PATH_BYTES])
{
    int size = snprintf(path, TT_LOG_PATH_BYTES, "%s/%s", l->options->directory, name);
    TT_ASSERT(size > 0 && (size_t)size < TT_LOG_PATH_BYTES); /* recovery bounds the directory */
}

/* Reads up to the window's end, behind the `have` bytes that are there. *have: how many then. */
static enum tt_status read_on(struct load *l, int32_t file, uint64_t position, size_t *have)
{
    const struct tt_files *f = l->options->files;
    size_t done = 0;
    enum tt_status status =
        f->read(f->context, file, position + *have, l->window + *have, l->capacity - *have, &done);
    *have += done;
    l->out->read_bytes += done;
    if (status != TT_OK) return status;
    return done == 0 ? TT_END : TT_OK;
}

/* ---- the checkpoint ---- */

static enum tt_status read_checkpoint(struct load *l, int32_t file, uint64_t *bytes)
{
    struct tt_checkpoint_reader reader;
    tt_checkpoint_read_begin(&reader, l->out->values, l->options->identity);
    uint64_t position = 0;
    size_t have = 0;
    enum tt_status status = TT_MORE;
    while (status == TT_MORE) {
        status = read_on(l, file, position, &have);
        if (status == TT_END) return TT_ECORRUPT; /* it is cut short */
        if (status != TT_OK) return status;
        size_t taken;
        status = tt_checkpoint_read(&reader, tt_bytes(l->window, have), &taken);
        memmove(l->window, l->window + taken, have - taken);
        position += taken;
        have -= taken;
    }
    if (status != TT_END) return status;
    status = read_on(l, file, position, &have);
    if (status != TT_END) return status == TT_OK ? TT_ECORRUPT : status; /* more follows */
    l->header = *tt_checkpoint_read_header(&reader);
    *bytes = position;
    return TT_OK;
}

static enum tt_status load_checkpoint(struct load *l)
{
    const struct tt_files *f = l->options->files;
    char path[TT_LOG_PATH_BYTES];
    path_to(l, TT_CHECKPOINT_NAME, path);
    int32_t file;
    uint64_t bytes = 0;
    enum tt_status status = f->open(f->context, path, TT_FILES_READ, &file);
    if (status == TT_OK) {
        status = read_checkpoint(l, file, &bytes);
        f->close(f->context, file);
    } else if (status == TT_ENOENT) {
        return TT_OK;
    }
    if (status == TT_OK) {
        l->out->checkpoint = true;
        l->out->place = l->header.place;
        l->out->kept.checkpoint_place = l->header.place;
        l->out->kept.checkpoint_bytes = bytes;
        return TT_OK;
    }
    if (status == TT_ENOMEM) return status;
    note(l, path, "cannot be used (%s): the values of channels are read from the whole log",
         tt_status_text(status));
    tt_values_destroy(&l->out->values);
    return tt_values_create(&l->out->values, l->options->channels_max);
}

/* ---- kept files ---- */

/* What a job had not finished: an index file or a checkpoint under another name. */
static bool is_leftover(const char *name)
{
    uint64_t first_offset;
    size_t size = strlen(name);
    if (strcmp(name, TT_CHECKPOINT_NAME_NEW) == 0) return true;
    if (size != TT_INDEX_NAME_BYTES - 1 + sizeof ".new" - 1) return false;
    char index[TT_INDEX_NAME_BYTES];
    memcpy(index, name, TT_INDEX_NAME_BYTES - 1);
    index[TT_INDEX_NAME_BYTES - 1] = '\0';
    return strcmp(name + TT_INDEX_NAME_BYTES - 1, ".new") == 0 &&
           tt_index_name_parse(index, &first_offset) == TT_OK;
}

static enum tt_status take_name(void *argument, const char *name)
{
    struct load *l = argument;
    struct tt_kept_files *k = &l->out->kept;
    uint32_t number;
    if (is_leftover(name) && l->leftovers_count < LEFTOVERS_MAX)
        memcpy(l->leftovers[l->leftovers_count++], name, strlen(name) + 1);
    if (tt_kept_name_parse(name, &number) != TT_OK) return TT_OK;
    /* In any order: sorted afterwards. */
    uint32_t last = k->count;
    enum tt_status status = tt_kept_files_add(k, last == 0 ? 0 : k->files[last - 1].number + 1, 0);
    if (status == TT_OK) k->files[last].number = number;
    return status;
}

static int by_number(const void *a, const void *b)
{
    const struct tt_kept_file *left = a, *right = b;
    return left->number < right->number ? -1 : left->number > right->number;
}

static enum tt_status find_kept(struct load *l)
{
    const struct tt_files *f = l->options->files;
    struct tt_kept_files *k = &l->out->kept;
    enum tt_status status = f->list(f->context, l->options->directory, take_name, l);
    if (status != TT_OK) {
        note(l, l->options->directory, "%s", tt_status_text(status));
        return status;
    }
    for (uint32_t i = 0; i < l->leftovers_count; i++) {
        char path[TT_LOG_PATH_BYTES];
        path_to(l, l->leftovers[i], path);
        (void)f->unlink(f->context, path); /* it only takes room */
    }
    if (k->count != 0) qsort(k->files, k->count, sizeof *k->files, by_number);
    k->next = k->count != 0 ? k->files[k->count - 1].number + 1 : 0;
    return TT_OK;
}

static bool has_file(const struct tt_kept_files *k, uint32_t number)
{
    const struct tt_kept_file wanted = {.number = number};
    return k->count != 0 && bsearch(&wanted, k->files, k->count, sizeof wanted, by_number) != NULL;
}

static bool is_gone(const struct load *l, uint64_t place)
{
    if (!tt_kept_is(place)) return place < l->options->oldest_place;
    return !has_file(&l->out->kept, tt_kept_number(place));
}

/* *needed: without it the table would say something else. */
static enum tt_status take_record(struct load *l, const struct tt_record *record, uint64_t place,
                                  bool *needed)
{
    struct tt_values *v = l->out->values;
    struct tt_bytes name = record->event.channel;
    if (record->class != TT_RECORD_EVENT || name.size == 0) return TT_ECORRUPT;
    *needed = false;
    if (record->offset >= l->options->oldest_offset) return TT_OK; /* its segment is there */
    uint32_t slot, flags = 0;
    uint64_t hash = tt_hash(&l->options->identity->hash_key, name);
    enum tt_status status = tt_values_open_over(v, hash, name, &slot);
    if (status != TT_OK) return status;
    const struct tt_value *value = tt_values_at(v, slot);
    bool known = value->state != TT_VALUE_NONE &&
                 (value->offset > record->offset ||
                  (value->offset == record->offset && !is_gone(l, value->place)));
    if ((record->event.flags & TT_EVENT_OP_DELETE) != 0) flags = TT_VALUES_DELETE;
    if (!known) {
        tt_values_set(v, slot, record->offset, place, flags);
        (void)tt_values_repoint(v, slot, record->offset, place, place, record->length);
        *needed = true;
    }
    tt_values_commit(v);
    return TT_OK;
}

/* Takes the records from `position` on. Ends in good order at the first that is not valid. *end:
 * behind the last one that is needed; *more_follow: others do. */
static enum tt_status read_kept(struct load *l, int32_t file, uint32_t number, uint64_t position,
                                uint64_t *end, bool *more_follow)
{
    size_t have = 0;
    *end = position;
    *more_follow = false;
    for (;;) {
        enum tt_status status = read_on(l, file, position, &have);
        if (status == TT_END) {
            *more_follow = *more_follow && have == 0;
            return TT_OK;
        }
        if (status != TT_OK) return status;
        size_t at = 0;
        struct tt_record record = {0};
        for (;;) {
            bool needed = false;
            record.length = 0;
            status = tt_record_read(tt_bytes(l->window + at, have - at), &record);
            if (status == TT_OK)
                status = take_record(l, &record, tt_kept_place(number, position + at), &needed);
            if (status != TT_OK) break;
            at += record.length;
            if (needed) *end = position + at;
            *more_follow = !needed;
        }
        if (status != TT_MORE) {
            *more_follow = false; /* who knows what does */
            return status == TT_ENOMEM ? status : TT_OK;
        }
        memmove(l->window, l->window + at, have - at);
        position += at;
        have -= at;
        if (record.length <= l->capacity) continue;
        uint8_t *more = realloc(l->window, record.length);
        if (more == NULL) return TT_ENOMEM;
        l->window = more;
        l->capacity = record.length;
    }
}

/* The disk has lost it: no reason to refuse the rest of the log. */
static enum tt_status cannot_read(struct load *l, const char *path)
{
    note(l, path, "cannot be read (%s): values in it may be lost", tt_status_text(TT_EIO));
    return TT_OK;
}

static enum tt_status check_and_read(struct load *l, struct tt_kept_file *kept, int32_t file,
                                     const char *path)
{
    const struct tt_files *f = l->options->files;
    enum tt_status status = f->size(f->context, file, &kept->bytes);
    bool in_checkpoint = l->out->checkpoint && kept->number < l->header.kept_number;
    if (status == TT_EIO) return cannot_read(l, path);
    if (status != TT_OK || in_checkpoint) return status;
    uint64_t from = TT_KEPT_HEADER_BYTES;
    if (l->out->checkpoint && kept->number == l->header.kept_number && l->header.kept_byte > from)
        from = l->header.kept_byte;
    uint8_t header[TT_KEPT_HEADER_BYTES];
    size_t done = 0;
    status = f->read(f->context, file, 0, header, sizeof header, &done);
    if (status == TT_EIO) return cannot_read(l, path);
    if (status != TT_OK) return status;
    status = tt_kept_header_check(tt_bytes(header, done), kept->number, l->options->identity);
    if (status == TT_OK) {
        l->kept_read = true;
        uint64_t end;
        bool more_follow;
        status = read_kept(l, file, kept->number, from, &end, &more_follow);
        if (status == TT_OK && more_follow) {
            status = f->truncate(f->context, file, end);
            kept->bytes = end;
        } else if (status == TT_EIO) {
            status = cannot_read(l, path);
        }
        return status == TT_OK ? f->sync(f->context, file) : status;
    }
    /* Nothing points into a file that was not finished; a power cut may leave it without data. */
    static const uint8_t zeros[TT_KEPT_HEADER_BYTES];
    if (done == sizeof header && memcmp(header, zeros, sizeof header) != 0)
        note(l, path, "is not read: %s", tt_status_text(status));
    return TT_OK;
}

static enum tt_status load_kept(struct load *l)
{
    const struct tt_files *f = l->options->files;
    struct tt_kept_files *k = &l->out->kept;
    for (uint32_t i = 0; i < k->count; i++) {
        char path[TT_LOG_PATH_BYTES];
        int32_t file;
        enum tt_status status =
            tt_kept_path(l->options->directory, k->files[i].number, path, sizeof path);
        TT_ASSERT(status == TT_OK);
        status = f->open(f->context, path, TT_FILES_WRITE, &file);
        if (status == TT_OK) {
            status = check_and_read(l, &k->files[i], file, path);
            f->close(f->context, file);
        } else if (status == TT_EIO) {
            status = cannot_read(l, path);
        }
        if (status == TT_OK) continue;
        note(l, path, "%s", tt_status_text(status));
        return status;
    }
    if (!l->kept_read) return TT_OK;
    enum tt_status status = f->sync_directory(f->context, l->options->directory);
    if (status != TT_OK) note(l, l->options->directory, "%s", tt_status_text(status));
    return status;
}

/* ---- all of it ---- */

enum tt_status tt_keep_load(struct tt_keep_loaded *loaded,
                            const struct tt_keep_load_options *options)
{
    struct load l = {.options = options, .out = loaded, .capacity = WINDOW_BYTES};
    *loaded = (struct tt_keep_loaded){0};
    l.window = malloc(l.capacity);
    enum tt_status status = l.window == NULL ? TT_ENOMEM : TT_OK;
    if (status == TT_OK) status = tt_values_create(&loaded->values, options->channels_max);
    if (status == TT_OK) status = find_kept(&l);
    if (status == TT_OK) status = load_checkpoint(&l);
    if (status == TT_OK && loaded->checkpoint) { /* no number is used again that it may name */
        uint32_t next = l.header.kept_number + (l.header.kept_byte != 0 ? 1 : 0);
        if (loaded->kept.next < next) loaded->kept.next = next;
    }
    if (status == TT_OK) status = load_kept(&l);
    free(l.window);
    if (status != TT_OK) {
        tt_values_destroy(&loaded->values);
        tt_kept_files_deinit(&loaded->kept);
    }
    return status;
}

void tt_keep_settle(struct tt_values *values, const struct tt_kept_files *kept,
                    uint64_t oldest_offset, uint64_t oldest_place)
{
    for (uint32_t slot = 0; slot < tt_values_slots(values); slot++) {
        const struct tt_value *v = tt_values_at(values, slot);
        if (v != NULL && v->state == TT_VALUE_HELD && tt_kept_is(v->place) &&
            !has_file(kept, tt_kept_number(v->place)))
            tt_values_lose(values, slot, v->offset);
    }
    struct tt_values_alive alive = {.oldest_offset = oldest_offset,
                                    .oldest_place = oldest_place,
                                    .kept_from = tt_kept_files_from(kept)};
    struct tt_values_swept swept = {0};
    uint32_t key = 0;
    tt_values_sweep(values, &key, UINT32_MAX, &alive, &swept);
}
