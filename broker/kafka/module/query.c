/* Questions to Kafka, each with a bound on its wait. Thread: watch. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "broker/kafka/module/handle.h"

static int64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int left_ms(int64_t until)
{
    int64_t left = until - now_ms();
    return left > 0 ? (int)left : 0;
}

/* ---- metadata ---- */

static const char *topic_error(rd_kafka_resp_err_t code)
{
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR_NO_ERROR: return NULL;
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART: return "there is no such topic";
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED: return "not authorised for this topic";
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION: return "this cannot be the name of a topic";
    case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE: return "it has no leader yet";
    default: return rd_kafka_err2str(code);
    }
}

static bool fill_topic(struct tt_kafka_topic *to, const char *name,
                       const rd_kafka_metadata_topic_t *from)
{
    rd_kafka_resp_err_t code = from != NULL ? from->err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    to->name = strdup(name);
    if (to->name == NULL) return false;
    to->code = code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC ? TT_KAFKA_EUNKNOWN : (int32_t)code;
    to->error = topic_error(code);
    if (from == NULL || from->partition_cnt == 0) return true;
    int32_t last = 0;
    for (int i = 0; i < from->partition_cnt; i++)
        if (from->partitions[i].id > last) last = from->partitions[i].id;
    to->partitions_count = (uint32_t)(last + 1);
    to->partitions = calloc((size_t)last + 1, sizeof(*to->partitions));
    if (to->partitions == NULL) return false;
    for (int32_t i = 0; i <= last; i++) to->partitions[i].leader = -1;
    for (int i = 0; i < from->partition_cnt; i++)
        to->partitions[from->partitions[i].id].leader = from->partitions[i].leader;
    return true;
}

static const rd_kafka_metadata_topic_t *find_topic(const struct rd_kafka_metadata *m,
                                                   const char *name)
{
    for (int i = 0; i < m->topic_cnt; i++)
        if (strcmp(m->topics[i].topic, name) == 0) return &m->topics[i];
    return NULL;
}

void kafka_metadata_free(struct tt_kafka_metadata **metadata)
{
    struct tt_kafka_metadata *m = *metadata;
    *metadata = NULL;
    if (m == NULL) return;
    for (uint32_t i = 0; m->topics != NULL && i < m->topics_count; i++) {
        free((char *)m->topics[i].name);
        free(m->topics[i].partitions);
    }
    free(m->topics);
    free((char *)m->cluster_id);
    free(m);
}

/* In the order of names; without names, as Kafka has them. */
static struct tt_kafka_metadata *translate(const struct rd_kafka_metadata *from,
                                           const char *const *names, uint32_t names_count)
{
    struct tt_kafka_metadata *m = calloc(1, sizeof(*m));
    if (m == NULL) return NULL;
    m->brokers = (uint32_t)from->broker_cnt;
    m->topics_count = names != NULL ? names_count : (uint32_t)from->topic_cnt;
    m->topics = calloc(m->topics_count + 1, sizeof(*m->topics));
    bool whole = m->topics != NULL;
    for (uint32_t i = 0; i < m->topics_count && whole; i++) {
        const rd_kafka_metadata_topic_t *t =
            names != NULL ? find_topic(from, names[i]) : &from->topics[i];
        whole = fill_topic(&m->topics[i], names != NULL ? names[i] : t->topic, t);
    }
    if (!whole) kafka_metadata_free(&m);
    return m;
}

/* Asks for topics by name, or for all without names. */
static rd_kafka_resp_err_t ask(struct tt_kafka *kafka, const char *const *names,
                               uint32_t names_count, int timeout_ms,
                               const struct rd_kafka_metadata **answer)
{
    for (uint32_t i = 0; names != NULL && i < names_count; i++)
        if (topics_get(&kafka->query_topics, kafka->query, names[i]) == NULL)
            return RD_KAFKA_RESP_ERR__INVALID_ARG;
    return rd_kafka_metadata(kafka->query, names == NULL, NULL, answer, timeout_ms);
}

/* That nobody answers has a reason, which came as an error of its own: refused credentials, say. */
static int no_metadata(struct tt_kafka *kafka, rd_kafka_resp_err_t code,
                       char error[TT_KAFKA_ERROR_MAX])
{
    serve_query_events(kafka);
    if (kafka->trouble == RD_KAFKA_RESP_ERR_NO_ERROR)
        return fail(kafka, error, code, "Kafka does not answer: %s", rd_kafka_err2str(code));
    return fail(kafka, error, kafka->trouble, "Kafka cannot be used: %s", kafka->trouble_text);
}

int kafka_metadata(struct tt_kafka *kafka, const char *const *topics, uint32_t topics_count,
                   int timeout_ms, struct tt_kafka_metadata **metadata,
                   char error[TT_KAFKA_ERROR_MAX])
{
    *metadata = NULL;
    int64_t until = now_ms() + timeout_ms;
    const struct rd_kafka_metadata *answer = NULL;
    rd_kafka_resp_err_t code = ask(kafka, topics, topics_count, timeout_ms, &answer);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) return no_metadata(kafka, code, error);
    kafka->trouble = RD_KAFKA_RESP_ERR_NO_ERROR;
    struct tt_kafka_metadata *m = translate(answer, topics, topics_count);
    rd_kafka_metadata_destroy(answer);
    if (m == NULL) return fail(kafka, error, TT_KAFKA_EINVAL, "out of memory");
    char *id = rd_kafka_clusterid(kafka->query, left_ms(until));
    m->cluster_id = strdup(id != NULL ? id : "");
    if (id != NULL) rd_kafka_mem_free(kafka->query, id);
    if (m->cluster_id == NULL) {
        kafka_metadata_free(&m);
        return fail(kafka, error, TT_KAFKA_EINVAL, "out of memory");
    }
    *metadata = m;
    return 0;
}

/* ---- offsets ---- */

int kafka_watermarks(struct tt_kafka *kafka, const char *topic, int32_t partition, int timeout_ms,
                     int64_t *low, int64_t *high, char error[TT_KAFKA_ERROR_MAX])
{
    rd_kafka_resp_err_t code =
        rd_kafka_query_watermark_offsets(kafka->query, topic, partition, low, high, timeout_ms);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) return 0;
    return fail(kafka, error, code, "topic %s, partition %d: offsets: %s", topic, partition,
                rd_kafka_err2str(code));
}

int kafka_offset_at(struct tt_kafka *kafka, const char *topic, int32_t partition,
                    int64_t timestamp_ms, int timeout_ms, int64_t *offset,
                    char error[TT_KAFKA_ERROR_MAX])
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_t *p = rd_kafka_topic_partition_list_add(list, topic, partition);
    p->offset = timestamp_ms;
    rd_kafka_resp_err_t code = rd_kafka_offsets_for_times(kafka->query, list, timeout_ms);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) code = p->err;
    *offset = p->offset >= 0 ? p->offset : -1;
    rd_kafka_topic_partition_list_destroy(list);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) return 0;
    return fail(kafka, error, code, "topic %s, partition %d: offset of a time: %s", topic,
                partition, rd_kafka_err2str(code));
}

/* ---- one record ---- */

/* Errors while librdkafka still looks for the leader are not the last word. */
static int await_record(struct tt_kafka *kafka, rd_kafka_topic_t *topic, int32_t partition,
                        int timeout_ms, rd_kafka_message_t **message,
                        char error[TT_KAFKA_ERROR_MAX])
{
    int64_t until = now_ms() + timeout_ms;
    int result =
        fail(kafka, error, TT_KAFKA_ETIMEDOUT, "topic %s, partition %d: Kafka does not answer",
             rd_kafka_topic_name(topic), partition);
    while (now_ms() < until) {
        rd_kafka_message_t *m = rd_kafka_consume(topic, partition, left_ms(until));
        if (m == NULL) continue;
        struct tt_kafka_message looked = message_of(m);
        if (looked.kind == TT_KAFKA_RECORD) {
            *message = m;
            return 0;
        }
        if (looked.error != NULL)
            result = fail(kafka, error, looked.code, "topic %s, partition %d: %s",
                          rd_kafka_topic_name(topic), partition, looked.error);
        rd_kafka_message_destroy(m);
        if (looked.kind == TT_KAFKA_END) return 0;
        if (looked.kind == TT_KAFKA_OUT_OF_RANGE) return result;
    }
    return result;
}

int kafka_fetch(struct tt_kafka *kafka, const char *topic, int32_t partition, int64_t offset,
                int timeout_ms, void (*look)(void *argument, const struct tt_kafka_message *m),
                void *argument, char error[TT_KAFKA_ERROR_MAX])
{
    rd_kafka_topic_t *handle = topics_get(&kafka->query_topics, kafka->query, topic);
    if (handle == NULL)
        return fail(kafka, error, TT_KAFKA_EINVAL, "topic %s: not a name of a topic", topic);
    if (rd_kafka_consume_start(handle, partition, offset) != 0) {
        rd_kafka_resp_err_t code = rd_kafka_last_error();
        return fail(kafka, error, code, "topic %s, partition %d: cannot be read: %s", topic,
                    partition, rd_kafka_err2str(code));
    }
    /* The fetcher's thread would look by itself within a second; this wakes it. */
    const struct rd_kafka_metadata *none;
    (void)rd_kafka_metadata(kafka->query, 0, handle, &none, 0);
    rd_kafka_message_t *message = NULL;
    int result = await_record(kafka, handle, partition, timeout_ms, &message, error);
    if (message != NULL) {
        struct tt_kafka_message m = message_of(message);
        look(argument, &m);
        rd_kafka_message_destroy(message);
    }
    (void)rd_kafka_consume_stop(handle, partition);
    return result;
}
