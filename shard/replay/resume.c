#include "shard/replay/resume.h"

#include "proto/base/assert.h"

/* One call: what was asked, and what comes of it. */
struct resuming {
    const struct tt_resume_view *view;
    enum tt_subscribe_from from;
    struct tt_cursor cursor;
    struct tt_resume *resume;
    bool strangers; /* the cursor names histories that are not known here */
};

static void tell(struct tt_resume *resume, enum tt_resume_resync resync)
{
    if (resync > resume->resync) resume->resync = resync;
}

/* ---- starting without a cursor ---- */

static bool is_backfilling(const struct tt_resume_view *view, uint32_t p)
{
    return view->source != NULL && view->source[p].backfilling;
}

/* Everything that is published from now on: what the source has already is not. */
static uint64_t live(const struct tt_resume_view *view, uint32_t p, struct tt_resume *resume)
{
    if (!is_backfilling(view, p)) return view->next[p];
    uint64_t end = view->source[p].end;
    if (end == 0) resume->not_ready = true;
    return end > view->next[p] ? end : view->next[p];
}

static uint64_t start_of(const struct tt_resume_view *view, uint32_t p, enum tt_subscribe_from from,
                         struct tt_resume *resume)
{
    switch (from) {
    case TT_FROM_LIVE: return live(view, p, resume);
    case TT_FROM_SNAPSHOT:
    case TT_FROM_LAST:
    case TT_FROM_TIME:
        if (is_backfilling(view, p)) resume->not_ready = true;
        return view->next[p];
    case TT_FROM_EARLIEST: return view->oldest[p];
    }
    TT_UNREACHABLE();
}

static bool touches(const struct tt_resume *resume, uint32_t p)
{
    return resume->partition == TT_PARTITION_ALL || resume->partition == p;
}

static void start_fresh(const struct tt_resume_view *view, enum tt_subscribe_from from,
                        struct tt_resume *resume, uint64_t *pos)
{
    resume->fresh = true;
    for (uint32_t p = 0; p < view->topology->partitions_count; p++)
        if (touches(resume, p)) pos[p] = start_of(view, p, from, resume);
}

/* ---- starting by a cursor ---- */

/* Whether a topic of this world is in the cursor; notes histories that are not of this world. */
static bool knows_any(struct resuming *r)
{
    const struct tt_topology *t = r->view->topology;
    bool any = false;
    for (uint32_t i = 0; i < r->cursor.topics_count; i++) {
        bool known = false;
        for (uint32_t k = 0; k < t->topics_count && !known; k++)
            known = tt_history_equal(t->topics[k].history, r->cursor.topics[i].history);
        if (known)
            any = true;
        else
            r->strangers = true;
    }
    return any;
}

/* A narrow client stays narrow only with a cursor that is narrow in the same partition; a full
 * cursor keeps its client full, else its later ids would forget partitions that the cursor
 * promised. */
static uint32_t narrowness(const struct resuming *r, uint32_t partition)
{
    const struct tt_topology *t = r->view->topology;
    const struct tt_cursor *cursor = &r->cursor;
    if (partition == TT_PARTITION_ALL || tt_topology_is_single(t)) return partition;
    if (cursor->full || cursor->topics_count > 1) return TT_PARTITION_ALL;
    const struct tt_cursor_topic *topic = &cursor->topics[0];
    const struct tt_topology_local *own = tt_topology_local(t, partition);
    if (!tt_history_equal(topic->history, own->history)) return TT_PARTITION_ALL;
    for (uint32_t k = 0; k < topic->count; k++)
        if (k != own->number && cursor->next[topic->first + k] != TT_CURSOR_UNKNOWN)
            return TT_PARTITION_ALL;
    return partition;
}

/* A narrow cursor promises the others only as long as its topic's channels stay where they are. */
static bool was_repartitioned(const struct resuming *r, uint32_t index,
                              const struct tt_cursor_topic *topic)
{
    const struct tt_topology *t = r->view->topology;
    if (r->cursor.full || topic->bare || t->topics[index].fixed) return false;
    return t->seen[index].partitioner == TT_PARTITIONER_ANY ||
           t->seen[index].partitions != topic->partitions;
}

/* Where a partition starts of which the cursor says nothing. topic: its own in the cursor, null:
 * it is not in there. */
static uint64_t start_unknown(struct resuming *r, uint32_t p, uint32_t index,
                              const struct tt_cursor_topic *topic)
{
    /* No record of it was ever seen here: where it begins is where it is. */
    if (!tt_topology_is_seen(r->view->topology, p)) return r->view->next[p];
    if ((r->view->touched >> index & 1) == 0) return r->view->next[p];
    /* A history that is gone was the same topic's, as likely as not. */
    if (topic == NULL && r->strangers) {
        tell(r->resume, TT_RESUME_HISTORY);
        if (r->from == TT_FROM_EARLIEST) return r->view->oldest[p];
    } else if (topic != NULL && was_repartitioned(r, index, topic)) {
        tell(r->resume, TT_RESUME_REPARTITIONED);
    } else {
        tell(r->resume, TT_RESUME_PARTIAL);
    }
    return live(r->view, p, r->resume);
}

static uint64_t start_by_cursor(struct resuming *r, uint32_t p, uint32_t index,
                                const struct tt_cursor_topic *topic)
{
    const struct tt_topology *t = r->view->topology;
    uint64_t next = topic == NULL
                        ? TT_CURSOR_UNKNOWN
                        : tt_cursor_next(&r->cursor, topic, tt_topology_local(t, p)->number);
    if (next == TT_CURSOR_UNKNOWN) return start_unknown(r, p, index, topic);
    if (next == TT_CURSOR_BEGINNING) return 0;
    if (next > r->view->head[p] && t->topics[index].fixed) {
        /* Nobody else can have written it, so a backup was restored. */
        tell(r->resume, TT_RESUME_AHEAD);
        return r->view->next[p];
    }
    return next;
}

void tt_resume(const struct tt_resume_view *view, uint32_t partition, struct tt_bytes text,
               enum tt_subscribe_from from, struct tt_cursor_storage *storage,
               struct tt_resume *resume, uint64_t *pos)
{
    const struct tt_topology *t = view->topology;
    TT_ASSERT(partition == TT_PARTITION_ALL || partition < t->partitions_count);
    *resume = (struct tt_resume){.partition = partition};
    if (text.size == 0) {
        start_fresh(view, from, resume, pos);
        return;
    }
    struct resuming r = {.view = view, .from = from, .resume = resume};
    tt_cursor_init(&r.cursor, storage);
    if (tt_cursor_parse(text, &r.cursor) != TT_OK || !knows_any(&r)) {
        tell(resume, TT_RESUME_HISTORY);
        start_fresh(view, from, resume, pos);
        return;
    }
    resume->partition = narrowness(&r, partition);
    bool expired = false;
    for (uint32_t i = 0; i < t->topics_count; i++) {
        uint32_t first = t->topics[i].first, end = first + t->topics[i].capacity;
        const struct tt_cursor_topic *topic = tt_cursor_find(&r.cursor, t->topics[i].history);
        if (topic != NULL && topic->count > t->topics[i].capacity) resume->dropped = true;
        for (uint32_t p = first; p < end; p++) {
            if (!touches(resume, p)) continue;
            pos[p] = start_by_cursor(&r, p, i, topic);
            if (pos[p] < view->oldest[p]) expired = true; /* told by the catch-up, in order */
        }
    }
    resume->repeat_cursor = resume->resync == TT_RESUME_EXACT && !expired;
}

const char *tt_resume_resync_text(enum tt_resume_resync resync)
{
    switch (resync) {
    case TT_RESUME_HISTORY: return "history";
    case TT_RESUME_AHEAD: return "ahead";
    case TT_RESUME_PARTIAL: return "partial";
    case TT_RESUME_REPARTITIONED: return "repartitioned";
    case TT_RESUME_EXACT: break;
    }
    TT_UNREACHABLE();
}
