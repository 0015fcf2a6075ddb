#include "tools/ttload/disturb.h"

#include <inttypes.h>

#define LOOK_NS     5000000u    /* between two looks at the special clients */
#define PATIENCE_NS 1000000000u /* waited for bytes to cut within */

static uint64_t random_below(struct tt_engine *e, uint64_t n)
{
    return n == 0 ? 0 : tt_plan_random(&e->random_) % n;
}

/* ---- reading ---- */
void tt_disturb_read(struct tt_engine *e, struct tt_io *io, struct tt_engine_client *c)
{
    c->reads = true;
    if (c->receiving) return;
    c->receiving = true;
    tt_io_recv(io, c->socket, tt_client_token(e, c, TT_ENGINE_RECV));
}

static void stop_reading(struct tt_io *io, struct tt_engine_client *c)
{
    c->reads = false;
    if (c->receiving) tt_io_recv_pause(io, c->socket);
}

static void slow_phase(struct tt_engine *e, struct tt_io *io, struct tt_engine_client *c,
                       enum tt_slow_phase phase, uint64_t until_ns)
{
    if (c->slow != TT_SLOW_STOPPED && phase == TT_SLOW_STOPPED) tt_counter_add(&e->stopped, 1);
    if (c->slow == TT_SLOW_STOPPED && phase != TT_SLOW_STOPPED) tt_counter_take(&e->stopped, 1);
    c->slow = (uint8_t)phase;
    c->slow_ns = until_ns;
    if (c->state != TT_CLIENT_LIVE) return;
    if (phase == TT_SLOW_STOPPED) {
        stop_reading(io, c);
    } else {
        tt_disturb_read(e, io, c);
    }
}

static void look_slow(struct tt_engine *e, struct tt_io *io, struct tt_engine_client *c)
{
    const struct tt_run_options *o = e->load->options;
    uint64_t stop_ns = o->slow_stop_ms * 1000000u;
    uint64_t read_ns = o->slow_read_ms * 1000000u;

    /* On a new connection. */
    if (c->slow == TT_SLOW_STOPPED && c->reads) stop_reading(io, c);
    if (c->slow == TT_SLOW_OVER || e->now_ns_ < c->slow_ns) return;
    switch ((enum tt_slow_kind)o->slow) {
    case TT_SLOW_STOP:
        if (c->slow == TT_SLOW_NOT_YET) {
            slow_phase(e, io, c, TT_SLOW_STOPPED, e->now_ns_ + stop_ns);
        } else {
            slow_phase(e, io, c, TT_SLOW_OVER, UINT64_MAX);
        }
        break;
    case TT_SLOW_BURSTS:
        if (c->slow == TT_SLOW_NOT_YET) {
            /* Not all at the same moment. */
            slow_phase(e, io, c, TT_SLOW_READS, e->now_ns_ + random_below(e, stop_ns + read_ns));
        } else if (c->slow == TT_SLOW_READS) {
            slow_phase(e, io, c, TT_SLOW_STOPPED, e->now_ns_ + stop_ns);
        } else {
            slow_phase(e, io, c, TT_SLOW_READS, e->now_ns_ + read_ns);
        }
        break;
    case TT_SLOW_TRICKLE:
        slow_phase(e, io, c, TT_SLOW_READS, UINT64_MAX); /* until something has come */
        break;
    }
}

/* What has come is paid for by not reading. */
static void trickle(struct tt_engine *e, struct tt_io *io, struct tt_engine_client *c, size_t bytes)
{
    double ns = (double)bytes * 1e9 / (double)e->load->options->slow_bytes;
    uint64_t from_ns =
        c->slow == TT_SLOW_STOPPED && c->slow_ns > e->now_ns_ ? c->slow_ns : e->now_ns_;
    slow_phase(e, io, c, TT_SLOW_STOPPED, from_ns + (uint64_t)ns);
}

/* ---- cutting ---- */
static void set_cut(struct tt_engine *e, struct tt_engine_client *c, bool first)
{
    const struct tt_run_options *o = e->load->options;
    uint64_t every_ns = o->reconnect_every_ms * 1000000u;

    if ((c->roles & TT_PLAN_RECONNECTS) == 0) return;
    c->cut = TT_CUT_SET;
    if (o->reconnect_order == TT_CUT_TOGETHER) {
        uint64_t from_ns = atomic_load_explicit(&e->load->measure_from_ns, memory_order_relaxed);
        c->next_ns = from_ns + ((e->now_ns_ - from_ns) / every_ns + 1) * every_ns;
    } else if (first) {
        c->next_ns = e->now_ns_ + random_below(e, every_ns + 1);
    } else {
        c->next_ns = e->now_ns_ + every_ns / 2 + random_below(e, every_ns + 1);
    }
}

void tt_disturb_cut(struct tt_engine *e, struct tt_io *io, struct tt_engine_client *c)
{
    tt_counter_add(&e->cuts, 1);
    if (!tt_sse_reader_between(&c->reader)) tt_counter_add(&e->cuts_inside, 1);
    if (c->cursor_bytes == 0) {
        tt_trouble_add(&e->trouble,
                       "client %" PRIu32 ": cut off before any id came: it cannot resume",
                       tt_client_number(e, c));
        tt_client_end(e, io, c);
        return;
    }
    tt_client_leave(e, io, c, true);
}

static void look_cut(struct tt_engine *e, struct tt_io *io, struct tt_engine_client *c)
{
    enum tt_cut_kind kind = (enum tt_cut_kind)e->load->options->reconnect_cut;

    if (c->cut == TT_CUT_NONE || e->now_ns_ < c->next_ns) return;
    if (c->cut != TT_CUT_SET) {
        tt_disturb_cut(e, io, c); /* nothing has come meanwhile */
        return;
    }
    if (kind == TT_CUT_ANY) kind = random_below(e, 2) == 0 ? TT_CUT_BETWEEN : TT_CUT_INSIDE;
    if (kind == TT_CUT_BETWEEN && tt_sse_reader_between(&c->reader)) {
        tt_disturb_cut(e, io, c);
        return;
    }
    c->cut = kind == TT_CUT_INSIDE ? TT_CUT_INSIDE_NEXT : TT_CUT_BETWEEN_NEXT;
    c->next_ns = e->now_ns_ + PATIENCE_NS;
}

size_t tt_disturb_received(struct tt_engine *e, struct tt_io *io, struct tt_engine_client *c,
                           size_t bytes)
{
    if (e->disturbing_ && (c->roles & TT_PLAN_SLOW) && e->load->options->slow == TT_SLOW_TRICKLE) {
        trickle(e, io, c, bytes);
    }
    if (c->cut == TT_CUT_INSIDE_NEXT) return (size_t)random_below(e, bytes);
    return bytes;
}

/* ---- the whole ---- */
static void begin(struct tt_engine *e)
{
    e->disturbing_ = true;
    for (uint32_t i = 0; i < e->special_count_; i++) {
        struct tt_engine_client *c = &e->clients_[e->special_[i]];
        c->slow_ns = 0;
        if (c->state == TT_CLIENT_LIVE) set_cut(e, c, true);
    }
}

static void end(struct tt_engine *e, struct tt_io *io)
{
    e->disturbing_ = false;
    for (uint32_t i = 0; i < e->special_count_; i++) {
        struct tt_engine_client *c = &e->clients_[e->special_[i]];
        if (c->state == TT_CLIENT_LIVE) c->cut = TT_CUT_NONE;
        if (c->roles & TT_PLAN_SLOW) slow_phase(e, io, c, TT_SLOW_OVER, UINT64_MAX);
    }
}

void tt_disturb_connected(struct tt_engine *e, struct tt_engine_client *c)
{
    c->cut = TT_CUT_NONE;
    if (e->disturbing_) set_cut(e, c, false);
}

void tt_disturb_look(struct tt_engine *e, struct tt_io *io)
{
    uint64_t from_ns = atomic_load_explicit(&e->load->measure_from_ns, memory_order_relaxed);

    if (e->special_count_ == 0 || e->now_ns_ < e->look_ns_) return;
    e->look_ns_ = e->now_ns_ + LOOK_NS;
    if (!e->disturbing_ && from_ns != 0 && e->now_ns_ >= from_ns && e->published_ == NULL) begin(e);
    if (e->disturbing_ && e->published_ != NULL) end(e, io);
    for (uint32_t i = 0; i < e->special_count_; i++) {
        struct tt_engine_client *c = &e->clients_[e->special_[i]];
        if (c->state == TT_CLIENT_AWAY && e->now_ns_ >= c->next_ns &&
            e->opening_ < e->load->options->connect_burst) {
            tt_client_connect(e, io, c, c->next_ns);
        }
        if (!e->disturbing_ || c->state != TT_CLIENT_LIVE) continue;
        if (c->roles & TT_PLAN_SLOW) look_slow(e, io, c);
        if (c->state == TT_CLIENT_LIVE) look_cut(e, io, c);
    }
}
