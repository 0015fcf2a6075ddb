#include "proto/wire/http1_parse.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "tests/unit/guard.h"

static const struct tt_http1_limits limits = {
    .line_bytes_max = 200, .fields_max = 8, .head_bytes_max = 600};
static struct tt_http1_head head;

/* Parses with one call for each further byte; what was parsed is in `head`. */
static enum tt_status parse_byte_by_byte(struct tt_bytes input, size_t *used,
                                         struct tt_http1_error *error)
{
    struct tt_http1_progress progress = {0};
    enum tt_status status = TT_MORE;
    for (size_t size = 0; size <= input.size && status == TT_MORE; size++) {
        /* Elsewhere in memory each time, as when a buffer grows. */
        struct tt_bytes part = guard_copy(size % 2, tt_bytes(input.data, size));
        status = tt_http1_parse(part, &limits, &progress, &head, used, error);
    }
    return status;
}

/* The head is complete at its last byte and not before, however it comes. */
static void accepts(const char *text, const char *behind)
{
    struct tt_http1_error error = {0};
    size_t size = strlen(text), used = 0;
    char all[1024];
    (void)snprintf(all, sizeof all, "%s%s", text, behind);
    for (size_t split = 0; split < size; split++) {
        struct tt_http1_progress progress = {0};
        struct tt_bytes part = guard_copy(2, tt_bytes(all, split));
        cr_assert_eq(tt_http1_parse(part, &limits, &progress, &head, &used, &error), TT_MORE,
                     "split at %zu of %s: %s", split, text, error.text);
        part = guard_copy(3, tt_bytes_text(all));
        cr_assert_eq(tt_http1_parse(part, &limits, &progress, &head, &used, &error), TT_OK,
                     "behind a split at %zu of %s: %s", split, text, error.text);
        cr_assert_eq(used, size);
    }
    cr_assert_eq(parse_byte_by_byte(tt_bytes_text(all), &used, &error), TT_OK, "%s: %s", text,
                 error.text);
    cr_assert_eq(used, size);
    struct tt_http1_progress progress = {0};
    struct tt_bytes whole = guard_copy(3, tt_bytes_text(all));
    cr_assert_eq(tt_http1_parse(whole, &limits, &progress, &head, &used, &error), TT_OK);
}

static void refuses_bytes(struct tt_bytes input, unsigned status)
{
    struct tt_http1_error error = {0};
    struct tt_http1_progress progress = {0};
    size_t used;
    struct tt_bytes whole = guard_copy(3, input);
    cr_assert_eq(tt_http1_parse(whole, &limits, &progress, &head, &used, &error), TT_EPROTO, "%.*s",
                 (int)input.size, (const char *)input.data);
    cr_assert_eq(error.status, status, "%.*s: %u %s", (int)input.size, (const char *)input.data,
                 error.status, error.text);
    cr_assert(strlen(error.text) > 0);
    struct tt_http1_error later = {0};
    cr_assert_eq(parse_byte_by_byte(input, &used, &later), TT_EPROTO);
    cr_assert_eq(later.status, status, "byte by byte: %u %s", later.status, later.text);
}

static void refuses(const char *text, unsigned status)
{
    refuses_bytes(tt_bytes_text(text), status);
}

static void is(struct tt_bytes bytes, const char *text)
{
    cr_assert(tt_bytes_is(bytes, text), "\"%.*s\" instead of \"%s\"", (int)bytes.size,
              (const char *)bytes.data, text);
}

Test(http1_parse, simple_get)
{
    accepts("GET /sse?channels=a,b&x=%20 HTTP/1.1\r\nHost: example.org:8080\r\nAccept: "
            "text/event-stream\r\n\r\n",
            "");
    cr_assert_eq(head.method, TT_HTTP1_GET);
    is(head.path, "/sse");
    is(head.query, "channels=a,b&x=%20");
    is(head.target, "/sse?channels=a,b&x=%20");
    is(head.host, "example.org:8080");
    cr_assert_eq(head.minor, 1);
    cr_assert(head.keep_alive);
    cr_assert_not(head.expect_continue);
    cr_assert_eq(head.framing, TT_HTTP1_NO_BODY);
    cr_assert_eq(head.fields_count, 2);
    is(head.fields[0].name, "Host");
    is(head.known[TT_HTTP1_ACCEPT], "text/event-stream");
    cr_assert_null(head.known[TT_HTTP1_COOKIE].data);
}

Test(http1_parse, no_query_and_empty_query_differ)
{
    accepts("GET /a HTTP/1.1\r\nHost: a\r\n\r\n", "");
    cr_assert_null(head.query.data);
    accepts("GET /a? HTTP/1.1\r\nHost: a\r\n\r\n", "");
    cr_assert_not_null(head.query.data);
    cr_assert_eq(head.query.size, 0);
    accepts("GET /a?b?c HTTP/1.1\r\nHost: a\r\n\r\n", "");
    is(head.query, "b?c");
}

Test(http1_parse, pipelined_requests_are_left_alone)
{
    accepts("GET /a HTTP/1.1\r\nHost: a\r\n\r\n", "GET /b HTTP/1.1\r\nHost: a\r\n\r\n");
    is(head.path, "/a");
}

Test(http1_parse, one_empty_line_before_the_request_line)
{
    accepts("\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n", "");
    is(head.path, "/a");
    refuses("\r\n\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    refuses("\rGET /a HTTP/1.1\r\nHost: a\r\n\r\n", 400);
}

Test(http1_parse, every_known_field_and_any_case)
{
    accepts("POST /p HTTP/1.1\r\nhOST: a\r\nCONTENT-length:  12 \t\r\nLast-event-ID:\r\n"
            "idempotency-KEY: k\r\nx-other: 1\r\norigin: http://o\r\n\r\n",
            "");
    is(head.host, "a");
    cr_assert_eq(head.framing, TT_HTTP1_COUNTED);
    cr_assert_eq(head.content_length, 12);
    cr_assert_not_null(head.known[TT_HTTP1_LAST_EVENT_ID].data);
    cr_assert_eq(head.known[TT_HTTP1_LAST_EVENT_ID].size, 0);
    is(head.known[TT_HTTP1_IDEMPOTENCY_KEY], "k");
    is(head.known[TT_HTTP1_ORIGIN], "http://o");
    cr_assert_eq(head.fields[4].known, TT_HTTP1_OTHER);
}

Test(http1_parse, connection)
{
    static const struct {
        const char *version, *fields;
        bool keep_alive;
    } cases[] = {
        {"1.1", "", true},
        {"1.1", "Connection: close\r\n", false},
        {"1.1", "Connection: upgrade , CLOSE\r\n", false},
        {"1.1", "Connection: keep-alive\r\nConnection: close\r\n", false},
        {"1.9", "", true},
        {"1.0", "", false},
        {"1.0", "Connection: Keep-Alive\r\n", true},
        {"1.0", "Connection: keep-alive, close\r\n", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[300];
        (void)snprintf(text, sizeof text, "GET / HTTP/%s\r\nHost: a\r\n%s\r\n", cases[i].version,
                       cases[i].fields);
        accepts(text, "");
        cr_assert_eq(head.keep_alive, cases[i].keep_alive, "%s", text);
    }
}

Test(http1_parse, expect_continue)
{
    accepts("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-Continue\r\n\r\n", "x");
    cr_assert(head.expect_continue);
    accepts("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n", "");
    cr_assert_not(head.expect_continue);
    accepts("POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n", "");
    cr_assert_not(head.expect_continue);
    accepts("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: \r\n\r\n", "x");
    cr_assert_not(head.expect_continue);
    refuses("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 200-ok\r\n\r\n", 417);
}

Test(http1_parse, target_forms)
{
    accepts("GET http://A.example/x?y HTTP/1.1\r\nHost: a.EXAMPLE\r\n\r\n", "");
    is(head.path, "/x");
    is(head.query, "y");
    accepts("GET http://a.example HTTP/1.1\r\nHost: a.example\r\n\r\n", "");
    is(head.path, "/");
    accepts("GET http://a.example?q HTTP/1.1\r\nHost: a.example\r\n\r\n", "");
    is(head.path, "/");
    is(head.query, "q");
    accepts("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "");
    is(head.path, "*");
    refuses("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    refuses("GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    refuses("GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    refuses("GET http://u@a/x HTTP/1.0\r\n\r\n", 400);
    refuses("GET ftp://a/x HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    refuses("GET x HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    refuses("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400);
}

Test(http1_parse, hosts)
{
    static const char *const good[] = {"a",     "a.b-c:80", "127.0.0.1:8080",       "[::1]:8080",
                                       "[::1]", "a:",       "xn--bcher-kva.example"};
    static const char *const bad[] = {"",    "a b",   "a:b",    "a:99999", "[::1", "[]",
                                      "a/b", "a@b:1", "[::1]x", ":80",     "a:1:2"};
    char text[200];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        (void)snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", good[i]);
        accepts(text, "");
        is(head.host, good[i]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        (void)snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", bad[i]);
        refuses(text, 400);
    }
    refuses("GET / HTTP/1.1\r\n\r\n", 400);
    refuses("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400);
    accepts("GET / HTTP/1.0\r\n\r\n", "");
    cr_assert_eq(head.host.size, 0);
}

Test(http1_parse, bad_request_lines)
{
    static const char *const bad[] = {
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        " GET / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET /",
        "GET",
        "GET / http/1.1",
        "GET / HTTP/1",
        "GET / HTTP/11",
        "GET / HTTP/1.1x",
        "GET / HTTP/1,1",
        "G(T / HTTP/1.1",
        "GET /\x01 HTTP/1.1",
        "GET /\x7F HTTP/1.1",
        "GET / HTTQ/1.1",
        "GET /a b HTTP/1.1",
    };
    char text[200];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        (void)snprintf(text, sizeof text, "%s\r\nHost: a\r\n\r\n", bad[i]);
        refuses(text, 400);
    }
    refuses_bytes(tt_bytes("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 28), 400);
    refuses_bytes(TT_BYTES_LITERAL("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), 400);
}

Test(http1_parse, not_implemented_and_versions)
{
    refuses("BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 501);
    refuses("get / HTTP/1.1\r\nHost: a\r\n\r\n", 501);
    refuses("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 501);
    refuses("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505);
    refuses("GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505);
    refuses("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
}

Test(http1_parse, bad_fields)
{
    static const char *const bad[] = {
        "Bad : x\r\n",
        "Bad\t: x\r\n",
        ": x\r\n",
        "Bad\r\n",
        " folded\r\n",
        "X: a\r\n folded\r\n",
        "X: a\r\n\tb: c\r\n",
        "B@d: x\r\n",
        "B\x80: x\r\n",
        "X: a\rb\r\n",
        "X: a\x01\r\n",
        "X: a\x7F\r\n",
        "X: a\r\r\n",
        "X: a\nY: b\r\n",
        "X: a\n",
        "\r\r\n",
        "(X): a\r\n",
        "X;: a\r\n",
        "Content-Type: a/b\r\nContent-Type: a/b\r\n",
        "Authorization: a\r\nAuthorization: b\r\n",
        "Origin: a\r\nOrigin: a\r\n",
        "Idempotency-Key: a\r\nIdempotency-Key: a\r\n",
    };
    char text[300];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        (void)snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", bad[i]);
        refuses(text, 400);
    }
    refuses_bytes(TT_BYTES_LITERAL("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"), 400);
    refuses_bytes(TT_BYTES_LITERAL("GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n"), 400);
    refuses("GET / HTTP/1.1\nHost: a\n\n", 400);
    refuses("GET / HTTP/1.1\r\nHost: a\r\n\n", 400);
}

Test(http1_parse, bytes_above_ascii_in_values_are_allowed)
{
    accepts("GET /\xC3\xA4 HTTP/1.1\r\nHost: a\r\nX: \xC3\xA4 \t b\r\n\r\n", "");
    is(head.fields[1].value, "\xC3\xA4 \t b");
    is(head.path, "/\xC3\xA4");
}

Test(http1_parse, framing_that_is_ambiguous)
{
    static const struct {
        const char *fields;
        unsigned status;
    } cases[] = {
        {"Content-Length: 1\r\nContent-Length: 1\r\n", 400},
        {"Content-Length: 1\r\nContent-Length: 2\r\n", 400},
        {"Content-Length: 1, 1\r\n", 400},
        {"Content-Length: +1\r\n", 400},
        {"Content-Length: -1\r\n", 400},
        {"Content-Length: 0x1\r\n", 400},
        {"Content-Length: 1 1\r\n", 400},
        {"Content-Length: \r\n", 400},
        {"Content-Length: 1.0\r\n", 400},
        {"Content-Length: 99999999999999999999\r\n", 413},
        {"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", 400},
        {"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n", 400},
        {"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400},
        {"Transfer-Encoding: chunked, chunked\r\n", 400},
        {"Transfer-Encoding: chunked, gzip\r\n", 400},
        {"Transfer-Encoding: identity\r\n", 400},
        {"Transfer-Encoding: identity, chunked\r\n", 400},
        {"Transfer-Encoding: xchunked\r\n", 400},
        {"Transfer-Encoding: \"chunked\"\r\n", 400},
        {"Transfer-Encoding: chunked;q=1\r\n", 400},
        {"Transfer-Encoding: \r\n", 400},
        {"Transfer-Encoding: gzip\r\n", 400},
        {"Transfer-Encoding: gzip, gzip, chunked\r\n", 400},
        {"Transfer-Encoding: gzip, chunked\r\n", 501},
        {"Transfer-Encoding: \x0b"
         "chunked\r\n",
         400},
        {"Transfer-Encoding : chunked\r\n", 400},
    };
    char text[300];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        (void)snprintf(text, sizeof text, "POST / HTTP/1.1\r\nHost: a\r\n%s\r\n", cases[i].fields);
        refuses(text, cases[i].status);
    }
    refuses("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
    accepts("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", "");
    cr_assert_eq(head.framing, TT_HTTP1_CHUNKED);
    accepts("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 007\r\n\r\n", "");
    cr_assert_eq(head.content_length, 7);
}

/* ---- limits ---- */

static char *repeated(char c, size_t count)
{
    static char text[1100];
    memset(text, c, count);
    text[count] = 0;
    return text;
}

Test(http1_parse, limits_of_lines)
{
    char text[2048];
    const size_t around_target = strlen("GET / HTTP/1.1");
    (void)snprintf(text, sizeof text, "GET /%s HTTP/1.1\r\nHost: a\r\n\r\n",
                   repeated('a', limits.line_bytes_max - around_target));
    accepts(text, "");
    (void)snprintf(text, sizeof text, "GET /%s HTTP/1.1\r\nHost: a\r\n\r\n",
                   repeated('a', limits.line_bytes_max - around_target + 1));
    refuses(text, 414);
    (void)snprintf(text, sizeof text, "GET /%s", repeated('a', 1000)); /* without an end */
    refuses(text, 414);
    (void)snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: a\r\nX:%s\r\n\r\n",
                   repeated('a', limits.line_bytes_max - 2));
    accepts(text, "");
    (void)snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: a\r\nX:%s\r\n\r\n",
                   repeated('a', limits.line_bytes_max - 1));
    refuses(text, 431);
    (void)snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: a\r\nX:%s", repeated('a', 1000));
    refuses(text, 431);
}

Test(http1_parse, limits_of_fields_and_head)
{
    char text[2048] = "GET / HTTP/1.1\r\nHost: a\r\n";
    for (unsigned i = 1; i < limits.fields_max; i++) strcat(text, "X: y\r\n");
    char more[2100];
    (void)snprintf(more, sizeof more, "%s\r\n", text);
    accepts(more, "");
    cr_assert_eq(head.fields_count, limits.fields_max);
    (void)snprintf(more, sizeof more, "%sX: y\r\n\r\n", text);
    refuses(more, 431);

    strcpy(text, "GET / HTTP/1.1\r\nHost: a\r\n");
    while (strlen(text) + 102 + 2 <= limits.head_bytes_max)
        sprintf(text + strlen(text), "X:%s\r\n", repeated('b', 98));
    size_t left = limits.head_bytes_max - strlen(text) - 2;
    sprintf(text + strlen(text), "X:%s\r\n", repeated('b', left - 4));
    (void)snprintf(more, sizeof more, "%s\r\n", text);
    cr_assert_eq(strlen(more), limits.head_bytes_max);
    accepts(more, "");
    sprintf(text + strlen(text) - 2, "b\r\n\r\n");
    refuses(text, 431);
}

Test(http1_parse, room_for_fields_is_never_exceeded)
{
    struct tt_http1_limits many = {
        .line_bytes_max = 100, .fields_max = 100000, .head_bytes_max = 100000};
    static char text[16384] = "GET / HTTP/1.1\r\nHost: a\r\n";
    for (unsigned i = 1; i < TT_HTTP1_FIELDS_MAX; i++) strcat(text, "X: y\r\n");
    struct tt_http1_progress progress = {0};
    struct tt_http1_error error;
    size_t used;
    strcat(text, "\r\n");
    cr_assert_eq(tt_http1_parse(tt_bytes_text(text), &many, &progress, &head, &used, &error),
                 TT_OK);
    cr_assert_eq(head.fields_count, TT_HTTP1_FIELDS_MAX);
    strcpy(text + strlen(text) - 2, "X: y\r\n\r\n");
    progress = (struct tt_http1_progress){0};
    cr_assert_eq(tt_http1_parse(tt_bytes_text(text), &many, &progress, &head, &used, &error),
                 TT_EPROTO);
    cr_assert_eq(error.status, 431);
}

/* ---- bodies ---- */

struct body_case {
    const char *framing; /* of the head */
    const char *input;
    const char *body;
    const char *rest; /* behind the body */
};

static void start_body(struct tt_http1_body *body, const char *framing)
{
    static const struct tt_http1_body_limits body_limits = {.extension_bytes_max = 20,
                                                            .trailer_bytes_max = 40};
    char text[200];
    (void)snprintf(text, sizeof text, "POST / HTTP/1.1\r\nHost: a\r\n%s\r\n", framing);
    struct tt_http1_progress progress = {0};
    struct tt_http1_error error;
    size_t used;
    cr_assert_eq(tt_http1_parse(tt_bytes_text(text), &limits, &progress, &head, &used, &error),
                 TT_OK);
    tt_http1_body_init(body, &head, &body_limits);
}

/* Feeds one piece; takes at most `step` bytes of each run. Appends what came to `out`. */
static enum tt_status feed(struct tt_http1_body *body, struct tt_bytes *piece, size_t step,
                           char *out, struct tt_http1_error *error)
{
    struct tt_bytes run;
    enum tt_status status;
    while ((status = tt_http1_body_next(body, piece, &run, error)) == TT_OK) {
        cr_assert(run.size > 0);
        cr_assert_eq(run.data, piece->data);
        size_t take = run.size < step ? run.size : step;
        strncat(out, (const char *)run.data, take);
        tt_http1_body_take(body, piece, take);
    }
    return status;
}

static void check_body(const struct body_case *c, size_t piece_bytes, size_t step)
{
    struct tt_http1_body body;
    struct tt_http1_error error = {0};
    char out[400] = "";
    size_t at = 0, size = strlen(c->input), expected_end = size - strlen(c->rest);
    start_body(&body, c->framing);
    enum tt_status status = TT_MORE;
    struct tt_bytes piece = TT_BYTES_NONE;
    while (status == TT_MORE) {
        cr_assert(at <= size, "more was asked for than there is: %s", c->input);
        size_t bytes = piece_bytes < size - at ? piece_bytes : size - at;
        cr_assert(bytes != 0 || at == 0, "no end: %s", c->input);
        piece = guard_copy(0, tt_bytes(c->input + at, bytes));
        at += bytes;
        status = feed(&body, &piece, step, out, &error);
    }
    cr_assert_eq(status, TT_END, "%s: %s", c->input, error.text);
    cr_assert(tt_http1_body_done(&body));
    cr_assert_str_eq(out, c->body);
    cr_assert_eq(at - piece.size, expected_end, "%s", c->input);
    cr_assert_eq(body.received, strlen(c->body));
    struct tt_bytes none = TT_BYTES_NONE, run;
    cr_assert_eq(tt_http1_body_next(&body, &none, &run, &error), TT_END);
}

Test(http1_body, counted_and_chunked_whole_and_in_pieces)
{
    static const struct body_case cases[] = {
        {"Content-Length: 5\r\n", "helloGET /", "hello", "GET /"},
        {"Content-Length: 5\r\n", "hello", "hello", ""},
        {"Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\nGET", "hello", "GET"},
        {"Transfer-Encoding: chunked\r\n", "0\r\n\r\n", "", ""},
        {"Transfer-Encoding: chunked\r\n", "000A\r\n0123456789\r\n1\r\nx\r\n00\r\n\r\n",
         "0123456789x", ""},
        {"Transfer-Encoding: chunked\r\n", "1;a=b\r\nx\r\n0;c=\"d e\"\r\n\r\n!", "x", "!"},
        {"Transfer-Encoding: chunked\r\n", "2\r\n\r\n\r\n0\r\nA: b\r\nC:\r\n\r\n", "\r\n", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t piece = 1; piece <= strlen(cases[i].input); piece++)
            for (size_t step = 1; step <= 5; step += 2) check_body(&cases[i], piece, step);
}

Test(http1_body, none_is_done_at_once)
{
    struct tt_http1_body body;
    struct tt_http1_error error;
    struct tt_bytes input = TT_BYTES_LITERAL("GET /"), run;
    start_body(&body, "");
    cr_assert(tt_http1_body_done(&body));
    cr_assert_eq(tt_http1_body_next(&body, &input, &run, &error), TT_END);
    cr_assert_eq(input.size, 5);
    start_body(&body, "Content-Length: 0\r\n");
    cr_assert(tt_http1_body_done(&body));
}

Test(http1_body, large_chunk_size_in_pieces)
{
    struct tt_http1_body body;
    struct tt_http1_error error;
    struct tt_bytes input = TT_BYTES_LITERAL("7fffffffffffff0\r\nabc"), run;
    start_body(&body, "Transfer-Encoding: chunked\r\n");
    cr_assert_eq(tt_http1_body_next(&body, &input, &run, &error), TT_OK);
    is(run, "abc");
}

Test(http1_body, refuses_bad_chunks)
{
    static const struct {
        const char *input;
        unsigned status;
    } cases[] = {
        {"\r\n", 400},
        {"x\r\n", 400},
        {"-1\r\nx", 400},
        {"+1\r\nx", 400},
        {"0x1\r\nx", 400},
        {" 1\r\nx", 400},
        {"1 \r\nx", 400},
        {"1\nx", 400},
        {"1\rx", 400},
        {"1;a\nx", 400},
        {"1;a\x01\r\nx", 400},
        {"1\r\nxy", 400},
        {"1\r\nx\n", 400},
        {"1\r\nx\ry", 400},
        {"1\r\nx\r\nz", 400},
        {"0123456789abcdef\r\n", 400},
        {"1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 400},
        {"1;aaaaaaaaaaa\r\nx\r\n1;aaaaaaaaaaa\r\nx", 400},
        {"0\r\n\n", 400},
        {"0\r\n a: b\r\n\r\n", 400},
        {"0\r\na : b\r\n\r\n", 400},
        {"0\r\n: b\r\n\r\n", 400},
        {"0\r\na\r\n\r\n", 400},
        {"0\r\na: b\n\r\n", 400},
        {"0\r\na: b\x01\r\n\r\n", 400},
        {"0\r\na: b\rc", 400},
        {"0\r\na: b\r\n c\r\n\r\n", 400},
        {"0\r\n\rx", 400},
        {"0\r\na: 0123456789012345678901234567890123456789012345\r\n\r\n", 431},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t piece_bytes = 1; piece_bytes <= strlen(cases[i].input); piece_bytes++) {
            struct tt_http1_body body;
            struct tt_http1_error error = {0};
            char out[200] = "";
            start_body(&body, "Transfer-Encoding: chunked\r\n");
            enum tt_status status = TT_MORE;
            for (size_t at = 0; status == TT_MORE && at < strlen(cases[i].input);
                 at += piece_bytes) {
                size_t left = strlen(cases[i].input) - at;
                struct tt_bytes piece = guard_copy(
                    0, tt_bytes(cases[i].input + at, piece_bytes < left ? piece_bytes : left));
                status = feed(&body, &piece, 100, out, &error);
            }
            cr_assert_eq(status, TT_EPROTO, "%s", cases[i].input);
            cr_assert_eq(error.status, cases[i].status, "%s: %s", cases[i].input, error.text);
            struct tt_bytes none = TT_BYTES_LITERAL("0\r\n\r\n"), run;
            cr_assert_eq(tt_http1_body_next(&body, &none, &run, &error), TT_EPROTO);
        }
    }
}

/* ---- values ---- */

Test(http1_values, lists)
{
    struct tt_bytes list = TT_BYTES_LITERAL(" a ,, b;q=\"x,y\\\",\" ,\t,c"), element;
    static const char *const expected[] = {"a", "b;q=\"x,y\\\",\"", "c"};
    for (size_t i = 0; i < 3; i++) {
        cr_assert(tt_http1_list_next(&list, &element));
        is(element, expected[i]);
    }
    cr_assert_not(tt_http1_list_next(&list, &element));
    list = guard_copy(0, TT_BYTES_LITERAL("\"a\\"));
    cr_assert(tt_http1_list_next(&list, &element));
    cr_assert_not(tt_http1_list_next(&list, &element));
}

Test(http1_values, accept)
{
    static const struct {
        const char *fields;
        bool accepts;
    } cases[] = {
        {"Accept: text/event-stream\r\n", true},
        {"Accept: TEXT/Event-Stream; charset=utf-8\r\n", true},
        {"Accept: text/html, text/event-stream;q=0.1\r\n", true},
        {"Accept: text/html\r\nAccept: text/event-stream\r\n", true},
        {"Accept: text/event-stream;q=0\r\n", false},
        {"Accept: text/event-stream; q=0.000\r\n", false},
        {"Accept: */*\r\n", false},
        {"Accept: text/*\r\n", false},
        {"Accept: text/event-streams\r\n", false},
        {"", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[200];
        (void)snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", cases[i].fields);
        accepts(text, "");
        cr_assert_eq(tt_http1_accepts(&head, "text/event-stream"), cases[i].accepts, "%s",
                     cases[i].fields);
    }
    is(tt_http1_media_type(TT_BYTES_LITERAL("application/json ; charset=utf-8")),
       "application/json");
    is(tt_http1_media_type(TT_BYTES_LITERAL("a/b")), "a/b");
}

Test(http1_values, paths)
{
    static const struct {
        const char *raw, *decoded;
    } cases[] = {
        {"/a", "/a"},
        {"/%61+b%2Fc", "/a+b/c"},
        {"/%C3%A4", "/\xC3\xA4"},
        {"/%", NULL},
        {"/%4", NULL},
        {"/%zz", NULL},
        {"/%00", NULL},
        {"/%C3", NULL},
        {"/%ED%A0%80", NULL},
        {"*", "*"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tt_bytes raw = guard_copy(0, tt_bytes_text(cases[i].raw));
        struct tt_writer w = tt_writer(guard_room(1, raw.size), raw.size);
        enum tt_status status = tt_http1_decode_path(raw, &w);
        cr_assert_eq(status, cases[i].decoded == NULL ? TT_EINVAL : TT_OK, "%s", cases[i].raw);
        if (cases[i].decoded != NULL) is(tt_writer_bytes(&w), cases[i].decoded);
    }
}

/* ---- random damage ---- */

static unsigned seed = 23;

static unsigned random_below(unsigned limit)
{
    return (unsigned)rand_r(&seed) % limit;
}

static size_t damage(char *text, size_t size, size_t capacity)
{
    static const char pieces[][8] = {"\r\n", "\n", "\r", " ", "\t",  ":",   "\x01",  "\x80",
                                     "a",    "0",  ",",  ";", "/",   "?",   "#",     "HTTP",
                                     "Host", "\"", "[",  "]", "1.1", "2.0", "\r\n ", "chunked"};
    for (unsigned i = 0; i <= random_below(2); i++) {
        const char *piece = pieces[random_below(sizeof pieces / sizeof *pieces)];
        size_t at = random_below((unsigned)size), bytes = strlen(piece);
        if (random_below(3) == 0) {
            memmove(text + at, text + at + 1, size - at - 1);
            size--;
        } else if (size + bytes <= capacity) {
            memmove(text + at + bytes, text + at, size - at);
            memcpy(text + at, piece, bytes);
            size += bytes;
        }
    }
    return size;
}

/* Whether a head is taken, where it ends and what it says does not depend on how it came. */
Test(http1_parse, splits_do_not_matter_for_damaged_heads)
{
    static const char *const seeds[] = {
        "GET /sse?channels=a HTTP/1.1\r\nHost: a:80\r\nAccept: text/event-stream\r\n\r\n",
        "POST /p HTTP/1.1\r\nHost: [::1]:80\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n",
        "\r\nPOST http://a/p HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nConnection: x, "
        "close\r\nExpect: 100-continue\r\n\r\n",
    };
    unsigned taken = 0, refused = 0;
    for (unsigned round = 0; round < 20000; round++) {
        static struct tt_http1_head whole_head;
        struct tt_http1_progress progress = {0};
        struct tt_http1_error error;
        char text[300];
        size_t used = 0, used_slowly = 0;
        const char *from = seeds[random_below(3)];
        size_t size = strlen(from);
        memcpy(text, from, size);
        size = damage(text, size, sizeof text);
        struct tt_bytes whole = guard_copy(3, tt_bytes(text, size));
        enum tt_status status =
            tt_http1_parse(whole, &limits, &progress, &whole_head, &used, &error);
        enum tt_status slowly = parse_byte_by_byte(tt_bytes(text, size), &used_slowly, &error);
        if (status == TT_MORE) continue; /* a wrong first byte is only told sooner */
        cr_assert_eq(status, slowly, "%.*s", (int)size, text);
        taken += status == TT_OK;
        refused += status == TT_EPROTO;
        if (status != TT_OK) continue;
        cr_assert_eq(used, used_slowly);
        cr_assert_eq(whole_head.fields_count, head.fields_count);
        cr_assert_eq(whole_head.framing, head.framing);
        cr_assert_eq(whole_head.content_length, head.content_length);
        cr_assert_eq(whole_head.path.size, head.path.size);
    }
    cr_assert(taken > 1000 && refused > 1000);
}
