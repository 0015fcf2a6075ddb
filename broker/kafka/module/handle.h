/* What the sources of tickertape-kafka.so share. Only its table (broker/kafka/module.h) is seen
 * from outside.
 *
 * Handles of librdkafka: `query` for everything that blocks (metadata, watermarks, single fetches,
 * commits), so that reading does not notice; `consumer` for reading, without a group; a producer
 * for each queue, so that shards never meet. */
#ifndef TT_BROKER_KAFKA_MODULE_HANDLE_H
#define TT_BROKER_KAFKA_MODULE_HANDLE_H

#include <librdkafka/rdkafka.h>
#include <pthread.h>

#include "broker/kafka/module.h"
#include "broker/kafka/module/properties.h"
#include "broker/kafka/module/sink.h"

#define BATCH_MAX 1024u

/* Topic handles of one rd_kafka_t; a handful, so they are searched one after the other. */
struct topics {
    rd_kafka_topic_t **list;
    uint32_t count;
};
/* The handle of a topic, made at its first use; null: no memory, or a name that cannot be. */
rd_kafka_topic_t *topics_get(struct topics *topics, rd_kafka_t *rk, const char *name);
void topics_destroy(struct topics *topics);

struct started {
    rd_kafka_topic_t *topic;
    int32_t partition;
    uint64_t tag;
};

/* One shard's. Thread: that shard. */
struct queue {
    rd_kafka_queue_t *messages; /* null: not open */
    struct started *started;
    uint32_t started_count;
    uint32_t last; /* index into started: messages come in runs of one partition */
    rd_kafka_message_t *batch[BATCH_MAX]; /* what the last poll gave */
    uint32_t batch_count;
    uint64_t taken; /* bytes since the last wake_fetchers() */

    rd_kafka_t *producer; /* null: there is none */
    rd_kafka_queue_t *deliveries;
    struct topics producer_topics;
    rd_kafka_event_t *event; /* being handed out */
    uint64_t outstanding;    /* produced and not delivered */
    bool failed; /* a fatal error: it is replaced when nothing is outstanding any more */
    int event_fd;
};

/* Committed offsets that wait for the next serve(). */
struct commits {
    rd_kafka_topic_partition_list_t *waiting; /* null: none */
    bool under_way;
};

struct tt_kafka {
    struct sink *sink;
    struct properties properties;
    bool no_producer;
    uint64_t wake_after;
    rd_kafka_t *query;
    rd_kafka_queue_t *query_events;
    /* Why the query handle reaches nobody, since its last answer; 0: nothing was heard. watch */
    rd_kafka_resp_err_t trouble;
    char trouble_text[256];
    struct topics query_topics; /* watch */
    struct commits commits;     /* watch */
    rd_kafka_t *consumer;
    rd_kafka_queue_t *consumer_events;
    pthread_mutex_t lock;          /* of the following */
    struct topics consumer_topics; /* handles live as long as the consumer */
    rd_kafka_t **retired;          /* failed producers, which watch destroys */
    uint32_t retired_count;
    uint32_t queues_count;
    struct queue queues[];
};

/* Formats an error and returns its code. */
int fail(struct tt_kafka *kafka, char error[TT_KAFKA_ERROR_MAX], int code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* create.c */
int kafka_create(struct tt_kafka **kafka, const struct tt_kafka_options *options,
                 char error[TT_KAFKA_ERROR_MAX]);
void kafka_destroy(struct tt_kafka **kafka);

/* query.c */
int kafka_metadata(struct tt_kafka *kafka, const char *const *topics, uint32_t topics_count,
                   int timeout_ms, struct tt_kafka_metadata **metadata,
                   char error[TT_KAFKA_ERROR_MAX]);
void kafka_metadata_free(struct tt_kafka_metadata **metadata);
int kafka_watermarks(struct tt_kafka *kafka, const char *topic, int32_t partition, int timeout_ms,
                     int64_t *low, int64_t *high, char error[TT_KAFKA_ERROR_MAX]);
int kafka_offset_at(struct tt_kafka *kafka, const char *topic, int32_t partition,
                    int64_t timestamp_ms, int timeout_ms, int64_t *offset,
                    char error[TT_KAFKA_ERROR_MAX]);
int kafka_fetch(struct tt_kafka *kafka, const char *topic, int32_t partition, int64_t offset,
                int timeout_ms, void (*look)(void *argument, const struct tt_kafka_message *m),
                void *argument, char error[TT_KAFKA_ERROR_MAX]);

/* serve.c */
void kafka_commit(struct tt_kafka *kafka, const char *topic, int32_t partition, int64_t next);
void kafka_serve(struct tt_kafka *kafka);
void serve_query_events(struct tt_kafka *kafka);

/* consume.c */
int kafka_open_queue(struct tt_kafka *kafka, uint32_t queue, int event_fd,
                     char error[TT_KAFKA_ERROR_MAX]);
void kafka_close_queue(struct tt_kafka *kafka, uint32_t queue);
int kafka_start(struct tt_kafka *kafka, uint32_t queue, const char *topic, int32_t partition,
                int64_t offset, uint64_t tag, char error[TT_KAFKA_ERROR_MAX]);
void kafka_stop(struct tt_kafka *kafka, uint32_t queue, const char *topic, int32_t partition);
uint32_t kafka_poll(struct tt_kafka *kafka, uint32_t queue, struct tt_kafka_message *messages,
                    uint32_t max);
uint32_t kafka_headers(const struct tt_kafka_message *m, struct tt_kafka_header *headers,
                       uint32_t max);
bool kafka_end(struct tt_kafka *kafka, const char *topic, int32_t partition, int64_t *low,
               int64_t *high);
/* What a message of librdkafka is in the table's terms, but for its tag. */
struct tt_kafka_message message_of(rd_kafka_message_t *from);

/* produce.c */
int kafka_produce(struct tt_kafka *kafka, uint32_t queue, const struct tt_kafka_outgoing *record,
                  char error[TT_KAFKA_ERROR_MAX]);
uint32_t kafka_delivered(struct tt_kafka *kafka, uint32_t queue, struct tt_kafka_delivery *d,
                         uint32_t max);
void producer_listen(struct queue *q);
/* Ends its events and topics; the handle itself is the caller's. */
void producer_close(struct queue *q);

#endif
