/* Borrowed runs of bytes, and a writer into memory that somebody else owns.
 *
 * struct tt_bytes never owns: it is valid as long as whoever handed it out says. It is not
 * terminated by a zero. Thread: any. Memory: none is allocated here. */
#ifndef TT_PROTO_BASE_BYTES_H
#define TT_PROTO_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "proto/base/status.h"

struct tt_bytes {
    const uint8_t *data;
    size_t size;
};

#define TT_BYTES_NONE          ((struct tt_bytes){NULL, 0})
#define TT_BYTES_LITERAL(text) ((struct tt_bytes){(const uint8_t *)(text), sizeof(text) - 1})

static inline struct tt_bytes tt_bytes(const void *data, size_t size)
{
    return (struct tt_bytes){(const uint8_t *)data, size};
}

static inline struct tt_bytes tt_bytes_text(const char *text)
{
    return (struct tt_bytes){(const uint8_t *)text, strlen(text)};
}

static inline bool tt_bytes_equal(struct tt_bytes a, struct tt_bytes b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static inline bool tt_bytes_is(struct tt_bytes a, const char *text)
{
    return tt_bytes_equal(a, tt_bytes_text(text));
}

static inline bool tt_bytes_starts(struct tt_bytes a, struct tt_bytes prefix)
{
    return a.size >= prefix.size &&
           (prefix.size == 0 || memcmp(a.data, prefix.data, prefix.size) == 0);
}

/* The run from `from` on; `from` may not exceed the size. */
static inline struct tt_bytes tt_bytes_from(struct tt_bytes a, size_t from)
{
    return (struct tt_bytes){a.data + from, a.size - from};
}

/* Equal where ASCII letters are compared without case. */
bool tt_bytes_equal_nocase(struct tt_bytes a, struct tt_bytes b);
bool tt_bytes_is_nocase(struct tt_bytes a, const char *text);

/* A decimal number without sign, at most `max`; the whole run must be digits (no spaces, not
 * empty). TT_OK, or TT_EINVAL. */
TT_MUST_USE enum tt_status tt_bytes_to_u64(struct tt_bytes a, uint64_t max, uint64_t *value);

/* The whole run is well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms). */
bool tt_bytes_is_utf8(struct tt_bytes a);

/* A writer into fixed memory. What does not fit is not written and sets `overflow`; callers size
 * the memory first and assert, or check once at the end. */
struct tt_writer {
    uint8_t *data;
    size_t size; /* written so far */
    size_t capacity;
    bool overflow;
};

static inline struct tt_writer tt_writer(void *data, size_t capacity)
{
    return (struct tt_writer){(uint8_t *)data, 0, capacity, false};
}

static inline struct tt_bytes tt_writer_bytes(const struct tt_writer *w)
{
    return (struct tt_bytes){w->data, w->size};
}

static inline void tt_write(struct tt_writer *w, const void *data, size_t size)
{
    if (size > w->capacity - w->size) {
        w->overflow = true;
        return;
    }
    if (size != 0) memcpy(w->data + w->size, data, size);
    w->size += size;
}

static inline void tt_write_bytes(struct tt_writer *w, struct tt_bytes b)
{
    tt_write(w, b.data, b.size);
}
static inline void tt_write_text(struct tt_writer *w, const char *text)
{
    tt_write(w, text, strlen(text));
}

static inline void tt_write_char(struct tt_writer *w, char c)
{
    if (w->size == w->capacity) {
        w->overflow = true;
        return;
    }
    w->data[w->size++] = (uint8_t)c;
}

void tt_write_u64(struct tt_writer *w, uint64_t value); /* decimal */
void tt_write_i64(struct tt_writer *w, int64_t value);  /* decimal */
void tt_write_hex(struct tt_writer *w, uint64_t value); /* lower case, no leading zeros */
void tt_write_format(struct tt_writer *w, const char *format, ...) TT_PRINTF(2, 3);
/* A JSON string with its quotes; bytes that are not UTF-8 become U+FFFD. */
void tt_write_json_string(struct tt_writer *w, struct tt_bytes text);

/* Number of decimal digits of a value, 1 to 20. */
unsigned tt_digits_u64(uint64_t value);

/* ---- into memory that is known to be large enough; each returns what lies behind ---- */
#define TT_U64_DIGITS_MAX 20u
uint8_t *tt_put_u64(uint8_t *to, uint64_t value); /* at most TT_U64_DIGITS_MAX bytes */
static inline uint8_t *tt_put(uint8_t *to, const void *data, size_t size)
{
    memcpy(to, data, size);
    return to + size;
}
static inline uint8_t *tt_put_bytes(uint8_t *to, struct tt_bytes b)
{
    return b.size == 0 ? to : tt_put(to, b.data, b.size);
}
#define TT_PUT_LITERAL(to, text) tt_put((to), (text), sizeof(text) - 1)

#endif
