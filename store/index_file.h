/* Index files: the index of a sealed segment on disk, "<first offset>.idx". Byte-exact format:
 * README.md. Sans-IO both ways.
 *
 * Writing, in slices that each do a bounded amount of work:
 *
 *     tt_index_writer_create(&w, index, &segment, &identity)
 *     while (tt_index_writer_step(w, buffer, capacity, &slice) == TT_OK)
 *         if (slice.size != 0) write slice.size bytes of the buffer at slice.position of the file
 *     TT_END: all was given. The header is the last slice, and lies at the file's beginning: a file
 *     that was not finished has zeros there and is not valid.
 *
 * Reading: the header (TT_INDEX_HEADER_BYTES at 0), then, once, the filter and the holes; they stay
 * in memory. A question about a channel is a search: it says which bytes it needs and is given
 * them, at most TT_INDEX_READ_BYTES at a time:
 *
 *     tt_index_search_range(&s, &header, hash, from, below)      or _last, _value
 *     while ((status = tt_index_search_step(&s, &position, &size)) == TT_MORE)
 *         tt_index_search_give(&s, bytes that were read there)   fewer at the file's end: corrupt
 *         and, while there are any: tt_index_search_take(&s, &entry)
 *
 * Every part has a checksum. Whatever is wrong with the bytes is told as TT_ECORRUPT: the segment
 * is to be scanned instead. Thread: any, each object by one. Memory: the writer's 16 bytes a
 * channel; searching none. */
#ifndef TT_STORE_INDEX_FILE_H
#define TT_STORE_INDEX_FILE_H

#include "store/index.h"
#include "store/segment.h"

#define TT_INDEX_FORMAT           1u
#define TT_INDEX_HEADER_BYTES     256u
#define TT_INDEX_PAGE_BYTES       4096u
#define TT_INDEX_FILTER_BYTES_MAX (128u << 10)
#define TT_INDEX_READ_BYTES       TT_INDEX_PAGE_BYTES

/* "00000000000000001042.idx" with a final zero. */
#define TT_INDEX_NAME_BYTES TT_SEGMENT_NAME_BYTES
void tt_index_name(uint64_t first_offset, char name[TT_INDEX_NAME_BYTES]);
/* The reverse. TT_OK, TT_EINVAL: not the name of an index file. */
TT_MUST_USE enum tt_status tt_index_name_parse(const char *name, uint64_t *first_offset);
/* "<directory>/<name>". TT_OK; TT_EINVAL: longer than `bytes`. */
TT_MUST_USE enum tt_status tt_index_path(const char *directory, uint64_t first_offset, char *path,
                                         size_t bytes);

/* ---- writing ---- */
struct tt_index_writer;
struct tt_index_slice {
    uint64_t position; /* in the file */
    size_t size;       /* 0: this step only computed */
};
/* What the capacity of a step's buffer must be at least. */
#define TT_INDEX_STEP_BYTES_MIN TT_INDEX_PAGE_BYTES
/* Borrows the index, which must not change until the writer is destroyed (it may be asked). The
 * segment is sealed. TT_OK; TT_ENOMEM; TT_EINVAL: the index is broken. */
TT_MUST_USE enum tt_status tt_index_writer_create(struct tt_index_writer **writer,
                                                  const struct tt_index *index,
                                                  const struct tt_segment *segment,
                                                  const struct tt_record_segment *identity);
void tt_index_writer_destroy(struct tt_index_writer **writer);
/* TT_OK: *slice is to be written; TT_END: everything was given. At most some 100 us a step. */
TT_MUST_USE enum tt_status tt_index_writer_step(struct tt_index_writer *writer, void *buffer,
                                                size_t capacity, struct tt_index_slice *slice);
/* Of the file; 0 before it is known, which it is when the lists are written. */
uint64_t tt_index_writer_bytes(const struct tt_index_writer *writer);

/* ---- reading: the header and what is read once ---- */
struct tt_index_section {
    uint64_t position;
    uint64_t bytes;
    uint64_t entries;
};
struct tt_index_header {
    uint64_t first_offset, base_place, end_place; /* of the segment */
    uint64_t next_offset;                         /* behind its last event or hole */
    uint64_t entries;                             /* of all channels */
    uint32_t channels;
    uint32_t filter_probes;
    uint32_t filter_crc;
    struct tt_index_section lists, directory, holes, idempotency, filter;
    uint64_t file_bytes;
};
/* bytes: the file's first TT_INDEX_HEADER_BYTES. TT_OK; TT_ECORRUPT: not the index of this segment,
 * or damaged; TT_EVERSION: a newer format (the segment is scanned). */
TT_MUST_USE enum tt_status tt_index_header_read(struct tt_bytes bytes,
                                                const struct tt_segment *segment,
                                                const struct tt_record_segment *identity,
                                                struct tt_index_header *header);
/* filter: header->filter.bytes at its position. TT_OK, TT_ECORRUPT. */
TT_MUST_USE enum tt_status tt_index_filter_check(const struct tt_index_header *header,
                                                 struct tt_bytes filter);
/* False: the segment certainly holds nothing of the channel. filter: checked before. */
bool tt_index_filter_test(const struct tt_index_header *header, const uint8_t *filter,
                          uint64_t hash);

/* One page of the holes or of the idempotency section: read TT_INDEX_PAGE_BYTES at
 * section->position + number * TT_INDEX_PAGE_BYTES, for each of tt_index_section_pages(). */
uint32_t tt_index_section_pages(const struct tt_index_section *section);
#define TT_INDEX_HOLES_PAGE       170u /* most entries of one page */
#define TT_INDEX_IDEMPOTENCY_PAGE 56u
/* TT_OK: *count of them; TT_ECORRUPT. */
TT_MUST_USE enum tt_status tt_index_read_holes(const struct tt_index_header *header,
                                               uint32_t number, struct tt_bytes page,
                                               struct tt_index_hole *holes, uint32_t *count);
TT_MUST_USE enum tt_status tt_index_read_idempotency(const struct tt_index_header *header,
                                                     uint32_t number, struct tt_bytes page,
                                                     struct tt_index_idempotency *entries,
                                                     uint32_t *count);

/* ---- searching one channel ---- */
enum tt_index_search_kind {
    TT_INDEX_SEARCH_COUNT = 0, /* only how many entries there are */
    TT_INDEX_SEARCH_RANGE,
    TT_INDEX_SEARCH_LAST,
    TT_INDEX_SEARCH_VALUE,
};
struct tt_index_search {
    const struct tt_index_header *header_; /* borrowed */
    uint64_t hash_;
    enum tt_index_search_kind kind_;
    uint64_t from_, below_;
    uint32_t n_; /* LAST: how many are still wanted */
    uint8_t state_;
    enum tt_status end_;  /* what the step says when nothing more is needed */
    uint32_t low_, high_; /* pages of the directory, or blocks of the list: it lies between */
    uint32_t page_, turns_;
    uint64_t list_;
    uint32_t list_bytes_, list_count_, blocks_, block_;
    /* of the block that was given: what is to be taken */
    const uint8_t *at_, *end_of_block_;
    uint64_t offset_, place_;
    uint32_t skip_, left_;
};
/* Only the directory: tt_index_search_count() afterwards. header: borrowed by the search. */
void tt_index_search_count_of(struct tt_index_search *search, const struct tt_index_header *header,
                              uint64_t hash);
/* Those with from <= offset < below, oldest first. */
void tt_index_search_range(struct tt_index_search *search, const struct tt_index_header *header,
                           uint64_t hash, uint64_t from, uint64_t below);
/* The newest n below; blocks come newest first, and each block's entries oldest first. */
void tt_index_search_last(struct tt_index_search *search, const struct tt_index_header *header,
                          uint64_t hash, uint64_t below, uint32_t n);
/* The newest below that tt_index_is_value(): at most one entry; TT_INDEX_DELETE in its flags: the
 * value was deleted. */
void tt_index_search_value(struct tt_index_search *search, const struct tt_index_header *header,
                           uint64_t hash, uint64_t below);
/* TT_MORE: read *size bytes at *position and give them. TT_END: all was taken; TT_ECORRUPT. */
TT_MUST_USE enum tt_status tt_index_search_step(struct tt_index_search *search, uint64_t *position,
                                                uint32_t *size);
/* What was read there, whole. It stays borrowed until the next step: take the entries first. */
void tt_index_search_give(struct tt_index_search *search, struct tt_bytes bytes);
/* The next entry of what was given. False: none is left (go on with the next step). Entries of a
 * block that turns out to be damaged are not given: a block is checked whole before. */
bool tt_index_search_take(struct tt_index_search *search, struct tt_index_entry *entry);
/* Entries of the channel in this segment; known once the directory was read (0: none). */
uint32_t tt_index_search_count(const struct tt_index_search *search);

#endif
