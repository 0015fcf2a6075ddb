/* The options of Kafka and the sections of the file that belong to them: what goes together, that
 * errors say where and what is allowed, and that they never show a secret. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "broker/config.h"
#include "broker/kafka/properties.h"
#include "broker/kafka/topics.h"

static char error[TT_CONFIG_ERROR_MAX];
static char path[64];

static struct tt_config *load(char *const *arguments, char *const *environment)
{
    static char *const none[] = {NULL};
    char *all[16] = {"tickertape"};
    int count = 1;
    for (; arguments != NULL && arguments[count - 1] != NULL; count++)
        all[count] = arguments[count - 1];
    struct tt_config *config = NULL;
    enum tt_status status =
        tt_config_load(&config, count, all, environment != NULL ? environment : none, error);
    cr_assert_eq(status == TT_OK, config != NULL);
    return config;
}
#define ARGUMENTS(...) ((char *const[]){__VA_ARGS__, NULL})
#define KAFKA(...)     ARGUMENTS("--kafka-brokers=k:9092", __VA_ARGS__)

static void refused(char *const *arguments, const char *a, const char *b)
{
    struct tt_config *config = load(arguments, NULL);
    cr_assert_null(config, "nothing was refused, but \"%s\" was expected", a);
    cr_assert(strstr(error, a) != NULL, "\"%s\" does not say \"%s\"", error, a);
    cr_assert(strstr(error, b) != NULL, "\"%s\" does not say \"%s\"", error, b);
    cr_assert_null(strchr(error, '\n'), "one line: \"%s\"", error);
}

static char *file_option(const char *text)
{
    static char option[96];
    if (path[0] != '\0') unlink(path);
    snprintf(path, sizeof(path), "/tmp/tickertape-kafka-XXXXXX");
    int file = mkstemp(path);
    cr_assert(file >= 0);
    cr_assert_eq(write(file, text, strlen(text)), (ssize_t)strlen(text));
    close(file);
    snprintf(option, sizeof(option), "--config=%s", path);
    return option;
}

static void remove_file(void)
{
    if (path[0] != '\0') unlink(path);
}

TestSuite(config_kafka, .fini = remove_file);

Test(config_kafka, two_options_are_enough)
{
    struct tt_config *c =
        load(ARGUMENTS("--kafka-brokers=a:9092,b:9093", "--kafka-topics=quotes,trades"), NULL);
    cr_assert_not_null(c, "%s", error);
    cr_assert_eq(c->kafka_brokers.count, 2);
    cr_assert_eq(c->kafka_topics.count, 2);
    cr_assert_str_eq(c->kafka_topics.items[1], "trades");
    cr_assert_eq(c->kafka_backfill, 24 * 3600 * 1000);
    cr_assert_eq(c->kafka_spare_partitions, 8);
    cr_assert_str_eq(c->kafka_channel, "{key}");
    tt_config_destroy(&c);
}

Test(config_kafka, without_brokers_nothing_else_of_kafka)
{
    refused(ARGUMENTS("--kafka-topics=quotes"), "--kafka-topics", "needs --kafka-brokers");
    refused(ARGUMENTS("--kafka-conf=debug=all"), "--kafka-conf", "needs --kafka-brokers");
    refused(ARGUMENTS(file_option("[topic quotes]\nvalue = text\n")), ":2: [topic quotes] value",
            "needs --kafka-brokers");
    refused(ARGUMENTS("--kafka-brokers=k:9092"), "--kafka-brokers", "--kafka-topics");
    refused(KAFKA("--kafka-topics="), "--kafka-brokers", "--kafka-topics");
}

Test(config_kafka, backfill_is_a_time_or_all)
{
    struct tt_config *c = load(KAFKA("--kafka-topics=q", "--kafka-backfill=all"), NULL);
    cr_assert_not_null(c, "%s", error);
    cr_assert_eq(c->kafka_backfill, UINT64_MAX);
    tt_config_destroy(&c);
    c = load(KAFKA("--kafka-topics=q", "--kafka-backfill=0"), NULL);
    cr_assert_not_null(c, "%s", error);
    cr_assert_eq(c->kafka_backfill, 0);
    tt_config_destroy(&c);
    refused(KAFKA("--kafka-topics=q", "--kafka-backfill=some"), "--kafka-backfill=some", "all");
}

Test(config_kafka, values_out_of_place_are_refused)
{
    refused(KAFKA("--kafka-topics=a/b"), "--kafka-topics=a/b", "allowed are 1 to 249");
    refused(KAFKA("--kafka-topics=^a("), "--kafka-topics=^a(", "regular expression");
    refused(KAFKA("--kafka-topics=q", "--kafka-channel={nokey}"), "--kafka-channel={nokey}",
            "{header:NAME}");
    refused(KAFKA("--kafka-topics=^q", "--kafka-channel=a b{key}"), "--kafka-channel=a b{key}",
            "has a space");
    refused(KAFKA("--kafka-topics=q", "--kafka-value=avro"), "--kafka-value=avro",
            "json, text, binary, envelope");
    refused(KAFKA("--kafka-topics=q", "--kafka-partitioner=crc"), "--kafka-partitioner=crc",
            "any, murmur2, crc32");
    refused(KAFKA("--kafka-topics=q", "--kafka-partitioner=crc32", "--kafka-channel={header:s}"),
            "topic q", "partitioner=any");
    refused(KAFKA("--kafka-topics=q", "--kafka-publish-topic=r"), "--kafka-publish-topic=r",
            "--kafka-topics");
}

Test(config_kafka, properties_come_from_all_sources_and_the_strongest_counts)
{
    char *file = file_option("[kafka]\nbrokers = k:9092\ntopics = q\n[kafka.conf]\n"
                             "security.protocol = sasl_ssl\nsasl.password = from-file\n"
                             "sasl.mechanisms = SCRAM-SHA-256\n");
    char *const environment[] = {
        "TICKERTAPE_KAFKA_CONF=sasl.password=a,b=c\nssl.ca.location=/ca.pem", NULL};
    struct tt_config *c =
        load(ARGUMENTS(file, "--kafka-conf=debug=a", "--kafka-conf=debug=fetch,msg", "--kafka-conf",
                       "ssl.ca.location=/other.pem"),
             environment);
    cr_assert_not_null(c, "%s", error);
    static const char *const expected[] = {"debug=fetch,msg", "ssl.ca.location=/other.pem",
                                           "sasl.password=a,b=c", "security.protocol=sasl_ssl",
                                           "sasl.mechanisms=SCRAM-SHA-256"};
    cr_assert_eq(c->kafka_conf.count, 5);
    for (unsigned i = 0; i < 5; i++) cr_assert_str_eq(c->kafka_conf.items[i], expected[i]);
    tt_config_destroy(&c);
}

Test(config_kafka, properties_that_the_broker_sets_are_refused)
{
    refused(KAFKA("--kafka-topics=q", "--kafka-conf=group.id=x"), "--kafka-conf=group.id",
            "--kafka-commit-group");
    refused(KAFKA("--kafka-topics=q", "--kafka-conf=acks=0"), "--kafka-conf=acks", "guarantees");
    refused(KAFKA("--kafka-topics=q", "--kafka-conf=sasl.mechanisms=GSSAPI"),
            "--kafka-conf=sasl.mechanisms", "SCRAM-SHA-256");
    refused(KAFKA("--kafka-topics=q", "--kafka-conf=error_cb=1"), "--kafka-conf=error_cb", "hook");
    refused(KAFKA("--kafka-topics=q", "--kafka-conf=nothing"), "--kafka-conf", "NAME=VALUE");
    refused(KAFKA("--kafka-topics=q", file_option("\n[kafka.conf]\nbootstrap.servers = x\n")),
            ":3: [kafka.conf] bootstrap.servers", "--kafka-brokers");
    refused(KAFKA("--kafka-topics=q", file_option("[kafka.conf]\ndebug = a\ndebug = b\n")),
            ":3: [kafka.conf] debug", "given twice");
}

Test(config_kafka, errors_show_no_secret)
{
    char *const *const wrong[] = {
        KAFKA("--kafka-conf=sasl.password=hunter2"),
        KAFKA("--kafka-conf", "sasl.password=hunter2"),
        KAFKA("--kafka-cnf=sasl.password=hunter2"),
        KAFKA("--kafka-conf=hunter2"),
        KAFKA("--kafka-topics=q", "--kafka-conf=acks=hunter2"),
    };
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        cr_assert_null(load(wrong[i], NULL));
        cr_assert_null(strstr(error, "hunter2"), "%s", error);
    }
    static const char *const files[] = {
        "sasl.password = hunter2\n",
        "[kafka]\nsasl.password = hunter2\n",
        "[kafka.cnf]\nssl.key.password = hunter2\n",
        "[topic q]\nsasl.password = hunter2\n",
        "[kafka.conf]\nacks = hunter2\n",
        "[kafka]\nconf = hunter2\n",
    };
    for (unsigned i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        cr_assert_null(load(KAFKA("--kafka-topics=q", file_option(files[i])), NULL));
        cr_assert_null(strstr(error, "hunter2"), "%s", error);
    }
    cr_assert_null(load(NULL, ((char *const[]){"TICKERTAPE_KAFKA_CONF=hunter2", NULL})));
    cr_assert_null(strstr(error, "hunter2"), "%s", error);
}

Test(config_kafka, what_is_secret_is_known_by_its_name)
{
    static const char *const secret[] = {"sasl.password",
                                         "ssl.key.password",
                                         "ssl.keystore.password",
                                         "ssl.key.pem",
                                         "ssl_key",
                                         "sasl.oauthbearer.client.secret",
                                         "ssl.certificate.pem",
                                         "sasl.oauthbearer.config"};
    static const char *const open[] = {"security.protocol", "sasl.username", "ssl.ca.location",
                                       "ssl.key.location",  "client.id",     "sasl.mechanisms"};
    for (unsigned i = 0; i < sizeof(secret) / sizeof(secret[0]); i++)
        cr_assert(tt_kafka_property_is_secret(tt_bytes_text(secret[i])), "%s", secret[i]);
    for (unsigned i = 0; i < sizeof(open) / sizeof(open[0]); i++)
        cr_assert_not(tt_kafka_property_is_secret(tt_bytes_text(open[i])), "%s", open[i]);
}

Test(config_kafka, sections_of_topics)
{
    refused(KAFKA("--kafka-topics=q", file_option("[topic q]\nvalue = json\nvalu = text\n")),
            ":3: [topic q] valu = text", "allowed: channel, value, partitioner");
    refused(KAFKA("--kafka-topics=q", file_option("[topic q]\nvalue = avro\n")),
            ":2: [topic q] value = avro", "json, text, binary, envelope");
    refused(KAFKA("--kafka-topics=q", file_option("[topic q]\nvalue = text\nvalue = json\n")),
            ":3: [topic q] value = json", "given twice");
    refused(KAFKA("--kafka-topics=q", file_option("[topic p]\nvalue = text\n")),
            ":2: [topic p] value = text", "--kafka-topics");
    refused(KAFKA("--kafka-topics=q", file_option("[topic ^p]\nvalue = text\n")), "[topic ^p]",
            "--kafka-topics");
    refused(KAFKA("--kafka-topics=q", file_option("[topic q]\ntype = resync\n")), "type = resync",
            "reserved");
    refused(KAFKA("--kafka-topics=q", file_option("[topics q]\nvalue = text\n")), ":2: [topics q]",
            "unknown");
}

Test(config_kafka, changes_of_topics_need_a_restart)
{
    struct tt_config *a =
        load(KAFKA("--kafka-topics=q", file_option("[topic q]\nvalue=text\n")), NULL);
    struct tt_config *b =
        load(KAFKA("--kafka-topics=q", file_option("[topic q]\nvalue=json\n")), NULL);
    cr_assert(a != NULL && b != NULL, "%s", error);
    char names[256] = "";
    struct tt_writer w = tt_writer(names, sizeof(names) - 1);
    cr_assert_eq(tt_config_differences(a, b, true, &w), 0);
    tt_config_differences(a, b, false, &w);
    cr_assert(strstr(names, "sections of topics") != NULL, "%s", names);
    tt_config_destroy(&a);
    tt_config_destroy(&b);
}
