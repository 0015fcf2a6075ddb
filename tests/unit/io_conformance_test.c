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

/* ---- receiving ---- */

/* Collects what arrives for one token into `got`, giving each buffer back at once. */
static size_t drain(struct rig *r, uint64_t token, char *got, size_t most)
{
    struct tt_done done;
    size_t have = 0;
    rig_reap(r);
    while (rig_find(r, token, &done)) {
        cr_assert_gt(done.result, 0);
        cr_assert_leq(have + done.data.size, most);
        memcpy(got + have, done.data.data, done.data.size);
        have += done.data.size;
        tt_io_buffer_return(r->io, done.buffer);
    }
    return have;
}

BOTH(receiving_waits_while_all_buffers_are_lent_and_goes_on_when_they_return)
{
    enum { PEERS = 8, BYTES = 1000, BUFFERS = 4, BUFFER = 64 };
    struct rig r = rig_with(kind, 64, BUFFERS, BUFFER);
    struct listening l = rig_listen(&r, "127.0.0.1:0");
    struct pair pairs[PEERS];
    char sent[PEERS][BYTES];
    for (int p = 0; p < PEERS; p++) {
        pairs[p] = rig_pair(&r, &l);
        tt_io_recv(r.io, pairs[p].socket, tt_token(20, 0, (uint32_t)p));
        for (int i = 0; i < BYTES; i++) sent[p][i] = (char)(i * 7 + p);
        peer_write(pairs[p].peer, sent[p], BYTES);
    }
    rig_settle(&r);
    cr_assert_eq(r.stashed, BUFFERS); /* all lent, and nothing beyond */
    struct tt_io_figures figures;
    tt_io_figures(r.io, &figures);
    uint64_t completions = figures.completions;
    rig_settle(&r);
    tt_io_figures(r.io, &figures);
    cr_assert_eq(figures.completions, completions, "who waits for buffers must not spin");

    size_t have[PEERS] = {0};
    size_t all = 0;
    uint64_t deadline = tt_io_now_ns(r.io) + PATIENCE_S * UINT64_C(1000000000);
    while (all < (size_t)PEERS * BYTES) {
        cr_assert_lt(tt_io_now_ns(r.io), deadline, "%zu of %d bytes", all, PEERS * BYTES);
        for (int p = 0; p < PEERS; p++) {
            struct tt_done done;
            while (rig_find(&r, tt_token(20, 0, (uint32_t)p), &done)) {
                cr_assert_gt(done.result, 0);
                cr_assert_eq(memcmp(done.data.data, sent[p] + have[p], done.data.size), 0);
                have[p] += done.data.size;
                all += done.data.size;
                tt_io_buffer_return(r.io, done.buffer);
            }
        }
        tt_io_submit(r.io, tt_io_now_ns(r.io) + 1000000);
        rig_reap(&r);
    }
    tt_io_figures(r.io, &figures);
    cr_assert_gt(figures.starved, 0);
    rig_end(&r);
}

BOTH(paused_receiving_ends_with_one_completion_and_loses_nothing)
{
    struct rig r = rig_of(kind);
    struct listening l = rig_listen(&r, "127.0.0.1:0");
    struct pair p = rig_pair(&r, &l);
    tt_io_recv(r.io, p.socket, RECV);
    peer_write(p.peer, "one", 3);
    expect_bytes(&r, RECV, "one");

    tt_io_recv_pause(r.io, p.socket);
    tt_io_recv_pause(r.io, p.socket); /* harmless */
    struct tt_done done = rig_wait(&r, RECV);
    cr_assert_eq(done.result, TT_ECANCELED);
    cr_assert_eq(done.flags, 0);
    peer_write(p.peer, "two", 3);
    rig_settle(&r);
    cr_assert_eq(r.stashed, 0, "bytes came while paused");

    tt_io_recv(r.io, p.socket, RECV);
    expect_bytes(&r, RECV, "two");
    tt_io_recv_pause(r.io, p.socket);
    cr_assert_eq(rig_wait(&r, RECV).result, TT_ECANCELED);
    (void)close(p.peer);
    tt_io_recv_pause(r.io, p.socket); /* harmless: it is paused */
    rig_settle(&r);
    cr_assert_eq(r.stashed, 0, "the end came while paused");
    tt_io_recv(r.io, p.socket, RECV);
    cr_assert_eq(rig_wait(&r, RECV).result, 0);
    rig_end(&r);
}

BOTH(pausing_while_starved_ends_at_once)
{
    struct rig r = rig_with(kind, 64, 2, 16);
    struct listening l = rig_listen(&r, "127.0.0.1:0");
    struct pair p = rig_pair(&r, &l);
    tt_io_recv(r.io, p.socket, RECV);
    char bytes[200] = {0};
    peer_write(p.peer, bytes, sizeof bytes);
    rig_settle(&r);
    cr_assert_eq(r.stashed, 2);
    tt_io_recv_pause(r.io, p.socket);
    rig_settle(&r);
    cr_assert_eq(r.stashed, 3);
    cr_assert_eq(r.stash[2].result, TT_ECANCELED);
    tt_io_buffer_return(r.io, r.stash[0].buffer);
    tt_io_buffer_return(r.io, r.stash[1].buffer);
    r.stashed = 0;
    rig_settle(&r);
    cr_assert_eq(r.stashed, 0, "bytes came while paused");
    tt_io_recv(r.io, p.socket, RECV);
    char got[200];
    size_t have = 32;
    while (have < sizeof bytes) {
        tt_io_submit(r.io, tt_io_now_ns(r.io) + 1000000);
        have += drain(&r, RECV, got, sizeof got);
    }
    cr_assert_eq(have, sizeof bytes);
    rig_end(&r);
}

BOTH(the_end_comes_after_all_bytes)
{
    struct rig r = rig_with(kind, 64, 4, 512);
    struct listening l = rig_listen(&r, "127.0.0.1:0");
    struct pair p = rig_pair(&r, &l);
    static char big[100000];
    for (size_t i = 0; i < sizeof big; i++) big[i] = (char)(i % 251);
    tt_io_recv(r.io, p.socket, RECV);
    peer_write(p.peer, big, sizeof big);
    (void)close(p.peer);
    size_t have = 0;
    for (;;) {
        struct tt_done done = rig_wait(&r, RECV);
        if (done.result == 0) break;
        cr_assert_gt(done.result, 0);
        cr_assert_eq(memcmp(done.data.data, big + have, done.data.size), 0);
        have += done.data.size;
        tt_io_buffer_return(r.io, done.buffer);
    }
    cr_assert_eq(have, sizeof big);
    rig_settle(&r);
    cr_assert_eq(r.stashed, 0);
    rig_end(&r);
}

/* ---- sending ---- */

BOTH(slices_of_one_send_arrive_in_order)
{
    struct rig r = rig_of(kind);
    struct listening l = rig_listen(&r, "127.0.0.1:0");
    struct pair p = rig_pair(&r, &l);
    struct tt_slice slices[TT_IO_SLICES_MAX];
    static char bytes[TT_IO_SLICES_MAX][10];
    for (unsigned i = 0; i < TT_IO_SLICES_MAX; i++) {
        memset(bytes[i], (int)('0' + i), 10);
        slices[i] = (struct tt_slice){bytes[i], 10};
    }
    tt_io_send(r.io, p.socket, slices, TT_IO_SLICES_MAX, tt_token(3, 1, 1));
    memset(slices, 0, sizeof slices); /* the array is ours again at once */
    cr_assert_eq(rig_wait(&r, tt_token(3, 1, 1)).result, (int32_t)sizeof bytes);
    char got[sizeof bytes];
    peer_read(p.peer, got, sizeof got);
    cr_assert_eq(memcmp(got, bytes, sizeof got), 0);
    rig_end(&r);
}

BOTH(a_full_socket_takes_nothing_and_says_when_it_can_again)
{
    struct rig r = rig_of(kind);
    struct listening l = rig_listen(&r, "127.0.0.1:0");
    struct pair p = rig_pair_with(&r, &l, 4096);
    static char chunk[65536];
    for (size_t i = 0; i < sizeof chunk; i++) chunk[i] = (char)(i % 253);
    uint64_t sent = 0;
    int shorts = 0;
    for (;;) {
        /* Each send continues the pattern where the last one ended. */
        size_t at = sent % sizeof chunk;
        int32_t n = rig_send(&r, p.socket, chunk + at, sizeof chunk - at);
        cr_assert_geq(n, 0);
        if (n == 0) break;
        shorts += (size_t)n < sizeof chunk - at;
        sent += (uint64_t)n;
        cr_assert_lt(sent, 1u << 30);
    }
    cr_assert_gt(shorts, 0);
    tt_io_poll_out(r.io, p.socket, OUT);
    rig_settle(&r);
    cr_assert_eq(rig_count(&r, OUT), 0, "a full socket was called writable");

    char got[4096];
    uint64_t taken = 0;
    while (taken < sent) {
        ssize_t n = recv(p.peer, got, sizeof got, 0);
        cr_assert_gt(n, 0);
        for (ssize_t i = 0; i < n; i++) {
            cr_assert_eq(got[i], chunk[(taken + (uint64_t)i) % sizeof chunk]);
        }
        taken += (uint64_t)n;
    }
    cr_assert_eq(rig_wait(&r, OUT).result, 0);
    cr_assert_gt(rig_send(&r, p.socket, chunk, 100), 0);
    rig_end(&r);
}

BOTH(an_idle_socket_is_writable_at_once)
{
    struct rig r = rig_of(kind);
    struct listening l = rig_listen(&r, "127.0.0.1:0");
    struct pair p = rig_pair(&r, &l);
    for (int i = 0; i < 3; i++) {
        tt_io_poll_out(r.io, p.socket, OUT);
        cr_assert_eq(rig_wait(&r, OUT).result, 0);
    }
    rig_settle(&r);
    cr_assert_eq(r.stashed, 0, "one-shot");
    rig_end(&r);
}

BOTH(sends_are_counted_and_bounded_between_submits)
{
    enum { PEERS = (int)TT_IO_SENDS_PER_SUBMIT };
    struct rig r = rig_of(kind);
    struct listening l = rig_listen(&r, "127.0.0.1:0");
    struct pair pairs[PEERS];
    for (int i = 0; i < PEERS; i++) pairs[i] = rig_pair(&r, &l);
    struct tt_slice slice = {"x", 1};
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < PEERS; i++) {
            cr_assert_not(tt_io_sends_full(r.io));
            tt_io_send(r.io, pairs[i].socket, &slice, 1, tt_token(3, 0, (uint32_t)i));
        }
        cr_assert(tt_io_sends_full(r.io));
        tt_io_submit(r.io, 0);
        cr_assert_not(tt_io_sends_full(r.io));
        for (int i = 0; i < PEERS; i++) {
            cr_assert_eq(rig_wait(&r, tt_token(3, 0, (uint32_t)i)).result, 1);
        }
    }
    char got[3];
    for (int i = 0; i < PEERS; i++) peer_read(pairs[i].peer, got, 3);
    rig_end(&r);
}

/* ---- ends ---- */

BOTH(a_reset_by_the_peer_ends_receiving_and_fails_sending)
{
    struct rig r = rig_of(kind);
    struct listening l = rig_listen(&r, "127.0.0.1:0");
    struct pair p = rig_pair(&r, &l);
    tt_io_recv(r.io, p.socket, RECV);
    tt_io_submit(r.io, 0);
    peer_reset(p.peer);
    struct tt_done done = rig_wait(&r, RECV);
    cr_assert_eq(done.result, TT_ECLOSED);
    cr_assert_eq(done.flags, 0);
    cr_assert_eq(rig_send(&r, p.socket, "x", 1), TT_ECLOSED);
    rig_close(&r, p.socket);
    rig_end(&r);
}

BOTH(a_peer_that_resets_while_we_wait_to_send_is_noticed)
{
    struct rig r = rig_of(kind);
    struct listening l = rig_listen(&r, "127.0.0.1:0");
    struct pair p = rig_pair_with(&r, &l, 4096);
    static char chunk[65536];
    while (rig_send(&r, p.socket, chunk, sizeof chunk) > 0) {
    }
    tt_io_poll_out(r.io, p.socket, OUT);
    tt_io_submit(r.io, 0);
    peer_reset(p.peer);
    (void)rig_wait(&r, OUT);
    cr_assert_eq(rig_send(&r, p.socket, "x", 1), TT_ECLOSED);
    rig_end(&r);
}

BOTH(each_direction_ends_by_itself)
{
    struct rig r = rig_of(kind);
    struct listening l = rig_listen(&r, "127.0.0.1:0");
    struct pair p = rig_pair(&r, &l);
    tt_io_recv(r.io, p.socket, RECV);
    (void)shutdown(p.peer, SHUT_WR);
    cr_assert_eq(rig_wait(&r, RECV).result, 0);
    cr_assert_eq(rig_send(&r, p.socket, "still", 5), 5);
    char got[5];
    peer_read(p.peer, got, 5);

    struct pair q = rig_pair(&r, &l);
    tt_io_recv(r.io, q.socket, RECV);
    tt_io_shutdown_send(r.io, q.socket);
    tt_io_submit(r.io, 0);
    peer_expect_end(q.peer);
    peer_write(q.peer, "last words", 10);
    expect_bytes(&r, RECV, "last words");
    cr_assert_eq(rig_send(&r, q.socket, "x", 1), TT_ECLOSED);
    rig_close(&r, p.socket);
    rig_close(&r, q.socket);
    rig_end(&r);
}

BOTH(closing_while_receiving_ends_the_peer_and_nothing_else_comes)
{
    struct rig r = rig_of(kind);
    struct listening l = rig_listen(&r, "127.0.0.1:0");
    struct pair p = rig_pair(&r, &l);
    tt_io_recv(r.io, p.socket, RECV);
    tt_io_submit(r.io, 0);
    cr_assert_eq(rig_send(&r, p.socket, "bye", 3), 3);
    rig_close(&r, p.socket);
    char got[3];
    peer_read(p.peer, got, 3);
    peer_expect_end(p.peer);
    rig_settle(&r);
    cr_assert_eq(r.stashed, 0);
    rig_end(&r);
}

BOTH(closing_a_full_socket_with_everything_armed)
{
    struct rig r = rig_of(kind);
    struct listening l = rig_listen(&r, "127.0.0.1:0");
    struct pair p = rig_pair_with(&r, &l, 4096);
    static char chunk[65536];
    tt_io_recv(r.io, p.socket, RECV);
    uint64_t sent = 0;
    int32_t n;
    while ((n = rig_send(&r, p.socket, chunk, sizeof chunk)) > 0) sent += (uint64_t)n;
    tt_io_poll_out(r.io, p.socket, OUT);
    tt_io_submit(r.io, 0);
    rig_close(&r, p.socket);
    rig_settle(&r);
    cr_assert_eq(r.stashed, 0);
    /* An orderly close still delivers what the socket had taken. */
    uint64_t got = 0;
    while ((n = (int32_t)recv(p.peer, chunk, sizeof chunk, 0)) > 0) got += (uint64_t)n;
    cr_assert_eq(n, 0);
    cr_assert_eq(got, sent);
    rig_end(&r);
}

BOTH(what_arrived_before_a_close_but_was_not_reaped_is_not_reaped_after_it)
{
    struct rig r = rig_with(kind, 64, 4, 16);
    struct listening l = rig_listen(&r, "127.0.0.1:0");
    for (int round = 0; round < 20; round++) {
        struct pair p = rig_pair(&r, &l);
        tt_io_recv(r.io, p.socket, RECV);
        char bytes[100] = {0};
        peer_write(p.peer, bytes, sizeof bytes);
        /* Completions may wait in the kernel's queue now; and a send's, and a pause's. */
        struct tt_slice slice = {"x", 1};
        tt_io_send(r.io, p.socket, &slice, 1, tt_token(3, 1, 1));
        tt_io_submit(r.io, tt_io_now_ns(r.io) + 1000000);
        if (round % 2 == 0) tt_io_recv_pause(r.io, p.socket);
        tt_io_close(r.io, p.socket, tt_token(4, 0, (uint32_t)round));
        cr_assert_eq(rig_wait(&r, tt_token(4, 0, (uint32_t)round)).result, 0);
        rig_settle(&r);
        cr_assert_eq(r.stashed, 0);
        (void)close(p.peer);
    }
    /* No buffer got lost on the way. */
    struct pair p = rig_pair(&r, &l);
    tt_io_recv(r.io, p.socket, RECV);
    char bytes[100] = {0};
    peer_write(p.peer, bytes, sizeof bytes);
    rig_settle(&r);
    cr_assert_eq(r.stashed, 4);
    rig_end(&r);
}

BOTH(a_starved_socket_can_be_closed)
{
    struct rig r = rig_with(kind, 64, 1, 16);
    struct listening l = rig_listen(&r, "127.0.0.1:0");
    struct pair p[3];
    for (uint32_t i = 0; i < 3; i++) {
        p[i] = rig_pair(&r, &l);
        tt_io_recv(r.io, p[i].socket, tt_token(20, 0, i));
        peer_write(p[i].peer, "0123456789abcdef+", 17);
    }
    rig_settle(&r);
    cr_assert_eq(r.stashed, 1);
    uint32_t buffer = r.stash[0].buffer;
    r.stashed = 0;
    rig_close(&r, p[1].socket);
    rig_close(&r, p[0].socket);
    tt_io_buffer_return(r.io, buffer);
    struct tt_done done = rig_wait(&r, tt_token(20, 0, 2));
    cr_assert_gt(done.result, 0);
    rig_settle(&r);
    cr_assert_eq(r.stashed, 0);
    rig_close(&r, p[2].socket);
    rig_end(&r);
}

BOTH(an_abort_resets_the_peer_and_drops_what_was_queued)
{
    struct rig r = rig_of(kind);
    struct listening l = rig_listen(&r, "127.0.0.1:0");
    for (int armed = 0; armed < 2; armed++) {
        struct pair p = rig_pair_with(&r, &l, 4096);
        static char chunk[65536];
        if (armed) tt_io_recv(r.io, p.socket, RECV);
        while (rig_send(&r, p.socket, chunk, sizeof chunk) > 0) {
        }
        if (armed) tt_io_poll_out(r.io, p.socket, OUT);
        tt_io_abort(r.io, p.socket, tt_token(4, 1, 1));
        cr_assert_eq(rig_wait(&r, tt_token(4, 1, 1)).result, 0);
        ssize_t n;
        while ((n = recv(p.peer, chunk, sizeof chunk, 0)) > 0) {
        }
        cr_assert_eq(n, -1);
        cr_assert_eq(errno, ECONNRESET);
        rig_settle(&r);
        cr_assert_eq(r.stashed, 0);
        (void)close(p.peer);
    }
    rig_end(&r);
}

BOTH(numbers_of_sockets_are_used_again)
{
    struct rig r = rig_with(kind, 4, 8, 64);
    struct listening l = rig_listen(&r, "127.0.0.1:0");
    for (uint32_t i = 0; i < 300; i++) {
        struct pair p = rig_pair(&r, &l);
        cr_assert_lt(p.socket, 4);
        tt_io_recv(r.io, p.socket, tt_token(20, i, 0));
        peer_write(p.peer, "x", 1);
        expect_bytes(&r, tt_token(20, i, 0), "x");
        if (i % 3 == 0) {
            (void)close(p.peer);
            cr_assert_eq(rig_wait(&r, tt_token(20, i, 0)).result, 0);
            rig_close(&r, p.socket);
        } else {
            rig_close(&r, p.socket);
            peer_expect_end(p.peer);
            (void)close(p.peer);
        }
        cr_assert_eq(r.stashed, 0);
    }
    rig_end(&r);
}

BOTH(a_connection_beyond_the_table_is_closed_and_said_so)
{
    struct rig r = rig_with(kind, 4, 8, 64);
    cr_assert_eq(tt_io_sockets_max(r.io), 4);
    struct listening l = rig_listen(&r, "127.0.0.1:0");
    struct pair p[4];
    for (int i = 0; i < 4; i++) p[i] = rig_pair(&r, &l);
    int peer = peer_connect(&l.address);
    struct tt_handoff handoff = tt_io_handoff(r.io, rig_wait(&r, l.token).result);
    tt_io_adopt(r.io, &handoff, tt_token(2, 2, 2));
    cr_assert_eq(rig_wait(&r, tt_token(2, 2, 2)).result, TT_ENOFILE);
    peer_expect_end(peer);
    rig_close(&r, p[2].socket);
    struct pair again = rig_pair(&r, &l);
    cr_assert_eq(again.socket, p[2].socket);
    rig_end(&r);
}

/* ---- listening and connecting ---- */

BOTH(a_refused_handoff_gets_its_answer)
{
    struct rig r = rig_of(kind);
    struct listening l = rig_listen(&r, "127.0.0.1:0");
    int peer = peer_connect(&l.address);
    peer_write(peer, "GET / HTTP/1.1\r\n\r\n", 18);
    struct tt_handoff handoff = tt_io_handoff(r.io, rig_wait(&r, l.token).result);
    tt_io_refuse(r.io, &handoff, TT_BYTES_LITERAL("busy"));
    char got[4];
    peer_read(peer, got, 4);
    cr_assert_eq(memcmp(got, "busy", 4), 0);
    peer_expect_end(peer);
    rig_end(&r);
}

BOTH(a_port_in_use_and_an_address_that_is_not_ours_are_told_apart)
{
    struct rig r = rig_of(kind);
    struct listening l = rig_listen(&r, "127.0.0.1:0");
    struct tt_address same = l.address;
    tt_socket listener;
    cr_assert_eq(tt_io_listen(r.io, &same, &rig_listen_options, &listener), TT_EBUSY);
    struct tt_address foreign = rig_address("203.0.113.1:80");
    cr_assert_eq(tt_io_listen(r.io, &foreign, &rig_listen_options, &listener), TT_EINVAL);
    rig_end(&r);
}

BOTH(a_stopped_listener_ends_accepting_and_frees_its_port)
{
    struct rig r = rig_of(kind);
    struct listening l = rig_listen(&r, "127.0.0.1:0");
    struct pair p = rig_pair(&r, &l);
    tt_io_accept_stop(r.io, l.listener);
    struct tt_done done = rig_wait(&r, l.token);
    cr_assert_eq(done.result, TT_ECANCELED);
    cr_assert_eq(done.flags, 0);
    cr_assert_eq(rig_send(&r, p.socket, "on", 2), 2); /* connections live on */

    tt_io_connect(r.io, NULL, &l.address, NULL, tt_token(5, 1, 1));
    cr_assert_eq(rig_wait(&r, tt_token(5, 1, 1)).result, TT_ECLOSED);
    struct tt_address again = l.address;
    tt_socket listener;
    cr_assert_eq(tt_io_listen(r.io, &again, &rig_listen_options, &listener), TT_OK);
    tt_io_accept_stop(r.io, listener); /* of one that does not accept: no completion */
    rig_settle(&r);
    cr_assert_eq(r.stashed, 0);
    rig_end(&r);
}

BOTH(connecting_uses_the_local_address_that_was_given)
{
    struct rig r = rig_of(kind);
    struct listening l = rig_listen(&r, "127.0.0.1:0");
    struct tt_address local = rig_address("127.0.0.77:0");
    tt_io_connect(r.io, &local, &l.address, &rig_listen_options, tt_token(5, 1, 1));
    struct tt_done done = rig_wait(&r, tt_token(5, 1, 1));
    cr_assert_geq(done.result, 0);
    tt_socket client = (tt_socket)done.result;
    struct tt_handoff handoff = tt_io_handoff(r.io, rig_wait(&r, l.token).result);
    cr_assert_eq(handoff.peer.ip[3], 77);
    tt_io_adopt(r.io, &handoff, tt_token(2, 1, 1));
    tt_socket server = (tt_socket)rig_wait(&r, tt_token(2, 1, 1)).result;
    tt_io_recv(r.io, client, RECV);
    cr_assert_eq(rig_send(&r, server, "between two of ours", 19), 19);
    expect_bytes(&r, RECV, "between two of ours");
    rig_close(&r, server);
    cr_assert_eq(rig_wait(&r, RECV).result, 0);
    rig_end(&r);
}

BOTH(unix_sockets_work_and_a_stale_file_is_replaced)
{
    struct rig r = rig_of(kind);
    char directory[] = "/tmp/tt-io-XXXXXX";
    cr_assert_not_null(mkdtemp(directory));
    char text[64];
    (void)snprintf(text, sizeof text, "unix:%s/socket", directory);
    tt_socket listener;
    struct tt_address address = rig_address(text);
    cr_assert_eq(tt_io_listen(r.io, &address, &rig_listen_options, &listener), TT_OK);
    tt_io_accept_stop(r.io, listener); /* leaves its file behind, as a killed broker does */

    struct listening l = rig_listen(&r, text);
    struct pair p = rig_pair(&r, &l);
    cr_assert_eq(rig_send(&r, p.socket, "hi", 2), 2);
    char got[2];
    peer_read(p.peer, got, 2);
    tt_io_recv(r.io, p.socket, RECV);
    peer_write(p.peer, "ho", 2);
    expect_bytes(&r, RECV, "ho");
    /* One that is alive is not replaced. */
    cr_assert_eq(tt_io_listen(r.io, &address, &rig_listen_options, &listener), TT_EBUSY);
    rig_close(&r, p.socket);
    peer_expect_end(p.peer);

    tt_io_connect(r.io, NULL, &l.address, NULL, tt_token(5, 1, 1));
    cr_assert_geq(rig_wait(&r, tt_token(5, 1, 1)).result, 0);
    (void)unlink(address.path);
    (void)rmdir(directory);
    tt_io_connect(r.io, NULL, &l.address, NULL, tt_token(5, 1, 1));
    cr_assert_eq(rig_wait(&r, tt_token(5, 1, 1)).result, TT_ENOENT);
    rig_end(&r);
}

/* ---- many ---- */

BOTH(thousands_of_sockets_each_get_their_own_bytes)
{
    enum { CLIENTS = 3000 };
    struct rig r = rig_with(kind, 2 * CLIENTS, 256, 256);
    struct listening l = rig_listen(&r, "127.0.0.1:0");
    static tt_socket clients[CLIENTS];
    static tt_socket servers[CLIENTS];
    static uint32_t numbers[CLIENTS];
    for (uint32_t i = 0; i < CLIENTS; i += 100) {
        for (uint32_t j = i; j < i + 100; j++) {
            tt_io_connect(r.io, NULL, &l.address, NULL, tt_token(5, 0, j));
        }
        for (uint32_t j = i; j < i + 100; j++) {
            struct tt_done done = rig_wait(&r, tt_token(5, 0, j));
            cr_assert_geq(done.result, 0);
            clients[j] = (tt_socket)done.result;
            struct tt_handoff handoff = tt_io_handoff(r.io, rig_wait(&r, l.token).result);
            tt_io_adopt(r.io, &handoff, tt_token(2, 0, j));
        }
    }
    for (uint32_t i = 0; i < CLIENTS; i++) {
        struct tt_done done = rig_wait(&r, tt_token(2, 0, i));
        cr_assert_geq(done.result, 0);
        servers[i] = (tt_socket)done.result;
        tt_io_recv(r.io, clients[i], tt_token(20, 0, i));
        numbers[i] = i;
    }
    /* Servers are numbered by whom they accepted, which need not be the order of connecting: so
     * each client must get one number, and all numbers must be got. */
    for (uint32_t i = 0; i < CLIENTS; i++) {
        struct tt_slice slice = {&numbers[i], sizeof numbers[i]};
        if (tt_io_sends_full(r.io)) tt_io_submit(r.io, 0);
        tt_io_send(r.io, servers[i], &slice, 1, tt_token(3, 0, i));
    }
    static bool got[CLIENTS];
    for (uint32_t i = 0; i < CLIENTS; i++) {
        struct tt_done done = rig_wait(&r, tt_token(20, 0, i));
        cr_assert_eq(done.result, (int32_t)sizeof(uint32_t));
        uint32_t number;
        memcpy(&number, done.data.data, sizeof number);
        tt_io_buffer_return(r.io, done.buffer);
        cr_assert_lt(number, CLIENTS);
        cr_assert_not(got[number]);
        got[number] = true;
    }
    for (uint32_t i = 0; i < CLIENTS; i++) {
        cr_assert_eq(rig_wait(&r, tt_token(3, 0, i)).result, 4);
        tt_io_close(r.io, servers[i], tt_token(4, 0, i));
    }
    for (uint32_t i = 0; i < CLIENTS; i++) {
        cr_assert_eq(rig_wait(&r, tt_token(4, 0, i)).result, 0);
        cr_assert_eq(rig_wait(&r, tt_token(20, 0, i)).result, 0);
    }
    cr_assert_eq(r.stashed, 0);
    rig_end(&r);
}

/* More completions at once than the completion queue holds: nothing may get lost. */
BOTH(a_caller_that_does_not_reap_for_long_loses_nothing)
{
    enum { CLIENTS = 50, ROUNDS = 200, BUFFERS = 16384 };
    struct rig r = rig_with(kind, 256, BUFFERS, 16);
    struct listening l = rig_listen(&r, "127.0.0.1:0");
    struct pair p[CLIENTS];
    for (uint32_t i = 0; i < CLIENTS; i++) {
        p[i] = rig_pair(&r, &l);
        tt_io_recv(r.io, p[i].socket, tt_token(20, 0, i));
    }
    for (int round = 0; round < ROUNDS; round++) {
        for (uint32_t i = 0; i < CLIENTS; i++) peer_write(p[i].peer, "0123456789abcdef", 16);
        tt_io_submit(r.io, 0); /* completions pile up */
    }
    int late = peer_connect(&l.address); /* accepted into a queue that is full */
    tt_io_submit(r.io, 0);
    uint64_t expected = (uint64_t)CLIENTS * ROUNDS * 16;
    uint64_t got = 0;
    uint64_t deadline = tt_io_now_ns(r.io) + PATIENCE_S * UINT64_C(1000000000);
    while (got < expected) {
        cr_assert_lt(tt_io_now_ns(r.io), deadline, "%lu of %lu bytes", got, expected);
        rig_reap(&r);
        for (unsigned i = 0; i < r.stashed; i++) {
            if (r.stash[i].token == l.token) {
                cr_assert_eq(r.stash[i].flags, TT_DONE_MORE);
                struct tt_handoff handoff = tt_io_handoff(r.io, r.stash[i].result);
                tt_io_refuse(r.io, &handoff, TT_BYTES_NONE);
                continue;
            }
            cr_assert_gt(r.stash[i].result, 0);
            got += r.stash[i].data.size;
            tt_io_buffer_return(r.io, r.stash[i].buffer);
        }
        r.stashed = 0;
        if (got < expected) tt_io_submit(r.io, tt_io_now_ns(r.io) + 1000000);
    }
    cr_assert_eq(got, expected);
    struct tt_io_figures figures;
    tt_io_figures(r.io, &figures);
    if (kind == TT_IO_URING) cr_assert_gt(figures.overflows, 0, "the queue was never full");
    peer_expect_end(late);
    (void)rig_pair(&r, &l); /* accepting goes on */
    for (uint32_t i = 0; i < CLIENTS; i++) {
        (void)close(p[i].peer);
        cr_assert_eq(rig_wait(&r, tt_token(20, 0, i)).result, 0);
    }
    rig_end(&r);
}

/* ---- hand-over between threads ---- */

struct other_thread {
    enum tt_io_kind kind;
    struct tt_io *_Atomic io;
    _Atomic int32_t reference;
    char got[5];
    bool ended;
};

static void *serve_one(void *argument)
{
    struct other_thread *t = argument;
    struct rig r = rig_of(t->kind);
    t->io = r.io;
    int32_t reference;
    while ((reference = t->reference) < 0) tt_io_submit(r.io, UINT64_MAX);
    struct tt_handoff handoff = {.reference = reference};
    tt_io_adopt(r.io, &handoff, tt_token(2, 1, 1));
    tt_socket socket = (tt_socket)rig_wait(&r, tt_token(2, 1, 1)).result;
    tt_io_recv(r.io, socket, RECV);
    struct tt_done done = rig_wait(&r, RECV);
    if (done.result == 5) memcpy(t->got, done.data.data, 5);
    tt_io_buffer_return(r.io, done.buffer);
    (void)rig_send(&r, socket, "done", 4);
    t->ended = rig_wait(&r, RECV).result == 0;
    rig_close(&r, socket);
    t->io = NULL;
    rig_end(&r);
    return NULL;
}

BOTH(a_connection_accepted_by_one_thread_is_served_by_another)
{
    struct rig r = rig_of(kind);
    struct listening l = rig_listen(&r, "127.0.0.1:0");
    struct other_thread t = {.kind = kind, .reference = -1};
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, serve_one, &t), 0);
    int peer = peer_connect(&l.address);
    peer_write(peer, "hello", 5);
    struct tt_handoff handoff = tt_io_handoff(r.io, rig_wait(&r, l.token).result);
    while (t.io == NULL) tt_io_submit(r.io, tt_io_now_ns(r.io) + 1000000);
    t.reference = handoff.reference;
    tt_io_wake(r.io, t.io);
    char got[4];
    peer_read(peer, got, 4);
    (void)close(peer);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert_eq(memcmp(t.got, "hello", 5), 0);
    cr_assert(t.ended);
    rig_end(&r);
}

BOTH(destroying_an_io_ends_its_connections)
{
    struct rig r = rig_of(kind);
    struct listening l = rig_listen(&r, "127.0.0.1:0");
    struct pair p = rig_pair(&r, &l);
    struct pair q = rig_pair(&r, &l);
    int waiting = peer_connect(&l.address);
    tt_io_recv(r.io, p.socket, RECV);
    tt_io_submit(r.io, 0);
    rig_end(&r);
    peer_expect_end(p.peer);
    peer_expect_end(q.peer);
    char byte;
    cr_assert_leq(recv(waiting, &byte, 1, 0), 0); /* a reset or an end: never accepted */
}
