/* One life of the broker: from a checked configuration to the end of the last thread.
 * Thread: the main one, which becomes the control thread. */
#ifndef TT_BROKER_SERVE_H
#define TT_BROKER_SERVE_H

#include "broker/config.h"

/* Locks the data directory, opens the log, starts the shards, serves until it is told to end, and
 * stops everything in order. TT_OK; else *error holds one line. */
TT_MUST_USE enum tt_status tt_serve(const struct tt_config *config, int arguments_count,
                                    char *const *arguments, char *const *environment,
                                    char error[TT_CONFIG_ERROR_MAX]);

#endif
