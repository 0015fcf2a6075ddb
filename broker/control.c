#include "broker/control.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/acceptor.h"
#include "broker/feed_teller.h"
#include "broker/kafka/watch.h"
#include "broker/logger.h"
#include "broker/operations.h"
#include "broker/process.h"
#include "proto/base/assert.h"
#include "shard/http/cors.h"
#include "shard/messages.h"
#include "shard/peers.h"

#define OPERATION_SIGNALS 3u /* of completion tokens; acceptor 1, operations 2 */
#define OPERATION_KAFKA   4u
#define TICK_NS           UINT64_C(100000000)
#define RATIO_NS          UINT64_C(1000000000)
#define STOP_PATIENCE_NS  UINT64_C(30000000000) /* for closing the logs */
#define MESSAGES_MAX      64u
#define COMPLETIONS_MAX   64u

/* A table of origins that was replaced; shards may have it until they say so. */
struct old_cors {
    struct tt_cors *cors;
    struct old_cors *next;
};

struct tt_control {
    const struct tt_config *config; /* as started */
    struct tt_config *reloaded;     /* the last one that SIGHUP took, or null */
    struct tt_control_options options;
    struct tt_diag *diag; /* this thread's own */
    struct tt_io *io;
    struct tt_timers *timers;
    struct tt_timer tick;
    struct tt_acceptor *acceptor;
    struct tt_operations *operations;
    struct tt_logger *logger;
    struct tt_operations_view view;
    const struct tt_world *world;
    uint32_t self; /* in peers */
    enum tt_control_phase phase;
    uint64_t now_ns;
    uint64_t deadline_ns; /* of DELAYING, DRAINING and STOPPING */
    uint32_t started, drained, stopped;
    bool begun;   /* the first life was: the ready line was printed */
    bool again;   /* this life ends for another */
    bool ended;   /* the end was asked for while there was no world */
    bool polling; /* signals and Kafka's thread can be heard */
    struct tt_feed_teller teller;
    uint32_t reloads_open; /* shards that have not answered the last reload */
    bool reload_again;     /* SIGHUP came meanwhile */
    struct old_cors *cors; /* all that were made by reloads, until the end */
    uint64_t ratio_ns;     /* start of the running second */
    uint64_t busy_ns[TT_SHARDS_MAX], alive_ns[TT_SHARDS_MAX];
    enum tt_status failed; /* why a shard did not start */
    char *error;
};

/* ---- life ---- */

static void ticked(struct tt_timer *timer, uint64_t now_ns, void *context);

static enum tt_status create_io(struct tt_control *c, char error[TT_CONFIG_ERROR_MAX])
{
    const struct tt_io_options options = {
        .kind = c->options.io_kind,
        .sockets_max = 256, /* operators, listeners, the descriptor of signals */
        .recv_buffer_bytes = 4096,
        .recv_buffers = 64,
        .files_max = 4,
    };
    char why[256] = "";
    enum tt_status status = tt_io_create(&c->io, &options, why, sizeof(why));
    if (status != TT_OK) {
        snprintf(error, TT_CONFIG_ERROR_MAX, "--io: %s", why);
        return status;
    }
    if (why[0] != '\0')
        tt_diag_write(c->diag, TT_DIAG_WARN, NULL, "io_fallback", "epoll is used: %s", why);
    return tt_timers_create(&c->timers, tt_io_now_ns(c->io));
}

enum tt_status tt_control_create(struct tt_control **control,
                                 const struct tt_control_options *options,
                                 char error[TT_CONFIG_ERROR_MAX])
{
    struct tt_control *c = calloc(1, sizeof(*c));
    if (c == NULL) {
        snprintf(error, TT_CONFIG_ERROR_MAX, "no memory");
        return TT_ENOMEM;
    }
    c->options = *options;
    c->config = options->config;
    c->diag = options->diags[options->diags_count - 1];
    enum tt_status status = create_io(c, error);
    if (status == TT_OK) {
        int64_t wall_us = tt_io_wall_us(c->io);
        c->view.config = c->config;
        c->view.io_name = tt_io_name(c->io);
        c->view.started_ms = c->view.now_ms = wall_us / 1000;
        c->view.since_ms[TT_READINESS_STARTING] = wall_us / 1000;
        tt_diag_set_wall_us(c->diag, wall_us);
        tt_timer_init(&c->tick, tt_timers_kind(c->timers, c, ticked));
        status = tt_acceptor_create(&c->acceptor, c->io, c->config, c->diag, error);
    }
    if (status == TT_OK)
        status = tt_operations_create(&c->operations, c->io, c->timers, &c->view, c->diag, error);
    if (status == TT_OK)
        status = tt_logger_create(&c->logger, options->diags, options->diags_count,
                                  (enum tt_diag_format)c->config->diag_format);
    c->view.acceptor = c->acceptor;
    c->view.kafka = options->kafka;
    c->view.logger = c->logger;
    c->view.faults = options->faults;
    if (status != TT_OK) {
        if (error[0] == '\0') snprintf(error, TT_CONFIG_ERROR_MAX, "%s", tt_status_text(status));
        tt_control_destroy(&c);
        return status;
    }
    *control = c;
    return TT_OK;
}

void tt_control_destroy(struct tt_control **control)
{
    struct tt_control *c = *control;
    if (c == NULL) return;
    /* A start that failed is told in one line, which is not among these. */
    if (c->begun || c->ended) tt_logger_drain(c->logger, tt_io_wall_us(c->io));
    tt_operations_destroy(&c->operations);
    tt_acceptor_destroy(&c->acceptor);
    tt_logger_destroy(&c->logger);
    if (c->timers != NULL) tt_timers_destroy(&c->timers);
    if (c->io != NULL) tt_io_destroy(&c->io);
    while (c->cors != NULL) {
        struct old_cors *old = c->cors;
        c->cors = old->next;
        tt_cors_destroy(&old->cors);
        free(old);
    }
    tt_config_destroy(&c->reloaded);
    free(c);
    *control = NULL;
}

struct tt_io *tt_control_io(struct tt_control *control)
{
    return control->io;
}

enum tt_io_kind tt_control_io_kind(const struct tt_control *control)
{
    return strcmp(tt_io_name(control->io), "epoll") == 0 ? TT_IO_EPOLL : TT_IO_URING;
}

static void note_reason(struct tt_control *c, enum tt_readiness_reason reason, bool is_so)
{
    if (!is_so)
        c->view.since_ms[reason] = 0;
    else if (c->view.since_ms[reason] == 0)
        c->view.since_ms[reason] = c->view.now_ms;
}

/* ---- phases ---- */

static void reload(struct tt_control *c);

static void post_to_all(struct tt_control *c, const struct tt_message *message)
{
    TT_ASSERT(c->world != NULL);
    for (uint32_t i = 0; i < c->world->shards_count; i++)
        tt_peers_post(c->world->peers, c->self, i, message);
}

/* What supervisors and tests wait for; once. What the start had to say stands in the log before. */
static void tell_ready(struct tt_control *c)
{
    char http[TT_ADDRESS_TEXT_MAX], ops[TT_ADDRESS_TEXT_MAX];
    tt_logger_drain(c->logger, tt_io_wall_us(c->io));
    tt_address_text(tt_acceptor_address(c->acceptor, 0), http);
    tt_address_text(tt_operations_address(c->operations), ops);
    printf("tickertape ready http=%s ops=%s io=%s shards=%u history=%s\n", http, ops,
           tt_io_name(c->io), c->world->shards_count, c->world->topics[0].history.text);
    fflush(stdout);
}

static void end_life(struct tt_control *c);

/* Whatever Kafka's thread has to say; also when nothing has changed. */
static void look_at_kafka(struct tt_control *c)
{
    if (c->options.kafka == NULL) return;
    struct tt_kafka_news news;
    tt_kafka_watch_news(c->options.kafka, &news);
    note_reason(c, TT_READINESS_KAFKA_AWAY, news.away);
    note_reason(c, TT_READINESS_KAFKA_STALE, news.stale && !news.away);
    if (c->world == NULL || c->phase == TT_CONTROL_STARTING) return;
    tt_feed_teller_tell(&c->teller, &news);
    if (news.again && c->phase == TT_CONTROL_SERVING) end_life(c);
}

static void serve(struct tt_control *c)
{
    c->phase = TT_CONTROL_SERVING;
    c->view.since_ms[TT_READINESS_STARTING] = 0;
    if (c->view.faults != NULL && !c->begun)
        tt_diag_write(c->diag, TT_DIAG_WARN, NULL, "test_fault",
                      "--test-fault: operations on files are made to fail");
    tt_acceptor_start(c->acceptor, c->world, c->view.connections_max);
    tt_operations_start(c->operations);
    if (!c->begun) tell_ready(c);
    c->begun = true;
    look_at_kafka(c);
    if (c->reload_again) {
        c->reload_again = false;
        reload(c);
    }
}

static void stop(struct tt_control *c)
{
    if (c->phase >= TT_CONTROL_STOPPING) return;
    c->phase = TT_CONTROL_STOPPING;
    c->deadline_ns = c->now_ns + STOP_PATIENCE_NS;
    tt_acceptor_stop(c->acceptor);
    post_to_all(c, &(struct tt_message){.kind = TT_MESSAGE_STOP});
}

/* The world cannot go on as it is (kafka/watch.h says why). Connections end without a word, as when
 * a proxy is restarted: clients come back with their cursors, and wait for the next world. */
static void end_life(struct tt_control *c)
{
    c->again = true;
    c->phase = TT_CONTROL_STOPPING;
    c->deadline_ns = c->now_ns + STOP_PATIENCE_NS;
    c->view.since_ms[TT_READINESS_STARTING] = c->view.now_ms;
    tt_acceptor_pause(c->acceptor);
    post_to_all(c, &(struct tt_message){.kind = TT_MESSAGE_STOP});
}

/* Connections are accepted as before: an EventSource that comes now must be told softly to come
 * again later (200 and the end of the stream), or it gives up for good. */
static void drain(struct tt_control *c)
{
    struct tt_message message = {.kind = TT_MESSAGE_DRAIN};
    TT_MESSAGE_BODY(&message, tt_message_drain)->drain_ms = (uint32_t)c->config->drain_ms;
    c->phase = TT_CONTROL_DRAINING;
    c->deadline_ns = c->now_ns + c->config->drain_ms * 1000000;
    post_to_all(c, &message);
    tt_diag_write(c->diag, TT_DIAG_INFO, NULL, "draining",
                  "clients are sent away within %llu ms; new ones are told to come again later",
                  (unsigned long long)c->config->drain_ms);
}

/* SIGTERM, SIGINT: the first one drains, a second one ends it now. */
static void asked_to_end(struct tt_control *c, int number)
{
    const char *name = number == SIGINT ? "SIGINT" : "SIGTERM";
    if (c->phase == TT_CONTROL_SERVING) {
        c->phase = TT_CONTROL_DELAYING;
        c->view.since_ms[TT_READINESS_DRAINING] = c->view.now_ms;
        c->deadline_ns = c->now_ns + c->config->drain_delay_ms * 1000000;
        tt_diag_write(c->diag, TT_DIAG_INFO, NULL, "ending",
                      "%s: /readyz says 503; clients are still accepted for %llu ms", name,
                      (unsigned long long)c->config->drain_delay_ms);
        if (c->config->drain_delay_ms == 0) drain(c);
        return;
    }
    if (c->world == NULL || c->again) { /* between two lives nobody has to be drained */
        c->again = false;
        c->ended = true;
    }
    if (c->phase >= TT_CONTROL_STOPPING || c->world == NULL) return;
    tt_diag_write(c->diag, TT_DIAG_INFO, NULL, "ending_now", "%s: ending without waiting", name);
    stop(c);
}

static void check_deadline(struct tt_control *c)
{
    if (c->deadline_ns == 0 || c->now_ns < c->deadline_ns) return;
    c->deadline_ns = 0;
    switch (c->phase) {
    case TT_CONTROL_DELAYING: drain(c); break;
    case TT_CONTROL_DRAINING:
        tt_diag_write(c->diag, TT_DIAG_WARN, NULL, "drain_timeout",
                      "clients are left after --drain-ms=%llu; they are cut off",
                      (unsigned long long)c->config->drain_ms);
        stop(c);
        break;
    case TT_CONTROL_STOPPING:
        /* A disk that hangs must not keep a supervisor waiting for ever. The log is as after a
         * crash: what was answered is in its files. */
        tt_diag_write(c->diag, TT_DIAG_ERROR, NULL, "stop_timeout",
                      "the logs could not be closed in time; ending as after a crash");
        tt_logger_drain(c->logger, tt_io_wall_us(c->io));
        _Exit(1);
    case TT_CONTROL_STARTING:
    case TT_CONTROL_SERVING:
    case TT_CONTROL_STOPPED: break;
    }
}

/* ---- reload ---- */

enum tt_status tt_control_make_cors(const struct tt_config *config, struct tt_cors **cors)
{
    struct tt_bytes *entries = calloc(config->allow_origin.count + 1, sizeof(*entries));
    if (entries == NULL) return TT_ENOMEM;
    for (uint32_t i = 0; i < config->allow_origin.count; i++)
        entries[i] = tt_bytes_text(config->allow_origin.items[i]);
    enum tt_status status = tt_cors_create(cors, entries, config->allow_origin.count);
    free(entries);
    return status;
}

static void apply(struct tt_control *c, const struct tt_config *config)
{
    for (uint32_t i = 0; i < c->options.diags_count; i++)
        tt_diag_set_level(c->options.diags[i], (enum tt_diag_level)config->diag_level);
    struct old_cors *old = calloc(1, sizeof(*old));
    struct tt_cors *cors = NULL;
    if (old == NULL || tt_control_make_cors(config, &cors) != TT_OK) {
        free(old);
        tt_diag_write(c->diag, TT_DIAG_ERROR, NULL, "reload_failed", "no memory");
        return;
    }
    *old = (struct old_cors){cors, c->cors};
    c->cors = old;
    struct tt_message message = {.kind = TT_MESSAGE_RELOAD};
    TT_MESSAGE_BODY(&message, tt_message_reload)->cors = cors;
    c->reloads_open = c->world->shards_count;
    post_to_all(c, &message);
}

static void reload(struct tt_control *c)
{
    char error[TT_CONFIG_ERROR_MAX], names[1024];
    struct tt_config *fresh;
    if (c->phase > TT_CONTROL_SERVING && !c->again) return;
    if (c->reloads_open != 0 || c->phase != TT_CONTROL_SERVING) {
        c->reload_again = true;
        return;
    }
    if (tt_config_load(&fresh, c->options.arguments_count, c->options.arguments,
                       c->options.environment, error) != TT_OK) {
        c->view.reload_errors++;
        tt_diag_write(c->diag, TT_DIAG_ERROR, NULL, "reload_failed", "nothing was changed: %s",
                      error);
        return;
    }
    const struct tt_config *before = c->reloaded != NULL ? c->reloaded : c->config;
    struct tt_writer w = tt_writer(names, sizeof(names));
    unsigned changed = tt_config_differences(before, fresh, true, &w);
    if (changed == 0) tt_write_text(&w, "nothing");
    tt_diag_write(c->diag, TT_DIAG_INFO, NULL, "reloaded", "SIGHUP: changed: %.*s", (int)w.size,
                  names);
    w = tt_writer(names, sizeof(names));
    if (tt_config_differences(c->config, fresh, false, &w) != 0)
        tt_diag_write(c->diag, TT_DIAG_WARN, NULL, "restart_needed",
                      "changed in the configuration, but only a restart takes it: %.*s",
                      (int)w.size, names);
    c->view.reloads++;
    if (changed != 0) apply(c, fresh);
    tt_config_destroy(&c->reloaded);
    c->reloaded = fresh;
}

static void take_signals(struct tt_control *c)
{
    for (int number; (number = tt_process_next_signal(c->options.signals)) != 0;) {
        if (number == SIGHUP)
            reload(c);
        else
            asked_to_end(c, number);
    }
}

/* ---- what shards say ---- */

static void shard_stopped(struct tt_control *c)
{
    if (++c->stopped < c->world->shards_count) return;
    post_to_all(c, &(struct tt_message){.kind = TT_MESSAGE_EXIT});
    c->phase = TT_CONTROL_STOPPED;
}

/* A shard that could not start has ended its thread by itself. */
static void shard_started(struct tt_control *c, struct tt_message *message)
{
    enum tt_status status = (enum tt_status)TT_MESSAGE_BODY(message, tt_message_started)->status;
    c->started++;
    if (status != TT_OK && c->failed == TT_OK) {
        const char *why = tt_shard_io_why(c->world->shards[message->from]);
        c->failed = status;
        snprintf(c->error, TT_CONFIG_ERROR_MAX, "shard %u cannot start: %s", message->from,
                 why[0] != '\0' ? why : tt_status_text(status));
    }
    if (c->started == c->world->shards_count && c->phase == TT_CONTROL_STARTING) {
        if (c->failed == TT_OK)
            serve(c);
        else
            stop(c);
    }
    if (status != TT_OK) shard_stopped(c);
}

static void take_message(struct tt_control *c, struct tt_message *message)
{
    switch ((enum tt_message_kind)message->kind) {
    case TT_MESSAGE_STARTED: shard_started(c, message); break;
    case TT_MESSAGE_HANDOFF_TAKEN: tt_acceptor_taken(c->acceptor, message->from); break;
    case TT_MESSAGE_DRAINED:
        if (++c->drained == c->world->shards_count && c->phase == TT_CONTROL_DRAINING) stop(c);
        break;
    case TT_MESSAGE_RELOADED:
        TT_ASSERT(c->reloads_open > 0);
        if (--c->reloads_open == 0 && c->reload_again) {
            c->reload_again = false;
            reload(c);
        }
        break;
    case TT_MESSAGE_STOPPED: shard_stopped(c); break;
    case TT_MESSAGE_ROSTER_DONE: tt_operations_roster_done(c->operations); break;
    case TT_MESSAGE_FEED_TAKEN: tt_feed_teller_taken(&c->teller, message->from); break;
    case TT_MESSAGE_HANDOFF:
    case TT_MESSAGE_PUBLISH:
    case TT_MESSAGE_PUBLISHED:
    case TT_MESSAGE_SEGMENT:
    case TT_MESSAGE_SEGMENT_TAKEN:
    case TT_MESSAGE_ADMIT:
    case TT_MESSAGE_ADMITTED:
    case TT_MESSAGE_RELEASE:
    case TT_MESSAGE_RELEASED:
    case TT_MESSAGE_CUT:
    case TT_MESSAGE_CUT_TAKEN:
    case TT_MESSAGE_LOOKUP:
    case TT_MESSAGE_LOOKUP_DONE:
    case TT_MESSAGE_SESSION_CALL:
    case TT_MESSAGE_SESSION_CALLED:
    case TT_MESSAGE_DRAIN:
    case TT_MESSAGE_STOP:
    case TT_MESSAGE_ROSTER:
    case TT_MESSAGE_EXIT:
    case TT_MESSAGE_FEED:
    case TT_MESSAGE_RELOAD: TT_UNREACHABLE(); /* none of these goes to the control thread */
    }
}

/* ---- the tick ---- */

/* A share of the shard's own time: its figures are of the end of some turn, not of this moment. */
static void note_busy(struct tt_control *c, uint32_t shard, const struct tt_shard_metrics *m)
{
    uint64_t busy = tt_metric_get(&m->busy_ns), alive = tt_metric_get(&m->alive_ns);
    uint64_t busy_ns = busy - c->busy_ns[shard], alive_ns = alive - c->alive_ns[shard];
    /* The two were not read at once. */
    if (busy_ns > alive_ns) busy_ns = alive_ns;
    c->view.busy_ratio[shard] = alive_ns == 0 ? 0 : (double)busy_ns / (double)alive_ns;
    c->busy_ns[shard] = busy;
    c->alive_ns[shard] = alive;
}

static void look_at_shards(struct tt_control *c)
{
    uint64_t read_only = 0, no_space = 0, elapsed = c->now_ns - c->ratio_ns;
    for (uint32_t i = 0; i < c->world->shards_count; i++) {
        const struct tt_shard_metrics *m = tt_shard_metrics(c->world->shards[i]);
        read_only += tt_metric_get(&m->log_read_only);
        no_space += tt_metric_get(&m->log_no_space);
        if (elapsed < RATIO_NS) continue;
        note_busy(c, i, m);
    }
    if (elapsed >= RATIO_NS) c->ratio_ns = c->now_ns;
    note_reason(c, TT_READINESS_LOG_READ_ONLY, read_only != 0);
    note_reason(c, TT_READINESS_LOG_NO_SPACE, no_space != 0);
}

static void look_at_partitions(struct tt_control *c)
{
    uint64_t backfilling = 0;
    for (uint32_t i = 0; i < c->world->partitions_count; i++)
        backfilling += tt_metric_get(&c->world->partitions[i].backfilling);
    note_reason(c, TT_READINESS_KAFKA_BACKFILLING,
                backfilling != 0 && c->view.since_ms[TT_READINESS_KAFKA_AWAY] == 0);
}

static void ticked(struct tt_timer *timer, uint64_t now_ns, void *context)
{
    struct tt_control *c = context;
    if (c->world != NULL) {
        look_at_shards(c);
        if (c->options.kafka != NULL) look_at_partitions(c);
    }
    look_at_kafka(c); /* its descriptor tells at once; this is for what might be missed */
    tt_acceptor_tick(c->acceptor, now_ns);
    tt_operations_tick(c->operations);
    tt_timer_arm(c->timers, timer, now_ns + TICK_NS);
}

/* ---- the loop ---- */

static void take_completions(struct tt_control *c)
{
    struct tt_done done[COMPLETIONS_MAX];
    unsigned count;
    while ((count = tt_io_reap(c->io, done, COMPLETIONS_MAX)) != 0) {
        for (unsigned i = 0; i < count; i++) {
            if (tt_acceptor_done(c->acceptor, &done[i], c->now_ns)) continue;
            if (tt_operations_done(c->operations, &done[i])) continue;
            if (tt_token_operation(done[i].token) == OPERATION_KAFKA) {
                tt_kafka_watch_heard(c->options.kafka);
                look_at_kafka(c);
                continue;
            }
            TT_ASSERT(tt_token_operation(done[i].token) == OPERATION_SIGNALS);
            take_signals(c);
        }
    }
}

static void take_messages(struct tt_control *c)
{
    struct tt_message messages[MESSAGES_MAX];
    unsigned count;
    while ((count = tt_peers_take(c->world->peers, c->self, messages, MESSAGES_MAX)) != 0)
        for (unsigned i = 0; i < count; i++) take_message(c, &messages[i]);
}

static void turn(struct tt_control *c)
{
    c->now_ns = tt_io_now_ns(c->io);
    int64_t wall_us = tt_io_wall_us(c->io);
    c->view.now_ms = wall_us / 1000;
    tt_diag_set_wall_us(c->diag, wall_us);
    take_completions(c);
    if (c->world != NULL) take_messages(c);
    bool more = tt_timers_run(c->timers, c->now_ns, 64) == TT_MORE;
    check_deadline(c);
    more |= tt_operations_flush(c->operations);
    tt_logger_drain(c->logger, wall_us);
    if (c->world != NULL) tt_peers_ring(c->world->peers, c->self, false);
    if (more || c->phase == TT_CONTROL_STOPPED) { /* the last submit sends the last wakes */
        tt_io_submit(c->io, 0);
        return;
    }
    uint64_t until = tt_timers_next_ns(c->timers);
    if (c->deadline_ns != 0 && c->deadline_ns < until) until = c->deadline_ns;
    if (c->world == NULL) {
        tt_io_submit(c->io, until);
        return;
    }
    tt_peers_park(c->world->peers, c->self);
    tt_io_submit(c->io, tt_peers_waiting(c->world->peers, c->self) ? 0 : until);
    tt_peers_unpark(c->world->peers, c->self);
}

/* Signals, Kafka's thread, the tick: from the first turn to the last. */
static void listen_to_others(struct tt_control *c)
{
    c->now_ns = tt_io_now_ns(c->io);
    if (c->polling) return;
    c->polling = true;
    tt_io_poll_in(c->io, c->options.signals, tt_token(OPERATION_SIGNALS, 0, 0));
    if (c->options.kafka != NULL)
        tt_io_poll_in(c->io, tt_kafka_watch_descriptor(c->options.kafka),
                      tt_token(OPERATION_KAFKA, 0, 0));
    tt_timer_arm(c->timers, &c->tick, c->now_ns + TICK_NS);
}

enum tt_status tt_control_run(struct tt_control *control, const struct tt_world *world,
                              const struct tt_control_figures_start *figures,
                              char error[TT_CONFIG_ERROR_MAX])
{
    struct tt_control *c = control;
    c->world = world;
    c->self = tt_peers_control(world->peers);
    c->error = error;
    c->view.world = world;
    c->view.memory = figures->memory;
    c->view.connections_max = figures->connections_max;
    c->phase = TT_CONTROL_STARTING;
    c->deadline_ns = 0;
    c->started = c->drained = c->stopped = c->reloads_open = 0;
    c->again = false;
    memset(c->busy_ns, 0, sizeof c->busy_ns);
    memset(c->alive_ns, 0, sizeof c->alive_ns);
    tt_feed_teller_begin(&c->teller, world);
    listen_to_others(c);
    c->ratio_ns = c->now_ns;
    /* Before anybody can ask: a life that has to backfill is not ready from its first moment on. */
    if (c->options.kafka != NULL) look_at_partitions(c);
    /* The threads run, or will: they have to be ended in order, whatever happens. */
    enum tt_status status = tt_operations_world_begins(c->operations);
    if (status != TT_OK) c->failed = status;
    while (c->phase != TT_CONTROL_STOPPED) turn(c);
    tt_logger_drain(c->logger, tt_io_wall_us(c->io));
    return c->failed;
}

void tt_control_world_ends(struct tt_control *control)
{
    tt_operations_world_ends(control->operations);
    control->world = control->view.world = NULL;
    control->view.since_ms[TT_READINESS_LOG_READ_ONLY] = 0;
    control->view.since_ms[TT_READINESS_LOG_NO_SPACE] = 0;
    control->view.since_ms[TT_READINESS_KAFKA_BACKFILLING] = 0;
    control->phase = TT_CONTROL_STARTING;
    control->deadline_ns = 0;
}

bool tt_control_again(const struct tt_control *control)
{
    return control->again && control->failed == TT_OK;
}

enum tt_status tt_control_wait_for_plan(struct tt_control *control)
{
    struct tt_control *c = control;
    listen_to_others(c);
    tt_operations_start(c->operations);
    while (!c->ended && !tt_kafka_watch_planned(c->options.kafka)) turn(c);
    return c->ended ? TT_ECLOSED : TT_OK;
}

const struct tt_cors *tt_control_cors(const struct tt_control *control)
{
    return control->cors == NULL ? NULL : control->cors->cors;
}
