/* Opening the mirror of a Kafka topic: nothing in it is a reason to refuse. What cannot be trusted
 * is removed, and fetched again.
 *
 * What is removed goes in an order that leaves nothing of it to be taken for good if that is cut
 * short: META before the partitions it speaks of, values before the segments they were made of. A
 * rest of segments either has a gap, which is found, or is a part of the mirror in one piece. */
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/assert.h"
#include "store/index_file.h"
#include "store/kept.h"
#include "store/recovery_internal.h"

/* ---- removing ---- */

/* The file names of a partition's directory that are ours. */
struct names {
    char (*items)[TT_SEGMENT_NAME_BYTES];
    uint32_t count, capacity;
    bool segments; /* whether these are wanted, or all others */
};

static bool is_wanted(const struct names *names, const char *name)
{
    uint64_t offset;
    uint32_t number;
    if (tt_segment_name_parse(name, &offset) == TT_OK) return names->segments;
    if (names->segments) return false;
    return tt_index_name_parse(name, &offset) == TT_OK ||
           tt_kept_name_parse(name, &number) == TT_OK || strcmp(name, "values") == 0 ||
           strcmp(name, "values.new") == 0;
}

static enum tt_status take_name(void *argument, const char *name)
{
    struct names *names = argument;
    if (!is_wanted(names, name)) return TT_OK;
    if (names->count == names->capacity) {
        uint32_t capacity = names->capacity == 0 ? 64 : names->capacity * 2;
        void *items = realloc(names->items, capacity * sizeof *names->items);
        if (items == NULL) return TT_ENOMEM;
        names->items = items;
        names->capacity = capacity;
    }
    snprintf(names->items[names->count++], sizeof *names->items, "%s", name);
    return TT_OK;
}

static enum tt_status remove_files(struct tt_recovery *r, const char *directory, bool segments)
{
    const struct tt_files *f = r->files;
    struct names names = {.segments = segments};
    enum tt_status status = f->list(f->context, directory, take_name, &names);
    if (status != TT_OK && status != TT_ENOENT) tt_recovery_plain_fail(r, status, directory);
    for (uint32_t i = 0; status == TT_OK && i < names.count; i++) {
        char path[TT_RECOVERY_PATH_BYTES];
        tt_recovery_join(path, directory, names.items[i]);
        status = f->unlink(f->context, path);
        if (status == TT_ENOENT) status = TT_OK;
        if (status != TT_OK) tt_recovery_plain_fail(r, status, path);
    }
    if (status == TT_OK && names.count != 0) {
        status = f->sync_directory(f->context, directory);
        if (status != TT_OK) tt_recovery_plain_fail(r, status, directory);
    }
    free(names.items);
    return status;
}

/* TT_ENOENT, without an error: there is no such directory. */
static enum tt_status empty_directory(struct tt_recovery *r, const char *directory)
{
    enum tt_status status = remove_files(r, directory, false);
    return status == TT_OK ? remove_files(r, directory, true) : status;
}

static void partition_path(const struct tt_recovery *r, uint32_t number,
                           char path[TT_RECOVERY_PATH_BYTES])
{
    char name[16];
    snprintf(name, sizeof name, "%u", number);
    tt_recovery_join(path, r->options->directory, name);
}

/* All of the mirror, but for what else lies in its directory. */
static enum tt_status drop_all(struct tt_recovery *r)
{
    const struct tt_files *f = r->files;
    const char *root = r->options->directory;
    char path[TT_RECOVERY_PATH_BYTES];
    tt_recovery_join(path, root, "META");
    enum tt_status status = f->unlink(f->context, path);
    if (status != TT_OK && status != TT_ENOENT) return tt_recovery_plain_fail(r, status, path);
    status = f->sync_directory(f->context, root);
    if (status != TT_OK) return tt_recovery_plain_fail(r, status, root);
    for (uint32_t i = 0; i < TT_PARTITIONS_MAX; i++) {
        partition_path(r, i, path);
        status = empty_directory(r, path);
        if (status == TT_ENOENT) break;
        if (status != TT_OK) return status;
    }
    return TT_OK;
}

/* ---- a partition ---- */

/* What says something of the files, and not of the machine or of who may touch them. */
static bool is_bad_file(enum tt_status status)
{
    return status == TT_ECORRUPT || status == TT_EVERSION || status == TT_EIO;
}

static void note_dropped(char note[TT_RECOVERY_ERROR_BYTES], const char *why)
{
    int size = snprintf(note, TT_RECOVERY_ERROR_BYTES, "%s", why);
    static const char what[] = "; the mirror is dropped";
    if (size >= 0 && (size_t)size + sizeof what <= TT_RECOVERY_ERROR_BYTES)
        memcpy(note + size, what, sizeof what);
}

static enum tt_status open_partition(struct tt_recovery *r, uint32_t index)
{
    const struct tt_files *f = r->files;
    struct tt_recovered_partition *p = &r->log->partitions[index];
    enum tt_status status = f->make_directory(f->context, p->directory);
    if (status != TT_OK && status != TT_EEXIST)
        return tt_recovery_plain_fail(r, status, p->directory);
    status = tt_recovery_scan(r, index, p);
    if (is_bad_file(status)) {
        tt_recovery_reset(p);
        p->dropped = true;
        note_dropped(p->note, r->error);
        r->error[0] = '\0';
        status = empty_directory(r, p->directory);
    }
    p->hole_first = p->hole_end = p->next_offset;
    p->ceiling = UINT64_MAX;
    return status;
}

static enum tt_status see_segment(void *argument, const char *name)
{
    uint64_t offset;
    (void)argument;
    return tt_segment_name_parse(name, &offset) == TT_OK ? TT_EEXIST : TT_OK;
}

/* How many partitions to open: a slot in which something was mirrored is never left out. */
static uint32_t slots_of(const struct tt_recovery *r, uint32_t known)
{
    const struct tt_files *f = r->files;
    uint32_t slots = r->options->slots > known ? r->options->slots : known;
    for (uint32_t i = slots; i < TT_PARTITIONS_MAX; i++) {
        char path[TT_RECOVERY_PATH_BYTES];
        partition_path(r, i, path);
        enum tt_status status = f->list(f->context, path, see_segment, NULL);
        if (status == TT_EEXIST)
            slots = i + 1;
        else if (status != TT_OK)
            break;
    }
    return slots;
}

/* ---- the mirror ---- */

static bool is_the_one(const struct tt_recovery *r, const struct tt_meta *meta)
{
    const struct tt_recovery_options *o = r->options;
    return tt_history_equal(meta->history, o->history) && meta->hash_key.k0 == o->hash_key.k0 &&
           meta->hash_key.k1 == o->hash_key.k1;
}

/* Finds META, or makes sure that nothing is there. *meta: what it has to say. */
static enum tt_status settle_meta(struct tt_recovery *r, struct tt_meta *meta)
{
    struct tt_recovered *log = r->log;
    enum tt_status status = tt_recovery_read_meta(r, meta);
    if (status == TT_OK && is_the_one(r, meta)) return TT_OK;
    if (status == TT_OK)
        snprintf(r->error, TT_RECOVERY_ERROR_BYTES, "%s: history %s is not what is mirrored now",
                 r->options->directory, meta->history.text);
    else if (status != TT_ENOENT && !is_bad_file(status))
        return status;
    log->dropped = status != TT_ENOENT;
    if (log->dropped) note_dropped(log->note, r->error);
    r->error[0] = '\0';
    log->created = true;
    *meta = (struct tt_meta){.format = TT_RECORD_FORMAT,
                             .history = r->options->history,
                             .hash_key = r->options->hash_key,
                             .created_us = r->options->wall_us};
    return drop_all(r);
}

/* The number of partitions grows with what was found, and never shrinks. */
static enum tt_status settle_known(struct tt_recovery *r, struct tt_meta *meta)
{
    struct tt_recovered *log = r->log;
    log->known =
        meta->partitions > r->options->partitions ? meta->partitions : r->options->partitions;
    if (log->known == 0) log->known = 1;
    for (uint32_t i = log->known; i < log->partitions_count; i++)
        if (!tt_recovery_is_empty(&log->partitions[i])) log->known = i + 1;
    if (log->known == meta->partitions) return TT_OK;
    meta->partitions = log->known;
    return tt_recovery_write_meta(r, meta);
}

enum tt_status tt_recovery_open_mirror(struct tt_recovery *r)
{
    const struct tt_recovery_options *o = r->options;
    struct tt_recovered *log = r->log;
    struct tt_meta meta = {0};
    TT_ASSERT(o->partitions <= TT_PARTITIONS_MAX && o->slots <= TT_PARTITIONS_MAX);
    enum tt_status status = settle_meta(r, &meta);
    if (status != TT_OK) return status;
    log->format = meta.format;
    log->history = meta.history;
    log->hash_key = meta.hash_key;
    uint32_t known = meta.partitions > o->partitions ? meta.partitions : o->partitions;
    status = tt_recovery_allocate(r, slots_of(r, known == 0 ? 1 : known));
    for (uint32_t i = 0; status == TT_OK && i < log->partitions_count; i++)
        status = open_partition(r, i);
    if (status != TT_OK) return status;
    status = r->files->sync_directory(r->files->context, o->directory); /* slots that were made */
    if (status != TT_OK) return tt_recovery_plain_fail(r, status, o->directory);
    return settle_known(r, &meta);
}

enum tt_status tt_recovery_drop_partition(struct tt_recovered *recovered,
                                          const struct tt_files *files, uint32_t partition,
                                          char error[TT_RECOVERY_ERROR_BYTES])
{
    TT_ASSERT(recovered->mirror && partition < recovered->partitions_count);
    const struct tt_recovery_options options = {.mirror = true};
    struct tt_recovery r = {.options = &options, .files = files, .log = recovered, .error = error};
    struct tt_recovered_partition *p = &recovered->partitions[partition];
    error[0] = '\0';
    tt_recovery_reset(p);
    p->dropped = true;
    enum tt_status status = empty_directory(&r, p->directory);
    return status == TT_ENOENT ? TT_OK : status;
}

bool tt_recovery_is_empty(const struct tt_recovered_partition *p)
{
    return p->segments.count == 0;
}

void tt_recovery_begin_at(struct tt_recovered_partition *p, uint64_t offset)
{
    TT_ASSERT(tt_recovery_is_empty(p) && offset <= TT_NEXT_MAX);
    p->next_offset = p->oldest_offset = p->hole_first = p->hole_end = offset;
}
