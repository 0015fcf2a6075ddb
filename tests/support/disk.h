/* A disk in memory that can lose its power: what tests of the store write to.
 *
 * It keeps apart what a process sees (the page cache) and what is certain to be there after a cut:
 * bytes and sizes of a file that were synced, names that were made, renamed or removed before their
 * directory was synced. disk_power_cut() decides about everything else from a seed: kept, dropped,
 * torn or reordered, to the granularity of a sector; names one by one, or as a journal would.
 *
 * A sync that fails is the last chance of what was to be synced: it stays visible, and no later
 * sync makes it certain. That is what Linux does.
 *
 * Faults: every operation has a number, through both doors (recovery's blocking table, and
 * disk_do() for a log's operations); the one that is chosen fails. Thread: one. */
#ifndef TT_TESTS_SUPPORT_DISK_H
#define TT_TESTS_SUPPORT_DISK_H

#include "store/log.h"
#include "store/recovery.h"

#define DISK_FILES_MAX   1024 /* files that there ever were */
#define DISK_PENDING_MAX 512  /* changes of names that are not synced */
#define DISK_SECTOR      512u

struct disk_range {
    uint64_t begin, end;
    bool lost; /* a sync of it has failed */
};
struct disk_file {
    uint8_t *data; /* as the process sees it */
    uint64_t size, capacity;
    uint8_t *durable; /* as it is after a cut that drops everything */
    uint64_t durable_size, durable_capacity;
    uint64_t size_min, size_max; /* since the last sync */
    struct disk_range *dirty;
    uint32_t dirty_count, dirty_capacity;
    bool directory;
};
struct disk_name {
    char path[TT_LOG_PATH_BYTES];
    int32_t file;
};
struct disk_names {
    struct disk_name items[DISK_FILES_MAX];
    uint32_t count;
};
struct disk_change { /* from empty: made; to empty: removed; else renamed */
    char from[TT_LOG_PATH_BYTES], to[TT_LOG_PATH_BYTES];
    int32_t file;
};

enum disk_fault_kind {
    DISK_FAULT_NONE = 0,
    DISK_FAULT_ERROR, /* it fails with fault_status, and has done nothing */
    DISK_FAULT_SHORT, /* a write takes half of it, then fails the next time; others: an error */
    DISK_FAULT_DEAD,  /* it and all that follow fail: the power is gone */
};

struct disk {
    struct disk_file files[DISK_FILES_MAX];
    int32_t count;
    struct disk_names names, durable_names;
    struct disk_change changes[DISK_PENDING_MAX];
    uint32_t changes_count;
    struct tt_files access;
    uint64_t random;
    uint64_t read_bytes; /* by recovery */
    /* faults */
    uint64_t operations;  /* that there were */
    uint64_t fault_at;    /* the number of the one that fails, from 1 on */
    uint64_t fault_until; /* ... and those up to here */
    enum disk_fault_kind fault;
    enum tt_status fault_status;
    bool fault_hit;
    char fault_what[TT_LOG_PATH_BYTES + 32];
};

struct disk *disk_create(uint64_t seed); /* with the directory "data" */
void disk_destroy(struct disk **disk);
uint64_t disk_random(struct disk *disk); /* the disk's own, from its seed */
uint64_t disk_below(struct disk *disk, uint64_t n);
/* Carries an operation of a log out; its result. */
int32_t disk_do(struct disk *disk, const struct tt_log_operation *op);
/* A write that is under way when the process or the machine dies: some of it. */
void disk_do_partly(struct disk *disk, const struct tt_log_operation *op);
void disk_power_cut(struct disk *disk);
/* The file of that name, or null. */
struct disk_file *disk_find(struct disk *disk, const char *path);
/* Ends the faults. */
void disk_heal(struct disk *disk);

#endif
