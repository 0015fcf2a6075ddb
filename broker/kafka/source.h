/* Kafka as the source of a world's events (shard/source.h): over the module's queues, one for each
 * shard, with the mapping's words.
 *
 * Attaching opens a shard's queue. Which partitions are read Kafka's thread says, once it has seen
 * that mirror and Kafka agree; the shard starts and stops them in its next poll. What goes wrong
 * with a partition is left for that thread to find (tt_kafka_source_trouble); it is woken for it.
 *
 * Thread: tt_source's functions as shard/source.h says; "watch": Kafka's thread. A world's source
 * is created before its shards run and destroyed after they have ended. */
#ifndef TT_BROKER_KAFKA_SOURCE_H
#define TT_BROKER_KAFKA_SOURCE_H

#include "broker/kafka/module.h"
#include "broker/kafka/notes.h"
#include "broker/kafka/plan.h"
#include "broker/kafka/skips.h"
#include "shard/shard.h"

struct tt_kafka_source;

struct tt_kafka_source_options {
    const struct tt_kafka_module *module;
    struct tt_kafka *kafka;
    const struct tt_kafka_plan *plan; /* its topics are the world's */
    const struct tt_world *world;
    struct tt_kafka_notes *notes;
    int publish_topic;           /* index; < 0: publishing is off */
    int commands_topic;          /* where the channel "commands" goes; < 0: as all others */
    void (*wake)(void *context); /* Kafka's thread has something to look at; any thread */
    void *context;
};
/* Everything is borrowed. TT_OK, TT_ENOMEM. */
TT_MUST_USE enum tt_status tt_kafka_source_create(struct tt_kafka_source **source,
                                                  const struct tt_kafka_source_options *options);
void tt_kafka_source_destroy(struct tt_kafka_source **source);
struct tt_source *tt_kafka_source_of(struct tt_kafka_source *source);

/* ---- watch ---- */
/* A partition is to be read from where it stands, or no longer. Its shard follows soon (the thread
 * is woken then); if the library refuses, which is noted, it has to be wanted again. */
void tt_kafka_source_want(struct tt_kafka_source *source, uint32_t partition, bool wanted);
/* Whether it is read. */
bool tt_kafka_source_reads(const struct tt_kafka_source *source, uint32_t partition);
/* N of a topic has grown: events may be produced there. */
void tt_kafka_source_grow(struct tt_kafka_source *source, uint32_t topic, uint32_t partitions);

/* A record of the topic was found elsewhere than the declared partitioner puts it. */
bool tt_kafka_source_misplaced(const struct tt_kafka_source *source, uint32_t topic);

/* Where a partition stands. last: the newest record that was handed over in this life. */
struct tt_kafka_place {
    uint64_t next;
    bool has_last;
    uint64_t last_offset;
    int64_t last_timestamp_ms;
};
struct tt_kafka_place tt_kafka_source_place(const struct tt_kafka_source *source,
                                            uint32_t partition);
/* What every shard has read; 0: nothing yet. */
uint64_t tt_kafka_source_read(const struct tt_kafka_source *source, uint32_t partition);
/* Records that no event could be made of, by shard. Any thread. */
const struct tt_kafka_skips *tt_kafka_source_skips(const struct tt_kafka_source *source);
/* Takes what has gone wrong with a partition since the last call: Kafka does not have the offset
 * (ERANGE), or another code of Kafka or the library; 0: nothing. */
int32_t tt_kafka_source_trouble(struct tt_kafka_source *source, uint32_t partition);

#endif
