/* Publishing against a shard that is played: owners that answer late, refuse, or have no room, and
 * that recognise retries as the real ones do. The real ones are met in
 * tests/integration/publish.test.mjs and idempotency.test.mjs. */
#ifndef TT_TESTS_UNIT_PUBLISH_RIG_H
#define TT_TESTS_UNIT_PUBLISH_RIG_H

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/limits.h"
#include "proto/wire/http1_parse.h"
#include "shard/diag.h"
#include "shard/http/publish.h"
#include "shard/retries.h"
#include "shard/shard.h"
#include "store/idempotency.h"
#include "tests/unit/guard.h"

/* ---- the shard that is played ---- */

#define OPEN_MAX   64u
#define EVENTS_MAX 200000u

struct tt_shard {
    struct tt_world world;
    struct tt_shard_options options;
    struct tt_shard_metrics metrics;
};

static struct tt_shard shard;
static struct tt_publish_request *open_requests[OPEN_MAX];
static unsigned open_count, open_max;
static struct tt_publish_waiter *waiter;
static uint64_t next_offset[8];
static enum tt_status refuse[8]; /* by partition: what its owner says */
static int refuse_after;         /* requests that are taken before refusals begin */
static char *log_text;           /* "<partition>:<channel>=<payload>;" for each event taken */
static size_t log_bytes, log_capacity;
static unsigned requests_seen;
static unsigned claims_seen;
static struct tt_idempotency *keys[8]; /* by partition */
static int64_t wall_us;
static void (*produce)(struct tt_publish_request *request); /* by an owner that has a source */
static uint32_t cut[8]; /* by partition: so many events of the next request are lost in a crash */

static inline void reset_shard(uint32_t partitions)
{
    static struct tt_partition parts[8];
    memset(&shard, 0, sizeof shard);
    static const struct tt_topic topic = {.name = "", .history = {"k7Qp2a"}, .fixed = true};
    for (uint32_t i = 0; i < partitions; i++) parts[i] = (struct tt_partition){.number = i};
    shard.world = (struct tt_world){
        .topics = &topic, .topics_count = 1, .partitions = parts, .partitions_count = partitions};
    shard.options.event_bytes_max = 1000;
    shard.options.publish_bytes = 64u << 20;
    open_count = 0;
    open_max = OPEN_MAX;
    waiter = NULL;
    memset(next_offset, 0, sizeof next_offset);
    memset(refuse, 0, sizeof refuse);
    refuse_after = 0;
    memset(cut, 0, sizeof cut);
    produce = NULL;
    log_bytes = 0;
    requests_seen = 0;
    claims_seen = 0;
    wall_us = 1732558200000000;
    for (unsigned i = 0; i < 8; i++) {
        tt_idempotency_destroy(&keys[i]);
        cr_assert_eq(tt_idempotency_create(&keys[i], 1000, 10000000), TT_OK);
    }
}

uint32_t tt_shard_index(const struct tt_shard *s)
{
    (void)s;
    return 0;
}
const struct tt_world *tt_shard_world(const struct tt_shard *s)
{
    return &s->world;
}
bool tt_shard_draining(const struct tt_shard *s)
{
    (void)s;
    return false;
}
const struct tt_shard_options *tt_shard_options(const struct tt_shard *s)
{
    return &s->options;
}
struct tt_shard_metrics *tt_shard_own_metrics(struct tt_shard *s)
{
    return &s->metrics;
}
struct tt_diag *tt_shard_diag(struct tt_shard *s)
{
    (void)s;
    return NULL;
}
int64_t tt_shard_wall_us(const struct tt_shard *s)
{
    (void)s;
    return wall_us;
}
uint32_t tt_shard_partition_of(const struct tt_shard *s, struct tt_bytes channel)
{
    return channel.data[channel.size - 1] % s->world.partitions_count;
}
enum tt_status tt_shard_publish(struct tt_shard *s, struct tt_publish_request *request)
{
    (void)s;
    cr_assert(request->events_count > 0 || request->blocks != NULL);
    claims_seen += request->events_count == 0;
    if (open_count == open_max) return TT_FULL;
    open_requests[open_count++] = request;
    requests_seen++;
    return TT_OK;
}
void tt_shard_publish_wait(struct tt_shard *s, struct tt_publish_waiter *w)
{
    (void)s;
    cr_assert_null(waiter);
    waiter = w;
}
void tt_shard_publish_wait_cancel(struct tt_publish_waiter *w)
{
    cr_assert_eq(waiter, w);
    waiter = NULL;
}

static inline void log_event(uint32_t partition, const struct tt_event *event)
{
    size_t needed = log_bytes + event->channel.size + event->payload.size + 32;
    if (needed > log_capacity) {
        log_capacity = needed * 2;
        log_text = realloc(log_text, log_capacity);
    }
    log_bytes += (size_t)sprintf(log_text + log_bytes, "%u:%.*s=%.*s;", partition,
                                 (int)event->channel.size, (const char *)event->channel.data,
                                 (int)event->payload.size, (const char *)event->payload.data);
}

/* The events from `known` on; the last cut[] of them are gone again, and so is what the owner knew,
 * but for what a walk over the log would find. */
static inline void append(struct tt_publish_request *request, uint32_t known)
{
    uint32_t p = request->partition, count = request->events_count - known;
    const struct tt_record_idempotency *block =
        request->blocks == NULL ? NULL : &request->blocks[known];
    request->runs[request->runs_count++] = (struct tt_publish_run){next_offset[p], count};
    if (block != NULL && cut[p] == 0) {
        tt_retry_note(keys[p], request, known, wall_us);
    } else if (block != NULL && cut[p] < count) {
        (void)tt_idempotency_add(keys[p], block, next_offset[p], count - cut[p], 0, wall_us,
                                 wall_us);
    }
    next_offset[p] += count;
    for (uint32_t i = known; i < request->events_count - cut[p]; i++)
        log_event(p, &request->events[i]);
    cut[p] = 0;
}

/* The oldest request that is open is answered by its owner. */
static inline void answer_one(void)
{
    struct tt_publish_request *request = open_requests[0];
    memmove(open_requests, open_requests + 1, --open_count * sizeof(*open_requests));
    uint32_t p = request->partition, known = 0;
    enum tt_status status = TT_OK;
    if (produce != NULL) {
        produce(request);
        request->done(request);
        return;
    }
    if (request->events_count == 0)
        status = tt_retry_claim(keys[p], request, wall_us);
    else if (request->blocks != NULL)
        status = tt_retry_find(keys[p], request, wall_us, &known);
    bool refused = known != request->events_count && refuse[p] != TT_OK && refuse_after-- <= 0;
    request->status = status != TT_OK ? status : refused ? refuse[p] : TT_OK;
    request->retry_after_s = refused ? 3 : 0;
    if (request->status == TT_OK && known != request->events_count) append(request, known);
    if (request->status == TT_OK) request->repeated = known;
    request->done(request);
}

/* A turn of the shard's loop. */
static inline void turn(void)
{
    if (open_count != 0) answer_one();
    if (waiter != NULL && open_count < open_max) {
        struct tt_publish_waiter *w = waiter;
        waiter = NULL;
        w->ready(w);
    }
}

/* ---- the connection engine that is played ---- */

static struct {
    unsigned status;
    unsigned retry_after_s;
    char *body;
    unsigned answers;
    bool streamed; /* tt_request_stream_body was called */
    bool resume;
} reply;

static inline void keep_reply(unsigned status, unsigned retry_after_s, const char *body,
                              size_t bytes)
{
    reply.status = status;
    reply.retry_after_s = retry_after_s;
    free(reply.body);
    reply.body = malloc(bytes + 1);
    memcpy(reply.body, body, bytes);
    reply.body[bytes] = '\0';
    reply.answers++;
}

static inline void keep_error(unsigned status, const char *code, unsigned retry_after_s,
                              const char *format, va_list arguments)
{
    char message[800], body[1600];
    (void)vsnprintf(message, sizeof message, format, arguments);
    json_t *object = json_pack("{s:{s:s,s:s}}", "error", "code", code, "message", message);
    size_t bytes = json_dumpb(object, body, sizeof body, 0);
    json_decref(object);
    keep_reply(status, retry_after_s, body, bytes);
}

void tt_exchange_answer(struct tt_exchange *x, const struct tt_response *response,
                        struct tt_bytes body)
{
    uint64_t retry = 0;
    cr_assert_not_null(x->connection);
    for (unsigned i = 0; i < response->headers_count; i++)
        if (strcmp(response->headers[i].name, "Retry-After") == 0)
            cr_assert_eq(tt_bytes_to_u64(response->headers[i].value, 1000, &retry), TT_OK);
    cr_assert_str_eq(response->content_type, "application/json");
    keep_reply(response->status, (unsigned)retry, (const char *)body.data, body.size);
}
void tt_exchange_fail(struct tt_exchange *x, unsigned status, const char *code,
                      unsigned retry_after_s, const char *format, ...)
{
    va_list arguments;
    cr_assert_not_null(x->connection);
    va_start(arguments, format);
    keep_error(status, code, retry_after_s, format, arguments);
    va_end(arguments);
}
void tt_exchange_resume_body(struct tt_exchange *x)
{
    cr_assert_not_null(x->connection);
    reply.resume = true;
}
const struct tt_peer *tt_exchange_peer(const struct tt_exchange *x)
{
    static const struct tt_peer peer;
    cr_assert_not_null(x->connection);
    return &peer;
}
void tt_peer_text(const struct tt_peer *peer, char text[TT_ADDRESS_TEXT_MAX])
{
    (void)peer;
    text[0] = 0;
}
void tt_request_stream_body(const struct tt_request *request)
{
    (void)request;
    reply.streamed = true;
}
static struct tt_exchange refused_at_once;
struct tt_exchange *tt_reply_error(const struct tt_request *request, unsigned status,
                                   const char *code, unsigned retry_after_s, const char *format,
                                   ...)
{
    va_list arguments;
    (void)request;
    va_start(arguments, format);
    keep_error(status, code, retry_after_s, format, arguments);
    va_end(arguments);
    return &refused_at_once;
}

static inline struct tt_exchange *begin(const char *fields, const char *query)
{
    static struct tt_http1_head head;
    static char text[500];
    const struct tt_http1_limits limits = {1000, 20, 2000};
    struct tt_http1_progress progress = {0};
    struct tt_http1_error error;
    size_t used;
    (void)snprintf(text, sizeof text, "POST /publish?%s HTTP/1.1\r\nHost: a\r\n%s\r\n", query,
                   fields);
    cr_assert_eq(tt_http1_parse(tt_bytes_text(text), &limits, &progress, &head, &used, &error),
                 TT_OK);
    struct tt_request request = {
        .head = &head, .query = head.query, .has_body = true, .content_length = -1};
    free(reply.body);
    memset(&reply, 0, sizeof reply);
    struct tt_exchange *x = tt_publish_handle(&shard, &request);
    cr_assert_not_null(x);
    x->connection = (struct tt_connection *)(void *)&shard; /* only its being there counts */
    return x;
}

/* Offers the body in pieces; the shard turns when input has to wait, and `turns` times after each
 * piece. Returns when it was answered. */
static inline void feed(struct tt_exchange *x, const char *body, size_t size, size_t piece,
                        unsigned turns)
{
    size_t at = 0;
    while (reply.answers == 0 && at < size) {
        size_t bytes = piece < size - at ? piece : size - at;
        struct tt_bytes offered = guard_copy(0, tt_bytes(body + at, bytes));
        while (offered.size != 0 && reply.answers == 0) {
            reply.resume = false;
            size_t taken = x->ops->body(x, offered, at + bytes == size);
            cr_assert(taken <= offered.size);
            offered = tt_bytes_from(offered, taken);
            for (unsigned i = 0; offered.size != 0 && reply.answers == 0 && !reply.resume; i++) {
                cr_assert_lt(i, 1000, "input waits for ever");
                turn();
            }
        }
        at += bytes;
        for (unsigned i = 0; i < turns; i++) turn();
    }
    if (size == 0) (void)x->ops->body(x, TT_BYTES_NONE, true);
    for (unsigned i = 0; reply.answers == 0; i++) {
        cr_assert_lt(i, 100000, "no answer");
        turn();
    }
}

static inline void end(struct tt_exchange *x)
{
    x->connection = NULL;
    x->ops->closed(x, TT_CLOSE_DONE);
}

/* Nothing is held once all requests are answered and closed. */
static inline void all_is_given_back(void)
{
    while (open_count != 0) turn();
    cr_assert_eq(tt_metric_get(&shard.metrics.publish_bytes), 0);
    cr_assert_null(waiter);
}

static inline void publish(const char *fields, const char *query, const char *body, size_t piece)
{
    struct tt_exchange *x = begin(fields, query);
    if (x != &refused_at_once) {
        feed(x, body, strlen(body), piece, 0);
        cr_assert_eq(reply.answers, 1);
        end(x);
    }
    all_is_given_back();
}

static inline void answers(unsigned status, const char *body)
{
    cr_assert_eq(reply.status, status, "%u: %s", reply.status, reply.body);
    cr_assert_str_eq(reply.body, body);
}

static inline void says(unsigned status, const char *code, const char *text)
{
    cr_assert_eq(reply.status, status, "%u: %s", reply.status, reply.body);
    cr_assert_not_null(strstr(reply.body, code), "%s", reply.body);
    cr_assert_not_null(strstr(reply.body, text), "%s", reply.body);
}

#define JSON_TYPE   "Content-Type: application/json\r\n"
#define NDJSON_TYPE "Content-Type: application/x-ndjson\r\n"

#endif
