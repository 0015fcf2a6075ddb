/* What the threads of one `ttload run` share: the plan, which never changes while they run, and a
 * few atomics. Each counter has one writer and is read relaxed. */
#ifndef TT_TOOLS_TTLOAD_LOAD_H
#define TT_TOOLS_TTLOAD_LOAD_H

#include <pthread.h>
#include <stdatomic.h>

#include "shard/io/io.h"
#include "tools/ttload/histogram.h"
#include "tools/ttload/options.h"
#include "tools/ttload/plan.h"

struct tt_load {
    const struct tt_run_options *options;
    const struct tt_plan *plan;
    char host[TT_ADDRESS_TEXT_MAX];
    _Atomic bool stop; /* written by the main thread */
    /* Written before publishing begins: an event that was due before is not measured. */
    _Atomic uint64_t measure_from_ns;
    /* Null until publishing has ended; then, of each channel, the highest number that the broker
     * accepted. From then on nobody is slow or cut off any more. Released by the main thread. */
    const uint32_t *_Atomic published;
};

/* The first thing that went wrong in a thread, and how often something did. */
struct tt_trouble {
    _Atomic uint64_t count;
    char first[256]; /* written once, before count becomes 1 (release) */
};
void tt_trouble_add(struct tt_trouble *t, const char *format, ...) TT_PRINTF(2, 3);

/* tt_io_create() for a thread of ttload; trouble is added when it fails. */
struct tt_io *tt_load_io(const struct tt_load *load, uint32_t sockets, bool apart,
                         struct tt_trouble *trouble);

static inline void tt_counter_add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}
static inline void tt_counter_take(_Atomic uint64_t *counter, uint64_t n)
{
    tt_counter_add(counter, (uint64_t)0 - n);
}
static inline uint64_t tt_counter(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

#endif
