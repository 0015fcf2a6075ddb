/* What can still be read of a segment in which bytes are bad, and what goes in their place.
 *
 * Sans-IO, for the tool that repairs a log while no broker runs. Records are found behind bad bytes
 * by trying every multiple of 8: nothing that a publisher sends looks like one (README.md), so what
 * is valid there was written there. The bad bytes themselves are replaced in place, by
 *
 *     SEGMENT, BATCH   where the segment begins
 *     CHUNK            at each chunk's beginning
 *     HOLE             once, for the offsets that are lost: whoever reads across it is told `gap`
 *     PAD              for the rest
 *
 * so that no other record moves, and no offset is used again. Thread: any. Memory: the caller's. */
#ifndef TT_STORE_SALVAGE_H
#define TT_STORE_SALVAGE_H

#include "store/record.h"

/* Looks through bytes of a file (from `position` on, a multiple of 8) for BATCH records. *durable
 * is raised to the newest durable place that they tell of; base: of the segment, so that only those
 * count that stand where they say, or UINT64_MAX: any. *used is set behind the last 8 bytes that
 * are not zero, if there are any. */
void tt_salvage_batches(struct tt_bytes bytes, uint64_t position, uint64_t base, uint64_t *durable,
                        uint64_t *used);

/* Looks for the next record from *place on (a multiple of 8) that is valid by itself: its checksum,
 * its own place where it has one, and an offset that is not below next_offset. Pads do not count:
 * eight zeros behind an 8 look like one. window: bytes of the log from window_place on; last: there
 * are no more behind them.
 * TT_OK: it stands at *place. TT_MORE: none below *place, go on with a window from there. TT_END:
 * there is none. */
TT_MUST_USE enum tt_status tt_salvage_next(uint64_t window_place, struct tt_bytes window, bool last,
                                           uint64_t next_offset, uint64_t *place,
                                           struct tt_record *record);

/* What replaces the bytes from `place` to `end` of a segment. */
struct tt_salvage_fill {
    uint64_t base;        /* of the segment */
    uint64_t place, end;  /* multiples of 8 */
    uint64_t next_offset; /* of the events before: the first that is lost */
    uint64_t lost_end;    /* the offset behind the last lost one; next_offset: none is lost */
    int64_t taken_us;     /* now */
    int64_t taken_max_us; /* of everything before */
    /* What SEGMENT says, where the segment's own beginning is replaced; its BATCH then says that
     * everything before the segment is durable: sync that first. */
    struct tt_record_segment segment;
};
/* Writes the next piece, which ends with a chunk at the latest, into out (TT_CHUNK_BYTES of room,
 * 8-byte aligned), and moves fill->place behind it. TT_OK: *bytes of it. TT_END: all was given.
 * TT_FULL: the lost offsets do not fit in (a range that no writer of ours can have left). */
TT_MUST_USE enum tt_status tt_salvage_fill_step(struct tt_salvage_fill *fill, uint8_t *out,
                                                size_t *bytes);

#endif
