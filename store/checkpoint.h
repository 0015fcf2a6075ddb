/* The checkpoint: file "values", the channel table as it was below its mark. Written in slices,
 * read as a stream; every byte is under a checksum. Byte-exact: README.md.
 *
 * It saves start-up the walk through all segments, no more: what it says follows from the kept
 * files and the segments, and damaged or missing it is built from them again. Thread: the owner's,
 * or start-up. Memory: the caller's. */
#ifndef TT_STORE_CHECKPOINT_H
#define TT_STORE_CHECKPOINT_H

#include "store/record.h"
#include "store/values.h"

#define TT_CHECKPOINT_FORMAT          1u
#define TT_CHECKPOINT_HEADER_BYTES    96u
#define TT_CHECKPOINT_BLOCK_BYTES_MAX 65536u
#define TT_CHECKPOINT_NAME            "values"
#define TT_CHECKPOINT_NAME_NEW        "values.new"

struct tt_checkpoint_header {
    uint64_t mark;  /* offset: the table is as of it */
    uint64_t place; /* where the segment begins in which it lies, or which it begins */
    /* Records of kept files before this are in the table: read on from it. */
    uint32_t kept_number;
    uint64_t kept_byte;
};

/* ---- writing: the table must keep its mark, and no slot may be dropped, until the end ---- */
struct tt_checkpoint_writer {
    const struct tt_values *values_;
    uint32_t key_, slots_;
    uint64_t channels_;
    uint32_t blocks_;
    uint8_t step_;
};
void tt_checkpoint_begin(struct tt_checkpoint_writer *writer, const struct tt_values *values);
/* Writes the next bytes of the file into out (capacity >= TT_CHECKPOINT_BLOCK_BYTES_MAX); looks at
 * no more than TT_VALUES_BLOCK slots. *size: how many bytes, perhaps 0. TT_OK; TT_END: with these
 * the file is complete. */
TT_MUST_USE enum tt_status tt_checkpoint_step(struct tt_checkpoint_writer *writer,
                                              const struct tt_checkpoint_header *header,
                                              const struct tt_record_segment *identity,
                                              uint8_t *out, size_t *size);

/* ---- reading ---- */
struct tt_checkpoint_reader {
    struct tt_values *values_;
    const struct tt_record_segment *identity_;
    struct tt_checkpoint_header header_;
    uint64_t channels_;
    uint32_t blocks_;
    uint8_t step_;
};
/* Fills the empty table; identity: borrowed. */
void tt_checkpoint_read_begin(struct tt_checkpoint_reader *reader, struct tt_values *values,
                              const struct tt_record_segment *identity);
/* Takes what it can of the bytes, *taken of them; give the rest again, with more behind (a
 * buffer of twice TT_CHECKPOINT_BLOCK_BYTES_MAX always gets on). TT_MORE; TT_END: it was all there
 * (nothing may follow it); TT_ECORRUPT; TT_EVERSION; TT_ENOMEM. After a failure the table holds
 * anything: make another. */
TT_MUST_USE enum tt_status tt_checkpoint_read(struct tt_checkpoint_reader *reader,
                                              struct tt_bytes bytes, size_t *taken);
/* Valid after the first TT_MORE that took anything. */
const struct tt_checkpoint_header *tt_checkpoint_read_header(
    const struct tt_checkpoint_reader *reader);

#endif
