/* A topic's channels do not lie where its partitioner was said to put them, or it has more
 * partitions than before: its narrow clients become full, before the record that showed it is
 * handled.
 *
 * What a narrow client has of its own partition it keeps; in the others it begins at R, what this
 * shard has read: no event of its channels was there before, or that one would have shown it. Live
 * ones stay live. One that still takes its snapshot is ended: its questions went to one partition,
 * and it has no id yet, so it begins anew. Thread: owner shard. */
#ifndef TT_SHARD_CLIENT_REPARTITION_H
#define TT_SHARD_CLIENT_REPARTITION_H

#include <stdint.h>

struct tt_shard;

enum tt_repartition_cause {
    TT_REPARTITION_GREW,      /* the first record of a partition beyond N was read */
    TT_REPARTITION_MISPLACED, /* a record that lies elsewhere than the partitioner says */
};

/* tt_topology_note() has just turned the topic of this partition to ANY. */
void tt_repartition(struct tt_shard *shard, uint32_t partition, enum tt_repartition_cause cause);

#endif
