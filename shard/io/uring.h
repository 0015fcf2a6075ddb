/* The io_uring back end's own state; included by io_uring.c, uring_sockets.c, uring_files.c.
 *
 * user_data of a request is kind | generation | slot, in the layout of tt_token(): the kernel never
 * holds a pointer of ours, and the caller's token waits in the slot. Every request that promises a
 * completion is counted in `inflight` (and in its socket's), because a slot is closed, and the io
 * destroyed, only when nothing of it is left in the kernel. */
#ifndef TT_SHARD_IO_URING_H
#define TT_SHARD_IO_URING_H

#include <liburing.h>
#include <stdatomic.h>

#include "proto/base/assert.h"
#include "shard/io/backend.h"

enum uring_kind {
    URING_NOTHING = 0, /* cancels: only their failure shows, and it means nothing */
    URING_RECV,
    URING_OUT,
    URING_SEND,
    URING_SHUTDOWN,
    URING_DISCONNECT,
    URING_CLOSE,
    URING_ADOPT,   /* the batch */
    URING_CONNECT, /* slot: of `pending` */
    URING_ACCEPT,  /* slot: of `listeners` */
    URING_FOREIGN, /* slot: of `foreign` */
    URING_WAKE,
    URING_FILE, /* slot: of `operations` */
};

enum uring_socket_flags {
    SOCKET_OPEN = 1,
    SOCKET_RECV = 2,     /* the caller receives: the end was not reaped yet */
    SOCKET_ARMED = 4,    /* the kernel holds the receive */
    SOCKET_STARVED = 8,  /* in the list of those that wait for buffers */
    SOCKET_PAUSING = 16, /* the end will be TT_ECANCELED */
    SOCKET_OUT = 32,     /* the kernel holds a poll for writability */
    SOCKET_SEND = 64,    /* a send's completion was not reaped yet */
    SOCKET_CLOSING = 128,
};

/* One for each entry of the registered table; 40 bytes. */
struct uring_socket {
    uint64_t recv_token; /* while closing: the close's */
    uint64_t out_token;
    uint64_t send_token;
    uint32_t next, previous; /* while starved */
    uint32_t generation;
    uint16_t flags;
    uint16_t inflight;
};

/* A plain descriptor on its way into the table: handed over, or connecting. */
struct uring_pending {
    uint64_t token;
    int fd;
    uint32_t next;
};

struct uring_listener {
    uint64_t token;
    int fd;
    bool used, armed, stopping;
};

struct uring_foreign {
    uint64_t token;
    int fd;
    uint32_t generation;
    bool used;
};

struct uring_operation {
    uint64_t token;
    uint32_t next;
    bool open;               /* it opens a file: the descriptor counts when it succeeds */
    bool interrupt;          /* its first try ends with EINTR, in tests */
    struct io_uring_sqe sqe; /* to do it again when it was interrupted */
    char *path, *path2;      /* copies; null: none */
};

#define URING_NONE          UINT32_MAX
#define URING_LISTENER      0x80000000u /* set in the tt_socket of a listener */
#define URING_ADOPT_BATCH   256u
#define URING_BUFFERS_GROUP 0

struct tt_io_uring {
    struct tt_io base;
    struct io_uring ring;
    uint64_t inflight;
    struct tt_io_made_ring made;

    struct uring_socket *sockets;
    uint32_t sockets_max;

    struct io_uring_buf_ring *buffer_ring;
    size_t buffer_ring_bytes;
    uint8_t *buffers;
    uint32_t buffers_count, buffer_bytes, buffers_lent;
    uint32_t starved_first, starved_last, starved_count;

    uint32_t sends_queued; /* since the last submit */
    struct msghdr *messages;
    struct iovec *slices;

    struct uring_pending *pending;
    uint32_t pending_free, pending_used, pending_max;
    uint32_t adopt_first, adopt_last; /* queue */
    uint32_t batch_count;             /* 0: no batch in the kernel */
    int32_t batch_fds[URING_ADOPT_BATCH];
    uint32_t batch[URING_ADOPT_BATCH];

    struct uring_listener listeners[TT_IO_LISTENERS_MAX];
    int reserve;
    struct uring_foreign foreign[TT_IO_FOREIGN_MAX];

    struct uring_operation operations[TT_IO_FILE_OPERATIONS_MAX];
    uint32_t operations_free;
    uint32_t files_open, files_max;
    uint32_t files_working; /* file operations under way in threads of the kernel */

    int wake_fd;
    uint64_t overflows_seen;
    /* Set by whoever wakes, cleared by the owner when it notices: one wake at a time. */
    _Alignas(64) _Atomic uint32_t wake_pending;
};

static inline struct tt_io_uring *uring_of(struct tt_io *io)
{
    return (struct tt_io_uring *)(void *)io;
}

static inline uint64_t uring_data(enum uring_kind kind, uint32_t generation, uint32_t slot)
{
    return tt_token((uint8_t)kind, generation, slot);
}

/* A free submission entry; submits what is queued when the queue is full. */
struct io_uring_sqe *tt_uring_sqe(struct tt_io_uring *u, enum uring_kind kind, uint32_t generation,
                                  uint32_t slot);
/* Hands all queued entries to the kernel without waiting. */
void tt_uring_flush(struct tt_io_uring *u);

/* ---- uring_sockets.c ---- each completion function: true if *done was filled */
enum tt_status tt_uring_sockets_init(struct tt_io_uring *u, const struct tt_io_options *options,
                                     uint32_t descriptors);
void tt_uring_sockets_deinit(struct tt_io_uring *u);
void tt_uring_sockets_before_submit(struct tt_io_uring *u);
bool tt_uring_socket_done(struct tt_io_uring *u, const struct io_uring_cqe *cqe,
                          struct tt_done *done);
bool tt_uring_made_done(struct tt_io_uring *u, const struct tt_io_made *made, struct tt_done *done);

void tt_uring_recv(struct tt_io *io, tt_socket socket, uint64_t token);
void tt_uring_recv_pause(struct tt_io *io, tt_socket socket);
void tt_uring_buffer_return(struct tt_io *io, uint32_t buffer);
void tt_uring_send(struct tt_io *io, tt_socket socket, const struct tt_slice *slices,
                   unsigned count, uint64_t token);
bool tt_uring_sends_full(const struct tt_io *io);
void tt_uring_poll_out(struct tt_io *io, tt_socket socket, uint64_t token);
void tt_uring_shutdown_send(struct tt_io *io, tt_socket socket);
void tt_uring_close(struct tt_io *io, tt_socket socket, bool abort, uint64_t token);

/* ---- uring_accept.c: listeners, hand-over, connecting ---- */
enum tt_status tt_uring_accept_init(struct tt_io_uring *u, uint32_t descriptors);
void tt_uring_accept_deinit(struct tt_io_uring *u);
void tt_uring_accept_before_submit(struct tt_io_uring *u);
bool tt_uring_accept_done(struct tt_io_uring *u, const struct io_uring_cqe *cqe,
                          struct tt_done *done);

enum tt_status tt_uring_listen(struct tt_io *io, struct tt_address *address,
                               const struct tt_listen_options *options, tt_socket *listener);
void tt_uring_accept(struct tt_io *io, tt_socket listener, uint64_t token);
void tt_uring_accept_stop(struct tt_io *io, tt_socket listener);
unsigned tt_uring_refuse_waiting(struct tt_io *io, tt_socket listener, struct tt_bytes answer,
                                 unsigned max);
void tt_uring_adopt(struct tt_io *io, struct tt_handoff *handoff, uint64_t token);
void tt_uring_connect(struct tt_io *io, const struct tt_address *local,
                      const struct tt_address *remote, const struct tt_listen_options *options,
                      uint64_t token);

/* ---- uring_files.c ---- */
void tt_uring_files_init(struct tt_io_uring *u, const struct tt_io_options *options);
void tt_uring_files_deinit(struct tt_io_uring *u);
bool tt_uring_file_done(struct tt_io_uring *u, const struct io_uring_cqe *cqe,
                        struct tt_done *done);

void tt_uring_open(struct tt_io *io, const char *path, uint32_t flags, uint64_t token);
void tt_uring_file_close(struct tt_io *io, tt_file file, uint64_t token);
void tt_uring_preallocate(struct tt_io *io, tt_file file, uint64_t offset, uint64_t size,
                          uint64_t token);
void tt_uring_read(struct tt_io *io, tt_file file, uint64_t offset, void *data, size_t size,
                   uint64_t token);
void tt_uring_write(struct tt_io *io, tt_file file, uint64_t offset, const void *data, size_t size,
                    uint64_t token);
void tt_uring_sync(struct tt_io *io, tt_file file, bool data_only, uint64_t token);
void tt_uring_truncate(struct tt_io *io, tt_file file, uint64_t size, uint64_t token);
void tt_uring_rename(struct tt_io *io, const char *from, const char *to, uint64_t token);
void tt_uring_unlink(struct tt_io *io, const char *path, uint64_t token);

#endif
