#include "shard/owner.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "shard/produce.h"
#include "shard/replay/lookup.h"
#include "shard/retries.h"
#include "shard/shard_internal.h"
#include "store/idempotency.h"
#include "store/log.h"

#define NO_ROOM_RETRY_S       1u
#define KEYS_FORGOTTEN_A_TURN 16u

/* A partition that this shard writes. */
struct owned {
    struct tt_partition *partition;
    struct tt_list waiting; /* requests that found no room, in order */
    struct tt_list pending; /* appended, not accepted yet, in order */
    uint32_t in_flight;
    enum tt_log_state told;     /* the state that was logged last */
    enum tt_status told_reason; /* and why; the path stands in the line */
    enum tt_status told_keep;   /* of background work */
    bool retry_now;             /* room was made while it was tried */
};

struct tt_owner {
    struct owned *owned;
    uint32_t owned_count;
    uint32_t *open; /* publish requests of this shard that are open, to each owner */
    uint32_t open_total;
    uint32_t *segments_open; /* SEGMENT messages that each shard has not taken yet */
    struct tt_list waiters;  /* struct tt_publish_waiter */
    struct tt_list
        local_done;         /* own requests that were answered: done() is called on a later turn */
    struct tt_list lookups; /* struct tt_lookup_request: to be answered, in order */
    bool ring;              /* something was published in this turn */
    bool stopping;
};

static struct tt_log_now now_of(const struct tt_shard *shard)
{
    return (struct tt_log_now){.ns = shard->now_ns, .wall_us = shard->wall_us};
}

static struct owned *owned_of(struct tt_shard *shard, uint32_t partition)
{
    return &shard->owner->owned[partition / shard->world->shards_count];
}

void tt_owner_destroy(struct tt_shard *shard)
{
    if (shard->owner == NULL) return;
    free(shard->owner->open);
    free(shard->owner->segments_open);
    free(shard->owner->owned);
    free(shard->owner);
    shard->owner = NULL;
}

/* ---- requests ---- */

void tt_owner_answer(struct tt_shard *shard, struct tt_publish_request *request,
                     enum tt_status status)
{
    request->status = status;
    if (status != TT_OK) request->retry_after_s = NO_ROOM_RETRY_S;
    if (request->origin == shard->index) {
        tt_list_append(&shard->owner->local_done, &request->node);
        return;
    }
    struct tt_message m = {.kind = TT_MESSAGE_PUBLISHED};
    TT_MESSAGE_BODY(&m, tt_message_publish)->request = request;
    tt_peers_post(shard->world->peers, shard->index, request->origin, &m);
}

static void count_events(struct tt_shard *shard, const struct tt_publish_request *request,
                         uint32_t first)
{
    uint64_t bytes = 0;
    for (uint32_t i = first; i < request->events_count; i++)
        bytes += request->events[i].payload.size + request->events[i].channel.size +
                 request->events[i].type.size + request->events[i].headers.size;
    tt_metric_add(&shard->metrics.events_http, request->events_count - first);
    tt_metric_add(&shard->metrics.event_bytes, bytes);
}

/* Why the log stands still: mostly TT_ENOSPC, but a file that cannot be opened does it too. */
static enum tt_status stand_still_reason(const struct tt_log *log)
{
    struct tt_log_figures f;
    tt_log_figures(log, &f);
    return f.state == TT_LOG_NO_SPACE ? f.reason : TT_ENOSPC;
}

/* Appends what is not there yet, or says why not: TT_FULL and TT_ENOSPC may pass. A request of
 * which all is there waits with the first until that is accepted. */
static enum tt_status try_append(struct tt_shard *shard, struct owned *w,
                                 struct tt_publish_request *request)
{
    struct tt_idempotency *keys = w->partition->idempotency;
    uint32_t known = 0;
    request->runs_count = 0;
    if (request->blocks != NULL) {
        enum tt_status status = tt_retry_find(keys, request, shard->wall_us, &known);
        if (status != TT_OK) return status;
    }
    if (known != request->events_count) {
        struct tt_log_now now = now_of(shard);
        struct tt_publish_run run = {.count = request->events_count - known};
        enum tt_status status =
            tt_log_append(w->partition->log, &now, request->events + known, run.count,
                          request->blocks == NULL ? NULL : request->blocks + known,
                          &run.first_offset, &request->end_place);
        if (status == TT_ENOSPC) return stand_still_reason(w->partition->log);
        if (status != TT_OK) return status;
        request->runs[request->runs_count++] = run;
        if (request->blocks != NULL) tt_retry_note(keys, request, known, shard->wall_us);
        count_events(shard, request, known);
    }
    request->repeated = known;
    tt_list_append(&w->pending, &request->node);
    return TT_OK;
}

static void accept(struct tt_shard *shard, struct tt_publish_request *request)
{
    struct owned *w = owned_of(shard, request->partition);
    struct tt_idempotency *keys = w->partition->idempotency;
    TT_ASSERT(w->partition->index == request->partition);
    if (shard->owner->stopping) {
        tt_owner_answer(shard, request, TT_ECLOSED);
        return;
    }
    if (shard->produce != NULL) {
        tt_produce_accept(shard, request);
        return;
    }
    if (request->events_count == 0) {
        tt_owner_answer(shard, request, tt_retry_claim(keys, request, shard->wall_us));
        return;
    }
    request->deadline_ns = shard->now_ns + shard->options.publish_wait_ms * UINT64_C(1000000);
    enum tt_status status = TT_FULL;
    /* What needs no room does not wait for it. */
    if (tt_list_empty(&w->waiting) || tt_retry_is_known(keys, request, shard->wall_us))
        status = try_append(shard, w, request);
    if (status == TT_FULL)
        tt_list_append(&w->waiting, &request->node);
    else if (status != TT_OK)
        tt_owner_answer(shard, request, status);
}

enum tt_status tt_shard_publish(struct tt_shard *shard, struct tt_publish_request *request)
{
    TT_ASSERT(request->events_count > 0 || request->blocks != NULL);
    TT_ASSERT(request->partition < shard->world->partitions_count);
    struct tt_owner *o = shard->owner;
    uint32_t owner = shard->world->partitions[request->partition].owner;
    if (o->open[owner] == TT_PUBLISH_OPEN_MAX) return TT_FULL;
    o->open[owner]++;
    o->open_total++;
    request->origin = shard->index;
    if (owner == shard->index) {
        accept(shard, request);
        return TT_OK;
    }
    struct tt_message m = {.kind = TT_MESSAGE_PUBLISH};
    TT_MESSAGE_BODY(&m, tt_message_publish)->request = request;
    tt_peers_post(shard->world->peers, shard->index, owner, &m);
    return TT_OK;
}

void tt_shard_publish_wait(struct tt_shard *shard, struct tt_publish_waiter *waiter)
{
    tt_list_append(&shard->owner->waiters, &waiter->node);
}

void tt_shard_publish_wait_cancel(struct tt_publish_waiter *waiter)
{
    if (tt_node_linked(&waiter->node)) tt_list_remove(&waiter->node);
}

/* A request of this shard has come back. */
static void returned(struct tt_shard *shard, struct tt_publish_request *request)
{
    struct tt_owner *o = shard->owner;
    uint32_t owner = shard->world->partitions[request->partition].owner;
    TT_ASSERT(o->open[owner] > 0 && o->open_total > 0);
    o->open[owner]--;
    o->open_total--;
    request->done(request);
    struct tt_node *node = tt_list_take_first(&o->waiters);
    if (node != NULL) {
        struct tt_publish_waiter *waiter = TT_CONTAINER_OF(node, struct tt_publish_waiter, node);
        waiter->ready(waiter);
    }
}

void tt_owner_message(struct tt_shard *shard, const struct tt_message *message)
{
    struct tt_message m = *message;
    if (m.kind == TT_MESSAGE_PUBLISH) {
        accept(shard, TT_MESSAGE_BODY(&m, tt_message_publish)->request);
    } else if (m.kind == TT_MESSAGE_LOOKUP) {
        tt_owner_lookup(shard, TT_MESSAGE_BODY(&m, tt_message_lookup)->request);
    } else if (m.kind == TT_MESSAGE_PUBLISHED) {
        returned(shard, TT_MESSAGE_BODY(&m, tt_message_publish)->request);
    } else {
        TT_ASSERT(m.kind == TT_MESSAGE_SEGMENT_TAKEN && shard->owner->segments_open[m.from] > 0);
        shard->owner->segments_open[m.from]--;
    }
}

void tt_owner_publish(struct tt_shard *shard)
{
    struct tt_owner *o = shard->owner;
    bool any = false;
    for (uint32_t i = 0; i < o->owned_count; i++) any |= tt_log_publish(o->owned[i].partition->log);
    if (any) tt_peers_ring(shard->world->peers, shard->index, true);
}

/* ---- lookups ---- */

void tt_owner_lookup(struct tt_shard *shard, struct tt_lookup_request *request)
{
    tt_list_append(&shard->owner->lookups, &request->node_);
}

/* As many as a turn has time for; each is bounded by itself (store/lookup.h). */
static void answer_lookups(struct tt_shard *shard)
{
    struct tt_list *lookups = &shard->owner->lookups;
    for (unsigned i = 0; i < TT_TURN_LOOKUPS_MAX && !tt_list_empty(lookups); i++) {
        struct tt_node *node = tt_list_take_first(lookups);
        struct tt_lookup_request *r = TT_CONTAINER_OF(node, struct tt_lookup_request, node_);
        tt_log_lookup(owned_of(shard, r->lookup.partition)->partition->log, &r->lookup);
        if (r->origin_ == shard->index) {
            tt_lookup_answered(shard, r);
            continue;
        }
        struct tt_message m = {.kind = TT_MESSAGE_LOOKUP_DONE};
        TT_MESSAGE_BODY(&m, tt_message_lookup)->request = r;
        tt_peers_post(shard->world->peers, shard->index, r->origin_, &m);
    }
}

/* ---- files ---- */

static void start_operation(struct tt_shard *shard, struct owned *w, uint32_t index,
                            const struct tt_log_operation *op)
{
    uint64_t token = tt_token(TT_OPERATION_OWNER, (uint32_t)op->lane, index);
    struct tt_io *io = shard->io;
    w->in_flight++;
    switch (op->kind) {
    case TT_LOG_OPEN_NEW:
        tt_io_open(io, op->path, TT_OPEN_READ | TT_OPEN_WRITE | TT_OPEN_CREATE | TT_OPEN_EXCLUSIVE,
                   token);
        return;
    case TT_LOG_OPEN_EXISTING:
        tt_io_open(io, op->path, TT_OPEN_READ | TT_OPEN_WRITE, token);
        return;
    case TT_LOG_OPEN_DIRECTORY:
        tt_io_open(io, op->path, TT_OPEN_READ | TT_OPEN_DIRECTORY, token);
        return;
    case TT_LOG_PREALLOCATE: tt_io_preallocate(io, op->file, op->offset, op->size, token); return;
    case TT_LOG_WRITE: tt_io_write(io, op->file, op->offset, op->data, op->size, token); return;
    case TT_LOG_SYNC: tt_io_sync(io, op->file, true, token); return;
    case TT_LOG_SYNC_DIRECTORY: tt_io_sync(io, op->file, false, token); return;
    case TT_LOG_TRUNCATE: tt_io_truncate(io, op->file, op->size, token); return;
    case TT_LOG_CLOSE: tt_io_file_close(io, op->file, token); return;
    case TT_LOG_UNLINK: tt_io_unlink(io, op->path, token); return;
    case TT_LOG_OPEN_READ: tt_io_open(io, op->path, TT_OPEN_READ, token); return;
    case TT_LOG_READ: tt_io_read(io, op->file, op->offset, op->buffer, op->size, token); return;
    case TT_LOG_RENAME: tt_io_rename(io, op->path, op->path_to, token); return;
    }
    TT_UNREACHABLE();
}

bool tt_owner_done(struct tt_shard *shard, const struct tt_done *done)
{
    if (tt_token_operation(done->token) != TT_OPERATION_OWNER) return false;
    struct owned *w = &shard->owner->owned[tt_token_slot(done->token)];
    enum tt_log_lane lane = (enum tt_log_lane)tt_token_generation(done->token);
    w->in_flight--;
    struct tt_log_figures before, after;
    tt_log_figures(w->partition->log, &before);
    struct tt_log_now now = {.ns = tt_io_now_ns(shard->io), .wall_us = shard->wall_us};
    tt_log_operation_done(w->partition->log, lane, done->result, &now);
    tt_log_figures(w->partition->log, &after);
    if (after.syncs != before.syncs)
        tt_metric_observe_ns(&shard->metrics.log_sync, after.sync_ns_last);
    return true;
}

/* ---- work ---- */

static void answer_accepted(struct tt_shard *shard, struct owned *w)
{
    uint64_t place = tt_log_accepted_place(w->partition->log);
    struct tt_log_figures f;
    tt_log_figures(w->partition->log, &f);
    struct tt_node *node;
    while ((node = tt_list_first(&w->pending)) != NULL) {
        struct tt_publish_request *r = TT_CONTAINER_OF(node, struct tt_publish_request, node);
        enum tt_status status = TT_OK;
        if (r->end_place > place) {
            /* Read-only: it was appended, but it will never be on the disk. Without space: it will
             * be written when there is some, but nobody knows when. */
            bool late = f.state == TT_LOG_NO_SPACE && shard->now_ns >= r->deadline_ns;
            if (f.state != TT_LOG_READ_ONLY && !late) return;
            status = late ? f.reason : TT_EACCES;
        }
        tt_list_remove(node);
        tt_owner_answer(shard, r, status);
    }
}

/* True: something was appended, which has to be written. */
static bool retry_waiting(struct tt_shard *shard, struct owned *w)
{
    struct tt_node *node;
    bool appended = false;
    while ((node = tt_list_first(&w->waiting)) != NULL) {
        struct tt_publish_request *r = TT_CONTAINER_OF(node, struct tt_publish_request, node);
        tt_list_remove(node);
        enum tt_status status = try_append(shard, w, r);
        if (status == TT_OK) {
            appended = true;
            continue;
        }
        if (status == TT_FULL && shard->now_ns < r->deadline_ns && !shard->owner->stopping) {
            tt_list_prepend(&w->waiting, node);
            break;
        }
        tt_owner_answer(shard, r, shard->owner->stopping ? TT_ECLOSED : status);
    }
    return appended;
}

static void tell_segments(struct tt_shard *shard, struct owned *w)
{
    struct tt_owner *o = shard->owner;
    uint32_t shards = shard->world->shards_count;
    for (;;) {
        for (uint32_t to = 0; to < shards; to++)
            if (o->segments_open[to] == TT_SEGMENT_CREDITS) return;
        struct tt_log_notice change;
        if (tt_log_take_notice(w->partition->log, &change) != TT_OK) return;
        struct tt_message m = {.kind = TT_MESSAGE_SEGMENT};
        struct tt_message_segment *body = TT_MESSAGE_BODY(&m, tt_message_segment);
        body->partition = w->partition->index;
        body->event = change.event;
        body->first_offset = change.segment.first_offset;
        body->base_place = change.segment.base_place;
        body->end_place = change.segment.end_place;
        body->taken_max_us = change.segment.taken_max_us;
        for (uint32_t to = 0; to < shards; to++) {
            o->segments_open[to]++;
            tt_peers_post(shard->world->peers, shard->index, to, &m);
        }
    }
}

static enum tt_partition_trouble trouble_of(const struct tt_log_figures *f)
{
    if (f->state == TT_LOG_READ_ONLY) return TT_PARTITION_READ_ONLY;
    if (f->state != TT_LOG_NO_SPACE) return TT_PARTITION_WELL;
    return f->reason == TT_ENOSPC ? TT_PARTITION_NO_SPACE : TT_PARTITION_READ_ONLY;
}

/* One line for each change. */
static void tell_state(struct tt_shard *shard, struct owned *w, const struct tt_log_figures *f)
{
    bool trouble = f->state == TT_LOG_READ_ONLY || f->state == TT_LOG_NO_SPACE;
    if (f->state == w->told && (!trouble || f->reason == w->told_reason)) return;
    uint32_t p = w->partition->index;
    const char *why = tt_status_text(f->reason);
    if (f->state == TT_LOG_READ_ONLY)
        tt_diag_write(shard->diag, TT_DIAG_ERROR, NULL, "log_read_only",
                      "partition %u takes no more events until the broker is restarted: %s: %s", p,
                      f->failed_path, why);
    else if (f->state == TT_LOG_NO_SPACE && f->reason == TT_ENOSPC)
        tt_diag_write(shard->diag, TT_DIAG_ERROR, NULL, "log_no_space",
                      "partition %u takes no events until there is space for %s", p,
                      f->failed_path);
    else if (f->state == TT_LOG_NO_SPACE)
        tt_diag_write(shard->diag, TT_DIAG_ERROR, NULL, "log_read_only",
                      "partition %u takes no events until %s can be opened: %s", p, f->failed_path,
                      why);
    else if (w->told == TT_LOG_NO_SPACE && f->state == TT_LOG_OPEN)
        tt_diag_write(shard->diag, TT_DIAG_INFO, NULL,
                      w->told_reason == TT_ENOSPC ? "log_no_space" : "log_read_only",
                      "partition %u takes events again", p);
    w->told = f->state;
    w->told_reason = f->reason;
    tt_metric_set(&w->partition->trouble, trouble_of(f));
}

/* Background work: events are taken all the same. */
static void tell_keep(struct tt_shard *shard, struct owned *w, const struct tt_log_figures *f)
{
    if (f->keep_reason == w->told_keep) return;
    if (f->keep_reason != TT_OK)
        tt_diag_write(shard->diag, TT_DIAG_WARN, NULL, "log_background",
                      "partition %u: %s: %s; it is tried again, and old segments stay until then",
                      w->partition->index, f->keep_failed_path, tt_status_text(f->keep_reason));
    else
        tt_diag_write(shard->diag, TT_DIAG_INFO, NULL, "log_background",
                      "partition %u: background work goes on", w->partition->index);
    w->told_keep = f->keep_reason;
}

static void operate(struct tt_shard *shard, struct owned *w, uint32_t index)
{
    struct tt_log_operation op;
    struct tt_log_now now = now_of(shard);
    while (tt_log_next_operation(w->partition->log, &now, &op) == TT_OK)
        start_operation(shard, w, index, &op);
    answer_accepted(shard, w);
    tell_segments(shard, w);
}

static void work_on(struct tt_shard *shard, struct owned *w, uint32_t index)
{
    struct tt_log *log = w->partition->log;
    bool appended = true;
    /* Again after requests that waited have found room: the shard may sleep now, and nothing else
     * would write them. */
    while (appended) {
        operate(shard, w, index);
        if (tt_list_empty(&w->waiting)) break;
        bool room = tt_log_wait(log);
        appended = retry_waiting(shard, w);
        w->retry_now = !tt_list_empty(&w->waiting) && room;
        if (tt_list_empty(&w->waiting)) tt_log_wait_over(log);
    }
    tt_idempotency_expire(w->partition->idempotency, shard->wall_us, KEYS_FORGOTTEN_A_TURN);
}

static void update_log_figures(struct tt_shard *shard)
{
    struct tt_owner *o = shard->owner;
    uint64_t bytes = 0, segments = 0, read_only = 0, no_space = 0, writes = 0, written = 0;
    uint64_t keys = 0, evicted = 0;
    struct tt_log_figures sum = {0};
    uint64_t failing = 0;
    for (uint32_t i = 0; i < o->owned_count; i++) {
        struct tt_log_figures f;
        tt_log_figures(o->owned[i].partition->log, &f);
        tell_state(shard, &o->owned[i], &f);
        tell_keep(shard, &o->owned[i], &f);
        sum.channels += f.channels;
        sum.values_bytes += f.values_bytes;
        sum.index_bytes += f.index_bytes;
        sum.unindexed += f.unindexed;
        sum.kept_bytes += f.kept_bytes;
        sum.values_lost += f.values_lost;
        sum.keep_failures += f.keep_failures;
        failing += f.keep_reason != TT_OK;
        bytes += f.bytes;
        segments += f.segments;
        read_only += trouble_of(&f) == TT_PARTITION_READ_ONLY;
        no_space += trouble_of(&f) == TT_PARTITION_NO_SPACE;
        writes += f.writes;
        written += f.written_bytes;
        keys += tt_idempotency_keys(o->owned[i].partition->idempotency);
        evicted += tt_idempotency_evicted(o->owned[i].partition->idempotency);
    }
    struct tt_shard_metrics *m = &shard->metrics;
    tt_metric_set(&m->log_bytes, bytes);
    tt_metric_set(&m->log_segments, segments);
    tt_metric_set(&m->log_read_only, read_only);
    tt_metric_set(&m->log_no_space, no_space);
    tt_metric_set(&m->log_writes, writes);
    tt_metric_set(&m->log_written_bytes, written);
    tt_metric_set(&m->log_channels, sum.channels);
    tt_metric_set(&m->log_values_bytes, sum.values_bytes);
    tt_metric_set(&m->log_index_bytes, sum.index_bytes);
    tt_metric_set(&m->log_unindexed, sum.unindexed);
    tt_metric_set(&m->log_kept_bytes, sum.kept_bytes);
    tt_metric_set(&m->log_values_lost, sum.values_lost);
    tt_metric_set(&m->log_keep_failures, sum.keep_failures);
    tt_metric_set(&m->log_keep_failing, failing);
    tt_metric_set(&m->idempotency_keys, keys);
    tt_metric_set(&m->idempotency_evicted, evicted);
}

enum tt_status tt_owner_create(struct tt_shard *shard)
{
    const struct tt_world *world = shard->world;
    struct tt_owner *o = calloc(1, sizeof *o);
    shard->owner = o;
    if (o == NULL) return TT_ENOMEM;
    o->open = calloc(world->shards_count, sizeof *o->open);
    o->segments_open = calloc(world->shards_count, sizeof *o->segments_open);
    o->owned = calloc(world->partitions_count / world->shards_count + 1, sizeof *o->owned);
    if (o->open == NULL || o->segments_open == NULL || o->owned == NULL) return TT_ENOMEM;
    tt_list_init(&o->waiters);
    tt_list_init(&o->local_done);
    tt_list_init(&o->lookups);
    for (uint32_t p = shard->index; p < world->partitions_count; p += world->shards_count) {
        struct owned *w = &o->owned[o->owned_count++];
        w->partition = &world->partitions[p];
        TT_ASSERT(w->partition->owner == shard->index);
        tt_list_init(&w->waiting);
        tt_list_init(&w->pending);
    }
    /* Whoever asks when the broker is ready gets the log's figures. */
    update_log_figures(shard);
    return TT_OK;
}

/* Calls done() of own requests that were answered. It may publish again: what that answers at once
 * waits for the next turn. True: at least one. */
static bool answer_own(struct tt_shard *shard)
{
    struct tt_list done;
    struct tt_node *node;
    tt_list_init(&done);
    while ((node = tt_list_take_first(&shard->owner->local_done)) != NULL)
        tt_list_append(&done, node);
    bool any = !tt_list_empty(&done);
    while ((node = tt_list_take_first(&done)) != NULL)
        returned(shard, TT_CONTAINER_OF(node, struct tt_publish_request, node));
    return any;
}

void tt_owner_work(struct tt_shard *shard)
{
    struct tt_owner *o = shard->owner;
    for (uint32_t i = 0; i < o->owned_count; i++) work_on(shard, &o->owned[i], i);
    /* What done() has published is written, or waits for room, before the shard may sleep: nothing
     * else would wake it for that. */
    if (answer_own(shard))
        for (uint32_t i = 0; i < o->owned_count; i++) work_on(shard, &o->owned[i], i);
    answer_lookups(shard);
    update_log_figures(shard);
}

uint64_t tt_owner_next_ns(const struct tt_shard *shard)
{
    const struct tt_owner *o = shard->owner;
    if (!tt_list_empty(&o->local_done) || !tt_list_empty(&o->lookups)) return 0;
    uint64_t next = UINT64_MAX;
    struct tt_log_now now = now_of(shard);
    for (uint32_t i = 0; i < o->owned_count; i++) {
        const struct owned *w = &o->owned[i];
        uint64_t n = tt_log_next_ns(w->partition->log, &now);
        const struct tt_node *first = tt_list_first(&w->waiting);
        if (first != NULL) { /* its time to wait ends */
            uint64_t deadline =
                TT_CONTAINER_OF(first, struct tt_publish_request, node)->deadline_ns;
            if (w->retry_now) deadline = 0;
            if (deadline < n) n = deadline;
        }
        /* One that was appended is told when there was no space for so long. */
        first = tt_list_first(&w->pending);
        if (first != NULL && w->told == TT_LOG_NO_SPACE) {
            uint64_t deadline =
                TT_CONTAINER_OF(first, struct tt_publish_request, node)->deadline_ns;
            if (deadline < n) n = deadline;
        }
        if (n < next) next = n;
    }
    return next;
}

void tt_owner_stop(struct tt_shard *shard)
{
    struct tt_owner *o = shard->owner;
    o->stopping = true;
    for (uint32_t i = 0; i < o->owned_count; i++) {
        (void)retry_waiting(shard, &o->owned[i]);
        tt_log_close(o->owned[i].partition->log);
    }
}

bool tt_owner_stopped(const struct tt_shard *shard)
{
    const struct tt_owner *o = shard->owner;
    if (!o->stopping || o->open_total != 0) return false;
    for (uint32_t i = 0; i < o->owned_count; i++) {
        const struct owned *w = &o->owned[i];
        if (!tt_log_closed(w->partition->log) || w->in_flight != 0 || !tt_list_empty(&w->pending))
            return false;
    }
    return true;
}
