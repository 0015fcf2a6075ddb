/* The thread that publishes for `ttload run`, on a schedule that does not wait for anybody.
 *
 * Event i is due at start + i / rate and goes to the channel that the plan gives it. Its due time
 * is what latency is measured from, also when it is sent late because an answer of the broker or
 * the machine was slow: otherwise the slow moments, which matter most, would be measured least
 * ("coordinated omission"). With rate 0 an event is due when it is written. A channel keeps to one
 * connection, so that its order is defined. Any answer but 202 for all events of a request is
 * trouble. */
#ifndef TT_TOOLS_TTLOAD_PUBLISHER_H
#define TT_TOOLS_TTLOAD_PUBLISHER_H

#include "tools/ttload/load.h"

struct tt_publisher_connection;

struct tt_publisher {
    const struct tt_load *load;
    uint64_t start_ns; /* when the first event is due */
    uint64_t end_ns;   /* no event is due at or after it */
    pthread_t thread;
    struct tt_trouble trouble;
    /* Read by others while it runs. */
    _Atomic uint64_t accepted; /* events that the broker has answered for */
    _Atomic uint64_t owed;     /* deliveries that they lead to, without conflation */
    _Atomic bool ended;        /* everything is answered, or it gave up */
    /* For after its end. */
    _Atomic uint64_t cpu_ns; /* that its thread has used */
    const char *io_name;     /* null: it had none */
    uint32_t *published;     /* of each channel: highest number that was accepted */
    struct tt_histogram
        lateness;               /* of writing a request, where nothing but ttload held it up, ns */
    struct tt_histogram answer; /* from writing a request to its answer, ns */
    /* Its own. */
    struct tt_publisher_connection *connections_;
    uint32_t *written_; /* of each channel: highest number that was written */
    uint32_t count_;
    uint64_t now_ns_;
};

/* TT_OK; TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_publisher_start(struct tt_publisher *p, const struct tt_load *load,
                                              uint64_t start_ns, uint64_t end_ns);
/* Waits for the thread; frees everything but `published`. */
void tt_publisher_stop(struct tt_publisher *p);
void tt_publisher_deinit(struct tt_publisher *p);

#endif
