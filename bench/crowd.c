/* A crowd of clients that counts: they come all at once, resume old cursors, follow many channels,
 * or come and go for as long as it takes, and every number of every channel is looked at.
 *
 *   crowd --url=HOST:PORT --clients=N --query='channels=crowd.*&cursor=...'
 *
 * An event's payload begins with {"c":CHANNEL,"n":NUMBER: its channel is one of --numbered, and
 * each client must get the numbers of a channel without a gap and without a double, over all its
 * connections. Others are counted alone. --first: where the numbers begin; else whatever comes
 * first does.
 * --each=K --of=M: client i follows K of the channels prefix.0 to prefix.M-1 instead of --query.
 * --churn=MS: every connection is cut after a random time of this mean, and resumes with its last
 * id; one of four stops reading first, for as long.
 * --raw: for servers whose streams are not ours: any line may hold the payload, and `open` means
 * that the head of the response has come. A payload that goes on with ,"t":NANOSECONDS (of the
 * monotonic clock, when it was published) gives a latency.
 *
 * Prints lines of JSON: {"phase":"open"} when all have got `connected`, {"phase":"reached"} when
 * all have got number --until of channel 0, {"phase":"end"} with the counts when it is told to end
 * (SIGTERM), or when all streams have ended. Exit status 1: something was lost, came twice, or was
 * no event stream. One thread, epoll; clients share source addresses of 127.0.0.0/8. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tools/ttload/sse_reader.h"

#define RECEIVE_BYTES (256u << 10)
#define EVENTS        256
#define BURST         64 /* connections begun between two looks at what has come */
#define NUMBERED_MAX  64u
#define ID_BYTES      400u
#define RAW_BYTES     96u /* from the beginning of a payload to behind its time */
#define NS_PER_MS     UINT64_C(1000000)

struct options {
    uint32_t clients, numbered, each, of, churn_ms, per_address;
    uint64_t until, first;
    bool has_until, has_first, raw;
    const char *url, *path, *query, *prefix;
    int cpu;
};

enum state { CLOSED, CONNECTING, OPENING, OPEN };

struct client {
    struct tt_sse_reader reader;
    int fd;
    uint8_t state;
    bool opened, reached, ended, stalled;
    uint16_t kept;  /* raw: bytes of what may go on, in id */
    uint64_t at_ns; /* churn: when something happens to it */
    uint64_t *next; /* of each numbered channel; UINT64_MAX: whatever comes */
    char *id;
};

struct crowd {
    struct options o;
    struct sockaddr_in to;
    struct client *clients;
    int epoll_fd;
    uint64_t begun_ns, took_ns, seed;
    uint32_t opening, opened, reached, ended;
    uint64_t latency_sum, latency_max, timed;
    uint64_t events, other, lost, doubled, connects, failed, cuts, early, resyncs, gaps;
    uint64_t shutdowns, reconnect_min, reconnect_max, reconnect_sum, first_end_ns, last_end_ns;
    char wrong[256];
};

static void stop(const char *what)
{
    fprintf(stderr, "crowd: %s: %s\n", what, strerror(errno));
    exit(2);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t draw(struct crowd *c, uint64_t below)
{
    c->seed ^= c->seed << 13;
    c->seed ^= c->seed >> 7;
    c->seed ^= c->seed << 17;
    return c->seed % below;
}

static uint64_t ms_since(const struct crowd *c, uint64_t ns)
{
    return (ns - c->begun_ns) / NS_PER_MS;
}

static void wrong(struct crowd *c, const struct client *k, const char *what)
{
    if (c->wrong[0] == '\0')
        (void)snprintf(c->wrong, sizeof c->wrong, "client %u: %s", (unsigned)(k - c->clients),
                       what);
}

/* ---- connections ---- */

static void begin(struct crowd *c, struct client *k)
{
    uint32_t number = (uint32_t)(k - c->clients);
    struct sockaddr_in source = {.sin_family = AF_INET};
    source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + number / c->o.per_address);
    int on = 1;
    k->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (k->fd < 0) stop("socket");
    (void)setsockopt(k->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(k->fd, (struct sockaddr *)&source, sizeof source) != 0) stop("bind");
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = k};
    if (connect(k->fd, (const struct sockaddr *)&c->to, sizeof c->to) != 0 && errno != EINPROGRESS)
        stop("connect");
    if (epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, k->fd, &event) != 0) stop("epoll_ctl");
    tt_sse_reader_init(&k->reader);
    k->state = CONNECTING;
    c->connects++;
    c->opening++;
}

static void finish(struct crowd *c, struct client *k)
{
    if (k->state == CLOSED) return;
    if (k->state != OPEN) c->opening--;
    (void)close(k->fd);
    tt_sse_reader_deinit(&k->reader);
    k->state = CLOSED;
    k->stalled = false;
}

static void ask(struct crowd *c, struct client *k)
{
    static char text[65536];
    size_t size = 0;
    uint32_t number = (uint32_t)(k - c->clients);
#define ADD(...) size += (size_t)snprintf(text + size, sizeof text - size, __VA_ARGS__)
    ADD("GET %s?%s", c->o.path, c->o.query);
    for (uint32_t i = 0; i < c->o.each; i++)
        ADD("%s%s%u", i == 0 ? "channels=" : ",", c->o.prefix,
            (unsigned)(((uint64_t)number * c->o.each + i) % c->o.of));
    ADD(" HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n", c->o.url);
    if (!c->o.raw && k->id[0] != '\0') ADD("Last-Event-ID: %s\r\n", k->id);
    ADD("\r\n");
#undef ADD
    if (size >= sizeof text) stop("the request is too long");
    if (send(k->fd, text, size, MSG_NOSIGNAL) != (ssize_t)size) {
        c->failed++;
        finish(c, k);
        return;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = k};
    (void)epoll_ctl(c->epoll_fd, EPOLL_CTL_MOD, k->fd, &event);
    k->state = OPENING;
}

static void plan(struct crowd *c, struct client *k)
{
    if (c->o.churn_ms != 0)
        k->at_ns = now_ns() + (1 + draw(c, UINT64_C(2) * c->o.churn_ms)) * NS_PER_MS;
}

/* ---- what comes ---- */

static bool number_behind(struct tt_bytes data, const char *name, uint64_t *value)
{
    const char *at = memmem(data.data, data.size, name, strlen(name));
    if (at == NULL) return false;
    *value = 0;
    for (at += strlen(name); at < (const char *)data.data + data.size && *at >= '0' && *at <= '9';
         at++)
        *value = *value * 10 + (uint64_t)(*at - '0');
    return true;
}

static void took(struct crowd *c, struct client *k, struct tt_bytes data)
{
    uint64_t channel, n;
    c->events++;
    if (!number_behind(data, "{\"c\":", &channel) || channel >= c->o.numbered ||
        !number_behind(data, ",\"n\":", &n)) {
        c->other++;
        return;
    }
    uint64_t t;
    if (number_behind(data, ",\"t\":", &t)) {
        uint64_t late = c->took_ns > t ? c->took_ns - t : 0;
        c->latency_sum += late;
        if (late > c->latency_max) c->latency_max = late;
        c->timed++;
    }
    uint64_t *next = &k->next[channel];
    if (*next != UINT64_MAX && n != *next) {
        char text[128];
        (void)snprintf(text, sizeof text, "channel %u: %u came, %u was due", (unsigned)channel,
                       (unsigned)n, (unsigned)*next);
        wrong(c, k, text);
        if (n > *next)
            c->lost += n - *next;
        else
            c->doubled++;
    }
    if (*next == UINT64_MAX || n >= *next) *next = n + 1;
    if (c->o.has_until && channel == 0 && n >= c->o.until && !k->reached) {
        k->reached = true;
        if (++c->reached == c->o.clients) {
            printf("{\"phase\":\"reached\",\"ms\":%" PRIu64 ",\"events\":%" PRIu64 "}\n",
                   ms_since(c, now_ns()), c->events);
            (void)fflush(stdout);
        }
    }
}

static void told_to_go(struct crowd *c, struct tt_bytes data)
{
    uint64_t ms;
    if (!number_behind(data, "\"reconnect\":", &ms)) return;
    if (c->shutdowns++ == 0 || ms < c->reconnect_min) c->reconnect_min = ms;
    if (ms > c->reconnect_max) c->reconnect_max = ms;
    c->reconnect_sum += ms;
}

static void connected(struct crowd *c, struct client *k)
{
    c->opening--;
    k->state = OPEN;
    plan(c, k);
    if (k->opened) return;
    k->opened = true;
    if (++c->opened != c->o.clients) return;
    printf("{\"phase\":\"open\",\"ms\":%" PRIu64 "}\n", ms_since(c, now_ns()));
    (void)fflush(stdout);
}

/* Takes payloads out of whatever bytes these are; the id's place holds what may go on. */
static void take_raw(struct crowd *c, struct client *k, const uint8_t *bytes, size_t size)
{
    if (k->state == OPENING) {
        if (size < 12 || memcmp(bytes, "HTTP/1.1 200", 12) != 0) {
            c->failed++;
            wrong(c, k, "the answer is not 200");
        }
        connected(c, k);
    }
    const uint8_t *at = bytes, *end = bytes + size;
    while ((at = memmem(at, (size_t)(end - at), "{\"c\":", 5)) != NULL) {
        if ((size_t)(end - at) < RAW_BYTES) {
            k->kept = (uint16_t)(end - at);
            memcpy(k->id, at, k->kept);
            return;
        }
        took(c, k, tt_bytes(at, RAW_BYTES));
        at += RAW_BYTES;
    }
    k->kept = size < 4 ? (uint16_t)size : 4;
    memcpy(k->id, end - k->kept, k->kept);
}

static void event(struct crowd *c, struct client *k, const struct tt_sse_event *e)
{
    if (e->has_id && e->id.size < ID_BYTES) {
        memcpy(k->id, e->id.data, e->id.size);
        k->id[e->id.size] = '\0';
    }
    if (e->data_lines == 0) return;
    if (tt_bytes_is(e->type, "connected")) {
        connected(c, k);
    } else if (tt_bytes_is(e->type, "shutdown")) {
        told_to_go(c, e->data);
    } else if (tt_bytes_is(e->type, "resync")) {
        c->resyncs++;
    } else if (tt_bytes_is(e->type, "gap")) {
        c->gaps++;
    } else if (!tt_bytes_is(e->type, "snapshot-end")) {
        took(c, k, e->data);
    }
}

/* Its stream is over, by the broker's will. */
static void over(struct crowd *c, struct client *k)
{
    bool open = k->state == OPEN;
    finish(c, k);
    if (c->o.churn_ms != 0) {
        c->early++;
        plan(c, k);
        return;
    }
    if (!open) {
        c->failed++;
        wrong(c, k, "its stream ended before it began");
    }
    uint64_t now = now_ns();
    if (c->ended++ == 0) c->first_end_ns = now;
    c->last_end_ns = now;
    k->ended = true;
}

static void readable(struct crowd *c, struct client *k)
{
    static uint8_t buffer[RECEIVE_BYTES];
    size_t kept = c->o.raw ? k->kept : 0;
    memcpy(buffer, k->id, kept);
    ssize_t n = recv(k->fd, buffer + kept, sizeof buffer - kept, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
        over(c, k);
        return;
    }
    c->took_ns = now_ns();
    if (c->o.raw) {
        take_raw(c, k, buffer, kept + (size_t)n);
        return;
    }
    struct tt_bytes in = tt_bytes(buffer, (size_t)n);
    struct tt_sse_event e;
    enum tt_status status;
    while ((status = tt_sse_reader_next(&k->reader, &in, &e)) == TT_OK) event(c, k, &e);
    if (status == TT_MORE) return;
    if (status != TT_END) {
        c->failed++;
        wrong(c, k, tt_sse_reader_why(&k->reader));
    }
    over(c, k);
}

/* ---- coming and going ---- */

/* One pass over a part of the clients, so that each is seen a few times a second. */
static void churn(struct crowd *c, uint32_t *from)
{
    uint64_t now = now_ns();
    for (uint32_t i = 0; i < c->o.clients / 8 + 1; i++) {
        struct client *k = &c->clients[*from];
        *from = (*from + 1) % c->o.clients;
        if (now < k->at_ns) continue;
        if (k->state == CLOSED) {
            begin(c, k);
            k->at_ns = UINT64_MAX; /* until `connected` has come */
        } else if (k->state == OPEN && !k->stalled && draw(c, 4) == 0) {
            struct epoll_event event = {.events = 0, .data.ptr = k};
            (void)epoll_ctl(c->epoll_fd, EPOLL_CTL_MOD, k->fd, &event);
            k->stalled = true;
            plan(c, k);
        } else if (k->state == OPEN && k->stalled && draw(c, 2) == 0) {
            struct epoll_event event = {.events = EPOLLIN, .data.ptr = k};
            (void)epoll_ctl(c->epoll_fd, EPOLL_CTL_MOD, k->fd, &event);
            k->stalled = false;
            plan(c, k);
        } else if (k->state == OPEN) {
            c->cuts++;
            finish(c, k);
            k->at_ns = now + draw(c, c->o.churn_ms) * NS_PER_MS / 4;
        }
    }
}

static int signals(void)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC);
}

static void run(struct crowd *c)
{
    struct epoll_event events[EVENTS];
    int signal_fd = signals();
    struct epoll_event own = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, signal_fd, &own) != 0) stop("signalfd");
    uint32_t begun = 0, looked = 0;
    c->begun_ns = now_ns();
    while (c->ended < c->o.clients) {
        for (uint32_t i = 0; i < BURST && begun < c->o.clients; i++) begin(c, &c->clients[begun++]);
        int wait_ms = begun < c->o.clients ? 0 : c->o.churn_ms != 0 ? 20 : -1;
        int n = epoll_wait(c->epoll_fd, events, EVENTS, wait_ms);
        for (int i = 0; i < n; i++) {
            struct client *k = events[i].data.ptr;
            if (events[i].data.ptr == c) return;
            if (k->state == CONNECTING && (events[i].events & EPOLLOUT) != 0) ask(c, k);
            if (k->state != CLOSED && (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
                readable(c, k);
        }
        if (c->failed != 0) return; /* nothing that follows would say more */
        if (c->o.churn_ms != 0 && begun == c->o.clients) churn(c, &looked);
    }
}

static int report(const struct crowd *c)
{
    bool good = c->lost == 0 && c->doubled == 0 && c->failed == 0;
    printf(
        "{\"phase\":\"end\",\"good\":%s,\"opened\":%u,\"reached\":%u,\"ended\":%u,"
        "\"events\":%" PRIu64 ",\"unnumbered\":%" PRIu64 ",\"lost\":%" PRIu64
        ",\"doubled\":%" PRIu64 ",\"failed\":%" PRIu64 ",\"connects\":%" PRIu64 ",\"cuts\":%" PRIu64
        ",\"ended_early\":%" PRIu64 ",\"resyncs\":%" PRIu64 ",\"gaps\":%" PRIu64
        ",\"shutdowns\":%" PRIu64 ",\"reconnect_min_ms\":%" PRIu64 ",\"reconnect_max_ms\":%" PRIu64
        ",\"reconnect_mean_ms\":%" PRIu64 ",\"ends_ms\":%" PRIu64
        ",\"latency_mean_ms\":%.4f,\"latency_max_ms\":%.4f,\"wrong\":\"%s\"}\n",
        good ? "true" : "false", c->opened, c->reached, c->ended, c->events, c->other, c->lost,
        c->doubled, c->failed, c->connects, c->cuts, c->early, c->resyncs, c->gaps, c->shutdowns,
        c->reconnect_min, c->reconnect_max, c->shutdowns == 0 ? 0 : c->reconnect_sum / c->shutdowns,
        c->ended == 0 ? 0 : (c->last_end_ns - c->first_end_ns) / NS_PER_MS,
        c->timed == 0 ? 0 : (double)c->latency_sum / (double)c->timed / 1e6,
        (double)c->latency_max / 1e6, c->wrong);
    return good ? 0 : 1;
}

/* ---- options ---- */

static uint64_t number(const char *name, const char *text)
{
    char *end;
    uint64_t value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0') {
        fprintf(stderr, "crowd: --%s=%s: must be a number\n", name, text);
        exit(2);
    }
    return value;
}

static void text_option(struct options *o, int c)
{
    switch (c) {
    case 'u': o->url = optarg; break;
    case 'q': o->query = optarg; break;
    case 'p': o->prefix = optarg; break;
    case 's': o->path = optarg; break;
    case 'r': o->raw = true; break;
    default:
        fputs("usage: crowd --url=HOST:PORT --clients=N [--path=PATH] [--query=QUERY] [--each=N "
              "--of=N "
              "--prefix=TEXT] [--numbered=N] [--first=N] [--until=N] [--churn=MS] "
              "[--per-address=N] [--cpu=N] [--raw]\n",
              stderr);
        exit(2);
    }
}

static struct options parse(int count, char **arguments)
{
    static const struct option names[] = {{"url", required_argument, NULL, 'u'},
                                          {"query", required_argument, NULL, 'q'},
                                          {"prefix", required_argument, NULL, 'p'},
                                          {"path", required_argument, NULL, 's'},
                                          {"raw", no_argument, NULL, 'r'},
                                          {"clients", required_argument, NULL, 'c'},
                                          {"numbered", required_argument, NULL, 'n'},
                                          {"each", required_argument, NULL, 'e'},
                                          {"of", required_argument, NULL, 'o'},
                                          {"first", required_argument, NULL, 'f'},
                                          {"until", required_argument, NULL, 't'},
                                          {"churn", required_argument, NULL, 'h'},
                                          {"per-address", required_argument, NULL, 'a'},
                                          {"cpu", required_argument, NULL, 'k'},
                                          {0}};
    struct options o = {.clients = 100,
                        .numbered = 1,
                        .of = 1,
                        .per_address = 1000,
                        .path = "/sse",
                        .query = "",
                        .prefix = "crowd.",
                        .cpu = -1};
    int index = 0;
    for (int c; (c = getopt_long(count, arguments, "", names, &index)) != -1;) {
        if (c == 'u' || c == 'q' || c == 'p' || c == 's' || c == 'r' || c == '?') {
            text_option(&o, c);
            continue;
        }
        uint64_t value = number(names[index].name, optarg);
        switch (c) {
        case 'c': o.clients = (uint32_t)value; break;
        case 'n': o.numbered = (uint32_t)value; break;
        case 'e': o.each = (uint32_t)value; break;
        case 'o': o.of = (uint32_t)value; break;
        case 'f': o.first = value, o.has_first = true; break;
        case 't': o.until = value, o.has_until = true; break;
        case 'h': o.churn_ms = (uint32_t)value; break;
        case 'a': o.per_address = (uint32_t)value; break;
        case 'k': o.cpu = (int)value; break;
        default: break;
        }
    }
    if (o.url == NULL || o.clients == 0 || o.numbered > NUMBERED_MAX || o.of == 0 ||
        o.per_address == 0)
        text_option(&o, '?');
    return o;
}

static void make_clients(struct crowd *c)
{
    c->clients = calloc(c->o.clients, sizeof *c->clients);
    uint64_t *next = malloc(((size_t)c->o.clients * c->o.numbered + 1) * sizeof *next);
    char *ids = calloc(c->o.clients, ID_BYTES);
    if (c->clients == NULL || next == NULL || ids == NULL) stop("memory");
    for (size_t i = 0; i < (size_t)c->o.clients * c->o.numbered; i++)
        next[i] = c->o.has_first ? c->o.first : UINT64_MAX;
    for (uint32_t i = 0; i < c->o.clients; i++) {
        c->clients[i].next = next + (size_t)i * c->o.numbered;
        c->clients[i].id = ids + (size_t)i * ID_BYTES;
    }
}

int main(int count, char **arguments)
{
    static struct crowd c;
    c.o = parse(count, arguments);
    c.seed = now_ns() | 1;
    const char *colon = strrchr(c.o.url, ':');
    char host[64] = "";
    if (colon != NULL) (void)snprintf(host, sizeof host, "%.*s", (int)(colon - c.o.url), c.o.url);
    c.to = (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons(colon == NULL ? 0 : (uint16_t)atoi(colon + 1))};
    if (inet_pton(AF_INET, host, &c.to.sin_addr) != 1) stop("--url=HOST:PORT");
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (c.o.cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((size_t)c.o.cpu, &set);
        if (sched_setaffinity(0, sizeof set, &set) != 0) stop("sched_setaffinity");
    }
    make_clients(&c);
    c.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (c.epoll_fd < 0) stop("epoll");
    run(&c);
    return report(&c);
}
