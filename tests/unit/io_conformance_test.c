/* The conformance suite of the io: each test runs on every back end. Sockets; files are in
 * io_files_test.c, limits and wakes in io_limits_test.c. */
#include <pthread.h>

#include "tests/unit/io_rig.h"

#define RECV tt_token(10, 1, 1)
#define OUT  tt_token(11, 1, 1)

static void expect_bytes(struct rig *r, uint64_t token, const char *text)
{
    size_t have = 0;
    while (have < strlen(text)) {
        struct tt_done done = rig_wait(r, token);
        cr_assert_gt(done.result, 0);
        cr_assert_eq(done.flags, (TT_DONE_BUFFER | TT_DONE_MORE));
        cr_assert_eq(done.data.size, (size_t)done.result);
        cr_assert_eq(memcmp(done.data.data, text + have, done.data.size), 0);
        have += done.data.size;
        tt_io_buffer_return(r->io, done.buffer);
    }
}

BOTH(a_connection_is_accepted_adopted_echoed_and_closed)
{
    struct rig r = rig_of(kind);
    struct listening l = rig_listen(&r, "127.0.0.1:0");
    cr_assert_neq(l.address.port, 0);

    int peer = peer_connect(&l.address);
    struct sockaddr_in own;
    socklen_t size = sizeof own;
    cr_assert_eq(getsockname(peer, (struct sockaddr *)&own, &size), 0);
    struct tt_done done = rig_wait(&r, l.token);
    struct tt_handoff handoff = tt_io_handoff(r.io, done.result);
    cr_assert_eq(handoff.peer.family, TT_ADDRESS_IP4);
    cr_assert_eq(handoff.peer.port, ntohs(own.sin_port));
    cr_assert_eq(handoff.peer.ip[0], 127);

    tt_io_adopt(r.io, &handoff, tt_token(2, 1, 1));
    tt_socket socket = (tt_socket)rig_wait(&r, tt_token(2, 1, 1)).result;
    tt_io_recv(r.io, socket, RECV);
    peer_write(peer, "hello", 5);
    expect_bytes(&r, RECV, "hello");
    peer_write(peer, "again", 5);
    expect_bytes(&r, RECV, "again");

    cr_assert_eq(rig_send(&r, socket, "answer", 6), 6);
    char got[6];
    peer_read(peer, got, 6);
    cr_assert_eq(memcmp(got, "answer", 6), 0);

    (void)close(peer);
    done = rig_wait(&r, RECV);
    cr_assert_eq(done.result, 0);
    cr_assert_eq(done.flags, 0);
    rig_close(&r, socket);
    struct tt_io_figures figures;
    tt_io_figures(r.io, &figures);
    cr_assert_eq(figures.sockets_open, 0);
    cr_assert_eq(figures.sent_bytes, 6);
    cr_assert_eq(figures.received_bytes, 10);
    rig_end(&r);
}
