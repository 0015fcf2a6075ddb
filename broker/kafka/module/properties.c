#include "broker/kafka/module/properties.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct pair {
    const char *name, *value;
};

/* Defaults that differ from librdkafka's. A hang (SIGSTOP) is noticed after 10 s instead of 60, a
 * broker that is back is found within 2 s instead of 10, and an idle connection that Kafka closes
 * is no news. Topics are looked at more often, so that new partitions can soon be read and produced
 * to. Requests never make topics. */
static const struct pair defaults[] = {
    {"client.id", "tickertape"},
    {"socket.timeout.ms", "10000"},
    {"socket.keepalive.enable", "true"},
    {"socket.nagle.disable", "true"},
    {"reconnect.backoff.max.ms", "2000"},
    {"topic.metadata.refresh.interval.ms", "5000"},
    {"allow.auto.create.topics", "false"},
    {"log.connection.close", "false"},
    {"check.crcs", "true"},
    {"linger.ms", "1"},
};
static const struct pair owned_consumer[] = {
    {"enable.partition.eof", "true"},      {"auto.offset.reset", "error"},
    {"isolation.level", "read_committed"}, {"enable.auto.commit", "false"},
    {"enable.auto.offset.store", "false"},
};
static const struct pair owned_producer[] = {
    {"enable.idempotence", "true"},
    {"acks", "all"},
    {"partitioner", "murmur2_random"},
    {"delivery.report.only.error", "false"},
};

#define CALLBACKS "it is a hook for programs"
static const struct {
    const char *name, *why;
} refused[] = {
#define TT_KAFKA_REFUSED(name, why) {name, why},
#include "broker/kafka/properties.def"
};
static const char *const mechanisms[] = {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool has(const char *name, const char *part)
{
    return strstr(name, part) != NULL;
}

static bool is_secret(const char *name)
{
    return has(name, "password") || has(name, "secret") || strcmp(name, "ssl.key.pem") == 0 ||
           strcmp(name, "sasl.oauthbearer.config") == 0;
}

static bool is_mechanism(const char *name)
{
    return strcmp(name, "sasl.mechanisms") == 0 || strcmp(name, "sasl.mechanism") == 0;
}

static bool mechanism_works(const char *value)
{
    for (size_t i = 0; i < COUNT(mechanisms); i++)
        if (strcmp(value, mechanisms[i]) == 0) return true;
    return false;
}

static int refuse_mechanism(char error[TT_KAFKA_ERROR_MAX])
{
    snprintf(error, TT_KAFKA_ERROR_MAX,
             "property 'sasl.mechanisms': must be PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512");
    return TT_KAFKA_EINVAL;
}

static int check(const struct tt_kafka_property *p, char error[TT_KAFKA_ERROR_MAX])
{
    const char *why = NULL;
    for (size_t i = 0; i < COUNT(refused) && why == NULL; i++)
        if (strcmp(p->name, refused[i].name) == 0) why = refused[i].why;
    size_t length = strlen(p->name);
    if (length >= 3 && strcmp(p->name + length - 3, "_cb") == 0) why = CALLBACKS;
    if (why != NULL) {
        snprintf(error, TT_KAFKA_ERROR_MAX, "property '%.100s' cannot be set: %s", p->name, why);
        return TT_KAFKA_EINVAL;
    }
    if (is_mechanism(p->name) && !mechanism_works(p->value)) return refuse_mechanism(error);
    return 0;
}

/* librdkafka's own texts quote values: not those of secrets. */
static int set(rd_kafka_conf_t *conf, const char *name, const char *value,
               char error[TT_KAFKA_ERROR_MAX])
{
    char why[TT_KAFKA_ERROR_MAX];
    why[0] = '\0';
    switch (rd_kafka_conf_set(conf, name, value, why, sizeof(why))) {
    case RD_KAFKA_CONF_OK: return 0;
    case RD_KAFKA_CONF_UNKNOWN:
        snprintf(error, TT_KAFKA_ERROR_MAX, "property '%.100s': librdkafka has no such property",
                 name);
        break;
    case RD_KAFKA_CONF_INVALID:
    default:
        snprintf(error, TT_KAFKA_ERROR_MAX, "property '%.100s': %.380s", name,
                 is_secret(name) ? "librdkafka refuses this value" : why);
    }
    return TT_KAFKA_EINVAL;
}

static int set_all(rd_kafka_conf_t *conf, const struct pair *pairs, size_t count,
                   char error[TT_KAFKA_ERROR_MAX])
{
    int result = 0;
    for (size_t i = 0; i < count && result == 0; i++)
        result = set(conf, pairs[i].name, pairs[i].value, error);
    return result;
}

static int set_number(rd_kafka_conf_t *conf, const char *name, uint64_t value, uint64_t least,
                      uint64_t most, char error[TT_KAFKA_ERROR_MAX])
{
    char text[24];
    if (value < least) value = least;
    snprintf(text, sizeof(text), "%" PRIu64, value < most ? value : most);
    return set(conf, name, text, error);
}

uint64_t properties_queue_bytes(const struct tt_kafka_options *options)
{
    return options->queued_bytes / (options->queues > 0 ? options->queues : 1);
}

/* librdkafka's limits hold for what is queued where the partition's messages go, so for a shard's
 * whole queue; they are looked at before each fetch of a partition, hence the small fetches. One
 * counts keys and values, the other messages, for what they take besides. */
static int limit_consumer(rd_kafka_conf_t *conf, const struct tt_kafka_options *o,
                          char error[TT_KAFKA_ERROR_MAX])
{
    uint64_t queue = properties_queue_bytes(o);
    uint64_t share = o->queued_bytes / (o->partitions > 0 ? o->partitions : 1);
    int result = set_number(conf, "queued.max.messages.kbytes", queue / 1024, 64, 2097151, error);
    if (result == 0)
        result = set_number(conf, "queued.min.messages", queue / TT_KAFKA_MESSAGE_BYTES, 1000,
                            10000000, error);
    if (result == 0)
        result = set_number(conf, "fetch.message.max.bytes", share / 4, 65536, 1048576, error);
    return result;
}

static int limit_query(rd_kafka_conf_t *conf, const struct tt_kafka_options *o,
                       char error[TT_KAFKA_ERROR_MAX])
{
    int result = set_number(conf, "queued.max.messages.kbytes", 64, 1, 64, error);
    if (result == 0) result = set_number(conf, "queued.min.messages", 1, 1, 1, error);
    if (result == 0) result = set_number(conf, "fetch.message.max.bytes", 65536, 1, 65536, error);
    if (result == 0 && o->commit_group != NULL)
        result = set(conf, "group.id", o->commit_group, error);
    return result;
}

static int limit_producer(rd_kafka_conf_t *conf, const struct tt_kafka_options *o,
                          char error[TT_KAFKA_ERROR_MAX])
{
    int result = set_number(conf, "queue.buffering.max.kbytes", o->producing_bytes / 1024, 1,
                            2097151, error);
    if (result == 0)
        result = set_number(conf, "queue.buffering.max.messages", o->producing_bytes / 256, 100,
                            10000000, error);
    if (result == 0)
        result = set_number(conf, "message.timeout.ms", o->produce_ms, 1, 2147483647, error);
    return result;
}

static int set_owned(rd_kafka_conf_t *conf, enum handle_kind kind, const struct tt_kafka_options *o,
                     char error[TT_KAFKA_ERROR_MAX])
{
    int result;
    if (kind == HANDLE_PRODUCER) {
        result = set_all(conf, owned_producer, COUNT(owned_producer), error);
        return result == 0 ? limit_producer(conf, o, error) : result;
    }
    result = set_all(conf, owned_consumer, COUNT(owned_consumer), error);
    if (result != 0) return result;
    return kind == HANDLE_QUERY ? limit_query(conf, o, error) : limit_consumer(conf, o, error);
}

static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    if (rk != NULL) sink_log(rd_kafka_opaque(rk), level, facility, text);
}

static bool property(rd_kafka_conf_t *conf, const char *name, char value[256])
{
    size_t size = 256;
    return rd_kafka_conf_get(conf, name, value, &size) == RD_KAFKA_CONF_OK;
}

static int check_whole(rd_kafka_conf_t *conf, char error[TT_KAFKA_ERROR_MAX])
{
    char value[256];
    if (property(conf, "security.protocol", value) && strncmp(value, "sasl", 4) == 0 &&
        !(property(conf, "sasl.mechanisms", value) && mechanism_works(value)))
        return refuse_mechanism(error);
    size_t size = 0;
    if (rd_kafka_conf_get(conf, "bootstrap.servers", NULL, &size) == RD_KAFKA_CONF_OK && size > 1)
        return 0;
    snprintf(error, TT_KAFKA_ERROR_MAX, "property 'bootstrap.servers' is missing");
    return TT_KAFKA_EINVAL;
}

static int build(rd_kafka_conf_t *conf, enum handle_kind kind, const struct tt_kafka_options *o,
                 char error[TT_KAFKA_ERROR_MAX])
{
    /* The user's last: what is ours alone was refused by check(), the rest are defaults. */
    int result = set_all(conf, defaults, COUNT(defaults), error);
    if (result == 0) result = set_owned(conf, kind, o, error);
    for (uint32_t i = 0; i < o->properties_count && result == 0; i++)
        result = set(conf, o->properties[i].name, o->properties[i].value, error);
    /* Kafka holds an answer back that long at the end of a partition. */
    if (result == 0 && kind == HANDLE_QUERY) result = set(conf, "fetch.wait.max.ms", "10", error);
    return result == 0 ? check_whole(conf, error) : result;
}

int properties_build(struct properties *properties, const struct tt_kafka_options *options,
                     struct sink *sink, char error[TT_KAFKA_ERROR_MAX])
{
    for (uint32_t i = 0; i < options->properties_count; i++) {
        const struct tt_kafka_property *p = &options->properties[i];
        int result = check(p, error);
        if (result != 0) return result;
        if (is_secret(p->name) && !sink_add_secret(sink, p->value)) {
            snprintf(error, TT_KAFKA_ERROR_MAX, "out of memory");
            return TT_KAFKA_EINVAL;
        }
    }
    for (int kind = HANDLE_QUERY; kind <= HANDLE_PRODUCER; kind++) {
        rd_kafka_conf_t *conf = properties->of[kind] = rd_kafka_conf_new();
        int result = build(conf, (enum handle_kind)kind, options, error);
        if (result != 0) {
            sink_scrub(sink, error);
            return result;
        }
        rd_kafka_conf_set_opaque(conf, sink);
        rd_kafka_conf_set_log_cb(conf, on_log);
        int events = RD_KAFKA_EVENT_ERROR;
        if (kind == HANDLE_PRODUCER) events |= RD_KAFKA_EVENT_DR;
        if (kind == HANDLE_QUERY) events |= RD_KAFKA_EVENT_OFFSET_COMMIT;
        rd_kafka_conf_set_events(conf, events);
    }
    return 0;
}

void properties_destroy(struct properties *properties)
{
    for (int kind = HANDLE_QUERY; kind <= HANDLE_PRODUCER; kind++)
        if (properties->of[kind] != NULL) rd_kafka_conf_destroy(properties->of[kind]);
    *properties = (struct properties){0};
}

rd_kafka_t *properties_open(const struct properties *properties, enum handle_kind kind,
                            const struct sink *sink, char error[TT_KAFKA_ERROR_MAX])
{
    char why[TT_KAFKA_ERROR_MAX];
    why[0] = '\0';
    rd_kafka_conf_t *conf = rd_kafka_conf_dup(properties->of[kind]);
    rd_kafka_type_t type = kind == HANDLE_PRODUCER ? RD_KAFKA_PRODUCER : RD_KAFKA_CONSUMER;
    rd_kafka_t *rk = rd_kafka_new(type, conf, why, sizeof(why));
    if (rk != NULL) return rk;
    rd_kafka_conf_destroy(conf);
    snprintf(error, TT_KAFKA_ERROR_MAX, "librdkafka: %.480s", why);
    sink_scrub(sink, error);
    return NULL;
}
