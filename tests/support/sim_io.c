#include "tests/support/sim_io_internal.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/assert.h"

#define WALL_US INT64_C(1700000000000000)

static struct sim_scheduler *current;
static _Thread_local struct sim_thread *self_thread;

uint64_t sim_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

uint64_t sim_between(uint64_t *state, uint64_t low, uint64_t high)
{
    return low + sim_random(state) % (high - low + 1);
}

bool sim_chance(uint64_t *state, unsigned n)
{
    return sim_random(state) % n == 0;
}

void sim_bytes_append(struct sim_bytes *b, const void *data, size_t size)
{
    if (size == 0) return;
    if (b->size + size > b->capacity) {
        b->capacity = (b->size + size) * 2;
        b->data = realloc(b->data, b->capacity);
        TT_ASSERT(b->data != NULL);
    }
    memcpy(b->data + b->size, data, size);
    b->size += size;
}

void sim_bytes_drop(struct sim_bytes *b, size_t size)
{
    TT_ASSERT(size <= b->size);
    b->size -= size;
    if (b->size != 0) memmove(b->data, b->data + size, b->size);
}

void sim_io_use(struct sim_scheduler *scheduler)
{
    current = scheduler;
}
void sim_io_thread(struct sim_thread *thread)
{
    self_thread = thread;
}

/* ---- completions ---- */

static void make(struct sim_io *e, const struct made *m)
{
    TT_ASSERT(e->made_tail - e->made_head < SIM_DONE_MAX);
    e->made[e->made_tail++ % SIM_DONE_MAX] = *m;
}

void sim_io_make(struct sim_io *e, uint64_t token, int32_t result, enum made_kind kind,
                 uint32_t socket)
{
    struct made m = {.done = {.token = token, .result = result}, .kind = kind, .socket = socket};
    make(e, &m);
}

static bool receives(struct sim_io *e, const struct sim_socket *k)
{
    if (!k->open || k->closing || !k->armed || k->pausing) return false;
    const struct sim_link *l = &e->s->links[k->link];
    return l->to_shard.size != 0 || l->peer_ended || l->peer_reset;
}

static bool can_send(struct sim_io *e, const struct sim_socket *k)
{
    if (!k->open || k->closing || !k->out_armed) return false;
    const struct sim_link *l = &e->s->links[k->link];
    return l->peer_reset || l->to_peer.size < l->room;
}

static bool receive(struct sim_io *e, struct sim_socket *k, struct tt_done *done)
{
    struct sim_link *l = &e->s->links[k->link];
    *done = (struct tt_done){.token = k->recv_token};
    if (l->to_shard.size == 0 || l->peer_reset) {
        k->armed = false;
        done->result = l->peer_reset ? TT_ECLOSED : 0;
        return true;
    }
    uint32_t b = 0;
    while (b < SIM_BUFFERS && e->buffer_lent[b]) b++;
    if (b == SIM_BUFFERS) return false;
    size_t most = l->to_shard.size < e->buffer_bytes ? l->to_shard.size : e->buffer_bytes;
    size_t size = sim_chance(&e->s->random, 4) ? sim_between(&e->s->random, 1, most) : most;
    uint8_t *buffer = e->buffers + (size_t)b * e->buffer_bytes;
    memcpy(buffer, l->to_shard.data, size);
    sim_bytes_drop(&l->to_shard, size);
    e->buffer_lent[b] = true;
    done->result = (int32_t)size;
    done->flags = TT_DONE_MORE | TT_DONE_BUFFER;
    done->data = tt_bytes(buffer, size);
    done->buffer = b;
    return true;
}

/* ---- the loop ---- */

bool sim_io_runnable(struct tt_io *io)
{
    struct sim_io *e = sim_of(io);
    if (e->woken || e->made_head != e->made_tail || e->jobs_count != 0 ||
        e->s->now_ns >= e->wait_until_ns)
        return true;
    for (uint32_t i = 0; i < SIM_SOCKETS; i++)
        if (receives(e, &e->sockets[i]) || can_send(e, &e->sockets[i])) return true;
    for (uint32_t i = 0; i < SIM_FOREIGN_MAX; i++)
        if (e->foreign[i] && e->s->edges[i]) return true;
    return false;
}

uint64_t sim_io_deadline(const struct tt_io *io)
{
    return ((const struct sim_io *)(const void *)io)->wait_until_ns;
}

static void sim_submit(struct tt_io *io, uint64_t wait_until_ns)
{
    struct sim_io *e = sim_of(io);
    io->figures.submits++;
    if (e->thread == NULL) return;
    e->wait_until_ns = wait_until_ns;
    sem_post(&e->s->back);
    while (sem_wait(&e->thread->go) != 0) {
    }
    if (e->s->killed) {
        e->thread->ended = true;
        sem_post(&e->s->back);
        pthread_exit(NULL);
    }
    e->woken = false;
}

static unsigned sim_reap(struct tt_io *io, struct tt_done *done, unsigned max)
{
    struct sim_io *e = sim_of(io);
    unsigned n = 0;
    /* What files bring may come before the sends of the same submit are known to be done. */
    if (e->made_head == e->made_tail || sim_chance(&e->s->random, 3)) {
        uint32_t sends = e->made_tail;
        sim_files_work(e);
        while (e->made_tail != sends && e->made_head != sends) {
            struct made m = e->made[--e->made_tail % SIM_DONE_MAX];
            e->made[--e->made_head % SIM_DONE_MAX] = m;
        }
    }
    while (n < max && e->made_head != e->made_tail) {
        struct made m = e->made[e->made_head++ % SIM_DONE_MAX];
        done[n] = m.done;
        if (m.kind == MADE_PLAIN) {
            n++;
            continue;
        }
        struct sim_socket *k = &e->sockets[m.socket];
        if (m.kind == MADE_CLOSED) {
            e->s->links[k->link].shard_holds = false;
            *k = (struct sim_socket){0};
            io->figures.sockets_open--;
            n++;
            continue;
        }
        if (k->closing) continue;
        if (m.kind == MADE_PAUSED) k->armed = k->pausing = false;
        n++;
    }
    for (uint32_t i = 0; i < SIM_FOREIGN_MAX && n < max; i++) {
        if (!e->foreign[i] || !e->s->edges[i]) continue;
        e->s->edges[i] = false;
        done[n++] = (struct tt_done){.token = e->foreign_tokens[i], .flags = TT_DONE_MORE};
    }
    for (uint32_t i = 0; i < SIM_SOCKETS && n < max; i++) {
        struct sim_socket *k = &e->sockets[i];
        if (receives(e, k) && receive(e, k, &done[n])) n++;
        if (n < max && can_send(e, k)) {
            k->out_armed = false;
            done[n++] = (struct tt_done){.token = k->out_token};
        }
    }
    return n;
}

static void sim_wake_from_outside(struct tt_io *other)
{
    sim_of(other)->woken = true;
}
static void sim_wake(struct tt_io *self, struct tt_io *other)
{
    (void)self;
    sim_of(other)->woken = true;
}
static uint64_t sim_now_ns(struct tt_io *io)
{
    return sim_of(io)->s->now_ns += 40;
}
static int64_t sim_wall_us(struct tt_io *io)
{
    return WALL_US + (int64_t)(sim_of(io)->s->now_ns / 1000);
}
static uint64_t sim_io_random(struct tt_io *io)
{
    return sim_random(&sim_of(io)->s->random);
}

/* ---- foreign descriptors ---- */

#define FOREIGN_FIRST 1000

int sim_io_foreign(uint32_t number)
{
    return FOREIGN_FIRST + (int)number;
}

void sim_io_edge(struct sim_scheduler *scheduler, uint32_t number)
{
    scheduler->edges[number] = true;
}

static void sim_poll_in(struct tt_io *io, int foreign, uint64_t token)
{
    uint32_t number = (uint32_t)(foreign - FOREIGN_FIRST);
    TT_ASSERT(number < SIM_FOREIGN_MAX && !sim_of(io)->foreign[number]);
    sim_of(io)->foreign[number] = true;
    sim_of(io)->foreign_tokens[number] = token;
}

static void sim_poll_in_stop(struct tt_io *io, int foreign)
{
    sim_of(io)->foreign[foreign - FOREIGN_FIRST] = false;
}

/* ---- sockets ---- */

static struct sim_socket *socket_of(struct tt_io *io, tt_socket socket)
{
    struct sim_io *e = sim_of(io);
    TT_ASSERT(socket < SIM_SOCKETS && e->sockets[socket].open && !e->sockets[socket].closing);
    return &e->sockets[socket];
}

static void sim_adopt(struct tt_io *io, struct tt_handoff *handoff, uint64_t token)
{
    struct sim_io *e = sim_of(io);
    uint32_t i = 0;
    while (i < SIM_SOCKETS && e->sockets[i].open) i++;
    TT_ASSERT(i < SIM_SOCKETS && e->s->links[handoff->reference].shard_holds);
    e->sockets[i] = (struct sim_socket){.open = true, .link = (uint32_t)handoff->reference};
    io->figures.sockets_open++;
    sim_io_make(e, token, (int32_t)i, MADE_PLAIN, SIM_SOCKET_FREE);
}

static void sim_refuse(struct tt_io *io, struct tt_handoff *handoff, struct tt_bytes answer)
{
    struct sim_link *l = &sim_of(io)->s->links[handoff->reference];
    sim_bytes_append(&l->to_peer, answer.data, answer.size);
    l->shard_ended = true;
    l->shard_holds = false;
}

static void sim_recv(struct tt_io *io, tt_socket socket, uint64_t token)
{
    struct sim_socket *k = socket_of(io, socket);
    TT_ASSERT(!k->armed);
    k->armed = true;
    k->recv_token = token;
}

static void sim_recv_pause(struct tt_io *io, tt_socket socket)
{
    struct sim_socket *k = socket_of(io, socket);
    if (!k->armed || k->pausing) return;
    k->pausing = true;
    sim_io_make(sim_of(io), k->recv_token, TT_ECANCELED, MADE_PAUSED, socket);
}

static void sim_buffer_return(struct tt_io *io, uint32_t buffer)
{
    TT_ASSERT(sim_of(io)->buffer_lent[buffer]);
    sim_of(io)->buffer_lent[buffer] = false;
}

static void sim_send(struct tt_io *io, tt_socket socket, const struct tt_slice *slices,
                     unsigned count, uint64_t token)
{
    struct sim_io *e = sim_of(io);
    struct sim_socket *k = socket_of(io, socket);
    struct sim_link *l = &e->s->links[k->link];
    if (l->peer_reset) {
        sim_io_make(e, token, TT_ECLOSED, MADE_SOCKET, socket);
        return;
    }
    size_t room = l->to_peer.size < l->room ? l->room - l->to_peer.size : 0;
    size_t sent = 0;
    for (unsigned i = 0; i < count && room > 0; i++) {
        size_t size = slices[i].size < room ? slices[i].size : room;
        sim_bytes_append(&l->to_peer, slices[i].data, size);
        room -= size;
        sent += size;
    }
    io->figures.sends++;
    io->figures.sent_bytes += sent;
    sim_io_make(e, token, (int32_t)sent, MADE_SOCKET, socket);
}

static bool sim_sends_full(const struct tt_io *io)
{
    (void)io;
    return false;
}

static void sim_poll_out(struct tt_io *io, tt_socket socket, uint64_t token)
{
    struct sim_socket *k = socket_of(io, socket);
    TT_ASSERT(!k->out_armed);
    k->out_armed = true;
    k->out_token = token;
}

static void sim_shutdown_send(struct tt_io *io, tt_socket socket)
{
    sim_of(io)->s->links[socket_of(io, socket)->link].shard_ended = true;
}

static void sim_close(struct tt_io *io, tt_socket socket, bool abort, uint64_t token)
{
    struct sim_socket *k = socket_of(io, socket);
    struct sim_link *l = &sim_of(io)->s->links[k->link];
    k->closing = true;
    l->shard_ended = true;
    if (abort) l->to_peer.size = 0;
    sim_io_make(sim_of(io), token, 0, MADE_CLOSED, socket);
}

/* ---- life ---- */

static uint32_t sim_sockets_max(const struct tt_io *io)
{
    (void)io;
    return SIM_SOCKETS;
}

static void sim_destroy(struct tt_io *io)
{
    sim_files_close(sim_of(io)); /* as closing a ring does */
    free(sim_of(io)->buffers);
    free(io);
}

static const struct tt_io_ops ops = {
    .name = "sim",
    .destroy = sim_destroy,
    .sockets_max = sim_sockets_max,
    .submit = sim_submit,
    .reap = sim_reap,
    .wake = sim_wake,
    .wake_from_outside = sim_wake_from_outside,
    .now_ns = sim_now_ns,
    .wall_us = sim_wall_us,
    .random = sim_io_random,
    .refuse = sim_refuse,
    .adopt = sim_adopt,
    .recv = sim_recv,
    .recv_pause = sim_recv_pause,
    .buffer_return = sim_buffer_return,
    .send = sim_send,
    .sends_full = sim_sends_full,
    .poll_out = sim_poll_out,
    .poll_in = sim_poll_in,
    .poll_in_stop = sim_poll_in_stop,
    .shutdown_send = sim_shutdown_send,
    .close = sim_close,
    .open = sim_open,
    .file_close = sim_file_close,
    .preallocate = sim_preallocate,
    .read = sim_read,
    .write = sim_write,
    .sync = sim_sync,
    .truncate = sim_truncate,
    .rename = sim_rename,
    .unlink = sim_unlink,
};

enum tt_status tt_io_uring_create(struct tt_io **io, const struct tt_io_options *options, char *why,
                                  size_t why_bytes)
{
    (void)why;
    (void)why_bytes;
    TT_ASSERT(current != NULL);
    struct sim_io *e = calloc(1, sizeof *e);
    if (e == NULL) return TT_ENOMEM;
    e->base.ops = &ops;
    e->s = current;
    e->thread = self_thread;
    if (self_thread != NULL) self_thread->io = &e->base;
    e->buffer_bytes = options->recv_buffer_bytes;
    e->buffers = malloc((size_t)SIM_BUFFERS * (e->buffer_bytes + 1));
    TT_ASSERT(e->buffers != NULL);
    *io = &e->base;
    return TT_OK;
}
