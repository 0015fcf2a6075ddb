/* What the commands have in common: opening a log by its options, where a partition begins and
 * ends, and figures as text. Thread: one. */
#ifndef TT_TTLOG_FIGURES_H
#define TT_TTLOG_FIGURES_H

#include "tools/ttlog/options.h"
#include "tools/ttlog/walk.h"

/* Opens the log; says on standard error what is wrong. TT_TTLOG_GOOD, or what to exit with. */
int tt_ttlog_open(const struct tt_ttlog_options *options, const char *command,
                  struct tt_listing *view);
/* "ttlog COMMAND: PATH: what the status says" on standard error. Returns TT_TTLOG_FAILED. */
int tt_ttlog_fail(const char *command, const char *path, enum tt_status status);

/* Where a partition ends. */
struct tt_partition_end {
    uint64_t oldest;       /* first offset that the segments hold */
    uint64_t next;         /* behind the last record */
    uint64_t place;        /* where the next record goes */
    int64_t taken_max_us;  /* of all events; INT64_MIN: there were none */
    enum tt_status status; /* TT_OK; TT_ECORRUPT: read as far as bad bytes at `place` */
};
/* Reads the last chunk that was written. TT_OK, TT_EIO, ... */
TT_MUST_USE enum tt_status tt_partition_end(const struct tt_listing_partition *partition,
                                            struct tt_walk *walk, struct tt_partition_end *end);
/* The first event that was taken at that time or later, in the log's order: *offset is its, or the
 * next one's when there is none. TT_OK, TT_ECORRUPT, TT_EIO. */
TT_MUST_USE enum tt_status tt_partition_taken(const struct tt_listing_partition *partition,
                                              struct tt_walk *walk, int64_t taken_us,
                                              uint64_t *offset);

#define TT_FIGURE_BYTES 40u
/* "2026-11-26 14:00:00.123Z", or "-" for INT64_MIN. */
const char *tt_figure_time(int64_t us, char text[TT_FIGURE_BYTES]);
/* "350.0 MiB". */
const char *tt_figure_bytes(uint64_t bytes, char text[TT_FIGURE_BYTES]);

#endif
