#include "shard/ingest.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "shard/produce.h"
#include "shard/shard_internal.h"
#include "store/log.h"
#include "store/tail.h"

#define BATCH_MAX  1024u                /* items of one poll */
#define TURN_MAX   2048u                /* items that a turn takes, and */
#define TURN_NS    UINT64_C(1000000)    /* how long it may take over them */
#define RUN_MAX    256u                 /* events of one append */
#define FIGURES_NS UINT64_C(50000000)   /* between two updates of the figures */
#define IDLE_NS    UINT64_C(1000000000) /* more, when nothing has changed (source_told) */
#define RETRY_NS   UINT64_C(1000000000) /* disk full, or no memory */
#define NOBODY     UINT32_MAX

/* A partition that this shard owns. */
struct place {
    struct tt_partition *partition;
    uint64_t next;      /* the next offset wanted: the log's, or behind what was left out since */
    uint64_t first_end; /* it is backfilling up to here; 0: unknown yet */
    bool still;         /* it takes nothing more in this life */
};

struct tt_ingest {
    struct tt_source *source;
    int descriptor;
    bool attached;
    bool due;   /* the source may have something */
    bool dirty; /* figures have changed since they were last brought up to date */
    uint64_t figures_ns;
    struct place *places;
    uint32_t places_count;
    uint32_t blocked; /* index of the place whose log has no room for the next item; or NOBODY */
    bool blocked_for_long; /* by the disk or for want of memory, not by a full tail */
    struct tt_source_item items[BATCH_MAX];
    uint32_t items_count, items_next;
    struct tt_event events[RUN_MAX]; /* scratch of one append */
    uint64_t offsets[RUN_MAX];
};

static struct place *place_of(struct tt_shard *shard, uint32_t partition)
{
    struct place *place = &shard->ingest->places[partition / shard->world->shards_count];
    TT_ASSERT(place->partition->index == partition);
    return place;
}

/* ---- what is known of a partition ---- */

static void backfilled(struct tt_shard *shard, struct place *place)
{
    place->first_end = 0;
    if (tt_metric_get(&place->partition->backfilling) == 0) return;
    tt_metric_set(&place->partition->backfilling, 0);
    tt_diag_write(shard->diag, TT_DIAG_INFO, NULL, "backfilled",
                  "topic %s, partition %u: the mirror has come to Kafka's end, offset %llu",
                  shard->world->topics[place->partition->topic].name, place->partition->number,
                  (unsigned long long)place->next);
}

static void moved(struct tt_shard *shard, struct place *place, uint64_t next)
{
    place->next = next;
    shard->ingest->dirty = true;
    if (TT_UNLIKELY(place->first_end != 0) && next >= place->first_end) backfilled(shard, place);
}

static void came_to_end(struct tt_shard *shard, struct place *place, uint64_t end)
{
    /* Behind the last record there may be marks of transactions, or records that were compacted;
     * what was planned may be behind the end that can be read. */
    moved(shard, place, end > place->next ? end : place->next);
    tt_metric_set(&place->partition->source_end, place->next);
    backfilled(shard, place);
}

/* True: it has changed. */
static bool set(tt_metric *figure, uint64_t value)
{
    bool changed = tt_metric_get(figure) != value;
    if (changed) tt_metric_set(figure, value);
    return changed;
}

/* True: something has changed. */
static bool update_place(struct tt_shard *shard, struct place *place)
{
    struct tt_source *s = shard->ingest->source;
    struct tt_partition *p = place->partition;
    uint64_t end, before = tt_metric_get(&p->source_end);
    bool told = s->ops->end(s, shard->index, p->index, &end) && !shard->feed.stale;
    if (!told) end = before;
    if ((told || end != 0) && end < place->next) end = place->next;
    uint64_t read = tt_tail_read_offset(p->tail);
    /* What was skipped behind the last event is nothing to be read. */
    if (read == tt_tail_head_offset(p->tail) && read < place->next) read = place->next;
    bool changed = end != before;
    if (told)
        tt_partition_source_told(p, end, shard->now_ns);
    else
        tt_metric_set(&p->source_end, end);
    changed |= set(&p->mirror_next, place->next);
    if (!set(&p->read_next, read)) return changed;
    s->ops->read(s, shard->index, p->index, read);
    return true;
}

static void update_figures(struct tt_shard *shard)
{
    struct tt_ingest *in = shard->ingest;
    if (shard->now_ns < in->figures_ns + (in->dirty ? 0 : IDLE_NS)) return;
    in->dirty = false;
    for (uint32_t i = 0; i < in->places_count; i++)
        in->dirty |= update_place(shard, &in->places[i]);
    in->figures_ns = shard->now_ns + FIGURES_NS;
}

/* ---- taking ---- */

/* The log will never take it: it is left out, as the source leaves out what nobody can use. */
static void leave_out(struct tt_shard *shard, struct place *place,
                      const struct tt_source_item *item, enum tt_status status)
{
    bool size = status == TT_ETOOBIG;
    tt_metric_add(
        size ? &shard->metrics.ingest_refused_size : &shard->metrics.ingest_refused_channels, 1);
    tt_diag_write(shard->diag, TT_DIAG_WARN, NULL, "kafka_refused",
                  "topic %s, partition %u, offset %llu: left out: %s",
                  shard->world->topics[place->partition->topic].name, place->partition->number,
                  (unsigned long long)item->offset,
                  size ? "it is larger than --tail-bytes allows"
                       : "it would be one channel more than --channels-max allows");
    moved(shard, place, item->offset + 1);
}

static void unblock(struct tt_ingest *in)
{
    if (in->blocked == NOBODY) return;
    tt_log_wait_over(in->places[in->blocked].partition->log);
    in->blocked = NOBODY;
}

static void block(struct tt_shard *shard, struct place *place, enum tt_status status)
{
    struct tt_ingest *in = shard->ingest;
    uint32_t index = (uint32_t)(place - in->places);
    in->blocked_for_long = status != TT_FULL;
    if (in->blocked == index) return;
    unblock(in);
    in->blocked = index;
    tt_metric_add(&shard->metrics.ingest_waits, 1);
}

/* Events of one partition, one behind the other, from the next item on. */
static uint32_t gather(struct tt_ingest *in, uint64_t *bytes)
{
    const struct tt_source_item *first = &in->items[in->items_next];
    uint32_t n = 0, left = in->items_count - in->items_next;
    if (left > RUN_MAX) left = RUN_MAX;
    while (n < left) {
        const struct tt_source_item *item = first + n;
        if (item->kind != TT_SOURCE_EVENT || item->partition != first->partition) break;
        if (n != 0 && item->offset <= in->offsets[n - 1]) break;
        in->events[n] = item->event;
        if (item->misplaced) in->events[n].flags |= TT_EVENT_MISPLACED;
        in->offsets[n++] = item->offset;
        bytes[n] = bytes[n - 1] + item->event.payload.size + item->event.channel.size +
                   item->event.type.size + item->event.headers.size;
    }
    return n;
}

/* False: there is no room. */
static bool append(struct tt_shard *shard, struct place *place)
{
    struct tt_ingest *in = shard->ingest;
    const struct tt_source_item *first = &in->items[in->items_next];
    const struct tt_log_now now = {.ns = shard->now_ns, .wall_us = shard->wall_us};
    uint64_t bytes[RUN_MAX + 1] = {0};
    uint32_t taken = 0, count = gather(in, bytes);
    enum tt_status status =
        tt_log_append_at(place->partition->log, &now, in->events, in->offsets, count, &taken);
    switch ((int)status) {
    case TT_OK:
        TT_ASSERT(taken > 0 && taken <= count);
        in->items_next += taken;
        tt_metric_add(&shard->metrics.events_kafka, taken);
        tt_metric_add(&shard->metrics.event_bytes, bytes[taken]);
        moved(shard, place, in->offsets[taken - 1] + 1);
        return true;
    case TT_ETOOBIG:
    case TT_EBUSY:
        in->items_next++;
        leave_out(shard, place, first, status);
        return true;
    case TT_FULL:
    case TT_ENOSPC:
    case TT_ENOMEM: block(shard, place, status); return false;
    case TT_EACCES:
    case TT_ECLOSED: place->still = true; return true; /* the log's owner tells why */
    default: TT_UNREACHABLE();
    }
}

/* Takes the next items. False: there is no room for one. */
static bool take_next(struct tt_shard *shard)
{
    struct tt_ingest *in = shard->ingest;
    const struct tt_source_item *item = &in->items[in->items_next];
    struct place *place = place_of(shard, item->partition);
    if (item->kind == TT_SOURCE_EVENT && !place->still && item->offset >= place->next)
        return append(shard, place);
    in->items_next++;
    if (place->still) return true;
    switch (item->kind) {
    case TT_SOURCE_EVENT: tt_metric_add(&shard->metrics.ingest_duplicates, 1); break;
    case TT_SOURCE_SKIP:
        if (item->offset < place->next) break;
        moved(shard, place, item->offset + 1);
        break;
    case TT_SOURCE_END: came_to_end(shard, place, item->offset); break;
    case TT_SOURCE_LOST: place->still = true; break;
    }
    return true;
}

/* Empties the batch. False: there is no room for the rest. */
static bool take_batch(struct tt_shard *shard)
{
    struct tt_ingest *in = shard->ingest;
    while (in->items_next < in->items_count)
        if (!take_next(shard)) return false;
    unblock(in);
    return true;
}

bool tt_ingest_take(struct tt_shard *shard)
{
    struct tt_ingest *in = shard->ingest;
    if (in == NULL || !in->attached || !take_batch(shard)) return false;
    uint64_t until_ns = shard->now_ns + TURN_NS;
    for (uint32_t left = TURN_MAX; in->due && left > 0;) {
        uint32_t max = left < BATCH_MAX ? left : BATCH_MAX;
        in->items_next = 0;
        in->items_count = in->source->ops->poll(in->source, shard->index, in->items, max);
        in->due = in->items_count != 0;
        left -= in->items_count;
        if (!take_batch(shard)) return false;
        if (in->due && tt_io_now_ns(shard->io) > until_ns) break;
    }
    return in->due;
}

bool tt_ingest_work(struct tt_shard *shard)
{
    struct tt_ingest *in = shard->ingest;
    if (in == NULL || !in->attached) return false;
    update_figures(shard);
    if (in->blocked == NOBODY) return in->due;
    /* Work on files may have made room; if not, whoever makes it has to know that it is waited for
     * before this shard parks. */
    bool room = tt_log_wait(in->places[in->blocked].partition->log);
    uint32_t next = in->items_next;
    bool all = take_batch(shard);
    /* What was appended has to be published and written. */
    return in->items_next != next || (all ? in->due : room);
}

uint64_t tt_ingest_next_ns(const struct tt_shard *shard)
{
    const struct tt_ingest *in = shard->ingest;
    if (in == NULL || !in->attached) return UINT64_MAX;
    uint64_t next = in->figures_ns + (in->dirty ? 0 : IDLE_NS);
    if (in->blocked != NOBODY && in->blocked_for_long && shard->now_ns + RETRY_NS < next)
        next = shard->now_ns + RETRY_NS;
    return next;
}

bool tt_ingest_done(struct tt_shard *shard, const struct tt_done *done)
{
    if (tt_token_operation(done->token) != TT_OPERATION_SOURCE) return false;
    if (shard->ingest != NULL) shard->ingest->due = true;
    tt_produce_due(shard); /* it tells of both */
    return true;
}

/* ---- life ---- */

size_t tt_ingest_memory_bytes(void)
{
    return sizeof(struct tt_ingest);
}

enum tt_status tt_ingest_create(struct tt_shard *shard)
{
    const struct tt_world *world = shard->world;
    if (world->source == NULL) return TT_OK;
    struct tt_ingest *in = calloc(1, sizeof *in);
    shard->ingest = in;
    uint64_t *next = calloc(world->partitions_count, sizeof *next);
    if (in != NULL)
        in->places = calloc(world->partitions_count / world->shards_count + 1, sizeof *in->places);
    if (next == NULL || in == NULL || in->places == NULL) {
        free(next);
        return TT_ENOMEM;
    }
    in->source = world->source;
    in->blocked = NOBODY;
    for (uint32_t p = shard->index; p < world->partitions_count; p += world->shards_count) {
        struct place *place = &in->places[in->places_count++];
        place->partition = &world->partitions[p];
        place->next = next[p] = tt_log_next_offset(place->partition->log);
        tt_metric_set(&place->partition->mirror_next, place->next);
        tt_metric_set(&place->partition->read_next, place->next);
        place->first_end = tt_metric_get(&place->partition->source_end);
        moved(shard, place, place->next); /* it may be there already */
    }
    in->descriptor = in->source->ops->attach(in->source, shard->index, next);
    free(next);
    if (in->descriptor < 0) return (enum tt_status)in->descriptor;
    in->attached = in->due = true;
    tt_io_poll_in(shard->io, in->descriptor, tt_token(TT_OPERATION_SOURCE, 0, 0));
    return TT_OK;
}

void tt_ingest_destroy(struct tt_shard *shard)
{
    if (shard->ingest == NULL) return;
    free(shard->ingest->places);
    free(shard->ingest);
    shard->ingest = NULL;
}

void tt_ingest_stop(struct tt_shard *shard)
{
    struct tt_ingest *in = shard->ingest;
    if (in == NULL || !in->attached) return;
    tt_io_poll_in_stop(shard->io, in->descriptor);
    in->source->ops->detach(in->source, shard->index);
    in->attached = in->due = false;
    in->items_next = in->items_count = 0;
    unblock(in);
}
