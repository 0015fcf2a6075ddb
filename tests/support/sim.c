#include "tests/support/sim.h"

#include <ftw.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/logs.h"
#include "proto/base/assert.h"
#include "shard/diag.h"
#include "shard/peers.h"
#include "store/tail.h"

struct thread {
    pthread_t id;
    struct sim_thread hands;
    struct tt_shard *shard;
    struct sim_scheduler *scheduler;
};

struct sim_life {
    struct sim_life *before; /* killed ones: reachable, never freed */
    struct tt_world world;
    struct tt_config *config;
    struct tt_logs *logs;
    struct tt_io *control;
    struct tt_diag *diags[SIM_SHARDS_MAX + 1];
    struct thread threads[SIM_SHARDS_MAX];
    uint32_t started, stopped;
    bool roster_out[SIM_SHARDS_MAX];
};

static struct sim_life *killed;

void sim_init(struct sim *sim, uint64_t seed, uint32_t shards)
{
    TT_ASSERT(shards > 0 && shards <= SIM_SHARDS_MAX);
    memset(sim, 0, sizeof *sim);
    sim->shards = shards;
    sim->starved = SIM_SHARDS_MAX;
    sim->random = seed;
    sim->scheduler.random = seed ^ UINT64_C(0x5D1E);
    sim->scheduler.now_ns = UINT64_C(1000000000);
    TT_ASSERT(sem_init(&sim->scheduler.back, 0, 0) == 0);
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    (void)snprintf(sim->directory, sizeof sim->directory, "%s/tickertape-sim-XXXXXX", base);
    TT_ASSERT(mkdtemp(sim->directory) != NULL);
    sim_option(sim, "tickertape");
    sim_option(sim, "--data=%s", sim->directory);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

void sim_deinit(struct sim *sim)
{
    if (sim->life != NULL) sim_stop(sim);
    for (uint32_t i = 0; i < SIM_LINKS_MAX; i++) {
        free(sim->scheduler.links[i].to_shard.data);
        free(sim->scheduler.links[i].to_peer.data);
    }
    for (int i = 0; i < sim->arguments_count; i++) free(sim->arguments[i]);
    (void)nftw(sim->directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    (void)sem_destroy(&sim->scheduler.back);
}

void sim_option(struct sim *sim, const char *format, ...)
{
    char text[256];
    va_list list;
    va_start(list, format);
    (void)vsnprintf(text, sizeof text, format, list);
    va_end(list);
    TT_ASSERT(sim->arguments_count < (int)(sizeof sim->arguments / sizeof *sim->arguments) - 1);
    sim->arguments[sim->arguments_count++] = strdup(text);
}

/* ---- the baton ---- */

static void *run(void *context)
{
    struct thread *t = context;
    sim_io_thread(&t->hands);
    while (sem_wait(&t->hands.go) != 0) {
    }
    tt_shard_run(t->shard);
    t->hands.ended = true;
    sem_post(&t->scheduler->back);
    return NULL;
}

static void resume(struct sim *sim, struct thread *t)
{
    sem_post(&t->hands.go);
    while (sem_wait(&sim->scheduler.back) != 0) {
    }
}

static void take_messages(struct sim *sim)
{
    struct sim_life *l = sim->life;
    struct tt_message m[16];
    unsigned n;
    while ((n = tt_peers_take(l->world.peers, sim->shards, m, 16)) != 0) {
        for (unsigned i = 0; i < n; i++) {
            if (m[i].kind == TT_MESSAGE_STARTED) {
                TT_ASSERT(TT_MESSAGE_BODY(&m[i], tt_message_started)->status == TT_OK);
                l->started++;
            }
            if (m[i].kind == TT_MESSAGE_STOPPED) l->stopped++;
            if (m[i].kind == TT_MESSAGE_ROSTER_DONE) l->roster_out[m[i].from] = false;
        }
    }
}

static bool runnable(const struct thread *t)
{
    if (t->hands.ended) return false;
    return t->hands.io == NULL || sim_io_runnable(t->hands.io);
}

bool sim_step(struct sim *sim)
{
    struct sim_life *l = sim->life;
    uint32_t able = 0;
    uint64_t deadline = UINT64_MAX;
    for (uint32_t i = 0; i < sim->shards; i++) {
        able += runnable(&l->threads[i]);
        if (l->threads[i].hands.ended || l->threads[i].hands.io == NULL) continue;
        uint64_t until = sim_io_deadline(l->threads[i].hands.io);
        if (until < deadline) deadline = until;
    }
    if (able == 0) {
        if (deadline > sim->scheduler.now_ns + SIM_JUMP_NS_MAX) return false;
        if (deadline > sim->scheduler.now_ns) sim->scheduler.now_ns = deadline;
        return true;
    }
    uint32_t starved = sim->starved;
    if (starved < sim->shards && runnable(&l->threads[starved]) && --able == 0) return false;
    uint64_t choice = sim_between(&sim->random, 1, able);
    for (uint32_t i = 0; i < sim->shards; i++) {
        if (i == starved || !runnable(&l->threads[i]) || --choice != 0) continue;
        resume(sim, &l->threads[i]);
        break;
    }
    take_messages(sim);
    return true;
}

void sim_pass_ns(struct sim *sim, uint64_t ns)
{
    sim->scheduler.now_ns += ns;
}

static void post_all(struct sim *sim, enum tt_message_kind kind)
{
    struct tt_message m = {.kind = kind};
    struct tt_peers *peers = sim->life->world.peers;
    for (uint32_t i = 0; i < sim->shards; i++) tt_peers_post(peers, sim->shards, i, &m);
    tt_peers_ring(peers, sim->shards, false);
}

void sim_roster(struct sim *sim, uint32_t shard, struct tt_roster_request *request)
{
    struct tt_message m = {.kind = TT_MESSAGE_ROSTER};
    struct tt_peers *peers = sim->life->world.peers;
    TT_ASSERT(!sim->life->roster_out[shard]);
    sim->life->roster_out[shard] = true;
    TT_MESSAGE_BODY(&m, tt_message_roster)->request = request;
    tt_peers_post(peers, sim->shards, shard, &m);
    tt_peers_ring(peers, sim->shards, false);
}

bool sim_roster_is_out(const struct sim *sim, uint32_t shard)
{
    return sim->life->roster_out[shard];
}

void sim_feed(struct sim *sim, bool stale, int64_t since_ms, const char *cause)
{
    struct tt_message m = {.kind = TT_MESSAGE_FEED};
    struct tt_message_feed *body = TT_MESSAGE_BODY(&m, tt_message_feed);
    body->stale = stale;
    body->since_ms = since_ms;
    body->cause = cause;
    for (uint32_t i = 0; i < sim->shards; i++)
        tt_peers_post(sim->life->world.peers, sim->shards, i, &m);
    tt_peers_ring(sim->life->world.peers, sim->shards, false);
}

/* ---- life ---- */

static struct tt_shard_options options_of(const struct tt_config *c)
{
    return (struct tt_shard_options){
        .io = {.kind = TT_IO_URING,
               .sockets_max = 512,
               .recv_buffer_bytes = 4096,
               .recv_buffers = 64,
               .files_max = 128},
        .connections = {.connections_max = 400,
                        .head_bytes_max = 16u << 10,
                        .headers_max = 100,
                        .body_bytes_max = c->max_body_bytes,
                        .header_timeout_ms = (uint32_t)c->header_timeout_ms,
                        .body_timeout_ms = (uint32_t)c->body_timeout_ms,
                        .keepalive_ms = (uint32_t)c->keepalive_ms,
                        .stall_ms = (uint32_t)c->stall_ms,
                        .prefix = c->http_prefix},
        .cpu = -1,
        .channels_per_client_max = (uint32_t)c->max_channels_per_client,
        .outbox_bytes = c->outbox_bytes,
        .frame_bytes = c->frame_bytes,
        .catchup_bytes = c->catchup_bytes,
        .publish_bytes = 64u << 20,
        .subscription_bytes = 128u << 20,
        .max_replay = c->max_replay,
        .event_bytes_max = c->max_event_bytes,
        .body_bytes_max = c->max_body_bytes,
        .heartbeat_ms = (uint32_t)c->heartbeat_ms,
        .retry_ms = (uint32_t)c->retry_ms,
        .publish_wait_ms = (uint32_t)c->publish_wait_ms,
        .stall_ms = (uint32_t)c->stall_ms,
        .log_sync_always = c->log_sync == TT_LOG_SYNC_ALWAYS,
    };
}

static void require(enum tt_status status, const char *what)
{
    if (status == TT_OK) return;
    (void)fprintf(stderr, "sim: %s: %s\n", what, tt_status_text(status));
    abort();
}

/* The mirror of what the source has, as a plan would find it. */
static void recover_mirror(struct sim *sim, struct tt_logs_topic *topic,
                           char error[TT_CONFIG_ERROR_MAX])
{
    struct sim_life *l = sim->life;
    const uint64_t random[2] = {tt_io_random(l->control), tt_io_random(l->control)};
    struct tt_hash_key key;
    *topic = (struct tt_logs_topic){.is = {.name = "quotes",
                                           .history = {"kkkkkk"},
                                           .partitions = sim->source_partitions,
                                           .capacity = sim->source_partitions}};
    require(tt_logs_mirror_key(l->config, NULL, random, &key, error), error);
    require(tt_logs_recover(topic, l->config, &key, NULL, tt_io_wall_us(l->control), error), error);
}

static void open_logs(struct sim *sim, char error[TT_CONFIG_ERROR_MAX])
{
    struct sim_life *l = sim->life;
    struct tt_logs_topic topic;
    bool mirror = sim->source != NULL;
    if (mirror) recover_mirror(sim, &topic, error);
    const struct tt_logs_options logs = {.topics = mirror ? &topic : NULL,
                                         .topics_count = mirror ? 1 : 0,
                                         .io = l->control,
                                         .diag = l->diags[sim->shards]};
    require(tt_logs_open(&l->logs, l->config, &logs, &l->world, error), error);
    l->world.source = sim->source;
    for (uint32_t p = 0; mirror && p < l->world.partitions_count; p++)
        tt_metric_set(&l->world.partitions[p].backfilling, 1);
}

void sim_start(struct sim *sim)
{
    TT_ASSERT(sim->life == NULL && sim->shards > 0);
    char error[TT_CONFIG_ERROR_MAX] = "";
    char *environment[] = {NULL};
    struct sim_life *l = calloc(1, sizeof *l);
    TT_ASSERT(l != NULL);
    sim->life = l;
    sim->world = &l->world;
    sim->scheduler.killed = false;
    sim_io_use(&sim->scheduler);
    sim_io_thread(NULL);
    require(tt_config_load(&l->config, sim->arguments_count, sim->arguments, environment, error),
            error);
    struct tt_io_options control = {
        .kind = TT_IO_URING, .sockets_max = 1, .recv_buffer_bytes = 1, .recv_buffers = 1};
    require(tt_io_create(&l->control, &control, error, sizeof error), "io");
    l->world.shards_count = sim->shards;
    for (uint32_t i = 0; i <= sim->shards; i++)
        require(tt_diag_create(&l->diags[i], i < sim->shards ? i : TT_DIAG_CONTROL), "diag");
    open_logs(sim, error);
    require(tt_peers_create(&l->world.peers, sim->shards), "peers");
    tt_peers_join(l->world.peers, sim->shards, l->control);
    l->world.shards = calloc(SIM_SHARDS_MAX, sizeof *l->world.shards);
    TT_ASSERT(l->world.shards != NULL);
    struct tt_shard_options options = options_of(l->config);
    if (sim->publish_wait_ms != 0) options.publish_wait_ms = sim->publish_wait_ms;
    for (uint32_t i = 0; i < sim->shards; i++) {
        require(tt_shard_create(&l->world.shards[i], &l->world, i, &options, l->diags[i]), "shard");
        l->threads[i].shard = l->world.shards[i];
        l->threads[i].scheduler = &sim->scheduler;
        TT_ASSERT(sem_init(&l->threads[i].hands.go, 0, 0) == 0);
        TT_ASSERT(pthread_create(&l->threads[i].id, NULL, run, &l->threads[i]) == 0);
    }
    while (l->started < sim->shards) TT_ASSERT(sim_step(sim));
}

static void join(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->shards; i++) {
        pthread_join(sim->life->threads[i].id, NULL);
        (void)sem_destroy(&sim->life->threads[i].hands.go);
    }
}

void sim_stop(struct sim *sim)
{
    struct sim_life *l = sim->life;
    post_all(sim, TT_MESSAGE_STOP);
    while (l->stopped < sim->shards) TT_ASSERT(sim_step(sim));
    post_all(sim, TT_MESSAGE_EXIT);
    for (bool ended = false; !ended;) {
        TT_ASSERT(sim_step(sim));
        ended = true;
        for (uint32_t i = 0; i < sim->shards; i++) ended &= l->threads[i].hands.ended;
    }
    join(sim);
    for (uint32_t i = 0; i < sim->shards; i++) tt_shard_destroy(&l->world.shards[i]);
    free(l->world.shards);
    tt_io_destroy(&l->control);
    tt_peers_destroy(&l->world.peers);
    tt_logs_close(&l->logs);
    for (uint32_t i = 0; i <= sim->shards; i++) tt_diag_destroy(&l->diags[i]);
    tt_config_destroy(&l->config);
    free(l);
    sim->life = NULL;
}

void sim_kill(struct sim *sim)
{
    struct sim_life *l = sim->life;
    sim->scheduler.killed = true;
    for (uint32_t i = 0; i < sim->shards; i++)
        if (!l->threads[i].hands.ended) resume(sim, &l->threads[i]);
    join(sim);
    for (uint32_t i = 0; i < sim->shards; i++) sim_io_kill(l->threads[i].hands.io);
    for (uint32_t i = 0; i < SIM_LINKS_MAX; i++) {
        sim->scheduler.links[i].shard_ended = true;
        sim->scheduler.links[i].shard_holds = false;
    }
    l->before = killed;
    killed = l;
    sim->life = NULL;
}

/* ---- connections ---- */

struct sim_link *sim_connect(struct sim *sim, uint32_t shard, size_t room)
{
    uint32_t i = 0;
    while (i < SIM_LINKS_MAX &&
           (sim->scheduler.links[i].used || sim->scheduler.links[i].shard_holds))
        i++;
    TT_ASSERT(i < SIM_LINKS_MAX);
    struct sim_link *l = &sim->scheduler.links[i];
    free(l->to_shard.data);
    free(l->to_peer.data);
    *l = (struct sim_link){.room = room, .used = true, .shard_holds = true};
    struct tt_message m = {.kind = TT_MESSAGE_HANDOFF};
    struct tt_message_handoff *body = TT_MESSAGE_BODY(&m, tt_message_handoff);
    body->reference = (int32_t)i;
    body->peer = (struct tt_peer){.family = TT_ADDRESS_IP4, .port = 1, .ip = {127, 0, 0, 1}};
    tt_peers_post(sim->life->world.peers, sim->shards, shard, &m);
    tt_peers_ring(sim->life->world.peers, sim->shards, false);
    return l;
}

void sim_cut(struct sim_link **link)
{
    struct sim_link *l = *link;
    *link = NULL;
    l->peer_reset = true;
    l->used = false;
}

void sim_print_log(struct sim *sim)
{
    uint8_t text[1024];
    for (uint32_t i = 0; sim->life != NULL && i <= sim->shards; i++) {
        const struct tt_diag_line *line;
        while ((line = tt_diag_next(sim->life->diags[i])) != NULL) {
            struct tt_writer w = tt_writer(text, sizeof text);
            tt_diag_line_text(&w, line);
            (void)fprintf(stderr, "# %.*s", (int)w.size, (const char *)text);
            tt_diag_taken(sim->life->diags[i]);
        }
    }
}
