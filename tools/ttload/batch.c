#include "tools/ttload/batch.h"

#include "proto/base/assert.h"

void tt_batch_clear(struct tt_batch *b)
{
    b->count = 0;
    b->text_bytes = 0;
}

void tt_batch_add(struct tt_batch *b, struct tt_market *m)
{
    static const char trade_end[] = ",\"conflate\":false}";
    TT_ASSERT(b->count < TT_BATCH_EVENTS_MAX);
    struct tt_writer w = tt_writer(b->text + b->text_bytes, TT_MARKET_EVENT_BYTES_MAX);
    tt_market_next(m, &w);
    TT_ASSERT(!w.overflow && w.size > sizeof trade_end);
    const uint8_t *end = w.data + w.size;
    bool trade = memcmp(end - (sizeof trade_end - 1), trade_end, sizeof trade_end - 1) == 0;
    b->events[b->count++] = (struct tt_batch_event){
        .offset = b->text_bytes,
        .bytes = (uint32_t)w.size,
        .payload_bytes = (uint32_t)(w.size - (trade ? sizeof trade_end - 1 : 1)),
    };
    b->text_bytes += (uint32_t)w.size;
}

uint32_t tt_batch_write(const struct tt_batch *b, struct tt_writer *w)
{
    uint32_t written = 0;
    tt_write_char(w, '[');
    for (uint32_t i = 0; i < b->count; i++) {
        if (b->events[i].taken) continue;
        if (written++ != 0) tt_write_char(w, ',');
        tt_write(w, b->text + b->events[i].offset, b->events[i].bytes);
    }
    tt_write_char(w, ']');
    return written;
}

void tt_batch_seen(struct tt_batch *b, struct tt_bytes envelope)
{
    for (uint32_t i = 0; i < b->count; i++) {
        struct tt_batch_event *e = &b->events[i];
        if (tt_bytes_starts(envelope, tt_bytes(b->text + e->offset, e->payload_bytes))) {
            e->taken = true;
        }
    }
}
