#include "tools/ttload/settle.h"

#include <inttypes.h>
#include <stdio.h>

#include "proto/base/assert.h"

static uint64_t token(const struct tt_settle *s, enum tt_settle_operation operation)
{
    return tt_token((uint8_t)operation, s->generation_, 0);
}

void tt_settle_start(struct tt_settle *s, struct tt_io *io, const struct tt_address *remote,
                     const char *host, const char *prefix, const char *cursor, uint64_t nonce,
                     struct tt_batch *batch)
{
    TT_ASSERT(s->state == TT_SETTLE_CLOSED);
    struct tt_writer w = tt_writer(s->request_, sizeof s->request_);
    snprintf(s->mark, sizeof s->mark, "ttload.mark.%016" PRIx64, nonce);
    tt_write_format(&w, "GET %s/sse?channels=stock.*,%s&%s%s HTTP/1.1\r\nHost: %s\r\n\r\n", prefix,
                    s->mark, cursor[0] == '\0' ? "from=earliest" : "cursor=", cursor, host);
    TT_ASSERT(!w.overflow);
    s->request_bytes_ = (uint32_t)w.size;
    s->batch_ = batch;
    s->generation_++;
    tt_sse_reader_init(&s->reader_);
    s->state = TT_SETTLE_CONNECTING;
    tt_io_connect(io, NULL, remote, NULL, token(s, TT_SETTLE_CONNECT));
}

void tt_settle_close(struct tt_settle *s, struct tt_io *io)
{
    if (s->state == TT_SETTLE_OPEN) {
        s->state = TT_SETTLE_CLOSING;
        tt_sse_reader_deinit(&s->reader_);
        tt_io_close(io, s->socket_, token(s, TT_SETTLE_CLOSE));
    }
}

void tt_settle_write_mark(const struct tt_settle *s, struct tt_writer *w)
{
    tt_write_format(w, "[{\"type\":\"mark\",\"channel\":\"%s\",\"payload\":null}]", s->mark);
}

static enum tt_settle_event lose(struct tt_settle *s, struct tt_io *io)
{
    tt_settle_close(s, io);
    return TT_SETTLE_LOST;
}

static bool is_mark(const struct tt_settle *s, struct tt_bytes envelope)
{
    char head[96];
    snprintf(head, sizeof head, "{\"type\":\"mark\",\"channel\":\"%s\",", s->mark);
    return tt_bytes_starts(envelope, tt_bytes_text(head));
}

static enum tt_settle_event read_events(struct tt_settle *s, struct tt_io *io, struct tt_bytes in)
{
    struct tt_sse_event event;
    enum tt_settle_event found = TT_SETTLE_NOTHING;
    enum tt_status status;

    while ((status = tt_sse_reader_next(&s->reader_, &in, &event)) == TT_OK) {
        if (tt_bytes_is(event.type, "connected")) {
            found = TT_SETTLE_LISTENING;
        } else if (tt_bytes_is(event.type, "mark") && is_mark(s, event.data)) {
            tt_settle_close(s, io);
            return TT_SETTLE_SETTLED;
        } else {
            tt_batch_seen(s->batch_, event.data);
        }
    }
    return status == TT_MORE ? found : lose(s, io);
}

static enum tt_settle_event on_connected(struct tt_settle *s, struct tt_io *io, int32_t result)
{
    if (result < 0) {
        s->state = TT_SETTLE_CLOSED;
        return TT_SETTLE_LOST;
    }
    struct tt_slice slice = {s->request_, s->request_bytes_};
    s->state = TT_SETTLE_OPEN;
    s->socket_ = (tt_socket)result;
    tt_io_send(io, s->socket_, &slice, 1, token(s, TT_SETTLE_SEND));
    tt_io_recv(io, s->socket_, token(s, TT_SETTLE_RECV));
    return TT_SETTLE_NOTHING;
}

enum tt_settle_event tt_settle_done(struct tt_settle *s, struct tt_io *io, const struct tt_done *d)
{
    enum tt_settle_event event = TT_SETTLE_NOTHING;
    bool open = s->state == TT_SETTLE_OPEN;

    switch ((enum tt_settle_operation)tt_token_operation(d->token)) {
    case TT_SETTLE_CONNECT: event = on_connected(s, io, d->result); break;
    case TT_SETTLE_SEND:
        if (open && d->result != (int32_t)s->request_bytes_) event = lose(s, io);
        break;
    case TT_SETTLE_RECV:
        if (open) event = d->result > 0 ? read_events(s, io, d->data) : lose(s, io);
        if (d->flags & TT_DONE_BUFFER) tt_io_buffer_return(io, d->buffer);
        break;
    case TT_SETTLE_CLOSE: s->state = TT_SETTLE_CLOSED; break;
    }
    return event;
}
