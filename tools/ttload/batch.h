/* The events of a feed that are on their way: kept until it is certain that the broker took them.
 * Thread: the owner's. Memory: the caller's, about 330 KB. */
#ifndef TT_TOOLS_TTLOAD_BATCH_H
#define TT_TOOLS_TTLOAD_BATCH_H

#include "tools/ttload/market.h"

#define TT_BATCH_EVENTS_MAX 1000u

struct tt_batch_event {
    uint32_t offset;        /* of its envelope in text */
    uint32_t bytes;         /* of its envelope */
    uint32_t payload_bytes; /* of the envelope up to the payload's end: what comes back unchanged */
    bool taken;             /* the broker is known to have it */
};

struct tt_batch {
    uint32_t count;
    uint32_t text_bytes;
    struct tt_batch_event events[TT_BATCH_EVENTS_MAX];
    uint8_t text[TT_BATCH_EVENTS_MAX * TT_MARKET_EVENT_BYTES_MAX];
};

void tt_batch_clear(struct tt_batch *b);
/* Adds what happens next in the market; the batch must not be full (asserted). */
void tt_batch_add(struct tt_batch *b, struct tt_market *m);
/* Writes those that are not taken as a JSON array; returns their number. */
uint32_t tt_batch_write(const struct tt_batch *b, struct tt_writer *w);
/* An envelope that the broker sent to a client: marks the event that it is, if it is one of these.
 */
void tt_batch_seen(struct tt_batch *b, struct tt_bytes envelope);

#define TT_BATCH_BODY_BYTES_MAX (TT_BATCH_EVENTS_MAX * (TT_MARKET_EVENT_BYTES_MAX + 1) + 2)

#endif
