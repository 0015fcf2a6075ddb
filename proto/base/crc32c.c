#include "proto/base/crc32c.h"

#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "proto/base/assert.h"

#define POLYNOMIAL_REFLECTED 0x82F63B78u

/* table[k][b]: the sum of byte b followed by k zero bytes; eight bytes are then eight look-ups.
 * Made before main() so that no thread ever sees a half of it. */
static uint32_t table[8][256];
static bool hardware;

/* The instruction takes three cycles but one can begin in each: the bytes are cut into three lanes
 * that go side by side and are put together again. Putting a sum in front of n zero bytes is
 * a multiplication by x^(8n) mod P: carry-less, by a constant for n, and one more sum to reduce the
 * product, which counts for x^33 (Gopal et al., "Fast CRC computation for iSCSI polynomial using
 * CRC32 instruction"). before[n]: that constant for n words of eight bytes. */
#define LANE_WORDS_MAX 256u
static uint32_t before[2 * LANE_WORDS_MAX + 1];

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
    uint32_t power = UINT32_C(0x80000000); /* x^0: the first bit is the highest power */
    for (unsigned bits = 0; bits <= 128 * LANE_WORDS_MAX - 33; bits++) {
        if ((bits + 33) % 64 == 0) before[(bits + 33) / 64] = power;
        power = power >> 1 ^ ((power & 1) != 0 ? POLYNOMIAL_REFLECTED : 0);
    }
#if defined(__x86_64__)
    __builtin_cpu_init();
    hardware = __builtin_cpu_supports("sse4.2") != 0 && __builtin_cpu_supports("pclmul") != 0;
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

#define HARDWARE __attribute__((target("sse4.2,pclmul")))

/* The product of a sum and the constant for so many words behind it, not reduced. */
HARDWARE static inline uint64_t moved(uint64_t sum, size_t words)
{
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)sum),
                                           _mm_cvtsi32_si128((int)before[words]), 0);
    return (uint64_t)_mm_cvtsi128_si64(product);
}

HARDWARE uint32_t tt_crc32c_hardware(uint32_t crc, const void *data, size_t size)
{
    const uint8_t *p = data;
    uint64_t sum = (uint32_t)~crc;

    TT_ASSERT(hardware);
    while (size >= 2 * 3 * 8) {
        size_t lane = size / (3 * 8);
        if (lane > LANE_WORDS_MAX) lane = LANE_WORDS_MAX;
        const uint8_t *q = p + 8 * lane, *r = q + 8 * lane;
        uint64_t second = 0, third = 0;
        for (size_t i = 0; i < 8 * lane; i += 8) {
            sum = _mm_crc32_u64(sum, word_at(p + i));
            second = _mm_crc32_u64(second, word_at(q + i));
            third = _mm_crc32_u64(third, word_at(r + i));
        }
        sum = _mm_crc32_u64(0, moved(sum, 2 * lane) ^ moved(second, lane)) ^ third;
        p += 24 * lane;
        size -= 24 * lane;
    }
    for (; size >= 8; size -= 8, p += 8) sum = _mm_crc32_u64(sum, word_at(p));
    uint32_t rest = (uint32_t)sum;
    for (; size != 0; size--, p++) rest = _mm_crc32_u8(rest, *p);
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
