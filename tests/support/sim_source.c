#include "tests/support/sim_source.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/sim_clients_internal.h"

#define RUN_MAX 60u

static struct sim_source *source_of(struct tt_source *s)
{
    return (struct sim_source *)(void *)s;
}

static bool owns(const struct sim_source *s, uint32_t shard, uint32_t partition)
{
    return partition % s->sim->shards == shard;
}

/* ---- the topic ---- */

static char *copy(struct tt_bytes bytes)
{
    char *text = malloc(bytes.size + 1);
    TT_ASSERT(text != NULL);
    if (bytes.size != 0) memcpy(text, bytes.data, bytes.size);
    text[bytes.size] = '\0';
    return text;
}

static void tell(struct sim_source *s, uint32_t shard, bool *silent)
{
    if (s->shards[shard].attached && *silent) sim_io_edge(&s->sim->scheduler, shard);
    *silent = false;
}

static void push(struct sim_source *s, uint32_t partition, const struct sim_record *record)
{
    struct sim_kafka_partition *p = &s->partitions[partition];
    SIM_PUSH(p->records, p->count, p->capacity, *record);
    p->end = record->offset + 1;
    p->told_end = false;
    uint32_t shard = partition % s->sim->shards;
    tell(s, shard, &s->shards[shard].silent);
}

uint64_t sim_source_append(struct sim_source *s, uint32_t partition, uint32_t hole,
                           const struct tt_event *event)
{
    struct sim_record r = {.offset = s->partitions[partition].end + hole,
                           .channel = copy(event->channel),
                           .type = copy(event->type),
                           .payload = copy(event->payload),
                           .flags = event->flags};
    push(s, partition, &r);
    return r.offset;
}

void sim_source_poison(struct sim_source *s, uint32_t partition)
{
    push(s, partition,
         &(struct sim_record){.offset = s->partitions[partition].end, .poison = true});
}

void sim_source_mark(struct sim_source *s, uint32_t partition, uint32_t offsets)
{
    uint32_t shard = partition % s->sim->shards;
    s->partitions[partition].end += offsets;
    s->partitions[partition].told_end = false;
    tell(s, shard, &s->shards[shard].silent);
}

/* ---- reading ---- */

static void take_back(struct sim_kafka_shard *k)
{
    for (uint32_t i = 0; i < k->lent_count; i++) free(k->lent[i]);
    k->lent_count = 0;
}

static int source_attach(struct tt_source *base, uint32_t shard, const uint64_t *next)
{
    struct sim_source *s = source_of(base);
    struct sim_kafka_shard *k = &s->shards[shard];
    TT_ASSERT(!k->attached);
    k->attached = true;
    k->silent = k->nothing_done = false;
    for (uint32_t i = 0; i < s->partitions_count; i++) {
        struct sim_kafka_partition *p = &s->partitions[i];
        if (!owns(s, shard, i)) continue;
        for (p->given = 0; p->given < p->count && p->records[p->given].offset < next[i];)
            p->given++;
        p->told_end = false;
        p->read = 0;
    }
    return (int)sim_io_foreign(shard);
}

static void source_detach(struct tt_source *base, uint32_t shard)
{
    struct sim_kafka_shard *k = &source_of(base)->shards[shard];
    TT_ASSERT(k->attached);
    k->attached = false;
    k->under_way_count = k->done_count = 0;
    take_back(k);
}

static struct tt_bytes lend(struct sim_kafka_shard *k, const char *text)
{
    char *lent = strdup(text);
    TT_ASSERT(lent != NULL);
    SIM_PUSH(k->lent, k->lent_count, k->lent_capacity, lent);
    return tt_bytes(lent, strlen(text));
}

static void give(struct sim_kafka_shard *k, uint32_t partition, const struct sim_record *r,
                 struct tt_source_item *item)
{
    *item = (struct tt_source_item){.kind = r->poison ? TT_SOURCE_SKIP : TT_SOURCE_EVENT,
                                    .partition = partition,
                                    .offset = r->offset};
    if (r->poison) return;
    item->event = (struct tt_event){.channel = lend(k, r->channel),
                                    .type = lend(k, r->type),
                                    .payload = lend(k, r->payload),
                                    .timestamp_ms = 1700000000000,
                                    .taken_us = INT64_C(1700000000000000) + (int64_t)r->offset,
                                    .flags = r->flags};
}

/* Some records of a partition that has any. Returns the items. */
static uint32_t give_run(struct sim_source *s, uint32_t shard, uint32_t partition,
                         struct tt_source_item *items, uint32_t max)
{
    uint64_t *random = &s->sim->scheduler.random;
    struct sim_kafka_partition *p = &s->partitions[partition];
    uint32_t n = 0, run = (uint32_t)sim_between(random, 1, max < RUN_MAX ? max : RUN_MAX);
    if (p->given > 0 && p->given < p->count && sim_chance(random, 6)) {
        uint32_t again = (uint32_t)sim_between(random, 1, p->given < 5 ? p->given : 5);
        p->given -= again;
        s->duplicates += again;
    }
    while (n < run && p->given < p->count)
        give(&s->shards[shard], partition, &p->records[p->given++], &items[n++]);
    if (p->given == p->count && !p->told_end && n < max) {
        items[n++] = (struct tt_source_item){
            .kind = TT_SOURCE_END, .partition = partition, .offset = p->end};
        p->told_end = true;
    }
    return n;
}

static bool has_more(const struct sim_kafka_partition *p)
{
    return p->given < p->count || !p->told_end;
}

static uint32_t source_poll(struct tt_source *base, uint32_t shard, struct tt_source_item *items,
                            uint32_t max)
{
    struct sim_source *s = source_of(base);
    uint64_t *random = &s->sim->scheduler.random;
    uint32_t n = 0, first = (uint32_t)sim_between(random, 0, s->partitions_count - 1);
    TT_ASSERT(s->shards[shard].attached);
    take_back(&s->shards[shard]);
    s->polls++;
    for (uint32_t i = 0; i < s->partitions_count && n < max; i++) {
        uint32_t partition = (first + i) % s->partitions_count;
        if (!owns(s, shard, partition) || !has_more(&s->partitions[partition])) continue;
        n += give_run(s, shard, partition, items + n, max - n);
        if (sim_chance(random, 3)) break;
    }
    s->shards[shard].silent = n == 0;
    return n;
}

static bool source_end(struct tt_source *base, uint32_t shard, uint32_t partition, uint64_t *next)
{
    struct sim_source *s = source_of(base);
    TT_ASSERT(owns(s, shard, partition));
    *next = s->partitions[partition].end;
    return sim_chance(&s->sim->scheduler.random, 2);
}

static void source_read(struct tt_source *base, uint32_t shard, uint32_t partition, uint64_t next)
{
    struct sim_kafka_partition *p = &source_of(base)->partitions[partition];
    TT_ASSERT(owns(source_of(base), shard, partition) && next >= p->read && next <= p->end);
    p->read = next;
}

/* ---- producing ---- */

static enum tt_status source_place(struct tt_source *base, uint32_t shard,
                                   const struct tt_event *event, uint32_t *partition,
                                   const char **why)
{
    struct sim_source *s = source_of(base);
    (void)shard;
    *why = "channel: begins with \"bad.\", which no topic has";
    if (tt_bytes_starts(event->channel, TT_BYTES_LITERAL("bad."))) return TT_EINVAL;
    *partition = tt_shard_partition_of(s->sim->world->shards[0], event->channel);
    return TT_OK;
}

static enum tt_status source_produce(struct tt_source *base, uint32_t shard,
                                     struct tt_source_produce *p)
{
    struct sim_source *s = source_of(base);
    struct sim_kafka_shard *k = &s->shards[shard];
    TT_ASSERT(k->attached && owns(s, shard, p->partition));
    if (k->under_way_count == s->under_way_max) return TT_FULL;
    SIM_PUSH(k->under_way, k->under_way_count, k->under_way_capacity, p);
    return TT_OK;
}

static uint32_t source_produced(struct tt_source *base, uint32_t shard,
                                struct tt_source_produce **done, uint32_t max)
{
    struct sim_kafka_shard *k = &source_of(base)->shards[shard];
    uint32_t n = k->done_count < max ? k->done_count : max;
    if (n != 0) {
        memcpy(done, k->done, n * sizeof *done);
        memmove(k->done, k->done + n, (k->done_count - n) * sizeof *done);
        k->done_count -= n;
    }
    k->nothing_done = n == 0;
    return n;
}

bool sim_source_settle(struct sim_source *s)
{
    uint64_t *random = &s->sim->scheduler.random;
    uint32_t first = (uint32_t)sim_between(random, 0, s->sim->shards - 1);
    for (uint32_t i = 0; i < s->sim->shards; i++) {
        uint32_t shard = (first + i) % s->sim->shards;
        struct sim_kafka_shard *k = &s->shards[shard];
        if (k->under_way_count == 0) continue;
        struct tt_source_produce *p = k->under_way[0];
        memmove(k->under_way, k->under_way + 1, --k->under_way_count * sizeof(void *));
        bool late = s->fails != 0 && sim_chance(random, s->fails);
        p->status = late ? TT_ETIMEDOUT : TT_OK;
        p->maybe = late;
        p->placed = p->partition;
        if (!late || sim_chance(random, 2))
            p->offset =
                sim_source_append(s, p->partition, (uint32_t)sim_between(random, 0, 2), &p->event);
        SIM_PUSH(k->done, k->done_count, k->done_capacity, p);
        tell(s, shard, &k->nothing_done);
        return true;
    }
    return false;
}

/* ---- life ---- */

static const struct tt_source_ops ops = {.attach = source_attach,
                                         .detach = source_detach,
                                         .poll = source_poll,
                                         .end = source_end,
                                         .read = source_read,
                                         .place = source_place,
                                         .produce = source_produce,
                                         .produced = source_produced};

void sim_source_init(struct sim_source *s, struct sim *sim, uint32_t partitions)
{
    TT_ASSERT(partitions > 0 && partitions <= SIM_PARTITIONS_MAX);
    *s = (struct sim_source){
        .base = {.ops = &ops}, .sim = sim, .partitions_count = partitions, .under_way_max = 100};
    sim->source = &s->base;
    sim->source_partitions = partitions;
}

void sim_source_forget(struct sim_source *s)
{
    for (uint32_t i = 0; i < SIM_SHARDS_MAX; i++)
        if (s->shards[i].attached) source_detach(&s->base, i);
}

void sim_source_deinit(struct sim_source *s)
{
    sim_source_forget(s);
    for (uint32_t i = 0; i < s->partitions_count; i++) {
        struct sim_kafka_partition *p = &s->partitions[i];
        for (uint32_t k = 0; k < p->count; k++) {
            free(p->records[k].channel);
            free(p->records[k].type);
            free(p->records[k].payload);
        }
        free(p->records);
    }
    for (uint32_t i = 0; i < SIM_SHARDS_MAX; i++) {
        free(s->shards[i].lent);
        free(s->shards[i].under_way);
        free(s->shards[i].done);
    }
}
