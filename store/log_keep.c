/* The lane KEEP: which background job is due, and what its end means. */
#include "proto/base/assert.h"
#include "store/log_internal.h"

/* ---- which job ---- */

/* The oldest index in memory whose segment is sealed and synced. */
static bool begin_index(struct tt_log *log, const struct tt_log_now *now)
{
    for (uint32_t i = 0; i < log->indexes_count; i++) {
        struct tt_log_index *x = &log->indexes[i];
        const struct tt_segment *s = tt_segment_list_at(&log->segments, x->base_place);
        if (s == NULL || s->end_place == TT_SEGMENT_GROWS) return false;
        if (log->sealed.file != TT_LOG_FILE_NONE && log->sealed.segment.base_place == s->base_place)
            return false;
        if (s->no_index || tt_index_broken(x->index)) {
            /* Too large to be kept: nobody can use it. */
            tt_log_index_drop(log, x->base_place);
            i--;
            continue;
        }
        if (log->carried == s->base_place) continue; /* about to be removed */
        x->lent = true;
        if (tt_keep_index(log->keep, now, s, x->index) == TT_OK) return true;
        x->lent = false;
        return false;
    }
    return false;
}

/* The newest of those that have none: it is asked for most. */
static bool begin_rebuild(struct tt_log *log, const struct tt_log_now *now)
{
    if (log->unindexed == 0) return false;
    for (uint32_t i = log->segments.count; i > 0; i--) {
        const struct tt_segment *s = &log->segments.items[i - 1];
        if (s->end_place == TT_SEGMENT_GROWS || s->indexed || s->no_index) continue;
        if (log->sealed.file != TT_LOG_FILE_NONE && log->sealed.segment.base_place == s->base_place)
            continue;
        if (log->carried == s->base_place || tt_log_index_at(log, s->base_place) != NULL) continue;
        return tt_keep_rebuild(log->keep, now, s, log->index_bytes_max / 2) == TT_OK;
    }
    return false;
}

static void begin_job(struct tt_log *log, const struct tt_log_now *now)
{
    if (log->closing != TT_LOG_CLOSING_NOT || tt_keep_busy(log->keep)) return;
    if (log->carried == TT_LOG_NOT_CARRIED && tt_log_retire_due(log, now) &&
        tt_keep_carry(log->keep, now, &log->segments.items[0]) == TT_OK)
        return;
    if (!begin_index(log, now)) (void)begin_rebuild(log, now);
}

/* ---- what became of it ---- */

static void indexed(struct tt_log *log, const struct tt_segment *segment)
{
    struct tt_segment *s = tt_segment_list_at(&log->segments, segment->base_place);
    tt_log_index_drop(log, segment->base_place);
    if (s == NULL) return; /* retired meanwhile */
    if (!s->indexed && !s->no_index) log->unindexed--;
    s->indexed = true;
    tt_log_notify(log, TT_LOG_SEGMENT_INDEXED, s);
}

static void not_indexed(struct tt_log *log, const struct tt_keep_result *r)
{
    struct tt_segment *s = tt_segment_list_at(&log->segments, r->segment.base_place);
    struct tt_log_index *x = tt_log_index_at(log, r->segment.base_place);
    if (x != NULL) x->lent = false;
    bool never = r->status == TT_ECORRUPT || r->status == TT_EVERSION || r->status == TT_ENOMEM;
    if (s != NULL && never && !s->no_index && !s->indexed) {
        /* It would fail again: such a segment is read whole. */
        s->no_index = true;
        log->unindexed--;
        log->index_failures++;
    }
}

static void take_results(struct tt_log *log)
{
    struct tt_keep_result r;
    while (tt_log_notices_have_room(log, 3) && tt_keep_take_result(log->keep, &r) == TT_OK) {
        switch (r.event) {
        case TT_KEEP_INDEXED: indexed(log, &r.segment); break;
        case TT_KEEP_UNINDEXED: not_indexed(log, &r); break;
        case TT_KEEP_CARRIED: log->carried = r.segment.base_place; break;
        case TT_KEEP_NOT_CARRIED: break;
        }
    }
}

/* ---- the lane ---- */

static struct tt_keep_view view_of(const struct tt_log *log)
{
    const struct tt_segment_list *l = log->segments.count != 0 ? &log->segments : &log->planned;
    return (struct tt_keep_view){
        .durable_place = log->durable_whole,
        .oldest_offset = l->count != 0 ? l->items[0].first_offset : log->next_offset,
        .oldest_place = l->count != 0 ? l->items[0].base_place : log->place,
        .next_offset = log->next_offset,
        .place = log->place,
        .newest_place = log->segment_base,
        .directory_file = log->directory_file,
    };
}

bool tt_log_keep_next(struct tt_log *log, const struct tt_log_now *now, struct tt_log_operation *op)
{
    const struct tt_keep_view view = view_of(log);
    take_results(log);
    begin_job(log, now);
    struct tt_log_operation asked = {.file = TT_LOG_FILE_NONE};
    enum tt_status status = tt_keep_next(log->keep, now, &view, &asked);
    take_results(log);
    if (status != TT_OK) return false;
    *op = asked;
    op->lane = TT_LOG_LANE_KEEP;
    return true;
}

void tt_log_keep_done(struct tt_log *log, int32_t result, const struct tt_log_now *now)
{
    tt_keep_done(log->keep, result, now);
    take_results(log);
}
