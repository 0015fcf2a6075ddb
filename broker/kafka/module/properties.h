/* librdkafka's properties: the user's pass through to every handle, some have another default here,
 * and some are ours alone. librdkafka itself skips those of the other kind of handle. */
#ifndef TT_BROKER_KAFKA_MODULE_PROPERTIES_H
#define TT_BROKER_KAFKA_MODULE_PROPERTIES_H

#include <librdkafka/rdkafka.h>

#include "broker/kafka/module.h"
#include "broker/kafka/module/sink.h"

/* Memory that a fetched message takes besides its key and value, measured 450 with headers. */
#define TT_KAFKA_MESSAGE_BYTES 512u

/* A queue's share of queued_bytes: for keys and values, and as much again for the rest. */
uint64_t properties_queue_bytes(const struct tt_kafka_options *options);

enum handle_kind { HANDLE_QUERY, HANDLE_CONSUMER, HANDLE_PRODUCER };

/* One configuration for each kind, checked; a handle is made of a copy. */
struct properties {
    rd_kafka_conf_t *of[HANDLE_PRODUCER + 1];
};

/* 0, or an error code and a text, which names the property. The handles' opaque is the sink. */
int properties_build(struct properties *properties, const struct tt_kafka_options *options,
                     struct sink *sink, char error[TT_KAFKA_ERROR_MAX]);
void properties_destroy(struct properties *properties);
/* A handle of one kind; null: error says why. */
rd_kafka_t *properties_open(const struct properties *properties, enum handle_kind kind,
                            const struct sink *sink, char error[TT_KAFKA_ERROR_MAX]);

#endif
