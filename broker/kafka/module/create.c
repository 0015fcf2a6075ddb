/* The handles: made together, destroyed together. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "broker/kafka/module/handle.h"

/* librdkafka's threads end within milliseconds, but for one that resolves a name just now. */
#define DESTROY_MAX_S 5

int fail(struct tt_kafka *kafka, char error[TT_KAFKA_ERROR_MAX], int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error, TT_KAFKA_ERROR_MAX, format, arguments);
    va_end(arguments);
    sink_scrub(kafka->sink, error);
    return code;
}

rd_kafka_topic_t *topics_get(struct topics *topics, rd_kafka_t *rk, const char *name)
{
    for (uint32_t i = 0; i < topics->count; i++)
        if (strcmp(rd_kafka_topic_name(topics->list[i]), name) == 0) return topics->list[i];
    rd_kafka_topic_t **list =
        realloc(topics->list, (topics->count + 1) * sizeof(rd_kafka_topic_t *));
    if (list == NULL) return NULL;
    topics->list = list;
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, name, NULL);
    if (topic != NULL) topics->list[topics->count++] = topic;
    return topic;
}

void topics_destroy(struct topics *topics)
{
    for (uint32_t i = 0; i < topics->count; i++) rd_kafka_topic_destroy(topics->list[i]);
    free(topics->list);
    *topics = (struct topics){0};
}

static int open_handles(struct tt_kafka *kafka, char error[TT_KAFKA_ERROR_MAX])
{
    const struct properties *p = &kafka->properties;
    kafka->query = properties_open(p, HANDLE_QUERY, kafka->sink, error);
    if (kafka->query == NULL) return TT_KAFKA_EINVAL;
    kafka->query_events = rd_kafka_queue_get_main(kafka->query);
    kafka->consumer = properties_open(p, HANDLE_CONSUMER, kafka->sink, error);
    if (kafka->consumer == NULL) return TT_KAFKA_EINVAL;
    kafka->consumer_events = rd_kafka_queue_get_main(kafka->consumer);
    for (uint32_t i = 0; i < kafka->queues_count && !kafka->no_producer; i++) {
        struct queue *q = &kafka->queues[i];
        q->producer = properties_open(p, HANDLE_PRODUCER, kafka->sink, error);
        if (q->producer == NULL) return TT_KAFKA_EINVAL;
    }
    return 0;
}

int kafka_create(struct tt_kafka **kafka, const struct tt_kafka_options *options,
                 char error[TT_KAFKA_ERROR_MAX])
{
    struct tt_kafka *k = calloc(1, sizeof(*k) + options->queues * sizeof(k->queues[0]));
    struct sink *sink = sink_new(options->log, options->context);
    if (k == NULL || sink == NULL) {
        if (sink != NULL) sink_drop(sink);
        free(k);
        snprintf(error, TT_KAFKA_ERROR_MAX, "out of memory");
        return TT_KAFKA_EINVAL;
    }
    pthread_mutex_init(&k->lock, NULL);
    k->sink = sink;
    k->no_producer = options->no_producer;
    k->queues_count = options->queues;
    k->wake_after = properties_queue_bytes(options) / 4;
    for (uint32_t i = 0; i < k->queues_count; i++) k->queues[i].event_fd = -1;
    int result = properties_build(&k->properties, options, sink, error);
    if (result == 0) result = open_handles(k, error);
    if (result != 0) kafka_destroy(&k);
    *kafka = k;
    return result;
}

/* ---- the end ---- */

/* Each handle ends in a thread of its own, so that the wait for all of them has a bound. Whoever
 * comes last, frees; what takes longer ends by itself. */
struct farewell {
    pthread_mutex_t lock;
    pthread_cond_t ended;
    uint32_t left;
    bool waited_for;
    struct sink *sink; /* the handles' opaque: it lives as long as they do */
};
struct leaving {
    struct farewell *farewell;
    rd_kafka_t *rk;
};

static void farewell_free(struct farewell *f)
{
    sink_drop(f->sink);
    pthread_cond_destroy(&f->ended);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

static void *leave(void *argument)
{
    struct leaving leaving = *(struct leaving *)argument;
    struct farewell *f = leaving.farewell;
    free(argument);
    rd_kafka_destroy_flags(leaving.rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    pthread_mutex_lock(&f->lock);
    bool last = --f->left == 0 && !f->waited_for;
    pthread_cond_signal(&f->ended);
    pthread_mutex_unlock(&f->lock);
    if (last) farewell_free(f);
    return NULL;
}

/* Without memory or threads the handle ends here and now. */
static void end_handle(struct farewell *f, rd_kafka_t *rk)
{
    if (rk == NULL) return;
    struct leaving *leaving = f != NULL ? malloc(sizeof(*leaving)) : NULL;
    if (leaving != NULL) {
        *leaving = (struct leaving){.farewell = f, .rk = rk};
        pthread_mutex_lock(&f->lock);
        f->left++;
        pthread_mutex_unlock(&f->lock);
        pthread_t thread;
        if (pthread_create(&thread, NULL, leave, leaving) == 0) {
            pthread_detach(thread);
            return;
        }
        pthread_mutex_lock(&f->lock);
        f->left--;
        pthread_mutex_unlock(&f->lock);
        free(leaving);
    }
    rd_kafka_destroy_flags(rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
}

static struct farewell *farewell_new(struct sink *sink)
{
    struct farewell *f = calloc(1, sizeof(*f));
    if (f == NULL) return NULL;
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&f->ended, &clock);
    pthread_condattr_destroy(&clock);
    pthread_mutex_init(&f->lock, NULL);
    f->waited_for = true;
    f->sink = sink_keep(sink);
    return f;
}

static void farewell_wait(struct farewell *f)
{
    if (f == NULL) return;
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += DESTROY_MAX_S;
    pthread_mutex_lock(&f->lock);
    while (f->left > 0 && pthread_cond_timedwait(&f->ended, &f->lock, &until) == 0) continue;
    f->waited_for = false;
    bool last = f->left == 0;
    pthread_mutex_unlock(&f->lock);
    if (last) farewell_free(f);
}

void kafka_destroy(struct tt_kafka **kafka)
{
    struct tt_kafka *k = *kafka;
    *kafka = NULL;
    if (k == NULL) return;
    struct farewell *f = farewell_new(k->sink);
    for (uint32_t i = 0; i < k->queues_count; i++) {
        kafka_close_queue(k, i);
        producer_close(&k->queues[i]);
        end_handle(f, k->queues[i].producer);
    }
    for (uint32_t i = 0; i < k->retired_count; i++) end_handle(f, k->retired[i]);
    free(k->retired);
    topics_destroy(&k->consumer_topics);
    topics_destroy(&k->query_topics);
    if (k->commits.waiting != NULL) rd_kafka_topic_partition_list_destroy(k->commits.waiting);
    if (k->consumer_events != NULL) rd_kafka_queue_destroy(k->consumer_events);
    if (k->query_events != NULL) rd_kafka_queue_destroy(k->query_events);
    end_handle(f, k->consumer);
    end_handle(f, k->query);
    farewell_wait(f);
    properties_destroy(&k->properties);
    sink_close(k->sink);
    sink_drop(k->sink);
    pthread_mutex_destroy(&k->lock);
    free(k);
}
