/* io_uring: files, by plain descriptors (there are few). */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "shard/io/uring.h"

#define MODE         0640
#define LENGTH_MAX   (1u << 30) /* of one read or write; beyond it the result is short */
#define OPENS_A_FILE 1u

static struct io_uring_sqe *file_sqe(struct tt_io_uring *u, uint64_t token, uint32_t *index)
{
    TT_ASSERT(u->files_max != 0);
    *index = u->operations_free;
    TT_ASSERT(*index != URING_NONE); /* TT_IO_FILE_OPERATIONS_MAX */
    struct uring_operation *o = &u->operations[*index];
    u->operations_free = o->next;
    o->token = token;
    o->open = 0;
    return tt_uring_sqe(u, URING_FILE, 0, *index);
}

static void make(struct tt_io_uring *u, uint64_t token, int32_t result)
{
    struct tt_io_made made = {.token = token, .result = result, .slot = TT_SOCKET_NONE};
    tt_io_made_push(&u->made, &made);
}

/* Paths are the caller's; the kernel copies them when it takes the entry, so it does so now. */
void tt_uring_open(struct tt_io *io, const char *path, uint32_t flags, uint64_t token)
{
    struct tt_io_uring *u = uring_of(io);
    if (u->files_open == u->files_max) {
        make(u, token, TT_ENOFILE);
        return;
    }
    u->files_open++;
    uint32_t index;
    struct io_uring_sqe *sqe = file_sqe(u, token, &index);
    u->operations[index].open = OPENS_A_FILE;
    io_uring_prep_openat(sqe, AT_FDCWD, path, tt_io_system_open_flags(flags), MODE);
    tt_uring_flush(u);
}

void tt_uring_file_close(struct tt_io *io, tt_file file, uint64_t token)
{
    struct tt_io_uring *u = uring_of(io);
    TT_ASSERT(file >= 0 && u->files_open > 0);
    u->files_open--;
    uint32_t index;
    io_uring_prep_close(file_sqe(u, token, &index), file);
}

void tt_uring_preallocate(struct tt_io *io, tt_file file, uint64_t offset, uint64_t size,
                          uint64_t token)
{
    uint32_t index;
    struct io_uring_sqe *sqe = file_sqe(uring_of(io), token, &index);
    io_uring_prep_fallocate(sqe, file, 0, (off_t)offset, (off_t)size);
}

void tt_uring_read(struct tt_io *io, tt_file file, uint64_t offset, void *data, size_t size,
                   uint64_t token)
{
    uint32_t index;
    unsigned length = size > LENGTH_MAX ? LENGTH_MAX : (unsigned)size;
    io_uring_prep_read(file_sqe(uring_of(io), token, &index), file, data, length, offset);
}

void tt_uring_write(struct tt_io *io, tt_file file, uint64_t offset, const void *data, size_t size,
                    uint64_t token)
{
    uint32_t index;
    unsigned length = size > LENGTH_MAX ? LENGTH_MAX : (unsigned)size;
    io_uring_prep_write(file_sqe(uring_of(io), token, &index), file, data, length, offset);
}

void tt_uring_sync(struct tt_io *io, tt_file file, bool data_only, uint64_t token)
{
    uint32_t index;
    io_uring_prep_fsync(file_sqe(uring_of(io), token, &index), file,
                        data_only ? IORING_FSYNC_DATASYNC : 0);
}

/* The request for it came with Linux 6.9. Truncating is done once, when a log is opened, so it may
 * hold up the loop. */
void tt_uring_truncate(struct tt_io *io, tt_file file, uint64_t size, uint64_t token)
{
    int result = ftruncate(file, (off_t)size) == 0 ? 0 : errno;
    make(uring_of(io), token, (int32_t)tt_io_status_of_errno(result));
}

void tt_uring_rename(struct tt_io *io, const char *from, const char *to, uint64_t token)
{
    struct tt_io_uring *u = uring_of(io);
    uint32_t index;
    io_uring_prep_renameat(file_sqe(u, token, &index), AT_FDCWD, from, AT_FDCWD, to, 0);
    tt_uring_flush(u);
}

void tt_uring_unlink(struct tt_io *io, const char *path, uint64_t token)
{
    struct tt_io_uring *u = uring_of(io);
    uint32_t index;
    io_uring_prep_unlinkat(file_sqe(u, token, &index), AT_FDCWD, path, 0);
    tt_uring_flush(u);
}

bool tt_uring_file_done(struct tt_io_uring *u, const struct io_uring_cqe *cqe, struct tt_done *done)
{
    uint32_t index = tt_token_slot(cqe->user_data);
    struct uring_operation *o = &u->operations[index];
    *done = (struct tt_done){.token = o->token, .result = cqe->res};
    if (cqe->res < 0) {
        done->result = (int32_t)tt_io_status_of_errno(-cqe->res);
        if (o->open != 0) u->files_open--;
    }
    o->next = u->operations_free;
    u->operations_free = index;
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
