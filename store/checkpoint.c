#include "store/checkpoint.h"

#include "proto/base/assert.h"
#include "proto/base/crc32c.h"
#include "store/kept.h"

struct header {
    uint8_t magic[8];
    uint32_t format;
    uint32_t partition;
    uint8_t history[8];
    uint64_t k0, k1;
    uint64_t mark;
    uint64_t place;
    uint64_t kept_byte;
    uint32_t kept_number;
    uint8_t reserved[24];
    uint32_t crc32c; /* of everything before */
};
_Static_assert(sizeof(struct header) == TT_CHECKPOINT_HEADER_BYTES, "no holes");
static const uint8_t magic[8] = {'t', 't', 'l', 'o', 'g', 'c', 'h', 'k'};

struct block {
    uint32_t bytes;  /* of all of it, a multiple of 8 */
    uint32_t crc32c; /* of everything behind */
    uint32_t number; /* from 1 */
    uint32_t count;  /* entries behind; 0: the end, a word with the number of channels is behind */
};
_Static_assert(sizeof(struct block) == 16, "no holes");

struct entry {
    uint64_t newest_offset;
    uint64_t offset;
    uint64_t place;
    uint32_t kept_bytes;
    uint8_t state;
    uint8_t name_bytes;
    uint8_t was_kept; /* 1: kept files may hold older values */
    uint8_t reserved;
    /* the name */
};
_Static_assert(sizeof(struct entry) == 32, "no holes");

#define ENTRY_BYTES_MAX (sizeof(struct entry) + TT_CHANNEL_BYTES_MAX)
#define END_BYTES       (sizeof(struct block) + sizeof(uint64_t))

enum step { STEP_HEADER = 0, STEP_BLOCKS, STEP_END };

static uint32_t block_crc(const uint8_t *block, uint32_t bytes)
{
    size_t from = offsetof(struct block, number);
    return tt_crc32c(0, block + from, bytes - from);
}

/* ---- writing ---- */

void tt_checkpoint_begin(struct tt_checkpoint_writer *w, const struct tt_values *values)
{
    *w = (struct tt_checkpoint_writer){.values_ = values, .slots_ = tt_values_slots(values)};
}

static void fill_header(struct header *h, const struct tt_checkpoint_header *header,
                        const struct tt_record_segment *identity)
{
    *h = (struct header){.format = TT_CHECKPOINT_FORMAT,
                         .partition = identity->partition,
                         .k0 = identity->hash_key.k0,
                         .k1 = identity->hash_key.k1,
                         .mark = header->mark,
                         .place = header->place,
                         .kept_byte = header->kept_byte,
                         .kept_number = header->kept_number};
    memcpy(h->magic, magic, sizeof magic);
    memcpy(h->history, identity->history.text, TT_HISTORY_BYTES);
    h->crc32c = tt_crc32c(0, h, offsetof(struct header, crc32c));
}

static size_t put_entry(uint8_t *out, const struct tt_value *v, const struct tt_value_then *then)
{
    struct entry e = {.newest_offset = then->newest_offset,
                      .offset = then->offset,
                      .place = then->place,
                      .state = (uint8_t)then->state,
                      .name_bytes = v->name_bytes,
                      .was_kept = tt_value_was_kept(v)};
    if (v->offset == then->offset && v->state == e.state) e.kept_bytes = v->kept_bytes;
    memcpy(out, &e, sizeof e);
    memcpy(out + sizeof e, v->name_, v->name_bytes);
    return sizeof e + v->name_bytes;
}

static void end_block(struct tt_checkpoint_writer *w, uint8_t *out, uint32_t count, size_t *size)
{
    while (*size % 8 != 0) out[(*size)++] = 0;
    struct block b = {.bytes = (uint32_t)*size, .number = ++w->blocks_, .count = count};
    memcpy(out, &b, sizeof b);
    b.crc32c = block_crc(out, b.bytes);
    memcpy(out, &b, sizeof b);
}

static void put_block(struct tt_checkpoint_writer *w, uint8_t *out, size_t *size)
{
    uint32_t count = 0;
    *size = sizeof(struct block);
    for (uint32_t looked = 0; looked < TT_VALUES_BLOCK && w->key_ < w->slots_; looked++) {
        if (*size + ENTRY_BYTES_MAX + 8 > TT_CHECKPOINT_BLOCK_BYTES_MAX) break;
        uint32_t slot = w->key_++;
        struct tt_value_then then;
        if (!tt_values_below_mark(w->values_, slot, &then)) continue;
        *size += put_entry(out + *size, tt_values_at(w->values_, slot), &then);
        count++;
    }
    w->channels_ += count;
    if (count == 0)
        *size = 0;
    else
        end_block(w, out, count, size);
}

enum tt_status tt_checkpoint_step(struct tt_checkpoint_writer *w,
                                  const struct tt_checkpoint_header *header,
                                  const struct tt_record_segment *identity, uint8_t *out,
                                  size_t *size)
{
    if (w->step_ == STEP_HEADER) {
        struct header h;
        fill_header(&h, header, identity);
        memcpy(out, &h, sizeof h);
        *size = sizeof h;
        w->step_ = STEP_BLOCKS;
        return TT_OK;
    }
    TT_ASSERT(w->step_ == STEP_BLOCKS);
    if (w->key_ < w->slots_) {
        put_block(w, out, size);
        return TT_OK;
    }
    memcpy(out + sizeof(struct block), &w->channels_, sizeof w->channels_);
    *size = END_BYTES;
    end_block(w, out, 0, size);
    w->step_ = STEP_END;
    return TT_END;
}

/* ---- reading ---- */

void tt_checkpoint_read_begin(struct tt_checkpoint_reader *r, struct tt_values *values,
                              const struct tt_record_segment *identity)
{
    *r = (struct tt_checkpoint_reader){.values_ = values, .identity_ = identity};
}

const struct tt_checkpoint_header *tt_checkpoint_read_header(const struct tt_checkpoint_reader *r)
{
    return &r->header_;
}

static enum tt_status take_header(struct tt_checkpoint_reader *r, const uint8_t *bytes)
{
    struct header h;
    memcpy(&h, bytes, sizeof h);
    if (memcmp(h.magic, magic, sizeof magic) != 0 ||
        h.crc32c != tt_crc32c(0, &h, offsetof(struct header, crc32c)))
        return TT_ECORRUPT;
    if (h.format > TT_CHECKPOINT_FORMAT) return TT_EVERSION;
    const struct tt_record_segment *is = r->identity_;
    if (h.partition != is->partition || h.k0 != is->hash_key.k0 || h.k1 != is->hash_key.k1 ||
        memcmp(h.history, is->history.text, TT_HISTORY_BYTES) != 0 ||
        h.kept_number > TT_KEPT_NUMBER_MAX)
        return TT_ECORRUPT;
    r->header_ = (struct tt_checkpoint_header){h.mark, h.place, h.kept_number, h.kept_byte};
    r->step_ = STEP_BLOCKS;
    return TT_OK;
}

static enum tt_status take_entries(struct tt_checkpoint_reader *r, const uint8_t *at,
                                   const uint8_t *end, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct entry e;
        if ((size_t)(end - at) < sizeof e) return TT_ECORRUPT;
        memcpy(&e, at, sizeof e);
        at += sizeof e;
        if (e.name_bytes == 0 || e.name_bytes > end - at || e.state > TT_VALUE_DELETED)
            return TT_ECORRUPT;
        struct tt_bytes name = tt_bytes(at, e.name_bytes);
        at += e.name_bytes;
        uint32_t slot;
        enum tt_status status =
            tt_values_open_over(r->values_, tt_hash(&r->identity_->hash_key, name), name, &slot);
        if (status != TT_OK) return status;
        const struct tt_value_then then = {.state = (enum tt_value_state)e.state,
                                           .offset = e.offset,
                                           .place = e.place,
                                           .newest_offset = e.newest_offset};
        tt_values_restore(r->values_, slot, &then, e.kept_bytes, e.was_kept != 0);
        tt_values_commit(r->values_);
    }
    return end - at < 8 ? TT_OK : TT_ECORRUPT;
}

static enum tt_status take_block(struct tt_checkpoint_reader *r, const uint8_t *bytes,
                                 const struct block *b)
{
    const uint8_t *at = bytes + sizeof *b, *end = bytes + b->bytes;
    if (b->crc32c != block_crc(bytes, b->bytes) || b->number != r->blocks_ + 1) return TT_ECORRUPT;
    r->blocks_++;
    r->channels_ += b->count;
    if (b->count != 0) return take_entries(r, at, end, b->count);
    uint64_t channels;
    if (b->bytes != END_BYTES) return TT_ECORRUPT;
    memcpy(&channels, at, sizeof channels);
    if (channels != r->channels_) return TT_ECORRUPT;
    r->step_ = STEP_END;
    return TT_OK;
}

enum tt_status tt_checkpoint_read(struct tt_checkpoint_reader *r, struct tt_bytes bytes,
                                  size_t *taken)
{
    *taken = 0;
    enum tt_status status = TT_OK;
    if (r->step_ == STEP_HEADER) {
        if (bytes.size < sizeof(struct header)) return TT_MORE;
        status = take_header(r, bytes.data);
        if (status != TT_OK) return status;
        *taken = sizeof(struct header);
    }
    while (r->step_ == STEP_BLOCKS) {
        struct tt_bytes rest = tt_bytes_from(bytes, *taken);
        struct block b;
        if (rest.size < sizeof b) return TT_MORE;
        memcpy(&b, rest.data, sizeof b);
        if (b.bytes < END_BYTES || b.bytes > TT_CHECKPOINT_BLOCK_BYTES_MAX || b.bytes % 8 != 0)
            return TT_ECORRUPT;
        if (rest.size < b.bytes) return TT_MORE;
        status = take_block(r, rest.data, &b);
        if (status != TT_OK) return status;
        *taken += b.bytes;
    }
    return *taken == bytes.size ? TT_END : TT_ECORRUPT;
}
