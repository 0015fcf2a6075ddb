/* The conformance suite of the io: waiting, wakes, foreign descriptors, and what happens at the
 * limits of the process. */
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "shard/mailbox.h"
#include "tests/unit/io_rig.h"

/* ---- waiting and wakes ---- */

BOTH(waiting_ends_at_its_deadline_and_not_before)
{
    struct rig r = rig_of(kind);
    for (int i = 0; i < 5; i++) {
        uint64_t deadline = tt_io_now_ns(r.io) + 3000000u * (unsigned)i;
        while (tt_io_now_ns(r.io) < deadline) {
            tt_io_submit(r.io, deadline);
            cr_assert_geq(tt_io_now_ns(r.io), deadline, "woke up without a reason");
        }
        rig_reap(&r);
        cr_assert_eq(r.stashed, 0);
    }
    tt_io_submit(r.io, 1); /* long past: returns */
    tt_io_submit(r.io, 0);
    rig_end(&r);
}

BOTH(a_wake_before_the_wait_is_not_lost_and_leaves_no_completion)
{
    struct rig r = rig_of(kind);
    struct rig other = rig_of(kind);
    for (int i = 0; i < 100; i++) {
        tt_io_wake(r.io, other.io);
        if (i % 2 == 0) tt_io_wake(r.io, other.io);
        tt_io_submit(other.io, UINT64_MAX);
        rig_reap(&other);
        cr_assert_eq(other.stashed, 0);
    }
    rig_end(&other);
    rig_end(&r);
}

static struct tt_io *woken_by_signal;

static void on_signal(int number)
{
    (void)number;
    /* Its contract allows it: an atomic exchange and a write(). */
    tt_io_wake_from_outside(woken_by_signal); // NOLINT(bugprone-signal-handler)
}

BOTH(a_signal_handler_can_wake)
{
    struct rig r = rig_of(kind);
    woken_by_signal = r.io;
    (void)signal(SIGUSR1, on_signal);
    cr_assert_eq(raise(SIGUSR1), 0);
    tt_io_submit(r.io, UINT64_MAX);
    rig_reap(&r);
    cr_assert_eq(r.stashed, 0);
    rig_end(&r);
}

/* Two threads that park between messages, by the protocol of mailbox.h: if a wake-up could get lost
 * they would stop, because nobody else wakes them. */
#define ROUNDS 100000u

struct player {
    enum tt_io_kind kind;
    struct tt_io *_Atomic io;
    struct tt_parking parking;
    struct tt_mailbox *in, *out;
    struct player *other;
    bool begins;
    _Atomic bool left; /* done, and wakes nobody any more */
    uint32_t seen;
};

static void say(struct player *p, uint32_t number)
{
    struct tt_message m = {.kind = number};
    tt_mailbox_post(p->out, &m);
    cr_assert(tt_mailbox_publish(p->out));
    tt_parking_fence();
    if (tt_parking_is_set(&p->other->parking)) tt_io_wake(p->io, p->other->io);
}

static void *play(void *argument)
{
    struct player *p = argument;
    struct rig r = rig_of(p->kind);
    p->io = r.io;
    while (p->other->io == NULL) tt_io_submit(r.io, tt_io_now_ns(r.io) + 100000);
    if (p->begins) say(p, 1);
    while (p->seen < ROUNDS) {
        struct tt_message m;
        if (tt_mailbox_take(p->in, &m, 1) == 1) {
            cr_assert_eq(m.kind, p->seen + 1);
            p->seen = m.kind;
            /* The one that begins says n + 1 to n, the other says n to n. */
            if (!p->begins) say(p, p->seen);
            if (p->begins && p->seen < ROUNDS) say(p, p->seen + 1);
            continue;
        }
        tt_parking_set(&p->parking);
        if (!tt_mailbox_waiting(p->in)) tt_io_submit(r.io, UINT64_MAX);
        tt_parking_clear(&p->parking);
        rig_reap(&r);
    }
    p->left = true;
    while (!p->other->left) tt_io_submit(r.io, tt_io_now_ns(r.io) + 100000);
    rig_end(&r);
    return NULL;
}

BOTH(no_wake_up_is_lost_between_two_threads_that_park)
{
    struct player a = {.kind = kind, .begins = true};
    struct player b = {.kind = kind};
    cr_assert_eq(tt_mailbox_create(&a.in, 1), TT_OK);
    cr_assert_eq(tt_mailbox_create(&b.in, 1), TT_OK);
    a.out = b.in;
    b.out = a.in;
    a.other = &b;
    b.other = &a;
    pthread_t threads[2];
    cr_assert_eq(pthread_create(&threads[0], NULL, play, &a), 0);
    cr_assert_eq(pthread_create(&threads[1], NULL, play, &b), 0);
    cr_assert_eq(pthread_join(threads[0], NULL), 0);
    cr_assert_eq(pthread_join(threads[1], NULL), 0);
    cr_assert_eq(a.seen, ROUNDS);
    cr_assert_eq(b.seen, ROUNDS);
    tt_mailbox_destroy(&a.in);
    tt_mailbox_destroy(&b.in);
}

/* ---- foreign descriptors ---- */

BOTH(a_foreign_descriptor_tells_each_edge_until_it_is_stopped)
{
    struct rig r = rig_of(kind);
    uint64_t token = tt_token(40, 1, 1);
    for (int round = 0; round < 3; round++) {
        int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        tt_io_poll_in(r.io, fd, token);
        rig_settle(&r);
        cr_assert_eq(r.stashed, 0);
        for (int i = 0; i < 5; i++) {
            uint64_t n = 1;
            cr_assert_eq(write(fd, &n, sizeof n), (ssize_t)sizeof n);
            struct tt_done done = rig_wait(&r, token);
            cr_assert_eq(done.result, 0);
            cr_assert_eq(done.flags, TT_DONE_MORE);
            cr_assert_eq(read(fd, &n, sizeof n), (ssize_t)sizeof n);
            rig_settle(&r);
            cr_assert_eq(r.stashed, 0);
        }
        uint64_t n = 1;
        cr_assert_eq(write(fd, &n, sizeof n), (ssize_t)sizeof n);
        tt_io_submit(r.io, tt_io_now_ns(r.io) + 1000000); /* an edge that is not yet reaped */
        tt_io_poll_in_stop(r.io, fd);
        (void)close(fd);
        rig_settle(&r);
        cr_assert_eq(r.stashed, 0);
    }
    rig_end(&r);
}

/* ---- limits ---- */

static void set_descriptor_limit(rlim_t soft, rlim_t hard)
{
    struct rlimit limit = {soft, hard};
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

BOTH(creating_an_io_raises_the_descriptor_limit)
{
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    rlim_t hard = limit.rlim_max < 1000 ? limit.rlim_max : 1000;
    set_descriptor_limit(200, hard);
    struct rig r = rig_with(kind, 100000, 8, 64);
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    cr_assert_eq(limit.rlim_cur, hard);
    cr_assert_leq(tt_io_sockets_max(r.io), hard);
    cr_assert_gt(tt_io_sockets_max(r.io), hard / 2);
    cr_assert_eq(tt_io_sockets_shared(r.io), kind == TT_IO_EPOLL);
    rig_end(&r);
}

BOTH(without_descriptors_accepting_ends_and_the_backlog_can_be_refused)
{
    enum { PEERS = 5 };
    set_descriptor_limit(100, 100);
    struct rig r = rig_with(kind, 32, 8, 64);
    struct listening l = rig_listen(&r, "127.0.0.1:0");
    struct pair first = rig_pair(&r, &l);
    int peers[PEERS];
    for (int i = 0; i < PEERS; i++) peers[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int fill[128];
    int filled = 0;
    int fd;
    while ((fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0) fill[filled++] = fd;
    cr_assert_eq(errno, EMFILE);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(l.address.port)};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < PEERS; i++) {
        cr_assert_eq(connect(peers[i], (struct sockaddr *)&in, sizeof in), 0);
        peer_write(peers[i], "GET", 3);
    }
    struct tt_done done = rig_wait(&r, l.token);
    cr_assert_eq(done.result, TT_ENOFILE);
    cr_assert_eq(done.flags, 0);
    rig_settle(&r);
    cr_assert_eq(r.stashed, 0, "accepting went on");

    cr_assert_eq(tt_io_refuse_waiting(r.io, l.listener, TT_BYTES_LITERAL("503"), 2), 2);
    cr_assert_eq(tt_io_refuse_waiting(r.io, l.listener, TT_BYTES_LITERAL("503"), 2), 2);
    int answered = 0;
    for (int i = 0; i < PEERS; i++) {
        struct pollfd poll_fd = {.fd = peers[i], .events = POLLIN};
        if (poll(&poll_fd, 1, 0) != 1) continue;
        char got[3];
        peer_read(peers[i], got, 3);
        cr_assert_eq(memcmp(got, "503", 3), 0);
        answered++;
    }
    cr_assert_eq(answered, 4);

    for (int i = 0; i < filled; i++) (void)close(fill[i]);
    tt_io_accept(r.io, l.listener, l.token);
    done = rig_wait(&r, l.token); /* the fifth had waited in the backlog */
    cr_assert_geq(done.result, 0);
    struct tt_handoff handoff = tt_io_handoff(r.io, done.result);
    tt_io_refuse(r.io, &handoff, TT_BYTES_NONE);
    cr_assert_eq(tt_io_refuse_waiting(r.io, l.listener, TT_BYTES_NONE, 9), 0);
    cr_assert_eq(rig_send(&r, first.socket, "x", 1), 1);
    rig_end(&r);
}

/* A child that holds the other ends, because our own limit is too low for both. */
static pid_t fork_clients(uint16_t port, int count)
{
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child != 0) return child;
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int *fds = calloc((size_t)count, sizeof *fds);
    int wrong = fds == NULL;
    for (int i = 0; i < count && !wrong; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM, 0);
        wrong = connect(fds[i], (struct sockaddr *)&in, sizeof in) != 0;
    }
    for (int i = 0; i < count && !wrong; i++) {
        char byte;
        wrong = recv(fds[i], &byte, 1, 0) != 1 || send(fds[i], &byte, 1, MSG_NOSIGNAL) != 1;
    }
    for (int i = 0; i < count && !wrong; i++) {
        char byte;
        wrong = recv(fds[i], &byte, 1, 0) != 0;
    }
    _exit(wrong);
}

Test(io_uring, one_process_serves_more_sockets_than_it_may_have_descriptors, .timeout = 120)
{
    enum { TABLES = 4, EACH = 240, CLIENTS = TABLES * EACH, LIMIT = 256 };
    struct rig acceptor = rig_with(TT_IO_URING, 8, 8, 64);
    struct listening l = rig_listen(&acceptor, "127.0.0.1:0");
    pid_t child = fork_clients(l.address.port, CLIENTS);
    set_descriptor_limit(LIMIT, LIMIT);
    struct rig shards[TABLES];
    for (int t = 0; t < TABLES; t++) shards[t] = rig_with(TT_IO_URING, 10000, 256, 64);
    cr_assert_leq(tt_io_sockets_max(shards[0].io), LIMIT);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        struct tt_done done = rig_wait(&acceptor, l.token);
        cr_assert_geq(done.result, 0);
        struct tt_handoff handoff = tt_io_handoff(acceptor.io, done.result);
        struct rig *shard = &shards[i % TABLES];
        tt_io_adopt(shard->io, &handoff, tt_token(2, 0, i));
        done = rig_wait(shard, tt_token(2, 0, i));
        cr_assert_geq(done.result, 0);
        tt_io_recv(shard->io, (tt_socket)done.result, tt_token(20, 0, (uint32_t)done.result));
        cr_assert_eq(rig_send(shard, (tt_socket)done.result, "x", 1), 1);
    }
    for (int t = 0; t < TABLES; t++) {
        for (uint32_t i = 0; i < EACH; i++) {
            cr_assert_eq(rig_wait(&shards[t], tt_token(20, 0, i)).result, 1);
        }
        rig_end(&shards[t]);
    }
    int status = 0;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a client missed its byte");
    rig_end(&acceptor);
}

/* What an ordinary user gets from TT_IO_AUTO with so much locked memory; the answer comes from a
 * child, because the test cannot become root again. */
static void as_user(rlim_t locked_bytes, char name[16], char why[256])
{
    int pipe_fds[2];
    cr_assert_eq(pipe(pipe_fds), 0);
    pid_t child = fork();
    if (child == 0) {
        struct rlimit limit = {locked_bytes, locked_bytes};
        struct tt_io_options options = {
            .sockets_max = 1000, .recv_buffers = 64, .recv_buffer_bytes = 4096};
        char text[272] = {0};
        struct tt_io *io = NULL;
        if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0 || setgid(65534) != 0 || setuid(65534) != 0) {
            _exit(1);
        }
        enum tt_status status = tt_io_create(&io, &options, text + 16, 256);
        (void)snprintf(text, 16, "%s", status == TT_OK ? tt_io_name(io) : "none");
        tt_io_destroy(&io);
        _exit(write(pipe_fds[1], text, sizeof text) != (ssize_t)sizeof text);
    }
    int status = 0;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    cr_assert_eq(read(pipe_fds[0], name, 16), 16);
    cr_assert_eq(read(pipe_fds[0], why, 256), 256);
}

Test(io_auto, without_locked_memory_epoll_is_chosen_and_says_why, .timeout = 60)
{
    if (geteuid() != 0) cr_skip_test("becoming another user needs root");
    char name[16];
    char why[256];
    as_user(4096, name, why);
    cr_assert_str_eq(name, "epoll");
    cr_assert_not_null(strstr(why, "RLIMIT_MEMLOCK"), "%s", why);
    as_user(8u << 20, name, why); /* Debian's default */
    cr_assert_str_eq(name, "io_uring", "%s", why);
    cr_assert_str_empty(why);
}

/* As the default profile of Docker does it; the filter stays for the life of the test's process. */
static void forbid_io_uring(uint32_t error)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
    cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    cr_assert_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static void expect_fallback(uint32_t error)
{
    forbid_io_uring(error);
    struct tt_io_options options = {.sockets_max = 10, .recv_buffers = 8, .recv_buffer_bytes = 64};
    char why[256];
    struct tt_io *io = NULL;
    cr_assert_eq(tt_io_create(&io, &options, why, sizeof why), TT_OK);
    cr_assert_str_eq(tt_io_name(io), "epoll");
    cr_assert_not_null(strstr(why, "seccomp"), "%s", why);
    tt_io_destroy(&io);
    options.kind = TT_IO_URING; /* asked for by name: no fallback */
    cr_assert_eq(tt_io_create(&io, &options, why, sizeof why), TT_EUNSUPPORTED);
    cr_assert_null(io);
    cr_assert_not_null(strstr(why, "seccomp"), "%s", why);
}

Test(io_auto, a_container_that_forbids_io_uring_gets_epoll_and_is_told_why)
{
    expect_fallback(EPERM);
}

Test(io_auto, a_container_that_hides_io_uring_gets_epoll_and_is_told_why)
{
    expect_fallback(ENOSYS);
}

Test(io_auto, io_uring_is_chosen_where_it_works)
{
    struct tt_io_options options = {.sockets_max = 10, .recv_buffers = 8, .recv_buffer_bytes = 64};
    char why[256];
    struct tt_io *io = NULL;
    cr_assert_eq(tt_io_create(&io, &options, why, sizeof why), TT_OK);
    cr_assert_str_eq(tt_io_name(io), "io_uring");
    cr_assert_str_empty(why);
    cr_assert_neq(tt_io_random(io), tt_io_random(io));
    tt_io_destroy(&io);
    cr_assert_null(io);
    tt_io_destroy(&io); /* harmless */
}
