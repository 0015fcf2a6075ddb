/* Walks through the records of one segment file, blocking: store/reader.h with a file and a window.
 *
 * Thread: one. Memory: a window of TT_WALK_WINDOW_BYTES; a record that was given points into it
 * until the next call. */
#ifndef TT_TTLOG_WALK_H
#define TT_TTLOG_WALK_H

#include "store/reader.h"
#include "tools/ttlog/listing.h"

/* The largest record and a chunk's worth more. */
#define TT_WALK_WINDOW_BYTES (8u << 20)

struct tt_walk {
    const struct tt_files *io;
    int32_t file; /* -1: none is open */
    struct tt_segment segment;
    uint64_t end; /* of what there is to be read */
    bool sealed;
    struct tt_reader reader;
    uint8_t *window;
    uint64_t window_place;
    size_t window_bytes;
    uint64_t record_place; /* of the record that was given last */
};

/* A walk without a file. TT_OK, TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_walk_init(struct tt_walk *walk, const struct tt_files *io);
void tt_walk_deinit(struct tt_walk *walk);
/* Opens a valid file of the view; what was open is closed. The walk begins at its first byte.
 * TT_OK; TT_ENOENT: it is gone; TT_EIO, ... */
TT_MUST_USE enum tt_status tt_walk_open(struct tt_walk *walk,
                                        const struct tt_listing_partition *partition,
                                        uint32_t index);
/* Jumps to the chunk from which walking meets the first record with that offset or above, or taken
 * at that time or later. TT_OK, TT_EIO. */
TT_MUST_USE enum tt_status tt_walk_seek_offset(struct tt_walk *walk, uint64_t offset);
TT_MUST_USE enum tt_status tt_walk_seek_taken(struct tt_walk *walk, int64_t taken_us);
/* Goes on at a place, where a record begins. */
void tt_walk_seek_place(struct tt_walk *walk, uint64_t place);
/* The next record but pads. TT_OK; TT_END: the end was reached, or of a segment that grows: what
 * was written so far; TT_ECORRUPT: bad bytes at tt_walk_place(); TT_EVERSION; TT_EIO. */
TT_MUST_USE enum tt_status tt_walk_next(struct tt_walk *walk, struct tt_record *record);
uint64_t tt_walk_place(const struct tt_walk *walk);
/* After TT_ECORRUPT: goes on at the next record that is valid; next_offset: what its offset must
 * not be below. TT_OK: tt_walk_place() is where it stands. TT_END: there is none, the place is the
 * end of what there is. TT_EIO. */
TT_MUST_USE enum tt_status tt_walk_salvage(struct tt_walk *walk, uint64_t next_offset);
/* Bytes from a place on, at most `size`, in the window; fewer only at the file's end. TT_OK,
 * TT_EIO. */
TT_MUST_USE enum tt_status tt_walk_bytes(struct tt_walk *walk, uint64_t place, size_t size,
                                         struct tt_bytes *bytes);

#endif
