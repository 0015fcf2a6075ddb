#include "shard/replay/segments.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "shard/replay/catchup.h"
#include "shard/replay/replay_internal.h"
#include "shard/replay/views.h"
#include "shard/shard_internal.h"
#include "store/reader.h"

#define READERS_MAX 4096u
#define KEEP_MS     1000u /* for a client that takes nothing */

struct tt_segment_reader {
    struct tt_file_read read;
    struct tt_segments *segments;
    struct tt_client *client; /* null: forgotten */
    struct tt_view *view;     /* held */
    uint8_t *block;
    size_t block_bytes;
    size_t got; /* bytes of the log in the block */
    struct tt_reader records;
    struct tt_reader_find find;
    uint64_t place;  /* where the block, or the probe, begins; 0: to be found */
    uint64_t end;    /* of what is in the file */
    uint64_t offset; /* wanted */
    uint64_t bound;  /* no records from this offset on */
    uint32_t slot;
    bool seeking;
    bool ended; /* the file has no more, wherever it should end */
    bool ready; /* there are records in the block; nothing is being read */
};

struct tt_segments {
    struct tt_shard *shard;
    struct tt_pool pool;
    uint8_t *spare; /* the last block that was let go: the next one is mostly as large */
    size_t spare_bytes;
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
    free(s->spare);
    free(s);
    *out = NULL;
}

static void block_free(struct tt_segments *s, struct tt_segment_reader *reader)
{
    s->shard->replay->block_bytes -= reader->block_bytes;
    if (reader->block_bytes > s->spare_bytes && reader->block_bytes <= TT_SEGMENT_BLOCK_BYTES_MAX) {
        free(s->spare);
        s->spare = reader->block;
        s->spare_bytes = reader->block_bytes;
    } else {
        free(reader->block);
    }
    reader->block = NULL;
    reader->block_bytes = 0;
}

static void reader_free(struct tt_segments *s, struct tt_segment_reader *reader)
{
    block_free(s, reader);
    tt_view_release(s->shard->replay->views, &reader->view);
    tt_pool_put(&s->pool, reader->slot);
}

/* So few catch up that there is memory for more than what they need at least. */
static bool has_plenty(const struct tt_segments *s, size_t bytes)
{
    const struct tt_shard *shard = s->shard;
    return shard->replay_frames.bytes + shard->replay->block_bytes + bytes <=
           shard->replay_frames.bytes_max / 4;
}

/* A block of so many bytes at least; what is in the one there is, from `from` on, moves to its
 * front. */
static bool block_reserve(struct tt_segments *s, struct tt_segment_reader *reader, size_t bytes,
                          size_t from)
{
    size_t rest = reader->got - from;
    if (bytes <= reader->block_bytes) {
        if (from != 0 && rest != 0) memmove(reader->block, reader->block + from, rest);
        reader->got = rest;
        return true;
    }
    uint8_t *block = s->spare;
    if (bytes == s->spare_bytes) {
        s->spare = NULL;
        s->spare_bytes = 0;
    } else {
        block = malloc(bytes);
    }
    if (block == NULL) return false;
    if (rest != 0) memcpy(block, reader->block + from, rest);
    block_free(s, reader);
    s->shard->replay->block_bytes += bytes;
    reader->block = block;
    reader->block_bytes = bytes;
    reader->got = rest;
    return true;
}

/* Reads on behind what is in the block. */
static bool read_behind(struct tt_segments *s, struct tt_segment_reader *reader, size_t size)
{
    uint64_t place = reader->place + reader->got;
    if (size > reader->end - place) size = (size_t)(reader->end - place);
    reader->read.position = place;
    reader->read.data = reader->block + reader->got;
    reader->read.size = size;
    return tt_view_read(s->shard->replay->views, reader->view, &reader->read);
}

/* The rest of the block and what is behind it, the next record whole. */
static bool read_on(struct tt_segments *s, struct tt_segment_reader *reader)
{
    size_t needs = tt_reader_needs(&reader->records);
    size_t bytes = has_plenty(s, TT_SEGMENT_BLOCK_BYTES_MAX) ? TT_SEGMENT_BLOCK_BYTES_MAX
                                                             : TT_SEGMENT_BLOCK_BYTES;
    uint64_t place = tt_reader_place(&reader->records);
    if (!block_reserve(s, reader, needs > bytes ? needs : bytes, (size_t)(place - reader->place)))
        return false;
    reader->place = place;
    size_t room = reader->block_bytes - reader->got;
    size_t more = needs > reader->got ? needs - reader->got : 0;
    if (more < TT_SEGMENT_BLOCK_BYTES) more = TT_SEGMENT_BLOCK_BYTES;
    return read_behind(s, reader, more < room ? more : room);
}

/* The next step of finding where to begin; then reads there. */
static bool seek(struct tt_segments *s, struct tt_segment_reader *reader)
{
    if (tt_reader_find_step(&reader->find, &reader->place) == TT_MORE)
        return read_behind(s, reader, TT_READER_PROBE_BYTES);
    reader->seeking = false;
    tt_reader_init(&reader->records, reader->place, reader->end,
                   reader->end == reader->view->segment.end_place);
    return read_on(s, reader);
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
    return read_on(s, reader);
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
    if (!block_reserve(s, reader, TT_SEGMENT_BLOCK_BYTES, 0) || !begin(s, reader)) {
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
    if ((*reader)->ready) reader_free((*reader)->segments, *reader);
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

/* Gives the client records of the block until it has no room. Returns why it stopped: TT_OK: no
 * room, or it wants no more; else as tt_reader_next(). */
static enum tt_status take_records(struct tt_segment_reader *reader, struct tt_catchup_part *part)
{
    struct tt_client *client = reader->client;
    struct tt_bytes window = tt_bytes(reader->block, reader->got);
    bool room = tt_catchup_has_room(client);
    while (room && client->state == TT_CLIENT_CATCHUP && part->pos < reader->bound) {
        struct tt_record record;
        enum tt_status status = tt_reader_next(&reader->records, reader->place, window, &record);
        if (status != TT_OK) return status;
        room = tt_catchup_take_record(client, reader->view->partition, &record);
        part->place = tt_reader_place(&reader->records);
    }
    return TT_OK;
}

/* What is left would not fill another batch, and there is more. */
static bool wants_more(const struct tt_segment_reader *reader)
{
    uint64_t end = reader->place + reader->got;
    return end - tt_reader_place(&reader->records) < TT_PULL_BYTES_MAX && end < reader->end &&
           !reader->ended;
}

/* Takes what the client has room for; then reads on, or keeps the rest, or ends. Where memory is
 * short the rest is let go: it is read again when there is room. Returns the bytes looked at. */
static size_t take_block(struct tt_segments *s, struct tt_segment_reader *reader)
{
    struct tt_client *client = reader->client;
    struct tt_catchup_part *part = tt_catchup_part(client, reader->view->partition);
    uint64_t before = tt_reader_place(&reader->records);
    reader->ready = false;
    enum tt_status status = take_records(reader, part);
    size_t looked = (size_t)(tt_reader_place(&reader->records) - before) + 1;
    if (client->state != TT_CLIENT_CATCHUP || part->pos >= reader->bound ||
        (status == TT_OK && !has_plenty(s, 0))) {
        finish(s, reader, false);
    } else if (status == TT_OK && !wants_more(reader)) {
        reader->ready = true;
    } else if (status == TT_OK || (status == TT_MORE && !reader->ended)) {
        /* On with the next block, another turn's work: others may read meanwhile. */
        if (!read_on(s, reader)) finish(s, reader, false);
    } else if (status == TT_END || status == TT_MORE) {
        segment_ended(s, reader);
        finish(s, reader, false);
    } else {
        tt_diag_write(s->shard->diag, TT_DIAG_ERROR, NULL, "segment_corrupt",
                      "partition %u: bad bytes in the segment of offset %llu at place %llu",
                      reader->view->partition,
                      (unsigned long long)reader->view->segment.first_offset,
                      (unsigned long long)tt_reader_place(&reader->records));
        segment_ended(s, reader);
        finish(s, reader, true);
    }
    return looked;
}

bool tt_segments_ready(const struct tt_segment_reader *reader)
{
    return reader->ready;
}

size_t tt_segments_step(struct tt_segment_reader *reader)
{
    TT_ASSERT(reader->ready && reader->client != NULL);
    return take_block(reader->segments, reader);
}

bool tt_segments_tidy(struct tt_segments *s)
{
    uint32_t now_ms = (uint32_t)(s->shard->now_ns / 1000000);
    bool more = false;
    for (uint32_t i = tt_pool_next(&s->pool, 0); i != TT_SLOT_NONE;
         i = tt_pool_next(&s->pool, i + 1)) {
        struct tt_segment_reader *reader = tt_pool_at(&s->pool, i);
        if (!reader->ready) continue;
        if (now_ms - reader->client->taken_ms > KEEP_MS)
            finish(s, reader, false);
        else
            more = true;
    }
    return more;
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
        reader->ended = result == 0;
        reader->got += (size_t)result;
        if (reader->client->state == TT_CLIENT_CATCHUP && tt_replay_frames_full(s->shard)) {
            reader->ready = true; /* frames of all blocks at once would be too many */
            tt_catchup_wake(reader->client);
        } else {
            (void)take_block(s, reader); /* (or lets it go, of a client that closes) */
        }
    }
}
