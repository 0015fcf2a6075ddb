#include "store/reader.h"

#include "proto/base/assert.h"

void tt_reader_init(struct tt_reader *r, uint64_t place, uint64_t end, bool sealed)
{
    TT_ASSERT(place % TT_RECORD_ALIGN == 0);
    *r = (struct tt_reader){
        .place_ = place, .end_ = end, .needs_ = TT_RECORD_HEADER_BYTES, .sealed_ = sealed};
}

uint64_t tt_reader_place(const struct tt_reader *r)
{
    return r->place_;
}

uint32_t tt_reader_needs(const struct tt_reader *r)
{
    return r->needs_;
}

/* What the checksum cannot see: a record that stands where another should. */
static bool is_in_place(const struct tt_reader *r, const struct tt_record *record)
{
    switch (record->class) {
    case TT_RECORD_EVENT:
    case TT_RECORD_HOLE: return record->offset >= r->next_offset_;
    case TT_RECORD_BATCH:
    case TT_RECORD_CHUNK:
    case TT_RECORD_SEGMENT: return record->place == r->place_ && record->offset >= r->next_offset_;
    case TT_RECORD_PAD:
        return r->place_ / TT_CHUNK_BYTES == (r->place_ + record->length - 1) / TT_CHUNK_BYTES;
    case TT_RECORD_NONE:
    case TT_RECORD_CLASSES: break;
    }
    return false;
}

static void pass(struct tt_reader *r, const struct tt_record *record)
{
    r->place_ += record->length;
    r->needs_ = TT_RECORD_HEADER_BYTES;
    if (record->class == TT_RECORD_EVENT) r->next_offset_ = record->offset + 1;
    if (record->class == TT_RECORD_HOLE) r->next_offset_ = record->hole_end;
}

enum tt_status tt_reader_next(struct tt_reader *r, uint64_t window_place, struct tt_bytes window,
                              struct tt_record *record)
{
    TT_ASSERT(window_place <= r->place_);
    for (;;) {
        if (r->place_ >= r->end_) return TT_END;
        uint64_t passed = r->place_ - window_place;
        if (passed >= window.size) return TT_MORE;
        struct tt_bytes bytes = tt_bytes_from(window, (size_t)passed);
        if (bytes.size > r->end_ - r->place_) bytes.size = (size_t)(r->end_ - r->place_);
        enum tt_status status = tt_record_read(bytes, record);
        if (status == TT_MORE) {
            /* Records are aligned, so at least a length is there once 8 bytes are. */
            if (record->length > r->end_ - r->place_ || r->end_ - r->place_ < TT_RECORD_ALIGN)
                return r->sealed_ ? TT_ECORRUPT : TT_END;
            if (record->length != 0) r->needs_ = record->length;
            return TT_MORE;
        }
        if (status == TT_END) return TT_ECORRUPT; /* nothing below the end is unwritten */
        if (status != TT_OK) return status;
        if (!is_in_place(r, record)) return TT_ECORRUPT;
        if (record->class != TT_RECORD_PAD) {
            pass(r, record);
            return TT_OK;
        }
        pass(r, record);
    }
}

/* ---- finding ---- */

static void find_init(struct tt_reader_find *f, const struct tt_segment *segment, uint64_t end)
{
    uint64_t bytes = end > segment->base_place ? end - segment->base_place : 0;
    *f = (struct tt_reader_find){.base_ = segment->base_place,
                                 .high_ = (bytes + TT_CHUNK_BYTES - 1) / TT_CHUNK_BYTES};
}

void tt_reader_find_offset(struct tt_reader_find *f, const struct tt_segment *segment, uint64_t end,
                           uint64_t offset)
{
    find_init(f, segment, end);
    f->offset_ = offset;
}

void tt_reader_find_taken(struct tt_reader_find *f, const struct tt_segment *segment, uint64_t end,
                          int64_t taken_us)
{
    find_init(f, segment, end);
    f->by_time_ = true;
    f->taken_us_ = taken_us;
}

enum tt_status tt_reader_find_step(struct tt_reader_find *f, uint64_t *place)
{
    if (f->high_ <= f->low_ + 1) { /* chunk 0 begins early enough for everything in the segment */
        *place = f->base_ + f->answer_ * TT_CHUNK_BYTES;
        return TT_OK;
    }
    if (f->probe_ == 0) f->probe_ = f->middle_ = f->low_ + (f->high_ - f->low_) / 2;
    *place = f->base_ + f->probe_ * TT_CHUNK_BYTES;
    return TT_MORE;
}

void tt_reader_find_probe(struct tt_reader_find *f, struct tt_bytes bytes)
{
    TT_ASSERT(f->probe_ != 0);
    struct tt_record header;
    bool is_header = tt_record_read(bytes, &header) == TT_OK && header.class == TT_RECORD_CHUNK &&
                     header.place == f->base_ + f->probe_ * TT_CHUNK_BYTES;
    if (!is_header) {
        /* Within a record that is larger than a chunk. It began in a chunk before. */
        if (--f->probe_ > f->low_) return;
        f->low_ = f->middle_;
        f->probe_ = 0;
        return;
    }
    if (f->by_time_ ? header.taken_max_us < f->taken_us_ : header.offset <= f->offset_) {
        f->answer_ = f->probe_;
        f->low_ = f->middle_; /* those between have no header */
    } else {
        f->high_ = f->probe_;
    }
    f->probe_ = 0;
}
