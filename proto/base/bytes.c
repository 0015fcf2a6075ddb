#include "proto/base/bytes.h"

#include <stdarg.h>
#include <stdio.h>

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

bool tt_bytes_equal_nocase(struct tt_bytes a, struct tt_bytes b)
{
    if (a.size != b.size) return false;
    for (size_t i = 0; i < a.size; i++) {
        if (lower(a.data[i]) != lower(b.data[i])) return false;
    }
    return true;
}

bool tt_bytes_is_nocase(struct tt_bytes a, const char *text)
{
    return tt_bytes_equal_nocase(a, tt_bytes_text(text));
}

enum tt_status tt_bytes_to_u64(struct tt_bytes a, uint64_t max, uint64_t *value)
{
    uint64_t v = 0;

    if (a.size == 0) return TT_EINVAL;
    for (size_t i = 0; i < a.size; i++) {
        if (a.data[i] < '0' || a.data[i] > '9') return TT_EINVAL;
        uint64_t digit = (uint64_t)(a.data[i] - '0');
        if (v > (UINT64_MAX - digit) / 10) return TT_EINVAL;
        v = v * 10 + digit;
    }
    if (v > max) return TT_EINVAL;
    *value = v;
    return TT_OK;
}

/* Length of the well-formed UTF-8 sequence at the start of a non-empty run, or 0 (RFC 3629
 * section 4: the second byte's range depends on the first, the others are 80-BF). */
static size_t utf8_sequence(struct tt_bytes a)
{
    uint8_t c = a.data[0];
    uint8_t low = 0x80;
    uint8_t high = 0xBF;
    size_t size;

    if (c < 0x80) return 1;
    if (c < 0xC2) return 0;
    if (c < 0xE0) {
        size = 2;
    } else if (c < 0xF0) {
        size = 3;
        if (c == 0xE0) low = 0xA0;
        if (c == 0xED) high = 0x9F;
    } else if (c < 0xF5) {
        size = 4;
        if (c == 0xF0) low = 0x90;
        if (c == 0xF4) high = 0x8F;
    } else {
        return 0;
    }
    if (a.size < size || a.data[1] < low || a.data[1] > high) return 0;
    for (size_t i = 2; i < size; i++) {
        if ((a.data[i] & 0xC0) != 0x80) return 0;
    }
    return size;
}

bool tt_bytes_is_utf8(struct tt_bytes a)
{
    size_t i = 0;

    while (i < a.size) {
        /* Nearly everything is ASCII: eight bytes at once. */
        uint64_t word;
        if (a.size - i >= sizeof(word)) {
            memcpy(&word, a.data + i, sizeof(word));
            if ((word & 0x8080808080808080u) == 0) {
                i += sizeof(word);
                continue;
            }
        }
        size_t n = utf8_sequence(tt_bytes_from(a, i));
        if (n == 0) return false;
        i += n;
    }
    return true;
}

unsigned tt_digits_u64(uint64_t value)
{
    unsigned digits = 1;

    /* Four at a time: ids and times stand in every frame, twice. */
    while (value >= 10000) {
        value /= 10000;
        digits += 4;
    }
    return digits + (value >= 10) + (value >= 100) + (value >= 1000);
}

static const char pairs[] = "00010203040506070809101112131415161718192021222324252627282930313233"
                            "34353637383940414243444546474849505152535455565758596061626364656667"
                            "6869707172737475767778798081828384858687888990919293949596979899";

/* Eight digits, with leading zeros. The four pairs do not wait for each other. */
static void put_8(uint8_t *to, uint32_t value)
{
    uint32_t high = value / 10000, low = value % 10000;
    memcpy(to, pairs + 2 * (high / 100), 2);
    memcpy(to + 2, pairs + 2 * (high % 100), 2);
    memcpy(to + 4, pairs + 2 * (low / 100), 2);
    memcpy(to + 6, pairs + 2 * (low % 100), 2);
}

uint8_t *tt_put_u64(uint8_t *to, uint64_t value)
{
    uint8_t text[24];
    uint8_t *at = text;
    const uint64_t e8 = 100000000;
    if (value < e8) {
        put_8(text, (uint32_t)value);
    } else {
        uint64_t high = value / e8;
        if (high >= e8) {
            put_8(text, (uint32_t)(high / e8));
            at += 8;
        }
        put_8(at, (uint32_t)(high % e8));
        put_8(at + 8, (uint32_t)(value % e8));
        at += 8;
    }
    const uint8_t *first = text;
    while (*first == '0' && first != at + 7) first++;
    size_t size = (size_t)(at + 8 - first);
    memcpy(to, first, size);
    return to + size;
}

void tt_write_u64(struct tt_writer *w, uint64_t value)
{
    uint8_t text[TT_U64_DIGITS_MAX];
    tt_write(w, text, (size_t)(tt_put_u64(text, value) - text));
}

void tt_write_i64(struct tt_writer *w, int64_t value)
{
    char text[21];
    struct tt_writer number = tt_writer(text, sizeof(text));

    if (value >= 0) {
        tt_write_u64(w, (uint64_t)value);
        return;
    }
    /* Whole or not at all: a sign without its number must not remain. */
    tt_write_char(&number, '-');
    tt_write_u64(&number, 0 - (uint64_t)value);
    tt_write_bytes(w, tt_writer_bytes(&number));
}

void tt_write_hex(struct tt_writer *w, uint64_t value)
{
    char text[16];
    size_t at = sizeof(text);

    do {
        text[--at] = "0123456789abcdef"[value & 15];
        value >>= 4;
    } while (value != 0);
    tt_write(w, text + at, sizeof(text) - at);
}

void tt_write_format(struct tt_writer *w, const char *format, ...)
{
    va_list arguments;
    char text[1024];

    va_start(arguments, format);
    int size = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (size < 0 || (size_t)size >= sizeof(text)) {
        w->overflow = true;
        return;
    }
    tt_write(w, text, (size_t)size);
}

static void write_json_escape(struct tt_writer *w, uint8_t c)
{
    switch (c) {
    case '"': tt_write_text(w, "\\\""); break;
    case '\\': tt_write_text(w, "\\\\"); break;
    case '\n': tt_write_text(w, "\\n"); break;
    case '\r': tt_write_text(w, "\\r"); break;
    case '\t': tt_write_text(w, "\\t"); break;
    default:
        tt_write_text(w, "\\u00");
        tt_write_char(w, "0123456789abcdef"[c >> 4]);
        tt_write_char(w, "0123456789abcdef"[c & 15]);
        break;
    }
}

void tt_write_json_string(struct tt_writer *w, struct tt_bytes text)
{
    size_t i = 0;

    tt_write_char(w, '"');
    while (i < text.size) {
        uint8_t c = text.data[i];
        if (c < 0x20 || c == 0x7F || c == '"' || c == '\\') {
            write_json_escape(w, c);
            i++;
            continue;
        }
        size_t n = utf8_sequence(tt_bytes_from(text, i));
        if (n == 0) {
            tt_write_text(w, "\xEF\xBF\xBD");
            i++;
            continue;
        }
        tt_write(w, text.data + i, n);
        i += n;
    }
    tt_write_char(w, '"');
}
