/* Reads records out of segments, sans-IO: the caller fetches bytes, this says which and what is in
 * them. The algorithm for readers in other languages stands in README.md.
 *
 * Walking: the caller has a window, bytes of the log that begin at some place, and calls
 * tt_reader_next() until that says what else it needs:
 *
 *     struct tt_reader r;
 *     tt_reader_init(&r, place, end, sealed);       place: of a record, chunk or segment
 *     for (;;) {
 *         struct tt_bytes window = fetch(tt_reader_place(&r), tt_reader_needs(&r));
 *         while ((status = tt_reader_next(&r, window_place, window, &record)) == TT_OK) use it
 *         TT_MORE: fetch on; TT_END: all below `end` was read; TT_ECORRUPT: see the place
 *     }
 *
 * `end` is the segment's end_place, or tt_tail_written_place() for the one that grows: below it
 * every byte is final, so bad bytes are corruption and never a write under way (but a write may end
 * within a record: in a segment that grows, a record that crosses `end` is not there yet).
 *
 * Finding: tt_reader_find_* search the chunk headers of one segment by halves, reading
 * TT_READER_PROBE_BYTES at a time, and end at a chunk from which walking meets the record.
 * Thread: any, each object by one. Memory: none. */
#ifndef TT_STORE_READER_H
#define TT_STORE_READER_H

#include "store/record.h"
#include "store/segment.h"

struct tt_reader {
    uint64_t place_; /* of the next record */
    uint64_t end_;
    uint64_t next_offset_; /* the next event's is not below */
    uint32_t needs_;
    bool sealed_;
};

/* place: where a record begins (a chunk or a segment does; so does what tt_reader_place() gave). */
void tt_reader_init(struct tt_reader *reader, uint64_t place, uint64_t end, bool sealed);
/* Where the next record begins: to go on from there later, and of which file to read. */
uint64_t tt_reader_place(const struct tt_reader *reader);
/* The fewest bytes from there on that let tt_reader_next() go on: the whole record, once its length
 * is known. More is better: a read of 64 KiB holds many. */
uint32_t tt_reader_needs(const struct tt_reader *reader);
/* The next EVENT, HOLE, CHUNK, SEGMENT or BATCH; pads are passed over. The record points into the
 * window. window_place <= place of the reader.
 * TT_OK; TT_MORE: the window ends before the record does; TT_END: the end was reached;
 * TT_ECORRUPT: bad bytes at tt_reader_place(); TT_EVERSION. */
TT_MUST_USE enum tt_status tt_reader_next(struct tt_reader *reader, uint64_t window_place,
                                          struct tt_bytes window, struct tt_record *record);

#define TT_READER_PROBE_BYTES 128u

/* Search for the chunk in which a walk has to begin. */
struct tt_reader_find {
    uint64_t base_;           /* place of the segment */
    uint64_t low_, high_;     /* chunks of the segment: those still to be looked at lie between */
    uint64_t answer_;         /* the last one that is known to begin early enough */
    uint64_t middle_, probe_; /* the chunk that was asked for, or one before it that has a header */
    uint64_t offset_;
    int64_t taken_us_;
    bool by_time_;
};
/* For the first record whose offset is >= `offset` (a hole that covers it included). end: of the
 * segment, as above. */
void tt_reader_find_offset(struct tt_reader_find *find, const struct tt_segment *segment,
                           uint64_t end, uint64_t offset);
/* For the first record taken at or after `taken_us`; clocks may have gone backwards between. */
void tt_reader_find_taken(struct tt_reader_find *find, const struct tt_segment *segment,
                          uint64_t end, int64_t taken_us);
/* TT_MORE: read TT_READER_PROBE_BYTES at *place and give them to tt_reader_find_probe(). TT_OK:
 * *place is where to begin to walk. */
TT_MUST_USE enum tt_status tt_reader_find_step(struct tt_reader_find *find, uint64_t *place);
/* What was read there (fewer bytes at the file's end count as nothing written). */
void tt_reader_find_probe(struct tt_reader_find *find, struct tt_bytes bytes);

#endif
