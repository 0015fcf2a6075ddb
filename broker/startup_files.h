/* Blocking file access for the recovery of the log, at start only: while the broker serves, files
 * are reached through the shards' io and nothing else. Thread: start-up. Memory: none. */
#ifndef TT_BROKER_STARTUP_FILES_H
#define TT_BROKER_STARTUP_FILES_H

#include "store/recovery.h"

extern const struct tt_files tt_startup_files; /* context is not used */

#endif
