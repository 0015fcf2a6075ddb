/* The table between the broker and its Kafka module, tickertape-kafka.so: everything that
 * librdkafka does for us, and nothing else. Plain C data only.
 *
 * The module is a thin wrapper: it knows topics and Kafka's partition numbers, no channels, no
 * histories, no shards but as queue numbers. The host opens it with dlopen(RTLD_NOW | RTLD_LOCAL |
 * RTLD_DEEPBIND) (module_open.h) because librdkafka is linked against OpenSSL and the broker
 * against BoringSSL; it calls back only through `log`, from any thread of librdkafka.
 *
 * Threads: "watch" is the host's Kafka thread, the only one that may block. */
#ifndef TT_BROKER_KAFKA_MODULE_H
#define TT_BROKER_KAFKA_MODULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TT_KAFKA_ABI       2u
#define TT_KAFKA_SYMBOL    "tt_kafka_module"
#define TT_KAFKA_ERROR_MAX 512u

/* The codes that somebody may want to tell apart: librdkafka's own are negative, Kafka's positive.
 */
enum tt_kafka_code {
    TT_KAFKA_EPURGED = -152,           /* given up when the handle was destroyed */
    TT_KAFKA_EFATAL = -150,            /* the producer is being renewed; try again */
    TT_KAFKA_ENOPARTITION = -190,      /* as far as the producer knows */
    TT_KAFKA_ENOTOPIC = -188,          /* the same */
    TT_KAFKA_ETIMEDOUT_MESSAGE = -192, /* not acknowledged within produce_ms */
    TT_KAFKA_ETRANSPORT = -195,
    TT_KAFKA_EINVAL = -186,
    TT_KAFKA_ETIMEDOUT = -185,
    TT_KAFKA_EFULL = -184, /* more than producing_bytes wait */
    TT_KAFKA_EAUTHENTICATION = -169,
    TT_KAFKA_ERANGE = 1,   /* Kafka does not have this offset (any more, or yet) */
    TT_KAFKA_EUNKNOWN = 3, /* no such topic or partition */
    TT_KAFKA_ETOOBIG = 10, /* message.max.bytes, ours or Kafka's */
    TT_KAFKA_EACCES = 29,  /* not authorised for the topic */
};

struct tt_kafka; /* one consumer handle, a producer handle for each queue */

struct tt_kafka_property {
    const char *name, *value;
};
struct tt_kafka_options {
    const struct tt_kafka_property *properties; /* librdkafka's, bootstrap.servers among them */
    uint32_t properties_count;
    uint32_t queues; /* shards */
    /* Most bytes of keys and values fetched and not taken, all partitions together, and about as
     * much again for what messages take besides. */
    uint64_t queued_bytes;
    uint32_t partitions;      /* that share it */
    uint64_t producing_bytes; /* most bytes that wait to be acknowledged, for each queue */
    uint32_t produce_ms;      /* longest wait for an acknowledgement */
    const char *commit_group; /* null: nothing is committed */
    bool no_producer;
    /* Any thread; must not call the module. What librdkafka repeats comes once a minute. */
    void (*log)(void *context, int level /* syslog's */, const char *text);
    void *context;
};

struct tt_kafka_header {
    const char *name;
    const void *value; /* null: no value */
    size_t size;
};
enum tt_kafka_kind {
    TT_KAFKA_RECORD = 1,
    TT_KAFKA_END,          /* of the partition, for now: all below `offset` was handed over */
    TT_KAFKA_OUT_OF_RANGE, /* Kafka does not have the offset: the partition stands still */
    TT_KAFKA_ERROR,        /* of the partition; reading goes on by itself when it is over */
};
struct tt_kafka_message {
    enum tt_kafka_kind kind;
    uint64_t tag;         /* as given to start() */
    int64_t offset;       /* END: next */
    int64_t timestamp_ms; /* -1: none */
    const void *key, *value;
    size_t key_size, value_size; /* with null pointers: none */
    int32_t code;                /* ERROR, OUT_OF_RANGE */
    const char *error;           /* the same */
    void *message_;              /* the library's: headers() looks into it */
};

struct tt_kafka_partition {
    int32_t leader; /* -1: none */
};
struct tt_kafka_topic {
    const char *name;
    int32_t code;      /* 0; else enum tt_kafka_code or another */
    const char *error; /* null: none; e.g. unknown topic, not authorised */
    uint32_t partitions_count;
    struct tt_kafka_partition *partitions; /* by number */
};
struct tt_kafka_metadata {
    const char *cluster_id; /* "" unknown */
    uint32_t brokers;
    uint32_t topics_count;
    struct tt_kafka_topic *topics;
};

/* What is produced. */
struct tt_kafka_outgoing {
    const char *topic;
    int32_t partition; /* -1: by the key (murmur2_random) */
    const void *key, *value;
    size_t key_size, value_size; /* with null pointers: none */
    int64_t timestamp_ms;        /* 0: now */
    const struct tt_kafka_header *headers;
    uint32_t headers_count;
    void *opaque; /* the caller's */
};
struct tt_kafka_delivery {
    void *opaque;
    int32_t error; /* 0: acknowledged; else librdkafka's code */
    const char *error_text;
    bool possibly_written; /* with an error: Kafka may have taken it */
    int32_t partition;
    int64_t offset;
};

/* All int results: 0, or librdkafka's error code (< 0 its own, > 0 Kafka's), with text in error. */
struct tt_kafka_module {
    uint32_t abi;
    const char *library; /* "librdkafka 2.0.2" */

    /* ---- watch; may block up to timeout_ms ---- */
    int (*create)(struct tt_kafka **kafka, const struct tt_kafka_options *options,
                  char error[TT_KAFKA_ERROR_MAX]);
    void (*destroy)(struct tt_kafka **kafka); /* all queues are stopped; bounded wait */
    /* topics: names, or null for all that there are (for regular expressions). */
    int (*metadata)(struct tt_kafka *kafka, const char *const *topics, uint32_t topics_count,
                    int timeout_ms, struct tt_kafka_metadata **metadata,
                    char error[TT_KAFKA_ERROR_MAX]);
    void (*metadata_free)(struct tt_kafka_metadata **metadata);
    int (*watermarks)(struct tt_kafka *kafka, const char *topic, int32_t partition, int timeout_ms,
                      int64_t *low, int64_t *high, char error[TT_KAFKA_ERROR_MAX]);
    /* First offset whose timestamp is at or after; -1: there is none. */
    int (*offset_at)(struct tt_kafka *kafka, const char *topic, int32_t partition,
                     int64_t timestamp_ms, int timeout_ms, int64_t *offset,
                     char error[TT_KAFKA_ERROR_MAX]);
    /* Fetches the first record at or after `offset` and calls look(argument, message) with it; no
     * call: there is none below Kafka's end. TT_KAFKA_ERANGE: Kafka does not have this offset. For
     * comparing the mirror's last record; a started partition does not notice. */
    int (*fetch)(struct tt_kafka *kafka, const char *topic, int32_t partition, int64_t offset,
                 int timeout_ms, void (*look)(void *argument, const struct tt_kafka_message *m),
                 void *argument, char error[TT_KAFKA_ERROR_MAX]);
    /* To be committed for commit_group by the next serve(), without waiting. */
    void (*commit)(struct tt_kafka *kafka, const char *topic, int32_t partition, int64_t next);
    /* Serves the handles' own events (errors, statistics, logs): now and then. */
    void (*serve)(struct tt_kafka *kafka);

    /* ---- one queue, by its shard; never block ---- */
    /* Once in the life of the handle. event_fd: an eventfd; it is written when poll() or
     * delivered() may have something after they had nothing (both must be called until they give
     * nothing), and once at the beginning. */
    int (*open_queue)(struct tt_kafka *kafka, uint32_t queue, int event_fd,
                      char error[TT_KAFKA_ERROR_MAX]);
    /* Stops what is started on it. What was produced and not delivered is not heard of again. */
    void (*close_queue)(struct tt_kafka *kafka, uint32_t queue);
    int (*start)(struct tt_kafka *kafka, uint32_t queue, const char *topic, int32_t partition,
                 int64_t offset, uint64_t tag, char error[TT_KAFKA_ERROR_MAX]);
    /* May wait a little (for librdkafka, not for Kafka). Nothing of it is polled after. */
    void (*stop)(struct tt_kafka *kafka, uint32_t queue, const char *topic, int32_t partition);
    /* At most 1,024. Valid until the next poll of the queue, or close_queue. */
    uint32_t (*poll)(struct tt_kafka *kafka, uint32_t queue, struct tt_kafka_message *messages,
                     uint32_t max);
    /* How many, at most max are written. */
    uint32_t (*headers)(const struct tt_kafka_message *m, struct tt_kafka_header *headers,
                        uint32_t max);
    /* Kafka's watermarks as the last answers to fetching said; false: nothing is known. An open
     * transaction keeps END below high. */
    bool (*end)(struct tt_kafka *kafka, const char *topic, int32_t partition, int64_t *low,
                int64_t *high);
    /* Everything is copied. 0: the record's opaque comes back by delivered(). Else it does not. */
    int (*produce)(struct tt_kafka *kafka, uint32_t queue, const struct tt_kafka_outgoing *record,
                   char error[TT_KAFKA_ERROR_MAX]);
    uint32_t (*delivered)(struct tt_kafka *kafka, uint32_t queue, struct tt_kafka_delivery *d,
                          uint32_t max);
};

/* The module's only exported symbol; never null. */
const struct tt_kafka_module *tt_kafka_module(void);

#endif
