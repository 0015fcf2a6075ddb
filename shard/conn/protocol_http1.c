#include "shard/conn/protocol_http1.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/limits.h"
#include "shard/conn/answer.h"
#include "shard/conn/transport_plain.h"
#include "shard/http/cors.h"

static const struct tt_http1_body_limits body_limits = {
    .extension_bytes_max = TT_CHUNK_EXTENSIONS_BYTES_MAX,
    .trailer_bytes_max = TT_TRAILERS_BYTES_MAX,
};

/* ---- the head ---- */

/* The path behind the prefix: "/x/sse" is "/sse" behind "/x", and "/x" itself is "/". False: it
 * lies elsewhere. */
static bool strip_prefix(const char *prefix, struct tt_bytes *path)
{
    size_t size = strlen(prefix);

    if (size == 0) return true;
    if (!tt_bytes_starts(*path, tt_bytes(prefix, size))) return false;
    if (path->size == size) {
        *path = TT_BYTES_LITERAL("/");
        return true;
    }
    if (path->data[size] != '/') return false;
    *path = tt_bytes_from(*path, size);
    return true;
}

/* Decides what the answer may say to a page of another origin: the head of the request is gone when
 * the answer is encoded. */
static void look_at_origin(struct tt_connection *c, const struct tt_http1_head *head)
{
    struct tt_bytes origin = head->known[TT_HTTP1_ORIGIN];

    c->foreign = false;
    free(c->work->origin);
    c->work->origin = NULL;
    if (origin.data == NULL) return;
    if (origin.size > TT_ORIGIN_BYTES_MAX || !tt_cors_allows(c->engine->options.cors, origin)) {
        c->foreign = !tt_cors_same_host(origin, head->host);
        return;
    }
    c->work->origin = malloc(origin.size + 1);
    if (c->work->origin == NULL) return;
    memcpy(c->work->origin, origin.data, origin.size);
    c->work->origin[origin.size] = 0;
}

bool tt_request_origin_allowed(const struct tt_request *request)
{
    return !request->connection->foreign;
}

void tt_request_stream_body(const struct tt_request *request)
{
    request->connection->unbounded = true;
}

static struct tt_exchange *call_handler(struct tt_connection *c, struct tt_request *request)
{
    struct tt_connections *engine = c->engine;
    struct tt_writer path = tt_writer(engine->path, engine->options.head_bytes_max);
    const struct tt_http1_head *head = request->head;

    if (tt_bytes_is(head->path, "*")) {
        request->path = head->path;
    } else if (tt_http1_decode_path(head->path, &path) != TT_OK || path.overflow) {
        return tt_reply_error(request, 400, "bad_path", 0,
                              "path: '%%' must be followed by two hex digits, and what they say "
                              "must be UTF-8 without zero bytes");
    } else {
        request->path = tt_writer_bytes(&path);
        if (!strip_prefix(engine->options.prefix, &request->path)) {
            return tt_reply_error(request, 404, "not_found", 0, "path: everything is below %s",
                                  engine->options.prefix);
        }
    }
    return engine->hooks.handler(engine->hooks.handler_context, request);
}

static void give_end(struct tt_connection *c)
{
    struct tt_exchange *x = c->exchange;

    if (x == NULL || c->started || x->ops->body == NULL) return;
    (void)x->ops->body(x, TT_BYTES_NONE, true);
}

static void begin_body(struct tt_connection *c, const struct tt_http1_head *head)
{
    uint64_t most = c->engine->options.body_bytes_max;

    c->state = TT_CONNECTION_BODY;
    tt_connection_wait_again(c, TT_WAIT_BODY);
    if (c->exchange != NULL && !c->started && !c->unbounded && head->framing == TT_HTTP1_COUNTED &&
        head->content_length > most) {
        tt_exchange_fail(c->exchange, 413, "body_too_large", 0,
                         "body: has %llu bytes; allowed are %llu",
                         (unsigned long long)head->content_length, (unsigned long long)most);
    }
    if (!head->expect_continue || c->http10) return;
    if (c->started) {
        /* The client may send its body or not (RFC 9110 10.1.1): what follows is ambiguous. */
        c->last = true;
    } else {
        tt_answer_continue(c);
    }
}

static void begin_request(struct tt_connection *c, const struct tt_http1_head *head)
{
    struct tt_connections *engine = c->engine;
    struct tt_work *work = c->work;
    struct tt_request request = {
        .connection = c,
        .head = head,
        .query = head->query,
        .peer = c->peer,
        .has_body = head->framing != TT_HTTP1_NO_BODY,
        .content_length = head->framing == TT_HTTP1_COUNTED ? (int64_t)head->content_length : -1,
    };

    tt_connection_wait(c, TT_WAIT_NOTHING);
    c->head_only = head->method == TT_HTTP1_HEAD;
    c->http10 = head->minor == 0;
    c->persistent = c->http10 && head->keep_alive;
    c->held = c->resume = c->unbounded = false;
    c->started = c->stream = c->whole = false;
    c->last = !head->keep_alive || engine->draining;
    work->content_length = request.content_length;
    work->dropped_bytes = 0;
    work->timed_bytes = 0;
    tt_http1_body_init(&work->body, head, &body_limits);
    look_at_origin(c, head);
    c->expects_continue = head->expect_continue && !c->http10;

    struct tt_exchange *x = call_handler(c, &request);
    TT_ASSERT(x != NULL);
    if (x != &engine->plain) {
        TT_ASSERT(x->connection == NULL);
        c->exchange = x;
        x->connection = c;
    }
    if (tt_http1_body_done(&work->body)) {
        c->state = TT_CONNECTION_ANSWER;
        give_end(c);
    } else {
        begin_body(c, head);
    }
    c->expects_continue = false;
}

/* True: a request has begun. */
static bool read_head(struct tt_connection *c, struct tt_bytes *input)
{
    struct tt_connections *engine = c->engine;
    struct tt_http1_error error;
    size_t used = 0;

    if (input->size == 0) return false;
    if (tt_connection_work(c) == NULL) {
        tt_connection_close_later(c, TT_CLOSE_INTERNAL);
        return false;
    }
    enum tt_status status =
        tt_http1_parse(*input, &engine->limits, &c->work->progress, &engine->head, &used, &error);
    if (status == TT_MORE) {
        tt_connection_wait(c, TT_WAIT_HEAD);
        return false;
    }
    c->work->progress = (struct tt_http1_progress){0};
    if (status != TT_OK) {
        tt_answer_error(c, error.status, TT_CLOSE_PROTOCOL, "request: %s", error.text);
        return false;
    }
    begin_request(c, &engine->head);
    *input = tt_bytes_from(*input, used);
    return true;
}

/* ---- the body ---- */

/* The rest of the body cannot be told from the next request, or is too long to be worth it. */
static void give_up_body(struct tt_connection *c)
{
    c->last = true;
    c->state = TT_CONNECTION_ANSWER;
    tt_connection_wait(c, TT_WAIT_NOTHING);
    tt_connection_link(c);
}

static void fail_body(struct tt_connection *c, unsigned status, enum tt_close_reason reason,
                      const char *text)
{
    tt_connection_note(c, reason);
    c->last = true; /* before the head is encoded: it says so */
    if (c->exchange != NULL && !c->started) {
        tt_exchange_fail(c->exchange, status, tt_answer_code(status), 0, "body: %s", text);
    }
    give_up_body(c);
}

/* One run of the body. False: nothing more can be taken now. */
static bool take_run(struct tt_connection *c, struct tt_bytes *input, struct tt_bytes run)
{
    struct tt_work *work = c->work;
    struct tt_exchange *x = c->exchange;
    uint64_t with = work->body.received + run.size;

    if (x != NULL && !c->started && !c->unbounded && with > c->engine->options.body_bytes_max) {
        tt_exchange_fail(x, 413, "body_too_large", 0, "body: has more than the allowed %llu bytes",
                         (unsigned long long)c->engine->options.body_bytes_max);
    }
    if (x == NULL || c->started || x->ops->body == NULL) {
        tt_http1_body_take(&work->body, input, run.size);
        if (x == NULL || c->started) work->dropped_bytes += run.size;
        if (work->dropped_bytes <= TT_DROPPED_BODY_BYTES_MAX) return true;
        give_up_body(c);
        return false;
    }
    bool end = work->content_length >= 0 && with == (uint64_t)work->content_length;
    size_t taken = x->ops->body(x, run, end);
    TT_ASSERT(taken <= run.size);
    tt_http1_body_take(&work->body, input, taken);
    if (taken == run.size) return true;
    if (c->started) return true; /* it has refused the rest: that is dropped */
    c->held = true;
    tt_connection_wait(c, TT_WAIT_NOTHING);
    return false;
}

/* True: the body is complete. */
static bool read_body(struct tt_connection *c, struct tt_bytes *input)
{
    struct tt_http1_error error;
    struct tt_bytes run;

    if (c->held || input->size == 0) return false;
    for (;;) {
        enum tt_status status = tt_http1_body_next(&c->work->body, input, &run, &error);
        if (status == TT_OK) {
            if (!take_run(c, input, run)) return false;
        } else if (status == TT_MORE) {
            /* A byte now and then does not buy time for ever, unless the body has no end by nature.
             */
            uint64_t received = c->work->body.received;
            if (c->unbounded || received - c->work->timed_bytes >= TT_BODY_PROGRESS_BYTES) {
                c->work->timed_bytes = received;
                tt_connection_wait_again(c, TT_WAIT_BODY);
            }
            return false;
        } else if (status == TT_END) {
            tt_connection_wait(c, TT_WAIT_NOTHING);
            c->state = TT_CONNECTION_ANSWER;
            /* The last run of a counted body said so itself. */
            if (c->work->content_length < 0) give_end(c);
            /* The answer may have been sent already. */
            tt_connection_link(c);
            return true;
        } else {
            fail_body(c, error.status, TT_CLOSE_PROTOCOL, error.text);
            return false;
        }
    }
}

/* ---- input ---- */

/* What comes now will not be looked at. */
static bool drops_input(const struct tt_connection *c)
{
    return c->state >= TT_CONNECTION_LINGER || c->close_now ||
           (c->state == TT_CONNECTION_ANSWER && c->last);
}

static void consume(struct tt_connection *c, struct tt_bytes *input)
{
    bool more = true;

    while (more && !c->close_now) {
        if (c->state == TT_CONNECTION_HEAD) {
            more = read_head(c, input);
        } else if (c->state == TT_CONNECTION_BODY) {
            more = read_body(c, input);
        } else {
            more = false;
        }
    }
}

/* Consumes what was kept and then `bytes`, and keeps what is left. */
static void process(struct tt_connection *c, struct tt_bytes bytes)
{
    struct tt_connections *engine = c->engine;
    bool kept = c->work != NULL && c->work->in.from != c->work->in.size;
    struct tt_bytes input = bytes;

    if (kept) {
        if (!tt_buffer_append(engine, &c->work->in, bytes.data, bytes.size)) {
            tt_connection_close_later(c, tt_buffer_refused(engine));
            return;
        }
        input = tt_buffer_bytes(&c->work->in);
    }
    consume(c, &input);
    if (c->work == NULL) return;
    if (drops_input(c)) {
        tt_buffer_free(engine, &c->work->in);
    } else if (kept) {
        c->work->in.from = c->work->in.size - input.size;
    } else if (!tt_buffer_append(engine, &c->work->in, input.data, input.size)) {
        tt_connection_close_later(c, tt_buffer_refused(engine));
    }
}

void tt_http1_received(struct tt_connection *c, struct tt_bytes bytes)
{
    if (drops_input(c)) return;
    if (c->state == TT_CONNECTION_ANSWER && tt_connection_work(c) == NULL) {
        tt_connection_close_later(c, TT_CLOSE_INTERNAL);
        return;
    }
    process(c, bytes);
    /* A live stream's receive cannot pause, it is what tells that the peer is gone. */
    if (c->state == TT_CONNECTION_ANSWER && c->stream && !tt_http1_wants_input(c)) {
        tt_connection_close_later(c, TT_CLOSE_PROTOCOL);
    }
}

bool tt_http1_wants_input(const struct tt_connection *c)
{
    switch ((enum tt_connection_state)c->state) {
    case TT_CONNECTION_HEAD:
    case TT_CONNECTION_LINGER: return true;
    case TT_CONNECTION_BODY: return !c->held;
    case TT_CONNECTION_ANSWER:
        if (c->last || c->work == NULL) return true;
        return c->work->in.size - c->work->in.from < c->engine->options.head_bytes_max;
    case TT_CONNECTION_ADOPTING:
    case TT_CONNECTION_CLOSING: break;
    }
    return false;
}

void tt_http1_resume(struct tt_connection *c)
{
    c->resume = false;
    if (c->state != TT_CONNECTION_BODY) return;
    c->held = false;
    tt_connection_wait_again(c, TT_WAIT_BODY);
    process(c, TT_BYTES_NONE);
    if (c->ended) tt_http1_peer_ended(c);
    tt_plain_receive(c);
}

void tt_http1_peer_ended(struct tt_connection *c)
{
    switch ((enum tt_connection_state)c->state) {
    case TT_CONNECTION_HEAD:
    case TT_CONNECTION_LINGER: tt_connection_end(c, TT_CLOSE_PEER); break;
    case TT_CONNECTION_BODY:
        /* What was kept may hold the rest of the body; else it will never come. */
        if (c->held) break;
        if (c->started && c->whole) {
            give_up_body(c);
        } else {
            tt_connection_end(c, TT_CLOSE_PEER);
        }
        break;
    case TT_CONNECTION_ANSWER:
        /* One who ended only its own side still gets its answer; a stream has no end to wait for.
         */
        if (c->started && c->stream) tt_connection_end(c, TT_CLOSE_PEER);
        break;
    case TT_CONNECTION_ADOPTING:
    case TT_CONNECTION_CLOSING: break;
    }
}

/* ---- the end of a request ---- */

static void linger(struct tt_connection *c)
{
    tt_connection_note(c, c->engine->draining ? TT_CLOSE_DRAIN : TT_CLOSE_DONE);
    if (c->ended) {
        tt_connection_end(c, TT_CLOSE_DONE);
        return;
    }
    c->state = TT_CONNECTION_LINGER;
    tt_connection_free_work(c);
    tt_io_shutdown_send(c->engine->io, c->socket);
    tt_connection_wait_again(c, TT_WAIT_LINGER);
    tt_plain_receive(c);
}

void tt_http1_answered(struct tt_connection *c)
{
    TT_ASSERT(c->state == TT_CONNECTION_ANSWER || c->last);
    bool failed = c->reason != TT_CLOSE_NONE;
    tt_connection_forget_exchange(c, failed ? (enum tt_close_reason)c->reason : TT_CLOSE_DONE);
    if (c->last || c->engine->draining) {
        linger(c);
        return;
    }
    c->state = TT_CONNECTION_HEAD;
    c->started = c->stream = c->whole = false;
    if (c->work != NULL) {
        free(c->work->origin);
        c->work->origin = NULL;
    }
    if (c->work != NULL && c->work->in.from != c->work->in.size) {
        process(c, TT_BYTES_NONE);
    }
    if (c->ended) tt_http1_peer_ended(c);
    if (c->state == TT_CONNECTION_HEAD && c->wait != TT_WAIT_HEAD) {
        tt_connection_free_work(c);
        tt_connection_wait(c, TT_WAIT_NEXT);
    }
    tt_plain_receive(c);
}

void tt_http1_timeout(struct tt_connection *c, enum tt_connection_wait wait)
{
    const struct tt_connections_options *options = &c->engine->options;

    if (wait == TT_WAIT_HEAD) {
        tt_answer_error(c, 408, TT_CLOSE_HEADER_TIMEOUT,
                        "request: its head was not complete within %u ms",
                        options->header_timeout_ms);
    } else if (wait == TT_WAIT_BODY) {
        if (c->started && !c->whole) {
            tt_connection_close_later(c, TT_CLOSE_BODY_TIMEOUT);
            return;
        }
        fail_body(c, 408, TT_CLOSE_BODY_TIMEOUT, "nothing came for longer than --body-timeout-ms");
    } else {
        /* Browsers open connections ahead of need: one without a request is no error. */
        tt_connection_end(c, TT_CLOSE_IDLE);
    }
}
