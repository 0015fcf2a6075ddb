#include <string.h>

#include "proto/base/assert.h"
#include "store/index_format.h"
#include "store/record.h"

/* What a search needs next. */
enum state {
    STATE_DIRECTORY = 0, /* the page of the directory in which the hash must stand */
    STATE_SEEK,          /* by halves, the block in which to begin */
    STATE_READ,          /* a block whose entries are given */
    STATE_END,
};

#define GUESSES 4u /* pages that are tried beside the first guess, before it goes on by halves */

static void end(struct tt_index_search *s, enum tt_status status)
{
    s->state_ = STATE_END;
    s->end_ = status;
    s->left_ = 0;
}

static void init(struct tt_index_search *s, const struct tt_index_header *header, uint64_t hash,
                 enum tt_index_search_kind kind)
{
    *s = (struct tt_index_search){.header_ = header, .hash_ = hash, .kind_ = kind};
    s->high_ = tt_index_section_pages(&header->directory);
    if (s->high_ == 0) {
        end(s, TT_END);
        return;
    }
    /* Hashes are uniform: the entry stands about as far into the directory as its hash does into
     * all hashes. */
    uint64_t entry = (uint64_t)((unsigned __int128)header->channels * hash >> 64);
    s->page_ = (uint32_t)(entry / TT_INDEX_DIRECTORY_PAGE);
}

void tt_index_search_count_of(struct tt_index_search *s, const struct tt_index_header *header,
                              uint64_t hash)
{
    init(s, header, hash, TT_INDEX_SEARCH_COUNT);
}

void tt_index_search_range(struct tt_index_search *s, const struct tt_index_header *header,
                           uint64_t hash, uint64_t from, uint64_t below)
{
    init(s, header, hash, TT_INDEX_SEARCH_RANGE);
    s->from_ = from;
    s->below_ = below;
    if (from >= below || from >= header->next_offset || below <= header->first_offset)
        end(s, TT_END);
}

void tt_index_search_last(struct tt_index_search *s, const struct tt_index_header *header,
                          uint64_t hash, uint64_t below, uint32_t n)
{
    init(s, header, hash, TT_INDEX_SEARCH_LAST);
    s->below_ = below;
    s->n_ = n;
    if (n == 0 || below <= header->first_offset) end(s, TT_END);
}

void tt_index_search_value(struct tt_index_search *s, const struct tt_index_header *header,
                           uint64_t hash, uint64_t below)
{
    init(s, header, hash, TT_INDEX_SEARCH_VALUE);
    s->below_ = below;
    if (below <= header->first_offset) end(s, TT_END);
}

uint32_t tt_index_search_count(const struct tt_index_search *s)
{
    return s->list_count_;
}

static uint32_t block_bytes(const struct tt_index_search *s, uint32_t block)
{
    return block + 1 < s->blocks_ ? TT_INDEX_PAGE_BYTES
                                  : s->list_bytes_ - block * TT_INDEX_PAGE_BYTES;
}

enum tt_status tt_index_search_step(struct tt_index_search *s, uint64_t *position, uint32_t *size)
{
    s->left_ = 0;
    switch ((enum state)s->state_) {
    case STATE_DIRECTORY:
        *position = s->header_->directory.position + (uint64_t)s->page_ * TT_INDEX_PAGE_BYTES;
        *size = TT_INDEX_PAGE_BYTES;
        return TT_MORE;
    case STATE_SEEK:
    case STATE_READ:
        *position =
            s->header_->lists.position + s->list_ + (uint64_t)s->block_ * TT_INDEX_PAGE_BYTES;
        *size = block_bytes(s, s->block_);
        return TT_MORE;
    case STATE_END: return s->end_;
    }
    TT_UNREACHABLE();
}

/* ---- blocks ---- */

static const uint8_t *get_varint(const uint8_t *at, const uint8_t *limit, uint64_t *value)
{
    uint64_t v = 0;
    for (unsigned shift = 0; at < limit && shift < 64; shift += 7) {
        uint8_t byte = *at++;
        v |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            *value = v;
            return at;
        }
    }
    return NULL;
}

/* The entry at *at, which is moved behind it; offset and place go on from the entry before. False:
 * no entry of ours. */
static bool get_entry(const uint8_t **at, const uint8_t *limit, uint64_t *offset, uint64_t *place,
                      uint32_t *flags)
{
    uint64_t step, units;
    *at = get_varint(*at, limit, &step);
    if (*at == NULL) return false;
    *at = get_varint(*at, limit, &units);
    if (*at == NULL || units > UINT32_MAX) return false;
    *flags = (uint32_t)(step & TT_INDEX_FLAGS_MASK);
    *offset += step >> 2;
    *place += units * TT_RECORD_ALIGN;
    return true;
}

/* What a look at all of a block gives. */
struct block_view {
    const uint8_t *at, *limit;
    uint64_t first_offset;
    uint32_t count;
    uint32_t before; /* entries below from */
    uint32_t below;  /* entries below below */
    uint32_t values; /* of these, up to and with the last that counts for the value */
};

static bool view_block(const struct tt_index_search *s, struct tt_bytes bytes,
                       struct block_view *view)
{
    const struct tt_index_header *h = s->header_;
    struct tt_index_block_begin begin;
    if (bytes.size != block_bytes(s, s->block_) || bytes.size < sizeof begin) return false;
    memcpy(&begin, bytes.data, sizeof begin);
    if (begin.crc32c != tt_index_block_crc(s->hash_, s->block_, bytes.data, bytes.size) ||
        begin.count == 0 || begin.bytes > bytes.size || begin.bytes <= sizeof begin)
        return false;
    *view = (struct block_view){
        .at = bytes.data + sizeof begin, .limit = bytes.data + begin.bytes, .count = begin.count};
    const uint8_t *at = view->at;
    uint64_t offset = h->first_offset, place = h->base_place, next = offset, next_place = place;
    for (uint32_t i = 0; i < begin.count; i++) {
        uint32_t flags;
        if (!get_entry(&at, view->limit, &offset, &place, &flags)) return false;
        if (offset < next || offset >= h->next_offset || place < next_place ||
            place >= h->end_place)
            return false;
        next = offset + 1;
        next_place = place + TT_RECORD_ALIGN;
        if (i == 0) view->first_offset = offset;
        if (offset < s->from_) view->before++;
        if (offset >= s->below_) continue;
        view->below++;
        if (tt_index_is_value(flags)) view->values = view->below;
    }
    return at == view->limit;
}

/* From this block on, or back, entries are given. */
static void read_from(struct tt_index_search *s, uint32_t block)
{
    s->state_ = STATE_READ;
    s->block_ = block;
}

/* The last block that begins at or below `from` (LAST, VALUE: below `below`). */
static void seek(struct tt_index_search *s)
{
    if (s->high_ - s->low_ <= 1) {
        read_from(s, s->low_);
        return;
    }
    s->state_ = STATE_SEEK;
    s->block_ = s->low_ + (s->high_ - s->low_) / 2;
}

static void begin_list(struct tt_index_search *s)
{
    s->low_ = 0;
    s->high_ = s->blocks_;
    switch (s->kind_) {
    case TT_INDEX_SEARCH_COUNT: end(s, TT_END); return;
    case TT_INDEX_SEARCH_RANGE:
        if (s->from_ <= s->header_->first_offset)
            read_from(s, 0);
        else
            seek(s);
        return;
    case TT_INDEX_SEARCH_LAST:
    case TT_INDEX_SEARCH_VALUE:
        if (s->below_ >= s->header_->next_offset)
            read_from(s, s->blocks_ - 1);
        else
            seek(s);
        return;
    }
    TT_UNREACHABLE();
}

static void give_entries(struct tt_index_search *s, const struct block_view *view, uint32_t skip,
                         uint32_t count)
{
    s->at_ = view->at;
    s->end_of_block_ = view->limit;
    s->offset_ = s->header_->first_offset;
    s->place_ = s->header_->base_place;
    s->skip_ = skip;
    s->left_ = count;
}

/* The block before, if the search goes on to it. */
static void read_back(struct tt_index_search *s, bool on)
{
    if (on && s->block_ > 0)
        read_from(s, s->block_ - 1);
    else
        s->state_ = STATE_END; /* what was given is to be taken yet */
    s->end_ = TT_END;
}

static void give_block(struct tt_index_search *s, const struct block_view *view)
{
    switch (s->kind_) {
    case TT_INDEX_SEARCH_RANGE:
        give_entries(s, view, view->before,
                     view->below > view->before ? view->below - view->before : 0);
        if (view->below == view->count && s->block_ + 1 < s->blocks_) {
            read_from(s, s->block_ + 1);
        } else {
            s->state_ = STATE_END;
            s->end_ = TT_END;
        }
        return;
    case TT_INDEX_SEARCH_LAST: {
        uint32_t count = view->below < s->n_ ? view->below : s->n_;
        give_entries(s, view, view->below - count, count);
        s->n_ -= count;
        read_back(s, s->n_ > 0);
        return;
    }
    case TT_INDEX_SEARCH_VALUE:
        if (view->values != 0) give_entries(s, view, view->values - 1, 1);
        read_back(s, view->values == 0);
        return;
    case TT_INDEX_SEARCH_COUNT: break;
    }
    TT_UNREACHABLE();
}

/* ---- the directory ---- */

static void give_directory(struct tt_index_search *s, struct tt_bytes page)
{
    const struct tt_index_header *h = s->header_;
    uint32_t count;
    if (tt_index_page_check(page, TT_INDEX_PAGE_DIRECTORY, s->page_, h->channels,
                            TT_INDEX_DIRECTORY_PAGE, &count) != TT_OK) {
        end(s, TT_ECORRUPT);
        return;
    }
    struct tt_index_directory_entry entries[TT_INDEX_DIRECTORY_PAGE];
    memcpy(entries, page.data, count * sizeof *entries);
    uint32_t low = 0, high = count; /* entries[low - 1].hash < hash <= entries[high].hash */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (entries[middle].hash < s->hash_)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < count && entries[low].hash == s->hash_) {
        const struct tt_index_directory_entry *e = &entries[low];
        if (e->position > h->lists.bytes || e->bytes > h->lists.bytes - e->position ||
            e->bytes == 0 || e->count == 0) {
            end(s, TT_ECORRUPT);
            return;
        }
        s->list_ = e->position;
        s->list_bytes_ = e->bytes;
        s->list_count_ = e->count;
        s->blocks_ = tt_index_pages(e->bytes, TT_INDEX_PAGE_BYTES);
        begin_list(s);
        return;
    }
    bool before = low == 0, behind = low == count;
    if (before) s->high_ = s->page_;
    if (behind) s->low_ = s->page_ + 1;
    if ((!before && !behind) || s->low_ >= s->high_) {
        end(s, TT_END); /* it would stand here */
        return;
    }
    if (++s->turns_ <= GUESSES)
        s->page_ = before ? s->high_ - 1 : s->low_;
    else
        s->page_ = s->low_ + (s->high_ - s->low_) / 2;
}

void tt_index_search_give(struct tt_index_search *s, struct tt_bytes bytes)
{
    struct block_view view;
    switch ((enum state)s->state_) {
    case STATE_DIRECTORY: give_directory(s, bytes); return;
    case STATE_SEEK:
        if (!view_block(s, bytes, &view)) {
            end(s, TT_ECORRUPT);
            return;
        }
        if (s->kind_ == TT_INDEX_SEARCH_RANGE ? view.first_offset <= s->from_
                                              : view.first_offset < s->below_)
            s->low_ = s->block_;
        else
            s->high_ = s->block_;
        seek(s);
        return;
    case STATE_READ:
        if (view_block(s, bytes, &view))
            give_block(s, &view);
        else
            end(s, TT_ECORRUPT);
        return;
    case STATE_END: break;
    }
    TT_UNREACHABLE(); /* nothing was asked for */
}

bool tt_index_search_take(struct tt_index_search *s, struct tt_index_entry *entry)
{
    if (s->left_ == 0) return false;
    do {
        bool there = get_entry(&s->at_, s->end_of_block_, &s->offset_, &s->place_, &entry->flags);
        TT_ASSERT(there); /* the block was looked at before */
    } while (s->skip_ > 0 && s->skip_-- > 0);
    entry->offset = s->offset_;
    entry->place = s->place_;
    s->left_--;
    return true;
}
