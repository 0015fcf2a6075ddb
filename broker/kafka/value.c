#include "broker/kafka/value.h"

#include "proto/wire/json.h"

/* Behind a backslash; 0: no short form, or none needed. */
static char short_escape(uint8_t c)
{
    switch (c) {
    case '"': return '"';
    case '\\': return '\\';
    case '\b': return 'b';
    case '\f': return 'f';
    case '\n': return 'n';
    case '\r': return 'r';
    case '\t': return 't';
    default: return 0;
    }
}

size_t tt_kafka_json_string_bytes(struct tt_bytes text)
{
    size_t bytes = text.size + 2, at = tt_json_plain_bytes(text);
    bool ascii = true;
    for (; at != text.size; at += tt_json_plain_bytes(tt_bytes_from(text, at))) {
        uint8_t c = text.data[at++];
        if (c >= 0x80)
            ascii = false;
        else
            bytes += short_escape(c) != 0 ? 1 : 5;
    }
    return ascii || tt_bytes_is_utf8(text) ? bytes : 0;
}

static void write_escape(struct tt_writer *w, uint8_t c)
{
    char letter = short_escape(c);
    tt_write_char(w, '\\');
    if (letter != 0) {
        tt_write_char(w, letter);
        return;
    }
    tt_write_text(w, "u00");
    tt_write_char(w, "0123456789abcdef"[c >> 4]);
    tt_write_char(w, "0123456789abcdef"[c & 15]);
}

void tt_kafka_write_json_string(struct tt_writer *w, struct tt_bytes text, size_t bytes)
{
    size_t begun = 0, at = text.size;
    tt_write_char(w, '"');
    if (bytes != text.size + 2) at = tt_json_plain_bytes(text);
    for (; at != text.size; at += tt_json_plain_bytes(tt_bytes_from(text, at))) {
        uint8_t c = text.data[at++];
        if (c >= 0x80) continue;
        tt_write(w, text.data + begun, at - 1 - begun);
        begun = at;
        write_escape(w, c);
    }
    if (begun != text.size) tt_write(w, text.data + begun, text.size - begun);
    tt_write_char(w, '"');
}

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void put_group(uint8_t *to, uint32_t group)
{
    to[0] = (uint8_t)alphabet[group >> 18];
    to[1] = (uint8_t)alphabet[group >> 12 & 63];
    to[2] = (uint8_t)alphabet[group >> 6 & 63];
    to[3] = (uint8_t)alphabet[group & 63];
}

void tt_kafka_put_base64(uint8_t *to, struct tt_bytes bytes)
{
    size_t i = 0;
    *to++ = '"';
    for (; bytes.size - i >= 3; i += 3, to += 4)
        put_group(to, (uint32_t)bytes.data[i] << 16 | (uint32_t)bytes.data[i + 1] << 8 |
                          bytes.data[i + 2]);
    size_t left = bytes.size - i;
    if (left != 0) {
        put_group(to, (uint32_t)bytes.data[i] << 16 |
                          (left > 1 ? (uint32_t)bytes.data[i + 1] << 8 : 0));
        if (left == 1) to[2] = '=';
        to[3] = '=';
        to += 4;
    }
    *to = '"';
}

static uint32_t digit(uint8_t c)
{
    if (c >= 'A' && c <= 'Z') return (uint32_t)(c - 'A');
    if (c >= 'a' && c <= 'z') return (uint32_t)(c - 'a') + 26;
    if (c >= '0' && c <= '9') return (uint32_t)(c - '0') + 52;
    return c == '+' ? 62 : c == '/' ? 63 : 0;
}

void tt_kafka_read_base64(struct tt_writer *w, struct tt_bytes base64)
{
    for (size_t i = 0; i + 4 <= base64.size; i += 4) {
        const uint8_t *four = base64.data + i;
        uint32_t group =
            digit(four[0]) << 18 | digit(four[1]) << 12 | digit(four[2]) << 6 | digit(four[3]);
        uint8_t three[3] = {(uint8_t)(group >> 16), (uint8_t)(group >> 8), (uint8_t)group};
        tt_write(w, three, four[2] == '=' ? 1 : four[3] == '=' ? 2 : 3);
    }
}
