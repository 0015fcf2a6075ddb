#include "shard/http/ack.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "proto/wire/json.h"
#include "shard/client/change.h"
#include "shard/http/session_call.h"
#include "shard/shard_internal.h"

#define BODY_BYTES_MAX   (16u << 10) /* a cursor with its ids, every byte of it escaped, and more */
#define SHOWN_BYTES_MAX  100u        /* of a cursor in a message */
#define ALLOWED_TEXT     "allowed are the cursors of the stream's own id lines"
#define MESSAGE_TEXT_MAX 320u

struct ack_call {
    struct tt_session_call call;
    uint8_t *text; /* session and cursor, decoded */
    struct tt_bytes cursor;
    uint64_t lag; /* of the answer */
    char message[MESSAGE_TEXT_MAX];
};

static struct ack_call *ack_of(struct tt_session_call *call)
{
    return (struct ack_call *)call;
}

static void ack_release(struct tt_session_call *call)
{
    free(ack_of(call)->text);
}

/* ---- on the session's shard ---- */

/* The partitions that the client can touch: [*first, *end). */
static void partitions_of(const struct tt_client *client, uint32_t *first, uint32_t *end)
{
    bool full = tt_client_full(client);
    *first = full ? 0 : client->partition;
    *end = full ? client->shard->world->partitions_count : client->partition + 1;
}

bool tt_ack_lag(const struct tt_client *client, const uint64_t *heads, uint64_t *lag)
{
    const struct tt_client_extra *extra = client->extra;
    if (extra == NULL || extra->acked_ms == 0 || extra->acked_partition != client->partition)
        return false;
    uint32_t p, end;
    uint64_t sum = 0;
    for (partitions_of(client, &p, &end); p < end; p++) sum += heads[p];
    *lag = sum > extra->acked_sum ? sum - extra->acked_sum : 0;
    return true;
}

static void refuse(struct tt_session_call *call, const char *code, const char *what)
{
    struct ack_call *a = ack_of(call);
    size_t shown = a->cursor.size < SHOWN_BYTES_MAX ? a->cursor.size : SHOWN_BYTES_MAX;
    struct tt_writer w = tt_writer(a->message, sizeof a->message - 1);
    tt_write_format(&w, "cursor \"%.*s%s\": %s; " ALLOWED_TEXT, (int)shown,
                    (const char *)a->cursor.data, shown < a->cursor.size ? "..." : "", what);
    a->message[w.size] = '\0';
    call->whole = true;
    tt_session_call_result(call, 400, code, a->message);
}

static bool is_of_this_log(const struct tt_topology *t, const struct tt_cursor *cursor)
{
    for (uint32_t i = 0; i < t->topics_count; i++)
        if (tt_cursor_find(cursor, t->topics[i].history) != NULL) return true;
    return false;
}

static uint64_t next_of(const struct tt_topology *t, const struct tt_cursor *cursor, uint32_t p)
{
    const struct tt_topology_local *l = tt_topology_local(t, p);
    const struct tt_cursor_topic *topic = tt_cursor_find(cursor, l->history);
    return topic == NULL ? TT_CURSOR_UNKNOWN : tt_cursor_next(cursor, topic, l->number);
}

/* Sums up what the cursor says of the client's partitions. False: it was refused. */
static bool read_cursor(struct tt_session_call *call, struct tt_shard *shard,
                        const struct tt_client *client, uint64_t *sum)
{
    struct tt_cursor cursor;
    tt_cursor_init(&cursor, shard->cursor_storage);
    if (tt_cursor_parse(ack_of(call)->cursor, &cursor) != TT_OK) {
        refuse(call, "bad_cursor", "cannot be read");
        return false;
    }
    if (!is_of_this_log(&shard->topology, &cursor)) {
        refuse(call, "other_history", "is of another log than this one");
        return false;
    }
    uint32_t p, end;
    *sum = 0;
    tt_client_sent_vector(client, shard->vector);
    for (partitions_of(client, &p, &end); p < end; p++) {
        uint64_t next = next_of(&shard->topology, &cursor, p);
        if (next == TT_CURSOR_BEGINNING) continue;
        if (next == TT_CURSOR_UNKNOWN && !tt_topology_is_seen(&shard->topology, p)) continue;
        if (next == TT_CURSOR_UNKNOWN) {
            refuse(call, "partial_cursor", "says nothing about some partitions of the stream");
            return false;
        }
        if (next > shard->vector[p]) {
            refuse(call, "cursor_ahead", "is ahead of what was sent to the stream");
            return false;
        }
        *sum += next;
    }
    return true;
}

static void ack_run(struct tt_session_call *call, struct tt_shard *shard, struct tt_client *client)
{
    uint64_t sum;
    if (!read_cursor(call, shard, client, &sum)) return;
    struct tt_client_extra *extra = client->extra;
    if (extra == NULL) extra = client->extra = calloc(1, sizeof *extra);
    if (extra == NULL) {
        tt_session_call_result(call, 503, "unavailable", "cannot be acknowledged: out of memory");
        return;
    }
    /* Two requests may overtake each other: the client has come as far as it ever said. */
    bool behind = extra->acked_ms != 0 && extra->acked_partition == client->partition &&
                  sum < extra->acked_sum;
    if (!behind) extra->acked_sum = sum;
    extra->acked_partition = client->partition;
    extra->acked_ms = shard->wall_us / 1000;
    tt_metric_add(&shard->metrics.acks, 1);
    tt_shard_resume_bounds(shard);
    bool known = tt_ack_lag(client, shard->heads, &ack_of(call)->lag);
    TT_ASSERT(known);
    tt_session_call_result(call, 200, NULL, NULL);
}

/* ---- the request ---- */

static void ack_answer(struct tt_session_call *call)
{
    uint8_t text[64];
    struct tt_writer w = tt_writer(text, sizeof text);
    tt_write_text(&w, "{\"ok\":true,\"lag\":");
    tt_write_u64(&w, ack_of(call)->lag);
    tt_write_text(&w, "}\n");
    struct tt_response response = {.status = 200, .content_type = "application/json"};
    tt_exchange_answer(&call->exchange, &response, tt_writer_bytes(&w));
}

/* The member `cursor`. False: it was refused. */
static bool find_cursor(struct tt_session_call *call, struct tt_writer *text)
{
    struct ack_call *a = ack_of(call);
    struct tt_json_reader r = tt_json_reader(tt_bytes(call->body, call->body_bytes));
    struct tt_json_value key, value;
    enum tt_status status = tt_json_begin(&r, '{');
    while (status == TT_OK && (status = tt_json_member(&r, &key, &value)) == TT_OK) {
        if (!tt_json_string_is(&key, "cursor")) continue;
        size_t start = text->size;
        if (value.kind != TT_JSON_STRING || tt_json_string_decode(&value, text) != TT_OK ||
            text->size == start) {
            tt_session_call_refuse(call, 400, "invalid_parameter",
                                   "cursor: is not a string that says something; " ALLOWED_TEXT);
            return false;
        }
        a->cursor = tt_bytes(text->data + start, text->size - start);
    }
    if (a->cursor.size == 0)
        tt_session_call_refuse(call, 400, "invalid_parameter", "cursor: is missing; " ALLOWED_TEXT);
    return a->cursor.size != 0;
}

static void ack_parse(struct tt_session_call *call)
{
    struct ack_call *a = ack_of(call);
    struct tt_json_value whole;
    const char *error = NULL;
    size_t at = 0;
    enum tt_status status =
        tt_json_check(tt_bytes(call->body, call->body_bytes), &whole, &error, &at);
    if (status != TT_OK || whole.kind != TT_JSON_OBJECT) {
        tt_session_call_refuse(call, 400, "invalid_json",
                               "body: %s at byte %zu; allowed is an object "
                               "with session and cursor",
                               status == TT_OK ? "is not an object" : error, at);
        return;
    }
    a->text = malloc(call->body_bytes);
    if (a->text == NULL) {
        tt_session_call_refuse(call, 503, "unavailable", "ack: there is no memory for the request");
        return;
    }
    struct tt_writer text = tt_writer(a->text, call->body_bytes);
    if (tt_session_call_read(call, &text) && find_cursor(call, &text)) tt_session_call_send(call);
}

static const struct tt_session_kind ack_kind = {
    .name = "ack",
    .body_bytes_max = BODY_BYTES_MAX,
    .too_large = "the body of an acknowledgement has more than 16384 bytes",
    .missing = "session: is missing; allowed is that of the stream's connected event",
    .missing_code = "invalid_parameter",
    .size = sizeof(struct ack_call),
    .parse = ack_parse,
    .run = ack_run,
    .answer = ack_answer,
    .release = ack_release,
};

struct tt_exchange *tt_ack_handle(void *context, const struct tt_request *request)
{
    return tt_session_call_handle(&ack_kind, context, request);
}
