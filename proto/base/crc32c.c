#include "proto/base/crc32c.h"

#include <string.h>

#include "proto/base/assert.h"

#define POLYNOMIAL_REFLECTED 0x82F63B78u

/* table[k][b]: the sum of byte b followed by k zero bytes; eight bytes are then eight look-ups.
 * Made before main() so that no thread ever sees a half of it. */
static uint32_t table[8][256];
static bool hardware;

/* The instruction takes three cycles but can begin one each cycle: three lanes of a block go side
 * by side and are put together (Gopal et al., "Fast CRC computation for iSCSI polynomial using
 * CRC32 instruction"). shift[k][b]: what a lane's length of zero bytes makes of byte b of a sum at
 * place k. */
#define LANE_BYTES 256u
static uint32_t shift[4][256];

__attribute__((constructor)) static void make_table(void)
{
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t crc = b;
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ ((crc & 1) != 0 ? POLYNOMIAL_REFLECTED : 0);
        }
        table[0][b] = crc;
    }
    for (unsigned k = 1; k < 8; k++) {
        for (uint32_t b = 0; b < 256; b++) {
            table[k][b] = table[k - 1][b] >> 8 ^ table[0][table[k - 1][b] & 0xFF];
        }
    }
    /* Linear: the sum of a byte is the sum of its bits. */
    for (unsigned bit = 0; bit < 32; bit++) {
        uint32_t crc = UINT32_C(1) << bit;
        for (unsigned i = 0; i < LANE_BYTES; i++) crc = crc >> 8 ^ table[0][crc & 0xFF];
        for (uint32_t b = 0; b < 256; b++)
            if ((b >> bit % 8 & 1) != 0) shift[bit / 8][b] ^= crc;
    }
#if defined(__x86_64__)
    __builtin_cpu_init();
    hardware = __builtin_cpu_supports("sse4.2") != 0;
#endif
}

uint32_t tt_crc32c_table(uint32_t crc, const void *data, size_t size)
{
    const uint8_t *p = data;

    crc = ~crc;
    for (; size >= 8; size -= 8, p += 8) {
        uint32_t low = crc ^ ((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
                              (uint32_t)p[3] << 24);
        crc = table[7][low & 0xFF] ^ table[6][low >> 8 & 0xFF] ^ table[5][low >> 16 & 0xFF] ^
              table[4][low >> 24] ^ table[3][p[4]] ^ table[2][p[5]] ^ table[1][p[6]] ^
              table[0][p[7]];
    }
    for (; size != 0; size--, p++) crc = crc >> 8 ^ table[0][(crc ^ *p) & 0xFF];
    return ~crc;
}

bool tt_crc32c_has_hardware(void)
{
    return hardware;
}

#if defined(__x86_64__)
static inline uint64_t word_at(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof(word));
    return word;
}

static inline uint32_t shifted(uint32_t sum)
{
    return shift[0][sum & 0xFF] ^ shift[1][sum >> 8 & 0xFF] ^ shift[2][sum >> 16 & 0xFF] ^
           shift[3][sum >> 24];
}

__attribute__((target("sse4.2"))) uint32_t tt_crc32c_hardware(uint32_t crc, const void *data,
                                                              size_t size)
{
    const uint8_t *p = data;
    uint64_t sum = (uint32_t)~crc;

    TT_ASSERT(hardware);
    for (; size >= 3 * LANE_BYTES; size -= 3 * LANE_BYTES, p += 3 * LANE_BYTES) {
        uint64_t second = 0, third = 0;
        for (size_t i = 0; i < LANE_BYTES; i += 8) {
            sum = __builtin_ia32_crc32di(sum, word_at(p + i));
            second = __builtin_ia32_crc32di(second, word_at(p + LANE_BYTES + i));
            third = __builtin_ia32_crc32di(third, word_at(p + 2 * LANE_BYTES + i));
        }
        sum = shifted((uint32_t)sum) ^ second;
        sum = shifted((uint32_t)sum) ^ third;
    }
    for (; size >= 8; size -= 8, p += 8) sum = __builtin_ia32_crc32di(sum, word_at(p));
    uint32_t rest = (uint32_t)sum;
    for (; size != 0; size--, p++) rest = __builtin_ia32_crc32qi(rest, *p);
    return ~rest;
}
#else
uint32_t tt_crc32c_hardware(uint32_t crc, const void *data, size_t size)
{
    TT_ASSERT(hardware);
    return tt_crc32c_table(crc, data, size);
}
#endif

uint32_t tt_crc32c(uint32_t crc, const void *data, size_t size)
{
    return hardware ? tt_crc32c_hardware(crc, data, size) : tt_crc32c_table(crc, data, size);
}
