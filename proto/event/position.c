#include "proto/event/position.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

struct tt_history tt_history_from_bits(uint64_t bits)
{
    struct tt_history history = {{0}};

    for (unsigned i = 0; i < TT_HISTORY_BYTES; i++) {
        history.text[i] = digits[bits % 62];
        bits /= 62;
    }
    return history;
}

enum tt_status tt_history_parse(struct tt_bytes text, struct tt_history *history)
{
    struct tt_history made = {{0}};

    if (text.size != TT_HISTORY_BYTES) return TT_EINVAL;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        bool good = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!good) return TT_EINVAL;
        made.text[i] = (char)c;
    }
    *history = made;
    return TT_OK;
}

bool tt_history_equal(struct tt_history a, struct tt_history b)
{
    return memcmp(a.text, b.text, sizeof(a.text)) == 0;
}

void tt_position_write(struct tt_writer *w, const struct tt_position *position)
{
    tt_write(w, position->history.text, TT_HISTORY_BYTES);
    tt_write_char(w, '-');
    tt_write_u64(w, position->partition);
    tt_write_char(w, '-');
    tt_write_u64(w, position->offset);
}

size_t tt_position_text_bytes(const struct tt_position *position)
{
    return TT_HISTORY_BYTES + 2 + tt_digits_u64(position->partition) +
           tt_digits_u64(position->offset);
}

/* A number as tt_write_u64() writes it, so that one value has one text. */
static enum tt_status parse_number(struct tt_bytes text, uint64_t max, uint64_t *value)
{
    if (text.size > 1 && text.data[0] == '0') return TT_EINVAL;
    return tt_bytes_to_u64(text, max, value);
}

enum tt_status tt_position_parse(struct tt_bytes text, struct tt_position *position)
{
    struct tt_position made = {0};
    uint64_t partition = 0;

    if (text.size < TT_HISTORY_BYTES + 4 || text.size > TT_POSITION_TEXT_MAX) return TT_EINVAL;
    if (tt_history_parse(tt_bytes(text.data, TT_HISTORY_BYTES), &made.history) != TT_OK) {
        return TT_EINVAL;
    }
    if (text.data[TT_HISTORY_BYTES] != '-') return TT_EINVAL;
    struct tt_bytes rest = tt_bytes_from(text, TT_HISTORY_BYTES + 1);
    const uint8_t *dash = memchr(rest.data, '-', rest.size);
    if (dash == NULL) return TT_EINVAL;
    size_t before = (size_t)(dash - rest.data);
    if (parse_number(tt_bytes(rest.data, before), TT_PARTITIONS_MAX - 1, &partition) != TT_OK) {
        return TT_EINVAL;
    }
    if (parse_number(tt_bytes_from(rest, before + 1), TT_OFFSET_MAX, &made.offset) != TT_OK) {
        return TT_EINVAL;
    }
    made.partition = (uint32_t)partition;
    *position = made;
    return TT_OK;
}
