/* The inside of recovery: recovery.c opens the directory, recovery_scan.c finds a partition's end.
 */
#ifndef TT_STORE_RECOVERY_INTERNAL_H
#define TT_STORE_RECOVERY_INTERNAL_H

#include "store/ceiling.h"
#include "store/meta.h"
#include "store/record.h"
#include "store/recovery.h"

#define TT_RECOVERY_PATH_BYTES 576u
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
enum tt_status tt_recovery_plain_fail(struct tt_recovery *r, enum tt_status status,
                                      const char *path);
/* "<directory>/<name>". */
void tt_recovery_join(char path[TT_RECOVERY_PATH_BYTES], const char *directory, const char *name);
/* TT_OK; TT_ENOENT: there is none, and no error is told. */
TT_MUST_USE enum tt_status tt_recovery_read_meta(struct tt_recovery *r, struct tt_meta *meta);
/* Durably, in place of the one there is. */
TT_MUST_USE enum tt_status tt_recovery_write_meta(struct tt_recovery *r,
                                                  const struct tt_meta *meta);
/* The log's partitions, with the names of their directories. */
TT_MUST_USE enum tt_status tt_recovery_allocate(struct tt_recovery *r, uint32_t partitions);
/* Frees what a partition holds but its directory's name, and leaves it empty. */
void tt_recovery_reset(struct tt_recovered_partition *partition);

/* ---- recovery_mirror.c ---- */
TT_MUST_USE enum tt_status tt_recovery_open_mirror(struct tt_recovery *r);

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

/* ---- recovery_values.c: what stands where ---- */
/* Loads checkpoint and kept files; oldest_place: where the oldest segment begins. *walk_place:
 * segments have to be walked from there on. */
TT_MUST_USE enum tt_status tt_recovery_load_values(struct tt_recovery *r, uint32_t index,
                                                   struct tt_recovered_partition *p,
                                                   uint64_t oldest_offset, uint64_t oldest_place,
                                                   uint64_t *walk_place);
/* A segment is walked from its beginning. */
void tt_recovery_begin_segment(struct tt_recovery *r, struct tt_recovered_partition *p,
                               uint64_t first_offset, uint64_t base_place);
/* One of its records. TT_OK; TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_recovery_take_record(struct tt_recovery *r,
                                                   struct tt_recovered_partition *p,
                                                   const struct tt_record *record, uint64_t place);
/* The keys of the sealed segment out of its index file. TT_OK; TT_ENOENT: it has none, or a damaged
 * one: walk the segment; TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_recovery_keys_of_index(struct tt_recovery *r, uint32_t index,
                                                     struct tt_recovered_partition *p,
                                                     const struct tt_segment *segment);
/* Removes index files that belong to no sealed segment, and syncs the directory. offsets: of those
 * that are there, count of them; marks the segments that have one. */
TT_MUST_USE enum tt_status tt_recovery_settle_indexes(struct tt_recovery *r,
                                                      struct tt_recovered_partition *p,
                                                      const uint64_t *offsets, uint32_t count);
/* Notes what is wrong with a file, the first time: the log can be opened all the same. */
void tt_recovery_note(struct tt_recovered_partition *p, const char *path, const char *format, ...)
    TT_PRINTF(3, 4);

#endif
