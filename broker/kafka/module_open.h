/* Opens tickertape-kafka.so: only when a Kafka broker is configured, and never closed again.
 *
 * It is opened apart from everything else (RTLD_LOCAL | RTLD_DEEPBIND): librdkafka is linked
 * against OpenSSL, whose names BoringSSL has too, and each side must find its own. The address and
 * thread sanitizers refuse RTLD_DEEPBIND: their builds open it without, and talk to Kafka without
 * TLS. Thread: start-up. */
#ifndef TT_BROKER_KAFKA_MODULE_OPEN_H
#define TT_BROKER_KAFKA_MODULE_OPEN_H

#include "broker/kafka/module.h"

/* path: the file; null: looked for beside the program, then in ../lib/tickertape seen from there.
 * Null when it cannot be used: error says in one line what is missing, and which package has it. */
const struct tt_kafka_module *tt_kafka_module_open(const char *path,
                                                   char error[TT_KAFKA_ERROR_MAX]);

#endif
