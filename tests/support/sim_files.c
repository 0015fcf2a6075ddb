#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/assert.h"
#include "tests/support/sim_io_internal.h"

static int32_t result_of(ssize_t n)
{
    return n >= 0 ? (int32_t)n : (int32_t)tt_io_status_of_errno(errno);
}

static int32_t perform(struct sim_io *e, const struct file_job *j)
{
    switch (j->kind) {
    case FILE_OPEN: {
        int fd = open(j->path, tt_io_system_open_flags(j->flags) | O_CLOEXEC, 0640);
        if (fd < 0) return result_of(-1);
        TT_ASSERT(fd < (int)SIM_FILES_MAX);
        e->file_open[fd] = true;
        return fd;
    }
    case FILE_CLOSE: e->file_open[j->file] = false; return result_of(close(j->file));
    case FILE_GROW: {
        struct stat st;
        if (fstat(j->file, &st) == 0 && (uint64_t)st.st_size >= j->offset + j->size) return 0;
        return result_of(ftruncate(j->file, (off_t)(j->offset + j->size)));
    }
    case FILE_READ: {
        size_t size = j->size > 1 && sim_chance(&e->s->random, 8)
                          ? sim_between(&e->s->random, 1, j->size)
                          : j->size;
        return result_of(pread(j->file, j->data, size, (off_t)j->offset));
    }
    case FILE_WRITE: {
        size_t size = j->size > 1 && sim_chance(&e->s->random, 8)
                          ? sim_between(&e->s->random, 1, j->size)
                          : j->size;
        return result_of(pwrite(j->file, j->data, size, (off_t)j->offset));
    }
    case FILE_NOTHING: return 0;
    case FILE_TRUNCATE: return result_of(ftruncate(j->file, (off_t)j->size));
    case FILE_RENAME: return result_of(rename(j->path, j->path2));
    case FILE_UNLINK: return result_of(unlink(j->path));
    }
    TT_UNREACHABLE();
}

static void push_job(struct tt_io *io, const struct file_job *job, const char *path,
                     const char *path2)
{
    struct sim_io *e = sim_of(io);
    TT_ASSERT(e->jobs_count < TT_IO_FILE_OPERATIONS_MAX);
    struct file_job *j = &e->jobs[e->jobs_count++];
    *j = *job;
    if (path != NULL) (void)snprintf(j->path, sizeof j->path, "%s", path);
    if (path2 != NULL) (void)snprintf(j->path2, sizeof j->path2, "%s", path2);
}

void sim_files_work(struct sim_io *e)
{
    for (uint32_t left = e->jobs_count; left > 0; left--) {
        if (!e->s->hurry && sim_chance(&e->s->random, 3)) continue;
        uint32_t i = (uint32_t)sim_between(&e->s->random, 0, e->jobs_count - 1);
        struct file_job job = e->jobs[i];
        e->jobs[i] = e->jobs[--e->jobs_count];
        sim_io_make(e, job.token, perform(e, &job), MADE_PLAIN, SIM_SOCKET_FREE);
    }
}

void sim_open(struct tt_io *io, const char *path, uint32_t flags, uint64_t token)
{
    push_job(io, &(struct file_job){.kind = FILE_OPEN, .flags = flags, .token = token}, path, NULL);
}
void sim_file_close(struct tt_io *io, tt_file file, uint64_t token)
{
    push_job(io, &(struct file_job){.kind = FILE_CLOSE, .file = file, .token = token}, NULL, NULL);
}
void sim_preallocate(struct tt_io *io, tt_file file, uint64_t offset, uint64_t size, uint64_t token)
{
    push_job(io,
             &(struct file_job){
                 .kind = FILE_GROW, .file = file, .offset = offset, .size = size, .token = token},
             NULL, NULL);
}
void sim_read(struct tt_io *io, tt_file file, uint64_t offset, void *data, size_t size,
              uint64_t token)
{
    push_job(io,
             &(struct file_job){.kind = FILE_READ,
                                .file = file,
                                .offset = offset,
                                .data = data,
                                .size = size,
                                .token = token},
             NULL, NULL);
}
void sim_write(struct tt_io *io, tt_file file, uint64_t offset, const void *data, size_t size,
               uint64_t token)
{
    push_job(io,
             &(struct file_job){.kind = FILE_WRITE,
                                .file = file,
                                .offset = offset,
                                .data = (void *)(uintptr_t)data,
                                .size = size,
                                .token = token},
             NULL, NULL);
}
/* The page cache survives a kill: nothing is to be done. */
void sim_sync(struct tt_io *io, tt_file file, bool data_only, uint64_t token)
{
    (void)data_only;
    push_job(io, &(struct file_job){.kind = FILE_NOTHING, .file = file, .token = token}, NULL,
             NULL);
}
void sim_truncate(struct tt_io *io, tt_file file, uint64_t size, uint64_t token)
{
    push_job(io,
             &(struct file_job){.kind = FILE_TRUNCATE, .file = file, .size = size, .token = token},
             NULL, NULL);
}
void sim_rename(struct tt_io *io, const char *from, const char *to, uint64_t token)
{
    push_job(io, &(struct file_job){.kind = FILE_RENAME, .token = token}, from, to);
}
void sim_unlink(struct tt_io *io, const char *path, uint64_t token)
{
    push_job(io, &(struct file_job){.kind = FILE_UNLINK, .token = token}, path, NULL);
}

void sim_io_kill(struct tt_io *io)
{
    struct sim_io *e = sim_of(io);
    for (uint32_t i = 0; i < e->jobs_count; i++)
        if (e->jobs[i].kind != FILE_OPEN && sim_chance(&e->s->random, 2))
            (void)perform(e, &e->jobs[i]);
    e->jobs_count = 0;
    sim_files_close(e);
}

void sim_files_close(struct sim_io *e)
{
    for (int fd = 0; fd < (int)SIM_FILES_MAX; fd++)
        if (e->file_open[fd]) (void)close(fd);
}
