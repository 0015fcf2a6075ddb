#include "shard/conn/answer.h"

#include <stdarg.h>
#include <stdio.h>

#include "proto/base/assert.h"
#include "proto/base/limits.h"
#include "shard/conn/protocol_http1.h"

#define HEAD_BYTES_MIN  640u /* status line and the fields of our own, without the caller's */
#define ERROR_BYTES_MAX (TT_ERROR_MESSAGE_BYTES_MAX * 6 + 128) /* each byte may become a \u00xx */

static const struct {
    unsigned status;
    const char *reason;
    const char *code;
} statuses[] = {
    {200, "OK", "ok"},
    {202, "Accepted", "accepted"},
    {204, "No Content", "no_content"},
    {302, "Found", "found"},
    {304, "Not Modified", "not_modified"},
    {400, "Bad Request", "bad_request"},
    {401, "Unauthorized", "unauthorized"},
    {403, "Forbidden", "forbidden"},
    {404, "Not Found", "not_found"},
    {405, "Method Not Allowed", "method_not_allowed"},
    {408, "Request Timeout", "request_timeout"},
    {409, "Conflict", "conflict"},
    {411, "Length Required", "length_required"},
    {413, "Content Too Large", "body_too_large"},
    {414, "URI Too Long", "uri_too_long"},
    {415, "Unsupported Media Type", "unsupported_media_type"},
    {417, "Expectation Failed", "expectation_failed"},
    {421, "Misdirected Request", "misdirected_request"},
    {422, "Unprocessable Content", "unprocessable"},
    {429, "Too Many Requests", "too_many_requests"},
    {431, "Request Header Fields Too Large", "headers_too_large"},
    {500, "Internal Server Error", "internal"},
    {501, "Not Implemented", "not_implemented"},
    {503, "Service Unavailable", "unavailable"},
    {505, "HTTP Version Not Supported", "version_not_supported"},
};
#define STATUSES (sizeof(statuses) / sizeof(statuses[0]))

static const char *reason_of(unsigned status)
{
    for (size_t i = 0; i < STATUSES; i++) {
        if (statuses[i].status == status) return statuses[i].reason;
    }
    return "";
}

const char *tt_answer_code(unsigned status)
{
    for (size_t i = 0; i < STATUSES; i++) {
        if (statuses[i].status == status) return statuses[i].code;
    }
    return "error";
}

/* ---- heads ---- */

static bool is_leap(int64_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* IMF-fixdate of RFC 9110 section 5.6.7. now_s: unix time. */
static void write_date(struct tt_writer *w, int64_t now_s)
{
    static const char *const weekdays[] = {"Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    static const uint8_t lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int64_t day = now_s < 0 ? 0 : now_s / 86400;
    int64_t second = now_s < 0 ? 0 : now_s % 86400;
    const char *weekday = weekdays[day % 7];
    int64_t year = 1970;
    unsigned month = 0;

    for (; day >= 365 + is_leap(year); year++) day -= 365 + is_leap(year);
    for (; day >= lengths[month] + (month == 1 && is_leap(year)); month++) {
        day -= lengths[month] + (month == 1 && is_leap(year));
    }
    tt_write_format(w, "%s, %02d %s %04d %02d:%02d:%02d GMT", weekday, (int)day + 1, months[month],
                    (int)year, (int)(second / 3600), (int)(second / 60 % 60), (int)(second % 60));
}

/* Made once a second. */
static struct tt_bytes date(struct tt_connections *engine)
{
    int64_t now_s = tt_io_wall_us(engine->io) / 1000000;

    if (now_s != engine->date_s) {
        struct tt_writer w = tt_writer(engine->date, sizeof(engine->date));
        write_date(&w, now_s);
        engine->date_bytes = w.size;
        engine->date_s = now_s;
    }
    return tt_bytes(engine->date, engine->date_bytes);
}

static bool without_body(unsigned status)
{
    return status < 200 || status == 204 || status == 304;
}

static void write_cors(struct tt_writer *w, const struct tt_connection *c)
{
    if (c->engine->options.cors == NULL) return;
    /* Also without an Origin: a cache must not give this answer to a page that sends one. */
    tt_write_text(w, "Vary: Origin\r\n");
    if (c->work->origin == NULL) return;
    tt_write_text(w, "Access-Control-Allow-Origin: ");
    tt_write_text(w, c->work->origin);
    tt_write_text(w, "\r\nAccess-Control-Allow-Credentials: true\r\n"
                     "Access-Control-Expose-Headers: Retry-After\r\n");
}

/* RFC 9112 sections 6 and 9.3: how the body ends, and whether the connection goes on. */
static void write_framing(struct tt_writer *w, const struct tt_connection *c,
                          const struct tt_response *response)
{
    if (response->content_length >= 0 && !without_body(response->status)) {
        tt_write_text(w, "Content-Length: ");
        tt_write_i64(w, response->content_length);
        tt_write_text(w, "\r\n");
    } else if (response->content_length < 0 && !c->http10 && !without_body(response->status)) {
        tt_write_text(w, "Transfer-Encoding: chunked\r\n");
    }
    if (c->last) {
        tt_write_text(w, "Connection: close\r\n");
    } else if (c->persistent) {
        tt_write_text(w, "Connection: keep-alive\r\n");
    }
}

static size_t head_bytes_max(const struct tt_response *response)
{
    size_t bytes = HEAD_BYTES_MIN + 512; /* an origin and its fields */

    for (unsigned i = 0; i < response->headers_count; i++) {
        bytes += strlen(response->headers[i].name) + response->headers[i].value.size + 4;
    }
    return bytes;
}

/* More of the request's body is still to come than is dropped before the connection is closed: the
 * client has to know, or it sends its next request into the end. (How much a chunked one has left
 * nobody knows.) */
static bool leaves_much_of_body(const struct tt_connection *c)
{
    const struct tt_work *work = c->work;

    if (work == NULL || c->state >= TT_CONNECTION_ANSWER || work->content_length < 0) return false;
    return (uint64_t)work->content_length - work->body.received > TT_DROPPED_BODY_BYTES_MAX;
}

/* Encodes the head into the connection's output; with room for `body_bytes` behind it. False: the
 * memory is short, and the connection will end. */
static bool encode_head(struct tt_connection *c, const struct tt_response *response,
                        size_t body_bytes)
{
    size_t most = head_bytes_max(response) + body_bytes;
    struct tt_work *work = tt_connection_work(c);
    uint8_t *room = work == NULL ? NULL : tt_buffer_reserve(c->engine, &work->out, most);

    TT_ASSERT(!c->started);
    c->started = true;
    c->stream = response->content_length < 0;
    c->whole = c->head_only || without_body(response->status);
    if (response->close || c->expects_continue || (c->stream && c->http10) ||
        leaves_much_of_body(c))
        c->last = true;
    if (room == NULL) {
        tt_connection_close_later(c,
                                  work == NULL ? TT_CLOSE_INTERNAL : tt_buffer_refused(c->engine));
        return false;
    }
    struct tt_writer w = tt_writer(room, most);
    tt_write_text(&w, "HTTP/1.1 ");
    tt_write_u64(&w, response->status);
    tt_write_char(&w, ' ');
    tt_write_text(&w, reason_of(response->status));
    tt_write_text(&w, "\r\nDate: ");
    tt_write_bytes(&w, date(c->engine));
    tt_write_text(&w, "\r\n");
    if (response->content_type != NULL) {
        tt_write_text(&w, "Content-Type: ");
        tt_write_text(&w, response->content_type);
        tt_write_text(&w, "\r\n");
    }
    write_framing(&w, c, response);
    write_cors(&w, c);
    for (unsigned i = 0; i < response->headers_count; i++) {
        tt_write_text(&w, response->headers[i].name);
        tt_write_text(&w, ": ");
        tt_write_bytes(&w, response->headers[i].value);
        tt_write_text(&w, "\r\n");
    }
    tt_write_text(&w, "\r\n");
    TT_ASSERT(!w.overflow);
    work->out.size += w.size;
    tt_connection_link(c);
    return true;
}

void tt_exchange_start(struct tt_exchange *x, const struct tt_response *response)
{
    struct tt_connection *c = x->connection;

    TT_ASSERT(c != NULL);
    x->chunked = response->content_length < 0 && !c->http10;
    if (!encode_head(c, response, 0)) return;
    /* The peer has ended its side while the answer was prepared; see tt_http1_peer_ended(). */
    if (c->stream && c->ended) tt_connection_close_later(c, TT_CLOSE_PEER);
}

void tt_exchange_ready(struct tt_exchange *x)
{
    struct tt_connection *c = x->connection;

    TT_ASSERT(c != NULL);
    /* Under way or full: what completes that asks the exchange again. */
    if (c->started && !c->sending && !c->blocked) tt_connection_link(c);
}

bool tt_exchange_blocked(const struct tt_exchange *x)
{
    TT_ASSERT(x->connection != NULL);
    return x->connection->blocked;
}

bool tt_exchange_reads(const struct tt_exchange *x)
{
    TT_ASSERT(x->connection != NULL);
    return x->connection->reads;
}

void tt_exchange_resume_body(struct tt_exchange *x)
{
    struct tt_connection *c = x->connection;

    TT_ASSERT(c != NULL);
    if (!c->held) return;
    c->resume = true;
    tt_connection_link(c);
}

const struct tt_peer *tt_exchange_peer(const struct tt_exchange *x)
{
    TT_ASSERT(x->connection != NULL);
    return &x->connection->peer;
}

void tt_peer_text(const struct tt_peer *peer, char text[TT_ADDRESS_TEXT_MAX])
{
    struct tt_address address = {.family = peer->family, .port = peer->port};

    memcpy(address.ip, peer->ip, sizeof(address.ip));
    tt_address_text(&address, text);
}

/* ---- whole answers ---- */

static void answer_whole(struct tt_connection *c, const struct tt_response *response,
                         struct tt_bytes body, bool copy)
{
    struct tt_response known = *response;
    size_t room = copy ? body.size : 0;

    known.content_length = (int64_t)body.size;
    if (!encode_head(c, &known, room)) return;
    if (!c->whole && copy) {
        bool fits = tt_buffer_append(c->engine, &c->work->out, body.data, body.size);
        TT_ASSERT(fits);
    } else if (!c->whole) {
        c->work->rest = body;
    }
    c->whole = true;
}

/* header: one more field, or null. */
static void answer_error(struct tt_connection *c, unsigned status, const char *code,
                         const struct tt_header *header, struct tt_bytes message, bool close)
{
    char body[ERROR_BYTES_MAX];
    struct tt_writer w = tt_writer(body, sizeof(body));
    struct tt_response response = {
        .status = status,
        .content_type = "application/json",
        .headers = header,
        .headers_count = header == NULL ? 0 : 1,
        .close = close,
    };

    tt_write_text(&w, "{\"error\":{\"code\":");
    tt_write_json_string(&w, tt_bytes_text(code));
    tt_write_text(&w, ",\"message\":");
    tt_write_json_string(&w, message);
    tt_write_text(&w, "}}\n");
    TT_ASSERT(!w.overflow);
    answer_whole(c, &response, tt_writer_bytes(&w), true);
}

struct retry_after {
    struct tt_header header;
    char text[16];
};

/* Retry-After, or null for 0 seconds (RFC 9110 section 10.2.3). */
static const struct tt_header *retry_after(struct retry_after *memory, unsigned seconds)
{
    struct tt_writer w = tt_writer(memory->text, sizeof(memory->text));

    if (seconds == 0) return NULL;
    tt_write_u64(&w, seconds);
    memory->header = (struct tt_header){"Retry-After", tt_writer_bytes(&w)};
    return &memory->header;
}

/* Formats an error's message, says it to the log, and gives it (cut where it is too long). */
static struct tt_bytes make_message(struct tt_connection *c, const char *code,
                                    char text[TT_ERROR_MESSAGE_BYTES_MAX], const char *format,
                                    va_list arguments)
{
    struct tt_connections *engine = c->engine;
    int size = vsnprintf(text, TT_ERROR_MESSAGE_BYTES_MAX, format, arguments);

    if (size < 0) size = 0;
    if (size >= (int)TT_ERROR_MESSAGE_BYTES_MAX) size = (int)TT_ERROR_MESSAGE_BYTES_MAX - 1;
    if (engine->hooks.log != NULL) engine->hooks.log(engine->hooks.context, &c->peer, code, text);
    return tt_bytes(text, (size_t)size);
}

void tt_exchange_answer(struct tt_exchange *x, const struct tt_response *response,
                        struct tt_bytes body)
{
    TT_ASSERT(x->connection != NULL);
    answer_whole(x->connection, response, body, true);
}

void tt_exchange_fail(struct tt_exchange *x, unsigned status, const char *code,
                      unsigned retry_after_s, const char *format, ...)
{
    char text[TT_ERROR_MESSAGE_BYTES_MAX];
    struct retry_after retry;
    va_list arguments;

    TT_ASSERT(x->connection != NULL);
    va_start(arguments, format);
    struct tt_bytes message = make_message(x->connection, code, text, format, arguments);
    va_end(arguments);
    answer_error(x->connection, status, code, retry_after(&retry, retry_after_s), message, false);
}

struct tt_exchange *tt_reply(const struct tt_request *request, const struct tt_response *response,
                             struct tt_bytes body)
{
    answer_whole(request->connection, response, body, true);
    return &request->connection->engine->plain;
}

struct tt_exchange *tt_reply_static(const struct tt_request *request,
                                    const struct tt_response *response, struct tt_bytes body)
{
    answer_whole(request->connection, response, body, false);
    return &request->connection->engine->plain;
}

struct tt_exchange *tt_reply_error(const struct tt_request *request, unsigned status,
                                   const char *code, unsigned retry_after_s, const char *format,
                                   ...)
{
    char text[TT_ERROR_MESSAGE_BYTES_MAX];
    struct retry_after retry;
    va_list arguments;
    struct tt_connection *c = request->connection;

    va_start(arguments, format);
    struct tt_bytes message = make_message(c, code, text, format, arguments);
    va_end(arguments);
    answer_error(c, status, code, retry_after(&retry, retry_after_s), message, false);
    return &c->engine->plain;
}

struct tt_exchange *tt_reply_error_with(const struct tt_request *request, unsigned status,
                                        const char *code, const struct tt_header *header,
                                        const char *format, ...)
{
    char text[TT_ERROR_MESSAGE_BYTES_MAX];
    va_list arguments;
    struct tt_connection *c = request->connection;

    va_start(arguments, format);
    struct tt_bytes message = make_message(c, code, text, format, arguments);
    va_end(arguments);
    answer_error(c, status, code, header, message, false);
    return &c->engine->plain;
}

void tt_answer_error(struct tt_connection *c, unsigned status, enum tt_close_reason reason,
                     const char *format, ...)
{
    char text[TT_ERROR_MESSAGE_BYTES_MAX];
    va_list arguments;
    const char *code = tt_answer_code(status);

    TT_ASSERT(c->state == TT_CONNECTION_HEAD && c->exchange == NULL);
    tt_connection_note(c, reason);
    tt_connection_wait(c, TT_WAIT_NOTHING);
    /* Nothing of the request is known for sure: neither HEAD nor a version. */
    c->head_only = c->http10 = c->persistent = c->expects_continue = false;
    c->started = c->whole = false;
    c->state = TT_CONNECTION_ANSWER;
    va_start(arguments, format);
    struct tt_bytes message = make_message(c, code, text, format, arguments);
    va_end(arguments);
    answer_error(c, status, code, NULL, message, true);
}

void tt_answer_continue(struct tt_connection *c)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";

    if (!tt_buffer_append(c->engine, &c->work->out, text, sizeof(text) - 1)) {
        tt_connection_close_later(c, TT_CLOSE_INTERNAL);
        return;
    }
    tt_connection_link(c);
}

/* ---- pulling and taking ---- */

static unsigned own_slices(const struct tt_connection *c, struct tt_slice *slices, size_t *bytes)
{
    unsigned count = 0;

    *bytes = 0;
    if (c->work == NULL) return 0;
    struct tt_bytes out = tt_buffer_bytes(&c->work->out);
    if (out.size != 0) slices[count++] = (struct tt_slice){out.data, out.size};
    if (c->work->rest.size != 0) {
        slices[count++] = (struct tt_slice){c->work->rest.data, c->work->rest.size};
    }
    *bytes = out.size + c->work->rest.size;
    return count;
}

/* Marks the answer as complete. */
static void end_answer(struct tt_connection *c)
{
    static const char last_chunk[] = "0\r\n\r\n";

    c->whole = true;
    if (!c->stream || c->http10) return;
    struct tt_work *work = tt_connection_work(c);
    if (work == NULL ||
        !tt_buffer_append(c->engine, &work->out, last_chunk, sizeof(last_chunk) - 1)) {
        tt_connection_close_later(c, TT_CLOSE_INTERNAL);
    }
}

static unsigned pull(struct tt_connection *c, struct tt_slice *slices, unsigned max, size_t budget)
{
    unsigned count = 0;

    switch (c->exchange->ops->pull(c->exchange, budget, slices, max, &count)) {
    case TT_PULL_DATA: TT_ASSERT(count != 0 && count <= max); return count;
    case TT_PULL_IDLE:
    case TT_PULL_WAIT_DISK: break;
    case TT_PULL_END: end_answer(c); break;
    case TT_PULL_ABORT:
        c->last = true;
        c->whole = true;
        break;
    }
    return 0;
}

unsigned tt_answer_slices(struct tt_connection *c, struct tt_slice *slices, unsigned max)
{
    struct tt_slice own[2];
    size_t bytes;
    unsigned count = own_slices(c, own, &bytes);

    if (c->exchange != NULL && c->started && !c->whole && count < max &&
        bytes < c->engine->pull_bytes) {
        size_t budget = max == 1 ? 1 : c->engine->pull_bytes - bytes;
        unsigned pulled = pull(c, slices + count, max - count, budget);
        if (pulled != 0) {
            for (unsigned i = 0; i < count; i++) slices[i] = own[i];
            return count + pulled;
        }
        count = own_slices(c, own, &bytes);
    }
    if (count > max) count = max;
    for (unsigned i = 0; i < count; i++) slices[i] = own[i];
    bool read = c->state == TT_CONNECTION_ANSWER || (c->state == TT_CONNECTION_BODY && c->last);
    if (count == 0 && c->whole && read) tt_http1_answered(c);
    return count;
}

bool tt_answer_pulls(const struct tt_connection *c)
{
    const struct tt_work *work = c->work;
    return c->exchange != NULL && c->started && !c->whole &&
           (work == NULL || (work->out.from == work->out.size && work->rest.size == 0));
}

static size_t take(size_t *left, size_t bytes)
{
    size_t taken = bytes < *left ? bytes : *left;
    *left -= taken;
    return taken;
}

void tt_answer_taken(struct tt_connection *c, size_t bytes)
{
    struct tt_work *work = c->work;
    size_t left = bytes;

    if (work != NULL) {
        work->out.from += take(&left, work->out.size - work->out.from);
        work->rest = tt_bytes_from(work->rest, take(&left, work->rest.size));
        bool empty = work->out.from == work->out.size && work->in.from == work->in.size &&
                     work->rest.size == 0;
        /* A live stream keeps nothing here; its body is read, its head is sent. */
        if (empty && c->state == TT_CONNECTION_ANSWER && c->started && !c->whole) {
            tt_connection_free_work(c);
        }
    }
    if (left != 0) {
        TT_ASSERT(c->exchange != NULL);
        c->exchange->ops->taken(c->exchange, left);
    }
}
