#include "broker/serve.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "broker/control.h"
#include "broker/kafka/watch.h"
#include "broker/life.h"
#include "broker/process.h"
#include "shard/http/cors.h"
#include "shard/io/faults.h"
#include "shard/replay/files.h"

/* Descriptors that are no clients: operators, listeners, rings, wakes, segments, standard streams.
 */
#define DESCRIPTORS_RESERVED   256u
#define DESCRIPTORS_A_SHARD    64u
#define CONNECTIONS_SHARD_MAX  (1u << 18) /* the kernel's table and our pools are sized by it */
#define CONNECTIONS_FOR_OTHERS 1024u      /* publishers, beside --max-clients */
#define RECV_BUFFER_BYTES      (16u << 10)
#define RECV_BUFFERS           128u
#define HEAD_BYTES_MAX         (16u << 10)
#define HEADERS_MAX            100u

struct serving {
    const struct tt_config *config;
    struct tt_diag *diags[TT_SHARDS_MAX + 2]; /* of shards; Kafka's thread, if any; control */
    uint32_t diags_count;
    uint32_t shards_count;
    struct tt_control *control;
    struct tt_kafka_watch *kafka; /* null: an embedded log */
    struct tt_cors *cors;
    struct tt_faults *faults;        /* --test-fault; null: none */
    struct tt_shard_options options; /* of every shard, but for what its life says */
    uint64_t connections_max;        /* of all shards */
    char *error;
};

/* ---- sizes ---- */

/* What each shard, and all together, may hold. On io_uring sockets leave the process's table, so
 * each shard's own table counts, which is as large as the limit of descriptors; on epoll all shards
 * share that limit. */
static void size_connections(struct serving *s, uint32_t descriptors)
{
    const struct tt_config *config = s->config;
    uint32_t shards = s->shards_count;
    uint32_t reserved = DESCRIPTORS_RESERVED + shards * DESCRIPTORS_A_SHARD;
    uint32_t usable = descriptors > 2 * reserved ? descriptors - reserved : descriptors / 2;
    bool epoll = tt_control_io_kind(s->control) == TT_IO_EPOLL;
    uint64_t each = epoll ? usable : descriptors;
    if (each > CONNECTIONS_SHARD_MAX) each = CONNECTIONS_SHARD_MAX;
    uint64_t wanted = config->max_clients + CONNECTIONS_FOR_OTHERS;
    if (config->max_clients != 0 && each > wanted) each = wanted;
    s->connections_max = epoll && each * shards > usable ? usable : each * shards;
    s->options.io.sockets_max = (uint32_t)each;
    s->options.connections.connections_max = (uint32_t)each;
    s->options.clients_max = (uint32_t)config->max_clients;
    struct tt_diag *diag = s->diags[s->diags_count - 1];
    if (config->max_clients > s->connections_max)
        tt_diag_write(diag, TT_DIAG_WARN, NULL, "clients_clamped",
                      "--max-clients=%llu is more than %s can hold with a limit of %u descriptors; "
                      "at most %llu are taken",
                      (unsigned long long)config->max_clients, epoll ? "epoll" : "io_uring",
                      descriptors, (unsigned long long)s->connections_max);
    else if (epoll && config->max_clients == 0)
        tt_diag_write(diag, TT_DIAG_INFO, NULL, "clients_clamped",
                      "epoll holds at most %llu clients with a limit of %u descriptors",
                      (unsigned long long)s->connections_max, descriptors);
    if (epoll && (config->max_clients == 0 || config->max_clients > s->connections_max))
        s->options.clients_max = (uint32_t)s->connections_max;
}

static void fill_options(struct serving *s, enum tt_io_kind kind)
{
    const struct tt_config *c = s->config;
    s->options = (struct tt_shard_options){
        .io = {.kind = kind,
               .recv_buffer_bytes = RECV_BUFFER_BYTES,
               .recv_buffers = RECV_BUFFERS,
               .files_max = TT_FILES_OPEN_MAX + 32,
               .faults = s->faults},
        .connections = {.head_bytes_max = HEAD_BYTES_MAX,
                        .headers_max = HEADERS_MAX,
                        .work_bytes_max = c->connection_bytes,
                        .body_bytes_max = c->max_body_bytes,
                        .header_timeout_ms = (uint32_t)c->header_timeout_ms,
                        .body_timeout_ms = (uint32_t)c->body_timeout_ms,
                        .keepalive_ms = (uint32_t)c->keepalive_ms,
                        .stall_ms = (uint32_t)c->stall_ms,
                        .prefix = c->http_prefix,
                        .cors = s->cors},
        .cpu = -1,
        .clients_per_address_max = (uint32_t)c->max_clients_per_address,
        .channels_per_client_max = (uint32_t)c->max_channels_per_client,
        .outbox_bytes = c->outbox_bytes,
        .conflate_wait_ms = (uint32_t)c->conflate_wait_ms,
        .frame_bytes = c->frame_bytes,
        .catchup_bytes = c->catchup_bytes,
        .publish_bytes = c->publish_bytes,
        .subscription_bytes = c->subscription_bytes,
        .max_replay = c->max_replay,
        .event_bytes_max = c->max_event_bytes,
        .body_bytes_max = c->max_body_bytes,
        .heartbeat_ms = (uint32_t)c->heartbeat_ms,
        .retry_ms = (uint32_t)c->retry_ms,
        .publish_wait_ms = (uint32_t)c->publish_wait_ms,
        .stall_ms = (uint32_t)c->stall_ms,
        .overload_stream = c->http_overload == TT_HTTP_OVERLOAD_STREAM,
        .demo = c->demo,
        .log_sync_always = c->log_sync == TT_LOG_SYNC_ALWAYS,
    };
}

/* ---- --test-fault ---- */

static enum tt_status plan_faults(struct serving *s)
{
    const struct tt_config_list *specs = &s->config->test_fault;
    if (specs->count == 0) return TT_OK;
    enum tt_status status = tt_faults_create(&s->faults);
    char why[256];
    for (uint32_t i = 0; status == TT_OK && i < specs->count; i++)
        status = tt_faults_add(s->faults, specs->items[i], why, sizeof(why));
    return status;
}

/* What became of it; plain lines, also when the start has failed. */
static void tell_faults(struct serving *s)
{
    for (unsigned i = 0; s->faults != NULL && i < tt_faults_count(s->faults); i++) {
        const struct tt_fault_figures f = tt_faults_figures(s->faults, i);
        fprintf(stderr, "tickertape: --test-fault=%s: %llu operations, %llu struck\n", f.spec,
                (unsigned long long)f.matched, (unsigned long long)f.struck);
    }
    tt_faults_destroy(&s->faults);
}

/* ---- all lives ---- */

static enum tt_status create_diags(struct serving *s)
{
    for (uint32_t i = 0; i < s->diags_count; i++) {
        uint32_t thread = i < s->shards_count       ? i
                          : i + 1 == s->diags_count ? TT_DIAG_CONTROL
                                                    : TT_DIAG_KAFKA;
        enum tt_status status = tt_diag_create(&s->diags[i], thread);
        if (status != TT_OK) return status;
        tt_diag_set_level(s->diags[i], (enum tt_diag_level)s->config->diag_level);
    }
    return TT_OK;
}

/* What outlives shards. */
static enum tt_status prepare(struct serving *s, struct tt_control_options *control,
                              uint32_t descriptors)
{
    bool kafka = s->config->kafka_brokers.count != 0;
    s->diags_count = s->shards_count + (kafka ? 2 : 1);
    enum tt_status status = create_diags(s);
    if (status == TT_OK) status = plan_faults(s);
    if (status == TT_OK && kafka)
        status = tt_kafka_watch_create(&s->kafka, s->config, s->shards_count, s->faults,
                                       s->diags[s->shards_count], s->error);
    if (status != TT_OK) return status;
    control->diags = s->diags;
    control->diags_count = s->diags_count;
    control->kafka = s->kafka;
    control->faults = s->faults;
    status = tt_control_create(&s->control, control, s->error);
    if (status != TT_OK) return status;
    status = tt_control_make_cors(s->config, &s->cors);
    if (status != TT_OK) return status;
    fill_options(s, tt_control_io_kind(s->control));
    size_connections(s, descriptors);
    return TT_OK;
}

/* *shards: as of tt_life_run(), of the last life. */
static enum tt_status live(struct serving *s, const struct tt_processors *processors, bool *shards)
{
    const struct tt_life_options options = {.config = s->config,
                                            .processors = processors,
                                            .control = s->control,
                                            .kafka = s->kafka,
                                            .faults = s->faults,
                                            .diags = s->diags,
                                            .diags_count = s->diags_count,
                                            .shards_count = s->shards_count,
                                            .shard = &s->options,
                                            .connections_max = s->connections_max};
    enum tt_status status;
    do {
        *shards = false;
        if (s->kafka != NULL) {
            tt_kafka_watch_ask_plan(s->kafka);
            status = tt_control_wait_for_plan(s->control);
            if (status == TT_OK) status = tt_kafka_watch_plan_status(s->kafka, s->error);
            if (status != TT_OK) return status == TT_ECLOSED ? TT_OK : status;
        }
        const struct tt_cors *cors = tt_control_cors(s->control);
        if (cors != NULL) s->options.connections.cors = cors;
        status = tt_life_run(&options, shards, s->error);
    } while (status == TT_OK && tt_control_again(s->control));
    return status;
}

static void tear_down(struct serving *s)
{
    /* Its last lines are written by the control thread's logger. */
    if (s->kafka != NULL) tt_kafka_watch_stop(s->kafka);
    tt_control_destroy(&s->control);
    tt_kafka_watch_destroy(&s->kafka);
    if (s->cors != NULL) tt_cors_destroy(&s->cors);
    for (uint32_t i = 0; i < s->diags_count; i++) tt_diag_destroy(&s->diags[i]);
}

/* *retry: some shard could not have io_uring, although the control thread could. */
static enum tt_status run(const struct tt_config *config, enum tt_io_kind kind,
                          const struct tt_processors *processors, uint32_t descriptors,
                          struct tt_control_options control, bool *retry,
                          char error[TT_CONFIG_ERROR_MAX])
{
    struct serving *s = calloc(1, sizeof(*s));
    if (s == NULL) return TT_ENOMEM;
    s->config = config;
    s->error = error;
    s->shards_count = config->shards != 0                  ? (uint32_t)config->shards
                      : processors->usable < TT_SHARDS_MAX ? processors->usable
                                                           : TT_SHARDS_MAX;
    control.io_kind = kind;
    enum tt_status status = prepare(s, &control, descriptors);
    if (status == TT_OK) {
        bool shards;
        status = live(s, processors, &shards);
        *retry = status != TT_OK && shards && kind == TT_IO_AUTO &&
                 tt_control_io_kind(s->control) == TT_IO_URING;
    }
    tear_down(s);
    tell_faults(s);
    free(s);
    return status;
}

enum tt_status tt_serve(const struct tt_config *config, int arguments_count, char *const *arguments,
                        char *const *environment, char error[TT_CONFIG_ERROR_MAX])
{
    struct tt_processors processors;
    struct tt_control_options control = {.config = config,
                                         .arguments_count = arguments_count,
                                         .arguments = arguments,
                                         .environment = environment};
    int lock;
    char why[TT_PROCESS_ERROR_MAX] = "";
    tt_process_return_memory();
    uint32_t descriptors = tt_process_raise_descriptors();
    enum tt_status status = tt_process_signals(&control.signals, why);
    if (status == TT_OK) status = tt_process_lock_directory(config->data, &lock, why);
    if (status != TT_OK) {
        snprintf(error, TT_CONFIG_ERROR_MAX, "%s", why);
        return status;
    }
    tt_process_processors(&processors);
    bool retry = false;
    status =
        run(config, (enum tt_io_kind)config->io, &processors, descriptors, control, &retry, error);
    if (retry) {
        fprintf(stderr,
                "tickertape: io_uring is not to be had for every shard (%s); epoll is used\n",
                error);
        error[0] = '\0';
        status = run(config, TT_IO_EPOLL, &processors, descriptors, control, &retry, error);
    }
    if (status != TT_OK && error[0] == '\0')
        snprintf(error, TT_CONFIG_ERROR_MAX, "%s", tt_status_text(status));
    close(lock);
    close(control.signals);
    return status;
}
