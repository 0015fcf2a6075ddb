/* The epoll back end's own state; included by io_epoll.c, epoll_sockets.c, epoll_accept.c,
 * epoll_files.c.
 *
 * Everything is registered once, edge triggered, for reading and writing; the edges are kept as
 * hints in the slot. What is readable stands in a list, and bytes are received when the caller
 * reaps: so a caller that does not reap, or holds all buffers, leaves the bytes in the kernel, as
 * with io_uring. All other completions pass through the ring of made entries, so that nothing is
 * reaped for a socket that is closing. */
#ifndef TT_SHARD_IO_EPOLL_H
#define TT_SHARD_IO_EPOLL_H

#include <stdatomic.h>
#include <sys/epoll.h>

#include "proto/base/assert.h"
#include "shard/io/backend.h"
#include "shard/io/file_thread.h"

/* What an epoll event is about: the operation of its token. */
enum epoll_kind {
    EPOLL_SOCKET = 1,
    EPOLL_LISTENER,
    EPOLL_FOREIGN,
    EPOLL_WAKE,
    EPOLL_FILES,
};

/* What a made entry is about. */
enum epoll_made {
    EPOLL_MADE_PLAIN = 0, /* no slot */
    EPOLL_MADE_PAUSED,
    EPOLL_MADE_SENT,
    EPOLL_MADE_OUT,
    EPOLL_MADE_CLOSED,
    EPOLL_MADE_FOREIGN, /* slot: of `foreign`, result: its generation */
};

enum epoll_socket_flags {
    SOCKET_OPEN = 1,
    SOCKET_RECV = 2,      /* the caller receives: the end was not reaped yet */
    SOCKET_PAUSING = 4,   /* the end is made already */
    SOCKET_OUT = 8,       /* waits for writability */
    SOCKET_SEND = 16,     /* a send's completion was not reaped yet */
    SOCKET_CLOSING = 32,  /* closed; its last completion is made */
    SOCKET_READABLE = 64, /* hint: there was an edge, and no EAGAIN since */
    SOCKET_WRITABLE = 128,
    SOCKET_READY = 256,      /* in the list of those to receive from */
    SOCKET_CONNECTING = 512, /* recv_token: the connect's */
};

struct epoll_socket {
    uint64_t recv_token; /* while closing: the close's */
    uint64_t out_token;
    uint64_t send_token;
    int fd;
    uint32_t next, previous; /* while ready; next: while free */
    uint32_t generation;
    uint16_t flags;
};

struct epoll_listener {
    uint64_t token;
    int fd;
    bool used, armed, ready;
};

struct epoll_foreign {
    uint64_t token;
    int fd;
    uint32_t generation;
    bool used, told; /* told: an entry waits to be reaped */
};

#define EPOLL_NONE         UINT32_MAX
#define EPOLL_LISTENER_BIT 0x80000000u /* set in the tt_socket of a listener */

struct tt_io_epoll {
    struct tt_io base;
    int epoll_fd, wake_fd, reserve;
    bool coarse; /* waits are whole milliseconds */
    struct tt_io_made_ring made;

    struct epoll_socket *sockets;
    uint32_t sockets_max, sockets_used, sockets_free;
    uint32_t ready_first, ready_last;

    uint8_t *buffers;
    uint32_t *buffers_free; /* a stack */
    uint32_t buffers_free_count, buffers_count, buffer_bytes;

    uint32_t sends_queued; /* since the last submit */

    struct epoll_listener listeners[TT_IO_LISTENERS_MAX];
    uint32_t listeners_ready;
    struct epoll_foreign foreign[TT_IO_FOREIGN_MAX];

    struct tt_file_thread *files;
    uint32_t files_open, files_max;
    bool files_ready;
    struct tt_io_made_ring reads; /* done at once */
    uint32_t reads_due;           /* of those, to be reaped by now */
    bool never_at_once; /* the system cannot read what is in memory without waiting for the rest */

    /* Set by whoever wakes, cleared by the owner when it notices: one wake at a time. */
    _Alignas(64) _Atomic uint32_t wake_pending;
};

static inline struct tt_io_epoll *epoll_of(struct tt_io *io)
{
    return (struct tt_io_epoll *)(void *)io;
}

static inline void epoll_make(struct tt_io_epoll *e, uint64_t token, int32_t result, uint32_t slot,
                              enum epoll_made what)
{
    struct tt_io_made made = {token, result, 0, slot, (uint32_t)what};
    tt_io_made_push(&e->made, &made);
}

/* Registers a descriptor, edge triggered; TT_OK or what the system says. */
enum tt_status tt_epoll_watch(struct tt_io_epoll *e, int fd, uint32_t events, uint64_t data);

/* ---- epoll_sockets.c ---- */
enum tt_status tt_epoll_sockets_init(struct tt_io_epoll *e, const struct tt_io_options *options,
                                     uint32_t descriptors);
void tt_epoll_sockets_deinit(struct tt_io_epoll *e);
/* A slot for the descriptor, watched; TT_SOCKET_NONE when there is none (the descriptor is then
 * closed). */
uint32_t tt_epoll_socket_open(struct tt_io_epoll *e, int fd, uint16_t flags);
void tt_epoll_socket_free(struct tt_io_epoll *e, uint32_t slot);
void tt_epoll_socket_event(struct tt_io_epoll *e, uint32_t generation, uint32_t slot,
                           uint32_t events);
bool tt_epoll_made_done(struct tt_io_epoll *e, const struct tt_io_made *made, struct tt_done *done);
/* Receives from ready sockets, each one buffer in its turn. */
unsigned tt_epoll_receive(struct tt_io_epoll *e, struct tt_done *done, unsigned max);

void tt_epoll_recv(struct tt_io *io, tt_socket socket, uint64_t token);
void tt_epoll_recv_pause(struct tt_io *io, tt_socket socket);
void tt_epoll_buffer_return(struct tt_io *io, uint32_t buffer);
void tt_epoll_send(struct tt_io *io, tt_socket socket, const struct tt_slice *slices,
                   unsigned count, uint64_t token);
bool tt_epoll_sends_full(const struct tt_io *io);
void tt_epoll_poll_out(struct tt_io *io, tt_socket socket, uint64_t token);
void tt_epoll_shutdown_send(struct tt_io *io, tt_socket socket);
void tt_epoll_close(struct tt_io *io, tt_socket socket, bool abort, uint64_t token);

/* ---- epoll_accept.c: listeners, hand-over, connecting ---- */
void tt_epoll_listener_event(struct tt_io_epoll *e, uint32_t index);
unsigned tt_epoll_accept_ready(struct tt_io_epoll *e, struct tt_done *done, unsigned max);
void tt_epoll_connect_event(struct tt_io_epoll *e, uint32_t slot);
void tt_epoll_accept_deinit(struct tt_io_epoll *e);

enum tt_status tt_epoll_listen(struct tt_io *io, struct tt_address *address,
                               const struct tt_listen_options *options, tt_socket *listener);
void tt_epoll_accept(struct tt_io *io, tt_socket listener, uint64_t token);
void tt_epoll_accept_stop(struct tt_io *io, tt_socket listener);
unsigned tt_epoll_refuse_waiting(struct tt_io *io, tt_socket listener, struct tt_bytes answer,
                                 unsigned max);
void tt_epoll_adopt(struct tt_io *io, struct tt_handoff *handoff, uint64_t token);
void tt_epoll_connect(struct tt_io *io, const struct tt_address *local,
                      const struct tt_address *remote, const struct tt_listen_options *options,
                      uint64_t token);

/* ---- epoll_files.c ---- */
unsigned tt_epoll_files_done(struct tt_io_epoll *e, struct tt_done *done, unsigned max);

void tt_epoll_open(struct tt_io *io, const char *path, uint32_t flags, uint64_t token);
void tt_epoll_file_close(struct tt_io *io, tt_file file, uint64_t token);
void tt_epoll_preallocate(struct tt_io *io, tt_file file, uint64_t offset, uint64_t size,
                          uint64_t token);
void tt_epoll_read(struct tt_io *io, tt_file file, uint64_t offset, void *data, size_t size,
                   uint64_t token);
void tt_epoll_write(struct tt_io *io, tt_file file, uint64_t offset, const void *data, size_t size,
                    uint64_t token);
void tt_epoll_sync(struct tt_io *io, tt_file file, bool data_only, uint64_t token);
void tt_epoll_truncate(struct tt_io *io, tt_file file, uint64_t size, uint64_t token);
void tt_epoll_rename(struct tt_io *io, const char *from, const char *to, uint64_t token);
void tt_epoll_unlink(struct tt_io *io, const char *path, uint64_t token);

#endif
