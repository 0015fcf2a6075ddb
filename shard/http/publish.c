#include "shard/http/publish.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/base/assert.h"
#include "proto/base/limits.h"
#include "proto/wire/envelope.h"
#include "proto/wire/http1_parse.h"
#include "proto/wire/subscribe.h"
#include "shard/http/publish_answer.h"

#define BODY_BYTES_MIN 4096u

/* One envelope or an array: the body is kept whole. */
struct whole {
    struct tt_exchange x;
    struct tt_shard *shard;
    struct tt_publish_batch batch;
    uint8_t *text; /* the body; the events point into it */
    size_t size;
    size_t capacity;
    size_t expected; /* by Content-Length; 0: chunked */
    bool array;
    bool refused;
    bool closed;
};

static struct whole *whole_of(struct tt_exchange *x)
{
    return TT_CONTAINER_OF(x, struct whole, x);
}

static void destroy(struct whole *p)
{
    tt_publish_batch_deinit(&p->batch);
    tt_publish_memory_put(p->shard, p->capacity);
    free(p->text);
    free(p);
}

static void fail(struct whole *p, unsigned status, const char *code, unsigned retry_after_s,
                 const char *message)
{
    p->refused = true;
    tt_publish_fail(&p->x, p->shard, status, code, retry_after_s, message);
}

static void fail_memory(struct whole *p)
{
    fail(p, 503, "overloaded", 1, "publish: the publishers of this shard hold all their memory");
}

/* ---- the answer ---- */

static void answer_one(struct whole *p)
{
    struct tt_position position;
    const struct tt_publish_request *request;
    if (!tt_publish_batch_next(&p->batch, 0, &position, &request)) {
        struct tt_publish_refusal r = tt_publish_refusal_of(request);
        char message[TT_PUBLISH_MESSAGE_MAX];
        (void)snprintf(message, sizeof message, "publish: the event was not taken: %s", r.text);
        fail(p, r.status, r.code, r.retry_after_s, message);
        return;
    }
    struct tt_publish_text text = {0};
    if (tt_publish_text_reserve(&text, 16)) tt_write_text(&text.w, "{\"id\":");
    tt_publish_text_id(&text, &position);
    if (tt_publish_text_reserve(&text, 4)) tt_write_text(&text.w, "}\n");
    tt_publish_text_answer(&text, &p->x, p->shard, 202, 0, NULL, NULL);
}

/* Writes "ids":[...]; returns the number of refused events, and why the first was. */
static uint32_t write_ids(struct whole *p, struct tt_publish_text *text,
                          struct tt_publish_refusal *why)
{
    uint32_t refused = 0;
    struct tt_position position;
    const struct tt_publish_request *request;
    if (tt_publish_text_reserve(text, 16)) tt_write_text(&text->w, "\"ids\":[");
    for (uint32_t i = 0; i < p->batch.count; i++) {
        bool taken = tt_publish_batch_next(&p->batch, i, &position, &request);
        if (!taken && refused++ == 0) *why = tt_publish_refusal_of(request);
        if (i != 0 && tt_publish_text_reserve(text, 1)) tt_write_char(&text->w, ',');
        tt_publish_text_id(text, taken ? &position : NULL);
    }
    if (tt_publish_text_reserve(text, 1)) tt_write_char(&text->w, ']');
    return refused;
}

/* Whole or not at all within one partition; if some of several refuse, 503 with ids, null
 * where not taken. */
static void answer_array(struct whole *p)
{
    struct tt_publish_text ids = {0};
    struct tt_publish_text text = {0};
    struct tt_publish_refusal why = {.status = 202};
    char message[TT_PUBLISH_MESSAGE_MAX] = "";
    uint32_t refused = write_ids(p, &ids, &why);
    (void)snprintf(message, sizeof message, "publish: %u of %u events were not taken: %s", refused,
                   p->batch.count, why.text == NULL ? "" : why.text);
    if (refused != 0 && refused == p->batch.count) {
        fail(p, why.status, why.code, why.retry_after_s, message);
        tt_publish_text_free(&ids);
        return;
    }
    if (tt_publish_text_reserve(&text, ids.w.size + 8)) tt_write_char(&text.w, '{');
    if (refused != 0) {
        why.status = 503;
        tt_publish_text_error(&text, why.code, message);
        if (tt_publish_text_reserve(&text, 1)) tt_write_char(&text.w, ',');
    }
    if (tt_publish_text_reserve(&text, ids.w.size + 4)) {
        tt_write_bytes(&text.w, tt_writer_bytes(&ids.w));
        tt_write_text(&text.w, "}\n");
    }
    text.failed |= ids.failed;
    tt_publish_text_free(&ids);
    tt_publish_text_answer(&text, &p->x, p->shard, why.status, why.retry_after_s, why.code,
                           message);
}

static void answer(struct whole *p)
{
    tt_publish_batch_rewind(&p->batch);
    if (p->array) {
        answer_array(p);
    } else {
        answer_one(p);
    }
}

static void batch_done(struct tt_publish_batch *batch)
{
    struct whole *p = TT_CONTAINER_OF(batch, struct whole, batch);
    if (p->closed) {
        destroy(p);
    } else {
        answer(p);
    }
}

/* ---- the body ---- */

static bool append(struct whole *p, struct tt_bytes bytes)
{
    if (bytes.size > p->capacity - p->size) {
        size_t capacity = p->capacity == 0 ? BODY_BYTES_MIN : p->capacity * 2;
        if (capacity < p->size + bytes.size) capacity = p->size + bytes.size;
        if (p->expected >= p->size + bytes.size && capacity > p->expected) capacity = p->expected;
        if (!tt_publish_memory_get(p->shard, capacity - p->capacity)) return false;
        uint8_t *text = realloc(p->text, capacity);
        if (text == NULL) {
            tt_publish_memory_put(p->shard, capacity - p->capacity);
            return false;
        }
        p->text = text;
        p->capacity = capacity;
    }
    if (bytes.size != 0) memcpy(p->text + p->size, bytes.data, bytes.size);
    p->size += bytes.size;
    return true;
}

/* Reads one event into the batch. False: the request was refused. */
static bool add(struct whole *p, const struct tt_event *event)
{
    if (p->batch.count == TT_PUBLISH_ARRAY_MAX) {
        fail(p, 413, "too_many_events", 0,
             "publish: an array may have 65536 events at most; longer ones go as NDJSON");
        return false;
    }
    if (tt_publish_batch_add(&p->batch, event, 0) == TT_OK) return true;
    fail_memory(p);
    return false;
}

static bool read_array(struct whole *p, size_t event_bytes_max, int64_t taken_us)
{
    struct tt_envelope_array array;
    struct tt_envelope_error error;
    struct tt_event event;
    enum tt_status status;
    tt_envelope_array_begin(&array, p->text, p->size);
    while ((status = tt_envelope_array_next(&array, event_bytes_max, taken_us, &event, &error)) ==
           TT_OK)
        if (!add(p, &event)) return false;
    if (status != TT_END) fail(p, error.status, error.code, 0, error.message);
    return status == TT_END;
}

static bool read_one(struct whole *p, size_t event_bytes_max, int64_t taken_us)
{
    struct tt_envelope_error error;
    struct tt_event event;
    if (tt_envelope_parse(p->text, p->size, event_bytes_max, taken_us, &event, &error) != TT_OK) {
        fail(p, error.status, error.code, 0, error.message);
        return false;
    }
    return add(p, &event);
}

static void publish(struct whole *p)
{
    size_t event_bytes_max = tt_shard_options(p->shard)->event_bytes_max;
    int64_t taken_us = tt_shard_wall_us(p->shard);
    p->array = tt_envelope_peek(p->text, p->size) == '[';
    bool good = p->array ? read_array(p, event_bytes_max, taken_us)
                         : read_one(p, event_bytes_max, taken_us);
    if (!good) return;
    enum tt_status status = tt_publish_batch_submit(&p->batch);
    if (status == TT_END) answer(p);
    if (status == TT_ENOMEM) fail_memory(p);
}

static size_t whole_body(struct tt_exchange *x, struct tt_bytes bytes, bool end)
{
    struct whole *p = whole_of(x);
    if (p->refused) return bytes.size;
    if (!append(p, bytes)) {
        fail_memory(p);
    } else if (end) {
        publish(p);
    }
    return bytes.size;
}

static void whole_closed(struct tt_exchange *x, enum tt_close_reason reason)
{
    struct whole *p = whole_of(x);
    (void)reason;
    p->closed = true;
    if (tt_publish_batch_cancel(&p->batch)) destroy(p);
}

/* Answered as a whole: there is nothing to pull. */
static const struct tt_exchange_ops whole_ops = {
    .name = "publish",
    .body = whole_body,
    .closed = whole_closed,
};

/* ---- the request ---- */

static bool is_multipart(struct tt_bytes type)
{
    static const char start[] = "multipart/";
    return type.size >= sizeof start - 1 &&
           tt_bytes_is_nocase(tt_bytes(type.data, sizeof start - 1), start);
}

/* ids=1 of the query. False: it has another value. */
static bool read_ids_wanted(struct tt_bytes query, bool *wanted)
{
    struct tt_bytes name, value;
    *wanted = false;
    while (tt_form_next(&query, &name, &value)) {
        if (!tt_bytes_is(name, "ids")) continue;
        *wanted = tt_bytes_is(value, "1");
        if (!*wanted && !tt_bytes_is(value, "0")) return false;
    }
    return true;
}

struct tt_exchange *tt_publish_handle(void *context, const struct tt_request *request)
{
    struct tt_shard *shard = context;
    const struct tt_http1_head *head = request->head;
    struct tt_bytes type = tt_http1_media_type(head->known[TT_HTTP1_CONTENT_TYPE]);
    struct tt_bytes coding = head->known[TT_HTTP1_CONTENT_ENCODING];
    bool ids_wanted;
    if (tt_shard_draining(shard))
        return tt_publish_refuse(request, shard, 503, "unavailable",
                                 "publish: the broker shuts down; try again later");
    if (is_multipart(type))
        return tt_publish_refuse(request, shard, 415, "unsupported_media_type",
                                 "Content-Type: multipart is not understood; send JSON under any "
                                 "other type, or NDJSON as application/x-ndjson");
    if (coding.size != 0 && !tt_bytes_is_nocase(coding, "identity"))
        return tt_publish_refuse(request, shard, 415, "unsupported_media_type",
                                 "Content-Encoding: is not understood; send the body as it is");
    if (head->known[TT_HTTP1_IDEMPOTENCY_KEY].data != NULL)
        return tt_publish_refuse(request, shard, 400, "not_supported",
                                 "Idempotency-Key: is not supported by this version");
    if (!read_ids_wanted(request->query, &ids_wanted))
        return tt_publish_refuse(request, shard, 400, "invalid_parameter", "ids: must be 0 or 1");
    struct tt_exchange *x = NULL;
    if (tt_bytes_is_nocase(type, "application/x-ndjson") ||
        tt_bytes_is_nocase(type, "application/ndjson")) {
        x = tt_publish_stream_create(shard, ids_wanted);
        if (x != NULL) tt_request_stream_body(request);
    } else {
        struct whole *p = calloc(1, sizeof *p);
        if (p != NULL) {
            p->x.ops = &whole_ops;
            p->shard = shard;
            p->expected = request->content_length > 0 ? (size_t)request->content_length : 0;
            tt_publish_batch_init(&p->batch, shard, batch_done);
            x = &p->x;
        }
    }
    return x != NULL ? x
                     : tt_publish_refuse(request, shard, 503, "overloaded",
                                         "publish: there is no memory for the request");
}
