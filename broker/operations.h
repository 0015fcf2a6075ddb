/* The operations listener: /healthz, /readyz, /status, /metrics, /clients and the dashboard, for
 * operators and their monitoring, on the control thread and with the connection engine of the
 * shards.
 *
 * What is shown is read from atomics of the shards and from `struct tt_operations_view`, which the
 * control thread keeps up to date; shards are asked about their clients (clients.h).
 * Thread: control. */
#ifndef TT_BROKER_OPERATIONS_H
#define TT_BROKER_OPERATIONS_H

#include "broker/acceptor.h"
#include "broker/config.h"
#include "broker/logger.h"
#include "broker/memory.h"
#include "shard/conn/connections.h"
#include "shard/shard.h"
#include "shard/timers.h"

struct tt_kafka_watch;

enum tt_readiness_reason {
    TT_READINESS_STARTING = 0, /* shards are not all up yet */
    TT_READINESS_DRAINING,
    TT_READINESS_LOG_READ_ONLY,
    TT_READINESS_LOG_NO_SPACE,
    TT_READINESS_KAFKA_AWAY,        /* nothing is known of Kafka, and there is no mirror */
    TT_READINESS_KAFKA_BACKFILLING, /* the mirror does not reach Kafka's end yet */
    /* Ready all the same, but degraded: */
    TT_READINESS_KAFKA_STALE, /* nothing new comes from Kafka, or not from every topic */
    TT_READINESS_REASONS
};
#define TT_READINESS_DEGRADED_FIRST TT_READINESS_KAFKA_STALE

/* What there is to say; the control thread writes it. */
struct tt_operations_view {
    const struct tt_config *config;
    struct tt_kafka_watch *kafka; /* null: no Kafka */
    const struct tt_world *world; /* null until the shards run */
    const struct tt_acceptor *acceptor;
    const struct tt_logger *logger;
    const struct tt_faults *faults; /* --test-fault; null: none */
    const char *io_name;
    struct tt_memory_bound memory;
    uint64_t connections_max;
    int64_t started_ms; /* unix time */
    int64_t now_ms;
    uint32_t operations_connections;
    uint64_t reloads;
    uint64_t reload_errors;
    int64_t since_ms[TT_READINESS_REASONS]; /* why it is not ready, since when; 0: no such reason */
    double busy_ratio[TT_SHARDS_MAX];       /* of the last whole second */
};
bool tt_operations_ready(const struct tt_operations_view *view);
bool tt_operations_degraded(const struct tt_operations_view *view);

struct tt_operations;

/* Binds --ops-listen. view: borrowed. TT_OK; else *error holds one line. */
TT_MUST_USE enum tt_status tt_operations_create(struct tt_operations **operations, struct tt_io *io,
                                                struct tt_timers *timers,
                                                const struct tt_operations_view *view,
                                                struct tt_diag *diag,
                                                char error[TT_CONFIG_ERROR_MAX]);
void tt_operations_destroy(struct tt_operations **operations);
const struct tt_address *tt_operations_address(const struct tt_operations *operations);
/* Begins to accept operators; once. */
void tt_operations_start(struct tt_operations *operations);
/* view->world was set. TT_OK, TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_operations_world_begins(struct tt_operations *operations);
/* The shards' threads have ended, view->world is about to go. */
void tt_operations_world_ends(struct tt_operations *operations);
bool tt_operations_done(struct tt_operations *operations, const struct tt_done *done);
/* Sends what can be sent; true: call again after a submit. */
bool tt_operations_flush(struct tt_operations *operations);
void tt_operations_tick(struct tt_operations *operations);
/* A shard has answered about its clients. */
void tt_operations_roster_done(struct tt_operations *operations);

#endif
