#include "shard/replay/resume.h"

#include "proto/base/assert.h"

static uint64_t start_of(const struct tt_resume_view *view, uint32_t p, enum tt_subscribe_from from)
{
    switch (from) {
    case TT_FROM_LIVE:
    case TT_FROM_SNAPSHOT:
    case TT_FROM_LAST:
    case TT_FROM_TIME: return view->next[p];
    case TT_FROM_EARLIEST: return view->oldest[p];
    }
    TT_UNREACHABLE();
}

static void start_fresh(const struct tt_resume_view *view, enum tt_subscribe_from from,
                        struct tt_resume *resume, uint64_t *pos)
{
    resume->fresh = true;
    for (uint32_t p = 0; p < view->partitions; p++)
        if (resume->partition == TT_PARTITION_ALL || resume->partition == p)
            pos[p] = start_of(view, p, from);
}

/* A narrow client stays narrow only with a cursor that is narrow in the same partition; a full
 * cursor keeps its client full, else its later ids would forget partitions that the cursor
 * promised. */
static uint32_t narrowness(const struct tt_resume_view *view, uint32_t partition,
                           const struct tt_cursor *cursor, const struct tt_cursor_topic *topic)
{
    if (partition == TT_PARTITION_ALL || view->partitions == 1) return partition;
    if (cursor->full || cursor->topics_count > 1) return TT_PARTITION_ALL;
    for (uint32_t p = 0; p < topic->count; p++)
        if (p != partition && cursor->next[topic->first + p] != TT_CURSOR_UNKNOWN)
            return TT_PARTITION_ALL;
    return partition;
}

void tt_resume(const struct tt_resume_view *view, uint32_t partition, struct tt_bytes text,
               enum tt_subscribe_from from, struct tt_cursor_storage *storage,
               struct tt_resume *resume, uint64_t *pos)
{
    TT_ASSERT(partition == TT_PARTITION_ALL || partition < view->partitions);
    *resume = (struct tt_resume){.partition = partition};
    if (text.size == 0) {
        start_fresh(view, from, resume, pos);
        return;
    }
    struct tt_cursor cursor;
    tt_cursor_init(&cursor, storage);
    const struct tt_cursor_topic *topic = NULL;
    if (tt_cursor_parse(text, &cursor) == TT_OK) topic = tt_cursor_find(&cursor, view->history);
    if (topic == NULL) {
        resume->resync = TT_RESUME_HISTORY;
        start_fresh(view, from, resume, pos);
        return;
    }
    resume->partition = narrowness(view, partition, &cursor, topic);
    bool expired = false;
    for (uint32_t p = 0; p < view->partitions; p++) {
        if (resume->partition != TT_PARTITION_ALL && resume->partition != p) continue;
        uint64_t next = tt_cursor_next(&cursor, topic, p);
        if (next == TT_CURSOR_UNKNOWN) {
            if (resume->resync == TT_RESUME_EXACT) resume->resync = TT_RESUME_PARTIAL;
            next = view->next[p];
        } else if (next == TT_CURSOR_BEGINNING) {
            next = 0;
        } else if (next > view->head[p]) {
            /* Embedded mode: nobody else can have written it, so a backup was restored. */
            resume->resync = TT_RESUME_AHEAD;
            next = view->next[p];
        }
        if (next < view->oldest[p]) expired = true; /* told by the catch-up, in order */
        pos[p] = next;
    }
    resume->repeat_cursor = resume->resync == TT_RESUME_EXACT && !expired;
}

const char *tt_resume_resync_text(enum tt_resume_resync resync)
{
    switch (resync) {
    case TT_RESUME_HISTORY: return "history";
    case TT_RESUME_AHEAD: return "ahead";
    case TT_RESUME_PARTIAL: return "partial";
    case TT_RESUME_EXACT: break;
    }
    TT_UNREACHABLE();
}
