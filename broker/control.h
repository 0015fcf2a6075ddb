/* The control thread: acceptor, operations listener, signals, reload, log lines, and the order in
 * which the process starts, drains and stops.
 *
 * It runs on an io of its own, owns no partition and no client. It outlives the shards and their
 * world: with Kafka there may be several *lives*, one after the other (life.h); in between
 * operators are served as before, and connections wait.
 *
 *   STARTING   shards create their io; nothing is accepted yet
 *   SERVING    the ready line was printed
 *   DELAYING   SIGTERM or SIGINT came: /readyz says 503 for --drain-delay-ms, clients still come
 *   DRAINING   shards send their clients away, and new ones softly too, within --drain-ms
 *   STOPPING   shards close their logs and end; a second signal leads here at once
 *   STOPPED    every shard has said so
 * A life that ends for another goes from SERVING to STOPPING with the listeners open, and the next
 * begins with STARTING.
 * Thread: control, but for what is said beside the functions. */
#ifndef TT_BROKER_CONTROL_H
#define TT_BROKER_CONTROL_H

#include "broker/config.h"
#include "broker/memory.h"
#include "shard/diag.h"
#include "shard/shard.h"

struct tt_control;
struct tt_cors;
struct tt_faults;
struct tt_kafka_watch;

enum tt_control_phase {
    TT_CONTROL_STARTING = 0,
    TT_CONTROL_SERVING,
    TT_CONTROL_DELAYING,
    TT_CONTROL_DRAINING,
    TT_CONTROL_STOPPING,
    TT_CONTROL_STOPPED,
};

struct tt_control_options {
    const struct tt_config *config;
    enum tt_io_kind io_kind;
    struct tt_diag **diags; /* one for each other thread, then the control thread's own; borrowed */
    uint32_t diags_count;
    struct tt_kafka_watch *kafka;   /* null: no Kafka; borrowed */
    int signals;                    /* of tt_process_signals() */
    const struct tt_faults *faults; /* --test-fault, for its metrics; null: none */
    /* For reload: where the configuration came from; borrowed. */
    int arguments_count;
    char *const *arguments;
    char *const *environment;
};

/* Creates the io and binds every listener, so that a port in use shows before the log is touched.
 * On failure *error holds one line. TT_OK, or what the io said. */
TT_MUST_USE enum tt_status tt_control_create(struct tt_control **control,
                                             const struct tt_control_options *options,
                                             char error[TT_CONFIG_ERROR_MAX]);
/* After every shard's thread was joined. */
void tt_control_destroy(struct tt_control **control);

struct tt_io *tt_control_io(struct tt_control *control);
enum tt_io_kind tt_control_io_kind(const struct tt_control *control); /* what was chosen */

/* The table of --allow-origin. TT_OK, TT_ENOMEM. Thread: start-up, control. */
TT_MUST_USE enum tt_status tt_control_make_cors(const struct tt_config *config,
                                                struct tt_cors **cors);

struct tt_control_figures_start {
    struct tt_memory_bound memory;
    uint64_t connections_max; /* of all shards together */
};
/* Serves until every shard has stopped. The shards' threads were started, or will be; world and its
 * peers outlive this call. TT_OK: the end was asked for, or another life (tt_control_again());
 * others: a shard could not start, *error holds one line. */
TT_MUST_USE enum tt_status tt_control_run(struct tt_control *control, const struct tt_world *world,
                                          const struct tt_control_figures_start *figures,
                                          char error[TT_CONFIG_ERROR_MAX]);
/* After tt_control_run() and the end of the shards' threads, before their world goes. */
void tt_control_world_ends(struct tt_control *control);
/* Whether the life that ended is to be followed by another. */
bool tt_control_again(const struct tt_control *control);
/* Without a world: serves operators until Kafka's thread has made its plan. TT_OK; TT_ECLOSED: the
 * end was asked for. */
TT_MUST_USE enum tt_status tt_control_wait_for_plan(struct tt_control *control);
/* The table of --allow-origin as reloads have left it; null: none has. */
const struct tt_cors *tt_control_cors(const struct tt_control *control);

#endif
