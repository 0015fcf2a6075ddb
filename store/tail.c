#include "store/tail.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "proto/base/assert.h"
#include "store/record.h"

/* gcc warns that TSan does not model fences; what may race is ordered by release and acquire too,
 * the fences are for the pairs of store and load that the header explains. */
static inline void fence(void)
{
#if defined(__SANITIZE_THREAD__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wtsan"
#endif
    atomic_thread_fence(memory_order_seq_cst);
#if defined(__SANITIZE_THREAD__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
}

struct reader_line {
    _Alignas(64) _Atomic uint64_t turn; /* finished turns */
    _Atomic uint32_t parked;
};

struct tt_tail_readers {
    uint32_t shards;
    struct reader_line *lines;
    /* [owner]: number of its tails that wait for turns. Packed, because every shard looks at all of
     * them once a turn, and they are written only when a tail is full. */
    _Atomic uint32_t *waits;
};

struct place_line {
    _Alignas(64) _Atomic uint64_t sequence;
};

/* One chunk of the ring that holds records, or was skipped because a large record did not fit. */
struct chunk {
    uint64_t place;    /* where it begins in the log; a skipped one: where the next one does */
    uint64_t sequence; /* behind the last descriptor that begins in it or before it */
};

/* Descriptors for one chunk's smallest records (a header and three bytes) and some more, so that a
 * ring that is full of descriptors always holds a chunk that can be freed. */
#define RING_MIN           32768u
#define BYTES_PER_RECORD   128u /* one descriptor for so many bytes of chunks */
#define RECORD_BYTES_LEAST 56u
_Static_assert(TT_CHUNK_BYTES / RECORD_BYTES_LEAST < RING_MIN, "more than one chunk of records");

struct tt_tail {
    /* immutable */
    uint8_t *memory;
    struct tt_tail_descriptor *ring;
    uint64_t ring_mask;
    uint32_t chunks_max;
    uint32_t owner;
    struct tt_tail_readers *readers;
    struct place_line *places; /* of each shard */
    uint64_t start;            /* where shards begin */
    uint64_t start_offset;

    /* the owner's */
    _Alignas(64) struct chunk *chunks; /* [number % chunks_max] */
    uint64_t chunk_end;                /* number behind the newest chunk in use */
    uint64_t chunk_first;              /* oldest chunk in use */
    uint64_t chunk_unlinked; /* chunks below it are below `first`; free once the turns are over */
    uint64_t *turns;         /* of each shard when `first` was stored */
    uint64_t committed;
    uint64_t ring_first;    /* descriptors below it may be overwritten */
    uint32_t chunks_wanted; /* by the append that did not fit */
    uint32_t descriptors_wanted;
    bool unlinking; /* chunks between chunk_first and chunk_unlinked wait for turns */
    bool waiting;   /* the flags are set */

    /* published */
    _Alignas(64) _Atomic uint64_t head;
    _Atomic uint64_t head_offset;
    _Atomic uint64_t first;
    _Atomic uint64_t oldest_offset;
    _Atomic uint64_t written;
    _Atomic uint64_t durable;
    _Alignas(64) _Atomic uint32_t waits;
};

/* ---- all shards' turns ---- */

enum tt_status tt_tail_readers_create(struct tt_tail_readers **out, uint32_t shards)
{
    struct tt_tail_readers *r = calloc(1, sizeof *r);
    if (r == NULL) return TT_ENOMEM;
    r->shards = shards;
    r->lines = aligned_alloc(64, shards * sizeof *r->lines);
    r->waits = aligned_alloc(64, (shards * sizeof *r->waits + 63) / 64 * 64);
    if (r->lines == NULL || r->waits == NULL) {
        tt_tail_readers_destroy(&r);
        return TT_ENOMEM;
    }
    for (uint32_t i = 0; i < shards; i++) {
        atomic_init(&r->lines[i].turn, 0);
        atomic_init(&r->lines[i].parked, 0);
        atomic_init(&r->waits[i], 0);
    }
    *out = r;
    return TT_OK;
}

void tt_tail_readers_destroy(struct tt_tail_readers **out)
{
    struct tt_tail_readers *r = *out;
    if (r == NULL) return;
    free(r->lines);
    free(r->waits);
    free(r);
    *out = NULL;
}

static bool anybody_waits(const struct tt_tail_readers *r)
{
    for (uint32_t i = 0; i < r->shards; i++)
        if (atomic_load_explicit(&r->waits[i], memory_order_relaxed) != 0) return true;
    return false;
}

bool tt_tail_turn(struct tt_tail_readers *r, uint32_t shard)
{
    _Atomic uint64_t *turn = &r->lines[shard].turn;
    /* Release: what was read in the turn was read before. Pairs with turns_are_over(). */
    atomic_store_explicit(turn, atomic_load_explicit(turn, memory_order_relaxed) + 1,
                          memory_order_release);
    fence(); /* before the next load of `first`, and before the look at who waits */
    return anybody_waits(r);
}

bool tt_tail_park(struct tt_tail_readers *r, uint32_t shard)
{
    atomic_store_explicit(&r->lines[shard].parked, 1, memory_order_release);
    fence();
    return anybody_waits(r);
}

void tt_tail_unpark(struct tt_tail_readers *r, uint32_t shard)
{
    atomic_store_explicit(&r->lines[shard].parked, 0, memory_order_relaxed);
    fence(); /* before the next load of `first` */
}

bool tt_tail_owner_waits(const struct tt_tail_readers *r, uint32_t shard)
{
    return atomic_load_explicit(&r->waits[shard], memory_order_relaxed) != 0;
}

/* ---- life ---- */

static uint32_t chunks_of(const struct tt_tail_options *o)
{
    uint64_t chunks = o->bytes / TT_CHUNK_BYTES;
    /* The first chunk of a record begins with a header too. */
    uint64_t record =
        (o->record_bytes_max + TT_RECORD_SEGMENT_BYTES + 2 * TT_RECORD_BATCH_BYTES - 1) /
            TT_CHUNK_BYTES +
        1;
    /* The newest chunk stays; behind it one record, and what is skipped at the ring's end for it.
     */
    uint64_t least = 2 * record;
    return (uint32_t)(chunks < least ? least : chunks);
}

static uint64_t ring_of(const struct tt_tail_options *o)
{
    uint64_t ring = RING_MIN;
    while (ring < (uint64_t)chunks_of(o) * TT_CHUNK_BYTES / BYTES_PER_RECORD) ring *= 2;
    return ring;
}

size_t tt_tail_memory_bytes(const struct tt_tail_options *o)
{
    return (size_t)chunks_of(o) * TT_CHUNK_BYTES + ring_of(o) * sizeof(struct tt_tail_descriptor);
}

/* Aligned for large pages, see tt_tail_options. */
static uint8_t *ring_memory(size_t bytes, void (*advise)(void *, size_t))
{
    size_t whole = (bytes + TT_TAIL_ALIGN - 1) / TT_TAIL_ALIGN * TT_TAIL_ALIGN;
    uint8_t *memory = aligned_alloc(TT_TAIL_ALIGN, whole);
    if (memory != NULL && advise != NULL) advise(memory, bytes);
    return memory;
}

enum tt_status tt_tail_create(struct tt_tail **out, const struct tt_tail_options *o)
{
    uint32_t shards = o->readers->shards;
    struct tt_tail *t = aligned_alloc(64, sizeof *t);
    if (t == NULL) return TT_ENOMEM;
    memset(t, 0, sizeof *t);
    t->chunks_max = chunks_of(o);
    t->ring_mask = ring_of(o) - 1;
    t->readers = o->readers;
    t->owner = o->owner;
    t->start_offset = o->next_offset;
    t->memory = ring_memory((size_t)t->chunks_max * TT_CHUNK_BYTES, o->advise);
    t->ring = aligned_alloc(64, (t->ring_mask + 1) * sizeof *t->ring);
    t->chunks = calloc(t->chunks_max, sizeof *t->chunks);
    t->turns = calloc(shards, sizeof *t->turns);
    t->places = aligned_alloc(64, shards * sizeof *t->places);
    if (t->memory == NULL || t->ring == NULL || t->chunks == NULL || t->turns == NULL ||
        t->places == NULL) {
        tt_tail_destroy(&t);
        return TT_ENOMEM;
    }
    for (uint32_t i = 0; i < shards; i++) atomic_init(&t->places[i].sequence, 0);
    atomic_init(&t->head, 0);
    atomic_init(&t->head_offset, o->next_offset);
    atomic_init(&t->first, 0);
    atomic_init(&t->oldest_offset, o->oldest_offset);
    atomic_init(&t->written, 0);
    atomic_init(&t->durable, 0);
    atomic_init(&t->waits, 0);
    *out = t;
    return TT_OK;
}

void tt_tail_destroy(struct tt_tail **out)
{
    struct tt_tail *t = *out;
    if (t == NULL) return;
    free(t->memory);
    free(t->ring);
    free(t->chunks);
    free(t->turns);
    free(t->places);
    free(t);
    *out = NULL;
}

/* ---- reader ---- */

uint64_t tt_tail_start(const struct tt_tail *t, uint64_t *next_offset)
{
    *next_offset = t->start_offset;
    return t->start;
}

uint64_t tt_tail_head(const struct tt_tail *t)
{
    return atomic_load_explicit(&t->head, memory_order_acquire); /* pairs with publish() */
}

uint64_t tt_tail_head_offset(const struct tt_tail *t)
{
    return atomic_load_explicit(&t->head_offset, memory_order_acquire);
}

uint64_t tt_tail_oldest_offset(const struct tt_tail *t)
{
    return atomic_load_explicit(&t->oldest_offset, memory_order_acquire);
}

uint64_t tt_tail_written_place(const struct tt_tail *t)
{
    return atomic_load_explicit(&t->written, memory_order_acquire);
}

uint64_t tt_tail_durable_place(const struct tt_tail *t)
{
    return atomic_load_explicit(&t->durable, memory_order_acquire);
}

static const struct tt_tail_descriptor *at(const struct tt_tail *t, uint64_t sequence)
{
    return &t->ring[sequence & t->ring_mask];
}

uint32_t tt_tail_run(const struct tt_tail *t, uint64_t sequence, uint64_t end,
                     const struct tt_tail_descriptor **run)
{
    TT_ASSERT(sequence <= end);
    uint64_t count = end - sequence;
    uint64_t to_wrap = t->ring_mask + 1 - (sequence & t->ring_mask);
    *run = at(t, sequence);
    return (uint32_t)(count < to_wrap ? count : to_wrap);
}

uint32_t tt_tail_read(const struct tt_tail *t, uint64_t sequence, uint32_t max,
                      const struct tt_tail_descriptor **run)
{
    uint32_t count = tt_tail_run(t, sequence, tt_tail_head(t), run);
    return count < max ? count : max;
}

struct tt_bytes tt_tail_record(const struct tt_tail *t, const struct tt_tail_descriptor *d)
{
    return tt_bytes(t->memory + (size_t)d->memory * 8, d->length);
}

uint64_t tt_tail_first(const struct tt_tail *t, uint64_t *first_offset)
{
    /* Acquire: the head that was stored before it is seen too, and is not below it. */
    uint64_t first = atomic_load_explicit(&t->first, memory_order_acquire);
    if (first ==
        t->start) /* nothing was freed yet: a mirror may have a hole before its first event */
        *first_offset = t->start_offset;
    else
        *first_offset = first < tt_tail_head(t) ? at(t, first)->offset : tt_tail_head_offset(t);
    return first;
}

/* The offset behind a descriptor: a hole's end stands in its record. */
static uint64_t end_offset(const struct tt_tail *t, const struct tt_tail_descriptor *d)
{
    if (d->class != TT_RECORD_HOLE) return d->offset + 1;
    struct tt_record record;
    enum tt_status status = tt_record_decode(tt_tail_record(t, d), &record);
    TT_ASSERT(status == TT_OK);
    return record.hole_end;
}

uint64_t tt_tail_find(const struct tt_tail *t, uint64_t first, uint64_t end, uint64_t offset)
{
    while (first < end) {
        uint64_t middle = first + (end - first) / 2;
        if (end_offset(t, at(t, middle)) <= offset)
            first = middle + 1;
        else
            end = middle;
    }
    return first;
}

bool tt_tail_advance(struct tt_tail *t, uint32_t shard, uint64_t sequence)
{
    /* Release: the records were read before. Pairs with slowest_reader(). */
    atomic_store_explicit(&t->places[shard].sequence, sequence, memory_order_release);
    fence(); /* pairs with tt_tail_wait(): it sees the place, or we see that it waits */
    return atomic_load_explicit(&t->waits, memory_order_relaxed) != 0;
}

/* ---- owner: putting in ---- */

struct tt_tail_plan tt_tail_plan(const struct tt_tail *t)
{
    return (struct tt_tail_plan){t->chunk_end, t->chunk_end};
}

/* Chunks to skip at the ring's end so that a run is contiguous. */
static uint32_t skipped(const struct tt_tail *t, uint64_t chunk_end, uint32_t chunks)
{
    uint32_t place = (uint32_t)(chunk_end % t->chunks_max);
    return place + chunks > t->chunks_max ? t->chunks_max - place : 0;
}

enum tt_status tt_tail_plan_open(const struct tt_tail *t, struct tt_tail_plan *plan,
                                 uint32_t chunks)
{
    if (chunks >= t->chunks_max) return TT_ETOOBIG;
    plan->chunk_end += skipped(t, plan->chunk_end, chunks) + chunks;
    /* The chunk that is being filled is never freed, so one is always taken. */
    uint64_t kept = plan->chunk_begin == 0 ? 0 : 1;
    if (plan->chunk_end - plan->chunk_begin + kept > t->chunks_max) return TT_ETOOBIG;
    return plan->chunk_end - t->chunk_first > t->chunks_max ? TT_FULL : TT_OK;
}

void tt_tail_want(struct tt_tail *t, const struct tt_tail_plan *plan, uint32_t descriptors)
{
    t->chunks_wanted = (uint32_t)(plan->chunk_end - plan->chunk_begin);
    t->descriptors_wanted = descriptors;
}

uint8_t *tt_tail_open_chunks(struct tt_tail *t, uint64_t place, uint32_t chunks)
{
    TT_ASSERT(place % TT_CHUNK_BYTES == 0);
    uint32_t skip = skipped(t, t->chunk_end, chunks);
    if (t->chunk_end + skip + chunks - t->chunk_first > t->chunks_max) return NULL;
    for (uint32_t i = 0; i < skip + chunks; i++) {
        struct chunk *c = &t->chunks[t->chunk_end++ % t->chunks_max];
        c->place = place + (i < skip ? 0 : (uint64_t)(i - skip) * TT_CHUNK_BYTES);
        c->sequence = t->committed;
    }
    return t->memory + (size_t)((t->chunk_end - chunks) % t->chunks_max) * TT_CHUNK_BYTES;
}

enum tt_status tt_tail_has_descriptors(const struct tt_tail *t, uint32_t count)
{
    if (count > t->ring_mask + 1 - TT_CHUNK_BYTES / RECORD_BYTES_LEAST) return TT_ETOOBIG;
    return t->committed + count - t->ring_first <= t->ring_mask + 1 ? TT_OK : TT_FULL;
}

uint64_t tt_tail_committed(const struct tt_tail *t)
{
    return t->committed;
}

void tt_tail_commit(struct tt_tail *t, struct tt_tail_descriptor *d, const uint8_t *record)
{
    TT_ASSERT(t->committed - t->ring_first <= t->ring_mask);
    TT_ASSERT(record >= t->memory && (record - t->memory) % 8 == 0);
    d->memory = (uint32_t)((size_t)(record - t->memory) / 8);
    t->ring[t->committed++ & t->ring_mask] = *d;
    t->chunks[(t->chunk_end - 1) % t->chunks_max].sequence = t->committed;
    if (d->length <= TT_CHUNK_BYTES) return;
    /* All chunks of a large record are free together. */
    for (uint64_t n = t->chunk_end - 1; n > t->chunk_first; n--) {
        struct chunk *before = &t->chunks[(n - 1) % t->chunks_max];
        if (before->place + TT_CHUNK_BYTES <= d->place) break;
        before->sequence = t->committed;
    }
}

/* The newest chunk in use that begins at or before `place`. */
static uint64_t chunk_at(const struct tt_tail *t, uint64_t place)
{
    uint64_t low = t->chunk_first, high = t->chunk_end;
    TT_ASSERT(low < high && t->chunks[low % t->chunks_max].place <= place);
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        if (t->chunks[middle % t->chunks_max].place <= place)
            low = middle;
        else
            high = middle;
    }
    return low;
}

struct tt_bytes tt_tail_bytes(const struct tt_tail *t, uint64_t place, uint64_t end)
{
    uint64_t n = chunk_at(t, place);
    uint64_t within = place - t->chunks[n % t->chunks_max].place;
    TT_ASSERT(within < TT_CHUNK_BYTES && end >= place);
    uint64_t size = TT_CHUNK_BYTES - within;
    if (size > end - place) size = end - place;
    return tt_bytes(t->memory + (size_t)(n % t->chunks_max) * TT_CHUNK_BYTES + within, size);
}

/* ---- owner: publishing ---- */

static bool publish(struct tt_tail *t, uint64_t sequence, uint64_t next_offset)
{
    if (sequence == atomic_load_explicit(&t->head, memory_order_relaxed)) return false;
    /* The offset first: who has seen an event never finds a head below it. */
    atomic_store_explicit(&t->head_offset, next_offset, memory_order_release);
    /* Release: descriptors and records below were written before. */
    atomic_store_explicit(&t->head, sequence, memory_order_release);
    return true;
}

bool tt_tail_publish(struct tt_tail *t, uint64_t next_offset)
{
    return publish(t, t->committed, next_offset);
}

void tt_tail_whole_below(const struct tt_tail *t, uint64_t place, uint64_t *sequence, uint64_t *end,
                         uint64_t *next_offset)
{
    uint64_t n = *sequence;
    while (n < t->committed && at(t, n)->place + at(t, n)->length <= place) n++;
    if (n == *sequence) return;
    *sequence = n;
    *end = at(t, n - 1)->place + at(t, n - 1)->length;
    *next_offset = end_offset(t, at(t, n - 1));
}

bool tt_tail_publish_below(struct tt_tail *t, uint64_t place)
{
    uint64_t sequence = atomic_load_explicit(&t->head, memory_order_relaxed);
    uint64_t before = sequence, end, next_offset;
    tt_tail_whole_below(t, place, &sequence, &end, &next_offset);
    return sequence != before && publish(t, sequence, next_offset);
}

void tt_tail_set_start(struct tt_tail *t)
{
    t->start = atomic_load_explicit(&t->head, memory_order_relaxed);
    t->start_offset = atomic_load_explicit(&t->head_offset, memory_order_relaxed);
    for (uint32_t i = 0; i < t->readers->shards; i++)
        atomic_store_explicit(&t->places[i].sequence, t->start, memory_order_relaxed);
}

void tt_tail_set_oldest_offset(struct tt_tail *t, uint64_t offset)
{
    atomic_store_explicit(&t->oldest_offset, offset, memory_order_release);
}

void tt_tail_set_places(struct tt_tail *t, uint64_t written, uint64_t durable)
{
    atomic_store_explicit(&t->written, written, memory_order_release);
    atomic_store_explicit(&t->durable, durable, memory_order_release);
}

/* ---- owner: freeing ---- */

static uint64_t slowest_reader(const struct tt_tail *t)
{
    uint64_t slowest = UINT64_MAX;
    for (uint32_t i = 0; i < t->readers->shards; i++) {
        uint64_t s = atomic_load_explicit(&t->places[i].sequence, memory_order_acquire);
        if (s < slowest) slowest = s;
    }
    return slowest;
}

uint64_t tt_tail_read_offset(const struct tt_tail *t)
{
    /* The head first: no place is beyond what was published by now, and what lies between is in
     * memory until the owner itself frees it. */
    uint64_t head = tt_tail_head(t), offset = tt_tail_head_offset(t);
    uint64_t slowest = slowest_reader(t);
    return slowest < head ? at(t, slowest)->offset : offset;
}

#define NOBODY UINT32_MAX

/* Step 3: has every shard but that one finished a turn since `first` was stored, or is it parked?
 */
static bool turns_are_over(const struct tt_tail *t, uint32_t except)
{
    for (uint32_t i = 0; i < t->readers->shards; i++) {
        if (i == except) continue;
        const struct reader_line *line = &t->readers->lines[i];
        /* Acquire: the reads of that turn were before; the chunk may be written after. */
        if (atomic_load_explicit(&line->turn, memory_order_acquire) == t->turns[i] &&
            atomic_load_explicit(&line->parked, memory_order_acquire) == 0)
            return false;
    }
    return true;
}

static void finish_unlinking(struct tt_tail *t)
{
    if (!t->unlinking || !turns_are_over(t, NOBODY)) return;
    t->unlinking = false;
    t->chunk_first = t->chunk_unlinked;
    t->ring_first = atomic_load_explicit(&t->first, memory_order_relaxed);
}

/* Chunks that should be freed. Keep what there is room for: clients that fall behind a little find
 * it in memory. A quarter is freed ahead of need, because freeing takes every shard a turn. */
static uint64_t to_free(const struct tt_tail *t)
{
    uint64_t free_chunks = t->chunks_max - (t->chunk_end - t->chunk_first);
    uint64_t wanted = t->chunks_max / 4 + 1;
    if (wanted < t->chunks_wanted) wanted = t->chunks_wanted;
    if (free_chunks < wanted) return wanted - free_chunks;
    uint64_t free_descriptors = t->ring_mask + 1 - (t->committed - t->ring_first);
    if (free_descriptors < (t->ring_mask + 1) / 4 || free_descriptors < t->descriptors_wanted)
        return t->chunks_max / 4 + 1;
    return 0;
}

/* Steps 1 and 2. */
static void begin_unlinking(struct tt_tail *t, uint64_t place)
{
    uint64_t count = to_free(t);
    if (t->unlinking || count == 0) return;
    uint64_t readers = slowest_reader(t);
    uint64_t n = t->chunk_first;
    /* The newest chunk is being filled. */
    while (n + 1 < t->chunk_end && n < t->chunk_first + count) {
        const struct chunk *c = &t->chunks[n % t->chunks_max];
        if (c->place + TT_CHUNK_BYTES > place || c->sequence > readers) break;
        n++;
    }
    if (n == t->chunk_first) return;
    atomic_store_explicit(&t->first, t->chunks[(n - 1) % t->chunks_max].sequence,
                          memory_order_release);
    fence(); /* before the loads of the turns: see the header */
    for (uint32_t i = 0; i < t->readers->shards; i++)
        t->turns[i] = atomic_load_explicit(&t->readers->lines[i].turn, memory_order_acquire);
    t->chunk_unlinked = n;
    t->unlinking = true;
}

bool tt_tail_reclaim(struct tt_tail *t, uint64_t place)
{
    uint64_t before = t->chunk_first;
    finish_unlinking(t);
    begin_unlinking(t, place);
    finish_unlinking(t); /* at once, where all others are parked or between turns */
    return t->chunk_first != before;
}

bool tt_tail_wait(struct tt_tail *t, uint64_t place)
{
    if (!t->waiting) {
        t->waiting = true;
        atomic_store_explicit(&t->waits, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&t->readers->waits[t->owner], 1, memory_order_relaxed);
    }
    fence(); /* pairs with tt_tail_advance(), tt_tail_turn(), tt_tail_park() */
    bool room = tt_tail_reclaim(t, place);
    /* Its own turn, which is not over yet, is nothing to sleep for: nobody would wake it. */
    return room || (t->unlinking && turns_are_over(t, t->owner));
}

void tt_tail_wait_over(struct tt_tail *t)
{
    t->chunks_wanted = 0;
    t->descriptors_wanted = 0;
    if (!t->waiting) return;
    t->waiting = false;
    atomic_store_explicit(&t->waits, 0, memory_order_relaxed);
    atomic_fetch_sub_explicit(&t->readers->waits[t->owner], 1, memory_order_relaxed);
}
