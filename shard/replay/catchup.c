#include "shard/replay/catchup.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "proto/base/prefetch.h"
#include "shard/client/conflate.h"
#include "shard/client/lag.h"
#include "shard/client/sse.h"
#include "shard/fanout/fanout.h"
#include "shard/replay/batch.h"
#include "shard/replay/indexed.h"
#include "shard/replay/replay_internal.h"
#include "shard/replay/snapshot.h"
#include "shard/shard_internal.h"

#define TIDY_NS UINT64_C(1000000000)
/* An answer of the source may be so old. */
#define SOURCE_ANSWERS_NS UINT64_C(2000000000)
/* While it is full so many clients are looked at in a turn: none of them can be given anything, but
 * a few have something to let go of. */
#define FULL_LOOKS_MAX 64u

size_t tt_catchup_bytes(uint32_t parts)
{
    return sizeof(struct tt_catchup) + parts * sizeof(struct tt_catchup_part);
}

static uint32_t partition_at(const struct tt_client *client, uint32_t i)
{
    return tt_client_full(client) ? i : client->partition;
}

static void classify(struct tt_client *client, struct tt_catchup_part *part, uint32_t partition)
{
    uint64_t next = client->shard->arrivals.next[partition];
    part->state = part->pos > next    ? TT_PART_AHEAD
                  : part->pos == next ? TT_PART_JOINED
                                      : TT_PART_READING;
}

enum tt_status tt_catchup_create(struct tt_client *client, const uint64_t *pos)
{
    TT_ASSERT(client->catchup == NULL);
    struct tt_shard *shard = client->shard;
    uint32_t parts = tt_client_full(client) ? shard->world->partitions_count : 1;
    struct tt_catchup *c = calloc(1, tt_catchup_bytes(parts));
    if (c == NULL) return TT_ENOMEM;
    c->client = client;
    c->begun_ns = shard->now_ns;
    c->parts_count = parts;
    c->first_shared = client->outbox.sent != 0;
    client->catchup = c;
    for (uint32_t i = 0; i < parts; i++) {
        uint32_t p = partition_at(client, i);
        c->parts[i].pos = c->parts[i].taken = pos[p];
        /* Joined at once is for those at R while the turn is between two reads, which holds for
         * every caller: demotion drops the outbox in the same breath. */
        classify(client, &c->parts[i], p);
    }
    shard->replay->clients++;
    tt_catchup_wake(client);
    return TT_OK;
}

bool tt_catchup_holds_many(const struct tt_client *client)
{
    return client->outbox.count > 1 ||
           (client->conflate != NULL && client->conflate->list.count > 1);
}

static void forget_reads(struct tt_catchup *c)
{
    if (c->reader != NULL) tt_segments_forget(&c->reader);
    tt_indexed_close(&c->indexed);
}

void tt_catchup_destroy(struct tt_client *client)
{
    struct tt_catchup *c = client->catchup;
    if (c == NULL) return;
    forget_reads(c);
    tt_snapshot_destroy(&c->snapshot);
    if (c->carry != NULL) tt_frame_put(&c->carry);
    if (tt_node_linked(&c->node)) tt_list_remove(&c->node);
    client->shard->replay->clients--;
    free(c);
    client->catchup = NULL;
}

enum tt_status tt_catchup_widen(struct tt_client *client)
{
    struct tt_shard *shard = client->shard;
    struct tt_catchup *old = client->catchup;
    uint32_t parts = shard->world->partitions_count;
    TT_ASSERT(!tt_client_full(client) && old->reader == NULL && old->indexed == NULL &&
              old->snapshot == NULL);
    struct tt_catchup *c = calloc(1, tt_catchup_bytes(parts));
    if (c == NULL) return TT_ENOMEM;
    c->client = client;
    c->begun_ns = old->begun_ns;
    c->parts_count = parts;
    c->carry = old->carry;
    c->carry_sent = old->carry_sent;
    /* An event that was begun ends with the id line of its own frame, which was its form so far. */
    const struct tt_frame *f = tt_outbox_first(&client->outbox);
    c->first_shared = old->first_shared || (client->outbox.sent != 0 && f->kind == TT_FRAME_EVENT);
    for (uint32_t p = 0; p < parts; p++) {
        c->parts[p].pos = c->parts[p].taken = shard->arrivals.next[p];
        c->parts[p].state = TT_PART_JOINED;
    }
    c->parts[client->partition] = old->parts[0];
    if (tt_node_linked(&old->node)) tt_list_remove(&old->node);
    free(old);
    client->catchup = c;
    client->partition = TT_PARTITION_ALL;
    tt_catchup_wake(client);
    return TT_OK;
}

void tt_catchup_hold(struct tt_client *client)
{
    struct tt_catchup *c = client->catchup;
    for (uint32_t i = 0; i < c->parts_count; i++) c->parts[i].state = TT_PART_READING;
}

void tt_catchup_go_on(struct tt_client *client)
{
    struct tt_catchup *c = client->catchup;
    tt_snapshot_destroy(&c->snapshot);
    for (uint32_t i = 0; i < c->parts_count; i++)
        classify(client, &c->parts[i], partition_at(client, i));
    tt_catchup_wake(client);
}

bool tt_catchup_queues(struct tt_client *client, uint32_t partition, uint64_t offset)
{
    struct tt_catchup_part *part = tt_catchup_part(client, partition);
    if (part->state == TT_PART_READING || (part->state == TT_PART_AHEAD && offset < part->pos))
        return false;
    if (client->conflate != NULL && tt_conflate_is_full(client->conflate)) {
        /* All before it was queued, and stays: from here on it is read when there is room. */
        part->state = TT_PART_READING;
        part->pos = offset;
        part->place = 0;
        tt_catchup_wake(client);
        return false;
    }
    part->state = TT_PART_JOINED; /* R has passed pos: everything from here on is queued */
    return true;
}

/* The next offset behind what was sent, or is certain to be sent before anything queued later. */
static uint64_t settled(const struct tt_client *client, const struct tt_catchup_part *part,
                        uint32_t partition)
{
    if (part->waiting != 0) return part->taken;
    /* A closing client ignores events: R runs on, past what was never sent to it. */
    if (client->state == TT_CLIENT_CLOSING) return part->taken;
    uint64_t through =
        part->state == TT_PART_JOINED ? client->shard->arrivals.next[partition] : part->pos;
    return through > part->taken ? through : part->taken;
}

void tt_catchup_overflow(struct tt_client *client)
{
    struct tt_catchup *c = client->catchup;
    struct tt_shard *shard = client->shard;
    for (uint32_t i = 0; i < c->parts_count; i++)
        c->parts[i].taken = settled(client, &c->parts[i], partition_at(client, i));
    if (client->conflate != NULL) tt_conflate_drop(client);
    tt_lag_dropping(client);
    if (tt_outbox_drop_events(&client->outbox, &shard->outboxes) != TT_OK) {
        tt_client_abort(client, TT_CLOSE_INTERNAL);
        return;
    }
    forget_reads(c);
    for (uint32_t i = 0; i < c->parts_count; i++) {
        struct tt_catchup_part *part = &c->parts[i];
        part->pos = part->taken;
        part->place = 0;
        part->waiting = 0;
        classify(client, part, partition_at(client, i));
    }
    /* Positions that were told and not taken yet, before any event, stay in the outbox and move on
     * from there; those behind an event went with it, and are met again. */
    struct tt_outbox_walk walk = {0};
    const struct tt_frame *f;
    bool first = true;
    while ((f = tt_outbox_walk(&client->outbox, &walk)) != NULL) {
        bool begun = first && client->outbox.sent != 0;
        first = false;
        if (begun || (f->kind != TT_FRAME_RESYNC && f->kind != TT_FRAME_GAP)) continue;
        struct tt_catchup_part *part = tt_catchup_part(client, f->partition);
        part->waiting++;
        part->pos = f->offset;
        classify(client, part, f->partition);
    }
    tt_catchup_wake(client);
}

void tt_catchup_queued_vector(const struct tt_client *client, uint64_t *vector)
{
    struct tt_catchup *c = client->catchup;
    for (uint32_t i = 0; i < c->parts_count; i++) {
        uint32_t p = partition_at(client, i);
        /* Kept: an id is made of it, and when an event of this partition is queued next, the ids of
         * what stands before it must not go back. */
        c->parts[i].taken = settled(client, &c->parts[i], p);
        vector[p] = c->parts[i].taken;
    }
}

void tt_catchup_wake(struct tt_client *client)
{
    struct tt_catchup *c = client->catchup;
    if (!tt_node_linked(&c->node)) tt_list_append(&client->shard->replay->rotation, &c->node);
    client->shard->replay->woken = true;
}

void tt_catchup_try_join(struct tt_client *client)
{
    struct tt_catchup *c = client->catchup;
    if (client->state != TT_CLIENT_CATCHUP || !tt_outbox_empty(&client->outbox) ||
        !tt_conflate_empty(client) || c->carry != NULL || c->reader != NULL || c->indexed != NULL)
        return;
    for (uint32_t i = 0; i < c->parts_count; i++) {
        const struct tt_catchup_part *part = &c->parts[i];
        bool passed = part->state == TT_PART_AHEAD &&
                      client->shard->arrivals.next[partition_at(client, i)] >= part->pos;
        if (part->state != TT_PART_JOINED && !passed) return;
    }
    tt_client_move(client, TT_CLIENT_JOINED, TT_CLOSE_NONE);
}

/* ---- what the log gives ---- */

void tt_catchup_tell(struct tt_client *client, uint32_t partition, struct tt_frame *f,
                     uint64_t next)
{
    struct tt_catchup_part *part = tt_catchup_part(client, partition);
    if (f == NULL) {
        tt_client_abort(client, TT_CLOSE_INTERNAL);
        return;
    }
    f->partition = partition;
    f->offset = next;
    tt_catchup_waits(part, part->pos);
    part->pos = next;
    part->place = 0;
    tt_client_queue(client, f);
}

/* hash: of its channel. False: no room for more. */
static bool take_event(struct tt_client *client, struct tt_catchup_part *part, uint32_t partition,
                       const struct tt_record *record, uint32_t hash)
{
    struct tt_shard *shard = client->shard;
    uint64_t settled = part->pos;
    part->pos = record->offset + 1;
    if (!tt_subscription_matches(client->subscription, record->event.channel, hash) ||
        !tt_client_wants(client, record->event.type))
        return true;
    if (TT_UNLIKELY(client->extra != NULL) && !tt_lag_reads(client, partition, &record->event)) {
        part->pos = settled;
        return false;
    }
    struct tt_placed_event placed = {
        .event = record->event,
        .position = tt_topology_position(&shard->topology, partition, record->offset)};
    enum tt_status status = client->conflate != NULL
                                ? TT_EUNSUPPORTED /* one by one: they may give way */
                                : tt_batch_put(client, partition, settled, &placed);
    if (status == TT_OK) return tt_catchup_has_room(client);
    struct tt_frame *f = NULL;
    if (status == TT_EUNSUPPORTED)
        f = tt_fanout_encode(shard, &shard->replay_frames, partition, &placed, client->form, NULL);
    if (f == NULL) {
        tt_client_abort(client, TT_CLOSE_INTERNAL);
        return false;
    }
    tt_catchup_waits(part, settled);
    tt_metric_add(&shard->metrics.replayed_events, 1);
    tt_client_queue(client, f);
    /* A list may have room for much: within a block the shard's bound is looked at, too. */
    if (client->conflate != NULL && tt_replay_frames_full(shard)) return false;
    return tt_catchup_has_room(client);
}

bool tt_catchup_take_record(struct tt_client *client, uint32_t partition,
                            const struct tt_record *record)
{
    struct tt_shard *shard = client->shard;
    struct tt_catchup_part *part = tt_catchup_part(client, partition);
    if (record->class == TT_RECORD_HOLE) {
        uint64_t end = record->hole_end;
        if (part->pos >= end) return true;
        if (client->conflate != NULL) {
            tt_conflate_meet_hole(client->conflate, partition,
                                  part->pos > record->offset ? part->pos : record->offset, end);
            return false;
        }
        tt_metric_add(&shard->metrics.gaps_crash, 1);
        uint64_t begin = part->pos > record->offset ? part->pos : record->offset;
        struct tt_position from = tt_topology_position(&shard->topology, partition, begin);
        struct tt_position to = tt_topology_position(&shard->topology, partition, end - 1);
        tt_catchup_tell(client, partition, tt_sse_gap_frame(client, "crash", 0, &from, &to), end);
        return tt_catchup_has_room(client);
    }
    if (record->class != TT_RECORD_EVENT || record->offset < part->pos) return true;
    /* Patterns go by the name. */
    uint32_t hash = client->subscription->exact == 0
                        ? 0
                        : (uint32_t)tt_hash(&shard->world->hash_key, record->event.channel);
    return take_event(client, part, partition, record, hash);
}

#define PREFETCH_BYTES_MAX 2048u

/* Records are read once each, from memory that no cache holds any more: the next one is fetched
 * while this one is encoded. */
static void prefetch(const struct tt_tail *tail, const struct tt_tail_descriptor *d)
{
    tt_prefetch(tt_tail_record(tail, d).data,
                d->length < PREFETCH_BYTES_MAX ? d->length : PREFETCH_BYTES_MAX);
}

/* From tail memory, in place. Returns the bytes of descriptors and records it looked at. */
static size_t read_memory(struct tt_client *client, struct tt_catchup_part *part,
                          uint32_t partition, size_t budget)
{
    struct tt_shard *shard = client->shard;
    struct tt_tail *tail = shard->world->partitions[partition].tail;
    uint64_t end = tt_fanout_place(shard, partition);
    uint64_t sequence = tt_tail_find(tail, shard->replay->first[partition], end, part->pos);
    size_t used = 0;
    bool room = true;
    while (sequence < end && used < budget && room && client->state == TT_CLIENT_CATCHUP) {
        const struct tt_tail_descriptor *run;
        uint32_t count = tt_tail_run(tail, sequence, end, &run);
        for (uint32_t i = 0; i < count && used < budget && room; i++, sequence++) {
            const struct tt_tail_descriptor *d = &run[i];
            used += sizeof *d;
            bool event = d->class == TT_RECORD_EVENT;
            if (event && !tt_subscription_may_match(client->subscription, d->channel_hash)) {
                part->pos = d->offset + 1;
                continue;
            }
            if (!event && d->class != TT_RECORD_HOLE) continue;
            struct tt_record record;
            if (i + 1 < count) prefetch(tail, d + 1);
            enum tt_status status = tt_record_decode(tt_tail_record(tail, d), &record);
            TT_ASSERT(status == TT_OK);
            used += d->length;
            room = event ? record.offset < part->pos ||
                               take_event(client, part, partition, &record, d->channel_hash)
                         : tt_catchup_take_record(client, partition, &record);
        }
    }
    /* Without room the last record may have been refused (tt_lag_reads): it is read again, or
     * skipped. */
    if (room && sequence == end && client->state == TT_CLIENT_CATCHUP &&
        !tt_conflate_met_hole(client->conflate) && part->state == TT_PART_READING) {
        /* Everything below R was queued: R does not move before the next read of the tails. */
        uint64_t next = shard->arrivals.next[partition];
        if (part->pos < next) part->pos = next;
        classify(client, part, partition);
    }
    return used;
}

/* One batch of one partition. Returns the bytes looked at; 0: nothing could be done now. */
static size_t step_part(struct tt_client *client, struct tt_catchup_part *part, uint32_t partition,
                        size_t budget)
{
    struct tt_shard *shard = client->shard;
    if (part->pos >= shard->arrivals.next[partition]) {
        classify(client, part, partition);
        return 1;
    }
    uint64_t memory = shard->replay->first_offset[partition];
    if (part->pos >= memory) return read_memory(client, part, partition, budget);
    enum tt_status status;
    if (tt_indexed_may(client) && part->pos >= part->scan_below) {
        status = tt_indexed_open(client, partition);
    } else {
        uint64_t bound =
            part->pos < part->scan_below && part->scan_below < memory ? part->scan_below : memory;
        tt_metric_add(&shard->metrics.replay_batches_scan, 1);
        status = tt_segments_read(shard->replay->segments, client, partition, part->pos,
                                  part->place, bound, &client->catchup->reader);
    }
    if (status == TT_OK) return TT_SEGMENT_BLOCK_BYTES;
    if (status != TT_ENOENT) return 0; /* no memory now: waits */
    tt_catchup_expired(client, partition);
    return 1;
}

/* One batch of one client: the next partition that has something to read. */
static size_t step_client(struct tt_catchup *c, size_t budget)
{
    struct tt_client *client = c->client;
    if (client->state == TT_CLIENT_SNAPSHOT) return tt_snapshot_step(c->snapshot, budget);
    if (tt_conflate_met_hole(client->conflate)) {
        tt_conflate_across_hole(client);
        return 1;
    }
    if (c->indexed != NULL) return tt_indexed_step(client, budget);
    if (c->reader != NULL) return tt_segments_step(c->reader);
    for (uint32_t i = 0; i < c->parts_count; i++) {
        uint32_t k = c->next_part;
        c->next_part = (k + 1) % c->parts_count;
        if (c->parts[k].state == TT_PART_READING)
            return step_part(client, &c->parts[k], partition_at(client, k), budget);
    }
    return 0;
}

static bool wants_step(const struct tt_catchup *c)
{
    if (c->client->state == TT_CLIENT_SNAPSHOT) return tt_snapshot_wants_step(c->snapshot);
    if (c->client->state == TT_CLIENT_CATCHUP && tt_conflate_met_hole(c->client->conflate))
        return tt_conflate_may_tell(c->client->conflate);
    if (c->client->state != TT_CLIENT_CATCHUP || !tt_catchup_has_room(c->client)) return false;
    if (tt_replay_waits_for_socket(c->client)) return false;
    if (c->reader != NULL) return tt_segments_ready(c->reader);
    if (c->indexed != NULL) return !tt_indexed_waits(c->indexed);
    for (uint32_t i = 0; i < c->parts_count; i++)
        if (c->parts[i].state == TT_PART_READING) return true;
    return false;
}

/* Without room, or while it waits for its socket, for as long as that likes: others may need the
 * memory. */
static void let_go(struct tt_catchup *c)
{
    if (c->indexed != NULL && !tt_indexed_waits(c->indexed)) tt_indexed_close(&c->indexed);
    if (c->client->state == TT_CLIENT_CATCHUP && c->reader != NULL &&
        tt_segments_ready(c->reader) && tt_replay_waits_for_socket(c->client))
        tt_segments_forget(&c->reader);
}

static bool is_ahead(const struct tt_catchup *c)
{
    if (c->client->state != TT_CLIENT_CATCHUP) return false;
    for (uint32_t i = 0; i < c->parts_count; i++)
        if (c->parts[i].state == TT_PART_AHEAD) return true;
    return false;
}

/* Beyond this log's end because this instance lags behind another one, or because there is no such
 * place in the source, which is asked after the client came: what it says a little later was not
 * under way by then. No answer: it waits. */
static void look_beyond(struct tt_catchup *c)
{
    struct tt_client *client = c->client;
    struct tt_shard *shard = client->shard;
    for (uint32_t i = 0; i < c->parts_count && client->state == TT_CLIENT_CATCHUP; i++) {
        uint32_t p = partition_at(client, i);
        if (c->parts[i].state != TT_PART_AHEAD || tt_topology_topic(&shard->topology, p)->fixed)
            continue;
        tt_replay_tidy_soon(shard); /* looks again, also on an idle shard */
        struct tt_partition *partition = &shard->world->partitions[p];
        uint64_t told_ns = atomic_load_explicit(&partition->source_told_ns, memory_order_acquire);
        uint64_t end = tt_metric_get(&partition->source_end);
        if (told_ns <= c->begun_ns + SOURCE_ANSWERS_NS || end >= c->parts[i].pos) continue;
        tt_metric_add(&shard->metrics.resyncs_ahead, 1);
        tt_catchup_tell(client, p, tt_sse_resync_frame(client, "ahead", p, NULL),
                        shard->arrivals.next[p]);
        if (client->catchup == c) classify(client, &c->parts[i], p);
    }
}

void tt_replay_begin_turn(struct tt_shard *shard)
{
    for (uint32_t p = 0; p < shard->world->partitions_count; p++)
        shard->replay->first[p] =
            tt_tail_first(shard->world->partitions[p].tail, &shard->replay->first_offset[p]);
}

bool tt_replay_step(struct tt_shard *shard, size_t step_bytes, uint64_t until_ns)
{
    struct tt_replay *r = shard->replay;
    r->woken = false;
    tt_search_run(shard);
    bool more = tt_since_step(shard);
    tt_lag_run(shard);
    if (tt_list_empty(&r->rotation)) return more;
    tt_replay_relieve(shard);
    bool time = true;
    uint32_t looks = FULL_LOOKS_MAX;
    struct tt_list again;
    tt_list_init(&again);
    while (time && looks > 0 && !tt_list_empty(&r->rotation)) {
        struct tt_node *node = tt_list_take_first(&r->rotation);
        struct tt_catchup *c = TT_CONTAINER_OF(node, struct tt_catchup, node);
        struct tt_client *client = c->client;
        size_t used = 0;
        bool full = tt_replay_frames_full(shard);
        looks -= full;
        bool wants = wants_step(c);
        if (wants && !full)
            used = step_client(c, step_bytes);
        else if (!wants)
            let_go(c);
        if (used != 0) time = tt_io_now_ns(shard->io) < until_ns;
        if (client->catchup != c) continue; /* live again, or gone */
        if (TT_UNLIKELY(is_ahead(c))) look_beyond(c);
        if (client->catchup != c) continue;
        tt_catchup_try_join(client);
        if (client->catchup != c || tt_node_linked(&c->node)) continue;
        if (wants_step(c) || is_ahead(c))
            tt_list_append(used != 0 ? &r->rotation : &again, &c->node);
    }
    /* Those that could do nothing now wait for the next turn, not for ever in this one; and those
     * that there is no memory for wait for whoever gives some back, which makes a turn. */
    more |= looks > 0 && !tt_list_empty(&r->rotation);
    struct tt_node *node;
    while ((node = tt_list_take_first(&again)) != NULL) tt_list_append(&r->rotation, node);
    return more;
}

bool tt_replay_has_work(const struct tt_shard *shard)
{
    const struct tt_replay *r = shard->replay;
    return tt_replay_waiting(shard) || !tt_list_empty(&r->rotation) ||
           !tt_list_empty(&r->searches) || !tt_list_empty(&r->since_ready) ||
           !tt_list_empty(&r->since_waiting);
}

bool tt_replay_waiting(const struct tt_shard *shard)
{
    return shard->replay->woken || !tt_list_empty(&shard->lagging);
}

/* ---- the parts that the shard sees ---- */

void tt_catchup_expired(struct tt_client *client, uint32_t partition)
{
    if (client->state != TT_CLIENT_CATCHUP) return;
    struct tt_catchup_part *part = tt_catchup_part(client, partition);
    struct tt_shard *shard = client->shard;
    uint64_t oldest = tt_tail_oldest_offset(shard->world->partitions[partition].tail);
    tt_metric_add(&shard->metrics.resyncs_expired, 1);
    tt_lag_unknown(client); /* how many have expired */
    tt_catchup_tell(client, partition, tt_sse_resync_frame(client, "expired", partition, NULL),
                    part->pos > oldest ? part->pos : oldest);
}

void tt_catchup_limit(struct tt_client *client, uint64_t events)
{
    struct tt_shard *shard = client->shard;
    struct tt_catchup *c = client->catchup;
    for (uint32_t i = 0; events != 0 && i < c->parts_count; i++) {
        uint32_t p = partition_at(client, i);
        struct tt_catchup_part *part = &c->parts[i];
        uint64_t next = shard->arrivals.next[p];
        if (next <= events || part->pos >= next - events) continue;
        if (part->pos < tt_tail_oldest_offset(shard->world->partitions[p].tail))
            tt_catchup_expired(client, p);
        if (client->state != TT_CLIENT_CATCHUP || part->pos >= next - events) continue;
        struct tt_position from = tt_topology_position(&shard->topology, p, part->pos);
        struct tt_position to = tt_topology_position(&shard->topology, p, next - events - 1);
        tt_metric_add(&shard->metrics.gaps_limit, 1);
        tt_catchup_tell(client, p,
                        tt_sse_gap_frame(client, "limit", next - events - part->pos, &from, &to),
                        next - events);
    }
}

enum tt_status tt_replay_create(struct tt_shard *shard)
{
    struct tt_replay *r = calloc(1, sizeof *r);
    shard->replay = r;
    if (r == NULL) return TT_ENOMEM;
    tt_list_init(&r->rotation);
    tt_sse_texts_init(&r->texts, (struct tt_history){{0}}, 0);
    tt_list_init(&r->kept);
    tt_list_init(&r->searches);
    tt_list_init(&r->since_waiting);
    tt_list_init(&r->since_ready);
    r->first = calloc(shard->world->partitions_count, sizeof *r->first);
    r->first_offset = calloc(shard->world->partitions_count, sizeof *r->first_offset);
    if (r->first == NULL || r->first_offset == NULL) return TT_ENOMEM;
    enum tt_status status = tt_files_create(shard, &r->files);
    if (status == TT_OK) status = tt_views_create(shard, &r->views);
    if (status == TT_OK) status = tt_segments_create(shard, &r->segments);
    return status;
}

void tt_replay_destroy(struct tt_shard *shard)
{
    struct tt_replay *r = shard->replay;
    if (r == NULL) return;
    TT_ASSERT(r->clients == 0);
    tt_segments_destroy(&r->segments);
    tt_views_destroy(&r->views);
    tt_places_free_kept(shard);
    tt_files_destroy(&r->files);
    free(r->first);
    free(r->first_offset);
    free(r);
    shard->replay = NULL;
}

/* ---- letting go ---- */

static void tidy(struct tt_timer *timer, uint64_t now_ns, void *context)
{
    (void)timer, (void)now_ns;
    struct tt_shard *shard = context;
    bool more = tt_views_tidy(shard->replay->views);
    if (tt_places_tidy(shard)) more = true;
    if (tt_segments_tidy(shard->replay->segments)) more = true;
    if (tt_files_tidy(shard->replay->files)) more = true;
    if (more) tt_replay_tidy_soon(shard);
}

void tt_replay_tidy_soon(struct tt_shard *shard)
{
    struct tt_timer *timer = &shard->replay->tidy;
    if (shard->timers != NULL && !tt_timer_armed(timer))
        tt_timer_arm(shard->timers, timer, shard->now_ns + TIDY_NS);
}

void tt_replay_start(struct tt_shard *shard)
{
    tt_timer_init(&shard->replay->tidy, tt_timers_kind(shard->timers, shard, tidy));
}

bool tt_replay_idle(const struct tt_shard *shard)
{
    return tt_files_idle(shard->replay->files);
}

size_t tt_replay_block_bytes(const struct tt_shard *shard)
{
    return shard->replay->block_bytes;
}

size_t tt_replay_index_bytes(const struct tt_shard *shard)
{
    return tt_views_index_bytes(shard->replay->views);
}

bool tt_replay_done(struct tt_shard *shard, const struct tt_done *done)
{
    bool ours = tt_token_operation(done->token) == TT_OPERATION_REPLAY;
    /* A file that is gone was retired. */
    if (ours && done->result < 0 && done->result != TT_ENOENT)
        tt_metric_add(&shard->metrics.log_read_errors, 1);
    return tt_files_done(shard->replay->files, done);
}

void tt_replay_segment(struct tt_shard *shard, const struct tt_message_segment *segment)
{
    tt_views_message(shard->replay->views, segment);
}
