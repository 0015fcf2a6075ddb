#include "shard/http/publish_batch.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "proto/base/limits.h"
#include "store/idempotency.h"

#define EVENTS_MIN 16u

_Static_assert(TT_PARTITIONS_MAX < UINT16_MAX, "partitions are numbered in 16 bits");

/* ---- memory ---- */

bool tt_publish_memory_get(struct tt_shard *shard, size_t bytes)
{
    tt_metric *used = &tt_shard_own_metrics(shard)->publish_bytes;
    size_t most = tt_shard_options(shard)->publish_bytes;
    if (tt_metric_get(used) > most || bytes > most - tt_metric_get(used)) return false;
    tt_metric_add(used, bytes);
    return true;
}

void tt_publish_memory_put(struct tt_shard *shard, size_t bytes)
{
    tt_metric_sub(&tt_shard_own_metrics(shard)->publish_bytes, bytes);
}

static uint32_t partitions(const struct tt_publish_batch *b)
{
    return tt_shard_world(b->shard)->partitions_count;
}

static struct tt_source *source_of(const struct tt_publish_batch *b)
{
    return tt_shard_world(b->shard)->source;
}

/* What one event costs beside its bytes. */
static size_t event_bytes(const struct tt_publish_batch *b)
{
    size_t bytes = sizeof *b->events + sizeof *b->lines;
    if (source_of(b) != NULL) bytes += sizeof *b->places_;
    return partitions(b) == 1 ? bytes : bytes + sizeof *b->sorted_ + sizeof *b->part_of_;
}

/* Room for twice as many events. realloc'd pointers that were gained are kept on failure too: they
 * only are larger than they are counted. */
static enum tt_status grow(struct tt_publish_batch *b)
{
    uint32_t capacity = b->capacity_ == 0 ? EVENTS_MIN : b->capacity_ * 2;
    size_t more = (capacity - b->capacity_) * event_bytes(b);
    if (!tt_publish_memory_get(b->shard, more)) return TT_ENOMEM;
    struct tt_event *events = realloc(b->events, capacity * sizeof *events);
    if (events != NULL) b->events = events;
    uint64_t *lines = realloc(b->lines, capacity * sizeof *lines);
    if (lines != NULL) b->lines = lines;
    bool good = events != NULL && lines != NULL;
    if (good && source_of(b) != NULL) {
        struct tt_publish_place *places = realloc(b->places_, capacity * sizeof *places);
        if (places != NULL) b->places_ = places;
        good = places != NULL;
    }
    if (good && partitions(b) > 1) {
        struct tt_event *sorted = realloc(b->sorted_, capacity * sizeof *sorted);
        if (sorted != NULL) b->sorted_ = sorted;
        uint16_t *part_of = realloc(b->part_of_, capacity * sizeof *part_of);
        if (part_of != NULL) b->part_of_ = part_of;
        good = sorted != NULL && part_of != NULL;
    }
    if (!good) {
        tt_publish_memory_put(b->shard, more);
        return TT_ENOMEM;
    }
    b->capacity_ = capacity;
    return TT_OK;
}

static size_t parts_bytes(const struct tt_publish_batch *b)
{
    size_t index_bytes = partitions(b) == 1 ? 0 : partitions(b) * sizeof *b->index_of_;
    return b->parts_capacity_ * sizeof *b->parts_ + index_bytes;
}

/* As many parts as the batch can have; made once. Parts never move: owners hold their addresses. */
static enum tt_status make_parts(struct tt_publish_batch *b)
{
    uint32_t most = b->count < partitions(b) ? b->count : partitions(b);
    if (most <= b->parts_capacity_) return TT_OK;
    if (b->parts_capacity_ != 0) {
        tt_publish_memory_put(b->shard, parts_bytes(b));
        free(b->parts_);
        b->parts_ = NULL;
        most = partitions(b); /* it comes again and again: no more of this */
    }
    b->parts_capacity_ = most;
    bool counted = tt_publish_memory_get(b->shard, parts_bytes(b));
    if (counted) b->parts_ = calloc(most, sizeof *b->parts_);
    if (counted && partitions(b) > 1 && b->index_of_ == NULL) {
        b->index_of_ = malloc(partitions(b) * sizeof *b->index_of_);
        if (b->index_of_ != NULL) memset(b->index_of_, 0xFF, partitions(b) * sizeof *b->index_of_);
    }
    if (b->parts_ != NULL && (partitions(b) == 1 || b->index_of_ != NULL)) return TT_OK;
    if (counted) tt_publish_memory_put(b->shard, parts_bytes(b));
    b->parts_capacity_ = 0;
    free(b->parts_);
    b->parts_ = NULL;
    return TT_ENOMEM;
}

/* A block for each event. */
static enum tt_status make_blocks(struct tt_publish_batch *b)
{
    if (b->count <= b->blocks_capacity_) return TT_OK;
    size_t more = (b->count - b->blocks_capacity_) * sizeof *b->blocks_;
    if (!tt_publish_memory_get(b->shard, more)) return TT_ENOMEM;
    struct tt_record_idempotency *blocks = realloc(b->blocks_, b->count * sizeof *blocks);
    if (blocks == NULL) {
        tt_publish_memory_put(b->shard, more);
        return TT_ENOMEM;
    }
    b->blocks_ = blocks;
    b->blocks_capacity_ = b->count;
    return TT_OK;
}

/* ---- collecting ---- */

static void request_done(struct tt_publish_request *request);
static void claim_done(struct tt_publish_request *request);
static void room_again(struct tt_publish_waiter *waiter);

void tt_publish_batch_init(struct tt_publish_batch *b, struct tt_shard *shard,
                           void (*done)(struct tt_publish_batch *batch))
{
    *b = (struct tt_publish_batch){.shard = shard, .done = done, .waiter_ = {.ready = room_again}};
}

void tt_publish_batch_deinit(struct tt_publish_batch *b)
{
    TT_ASSERT(!tt_publish_batch_busy(b));
    if (b->parts_capacity_ != 0) tt_publish_memory_put(b->shard, parts_bytes(b));
    tt_publish_memory_put(b->shard, b->capacity_ * event_bytes(b));
    tt_publish_memory_put(b->shard, b->blocks_capacity_ * sizeof *b->blocks_);
    free(b->blocks_);
    free(b->events);
    free(b->lines);
    free(b->places_);
    free(b->sorted_);
    free(b->part_of_);
    free(b->index_of_);
    free(b->parts_);
    *b = (struct tt_publish_batch){0};
}

enum tt_status tt_publish_batch_add(struct tt_publish_batch *b, const struct tt_event *event,
                                    uint64_t line)
{
    TT_ASSERT(b->parts_count_ == 0);
    if (b->count == b->capacity_ && grow(b) != TT_OK) return TT_ENOMEM;
    uint32_t partition;
    struct tt_source *source = source_of(b);
    if (source == NULL)
        partition = tt_shard_partition_of(b->shard, event->channel);
    else if (source->ops->place(source, tt_shard_index(b->shard), event, &partition, &b->why) !=
             TT_OK)
        return TT_EINVAL;
    if (b->part_of_ != NULL) b->part_of_[b->count] = (uint16_t)partition;
    b->events[b->count] = *event;
    b->lines[b->count++] = line;
    return TT_OK;
}

void tt_publish_batch_reset(struct tt_publish_batch *b)
{
    TT_ASSERT(!tt_publish_batch_busy(b));
    b->count = b->parts_count_ = b->submitted_ = 0;
    b->claim_.request.status = TT_OK;
}

/* ---- sorting: stable, in two passes ---- */

static struct tt_publish_part *new_part(struct tt_publish_batch *b, uint32_t partition)
{
    TT_ASSERT(b->parts_count_ < b->parts_capacity_);
    struct tt_publish_part *part = &b->parts_[b->parts_count_++];
    *part = (struct tt_publish_part){
        .request = {.partition = partition, .done = request_done},
        .batch = b,
    };
    return part;
}

static void sort_by_partition(struct tt_publish_batch *b)
{
    for (uint32_t i = 0; i < b->count; i++) {
        uint32_t partition = b->part_of_[i]; /* until here: tt_publish_batch_add() */
        if (b->index_of_[partition] == UINT16_MAX) {
            b->index_of_[partition] = (uint16_t)b->parts_count_;
            (void)new_part(b, partition);
        }
        b->part_of_[i] = b->index_of_[partition];
        b->parts_[b->part_of_[i]].request.events_count++;
    }
    struct tt_event *to = b->sorted_;
    for (uint32_t p = 0; p < b->parts_count_; p++) {
        struct tt_publish_request *request = &b->parts_[p].request;
        b->index_of_[request->partition] = UINT16_MAX; /* for the next batch */
        request->events = to;
        if (b->places_ != NULL) request->places = b->places_ + (to - b->sorted_);
        to += request->events_count;
    }
    for (uint32_t i = 0; i < b->count; i++) {
        struct tt_publish_part *part = &b->parts_[b->part_of_[i]];
        b->sorted_[(size_t)(part->request.events - b->sorted_) + part->next++] = b->events[i];
    }
}

/* Deals the blocks out as the events were: each has its event's index in the batch. */
static void sort_blocks(struct tt_publish_batch *b, const struct tt_record_idempotency *key)
{
    struct tt_record_idempotency *to = b->blocks_;
    for (uint32_t p = 0; p < b->parts_count_; p++) {
        struct tt_publish_part *part = &b->parts_[p];
        part->request.blocks = to;
        part->next = 0;
        to += part->request.events_count;
    }
    for (uint32_t i = 0; i < b->count; i++) {
        struct tt_publish_part *part = &b->parts_[partitions(b) == 1 ? 0 : b->part_of_[i]];
        struct tt_record_idempotency *block =
            &b->blocks_[(size_t)(part->request.blocks - b->blocks_) + part->next++];
        *block = *key;
        block->index = i;
        block->count = b->count;
    }
}

/* A batch that lies in the key's home alone claims the key by being appended there. */
static void prepare_claim(struct tt_publish_batch *b, const struct tt_record_idempotency *key)
{
    uint32_t home = tt_idempotency_home(key->key_hash, partitions(b));
    b->claim_block_ = *key;
    b->claim_ = (struct tt_publish_part){
        .request = {.partition = home, .blocks = &b->claim_block_, .done = claim_done},
        .batch = b,
    };
    b->claim_due_ = b->parts_count_ != 1 || b->parts_[0].request.partition != home;
}

/* ---- sending and being answered ---- */

static bool answered(const struct tt_publish_batch *b)
{
    return b->open_ == 0 && b->submitted_ == b->parts_count_ && !b->claim_due_;
}

/* No further part is sent. */
static void give_up(struct tt_publish_batch *b, enum tt_status status)
{
    for (; b->submitted_ < b->parts_count_; b->submitted_++)
        b->parts_[b->submitted_].request.status = status;
}

/* Sends one request. False: there is no room for more of them. */
static bool send_one(struct tt_publish_batch *b, struct tt_publish_request *request)
{
    enum tt_status status = tt_shard_publish(b->shard, request);
    if (status == TT_FULL) {
        b->waiting_ = true;
        tt_shard_publish_wait(b->shard, &b->waiter_);
        return false;
    }
    TT_ASSERT(status == TT_OK);
    b->open_++;
    return true;
}

/* Sends the claim, and behind its answer the parts, until there is no room for more requests. */
static void send(struct tt_publish_batch *b)
{
    if (b->claim_due_) {
        if (!send_one(b, &b->claim_.request)) return;
        b->claim_due_ = false;
        b->claiming_ = true;
    }
    if (b->claiming_) return;
    for (; b->submitted_ < b->parts_count_; b->submitted_++)
        if (!send_one(b, &b->parts_[b->submitted_].request)) return;
}

static void room_again(struct tt_publish_waiter *waiter)
{
    struct tt_publish_batch *b = TT_CONTAINER_OF(waiter, struct tt_publish_batch, waiter_);
    b->waiting_ = false;
    send(b);
    if (answered(b)) b->done(b);
}

static void request_done(struct tt_publish_request *request)
{
    struct tt_publish_part *part = TT_CONTAINER_OF(request, struct tt_publish_part, request);
    struct tt_publish_batch *b = part->batch;
    TT_ASSERT(b->open_ > 0);
    b->open_--;
    if (answered(b)) b->done(b);
}

static void claim_done(struct tt_publish_request *request)
{
    struct tt_publish_part *part = TT_CONTAINER_OF(request, struct tt_publish_part, request);
    struct tt_publish_batch *b = part->batch;
    TT_ASSERT(b->open_ == 1 && b->claiming_);
    b->open_--;
    b->claiming_ = false;
    if (request->status != TT_OK) give_up(b, request->status);
    send(b);
    if (answered(b)) b->done(b);
}

enum tt_status tt_publish_batch_submit(struct tt_publish_batch *b,
                                       const struct tt_record_idempotency *key)
{
    TT_ASSERT(b->parts_count_ == 0);
    if (b->count == 0 && key == NULL) return TT_END;
    if (make_parts(b) != TT_OK) return TT_ENOMEM;
    if (key != NULL && make_blocks(b) != TT_OK) return TT_ENOMEM;
    if (b->count == 0) {
        /* Nothing but the claim. */
    } else if (partitions(b) == 1) {
        struct tt_publish_request *request = &new_part(b, 0)->request;
        request->events = b->events;
        request->places = b->places_;
        request->events_count = b->count;
    } else {
        sort_by_partition(b);
    }
    if (key != NULL) {
        sort_blocks(b, key);
        prepare_claim(b, key);
    }
    send(b);
    return answered(b) ? TT_END : TT_OK;
}

bool tt_publish_batch_busy(const struct tt_publish_batch *b)
{
    return !answered(b);
}

bool tt_publish_batch_cancel(struct tt_publish_batch *b)
{
    if (b->waiting_) tt_shard_publish_wait_cancel(&b->waiter_);
    b->waiting_ = false;
    b->claim_due_ = false;
    give_up(b, TT_ECANCELED);
    return answered(b);
}

/* ---- places ---- */

void tt_publish_batch_rewind(struct tt_publish_batch *b)
{
    TT_ASSERT(answered(b));
    for (uint32_t p = 0; p < b->parts_count_; p++) b->parts_[p].next = 0;
}

/* Without a source: from the runs. */
static struct tt_publish_place place_in_runs(const struct tt_publish_request *request,
                                             uint32_t rank)
{
    const struct tt_publish_run *run = request->runs;
    while (rank >= run->count) rank -= run++->count;
    TT_ASSERT(run < request->runs + request->runs_count);
    return (struct tt_publish_place){.partition = request->partition,
                                     .offset = run->first_offset + rank};
}

bool tt_publish_batch_next(struct tt_publish_batch *b, uint32_t index,
                           struct tt_publish_place *place, struct tt_publish_refusal *why)
{
    struct tt_publish_part *part = &b->parts_[partitions(b) == 1 ? 0 : b->part_of_[index]];
    const struct tt_publish_request *request = &part->request;
    uint32_t rank = part->next++;
    if (request->status != TT_OK) {
        if (why != NULL) *why = tt_publish_refusal_of(request);
        return false;
    }
    *place = request->places != NULL ? request->places[rank] : place_in_runs(request, rank);
    if (place->status != TT_OK && why != NULL) *why = tt_publish_refusal_of_place(place);
    return place->status == TT_OK;
}

struct tt_position tt_publish_position(const struct tt_shard *shard,
                                       const struct tt_publish_place *place)
{
    const struct tt_world *world = tt_shard_world(shard);
    const struct tt_partition *partition = &world->partitions[place->partition];
    return (struct tt_position){.history = world->topics[partition->topic].history,
                                .partition = partition->number,
                                .offset = place->offset};
}

bool tt_publish_batch_unclaimed(const struct tt_publish_batch *b,
                                const struct tt_publish_request **request)
{
    *request = &b->claim_.request;
    return b->claim_.request.status != TT_OK;
}

bool tt_publish_batch_mismatched(const struct tt_publish_batch *b)
{
    bool any = b->claim_.request.status == TT_EEXIST;
    for (uint32_t p = 0; p < b->parts_count_; p++) any |= b->parts_[p].request.status == TT_EEXIST;
    return any;
}

bool tt_publish_batch_repeated(const struct tt_publish_batch *b)
{
    bool any = false;
    for (uint32_t p = 0; p < b->parts_count_; p++) any |= b->parts_[p].request.repeated != 0;
    return any;
}
