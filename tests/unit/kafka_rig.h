/* One topic's settings, one record, and what it comes to. Records end at a page that must not be
 * touched. One thread. */
#ifndef TT_TESTS_UNIT_KAFKA_RIG_H
#define TT_TESTS_UNIT_KAFKA_RIG_H

#include <criterion/criterion.h>
#include <stdio.h>

#include "broker/kafka/mapping.h"
#include "broker/kafka/topic_keys.h"
#include "tests/unit/guard.h"

#define TIMESTAMP_MS    INT64_C(1732558200123)
#define EVENT_BYTES_MAX 8192u

static struct tt_kafka_topic_settings settings;
static struct tt_kafka_message message;
static struct tt_kafka_header headers[TT_KAFKA_HEADERS_READ_MAX];
static uint32_t headers_count;
static uint8_t scratch_bytes[TT_KAFKA_MAP_BYTES_MAX(EVENT_BYTES_MAX)];
static struct tt_writer scratch;
static struct tt_event event;
static enum tt_kafka_skip skip;

static inline void header(const char *name, const char *value)
{
    headers[headers_count++] =
        (struct tt_kafka_header){name, value, value == NULL ? 0 : strlen(value)};
}

/* A topic with the lines of its section ("key = value\n...", or null), as the broker makes it. */
static inline void rig_topic(const char *name, const char *section)
{
    char text[512] = "", error[TT_CONFIG_ERROR_MAX] = "", path[] = "/tmp/tickertape-rig-XXXXXX";
    char option[64], brokers[] = "--kafka-brokers=k:1", topic[300], limit[64];
    static char *const none[] = {NULL};
    struct tt_config *config = NULL;
    struct tt_kafka_topics *topics = NULL;
    if (section != NULL) snprintf(text, sizeof(text), "[topic %s]\n%s\n", name, section);
    int file = mkstemp(path);
    cr_assert(file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text));
    close(file);
    snprintf(option, sizeof(option), "--config=%s", path);
    snprintf(topic, sizeof(topic), "--kafka-topics=%s", name);
    snprintf(limit, sizeof(limit), "--max-event-bytes=%u", EVENT_BYTES_MAX);
    char *all[] = {"tickertape", brokers, topic, option, limit};
    enum tt_status status = tt_config_load(&config, 5, all, none, error);
    unlink(path);
    cr_assert_eq(status, TT_OK, "%s", error);
    cr_assert_eq(tt_kafka_topics_create(&topics, config, error), TT_OK, "%s", error);
    cr_assert_eq(tt_kafka_topics_settings(topics, name, &settings, error), TT_OK, "%s", error);
    tt_kafka_topics_destroy(&topics);
    tt_config_destroy(&config);
    message = (struct tt_kafka_message){.kind = TT_KAFKA_RECORD, .timestamp_ms = TIMESTAMP_MS};
    headers_count = 0;
    scratch = tt_writer(scratch_bytes, sizeof(scratch_bytes));
}

/* Null texts: no key, no value. */
static enum tt_status map_value(const char *key, const char *value)
{
    if (key != NULL) {
        message.key = guard_copy(0, tt_bytes_text(key)).data;
        message.key_size = strlen(key);
    } else {
        message.key = NULL;
        message.key_size = 0;
    }
    message.value = NULL;
    message.value_size = 0;
    if (value != NULL) {
        message.value = guard_copy(1, tt_bytes_text(value)).data;
        message.value_size = strlen(value);
    }
    return tt_kafka_map(&settings, &message, headers, headers_count, &scratch, &event, &skip);
}

/* Each begins with empty scratch memory and ends with the headers that were given being forgotten.
 */
static inline void maps(const char *key, const char *value)
{
    scratch.size = 0;
    enum tt_status status = map_value(key, value);
    cr_assert_eq(status, TT_OK, "%s", status == TT_EINVAL ? tt_kafka_skip_labels[skip] : "full");
    headers_count = 0;
}

static inline void skips(const char *key, const char *value, enum tt_kafka_skip reason)
{
    scratch.size = 0;
    cr_assert_eq(map_value(key, value), TT_EINVAL, "nothing was skipped for %s",
                 tt_kafka_skip_labels[reason]);
    cr_assert_eq(skip, reason, "%s instead of %s", tt_kafka_skip_labels[skip],
                 tt_kafka_skip_labels[reason]);
    cr_assert_eq(scratch.size, 0);
    headers_count = 0;
}

static inline void is(struct tt_bytes bytes, const char *text)
{
    cr_assert(tt_bytes_is(bytes, text), "\"%.*s\" instead of \"%s\"", (int)bytes.size,
              (const char *)bytes.data, text);
}

#endif
