#include "proto/wire/percent.h"

int tt_hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

enum tt_status tt_percent_decode(struct tt_bytes raw, bool plus_is_space, struct tt_writer *w)
{
    enum tt_status status = TT_OK;
    for (size_t i = 0; i < raw.size; i++) {
        uint8_t c = raw.data[i];
        if (c == '+' && plus_is_space) {
            c = ' ';
        } else if (c == '%') {
            int high = i + 2 < raw.size ? tt_hex_value(raw.data[i + 1]) : -1;
            int low = i + 2 < raw.size ? tt_hex_value(raw.data[i + 2]) : -1;
            if (high < 0 || low < 0) {
                status = TT_EINVAL;
            } else {
                c = (uint8_t)(high * 16 + low);
                i += 2;
            }
        }
        tt_write_char(w, (char)c);
    }
    return status;
}
