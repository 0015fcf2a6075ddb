#include "tools/ttload/publisher.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/assert.h"
#include "tools/ttload/payload.h"
#include "tools/ttload/post.h"
#include "tools/ttload/proc.h"

#define LOOK_AROUND_NS 20000000u
#define ANSWER_MAX_NS  UINT64_C(10000000000) /* an answer that takes longer never comes */

struct tt_publisher_connection {
    struct tt_post post;
    uint32_t number;     /* of the connection */
    uint64_t next;       /* the number of its next event in the whole run */
    uint64_t idle_ns;    /* since when it could have sent */
    uint64_t written_ns; /* its last request */
    uint64_t first;      /* the events of that request: from here ... */
    uint32_t events;     /* ... so many of this connection's */
    bool failed;
};

static uint64_t due_of(const struct tt_publisher *p, uint64_t event)
{
    uint64_t rate = p->load->options->rate;
    if (rate == 0) return p->now_ns_;
    return p->start_ns + event / rate * 1000000000u + event % rate * 1000000000u / rate;
}

static uint32_t channel_of(const struct tt_publisher *p, uint64_t event)
{
    return tt_plan_event_channel(p->load->plan, event);
}

/* The event behind `event` whose channel keeps to the connection `mine`. */
static uint64_t next_of(const struct tt_publisher *p, uint64_t event, uint32_t mine)
{
    do {
        event++;
    } while (p->count_ != 1 && channel_of(p, event) % p->count_ != mine);
    return event;
}

/* Writes and sends what is due. */
static void publish(struct tt_publisher *p, struct tt_io *io, struct tt_publisher_connection *c)
{
    const struct tt_run_options *o = p->load->options;
    bool single = o->publish == TT_PUBLISH_SINGLE;
    uint64_t most = single ? 1 : o->publish_batch;
    char head[512];

    uint64_t due_ns = due_of(p, c->next);
    uint64_t could_ns = due_ns > c->idle_ns ? due_ns : c->idle_ns;
    if (o->rate != 0) tt_histogram_record(&p->lateness, p->now_ns_ - could_ns);
    c->post.body.size = 0;
    c->first = c->next;
    c->events = 0;
    while (c->events < most && due_ns <= p->now_ns_ && due_ns < p->end_ns) {
        uint32_t channel = channel_of(p, c->next);
        uint32_t seq = ++p->written_[channel];
        bool kept = tt_plan_kept(p->load->plan->kept_every, seq - 1, seq) != 0;
        struct tt_payload payload = {seq, channel, due_ns, kept};
        tt_payload_write(&c->post.body, &payload, o->event_bytes);
        if (!single) tt_write_char(&c->post.body, '\n');
        c->events++;
        c->next = next_of(p, c->next, c->number);
        due_ns = due_of(p, c->next);
    }
    struct tt_writer w = tt_writer(head, sizeof head);
    tt_write_format(&w, "POST %s/publish HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\n", o->prefix,
                    p->load->host, single ? "application/json" : "application/x-ndjson");
    TT_ASSERT(!w.overflow && c->events != 0);
    c->written_ns = p->now_ns_;
    tt_post_send(&c->post, io, tt_writer_bytes(&w));
}

static void on_answer(struct tt_publisher *p, struct tt_publisher_connection *c)
{
    char expected[64];
    struct tt_bytes answer = c->post.answer;
    bool single = p->load->options->publish == TT_PUBLISH_SINGLE;

    snprintf(expected, sizeof expected, "{\"count\":%" PRIu32 ",", c->events);
    if (c->post.status != 202 ||
        !tt_bytes_starts(answer, tt_bytes_text(single ? "{\"id\":" : expected))) {
        tt_trouble_add(&p->trouble, "publishing %" PRIu32 " events: answered %u %.*s", c->events,
                       c->post.status, answer.size < 160 ? (int)answer.size : 160,
                       (const char *)answer.data);
        c->failed = true;
        return;
    }
    tt_histogram_record(&p->answer, p->now_ns_ - c->written_ns);
    uint64_t event = c->first;
    uint64_t owed = 0;
    for (uint32_t i = 0; i < c->events; i++) {
        uint32_t channel = channel_of(p, event);
        p->published[channel]++;
        owed += p->load->plan->followers[channel];
        event = next_of(p, event, c->number);
    }
    tt_counter_add(&p->owed, owed);
    tt_counter_add(&p->accepted, c->events);
    c->idle_ns = p->now_ns_;
    c->events = 0;
}

static void on_done(struct tt_publisher *p, struct tt_io *io, const struct tt_done *d)
{
    struct tt_publisher_connection *c = &p->connections_[tt_token_slot(d->token)];

    switch (tt_post_done(&c->post, io, d)) {
    case TT_POST_NOTHING: break;
    case TT_POST_CONNECTED: c->idle_ns = p->now_ns_; break;
    case TT_POST_ANSWERED:
        on_answer(p, c);
        if (c->post.state == TT_POST_IDLE) break;
        tt_trouble_add(&p->trouble, "publishing: the broker does not keep the connection");
        c->failed = true;
        break;
    case TT_POST_LOST:
        tt_trouble_add(&p->trouble, "publishing to %s: %s", p->load->host, c->post.why);
        c->failed = true;
        break;
    }
}

/* Sends what can be sent. Returns when to look again; 0: everything has ended. */
static uint64_t turn(struct tt_publisher *p, struct tt_io *io)
{
    uint64_t until_ns = p->now_ns_ + LOOK_AROUND_NS;
    bool running = false;

    for (uint32_t i = 0; i < p->count_; i++) {
        struct tt_publisher_connection *c = &p->connections_[i];
        uint64_t due_ns = due_of(p, c->next);
        if (c->failed) continue;
        if (c->post.state == TT_POST_WAITING && p->now_ns_ > c->written_ns + ANSWER_MAX_NS) {
            tt_trouble_add(&p->trouble, "publishing: no answer within 10 s");
            c->failed = true;
            continue;
        }
        if (c->post.state == TT_POST_IDLE && due_ns >= p->end_ns) continue;
        running = true;
        if (c->post.state != TT_POST_IDLE) continue;
        if (due_ns > p->now_ns_) {
            if (due_ns < until_ns) until_ns = due_ns;
            continue;
        }
        if (tt_io_sends_full(io)) return p->now_ns_;
        publish(p, io, c);
    }
    return running ? until_ns : 0;
}

static void run(struct tt_publisher *p, struct tt_io *io)
{
    struct tt_done done[64];
    uint64_t until_ns;
    unsigned n;

    p->now_ns_ = tt_io_now_ns(io);
    for (uint32_t i = 0; i < p->count_; i++) {
        tt_post_connect(&p->connections_[i].post, io, &p->load->options->address);
    }
    while (!atomic_load_explicit(&p->load->stop, memory_order_relaxed) &&
           (until_ns = turn(p, io)) != 0) {
        tt_io_submit(io, until_ns);
        p->now_ns_ = tt_io_now_ns(io);
        while ((n = tt_io_reap(io, done, 64)) != 0) {
            for (unsigned i = 0; i < n; i++) on_done(p, io, &done[i]);
        }
    }
}

static void *thread_main(void *context)
{
    struct tt_publisher *p = context;
    struct tt_io *io = tt_load_io(p->load, p->count_, false, &p->trouble);
    if (io != NULL) {
        p->io_name = tt_io_name(io);
        run(p, io);
        tt_io_destroy(&io);
    }
    atomic_store_explicit(&p->cpu_ns, tt_proc_thread_cpu_ns(), memory_order_relaxed);
    atomic_store_explicit(&p->ended, true, memory_order_release);
    return NULL;
}

static enum tt_status allocate(struct tt_publisher *p)
{
    const struct tt_run_options *o = p->load->options;
    size_t events = o->publish == TT_PUBLISH_SINGLE ? 1 : o->publish_batch;
    size_t body_bytes = events * (o->event_bytes + TT_PAYLOAD_ENVELOPE_BYTES);

    p->connections_ = calloc(p->count_, sizeof *p->connections_);
    p->written_ = calloc(p->load->plan->channels, sizeof *p->written_);
    p->published = calloc(p->load->plan->channels, sizeof *p->published);
    if (p->connections_ == NULL || p->written_ == NULL || p->published == NULL) return TT_ENOMEM;
    for (uint32_t i = 0; i < p->count_; i++) {
        struct tt_publisher_connection *c = &p->connections_[i];
        c->number = i;
        if (channel_of(p, 0) % p->count_ != i) c->next = next_of(p, 0, i);
        if (tt_post_init(&p->connections_[i].post, i, body_bytes) != TT_OK) return TT_ENOMEM;
    }
    return TT_OK;
}

static void release(struct tt_publisher *p)
{
    for (uint32_t i = 0; p->connections_ != NULL && i < p->count_; i++) {
        tt_post_deinit(&p->connections_[i].post);
    }
    free(p->connections_);
    free(p->written_);
}

enum tt_status tt_publisher_start(struct tt_publisher *p, const struct tt_load *load,
                                  uint64_t start_ns, uint64_t end_ns)
{
    *p = (struct tt_publisher){.load = load, .start_ns = start_ns, .end_ns = end_ns};
    p->count_ = (uint32_t)load->options->publish_connections;
    tt_histogram_init(&p->lateness);
    tt_histogram_init(&p->answer);
    if (allocate(p) != TT_OK || pthread_create(&p->thread, NULL, thread_main, p) != 0) {
        release(p);
        tt_publisher_deinit(p);
        return TT_ENOMEM;
    }
    return TT_OK;
}

void tt_publisher_stop(struct tt_publisher *p)
{
    pthread_join(p->thread, NULL);
    release(p);
}

void tt_publisher_deinit(struct tt_publisher *p)
{
    free(p->published);
    p->published = NULL;
}
