/* ttlog's command line, from one table (options.def). Thread: one. Memory: patterns are the
 * options' own, texts are borrowed from argv. */
#ifndef TT_TTLOG_OPTIONS_H
#define TT_TTLOG_OPTIONS_H

#include "proto/event/channel.h"
#include "proto/event/position.h"

enum tt_ttlog_command {
    TT_TTLOG_LS = 0,
    TT_TTLOG_DUMP,
    TT_TTLOG_VERIFY,
    TT_TTLOG_CURSOR,
    TT_TTLOG_REPAIR,
    TT_TTLOG_COMMANDS,
};

/* Exit statuses. */
enum tt_ttlog_exit {
    TT_TTLOG_GOOD = 0,
    TT_TTLOG_DAMAGED = 1, /* damage was found, or is still there */
    TT_TTLOG_USAGE = 2,
    TT_TTLOG_FAILED = 3, /* no log is there, or it cannot be read or written */
    TT_TTLOG_IN_USE = 4, /* repair: a broker runs on it */
};

#define TT_TTLOG_ERROR_BYTES  512u
#define TT_TTLOG_PATTERNS_MAX 64u
#define TT_TTLOG_ALL          UINT32_MAX

struct tt_ttlog_options {
    const char *directory;
    const char *cursor; /* cursor: the text, or null */
    const char *at;     /* cursor: latest, earliest, or a time (then in at_us); null */
    int64_t at_us;
    bool json, raw, follow, yes;
    uint32_t partition;      /* TT_TTLOG_ALL */
    uint64_t from, to;       /* 0, UINT64_MAX */
    struct tt_history named; /* of ids in from and to; empty: none was given */
    int64_t since_us;        /* INT64_MIN */
    int64_t until_us;        /* INT64_MAX */
    uint64_t limit;          /* UINT64_MAX */
    uint32_t patterns_count; /* 0: every channel */
    struct tt_pattern patterns[TT_TTLOG_PATTERNS_MAX];
};

/* The arguments behind the command's name. now_us: for times as "10m". TT_OK; TT_END: --help was
 * printed; TT_EINVAL: *error names option, value and what is allowed. */
TT_MUST_USE enum tt_status tt_ttlog_options_parse(struct tt_ttlog_options *options,
                                                  enum tt_ttlog_command command, int argc,
                                                  char **argv, int64_t now_us,
                                                  char error[TT_TTLOG_ERROR_BYTES]);
/* unix ms, "10m" (so long before now_us), or "2026-01-31T12:00:00[.123]Z". TT_OK, TT_EINVAL. */
TT_MUST_USE enum tt_status tt_ttlog_time(const char *text, int64_t now_us, int64_t *us);

#endif
