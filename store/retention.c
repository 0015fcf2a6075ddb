#include "store/retention.h"

uint32_t tt_retention_due(const struct tt_retention *retention, const struct tt_segment_list *list,
                          uint64_t active_bytes, int64_t wall_us)
{
    if (list->count == 0) return 0;
    uint64_t bytes = tt_segment_list_sealed_bytes(list) + active_bytes;
    int64_t age_us = retention->ms > INT64_MAX / 1000 ? INT64_MAX : (int64_t)retention->ms * 1000;
    uint32_t due = 0;
    while (due < list->count && list->items[due].end_place != TT_SEGMENT_GROWS) {
        const struct tt_segment *s = &list->items[due];
        /* taken_max_us covers all segments before too, so a clock that jumped ahead and back keeps
         * segments longer, never shorter. */
        bool old = s->taken_max_us != INT64_MIN && wall_us > s->taken_max_us &&
                   wall_us - s->taken_max_us > age_us;
        if (!old && bytes <= retention->bytes) break;
        bytes -= s->end_place - s->base_place;
        due++;
    }
    return due;
}

int64_t tt_retention_segment_us(const struct tt_retention *retention)
{
    uint64_t ms = retention->ms / 4;
    if (ms < 1000) ms = 1000;
    return ms > INT64_MAX / 1000 ? INT64_MAX : (int64_t)ms * 1000;
}
