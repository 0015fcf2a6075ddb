#include "tools/ttload/post.h"

#include <stdlib.h>

#include "proto/base/assert.h"

static uint64_t token(const struct tt_post *p, enum tt_post_operation operation)
{
    return tt_token((uint8_t)operation, p->generation_, p->slot);
}

enum tt_status tt_post_init(struct tt_post *p, uint32_t slot, size_t body_bytes)
{
    *p = (struct tt_post){.slot = slot, .why = ""};
    uint8_t *body = malloc(body_bytes);
    p->in_ = malloc(TT_POST_ANSWER_BYTES_MAX);
    p->body = tt_writer(body, body_bytes);
    if (body == NULL || p->in_ == NULL) {
        tt_post_deinit(p);
        return TT_ENOMEM;
    }
    return TT_OK;
}

void tt_post_deinit(struct tt_post *p)
{
    free(p->body.data);
    free(p->in_);
    *p = (struct tt_post){.state = TT_POST_CLOSED, .why = ""};
}

void tt_post_connect(struct tt_post *p, struct tt_io *io, const struct tt_address *remote)
{
    static const struct tt_listen_options options = {.no_delay = true};
    TT_ASSERT(p->state == TT_POST_CLOSED);
    p->generation_++;
    p->in_size_ = 0;
    p->state = TT_POST_CONNECTING;
    tt_io_connect(io, NULL, remote, &options, token(p, TT_POST_CONNECT));
}

void tt_post_close(struct tt_post *p, struct tt_io *io)
{
    if (p->state == TT_POST_IDLE || p->state == TT_POST_WAITING) {
        p->state = TT_POST_CLOSING;
        tt_io_close(io, p->socket_, token(p, TT_POST_CLOSE));
    }
}

static enum tt_post_event lose(struct tt_post *p, struct tt_io *io, const char *why)
{
    p->why = why;
    p->lost_request = p->state == TT_POST_WAITING;
    tt_post_close(p, io);
    return TT_POST_LOST;
}

/* ---- sending ---- */
static void send_rest(struct tt_post *p, struct tt_io *io)
{
    unsigned first = p->slices_[0].size == 0 ? 1 : 0;
    unsigned count = 2 - first - (p->slices_[1].size == 0 ? 1 : 0);
    if (count != 0) tt_io_send(io, p->socket_, &p->slices_[first], count, token(p, TT_POST_SEND));
}

void tt_post_send(struct tt_post *p, struct tt_io *io, struct tt_bytes head)
{
    struct tt_writer w = tt_writer(p->head_, sizeof p->head_);
    TT_ASSERT(p->state == TT_POST_IDLE);
    tt_write_bytes(&w, head);
    tt_write_text(&w, "Content-Length: ");
    tt_write_u64(&w, p->body.size);
    tt_write_text(&w, "\r\n\r\n");
    TT_ASSERT(!w.overflow && !p->body.overflow);
    p->slices_[0] = (struct tt_slice){w.data, w.size};
    p->slices_[1] = (struct tt_slice){p->body.data, p->body.size};
    p->in_size_ = 0;
    p->state = TT_POST_WAITING;
    send_rest(p, io);
}

static enum tt_post_event on_sent(struct tt_post *p, struct tt_io *io, int32_t result)
{
    if (result < 0) return lose(p, io, tt_status_text((enum tt_status)result));
    size_t sent = (size_t)result;
    for (unsigned i = 0; i < 2; i++) {
        size_t part = sent < p->slices_[i].size ? sent : p->slices_[i].size;
        p->slices_[i].data = (const uint8_t *)p->slices_[i].data + part;
        p->slices_[i].size -= part;
        sent -= part;
    }
    if (p->slices_[1].size != 0 || p->slices_[0].size != 0) {
        tt_io_poll_out(io, p->socket_, token(p, TT_POST_WRITABLE));
    }
    return TT_POST_NOTHING;
}

/* ---- the answer ---- */
static enum tt_post_event read_answer(struct tt_post *p, struct tt_io *io)
{
    struct tt_response response;
    struct tt_bytes in = tt_bytes(p->in_, p->in_size_);
    const char *why = "";

    enum tt_status status = tt_response_read(&in, &response, &why);
    if (status == TT_MORE) return TT_POST_NOTHING;
    if (status != TT_OK) return lose(p, io, why);
    if (response.status == 100) {
        memmove(p->in_, in.data, in.size);
        p->in_size_ = in.size;
        return in.size == 0 ? TT_POST_NOTHING : read_answer(p, io);
    }
    if (!response.has_length) return lose(p, io, "an answer without Content-Length");
    if (in.size < response.length_bytes) return TT_POST_NOTHING;
    if (in.size > response.length_bytes) return lose(p, io, "bytes behind the answer");
    p->status = response.status;
    p->answer = in;
    p->retry_after_s = response.retry_after_s;
    p->state = TT_POST_IDLE;
    if (response.closes || p->slices_[1].size != 0) tt_post_close(p, io);
    return TT_POST_ANSWERED;
}

static enum tt_post_event on_received(struct tt_post *p, struct tt_io *io, const struct tt_done *d)
{
    if (d->result <= 0) {
        return lose(p, io,
                    d->result == 0 ? "the broker closed the connection"
                                   : tt_status_text((enum tt_status)d->result));
    }
    if (p->state != TT_POST_WAITING) return lose(p, io, "an answer that was not asked for");
    if (d->data.size > TT_POST_ANSWER_BYTES_MAX - p->in_size_) {
        return lose(p, io, "an answer of more than 64 KiB");
    }
    memcpy(p->in_ + p->in_size_, d->data.data, d->data.size);
    p->in_size_ += d->data.size;
    return read_answer(p, io);
}

static enum tt_post_event on_connected(struct tt_post *p, struct tt_io *io, int32_t result)
{
    TT_ASSERT(p->state == TT_POST_CONNECTING);
    if (result < 0) {
        p->state = TT_POST_CLOSED;
        p->lost_request = false;
        p->why = tt_status_text((enum tt_status)result);
        return TT_POST_LOST;
    }
    p->socket_ = (tt_socket)result;
    p->state = TT_POST_IDLE;
    tt_io_recv(io, p->socket_, token(p, TT_POST_RECV));
    return TT_POST_CONNECTED;
}

enum tt_post_event tt_post_done(struct tt_post *p, struct tt_io *io, const struct tt_done *d)
{
    enum tt_post_event event = TT_POST_NOTHING;
    enum tt_post_operation operation = (enum tt_post_operation)tt_token_operation(d->token);
    bool open = p->state == TT_POST_IDLE || p->state == TT_POST_WAITING;

    TT_ASSERT(tt_token_generation(d->token) == (p->generation_ & 0xFFFFFFu));
    switch (operation) {
    case TT_POST_CONNECT: event = on_connected(p, io, d->result); break;
    case TT_POST_SEND:
        if (open) event = on_sent(p, io, d->result);
        break;
    case TT_POST_WRITABLE:
        if (open) send_rest(p, io);
        break;
    case TT_POST_RECV:
        if (open) event = on_received(p, io, d);
        if (d->flags & TT_DONE_BUFFER) tt_io_buffer_return(io, d->buffer);
        break;
    case TT_POST_CLOSE: p->state = TT_POST_CLOSED; break;
    }
    return event;
}
