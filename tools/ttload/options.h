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
#define TT_OPTION_FIELD_SHARE  uint64_t /* thousandths of a per cent */
#define TT_OPTION_FIELD_RATE   uint64_t /* thousandths of one a second */
#define TT_OPTION_FIELD_FLAG   bool
#define TT_OPTION_FIELD_TEXT   const char *

/* The order of the choices in the tables. */
enum tt_publish_form { TT_PUBLISH_NDJSON = 0, TT_PUBLISH_SINGLE };
enum tt_channel_distribution {
    TT_CHANNELS_SEQUENTIAL = 0,
    TT_CHANNELS_UNIFORM,
    TT_CHANNELS_ZIPF,
    TT_CHANNELS_HOT,
};
enum tt_event_distribution { TT_EVENTS_EVEN = 0, TT_EVENTS_ZIPF, TT_EVENTS_HOT };
enum tt_slow_kind { TT_SLOW_STOP = 0, TT_SLOW_BURSTS, TT_SLOW_TRICKLE };
enum tt_cut_kind { TT_CUT_ANY = 0, TT_CUT_INSIDE, TT_CUT_BETWEEN };
enum tt_cut_order { TT_CUT_SPREAD = 0, TT_CUT_TOGETHER };

/* The policies that --policy shares the clients among. */
enum tt_share { TT_SHARE_REPLAY = 0, TT_SHARE_CONFLATE, TT_SHARE_DISCONNECT, TT_SHARES };

struct tt_run_options {
#define TT_OPTION(kind, field, name, preset, min, max, choices, help) TT_OPTION_FIELD_##kind field;
#define TT_OPTION_ALIAS(kind, field, name, of, min, max)
#include "tools/ttload/options_run.def"
#undef TT_OPTION
#undef TT_OPTION_ALIAS
    struct tt_address address; /* from --url */
    char prefix[256];
    uint64_t policy_share[TT_SHARES]; /* from --policy: thousandths of a per cent, 100 together */
};

struct tt_feed_options {
#define TT_OPTION(kind, field, name, preset, min, max, choices, help) TT_OPTION_FIELD_##kind field;
#include "tools/ttload/options_feed.def"
#undef TT_OPTION
    struct tt_address address;
    char prefix[256];
};

enum tt_io_kind tt_options_io_kind(uint64_t choice);

/* "12.5" -> 12500; at most three decimals, at most `max` thousandths. TT_OK; TT_EINVAL. */
TT_MUST_USE enum tt_status tt_options_thousandths(struct tt_bytes text, uint64_t max,
                                                  uint64_t *value);

/* argv without the program and the subcommand. TT_OK; TT_END: --help was given and printed on
 * standard output; TT_EINVAL: an error was written to `error`. */
TT_MUST_USE enum tt_status tt_run_options_parse(struct tt_run_options *options, int argc,
                                                char **argv, char *error, size_t error_bytes);
TT_MUST_USE enum tt_status tt_feed_options_parse(struct tt_feed_options *options, int argc,
                                                 char **argv, char *error, size_t error_bytes);
/* Calls `each` for every option, in the table's order, before it returns. preset: the value is that
 * of the table. `value` is valid during the call. */
void tt_run_options_each(const struct tt_run_options *options,
                         void (*each)(void *context, const char *name, const char *value,
                                      bool preset),
                         void *context);
/* What one option allows because of another (options_check.c); takes --policy apart, lowers threads
 * to clients. As tt_run_options_parse(). */
TT_MUST_USE enum tt_status tt_run_options_check(struct tt_run_options *options, char *error,
                                                size_t error_bytes);
/* "http://127.0.0.1:8080/prefix" -> address and prefix ("" or "/prefix"). Without a port: 80. */
TT_MUST_USE enum tt_status tt_options_url(const char *url, struct tt_address *address, char *prefix,
                                          size_t prefix_bytes);

#endif
