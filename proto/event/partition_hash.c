#include "proto/event/partition_hash.h"

#define MURMUR2_SEED       0x9747b28cu
#define MURMUR2_MULTIPLIER 0x5bd1e995u
#define MURMUR2_SHIFT      24

/* Four bytes, little endian. */
static uint32_t read_u32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

uint32_t tt_murmur2(struct tt_bytes key)
{
    const uint8_t *at = key.data;
    size_t left = key.size;
    uint32_t hash = MURMUR2_SEED ^ (uint32_t)key.size;

    for (; left >= 4; left -= 4, at += 4) {
        uint32_t word = read_u32(at) * MURMUR2_MULTIPLIER;
        word ^= word >> MURMUR2_SHIFT;
        hash = hash * MURMUR2_MULTIPLIER ^ word * MURMUR2_MULTIPLIER;
    }
    for (size_t i = 0; i < left; i++) hash ^= (uint32_t)at[i] << (8 * i);
    if (left != 0) hash *= MURMUR2_MULTIPLIER;
    hash = (hash ^ hash >> 13) * MURMUR2_MULTIPLIER;
    return hash ^ hash >> 15;
}

/* Of half a byte: keys are short, and 64 bytes stay in the cache. */
static const uint32_t crc32_table[16] = {
    0x00000000u, 0x1db71064u, 0x3b6e20c8u, 0x26d930acu, 0x76dc4190u, 0x6b6b51f4u,
    0x4db26158u, 0x5005713cu, 0xedb88320u, 0xf00f9344u, 0xd6d6a3e8u, 0xcb61b38cu,
    0x9b64c2b0u, 0x86d3d2d4u, 0xa00ae278u, 0xbdbdf21cu,
};

uint32_t tt_crc32(struct tt_bytes key)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < key.size; i++) {
        crc ^= key.data[i];
        crc = crc >> 4 ^ crc32_table[crc & 15];
        crc = crc >> 4 ^ crc32_table[crc & 15];
    }
    return ~crc;
}
