#include "proto/base/hash.h"

static uint64_t rotate(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

/* Little endian on every machine: hashes are stored. */
static uint64_t load_le64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

struct sip {
    uint64_t v0, v1, v2, v3;
};

static inline __attribute__((always_inline)) void sip_rounds(struct sip *s, unsigned rounds)
{
    for (unsigned i = 0; i < rounds; i++) {
        s->v0 += s->v1;
        s->v1 = rotate(s->v1, 13) ^ s->v0;
        s->v0 = rotate(s->v0, 32);
        s->v2 += s->v3;
        s->v3 = rotate(s->v3, 16) ^ s->v2;
        s->v0 += s->v3;
        s->v3 = rotate(s->v3, 21) ^ s->v0;
        s->v2 += s->v1;
        s->v1 = rotate(s->v1, 17) ^ s->v2;
        s->v2 = rotate(s->v2, 32);
    }
}

static inline __attribute__((always_inline)) uint64_t sip(const struct tt_hash_key *key,
                                                          struct tt_bytes bytes, unsigned c_rounds,
                                                          unsigned d_rounds)
{
    struct sip s = {
        key->k0 ^ 0x736f6d6570736575u,
        key->k1 ^ 0x646f72616e646f6du,
        key->k0 ^ 0x6c7967656e657261u,
        key->k1 ^ 0x7465646279746573u,
    };
    size_t whole = bytes.size & ~(size_t)7;

    for (size_t i = 0; i < whole; i += 8) {
        uint64_t m = load_le64(bytes.data + i);
        s.v3 ^= m;
        sip_rounds(&s, c_rounds);
        s.v0 ^= m;
    }
    uint64_t last = (uint64_t)bytes.size << 56;
    for (size_t i = whole; i < bytes.size; i++) {
        last |= (uint64_t)bytes.data[i] << (8 * (i - whole));
    }
    s.v3 ^= last;
    sip_rounds(&s, c_rounds);
    s.v0 ^= last;
    s.v2 ^= 0xFF;
    sip_rounds(&s, d_rounds);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

uint64_t tt_hash(const struct tt_hash_key *key, struct tt_bytes bytes)
{
    return sip(key, bytes, 1, 3);
}

uint64_t tt_hash_siphash(const struct tt_hash_key *key, struct tt_bytes bytes, unsigned c_rounds,
                         unsigned d_rounds)
{
    return sip(key, bytes, c_rounds, d_rounds);
}
