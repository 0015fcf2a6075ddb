/* Where the texts of librdkafka go: to the host's log, from any thread, once each. Several handles
 * meet the same dead broker, and librdkafka both logs it and raises it as an error: what was said
 * within the last minute is not said again. Values that are secrets are taken out of every text. */
#ifndef TT_BROKER_KAFKA_MODULE_SINK_H
#define TT_BROKER_KAFKA_MODULE_SINK_H

#include <stdbool.h>
#include <stdint.h>

struct sink;

struct sink *sink_new(void (*log)(void *context, int level, const char *text), void *context);
struct sink *sink_keep(struct sink *sink);
/* The last to let go frees it. */
void sink_drop(struct sink *sink);
/* A value that no text may have. Before anybody logs. */
bool sink_add_secret(struct sink *sink, const char *value);
void sink_scrub(const struct sink *sink, char *text);
/* facility: librdkafka's ("FAIL", ...), or null. */
void sink_log(struct sink *sink, int level, const char *facility, const char *text);
/* Nothing is handed to the host after this returns. */
void sink_close(struct sink *sink);

#endif
