/* The keys of a section [topic NAME], and the defaults of [kafka]. */
#include "broker/kafka/topic_keys.h"

#include <regex.h>
#include <stdio.h>

#include "broker/param.h"
#include "proto/event/channel.h"

/* ---- one key ---- */

static enum tt_status number_of(enum tt_param_id id, const char *text, uint64_t *number,
                                struct tt_writer *why)
{
    struct tt_param_value value = {0};
    enum tt_status status = tt_param_parse(&tt_params[id], text, &value, why);
    *number = value.number;
    return status;
}

static enum tt_status set_channel(struct tt_kafka_topic_settings *s, const char *text,
                                  struct tt_writer *why)
{
    return tt_kafka_template_make(&s->channel, text, s->name, why);
}

static enum tt_status set_value(struct tt_kafka_topic_settings *s, const char *text,
                                struct tt_writer *why)
{
    uint64_t number;
    enum tt_status status = number_of(TT_PARAM_ID_kafka_value, text, &number, why);
    s->value = (enum tt_kafka_value)number;
    return status;
}

static enum tt_status set_partitioner(struct tt_kafka_topic_settings *s, const char *text,
                                      struct tt_writer *why)
{
    uint64_t number;
    enum tt_status status = number_of(TT_PARAM_ID_kafka_partitioner, text, &number, why);
    s->partitioner = tt_kafka_partitioner((uint32_t)number);
    return status;
}

static enum tt_status set_backfill(struct tt_kafka_topic_settings *s, const char *text,
                                   struct tt_writer *why)
{
    return number_of(TT_PARAM_ID_kafka_backfill, text, &s->backfill_ms, why);
}

static enum tt_status set_generation(struct tt_kafka_topic_settings *s, const char *text,
                                     struct tt_writer *why)
{
    uint64_t number;
    enum tt_status status = number_of(TT_PARAM_ID_kafka_generation, text, &number, why);
    s->generation = (uint32_t)number;
    return status;
}

static enum tt_status set_type(struct tt_kafka_topic_settings *s, const char *text,
                               struct tt_writer *why)
{
    struct tt_bytes type = tt_bytes_text(text);
    if (tt_type_check(type, why) != TT_OK) return TT_EINVAL;
    if (tt_type_is_reserved(type)) {
        tt_write_text(why, "is reserved for control events, choose another name");
        return TT_EINVAL;
    }
    memcpy(s->type, text, type.size + 1);
    return TT_OK;
}

static enum tt_status set_name(char name[TT_KAFKA_HEADER_NAME_MAX + 1], const char *text,
                               struct tt_writer *why)
{
    size_t size = strlen(text);
    if (size > TT_KAFKA_HEADER_NAME_MAX) {
        tt_write_format(why, "is too long; allowed are %u bytes, and nothing for no such header",
                        TT_KAFKA_HEADER_NAME_MAX);
        return TT_EINVAL;
    }
    memcpy(name, text, size + 1);
    return TT_OK;
}

static enum tt_status set_type_header(struct tt_kafka_topic_settings *s, const char *text,
                                      struct tt_writer *why)
{
    return set_name(s->type_header, text, why);
}
static enum tt_status set_conflate_header(struct tt_kafka_topic_settings *s, const char *text,
                                          struct tt_writer *why)
{
    return set_name(s->conflate_header, text, why);
}
static enum tt_status set_op_header(struct tt_kafka_topic_settings *s, const char *text,
                                    struct tt_writer *why)
{
    return set_name(s->op_header, text, why);
}

/* all, none, or names separated by commas. */
static enum tt_status set_headers(struct tt_kafka_topic_settings *s, const char *text,
                                  struct tt_writer *why)
{
    s->headers = strcmp(text, "all") == 0    ? TT_KAFKA_HEADERS_ALL
                 : strcmp(text, "none") == 0 ? TT_KAFKA_HEADERS_NONE
                                             : TT_KAFKA_HEADERS_LISTED;
    s->listed_count = 0;
    if (s->headers != TT_KAFKA_HEADERS_LISTED) return TT_OK;
    size_t used = 0;
    for (const char *at = text; *at != '\0';) {
        at += strspn(at, " ,");
        size_t size = strcspn(at, " ,");
        if (size == 0) break;
        if (used + size + 1 > sizeof(s->listed) || s->listed_count == TT_KAFKA_LISTED_HEADERS_MAX) {
            tt_write_text(why, "are too many; allowed: all, none, up to 32 names in 512 bytes");
            return TT_EINVAL;
        }
        memcpy(s->listed + used, at, size);
        s->listed[used + size] = '\0';
        used += size + 1;
        s->listed_count++;
        at += size;
    }
    if (s->listed_count != 0) return TT_OK;
    tt_write_text(why, "names nothing; allowed: all, none, names separated by commas");
    return TT_EINVAL;
}

static const struct {
    const char *name;
    enum tt_status (*set)(struct tt_kafka_topic_settings *s, const char *text,
                          struct tt_writer *why);
} keys[] = {
    {"channel", set_channel},         {"value", set_value},
    {"partitioner", set_partitioner}, {"backfill", set_backfill},
    {"generation", set_generation},   {"type", set_type},
    {"type-header", set_type_header}, {"conflate-header", set_conflate_header},
    {"op-header", set_op_header},     {"headers", set_headers},
};
#define KEYS (sizeof(keys) / sizeof(keys[0]))

enum tt_status tt_kafka_topic_set(struct tt_kafka_topic_settings *settings, const char *key,
                                  const char *value, struct tt_writer *why)
{
    for (size_t i = 0; i < KEYS; i++)
        if (strcmp(keys[i].name, key) == 0) return keys[i].set(settings, value, why);
    tt_write_text(why, "unknown key of a topic; allowed: ");
    for (size_t i = 0; i < KEYS; i++) {
        if (i != 0) tt_write_text(why, ", ");
        tt_write_text(why, keys[i].name);
    }
    return TT_EINVAL;
}

enum tt_partitioner tt_kafka_partitioner(uint32_t choice)
{
    static const enum tt_partitioner of[] = {TT_PARTITIONER_ANY, TT_PARTITIONER_MURMUR2,
                                             TT_PARTITIONER_CRC32};
    return of[choice];
}

/* ---- names ---- */

enum tt_status tt_kafka_topic_name_check(const char *name, struct tt_writer *why)
{
    size_t size = strlen(name);
    if (size != 0 && size <= TT_KAFKA_TOPIC_NAME_MAX && strcmp(name, ".") != 0 &&
        strcmp(name, "..") != 0 &&
        strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == size)
        return TT_OK;
    tt_write_text(why,
                  "is not the name of a topic; allowed are 1 to 249 of A-Z a-z 0-9 . _ -, or a "
                  "regular expression that begins with ^");
    return TT_EINVAL;
}

static enum tt_status check_name_or_pattern(const char *topic, struct tt_writer *why)
{
    regex_t pattern;
    if (topic[0] != '^') return tt_kafka_topic_name_check(topic, why);
    int failure = regcomp(&pattern, topic, REG_EXTENDED | REG_NOSUB);
    if (failure != 0) {
        char text[128];
        regerror(failure, &pattern, text, sizeof(text));
        tt_write_format(why, "is not a regular expression: %s", text);
        return TT_EINVAL;
    }
    regfree(&pattern);
    return TT_OK;
}

enum tt_status tt_kafka_topic_key_check(const char *topic, const char *key, const char *value,
                                        struct tt_writer *why)
{
    struct tt_kafka_topic_settings settings = {0};
    enum tt_status status = check_name_or_pattern(topic, why);
    if (status != TT_OK) return status;
    if (topic[0] != '^') memcpy(settings.name, topic, strlen(topic) + 1);
    return tt_kafka_topic_set(&settings, key, value, why);
}
