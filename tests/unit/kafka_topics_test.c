/* What --kafka-topics and the sections of topics come to, for each topic. */
#include "broker/kafka/topics.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char error[TT_CONFIG_ERROR_MAX];
static struct tt_config *config;
static struct tt_kafka_topics *topics;
static struct tt_kafka_topic_settings settings;

static void load(const char *file_text, char *const *more)
{
    static char *const none[] = {NULL};
    char path[] = "/tmp/tickertape-topics-XXXXXX", option[64];
    char *all[16] = {"tickertape", "--kafka-brokers=a:9092,b:9092", option};
    int count = 3;
    int file = mkstemp(path);
    cr_assert(file >= 0);
    cr_assert_eq(write(file, file_text, strlen(file_text)), (ssize_t)strlen(file_text));
    close(file);
    snprintf(option, sizeof(option), "--config=%s", path);
    for (; more != NULL && more[count - 3] != NULL; count++) all[count] = more[count - 3];
    enum tt_status status = tt_config_load(&config, count, all, none, error);
    unlink(path);
    cr_assert_eq(status, TT_OK, "%s", error);
    cr_assert_eq(tt_kafka_topics_create(&topics, config, error), TT_OK, "%s", error);
}
#define MORE(...) ((char *const[]){__VA_ARGS__, NULL})

static void settings_of(const char *name)
{
    cr_assert_eq(tt_kafka_topics_settings(topics, name, &settings, error), TT_OK, "%s", error);
    cr_assert_str_eq(settings.name, name);
}

static void unload(void)
{
    if (topics != NULL) tt_kafka_topics_destroy(&topics);
    if (config != NULL) tt_config_destroy(&config);
}

TestSuite(kafka_topics, .fini = unload);

Test(kafka_topics, defaults)
{
    load("", MORE("--kafka-topics=quotes,trades,quotes"));
    cr_assert_eq(tt_kafka_topics_names_count(topics), 2);
    cr_assert_str_eq(tt_kafka_topics_name(topics, 1), "trades");
    cr_assert_not(tt_kafka_topics_has_patterns(topics));
    cr_assert_str_eq(tt_kafka_topics_brokers(topics), "a:9092,b:9092");
    cr_assert_str_eq(tt_kafka_topics_publish(topics), "quotes");
    cr_assert_null(tt_kafka_topics_commands(topics));
    settings_of("quotes");
    cr_assert_eq(settings.value, TT_KAFKA_VALUE_JSON);
    cr_assert_eq(settings.partitioner, TT_PARTITIONER_ANY);
    cr_assert_eq(settings.backfill_ms, 24 * 3600 * 1000);
    cr_assert_str_eq(settings.type, "message");
    cr_assert_str_eq(settings.type_header, "type");
    cr_assert(settings.reads_headers);
    struct tt_bytes prefix, suffix;
    cr_assert(tt_kafka_topic_is_keyed(&settings, &prefix, &suffix));
    cr_assert_eq(prefix.size + suffix.size, 0);
}

Test(kafka_topics, sections_replace_defaults_of_their_topic_alone)
{
    load(
        "[topic quotes]\nchannel = stock.{key}.last\nvalue = text\npartitioner = murmur2\n"
        "backfill = all\ngeneration = 3\ntype = quote\ntype-header = kind\nconflate-header =\n"
        "op-header = do\nheaders = trace, span\n"
        "[topic trades]\ntype-header =\nconflate-header =\nop-header =\nheaders = none\n",
        MORE("--kafka-topics=quotes,trades,others", "--kafka-value=binary", "--kafka-backfill=1h"));
    settings_of("quotes");
    cr_assert_eq(settings.value, TT_KAFKA_VALUE_TEXT);
    cr_assert_eq(settings.partitioner, TT_PARTITIONER_MURMUR2);
    cr_assert_eq(settings.backfill_ms, TT_KAFKA_BACKFILL_ALL);
    cr_assert_eq(settings.generation, 3);
    cr_assert_str_eq(settings.type, "quote");
    cr_assert_str_eq(settings.type_header, "kind");
    cr_assert_str_eq(settings.conflate_header, "");
    cr_assert_str_eq(settings.op_header, "do");
    cr_assert_eq(settings.headers, TT_KAFKA_HEADERS_LISTED);
    cr_assert_eq(settings.listed_count, 2);
    cr_assert_str_eq(settings.listed, "trace");
    cr_assert_str_eq(settings.listed + 6, "span");
    struct tt_bytes prefix, suffix;
    cr_assert(tt_kafka_topic_is_keyed(&settings, &prefix, &suffix));
    cr_assert(tt_bytes_is(prefix, "stock."));
    cr_assert(tt_bytes_is(suffix, ".last"));
    settings_of("trades");
    cr_assert_not(settings.reads_headers, "nothing that headers say would matter");
    settings_of("others");
    cr_assert_eq(settings.value, TT_KAFKA_VALUE_BINARY);
    cr_assert_eq(settings.backfill_ms, 3600 * 1000);
}

Test(kafka_topics, regular_expressions_name_topics)
{
    load("[topic quotes.eu]\nvalue = text\n[topic ^quotes\\.]\nvalue = binary\n"
         "[topic ^.]\nvalue = envelope\n",
         MORE("--kafka-topics=trades,^quotes\\..+$"));
    cr_assert(tt_kafka_topics_has_patterns(topics));
    cr_assert_eq(tt_kafka_topics_names_count(topics), 1);
    cr_assert(tt_kafka_topics_follows(topics, "trades"));
    cr_assert(tt_kafka_topics_follows(topics, "quotes.us"));
    cr_assert_not(tt_kafka_topics_follows(topics, "quotes."));
    cr_assert_not(tt_kafka_topics_follows(topics, "old.quotes.us"));
    settings_of("quotes.eu");
    cr_assert_eq(settings.value, TT_KAFKA_VALUE_TEXT, "a name counts before expressions");
    settings_of("quotes.us");
    cr_assert_eq(settings.value, TT_KAFKA_VALUE_BINARY, "the first expression that matches");
    settings_of("trades");
    cr_assert_eq(settings.value, TT_KAFKA_VALUE_ENVELOPE);
}

Test(kafka_topics, kafkas_own_topics_match_only_what_says_so)
{
    load("", MORE("--kafka-topics=^."));
    cr_assert_not(tt_kafka_topics_follows(topics, "__consumer_offsets"));
    cr_assert(tt_kafka_topics_follows(topics, "_mine"));
    cr_assert_null(tt_kafka_topics_publish(topics), "no name, nothing to publish to");
    unload();
    load("", MORE("--kafka-topics=^__consumer"));
    cr_assert(tt_kafka_topics_follows(topics, "__consumer_offsets"));
}

Test(kafka_topics, where_publishing_goes)
{
    load("[topic orders]\nvalue = envelope\n",
         MORE("--kafka-topics=^a,quotes,orders", "--kafka-publish-topic=abc",
              "--kafka-commands-topic=orders"));
    cr_assert_str_eq(tt_kafka_topics_publish(topics), "abc");
    cr_assert_str_eq(tt_kafka_topics_commands(topics), "orders");
    settings_of("orders");
    cr_assert_eq(settings.value, TT_KAFKA_VALUE_ENVELOPE);
    unload();
    load("", MORE("--kafka-topics=quotes,orders", "--kafka-publish=no",
                  "--kafka-commands-topic=orders"));
    cr_assert_null(tt_kafka_topics_commands(topics));
    cr_assert_null(tt_kafka_topics_publish(topics));
}

Test(kafka_topics, names_of_249_bytes_have_sections)
{
    char name[TT_KAFKA_TOPIC_NAME_MAX + 1] = "", file[400];
    memset(name, 'n', 180); /* as long as a line of the file may be */
    snprintf(file, sizeof(file), "[topic %s]\nvalue = text\n", name);
    char option[300];
    snprintf(option, sizeof(option), "--kafka-topics=%s", name);
    load(file, MORE(option));
    settings_of(name);
    cr_assert_eq(settings.value, TT_KAFKA_VALUE_TEXT);
}
