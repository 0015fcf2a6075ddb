/* The command line of ttload, from one table for each subcommand (options_run.def,
 * options_feed.def): it gives the fields, the parser and the text of --help.
 *
 * Every error is one line that names the option, the value given, and what is allowed.
 * Thread: startup. Memory: texts point into argv or into the table. */
#ifndef TT_TOOLS_TTLOAD_OPTIONS_H
#define TT_TOOLS_TTLOAD_OPTIONS_H

#include <stdbool.h>
#include <stdio.h>

#include "shard/io/io.h"

/* The types of the fields that the tables name. */
#define TT_OPTION_FIELD_NUMBER uint64_t
#define TT_OPTION_FIELD_BYTES  uint64_t /* takes KiB, MiB */
#define TT_OPTION_FIELD_TIME   uint64_t /* milliseconds; takes ms, s, m, h */
#define TT_OPTION_FIELD_CHOICE uint64_t /* the index in the list of choices */
#define TT_OPTION_FIELD_FLAG   bool
#define TT_OPTION_FIELD_TEXT   const char *

struct tt_run_options {
#define TT_OPTION(kind, field, name, preset, min, max, choices, help) TT_OPTION_FIELD_##kind field;
#include "tools/ttload/options_run.def"
#undef TT_OPTION
    struct tt_address address; /* from --url */
    char prefix[256];
};

struct tt_feed_options {
#define TT_OPTION(kind, field, name, preset, min, max, choices, help) TT_OPTION_FIELD_##kind field;
#include "tools/ttload/options_feed.def"
#undef TT_OPTION
    struct tt_address address;
    char prefix[256];
};

/* The order of the choices in the tables. */
enum tt_publish_form { TT_PUBLISH_NDJSON = 0, TT_PUBLISH_SINGLE };
enum tt_io_kind tt_options_io_kind(uint64_t choice);

/* argv without the program and the subcommand. TT_OK; TT_END: --help was given and printed on
 * standard output; TT_EINVAL: an error was written to `error`. */
TT_MUST_USE enum tt_status tt_run_options_parse(struct tt_run_options *options, int argc,
                                                char **argv, char *error, size_t error_bytes);
TT_MUST_USE enum tt_status tt_feed_options_parse(struct tt_feed_options *options, int argc,
                                                 char **argv, char *error, size_t error_bytes);
/* "http://127.0.0.1:8080/prefix" -> address and prefix ("" or "/prefix"). Without a port: 80. */
TT_MUST_USE enum tt_status tt_options_url(const char *url, struct tt_address *address, char *prefix,
                                          size_t prefix_bytes);

#endif
