#include "shard/replay/age.h"

#include "shard/replay/replay_internal.h"

#define RECORDS_MAX 16u /* that are looked at, because holes have no time */

/* The first event in memory from this sequence on. */
static bool taken_in_memory(const struct tt_tail *tail, uint64_t sequence, int64_t *taken_us)
{
    uint64_t end = tt_tail_head(tail);
    for (uint32_t looked = 0; sequence < end && looked < RECORDS_MAX; looked++, sequence++) {
        const struct tt_tail_descriptor *run;
        struct tt_record record;
        if (tt_tail_run(tail, sequence, end, &run) == 0) return false;
        if (tt_record_decode(tt_tail_record(tail, run), &record) != TT_OK) return false;
        if (record.class != TT_RECORD_EVENT) continue;
        *taken_us = record.event.taken_us;
        return true;
    }
    return false;
}

/* Records are taken in their order, at a pace that is not known: as if it were even. */
static bool taken_in_segment(struct tt_shard *shard, uint32_t partition, uint64_t offset,
                             int64_t *taken_us)
{
    struct tt_views *views = shard->replay->views;
    struct tt_view *view = tt_views_at(views, partition, offset);
    if (view == NULL) return false;
    uint64_t from = view->segment.first_offset, to = tt_view_end_offset(views, view);
    const struct tt_view *before = tt_views_below(views, partition, from);
    int64_t early = before == NULL ? INT64_MIN : before->segment.taken_max_us;
    int64_t late = view->segment.taken_max_us;
    if (!tt_view_sealed(view)) {
        to = shard->replay->first_offset[partition];
        if (!taken_in_memory(shard->world->partitions[partition].tail,
                             shard->replay->first[partition], &late))
            late = shard->wall_us;
    }
    if (late == INT64_MIN) return false;
    if (early == INT64_MIN || early > late || to <= from || offset < from) early = late;
    double part = to <= from ? 1 : (double)(offset - from) / (double)(to - from);
    *taken_us = early + (int64_t)((double)(late - early) * (part > 1 ? 1 : part));
    return true;
}

bool tt_replay_age_us(struct tt_shard *shard, uint32_t partition, uint64_t offset, int64_t *age_us)
{
    const struct tt_tail *tail = shard->world->partitions[partition].tail;
    uint64_t first = shard->replay->first[partition];
    int64_t taken_us;
    *age_us = 0;
    if (offset >= tt_tail_head_offset(tail)) return true;
    bool known = offset >= shard->replay->first_offset[partition]
                     ? taken_in_memory(tail, tt_tail_find(tail, first, tt_tail_head(tail), offset),
                                       &taken_us)
                     : taken_in_segment(shard, partition, offset, &taken_us);
    if (known) *age_us = shard->wall_us - taken_us;
    return known;
}
