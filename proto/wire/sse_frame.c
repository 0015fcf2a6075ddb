#include "proto/wire/sse_frame.h"

#include "proto/base/assert.h"
#include "proto/event/cursor.h"
#include "proto/wire/envelope.h"

#define EVENT_FIELD        "event: "
#define DATA_FIELD         "data: "
#define ID_FIELD           "id: "
#define FIELD_BYTES(field) (sizeof(field) - 1)

/* ---- chunked coding ---- */

static unsigned hex_digits(size_t value)
{
    unsigned digits = 1;
    while (value >>= 4) digits++;
    return digits;
}

size_t tt_sse_chunk_head_bytes(size_t body_bytes)
{
    return hex_digits(body_bytes) + 2;
}

size_t tt_sse_chunk_bytes(size_t body_bytes)
{
    return tt_sse_chunk_head_bytes(body_bytes) + body_bytes + 2;
}

void tt_sse_chunk_write_head(struct tt_writer *w, size_t body_bytes)
{
    TT_ASSERT(body_bytes > 0); /* a chunk of size 0 would end the body */
    tt_write_hex(w, body_bytes);
    tt_write(w, "\r\n", 2);
}

/* ---- frames of events ---- */

/* No event line for type `message`, which is what an EventSource assumes without one. */
static bool has_name(const struct tt_event *event, struct tt_sse_form form)
{
    return !form.no_name && !tt_bytes_equal(event->type, TT_BYTES_LITERAL("message"));
}

static size_t a_body_bytes(const struct tt_placed_event *placed, struct tt_sse_form form)
{
    size_t bytes = form.payload_only ? tt_sse_data_bytes(placed->event.payload)
                                     : FIELD_BYTES(DATA_FIELD) + tt_envelope_bytes(placed) + 1;
    if (has_name(&placed->event, form))
        bytes += FIELD_BYTES(EVENT_FIELD) + placed->event.type.size + 1;
    return bytes;
}

static size_t b_body_bytes(size_t cursor_bytes)
{
    return cursor_bytes == 0 ? 1 : FIELD_BYTES(ID_FIELD) + cursor_bytes + 2;
}

struct tt_sse_layout tt_sse_event_layout(const struct tt_placed_event *placed,
                                         struct tt_sse_form form, size_t cursor_bytes)
{
    size_t a = a_body_bytes(placed, form), b = b_body_bytes(cursor_bytes);
    TT_ASSERT(a <= UINT32_MAX / 2 && b <= UINT32_MAX / 4);
    struct tt_sse_layout layout = {
        .a_body = (uint32_t)tt_sse_chunk_head_bytes(a),
        .a_body_bytes = (uint32_t)a,
        .a_bytes = (uint32_t)tt_sse_chunk_bytes(a),
        .b_body_bytes = (uint32_t)b,
    };
    layout.b_body = layout.a_bytes + (uint32_t)tt_sse_chunk_head_bytes(b);
    layout.bytes = layout.a_bytes + (uint32_t)tt_sse_chunk_bytes(b);
    return layout;
}

static void write_b_body(struct tt_writer *w, struct tt_bytes cursor)
{
    if (cursor.size != 0) {
        tt_write(w, ID_FIELD, FIELD_BYTES(ID_FIELD));
        tt_write_bytes(w, cursor);
        tt_write_char(w, '\n');
    }
    tt_write_char(w, '\n');
}

/* The lines before the id line. id: the text of the event's position. */
static void write_a_body(struct tt_writer *w, const struct tt_placed_event *placed,
                         struct tt_sse_form form, struct tt_bytes id)
{
    if (has_name(&placed->event, form)) {
        tt_write(w, EVENT_FIELD, FIELD_BYTES(EVENT_FIELD));
        tt_write_bytes(w, placed->event.type);
        tt_write_char(w, '\n');
    }
    if (form.payload_only) {
        tt_sse_write_data(w, placed->event.payload);
    } else {
        tt_write(w, DATA_FIELD, FIELD_BYTES(DATA_FIELD));
        tt_envelope_write_with_id(w, placed, id);
        tt_write_char(w, '\n');
    }
}

void tt_sse_event_write(uint8_t *out, const struct tt_sse_layout *layout,
                        const struct tt_placed_event *placed, struct tt_sse_form form,
                        struct tt_bytes cursor)
{
    struct tt_writer w = tt_writer(out, layout->bytes);
    tt_sse_chunk_write_head(&w, layout->a_body_bytes);
    uint8_t text[TT_POSITION_TEXT_MAX];
    struct tt_writer id = tt_writer(text, sizeof text);
    if (!form.payload_only) tt_position_write(&id, &placed->position);
    write_a_body(&w, placed, form, tt_writer_bytes(&id));
    tt_sse_chunk_write_end(&w);
    TT_ASSERT(w.size == layout->a_bytes);
    tt_sse_chunk_write_head(&w, layout->b_body_bytes);
    write_b_body(&w, cursor);
    tt_sse_chunk_write_end(&w);
    TT_ASSERT(w.size == layout->bytes && !w.overflow);
}

size_t tt_sse_event_lines_max(const struct tt_placed_event *placed, struct tt_sse_form form)
{
    const struct tt_event *e = &placed->event;
    size_t data = form.payload_only ? tt_sse_data_bytes(e->payload)
                                    : FIELD_BYTES(DATA_FIELD) + tt_envelope_bytes_max(placed) + 1;
    return FIELD_BYTES(EVENT_FIELD) + e->type.size + 1 + data + FIELD_BYTES(ID_FIELD) +
           TT_CURSOR_NARROW_MAX + 2;
}

void tt_sse_texts_init(struct tt_sse_texts *texts, struct tt_history history, uint32_t partitions)
{
    *texts = (struct tt_sse_texts){
        .history_ = history, .partitions_ = partitions, .offset_ = UINT64_MAX};
}

/* Adds one to the number that ends the id; false: it has become longer. */
static bool count_on(struct tt_sse_texts *t)
{
    uint8_t *digit = t->cursor_ + t->id_bytes_;
    const uint8_t *first = t->cursor_ + t->first_digit_;
    while (--digit >= first) {
        if (*digit != '9') {
            ++*digit;
            return true;
        }
        *digit = '0';
    }
    return false;
}

static void name_event(struct tt_sse_texts *t, const struct tt_position *position)
{
    bool next = t->offset_ != UINT64_MAX && t->partition_ == position->partition &&
                position->offset == t->offset_ + 1;
    t->partition_ = position->partition;
    t->offset_ = position->offset;
    if (next && count_on(t)) return;
    struct tt_writer w = tt_writer(t->cursor_, sizeof t->cursor_);
    tt_position_write(&w, position);
    t->id_bytes_ = (uint8_t)w.size;
    t->first_digit_ = (uint8_t)(w.size - tt_digits_u64(position->offset));
    tt_cursor_write_partitions(&w, t->partitions_);
    TT_ASSERT(!w.overflow);
    t->cursor_bytes_ = (uint8_t)w.size;
}

static void name_time(struct tt_sse_texts *t, int64_t time_ms)
{
    if (t->time_bytes_ != 0 && t->time_ms_ == time_ms) return;
    struct tt_writer w = tt_writer(t->time_, sizeof t->time_);
    tt_write_i64(&w, time_ms);
    t->time_ms_ = time_ms;
    t->time_bytes_ = (uint8_t)w.size;
}

void tt_sse_event_lines_write(struct tt_writer *w, const struct tt_placed_event *placed,
                              struct tt_sse_form form, struct tt_sse_texts *texts)
{
    name_event(texts, &placed->position);
    name_time(texts, placed->event.timestamp_ms);
    struct tt_bytes cursor = tt_bytes(texts->cursor_, texts->cursor_bytes_);
    struct tt_bytes id = tt_bytes(texts->cursor_, texts->id_bytes_);
    if (w->capacity - w->size >= tt_sse_event_lines_max(placed, form) && !form.payload_only) {
        /* The way of nearly all events, without a look at the room for each piece. */
        uint8_t *to = w->data + w->size;
        if (has_name(&placed->event, form)) {
            to = TT_PUT_LITERAL(to, EVENT_FIELD);
            to = tt_put_bytes(to, placed->event.type);
            *to++ = '\n';
        }
        to = TT_PUT_LITERAL(to, DATA_FIELD);
        to = tt_envelope_put(to, placed, id, tt_bytes(texts->time_, texts->time_bytes_));
        if (to != NULL) {
            to = TT_PUT_LITERAL(to, "\n" ID_FIELD);
            to = tt_put_bytes(to, cursor);
            to = TT_PUT_LITERAL(to, "\n\n");
            w->size = (size_t)(to - w->data);
            return;
        }
    }
    write_a_body(w, placed, form, id);
    write_b_body(w, cursor);
}

void tt_sse_chunk_write_fixed_head(uint8_t head[TT_SSE_FIXED_HEAD_BYTES], size_t body_bytes)
{
    TT_ASSERT(body_bytes > 0 && body_bytes < (1u << 24));
    for (unsigned i = 6; i-- != 0; body_bytes >>= 4)
        head[i] = (uint8_t) "0123456789abcdef"[body_bytes & 15];
    head[6] = '\r';
    head[7] = '\n';
}

size_t tt_sse_id_chunk_bytes(size_t cursor_bytes)
{
    return tt_sse_chunk_bytes(b_body_bytes(cursor_bytes));
}

void tt_sse_id_chunk_write(struct tt_writer *w, struct tt_bytes cursor, size_t *body,
                           size_t *body_bytes)
{
    *body_bytes = b_body_bytes(cursor.size);
    tt_sse_chunk_write_head(w, *body_bytes);
    *body = w->size;
    write_b_body(w, cursor);
    tt_sse_chunk_write_end(w);
}

/* ---- everything else ---- */

/* Takes the next line off the text, without the CR, LF or CRLF behind it; false: it was the last.
 */
static bool next_line(struct tt_bytes *text, struct tt_bytes *line)
{
    size_t n = 0;
    while (n < text->size && text->data[n] != '\n' && text->data[n] != '\r') n++;
    *line = tt_bytes(text->data, n);
    if (n == text->size) return false;
    n += text->data[n] == '\r' && n + 1 < text->size && text->data[n + 1] == '\n' ? 2 : 1;
    *text = tt_bytes_from(*text, n);
    return true;
}

size_t tt_sse_data_bytes(struct tt_bytes text)
{
    size_t bytes = 0;
    struct tt_bytes line;
    bool more;
    do {
        more = next_line(&text, &line);
        bytes += FIELD_BYTES(DATA_FIELD) + line.size + 1;
    } while (more);
    return bytes;
}

void tt_sse_write_data(struct tt_writer *w, struct tt_bytes text)
{
    struct tt_bytes line;
    bool more;
    do {
        more = next_line(&text, &line);
        tt_write(w, DATA_FIELD, FIELD_BYTES(DATA_FIELD));
        tt_write_bytes(w, line);
        tt_write_char(w, '\n');
    } while (more);
}

static bool is_named(const char *name)
{
    return name != NULL && name[0] != 0;
}

size_t tt_sse_control_bytes(const char *name, struct tt_bytes data, struct tt_bytes cursor)
{
    size_t name_bytes = is_named(name) ? FIELD_BYTES(EVENT_FIELD) + strlen(name) + 1 : 0;
    return name_bytes + tt_sse_data_bytes(data) + b_body_bytes(cursor.size);
}

void tt_sse_control_write(struct tt_writer *w, const char *name, struct tt_bytes data,
                          struct tt_bytes cursor)
{
    if (is_named(name)) {
        tt_write(w, EVENT_FIELD, FIELD_BYTES(EVENT_FIELD));
        tt_write_text(w, name);
        tt_write_char(w, '\n');
    }
    tt_sse_write_data(w, data);
    write_b_body(w, cursor);
}

void tt_sse_write_comment_number(struct tt_writer *w, int64_t number)
{
    tt_write(w, ": ", 2);
    tt_write_i64(w, number);
    tt_write(w, "\n\n", 2);
}

void tt_sse_write_pad(struct tt_writer *w, size_t bytes)
{
    TT_ASSERT(bytes >= 4);
    tt_write(w, ": ", 2);
    for (size_t i = 4; i < bytes; i++) tt_write_char(w, '.');
    tt_write(w, "\n\n", 2);
}

void tt_sse_write_retry(struct tt_writer *w, uint32_t retry_ms)
{
    tt_write_text(w, "retry: ");
    tt_write_u64(w, retry_ms);
    tt_write(w, "\n\n", 2);
}
