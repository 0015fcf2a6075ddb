#include "proto/wire/excerpt.h"

void tt_write_excerpt(struct tt_writer *w, struct tt_bytes value)
{
    static const char digits[] = "0123456789abcdef";
    struct tt_bytes shown = value;
    if (shown.size > TT_EXCERPT_BYTES) {
        shown.size = TT_EXCERPT_BYTES;
        while (shown.size != 0 && (value.data[shown.size] & 0xC0) == 0x80) shown.size--;
    }
    bool is_utf8 = tt_bytes_is_utf8(shown);
    for (size_t i = 0; i < shown.size; i++) {
        uint8_t c = shown.data[i];
        if (c < ' ' || c == 0x7F || (c >= 0x80 && !is_utf8)) {
            char escape[4] = {'\\', 'x', digits[c >> 4], digits[c & 15]};
            tt_write(w, escape, sizeof escape);
        } else {
            tt_write_char(w, (char)c);
        }
    }
    if (shown.size != value.size) tt_write_text(w, "...");
}
