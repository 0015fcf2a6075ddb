/* Topics and their partitions: what a local partition number stands for in ids and cursors.
 *
 * An embedded log is one topic. In Kafka mode there is one for each topic that is followed, with a
 * history of its own. All partitions of all topics have *local numbers*, one behind the other:
 * everything in shards works with these; only ids and cursors name (history, number in the topic).
 *
 * Each topic has `capacity` local numbers, of which the first N are known to be partitions. N is
 * what a shard has seen: as at start, and one more than the highest that a record of this topic was
 * read from. So a new partition is learned from the log, in the log's order, and needs no message:
 * a slot without records is an empty partition at 0 that nobody can tell from one that does not
 * exist, and whoever has a cursor with a smaller N starts it at its beginning.
 *
 * Where a channel lives, `partitioner` says; ANY: nobody knows, clients are full. A record that the
 * owner found elsewhere than declared carries TT_EVENT_MISPLACED; a shard that reads one, or a
 * record of a partition >= N, turns the topic to ANY first, and its narrow clients full (other
 * partitions at R), before it handles the record.
 *
 * struct tt_topic is immutable; struct tt_topology is a shard's own. Thread: owner shard. */
#ifndef TT_SHARD_TOPOLOGY_H
#define TT_SHARD_TOPOLOGY_H

#include "proto/base/bytes.h"
#include "proto/event/position.h"

enum tt_partitioner {
    TT_PARTITIONER_HASH = 0, /* the log's own: keyed hash of the channel mod N (embedded) */
    TT_PARTITIONER_ANY,
    TT_PARTITIONER_MURMUR2, /* of the record's key, as Java's producers do */
    TT_PARTITIONER_CRC32,   /* as librdkafka's consistent_random */
};

struct tt_topic {
    const char *name; /* Kafka's; empty: the embedded log */
    struct tt_history history;
    uint32_t first;      /* local number of its partition 0 */
    uint32_t capacity;   /* local numbers */
    uint32_t partitions; /* N at start */
    bool fixed;          /* N never changes: an embedded log. With N = 1 ids carry no `/N` */
    enum tt_partitioner partitioner; /* as declared */
    /* Channels of the topic are prefix + key + suffix; !keyed: a header or anything else says. */
    bool keyed;
    struct tt_bytes prefix, suffix;
};

#endif
