/* The epoll back end: for hosts and containers that forbid io_uring. Loop and wakes; sockets are in
 * epoll_sockets.c and epoll_accept.c, files in epoll_files.c. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "shard/io/epoll.h"

#define EVENTS_MAX 256
#define NS_PER_MS  UINT64_C(1000000)
#define NS_PER_S   UINT64_C(1000000000)

enum tt_status tt_epoll_watch(struct tt_io_epoll *e, int fd, uint32_t events, uint64_t data)
{
    struct epoll_event event = {.events = events | EPOLLET, .data.u64 = data};
    if (epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        return errno == ENOSPC ? TT_ENOFILE : tt_io_status_of_errno(errno);
    }
    return TT_OK;
}

/* ---- the loop ---- */

static void handle(struct tt_io_epoll *e, const struct epoll_event *event)
{
    uint64_t token = event->data.u64;
    uint32_t slot = tt_token_slot(token);
    switch ((enum epoll_kind)tt_token_operation(token)) {
    case EPOLL_SOCKET:
        tt_epoll_socket_event(e, tt_token_generation(token), slot, event->events);
        return;
    case EPOLL_LISTENER: tt_epoll_listener_event(e, slot); return;
    case EPOLL_FOREIGN: {
        struct epoll_foreign *f = &e->foreign[slot];
        if (!f->used || f->told || (f->generation & 0xFFFFFFu) != tt_token_generation(token)) {
            return;
        }
        f->told = true;
        epoll_make(e, f->token, (int32_t)f->generation, slot, EPOLL_MADE_FOREIGN);
        return;
    }
    case EPOLL_WAKE:
        /* Acquire pairs with the exchange in wake(): who skips its wake because this flag was set
         * has written before that, and we look at its writes after this. */
        (void)atomic_exchange_explicit(&e->wake_pending, 0, memory_order_acq_rel);
        return;
    case EPOLL_FILES: e->files_ready = true; return;
    }
    TT_UNREACHABLE();
}

/* Something can be reaped without waiting. */
static bool is_waiting(const struct tt_io_epoll *e)
{
    return !tt_io_made_empty(&e->made) || !tt_io_made_empty(&e->reads) || e->listeners_ready != 0 ||
           e->files_ready || (e->ready_first != EPOLL_NONE && e->buffers_free_count != 0);
}

/* Rounded up: a wait that ended early would only be repeated. */
static int timeout_ms(uint64_t ns)
{
    uint64_t ms = ns / NS_PER_MS + (ns % NS_PER_MS != 0);
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

/* Waits at most so many nanoseconds; UINT64_MAX: for ever. Kernels before 5.11, and profiles that
 * forbid what they do not know, have whole milliseconds only. */
static int wait_for(struct tt_io_epoll *e, struct epoll_event *events, uint64_t ns)
{
    if (ns == 0) return epoll_wait(e->epoll_fd, events, EVENTS_MAX, 0);
    if (ns == UINT64_MAX) return epoll_wait(e->epoll_fd, events, EVENTS_MAX, -1);
    if (!e->coarse) {
        struct timespec t = {.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};
        int n = epoll_pwait2(e->epoll_fd, events, EVENTS_MAX, &t, NULL);
        if (n >= 0 || (errno != ENOSYS && errno != EPERM)) return n;
        e->coarse = true;
    }
    return epoll_wait(e->epoll_fd, events, EVENTS_MAX, timeout_ms(ns));
}

static void epoll_submit(struct tt_io *io, uint64_t deadline)
{
    struct tt_io_epoll *e = epoll_of(io);
    struct epoll_event events[EVENTS_MAX];
    e->base.figures.submits++;
    e->sends_queued = 0;
    e->reads_due = e->reads.tail - e->reads.head;
    bool waits = deadline != 0 && !is_waiting(e);
    uint64_t now = waits ? tt_io_clock_ns(io) : 0;
    uint64_t ns = !waits || deadline <= now ? 0 : deadline - now;
    if (waits && deadline == UINT64_MAX) ns = UINT64_MAX;
    if (ns == 0 && e->files != NULL && tt_file_thread_busy(e->files)) tt_io_yield_to_files();
    int n = wait_for(e, events, ns);
    if (waits) e->base.figures.wait_ns += tt_io_clock_ns(io) - now;
    for (int i = 0; i < n; i++) handle(e, &events[i]);
}

static unsigned epoll_reap(struct tt_io *io, struct tt_done *done, unsigned max)
{
    struct tt_io_epoll *e = epoll_of(io);
    unsigned count = 0;
    while (count < max && !tt_io_made_empty(&e->made)) {
        struct tt_io_made made = tt_io_made_take(&e->made);
        if (tt_epoll_made_done(e, &made, &done[count])) count++;
    }
    count += tt_epoll_files_done(e, done + count, max - count);
    count += tt_epoll_accept_ready(e, done + count, max - count);
    count += tt_epoll_receive(e, done + count, max - count);
    e->base.figures.completions += count;
    return count;
}

/* ---- wakes ---- */

/* An eventfd that is watched edge triggered: it is written and never read. */
static void epoll_wake_from_outside(struct tt_io *other)
{
    struct tt_io_epoll *e = epoll_of(other);
    if (atomic_exchange_explicit(&e->wake_pending, 1, memory_order_acq_rel) != 0) return;
    uint64_t one = 1;
    (void)!write(e->wake_fd, &one, sizeof one);
}

static void epoll_wake(struct tt_io *self, struct tt_io *other)
{
    (void)self;
    epoll_wake_from_outside(other);
}

/* ---- foreign descriptors ---- */

static void epoll_poll_in(struct tt_io *io, int foreign, uint64_t token)
{
    struct tt_io_epoll *e = epoll_of(io);
    uint32_t index = 0;
    while (index < TT_IO_FOREIGN_MAX && e->foreign[index].used) index++;
    TT_ASSERT(index < TT_IO_FOREIGN_MAX);
    struct epoll_foreign *f = &e->foreign[index];
    uint32_t generation = (f->generation + 1) & 0xFFFFFFu;
    enum tt_status status =
        tt_epoll_watch(e, foreign, EPOLLIN, tt_token(EPOLL_FOREIGN, generation, index));
    if (status != TT_OK) {
        epoll_make(e, token, (int32_t)status, TT_SOCKET_NONE, EPOLL_MADE_PLAIN);
        return;
    }
    *f = (struct epoll_foreign){
        .token = token, .fd = foreign, .generation = generation, .used = true};
}

static void epoll_poll_in_stop(struct tt_io *io, int foreign)
{
    struct tt_io_epoll *e = epoll_of(io);
    for (uint32_t i = 0; i < TT_IO_FOREIGN_MAX; i++) {
        struct epoll_foreign *f = &e->foreign[i];
        if (!f->used || f->fd != foreign) continue;
        (void)epoll_ctl(e->epoll_fd, EPOLL_CTL_DEL, foreign, NULL);
        f->used = false;
    }
}

/* ---- life ---- */

static uint32_t epoll_sockets_max(const struct tt_io *io)
{
    return ((const struct tt_io_epoll *)(const void *)io)->sockets_max;
}

static void epoll_destroy(struct tt_io *io)
{
    struct tt_io_epoll *e = epoll_of(io);
    tt_file_thread_destroy(&e->files);
    tt_epoll_accept_deinit(e);
    tt_epoll_sockets_deinit(e);
    tt_io_made_deinit(&e->made);
    tt_io_made_deinit(&e->reads);
    if (e->wake_fd >= 0) (void)close(e->wake_fd);
    if (e->epoll_fd >= 0) (void)close(e->epoll_fd);
    free(e);
}

static const struct tt_io_ops epoll_ops = {
    .name = "epoll",
    .destroy = epoll_destroy,
    .sockets_max = epoll_sockets_max,
    .sockets_shared = true,
    .submit = epoll_submit,
    .reap = epoll_reap,
    .wake = epoll_wake,
    .wake_from_outside = epoll_wake_from_outside,
    .now_ns = tt_io_clock_ns,
    .wall_us = tt_io_clock_wall_us,
    .random = tt_io_system_random,
    .listen = tt_epoll_listen,
    .accept = tt_epoll_accept,
    .accept_stop = tt_epoll_accept_stop,
    .refuse_waiting = tt_epoll_refuse_waiting,
    .handoff = tt_io_system_handoff,
    .refuse = tt_io_system_refuse,
    .adopt = tt_epoll_adopt,
    .connect = tt_epoll_connect,
    .recv = tt_epoll_recv,
    .recv_pause = tt_epoll_recv_pause,
    .buffer_return = tt_epoll_buffer_return,
    .send = tt_epoll_send,
    .sends_full = tt_epoll_sends_full,
    .poll_out = tt_epoll_poll_out,
    .poll_in = epoll_poll_in,
    .poll_in_stop = epoll_poll_in_stop,
    .shutdown_send = tt_epoll_shutdown_send,
    .close = tt_epoll_close,
    .open = tt_epoll_open,
    .file_close = tt_epoll_file_close,
    .preallocate = tt_epoll_preallocate,
    .read = tt_epoll_read,
    .write = tt_epoll_write,
    .sync = tt_epoll_sync,
    .truncate = tt_epoll_truncate,
    .rename = tt_epoll_rename,
    .unlink = tt_epoll_unlink,
};

static enum tt_status watch_own(struct tt_io_epoll *e)
{
    enum tt_status status = tt_epoll_watch(e, e->wake_fd, EPOLLIN, tt_token(EPOLL_WAKE, 0, 0));
    if (status != TT_OK || e->files == NULL) return status;
    return tt_epoll_watch(e, tt_file_thread_done_fd(e->files), EPOLLIN,
                          tt_token(EPOLL_FILES, 0, 0));
}

enum tt_status tt_io_epoll_create(struct tt_io **io, const struct tt_io_options *options, char *why,
                                  size_t why_bytes)
{
    uint32_t descriptors = tt_io_raise_descriptor_limit();
    struct tt_io_epoll *e = aligned_alloc(64, sizeof *e);
    if (e == NULL) return TT_ENOMEM;
    memset(e, 0, sizeof *e);
    e->base.ops = &epoll_ops;
    e->reserve = -1;
    atomic_init(&e->wake_pending, 0);
    e->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    e->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    e->files_max = options->files_max;
    enum tt_status status = TT_OK;
    if (e->epoll_fd < 0 || e->wake_fd < 0) status = tt_io_status_of_errno(errno);
    if (status == TT_OK) status = tt_epoll_sockets_init(e, options, descriptors);
    /* A socket has at most a send, a pause and a poll or the close waiting. */
    if (status == TT_OK) status = tt_io_made_init(&e->made, 4 * e->sockets_max + 1024);
    if (status == TT_OK) status = tt_io_made_init(&e->reads, TT_IO_FILE_OPERATIONS_MAX);
    if (status == TT_OK && options->files_max != 0) status = tt_file_thread_create(&e->files);
    if (status == TT_OK) status = watch_own(e);
    if (status != TT_OK) {
        (void)snprintf(why, why_bytes, "epoll: %s", tt_status_text(status));
        epoll_destroy(&e->base);
        return status;
    }
    *io = &e->base;
    return TT_OK;
}
