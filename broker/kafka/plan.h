/* What a life begins with: the topics, how many partitions each has, their histories, and where
 * each partition goes on; found out from the mirrors and from Kafka, as far as it answers.
 *
 * For each topic (DESIGN.md section 7):
 *   - its history is a hash of cluster id, name and generation, so every instance has the same
 *   - the newest mirrored record is fetched again and compared. If it differs, or Kafka's end is
 *     below it, the topic was made anew: generation + 1, the mirror is dropped
 *   - Kafka's beginning is above what the mirror needs next: that partition's mirror is dropped
 *   - a partition without records begins at `backfill` before now
 *   - records become other events than those mirrored: all of the mirror is dropped
 *   - a topic that Kafka does not have, or has not told of, is served from its mirror as it is, and
 *     compared later (tt_kafka_plan_check)
 *
 * Thread: Kafka's. Blocking: every question to Kafka has a timeout, and all of them together have
 * the planning's deadline. */
#ifndef TT_BROKER_KAFKA_PLAN_H
#define TT_BROKER_KAFKA_PLAN_H

#include "broker/kafka/module.h"
#include "broker/kafka/placing_file.h"
#include "broker/kafka/topics.h"
#include "broker/logs.h"
#include "shard/diag.h"

#define TT_KAFKA_CLUSTER_MAX 256u /* bytes of a cluster's id with its zero; Kafka's have 22 */

/* Why a mirror, or a part of it, was given up. */
enum tt_kafka_reset {
    TT_KAFKA_RESET_REMADE = 0, /* the topic was deleted and made anew */
    TT_KAFKA_RESET_CLUSTER,    /* it is of another cluster */
    TT_KAFKA_RESET_GENERATION, /* --kafka-generation was raised */
    TT_KAFKA_RESET_MAPPING,    /* records become other events than before, by other settings */
    TT_KAFKA_RESET_EXPIRED,    /* Kafka's retention has gone past it */
    TT_KAFKA_RESET_DAMAGED,    /* unreadable */
    TT_KAFKA_RESETS
};
const char *tt_kafka_reset_text(enum tt_kafka_reset reset);

struct tt_kafka_plan_partition {
    uint64_t next; /* where reading begins */
    bool has_last; /* the newest mirrored record: */
    uint64_t last_offset;
    uint32_t last_crc; /* tt_record_event_crc() */
    bool has_end;
    uint64_t end; /* Kafka's (next offset), when planned */
};
struct tt_kafka_plan_topic {
    struct tt_kafka_topic_settings settings;
    char cluster[TT_KAFKA_CLUSTER_MAX]; /* empty: placeholder */
    uint32_t generation;
    struct tt_history history;
    uint32_t partitions;                /* N, as Kafka or the mirror says */
    bool checked;                       /* mirror and Kafka were compared, partition by partition */
    bool mirrored;                      /* there was a mirror */
    bool absent;                        /* Kafka does not have it */
    bool other_mapping;                 /* which other settings have made */
    struct tt_kafka_placing placing;    /* as it stands in its file */
    struct tt_kafka_plan_partition *of; /* by number */
};
struct tt_kafka_plan {
    struct tt_kafka_plan_topic *topics;
    struct tt_logs_topic *logs; /* by topic; for tt_logs_open() */
    uint32_t count;
    uint32_t brokers;
    char cluster[TT_KAFKA_CLUSTER_MAX]; /* as Kafka says now; empty: it did not */
    /* Nothing is known of any topic: there is no history that a client could be told. */
    bool away;
};

/* What planning works with; borrowed. */
uint64_t tt_kafka_plan_now_ns(void); /* CLOCK_MONOTONIC */
int64_t tt_kafka_plan_wall_us(void);
struct tt_kafka_planning {
    const struct tt_config *config;
    const struct tt_kafka_topics *topics;
    const struct tt_kafka_module *module;
    struct tt_kafka *kafka;
    struct tt_faults *faults;
    struct tt_diag *diag;
    const bool *stop;     /* atomic: give up early */
    uint64_t random[2];   /* for a key of channel hashes that has to be made */
    uint64_t deadline_ns; /* CLOCK_MONOTONIC: when questions to Kafka end. plan_make() sets it */
    uint64_t *resets;     /* TT_KAFKA_RESETS counters */
    char why[TT_KAFKA_ERROR_MAX]; /* the last answer of Kafka that was none; empty: none */
    int code;
};

/* TT_OK: also when Kafka is away. Else *error holds one line: the disk. */
TT_MUST_USE enum tt_status tt_kafka_plan_make(struct tt_kafka_plan **plan,
                                              struct tt_kafka_planning *planning,
                                              char error[TT_CONFIG_ERROR_MAX]);
void tt_kafka_plan_destroy(struct tt_kafka_plan **plan);

/* One partition as it is known here, beside Kafka's. */
enum tt_kafka_fit {
    TT_KAFKA_FITS = 0,
    TT_KAFKA_IS_REMADE,
    TT_KAFKA_IS_EXPIRED,
    TT_KAFKA_UNANSWERED, /* planning->why, code */
};
/* same: whether a record of Kafka is the newest one known; it has the right offset. */
struct tt_kafka_known {
    uint64_t next;
    bool has_last;
    uint64_t last_offset;
    bool (*same)(void *argument, const struct tt_kafka_message *m);
    void *argument;
};
/* *end: Kafka's, *low: its beginning; unless UNANSWERED. */
enum tt_kafka_fit tt_kafka_plan_compare(struct tt_kafka_planning *planning, const char *topic,
                                        uint32_t partition, const struct tt_kafka_known *known,
                                        uint64_t *low, uint64_t *end);
/* A topic that was not there: *young: all of its partitions are to be read from 0, as slots are.
 * False: not answered. */
bool tt_kafka_plan_is_young(struct tt_kafka_planning *planning,
                            const struct tt_kafka_topic_settings *settings, uint32_t partitions,
                            bool *young);
/* From now on channels of the topic may lie anywhere, also after a restart. */
void tt_kafka_plan_anywhere(const struct tt_kafka_planning *planning,
                            struct tt_kafka_plan_topic *topic);
/* The topic as planned without Kafka's word, now that there is one: true: its partitions fit and
 * can be read from where they stand; false: something does not fit (*again: another plan is needed)
 * or was not answered. */
bool tt_kafka_plan_check(struct tt_kafka_planning *planning, struct tt_kafka_plan_topic *topic,
                         const char *cluster, uint32_t partitions, bool *again);

#endif
