#include <stdlib.h>

#include "proto/base/assert.h"
#include "shard/fanout/fanout.h"
#include "shard/replay/search_internal.h"
#include "store/index.h"

#define FOUND_SLACK 4096u /* that are collected before the older ones are let go */

/* The first want of that hash that is looked for; wants_count: none. */
static uint32_t find_want(const struct tt_search *s, uint64_t hash)
{
    uint32_t low = 0, high = s->wants_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (s->wants[middle].hash < hash)
            low = middle + 1;
        else
            high = middle;
    }
    return low < s->wants_count && s->wants[low].hash == hash ? low : s->wants_count;
}

static enum tt_status take_event(struct tt_search *s, const struct tt_record *record,
                                 uint64_t place)
{
    uint32_t flags = record->event.flags & TT_INDEX_FLAGS_MASK;
    if (s->lookup->kind == TT_LOOKUP_VALUE && !tt_index_is_value(flags)) return TT_OK;
    uint64_t hash = tt_hash(&s->shard->world->hash_key, record->event.channel);
    for (uint32_t i = find_want(s, hash); i < s->wants_count && s->wants[i].hash == hash; i++) {
        const struct tt_search_want *w = &s->wants[i];
        if (!w->scanned || record->offset >= w->below) continue;
        struct tt_lookup_item item = {
            .offset = record->offset, .place = place, .hash = hash, .flags = flags};
        enum tt_status status = tt_search_add(s, w->channel, &item);
        if (status != TT_OK) return status;
    }
    if (s->found_count >= s->scan_cut) {
        tt_search_cut_newest(s);
        s->scan_cut = 2 * s->found_count + FOUND_SLACK;
    }
    return TT_OK;
}

static void read_block(struct tt_search *s)
{
    size_t size = tt_reader_needs(&s->records);
    if (size < TT_SEGMENT_BLOCK_BYTES) size = TT_SEGMENT_BLOCK_BYTES;
    if (size > s->block_bytes) {
        uint8_t *block = realloc(s->block, size);
        if (block == NULL) {
            tt_search_end(s, TT_ENOMEM);
            return;
        }
        tt_search_count_bytes(s, (int64_t)(size - s->block_bytes));
        s->block = block;
        s->block_bytes = size;
    }
    s->block_place = tt_reader_place(&s->records);
    s->scan_read.position = s->block_place;
    s->scan_read.data = s->block;
    s->scan_read.size = size;
    if (size > s->scan_end - s->block_place)
        s->scan_read.size = (size_t)(s->scan_end - s->block_place);
    s->busy++;
    if (tt_view_read(s->shard->replay->views, s->view, &s->scan_read)) return;
    s->busy--;
    tt_search_end(s, TT_ENOMEM);
}

/* What of a segment that grows is in memory alone. */
static enum tt_status take_memory(struct tt_search *s)
{
    uint32_t p = s->lookup->partition;
    const struct tt_replay *r = s->shard->replay;
    struct tt_tail *tail = s->shard->world->partitions[p].tail;
    uint64_t end = tt_fanout_place(s->shard, p);
    uint64_t sequence = tt_tail_find(tail, r->first[p], end, s->scan_offset);
    while (sequence < end) {
        const struct tt_tail_descriptor *run;
        uint32_t count = tt_tail_run(tail, sequence, end, &run);
        for (uint32_t i = 0; i < count; i++, sequence++) {
            if (run[i].class != TT_RECORD_EVENT) continue;
            struct tt_record record;
            enum tt_status status = tt_record_decode(tt_tail_record(tail, &run[i]), &record);
            TT_ASSERT(status == TT_OK);
            status = take_event(s, &record, run[i].place);
            if (status != TT_OK) return status;
        }
    }
    return TT_OK;
}

static void scan_done(struct tt_search *s)
{
    enum tt_status status = tt_view_sealed(s->view) ? TT_OK : take_memory(s);
    if (status == TT_OK)
        tt_search_scan_done(s);
    else
        tt_search_end(s, status);
}

/* Takes the records of the block, then goes on to the next one. */
static void take_block(struct tt_search *s, size_t got)
{
    struct tt_bytes window = tt_bytes(s->block, got);
    struct tt_record record;
    enum tt_status status;
    for (;;) {
        status = tt_reader_next(&s->records, s->block_place, window, &record);
        if (status != TT_OK) break;
        if (record.class == TT_RECORD_HOLE) s->scan_offset = record.hole_end;
        if (record.class != TT_RECORD_EVENT) continue;
        s->scan_offset = record.offset + 1;
        /* Pads may stand before it, and are not given: the record ends where the reader is now. */
        status = take_event(s, &record, tt_reader_place(&s->records) - record.length);
        if (status != TT_OK) {
            tt_search_end(s, status);
            return;
        }
    }
    if (status == TT_MORE && got != 0) {
        read_block(s);
        return;
    }
    if (status != TT_END && status != TT_MORE)
        tt_diag_write(s->shard->diag, TT_DIAG_ERROR, NULL, "segment_corrupt",
                      "partition %u: bad bytes in the segment of offset %llu at place %llu",
                      s->view->partition, (unsigned long long)s->view->segment.first_offset,
                      (unsigned long long)tt_reader_place(&s->records));
    scan_done(s);
}

static void scan_read(struct tt_file_read *read, int32_t result)
{
    struct tt_search *s = TT_CONTAINER_OF(read, struct tt_search, scan_read);
    s->busy--;
    if (s->closed) {
        tt_search_free(s);
        return;
    }
    if (result >= 0) {
        take_block(s, (size_t)result);
    } else {
        if (result != TT_ENOENT)
            tt_diag_write(s->shard->diag, TT_DIAG_ERROR, NULL, "segment_read",
                          "partition %u: cannot read the segment of offset %llu: %s",
                          s->view->partition, (unsigned long long)s->view->segment.first_offset,
                          tt_status_text((enum tt_status)result));
        scan_done(s);
    }
    tt_search_go_on(s);
}

void tt_search_scan(struct tt_search *s)
{
    const struct tt_segment *segment = &s->view->segment;
    struct tt_tail *tail = s->shard->world->partitions[s->view->partition].tail;
    for (uint32_t i = 0; i < s->wants_count; i++)
        s->wants[i].scanned = s->wants[i].n != 0 && s->wants[i].below > segment->first_offset;
    s->scan_end = segment->end_place;
    if (!tt_view_sealed(s->view)) s->scan_end = tt_tail_written_place(tail);
    s->scan_offset = segment->first_offset;
    s->scan_cut = 2 * s->found_count + FOUND_SLACK;
    s->scan_read.done = scan_read;
    tt_metric_add(&s->shard->metrics.segments_scanned, 1);
    tt_reader_init(&s->records, segment->base_place, s->scan_end, tt_view_sealed(s->view));
    if (s->scan_end > segment->base_place)
        read_block(s);
    else
        scan_done(s);
}
