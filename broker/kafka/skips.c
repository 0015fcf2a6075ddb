#include "broker/kafka/skips.h"

void tt_kafka_skips_note(struct tt_kafka_skips *skips, struct tt_diag *diag, uint64_t now_ns,
                         const char *topic, int32_t partition, int64_t offset,
                         enum tt_kafka_skip reason)
{
    tt_metric_add(&skips->counts[reason], 1);
    if (now_ns < skips->next_ns_) {
        skips->unspoken_++;
        return;
    }
    char others[64] = "";
    struct tt_writer w = tt_writer(others, sizeof(others) - 1);
    if (skips->unspoken_ != 0)
        tt_write_format(&w, "; %llu more since the last such line",
                        (unsigned long long)skips->unspoken_);
    tt_diag_write(diag, TT_DIAG_WARN, NULL, "kafka_skipped",
                  "topic %.100s, partition %d, offset %lld is skipped (%s): the record %s%s", topic,
                  partition, (long long)offset, tt_kafka_skip_labels[reason],
                  tt_kafka_skip_texts[reason], others);
    skips->unspoken_ = 0;
    skips->next_ns_ = now_ns + TT_KAFKA_SKIPS_LINE_NS;
}

void tt_kafka_skips_write(struct tt_writer *w, const struct tt_kafka_skips *shards,
                          uint32_t shards_count)
{
    tt_write_text(w, "# HELP tickertape_kafka_skipped_total Records of Kafka that could not become "
                     "events, by reason.\n# TYPE tickertape_kafka_skipped_total counter\n");
    for (unsigned reason = 0; reason < TT_KAFKA_SKIPS; reason++) {
        uint64_t total = 0;
        for (uint32_t i = 0; i < shards_count; i++)
            total += tt_metric_get(&shards[i].counts[reason]);
        tt_write_format(w, "tickertape_kafka_skipped_total{reason=\"%s\"} %llu\n",
                        tt_kafka_skip_labels[reason], (unsigned long long)total);
    }
}
