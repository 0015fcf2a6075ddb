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

/* The members that a plain envelope does not have are counted in the most that it may need. */
_Static_assert(sizeof ",\"conflate\":false,\"op\":\"delete\",\"headers\":" - 1 >= TT_SSE_COPY_BYTES,
               "copies of kept texts end there");

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

/* Adds one to the number of so many digits that ends there; false: it has become longer. */
static bool count_on(uint8_t *end, unsigned digits)
{
    for (uint8_t *digit = end - 1; digits != 0; digit--, digits--) {
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
    unsigned digits = t->id_bytes_ - t->first_digit_;
    if (next && count_on(t->cursor_ + t->id_bytes_, digits)) {
        if (t->tail_bytes_ == 0) return;
        (void)count_on(t->tail_ + t->id_at_ + t->id_bytes_, digits);
        (void)count_on(t->tail_ + t->cursor_at_ + t->id_bytes_, digits);
        return;
    }
    struct tt_writer w = tt_writer(t->cursor_, sizeof t->cursor_);
    tt_position_write(&w, position);
    t->id_bytes_ = (uint8_t)w.size;
    t->first_digit_ = (uint8_t)(w.size - tt_digits_u64(position->offset));
    tt_cursor_write_partitions(&w, t->partitions_);
    TT_ASSERT(!w.overflow);
    t->cursor_bytes_ = (uint8_t)w.size;
    t->tail_bytes_ = 0;
}

static void name_time(struct tt_sse_texts *t, int64_t time_ms)
{
    if (t->time_bytes_ != 0 && t->time_ms_ == time_ms) return;
    struct tt_writer w = tt_writer(t->time_, sizeof t->time_);
    tt_write_i64(&w, time_ms);
    t->time_ms_ = time_ms;
    t->time_bytes_ = (uint8_t)w.size;
    t->tail_bytes_ = 0;
}

static void make_head(struct tt_sse_texts *t, const struct tt_event *event, struct tt_sse_form form)
{
    uint8_t *to = t->head_;
    if (has_name(event, form)) {
        to = TT_PUT_LITERAL(to, EVENT_FIELD);
        to = tt_put_bytes(to, event->type);
        *to++ = '\n';
    }
    to = TT_PUT_LITERAL(to, DATA_FIELD);
    uint8_t *envelope = to;
    to = tt_envelope_put_head(to, event->type);
    size_t around = (size_t)(to - envelope) - event->type.size;
    t->type_at_ = (uint8_t)(has_name(event, form) ? FIELD_BYTES(EVENT_FIELD)
                                                  : FIELD_BYTES(DATA_FIELD) + around -
                                                        FIELD_BYTES("\",\"channel\":\""));
    t->type_bytes_ = (uint16_t)event->type.size;
    t->no_name_ = form.no_name;
    t->head_bytes_ = (uint16_t)(to - t->head_);
    TT_ASSERT(t->head_bytes_ <= sizeof t->head_);
}

static void make_tail(struct tt_sse_texts *t)
{
    struct tt_bytes id = tt_bytes(t->cursor_, t->id_bytes_);
    uint8_t *to = tt_envelope_put_tail(t->tail_, id, tt_bytes(t->time_, t->time_bytes_));
    t->id_at_ = (uint8_t)(to - t->tail_ - 2 - t->id_bytes_); /* quote and brace are behind it */
    to = TT_PUT_LITERAL(to, "\n" ID_FIELD);
    t->cursor_at_ = (uint8_t)(to - t->tail_);
    to = tt_put_bytes(to, tt_bytes(t->cursor_, t->cursor_bytes_));
    to = TT_PUT_LITERAL(to, "\n\n");
    t->tail_bytes_ = (uint16_t)(to - t->tail_);
    TT_ASSERT(t->tail_bytes_ <= sizeof t->tail_);
}

static bool is_head_of(const struct tt_sse_texts *t, const struct tt_event *event,
                       struct tt_sse_form form)
{
    return t->head_bytes_ != 0 && t->type_bytes_ == event->type.size &&
           t->no_name_ == form.no_name &&
           memcmp(t->head_ + t->type_at_, event->type.data, event->type.size) == 0;
}

/* Copies a kept text, and what is behind it. */
static uint8_t *put_kept(uint8_t *to, const uint8_t *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += TT_SSE_COPY_BYTES)
        memcpy(to + i, text + i, TT_SSE_COPY_BYTES);
    return to + bytes;
}

uint8_t *tt_sse_event_lines_put(uint8_t *to, const struct tt_placed_event *placed,
                                struct tt_sse_form form, struct tt_sse_texts *t)
{
    const struct tt_event *event = &placed->event;
    name_event(t, &placed->position);
    if (form.payload_only || event->type.size > TT_TYPE_BYTES_MAX || !tt_envelope_is_plain(event)) {
        struct tt_writer w = tt_writer(to, tt_sse_event_lines_max(placed, form));
        write_a_body(&w, placed, form, tt_bytes(t->cursor_, t->id_bytes_));
        write_b_body(&w, tt_bytes(t->cursor_, t->cursor_bytes_));
        TT_ASSERT(!w.overflow);
        return to + w.size;
    }
    /* The way of nearly all events. What is copied beyond a text's end lies within the most that an
     * event may need: room for all the members that this one does not have. */
    name_time(t, event->timestamp_ms);
    if (!is_head_of(t, event, form)) make_head(t, event, form);
    if (t->tail_bytes_ == 0) make_tail(t);
    to = put_kept(to, t->head_, t->head_bytes_);
    to = tt_put_bytes(to, event->channel);
    to = TT_PUT_LITERAL(to, TT_ENVELOPE_THEN_PAYLOAD);
    to = tt_put_bytes(to, event->payload);
    return put_kept(to, t->tail_, t->tail_bytes_);
}

void tt_sse_event_lines_write(struct tt_writer *w, const struct tt_placed_event *placed,
                              struct tt_sse_form form, struct tt_sse_texts *texts)
{
    if (w->capacity - w->size >= tt_sse_event_lines_max(placed, form)) {
        uint8_t *to = w->data + w->size;
        w->size += (size_t)(tt_sse_event_lines_put(to, placed, form, texts) - to);
        return;
    }
    name_event(texts, &placed->position);
    write_a_body(w, placed, form, tt_bytes(texts->cursor_, texts->id_bytes_));
    write_b_body(w, tt_bytes(texts->cursor_, texts->cursor_bytes_));
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
