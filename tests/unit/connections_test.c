/* The connection engine over real sockets, on both back ends of the io, in one thread: a client
 * socket that the test drives, and the engine's loop pumped in between. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "shard/conn/connections.h"
#include "shard/http/cors.h"
#include "shard/http/routes.h"

#define ACCEPT     1u
#define TEXT_MAX   (1u << 16)
#define BIG_BYTES  (6u << 20)
#define PUMPS_MAX  4000 /* of at most 5 ms each */
#define TOO_LONG() cr_assert_fail("what was waited for did not come")

/* Runs a test on both back ends. */
#define BOTH(name, ...)                                                                            \
    static void name(enum tt_io_kind kind);                                                        \
    Test(connections, name##_uring, __VA_ARGS__)                                                   \
    {                                                                                              \
        name(TT_IO_URING);                                                                         \
    }                                                                                              \
    Test(connections, name##_epoll, __VA_ARGS__)                                                   \
    {                                                                                              \
        name(TT_IO_EPOLL);                                                                         \
    }                                                                                              \
    static void name(enum tt_io_kind kind)

static struct {
    struct tt_io *io;
    struct tt_timers *timers;
    struct tt_connections *engine;
    struct tt_address address;
    unsigned gone;
    enum tt_close_reason reason; /* of the last that was gone */
    unsigned begun;              /* exchanges */
    unsigned closed;
    enum tt_close_reason closed_reason;
    char logged[600];
    uint8_t *big;
} t;

/* ---- what answers ---- */

static struct tt_exchange *hello(void *context, const struct tt_request *request)
{
    struct tt_response response = {.status = 200, .content_type = "text/plain"};

    (void)context;
    return tt_reply(request, &response, TT_BYTES_LITERAL("hello\n"));
}

static struct tt_exchange *big(void *context, const struct tt_request *request)
{
    struct tt_response response = {.status = 200, .content_type = "text/plain"};

    (void)context;
    return tt_reply_static(request, &response, tt_bytes(t.big, BIG_BYTES));
}

/* Gathers a body and answers with it; `portion` bytes at a time, then it holds until resumed. */
static struct {
    struct tt_exchange x;
    char text[TEXT_MAX];
    size_t size;
    size_t portion; /* 0: everything */
    bool unbounded;
    bool holds;
    unsigned ends;
} echo;

static size_t echo_body(struct tt_exchange *x, struct tt_bytes bytes, bool end)
{
    struct tt_response response = {.status = 200, .content_type = "text/plain"};
    size_t take = bytes.size;

    if (echo.portion != 0 && take > echo.portion) take = echo.portion;
    if (take != 0) memcpy(echo.text + echo.size, bytes.data, take);
    echo.size += take;
    if (take < bytes.size) {
        echo.holds = true;
    } else if (end) {
        echo.ends++;
        tt_exchange_answer(x, &response, tt_bytes(echo.text, echo.size));
    }
    return take;
}

static enum tt_pull no_pull(struct tt_exchange *x, size_t budget, struct tt_slice *slices,
                            unsigned max, unsigned *count)
{
    (void)x, (void)budget, (void)slices, (void)max, (void)count;
    cr_assert_fail("an exchange that never started is not asked for bytes");
    return TT_PULL_IDLE;
}

static void no_taken(struct tt_exchange *x, size_t bytes)
{
    (void)x, (void)bytes;
    cr_assert_fail("an exchange that offered nothing");
}

static void count_closed(struct tt_exchange *x, enum tt_close_reason reason)
{
    cr_assert_null(x->connection);
    t.closed++;
    t.closed_reason = reason;
}

static const struct tt_exchange_ops echo_ops = {"echo", echo_body, no_pull, no_taken, count_closed};
static const struct tt_exchange_ops deaf_ops = {"deaf", NULL, no_pull, no_taken, count_closed};

static struct tt_exchange *echo_begin(void *context, const struct tt_request *request)
{
    (void)context;
    echo.size = 0;
    t.begun++;
    echo.x = (struct tt_exchange){.ops = &echo_ops};
    if (echo.unbounded) tt_request_stream_body(request);
    return &echo.x;
}

static struct tt_exchange deaf;

static struct tt_exchange *deaf_begin(void *context, const struct tt_request *request)
{
    (void)context, (void)request;
    deaf = (struct tt_exchange){.ops = &deaf_ops};
    return &deaf;
}

/* A stream that the test feeds. */
static struct {
    struct tt_exchange x;
    const uint8_t *data;
    size_t size;
    size_t taken;
    bool started;
    enum tt_pull then; /* when all was taken */
} stream;

static enum tt_pull stream_pull(struct tt_exchange *x, size_t budget, struct tt_slice *slices,
                                unsigned max, unsigned *count)
{
    (void)x;
    cr_assert_gt(max, 0);
    size_t left = stream.size - stream.taken;
    if (left == 0) return stream.then;
    slices[0] = (struct tt_slice){stream.data + stream.taken, left < budget ? left : budget};
    *count = 1;
    return TT_PULL_DATA;
}

static void stream_taken(struct tt_exchange *x, size_t bytes)
{
    stream.taken += bytes;
    cr_assert_leq(stream.taken, stream.size);
    /* More bytes, or what comes when all was taken. */
    if (stream.taken < stream.size || stream.then != TT_PULL_IDLE) tt_exchange_ready(x);
}

static const struct tt_exchange_ops stream_ops = {"stream", NULL, stream_pull, stream_taken,
                                                  count_closed};

static struct tt_exchange *stream_begin(void *context, const struct tt_request *request)
{
    (void)context, (void)request;
    t.begun++;
    stream.x = (struct tt_exchange){.ops = &stream_ops};
    stream.taken = stream.size = 0;
    stream.then = TT_PULL_IDLE;
    stream.started = false;
    return &stream.x;
}

static void stream_say(const char *text)
{
    stream.data = (const uint8_t *)text;
    stream.size = strlen(text);
    stream.taken = 0;
    tt_exchange_ready(&stream.x);
}

static void stream_end(enum tt_pull how)
{
    stream.then = how;
    tt_exchange_ready(&stream.x);
}

static const struct tt_route rows[] = {
    {"/hello", TT_ROUTE_GET, false, false, hello, NULL},
    {"/big", TT_ROUTE_GET, false, false, big, NULL},
    {"/echo", TT_ROUTE_POST, false, true, echo_begin, NULL},
    {"/deaf", TT_ROUTE_GET | TT_ROUTE_POST, false, false, deaf_begin, NULL},
    {"/stream", TT_ROUTE_GET, false, false, stream_begin, NULL},
    {"/below/", TT_ROUTE_GET, true, false, hello, NULL},
};
static struct tt_routes routes = {rows, sizeof(rows) / sizeof(rows[0])};

/* ---- the loop ---- */

static void on_gone(void *context, const struct tt_peer *peer, enum tt_close_reason reason)
{
    (void)context;
    /* One that was reset before it was accepted has no address any more. */
    cr_assert(peer->family == TT_ADDRESS_IP4 || peer->family == TT_ADDRESS_NONE);
    t.gone++;
    t.reason = reason;
}

static void on_log(void *context, const struct tt_peer *peer, const char *code, const char *message)
{
    (void)context, (void)peer;
    (void)snprintf(t.logged, sizeof(t.logged), "%s %s", code, message);
}

static void pump(unsigned wait_ms)
{
    struct tt_done done[64];
    unsigned count;

    (void)tt_connections_flush(t.engine, 64);
    uint64_t now_ns = tt_io_now_ns(t.io);
    bool more = tt_connections_ready(t.engine);
    tt_io_submit(t.io, more || wait_ms == 0 ? 0 : now_ns + wait_ms * 1000000u);
    while ((count = tt_io_reap(t.io, done, 64)) != 0) {
        for (unsigned i = 0; i < count; i++) {
            if (tt_connections_done(t.engine, &done[i])) continue;
            cr_assert_eq(tt_token_operation(done[i].token), ACCEPT);
            cr_assert_geq(done[i].result, 0);
            struct tt_handoff handoff = tt_io_handoff(t.io, done[i].result);
            tt_connections_adopt(t.engine, &handoff);
        }
    }
    cr_assert_eq(tt_timers_run(t.timers, tt_io_now_ns(t.io), 1000), TT_OK);
}

static struct tt_connections_options defaults(void)
{
    return (struct tt_connections_options){
        .connections_max = 100,
        .head_bytes_max = 2048,
        .headers_max = 20,
        .body_bytes_max = 5000,
        .header_timeout_ms = 60000,
        .body_timeout_ms = 60000,
        .keepalive_ms = 60000,
        .stall_ms = 60000,
        .prefix = "",
    };
}

static void start_with(enum tt_io_kind kind, const struct tt_connections_options *options)
{
    char why[200];
    struct tt_io_options io = {kind, 200, 1024, 64, 8, NULL};
    struct tt_listen_options listen = {.backlog = 50, .no_delay = true, .send_buffer_bytes = 65536};
    struct tt_connections_hooks hooks = {NULL, tt_routes_handle, &routes, on_gone, on_log};
    tt_socket listener;

    if (tt_io_create(&t.io, &io, why, sizeof(why)) != TT_OK) cr_skip_test("%s", why);
    cr_assert_eq(tt_timers_create(&t.timers, tt_io_now_ns(t.io)), TT_OK);
    cr_assert_eq(tt_connections_create(&t.engine, t.io, t.timers, options, &hooks), TT_OK);
    cr_assert_eq(tt_address_parse(tt_bytes_text("127.0.0.1:0"), &t.address), TT_OK);
    cr_assert_eq(tt_io_listen(t.io, &t.address, &listen, &listener), TT_OK);
    tt_io_accept(t.io, listener, tt_token(ACCEPT, 1, 1));
    t.big = malloc(BIG_BYTES);
    memset(t.big, 'b', BIG_BYTES);
}

static void start(enum tt_io_kind kind)
{
    struct tt_connections_options options = defaults();

    start_with(kind, &options);
}

static void stop(void)
{
    if (t.engine != NULL) tt_connections_destroy(&t.engine);
    if (t.timers != NULL) tt_timers_destroy(&t.timers);
    if (t.io != NULL) tt_io_destroy(&t.io);
    free(t.big);
}

/* ---- the client ---- */

struct client {
    int fd;
    char text[TEXT_MAX]; /* what came, terminated */
    size_t size;
    size_t dropped; /* what came beyond that room */
    bool ended;
    bool reset;
};

static struct client *dial(void)
{
    struct client *c = calloc(1, sizeof(*c));
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(t.address.port)};

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(c->fd, (struct sockaddr *)&to, sizeof(to)), 0);
    cr_assert_eq(fcntl(c->fd, F_SETFL, O_NONBLOCK), 0);
    return c;
}

static void hang_up(struct client *c)
{
    (void)close(c->fd);
    free(c);
}

static void drain_client(struct client *c)
{
    char scratch[4096];

    while (!c->ended) {
        size_t room = TEXT_MAX - 1 - c->size;
        ssize_t n = recv(c->fd, room == 0 ? scratch : c->text + c->size,
                         room == 0 ? sizeof(scratch) : room, 0);
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) {
            c->ended = true;
            c->reset = n < 0;
            return;
        }
        if (room == 0) c->dropped += (size_t)n;
        if (room != 0) c->size += (size_t)n;
    }
}

static void say(struct client *c, const char *text)
{
    size_t size = strlen(text);

    for (unsigned i = 0; size != 0; i++) {
        if (i == PUMPS_MAX) TOO_LONG();
        ssize_t n = send(c->fd, text, size, MSG_NOSIGNAL);
        cr_assert(n > 0 || errno == EAGAIN, "the server has closed too early");
        if (n > 0) {
            text += n;
            size -= (size_t)n;
        }
        pump(0);
    }
}

/* Pumps until the client has seen this text. */
static void expect(struct client *c, const char *text)
{
    for (unsigned i = 0; strstr(c->text, text) == NULL; i++) {
        if (i == PUMPS_MAX || c->ended) {
            cr_assert_fail("expected %s; got %s%s", text, c->text, c->ended ? " and the end" : "");
        }
        pump(5);
        drain_client(c);
    }
}

static void expect_end(struct client *c)
{
    for (unsigned i = 0; !c->ended; i++) {
        if (i == PUMPS_MAX) TOO_LONG();
        pump(5);
        drain_client(c);
    }
}

static void forget(struct client *c)
{
    memset(c->text, 0, sizeof(c->text));
    c->size = 0;
}

static void stream_start(void)
{
    struct tt_response response = {
        .status = 200, .content_type = "text/event-stream", .content_length = -1};

    for (unsigned i = 0; stream.x.connection == NULL; i++) {
        if (i == PUMPS_MAX) TOO_LONG();
        pump(5);
    }
    stream.started = true;
    tt_exchange_start(&stream.x, &response);
}

static void wait_gone(unsigned count)
{
    for (unsigned i = 0; t.gone < count; i++) {
        if (i == PUMPS_MAX) TOO_LONG();
        pump(5);
    }
}

/* One connection, one text to send, everything that comes until the server ends its side. */
static struct client *ask(const char *text)
{
    struct client *c = dial();

    say(c, text);
    expect_end(c);
    cr_assert_not(c->reset, "a client that is still there gets its whole answer: %s", c->text);
    return c;
}

static unsigned occurrences(const char *text, const char *what)
{
    unsigned count = 0;

    for (const char *at = strstr(text, what); at != NULL; at = strstr(at + 1, what)) count++;
    return count;
}

static void expect_starts(struct client *c, const char *text)
{
    cr_assert_eq(strncmp(c->text, text, strlen(text)), 0, "expected %s; got %s", text, c->text);
}

#define GET(path)                                                                                  \
    "GET " path " HTTP/1.1\r\nHost: a\r\n"                                                         \
    "\r\n"
#define LAST(path)                                                                                 \
    "GET " path " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"                                    \
    "\r\n"

/* ---- requests and answers ---- */

BOTH(an_answer_has_its_head_and_the_connection_goes_on, .fini = stop)
{
    start(kind);
    struct client *c = dial();

    say(c, GET("/hello"));
    expect(c, "hello\n");
    expect_starts(c, "HTTP/1.1 200 OK\r\nDate: ");
    /* The date is today's, as the C library would write it. */
    char today[32];
    time_t seconds = (time_t)(tt_io_wall_us(t.io) / 1000000);
    struct tm tm;
    cr_assert_not_null(gmtime_r(&seconds, &tm));
    (void)strftime(today, sizeof(today), "%a, %d %b %Y %H:", &tm);
    cr_assert_eq(strncmp(c->text + strlen("HTTP/1.1 200 OK\r\nDate: "), today, strlen(today)), 0);
    expect(c, " GMT\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nhello\n");
    forget(c);
    say(c, LAST("/below/any/thing"));
    expect_end(c);
    expect(c, "Connection: close\r\n\r\nhello\n");
    hang_up(c);
    wait_gone(1);
    cr_assert_eq(t.reason, TT_CLOSE_DONE);
    cr_assert_eq(tt_connections_bytes(t.engine), 0);
    cr_assert_eq(tt_connections_count(t.engine), 0);
}

BOTH(pipelined_requests_are_answered_in_order, .fini = stop)
{
    start(kind);
    struct client *c =
        ask(GET("/hello") "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" GET(
            "/none") "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde"
                     "\r\n1\r\nf\r\n0\r\n\r\n" LAST("/hello") GET("/hello"));

    cr_assert_eq(occurrences(c->text, "HTTP/1.1 200 OK"), 4);
    const char *abc = strstr(c->text, "\r\n\r\nabc");
    const char *none = strstr(c->text, "HTTP/1.1 404 Not Found");
    const char *def = strstr(c->text, "\r\n\r\ndef");
    cr_assert(abc != NULL && none > abc && def > none, "%s", c->text);
    cr_assert_eq(echo.ends, 2);
    hang_up(c);
}

BOTH(requests_may_come_byte_by_byte, .fini = stop)
{
    const char text[] = GET("/hello") "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
                                      "chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" LAST("/hello");
    start(kind);
    struct client *c = dial();

    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        char one[2] = {text[i], 0};
        say(c, one);
    }
    expect_end(c);
    cr_assert_eq(occurrences(c->text, "HTTP/1.1 200 OK"), 3);
    cr_assert_not_null(strstr(c->text, "\r\n\r\nabcHTTP/1.1"));
    hang_up(c);
}

BOTH(head_gets_the_head_only, .fini = stop)
{
    start(kind);
    struct client *c = ask("HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\n" LAST("/hello"));

    cr_assert_eq(occurrences(c->text, "Content-Length: 6"), 2);
    cr_assert_eq(occurrences(c->text, "hello\n"), 1);
    hang_up(c);
}

BOTH(http_1_0_ends_or_goes_on_as_asked, .fini = stop)
{
    start(kind);
    struct client *c = ask("GET /hello HTTP/1.0\r\n\r\n");

    expect_starts(c, "HTTP/1.1 200 OK");
    cr_assert_not_null(strstr(c->text, "Connection: close"));
    hang_up(c);
    c = ask("GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /hello HTTP/1.0\r\n\r\n");
    cr_assert_eq(occurrences(c->text, "hello\n"), 2);
    cr_assert_eq(occurrences(c->text, "Connection: keep-alive"), 1);
    hang_up(c);
}

BOTH(paths_and_methods_that_do_not_exist, .fini = stop)
{
    start(kind);
    struct client *c = ask(LAST("/none"));

    expect_starts(c, "HTTP/1.1 404 Not Found");
    cr_assert_not_null(
        strstr(c->text,
               "{\"error\":{\"code\":\"not_found\",\"message\":\"path: /none does not exist\"}}"));
    cr_assert_str_eq(t.logged, "not_found path: /none does not exist");
    hang_up(c);
    c = ask("DELETE /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    expect_starts(c, "HTTP/1.1 405 Method Not Allowed");
    cr_assert_not_null(strstr(c->text, "\r\nAllow: POST, OPTIONS\r\n"));
    hang_up(c);
    c = ask("OPTIONS /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    expect_starts(c, "HTTP/1.1 204 No Content");
    cr_assert_not_null(strstr(c->text, "\r\nAllow: GET, HEAD, OPTIONS\r\n"));
    cr_assert_null(strstr(c->text, "Content-Length"));
    cr_assert_null(strstr(c->text, "Access-Control"));
    hang_up(c);
    c = ask("POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    expect_starts(c, "HTTP/1.1 411 Length Required");
    hang_up(c);
    c = ask(LAST("/%zz"));
    expect_starts(c, "HTTP/1.1 400 Bad Request");
    hang_up(c);
}

BOTH(a_prefix_is_taken_off, .fini = stop)
{
    struct tt_connections_options options = defaults();

    options.prefix = "/feed";
    start_with(kind, &options);
    struct client *c = ask(GET("/feed/hello") GET("/hello") GET("/feedx/hello") LAST("/feed"));
    cr_assert_eq(occurrences(c->text, "HTTP/1.1 200"), 1);
    cr_assert_eq(occurrences(c->text, "everything is below /feed"), 2);
    cr_assert_eq(occurrences(c->text, "path: / does not exist"), 1);
    hang_up(c);
}

BOTH(ambiguous_requests_are_refused_and_nothing_behind_them_is_read, .fini = stop)
{
    static const struct {
        const char *text;
        const char *answer;
    } cases[] = {
        {"GET /hello HTTP/1.1\r\n\r\n", "HTTP/1.1 400"}, /* no Host */
        {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n"
         "\r\nabc",
         "HTTP/1.1 400"},
        {"GET /hello HTTP/1.1\r\nHost : a\r\n\r\n", "HTTP/1.1 400"},
        {"GET /hello HTTP/3.0\r\nHost: a\r\n\r\n", "HTTP/1.1 505"},
        {"BREW /hello HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 501"},
        {"GET /hello HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", "HTTP/1.1 417"},
        {"\x16\x03\x01\x02", "HTTP/1.1 400"}, /* TLS */
    };

    start(kind);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[400];
        (void)snprintf(text, sizeof(text), "%s%s", cases[i].text, GET("/hello"));
        struct client *c = ask(text);
        expect_starts(c, cases[i].answer);
        cr_assert_not_null(strstr(c->text, "\r\nConnection: close\r\n"));
        cr_assert_eq(occurrences(c->text, "\r\nDate: "), 1, "%s", c->text);
        hang_up(c);
        wait_gone((unsigned)i + 1);
        cr_assert_eq(t.reason, TT_CLOSE_PROTOCOL);
    }
}

BOTH(heads_over_their_limits, .fini = stop)
{
    static char text[4096];

    start(kind);
    (void)snprintf(text, sizeof(text), "GET /%03000d HTTP/1.1\r\nHost: a\r\n\r\n", 0);
    struct client *c = ask(text);
    expect_starts(c, "HTTP/1.1 414");
    hang_up(c);
    (void)snprintf(text, sizeof(text),
                   "GET / HTTP/1.1\r\nHost: a\r\nX: %01500d\r\nY: %01000d\r\n\r\n", 0, 0);
    c = ask(text);
    expect_starts(c, "HTTP/1.1 431");
    hang_up(c);
}

/* ---- bodies ---- */

BOTH(a_client_that_asks_first_is_told_to_go_on, .fini = stop)
{
    start(kind);
    struct client *c = dial();

    say(c, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    expect(c, "HTTP/1.1 100 Continue\r\n\r\n");
    say(c, "ok");
    expect(c, "\r\n\r\nok");
    forget(c);
    say(c, "POST /none HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    expect_end(c);
    expect_starts(c, "HTTP/1.1 404");
    cr_assert_not_null(strstr(c->text, "Connection: close"), "whether a body follows is not known");
    hang_up(c);
}

BOTH(bodies_over_the_limit_are_refused_while_the_client_still_sends, .fini = stop)
{
    static char text[300000];
    size_t size = 0;

    start(kind);
    struct client *c = ask("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5001\r\n"
                           "Expect: 100-continue\r\n\r\n");
    expect_starts(c, "HTTP/1.1 413");
    cr_assert_eq(t.closed, 1);
    hang_up(c);

    /* Much more than is read and dropped: the answer arrives nevertheless. */
    size = (size_t)snprintf(text, sizeof(text),
                            "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n");
    memset(text + size, 'x', sizeof(text) - 1 - size);
    c = dial();
    say(c, text);
    expect_end(c);
    cr_assert_not(c->reset);
    expect_starts(c, "HTTP/1.1 413");
    hang_up(c);

    /* Chunks that only together are too much; what is left is dropped, and the next is answered. */
    size = (size_t)snprintf(text, sizeof(text),
                            "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (unsigned i = 0; i < 6; i++) {
        size += (size_t)snprintf(text + size, sizeof(text) - size, "3e8\r\n%01000d\r\n", 0);
    }
    (void)snprintf(text + size, sizeof(text) - size, "0\r\n\r\n%s", LAST("/hello"));
    c = ask(text);
    expect_starts(c, "HTTP/1.1 413");
    cr_assert_not_null(strstr(c->text, "hello\n"));
    hang_up(c);
}

BOTH(a_body_that_streams_has_no_limit_and_can_be_held_back, .fini = stop)
{
    static char text[20200];
    size_t size;

    start(kind);
    echo.unbounded = true;
    echo.portion = 700;
    size = (size_t)snprintf(text, sizeof(text),
                            "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n"
                            "Connection: close\r\n\r\n");
    for (unsigned i = 0; i < 20000; i++) text[size + i] = (char)('a' + i % 26);
    struct client *c = dial();
    say(c, text);
    for (unsigned i = 0; !c->ended; i++) {
        if (i == PUMPS_MAX) TOO_LONG();
        if (echo.holds) {
            /* Nothing more is given while it holds. */
            size_t before = echo.size;
            pump(0);
            cr_assert_eq(echo.size, before);
            echo.holds = false;
            tt_exchange_resume_body(&echo.x);
        }
        pump(5);
        drain_client(c);
    }
    cr_assert_not_null(strstr(c->text, "\r\n\r\n"));
    cr_assert_str_eq(strstr(c->text, "\r\n\r\n") + 4, text + size);
    cr_assert_eq(echo.ends, 1);
    hang_up(c);
}

BOTH(a_body_that_breaks_off_or_is_malformed, .fini = stop)
{
    start(kind);
    struct client *c = ask("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                           "zz\r\n" GET("/hello"));
    expect_starts(c, "HTTP/1.1 400");
    cr_assert_not_null(strstr(c->text, "\r\nConnection: close\r\n"));
    cr_assert_eq(occurrences(c->text, "HTTP/1.1"), 1);
    cr_assert_eq(t.closed_reason, TT_CLOSE_PROTOCOL);
    hang_up(c);
    wait_gone(1);

    c = dial();
    say(c, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    hang_up(c);
    wait_gone(2);
    cr_assert_eq(t.closed, 2);
    cr_assert_neq(t.closed_reason, TT_CLOSE_DONE);
    cr_assert_eq(echo.ends, 0);
}

/* ---- streams ---- */

BOTH(a_stream_is_pulled_and_an_idle_one_keeps_no_memory, .fini = stop)
{
    start(kind);
    struct client *c = dial();

    say(c, GET("/stream"));
    stream_start();
    cr_assert(stream.x.chunked);
    stream_say("3\r\none\r\n");
    expect(c, "Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
    cr_assert_eq(tt_connections_bytes(t.engine), 0);
    stream_say("3\r\ntwo\r\n");
    expect(c, "3\r\ntwo\r\n");
    cr_assert_eq(tt_connections_bytes(t.engine), 0);
    stream_end(TT_PULL_END);
    expect(c, "two\r\n0\r\n\r\n");
    cr_assert_eq(t.closed, 1);
    cr_assert_eq(t.closed_reason, TT_CLOSE_DONE);
    say(c, LAST("/hello"));
    expect_end(c);
    hang_up(c);
}

BOTH(regress_a_stream_that_is_ready_while_its_head_is_under_way, .fini = stop)
{
    start(kind);
    struct client *c = dial();

    say(c, GET("/stream"));
    stream_start();
    cr_assert_eq(tt_connections_flush(t.engine, 64), 1);
    stream_say("3\r\none\r\n");
    expect(c, "\r\n\r\n3\r\none\r\n");
    hang_up(c);
    wait_gone(1);
}

BOTH(bulk_waits_behind_everything_else_and_goes_in_small_sends, .fini = stop)
{
    start(kind);
    struct client *c = dial();

    say(c, GET("/stream"));
    stream_start();
    expect(c, "\r\n\r\n");
    tt_exchange_set_bulk(&stream.x, true);
    stream_say("3\r\none\r\n");
    cr_assert_not(tt_connections_ready(t.engine));
    cr_assert(tt_connections_bulk_ready(t.engine));
    cr_assert_eq(tt_connections_flush(t.engine, 64), 0, "it waits");
    cr_assert_eq(tt_connections_flush_bulk(t.engine, 4), 1);
    pump(10);
    cr_assert_eq(stream.taken, 4, "as many bytes as were asked for");
    cr_assert(tt_connections_bulk_ready(t.engine), "the rest");
    /* What catches up comes to the end of it: the rest goes with what is live. */
    tt_exchange_set_bulk(&stream.x, false);
    cr_assert_not(tt_connections_bulk_ready(t.engine));
    cr_assert(tt_connections_ready(t.engine));
    expect(c, "3\r\none\r\n");
    /* Its end never waits. */
    tt_exchange_set_bulk(&stream.x, true);
    tt_exchange_abort(&stream.x, TT_CLOSE_INTERNAL);
    cr_assert(tt_connections_ready(t.engine));
    expect_end(c);
    hang_up(c);
}

BOTH(an_aborted_stream_ends_without_its_last_chunk, .fini = stop)
{
    start(kind);
    struct client *c = dial();

    say(c, GET("/stream"));
    stream_start();
    stream_say("3\r\none\r\n");
    stream_end(TT_PULL_ABORT);
    expect_end(c);
    cr_assert_not(c->reset);
    const char *end = strstr(c->text, "3\r\none\r\n");
    cr_assert(end != NULL && end[8] == 0, "%s", c->text);
    hang_up(c);
}

BOTH(a_stream_of_http_1_0_has_no_chunks_and_ends_the_connection, .fini = stop)
{
    start(kind);
    struct client *c = dial();

    say(c, "GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    stream_start();
    cr_assert_not(stream.x.chunked);
    stream_say("one");
    stream_end(TT_PULL_END);
    expect_end(c);
    cr_assert_null(strstr(c->text, "Transfer-Encoding"));
    cr_assert_not_null(strstr(c->text, "Connection: close\r\n\r\none"));
    hang_up(c);
}

BOTH(a_client_that_goes_away_ends_its_stream, .fini = stop)
{
    start(kind);
    struct client *c = dial();

    say(c, GET("/stream"));
    stream_start();
    expect(c, "\r\n\r\n");
    hang_up(c);
    wait_gone(1);
    cr_assert_eq(t.closed, 1);
    cr_assert_eq(t.closed_reason, TT_CLOSE_PEER);
}

BOTH(a_client_that_ends_only_its_own_side_gets_its_answer, .fini = stop)
{
    start(kind);
    struct client *c = dial();

    say(c, GET("/hello") GET("/deaf"));
    (void)shutdown(c->fd, SHUT_WR);
    expect(c, "hello\n");
    for (unsigned i = 0; deaf.connection == NULL; i++) {
        if (i == PUMPS_MAX) TOO_LONG();
        pump(5);
    }
    pump(5);
    struct tt_response response = {.status = 202};
    tt_exchange_answer(&deaf, &response, TT_BYTES_LITERAL("late"));
    expect_end(c);
    cr_assert_not_null(strstr(c->text, "HTTP/1.1 202 Accepted"));
    cr_assert_not_null(strstr(c->text, "\r\n\r\nlate"));
    hang_up(c);
}

BOTH(regress_a_body_that_breaks_off_behind_another_request, .fini = stop)
{
    static const char text[] =
        GET("/hello") "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc";

    start(kind);
    struct client *c = dial();
    /* All of it, and the end, come before the first answer was sent. */
    cr_assert_gt(send(c->fd, text, sizeof(text) - 1, MSG_NOSIGNAL), 0);
    (void)shutdown(c->fd, SHUT_WR);
    expect_end(c);
    wait_gone(1);
    cr_assert_eq(occurrences(c->text, "\r\nDate: "), 1);
    cr_assert_eq(t.closed, 1);
    hang_up(c);
}

BOTH(an_abort_cuts_the_connection, .fini = stop)
{
    start(kind);
    struct client *c = dial();

    say(c, GET("/stream"));
    stream_start();
    expect(c, "\r\n\r\n");
    tt_exchange_abort(&stream.x, TT_CLOSE_CUT);
    cr_assert_eq(t.closed, 0, "never inside the call");
    expect_end(c);
    cr_assert_eq(t.closed_reason, TT_CLOSE_CUT);
    hang_up(c);
}

BOTH(a_live_client_that_sends_on_and_on_is_closed, .fini = stop)
{
    static char text[3000];

    start(kind);
    struct client *c = dial();
    say(c, GET("/stream"));
    stream_start();
    expect(c, "\r\n\r\n");
    memset(text, 'x', sizeof(text) - 1);
    say(c, text);
    expect_end(c);
    cr_assert_eq(t.closed_reason, TT_CLOSE_PROTOCOL);
    hang_up(c);
}

/* ---- slow and large ---- */

BOTH(a_large_answer_waits_for_a_client_that_reads_late, .fini = stop)
{
    start(kind);
    struct client *c = dial();

    say(c, LAST("/big"));
    for (unsigned i = 0; i < 50; i++) pump(0); /* until the socket is full */
    expect_end(c);
    cr_assert_not(c->reset);
    const char *body = strstr(c->text, "\r\n\r\n") + 4;
    size_t head = (size_t)(body - c->text);
    cr_assert_eq(c->size + c->dropped - head, BIG_BYTES);
    hang_up(c);
}

BOTH(requests_sent_ahead_wait_outside_and_are_all_answered, .fini = stop)
{
    static const char one[] = GET("/hello");
    size_t size = sizeof(one) - 1;
    size_t sent = 0;
    unsigned answers = 0;

    start(kind);
    struct client *c = dial();
    say(c, GET("/deaf"));
    for (unsigned full = 0; full < 200;) {
        ssize_t n = send(c->fd, one + sent % size, size - sent % size, MSG_NOSIGNAL);
        full = n < 0 ? full + 1 : 0;
        if (n > 0) sent += (size_t)n;
        pump(0);
        /* Not more than a head's worth, and what the io had received when it was told to stop. */
        cr_assert_leq(tt_connections_bytes(t.engine), 256u << 10);
        cr_assert_lt(sent, 64u << 20, "somebody takes it all");
    }
    while (deaf.connection == NULL) pump(5);
    struct tt_response response = {.status = 200};
    tt_exchange_answer(&deaf, &response, TT_BYTES_LITERAL("first"));
    for (unsigned i = 0; answers < sent / size; i++) {
        cr_assert_lt(i, 200 * PUMPS_MAX);
        pump(5);
        drain_client(c);
        cr_assert_not(c->ended);
        answers += occurrences(c->text, "hello\n");
        /* Keeps an answer that has come in part. */
        char *last = strrchr(c->text, '\n');
        bool whole = last != NULL && last[1] == 0 && strstr(c->text, "hello\n") != NULL;
        if (whole && strcmp(c->text + c->size - 6, "hello\n") == 0)
            forget(c);
        else
            answers -= occurrences(c->text, "hello\n");
    }
    hang_up(c);
    wait_gone(1);
}

BOTH(a_client_that_takes_nothing_is_closed, .fini = stop)
{
    struct tt_connections_options options = defaults();

    options.stall_ms = 30;
    start_with(kind, &options);
    struct client *c = dial();
    say(c, GET("/big"));
    wait_gone(1);
    cr_assert_eq(t.reason, TT_CLOSE_STALLED);
    hang_up(c);
}

BOTH(slow_heads_and_bodies_are_told_so, .fini = stop)
{
    struct tt_connections_options options = defaults();

    options.header_timeout_ms = 30;
    options.body_timeout_ms = 30;
    start_with(kind, &options);
    struct client *c = ask("GET /hello HT");
    expect_starts(c, "HTTP/1.1 408 Request Timeout");
    hang_up(c);
    wait_gone(1);
    cr_assert_eq(t.reason, TT_CLOSE_HEADER_TIMEOUT);
    c = ask("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    expect_starts(c, "HTTP/1.1 408 Request Timeout");
    cr_assert_eq(t.closed_reason, TT_CLOSE_BODY_TIMEOUT);
    hang_up(c);
    wait_gone(2);
    /* Without a single byte it is only closed. */
    c = ask("");
    cr_assert_eq(c->size, 0);
    hang_up(c);
    wait_gone(3);
    cr_assert_eq(t.reason, TT_CLOSE_IDLE);
}

BOTH(an_idle_connection_is_closed_in_the_end, .fini = stop)
{
    struct tt_connections_options options = defaults();

    options.keepalive_ms = 30;
    start_with(kind, &options);
    struct client *c = ask(GET("/hello"));
    cr_assert_not_null(strstr(c->text, "hello\n"));
    hang_up(c);
    wait_gone(1);
    cr_assert_eq(t.reason, TT_CLOSE_IDLE);
}

BOTH(draining_ends_idle_connections_and_finishes_the_others, .fini = stop)
{
    start(kind);
    struct client *idle = dial();
    struct client *busy = dial();

    say(idle, GET("/hello"));
    expect(idle, "hello\n");
    say(busy, GET("/deaf"));
    for (unsigned i = 0; deaf.connection == NULL; i++) {
        if (i == PUMPS_MAX) TOO_LONG();
        pump(5);
    }
    tt_connections_drain(t.engine);
    expect_end(idle);
    cr_assert_eq(t.closed, 0);
    struct tt_response response = {.status = 200};
    tt_exchange_answer(&deaf, &response, TT_BYTES_LITERAL("done"));
    expect_end(busy);
    cr_assert_not_null(strstr(busy->text, "\r\n\r\ndone"));
    hang_up(idle);
    hang_up(busy);
    wait_gone(2);
}

BOTH(ending_ends_all_at_once, .fini = stop)
{
    start(kind);
    struct client *idle = dial();
    struct client *live = dial();

    say(idle, GET("/hello"));
    expect(idle, "hello\n");
    say(live, GET("/stream"));
    stream_start();
    expect(live, "text/event-stream");
    /* This one may still be on its way. */
    struct client *late = dial();
    tt_connections_end(t.engine);
    wait_gone(2);
    cr_assert_eq(t.closed_reason, TT_CLOSE_DRAIN);
    tt_connections_end(t.engine);
    for (unsigned i = 0; tt_connections_count(t.engine) != 0; i++) {
        if (i == PUMPS_MAX) TOO_LONG();
        pump(5);
        tt_connections_end(t.engine);
    }
    hang_up(idle);
    hang_up(live);
    hang_up(late);
}

BOTH(connections_over_the_bound_get_503, .fini = stop)
{
    struct tt_connections_options options = defaults();

    options.connections_max = 1;
    start_with(kind, &options);
    struct client *first = dial();
    say(first, GET("/hello"));
    expect(first, "hello\n");
    struct client *second = dial();
    expect_end(second);
    expect_starts(second, "HTTP/1.1 503");
    cr_assert_eq(t.reason, TT_CLOSE_OVERLOAD);
    hang_up(first);
    hang_up(second);
}

/* ---- anything ---- */

/* Pipelines with random damage, in random pieces, cut at random moments: nothing crashes, nothing
 * is left, and every exchange that began has ended. */
BOTH(whatever_comes_leaves_nothing_behind, .fini = stop)
{
    static const char script[] =
        GET("/hello") "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello world" GET(
            "/big") "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\n"
                    "abcde\r\n3\r\nfgh\r\n0\r\nT: u\r\n\r\n" GET("/stream");
    static const char alphabet[] = "\r\n :;09aZ\xFF";
    unsigned seed = 9112;
    enum { CONNECTIONS = 300 };

    start(kind);
    for (unsigned n = 0; n < CONNECTIONS; n++) {
        char text[sizeof(script)];
        struct client *c = dial();
        size_t end = (size_t)rand_r(&seed) % sizeof(script);
        memcpy(text, script, sizeof(text));
        for (int damage = rand_r(&seed) % 3; damage != 0; damage--) {
            text[(size_t)rand_r(&seed) % (sizeof(text) - 1)] =
                alphabet[(size_t)rand_r(&seed) % (sizeof(alphabet) - 1)];
        }
        for (size_t at = 0; at < end;) {
            size_t piece = 1 + (size_t)rand_r(&seed) % 60;
            if (piece > end - at) piece = end - at;
            if (send(c->fd, text + at, piece, MSG_NOSIGNAL) < 0) break;
            at += piece;
            if (rand_r(&seed) % 3 == 0) pump(0);
            if (rand_r(&seed) % 3 == 0) drain_client(c);
        }
        if (rand_r(&seed) % 4 == 0) (void)shutdown(c->fd, SHUT_WR);
        for (int more = rand_r(&seed) % 4; more != 0; more--) pump(0);
        if (rand_r(&seed) % 2 == 0) {
            struct linger reset = {1, 0};
            (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        }
        hang_up(c);
        for (unsigned i = 0; t.gone == n; i++) {
            if (i == PUMPS_MAX) TOO_LONG();
            pump(5);
            /* An answer that nobody has begun is waited for. */
            if (stream.x.connection != NULL && !stream.started) stream_start();
        }
    }
    cr_assert_eq(tt_connections_count(t.engine), 0);
    cr_assert_eq(tt_connections_bytes(t.engine), 0);
    cr_assert_null(echo.x.connection);
    cr_assert_null(stream.x.connection);
    cr_assert_eq(t.closed, t.begun);
    cr_assert_gt(t.begun, 100);
}

/* ---- origins ---- */

BOTH(origins, .fini = stop)
{
    struct tt_connections_options options = defaults();
    struct tt_bytes allowed[] = {tt_bytes_text("https://*.example.com")};
    struct tt_cors *cors;

    cr_assert_eq(tt_cors_create(&cors, allowed, 1), TT_OK);
    options.cors = cors;
    start_with(kind, &options);

    struct client *c = ask("GET /hello HTTP/1.1\r\nHost: a\r\nOrigin: https://x.example.com\r\n"
                           "Connection: close\r\n\r\n");
    expect_starts(c, "HTTP/1.1 200");
    cr_assert_not_null(strstr(c->text, "\r\nAccess-Control-Allow-Origin: https://x.example.com\r\n"
                                       "Access-Control-Allow-Credentials: true\r\n"));
    cr_assert_not_null(strstr(c->text, "\r\nVary: Origin\r\n"));
    hang_up(c);

    c = ask("OPTIONS /echo HTTP/1.1\r\nHost: a\r\nOrigin: https://x.example.com\r\n"
            "Access-Control-Request-Method: POST\r\nConnection: close\r\n\r\n");
    expect_starts(c, "HTTP/1.1 204");
    cr_assert_not_null(strstr(c->text, "\r\nAccess-Control-Allow-Methods: POST, OPTIONS\r\n"));
    cr_assert_not_null(strstr(c->text, "Idempotency-Key"));
    cr_assert_not_null(strstr(c->text, "\r\nAccess-Control-Allow-Origin: https://x.example.com"));
    hang_up(c);

    /* A page from elsewhere may not change anything, and is not told what a GET says. */
    c = ask("POST /echo HTTP/1.1\r\nHost: a\r\nOrigin: https://evil.example\r\nContent-Length: 2"
            "\r\nConnection: close\r\n\r\nok");
    expect_starts(c, "HTTP/1.1 403 Forbidden");
    cr_assert_null(strstr(c->text, "Access-Control-Allow-Origin"));
    cr_assert_eq(echo.ends, 0);
    hang_up(c);
    c = ask("GET /hello HTTP/1.1\r\nHost: a\r\nOrigin: https://evil.example\r\n"
            "Connection: close\r\n\r\n");
    expect_starts(c, "HTTP/1.1 200");
    cr_assert_null(strstr(c->text, "Access-Control-Allow-Origin"));
    cr_assert_not_null(strstr(c->text, "\r\nVary: Origin\r\n"));
    hang_up(c);

    /* The server's own pages may. */
    c = ask("POST /echo HTTP/1.1\r\nHost: a:80\r\nOrigin: http://a:80\r\nContent-Length: 2"
            "\r\nConnection: close\r\n\r\nok");
    expect_starts(c, "HTTP/1.1 200");
    hang_up(c);
    tt_cors_destroy(&cors);
}
