#include "broker/kafka/source.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "broker/kafka/source_internal.h"
#include "proto/base/assert.h"

/* ---- life of a shard's side ---- */

static void open_parts(struct tt_kafka_source *s, uint32_t shard, const uint64_t *next)
{
    for (uint32_t p = 0; p < s->world->partitions_count; p++)
        if (s->world->partitions[p].owner == shard) {
            atomic_store_explicit(&s->parts[p].next, next[p], memory_order_release);
            /* What was mirrored before, and read: nobody says it again. */
            atomic_store_explicit(&s->parts[p].read, next[p], memory_order_relaxed);
        }
}

static int attach(struct tt_source *source, uint32_t shard, const uint64_t *next)
{
    struct tt_kafka_source *s = (struct tt_kafka_source *)source;
    struct tt_kafka_side *side = &s->sides[shard];
    char error[TT_KAFKA_ERROR_MAX] = "";
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd < 0) return TT_ENOFILE;
    open_parts(s, shard, next);
    pthread_mutex_lock(&side->lock);
    int code = s->module->open_queue(s->kafka, shard, fd, error);
    side->attached = code == 0;
    side->event_fd = fd;
    pthread_mutex_unlock(&side->lock);
    if (code != 0) {
        tt_kafka_notes_put(s->notes, 3, error);
        close(fd);
        return TT_ENOMEM;
    }
    s->wake(s->context); /* its partitions can be started */
    return fd;
}

static void detach(struct tt_source *source, uint32_t shard)
{
    struct tt_kafka_source *s = (struct tt_kafka_source *)source;
    struct tt_kafka_side *side = &s->sides[shard];
    pthread_mutex_lock(&side->lock);
    if (side->attached) {
        s->module->close_queue(s->kafka, shard);
        close(side->event_fd);
    }
    side->attached = false;
    pthread_mutex_unlock(&side->lock);
}

/* ---- reading ---- */

/* The watch reads both while the partition is stopped; the order keeps what it sees consistent. */
static void moved(struct tt_kafka_source_part *part, const struct tt_kafka_message *m)
{
    atomic_store_explicit(&part->last_timestamp, m->timestamp_ms, memory_order_relaxed);
    atomic_store_explicit(&part->last_offset, m->offset, memory_order_relaxed);
    atomic_store_explicit(&part->next, (uint64_t)m->offset + 1, memory_order_release);
}

static void note_trouble(struct tt_kafka_source *s, uint32_t partition,
                         const struct tt_kafka_message *m)
{
    const struct tt_partition *p = &s->world->partitions[partition];
    char text[TT_DIAG_MESSAGE_MAX];
    snprintf(text, sizeof text, "topic %s, partition %u: %s", s->world->topics[p->topic].name,
             p->number, m->error == NULL ? "error" : m->error);
    tt_kafka_notes_put(s->notes, 4, text);
    atomic_store_explicit(&s->parts[partition].trouble,
                          m->kind == TT_KAFKA_OUT_OF_RANGE ? TT_KAFKA_ERANGE : m->code,
                          memory_order_release);
    s->wake(s->context);
}

enum outcome { TAKEN, NOT_FOR_SHARD, NO_ROOM };

static enum outcome take(struct tt_kafka_source *s, struct tt_kafka_side *side,
                         const struct tt_kafka_message *m, struct tt_source_item *item)
{
    uint32_t partition = (uint32_t)m->tag;
    TT_ASSERT(partition < s->world->partitions_count);
    item->partition = partition;
    item->offset = (uint64_t)m->offset;
    item->misplaced = false;
    switch (m->kind) {
    case TT_KAFKA_RECORD:
        if (!tt_kafka_source_map(s, side, m, item)) return NO_ROOM;
        moved(&s->parts[partition], m);
        return TAKEN;
    case TT_KAFKA_END: item->kind = TT_SOURCE_END; return TAKEN;
    case TT_KAFKA_OUT_OF_RANGE: /* Kafka's thread looks why, and may start it again */
    case TT_KAFKA_ERROR: note_trouble(s, partition, m); return NOT_FOR_SHARD;
    }
    return NOT_FOR_SHARD;
}

static bool start(struct tt_kafka_source *s, const struct tt_partition *p)
{
    char error[TT_KAFKA_ERROR_MAX] = "";
    uint64_t next = atomic_load_explicit(&s->parts[p->index].next, memory_order_relaxed);
    if (s->module->start(s->kafka, p->owner, s->world->topics[p->topic].name, (int32_t)p->number,
                         (int64_t)next, p->index, error) == 0)
        return true;
    tt_kafka_notes_put(s->notes, 3, error);
    return false;
}

/* Starts and stops what the watch wants. */
static void follow_watch(struct tt_kafka_source *s, uint32_t shard)
{
    for (uint32_t i = 0; i < s->world->partitions_count; i++) {
        const struct tt_partition *p = &s->world->partitions[i];
        if (p->owner != shard) continue;
        struct tt_kafka_source_part *part = &s->parts[i];
        bool wanted = atomic_load_explicit(&part->wanted, memory_order_relaxed);
        if (wanted == atomic_load_explicit(&part->reads, memory_order_relaxed)) continue;
        if (wanted)
            wanted = start(s, p);
        else
            s->module->stop(s->kafka, shard, s->world->topics[p->topic].name, (int32_t)p->number);
        atomic_store_explicit(&part->reads, wanted, memory_order_release);
    }
    s->wake(s->context);
}

static void empty(int fd)
{
    uint64_t count;
    ssize_t taken = read(fd, &count, sizeof count);
    (void)taken;
}

/* What is left of the module's last batch. */
static uint32_t take_messages(struct tt_kafka_source *s, struct tt_kafka_side *side,
                              struct tt_source_item *items, uint32_t max)
{
    uint32_t count = 0;
    side->scratch.size = 0;
    side->scratch.overflow = false;
    while (side->messages_next < side->messages_count && count < max) {
        enum outcome outcome = take(s, side, &side->messages[side->messages_next], &items[count]);
        if (outcome == NO_ROOM) break;
        side->messages_next++;
        count += outcome == TAKEN;
    }
    return count;
}

static uint32_t poll_items(struct tt_source *source, uint32_t shard, struct tt_source_item *items,
                           uint32_t max)
{
    struct tt_kafka_source *s = (struct tt_kafka_source *)source;
    struct tt_kafka_side *side = &s->sides[shard];
    uint32_t count = take_messages(s, side, items, max);
    if (count != 0) return count;
    empty(side->event_fd);
    if (atomic_exchange_explicit(&side->changed, false, memory_order_acquire))
        follow_watch(s, shard);
    /* A batch with nothing for the shard must not look like the end. */
    while (count == 0) {
        side->messages_next = 0;
        side->messages_count = s->module->poll(s->kafka, shard, side->messages,
                                               max < TT_KAFKA_POLL_MAX ? max : TT_KAFKA_POLL_MAX);
        if (side->messages_count == 0) return 0;
        count = take_messages(s, side, items, max);
    }
    return count;
}

static bool end_of(struct tt_source *source, uint32_t shard, uint32_t partition, uint64_t *next)
{
    struct tt_kafka_source *s = (struct tt_kafka_source *)source;
    const struct tt_partition *p = &s->world->partitions[partition];
    int64_t low, high;
    (void)shard;
    /* The library would take a partition that it is asked about for one that is to be read, and
     * wait for slots to come up. */
    if (!atomic_load_explicit(&s->parts[partition].reads, memory_order_relaxed)) return false;
    if (!s->module->end(s->kafka, s->world->topics[p->topic].name, (int32_t)p->number, &low, &high))
        return false;
    if (high < 0) return false;
    *next = (uint64_t)high;
    return true;
}

static void was_read(struct tt_source *source, uint32_t shard, uint32_t partition, uint64_t next)
{
    struct tt_kafka_source *s = (struct tt_kafka_source *)source;
    (void)shard;
    atomic_store_explicit(&s->parts[partition].read, next, memory_order_relaxed);
}

static const struct tt_source_ops ops = {.attach = attach,
                                         .detach = detach,
                                         .poll = poll_items,
                                         .end = end_of,
                                         .read = was_read,
                                         .place = tt_kafka_source_place_event,
                                         .produce = tt_kafka_source_produce,
                                         .produced = tt_kafka_source_produced};

/* ---- life ---- */

static enum tt_status create_sides(struct tt_kafka_source *s)
{
    size_t skips_bytes = s->world->shards_count * sizeof *s->skips;
    s->sides = calloc(s->world->shards_count, sizeof *s->sides);
    s->skips = aligned_alloc(64, skips_bytes);
    if (s->sides == NULL || s->skips == NULL) return TT_ENOMEM;
    memset(s->skips, 0, skips_bytes);
    for (uint32_t i = 0; i < s->world->shards_count; i++) {
        struct tt_kafka_side *side = &s->sides[i];
        pthread_mutex_init(&side->lock, NULL);
        side->messages = calloc(TT_KAFKA_POLL_MAX, sizeof *side->messages);
        if (side->messages == NULL || tt_kafka_source_map_create(s, side) != TT_OK ||
            tt_kafka_source_produce_create(s, side) != TT_OK)
            return TT_ENOMEM;
    }
    return TT_OK;
}

enum tt_status tt_kafka_source_create(struct tt_kafka_source **source,
                                      const struct tt_kafka_source_options *o)
{
    struct tt_kafka_source *s = calloc(1, sizeof *s);
    *source = s;
    if (s == NULL) return TT_ENOMEM;
    s->module = o->module;
    s->kafka = o->kafka;
    s->plan = o->plan;
    s->world = o->world;
    s->notes = o->notes;
    s->wake = o->wake;
    s->context = o->context;
    s->source.ops = &ops;
    s->source.publish_topic = o->publish_topic < 0 ? UINT32_MAX : (uint32_t)o->publish_topic;
    s->commands_topic =
        o->commands_topic < 0 ? s->source.publish_topic : (uint32_t)o->commands_topic;
    size_t parts_bytes = o->world->partitions_count * sizeof *s->parts;
    s->parts = aligned_alloc(64, parts_bytes);
    if (s->parts != NULL) memset(s->parts, 0, parts_bytes);
    s->partitions = calloc(o->world->topics_count, sizeof *s->partitions);
    s->misplaced = calloc(o->world->topics_count, sizeof *s->misplaced);
    enum tt_status status =
        s->parts == NULL || s->partitions == NULL || s->misplaced == NULL ? TT_ENOMEM : TT_OK;
    if (status == TT_OK) status = create_sides(s);
    for (uint32_t i = 0; status == TT_OK && i < o->world->topics_count; i++)
        atomic_init(&s->partitions[i], o->world->topics[i].partitions);
    if (status != TT_OK) tt_kafka_source_destroy(source);
    return status;
}

void tt_kafka_source_destroy(struct tt_kafka_source **source)
{
    struct tt_kafka_source *s = *source;
    if (s == NULL) return;
    for (uint32_t i = 0; s->sides != NULL && i < s->world->shards_count; i++) {
        tt_kafka_source_map_destroy(&s->sides[i]);
        tt_kafka_source_produce_destroy(&s->sides[i]);
        free(s->sides[i].messages);
        pthread_mutex_destroy(&s->sides[i].lock);
    }
    free(s->sides);
    free(s->skips);
    free(s->parts);
    free(s->partitions);
    free(s->misplaced);
    free(s);
    *source = NULL;
}

struct tt_source *tt_kafka_source_of(struct tt_kafka_source *source)
{
    return &source->source;
}

/* ---- watch ---- */

void tt_kafka_source_want(struct tt_kafka_source *s, uint32_t partition, bool wanted)
{
    struct tt_kafka_side *side = &s->sides[s->world->partitions[partition].owner];
    uint64_t one = 1;
    atomic_store_explicit(&s->parts[partition].wanted, wanted, memory_order_relaxed);
    atomic_store_explicit(&side->changed, true, memory_order_release);
    pthread_mutex_lock(&side->lock);
    if (side->attached) {
        ssize_t written = write(side->event_fd, &one, sizeof one);
        (void)written; /* full: it is readable already */
    }
    pthread_mutex_unlock(&side->lock);
}

bool tt_kafka_source_reads(const struct tt_kafka_source *s, uint32_t partition)
{
    return atomic_load_explicit(&s->parts[partition].reads, memory_order_acquire);
}

void tt_kafka_source_grow(struct tt_kafka_source *s, uint32_t topic, uint32_t partitions)
{
    atomic_store_explicit(&s->partitions[topic], partitions, memory_order_relaxed);
}

bool tt_kafka_source_misplaced(const struct tt_kafka_source *s, uint32_t topic)
{
    return atomic_load_explicit(&s->misplaced[topic], memory_order_relaxed);
}

struct tt_kafka_place tt_kafka_source_place(const struct tt_kafka_source *s, uint32_t partition)
{
    const struct tt_kafka_source_part *part = &s->parts[partition];
    struct tt_kafka_place place = {.next = atomic_load_explicit(&part->next, memory_order_acquire)};
    place.last_offset = (uint64_t)atomic_load_explicit(&part->last_offset, memory_order_relaxed);
    place.last_timestamp_ms = atomic_load_explicit(&part->last_timestamp, memory_order_relaxed);
    place.has_last = place.next != 0 && place.last_offset + 1 == place.next;
    return place;
}

uint64_t tt_kafka_source_read(const struct tt_kafka_source *s, uint32_t partition)
{
    return atomic_load_explicit(&s->parts[partition].read, memory_order_relaxed);
}

const struct tt_kafka_skips *tt_kafka_source_skips(const struct tt_kafka_source *source)
{
    return source->skips;
}

int32_t tt_kafka_source_trouble(struct tt_kafka_source *s, uint32_t partition)
{
    return atomic_exchange_explicit(&s->parts[partition].trouble, 0, memory_order_acq_rel);
}
