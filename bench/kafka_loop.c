/* What a plain consumer of librdkafka does, for bench/kafka_ingest.mjs: reads all partitions of a
 * topic to their ends and counts, or tells how old records are when they come; and the same age as
 * a client of the broker sees it. Prints one JSON object.
 *
 *   bench_kafka_loop --brokers=A --topic=T --partitions=N        reads what is there
 *   bench_kafka_loop --brokers=A --topic=T --partitions=N --ages=K [--sse=HOST:PORT]
 *                                              produces K records, one every 2 ms, and sees them
 * come
 *
 * The library's own defaults, but for what every reader wants: the end of a partition is told,
 * and for ages records are sent at once. */
#include <arpa/inet.h>
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH     1024
#define AGES_MAX  100000
#define PERIOD_NS 2000000
#define WARM_UP   200 /* records whose age does not count */
#define PAYLOAD   "{\"n\":%d,\"sent\":%llu,\"pad\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}"

static const char *brokers = "", *topic = "", *sse;
static int partitions = 1, ages_wanted;
static uint64_t ages[AGES_MAX];
static int ages_count;
static _Atomic bool listening;

static void die(const char *what)
{
    fprintf(stderr, "bench_kafka_loop: %s\n", what);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t cpu_ns(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (uint64_t)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1000000000u +
           (uint64_t)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) * 1000u;
}

static rd_kafka_t *open_handle(rd_kafka_type_t type, const char *property, const char *value)
{
    char error[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (rd_kafka_conf_set(conf, "bootstrap.servers", brokers, error, sizeof error) !=
            RD_KAFKA_CONF_OK ||
        rd_kafka_conf_set(conf, property, value, error, sizeof error) != RD_KAFKA_CONF_OK)
        die(error);
    rd_kafka_t *rk = rd_kafka_new(type, conf, error, sizeof error);
    if (rk == NULL) die(error);
    return rk;
}

static void came(const char *payload, size_t size)
{
    static const char name[] = "\"sent\":";
    char text[256];
    uint64_t now = now_ns();
    if (size >= sizeof text) size = sizeof text - 1;
    memcpy(text, payload, size);
    text[size] = '\0';
    const char *sent = strstr(text, name);
    if (sent != NULL && ages_count < ages_wanted)
        ages[ages_count++] = now - strtoull(sent + sizeof name - 1, NULL, 10);
}

/* ---- a plain consumer ---- */

static void consume(void)
{
    rd_kafka_t *rk = open_handle(RD_KAFKA_CONSUMER, "enable.partition.eof", "true");
    rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, topic, NULL);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    static rd_kafka_message_t *batch[BATCH];
    uint64_t count = 0, bytes = 0, first = 0, last = 0, cpu_first = 0;
    int ends = 0;
    int64_t from = ages_wanted != 0 ? RD_KAFKA_OFFSET_END : RD_KAFKA_OFFSET_BEGINNING;
    for (int p = 0; p < partitions; p++)
        if (rd_kafka_consume_start_queue(rkt, p, from, queue) != 0) die("cannot read");
    while (ages_wanted != 0 ? ages_count < ages_wanted : ends < partitions) {
        /* With a timeout it would wait until the batch is full. */
        ssize_t got = rd_kafka_consume_batch_queue(queue, 0, batch, BATCH);
        if (got == 0 && (batch[0] = rd_kafka_consume_queue(queue, 1000)) != NULL) got = 1;
        if (got > 0 && first == 0) {
            first = now_ns();
            cpu_first = cpu_ns();
        }
        for (ssize_t i = 0; i < got; i++) {
            if (batch[i]->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
                if (++ends >= partitions) listening = true;
            } else if (batch[i]->err == 0) {
                count++;
                bytes += batch[i]->len + batch[i]->key_len;
                if (ages_wanted != 0) came(batch[i]->payload, batch[i]->len);
            }
            rd_kafka_message_destroy(batch[i]);
        }
        if (got > 0) last = now_ns();
    }
    if (ages_wanted == 0)
        printf("{\"messages\":%llu,\"bytes\":%llu,\"ns\":%llu,\"cpu_ns\":%llu}\n",
               (unsigned long long)count, (unsigned long long)bytes,
               (unsigned long long)(last - first), (unsigned long long)(cpu_ns() - cpu_first));
}

/* ---- a client of the broker ---- */

static void follow(void)
{
    char host[64], request[256], line[4096];
    unsigned port;
    if (sscanf(sse, "%63[^:]:%u", host, &port) != 2) die("--sse=HOST:PORT");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, host, &address.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0) die("no broker");
    snprintf(request, sizeof request, "GET /sse?channels=* HTTP/1.1\r\nHost: %s\r\n\r\n", host);
    if (write(fd, request, strlen(request)) < 0) die("no broker");
    FILE *stream = fdopen(fd, "r");
    while (ages_count < ages_wanted && fgets(line, sizeof line, stream) != NULL) {
        if (strstr(line, "event: connected") != NULL) listening = true;
        came(line, strlen(line));
    }
}

/* ---- producing ---- */

static void *produce(void *context)
{
    (void)context;
    rd_kafka_t *rk = open_handle(RD_KAFKA_PRODUCER, "linger.ms", "0");
    rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, topic, NULL);
    while (!listening) usleep(1000);
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    for (int i = 0; i < ages_wanted; i++) {
        char payload[256], key[32];
        int key_size = snprintf(key, sizeof key, "k%d", i % 100);
        int size = snprintf(payload, sizeof payload, PAYLOAD, i, (unsigned long long)now_ns());
        rd_kafka_produce(rkt, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, payload, (size_t)size,
                         key, (size_t)key_size, NULL);
        rd_kafka_poll(rk, 0);
        next.tv_nsec += PERIOD_NS;
        if (next.tv_nsec >= 1000000000) {
            next.tv_nsec -= 1000000000;
            next.tv_sec++;
        }
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    }
    rd_kafka_flush(rk, 10000);
    return NULL;
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void print_ages(void)
{
    int count = ages_count - WARM_UP;
    if (count <= 0) die("too few records");
    qsort(ages + WARM_UP, (size_t)count, sizeof *ages, by_size);
    printf("{\"records\":%d,\"p50_ns\":%llu,\"p90_ns\":%llu,\"p99_ns\":%llu}\n", count,
           (unsigned long long)ages[WARM_UP + count / 2],
           (unsigned long long)ages[WARM_UP + count * 9 / 10],
           (unsigned long long)ages[WARM_UP + count * 99 / 100]);
}

int main(int count, char **arguments)
{
    for (int i = 1; i < count; i++) {
        const char *a = arguments[i], *value = strchrnul(a, '=');
        if (*value == '=') value++;
        if (strncmp(a, "--brokers=", 10) == 0)
            brokers = value;
        else if (strncmp(a, "--topic=", 8) == 0)
            topic = value;
        else if (strncmp(a, "--partitions=", 13) == 0)
            partitions = atoi(value);
        else if (strncmp(a, "--ages=", 7) == 0)
            ages_wanted = atoi(value) < AGES_MAX ? atoi(value) : AGES_MAX;
        else if (strncmp(a, "--sse=", 6) == 0)
            sse = value;
        else
            die("--brokers --topic --partitions [--ages [--sse]]");
    }
    pthread_t producer;
    if (ages_wanted != 0 && pthread_create(&producer, NULL, produce, NULL) != 0) die("no thread");
    if (sse != NULL)
        follow();
    else
        consume();
    if (ages_wanted != 0) print_ages();
    return 0; /* without taking leave of Kafka: nothing of it is measured */
}
