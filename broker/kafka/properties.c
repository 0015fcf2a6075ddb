#include "broker/kafka/properties.h"

static const struct {
    const char *name, *why;
} refused[] = {
    {"bootstrap.servers", "is given by --kafka-brokers"},
    {"metadata.broker.list", "is given by --kafka-brokers"},
    {"group.id", "is given by --kafka-commit-group; reading uses no group"},
    {"queued.max.messages.kbytes", "follows from --kafka-queued-bytes"},
    {"queue.buffering.max.kbytes", "follows from --kafka-producing-bytes"},
    {"message.timeout.ms", "is given by --kafka-produce-wait-ms"},
    {"delivery.timeout.ms", "is given by --kafka-produce-wait-ms"},
    {"auto.offset.reset", "is set by the broker, which tells clients what is missing"},
    {"enable.auto.commit", "is set by the broker: see --kafka-commit-group"},
    {"enable.auto.offset.store", "is set by the broker: see --kafka-commit-group"},
    {"enable.partition.eof", "is set by the broker, which must know where a partition ends"},
    {"enable.idempotence", "is set by the broker: an event is produced once"},
    {"acks", "is set by the broker: an answered publish is in Kafka"},
    {"request.required.acks", "is set by the broker: an answered publish is in Kafka"},
    {"partitioner", "is set by the broker: murmur2, as Java's producers"},
    {"transactional.id", "is not used: the broker produces without transactions"},
};

enum tt_status tt_kafka_property_check(struct tt_bytes name, struct tt_writer *why)
{
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        if (!tt_bytes_is(name, refused[i].name)) continue;
        tt_write_text(why, refused[i].why);
        return TT_EINVAL;
    }
    return TT_OK;
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

void tt_kafka_property_write(struct tt_writer *w, struct tt_bytes name, struct tt_bytes value)
{
    tt_write_bytes(w, name);
    tt_write_char(w, '=');
    tt_write_bytes(w, tt_kafka_property_is_secret(name) ? TT_BYTES_LITERAL("***") : value);
}
