/* Reading: partitions straight onto the queue of their shard, without a group. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/kafka/module/handle.h"

static const uint64_t one = 1;

static rd_kafka_topic_t *consumer_topic(struct tt_kafka *kafka, const char *name)
{
    pthread_mutex_lock(&kafka->lock);
    rd_kafka_topic_t *topic = topics_get(&kafka->consumer_topics, kafka->consumer, name);
    pthread_mutex_unlock(&kafka->lock);
    return topic;
}

int kafka_open_queue(struct tt_kafka *kafka, uint32_t queue, int event_fd,
                     char error[TT_KAFKA_ERROR_MAX])
{
    struct queue *q = &kafka->queues[queue];
    rd_kafka_queue_t *messages = rd_kafka_queue_new(kafka->consumer);
    if (messages == NULL) return fail(kafka, error, TT_KAFKA_EINVAL, "out of memory");
    q->messages = messages;
    q->event_fd = event_fd;
    rd_kafka_queue_io_event_enable(messages, event_fd, &one, sizeof(one));
    producer_listen(q);
    /* Edges are told, and a producer may have had some before. */
    (void)!write(event_fd, &one, sizeof(one));
    return 0;
}

static void release_batch(struct queue *q)
{
    for (uint32_t i = 0; i < q->batch_count; i++) rd_kafka_message_destroy(q->batch[i]);
    q->batch_count = 0;
}

void kafka_close_queue(struct tt_kafka *kafka, uint32_t queue)
{
    struct queue *q = &kafka->queues[queue];
    if (q->messages == NULL) return;
    for (uint32_t i = 0; i < q->started_count; i++)
        (void)rd_kafka_consume_stop(q->started[i].topic, q->started[i].partition);
    free(q->started);
    q->started = NULL;
    q->started_count = q->last = 0;
    release_batch(q);
    rd_kafka_queue_io_event_enable(q->messages, -1, NULL, 0);
    rd_kafka_queue_destroy(q->messages);
    q->messages = NULL;
    q->event_fd = -1;
    producer_listen(q);
}

int kafka_start(struct tt_kafka *kafka, uint32_t queue, const char *topic, int32_t partition,
                int64_t offset, uint64_t tag, char error[TT_KAFKA_ERROR_MAX])
{
    struct queue *q = &kafka->queues[queue];
    struct started *list = realloc(q->started, (q->started_count + 1) * sizeof(*list));
    if (list == NULL) return fail(kafka, error, TT_KAFKA_EINVAL, "out of memory");
    q->started = list;
    rd_kafka_topic_t *handle = consumer_topic(kafka, topic);
    if (handle == NULL)
        return fail(kafka, error, TT_KAFKA_EINVAL, "topic %s: not a name of a topic", topic);
    if (rd_kafka_consume_start_queue(handle, partition, offset, q->messages) != 0) {
        rd_kafka_resp_err_t code = rd_kafka_last_error();
        return fail(kafka, error, code, "topic %s, partition %d: cannot be read: %s", topic,
                    partition, rd_kafka_err2str(code));
    }
    list[q->started_count++] =
        (struct started){.topic = handle, .partition = partition, .tag = tag};
    return 0;
}

void kafka_stop(struct tt_kafka *kafka, uint32_t queue, const char *topic, int32_t partition)
{
    struct queue *q = &kafka->queues[queue];
    rd_kafka_topic_t *handle = consumer_topic(kafka, topic);
    for (uint32_t i = 0; i < q->started_count; i++) {
        if (q->started[i].topic != handle || q->started[i].partition != partition) continue;
        (void)rd_kafka_consume_stop(handle, partition);
        q->started[i] = q->started[--q->started_count];
        q->last = 0;
        return;
    }
}

struct tt_kafka_message message_of(rd_kafka_message_t *from)
{
    struct tt_kafka_message m = {.offset = from->offset, .timestamp_ms = -1, .message_ = from};
    switch ((int)from->err) {
    case RD_KAFKA_RESP_ERR_NO_ERROR: {
        rd_kafka_timestamp_type_t type;
        m.kind = TT_KAFKA_RECORD;
        m.timestamp_ms = rd_kafka_message_timestamp(from, &type);
        m.key = from->key;
        m.key_size = from->key_len;
        m.value = from->payload;
        m.value_size = from->len;
        return m;
    }
    case RD_KAFKA_RESP_ERR__PARTITION_EOF: m.kind = TT_KAFKA_END; return m;
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE: m.kind = TT_KAFKA_OUT_OF_RANGE; break;
    default: m.kind = TT_KAFKA_ERROR;
    }
    m.code = m.kind == TT_KAFKA_OUT_OF_RANGE ? TT_KAFKA_ERANGE : (int32_t)from->err;
    m.error = rd_kafka_message_errstr(from);
    return m;
}

/* Index into started of the partition that a message is of; started_count: none (it was stopped
 * after librdkafka put it out). */
static uint32_t find_started(struct queue *q, const rd_kafka_message_t *m)
{
    uint32_t i = q->last;
    for (uint32_t looked = 0; looked < q->started_count; looked++) {
        if (q->started[i].topic == m->rkt && q->started[i].partition == m->partition) {
            q->last = i;
            return i;
        }
        if (++i == q->started_count) i = 0;
    }
    return q->started_count;
}

/* A fetcher that found the queue full looks again after a second, or when its thread has something
 * else to do: here a request whose answer nobody waits for, sent (to any broker) each time that a
 * good part of a full queue was taken. Else every full queue costs up to a second. */
static void wake_fetchers(struct tt_kafka *kafka, struct queue *q)
{
    const struct rd_kafka_metadata *none;
    q->taken = 0;
    if (q->started_count > 0)
        (void)rd_kafka_metadata(kafka->consumer, 0, q->started[0].topic, &none, 0);
}

uint32_t kafka_poll(struct tt_kafka *kafka, uint32_t queue, struct tt_kafka_message *messages,
                    uint32_t max)
{
    struct queue *q = &kafka->queues[queue];
    uint32_t count = 0;
    if (q->taken >= kafka->wake_after) wake_fetchers(kafka, q);
    /* Again when nothing of a batch was of use: 0 means that the queue is empty. */
    while (count == 0) {
        release_batch(q);
        ssize_t got = rd_kafka_consume_batch_queue(q->messages, 0, q->batch,
                                                   max < BATCH_MAX ? max : BATCH_MAX);
        if (got <= 0) return 0;
        q->batch_count = (uint32_t)got;
        for (uint32_t i = 0; i < q->batch_count; i++) {
            uint32_t started = find_started(q, q->batch[i]);
            if (started == q->started_count) continue;
            q->taken += q->batch[i]->len + q->batch[i]->key_len + TT_KAFKA_MESSAGE_BYTES;
            messages[count] = message_of(q->batch[i]);
            messages[count++].tag = q->started[started].tag;
        }
    }
    return count;
}

uint32_t kafka_headers(const struct tt_kafka_message *m, struct tt_kafka_header *headers,
                       uint32_t max)
{
    rd_kafka_headers_t *list;
    if (rd_kafka_message_headers(m->message_, &list) != RD_KAFKA_RESP_ERR_NO_ERROR) return 0;
    uint32_t count = 0;
    for (size_t i = 0;; i++) {
        struct tt_kafka_header h;
        if (rd_kafka_header_get_all(list, i, &h.name, &h.value, &h.size) !=
            RD_KAFKA_RESP_ERR_NO_ERROR)
            return count;
        if (count < max) headers[count] = h;
        count++;
    }
}

bool kafka_end(struct tt_kafka *kafka, const char *topic, int32_t partition, int64_t *low,
               int64_t *high)
{
    return rd_kafka_get_watermark_offsets(kafka->consumer, topic, partition, low, high) ==
               RD_KAFKA_RESP_ERR_NO_ERROR &&
           *high >= 0;
}
