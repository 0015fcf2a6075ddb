/* A validating reader of JSON (RFC 8259) that copies nothing.
 *
 * What it accepts is exactly the grammar of RFC 8259 in well-formed UTF-8 (RFC 3629), nested at
 * most TT_JSON_DEPTH_MAX deep; the broker splices payloads byte for byte into what thousands of
 * clients parse, so nothing else may pass. It validates while it walks: one pass over the bytes,
 * strings in steps of 16. \u escapes may name unpaired surrogates, as the grammar allows; members
 * may repeat.
 *
 *     struct tt_json_reader r = tt_json_reader(text);
 *     if (tt_json_begin(&r, '{') == TT_OK)
 *         while ((status = tt_json_member(&r, &key, &value)) == TT_OK) ...
 *     if (status == TT_END) status = tt_json_finish(&r);
 *
 * Thread: any. Memory: none; slices point into the text. */
#ifndef TT_PROTO_WIRE_JSON_H
#define TT_PROTO_WIRE_JSON_H

#include "proto/base/bytes.h"

enum tt_json_kind {
    TT_JSON_NULL,
    TT_JSON_FALSE,
    TT_JSON_TRUE,
    TT_JSON_NUMBER,
    TT_JSON_STRING,
    TT_JSON_ARRAY,
    TT_JSON_OBJECT,
};

struct tt_json_value {
    struct tt_bytes text; /* the value's own bytes; a string with its quotes */
    enum tt_json_kind kind;
    bool escaped; /* a string with at least one backslash (of keys: see tt_json_member) */
    bool breaks;  /* an array or object with CR or LF between its tokens */
};

/* Where reading stands. Fields are private but for the error, valid after TT_EINVAL. */
struct tt_json_reader {
    const uint8_t *start_;
    const uint8_t *at_;
    const uint8_t *end_;
    const char *error;   /* one English clause, static; null while nothing was wrong */
    size_t error_offset; /* of the byte that was wrong, from the start of the text */
    unsigned depth_;     /* containers that were entered with tt_json_begin() */
    bool first_;         /* no member or element of the current container was read yet */
};

static inline struct tt_json_reader tt_json_reader(struct tt_bytes text)
{
    return (struct tt_json_reader){text.data, text.data, text.data + text.size, NULL, 0, 0, true};
}

/* The whole text is one value, with white space around it at most. TT_OK, TT_EINVAL (*error and
 * *error_offset, both may be null). */
TT_MUST_USE enum tt_status tt_json_check(struct tt_bytes text, struct tt_json_value *value,
                                         const char **error, size_t *error_offset);

/* Reads one whole value, whatever it is. TT_OK, TT_EINVAL. */
TT_MUST_USE enum tt_status tt_json_value(struct tt_json_reader *r, struct tt_json_value *value);
/* The first byte of the next value or token, behind white space; -1 at the end of the text. */
int tt_json_peek(struct tt_json_reader *r);
/* Enters an object ('{') or array ('['). TT_OK; TT_EINVAL: the next token is something else, or too
 * deep. */
TT_MUST_USE enum tt_status tt_json_begin(struct tt_json_reader *r, char bracket);
/* The next member of the object that was entered: key with its quotes (kind STRING), value whole.
 * TT_OK; TT_END: the object has ended (left behind); TT_EINVAL. */
TT_MUST_USE enum tt_status tt_json_member(struct tt_json_reader *r, struct tt_json_value *key,
                                          struct tt_json_value *value);
/* Stands before the next element of the array that was entered: read it with tt_json_value() or
 * enter it. TT_OK; TT_END: the array has ended; TT_EINVAL. */
TT_MUST_USE enum tt_status tt_json_element(struct tt_json_reader *r);
/* Nothing but white space may follow. TT_OK, TT_EINVAL. */
TT_MUST_USE enum tt_status tt_json_finish(struct tt_json_reader *r);
/* The number of bytes read so far. */
static inline size_t tt_json_offset(const struct tt_json_reader *r)
{
    return (size_t)(r->at_ - r->start_);
}

/* How many of the first bytes stand in a JSON string as they are and are ASCII: no quote, backslash
 * or control character. */
size_t tt_json_plain_bytes(struct tt_bytes text);
/* Whether a string (as read here) says exactly `text`, escapes understood. */
bool tt_json_string_is(const struct tt_json_value *string, const char *text);
/* Writes what a string says, without quotes, escapes replaced: never longer than its text, and may
 * be written over it (w->data == string->text.data). TT_OK; TT_EINVAL: an unpaired surrogate, which
 * UTF-8 cannot say. */
TT_MUST_USE enum tt_status tt_json_string_decode(const struct tt_json_value *string,
                                                 struct tt_writer *w);
/* An integer as RFC 8259 writes one: no fraction, no exponent. TT_OK; TT_EINVAL: not a number, has
 * a fraction or exponent, or does not fit. */
TT_MUST_USE enum tt_status tt_json_to_i64(const struct tt_json_value *number, int64_t *value);

/* Turns CR and LF of valid JSON into spaces (they can only stand between tokens), in place. */
void tt_json_flatten(uint8_t *text, size_t size);

#endif
