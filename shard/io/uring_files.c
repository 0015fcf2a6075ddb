/* io_uring: files, by plain descriptors (there are few). */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shard/io/uring.h"

#define MODE       0640
#define LENGTH_MAX (1u << 30) /* of one read or write; beyond it the result is short */

static struct uring_operation *operation(struct tt_io_uring *u, uint64_t token)
{
    TT_ASSERT(u->files_max != 0);
    uint32_t index = u->operations_free;
    TT_ASSERT(index != URING_NONE); /* TT_IO_FILE_OPERATIONS_MAX */
    struct uring_operation *o = &u->operations[index];
    u->operations_free = o->next;
    *o = (struct uring_operation){.token = token, .interrupt = u->base.interrupt_next};
    return o;
}

/* What a thread of the kernel does, at least on file systems that cannot write without waiting; a
 * read of what is not in memory goes on in the loop's own time. */
static bool needs_thread(const struct uring_operation *o)
{
    return o->sqe.opcode != IORING_OP_READ;
}

static void operation_free(struct tt_io_uring *u, struct uring_operation *o)
{
    free(o->path);
    free(o->path2);
    o->path = o->path2 = NULL;
    o->next = u->operations_free;
    u->operations_free = (uint32_t)(o - u->operations);
}

/* Queues o->sqe, for the first time or again. */
static void queue(struct tt_io_uring *u, struct uring_operation *o)
{
    if (needs_thread(o)) u->files_working++;
    struct io_uring_sqe *sqe = tt_uring_sqe(u, URING_FILE, 0, (uint32_t)(o - u->operations));
    uint64_t data = sqe->user_data;
    if (o->interrupt)
        io_uring_prep_nop(sqe);
    else
        *sqe = o->sqe;
    sqe->user_data = data;
}

static void make(struct tt_io_uring *u, uint64_t token, int32_t result)
{
    struct tt_io_made made = {.token = token, .result = result, .slot = TT_SOCKET_NONE};
    tt_io_made_push(&u->made, &made);
}

/* An operation with copies of its paths; without memory it fails as if it had been tried. */
static struct uring_operation *path_operation(struct tt_io_uring *u, const char *path,
                                              const char *path2, uint64_t token)
{
    struct uring_operation *o = operation(u, token);
    o->path = strdup(path);
    if (path2 != NULL) o->path2 = strdup(path2);
    if (o->path != NULL && (path2 == NULL || o->path2 != NULL)) return o;
    operation_free(u, o);
    make(u, token, TT_ENOMEM);
    return NULL;
}

void tt_uring_open(struct tt_io *io, const char *path, uint32_t flags, uint64_t token)
{
    struct tt_io_uring *u = uring_of(io);
    if (u->files_open == u->files_max) {
        make(u, token, TT_ENOFILE);
        return;
    }
    struct uring_operation *o = path_operation(u, path, NULL, token);
    if (o == NULL) return;
    u->files_open++;
    o->open = true;
    io_uring_prep_openat(&o->sqe, AT_FDCWD, o->path, tt_io_system_open_flags(flags), MODE);
    queue(u, o);
}

void tt_uring_file_close(struct tt_io *io, tt_file file, uint64_t token)
{
    struct tt_io_uring *u = uring_of(io);
    TT_ASSERT(file >= 0 && u->files_open > 0);
    u->files_open--;
    struct uring_operation *o = operation(u, token);
    io_uring_prep_close(&o->sqe, file);
    queue(u, o);
}

void tt_uring_preallocate(struct tt_io *io, tt_file file, uint64_t offset, uint64_t size,
                          uint64_t token)
{
    struct tt_io_uring *u = uring_of(io);
    struct uring_operation *o = operation(u, token);
    io_uring_prep_fallocate(&o->sqe, file, 0, (off_t)offset, (off_t)size);
    queue(u, o);
}

void tt_uring_read(struct tt_io *io, tt_file file, uint64_t offset, void *data, size_t size,
                   uint64_t token)
{
    struct tt_io_uring *u = uring_of(io);
    struct uring_operation *o = operation(u, token);
    unsigned length = size > LENGTH_MAX ? LENGTH_MAX : (unsigned)size;
    io_uring_prep_read(&o->sqe, file, data, length, offset);
    queue(u, o);
}

void tt_uring_write(struct tt_io *io, tt_file file, uint64_t offset, const void *data, size_t size,
                    uint64_t token)
{
    struct tt_io_uring *u = uring_of(io);
    struct uring_operation *o = operation(u, token);
    unsigned length = size > LENGTH_MAX ? LENGTH_MAX : (unsigned)size;
    io_uring_prep_write(&o->sqe, file, data, length, offset);
    queue(u, o);
}

void tt_uring_sync(struct tt_io *io, tt_file file, bool data_only, uint64_t token)
{
    struct tt_io_uring *u = uring_of(io);
    struct uring_operation *o = operation(u, token);
    io_uring_prep_fsync(&o->sqe, file, data_only ? IORING_FSYNC_DATASYNC : 0);
    queue(u, o);
}

/* The request for it came with Linux 6.9. Truncating is done once, when a segment or the log ends,
 * so it may hold up the loop. */
void tt_uring_truncate(struct tt_io *io, tt_file file, uint64_t size, uint64_t token)
{
    int result;
    do {
        result = ftruncate(file, (off_t)size) == 0 ? 0 : errno;
    } while (result == EINTR);
    make(uring_of(io), token, (int32_t)tt_io_status_of_errno(result));
}

void tt_uring_rename(struct tt_io *io, const char *from, const char *to, uint64_t token)
{
    struct tt_io_uring *u = uring_of(io);
    struct uring_operation *o = path_operation(u, from, to, token);
    if (o == NULL) return;
    io_uring_prep_renameat(&o->sqe, AT_FDCWD, o->path, AT_FDCWD, o->path2, 0);
    queue(u, o);
}

void tt_uring_unlink(struct tt_io *io, const char *path, uint64_t token)
{
    struct tt_io_uring *u = uring_of(io);
    struct uring_operation *o = path_operation(u, path, NULL, token);
    if (o == NULL) return;
    io_uring_prep_unlinkat(&o->sqe, AT_FDCWD, o->path, 0);
    queue(u, o);
}

bool tt_uring_file_done(struct tt_io_uring *u, const struct io_uring_cqe *cqe, struct tt_done *done)
{
    struct uring_operation *o = &u->operations[tt_token_slot(cqe->user_data)];
    if (needs_thread(o)) u->files_working--;
    int result = o->interrupt ? -EINTR : cqe->res;
    o->interrupt = false;
    if (result == -EINTR) {
        if (o->sqe.opcode != IORING_OP_CLOSE) {
            queue(u, o);
            return false;
        }
        result = 0; /* a file whose close was interrupted is closed */
    }
    *done = (struct tt_done){.token = o->token, .result = result};
    if (result < 0) {
        done->result = (int32_t)tt_io_status_of_errno(-result);
        if (o->open) u->files_open--;
    }
    operation_free(u, o);
    return true;
}

void tt_uring_files_init(struct tt_io_uring *u, const struct tt_io_options *options)
{
    u->files_max = options->files_max;
    for (uint32_t i = 0; i < TT_IO_FILE_OPERATIONS_MAX; i++) {
        u->operations[i].next = i + 1 < TT_IO_FILE_OPERATIONS_MAX ? i + 1 : URING_NONE;
    }
    u->operations_free = 0;
}

void tt_uring_files_deinit(struct tt_io_uring *u)
{
    for (uint32_t i = 0; i < TT_IO_FILE_OPERATIONS_MAX; i++) {
        free(u->operations[i].path);
        free(u->operations[i].path2);
    }
}
