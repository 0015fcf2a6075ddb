#include <stdlib.h>
#include <string.h>

#include "proto/base/assert.h"
#include "store/index_format.h"
#include "store/index_internal.h"

#define CHANNELS_PER_STEP  4096u
#define BYTES_PER_STEP     (64u << 10)
#define CHANNELS_PER_GROUP 16u /* on average: groups are sorted one by one */
#define GROUPS_BITS_MAX    16u

enum phase {
    PHASE_COUNT = 0, /* how many hashes are in each group */
    PHASE_SORT,      /* into groups, and into the filter */
    PHASE_LISTS,
    PHASE_DIRECTORY,
    PHASE_HOLES,
    PHASE_IDEMPOTENCY,
    PHASE_FILTER,
    PHASE_HEADER,
    PHASE_END,
};

struct channel {
    uint64_t hash;
    uint32_t list;
    uint32_t bytes; /* of its list in the file */
};

struct tt_index_writer {
    const struct tt_index *index;
    struct tt_index_file_header header;
    enum phase phase;
    uint32_t next; /* channel or page of the phase */
    struct channel *channels;
    uint32_t channels_count;
    uint32_t *groups; /* where each begins; while sorting: where its next hash goes */
    uint32_t groups_bits;
    uint32_t sorted; /* groups that are sorted in themselves */
    uint8_t *filter;
    uint64_t position; /* of the file: everything before was given, but for the header */
    uint64_t list_position;
    /* of the list that is being encoded */
    bool in_list;
    struct tt_index_walk walk;
    uint32_t block_unit;
    uint32_t block_number;
    bool entry_pending; /* the walk stands at an entry that did not fit into the block before */
    /* what was made and not given yet: points to piece or filter */
    const uint8_t *ready;
    size_t ready_bytes;
    uint8_t piece[TT_INDEX_PAGE_BYTES];
};

static uint32_t group_of(const struct tt_index_writer *w, uint64_t hash)
{
    return w->groups_bits == 0 ? 0 : (uint32_t)(hash >> (64 - w->groups_bits));
}

static void fill_header(struct tt_index_writer *w, const struct tt_segment *segment,
                        const struct tt_record_segment *identity)
{
    struct tt_index_file_header *h = &w->header;
    memcpy(h->magic, TT_INDEX_MAGIC, sizeof h->magic);
    h->format = TT_INDEX_FORMAT;
    h->partition = identity->partition;
    h->history = identity->history;
    h->k0 = identity->hash_key.k0;
    h->k1 = identity->hash_key.k1;
    h->first_offset = segment->first_offset;
    h->base_place = segment->base_place;
    h->end_place = segment->end_place;
    h->next_offset = w->index->next_offset;
    h->entries = w->index->entries;
    h->channels = w->channels_count;
    h->filter_probes = tt_index_filter_probes(w->channels_count);
}

enum tt_status tt_index_writer_create(struct tt_index_writer **out, const struct tt_index *index,
                                      const struct tt_segment *segment,
                                      const struct tt_record_segment *identity)
{
    *out = NULL;
    if (index->broken) return TT_EINVAL;
    TT_ASSERT(segment->first_offset == index->first_offset);
    TT_ASSERT(segment->base_place == index->base_place && segment->end_place != TT_SEGMENT_GROWS);
    struct tt_index_writer *w = calloc(1, sizeof *w);
    if (w == NULL) return TT_ENOMEM;
    w->index = index;
    w->channels_count = index->lists_count;
    while (w->groups_bits < GROUPS_BITS_MAX &&
           w->channels_count >> w->groups_bits > CHANNELS_PER_GROUP)
        w->groups_bits++;
    w->channels = malloc((w->channels_count + 1) * sizeof *w->channels);
    w->groups = calloc(((size_t)1 << w->groups_bits) + 1, sizeof *w->groups);
    w->filter = calloc(1, tt_index_filter_bytes(w->channels_count));
    if (w->channels == NULL || w->groups == NULL || w->filter == NULL) {
        tt_index_writer_destroy(&w);
        return TT_ENOMEM;
    }
    fill_header(w, segment, identity);
    w->position = TT_INDEX_HEADER_BYTES;
    *out = w;
    return TT_OK;
}

void tt_index_writer_destroy(struct tt_index_writer **w)
{
    if (*w == NULL) return;
    free((*w)->channels);
    free((*w)->groups);
    free((*w)->filter);
    free(*w);
    *w = NULL;
}

uint64_t tt_index_writer_bytes(const struct tt_index_writer *w)
{
    return w->phase > PHASE_LISTS ? w->header.file_bytes : 0;
}

/* ---- sorting the hashes ---- */

/* The next lists, at most so many as a step may do. */
static uint32_t some_channels(const struct tt_index_writer *w)
{
    uint32_t left = w->channels_count - w->next;
    return w->next + (left < CHANNELS_PER_STEP ? left : CHANNELS_PER_STEP);
}

static void begin_phase(struct tt_index_writer *w, enum phase phase)
{
    w->phase = phase;
    w->next = 0;
}

static void count_some(struct tt_index_writer *w)
{
    for (uint32_t end = some_channels(w); w->next < end; w->next++)
        w->groups[group_of(w, tt_index_list_at(w->index, w->next)->hash) + 1]++;
    if (w->next < w->channels_count) return;
    for (size_t i = 1; i < (size_t)1 << w->groups_bits; i++) w->groups[i] += w->groups[i - 1];
    begin_phase(w, PHASE_SORT);
}

static void sort_some(struct tt_index_writer *w)
{
    uint32_t filter_bytes = tt_index_filter_bytes(w->channels_count);
    for (uint32_t end = some_channels(w); w->next < end; w->next++) {
        uint64_t hash = tt_index_list_at(w->index, w->next)->hash;
        w->channels[w->groups[group_of(w, hash)]++] = (struct channel){hash, w->next, 0};
        for (uint32_t i = 0; i < w->header.filter_probes; i++) {
            uint32_t bit = tt_index_filter_bit(hash, i, filter_bytes);
            w->filter[bit / 8] |= (uint8_t)(1u << bit % 8);
        }
    }
    if (w->next == w->channels_count) begin_phase(w, PHASE_LISTS);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = ((const struct channel *)a)->hash, y = ((const struct channel *)b)->hash;
    return (x > y) - (x < y);
}

/* Sorting has left in groups[g] where group g ends, which is where the next one begins. */
static void sort_group(struct tt_index_writer *w)
{
    uint32_t g = w->sorted++;
    uint32_t from = g == 0 ? 0 : w->groups[g - 1];
    qsort(w->channels + from, w->groups[g] - from, sizeof *w->channels, compare);
}

/* ---- pieces of the file ---- */

static void set_ready(struct tt_index_writer *w, const uint8_t *data, size_t bytes)
{
    w->ready = data;
    w->ready_bytes = bytes;
}

static void close_block(struct tt_index_writer *w, struct channel *channel, uint32_t count,
                        uint8_t *end, bool last)
{
    size_t used = (size_t)(end - w->piece);
    size_t bytes = last ? used : TT_INDEX_PAGE_BYTES;
    memset(end, 0, bytes - used);
    struct tt_index_block_begin begin = {.count = (uint16_t)count, .bytes = (uint16_t)used};
    memcpy(w->piece, &begin, sizeof begin);
    begin.crc32c = tt_index_block_crc(channel->hash, w->block_number, w->piece, bytes);
    memcpy(w->piece, &begin, sizeof begin);
    w->block_number++;
    channel->bytes += (uint32_t)bytes;
    w->in_list = !last;
    set_ready(w, w->piece, bytes);
}

/* The next entry of the list in memory. */
static bool next_entry(struct tt_index_writer *w)
{
    while (!tt_index_walk_next(&w->walk)) {
        w->block_unit = tt_index_block_at(w->index, w->block_unit)->next;
        if (w->block_unit == 0) return false;
        w->walk = tt_index_walk(tt_index_block_at(w->index, w->block_unit));
    }
    return true;
}

/* One block of the list of the next channel. */
static void make_list_block(struct tt_index_writer *w)
{
    const struct tt_index *x = w->index;
    struct channel *channel = &w->channels[w->next];
    if (!w->in_list) {
        while (w->sorted <= group_of(w, channel->hash)) sort_group(w);
        w->block_unit = tt_index_list_at(x, channel->list)->first;
        w->walk = tt_index_walk(tt_index_block_at(x, w->block_unit));
        w->block_number = 0;
        w->entry_pending = false;
    }
    uint64_t offset = x->first_offset, place = 0;
    uint8_t *at = w->piece + TT_INDEX_BLOCK_BEGIN_BYTES;
    uint32_t count = 0;
    while (w->entry_pending || next_entry(w)) {
        uint8_t entry[2 * TT_INDEX_VARINT_BYTES];
        uint8_t *end = tt_index_put_varint(entry, (w->walk.offset - offset) << 2 | w->walk.flags);
        end = tt_index_put_varint(end, w->walk.place - place);
        size_t size = (size_t)(end - entry);
        w->entry_pending = size > (size_t)(w->piece + sizeof w->piece - at);
        if (w->entry_pending) {
            close_block(w, channel, count, at, false);
            return;
        }
        memcpy(at, entry, size);
        at += size;
        offset = w->walk.offset;
        place = w->walk.place;
        count++;
    }
    close_block(w, channel, count, at, true);
    w->next++;
}

static struct tt_index_section section(uint64_t *position, uint64_t entries, uint64_t bytes)
{
    struct tt_index_section s = {*position, bytes, entries};
    *position += bytes;
    return s;
}

/* The lists are done: now everything's place is known. */
static void place_sections(struct tt_index_writer *w)
{
    struct tt_index_file_header *h = &w->header;
    uint64_t at = TT_INDEX_HEADER_BYTES;
    uint32_t holes = w->index->holes_count, batches = w->index->batches_count;
    h->lists = section(&at, w->channels_count, w->position - at);
    h->directory = section(&at, w->channels_count,
                           (uint64_t)tt_index_pages(w->channels_count, TT_INDEX_DIRECTORY_PAGE) *
                               TT_INDEX_PAGE_BYTES);
    h->holes = section(&at, holes,
                       (uint64_t)tt_index_pages(holes, TT_INDEX_HOLES_PAGE) * TT_INDEX_PAGE_BYTES);
    h->idempotency =
        section(&at, batches,
                (uint64_t)tt_index_pages(batches, TT_INDEX_IDEMPOTENCY_PAGE) * TT_INDEX_PAGE_BYTES);
    uint32_t filter_bytes = tt_index_filter_bytes(w->channels_count);
    h->filter = section(&at, w->channels_count, filter_bytes);
    h->filter_crc = tt_crc32c(0, w->filter, filter_bytes);
    h->file_bytes = at;
    h->crc32c = tt_crc32c(0, h, offsetof(struct tt_index_file_header, crc32c));
}

static void close_page(struct tt_index_writer *w, enum tt_index_page_kind kind, uint32_t entries)
{
    struct tt_index_page_end end = {.kind = kind, .number = w->next++, .entries = entries};
    memcpy(w->piece + TT_INDEX_PAGE_END_AT, &end, sizeof end);
    end.crc32c = tt_crc32c(0, w->piece, TT_INDEX_PAGE_BYTES - sizeof end.crc32c);
    memcpy(w->piece + TT_INDEX_PAGE_END_AT, &end, sizeof end);
    set_ready(w, w->piece, TT_INDEX_PAGE_BYTES);
}

/* Entries of page `next`, of so many that there are; false: there is no such page. */
static bool page_entries(struct tt_index_writer *w, uint32_t entries, uint32_t per_page,
                         uint32_t *from, uint32_t *count)
{
    if (w->next >= tt_index_pages(entries, per_page)) return false;
    *from = w->next * per_page;
    *count = entries - *from < per_page ? entries - *from : per_page;
    memset(w->piece, 0, sizeof w->piece);
    return true;
}

static bool make_directory_page(struct tt_index_writer *w)
{
    uint32_t from, count;
    if (!page_entries(w, w->channels_count, TT_INDEX_DIRECTORY_PAGE, &from, &count)) return false;
    for (uint32_t i = 0; i < count; i++) {
        const struct channel *c = &w->channels[from + i];
        struct tt_index_directory_entry e = {
            .hash = c->hash,
            .position = w->list_position,
            .bytes = c->bytes,
            .count = tt_index_list_at(w->index, c->list)->count,
        };
        w->list_position += c->bytes;
        memcpy(w->piece + i * sizeof e, &e, sizeof e);
    }
    close_page(w, TT_INDEX_PAGE_DIRECTORY, count);
    return true;
}

static bool make_holes_page(struct tt_index_writer *w)
{
    uint32_t from, count;
    if (!page_entries(w, w->index->holes_count, TT_INDEX_HOLES_PAGE, &from, &count)) return false;
    for (uint32_t i = 0; i < count; i++) {
        const struct tt_index_hole *h = &w->index->holes[from + i];
        struct tt_index_hole_entry e = {h->first, h->end, h->place};
        memcpy(w->piece + i * sizeof e, &e, sizeof e);
    }
    close_page(w, TT_INDEX_PAGE_HOLES, count);
    return true;
}

static bool make_idempotency_page(struct tt_index_writer *w)
{
    uint32_t from, count;
    if (!page_entries(w, w->index->batches_count, TT_INDEX_IDEMPOTENCY_PAGE, &from, &count))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        const struct tt_index_idempotency *b = &w->index->batches[from + i];
        struct tt_index_idempotency_entry e = {.first_offset = b->first_offset,
                                               .end_place = b->end_place,
                                               .taken_us = b->taken_us,
                                               .index = b->index,
                                               .events = b->events,
                                               .count = b->count};
        memcpy(e.key_hash, b->key_hash, sizeof e.key_hash);
        memcpy(e.body_hash, b->body_hash, sizeof e.body_hash);
        memcpy(w->piece + i * sizeof e, &e, sizeof e);
    }
    close_page(w, TT_INDEX_PAGE_IDEMPOTENCY, count);
    return true;
}

/* Makes the next piece. False: this phase has none left, and the next one was begun. */
static bool make_piece(struct tt_index_writer *w)
{
    switch (w->phase) {
    case PHASE_LISTS:
        if (w->next < w->channels_count) {
            make_list_block(w);
            return true;
        }
        place_sections(w);
        begin_phase(w, PHASE_DIRECTORY);
        return false;
    case PHASE_DIRECTORY:
        if (make_directory_page(w)) return true;
        begin_phase(w, PHASE_HOLES);
        return false;
    case PHASE_HOLES:
        if (make_holes_page(w)) return true;
        begin_phase(w, PHASE_IDEMPOTENCY);
        return false;
    case PHASE_IDEMPOTENCY:
        if (make_idempotency_page(w)) return true;
        begin_phase(w, PHASE_FILTER);
        set_ready(w, w->filter, (size_t)w->header.filter.bytes);
        return true;
    case PHASE_FILTER: begin_phase(w, PHASE_HEADER); return false;
    case PHASE_COUNT:
    case PHASE_SORT:
    case PHASE_HEADER:
    case PHASE_END: break;
    }
    TT_UNREACHABLE();
}

enum tt_status tt_index_writer_step(struct tt_index_writer *w, void *buffer, size_t capacity,
                                    struct tt_index_slice *slice)
{
    TT_ASSERT(capacity >= TT_INDEX_STEP_BYTES_MIN);
    *slice = (struct tt_index_slice){.position = w->position};
    switch (w->phase) {
    case PHASE_COUNT: count_some(w); return TT_OK;
    case PHASE_SORT: sort_some(w); return TT_OK;
    case PHASE_HEADER:
        memcpy(buffer, &w->header, sizeof w->header);
        *slice = (struct tt_index_slice){.position = 0, .size = sizeof w->header};
        w->phase = PHASE_END;
        return TT_OK;
    case PHASE_END: return TT_END;
    case PHASE_LISTS:
    case PHASE_DIRECTORY:
    case PHASE_HOLES:
    case PHASE_IDEMPOTENCY:
    case PHASE_FILTER: break;
    }
    if (capacity > BYTES_PER_STEP) capacity = BYTES_PER_STEP;
    while (slice->size < capacity && w->phase != PHASE_HEADER) {
        if (w->ready_bytes == 0 && !make_piece(w)) continue;
        size_t size =
            capacity - slice->size < w->ready_bytes ? capacity - slice->size : w->ready_bytes;
        memcpy((uint8_t *)buffer + slice->size, w->ready, size);
        slice->size += size;
        w->position += size;
        w->ready += size;
        w->ready_bytes -= size;
    }
    return TT_OK;
}
