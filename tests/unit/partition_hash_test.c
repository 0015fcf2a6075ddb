#include <criterion/criterion.h>
#include <stdio.h>

#include "proto/event/partition_hash.h"

Test(partition_hash, murmur2_gives_the_values_of_kafka_s_own_test)
{
    /* UtilsTest.testMurmur2() of org.apache.kafka.common.utils. */
    cr_assert_eq((int32_t)tt_murmur2(tt_bytes_text("21")), -973932308);
    cr_assert_eq((int32_t)tt_murmur2(tt_bytes_text("foobar")), -790332482);
    cr_assert_eq((int32_t)tt_murmur2(tt_bytes_text("a-little-bit-long-string")), -985981536);
    cr_assert_eq((int32_t)tt_murmur2(tt_bytes_text("a-little-bit-longer-string")), -1486304829);
    cr_assert_eq(
        (int32_t)tt_murmur2(tt_bytes_text("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8")),
        -58897971);
    cr_assert_eq((int32_t)tt_murmur2(tt_bytes_text("abc")), 479470107);
}

Test(partition_hash, crc32_gives_the_check_value)
{
    cr_assert_eq(tt_crc32(tt_bytes_text("123456789")), 0xcbf43926u);
    cr_assert_eq(tt_crc32(TT_BYTES_NONE), 0u);
    uint8_t high[] = {0xff, 0x80, 0x00, 0xc3, 0xa9};
    cr_assert_eq(tt_crc32(tt_bytes(high, sizeof high)), 0xaec2196bu);
}

Test(partition_hash, the_two_put_the_same_key_elsewhere)
{
    /* Seen on a real Kafka: Java's producer and kcat. */
    struct tt_bytes key = tt_bytes_text("stock.AAPL");

    cr_assert_eq(tt_partition_of_murmur2(key, 8), 6);
    cr_assert_eq(tt_partition_of_crc32(key, 8), 7);
}

Test(partition_hash, is_always_one_of_the_partitions)
{
    for (uint32_t n = 1; n < 40; n++) {
        for (unsigned i = 0; i < 100; i++) {
            char text[16];
            int size = snprintf(text, sizeof text, "key-%u", i);
            struct tt_bytes key = tt_bytes(text, (size_t)size);
            cr_assert_lt(tt_partition_of_murmur2(key, n), n);
            cr_assert_lt(tt_partition_of_crc32(key, n), n);
        }
    }
}
