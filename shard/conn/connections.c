#include "shard/conn/connections.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/assert.h"
#include "proto/base/limits.h"
#include "proto/base/prefetch.h"
#include "shard/conn/connection.h"
#include "shard/conn/protocol_http1.h"
#include "shard/conn/transport_plain.h"

#define SLAB_CONNECTIONS 256u
#define EXCHANGE_BYTES   256u /* about what the larger ones have */

#define FULL_BODY                                                                                  \
    "{\"error\":{\"code\":\"overloaded\",\"message\":\"the broker has as many connections as "     \
    "fit\"}}"
_Static_assert(sizeof(FULL_BODY) - 1 == 85, "its Content-Length below");
static const char full_answer[] =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 85\r\n"
    "Retry-After: 5\r\nConnection: close\r\n\r\n" FULL_BODY;

uint64_t tt_connection_token(const struct tt_connection *c, enum tt_connection_operation operation)
{
    return tt_token((uint8_t)operation, tt_pool_generation(&c->engine->pool, c->slot), c->slot);
}

/* ---- memory ---- */

struct tt_work *tt_connection_work(struct tt_connection *c)
{
    if (c->work == NULL) {
        c->work = calloc(1, sizeof(*c->work));
        if (c->work != NULL) c->engine->work_bytes += sizeof(*c->work);
    }
    return c->work;
}

void tt_connection_free_work(struct tt_connection *c)
{
    if (c->work == NULL) return;
    tt_buffer_free(c->engine, &c->work->in);
    tt_buffer_free(c->engine, &c->work->out);
    free(c->work->origin);
    free(c->work);
    c->work = NULL;
    c->engine->work_bytes -= sizeof(*c->work);
}

uint8_t *tt_buffer_reserve(struct tt_connections *engine, struct tt_buffer *b, size_t size)
{
    if (b->from == b->size) b->from = b->size = 0;
    if (b->capacity - b->size >= size) return b->data + b->size;
    if (b->from != 0) {
        memmove(b->data, b->data + b->from, b->size - b->from);
        b->size -= b->from;
        b->from = 0;
    }
    if (b->capacity - b->size < size) {
        size_t capacity = b->capacity == 0 ? TT_CONNECTION_BUFFER_BYTES_MIN : b->capacity;
        while (capacity - b->size < size) capacity *= 2;
        uint64_t most = engine->options.work_bytes_max;
        engine->over_bound = most != 0 && capacity > TT_CONNECTION_BUFFER_BYTES_MIN &&
                             engine->work_bytes + capacity - b->capacity > most;
        if (engine->over_bound) return NULL;
        uint8_t *data = realloc(b->data, capacity);
        if (data == NULL) return NULL;
        engine->work_bytes += capacity - b->capacity;
        b->data = data;
        b->capacity = capacity;
    }
    return b->data + b->size;
}

bool tt_buffer_append(struct tt_connections *engine, struct tt_buffer *b, const void *data,
                      size_t size)
{
    if (size == 0) return true;
    uint8_t *room = tt_buffer_reserve(engine, b, size);
    if (room == NULL) return false;
    memcpy(room, data, size);
    b->size += size;
    return true;
}

void tt_buffer_free(struct tt_connections *engine, struct tt_buffer *b)
{
    engine->work_bytes -= b->capacity;
    free(b->data);
    *b = (struct tt_buffer){0};
}

enum tt_close_reason tt_buffer_refused(const struct tt_connections *engine)
{
    return engine->over_bound ? TT_CLOSE_OVERLOAD : TT_CLOSE_INTERNAL;
}

size_t tt_connections_bytes(const struct tt_connections *engine)
{
    return engine->work_bytes;
}

/* ---- the ready list ---- */

/* Only what is sent to it can wait: not its end, not a body that it goes on with. */
void tt_connection_link(struct tt_connection *c)
{
    if (tt_node_linked(&c->ready)) return;
    bool bulk = c->bulk && !c->close_now && !c->resume;
    tt_list_append(bulk ? &c->engine->bulk : &c->engine->ready, &c->ready);
}

static void unlink_ready(struct tt_connection *c)
{
    if (tt_node_linked(&c->ready)) tt_list_remove(&c->ready);
}

bool tt_connections_ready(const struct tt_connections *engine)
{
    return !tt_list_empty(&engine->ready);
}

bool tt_connections_bulk_ready(const struct tt_connections *engine)
{
    return !tt_list_empty(&engine->bulk);
}

void tt_exchange_set_bulk(struct tt_exchange *x, bool bulk)
{
    struct tt_connection *c = x->connection;

    TT_ASSERT(c != NULL);
    if (c->bulk == bulk) return;
    c->bulk = bulk;
    if (!tt_node_linked(&c->ready)) return;
    unlink_ready(c);
    tt_connection_link(c);
}

void tt_exchange_fetch(const struct tt_exchange *x)
{
    if (x->connection != NULL) tt_prefetch(x->connection, sizeof *x->connection);
}

/* While one sends: the exchange of the next, and the connection of the one behind it. */
static void fetch_ahead(const struct tt_list *ready)
{
    const struct tt_node *next = tt_list_first(ready);
    if (next == NULL) return;
    tt_prefetch(TT_CONTAINER_OF(next, struct tt_connection, ready)->exchange, EXCHANGE_BYTES);
    const struct tt_node *behind = tt_list_next(ready, next);
    if (behind == NULL) return;
    tt_prefetch(TT_CONTAINER_OF(behind, struct tt_connection, ready), sizeof(struct tt_connection));
}

static unsigned flush(struct tt_connections *engine, struct tt_list *ready, unsigned sends_max)
{
    unsigned sends = 0;

    while (sends < sends_max && !tt_io_sends_full(engine->io)) {
        struct tt_node *node = tt_list_take_first(ready);
        if (node == NULL) break;
        struct tt_connection *c = TT_CONTAINER_OF(node, struct tt_connection, ready);
        fetch_ahead(ready);
        /* With a send under way its completion looks at all of this. */
        if (c->sending) continue;
        if (c->close_now) {
            /* One that lingers has sent everything: the system goes on delivering it. */
            bool reset = c->state != TT_CONNECTION_LINGER;
            tt_connection_close(c, (enum tt_close_reason)c->reason, reset);
            continue;
        }
        if (c->resume) tt_http1_resume(c);
        if (c->state == TT_CONNECTION_CLOSING || c->sending || c->blocked) continue;
        if (tt_plain_flush(c)) sends++;
    }
    return sends;
}

unsigned tt_connections_flush(struct tt_connections *engine, unsigned sends_max)
{
    return flush(engine, &engine->ready, sends_max);
}

unsigned tt_connections_flush_bulk(struct tt_connections *engine, size_t pull_bytes)
{
    engine->pull_bytes = pull_bytes;
    unsigned sends = flush(engine, &engine->bulk, 1);
    engine->pull_bytes = TT_PULL_BYTES_MAX;
    return sends;
}

/* ---- timers ---- */

static uint32_t wait_ms(const struct tt_connections *engine, enum tt_connection_wait wait)
{
    switch (wait) {
    case TT_WAIT_FIRST:
    case TT_WAIT_HEAD: return engine->options.header_timeout_ms;
    case TT_WAIT_NEXT: return engine->options.keepalive_ms;
    case TT_WAIT_BODY: return engine->options.body_timeout_ms;
    case TT_WAIT_STALL: return engine->options.stall_ms;
    case TT_WAIT_LINGER: return TT_LINGER_MS;
    case TT_WAIT_NOTHING: break;
    }
    return 0;
}

void tt_connection_wait_again(struct tt_connection *c, enum tt_connection_wait wait)
{
    c->wait = wait;
    if (wait == TT_WAIT_NOTHING) {
        tt_timer_cancel(&c->timer);
        return;
    }
    uint64_t now_ns = tt_io_now_ns(c->engine->io);
    tt_timer_arm(c->engine->timers, &c->timer,
                 now_ns + (uint64_t)wait_ms(c->engine, wait) * 1000000u);
}

void tt_connection_wait(struct tt_connection *c, enum tt_connection_wait wait)
{
    if (c->wait != wait) tt_connection_wait_again(c, wait);
}

static void expired(struct tt_timer *timer, uint64_t now_ns, void *context)
{
    struct tt_connection *c = TT_CONTAINER_OF(timer, struct tt_connection, timer);
    enum tt_connection_wait wait = (enum tt_connection_wait)c->wait;

    (void)now_ns;
    TT_ASSERT(c->engine == context && c->state != TT_CONNECTION_CLOSING);
    c->wait = TT_WAIT_NOTHING;
    switch (wait) {
    case TT_WAIT_STALL: tt_connection_close_later(c, TT_CLOSE_STALLED); break;
    case TT_WAIT_LINGER: tt_connection_close_later(c, TT_CLOSE_DONE); break;
    case TT_WAIT_FIRST:
    case TT_WAIT_NEXT:
    case TT_WAIT_HEAD:
    case TT_WAIT_BODY: tt_http1_timeout(c, wait); break;
    case TT_WAIT_NOTHING: break;
    }
}

/* ---- the end ---- */

void tt_connection_note(struct tt_connection *c, enum tt_close_reason reason)
{
    if (c->reason == TT_CLOSE_NONE) c->reason = reason;
}

void tt_connection_forget_exchange(struct tt_connection *c, enum tt_close_reason reason)
{
    struct tt_exchange *x = c->exchange;

    if (x == NULL) return;
    c->exchange = NULL;
    x->connection = NULL;
    x->ops->closed(x, reason);
}

void tt_connection_close_later(struct tt_connection *c, enum tt_close_reason reason)
{
    if (c->state == TT_CONNECTION_CLOSING) return;
    tt_connection_note(c, reason);
    c->close_now = true;
    /* A socket that is only being taken over is closed as soon as it is there. */
    if (c->state != TT_CONNECTION_ADOPTING) tt_connection_link(c);
}

void tt_connection_close(struct tt_connection *c, enum tt_close_reason reason, bool reset)
{
    TT_ASSERT(!c->sending && c->state != TT_CONNECTION_CLOSING);
    tt_connection_note(c, reason);
    c->state = TT_CONNECTION_CLOSING;
    tt_connection_wait(c, TT_WAIT_NOTHING);
    unlink_ready(c);
    tt_connection_forget_exchange(c, (enum tt_close_reason)c->reason);
    tt_connection_free_work(c);
    uint64_t token = tt_connection_token(c, TT_OPERATION_CLOSE);
    if (reset) {
        tt_io_abort(c->engine->io, c->socket, token);
    } else {
        tt_io_close(c->engine->io, c->socket, token);
    }
}

void tt_connection_end(struct tt_connection *c, enum tt_close_reason reason)
{
    if (c->sending) {
        tt_connection_close_later(c, reason);
    } else {
        tt_connection_close(c, reason, false);
    }
}

static void gone(struct tt_connection *c)
{
    struct tt_connections *engine = c->engine;
    struct tt_peer peer = c->peer;
    enum tt_close_reason reason = (enum tt_close_reason)c->reason;

    tt_pool_put(&engine->pool, c->slot);
    engine->hooks.gone(engine->hooks.context, &peer, reason);
}

bool tt_exchange_sends(const struct tt_exchange *x)
{
    return x->connection != NULL && x->connection->sending;
}

void tt_exchange_abort(struct tt_exchange *x, enum tt_close_reason reason)
{
    TT_ASSERT(x->connection != NULL);
    tt_connection_close_later(x->connection, reason);
}

void tt_connections_drain(struct tt_connections *engine)
{
    engine->draining = true;
    for (uint32_t slot = tt_pool_next(&engine->pool, 0); slot != TT_SLOT_NONE;
         slot = tt_pool_next(&engine->pool, slot + 1)) {
        struct tt_connection *c = tt_pool_at(&engine->pool, slot);
        bool idle = c->wait == TT_WAIT_FIRST || c->wait == TT_WAIT_NEXT;
        if (c->state == TT_CONNECTION_HEAD && idle) tt_connection_end(c, TT_CLOSE_DRAIN);
    }
}

void tt_connections_end(struct tt_connections *engine)
{
    engine->draining = true;
    for (uint32_t slot = tt_pool_next(&engine->pool, 0); slot != TT_SLOT_NONE;
         slot = tt_pool_next(&engine->pool, slot + 1)) {
        tt_connection_close_later(tt_pool_at(&engine->pool, slot), TT_CLOSE_DRAIN);
    }
}

/* ---- coming ---- */

static struct tt_peer peer_of(const struct tt_address *address)
{
    struct tt_peer peer = {.family = address->family, .port = address->port};

    memcpy(peer.ip, address->ip, sizeof(peer.ip));
    return peer;
}

void tt_connections_adopt(struct tt_connections *engine, struct tt_handoff *handoff)
{
    struct tt_peer peer = peer_of(&handoff->peer);
    uint32_t slot;
    struct tt_connection *c = tt_pool_get(&engine->pool, &slot);

    if (c == NULL) {
        tt_io_refuse(engine->io, handoff, TT_BYTES_LITERAL(full_answer));
        engine->hooks.gone(engine->hooks.context, &peer, TT_CLOSE_OVERLOAD);
        return;
    }
    c->engine = engine;
    c->slot = slot;
    c->peer = peer;
    c->state = TT_CONNECTION_ADOPTING;
    c->socket = TT_SOCKET_NONE;
    tt_timer_init(&c->timer, engine->timer_kind);
    tt_io_adopt(engine->io, handoff, tt_connection_token(c, TT_OPERATION_ADOPT));
}

static void adopted(struct tt_connection *c, const struct tt_done *done)
{
    TT_ASSERT(c->state == TT_CONNECTION_ADOPTING);
    if (done->result < 0) {
        tt_connection_note(c, done->result == TT_ENOFILE ? TT_CLOSE_OVERLOAD : TT_CLOSE_RESET);
        gone(c);
        return;
    }
    c->socket = (tt_socket)done->result;
    c->state = TT_CONNECTION_HEAD;
    if (c->close_now) {
        tt_connection_link(c);
        return;
    }
    tt_connection_wait(c, TT_WAIT_FIRST);
    tt_plain_receive(c);
}

bool tt_connections_done(struct tt_connections *engine, const struct tt_done *done)
{
    uint8_t operation = tt_token_operation(done->token);

    if ((operation & TT_CONNECTIONS_OPERATION) == 0) return false;
    TT_ASSERT(operation < TT_OPERATIONS_END);
    struct tt_connection *c =
        tt_pool_find(&engine->pool, tt_token_slot(done->token), tt_token_generation(done->token));
    if (c != NULL) {
        switch ((enum tt_connection_operation)operation) {
        case TT_OPERATION_ADOPT: adopted(c, done); break;
        case TT_OPERATION_RECV: tt_plain_received(c, done); break;
        case TT_OPERATION_SEND: tt_plain_sent(c, done); break;
        case TT_OPERATION_POLL: tt_plain_writable(c, done); break;
        case TT_OPERATION_CLOSE: gone(c); break;
        case TT_OPERATIONS_END: break;
        }
    }
    if ((done->flags & TT_DONE_BUFFER) != 0) tt_io_buffer_return(engine->io, done->buffer);
    return true;
}

/* ---- life ---- */

uint32_t tt_connections_count(const struct tt_connections *engine)
{
    return tt_pool_used(&engine->pool);
}

void tt_connections_set_cors(struct tt_connections *engine, const struct tt_cors *cors)
{
    engine->options.cors = cors;
}

enum tt_status tt_connections_create(struct tt_connections **result, struct tt_io *io,
                                     struct tt_timers *timers,
                                     const struct tt_connections_options *options,
                                     const struct tt_connections_hooks *hooks)
{
    struct tt_connections *engine = calloc(1, sizeof(*engine));

    TT_ASSERT(options->head_bytes_max != 0 && options->prefix != NULL && hooks->handler != NULL);
    if (engine == NULL) return TT_ENOMEM;
    engine->io = io;
    engine->timers = timers;
    engine->options = *options;
    engine->hooks = *hooks;
    engine->date_s = -1;
    engine->limits = (struct tt_http1_limits){
        .line_bytes_max = options->head_bytes_max,
        .fields_max = options->headers_max,
        .head_bytes_max = options->head_bytes_max,
    };
    tt_list_init(&engine->ready);
    tt_list_init(&engine->bulk);
    engine->pull_bytes = TT_PULL_BYTES_MAX;
    engine->path = malloc(options->head_bytes_max);
    if (engine->path == NULL || tt_pool_init(&engine->pool, sizeof(struct tt_connection),
                                             SLAB_CONNECTIONS, options->connections_max) != TT_OK) {
        free(engine->path);
        free(engine);
        return TT_ENOMEM;
    }
    engine->timer_kind = tt_timers_kind(timers, engine, expired);
    *result = engine;
    return TT_OK;
}

void tt_connections_destroy(struct tt_connections **result)
{
    struct tt_connections *engine = *result;

    if (engine == NULL) return;
    for (uint32_t slot = tt_pool_next(&engine->pool, 0); slot != TT_SLOT_NONE;
         slot = tt_pool_next(&engine->pool, slot + 1)) {
        struct tt_connection *c = tt_pool_at(&engine->pool, slot);
        tt_timer_cancel(&c->timer);
        tt_connection_forget_exchange(c, TT_CLOSE_DRAIN);
        tt_connection_free_work(c);
    }
    tt_pool_deinit(&engine->pool);
    free(engine->path);
    free(engine);
    *result = NULL;
}
