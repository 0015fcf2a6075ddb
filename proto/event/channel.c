#include "proto/event/channel.h"

#include "proto/base/limits.h"

#define ALLOWED                                                                                    \
    "allowed are 1 to 255 bytes of UTF-8 without control characters, comma, space and '*', in at " \
    "most 8 dotted levels"

static enum tt_status refuse(struct tt_writer *why, const char *what, size_t at)
{
    if (why != NULL) tt_write_format(why, "%s at byte %zu; " ALLOWED, what, at + 1);
    return TT_EINVAL;
}

/* U+0080-9F, the second row of control characters, in UTF-8. */
static bool is_c1(struct tt_bytes name, size_t at)
{
    return name.data[at] == 0xC2 && at + 1 < name.size && name.data[at + 1] < 0xA0;
}

static enum tt_status check_size(struct tt_bytes name, struct tt_writer *why)
{
    if (name.size == 0) {
        if (why != NULL) tt_write_text(why, "is empty; " ALLOWED);
        return TT_EINVAL;
    }
    if (name.size > TT_CHANNEL_BYTES_MAX) {
        if (why != NULL) tt_write_format(why, "has %zu bytes; " ALLOWED, name.size);
        return TT_EINVAL;
    }
    return TT_OK;
}

/* Bytes that may be wrong, or count; of Kafka every record's channel comes by here. */
static const bool is_looked_at[256] = {
    [0 ... ' '] = true, ['*'] = true, [','] = true, ['.'] = true, [0x7F ... 0xFF] = true};

enum tt_status tt_channel_check(struct tt_bytes name, struct tt_writer *why)
{
    unsigned levels = 1;
    bool ascii = true;

    if (check_size(name, why) != TT_OK) return TT_EINVAL;
    for (size_t i = 0; i < name.size; i++) {
        uint8_t c = name.data[i];
        if (!is_looked_at[c]) continue;
        if (c < 0x20 || c == 0x7F || is_c1(name, i))
            return refuse(why, "has a control character", i);
        if (c == ',') return refuse(why, "has a comma", i);
        if (c == ' ') return refuse(why, "has a space", i);
        if (c == '*') return refuse(why, "has a '*'", i);
        if (c == '.' && ++levels > TT_CHANNEL_LEVELS_MAX)
            return refuse(why, "has a ninth level", i);
        if (c >= 0x80) ascii = false;
    }
    if (!ascii && !tt_bytes_is_utf8(name)) {
        if (why != NULL) tt_write_text(why, "is not UTF-8; " ALLOWED);
        return TT_EINVAL;
    }
    return TT_OK;
}

enum tt_status tt_type_check(struct tt_bytes type, struct tt_writer *why)
{
    static const char allowed[] = "allowed are 1 to 128 of A-Z a-z 0-9 _ . : / -";

    if (type.size == 0 || type.size > TT_TYPE_BYTES_MAX) {
        if (why != NULL) tt_write_format(why, "has %zu bytes; %s", type.size, allowed);
        return TT_EINVAL;
    }
    for (size_t i = 0; i < type.size; i++) {
        uint8_t c = type.data[i];
        bool good = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                    c == '_' || c == '.' || c == ':' || c == '/' || c == '-';
        if (good) continue;
        if (why != NULL) {
            tt_write_format(why, "has a character that is not allowed at byte %zu; %s", i + 1,
                            allowed);
        }
        return TT_EINVAL;
    }
    return TT_OK;
}

bool tt_type_is_reserved(struct tt_bytes type)
{
    static const char *const reserved[] = {"connected", "snapshot-end", "resync",
                                           "gap",       "feed",         "token-expiring",
                                           "shutdown",  "ping",         "error"};

    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
        if (tt_bytes_is(type, reserved[i])) return true;
    }
    return false;
}

enum tt_status tt_pattern_parse(struct tt_bytes text, struct tt_pattern *pattern,
                                struct tt_writer *why)
{
    struct tt_bytes name = text;
    struct tt_pattern made = {TT_PATTERN_EXACT, text};

    if (tt_bytes_is(text, "*")) {
        *pattern = (struct tt_pattern){TT_PATTERN_ALL, tt_bytes(text.data, 0)};
        return TT_OK;
    }
    if (check_size(text, why) != TT_OK) return TT_EINVAL;
    if (text.size >= 2 && text.data[text.size - 2] == '.' && text.data[text.size - 1] == '*') {
        name.size--;
        made = (struct tt_pattern){TT_PATTERN_PREFIX, name};
    }
    const uint8_t *star = memchr(name.data, '*', name.size);
    if (star != NULL) {
        if (why != NULL) {
            tt_write_format(why,
                            "has a '*' at byte %zu; a pattern may end in '.*' or be '*', a '*' "
                            "anywhere else is not allowed",
                            (size_t)(star - name.data) + 1);
        }
        return TT_EINVAL;
    }
    if (tt_channel_check(name, why) != TT_OK) return TT_EINVAL;
    *pattern = made;
    return TT_OK;
}

bool tt_pattern_match(const struct tt_pattern *pattern, struct tt_bytes channel)
{
    switch (pattern->kind) {
    case TT_PATTERN_EXACT: return tt_bytes_equal(pattern->text, channel);
    case TT_PATTERN_PREFIX: return tt_bytes_starts(channel, pattern->text);
    case TT_PATTERN_ALL: return true;
    }
    return false;
}

bool tt_pattern_covers(const struct tt_pattern *outer, const struct tt_pattern *inner)
{
    switch (outer->kind) {
    case TT_PATTERN_EXACT:
        return inner->kind == TT_PATTERN_EXACT && tt_bytes_equal(outer->text, inner->text);
    case TT_PATTERN_PREFIX:
        return inner->kind != TT_PATTERN_ALL && tt_bytes_starts(inner->text, outer->text);
    case TT_PATTERN_ALL: return true;
    }
    return false;
}
