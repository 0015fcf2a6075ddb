/* Blocking file access for the recovery of the log, at start only: while the broker serves, files
 * are reached through the shards' io and nothing else. Thread: start-up. Memory: none. */
#ifndef TT_BROKER_STARTUP_FILES_H
#define TT_BROKER_STARTUP_FILES_H

#include "store/recovery.h"

struct tt_faults;

/* faults: what is to go wrong, for tests; null: nothing. Borrowed by the table. */
struct tt_files tt_startup_files(struct tt_faults *faults);

#endif
