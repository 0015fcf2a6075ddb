#include "shard/http/subscribe.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "proto/wire/json.h"
#include "proto/wire/subscribe.h"
#include "shard/client/change.h"
#include "shard/shard_internal.h"

#define MESSAGE_BYTES_MAX 400u

struct tt_subscribes {
    uint32_t *open;          /* to each shard */
    struct tt_list *waiting; /* for each shard: what would be beyond the bound */
    uint32_t total;          /* open and waiting */
};

/* One request, from its head to its answer. */
struct tt_subscribe_call {
    struct tt_exchange exchange;
    struct tt_shard *shard; /* where it came in */
    struct tt_node node;
    bool lent;    /* waiting, or with the session's shard */
    bool orphan;  /* its connection is gone: freed when it is given back */
    bool refused; /* it was answered already: the rest of its body is dropped */
    uint8_t *body;
    size_t body_bytes;
    uint8_t *text; /* what the body says, decoded */
    struct tt_pattern *patterns;
    struct tt_bytes session;
    struct tt_change change;
    /* the answer */
    unsigned status; /* of HTTP */
    const char *code;
    const char *message;
    size_t cursor_bytes;
    uint8_t cursor[TT_CURSOR_BYTES_MAX];
};

enum tt_status tt_subscribes_create(struct tt_shard *shard)
{
    uint32_t shards = shard->world->shards_count;
    struct tt_subscribes *s = calloc(1, sizeof *s);
    shard->subscribes = s;
    if (s == NULL) return TT_ENOMEM;
    s->open = calloc(shards, sizeof *s->open);
    s->waiting = calloc(shards, sizeof *s->waiting);
    if (s->open == NULL || s->waiting == NULL) return TT_ENOMEM;
    for (uint32_t i = 0; i < shards; i++) tt_list_init(&s->waiting[i]);
    return TT_OK;
}

void tt_subscribes_destroy(struct tt_shard *shard)
{
    struct tt_subscribes *s = shard->subscribes;
    if (s == NULL) return;
    TT_ASSERT(s->total == 0);
    free(s->open);
    free(s->waiting);
    free(s);
    shard->subscribes = NULL;
}

bool tt_subscribes_idle(const struct tt_shard *shard)
{
    return shard->subscribes->total == 0;
}

static void call_free(struct tt_subscribe_call *call)
{
    free(call->body);
    free(call->text);
    free(call->patterns);
    free(call);
}

/* ---- on the session's shard ---- */

static void result(struct tt_subscribe_call *call, unsigned status, const char *code,
                   const char *message)
{
    call->status = status;
    call->code = code;
    call->message = message;
}

static void carry_out(struct tt_shard *shard, struct tt_subscribe_call *call)
{
    struct tt_client *client = NULL;
    enum tt_status status = tt_session_find(shard, call->session, &client);
    if (status == TT_EACCES) {
        result(call, 421, "unknown_session",
               "is not of this broker; open the stream anew with its cursor");
        return;
    }
    struct tt_writer cursor = tt_writer(call->cursor, sizeof call->cursor);
    if (status == TT_OK) status = tt_client_change(client, &call->change, &cursor);
    call->cursor_bytes = cursor.size;
    if (status == TT_OK)
        result(call, 200, NULL, NULL);
    else if (status == TT_EBUSY)
        result(call, 409, "snapshot_running",
               "is a stream whose snapshot has not ended; try again behind its snapshot-end");
    else if (status == TT_ETOOBIG)
        result(call, 400, "cursor_too_long",
               "would span the partitions of this log, and a cursor over all of them is too long");
    else if (status == TT_ENOMEM)
        result(call, 503, "unavailable", "cannot be changed now: out of memory");
    else
        result(call, 404, "session_gone", "is a stream that has ended");
}

/* ---- there and back ---- */

static void answer(struct tt_subscribe_call *call)
{
    if (call->orphan) {
        call_free(call);
        return;
    }
    if (call->status != 200) {
        tt_exchange_fail(&call->exchange, call->status, call->code, call->status == 503 ? 1 : 0,
                         "session \"%.*s\": %s", (int)call->session.size,
                         (const char *)call->session.data, call->message);
        return;
    }
    uint8_t text[TT_CURSOR_BYTES_MAX + 64];
    struct tt_writer w = tt_writer(text, sizeof text);
    tt_write_text(&w, "{\"ok\":true,\"cursor\":\"");
    tt_write(&w, call->cursor, call->cursor_bytes);
    tt_write_text(&w, "\"}\n");
    TT_ASSERT(!w.overflow);
    struct tt_response response = {.status = 200, .content_type = "application/json"};
    tt_exchange_answer(&call->exchange, &response, tt_writer_bytes(&w));
}

static void lend(struct tt_shard *shard, uint32_t to, struct tt_subscribe_call *call)
{
    shard->subscribes->open[to]++;
    struct tt_message m = {.kind = TT_MESSAGE_SUBSCRIBE};
    TT_MESSAGE_BODY(&m, tt_message_subscribe)->call = call;
    tt_peers_post(shard->world->peers, shard->index, to, &m);
}

/* By message to the shard's own clients, too: while completions are handled, what a client was
 * offered may have been taken without its knowing yet, so nothing may be dropped then. */
static void send(struct tt_shard *shard, uint32_t to, struct tt_subscribe_call *call)
{
    struct tt_subscribes *s = shard->subscribes;
    call->lent = true;
    s->total++;
    if (s->open[to] == TT_SUBSCRIBE_OPEN_MAX)
        tt_list_append(&s->waiting[to], &call->node);
    else
        lend(shard, to, call);
}

void tt_subscribes_message(struct tt_shard *shard, const struct tt_message *message)
{
    struct tt_message m = *message;
    struct tt_subscribe_call *call = TT_MESSAGE_BODY(&m, tt_message_subscribe)->call;
    if (m.kind == TT_MESSAGE_SUBSCRIBE) {
        carry_out(shard, call);
        m.kind = TT_MESSAGE_SUBSCRIBED;
        tt_peers_post(shard->world->peers, shard->index, message->from, &m);
        return;
    }
    struct tt_subscribes *s = shard->subscribes;
    TT_ASSERT(m.kind == TT_MESSAGE_SUBSCRIBED && s->open[message->from] > 0 && s->total > 0);
    s->open[message->from]--;
    s->total--;
    call->lent = false;
    struct tt_node *node = tt_list_take_first(&s->waiting[message->from]);
    if (node != NULL)
        lend(shard, message->from, TT_CONTAINER_OF(node, struct tt_subscribe_call, node));
    answer(call);
}

/* ---- the request ---- */

static void refuse(struct tt_subscribe_call *call, unsigned status, const char *code,
                   const char *message)
{
    call->refused = true;
    tt_exchange_fail(&call->exchange, status, code, status == 503 ? 1 : 0, "%s", message);
}

/* The member `session`, decoded behind what call->text holds. False: it was answered. The body is
 * known to be an object. */
static bool read_session(struct tt_subscribe_call *call, struct tt_writer *text)
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
            refuse(call, 421, "unknown_session",
                   "session: is not of this broker; open the stream anew with its cursor");
            return false;
        }
        call->session = tt_bytes(text->data + start, text->size - start);
        found = true;
    }
    if (!found)
        refuse(call, 400, "not_supported",
               "session: is missing; a sealed subscription without one is not supported by this "
               "version");
    return found;
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

static bool read_change(struct tt_subscribe_call *call, const struct tt_subscribe *s)
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
        refuse(call, 400, "invalid_parameter", message);
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

static void parse(struct tt_subscribe_call *call)
{
    struct tt_shard *shard = call->shard;
    uint32_t max = shard->options.channels_per_client_max;
    size_t text_bytes = call->body_bytes + 1;
    call->patterns = malloc(max * sizeof *call->patterns);
    call->text = malloc(text_bytes + call->body_bytes);
    if (call->patterns == NULL || call->text == NULL) {
        refuse(call, 503, "unavailable", "subscribe: there is no memory for the request");
        return;
    }
    struct tt_subscribe_memory memory = {.patterns = call->patterns,
                                         .patterns_max = max,
                                         .text = call->text,
                                         .text_bytes = text_bytes};
    struct tt_subscribe subscribe;
    struct tt_subscribe_error error;
    if (tt_subscribe_from_json(tt_bytes(call->body, call->body_bytes), TT_BYTES_NONE, &memory,
                               &subscribe, &error) != TT_OK) {
        refuse(call, 400, error.code, error.message);
        return;
    }
    struct tt_writer text = tt_writer(call->text + text_bytes, call->body_bytes);
    if (!read_session(call, &text) || !read_change(call, &subscribe)) return;
    uint32_t to;
    if (!tt_session_shard(call->session, &to) || to >= shard->world->shards_count) {
        refuse(call, 421, "unknown_session",
               "session: is not of this broker; open the stream anew with its cursor");
        return;
    }
    send(shard, to, call);
}

static size_t subscribe_body(struct tt_exchange *x, struct tt_bytes bytes, bool end)
{
    struct tt_subscribe_call *call = (struct tt_subscribe_call *)x;
    if (call->refused) return bytes.size;
    if (bytes.size > TT_SUBSCRIBE_BODY_BYTES_MAX - call->body_bytes) {
        refuse(call, 413, "body_too_large", "the body of a subscription has more than 65536 bytes");
        return bytes.size;
    }
    if (bytes.size != 0) memcpy(call->body + call->body_bytes, bytes.data, bytes.size);
    call->body_bytes += bytes.size;
    if (end) parse(call);
    return bytes.size;
}

static void subscribe_closed(struct tt_exchange *x, enum tt_close_reason reason)
{
    (void)reason;
    struct tt_subscribe_call *call = (struct tt_subscribe_call *)x;
    if (call->lent)
        call->orphan = true;
    else
        call_free(call);
}

static const struct tt_exchange_ops subscribe_ops = {
    .name = "subscribe", .body = subscribe_body, .closed = subscribe_closed};

struct tt_exchange *tt_subscribe_handle(void *context, const struct tt_request *request)
{
    struct tt_shard *shard = context;
    struct tt_subscribe_call *call = calloc(1, sizeof *call);
    if (call != NULL) call->body = malloc(TT_SUBSCRIBE_BODY_BYTES_MAX);
    if (call == NULL || call->body == NULL) {
        free(call);
        return tt_reply_error(request, 503, "unavailable", 1,
                              "subscribe: there is no memory for the request");
    }
    call->shard = shard;
    call->exchange.ops = &subscribe_ops;
    return &call->exchange;
}
