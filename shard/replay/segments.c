#include "shard/replay/segments.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "shard/replay/catchup.h"
#include "shard/replay/replay_internal.h"
#include "shard/shard_internal.h"
#include "store/log.h"
#include "store/reader.h"

#define IDLE_NS        (TT_SEGMENT_IDLE_MS * UINT64_C(1000000))
#define READERS_MAX    4096u
#define PATH_BYTES_MAX 4096u

/* A segment as this shard knows it. */
struct view {
    struct tt_segment segment;
    uint64_t used_ns;
    struct tt_list waiting; /* readers, until it is open */
    uint32_t partition;
    uint32_t slot; /* in the pool of views */
    uint32_t readers;
    tt_file file;
    bool opening;
    bool retired;
};

struct views {
    struct view **items; /* by rising first offset; retired ones that are held are not in it */
    uint32_t count;
    uint32_t max;
};

struct tt_segment_reader {
    struct tt_node node;      /* in its view's waiting list */
    struct tt_client *client; /* null: forgotten */
    struct view *view;
    uint8_t *block;
    size_t block_bytes;
    struct tt_reader records;
    struct tt_reader_find find;
    uint64_t place;  /* where the block, or the probe, begins; 0: to be found */
    uint64_t end;    /* of what is in the file */
    uint64_t offset; /* wanted */
    uint64_t bound;  /* first offset in memory when the read was begun */
    uint32_t slot;
    bool seeking;
};

struct tt_segments {
    struct tt_shard *shard;
    struct views *partitions;
    struct tt_pool view_pool;
    struct tt_pool reader_pool;
};

enum { OP_OPEN = 0x100000, OP_READ = 0x200000, OP_MASK = 0x300000 };

/* Tokens: which kind of operation it is stands in the two top bits of the 24-bit generation. */
static uint64_t token_of(struct tt_pool *pool, uint32_t slot, uint32_t kind)
{
    return tt_token(TT_OPERATION_REPLAY,
                    (tt_pool_generation(pool, slot) & ~(uint32_t)OP_MASK & 0xFFFFFu) | kind, slot);
}

enum tt_status tt_segments_create(struct tt_shard *shard, struct tt_segments **out)
{
    struct tt_segments *s = calloc(1, sizeof *s);
    if (s == NULL) return TT_ENOMEM;
    s->shard = shard;
    s->partitions = calloc(shard->world->partitions_count, sizeof *s->partitions);
    enum tt_status status = s->partitions == NULL ? TT_ENOMEM : TT_OK;
    if (status == TT_OK) status = tt_pool_init(&s->view_pool, sizeof(struct view), 64, 1u << 20);
    if (status == TT_OK)
        status = tt_pool_init(&s->reader_pool, sizeof(struct tt_segment_reader), 64, READERS_MAX);
    *out = s;
    for (uint32_t p = 0; status == TT_OK && p < shard->world->partitions_count; p++) {
        const struct tt_segment_list *list = tt_log_segments(shard->world->partitions[p].log);
        for (uint32_t i = 0; status == TT_OK && i < list->count; i++) {
            struct tt_message_segment m = {.partition = p,
                                           .event = TT_LOG_SEGMENT_ADDED,
                                           .first_offset = list->items[i].first_offset,
                                           .base_place = list->items[i].base_place,
                                           .end_place = list->items[i].end_place};
            tt_segments_message(s, &m);
        }
    }
    return status;
}

void tt_segments_destroy(struct tt_segments **out)
{
    struct tt_segments *s = *out;
    if (s == NULL) return;
    for (uint32_t i = tt_pool_next(&s->reader_pool, 0); i != TT_SLOT_NONE;
         i = tt_pool_next(&s->reader_pool, i + 1))
        free(((struct tt_segment_reader *)tt_pool_at(&s->reader_pool, i))->block);
    if (s->partitions != NULL)
        for (uint32_t p = 0; p < s->shard->world->partitions_count; p++)
            free(s->partitions[p].items);
    free(s->partitions);
    tt_pool_deinit(&s->view_pool);
    tt_pool_deinit(&s->reader_pool);
    free(s);
    *out = NULL;
}

/* ---- the list ---- */

static struct view *find(const struct views *v, uint64_t offset, uint32_t *index)
{
    uint32_t low = 0;
    uint32_t high = v->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (v->items[middle]->segment.first_offset <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0) return NULL;
    if (index != NULL) *index = low - 1;
    return v->items[low - 1];
}

static void close_view(struct tt_segments *s, struct view *view)
{
    if (view->file != TT_FILE_NONE)
        tt_io_file_close(s->shard->io, view->file, tt_token(TT_OPERATION_REPLAY, 0, 0));
    view->file = TT_FILE_NONE;
}

static void drop_view(struct tt_segments *s, struct view *view)
{
    close_view(s, view);
    tt_pool_put(&s->view_pool, view->slot);
}

static void add(struct tt_segments *s, const struct tt_message_segment *m)
{
    struct views *v = &s->partitions[m->partition];
    uint32_t slot;
    struct view *view = tt_pool_get(&s->view_pool, &slot);
    if (view != NULL && v->count == v->max) {
        uint32_t max = v->max == 0 ? 16 : v->max * 2;
        struct view **items = realloc(v->items, max * sizeof(struct view *));
        if (items == NULL) {
            tt_pool_put(&s->view_pool, slot);
            view = NULL;
        } else {
            v->items = items;
            v->max = max;
        }
    }
    if (view == NULL) {
        tt_diag_write(s->shard->diag, TT_DIAG_ERROR, NULL, "segment_memory",
                      "out of memory: a segment of partition %u cannot be read here", m->partition);
        return;
    }
    TT_ASSERT(v->count == 0 || v->items[v->count - 1]->segment.first_offset < m->first_offset);
    view->slot = slot;
    view->partition = m->partition;
    view->segment.first_offset = m->first_offset;
    view->segment.base_place = m->base_place;
    view->segment.end_place = m->end_place;
    view->file = TT_FILE_NONE;
    tt_list_init(&view->waiting);
    v->items[v->count++] = view;
}

static void retire(struct tt_segments *s, struct views *v, uint32_t index)
{
    struct view *view = v->items[index];
    memmove(&v->items[index], &v->items[index + 1], (v->count - index - 1) * sizeof(struct view *));
    v->count--;
    view->retired = true;
    if (view->readers == 0 && !view->opening) drop_view(s, view);
}

void tt_segments_message(struct tt_segments *s, const struct tt_message_segment *m)
{
    struct views *v = &s->partitions[m->partition];
    uint32_t index;
    struct view *view;
    switch ((enum tt_log_segment_event)m->event) {
    case TT_LOG_SEGMENT_ADDED: add(s, m); return;
    case TT_LOG_SEGMENT_SEALED:
        view = find(v, m->first_offset, NULL);
        if (view != NULL && view->segment.first_offset == m->first_offset)
            view->segment.end_place = m->end_place;
        return;
    case TT_LOG_SEGMENT_INDEXED:
        view = find(v, m->first_offset, NULL);
        if (view != NULL && view->segment.first_offset == m->first_offset)
            view->segment.indexed = true;
        return;
    case TT_LOG_SEGMENT_RETIRED:
        view = find(v, m->first_offset, &index);
        if (view != NULL && view->segment.first_offset == m->first_offset) retire(s, v, index);
        return;
    }
    TT_UNREACHABLE();
}

void tt_segments_tidy(struct tt_segments *s)
{
    for (uint32_t i = tt_pool_next(&s->view_pool, 0); i != TT_SLOT_NONE;
         i = tt_pool_next(&s->view_pool, i + 1)) {
        struct view *view = tt_pool_at(&s->view_pool, i);
        if (view->readers != 0 || view->opening) continue;
        if (view->retired)
            drop_view(s, view);
        else if (view->file != TT_FILE_NONE && s->shard->now_ns - view->used_ns > IDLE_NS)
            close_view(s, view);
    }
}

/* ---- reading ---- */

static void reader_free(struct tt_segments *s, struct tt_segment_reader *reader)
{
    struct view *view = reader->view;
    if (tt_node_linked(&reader->node)) tt_list_remove(&reader->node);
    TT_ASSERT(view->readers > 0);
    view->readers--;
    view->used_ns = s->shard->now_ns;
    s->shard->replay->block_bytes -= reader->block_bytes;
    free(reader->block);
    tt_pool_put(&s->reader_pool, reader->slot);
    if (view->retired && view->readers == 0 && !view->opening) drop_view(s, view);
}

static bool block_reserve(struct tt_segments *s, struct tt_segment_reader *reader, size_t bytes)
{
    uint8_t *block = realloc(reader->block, bytes);
    if (block == NULL) return false;
    s->shard->replay->block_bytes += bytes - reader->block_bytes;
    reader->block = block;
    reader->block_bytes = bytes;
    return true;
}

static void read_at(struct tt_segments *s, struct tt_segment_reader *reader, size_t size)
{
    const struct view *view = reader->view;
    if (size > reader->end - reader->place) size = (size_t)(reader->end - reader->place);
    tt_io_read(s->shard->io, view->file, reader->place - view->segment.base_place, reader->block,
               size, token_of(&s->reader_pool, reader->slot, OP_READ));
}

/* Reads the block at the place of the next record, with room for it whole. */
static bool read_block(struct tt_segments *s, struct tt_segment_reader *reader)
{
    size_t needs = tt_reader_needs(&reader->records);
    if (needs > reader->block_bytes && !block_reserve(s, reader, needs)) return false;
    reader->place = tt_reader_place(&reader->records);
    read_at(s, reader, reader->block_bytes);
    return true;
}

/* The next step of finding where to begin; then reads there. */
static bool seek(struct tt_segments *s, struct tt_segment_reader *reader)
{
    if (tt_reader_find_step(&reader->find, &reader->place) == TT_MORE) {
        read_at(s, reader, TT_READER_PROBE_BYTES);
        return true;
    }
    reader->seeking = false;
    tt_reader_init(&reader->records, reader->place, reader->end,
                   reader->end == reader->view->segment.end_place);
    return read_block(s, reader);
}

/* False: no memory for it. */
static bool begin(struct tt_segments *s, struct tt_segment_reader *reader)
{
    const struct view *view = reader->view;
    struct tt_tail *tail = s->shard->world->partitions[view->partition].tail;
    reader->end = view->segment.end_place;
    if (reader->end == TT_SEGMENT_GROWS) reader->end = tt_tail_written_place(tail);
    if (reader->place >= reader->end) reader->place = 0;
    if (reader->place == 0) {
        reader->seeking = true;
        tt_reader_find_offset(&reader->find, &view->segment, reader->end, reader->offset);
        return seek(s, reader);
    }
    tt_reader_init(&reader->records, reader->place, reader->end,
                   reader->end == reader->view->segment.end_place);
    return read_block(s, reader);
}

enum tt_status tt_segments_read(struct tt_segments *s, struct tt_client *client, uint32_t partition,
                                uint64_t offset, uint64_t place, struct tt_segment_reader **out)
{
    struct tt_shard *shard = s->shard;
    struct view *view = find(&s->partitions[partition], offset, NULL);
    if (view == NULL) return TT_ENOENT;
    if (shard->replay_frames.bytes + shard->replay->block_bytes + TT_SEGMENT_BLOCK_BYTES >
        shard->replay_frames.bytes_max)
        return TT_FULL;
    uint32_t slot;
    struct tt_segment_reader *reader = tt_pool_get(&s->reader_pool, &slot);
    if (reader == NULL) return TT_FULL;
    reader->slot = slot;
    reader->view = view;
    view->readers++;
    view->used_ns = shard->now_ns;
    reader->client = client;
    reader->offset = offset;
    reader->bound = shard->replay->first_offset[partition];
    /* A place is good for the segment it was found in. */
    if (place > view->segment.base_place && place < view->segment.end_place) reader->place = place;
    if (!block_reserve(s, reader, TT_SEGMENT_BLOCK_BYTES)) {
        reader_free(s, reader);
        return TT_FULL;
    }
    *out = reader;
    if (view->file != TT_FILE_NONE) {
        if (begin(s, reader)) return TT_OK;
        *out = NULL;
        reader_free(s, reader);
        return TT_FULL;
    }
    tt_list_append(&view->waiting, &reader->node);
    if (view->opening) return TT_OK;
    char path[PATH_BYTES_MAX];
    enum tt_status status = tt_segment_path(shard->world->partitions[partition].directory,
                                            view->segment.first_offset, path, sizeof path);
    TT_ASSERT(status == TT_OK); /* the directory's length was checked at start */
    view->opening = true;
    tt_io_open(shard->io, path, TT_OPEN_READ, token_of(&s->view_pool, view->slot, OP_OPEN));
    return TT_OK;
}

void tt_segments_forget(struct tt_segment_reader **reader)
{
    /* What is under way goes on into its own block; the completion frees it. */
    (*reader)->client = NULL;
    *reader = NULL;
}

/* Ends a read: the client may go on (or is told that what it wants is gone). */
static void finish(struct tt_segments *s, struct tt_segment_reader *reader, bool expired)
{
    struct tt_client *client = reader->client;
    uint32_t partition = reader->view->partition;
    reader_free(s, reader);
    if (client == NULL) return;
    client->catchup->reader = NULL;
    if (expired) tt_catchup_expired(client, partition);
    if (client->catchup != NULL) {
        tt_catchup_wake(client);
        tt_exchange_ready(&client->exchange); /* closing clients wait for their read to end */
    }
}

static void opened(struct tt_segments *s, struct view *view, int32_t result)
{
    view->opening = false;
    if (result >= 0) view->file = result;
    struct tt_list waiting;
    tt_list_init(&waiting);
    struct tt_node *node;
    while ((node = tt_list_take_first(&view->waiting)) != NULL) tt_list_append(&waiting, node);
    if (result < 0 && result != TT_ENOENT && !tt_list_empty(&waiting))
        tt_diag_write(s->shard->diag, TT_DIAG_ERROR, NULL, "segment_open",
                      "partition %u: cannot open the segment of offset %llu: %s", view->partition,
                      (unsigned long long)view->segment.first_offset,
                      tt_status_text((enum tt_status)result));
    view->readers++; /* it must not go while its readers are told */
    while ((node = tt_list_take_first(&waiting)) != NULL) {
        struct tt_segment_reader *reader = TT_CONTAINER_OF(node, struct tt_segment_reader, node);
        if (result < 0 || reader->client == NULL)
            finish(s, reader, result < 0);
        else if (!begin(s, reader))
            finish(s, reader, false);
    }
    view->readers--;
    if (view->retired && view->readers == 0) drop_view(s, view);
}

/* The segment has nothing more: on with the next one, or with memory. */
static void segment_ended(struct tt_segments *s, struct tt_segment_reader *reader)
{
    const struct view *view = reader->view;
    struct tt_catchup_part *part = tt_catchup_part(reader->client, view->partition);
    const struct views *v = &s->partitions[view->partition];
    uint64_t next = reader->bound;
    for (uint32_t i = 0; i < v->count; i++) {
        if (v->items[i]->segment.first_offset > view->segment.first_offset) {
            if (v->items[i]->segment.first_offset < next) next = v->items[i]->segment.first_offset;
            break;
        }
    }
    if (part->pos < next) part->pos = next;
    part->place = 0;
}

/* Gives the client the records of a block. */
static void take_block(struct tt_segments *s, struct tt_segment_reader *reader, size_t got)
{
    const struct view *view = reader->view;
    struct tt_client *client = reader->client;
    struct tt_catchup_part *part = tt_catchup_part(client, view->partition);
    struct tt_bytes window = tt_bytes(reader->block, got);
    bool room = true;
    enum tt_status status = TT_OK;
    while (room && client->state == TT_CLIENT_CATCHUP && part->pos < reader->bound) {
        struct tt_record record;
        status = tt_reader_next(&reader->records, reader->place, window, &record);
        if (status != TT_OK) break;
        room = tt_catchup_take_record(client, view->partition, &record);
        part->place = tt_reader_place(&reader->records);
    }
    if (client->state != TT_CLIENT_CATCHUP || part->pos >= reader->bound || !room) {
        finish(s, reader, false);
    } else if (status == TT_MORE && got != 0) {
        /* On with the next block, another turn's work: others may read meanwhile. */
        if (!read_block(s, reader)) finish(s, reader, false);
    } else if (status == TT_END || status == TT_MORE) {
        segment_ended(s, reader);
        finish(s, reader, false);
    } else {
        tt_diag_write(s->shard->diag, TT_DIAG_ERROR, NULL, "segment_corrupt",
                      "partition %u: bad bytes in the segment of offset %llu at place %llu",
                      view->partition, (unsigned long long)view->segment.first_offset,
                      (unsigned long long)tt_reader_place(&reader->records));
        segment_ended(s, reader);
        finish(s, reader, true);
    }
}

static void read_done(struct tt_segments *s, struct tt_segment_reader *reader, int32_t result)
{
    if (reader->client == NULL) {
        finish(s, reader, false);
    } else if (result < 0) {
        tt_diag_write(s->shard->diag, TT_DIAG_ERROR, NULL, "segment_read",
                      "partition %u: cannot read the segment of offset %llu: %s",
                      reader->view->partition,
                      (unsigned long long)reader->view->segment.first_offset,
                      tt_status_text((enum tt_status)result));
        segment_ended(s, reader);
        finish(s, reader, true);
    } else if (reader->seeking) {
        tt_reader_find_probe(&reader->find, tt_bytes(reader->block, (size_t)result));
        if (!seek(s, reader)) finish(s, reader, false);
    } else {
        take_block(s, reader, (size_t)result);
    }
}

bool tt_segments_done(struct tt_segments *s, const struct tt_done *done)
{
    if (tt_token_operation(done->token) != TT_OPERATION_REPLAY) return false;
    uint32_t slot = tt_token_slot(done->token);
    switch (tt_token_generation(done->token) & OP_MASK) {
    case OP_OPEN: opened(s, tt_pool_at(&s->view_pool, slot), done->result); return true;
    case OP_READ: read_done(s, tt_pool_at(&s->reader_pool, slot), done->result); return true;
    default: return true; /* a file was closed */
    }
}
