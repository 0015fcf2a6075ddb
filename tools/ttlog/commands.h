/* The subcommands. Each prints to standard output (what went wrong: to standard error) and returns
 * the exit status, enum tt_ttlog_exit. Thread: one. */
#ifndef TT_TTLOG_COMMANDS_H
#define TT_TTLOG_COMMANDS_H

#include "tools/ttlog/options.h"

int tt_ttlog_ls(const struct tt_ttlog_options *options);
int tt_ttlog_dump(const struct tt_ttlog_options *options);
int tt_ttlog_verify(const struct tt_ttlog_options *options);
int tt_ttlog_cursor(const struct tt_ttlog_options *options);
int tt_ttlog_repair(const struct tt_ttlog_options *options);

#endif
