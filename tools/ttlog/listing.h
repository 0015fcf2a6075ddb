/* A log's directory as it is on disk now: META, and of each partition the files that lie in it.
 *
 * Nothing is changed, nothing is locked, and nothing but the beginnings of files is read, so a log
 * that a broker is writing can be looked at as well. What is wrong with a file is noted, not
 * refused: who looks decides. Files are reached through tt_startup_files. Thread: one. Memory: all
 * of a listing is its own. */
#ifndef TT_TTLOG_LISTING_H
#define TT_TTLOG_LISTING_H

#include "broker/kafka/mirror_file.h"
#include "store/ceiling.h"
#include "store/meta.h"
#include "store/record.h"
#include "store/recovery.h"
#include "store/segment.h"

#define TT_LISTING_PATH_BYTES  640u
#define TT_LISTING_ERROR_BYTES 800u

/* A segment file. */
struct tt_listing_file {
    uint64_t first_offset; /* as it is named */
    uint64_t bytes;
    bool valid;   /* it begins as a segment of this log and partition, with this first offset */
    bool foreign; /* it begins as one, but of another log, partition or offset */
    struct tt_record_segment identity; /* valid or foreign */
    uint64_t own_offset;               /* valid or foreign: by its header */
    uint64_t base_place;               /* valid */
    uint64_t durable_place;            /* valid: of the BATCH behind the header; 0: that is bad */
    int64_t taken_max_us;              /* valid: newest taken_us of all segments before */
};
/* Any other file of a partition but its ceiling. */
struct tt_listing_other {
    char *name;
    uint64_t bytes;
};

struct tt_listing_partition {
    uint32_t number;
    char directory[TT_LISTING_PATH_BYTES];
    enum tt_status status;         /* TT_ENOENT, ...: the directory cannot be read */
    struct tt_listing_file *files; /* by rising first offset */
    uint32_t files_count, files_max;
    struct tt_listing_other *others; /* by name */
    uint32_t others_count, others_max;
    enum tt_status ceiling_status; /* TT_OK, TT_ECORRUPT, TT_ENOENT, TT_EIO */
    struct tt_ceiling ceiling;
};

struct tt_listing {
    struct tt_files files;
    const struct tt_files *io;  /* them: a listing is not copied */
    const char *directory;      /* borrowed */
    bool is_mirror;             /* of a Kafka topic: DIR/MIRROR is there, DIR is DATA/kafka/TOPIC */
    struct tt_mirror mirror;    /* what it says; generation 0 and no texts: it is damaged */
    bool live;                  /* a broker holds DIR/LOCK, or DATA/LOCK */
    char owner[32];             /* live: its process id, as far as it is known */
    enum tt_status meta_status; /* TT_OK; TT_ENOENT, TT_ECORRUPT: meta was guessed from a segment */
    const char *meta_why;       /* TT_ECORRUPT: what is wrong with it */
    bool meta_known;            /* meta holds values, read or guessed */
    struct tt_meta meta;
    struct tt_listing_partition *partitions; /* meta.partitions of them (mirrors: and slots behind
                                              * that were used since), or those that have a
                                              * directory where META is gone */
    uint32_t partitions_count;
};

/* TT_OK, also where files are damaged; else *error says in one line why the log cannot be looked
 * at: TT_ENOENT (no log is there), TT_EACCES, TT_EVERSION, TT_EIO, TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_listing_open(struct tt_listing *view, const char *directory,
                                           char error[TT_LISTING_ERROR_BYTES]);
void tt_listing_close(struct tt_listing *view);
/* Looks at a partition's directory again: files appear and go while a broker runs. TT_OK,
 * TT_ENOMEM; partition->status says the rest. */
TT_MUST_USE enum tt_status tt_listing_refresh(const struct tt_listing *view,
                                              struct tt_listing_partition *partition);

/* "<directory>/<name of the segment>". */
void tt_listing_path(const struct tt_listing_partition *partition,
                     const struct tt_listing_file *file, char path[TT_LISTING_PATH_BYTES]);
/* Where a valid file's records end at the latest: where the next valid one begins, or the file's
 * end; *sealed: the first of these. */
uint64_t tt_listing_end(const struct tt_listing_partition *partition, uint32_t index, bool *sealed);
/* The segment of a valid file, as store/ wants it. */
struct tt_segment tt_listing_segment(const struct tt_listing_partition *partition, uint32_t index);
/* The file that holds the first event at or above the offset, or files_count: there is none. */
uint32_t tt_listing_find(const struct tt_listing_partition *partition, uint64_t offset);

#endif
