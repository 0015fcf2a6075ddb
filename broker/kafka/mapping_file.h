/* DATA/kafka/<topic>/MAPPING: by which settings the records of a mirror became events, as a hash.
 * Under other settings the same records are other events, so the mirror has to be made again; the
 * topic, and with it the history, is the same. Blocking. Thread: Kafka's. */
#ifndef TT_BROKER_KAFKA_MAPPING_FILE_H
#define TT_BROKER_KAFKA_MAPPING_FILE_H

#include "broker/kafka/topics.h"
#include "store/recovery.h"

/* Of everything in the settings that changes what a record becomes. The same in every process. */
uint64_t tt_kafka_mapping_hash(const struct tt_kafka_topic_settings *settings);

/* directory: the topic's. Not there or not ours: 0. */
uint64_t tt_kafka_mapping_read(const struct tt_files *files, const char *directory);
/* TT_OK; TT_EACCES, TT_ENOSPC, TT_EIO. */
TT_MUST_USE enum tt_status tt_kafka_mapping_write(const struct tt_files *files,
                                                  const char *directory, uint64_t hash);

#endif
