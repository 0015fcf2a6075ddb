/* One thread of SSE clients: opens them, checks every event that comes, and measures.
 *
 * A client is connected once the event `connected` has come; from then on it must get every event
 * that is published to its channels, as proof.h demands. Some clients are slow or are cut off and
 * come back with their cursor (disturb.h), by the plan. Whatever else happens to a client (an
 * answer other than 200, bytes that are no event stream, a stream that ends) is trouble and fails
 * the run; only one of policy disconnect may be closed by the broker, and then resumes. Memory:
 * allocated at the start; nothing for each event but what the kernel splits. */
#ifndef TT_TOOLS_TTLOAD_ENGINE_H
#define TT_TOOLS_TTLOAD_ENGINE_H

#include "tools/ttload/coarse.h"
#include "tools/ttload/load.h"
#include "tools/ttload/proof.h"
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
    _Atomic uint64_t connected; /* clients that ever were */
    _Atomic uint64_t live;      /* that are now */
    _Atomic uint64_t gone;      /* that are so for good: trouble */
    _Atomic uint64_t resumed;   /* times that one came back */
    _Atomic uint64_t cuts;
    _Atomic uint64_t cuts_inside; /* of these: within an event */
    _Atomic uint64_t closed;      /* by the broker, of policy disconnect */
    _Atomic uint64_t stopped;     /* slow clients that do not read now */
    _Atomic uint64_t behind; /* 1 + clients' channels that still miss something, once publishing
                                has ended; 0: not looked at yet */
    _Atomic uint64_t bytes;
    _Atomic uint64_t receives;
    struct tt_proof_counts counts;
    struct tt_coarse recent; /* as `latency`, warm-up included */
    /* For after its end; ns. */
    struct tt_histogram latency; /* from the intended time of publishing */
    struct tt_histogram
        disturbed;               /* the same, of clients that are slow, cut off or with max_rate */
    struct tt_histogram connect; /* from the start of connecting to `connected` */
    struct tt_histogram resume;  /* the same, of clients that come back */
    struct tt_proof_end end;
    /* Its own. */
    struct tt_engine_client *clients_;
    struct tt_sequence *rows_; /* per_client for each */
    struct tt_engine_request *requests_;
    uint32_t *special_; /* its clients that the plan disturbs, or whom the broker may close */
    struct tt_proof proof_;
    const uint32_t *published_; /* as of load; null until this thread has seen it */
    uint64_t random_;
    uint64_t now_ns_;
    uint64_t connect_from_ns_;
    uint64_t look_ns_; /* when the special ones are looked at again */
    uint64_t scan_ns_; /* when `behind` is counted again */
    uint32_t special_count_;
    uint32_t opened_;
    uint32_t opening_;
    uint32_t requests_used_;
    bool disturbing_;
};

/* Starts the thread. The engine must stay where it is. TT_OK; TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_engine_start(struct tt_engine *e, const struct tt_load *load,
                                           uint32_t first, uint32_t count);
/* Waits for the thread, which ends when load->stop is set or it cannot go on. The histograms and
 * counters may be read afterwards. */
void tt_engine_stop(struct tt_engine *e);

#endif
