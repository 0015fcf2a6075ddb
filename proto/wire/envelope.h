/* The envelope: the JSON object in which publishers hand in an event, and the one in which every
 * transport carries it to clients (broker/API.md, "An event").
 *
 * Reading is strict about what it knows and passes over what it does not: unknown members are
 * ignored, a known one with a wrong value is an error that names member, value and what is
 * allowed. A member given twice (also under its synonym) is an error.
 * Thread: any. Memory: the caller's. */
#ifndef TT_PROTO_WIRE_ENVELOPE_H
#define TT_PROTO_WIRE_ENVELOPE_H

#include "proto/event/event.h"
#include "proto/wire/json.h"

#define TT_ENVELOPE_MESSAGE_MAX 512u

struct tt_envelope_error {
    unsigned status;                       /* 400, or 413 for an event over its limit */
    const char *code;                      /* as in {"error":{"code":...}}; static */
    const char *field;                     /* the member that was wrong; null: the JSON itself */
    char message[TT_ENVELOPE_MESSAGE_MAX]; /* UTF-8, terminated: field, value, what is allowed */
};

/* Parses one envelope: `text` is one JSON object with white space around it at most. The text is
 * changed in place (CR and LF between tokens become spaces, escapes in channel, type and base64
 * text are replaced), and the event's slices point into it or into static memory: it must stay
 * unchanged while the event is used. `taken_us` becomes the event's, and its timestamp where the
 * publisher gave none.
 * event_bytes_max: of channel, type, headers and payload together.
 * TT_OK; TT_EINVAL: *error is filled, the text may have been changed. */
TT_MUST_USE enum tt_status tt_envelope_parse(uint8_t *text, size_t size, size_t event_bytes_max,
                                             int64_t taken_us, struct tt_event *event,
                                             struct tt_envelope_error *error);

/* An array of envelopes, one after the other: all are read (and so checked) before any is used.
 *     tt_envelope_array_begin(&a, text, size);
 *     while ((status = tt_envelope_array_next(&a, ..., &event, &error)) == TT_OK) keep(event);
 * TT_END at the end of the text. Errors of an element say "element <index>: ..." (from 0). The same
 * in-place rules as above. */
struct tt_envelope_array {
    struct tt_json_reader reader_;
    uint8_t *text_;
    uint64_t index; /* of the element that the last call read */
    bool begun_;
};
void tt_envelope_array_begin(struct tt_envelope_array *a, uint8_t *text, size_t size);
TT_MUST_USE enum tt_status tt_envelope_array_next(struct tt_envelope_array *a,
                                                  size_t event_bytes_max, int64_t taken_us,
                                                  struct tt_event *event,
                                                  struct tt_envelope_error *error);
/* The first byte of the JSON text behind white space: '[' means an array, -1 an empty text. */
int tt_envelope_peek(const uint8_t *text, size_t size);

/* Splits a growing buffer into lines of NDJSON: LF ends a line, a CR before it belongs to the line
 * end, lines of white space only are passed over but counted. The caller appends bytes behind those
 * it has and calls next until TT_MORE; it may drop the first `start` bytes at any time and then
 * says so by tt_ndjson_drop(). All zeros at the beginning. */
struct tt_ndjson {
    size_t start;    /* bytes before here are done with */
    size_t scanned_; /* no LF between start and here */
    uint64_t line;   /* number, from 1, of the line that the last call gave */
};
/* TT_OK: data[*line_at, + *line_size) is a line. TT_MORE: none is complete. TT_END: `end` was true
 * (no more bytes come) and all lines were given; the last needs no LF. TT_ETOOBIG: the line with
 * number n->line is longer than line_bytes_max. */
TT_MUST_USE enum tt_status tt_ndjson_next(struct tt_ndjson *n, const uint8_t *data, size_t size,
                                          bool end, size_t line_bytes_max, size_t *line_at,
                                          size_t *line_size);
void tt_ndjson_drop(struct tt_ndjson *n, size_t bytes);

/* The outgoing envelope, members in the order of broker/API.md; and the exact number of bytes it
 * takes. */
size_t tt_envelope_bytes(const struct tt_placed_event *placed);
size_t tt_envelope_bytes_max(const struct tt_placed_event *placed); /* cheaper, never less */
void tt_envelope_write(struct tt_writer *w, const struct tt_placed_event *placed);
/* The ordinary envelope, without the members that few events have and with a channel that stands in
 * it as it is: head, channel, TT_ENVELOPE_THEN_PAYLOAD, payload, tail. The two are kept by those
 * who write many; each returns what lies behind it. */
bool tt_envelope_is_plain(const struct tt_event *event);
#define TT_ENVELOPE_THEN_PAYLOAD   "\",\"payload\":"
#define TT_ENVELOPE_HEAD_BYTES_MAX (32u + TT_TYPE_BYTES_MAX)
#define TT_ENVELOPE_TAIL_BYTES_MAX (32u + TT_U64_DIGITS_MAX + 1 + TT_POSITION_TEXT_MAX)
uint8_t *tt_envelope_put_head(uint8_t *to, struct tt_bytes type);
uint8_t *tt_envelope_put_tail(uint8_t *to, struct tt_bytes id, struct tt_bytes timestamp);
/* As tt_envelope_write() with the text of its position, for those who have it. */
void tt_envelope_write_with_id(struct tt_writer *w, const struct tt_placed_event *placed,
                               struct tt_bytes id);

#endif
