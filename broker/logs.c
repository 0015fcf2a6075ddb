#include "broker/logs.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "broker/startup_files.h"
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
    struct tt_recovered *recovered; /* kept for the names of directories */
    struct tt_tail_readers *readers;
    struct tt_partition *partitions;
    uint32_t count;
    struct tt_topic topic;
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

/* What each partition may take of --channels-max. */
static uint32_t channels_max(const struct tt_config *config)
{
    return (uint32_t)((config->channels_max + config->log_partitions - 1) / config->log_partitions);
}

uint64_t tt_logs_memory_bound_bytes(const struct tt_config *config)
{
    const struct tt_tail_options options = tail_options(config);
    const struct tt_log_options log = {.segment_bytes = config->log_segment_bytes,
                                       .channels_max = channels_max(config)};
    return config->log_partitions *
           (tt_tail_memory_bytes(&options) + tt_log_memory_bytes(&log) +
            tt_idempotency_memory_bytes((uint32_t)config->idempotency_keys_max));
}

static enum tt_status recover(struct tt_logs *l, const struct tt_config *config,
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
        .channels_max = channels_max(config),
    };
    char why[TT_RECOVERY_ERROR_BYTES] = "";
    enum tt_status status = tt_recovery_open(&l->recovered, &options, why);
    if (status != TT_OK)
        snprintf(error, TT_CONFIG_ERROR_MAX, "--data=%s: %s", config->data,
                 why[0] != '\0' ? why : tt_status_text(status));
    return status;
}

/* What an operator wants to find after a crash. */
static void tell(const struct tt_recovered *recovered, const struct tt_config *config,
                 struct tt_diag *diag)
{
    tt_diag_write(diag, TT_DIAG_INFO, NULL, recovered->created ? "log_created" : "log_opened",
                  "%s: history %s, %u partitions", config->data, recovered->history.text,
                  recovered->partitions_count);
    for (uint32_t i = 0; i < recovered->partitions_count; i++) {
        const struct tt_recovered_partition *p = &recovered->partitions[i];
        if (p->torn_bytes != 0)
            tt_diag_write(diag, TT_DIAG_WARN, NULL, "log_torn",
                          "%s: %llu bytes of an unfinished write at place %llu were cut off",
                          p->directory, (unsigned long long)p->torn_bytes,
                          (unsigned long long)p->torn_place);
        if (p->note[0] != '\0')
            tt_diag_write(diag, TT_DIAG_WARN, NULL, "log_values", "%s", p->note);
        if (p->hole_first != p->hole_end)
            tt_diag_write(diag, TT_DIAG_WARN, NULL, "log_hole",
                          "%s: not ended cleanly: offsets %llu to %llu may have been given out and "
                          "are not used again",
                          p->directory, (unsigned long long)p->hole_first,
                          (unsigned long long)(p->hole_end - 1));
    }
}

static enum tt_status open_partition(struct tt_logs *l, const struct tt_config *config,
                                     uint32_t index, uint32_t shards)
{
    const struct tt_recovered_partition *recovered = &l->recovered->partitions[index];
    struct tt_partition *p = &l->partitions[index];
    struct tt_tail_options tail = tail_options(config);
    p->index = p->number = index;
    p->owner = index % shards;
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
        .recovered = l->recovered,
        .partition = index,
        .tail = p->tail,
        .policy = (enum tt_log_policy)config->log_sync,
        .sync_interval_ns = config->log_sync_ms * 1000000,
        .segment_bytes = config->log_segment_bytes,
        .retention = {.bytes = config->log_retention_bytes / config->log_partitions,
                      .ms = config->log_retention_ms},
        .channels_max = channels_max(config),
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
    int64_t now_us = l->recovered->wall_us;
    size_t count = 0;
    for (uint32_t i = 0; i < l->count; i++) count += l->recovered->partitions[i].keys_count;
    if (count == 0) return TT_OK;
    struct key_found *found = malloc(count * sizeof *found);
    if (found == NULL) return TT_ENOMEM;
    count = 0;
    for (uint32_t i = 0; i < l->count; i++)
        for (uint32_t k = 0; k < l->recovered->partitions[i].keys_count; k++)
            found[count++] = (struct key_found){&l->recovered->partitions[i].keys[k], i};
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

enum tt_status tt_logs_open(struct tt_logs **logs, const struct tt_config *config,
                            struct tt_faults *faults, struct tt_io *io, struct tt_world *world,
                            struct tt_diag *diag, char error[TT_CONFIG_ERROR_MAX])
{
    struct tt_logs *l = calloc(1, sizeof(*l));
    if (l == NULL) return TT_ENOMEM;
    enum tt_status status = recover(l, config, faults, io, error);
    if (status == TT_OK) {
        tell(l->recovered, config, diag);
        l->count = l->recovered->partitions_count;
        l->partitions = calloc(l->count, sizeof(*l->partitions));
        status = l->partitions == NULL ? TT_ENOMEM
                                       : tt_tail_readers_create(&l->readers, world->shards_count);
    }
    for (uint32_t i = 0; status == TT_OK && i < l->count; i++)
        status = open_partition(l, config, i, world->shards_count);
    if (status == TT_OK) status = know_keys(l);
    if (status != TT_OK) {
        if (error[0] == '\0')
            snprintf(error, TT_CONFIG_ERROR_MAX, "--tail-bytes=%llu, --log-partitions=%llu: %s",
                     (unsigned long long)config->tail_bytes,
                     (unsigned long long)config->log_partitions, tt_status_text(status));
        tt_logs_close(&l);
        return status;
    }
    l->topic = (struct tt_topic){.name = "",
                                 .history = l->recovered->history,
                                 .capacity = l->count,
                                 .partitions = l->count,
                                 .fixed = true};
    world->topics = &l->topic;
    world->topics_count = 1;
    world->history = l->recovered->history;
    world->hash_key = l->recovered->hash_key;
    world->partitions = l->partitions;
    world->partitions_count = l->count;
    world->readers = l->readers;
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
    if (l->recovered != NULL) tt_recovery_destroy(&l->recovered);
    free(l);
    *logs = NULL;
}
