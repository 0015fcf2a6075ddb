/* What the files of Kafka's thread share. */
#ifndef TT_BROKER_KAFKA_WATCH_INTERNAL_H
#define TT_BROKER_KAFKA_WATCH_INTERNAL_H

#include <pthread.h>

#include "broker/kafka/notes.h"
#include "broker/kafka/source.h"
#include "broker/kafka/watch.h"

#define TT_KAFKA_WATCH_NAMES 256u /* topics asked for by name; more: all are asked for */

/* A topic of the life, as the thread sees it. */
struct tt_kafka_watched {
    enum tt_kafka_topic_state state;
    int64_t since_ms;
    uint32_t partitions; /* N now */
    bool suspect;        /* it was missing: to be compared before it is read on */
    uint64_t hold_ns;    /* nothing is started before */
};

struct tt_kafka_watch {
    const struct tt_config *config;
    struct tt_kafka_topics *topics;
    const struct tt_kafka_module *module;
    struct tt_kafka_notes *notes;
    struct tt_faults *faults;
    struct tt_diag *diag;
    uint32_t shards_count;
    int event_fd;
    pthread_t thread;
    bool thread_runs;
    bool stop;                        /* atomic: questions to Kafka end early */
    uint64_t resets[TT_KAFKA_RESETS]; /* atomic, written by the thread */

    /* Under the lock: */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool want_plan, planned, ends, kicked;
    bool lives;   /* a source is there, and may be looked at */
    bool looking; /* the thread is in it */
    enum tt_status plan_status;
    char plan_error[TT_CONFIG_ERROR_MAX];
    struct tt_kafka_news news;
    uint32_t brokers;
    uint64_t lives_count;
    char cluster[TT_KAFKA_CLUSTER_MAX];
    struct tt_kafka_watched *watched; /* by topic of the plan */
    uint32_t watched_count;

    /* The thread's; while a life begins or ends, the control thread's. */
    struct tt_kafka *kafka;
    struct tt_kafka *spent[2]; /* handles that are to be destroyed, which takes time */
    struct tt_kafka_plan *plan;
    struct tt_kafka_source *source;
    const struct tt_world *world;
    uint64_t *committed; /* by local number */
};

/* One look at Kafka while a life lasts. */
void tt_kafka_watch_look(struct tt_kafka_watch *watch);
/* What is wrong, in words that clients may read (null: nothing), and more of it for the log. */
void tt_kafka_watch_set_cause(struct tt_kafka_watch *watch, const char *cause, const char *detail);
#define TT_KAFKA_CAUSE_AWAY "no Kafka broker answers"
/* Says it to the control thread. */
void tt_kafka_watch_tell(struct tt_kafka_watch *watch);
/* What planning and comparing work with, for so many ms. */
struct tt_kafka_planning tt_kafka_watch_planning(struct tt_kafka_watch *watch, uint32_t ms);

#endif
