/* Between the caller and a back end's file operations: what the plan says happens to them.
 *
 * The io keeps its own struct; only its table of functions is exchanged for a copy whose file
 * operations ask the plan first. An operation that fails is never shown to the back end: its
 * completion is made here. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/assert.h"
#include "shard/io/backend.h"
#include "shard/io/faults.h"

#define CLOSE_OPERATION 255u /* of tokens: closes that will be told as failed */
#define SLOTS           TT_IO_FILE_OPERATIONS_MAX

/* One call of a file operation. */
struct call {
    enum tt_fault_kind kind;
    tt_file file;
    uint64_t offset, size, token;
    void *data;
    char *path, *path2; /* borrowed from the caller; copies while it waits */
    uint32_t flags;     /* of open; of sync: 1 for data only */
};

struct late {
    struct call call;
    uint64_t due_ns; /* 0: free */
};

struct closing {
    uint64_t token;
    int32_t result; /* 0: free */
};

struct tt_io_faults {
    struct tt_faults *plan;
    const struct tt_io_ops *inner;
    struct tt_io_ops ops;
    struct tt_io_made_ring made;
    struct late late[SLOTS];
    unsigned late_count;
    struct closing closing[SLOTS];
};

/* ---- to the back end ---- */

static void start(struct tt_io *io, const struct call *c)
{
    const struct tt_io_ops *inner = io->faults->inner;
    switch (c->kind) {
    case TT_FAULT_OPEN: inner->open(io, c->path, c->flags, c->token); return;
    case TT_FAULT_CLOSE: inner->file_close(io, c->file, c->token); return;
    case TT_FAULT_PREALLOCATE:
        inner->preallocate(io, c->file, c->offset, c->size, c->token);
        return;
    case TT_FAULT_READ: inner->read(io, c->file, c->offset, c->data, c->size, c->token); return;
    case TT_FAULT_WRITE: inner->write(io, c->file, c->offset, c->data, c->size, c->token); return;
    case TT_FAULT_SYNC: inner->sync(io, c->file, c->flags != 0, c->token); return;
    case TT_FAULT_TRUNCATE: inner->truncate(io, c->file, c->size, c->token); return;
    case TT_FAULT_RENAME: inner->rename(io, c->path, c->path2, c->token); return;
    case TT_FAULT_UNLINK: inner->unlink(io, c->path, c->token); return;
    case TT_FAULT_LIST:
    case TT_FAULT_MAKE_DIRECTORY:
    case TT_FAULT_KINDS: break;
    }
    TT_UNREACHABLE();
}

static void fail(struct tt_io *io, const struct call *c, int error)
{
    struct tt_io_faults *f = io->faults;
    int32_t result = (int32_t)tt_io_status_of_errno(error);
    if (c->kind != TT_FAULT_CLOSE) {
        struct tt_io_made made = {.token = c->token, .result = result, .slot = TT_SOCKET_NONE};
        tt_io_made_push(&f->made, &made);
        return;
    }
    uint32_t slot = 0;
    while (slot < SLOTS && f->closing[slot].result != 0) slot++;
    TT_ASSERT(slot < SLOTS);
    f->closing[slot] = (struct closing){c->token, result};
    struct call closing = *c;
    closing.token = tt_token(CLOSE_OPERATION, 0, slot);
    start(io, &closing);
}

static void put_off(struct tt_io *io, const struct call *c, uint64_t delay_ns)
{
    struct tt_io_faults *f = io->faults;
    uint32_t slot = 0;
    while (slot < SLOTS && f->late[slot].due_ns != 0) slot++;
    TT_ASSERT(slot < SLOTS);
    struct late *late = &f->late[slot];
    *late = (struct late){*c, io->ops->now_ns(io) + delay_ns};
    late->call.path = c->path == NULL ? NULL : strdup(c->path);
    late->call.path2 = c->path2 == NULL ? NULL : strdup(c->path2);
    TT_ASSERT(c->path == NULL || late->call.path != NULL);
    TT_ASSERT(c->path2 == NULL || late->call.path2 != NULL);
    f->late_count++;
}

static void begin(struct tt_io *io, struct call *c)
{
    struct tt_faults *plan = io->faults->plan;
    const char *path = c->path2 != NULL ? c->path2 : c->path;
    struct tt_fault fault = path != NULL ? tt_faults_next(plan, c->kind, path)
                                         : tt_faults_next_of_file(plan, c->kind, c->file);
    bool transfers = c->kind == TT_FAULT_READ || c->kind == TT_FAULT_WRITE;
    if (fault.delay_ns != 0) {
        put_off(io, c, fault.delay_ns);
        return;
    }
    if (fault.error != 0 && fault.error != EINTR) {
        fail(io, c, fault.error);
        return;
    }
    if (fault.shorten && transfers && c->size != 0) c->size = tt_fault_short_bytes(c->size);
    /* The back end hides it, or it is a bug there. A close that is interrupted is done. */
    io->interrupt_next = fault.error == EINTR && c->kind != TT_FAULT_CLOSE;
    start(io, c);
    io->interrupt_next = false;
}

/* ---- the table ---- */

static void faults_open(struct tt_io *io, const char *path, uint32_t flags, uint64_t token)
{
    begin(io, &(struct call){.kind = TT_FAULT_OPEN,
                             .path = (char *)(uintptr_t)path,
                             .flags = flags,
                             .token = token});
}

static void faults_file_close(struct tt_io *io, tt_file file, uint64_t token)
{
    begin(io, &(struct call){.kind = TT_FAULT_CLOSE, .file = file, .token = token});
}

static void faults_preallocate(struct tt_io *io, tt_file file, uint64_t offset, uint64_t size,
                               uint64_t token)
{
    begin(io, &(struct call){.kind = TT_FAULT_PREALLOCATE,
                             .file = file,
                             .offset = offset,
                             .size = size,
                             .token = token});
}

static void faults_read(struct tt_io *io, tt_file file, uint64_t offset, void *data, size_t size,
                        uint64_t token)
{
    begin(io, &(struct call){.kind = TT_FAULT_READ,
                             .file = file,
                             .offset = offset,
                             .data = data,
                             .size = size,
                             .token = token});
}

static void faults_write(struct tt_io *io, tt_file file, uint64_t offset, const void *data,
                         size_t size, uint64_t token)
{
    begin(io, &(struct call){.kind = TT_FAULT_WRITE,
                             .file = file,
                             .offset = offset,
                             .data = (void *)(uintptr_t)data,
                             .size = size,
                             .token = token});
}

static void faults_sync(struct tt_io *io, tt_file file, bool data_only, uint64_t token)
{
    begin(io,
          &(struct call){.kind = TT_FAULT_SYNC, .file = file, .flags = data_only, .token = token});
}

static void faults_truncate(struct tt_io *io, tt_file file, uint64_t size, uint64_t token)
{
    begin(io,
          &(struct call){.kind = TT_FAULT_TRUNCATE, .file = file, .size = size, .token = token});
}

static void faults_rename(struct tt_io *io, const char *from, const char *to, uint64_t token)
{
    begin(io, &(struct call){.kind = TT_FAULT_RENAME,
                             .path = (char *)(uintptr_t)from,
                             .path2 = (char *)(uintptr_t)to,
                             .token = token});
}

static void faults_unlink(struct tt_io *io, const char *path, uint64_t token)
{
    begin(io,
          &(struct call){.kind = TT_FAULT_UNLINK, .path = (char *)(uintptr_t)path, .token = token});
}

/* ---- the loop ---- */

/* Starts what has waited long enough; returns when the next one has. */
static uint64_t start_late(struct tt_io *io)
{
    struct tt_io_faults *f = io->faults;
    uint64_t next = UINT64_MAX;
    if (f->late_count == 0) return next;
    uint64_t now = io->ops->now_ns(io);
    for (uint32_t i = 0; i < SLOTS; i++) {
        struct late *late = &f->late[i];
        if (late->due_ns == 0) continue;
        if (late->due_ns > now) {
            if (late->due_ns < next) next = late->due_ns;
            continue;
        }
        start(io, &late->call);
        free(late->call.path);
        free(late->call.path2);
        *late = (struct late){0};
        f->late_count--;
    }
    return next;
}

static void faults_submit(struct tt_io *io, uint64_t wait_until_ns)
{
    struct tt_io_faults *f = io->faults;
    uint64_t next = start_late(io);
    if (next < wait_until_ns) wait_until_ns = next;
    f->inner->submit(io, tt_io_made_empty(&f->made) ? wait_until_ns : 0);
}

static unsigned faults_reap(struct tt_io *io, struct tt_done *done, unsigned max)
{
    struct tt_io_faults *f = io->faults;
    unsigned count = 0;
    while (count < max && !tt_io_made_empty(&f->made)) {
        struct tt_io_made made = tt_io_made_take(&f->made);
        done[count++] = (struct tt_done){.token = made.token, .result = made.result};
    }
    if (count != 0) return count; /* it is called until it returns 0 */
    count = f->inner->reap(io, done, max);
    for (unsigned i = 0; i < count; i++) {
        if (tt_token_operation(done[i].token) != CLOSE_OPERATION) continue;
        struct closing *closing = &f->closing[tt_token_slot(done[i].token)];
        done[i].token = closing->token;
        done[i].result = closing->result;
        closing->result = 0;
    }
    return count;
}

static void faults_destroy(struct tt_io *io)
{
    struct tt_io_faults *f = io->faults;
    const struct tt_io_ops *inner = f->inner;
    for (uint32_t i = 0; i < SLOTS; i++) {
        free(f->late[i].call.path);
        free(f->late[i].call.path2);
    }
    tt_io_made_deinit(&f->made);
    io->ops = inner;
    free(f);
    inner->destroy(io);
}

enum tt_status tt_io_faults_wrap(struct tt_io *io, struct tt_faults *faults)
{
    TT_ASSERT(io->faults == NULL);
    struct tt_io_faults *f = calloc(1, sizeof *f);
    if (f == NULL) return TT_ENOMEM;
    /* All that may be in flight fail, and are not reaped before as many begin again. */
    if (tt_io_made_init(&f->made, 2 * TT_IO_FILE_OPERATIONS_MAX) != TT_OK) {
        free(f);
        return TT_ENOMEM;
    }
    f->plan = faults;
    f->inner = io->ops;
    f->ops = *io->ops;
    f->ops.destroy = faults_destroy;
    f->ops.submit = faults_submit;
    f->ops.reap = faults_reap;
    f->ops.open = faults_open;
    f->ops.file_close = faults_file_close;
    f->ops.preallocate = faults_preallocate;
    f->ops.read = faults_read;
    f->ops.write = faults_write;
    f->ops.sync = faults_sync;
    f->ops.truncate = faults_truncate;
    f->ops.rename = faults_rename;
    f->ops.unlink = faults_unlink;
    io->faults = f;
    io->ops = &f->ops;
    return TT_OK;
}
