#include "broker/kafka/watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include "broker/kafka/handle.h"
#include "broker/kafka/module_open.h"
#include "broker/kafka/watch_internal.h"
#include "proto/base/assert.h"

#define LOOK_EVERY_MS      1000
#define PARTITIONS_UNKNOWN 1u

void tt_kafka_watch_tell(struct tt_kafka_watch *w)
{
    uint64_t one = 1;
    ssize_t written = write(w->event_fd, &one, sizeof one);
    (void)written; /* full: it is readable already */
}

struct tt_kafka_planning tt_kafka_watch_planning(struct tt_kafka_watch *w, uint32_t ms)
{
    struct tt_kafka_planning p = {
        .config = w->config,
        .topics = w->topics,
        .module = w->module,
        .kafka = w->kafka,
        .faults = w->faults,
        .diag = w->diag,
        .stop = &w->stop,
        .deadline_ns = tt_kafka_plan_now_ns() + ms * UINT64_C(1000000),
        .resets = w->resets,
    };
    return p;
}

/* ---- planning ---- */

static void destroy_spent(struct tt_kafka_watch *w)
{
    for (unsigned i = 0; i < 2; i++)
        if (w->spent[i] != NULL) w->module->destroy(&w->spent[i]);
}

static enum tt_status open_handle(struct tt_kafka_watch *w, bool planning, uint32_t partitions,
                                  char error[TT_CONFIG_ERROR_MAX])
{
    const struct tt_kafka_handle_options options = {.config = w->config,
                                                    .topics = w->topics,
                                                    .module = w->module,
                                                    .notes = w->notes,
                                                    .queues = w->shards_count,
                                                    .partitions = partitions,
                                                    .planning = planning};
    w->spent[planning ? 0 : 1] = w->kafka;
    w->kafka = NULL;
    return tt_kafka_handle_open(&w->kafka, &options, error);
}

/* What is shown of the topics from here on. */
static enum tt_status begin_watching(struct tt_kafka_watch *w)
{
    struct tt_kafka_watched *watched = calloc(w->plan->count + 1, sizeof *watched);
    if (watched == NULL) return TT_ENOMEM;
    for (uint32_t i = 0; i < w->plan->count; i++) {
        watched[i].since_ms = tt_kafka_plan_wall_us() / 1000;
        watched[i].partitions = w->plan->topics[i].partitions;
    }
    pthread_mutex_lock(&w->lock);
    free(w->watched);
    w->watched = watched;
    w->watched_count = w->plan->count;
    w->brokers = w->plan->brokers;
    snprintf(w->cluster, sizeof w->cluster, "%s", w->plan->cluster);
    w->news.away = w->plan->away;
    w->news.again = false;
    pthread_mutex_unlock(&w->lock);
    if (w->plan->brokers == 0) tt_kafka_watch_set_cause(w, TT_KAFKA_CAUSE_AWAY, "");
    return TT_OK;
}

static void tell_plan(struct tt_kafka_watch *w)
{
    for (uint32_t i = 0; i < w->plan->count; i++) {
        const struct tt_kafka_plan_topic *t = &w->plan->topics[i];
        if (t->cluster[0] == '\0') continue;
        tt_diag_write(w->diag, TT_DIAG_INFO, NULL, "kafka_topic",
                      "topic %s: %u partitions, history %s, generation %u%s", t->settings.name,
                      t->partitions, t->history.text, t->generation,
                      t->checked ? "" : "; the mirror is served as it is until Kafka answers");
    }
}

static enum tt_status make_plan(struct tt_kafka_watch *w, char error[TT_CONFIG_ERROR_MAX])
{
    pthread_mutex_lock(&w->lock);
    w->watched_count = 0;
    pthread_mutex_unlock(&w->lock);
    tt_kafka_plan_destroy(&w->plan);
    enum tt_status status = open_handle(w, true, PARTITIONS_UNKNOWN, error);
    if (status != TT_OK) return status;
    struct tt_kafka_planning planning = tt_kafka_watch_planning(w, 0);
    if (getrandom(planning.random, sizeof planning.random, 0) != (ssize_t)sizeof planning.random)
        return TT_EIO;
    status = tt_kafka_plan_make(&w->plan, &planning, error);
    tt_diag_set_wall_us(w->diag, tt_kafka_plan_wall_us());
    if (status != TT_OK) return status;
    tell_plan(w);
    uint32_t partitions = 0;
    for (uint32_t i = 0; i < w->plan->count; i++) partitions += w->plan->topics[i].partitions;
    status = open_handle(w, false, partitions == 0 ? PARTITIONS_UNKNOWN : partitions, error);
    return status == TT_OK ? begin_watching(w) : status;
}

static void plan(struct tt_kafka_watch *w)
{
    char error[TT_CONFIG_ERROR_MAX] = "";
    enum tt_status status = make_plan(w, error);
    pthread_mutex_lock(&w->lock);
    w->plan_status = status;
    memcpy(w->plan_error, error, sizeof error);
    w->planned = true;
    pthread_mutex_unlock(&w->lock);
    tt_kafka_watch_tell(w);
}

/* ---- the thread ---- */

/* Until something is wanted or the next look is due. */
static void wait_for_work(struct tt_kafka_watch *w)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += LOOK_EVERY_MS / 1000;
    while (!w->want_plan && !w->ends && !w->kicked)
        if (pthread_cond_timedwait(&w->changed, &w->lock, &until) != 0) break;
    w->kicked = false;
}

static void *run(void *context)
{
    struct tt_kafka_watch *w = context;
    pthread_setname_np(pthread_self(), "kafka");
    pthread_mutex_lock(&w->lock);
    while (!w->ends) {
        bool wanted = w->want_plan;
        w->want_plan = false;
        w->looking = !wanted && w->lives && !w->news.again;
        bool look = w->looking;
        pthread_mutex_unlock(&w->lock);
        tt_diag_set_wall_us(w->diag, tt_kafka_plan_wall_us());
        if (wanted) plan(w);
        destroy_spent(w);
        if (look) tt_kafka_watch_look(w);
        tt_kafka_notes_write(w->notes, w->diag);
        pthread_mutex_lock(&w->lock);
        w->looking = false;
        pthread_cond_broadcast(&w->changed);
        wait_for_work(w);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void kick(void *context)
{
    struct tt_kafka_watch *w = context;
    pthread_mutex_lock(&w->lock);
    w->kicked = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

/* ---- what the control thread asks ---- */

static void init_sync(struct tt_kafka_watch *w)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&w->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&w->lock, NULL);
}

enum tt_status tt_kafka_watch_create(struct tt_kafka_watch **watch, const struct tt_config *config,
                                     uint32_t shards_count, struct tt_faults *faults,
                                     struct tt_diag *diag, char error[TT_CONFIG_ERROR_MAX])
{
    struct tt_kafka_watch *w = calloc(1, sizeof *w);
    char why[TT_KAFKA_ERROR_MAX] = "";
    if (w == NULL) return TT_ENOMEM;
    w->config = config;
    w->shards_count = shards_count;
    w->faults = faults;
    w->diag = diag;
    init_sync(w);
    w->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    enum tt_status status = w->event_fd < 0 ? TT_ENOFILE : TT_OK;
    if (status == TT_OK) status = tt_kafka_notes_create(&w->notes);
    if (status == TT_OK) status = tt_kafka_topics_create(&w->topics, config, error);
    if (status == TT_OK && (w->module = tt_kafka_module_open(NULL, why)) == NULL) {
        snprintf(error, TT_CONFIG_ERROR_MAX, "--kafka-brokers: %s", why);
        status = TT_ENOENT;
    }
    if (status == TT_OK && pthread_create(&w->thread, NULL, run, w) != 0) status = TT_ENOMEM;
    w->thread_runs = status == TT_OK;
    if (status != TT_OK) tt_kafka_watch_destroy(&w);
    *watch = w;
    return status;
}

void tt_kafka_watch_stop(struct tt_kafka_watch *w)
{
    if (!w->thread_runs) return;
    __atomic_store_n(&w->stop, true, __ATOMIC_RELEASE);
    pthread_mutex_lock(&w->lock);
    w->ends = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    w->thread_runs = false;
    destroy_spent(w);
    if (w->kafka != NULL) w->module->destroy(&w->kafka);
    tt_kafka_notes_write(w->notes, w->diag);
}

void tt_kafka_watch_destroy(struct tt_kafka_watch **watch)
{
    struct tt_kafka_watch *w = *watch;
    if (w == NULL) return;
    tt_kafka_watch_stop(w);
    tt_kafka_plan_destroy(&w->plan);
    if (w->topics != NULL) tt_kafka_topics_destroy(&w->topics);
    tt_kafka_notes_destroy(&w->notes);
    if (w->event_fd >= 0) close(w->event_fd);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    free(w->watched);
    free(w);
    *watch = NULL;
}

int tt_kafka_watch_descriptor(const struct tt_kafka_watch *watch)
{
    return watch->event_fd;
}

void tt_kafka_watch_ask_plan(struct tt_kafka_watch *w)
{
    pthread_mutex_lock(&w->lock);
    TT_ASSERT(!w->lives);
    w->planned = false;
    w->want_plan = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

bool tt_kafka_watch_planned(struct tt_kafka_watch *w)
{
    pthread_mutex_lock(&w->lock);
    bool planned = w->planned;
    pthread_mutex_unlock(&w->lock);
    return planned;
}

enum tt_status tt_kafka_watch_plan_status(struct tt_kafka_watch *w, char error[TT_CONFIG_ERROR_MAX])
{
    TT_ASSERT(w->planned);
    if (w->plan_status != TT_OK) memcpy(error, w->plan_error, sizeof w->plan_error);
    return w->plan_status;
}

struct tt_logs_topic *tt_kafka_watch_topics(struct tt_kafka_watch *w, uint32_t *count)
{
    *count = w->plan->count;
    return w->plan->logs;
}

/* Up to where each partition backfills: Kafka's end as it was planned with. */
static void set_ends(struct tt_kafka_watch *w, struct tt_world *world)
{
    for (uint32_t i = 0; i < w->plan->count; i++) {
        const struct tt_kafka_plan_topic *t = &w->plan->topics[i];
        /* Nobody can be told where it stands: whoever asks for what is live has to come again. */
        if (w->plan->away) tt_metric_set(&world->partitions[world->topics[i].first].backfilling, 1);
        for (uint32_t p = 0; p < t->partitions; p++) {
            struct tt_partition *partition = &world->partitions[world->topics[i].first + p];
            if (!t->of[p].has_end) continue;
            tt_metric_set(&partition->source_end, t->of[p].end);
            tt_metric_set(&partition->backfilling, t->of[p].next < t->of[p].end);
        }
    }
}

/* Its index among the world's; -1: it is not followed (or null). */
static int index_of(const struct tt_kafka_watch *w, const char *name)
{
    for (uint32_t i = 0; name != NULL && i < w->plan->count; i++)
        if (strcmp(w->plan->topics[i].settings.name, name) == 0) return (int)i;
    return -1;
}

enum tt_status tt_kafka_watch_life_begins(struct tt_kafka_watch *w, struct tt_world *world,
                                          char error[TT_CONFIG_ERROR_MAX])
{
    (void)error;
    const struct tt_kafka_source_options options = {
        .module = w->module,
        .kafka = w->kafka,
        .plan = w->plan,
        .world = world,
        .notes = w->notes,
        .publish_topic = index_of(w, tt_kafka_topics_publish(w->topics)),
        .commands_topic = index_of(w, tt_kafka_topics_commands(w->topics)),
        .wake = kick,
        .context = w};
    set_ends(w, world);
    w->committed = calloc(world->partitions_count, sizeof *w->committed);
    enum tt_status status = w->committed == NULL ? TT_ENOMEM : TT_OK;
    if (status == TT_OK) status = tt_kafka_source_create(&w->source, &options);
    if (status != TT_OK) return status;
    world->source = tt_kafka_source_of(w->source);
    w->world = world;
    pthread_mutex_lock(&w->lock);
    w->lives = true;
    w->lives_count++;
    w->kicked = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    return TT_OK;
}

void tt_kafka_watch_life_ends(struct tt_kafka_watch *w)
{
    __atomic_store_n(&w->stop, true, __ATOMIC_RELEASE);
    pthread_mutex_lock(&w->lock);
    w->lives = false;
    while (w->looking) pthread_cond_wait(&w->changed, &w->lock);
    pthread_mutex_unlock(&w->lock);
    __atomic_store_n(&w->stop, false, __ATOMIC_RELEASE);
    tt_kafka_source_destroy(&w->source);
    free(w->committed);
    w->committed = NULL;
    w->world = NULL;
}

void tt_kafka_watch_heard(struct tt_kafka_watch *w)
{
    uint64_t count;
    ssize_t taken = read(w->event_fd, &count, sizeof count);
    (void)taken; /* nothing: it is not readable */
}

void tt_kafka_watch_news(struct tt_kafka_watch *w, struct tt_kafka_news *news)
{
    pthread_mutex_lock(&w->lock);
    *news = w->news;
    pthread_mutex_unlock(&w->lock);
}

/* ---- figures ---- */

void tt_kafka_watch_figures(struct tt_kafka_watch *w, struct tt_kafka_figures *figures)
{
    *figures = (struct tt_kafka_figures){.library = w->module->library};
    for (unsigned i = 0; i < TT_KAFKA_RESETS; i++)
        figures->resets[i] = __atomic_load_n(&w->resets[i], __ATOMIC_RELAXED);
    pthread_mutex_lock(&w->lock);
    figures->brokers = w->brokers;
    figures->lives = w->lives_count;
    figures->topics_count = w->watched_count;
    memcpy(figures->cluster, w->cluster, sizeof figures->cluster);
    pthread_mutex_unlock(&w->lock);
}

void tt_kafka_watch_write_skipped(const struct tt_kafka_watch *watch, struct tt_writer *w)
{
    if (watch->source != NULL)
        tt_kafka_skips_write(w, tt_kafka_source_skips(watch->source), watch->shards_count);
}

bool tt_kafka_watch_topic(struct tt_kafka_watch *w, uint32_t index,
                          struct tt_kafka_topic_figures *topic)
{
    pthread_mutex_lock(&w->lock);
    bool there = index < w->watched_count;
    if (there) {
        const struct tt_kafka_plan_topic *t = &w->plan->topics[index];
        const struct tt_kafka_watched *watched = &w->watched[index];
        *topic = (struct tt_kafka_topic_figures){.history = t->history,
                                                 .generation = t->generation,
                                                 .partitions = watched->partitions,
                                                 .slots = w->plan->logs[index].is.capacity,
                                                 .partitioner = t->settings.partitioner,
                                                 .state = watched->state,
                                                 .since_ms = watched->since_ms};
        memcpy(topic->name, t->settings.name, sizeof topic->name);
    }
    pthread_mutex_unlock(&w->lock);
    return there;
}

const char *tt_kafka_topic_state_text(enum tt_kafka_topic_state state)
{
    static const char *const texts[] = {
        [TT_KAFKA_TOPIC_UNKNOWN] = "unknown",     [TT_KAFKA_TOPIC_LIVE] = "live",
        [TT_KAFKA_TOPIC_UNCHECKED] = "unchecked", [TT_KAFKA_TOPIC_NO_LEADER] = "no_leader",
        [TT_KAFKA_TOPIC_MISSING] = "missing",     [TT_KAFKA_TOPIC_DENIED] = "denied",
        [TT_KAFKA_TOPIC_FAILED] = "failed",
    };
    return texts[state];
}
