#include "broker/status_kafka.h"

#include "broker/kafka/watch.h"
#include "store/tail.h"

static const char *partitioner_text(enum tt_partitioner partitioner)
{
    switch (partitioner) {
    case TT_PARTITIONER_MURMUR2: return "murmur2";
    case TT_PARTITIONER_CRC32: return "crc32";
    case TT_PARTITIONER_HASH:
    case TT_PARTITIONER_ANY: break;
    }
    return "any";
}

static void write_list(struct tt_writer *w, const char *name, const struct tt_config_list *list)
{
    tt_write_format(w, ",\"%s\":[", name);
    for (uint32_t i = 0; i < list->count; i++) {
        if (i != 0) tt_write_char(w, ',');
        tt_write_json_string(w, tt_bytes_text(list->items[i]));
    }
    tt_write_char(w, ']');
}

static void write_topic(struct tt_writer *w, const struct tt_kafka_topic_figures *t, bool first)
{
    tt_write_text(w, first ? "{\"topic\":" : ",{\"topic\":");
    tt_write_json_string(w, tt_bytes_text(t->name));
    tt_write_format(w,
                    ",\"state\":\"%s\",\"since\":%lld,\"history\":\"%s\",\"generation\":%u,"
                    "\"partitions\":%u,\"slots\":%u,\"partitioner\":\"%s\"}",
                    tt_kafka_topic_state_text(t->state), (long long)t->since_ms, t->history.text,
                    t->generation, t->partitions, t->slots, partitioner_text(t->partitioner));
}

void tt_status_kafka_write(struct tt_writer *w, const struct tt_operations_view *view)
{
    struct tt_kafka_figures f;
    struct tt_kafka_news news;
    struct tt_kafka_topic_figures topic;
    tt_kafka_watch_figures(view->kafka, &f);
    tt_kafka_watch_news(view->kafka, &news);
    tt_write_format(w, ",\"kafka\":{\"state\":\"%s\"",
                    news.away    ? "away"
                    : news.stale ? "stale"
                                 : "live");
    if (news.cause != NULL) {
        tt_write_text(w, ",\"cause\":");
        tt_write_json_string(w, tt_bytes_text(news.cause));
    }
    if (news.since_ms != 0) tt_write_format(w, ",\"since\":%lld", (long long)news.since_ms);
    write_list(w, "configuredBrokers", &view->config->kafka_brokers);
    tt_write_format(w, ",\"brokers\":%u,\"cluster\":", f.brokers);
    tt_write_json_string(w, tt_bytes_text(f.cluster));
    tt_write_format(w, ",\"library\":\"%s\",\"lives\":%llu,\"resets\":{", f.library,
                    (unsigned long long)f.lives);
    for (unsigned i = 0; i < TT_KAFKA_RESETS; i++)
        tt_write_format(w, "%s\"%s\":%llu", i == 0 ? "" : ",",
                        tt_kafka_reset_text((enum tt_kafka_reset)i),
                        (unsigned long long)f.resets[i]);
    tt_write_text(w, "},\"topics\":[");
    /* Not more than the world has: the buffer is sized by it. */
    uint32_t most = view->world == NULL ? 0 : view->world->topics_count;
    for (uint32_t i = 0; i < most && tt_kafka_watch_topic(view->kafka, i, &topic); i++)
        write_topic(w, &topic, i == 0);
    tt_write_text(w, "]}");
}

bool tt_status_kafka_is_partition(const struct tt_operations_view *view, uint32_t partition)
{
    const struct tt_partition *p = &view->world->partitions[partition];
    return p->number < view->world->topics[p->topic].partitions ||
           tt_metric_get(&p->source_end) != 0 || tt_tail_head_offset(p->tail) != 0;
}

void tt_status_kafka_write_partition(struct tt_writer *w, const struct tt_partition *p)
{
    uint64_t end = tt_metric_get(&p->source_end);
    if (end != 0) tt_write_format(w, ",\"kafkaEnd\":%llu", (unsigned long long)end);
    tt_write_format(w, ",\"read\":%llu,\"backfilling\":%s",
                    (unsigned long long)tt_metric_get(&p->read_next),
                    tt_metric_get(&p->backfilling) != 0 ? "true" : "false");
}

void tt_status_kafka_write_reason(struct tt_writer *w, const struct tt_operations_view *view,
                                  unsigned reason)
{
    struct tt_kafka_news news;
    if (reason != TT_READINESS_KAFKA_STALE && reason != TT_READINESS_KAFKA_AWAY) return;
    tt_kafka_watch_news(view->kafka, &news);
    if (news.cause == NULL) return;
    tt_write_text(w, ",\"cause\":");
    tt_write_json_string(w, tt_bytes_text(news.cause));
}
