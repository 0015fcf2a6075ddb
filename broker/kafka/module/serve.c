/* What the handles have to say besides messages, and the commits. Thread: watch. */
#include <stdio.h>
#include <stdlib.h>

#include "broker/kafka/module/handle.h"

/* Texts of a handle that librdkafka also logs come out once: the sink sees to it. */
static void say_error(struct tt_kafka *kafka, rd_kafka_event_t *event)
{
    sink_log(kafka->sink, 3, NULL, rd_kafka_event_error_string(event));
}

static void committed(struct tt_kafka *kafka, rd_kafka_event_t *event)
{
    kafka->commits.under_way = false;
    rd_kafka_resp_err_t code = rd_kafka_event_error(event);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR || code == RD_KAFKA_RESP_ERR__NO_OFFSET) return;
    char text[256];
    snprintf(text, sizeof(text), "offsets are not committed for the group: %s",
             rd_kafka_err2str(code));
    sink_log(kafka->sink, 4, NULL, text);
}

/* Remembers why brokers cannot be used; that all of them cannot is only the sum of it. */
static void remember(struct tt_kafka *kafka, rd_kafka_event_t *event)
{
    rd_kafka_resp_err_t code = rd_kafka_event_error(event);
    if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) return;
    kafka->trouble = code;
    snprintf(kafka->trouble_text, sizeof(kafka->trouble_text), "%s",
             rd_kafka_event_error_string(event));
}

static void serve_events(struct tt_kafka *kafka, rd_kafka_queue_t *events)
{
    rd_kafka_event_t *event;
    while ((event = rd_kafka_queue_poll(events, 0)) != NULL) {
        rd_kafka_event_type_t type = rd_kafka_event_type(event);
        if (type == RD_KAFKA_EVENT_ERROR) say_error(kafka, event);
        if (type == RD_KAFKA_EVENT_ERROR && events == kafka->query_events) remember(kafka, event);
        if (type == RD_KAFKA_EVENT_OFFSET_COMMIT) committed(kafka, event);
        rd_kafka_event_destroy(event);
    }
}

void serve_query_events(struct tt_kafka *kafka)
{
    serve_events(kafka, kafka->query_events);
}

void kafka_commit(struct tt_kafka *kafka, const char *topic, int32_t partition, int64_t next)
{
    struct commits *c = &kafka->commits;
    if (c->waiting == NULL) c->waiting = rd_kafka_topic_partition_list_new(8);
    rd_kafka_topic_partition_t *p =
        rd_kafka_topic_partition_list_find(c->waiting, topic, partition);
    if (p == NULL) p = rd_kafka_topic_partition_list_add(c->waiting, topic, partition);
    p->offset = next;
}

/* One commit at a time: while Kafka is away only the newest offsets wait. Without a member id, as
 * a group that nobody joins: Kafka takes it as long as no consumer is a member of that group. */
static void send_commits(struct tt_kafka *kafka)
{
    struct commits *c = &kafka->commits;
    if (c->waiting == NULL || c->under_way) return;
    c->under_way = rd_kafka_commit_queue(kafka->query, c->waiting, kafka->query_events, NULL,
                                         NULL) == RD_KAFKA_RESP_ERR_NO_ERROR;
    rd_kafka_topic_partition_list_destroy(c->waiting);
    c->waiting = NULL;
}

static void destroy_retired(struct tt_kafka *kafka)
{
    pthread_mutex_lock(&kafka->lock);
    rd_kafka_t **list = kafka->retired;
    uint32_t count = kafka->retired_count;
    kafka->retired = NULL;
    kafka->retired_count = 0;
    pthread_mutex_unlock(&kafka->lock);
    for (uint32_t i = 0; i < count; i++) rd_kafka_destroy(list[i]);
    free(list);
}

void kafka_serve(struct tt_kafka *kafka)
{
    serve_query_events(kafka);
    serve_events(kafka, kafka->consumer_events);
    send_commits(kafka);
    destroy_retired(kafka);
}
