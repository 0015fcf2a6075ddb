/* epoll: files, by the io's file thread; but what the page cache has is read at once, because going
 * to the thread and back costs several times as much (io_uring does the same). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "shard/io/epoll.h"

static void push(struct tt_io *io, struct tt_file_job *job)
{
    struct tt_io_epoll *e = epoll_of(io);
    TT_ASSERT(e->files != NULL); /* files_max was 0 */
    job->interrupt = io->interrupt_next;
    tt_file_thread_push(e->files, job);
}

static void make(struct tt_io_epoll *e, uint64_t token, enum tt_status status)
{
    epoll_make(e, token, (int32_t)status, TT_SOCKET_NONE, EPOLL_MADE_PLAIN);
}

/* A job with copies of its paths; without memory it fails as if it had been tried. */
static void push_paths(struct tt_io *io, enum tt_file_job_kind kind, const char *path,
                       const char *path2, uint32_t flags, uint64_t token)
{
    struct tt_file_job job = {.kind = kind, .token = token, .flags = flags};
    job.path = strdup(path);
    if (path2 != NULL) job.path2 = strdup(path2);
    if (job.path == NULL || (path2 != NULL && job.path2 == NULL)) {
        free(job.path);
        free(job.path2);
        if (kind == TT_FILE_JOB_OPEN) epoll_of(io)->files_open--;
        make(epoll_of(io), token, TT_ENOMEM);
        return;
    }
    push(io, &job);
}

void tt_epoll_open(struct tt_io *io, const char *path, uint32_t flags, uint64_t token)
{
    struct tt_io_epoll *e = epoll_of(io);
    if (e->files_open == e->files_max) {
        make(e, token, TT_ENOFILE);
        return;
    }
    e->files_open++;
    push_paths(io, TT_FILE_JOB_OPEN, path, NULL, flags, token);
}

void tt_epoll_file_close(struct tt_io *io, tt_file file, uint64_t token)
{
    struct tt_io_epoll *e = epoll_of(io);
    TT_ASSERT(file >= 0 && e->files_open > 0);
    e->files_open--;
    struct tt_file_job job = {.kind = TT_FILE_JOB_CLOSE, .file = file, .token = token};
    push(io, &job);
}

void tt_epoll_preallocate(struct tt_io *io, tt_file file, uint64_t offset, uint64_t size,
                          uint64_t token)
{
    struct tt_file_job job = {.kind = TT_FILE_JOB_PREALLOCATE,
                              .file = file,
                              .token = token,
                              .offset = offset,
                              .size = size};
    push(io, &job);
}

/* False: not in the page cache, or something that the file thread's own try will tell. A part of it
 * is as good as all: reads may be short (io.h). */
static bool read_at_once(struct tt_io *io, tt_file file, uint64_t offset, void *data, size_t size,
                         uint64_t token)
{
    struct tt_io_epoll *e = epoll_of(io);
    if (e->never_at_once || io->interrupt_next) return false;
    struct iovec iovec = {data, size < INT32_MAX ? size : INT32_MAX};
    ssize_t n = preadv2(file, &iovec, 1, (off_t)offset, RWF_NOWAIT);
    if (n < 0) {
        /* Kernels before 4.14, file systems that cannot, profiles that forbid the call. */
        e->never_at_once = errno == ENOSYS || errno == EOPNOTSUPP || errno == EPERM;
        return false;
    }
    /* Reaped behind the next submit, as all that is asked for: whoever reads on as soon as
     * something was read would not come to the end of reaping. */
    tt_io_made_push(&e->reads, &(struct tt_io_made){token, (int32_t)n, 0, TT_SOCKET_NONE, 0});
    return true;
}

void tt_epoll_read(struct tt_io *io, tt_file file, uint64_t offset, void *data, size_t size,
                   uint64_t token)
{
    if (read_at_once(io, file, offset, data, size, token)) return;
    struct tt_file_job job = {.kind = TT_FILE_JOB_READ,
                              .file = file,
                              .token = token,
                              .offset = offset,
                              .size = size,
                              .data = data};
    push(io, &job);
}

void tt_epoll_write(struct tt_io *io, tt_file file, uint64_t offset, const void *data, size_t size,
                    uint64_t token)
{
    struct tt_file_job job = {.kind = TT_FILE_JOB_WRITE,
                              .file = file,
                              .token = token,
                              .offset = offset,
                              .size = size,
                              .data = (void *)(uintptr_t)data};
    push(io, &job);
}

void tt_epoll_sync(struct tt_io *io, tt_file file, bool data_only, uint64_t token)
{
    struct tt_file_job job = {
        .kind = data_only ? TT_FILE_JOB_SYNC_DATA : TT_FILE_JOB_SYNC, .file = file, .token = token};
    push(io, &job);
}

void tt_epoll_truncate(struct tt_io *io, tt_file file, uint64_t size, uint64_t token)
{
    struct tt_file_job job = {
        .kind = TT_FILE_JOB_TRUNCATE, .file = file, .token = token, .size = size};
    push(io, &job);
}

void tt_epoll_rename(struct tt_io *io, const char *from, const char *to, uint64_t token)
{
    push_paths(io, TT_FILE_JOB_RENAME, from, to, 0, token);
}

void tt_epoll_unlink(struct tt_io *io, const char *path, uint64_t token)
{
    push_paths(io, TT_FILE_JOB_UNLINK, path, NULL, 0, token);
}

unsigned tt_epoll_files_done(struct tt_io_epoll *e, struct tt_done *done, unsigned max)
{
    unsigned count = 0;
    struct tt_file_result r;
    for (; count < max && e->reads_due != 0; e->reads_due--) {
        struct tt_io_made read = tt_io_made_take(&e->reads);
        done[count++] = (struct tt_done){.token = read.token, .result = read.result};
    }
    while (count < max && e->files_ready) {
        if (!tt_file_thread_take(e->files, &r)) {
            e->files_ready = false;
            break;
        }
        if (r.kind == TT_FILE_JOB_OPEN && r.result < 0) e->files_open--;
        free(r.path);
        free(r.path2);
        done[count++] = (struct tt_done){.token = r.token, .result = r.result};
    }
    return count;
}
