#include "shard/replay/segments.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "shard/replay/catchup.h"
#include "shard/replay/replay_internal.h"
#include "shard/replay/views.h"
#include "shard/shard_internal.h"
#include "store/reader.h"

#define READERS_MAX 4096u

struct tt_segment_reader {
    struct tt_file_read read;
    struct tt_segments *segments;
    struct tt_client *client; /* null: forgotten */
    struct tt_view *view;     /* held */
    uint8_t *block;
    size_t block_bytes;
    struct tt_reader records;
    struct tt_reader_find find;
    uint64_t place;  /* where the block, or the probe, begins; 0: to be found */
    uint64_t end;    /* of what is in the file */
    uint64_t offset; /* wanted */
    uint64_t bound;  /* no records from this offset on */
    uint32_t slot;
    bool seeking;
};

struct tt_segments {
    struct tt_shard *shard;
    struct tt_pool pool;
};

enum tt_status tt_segments_create(struct tt_shard *shard, struct tt_segments **out)
{
    struct tt_segments *s = calloc(1, sizeof *s);
    *out = s;
    if (s == NULL) return TT_ENOMEM;
    s->shard = shard;
    return tt_pool_init(&s->pool, sizeof(struct tt_segment_reader), 64, READERS_MAX);
}

void tt_segments_destroy(struct tt_segments **out)
{
    struct tt_segments *s = *out;
    if (s == NULL) return;
    TT_ASSERT(tt_pool_used(&s->pool) == 0);
    tt_pool_deinit(&s->pool);
    free(s);
    *out = NULL;
}

static void reader_free(struct tt_segments *s, struct tt_segment_reader *reader)
{
    s->shard->replay->block_bytes -= reader->block_bytes;
    free(reader->block);
    tt_view_release(s->shard->replay->views, &reader->view);
    tt_pool_put(&s->pool, reader->slot);
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

static bool read_at(struct tt_segments *s, struct tt_segment_reader *reader, size_t size)
{
    if (size > reader->end - reader->place) size = (size_t)(reader->end - reader->place);
    reader->read.position = reader->place;
    reader->read.data = reader->block;
    reader->read.size = size;
    return tt_view_read(s->shard->replay->views, reader->view, &reader->read);
}

/* Reads the block at the place of the next record, with room for it whole. */
static bool read_block(struct tt_segments *s, struct tt_segment_reader *reader)
{
    size_t needs = tt_reader_needs(&reader->records);
    if (needs > reader->block_bytes && !block_reserve(s, reader, needs)) return false;
    reader->place = tt_reader_place(&reader->records);
    return read_at(s, reader, reader->block_bytes);
}

/* The next step of finding where to begin; then reads there. */
static bool seek(struct tt_segments *s, struct tt_segment_reader *reader)
{
    if (tt_reader_find_step(&reader->find, &reader->place) == TT_MORE)
        return read_at(s, reader, TT_READER_PROBE_BYTES);
    reader->seeking = false;
    tt_reader_init(&reader->records, reader->place, reader->end,
                   reader->end == reader->view->segment.end_place);
    return read_block(s, reader);
}

/* False: no memory for it. */
static bool begin(struct tt_segments *s, struct tt_segment_reader *reader)
{
    const struct tt_view *view = reader->view;
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

static void block_read(struct tt_file_read *read, int32_t result);

enum tt_status tt_segments_read(struct tt_segments *s, struct tt_client *client, uint32_t partition,
                                uint64_t offset, uint64_t place, uint64_t bound,
                                struct tt_segment_reader **out)
{
    struct tt_shard *shard = s->shard;
    struct tt_view *view = tt_views_at(shard->replay->views, partition, offset);
    if (view == NULL) return TT_ENOENT;
    if (!tt_replay_has_memory(shard, TT_SEGMENT_BLOCK_BYTES)) return TT_FULL;
    uint32_t slot;
    struct tt_segment_reader *reader = tt_pool_get(&s->pool, &slot);
    if (reader == NULL) return TT_FULL;
    reader->read.done = block_read;
    reader->segments = s;
    reader->slot = slot;
    reader->view = view;
    tt_view_hold(view);
    reader->client = client;
    reader->offset = offset;
    reader->bound = bound;
    /* A place is good for the segment it was found in. */
    if (place > view->segment.base_place && place < view->segment.end_place) reader->place = place;
    if (!block_reserve(s, reader, TT_SEGMENT_BLOCK_BYTES) || !begin(s, reader)) {
        reader_free(s, reader);
        return TT_FULL;
    }
    *out = reader;
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

/* The segment has nothing more: on with the next one, or with memory. */
static void segment_ended(struct tt_segments *s, struct tt_segment_reader *reader)
{
    struct tt_catchup_part *part = tt_catchup_part(reader->client, reader->view->partition);
    uint64_t next = tt_view_end_offset(s->shard->replay->views, reader->view);
    if (next > reader->bound) next = reader->bound;
    if (part->pos < next) part->pos = next;
    part->place = 0;
}

/* Gives the client the records of a block. */
static void take_block(struct tt_segments *s, struct tt_segment_reader *reader, size_t got)
{
    const struct tt_view *view = reader->view;
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

/* The segment cannot be read. */
static void read_failed(struct tt_segments *s, struct tt_segment_reader *reader,
                        enum tt_status status)
{
    struct tt_tail *tail = s->shard->world->partitions[reader->view->partition].tail;
    struct tt_catchup_part *part = tt_catchup_part(reader->client, reader->view->partition);
    /* A file that is gone was retired, unless somebody else has removed it. */
    if (status != TT_ENOENT || part->pos >= tt_tail_oldest_offset(tail)) {
        tt_diag_write(
            s->shard->diag, TT_DIAG_ERROR, NULL, "segment_read",
            "partition %u: cannot read the segment of offset %llu: %s", reader->view->partition,
            (unsigned long long)reader->view->segment.first_offset, tt_status_text(status));
        segment_ended(s, reader);
    }
    finish(s, reader, true);
}

static void block_read(struct tt_file_read *read, int32_t result)
{
    struct tt_segment_reader *reader = TT_CONTAINER_OF(read, struct tt_segment_reader, read);
    struct tt_segments *s = reader->segments;
    if (reader->client == NULL) {
        finish(s, reader, false);
    } else if (result < 0) {
        read_failed(s, reader, (enum tt_status)result);
    } else if (reader->seeking) {
        tt_reader_find_probe(&reader->find, tt_bytes(reader->block, (size_t)result));
        if (!seek(s, reader)) finish(s, reader, false);
    } else {
        take_block(s, reader, (size_t)result);
    }
}
