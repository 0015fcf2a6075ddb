/* The segments of one partition, oldest first: which file holds which offsets and places.
 *
 * A plain list: the owner's log keeps one, and each shard keeps a copy that follows the owner's
 * messages (tt_log_take_notice). Segments lie one behind the other without a gap: each begins at
 * the place where the one before ends; places and offsets only rise. Only the newest grows.
 * Thread: the list's owner. Memory: one array that doubles. */
#ifndef TT_STORE_SEGMENT_H
#define TT_STORE_SEGMENT_H

#include <stdbool.h>

#include "proto/base/bytes.h"

#define TT_SEGMENT_GROWS UINT64_MAX /* end_place of the segment that is being written */

struct tt_segment {
    uint64_t first_offset; /* the next offset when it was begun; it names the file */
    uint64_t base_place;   /* of its first byte: file position = place - base_place */
    uint64_t end_place;    /* behind its last byte; TT_SEGMENT_GROWS */
    int64_t taken_max_us;  /* newest taken_us of its records and all before; INT64_MIN: none, or
                            * not known while it grows */
    bool indexed;          /* its index file is complete */
    bool no_index;         /* ... and there will be none: one was tried */
};

struct tt_segment_list {
    struct tt_segment *items; /* [0 .. count) */
    uint32_t count;
    uint32_t capacity_;
};

/* A zeroed list is an empty one. */
void tt_segment_list_deinit(struct tt_segment_list *list);
/* Makes room for so many more, so that the next adds cannot fail. TT_OK, TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_segment_list_reserve(struct tt_segment_list *list, uint32_t more);
/* Adds the newest. TT_OK, TT_ENOMEM. Its place and offset must follow the last one's (asserted:
 * recovery has checked what came from a disk). */
TT_MUST_USE enum tt_status tt_segment_list_add(struct tt_segment_list *list,
                                               const struct tt_segment *segment);
/* The segment with this base place, or null. */
struct tt_segment *tt_segment_list_at(const struct tt_segment_list *list, uint64_t base_place);
/* The newest will not grow any more. */
void tt_segment_list_seal(struct tt_segment_list *list, uint64_t base_place, uint64_t end_place,
                          int64_t taken_max_us);
/* The index file of that segment is complete. */
void tt_segment_list_indexed(struct tt_segment_list *list, uint64_t base_place);
/* Drops the oldest, which has this base place; does nothing if it is gone already. */
void tt_segment_list_retire(struct tt_segment_list *list, uint64_t base_place);

/* The segment that holds the record with the first offset >= `offset`, or null when that is older
 * than the list (expired) or the list is empty. It may be the newest although nothing of it is
 * written yet. */
const struct tt_segment *tt_segment_list_find_offset(const struct tt_segment_list *list,
                                                     uint64_t offset);
/* The segment in which the place lies, or null. */
const struct tt_segment *tt_segment_list_find_place(const struct tt_segment_list *list,
                                                    uint64_t place);
/* Bytes of all but the newest, if that still grows. */
uint64_t tt_segment_list_sealed_bytes(const struct tt_segment_list *list);

/* "00000000000000001042.seg" with a final zero. */
#define TT_SEGMENT_NAME_BYTES 25u
void tt_segment_name(uint64_t first_offset, char name[TT_SEGMENT_NAME_BYTES]);
/* The reverse, for names in a directory. TT_OK, TT_EINVAL: not the name of a segment. */
TT_MUST_USE enum tt_status tt_segment_name_parse(const char *name, uint64_t *first_offset);
/* "<directory>/<name>". TT_OK; TT_EINVAL: longer than `bytes`. */
TT_MUST_USE enum tt_status tt_segment_path(const char *directory, uint64_t first_offset, char *path,
                                           size_t bytes);

#endif
