#include "broker/metrics.h"

#include "broker/metrics_kafka.h"
#include "broker/process.h"
#include "proto/base/assert.h"
#include "shard/io/faults.h"

enum type { COUNTER, GAUGE };
enum scope { SUM, SHARD };
enum unit { ONE, NS };

struct row {
    size_t offset; /* in struct tt_shard_metrics */
    enum type type;
    enum scope scope;
    enum unit unit;
    const char *family;
    const char *labels;
    const char *help;
};

static const struct row rows[] = {
#define TT_METRIC(field, type, scope, unit, family, labels, help)                                  \
    {offsetof(struct tt_shard_metrics, field), type, scope, unit, family, labels, help},
#include "shard/metrics.def"
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

struct histogram_row {
    size_t offset;
    const char *family;
    const char *help;
};
static const struct histogram_row histograms[] = {
#define TT_METRIC_HISTOGRAM(field, family, help)                                                   \
    {offsetof(struct tt_shard_metrics, field), family, help},
#include "shard/metrics.def"
};
#define HISTOGRAMS (sizeof(histograms) / sizeof(histograms[0]))

static const struct histogram_row reasons[] = {
#define TT_METRIC_REASONS(field, family, help)                                                     \
    {offsetof(struct tt_shard_metrics, field), family, help},
#include "shard/metrics.def"
};

/* Figures of a partition that a source fills, each the next offset of something. */
static const struct {
    const char *family, *help;
    size_t offset; /* in struct tt_partition */
} sourced[] = {
    {"kafka_end_offset", "Kafka's end of the partition, as last seen.",
     offsetof(struct tt_partition, source_end)},
    {"kafka_next_offset", "The next offset that the mirror wants of the partition.",
     offsetof(struct tt_partition, mirror_next)},
    {"kafka_read_offset", "Up to where every shard has read the partition's mirror.",
     offsetof(struct tt_partition, read_next)},
};
#define SOURCED              (sizeof(sourced) / sizeof(sourced[0]))
#define PARTITION_FAMILIES   (SOURCED + 2)
#define PARTITION_LINE_BYTES 384u /* a topic's name has 249 bytes at most */

size_t tt_metrics_bytes_max(uint32_t shards_count, uint32_t partitions_count)
{
    size_t lines = ROWS * (1 + (size_t)shards_count) + HISTOGRAMS * (TT_METRIC_BOUNDS + 3) +
                   TT_CLOSE_REASONS + 64;
    return lines * 256 + TT_METRICS_KAFKA_BYTES +
           (size_t)partitions_count * PARTITION_FAMILIES * PARTITION_LINE_BYTES;
}

static const void *at(const struct tt_operations_view *view, uint32_t shard, size_t offset)
{
    return (const char *)tt_shard_metrics(view->world->shards[shard]) + offset;
}

static uint64_t sum(const struct tt_operations_view *view, size_t offset)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < view->world->shards_count; i++)
        total += tt_metric_get((const tt_metric *)at(view, i, offset));
    return total;
}

void tt_metrics_write_family(struct tt_writer *w, const char *family, const char *type,
                             const char *help)
{
    tt_write_format(w, "# HELP tickertape_%s %s\n# TYPE tickertape_%s %s\n", family, help, family,
                    type);
}

static void write_value(struct tt_writer *w, uint64_t value, enum unit unit)
{
    if (unit == NS)
        tt_write_format(w, "%llu.%09llu\n", (unsigned long long)(value / 1000000000),
                        (unsigned long long)(value % 1000000000));
    else
        tt_write_format(w, "%llu\n", (unsigned long long)value);
}

static void write_rows(struct tt_writer *w, const struct tt_operations_view *view)
{
    for (size_t i = 0; i < ROWS; i++) {
        const struct row *r = &rows[i];
        if (i == 0 || strcmp(rows[i - 1].family, r->family) != 0)
            tt_metrics_write_family(w, r->family, r->type == COUNTER ? "counter" : "gauge",
                                    r->help);
        if (r->scope == SUM) {
            bool labels = r->labels[0] != '\0';
            tt_write_format(w, "tickertape_%s%s%s%s ", r->family, labels ? "{" : "", r->labels,
                            labels ? "}" : "");
            write_value(w, sum(view, r->offset), r->unit);
            continue;
        }
        for (uint32_t shard = 0; shard < view->world->shards_count; shard++) {
            tt_write_format(w, "tickertape_%s{shard=\"%u\"} ", r->family, shard);
            write_value(w, tt_metric_get((const tt_metric *)at(view, shard, r->offset)), r->unit);
        }
    }
}

static void write_reasons(struct tt_writer *w, const struct tt_operations_view *view)
{
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        tt_metrics_write_family(w, reasons[i].family, "counter", reasons[i].help);
        for (unsigned reason = TT_CLOSE_NONE + 1; reason < TT_CLOSE_REASONS; reason++)
            tt_write_format(
                w, "tickertape_%s{reason=\"%s\"} %llu\n", reasons[i].family,
                tt_close_reason_text((enum tt_close_reason)reason),
                (unsigned long long)sum(view, reasons[i].offset + reason * sizeof(tt_metric)));
    }
}

static void write_histograms(struct tt_writer *w, const struct tt_operations_view *view)
{
    for (size_t i = 0; i < HISTOGRAMS; i++) {
        const struct histogram_row *h = &histograms[i];
        uint64_t count = 0;
        tt_metrics_write_family(w, h->family, "histogram", h->help);
        for (unsigned b = 0; b <= TT_METRIC_BOUNDS; b++) {
            count += sum(view, h->offset + offsetof(struct tt_metric_histogram, buckets) +
                                   b * sizeof(tt_metric));
            if (b < TT_METRIC_BOUNDS)
                tt_write_format(w, "tickertape_%s_bucket{le=\"%g\"} %llu\n", h->family,
                                tt_metric_bounds_us[b] / 1e6, (unsigned long long)count);
        }
        tt_write_format(w, "tickertape_%s_bucket{le=\"+Inf\"} %llu\n", h->family,
                        (unsigned long long)count);
        tt_write_format(w, "tickertape_%s_sum ", h->family);
        write_value(w, sum(view, h->offset + offsetof(struct tt_metric_histogram, sum_ns)), NS);
        tt_write_format(w, "tickertape_%s_count %llu\n", h->family, (unsigned long long)count);
    }
}

static void write_one(struct tt_writer *w, const char *family, const char *type, uint64_t value,
                      const char *help)
{
    if (value == UINT64_MAX) return; /* not known */
    tt_metrics_write_family(w, family, type, help);
    tt_write_format(w, "tickertape_%s %llu\n", family, (unsigned long long)value);
}

/* Of --test-fault; without it there are none of these. */
static void write_faults(struct tt_writer *w, const struct tt_operations_view *view)
{
    uint64_t struck = 0;
    if (view->faults == NULL) return;
    for (unsigned i = 0; i < tt_faults_count(view->faults); i++)
        struck += tt_faults_figures(view->faults, i).struck;
    write_one(w, "test_faults_total", "counter", struck, "Operations on files struck by a test.");
}

static void write_process(struct tt_writer *w, const struct tt_operations_view *view)
{
    struct tt_acceptor_figures a = tt_acceptor_figures(view->acceptor);
    tt_metrics_write_family(w, "build_info", "gauge", "Version and interface to the kernel.");
    tt_write_format(w, "tickertape_build_info{version=\"" TT_VERSION "\",io=\"%s\"} 1\n",
                    view->io_name);
    write_one(w, "ready", "gauge", tt_operations_ready(view), "1 when /readyz says 200.");
    write_one(w, "uptime_seconds", "gauge", (uint64_t)(view->now_ms - view->started_ms) / 1000,
              "Time since the start.");
    write_one(w, "memory_bound_bytes", "gauge", view->memory.total,
              "Most memory that the configuration allows, whatever clients do.");
    write_one(w, "resident_bytes", "gauge", tt_process_resident_bytes(), "Resident memory.");
    write_one(w, "log_free_bytes", "gauge", tt_process_free_bytes(view->config->data),
              "Free bytes of the log's file system.");
    write_one(w, "accepted_total", "counter", a.accepted, "Connections accepted.");
    write_one(w, "refused_total", "counter", a.refused,
              "Connections answered 503 before any shard had them.");
    write_one(w, "over_cap_total", "counter", a.over_cap,
              "Connections accepted only to be told that the broker is full.");
    write_one(w, "accept_starved_total", "counter", a.starved,
              "Times that accepting paused for want of descriptors.");
    write_one(w, "accept_waiting", "gauge", a.waiting,
              "Accepted connections that wait for a shard.");
    write_one(w, "diag_dropped_total", "counter", tt_logger_dropped(view->logger),
              "Log lines lost because standard error was too slow.");
    write_one(w, "diag_suppressed_total", "counter", tt_logger_suppressed(view->logger),
              "Log lines left out by the rate limit.");
    write_one(w, "reloads_total", "counter", view->reloads, "Configurations taken by SIGHUP.");
    write_one(w, "reload_errors_total", "counter", view->reload_errors,
              "Configurations that SIGHUP did not take.");
    write_faults(w, view);
}

static void write_busy(struct tt_writer *w, const struct tt_operations_view *view)
{
    tt_metrics_write_family(w, "shard_busy_ratio", "gauge",
                            "Share of the last second in which the shard's loop did not wait.");
    for (uint32_t i = 0; i < view->world->shards_count; i++)
        tt_write_format(w, "tickertape_shard_busy_ratio{shard=\"%u\"} %.4f\n", i,
                        view->busy_ratio[i]);
}

static void write_of_partition(struct tt_writer *w, const struct tt_operations_view *view,
                               const char *family, const struct tt_partition *p, uint64_t value)
{
    tt_write_format(w, "tickertape_%s{topic=\"%s\",partition=\"%u\"} %llu\n", family,
                    view->world->topics[p->topic].name, p->number, (unsigned long long)value);
}

/* A slot in which no partition was seen yet is none. */
static bool is_there(const struct tt_operations_view *view, const struct tt_partition *p)
{
    return p->number < view->world->topics[p->topic].partitions ||
           tt_metric_get(&p->mirror_next) != 0 || tt_metric_get(&p->source_end) != 0;
}

static void write_sourced(struct tt_writer *w, const struct tt_operations_view *view)
{
    const struct tt_world *world = view->world;
    const struct tt_partition *end = world->partitions + world->partitions_count;
    if (world->source == NULL) return;
    for (size_t i = 0; i < SOURCED; i++) {
        tt_metrics_write_family(w, sourced[i].family, "gauge", sourced[i].help);
        for (const struct tt_partition *p = world->partitions; p < end; p++)
            if (is_there(view, p))
                write_of_partition(
                    w, view, sourced[i].family, p,
                    tt_metric_get((const tt_metric *)((const char *)p + sourced[i].offset)));
    }
    tt_metrics_write_family(w, "kafka_lag", "gauge",
                            "What Kafka has and not every shard has read yet.");
    for (const struct tt_partition *p = world->partitions; p < end; p++) {
        uint64_t last = tt_metric_get(&p->source_end), read = tt_metric_get(&p->read_next);
        if (is_there(view, p))
            write_of_partition(w, view, "kafka_lag", p, last > read ? last - read : 0);
    }
    tt_metrics_write_family(w, "kafka_backfilling", "gauge",
                            "1 until the mirror has come to Kafka's end for the first time.");
    for (const struct tt_partition *p = world->partitions; p < end; p++)
        if (is_there(view, p))
            write_of_partition(w, view, "kafka_backfilling", p, tt_metric_get(&p->backfilling));
}

void tt_metrics_write(struct tt_writer *w, const struct tt_operations_view *view)
{
    write_process(w, view);
    if (view->kafka != NULL) tt_metrics_kafka_write(w, view);
    if (view->world == NULL) return;
    write_rows(w, view);
    write_reasons(w, view);
    write_histograms(w, view);
    write_busy(w, view);
    write_sourced(w, view);
    TT_ASSERT(!w->overflow);
}
