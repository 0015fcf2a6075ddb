#include "shard/client/sse.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "proto/wire/http1_parse.h"
#include "shard/admission.h"
#include "shard/replay/catchup.h"
#include "shard/shard_internal.h"

#define SUBSCRIBE_BODY_BYTES_MAX (64u << 10) /* of POST /sse; over it: 413 */
#define RESYNC_CHANNELS_MAX      64u         /* names in a resync; more are told as "*" */

/* What is needed until the client has begun: the request's own memory is gone by then. */
struct tt_opening {
    struct tt_subscribe subscribe;
    struct tt_pattern *patterns;
    uint8_t *text; /* decoded parameters, or the cursor of the header of a POST */
    uint8_t *body; /* POST */
    size_t body_bytes;
    struct tt_bytes last_event_id;
    bool post;
    bool wants_stream; /* Accept names text/event-stream */
    bool opened;       /* its body has ended */
};

/* ---- frames ---- */

uint32_t tt_sse_frame_bytes(const struct tt_client *client, const struct tt_frame *f)
{
    if (client->exchange.chunked) return f->bytes;
    return (uint32_t)(tt_frame_inside_a(f).size + tt_frame_inside_b(f).size);
}

unsigned tt_sse_frame_slices(const struct tt_client *client, const struct tt_frame *f,
                             uint32_t offset, struct tt_slice slices[2])
{
    if (client->exchange.chunked) {
        slices[0] = (struct tt_slice){f->data + offset, f->bytes - offset};
        return 1;
    }
    unsigned n = 0;
    struct tt_bytes parts[2] = {tt_frame_inside_a(f), tt_frame_inside_b(f)};
    for (unsigned i = 0; i < 2; i++) {
        size_t skip = offset < parts[i].size ? offset : parts[i].size;
        offset -= (uint32_t)skip;
        if (parts[i].size > skip)
            slices[n++] = (struct tt_slice){parts[i].data + skip, parts[i].size - skip};
    }
    return n;
}

/* A frame of one chunk with room for `inside` bytes; the writer stands at the inside. */
static struct tt_frame *frame_begin(struct tt_shard *shard, size_t inside, enum tt_frame_kind kind,
                                    struct tt_writer *w)
{
    size_t bytes = tt_sse_chunk_bytes(inside);
    struct tt_frame *f = tt_frame_create(&shard->frames, bytes);
    if (f == NULL) return NULL;
    f->kind = (uint8_t)kind;
    f->bytes = f->a_bytes = (uint32_t)bytes;
    f->a_head_bytes = (uint8_t)tt_sse_chunk_head_bytes(inside);
    *w = tt_writer(f->data, bytes);
    tt_sse_chunk_write_head(w, inside);
    return f;
}

static struct tt_frame *frame_end(struct tt_frame *f, struct tt_writer *w)
{
    tt_sse_chunk_write_end(w);
    TT_ASSERT(!w->overflow && w->size == f->bytes);
    return f;
}

static struct tt_frame *control_frame(struct tt_shard *shard, enum tt_frame_kind kind,
                                      const char *name, struct tt_bytes data,
                                      struct tt_bytes cursor)
{
    struct tt_writer w;
    struct tt_frame *f = frame_begin(shard, tt_sse_control_bytes(name, data, cursor), kind, &w);
    if (f == NULL) return NULL;
    tt_sse_control_write(&w, name, data, cursor);
    return frame_end(f, &w);
}

static void write_client_id(const struct tt_client *client, struct tt_writer *w)
{
    if (client->extra != NULL && client->extra->label[0] != '\0') {
        tt_write_json_string(w, tt_bytes_text(client->extra->label));
        return;
    }
    tt_write_text(w, "\"c");
    tt_write_hex(w, client->shard->index);
    tt_write_char(w, '-');
    tt_write_hex(w, client->slot);
    tt_write_char(w, '-');
    tt_write_hex(w, tt_pool_generation(&client->shard->clients, client->slot));
    tt_write_char(w, '"');
}

struct tt_frame *tt_sse_connected_frame(struct tt_client *client, struct tt_bytes cursor)
{
    uint8_t text[1024];
    struct tt_writer w = tt_writer(text, sizeof text);
    tt_write_text(&w, "{\"clientId\":");
    write_client_id(client, &w);
    tt_write_text(&w, ",\"session\":\"");
    tt_client_write_session(client, &w);
    tt_write_text(&w, "\",\"heartbeat\":");
    tt_write_u64(&w, client->heartbeat_ms);
    tt_write_text(&w, ",\"timestamp\":");
    tt_write_i64(&w, client->shard->wall_us / 1000);
    tt_write_char(&w, '}');
    TT_ASSERT(!w.overflow);
    return control_frame(client->shard, TT_FRAME_CONTROL, "connected", tt_writer_bytes(&w), cursor);
}

static void write_channels(const struct tt_client *client, uint32_t partition, struct tt_writer *w)
{
    const struct tt_subscription *sub = client->subscription;
    if (sub->count > RESYNC_CHANNELS_MAX) {
        tt_write_text(w, "\"*\"");
        return;
    }
    const char *separator = "";
    for (uint32_t i = 0; i < sub->count; i++) {
        const struct tt_followed *f = sub->entries[i].followed;
        uint8_t name[TT_CHANNEL_BYTES_MAX + 1];
        struct tt_writer n = tt_writer(name, sizeof name);
        tt_write(&n, f->text, f->text_bytes);
        if (f->kind != TT_PATTERN_EXACT)
            tt_write_char(&n, '*');
        else if (partition != TT_PARTITION_ALL &&
                 tt_shard_partition_of(client->shard, tt_writer_bytes(&n)) != partition)
            continue;
        tt_write_text(w, separator);
        tt_write_json_string(w, tt_writer_bytes(&n));
        separator = ",";
    }
}

struct tt_frame *tt_sse_resync_frame(struct tt_client *client, const char *reason,
                                     uint32_t partition, struct tt_bytes cursor)
{
    /* Every byte of a name may need six in JSON. */
    size_t size = 64 + (size_t)RESYNC_CHANNELS_MAX * (TT_CHANNEL_BYTES_MAX * 6 + 4);
    uint8_t *text = malloc(size);
    if (text == NULL) return NULL;
    struct tt_writer w = tt_writer(text, size);
    tt_write_text(&w, "{\"reason\":\"");
    tt_write_text(&w, reason);
    tt_write_text(&w, "\",\"channels\":[");
    write_channels(client, partition, &w);
    tt_write_text(&w, "]}");
    TT_ASSERT(!w.overflow);
    struct tt_frame *f;
    if (cursor.size != 0) {
        f = control_frame(client->shard, TT_FRAME_CONTROL, "resync", tt_writer_bytes(&w), cursor);
    } else {
        /* Without its end: the id line that is written at the pull ends it. */
        static const char name[] = "event: resync\n";
        size_t inside = sizeof name - 1 + tt_sse_data_bytes(tt_writer_bytes(&w));
        struct tt_writer fw;
        f = frame_begin(client->shard, inside, TT_FRAME_RESYNC, &fw);
        if (f != NULL) {
            tt_write_text(&fw, name);
            tt_sse_write_data(&fw, tt_writer_bytes(&w));
            frame_end(f, &fw);
        }
    }
    free(text);
    return f;
}

struct tt_frame *tt_sse_gap_frame(struct tt_client *client, const char *reason, uint64_t skipped,
                                  const struct tt_position *from, const struct tt_position *to)
{
    uint8_t text[256];
    struct tt_writer w = tt_writer(text, sizeof text);
    tt_write_format(&w, "{\"reason\":\"%s\",\"skipped\":%llu,\"from\":\"", reason,
                    (unsigned long long)skipped);
    tt_position_write(&w, from);
    tt_write_text(&w, "\",\"to\":\"");
    tt_position_write(&w, to);
    tt_write_text(&w, "\"}");
    TT_ASSERT(!w.overflow);
    return control_frame(client->shard, TT_FRAME_GAP, "gap", tt_writer_bytes(&w), TT_BYTES_NONE);
}

struct tt_frame *tt_sse_shutdown_frame(struct tt_shard *shard, uint32_t reconnect_ms)
{
    uint8_t text[64];
    struct tt_writer w = tt_writer(text, sizeof text);
    tt_write_text(&w, "{\"reconnect\":");
    tt_write_u64(&w, reconnect_ms);
    tt_write_char(&w, '}');
    return control_frame(shard, TT_FRAME_CONTROL, "shutdown", tt_writer_bytes(&w), TT_BYTES_NONE);
}

/* A quarter more or less, so that clients that left together do not come back together. */
static uint32_t jittered_ms(struct tt_shard *shard, uint32_t ms)
{
    uint32_t half = ms / 2;
    return ms - ms / 4 + (half == 0 ? 0 : (uint32_t)(tt_io_random(shard->io) % (half + 1)));
}

static struct tt_frame *greeting_frame(struct tt_client *client, uint32_t pad_bytes)
{
    uint8_t retry[32];
    struct tt_writer r = tt_writer(retry, sizeof retry);
    tt_sse_write_retry(&r, jittered_ms(client->shard, client->shard->options.retry_ms));
    if (pad_bytes != 0 && pad_bytes < 4) pad_bytes = 4;
    struct tt_writer w;
    struct tt_frame *f = frame_begin(client->shard, pad_bytes + r.size, TT_FRAME_CONTROL, &w);
    if (f == NULL) return NULL;
    if (pad_bytes != 0) tt_sse_write_pad(&w, pad_bytes);
    tt_write_bytes(&w, tt_writer_bytes(&r));
    return frame_end(f, &w);
}

/* ---- heartbeat ---- */

static struct tt_frame *heartbeat_frame(struct tt_client *client)
{
    struct tt_shard *shard = client->shard;
    uint8_t id[TT_CURSOR_BYTES_MAX];
    struct tt_writer cursor = tt_writer(id, sizeof id);
    /* The outbox is empty, so everything up to here was sent: the cursor may move there. */
    if (client->catchup != NULL || client->id_place != shard->arrivals.sequence) {
        tt_client_queued_vector(client, shard->vector);
        tt_client_write_cursor(client, shard->vector, &cursor);
    }
    client->id_place = shard->arrivals.sequence;
    uint8_t text[128 + sizeof id];
    struct tt_writer w = tt_writer(text, sizeof text);
    int64_t wall_ms = shard->wall_us / 1000;
    if (client->ping_event) {
        uint8_t data[64];
        struct tt_writer d = tt_writer(data, sizeof data);
        tt_write_text(&d, "{\"timestamp\":");
        tt_write_i64(&d, wall_ms);
        tt_write_char(&d, '}');
        tt_sse_control_write(&w, "ping", tt_writer_bytes(&d), tt_writer_bytes(&cursor));
    } else {
        tt_sse_write_comment_number(&w, wall_ms);
        if (cursor.size != 0) {
            tt_write_text(&w, "id: ");
            tt_write_bytes(&w, tt_writer_bytes(&cursor));
            tt_write_text(&w, "\n\n");
        }
    }
    TT_ASSERT(!w.overflow);
    struct tt_writer fw;
    struct tt_frame *f = frame_begin(shard, w.size, TT_FRAME_HEARTBEAT, &fw);
    if (f == NULL) return NULL;
    tt_write_bytes(&fw, tt_writer_bytes(&w));
    return frame_end(f, &fw);
}

void tt_sse_heartbeat(struct tt_client *client)
{
    struct tt_shard *shard = client->shard;
    uint32_t silent_ms = (uint32_t)(shard->now_ns / 1000000) - client->taken_ms;
    uint32_t wait_ms = client->heartbeat_ms;
    if (silent_ms < client->heartbeat_ms) {
        wait_ms = client->heartbeat_ms - silent_ms;
    } else if (tt_outbox_empty(&client->outbox) &&
               (client->catchup == NULL || client->catchup->carry == NULL) &&
               (client->state == TT_CLIENT_LIVE || client->state == TT_CLIENT_CATCHUP)) {
        struct tt_frame *f = heartbeat_frame(client);
        if (f != NULL) tt_client_queue(client, f); /* without memory: the next one */
    }
    if (client->state != TT_CLIENT_CLOSING)
        tt_timer_arm(shard->timers, &client->timer, shard->now_ns + wait_ms * UINT64_C(1000000));
}

/* ---- sending ---- */

static enum tt_pull sse_pull(struct tt_exchange *x, size_t budget, struct tt_slice *slices,
                             unsigned slices_max, unsigned *count)
{
    struct tt_client *client = tt_client_of(x);
    enum tt_pull pull = TT_PULL_IDLE;
    if (client->catchup != NULL) {
        pull = tt_private_pull(client, budget, slices, slices_max, count);
    } else {
        unsigned n = 0;
        size_t bytes = 0;
        uint32_t sent = client->outbox.sent;
        struct tt_outbox_walk walk = {0};
        struct tt_frame *f;
        while (n + 2 <= slices_max && bytes < budget &&
               (f = tt_outbox_walk(&client->outbox, &walk)) != NULL) {
            unsigned more = tt_sse_frame_slices(client, f, sent, slices + n);
            for (unsigned i = 0; i < more; i++) bytes += slices[n++].size;
            sent = 0;
        }
        *count = n;
        if (n != 0) pull = TT_PULL_DATA;
    }
    if (pull != TT_PULL_IDLE) return pull;
    if (client->state == TT_CLIENT_CLOSING) return TT_PULL_ABORT;
    return client->catchup != NULL && client->catchup->reader != NULL ? TT_PULL_WAIT_DISK
                                                                      : TT_PULL_IDLE;
}

void tt_sse_frame_taken(struct tt_client *client)
{
    struct tt_shard *shard = client->shard;
    struct tt_frame *f = tt_outbox_pop(&client->outbox, &shard->outboxes);
    if (f->kind == TT_FRAME_EVENT) {
        uint64_t deliveries = tt_metric_get(&shard->metrics.deliveries_sse) + 1;
        tt_metric_set(&shard->metrics.deliveries_sse, deliveries);
        if (f->arrival != 0) {
            client->id_place = f->arrival;
            /* One in 64 is enough for a distribution. */
            if ((deliveries & 63) == 0 && shard->wall_us > f->taken_us)
                tt_metric_observe_ns(&shard->metrics.publish_to_socket,
                                     (uint64_t)(shard->wall_us - f->taken_us) * 1000);
        }
    }
    tt_frame_put(&f);
}

static void sse_taken(struct tt_exchange *x, size_t bytes)
{
    struct tt_client *client = tt_client_of(x);
    struct tt_shard *shard = client->shard;
    client->taken_ms = (uint32_t)(shard->now_ns / 1000000);
    tt_metric_add(&shard->metrics.sent_bytes, bytes);
    if (client->catchup != NULL) {
        tt_private_taken(client, bytes);
        if (!tt_outbox_empty(&client->outbox) || client->state == TT_CLIENT_CLOSING ||
            (client->catchup != NULL && client->catchup->carry != NULL))
            tt_exchange_ready(x);
        return;
    }
    while (bytes != 0) {
        struct tt_frame *f = tt_outbox_first(&client->outbox);
        size_t left = tt_sse_frame_bytes(client, f) - client->outbox.sent;
        if (bytes < left) {
            client->outbox.sent += (uint32_t)bytes;
            break;
        }
        bytes -= left;
        tt_sse_frame_taken(client);
    }
    if (!tt_outbox_empty(&client->outbox) || client->state == TT_CLIENT_CLOSING)
        tt_exchange_ready(x);
}

/* ---- opening ---- */

static void opening_free(struct tt_client *client)
{
    struct tt_opening *o = client->opening;
    if (o == NULL) return;
    free(o->patterns);
    free(o->text);
    free(o->body);
    free(o);
    client->opening = NULL;
}

static void sse_closed(struct tt_exchange *x, enum tt_close_reason reason)
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
    tt_sse_write_retry(&w, jittered_ms(shard, shard->options.retry_ms));
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

/* The only partition that the subscription can touch, or TT_PARTITION_ALL. */
static uint32_t partition_of(struct tt_shard *shard, const struct tt_subscribe *subscribe)
{
    if (shard->world->partitions_count == 1) return 0;
    uint32_t partition = TT_PARTITION_ALL;
    for (uint32_t i = 0; i < subscribe->patterns_count; i++) {
        const struct tt_pattern *pattern = &subscribe->patterns[i];
        if (pattern->kind != TT_PATTERN_EXACT) return TT_PARTITION_ALL;
        uint32_t p = tt_shard_partition_of(shard, pattern->text);
        if (i != 0 && p != partition) return TT_PARTITION_ALL;
        partition = p;
    }
    return partition;
}

static bool keep_extra(struct tt_client *client, const struct tt_subscribe *subscribe)
{
    if (subscribe->types_count == 0 && subscribe->label.size == 0) return true;
    struct tt_client_extra *extra = calloc(1, sizeof *extra);
    if (extra == NULL) return false;
    client->extra = extra;
    if (subscribe->label.size != 0)
        if (subscribe->label.size != 0)
            memcpy(extra->label, subscribe->label.data, subscribe->label.size);
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

static void begin(struct tt_client *client)
{
    struct tt_shard *shard = client->shard;
    struct tt_subscribe *subscribe = &client->opening->subscribe;
    client->policy = (uint8_t)subscribe->policy;
    client->ping_event = subscribe->ping_event;
    if (subscribe->heartbeat_ms != 0) client->heartbeat_ms = subscribe->heartbeat_ms;
    if (!keep_extra(client, subscribe) ||
        tt_subscriptions_add(shard->subscriptions, client, subscribe->patterns,
                             subscribe->patterns_count, &client->subscription) != TT_OK) {
        answer_overload(client, "out of memory");
        return;
    }
    tt_shard_resume_bounds(shard);
    struct tt_resume_view view = {.history = shard->world->history,
                                  .partitions = shard->world->partitions_count,
                                  .next = shard->arrivals.next,
                                  .head = shard->heads,
                                  .oldest = shard->oldest};
    struct tt_resume resume;
    tt_resume(&view, partition_of(shard, subscribe), subscribe->cursor, subscribe->from,
              shard->cursor_storage, &resume, shard->vector);
    client->partition = resume.partition;
    client->form =
        (uint8_t)(tt_sse_form_index(subscribe->form) | (tt_client_full(client) ? TT_FORM_FULL : 0));
    start_stream(client);
    struct tt_frame *greeting = greeting_frame(client, subscribe->pad_bytes);
    if (greeting == NULL) {
        tt_client_abort(client, TT_CLOSE_INTERNAL);
        return;
    }
    tt_client_queue(client, greeting);
    /* The vector is copied: beginning writes cursors, which uses the shard's scratch vector. */
    size_t bytes = view.partitions * sizeof(uint64_t);
    uint64_t *pos = malloc(bytes);
    if (pos == NULL) {
        tt_client_abort(client, TT_CLOSE_INTERNAL);
        return;
    }
    memcpy(pos, shard->vector, bytes);
    if (!tt_client_full(client))
        for (uint32_t p = 0; p < view.partitions; p++)
            if (p != client->partition) pos[p] = shard->arrivals.next[p];
    tt_client_begin(client, &resume, pos, subscribe->cursor);
    free(pos);
    opening_free(client);
    tt_diag_write(shard->diag, TT_DIAG_DEBUG, tt_exchange_peer(&client->exchange), "client_open",
                  "client %s opened", client->extra == NULL ? "" : client->extra->label);
}

void tt_sse_admitted(struct tt_client *client, bool admitted)
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
    uint32_t n = shard->world->partitions_count;
    if (n > 1 && partition_of(shard, &client->opening->subscribe) == TT_PARTITION_ALL &&
        tt_cursor_full_bytes_max(&n, 1) > TT_CURSOR_BYTES_MAX) {
        tt_exchange_fail(&client->exchange, 400, "cursor_too_long", 0,
                         "channels: a cursor over the %u partitions of this log takes more than %u "
                         "bytes; follow channels of one partition",
                         n, TT_CURSOR_BYTES_MAX);
        return;
    }
    if (tt_admission_ask(client)) begin(client);
}

/* Memory for what the parameters are decoded into. */
static bool parse_memory(struct tt_client *client, size_t text_bytes,
                         struct tt_subscribe_memory *memory)
{
    struct tt_opening *o = client->opening;
    uint32_t max = client->shard->options.channels_per_client_max;
    o->patterns = malloc(max * sizeof *o->patterns);
    o->text = malloc(text_bytes == 0 ? 1 : text_bytes);
    *memory = (struct tt_subscribe_memory){
        .patterns = o->patterns, .patterns_max = max, .text = o->text, .text_bytes = text_bytes};
    return o->patterns != NULL && o->text != NULL;
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
    o->last_event_id.data = o->body + SUBSCRIBE_BODY_BYTES_MAX;
    struct tt_subscribe_error error;
    if (tt_subscribe_from_json(tt_bytes(o->body, o->body_bytes), o->last_event_id, &memory,
                               &o->subscribe, &error) != TT_OK)
        tt_exchange_fail(&client->exchange, 400, error.code, 0, "%s", error.message);
    else
        open_client(client);
}

static size_t sse_body(struct tt_exchange *x, struct tt_bytes bytes, bool end)
{
    struct tt_client *client = tt_client_of(x);
    struct tt_opening *o = client->opening;
    if (o == NULL || o->opened) return bytes.size;
    if (o->post && bytes.size > SUBSCRIBE_BODY_BYTES_MAX - o->body_bytes) {
        o->opened = true;
        tt_exchange_fail(x, 413, "body_too_large", 0,
                         "the body of a subscription has more than %u bytes",
                         SUBSCRIBE_BODY_BYTES_MAX);
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
        open_client(client);
    return bytes.size;
}

static const struct tt_exchange_ops sse_ops = {
    .name = "sse", .body = sse_body, .pull = sse_pull, .taken = sse_taken, .closed = sse_closed};

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

struct tt_exchange *tt_sse_handle(void *context, const struct tt_request *request)
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
        o->body = malloc(SUBSCRIBE_BODY_BYTES_MAX + last_event_id.size);
        if (o->body != NULL) {
            if (last_event_id.size != 0)
                memcpy(o->body + SUBSCRIBE_BODY_BYTES_MAX, last_event_id.data, last_event_id.size);
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
