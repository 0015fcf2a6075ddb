#include "shard/http/session_call.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/base/assert.h"
#include "proto/wire/json.h"
#include "shard/client/change.h"
#include "shard/shard_internal.h"

#define UNKNOWN_SESSION "is not of this broker; open the stream anew with its cursor"

struct tt_session_calls {
    uint32_t *open;          /* to each shard */
    struct tt_list *waiting; /* for each shard: what would be beyond the bound */
    uint32_t total;          /* open and waiting */
};

enum tt_status tt_session_calls_create(struct tt_shard *shard)
{
    uint32_t shards = shard->world->shards_count;
    struct tt_session_calls *s = calloc(1, sizeof *s);
    shard->session_calls = s;
    if (s == NULL) return TT_ENOMEM;
    s->open = calloc(shards, sizeof *s->open);
    s->waiting = calloc(shards, sizeof *s->waiting);
    if (s->open == NULL || s->waiting == NULL) return TT_ENOMEM;
    for (uint32_t i = 0; i < shards; i++) tt_list_init(&s->waiting[i]);
    return TT_OK;
}

void tt_session_calls_destroy(struct tt_shard *shard)
{
    struct tt_session_calls *s = shard->session_calls;
    if (s == NULL) return;
    TT_ASSERT(s->total == 0);
    free(s->open);
    free(s->waiting);
    free(s);
    shard->session_calls = NULL;
}

bool tt_session_calls_idle(const struct tt_shard *shard)
{
    return shard->session_calls->total == 0;
}

static void call_free(struct tt_session_call *call)
{
    if (call->kind->release != NULL) call->kind->release(call);
    free(call->body);
    free(call);
}

/* ---- on the session's shard ---- */

void tt_session_call_result(struct tt_session_call *call, unsigned status, const char *code,
                            const char *message)
{
    call->status = status;
    call->code = code;
    call->message = message;
}

static void carry_out(struct tt_shard *shard, struct tt_session_call *call)
{
    struct tt_client *client = NULL;
    enum tt_status status = tt_session_find(shard, call->session, &client);
    if (status == TT_EACCES)
        tt_session_call_result(call, 421, "unknown_session", UNKNOWN_SESSION);
    else if (status != TT_OK || client->state == TT_CLIENT_CLOSING)
        tt_session_call_result(call, 404, "session_gone", "is a stream that has ended");
    else
        call->kind->run(call, shard, client);
}

/* ---- there and back ---- */

static void answer(struct tt_session_call *call)
{
    if (call->orphan)
        call_free(call);
    else if (call->status == 200)
        call->kind->answer(call);
    else if (call->whole)
        tt_exchange_fail(&call->exchange, call->status, call->code, 0, "%s", call->message);
    else
        tt_exchange_fail(&call->exchange, call->status, call->code, call->status == 503 ? 1 : 0,
                         "session \"%.*s\": %s", (int)call->session.size,
                         (const char *)call->session.data, call->message);
}

static void lend(struct tt_shard *shard, uint32_t to, struct tt_session_call *call)
{
    shard->session_calls->open[to]++;
    struct tt_message m = {.kind = TT_MESSAGE_SESSION_CALL};
    TT_MESSAGE_BODY(&m, tt_message_session_call)->call = call;
    tt_peers_post(shard->world->peers, shard->index, to, &m);
}

/* By message to the shard's own clients, too: while completions are handled, what a client was
 * offered may have been taken without its knowing yet, so nothing may be dropped then. */
void tt_session_call_send(struct tt_session_call *call)
{
    struct tt_shard *shard = call->shard;
    struct tt_session_calls *s = shard->session_calls;
    uint32_t to;
    if (!tt_session_shard(call->session, &to) || to >= shard->world->shards_count) {
        tt_session_call_refuse(call, 421, "unknown_session", "session: " UNKNOWN_SESSION);
        return;
    }
    call->lent = true;
    s->total++;
    if (s->open[to] == TT_SESSION_CALL_OPEN_MAX)
        tt_list_append(&s->waiting[to], &call->node);
    else
        lend(shard, to, call);
}

void tt_session_calls_message(struct tt_shard *shard, const struct tt_message *message)
{
    struct tt_message m = *message;
    struct tt_session_call *call = TT_MESSAGE_BODY(&m, tt_message_session_call)->call;
    if (m.kind == TT_MESSAGE_SESSION_CALL) {
        carry_out(shard, call);
        m.kind = TT_MESSAGE_SESSION_CALLED;
        tt_peers_post(shard->world->peers, shard->index, message->from, &m);
        return;
    }
    struct tt_session_calls *s = shard->session_calls;
    TT_ASSERT(m.kind == TT_MESSAGE_SESSION_CALLED && s->open[message->from] > 0 && s->total > 0);
    s->open[message->from]--;
    s->total--;
    call->lent = false;
    struct tt_node *node = tt_list_take_first(&s->waiting[message->from]);
    if (node != NULL)
        lend(shard, message->from, TT_CONTAINER_OF(node, struct tt_session_call, node));
    answer(call);
}

/* ---- the request ---- */

void tt_session_call_refuse(struct tt_session_call *call, unsigned status, const char *code,
                            const char *format, ...)
{
    char message[TT_ERROR_MESSAGE_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    call->refused = true;
    tt_exchange_fail(&call->exchange, status, code, status == 503 ? 1 : 0, "%s", message);
}

bool tt_session_call_read(struct tt_session_call *call, struct tt_writer *text)
{
    struct tt_json_reader r = tt_json_reader(tt_bytes(call->body, call->body_bytes));
    struct tt_json_value key, value;
    bool found = false;
    enum tt_status status = tt_json_begin(&r, '{');
    while (status == TT_OK && (status = tt_json_member(&r, &key, &value)) == TT_OK) {
        if (!tt_json_string_is(&key, "session") || value.kind == TT_JSON_NULL) continue;
        size_t start = text->size;
        if (value.kind != TT_JSON_STRING || tt_json_string_decode(&value, text) != TT_OK ||
            text->size - start > TT_SESSION_BYTES_MAX) {
            tt_session_call_refuse(call, 421, "unknown_session", "session: " UNKNOWN_SESSION);
            return false;
        }
        call->session = tt_bytes(text->data + start, text->size - start);
        found = true;
    }
    if (!found)
        tt_session_call_refuse(call, 400, call->kind->missing_code, "%s", call->kind->missing);
    return found;
}

static size_t call_body(struct tt_exchange *x, struct tt_bytes bytes, bool end)
{
    struct tt_session_call *call = (struct tt_session_call *)x;
    if (call->refused) return bytes.size;
    if (bytes.size > call->kind->body_bytes_max - call->body_bytes) {
        tt_session_call_refuse(call, 413, "body_too_large", "%s", call->kind->too_large);
        return bytes.size;
    }
    if (bytes.size != 0) memcpy(call->body + call->body_bytes, bytes.data, bytes.size);
    call->body_bytes += bytes.size;
    if (end) call->kind->parse(call);
    return bytes.size;
}

static void call_closed(struct tt_exchange *x, enum tt_close_reason reason)
{
    (void)reason;
    struct tt_session_call *call = (struct tt_session_call *)x;
    if (call->lent)
        call->orphan = true;
    else
        call_free(call);
}

static const struct tt_exchange_ops call_ops = {
    .name = "session", .body = call_body, .closed = call_closed};

struct tt_exchange *tt_session_call_handle(const struct tt_session_kind *kind,
                                           struct tt_shard *shard, const struct tt_request *request)
{
    struct tt_session_call *call = calloc(1, kind->size);
    if (call != NULL) call->body = malloc(kind->body_bytes_max);
    if (call == NULL || call->body == NULL) {
        free(call);
        return tt_reply_error(request, 503, "unavailable", 1,
                              "%s: there is no memory for the request", kind->name);
    }
    call->kind = kind;
    call->shard = shard;
    call->exchange.ops = &call_ops;
    return &call->exchange;
}
