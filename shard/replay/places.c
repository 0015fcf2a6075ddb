#include "shard/replay/places.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "shard/fanout/fanout.h"
#include "shard/replay/replay_internal.h"
#include "shard/shard_internal.h"

struct tt_places {
    struct tt_shard *shard;
    const struct tt_lookup_item *items;
    uint32_t partition;
    uint32_t count;
    uint32_t next;
};

enum tt_status tt_places_open(struct tt_places **out, struct tt_shard *shard, uint32_t partition,
                              const struct tt_lookup_item *items, uint32_t count,
                              void (*wake)(void *owner), void *owner)
{
    (void)wake, (void)owner;
    struct tt_places *p = calloc(1, sizeof *p);
    if (p == NULL) return TT_FULL;
    *p = (struct tt_places){shard, items, partition, count, 0};
    *out = p;
    return TT_OK;
}

/* What is in tail memory; everything else is gone. */
enum tt_status tt_places_next(struct tt_places *p, uint32_t *index, struct tt_record *record)
{
    if (p->next == p->count) return TT_END;
    *index = p->next++;
    struct tt_tail *tail = p->shard->world->partitions[p->partition].tail;
    uint64_t end = tt_fanout_place(p->shard, p->partition);
    uint64_t offset = p->items[*index].offset;
    uint64_t sequence = tt_tail_find(tail, p->shard->replay->first[p->partition], end, offset);
    const struct tt_tail_descriptor *run;
    while (sequence < end) {
        uint32_t count = tt_tail_run(tail, sequence, end, &run);
        for (uint32_t i = 0; i < count; i++, sequence++) {
            if (run[i].offset > offset) return TT_ENOENT;
            if (run[i].offset != offset || run[i].class != TT_RECORD_EVENT) continue;
            return tt_record_decode(tt_tail_record(tail, &run[i]), record);
        }
    }
    return TT_ENOENT;
}

void tt_places_close(struct tt_places **places)
{
    free(*places);
    *places = NULL;
}
