/* Where Kafka's producers put a record by its key: two ways, both one number for each key that is
 * taken mod the topic's partitions.
 *
 *   murmur2  Java's producers, and librdkafka's `murmur2` and `murmur2_random`: Utils.murmur2() of
 *            org.apache.kafka.common.utils (MurmurHash2 by Austin Appleby, seed 0x9747b28c), its
 *            top bit cleared (Utils.toPositive());
 *   crc32    librdkafka's default (`consistent_random`, so kcat, Python, Go): CRC-32 as in zlib and
 *            IEEE 802.3 (reflected polynomial 0xEDB88320).
 *
 * A record without a key goes anywhere with both. With librdkafka's `*_random` so does one with an
 * empty key by crc32, but not by murmur2. Thread: any. Memory: none. */
#ifndef TT_PROTO_EVENT_PARTITION_HASH_H
#define TT_PROTO_EVENT_PARTITION_HASH_H

#include "proto/base/bytes.h"

uint32_t tt_murmur2(struct tt_bytes key); /* all 32 bits, as Utils.murmur2() */
uint32_t tt_crc32(struct tt_bytes key);

/* The partition of a key, of `partitions` (at least 1). */
static inline uint32_t tt_partition_of_murmur2(struct tt_bytes key, uint32_t partitions)
{
    return (tt_murmur2(key) & 0x7fffffffu) % partitions;
}
static inline uint32_t tt_partition_of_crc32(struct tt_bytes key, uint32_t partitions)
{
    return tt_crc32(key) % partitions;
}

#endif
