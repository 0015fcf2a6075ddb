#include "shard/http/subscribe.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "proto/wire/subscribe.h"
#include "shard/client/change.h"
#include "shard/http/session_call.h"
#include "shard/shard_internal.h"

#define MESSAGE_BYTES_MAX 400u

struct subscribe_call {
    struct tt_session_call call;
    uint8_t *text; /* what the body says, decoded */
    struct tt_pattern *patterns;
    struct tt_change change;
    size_t cursor_bytes; /* of the answer */
    uint8_t cursor[TT_CURSOR_BYTES_MAX];
};

static struct subscribe_call *subscribe_of(struct tt_session_call *call)
{
    return (struct subscribe_call *)call;
}

static void subscribe_release(struct tt_session_call *call)
{
    free(subscribe_of(call)->text);
    free(subscribe_of(call)->patterns);
}

/* ---- on the session's shard ---- */

static void subscribe_run(struct tt_session_call *call, struct tt_shard *shard,
                          struct tt_client *client)
{
    (void)shard;
    struct subscribe_call *s = subscribe_of(call);
    struct tt_writer cursor = tt_writer(s->cursor, sizeof s->cursor);
    enum tt_status status = tt_client_change(client, &s->change, &cursor);
    s->cursor_bytes = cursor.size;
    if (status == TT_OK)
        tt_session_call_result(call, 200, NULL, NULL);
    else if (status == TT_EBUSY)
        tt_session_call_result(
            call, 409, "snapshot_running",
            "is a stream whose snapshot has not ended; try again behind its snapshot-end");
    else if (status == TT_ETOOBIG)
        tt_session_call_result(
            call, 400, "cursor_too_long",
            "would span the partitions of this log, and a cursor over all of them is too long");
    else if (status == TT_ENOMEM)
        tt_session_call_result(call, 503, "unavailable", "cannot be changed now: out of memory");
    else
        tt_session_call_result(call, 404, "session_gone", "is a stream that has ended");
}

/* ---- the request ---- */

static void subscribe_answer(struct tt_session_call *call)
{
    struct subscribe_call *s = subscribe_of(call);
    uint8_t text[TT_CURSOR_BYTES_MAX + 64];
    struct tt_writer w = tt_writer(text, sizeof text);
    tt_write_text(&w, "{\"ok\":true,\"cursor\":\"");
    tt_write(&w, s->cursor, s->cursor_bytes);
    tt_write_text(&w, "\"}\n");
    TT_ASSERT(!w.overflow);
    struct tt_response response = {.status = 200, .content_type = "application/json"};
    tt_exchange_answer(&call->exchange, &response, tt_writer_bytes(&w));
}

/* Of everything else that a subscription may say nothing can be changed. */
static const char *unchangeable(const struct tt_subscribe *s)
{
    if (s->types_count != 0) return "types";
    if (s->cursor.size != 0) return "cursor";
    if (s->policy != TT_POLICY_REPLAY) return "policy";
    if (s->form.payload_only) return "format";
    if (s->form.no_name) return "event";
    if (s->heartbeat_ms != 0) return "heartbeat";
    if (s->pad_bytes != 0) return "pad";
    if (s->ping_event) return "ping";
    if (s->label.size != 0) return "id";
    return NULL;
}

static bool read_change(struct subscribe_call *call, const struct tt_subscribe *s)
{
    char message[MESSAGE_BYTES_MAX];
    struct tt_writer w = tt_writer(message, sizeof message - 1);
    const char *name = unchangeable(s);
    if (name != NULL) {
        tt_write_format(&w,
                        "%s: cannot be changed while the stream stands; allowed: channels, "
                        "from, last",
                        name);
    } else if (!s->channels_given) {
        tt_write_text(&w,
                      "channels: is missing; allowed: what the stream is to follow from now on");
    } else if (s->from == TT_FROM_EARLIEST || s->from == TT_FROM_TIME) {
        tt_write_text(&w,
                      "from: cannot be an earlier place of a stream that stands; allowed: live, "
                      "snapshot");
    }
    message[w.size] = '\0';
    if (w.size != 0) {
        tt_session_call_refuse(&call->call, 400, "invalid_parameter", "%s", message);
        return false;
    }
    call->change = (struct tt_change){
        .patterns = s->patterns,
        .patterns_count = s->patterns_count,
        .history = s->from == TT_FROM_SNAPSHOT || s->from == TT_FROM_LAST,
        .last = s->last,
    };
    return true;
}

static void subscribe_parse(struct tt_session_call *call)
{
    struct subscribe_call *s = subscribe_of(call);
    uint32_t max = call->shard->options.channels_per_client_max;
    size_t text_bytes = call->body_bytes + 1;
    s->patterns = malloc(max * sizeof *s->patterns);
    s->text = malloc(text_bytes + call->body_bytes);
    if (s->patterns == NULL || s->text == NULL) {
        tt_session_call_refuse(call, 503, "unavailable",
                               "subscribe: there is no memory for the request");
        return;
    }
    struct tt_subscribe_memory memory = {
        .patterns = s->patterns, .patterns_max = max, .text = s->text, .text_bytes = text_bytes};
    struct tt_subscribe subscribe;
    struct tt_subscribe_error error;
    if (tt_subscribe_from_json(tt_bytes(call->body, call->body_bytes), TT_BYTES_NONE, &memory,
                               &subscribe, &error) != TT_OK) {
        tt_session_call_refuse(call, 400, error.code, "%s", error.message);
        return;
    }
    struct tt_writer text = tt_writer(s->text + text_bytes, call->body_bytes);
    if (tt_session_call_read(call, &text) && read_change(s, &subscribe)) tt_session_call_send(call);
}

static const struct tt_session_kind subscribe_kind = {
    .name = "subscribe",
    .body_bytes_max = TT_SUBSCRIBE_BODY_BYTES_MAX,
    .too_large = "the body of a subscription has more than 65536 bytes",
    .missing = "session: is missing; a sealed subscription without one is not supported by this "
               "version",
    .missing_code = "not_supported",
    .size = sizeof(struct subscribe_call),
    .parse = subscribe_parse,
    .run = subscribe_run,
    .answer = subscribe_answer,
    .release = subscribe_release,
};

struct tt_exchange *tt_subscribe_handle(void *context, const struct tt_request *request)
{
    return tt_session_call_handle(&subscribe_kind, context, request);
}
