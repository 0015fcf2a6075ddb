#include "broker/kafka/value.h"

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

static bool is_escaped(uint8_t c)
{
    return c < 0x20 || c == '"' || c == '\\';
}

size_t tt_kafka_json_string_bytes(struct tt_bytes text)
{
    if (!tt_bytes_is_utf8(text)) return 0;
    size_t bytes = text.size + 2;
    for (size_t i = 0; i < text.size; i++)
        if (is_escaped(text.data[i])) bytes += short_escape(text.data[i]) != 0 ? 1 : 5;
    return bytes;
}

void tt_kafka_write_json_string(struct tt_writer *w, struct tt_bytes text)
{
    size_t begun = 0;
    tt_write_char(w, '"');
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (!is_escaped(c)) continue;
        tt_write(w, text.data + begun, i - begun);
        begun = i + 1;
        tt_write_char(w, '\\');
        char letter = short_escape(c);
        if (letter != 0) {
            tt_write_char(w, letter);
            continue;
        }
        tt_write_text(w, "u00");
        tt_write_char(w, "0123456789abcdef"[c >> 4]);
        tt_write_char(w, "0123456789abcdef"[c & 15]);
    }
    if (begun != text.size) tt_write(w, text.data + begun, text.size - begun);
    tt_write_char(w, '"');
}

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void tt_kafka_write_base64(struct tt_writer *w, struct tt_bytes bytes)
{
    tt_write_char(w, '"');
    for (size_t i = 0; i < bytes.size; i += 3) {
        size_t left = bytes.size - i;
        uint32_t group = (uint32_t)bytes.data[i] << 16;
        if (left > 1) group |= (uint32_t)bytes.data[i + 1] << 8;
        if (left > 2) group |= bytes.data[i + 2];
        char four[4] = {alphabet[group >> 18], alphabet[group >> 12 & 63],
                        left > 1 ? alphabet[group >> 6 & 63] : '=',
                        left > 2 ? alphabet[group & 63] : '='};
        tt_write(w, four, 4);
    }
    tt_write_char(w, '"');
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
