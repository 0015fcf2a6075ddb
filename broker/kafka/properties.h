/* The properties of librdkafka that --kafka-conf and [kafka.conf] hand through: which of them are
 * the broker's own to set, and whose values must never be shown. Thread: any. Memory: none. */
#ifndef TT_BROKER_KAFKA_PROPERTIES_H
#define TT_BROKER_KAFKA_PROPERTIES_H

#include "proto/base/bytes.h"

/* Whether librdkafka knows it, only the module can say. TT_OK; TT_EINVAL: it may not be given, *why
 * says why, and what to give instead. */
TT_MUST_USE enum tt_status tt_kafka_property_check(struct tt_bytes name, struct tt_bytes value,
                                                   struct tt_writer *why);
/* Its value is a password, a key, or may hold one. */
bool tt_kafka_property_is_secret(struct tt_bytes name);

#endif
