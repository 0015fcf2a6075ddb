#include <criterion/criterion.h>
#include <stdlib.h>

#include "proto/base/crc32c.h"

struct vector {
    const char *what;
    uint8_t bytes[48];
    size_t size;
    uint32_t crc;
};

/* RFC 3720 appendix B.4, and the check value of the CRC catalogue. */
static size_t vectors(struct vector v[6])
{
    static const uint8_t read_command[48] = {
        0x01, 0xc0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00,
        0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00, 0x18, 0x28, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00};

    v[0] = (struct vector){.what = "32 bytes of zeros", .size = 32, .crc = 0x8A9136AA};
    v[1] = (struct vector){.what = "32 bytes of ones", .size = 32, .crc = 0x62A8AB43};
    memset(v[1].bytes, 0xFF, 32);
    v[2] = (struct vector){.what = "32 incrementing bytes", .size = 32, .crc = 0x46DD794E};
    v[3] = (struct vector){.what = "32 decrementing bytes", .size = 32, .crc = 0x113FDB5C};
    for (unsigned i = 0; i < 32; i++) {
        v[2].bytes[i] = (uint8_t)i;
        v[3].bytes[i] = (uint8_t)(31 - i);
    }
    v[4] = (struct vector){.what = "an iSCSI read command", .size = 48, .crc = 0xD9963A56};
    memcpy(v[4].bytes, read_command, 48);
    v[5] = (struct vector){.what = "123456789", .size = 9, .crc = 0xE3069283};
    memcpy(v[5].bytes, "123456789", 9);
    return 6;
}

Test(crc32c, gives_the_values_of_rfc_3720)
{
    struct vector v[6];
    size_t count = vectors(v);

    for (size_t i = 0; i < count; i++) {
        cr_assert_eq(tt_crc32c(0, v[i].bytes, v[i].size), v[i].crc, "%s", v[i].what);
        cr_assert_eq(tt_crc32c_table(0, v[i].bytes, v[i].size), v[i].crc, "table: %s", v[i].what);
        for (size_t cut = 0; cut <= v[i].size; cut++) {
            uint32_t first = tt_crc32c(0, v[i].bytes, cut);
            cr_assert_eq(tt_crc32c(first, v[i].bytes + cut, v[i].size - cut), v[i].crc,
                         "in two pieces: %s", v[i].what);
        }
    }
    cr_assert_eq(tt_crc32c(0, NULL, 0), 0);
}

Test(crc32c, hardware_and_table_agree)
{
    static uint8_t bytes[15000]; /* two blocks of the longest lanes, and a rest */
    unsigned seed = 3720;

    if (!tt_crc32c_has_hardware()) cr_skip_test("this processor has no SSE4.2");
    for (size_t i = 0; i < sizeof(bytes); i++) bytes[i] = (uint8_t)rand_r(&seed);
    for (size_t from = 0; from < 9; from++) {
        for (size_t size = 0; size < sizeof(bytes) - from; size += size < 700 ? 1 : 97) {
            uint32_t crc = (uint32_t)size * 2654435761u;
            cr_assert_eq(tt_crc32c_hardware(crc, bytes + from, size),
                         tt_crc32c_table(crc, bytes + from, size));
        }
    }
}
