/* A body that is kept whole: one envelope, an array, or with an idempotency key lines too. */
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/assert.h"
#include "proto/base/limits.h"
#include "proto/wire/envelope.h"
#include "shard/http/publish_answer.h"
#include "store/idempotency.h"

#define BODY_BYTES_MIN 4096u

/* What the body is read as; the answer has the same form. */
enum form { FORM_ONE = 0, FORM_ARRAY, FORM_LINES };

struct whole {
    struct tt_exchange x;
    struct tt_shard *shard;
    struct tt_publish_batch batch;
    uint8_t *text; /* the body; the events point into it */
    size_t size;
    size_t capacity;
    size_t expected; /* by Content-Length; 0: chunked */
    enum form form;
    bool ids_wanted; /* FORM_LINES */
    bool refused;
    bool closed;
    struct tt_bytes key;     /* as given, behind the object; empty: none */
    bool command;            /* the body is a payload */
    struct tt_bytes headers; /* of the command, behind the key; empty: none */
};

static struct whole *whole_of(struct tt_exchange *x)
{
    return TT_CONTAINER_OF(x, struct whole, x);
}

static void drop_text(struct whole *p)
{
    tt_publish_memory_put(p->shard, p->capacity);
    free(p->text);
    p->text = NULL;
    p->size = p->capacity = 0;
}

static void destroy(struct whole *p)
{
    tt_publish_batch_deinit(&p->batch);
    drop_text(p);
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

static void fail_mismatch(struct whole *p)
{
    char message[TT_PUBLISH_MESSAGE_MAX];
    (void)snprintf(message, sizeof message,
                   "Idempotency-Key: \"%.*s\" was used for another body; within "
                   "--idempotency-window-ms a key is allowed for one body only",
                   (int)p->key.size, (const char *)p->key.data);
    fail(p, 422, "idempotency_mismatch", 0, message);
}

static void answer_one(struct whole *p)
{
    struct tt_publish_place place;
    struct tt_publish_refusal r;
    if (!tt_publish_batch_next(&p->batch, 0, &place, &r)) {
        char message[TT_PUBLISH_MESSAGE_MAX];
        (void)snprintf(message, sizeof message, "publish: the event was not taken: %s", r.text);
        fail(p, r.status, r.code, r.retry_after_s, message);
        return;
    }
    struct tt_publish_text text = {0};
    if (tt_publish_text_reserve(&text, 16)) tt_write_text(&text.w, "{\"id\":");
    tt_publish_text_id(&text, p->shard, &place);
    if (tt_publish_text_reserve(&text, 4)) tt_write_text(&text.w, "}\n");
    tt_publish_text_answer(&text, &p->x, p->shard, 202, 0, NULL, NULL);
}

/* Writes "ids":[...]; returns the number of refused events, and why the first was. */
static uint32_t write_ids(struct whole *p, struct tt_publish_text *text,
                          struct tt_publish_refusal *why)
{
    uint32_t refused = 0;
    struct tt_publish_place place;
    if (tt_publish_text_reserve(text, 16)) tt_write_text(&text->w, "\"ids\":[");
    for (uint32_t i = 0; i < p->batch.count; i++) {
        bool taken = tt_publish_batch_next(&p->batch, i, &place, refused == 0 ? why : NULL);
        refused += !taken;
        if (i != 0 && tt_publish_text_reserve(text, 1)) tt_write_char(&text->w, ',');
        tt_publish_text_id(text, p->shard, taken ? &place : NULL);
    }
    if (tt_publish_text_reserve(text, 1)) tt_write_char(&text->w, ']');
    return refused;
}

/* Lines have more members: how many were taken, and the first and last of them. Returns the number
 * of refused events, why the first was, and its line. */
static uint32_t write_lines(struct whole *p, struct tt_publish_text *text,
                            struct tt_publish_refusal *why, uint64_t *line)
{
    struct tt_publish_place place, first = {0}, last = {0};
    uint32_t taken = 0;
    for (uint32_t i = 0; i < p->batch.count; i++) {
        if (tt_publish_batch_next(&p->batch, i, &place, *line == 0 ? why : NULL)) {
            if (taken++ == 0) first = place;
            last = place;
        } else if (*line == 0) {
            *line = p->batch.lines[i];
        }
    }
    tt_publish_text_count(text, p->shard, taken, &first, &last);
    if (p->ids_wanted) {
        struct tt_publish_refusal same;
        if (tt_publish_text_reserve(text, 1)) tt_write_char(&text->w, ',');
        tt_publish_batch_rewind(&p->batch);
        (void)write_ids(p, text, &same);
    }
    return p->batch.count - taken;
}

/* Whole or not at all within one partition; if some of several refuse, 503 with ids, null
 * where not taken. */
static void answer_many(struct whole *p)
{
    struct tt_publish_text members = {0};
    struct tt_publish_text text = {0};
    struct tt_publish_refusal why = {.status = 202};
    char message[TT_PUBLISH_MESSAGE_MAX] = "";
    uint32_t refused;
    if (p->form == FORM_LINES) {
        uint64_t line = 0;
        refused = write_lines(p, &members, &why, &line);
        (void)snprintf(message, sizeof message, "line %llu: %s; %u events were taken",
                       (unsigned long long)line, why.text, p->batch.count - refused);
    } else {
        refused = write_ids(p, &members, &why);
        (void)snprintf(message, sizeof message, "publish: %u of %u events were not taken: %s",
                       refused, p->batch.count, why.text);
    }
    if (refused != 0 && refused == p->batch.count && p->form == FORM_ARRAY) {
        fail(p, why.status, why.code, why.retry_after_s, message);
        tt_publish_text_free(&members);
        return;
    }
    if (tt_publish_text_reserve(&text, members.w.size + 8)) tt_write_char(&text.w, '{');
    if (refused != 0) {
        if (refused != p->batch.count) why.status = 503;
        tt_publish_text_error(&text, why.code, message);
        if (tt_publish_text_reserve(&text, 1)) tt_write_char(&text.w, ',');
    }
    if (tt_publish_text_reserve(&text, members.w.size + 4)) {
        tt_write_bytes(&text.w, tt_writer_bytes(&members.w));
        tt_write_text(&text.w, "}\n");
    }
    text.failed |= members.failed;
    tt_publish_text_free(&members);
    tt_publish_text_answer(&text, &p->x, p->shard, why.status, why.retry_after_s, why.code,
                           message);
}

static void answer(struct whole *p)
{
    const struct tt_publish_request *claim;
    if (tt_publish_batch_repeated(&p->batch))
        tt_metric_add(&tt_shard_own_metrics(p->shard)->idempotent_retries, 1);
    tt_publish_batch_rewind(&p->batch);
    if (tt_publish_batch_mismatched(&p->batch)) {
        fail_mismatch(p);
    } else if (tt_publish_batch_unclaimed(&p->batch, &claim) && p->batch.count == 0) {
        struct tt_publish_refusal r = tt_publish_refusal_of(claim);
        fail(p, r.status, r.code, r.retry_after_s, r.text);
    } else if (p->form == FORM_ONE) {
        answer_one(p);
    } else {
        answer_many(p);
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

/* The source can never take what stands behind the events of the batch. */
static void fail_unpublishable(struct whole *p)
{
    char message[TT_PUBLISH_MESSAGE_MAX];
    if (p->form == FORM_ONE)
        (void)snprintf(message, sizeof message, "%s", p->batch.why);
    else
        (void)snprintf(message, sizeof message, "element %u: %s", p->batch.count, p->batch.why);
    fail(p, 400, "not_publishable", 0, message);
}

/* Reads one event into the batch. False: the request was refused. */
static bool add(struct whole *p, const struct tt_event *event)
{
    if (p->batch.count == TT_PUBLISH_ARRAY_MAX) {
        fail(p, 413, "too_many_events", 0,
             "publish: an array may have 65536 events at most; longer ones go as NDJSON");
        return false;
    }
    enum tt_status status = tt_publish_batch_add(&p->batch, event, 0);
    if (status == TT_EINVAL)
        fail_unpublishable(p);
    else if (status != TT_OK)
        fail_memory(p);
    return status == TT_OK;
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

/* The body itself is what the event carries. */
static bool read_command(struct whole *p, size_t event_bytes_max, int64_t taken_us)
{
    struct tt_json_value value;
    const char *why;
    size_t at;
    char message[TT_PUBLISH_MESSAGE_MAX];
    if (tt_json_check(tt_bytes(p->text, p->size), &value, &why, &at) != TT_OK) {
        (void)snprintf(message, sizeof message, "byte %zu: %s", at, why);
        fail(p, 400, "invalid_json", 0, message);
        return false;
    }
    if (value.kind != TT_JSON_OBJECT) {
        fail(p, 400, "invalid_command", 0, "body: must be a JSON object");
        return false;
    }
    if (value.breaks) tt_json_flatten(p->text, p->size);
    const struct tt_event event = {.channel = TT_BYTES_LITERAL("commands"),
                                   .type = TT_BYTES_LITERAL("command"),
                                   .headers = p->headers,
                                   .payload = value.text,
                                   .timestamp_ms = taken_us / 1000,
                                   .taken_us = taken_us};
    size_t bytes = event.channel.size + event.type.size + event.headers.size + event.payload.size;
    if (bytes > event_bytes_max) {
        (void)snprintf(message, sizeof message,
                       "body: the event has %zu bytes (channel, type, headers and payload), at "
                       "most %zu are allowed",
                       bytes, event_bytes_max);
        fail(p, 413, "too_large", 0, message);
        return false;
    }
    return add(p, &event);
}

/* Nothing is sent before all lines were found valid. */
static void fail_line(struct whole *p, uint64_t line, unsigned status, const char *code,
                      const char *text)
{
    char message[TT_PUBLISH_MESSAGE_MAX];
    struct tt_publish_text answer = {0};
    (void)snprintf(message, sizeof message, "line %llu: %s; 0 events were taken",
                   (unsigned long long)line, text);
    p->refused = true;
    if (tt_publish_text_reserve(&answer, 1)) tt_write_char(&answer.w, '{');
    tt_publish_text_error(&answer, code, message);
    if (tt_publish_text_reserve(&answer, 1)) tt_write_char(&answer.w, ',');
    tt_publish_text_count(&answer, p->shard, 0, NULL, NULL);
    if (tt_publish_text_reserve(&answer, 16))
        tt_write_text(&answer.w, p->ids_wanted ? ",\"ids\":[]}\n" : "}\n");
    tt_publish_text_answer(&answer, &p->x, p->shard, status, 0, code, message);
}

static bool read_lines(struct whole *p, size_t event_bytes_max, int64_t taken_us)
{
    struct tt_ndjson lines = {0};
    struct tt_envelope_error error;
    struct tt_event event;
    enum tt_status status;
    size_t line_bytes_max = event_bytes_max + TT_PUBLISH_LINE_BYTES_BESIDE, at, bytes;
    while ((status = tt_ndjson_next(&lines, p->text, p->size, true, line_bytes_max, &at, &bytes)) ==
           TT_OK) {
        if (p->batch.count == TT_PUBLISH_ARRAY_MAX) {
            fail_line(p, lines.line, 413, "too_many_events",
                      "with an Idempotency-Key a body may have 65536 events at most");
            return false;
        }
        if (tt_envelope_parse(p->text + at, bytes, event_bytes_max, taken_us, &event, &error) !=
            TT_OK) {
            fail_line(p, lines.line, error.status, error.code, error.message);
            return false;
        }
        if (tt_publish_batch_add(&p->batch, &event, lines.line) == TT_OK) continue;
        fail_memory(p);
        return false;
    }
    if (status == TT_END) return true;
    char text[80];
    (void)snprintf(text, sizeof text, "is longer than the allowed %zu bytes", line_bytes_max);
    fail_line(p, lines.line, 413, "too_large", text);
    return false;
}

/* Before the body is read: reading changes it. */
static void hash_key_and_body(const struct whole *p, struct tt_record_idempotency *block)
{
    const struct tt_hash_key *hash_key = &tt_shard_world(p->shard)->hash_key;
    tt_idempotency_key_hash(hash_key, TT_BYTES_NONE, p->key, block->key_hash);
    tt_idempotency_body_hash(hash_key, p->form == FORM_LINES, tt_bytes(p->text, p->size),
                             block->body_hash);
}

static void publish(struct whole *p)
{
    size_t event_bytes_max = tt_shard_options(p->shard)->event_bytes_max;
    int64_t taken_us = tt_shard_wall_us(p->shard);
    struct tt_record_idempotency block = {0};
    if (p->form != FORM_LINES && !p->command && tt_envelope_peek(p->text, p->size) == '[')
        p->form = FORM_ARRAY;
    if (p->key.size != 0) hash_key_and_body(p, &block);
    bool good = p->command              ? read_command(p, event_bytes_max, taken_us)
                : p->form == FORM_ONE   ? read_one(p, event_bytes_max, taken_us)
                : p->form == FORM_ARRAY ? read_array(p, event_bytes_max, taken_us)
                                        : read_lines(p, event_bytes_max, taken_us);
    if (!good) return;
    enum tt_status status = tt_publish_batch_submit(&p->batch, p->key.size == 0 ? NULL : &block);
    if (status == TT_END) answer(p);
    if (status == TT_ENOMEM) fail_memory(p);
}

static size_t whole_body(struct tt_exchange *x, struct tt_bytes bytes, bool end)
{
    struct whole *p = whole_of(x);
    if (p->refused) return bytes.size;
    if (!append(p, bytes)) {
        drop_text(p); /* at once: the rest of the body may come for long */
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

struct tt_exchange *tt_publish_whole_create(struct tt_shard *shard,
                                            const struct tt_publish_whole_options *options)
{
    struct whole *p = calloc(1, sizeof *p + options->key.size + options->headers.size);
    if (p == NULL) return NULL;
    p->x.ops = &whole_ops;
    p->shard = shard;
    p->expected = options->expected;
    p->form = options->lines ? FORM_LINES : FORM_ONE;
    p->ids_wanted = options->ids_wanted;
    if (options->key.size != 0) memcpy(p + 1, options->key.data, options->key.size);
    p->key = tt_bytes(p + 1, options->key.size);
    p->command = options->command;
    uint8_t *headers = (uint8_t *)(p + 1) + options->key.size;
    if (options->headers.size != 0) memcpy(headers, options->headers.data, options->headers.size);
    p->headers = tt_bytes(headers, options->headers.size);
    tt_publish_batch_init(&p->batch, shard, batch_done);
    return &p->x;
}
