/* Proof of completeness: every event that was published on a client's channels is accounted for,
 * over all the connections that the client had.
 *
 * The publisher numbers the events of each channel 1, 2, 3, ...; a client keeps what it has seen of
 * each of its channels (sequence.h), through every cut and resume. What is demanded depends on what
 * the client asked for:
 *  - lossless (replay, disconnect): each number once and in order. A jump is a loss, unless the
 *    broker told of the hole before (`resync`, `gap` of a crash; with max_lag `gap` of a lag): then
 *    the first event of each channel behind it may jump, and what it jumps over counts as told.
 *  - conflating: numbers may be jumped over but never go backwards or come twice, the newest of
 * each channel has come in the end, no event marked "conflate":false is jumped over, and the counts
 *    in `gap` (reason conflated) add up to what was jumped over, exactly. They are not held
 *    against a client with max_rate, which is not told of each tick, nor against one that was cut,
 *    which may not have been there when it was told.
 * Sans-IO; thread: the engine's. Memory: 16 bytes for each client and channel (rows), the caller's.
 */
#ifndef TT_TOOLS_TTLOAD_PROOF_H
#define TT_TOOLS_TTLOAD_PROOF_H

#include <stdatomic.h>
#include <stdbool.h>

#include "proto/base/bytes.h"
#include "tools/ttload/sequence.h"

/* Sums over clients; one writer, others may read while it runs. */
struct tt_proof_counts {
    _Atomic uint64_t delivered; /* different events */
    _Atomic uint64_t doubled;
    _Atomic uint64_t reordered; /* behind a later one; with conflation: went backwards */
    _Atomic uint64_t gaps;      /* places where a lossless client missed something so far */
    _Atomic uint64_t missing;   /* events in these places */
    _Atomic uint64_t told;      /* jumped over behind a hole that was told of */
    _Atomic uint64_t conflated; /* jumped over by conflating clients */
    _Atomic uint64_t kept_lost; /* of these: never to be conflated */
    _Atomic uint64_t again;     /* state that was known already: snapshot values */
    _Atomic uint64_t notices;   /* `gap` and `resync` */
    _Atomic uint64_t
        losses_told;          /* notices that the events before are gone: resync, gap of a crash */
    _Atomic uint64_t skipped; /* counted in the broker's `gap`, reason conflated */
};

/* What the end shows, beside the counts; summed by tt_proof_finish(). */
struct tt_proof_end {
    uint64_t lost;       /* never came to a lossless client, and nothing told of it */
    uint64_t unknown;    /* numbers above what the broker accepted */
    uint64_t stale;      /* channels of conflating clients whose newest event never came */
    uint64_t miscounted; /* conflating clients that were told another number than they missed */
    uint32_t miscounted_client; /* the first of these, ... */
    uint32_t miscounted_told, miscounted_missed;
};

enum tt_proof_flag {
    TT_PROOF_CONFLATES = 1,
    TT_PROOF_MAX_RATE = 2,
    TT_PROOF_MAX_LAG = 4,
    TT_PROOF_SNAPSHOT = 8,   /* between a `gap` that leads to a snapshot and `snapshot-end` */
    TT_PROOF_REWOUND = 16,   /* was cut within a snapshot: what it saw there may come again */
    TT_PROOF_CUT = 32,       /* was cut at least once */
    TT_PROOF_LOSS_TOLD = 64, /* its last hole was one that no snapshot fills */
};

struct tt_proof_client {
    struct tt_sequence *rows; /* one for each channel, ascending; tag: channel, value, hole */
    uint32_t missing;         /* jumped over and not told of as a hole, as far as it never came */
    uint32_t skipped;         /* told by `gap`, reason conflated */
    uint16_t hole;            /* how many holes it was told of, modulo TT_PROOF_HOLES */
    uint8_t flags;
};

/* What all clients have in common. */
struct tt_proof {
    uint32_t per_client;
    bool all; /* row i is channel i */
    uint32_t kept_every;
    struct tt_proof_counts *counts;
};

#define TT_PROOF_CHANNELS_MAX (1u << 17)
#define TT_PROOF_VALUE        TT_PROOF_CHANNELS_MAX /* tag: the last that came was a snapshot's value */
#define TT_PROOF_HOLES        (1u << 14)

/* rows: zeroed, per_client of them. */
void tt_proof_client_init(const struct tt_proof *proof, struct tt_proof_client *c,
                          struct tt_sequence *rows, const uint32_t *channels, uint8_t flags);

/* The channel of row i. */
static inline uint32_t tt_proof_channel(const struct tt_proof_client *c, uint32_t i)
{
    return c->rows[i].tag % TT_PROOF_CHANNELS_MAX;
}

enum tt_proof_verdict {
    TT_PROOF_NEW = 0,      /* count its latency */
    TT_PROOF_KNOWN,        /* counted as doubled, or as state that was known */
    TT_PROOF_NOT_FOLLOWED, /* of a channel that the client does not follow */
    TT_PROOF_NO_ID,        /* without id outside of a snapshot */
};
/* An event came. has_id: false for the values of a snapshot. */
enum tt_proof_verdict tt_proof_take(const struct tt_proof *proof, struct tt_proof_client *c,
                                    uint32_t channel, uint32_t seq, bool has_id);

/* `gap`, `resync` or `snapshot-end` came. Null; or, in static storage, what is wrong with it. */
const char *tt_proof_notice(const struct tt_proof *proof, struct tt_proof_client *c,
                            struct tt_bytes type, struct tt_bytes data);
/* The connection is gone. */
void tt_proof_cut(struct tt_proof_client *c);

/* published: of each channel, the highest number that the broker accepted.
 * The rows that may still get something. */
uint32_t tt_proof_behind(const struct tt_proof *proof, const struct tt_proof_client *c,
                         const uint32_t *published);
void tt_proof_finish(const struct tt_proof *proof, const struct tt_proof_client *c, uint32_t client,
                     const uint32_t *published, struct tt_proof_end *end);

#endif
