/* epoll: listeners, handed-over connections, connecting. */
#include <errno.h>
#include <unistd.h>

#include "shard/io/epoll.h"

static struct epoll_listener *listener_of(struct tt_io_epoll *e, tt_socket listener)
{
    uint32_t index = listener & ~EPOLL_LISTENER_BIT;
    TT_ASSERT((listener & EPOLL_LISTENER_BIT) != 0 && index < TT_IO_LISTENERS_MAX);
    TT_ASSERT(e->listeners[index].used);
    return &e->listeners[index];
}

static void set_ready(struct tt_io_epoll *e, struct epoll_listener *l, bool ready)
{
    if (l->ready == ready) return;
    l->ready = ready;
    if (l->armed) e->listeners_ready += ready ? 1u : UINT32_MAX;
}

static void set_armed(struct tt_io_epoll *e, struct epoll_listener *l, bool armed)
{
    if (l->armed == armed) return;
    l->armed = armed;
    if (l->ready) e->listeners_ready += armed ? 1u : UINT32_MAX;
}

enum tt_status tt_epoll_listen(struct tt_io *io, struct tt_address *address,
                               const struct tt_listen_options *options, tt_socket *listener)
{
    struct tt_io_epoll *e = epoll_of(io);
    uint32_t index = 0;
    while (index < TT_IO_LISTENERS_MAX && e->listeners[index].used) index++;
    if (index == TT_IO_LISTENERS_MAX) return TT_ENOMEM;
    int fd = -1;
    enum tt_status status = tt_io_system_listen(address, options, &fd);
    if (status != TT_OK) return status;
    status = tt_epoll_watch(e, fd, EPOLLIN, tt_token(EPOLL_LISTENER, 0, index));
    if (status != TT_OK) {
        (void)close(fd);
        return status;
    }
    if (e->reserve < 0) e->reserve = tt_io_system_reserve();
    e->listeners[index] = (struct epoll_listener){.fd = fd, .used = true};
    *listener = EPOLL_LISTENER_BIT | index;
    return TT_OK;
}

void tt_epoll_accept(struct tt_io *io, tt_socket listener, uint64_t token)
{
    struct tt_io_epoll *e = epoll_of(io);
    struct epoll_listener *l = listener_of(e, listener);
    TT_ASSERT(!l->armed);
    l->token = token;
    set_armed(e, l, true);
    /* Edges that came while nobody accepted are kept in `ready`. */
}

void tt_epoll_accept_stop(struct tt_io *io, tt_socket listener)
{
    struct tt_io_epoll *e = epoll_of(io);
    struct epoll_listener *l = listener_of(e, listener);
    if (l->armed) epoll_make(e, l->token, TT_ECANCELED, TT_SOCKET_NONE, EPOLL_MADE_PLAIN);
    set_armed(e, l, false);
    (void)close(l->fd);
    *l = (struct epoll_listener){.fd = -1};
}

unsigned tt_epoll_refuse_waiting(struct tt_io *io, tt_socket listener, struct tt_bytes answer,
                                 unsigned max)
{
    struct tt_io_epoll *e = epoll_of(io);
    return tt_io_system_refuse_waiting(listener_of(e, listener)->fd, &e->reserve, answer, max);
}

void tt_epoll_listener_event(struct tt_io_epoll *e, uint32_t index)
{
    struct epoll_listener *l = &e->listeners[index];
    if (l->used) set_ready(e, l, true);
}

/* Errors that end accepting; all others are of one connection (accept(2), "Error handling"). */
static bool ends_accepting(int error)
{
    switch (error) {
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
    case EBADF:
    case EINVAL:
    case ENOTSOCK: return true;
    default: return false;
    }
}

static unsigned accept_some(struct tt_io_epoll *e, struct epoll_listener *l, struct tt_done *done,
                            unsigned max)
{
    unsigned count = 0;
    while (count < max && l->armed && l->ready) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            done[count++] =
                (struct tt_done){.token = l->token, .result = fd, .flags = TT_DONE_MORE};
        } else if (errno == EAGAIN) {
            set_ready(e, l, false);
        } else if (ends_accepting(errno)) {
            done[count++] = (struct tt_done){.token = l->token,
                                             .result = (int32_t)tt_io_status_of_errno(errno)};
            set_armed(e, l, false);
        }
    }
    return count;
}

unsigned tt_epoll_accept_ready(struct tt_io_epoll *e, struct tt_done *done, unsigned max)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < TT_IO_LISTENERS_MAX && e->listeners_ready != 0; i++) {
        count += accept_some(e, &e->listeners[i], done + count, max - count);
    }
    return count;
}

/* ---- hand-over and connecting ---- */

void tt_epoll_adopt(struct tt_io *io, struct tt_handoff *handoff, uint64_t token)
{
    struct tt_io_epoll *e = epoll_of(io);
    TT_ASSERT(handoff->reference >= 0);
    uint32_t slot = tt_epoll_socket_open(e, handoff->reference, 0);
    handoff->reference = -1;
    int32_t result = slot == TT_SOCKET_NONE ? (int32_t)TT_ENOFILE : (int32_t)slot;
    epoll_make(e, token, result, TT_SOCKET_NONE, EPOLL_MADE_PLAIN);
}

void tt_epoll_connect(struct tt_io *io, const struct tt_address *local,
                      const struct tt_address *remote, const struct tt_listen_options *options,
                      uint64_t token)
{
    struct tt_io_epoll *e = epoll_of(io);
    int fd = -1;
    bool connected = false;
    enum tt_status status = tt_io_system_connect(local, remote, options, &fd, &connected);
    int32_t result = (int32_t)status;
    if (status == TT_OK) {
        uint32_t slot = tt_epoll_socket_open(e, fd, connected ? 0 : SOCKET_CONNECTING);
        if (slot != TT_SOCKET_NONE && !connected) {
            e->sockets[slot].recv_token = token;
            return;
        }
        result = slot == TT_SOCKET_NONE ? (int32_t)TT_ENOFILE : (int32_t)slot;
    }
    epoll_make(e, token, result, TT_SOCKET_NONE, EPOLL_MADE_PLAIN);
}

void tt_epoll_connect_event(struct tt_io_epoll *e, uint32_t slot)
{
    struct epoll_socket *s = &e->sockets[slot];
    enum tt_status status = tt_io_system_connect_result(s->fd);
    uint64_t token = s->recv_token;
    if (status != TT_OK) {
        (void)close(s->fd);
        tt_epoll_socket_free(e, slot);
        epoll_make(e, token, (int32_t)status, TT_SOCKET_NONE, EPOLL_MADE_PLAIN);
        return;
    }
    s->flags &= (uint16_t)~SOCKET_CONNECTING;
    s->flags |= SOCKET_READABLE; /* perhaps: the same edge may have brought bytes */
    epoll_make(e, token, (int32_t)slot, TT_SOCKET_NONE, EPOLL_MADE_PLAIN);
}

void tt_epoll_accept_deinit(struct tt_io_epoll *e)
{
    for (uint32_t i = 0; i < TT_IO_LISTENERS_MAX; i++) {
        if (e->listeners[i].used) (void)close(e->listeners[i].fd);
    }
    if (e->reserve >= 0) (void)close(e->reserve);
}
