/* Files in memory for tests of the store: recovery's blocking access, and a hand that carries out a
 * log's operations. Every file remembers what of it was synced, so a test can pull the plug. */
#ifndef TT_TESTS_SUPPORT_STORE_RIG_H
#define TT_TESTS_SUPPORT_STORE_RIG_H

#include "store/log.h"
#include "store/recovery.h"

#define STORE_RIG_FILES_MAX 256

struct store_rig_file {
    char path[TT_LOG_PATH_BYTES];
    uint8_t *data;
    size_t size, capacity;
    uint8_t *synced; /* content at the last sync */
    size_t synced_size;
    bool exists;
    bool directory;
};

struct store_rig {
    struct store_rig_file files[STORE_RIG_FILES_MAX];
    int count;
    struct tt_files access;
    uint64_t read_bytes; /* by recovery */
    /* The log: */
    struct tt_recovered *recovered;
    struct tt_tail_readers *readers;
    struct tt_tail *tail;
    struct tt_log *log;
    struct tt_log_now now;
    uint64_t sequence; /* the one reader's */
    /* Asked before each operation of the log: 0: carry it out; else it has this result instead. For
     * a write, a positive result is how much of it is written. */
    int32_t (*fault)(struct store_rig *rig, const struct tt_log_operation *op);
    int fault_left;
    bool fault_hit;
    char error[TT_RECOVERY_ERROR_BYTES];
};

struct store_rig_options {
    uint32_t partitions;
    enum tt_log_policy policy;
    uint64_t segment_bytes;
    size_t tail_bytes;
    size_t event_bytes_max;
    struct tt_retention retention;
    uint32_t channels_max;
    bool forget_values;
    bool mirror;         /* then: */
    const char *history; /* null: "mirror" */
    uint64_t key;
    uint32_t slots;
    uint64_t begin; /* of partition 0, if it is empty */
};

void store_rig_init(struct store_rig *rig);
void store_rig_deinit(struct store_rig *rig);
/* Recovers, and opens partition 0 with one reader. The status of recovery. */
enum tt_status store_rig_open(struct store_rig *rig, const struct store_rig_options *options);
/* Recovery alone. */
enum tt_status store_rig_recover(struct store_rig *rig, const struct store_rig_options *options);
/* Carries out what the log wants until it wants nothing more. */
void store_rig_run(struct store_rig *rig);
/* One operation. False: there is none. */
bool store_rig_step(struct store_rig *rig);
/* The reader reads everything and ends a turn. Returns the events read. */
uint32_t store_rig_read(struct store_rig *rig);
/* Ends the log cleanly; it is closed when this returns. */
void store_rig_close(struct store_rig *rig);
/* The process dies: log and tail are gone, files stay as they are. */
void store_rig_kill(struct store_rig *rig);
/* The machine dies: every file is what it was when it was last synced. */
void store_rig_power_cut(struct store_rig *rig);
/* The file, or null. */
struct store_rig_file *store_rig_find(struct store_rig *rig, const char *path);
/* Appends one event of that payload size. */
enum tt_status store_rig_append(struct store_rig *rig, const char *channel, size_t payload_bytes,
                                uint64_t *offset, uint64_t *end_place);
/* Walks all segments from the oldest on with tt_reader; *first and *next: offsets found, of events
 * and holes, which have to follow each other without a gap (asserted). Returns the events. */
uint64_t store_rig_walk(struct store_rig *rig, uint64_t *first, uint64_t *next, uint64_t *holes);

#endif
