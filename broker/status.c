#include "broker/status.h"

#include "broker/process.h"
#include "broker/status_kafka.h"
#include "proto/base/assert.h"
#include "store/tail.h"

size_t tt_status_bytes_max(uint32_t shards_count, uint32_t partitions_count)
{
    return 8192 + shards_count * (size_t)1024 + partitions_count * TT_STATUS_PARTITION_BYTES;
}

static const char *phase_text(const struct tt_operations_view *view)
{
    if (view->since_ms[TT_READINESS_STARTING] != 0) return "starting";
    return view->since_ms[TT_READINESS_DRAINING] != 0 ? "draining" : "serving";
}

/* Which partitions it is about: the first, and how many. */
static void write_partitions(struct tt_writer *w, const struct tt_operations_view *view,
                             enum tt_partition_trouble trouble)
{
    uint32_t first = 0, count = 0;
    for (uint32_t i = view->world != NULL ? view->world->partitions_count : 0; i-- > 0;) {
        if (tt_metric_get(&view->world->partitions[i].trouble) != trouble) continue;
        first = i;
        count++;
    }
    if (count != 0) tt_write_format(w, ",\"partition\":%u,\"partitions\":%u", first, count);
}

void tt_status_write_readiness(struct tt_writer *w, const struct tt_operations_view *view)
{
    static const char *const texts[TT_READINESS_REASONS][2] = {
        [TT_READINESS_KAFKA_AWAY] = {"kafka", "away"},
        [TT_READINESS_KAFKA_BACKFILLING] = {"kafka", "backfilling"},
        [TT_READINESS_KAFKA_STALE] = {"kafka", "stale"},
        [TT_READINESS_STARTING] = {"broker", "starting"},
        [TT_READINESS_DRAINING] = {"broker", "draining"},
        [TT_READINESS_LOG_READ_ONLY] = {"log", "read_only"},
        [TT_READINESS_LOG_NO_SPACE] = {"log", "no_space"},
    };
    tt_write_format(w, "{\"ready\":%s,\"degraded\":%s,\"reasons\":[",
                    tt_operations_ready(view) ? "true" : "false",
                    tt_operations_degraded(view) ? "true" : "false");
    bool first = true;
    for (unsigned i = 0; i < TT_READINESS_REASONS; i++) {
        if (view->since_ms[i] == 0) continue;
        tt_write_format(w, "%s{\"what\":\"%s\",\"state\":\"%s\",\"since\":%lld", first ? "" : ",",
                        texts[i][0], texts[i][1], (long long)view->since_ms[i]);
        if (i == TT_READINESS_LOG_READ_ONLY) write_partitions(w, view, TT_PARTITION_READ_ONLY);
        if (i == TT_READINESS_LOG_NO_SPACE) write_partitions(w, view, TT_PARTITION_NO_SPACE);
        if (i >= TT_READINESS_KAFKA_AWAY) tt_status_kafka_write_reason(w, view, i);
        tt_write_char(w, '}');
        first = false;
    }
    tt_write_text(w, "]}\n");
}

static void write_u64(struct tt_writer *w, const char *name, uint64_t value)
{
    tt_write_format(w, ",\"%s\":%llu", name, (unsigned long long)value);
}

static void write_shard(struct tt_writer *w, const struct tt_operations_view *view, uint32_t shard)
{
    const struct tt_shard *s = view->world->shards[shard];
    const struct tt_shard_metrics *m = tt_shard_metrics(s);
    tt_write_format(w, "%s{\"shard\":%u,\"cpu\":%d", shard == 0 ? "" : ",", shard,
                    tt_shard_options(s)->cpu);
    write_u64(w, "connections", tt_metric_get(&m->connections));
    tt_write_format(
        w,
        ",\"clients\":{\"opening\":%llu,\"snapshot\":%llu,\"catchup\":%llu,\"live\":%llu,"
        "\"conflating\":%llu,\"closing\":%llu}",
        (unsigned long long)tt_metric_get(&m->clients_opening),
        (unsigned long long)tt_metric_get(&m->clients_snapshot),
        (unsigned long long)tt_metric_get(&m->clients_catchup),
        (unsigned long long)tt_metric_get(&m->clients_live),
        (unsigned long long)tt_metric_get(&m->clients_conflating),
        (unsigned long long)tt_metric_get(&m->clients_closing));
    write_u64(w, "events", tt_metric_get(&m->events_http));
    write_u64(w, "deliveries", tt_metric_get(&m->deliveries_sse));
    write_u64(w, "sentBytes", tt_metric_get(&m->sent_bytes));
    write_u64(w, "outboxBytes", tt_metric_get(&m->outbox_bytes));
    write_u64(w, "frameBytes", tt_metric_get(&m->frame_bytes));
    write_u64(w, "catchupBytes", tt_metric_get(&m->catchup_bytes));
    tt_write_format(w, ",\"busyRatio\":%.4f,\"longestTurnMs\":%.3f,\"longestRecentTurnMs\":%.3f}",
                    view->busy_ratio[shard], (double)tt_metric_get(&m->turn_max_ns) / 1e6,
                    (double)tt_metric_get(&m->turn_recent_max_ns) / 1e6);
}

static void write_partition(struct tt_writer *w, const struct tt_operations_view *view,
                            uint32_t index, bool first)
{
    const struct tt_partition *p = &view->world->partitions[index];
    tt_write_text(w, first ? "{" : ",{");
    if (view->kafka != NULL) {
        tt_write_text(w, "\"topic\":");
        tt_write_json_string(w, tt_bytes_text(view->world->topics[p->topic].name));
        tt_write_char(w, ',');
    }
    tt_write_format(w,
                    "\"partition\":%u,\"shard\":%u,\"oldest\":%llu,\"head\":%llu,"
                    "\"writtenPlace\":%llu,\"durablePlace\":%llu",
                    p->number, p->owner, (unsigned long long)tt_tail_oldest_offset(p->tail),
                    (unsigned long long)tt_tail_head_offset(p->tail),
                    (unsigned long long)tt_tail_written_place(p->tail),
                    (unsigned long long)tt_tail_durable_place(p->tail));
    if (view->kafka != NULL) tt_status_kafka_write_partition(w, p);
    tt_write_char(w, '}');
}

/* What is resident, what may be, and of which parts that is the sum. */
static void write_memory(struct tt_writer *w, const struct tt_memory_bound *bound)
{
    const struct tt_shard_bounds *b = &bound->shards;
    tt_write_format(
        w, ",\"memory\":{\"residentBytes\":%llu,\"boundBytes\":%llu,\"bounds\":{\"log\":%llu",
        (unsigned long long)tt_process_resident_bytes(), (unsigned long long)bound->total,
        (unsigned long long)bound->log);
    write_u64(w, "frames", b->frames);
    write_u64(w, "catchup", b->catchup);
    write_u64(w, "publish", b->publish);
    write_u64(w, "connections", b->connections);
    write_u64(w, "subscriptions", b->subscriptions);
    write_u64(w, "clients", b->clients);
    write_u64(w, "receive", b->receive);
    write_u64(w, "fixed", b->fixed);
    write_u64(w, "kafka", bound->kafka);
    write_u64(w, "process", bound->process);
    tt_write_text(w, "}}");
}

void tt_status_write(struct tt_writer *w, const struct tt_operations_view *view)
{
    const struct tt_config *c = view->config;
    tt_write_format(w, "{\"version\":\"" TT_VERSION "\",\"phase\":\"%s\"", phase_text(view));
    if (view->world != NULL)
        tt_write_format(w, ",\"history\":\"%s\"", view->world->topics[0].history.text);
    tt_write_format(w, ",\"io\":\"%s\",\"startedAt\":%lld,\"uptimeMs\":%lld", view->io_name,
                    (long long)view->started_ms, (long long)(view->now_ms - view->started_ms));
    write_memory(w, &view->memory);
    struct tt_acceptor_figures a = tt_acceptor_figures(view->acceptor);
    tt_write_format(w, ",\"accept\":{\"accepted\":%llu,\"refused\":%llu,\"overCap\":%llu",
                    (unsigned long long)a.accepted, (unsigned long long)a.refused,
                    (unsigned long long)a.over_cap);
    write_u64(w, "waiting", a.waiting);
    write_u64(w, "connectionsMax", view->connections_max);
    tt_write_text(w, "},\"log\":{\"directory\":");
    tt_write_json_string(w, tt_bytes_text(c->data));
    static const char *const syncs[] = {"always", "interval", "never"};
    tt_write_format(w, ",\"sync\":\"%s\"", syncs[c->log_sync]);
    uint64_t bytes = 0, segments = 0, channels = 0, kept = 0, unindexed = 0;
    uint64_t values = 0, indexes = 0;
    uint64_t shards = view->world != NULL ? view->world->shards_count : 0;
    for (uint32_t i = 0; i < shards; i++) {
        const struct tt_shard_metrics *m = tt_shard_metrics(view->world->shards[i]);
        bytes += tt_metric_get(&m->log_bytes);
        segments += tt_metric_get(&m->log_segments);
        channels += tt_metric_get(&m->log_channels);
        kept += tt_metric_get(&m->log_kept_bytes);
        unindexed += tt_metric_get(&m->log_unindexed);
        values += tt_metric_get(&m->log_values_bytes);
        indexes += tt_metric_get(&m->log_index_bytes);
    }
    write_u64(w, "bytes", bytes);
    write_u64(w, "segments", segments);
    write_u64(w, "unindexedSegments", unindexed);
    write_u64(w, "channels", channels);
    write_u64(w, "channelsMax", c->channels_max);
    write_u64(w, "keptBytes", kept);
    write_u64(w, "valuesMemoryBytes", values);
    write_u64(w, "indexMemoryBytes", indexes);
    write_u64(w, "freeBytes", tt_process_free_bytes(c->data));
    tt_write_char(w, '}');
    if (view->kafka != NULL) tt_status_kafka_write(w, view);
    tt_write_text(w, ",\"readiness\":");
    tt_status_write_readiness(w, view);
    tt_write_text(w, ",\"shards\":[");
    for (uint32_t i = 0; i < shards; i++) write_shard(w, view, i);
    tt_write_text(w, "],\"partitions\":[");
    bool first = true;
    for (uint32_t i = 0; view->world != NULL && i < view->world->partitions_count; i++) {
        if (view->kafka != NULL && !tt_status_kafka_is_partition(view, i)) continue;
        write_partition(w, view, i, first);
        first = false;
    }
    tt_write_text(w, "]}\n");
    TT_ASSERT(!w->overflow);
}
