#include "shard/client/opening.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "proto/wire/http1_parse.h"
#include "shard/admission.h"
#include "shard/client/conflate.h"
#include "shard/client/lag.h"
#include "shard/client/sse.h"
#include "shard/http/publish_batch.h"
#include "shard/memory.h"
#include "shard/replay/since.h"
#include "shard/shard_internal.h"

/* What is needed until the client has begun: the request's own memory is gone by then. */
struct tt_opening {
    struct tt_subscribe subscribe;
    struct tt_pattern *patterns;
    uint8_t *text; /* decoded parameters, or the cursor of the header of a POST */
    uint8_t *body; /* POST */
    size_t body_bytes;
    size_t body_max;
    size_t counted; /* of publish_bytes */
    struct tt_bytes last_event_id;
    struct tt_resume resume;
    uint64_t *pos;          /* where it starts, for each partition */
    struct tt_since *since; /* while the places of from=<ms> are looked for */
    bool post;
    bool wants_stream; /* Accept names text/event-stream */
    bool opened;       /* its body has ended */
};

static void opening_free(struct tt_client *client)
{
    struct tt_opening *o = client->opening;
    if (o == NULL) return;
    tt_since_close(&o->since);
    tt_publish_memory_put(client->shard, o->counted);
    free(o->pos);
    free(o->patterns);
    free(o->text);
    free(o->body);
    free(o);
    client->opening = NULL;
}

static void client_closed(struct tt_exchange *x, enum tt_close_reason reason)
{
    struct tt_client *client = tt_client_of(x);
    if (client->reason == TT_CLOSE_NONE) client->reason = (uint8_t)reason;
    opening_free(client);
    client->exchange.connection = NULL;
    tt_client_destroy(client);
}

/* An EventSource gives up for good on any answer but 200: told to come back later, it does. */
static void answer_overload(struct tt_client *client, const char *why)
{
    struct tt_shard *shard = client->shard;
    client->reason = shard->phase == TT_SHARD_SERVING ? TT_CLOSE_OVERLOAD : TT_CLOSE_DRAIN;
    if (!shard->options.overload_stream || !client->opening->wants_stream) {
        tt_exchange_fail(&client->exchange, 503, "unavailable", 1 + shard->options.retry_ms / 1000,
                         "%s; try again later", why);
        return;
    }
    uint8_t text[256];
    struct tt_writer w = tt_writer(text, sizeof text);
    tt_sse_write_retry(&w, tt_sse_jittered_ms(shard, shard->options.retry_ms));
    tt_write_text(&w, ": ");
    tt_write_text(&w, why);
    tt_write_text(&w, "; come back later\n\n");
    static const struct tt_header headers[] = {
        {"Cache-Control", {(const uint8_t *)"no-cache, no-transform", 22}},
        {"X-Accel-Buffering", {(const uint8_t *)"no", 2}},
    };
    struct tt_response response = {.status = 200,
                                   .content_type = "text/event-stream",
                                   .headers = headers,
                                   .headers_count = 2,
                                   .close = true};
    tt_exchange_answer(&client->exchange, &response, tt_writer_bytes(&w));
}

static bool keep_extra(struct tt_client *client, const struct tt_subscribe *subscribe)
{
    if (subscribe->types_count == 0 && subscribe->label.size == 0 && subscribe->max_lag_ms == 0)
        return true;
    struct tt_client_extra *extra = calloc(1, sizeof *extra);
    if (extra == NULL) return false;
    client->extra = extra;
    if (subscribe->label.size != 0)
        memcpy(extra->label, subscribe->label.data, subscribe->label.size);
    if (subscribe->max_lag_ms != 0 && tt_lag_create(client, subscribe->max_lag_ms) != TT_OK)
        return false;
    for (uint32_t i = 0; i < subscribe->types_count; i++)
        extra->types_bytes += 1 + (uint32_t)subscribe->types[i].size;
    if (extra->types_bytes == 0) return true;
    uint8_t *at = extra->types = malloc(extra->types_bytes);
    if (at == NULL) return false;
    for (uint32_t i = 0; i < subscribe->types_count; i++) {
        *at++ = (uint8_t)subscribe->types[i].size;
        memcpy(at, subscribe->types[i].data, subscribe->types[i].size);
        at += subscribe->types[i].size;
    }
    extra->types_count = subscribe->types_count;
    client->shard->types_bytes += extra->types_bytes;
    return true;
}

static void start_stream(struct tt_client *client)
{
    static const struct tt_header headers[] = {
        {"Cache-Control", {(const uint8_t *)"no-cache, no-transform", 22}},
        {"X-Accel-Buffering", {(const uint8_t *)"no", 2}},
    };
    struct tt_response response = {.status = 200,
                                   .content_type = "text/event-stream",
                                   .content_length = -1,
                                   .headers = headers,
                                   .headers_count = 2};
    client->started = true;
    tt_exchange_start(&client->exchange, &response);
}

/* Everything is known: the answer begins. */
static void start(struct tt_client *client)
{
    struct tt_shard *shard = client->shard;
    struct tt_opening *o = client->opening;
    start_stream(client);
    struct tt_frame *greeting = tt_sse_greeting_frame(client, o->subscribe.pad_bytes);
    if (greeting == NULL) {
        tt_client_abort(client, TT_CLOSE_INTERNAL);
        return;
    }
    tt_client_queue(client, greeting);
    if (!tt_client_full(client))
        for (uint32_t p = 0; p < shard->world->partitions_count; p++)
            if (p != client->partition) o->pos[p] = shard->arrivals.next[p];
    tt_client_begin(client, &o->resume, o->pos, &o->subscribe);
    opening_free(client);
    tt_diag_write(shard->diag, TT_DIAG_DEBUG, tt_exchange_peer(&client->exchange), "client_open",
                  "client %s opened", client->extra == NULL ? "" : client->extra->label);
}

static uint32_t partition_of(const struct tt_client *client)
{
    const struct tt_subscribe *s = &client->opening->subscribe;
    return tt_topology_of_patterns(&client->shard->topology, s->patterns, s->patterns_count);
}

static void find_start(struct tt_client *client);

static void places_known(void *owner)
{
    struct tt_client *client = owner;
    tt_since_close(&client->opening->since);
    if (client->state != TT_CLIENT_OPENING) return; /* ended meanwhile: its connection frees it */
    if (client->shard->phase != TT_SHARD_SERVING)
        answer_overload(client, "shutting down");
    else if (client->partition != TT_PARTITION_ALL && partition_of(client) != client->partition)
        find_start(client); /* its topic was repartitioned meanwhile: it looks in all of it */
    else
        start(client);
}

/* What the sources say, into scratch memory; null where events come by HTTP only. */
static const struct tt_resume_source *sources_now(struct tt_shard *shard)
{
    if (shard->sources == NULL) return NULL;
    for (uint32_t p = 0; p < shard->world->partitions_count; p++) {
        const struct tt_partition *partition = &shard->world->partitions[p];
        shard->sources[p] =
            (struct tt_resume_source){.end = tt_metric_get(&partition->source_end),
                                      .backfilling = tt_metric_get(&partition->backfilling) != 0};
    }
    return shard->sources;
}

static void fail_cursor_too_long(struct tt_client *client)
{
    tt_exchange_fail(&client->exchange, 400, "cursor_too_long", 0,
                     "channels: a cursor over the %u partitions of this log takes more than %u "
                     "bytes; follow channels of one partition",
                     client->shard->topology.partitions_count, TT_CURSOR_BYTES_MAX);
}

/* Topics of which a cursor may miss something. */
static uint64_t touched_by(const struct tt_client *client)
{
    const struct tt_subscribe *s = &client->opening->subscribe;
    const struct tt_topology *t = &client->shard->topology;
    if (t->topics_count == 1 || s->cursor.size == 0) return UINT64_MAX;
    return tt_topology_touched(t, s->patterns, s->patterns_count);
}

/* Positions by the cursor or `from`. */
static void find_start(struct tt_client *client)
{
    struct tt_shard *shard = client->shard;
    struct tt_opening *o = client->opening;
    struct tt_subscribe *subscribe = &o->subscribe;
    tt_shard_resume_bounds(shard);
    struct tt_resume_view view = {.topology = &shard->topology,
                                  .next = shard->arrivals.next,
                                  .head = shard->heads,
                                  .oldest = shard->oldest,
                                  .source = sources_now(shard),
                                  .touched = touched_by(client)};
    tt_resume(&view, partition_of(client), subscribe->cursor, subscribe->from,
              shard->cursor_storage, &o->resume, o->pos);
    if (o->resume.not_ready) {
        answer_overload(client, "the topics are still being read for the first time");
        return;
    }
    if (o->resume.dropped)
        tt_diag_write(shard->diag, TT_DIAG_DEBUG, tt_exchange_peer(&client->exchange),
                      "cursor_partitions",
                      "a cursor knows of more partitions than this instance has room for: those "
                      "are left out");
    client->partition = o->resume.partition;
    if (tt_client_full(client) && !tt_topology_cursor_fits(&shard->topology)) {
        fail_cursor_too_long(client);
        return;
    }
    client->form =
        (uint8_t)(tt_sse_form_index(subscribe->form) | (tt_client_full(client) ? TT_FORM_FULL : 0));
    if (!o->resume.fresh || subscribe->from != TT_FROM_TIME) {
        start(client);
        return;
    }
    enum tt_status status = tt_since_open(&o->since, shard, client->partition, subscribe->from_ms,
                                          o->pos, places_known, client);
    if (status == TT_IDLE)
        start(client);
    else if (status != TT_OK)
        answer_overload(client, "out of memory");
}

static void begin(struct tt_client *client)
{
    struct tt_shard *shard = client->shard;
    struct tt_opening *o = client->opening;
    struct tt_subscribe *subscribe = &o->subscribe;
    client->policy = (uint8_t)subscribe->policy;
    if (tt_client_conflates(client)) shard->conflating++;
    client->ping_event = subscribe->ping_event;
    if (subscribe->heartbeat_ms != 0) client->heartbeat_ms = subscribe->heartbeat_ms;
    if (!tt_shard_has_subscription_room(shard)) {
        answer_overload(client, "no memory for more subscriptions");
        return;
    }
    o->pos = calloc(shard->world->partitions_count, sizeof *o->pos);
    if (o->pos == NULL || !keep_extra(client, subscribe) ||
        (subscribe->tick_ns != 0 && tt_conflate_begin(client, subscribe->tick_ns) != TT_OK) ||
        tt_subscriptions_add(shard->subscriptions, client->slot, subscribe->patterns,
                             subscribe->patterns_count, &client->subscription) != TT_OK) {
        answer_overload(client, "out of memory");
        return;
    }
    find_start(client);
}

void tt_opening_admitted(struct tt_client *client, bool admitted)
{
    if (client->opening == NULL || client->state != TT_CLIENT_OPENING) return; /* gone meanwhile */
    if (client->shard->phase != TT_SHARD_SERVING)
        answer_overload(client, "shutting down");
    else if (!admitted)
        answer_overload(client, "too many clients");
    else
        begin(client);
}

static void open_client(struct tt_client *client)
{
    struct tt_shard *shard = client->shard;
    if (shard->phase != TT_SHARD_SERVING) {
        answer_overload(client, "shutting down");
        return;
    }
    if (shard->world->partitions_count == 0) {
        answer_overload(client, "there are no topics yet");
        return;
    }
    if (!tt_topology_cursor_fits(&shard->topology) && partition_of(client) == TT_PARTITION_ALL) {
        fail_cursor_too_long(client);
        return;
    }
    if (tt_admission_ask(client)) begin(client);
}

/* Clients that open share the bound of publishers: publish_bytes. */
static bool count(struct tt_client *client, size_t bytes)
{
    if (!tt_publish_memory_get(client->shard, bytes)) return false;
    client->opening->counted += bytes;
    return true;
}

static void uncount(struct tt_client *client, size_t bytes)
{
    tt_publish_memory_put(client->shard, bytes);
    client->opening->counted -= bytes;
}

/* Memory for what the parameters are decoded into. */
static bool parse_memory(struct tt_client *client, size_t text_bytes,
                         struct tt_subscribe_memory *memory)
{
    struct tt_opening *o = client->opening;
    uint32_t max = client->shard->options.channels_per_client_max;
    if (!count(client, max * sizeof *o->patterns + text_bytes)) return false;
    o->patterns = malloc(max * sizeof *o->patterns);
    o->text = malloc(text_bytes == 0 ? 1 : text_bytes);
    *memory = (struct tt_subscribe_memory){
        .patterns = o->patterns, .patterns_max = max, .text = o->text, .text_bytes = text_bytes};
    return o->patterns != NULL && o->text != NULL;
}

/* What was read keeps what it needs: it may wait long for its places. */
static void parsed(struct tt_client *client)
{
    struct tt_opening *o = client->opening;
    uint32_t max = client->shard->options.channels_per_client_max;
    uint32_t n = o->subscribe.patterns_count;
    struct tt_pattern *fewer = realloc(o->patterns, n * sizeof *fewer);
    if (fewer != NULL) {
        o->patterns = o->subscribe.patterns = fewer;
        uncount(client, (max - n) * sizeof *fewer);
    }
    open_client(client);
}

static void parse_body(struct tt_client *client)
{
    struct tt_opening *o = client->opening;
    struct tt_subscribe_memory memory;
    if (!parse_memory(client, o->body_bytes + o->last_event_id.size, &memory)) {
        answer_overload(client, "out of memory");
        return;
    }
    /* The header's value lies behind the body's bytes. */
    o->last_event_id.data = o->body + o->body_max;
    struct tt_subscribe_error error;
    if (tt_subscribe_from_json(tt_bytes(o->body, o->body_bytes), o->last_event_id, &memory,
                               &o->subscribe, &error) != TT_OK)
        tt_exchange_fail(&client->exchange, 400, error.code, 0, "%s", error.message);
    else
        parsed(client);
}

static size_t opening_body(struct tt_exchange *x, struct tt_bytes bytes, bool end)
{
    struct tt_client *client = tt_client_of(x);
    struct tt_opening *o = client->opening;
    if (o == NULL || o->opened) return bytes.size;
    if (o->post && bytes.size > o->body_max - o->body_bytes) {
        o->opened = true;
        tt_exchange_fail(x, 413, "body_too_large", 0,
                         "the body of a subscription has more than %u bytes",
                         TT_SUBSCRIBE_BODY_BYTES_MAX);
        return bytes.size;
    }
    if (o->post && bytes.size != 0) {
        memcpy(o->body + o->body_bytes, bytes.data, bytes.size);
        o->body_bytes += bytes.size;
    }
    if (!end) return bytes.size;
    o->opened = true;
    if (o->post)
        parse_body(client);
    else
        parsed(client);
    return bytes.size;
}

static const struct tt_exchange_ops sse_ops = {.name = "sse",
                                               .body = opening_body,
                                               .pull = tt_sse_pull,
                                               .taken = tt_sse_taken,
                                               .closed = client_closed};

static struct tt_client *client_for(struct tt_shard *shard, const struct tt_request *request)
{
    struct tt_client *client = tt_client_create(shard);
    if (client == NULL) return NULL;
    client->exchange.ops = &sse_ops;
    client->opening = calloc(1, sizeof *client->opening);
    if (client->opening == NULL) {
        tt_client_destroy(client);
        return NULL;
    }
    client->opening->post = request->head->method == TT_HTTP1_POST;
    client->opening->wants_stream = tt_http1_accepts(request->head, "text/event-stream");
    return client;
}

struct tt_exchange *tt_opening_handle(void *context, const struct tt_request *request)
{
    struct tt_shard *shard = context;
    struct tt_client *client = client_for(shard, request);
    if (client == NULL)
        return tt_reply_error(request, 503, "unavailable", 1, "no room for another client");
    struct tt_opening *o = client->opening;
    struct tt_bytes last_event_id = request->head->known[TT_HTTP1_LAST_EVENT_ID];
    struct tt_subscribe_error error = {.code = "unavailable", .message = "out of memory"};
    unsigned status = 503;
    if (o->post) {
        o->body_max = TT_SUBSCRIBE_BODY_BYTES_MAX;
        if (request->content_length >= 0 && request->content_length < (int64_t)o->body_max)
            o->body_max = (size_t)request->content_length;
        size_t bytes = o->body_max + last_event_id.size;
        o->body = count(client, bytes) ? malloc(bytes + 1) : NULL;
        if (o->body != NULL) {
            if (last_event_id.size != 0)
                memcpy(o->body + o->body_max, last_event_id.data, last_event_id.size);
            o->last_event_id.size = last_event_id.size;
            return &client->exchange;
        }
    } else {
        struct tt_subscribe_memory memory;
        if (parse_memory(client, request->query.size + last_event_id.size, &memory)) {
            status = 400;
            if (tt_subscribe_from_query(request->query, last_event_id, &memory, &o->subscribe,
                                        &error) == TT_OK)
                return &client->exchange;
        }
    }
    client->reason = TT_CLOSE_DONE;
    opening_free(client);
    tt_client_destroy(client);
    return tt_reply_error(request, status, error.code, status == 503 ? 1 : 0, "%s", error.message);
}
