#include "shard/topology.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "proto/event/partition_hash.h"

enum tt_status tt_topology_init(struct tt_topology *t, const struct tt_topic *topics,
                                uint32_t topics_count, const struct tt_hash_key *hash_key)
{
    *t =
        (struct tt_topology){.topics = topics, .topics_count = topics_count, .hash_key = *hash_key};
    for (uint32_t i = 0; i < topics_count; i++) t->partitions_count += topics[i].capacity;
    /* One more than needed: there may be none yet. */
    t->seen = calloc(topics_count + 1, sizeof *t->seen);
    t->locals_ = calloc(t->partitions_count + 1, sizeof *t->locals_);
    t->written_ = calloc(topics_count + 1, sizeof *t->written_);
    uint32_t *capacities = calloc(topics_count + 1, sizeof *capacities);
    if (t->seen == NULL || t->locals_ == NULL || t->written_ == NULL || capacities == NULL) {
        free(capacities);
        tt_topology_deinit(t);
        return TT_ENOMEM;
    }
    uint32_t local = 0;
    for (uint32_t i = 0; i < topics_count; i++) {
        const struct tt_topic *topic = &topics[i];
        TT_ASSERT(topic->first == local && topic->partitions <= topic->capacity);
        capacities[i] = topic->capacity;
        t->seen[i] = (struct tt_topic_seen){topic->partitions, topic->partitioner};
        t->written_[i] = (struct tt_cursor_topic){.history = topic->history, .first = local};
        for (uint32_t k = 0; k < topic->capacity; k++)
            t->locals_[local++] = (struct tt_topology_local){topic->history, i, k};
    }
    t->cursor_bytes_max = tt_cursor_full_bytes_max(capacities, topics_count);
    free(capacities);
    return TT_OK;
}

void tt_topology_deinit(struct tt_topology *t)
{
    free(t->seen);
    free(t->locals_);
    free(t->written_);
    *t = (struct tt_topology){0};
}

/* ---- names ---- */

uint32_t tt_topology_find(const struct tt_topology *t, struct tt_history history, uint32_t number)
{
    for (uint32_t i = 0; i < t->topics_count; i++) {
        const struct tt_topic *topic = &t->topics[i];
        if (tt_history_equal(topic->history, history))
            return number < topic->capacity ? topic->first + number : TT_PARTITION_NONE;
    }
    return TT_PARTITION_NONE;
}

void tt_topology_write_full(const struct tt_topology *t, const uint64_t *vector,
                            struct tt_writer *w)
{
    for (uint32_t i = 0; i < t->topics_count; i++) {
        const struct tt_topic *topic = &t->topics[i];
        /* A cursor of an instance that has seen more partitions is given back whole. */
        uint32_t n = topic->capacity;
        while (n > t->seen[i].partitions && vector[topic->first + n - 1] == 0) n--;
        t->written_[i].count = n;
    }
    struct tt_cursor cursor = {.topics = t->written_,
                               .topics_count = t->topics_count,
                               .next = (uint64_t *)vector, /* it is only read */
                               .next_count = t->partitions_count};
    tt_cursor_write_full(w, &cursor);
}

/* ---- where channels live ---- */

/* The key of which a topic makes the channel. False: it makes no such channel of a key. */
static bool key_of(const struct tt_topic *topic, struct tt_bytes channel, struct tt_bytes *key)
{
    size_t around = topic->prefix.size + topic->suffix.size;
    if (channel.size <= around || !tt_bytes_starts(channel, topic->prefix)) return false;
    *key = tt_bytes(channel.data + topic->prefix.size, channel.size - around);
    return topic->suffix.size == 0 ||
           memcmp(key->data + key->size, topic->suffix.data, topic->suffix.size) == 0;
}

static bool has_one_for_ever(const struct tt_topology *t, uint32_t topic)
{
    return t->topics[topic].fixed && t->seen[topic].partitions == 1;
}

/* The partition of a topic that holds the channel; ALL: any of them may; NONE: none can. hash: of
 * the channel, null: not known yet. */
static uint32_t place(const struct tt_topology *t, uint32_t index, struct tt_bytes channel,
                      const uint64_t *hash)
{
    const struct tt_topic *topic = &t->topics[index];
    const struct tt_topic_seen *seen = &t->seen[index];
    struct tt_bytes key;
    if (has_one_for_ever(t, index)) return topic->first;
    if (seen->partitions == 0) return TT_PARTITION_ALL;
    if (seen->partitioner == TT_PARTITIONER_HASH) {
        uint64_t h = hash != NULL ? *hash : tt_hash(&t->hash_key, channel);
        return topic->first + (uint32_t)(h % seen->partitions);
    }
    /* Records without a key go to the channel that is named like the topic, and anywhere. */
    if (!topic->keyed || tt_bytes_is(channel, topic->name)) return TT_PARTITION_ALL;
    if (!key_of(topic, channel, &key)) return TT_PARTITION_NONE;
    if (seen->partitioner == TT_PARTITIONER_MURMUR2)
        return topic->first + tt_partition_of_murmur2(key, seen->partitions);
    if (seen->partitioner == TT_PARTITIONER_CRC32)
        return topic->first + tt_partition_of_crc32(key, seen->partitions);
    return TT_PARTITION_ALL;
}

/* The same for everything that a pattern matches. */
static uint32_t place_pattern(const struct tt_topology *t, uint32_t index,
                              const struct tt_pattern *pattern)
{
    const struct tt_topic *topic = &t->topics[index];
    if (pattern->kind == TT_PATTERN_EXACT) return place(t, index, pattern->text, NULL);
    if (has_one_for_ever(t, index)) return topic->first;
    bool possible = !topic->keyed || tt_bytes_starts(topic->prefix, pattern->text) ||
                    tt_bytes_starts(pattern->text, topic->prefix) ||
                    tt_bytes_starts(tt_bytes_text(topic->name), pattern->text);
    return possible ? TT_PARTITION_ALL : TT_PARTITION_NONE;
}

uint32_t tt_topology_of_patterns(const struct tt_topology *t, const struct tt_pattern *patterns,
                                 uint32_t count)
{
    if (tt_topology_is_single(t)) return 0;
    uint32_t only = TT_PARTITION_NONE;
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t k = 0; k < t->topics_count; k++) {
            uint32_t p = place_pattern(t, k, &patterns[i]);
            if (p == TT_PARTITION_NONE || p == only) continue;
            if (p == TT_PARTITION_ALL || only != TT_PARTITION_NONE) return TT_PARTITION_ALL;
            only = p;
        }
    }
    return only == TT_PARTITION_NONE ? TT_PARTITION_ALL : only;
}

uint64_t tt_topology_touched(const struct tt_topology *t, const struct tt_pattern *patterns,
                             uint32_t count)
{
    uint64_t touched = 0;
    uint64_t all = t->topics_count < 64 ? (UINT64_C(1) << t->topics_count) - 1 : UINT64_MAX;
    for (uint32_t i = 0; i < count && touched != all; i++)
        for (uint32_t k = 0; k < t->topics_count; k++)
            if ((touched >> k & 1) == 0 && place_pattern(t, k, &patterns[i]) != TT_PARTITION_NONE)
                touched |= UINT64_C(1) << k;
    return touched;
}

bool tt_topology_may_hold(const struct tt_topology *t, uint32_t partition, struct tt_bytes channel,
                          uint64_t hash)
{
    uint32_t p = place(t, t->locals_[partition].topic, channel, &hash);
    return p == TT_PARTITION_ALL || p == partition;
}

uint32_t tt_topology_of_publish(const struct tt_topology *t, uint32_t index,
                                struct tt_bytes channel)
{
    const struct tt_topic *topic = &t->topics[index];
    uint32_t n = t->seen[index].partitions;
    struct tt_bytes key = channel;
    if (n <= 1) return topic->first;
    if (topic->partitioner == TT_PARTITIONER_HASH)
        return topic->first + (uint32_t)(tt_hash(&t->hash_key, channel) % n);
    if (topic->keyed) (void)key_of(topic, channel, &key);
    return topic->first + tt_partition_of_murmur2(key, n);
}
