/* What the files of the source share: what each partition and each shard's side has, and the way
 * between records and events. */
#ifndef TT_BROKER_KAFKA_SOURCE_INTERNAL_H
#define TT_BROKER_KAFKA_SOURCE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "broker/kafka/mapping.h"
#include "broker/kafka/source.h"

#define TT_KAFKA_POLL_MAX       1024u /* the module's own bound */
#define TT_KAFKA_DELIVERIES_MAX 256u

/* Written by the partition's owner, on a cache line of its own; wanted: by the watch. */
struct tt_kafka_source_part {
    _Alignas(64) _Atomic uint64_t next;
    _Atomic int64_t last_offset, last_timestamp;
    _Atomic uint64_t read;
    _Atomic int32_t trouble; /* the watch takes it */
    _Atomic bool wanted, reads;
};

struct tt_kafka_side {
    pthread_mutex_t lock; /* of the next two */
    bool attached;
    int event_fd;
    _Atomic bool changed; /* what is wanted differs from what is read */
    /* The shard's own: */
    struct tt_kafka_message *messages; /* of the module's last poll */
    uint32_t messages_count, messages_next;
    struct tt_writer scratch;             /* what the events of one poll point into */
    struct tt_kafka_delivery *deliveries; /* null: nothing is published */
    struct tt_writer record;              /* what the record that is produced points into */
};

struct tt_kafka_source {
    struct tt_source source; /* first */
    const struct tt_kafka_module *module;
    struct tt_kafka *kafka;
    const struct tt_kafka_plan *plan;
    uint32_t commands_topic; /* of the channel "commands" */
    const struct tt_world *world;
    struct tt_kafka_notes *notes;
    void (*wake)(void *context);
    void *context;
    struct tt_kafka_source_part *parts; /* by local number */
    struct tt_kafka_skips *skips;       /* by shard */
    struct tt_kafka_side *sides;        /* by shard */
    _Atomic uint32_t *partitions;       /* N now, by topic; written by the watch */
    _Atomic bool *misplaced;            /* by topic: a record was found elsewhere; for the watch */
};

enum tt_status tt_kafka_source_map_create(struct tt_kafka_source *s, struct tt_kafka_side *side);
void tt_kafka_source_map_destroy(struct tt_kafka_side *side);
/* A record becomes an EVENT or a SKIP. False: the scratch memory is full: give it to the next poll.
 */
bool tt_kafka_source_map(struct tt_kafka_source *s, struct tt_kafka_side *side,
                         const struct tt_kafka_message *m, struct tt_source_item *item);

enum tt_status tt_kafka_source_produce_create(struct tt_kafka_source *s,
                                              struct tt_kafka_side *side);
void tt_kafka_source_produce_destroy(struct tt_kafka_side *side);
/* ops */
enum tt_status tt_kafka_source_place_event(struct tt_source *source, uint32_t shard,
                                           const struct tt_event *event, uint32_t *partition,
                                           const char **why);
enum tt_status tt_kafka_source_produce(struct tt_source *source, uint32_t shard,
                                       struct tt_source_produce *p);
uint32_t tt_kafka_source_produced(struct tt_source *source, uint32_t shard,
                                  struct tt_source_produce **done, uint32_t max);

#endif
