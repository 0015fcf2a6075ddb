#include <stdio.h>
#include <string.h>

#include "proto/base/assert.h"
#include "store/index_format.h"

/* ---- names ---- */

#define NAME_DIGITS 20u

void tt_index_name(uint64_t first_offset, char name[TT_INDEX_NAME_BYTES])
{
    tt_segment_name(first_offset, name);
    memcpy(name + NAME_DIGITS, ".idx", sizeof ".idx");
}

enum tt_status tt_index_name_parse(const char *name, uint64_t *first_offset)
{
    char segment[TT_SEGMENT_NAME_BYTES];
    struct tt_bytes text = tt_bytes_text(name);
    if (text.size != TT_INDEX_NAME_BYTES - 1) return TT_EINVAL;
    if (!tt_bytes_is(tt_bytes_from(text, NAME_DIGITS), ".idx")) return TT_EINVAL;
    memcpy(segment, name, NAME_DIGITS);
    memcpy(segment + NAME_DIGITS, ".seg", sizeof ".seg");
    return tt_segment_name_parse(segment, first_offset);
}

enum tt_status tt_index_path(const char *directory, uint64_t first_offset, char *path, size_t bytes)
{
    char name[TT_INDEX_NAME_BYTES];
    tt_index_name(first_offset, name);
    int written = snprintf(path, bytes, "%s/%s", directory, name);
    return written >= 0 && (size_t)written < bytes ? TT_OK : TT_EINVAL;
}

/* ---- the header ---- */

/* Each section begins where the one before ends, and is as long as its entries need. */
static bool follows(const struct tt_index_section *s, uint64_t *at, uint64_t entries,
                    uint64_t bytes)
{
    if (s->position != *at || s->entries != entries || s->bytes != bytes) return false;
    *at += bytes;
    return true;
}

static uint64_t paged(uint64_t entries, uint32_t per_page)
{
    return (uint64_t)tt_index_pages(entries, per_page) * TT_INDEX_PAGE_BYTES;
}

static bool sections_fit(const struct tt_index_file_header *h)
{
    uint64_t at = TT_INDEX_HEADER_BYTES;
    if (h->lists.bytes > UINT64_MAX / 2 || h->holes.entries > UINT32_MAX ||
        h->idempotency.entries > UINT32_MAX || h->entries < h->channels)
        return false;
    return follows(&h->lists, &at, h->channels, h->lists.bytes) &&
           follows(&h->directory, &at, h->channels, paged(h->channels, TT_INDEX_DIRECTORY_PAGE)) &&
           follows(&h->holes, &at, h->holes.entries,
                   paged(h->holes.entries, TT_INDEX_HOLES_PAGE)) &&
           follows(&h->idempotency, &at, h->idempotency.entries,
                   paged(h->idempotency.entries, TT_INDEX_IDEMPOTENCY_PAGE)) &&
           follows(&h->filter, &at, h->channels, tt_index_filter_bytes(h->channels)) &&
           h->file_bytes == at && h->filter_probes == tt_index_filter_probes(h->channels);
}

static bool belongs(const struct tt_index_file_header *h, const struct tt_segment *segment,
                    const struct tt_record_segment *identity)
{
    return h->partition == identity->partition &&
           memcmp(&h->history, &identity->history, sizeof h->history) == 0 &&
           h->k0 == identity->hash_key.k0 && h->k1 == identity->hash_key.k1 &&
           h->first_offset == segment->first_offset && h->base_place == segment->base_place &&
           h->end_place == segment->end_place && h->next_offset >= h->first_offset;
}

enum tt_status tt_index_header_read(struct tt_bytes bytes, const struct tt_segment *segment,
                                    const struct tt_record_segment *identity,
                                    struct tt_index_header *header)
{
    struct tt_index_file_header h;
    if (bytes.size < sizeof h) return TT_ECORRUPT;
    memcpy(&h, bytes.data, sizeof h);
    if (memcmp(h.magic, TT_INDEX_MAGIC, sizeof h.magic) != 0) return TT_ECORRUPT;
    if (h.crc32c != tt_crc32c(0, &h, offsetof(struct tt_index_file_header, crc32c)))
        return TT_ECORRUPT;
    if (h.format > TT_INDEX_FORMAT) return TT_EVERSION;
    if (h.format == 0 || !belongs(&h, segment, identity) || !sections_fit(&h)) return TT_ECORRUPT;
    *header = (struct tt_index_header){
        .first_offset = h.first_offset,
        .base_place = h.base_place,
        .end_place = h.end_place,
        .next_offset = h.next_offset,
        .entries = h.entries,
        .channels = h.channels,
        .filter_probes = h.filter_probes,
        .filter_crc = h.filter_crc,
        .lists = h.lists,
        .directory = h.directory,
        .holes = h.holes,
        .idempotency = h.idempotency,
        .filter = h.filter,
        .file_bytes = h.file_bytes,
    };
    return TT_OK;
}

/* ---- filter ---- */

enum tt_status tt_index_filter_check(const struct tt_index_header *header, struct tt_bytes filter)
{
    if (filter.size != header->filter.bytes) return TT_ECORRUPT;
    return tt_crc32c(0, filter.data, filter.size) == header->filter_crc ? TT_OK : TT_ECORRUPT;
}

bool tt_index_filter_test(const struct tt_index_header *header, const uint8_t *filter,
                          uint64_t hash)
{
    for (uint32_t i = 0; i < header->filter_probes; i++) {
        uint32_t bit = tt_index_filter_bit(hash, i, header->filter.bytes);
        if ((filter[bit / 8] >> bit % 8 & 1) == 0) return false;
    }
    return true;
}

/* ---- pages ---- */

uint32_t tt_index_section_pages(const struct tt_index_section *section)
{
    return (uint32_t)(section->bytes / TT_INDEX_PAGE_BYTES);
}

enum tt_status tt_index_page_check(struct tt_bytes page, uint32_t kind, uint32_t number,
                                   uint64_t entries, uint32_t per_page, uint32_t *count)
{
    struct tt_index_page_end end;
    if (page.size != TT_INDEX_PAGE_BYTES) return TT_ECORRUPT;
    memcpy(&end, page.data + TT_INDEX_PAGE_END_AT, sizeof end);
    uint64_t before = (uint64_t)number * per_page;
    if (end.kind != kind || end.number != number || before >= entries) return TT_ECORRUPT;
    uint64_t here = entries - before < per_page ? entries - before : per_page;
    if (end.entries != here) return TT_ECORRUPT;
    if (end.crc32c != tt_crc32c(0, page.data, TT_INDEX_PAGE_BYTES - sizeof end.crc32c))
        return TT_ECORRUPT;
    *count = end.entries;
    return TT_OK;
}

enum tt_status tt_index_read_holes(const struct tt_index_header *header, uint32_t number,
                                   struct tt_bytes page, struct tt_index_hole *holes,
                                   uint32_t *count)
{
    enum tt_status status = tt_index_page_check(page, TT_INDEX_PAGE_HOLES, number,
                                                header->holes.entries, TT_INDEX_HOLES_PAGE, count);
    if (status != TT_OK) return status;
    for (uint32_t i = 0; i < *count; i++) {
        struct tt_index_hole_entry e;
        memcpy(&e, page.data + i * sizeof e, sizeof e);
        if (e.first >= e.end || e.first < header->first_offset || e.end > header->next_offset)
            return TT_ECORRUPT;
        holes[i] = (struct tt_index_hole){e.first, e.end, e.place};
    }
    return TT_OK;
}

enum tt_status tt_index_read_idempotency(const struct tt_index_header *header, uint32_t number,
                                         struct tt_bytes page, struct tt_index_idempotency *entries,
                                         uint32_t *count)
{
    enum tt_status status =
        tt_index_page_check(page, TT_INDEX_PAGE_IDEMPOTENCY, number, header->idempotency.entries,
                            TT_INDEX_IDEMPOTENCY_PAGE, count);
    if (status != TT_OK) return status;
    for (uint32_t i = 0; i < *count; i++) {
        struct tt_index_idempotency_entry e;
        memcpy(&e, page.data + i * sizeof e, sizeof e);
        entries[i] = (struct tt_index_idempotency){.first_offset = e.first_offset,
                                                   .end_place = e.end_place,
                                                   .taken_us = e.taken_us,
                                                   .index = e.index,
                                                   .events = e.events,
                                                   .count = e.count};
        memcpy(entries[i].key_hash, e.key_hash, sizeof e.key_hash);
        memcpy(entries[i].body_hash, e.body_hash, sizeof e.body_hash);
    }
    return TT_OK;
}
