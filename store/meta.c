#include "store/meta.h"

#include "proto/base/crc32c.h"
#include "proto/base/limits.h"
#include "store/record.h"

struct file {
    uint8_t magic[8];
    uint32_t format;
    uint32_t partitions;
    struct tt_history history;
    uint64_t k0;
    uint64_t k1;
    int64_t created_us;
    uint8_t reserved[12];
    uint32_t crc32c; /* of everything before */
};
_Static_assert(sizeof(struct file) == TT_META_BYTES, "no holes");
static const uint8_t magic[8] = {'t', 't', 'l', 'o', 'g', 'm', 'e', 't'};

void tt_meta_encode(uint8_t out[TT_META_BYTES], const struct tt_meta *meta)
{
    struct file f = {.format = meta->format,
                     .partitions = meta->partitions,
                     .history = meta->history,
                     .k0 = meta->hash_key.k0,
                     .k1 = meta->hash_key.k1,
                     .created_us = meta->created_us};
    memcpy(f.magic, magic, sizeof magic);
    f.crc32c = tt_crc32c(0, &f, offsetof(struct file, crc32c));
    memcpy(out, &f, sizeof f);
}

static enum tt_status corrupt(const char **why, const char *text)
{
    if (why != NULL) *why = text;
    return TT_ECORRUPT;
}

enum tt_status tt_meta_decode(struct tt_bytes file, struct tt_meta *meta, const char **why)
{
    struct file f;
    if (file.size != sizeof f || memcmp(file.data, magic, sizeof magic) != 0)
        return corrupt(why, "is not the META of a log");
    memcpy(&f, file.data, sizeof f);
    if (f.crc32c != tt_crc32c(0, &f, offsetof(struct file, crc32c)))
        return corrupt(why, "is damaged: its checksum does not match");
    meta->format = f.format;
    if (f.format > TT_RECORD_FORMAT) return TT_EVERSION;
    struct tt_history history;
    if (tt_history_parse(tt_bytes(f.history.text, TT_HISTORY_BYTES), &history) != TT_OK ||
        f.partitions == 0 || f.partitions > TT_PARTITIONS_MAX)
        return corrupt(why, "holds values that no version wrote");
    *meta = (struct tt_meta){.format = f.format,
                             .partitions = f.partitions,
                             .history = history,
                             .hash_key = {f.k0, f.k1},
                             .created_us = f.created_us};
    return TT_OK;
}
