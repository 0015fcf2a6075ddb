/* The events that `ttload run` publishes, and how they are recognised when they come back.
 *
 * As published:
 * {"type":"load","channel":"load.7","payload":{"seq":42,"channel":7,"due":N,"pad":""}} seq counts
 * from 1 in each channel; due is the intended time of publishing in nanoseconds of this machine's
 * monotonic clock; pad fills the payload to the wanted size. What comes back must be the envelope
 * of the same event, byte for byte up to the payload's end. Thread: any. */
#ifndef TT_TOOLS_TTLOAD_PAYLOAD_H
#define TT_TOOLS_TTLOAD_PAYLOAD_H

#include "proto/base/bytes.h"

#define TT_PAYLOAD_TYPE           "load"
#define TT_PAYLOAD_CHANNEL_PREFIX "load."
#define TT_PAYLOAD_ENVELOPE_BYTES 96u /* more than what stands around a payload */

struct tt_payload {
    uint32_t seq;
    uint32_t channel;
    uint64_t due_ns;
    bool kept; /* "conflate":false stands in its envelope: never dropped in favour of a newer one */
};

/* Writes the envelope; the payload takes `event_bytes` (at least 80). */
void tt_payload_write(struct tt_writer *w, const struct tt_payload *payload, size_t event_bytes);
/* Reads the data of an SSE event. TT_OK; TT_EPROTO: it is not an event of ours, whole and
 * unchanged. */
TT_MUST_USE enum tt_status tt_payload_read(struct tt_bytes data, size_t event_bytes,
                                           struct tt_payload *payload);

#endif
