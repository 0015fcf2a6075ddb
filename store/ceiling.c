#include "store/ceiling.h"

#include "proto/base/crc32c.h"

struct slot {
    uint8_t magic[8];
    uint64_t version;
    uint64_t offset;
    uint8_t reserved[36];
    uint32_t crc32c; /* of everything before */
};
_Static_assert(sizeof(struct slot) == TT_CEILING_SLOT_BYTES, "no holes");
static const uint8_t magic[8] = {'t', 't', 'c', 'e', 'i', 'l', 0, 1};

uint64_t tt_ceiling_place(uint64_t version)
{
    return version % 2 * TT_CEILING_SLOT_EVERY;
}

void tt_ceiling_encode(uint8_t out[TT_CEILING_SLOT_BYTES], const struct tt_ceiling *ceiling)
{
    struct slot s = {.version = ceiling->version, .offset = ceiling->offset};
    memcpy(s.magic, magic, sizeof magic);
    s.crc32c = tt_crc32c(0, &s, offsetof(struct slot, crc32c));
    memcpy(out, &s, sizeof s);
}

enum tt_status tt_ceiling_decode(struct tt_bytes file, struct tt_ceiling *ceiling)
{
    enum tt_status status = TT_ECORRUPT;
    for (uint64_t i = 0; i < 2; i++) {
        struct slot s;
        if (file.size < tt_ceiling_place(i) + sizeof s) continue;
        memcpy(&s, file.data + tt_ceiling_place(i), sizeof s);
        if (memcmp(s.magic, magic, sizeof magic) != 0 ||
            s.crc32c != tt_crc32c(0, &s, offsetof(struct slot, crc32c)) || s.version % 2 != i)
            continue;
        if (status == TT_OK && s.version < ceiling->version) continue;
        *ceiling = (struct tt_ceiling){s.version, s.offset};
        status = TT_OK;
    }
    return status;
}
