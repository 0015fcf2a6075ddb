/* NDJSON: an endless body, taken in batches of lines. */
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/assert.h"
#include "proto/base/limits.h"
#include "proto/wire/envelope.h"
#include "shard/http/publish_answer.h"

#define SIDE_BYTES_MIN 16384u
#define SIDE_BYTES_MAX 262144u /* one write of the log; more in one batch makes nothing faster */
#define IDS_MIN        1024u

struct stream;

/* One of the two batches: its lines, and the events that point into them. */
struct side {
    struct stream *stream;
    uint8_t *data;
    size_t size;
    size_t capacity;
    struct tt_publish_batch batch;
};

struct place {
    uint64_t offset;
    uint32_t partition; /* local number; NOT_TAKEN: null in the answer */
};
#define NOT_TAKEN UINT32_MAX

struct stream {
    struct tt_exchange x;
    struct tt_shard *shard;
    struct side sides[2];
    uint8_t filling; /* index of the side that takes lines; the other may be under way */
    bool ids_wanted;
    bool pressed; /* input had to wait for the side under way: larger batches help */
    bool ended;   /* the whole body was taken */
    bool stopped; /* an error was found: no further line is looked at */
    bool answered;
    bool closed;
    struct tt_ndjson lines; /* over the side that is filled */
    uint64_t taken;
    struct tt_publish_place first, last; /* of what was taken */
    struct place *ids;
    uint32_t ids_count;
    uint32_t ids_capacity;
    unsigned status; /* of the error */
    unsigned retry_after_s;
    const char *code;
    char message[TT_PUBLISH_MESSAGE_MAX];
};

static struct stream *stream_of(struct tt_exchange *x)
{
    return TT_CONTAINER_OF(x, struct stream, x);
}

static size_t line_bytes_max(const struct stream *s)
{
    return tt_shard_options(s->shard)->event_bytes_max + TT_PUBLISH_LINE_BYTES_BESIDE;
}

static struct side *filled(struct stream *s)
{
    return &s->sides[s->filling];
}
static struct side *other(struct stream *s)
{
    return &s->sides[1 - s->filling];
}

static void destroy(struct stream *s)
{
    for (unsigned i = 0; i < 2; i++) {
        tt_publish_batch_deinit(&s->sides[i].batch);
        tt_publish_memory_put(s->shard, s->sides[i].capacity);
        free(s->sides[i].data);
    }
    tt_publish_memory_put(s->shard, s->ids_capacity * sizeof *s->ids);
    free(s->ids);
    free(s);
}

/* The first error counts. `line` 0: it concerns none. */
static void stop(struct stream *s, unsigned status, const char *code, unsigned retry_after_s,
                 uint64_t line, const char *text)
{
    if (s->stopped) return;
    s->stopped = true;
    s->status = status;
    s->code = code;
    s->retry_after_s = retry_after_s;
    if (line == 0) {
        (void)snprintf(s->message, sizeof s->message, "publish: %s", text);
    } else {
        (void)snprintf(s->message, sizeof s->message, "line %llu: %s", (unsigned long long)line,
                       text);
    }
}

static void stop_memory(struct stream *s)
{
    stop(s, 503, "overloaded", 1, 0, "the publishers of this shard hold all their memory");
}

/* ---- memory of a side ---- */

/* Makes the side's memory larger. Nothing may point into it. False: it was not possible. */
static bool grow(struct side *side, size_t capacity)
{
    struct tt_shard *shard = side->stream->shard;
    TT_ASSERT(side->batch.count == 0 && capacity > side->capacity);
    if (!tt_publish_memory_get(shard, capacity - side->capacity)) return false;
    uint8_t *data = realloc(side->data, capacity);
    if (data == NULL) {
        tt_publish_memory_put(shard, capacity - side->capacity);
        return false;
    }
    side->data = data;
    side->capacity = capacity;
    return true;
}

/* Room for at least one byte more. False: there is none, because events point into the side (then
 * the other one is under way), or because the stream was stopped. */
static bool make_room(struct stream *s)
{
    struct side *side = filled(s);
    if (side->size < side->capacity) return true;
    if (side->batch.count != 0) {
        s->pressed = true;
        return false;
    }
    if (s->lines.start != 0) { /* lines that were blank */
        size_t start = s->lines.start;
        memmove(side->data, side->data + start, side->size - start);
        side->size -= start;
        tt_ndjson_drop(&s->lines, start);
        return true;
    }
    /* A line of the allowed length fits, with what tells that it is longer. */
    size_t most = line_bytes_max(s) + 2;
    size_t capacity = side->capacity == 0 ? SIDE_BYTES_MIN : side->capacity * 2;
    if (capacity > most && most > side->capacity) capacity = most;
    if (grow(side, capacity)) return true;
    stop_memory(s);
    return false;
}

/* Moves the part of a line that is there to the empty other side, which is filled from now on. */
static bool swap(struct stream *s)
{
    struct side *from = filled(s), *to = other(s);
    size_t rest = s->stopped ? 0 : from->size - s->lines.start;
    size_t wanted = s->pressed && to->capacity < SIDE_BYTES_MAX ? to->capacity * 2 : to->capacity;
    if (wanted < SIDE_BYTES_MIN) wanted = SIDE_BYTES_MIN;
    if (wanted < rest) wanted = from->capacity;
    s->pressed = false;
    to->size = 0;
    if (wanted > to->capacity && !grow(to, wanted) && to->capacity < rest) return false;
    if (rest != 0) memcpy(to->data, from->data + s->lines.start, rest);
    to->size = rest;
    tt_ndjson_drop(&s->lines, s->lines.start);
    s->filling = (uint8_t)(1 - s->filling);
    return true;
}

/* ---- lines ---- */

/* Whether ids of one more event can be kept. */
static bool has_room_for_id(struct stream *s)
{
    uint32_t most = s->ids_count + s->sides[0].batch.count + s->sides[1].batch.count + 1;
    if (most <= s->ids_capacity) return true;
    if (most > TT_PUBLISH_IDS_MAX) {
        stop(s, 413, "too_many_events", 0, s->lines.line,
             "with ids=1 a stream may have 262144 events at most");
        return false;
    }
    uint32_t capacity = s->ids_capacity == 0 ? IDS_MIN : s->ids_capacity * 2;
    size_t more = (capacity - s->ids_capacity) * sizeof *s->ids;
    struct place *ids = NULL;
    bool counted = tt_publish_memory_get(s->shard, more);
    if (counted) ids = realloc(s->ids, capacity * sizeof *ids);
    if (ids == NULL) {
        if (counted) tt_publish_memory_put(s->shard, more);
        stop_memory(s);
        return false;
    }
    s->ids = ids;
    s->ids_capacity = capacity;
    return true;
}

/* Reads the lines that are complete into the batch. */
static void scan(struct stream *s)
{
    struct side *side = filled(s);
    size_t event_bytes_max = tt_shard_options(s->shard)->event_bytes_max;
    int64_t taken_us = tt_shard_wall_us(s->shard);
    size_t at, bytes;
    enum tt_status status;
    while ((status = tt_ndjson_next(&s->lines, side->data, side->size, s->ended, line_bytes_max(s),
                                    &at, &bytes)) == TT_OK) {
        struct tt_event event;
        struct tt_envelope_error error;
        if (tt_envelope_parse(side->data + at, bytes, event_bytes_max, taken_us, &event, &error) !=
            TT_OK) {
            stop(s, error.status, error.code, 0, s->lines.line, error.message);
            return;
        }
        if (s->ids_wanted && !has_room_for_id(s)) return;
        enum tt_status added = tt_publish_batch_add(&side->batch, &event, s->lines.line);
        if (added == TT_EINVAL)
            stop(s, 400, "not_publishable", 0, s->lines.line, side->batch.why);
        else if (added != TT_OK)
            stop_memory(s);
        if (added != TT_OK) return;
    }
    if (status != TT_ETOOBIG) return;
    char text[80];
    (void)snprintf(text, sizeof text, "is longer than the allowed %zu bytes", line_bytes_max(s));
    stop(s, 413, "too_large", 0, s->lines.line, text);
}

/* ---- answers of the owners ---- */

static void keep_id(struct stream *s, struct place place)
{
    if (!s->ids_wanted) return;
    TT_ASSERT(s->ids_count < s->ids_capacity);
    s->ids[s->ids_count++] = place;
}

/* Takes the places of a batch that was answered, and empties it. Behind a refusal nothing is sent,
 * so that what was taken stays a prefix of the lines: it counts instead of an error of a later
 * line.
 */
static void collect(struct stream *s, struct side *side)
{
    struct tt_publish_batch *b = &side->batch;
    bool refused = false;
    tt_publish_batch_rewind(b);
    for (uint32_t i = 0; i < b->count; i++) {
        struct tt_publish_place place;
        struct tt_publish_refusal why;
        if (tt_publish_batch_next(b, i, &place, &why)) {
            if (s->taken++ == 0) s->first = place;
            s->last = place;
            keep_id(s, (struct place){place.offset, place.partition});
            continue;
        }
        keep_id(s, (struct place){0, NOT_TAKEN});
        if (refused) continue;
        refused = true;
        s->stopped = false;
        stop(s, why.status, why.code, why.retry_after_s, b->lines[i], why.text);
        tt_publish_batch_reset(&s->sides[s->filling].batch);
    }
    tt_publish_batch_reset(b);
    side->size = 0;
}

static void write_members(struct stream *s, struct tt_publish_text *text)
{
    tt_publish_text_count(text, s->shard, s->taken, &s->first, &s->last);
    if (!s->ids_wanted) return;
    if (tt_publish_text_reserve(text, 16)) tt_write_text(&text->w, ",\"ids\":[");
    for (uint32_t i = 0; i < s->ids_count; i++) {
        struct tt_publish_place place = {.partition = s->ids[i].partition,
                                         .offset = s->ids[i].offset};
        if (i != 0 && tt_publish_text_reserve(text, 1)) tt_write_char(&text->w, ',');
        tt_publish_text_id(text, s->shard, s->ids[i].partition == NOT_TAKEN ? NULL : &place);
    }
    if (tt_publish_text_reserve(text, 1)) tt_write_char(&text->w, ']');
}

static void answer(struct stream *s)
{
    struct tt_publish_text text = {0};
    s->answered = true;
    if (tt_publish_text_reserve(&text, 1)) tt_write_char(&text.w, '{');
    if (s->stopped) {
        size_t used = strlen(s->message);
        (void)snprintf(s->message + used, sizeof s->message - used, "; %llu events were taken",
                       (unsigned long long)s->taken);
        tt_publish_text_error(&text, s->code, s->message);
        if (tt_publish_text_reserve(&text, 1)) tt_write_char(&text.w, ',');
    }
    write_members(s, &text);
    if (tt_publish_text_reserve(&text, 2)) tt_write_text(&text.w, "}\n");
    tt_publish_text_answer(&text, &s->x, s->shard, s->stopped ? s->status : 202,
                           s->stopped ? s->retry_after_s : 0, s->code, s->message);
}

/* Sends the side that is filled if nothing is under way; answers when all is done. */
static void advance(struct stream *s)
{
    while (!s->answered && !tt_publish_batch_busy(&other(s)->batch)) {
        struct side *side = filled(s);
        if (side->batch.count == 0) {
            if (s->stopped || s->ended) answer(s);
            return;
        }
        if (!swap(s)) {
            stop_memory(s);
            tt_publish_batch_reset(&side->batch);
            continue;
        }
        enum tt_status status = tt_publish_batch_submit(&side->batch, NULL);
        if (status == TT_OK) return;
        if (status == TT_END) {
            collect(s, side);
        } else {
            stop_memory(s);
            tt_publish_batch_reset(&side->batch);
        }
    }
}

static void batch_done(struct tt_publish_batch *batch)
{
    struct side *side = TT_CONTAINER_OF(batch, struct side, batch);
    struct stream *s = side->stream;
    if (s->closed) {
        destroy(s);
        return;
    }
    collect(s, side);
    advance(s);
    /* Also when that was the answer: what is left of a refused body is dropped, and the next
     * request stands behind it. */
    tt_exchange_resume_body(&s->x);
}

/* ---- the exchange ---- */

static size_t stream_body(struct tt_exchange *x, struct tt_bytes bytes, bool end)
{
    struct stream *s = stream_of(x);
    size_t taken = 0;
    do {
        if (s->stopped) return bytes.size; /* waits for its answer; the rest does not count */
        if (taken != bytes.size && !make_room(s)) break;
        struct side *side = filled(s);
        size_t room = side->capacity - side->size, left = bytes.size - taken;
        size_t part = left < room ? left : room;
        if (part != 0) memcpy(side->data + side->size, bytes.data + taken, part);
        side->size += part;
        taken += part;
        s->ended = end && taken == bytes.size;
        scan(s);
        advance(s);
    } while (taken < bytes.size);
    if (!s->stopped) return taken;
    advance(s);
    return bytes.size;
}

static void stream_closed(struct tt_exchange *x, enum tt_close_reason reason)
{
    struct stream *s = stream_of(x);
    (void)reason;
    s->closed = true;
    bool idle = tt_publish_batch_cancel(&s->sides[0].batch);
    idle &= tt_publish_batch_cancel(&s->sides[1].batch);
    if (idle) destroy(s);
}

/* Answered as a whole: there is nothing to pull. */
static const struct tt_exchange_ops stream_ops = {
    .name = "publish stream",
    .body = stream_body,
    .closed = stream_closed,
};

struct tt_exchange *tt_publish_stream_create(struct tt_shard *shard, bool ids_wanted)
{
    struct stream *s = calloc(1, sizeof *s);
    if (s == NULL) return NULL;
    s->x.ops = &stream_ops;
    s->shard = shard;
    s->ids_wanted = ids_wanted;
    for (unsigned i = 0; i < 2; i++) {
        s->sides[i].stream = s;
        tt_publish_batch_init(&s->sides[i].batch, shard, batch_done);
    }
    return &s->x;
}
