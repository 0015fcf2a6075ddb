#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tools/ttload/sse_reader.h"

#define HEAD                                                                                       \
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"            \
    "Transfer-Encoding: chunked\r\n\r\n"
/* An event in two chunks, as the broker frames it; then several events in one. */
#define BODY                                                                                       \
    "11\r\nretry: 3000\n\n: x\n\r\n"                                                               \
    "1\r\n\n\r\n"                                                                                  \
    "18\r\nevent: load\ndata: {\"a\"}\n\r\n"                                                       \
    "e\r\nid: H-0-1042\n\n\r\n"                                                                    \
    "27\r\ndata: 1\ndata: 2\nid: a\n\nevent: b\nid: b\n\n\r\n"                                     \
    "0\r\n\r\n"

struct heard {
    char text[4096];
    enum tt_status last;
};

static void hear(struct heard *h, const struct tt_sse_event *e)
{
    size_t size = strlen(h->text);
    snprintf(h->text + size, sizeof h->text - size, "[%.*s|%u|%.*s|%.*s|%.*s%s]", (int)e->type.size,
             (const char *)e->type.data, e->data_lines, (int)e->data.size,
             (const char *)e->data.data, (int)e->id.size, (const char *)e->id.data,
             (int)e->comment.size, (const char *)e->comment.data, e->has_retry ? "r" : "");
}

/* Gives the input in pieces that end at `first`, then every `step` bytes; each piece lies directly
 * before a page that cannot be read. */
static void read_split(const char *text, size_t size, size_t first, size_t step, struct heard *h)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *memory =
        mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct tt_sse_reader r;
    struct tt_sse_event event;

    cr_assert(memory != MAP_FAILED);
    cr_assert_eq(mprotect(memory + page, page, PROT_NONE), 0);
    tt_sse_reader_init(&r);
    *h = (struct heard){.last = TT_MORE};
    for (size_t at = 0; at < size && h->last == TT_MORE;) {
        size_t piece = at == 0 ? first : step;
        if (piece > size - at) piece = size - at;
        uint8_t *place = memory + page - piece;
        memcpy(place, text + at, piece);
        struct tt_bytes in = tt_bytes(place, piece);
        while ((h->last = tt_sse_reader_next(&r, &in, &event)) == TT_OK) hear(h, &event);
        at += piece;
    }
    tt_sse_reader_deinit(&r);
    munmap(memory, 2 * page);
}

static const char expected[] = "[|0|||r][|0||| x][load|1|{\"a\"}|H-0-1042|][|2|1|a|][b|0||b|]";

Test(sse_reader, reads_events_whole)
{
    struct heard h;
    read_split(HEAD BODY, sizeof HEAD BODY - 1, sizeof HEAD BODY, 1, &h);
    cr_assert_str_eq(h.text, expected);
    cr_assert_eq(h.last, TT_END);
}

Test(sse_reader, reads_the_same_byte_by_byte)
{
    struct heard h;
    read_split(HEAD BODY, sizeof HEAD BODY - 1, 1, 1, &h);
    cr_assert_str_eq(h.text, expected);
    cr_assert_eq(h.last, TT_END);
}

Test(sse_reader, reads_the_same_split_anywhere)
{
    struct heard h;
    size_t size = sizeof HEAD BODY - 1;
    for (size_t at = 1; at < size; at++) {
        read_split(HEAD BODY, size, at, size, &h);
        cr_assert_str_eq(h.text, expected, "split at %zu: %s", at, h.text);
        cr_assert_eq(h.last, TT_END, "split at %zu", at);
    }
}

Test(sse_reader, reads_until_close_without_chunks)
{
    static const char text[] = "HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
                               "data: 1\nid: x\n\ndata: 2\nid: y\n\n";
    struct heard h;
    for (size_t at = 1; at < sizeof text - 1; at++) {
        read_split(text, sizeof text - 1, at, 3, &h);
        cr_assert_str_eq(h.text, "[|1|1|x|][|1|2|y|]");
        cr_assert_eq(h.last, TT_MORE);
    }
}

Test(sse_reader, knows_when_a_stream_was_cut_inside_an_event)
{
    struct tt_sse_reader r;
    struct tt_sse_event event;
    struct tt_bytes in = TT_BYTES_LITERAL(HEAD "9\r\ndata: 1\n\n\r\n8\r\ndata: 2\n\r\n");

    tt_sse_reader_init(&r);
    cr_assert_eq(tt_sse_reader_next(&r, &in, &event), TT_OK);
    cr_assert(tt_sse_reader_between(&r));
    cr_assert_eq(tt_sse_reader_next(&r, &in, &event), TT_MORE);
    cr_assert_not(tt_sse_reader_between(&r));
    tt_sse_reader_deinit(&r);
}

static void refuses(const char *text)
{
    struct heard h;
    size_t size = strlen(text);
    read_split(text, size, size, 1, &h);
    cr_assert_eq(h.last, TT_EPROTO, "whole: %s", text);
    read_split(text, size, 1, 1, &h);
    cr_assert_eq(h.last, TT_EPROTO, "byte by byte: %s", text);
}

Test(sse_reader, refuses_what_our_broker_must_not_send)
{
    refuses("HTTP/1.1 503 Busy\r\nContent-Type: text/event-stream\r\n\r\n");
    refuses("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n");
    refuses("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9\r\n\r\n");
    refuses("HTTP/1.1 200 OK\nContent-Type: text/event-stream\r\n\r\n");
    refuses(HEAD "\r\n");
    refuses(HEAD "9;x=1\r\ndata: 1\n\n\r\n");
    refuses(HEAD "g\r\n");
    refuses(HEAD "123456789\r\n");
    refuses(HEAD "9\r\ndata: 1\n\nX");
    refuses(HEAD "9\r\ndata: 1\n\n\n");
    refuses(HEAD "0\r\nTrailer: x\r\n\r\n");
    refuses(HEAD "a\r\ndata: 1\r\n\n\r\n");
    refuses(HEAD "8\r\ndata:1\n\n\r\n");
    refuses(HEAD "f\r\nid: a\ndata: 1\n\n\r\n");
    refuses(HEAD "d\r\nid: a\nid: b\n\n\r\n");
    refuses(HEAD "12\r\ndata: 1\nevent: a\n\n\r\n");
    refuses(HEAD "9\r\nevent: \n\n\r\n");
    refuses(HEAD "a\r\nretry: x\n\n\r\n");
    refuses(HEAD "8\r\nfoo: 1\n\n\r\n");
}
