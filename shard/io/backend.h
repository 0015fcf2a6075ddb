/* What a back end of tt_io provides, and what the back ends share.
 *
 * A back end embeds struct tt_io as its first member and fills in the table; io.c forwards each
 * call of io.h to it. Besides io_uring.c and io_epoll.c a simulator in tests may be one. The
 * contracts are those of io.h. Included by shard/io and by back ends in tests only. */
#ifndef TT_SHARD_IO_BACKEND_H
#define TT_SHARD_IO_BACKEND_H

#include <sys/socket.h>

#include "shard/io/io.h"

struct tt_io_ops {
    const char *name;
    void (*quiesce)(struct tt_io *io); /* null: there is nothing that only its thread can do */
    void (*destroy)(struct tt_io *io); /* after quiesce */
    uint32_t (*sockets_max)(const struct tt_io *io);
    bool sockets_shared;

    void (*submit)(struct tt_io *io, uint64_t wait_until_ns);
    unsigned (*reap)(struct tt_io *io, struct tt_done *done, unsigned max);
    void (*wake)(struct tt_io *self, struct tt_io *other);
    void (*wake_from_outside)(struct tt_io *other);
    uint64_t (*now_ns)(struct tt_io *io);
    int64_t (*wall_us)(struct tt_io *io);
    uint64_t (*random)(struct tt_io *io);

    enum tt_status (*listen)(struct tt_io *io, struct tt_address *address,
                             const struct tt_listen_options *options, tt_socket *listener);
    void (*accept)(struct tt_io *io, tt_socket listener, uint64_t token);
    void (*accept_stop)(struct tt_io *io, tt_socket listener);
    unsigned (*refuse_waiting)(struct tt_io *io, tt_socket listener, struct tt_bytes answer,
                               unsigned max);
    struct tt_handoff (*handoff)(struct tt_io *io, int32_t reference);
    void (*refuse)(struct tt_io *io, struct tt_handoff *handoff, struct tt_bytes answer);
    void (*adopt)(struct tt_io *io, struct tt_handoff *handoff, uint64_t token);
    void (*connect)(struct tt_io *io, const struct tt_address *local,
                    const struct tt_address *remote, const struct tt_listen_options *options,
                    uint64_t token);

    void (*recv)(struct tt_io *io, tt_socket socket, uint64_t token);
    void (*recv_pause)(struct tt_io *io, tt_socket socket);
    void (*buffer_return)(struct tt_io *io, uint32_t buffer);
    void (*send)(struct tt_io *io, tt_socket socket, const struct tt_slice *slices, unsigned count,
                 uint64_t token);
    bool (*sends_full)(const struct tt_io *io);
    void (*poll_out)(struct tt_io *io, tt_socket socket, uint64_t token);
    void (*poll_in)(struct tt_io *io, int foreign, uint64_t token);
    void (*poll_in_stop)(struct tt_io *io, int foreign);
    void (*shutdown_send)(struct tt_io *io, tt_socket socket);
    void (*close)(struct tt_io *io, tt_socket socket, bool abort, uint64_t token);

    void (*open)(struct tt_io *io, const char *path, uint32_t flags, uint64_t token);
    void (*file_close)(struct tt_io *io, tt_file file, uint64_t token);
    void (*preallocate)(struct tt_io *io, tt_file file, uint64_t offset, uint64_t size,
                        uint64_t token);
    void (*read)(struct tt_io *io, tt_file file, uint64_t offset, void *data, size_t size,
                 uint64_t token);
    void (*write)(struct tt_io *io, tt_file file, uint64_t offset, const void *data, size_t size,
                  uint64_t token);
    void (*sync)(struct tt_io *io, tt_file file, bool data_only, uint64_t token);
    void (*truncate)(struct tt_io *io, tt_file file, uint64_t size, uint64_t token);
    void (*rename)(struct tt_io *io, const char *from, const char *to, uint64_t token);
    void (*unlink)(struct tt_io *io, const char *path, uint64_t token);
};

/* figures is kept here so that metrics cost no call; written by the io's thread. */
struct tt_io {
    const struct tt_io_ops *ops;
    struct tt_io_figures figures;
    struct tt_io_faults *faults; /* of faults_io.c; null outside of tests */
    bool quiet;                  /* tt_io_quiesce() was called */
    bool interrupt_next; /* the next file operation is to be interrupted once (EINTR), in tests */
};

/* Each creates its back end with limits already raised. `why` as in tt_io_create(). */
TT_MUST_USE enum tt_status tt_io_uring_create(struct tt_io **io,
                                              const struct tt_io_options *options, char *why,
                                              size_t why_bytes);
TT_MUST_USE enum tt_status tt_io_epoll_create(struct tt_io **io,
                                              const struct tt_io_options *options, char *why,
                                              size_t why_bytes);

/* ---- system.c: what both back ends ask of the operating system ---- */

/* errno (positive) as a status. */
enum tt_status tt_io_status_of_errno(int error);
/* The soft limit of descriptors, after raising it to the hard one. */
uint32_t tt_io_raise_descriptor_limit(void);
/* For a loop that has more to do and does not wait, while file operations are under way: the
 * threads that do them have the same core, and would get it at the end of the loop's slice,
 * milliseconds later, and the publishers their answers. Costs half a microsecond where nobody has
 * anything to do. */
void tt_io_yield_to_files(void);
uint64_t tt_io_clock_ns(struct tt_io *io);
int64_t tt_io_clock_wall_us(struct tt_io *io);
uint64_t tt_io_system_random(struct tt_io *io);

socklen_t tt_io_sockaddr_of(const struct tt_address *address, struct sockaddr_storage *sa);
void tt_io_address_of(const struct sockaddr_storage *sa, socklen_t size,
                      struct tt_address *address);

/* A listening, non-blocking descriptor. The options are inherited by what it accepts. */
TT_MUST_USE enum tt_status tt_io_system_listen(struct tt_address *address,
                                               const struct tt_listen_options *options, int *fd);
/* A non-blocking descriptor whose connecting has begun (*connected: has ended). */
TT_MUST_USE enum tt_status tt_io_system_connect(const struct tt_address *local,
                                                const struct tt_address *remote,
                                                const struct tt_listen_options *options, int *fd,
                                                bool *connected);
/* How connecting ended: the descriptor's pending error. */
enum tt_status tt_io_system_connect_result(int fd);
struct tt_handoff tt_io_system_handoff(struct tt_io *io, int32_t reference);
/* Sends what fits at once and closes. */
void tt_io_system_refuse(struct tt_io *io, struct tt_handoff *handoff, struct tt_bytes answer);
/* See tt_io_refuse_waiting(). *reserve: a descriptor that can be given up for a moment. */
unsigned tt_io_system_refuse_waiting(int listener, int *reserve, struct tt_bytes answer,
                                     unsigned max);
int tt_io_system_reserve(void); /* opens the reserve; -1: none to be had */
/* TT_OPEN_* as flags of open(2). */
int tt_io_system_open_flags(uint32_t flags);

/* ---- completions made by the back end itself ----
 * A ring of entries, each perhaps bound to a socket's slot: the back end looks at the slot's state
 * when the entry is taken, so that nothing is reaped for a socket that is closing. */
struct tt_io_made {
    uint64_t token;
    int32_t result;
    uint32_t flags;
    uint32_t slot; /* TT_SOCKET_NONE: of no socket */
    uint32_t what; /* the back end's own */
};
struct tt_io_made_ring {
    struct tt_io_made *entries;
    uint32_t capacity; /* a power of two */
    uint32_t head, tail;
};
TT_MUST_USE enum tt_status tt_io_made_init(struct tt_io_made_ring *ring, uint32_t at_least);
void tt_io_made_deinit(struct tt_io_made_ring *ring);
void tt_io_made_push(struct tt_io_made_ring *ring, const struct tt_io_made *entry);

static inline bool tt_io_made_empty(const struct tt_io_made_ring *ring)
{
    return ring->head == ring->tail;
}

static inline struct tt_io_made tt_io_made_take(struct tt_io_made_ring *ring)
{
    struct tt_io_made entry = ring->entries[ring->head++ & (ring->capacity - 1)];
    /* Begin again at the front, so that a large ring touches little of its memory. */
    if (ring->head == ring->tail) ring->head = ring->tail = 0;
    return entry;
}

#endif
