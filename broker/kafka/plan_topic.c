/* One topic: its mirror, beside what Kafka says of it. */
#include <stdio.h>
#include <stdlib.h>

#include "broker/kafka/mapping.h"
#include "broker/kafka/mapping_file.h"
#include "broker/kafka/mirror_file.h"
#include "broker/kafka/plan_internal.h"
#include "broker/startup_files.h"

/* What is worked on. */
struct work {
    struct tt_kafka_planning *planning;
    struct tt_kafka_plan_topic *topic;
    struct tt_logs_topic *logs;
    const struct tt_hash_key *key;
    char *error;
};

/* ---- resets ---- */

static void count_reset(const struct work *w, enum tt_kafka_reset reset)
{
    uint64_t *count = &w->planning->resets[reset];
    __atomic_store_n(count, *count + 1, __ATOMIC_RELAXED);
}

static void tell_remade(const struct work *w, uint32_t partition, uint64_t known, uint64_t end)
{
    count_reset(w, TT_KAFKA_RESET_REMADE);
    tt_diag_write(w->planning->diag, TT_DIAG_WARN, NULL, "kafka_topic_remade",
                  "topic %s was made anew (partition %u: mirrored up to %llu, Kafka has other "
                  "records, up to %llu): its mirror is dropped. Generation %u: configure "
                  "generation=%u for it, so that all instances give the same ids",
                  w->topic->settings.name, partition, (unsigned long long)known,
                  (unsigned long long)end, w->topic->generation + 1, w->topic->generation + 1);
}

/* ---- one partition ---- */

bool tt_kafka_plan_begin(struct tt_kafka_planning *p,
                         const struct tt_kafka_topic_settings *settings, uint32_t partition,
                         uint64_t low, uint64_t end, uint64_t *begin)
{
    int64_t offset;
    *begin = low;
    if (settings->backfill_ms == TT_KAFKA_BACKFILL_ALL || low == end) return true;
    *begin = end;
    if (settings->backfill_ms == 0) return true;
    int timeout_ms = tt_kafka_plan_timeout_ms(p);
    if (timeout_ms == 0) return false;
    int64_t from_ms = tt_kafka_plan_wall_us() / 1000 - (int64_t)settings->backfill_ms;
    p->code = p->module->offset_at(p->kafka, settings->name, (int32_t)partition, from_ms,
                                   timeout_ms, &offset, p->why);
    if (p->code != 0) return false;
    if (offset >= 0) *begin = (uint64_t)offset < low ? low : (uint64_t)offset;
    return true;
}

struct same {
    const struct tt_kafka_topic_settings *settings;
    const struct tt_kafka_module *module;
    uint32_t crc;
};

static bool same_event(void *argument, const struct tt_kafka_message *m)
{
    const struct same *same = argument;
    struct tt_kafka_header headers[TT_KAFKA_HEADERS_READ_MAX];
    enum tt_kafka_skip skip;
    struct tt_event event;
    size_t bytes = TT_KAFKA_MAP_BYTES_MAX(same->settings->event_bytes_max);
    uint8_t *memory = malloc(bytes);
    if (memory == NULL) return true; /* it cannot be said */
    struct tt_writer scratch = tt_writer(memory, bytes);
    uint32_t count = tt_kafka_wants_headers(same->settings, m)
                         ? same->module->headers(m, headers, TT_KAFKA_HEADERS_READ_MAX)
                         : 0;
    bool is_same =
        tt_kafka_map(same->settings, m, headers, count, &scratch, &event, &skip) == TT_OK &&
        tt_record_event_crc(&event) == same->crc;
    free(memory);
    return is_same;
}

static enum tt_kafka_fit compare(struct tt_kafka_planning *p, struct tt_kafka_plan_topic *t,
                                 uint32_t i, uint64_t *low)
{
    struct tt_kafka_plan_partition *of = &t->of[i];
    struct same same = {&t->settings, p->module, of->last_crc};
    const struct tt_kafka_known known = {.next = of->next,
                                         .has_last = of->has_last,
                                         .last_offset = of->last_offset,
                                         .same = same_event,
                                         .argument = &same};
    enum tt_kafka_fit fit = tt_kafka_plan_compare(p, t->settings.name, i, &known, low, &of->end);
    of->has_end = fit != TT_KAFKA_UNANSWERED;
    return fit;
}

static bool is_empty(const struct work *w, uint32_t i)
{
    return tt_recovery_is_empty(&w->logs->recovered->partitions[i]);
}

/* TT_OK: it fits, or was dropped and begins again, or Kafka did not answer (*answered);
 * TT_EEXIST: the topic was made anew. */
static enum tt_status plan_partition(const struct work *w, uint32_t i, bool *answered)
{
    struct tt_kafka_plan_partition *of = &w->topic->of[i];
    struct tt_recovered_partition *recovered = &w->logs->recovered->partitions[i];
    const char *name = w->topic->settings.name;
    uint64_t low;
    enum tt_kafka_fit fit = compare(w->planning, w->topic, i, &low);
    if (fit == TT_KAFKA_IS_REMADE) {
        tell_remade(w, i, of->next, of->end);
        return TT_EEXIST;
    }
    *answered = fit != TT_KAFKA_UNANSWERED;
    if (!*answered) return TT_OK;
    if (fit == TT_KAFKA_IS_EXPIRED && !is_empty(w, i)) {
        count_reset(w, TT_KAFKA_RESET_EXPIRED);
        tt_diag_write(
            w->planning->diag, TT_DIAG_WARN, NULL, "kafka_expired",
            "topic %s, partition %u: Kafka's retention has gone past the mirror (it needs "
            "%llu, Kafka begins at %llu): the partition's mirror is dropped",
            name, i, (unsigned long long)of->next, (unsigned long long)low);
        enum tt_status status = tt_logs_drop_partition(w->logs, i, w->planning->faults, w->error);
        if (status != TT_OK) return status;
    }
    if (!is_empty(w, i)) return TT_OK;
    *answered = tt_kafka_plan_begin(w->planning, &w->topic->settings, i, low, of->end, &of->next);
    of->has_last = false;
    if (*answered) tt_recovery_begin_at(recovered, of->next);
    return TT_OK;
}

/* ---- the topic ---- */

static struct tt_mirror mirror_of(const struct tt_kafka_plan_topic *t)
{
    struct tt_mirror mirror = {.generation = t->generation};
    snprintf(mirror.cluster, sizeof mirror.cluster, "%s", t->cluster);
    snprintf(mirror.topic, sizeof mirror.topic, "%s", t->settings.name);
    return mirror;
}

bool tt_kafka_plan_mirror(const struct tt_kafka_planning *p, const char *topic,
                          struct tt_mirror *mirror)
{
    const struct tt_files files = tt_startup_files(p->faults);
    char path[TT_RECOVERY_DIRECTORY_MAX + 1];
    return tt_logs_mirror_path(p->config, topic, path) == TT_OK &&
           tt_mirror_read(&files, path, mirror) == TT_OK && strcmp(mirror->topic, topic) == 0;
}

static void read_recovered(const struct work *w)
{
    const struct tt_recovered *r = w->logs->recovered;
    for (uint32_t i = 0; i < w->topic->partitions; i++) {
        const struct tt_recovered_partition *p = &r->partitions[i];
        w->topic->of[i] = (struct tt_kafka_plan_partition){.next = p->next_offset,
                                                           .has_last = p->has_last,
                                                           .last_offset = p->last_offset,
                                                           .last_crc = p->last_crc};
        if (!p->dropped) continue;
        count_reset(w, TT_KAFKA_RESET_DAMAGED);
        tt_diag_write(w->planning->diag, TT_DIAG_WARN, NULL, "kafka_mirror_damaged",
                      "topic %s, partition %u: the mirror is dropped and made again: %s",
                      w->topic->settings.name, i, p->note);
    }
}

/* Opens the mirror under the topic's history; partitions: N as Kafka says, or 0. */
static enum tt_status recover(const struct work *w, uint32_t partitions)
{
    struct tt_kafka_plan_topic *t = w->topic;
    struct tt_topic *is = &w->logs->is;
    struct tt_mirror mirror = mirror_of(t);
    t->history = tt_mirror_history(&mirror);
    if (w->logs->recovered != NULL) tt_logs_forget(w->logs);
    *is = (struct tt_topic){.name = t->settings.name,
                            .history = t->history,
                            .partitions = partitions,
                            .partitioner = t->settings.partitioner};
    is->keyed = tt_kafka_topic_is_keyed(&t->settings, &is->prefix, &is->suffix);
    /* A topic that is not there yet gets a new life when it is: one slot stands for it. */
    bool placeholder = t->cluster[0] == '\0';
    is->capacity =
        placeholder ? 1 : partitions + (uint32_t)w->planning->config->kafka_spare_partitions;
    if (is->capacity == 0) is->capacity = 1;
    if (is->capacity > TT_PARTITIONS_MAX) is->capacity = TT_PARTITIONS_MAX;
    enum tt_status status = tt_logs_recover(w->logs, w->planning->config, w->key,
                                            w->planning->faults, tt_kafka_plan_wall_us(), w->error);
    if (status != TT_OK) return status;
    t->partitions = is->partitions;
    free(t->of);
    t->of = calloc(t->partitions + 1, sizeof *t->of);
    if (t->of == NULL) return TT_ENOMEM;
    read_recovered(w);
    return TT_OK;
}

static enum tt_status write_file(const struct work *w)
{
    const struct tt_files files = tt_startup_files(w->planning->faults);
    struct tt_mirror mirror = mirror_of(w->topic);
    char path[TT_RECOVERY_DIRECTORY_MAX + 1];
    enum tt_status status = tt_logs_mirror_path(w->planning->config, mirror.topic, path);
    if (status == TT_OK) status = files.make_directory(files.context, path);
    if (status == TT_EEXIST) status = TT_OK;
    if (status == TT_OK) status = tt_mirror_write(&files, path, &mirror);
    if (status != TT_OK)
        snprintf(w->error, TT_CONFIG_ERROR_MAX, "%s/MIRROR: %s", path, tt_status_text(status));
    return status;
}

/* The topic is another one than the mirror's: the file first, so that a crash in between leaves a
 * mirror that its history says to drop. */
static enum tt_status begin_generation(const struct work *w, uint32_t partitions)
{
    enum tt_status status = write_file(w);
    return status == TT_OK ? recover(w, partitions) : status;
}

static bool has_present_mapping(const struct work *w)
{
    const struct tt_files files = tt_startup_files(w->planning->faults);
    char path[TT_RECOVERY_DIRECTORY_MAX + 1];
    return tt_logs_mirror_path(w->planning->config, w->topic->settings.name, path) == TT_OK &&
           tt_kafka_mapping_read(&files, path) == tt_kafka_mapping_hash(&w->topic->settings);
}

/* What other settings have made of the records is of no use. */
static enum tt_status map_again(const struct work *w)
{
    struct tt_kafka_plan_topic *t = w->topic;
    const struct tt_files files = tt_startup_files(w->planning->faults);
    char path[TT_RECOVERY_DIRECTORY_MAX + 1];
    uint64_t hash = tt_kafka_mapping_hash(&t->settings);
    if (has_present_mapping(w)) return TT_OK;
    enum tt_status status = tt_logs_mirror_path(w->planning->config, t->settings.name, path);
    bool any = false;
    for (uint32_t i = 0; status == TT_OK && i < t->partitions; i++) {
        if (is_empty(w, i)) continue;
        any = true;
        status = tt_logs_drop_partition(w->logs, i, w->planning->faults, w->error);
        t->of[i] = (struct tt_kafka_plan_partition){0};
    }
    if (any) {
        count_reset(w, TT_KAFKA_RESET_MAPPING);
        tt_diag_write(
            w->planning->diag, TT_DIAG_WARN, NULL, "kafka_mapping_changed",
            "topic %s: its records become other events by the present settings: the mirror "
            "is made again",
            t->settings.name);
    }
    return status == TT_OK ? tt_kafka_mapping_write(&files, path, hash) : status;
}

/* Whether the declared partitioner holds for what is mirrored. asked: N is Kafka's. */
static enum tt_status place(const struct work *w, bool asked)
{
    struct tt_kafka_plan_topic *t = w->topic;
    const struct tt_files files = tt_startup_files(w->planning->faults);
    const struct tt_kafka_placing now = {
        .history = t->history, .partitioner = t->settings.partitioner, .partitions = t->partitions};
    struct tt_kafka_placing before;
    char path[TT_RECOVERY_DIRECTORY_MAX + 1];
    bool empty = true;
    t->placing = now;
    if (now.partitioner == TT_PARTITIONER_ANY) return TT_OK;
    for (uint32_t i = 0; i < t->partitions; i++) empty &= is_empty(w, i);
    enum tt_status status = tt_logs_mirror_path(w->planning->config, t->settings.name, path);
    if (status != TT_OK) return status;
    bool known = tt_kafka_placing_read(&files, path, &before);
    t->placing = tt_kafka_placing_next(known ? &before : NULL, &now, empty);
    if (t->placing.anywhere) {
        w->logs->is.partitioner = TT_PARTITIONER_ANY;
        tt_diag_write(w->planning->diag, TT_DIAG_WARN, NULL, "repartitioned",
                      "topic %s: not all that is mirrored lies where the declared partitioner puts "
                      "it, or it was mirrored under another one: its channels may lie anywhere "
                      "until the mirror is made again",
                      t->settings.name);
    }
    if (asked) return tt_kafka_placing_write(&files, path, &t->placing);
    /* What was concluded without Kafka's N is not written down. */
    t->placing = known ? before : now;
    return TT_OK;
}

void tt_kafka_plan_anywhere(const struct tt_kafka_planning *p, struct tt_kafka_plan_topic *t)
{
    const struct tt_files files = tt_startup_files(p->faults);
    char path[TT_RECOVERY_DIRECTORY_MAX + 1];
    if (t->settings.partitioner == TT_PARTITIONER_ANY || t->placing.anywhere) return;
    t->placing.anywhere = true;
    if (tt_logs_mirror_path(p->config, t->settings.name, path) == TT_OK &&
        tt_kafka_placing_write(&files, path, &t->placing) == TT_OK)
        return;
    t->placing.anywhere = false; /* again at the next look */
}

static enum tt_status compare_partitions(const struct work *w, uint32_t partitions)
{
    struct tt_kafka_plan_topic *t = w->topic;
    enum tt_status status = TT_OK;
    bool answered = true;
    t->checked = true;
    if (t->partitions > partitions) { /* it cannot shrink */
        tell_remade(w, partitions, t->of[partitions].next, 0);
        status = TT_EEXIST;
    }
    for (uint32_t i = 0; status == TT_OK && i < t->partitions; i++) {
        if (answered) status = plan_partition(w, i, &answered);
        t->checked &= answered;
    }
    return status;
}

static enum tt_status plan_with_kafka(const struct work *w, const struct tt_mirror *file,
                                      const char *cluster, uint32_t partitions)
{
    struct tt_kafka_plan_topic *t = w->topic;
    struct tt_diag *diag = w->planning->diag;
    bool same_cluster = file != NULL && strcmp(file->cluster, cluster) == 0;
    snprintf(t->cluster, sizeof t->cluster, "%s", cluster);
    if (file != NULL && !same_cluster) {
        count_reset(w, TT_KAFKA_RESET_CLUSTER);
        tt_diag_write(diag, TT_DIAG_WARN, NULL, "kafka_cluster_changed",
                      "topic %s: the mirror is of cluster %s, this is %s: it is dropped",
                      t->settings.name, file->cluster, cluster);
    } else if (file != NULL && file->generation > t->generation) {
        t->generation = file->generation;
    } else if (file != NULL && file->generation < t->generation) {
        count_reset(w, TT_KAFKA_RESET_GENERATION);
        tt_diag_write(
            diag, TT_DIAG_WARN, NULL, "kafka_generation",
            "topic %s: generation %u is configured, the mirror is of generation %u: it is "
            "dropped",
            t->settings.name, t->generation, file->generation);
    }
    bool unchanged = same_cluster && file->generation == t->generation;
    enum tt_status status = unchanged ? recover(w, partitions) : begin_generation(w, partitions);
    if (status != TT_OK) return status;
    if (unchanged && w->logs->recovered->dropped) {
        count_reset(w, TT_KAFKA_RESET_DAMAGED);
        tt_diag_write(diag, TT_DIAG_WARN, NULL, "kafka_mirror_damaged",
                      "topic %s: the mirror is dropped and made again: %s", t->settings.name,
                      w->logs->recovered->note);
    }
    status = map_again(w);
    if (status == TT_OK) status = compare_partitions(w, partitions);
    if (status == TT_EEXIST) {
        t->generation++;
        status = begin_generation(w, partitions);
        if (status == TT_OK) status = compare_partitions(w, partitions);
    }
    return status == TT_OK ? place(w, true) : status;
}

enum tt_status tt_kafka_plan_topic(struct tt_kafka_planning *p, struct tt_kafka_plan_topic *topic,
                                   struct tt_logs_topic *logs, const struct tt_hash_key *key,
                                   const char *cluster, const struct tt_kafka_topic *metadata,
                                   char error[TT_CONFIG_ERROR_MAX])
{
    struct tt_mirror file;
    const struct work w = {p, topic, logs, key, error};
    topic->generation = topic->settings.generation;
    topic->mirrored = tt_kafka_plan_mirror(p, topic->settings.name, &file);
    enum tt_status status;
    /* A topic that Kafka does not have yet has its history all the same, and grows from nothing. */
    if (metadata == NULL && cluster[0] != '\0' && !topic->mirrored) {
        snprintf(topic->cluster, sizeof topic->cluster, "%s", cluster);
        status = begin_generation(&w, 0);
        if (status == TT_OK) status = map_again(&w);
        if (status == TT_OK) status = place(&w, true);
        topic->checked = topic->absent = true;
    } else if (metadata != NULL) {
        status = plan_with_kafka(&w, topic->mirrored ? &file : NULL, cluster,
                                 metadata->partitions_count);
    } else {
        if (topic->mirrored) {
            topic->other_mapping = !has_present_mapping(&w);
            snprintf(topic->cluster, sizeof topic->cluster, "%s", file.cluster);
            if (file.generation > topic->generation) topic->generation = file.generation;
        }
        status = recover(&w, 0);
        if (status == TT_OK && topic->mirrored) status = place(&w, false);
    }
    return status == TT_EEXIST ? TT_EIO : status;
}

bool tt_kafka_plan_is_young(struct tt_kafka_planning *p,
                            const struct tt_kafka_topic_settings *settings, uint32_t partitions,
                            bool *young)
{
    *young = true;
    for (uint32_t i = 0; *young && i < partitions; i++) {
        const struct tt_kafka_known nothing = {0};
        uint64_t low, end, begin;
        if (tt_kafka_plan_compare(p, settings->name, i, &nothing, &low, &end) ==
                TT_KAFKA_UNANSWERED ||
            !tt_kafka_plan_begin(p, settings, i, low, end, &begin))
            return false;
        *young = begin == 0;
    }
    return true;
}

bool tt_kafka_plan_check(struct tt_kafka_planning *p, struct tt_kafka_plan_topic *t,
                         const char *cluster, uint32_t partitions, bool *again)
{
    *again = t->other_mapping || strcmp(t->cluster, cluster) != 0 || partitions < t->partitions;
    for (uint32_t i = 0; !*again && i < t->partitions; i++) {
        uint64_t low, begin;
        enum tt_kafka_fit fit = compare(p, t, i, &low);
        if (fit == TT_KAFKA_UNANSWERED) return false;
        *again = fit != TT_KAFKA_FITS;
        if (*again || t->of[i].next != 0 || t->of[i].has_last) continue;
        /* Nothing is mirrored: where it begins could not be said before. */
        if (!tt_kafka_plan_begin(p, &t->settings, i, low, t->of[i].end, &begin)) return false;
        *again = begin != 0;
    }
    t->checked = !*again;
    return t->checked;
}
