/* A source (shard/source.h) for a simulated broker: partitions of records in memory, as Kafka has
 * them, and what is produced, until the test acknowledges it.
 *
 * What a shard gets is drawn: runs of any length, from one partition or another, some of them
 * twice; the descriptor tells only what it has to. Items and their bytes are gone with the next
 * poll, so that a sanitizer finds who keeps them. Thread: whoever has the baton. */
#ifndef TT_TESTS_SUPPORT_SIM_SOURCE_H
#define TT_TESTS_SUPPORT_SIM_SOURCE_H

#include "tests/support/sim_clients.h"

struct sim_record {
    uint64_t offset;
    bool poison; /* nobody can use it */
    char *channel, *type, *payload;
    uint32_t flags;
};

struct sim_kafka_partition {
    struct sim_record *records;
    uint32_t count, capacity;
    uint64_t end;
    uint32_t given; /* records that the shard was given */
    bool told_end;  /* and that these are all */
    uint64_t read;  /* what all shards have read, as they said */
};

struct sim_kafka_shard {
    bool attached;
    bool silent; /* it was told that there is nothing: the next thing is told by the descriptor */
    bool nothing_done;
    void **lent; /* of the last poll */
    uint32_t lent_count, lent_capacity;
    struct tt_source_produce **under_way;
    uint32_t under_way_count, under_way_capacity;
    struct tt_source_produce **done;
    uint32_t done_count, done_capacity;
};

struct sim_source {
    struct tt_source base;
    struct sim *sim;
    struct sim_kafka_partition partitions[SIM_PARTITIONS_MAX];
    uint32_t partitions_count;
    struct sim_kafka_shard shards[SIM_SHARDS_MAX];
    uint32_t under_way_max; /* of a shard: more gets TT_FULL */
    unsigned fails;         /* one in so many is not acknowledged; 0: none */
    uint64_t polls, duplicates;
};

/* The broker mirrors it from its next sim_start() on. */
void sim_source_init(struct sim_source *s, struct sim *sim, uint32_t partitions);
void sim_source_deinit(struct sim_source *s);
/* Puts an event at the partition's end, where `hole` offsets stay empty. Returns its offset. */
uint64_t sim_source_append(struct sim_source *s, uint32_t partition, uint32_t hole,
                           const struct tt_event *event);
/* The same for a record that nobody can use, and for offsets without anything. */
void sim_source_poison(struct sim_source *s, uint32_t partition);
void sim_source_mark(struct sim_source *s, uint32_t partition, uint32_t offsets);
/* Settles one event that is being produced, of whichever shard. False: there is none. */
bool sim_source_settle(struct sim_source *s);
/* After sim_kill(). */
void sim_source_forget(struct sim_source *s);

#endif
