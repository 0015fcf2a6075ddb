/* The bytes of index files, as README.md draws them: for their writer and their reader only. */
#ifndef TT_STORE_INDEX_FORMAT_H
#define TT_STORE_INDEX_FORMAT_H

#include "proto/base/crc32c.h"
#include "store/index_file.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the log is little endian");

struct tt_index_file_header {
    uint8_t magic[8];
    uint32_t format;
    uint32_t partition;
    struct tt_history history;
    uint64_t k0, k1;
    uint64_t first_offset, base_place, end_place, next_offset;
    uint64_t entries;
    uint32_t channels;
    uint32_t filter_probes;
    uint32_t filter_crc;
    uint32_t reserved;
    struct tt_index_section lists, directory, holes, idempotency, filter;
    uint64_t file_bytes;
    uint8_t reserved2[28];
    uint32_t crc32c; /* of everything before */
};
_Static_assert(sizeof(struct tt_index_file_header) == TT_INDEX_HEADER_BYTES, "no holes");
#define TT_INDEX_MAGIC "ttindex" /* with its zero, 8 bytes */

/* Directory, holes and idempotency consist of pages: entries, zeros, and this at the end. */
enum tt_index_page_kind {
    TT_INDEX_PAGE_DIRECTORY = 1,
    TT_INDEX_PAGE_HOLES = 2,
    TT_INDEX_PAGE_IDEMPOTENCY = 3,
};
struct tt_index_page_end {
    uint32_t kind;
    uint32_t number; /* in its section */
    uint32_t entries;
    uint32_t crc32c; /* of everything before */
};
#define TT_INDEX_PAGE_END_AT (TT_INDEX_PAGE_BYTES - sizeof(struct tt_index_page_end))

struct tt_index_directory_entry {
    uint64_t hash;
    uint64_t position; /* of the list, in its section */
    uint32_t bytes;
    uint32_t count;
};
#define TT_INDEX_DIRECTORY_PAGE 170u /* entries */

struct tt_index_hole_entry {
    uint64_t first, end, place;
};
struct tt_index_idempotency_entry {
    uint8_t key_hash[16], body_hash[16];
    uint64_t first_offset, end_place;
    int64_t taken_us;
    uint32_t index, events, count, reserved;
};
_Static_assert(sizeof(struct tt_index_directory_entry) * TT_INDEX_DIRECTORY_PAGE <=
                   TT_INDEX_PAGE_END_AT,
               "a page");
_Static_assert(sizeof(struct tt_index_hole_entry) * TT_INDEX_HOLES_PAGE <= TT_INDEX_PAGE_END_AT,
               "a page");
_Static_assert(sizeof(struct tt_index_idempotency_entry) * TT_INDEX_IDEMPOTENCY_PAGE <=
                   TT_INDEX_PAGE_END_AT,
               "a page");

/* A list is a row of blocks; all but the last have TT_INDEX_PAGE_BYTES. */
struct tt_index_block_begin {
    uint32_t crc32c; /* of the channel's hash, the block's number, and everything behind this */
    uint16_t count;
    uint16_t bytes; /* that are used, with this; zeros follow */
};
#define TT_INDEX_BLOCK_BEGIN_BYTES 8u
_Static_assert(sizeof(struct tt_index_block_begin) == TT_INDEX_BLOCK_BEGIN_BYTES, "no holes");

static inline uint32_t tt_index_block_crc(uint64_t hash, uint32_t number, const uint8_t *block,
                                          size_t bytes)
{
    struct {
        uint64_t hash;
        uint64_t number;
    } seed = {hash, number};
    uint32_t crc = tt_crc32c(0, &seed, sizeof seed);
    return tt_crc32c(crc, block + sizeof crc, bytes - sizeof crc);
}

/* Is it page `number` of a section with so many entries? TT_OK: *count of them; TT_ECORRUPT. */
TT_MUST_USE enum tt_status tt_index_page_check(struct tt_bytes page, uint32_t kind, uint32_t number,
                                               uint64_t entries, uint32_t per_page,
                                               uint32_t *count);

static inline uint32_t tt_index_pages(uint64_t entries, uint32_t per_page)
{
    return (uint32_t)((entries + per_page - 1) / per_page);
}

static inline uint32_t tt_index_filter_bytes(uint32_t channels)
{
    if (channels > TT_INDEX_FILTER_BYTES_MAX) return TT_INDEX_FILTER_BYTES_MAX;
    return channels == 0 ? 64 : (channels + 63) / 64 * 64;
}
/* 0.69 of the bits that each channel has, which makes false answers rarest. */
static inline uint32_t tt_index_filter_probes(uint32_t channels)
{
    uint64_t per = channels == 0 ? 8 : (uint64_t)tt_index_filter_bytes(channels) * 8 / channels;
    uint64_t probes = (per * 69 + 50) / 100;
    return probes < 1 ? 1 : probes > 6 ? 6 : (uint32_t)probes;
}
static inline uint32_t tt_index_filter_bit(uint64_t hash, uint32_t probe, uint64_t bytes)
{
    uint32_t h = (uint32_t)hash + probe * ((uint32_t)(hash >> 32) | 1);
    return (uint32_t)((uint64_t)h * (bytes * 8) >> 32);
}

#endif
