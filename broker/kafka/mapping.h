/* A record of Kafka becomes an event, and an event a record: what the settings of the topic say.
 *
 *   channel    the topic's template of key and headers; of an envelope its own
 *   type       a header (`type`), else the topic's (`message`)
 *   conflate   a header (`conflate`): false makes the event one that is never dropped
 *   op         a header (`op`): delete; and a record without a value is a delete
 *   headers    all others, or those that the topic lists: at most 32 and 4 KiB as JSON
 *   payload    the value: JSON as it is (CR and LF between tokens become spaces), a text as a JSON
 *              string, bytes as base64, or an envelope, whose own members count in place of headers
 *   timestamp  the record's, also as the time taken; an envelope may bring one of its own
 *
 * Of headers with the same name the last counts, as in Kafka's clients. An empty key is no key.
 * What comes out passes tt_channel_check() and tt_type_check() and is at most event_bytes_max, so
 * the log takes it and every wire can carry it. The same record gives the same event on every
 * instance: no clock, no randomness.
 *
 * Thread: any. Memory: the caller's; an event points into the record, the settings and the scratch
 * memory. In the usual case (JSON without line breaks, channel = key, no headers) nothing is
 * copied.
 */
#ifndef TT_BROKER_KAFKA_MAPPING_H
#define TT_BROKER_KAFKA_MAPPING_H

#include "broker/kafka/module.h"
#include "broker/kafka/topics.h"
#include "proto/event/event.h"

enum tt_kafka_skip {
#define TT_KAFKA_SKIP(name, label, text) TT_KAFKA_SKIP_##name,
#include "broker/kafka/skip.def"
    TT_KAFKA_SKIPS
};
extern const char *const tt_kafka_skip_labels[TT_KAFKA_SKIPS]; /* for metrics */
extern const char *const tt_kafka_skip_texts[TT_KAFKA_SKIPS];  /* behind "the record ..." */

/* Headers that are looked at: give as many to tt_kafka_map(). A record with more is skipped. */
#define TT_KAFKA_HEADERS_READ_MAX 128u

/* Whether anything of this record's event depends on its headers: false: give none. */
static inline bool tt_kafka_wants_headers(const struct tt_kafka_topic_settings *s,
                                          const struct tt_kafka_message *m)
{
    return s->reads_headers && (s->value != TT_KAFKA_VALUE_ENVELOPE || m->value == NULL);
}

/* m: a TT_KAFKA_RECORD. headers: at most TT_KAFKA_HEADERS_READ_MAX of them; headers_count: how many
 * the record has. scratch: memory that is shared by the events of a batch, at least
 * TT_KAFKA_MAP_BYTES_MAX when it is empty.
 * TT_OK; TT_EINVAL: *skip says why there is no event; TT_FULL: no room left in the scratch memory:
 * give it again with an empty one. */
#define TT_KAFKA_MAP_BYTES_MAX(event_bytes_max) (2 * (size_t)(event_bytes_max) + (16u << 10))
TT_MUST_USE enum tt_status tt_kafka_map(const struct tt_kafka_topic_settings *settings,
                                        const struct tt_kafka_message *m,
                                        const struct tt_kafka_header *headers,
                                        uint32_t headers_count, struct tt_writer *scratch,
                                        struct tt_event *event, enum tt_kafka_skip *skip);

/* The event does not lie where the topic's declared partitioner puts its channel, of `partitions`
 * that are known; a record of a newer partition does not, either. Never with partitioner=any. */
bool tt_kafka_is_misplaced(const struct tt_kafka_topic_settings *settings,
                           const struct tt_kafka_message *m, const struct tt_event *event,
                           uint32_t partition, uint32_t partitions);

/* An event as a record to be produced. */
#define TT_KAFKA_RECORD_HEADERS_MAX (TT_HEADERS_MAX + 3u)
struct tt_kafka_record {
    struct tt_bytes key;   /* never empty: it keeps the channel's events in one partition */
    struct tt_bytes value; /* data null: none */
    int64_t timestamp_ms;
    uint32_t headers_count;
    struct tt_kafka_header headers[TT_KAFKA_RECORD_HEADERS_MAX];
};
/* The way back: mapped again, the record gives the same event (but: taken_us is the record's, JSON
 * texts are in their shortest form, and only an envelope still says that its timestamp was given).
 * scratch: TT_KAFKA_UNMAP_BYTES_MAX at least. The record points into it, the event and the
 * settings. TT_OK; TT_EINVAL: records of this topic cannot say it, *why says what; TT_FULL: no
 * room. */
#define TT_KAFKA_UNMAP_BYTES_MAX(event_bytes_max) (2 * (size_t)(event_bytes_max) + (16u << 10))
TT_MUST_USE enum tt_status tt_kafka_unmap(const struct tt_kafka_topic_settings *settings,
                                          const struct tt_event *event, struct tt_writer *scratch,
                                          struct tt_kafka_record *record, const char **why);

#endif
