#include "shard/io/file_thread.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/base/assert.h"
#include "shard/io/backend.h"

#define SLICE_NS   100000u /* the shortest that there is */
#define RING       TT_IO_FILE_OPERATIONS_MAX
#define MODE       0640
#define LENGTH_MAX (1u << 30) /* as in the io_uring back end */

_Static_assert((RING & (RING - 1)) == 0, "indices are masked");

struct tt_file_thread {
    _Alignas(64) _Atomic uint32_t jobs_tail;    /* io's thread */
    _Alignas(64) _Atomic uint32_t jobs_head;    /* file thread */
    _Alignas(64) _Atomic uint32_t results_tail; /* file thread */
    uint32_t results_head;                      /* io's thread */
    uint32_t open;                              /* io's thread: jobs without a result taken */
    _Atomic bool stop;
    pthread_t thread;
    int work_fd, done_fd;
    struct tt_file_job jobs[RING];
    struct tt_file_result results[RING];
};

static void ring_bell(int fd)
{
    uint64_t one = 1;
    (void)!write(fd, &one, sizeof one);
}

static int64_t do_job(const struct tt_file_job *j)
{
    size_t length = j->size > LENGTH_MAX ? LENGTH_MAX : (size_t)j->size;
    switch (j->kind) {
    case TT_FILE_JOB_OPEN: return open(j->path, tt_io_system_open_flags(j->flags), MODE);
    case TT_FILE_JOB_CLOSE: return close(j->file);
    case TT_FILE_JOB_PREALLOCATE: return fallocate(j->file, 0, (off_t)j->offset, (off_t)j->size);
    case TT_FILE_JOB_READ: return pread(j->file, j->data, length, (off_t)j->offset);
    case TT_FILE_JOB_WRITE: return pwrite(j->file, j->data, length, (off_t)j->offset);
    case TT_FILE_JOB_SYNC: return fsync(j->file);
    case TT_FILE_JOB_SYNC_DATA: return fdatasync(j->file);
    case TT_FILE_JOB_TRUNCATE: return ftruncate(j->file, (off_t)j->size);
    case TT_FILE_JOB_RENAME: return rename(j->path, j->path2);
    case TT_FILE_JOB_UNLINK: return unlink(j->path);
    }
    TT_UNREACHABLE();
}

static void work(struct tt_file_thread *t, uint32_t head)
{
    const struct tt_file_job *job = &t->jobs[head % RING];
    int64_t n = -1;
    errno = EINTR;
    if (!job->interrupt) n = do_job(job);
    while (n < 0 && errno == EINTR) {
        /* A file whose close was interrupted is closed; its number may be another's by now. */
        n = job->kind == TT_FILE_JOB_CLOSE ? 0 : do_job(job);
    }
    int32_t result = n < 0 ? (int32_t)tt_io_status_of_errno(errno) : (int32_t)n;
    uint32_t tail = atomic_load_explicit(&t->results_tail, memory_order_relaxed); /* our own */
    t->results[tail % RING] =
        (struct tt_file_result){job->token, result, job->kind, job->path, job->path2};
    /* The slot of the job is free before its result shows; pairs with push(). */
    atomic_store_explicit(&t->jobs_head, head + 1, memory_order_release);
    /* Pairs with the acquire in take(): the result, and the bytes that were read. */
    atomic_store_explicit(&t->results_tail, tail + 1, memory_order_release);
    ring_bell(t->done_fd);
}

/* Its work is a few microseconds long and events wait for it. On a core that it shares with a busy
 * loop it would wait for the end of the loop's slice, milliseconds; whoever asks for a shorter
 * slice goes first when it wakes (Linux 6.12, sched(7), sched_setattr(2): sched_runtime). Older
 * kernels take no notice. */
static void ask_for_short_slices(void)
{
    struct { /* struct sched_attr: its header and older C libraries' define the same things */
        uint32_t size, sched_policy;
        uint64_t sched_flags;
        int32_t sched_nice;
        uint32_t sched_priority;
        uint64_t sched_runtime, sched_deadline, sched_period;
    } attr;
    if (syscall(SYS_sched_getattr, 0, &attr, sizeof attr, 0) != 0 || attr.sched_policy != 0) return;
    attr.sched_runtime = SLICE_NS;
    (void)syscall(SYS_sched_setattr, 0, &attr, 0);
}

static void *run(void *argument)
{
    struct tt_file_thread *t = argument;
    ask_for_short_slices();
    uint32_t head = 0;
    for (;;) {
        /* Pairs with push(): the job. */
        while (head != atomic_load_explicit(&t->jobs_tail, memory_order_acquire)) work(t, head++);
        if (atomic_load_explicit(&t->stop, memory_order_acquire) &&
            head == atomic_load_explicit(&t->jobs_tail, memory_order_acquire)) {
            return NULL;
        }
        uint64_t bells;
        (void)!read(t->work_fd, &bells, sizeof bells); /* sleeps until the next push */
    }
}

enum tt_status tt_file_thread_create(struct tt_file_thread **thread)
{
    *thread = NULL;
    struct tt_file_thread *t = aligned_alloc(64, sizeof *t);
    if (t == NULL) return TT_ENOMEM;
    memset(t, 0, sizeof *t);
    t->work_fd = eventfd(0, EFD_CLOEXEC);
    t->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int error = errno;
    if (t->work_fd < 0 || t->done_fd < 0) goto fail;
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&t->thread, NULL, run, t);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) goto fail;
    (void)pthread_setname_np(t->thread, "tt-files");
    *thread = t;
    return TT_OK;
fail:
    if (t->work_fd >= 0) (void)close(t->work_fd);
    if (t->done_fd >= 0) (void)close(t->done_fd);
    free(t);
    return tt_io_status_of_errno(error);
}

void tt_file_thread_destroy(struct tt_file_thread **thread)
{
    struct tt_file_thread *t = *thread;
    if (t == NULL) return;
    atomic_store_explicit(&t->stop, true, memory_order_release); /* pairs with run() */
    ring_bell(t->work_fd);
    (void)pthread_join(t->thread, NULL);
    struct tt_file_result result;
    while (tt_file_thread_take(t, &result)) {
        free(result.path);
        free(result.path2);
    }
    (void)close(t->work_fd);
    (void)close(t->done_fd);
    free(t);
    *thread = NULL;
}

int tt_file_thread_done_fd(const struct tt_file_thread *t)
{
    return t->done_fd;
}

void tt_file_thread_push(struct tt_file_thread *t, const struct tt_file_job *job)
{
    TT_ASSERT(t->open < RING);
    t->open++;
    uint32_t tail = atomic_load_explicit(&t->jobs_tail, memory_order_relaxed); /* our own */
    /* Pairs with work(): the slot was read before we write it again. */
    TT_ASSERT(tail - atomic_load_explicit(&t->jobs_head, memory_order_acquire) < RING);
    t->jobs[tail % RING] = *job;
    atomic_store_explicit(&t->jobs_tail, tail + 1, memory_order_release); /* pairs with run() */
    ring_bell(t->work_fd);
}

bool tt_file_thread_busy(const struct tt_file_thread *t)
{
    return t->open != 0;
}

bool tt_file_thread_take(struct tt_file_thread *t, struct tt_file_result *result)
{
    uint32_t tail = atomic_load_explicit(&t->results_tail, memory_order_acquire); /* see work() */
    if (t->results_head == tail) return false;
    *result = t->results[t->results_head % RING];
    t->results_head++;
    t->open--;
    return true;
}
