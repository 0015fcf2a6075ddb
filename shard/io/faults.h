/* Faults of files, for tests: the n-th operation fails, is short, is interrupted or is slow.
 *
 * A plan holds rules, each the text of one --test-fault=SPEC: keys with values, separated by
 * commas,
 *
 *     error=EIO|ENOSPC|EDQUOT|EROFS|EACCES|EMFILE|EINTR|short    what happens, or
 *     delay_ms=N       it is done that much later (1 to 60,000)
 *     kind=K|K...      which operations: open, close, preallocate, read, write, sync, truncate,
 *                      rename, unlink, list, mkdir (default: all)
 *     path=GLOB        of which file, as fnmatch(3) without flags: * passes over slashes (default:
 * all) n=N              the first operation of that kind and path that it happens to (default 1)
 *     times=N|forever  how often from then on (default 1)
 *     while=FILE       only while that file exists: a fault that is switched on and off
 *
 * Every operation that fits a rule's kind and path is counted, whether or not it is struck, so that
 * a sweep over n knows when it is through. Operations of start-up (broker/startup_files.c) and of
 * all shards' ios count together, in the order in which they are begun.
 *
 * EINTR and short are invisible to whoever keeps the contract of io.h: the back end repeats what
 * was interrupted, the caller goes on behind what was done. Of an operation that fails nothing was
 * done, but for close: the file is closed all the same.
 *
 * Without a plan nothing of this costs anything: the table of functions of an io is exchanged for
 * one that asks the plan first (tt_io_faults_wrap), or it is not.
 *
 * Thread: adding at start-up; next and figures from any. Memory: owned by the plan. */
#ifndef TT_SHARD_IO_FAULTS_H
#define TT_SHARD_IO_FAULTS_H

#include "shard/io/io.h"

struct tt_faults;

enum tt_fault_kind {
    TT_FAULT_OPEN = 0,
    TT_FAULT_CLOSE,
    TT_FAULT_PREALLOCATE,
    TT_FAULT_READ,
    TT_FAULT_WRITE,
    TT_FAULT_SYNC,
    TT_FAULT_TRUNCATE,
    TT_FAULT_RENAME,
    TT_FAULT_UNLINK,
    TT_FAULT_LIST,           /* start-up only */
    TT_FAULT_MAKE_DIRECTORY, /* start-up only */
    TT_FAULT_KINDS,
};

/* What is to happen to one operation. All zero: nothing. */
struct tt_fault {
    int error;    /* errno with which it fails; EINTR: it is interrupted once */
    bool shorten; /* a read or write does only a part, at least one byte */
    uint64_t delay_ns;
};

#define TT_FAULT_RULES_MAX 16u

TT_MUST_USE enum tt_status tt_faults_create(struct tt_faults **faults);
void tt_faults_destroy(struct tt_faults **faults);
/* Adds a rule. TT_OK; TT_EINVAL: *why says what is wrong (also: too many rules); TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_faults_add(struct tt_faults *faults, const char *spec, char *why,
                                         size_t why_bytes);
/* An operation begins: counts it, and says what is to happen to it. `path` as it was opened; a
 * rename is asked for by its new name. */
struct tt_fault tt_faults_next(struct tt_faults *faults, enum tt_fault_kind kind, const char *path);
/* The same for an open file, whose path is asked of the system. */
struct tt_fault tt_faults_next_of_file(struct tt_faults *faults, enum tt_fault_kind kind,
                                       tt_file file);
/* How much a read or write that is cut short does of `size` > 0 bytes. */
size_t tt_fault_short_bytes(size_t size);

struct tt_fault_figures {
    const char *spec;
    uint64_t matched; /* operations of this kind and path */
    uint64_t struck;
};
unsigned tt_faults_count(const struct tt_faults *faults);
struct tt_fault_figures tt_faults_figures(const struct tt_faults *faults, unsigned index);

/* Puts the plan between the caller and the file operations of `io`, for good. Thread: the io's,
 * before its first operation. faults: borrowed, outlives the io. The tokens of operation 255 are
 * not the caller's any more. TT_OK; TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_io_faults_wrap(struct tt_io *io, struct tt_faults *faults);

#endif
