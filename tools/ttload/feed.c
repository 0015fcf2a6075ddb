#include "tools/ttload/feed.h"

#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "proto/base/assert.h"
#include "tools/ttload/batch.h"
#include "tools/ttload/market.h"
#include "tools/ttload/post.h"
#include "tools/ttload/settle.h"

#define BACKOFF_FIRST_NS 50000000u
#define ANSWER_MAX_NS    UINT64_C(10000000000) /* an answer that takes longer never comes */
#define STOP_MAX_NS      UINT64_C(2000000000)  /* waited for the last answer when stopped */

enum feed_state {
    FEED_AWAY,     /* no connection: try at retry_ns */
    FEED_READY,    /* nothing is on its way */
    FEED_HOLDING,  /* the batch was refused for now: send it at retry_ns */
    FEED_ASKED,    /* the batch was sent */
    FEED_SETTLING, /* the batch's fate is being found out */
    FEED_FAILED,
};

struct feed {
    const struct tt_feed_options *options;
    char host[TT_ADDRESS_TEXT_MAX];
    struct tt_io *io;
    enum feed_state state;
    bool unsettled; /* the batch may or may not have been taken */
    bool told_away;
    struct tt_post post;
    struct tt_settle settle;
    struct tt_market market;
    struct tt_batch batch;
    char cursor[128]; /* id of the last event that the broker is known to have taken */
    uint64_t now_ns;
    uint64_t start_ns;  /* of the schedule: event `published - base` is due at start + ... / rate */
    uint64_t base;      /* `published` at start_ns */
    uint64_t published; /* events that the broker has */
    uint64_t retry_ns;
    uint64_t backoff_ns;
    uint64_t asked_ns;
};

/* Written by the signal handler. */
static _Atomic bool stopped;
static _Atomic(struct tt_io *) stop_io;

static void on_signal(int number)
{
    (void)number;
    atomic_store(&stopped, true);
    struct tt_io *io = atomic_load(&stop_io);
    if (io != NULL) tt_io_wake_from_outside(io);
}

static void say(const struct feed *f, const char *text, const char *detail)
{
    if (!f->options->quiet) fprintf(stderr, "ttload feed: %s%s\n", text, detail);
}

/* ---- schedule ---- */
static uint64_t due_ns(const struct feed *f, uint64_t event)
{
    uint64_t rate = f->options->rate;
    uint64_t at = event - f->base;
    return f->start_ns + at / rate * 1000000000u + at % rate * 1000000000u / rate;
}

static void restart_schedule(struct feed *f)
{
    f->start_ns = f->now_ns;
    f->base = f->published;
    f->backoff_ns = BACKOFF_FIRST_NS;
}

static void back_off(struct feed *f, uint32_t at_least_s)
{
    uint64_t wait_ns = f->backoff_ns;
    if (wait_ns < at_least_s * UINT64_C(1000000000)) wait_ns = at_least_s * UINT64_C(1000000000);
    /* Half of it by chance, so that several feeds do not come back as one. */
    f->retry_ns = f->now_ns + wait_ns / 2 + tt_io_random(f->io) % (wait_ns / 2 + 1);
    f->backoff_ns *= 2;
    if (f->backoff_ns > f->options->backoff_ms * 1000000u) {
        f->backoff_ns = f->options->backoff_ms * 1000000u;
    }
}

static void go_away(struct feed *f, const char *why)
{
    if (!f->told_away) say(f, "the broker is away, trying again until it is back: ", why);
    f->told_away = true;
    f->state = FEED_AWAY;
    tt_post_close(&f->post, f->io);
    tt_settle_close(&f->settle, f->io);
    back_off(f, 0);
}

/* ---- asking ---- */
static void post(struct feed *f)
{
    char head[640];
    struct tt_writer w = tt_writer(head, sizeof head);
    tt_write_format(&w,
                    "POST %s/publish HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n",
                    f->options->prefix, f->host);
    TT_ASSERT(!w.overflow);
    f->asked_ns = f->now_ns;
    tt_post_send(&f->post, f->io, tt_writer_bytes(&w));
}

static void send_batch(struct feed *f)
{
    f->post.body.size = 0;
    f->state = FEED_ASKED;
    if (tt_batch_write(&f->batch, &f->post.body) != 0) post(f);
}

static void next_batch(struct feed *f)
{
    uint64_t last = f->options->count == 0 ? UINT64_MAX : f->options->count;

    tt_batch_clear(&f->batch);
    while (f->batch.count < TT_BATCH_EVENTS_MAX && f->published + f->batch.count < last &&
           due_ns(f, f->published + f->batch.count) <= f->now_ns) {
        tt_batch_add(&f->batch, &f->market);
    }
    send_batch(f);
}

static void finish_batch(struct feed *f)
{
    f->published += f->batch.count;
    tt_batch_clear(&f->batch);
    f->state = FEED_READY;
}

static void connected(struct feed *f)
{
    if (f->told_away) say(f, "connected to ", f->host);
    f->told_away = false;
    restart_schedule(f);
    if (f->unsettled) {
        f->state = FEED_SETTLING;
        tt_settle_start(&f->settle, f->io, &f->options->address, f->host, f->options->prefix,
                        f->cursor, tt_io_random(f->io), &f->batch);
    } else if (f->batch.count != 0) {
        send_batch(f);
    } else {
        f->state = FEED_READY;
    }
}

/* ---- answers ---- */
/* Keeps the last id of {"ids":["...","..."]}. */
static void keep_cursor(struct feed *f, struct tt_bytes answer)
{
    size_t end = answer.size;
    while (end != 0 && answer.data[end - 1] != '"') end--;
    size_t start = end == 0 ? 0 : end - 1;
    while (start != 0 && answer.data[start - 1] != '"') start--;
    if (start == 0 || end - 1 - start >= sizeof f->cursor) return;
    memcpy(f->cursor, answer.data + start, end - 1 - start);
    f->cursor[end - 1 - start] = '\0';
}

static void on_answer(struct feed *f)
{
    struct tt_post *p = &f->post;
    struct tt_bytes answer = p->answer;
    bool for_now = p->status == 503 || p->status == 429;
    bool whole = tt_bytes_starts(answer, TT_BYTES_LITERAL("{\"error\""));

    if (p->status == 202 && f->state == FEED_SETTLING) return;
    if (p->status == 202) {
        keep_cursor(f, answer);
        finish_batch(f);
        f->backoff_ns = BACKOFF_FIRST_NS;
    } else if (for_now && whole && f->state == FEED_ASKED) {
        f->state = FEED_HOLDING;
        back_off(f, p->retry_after_s);
    } else if (p->status >= 500 || for_now) {
        f->unsettled = true;
        go_away(f, "it answered with an error of its own");
    } else {
        fprintf(stderr, "ttload feed: publishing was refused: %u %.*s\n", p->status,
                answer.size < 300 ? (int)answer.size : 300, (const char *)answer.data);
        f->state = FEED_FAILED;
    }
}

static void on_post(struct feed *f, const struct tt_done *d)
{
    switch (tt_post_done(&f->post, f->io, d)) {
    case TT_POST_NOTHING: return;
    case TT_POST_CONNECTED: connected(f); return;
    case TT_POST_ANSWERED:
        on_answer(f);
        if (f->post.state == TT_POST_IDLE || f->state == FEED_FAILED) return;
        if (f->state != FEED_AWAY) go_away(f, "it closes the connection");
        return;
    case TT_POST_LOST:
        if (f->post.lost_request && f->state == FEED_ASKED) f->unsettled = true;
        if (f->state != FEED_AWAY || f->post.state == TT_POST_CLOSED) go_away(f, f->post.why);
        return;
    }
}

static void on_settle(struct feed *f, const struct tt_done *d)
{
    switch (tt_settle_done(&f->settle, f->io, d)) {
    case TT_SETTLE_NOTHING: return;
    case TT_SETTLE_LISTENING:
        if (f->state != FEED_SETTLING || f->post.state != TT_POST_IDLE) return;
        f->post.body.size = 0;
        tt_settle_write_mark(&f->settle, &f->post.body);
        post(f);
        return;
    case TT_SETTLE_SETTLED: f->unsettled = false; return;
    case TT_SETTLE_LOST:
        if (f->state == FEED_SETTLING) go_away(f, "it ended the stream");
        return;
    }
}

/* ---- the loop ---- */
/* The batch's fate is known and the mark is answered: what was not taken is sent again. */
static void after_settling(struct feed *f)
{
    uint32_t taken = 0;
    for (uint32_t i = 0; i < f->batch.count; i++) taken += f->batch.events[i].taken ? 1 : 0;
    if (taken == f->batch.count) {
        finish_batch(f);
        return;
    }
    send_batch(f);
}

/* Starts what is due; returns when to look again. */
static uint64_t act(struct feed *f)
{
    bool quiet = f->post.state == TT_POST_CLOSED && f->settle.state == TT_SETTLE_CLOSED;

    switch (f->state) {
    case FEED_AWAY:
        if (f->now_ns < f->retry_ns) return f->retry_ns;
        if (quiet) tt_post_connect(&f->post, f->io, &f->options->address);
        return UINT64_MAX;
    case FEED_HOLDING:
        if (f->now_ns < f->retry_ns) return f->retry_ns;
        send_batch(f);
        return UINT64_MAX;
    case FEED_READY:
        if (due_ns(f, f->published) > f->now_ns) return due_ns(f, f->published);
        next_batch(f);
        break;
    case FEED_SETTLING:
        if (!f->unsettled && f->post.state == TT_POST_IDLE && f->settle.state != TT_SETTLE_OPEN) {
            after_settling(f);
            if (f->state == FEED_READY) return f->now_ns;
        }
        break;
    case FEED_ASKED:
    case FEED_FAILED: break;
    }
    if (f->post.state == TT_POST_WAITING && f->now_ns >= f->asked_ns + ANSWER_MAX_NS) {
        if (f->state == FEED_ASKED) f->unsettled = true;
        go_away(f, "no answer within 10 s");
        return f->retry_ns;
    }
    return f->asked_ns + ANSWER_MAX_NS;
}

static bool finished(const struct feed *f, uint64_t stopped_ns)
{
    bool done = f->options->count != 0 && f->published >= f->options->count;
    if (f->state == FEED_FAILED || (done && f->state == FEED_READY)) return true;
    if (stopped_ns == 0) return false;
    /* What was sent gets its answer, unless the broker is away anyway. */
    return (f->state != FEED_ASKED && f->state != FEED_SETTLING) ||
           f->now_ns > stopped_ns + STOP_MAX_NS;
}

static void run(struct feed *f)
{
    struct tt_done done[32];
    uint64_t stopped_ns = 0;
    unsigned n;

    f->now_ns = tt_io_now_ns(f->io);
    f->retry_ns = f->now_ns;
    f->backoff_ns = BACKOFF_FIRST_NS;
    while (!finished(f, stopped_ns)) {
        uint64_t until_ns = act(f);
        if (stopped_ns != 0 && until_ns > stopped_ns + STOP_MAX_NS) {
            until_ns = stopped_ns + STOP_MAX_NS + 1;
        }
        tt_io_submit(f->io, until_ns);
        f->now_ns = tt_io_now_ns(f->io);
        while ((n = tt_io_reap(f->io, done, 32)) != 0) {
            for (unsigned i = 0; i < n; i++) {
                bool settle = tt_token_operation(done[i].token) >= TT_SETTLE_CONNECT;
                if (settle) on_settle(f, &done[i]);
                if (!settle) on_post(f, &done[i]);
            }
        }
        if (stopped_ns == 0 && atomic_load(&stopped)) stopped_ns = f->now_ns;
    }
}

static void catch_signals(struct tt_io *io)
{
    struct sigaction action = {.sa_handler = on_signal};
    atomic_store(&stop_io, io);
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

int tt_feed(const struct tt_feed_options *options)
{
    struct tt_io_options io_options = {.kind = tt_options_io_kind(options->io),
                                       .sockets_max = 8,
                                       .recv_buffer_bytes = 16384,
                                       .recv_buffers = 16,
                                       .files_max = 1};
    char text[256] = "";
    struct feed *f = calloc(1, sizeof *f);

    if (f == NULL || tt_io_create(&f->io, &io_options, text, sizeof text) != TT_OK ||
        tt_post_init(&f->post, 0, TT_BATCH_BODY_BYTES_MAX) != TT_OK) {
        fprintf(stderr, "ttload feed: cannot start: %s\n", text[0] == '\0' ? "no memory" : text);
        if (f != NULL) tt_io_destroy(&f->io);
        free(f);
        return 1;
    }
    f->options = options;
    f->state = FEED_AWAY;
    tt_address_text(&options->address, f->host);
    tt_market_init(&f->market, (uint32_t)options->symbols, (uint32_t)options->trades,
                   options->seed);
    snprintf(text, sizeof text, "%" PRIu64 " symbols, %" PRIu64 " events/s, to ", options->symbols,
             options->rate);
    say(f, text, options->url);
    catch_signals(f->io);
    run(f);
    atomic_store(&stop_io, NULL);
    snprintf(text, sizeof text, "published %" PRIu64 " events%s", f->published,
             f->unsettled || f->batch.count != 0 ? ", and some whose answer is missing" : "");
    say(f, text, "");
    int status = f->state == FEED_FAILED ? 1 : 0;
    tt_settle_close(&f->settle, f->io);
    tt_io_destroy(&f->io);
    tt_post_deinit(&f->post);
    free(f);
    return status;
}
