/* What a client asks for when it subscribes: read from a query string or from a JSON body.
 *
 * The parameters stand in subscribe.def, one row each. Unknown ones are ignored, known ones with a
 * wrong value are an error that names parameter, value and what is allowed. What this version does
 * not have yet is refused in the same way, never silently accepted. Sources: broker/API.md
 * "Subscribing"; application/x-www-form-urlencoded: WHATWG URL, section 5.
 * Thread: any. Memory: the caller's. */
#ifndef TT_PROTO_WIRE_SUBSCRIBE_H
#define TT_PROTO_WIRE_SUBSCRIBE_H

#include "proto/event/channel.h"
#include "proto/wire/sse_frame.h"

#define TT_SUBSCRIBE_BODY_BYTES_MAX                                                                \
    (64u << 10)                          /* of POST /sse and POST /subscribe; over it: 413         \
                                          */
#define TT_SUBSCRIBE_TYPES_MAX       32u /* types= entries; over it: 400 */
#define TT_SUBSCRIBE_LAST_MAX        1000u
#define TT_SUBSCRIBE_FROM_MS_MAX     (UINT64_MAX >> 12) /* microseconds fit 64 bits */
#define TT_SUBSCRIBE_LABEL_BYTES_MAX 64u
#define TT_SUBSCRIBE_PAD_BYTES_MAX   8192u
#define TT_SUBSCRIBE_HEARTBEAT_S_MIN 5u
#define TT_SUBSCRIBE_HEARTBEAT_S_MAX 300u
#define TT_SUBSCRIBE_MAX_LAG_MS_MIN  100u
#define TT_SUBSCRIBE_MAX_LAG_MS_MAX  86400000u
#define TT_SUBSCRIBE_MESSAGE_MAX     320u

enum tt_subscribe_from {
    TT_FROM_LIVE = 0,
    TT_FROM_EARLIEST,
    TT_FROM_SNAPSHOT, /* the value of each channel, then live */
    TT_FROM_LAST,     /* last=N: the newest N events of each channel, then live */
    TT_FROM_TIME,     /* from_ms */
};
enum tt_subscribe_policy {
    TT_POLICY_REPLAY = 0,
    TT_POLICY_CONFLATE,
    TT_POLICY_MAX_RATE, /* conflate, with a tick: max_rate is given */
    TT_POLICY_DISCONNECT,
};

/* A subscription that was asked for. Slices point into the memory below. */
struct tt_subscribe {
    struct tt_pattern *patterns; /* at least one: without channels it is TT_PATTERN_ALL */
    uint32_t patterns_count;
    bool channels_given; /* false: patterns is the default, everything */
    struct tt_bytes types[TT_SUBSCRIBE_TYPES_MAX];
    uint32_t types_count;   /* 0: every type */
    struct tt_bytes cursor; /* as sent, not checked (tt_cursor_parse); empty: none */
    enum tt_subscribe_from from;
    int64_t from_ms; /* TT_FROM_TIME: unix time */
    uint32_t last;   /* TT_FROM_LAST: 1 to TT_SUBSCRIBE_LAST_MAX; else 0 */
    enum tt_subscribe_policy policy;
    uint64_t tick_ns;        /* TT_POLICY_MAX_RATE: time between two ticks, at least 1; else 0 */
    struct tt_sse_form form; /* format= and event= */
    uint32_t heartbeat_ms;   /* 0: the server's default */
    uint32_t max_lag_ms;     /* 0: none */
    uint32_t pad_bytes;      /* 0: none */
    bool ping_event;
    struct tt_bytes label; /* id=; empty: none */
};

/* Where what is read is put: patterns, and decoded text. */
struct tt_subscribe_memory {
    struct tt_pattern *patterns;
    uint32_t patterns_max; /* at least 1; more channels than this: 400 */
    uint8_t *text;
    size_t text_bytes; /* at least the size of query or body, plus that of Last-Event-ID */
};

struct tt_subscribe_error {
    const char *code;                       /* as in {"error":{"code":...}}; static */
    char message[TT_SUBSCRIBE_MESSAGE_MAX]; /* UTF-8, terminated */
};

/* From a query string (raw, behind the '?'; may be empty). last_event_id: the header's value, empty
 * when there is none; it goes before every other cursor.
 * TT_OK; TT_EINVAL: *error is filled, owed as 400. */
TT_MUST_USE enum tt_status tt_subscribe_from_query(struct tt_bytes query,
                                                   struct tt_bytes last_event_id,
                                                   const struct tt_subscribe_memory *memory,
                                                   struct tt_subscribe *subscribe,
                                                   struct tt_subscribe_error *error);
/* From the JSON object of POST /sse. `channels` and `types` are strings (commas separate) or arrays
 * of strings; `heartbeat`, `pad` and `max_rate` numbers or strings; the others strings. */
TT_MUST_USE enum tt_status tt_subscribe_from_json(struct tt_bytes text,
                                                  struct tt_bytes last_event_id,
                                                  const struct tt_subscribe_memory *memory,
                                                  struct tt_subscribe *subscribe,
                                                  struct tt_subscribe_error *error);

/* The next `name=value` of a form-encoded text, raw; *text moves behind it. False at the end. */
bool tt_form_next(struct tt_bytes *text, struct tt_bytes *name, struct tt_bytes *value);
/* Writes a form-encoded name or value decoded: `+` is a space, %XX a byte. TT_OK; TT_EINVAL: a '%'
 * without two hex digits (it is written as it stands), or the result is not UTF-8. At most
 * raw.size bytes are written. */
TT_MUST_USE enum tt_status tt_form_decode(struct tt_bytes raw, struct tt_writer *w);

#endif
