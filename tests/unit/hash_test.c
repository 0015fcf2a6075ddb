#include <criterion/criterion.h>

#include "proto/base/hash.h"

/* Key 00..0f and message 00..(n-1), as in the paper's vectors. */
static const struct tt_hash_key paper_key = {0x0706050403020100u, 0x0f0e0d0c0b0a0908u};

Test(hash, siphash_2_4_gives_the_published_values)
{
    uint8_t message[64];

    for (unsigned i = 0; i < sizeof(message); i++) message[i] = (uint8_t)i;
    /* vectors_sip64 of the reference implementation, lengths 0, 1, 7, 8, 15 (the paper's own
     * example) and 63. */
    cr_assert_eq(tt_hash_siphash(&paper_key, tt_bytes(message, 0), 2, 4), 0x726fdb47dd0e0e31u);
    cr_assert_eq(tt_hash_siphash(&paper_key, tt_bytes(message, 1), 2, 4), 0x74f839c593dc67fdu);
    cr_assert_eq(tt_hash_siphash(&paper_key, tt_bytes(message, 7), 2, 4), 0xab0200f58b01d137u);
    cr_assert_eq(tt_hash_siphash(&paper_key, tt_bytes(message, 8), 2, 4), 0x93f5f5799a932462u);
    cr_assert_eq(tt_hash_siphash(&paper_key, tt_bytes(message, 15), 2, 4), 0xa129ca6149be45e5u);
    cr_assert_eq(tt_hash_siphash(&paper_key, tt_bytes(message, 63), 2, 4), 0x958a324ceb064572u);
}

Test(hash, is_siphash_1_3_and_stays_so)
{
    /* Stored in the log: these values may never change. */
    cr_assert_eq(tt_hash(&paper_key, tt_bytes_text("")),
                 tt_hash_siphash(&paper_key, TT_BYTES_NONE, 1, 3));
    cr_assert_eq(tt_hash(&paper_key, TT_BYTES_NONE), 0xabac0158050fc4dcu);
    uint8_t message[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    cr_assert_eq(tt_hash(&paper_key, tt_bytes(message, 8)), 0x369095118d299a8eu);
}

Test(hash, depends_on_every_byte_the_length_and_the_key)
{
    uint8_t message[40] = {0};
    struct tt_hash_key other = {paper_key.k0, paper_key.k1 ^ 1};

    for (size_t size = 0; size < sizeof(message); size++) {
        uint64_t plain = tt_hash(&paper_key, tt_bytes(message, size));
        cr_assert_neq(plain, tt_hash(&paper_key, tt_bytes(message, size + 1)));
        cr_assert_neq(plain, tt_hash(&other, tt_bytes(message, size)));
        for (size_t i = 0; i < size; i++) {
            message[i] ^= 0x80;
            cr_assert_neq(plain, tt_hash(&paper_key, tt_bytes(message, size)));
            message[i] ^= 0x80;
        }
    }
}

Test(hash, does_not_depend_on_alignment)
{
    uint8_t memory[64];

    for (size_t shift = 0; shift < 8; shift++) {
        memcpy(memory + shift, "stock.AAPL and more bytes", 25);
        cr_assert_eq(tt_hash(&paper_key, tt_bytes(memory + shift, 25)),
                     tt_hash(&paper_key, tt_bytes_text("stock.AAPL and more bytes")));
    }
}
