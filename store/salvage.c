#include "store/salvage.h"

#include "proto/base/assert.h"
#include "proto/base/limits.h"

void tt_salvage_batches(struct tt_bytes bytes, uint64_t position, uint64_t base, uint64_t *durable,
                        uint64_t *used)
{
    TT_ASSERT(position % TT_RECORD_ALIGN == 0);
    for (size_t i = 0; i + TT_RECORD_ALIGN <= bytes.size; i += TT_RECORD_ALIGN) {
        uint64_t word;
        memcpy(&word, bytes.data + i, sizeof word);
        if (word == 0) continue;
        *used = position + i + TT_RECORD_ALIGN;
        if ((uint32_t)word != TT_RECORD_BATCH_BYTES || i + TT_RECORD_BATCH_BYTES > bytes.size)
            continue;
        struct tt_record record;
        if (tt_record_read(tt_bytes(bytes.data + i, TT_RECORD_BATCH_BYTES), &record) != TT_OK ||
            record.class != TT_RECORD_BATCH)
            continue;
        if (base != UINT64_MAX && record.place != base + position + i) continue;
        if (record.durable_place > *durable) *durable = record.durable_place;
    }
}

static bool is_anchor(const struct tt_record *record, uint64_t place, uint64_t next_offset)
{
    switch (record->class) {
    case TT_RECORD_EVENT:
    case TT_RECORD_HOLE: return record->offset >= next_offset;
    case TT_RECORD_BATCH:
    case TT_RECORD_CHUNK:
    case TT_RECORD_SEGMENT: return record->place == place && record->offset >= next_offset;
    case TT_RECORD_PAD:
    case TT_RECORD_NONE:
    case TT_RECORD_CLASSES: break;
    }
    return false;
}

enum tt_status tt_salvage_next(uint64_t window_place, struct tt_bytes window, bool last,
                               uint64_t next_offset, uint64_t *place, struct tt_record *record)
{
    TT_ASSERT(*place >= window_place && *place % TT_RECORD_ALIGN == 0);
    /* Only here can a candidate be judged whole. */
    size_t most = TT_RECORD_BYTES_MAX(TT_EVENT_BYTES_CEILING + TT_RECORD_TEXT_BYTES_MAX);
    for (size_t at = (size_t)(*place - window_place);; at += TT_RECORD_ALIGN) {
        *place = window_place + at;
        if (at + TT_RECORD_HEADER_BYTES > window.size) return last ? TT_END : TT_MORE;
        if (!last && at + most > window.size) return TT_MORE;
        uint32_t length;
        memcpy(&length, window.data + at, sizeof length);
        if (length < TT_RECORD_HEADER_BYTES || length % TT_RECORD_ALIGN != 0 || length > most)
            continue;
        if (tt_record_read(tt_bytes_from(window, at), record) == TT_OK &&
            is_anchor(record, *place, next_offset))
            return TT_OK;
    }
}

/* ---- what goes in their place ---- */

static uint32_t encode_begin(const struct tt_salvage_fill *f, uint8_t *out, uint64_t place,
                             uint64_t end)
{
    uint64_t position = place - f->base;
    uint64_t next = f->next_offset;
    if (position == 0 && end - place >= TT_RECORD_SEGMENT_BYTES)
        return tt_record_encode_segment(out, next, f->taken_us, place, f->taken_max_us,
                                        &f->segment);
    if (position == TT_RECORD_SEGMENT_BYTES && end - place >= TT_RECORD_BATCH_BYTES)
        return tt_record_encode_batch(out, next, f->taken_us, place, f->base, next);
    if (position != 0 && position % TT_CHUNK_BYTES == 0 && end - place >= TT_RECORD_CHUNK_BYTES)
        return tt_record_encode_chunk(out, next, f->taken_us, place, f->taken_max_us);
    return 0;
}

enum tt_status tt_salvage_fill_step(struct tt_salvage_fill *f, uint8_t *out, size_t *bytes)
{
    TT_ASSERT(f->place >= f->base && f->base % TT_CHUNK_BYTES == 0);
    TT_ASSERT(f->place % TT_RECORD_ALIGN == 0 && f->end % TT_RECORD_ALIGN == 0);
    if (f->place >= f->end) return f->next_offset == f->lost_end ? TT_END : TT_FULL;
    uint64_t end = (f->place / TT_CHUNK_BYTES + 1) * TT_CHUNK_BYTES;
    if (end > f->end) end = f->end;
    uint64_t begin = f->place;
    uint32_t size;
    while ((size = encode_begin(f, out + (f->place - begin), f->place, end)) != 0) f->place += size;
    if (f->next_offset != f->lost_end && end - f->place >= TT_RECORD_HOLE_BYTES) {
        f->place += tt_record_encode_hole(out + (f->place - begin), f->next_offset, f->lost_end,
                                          f->taken_us);
        f->next_offset = f->lost_end;
    }
    if (f->place < end)
        f->place += tt_record_encode_pad(out + (f->place - begin), (uint32_t)(end - f->place));
    *bytes = (size_t)(end - begin);
    return TT_OK;
}
