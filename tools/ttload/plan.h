/* Who is what in a run, drawn from a seed before it begins: which clients are slow, which are cut
 * off and come back, what policy each asks for, which channels it follows, and which channel each
 * event goes to. The same options give the same plan.
 *
 * A share is met exactly (rounded down to whole clients); who belongs to it is drawn by shuffling,
 * so the shares are independent of each other. Thread: init at the start, then any (never changes).
 * Memory: one byte for each client, 4 for each channel, 8 more for each with a zipf distribution.
 */
#ifndef TT_TOOLS_TTLOAD_PLAN_H
#define TT_TOOLS_TTLOAD_PLAN_H

#include "tools/ttload/options.h"

enum tt_plan_role {
    TT_PLAN_SLOW = 1,
    TT_PLAN_RECONNECTS = 2,
    TT_PLAN_CONFLATES = 4, /* asks for policy=conflate, or a max_rate, which implies it */
    TT_PLAN_DISCONNECTS = 8,
    TT_PLAN_MAX_RATE = 16,
    TT_PLAN_MAX_LAG = 32,
};

struct tt_plan {
    uint32_t clients;
    uint32_t channels;
    uint32_t per_client; /* channels that each client follows */
    bool all;            /* every client follows all channels, by a pattern */
    uint32_t kept_every; /* each so-manieth event of a channel is never conflated; 0: none */
    uint8_t *roles;      /* of each client: enum tt_plan_role, or-ed */
    uint32_t apart;      /* with --apart the clients from here on, slow or cut off; else none */
    uint32_t *followers; /* of each channel */
    const struct tt_run_options *options_;
    double *zipf_; /* sum of 1/1 ... 1/(i + 1); null: nothing is zipf distributed */
};

/* `options` must outlive the plan. TT_OK; TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_plan_init(struct tt_plan *plan, const struct tt_run_options *options);
void tt_plan_deinit(struct tt_plan *plan);

/* Writes the per_client channels that the client follows, ascending, none twice. */
void tt_plan_channels(const struct tt_plan *plan, uint32_t client, uint32_t *channels);
/* The channel that event 0, 1, 2, ... of the whole run goes to. */
uint32_t tt_plan_event_channel(const struct tt_plan *plan, uint64_t event);
/* How many of the events behind number `after`, up to and with number `last` of a channel, are
 * marked as never to be conflated. */
static inline uint32_t tt_plan_kept(uint32_t kept_every, uint32_t after, uint32_t last)
{
    return kept_every == 0 ? 0 : last / kept_every - after / kept_every;
}
uint32_t tt_plan_count(const struct tt_plan *plan, uint8_t role); /* clients that have it */

/* A sequence of numbers that looks random; the same seed gives the same one. */
static inline uint64_t tt_plan_random(uint64_t *state)
{
    /* splitmix64, https://prng.di.unimi.it/splitmix64.c */
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

#endif
