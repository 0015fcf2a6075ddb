/* epoll: receiving into lent buffers, sending, closing. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "shard/io/epoll.h"

static struct epoll_socket *socket_of(struct tt_io_epoll *e, tt_socket socket)
{
    TT_ASSERT(socket < e->sockets_used);
    struct epoll_socket *s = &e->sockets[socket];
    TT_ASSERT((s->flags & SOCKET_OPEN) != 0 && (s->flags & SOCKET_CONNECTING) == 0);
    return s;
}

/* ---- slots ---- */

uint32_t tt_epoll_socket_open(struct tt_io_epoll *e, int fd, uint16_t flags)
{
    uint32_t slot = e->sockets_free;
    if (slot != EPOLL_NONE) {
        e->sockets_free = e->sockets[slot].next;
    } else if (e->sockets_used < e->sockets_max) {
        slot = e->sockets_used++;
    } else {
        (void)close(fd);
        return TT_SOCKET_NONE;
    }
    struct epoll_socket *s = &e->sockets[slot];
    *s = (struct epoll_socket){
        .fd = fd,
        .generation = s->generation,
        .flags = (uint16_t)(SOCKET_OPEN | SOCKET_WRITABLE | flags),
    };
    e->base.figures.sockets_open++;
    enum tt_status status = tt_epoll_watch(e, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP,
                                           tt_token(EPOLL_SOCKET, s->generation, slot));
    if (status != TT_OK) {
        (void)close(fd);
        tt_epoll_socket_free(e, slot);
        return TT_SOCKET_NONE;
    }
    return slot;
}

void tt_epoll_socket_free(struct tt_io_epoll *e, uint32_t slot)
{
    struct epoll_socket *s = &e->sockets[slot];
    *s = (struct epoll_socket){.fd = -1, .next = e->sockets_free, .generation = s->generation + 1};
    e->sockets_free = slot;
    e->base.figures.sockets_open--;
}

/* ---- the list of sockets to receive from ---- */

static void ready(struct tt_io_epoll *e, uint32_t slot)
{
    struct epoll_socket *s = &e->sockets[slot];
    if ((s->flags & SOCKET_READY) != 0) return;
    s->flags |= SOCKET_READY;
    s->next = EPOLL_NONE;
    s->previous = e->ready_last;
    if (e->ready_last != EPOLL_NONE) {
        e->sockets[e->ready_last].next = slot;
    } else {
        e->ready_first = slot;
    }
    e->ready_last = slot;
}

static void not_ready(struct tt_io_epoll *e, uint32_t slot)
{
    struct epoll_socket *s = &e->sockets[slot];
    if ((s->flags & SOCKET_READY) == 0) return;
    s->flags &= (uint16_t)~SOCKET_READY;
    if (s->previous != EPOLL_NONE) {
        e->sockets[s->previous].next = s->next;
    } else {
        e->ready_first = s->next;
    }
    if (s->next != EPOLL_NONE) {
        e->sockets[s->next].previous = s->previous;
    } else {
        e->ready_last = s->previous;
    }
}

/* ---- events ---- */

void tt_epoll_socket_event(struct tt_io_epoll *e, uint32_t generation, uint32_t slot,
                           uint32_t events)
{
    struct epoll_socket *s = &e->sockets[slot];
    if ((s->flags & SOCKET_OPEN) == 0 || (s->generation & 0xFFFFFFu) != generation) return;
    if ((s->flags & SOCKET_CLOSING) != 0) return;
    if ((s->flags & SOCKET_CONNECTING) != 0) {
        if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) tt_epoll_connect_event(e, slot);
        return;
    }
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP)) != 0) {
        s->flags |= SOCKET_READABLE;
        if ((s->flags & (SOCKET_RECV | SOCKET_PAUSING)) == SOCKET_RECV) ready(e, slot);
    }
    if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) {
        s->flags |= SOCKET_WRITABLE;
        if ((s->flags & SOCKET_OUT) != 0) {
            s->flags &= (uint16_t)~SOCKET_OUT;
            epoll_make(e, s->out_token, 0, slot, EPOLL_MADE_OUT);
        }
    }
}

bool tt_epoll_made_done(struct tt_io_epoll *e, const struct tt_io_made *made, struct tt_done *done)
{
    *done = (struct tt_done){.token = made->token, .result = made->result, .flags = made->flags};
    if (made->what == EPOLL_MADE_PLAIN) return true;
    if (made->what == EPOLL_MADE_FOREIGN) {
        struct epoll_foreign *f = &e->foreign[made->slot];
        if (!f->used || f->generation != (uint32_t)made->result) return false;
        f->told = false;
        done->result = 0;
        done->flags = TT_DONE_MORE;
        return true;
    }
    struct epoll_socket *s = &e->sockets[made->slot];
    if (made->what == EPOLL_MADE_CLOSED) {
        tt_epoll_socket_free(e, made->slot);
        return true;
    }
    if ((s->flags & SOCKET_CLOSING) != 0) return false;
    if (made->what == EPOLL_MADE_PAUSED) s->flags &= (uint16_t) ~(SOCKET_RECV | SOCKET_PAUSING);
    if (made->what == EPOLL_MADE_SENT) s->flags &= (uint16_t)~SOCKET_SEND;
    return true;
}

/* ---- receiving ---- */

void tt_epoll_recv(struct tt_io *io, tt_socket socket, uint64_t token)
{
    struct tt_io_epoll *e = epoll_of(io);
    struct epoll_socket *s = socket_of(e, socket);
    TT_ASSERT((s->flags & (SOCKET_RECV | SOCKET_CLOSING)) == 0);
    s->flags |= SOCKET_RECV;
    s->recv_token = token;
    if ((s->flags & SOCKET_READABLE) != 0) ready(e, socket);
}

void tt_epoll_recv_pause(struct tt_io *io, tt_socket socket)
{
    struct tt_io_epoll *e = epoll_of(io);
    struct epoll_socket *s = socket_of(e, socket);
    if ((s->flags & SOCKET_RECV) == 0 || (s->flags & (SOCKET_PAUSING | SOCKET_CLOSING)) != 0) {
        return;
    }
    s->flags |= SOCKET_PAUSING;
    not_ready(e, socket);
    epoll_make(e, s->recv_token, TT_ECANCELED, socket, EPOLL_MADE_PAUSED);
}

void tt_epoll_buffer_return(struct tt_io *io, uint32_t buffer)
{
    struct tt_io_epoll *e = epoll_of(io);
    TT_ASSERT(buffer < e->buffers_count && e->buffers_free_count < e->buffers_count);
    e->buffers_free[e->buffers_free_count++] = buffer;
}

/* Receives once; true if *done was filled. The slot leaves the list or goes to its end. */
static bool receive_one(struct tt_io_epoll *e, uint32_t slot, struct tt_done *done)
{
    struct epoll_socket *s = &e->sockets[slot];
    uint32_t buffer = e->buffers_free[e->buffers_free_count - 1];
    uint8_t *data = e->buffers + (size_t)buffer * e->buffer_bytes;
    ssize_t n = recv(s->fd, data, e->buffer_bytes, MSG_DONTWAIT);
    not_ready(e, slot);
    if (n < 0 && errno == EINTR) {
        ready(e, slot);
        return false;
    }
    if (n < 0 && errno == EAGAIN) {
        s->flags &= (uint16_t)~SOCKET_READABLE;
        return false;
    }
    *done = (struct tt_done){.token = s->recv_token};
    if (n > 0) {
        e->buffers_free_count--;
        e->base.figures.receives++;
        e->base.figures.received_bytes += (uint64_t)n;
        done->result = (int32_t)n;
        done->flags = TT_DONE_BUFFER | TT_DONE_MORE;
        done->buffer = buffer;
        done->data = tt_bytes(data, (size_t)n);
        ready(e, slot); /* until EAGAIN: the edge may stand for the peer's end as well */
        return true;
    }
    s->flags &= (uint16_t)~SOCKET_RECV;
    if (n < 0) done->result = (int32_t)tt_io_status_of_errno(errno);
    return true;
}

unsigned tt_epoll_receive(struct tt_io_epoll *e, struct tt_done *done, unsigned max)
{
    unsigned count = 0;
    while (count < max && e->ready_first != EPOLL_NONE) {
        if (e->buffers_free_count == 0) {
            e->base.figures.starved++;
            break;
        }
        if (receive_one(e, e->ready_first, &done[count])) count++;
    }
    return count;
}

/* ---- sending ---- */

bool tt_epoll_sends_full(const struct tt_io *io)
{
    const struct tt_io_epoll *e = (const struct tt_io_epoll *)(const void *)io;
    return e->sends_queued == TT_IO_SENDS_PER_SUBMIT;
}

static ssize_t send_slices(int fd, const struct tt_slice *slices, unsigned count, size_t *asked)
{
    int flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    *asked = slices[0].size;
    if (count == 1) return send(fd, slices[0].data, slices[0].size, flags);
    struct iovec iov[TT_IO_SLICES_MAX];
    *asked = 0;
    for (unsigned i = 0; i < count; i++) {
        iov[i].iov_base = (void *)(uintptr_t)slices[i].data;
        iov[i].iov_len = slices[i].size;
        *asked += slices[i].size;
    }
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = count};
    return sendmsg(fd, &message, flags);
}

void tt_epoll_send(struct tt_io *io, tt_socket socket, const struct tt_slice *slices,
                   unsigned count, uint64_t token)
{
    struct tt_io_epoll *e = epoll_of(io);
    struct epoll_socket *s = socket_of(e, socket);
    TT_ASSERT((s->flags & (SOCKET_SEND | SOCKET_CLOSING)) == 0);
    TT_ASSERT(e->sends_queued < TT_IO_SENDS_PER_SUBMIT);
    e->sends_queued++;
    s->flags |= SOCKET_SEND;
    size_t asked = 0;
    ssize_t n = send_slices(s->fd, slices, count, &asked);
    int32_t result = (int32_t)n;
    e->base.figures.sends++;
    if (n < 0) {
        bool full = errno == EAGAIN || errno == EINTR || errno == ENOBUFS || errno == ENOMEM;
        result = full ? 0 : (int32_t)tt_io_status_of_errno(errno);
        if (full) e->base.figures.sends_full++;
        if (errno == EAGAIN) s->flags &= (uint16_t)~SOCKET_WRITABLE;
    } else {
        e->base.figures.sent_bytes += (uint64_t)n;
        if ((size_t)n < asked) s->flags &= (uint16_t)~SOCKET_WRITABLE;
    }
    epoll_make(e, token, result, socket, EPOLL_MADE_SENT);
}

void tt_epoll_poll_out(struct tt_io *io, tt_socket socket, uint64_t token)
{
    struct tt_io_epoll *e = epoll_of(io);
    struct epoll_socket *s = socket_of(e, socket);
    TT_ASSERT((s->flags & (SOCKET_OUT | SOCKET_CLOSING)) == 0);
    if ((s->flags & SOCKET_WRITABLE) != 0) {
        epoll_make(e, token, 0, socket, EPOLL_MADE_OUT);
        return;
    }
    s->flags |= SOCKET_OUT;
    s->out_token = token;
}

void tt_epoll_shutdown_send(struct tt_io *io, tt_socket socket)
{
    struct epoll_socket *s = socket_of(epoll_of(io), socket);
    TT_ASSERT((s->flags & SOCKET_CLOSING) == 0);
    (void)shutdown(s->fd, SHUT_WR);
}

void tt_epoll_close(struct tt_io *io, tt_socket socket, bool abort, uint64_t token)
{
    struct tt_io_epoll *e = epoll_of(io);
    struct epoll_socket *s = socket_of(e, socket);
    TT_ASSERT((s->flags & SOCKET_CLOSING) == 0);
    not_ready(e, socket);
    s->flags |= SOCKET_CLOSING;
    if (abort) {
        struct linger linger = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    }
    (void)close(s->fd); /* which also ends the watching */
    s->fd = -1;
    epoll_make(e, token, 0, socket, EPOLL_MADE_CLOSED);
}

/* ---- life ---- */

enum tt_status tt_epoll_sockets_init(struct tt_io_epoll *e, const struct tt_io_options *options,
                                     uint32_t descriptors)
{
    /* What the process needs besides: its files, the ios' own, logs, a library's sockets. */
    uint32_t others = options->files_max + 64;
    uint32_t most = descriptors > 2 * others ? descriptors - others : descriptors / 2;
    e->sockets_max = options->sockets_max < most ? options->sockets_max : most;
    e->sockets_free = e->ready_first = e->ready_last = EPOLL_NONE;
    e->buffers_count = e->buffers_free_count = options->recv_buffers;
    e->buffer_bytes = options->recv_buffer_bytes;
    e->sockets = calloc(e->sockets_max, sizeof *e->sockets);
    e->buffers = malloc((size_t)e->buffers_count * e->buffer_bytes);
    e->buffers_free = malloc((size_t)e->buffers_count * sizeof *e->buffers_free);
    if (e->sockets == NULL || e->buffers == NULL || e->buffers_free == NULL) return TT_ENOMEM;
    for (uint32_t i = 0; i < e->buffers_count; i++) e->buffers_free[i] = e->buffers_count - 1 - i;
    return TT_OK;
}

void tt_epoll_sockets_deinit(struct tt_io_epoll *e)
{
    for (uint32_t i = 0; i < e->sockets_used && e->sockets != NULL; i++) {
        struct epoll_socket *s = &e->sockets[i];
        if ((s->flags & SOCKET_OPEN) != 0 && s->fd >= 0) (void)close(s->fd);
    }
    free(e->sockets);
    free(e->buffers);
    free(e->buffers_free);
}
