/* io_uring: receiving into lent buffers, sending, closing. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "shard/io/uring.h"

static struct uring_socket *socket_of(struct tt_io_uring *u, tt_socket socket)
{
    TT_ASSERT(socket < u->sockets_max);
    struct uring_socket *s = &u->sockets[socket];
    TT_ASSERT((s->flags & SOCKET_OPEN) != 0);
    return s;
}

static struct io_uring_sqe *socket_sqe(struct tt_io_uring *u, enum uring_kind kind, uint32_t slot)
{
    struct uring_socket *s = &u->sockets[slot];
    struct io_uring_sqe *sqe = tt_uring_sqe(u, kind, s->generation, slot);
    if (kind != URING_NOTHING) s->inflight++;
    return sqe;
}

/* ---- buffers ---- */

static int map_buffers(struct tt_io_uring *u)
{
    u->buffer_ring_bytes = (size_t)u->buffers_count * sizeof(struct io_uring_buf);
    void *memory = mmap(NULL, u->buffer_ring_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return -ENOMEM;
    u->buffer_ring = memory;
    u->buffers = malloc((size_t)u->buffers_count * u->buffer_bytes);
    if (u->buffers == NULL) return -ENOMEM;
    struct io_uring_buf_reg registration = {
        .ring_addr = (uint64_t)(uintptr_t)memory,
        .ring_entries = u->buffers_count,
        .bgid = URING_BUFFERS_GROUP,
    };
    int result = io_uring_register_buf_ring(&u->ring, &registration, 0);
    if (result < 0) return result;
    io_uring_buf_ring_init(u->buffer_ring);
    int mask = io_uring_buf_ring_mask(u->buffers_count);
    for (uint32_t i = 0; i < u->buffers_count; i++) {
        io_uring_buf_ring_add(u->buffer_ring, u->buffers + (size_t)i * u->buffer_bytes,
                              u->buffer_bytes, (unsigned short)i, mask, (int)i);
    }
    io_uring_buf_ring_advance(u->buffer_ring, (int)u->buffers_count);
    return 0;
}

static void give_back(struct tt_io_uring *u, uint32_t buffer)
{
    io_uring_buf_ring_add(u->buffer_ring, u->buffers + (size_t)buffer * u->buffer_bytes,
                          u->buffer_bytes, (unsigned short)buffer,
                          io_uring_buf_ring_mask(u->buffers_count), 0);
    io_uring_buf_ring_advance(u->buffer_ring, 1);
}

void tt_uring_buffer_return(struct tt_io *io, uint32_t buffer)
{
    struct tt_io_uring *u = uring_of(io);
    TT_ASSERT(buffer < u->buffers_count && u->buffers_lent > 0);
    u->buffers_lent--;
    give_back(u, buffer);
}

/* ---- the list of receives that wait for buffers; first come, first served ---- */

static void starve(struct tt_io_uring *u, uint32_t slot)
{
    struct uring_socket *s = &u->sockets[slot];
    s->flags |= SOCKET_STARVED;
    s->next = URING_NONE;
    s->previous = u->starved_last;
    if (u->starved_last != URING_NONE) {
        u->sockets[u->starved_last].next = slot;
    } else {
        u->starved_first = slot;
    }
    u->starved_last = slot;
    u->starved_count++;
    u->base.figures.starved++;
}

static void feed(struct tt_io_uring *u, uint32_t slot)
{
    struct uring_socket *s = &u->sockets[slot];
    s->flags &= (uint16_t)~SOCKET_STARVED;
    if (s->previous != URING_NONE) {
        u->sockets[s->previous].next = s->next;
    } else {
        u->starved_first = s->next;
    }
    if (s->next != URING_NONE) {
        u->sockets[s->next].previous = s->previous;
    } else {
        u->starved_last = s->previous;
    }
    u->starved_count--;
}

/* ---- receiving ---- */

static void arm_recv(struct tt_io_uring *u, uint32_t slot)
{
    struct io_uring_sqe *sqe = socket_sqe(u, URING_RECV, slot);
    io_uring_prep_recv_multishot(sqe, (int)slot, NULL, 0, 0);
    sqe->flags |= IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT;
    sqe->buf_group = URING_BUFFERS_GROUP;
    u->sockets[slot].flags |= SOCKET_ARMED;
}

void tt_uring_recv(struct tt_io *io, tt_socket socket, uint64_t token)
{
    struct tt_io_uring *u = uring_of(io);
    struct uring_socket *s = socket_of(u, socket);
    TT_ASSERT((s->flags & (SOCKET_RECV | SOCKET_CLOSING)) == 0);
    s->flags |= SOCKET_RECV;
    s->recv_token = token;
    arm_recv(u, socket);
}

/* Ends receiving by an entry of our own; it is reaped after what stands in the completion queue
 * now, if anything. */
static void make_canceled(struct tt_io_uring *u, uint32_t slot)
{
    struct tt_io_made made = {
        .token = u->sockets[slot].recv_token,
        .result = TT_ECANCELED,
        .slot = slot,
    };
    tt_io_made_push(&u->made, &made);
}

void tt_uring_recv_pause(struct tt_io *io, tt_socket socket)
{
    struct tt_io_uring *u = uring_of(io);
    struct uring_socket *s = socket_of(u, socket);
    if ((s->flags & SOCKET_RECV) == 0 || (s->flags & (SOCKET_PAUSING | SOCKET_CLOSING)) != 0) {
        return;
    }
    s->flags |= SOCKET_PAUSING;
    if ((s->flags & SOCKET_ARMED) != 0) {
        struct io_uring_sqe *sqe = socket_sqe(u, URING_NOTHING, socket);
        io_uring_prep_cancel64(sqe, uring_data(URING_RECV, s->generation, socket), 0);
        sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
        return;
    }
    if ((s->flags & SOCKET_STARVED) != 0) feed(u, socket);
    make_canceled(u, socket);
}

static void end_recv(struct uring_socket *s)
{
    s->flags &= (uint16_t) ~(SOCKET_RECV | SOCKET_PAUSING);
}

/* Makes a pair of table and kernel state: what the receive's completion says. */
static bool recv_done(struct tt_io_uring *u, const struct io_uring_cqe *cqe, uint32_t slot,
                      struct tt_done *done)
{
    struct uring_socket *s = &u->sockets[slot];
    bool more = (cqe->flags & IORING_CQE_F_MORE) != 0;
    bool lent = (cqe->flags & IORING_CQE_F_BUFFER) != 0;
    uint32_t buffer = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
    int32_t result = cqe->res;
    if (!more) s->flags &= (uint16_t)~SOCKET_ARMED;
    if (lent && (result <= 0 || (s->flags & SOCKET_CLOSING) != 0)) give_back(u, buffer);
    if ((s->flags & SOCKET_CLOSING) != 0) return false;
    done->token = s->recv_token;
    if (result > 0) {
        u->base.figures.receives++;
        u->base.figures.received_bytes += (uint64_t)result;
        u->buffers_lent++;
        done->result = result;
        done->flags = TT_DONE_BUFFER | TT_DONE_MORE;
        done->buffer = buffer;
        done->data = tt_bytes(u->buffers + (size_t)buffer * u->buffer_bytes, (size_t)result);
        /* The kernel ends a multishot receive when its completion queue overflows. */
        if (!more && (s->flags & SOCKET_PAUSING) != 0) make_canceled(u, slot);
        if (!more && (s->flags & SOCKET_PAUSING) == 0) arm_recv(u, slot);
        return true;
    }
    bool pausing = (s->flags & SOCKET_PAUSING) != 0;
    bool interrupted = result == -ECANCELED || result == -EINTR || result == -EAGAIN;
    if (more) return false; /* no such completion is known; the receive goes on */
    if (!pausing && result == -ENOBUFS) {
        starve(u, slot);
        return false;
    }
    if (!pausing && interrupted) {
        arm_recv(u, slot);
        return false;
    }
    end_recv(s);
    done->result = TT_ECANCELED;
    if (!interrupted && result != -ENOBUFS) done->result = (int32_t)tt_io_status_of_errno(-result);
    return true;
}

/* ---- sending ---- */

bool tt_uring_sends_full(const struct tt_io *io)
{
    const struct tt_io_uring *u = (const struct tt_io_uring *)(const void *)io;
    return u->sends_queued == TT_IO_SENDS_PER_SUBMIT;
}

void tt_uring_send(struct tt_io *io, tt_socket socket, const struct tt_slice *slices,
                   unsigned count, uint64_t token)
{
    struct tt_io_uring *u = uring_of(io);
    struct uring_socket *s = socket_of(u, socket);
    TT_ASSERT((s->flags & (SOCKET_SEND | SOCKET_CLOSING)) == 0);
    TT_ASSERT(u->sends_queued < TT_IO_SENDS_PER_SUBMIT);
    s->flags |= SOCKET_SEND;
    s->send_token = token;
    struct io_uring_sqe *sqe = socket_sqe(u, URING_SEND, socket);
    /* DONTWAIT also tells io_uring to complete with EAGAIN instead of waiting for room. */
    int flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    if (count == 1) {
        size_t size = slices[0].size > INT_MAX ? INT_MAX : slices[0].size;
        io_uring_prep_send(sqe, (int)socket, slices[0].data, size, flags);
    } else {
        struct msghdr *message = &u->messages[u->sends_queued];
        struct iovec *iov = &u->slices[u->sends_queued * TT_IO_SLICES_MAX];
        for (unsigned i = 0; i < count; i++) {
            iov[i].iov_base = (void *)(uintptr_t)slices[i].data;
            iov[i].iov_len = slices[i].size;
        }
        *message = (struct msghdr){.msg_iov = iov, .msg_iovlen = count};
        io_uring_prep_sendmsg(sqe, (int)socket, message, (unsigned)flags);
    }
    sqe->flags |= IOSQE_FIXED_FILE;
    u->sends_queued++;
}

static bool send_done(struct tt_io_uring *u, int32_t result, struct uring_socket *s,
                      struct tt_done *done)
{
    s->flags &= (uint16_t)~SOCKET_SEND;
    u->base.figures.sends++;
    done->token = s->send_token;
    if (result == -EAGAIN || result == -EINTR || result == -ENOBUFS || result == -ENOMEM) {
        u->base.figures.sends_full++; /* memory short in the kernel is a full socket, too */
        done->result = 0;
    } else if (result < 0) {
        done->result = (int32_t)tt_io_status_of_errno(-result);
    } else {
        u->base.figures.sent_bytes += (uint64_t)result;
        done->result = result;
    }
    return (s->flags & SOCKET_CLOSING) == 0;
}

void tt_uring_poll_out(struct tt_io *io, tt_socket socket, uint64_t token)
{
    struct tt_io_uring *u = uring_of(io);
    struct uring_socket *s = socket_of(u, socket);
    TT_ASSERT((s->flags & (SOCKET_OUT | SOCKET_CLOSING)) == 0);
    s->flags |= SOCKET_OUT;
    s->out_token = token;
    struct io_uring_sqe *sqe = socket_sqe(u, URING_OUT, socket);
    io_uring_prep_poll_add(sqe, (int)socket, POLLOUT);
    sqe->flags |= IOSQE_FIXED_FILE;
}

void tt_uring_shutdown_send(struct tt_io *io, tt_socket socket)
{
    struct tt_io_uring *u = uring_of(io);
    struct uring_socket *s = socket_of(u, socket);
    TT_ASSERT((s->flags & SOCKET_CLOSING) == 0);
    struct io_uring_sqe *sqe = socket_sqe(u, URING_SHUTDOWN, socket);
    io_uring_prep_shutdown(sqe, (int)socket, SHUT_WR);
    sqe->flags |= IOSQE_FIXED_FILE;
}

/* ---- closing ---- */

/* Closing a table entry while requests hold its file would leave the peer without a FIN until they
 * end; so they end first. */
static void close_when_quiet(struct tt_io_uring *u, uint32_t slot)
{
    struct uring_socket *s = &u->sockets[slot];
    if (s->inflight != 0) return;
    struct io_uring_sqe *sqe = socket_sqe(u, URING_CLOSE, slot);
    io_uring_prep_close_direct(sqe, slot);
}

/* Connecting to nowhere makes the kernel drop what is queued and send a reset; unlike SO_LINGER it
 * works on table entries with every kernel that we support. */
static void disconnect(struct tt_io_uring *u, uint32_t slot)
{
    static const struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
    struct io_uring_sqe *sqe = socket_sqe(u, URING_DISCONNECT, slot);
    io_uring_prep_connect(sqe, (int)slot, &nowhere, sizeof nowhere);
    sqe->flags |= IOSQE_FIXED_FILE;
}

void tt_uring_close(struct tt_io *io, tt_socket socket, bool abort, uint64_t token)
{
    struct tt_io_uring *u = uring_of(io);
    struct uring_socket *s = socket_of(u, socket);
    TT_ASSERT((s->flags & SOCKET_CLOSING) == 0);
    if ((s->flags & SOCKET_STARVED) != 0) feed(u, socket);
    s->flags |= SOCKET_CLOSING;
    s->recv_token = token;
    if (abort) disconnect(u, socket);
    if ((s->flags & (SOCKET_ARMED | SOCKET_OUT)) != 0) {
        struct io_uring_sqe *sqe = socket_sqe(u, URING_NOTHING, socket);
        io_uring_prep_cancel_fd(sqe, (int)socket,
                                IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_FD |
                                    IORING_ASYNC_CANCEL_FD_FIXED);
        sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    }
    close_when_quiet(u, socket);
}

/* ---- completions ---- */

bool tt_uring_socket_done(struct tt_io_uring *u, const struct io_uring_cqe *cqe,
                          struct tt_done *done)
{
    enum uring_kind kind = (enum uring_kind)tt_token_operation(cqe->user_data);
    uint32_t slot = tt_token_slot(cqe->user_data);
    struct uring_socket *s = &u->sockets[slot];
    TT_ASSERT((s->flags & SOCKET_OPEN) != 0);
    TT_ASSERT((s->generation & 0xFFFFFFu) == tt_token_generation(cqe->user_data));
    if ((cqe->flags & IORING_CQE_F_MORE) == 0) s->inflight--;
    bool filled = false;
    *done = (struct tt_done){0};
    switch ((int)kind) {
    case URING_RECV: filled = recv_done(u, cqe, slot, done); break;
    case URING_SEND: filled = send_done(u, cqe->res, s, done); break;
    case URING_OUT:
        s->flags &= (uint16_t)~SOCKET_OUT;
        done->token = s->out_token;
        filled = (s->flags & SOCKET_CLOSING) == 0;
        break;
    case URING_CLOSE:
        done->token = s->recv_token;
        s->flags = 0;
        s->generation++;
        u->base.figures.sockets_open--;
        return true;
    default: /* URING_SHUTDOWN, URING_DISCONNECT: nobody waits for them but the close */ break;
    }
    if ((s->flags & SOCKET_CLOSING) != 0) close_when_quiet(u, slot);
    return filled;
}

bool tt_uring_made_done(struct tt_io_uring *u, const struct tt_io_made *made, struct tt_done *done)
{
    *done = (struct tt_done){.token = made->token, .result = made->result, .flags = made->flags};
    if (made->slot == TT_SOCKET_NONE) return true;
    /* The only entries of sockets are those of make_canceled(). */
    struct uring_socket *s = &u->sockets[made->slot];
    if ((s->flags & SOCKET_CLOSING) != 0 || (s->flags & SOCKET_PAUSING) == 0) return false;
    end_recv(s);
    return true;
}

/* ---- life ---- */

void tt_uring_sockets_before_submit(struct tt_io_uring *u)
{
    uint32_t free = u->buffers_count - u->buffers_lent;
    while (u->starved_first != URING_NONE && free-- > 0) {
        uint32_t slot = u->starved_first;
        feed(u, slot);
        arm_recv(u, slot);
    }
}

enum tt_status tt_uring_sockets_init(struct tt_io_uring *u, const struct tt_io_options *options,
                                     uint32_t descriptors)
{
    u->sockets_max = options->sockets_max < descriptors ? options->sockets_max : descriptors;
    u->buffers_count = options->recv_buffers;
    u->buffer_bytes = options->recv_buffer_bytes;
    u->starved_first = u->starved_last = URING_NONE;
    u->sockets = calloc(u->sockets_max, sizeof *u->sockets);
    u->messages = calloc(TT_IO_SENDS_PER_SUBMIT, sizeof *u->messages);
    u->slices = calloc((size_t)TT_IO_SENDS_PER_SUBMIT * TT_IO_SLICES_MAX, sizeof *u->slices);
    if (u->sockets == NULL || u->messages == NULL || u->slices == NULL) return TT_ENOMEM;
    int result = io_uring_register_files_sparse(&u->ring, u->sockets_max);
    if (result < 0) return tt_io_status_of_errno(-result);
    result = map_buffers(u);
    return tt_io_status_of_errno(-result);
}

void tt_uring_sockets_deinit(struct tt_io_uring *u)
{
    if (u->buffer_ring != NULL) (void)munmap(u->buffer_ring, u->buffer_ring_bytes);
    free(u->buffers);
    free(u->sockets);
    free(u->messages);
    free(u->slices);
}
