/* What topics.c and topic_keys.c share. Thread: any. */
#ifndef TT_BROKER_KAFKA_TOPIC_KEYS_H
#define TT_BROKER_KAFKA_TOPIC_KEYS_H

#include "broker/kafka/topics.h"

/* Sets one key of settings that have a name (or none yet: it is a regular expression's). */
TT_MUST_USE enum tt_status tt_kafka_topic_set(struct tt_kafka_topic_settings *settings,
                                              const char *key, const char *value,
                                              struct tt_writer *why);
/* TT_OK; TT_EINVAL with the reason. */
TT_MUST_USE enum tt_status tt_kafka_topic_name_check(const char *name, struct tt_writer *why);
/* Of the index of the choice in params.def. */
enum tt_partitioner tt_kafka_partitioner(uint32_t choice);

#endif
