/* Kept files: "<number, 7 digits>.val", values whose segments were retired.
 *
 * A kept file is a header and records behind it, EVENTs with their own offsets, byte for byte as
 * they stood in the segment. Files are written one after another, numbers rise, nothing is ever
 * changed but by appending, and a process appends only to files that it has made. They are a log of
 * their own: whoever reads them all in order, newest offset of each channel winning, and then the
 * segments, knows every value (an event that deletes is kept like a value, as long as an older
 * kept file may hold one for it to delete). Records behind the first that is not valid were never
 * needed: what they were copied from was still there.
 *
 * The place of a record in a kept file: bit 63, number of the file << 40, byte in the file. A
 * file is removed when all its values were copied to a newer one: whoever finds it gone looks the
 * channel up again. Byte-exact: README.md. Thread: any. Memory: none. */
#ifndef TT_STORE_KEPT_H
#define TT_STORE_KEPT_H

#include "store/record.h"

#define TT_KEPT_HEADER_BYTES 64u
#define TT_KEPT_FORMAT       1u
#define TT_KEPT_NUMBER_MAX   ((1u << 23) - 1)
#define TT_KEPT_NAME_BYTES   12u /* "0000042.val" with a final zero */

static inline bool tt_kept_is(uint64_t place)
{
    return place >> 63 != 0;
}
static inline uint64_t tt_kept_place(uint32_t number, uint64_t byte)
{
    return UINT64_C(1) << 63 | (uint64_t)number << 40 | byte;
}
static inline uint32_t tt_kept_number(uint64_t place)
{
    return (uint32_t)(place >> 40) & TT_KEPT_NUMBER_MAX;
}
static inline uint64_t tt_kept_byte(uint64_t place)
{
    return place & ((UINT64_C(1) << 40) - 1);
}

void tt_kept_name(uint32_t number, char name[TT_KEPT_NAME_BYTES]);
/* TT_OK, TT_EINVAL: not the name of a kept file. */
TT_MUST_USE enum tt_status tt_kept_name_parse(const char *name, uint32_t *number);
/* "<directory>/<name>". TT_OK; TT_EINVAL: longer than `bytes`. */
TT_MUST_USE enum tt_status tt_kept_path(const char *directory, uint32_t number, char *path,
                                        size_t bytes);

void tt_kept_header_encode(uint8_t out[TT_KEPT_HEADER_BYTES], uint32_t number,
                           const struct tt_record_segment *identity);
/* bytes: the file's first TT_KEPT_HEADER_BYTES. TT_OK; TT_ECORRUPT: not a kept file of this
 * partition with this number; TT_EVERSION. */
TT_MUST_USE enum tt_status tt_kept_header_check(struct tt_bytes bytes, uint32_t number,
                                                const struct tt_record_segment *identity);

/* The kept files and the checkpoint that there are: what keep_load.h finds. A zeroed one: nothing.
 */
struct tt_kept_file {
    uint32_t number;
    uint64_t bytes;
};
struct tt_kept_files {
    struct tt_kept_file *files; /* by rising number; owned */
    uint32_t count;
    uint32_t capacity_;
    uint32_t next;             /* number of the next one to be made */
    uint64_t checkpoint_bytes; /* of the checkpoint; 0: none */
    uint64_t checkpoint_place; /* where a start-up would walk from */
};
void tt_kept_files_deinit(struct tt_kept_files *files);
/* Adds the one with the highest number. TT_OK, TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_kept_files_add(struct tt_kept_files *files, uint32_t number,
                                             uint64_t bytes);
/* Places in kept files below it are gone. */
uint64_t tt_kept_files_from(const struct tt_kept_files *files);
uint64_t tt_kept_files_bytes(const struct tt_kept_files *files);

#endif
