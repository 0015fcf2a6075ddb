#include "store/log_internal.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "proto/base/hash.h"
#include "store/record.h"

uint64_t tt_log_reclaim_place(const struct tt_log *log)
{
    return log->policy == TT_LOG_ALWAYS ? log->durable_place : log->written_place;
}

bool tt_log_no_space(const struct tt_log *log)
{
    for (int lane = 0; lane < TT_LOG_LANES; lane++)
        if (log->stalled[lane]) return true;
    return false;
}

#define PREFETCH_BYTES_MAX 2048u
#define PREFETCH_EVENTS    8u
#define INDEX_BYTES_MIN    ((size_t)8 << 20)
/* What a job of keep.h takes at most: two windows that hold the largest record, and a batch. */
#define KEEP_BYTES ((uint64_t)12 << 20)
_Static_assert((int)TT_INDEX_NEVER_CONFLATE == (int)TT_EVENT_NEVER_CONFLATE &&
                   (int)TT_INDEX_DELETE == (int)TT_EVENT_OP_DELETE &&
                   (int)TT_VALUES_NEVER_CONFLATE == (int)TT_EVENT_NEVER_CONFLATE &&
                   (int)TT_VALUES_DELETE == (int)TT_EVENT_OP_DELETE,
               "an event's flags mean the same in its record, its value and its index");

/* ---- where records go ---- */

/* A position in the log as it would be after appending; planning walks a copy of it. */
struct cursor {
    uint64_t place;
    uint64_t window_end;
    uint64_t segment_base;
    bool segment_begun;
    bool segment_used;
};

/* A segment begins with what it is and with what was durable then: recovery needs no more of it. */
#define SEGMENT_BEGINS_BYTES (TT_RECORD_SEGMENT_BYTES + TT_RECORD_BATCH_BYTES)

/* What stands before a record that does not fit into the window. */
struct opening {
    uint32_t chunks; /* 0: it fits */
    bool segment;
    uint32_t header_bytes;
};

static uint32_t chunks_for(uint64_t bytes)
{
    return (uint32_t)((bytes + TT_CHUNK_BYTES - 1) / TT_CHUNK_BYTES);
}

static struct opening opening_for(const struct tt_log *log, const struct cursor *c, uint64_t bytes)
{
    if (c->place + bytes <= c->window_end) return (struct opening){0};
    struct opening o = {.header_bytes = TT_RECORD_CHUNK_BYTES};
    o.chunks = chunks_for(o.header_bytes + bytes);
    uint64_t end = c->window_end + (uint64_t)o.chunks * TT_CHUNK_BYTES;
    /* A record that is larger than a segment makes its segment longer. So does one that meets a
     * segment without a record: two cannot begin at the same offset. */
    o.segment =
        !c->segment_begun || (end - c->segment_base > log->segment_bytes && c->segment_used);
    if (o.segment) {
        o.header_bytes = SEGMENT_BEGINS_BYTES;
        o.chunks = chunks_for(o.header_bytes + bytes);
    }
    return o;
}

static void move(struct cursor *c, const struct opening *o, uint64_t bytes)
{
    if (o->chunks != 0) {
        c->place = c->window_end;
        c->window_end += (uint64_t)o->chunks * TT_CHUNK_BYTES;
        if (o->segment) {
            c->segment_base = c->place;
            c->segment_begun = true;
        }
        c->place += o->header_bytes;
    }
    c->place += bytes;
    c->segment_used = true;
}

static struct cursor cursor_of(const struct tt_log *log)
{
    return (struct cursor){log->place, log->window_end, log->segment_base, log->segment_begun,
                           log->segment_used};
}

static void pass(struct tt_log *log, uint32_t bytes)
{
    log->window += bytes;
    log->place += bytes;
    TT_ASSERT(log->place <= log->window_end);
}

static void put_batch(struct tt_log *log, int64_t taken_us)
{
    pass(log, tt_record_encode_batch(log->window, log->next_offset, taken_us, log->place,
                                     log->durable_end, log->durable_offset));
    log->batch_due = false;
}

/* Ends the window with a pad and opens the next, with its header. */
static void open_window(struct tt_log *log, const struct opening *o, int64_t wall_us)
{
    uint64_t left = log->window_end - log->place;
    if (left != 0) (void)tt_record_encode_pad(log->window, (uint32_t)left);
    log->place = log->window_end;
    uint8_t *window = tt_tail_open_chunks(log->tail, log->place, o->chunks);
    TT_ASSERT(window != NULL); /* it was planned */
    uint64_t place = log->place;
    log->window = window;
    log->window_end = place + (uint64_t)o->chunks * TT_CHUNK_BYTES;
    if (!o->segment) {
        pass(log,
             tt_record_encode_chunk(window, log->next_offset, wall_us, place, log->taken_max_us));
        return;
    }
    struct tt_segment planned = {.first_offset = log->next_offset,
                                 .base_place = place,
                                 .end_place = TT_SEGMENT_GROWS,
                                 .taken_max_us = log->taken_max_us};
    enum tt_status status = tt_segment_list_add(&log->planned, &planned);
    TT_ASSERT(status == TT_OK); /* room was reserved */
    tt_keep_segment_begun(log->keep, log->next_offset, place);
    tt_log_index_begin(log, log->next_offset, place, NULL);
    log->segment_base = place;
    log->segment_begun = true;
    log->segment_used = false;
    log->segment_taken_us = INT64_MIN;
    pass(log, tt_record_encode_segment(window, log->next_offset, wall_us, place, log->taken_max_us,
                                       &log->identity));
    bool due = log->batch_due;
    put_batch(log, wall_us);
    log->batch_due = due; /* it stays where the plan has put it */
}

void tt_log_last_batch(struct tt_log *log)
{
    if (log->told_last || log->read_only || log->writes == 0 || log->durable_place != log->place ||
        log->planned.count != 0 || log->place + TT_RECORD_BATCH_BYTES > log->window_end)
        return;
    log->told_last = true;
    put_batch(log, log->wall_us);
}

static uint64_t batch_bytes(const struct tt_log *log)
{
    return log->batch_due ? TT_RECORD_BATCH_BYTES : 0;
}

/* ---- appending ---- */

/* Would all of it fit? Reserves what applying needs. fit: null, or where to say how many from the
 * front do; then some are enough. */
static enum tt_status plan_events(struct tt_log *log, const struct tt_event *events, uint32_t count,
                                  const struct tt_record_idempotency *idempotency, uint32_t *fit)
{
    struct cursor c = cursor_of(log);
    struct tt_tail_plan plan = tt_tail_plan(log->tail);
    uint32_t segments = 0;
    enum tt_status result = tt_tail_has_descriptors(log->tail, count);
    while (fit != NULL && result != TT_OK && count > 1)
        result = tt_tail_has_descriptors(log->tail, count /= 2);
    if (fit != NULL) *fit = count;
    for (uint32_t i = 0; i < count && result != TT_ETOOBIG; i++) {
        uint64_t bytes =
            tt_record_event_bytes(&events[i], idempotency == NULL ? NULL : &idempotency[i]);
        if (i == 0) bytes += batch_bytes(log);
        struct opening o = opening_for(log, &c, bytes);
        move(&c, &o, bytes);
        if (o.chunks == 0) continue;
        enum tt_status status = tt_tail_plan_open(log->tail, &plan, o.chunks);
        if (status != TT_OK && fit != NULL && i != 0) {
            *fit = i;
            break;
        }
        segments += o.segment;
        if (status != TT_OK) result = status;
        if (status != TT_OK && fit != NULL) break; /* room for the first is enough */
    }
    if (result == TT_FULL) tt_tail_want(log->tail, &plan, count);
    return result == TT_OK ? tt_segment_list_reserve(&log->planned, segments) : result;
}

/* Hashes the channels of the next events, and has their slots fetched while others are looked at.
 */
static void look_ahead(const struct tt_log *log, struct tt_log_opened *opened,
                       const struct tt_event *events, uint32_t count)
{
    if (count > TT_VALUES_AHEAD) count = TT_VALUES_AHEAD;
    for (uint32_t i = 0; i < count; i++)
        opened[i].hash = tt_hash(&log->identity.hash_key, events[i].channel);
    for (unsigned stage = 0; stage < 3 && count > 1; stage++)
        for (uint32_t i = 0; i < count; i++) tt_values_prefetch(log->values, opened[i].hash, stage);
    for (uint32_t i = 0; i < count && log->index != NULL; i++)
        tt_index_prefetch(log->index, opened[i].hash, 0);
}

/* The slots of the events' channels; each channel is hashed once. Nothing is kept of a failure;
 * *failed: of which event it was. */
static enum tt_status open_channels(struct tt_log *log, const struct tt_event *events,
                                    uint32_t count, uint32_t *failed)
{
    *failed = 0;
    if (count > log->opened_capacity) {
        struct tt_log_opened *opened = realloc(log->opened, count * sizeof *opened);
        if (opened == NULL) return TT_ENOMEM;
        log->opened = opened;
        log->opened_capacity = count;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct tt_log_opened *o = &log->opened[i];
        if (i % TT_VALUES_AHEAD == 0) look_ahead(log, o, events + i, count - i);
        enum tt_status status = tt_values_open(log->values, o->hash, events[i].channel, &o->slot);
        if (status == TT_OK) continue;
        tt_values_rollback(log->values);
        *failed = i;
        return status == TT_ETOOBIG ? TT_EBUSY : status;
    }
    return TT_OK;
}

/* Headers before the event name the next offset as it was: it is not above the event's own. So a
 * segment begins where the one before ends, also where a mirror has a hole. */
static void append_one(struct tt_log *log, const struct tt_log_now *now, const struct tt_event *e,
                       uint64_t offset, const struct tt_record_idempotency *idempotency,
                       const struct tt_log_opened *opened)
{
    uint64_t bytes = tt_record_event_bytes(e, idempotency) + batch_bytes(log);
    struct cursor c = cursor_of(log);
    struct opening o = opening_for(log, &c, bytes);
    if (o.chunks != 0) open_window(log, &o, now->wall_us);
    if (log->batch_due) put_batch(log, now->wall_us);
    uint8_t *record = log->window;
    struct tt_tail_descriptor d = {
        .offset = offset,
        .place = log->place,
        .channel_hash = (uint32_t)opened->hash,
        .class = TT_RECORD_EVENT,
        .flags = (uint8_t)(e->flags & TT_RECORD_FLAG_EVENT_MASK),
    };
    /* The next record's lines are fetched for writing while this one is made. */
    for (size_t i = 0; i < bytes && i < PREFETCH_BYTES_MAX; i += 64)
        __builtin_prefetch(record + bytes + i, 1);
    d.length = tt_record_encode_event(record, e, offset, idempotency);
    pass(log, d.length);
    tt_tail_commit(log->tail, &d, record);
    /* The flags are the same for an event, a value and an index. */
    tt_values_set(log->values, opened->slot, d.offset, d.place, e->flags);
    if (log->index != NULL)
        (void)tt_index_add(log->index, opened->hash, d.offset, d.place,
                           e->flags & TT_INDEX_FLAGS_MASK);
    if (log->index != NULL && idempotency != NULL)
        (void)tt_index_add_idempotency(log->index, idempotency, d.offset, log->place, e->taken_us);
    log->next_offset = offset + 1;
    log->segment_used = true;
    if (e->taken_us > log->taken_max_us) log->taken_max_us = e->taken_us;
    if (log->segment_taken_us == INT64_MIN)
        log->segment_taken_us = log->mirror ? now->wall_us : e->taken_us;
}

/* Everything was planned. offsets: null: they follow each other. */
static void append_all(struct tt_log *log, const struct tt_log_now *now,
                       const struct tt_event *events, const uint64_t *offsets, uint32_t count,
                       const struct tt_record_idempotency *idempotency)
{
    for (uint32_t i = 0; i < count; i++) {
        /* With many channels nothing of what is touched is in the cache. */
        for (unsigned step = 1; step <= 2 && log->index != NULL; step++) {
            uint32_t ahead = i + PREFETCH_EVENTS / step;
            if (ahead < count) tt_index_prefetch(log->index, log->opened[ahead].hash, step);
        }
        append_one(log, now, &events[i], offsets == NULL ? log->next_offset : offsets[i],
                   idempotency == NULL ? NULL : &idempotency[i], &log->opened[i]);
    }
    tt_values_commit(log->values);
    log->appends++;
    log->events += count;
}

enum tt_status tt_log_append(struct tt_log *log, const struct tt_log_now *now,
                             const struct tt_event *events, uint32_t count,
                             const struct tt_record_idempotency *idempotency,
                             uint64_t *first_offset, uint64_t *end_place)
{
    TT_ASSERT(count > 0 && !log->mirror);
    if (log->closing != TT_LOG_CLOSING_NOT) return TT_ECLOSED;
    if (log->read_only || log->next_offset + count > TT_NEXT_MAX) return TT_EACCES;
    if (tt_log_no_space(log)) return TT_ENOSPC;
    (void)tt_tail_reclaim(log->tail, tt_log_reclaim_place(log));
    enum tt_status status = plan_events(log, events, count, idempotency, NULL);
    if (status != TT_OK) return status;
    if (log->next_offset + count > log->ceiling) {
        log->ceiling_wanted = log->next_offset + count;
        return TT_FULL;
    }
    uint32_t failed;
    status = open_channels(log, events, count, &failed);
    if (status != TT_OK) return status;
    *first_offset = log->next_offset;
    append_all(log, now, events, NULL, count, idempotency);
    *end_place = log->place;
    return TT_OK;
}

/* Strictly rising, from the next one on. */
static bool offsets_rise(const struct tt_log *log, const uint64_t *offsets, uint32_t count)
{
    uint64_t next = log->next_offset;
    for (uint32_t i = 0; i < count; i++) {
        if (offsets[i] < next || offsets[i] > TT_OFFSET_MAX) return false;
        next = offsets[i] + 1;
    }
    return true;
}

enum tt_status tt_log_append_at(struct tt_log *log, const struct tt_log_now *now,
                                const struct tt_event *events, const uint64_t *offsets,
                                uint32_t count, uint32_t *taken)
{
    TT_ASSERT(count > 0 && log->mirror);
    *taken = 0;
    if (!offsets_rise(log, offsets, count)) return TT_EINVAL;
    if (log->closing != TT_LOG_CLOSING_NOT) return TT_ECLOSED;
    if (log->read_only) return TT_EACCES;
    if (tt_log_no_space(log)) return TT_ENOSPC;
    (void)tt_tail_reclaim(log->tail, tt_log_reclaim_place(log));
    enum tt_status status = plan_events(log, events, count, NULL, &count);
    if (status != TT_OK) return status;
    uint32_t failed;
    status = open_channels(log, events, count, &failed);
    /* Those before it had their channels a moment ago. */
    while (status != TT_OK && failed != 0) {
        count = failed;
        status = open_channels(log, events, count, &failed);
    }
    if (status != TT_OK) return status;
    append_all(log, now, events, offsets, count, NULL);
    *taken = count;
    return TT_OK;
}

uint64_t tt_log_next_offset(const struct tt_log *log)
{
    return log->next_offset;
}

enum tt_status tt_log_begin_segment(struct tt_log *log, int64_t wall_us)
{
    struct opening o = {.chunks = 1, .segment = true, .header_bytes = SEGMENT_BEGINS_BYTES};
    struct tt_tail_plan plan = tt_tail_plan(log->tail);
    enum tt_status status = tt_tail_plan_open(log->tail, &plan, 1);
    if (status != TT_OK) return status;
    status = tt_segment_list_reserve(&log->planned, 1);
    if (status == TT_OK) open_window(log, &o, wall_us);
    return status;
}

bool tt_log_wait(struct tt_log *log)
{
    return tt_tail_wait(log->tail, tt_log_reclaim_place(log));
}

void tt_log_wait_over(struct tt_log *log)
{
    tt_tail_wait_over(log->tail);
}

bool tt_log_publish(struct tt_log *log)
{
    return log->policy == TT_LOG_ALWAYS ? tt_tail_publish_below(log->tail, log->durable_place)
                                        : tt_tail_publish(log->tail, log->next_offset);
}

uint64_t tt_log_accepted_place(const struct tt_log *log)
{
    return log->policy == TT_LOG_ALWAYS ? log->durable_place : log->written_place;
}

/* ---- life ---- */

/* The hole is the first thing appended, and there before any shard reads. */
static enum tt_status append_hole(struct tt_log *log, uint64_t first, uint64_t end, int64_t wall_us)
{
    uint64_t bytes = TT_RECORD_HOLE_BYTES + batch_bytes(log);
    struct cursor c = cursor_of(log);
    struct opening o = opening_for(log, &c, bytes);
    enum tt_status status = tt_segment_list_reserve(&log->planned, 1);
    if (status != TT_OK) return status;
    log->next_offset = first;
    if (o.chunks != 0) open_window(log, &o, wall_us);
    put_batch(log, wall_us);
    uint8_t *record = log->window;
    struct tt_tail_descriptor d = {.offset = first, .place = log->place, .class = TT_RECORD_HOLE};
    d.length = tt_record_encode_hole(record, first, end, wall_us);
    pass(log, d.length);
    tt_tail_commit(log->tail, &d, record);
    if (log->index != NULL) (void)tt_index_add_hole(log->index, first, end, d.place);
    log->next_offset = end;
    log->segment_used = true;
    (void)tt_tail_publish(log->tail, end);
    return TT_OK;
}

/* What recovery knows of values and indexes becomes the log's. */
static enum tt_status take_over_values(struct tt_log *log, struct tt_recovered_partition *p,
                                       const struct tt_log_options *options)
{
    log->values = p->values;
    p->values = NULL;
    if (log->values != NULL && options->channels_max != 0)
        tt_values_set_channels_max(log->values, options->channels_max);
    if (log->values == NULL) {
        uint32_t most = options->channels_max != 0 ? options->channels_max : TT_LOG_CHANNELS_MAX;
        enum tt_status status = tt_values_create(&log->values, most);
        if (status != TT_OK) return status;
    }
    const struct tt_keep_options keep = {.values = log->values,
                                         .directory = log->directory,
                                         .identity = &log->identity,
                                         .kept = &p->kept,
                                         .mark_place = log->segment_base,
                                         .keep_last = !options->forget_values};
    enum tt_status status = tt_keep_create(&log->keep, &keep);
    if (status == TT_OK && p->segments.count != 0) {
        const struct tt_segment *last = &p->segments.items[p->segments.count - 1];
        tt_log_index_begin(log, last->first_offset, last->base_place, p->index);
        p->index = NULL;
    }
    return status;
}

static enum tt_status take_over(struct tt_log *log, struct tt_recovered_partition *p,
                                const struct tt_log_options *options, int64_t wall_us)
{
    size_t size = strlen(p->directory) + 1;
    log->directory = malloc(size);
    if (log->directory == NULL) return TT_ENOMEM;
    memcpy(log->directory, p->directory, size);
    enum tt_status status = tt_segment_list_reserve(&log->segments, p->segments.count + 16);
    for (uint32_t i = 0; status == TT_OK && i < p->segments.count; i++)
        status = tt_segment_list_add(&log->segments, &p->segments.items[i]);
    if (status != TT_OK) return status;
    for (uint32_t i = 0; i + 1 < p->segments.count; i++)
        log->unindexed += !p->segments.items[i].indexed && !p->segments.items[i].no_index;
    log->place = log->written_place = log->durable_place = p->place;
    log->window_end = log->written_end = log->durable_end = log->durable_whole = p->place;
    log->written_offset = log->durable_offset = p->hole_first;
    log->next_offset = p->next_offset;
    log->ceiling = p->ceiling;
    log->ceiling_version = p->ceiling_version;
    log->taken_max_us = p->taken_max_us;
    log->segment_taken_us = p->active_taken_us;
    if (p->segments.count != 0) {
        const struct tt_segment *last = &p->segments.items[p->segments.count - 1];
        log->segment_begun = true;
        log->segment_used = p->hole_first != last->first_offset;
        log->segment_base = last->base_place;
    }
    status = take_over_values(log, p, options);
    if (status != TT_OK) return status;
    uint64_t within = p->place % TT_CHUNK_BYTES;
    if (within != 0) { /* goes on in a chunk whose beginning is on disk only */
        uint8_t *window = tt_tail_open_chunks(log->tail, p->place - within, 1);
        TT_ASSERT(window != NULL);
        log->window = window + within;
        log->window_end = p->place - within + TT_CHUNK_BYTES;
    }
    if (p->hole_first != p->hole_end)
        status = append_hole(log, p->hole_first, p->hole_end, wall_us);
    return status;
}

enum tt_status tt_log_create(struct tt_log **out, const struct tt_log_options *options)
{
    struct tt_recovered *r = options->recovered;
    struct tt_recovered_partition *p = &r->partitions[options->partition];
    struct tt_log *log = calloc(1, sizeof *log);
    if (log == NULL) return TT_ENOMEM;
    log->tail = options->tail;
    log->policy = options->policy;
    log->mirror = r->mirror;
    TT_ASSERT(!log->mirror || log->policy != TT_LOG_ALWAYS);
    log->sync_interval_ns = options->sync_interval_ns;
    log->segment_bytes = options->segment_bytes / TT_CHUNK_BYTES * TT_CHUNK_BYTES;
    if (log->segment_bytes < 2 * TT_CHUNK_BYTES) log->segment_bytes = 2 * TT_CHUNK_BYTES;
    log->retention = options->retention;
    log->identity =
        (struct tt_record_segment){.format = TT_RECORD_FORMAT,
                                   .partition = options->partition,
                                   .partitions = r->mirror ? r->known : r->partitions_count,
                                   .history = r->history,
                                   .hash_key = r->hash_key,
                                   .bytes = log->segment_bytes};
    log->file = log->directory_file = log->ceiling_file = log->sealed.file = TT_LOG_FILE_NONE;
    log->sync_due_ns = UINT64_MAX;
    log->batch_due = true;
    log->carried = TT_LOG_NOT_CARRIED;
    log->index_bytes_max = options->index_bytes_max != 0
                               ? options->index_bytes_max
                               : tt_log_index_bytes_max(log->segment_bytes);
    enum tt_status status = take_over(log, p, options, r->wall_us);
    if (status != TT_OK) {
        tt_log_destroy(&log);
        return status;
    }
    tt_tail_set_places(log->tail, log->written_place, log->durable_place);
    tt_tail_set_start(log->tail);
    *out = log;
    return TT_OK;
}

void tt_log_destroy(struct tt_log **out)
{
    struct tt_log *log = *out;
    if (log == NULL) return;
    tt_segment_list_deinit(&log->segments);
    tt_segment_list_deinit(&log->planned);
    tt_keep_destroy(&log->keep);
    tt_log_indexes_destroy(log);
    tt_values_destroy(&log->values);
    free(log->opened);
    free(log->directory);
    free(log);
    *out = NULL;
}

/* ---- what others are told ---- */

enum tt_status tt_log_take_notice(struct tt_log *log, struct tt_log_notice *notice)
{
    if (log->notices_count == 0) return TT_IDLE;
    *notice = log->notices[log->notices_first];
    log->notices_first = (log->notices_first + 1) % TT_LOG_NOTICES_MAX;
    log->notices_count--;
    return TT_OK;
}

const struct tt_segment_list *tt_log_segments(const struct tt_log *log)
{
    return &log->segments;
}

static enum tt_log_state state_of(const struct tt_log *log)
{
    if (log->closing == TT_LOG_CLOSING_DONE) return TT_LOG_CLOSED;
    if (log->read_only) return TT_LOG_READ_ONLY;
    if (log->closing != TT_LOG_CLOSING_NOT) return TT_LOG_CLOSING;
    return tt_log_no_space(log) ? TT_LOG_NO_SPACE : TT_LOG_OPEN;
}

size_t tt_log_index_bytes_max(uint64_t segment_bytes)
{
    size_t bytes = (size_t)(segment_bytes / 2);
    return bytes < INDEX_BYTES_MIN ? INDEX_BYTES_MIN : bytes;
}

uint64_t tt_log_memory_bytes(const struct tt_log_options *options)
{
    uint64_t channels = options->channels_max != 0 ? options->channels_max : TT_LOG_CHANNELS_MAX;
    uint64_t index = options->index_bytes_max != 0 ? options->index_bytes_max
                                                   : tt_log_index_bytes_max(options->segment_bytes);
    /* An index that is rebuilt comes on top of those that are kept. */
    return tt_values_bytes_bound(channels) + index + index / 2 + KEEP_BYTES;
}

static void figures_of_values(const struct tt_log *log, struct tt_log_figures *f)
{
    struct tt_keep_figures keep;
    tt_keep_figures(log->keep, &keep);
    f->channels = tt_values_channels(log->values);
    f->channels_max = tt_values_channels_max(log->values);
    f->values_bytes = tt_values_bytes(log->values);
    f->index_bytes = tt_log_index_bytes(log);
    f->unindexed = log->unindexed + log->index_failures;
    f->kept_files = keep.kept_files;
    f->kept_bytes = keep.kept_bytes;
    f->keep_failures = keep.failures;
    f->keep_reason = keep.failing ? keep.reason : TT_OK;
    f->keep_failed_path = keep.failed_path;
    f->values_lost = keep.lost_values;
    f->indexes = keep.indexes + keep.rebuilds;
    f->checkpoints = keep.checkpoints;
    f->carries = keep.carries;
}

void tt_log_figures(const struct tt_log *log, struct tt_log_figures *f)
{
    const struct tt_segment_list *l = &log->segments;
    *f = (struct tt_log_figures){
        .state = state_of(log),
        .reason = log->reason,
        .failed = log->failed,
        .failed_path = log->failed_path,
        .oldest_offset = tt_tail_oldest_offset(log->tail),
        .next_offset = log->next_offset,
        .ceiling = log->ceiling,
        .appended_place = log->place,
        .written_place = log->written_place,
        .durable_place = log->durable_place,
        .segments = l->count,
        .bytes = l->count == 0 ? 0 : log->written_place - l->items[0].base_place,
        .appends = log->appends,
        .events = log->events,
        .writes = log->writes,
        .written_bytes = log->written_bytes,
        .syncs = log->syncs,
        .segments_begun = log->segments_begun,
        .segments_retired = log->segments_retired,
        .sync_ns_last = log->sync_ns_last,
    };
    figures_of_values(log, f);
}
