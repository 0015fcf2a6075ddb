/* The yardstick of bench/fanout: what the kernel alone asks for a delivery.
 *
 * One thread on one core sends the same bytes to N connected loopback sockets, one send() for each
 * socket and event, and does nothing else that a broker does. What a broker needs beyond this is
 * its own. Two ways to use it:
 *
 *   bare_loop --clients=1000 --bytes=200 --seconds=5
 *       makes N sockets whose other ends a second process, on another core, reads and forgets;
 * sends rounds of one event to all, and prints what the core was busy for each delivery, as JSON.
 *   bare_loop --listen=127.0.0.1:0
 *       speaks just enough HTTP to stand in for the broker under `ttload run`, so that both are
 *       measured with the same clients, events, rates and eyes: GET gets a stream of server-sent
 *       events, POST an NDJSON body (or one envelope) of events that go out to every stream. It
 * trusts its client and checks nothing. Prints a line when it is ready, and JSON when it is ended.
 *
 * Busy time is that of the whole core in /proc/stat, softirq included: the kernel does part of the
 * work of a send outside the thread's own account. Ticks are 10 ms, so measure for seconds. With
 * --uring the sends of a round go through io_uring in batches of 96 instead of by send(). */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define STREAM_BYTES  (64u << 20) /* what may be unsent to the slowest socket */
#define REQUEST_BYTES (16u << 20)
#define BATCH         96
#define EVENTS        512
#define NS_PER_S      UINT64_C(1000000000)

struct options {
    unsigned clients, bytes, seconds, rate;
    int cpu, drain_cpu;
    const char *listen;
    bool uring;
};

/* A socket; `at` is how far it has come in the stream. */
struct client {
    int fd;
    bool stream;  /* gets events; else a request is being read */
    bool waiting; /* the socket is full */
    uint64_t at;
    char *request;
    size_t request_size;
};

struct bare {
    struct options o;
    int epoll_fd, listener, signal_fd;
    struct client **clients;
    unsigned count, capacity, streams, waiting;
    char *stream; /* positions base .. head */
    uint64_t base, head, events;
    uint64_t deliveries, sends, full, bytes;
    struct io_uring ring;
};

static void die(const char *what)
{
    fprintf(stderr, "bare_loop: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static void pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    if (cpu >= 0 && sched_setaffinity(0, sizeof set, &set) != 0) die("pinning to a core");
}

/* ---- what a core did, in ticks ---- */

struct core {
    uint64_t user, nice, system, idle, iowait, irq, softirq, steal;
    double own_ms; /* of that, in this process: much less, and somebody else was on the core */
};

static struct core core_of(int cpu)
{
    struct core c = {0};
    char line[512];
    char name[16];
    FILE *f = fopen("/proc/stat", "r");
    if (f == NULL) die("/proc/stat");
    (void)snprintf(name, sizeof name, "cpu%d ", cpu);
    while (fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, name, strlen(name)) != 0) continue;
        (void)sscanf(line + strlen(name),
                     "%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
                     " %" SCNu64 " %" SCNu64,
                     &c.user, &c.nice, &c.system, &c.idle, &c.iowait, &c.irq, &c.softirq, &c.steal);
    }
    (void)fclose(f);
    struct rusage own;
    (void)getrusage(RUSAGE_SELF, &own);
    c.own_ms = (double)(own.ru_utime.tv_sec + own.ru_stime.tv_sec) * 1e3 +
               (double)(own.ru_utime.tv_usec + own.ru_stime.tv_usec) / 1e3;
    return c;
}

static double ms(uint64_t after, uint64_t before)
{
    return (double)(after - before) * 1000.0 / (double)sysconf(_SC_CLK_TCK);
}

static void report(const struct bare *b, const struct core *before, const struct core *after,
                   uint64_t wall_ns)
{
    double user = ms(after->user + after->nice, before->user + before->nice);
    double system = ms(after->system, before->system);
    double softirq = ms(after->softirq + after->irq, before->softirq + before->irq);
    double n = b->deliveries == 0 ? 1.0 : (double)b->deliveries;
    printf("{\"how\":\"%s\",\"clients\":%u,\"seconds\":%.3f,\"events\":%" PRIu64
           ",\"deliveries\":%" PRIu64 ",\"sends\":%" PRIu64 ",\"full\":%" PRIu64
           ",\"sent_bytes\":%" PRIu64 ",\"cpu\":%d,\"user_ms\":%.0f,\"system_ms\":%.0f,"
           "\"softirq_ms\":%.0f,\"busy_ms\":%.0f,\"own_ms\":%.0f,\"steal_ms\":%.0f,"
           "\"busy_us_per_delivery\":%.3f,\"wall_us_per_delivery\":%.3f}\n",
           b->o.uring ? "io_uring" : "send", b->count, (double)wall_ns / 1e9, b->events,
           b->deliveries, b->sends, b->full, b->bytes, b->o.cpu, user, system, softirq,
           user + system + softirq, after->own_ms - before->own_ms, ms(after->steal, before->steal),
           (user + system + softirq) * 1000.0 / n, (double)wall_ns / 1000.0 / n);
    (void)fflush(stdout);
}

/* ---- the stream ---- */

static char *append(struct bare *b, size_t size)
{
    if (b->head - b->base + size > STREAM_BYTES) {
        fputs("bare_loop: a client is 64 MiB behind: the reader is too slow for this rate\n",
              stderr);
        exit(1);
    }
    char *at = b->stream + (b->head - b->base);
    b->head += size;
    return at;
}

/* Everyone has everything: begin again at the front, where the memory is warm. */
static void rewind_stream(struct bare *b)
{
    if (b->waiting == 0) b->base = b->head;
}

static void sent(struct bare *b, struct client *c, ssize_t n)
{
    b->sends++;
    if (n > 0) {
        c->at += (uint64_t)n;
        b->bytes += (uint64_t)n;
    }
    if (c->at != b->head && !c->waiting) {
        c->waiting = true;
        b->waiting++;
        b->full++;
    }
}

static void send_one(struct bare *b, struct client *c)
{
    ssize_t n =
        send(c->fd, b->stream + (c->at - b->base), b->head - c->at, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) die("send");
    sent(b, c, n);
}

static void send_batch(struct bare *b, struct client **batch, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&b->ring);
        struct client *c = batch[i];
        io_uring_prep_send(sqe, c->fd, b->stream + (c->at - b->base), b->head - c->at,
                           MSG_DONTWAIT | MSG_NOSIGNAL);
        io_uring_sqe_set_data(sqe, c);
    }
    if (io_uring_submit_and_wait(&b->ring, count) < 0) die("io_uring_enter");
    struct io_uring_cqe *cqe;
    unsigned head;
    io_uring_for_each_cqe(&b->ring, head, cqe)
    {
        if (cqe->res < 0 && cqe->res != -EAGAIN) die("send");
        sent(b, io_uring_cqe_get_data(cqe), cqe->res);
    }
    io_uring_cq_advance(&b->ring, count);
}

/* To everyone who is behind and whose socket takes something. */
static void flush(struct bare *b)
{
    struct client *batch[BATCH];
    unsigned filled = 0;
    for (unsigned i = 0; i < b->count; i++) {
        struct client *c = b->clients[i];
        if (!c->stream || c->waiting || c->at == b->head) continue;
        if (!b->o.uring) {
            send_one(b, c);
            continue;
        }
        batch[filled++] = c;
        if (filled == BATCH) send_batch(b, batch, filled);
        filled %= BATCH;
    }
    if (filled != 0) send_batch(b, batch, filled);
    rewind_stream(b);
}

static void writable(struct bare *b, struct client *c)
{
    if (!c->waiting) return;
    c->waiting = false;
    b->waiting--;
    send_one(b, c);
}

/* ---- clients ---- */

static struct client *client_add(struct bare *b, int fd, bool stream)
{
    if (b->count == b->capacity) {
        b->capacity = b->capacity == 0 ? 1024 : 2 * b->capacity;
        b->clients = realloc(b->clients, b->capacity * sizeof(struct client *));
        if (b->clients == NULL) die("memory");
    }
    struct client *c = calloc(1, sizeof *c);
    if (c == NULL) die("memory");
    c->fd = fd;
    c->stream = stream;
    b->streams += stream;
    c->at = b->head;
    b->clients[b->count++] = c;
    int on = 1;
    int lowat = 16384;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof lowat);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    if (epoll_ctl(b->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) die("epoll_ctl");
    return c;
}

static void client_end(struct bare *b, struct client *c)
{
    for (unsigned i = 0; i < b->count; i++) {
        if (b->clients[i] == c) b->clients[i] = b->clients[--b->count];
    }
    if (c->waiting) b->waiting--;
    if (c->stream) b->streams--;
    (void)close(c->fd);
    free(c->request);
    free(c);
}

static int listen_on(const char *text, struct sockaddr_in *in)
{
    char host[64];
    const char *colon = strrchr(text, ':');
    *in = (struct sockaddr_in){.sin_family = AF_INET};
    (void)snprintf(host, sizeof host, "%.*s", colon == NULL ? 0 : (int)(colon - text), text);
    if (colon == NULL || inet_pton(AF_INET, host, &in->sin_addr) != 1) {
        fprintf(stderr, "bare_loop: --listen=%s: must be an IPv4 address and a port\n", text);
        exit(2);
    }
    in->sin_port = htons((uint16_t)atoi(colon + 1));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    socklen_t size = sizeof *in;
    if (fd < 0 || bind(fd, (struct sockaddr *)in, size) != 0 || listen(fd, 4096) != 0 ||
        getsockname(fd, (struct sockaddr *)in, &size) != 0) {
        die(text);
    }
    return fd;
}

/* ---- standing in for the broker ---- */

static void reply(struct client *c, const char *text, size_t size)
{
    if (send(c->fd, text, size, MSG_NOSIGNAL) != (ssize_t)size) die("an answer");
}

/* One envelope as the frame that the broker sends, byte for byte of the same length: one chunk up
 * to the data line, with `timestamp` and `id` at the envelope's end, and one with the id line. */
static void publish(struct bare *b, const char *envelope, size_t size)
{
    char id[32];
    char tail[96];
    char head_a[16];
    char head_b[16];
    int id_size = snprintf(id, sizeof id, "bare00-0-%" PRIu64, b->events++);
    int tail_size = snprintf(tail, sizeof tail, ",\"timestamp\":1732558200000,\"id\":\"%s\"}", id);
    size_t body_a = 18 + size - 1 + (size_t)tail_size + 1;
    size_t body_b = 4 + (size_t)id_size + 2;
    int size_a = snprintf(head_a, sizeof head_a, "%zx\r\n", body_a);
    int size_b = snprintf(head_b, sizeof head_b, "%zx\r\n", body_b);
    char *at = append(b, (size_t)size_a + body_a + 2 + (size_t)size_b + body_b + 2);
    at = mempcpy(at, head_a, (size_t)size_a);
    at = mempcpy(at, "event: load\ndata: ", 18);
    at = mempcpy(at, envelope, size - 1); /* without its closing brace */
    at = mempcpy(at, tail, (size_t)tail_size);
    at = mempcpy(at, "\n\r\n", 3);
    at = mempcpy(at, head_b, (size_t)size_b);
    at = mempcpy(at, "id: ", 4);
    at = mempcpy(at, id, (size_t)id_size);
    (void)memcpy(at, "\n\n\r\n", 4);
    b->deliveries += b->streams;
}

static void answer_publish(struct bare *b, struct client *c, const char *body, size_t size,
                           bool many)
{
    uint64_t first = b->events;
    while (size != 0) {
        const char *end = memchr(body, '\n', size);
        size_t line = end == NULL ? size : (size_t)(end - body);
        if (line > 1) publish(b, body, line);
        line += end != NULL;
        body += line;
        size -= line;
    }
    char json[160];
    char text[320];
    if (many) {
        (void)snprintf(json, sizeof json,
                       "{\"count\":%" PRIu64 ",\"first\":\"bare00-0-%" PRIu64
                       "\",\"last\":\"bare00-0-%" PRIu64 "\"}",
                       b->events - first, first, b->events - 1);
    } else {
        (void)snprintf(json, sizeof json, "{\"id\":\"bare00-0-%" PRIu64 "\"}", first);
    }
    int n = snprintf(text, sizeof text,
                     "HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\n"
                     "Content-Length: %zu\r\n\r\n%s",
                     strlen(json), json);
    flush(b);
    reply(c, text, (size_t)n);
}

static void begin_stream(struct bare *b, struct client *c)
{
    static const char event[] =
        "retry: 3000\nevent: connected\ndata: {\"clientId\":\"bare\",\"session\":\"bare\","
        "\"heartbeat\":25000,\"timestamp\":1732558200000}\nid: bare00-0-0\n\n";
    char text[640];
    int n = snprintf(text, sizeof text,
                     "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                     "Cache-Control: no-cache, no-transform\r\nTransfer-Encoding: chunked\r\n\r\n"
                     "%zx\r\n%s\r\n",
                     sizeof event - 1, event);
    reply(c, text, (size_t)n);
    c->stream = true;
    b->streams++;
    c->at = b->head;
    free(c->request);
    c->request = NULL;
}

/* Handles the request if it is there as a whole. */
static bool take_request(struct bare *b, struct client *c)
{
    char *end = memmem(c->request, c->request_size, "\r\n\r\n", 4);
    if (end == NULL) return false;
    if (memcmp(c->request, "GET ", 4) == 0) {
        begin_stream(b, c);
        return false;
    }
    *end = '\0';
    const char *length = strcasestr(c->request, "content-length:");
    size_t head = (size_t)(end - c->request) + 4;
    size_t body = length == NULL ? 0 : strtoul(length + 15, NULL, 10);
    bool many = strcasestr(c->request, "ndjson") != NULL;
    *end = '\r';
    if (c->request_size < head + body) return false;
    answer_publish(b, c, c->request + head, body, many);
    c->request_size -= head + body;
    memmove(c->request, c->request + head + body, c->request_size);
    return true;
}

static void readable(struct bare *b, struct client *c)
{
    char forgotten[4096];
    for (;;) {
        if (!c->stream && c->request == NULL) c->request = malloc(REQUEST_BYTES);
        if (!c->stream && c->request == NULL) die("memory");
        char *to = c->stream ? forgotten : c->request + c->request_size;
        size_t room = c->stream ? sizeof forgotten : REQUEST_BYTES - c->request_size;
        ssize_t n = recv(c->fd, to, room, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) {
            client_end(b, c);
            return;
        }
        if (c->stream) continue;
        c->request_size += (size_t)n;
        while (take_request(b, c)) {
        }
    }
}

static void serve(struct bare *b)
{
    struct sockaddr_in in;
    struct epoll_event events[EVENTS];
    b->listener = listen_on(b->o.listen, &in);
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    b->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
    struct epoll_event own = {.events = EPOLLIN, .data.ptr = &b->listener};
    struct epoll_event end = {.events = EPOLLIN, .data.ptr = &b->signal_fd};
    if (epoll_ctl(b->epoll_fd, EPOLL_CTL_ADD, b->listener, &own) != 0 ||
        epoll_ctl(b->epoll_fd, EPOLL_CTL_ADD, b->signal_fd, &end) != 0) {
        die("epoll_ctl");
    }
    char host[INET_ADDRSTRLEN];
    (void)inet_ntop(AF_INET, &in.sin_addr, host, sizeof host);
    printf("bare_loop ready http=%s:%u pid=%d\n", host, ntohs(in.sin_port), (int)getpid());
    (void)fflush(stdout);
    struct core before = core_of(b->o.cpu);
    uint64_t start = now_ns();
    for (;;) {
        int n = epoll_wait(b->epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == &b->signal_fd) {
                struct core after = core_of(b->o.cpu);
                report(b, &before, &after, now_ns() - start);
                return;
            }
            if (events[i].data.ptr == &b->listener) {
                int fd = accept4(b->listener, NULL, NULL, SOCK_CLOEXEC);
                if (fd >= 0) (void)client_add(b, fd, false);
                continue;
            }
            struct client *c = events[i].data.ptr;
            if ((events[i].events & EPOLLOUT) != 0) writable(b, c);
            if ((events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)) != 0) readable(b, c);
        }
        rewind_stream(b);
    }
}

/* ---- by itself ---- */

/* The other ends: connects them, then reads and forgets until they end. */
static void drain(const struct options *o, uint16_t port)
{
    static char bytes[65536];
    struct epoll_event events[EVENTS];
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    pin(o->drain_cpu);
    for (unsigned i = 0; i < o->clients; i++) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
        /* 1,000 of each source address, so that ports do not run out. */
        struct sockaddr_in source = {.sin_family = AF_INET};
        source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + i / 1000);
        in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        int on = 1;
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0) die("a reader's socket");
        (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        if (bind(fd, (struct sockaddr *)&source, sizeof source) != 0 ||
            connect(fd, (struct sockaddr *)&in, sizeof in) != 0 ||
            epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
            die("a reader's connection");
        }
    }
    unsigned left = o->clients;
    while (left != 0) {
        int n = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            if (recv(events[i].data.fd, bytes, sizeof bytes, MSG_DONTWAIT) != 0) continue;
            (void)close(events[i].data.fd);
            left--;
        }
    }
}

static void accept_all(struct bare *b)
{
    struct sockaddr_in in;
    int listener = listen_on("127.0.0.1:0", &in);
    (void)fcntl(listener, F_SETFL, 0);
    pid_t child = fork();
    if (child < 0) die("fork");
    if (child == 0) {
        (void)close(listener);
        drain(&b->o, ntohs(in.sin_port));
        exit(0);
    }
    for (unsigned i = 0; i < b->o.clients; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) die("accept");
        (void)client_add(b, fd, true);
    }
    (void)close(listener);
}

static void catch_up(struct bare *b, int timeout_ms)
{
    struct epoll_event events[EVENTS];
    int n = epoll_wait(b->epoll_fd, events, EVENTS, timeout_ms);
    for (int i = 0; i < n; i++) {
        struct client *c = events[i].data.ptr;
        if ((events[i].events & EPOLLRDHUP) != 0) die("the reader has ended");
        writable(b, c);
    }
    rewind_stream(b);
}

/* Rounds of one event to all until the time is over: each begins when it is due and the one before
 * has been taken by everyone, so that every delivery is a send of its own. */
static void rounds(struct bare *b, uint64_t until_ns)
{
    uint64_t start = now_ns();
    for (uint64_t round = 0;; round++) {
        uint64_t now = now_ns();
        uint64_t due = b->o.rate == 0 ? now : start + round * NS_PER_S / b->o.rate;
        if (now >= until_ns) return;
        if (due > now) {
            struct timespec t = {(time_t)(due / NS_PER_S), (long)(due % NS_PER_S)};
            (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
        }
        memset(append(b, b->o.bytes), 'x', b->o.bytes);
        b->events++;
        b->deliveries += b->count;
        flush(b);
        while (b->waiting != 0) catch_up(b, -1);
    }
}

static void measure(struct bare *b)
{
    accept_all(b);
    rounds(b, now_ns() + NS_PER_S); /* warm */
    b->deliveries = b->sends = b->full = b->bytes = b->events = 0;
    struct core before = core_of(b->o.cpu);
    uint64_t start = now_ns();
    rounds(b, start + b->o.seconds * NS_PER_S);
    struct core after = core_of(b->o.cpu);
    report(b, &before, &after, now_ns() - start);
}

static unsigned number(const char *name, const char *text, unsigned most)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || value > most) {
        fprintf(stderr, "bare_loop: --%s=%s: must be a number up to %u\n", name, text, most);
        exit(2);
    }
    return (unsigned)value;
}

static struct options parse(int argc, char **argv)
{
    static const struct option known[] = {
        {"clients", required_argument, NULL, 'c'},
        {"bytes", required_argument, NULL, 'b'},
        {"seconds", required_argument, NULL, 's'},
        {"rate", required_argument, NULL, 'r'},
        {"cpu", required_argument, NULL, 'p'},
        {"drain-cpu", required_argument, NULL, 'd'},
        {"listen", required_argument, NULL, 'l'},
        {"uring", no_argument, NULL, 'u'},
        {NULL, 0, NULL, 0},
    };
    struct options o = {.clients = 1000, .bytes = 200, .seconds = 5, .cpu = 0, .drain_cpu = 1};
    int option;
    int index = 0;
    while ((option = getopt_long(argc, argv, "", known, &index)) != -1) {
        const char *name = known[index].name;
        switch (option) {
        case 'c': o.clients = number(name, optarg, 100000); break;
        case 'b': o.bytes = number(name, optarg, 1u << 20); break;
        case 's': o.seconds = number(name, optarg, 3600); break;
        case 'r': o.rate = number(name, optarg, 1000000); break;
        case 'p': o.cpu = (int)number(name, optarg, 1023); break;
        case 'd': o.drain_cpu = (int)number(name, optarg, 1023); break;
        case 'l': o.listen = optarg; break;
        case 'u': o.uring = true; break;
        default:
            fputs(
                "usage: bare_loop [--clients=N] [--bytes=N] [--seconds=N] [--rate=EVENTS/S, 0: as "
                "fast as they are taken] [--cpu=N] [--drain-cpu=N] [--uring] "
                "[--listen=ADDRESS:PORT]\n",
                stderr);
            exit(2);
        }
    }
    return o;
}

int main(int argc, char **argv)
{
    struct bare b = {.o = parse(argc, argv)};
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    pin(b.o.cpu);
    b.stream = malloc(STREAM_BYTES);
    b.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (b.stream == NULL || b.epoll_fd < 0) die("memory");
    if (b.o.uring && io_uring_queue_init(BATCH, &b.ring, IORING_SETUP_SINGLE_ISSUER) != 0) {
        die("io_uring");
    }
    if (b.o.listen != NULL) {
        serve(&b);
    } else {
        measure(&b);
    }
    return 0;
}
