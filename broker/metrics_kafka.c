#include "broker/metrics_kafka.h"

#include "broker/kafka/watch.h"
#include "broker/metrics.h"

void tt_metrics_kafka_write(struct tt_writer *w, const struct tt_operations_view *view)
{
    struct tt_kafka_figures f;
    struct tt_kafka_news news;
    tt_kafka_watch_figures(view->kafka, &f);
    tt_kafka_watch_news(view->kafka, &news);
    tt_metrics_write_family(w, "kafka_mirror_resets_total", "counter",
                            "Mirrors, or partitions of them, that were given up, by reason.");
    for (unsigned i = 0; i < TT_KAFKA_RESETS; i++)
        tt_write_format(w, "tickertape_kafka_mirror_resets_total{reason=\"%s\"} %llu\n",
                        tt_kafka_reset_text((enum tt_kafka_reset)i),
                        (unsigned long long)f.resets[i]);
    tt_metrics_write_family(w, "kafka_stale", "gauge",
                            "1 while what Kafka has may be missing here.");
    tt_write_format(w, "tickertape_kafka_stale %d\n", news.stale || news.away);
    tt_metrics_write_family(w, "kafka_lives_total", "counter",
                            "Times that the world was made: the start, and what changed since.");
    tt_write_format(w, "tickertape_kafka_lives_total %llu\n", (unsigned long long)f.lives);
    tt_metrics_write_family(w, "kafka_brokers", "gauge", "Brokers that Kafka told of last.");
    tt_write_format(w, "tickertape_kafka_brokers %u\n", f.brokers);
    tt_kafka_watch_write_skipped(view->kafka, w);
}
