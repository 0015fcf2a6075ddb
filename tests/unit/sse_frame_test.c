#include "proto/wire/sse_frame.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "tests/unit/guard.h"

static struct tt_placed_event an_event(const char *type, const char *channel, const char *payload)
{
    struct tt_placed_event placed = {
        .event = {.channel = tt_bytes_text(channel),
                  .type = tt_bytes_text(type),
                  .payload = tt_bytes_text(payload),
                  .timestamp_ms = 1732558200000},
        .position = {.history = {"k7Qp2a"}, .partition = 0, .offset = 1042},
    };
    return placed;
}

/* The frame's text, written against a guard page; checks that the layout says the truth. */
static const char *frame_text(const struct tt_placed_event *placed, struct tt_sse_form form,
                              const char *cursor, struct tt_sse_layout *layout)
{
    static char text[4096];
    *layout = tt_sse_event_layout(placed, form, strlen(cursor));
    uint8_t *out = guard_room(0, layout->bytes);
    tt_sse_event_write(out, layout, placed, form, tt_bytes_text(cursor));
    cr_assert(layout->bytes < sizeof text);
    memcpy(text, out, layout->bytes);
    text[layout->bytes] = 0;
    cr_assert_eq(layout->a_body + layout->a_body_bytes + 2, layout->a_bytes);
    cr_assert_eq(layout->b_body + layout->b_body_bytes + 2, layout->bytes);
    cr_assert_eq(strtoul(text, NULL, 16), layout->a_body_bytes);
    cr_assert_eq(strtoul(text + layout->a_bytes, NULL, 16), layout->b_body_bytes);
    return text;
}

static const struct tt_sse_form envelope = {false, false};

Test(sse_frame, event_has_event_data_and_id_in_this_order)
{
    struct tt_placed_event placed = an_event("update", "stock.AAPL", "{\"price\":174.32}");
    struct tt_sse_layout layout;
    const char *text = frame_text(&placed, envelope, "k7Qp2a-0-1042", &layout);
    cr_assert_str_eq(text, "87\r\nevent: update\ndata: {\"type\":\"update\",\"channel\":"
                           "\"stock.AAPL\",\"payload\":{\"price\":174.32},\"timestamp\":"
                           "1732558200000,\"id\":\"k7Qp2a-0-1042\"}\n\r\n"
                           "13\r\nid: k7Qp2a-0-1042\n\n\r\n");
}

Test(sse_frame, forms)
{
    struct tt_placed_event placed = an_event("update", "a", "[1]");
    struct tt_sse_layout layout;
    cr_assert_str_eq(frame_text(&placed, (struct tt_sse_form){true, false}, "c", &layout),
                     "18\r\nevent: update\ndata: [1]\n\r\n7\r\nid: c\n\n\r\n");
    cr_assert_str_eq(frame_text(&placed, (struct tt_sse_form){true, true}, "c", &layout),
                     "a\r\ndata: [1]\n\r\n7\r\nid: c\n\n\r\n");
    placed = an_event("message", "a", "[1]");
    cr_assert_str_eq(frame_text(&placed, (struct tt_sse_form){true, false}, "c", &layout),
                     "a\r\ndata: [1]\n\r\n7\r\nid: c\n\n\r\n");
    cr_assert_str_eq(frame_text(&placed, (struct tt_sse_form){true, false}, "", &layout),
                     "a\r\ndata: [1]\n\r\n1\r\n\n\r\n");
    for (unsigned i = 0; i < TT_SSE_FORMS; i++)
        cr_assert_eq(tt_sse_form_index(tt_sse_form_at(i)), i);
}

/* Frames of many events hold the same lines as those of one. */
Test(sse_frame, lines_without_framing_are_the_insides_of_the_frame)
{
    struct tt_placed_event events[] = {an_event("update", "stock.AAPL", "{\"price\":174.32}"),
                                       an_event("message", "a", "1"),
                                       an_event("t", "quo\"te\\", "null"),
                                       an_event("t", "h", "2"),
                                       an_event("t", "f", "3"),
                                       an_event("t", "n", "4")};
    events[3].event.headers = tt_bytes_text("{\"a\":\"b\"}");
    events[4].event.flags = TT_EVENT_NEVER_CONFLATE | TT_EVENT_OP_DELETE | TT_EVENT_BINARY;
    events[5].event.timestamp_ms = -5;
    events[5].position.offset = TT_OFFSET_MAX;
    for (unsigned i = 0; i < 2 * TT_SSE_FORMS * (sizeof events / sizeof *events); i++) {
        const struct tt_placed_event *placed = &events[i / (2 * TT_SSE_FORMS)];
        struct tt_sse_form form = tt_sse_form_at(i % TT_SSE_FORMS);
        uint8_t cursor[64];
        struct tt_writer id = tt_writer(cursor, sizeof cursor);
        struct tt_sse_texts texts;
        uint32_t partitions = i / TT_SSE_FORMS % 2 * 8;
        tt_sse_texts_init(&texts, placed->position.history, partitions);
        tt_cursor_write_narrow(&id, &placed->position, partitions);
        struct tt_sse_layout layout = tt_sse_event_layout(placed, form, id.size);
        uint8_t frame[512];
        tt_sse_event_write(frame, &layout, placed, form, tt_writer_bytes(&id));
        size_t most = tt_sse_event_lines_max(placed, form);
        size_t exact = layout.a_body_bytes + layout.b_body_bytes;
        cr_assert_geq(most, exact);
        /* With room for the most, and with no byte more than it needs. */
        for (size_t room = exact; room <= most; room += most - exact + (most == exact)) {
            struct tt_writer w = tt_writer(guard_room(0, room), room);
            tt_sse_event_lines_write(&w, placed, form, &texts);
            cr_assert(!w.overflow);
            cr_assert_eq(w.size, exact);
            cr_assert_eq(memcmp(w.data, frame + layout.a_body, layout.a_body_bytes), 0);
            cr_assert_eq(
                memcmp(w.data + layout.a_body_bytes, frame + layout.b_body, layout.b_body_bytes),
                0);
        }
    }
}

Test(sse_frame, ids_that_are_counted_on_are_those_that_are_written)
{
    static const uint64_t starts[] = {0, 8, 98, 9998, 99999998, 9999999999999998u, 5, 5, 1000, 998};
    struct tt_sse_texts texts;
    tt_sse_texts_init(&texts, (struct tt_history){"k7Qp2a"}, 16);
    for (unsigned i = 0; i < 40 * (sizeof starts / sizeof *starts); i++) {
        struct tt_placed_event placed = an_event("t", "c", "1");
        placed.position.offset = starts[i / 40] + i % 40 + (i % 40 > 30 ? 7 : 0);
        placed.position.partition = i / 20 % 3;
        placed.event.timestamp_ms += i / 7 - 3;
        uint8_t lines[256], frame[300], cursor[64];
        struct tt_writer w = tt_writer(lines, sizeof lines);
        tt_sse_event_lines_write(&w, &placed, envelope, &texts);
        struct tt_writer id = tt_writer(cursor, sizeof cursor);
        tt_cursor_write_narrow(&id, &placed.position, 16);
        struct tt_sse_layout layout = tt_sse_event_layout(&placed, envelope, id.size);
        tt_sse_event_write(frame, &layout, &placed, envelope, tt_writer_bytes(&id));
        cr_assert_eq(w.size, layout.a_body_bytes + layout.b_body_bytes);
        cr_assert_eq(memcmp(lines, frame + layout.a_body, layout.a_body_bytes), 0);
        cr_assert_eq(
            memcmp(lines + layout.a_body_bytes, frame + layout.b_body, layout.b_body_bytes), 0,
            "%.*s", (int)w.size, lines);
    }
}

Test(sse_frame, a_head_of_fixed_width_is_a_chunk_size)
{
    static const size_t sizes[] = {1, 15, 16, 4095, 65520, (1u << 24) - 1};
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint8_t *head = guard_room(0, TT_SSE_FIXED_HEAD_BYTES);
        char *end;
        char text[TT_SSE_FIXED_HEAD_BYTES + 1] = "";
        tt_sse_chunk_write_fixed_head(head, sizes[i]);
        memcpy(text, head, TT_SSE_FIXED_HEAD_BYTES);
        cr_assert_eq(strtoul(text, &end, 16), sizes[i]);
        cr_assert_str_eq(end, "\r\n");
    }
}

Test(sse_frame, chunk_heads_of_every_width)
{
    static char payload[70000];
    for (size_t bytes = 1; bytes < sizeof payload; bytes = bytes * 2 - bytes / 3 + 1) {
        memset(payload, '1', bytes);
        payload[bytes] = 0;
        struct tt_placed_event placed = an_event("message", "a", payload);
        struct tt_sse_form form = {true, false};
        struct tt_sse_layout layout = tt_sse_event_layout(&placed, form, 3);
        uint8_t *out = guard_room(0, layout.bytes);
        tt_sse_event_write(out, &layout, &placed, form, TT_BYTES_LITERAL("c-1"));
        cr_assert_eq(layout.a_body_bytes, strlen("data: ") + bytes + 1);
        char head[20];
        (void)snprintf(head, sizeof head, "%zx\r\n", bytes + 7);
        cr_assert_eq(layout.a_body, strlen(head));
        cr_assert_eq(memcmp(out, head, strlen(head)), 0);
        cr_assert_eq(memcmp(out + layout.a_body + layout.a_body_bytes - 1, "\n\r\n", 3), 0);
        cr_assert_eq(memcmp(out + layout.b_body, "id: c-1\n\n\r\n", 11), 0);
    }
}

Test(sse_frame, id_chunk_is_the_same_as_chunk_b)
{
    struct tt_placed_event placed = an_event("update", "a", "1");
    struct tt_sse_layout layout;
    const char *text = frame_text(&placed, envelope, "k7Qp2a-0-7/8", &layout);
    size_t bytes = tt_sse_id_chunk_bytes(12), body, body_bytes;
    struct tt_writer w = tt_writer(guard_room(1, bytes), bytes);
    tt_sse_id_chunk_write(&w, TT_BYTES_LITERAL("k7Qp2a-0-7/8"), &body, &body_bytes);
    cr_assert_eq(w.size, bytes);
    cr_assert_not(w.overflow);
    cr_assert_eq(memcmp(w.data, text + layout.a_bytes, bytes), 0);
    cr_assert_eq(body_bytes, layout.b_body_bytes);
    cr_assert_eq(layout.a_bytes + body, layout.b_body);
}

static const char *written(void (*write)(struct tt_writer *), size_t bytes)
{
    static char text[512];
    struct tt_writer w = tt_writer(guard_room(0, bytes), bytes);
    write(&w);
    cr_assert_not(w.overflow);
    cr_assert_eq(w.size, bytes);
    memcpy(text, w.data, bytes);
    text[bytes] = 0;
    return text;
}

static struct tt_bytes data;
static void write_data(struct tt_writer *w)
{
    tt_sse_write_data(w, data);
}

static const char *data_lines(struct tt_bytes text)
{
    data = guard_copy(2, text);
    return written(write_data, tt_sse_data_bytes(data));
}

/* What a parser of event streams must never see as its own syntax (WHATWG HTML 9.2.6). */
Test(sse_frame, nothing_breaks_out_of_data)
{
    cr_assert_str_eq(data_lines(TT_BYTES_LITERAL("")), "data: \n");
    cr_assert_str_eq(data_lines(TT_BYTES_LITERAL("a")), "data: a\n");
    cr_assert_str_eq(data_lines(TT_BYTES_LITERAL("a\nid: 1\n\nb")),
                     "data: a\ndata: id: 1\ndata: \ndata: b\n");
    cr_assert_str_eq(data_lines(TT_BYTES_LITERAL("a\revent: x")), "data: a\ndata: event: x\n");
    cr_assert_str_eq(data_lines(TT_BYTES_LITERAL("a\r\nb\n\rc")),
                     "data: a\ndata: b\ndata: \ndata: c\n");
    cr_assert_str_eq(data_lines(TT_BYTES_LITERAL("a\r\n")), "data: a\ndata: \n");
    cr_assert_str_eq(data_lines(TT_BYTES_LITERAL("a\r")), "data: a\ndata: \n");
    /* A byte order mark and U+2028 are plain text behind "data: ". */
    cr_assert_str_eq(data_lines(TT_BYTES_LITERAL("\xEF\xBB\xBF"
                                                 "a\xE2\x80\xA8"
                                                 "b")),
                     "data: \xEF\xBB\xBF"
                     "a\xE2\x80\xA8"
                     "b\n");
    data = guard_copy(2, TT_BYTES_LITERAL("a\0b"));
    cr_assert_eq(memcmp(data_lines(data), "data: a\0b\n", 10), 0);
}

static void write_control(struct tt_writer *w)
{
    tt_sse_control_write(w, "resync", TT_BYTES_LITERAL("{\"reason\":\"expired\"}"),
                         TT_BYTES_LITERAL("k7Qp2a-0-9"));
}
static void write_control_without(struct tt_writer *w)
{
    tt_sse_control_write(w, NULL, TT_BYTES_LITERAL("{}"), TT_BYTES_NONE);
}
static void write_number(struct tt_writer *w)
{
    tt_sse_write_comment_number(w, 1732558200000);
}
static void write_retry(struct tt_writer *w)
{
    tt_sse_write_retry(w, 3000);
}
static void write_pad(struct tt_writer *w)
{
    tt_sse_write_pad(w, 10);
}

Test(sse_frame, control_events_comments_retry_and_pad)
{
    cr_assert_str_eq(
        written(write_control,
                tt_sse_control_bytes("resync", TT_BYTES_LITERAL("{\"reason\":\"expired\"}"),
                                     TT_BYTES_LITERAL("k7Qp2a-0-9"))),
        "event: resync\ndata: {\"reason\":\"expired\"}\nid: k7Qp2a-0-9\n\n");
    cr_assert_str_eq(written(write_control_without,
                             tt_sse_control_bytes("", TT_BYTES_LITERAL("{}"), TT_BYTES_NONE)),
                     "data: {}\n\n");
    cr_assert_str_eq(written(write_number, 17), ": 1732558200000\n\n");
    cr_assert_str_eq(written(write_retry, 13), "retry: 3000\n\n");
    cr_assert_str_eq(written(write_pad, 10), ": ......\n\n");
}

Test(sse_frame, chunk_sizes)
{
    static const size_t sizes[] = {1, 15, 16, 255, 256, 4095, 4096, 65535, 65536, 1 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint8_t memory[TT_SSE_CHUNK_HEAD_MAX];
        struct tt_writer w = tt_writer(memory, sizeof memory);
        char expected[20];
        tt_sse_chunk_write_head(&w, sizes[i]);
        (void)snprintf(expected, sizeof expected, "%zx\r\n", sizes[i]);
        cr_assert(tt_bytes_is(tt_writer_bytes(&w), expected));
        cr_assert_eq(tt_sse_chunk_head_bytes(sizes[i]), w.size);
        cr_assert_eq(tt_sse_chunk_bytes(sizes[i]), w.size + sizes[i] + 2);
    }
}
