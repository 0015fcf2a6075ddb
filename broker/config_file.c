/* The INI file of --config. */
#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/config_internal.h"
#include "broker/kafka/properties.h"
#include "broker/kafka/topics.h"

#define SECTION_BYTES_MAX 256u

struct file {
    struct tt_config_loading *l;
    FILE *file;
    const char *path;
    unsigned line;
    char section[SECTION_BYTES_MAX]; /* of the line, whole */
};

/* inih cuts the names of sections at 49 bytes; topics have longer ones. */
static void note_section(struct file *f, const char *text)
{
    if (text[0] != '[') return;
    size_t size = strcspn(text + 1, "]");
    if (size >= sizeof(f->section)) size = sizeof(f->section) - 1;
    memcpy(f->section, text + 1, size);
    f->section[size] = '\0';
}

/* inih gives its handler no line number and cuts long lines in two without a word, so lines are
 * read for it here. */
static char *read_line(char *text, int size, void *context)
{
    struct file *f = context;
    if (f->l->status != TT_OK || fgets(text, size, f->file) == NULL) return NULL;
    f->line++;
    size_t length = strlen(text);
    if (length + 1 == (size_t)size && text[length - 1] != '\n') {
        char where[TT_CONFIG_ERROR_MAX / 2];
        snprintf(where, sizeof(where), "%s:%u", f->path, f->line);
        tt_config_fail(f->l, where,
                       "the line is too long; allowed are 190 bytes (repeat the key of a list)");
        return NULL;
    }
    note_section(f, text);
    return text;
}

static void append_topic_key(struct tt_config_loading *l, struct tt_config_topic_key item)
{
    struct tt_config_topic_keys *keys = &l->values->topic_keys;
    struct tt_config_topic_key *items = realloc(keys->items, (keys->count + 1) * sizeof(*items));
    if (items != NULL) {
        keys->items = items;
        items[keys->count] = (struct tt_config_topic_key){strdup(item.topic), strdup(item.key),
                                                          strdup(item.value), strdup(item.where)};
        item = items[keys->count++];
    }
    if (items == NULL || item.topic == NULL || item.key == NULL || item.value == NULL ||
        item.where == NULL)
        tt_config_fail_memory(l);
}

static void take_topic_key(struct tt_config_loading *l, struct tt_config_topic_key item)
{
    const struct tt_config_topic_keys *keys = &l->values->topic_keys;
    char why_text[512] = "";
    struct tt_writer why = tt_writer(why_text, sizeof(why_text) - 1);
    for (uint32_t i = 0; i < keys->count; i++)
        if (strcmp(keys->items[i].topic, item.topic) == 0 &&
            strcmp(keys->items[i].key, item.key) == 0)
            tt_config_fail(l, item.where, "is given twice");
    if (tt_kafka_topic_key_check(item.topic, item.key, item.value, &why) != TT_OK)
        tt_config_fail(l, item.where, why_text);
    if (l->status == TT_OK) append_topic_key(l, item);
}

/* [kafka.conf] and [topic NAME]. False: it is another section. */
static bool take_special(struct file *f, const char *section, const char *key, const char *value,
                         char *where)
{
    if (strcmp(section, "kafka.conf") == 0) {
        char pair[512];
        snprintf(pair, sizeof(pair), "%s=%s", key, value);
        tt_config_set(f->l, &tt_params[TT_PARAM_ID_kafka_conf], TT_CONFIG_FILE, where, pair);
        return true;
    }
    static const char topic[] = "topic ";
    if (strncmp(section, topic, sizeof(topic) - 1) != 0) return false;
    char name[SECTION_BYTES_MAX];
    const char *start = section + sizeof(topic) - 1;
    snprintf(name, sizeof(name), "%s", start + strspn(start, " \t"));
    size_t size = strlen(name);
    while (size != 0 && (name[size - 1] == ' ' || name[size - 1] == '\t')) name[--size] = '\0';
    take_topic_key(f->l, (struct tt_config_topic_key){name, (char *)key, (char *)value, where});
    return true;
}

static int take_pair(void *context, const char *cut_section, const char *key, const char *value)
{
    struct file *f = context;
    char where[TT_CONFIG_ERROR_MAX / 2], option[TT_PARAM_NAME_MAX];
    size_t cut = strlen(cut_section);
    const char *section = strncmp(f->section, cut_section, cut) == 0 ? f->section : cut_section;
    /* Passwords are kept out of errors, in the wrong section too. */
    bool secret = strcmp(section, "kafka.conf") == 0 || strcmp(key, "conf") == 0 ||
                  tt_kafka_property_is_secret(tt_bytes_text(key));
    snprintf(where, sizeof(where), "%.200s:%u: %s%.60s%s%.60s%s%.150s", f->path, f->line,
             section[0] != '\0' ? "[" : "", section, section[0] != '\0' ? "] " : "", key,
             secret ? "" : " = ", secret ? "" : value);
    if (take_special(f, section, key, value, where)) return 1;
    for (unsigned i = 0; i < TT_PARAMS; i++) {
        const struct tt_param *param = &tt_params[i];
        if (strcmp(param->section, section) != 0 || strcmp(param->key, key) != 0) continue;
        if (param->how == TT_PARAM_NO_FILE || param->how == TT_PARAM_ARGUMENT) break;
        tt_config_set(f->l, param, TT_CONFIG_FILE, where, value);
        return 1;
    }
    snprintf(option, sizeof(option), "%.30s%s%.30s", section, section[0] != '\0' ? "-" : "", key);
    const struct tt_param *whole = tt_config_find(option), *bare = tt_config_find(key);
    if (whole != NULL && whole->how < TT_PARAM_NO_FILE)
        tt_config_fail(f->l, where,
                       "this key stands in a section: log-sync-ms is sync-ms in [log]");
    else if (bare != NULL && bare->how < TT_PARAM_NO_FILE)
        tt_config_fail(f->l, where, "this key has no section; it stands before the first one");
    else
        tt_config_fail_unknown(f->l, where, option);
    return 1;
}

void tt_config_load_file(struct tt_config_loading *l, const char *path)
{
    struct file f = {.l = l, .path = path, .file = fopen(path, "re")};
    char where[TT_CONFIG_ERROR_MAX / 2];
    snprintf(where, sizeof(where), "--config=%s", path);
    if (f.file == NULL) {
        tt_config_fail(l, where, strerror(errno));
        return;
    }
    int line = ini_parse_stream(read_line, &f, take_pair, &f);
    if (line > 0) {
        snprintf(where, sizeof(where), "%s:%d", path, line);
        tt_config_fail(l, where, "is neither [section], key = value nor a comment");
    } else if (line < 0 || ferror(f.file)) {
        tt_config_fail(l, where, "cannot be read");
    }
    fclose(f.file);
}
