/* The thread that does the file work of one epoll io, because files have no readiness.
 *
 * The io's thread pushes jobs and takes results; the file thread does one job after the other, in
 * order. Two single-producer rings in C11 atomics and an eventfd each way; neither can fill,
 * because at most TT_IO_FILE_OPERATIONS_MAX jobs are open. Results are announced on `done_fd`, for
 * epoll. */
#ifndef TT_SHARD_IO_FILE_THREAD_H
#define TT_SHARD_IO_FILE_THREAD_H

#include "shard/io/io.h"

struct tt_file_thread;

enum tt_file_job_kind {
    TT_FILE_JOB_OPEN,
    TT_FILE_JOB_CLOSE,
    TT_FILE_JOB_PREALLOCATE,
    TT_FILE_JOB_READ,
    TT_FILE_JOB_WRITE,
    TT_FILE_JOB_SYNC,
    TT_FILE_JOB_SYNC_DATA,
    TT_FILE_JOB_TRUNCATE,
    TT_FILE_JOB_RENAME,
    TT_FILE_JOB_UNLINK,
};

struct tt_file_job {
    enum tt_file_job_kind kind;
    tt_file file;
    uint64_t token;
    uint64_t offset;
    uint64_t size;
    void *data;         /* borrowed until the result */
    char *path, *path2; /* allocated by the io's thread, freed by it with the result */
    uint32_t flags;
    bool interrupt; /* its first try ends with EINTR, in tests */
};

struct tt_file_result {
    uint64_t token;
    int32_t result;
    enum tt_file_job_kind kind;
    char *path, *path2;
};

/* Starts the thread (all signals blocked). TT_OK; TT_ENOMEM, TT_ENOFILE, TT_EIO. */
TT_MUST_USE enum tt_status tt_file_thread_create(struct tt_file_thread **thread);
/* Does what was pushed, then ends. */
void tt_file_thread_destroy(struct tt_file_thread **thread);
int tt_file_thread_done_fd(const struct tt_file_thread *thread);

/* Thread: the io's. */
void tt_file_thread_push(struct tt_file_thread *thread, const struct tt_file_job *job);
/* Something is under way, or waits to be taken. */
bool tt_file_thread_busy(const struct tt_file_thread *thread);
bool tt_file_thread_take(struct tt_file_thread *thread, struct tt_file_result *result);

#endif
