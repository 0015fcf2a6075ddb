/* What the files of planning share. Thread: Kafka's. */
#ifndef TT_BROKER_KAFKA_PLAN_INTERNAL_H
#define TT_BROKER_KAFKA_PLAN_INTERNAL_H

#include "broker/kafka/plan.h"

/* For the next question to Kafka; 0: there is no time left. */
int tt_kafka_plan_timeout_ms(const struct tt_kafka_planning *planning);

struct tt_mirror;
/* What the mirror of a topic is of; false: there is none that could be read. */
bool tt_kafka_plan_mirror(const struct tt_kafka_planning *planning, const char *topic,
                          struct tt_mirror *mirror);

/* A partition without records: where it begins, by the topic's backfill. False: not answered. */
bool tt_kafka_plan_begin(struct tt_kafka_planning *planning,
                         const struct tt_kafka_topic_settings *settings, uint32_t partition,
                         uint64_t low, uint64_t end, uint64_t *begin);

/* Plans one topic: settings are filled in. metadata: what Kafka says of it; null: nothing, or that
 * there is none. cluster: Kafka's; empty: it did not answer. On TT_OK logs->recovered is there;
 * else *error. */
enum tt_status tt_kafka_plan_topic(struct tt_kafka_planning *planning,
                                   struct tt_kafka_plan_topic *topic, struct tt_logs_topic *logs,
                                   const struct tt_hash_key *key, const char *cluster,
                                   const struct tt_kafka_topic *metadata,
                                   char error[TT_CONFIG_ERROR_MAX]);

#endif
