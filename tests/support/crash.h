/* Lives and deaths of one partition's log, from a seed: appends, file work in any order, clean
 * ends, kills and power cuts, also in the middle of a start; and after each the question whether
 * the log is what it promised to be. See store/README.md, "When what is promised".
 *
 * What must hold is written in crash_check.c. A seed decides everything, so what failed can be had
 * again: crash_run(seed) with the same options. Thread: one. */
#ifndef TT_TESTS_SUPPORT_CRASH_H
#define TT_TESTS_SUPPORT_CRASH_H

#include <setjmp.h>

#include "tests/support/disk.h"

#define CRASH_CHANNELS_MAX   24u
#define CRASH_PROBLEM_BYTES  1024u
#define CRASH_KEYS_WINDOW_US INT64_C(20000000)

/* What was appended and is not known to be lost; by rising offset. */
struct crash_event {
    uint64_t offset, place, end_place;
    uint64_t id; /* stands in the payload: no two events have the same */
    uint32_t channel, payload_bytes, flags;
    int64_t taken_us;
    uint64_t key;  /* of its batch; 0: none */
    bool seen;     /* a reader had it */
    bool answered; /* the publisher was told that it is there */
};

enum crash_end { CRASH_CLEAN = 0, CRASH_KILLED, CRASH_CUT };

/* One operation of the disk fails, or that and all behind it until the process has ended. */
struct crash_faults {
    uint64_t at; /* its number, from 1 on */
    bool for_ever;
    enum disk_fault_kind kind;
    enum tt_status status;
    uint64_t operations; /* out: that there were */
};

struct crash {
    uint64_t seed;
    struct crash_faults *faults; /* null: power cuts and kills instead */
    bool read_only;              /* the log was, in this life */
    struct disk *disk;
    struct crash_event *events;
    uint32_t count, capacity;
    uint64_t ids;
    uint64_t seen_end; /* behind the highest offset that was ever seen: none below is used again */
    uint64_t oldest;   /* as the last life told it */
    uint64_t holes;    /* that are in the log */
    /* how the last life ended, and what it had promised */
    enum crash_end end;
    enum tt_log_policy policy;
    uint64_t durable_place, written_place;
    bool first; /* there was no life yet */
    /* this life */
    struct tt_recovered *recovered;
    struct tt_tail_readers *readers;
    struct tt_tail *tail;
    struct tt_log *log;
    struct tt_log_now now;
    uint64_t sequence;
    struct tt_log_operation flights[TT_LOG_LANES];
    bool flying[TT_LOG_LANES];
    uint64_t segment_bytes;
    struct tt_retention retention;
    uint32_t channels;
    bool forgot; /* in some life values of retired segments were not kept */
    char error[TT_RECOVERY_ERROR_BYTES];
    /* the run */
    jmp_buf out;
    char *problem;
    uint64_t lives, cuts, kills, torn, retired;
    bool trace; /* TT_TRACE: tells what happens on the standard error */
};

/* True: all was well. Else problem[CRASH_PROBLEM_BYTES] says what was not, with the seed. */
bool crash_run(uint64_t seed, char problem[CRASH_PROBLEM_BYTES]);

/* The same with a fault: two lives that end themselves, with it somewhere, and a start without. */
bool crash_run_with_fault(uint64_t seed, struct crash_faults *faults,
                          char problem[CRASH_PROBLEM_BYTES]);

/* ---- inside ---- */
void crash_fail(struct crash *c, const char *format, ...) TT_PRINTF(2, 3) __attribute__((noreturn));
#define CRASH_CHECK(c, condition, ...)                                                             \
    do {                                                                                           \
        if (!(condition)) crash_fail(c, __VA_ARGS__);                                              \
    } while (0)
/* The log was recovered: is it what the last life promised? Forgets the events that are lost. */
void crash_check_recovered(struct crash *c);
/* The log is open again, with its hole. */
void crash_check_opened(struct crash *c);
/* Keys of batches, when the log was recovered. */
void crash_check_keys(struct crash *c);
/* Values, the newest events, ranges, index files, at any time. */
void crash_check_values(struct crash *c);
bool crash_is_event(const struct tt_record *record, const struct crash_event *e);
const char *crash_channel(uint32_t channel, char name[32]);

#endif
