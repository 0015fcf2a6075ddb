/* The settings of Kafka's topics, resolved: what --kafka-topics names, with the defaults of
 * [kafka] and what the sections [topic NAME] say.
 *
 * An item of --kafka-topics is a topic's name or a regular expression (POSIX, extended) that begins
 * with ^ and need not reach to the name's end; topics whose names begin with two underscores are
 * Kafka's own and match only one that says so. A section's NAME is a name or such an expression as
 * well; a topic takes the section of its name, else the first in the file whose expression matches.
 *
 * Immutable once made. Thread: any but for tt_kafka_topics_create(). Memory: one allocation tree;
 * struct tt_kafka_topic_settings owns nothing and may be copied. */
#ifndef TT_BROKER_KAFKA_TOPICS_H
#define TT_BROKER_KAFKA_TOPICS_H

#include "broker/config.h"
#include "broker/kafka/template.h"
#include "proto/base/limits.h"
#include "shard/topology.h"

#define TT_KAFKA_TOPIC_NAME_MAX     249u /* Kafka's */
#define TT_KAFKA_HEADER_NAME_MAX    127u
#define TT_KAFKA_LISTED_HEADERS_MAX TT_HEADERS_MAX
#define TT_KAFKA_BACKFILL_ALL       UINT64_MAX

enum tt_kafka_value {
    TT_KAFKA_VALUE_JSON = 0,
    TT_KAFKA_VALUE_TEXT,
    TT_KAFKA_VALUE_BINARY,
    TT_KAFKA_VALUE_ENVELOPE,
};
/* Which headers of a record become headers of the event, besides those with a meaning. */
enum tt_kafka_headers_kept {
    TT_KAFKA_HEADERS_ALL = 0,
    TT_KAFKA_HEADERS_NONE,
    TT_KAFKA_HEADERS_LISTED
};

struct tt_kafka_topic_settings {
    char name[TT_KAFKA_TOPIC_NAME_MAX + 1];
    enum tt_kafka_value value;
    enum tt_partitioner partitioner; /* as declared: never HASH */
    uint64_t backfill_ms;            /* TT_KAFKA_BACKFILL_ALL: from the topic's beginning */
    uint32_t generation;
    size_t event_bytes_max;
    struct tt_kafka_template channel;
    char type[TT_TYPE_BYTES_MAX + 1]; /* where no header says */
    uint8_t type_bytes;
    /* Names of the headers with a meaning; empty: there is none. */
    char type_header[TT_KAFKA_HEADER_NAME_MAX + 1];
    char conflate_header[TT_KAFKA_HEADER_NAME_MAX + 1];
    char op_header[TT_KAFKA_HEADER_NAME_MAX + 1];
    enum tt_kafka_headers_kept headers;
    char listed[512]; /* names, each with its zero; LISTED */
    uint32_t listed_count;
    bool reads_headers; /* false: what headers say changes nothing, do not look at them */
};

/* Whether the channels of the topic are prefix + key + suffix, as struct tt_topic has them; these
 * point into the settings. */
bool tt_kafka_topic_is_keyed(const struct tt_kafka_topic_settings *settings,
                             struct tt_bytes *prefix, struct tt_bytes *suffix);

struct tt_kafka_topics;
/* config: with --kafka-brokers; must live as long. TT_OK; TT_EINVAL, TT_ENOMEM with one line in
 * error. */
TT_MUST_USE enum tt_status tt_kafka_topics_create(struct tt_kafka_topics **topics,
                                                  const struct tt_config *config,
                                                  char error[TT_CONFIG_ERROR_MAX]);
void tt_kafka_topics_destroy(struct tt_kafka_topics **topics);

/* The names of --kafka-topics, each once, in their order, without the regular expressions. */
uint32_t tt_kafka_topics_names_count(const struct tt_kafka_topics *topics);
const char *tt_kafka_topics_name(const struct tt_kafka_topics *topics, uint32_t i);
/* Some items are regular expressions: ask Kafka for all topics, and follow those that match. */
bool tt_kafka_topics_has_patterns(const struct tt_kafka_topics *topics);
bool tt_kafka_topics_follows(const struct tt_kafka_topics *topics, const char *name);
/* The topic of POST /publish, and of POST /command; null: none. */
const char *tt_kafka_topics_publish(const struct tt_kafka_topics *topics);
const char *tt_kafka_topics_commands(const struct tt_kafka_topics *topics);
/* name: a topic's, followed or not. TT_OK; TT_EINVAL with the reason: a template that becomes
 * too long with this topic's name (only of topics that a regular expression found). */
TT_MUST_USE enum tt_status tt_kafka_topics_settings(const struct tt_kafka_topics *topics,
                                                    const char *name,
                                                    struct tt_kafka_topic_settings *settings,
                                                    char error[TT_CONFIG_ERROR_MAX]);
/* "b1:9092,b2:9092" for bootstrap.servers. */
const char *tt_kafka_topics_brokers(const struct tt_kafka_topics *topics);

/* One line of a section [topic NAME]. TT_OK; TT_EINVAL: why says what is allowed. */
TT_MUST_USE enum tt_status tt_kafka_topic_key_check(const char *topic, const char *key,
                                                    const char *value, struct tt_writer *why);

#endif
