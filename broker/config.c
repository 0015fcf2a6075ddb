#include "broker/config.h"

#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/param.h"
#include "proto/base/assert.h"
#include "shard/http/cors.h"
#include "shard/io/faults.h"

/* Later ones are stronger. */
enum source { SOURCE_FALLBACK, SOURCE_FILE, SOURCE_ENVIRONMENT, SOURCE_ARGUMENTS };

struct values_of {
    char **items;
    uint32_t count;
    enum source source;
};

struct tt_config_values {
    struct values_of of[TT_PARAMS];
};

struct loading {
    struct tt_config_values *values;
    struct tt_writer error;
    enum tt_status status;
};

/* ---- errors ---- */

/* The first error counts; control characters are kept out, so that it stays one line. */
static void fail(struct loading *l, const char *where, const char *what)
{
    if (l->status != TT_OK) return;
    l->status = TT_EINVAL;
    for (unsigned part = 0; part < 3; part++)
        for (const char *c = part == 0 ? where : part == 1 ? ": " : what; *c != '\0'; c++)
            tt_write_char(&l->error, (unsigned char)*c < 0x20 || *c == 0x7F ? '?' : *c);
}

static void fail_memory(struct loading *l)
{
    fail(l, "configuration", "no memory");
    l->status = TT_ENOMEM;
}

/* ---- values ---- */

static void clear(struct values_of *of)
{
    for (uint32_t i = 0; i < of->count; i++) free(of->items[i]);
    free(of->items);
    of->items = NULL;
    of->count = 0;
}

static void append(struct loading *l, struct values_of *of, const char *text)
{
    char **items = realloc(of->items, (of->count + 1) * sizeof(*items));
    if (items == NULL) {
        fail_memory(l);
        return;
    }
    of->items = items;
    items[of->count] = strdup(text);
    if (items[of->count] == NULL)
        fail_memory(l);
    else
        of->count++;
}

/* Checks one text of a source and takes it, unless a stronger source was there before. */
static void set_one(struct loading *l, const struct tt_param *param, enum source source,
                    const char *where, const char *text)
{
    struct tt_param_value value;
    char why_text[512] = "";
    struct tt_writer why = tt_writer(why_text, sizeof(why_text) - 1);
    if (tt_param_parse(param, text, &value, &why) != TT_OK) {
        fail(l, where, why_text);
        return;
    }
    struct values_of *of = &l->values->of[param - tt_params];
    if (of->source == source) append(l, of, text);
}

static void set(struct loading *l, const struct tt_param *param, enum source source,
                const char *where, const char *text)
{
    struct values_of *of = &l->values->of[param - tt_params];
    bool repeatable = tt_param_repeatable(param);
    if (of->source == source && of->count != 0 && !repeatable) {
        if (source != SOURCE_ARGUMENTS) {
            fail(l, where, "is given twice");
            return;
        }
        clear(of); /* scripts append to a list of arguments: the last one counts */
    }
    if (of->source < source) {
        clear(of);
        of->source = source;
    }
    if (!repeatable) {
        set_one(l, param, source, where, text);
        return;
    }
    char *copy = strdup(text);
    if (copy == NULL) {
        fail_memory(l);
        return;
    }
    char *rest = copy;
    for (char *item; l->status == TT_OK && (item = strsep(&rest, ",")) != NULL;) {
        item += strspn(item, " ");
        item[strcspn(item, " ")] = '\0';
        if (item[0] != '\0') set_one(l, param, source, where, item);
    }
    free(copy);
}

/* ---- unknown names ---- */

/* Levenshtein's distance, of names shorter than 64. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[TT_PARAM_NAME_MAX];
    size_t columns = strlen(b);
    for (unsigned j = 0; j <= columns; j++) row[j] = j;
    for (unsigned i = 1; a[i - 1] != '\0'; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= columns; j++) {
            unsigned least = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < least) least = row[j] + 1;
            if (row[j - 1] + 1 < least) least = row[j - 1] + 1;
            row[j] = least;
        }
    }
    return row[columns];
}

static const struct tt_param *find(const char *option)
{
    for (unsigned i = 0; i < TT_PARAMS; i++) {
        char name[TT_PARAM_NAME_MAX];
        tt_param_option(&tt_params[i], name);
        if (strcmp(name, option) == 0) return &tt_params[i];
    }
    return NULL;
}

/* Says that `where` is unknown and, where one is near, which was perhaps meant. */
static void fail_unknown(struct loading *l, const char *where, const char *option)
{
    char nearest[TT_PARAM_NAME_MAX] = "", what[256];
    unsigned least = 3; /* two typing errors */
    for (unsigned i = 0; i < TT_PARAMS && strlen(option) < TT_PARAM_NAME_MAX; i++) {
        char name[TT_PARAM_NAME_MAX];
        tt_param_option(&tt_params[i], name);
        unsigned d = distance(option, name);
        if (d >= least) continue;
        least = d;
        memcpy(nearest, name, sizeof(nearest));
    }
    if (nearest[0] != '\0')
        snprintf(what, sizeof(what), "unknown option; did you mean --%s?", nearest);
    else
        snprintf(what, sizeof(what), "unknown option; tickertape --help lists them");
    fail(l, where, what);
}

/* ---- the command line ---- */

static void load_arguments(struct loading *l, int count, char *const *arguments)
{
    for (int i = 1; i < count && l->status == TT_OK; i++) {
        const char *argument = arguments[i];
        char where[300], option[TT_PARAM_NAME_MAX] = "";
        snprintf(where, sizeof(where), "%.280s", argument);
        if (strncmp(argument, "--", 2) != 0 || argument[2] == '\0') {
            fail(l, where, "is not an option; options begin with --");
            return;
        }
        const char *equals = strchrnul(argument, '=');
        size_t size = (size_t)(equals - argument - 2);
        if (size < sizeof(option)) memcpy(option, argument + 2, size);
        const struct tt_param *param = find(option);
        if (param == NULL) {
            where[size + 2 < sizeof(where) ? size + 2 : sizeof(where) - 1] = '\0';
            fail_unknown(l, where, option);
            return;
        }
        const char *text = equals + 1;
        if (*equals == '\0') {
            if (param->type == TT_PARAM_FLAG) {
                text = "yes";
            } else if (param == &tt_params[TT_PARAM_ID_help]) {
                text = "text";
            } else if (i + 1 < count) {
                text = arguments[++i];
                snprintf(where, sizeof(where), "%s %.200s", argument, text);
            } else {
                fail(l, where, "needs a value");
                return;
            }
        }
        set(l, param, SOURCE_ARGUMENTS, where, text);
    }
}

/* ---- the environment ---- */

static void load_environment(struct loading *l, char *const *environment)
{
    static const char prefix[] = "TICKERTAPE_";
    for (; *environment != NULL && l->status == TT_OK; environment++) {
        if (strncmp(*environment, prefix, sizeof(prefix) - 1) != 0) continue;
        const char *equals = strchrnul(*environment, '=');
        char where[300], variable[TT_PARAM_NAME_MAX] = "", option[TT_PARAM_NAME_MAX] = "";
        size_t size = (size_t)(equals - *environment);
        snprintf(where, sizeof(where), "%.280s", *environment);
        if (size < sizeof(variable)) memcpy(variable, *environment, size);
        const struct tt_param *param = NULL;
        for (unsigned i = 0; i < TT_PARAMS; i++) {
            char name[TT_PARAM_NAME_MAX];
            tt_param_variable(&tt_params[i], name);
            if (strcmp(name, variable) == 0 && tt_params[i].how != TT_PARAM_ARGUMENT)
                param = &tt_params[i];
        }
        if (param == NULL) {
            for (size_t i = 0; variable[i] != '\0' && i + sizeof(prefix) <= size; i++) {
                char c = variable[i + sizeof(prefix) - 1];
                option[i] = c == '_' ? '-' : (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
            }
            where[size < sizeof(where) ? size : sizeof(where) - 1] = '\0';
            fail_unknown(l, where, option);
            return;
        }
        set(l, param, SOURCE_ENVIRONMENT, where, *equals == '=' ? equals + 1 : "");
    }
}

/* ---- the INI file ---- */

struct file_loading {
    struct loading *l;
    FILE *file;
    const char *path;
    unsigned line;
};

/* inih gives its handler no line number and cuts long lines in two without a word, so lines are
 * read for it here. */
static char *read_line(char *text, int size, void *context)
{
    struct file_loading *f = context;
    if (f->l->status != TT_OK || fgets(text, size, f->file) == NULL) return NULL;
    f->line++;
    size_t length = strlen(text);
    if (length + 1 == (size_t)size && text[length - 1] != '\n') {
        char where[TT_CONFIG_ERROR_MAX / 2];
        snprintf(where, sizeof(where), "%s:%u", f->path, f->line);
        fail(f->l, where, "the line is too long; allowed are 190 bytes (repeat the key of a list)");
        return NULL;
    }
    return text;
}

static int take_pair(void *context, const char *section, const char *key, const char *value)
{
    struct file_loading *f = context;
    char where[TT_CONFIG_ERROR_MAX / 2], option[TT_PARAM_NAME_MAX];
    snprintf(where, sizeof(where), "%.200s:%u: %s%.60s%s%.60s = %.150s", f->path, f->line,
             section[0] != '\0' ? "[" : "", section, section[0] != '\0' ? "] " : "", key, value);
    for (unsigned i = 0; i < TT_PARAMS; i++) {
        const struct tt_param *param = &tt_params[i];
        if (strcmp(param->section, section) != 0 || strcmp(param->key, key) != 0) continue;
        if (param->how == TT_PARAM_NO_FILE || param->how == TT_PARAM_ARGUMENT) break;
        set(f->l, param, SOURCE_FILE, where, value);
        return 1;
    }
    snprintf(option, sizeof(option), "%.30s%s%.30s", section, section[0] != '\0' ? "-" : "", key);
    const struct tt_param *whole = find(option), *bare = find(key);
    if (whole != NULL && whole->how < TT_PARAM_NO_FILE)
        fail(f->l, where, "this key stands in a section: log-sync-ms is sync-ms in [log]");
    else if (bare != NULL && bare->how < TT_PARAM_NO_FILE)
        fail(f->l, where, "this key has no section; it stands before the first one");
    else
        fail_unknown(f->l, where, option);
    return 1;
}

static void load_file(struct loading *l, const char *path)
{
    struct file_loading f = {.l = l, .path = path, .file = fopen(path, "re")};
    char where[TT_CONFIG_ERROR_MAX / 2];
    snprintf(where, sizeof(where), "--config=%s", path);
    if (f.file == NULL) {
        fail(l, where, strerror(errno));
        return;
    }
    int line = ini_parse_stream(read_line, &f, take_pair, &f);
    if (line > 0) {
        snprintf(where, sizeof(where), "%s:%d", path, line);
        fail(l, where, "is neither [section], key = value nor a comment");
    } else if (line < 0 || ferror(f.file)) {
        fail(l, where, "cannot be read");
    }
    fclose(f.file);
}

/* ---- from texts to the configuration ---- */

static struct tt_param_value value_of(const struct tt_param *param, const char *text)
{
    struct tt_param_value value = {0};
    struct tt_writer ignored = tt_writer(NULL, 0);
    enum tt_status status = tt_param_parse(param, text, &value, &ignored);
    TT_ASSERT(status == TT_OK); /* it was checked when it was taken */
    return value;
}

static struct tt_config_addresses addresses_of(struct loading *l, const struct tt_param *param,
                                               const struct values_of *of)
{
    struct tt_config_addresses addresses = {.count = of->count};
    addresses.items = calloc(of->count + 1, sizeof(*addresses.items));
    if (addresses.items == NULL) {
        fail_memory(l);
        return (struct tt_config_addresses){0};
    }
    for (uint32_t i = 0; i < of->count; i++)
        addresses.items[i] = value_of(param, of->items[i]).address;
    return addresses;
}

#define NUMBER(param, of)         value_of(param, (of)->items[0]).number
#define TAKE_SIZE(to, param, of)  (to) = NUMBER(param, of)
#define TAKE_TIME(to, param, of)  (to) = NUMBER(param, of)
#define TAKE_COUNT(to, param, of) (to) = NUMBER(param, of)
#define TAKE_TEXT(to, param, of)  (to) = (of)->items[0]
#define TAKE_LIST(to, param, of)                                                                   \
    (to) = (struct tt_config_list)                                                                 \
    {                                                                                              \
        (of)->items, (of)->count                                                                   \
    }
#define TAKE_CHOICE(to, param, of)    (to) = (uint32_t)NUMBER(param, of)
#define TAKE_FLAG(to, param, of)      (to) = NUMBER(param, of) != 0
#define TAKE_ADDRESS(to, param, of)   (to) = value_of(param, (of)->items[0]).address
#define TAKE_ADDRESSES(to, param, of) (to) = addresses_of(l, param, of)

static void take_all(struct loading *l, struct tt_config *config)
{
#define TT_PARAM(field, section, key, type, unit, min, max, fallback, how, prose)                  \
    TAKE_##type(config->field, &tt_params[TT_PARAM_ID_##field],                                    \
                &l->values->of[TT_PARAM_ID_##field]);
#include "broker/params.def"
}

static void check_faults(struct loading *l, const struct tt_config *c)
{
    struct tt_faults *faults;
    if (tt_faults_create(&faults) != TT_OK) {
        fail_memory(l);
        return;
    }
    for (uint32_t i = 0; i < c->test_fault.count; i++) {
        char where[600], what[256];
        if (tt_faults_add(faults, c->test_fault.items[i], what, sizeof(what)) == TT_OK) continue;
        snprintf(where, sizeof(where), "--test-fault=%s", c->test_fault.items[i]);
        fail(l, where, what);
    }
    tt_faults_destroy(&faults);
}

/* What no single option can be blamed for. */
static void check_together(struct loading *l, const struct tt_config *c)
{
    /* Chunks of the largest record; its text and framing are well below 8 KiB. */
    uint64_t event_chunks = (c->max_event_bytes + 8192 + TT_CHUNK_BYTES - 1) / TT_CHUNK_BYTES;
    char what[256];
    if (c->listen.count == 0 || c->listen.count > tt_params[TT_PARAM_ID_listen].max) {
        snprintf(what, sizeof(what), "%u addresses; allowed: 1 to %u", c->listen.count,
                 (unsigned)tt_params[TT_PARAM_ID_listen].max);
        fail(l, "--listen", what);
    }
    if (c->tail_bytes < (1 + event_chunks) * TT_CHUNK_BYTES) {
        snprintf(what, sizeof(what), "is too small for --max-event-bytes=%llu; at least %lluMiB",
                 (unsigned long long)c->max_event_bytes, (unsigned long long)(1 + event_chunks));
        fail(l, "--tail-bytes", what);
    }
    if (c->max_body_bytes < c->max_event_bytes)
        fail(l, "--max-body-bytes", "is smaller than --max-event-bytes");
    if (c->publish_bytes < c->max_body_bytes)
        fail(l, "--publish-bytes", "is smaller than --max-body-bytes");
    if (c->log_segment_bytes < (1 + event_chunks) * TT_CHUNK_BYTES)
        fail(l, "--log-segment-bytes", "is too small for --max-event-bytes");
    for (uint32_t i = 0; i < c->allow_origin.count; i++) {
        char where[400];
        struct tt_writer why = tt_writer(what, sizeof(what) - 1);
        if (tt_cors_check(tt_bytes_text(c->allow_origin.items[i]), &why) == TT_OK) continue;
        what[why.size] = '\0';
        snprintf(where, sizeof(where), "--allow-origin=%s", c->allow_origin.items[i]);
        fail(l, where, what);
    }
    check_faults(l, c);
    size_t prefix = strlen(c->http_prefix);
    if (prefix != 0 &&
        (c->http_prefix[0] != '/' || c->http_prefix[prefix - 1] == '/' ||
         strspn(c->http_prefix, "/ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                "0123456789-._~") != prefix)) {
        snprintf(what, sizeof(what),
                 "\"%s\" is not a path; it begins with / and does not end in one, of A-Z a-z 0-9 "
                 "- . _ ~ /",
                 c->http_prefix);
        fail(l, "--http-prefix", what);
    }
    if (c->insecure) return;
    for (uint32_t i = 0; i < c->listen.count; i++) {
        if (tt_address_is_loopback(&c->listen.items[i])) continue;
        char address[TT_ADDRESS_TEXT_MAX];
        tt_address_text(&c->listen.items[i], address);
        snprintf(
            what, sizeof(what),
            "without keys everyone could publish and subscribe, so only loopback addresses and "
            "unix: are allowed; --insecure allows others all the same");
        char where[TT_ADDRESS_TEXT_MAX + 16];
        snprintf(where, sizeof(where), "--listen=%s", address);
        fail(l, where, what);
    }
}

enum tt_status tt_config_load(struct tt_config **config, int arguments_count,
                              char *const *arguments, char *const *environment,
                              char error[TT_CONFIG_ERROR_MAX])
{
    memset(error, 0, TT_CONFIG_ERROR_MAX);
    struct tt_config *c = calloc(1, sizeof(*c));
    struct tt_config_values *values = calloc(1, sizeof(*values));
    if (c == NULL || values == NULL) {
        free(c);
        free(values);
        snprintf(error, TT_CONFIG_ERROR_MAX, "configuration: no memory");
        return TT_ENOMEM;
    }
    c->values_ = values;
    struct loading l = {.values = values, .error = tt_writer(error, TT_CONFIG_ERROR_MAX - 1)};
    for (unsigned i = 0; i < TT_PARAMS && l.status == TT_OK; i++)
        if (tt_param_repeatable(&tt_params[i]) && tt_params[i].fallback[0] == '\0')
            continue;
        else if (tt_params[i].type == TT_PARAM_TEXT)
            append(&l, &values->of[i], tt_params[i].fallback);
        else
            set(&l, &tt_params[i], SOURCE_FALLBACK, tt_params[i].key, tt_params[i].fallback);
    TT_ASSERT(l.status != TT_EINVAL); /* the defaults of params.def are within their ranges */
    if (l.status == TT_OK) load_arguments(&l, arguments_count, arguments);
    bool ask = l.status == TT_OK && (values->of[TT_PARAM_ID_help].source == SOURCE_ARGUMENTS ||
                                     values->of[TT_PARAM_ID_version].source == SOURCE_ARGUMENTS);
    if (l.status == TT_OK && !ask) load_environment(&l, environment);
    if (l.status == TT_OK && !ask && values->of[TT_PARAM_ID_config].source != SOURCE_FALLBACK)
        load_file(&l, values->of[TT_PARAM_ID_config].items[0]);
    if (l.status == TT_OK) take_all(&l, c);
    if (l.status == TT_OK && !ask) check_together(&l, c);
    if (l.status == TT_OK)
        *config = c;
    else
        tt_config_destroy(&c);
    return l.status;
}

void tt_config_destroy(struct tt_config **config)
{
    struct tt_config *c = *config;
    if (c == NULL) return;
    for (unsigned i = 0; i < TT_PARAMS; i++) clear(&c->values_->of[i]);
    free(c->listen.items);
    free(c->values_);
    free(c);
    *config = NULL;
}

unsigned tt_config_differences(const struct tt_config *a, const struct tt_config *b,
                               bool reloadable, struct tt_writer *names)
{
    unsigned found = 0;
    for (unsigned i = 0; i < TT_PARAMS; i++) {
        const struct values_of *x = &a->values_->of[i], *y = &b->values_->of[i];
        if ((tt_params[i].how == TT_PARAM_RELOAD) != reloadable) continue;
        bool same = x->count == y->count;
        for (uint32_t j = 0; same && j < x->count; j++)
            same = strcmp(x->items[j], y->items[j]) == 0;
        if (same) continue;
        char name[TT_PARAM_NAME_MAX];
        tt_param_option(&tt_params[i], name);
        tt_write_text(names, found++ == 0 ? "" : ", ");
        tt_write_text(names, name);
    }
    return found;
}
