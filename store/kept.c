#include "store/kept.h"

#include <stdio.h>

#include "proto/base/assert.h"
#include "proto/base/crc32c.h"

struct header {
    uint8_t magic[8];
    uint32_t format;
    uint32_t partition;
    uint8_t history[8];
    uint32_t number;
    uint8_t reserved[32];
    uint32_t crc32c; /* of everything before */
};
_Static_assert(sizeof(struct header) == TT_KEPT_HEADER_BYTES, "no holes");
static const uint8_t magic[8] = {'t', 't', 'l', 'o', 'g', 'v', 'a', 'l'};

#define NAME_DIGITS 7u

void tt_kept_name(uint32_t number, char name[TT_KEPT_NAME_BYTES])
{
    TT_ASSERT(number <= TT_KEPT_NUMBER_MAX);
    int written = snprintf(name, TT_KEPT_NAME_BYTES, "%07u.val", number & TT_KEPT_NUMBER_MAX);
    TT_ASSERT(written == (int)TT_KEPT_NAME_BYTES - 1);
}

enum tt_status tt_kept_name_parse(const char *name, uint32_t *number)
{
    struct tt_bytes text = tt_bytes_text(name);
    uint64_t value;
    if (text.size != TT_KEPT_NAME_BYTES - 1) return TT_EINVAL;
    if (!tt_bytes_is(tt_bytes_from(text, NAME_DIGITS), ".val")) return TT_EINVAL;
    enum tt_status status =
        tt_bytes_to_u64(tt_bytes(text.data, NAME_DIGITS), TT_KEPT_NUMBER_MAX, &value);
    if (status == TT_OK) *number = (uint32_t)value;
    return status;
}

enum tt_status tt_kept_path(const char *directory, uint32_t number, char *path, size_t bytes)
{
    char name[TT_KEPT_NAME_BYTES];
    tt_kept_name(number, name);
    int written = snprintf(path, bytes, "%s/%s", directory, name);
    return written >= 0 && (size_t)written < bytes ? TT_OK : TT_EINVAL;
}

void tt_kept_header_encode(uint8_t out[TT_KEPT_HEADER_BYTES], uint32_t number,
                           const struct tt_record_segment *identity)
{
    struct header h = {
        .format = TT_KEPT_FORMAT, .partition = identity->partition, .number = number};
    memcpy(h.magic, magic, sizeof magic);
    memcpy(h.history, identity->history.text, TT_HISTORY_BYTES);
    h.crc32c = tt_crc32c(0, &h, offsetof(struct header, crc32c));
    memcpy(out, &h, sizeof h);
}

enum tt_status tt_kept_header_check(struct tt_bytes bytes, uint32_t number,
                                    const struct tt_record_segment *identity)
{
    struct header h;
    if (bytes.size < sizeof h) return TT_ECORRUPT;
    memcpy(&h, bytes.data, sizeof h);
    if (memcmp(h.magic, magic, sizeof magic) != 0 ||
        h.crc32c != tt_crc32c(0, &h, offsetof(struct header, crc32c)))
        return TT_ECORRUPT;
    if (h.format > TT_KEPT_FORMAT) return TT_EVERSION;
    if (h.partition != identity->partition || h.number != number ||
        memcmp(h.history, identity->history.text, TT_HISTORY_BYTES) != 0)
        return TT_ECORRUPT;
    return TT_OK;
}
