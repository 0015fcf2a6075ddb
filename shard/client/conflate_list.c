#include "shard/client/conflate_list.h"

#include <stdlib.h>

#include "proto/base/assert.h"

#define CACHED_ENTRIES_MAX 65536u
#define BUCKETS_MIN        32u
#define BUCKETS_MAX        65536u

/* ---- entries ---- */

void tt_conflate_pool_init(struct tt_conflate_pool *pool)
{
    *pool = (struct tt_conflate_pool){0};
}

void tt_conflate_pool_deinit(struct tt_conflate_pool *pool)
{
    TT_ASSERT(pool->entries == 0);
    while (pool->free_ != NULL) {
        struct tt_conflate_entry *next = pool->free_->next_;
        free(pool->free_);
        pool->free_ = next;
    }
    pool->cached_ = 0;
}

static struct tt_conflate_entry *entry_get(struct tt_conflate_pool *pool)
{
    struct tt_conflate_entry *e = pool->free_;
    if (e != NULL) {
        pool->free_ = e->next_;
        pool->cached_--;
    } else {
        e = malloc(sizeof *e);
        if (e == NULL) return NULL;
    }
    pool->entries++;
    *e = (struct tt_conflate_entry){0};
    return e;
}

static void entry_put(struct tt_conflate_pool *pool, struct tt_conflate_entry *e)
{
    TT_ASSERT(pool->entries > 0);
    pool->entries--;
    if (pool->cached_ == CACHED_ENTRIES_MAX) {
        free(e);
        return;
    }
    pool->cached_++;
    e->next_ = pool->free_;
    pool->free_ = e;
}

/* ---- the table: open and waited entries by channel ---- */

static struct tt_conflate_entry **bucket_of(const struct tt_conflate_list *l, uint64_t channel)
{
    /* The lowest bit says something else (frame.h). */
    return &l->buckets_[(channel >> 1) & (l->buckets_count_ - 1)];
}

static struct tt_conflate_entry *find(const struct tt_conflate_list *l, uint64_t channel,
                                      enum tt_conflate_seal seal)
{
    for (struct tt_conflate_entry *e = *bucket_of(l, channel); e != NULL; e = e->next_)
        if (e->seal == seal && (e->frame->channel | 1) == (channel | 1)) return e;
    return NULL;
}

static void table_remove(struct tt_conflate_list *l, struct tt_conflate_entry *e)
{
    struct tt_conflate_entry **link = bucket_of(l, e->frame->channel);
    while (*link != e) link = &(*link)->next_;
    *link = e->next_;
    e->next_ = NULL;
    l->known_--;
}

static void table_insert(struct tt_conflate_list *l, struct tt_conflate_entry *e)
{
    struct tt_conflate_entry **bucket = bucket_of(l, e->frame->channel);
    e->next_ = *bucket;
    *bucket = e;
    l->known_++;
}

/* Twice as many buckets; without memory the chains grow instead. */
static void grow(struct tt_conflate_list *l)
{
    uint32_t old_count = l->buckets_count_;
    struct tt_conflate_entry **old = l->buckets_;
    struct tt_conflate_entry **buckets =
        calloc((size_t)old_count * 2, sizeof(struct tt_conflate_entry *));
    if (buckets == NULL) return;
    l->buckets_ = buckets;
    l->buckets_count_ = old_count * 2;
    l->known_ = 0;
    for (uint32_t i = 0; i < old_count; i++) {
        struct tt_conflate_entry *e = old[i];
        while (e != NULL) {
            struct tt_conflate_entry *next = e->next_;
            table_insert(l, e);
            e = next;
        }
    }
    free((void *)old);
}

static bool in_table(const struct tt_conflate_entry *e)
{
    return e->seal != TT_CONFLATE_SEALED;
}

static void seal(struct tt_conflate_list *l, struct tt_conflate_entry *e)
{
    if (in_table(e)) table_remove(l, e);
    e->seal = TT_CONFLATE_SEALED;
}

/* ---- waits that outlive a drop ---- */

static void forget_waits(struct tt_conflate_list *l)
{
    l->pool->waits -= l->waits_count_;
    free(l->waits_);
    l->waits_ = NULL;
    l->waits_count_ = l->waits_left_ = 0;
}

static int by_channel(const void *a, const void *b)
{
    uint64_t x = ((const struct tt_conflate_wait *)a)->channel | 1,
             y = ((const struct tt_conflate_wait *)b)->channel | 1;
    return x < y ? -1 : x > y;
}

/* ---- the list ---- */

enum tt_status tt_conflate_list_init(struct tt_conflate_list *l, struct tt_conflate_pool *pool,
                                     uint32_t wait_ms)
{
    *l = (struct tt_conflate_list){.pool = pool, .buckets_count_ = BUCKETS_MIN, .wait_ms = wait_ms};
    l->buckets_ = calloc(BUCKETS_MIN, sizeof(struct tt_conflate_entry *));
    if (l->buckets_ == NULL) return TT_ENOMEM;
    tt_list_init(&l->entries);
    return TT_OK;
}

void tt_conflate_list_deinit(struct tt_conflate_list *l)
{
    if (l->buckets_ == NULL) return;
    tt_conflate_list_clear(l);
    free((void *)l->buckets_);
    forget_waits(l);
    *l = (struct tt_conflate_list){0};
}

static bool is_event(const struct tt_frame *f)
{
    return f->kind == TT_FRAME_EVENT;
}

/* Counts `e`, which gives way, and what was skipped before it, at the next entry of its partition
 * (the one that it gives way to stands at the end by now). */
static void hand_on(struct tt_conflate_list *l, const struct tt_conflate_entry *e)
{
    struct tt_conflate_entry *next = tt_conflate_list_next(l, e);
    while (next != NULL && next->frame->partition != e->frame->partition)
        next = tt_conflate_list_next(l, next);
    /* Its channel has moved to another partition: counted with what has replaced it. */
    if (next == NULL) {
        struct tt_node *last = l->entries.head_.previous_;
        next = TT_CONTAINER_OF(last, struct tt_conflate_entry, node);
    }
    struct tt_skipped *s = &next->skipped;
    if (s->count == 0) s->last = e->frame->offset;
    s->first = e->skipped.count != 0 ? e->skipped.first : e->frame->offset;
    s->count += e->skipped.count + 1;
}

static void unlink_entry(struct tt_conflate_list *l, struct tt_conflate_entry *e)
{
    if (in_table(e)) table_remove(l, e);
    tt_list_remove(&e->node);
    l->count--;
    l->bytes -= e->frame->bytes + TT_CONFLATE_ENTRY_BYTES;
    tt_frame_discharge(e->frame, TT_CONFLATE_ENTRY_BYTES);
}

/* Since when the channel waits, of which nothing stands in the list: from before a drop, or since
 * now. */
static uint32_t waits_since(struct tt_conflate_list *l, uint64_t channel, uint32_t now_ms)
{
    if (TT_LIKELY(l->waits_ == NULL)) return now_ms;
    struct tt_conflate_wait key = {.channel = channel};
    struct tt_conflate_wait *w = bsearch(&key, l->waits_, l->waits_count_, sizeof key, by_channel);
    if (w == NULL || (w->channel & 1) != 0) return now_ms;
    uint32_t since_ms = w->since_ms;
    w->channel |= 1;
    if (--l->waits_left_ == 0) forget_waits(l);
    return since_ms;
}

/* Makes room for an event of a channel: returns the open entry that gives way, or null. */
static struct tt_conflate_entry *give_way(struct tt_conflate_list *l, const struct tt_frame *frame,
                                          uint32_t now_ms, uint32_t *since_ms)
{
    struct tt_conflate_entry *open = find(l, frame->channel, TT_CONFLATE_OPEN);
    *since_ms = open == NULL ? waits_since(l, frame->channel, now_ms) : now_ms;
    if (open == NULL) return NULL;
    bool held = l->held && open->pull == l->pulls;
    if (held || (frame->channel & TT_FRAME_NEVER_CONFLATE)) {
        seal(l, open);
        return NULL;
    }
    if (l->wait_ms != 0 && now_ms - open->since_ms >= l->wait_ms &&
        find(l, frame->channel, TT_CONFLATE_WAITED) == NULL) {
        open->seal = TT_CONFLATE_WAITED;
        return NULL;
    }
    *since_ms = open->since_ms;
    return open;
}

enum tt_status tt_conflate_list_add(struct tt_conflate_list *l, struct tt_frame *frame,
                                    uint32_t now_ms, struct tt_frame **gone)
{
    *gone = NULL;
    struct tt_conflate_entry *e = entry_get(l->pool);
    if (e == NULL) return TT_ENOMEM;
    e->frame = frame;
    e->seal = TT_CONFLATE_SEALED;
    e->pull = (uint8_t)(l->pulls + 128); /* by none of late */
    struct tt_conflate_entry *old = NULL;
    if (is_event(frame)) {
        old = give_way(l, frame, now_ms, &e->since_ms);
        if (!(frame->channel & TT_FRAME_NEVER_CONFLATE)) {
            e->seal = TT_CONFLATE_OPEN;
            table_insert(l, e);
        }
    }
    tt_list_append(&l->entries, &e->node);
    l->count++;
    l->bytes += frame->bytes + TT_CONFLATE_ENTRY_BYTES;
    tt_frame_charge(frame, TT_CONFLATE_ENTRY_BYTES);
    e->moved = old != NULL || (in_table(e) && e->since_ms != now_ms);
    if (old != NULL) {
        hand_on(l, old);
        unlink_entry(l, old);
        *gone = old->frame;
        entry_put(l->pool, old);
    }
    if (l->known_ > l->buckets_count_ && l->buckets_count_ < BUCKETS_MAX) grow(l);
    return TT_OK;
}

struct tt_frame *tt_conflate_list_take(struct tt_conflate_list *l, struct tt_skipped *skipped)
{
    struct tt_conflate_entry *e = tt_conflate_list_first(l);
    TT_ASSERT(e != NULL);
    struct tt_frame *f = e->frame;
    *skipped = e->skipped;
    unlink_entry(l, e);
    if (l->released != 0) l->released--;
    entry_put(l->pool, e);
    if (TT_UNLIKELY(l->waits_ != NULL) && l->count == 0) forget_waits(l);
    return f;
}

void tt_conflate_list_release(struct tt_conflate_list *l)
{
    for (struct tt_conflate_entry *e = tt_conflate_list_first(l); e != NULL;
         e = tt_conflate_list_next(l, e))
        seal(l, e);
    l->released = l->count;
}

void tt_conflate_list_clear(struct tt_conflate_list *l)
{
    struct tt_conflate_entry *next;
    for (struct tt_conflate_entry *e = tt_conflate_list_first(l); e != NULL; e = next) {
        next = tt_conflate_list_next(l, e);
        struct tt_frame *f = e->frame;
        unlink_entry(l, e);
        entry_put(l->pool, e);
        tt_frame_put(&f);
    }
    l->released = 0;
}

/* Who never moved has its place by its event; who stands there twice, by the older one. */
static bool waits_on(const struct tt_conflate_list *l, const struct tt_conflate_entry *e)
{
    if (e->seal == TT_CONFLATE_WAITED) return true;
    return e->seal == TT_CONFLATE_OPEN && e->moved &&
           find(l, e->frame->channel, TT_CONFLATE_WAITED) == NULL;
}

static void remember_waits(struct tt_conflate_list *l)
{
    size_t room = TT_CONFLATE_WAITS_MAX - l->pool->waits;
    size_t most = (size_t)l->waits_left_ + l->known_;
    if (most > room) most = room;
    /* Without memory they begin anew. */
    struct tt_conflate_wait *waits = most == 0 ? NULL : malloc(most * sizeof *waits);
    uint32_t n = 0;
    const struct tt_conflate_entry *e = waits == NULL ? NULL : tt_conflate_list_first(l);
    for (; e != NULL && n < most; e = tt_conflate_list_next(l, e))
        if (waits_on(l, e))
            waits[n++] = (struct tt_conflate_wait){.channel = e->frame->channel & ~UINT64_C(1),
                                                   .since_ms = e->since_ms};
    for (uint32_t i = 0; waits != NULL && i < l->waits_count_ && n < most; i++)
        if ((l->waits_[i].channel & 1) == 0) waits[n++] = l->waits_[i];
    forget_waits(l);
    if (n == 0) {
        free(waits);
        return;
    }
    qsort(waits, n, sizeof *waits, by_channel);
    struct tt_conflate_wait *fitting = realloc(waits, n * sizeof *waits);
    l->waits_ = fitting == NULL ? waits : fitting;
    l->waits_count_ = l->waits_left_ = n;
    l->pool->waits += n;
}

void tt_conflate_list_drop(struct tt_conflate_list *l)
{
    if (l->wait_ms != 0) remember_waits(l);
    tt_conflate_list_clear(l);
}

void tt_conflate_list_places(const struct tt_conflate_list *l, uint64_t *vector,
                             void (*told)(void *context, uint32_t partition,
                                          const struct tt_skipped *skipped),
                             void *context)
{
    for (struct tt_conflate_entry *e = tt_conflate_list_first(l); e != NULL;
         e = tt_conflate_list_next(l, e)) {
        const struct tt_frame *f = e->frame;
        uint64_t *at = &vector[f->partition];
        uint64_t offset = is_event(f) ? f->offset : 0;
        if (*at != UINT64_MAX) continue; /* not the first of its partition */
        *at = offset;
        if (is_event(f) && e->skipped.count != 0) told(context, f->partition, &e->skipped);
    }
}
