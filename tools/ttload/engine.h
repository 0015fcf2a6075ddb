/* One thread of SSE clients: opens them, checks every event that comes, and measures.
 *
 * A client is connected once the event `connected` has come; from then on it must get every event
 * that is published to its channels, once and in order. Whatever else happens to it (an answer
 * other than 200, bytes that are no event stream, a stream that ends) is trouble and fails the run.
 * Memory: allocated at the start; nothing for each event but what the kernel splits. */
#ifndef TT_TOOLS_TTLOAD_ENGINE_H
#define TT_TOOLS_TTLOAD_ENGINE_H

#include "tools/ttload/load.h"
#include "tools/ttload/sequence.h"
#include "tools/ttload/sse_reader.h"

struct tt_engine_client;
struct tt_engine_request;

struct tt_engine {
    const struct tt_load *load;
    uint32_t first; /* number of its first client in the whole run */
    uint32_t count; /* of its clients */
    pthread_t thread;
    struct tt_trouble trouble;
    const char *io_name; /* for after its end; null: it had none */
    /* Read by others while it runs. */
    _Atomic uint64_t connected;
    _Atomic uint64_t delivered; /* different events, summed over the clients */
    _Atomic uint64_t doubled;
    _Atomic uint64_t reordered;
    _Atomic uint64_t gaps;    /* places where an event was missing when a later one came */
    _Atomic uint64_t notices; /* `gap` and `resync` of the broker */
    _Atomic uint64_t bytes;
    _Atomic uint64_t receives;
    struct tt_histogram latency; /* from the intended time of publishing, ns */
    struct tt_histogram connect; /* from the start of connecting to `connected`, ns */
    /* Its own. */
    struct tt_engine_client *clients_;
    struct tt_sequence *sequences_; /* per_client for each */
    struct tt_engine_request *requests_;
    uint64_t now_ns_;
    uint64_t connect_from_ns_;
    uint32_t opened_;
    uint32_t opening_;
    uint32_t requests_used_;
};

/* Starts the thread. The engine must stay where it is. TT_OK; TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_engine_start(struct tt_engine *e, const struct tt_load *load,
                                           uint32_t first, uint32_t count);
/* Waits for the thread, which ends when load->stop is set or it cannot go on. The histograms and
 * counters may be read afterwards. */
void tt_engine_stop(struct tt_engine *e);

#endif
