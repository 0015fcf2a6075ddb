/* The Kafka module without a Kafka: how it is opened, which properties it takes, and that nothing
 * waits longer than its bound when nobody answers. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "broker/kafka/module_open.h"

static char error[TT_KAFKA_ERROR_MAX];

/* Beside the tests' directory: build/VARIANT/tickertape-kafka.so. */
static const struct tt_kafka_module *module(void)
{
    char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 64);
    cr_assert(length > 0);
    path[length] = '\0';
    strcpy(strrchr(path, '/'), "/../tickertape-kafka.so");
    const struct tt_kafka_module *m = tt_kafka_module_open(path, error);
    cr_assert_not_null(m, "%s", error);
    return m;
}

static char logged[65536];
static void on_log(void *context, int level, const char *text)
{
    (void)context;
    size_t length = strlen(logged);
    snprintf(logged + length, sizeof(logged) - length, "<%d>%s\n", level, text);
}

static struct tt_kafka_options options(const struct tt_kafka_property *properties, uint32_t count)
{
    return (struct tt_kafka_options){
        .properties = properties,
        .properties_count = count,
        .queues = 2,
        .queued_bytes = 64u << 20,
        .partitions = 8,
        .producing_bytes = 16u << 20,
        .produce_ms = 300,
        .log = on_log,
    };
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* A port that listens and never answers: connections are made, and hang. */
static char *silent(char text[64])
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(address);
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, size), 0);
    cr_assert_eq(listen(fd, 64), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    snprintf(text, 64, "127.0.0.1:%d", ntohs(address.sin_port));
    return text;
}

/* What has only this property beside the address must be refused with this text. */
static void refused(const char *name, const char *value, const char *wanted)
{
    const struct tt_kafka_property properties[] = {{"bootstrap.servers", "127.0.0.1:1"},
                                                   {name, value}};
    struct tt_kafka_options o = options(properties, 2);
    struct tt_kafka *kafka = NULL;
    int result = module()->create(&kafka, &o, error);
    cr_assert_neq(result, 0, "%s=%s is taken", name, value);
    cr_assert_null(kafka);
    cr_assert_not_null(strstr(error, name), "\"%s\" does not name %s", error, name);
    cr_assert_not_null(strstr(error, wanted), "\"%s\" does not say \"%s\"", error, wanted);
}

static struct tt_kafka *create(const struct tt_kafka_property *properties, uint32_t count)
{
    struct tt_kafka_options o = options(properties, count);
    struct tt_kafka *kafka = NULL;
    cr_assert_eq(module()->create(&kafka, &o, error), 0, "%s", error);
    return kafka;
}

static void destroyed_in_time(struct tt_kafka *kafka)
{
    double start = now();
    module()->destroy(&kafka);
    cr_assert_null(kafka);
    cr_assert(now() - start < 30, "it took %.1f s", now() - start);
}

TestSuite(kafka_module, .timeout = 120);

Test(kafka_module, says_what_is_missing)
{
    cr_assert_null(tt_kafka_module_open("/nonexistent/tickertape-kafka.so", error));
    cr_assert_not_null(strstr(error, "/nonexistent/tickertape-kafka.so"), "%s", error);
    /* Not beside the unit tests, and not installed above them. */
    cr_assert_null(tt_kafka_module_open(NULL, error));
    cr_assert_not_null(strstr(error, "librdkafka-dev"), "%s", error);
    /* Some other library. */
    cr_assert_null(tt_kafka_module_open("libm.so.6", error));
    cr_assert_not_null(strstr(error, "does not belong to this tickertape"), "%s", error);
}

Test(kafka_module, has_a_whole_table)
{
    const struct tt_kafka_module *m = module();
    cr_assert_eq(strncmp(m->library, "librdkafka ", 11), 0);
    cr_assert_str_eq(getenv("SASL_PATH"), "/nonexistent");
}

Test(kafka_module, refuses_properties_that_are_not_the_users)
{
    refused("auto.offset.reset", "earliest", "cannot be set");
    refused("enable.partition.eof", "false", "cannot be set");
    refused("isolation.level", "read_uncommitted", "cannot be set");
    refused("group.id", "mine", "cannot be set");
    refused("acks", "1", "cannot be set");
    refused("partitioner", "random", "cannot be set");
    refused("error_cb", "1", "cannot be set");
    refused("plugin.library.paths", "/tmp/a.so", "cannot be set");
    refused("no.such.property", "1", "no such property");
    refused("fetch.wait.max.ms", "soon", "");
    refused("security.protocol", "telepathy", "");
    refused("sasl.mechanisms", "GSSAPI", "SCRAM-SHA-512");
}

Test(kafka_module, asks_for_a_mechanism_that_it_has)
{
    const struct tt_kafka_property properties[] = {{"bootstrap.servers", "127.0.0.1:1"},
                                                   {"security.protocol", "SASL_PLAINTEXT"}};
    struct tt_kafka_options o = options(properties, 2);
    struct tt_kafka *kafka = NULL;
    cr_assert_neq(module()->create(&kafka, &o, error), 0);
    cr_assert_not_null(strstr(error, "sasl.mechanisms"), "%s", error);
}

Test(kafka_module, needs_an_address)
{
    struct tt_kafka_options o = options(NULL, 0);
    struct tt_kafka *kafka = NULL;
    cr_assert_neq(module()->create(&kafka, &o, error), 0);
    cr_assert_not_null(strstr(error, "bootstrap.servers"), "%s", error);
}

Test(kafka_module, keeps_secrets_out_of_texts)
{
    const struct tt_kafka_property wrong[] = {{"bootstrap.servers", "127.0.0.1:1"},
                                              {"sasl.password", "hunter22hunter22"},
                                              {"client.id", "x"},
                                              {"security.protocol", "hunter22hunter22"}};
    struct tt_kafka_options o = options(wrong, 4);
    struct tt_kafka *kafka = NULL;
    cr_assert_neq(module()->create(&kafka, &o, error), 0);
    cr_assert_null(strstr(error, "hunter22"), "%s", error);

    const struct tt_kafka_property key[] = {{"bootstrap.servers", "127.0.0.1:1"},
                                            {"security.protocol", "ssl"},
                                            {"ssl.key.pem", "not a key at all"}};
    o = options(key, 3);
    cr_assert_neq(module()->create(&kafka, &o, error), 0);
    cr_assert_null(strstr(error, "not a key at all"), "%s", error);
    cr_assert_null(strstr(logged, "not a key at all"), "%s", logged);
}

/* Each to the handles that know it. */
Test(kafka_module, passes_properties_through)
{
    const struct tt_kafka_property properties[] = {{"bootstrap.servers", "127.0.0.1:1"},
                                                   {"client.id", "me"},
                                                   {"linger.ms", "3"},
                                                   {"compression.type", "lz4"},
                                                   {"fetch.wait.max.ms", "50"},
                                                   {"sasl.mechanisms", "SCRAM-SHA-256"}};
    struct tt_kafka *kafka = create(properties, 6);
    destroyed_in_time(kafka);
    cr_assert_null(strstr(logged, "ignored"), "%s", logged);
}

static void nobody_answers(const char *address)
{
    const struct tt_kafka_module *m = module();
    const struct tt_kafka_property properties[] = {{"bootstrap.servers", address}};
    struct tt_kafka *kafka = create(properties, 1);
    int fd = eventfd(0, EFD_CLOEXEC);
    cr_assert_eq(m->open_queue(kafka, 0, fd, error), 0, "%s", error);
    cr_assert_eq(m->start(kafka, 0, "quotes", 3, 17, 42, error), 0, "%s", error);

    struct tt_kafka_metadata *metadata;
    const char *const topics[] = {"quotes"};
    cr_assert_lt(m->metadata(kafka, topics, 1, 200, &metadata, error), 0);
    cr_assert_null(metadata);
    int64_t low, high;
    cr_assert_lt(m->watermarks(kafka, "quotes", 0, 200, &low, &high, error), 0);
    cr_assert_lt(m->offset_at(kafka, "quotes", 0, 1000, 200, &low, error), 0);
    cr_assert_lt(m->fetch(kafka, "quotes", 0, 5, 200, NULL, NULL, error), 0);
    cr_assert_not(m->end(kafka, "quotes", 3, &low, &high));

    int mark = 0;
    struct tt_kafka_header header = {"type", "t", 1};
    struct tt_kafka_outgoing record = {.topic = "quotes",
                                       .partition = -1,
                                       .key = "k",
                                       .key_size = 1,
                                       .value = "v",
                                       .value_size = 1,
                                       .headers = &header,
                                       .headers_count = 1,
                                       .opaque = &mark};
    cr_assert_eq(m->produce(kafka, 0, &record, error), 0, "%s", error);
    struct tt_kafka_delivery d = {0};
    uint64_t ticks;
    while (m->delivered(kafka, 0, &d, 1) == 0) {
        struct tt_kafka_message message;
        while (m->poll(kafka, 0, &message, 1) > 0) continue;
        cr_assert_eq(read(fd, &ticks, sizeof(ticks)), sizeof(ticks));
    }
    cr_assert_eq(d.opaque, &mark);
    cr_assert_eq(d.error, TT_KAFKA_ETIMEDOUT_MESSAGE, "%d", d.error);
    cr_assert_not(d.possibly_written);
    /* One that is never heard of again. */
    cr_assert_eq(m->produce(kafka, 0, &record, error), 0);
    m->serve(kafka);
    m->close_queue(kafka, 0);
    destroyed_in_time(kafka);
    close(fd);
}

Test(kafka_module, waits_no_longer_than_it_was_told_for_nobody)
{
    nobody_answers("127.0.0.1:1");
    /* Several handles and threads met it; it is said once. */
    const char *text = strstr(logged, "Connection refused");
    cr_assert_not_null(text, "%s", logged);
    cr_assert_null(strstr(text + 1, "Connection refused"), "%s", logged);
}

Test(kafka_module, waits_no_longer_than_it_was_told_for_silence)
{
    char address[64];
    nobody_answers(silent(address));
}
