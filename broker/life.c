#include "broker/life.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/control.h"
#include "broker/kafka/watch.h"
#include "broker/logs.h"
#include "broker/memory.h"
#include "proto/base/assert.h"

struct thread {
    pthread_t id;
    struct tt_shard *shard;
    int cpu; /* -1: not pinned */
    uint32_t index;
};

struct life {
    const struct tt_life_options *options;
    struct tt_shard_options shard; /* of every shard, but for its processor */
    struct tt_world world;
    struct tt_logs *logs;
    struct thread threads[TT_SHARDS_MAX];
    uint32_t threads_started;
    char *error;
};

/* ---- threads ---- */

static void *run_shard(void *context)
{
    struct thread *t = context;
    char name[16];
    snprintf(name, sizeof(name), "shard-%u", t->index);
    pthread_setname_np(pthread_self(), name);
    if (t->cpu >= 0) tt_process_pin((uint16_t)t->cpu);
    tt_shard_run(t->shard);
    return NULL;
}

static enum tt_status create_shards(struct life *l)
{
    const struct tt_processors *processors = l->options->processors;
    bool pinned = l->world.shards_count <= processors->count;
    for (uint32_t i = 0; i < l->world.shards_count; i++) {
        struct tt_shard_options options = l->shard;
        options.cpu = pinned ? processors->list[i] : -1;
        l->threads[i] = (struct thread){.cpu = options.cpu, .index = i};
        enum tt_status status =
            tt_shard_create(&l->world.shards[i], &l->world, i, &options, l->options->diags[i]);
        if (status != TT_OK) {
            snprintf(l->error, TT_CONFIG_ERROR_MAX, "shard %u: %s", i, tt_status_text(status));
            return status;
        }
        l->threads[i].shard = l->world.shards[i];
    }
    return TT_OK;
}

static void start_threads(struct life *l)
{
    uint32_t shards = l->world.shards_count;
    for (; l->threads_started < shards; l->threads_started++) {
        struct thread *t = &l->threads[l->threads_started];
        int failure = pthread_create(&t->id, NULL, run_shard, t);
        if (failure != 0) {
            /* The others wait for a world that will never be complete: end as after a crash; the
             * log was not written yet. */
            fprintf(stderr, "tickertape: thread of shard %u: %s\n", t->index, strerror(failure));
            _Exit(EXIT_FAILURE);
        }
    }
    if (l->options->processors->count > shards) tt_process_pin_from(l->options->processors, shards);
}

/* ---- the world ---- */

static enum tt_status open_logs(struct life *l)
{
    const struct tt_life_options *o = l->options;
    struct tt_logs_options options = {
        .faults = o->faults, .io = tt_control_io(o->control), .diag = o->diags[o->diags_count - 1]};
    if (o->kafka != NULL) options.topics = tt_kafka_watch_topics(o->kafka, &options.topics_count);
    enum tt_status status = tt_logs_open(&l->logs, o->config, &options, &l->world, l->error);
    if (status == TT_OK && o->kafka != NULL)
        status = tt_kafka_watch_life_begins(o->kafka, &l->world, l->error);
    return status;
}

static enum tt_status prepare(struct life *l)
{
    const struct tt_life_options *o = l->options;
    uint32_t shards = l->world.shards_count;
    TT_ASSERT(shards > 0);
    l->world.shards = calloc(shards, sizeof(*l->world.shards));
    if (l->world.shards == NULL) return TT_ENOMEM;
    enum tt_status status = open_logs(l);
    if (status != TT_OK) return status;
    /* Segments that are open, and those on their way to be. */
    l->shard.io.files_max += (l->world.partitions_count / shards + 1) * 8;
    status = tt_peers_create(&l->world.peers, shards);
    if (status != TT_OK) return status;
    tt_peers_join(l->world.peers, tt_peers_control(l->world.peers), tt_control_io(o->control));
    return create_shards(l);
}

static void tear_down(struct life *l)
{
    for (uint32_t i = 0; i < l->threads_started; i++) pthread_join(l->threads[i].id, NULL);
    tt_control_world_ends(l->options->control);
    for (uint32_t i = 0; l->world.shards != NULL && i < l->world.shards_count; i++)
        tt_shard_destroy(&l->world.shards[i]);
    if (l->options->kafka != NULL) tt_kafka_watch_life_ends(l->options->kafka);
    if (l->world.peers != NULL) tt_peers_destroy(&l->world.peers);
    if (l->logs != NULL) tt_logs_close(&l->logs);
    free(l->world.shards);
}

enum tt_status tt_life_run(const struct tt_life_options *options, bool *shards,
                           char error[TT_CONFIG_ERROR_MAX])
{
    struct life *l = calloc(1, sizeof(*l));
    *shards = false;
    if (l == NULL) return TT_ENOMEM;
    l->options = options;
    l->shard = *options->shard;
    l->world.shards_count = options->shards_count;
    l->error = error;
    enum tt_status status = prepare(l);
    *shards = status == TT_OK;
    if (status == TT_OK) {
        struct tt_control_figures_start figures = {.connections_max = options->connections_max};
        tt_memory_bound(options->config, &l->shard, &l->world, &figures.memory);
        start_threads(l);
        status = tt_control_run(options->control, &l->world, &figures, error);
    }
    tear_down(l);
    free(l);
    return status;
}
