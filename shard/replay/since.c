#include "shard/replay/since.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "shard/replay/replay_internal.h"
#include "shard/replay/resume.h"
#include "store/reader.h"

#define BLOCK_BYTES        TT_SEGMENT_BLOCK_BYTES
#define MEMORY_DESCRIPTORS 4096u        /* that one slice looks at */
#define TURN_BYTES         (512u << 10) /* of records that a turn looks at */
#define RECORD_SLICE_BYTES 64u          /* what a descriptor and its record's head count for */

enum state {
    SINCE_WAITING = 0, /* for its turn: so many work at once */
    SINCE_READY,       /* has something to do in the next step */
    SINCE_READING,
    SINCE_ENDED,
};

/* What it does with the partition it is at. */
enum phase {
    PHASE_BEGIN = 0, /* which segment? */
    PHASE_SEEK,      /* by halves over chunk headers */
    PHASE_WALK,      /* record by record, in the segment */
    PHASE_MEMORY,    /* and in the tail */
};

struct tt_since {
    struct tt_node node; /* in the shard's list of those that wait, or are ready */
    struct tt_shard *shard;
    void (*wake)(void *owner); /* null: closed while a read was under way */
    void *owner;
    uint64_t *pos;
    int64_t taken_us;
    uint32_t partition; /* where it is */
    uint32_t end;       /* behind the last that is asked for */
    uint8_t state;      /* enum state */
    uint8_t phase;      /* enum phase */
    uint64_t next;      /* everything below this offset was taken earlier */
    uint64_t sequence;  /* PHASE_MEMORY: of the tail: the same */
    struct tt_view *view;
    uint64_t view_end; /* place: everything below was there when it was begun */
    struct tt_reader_find find;
    struct tt_reader records;
    struct tt_file_read read;
    uint64_t block_place; /* where what was read begins */
    size_t asked;
    int32_t result;
    bool has_result;
    bool at_end; /* of what is whole below view_end */
    uint8_t *block;
    size_t block_bytes;
};

static struct tt_replay *replay_of(const struct tt_since *s)
{
    return s->shard->replay;
}

static struct tt_tail *tail_of(const struct tt_since *s)
{
    return s->shard->world->partitions[s->partition].tail;
}

/* ---- life ---- */

static void ready(struct tt_since *s)
{
    s->state = SINCE_READY;
    tt_list_append(&replay_of(s)->since_ready, &s->node);
    replay_of(s)->woken = true;
}

static void give_back(struct tt_since *s)
{
    struct tt_replay *r = replay_of(s);
    tt_view_release(r->views, &s->view);
    if (s->block == NULL) return;
    r->block_bytes -= s->block_bytes;
    r->since_running--;
    free(s->block);
    s->block = NULL;
}

static void since_free(struct tt_since *s)
{
    if (tt_node_linked(&s->node)) tt_list_remove(&s->node);
    give_back(s);
    free(s);
}

enum tt_status tt_since_open(struct tt_since **since, struct tt_shard *shard, uint32_t partition,
                             int64_t from_ms, uint64_t *pos, void (*wake)(void *owner), void *owner)
{
    bool all = partition == TT_PARTITION_ALL;
    struct tt_since *s = calloc(1, sizeof *s);
    *since = s;
    if (s == NULL) return TT_FULL;
    s->shard = shard;
    s->wake = wake;
    s->owner = owner;
    s->pos = pos;
    if (__builtin_mul_overflow(from_ms, 1000, &s->taken_us)) s->taken_us = INT64_MAX;
    s->partition = all ? 0 : partition;
    s->end = all ? shard->world->partitions_count : partition + 1;
    tt_list_append(&shard->replay->since_waiting, &s->node);
    shard->replay->woken = true;
    return TT_OK;
}

void tt_since_close(struct tt_since **since)
{
    struct tt_since *s = *since;
    *since = NULL;
    if (s == NULL) return;
    s->wake = NULL;
    if (s->state != SINCE_READING) since_free(s); /* else when the read has ended */
}

/* ---- steps: each returns the bytes that it looked at ---- */

/* The partition is done with: on with the next, or with the client. */
static void found(struct tt_since *s, uint64_t offset)
{
    s->pos[s->partition] = offset;
    tt_view_release(replay_of(s)->views, &s->view);
    s->phase = PHASE_BEGIN;
    s->has_result = false;
    s->next = 0;
    if (++s->partition == s->end) s->state = SINCE_ENDED;
}

/* Nothing that can be seen was taken so late: what comes next, which may be beyond R. */
static void found_none(struct tt_since *s)
{
    uint64_t next = s->shard->arrivals.next[s->partition];
    found(s, s->next > next ? s->next : next);
}

static void read_done(struct tt_file_read *read, int32_t result)
{
    struct tt_since *s = TT_CONTAINER_OF(read, struct tt_since, read);
    s->result = result;
    s->has_result = true;
    if (s->wake == NULL)
        since_free(s);
    else
        ready(s);
}

/* Returns what counts as looked at; 0: no memory for the file's object, another time. */
static size_t read_at(struct tt_since *s, uint64_t place, size_t size)
{
    s->block_place = place;
    s->asked = size < s->view_end - place ? size : (size_t)(s->view_end - place);
    s->read = (struct tt_file_read){
        .done = read_done, .position = place, .data = s->block, .size = s->asked};
    if (!tt_view_read(replay_of(s)->views, s->view, &s->read)) return 0;
    s->state = SINCE_READING;
    return RECORD_SLICE_BYTES;
}

/* What is not in files is in memory: in this turn there is nothing between. */
static void enter_memory(struct tt_since *s)
{
    tt_view_release(replay_of(s)->views, &s->view);
    s->phase = PHASE_MEMORY;
    s->sequence = tt_tail_find(tail_of(s), replay_of(s)->first[s->partition],
                               tt_tail_head(tail_of(s)), s->next);
}

/* Begins with the view, or with memory when nothing of it is in the file yet. */
static void begin_view(struct tt_since *s, struct tt_view *view)
{
    struct tt_replay *r = replay_of(s);
    tt_view_release(r->views, &s->view);
    if (view == NULL) {
        enter_memory(s);
        return;
    }
    if (s->next < view->segment.first_offset) s->next = view->segment.first_offset;
    s->view_end =
        tt_view_sealed(view) ? view->segment.end_place : tt_tail_written_place(tail_of(s));
    if (s->view_end <= view->segment.base_place) {
        enter_memory(s);
        return;
    }
    s->view = view;
    tt_view_hold(view);
    tt_reader_find_taken(&s->find, &view->segment, s->view_end, s->taken_us);
    s->phase = PHASE_SEEK;
}

/* The first segment of which not everything was taken earlier. Times of segments are those of all
 * records before their end, so they only rise. */
static size_t step_begin(struct tt_since *s)
{
    struct tt_views *views = replay_of(s)->views;
    uint64_t oldest = tt_tail_oldest_offset(tail_of(s));
    struct tt_view *view = tt_views_at(views, s->partition, oldest);
    s->next = oldest;
    while (view != NULL && tt_view_sealed(view) && view->segment.taken_max_us < s->taken_us)
        view = tt_views_after(views, view);
    begin_view(s, view);
    return RECORD_SLICE_BYTES;
}

/* A read failed, or what was read is no record: the client begins there, and is told what is the
 * matter by whoever reads it then. Gone: the oldest is another one now. */
static void failed(struct tt_since *s, enum tt_status status)
{
    uint64_t oldest = tt_tail_oldest_offset(tail_of(s));
    if (status == TT_ENOENT && s->view->segment.first_offset < oldest) {
        tt_view_release(replay_of(s)->views, &s->view);
        s->phase = PHASE_BEGIN;
        s->has_result = false;
        return;
    }
    tt_diag_write(s->shard->diag, TT_DIAG_ERROR, NULL, "segment_read",
                  "partition %u: the segment of offset %llu, while looking for a time: %s",
                  s->partition, (unsigned long long)s->view->segment.first_offset,
                  tt_status_text(status));
    found(s, s->next);
}

static size_t step_seek(struct tt_since *s)
{
    uint64_t place;
    if (s->has_result && s->result < 0) {
        failed(s, (enum tt_status)s->result);
        return RECORD_SLICE_BYTES;
    }
    if (s->has_result) tt_reader_find_probe(&s->find, tt_bytes(s->block, (size_t)s->result));
    s->has_result = false;
    if (tt_reader_find_step(&s->find, &place) == TT_MORE)
        return read_at(s, place, TT_READER_PROBE_BYTES);
    tt_reader_init(&s->records, place, s->view_end, s->view_end == s->view->segment.end_place);
    s->at_end = false;
    s->phase = PHASE_WALK;
    return RECORD_SLICE_BYTES;
}

/* Room for the next record. False: not now. */
static bool make_room(struct tt_since *s)
{
    size_t needs = tt_reader_needs(&s->records);
    if (needs <= s->block_bytes) return true;
    if (!tt_replay_has_memory(s->shard, needs)) return false;
    uint8_t *block = realloc(s->block, needs);
    if (block == NULL) return false;
    replay_of(s)->block_bytes += needs - s->block_bytes;
    s->block = block;
    s->block_bytes = needs;
    return true;
}

/* Everything that is in the segment's file was read, or was when the walk was begun. Returns 0 when
 * the next segment is not known here yet. */
static size_t view_ended(struct tt_since *s)
{
    struct tt_view *view = s->view;
    bool sealed = tt_view_sealed(view);
    uint64_t end = sealed ? view->segment.end_place : tt_tail_written_place(tail_of(s));
    uint64_t place = tt_reader_place(&s->records);
    if (end > s->view_end && place < end) { /* it has grown meanwhile */
        s->view_end = end;
        s->at_end = false;
        tt_reader_init(&s->records, place, end, sealed);
        return RECORD_SLICE_BYTES;
    }
    if (!sealed) {
        enter_memory(s);
        return RECORD_SLICE_BYTES;
    }
    struct tt_view *after = tt_views_after(replay_of(s)->views, view);
    if (after == NULL && s->next < replay_of(s)->first_offset[s->partition]) return 0;
    begin_view(s, after);
    return RECORD_SLICE_BYTES;
}

/* Looks at the block that was read. True: the walk goes on. */
static bool take_block(struct tt_since *s)
{
    struct tt_bytes window = tt_bytes(s->block, (size_t)s->result);
    /* With sync=always files are ahead of what may be seen; a power cut may take that back. */
    uint64_t head = tt_tail_head_offset(tail_of(s));
    struct tt_record record;
    enum tt_status status;
    while ((status = tt_reader_next(&s->records, s->block_place, window, &record)) == TT_OK) {
        if (record.offset >= head) {
            found_none(s);
            return false;
        }
        if (record.class == TT_RECORD_EVENT && record.event.taken_us >= s->taken_us) {
            found(s, record.offset);
            return false;
        }
        uint64_t next = record.class == TT_RECORD_EVENT  ? record.offset + 1
                        : record.class == TT_RECORD_HOLE ? record.hole_end
                                                         : record.offset;
        if (next > s->next) s->next = next;
    }
    if (status == TT_MORE && window.size < s->asked) status = TT_ECORRUPT; /* it was cut short */
    s->at_end = status == TT_END;
    if (status == TT_END || status == TT_MORE) return true;
    failed(s, status);
    return false;
}

static size_t step_walk(struct tt_since *s)
{
    if (s->has_result && s->result < 0) {
        failed(s, (enum tt_status)s->result);
        return RECORD_SLICE_BYTES;
    }
    if (s->has_result) {
        s->has_result = false;
        if (!take_block(s)) return s->asked;
    }
    if (s->next >= replay_of(s)->first_offset[s->partition]) {
        enter_memory(s);
        return RECORD_SLICE_BYTES;
    }
    uint64_t place = tt_reader_place(&s->records);
    if (s->at_end || place >= s->view_end) return view_ended(s);
    if (!make_room(s)) return 0;
    return read_at(s, place, s->block_bytes);
}

/* To the head, also beyond what this shard has read: who has seen a record, and asks for its time,
 * starts there. What is above R is not reused. */
static size_t step_memory(struct tt_since *s)
{
    struct tt_tail *tail = tail_of(s);
    if (s->sequence < replay_of(s)->first[s->partition]) {
        s->phase = PHASE_BEGIN; /* in an earlier turn; now it is in files */
        return RECORD_SLICE_BYTES;
    }
    uint64_t end = tt_tail_head(tail);
    uint32_t looked = 0;
    while (s->sequence < end && looked < MEMORY_DESCRIPTORS) {
        const struct tt_tail_descriptor *run;
        uint32_t count = tt_tail_run(tail, s->sequence, end, &run);
        for (uint32_t i = 0; i < count && looked < MEMORY_DESCRIPTORS; i++, looked++) {
            struct tt_record record;
            enum tt_status status = tt_record_decode(tt_tail_record(tail, &run[i]), &record);
            TT_ASSERT(status == TT_OK);
            if (record.class == TT_RECORD_EVENT && record.event.taken_us >= s->taken_us) {
                found(s, record.offset);
                return (looked + 1) * RECORD_SLICE_BYTES;
            }
            s->next = record.class == TT_RECORD_HOLE ? record.hole_end : record.offset + 1;
            s->sequence++;
        }
    }
    if (s->sequence >= end) found_none(s);
    return (looked + 1) * RECORD_SLICE_BYTES;
}

/* Goes on until it reads, has ended, or the budget is used up. */
static size_t step(struct tt_since *s, size_t budget)
{
    size_t used = 0;
    while (s->state == SINCE_READY && used < budget) {
        size_t bytes = 0;
        switch ((enum phase)s->phase) {
        case PHASE_BEGIN: bytes = step_begin(s); break;
        case PHASE_SEEK: bytes = step_seek(s); break;
        case PHASE_WALK: bytes = step_walk(s); break;
        case PHASE_MEMORY: bytes = step_memory(s); break;
        }
        used += bytes;
        if (bytes == 0) break; /* no memory now */
    }
    return used;
}

/* ---- all of a shard ---- */

/* Takes more of those that wait to work, as far as they are not too many and there is memory. */
static void admit(struct tt_shard *shard)
{
    struct tt_replay *r = shard->replay;
    while (r->since_running < TT_SINCE_RUNNING_MAX && !tt_list_empty(&r->since_waiting) &&
           tt_replay_has_memory(shard, BLOCK_BYTES)) {
        uint8_t *block = malloc(BLOCK_BYTES);
        if (block == NULL) return;
        struct tt_since *s =
            TT_CONTAINER_OF(tt_list_take_first(&r->since_waiting), struct tt_since, node);
        s->block = block;
        s->block_bytes = BLOCK_BYTES;
        r->block_bytes += BLOCK_BYTES;
        r->since_running++;
        ready(s);
    }
}

bool tt_since_step(struct tt_shard *shard)
{
    struct tt_replay *r = shard->replay;
    size_t budget = TURN_BYTES;
    struct tt_list again;
    tt_list_init(&again);
    admit(shard);
    while (budget != 0 && !tt_list_empty(&r->since_ready)) {
        struct tt_since *s =
            TT_CONTAINER_OF(tt_list_take_first(&r->since_ready), struct tt_since, node);
        size_t used = step(s, budget);
        budget -= used < budget ? used : budget;
        if (s->state == SINCE_READY) {
            tt_list_append(used != 0 ? &r->since_ready : &again, &s->node);
        } else if (s->state == SINCE_ENDED) {
            give_back(s);
            s->wake(s->owner); /* which may close it */
        }
        if (!tt_list_empty(&r->since_waiting)) admit(shard);
    }
    bool more = !tt_list_empty(&r->since_ready);
    struct tt_node *node;
    while ((node = tt_list_take_first(&again)) != NULL) tt_list_append(&r->since_ready, node);
    return more;
}
