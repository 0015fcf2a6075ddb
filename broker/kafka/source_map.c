/* The source's way from records to events. */
#include <stdlib.h>

#include "broker/kafka/source_internal.h"

#define SCRATCH_BYTES                                                                              \
    (256u << 10) /* besides what one event may need: of the events of one poll                     \
                  */

enum tt_status tt_kafka_source_map_create(struct tt_kafka_source *s, struct tt_kafka_side *side)
{
    size_t bytes = SCRATCH_BYTES;
    for (uint32_t i = 0; i < s->plan->count; i++) {
        size_t needed = TT_KAFKA_MAP_BYTES_MAX(s->plan->topics[i].settings.event_bytes_max);
        if (needed > bytes) bytes = needed;
    }
    uint8_t *memory = malloc(bytes);
    if (memory == NULL) return TT_ENOMEM;
    side->scratch = tt_writer(memory, bytes);
    return TT_OK;
}

void tt_kafka_source_map_destroy(struct tt_kafka_side *side)
{
    free(side->scratch.data);
}

bool tt_kafka_source_map(struct tt_kafka_source *s, struct tt_kafka_side *side,
                         const struct tt_kafka_message *m, struct tt_source_item *item)
{
    const struct tt_partition *p = &s->world->partitions[item->partition];
    const struct tt_kafka_topic_settings *settings = &s->plan->topics[p->topic].settings;
    struct tt_kafka_header headers[TT_KAFKA_HEADERS_READ_MAX];
    enum tt_kafka_skip skip = TT_KAFKA_SKIPS;
    struct tt_shard *shard = s->world->shards[p->owner];
    uint32_t count = tt_kafka_wants_headers(settings, m)
                         ? s->module->headers(m, headers, TT_KAFKA_HEADERS_READ_MAX)
                         : 0;
    enum tt_status status =
        tt_kafka_map(settings, m, headers, count, &side->scratch, &item->event, &skip);
    if (status == TT_FULL) return false;
    if (status != TT_OK) {
        item->kind = TT_SOURCE_SKIP;
        tt_kafka_skips_note(&s->skips[p->owner], tt_shard_diag(shard), tt_shard_now_ns(shard),
                            settings->name, (int32_t)p->number, m->offset, skip);
        return true;
    }
    item->kind = TT_SOURCE_EVENT;
    item->misplaced =
        tt_kafka_is_misplaced(settings, m, &item->event, p->number,
                              atomic_load_explicit(&s->partitions[p->topic], memory_order_relaxed));
    if (item->misplaced &&
        !atomic_exchange_explicit(&s->misplaced[p->topic], true, memory_order_relaxed))
        s->wake(s->context);
    return true;
}
