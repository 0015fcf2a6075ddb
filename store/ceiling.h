/* The file that holds a partition's ceiling: offsets below it may have been given out.
 *
 * Two slots, written in turn, so that a torn write leaves the other one good; the valid slot with
 * the higher version counts. Format: README.md. Thread: any. Memory: none. */
#ifndef TT_STORE_CEILING_H
#define TT_STORE_CEILING_H

#include "proto/base/bytes.h"

#define TT_CEILING_SLOT_BYTES 64u
#define TT_CEILING_SLOT_EVERY 4096u /* slots lie in different sectors and pages */
#define TT_CEILING_FILE_BYTES (2 * TT_CEILING_SLOT_EVERY)

struct tt_ceiling {
    uint64_t version;
    uint64_t offset;
};

/* Where the slot of a version begins in the file. */
uint64_t tt_ceiling_place(uint64_t version);
void tt_ceiling_encode(uint8_t slot[TT_CEILING_SLOT_BYTES], const struct tt_ceiling *ceiling);
/* From the file's bytes, as many as there are. TT_OK; TT_ECORRUPT: neither slot is valid. */
TT_MUST_USE enum tt_status tt_ceiling_decode(struct tt_bytes file, struct tt_ceiling *ceiling);

#endif
