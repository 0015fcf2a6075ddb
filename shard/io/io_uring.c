/* The io_uring back end: ring, loop, wakes. Sockets are in uring_sockets.c and uring_accept.c,
 * files in uring_files.c.
 *
 * Flags: SINGLE_ISSUER and DEFER_TASKRUN, so that completions are made by our own thread when it
 * asks for them and never interrupt a turn; SUBMIT_ALL, so that one bad entry does not hold up
 * those behind it; CQSIZE, so that every socket can have a completion waiting. With DEFER_TASKRUN
 * nothing appears without IORING_ENTER_GETEVENTS: every submit asks. */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "shard/io/uring.h"

#define SQ_ENTRIES       1024u
#define CQ_ENTRIES_MIN   4096u
#define CQ_ENTRIES_LEAST 1024u /* what locked memory must allow; overflow heals */
#define CQ_ENTRIES_MAX   65536u
#define NS_PER_S         UINT64_C(1000000000)
#define TRIES_MAX        1000000u

/* ---- submitting ---- */

void tt_uring_flush(struct tt_io_uring *u)
{
    for (uint32_t tries = 0; io_uring_sq_ready(&u->ring) != 0; tries++) {
        int result = io_uring_submit(&u->ring);
        if (result >= 0) continue;
        /* EAGAIN: the kernel is out of memory for requests; EBUSY: completions wait for room. */
        TT_ASSERT(result == -EAGAIN || result == -EBUSY || result == -EINTR);
        TT_ASSERT(tries < TRIES_MAX);
        (void)io_uring_get_events(&u->ring);
        (void)sched_yield();
    }
}

struct io_uring_sqe *tt_uring_sqe(struct tt_io_uring *u, enum uring_kind kind, uint32_t generation,
                                  uint32_t slot)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
    if (sqe == NULL) {
        tt_uring_flush(u);
        sqe = io_uring_get_sqe(&u->ring);
        TT_ASSERT(sqe != NULL);
    }
    sqe->user_data = uring_data(kind, generation, slot);
    if (kind != URING_NOTHING) u->inflight++;
    return sqe;
}

static void count_overflow(struct tt_io_uring *u)
{
    if (io_uring_cq_has_overflow(&u->ring)) u->base.figures.overflows++;
}

static void wait_until(struct tt_io_uring *u, uint64_t now, uint64_t deadline)
{
    struct __kernel_timespec ts = {0};
    struct __kernel_timespec *timeout = NULL;
    if (deadline != UINT64_MAX) {
        uint64_t left = deadline - now;
        ts.tv_sec = (int64_t)(left / NS_PER_S);
        ts.tv_nsec = (long long)(left % NS_PER_S);
        timeout = &ts;
    }
    struct io_uring_cqe *cqe;
    (void)io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, timeout, NULL);
    u->base.figures.wait_ns += tt_io_clock_ns(&u->base) - now;
}

static void uring_submit(struct tt_io *io, uint64_t deadline)
{
    struct tt_io_uring *u = uring_of(io);
    u->base.figures.submits++;
    tt_uring_accept_before_submit(u);
    tt_uring_sockets_before_submit(u);
    bool waiting = !tt_io_made_empty(&u->made) || io_uring_cq_ready(&u->ring) != 0;
    uint64_t now = deadline == 0 || waiting ? 0 : tt_io_clock_ns(io);
    if (deadline == 0 || waiting || now >= deadline) {
        if (u->files_working != 0) {
            (void)io_uring_submit(&u->ring);
            tt_io_yield_to_files();
        }
        (void)io_uring_submit_and_get_events(&u->ring);
    } else {
        wait_until(u, now, deadline);
    }
    /* What an interrupted or refused enter has left. Slices are promised to be free after this. */
    tt_uring_flush(u);
    count_overflow(u);
    u->sends_queued = 0;
}

/* ---- completions ---- */

static void arm_foreign(struct tt_io_uring *u, uint32_t index)
{
    struct uring_foreign *f = &u->foreign[index];
    struct io_uring_sqe *sqe = tt_uring_sqe(u, URING_FOREIGN, f->generation, index);
    io_uring_prep_poll_multishot(sqe, f->fd, EPOLLIN | EPOLLET);
}

static void arm_wake(struct tt_io_uring *u)
{
    io_uring_prep_poll_multishot(tt_uring_sqe(u, URING_WAKE, 0, 0), u->wake_fd, EPOLLIN | EPOLLET);
}

static bool foreign_done(struct tt_io_uring *u, const struct io_uring_cqe *cqe,
                         struct tt_done *done)
{
    uint32_t index = tt_token_slot(cqe->user_data);
    struct uring_foreign *f = &u->foreign[index];
    if (!f->used || (f->generation & 0xFFFFFFu) != tt_token_generation(cqe->user_data)) {
        return false;
    }
    *done = (struct tt_done){.token = f->token, .flags = TT_DONE_MORE};
    if ((cqe->flags & IORING_CQE_F_MORE) == 0) {
        if (cqe->res < 0 && cqe->res != -ECANCELED) {
            f->used = false;
            done->flags = 0;
            done->result = (int32_t)tt_io_status_of_errno(-cqe->res);
            return true;
        }
        arm_foreign(u, index);
    }
    return true;
}

static bool completed(struct tt_io_uring *u, const struct io_uring_cqe *cqe, struct tt_done *done)
{
    enum uring_kind kind = (enum uring_kind)tt_token_operation(cqe->user_data);
    bool more = (cqe->flags & IORING_CQE_F_MORE) != 0;
    if (kind == URING_NOTHING) return false;
    if (!more) u->inflight--;
    u->base.figures.completions++;
    switch (kind) {
    case URING_RECV:
    case URING_OUT:
    case URING_SEND:
    case URING_SHUTDOWN:
    case URING_DISCONNECT:
    case URING_CLOSE: return tt_uring_socket_done(u, cqe, done);
    case URING_ADOPT:
    case URING_CONNECT:
    case URING_ACCEPT: return tt_uring_accept_done(u, cqe, done);
    case URING_FOREIGN: return foreign_done(u, cqe, done);
    case URING_WAKE:
        /* Acquire pairs with the exchange in wake(): who skips its wake because this flag was set
         * has written before that, and we look at its writes after this. */
        (void)atomic_exchange_explicit(&u->wake_pending, 0, memory_order_acq_rel);
        if (!more) arm_wake(u);
        return false;
    case URING_FILE: return tt_uring_file_done(u, cqe, done);
    case URING_NOTHING: return false;
    }
    TT_UNREACHABLE();
}

static unsigned uring_reap(struct tt_io *io, struct tt_done *done, unsigned max)
{
    struct tt_io_uring *u = uring_of(io);
    unsigned count = 0;
    while (count < max) {
        if (!tt_io_made_empty(&u->made)) {
            struct tt_io_made made = tt_io_made_take(&u->made);
            if (tt_uring_made_done(u, &made, &done[count])) count++;
            continue;
        }
        struct io_uring_cqe *next;
        if (io_uring_cq_ready(&u->ring) == 0 || io_uring_peek_cqe(&u->ring, &next) != 0) break;
        /* Copied and released first: handling it may submit, which may need the room. */
        struct io_uring_cqe cqe = *next;
        io_uring_cqe_seen(&u->ring, next);
        if (completed(u, &cqe, &done[count])) count++;
    }
    return count;
}

/* ---- wakes ---- */

/* An eventfd that the ring polls, edge triggered: it is written and never read. */
static void uring_wake_from_outside(struct tt_io *other)
{
    struct tt_io_uring *u = uring_of(other);
    if (atomic_exchange_explicit(&u->wake_pending, 1, memory_order_acq_rel) != 0) return;
    uint64_t one = 1;
    (void)!write(u->wake_fd, &one, sizeof one);
}

static void uring_wake(struct tt_io *self, struct tt_io *other)
{
    (void)self;
    uring_wake_from_outside(other);
}

/* ---- foreign descriptors ---- */

static void uring_poll_in(struct tt_io *io, int foreign, uint64_t token)
{
    struct tt_io_uring *u = uring_of(io);
    uint32_t index = 0;
    while (index < TT_IO_FOREIGN_MAX && u->foreign[index].used) index++;
    TT_ASSERT(index < TT_IO_FOREIGN_MAX);
    struct uring_foreign *f = &u->foreign[index];
    *f = (struct uring_foreign){token, foreign, f->generation + 1, true};
    arm_foreign(u, index);
}

static void uring_poll_in_stop(struct tt_io *io, int foreign)
{
    struct tt_io_uring *u = uring_of(io);
    for (uint32_t i = 0; i < TT_IO_FOREIGN_MAX; i++) {
        struct uring_foreign *f = &u->foreign[i];
        if (!f->used || f->fd != foreign) continue;
        struct io_uring_sqe *sqe = tt_uring_sqe(u, URING_NOTHING, 0, 0);
        io_uring_prep_cancel64(sqe, uring_data(URING_FOREIGN, f->generation, i), 0);
        sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
        f->used = false;
        f->generation++;
        tt_uring_flush(u); /* the descriptor may be closed when this returns */
    }
}

/* ---- life ---- */

static uint32_t uring_sockets_max(const struct tt_io *io)
{
    return ((const struct tt_io_uring *)(const void *)io)->sockets_max;
}

#define FEW 64u /* requests that a cancel of everything may search */

/* Takes what has completed, without looking at what it was for. */
static void drop_completions(struct tt_io_uring *u)
{
    struct io_uring_cqe *cqe;
    unsigned head;
    unsigned seen = 0;
    io_uring_for_each_cqe(&u->ring, head, cqe)
    {
        seen++;
        enum uring_kind kind = (enum uring_kind)tt_token_operation(cqe->user_data);
        if (kind == URING_NOTHING) continue;
        if ((cqe->flags & IORING_CQE_F_MORE) == 0) u->inflight--;
        if (kind == URING_ACCEPT && cqe->res >= 0) (void)close(cqe->res);
    }
    io_uring_cq_advance(&u->ring, seen);
}

/* Ends what waits on sockets, one by one: a cancel that matches everything searches all requests
 * again for each that it finds, which takes minutes with some ten thousand sockets. */
static void shut_sockets(struct tt_io_uring *u)
{
    for (uint32_t i = 0; i < u->sockets_max; i++) {
        if (u->sockets[i].inflight != 0) {
            struct io_uring_sqe *sqe = tt_uring_sqe(u, URING_NOTHING, 0, 0);
            io_uring_prep_shutdown(sqe, (int)i, SHUT_RDWR);
            sqe->flags |= IOSQE_FIXED_FILE | IOSQE_CQE_SKIP_SUCCESS;
        }
        if (i % 64 != 0) continue;
        (void)io_uring_submit_and_get_events(&u->ring);
        drop_completions(u);
    }
}

static void wait_10_ms(struct tt_io_uring *u)
{
    struct __kernel_timespec ts = {.tv_nsec = 10 * 1000 * 1000};
    struct io_uring_cqe *cqe;
    (void)io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, &ts, NULL);
    drop_completions(u);
}

/* Ends everything and waits until the kernel holds nothing of ours: it must not write into memory
 * that is freed next. */
static void quiesce(struct tt_io_uring *u)
{
    shut_sockets(u);
    if (u->inflight != 0) wait_10_ms(u); /* files that are being closed are not to be cancelled */
    /* The kernel's workers shut sockets down: as long as that goes on, it only has to be waited
     * for. */
    for (uint32_t idle = 0; u->inflight > FEW && idle < 100;) {
        uint64_t before = u->inflight;
        wait_10_ms(u);
        idle = u->inflight == before ? idle + 1 : 0;
    }
    for (uint32_t round = 0; u->inflight != 0 && round < 1000; round++) {
        struct io_uring_sqe *sqe = tt_uring_sqe(u, URING_NOTHING, 0, 0);
        io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY);
        wait_10_ms(u);
    }
}

static void uring_free(struct tt_io_uring *u)
{
    if (u->ring.ring_fd >= 0) io_uring_queue_exit(&u->ring);
    tt_uring_accept_deinit(u);
    tt_uring_sockets_deinit(u);
    tt_io_made_deinit(&u->made);
    tt_uring_files_deinit(u);
    if (u->wake_fd >= 0) (void)close(u->wake_fd);
    free(u);
}

static void uring_quiesce(struct tt_io *io)
{
    struct tt_io_uring *u = uring_of(io);
    quiesce(u);
    (void)io_uring_unregister_files(&u->ring); /* closes the sockets now, not some time later */
    /* The registration is this thread's; another that frees the ring would take back its own. */
    (void)io_uring_unregister_ring_fd(&u->ring);
}

static void uring_destroy(struct tt_io *io)
{
    uring_free(uring_of(io));
}

static const struct tt_io_ops uring_ops = {
    .name = "io_uring",
    .quiesce = uring_quiesce,
    .destroy = uring_destroy,
    .sockets_max = uring_sockets_max,
    .sockets_shared = false,
    .submit = uring_submit,
    .reap = uring_reap,
    .wake = uring_wake,
    .wake_from_outside = uring_wake_from_outside,
    .now_ns = tt_io_clock_ns,
    .wall_us = tt_io_clock_wall_us,
    .random = tt_io_system_random,
    .listen = tt_uring_listen,
    .accept = tt_uring_accept,
    .accept_stop = tt_uring_accept_stop,
    .refuse_waiting = tt_uring_refuse_waiting,
    .handoff = tt_io_system_handoff,
    .refuse = tt_io_system_refuse,
    .adopt = tt_uring_adopt,
    .connect = tt_uring_connect,
    .recv = tt_uring_recv,
    .recv_pause = tt_uring_recv_pause,
    .buffer_return = tt_uring_buffer_return,
    .send = tt_uring_send,
    .sends_full = tt_uring_sends_full,
    .poll_out = tt_uring_poll_out,
    .poll_in = uring_poll_in,
    .poll_in_stop = uring_poll_in_stop,
    .shutdown_send = tt_uring_shutdown_send,
    .close = tt_uring_close,
    .open = tt_uring_open,
    .file_close = tt_uring_file_close,
    .preallocate = tt_uring_preallocate,
    .read = tt_uring_read,
    .write = tt_uring_write,
    .sync = tt_uring_sync,
    .truncate = tt_uring_truncate,
    .rename = tt_uring_rename,
    .unlink = tt_uring_unlink,
};

/* The ring, with a completion queue as large as locked memory allows, down to CQ_ENTRIES_LEAST. */
static int create_ring(struct io_uring *ring, uint32_t sockets)
{
    uint32_t cq = CQ_ENTRIES_MIN;
    while (cq < sockets + CQ_ENTRIES_MIN / 2 && cq < CQ_ENTRIES_MAX) cq <<= 1;
    uint32_t sq = SQ_ENTRIES;
    for (;;) {
        struct io_uring_params params = {
            .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                     IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
            .cq_entries = cq,
        };
        int result = io_uring_queue_init_params(sq, ring, &params);
        if (result == 0 || result != -ENOMEM || cq == CQ_ENTRIES_LEAST) return result;
        cq >>= 1;
        if (sq > 256) sq >>= 1;
    }
}

static const char *reason_of(int error)
{
    switch (error) {
    case ENOMEM: return "locked memory (RLIMIT_MEMLOCK) is used up";
    case EPERM: return "the system forbids it (kernel.io_uring_disabled, or a seccomp profile)";
    case ENOSYS: return "the kernel does not have it, or a seccomp profile hides it";
    case EINVAL: return "the kernel is too old (6.1 is needed)";
    default: return strerror(error);
    }
}

enum tt_status tt_io_uring_create(struct tt_io **io, const struct tt_io_options *options, char *why,
                                  size_t why_bytes)
{
    uint32_t descriptors = tt_io_raise_descriptor_limit();
    struct tt_io_uring *u = aligned_alloc(64, sizeof *u);
    if (u == NULL) return TT_ENOMEM;
    memset(u, 0, sizeof *u);
    u->base.ops = &uring_ops;
    u->ring.ring_fd = -1;
    u->wake_fd = u->reserve = -1;
    u->pending_free = u->adopt_first = u->adopt_last = URING_NONE;
    atomic_init(&u->wake_pending, 0);
    const char *step = "the ring";
    uint32_t sockets = options->sockets_max < descriptors ? options->sockets_max : descriptors;
    int error = -create_ring(&u->ring, sockets);
    enum tt_status status = tt_io_status_of_errno(error);
    if (error != 0) {
        u->ring.ring_fd = -1;
        goto fail;
    }
    (void)io_uring_register_ring_fd(&u->ring); /* saves a look-up in each enter; may be refused */
    step = "the table of sockets and the receive buffers";
    status = tt_uring_sockets_init(u, options, descriptors);
    if (status != TT_OK) goto fail;
    step = "memory";
    status = tt_uring_accept_init(u, descriptors);
    if (status != TT_OK) goto fail;
    status = tt_io_made_init(&u->made, 2 * u->sockets_max + descriptors + 512);
    if (status != TT_OK) goto fail;
    step = "an eventfd";
    u->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (u->wake_fd < 0) {
        error = errno;
        status = tt_io_status_of_errno(error);
        goto fail;
    }
    tt_uring_files_init(u, options);
    arm_wake(u);
    tt_uring_flush(u); /* so that a wake is noticed from now on */
    *io = &u->base;
    return TT_OK;
fail:
    (void)snprintf(why, why_bytes, "io_uring: %s: %s", step,
                   error != 0 ? reason_of(error) : tt_status_text(status));
    uring_free(u);
    if (status == TT_EACCES || status == TT_EINVAL) status = TT_EUNSUPPORTED;
    return status;
}
