/* The inside of recovery: recovery.c opens the directory, recovery_scan.c finds a partition's end.
 */
#ifndef TT_STORE_RECOVERY_INTERNAL_H
#define TT_STORE_RECOVERY_INTERNAL_H

#include "store/ceiling.h"
#include "store/record.h"
#include "store/recovery.h"

#define TT_RECOVERY_PATH_BYTES 320u
/* One window of the scan: the largest record and a chunk's worth more. */
#define TT_RECOVERY_WINDOW_BYTES (8u << 20)

struct tt_recovery {
    const struct tt_recovery_options *options;
    const struct tt_files *files;
    struct tt_recovered *log;
    uint8_t *window; /* TT_RECOVERY_WINDOW_BYTES */
    char *error;     /* TT_RECOVERY_ERROR_BYTES */
};

/* Says what is wrong with a file, and returns the status. */
enum tt_status tt_recovery_fail(struct tt_recovery *r, enum tt_status status, const char *path,
                                const char *format, ...) TT_PRINTF(4, 5);

/* Finds where the partition's segments end, cuts off what is torn; fills segments, place,
 * next_offset (before any hole), oldest_offset, times and what is told. */
TT_MUST_USE enum tt_status tt_recovery_scan(struct tt_recovery *r, uint32_t index,
                                            struct tt_recovered_partition *partition);

/* Notes `count` events with a key: of a record that was walked, or of an index file. In any order;
 * what follows what was noted last is joined to it. TT_OK, TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_recovery_take_key(const struct tt_recovery *r,
                                                struct tt_recovered_partition *partition,
                                                const struct tt_record_idempotency *block,
                                                uint64_t first_offset, uint32_t count,
                                                int64_t taken_us);
/* Puts what was noted in order, joins what belongs together, and keeps the newest keys_max. */
void tt_recovery_finish_keys(const struct tt_recovery *r, struct tt_recovered_partition *partition);

#endif
