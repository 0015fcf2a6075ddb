#include "broker/config.h"

#include <stdio.h>
#include <stdlib.h>

#include "broker/config_internal.h"
#include "broker/kafka/properties.h"
#include "broker/kafka/topics.h"
#include "proto/base/assert.h"
#include "shard/http/cors.h"
#include "shard/io/faults.h"

/* ---- errors ---- */

/* The first error counts; control characters are kept out, so that it stays one line. */
void tt_config_fail(struct tt_config_loading *l, const char *where, const char *what)
{
    if (l->status != TT_OK) return;
    l->status = TT_EINVAL;
    for (unsigned part = 0; part < 3; part++)
        for (const char *c = part == 0 ? where : part == 1 ? ": " : what; *c != '\0'; c++)
            tt_write_char(&l->error, (unsigned char)*c < 0x20 || *c == 0x7F ? '?' : *c);
}

void tt_config_fail_memory(struct tt_config_loading *l)
{
    tt_config_fail(l, "configuration", "no memory");
    l->status = TT_ENOMEM;
}

/* ---- values ---- */

static void clear(struct tt_config_texts *of)
{
    for (uint32_t i = 0; i < of->count; i++) free(of->items[i]);
    free(of->items);
    free(of->sources);
    of->items = NULL;
    of->sources = NULL;
    of->count = 0;
}

static void append(struct tt_config_loading *l, struct tt_config_texts *of, const char *text)
{
    char **items = realloc(of->items, (of->count + 1) * sizeof(*items));
    if (items == NULL) {
        tt_config_fail_memory(l);
        return;
    }
    of->items = items;
    items[of->count] = strdup(text);
    if (items[of->count] == NULL)
        tt_config_fail_memory(l);
    else
        of->count++;
}

/* One pair. What was there before is of this source or of a stronger one. */
static void set_pair(struct tt_config_loading *l, struct tt_config_texts *of,
                     enum tt_config_source source, const char *where, const char *text)
{
    size_t name = strcspn(text, "=") + 1;
    for (uint32_t i = 0; i < of->count; i++) {
        if (strncmp(of->items[i], text, name) != 0) continue;
        if (of->sources[i] != source) return;
        if (source == TT_CONFIG_FILE) {
            tt_config_fail(l, where, "is given twice");
            return;
        }
        char *copy = strdup(text);
        if (copy == NULL) {
            tt_config_fail_memory(l);
            return;
        }
        free(of->items[i]);
        of->items[i] = copy;
        return;
    }
    enum tt_config_source *sources = realloc(of->sources, (of->count + 1) * sizeof(*sources));
    if (sources == NULL) {
        tt_config_fail_memory(l);
        return;
    }
    of->sources = sources;
    sources[of->count] = source;
    append(l, of, text);
}

/* NAME=VALUE; in the environment one on each line. */
static void set_pairs(struct tt_config_loading *l, const struct tt_param *param,
                      enum tt_config_source source, const char *where, const char *text)
{
    struct tt_config_texts *of = &l->values->of[param - tt_params];
    if (of->source < source) of->source = source;
    char *copy = strdup(text), *rest = copy;
    if (copy == NULL) {
        tt_config_fail_memory(l);
        return;
    }
    for (char *item; l->status == TT_OK && (item = strsep(&rest, "\n")) != NULL;) {
        if (item[0] == '\0') continue;
        char named[400], why_text[512] = "";
        struct tt_writer why = tt_writer(why_text, sizeof(why_text) - 1);
        struct tt_param_value value;
        snprintf(named, sizeof(named), "%.250s", where);
        enum tt_status status = tt_param_parse(param, item, &value, &why);
        if (status == TT_OK && source != TT_CONFIG_FILE)
            snprintf(named, sizeof(named), "%.250s=%.*s", where,
                     (int)(strcspn(item, "=") < 100 ? strcspn(item, "=") : 100), item);
        if (status == TT_OK)
            status = tt_kafka_property_check(tt_bytes(item, strcspn(item, "=")),
                                             tt_bytes_text(strchr(item, '=') + 1), &why);
        if (status == TT_OK)
            set_pair(l, of, source, named, item);
        else
            tt_config_fail(l, named, why_text);
    }
    free(copy);
}

/* Checks one text of a source and takes it, unless a stronger source was there before. */
static void set_one(struct tt_config_loading *l, const struct tt_param *param,
                    enum tt_config_source source, const char *where, const char *text)
{
    struct tt_param_value value;
    char why_text[512] = "";
    struct tt_writer why = tt_writer(why_text, sizeof(why_text) - 1);
    if (tt_param_parse(param, text, &value, &why) != TT_OK) {
        tt_config_fail(l, where, why_text);
        return;
    }
    struct tt_config_texts *of = &l->values->of[param - tt_params];
    if (of->source == source) append(l, of, text);
}

void tt_config_set(struct tt_config_loading *l, const struct tt_param *param,
                   enum tt_config_source source, const char *where, const char *text)
{
    if (param->type == TT_PARAM_PAIRS) {
        set_pairs(l, param, source, where, text);
        return;
    }
    struct tt_config_texts *of = &l->values->of[param - tt_params];
    bool repeatable = tt_param_repeatable(param);
    if (of->source == source && of->count != 0 && !repeatable) {
        if (source != TT_CONFIG_ARGUMENTS) {
            tt_config_fail(l, where, "is given twice");
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
        tt_config_fail_memory(l);
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

const struct tt_param *tt_config_find(const char *option)
{
    for (unsigned i = 0; i < TT_PARAMS; i++) {
        char name[TT_PARAM_NAME_MAX];
        tt_param_option(&tt_params[i], name);
        if (strcmp(name, option) == 0) return &tt_params[i];
    }
    return NULL;
}

/* Says that `where` is unknown and, where one is near, which was perhaps meant. */
void tt_config_fail_unknown(struct tt_config_loading *l, const char *where, const char *option)
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
    tt_config_fail(l, where, what);
}

/* ---- the command line ---- */

static void load_arguments(struct tt_config_loading *l, int count, char *const *arguments)
{
    for (int i = 1; i < count && l->status == TT_OK; i++) {
        const char *argument = arguments[i];
        char where[300], option[TT_PARAM_NAME_MAX] = "";
        snprintf(where, sizeof(where), "%.280s", argument);
        if (strncmp(argument, "--", 2) != 0 || argument[2] == '\0') {
            tt_config_fail(l, where, "is not an option; options begin with --");
            return;
        }
        const char *equals = strchrnul(argument, '=');
        size_t size = (size_t)(equals - argument - 2);
        if (size < sizeof(option)) memcpy(option, argument + 2, size);
        const struct tt_param *param = tt_config_find(option);
        if (param == NULL) {
            where[size + 2 < sizeof(where) ? size + 2 : sizeof(where) - 1] = '\0';
            tt_config_fail_unknown(l, where, option);
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
                tt_config_fail(l, where, "needs a value");
                return;
            }
        }
        if (param->type == TT_PARAM_PAIRS) snprintf(where, sizeof(where), "--%s", option);
        tt_config_set(l, param, TT_CONFIG_ARGUMENTS, where, text);
    }
}

/* ---- the environment ---- */

static void load_environment(struct tt_config_loading *l, char *const *environment)
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
            tt_config_fail_unknown(l, where, option);
            return;
        }
        if (param->type == TT_PARAM_PAIRS) snprintf(where, sizeof(where), "%s", variable);
        tt_config_set(l, param, TT_CONFIG_ENVIRONMENT, where, *equals == '=' ? equals + 1 : "");
    }
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

static struct tt_config_addresses addresses_of(struct tt_config_loading *l,
                                               const struct tt_param *param,
                                               const struct tt_config_texts *of)
{
    struct tt_config_addresses addresses = {.count = of->count};
    addresses.items = calloc(of->count + 1, sizeof(*addresses.items));
    if (addresses.items == NULL) {
        tt_config_fail_memory(l);
        return (struct tt_config_addresses){0};
    }
    for (uint32_t i = 0; i < of->count; i++)
        addresses.items[i] = value_of(param, of->items[i]).address;
    return addresses;
}

#define NUMBER(param, of)         value_of(param, (of)->items[0]).number
#define TAKE_SIZE(to, param, of)  (to) = NUMBER(param, of)
#define TAKE_TIME(to, param, of)  (to) = NUMBER(param, of)
#define TAKE_AGE(to, param, of)   (to) = NUMBER(param, of)
#define TAKE_COUNT(to, param, of) (to) = NUMBER(param, of)
#define TAKE_TEXT(to, param, of)  (to) = (of)->items[0]
#define TAKE_LIST(to, param, of)                                                                   \
    (to) = (struct tt_config_list)                                                                 \
    {                                                                                              \
        (of)->items, (of)->count                                                                   \
    }
#define TAKE_PAIRS(to, param, of)     TAKE_LIST(to, param, of)
#define TAKE_CHOICE(to, param, of)    (to) = (uint32_t)NUMBER(param, of)
#define TAKE_FLAG(to, param, of)      (to) = NUMBER(param, of) != 0
#define TAKE_ADDRESS(to, param, of)   (to) = value_of(param, (of)->items[0]).address
#define TAKE_ADDRESSES(to, param, of) (to) = addresses_of(l, param, of)

static void take_all(struct tt_config_loading *l, struct tt_config *config)
{
#define TT_PARAM(field, section, key, type, unit, min, max, fallback, how, prose)                  \
    TAKE_##type(config->field, &tt_params[TT_PARAM_ID_##field],                                    \
                &l->values->of[TT_PARAM_ID_##field]);
#include "broker/params.def"
    config->topic_keys = l->values->topic_keys;
}

static void check_faults(struct tt_config_loading *l, const struct tt_config *c)
{
    struct tt_faults *faults;
    if (tt_faults_create(&faults) != TT_OK) {
        tt_config_fail_memory(l);
        return;
    }
    for (uint32_t i = 0; i < c->test_fault.count; i++) {
        char where[600], what[256];
        if (tt_faults_add(faults, c->test_fault.items[i], what, sizeof(what)) == TT_OK) continue;
        snprintf(where, sizeof(where), "--test-fault=%s", c->test_fault.items[i]);
        tt_config_fail(l, where, what);
    }
    tt_faults_destroy(&faults);
}

/* Options of Kafka, which mean nothing without brokers; what they say together. */
static void check_kafka(struct tt_config_loading *l, const struct tt_config *c)
{
    if (c->kafka_brokers.count == 0) {
        for (unsigned i = 0; i < TT_PARAMS; i++) {
            if (strcmp(tt_params[i].section, "kafka") != 0 || i == TT_PARAM_ID_kafka_brokers ||
                l->values->of[i].source == TT_CONFIG_FALLBACK)
                continue;
            char where[TT_PARAM_NAME_MAX + 2] = "--";
            tt_param_option(&tt_params[i], where + 2);
            tt_config_fail(l, where, "needs --kafka-brokers");
        }
        if (c->topic_keys.count != 0)
            tt_config_fail(l, c->topic_keys.items[0].where, "needs --kafka-brokers");
        return;
    }
    struct tt_kafka_topics *topics;
    char why[TT_CONFIG_ERROR_MAX];
    enum tt_status status = tt_kafka_topics_create(&topics, c, why);
    if (status == TT_ENOMEM) tt_config_fail_memory(l);
    if (status == TT_OK)
        tt_kafka_topics_destroy(&topics);
    else if (l->status == TT_OK) {
        l->status = status;
        tt_write_text(&l->error, why);
    }
}

/* What no single option can be blamed for. */
static void check_together(struct tt_config_loading *l, const struct tt_config *c)
{
    /* Chunks of the largest record; its text and framing are well below 8 KiB. */
    uint64_t event_chunks = (c->max_event_bytes + 8192 + TT_CHUNK_BYTES - 1) / TT_CHUNK_BYTES;
    char what[256];
    if (c->listen.count == 0 || c->listen.count > tt_params[TT_PARAM_ID_listen].max) {
        snprintf(what, sizeof(what), "%u addresses; allowed: 1 to %u", c->listen.count,
                 (unsigned)tt_params[TT_PARAM_ID_listen].max);
        tt_config_fail(l, "--listen", what);
    }
    if (c->tail_bytes < (1 + event_chunks) * TT_CHUNK_BYTES) {
        snprintf(what, sizeof(what), "is too small for --max-event-bytes=%llu; at least %lluMiB",
                 (unsigned long long)c->max_event_bytes, (unsigned long long)(1 + event_chunks));
        tt_config_fail(l, "--tail-bytes", what);
    }
    if (c->max_body_bytes < c->max_event_bytes)
        tt_config_fail(l, "--max-body-bytes", "is smaller than --max-event-bytes");
    if (c->publish_bytes < c->max_body_bytes)
        tt_config_fail(l, "--publish-bytes", "is smaller than --max-body-bytes");
    if (c->log_segment_bytes < (1 + event_chunks) * TT_CHUNK_BYTES)
        tt_config_fail(l, "--log-segment-bytes", "is too small for --max-event-bytes");
    for (uint32_t i = 0; i < c->allow_origin.count; i++) {
        char where[400];
        struct tt_writer why = tt_writer(what, sizeof(what) - 1);
        if (tt_cors_check(tt_bytes_text(c->allow_origin.items[i]), &why) == TT_OK) continue;
        what[why.size] = '\0';
        snprintf(where, sizeof(where), "--allow-origin=%s", c->allow_origin.items[i]);
        tt_config_fail(l, where, what);
    }
    check_faults(l, c);
    check_kafka(l, c);
    size_t prefix = strlen(c->http_prefix);
    if (prefix != 0 &&
        (c->http_prefix[0] != '/' || c->http_prefix[prefix - 1] == '/' ||
         strspn(c->http_prefix, "/ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                "0123456789-._~") != prefix)) {
        snprintf(what, sizeof(what),
                 "\"%s\" is not a path; it begins with / and does not end in one, of A-Z a-z 0-9 "
                 "- . _ ~ /",
                 c->http_prefix);
        tt_config_fail(l, "--http-prefix", what);
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
        tt_config_fail(l, where, what);
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
    struct tt_config_loading l = {.values = values,
                                  .error = tt_writer(error, TT_CONFIG_ERROR_MAX - 1)};
    for (unsigned i = 0; i < TT_PARAMS && l.status == TT_OK; i++)
        if (tt_param_repeatable(&tt_params[i]) && tt_params[i].fallback[0] == '\0')
            continue;
        else if (tt_params[i].type == TT_PARAM_TEXT)
            append(&l, &values->of[i], tt_params[i].fallback);
        else
            tt_config_set(&l, &tt_params[i], TT_CONFIG_FALLBACK, tt_params[i].key,
                          tt_params[i].fallback);
    TT_ASSERT(l.status != TT_EINVAL); /* the defaults of params.def are within their ranges */
    if (l.status == TT_OK) load_arguments(&l, arguments_count, arguments);
    bool ask = l.status == TT_OK && (values->of[TT_PARAM_ID_help].source == TT_CONFIG_ARGUMENTS ||
                                     values->of[TT_PARAM_ID_version].source == TT_CONFIG_ARGUMENTS);
    if (l.status == TT_OK && !ask) load_environment(&l, environment);
    if (l.status == TT_OK && !ask && values->of[TT_PARAM_ID_config].source != TT_CONFIG_FALLBACK)
        tt_config_load_file(&l, values->of[TT_PARAM_ID_config].items[0]);
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
    struct tt_config_topic_keys *keys = &c->values_->topic_keys;
    for (uint32_t i = 0; i < keys->count; i++) {
        free(keys->items[i].topic);
        free(keys->items[i].key);
        free(keys->items[i].value);
        free(keys->items[i].where);
    }
    free(keys->items);
    free(c->listen.items);
    free(c->values_);
    free(c);
    *config = NULL;
}

static bool same_topic_keys(const struct tt_config_topic_keys *a,
                            const struct tt_config_topic_keys *b)
{
    bool same = a->count == b->count;
    for (uint32_t i = 0; same && i < a->count; i++)
        same = strcmp(a->items[i].topic, b->items[i].topic) == 0 &&
               strcmp(a->items[i].key, b->items[i].key) == 0 &&
               strcmp(a->items[i].value, b->items[i].value) == 0;
    return same;
}

unsigned tt_config_differences(const struct tt_config *a, const struct tt_config *b,
                               bool reloadable, struct tt_writer *names)
{
    unsigned found = 0;
    for (unsigned i = 0; i < TT_PARAMS; i++) {
        const struct tt_config_texts *x = &a->values_->of[i], *y = &b->values_->of[i];
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
    if (!reloadable && !same_topic_keys(&a->topic_keys, &b->topic_keys)) {
        tt_write_text(names, found++ == 0 ? "" : ", ");
        tt_write_text(names, "sections of topics");
    }
    return found;
}
