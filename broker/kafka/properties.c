#include "broker/kafka/properties.h"

static const struct {
    const char *name, *why;
} refused[] = {
    {"bootstrap.servers", "--kafka-brokers gives it"}, /* as which the module gets it */
    {"metadata.broker.list", "--kafka-brokers gives it"},
#define TT_KAFKA_REFUSED(name, why) {name, why},
#include "broker/kafka/properties.def"
};
#define REFUSED (sizeof(refused) / sizeof(refused[0]))

static const char *why_refused(struct tt_bytes name)
{
    for (size_t i = 0; i < REFUSED; i++)
        if (tt_bytes_is(name, refused[i].name)) return refused[i].why;
    if (name.size >= 3 && memcmp(name.data + name.size - 3, "_cb", 3) == 0)
        return "it is a hook for programs";
    return NULL;
}

/* What librdkafka can do without plugins, which would bring a second library for TLS in. */
static bool mechanism_works(struct tt_bytes value)
{
    return tt_bytes_is(value, "PLAIN") || tt_bytes_is(value, "SCRAM-SHA-256") ||
           tt_bytes_is(value, "SCRAM-SHA-512");
}

enum tt_status tt_kafka_property_check(struct tt_bytes name, struct tt_bytes value,
                                       struct tt_writer *why)
{
    const char *refusal = why_refused(name);
    bool mechanism = tt_bytes_is(name, "sasl.mechanisms") || tt_bytes_is(name, "sasl.mechanism");
    if (refusal != NULL) {
        tt_write_text(why, "cannot be set: ");
        tt_write_text(why, refusal);
        return TT_EINVAL;
    }
    if (!mechanism || mechanism_works(value)) return TT_OK;
    tt_write_text(why, "is not a mechanism that works here; allowed: PLAIN, SCRAM-SHA-256, "
                       "SCRAM-SHA-512");
    return TT_EINVAL;
}

static bool contains(struct tt_bytes name, const char *part)
{
    return memmem(name.data, name.size, part, strlen(part)) != NULL;
}

/* By the words in names, so that those of later versions of librdkafka are covered too. */
bool tt_kafka_property_is_secret(struct tt_bytes name)
{
    static const char *const words[] = {"password", "secret", "token", "ssl.key",
                                        "ssl_key",  ".pem",   "jaas",  "private"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (contains(name, words[i]) && !contains(name, ".location")) return true;
    return tt_bytes_starts(name, tt_bytes_text("sasl.oauthbearer."));
}
