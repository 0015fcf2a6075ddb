#include "shard/fanout/fanout.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "proto/base/prefetch.h"
#include "proto/wire/sse_frame.h"
#include "shard/client/client.h"
#include "shard/client/lag.h"
#include "shard/client/repartition.h"
#include "shard/memory.h"
#include "shard/replay/catchup.h"
#include "shard/shard_internal.h"
#include "store/record.h"
#include "store/tail.h"

/* How often (in arrivals) live clients are checked against the ring's edge, and the margin that
 * makes it enough: two checks and a turn fit between the margin and the edge. */
#define CHECK_EVERY  (TT_ARRIVALS_RING / 4)
#define PLACE_MARGIN (TT_ARRIVALS_RING / 2)
_Static_assert(PLACE_MARGIN + CHECK_EVERY + TT_TURN_DESCRIPTORS_MAX < TT_ARRIVALS_RING,
               "nobody leaves the ring between two checks");
#define LOOK_AT_CLOCK_EVERY 64u

struct tt_fanout {
    uint64_t *read; /* sequence read up to, of each partition */
    uint32_t next_partition;
    uint64_t checked_at;               /* arrival of the last check of places */
    struct tt_frame *frames[TT_FORMS]; /* of the event being queued */
};

enum tt_status tt_fanout_create(struct tt_shard *shard)
{
    struct tt_fanout *f = calloc(1, sizeof *f);
    shard->fanout = f;
    if (f == NULL) return TT_ENOMEM;
    uint32_t n = shard->world->partitions_count;
    f->read = calloc(n, sizeof *f->read);
    uint64_t *next = calloc(n, sizeof *next);
    enum tt_status status = f->read == NULL || next == NULL ? TT_ENOMEM : TT_OK;
    if (status == TT_OK) {
        for (uint32_t p = 0; p < n; p++)
            f->read[p] = tt_tail_start(shard->world->partitions[p].tail, &next[p]);
        status = tt_arrivals_init(&shard->arrivals, n, next);
    }
    free(next);
    return status;
}

void tt_fanout_destroy(struct tt_shard *shard)
{
    if (shard->fanout == NULL) return;
    tt_arrivals_deinit(&shard->arrivals);
    free(shard->fanout->read);
    free(shard->fanout);
    shard->fanout = NULL;
}

uint64_t tt_fanout_place(const struct tt_shard *shard, uint32_t partition)
{
    return shard->fanout->read[partition];
}

bool tt_fanout_waiting(const struct tt_shard *shard)
{
    for (uint32_t p = 0; p < shard->world->partitions_count; p++)
        if (tt_tail_head(shard->world->partitions[p].tail) != shard->fanout->read[p]) return true;
    return false;
}

/* The id of an event on a wire: narrow, or the vector. Empty without either. */
static struct tt_bytes write_id(struct tt_shard *shard, uint32_t partition,
                                const struct tt_placed_event *placed, unsigned form,
                                const uint64_t *vector, struct tt_writer *w)
{
    if (!(form & TT_FORM_FULL))
        tt_cursor_write_narrow(w, &placed->position,
                               tt_topology_narrow_partitions(&shard->topology, partition));
    else if (vector != NULL)
        tt_topology_write_full(&shard->topology, vector, w);
    TT_ASSERT(!w->overflow);
    return tt_writer_bytes(w);
}

/* What a dirty list knows an event by. */
static uint64_t conflation_channel(const struct tt_shard *shard, const struct tt_event *event)
{
    uint64_t hash = tt_hash(&shard->world->hash_key, event->channel);
    bool never = (event->flags & TT_EVENT_NEVER_CONFLATE) != 0;
    return never ? hash | TT_FRAME_NEVER_CONFLATE : hash & ~TT_FRAME_NEVER_CONFLATE;
}

struct tt_frame *tt_fanout_encode(struct tt_shard *shard, struct tt_frame_memory *memory,
                                  uint32_t partition, const struct tt_placed_event *placed,
                                  unsigned form, const uint64_t *vector)
{
    uint8_t text[TT_CURSOR_BYTES_MAX];
    struct tt_writer w = tt_writer(text, sizeof text);
    struct tt_bytes id = write_id(shard, partition, placed, form, vector, &w);
    struct tt_sse_form sse = tt_sse_form_at(form & (TT_SSE_FORMS - 1));
    struct tt_sse_layout layout = tt_sse_event_layout(placed, sse, id.size);
    struct tt_frame *f = tt_frame_create(memory, layout.bytes);
    if (f == NULL) return NULL;
    f->kind = TT_FRAME_EVENT;
    f->a_bytes = layout.a_bytes;
    f->bytes = layout.bytes;
    f->a_head_bytes = (uint8_t)layout.a_body;
    f->b_head_bytes = (uint8_t)(layout.b_body - layout.a_bytes);
    f->offset = placed->position.offset;
    f->partition = partition;
    f->taken_us = placed->event.taken_us;
    if (shard->conflating != 0) f->channel = conflation_channel(shard, &placed->event);
    tt_sse_event_write(f->data, &layout, placed, sse, id);
    tt_metric_add(&shard->metrics.frames, 1);
    return f;
}

static struct tt_frame *shared_frame(struct tt_shard *shard, uint32_t partition,
                                     const struct tt_placed_event *placed, uint64_t arrival,
                                     unsigned form)
{
    struct tt_frame *f = shard->fanout->frames[form];
    if (f == NULL) {
        f = tt_fanout_encode(shard, &shard->frames, partition, placed, form, shard->arrivals.next);
        if (f == NULL) return NULL;
        f->arrival = arrival;
        shard->fanout->frames[form] = f;
        shard->live_ns = shard->now_ns;
    }
    return tt_frame_get(f);
}

static void queue_to(struct tt_shard *shard, struct tt_client *client, uint32_t partition,
                     const struct tt_placed_event *placed, uint64_t arrival)
{
    bool catching_up = client->state == TT_CLIENT_CATCHUP;
    bool queues = catching_up
                      ? tt_catchup_queues(client, partition, placed->position.offset)
                      : client->state == TT_CLIENT_LIVE || client->state == TT_CLIENT_CONFLATING;
    if (!queues) {
        if (TT_UNLIKELY(client->extra != NULL)) tt_lag_missed(client, partition, placed);
        return;
    }
    if (TT_UNLIKELY(client->extra != NULL) && !tt_client_wants(client, placed->event.type)) return;
    struct tt_frame *f = shared_frame(shard, partition, placed, arrival, client->form);
    if (f == NULL) {
        /* Without memory for the frame the client cannot stay exact here: it resumes by its cursor.
         */
        tt_client_abort(client, TT_CLOSE_INTERNAL);
        return;
    }
    if (catching_up) tt_catchup_waits(tt_catchup_part(client, partition), placed->position.offset);
    tt_client_queue(client, f);
}

/* Thousands of clients fit no cache, and each would be waited for: so they are fetched ahead, and
 * nearer their connections, which stand in them. */
#define FETCH_AHEAD 8u

static void fetch_ahead(const struct tt_shard *shard, const uint32_t *slots, uint32_t count)
{
    if (count > FETCH_AHEAD)
        tt_prefetch(tt_pool_at(&shard->clients, slots[FETCH_AHEAD]), sizeof(struct tt_client));
    if (count > FETCH_AHEAD / 2) {
        const struct tt_client *client = tt_pool_at(&shard->clients, slots[FETCH_AHEAD / 2]);
        tt_exchange_fetch(&client->exchange);
    }
}

static void fan_out(struct tt_shard *shard, uint32_t partition, struct tt_bytes bytes,
                    uint64_t arrival)
{
    struct tt_record record;
    /* The owner encoded it in this process: anything else is our own bug. */
    enum tt_status status = tt_record_decode(bytes, &record);
    TT_ASSERT(status == TT_OK);
    struct tt_placed_event placed = {
        .event = record.event,
        .position = tt_topology_position(&shard->topology, partition, record.offset)};
    const struct tt_followed *matches[TT_MATCHES_MAX];
    unsigned n = tt_subscriptions_match(shard->subscriptions, placed.event.channel, matches);
    for (unsigned i = 0; i < n; i++) {
        const uint32_t *slots = tt_followed_clients(matches[i]);
        for (uint32_t k = 0; k < matches[i]->clients_count; k++) {
            fetch_ahead(shard, slots + k, matches[i]->clients_count - k);
            queue_to(shard, tt_pool_at(&shard->clients, slots[k]), partition, &placed, arrival);
        }
    }
    for (unsigned i = 0; i < TT_FORMS; i++)
        if (shard->fanout->frames[i] != NULL) tt_frame_put(&shard->fanout->frames[i]);
}

static bool is_full(const struct tt_shard *shard)
{
    return tt_shard_frame_bytes(shard) > shard->frames.bytes_max;
}

/* Reads a run of one tail; returns the descriptors handled. */
static uint32_t read_run(struct tt_shard *shard, uint32_t partition, uint32_t max,
                         uint64_t deadline_ns)
{
    struct tt_tail *tail = shard->world->partitions[partition].tail;
    uint64_t *read = &shard->fanout->read[partition];
    const struct tt_tail_descriptor *run;
    uint32_t count = tt_tail_read(tail, *read, max, &run);
    uint32_t i = 0;
    if (tt_topology_note(&shard->topology, partition, false))
        tt_repartition(shard, partition, TT_REPARTITION_GREW);
    while (i < count) {
        const struct tt_tail_descriptor *d = &run[i++];
        if (TT_UNLIKELY(d->flags & TT_EVENT_MISPLACED) &&
            tt_topology_note(&shard->topology, partition, true))
            tt_repartition(shard, partition, TT_REPARTITION_MISPLACED);
        if (d->class == TT_RECORD_EVENT) {
            uint64_t arrival = tt_arrivals_push(&shard->arrivals, partition, d->offset + 1);
            if (tt_subscriptions_may_match(shard->subscriptions, d->channel_hash))
                fan_out(shard, partition, tt_tail_record(tail, d), arrival);
        } else if (d->class == TT_RECORD_HOLE) {
            struct tt_record hole;
            enum tt_status status = tt_record_decode(tt_tail_record(tail, d), &hole);
            TT_ASSERT(status == TT_OK);
            if (hole.hole_end > shard->arrivals.next[partition])
                tt_arrivals_push(&shard->arrivals, partition, hole.hole_end);
        }
        /* Over the bound, the holders of the oldest frames go first: tt_fanout_enforce(). */
        if (TT_UNLIKELY(is_full(shard))) break;
        if (i % LOOK_AT_CLOCK_EVERY == 0 && tt_io_now_ns(shard->io) > deadline_ns) break;
    }
    *read += i;
    return i;
}

bool tt_fanout_read(struct tt_shard *shard)
{
    struct tt_fanout *f = shard->fanout;
    uint32_t n = shard->world->partitions_count;
    uint32_t left = TT_TURN_DESCRIPTORS_MAX;
    uint64_t deadline_ns = shard->now_ns + TT_TURN_READ_US_MAX * UINT64_C(1000);
    for (uint32_t i = 0; i < n && left > 0; i++) {
        uint32_t p = f->next_partition;
        uint64_t head = tt_tail_head(shard->world->partitions[p].tail);
        uint32_t before = left;
        while (left > 0 && f->read[p] != head) {
            left -= read_run(shard, p, left, deadline_ns);
            if (tt_io_now_ns(shard->io) > deadline_ns || is_full(shard)) break;
        }
        if (left != before &&
            tt_tail_advance(shard->world->partitions[p].tail, shard->index, f->read[p]))
            tt_peers_wake(shard->world->peers, shard->index, shard->world->partitions[p].owner);
        f->next_partition = (p + 1) % n;
        if (tt_io_now_ns(shard->io) > deadline_ns || is_full(shard)) break;
    }
    return tt_fanout_waiting(shard);
}

/* Live, and `first` is the arrival of its oldest event that waits. */
static bool live_with_events(const struct tt_client *client, uint64_t *first)
{
    if (client->state != TT_CLIENT_LIVE && client->state != TT_CLIENT_CONFLATING) return false;
    *first = tt_client_first_arrival(client);
    return *first != 0;
}

/* Demotes every live client whose oldest untaken event arrived at or before `limit`. A CONFLATING
 * one has its place in its list (conflate.h): only the memory of its frames may be wanted back. */
static void demote_up_to(struct tt_shard *shard, uint64_t limit, bool conflating)
{
    for (uint32_t s = tt_pool_next(&shard->clients, 0); s != TT_SLOT_NONE;
         s = tt_pool_next(&shard->clients, s + 1)) {
        struct tt_client *client = tt_pool_at(&shard->clients, s);
        uint64_t first;
        if (!conflating && client->state == TT_CLIENT_CONFLATING) continue;
        if (live_with_events(client, &first) && first <= limit)
            tt_client_move(client, TT_CLIENT_RING_EDGE, TT_CLOSE_SLOW);
    }
}

static void relieve_frames(struct tt_shard *shard)
{
    uint64_t oldest = UINT64_MAX;
    for (uint32_t s = tt_pool_next(&shard->clients, 0); s != TT_SLOT_NONE;
         s = tt_pool_next(&shard->clients, s + 1)) {
        struct tt_client *client = tt_pool_at(&shard->clients, s);
        uint64_t first;
        if (live_with_events(client, &first) && first < oldest) oldest = first;
        /* What joined partitions queued to clients that still catch up counts too. */
        if (client->state == TT_CLIENT_CATCHUP && tt_catchup_holds_many(client))
            tt_client_move(client, TT_CLIENT_OVER_BOUND, TT_CLOSE_SLOW);
    }
    /* The older quarter of what is held. */
    if (oldest != UINT64_MAX)
        demote_up_to(shard, oldest + (shard->arrivals.sequence - oldest) / 4, true);
}

void tt_fanout_enforce(struct tt_shard *shard)
{
    struct tt_fanout *f = shard->fanout;
    uint64_t sequence = shard->arrivals.sequence;
    if (sequence - f->checked_at >= CHECK_EVERY) {
        f->checked_at = sequence;
        if (sequence > PLACE_MARGIN) demote_up_to(shard, sequence - PLACE_MARGIN, false);
    }
    if (is_full(shard)) relieve_frames(shard);
}
