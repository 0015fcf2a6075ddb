#include "tools/ttload/sse_reader.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "tools/ttload/response.h"

enum state { HEAD, CHUNK_SIZE, CHUNK_SIZE_LF, BODY, CHUNK_CR, CHUNK_LF, LAST_CR, LAST_LF, DONE };

void tt_sse_reader_init(struct tt_sse_reader *r)
{
    *r = (struct tt_sse_reader){.state_ = HEAD, .why_ = ""};
}

void tt_sse_reader_deinit(struct tt_sse_reader *r)
{
    free(r->carry_);
    *r = (struct tt_sse_reader){.state_ = DONE, .why_ = "closed"};
}

bool tt_sse_reader_between(const struct tt_sse_reader *r)
{
    return r->state_ != HEAD && (r->carry_size_ == 0 || r->carry_used_);
}

unsigned tt_sse_reader_status(const struct tt_sse_reader *r)
{
    return r->status_;
}

const char *tt_sse_reader_why(const struct tt_sse_reader *r)
{
    return r->why_;
}

static enum tt_status fail(struct tt_sse_reader *r, const char *why)
{
    r->why_ = why;
    return TT_EPROTO;
}

static enum tt_status carry_append(struct tt_sse_reader *r, struct tt_bytes run)
{
    size_t size = r->carry_size_ + run.size;
    if (size > TT_SSE_READER_EVENT_BYTES_MAX) return fail(r, "an event is longer than 8 MiB");
    if (size > r->carry_capacity_) {
        size_t capacity = (size + size / 2 + 511) & ~(size_t)511;
        uint8_t *grown = realloc(r->carry_, capacity);
        if (grown == NULL) return TT_ENOMEM;
        r->carry_ = grown;
        r->carry_capacity_ = (uint32_t)capacity;
    }
    memcpy(r->carry_ + r->carry_size_, run.data, run.size);
    r->carry_size_ = (uint32_t)size;
    return TT_OK;
}

/* ---- lines ---- */
static bool take_field(struct tt_bytes line, const char *name, size_t name_size,
                       struct tt_bytes *value)
{
    if (line.size < name_size || memcmp(line.data, name, name_size) != 0) return false;
    *value = tt_bytes_from(line, name_size);
    return true;
}

static enum tt_status read_line(struct tt_sse_reader *r, struct tt_bytes line,
                                struct tt_sse_event *event)
{
    struct tt_bytes value;
    uint64_t number;

    if (take_field(line, "data: ", 6, &value)) {
        if (event->has_id) return fail(r, "a data line behind the id line");
        if (event->data_lines++ == 0) event->data = value;
    } else if (take_field(line, "event: ", 7, &value)) {
        if (event->data_lines != 0 || event->type.size != 0) {
            return fail(r, "an event line behind another or behind data");
        }
        if (value.size == 0) return fail(r, "an empty event line");
        event->type = value;
    } else if (take_field(line, "id: ", 4, &value)) {
        if (event->has_id || value.size == 0) return fail(r, "an id line twice, or empty");
        event->id = value;
        event->has_id = true;
    } else if (take_field(line, "retry: ", 7, &value)) {
        if (tt_bytes_to_u64(value, UINT32_MAX, &number) != TT_OK) {
            return fail(r, "a retry line that is not a number");
        }
        event->has_retry = true;
    } else if (line.data[0] == ':') {
        event->comment = tt_bytes_from(line, 1);
    } else {
        return fail(r, "a line that is no event, data, id, retry or comment");
    }
    return TT_OK;
}

/* `text` is one event with its empty line. */
static enum tt_status read_event(struct tt_sse_reader *r, struct tt_bytes text,
                                 struct tt_sse_event *event)
{
    *event = (struct tt_sse_event){0};
    if (memchr(text.data, '\r', text.size) != NULL) return fail(r, "a CR in an event");
    for (;;) {
        const uint8_t *lf = memchr(text.data, '\n', text.size);
        TT_ASSERT(lf != NULL);
        struct tt_bytes line = tt_bytes(text.data, (size_t)(lf - text.data));
        if (line.size == 0) return TT_OK;
        enum tt_status status = read_line(r, line, event);
        if (status != TT_OK) return status;
        text = tt_bytes_from(text, line.size + 1);
    }
}

/* The bytes of `run` up to and with the end of the event; 0: it does not end here. `line_ended`:
 * what came before ended in LF, or there was nothing. */
static size_t event_end(struct tt_bytes run, bool line_ended)
{
    size_t at = 0;
    while (at < run.size) {
        if (line_ended && run.data[at] == '\n') return at + 1;
        const uint8_t *lf = memchr(run.data + at, '\n', run.size - at);
        if (lf == NULL) return 0;
        at = (size_t)(lf - run.data) + 1;
        line_ended = true;
    }
    return 0;
}

/* Takes body bytes until an event is whole. TT_OK: an event; TT_MORE: the run is used up. */
static enum tt_status read_body(struct tt_sse_reader *r, struct tt_bytes *in,
                                struct tt_sse_event *event)
{
    struct tt_bytes run = *in;
    enum tt_status status = TT_OK;

    if (r->chunked_ && run.size > r->chunk_left_) run.size = (size_t)r->chunk_left_;
    bool line_ended = r->carry_size_ == 0 || r->carry_[r->carry_size_ - 1] == '\n';
    size_t end = event_end(run, line_ended);
    bool whole = end != 0;
    if (whole) run.size = end;
    *in = tt_bytes_from(*in, run.size);
    if (r->chunked_) {
        r->chunk_left_ -= run.size;
        if (r->chunk_left_ == 0) r->state_ = CHUNK_CR;
    }
    if (whole && r->carry_size_ == 0) return read_event(r, run, event);
    status = carry_append(r, run);
    if (status != TT_OK || !whole) return status == TT_OK ? TT_MORE : status;
    r->carry_used_ = true;
    return read_event(r, tt_bytes(r->carry_, r->carry_size_), event);
}

/* ---- the head ---- */
static enum tt_status read_head(struct tt_sse_reader *r, struct tt_bytes *in)
{
    struct tt_response response;
    struct tt_bytes head = *in;

    if (r->carry_size_ != 0) {
        enum tt_status status = carry_append(r, *in);
        if (status != TT_OK) return status;
        head = tt_bytes(r->carry_, r->carry_size_);
    }
    size_t before = r->carry_size_ == 0 ? 0 : head.size - in->size;
    enum tt_status status = tt_response_read(&head, &response, &r->why_);
    if (status == TT_MORE) {
        if (r->carry_size_ == 0) status = carry_append(r, *in);
        *in = tt_bytes_from(*in, in->size);
        return status == TT_OK || status == TT_MORE ? TT_MORE : status;
    }
    if (status != TT_OK) return status;
    r->status_ = (uint16_t)response.status;
    if (response.status != 200) return fail(r, "the answer's status is not 200");
    if (!tt_bytes_is_nocase(response.content_type, "text/event-stream")) {
        return fail(r, "the answer's Content-Type is not text/event-stream");
    }
    if (response.has_length) return fail(r, "an event stream with Content-Length");
    /* What of the input belongs to the head: all of it but what is left behind the head. */
    size_t all = before + in->size;
    *in = tt_bytes_from(*in, all - head.size - before);
    r->carry_size_ = 0;
    r->chunked_ = response.chunked;
    r->state_ = r->chunked_ ? CHUNK_SIZE : BODY;
    return TT_OK;
}

/* ---- chunked coding, everything but the data itself ---- */
static enum tt_status read_chunk_size(struct tt_sse_reader *r, uint8_t c)
{
    unsigned digit;
    if (c >= '0' && c <= '9') {
        digit = c - '0';
    } else if (c >= 'a' && c <= 'f') {
        digit = c - 'a' + 10u;
    } else if (c >= 'A' && c <= 'F') {
        digit = c - 'A' + 10u;
    } else if (c == '\r' && r->digits_ != 0) {
        r->digits_ = 0;
        r->state_ = CHUNK_SIZE_LF;
        return TT_OK;
    } else {
        return fail(r, "a chunk size that is not hexadecimal digits and CRLF");
    }
    if (++r->digits_ > 8) return fail(r, "a chunk size of more than 8 digits");
    r->chunk_left_ = r->chunk_left_ << 4 | digit;
    return TT_OK;
}

static enum tt_status read_framing(struct tt_sse_reader *r, uint8_t c)
{
    switch ((enum state)r->state_) {
    case CHUNK_SIZE: return read_chunk_size(r, c);
    case CHUNK_SIZE_LF:
        if (c != '\n') return fail(r, "a chunk size that does not end in CRLF");
        r->state_ = r->chunk_left_ == 0 ? LAST_CR : BODY;
        return TT_OK;
    case CHUNK_CR:
    case LAST_CR:
        if (c != '\r') return fail(r, "a chunk that is not followed by CRLF");
        r->state_ = r->state_ == CHUNK_CR ? CHUNK_LF : LAST_LF;
        return TT_OK;
    case CHUNK_LF:
    case LAST_LF:
        if (c != '\n') return fail(r, "a chunk that is not followed by CRLF");
        r->state_ = r->state_ == CHUNK_LF ? CHUNK_SIZE : DONE;
        return TT_OK;
    case HEAD:
    case BODY:
    case DONE: break;
    }
    TT_UNREACHABLE();
}

enum tt_status tt_sse_reader_next(struct tt_sse_reader *r, struct tt_bytes *in,
                                  struct tt_sse_event *event)
{
    enum tt_status status = TT_OK;

    if (r->carry_used_) {
        r->carry_used_ = false;
        r->carry_size_ = 0;
    }
    while (in->size != 0) {
        if (r->state_ == BODY) {
            status = read_body(r, in, event);
            if (status != TT_MORE) return status;
        } else if (r->state_ == HEAD) {
            status = read_head(r, in);
            if (status != TT_OK) return status;
        } else if (r->state_ == DONE) {
            return fail(r, "bytes behind the last chunk");
        } else {
            status = read_framing(r, in->data[0]);
            if (status != TT_OK) return status;
            *in = tt_bytes_from(*in, 1);
            if (r->state_ == DONE) return TT_END;
        }
    }
    return TT_MORE;
}
