/* A keyed 64-bit hash: SipHash-1-3 (Aumasson, Bernstein: "SipHash: a fast short-input PRF").
 *
 * Channel names come from publishers and clients, so tables keyed by them need a hash whose
 * collisions nobody can compute without the key. The key comes from the caller (the log draws one
 * when it is created and stores it, because its descriptors and index hold hashes; tables that live
 * in memory only draw their own from the io's random numbers). The value depends on nothing else:
 * not on the machine's byte order, not on alignment. Thread: any. Memory: none. */
#ifndef TT_PROTO_BASE_HASH_H
#define TT_PROTO_BASE_HASH_H

#include <stdint.h>

#include "proto/base/bytes.h"

struct tt_hash_key {
    uint64_t k0;
    uint64_t k1;
};

/* The hash of the run. About 15 ns for a channel's name. */
uint64_t tt_hash(const struct tt_hash_key *key, struct tt_bytes bytes);

/* SipHash with any number of rounds, so that the published test vectors of SipHash-2-4 check the
 * construction itself. */
uint64_t tt_hash_siphash(const struct tt_hash_key *key, struct tt_bytes bytes, unsigned c_rounds,
                         unsigned d_rounds);

#endif
