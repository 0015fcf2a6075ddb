/* Producing: a handle for each queue, whose acknowledgements are events on the queue's descriptor;
 * no thread but the shard's ever sees them. */
#include <stdlib.h>
#include <string.h>

#include "broker/kafka/module/handle.h"

static const uint64_t one = 1;

void producer_listen(struct queue *q)
{
    if (q->producer == NULL) return;
    if (q->deliveries == NULL) q->deliveries = rd_kafka_queue_get_main(q->producer);
    bool on = q->event_fd >= 0;
    rd_kafka_queue_io_event_enable(q->deliveries, q->event_fd, on ? &one : NULL,
                                   on ? sizeof(one) : 0);
}

static void release_event(rd_kafka_event_t **event)
{
    if (*event != NULL) rd_kafka_event_destroy(*event);
    *event = NULL;
}

void producer_close(struct queue *q)
{
    release_event(&q->event);
    topics_destroy(&q->producer_topics);
    if (q->deliveries != NULL) {
        rd_kafka_queue_io_event_enable(q->deliveries, -1, NULL, 0);
        rd_kafka_queue_destroy(q->deliveries);
        q->deliveries = NULL;
    }
    if (q->producer != NULL)
        (void)rd_kafka_purge(q->producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT |
                                              RD_KAFKA_PURGE_F_NON_BLOCKING);
}

/* After a fatal error (the idempotent producer lost its place, say) a handle is of no use. The new
 * one begins when all of the old one's messages came back, so that nothing is overtaken. */
static int renew(struct tt_kafka *kafka, struct queue *q, char error[TT_KAFKA_ERROR_MAX])
{
    if (q->outstanding > 0)
        return fail(kafka, error, TT_KAFKA_EFATAL, "the producer is being renewed");
    pthread_mutex_lock(&kafka->lock);
    rd_kafka_t **list = realloc(kafka->retired, (kafka->retired_count + 1) * sizeof(rd_kafka_t *));
    if (list != NULL) kafka->retired = list;
    pthread_mutex_unlock(&kafka->lock);
    if (list == NULL) return fail(kafka, error, TT_KAFKA_EFATAL, "out of memory");
    rd_kafka_t *producer = properties_open(&kafka->properties, HANDLE_PRODUCER, kafka->sink, error);
    if (producer == NULL) return TT_KAFKA_EFATAL;
    producer_close(q);
    pthread_mutex_lock(&kafka->lock);
    kafka->retired[kafka->retired_count++] = q->producer;
    pthread_mutex_unlock(&kafka->lock);
    q->producer = producer;
    q->failed = false;
    producer_listen(q);
    return 0;
}

static rd_kafka_headers_t *headers_of(const struct tt_kafka_outgoing *r)
{
    rd_kafka_headers_t *list = rd_kafka_headers_new(r->headers_count);
    for (uint32_t i = 0; i < r->headers_count; i++)
        (void)rd_kafka_header_add(list, r->headers[i].name, -1, r->headers[i].value,
                                  (ssize_t)r->headers[i].size);
    return list;
}

int kafka_produce(struct tt_kafka *kafka, uint32_t queue, const struct tt_kafka_outgoing *record,
                  char error[TT_KAFKA_ERROR_MAX])
{
    struct queue *q = &kafka->queues[queue];
    if (q->producer == NULL) return fail(kafka, error, TT_KAFKA_EINVAL, "nothing is produced here");
    if (q->failed) {
        int result = renew(kafka, q, error);
        if (result != 0) return result;
    }
    const struct tt_kafka_outgoing *r = record;
    rd_kafka_topic_t *handle = topics_get(&q->producer_topics, q->producer, r->topic);
    if (handle == NULL)
        return fail(kafka, error, TT_KAFKA_EINVAL, "topic %s: not a name of a topic", r->topic);
    rd_kafka_headers_t *list = r->headers_count > 0 ? headers_of(r) : NULL;
    rd_kafka_resp_err_t code = rd_kafka_producev(
        q->producer, RD_KAFKA_V_RKT(handle), RD_KAFKA_V_PARTITION(r->partition),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(r->key, r->key_size),
        RD_KAFKA_V_VALUE((void *)r->value, r->value_size), RD_KAFKA_V_TIMESTAMP(r->timestamp_ms),
        RD_KAFKA_V_HEADERS(list), RD_KAFKA_V_OPAQUE(r->opaque), RD_KAFKA_V_END);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        q->outstanding++;
        return 0;
    }
    if (list != NULL) rd_kafka_headers_destroy(list);
    if (code == RD_KAFKA_RESP_ERR__FATAL) q->failed = true;
    return fail(kafka, error, code, "topic %s: %s", r->topic, rd_kafka_err2str(code));
}

static struct tt_kafka_delivery delivery_of(const rd_kafka_message_t *m)
{
    rd_kafka_msg_status_t status = rd_kafka_message_status(m);
    return (struct tt_kafka_delivery){
        .opaque = m->_private,
        .error = m->err,
        .error_text = m->err != RD_KAFKA_RESP_ERR_NO_ERROR ? rd_kafka_err2str(m->err) : NULL,
        .possibly_written =
            m->err != RD_KAFKA_RESP_ERR_NO_ERROR && status != RD_KAFKA_MSG_STATUS_NOT_PERSISTED,
        .partition = m->partition,
        .offset = m->offset,
    };
}

/* The next event with deliveries in it; false: there is none now. */
static bool next_event(struct tt_kafka *kafka, struct queue *q)
{
    while (q->event == NULL) {
        rd_kafka_event_t *event = rd_kafka_queue_poll(q->deliveries, 0);
        if (event == NULL) return false;
        switch (rd_kafka_event_type(event)) {
        case RD_KAFKA_EVENT_DR: q->event = event; continue;
        case RD_KAFKA_EVENT_ERROR:
            /* librdkafka logs these itself. */
            if (rd_kafka_event_error_is_fatal(event))
                q->failed = true;
            else
                sink_log(kafka->sink, 3, NULL, rd_kafka_event_error_string(event));
            break;
        default: break;
        }
        rd_kafka_event_destroy(event);
    }
    return true;
}

uint32_t kafka_delivered(struct tt_kafka *kafka, uint32_t queue, struct tt_kafka_delivery *d,
                         uint32_t max)
{
    struct queue *q = &kafka->queues[queue];
    if (q->deliveries == NULL) return 0;
    uint32_t count = 0;
    while (count < max && next_event(kafka, q)) {
        const rd_kafka_message_t *m;
        while (count < max && (m = rd_kafka_event_message_next(q->event)) != NULL)
            d[count++] = delivery_of(m);
        if (count < max) release_event(&q->event);
    }
    q->outstanding -= count;
    return count;
}
