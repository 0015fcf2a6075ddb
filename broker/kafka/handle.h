/* A handle of the module, made of the configuration: for planning, which only asks, or for a life.
 * Thread: Kafka's. */
#ifndef TT_BROKER_KAFKA_HANDLE_H
#define TT_BROKER_KAFKA_HANDLE_H

#include "broker/kafka/module.h"
#include "broker/kafka/notes.h"
#include "broker/kafka/topics.h"

struct tt_kafka_handle_options {
    const struct tt_config *config;
    const struct tt_kafka_topics *topics;
    const struct tt_kafka_module *module;
    struct tt_kafka_notes *notes;
    uint32_t queues;
    uint32_t partitions; /* that will be read */
    bool planning;
};
/* TT_OK; TT_EINVAL: a property that the library refuses, *error says which; TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_kafka_handle_open(struct tt_kafka **kafka,
                                                const struct tt_kafka_handle_options *options,
                                                char error[TT_CONFIG_ERROR_MAX]);

#endif
