#include "proto/wire/envelope.h"

#include "proto/base/assert.h"
#include "proto/base/limits.h"
#include "proto/event/channel.h"
#include "proto/wire/excerpt.h"

/* The members that an envelope may have, and how their names are written. */
enum member { CHANNEL, TYPE, PAYLOAD, TIMESTAMP, CONFLATE, OP, HEADERS, ENCODING, MEMBERS };

static const struct {
    const char *name;
    enum member member;
} member_names[] = {
    {"channel", CHANNEL},   {"type", TYPE},    {"payload", PAYLOAD}, {"timestamp", TIMESTAMP},
    {"conflate", CONFLATE}, {"op", OP},        {"headers", HEADERS}, {"encoding", ENCODING},
    {"eventType", TYPE},    {"data", PAYLOAD}, /* understood for type and payload */
};

/* The range of a JavaScript Date: what a browser can show. */
#define TIMESTAMP_MS_MAX 8640000000000000

/* One envelope while it is read. */
struct parse {
    uint8_t *text;        /* the whole text, to be changed in place */
    const uint8_t *start; /* the same, as the reader's slices point into it */
    struct tt_json_value values[MEMBERS];
    const char *names[MEMBERS]; /* as given; null: not given */
    struct tt_event *event;
    struct tt_envelope_error *error;
};

/* ---- errors ---- */

static struct tt_writer begin_error(struct tt_envelope_error *error, const char *code,
                                    const char *field)
{
    error->status = 400;
    error->code = code;
    error->field = field;
    return tt_writer(error->message, sizeof error->message - 1);
}

static enum tt_status end_error(struct tt_envelope_error *error, const struct tt_writer *w)
{
    error->message[w->size] = 0;
    return TT_EINVAL;
}

/* `<member> <value>: <what is allowed>` */
static enum tt_status bad_value(struct parse *p, enum member member, const char *code,
                                const char *allowed)
{
    struct tt_writer w = begin_error(p->error, code, p->names[member]);
    tt_write_text(&w, p->names[member]);
    tt_write_char(&w, ' ');
    tt_write_excerpt(&w, p->values[member].text);
    tt_write_text(&w, ": ");
    tt_write_text(&w, allowed);
    return end_error(p->error, &w);
}

/* `<member>: <what is allowed>`, where the value would say nothing. */
static enum tt_status bad_text(struct parse *p, enum member member, const char *allowed)
{
    struct tt_writer w = begin_error(p->error, "invalid_field", p->names[member]);
    tt_write_text(&w, p->names[member]);
    tt_write_text(&w, ": ");
    tt_write_text(&w, allowed);
    return end_error(p->error, &w);
}

static enum tt_status bad_json(const struct tt_json_reader *r, struct tt_envelope_error *error)
{
    struct tt_writer w = begin_error(error, "invalid_json", NULL);
    tt_write_text(&w, "not valid JSON at byte ");
    tt_write_u64(&w, r->error_offset);
    tt_write_text(&w, ": ");
    tt_write_text(&w, r->error);
    return end_error(error, &w);
}

/* ---- reading ---- */

static uint8_t *in_place(const struct parse *p, const uint8_t *at)
{
    return p->text + (at - p->start);
}

/* What a string says, with its escapes replaced in place. */
static enum tt_status decode_in_place(struct parse *p, enum member member, struct tt_bytes *out)
{
    const struct tt_json_value *value = &p->values[member];
    if (!value->escaped) {
        *out = tt_bytes(value->text.data + 1, value->text.size - 2);
        return TT_OK;
    }
    struct tt_writer w = tt_writer(in_place(p, value->text.data), value->text.size);
    enum tt_status status = tt_json_string_decode(value, &w);
    *out = tt_writer_bytes(&w);
    return status;
}

static enum tt_status set_channel_or_type(struct parse *p, enum member member)
{
    struct tt_json_value given = p->values[member];
    const char *name = p->names[member];
    if (given.kind != TT_JSON_STRING)
        return bad_value(p, member, "invalid_field", "must be a string");
    struct tt_bytes *out = member == CHANNEL ? &p->event->channel : &p->event->type;
    if (decode_in_place(p, member, out) != TT_OK)
        return bad_text(p, member, "holds half of a surrogate pair");
    char why[256];
    struct tt_writer reason = tt_writer(why, sizeof why);
    enum tt_status status =
        member == CHANNEL ? tt_channel_check(*out, &reason) : tt_type_check(*out, &reason);
    bool reserved = status == TT_OK && member == TYPE && tt_type_is_reserved(*out);
    if (status == TT_OK && !reserved) return TT_OK;
    struct tt_writer w = begin_error(p->error, reserved ? "reserved_type" : "invalid_field", name);
    tt_write_text(&w, name);
    tt_write_text(&w, " \"");
    tt_write_excerpt(&w, *out);
    tt_write_text(&w, "\": ");
    if (reserved) {
        tt_write_text(&w, "is reserved for control events, choose another name");
    } else {
        tt_write_bytes(&w, tt_writer_bytes(&reason));
    }
    return end_error(p->error, &w);
}

static enum tt_status set_timestamp(struct parse *p)
{
    int64_t value;
    if (tt_json_to_i64(&p->values[TIMESTAMP], &value) != TT_OK || value < 0 ||
        value > TIMESTAMP_MS_MAX)
        return bad_value(p, TIMESTAMP, "invalid_field",
                         "must be unix time in milliseconds, an integer from 0 to "
                         "8640000000000000");
    p->event->timestamp_ms = value;
    p->event->flags |= TT_EVENT_TIMESTAMP_GIVEN;
    return TT_OK;
}

static enum tt_status set_conflate(struct parse *p)
{
    enum tt_json_kind kind = p->values[CONFLATE].kind;
    if (kind != TT_JSON_TRUE && kind != TT_JSON_FALSE)
        return bad_value(p, CONFLATE, "invalid_field", "must be true or false");
    if (kind == TT_JSON_FALSE) p->event->flags |= TT_EVENT_NEVER_CONFLATE;
    return TT_OK;
}

static enum tt_status set_op(struct parse *p)
{
    const struct tt_json_value *value = &p->values[OP];
    if (value->kind != TT_JSON_STRING || !tt_json_string_is(value, "delete"))
        return bad_value(p, OP, "invalid_field", "must be \"delete\", or left out");
    if (p->names[PAYLOAD] != NULL && p->values[PAYLOAD].kind != TT_JSON_NULL)
        return bad_value(p, PAYLOAD, "invalid_field",
                         "must be null or left out with op \"delete\"");
    p->event->flags |= TT_EVENT_OP_DELETE;
    return TT_OK;
}

/* RFC 4648 section 4, padded. */
static bool is_base64(struct tt_bytes text)
{
    if (text.size % 4 != 0) return false;
    size_t padding = 0;
    while (padding < 2 && padding < text.size && text.data[text.size - 1 - padding] == '=')
        padding++;
    for (size_t i = 0; i < text.size - padding; i++) {
        uint8_t c = text.data[i];
        bool allowed = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                       c == '+' || c == '/';
        if (!allowed) return false;
    }
    return true;
}

/* The payload becomes a JSON string of plain base64: some encoders escape every slash. */
static enum tt_status set_encoding(struct parse *p)
{
    const struct tt_json_value *value = &p->values[ENCODING];
    if (value->kind != TT_JSON_STRING || !tt_json_string_is(value, "base64"))
        return bad_value(p, ENCODING, "invalid_field", "must be \"base64\", or left out");
    struct tt_json_value *payload = &p->values[PAYLOAD];
    struct tt_bytes text;
    if (p->names[PAYLOAD] == NULL || payload->kind != TT_JSON_STRING)
        return bad_value(p, ENCODING, "invalid_field", "needs a payload that is a string");
    if (payload->escaped) {
        uint8_t *to = in_place(p, payload->text.data) + 1;
        struct tt_writer w = tt_writer(to, payload->text.size - 2);
        enum tt_status status = tt_json_string_decode(payload, &w);
        text = tt_writer_bytes(&w);
        if (status != TT_OK || !is_base64(text))
            return bad_text(p, PAYLOAD, "is not base64 (RFC 4648, padded)");
        to[text.size] = '"';
    } else {
        text = tt_bytes(payload->text.data + 1, payload->text.size - 2);
        if (!is_base64(text)) return bad_text(p, PAYLOAD, "is not base64 (RFC 4648, padded)");
    }
    p->event->payload = tt_bytes(text.data - 1, text.size + 2);
    p->event->flags |= TT_EVENT_BINARY;
    return TT_OK;
}

static enum tt_status set_headers(struct parse *p)
{
    const struct tt_json_value *value = &p->values[HEADERS];
    if (value->kind != TT_JSON_OBJECT)
        return bad_value(p, HEADERS, "invalid_field", "must be an object of strings");
    if (value->text.size > TT_HEADERS_BYTES_MAX)
        return bad_value(p, HEADERS, "invalid_field", "may be 4096 bytes long at most");
    struct tt_json_reader r = tt_json_reader(value->text);
    struct tt_json_value key, one;
    unsigned count = 0;
    enum tt_status status = tt_json_begin(&r, '{');
    while (status == TT_OK && (status = tt_json_member(&r, &key, &one)) == TT_OK) {
        if (one.kind != TT_JSON_STRING)
            return bad_value(p, HEADERS, "invalid_field", "every header must be a string");
        if (++count > TT_HEADERS_MAX)
            return bad_value(p, HEADERS, "invalid_field", "at most 32 headers are allowed");
    }
    TT_ASSERT(status == TT_END); /* it was valid when it was read whole */
    if (value->breaks) tt_json_flatten(in_place(p, value->text.data), value->text.size);
    if (count != 0) p->event->headers = value->text;
    return TT_OK;
}

static enum tt_status set_payload(struct parse *p)
{
    const struct tt_json_value *value = &p->values[PAYLOAD];
    if (p->names[PAYLOAD] == NULL) return TT_OK;
    if (value->breaks) tt_json_flatten(in_place(p, value->text.data), value->text.size);
    p->event->payload = value->text;
    return TT_OK;
}

/* Remembers the member if it is a known one. */
static enum tt_status keep_member(struct parse *p, const struct tt_json_value *key,
                                  const struct tt_json_value *value)
{
    for (size_t i = 0; i < sizeof member_names / sizeof *member_names; i++) {
        if (!tt_json_string_is(key, member_names[i].name)) continue;
        enum member member = member_names[i].member;
        const char *before = p->names[member];
        p->names[member] = member_names[i].name;
        p->values[member] = *value;
        if (before == NULL) return TT_OK;
        struct tt_writer w = begin_error(p->error, "invalid_field", member_names[i].name);
        tt_write_text(&w, member_names[i].name);
        tt_write_text(&w, strcmp(before, member_names[i].name) == 0
                              ? " is given twice"
                              : " is given beside its synonym ");
        if (strcmp(before, member_names[i].name) != 0) tt_write_text(&w, before);
        return end_error(p->error, &w);
    }
    return TT_OK;
}

static enum tt_status check_size(struct parse *p, size_t event_bytes_max)
{
    const struct tt_event *e = p->event;
    size_t bytes = e->channel.size + e->type.size + e->headers.size + e->payload.size;
    if (bytes <= event_bytes_max) return TT_OK;
    struct tt_writer w = begin_error(p->error, "too_large", "payload");
    p->error->status = 413;
    tt_write_text(&w, "the event has ");
    tt_write_u64(&w, bytes);
    tt_write_text(&w, " bytes (channel, type, headers and payload), at most ");
    tt_write_u64(&w, event_bytes_max);
    tt_write_text(&w, " are allowed");
    return end_error(p->error, &w);
}

static enum tt_status set_members(struct parse *p)
{
    if (p->names[CHANNEL] == NULL) {
        struct tt_writer w = begin_error(p->error, "missing_field", "channel");
        tt_write_text(&w, "channel is missing: it must be a string");
        return end_error(p->error, &w);
    }
    enum tt_status status = set_channel_or_type(p, CHANNEL);
    if (status == TT_OK && p->names[TYPE] != NULL) status = set_channel_or_type(p, TYPE);
    if (status == TT_OK && p->names[TIMESTAMP] != NULL) status = set_timestamp(p);
    if (status == TT_OK && p->names[CONFLATE] != NULL) status = set_conflate(p);
    if (status == TT_OK && p->names[HEADERS] != NULL) status = set_headers(p);
    if (status == TT_OK) status = set_payload(p);
    if (status == TT_OK && p->names[OP] != NULL) status = set_op(p);
    if (status == TT_OK && p->names[ENCODING] != NULL) status = set_encoding(p);
    return status;
}

/* Reads the object that comes next. */
static enum tt_status read_envelope(struct tt_json_reader *r, uint8_t *text, size_t event_bytes_max,
                                    int64_t taken_us, struct tt_event *event,
                                    struct tt_envelope_error *error)
{
    struct parse p = {.text = text, .start = text, .event = event, .error = error};
    *event = (struct tt_event){
        .type = TT_BYTES_LITERAL("message"),
        .payload = TT_BYTES_LITERAL("null"),
        .timestamp_ms = taken_us / 1000,
        .taken_us = taken_us,
    };
    struct tt_json_value key, value;
    int first = tt_json_peek(r);
    if (first >= 0 && first != '{') {
        /* Valid JSON of another kind is told apart from what is no JSON. */
        if (tt_json_value(r, &value) != TT_OK) return bad_json(r, error);
        struct tt_writer w = begin_error(error, "invalid_envelope", NULL);
        tt_write_text(&w, "an envelope must be a JSON object, not ");
        tt_write_excerpt(&w, value.text);
        return end_error(error, &w);
    }
    enum tt_status status = tt_json_begin(r, '{');
    while (status == TT_OK && (status = tt_json_member(r, &key, &value)) == TT_OK)
        if (keep_member(&p, &key, &value) != TT_OK) return TT_EINVAL;
    if (status != TT_END) return bad_json(r, error);
    status = set_members(&p);
    return status == TT_OK ? check_size(&p, event_bytes_max) : status;
}

enum tt_status tt_envelope_parse(uint8_t *text, size_t size, size_t event_bytes_max,
                                 int64_t taken_us, struct tt_event *event,
                                 struct tt_envelope_error *error)
{
    struct tt_json_reader r = tt_json_reader(tt_bytes(text, size));
    enum tt_status status = read_envelope(&r, text, event_bytes_max, taken_us, event, error);
    if (status == TT_OK && tt_json_finish(&r) != TT_OK) status = bad_json(&r, error);
    return status;
}

int tt_envelope_peek(const uint8_t *text, size_t size)
{
    struct tt_json_reader r = tt_json_reader(tt_bytes(text, size));
    return tt_json_peek(&r);
}

/* ---- arrays ---- */

void tt_envelope_array_begin(struct tt_envelope_array *a, uint8_t *text, size_t size)
{
    *a = (struct tt_envelope_array){.reader_ = tt_json_reader(tt_bytes(text, size)), .text_ = text};
}

/* Puts "element <index>: " before the message. */
static enum tt_status element_error(const struct tt_envelope_array *a,
                                    struct tt_envelope_error *error)
{
    char message[TT_ENVELOPE_MESSAGE_MAX];
    memcpy(message, error->message, sizeof message);
    struct tt_writer w = tt_writer(error->message, sizeof error->message - 1);
    tt_write_text(&w, "element ");
    tt_write_u64(&w, a->index);
    tt_write_text(&w, ": ");
    size_t bytes = strlen(message), room = w.capacity - w.size;
    if (bytes > room) {
        bytes = room;
        while (bytes != 0 && ((uint8_t)message[bytes] & 0xC0) == 0x80) bytes--;
    }
    tt_write(&w, message, bytes);
    return end_error(error, &w);
}

enum tt_status tt_envelope_array_next(struct tt_envelope_array *a, size_t event_bytes_max,
                                      int64_t taken_us, struct tt_event *event,
                                      struct tt_envelope_error *error)
{
    struct tt_json_reader *r = &a->reader_;
    if (a->begun_) {
        a->index++;
    } else {
        a->begun_ = true;
        if (tt_json_begin(r, '[') != TT_OK) return bad_json(r, error);
    }
    enum tt_status status = tt_json_element(r);
    if (status == TT_END) return tt_json_finish(r) == TT_OK ? TT_END : bad_json(r, error);
    if (status != TT_OK) return bad_json(r, error);
    status = read_envelope(r, a->text_, event_bytes_max, taken_us, event, error);
    return status == TT_OK ? TT_OK : element_error(a, error);
}

/* ---- NDJSON ---- */

static bool is_blank(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (data[i] != ' ' && data[i] != '\t' && data[i] != '\r') return false;
    return true;
}

enum tt_status tt_ndjson_next(struct tt_ndjson *n, const uint8_t *data, size_t size, bool end,
                              size_t line_bytes_max, size_t *line_at, size_t *line_size)
{
    for (;;) {
        const uint8_t *lf =
            n->scanned_ == size ? NULL : memchr(data + n->scanned_, '\n', size - n->scanned_);
        size_t stop = lf == NULL ? size : (size_t)(lf - data);
        size_t bytes = stop - n->start;
        n->scanned_ = stop;
        if (bytes != 0 && data[stop - 1] == '\r') bytes--;
        if (bytes > line_bytes_max) {
            n->line++;
            return TT_ETOOBIG;
        }
        if (lf == NULL && !end) return TT_MORE;
        if (lf == NULL && bytes == 0) return TT_END;
        size_t at = n->start;
        n->line++;
        n->start = n->scanned_ = lf == NULL ? size : stop + 1;
        if (is_blank(data + at, bytes)) continue;
        *line_at = at;
        *line_size = bytes;
        return TT_OK;
    }
}

void tt_ndjson_drop(struct tt_ndjson *n, size_t bytes)
{
    TT_ASSERT(bytes <= n->start);
    n->start -= bytes;
    n->scanned_ -= bytes;
}

/* ---- the outgoing envelope ---- */

static size_t digits_i64(int64_t value)
{
    return value < 0 ? 1 + tt_digits_u64(0 - (uint64_t)value) : tt_digits_u64((uint64_t)value);
}

/* A valid channel has no control characters, so these two are all that JSON wants escaped. */
static size_t escapes_in(struct tt_bytes channel)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
    size_t count = 0, i = 0;
    /* Eight at a time, while none of them is one of the two: no byte of either word is zero. */
    for (; channel.size - i >= 8; i += 8) {
        uint64_t word;
        memcpy(&word, channel.data + i, sizeof word);
        uint64_t quote = word ^ ones * '"', backslash = word ^ ones * '\\';
        if (((((quote - ones) & ~quote) | ((backslash - ones) & ~backslash)) & tops) != 0) break;
    }
    for (; i < channel.size; i++) count += channel.data[i] == '"' || channel.data[i] == '\\';
    return count;
}

static void write_channel(struct tt_writer *w, struct tt_bytes channel)
{
    if (escapes_in(channel) == 0) {
        tt_write_bytes(w, channel);
        return;
    }
    for (size_t i = 0; i < channel.size; i++) {
        if (channel.data[i] == '"' || channel.data[i] == '\\') tt_write_char(w, '\\');
        tt_write_char(w, (char)channel.data[i]);
    }
}

#define LITERAL_BYTES(text)    (sizeof(text) - 1)
#define WRITE_LITERAL(w, text) tt_write((w), (text), LITERAL_BYTES(text))

#define OPEN_TYPE     "{\"type\":\""
#define THEN_CHANNEL  "\",\"channel\":\""
#define THEN_PAYLOAD  TT_ENVELOPE_THEN_PAYLOAD
#define THEN_TIME     ",\"timestamp\":"
#define THEN_ID       ",\"id\":\""
#define AFTER_ID      "\""
#define THEN_CONFLATE ",\"conflate\":false"
#define THEN_OP       ",\"op\":\"delete\""
#define THEN_HEADERS  ",\"headers\":"
#define THEN_ENCODING ",\"encoding\":\"base64\""
#define CLOSE         "}"

size_t tt_envelope_bytes(const struct tt_placed_event *placed)
{
    const struct tt_event *e = &placed->event;
    size_t bytes =
        LITERAL_BYTES(OPEN_TYPE THEN_CHANNEL THEN_PAYLOAD THEN_TIME THEN_ID AFTER_ID CLOSE) +
        e->type.size + e->channel.size + escapes_in(e->channel) + e->payload.size +
        digits_i64(e->timestamp_ms) + tt_position_text_bytes(&placed->position);
    if ((e->flags & TT_EVENT_NEVER_CONFLATE) != 0) bytes += LITERAL_BYTES(THEN_CONFLATE);
    if ((e->flags & TT_EVENT_OP_DELETE) != 0) bytes += LITERAL_BYTES(THEN_OP);
    if (e->headers.size != 0) bytes += LITERAL_BYTES(THEN_HEADERS) + e->headers.size;
    if ((e->flags & TT_EVENT_BINARY) != 0) bytes += LITERAL_BYTES(THEN_ENCODING);
    return bytes;
}

size_t tt_envelope_bytes_max(const struct tt_placed_event *placed)
{
    const struct tt_event *e = &placed->event;
    return LITERAL_BYTES(OPEN_TYPE THEN_CHANNEL THEN_PAYLOAD THEN_TIME THEN_ID AFTER_ID
                             THEN_CONFLATE THEN_OP THEN_HEADERS THEN_ENCODING CLOSE) +
           e->type.size + 2 * e->channel.size + e->payload.size + e->headers.size + 20 +
           TT_POSITION_TEXT_MAX;
}

void tt_envelope_write(struct tt_writer *w, const struct tt_placed_event *placed)
{
    uint8_t text[TT_POSITION_TEXT_MAX];
    struct tt_writer id = tt_writer(text, sizeof(text));
    tt_position_write(&id, &placed->position);
    tt_envelope_write_with_id(w, placed, tt_writer_bytes(&id));
}

bool tt_envelope_is_plain(const struct tt_event *e)
{
    return e->flags == 0 && e->headers.size == 0 && escapes_in(e->channel) == 0;
}

uint8_t *tt_envelope_put_head(uint8_t *to, struct tt_bytes type)
{
    to = TT_PUT_LITERAL(to, OPEN_TYPE);
    to = tt_put_bytes(to, type);
    return TT_PUT_LITERAL(to, THEN_CHANNEL);
}

uint8_t *tt_envelope_put_tail(uint8_t *to, struct tt_bytes id, struct tt_bytes timestamp)
{
    to = TT_PUT_LITERAL(to, THEN_TIME);
    to = tt_put_bytes(to, timestamp);
    to = TT_PUT_LITERAL(to, THEN_ID);
    to = tt_put_bytes(to, id);
    return TT_PUT_LITERAL(to, AFTER_ID CLOSE);
}

void tt_envelope_write_with_id(struct tt_writer *w, const struct tt_placed_event *placed,
                               struct tt_bytes id)
{
    const struct tt_event *e = &placed->event;
    WRITE_LITERAL(w, OPEN_TYPE);
    tt_write_bytes(w, e->type);
    WRITE_LITERAL(w, THEN_CHANNEL);
    write_channel(w, e->channel);
    WRITE_LITERAL(w, THEN_PAYLOAD);
    tt_write_bytes(w, e->payload);
    WRITE_LITERAL(w, THEN_TIME);
    tt_write_i64(w, e->timestamp_ms);
    WRITE_LITERAL(w, THEN_ID);
    tt_write_bytes(w, id);
    WRITE_LITERAL(w, AFTER_ID);
    if ((e->flags & TT_EVENT_NEVER_CONFLATE) != 0) WRITE_LITERAL(w, THEN_CONFLATE);
    if ((e->flags & TT_EVENT_OP_DELETE) != 0) WRITE_LITERAL(w, THEN_OP);
    if (e->headers.size != 0) {
        WRITE_LITERAL(w, THEN_HEADERS);
        tt_write_bytes(w, e->headers);
    }
    if ((e->flags & TT_EVENT_BINARY) != 0) WRITE_LITERAL(w, THEN_ENCODING);
    WRITE_LITERAL(w, CLOSE);
}
