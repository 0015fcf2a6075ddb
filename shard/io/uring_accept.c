/* io_uring: listeners, handed-over connections and their way into the table, connecting. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shard/io/uring.h"

static void make(struct tt_io_uring *u, uint64_t token, int32_t result)
{
    struct tt_io_made made = {.token = token, .result = result, .slot = TT_SOCKET_NONE};
    tt_io_made_push(&u->made, &made);
}

/* Requests of io_uring on a non-blocking descriptor fail at once instead of waiting. */
static void make_blocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0) (void)fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
}

/* ---- listeners ---- */

static struct uring_listener *listener_of(struct tt_io_uring *u, tt_socket listener)
{
    uint32_t index = listener & ~URING_LISTENER;
    TT_ASSERT((listener & URING_LISTENER) != 0 && index < TT_IO_LISTENERS_MAX);
    TT_ASSERT(u->listeners[index].used);
    return &u->listeners[index];
}

enum tt_status tt_uring_listen(struct tt_io *io, struct tt_address *address,
                               const struct tt_listen_options *options, tt_socket *listener)
{
    struct tt_io_uring *u = uring_of(io);
    uint32_t index = 0;
    while (index < TT_IO_LISTENERS_MAX && u->listeners[index].used) index++;
    if (index == TT_IO_LISTENERS_MAX) return TT_ENOMEM;
    int fd = -1;
    enum tt_status status = tt_io_system_listen(address, options, &fd);
    if (status != TT_OK) return status;
    make_blocking(fd);
    if (u->reserve < 0) u->reserve = tt_io_system_reserve();
    u->listeners[index] = (struct uring_listener){.fd = fd, .used = true};
    *listener = URING_LISTENER | index;
    return TT_OK;
}

static void arm_accept(struct tt_io_uring *u, struct uring_listener *l)
{
    uint32_t index = (uint32_t)(l - u->listeners);
    struct io_uring_sqe *sqe = tt_uring_sqe(u, URING_ACCEPT, 0, index);
    io_uring_prep_multishot_accept(sqe, l->fd, NULL, NULL, SOCK_CLOEXEC);
    l->armed = true;
}

void tt_uring_accept(struct tt_io *io, tt_socket listener, uint64_t token)
{
    struct tt_io_uring *u = uring_of(io);
    struct uring_listener *l = listener_of(u, listener);
    TT_ASSERT(!l->armed && !l->stopping);
    l->token = token;
    arm_accept(u, l);
}

static void forget(struct uring_listener *l)
{
    (void)close(l->fd);
    *l = (struct uring_listener){.fd = -1};
}

void tt_uring_accept_stop(struct tt_io *io, tt_socket listener)
{
    struct tt_io_uring *u = uring_of(io);
    struct uring_listener *l = listener_of(u, listener);
    if (l->stopping) return;
    if (!l->armed) {
        forget(l);
        return;
    }
    l->stopping = true;
    struct io_uring_sqe *sqe = tt_uring_sqe(u, URING_NOTHING, 0, 0);
    io_uring_prep_cancel64(sqe, uring_data(URING_ACCEPT, 0, (uint32_t)(l - u->listeners)), 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
}

unsigned tt_uring_refuse_waiting(struct tt_io *io, tt_socket listener, struct tt_bytes answer,
                                 unsigned max)
{
    struct tt_io_uring *u = uring_of(io);
    return tt_io_system_refuse_waiting(listener_of(u, listener)->fd, &u->reserve, answer, max);
}

/* Errors of one connection, not of the listener: accept(2), "Error handling". */
static bool is_passing(int error)
{
    switch (error) {
    case EAGAIN:
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ECANCELED: return true;
    default: return false;
    }
}

static bool accept_done(struct tt_io_uring *u, const struct io_uring_cqe *cqe, struct tt_done *done)
{
    struct uring_listener *l = &u->listeners[tt_token_slot(cqe->user_data)];
    bool ended = (cqe->flags & IORING_CQE_F_MORE) == 0;
    if (ended) l->armed = false;
    done->token = l->token;
    if (cqe->res >= 0) {
        done->result = cqe->res;
        done->flags = TT_DONE_MORE;
        if (ended && l->stopping) make(u, l->token, TT_ECANCELED);
        if (ended && !l->stopping) arm_accept(u, l);
        if (ended && l->stopping) forget(l);
        return true;
    }
    if (!ended) return false;
    if (!l->stopping && is_passing(-cqe->res)) {
        arm_accept(u, l);
        return false;
    }
    done->result = l->stopping ? (int32_t)TT_ECANCELED : (int32_t)tt_io_status_of_errno(-cqe->res);
    if (l->stopping) forget(l);
    return true;
}

/* ---- into the table ---- */

static uint32_t pending_take(struct tt_io_uring *u, int fd, uint64_t token)
{
    uint32_t index = u->pending_free;
    if (index == URING_NONE) {
        TT_ASSERT(u->pending_used < u->pending_max); /* each holds a descriptor */
        index = u->pending_used++;
    } else {
        u->pending_free = u->pending[index].next;
    }
    u->pending[index] = (struct uring_pending){.token = token, .fd = fd, .next = URING_NONE};
    return index;
}

static void pending_put(struct tt_io_uring *u, uint32_t index)
{
    u->pending[index] = (struct uring_pending){.fd = -1, .next = u->pending_free};
    u->pending_free = index;
}

static void queue_adoption(struct tt_io_uring *u, uint32_t index)
{
    u->pending[index].next = URING_NONE;
    if (u->adopt_last != URING_NONE) {
        u->pending[u->adopt_last].next = index;
    } else {
        u->adopt_first = index;
    }
    u->adopt_last = index;
}

void tt_uring_adopt(struct tt_io *io, struct tt_handoff *handoff, uint64_t token)
{
    struct tt_io_uring *u = uring_of(io);
    TT_ASSERT(handoff->reference >= 0);
    queue_adoption(u, pending_take(u, handoff->reference, token));
    handoff->reference = -1;
}

/* One update of the table for each submit. The kernel overwrites the array with slot numbers, so
 * the descriptors to close are remembered in `pending`. */
void tt_uring_accept_before_submit(struct tt_io_uring *u)
{
    if (u->batch_count != 0 || u->adopt_first == URING_NONE) return;
    while (u->adopt_first != URING_NONE && u->batch_count < URING_ADOPT_BATCH) {
        uint32_t index = u->adopt_first;
        u->adopt_first = u->pending[index].next;
        u->batch[u->batch_count] = index;
        u->batch_fds[u->batch_count++] = u->pending[index].fd;
    }
    if (u->adopt_first == URING_NONE) u->adopt_last = URING_NONE;
    struct io_uring_sqe *sqe = tt_uring_sqe(u, URING_ADOPT, 0, 0);
    io_uring_prep_files_update(sqe, u->batch_fds, u->batch_count, 0);
    sqe->off = IORING_FILE_INDEX_ALLOC;
}

static void adopt_done(struct tt_io_uring *u, int32_t result)
{
    uint32_t taken = result > 0 ? (uint32_t)result : 0;
    for (uint32_t i = 0; i < u->batch_count; i++) {
        struct uring_pending *p = &u->pending[u->batch[i]];
        (void)close(p->fd);
        if (i >= taken) {
            make(u, p->token, TT_ENOFILE);
        } else {
            uint32_t slot = (uint32_t)u->batch_fds[i];
            TT_ASSERT(slot < u->sockets_max && u->sockets[slot].flags == 0);
            u->sockets[slot] = (struct uring_socket){
                .generation = u->sockets[slot].generation,
                .flags = SOCKET_OPEN,
            };
            u->base.figures.sockets_open++;
            make(u, p->token, (int32_t)slot);
        }
        pending_put(u, u->batch[i]);
    }
    u->batch_count = 0;
}

/* ---- connecting: on a plain descriptor, because the kernel takes options of table entries only
 * from 6.7 on; then as if it had been handed over ---- */

void tt_uring_connect(struct tt_io *io, const struct tt_address *local,
                      const struct tt_address *remote, const struct tt_listen_options *options,
                      uint64_t token)
{
    struct tt_io_uring *u = uring_of(io);
    int fd = -1;
    bool connected = false;
    enum tt_status status = tt_io_system_connect(local, remote, options, &fd, &connected);
    if (status != TT_OK) {
        make(u, token, (int32_t)status);
        return;
    }
    make_blocking(fd);
    uint32_t index = pending_take(u, fd, token);
    if (connected) {
        queue_adoption(u, index);
        return;
    }
    io_uring_prep_poll_add(tt_uring_sqe(u, URING_CONNECT, 0, index), fd, POLLOUT);
}

static void connect_done(struct tt_io_uring *u, uint32_t index)
{
    struct uring_pending *p = &u->pending[index];
    enum tt_status status = tt_io_system_connect_result(p->fd);
    if (status == TT_OK) {
        queue_adoption(u, index);
        return;
    }
    (void)close(p->fd);
    make(u, p->token, (int32_t)status);
    pending_put(u, index);
}

bool tt_uring_accept_done(struct tt_io_uring *u, const struct io_uring_cqe *cqe,
                          struct tt_done *done)
{
    *done = (struct tt_done){0};
    switch ((int)tt_token_operation(cqe->user_data)) {
    case URING_ACCEPT: return accept_done(u, cqe, done);
    case URING_ADOPT: adopt_done(u, cqe->res); return false;
    case URING_CONNECT: connect_done(u, tt_token_slot(cqe->user_data)); return false;
    default: TT_UNREACHABLE();
    }
}

/* ---- life ---- */

enum tt_status tt_uring_accept_init(struct tt_io_uring *u, uint32_t descriptors)
{
    u->pending = calloc(descriptors, sizeof *u->pending);
    u->pending_max = descriptors;
    if (u->pending == NULL) return TT_ENOMEM;
    return TT_OK;
}

void tt_uring_accept_deinit(struct tt_io_uring *u)
{
    for (uint32_t i = 0; i < u->batch_count; i++) (void)close(u->batch_fds[i]);
    while (u->adopt_first != URING_NONE) {
        (void)close(u->pending[u->adopt_first].fd);
        u->adopt_first = u->pending[u->adopt_first].next;
    }
    for (uint32_t i = 0; i < TT_IO_LISTENERS_MAX; i++) {
        if (u->listeners[i].used) (void)close(u->listeners[i].fd);
    }
    if (u->reserve >= 0) (void)close(u->reserve);
    free(u->pending);
}
