/* The dirty list against a model that is an array and knows nothing of tables, links or counts
 * handed on. Random schedules; the seed is printed when one fails:
 *
 *     TT_SEED=4711 build/debug/unit/conflate_list_test
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shard/client/conflate_list.h"

#define CHANNELS   40u
#define PARTITIONS 3u
#define EVENTS_MAX 20000u

static struct tt_frame_memory memory;
static struct tt_conflate_pool pool;
static struct tt_conflate_list list;

/* ---- the model ---- */

enum fate { WAITING, TAKEN, GONE, DROPPED };

struct item {
    uint64_t offset;
    uint32_t partition, channel, since_ms;
    bool never, sealed, waited, marker, moved;
    enum fate fate;
};

/* Who waited when the list was dropped, and was not read again yet. */
static struct item remembered[EVENTS_MAX];
static uint32_t remembered_count;

static struct item items[EVENTS_MAX];
static uint32_t items_count;
static uint32_t model_released; /* waiting ones, from the first on */
static uint32_t wait_ms;

static uint32_t waiting(void)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < items_count; i++) n += items[i].fate == WAITING;
    return n;
}

/* Since when an event's channel waits of which nothing stands in the list. */
static uint32_t since_of(const struct item *e, uint32_t now_ms)
{
    for (uint32_t i = 0; i < remembered_count; i++) {
        if (remembered[i].channel != e->channel) continue;
        uint32_t since_ms = remembered[i].since_ms;
        remembered[i] = remembered[--remembered_count];
        return since_ms;
    }
    return now_ms;
}

static void remember_waits(void)
{
    for (uint32_t i = 0; i < items_count; i++) {
        const struct item *x = &items[i];
        if (x->fate != WAITING || x->marker || x->never) continue;
        bool beside = false; /* another one of its channel waits, sealed */
        for (uint32_t k = 0; k < items_count; k++)
            beside |= k != i && items[k].fate == WAITING && items[k].waited &&
                      items[k].channel == x->channel;
        if (x->waited || (!x->sealed && x->moved && !beside)) remembered[remembered_count++] = *x;
    }
}

/* What the newest event of the model replaces; null: nothing. */
static struct item *replaced_by(struct item *e, uint32_t now_ms)
{
    struct item *open = NULL, *waited = NULL;
    for (uint32_t i = 0; i + 1 < items_count; i++) {
        struct item *x = &items[i];
        if (x->fate != WAITING || x->marker || x->channel != e->channel) continue;
        if (!x->sealed) open = x;
        if (x->waited) waited = x;
    }
    e->since_ms = now_ms;
    if (e->marker) return NULL;
    if (open == NULL) {
        e->since_ms = since_of(e, now_ms);
        e->moved = e->since_ms != now_ms;
        return NULL;
    }
    if (e->never) {
        open->sealed = true;
        return NULL;
    }
    if (wait_ms != 0 && now_ms - open->since_ms >= wait_ms && waited == NULL) {
        open->sealed = open->waited = true;
        return NULL;
    }
    e->since_ms = open->since_ms;
    e->moved = true;
    return open;
}

/* Skipped events of a partition below an offset, from another on. */
static struct tt_skipped skipped_between(uint32_t partition, uint64_t from, uint64_t below)
{
    struct tt_skipped s = {0};
    for (uint32_t i = 0; i < items_count; i++) {
        const struct item *x = &items[i];
        if (x->fate != GONE || x->partition != partition || x->offset < from || x->offset >= below)
            continue;
        if (s.count++ == 0) s.first = x->offset;
        s.last = x->offset;
    }
    return s;
}

/* ---- both ---- */

static uint64_t told_below[PARTITIONS]; /* skipped events below were told */

static struct tt_frame *frame_of(const struct item *e)
{
    size_t bytes = 20 + e->offset % 50;
    struct tt_frame *f = tt_frame_create(&memory, bytes);
    f->bytes = f->a_bytes = (uint32_t)bytes;
    f->kind = e->marker ? TT_FRAME_RESYNC : TT_FRAME_EVENT;
    f->partition = e->partition;
    f->offset = e->offset;
    if (!e->marker)
        f->channel = (uint64_t)(e->channel + 1) * UINT64_C(0x9E3779B97F4A7C15) << 1 |
                     (e->never ? TT_FRAME_NEVER_CONFLATE : 0);
    return f;
}

static void add(struct item e, uint32_t now_ms)
{
    items[items_count++] = e;
    struct item *mine = &items[items_count - 1];
    mine->sealed = e.never || e.marker;
    struct item *gone = replaced_by(mine, now_ms);
    struct tt_frame *f = NULL;
    cr_assert_eq(tt_conflate_list_add(&list, frame_of(mine), now_ms, &f), TT_OK);
    cr_assert_eq(f != NULL, gone != NULL, "what gives way to offset %llu",
                 (unsigned long long)e.offset);
    if (gone == NULL) return;
    cr_assert_eq(f->offset, gone->offset);
    cr_assert_eq(f->partition, gone->partition);
    gone->fate = GONE;
    tt_frame_put(&f);
}

static void check_skipped(uint32_t partition, uint64_t below, const struct tt_skipped *s)
{
    struct tt_skipped expected = skipped_between(partition, told_below[partition], below);
    cr_assert_eq(s->count, expected.count, "skipped below %llu", (unsigned long long)below);
    if (s->count != 0) {
        cr_assert_eq(s->first, expected.first);
        cr_assert_eq(s->last, expected.last);
    }
    told_below[partition] = below;
}

static void take(void)
{
    struct item *e = items;
    while (e->fate != WAITING) e++;
    struct tt_skipped s;
    struct tt_frame *f = tt_conflate_list_take(&list, &s);
    cr_assert_eq(f->offset, e->offset);
    cr_assert_eq(f->partition, e->partition);
    e->fate = TAKEN;
    if (model_released != 0) model_released--;
    check_skipped(e->partition, e->offset, &s);
    told_below[e->partition] = e->offset + 1;
    tt_frame_put(&f);
    if (waiting() == 0) remembered_count = 0;
}

static void release(void)
{
    model_released = waiting();
    for (uint32_t i = 0; i < items_count; i++) {
        if (items[i].fate != WAITING) continue;
        items[i].sealed = true;
        items[i].waited = false; /* nothing is left of it to seal */
    }
    tt_conflate_list_release(&list);
}

static void told(void *context, uint32_t partition, const struct tt_skipped *skipped)
{
    ((struct tt_skipped *)context)[partition] = *skipped;
}

/* The list is dropped: what stands in it, and what gave way behind the first of its partition, is
 * read again. */
static void drop(uint64_t next[PARTITIONS])
{
    if (wait_ms != 0) remember_waits();
    uint64_t vector[PARTITIONS], first[PARTITIONS];
    struct tt_skipped skipped[PARTITIONS] = {0};
    for (uint32_t p = 0; p < PARTITIONS; p++) vector[p] = UINT64_MAX;
    tt_conflate_list_places(&list, vector, told, skipped);
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        first[p] = UINT64_MAX;
        for (uint32_t i = 0; i < items_count && first[p] == UINT64_MAX; i++)
            if (items[i].fate == WAITING && items[i].partition == p)
                first[p] = items[i].marker ? 0 : items[i].offset;
        cr_assert_eq(vector[p], first[p], "partition %u", p);
        if (first[p] == UINT64_MAX) continue;
        if (first[p] != 0) check_skipped(p, first[p], &skipped[p]);
        /* What stands behind what was taken, if a RESYNC or GAP is to be met again. */
        next[p] = first[p] != 0 ? first[p] : told_below[p];
        for (uint32_t i = 0; i < items_count; i++)
            if (items[i].partition == p && items[i].offset >= next[p] && items[i].fate == GONE)
                items[i].fate = DROPPED;
    }
    for (uint32_t i = 0; i < items_count; i++)
        if (items[i].fate == WAITING) items[i].fate = DROPPED;
    model_released = 0;
    tt_conflate_list_drop(&list);
}

static void check_list(void)
{
    const struct tt_conflate_entry *e = tt_conflate_list_first(&list);
    uint32_t bytes = 0;
    for (uint32_t i = 0; i < items_count; i++) {
        if (items[i].fate != WAITING) continue;
        cr_assert_not_null(e);
        cr_assert_eq(e->frame->offset, items[i].offset);
        bytes += e->frame->bytes + TT_CONFLATE_ENTRY_BYTES;
        e = tt_conflate_list_next(&list, e);
    }
    cr_assert_null(e);
    cr_assert_eq(list.count, waiting());
    cr_assert_eq(list.bytes, bytes);
    cr_assert_eq(list.released, model_released);
}

static void run(unsigned seed)
{
    unsigned r = seed;
    wait_ms = rand_r(&r) % 3 == 0 ? 0 : (unsigned)rand_r(&r) % 300;
    unsigned channels = 1 + (unsigned)rand_r(&r) % CHANNELS;
    unsigned takes = 1 + (unsigned)rand_r(&r) % 40;
    bool ticks = rand_r(&r) % 3 == 0;
    uint64_t next[PARTITIONS] = {1, 1000, 1000000};
    uint32_t now_ms = UINT32_MAX - 500; /* it wraps */
    items_count = model_released = remembered_count = 0;
    memset(told_below, 0, sizeof told_below);
    cr_assert_eq(tt_conflate_list_init(&list, &pool, wait_ms), TT_OK);
    for (unsigned i = 0; i < 1500; i++) {
        unsigned what = (unsigned)rand_r(&r) % 1000;
        if (what < takes * 10) {
            if (waiting() != 0) take();
        } else if (what < 405 && ticks) {
            if (what % 5 == 0) release();
        } else if (what < 408) {
            if (what == 407) drop(next);
        } else {
            struct item e = {.channel = (unsigned)rand_r(&r) % channels,
                             .never = rand_r(&r) % 6 == 0,
                             .marker = rand_r(&r) % 60 == 0};
            e.partition = e.channel % PARTITIONS;
            e.offset = next[e.partition];
            next[e.partition] += 1 + (unsigned)rand_r(&r) % 3;
            add(e, now_ms);
            now_ms += (unsigned)rand_r(&r) % 20;
        }
        if (i % 16 == 0) check_list();
    }
    while (waiting() != 0) take();
    check_list();
    tt_conflate_list_deinit(&list);
    cr_assert_eq(pool.entries, 0, "every entry is back");
    cr_assert_eq(pool.waits, 0, "nothing is remembered");
    cr_assert_eq(memory.bytes, 0, "every frame was put");
}

static void begin(void)
{
    tt_frame_memory_init(&memory, 1 << 30);
    tt_conflate_pool_init(&pool);
}

static void end(void)
{
    tt_conflate_pool_deinit(&pool);
    tt_frame_memory_deinit(&memory);
}

TestSuite(conflate_list, .init = begin, .fini = end);

Test(conflate_list, does_what_a_plain_array_does)
{
    const char *text = getenv("TT_SEED");
    unsigned first = text == NULL ? 1 : (unsigned)strtoul(text, NULL, 10);
    unsigned count = text != NULL ? 1 : getenv("TT_LONG") != NULL ? 5000 : 150;
    for (unsigned seed = first; seed < first + count; seed++) {
        fprintf(stderr, "%s%u", seed % 100 == 1 || count == 1 ? "\n# TT_SEED=" : " ", seed);
        run(seed);
    }
    fprintf(stderr, "\n");
}

static void add_one(uint32_t channel, bool never, uint32_t now_ms)
{
    static uint64_t offset = 1;
    add((struct item){.channel = channel, .never = never, .offset = offset++}, now_ms);
}

static uint32_t channel_taken(void)
{
    uint32_t i = 0;
    while (items[i].fate != WAITING) i++;
    take();
    return items[i].channel;
}

/* A channel that is hotter than the list drains stands at its end all the time, and is sent all the
 * same. (shared with the executable model: "live.py") */
Test(conflate_list, a_hot_channel_does_not_starve)
{
    for (int sealing = 0; sealing < 2; sealing++) {
        unsigned r = 1;
        wait_ms = sealing ? 20 : 0;
        items_count = model_released = 0;
        memset(told_below, 0, sizeof told_below);
        cr_assert_eq(tt_conflate_list_init(&list, &pool, wait_ms), TT_OK);
        unsigned hot = 0;
        for (uint32_t now_ms = 1; now_ms < 400; now_ms++) {
            for (unsigned i = 0; i < 3; i++) {
                for (unsigned k = 0; k < 4; k++)
                    add_one(1 + (unsigned)rand_r(&r) % 1000, false, now_ms);
                add_one(0, false, now_ms);
            }
            for (unsigned i = 0; i < 5; i++) hot += channel_taken() == 0;
        }
        tt_conflate_list_deinit(&list);
        if (sealing)
            cr_expect_geq(hot, 2, "sent %u times", hot);
        else
            cr_expect_leq(hot, 1, "the schedule shows nothing");
        if (sealing) cr_log_info("hot channel sent %u times in 400 ms", hot);
    }
}

/* A log of one partition, which a client reads into its list again and again. */
struct reader {
    uint32_t channels[EVENTS_MAX]; /* of each offset */
    uint32_t head, read;           /* next offsets: of the log, to be read */
};

static void read_on(struct reader *r, uint32_t now_ms)
{
    while (r->read < r->head) {
        struct item e = {.channel = r->channels[r->read], .offset = r->read};
        struct tt_frame *gone;
        cr_assert_eq(tt_conflate_list_add(&list, frame_of(&e), now_ms, &gone), TT_OK);
        if (gone != NULL) tt_frame_put(&gone);
        r->read++;
    }
}

static void nothing_told(void *context, uint32_t partition, const struct tt_skipped *skipped)
{
    (void)context, (void)partition, (void)skipped;
}

static void read_again(struct reader *r)
{
    uint64_t place = UINT64_MAX;
    tt_conflate_list_places(&list, &place, nothing_told, NULL);
    if (place != UINT64_MAX) r->read = (uint32_t)place;
    tt_conflate_list_drop(&list);
}

/* Hot channels among a thousand, for a client that takes two events while three come of the cold
 * ones and one of each hot one, and whose list is dropped and read again every 4 ms, long before
 * anything has waited for 20. Returns how often the hot channel was sent that was sent least. */
static uint32_t sent_least(uint32_t hot, uint32_t rounds)
{
    static struct reader r;
    uint32_t sent[16] = {0};
    unsigned seed = 1;
    r.head = r.read = 0;
    cr_assert_eq(tt_conflate_list_init(&list, &pool, wait_ms), TT_OK);
    for (uint32_t now_ms = 1; now_ms <= rounds; now_ms++) {
        for (uint32_t i = 0; i < 3 + hot; i++)
            r.channels[r.head++] = i < hot ? i : hot + (uint32_t)rand_r(&seed) % 1000;
        if (now_ms % 4 == 0) read_again(&r);
        read_on(&r, now_ms);
        for (uint32_t i = 0; i < 2; i++) {
            struct tt_skipped skipped;
            struct tt_frame *f = tt_conflate_list_take(&list, &skipped);
            if (r.channels[f->offset] < hot) sent[r.channels[f->offset]]++;
            tt_frame_put(&f);
        }
    }
    tt_conflate_list_deinit(&list);
    uint32_t least = sent[0];
    for (uint32_t i = 1; i < hot; i++) least = sent[i] < least ? sent[i] : least;
    return least;
}

Test(conflate_list, a_hot_channel_does_not_starve_where_the_list_is_dropped_all_the_time)
{
    wait_ms = 0;
    cr_expect_leq(sent_least(1, 800), 1, "the schedule shows nothing");
    wait_ms = 20;
    uint32_t one = sent_least(1, 800), many = sent_least(16, 800);
    cr_log_info("sent at least %u and %u times in 800 ms", one, many);
    cr_expect_geq(one, 10, "one hot channel: sent %u times", one);
    cr_expect_geq(many, 4, "one of many: sent %u times", many);
}
