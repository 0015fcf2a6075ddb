#include "tools/ttload/options.h"

#include <inttypes.h>
#include <stdlib.h>

#include "proto/base/assert.h"

enum kind {
    KIND_NUMBER,
    KIND_BYTES,
    KIND_TIME,
    KIND_CHOICE,
    KIND_SHARE,
    KIND_RATE,
    KIND_FLAG,
    KIND_TEXT,
};

struct option {
    const char *name;
    const char *preset; /* null: another name of an option, which `help` says */
    const char *choices;
    const char *help;
    size_t place;
    uint64_t min;
    uint64_t max;
    enum kind kind;
};

#define TT_OPTION(kind_, field, name_, preset_, min_, max_, choices_, help_)                       \
    {name_, preset_, choices_, help_, offsetof(OPTIONS, field), min_, max_, KIND_##kind_},
#define TT_OPTION_ALIAS(kind_, field, name_, of, min_, max_)                                       \
    {name_, NULL, NULL, "the same as --" of, offsetof(OPTIONS, field), min_, max_, KIND_##kind_},
#define OPTIONS struct tt_run_options
static const struct option run_table[] = {
#include "tools/ttload/options_run.def"
};
#undef OPTIONS
#define OPTIONS struct tt_feed_options
static const struct option feed_table[] = {
#include "tools/ttload/options_feed.def"
};
#undef OPTIONS
#undef TT_OPTION
#undef TT_OPTION_ALIAS

struct parser {
    const struct option *table;
    size_t count;
    unsigned char *values;
    char *error;
    size_t error_bytes;
};

struct suffix {
    const char *text;
    uint64_t factor;
};
static const struct suffix bytes_suffixes[] = {{"", 1}, {"KiB", 1024}, {"MiB", 1048576}, {NULL, 0}};
static const struct suffix time_suffixes[] = {{"", 1},      {"ms", 1},      {"s", 1000},
                                              {"m", 60000}, {"h", 3600000}, {NULL, 0}};
static const struct suffix no_suffixes[] = {{"", 1}, {NULL, 0}};

static const struct suffix *suffixes_of(enum kind kind)
{
    if (kind == KIND_BYTES) return bytes_suffixes;
    return kind == KIND_TIME ? time_suffixes : no_suffixes;
}

static void allowed(const struct option *o, char *text, size_t size)
{
    if (o->kind == KIND_CHOICE) {
        snprintf(text, size, "%s", o->choices);
    } else if (o->kind == KIND_TEXT) {
        snprintf(text, size, "a text");
    } else if (o->kind == KIND_SHARE || o->kind == KIND_RATE) {
        snprintf(text, size, "%" PRIu64 " to %" PRIu64 "%s, at most three decimals", o->min / 1000,
                 o->max / 1000, o->kind == KIND_SHARE ? " per cent" : "");
    } else {
        const char *unit = o->kind == KIND_BYTES  ? " bytes (KiB and MiB are understood)"
                           : o->kind == KIND_TIME ? " ms (s, m and h are understood)"
                                                  : "";
        snprintf(text, size, "%" PRIu64 " to %" PRIu64 "%s", o->min, o->max, unit);
    }
}

static enum tt_status refuse(struct parser *p, const struct option *o, const char *value)
{
    char text[128];
    allowed(o, text, sizeof text);
    snprintf(p->error, p->error_bytes, "--%s=%s: allowed: %s", o->name, value, text);
    return TT_EINVAL;
}

static enum tt_status set_number(struct parser *p, const struct option *o, const char *value)
{
    size_t digits = strspn(value, "0123456789");
    uint64_t number;

    if (tt_bytes_to_u64(tt_bytes(value, digits), UINT64_MAX, &number) != TT_OK) {
        return refuse(p, o, value);
    }
    for (const struct suffix *s = suffixes_of(o->kind); s->text != NULL; s++) {
        if (strcmp(value + digits, s->text) != 0) continue;
        if (number > o->max / s->factor || number * s->factor < o->min) break;
        number *= s->factor;
        memcpy(p->values + o->place, &number, sizeof number);
        return TT_OK;
    }
    return refuse(p, o, value);
}

enum tt_status tt_options_thousandths(struct tt_bytes text, uint64_t max, uint64_t *value)
{
    const uint8_t *point = text.size == 0 ? NULL : memchr(text.data, '.', text.size);
    size_t whole = point == NULL ? text.size : (size_t)(point - text.data);
    uint64_t number;
    uint64_t part = 0;

    if (tt_bytes_to_u64(tt_bytes(text.data, whole), max / 1000, &number) != TT_OK) return TT_EINVAL;
    if (point != NULL) {
        struct tt_bytes decimals = tt_bytes_from(text, whole + 1);
        if (decimals.size > 3 || tt_bytes_to_u64(decimals, 999, &part) != TT_OK) return TT_EINVAL;
        for (size_t i = decimals.size; i < 3; i++) part *= 10;
    }
    *value = number * 1000 + part;
    return *value > max ? TT_EINVAL : TT_OK;
}

static enum tt_status set_thousandths(struct parser *p, const struct option *o, const char *value)
{
    struct tt_bytes text = tt_bytes_text(value);
    uint64_t number;

    if (o->kind == KIND_SHARE && text.size != 0 && text.data[text.size - 1] == '%') text.size--;
    if (tt_options_thousandths(text, o->max, &number) != TT_OK || number < o->min) {
        return refuse(p, o, value);
    }
    memcpy(p->values + o->place, &number, sizeof number);
    return TT_OK;
}

static enum tt_status set_choice(struct parser *p, const struct option *o, const char *value)
{
    const char *at = o->choices;
    for (uint64_t index = 0;; index++) {
        size_t size = strcspn(at, "|");
        if (strlen(value) == size && memcmp(at, value, size) == 0) {
            memcpy(p->values + o->place, &index, sizeof index);
            return TT_OK;
        }
        if (at[size] == '\0') return refuse(p, o, value);
        at += size + 1;
    }
}

static enum tt_status set(struct parser *p, const struct option *o, const char *value)
{
    switch (o->kind) {
    case KIND_NUMBER:
    case KIND_BYTES:
    case KIND_TIME: return set_number(p, o, value);
    case KIND_CHOICE: return set_choice(p, o, value);
    case KIND_SHARE:
    case KIND_RATE: return set_thousandths(p, o, value);
    case KIND_TEXT: memcpy(p->values + o->place, &value, sizeof value); return TT_OK;
    case KIND_FLAG: break;
    }
    TT_UNREACHABLE();
}

static void print_help(const struct parser *p, const char *intro)
{
    fputs(intro, stdout);
    for (size_t i = 0; i < p->count; i++) {
        const struct option *o = &p->table[i];
        char text[128];
        char left[96];
        allowed(o, text, sizeof text);
        snprintf(left, sizeof left, "--%s%s%s", o->name, o->kind == KIND_FLAG ? "" : "=",
                 o->preset == NULL ? "..." : o->preset);
        printf("  %-36s %s\n", left, o->help);
        if (o->preset == NULL) continue;
        if (o->kind != KIND_FLAG && o->kind != KIND_TEXT) printf("  %-36s   %s\n", "", text);
    }
    printf("  %-36s %s\n", "--help", "this text");
}

static const struct option *find(const struct parser *p, const char *name, size_t size)
{
    for (size_t i = 0; i < p->count; i++) {
        if (strlen(p->table[i].name) == size && memcmp(p->table[i].name, name, size) == 0) {
            return &p->table[i];
        }
    }
    return NULL;
}

static enum tt_status parse_one(struct parser *p, int argc, char **argv, int *at)
{
    const char *text = argv[*at];
    if (strncmp(text, "--", 2) != 0 || text[2] == '\0') {
        snprintf(p->error, p->error_bytes, "%s: only options are understood here (--help)", text);
        return TT_EINVAL;
    }
    size_t size = strcspn(text + 2, "=");
    const struct option *o = find(p, text + 2, size);
    if (o == NULL) {
        snprintf(p->error, p->error_bytes, "%.*s: there is no such option (--help)", (int)size + 2,
                 text);
        return TT_EINVAL;
    }
    bool has_value = text[2 + size] == '=';
    if (o->kind == KIND_FLAG) {
        bool on = true;
        if (has_value) {
            snprintf(p->error, p->error_bytes, "%s: --%s takes no value", text, o->name);
            return TT_EINVAL;
        }
        memcpy(p->values + o->place, &on, sizeof on);
        return TT_OK;
    }
    if (has_value) return set(p, o, text + 2 + size + 1);
    if (*at + 1 == argc) {
        char may[128];
        allowed(o, may, sizeof may);
        snprintf(p->error, p->error_bytes, "--%s: a value is missing; allowed: %s", o->name, may);
        return TT_EINVAL;
    }
    *at += 1;
    return set(p, o, argv[*at]);
}

static enum tt_status parse(struct parser *p, int argc, char **argv, const char *intro)
{
    for (size_t i = 0; i < p->count; i++) {
        if (p->table[i].kind == KIND_FLAG || p->table[i].preset == NULL) continue;
        enum tt_status status = set(p, &p->table[i], p->table[i].preset);
        TT_ASSERT(status == TT_OK);
    }
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            print_help(p, intro);
            return TT_END;
        }
    }
    for (int i = 0; i < argc; i++) {
        enum tt_status status = parse_one(p, argc, argv, &i);
        if (status != TT_OK) return status;
    }
    return TT_OK;
}

enum tt_status tt_options_url(const char *url, struct tt_address *address, char *prefix,
                              size_t prefix_bytes)
{
    char host[TT_ADDRESS_TEXT_MAX];
    static const char scheme[] = "http://";

    if (strncmp(url, scheme, sizeof scheme - 1) != 0) return TT_EINVAL;
    url += sizeof scheme - 1;
    size_t size = strcspn(url, "/");
    size_t path = strlen(url + size);
    while (path != 0 && url[size + path - 1] == '/') path--;
    if (size == 0 || size + 4 > sizeof host || path >= prefix_bytes) return TT_EINVAL;
    if (strcspn(url + size, "?# ") != strlen(url + size)) return TT_EINVAL;
    bool has_port = url[size - 1] != ']' && memchr(url, ':', size) != NULL;
    snprintf(host, sizeof host, "%.*s%s", (int)size, url, has_port ? "" : ":80");
    snprintf(prefix, prefix_bytes, "%.*s", (int)path, url + size);
    if (tt_address_parse(tt_bytes_text(host), address) != TT_OK) return TT_EINVAL;
    return address->family == TT_ADDRESS_IP4 || address->family == TT_ADDRESS_IP6 ? TT_OK
                                                                                  : TT_EINVAL;
}

static enum tt_status refuse_url(const char *url, char *error, size_t error_bytes)
{
    snprintf(error, error_bytes,
             "--url=%s: allowed: http://ADDRESS:PORT or http://ADDRESS:PORT/PREFIX, where ADDRESS "
             "is an IPv4 address, an IPv6 address in brackets, or localhost",
             url);
    return TT_EINVAL;
}

enum tt_io_kind tt_options_io_kind(uint64_t choice)
{
    static const enum tt_io_kind kinds[] = {TT_IO_AUTO, TT_IO_URING, TT_IO_EPOLL};
    TT_ASSERT(choice < 3);
    return kinds[choice];
}

enum tt_status tt_run_options_parse(struct tt_run_options *options, int argc, char **argv,
                                    char *error, size_t error_bytes)
{
    struct parser p = {run_table, sizeof run_table / sizeof run_table[0], (unsigned char *)options,
                       error, error_bytes};
    *options = (struct tt_run_options){0};
    enum tt_status status =
        parse(&p, argc, argv,
              "ttload run [OPTION...]\n"
              "Opens SSE clients, publishes, and measures until every event has reached every\n"
              "client once and in order, or as its policy promises. Exit status: 0, or 1 when an\n"
              "event was lost, doubled or reordered, or anything else went wrong; 2 for a wrong\n"
              "option.\n\n");
    if (status != TT_OK) return status;
    if (tt_options_url(options->url, &options->address, options->prefix, sizeof options->prefix) !=
        TT_OK) {
        return refuse_url(options->url, error, error_bytes);
    }
    return tt_run_options_check(options, error, error_bytes);
}

static void format_value(const struct option *o, const struct tt_run_options *options, char *text,
                         size_t size)
{
    const unsigned char *at = (const unsigned char *)options + o->place;
    uint64_t number = 0;
    const char *choice = o->choices;

    if (o->kind == KIND_TEXT) {
        const char *value;
        memcpy(&value, at, sizeof value);
        snprintf(text, size, "%s", value);
        return;
    }
    if (o->kind == KIND_FLAG) {
        snprintf(text, size, "%s", *at != 0 ? "yes" : "no");
        return;
    }
    memcpy(&number, at, sizeof number);
    if (o->kind == KIND_CHOICE) {
        for (; number != 0; number--) choice = strchr(choice, '|') + 1;
        snprintf(text, size, "%.*s", (int)strcspn(choice, "|"), choice);
    } else if (o->kind == KIND_SHARE || o->kind == KIND_RATE) {
        snprintf(text, size, "%g%s", (double)number / 1000, o->kind == KIND_SHARE ? " %" : "");
    } else {
        snprintf(text, size, "%" PRIu64 "%s", number,
                 o->kind == KIND_TIME    ? " ms"
                 : o->kind == KIND_BYTES ? " bytes"
                                         : "");
    }
}

void tt_run_options_each(const struct tt_run_options *options,
                         void (*each)(void *context, const char *name, const char *value,
                                      bool preset),
                         void *context)
{
    char error[512];
    struct tt_run_options presets;
    char value[512];
    char preset[512];

    enum tt_status status = tt_run_options_parse(&presets, 0, NULL, error, sizeof error);
    TT_ASSERT(status == TT_OK);
    for (size_t i = 0; i < sizeof run_table / sizeof run_table[0]; i++) {
        if (run_table[i].preset == NULL) continue;
        format_value(&run_table[i], options, value, sizeof value);
        format_value(&run_table[i], &presets, preset, sizeof preset);
        each(context, run_table[i].name, value, strcmp(value, preset) == 0);
    }
}

enum tt_status tt_feed_options_parse(struct tt_feed_options *options, int argc, char **argv,
                                     char *error, size_t error_bytes)
{
    struct parser p = {feed_table, sizeof feed_table / sizeof feed_table[0],
                       (unsigned char *)options, error, error_bytes};
    *options = (struct tt_feed_options){0};
    enum tt_status status = parse(
        &p, argc, argv,
        "ttload feed [OPTION...]\n"
        "Publishes a simulated market, quotes and trades of well-known symbols, until it is\n"
        "stopped by SIGINT or SIGTERM. While the broker is away it waits and tries again.\n\n");
    if (status != TT_OK) return status;
    if (tt_options_url(options->url, &options->address, options->prefix, sizeof options->prefix) !=
        TT_OK) {
        return refuse_url(options->url, error, error_bytes);
    }
    return TT_OK;
}
