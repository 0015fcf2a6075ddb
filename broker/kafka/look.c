/* One look at Kafka while a life lasts: what state each topic is in, what can be read on, and
 * whether the world still fits. */
#include <stdio.h>

#include "broker/kafka/watch_internal.h"

#define METADATA_MS 2000
#define HOLD_NS     UINT64_C(900000000)
#define COMPARE_MS  3000 /* of one look, for all that has to be compared */

struct look {
    struct tt_kafka_watch *watch;
    const struct tt_kafka_metadata *metadata;
    struct tt_kafka_planning planning;
    bool again;
};

/* ---- what is said ---- */

static const char *cause_of(enum tt_kafka_topic_state state)
{
    /* Nothing of names and addresses. */
    static const char *const texts[] = {
        [TT_KAFKA_TOPIC_UNKNOWN] = "a topic is not known yet",
        [TT_KAFKA_TOPIC_LIVE] = NULL,
        [TT_KAFKA_TOPIC_UNCHECKED] = "a topic could not be compared with its mirror yet",
        [TT_KAFKA_TOPIC_NO_LEADER] = "a partition has no leader",
        [TT_KAFKA_TOPIC_MISSING] = "a topic does not exist",
        [TT_KAFKA_TOPIC_DENIED] = "reading a topic is not allowed",
        [TT_KAFKA_TOPIC_FAILED] = "a topic cannot be read",
    };
    return texts[state];
}

void tt_kafka_watch_set_cause(struct tt_kafka_watch *w, const char *cause, const char *detail)
{
    pthread_mutex_lock(&w->lock);
    bool changed = w->news.cause != cause;
    if (changed) {
        w->news.since_ms = tt_kafka_plan_wall_us() / 1000;
        w->news.cause = cause;
        w->news.stale = cause != NULL;
    }
    pthread_mutex_unlock(&w->lock);
    if (!changed) return;
    if (cause != NULL)
        tt_diag_write(w->diag, TT_DIAG_WARN, NULL, "kafka_stale", "%s%s%s", cause,
                      detail[0] != '\0' ? ": " : "", detail);
    else
        tt_diag_write(w->diag, TT_DIAG_INFO, NULL, "kafka_live", "Kafka is read as it goes on");
    if (cause == NULL) tt_kafka_notes_forget(w->notes);
    tt_kafka_watch_tell(w);
}

static void need_life(struct look *l, const char *topic, const char *why)
{
    struct tt_kafka_watch *w = l->watch;
    l->again = true;
    tt_diag_write(w->diag, TT_DIAG_WARN, NULL, "kafka_new_life",
                  "topic %s: %s: the world is made anew, clients reconnect", topic, why);
    pthread_mutex_lock(&w->lock);
    w->news.again = true;
    pthread_mutex_unlock(&w->lock);
    tt_kafka_watch_tell(w);
}

static void set_state(struct tt_kafka_watch *w, uint32_t topic, enum tt_kafka_topic_state state,
                      const char *detail)
{
    struct tt_kafka_watched *watched = &w->watched[topic];
    if (watched->state == state) return;
    pthread_mutex_lock(&w->lock);
    watched->state = state;
    watched->since_ms = tt_kafka_plan_wall_us() / 1000;
    pthread_mutex_unlock(&w->lock);
    if (state != TT_KAFKA_TOPIC_LIVE)
        tt_diag_write(w->diag, TT_DIAG_WARN, NULL, "kafka_topic_state", "topic %s: %s%s%s",
                      w->plan->topics[topic].settings.name, tt_kafka_topic_state_text(state),
                      detail[0] != '\0' ? ": " : "", detail);
}

/* ---- partitions ---- */

static bool same_record(void *argument, const struct tt_kafka_message *m)
{
    const struct tt_kafka_place *place = argument;
    return m->timestamp_ms == place->last_timestamp_ms;
}

/* Whether a partition that was read in this life can go on where it stands: true; else *again says
 * whether it never can. */
static bool still_fits(struct look *l, const char *topic, uint32_t number, uint32_t partition)
{
    struct tt_kafka_place place = tt_kafka_source_place(l->watch->source, partition);
    const struct tt_kafka_known known = {.next = place.next,
                                         .has_last = place.has_last,
                                         .last_offset = place.last_offset,
                                         .same = same_record,
                                         .argument = &place};
    uint64_t low, end;
    switch (tt_kafka_plan_compare(&l->planning, topic, number, &known, &low, &end)) {
    case TT_KAFKA_FITS: return true;
    case TT_KAFKA_UNANSWERED: return false;
    case TT_KAFKA_IS_REMADE: need_life(l, topic, "it was made anew"); return false;
    case TT_KAFKA_IS_EXPIRED:
        need_life(l, topic, "Kafka's retention has gone past what was read");
        return false;
    }
    return false;
}

static void stop_topic(struct look *l, uint32_t topic)
{
    struct tt_kafka_watch *w = l->watch;
    uint32_t first = w->world->topics[topic].first;
    for (uint32_t i = 0; i < w->watched[topic].partitions; i++)
        if (tt_kafka_source_reads(w->source, first + i))
            tt_kafka_source_want(w->source, first + i, false);
}

static bool is_stopped(const struct tt_kafka_watch *w, uint32_t topic)
{
    uint32_t first = w->world->topics[topic].first;
    for (uint32_t i = 0; i < w->watched[topic].partitions; i++)
        if (tt_kafka_source_reads(w->source, first + i)) return false;
    return true;
}

/* True: all of its partitions fit, and can be read on. Nothing may be read meanwhile. */
static bool compare_topic(struct look *l, uint32_t topic)
{
    struct tt_kafka_watch *w = l->watch;
    const char *name = w->plan->topics[topic].settings.name;
    uint32_t first = w->world->topics[topic].first;
    for (uint32_t i = 0; i < w->watched[topic].partitions; i++)
        if (!still_fits(l, name, i, first + i)) return false;
    w->watched[topic].suspect = false;
    return true;
}

/* A partition that the library gave up, or says something about. */
static void look_at_trouble(struct look *l, uint32_t topic, uint32_t number)
{
    struct tt_kafka_watch *w = l->watch;
    uint32_t partition = w->world->topics[topic].first + number;
    int32_t code = tt_kafka_source_trouble(w->source, partition);
    if (code == TT_KAFKA_EUNKNOWN || code == TT_KAFKA_ERANGE) w->watched[topic].suspect = true;
    if (code != TT_KAFKA_ENOPARTITION) return;
    /* It was started before the library had heard of it, which may leave it waiting for ever. */
    tt_kafka_source_want(w->source, partition, false);
    w->watched[topic].hold_ns = tt_kafka_plan_now_ns() + HOLD_NS;
}

static void start_partitions(struct look *l, uint32_t topic)
{
    struct tt_kafka_watch *w = l->watch;
    uint32_t first = w->world->topics[topic].first;
    if (tt_kafka_plan_now_ns() < w->watched[topic].hold_ns) return;
    for (uint32_t i = 0; i < w->watched[topic].partitions; i++)
        if (!tt_kafka_source_reads(w->source, first + i))
            tt_kafka_source_want(w->source, first + i, true);
}

/* ---- topics ---- */

static void grow(struct look *l, uint32_t topic, uint32_t partitions)
{
    struct tt_kafka_watch *w = l->watch;
    struct tt_kafka_watched *watched = &w->watched[topic];
    tt_diag_write(w->diag, TT_DIAG_INFO, NULL, "kafka_partitions",
                  "topic %s has %u partitions now; it had %u", w->plan->topics[topic].settings.name,
                  partitions, watched->partitions);
    if (watched->partitions != 0) tt_kafka_plan_anywhere(&l->planning, &w->plan->topics[topic]);
    pthread_mutex_lock(&w->lock);
    watched->partitions = partitions;
    pthread_mutex_unlock(&w->lock);
    tt_kafka_source_grow(w->source, topic, partitions);
}

static const struct tt_kafka_topic *find(const struct tt_kafka_metadata *m, const char *name)
{
    for (uint32_t i = 0; i < m->topics_count; i++)
        if (strcmp(m->topics[i].name, name) == 0) return &m->topics[i];
    return NULL;
}

static enum tt_kafka_topic_state state_of(const struct tt_kafka_topic *t)
{
    if (t == NULL || t->code == TT_KAFKA_EUNKNOWN || t->code == TT_KAFKA_ENOTOPIC)
        return TT_KAFKA_TOPIC_MISSING;
    if (t->code == TT_KAFKA_EACCES) return TT_KAFKA_TOPIC_DENIED;
    if (t->error != NULL) return TT_KAFKA_TOPIC_FAILED;
    if (t->partitions_count == 0) return TT_KAFKA_TOPIC_MISSING;
    for (uint32_t i = 0; i < t->partitions_count; i++)
        if (t->partitions[i].leader < 0) return TT_KAFKA_TOPIC_NO_LEADER;
    return TT_KAFKA_TOPIC_LIVE;
}

/* What Kafka says of a topic fits the world; false: another life is needed. */
static bool fits(struct look *l, uint32_t topic, const struct tt_kafka_topic *says)
{
    struct tt_kafka_watch *w = l->watch;
    const struct tt_kafka_plan_topic *t = &w->plan->topics[topic];
    const char *why = NULL;
    if (t->cluster[0] == '\0')
        why = "it is there now";
    else if (says->partitions_count > w->world->topics[topic].capacity)
        why = "it has more partitions than there are slots";
    else if (says->partitions_count < w->watched[topic].partitions)
        why = "it was made anew, with fewer partitions";
    if (why != NULL) need_life(l, t->settings.name, why);
    return why == NULL;
}

/* A topic that has come up fits the slots that wait for it; false: another life is needed, or
 * Kafka did not answer. */
static bool is_young(struct look *l, uint32_t topic, uint32_t partitions)
{
    struct tt_kafka_plan_topic *t = &l->watch->plan->topics[topic];
    bool young = false;
    if (!tt_kafka_plan_is_young(&l->planning, &t->settings, partitions, &young)) return false;
    t->absent = false;
    if (!young) need_life(l, t->settings.name, "it is there now");
    return young;
}

/* The mirror was opened without Kafka's word. True: it fits, or did before. */
static bool check(struct look *l, uint32_t topic, uint32_t partitions)
{
    struct tt_kafka_plan_topic *t = &l->watch->plan->topics[topic];
    bool again = false;
    if (t->checked) return true;
    if (tt_kafka_plan_check(&l->planning, t, l->metadata->cluster_id, partitions, &again))
        return true;
    if (again) need_life(l, t->settings.name, "its mirror does not fit what Kafka has");
    return false;
}

static void look_at_topic(struct look *l, uint32_t topic)
{
    struct tt_kafka_watch *w = l->watch;
    struct tt_kafka_watched *watched = &w->watched[topic];
    const struct tt_kafka_topic *says = find(l->metadata, w->plan->topics[topic].settings.name);
    enum tt_kafka_topic_state state = state_of(says);
    if (tt_kafka_source_misplaced(w->source, topic))
        tt_kafka_plan_anywhere(&l->planning, &w->plan->topics[topic]);
    if (state == TT_KAFKA_TOPIC_MISSING) {
        watched->suspect = true;
        stop_topic(l, topic);
    }
    if (state != TT_KAFKA_TOPIC_LIVE && state != TT_KAFKA_TOPIC_NO_LEADER) {
        set_state(w, topic, state, says != NULL && says->error != NULL ? says->error : "");
        return;
    }
    if (!fits(l, topic, says)) return;
    if (w->plan->topics[topic].absent && !is_young(l, topic, says->partitions_count)) return;
    if (says->partitions_count > watched->partitions) grow(l, topic, says->partitions_count);
    if (!check(l, topic, says->partitions_count)) {
        if (!l->again) set_state(w, topic, TT_KAFKA_TOPIC_UNCHECKED, l->planning.why);
        return;
    }
    for (uint32_t i = 0; !l->again && i < watched->partitions; i++) look_at_trouble(l, topic, i);
    if (!l->again && watched->suspect && state == TT_KAFKA_TOPIC_LIVE) {
        stop_topic(l, topic);
        /* Else its shards wake this thread when they have. */
        if (is_stopped(w, topic) && !compare_topic(l, topic)) state = TT_KAFKA_TOPIC_UNCHECKED;
    }
    if (l->again) return;
    if (!watched->suspect) start_partitions(l, topic);
    set_state(w, topic, state, "");
}

/* A topic that a regular expression matches and that the world does not have. */
static void look_for_topics(struct look *l)
{
    struct tt_kafka_watch *w = l->watch;
    if (!tt_kafka_topics_has_patterns(w->topics)) return;
    for (uint32_t i = 0; !l->again && i < l->metadata->topics_count; i++) {
        const struct tt_kafka_topic *t = &l->metadata->topics[i];
        bool known = t->error != NULL || !tt_kafka_topics_follows(w->topics, t->name);
        for (uint32_t k = 0; !known && k < w->plan->count; k++)
            known = strcmp(w->plan->topics[k].settings.name, t->name) == 0;
        if (!known) need_life(l, t->name, "it is new, and is to be followed");
    }
}

static void commit(struct tt_kafka_watch *w)
{
    if (w->config->kafka_commit_group[0] == '\0') return;
    for (uint32_t i = 0; i < w->plan->count; i++)
        for (uint32_t p = 0; p < w->watched[i].partitions; p++) {
            uint32_t partition = w->world->topics[i].first + p;
            uint64_t next = tt_kafka_source_read(w->source, partition);
            if (next == 0 || next == w->committed[partition]) continue;
            w->committed[partition] = next;
            w->module->commit(w->kafka, w->plan->topics[i].settings.name, (int32_t)p,
                              (int64_t)next);
        }
}

/* ---- all of it ---- */

static struct tt_kafka_metadata *ask(struct tt_kafka_watch *w, char why[TT_KAFKA_ERROR_MAX])
{
    struct tt_kafka_metadata *m = NULL;
    const char *names[TT_KAFKA_WATCH_NAMES];
    uint32_t count = 0;
    bool all = tt_kafka_topics_has_patterns(w->topics) || w->plan->count > TT_KAFKA_WATCH_NAMES;
    for (uint32_t i = 0; !all && i < w->plan->count; i++)
        names[count++] = w->plan->topics[i].settings.name;
    if (w->module->metadata(w->kafka, all ? NULL : names, count, METADATA_MS, &m, why) != 0)
        return NULL;
    return m;
}

void tt_kafka_watch_look(struct tt_kafka_watch *w)
{
    char why[TT_KAFKA_ERROR_MAX] = "";
    struct look l = {.watch = w, .planning = tt_kafka_watch_planning(w, COMPARE_MS)};
    commit(w);
    w->module->serve(w->kafka);
    struct tt_kafka_metadata *m = ask(w, why);
    if (m == NULL) {
        tt_diag_set_wall_us(w->diag, tt_kafka_plan_wall_us());
        tt_kafka_watch_set_cause(w, TT_KAFKA_CAUSE_AWAY, why);
        return;
    }
    l.metadata = m;
    /* The time for asking is not taken from what has to be compared. */
    l.planning = tt_kafka_watch_planning(w, COMPARE_MS);
    pthread_mutex_lock(&w->lock);
    w->brokers = m->brokers;
    snprintf(w->cluster, sizeof w->cluster, "%s", m->cluster_id);
    pthread_mutex_unlock(&w->lock);
    tt_diag_set_wall_us(w->diag, tt_kafka_plan_wall_us());
    const char *cause = NULL;
    for (uint32_t i = 0; !l.again && i < w->plan->count; i++) {
        look_at_topic(&l, i);
        if (cause == NULL) cause = cause_of(w->watched[i].state);
    }
    look_for_topics(&l);
    if (!l.again) tt_kafka_watch_set_cause(w, cause, "");
    w->module->metadata_free(&m);
}
