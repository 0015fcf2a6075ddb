/* What the tests of the io share: an io with a stash of completions, and peers that are ordinary
 * blocking sockets, so that what the io did is seen from outside. */
#ifndef TT_TESTS_UNIT_IO_RIG_H
#define TT_TESTS_UNIT_IO_RIG_H

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "shard/io/io.h"

/* One test for each back end. */
#define BOTH(name)                                                                                 \
    static void name(enum tt_io_kind kind);                                                        \
    Test(io_uring, name, .timeout = 120)                                                           \
    {                                                                                              \
        name(TT_IO_URING);                                                                         \
    }                                                                                              \
    Test(io_epoll, name, .timeout = 120)                                                           \
    {                                                                                              \
        name(TT_IO_EPOLL);                                                                         \
    }                                                                                              \
    static void name(enum tt_io_kind kind)

#define STASH_MAX  65536u
#define PATIENCE_S 60u /* a completion that has not come by then will not come */

struct rig {
    struct tt_io *io;
    struct tt_done *stash; /* reaped, not yet asked for */
    unsigned stashed;
};

static inline struct rig rig_with(enum tt_io_kind kind, uint32_t sockets, uint32_t buffers,
                                  uint32_t buffer_bytes)
{
    struct tt_io_options options = {
        .kind = kind,
        .sockets_max = sockets,
        .recv_buffers = buffers,
        .recv_buffer_bytes = buffer_bytes,
        .files_max = 16,
    };
    char why[256];
    struct rig r = {0};
    enum tt_status status = tt_io_create(&r.io, &options, why, sizeof why);
    cr_assert_eq(status, TT_OK, "%s", why);
    cr_assert_str_eq(tt_io_name(r.io), kind == TT_IO_URING ? "io_uring" : "epoll");
    r.stash = malloc(STASH_MAX * sizeof *r.stash);
    cr_assert_not_null(r.stash);
    return r;
}

static inline struct rig rig_of(enum tt_io_kind kind)
{
    return rig_with(kind, 256, 64, 4096);
}

static inline void rig_end(struct rig *r)
{
    tt_io_destroy(&r->io);
    free(r->stash);
}

static inline void rig_reap(struct rig *r)
{
    unsigned n;
    while ((n = tt_io_reap(r->io, r->stash + r->stashed, STASH_MAX - r->stashed)) != 0) {
        r->stashed += n;
        cr_assert_lt(r->stashed, STASH_MAX);
    }
}

static inline bool rig_find(struct rig *r, uint64_t token, struct tt_done *done)
{
    for (unsigned i = 0; i < r->stashed; i++) {
        if (r->stash[i].token != token) continue;
        *done = r->stash[i];
        memmove(&r->stash[i], &r->stash[i + 1], (r->stashed - i - 1) * sizeof *done);
        r->stashed--;
        return true;
    }
    return false;
}

/* The next completion with this token. */
static inline struct tt_done rig_wait(struct rig *r, uint64_t token)
{
    struct tt_done done;
    uint64_t deadline = tt_io_now_ns(r->io) + PATIENCE_S * UINT64_C(1000000000);
    rig_reap(r);
    while (!rig_find(r, token, &done)) {
        cr_assert_lt(tt_io_now_ns(r->io), deadline, "no completion of operation %u",
                     (unsigned)tt_token_operation(token));
        tt_io_submit(r->io, deadline);
        rig_reap(r);
    }
    return done;
}

/* Lets the io do what it can do now; what it then has not done, it was not allowed to do. */
static inline void rig_settle(struct rig *r)
{
    for (int i = 0; i < 20; i++) {
        tt_io_submit(r->io, tt_io_now_ns(r->io) + 1000000);
        rig_reap(r);
    }
}

static inline unsigned rig_count(const struct rig *r, uint64_t token)
{
    unsigned count = 0;
    for (unsigned i = 0; i < r->stashed; i++) count += r->stash[i].token == token;
    return count;
}

static inline struct tt_address rig_address(const char *text)
{
    struct tt_address a;
    cr_assert_eq(tt_address_parse(tt_bytes_text(text), &a), TT_OK);
    return a;
}

static const struct tt_listen_options rig_listen_options = {.backlog = 4096, .no_delay = true};

struct listening {
    struct tt_address address;
    tt_socket listener;
    uint64_t token;
};

static inline struct listening rig_listen(struct rig *r, const char *text)
{
    struct listening l = {.address = rig_address(text), .token = tt_token(1, 1, 1)};
    cr_assert_eq(tt_io_listen(r->io, &l.address, &rig_listen_options, &l.listener), TT_OK);
    tt_io_accept(r->io, l.listener, l.token);
    tt_io_submit(r->io, 0);
    return l;
}

/* ---- peers ---- */

static inline int peer_connect_with(const struct tt_address *a, int receive_bytes)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(a->port)};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    memcpy(&in.sin_addr, a->ip, 4);
    memcpy(un.sun_path, a->path, sizeof a->path);
    bool is_unix = a->family == TT_ADDRESS_UNIX;
    int fd = socket(is_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_geq(fd, 0);
    if (receive_bytes != 0) {
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
    }
    int result = is_unix ? connect(fd, (struct sockaddr *)&un, sizeof un)
                         : connect(fd, (struct sockaddr *)&in, sizeof in);
    cr_assert_eq(result, 0, "connect: %s", strerror(errno));
    return fd;
}

static inline int peer_connect(const struct tt_address *a)
{
    return peer_connect_with(a, 0);
}

static inline void peer_write(int fd, const void *data, size_t size)
{
    const char *at = data;
    while (size != 0) {
        ssize_t n = send(fd, at, size, MSG_NOSIGNAL);
        cr_assert_gt(n, 0, "peer's send: %s", strerror(errno));
        at += n;
        size -= (size_t)n;
    }
}

static inline void peer_read(int fd, void *data, size_t size)
{
    char *at = data;
    while (size != 0) {
        ssize_t n = recv(fd, at, size, 0);
        cr_assert_gt(n, 0, "peer's recv: %s", n == 0 ? "end" : strerror(errno));
        at += n;
        size -= (size_t)n;
    }
}

static inline void peer_expect_end(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, 0);
    cr_assert_eq(n, 0, "the peer expected the end, not %s", n > 0 ? "a byte" : strerror(errno));
}

static inline void peer_reset(int fd)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    (void)close(fd);
}

/* A connected pair: the io's socket and a peer. */
struct pair {
    tt_socket socket;
    int peer;
};

static inline struct pair rig_pair_with(struct rig *r, const struct listening *l, int receive_bytes)
{
    struct pair p = {.peer = peer_connect_with(&l->address, receive_bytes)};
    struct tt_done done = rig_wait(r, l->token);
    cr_assert_geq(done.result, 0);
    cr_assert_eq(done.flags, TT_DONE_MORE);
    struct tt_handoff handoff = tt_io_handoff(r->io, done.result);
    tt_io_adopt(r->io, &handoff, tt_token(2, 1, 1));
    done = rig_wait(r, tt_token(2, 1, 1));
    cr_assert_geq(done.result, 0);
    p.socket = (tt_socket)done.result;
    return p;
}

static inline struct pair rig_pair(struct rig *r, const struct listening *l)
{
    return rig_pair_with(r, l, 0);
}

static inline int32_t rig_send(struct rig *r, tt_socket socket, const void *data, size_t size)
{
    struct tt_slice slice = {data, size};
    tt_io_send(r->io, socket, &slice, 1, tt_token(3, 7, 7));
    tt_io_submit(r->io, 0);
    return rig_wait(r, tt_token(3, 7, 7)).result;
}

static inline void rig_close(struct rig *r, tt_socket socket)
{
    tt_io_close(r->io, socket, tt_token(4, 4, 4));
    cr_assert_eq(rig_wait(r, tt_token(4, 4, 4)).result, 0);
}

#endif
