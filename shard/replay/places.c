#include "shard/replay/places.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "shard/fanout/fanout.h"
#include "shard/replay/replay_internal.h"
#include "store/kept.h"

#define READ_BYTES_MIN  4096u       /* one page: most records are smaller */
#define GAP_BYTES_MAX   4096u       /* between neighbours that are read together */
#define AHEAD_BYTES_MAX (64u << 10) /* of blocks; a larger record stands alone */
#define KEPT_IDLE_NS    (TT_FILES_IDLE_MS * UINT64_C(1000000))

/* A kept file that is read. */
struct kept {
    struct tt_node node; /* in replay->kept */
    struct tt_read_file *file;
    uint64_t used_ns;
    uint32_t partition;
    uint32_t number;
    uint32_t holds;
};

enum state { BLOCK_READING = 0, BLOCK_READY, BLOCK_FAILED };

/* Bytes of one file, with the records of some items one behind the other. */
struct block {
    struct tt_file_read read;
    struct tt_places *places;
    struct tt_view *view; /* held; or: */
    struct kept *kept;
    uint64_t place; /* where it begins; of a kept file: byte in it */
    uint64_t end;   /* nothing from here on can be read */
    uint8_t *data;
    size_t bytes;
    size_t got;
    uint32_t first, count; /* items */
    enum tt_status status; /* FAILED */
    uint8_t state;         /* enum state */
};

struct tt_places {
    struct tt_shard *shard;
    const struct tt_lookup_item *items;
    void (*wake)(void *owner);
    void *owner;
    uint32_t partition;
    uint32_t count;
    uint32_t next;    /* item to be given */
    uint32_t planned; /* items before were put into blocks, where they need one */
    uint32_t in_flight;
    bool waiting; /* for the first block */
    bool closed;
    uint32_t blocks_count;
    size_t blocks_bytes;
    struct block
        *blocks[TT_PLACES_READS_MAX + 1]; /* by their items; one more for what comes next */
};

/* ---- files ---- */

static struct kept *get_kept(struct tt_shard *shard, uint32_t partition, uint32_t number)
{
    struct tt_list *list = &shard->replay->kept;
    for (struct tt_node *n = tt_list_first(list); n != NULL; n = tt_list_next(list, n)) {
        struct kept *k = TT_CONTAINER_OF(n, struct kept, node);
        if (k->partition == partition && k->number == number) {
            k->holds++;
            return k;
        }
    }
    struct kept *k = calloc(1, sizeof *k);
    if (k == NULL) return NULL;
    k->file = tt_read_file_get(shard->replay->files, TT_READ_KEPT, partition, number);
    if (k->file == NULL) {
        free(k);
        return NULL;
    }
    k->partition = partition;
    k->number = number;
    k->holds = 1;
    tt_list_append(list, &k->node);
    return k;
}

static void put_kept(struct tt_shard *shard, struct kept **k)
{
    if (*k == NULL) return;
    (*k)->holds--;
    (*k)->used_ns = shard->now_ns;
    *k = NULL;
    tt_replay_tidy_soon(shard);
}

bool tt_places_tidy(struct tt_shard *shard)
{
    struct tt_list *list = &shard->replay->kept;
    struct tt_node *next;
    for (struct tt_node *n = tt_list_first(list); n != NULL; n = next) {
        next = tt_list_next(list, n);
        struct kept *k = TT_CONTAINER_OF(n, struct kept, node);
        if (k->holds != 0 || shard->now_ns - k->used_ns < KEPT_IDLE_NS) continue;
        tt_list_remove(&k->node);
        tt_read_file_put(&k->file);
        free(k);
    }
    return !tt_list_empty(list);
}

void tt_places_free_kept(struct tt_shard *shard)
{
    struct tt_list *list = &shard->replay->kept;
    struct tt_node *next;
    for (struct tt_node *n = tt_list_first(list); n != NULL; n = next) {
        next = tt_list_next(list, n);
        tt_list_remove(n);
        free(TT_CONTAINER_OF(n, struct kept, node));
    }
}

/* ---- blocks ---- */

static void free_block(struct block *b)
{
    struct tt_places *p = b->places;
    struct tt_shard *shard = p->shard;
    TT_ASSERT(!tt_file_read_busy(&b->read));
    shard->replay->block_bytes -= b->bytes;
    p->blocks_bytes -= b->bytes;
    tt_view_release(shard->replay->views, &b->view);
    put_kept(shard, &b->kept);
    free(b->data);
    free(b);
}

static void free_places(struct tt_places *p)
{
    p->shard->replay->block_bytes -= sizeof *p;
    free(p);
}

static void fail(struct block *b, enum tt_status status)
{
    b->state = BLOCK_FAILED;
    b->status = status;
}

static void block_read(struct tt_file_read *read, int32_t result)
{
    struct block *b = TT_CONTAINER_OF(read, struct block, read);
    struct tt_places *p = b->places;
    p->in_flight--;
    if (p->closed) {
        free_block(b);
        if (p->in_flight == 0) free_places(p);
        return;
    }
    if (result < 0) {
        fail(b, (enum tt_status)result);
    } else {
        b->state = BLOCK_READY;
        b->got = (size_t)result;
    }
    if (p->waiting && p->blocks[0] == b) {
        p->waiting = false;
        p->wake(p->owner);
    }
}

/* Reads b->bytes from b->place on. */
static void read_block(struct block *b)
{
    struct tt_places *p = b->places;
    b->state = BLOCK_READING;
    b->read.position = b->place;
    b->read.data = b->data;
    b->read.size = b->bytes;
    p->in_flight++;
    if (b->kept != NULL) {
        tt_files_read(b->kept->file, &b->read);
    } else if (!tt_view_read(p->shard->replay->views, b->view, &b->read)) {
        p->in_flight--;
        fail(b, TT_ENOMEM);
    }
}

static bool resize_block(struct block *b, size_t bytes)
{
    uint8_t *data = realloc(b->data, bytes);
    if (data == NULL) return false;
    b->data = data;
    b->places->shard->replay->block_bytes += bytes - b->bytes;
    b->places->blocks_bytes += bytes - b->bytes;
    b->bytes = bytes;
    return true;
}

/* Where the item lies in its file, as blocks count. */
static uint64_t place_of(const struct tt_lookup_item *item)
{
    return tt_kept_is(item->place) ? tt_kept_byte(item->place) : item->place;
}

/* Finds the item's file, and how far it may be read. */
static void find_file(struct block *b, const struct tt_lookup_item *item)
{
    struct tt_places *p = b->places;
    b->place = place_of(item);
    b->end = UINT64_MAX;
    if (tt_kept_is(item->place)) {
        b->kept = get_kept(p->shard, p->partition, tt_kept_number(item->place));
        if (b->kept == NULL) fail(b, TT_ENOMEM);
        return;
    }
    b->view = tt_views_at_place(p->shard->replay->views, p->partition, item->place);
    if (b->view == NULL) {
        fail(b, TT_ENOENT);
        return;
    }
    tt_view_hold(b->view);
    struct tt_tail *tail = p->shard->world->partitions[p->partition].tail;
    b->end = b->view->segment.end_place;
    if (b->end == TT_SEGMENT_GROWS) b->end = tt_tail_written_place(tail);
    if (b->place >= b->end) fail(b, TT_ENOENT);
}

/* In the same file as the block? */
static bool is_neighbour(const struct block *b, const struct tt_lookup_item *item)
{
    if ((item->flags & TT_LOOKUP_HOLE) != 0 || tt_kept_is(item->place) != (b->kept != NULL))
        return false;
    if (b->kept != NULL) return tt_kept_number(item->place) == b->kept->number;
    return item->place >= b->view->segment.base_place && item->place < b->end;
}

/* How many bytes the block needs for its item and those behind it that are near; counts them. */
static size_t span(struct block *b)
{
    const struct tt_places *p = b->places;
    uint64_t end = b->place + READ_BYTES_MIN, last = b->place;
    while (b->first + b->count < p->count) {
        const struct tt_lookup_item *item = &p->items[b->first + b->count];
        if (!is_neighbour(b, item)) break;
        uint64_t place = place_of(item);
        if (place <= last || place > end + GAP_BYTES_MAX ||
            place + READ_BYTES_MIN / 4 > b->place + TT_PLACES_BLOCK_BYTES)
            break;
        if (place + READ_BYTES_MIN / 2 > end) end = place + READ_BYTES_MIN / 2;
        last = place;
        b->count++;
    }
    if (end > b->place + TT_PLACES_BLOCK_BYTES) end = b->place + TT_PLACES_BLOCK_BYTES;
    return (size_t)((end < b->end ? end : b->end) - b->place);
}

/* A block for the item and its neighbours, at `index` of the blocks. Null: no memory. */
static struct block *make_block(struct tt_places *p, uint32_t item, uint32_t index)
{
    struct block *b = calloc(1, sizeof *b);
    if (b == NULL) return NULL;
    b->places = p;
    b->first = item;
    b->count = 1;
    b->read.done = block_read;
    find_file(b, &p->items[item]);
    if (b->state != BLOCK_FAILED) {
        if (!resize_block(b, span(b))) {
            free_block(b);
            return NULL;
        }
        read_block(b);
    }
    memmove(&p->blocks[index + 1], &p->blocks[index],
            (p->blocks_count - index) * sizeof(struct block *));
    p->blocks[index] = b;
    p->blocks_count++;
    return b;
}

static bool is_in_memory(const struct tt_places *p, const struct tt_lookup_item *item)
{
    return item->offset >= p->shard->replay->first_offset[p->partition];
}

static bool needs_block(const struct tt_places *p, uint32_t index)
{
    const struct tt_lookup_item *item = &p->items[index];
    return (item->flags & TT_LOOKUP_HOLE) == 0 && !is_in_memory(p, item);
}

/* Begins reads for what comes next. False: no memory for the next item itself. */
static bool read_ahead(struct tt_places *p)
{
    /* What was in memory when it was planned, and is not any more. */
    if (needs_block(p, p->next) && p->next < p->planned &&
        (p->blocks_count == 0 || p->blocks[0]->first > p->next)) {
        TT_ASSERT(p->blocks_count <= TT_PLACES_READS_MAX);
        return make_block(p, p->next, 0) != NULL;
    }
    if (p->planned < p->next) p->planned = p->next;
    while (p->planned < p->count && p->blocks_count < TT_PLACES_READS_MAX) {
        if (!needs_block(p, p->planned)) {
            p->planned++;
            continue;
        }
        bool first = p->blocks_count == 0;
        if (!first && (p->blocks_bytes + READ_BYTES_MIN > AHEAD_BYTES_MAX ||
                       !tt_replay_has_memory(p->shard, TT_PLACES_BLOCK_BYTES)))
            return true;
        struct block *b = make_block(p, p->planned, p->blocks_count);
        if (b == NULL) return !first;
        p->planned += b->count;
    }
    return true;
}

/* ---- what is given ---- */

static bool is_the_one(const struct tt_places *p, const struct tt_lookup_item *item,
                       const struct tt_record *record)
{
    return record->class == TT_RECORD_EVENT && record->offset == item->offset &&
           tt_hash(&p->shard->world->hash_key, record->event.channel) == item->hash;
}

static enum tt_status from_memory(const struct tt_places *p, const struct tt_lookup_item *item,
                                  struct tt_record *record)
{
    const struct tt_shard *shard = p->shard;
    struct tt_tail *tail = shard->world->partitions[p->partition].tail;
    uint64_t end = tt_fanout_place(shard, p->partition);
    uint64_t sequence = tt_tail_find(tail, shard->replay->first[p->partition], end, item->offset);
    const struct tt_tail_descriptor *d;
    if (sequence >= end || tt_tail_run(tail, sequence, end, &d) == 0) return TT_ENOENT;
    enum tt_status status = tt_record_decode(tt_tail_record(tail, d), record);
    return status == TT_OK && is_the_one(p, item, record) ? TT_OK : TT_ENOENT;
}

/* TT_MORE: the record is longer than the block. */
static enum tt_status from_block(const struct tt_places *p, const struct block *b,
                                 const struct tt_lookup_item *item, struct tt_record *record)
{
    uint64_t at = place_of(item) - b->place;
    if (at >= b->got) return b->got < b->bytes ? TT_ECORRUPT : TT_MORE;
    record->length = 0;
    enum tt_status status = tt_record_read(tt_bytes(b->data + at, (size_t)(b->got - at)), record);
    if (status == TT_MORE) return b->got < b->bytes ? TT_ECORRUPT : TT_MORE;
    return status == TT_OK && is_the_one(p, item, record) ? TT_OK : TT_ECORRUPT;
}

/* The first block ends within the record of its item: reads it whole. The items before were given.
 * False: that cannot be done. */
static bool read_longer(struct tt_places *p, struct block *b, const struct tt_record *record)
{
    uint64_t place = place_of(&p->items[p->next]);
    size_t bytes = record->length != 0 ? record->length : READ_BYTES_MIN;
    if (bytes > TT_RECORD_BYTES_MAX(TT_EVENT_BYTES_CEILING + TT_RECORD_TEXT_BYTES_MAX) ||
        bytes > b->end - place)
        return false;
    if (place == b->place && bytes <= b->bytes) return false; /* all of that was read */
    if (!resize_block(b, bytes)) return false;
    b->count -= p->next - b->first;
    b->first = p->next;
    b->place = place;
    read_block(b);
    return true;
}

static void drop_first_block(struct tt_places *p)
{
    free_block(p->blocks[0]);
    p->blocks_count--;
    memmove(&p->blocks[0], &p->blocks[1], p->blocks_count * sizeof(struct block *));
}

static enum tt_status give(struct tt_places *p, uint32_t *index, enum tt_status status)
{
    *index = p->next++;
    return status;
}

static void tell_bad(const struct tt_places *p, const struct tt_lookup_item *item,
                     enum tt_status status)
{
    if (status == TT_ENOENT) return;
    tt_diag_write(p->shard->diag, TT_DIAG_ERROR, NULL, "place_read",
                  "partition %u: cannot read the event of offset %llu at place %llu: %s",
                  p->partition, (unsigned long long)item->offset, (unsigned long long)item->place,
                  tt_status_text(status));
}

enum tt_status tt_places_next(struct tt_places *p, uint32_t *index, struct tt_record *record)
{
    TT_ASSERT(!p->closed);
    while (p->blocks_count != 0 && p->blocks[0]->first + p->blocks[0]->count <= p->next)
        drop_first_block(p);
    if (p->next == p->count) return TT_END;
    const struct tt_lookup_item *item = &p->items[p->next];
    if ((item->flags & TT_LOOKUP_HOLE) != 0) {
        *record = (struct tt_record){
            .class = TT_RECORD_HOLE, .offset = item->offset, .hole_end = item->hash};
        return give(p, index, TT_OK);
    }
    bool read = p->blocks_count != 0 && p->blocks[0]->first <= p->next;
    if (!read && is_in_memory(p, item)) return give(p, index, from_memory(p, item, record));
    if (!read_ahead(p)) return give(p, index, TT_ENOENT);
    struct block *b = p->blocks[0];
    TT_ASSERT(b->first <= p->next);
    enum tt_status status = b->status;
    if (b->state == BLOCK_READY) {
        status = from_block(p, b, item, record);
        if (status == TT_OK) return give(p, index, TT_OK);
        if (status == TT_MORE) status = read_longer(p, b, record) ? TT_OK : TT_ECORRUPT;
    }
    if (b->state == BLOCK_READING) {
        p->waiting = true;
        return TT_FULL;
    }
    tell_bad(p, item, status);
    return give(p, index, TT_ENOENT);
}

enum tt_status tt_places_open(struct tt_places **out, struct tt_shard *shard, uint32_t partition,
                              const struct tt_lookup_item *items, uint32_t count,
                              void (*wake)(void *owner), void *owner)
{
    *out = NULL;
    if (!tt_replay_has_memory(shard, sizeof(struct tt_places))) return TT_FULL;
    struct tt_places *p = calloc(1, sizeof *p);
    if (p == NULL) return TT_FULL;
    p->shard = shard;
    p->partition = partition;
    p->items = items;
    p->count = count;
    p->wake = wake;
    p->owner = owner;
    shard->replay->block_bytes += sizeof *p;
    *out = p;
    return TT_OK;
}

void tt_places_close(struct tt_places **out)
{
    struct tt_places *p = *out;
    if (p == NULL) return;
    *out = NULL;
    p->closed = true;
    for (uint32_t i = 0; i < p->blocks_count; i++)
        if (!tt_file_read_busy(&p->blocks[i]->read)) free_block(p->blocks[i]);
    if (p->in_flight == 0) free_places(p);
}
