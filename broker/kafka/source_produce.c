/* The source's way from events to records, and what became of them. */
#include <stdlib.h>

#include "broker/kafka/source_internal.h"
#include "proto/event/partition_hash.h"

static const struct tt_kafka_topic_settings *settings_of(const struct tt_kafka_source *s,
                                                         uint32_t topic)
{
    return &s->plan->topics[topic].settings;
}

enum tt_status tt_kafka_source_produce_create(struct tt_kafka_source *s, struct tt_kafka_side *side)
{
    if (s->source.publish_topic == UINT32_MAX) return TT_OK;
    size_t most = settings_of(s, s->source.publish_topic)->event_bytes_max;
    size_t commands = settings_of(s, s->commands_topic)->event_bytes_max;
    size_t bytes = TT_KAFKA_UNMAP_BYTES_MAX(commands > most ? commands : most);
    uint8_t *memory = malloc(bytes);
    side->deliveries = calloc(TT_KAFKA_DELIVERIES_MAX, sizeof *side->deliveries);
    side->record = tt_writer(memory, bytes);
    return memory == NULL || side->deliveries == NULL ? TT_ENOMEM : TT_OK;
}

void tt_kafka_source_produce_destroy(struct tt_kafka_side *side)
{
    free(side->record.data);
    free(side->deliveries);
}

/* Memory for one record; what was in it is over. */
static struct tt_writer *empty_record(struct tt_kafka_side *side)
{
    side->record.size = 0;
    side->record.overflow = false;
    return &side->record;
}

enum tt_status tt_kafka_source_place_event(struct tt_source *source, uint32_t shard,
                                           const struct tt_event *event, uint32_t *partition,
                                           const char **why)
{
    struct tt_kafka_source *s = (struct tt_kafka_source *)source;
    struct tt_writer *scratch = empty_record(&s->sides[shard]);
    uint32_t topic =
        tt_bytes_is(event->channel, "commands") ? s->commands_topic : source->publish_topic;
    struct tt_kafka_record record;
    *why = "it is larger than a record of the topic may be"; /* TT_FULL: no reason stands there */
    enum tt_status status = tt_kafka_unmap(settings_of(s, topic), event, scratch, &record, why);
    uint32_t n = atomic_load_explicit(&s->partitions[topic], memory_order_relaxed);
    if (status == TT_OK)
        *partition =
            s->world->topics[topic].first + (n == 0 ? 0 : tt_partition_of_murmur2(record.key, n));
    return status == TT_OK ? TT_OK : TT_EINVAL;
}

/* Kafka's and the library's codes, as a publisher can be told of them; *why: what the status alone
 * does not say (shard/http/publish_refusal.c). */
static enum tt_status status_of(int32_t code, const char **why)
{
    *why = NULL;
    switch (code) {
    case TT_KAFKA_ETIMEDOUT_MESSAGE:
    case TT_KAFKA_ETIMEDOUT:
    case TT_KAFKA_ETRANSPORT:
    case TT_KAFKA_EFATAL:
    case TT_KAFKA_EPURGED: return TT_ETIMEDOUT;
    case TT_KAFKA_EACCES:
        *why = "the broker is not authorised to write to the topic";
        return TT_EACCES;
    case TT_KAFKA_EAUTHENTICATION:
        *why = "the broker's credentials are not accepted";
        return TT_EACCES;
    case TT_KAFKA_ETOOBIG: return TT_ETOOBIG;
    case TT_KAFKA_EUNKNOWN:
    case TT_KAFKA_ENOTOPIC:
    case TT_KAFKA_ENOPARTITION: *why = "the topic does not exist in Kafka"; return TT_EIO;
    default: return TT_EIO;
    }
}

enum tt_status tt_kafka_source_produce(struct tt_source *source, uint32_t shard,
                                       struct tt_source_produce *p)
{
    struct tt_kafka_source *s = (struct tt_kafka_source *)source;
    struct tt_kafka_side *side = &s->sides[shard];
    const struct tt_kafka_topic_settings *settings =
        settings_of(s, s->world->partitions[p->partition].topic);
    struct tt_kafka_record r;
    char error[TT_KAFKA_ERROR_MAX];
    p->maybe = false;
    p->status = tt_kafka_unmap(settings, &p->event, empty_record(side), &r, &p->why);
    if (p->status != TT_OK) {
        if (p->status == TT_FULL) p->status = TT_ETOOBIG;
        return p->status;
    }
    bool given = (p->event.flags & TT_EVENT_TIMESTAMP_GIVEN) != 0;
    const struct tt_kafka_outgoing record = {.topic = settings->name,
                                             .partition = -1,
                                             .key = r.key.data,
                                             .key_size = r.key.size,
                                             .value = r.value.data,
                                             .value_size = r.value.size,
                                             .timestamp_ms = given ? r.timestamp_ms : 0,
                                             .headers = r.headers,
                                             .headers_count = r.headers_count,
                                             .opaque = p};
    int code = s->module->produce(s->kafka, shard, &record, error);
    if (code == 0) return TT_OK;
    if (code == TT_KAFKA_EFULL) return TT_FULL;
    p->status = status_of(code, &p->why);
    return p->status;
}

uint32_t tt_kafka_source_produced(struct tt_source *source, uint32_t shard,
                                  struct tt_source_produce **done, uint32_t max)
{
    struct tt_kafka_source *s = (struct tt_kafka_source *)source;
    struct tt_kafka_side *side = &s->sides[shard];
    if (side->deliveries == NULL) return 0;
    if (max > TT_KAFKA_DELIVERIES_MAX) max = TT_KAFKA_DELIVERIES_MAX;
    uint32_t count = s->module->delivered(s->kafka, shard, side->deliveries, max);
    for (uint32_t i = 0; i < count; i++) {
        const struct tt_kafka_delivery *d = &side->deliveries[i];
        struct tt_source_produce *p = done[i] = d->opaque;
        const struct tt_topic *topic = &s->world->topics[s->world->partitions[p->partition].topic];
        bool has_slot = d->partition >= 0 && (uint32_t)d->partition < topic->capacity;
        if (d->error != 0) {
            p->status = status_of(d->error, &p->why);
            p->maybe = d->possibly_written;
        } else if (!has_slot) { /* it has a place that this world cannot name; another one follows
                                 */
            p->status = TT_ETIMEDOUT;
            p->why = "the topic has more partitions than there is room for; the broker makes some";
            p->maybe = true;
        } else {
            p->status = TT_OK;
            p->offset = (uint64_t)d->offset;
            p->placed = topic->first + (uint32_t)d->partition;
        }
    }
    return count;
}
