#include "tests/support/disk.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/base/assert.h"

/* ---- chance ---- */

uint64_t disk_random(struct disk *d)
{
    uint64_t z = d->random += UINT64_C(0x9E3779B97F4A7C15); /* splitmix64 */
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

uint64_t disk_below(struct disk *d, uint64_t n)
{
    return n == 0 ? 0 : disk_random(d) % n;
}

/* ---- names ---- */

static struct disk_name *name_of(struct disk_names *names, const char *path)
{
    for (uint32_t i = 0; i < names->count; i++)
        if (strcmp(names->items[i].path, path) == 0) return &names->items[i];
    return NULL;
}

static void put_name(struct disk_names *names, const char *path, int32_t file)
{
    struct disk_name *n = name_of(names, path);
    if (n == NULL) {
        TT_ASSERT(names->count < DISK_FILES_MAX);
        n = &names->items[names->count++];
        snprintf(n->path, sizeof n->path, "%s", path);
    }
    n->file = file;
}

static void drop_name(struct disk_names *names, const char *path)
{
    struct disk_name *n = name_of(names, path);
    if (n != NULL) *n = names->items[--names->count];
}

/* What was not there when this is decided is passed over. */
static void apply_change(struct disk_names *names, const struct disk_change *c)
{
    if (c->from[0] == '\0') {
        put_name(names, c->to, c->file);
        return;
    }
    struct disk_name *from = name_of(names, c->from);
    if (from == NULL || from->file != c->file) return;
    drop_name(names, c->from);
    if (c->to[0] != '\0') put_name(names, c->to, c->file);
}

static void change(struct disk *d, const char *from, const char *to, int32_t file)
{
    TT_ASSERT(d->changes_count < DISK_PENDING_MAX);
    struct disk_change *c = &d->changes[d->changes_count++];
    *c = (struct disk_change){.file = file};
    snprintf(c->from, sizeof c->from, "%s", from);
    snprintf(c->to, sizeof c->to, "%s", to);
    apply_change(&d->names, c);
}

static bool lies_in(const char *path, const char *directory)
{
    size_t n = strlen(directory);
    return strncmp(path, directory, n) == 0 && path[n] == '/' && strchr(path + n + 1, '/') == NULL;
}

/* One that fails leaves them as they are, to be synced later: a file system whose journal has
 * failed takes no more changes of names at all, so none is ever wrongly called certain. */
static void sync_names(struct disk *d, const char *directory, bool failed)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < d->changes_count; i++) {
        struct disk_change *c = &d->changes[i];
        bool here = lies_in(c->from[0] != '\0' ? c->from : c->to, directory);
        if (here && !failed)
            apply_change(&d->durable_names, c);
        else
            d->changes[left++] = *c;
    }
    d->changes_count = left;
}

struct disk_file *disk_find(struct disk *d, const char *path)
{
    struct disk_name *n = name_of(&d->names, path);
    return n != NULL ? &d->files[n->file] : NULL;
}

static int32_t make_file(struct disk *d, const char *path, bool directory)
{
    TT_ASSERT(d->count < DISK_FILES_MAX);
    d->files[d->count] = (struct disk_file){.directory = directory};
    change(d, "", path, d->count);
    return d->count++;
}

/* ---- contents ---- */

static void grow(uint8_t **data, uint64_t *capacity, uint64_t size)
{
    if (size <= *capacity) return;
    uint64_t wanted = *capacity * 2 > size ? *capacity * 2 : size;
    *data = realloc(*data, wanted);
    TT_ASSERT(*data != NULL);
    memset(*data + *capacity, 0, wanted - *capacity);
    *capacity = wanted;
}

static void touch(struct disk_file *f, uint64_t begin, uint64_t end)
{
    struct disk_range *last = f->dirty_count != 0 ? &f->dirty[f->dirty_count - 1] : NULL;
    if (begin >= end) return;
    if (last != NULL && !last->lost && last->begin == begin && last->end == end) return;
    if (f->dirty_count == f->dirty_capacity) {
        f->dirty_capacity = f->dirty_capacity == 0 ? 8 : f->dirty_capacity * 2;
        f->dirty = realloc(f->dirty, f->dirty_capacity * sizeof *f->dirty);
        TT_ASSERT(f->dirty != NULL);
    }
    f->dirty[f->dirty_count++] = (struct disk_range){begin, end, false};
}

static void set_size(struct disk_file *f, uint64_t size)
{
    grow(&f->data, &f->capacity, size);
    if (size < f->size) {
        memset(f->data + size, 0, f->size - size);
        touch(f, size, f->size);
    }
    f->size = size;
    if (size < f->size_min) f->size_min = size;
    if (size > f->size_max) f->size_max = size;
}

static void put(struct disk_file *f, uint64_t offset, const void *data, uint64_t size)
{
    if (offset + size > f->size) set_size(f, offset + size);
    memcpy(f->data + offset, data, size);
    touch(f, offset, offset + size);
}

/* Bytes of the file that the process sees become certain. */
static void settle(struct disk_file *f, uint64_t begin, uint64_t end)
{
    grow(&f->durable, &f->durable_capacity, end);
    uint64_t there = end < f->capacity ? end : f->capacity;
    if (begin < there) memcpy(f->durable + begin, f->data + begin, there - begin);
}

static void sync_file(struct disk_file *f, bool failed)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < f->dirty_count; i++) {
        struct disk_range r = f->dirty[i];
        if (failed) r.lost = true;
        if (r.lost)
            f->dirty[left++] = r;
        else
            settle(f, r.begin, r.end);
    }
    f->dirty_count = left;
    if (failed) return;
    grow(&f->durable, &f->durable_capacity, f->size);
    f->durable_size = f->size_min = f->size_max = f->size;
}

/* ---- faults ---- */

/* Counts the operation; TT_OK, or how it fails. */
static enum tt_status begin(struct disk *d, const char *what, const char *path)
{
    d->operations++;
    if (d->fault == DISK_FAULT_NONE || d->operations < d->fault_at) return TT_OK;
    if (d->fault == DISK_FAULT_DEAD) {
        d->fault_hit = true;
        return TT_EIO;
    }
    if (d->operations > d->fault_until) return TT_OK;
    if (!d->fault_hit)
        snprintf(d->fault_what, sizeof d->fault_what, "%s %s", what, path != NULL ? path : "");
    d->fault_hit = true;
    return d->fault_status;
}

void disk_heal(struct disk *d)
{
    d->fault = DISK_FAULT_NONE;
}

/* The name of a file, for what is told. */
static const char *path_of(struct disk *d, int32_t file)
{
    for (uint32_t i = 0; i < d->names.count; i++)
        if (d->names.items[i].file == file) return d->names.items[i].path;
    return "(removed)";
}

/* ---- recovery's access ---- */

static enum tt_status files_list(void *context, const char *directory,
                                 enum tt_status (*entry)(void *, const char *), void *argument)
{
    struct disk *d = context;
    enum tt_status status = begin(d, "list", directory);
    if (status != TT_OK) return status;
    if (disk_find(d, directory) == NULL) return TT_ENOENT;
    for (uint32_t i = 0; i < d->names.count; i++) {
        const char *path = d->names.items[i].path;
        if (!lies_in(path, directory)) continue;
        status = entry(argument, path + strlen(directory) + 1);
        if (status != TT_OK) return status;
    }
    return TT_OK;
}

static enum tt_status files_make_directory(void *context, const char *path)
{
    struct disk *d = context;
    enum tt_status status = begin(d, "mkdir", path);
    if (status != TT_OK) return status;
    if (disk_find(d, path) != NULL) return TT_EEXIST;
    (void)make_file(d, path, true);
    return TT_OK;
}

static enum tt_status files_open(void *context, const char *path, enum tt_files_open how,
                                 int32_t *file)
{
    struct disk *d = context;
    enum tt_status status = begin(d, "open", path);
    if (status != TT_OK) return status;
    struct disk_name *n = name_of(&d->names, path);
    if (n == NULL && how != TT_FILES_CREATE) return TT_ENOENT;
    *file = n != NULL ? n->file : make_file(d, path, false);
    if (how == TT_FILES_CREATE) set_size(&d->files[*file], 0);
    return TT_OK;
}

static void files_close(void *context, int32_t file)
{
    (void)context;
    (void)file;
}

static enum tt_status files_size(void *context, int32_t file, uint64_t *bytes)
{
    struct disk *d = context;
    enum tt_status status = begin(d, "size", path_of(d, file));
    if (status == TT_OK) *bytes = d->files[file].size;
    return status;
}

static uint64_t read_some(const struct disk_file *f, uint64_t offset, void *data, uint64_t size)
{
    uint64_t n = offset >= f->size ? 0 : f->size - offset < size ? f->size - offset : size;
    if (n != 0) memcpy(data, f->data + offset, n);
    return n;
}

static enum tt_status files_read(void *context, int32_t file, uint64_t offset, void *data,
                                 size_t size, size_t *done)
{
    struct disk *d = context;
    enum tt_status status = begin(d, "read", path_of(d, file));
    if (status != TT_OK) return status;
    *done = read_some(&d->files[file], offset, data, size);
    d->read_bytes += *done;
    return TT_OK;
}

static enum tt_status files_write(void *context, int32_t file, uint64_t offset, const void *data,
                                  size_t size)
{
    struct disk *d = context;
    enum tt_status status = begin(d, "write", path_of(d, file));
    if (status != TT_OK) { /* some of it may be there */
        put(&d->files[file], offset, data, disk_below(d, size));
        return status;
    }
    put(&d->files[file], offset, data, size);
    return TT_OK;
}

static enum tt_status files_truncate(void *context, int32_t file, uint64_t size)
{
    struct disk *d = context;
    enum tt_status status = begin(d, "truncate", path_of(d, file));
    if (status == TT_OK) set_size(&d->files[file], size);
    return status;
}

static enum tt_status files_sync(void *context, int32_t file)
{
    struct disk *d = context;
    enum tt_status status = begin(d, "sync", path_of(d, file));
    sync_file(&d->files[file], status != TT_OK);
    return status;
}

static enum tt_status files_sync_directory(void *context, const char *path)
{
    struct disk *d = context;
    enum tt_status status = begin(d, "sync directory", path);
    if (status == TT_OK && disk_find(d, path) == NULL) return TT_ENOENT;
    sync_names(d, path, status != TT_OK);
    return status;
}

static enum tt_status do_rename(struct disk *d, const char *from, const char *to)
{
    struct disk_name *n = name_of(&d->names, from);
    if (n == NULL) return TT_ENOENT;
    change(d, from, to, n->file);
    return TT_OK;
}

static enum tt_status do_unlink(struct disk *d, const char *path)
{
    struct disk_name *n = name_of(&d->names, path);
    if (n == NULL) return TT_ENOENT;
    change(d, path, "", n->file);
    return TT_OK;
}

static enum tt_status files_rename(void *context, const char *from, const char *to)
{
    struct disk *d = context;
    enum tt_status status = begin(d, "rename", from);
    return status == TT_OK ? do_rename(d, from, to) : status;
}

static enum tt_status files_unlink(void *context, const char *path)
{
    struct disk *d = context;
    enum tt_status status = begin(d, "unlink", path);
    return status == TT_OK ? do_unlink(d, path) : status;
}

/* ---- a log's operations ---- */

static int32_t open_existing(struct disk *d, const char *path)
{
    struct disk_name *n = name_of(&d->names, path);
    return n != NULL ? n->file : TT_ENOENT;
}

static int32_t carry_out(struct disk *d, const struct tt_log_operation *op)
{
    struct disk_file *f = op->file >= 0 ? &d->files[op->file] : NULL;
    switch (op->kind) {
    case TT_LOG_OPEN_NEW:
        if (disk_find(d, op->path) != NULL) return TT_EEXIST;
        return make_file(d, op->path, false);
    case TT_LOG_OPEN_EXISTING:
    case TT_LOG_OPEN_DIRECTORY: return open_existing(d, op->path);
    case TT_LOG_PREALLOCATE:
        if (op->offset + op->size > f->size) set_size(f, op->offset + op->size);
        return TT_OK;
    case TT_LOG_WRITE: put(f, op->offset, op->data, op->size); return (int32_t)op->size;
    case TT_LOG_SYNC: sync_file(f, false); return TT_OK;
    case TT_LOG_SYNC_DIRECTORY: sync_names(d, path_of(d, op->file), false); return TT_OK;
    case TT_LOG_TRUNCATE: set_size(f, op->size); return TT_OK;
    case TT_LOG_CLOSE: return TT_OK;
    case TT_LOG_UNLINK: return do_unlink(d, op->path);
    case TT_LOG_OPEN_READ: return open_existing(d, op->path);
    case TT_LOG_READ: return (int32_t)read_some(f, op->offset, op->buffer, op->size);
    case TT_LOG_RENAME: return do_rename(d, op->path, op->path_to);
    }
    TT_UNREACHABLE();
}

static const char *what(enum tt_log_operation_kind kind)
{
    static const char *const names[] = {
        [TT_LOG_OPEN_NEW] = "new",
        [TT_LOG_OPEN_EXISTING] = "open",
        [TT_LOG_OPEN_DIRECTORY] = "open directory",
        [TT_LOG_PREALLOCATE] = "preallocate",
        [TT_LOG_WRITE] = "write",
        [TT_LOG_SYNC] = "sync",
        [TT_LOG_SYNC_DIRECTORY] = "sync directory",
        [TT_LOG_TRUNCATE] = "truncate",
        [TT_LOG_CLOSE] = "close",
        [TT_LOG_UNLINK] = "unlink",
        [TT_LOG_OPEN_READ] = "open",
        [TT_LOG_READ] = "read",
        [TT_LOG_RENAME] = "rename",
    };
    return names[kind];
}

void disk_do_partly(struct disk *d, const struct tt_log_operation *op)
{
    switch (disk_below(d, 3)) {
    case 0: return;
    case 1: (void)carry_out(d, op); return;
    default:
        if (op->kind == TT_LOG_WRITE)
            put(&d->files[op->file], op->offset, op->data, disk_below(d, op->size));
        return;
    }
}

int32_t disk_do(struct disk *d, const struct tt_log_operation *op)
{
    enum tt_status status =
        begin(d, what(op->kind), op->path != NULL ? op->path : path_of(d, op->file));
    if (status == TT_OK) return carry_out(d, op);
    if (op->kind == TT_LOG_SYNC) sync_file(&d->files[op->file], true);
    if (op->kind == TT_LOG_SYNC_DIRECTORY) sync_names(d, path_of(d, op->file), true);
    if (op->kind == TT_LOG_WRITE && d->fault == DISK_FAULT_SHORT && op->size > 1) {
        put(&d->files[op->file], op->offset, op->data, op->size / 2);
        if (d->fault_until == d->fault_at) d->fault_until++; /* what is left of it fails */
        return (int32_t)(op->size / 2);
    }
    return status;
}

/* ---- the cut ---- */

enum fate { FATE_DROP = 0, FATE_KEEP, FATE_RANGES, FATE_SECTORS, FATE_PREFIX, FATES };

static void settle_sectors(struct disk *d, struct disk_file *f, const struct disk_range *r)
{
    for (uint64_t at = r->begin; at < r->end;) {
        uint64_t end = (at / DISK_SECTOR + 1) * DISK_SECTOR;
        if (end > r->end) end = r->end;
        /* Runs of sectors rather than single ones: a random half of all would find nothing whole.
         */
        uint64_t run = 1 + disk_below(d, 64);
        end += (run - 1) * DISK_SECTOR;
        if (end > r->end) end = r->end;
        if (disk_below(d, 3) != 0) settle(f, at, end);
        at = end;
    }
}

static void cut_file(struct disk *d, struct disk_file *f)
{
    enum fate fate = (enum fate)disk_below(d, FATES);
    uint64_t whole = disk_below(d, f->dirty_count + 1);
    for (uint32_t i = 0; i < f->dirty_count; i++) {
        const struct disk_range *r = &f->dirty[i];
        bool keep = fate == FATE_KEEP || (fate == FATE_PREFIX && i < whole) ||
                    (fate == FATE_RANGES && disk_below(d, 2) == 0);
        if (r->lost && disk_below(d, 2) == 0) keep = false;
        if (keep)
            settle(f, r->begin, r->end);
        else if (fate == FATE_SECTORS || (fate == FATE_PREFIX && i == whole))
            settle_sectors(d, f, r);
    }
    f->dirty_count = 0;
    uint64_t size = f->durable_size;
    switch (fate == FATE_KEEP ? 1 : disk_below(d, 4)) {
    case 0: break;
    case 1: size = f->size; break;
    case 2: size = f->size_max; break;
    default: size = f->size_min + disk_below(d, f->size_max - f->size_min + 1); break;
    }
    grow(&f->durable, &f->durable_capacity, size);
    if (size < f->durable_capacity) memset(f->durable + size, 0, f->durable_capacity - size);
    f->durable_size = f->size_min = f->size_max = f->size = size;
    grow(&f->data, &f->capacity, size);
    if (f->capacity != 0) memset(f->data, 0, f->capacity);
    if (size != 0) memcpy(f->data, f->durable, size);
}

void disk_power_cut(struct disk *d)
{
    bool journal = disk_below(d, 2) == 0;
    uint32_t whole = (uint32_t)disk_below(d, d->changes_count + 1);
    for (uint32_t i = 0; i < d->changes_count; i++) {
        bool keep = journal ? i < whole : disk_below(d, 2) == 0;
        if (keep) apply_change(&d->durable_names, &d->changes[i]);
    }
    d->changes_count = 0;
    /* What lies in a directory that is not there is not there. */
    for (uint32_t i = 0; i < d->durable_names.count;) {
        char directory[TT_LOG_PATH_BYTES];
        snprintf(directory, sizeof directory, "%s", d->durable_names.items[i].path);
        char *slash = strrchr(directory, '/');
        if (slash != NULL) *slash = '\0';
        if (slash == NULL || name_of(&d->durable_names, directory) != NULL)
            i++;
        else
            d->durable_names.items[i] = d->durable_names.items[--d->durable_names.count], i = 0;
    }
    d->names = d->durable_names;
    for (int32_t i = 0; i < d->count; i++)
        if (!d->files[i].directory) cut_file(d, &d->files[i]);
}

/* ---- life ---- */

struct disk *disk_create(uint64_t seed)
{
    struct disk *d = calloc(1, sizeof *d);
    TT_ASSERT(d != NULL);
    d->random = seed;
    d->access = (struct tt_files){d,           files_list,           files_make_directory,
                                  files_open,  files_close,          files_size,
                                  files_read,  files_write,          files_truncate,
                                  files_sync,  files_sync_directory, files_rename,
                                  files_unlink};
    put_name(&d->durable_names, "data", make_file(d, "data", true));
    d->changes_count = 0;
    return d;
}

void disk_destroy(struct disk **disk)
{
    struct disk *d = *disk;
    for (int32_t i = 0; i < d->count; i++) {
        free(d->files[i].data);
        free(d->files[i].durable);
        free(d->files[i].dirty);
    }
    free(d);
    *disk = NULL;
}
