/* What comes to a client: events, notices, and the end. */
#include <inttypes.h>
#include <stdlib.h>

#include "tools/ttload/disturb.h"
#include "tools/ttload/payload.h"

static struct tt_bytes excerpt(struct tt_bytes text)
{
    return tt_bytes(text.data, text.size < 100 ? text.size : 100);
}

static void take_load_event(struct tt_engine *e, struct tt_engine_client *c,
                            const struct tt_sse_event *event)
{
    const struct tt_load *load = e->load;
    const struct tt_plan *plan = load->plan;
    uint32_t number = tt_client_number(e, c);
    struct tt_payload payload;
    struct tt_bytes shown = excerpt(event->data);

    if (event->data_lines != 1 ||
        tt_payload_read(event->data, load->options->event_bytes, &payload) != TT_OK ||
        payload.channel >= plan->channels ||
        payload.kept != (tt_plan_kept(plan->kept_every, payload.seq - 1, payload.seq) != 0)) {
        tt_trouble_add(&e->trouble, "client %" PRIu32 ": not an event that was published: %.*s",
                       number, (int)shown.size, (const char *)shown.data);
        return;
    }
    switch (tt_proof_take(&e->proof_, &c->proof, payload.channel, payload.seq, event->has_id)) {
    case TT_PROOF_NEW: break;
    case TT_PROOF_KNOWN: return;
    case TT_PROOF_NOT_FOLLOWED:
        tt_trouble_add(&e->trouble,
                       "client %" PRIu32 ": got channel %" PRIu32 " without following it", number,
                       payload.channel);
        return;
    case TT_PROOF_NO_ID:
        tt_trouble_add(&e->trouble, "client %" PRIu32 ": an event without id: %.*s", number,
                       (int)shown.size, (const char *)shown.data);
        return;
    }
    uint64_t took_ns = e->now_ns_ > payload.due_ns ? e->now_ns_ - payload.due_ns : 0;
    bool disturbed = (c->roles & (TT_PLAN_SLOW | TT_PLAN_RECONNECTS | TT_PLAN_MAX_RATE)) != 0;
    if (!disturbed) tt_coarse_record(&e->recent, took_ns);
    if (payload.due_ns >= atomic_load_explicit(&load->measure_from_ns, memory_order_relaxed)) {
        tt_histogram_record(disturbed ? &e->disturbed : &e->latency, took_ns);
    }
}

static void take_connected(struct tt_engine *e, struct tt_engine_client *c)
{
    if (c->state != TT_CLIENT_OPENING) {
        tt_trouble_add(&e->trouble, "client %" PRIu32 ": connected twice", tt_client_number(e, c));
        return;
    }
    c->state = TT_CLIENT_LIVE;
    e->opening_--;
    tt_histogram_record(c->resumes ? &e->resume : &e->connect, e->now_ns_ - c->start_ns);
    tt_counter_add(c->resumes ? &e->resumed : &e->connected, 1);
    tt_counter_add(&e->live, 1);
    c->resumes = true;
    tt_disturb_connected(e, c);
}

static bool is_notice(struct tt_bytes type)
{
    return tt_bytes_is(type, "gap") || tt_bytes_is(type, "resync") ||
           tt_bytes_is(type, "snapshot-end");
}

/* Remembers where to resume. */
static void keep_cursor(struct tt_engine *e, struct tt_engine_client *c, struct tt_bytes id)
{
    if (!tt_client_may_resume(c)) return;
    if (id.size > c->cursor_capacity) {
        size_t capacity = (id.size + 31) & ~(size_t)31;
        uint8_t *grown = id.size > TT_ENGINE_CURSOR_BYTES_MAX ? NULL : realloc(c->cursor, capacity);
        if (grown == NULL) {
            tt_trouble_add(&e->trouble, "client %" PRIu32 ": an id of %zu bytes cannot be kept",
                           tt_client_number(e, c), id.size);
            return;
        }
        c->cursor = grown;
        c->cursor_capacity = (uint16_t)capacity;
    }
    memcpy(c->cursor, id.data, id.size);
    c->cursor_bytes = (uint16_t)id.size;
}

static void take_event(struct tt_engine *e, struct tt_engine_client *c,
                       const struct tt_sse_event *event)
{
    uint32_t number = tt_client_number(e, c);
    struct tt_bytes shown = excerpt(event->data);

    if (tt_bytes_is(event->type, TT_PAYLOAD_TYPE)) {
        take_load_event(e, c, event);
    } else if (tt_bytes_is(event->type, "connected")) {
        take_connected(e, c);
    } else if (is_notice(event->type)) {
        const char *why = tt_proof_notice(&e->proof_, &c->proof, event->type, event->data);
        if (why != NULL) {
            tt_trouble_add(&e->trouble, "client %" PRIu32 ": %s: %.*s", number, why,
                           (int)shown.size, (const char *)shown.data);
        }
    } else if (event->type.size != 0 && !tt_bytes_is(event->type, "ping")) {
        tt_trouble_add(&e->trouble, "client %" PRIu32 ": unexpected event %.*s: %.*s", number,
                       (int)event->type.size, (const char *)event->type.data, (int)shown.size,
                       (const char *)shown.data);
    } else if (event->type.size == 0 && event->data_lines != 0) {
        tt_trouble_add(&e->trouble, "client %" PRIu32 ": an event without a type", number);
    }
    if (event->has_id) keep_cursor(e, c, event->id);
}

/* The stream is over, in good order or not. */
static void take_end(struct tt_engine *e, struct tt_io *io, struct tt_engine_client *c,
                     enum tt_status status)
{
    if (status == TT_END && c->state == TT_CLIENT_LIVE && (c->roles & TT_PLAN_DISCONNECTS)) {
        tt_counter_add(&e->closed, 1);
        tt_client_leave(e, io, c, false);
        return;
    }
    if (status == TT_END) {
        tt_trouble_add(&e->trouble, "client %" PRIu32 ": the broker ended the stream",
                       tt_client_number(e, c));
    } else {
        tt_trouble_add(&e->trouble, "client %" PRIu32 ": %s (status %u)", tt_client_number(e, c),
                       status == TT_EPROTO ? tt_sse_reader_why(&c->reader) : tt_status_text(status),
                       tt_sse_reader_status(&c->reader));
    }
    tt_client_end(e, io, c);
}

void tt_client_take(struct tt_engine *e, struct tt_io *io, struct tt_engine_client *c,
                    struct tt_bytes in)
{
    struct tt_sse_event event;
    enum tt_status status;
    bool live = c->state == TT_CLIENT_LIVE;

    tt_counter_add(&e->bytes, in.size);
    tt_counter_add(&e->receives, 1);
    bool inside = live && c->cut == TT_CUT_INSIDE_NEXT;
    bool between = live && c->cut == TT_CUT_BETWEEN_NEXT;
    struct tt_bytes rest = in;
    if (live) in.size = tt_disturb_received(e, io, c, in.size);
    rest = tt_bytes_from(rest, in.size);
    while ((status = tt_sse_reader_next(&c->reader, &in, &event)) == TT_OK) {
        take_event(e, c, &event);
        if (between) {
            tt_disturb_cut(e, io, c);
            return;
        }
    }
    if (status == TT_MORE && inside) {
        /* On, until it stands in the middle of an event. */
        while (rest.size != 0 && tt_sse_reader_between(&c->reader)) {
            struct tt_bytes one = tt_bytes(rest.data, 1);
            rest = tt_bytes_from(rest, 1);
            status = tt_sse_reader_next(&c->reader, &one, &event);
            if (status == TT_OK) take_event(e, c, &event);
            if (status != TT_OK && status != TT_MORE) break;
        }
        if (status == TT_OK || status == TT_MORE) {
            tt_disturb_cut(e, io, c);
            return;
        }
    }
    if (status != TT_MORE) take_end(e, io, c, status);
}
