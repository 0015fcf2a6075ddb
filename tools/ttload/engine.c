#include "tools/ttload/engine.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/assert.h"
#include "tools/ttload/disturb.h"
#include "tools/ttload/payload.h"
#include "tools/ttload/proc.h"

#define REAP_MAX       64u        /* completions between two looks at the clock */
#define LOOK_AROUND_NS 20000000u  /* how often `stop` is seen without a wake */
#define SCAN_NS        100000000u /* between two counts of what is still missing at the end */

struct tt_engine_request {
    char text[8192]; /* 200 channels of at most 11 bytes and a comma, percent-free; a cursor; the
                        query */
};

/* ---- leaving ---- */
static void disconnect(struct tt_engine *e, struct tt_io *io, struct tt_engine_client *c,
                       bool abort)
{
    if (c->state == TT_CLIENT_CONNECTING || c->state == TT_CLIENT_OPENING) e->opening_--;
    if (c->state == TT_CLIENT_LIVE) tt_counter_take(&e->live, 1);
    if (c->state == TT_CLIENT_OPENING || c->state == TT_CLIENT_LIVE) {
        if (abort) tt_io_abort(io, c->socket, tt_client_token(e, c, TT_ENGINE_CLOSE));
        if (!abort) tt_io_close(io, c->socket, tt_client_token(e, c, TT_ENGINE_CLOSE));
    }
    c->receiving = false;
    tt_sse_reader_deinit(&c->reader);
}

void tt_client_end(struct tt_engine *e, struct tt_io *io, struct tt_engine_client *c)
{
    disconnect(e, io, c, false);
    c->state = TT_CLIENT_CLOSED;
    tt_counter_add(&e->gone, 1);
}

void tt_client_leave(struct tt_engine *e, struct tt_io *io, struct tt_engine_client *c, bool abort)
{
    TT_ASSERT(c->state == TT_CLIENT_LIVE);
    disconnect(e, io, c, abort);
    tt_proof_cut(&c->proof);
    c->state = TT_CLIENT_CLOSING;
    c->next_ns = e->now_ns_ + e->load->options->reconnect_wait_ms * 1000000u;
}

/* ---- opening ---- */
static void write_wishes(const struct tt_engine *e, const struct tt_engine_client *c,
                         struct tt_writer *w)
{
    const struct tt_run_options *o = e->load->options;

    if (o->policy[0] != '\0') {
        tt_write_text(w, c->roles & TT_PLAN_CONFLATES     ? "&policy=conflate"
                         : c->roles & TT_PLAN_DISCONNECTS ? "&policy=disconnect"
                                                          : "&policy=replay");
    }
    if (c->roles & TT_PLAN_MAX_RATE) {
        tt_write_format(w, "&max_rate=%" PRIu64 ".%03" PRIu64, o->max_rate / 1000,
                        o->max_rate % 1000);
    }
    if (c->roles & TT_PLAN_MAX_LAG) tt_write_format(w, "&max_lag=%" PRIu64, o->max_lag_ms);
    if (o->query[0] != '\0') tt_write_format(w, "&%s", o->query);
}

static void write_request(const struct tt_engine *e, const struct tt_engine_client *c,
                          struct tt_writer *w)
{
    const struct tt_load *load = e->load;

    tt_write_format(w, "GET %s/sse?channels=", load->options->prefix);
    if (e->proof_.all) {
        tt_write_text(w, TT_PAYLOAD_CHANNEL_PREFIX "*");
    } else {
        for (uint32_t i = 0; i < e->proof_.per_client; i++) {
            if (i != 0) tt_write_char(w, ',');
            tt_write_text(w, TT_PAYLOAD_CHANNEL_PREFIX);
            tt_write_u64(w, tt_proof_channel(&c->proof, i));
        }
    }
    write_wishes(e, c, w);
    tt_write_format(w, " HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n", load->host);
    if (c->cursor_bytes != 0) {
        tt_write_text(w, "Last-Event-ID: ");
        tt_write(w, c->cursor, c->cursor_bytes);
        tt_write_text(w, "\r\n");
    }
    tt_write_text(w, "\r\n");
}

static void send_request(struct tt_engine *e, struct tt_io *io, struct tt_engine_client *c)
{
    if (e->requests_used_ == TT_IO_SENDS_PER_SUBMIT || tt_io_sends_full(io)) {
        tt_io_submit(io, 0);
        e->requests_used_ = 0;
    }
    char *text = e->requests_[e->requests_used_++].text;
    struct tt_writer w = tt_writer(text, sizeof e->requests_[0].text);
    write_request(e, c, &w);
    if (w.overflow) {
        tt_trouble_add(&e->trouble, "--query: the request is longer than 8,192 bytes");
        tt_client_end(e, io, c);
        return;
    }
    c->request_bytes = (uint32_t)w.size;
    struct tt_slice slice = {text, w.size};
    tt_io_send(io, c->socket, &slice, 1, tt_client_token(e, c, TT_ENGINE_SEND));
    tt_disturb_read(e, io, c);
}

static void local_address(const struct tt_load *load, uint32_t client, struct tt_address *local)
{
    /* 127.1.0.1 and on: every address of 127.0.0.0/8 is ours on loopback. */
    uint32_t ip = 0x7F010001u + (uint32_t)(client / load->options->clients_per_address);
    *local = (struct tt_address){.family = TT_ADDRESS_IP4};
    for (unsigned i = 0; i < 4; i++) local->ip[i] = (uint8_t)(ip >> (24 - 8 * i));
}

void tt_client_connect(struct tt_engine *e, struct tt_io *io, struct tt_engine_client *c,
                       uint64_t start_ns)
{
    const struct tt_run_options *o = e->load->options;
    bool loopback = o->address.family == TT_ADDRESS_IP4 && tt_address_is_loopback(&o->address);
    bool small = (c->roles & TT_PLAN_SLOW) != 0 && o->slow_buffer_bytes != 0;
    struct tt_listen_options slow = {.receive_buffer_bytes = (uint32_t)o->slow_buffer_bytes};
    struct tt_address local;

    local_address(e->load, tt_client_number(e, c), &local);
    tt_sse_reader_init(&c->reader);
    c->state = TT_CLIENT_CONNECTING;
    c->start_ns = start_ns;
    tt_io_connect(io, loopback ? &local : NULL, &o->address, small ? &slow : NULL,
                  tt_client_token(e, c, TT_ENGINE_CONNECT));
    e->opening_++;
}

/* Opens what burst and rate allow; returns when to look again. */
static uint64_t open_clients(struct tt_engine *e, struct tt_io *io)
{
    const struct tt_run_options *o = e->load->options;

    while (e->opened_ < e->count && e->opening_ < o->connect_burst) {
        uint64_t at_ns = 0;
        if (o->connect_rate != 0) {
            at_ns = e->connect_from_ns_ + e->opened_ * o->threads * 1000000000u / o->connect_rate;
            if (at_ns > e->now_ns_) return at_ns;
        }
        tt_client_connect(e, io, &e->clients_[e->opened_++], at_ns != 0 ? at_ns : e->now_ns_);
    }
    return UINT64_MAX;
}

/* ---- completions ---- */
static void on_connect(struct tt_engine *e, struct tt_io *io, struct tt_engine_client *c,
                       int32_t result)
{
    if (result < 0) {
        tt_trouble_add(&e->trouble, "client %" PRIu32 ": connecting to %s: %s",
                       tt_client_number(e, c), e->load->host,
                       tt_status_text((enum tt_status)result));
        tt_client_end(e, io, c);
        return;
    }
    c->socket = (tt_socket)result;
    c->state = TT_CLIENT_OPENING;
    send_request(e, io, c);
}

static void on_lost(struct tt_engine *e, struct tt_io *io, struct tt_engine_client *c,
                    int32_t result)
{
    if (c->state == TT_CLIENT_LIVE && (c->roles & TT_PLAN_DISCONNECTS)) {
        tt_counter_add(&e->closed, 1);
        tt_client_leave(e, io, c, false);
        return;
    }
    tt_trouble_add(&e->trouble, "client %" PRIu32 ": the broker closed the connection%s%s",
                   tt_client_number(e, c), result < 0 ? ": " : "",
                   result < 0 ? tt_status_text((enum tt_status)result) : "");
    tt_client_end(e, io, c);
}

static void on_recv(struct tt_engine *e, struct tt_io *io, struct tt_engine_client *c,
                    const struct tt_done *d)
{
    if (c->state != TT_CLIENT_OPENING && c->state != TT_CLIENT_LIVE) return;
    if ((d->flags & TT_DONE_MORE) == 0) c->receiving = false;
    if (d->result > 0) {
        tt_client_take(e, io, c, d->data);
    } else if (d->result != TT_ECANCELED) {
        on_lost(e, io, c, d->result);
        return;
    }
    bool open = c->state == TT_CLIENT_OPENING || c->state == TT_CLIENT_LIVE;
    if (open && c->reads) tt_disturb_read(e, io, c);
}

static void on_done(struct tt_engine *e, struct tt_io *io, const struct tt_done *d)
{
    struct tt_engine_client *c = &e->clients_[tt_token_slot(d->token)];
    bool open = c->state == TT_CLIENT_OPENING || c->state == TT_CLIENT_LIVE;

    switch ((enum tt_engine_operation)tt_token_operation(d->token)) {
    case TT_ENGINE_CONNECT: on_connect(e, io, c, d->result); break;
    case TT_ENGINE_SEND:
        if (open && d->result != (int32_t)c->request_bytes) {
            tt_trouble_add(&e->trouble, "client %" PRIu32 ": the request was not taken: %s",
                           tt_client_number(e, c),
                           d->result < 0 ? tt_status_text((enum tt_status)d->result) : "short");
            tt_client_end(e, io, c);
        }
        break;
    case TT_ENGINE_RECV:
        on_recv(e, io, c, d);
        if (d->flags & TT_DONE_BUFFER) tt_io_buffer_return(io, d->buffer);
        break;
    case TT_ENGINE_CLOSE:
        if (c->state == TT_CLIENT_CLOSING) c->state = TT_CLIENT_AWAY;
        break;
    }
}

/* ---- the thread ---- */
static void count_behind(struct tt_engine *e)
{
    uint64_t behind = 1;

    if (e->now_ns_ < e->scan_ns_) return;
    for (uint32_t i = 0; i < e->count; i++) {
        if (e->clients_[i].state == TT_CLIENT_CLOSED) continue;
        behind += tt_proof_behind(&e->proof_, &e->clients_[i].proof, e->published_);
    }
    atomic_store_explicit(&e->behind, behind, memory_order_relaxed);
    e->scan_ns_ = tt_proc_now_ns() + SCAN_NS;
}

static void run(struct tt_engine *e, struct tt_io *io)
{
    struct tt_done done[REAP_MAX];
    unsigned n;

    e->now_ns_ = e->connect_from_ns_ = tt_io_now_ns(io);
    while (!atomic_load_explicit(&e->load->stop, memory_order_relaxed)) {
        uint64_t until_ns = open_clients(e, io);
        uint64_t look_ns = e->now_ns_ + LOOK_AROUND_NS;
        e->published_ = atomic_load_explicit(&e->load->published, memory_order_acquire);
        tt_disturb_look(e, io);
        if (e->special_count_ != 0) look_ns = e->look_ns_;
        if (e->published_ != NULL) count_behind(e);
        tt_io_submit(io, until_ns < look_ns ? until_ns : look_ns);
        e->requests_used_ = 0;
        while ((n = tt_io_reap(io, done, REAP_MAX)) != 0) {
            e->now_ns_ = tt_io_now_ns(io);
            for (unsigned i = 0; i < n; i++) on_done(e, io, &done[i]);
        }
        e->now_ns_ = tt_io_now_ns(io);
    }
    /* A thread that got no time while the run drained has not seen yet what was published. */
    e->published_ = atomic_load_explicit(&e->load->published, memory_order_acquire);
    for (uint32_t i = 0; e->published_ != NULL && i < e->count; i++) {
        tt_proof_finish(&e->proof_, &e->clients_[i].proof, e->first + i, e->published_, &e->end);
    }
}

static void *thread_main(void *context)
{
    struct tt_engine *e = context;
    bool apart = e->first >= e->load->plan->apart;
    struct tt_io *io = tt_load_io(e->load, e->count, apart, &e->trouble);

    /* Whoever else wakes goes first, at once; with a niceness only behind a slice (sched(7)). */
    struct sched_param lowest = {0};
    if (apart) (void)sched_setscheduler(0, SCHED_IDLE, &lowest);
    if (io == NULL) return NULL;
    e->io_name = tt_io_name(io);
    if (tt_io_sockets_max(io) < e->count) {
        tt_trouble_add(&e->trouble,
                       "--clients: one thread can hold %" PRIu32
                       " connections on %s and is to hold "
                       "%" PRIu32 ": raise --threads (io_uring) or the limit of descriptors",
                       tt_io_sockets_max(io), tt_io_name(io), e->count);
    } else {
        run(e, io);
    }
    tt_io_destroy(&io);
    return NULL;
}

/* ---- life ---- */
static void free_memory(struct tt_engine *e)
{
    for (uint32_t i = 0; e->clients_ != NULL && i < e->count; i++) {
        if (i < e->opened_) tt_sse_reader_deinit(&e->clients_[i].reader);
        free(e->clients_[i].cursor);
    }
    free(e->clients_);
    free(e->rows_);
    free(e->requests_);
    free(e->special_);
}

static uint8_t proof_flags(uint8_t roles)
{
    return (uint8_t)((roles & TT_PLAN_CONFLATES ? TT_PROOF_CONFLATES : 0) |
                     (roles & TT_PLAN_MAX_RATE ? TT_PROOF_MAX_RATE : 0) |
                     (roles & TT_PLAN_MAX_LAG ? TT_PROOF_MAX_LAG : 0));
}

static enum tt_status prepare_clients(struct tt_engine *e)
{
    const struct tt_plan *plan = e->load->plan;
    uint32_t *channels = calloc(plan->per_client, sizeof *channels);

    if (channels == NULL) return TT_ENOMEM;
    for (uint32_t i = 0; i < e->count; i++) {
        struct tt_engine_client *c = &e->clients_[i];
        c->roles = plan->roles[e->first + i];
        if (c->roles & (TT_PLAN_SLOW | TT_PLAN_RECONNECTS | TT_PLAN_DISCONNECTS)) {
            e->special_[e->special_count_++] = i;
        }
        tt_plan_channels(plan, e->first + i, channels);
        tt_proof_client_init(&e->proof_, &c->proof, &e->rows_[(size_t)i * plan->per_client],
                             channels, proof_flags(c->roles));
    }
    free(channels);
    return TT_OK;
}

enum tt_status tt_engine_start(struct tt_engine *e, const struct tt_load *load, uint32_t first,
                               uint32_t count)
{
    const struct tt_plan *plan = load->plan;
    *e = (struct tt_engine){.load = load, .first = first, .count = count};
    e->proof_ = (struct tt_proof){plan->per_client, plan->all, plan->kept_every, &e->counts};
    e->random_ = load->options->seed ^ (uint64_t)first << 32;
    tt_histogram_init(&e->latency);
    tt_histogram_init(&e->disturbed);
    tt_histogram_init(&e->connect);
    tt_histogram_init(&e->resume);
    e->clients_ = calloc(count, sizeof *e->clients_);
    e->rows_ = calloc((size_t)count * plan->per_client, sizeof *e->rows_);
    e->requests_ = calloc(TT_IO_SENDS_PER_SUBMIT, sizeof *e->requests_);
    e->special_ = calloc(count, sizeof *e->special_);
    if (e->clients_ == NULL || e->rows_ == NULL || e->requests_ == NULL || e->special_ == NULL ||
        prepare_clients(e) != TT_OK || pthread_create(&e->thread, NULL, thread_main, e) != 0) {
        free_memory(e);
        return TT_ENOMEM;
    }
    return TT_OK;
}

void tt_engine_stop(struct tt_engine *e)
{
    TT_ASSERT(atomic_load(&e->load->stop));
    pthread_join(e->thread, NULL);
    free_memory(e);
}
