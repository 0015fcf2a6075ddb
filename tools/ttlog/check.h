/* Reads a log whole and finds what is wrong with it: what `verify` prints and `repair` mends.
 *
 * Thread: one. Memory: the list of findings. */
#ifndef TT_TTLOG_CHECK_H
#define TT_TTLOG_CHECK_H

#include "tools/ttlog/walk.h"

enum tt_finding_kind {
    TT_FINDING_META_MISSING = 0,
    TT_FINDING_META,       /* its bytes are bad */
    TT_FINDING_DIRECTORY,  /* of a partition: cannot be read */
    TT_FINDING_CEILING,    /* missing, or both slots are bad */
    TT_FINDING_FOREIGN,    /* a segment of another log, partition or offset */
    TT_FINDING_RECORDS,    /* bytes from `place` to `end` are no records */
    TT_FINDING_MISSING,    /* the file ends at `place`, but the next one begins at `end` */
    TT_FINDING_BESIDE,     /* a file that is made from the segments is bad */
    TT_FINDING_VALUE,      /* a record that is whole, but says what cannot be */
    TT_FINDING_TORN,       /* an unfinished write: the next start cuts it off. No damage */
    TT_FINDING_UNREADABLE, /* the device failed, or a file cannot be opened */
    TT_FINDING_REFUSED,    /* recovery says something that nothing above explains */
};

struct tt_finding {
    enum tt_finding_kind kind;
    uint32_t partition;               /* UINT32_MAX: of the whole log */
    char path[TT_LISTING_PATH_BYTES]; /* the file */
    uint64_t byte;                    /* in it */
    uint64_t file_offset;             /* RECORDS, MISSING: first offset of the segment, its name */
    uint64_t base;                    /* RECORDS, MISSING: place of the segment's first byte */
    uint64_t place, end;              /* RECORDS, MISSING, TORN */
    uint64_t lost_first, lost_end;    /* offsets of the events that were there */
    int64_t taken_max_us;             /* RECORDS, MISSING: of all events before */
    enum tt_status status;            /* DIRECTORY: why */
    bool misnamed; /* FOREIGN: it is a segment of this partition; and its first offset: */
    uint64_t own_offset;
    uint64_t behind; /* TORN: whole events behind the bad bytes, which are cut off with them */
    char what[TT_RECOVERY_ERROR_BYTES]; /* one clause */
};

struct tt_check {
    struct tt_listing *view;
    struct tt_walk walk;
    struct tt_finding *items;
    uint32_t count, max;
    uint64_t records, events, bytes; /* that were read and are good */
    uint64_t torn;                   /* of the events: behind an unfinished write */
    uint32_t segments;
};

/* The view is the caller's; files of it whose beginning is bad get the place that others give them,
 * those that are no part of the log are left out. TT_OK, TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_check_init(struct tt_check *check, struct tt_listing *view);
void tt_check_deinit(struct tt_check *check);
/* partition: or UINT32_MAX for all. Findings are added in the order of files and bytes. TT_OK,
 * whatever was found; TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_check_run(struct tt_check *check, uint32_t partition);
/* Whether it is damage: anything but TORN. */
bool tt_finding_is_damage(const struct tt_finding *finding);
bool tt_check_damaged(const struct tt_check *check);
/* Would the broker open this log? Runs the recovery itself, with writes that do nothing. TT_OK, or
 * what it fails with, and *error what it says. Not while a broker runs on it. */
TT_MUST_USE enum tt_status tt_check_recovery(const struct tt_listing *view,
                                             char error[TT_RECOVERY_ERROR_BYTES]);

#endif
