#include "broker/kafka/topics.h"

#include <regex.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/kafka/topic_keys.h"
#include "proto/base/assert.h"

struct pattern {
    const char *text;
    regex_t regex;
};

struct tt_kafka_topics {
    const struct tt_config *config;
    const char **names;
    uint32_t names_count;
    struct pattern *patterns; /* of --kafka-topics */
    uint32_t patterns_count;
    struct pattern *sections; /* those of [topic ^...], in the order of the file */
    uint32_t sections_count;
    const char *publish, *commands;
    char *brokers;
};

/* ---- names and regular expressions ---- */

static enum tt_status fail(char error[TT_CONFIG_ERROR_MAX], const char *where, const char *what)
{
    snprintf(error, TT_CONFIG_ERROR_MAX, "%.400s: %.500s", where, what);
    return TT_EINVAL;
}

static bool matches(const struct pattern *pattern, const char *name)
{
    return regexec(&pattern->regex, name, 0, NULL, 0) == 0;
}

static enum tt_status add_pattern(struct pattern **patterns, uint32_t *count, const char *text,
                                  const char *where, char error[TT_CONFIG_ERROR_MAX])
{
    for (uint32_t i = 0; i < *count; i++)
        if (strcmp((*patterns)[i].text, text) == 0) return TT_OK;
    struct pattern *grown = realloc(*patterns, (*count + 1) * sizeof(*grown));
    if (grown == NULL) return TT_ENOMEM;
    *patterns = grown;
    grown[*count].text = text;
    int failure = regcomp(&grown[*count].regex, text, REG_EXTENDED | REG_NOSUB);
    if (failure != 0) {
        char why[128], what[200];
        regerror(failure, &grown[*count].regex, why, sizeof(why));
        snprintf(what, sizeof(what), "is not a regular expression: %s", why);
        return fail(error, where, what);
    }
    ++*count;
    return TT_OK;
}

static enum tt_status add_name(struct tt_kafka_topics *t, const char *name, const char *where,
                               char error[TT_CONFIG_ERROR_MAX])
{
    char text[256] = "";
    struct tt_writer why = tt_writer(text, sizeof(text) - 1);
    if (tt_kafka_topic_name_check(name, &why) != TT_OK) return fail(error, where, text);
    for (uint32_t i = 0; i < t->names_count; i++)
        if (strcmp(t->names[i], name) == 0) return TT_OK;
    t->names[t->names_count++] = name;
    return TT_OK;
}

static enum tt_status add_items(struct tt_kafka_topics *t, char error[TT_CONFIG_ERROR_MAX])
{
    const struct tt_config_list *items = &t->config->kafka_topics;
    if (items->count == 0)
        return fail(error, "--kafka-brokers", "needs --kafka-topics: what shall be followed?");
    t->names = calloc(items->count, sizeof(*t->names));
    if (t->names == NULL) return TT_ENOMEM;
    enum tt_status status = TT_OK;
    for (uint32_t i = 0; status == TT_OK && i < items->count; i++) {
        char where[340];
        snprintf(where, sizeof(where), "--kafka-topics=%s", items->items[i]);
        status = items->items[i][0] == '^'
                     ? add_pattern(&t->patterns, &t->patterns_count, items->items[i], where, error)
                     : add_name(t, items->items[i], where, error);
    }
    return status;
}

/* ---- settings ---- */

static const char *section_of(const struct tt_kafka_topics *t, const char *name)
{
    const struct tt_config_topic_keys *keys = &t->config->topic_keys;
    for (uint32_t i = 0; i < keys->count; i++)
        if (strcmp(keys->items[i].topic, name) == 0) return name;
    for (uint32_t i = 0; i < t->sections_count; i++)
        if (matches(&t->sections[i], name)) return t->sections[i].text;
    return NULL;
}

static enum tt_status defaults(const struct tt_config *c, const char *name,
                               struct tt_kafka_topic_settings *s, struct tt_writer *why)
{
    *s = (struct tt_kafka_topic_settings){
        .value = (enum tt_kafka_value)c->kafka_value,
        .partitioner = tt_kafka_partitioner(c->kafka_partitioner),
        .backfill_ms = c->kafka_backfill,
        .generation = (uint32_t)c->kafka_generation,
        .event_bytes_max = c->max_event_bytes,
        .type = "message",
        .type_header = "type",
        .conflate_header = "conflate",
        .op_header = "op",
    };
    snprintf(s->name, sizeof(s->name), "%s", name);
    tt_write_text(why, "channel=");
    tt_write_text(why, c->kafka_channel);
    tt_write_char(why, ' ');
    return tt_kafka_template_make(&s->channel, c->kafka_channel, name, why);
}

bool tt_kafka_topic_is_keyed(const struct tt_kafka_topic_settings *settings,
                             struct tt_bytes *prefix, struct tt_bytes *suffix)
{
    if (settings->channel.variables != 1) return false;
    return tt_kafka_template_variable(&settings->channel, prefix, suffix)->kind ==
           TT_KAFKA_PART_KEY;
}

/* What no single key can be blamed for. */
static enum tt_status check_together(struct tt_kafka_topic_settings *s, struct tt_writer *why)
{
    struct tt_bytes prefix, suffix;
    s->type_bytes = (uint8_t)strlen(s->type);
    s->reads_headers = s->headers != TT_KAFKA_HEADERS_NONE || s->type_header[0] != '\0' ||
                       s->conflate_header[0] != '\0' || s->op_header[0] != '\0' ||
                       s->channel.headers;
    if (s->partitioner == TT_PARTITIONER_ANY || tt_kafka_topic_is_keyed(s, &prefix, &suffix))
        return TT_OK;
    tt_write_text(why, "partitioner=murmur2 and crc32 need a channel with {key} as its only "
                       "variable: where another channel lies nobody knows (partitioner=any)");
    return TT_EINVAL;
}

enum tt_status tt_kafka_topics_settings(const struct tt_kafka_topics *t, const char *name,
                                        struct tt_kafka_topic_settings *settings,
                                        char error[TT_CONFIG_ERROR_MAX])
{
    const struct tt_config_topic_keys *keys = &t->config->topic_keys;
    char text[640] = "", where[300];
    struct tt_writer why = tt_writer(text, sizeof(text) - 1);
    snprintf(where, sizeof(where), "topic %.249s", name);
    const char *section = section_of(t, name);
    enum tt_status status = defaults(t->config, name, settings, &why);
    for (uint32_t i = 0; section != NULL && i < keys->count; i++) {
        const struct tt_config_topic_key *key = &keys->items[i];
        if (strcmp(key->topic, section) != 0) continue;
        /* A default that does not fit this topic is no error when its section replaces it. */
        if (status != TT_OK && strcmp(key->key, "channel") != 0) continue;
        memset(text, 0, sizeof(text));
        why = tt_writer(text, sizeof(text) - 1);
        status = tt_kafka_topic_set(settings, key->key, key->value, &why);
        if (status != TT_OK) return fail(error, key->where, text);
    }
    if (status != TT_OK) return fail(error, where, text);
    memset(text, 0, sizeof(text));
    why = tt_writer(text, sizeof(text) - 1);
    status = check_together(settings, &why);
    return status == TT_OK ? TT_OK : fail(error, where, text);
}

/* ---- what is asked of them ---- */

uint32_t tt_kafka_topics_names_count(const struct tt_kafka_topics *topics)
{
    return topics->names_count;
}

const char *tt_kafka_topics_name(const struct tt_kafka_topics *topics, uint32_t i)
{
    TT_ASSERT(i < topics->names_count);
    return topics->names[i];
}

bool tt_kafka_topics_has_patterns(const struct tt_kafka_topics *topics)
{
    return topics->patterns_count != 0;
}

bool tt_kafka_topics_follows(const struct tt_kafka_topics *topics, const char *name)
{
    for (uint32_t i = 0; i < topics->names_count; i++)
        if (strcmp(topics->names[i], name) == 0) return true;
    for (uint32_t i = 0; i < topics->patterns_count; i++) {
        const struct pattern *pattern = &topics->patterns[i];
        if (strncmp(name, "__", 2) == 0 && strncmp(pattern->text, "^__", 3) != 0) continue;
        if (matches(pattern, name)) return true;
    }
    return false;
}

const char *tt_kafka_topics_publish(const struct tt_kafka_topics *topics)
{
    return topics->publish;
}
const char *tt_kafka_topics_commands(const struct tt_kafka_topics *topics)
{
    return topics->commands;
}
const char *tt_kafka_topics_brokers(const struct tt_kafka_topics *topics)
{
    return topics->brokers;
}

/* ---- made and unmade ---- */

static enum tt_status choose_publishing(struct tt_kafka_topics *t, char error[TT_CONFIG_ERROR_MAX])
{
    const struct tt_config *c = t->config;
    char text[256] = "", where[340];
    struct tt_writer why = tt_writer(text, sizeof(text) - 1);
    if (c->kafka_commands_topic[0] != '\0') {
        snprintf(where, sizeof(where), "--kafka-commands-topic=%s", c->kafka_commands_topic);
        if (tt_kafka_topic_name_check(c->kafka_commands_topic, &why) != TT_OK)
            return fail(error, where, text);
        /* Its events come back with ids of ours, as all do. */
        if (!tt_kafka_topics_follows(t, c->kafka_commands_topic))
            return fail(error, where, "is not followed: add it to --kafka-topics");
        t->commands = c->kafka_commands_topic;
    }
    snprintf(where, sizeof(where), "--kafka-publish-topic=%s", c->kafka_publish_topic);
    if (c->kafka_publish_topic[0] != '\0') {
        if (tt_kafka_topic_name_check(c->kafka_publish_topic, &why) != TT_OK)
            return fail(error, where, text);
        if (!tt_kafka_topics_follows(t, c->kafka_publish_topic))
            return fail(error, where, "is not followed: add it to --kafka-topics");
    }
    if (c->kafka_publish == TT_CONFIG_NO) {
        t->commands = NULL;
    } else if (c->kafka_publish_topic[0] != '\0') {
        t->publish = c->kafka_publish_topic;
    } else if (t->names_count != 0) {
        t->publish = t->names[0];
    }
    return TT_OK;
}

/* A section that nothing takes its settings from is a typing error. */
static enum tt_status check_sections(struct tt_kafka_topics *t, char error[TT_CONFIG_ERROR_MAX])
{
    const struct tt_config_topic_keys *keys = &t->config->topic_keys;
    enum tt_status status = TT_OK;
    for (uint32_t i = 0; status == TT_OK && i < keys->count; i++) {
        const struct tt_config_topic_key *key = &keys->items[i];
        if (key->topic[0] == '^')
            status = add_pattern(&t->sections, &t->sections_count, key->topic, key->where, error);
        else if (!tt_kafka_topics_follows(t, key->topic) &&
                 strcmp(key->topic, t->config->kafka_commands_topic) != 0)
            status = fail(error, key->where, "this topic is not one of --kafka-topics");
    }
    for (uint32_t i = 0; status == TT_OK && t->patterns_count == 0 && i < t->sections_count; i++) {
        uint32_t n = 0;
        while (n < t->names_count && !matches(&t->sections[i], t->names[n])) n++;
        if (n != t->names_count) continue;
        char where[300];
        snprintf(where, sizeof(where), "[topic %.250s]", t->sections[i].text);
        status = fail(error, where, "matches none of --kafka-topics");
    }
    return status;
}

/* Also where all topics are regular expressions, which name nothing yet. */
static enum tt_status check_channel(const struct tt_config *config, char error[TT_CONFIG_ERROR_MAX])
{
    struct tt_kafka_template template;
    char text[512] = "", where[300];
    struct tt_writer why = tt_writer(text, sizeof(text) - 1);
    if (tt_kafka_template_make(&template, config->kafka_channel, "", &why) == TT_OK) return TT_OK;
    snprintf(where, sizeof(where), "--kafka-channel=%s", config->kafka_channel);
    return fail(error, where, text);
}

static enum tt_status join_brokers(struct tt_kafka_topics *t)
{
    const struct tt_config_list *brokers = &t->config->kafka_brokers;
    size_t size = 1;
    for (uint32_t i = 0; i < brokers->count; i++) size += strlen(brokers->items[i]) + 1;
    t->brokers = calloc(1, size);
    if (t->brokers == NULL) return TT_ENOMEM;
    struct tt_writer w = tt_writer(t->brokers, size - 1);
    for (uint32_t i = 0; i < brokers->count; i++) {
        if (i != 0) tt_write_char(&w, ',');
        tt_write_text(&w, brokers->items[i]);
    }
    return TT_OK;
}

enum tt_status tt_kafka_topics_create(struct tt_kafka_topics **topics,
                                      const struct tt_config *config,
                                      char error[TT_CONFIG_ERROR_MAX])
{
    struct tt_kafka_topic_settings settings;
    struct tt_kafka_topics *t = calloc(1, sizeof(*t));
    if (t == NULL) return TT_ENOMEM;
    t->config = config;
    enum tt_status status = add_items(t, error);
    if (status == TT_OK) status = choose_publishing(t, error);
    if (status == TT_OK) status = check_sections(t, error);
    if (status == TT_OK) status = join_brokers(t);
    if (status == TT_OK) status = check_channel(config, error);
    for (uint32_t i = 0; status == TT_OK && i < t->names_count; i++)
        status = tt_kafka_topics_settings(t, t->names[i], &settings, error);
    if (status == TT_OK && t->commands != NULL)
        status = tt_kafka_topics_settings(t, t->commands, &settings, error);
    if (status == TT_OK)
        *topics = t;
    else
        tt_kafka_topics_destroy(&t);
    return status;
}

static void free_patterns(struct pattern *patterns, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) regfree(&patterns[i].regex);
    free(patterns);
}

void tt_kafka_topics_destroy(struct tt_kafka_topics **topics)
{
    struct tt_kafka_topics *t = *topics;
    if (t == NULL) return;
    free_patterns(t->patterns, t->patterns_count);
    free_patterns(t->sections, t->sections_count);
    free(t->names);
    free(t->brokers);
    free(t);
    *topics = NULL;
}
