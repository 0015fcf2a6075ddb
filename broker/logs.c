#include "broker/logs.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "broker/kafka/mirror_file.h"
#include "broker/startup_files.h"
#include "proto/base/assert.h"
#include "shard/diag.h"
#include "store/idempotency.h"
#include "store/log.h"
#include "store/recovery.h"
#include "store/tail.h"

_Static_assert((int)TT_LOG_ALWAYS == (int)TT_LOG_SYNC_ALWAYS &&
                   (int)TT_LOG_INTERVAL == (int)TT_LOG_SYNC_INTERVAL &&
                   (int)TT_LOG_NEVER == (int)TT_LOG_SYNC_NEVER,
               "--log-sync's choices are the log's policies");

struct tt_logs {
    struct tt_recovered **recovered; /* of each topic; kept for the names of directories */
    struct tt_topic *topics;
    uint32_t topics_count;
    struct tt_tail_readers *readers;
    struct tt_partition *partitions;
    uint32_t count; /* slots included */
    uint32_t known;
};

/* A hint: where the system gives no large pages, it works without them. */
static void large_pages(void *memory, size_t bytes)
{
    (void)madvise(memory, bytes, MADV_HUGEPAGE);
}

static struct tt_tail_options tail_options(const struct tt_config *config)
{
    return (struct tt_tail_options){
        .advise = large_pages,
        .bytes = config->tail_bytes,
        .record_bytes_max = TT_RECORD_BYTES_MAX(config->max_event_bytes + TT_RECORD_TEXT_BYTES_MAX),
    };
}

/* What each of so many partitions may take of --channels-max. */
static uint32_t channels_max(const struct tt_config *config, uint32_t known)
{
    TT_ASSERT(known > 0);
    return (uint32_t)((config->channels_max + known - 1) / known);
}

uint64_t tt_logs_memory_bound_bytes(const struct tt_config *config, const struct tt_world *world)
{
    uint32_t known = 0;
    for (uint32_t i = 0; i < world->topics_count; i++) known += world->topics[i].partitions;
    const struct tt_tail_options options = tail_options(config);
    const struct tt_log_options log = {.segment_bytes = config->log_segment_bytes,
                                       .channels_max = channels_max(config, known)};
    return world->partitions_count *
           (tt_tail_memory_bytes(&options) + tt_log_memory_bytes(&log) +
            tt_idempotency_memory_bytes((uint32_t)config->idempotency_keys_max));
}

/* ---- recovering ---- */

/* The log of --data. */
static enum tt_status recover(struct tt_recovered **recovered, const struct tt_config *config,
                              struct tt_faults *faults, struct tt_io *io,
                              char error[TT_CONFIG_ERROR_MAX])
{
    const struct tt_files files = tt_startup_files(faults);
    const struct tt_recovery_options options = {
        .files = &files,
        .directory = config->data,
        .partitions = (uint32_t)config->log_partitions,
        .segment_bytes = config->log_segment_bytes,
        .ceilings = config->log_sync != TT_LOG_SYNC_ALWAYS,
        .random = {tt_io_random(io), tt_io_random(io), tt_io_random(io)},
        .wall_us = tt_io_wall_us(io),
        .keys_window_us = (int64_t)config->idempotency_window_ms * 1000,
        .keys_max = (uint32_t)config->idempotency_keys_max,
        .channels_max = channels_max(config, (uint32_t)config->log_partitions),
    };
    char why[TT_RECOVERY_ERROR_BYTES] = "";
    enum tt_status status = tt_recovery_open(recovered, &options, why);
    if (status != TT_OK)
        snprintf(error, TT_CONFIG_ERROR_MAX, "--data=%s: %s", config->data,
                 why[0] != '\0' ? why : tt_status_text(status));
    return status;
}

enum tt_status tt_logs_mirror_path(const struct tt_config *config, const char *name,
                                   char path[TT_RECOVERY_DIRECTORY_MAX + 1])
{
    int size = snprintf(path, TT_RECOVERY_DIRECTORY_MAX + 1, "%s/kafka%s%s", config->data,
                        name[0] != '\0' ? "/" : "", name);
    return size >= 0 && size <= (int)TT_RECOVERY_DIRECTORY_MAX ? TT_OK : TT_EINVAL;
}

static enum tt_status path_failed(const char *path, enum tt_status status,
                                  char error[TT_CONFIG_ERROR_MAX])
{
    snprintf(error, TT_CONFIG_ERROR_MAX, "%s: %s", path, tt_status_text(status));
    return status;
}

/* DATA/kafka/NAME and what is above it. */
static enum tt_status make_mirror_directory(const struct tt_config *config, const char *name,
                                            const struct tt_files *files,
                                            char path[TT_RECOVERY_DIRECTORY_MAX + 1],
                                            char error[TT_CONFIG_ERROR_MAX])
{
    const char *above = config->data;
    const char *const names[] = {"", name};
    char before[TT_RECOVERY_DIRECTORY_MAX + 1];
    for (unsigned i = 0; i < (name[0] != '\0' ? 2 : 1); i++) {
        enum tt_status status = tt_logs_mirror_path(config, names[i], path);
        if (status != TT_OK) return path_failed(name, status, error);
        status = files->make_directory(files->context, path);
        if (status == TT_OK) status = files->sync_directory(files->context, above);
        if (status != TT_OK && status != TT_EEXIST) return path_failed(path, status, error);
        memcpy(before, path, sizeof before);
        above = before;
    }
    return TT_OK;
}

enum tt_status tt_logs_mirror_key(const struct tt_config *config, struct tt_faults *faults,
                                  const uint64_t random[2], struct tt_hash_key *key,
                                  char error[TT_CONFIG_ERROR_MAX])
{
    const struct tt_files files = tt_startup_files(faults);
    char path[TT_RECOVERY_DIRECTORY_MAX + 1];
    enum tt_status status = make_mirror_directory(config, "", &files, path, error);
    if (status != TT_OK) return status;
    status = tt_mirror_key_read(&files, path, key);
    if (status != TT_ENOENT && status != TT_EINVAL)
        return status == TT_OK ? TT_OK : path_failed(path, status, error);
    *key = (struct tt_hash_key){random[0], random[1]};
    status = tt_mirror_key_write(&files, path, key);
    return status == TT_OK ? TT_OK : path_failed(path, status, error);
}

enum tt_status tt_logs_recover(struct tt_logs_topic *topic, const struct tt_config *config,
                               const struct tt_hash_key *key, struct tt_faults *faults,
                               int64_t wall_us, char error[TT_CONFIG_ERROR_MAX])
{
    const struct tt_files files = tt_startup_files(faults);
    char path[TT_RECOVERY_DIRECTORY_MAX + 1];
    TT_ASSERT(topic->is.name[0] != '\0' && topic->recovered == NULL);
    enum tt_status status = make_mirror_directory(config, topic->is.name, &files, path, error);
    if (status != TT_OK) return status;
    const struct tt_recovery_options options = {
        .files = &files,
        .directory = path,
        .partitions = topic->is.partitions,
        .segment_bytes = config->log_segment_bytes,
        .mirror = true,
        .history = topic->is.history,
        .hash_key = *key,
        .slots = topic->is.capacity,
        .wall_us = wall_us,
        .channels_max = (uint32_t)config->channels_max,
    };
    char why[TT_RECOVERY_ERROR_BYTES] = "";
    status = tt_recovery_open(&topic->recovered, &options, why);
    if (status == TT_OK)
        topic->is.partitions = topic->recovered->known;
    else
        snprintf(error, TT_CONFIG_ERROR_MAX, "%s", why[0] != '\0' ? why : tt_status_text(status));
    return status;
}

enum tt_status tt_logs_drop_partition(struct tt_logs_topic *topic, uint32_t partition,
                                      struct tt_faults *faults, char error[TT_CONFIG_ERROR_MAX])
{
    const struct tt_files files = tt_startup_files(faults);
    char why[TT_RECOVERY_ERROR_BYTES];
    enum tt_status status = tt_recovery_drop_partition(topic->recovered, &files, partition, why);
    if (status != TT_OK) snprintf(error, TT_CONFIG_ERROR_MAX, "%s", why);
    return status;
}

void tt_logs_forget(struct tt_logs_topic *topic)
{
    if (topic->recovered != NULL) tt_recovery_destroy(&topic->recovered);
}

/* What an operator wants to find after a crash. */
static void tell(const struct tt_recovered *recovered, const char *directory, struct tt_diag *diag)
{
    tt_diag_write(diag, TT_DIAG_INFO, NULL, recovered->created ? "log_created" : "log_opened",
                  "%s: history %s, %u partitions", directory, recovered->history.text,
                  recovered->known);
    if (recovered->note[0] != '\0')
        tt_diag_write(diag, TT_DIAG_WARN, NULL, "mirror_dropped", "%s", recovered->note);
    for (uint32_t i = 0; i < recovered->partitions_count; i++) {
        const struct tt_recovered_partition *p = &recovered->partitions[i];
        if (p->torn_bytes != 0)
            tt_diag_write(diag, TT_DIAG_WARN, NULL, "log_torn",
                          "%s: %llu bytes of an unfinished write at place %llu were cut off",
                          p->directory, (unsigned long long)p->torn_bytes,
                          (unsigned long long)p->torn_place);
        if (p->note[0] != '\0')
            tt_diag_write(diag, TT_DIAG_WARN, NULL, p->dropped ? "mirror_dropped" : "log_values",
                          "%s", p->note);
        if (p->hole_first != p->hole_end)
            tt_diag_write(diag, TT_DIAG_WARN, NULL, "log_hole",
                          "%s: not ended cleanly: offsets %llu to %llu may have been given out and "
                          "are not used again",
                          p->directory, (unsigned long long)p->hole_first,
                          (unsigned long long)(p->hole_end - 1));
    }
}

/* ---- opening ---- */

static enum tt_status open_partition(struct tt_logs *l, const struct tt_config *config,
                                     struct tt_partition *p, uint32_t shards)
{
    struct tt_recovered *r = l->recovered[p->topic];
    const struct tt_recovered_partition *recovered = &r->partitions[p->number];
    struct tt_tail_options tail = tail_options(config);
    p->owner = p->index % shards;
    p->directory = recovered->directory;
    tail.next_offset = recovered->next_offset;
    tail.oldest_offset = recovered->oldest_offset;
    tail.readers = l->readers;
    tail.owner = p->owner;
    enum tt_status status = tt_tail_create(&p->tail, &tail);
    if (status == TT_OK)
        status = tt_idempotency_create(&p->idempotency, (uint32_t)config->idempotency_keys_max,
                                       (int64_t)config->idempotency_window_ms * 1000);
    if (status != TT_OK) return status;
    const struct tt_log_options options = {
        .recovered = r,
        .partition = p->number,
        .tail = p->tail,
        .policy = r->mirror ? TT_LOG_NEVER : (enum tt_log_policy)config->log_sync,
        .sync_interval_ns = config->log_sync_ms * 1000000,
        .segment_bytes = config->log_segment_bytes,
        .retention = {.bytes = config->log_retention_bytes / l->known,
                      .ms = config->log_retention_ms},
        .channels_max = channels_max(config, l->known),
        .forget_values = config->log_keep_last == TT_LOG_KEEP_LAST_NO,
    };
    return tt_log_create(&p->log, &options);
}

/* A key that recovery came across, and where. */
struct key_found {
    const struct tt_recovered_key *key;
    uint32_t partition;
};

static int by_age(const void *a, const void *b)
{
    const struct key_found *left = a, *right = b;
    if (left->key->taken_us != right->key->taken_us)
        return left->key->taken_us < right->key->taken_us ? -1 : 1;
    if (left->partition != right->partition) return left->partition < right->partition ? -1 : 1;
    return left->key < right->key ? -1 : left->key > right->key;
}

/* Fills the tables by which retries are recognised: each partition's with its own events, and each
 * key is claimed at its home again. Oldest first, so that the oldest are the first to be forgotten.
 */
static enum tt_status know_keys(struct tt_logs *l)
{
    const struct tt_recovered *r = l->recovered[0]; /* mirrors know of no keys */
    if (r->mirror) return TT_OK;
    int64_t now_us = r->wall_us;
    size_t count = 0;
    for (uint32_t i = 0; i < l->count; i++) count += r->partitions[i].keys_count;
    if (count == 0) return TT_OK;
    struct key_found *found = malloc(count * sizeof *found);
    if (found == NULL) return TT_ENOMEM;
    count = 0;
    for (uint32_t i = 0; i < l->count; i++)
        for (uint32_t k = 0; k < r->partitions[i].keys_count; k++)
            found[count++] = (struct key_found){&r->partitions[i].keys[k], i};
    qsort(found, count, sizeof *found, by_age);
    for (size_t i = 0; i < count; i++) {
        const struct tt_recovered_key *k = found[i].key;
        uint32_t home = tt_idempotency_home(k->block.key_hash, l->count);
        if (home != found[i].partition)
            tt_idempotency_claim(l->partitions[home].idempotency, &k->block, k->taken_us, now_us);
        /* More runs than a key can have: a retry will be refused. */
        (void)tt_idempotency_add(l->partitions[found[i].partition].idempotency, &k->block,
                                 k->first_offset, k->count, 0, k->taken_us, now_us);
    }
    free(found);
    return TT_OK;
}

/* The topics' recovered logs become ours; No topics: the log of --data is the only one. */
static enum tt_status take_topics(struct tt_logs *l, const struct tt_config *config,
                                  const struct tt_logs_options *options,
                                  char error[TT_CONFIG_ERROR_MAX])
{
    struct tt_logs_topic *topics = options->topics;
    enum tt_status status = TT_OK;
    if (topics == NULL) {
        l->topics[0] = (struct tt_topic){.name = "", .fixed = true};
        status = recover(&l->recovered[0], config, options->faults, options->io, error);
    }
    for (uint32_t i = 0; topics != NULL && i < l->topics_count; i++) {
        l->topics[i] = topics[i].is;
        l->recovered[i] = topics[i].recovered;
        topics[i].recovered = NULL;
    }
    for (uint32_t i = 0; status == TT_OK && i < l->topics_count; i++) {
        struct tt_topic *t = &l->topics[i];
        const struct tt_recovered *r = l->recovered[i];
        char path[TT_RECOVERY_DIRECTORY_MAX + 1];
        if (topics != NULL) status = tt_logs_mirror_path(config, t->name, path);
        tell(r, topics != NULL ? path : config->data, options->diag);
        t->history = r->history;
        t->first = l->count;
        t->capacity = r->partitions_count;
        t->partitions = r->known;
        l->count += t->capacity;
        l->known += t->partitions;
    }
    return status;
}

/* All partitions of all topics, one behind the other. */
static enum tt_status open_partitions(struct tt_logs *l, const struct tt_config *config,
                                      uint32_t shards)
{
    l->partitions = calloc(l->count, sizeof(*l->partitions));
    enum tt_status status =
        l->partitions == NULL ? TT_ENOMEM : tt_tail_readers_create(&l->readers, shards);
    for (uint32_t i = 0; i < l->topics_count; i++) {
        for (uint32_t k = 0; status == TT_OK && k < l->topics[i].capacity; k++) {
            struct tt_partition *p = &l->partitions[l->topics[i].first + k];
            p->index = l->topics[i].first + k;
            p->topic = i;
            p->number = k;
            status = open_partition(l, config, p, shards);
        }
    }
    return status == TT_OK ? know_keys(l) : status;
}

static void fill(struct tt_world *world, const struct tt_logs *l)
{
    world->topics = l->topics;
    world->topics_count = l->topics_count;
    world->hash_key = l->recovered[0]->hash_key;
    world->partitions = l->partitions;
    world->partitions_count = l->count;
    world->readers = l->readers;
}

enum tt_status tt_logs_open(struct tt_logs **logs, const struct tt_config *config,
                            const struct tt_logs_options *options, struct tt_world *world,
                            char error[TT_CONFIG_ERROR_MAX])
{
    TT_ASSERT((options->topics == NULL) == (options->topics_count == 0));
    uint32_t count = options->topics != NULL ? options->topics_count : 1;
    struct tt_logs *l = calloc(1, sizeof(*l));
    if (l == NULL) return TT_ENOMEM;
    error[0] = '\0';
    l->recovered = calloc(count, sizeof(struct tt_recovered *));
    l->topics = calloc(count, sizeof(*l->topics));
    if (l->recovered == NULL || l->topics == NULL) {
        tt_logs_close(&l);
        return TT_ENOMEM;
    }
    l->topics_count = count;
    enum tt_status status = take_topics(l, config, options, error);
    if (status == TT_OK) status = open_partitions(l, config, world->shards_count);
    if (status != TT_OK) {
        if (error[0] == '\0')
            snprintf(error, TT_CONFIG_ERROR_MAX, "--tail-bytes=%llu, %u partitions: %s",
                     (unsigned long long)config->tail_bytes, l->count, tt_status_text(status));
        tt_logs_close(&l);
        return status;
    }
    fill(world, l);
    *logs = l;
    return TT_OK;
}

void tt_logs_close(struct tt_logs **logs)
{
    struct tt_logs *l = *logs;
    if (l == NULL) return;
    for (uint32_t i = 0; l->partitions != NULL && i < l->count; i++) {
        if (l->partitions[i].log != NULL) tt_log_destroy(&l->partitions[i].log);
        tt_idempotency_destroy(&l->partitions[i].idempotency);
        if (l->partitions[i].tail != NULL) tt_tail_destroy(&l->partitions[i].tail);
    }
    free(l->partitions);
    if (l->readers != NULL) tt_tail_readers_destroy(&l->readers);
    for (uint32_t i = 0; i < l->topics_count; i++)
        if (l->recovered[i] != NULL) tt_recovery_destroy(&l->recovered[i]);
    free(l->recovered);
    free(l->topics);
    free(l);
    *logs = NULL;
}
