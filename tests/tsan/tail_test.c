/* The tail between threads: one owner, several readers, under ThreadSanitizer.
 *
 * Readers check every record that they pass, and in each turn also read an old one from anywhere
 * above `first`, as a client that catches up does: that is what reclaiming must never overtake.
 * They park and are woken as shards are; nobody waits with a timeout, so a wake-up that gets lost
 * hangs the test (and fails it, by the alarm). Bounded by the number of events. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "proto/base/assert.h"
#include "store/record.h"
#include "store/tail.h"

#define READERS 3u
#define SHARDS  (READERS + 1) /* the owner reads nothing, but has turns of its own */
#define OWNER   READERS
#define EVENTS  60000u
#define CHUNKS  6u

struct bell {
    pthread_mutex_t mutex;
    pthread_cond_t rung;
    bool ringing;
};

static struct tt_tail_readers *readers;
static struct tt_tail *tail;
static struct bell bells[SHARDS];
static _Atomic uint32_t parked[SHARDS];
static _Atomic uint64_t waits, parks;

static void wake(uint32_t shard)
{
    struct bell *b = &bells[shard];
    pthread_mutex_lock(&b->mutex);
    b->ringing = true;
    pthread_cond_signal(&b->rung);
    pthread_mutex_unlock(&b->mutex);
}

static void wait(uint32_t shard)
{
    struct bell *b = &bells[shard];
    pthread_mutex_lock(&b->mutex);
    while (!b->ringing) pthread_cond_wait(&b->rung, &b->mutex);
    b->ringing = false;
    pthread_mutex_unlock(&b->mutex);
}

static uint32_t size_of(uint64_t offset)
{
    uint32_t size = (uint32_t)(offset * 2654435761u % 700) + 1;
    if (offset % 1000 == 999) size = 1500000; /* spans chunks */
    return size;
}

/* The payload of an event is made of its offset: stale or torn bytes show. */
static void check(struct tt_bytes bytes, uint64_t offset)
{
    struct tt_record record;
    enum tt_status status = tt_record_read(bytes, &record);
    TT_ASSERT(status == TT_OK && record.class == TT_RECORD_EVENT && record.offset == offset);
    TT_ASSERT(record.event.payload.size == size_of(offset));
    TT_ASSERT(record.event.payload.data[0] == (uint8_t)('a' + offset % 26));
}

static void wake_owner(bool waited_for)
{
    if (waited_for) wake(OWNER);
}

static void *reader(void *argument)
{
    uint32_t shard = (uint32_t)(uintptr_t)argument;
    unsigned seed = shard;
    uint64_t next_offset;
    uint64_t sequence = tt_tail_start(tail, &next_offset);
    while (sequence < EVENTS) {
        uint64_t first_offset;
        uint64_t first = tt_tail_first(tail, &first_offset);
        const struct tt_tail_descriptor *run;
        uint32_t count = tt_tail_read(tail, sequence, (uint32_t)rand_r(&seed) % 200 + 1, &run);
        for (uint32_t i = 0; i < count; i++) {
            TT_ASSERT(run[i].offset == sequence + i);
            check(tt_tail_record(tail, &run[i]), sequence + i);
        }
        sequence += count;
        if (count != 0) wake_owner(tt_tail_advance(tail, shard, sequence));
        for (int i = 0; i < 2 && first < sequence; i++) { /* catching up, below our place */
            uint64_t offset = first + (uint64_t)rand_r(&seed) % (sequence - first);
            uint64_t found = tt_tail_find(tail, first, sequence, offset);
            TT_ASSERT(found == offset && tt_tail_run(tail, found, sequence, &run) > 0);
            check(tt_tail_record(tail, run), offset);
        }
        wake_owner(tt_tail_turn(readers, shard));
        if (tt_tail_head(tail) != sequence) continue;
        /* Parks: say so, look once more, wait. */
        atomic_store(&parked[shard], 1);
        wake_owner(tt_tail_park(readers, shard));
        if (tt_tail_head(tail) == sequence && sequence < EVENTS) {
            atomic_fetch_add_explicit(&parks, 1, memory_order_relaxed);
            wait(shard);
        }
        tt_tail_unpark(readers, shard);
        atomic_store(&parked[shard], 0);
    }
    wake_owner(tt_tail_park(readers, shard)); /* for good */
    return NULL;
}

static void ring(void)
{
    atomic_thread_fence(memory_order_seq_cst);
    for (uint32_t i = 0; i < READERS; i++)
        if (atomic_exchange(&parked[i], 0) != 0) wake(i);
}

/* The owner's own state: what log.c keeps. */
static uint64_t place, window_end;
static uint8_t *window;

static void wait_for_room(void)
{
    atomic_fetch_add_explicit(&waits, 1, memory_order_relaxed);
    bool woken = tt_tail_turn(readers, OWNER);
    (void)woken; /* it is this thread that waits */
    if (tt_tail_wait(tail, place)) return;
    wait(OWNER);
}

static void append(uint64_t offset, uint8_t *payload)
{
    struct tt_event e = {.channel = TT_BYTES_LITERAL("a"),
                         .type = TT_BYTES_LITERAL("t"),
                         .payload = tt_bytes(payload, size_of(offset))};
    memset(payload, (int)('a' + offset % 26), e.payload.size);
    uint64_t bytes = tt_record_event_bytes(&e, NULL);
    while (place + bytes > window_end) {
        struct tt_tail_plan plan = tt_tail_plan(tail);
        uint32_t chunks = (uint32_t)((bytes + TT_CHUNK_BYTES - 1) / TT_CHUNK_BYTES);
        (void)tt_tail_reclaim(tail, place);
        enum tt_status status = tt_tail_plan_open(tail, &plan, chunks);
        TT_ASSERT(status != TT_ETOOBIG);
        if (status == TT_FULL) {
            tt_tail_want(tail, &plan, 1);
            wait_for_room();
            continue;
        }
        tt_tail_wait_over(tail);
        place = window_end;
        window = tt_tail_open_chunks(tail, place, chunks);
        TT_ASSERT(window != NULL);
        window_end += (uint64_t)chunks * TT_CHUNK_BYTES;
    }
    TT_ASSERT(tt_tail_has_descriptors(tail, 1) == TT_OK);
    struct tt_tail_descriptor d = {.offset = offset, .place = place, .class = TT_RECORD_EVENT};
    d.length = tt_record_encode_event(window, &e, offset, NULL);
    tt_tail_commit(tail, &d, window);
    window += d.length;
    place += d.length;
}

static void *owner(void *argument)
{
    (void)argument;
    unsigned seed = 77;
    static uint8_t payload[2u << 20];
    for (uint64_t offset = 0; offset < EVENTS;) {
        uint32_t batch = (uint32_t)rand_r(&seed) % 50 + 1;
        for (uint32_t i = 0; i < batch && offset < EVENTS; i++) append(offset++, payload);
        TT_ASSERT(tt_tail_publish(tail, offset));
        ring();
        bool woken = tt_tail_turn(readers, OWNER);
        (void)woken;
    }
    ring();
    return NULL;
}

int main(void)
{
    pthread_t threads[SHARDS];
    alarm(240);
    const struct tt_tail_options options = {
        .bytes = (size_t)CHUNKS << 20, .record_bytes_max = 1600000, .owner = OWNER};
    struct tt_tail_options o = options;
    if (tt_tail_readers_create(&readers, SHARDS) != TT_OK) return 1;
    o.readers = readers;
    if (tt_tail_create(&tail, &o) != TT_OK) return 1;
    for (uint32_t i = 0; i < SHARDS; i++) {
        pthread_mutex_init(&bells[i].mutex, NULL);
        pthread_cond_init(&bells[i].rung, NULL);
    }
    /* The owner's shard has read everything, always. */
    bool woken = tt_tail_advance(tail, OWNER, EVENTS);
    (void)woken;
    for (uintptr_t i = 0; i < READERS; i++) pthread_create(&threads[i], NULL, reader, (void *)i);
    pthread_create(&threads[OWNER], NULL, owner, NULL);
    for (uint32_t i = 0; i < SHARDS; i++) pthread_join(threads[i], NULL);
    uint64_t times = window_end / (CHUNKS * (uint64_t)TT_CHUNK_BYTES);
    printf("# tail: %u events, %u readers, the ring went round %llu times, the owner waited %llu "
           "times, readers parked %llu times\n",
           EVENTS, READERS, (unsigned long long)times, (unsigned long long)atomic_load(&waits),
           (unsigned long long)atomic_load(&parks));
    TT_ASSERT(times >= 10 && atomic_load(&waits) > 0);
    (void)puts("ok 1 - tail: every record whole, through reuse, parking and a full tail");
    tt_tail_destroy(&tail);
    tt_tail_readers_destroy(&readers);
    return 0;
}
