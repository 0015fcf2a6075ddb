/* The only door to the operating system: sockets, files, clocks, wakes, random numbers.
 *
 * One struct tt_io for each thread; it is used by that thread alone (tt_io_wake may name another
 * thread's io). Back ends: io_uring (io_uring.c), epoll (io_epoll.c: sockets by readiness, files by
 * one helper thread), and a simulator in tests. All have the same behaviour and pass one
 * conformance suite (tests/unit/io_conformance_test.c).
 *
 * Operations complete through tt_io_reap(), never inside the call that started them, so there is no
 * re-entrancy. A completion carries the caller's token: operation | generation | slot, never a
 * pointer, so that a late completion for an object that is gone is recognised by its generation.
 *
 * Rules that hold for every back end:
 *  - A send never blocks and never stays in flight: it is tried once, at the latest inside the next
 *    tt_io_submit(). Its slices must stay valid until that call has returned, no longer. Its result
 *    is the number of bytes taken, which may be short; 0 means that the socket is full: arm
 *    tt_io_poll_out(). A socket's next send may be queued once the completion of the one before was
 *    reaped (asserted).
 *  - Received bytes are lent: done.data points into a buffer of the io until tt_io_buffer_return().
 *    When all buffers are lent, receiving pauses by itself and goes on as they are returned.
 *  - Once tt_io_close() or tt_io_abort() was called, nothing is reaped for that socket but the
 *    completion of the close, exactly once; the number of the socket may be used again after it.
 *    Buffers lent before stay lent until they are returned.
 *  - File operations of one file may complete in any order; whoever needs order waits.
 *  - Results are >= 0, or a negative enum tt_status.
 * Memory: everything is allocated by tt_io_create(); what sockets_max sizes is touched on use. */
#ifndef TT_SHARD_IO_IO_H
#define TT_SHARD_IO_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/bytes.h"
#include "proto/base/status.h"

struct tt_io;
struct tt_faults; /* faults.h */

typedef uint32_t tt_socket; /* an index of this io, never a process-wide descriptor */
typedef int32_t tt_file;    /* a file opened through this io */
#define TT_SOCKET_NONE UINT32_MAX
#define TT_FILE_NONE   (-1)

/* ---- tokens: 8 bits operation, 24 bits generation, 32 bits slot; all the caller's own ---- */
static inline uint64_t tt_token(uint8_t operation, uint32_t generation, uint32_t slot)
{
    return (uint64_t)operation << 56 | (uint64_t)(generation & 0xFFFFFFu) << 32 | slot;
}
static inline uint8_t tt_token_operation(uint64_t token)
{
    return (uint8_t)(token >> 56);
}
static inline uint32_t tt_token_generation(uint64_t token)
{
    return (uint32_t)(token >> 32) & 0xFFFFFFu;
}
static inline uint32_t tt_token_slot(uint64_t token)
{
    return (uint32_t)token;
}

/* ---- addresses ---- */
enum tt_address_family { TT_ADDRESS_NONE = 0, TT_ADDRESS_IP4, TT_ADDRESS_IP6, TT_ADDRESS_UNIX };
struct tt_address {
    uint8_t family; /* enum tt_address_family */
    uint16_t port;  /* host order */
    uint8_t ip[16]; /* network order; 4 or 16 bytes */
    char path[104]; /* TT_ADDRESS_UNIX */
};
#define TT_ADDRESS_TEXT_MAX 112 /* bytes with the final zero */
/* "127.0.0.1:8080", "[::1]:8080", "unix:/run/x", without a DNS look-up ("localhost" is 127.0.0.1).
 */
TT_MUST_USE enum tt_status tt_address_parse(struct tt_bytes text, struct tt_address *address);
/* Writes the same form; without the port if port is 0. Always terminated by a zero. */
void tt_address_text(const struct tt_address *address, char text[TT_ADDRESS_TEXT_MAX]);
bool tt_address_is_loopback(const struct tt_address *address); /* unix sockets are */

/* ---- completions ---- */
enum tt_done_flags {
    TT_DONE_MORE = 1,   /* multishot: further completions of this operation follow */
    TT_DONE_BUFFER = 2, /* data is lent; give `buffer` back by tt_io_buffer_return() */
};
struct tt_done {
    uint64_t token;
    int32_t result;
    uint32_t flags;
    struct tt_bytes data;
    uint32_t buffer;
};

struct tt_slice {
    const void *data;
    size_t size;
};
#define TT_IO_SLICES_MAX 64u /* slices in one send */
#define TT_IO_SENDS_PER_SUBMIT                                                                     \
    96u /* sends run inline in the submit: more would hold up the loop                             \
         */

/* ---- life ---- */
enum tt_io_kind { TT_IO_AUTO = 0, TT_IO_URING, TT_IO_EPOLL };
struct tt_io_options {
    enum tt_io_kind kind;
    uint32_t sockets_max;       /* most sockets open at once */
    uint32_t recv_buffer_bytes; /* size of one lent buffer */
    uint32_t recv_buffers;      /* number of them, a power of two */
    uint32_t files_max;         /* most files open at once; 0: no file operation is called */
    struct tt_faults *faults;   /* for tests: what goes wrong with files; null: nothing */
};
/* Creates the io of the calling thread (the thread that will use it). With TT_IO_AUTO: io_uring, a
 * smaller completion queue when locked memory is short, else epoll. `why` gets one line that says
 * why epoll was chosen (empty otherwise), or why creation failed. Raises the soft RLIMIT_NOFILE to
 * the hard one. sockets_max is lowered to what the back end can hold; see tt_io_sockets_max().
 * TT_OK; TT_EUNSUPPORTED, TT_ENOMEM, TT_ENOFILE, TT_EIO. */
TT_MUST_USE enum tt_status tt_io_create(struct tt_io **io, const struct tt_io_options *options,
                                        char *why, size_t why_bytes);
/* Closes the sockets and listeners that are open, and ends operations that are running; files are
 * the caller's to close. Lent buffers are gone. The io's own thread, once, before it ends: the
 * kernel takes submissions of no other (io_uring_setup(2), IORING_SETUP_SINGLE_ISSUER; and a
 * registered descriptor of a ring is its thread's). Others may still wake it, which does nothing.
 */
void tt_io_quiesce(struct tt_io *io);
/* Frees it. Any thread after tt_io_quiesce(), while nobody can wake it any more; without that, its
 * own thread. */
void tt_io_destroy(struct tt_io **io);
const char *tt_io_name(const struct tt_io *io); /* "io_uring" or "epoll" */
/* The most sockets this io can hold open at once: sockets_max, lowered to the descriptor limit of
 * the process (io_uring: the size of the ring's own table; epoll: less a reserve for files and the
 * rest).
 */
uint32_t tt_io_sockets_max(const struct tt_io *io);
/* True when that limit is one for all ios of the process together (epoll); false when each io has
 * its own (io_uring). Thread: any. */
bool tt_io_sockets_shared(const struct tt_io *io);

/* ---- the loop ---- */
/* Submits what was queued and waits until there is a completion, a wake, or the time is
 * `wait_until_ns` (of tt_io_now_ns; 0: do not wait; UINT64_MAX: no deadline). */
void tt_io_submit(struct tt_io *io, uint64_t wait_until_ns);
/* Takes at most `max` completions; returns their number. Call until it returns 0. */
unsigned tt_io_reap(struct tt_io *io, struct tt_done *done, unsigned max);
/* Makes a waiting (or the next) tt_io_submit() of `other` return. Thread: owner of `self`; `other`
 * may belong to any thread and must be alive and of the same kind. Leaves no completion to reap.
 * The wake is sent before this returns; while an earlier one has not been noticed by `other`, this
 * costs one atomic exchange. Who is woken sees everything that was written before the call. */
void tt_io_wake(struct tt_io *self, struct tt_io *other);
/* The same from a signal handler or a thread without io (async-signal-safe). */
void tt_io_wake_from_outside(struct tt_io *other);

uint64_t tt_io_now_ns(struct tt_io *io); /* monotonic */
int64_t tt_io_wall_us(struct tt_io *io); /* unix time; may jump */
uint64_t tt_io_random(struct tt_io *io); /* unpredictable to peers */

/* ---- listening, accepting, handing over (control thread -> shard) ---- */
struct tt_listen_options {
    uint32_t backlog;
    uint32_t notsent_lowat_bytes;  /* TCP_NOTSENT_LOWAT; 0: leave */
    uint32_t send_buffer_bytes;    /* SO_SNDBUF; 0: leave */
    uint32_t receive_buffer_bytes; /* SO_RCVBUF; 0: leave */
    uint32_t user_timeout_ms;      /* TCP_USER_TIMEOUT; 0: leave */
    bool no_delay;                 /* TCP_NODELAY */
    bool keepalive;
};
/* An accepted connection on its way to another thread: plain data, may be posted in a message. It
 * must end in exactly one tt_io_adopt() or tt_io_refuse(). */
struct tt_handoff {
    int32_t reference;
    struct tt_address peer;
};
/* Immediate. On TT_OK, *address holds the address with the port that was chosen. TT_EBUSY: in use.
 * A stale unix socket file that nobody listens on is replaced. */
TT_MUST_USE enum tt_status tt_io_listen(struct tt_io *io, struct tt_address *address,
                                        const struct tt_listen_options *options,
                                        tt_socket *listener);
#define TT_IO_LISTENERS_MAX 16u /* of one io */

/* Multishot. done.result is a handoff reference (>= 0); fetch the peer by tt_io_handoff(). Without
 * TT_DONE_MORE: ended. The result is the reason: TT_ENOFILE, the process has no descriptor left:
 * the waiting connections stay in the backlog, call again to go on (a little later, or it ends
 * again at once), or tell them by tt_io_refuse_waiting(). */
void tt_io_accept(struct tt_io *io, tt_socket listener, uint64_t token);
/* Closes the listener. An accept that is running ends with TT_ECANCELED; connections accepted
 * before may still be reaped until then. */
void tt_io_accept_stop(struct tt_io *io, tt_socket listener);
/* For when accepting ended with TT_ENOFILE: takes at most `max` connections from the backlog, one
 * after the other on a descriptor that the io keeps in reserve, sends `answer` as far as it goes at
 * once, and closes. Immediate; returns how many were refused. */
unsigned tt_io_refuse_waiting(struct tt_io *io, tt_socket listener, struct tt_bytes answer,
                              unsigned max);
struct tt_handoff tt_io_handoff(struct tt_io *io, int32_t reference);
/* Sends `answer` as far as it goes at once (may be empty) and closes. Thread: any that has an io.
 */
void tt_io_refuse(struct tt_io *io, struct tt_handoff *handoff, struct tt_bytes answer);
/* done.result is the tt_socket, or negative: TT_ENOFILE (the connection is closed then). Adoptions
 * are batched: one table update for each submit. */
void tt_io_adopt(struct tt_io *io, struct tt_handoff *handoff, uint64_t token);
/* done.result is the tt_socket, or negative: TT_ECLOSED (refused), TT_ETIMEDOUT, TT_ENOENT (no such
 * unix socket), TT_EBUSY (local address in use), TT_ENOFILE, TT_EIO. `local` may be null; its port
 * may be 0: the system then chooses one when the remote is known, so that many source addresses
 * give many times 28,000 ports. `options` may be null. */
void tt_io_connect(struct tt_io *io, const struct tt_address *local,
                   const struct tt_address *remote, const struct tt_listen_options *options,
                   uint64_t token);

/* ---- sockets ---- */
/* Multishot. result > 0: bytes in done.data (TT_DONE_BUFFER and TT_DONE_MORE); 0: the peer has
 * ended its side (no MORE); negative: TT_ECLOSED (reset), TT_ETIMEDOUT (no MORE). Running out of
 * buffers and overflow of the completion queue are healed inside. One for a socket: call it again
 * only after the completion without MORE (asserted). */
void tt_io_recv(struct tt_io *io, tt_socket socket, uint64_t token);
/* Stops it: bytes already received may still be reaped, then one completion without MORE,
 * TT_ECANCELED (or the peer's end or an error that came first), and nothing until tt_io_recv()
 * again. Harmless when receiving has ended or is being paused. */
void tt_io_recv_pause(struct tt_io *io, tt_socket socket);
void tt_io_buffer_return(struct tt_io *io, uint32_t buffer);
/* 1 <= count <= TT_IO_SLICES_MAX. The array itself may be reused at once, the bytes may not.
 * result: bytes taken (short is normal, 0: full); TT_ECLOSED when the peer is gone. */
void tt_io_send(struct tt_io *io, tt_socket socket, const struct tt_slice *slices, unsigned count,
                uint64_t token);
/* True when TT_IO_SENDS_PER_SUBMIT sends are queued: submit before the next one. */
bool tt_io_sends_full(const struct tt_io *io);
/* One-shot: completes (result 0) when bytes can be sent or the socket has failed (the next send
 * says how). One for a socket at a time (asserted). */
void tt_io_poll_out(struct tt_io *io, tt_socket socket, uint64_t token);
/* Multishot: completes (MORE) whenever a foreign descriptor (an eventfd of a library) is readable.
 * Edge triggered: drain it. */
void tt_io_poll_in(struct tt_io *io, int foreign, uint64_t token);
#define TT_IO_FOREIGN_MAX 16u
/* Ends it before the library closes its descriptor. Nothing more is reaped for it. */
void tt_io_poll_in_stop(struct tt_io *io, int foreign);
void tt_io_shutdown_send(struct tt_io *io, tt_socket socket); /* FIN; no completion */
/* Ends every operation of the socket and closes it. One completion, the last for this socket. */
void tt_io_close(struct tt_io *io, tt_socket socket, uint64_t token);
/* As tt_io_close(), but the peer gets a reset and unsent bytes are dropped. */
void tt_io_abort(struct tt_io *io, tt_socket socket, uint64_t token);

/* ---- files ---- paths are copied; memory of read and write stays the io's until the completion.
 * New files get mode 0640. What a signal interrupts (EINTR) is done again inside. Errors:
 * TT_ENOENT, TT_EEXIST, TT_EACCES, TT_ENOSPC, TT_ENOFILE, TT_EINVAL (a path too long, a directory
 * where a file must be), TT_EIO. */
#define TT_IO_FILE_OPERATIONS_MAX 256u /* in flight in one io (asserted) */
enum tt_open_flags {
    TT_OPEN_READ = 1,
    TT_OPEN_WRITE = 2,
    TT_OPEN_CREATE = 4,
    TT_OPEN_EXCLUSIVE = 8,
    TT_OPEN_DIRECTORY = 16,
    TT_OPEN_TRUNCATE = 32,
};
void tt_io_open(struct tt_io *io, const char *path, uint32_t flags,
                uint64_t token); /* result: tt_file */
void tt_io_file_close(struct tt_io *io, tt_file file, uint64_t token);
/* Reserves disk blocks; the size grows to offset + size. TT_EUNSUPPORTED where the file system
 * cannot. */
void tt_io_preallocate(struct tt_io *io, tt_file file, uint64_t offset, uint64_t size,
                       uint64_t token);
void tt_io_read(struct tt_io *io, tt_file file, uint64_t offset, void *data, size_t size,
                uint64_t token); /* result: bytes, short is possible, 0 at the end */
void tt_io_write(
    struct tt_io *io, tt_file file, uint64_t offset, const void *data, size_t size,
    uint64_t token); /* result: bytes, short is possible; TT_ENOSPC, TT_EIO, TT_EACCES */
void tt_io_sync(struct tt_io *io, tt_file file, bool data_only, uint64_t token);
void tt_io_truncate(struct tt_io *io, tt_file file, uint64_t size, uint64_t token);
void tt_io_rename(struct tt_io *io, const char *from, const char *to, uint64_t token);
void tt_io_unlink(struct tt_io *io, const char *path, uint64_t token);

/* ---- figures, for metrics; cumulative since creation ---- */
struct tt_io_figures {
    uint64_t sends, sent_bytes, sends_full, receives, received_bytes;
    uint64_t submits, completions, overflows,
        starved;      /* starved: receives that waited for buffers */
    uint64_t wait_ns; /* time spent waiting inside submit: the rest was busy */
    uint32_t sockets_open;
};
void tt_io_figures(const struct tt_io *io, struct tt_io_figures *figures);

#endif
