#include "tools/ttload/engine.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/assert.h"
#include "tools/ttload/payload.h"

enum operation { OP_CONNECT = 1, OP_SEND, OP_RECV, OP_CLOSE };
enum client_state { CLIENT_NEW = 0, CLIENT_CONNECTING, CLIENT_OPENING, CLIENT_LIVE, CLIENT_CLOSED };

#define REAP_MAX       64u       /* completions between two looks at the clock */
#define LOOK_AROUND_NS 20000000u /* how often `stop` is seen without a wake */

struct tt_engine_client {
    struct tt_sse_reader reader;
    uint64_t start_ns;
    tt_socket socket;
    uint32_t request_bytes;
    enum client_state state;
};

struct tt_engine_request {
    char text[8192]; /* 200 channels of at most 11 bytes and a comma, percent-free; and the query */
};

static uint32_t number_of(const struct tt_engine *e, const struct tt_engine_client *c)
{
    return e->first + (uint32_t)(c - e->clients_);
}

static void end_client(struct tt_engine *e, struct tt_io *io, struct tt_engine_client *c)
{
    if (c->state == CLIENT_CONNECTING || c->state == CLIENT_OPENING) e->opening_--;
    if (c->state == CLIENT_OPENING || c->state == CLIENT_LIVE) {
        tt_io_close(io, c->socket, tt_token(OP_CLOSE, 0, (uint32_t)(c - e->clients_)));
    }
    c->state = CLIENT_CLOSED;
    tt_sse_reader_deinit(&c->reader);
}

/* ---- opening ---- */
static void write_request(const struct tt_engine *e, uint32_t client, struct tt_writer *w)
{
    const struct tt_load *load = e->load;

    tt_write_format(w, "GET %s/sse?channels=", load->options->prefix);
    if (load->options->channels_per_client == 0) {
        tt_write_text(w, TT_PAYLOAD_CHANNEL_PREFIX "*");
    } else {
        uint32_t channel = tt_load_first_channel(load, client);
        for (uint32_t i = 0; i < load->per_client; i++) {
            if (i != 0) tt_write_char(w, ',');
            tt_write_text(w, TT_PAYLOAD_CHANNEL_PREFIX);
            tt_write_u64(w, (channel + i) % load->channels);
        }
    }
    if (load->options->query[0] != '\0') tt_write_format(w, "&%s", load->options->query);
    tt_write_format(w, " HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n\r\n", load->host);
}

static void send_request(struct tt_engine *e, struct tt_io *io, struct tt_engine_client *c)
{
    if (e->requests_used_ == TT_IO_SENDS_PER_SUBMIT || tt_io_sends_full(io)) {
        tt_io_submit(io, 0);
        e->requests_used_ = 0;
    }
    char *text = e->requests_[e->requests_used_++].text;
    struct tt_writer w = tt_writer(text, sizeof e->requests_[0].text);
    write_request(e, number_of(e, c), &w);
    uint32_t slot = (uint32_t)(c - e->clients_);
    if (w.overflow) {
        tt_trouble_add(&e->trouble, "--query: the request is longer than 8,192 bytes");
        end_client(e, io, c);
        return;
    }
    c->request_bytes = (uint32_t)w.size;
    struct tt_slice slice = {text, w.size};
    tt_io_send(io, c->socket, &slice, 1, tt_token(OP_SEND, 0, slot));
    tt_io_recv(io, c->socket, tt_token(OP_RECV, 0, slot));
}

static void local_address(const struct tt_load *load, uint32_t client, struct tt_address *local)
{
    /* 127.1.0.1 and on: every address of 127.0.0.0/8 is ours on loopback. */
    uint32_t ip = 0x7F010001u + (uint32_t)(client / load->options->clients_per_address);
    *local = (struct tt_address){.family = TT_ADDRESS_IP4};
    for (unsigned i = 0; i < 4; i++) local->ip[i] = (uint8_t)(ip >> (24 - 8 * i));
}

/* Opens what burst and rate allow; returns when to look again. */
static uint64_t open_clients(struct tt_engine *e, struct tt_io *io)
{
    const struct tt_run_options *o = e->load->options;
    bool loopback = o->address.family == TT_ADDRESS_IP4 && tt_address_is_loopback(&o->address);

    while (e->opened_ < e->count && e->opening_ < o->connect_burst) {
        uint64_t at_ns = 0;
        if (o->connect_rate != 0) {
            at_ns = e->connect_from_ns_ + e->opened_ * o->threads * 1000000000u / o->connect_rate;
            if (at_ns > e->now_ns_) return at_ns;
        }
        struct tt_address local;
        struct tt_engine_client *c = &e->clients_[e->opened_];
        local_address(e->load, e->first + e->opened_, &local);
        tt_sse_reader_init(&c->reader);
        c->state = CLIENT_CONNECTING;
        c->start_ns = at_ns != 0 ? at_ns : e->now_ns_;
        tt_io_connect(io, loopback ? &local : NULL, &o->address, NULL,
                      tt_token(OP_CONNECT, 0, e->opened_));
        e->opened_++;
        e->opening_++;
    }
    return UINT64_MAX;
}

/* ---- receiving ---- */
static void take_load_event(struct tt_engine *e, struct tt_engine_client *c,
                            const struct tt_sse_event *event)
{
    const struct tt_load *load = e->load;
    uint32_t number = number_of(e, c);
    struct tt_payload payload;

    if (event->data_lines != 1 || !event->has_id ||
        tt_payload_read(event->data, load->options->event_bytes, &payload) != TT_OK ||
        payload.channel >= load->channels) {
        tt_trouble_add(&e->trouble, "client %" PRIu32 ": not an event that was published: %.*s",
                       number, event->data.size < 100 ? (int)event->data.size : 100,
                       (const char *)event->data.data);
        return;
    }
    uint32_t place = payload.channel + load->channels - tt_load_first_channel(load, number);
    if (place >= load->channels) place -= load->channels;
    if (place >= load->per_client) {
        tt_trouble_add(&e->trouble,
                       "client %" PRIu32 ": got channel %" PRIu32 " without following it", number,
                       payload.channel);
        return;
    }
    size_t row = (size_t)(c - e->clients_) * load->per_client;
    switch (tt_sequence_take(&e->sequences_[row + place], payload.seq)) {
    case TT_SEQUENCE_DOUBLED: tt_counter_add(&e->doubled, 1); return;
    case TT_SEQUENCE_LATE: tt_counter_add(&e->reordered, 1); break;
    case TT_SEQUENCE_GAP: tt_counter_add(&e->gaps, 1); break;
    case TT_SEQUENCE_NEXT: break;
    }
    tt_counter_add(&e->delivered, 1);
    if (payload.due_ns >= atomic_load_explicit(&load->measure_from_ns, memory_order_relaxed)) {
        tt_histogram_record(&e->latency,
                            e->now_ns_ > payload.due_ns ? e->now_ns_ - payload.due_ns : 0);
    }
}

static void take_event(struct tt_engine *e, struct tt_engine_client *c,
                       const struct tt_sse_event *event)
{
    if (tt_bytes_is(event->type, TT_PAYLOAD_TYPE)) {
        take_load_event(e, c, event);
    } else if (tt_bytes_is(event->type, "connected")) {
        if (c->state != CLIENT_OPENING) {
            tt_trouble_add(&e->trouble, "client %" PRIu32 ": connected twice", number_of(e, c));
            return;
        }
        c->state = CLIENT_LIVE;
        e->opening_--;
        tt_histogram_record(&e->connect, e->now_ns_ - c->start_ns);
        tt_counter_add(&e->connected, 1);
    } else if (tt_bytes_is(event->type, "gap") || tt_bytes_is(event->type, "resync")) {
        tt_counter_add(&e->notices, 1);
    } else if (event->type.size != 0 && !tt_bytes_is(event->type, "ping")) {
        tt_trouble_add(&e->trouble, "client %" PRIu32 ": unexpected event %.*s: %.*s",
                       number_of(e, c), (int)event->type.size, (const char *)event->type.data,
                       event->data.size < 100 ? (int)event->data.size : 100,
                       (const char *)event->data.data);
    } else if (event->type.size == 0 && event->data_lines != 0) {
        tt_trouble_add(&e->trouble, "client %" PRIu32 ": an event without a type", number_of(e, c));
    }
}

static void take_bytes(struct tt_engine *e, struct tt_io *io, struct tt_engine_client *c,
                       struct tt_bytes in)
{
    struct tt_sse_event event;
    enum tt_status status;

    tt_counter_add(&e->bytes, in.size);
    tt_counter_add(&e->receives, 1);
    while ((status = tt_sse_reader_next(&c->reader, &in, &event)) == TT_OK) {
        take_event(e, c, &event);
    }
    if (status == TT_MORE) return;
    if (status == TT_END) {
        tt_trouble_add(&e->trouble, "client %" PRIu32 ": the broker ended the stream",
                       number_of(e, c));
    } else {
        tt_trouble_add(&e->trouble, "client %" PRIu32 ": %s (status %u)", number_of(e, c),
                       status == TT_EPROTO ? tt_sse_reader_why(&c->reader) : tt_status_text(status),
                       tt_sse_reader_status(&c->reader));
    }
    end_client(e, io, c);
}

static void on_connect(struct tt_engine *e, struct tt_io *io, struct tt_engine_client *c,
                       int32_t result)
{
    if (result < 0) {
        tt_trouble_add(&e->trouble, "client %" PRIu32 ": connecting to %s: %s", number_of(e, c),
                       e->load->host, tt_status_text((enum tt_status)result));
        end_client(e, io, c);
        return;
    }
    c->socket = (tt_socket)result;
    c->state = CLIENT_OPENING;
    send_request(e, io, c);
}

static void on_done(struct tt_engine *e, struct tt_io *io, const struct tt_done *d)
{
    struct tt_engine_client *c = &e->clients_[tt_token_slot(d->token)];

    switch ((enum operation)tt_token_operation(d->token)) {
    case OP_CONNECT: on_connect(e, io, c, d->result); break;
    case OP_SEND:
        if (c->state != CLIENT_CLOSED && d->result != (int32_t)c->request_bytes) {
            tt_trouble_add(&e->trouble, "client %" PRIu32 ": the request was not taken: %s",
                           number_of(e, c),
                           d->result < 0 ? tt_status_text((enum tt_status)d->result) : "short");
            end_client(e, io, c);
        }
        break;
    case OP_RECV:
        if (c->state != CLIENT_CLOSED && d->result > 0) {
            take_bytes(e, io, c, d->data);
        } else if (c->state != CLIENT_CLOSED) {
            tt_trouble_add(&e->trouble, "client %" PRIu32 ": the broker closed the connection%s%s",
                           number_of(e, c), d->result < 0 ? ": " : "",
                           d->result < 0 ? tt_status_text((enum tt_status)d->result) : "");
            end_client(e, io, c);
        }
        if (d->flags & TT_DONE_BUFFER) tt_io_buffer_return(io, d->buffer);
        break;
    case OP_CLOSE: break;
    }
}

/* ---- the thread ---- */
static void run(struct tt_engine *e, struct tt_io *io)
{
    struct tt_done done[REAP_MAX];
    unsigned n;

    e->now_ns_ = e->connect_from_ns_ = tt_io_now_ns(io);
    while (!atomic_load_explicit(&e->load->stop, memory_order_relaxed)) {
        uint64_t until_ns = open_clients(e, io);
        if (until_ns > e->now_ns_ + LOOK_AROUND_NS) until_ns = e->now_ns_ + LOOK_AROUND_NS;
        tt_io_submit(io, until_ns);
        e->requests_used_ = 0;
        while ((n = tt_io_reap(io, done, REAP_MAX)) != 0) {
            e->now_ns_ = tt_io_now_ns(io);
            for (unsigned i = 0; i < n; i++) on_done(e, io, &done[i]);
        }
        e->now_ns_ = tt_io_now_ns(io);
    }
}

static void *thread_main(void *context)
{
    struct tt_engine *e = context;
    struct tt_io *io = tt_load_io(e->load, e->count, &e->trouble);

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

static void free_memory(struct tt_engine *e)
{
    for (uint32_t i = 0; e->clients_ != NULL && i < e->opened_; i++) {
        tt_sse_reader_deinit(&e->clients_[i].reader);
    }
    free(e->clients_);
    free(e->sequences_);
    free(e->requests_);
}

enum tt_status tt_engine_start(struct tt_engine *e, const struct tt_load *load, uint32_t first,
                               uint32_t count)
{
    *e = (struct tt_engine){.load = load, .first = first, .count = count};
    tt_histogram_init(&e->latency);
    tt_histogram_init(&e->connect);
    e->clients_ = calloc(count, sizeof *e->clients_);
    e->sequences_ = calloc((size_t)count * load->per_client, sizeof *e->sequences_);
    e->requests_ = calloc(TT_IO_SENDS_PER_SUBMIT, sizeof *e->requests_);
    if (e->clients_ == NULL || e->sequences_ == NULL || e->requests_ == NULL ||
        pthread_create(&e->thread, NULL, thread_main, e) != 0) {
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
