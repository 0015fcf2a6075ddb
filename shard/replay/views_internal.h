/* The inside of the views, for views.c and view_index.c. */
#ifndef TT_SHARD_REPLAY_VIEWS_INTERNAL_H
#define TT_SHARD_REPLAY_VIEWS_INTERNAL_H

#include "proto/base/pool.h"
#include "shard/replay/views.h"
#include "shard/shard_internal.h"

struct tt_partition_views {
    struct tt_view **items; /* by rising first offset; retired ones are not in it */
    uint32_t count;
    uint32_t max;
};

struct tt_views {
    struct tt_shard *shard;
    struct tt_partition_views *partitions;
    struct tt_pool pool;
    struct tt_list retired; /* that somebody reads from */
    struct tt_list indexes; /* those in memory, the least used first */
    size_t index_bytes;     /* of them */
};

/* Forgets the index, unless somebody uses it; while it is being read, when that has ended. */
void tt_view_index_drop(struct tt_views *views, struct tt_view *view);
/* At the end, when nothing is under way. */
void tt_view_index_free(struct tt_views *views, struct tt_view *view);

#endif
