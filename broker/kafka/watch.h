/* Kafka's thread: makes the plan of each life, watches over Kafka while it lasts, and says what the
 * control thread has to know.
 *
 *   planning   plan.h; the control thread waits on the descriptor, and serves operators meanwhile
 *   watching   metadata every second, with a timeout: the feed is live, or stale and why; starts
 *              reading partitions (also new ones that have a slot), stops those of a topic that is
 *              missing and compares them before they go on; commits for commit_group
 *   again      asks for another life when what the world takes for fixed has changed: a topic came
 *              up, was made anew, has more partitions than slots; Kafka's retention has gone past
 * us
 *
 * It alone blocks on Kafka. The control thread's functions are marked; between them and the thread
 * is a mutex, and a descriptor that becomes readable when there is news. */
#ifndef TT_BROKER_KAFKA_WATCH_H
#define TT_BROKER_KAFKA_WATCH_H

#include "broker/config.h"
#include "broker/kafka/plan.h"
#include "shard/diag.h"
#include "shard/shard.h"

struct tt_kafka_watch;

/* All are of the control thread (start-up included). */

/* Opens the module and starts the thread. diag: the thread's own from here on. TT_OK; TT_ENOENT,
 * TT_EINVAL, TT_ENOMEM: *error holds one line. */
TT_MUST_USE enum tt_status tt_kafka_watch_create(struct tt_kafka_watch **watch,
                                                 const struct tt_config *config,
                                                 uint32_t shards_count, struct tt_faults *faults,
                                                 struct tt_diag *diag,
                                                 char error[TT_CONFIG_ERROR_MAX]);
/* Ends the thread; no life lasts. Then whoever polls the descriptor ends, then destroy. */
void tt_kafka_watch_stop(struct tt_kafka_watch *watch);
void tt_kafka_watch_destroy(struct tt_kafka_watch **watch);

/* Readable (an eventfd) when there is news; emptied by tt_kafka_watch_heard(), before news is asked
 * for. */
int tt_kafka_watch_descriptor(const struct tt_kafka_watch *watch);
void tt_kafka_watch_heard(struct tt_kafka_watch *watch);

/* ---- planning ---- */
void tt_kafka_watch_ask_plan(struct tt_kafka_watch *watch);
bool tt_kafka_watch_planned(struct tt_kafka_watch *watch);
/* TT_OK; else *error holds one line: the life cannot begin. */
enum tt_status tt_kafka_watch_plan_status(struct tt_kafka_watch *watch,
                                          char error[TT_CONFIG_ERROR_MAX]);

/* ---- a life ---- */
/* For tt_logs_open(), which takes over what was recovered. */
struct tt_logs_topic *tt_kafka_watch_topics(struct tt_kafka_watch *watch, uint32_t *count);
/* The world's partitions are there: makes its source. world outlives the life. */
TT_MUST_USE enum tt_status tt_kafka_watch_life_begins(struct tt_kafka_watch *watch,
                                                      struct tt_world *world,
                                                      char error[TT_CONFIG_ERROR_MAX]);
/* After the shards' threads have ended, also if no life began. */
void tt_kafka_watch_life_ends(struct tt_kafka_watch *watch);

/* ---- news ---- */
struct tt_kafka_news {
    bool away;         /* nothing is known of any topic: nobody can be served */
    bool stale;        /* some or all of what Kafka has may be missing here */
    bool again;        /* another life is needed */
    const char *cause; /* stale: plain text that lives as long as the process */
    int64_t since_ms;  /* unix time of the last change of stale or cause */
};
void tt_kafka_watch_news(struct tt_kafka_watch *watch, struct tt_kafka_news *news);

/* ---- figures ---- */
enum tt_kafka_topic_state {
    TT_KAFKA_TOPIC_UNKNOWN = 0, /* no broker has told of it in this life */
    TT_KAFKA_TOPIC_LIVE,
    TT_KAFKA_TOPIC_UNCHECKED, /* the mirror could not be compared yet: it is not read on */
    TT_KAFKA_TOPIC_NO_LEADER, /* of some partition */
    TT_KAFKA_TOPIC_MISSING,
    TT_KAFKA_TOPIC_DENIED, /* not authorised */
    TT_KAFKA_TOPIC_FAILED, /* another error */
};
const char *tt_kafka_topic_state_text(enum tt_kafka_topic_state state);
struct tt_kafka_topic_figures {
    char name[TT_KAFKA_TOPIC_NAME_MAX + 1];
    struct tt_history history;
    uint32_t generation, partitions, slots;
    enum tt_partitioner partitioner;
    enum tt_kafka_topic_state state;
    int64_t since_ms; /* unix time of the state */
};
struct tt_kafka_figures {
    char cluster[TT_KAFKA_CLUSTER_MAX];
    const char *library;
    uint32_t brokers; /* as Kafka said last */
    uint32_t topics_count;
    uint64_t lives; /* begun so far */
    uint64_t resets[TT_KAFKA_RESETS];
};
void tt_kafka_watch_figures(struct tt_kafka_watch *watch, struct tt_kafka_figures *figures);
/* The metric of records that no event could be made of (skips.h), of this life. */
void tt_kafka_watch_write_skipped(const struct tt_kafka_watch *watch, struct tt_writer *w);
/* False: there is no such topic (any more). */
bool tt_kafka_watch_topic(struct tt_kafka_watch *watch, uint32_t index,
                          struct tt_kafka_topic_figures *topic);

#endif
