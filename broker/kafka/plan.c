#include "broker/kafka/plan.h"

#include <stdio.h>
#include <stdlib.h>

#include "broker/kafka/mirror_file.h"
#include "broker/kafka/plan_internal.h"
#include "broker/startup_files.h"

#define PATIENCE_NS        UINT64_C(10000000000)
#define PATIENCE_MIRROR_NS UINT64_C(3000000000) /* there is something to serve meanwhile */
#define METADATA_MS        1000                 /* so that the end of the process need not wait */

struct names {
    char (*items)[TT_KAFKA_TOPIC_NAME_MAX + 1];
    uint32_t count, capacity;
};

const char *tt_kafka_reset_text(enum tt_kafka_reset reset)
{
    static const char *const texts[TT_KAFKA_RESETS] = {
        [TT_KAFKA_RESET_REMADE] = "remade",         [TT_KAFKA_RESET_CLUSTER] = "cluster",
        [TT_KAFKA_RESET_GENERATION] = "generation", [TT_KAFKA_RESET_MAPPING] = "mapping",
        [TT_KAFKA_RESET_EXPIRED] = "expired",       [TT_KAFKA_RESET_DAMAGED] = "damaged",
    };
    return texts[reset];
}

/* ---- which topics ---- */

static enum tt_status add_name(struct names *names, const char *name)
{
    if (strlen(name) > TT_KAFKA_TOPIC_NAME_MAX) return TT_OK;
    for (uint32_t i = 0; i < names->count; i++)
        if (strcmp(names->items[i], name) == 0) return TT_OK;
    if (names->count == names->capacity) {
        uint32_t capacity = names->capacity * 2 + 16;
        void *items = realloc(names->items, capacity * sizeof *names->items);
        if (items == NULL) return TT_ENOMEM;
        names->items = items;
        names->capacity = capacity;
    }
    snprintf(names->items[names->count++], sizeof *names->items, "%s", name);
    return TT_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Topics found by a regular expression come behind those that are named, in the order of their
 * names. */
static enum tt_status find_topics(const struct tt_kafka_planning *p,
                                  const struct tt_kafka_metadata *m, struct names *names)
{
    enum tt_status status = TT_OK;
    uint32_t named = names->count;
    for (uint32_t i = 0; status == TT_OK && i < m->topics_count; i++)
        if (m->topics[i].error == NULL && tt_kafka_topics_follows(p->topics, m->topics[i].name))
            status = add_name(names, m->topics[i].name);
    if (names->count > named)
        qsort(names->items + named, names->count - named, sizeof *names->items, by_name);
    return status;
}

struct listing {
    const struct tt_kafka_planning *planning;
    struct names *names;
    bool any;
};

static enum tt_status list_mirror(void *argument, const char *name)
{
    struct listing *l = argument;
    struct tt_mirror mirror;
    if (strlen(name) > TT_KAFKA_TOPIC_NAME_MAX ||
        !tt_kafka_topics_follows(l->planning->topics, name) ||
        !tt_kafka_plan_mirror(l->planning, name, &mirror))
        return TT_OK;
    l->any = true;
    return l->names == NULL ? TT_OK : add_name(l->names, name);
}

/* The mirrors of topics that are followed. names: where they are added; null: only looked for. */
static bool find_mirrors(const struct tt_kafka_planning *p, struct names *names)
{
    const struct tt_files files = tt_startup_files(p->faults);
    struct listing l = {.planning = p, .names = names};
    uint32_t named = names == NULL ? 0 : names->count;
    char path[TT_RECOVERY_DIRECTORY_MAX + 1];
    if (tt_logs_mirror_path(p->config, "", path) != TT_OK) return false;
    (void)files.list(files.context, path, list_mirror, &l); /* not there: no mirrors */
    if (names != NULL && names->count > named)
        qsort(names->items + named, names->count - named, sizeof *names->items, by_name);
    return l.any;
}

static const struct tt_kafka_topic *find_topic(const struct tt_kafka_metadata *m, const char *name)
{
    for (uint32_t i = 0; m != NULL && i < m->topics_count; i++)
        if (strcmp(m->topics[i].name, name) == 0)
            return m->topics[i].error == NULL && m->topics[i].partitions_count != 0 ? &m->topics[i]
                                                                                    : NULL;
    return NULL;
}

/* ---- asking ---- */

static struct tt_kafka_metadata *ask(struct tt_kafka_planning *p, const struct names *names)
{
    struct tt_kafka_metadata *m = NULL;
    const char **list = calloc(names->count + 1, sizeof *list);
    if (list == NULL) return NULL;
    for (uint32_t i = 0; i < names->count; i++) list[i] = names->items[i];
    bool all = tt_kafka_topics_has_patterns(p->topics);
    p->deadline_ns =
        tt_kafka_plan_now_ns() + (find_mirrors(p, NULL) ? PATIENCE_MIRROR_NS : PATIENCE_NS);
    int timeout_ms;
    do {
        timeout_ms = tt_kafka_plan_timeout_ms(p);
        if (timeout_ms > METADATA_MS) timeout_ms = METADATA_MS;
        if (timeout_ms != 0)
            p->code = p->module->metadata(p->kafka, all ? NULL : list, all ? 0 : names->count,
                                          timeout_ms, &m, p->why);
    } while (timeout_ms != 0 && p->code != 0);
    free(list);
    p->deadline_ns = tt_kafka_plan_now_ns() + PATIENCE_NS;
    return p->code == 0 ? m : NULL;
}

/* ---- the plan ---- */

static enum tt_status plan_topics(struct tt_kafka_plan *plan, struct tt_kafka_planning *p,
                                  const struct names *names, const struct tt_kafka_metadata *m,
                                  char error[TT_CONFIG_ERROR_MAX])
{
    struct tt_hash_key key;
    enum tt_status status = tt_logs_mirror_key(p->config, p->faults, p->random, &key, error);
    plan->topics = calloc(names->count + 1, sizeof *plan->topics);
    plan->logs = calloc(names->count + 1, sizeof *plan->logs);
    if (plan->topics == NULL || plan->logs == NULL) return TT_ENOMEM;
    plan->away = true;
    for (uint32_t i = 0; status == TT_OK && i < names->count; i++) {
        struct tt_kafka_plan_topic *t = &plan->topics[plan->count];
        char why[TT_CONFIG_ERROR_MAX];
        if (tt_kafka_topics_settings(p->topics, names->items[i], &t->settings, why) != TT_OK) {
            tt_diag_write(p->diag, TT_DIAG_ERROR, NULL, "kafka_topic", "%s", why);
            continue;
        }
        plan->count++;
        status = tt_kafka_plan_topic(p, t, &plan->logs[plan->count - 1], &key, plan->cluster,
                                     find_topic(m, names->items[i]), error);
        plan->away &= t->cluster[0] == '\0';
    }
    return status;
}

/* One slot has to stand for what is not known. */
static enum tt_status add_placeholder(struct names *names)
{
    return names->count == 0 ? add_name(names, "-") : TT_OK;
}

enum tt_status tt_kafka_plan_make(struct tt_kafka_plan **out, struct tt_kafka_planning *p,
                                  char error[TT_CONFIG_ERROR_MAX])
{
    struct tt_kafka_plan *plan = calloc(1, sizeof *plan);
    struct names names = {0};
    struct tt_kafka_metadata *m = NULL;
    enum tt_status status = plan == NULL ? TT_ENOMEM : TT_OK;
    for (uint32_t i = 0; status == TT_OK && i < tt_kafka_topics_names_count(p->topics); i++)
        status = add_name(&names, tt_kafka_topics_name(p->topics, i));
    if (status == TT_OK) {
        m = ask(p, &names);
        tt_diag_set_wall_us(p->diag, tt_kafka_plan_wall_us()); /* it may have taken long */
        if (m == NULL)
            (void)find_mirrors(p, &names);
        else if (tt_kafka_topics_has_patterns(p->topics))
            status = find_topics(p, m, &names);
    }
    if (status == TT_OK) status = add_placeholder(&names);
    if (status == TT_OK) {
        plan->brokers = m == NULL ? 0 : m->brokers;
        snprintf(plan->cluster, sizeof plan->cluster, "%s", m == NULL ? "" : m->cluster_id);
        status = plan_topics(plan, p, &names, m, error);
    }
    if (m != NULL) p->module->metadata_free(&m);
    free(names.items);
    if (status != TT_OK) {
        if (error[0] == '\0')
            snprintf(error, TT_CONFIG_ERROR_MAX, "mirrors of Kafka: %s", tt_status_text(status));
        tt_kafka_plan_destroy(&plan);
        return status;
    }
    *out = plan;
    return TT_OK;
}

void tt_kafka_plan_destroy(struct tt_kafka_plan **plan)
{
    struct tt_kafka_plan *p = *plan;
    if (p == NULL) return;
    for (uint32_t i = 0; i < p->count; i++) {
        if (p->logs[i].recovered != NULL) tt_logs_forget(&p->logs[i]);
        free(p->topics[i].of);
    }
    free(p->topics);
    free(p->logs);
    free(p);
    *plan = NULL;
}
