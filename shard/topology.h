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
 * struct tt_topic is immutable; struct tt_topology is a shard's own. Thread: owner shard. Memory:
 * allocated once, a few dozen bytes for each local number. */
#ifndef TT_SHARD_TOPOLOGY_H
#define TT_SHARD_TOPOLOGY_H

#include "proto/base/hash.h"
#include "proto/event/channel.h"
#include "proto/event/cursor.h"
#include "proto/event/event.h"
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

#define TT_PARTITION_ALL  UINT32_MAX       /* a full client: every partition of every topic */
#define TT_PARTITION_NONE (UINT32_MAX - 1) /* no such partition */

/* What a shard has seen of a topic. */
struct tt_topic_seen {
    uint32_t partitions; /* N */
    enum tt_partitioner partitioner;
};

struct tt_topology_local {
    struct tt_history history;
    uint32_t topic;
    uint32_t number;
};

struct tt_topology {
    const struct tt_topic *topics; /* borrowed */
    uint32_t topics_count;
    uint32_t partitions_count; /* local numbers: of all topics together */
    struct tt_hash_key hash_key;
    size_t cursor_bytes_max; /* no full cursor is ever longer */
    struct tt_topic_seen *seen;
    struct tt_topology_local *locals_;
    struct tt_cursor_topic *written_; /* scratch of one call */
};

/* The topics' local numbers follow each other, from 0 on. TT_OK; TT_ENOMEM (nothing to undo). */
TT_MUST_USE enum tt_status tt_topology_init(struct tt_topology *t, const struct tt_topic *topics,
                                            uint32_t topics_count,
                                            const struct tt_hash_key *hash_key);
void tt_topology_deinit(struct tt_topology *t);

/* ---- names ---- */

static inline const struct tt_topology_local *tt_topology_local(const struct tt_topology *t,
                                                                uint32_t partition)
{
    return &t->locals_[partition];
}
static inline const struct tt_topic *tt_topology_topic(const struct tt_topology *t,
                                                       uint32_t partition)
{
    return &t->topics[t->locals_[partition].topic];
}
static inline struct tt_position tt_topology_position(const struct tt_topology *t,
                                                      uint32_t partition, uint64_t offset)
{
    const struct tt_topology_local *l = &t->locals_[partition];
    return (struct tt_position){l->history, l->number, offset};
}
/* The local number of a partition as ids name it; TT_PARTITION_NONE: it is no topic of this world,
 * or beyond its slots. */
uint32_t tt_topology_find(const struct tt_topology *t, struct tt_history history, uint32_t number);
/* It is known to be there; else it is a slot of which no record was read. */
static inline bool tt_topology_is_seen(const struct tt_topology *t, uint32_t partition)
{
    const struct tt_topology_local *l = &t->locals_[partition];
    return l->number < t->seen[l->topic].partitions;
}
/* What stands behind the `/` of a narrow cursor: N; 0: nothing does. */
static inline uint32_t tt_topology_narrow_partitions(const struct tt_topology *t,
                                                     uint32_t partition)
{
    uint32_t topic = t->locals_[partition].topic;
    uint32_t n = t->seen[topic].partitions;
    return t->topics[topic].fixed && n == 1 ? 0 : n;
}
/* Writes the full cursor of a vector over all local numbers: all topics, each with its N, or with
 * as many as reach to the last slot of which the vector knows something. */
void tt_topology_write_full(const struct tt_topology *t, const uint64_t *vector,
                            struct tt_writer *w);
static inline bool tt_topology_cursor_fits(const struct tt_topology *t)
{
    return t->cursor_bytes_max <= TT_CURSOR_BYTES_MAX;
}

/* ---- where channels live ---- */

/* There is one partition, for ever: whoever follows anything touches that one. */
static inline bool tt_topology_is_single(const struct tt_topology *t)
{
    return t->partitions_count == 1 && t->topics_count == 1 && t->topics[0].fixed;
}
/* The only partition that these patterns can touch, of all topics; or TT_PARTITION_ALL. */
uint32_t tt_topology_of_patterns(const struct tt_topology *t, const struct tt_pattern *patterns,
                                 uint32_t count);
_Static_assert(TT_CURSOR_TOPICS_MAX <= 64, "a bit for each topic");
/* Bit i: topic i may hold what these patterns name. */
uint64_t tt_topology_touched(const struct tt_topology *t, const struct tt_pattern *patterns,
                             uint32_t count);
/* May the partition hold events of the channel? hash: of the channel, by the world's key. */
bool tt_topology_may_hold(const struct tt_topology *t, uint32_t partition, struct tt_bytes channel,
                          uint64_t hash);
/* Where an event of the channel goes when it is published to that topic: by our own hash, or as our
 * producer does it, by murmur2 of its key. */
uint32_t tt_topology_of_publish(const struct tt_topology *t, uint32_t topic,
                                struct tt_bytes channel);

/* ---- learning ---- */

/* A record of this partition is about to be handled; misplaced: it carries TT_EVENT_MISPLACED.
 * True: its topic was turned to ANY by this. */
static inline bool tt_topology_note(struct tt_topology *t, uint32_t partition, bool misplaced)
{
    const struct tt_topology_local *l = &t->locals_[partition];
    struct tt_topic_seen *seen = &t->seen[l->topic];
    if (l->number < seen->partitions && !misplaced) return false;
    if (l->number >= seen->partitions) seen->partitions = l->number + 1;
    if (t->topics[l->topic].fixed || seen->partitioner == TT_PARTITIONER_ANY) return false;
    seen->partitioner = TT_PARTITIONER_ANY;
    return true;
}

#endif
