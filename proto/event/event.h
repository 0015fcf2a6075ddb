/* What was published, before and after it has its place in the log. Borrowed throughout: an event
 * is a view of a request's body, or of a record in the tail or a segment. Thread: any. Memory:
 * none. */
#ifndef TT_PROTO_EVENT_EVENT_H
#define TT_PROTO_EVENT_EVENT_H

#include "proto/base/bytes.h"
#include "proto/event/position.h"

enum tt_event_flags {
    TT_EVENT_NEVER_CONFLATE = 1, /* "conflate":false: never dropped in favour of a newer event */
    TT_EVENT_OP_DELETE = 2,      /* "op":"delete": the channel's value is gone; payload null */
    TT_EVENT_BINARY = 4,         /* "encoding":"base64": payload is a JSON string of base64 */
    /* The publisher gave the timestamp itself; else timestamp_ms is taken_us / 1000. */
    TT_EVENT_TIMESTAMP_GIVEN = 8,
    /* In a mirror: not in the partition where the declared partitioner puts it (shard/topology.h).
     */
    TT_EVENT_MISPLACED = 16,
};

struct tt_event {
    struct tt_bytes channel; /* valid by tt_channel_check() */
    struct tt_bytes type;    /* valid by tt_type_check() */
    struct tt_bytes headers; /* a JSON object, or empty when there are none */
    struct tt_bytes payload; /* one JSON value, always; without CR and LF */
    int64_t timestamp_ms;    /* what subscribers see: unix time */
    int64_t taken_us;        /* when the broker took it (Kafka: the record's): unix time */
    uint32_t flags;          /* enum tt_event_flags */
};

/* An event with its place. */
struct tt_placed_event {
    struct tt_event event;
    struct tt_position position;
};

#endif
