#include "tools/ttlog/options.h"

#include <stdio.h>
#include <time.h>

#include "proto/base/assert.h"
#include "proto/base/limits.h"

#define TIME_ALLOWED                                                                               \
    "unix ms, a time before now as in 10m (s, m, h, d), or a time as in 2026-01-31T12:00:00Z"

enum id {
#define TT_OPTION(id_, commands_, name_, value_, help_) OPTION_##id_,
#include "tools/ttlog/options.def"
#undef TT_OPTION
    OPTIONS,
};

struct option {
    const char *commands;
    const char *name;
    const char *value;
    const char *help;
};
static const struct option table[OPTIONS] = {
#define TT_OPTION(id_, commands_, name_, value_, help_)                                            \
    [OPTION_##id_] = {commands_, name_, value_, help_},
#include "tools/ttlog/options.def"
#undef TT_OPTION
};

static const struct {
    char letter;
    const char *intro;
} commands[TT_TTLOG_COMMANDS] = {
    [TT_TTLOG_LS] = {'l', "ttlog ls [OPTION...] DIR\n"
                          "Shows the partitions of a log, their segments (offsets, bytes, times, "
                          "index), and\nthe other files.\n"},
    [TT_TTLOG_DUMP] = {'d', "ttlog dump [OPTION...] DIR\n"
                            "Prints events as JSON lines, one partition after the other, each in "
                            "its order: the\nobjects that subscribers get. Where offsets were lost "
                            "in a crash or by damage, a line\n{\"gap\":...} says so.\n"},
    [TT_TTLOG_VERIFY] = {'v', "ttlog verify [OPTION...] DIR\n"
                              "Reads everything and checks it: checksums, offsets, places, chunk "
                              "headers, what was\ndurable when, and the files beside the segments. "
                              "Each finding names file and byte.\n"},
    [TT_TTLOG_CURSOR] = {'c', "ttlog cursor [OPTION...] DIR CURSOR\n"
                              "ttlog cursor [OPTION...] DIR --at=WHERE\n"
                              "Explains a cursor (an `id:` of a stream, also with ids behind it) "
                              "against a log: what is\nleft to be read of each partition, and what "
                              "the broker would answer. Or makes one.\n"},
    [TT_TTLOG_REPAIR] = {'r', "ttlog repair [OPTION...] DIR\n"
                              "Makes a log that the broker refuses usable again. Says what is lost "
                              "and asks before\nanything is changed. Bad bytes are kept in files "
                              "beside; the offsets in them become a\nhole, are never used again, "
                              "and clients that read across it are told by `gap`.\nNot while a "
                              "broker runs on the log.\n"},
};

static bool takes(enum tt_ttlog_command command, const struct option *o)
{
    return strchr(o->commands, commands[command].letter) != NULL;
}

static void print_help(enum tt_ttlog_command command)
{
    printf("%s\n", commands[command].intro);
    for (size_t i = 0; i < OPTIONS; i++) {
        const struct option *o = &table[i];
        char left[48];
        if (!takes(command, o)) continue;
        snprintf(left, sizeof left, "--%s%s%s", o->name, o->value == NULL ? "" : "=",
                 o->value == NULL ? "" : o->value);
        printf("  %-20s %s\n", left, o->help);
    }
    printf("  %-20s %s\n\n"
           "Exit status: 0 good; 1 damage was found%s; 2 wrong usage; 3 the log cannot be read%s\n",
           "--help", "this text", command == TT_TTLOG_REPAIR ? " and is still there" : "",
           command == TT_TTLOG_REPAIR ? " or written;\n4 a broker runs on it" : "");
}

/* ---- values ---- */

static enum tt_status refuse(char *error, const struct option *o, const char *value,
                             const char *allowed)
{
    snprintf(error, TT_TTLOG_ERROR_BYTES, "--%s=%s: allowed: %s", o->name, value, allowed);
    return TT_EINVAL;
}

static enum tt_status time_ago(const char *text, int64_t now_us, int64_t *us)
{
    static const struct {
        char letter;
        int64_t us;
    } units[] = {{'s', 1000000}, {'m', 60000000}, {'h', 3600000000}, {'d', 86400000000}};
    size_t digits = strspn(text, "0123456789");
    uint64_t number;
    if (tt_bytes_to_u64(tt_bytes(text, digits), 1000000000, &number) != TT_OK) return TT_EINVAL;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (text[digits] != units[i].letter || text[digits + 1] != '\0') continue;
        int64_t ago;
        if (__builtin_mul_overflow((int64_t)number, units[i].us, &ago)) return TT_EINVAL;
        *us = now_us - ago;
        return TT_OK;
    }
    return TT_EINVAL;
}

enum tt_status tt_ttlog_time(const char *text, int64_t now_us, int64_t *us)
{
    uint64_t ms;
    if (tt_bytes_to_u64(tt_bytes_text(text), INT64_MAX / 1000, &ms) == TT_OK) {
        *us = (int64_t)ms * 1000;
        return TT_OK;
    }
    if (time_ago(text, now_us, us) == TT_OK) return TT_OK;
    struct tm tm = {0};
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (rest == NULL) return TT_EINVAL;
    int64_t fraction = 0;
    if (*rest == '.') {
        int64_t unit = 100000;
        for (rest++; *rest >= '0' && *rest <= '9'; rest++, unit /= 10)
            fraction += (*rest - '0') * unit;
    }
    if (strcmp(rest, "Z") != 0) return TT_EINVAL;
    *us = (int64_t)timegm(&tm) * 1000000 + fraction;
    return TT_OK;
}

/* An offset, or an id that names the partition too. */
static enum tt_status set_offset(struct tt_ttlog_options *options, const struct option *o,
                                 const char *value, uint64_t *offset, char *error)
{
    struct tt_position position;
    if (tt_bytes_to_u64(tt_bytes_text(value), TT_OFFSET_MAX, offset) == TT_OK) return TT_OK;
    if (tt_position_parse(tt_bytes_text(value), &position) != TT_OK)
        return refuse(error, o, value, "an offset, or an event's id");
    if (options->partition != TT_TTLOG_ALL && options->partition != position.partition)
        return refuse(error, o, value,
                      "ids of one partition, the one of --partition if it is given");
    options->named = position.history;
    options->partition = position.partition;
    *offset = position.offset;
    return TT_OK;
}

static enum tt_status add_patterns(struct tt_ttlog_options *options, const char *value, char *error)
{
    char why[256];
    for (;;) {
        size_t size = strcspn(value, ",");
        struct tt_writer w = tt_writer(why, sizeof why);
        if (options->patterns_count == TT_TTLOG_PATTERNS_MAX) {
            snprintf(error, TT_TTLOG_ERROR_BYTES, "--channel: allowed: at most %u patterns",
                     TT_TTLOG_PATTERNS_MAX);
            return TT_EINVAL;
        }
        if (tt_pattern_parse(tt_bytes(value, size), &options->patterns[options->patterns_count],
                             &w) != TT_OK) {
            snprintf(error, TT_TTLOG_ERROR_BYTES, "--channel=%.*s: %.*s", (int)size, value,
                     (int)w.size, why);
            return TT_EINVAL;
        }
        options->patterns_count++;
        if (value[size] == '\0') return TT_OK;
        value += size + 1;
    }
}

static enum tt_status set(struct tt_ttlog_options *o, enum id id, const char *value, int64_t now_us,
                          char *error)
{
    uint64_t number;
    switch (id) {
    case OPTION_JSON: o->json = true; return TT_OK;
    case OPTION_RAW: o->raw = true; return TT_OK;
    case OPTION_FOLLOW: o->follow = true; return TT_OK;
    case OPTION_YES: o->yes = true; return TT_OK;
    case OPTION_PARTITION:
        if (tt_bytes_to_u64(tt_bytes_text(value), TT_PARTITIONS_MAX - 1, &number) != TT_OK)
            return refuse(error, &table[id], value, "the number of a partition, 0 to 1023");
        if (o->named.text[0] != '\0' && o->partition != number)
            return refuse(error, &table[id], value, "the partition of the ids that are given");
        o->partition = (uint32_t)number;
        return TT_OK;
    case OPTION_FROM: return set_offset(o, &table[id], value, &o->from, error);
    case OPTION_TO: return set_offset(o, &table[id], value, &o->to, error);
    case OPTION_SINCE:
        if (tt_ttlog_time(value, now_us, &o->since_us) == TT_OK) return TT_OK;
        return refuse(error, &table[id], value, TIME_ALLOWED);
    case OPTION_UNTIL:
        if (tt_ttlog_time(value, now_us, &o->until_us) == TT_OK) return TT_OK;
        return refuse(error, &table[id], value, TIME_ALLOWED);
    case OPTION_CHANNEL: return add_patterns(o, value, error);
    case OPTION_LIMIT:
        if (tt_bytes_to_u64(tt_bytes_text(value), UINT64_MAX, &o->limit) == TT_OK) return TT_OK;
        return refuse(error, &table[id], value, "a number");
    case OPTION_AT:
        o->at = value;
        if (strcmp(value, "latest") == 0 || strcmp(value, "earliest") == 0 ||
            tt_ttlog_time(value, now_us, &o->at_us) == TT_OK)
            return TT_OK;
        return refuse(error, &table[id], value, "latest, earliest, " TIME_ALLOWED);
    case OPTIONS: break;
    }
    TT_UNREACHABLE();
}

/* ---- arguments ---- */

static enum tt_status positional(struct tt_ttlog_options *options, enum tt_ttlog_command command,
                                 const char *text, char *error)
{
    if (options->directory == NULL) {
        options->directory = text;
        return TT_OK;
    }
    if (command == TT_TTLOG_CURSOR && options->cursor == NULL) {
        options->cursor = text;
        return TT_OK;
    }
    snprintf(error, TT_TTLOG_ERROR_BYTES, "%s: one argument too many (--help)", text);
    return TT_EINVAL;
}

static enum tt_status parse_one(struct tt_ttlog_options *options, enum tt_ttlog_command command,
                                int argc, char **argv, int *at, int64_t now_us, char *error)
{
    const char *text = argv[*at];
    if (strncmp(text, "--", 2) != 0) return positional(options, command, text, error);
    size_t size = strcspn(text + 2, "=");
    for (size_t i = 0; i < OPTIONS; i++) {
        const struct option *o = &table[i];
        if (strlen(o->name) != size || memcmp(o->name, text + 2, size) != 0 || !takes(command, o))
            continue;
        const char *value = text[2 + size] == '=' ? text + 2 + size + 1 : NULL;
        if (o->value == NULL && value != NULL) {
            snprintf(error, TT_TTLOG_ERROR_BYTES, "%s: --%s takes no value", text, o->name);
            return TT_EINVAL;
        }
        if (o->value != NULL && value == NULL) {
            if (*at + 1 == argc) {
                snprintf(error, TT_TTLOG_ERROR_BYTES, "--%s: a value is missing: --%s=%s", o->name,
                         o->name, o->value);
                return TT_EINVAL;
            }
            value = argv[++*at];
        }
        return set(options, (enum id)i, value == NULL ? "" : value, now_us, error);
    }
    snprintf(error, TT_TTLOG_ERROR_BYTES, "%.*s: there is no such option here (--help)",
             (int)size + 2, text);
    return TT_EINVAL;
}

static enum tt_status check(const struct tt_ttlog_options *o, enum tt_ttlog_command command,
                            char *error)
{
    const char *wrong = NULL;
    if (o->directory == NULL)
        wrong = "the log's directory is missing: the one that --data names";
    else if (command == TT_TTLOG_CURSOR && (o->cursor == NULL) == (o->at == NULL))
        wrong = "give either a cursor or --at=latest, earliest or a time";
    else if (o->from > o->to)
        wrong = "--from is behind --to";
    if (wrong == NULL) return TT_OK;
    snprintf(error, TT_TTLOG_ERROR_BYTES, "%s (--help)", wrong);
    return TT_EINVAL;
}

enum tt_status tt_ttlog_options_parse(struct tt_ttlog_options *options,
                                      enum tt_ttlog_command command, int argc, char **argv,
                                      int64_t now_us, char error[TT_TTLOG_ERROR_BYTES])
{
    *options = (struct tt_ttlog_options){.partition = TT_TTLOG_ALL,
                                         .to = UINT64_MAX,
                                         .since_us = INT64_MIN,
                                         .until_us = INT64_MAX,
                                         .limit = UINT64_MAX};
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--help") != 0) continue;
        print_help(command);
        return TT_END;
    }
    for (int i = 0; i < argc; i++) {
        enum tt_status status = parse_one(options, command, argc, argv, &i, now_us, error);
        if (status != TT_OK) return status;
    }
    return check(options, command, error);
}
