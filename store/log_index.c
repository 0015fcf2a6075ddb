/* The indexes that a log has in memory: of the newest segment, of those that are planned, and of
 * sealed ones until their index file is complete. */
#include <stdlib.h>

#include "proto/base/assert.h"
#include "store/log_internal.h"

static size_t bytes_of(const struct tt_log *log)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < log->indexes_count; i++)
        if (log->indexes[i].index != NULL) bytes += tt_index_bytes(log->indexes[i].index);
    return bytes;
}

uint64_t tt_log_index_bytes(const struct tt_log *log)
{
    return bytes_of(log);
}

static void drop_at(struct tt_log *log, uint32_t i)
{
    tt_index_destroy(&log->indexes[i].index);
    log->indexes_count--;
    memmove(&log->indexes[i], &log->indexes[i + 1],
            (log->indexes_count - i) * sizeof *log->indexes);
}

struct tt_log_index *tt_log_index_at(struct tt_log *log, uint64_t base_place)
{
    for (uint32_t i = 0; i < log->indexes_count; i++)
        if (log->indexes[i].base_place == base_place) return &log->indexes[i];
    return NULL;
}

void tt_log_index_drop(struct tt_log *log, uint64_t base_place)
{
    struct tt_log_index *x = tt_log_index_at(log, base_place);
    if (x != NULL) drop_at(log, (uint32_t)(x - log->indexes));
}

/* Old ones go so that a new one has room: their segments have no index until that is rebuilt. The
 * one that is being written to its file stays. */
static bool make_room(struct tt_log *log)
{
    for (uint32_t i = 0; i < log->indexes_count && (log->indexes_count == TT_LOG_INDEXES_MAX ||
                                                    bytes_of(log) > log->index_bytes_max / 2);) {
        if (log->indexes[i].lent)
            i++;
        else
            drop_at(log, i);
    }
    return log->indexes_count < TT_LOG_INDEXES_MAX && bytes_of(log) <= log->index_bytes_max / 2;
}

void tt_log_index_begin(struct tt_log *log, uint64_t first_offset, uint64_t base_place,
                        struct tt_index *recovered)
{
    struct tt_index *before = tt_log_index_newest(log);
    const struct tt_index_options options = {
        .first_offset = first_offset,
        .base_place = base_place,
        .channels_hint = before != NULL ? tt_index_channels(before) : 0,
        .bytes_max = log->index_bytes_max / 2,
    };
    struct tt_index *index = recovered;
    bool room = make_room(log);
    if (index == NULL && (!room || tt_index_create(&index, &options) != TT_OK)) index = NULL;
    if (!room) tt_index_destroy(&index);
    log->index = index;
    if (index == NULL) return;
    log->indexes[log->indexes_count++] = (struct tt_log_index){
        .index = index, .first_offset = first_offset, .base_place = base_place};
}

struct tt_index *tt_log_index_newest(const struct tt_log *log)
{
    return log->index;
}

void tt_log_indexes_destroy(struct tt_log *log)
{
    while (log->indexes_count != 0) drop_at(log, log->indexes_count - 1);
    log->index = NULL;
}
