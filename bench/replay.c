/* The yardstick of bench/replay, and its fast client.
 *
 *   replay --bare --bytes=N                             a loop of 64 KiB sends of N bytes
 *   replay --url=HOST:PORT --path=PATH --until=TEXT     a client that reads until TEXT has come
 *   replay --drop=DIRECTORY                             writes its files back and forgets them
 *   replay ... --crowd=N --seconds=S                    N such clients, each again and again
 *
 * Both read with the same loop on --reader-cpu, from a loopback socket, as fast as they can, and
 * print a line of JSON: bytes and nanoseconds from the first byte to the last, and the CPU time of
 * the bare sender. That is a second process, on --sender-cpu; it sends each byte once, out of
 * memory that holds them all. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SEND_BYTES    (64u << 10)
#define RECEIVE_BYTES (256u << 10)
#define LOOK_BYTES    4096u /* the end of what has come, in which `until` is looked for */

struct options {
    bool bare;
    uint64_t bytes, crowd, seconds;
    const char *url, *path, *until, *drop;
    int reader_cpu, sender_cpu;
};

static void stop(const char *what)
{
    fprintf(stderr, "replay: %s: %s\n", what, strerror(errno));
    exit(2);
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void pin(int cpu)
{
    if (cpu < 0) return;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) stop("sched_setaffinity");
}

static int connect_to(const struct sockaddr_in *to)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)to, sizeof *to) != 0) stop("connect");
    return fd;
}

static void send_all(int fd, const char *data, size_t size)
{
    while (size != 0) {
        ssize_t n = send(fd, data, size, MSG_NOSIGNAL);
        if (n < 0) stop("send");
        data += n;
        size -= (size_t)n;
    }
}

/* Reads until the text or the number of bytes has come; returns the bytes. */
static uint64_t read_on(int fd, uint64_t bytes, const char *until, uint64_t *ns)
{
    static char buffer[LOOK_BYTES + RECEIVE_BYTES];
    uint64_t got = 0, begun = 0;
    size_t kept = 0; /* of what came before, so that a text that is cut in two is found */
    for (;;) {
        ssize_t n = recv(fd, buffer + kept, RECEIVE_BYTES, 0);
        if (n <= 0) stop("the stream ended");
        if (got == 0) begun = clock_ns(CLOCK_MONOTONIC);
        got += (uint64_t)n;
        if (until == NULL) {
            if (got >= bytes) break;
            continue;
        }
        size_t have = kept + (size_t)n;
        size_t look = have < LOOK_BYTES ? have : LOOK_BYTES;
        if (memmem(buffer + have - look, look, until, strlen(until)) != NULL) break;
        kept = strlen(until) < have ? strlen(until) : have;
        memmove(buffer, buffer + have - kept, kept);
    }
    *ns = clock_ns(CLOCK_MONOTONIC) - begun;
    return got;
}

static void send_bare(int fd, const char *memory, uint64_t bytes)
{
    for (uint64_t sent = 0; sent < bytes; sent += SEND_BYTES)
        send_all(fd, memory + sent,
                 bytes - sent < SEND_BYTES ? (size_t)(bytes - sent) : SEND_BYTES);
}

static void bare(const struct options *o)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int pipes[2];
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) != 0 ||
        listen(listener, 1) != 0 || pipe(pipes) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) != 0)
        stop("listen");
    pid_t sender = fork();
    if (sender < 0) stop("fork");
    if (sender == 0) {
        pin(o->sender_cpu);
        char *memory = malloc(o->bytes);
        if (memory == NULL) stop("memory");
        memset(memory, 'x', o->bytes);
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) stop("accept");
        int one = 1;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        uint64_t before = clock_ns(CLOCK_THREAD_CPUTIME_ID);
        send_bare(fd, memory, o->bytes);
        uint64_t cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - before;
        if (write(pipes[1], &cpu_ns, sizeof cpu_ns) != (ssize_t)sizeof cpu_ns) stop("write");
        exit(0);
    }
    pin(o->reader_cpu);
    int fd = connect_to(&address);
    uint64_t ns, bytes = read_on(fd, o->bytes, NULL, &ns);
    uint64_t cpu_ns;
    if (read(pipes[0], &cpu_ns, sizeof cpu_ns) != (ssize_t)sizeof cpu_ns) stop("the sender");
    (void)waitpid(sender, NULL, 0);
    printf("{\"bytes\":%" PRIu64 ",\"ns\":%" PRIu64 ",\"sender_cpu_ns\":%" PRIu64 "}\n", bytes, ns,
           cpu_ns);
}

static struct sockaddr_in address_of(const char *url)
{
    char host[64];
    const char *colon = strrchr(url, ':');
    if (colon == NULL || (size_t)(colon - url) >= sizeof host) stop("--url=HOST:PORT");
    memcpy(host, url, (size_t)(colon - url));
    host[colon - url] = '\0';
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)atoi(colon + 1))};
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) stop("--url=HOST:PORT");
    return address;
}

/* A connection that has asked for the stream. */
static int ask(const struct options *o, const struct sockaddr_in *address)
{
    char request[2048];
    int fd = connect_to(address);
    int size =
        snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", o->path, o->url);
    send_all(fd, request, (size_t)size);
    return fd;
}

static void client(const struct options *o)
{
    struct sockaddr_in address = address_of(o->url);
    pin(o->reader_cpu);
    uint64_t ns, bytes = read_on(ask(o, &address), 0, o->until, &ns);
    printf("{\"bytes\":%" PRIu64 ",\"ns\":%" PRIu64 "}\n", bytes, ns);
}

static void crowd(const struct options *o)
{
    static char buffer[RECEIVE_BYTES];
    struct sockaddr_in address = address_of(o->url);
    struct epoll_event ready[64];
    uint64_t bytes = 0, replays = 0, end = clock_ns(CLOCK_MONOTONIC) + o->seconds * 1000000000u;
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    pin(o->reader_cpu);
    for (uint64_t open = 0; clock_ns(CLOCK_MONOTONIC) < end;) {
        if (open < o->crowd) {
            struct epoll_event event = {.events = EPOLLIN, .data.fd = ask(o, &address)};
            if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, event.data.fd, &event) != 0) stop("epoll_ctl");
            open++;
        }
        int count = epoll_wait(epoll_fd, ready, 64, open < o->crowd ? 0 : 100);
        for (int i = 0; i < count; i++) {
            ssize_t n = recv(ready[i].data.fd, buffer, sizeof buffer, 0);
            if (n > 0) bytes += (uint64_t)n;
            size_t look = n > (ssize_t)LOOK_BYTES ? LOOK_BYTES : n > 0 ? (size_t)n : 0;
            bool over = memmem(buffer + (n > 0 ? n : 0) - look, look, o->until, strlen(o->until));
            if (n > 0 && !over) continue;
            replays += over;
            close(ready[i].data.fd); /* and out of the epoll */
            open--;
        }
    }
    printf("{\"bytes\":%" PRIu64 ",\"replays\":%" PRIu64 "}\n", bytes, replays);
}

/* Drops the files' pages from the page cache. */
static void drop(const char *directory)
{
    DIR *d = opendir(directory);
    if (d == NULL) stop(directory);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        int fd = openat(dirfd(d), e->d_name, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || e->d_type != DT_REG) continue;
        if (fdatasync(fd) != 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0)
            stop(e->d_name);
        close(fd);
    }
    closedir(d);
}

int main(int count, char **arguments)
{
    static const struct option names[] = {{"bare", no_argument, NULL, 'b'},
                                          {"bytes", required_argument, NULL, 'n'},
                                          {"drop", required_argument, NULL, 'x'},
                                          {"url", required_argument, NULL, 'u'},
                                          {"crowd", required_argument, NULL, 'c'},
                                          {"seconds", required_argument, NULL, 'd'},
                                          {"path", required_argument, NULL, 'p'},
                                          {"until", required_argument, NULL, 't'},
                                          {"reader-cpu", required_argument, NULL, 'r'},
                                          {"sender-cpu", required_argument, NULL, 's'},
                                          {0}};
    struct options o = {.bytes = 1u << 30, .reader_cpu = -1, .sender_cpu = -1};
    for (int c; (c = getopt_long(count, arguments, "", names, NULL)) != -1;) {
        switch (c) {
        case 'b': o.bare = true; break;
        case 'n': o.bytes = strtoull(optarg, NULL, 10); break;
        case 'u': o.url = optarg; break;
        case 'x': o.drop = optarg; break;
        case 'c': o.crowd = strtoull(optarg, NULL, 10); break;
        case 'd': o.seconds = strtoull(optarg, NULL, 10); break;
        case 'p': o.path = optarg; break;
        case 't': o.until = optarg; break;
        case 'r': o.reader_cpu = atoi(optarg); break;
        case 's': o.sender_cpu = atoi(optarg); break;
        default: return 2;
        }
    }
    if (o.drop != NULL)
        drop(o.drop);
    else if (o.bare)
        bare(&o);
    else if (o.crowd != 0 && o.url != NULL && o.path != NULL && o.until != NULL)
        crowd(&o);
    else if (o.url != NULL && o.path != NULL && o.until != NULL)
        client(&o);
    else
        stop("--bare --bytes=N, or --url=, --path= and --until=");
    return 0;
}
