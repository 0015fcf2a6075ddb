#include "shard/client/sse.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "shard/client/change.h"
#include "shard/client/conflate.h"
#include "shard/client/lag.h"
#include "shard/replay/catchup.h"
#include "shard/shard_internal.h"

#define FEED_CAUSE_MAX      256u /* bytes of it that clients are told */
#define RESYNC_CHANNELS_MAX 64u  /* names in a resync; more are told as "*" */

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
    tt_session_write(client, &w);
    tt_write_text(&w, "\",\"heartbeat\":");
    tt_write_u64(&w, client->heartbeat_ms);
    tt_write_text(&w, ",\"timestamp\":");
    tt_write_i64(&w, client->shard->wall_us / 1000);
    tt_write_char(&w, '}');
    TT_ASSERT(!w.overflow);
    return control_frame(client->shard, TT_FRAME_CONTROL, "connected", tt_writer_bytes(&w), cursor);
}

static bool lies_in(const struct tt_shard *shard, struct tt_bytes channel, uint32_t partition)
{
    const struct tt_topology *t = &shard->topology;
    return tt_topology_may_hold(t, partition, channel, tt_hash(&t->hash_key, channel));
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
        const struct tt_followed *f = tt_subscription_followed(sub, i);
        uint8_t name[TT_CHANNEL_BYTES_MAX + 1];
        struct tt_writer n = tt_writer(name, sizeof name);
        tt_write(&n, f->text, f->text_bytes);
        if (f->kind != TT_PATTERN_EXACT)
            tt_write_char(&n, '*');
        else if (partition != TT_PARTITION_ALL &&
                 !lies_in(client->shard, tt_writer_bytes(&n), partition))
            continue;
        tt_write_text(w, separator);
        tt_write_json_string(w, tt_writer_bytes(&n));
        separator = ",";
    }
}

struct tt_frame *tt_sse_resync_frame(struct tt_client *client, const char *reason,
                                     uint32_t partition, const struct tt_bytes *cursor)
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
    if (cursor != NULL) {
        f = control_frame(client->shard, TT_FRAME_CONTROL, "resync", tt_writer_bytes(&w), *cursor);
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
    tt_write_format(&w, "{\"reason\":\"%s\"", reason);
    if (skipped != TT_SSE_SKIPPED_UNKNOWN)
        tt_write_format(&w, ",\"skipped\":%llu", (unsigned long long)skipped);
    tt_write_text(&w, ",\"from\":\"");
    tt_position_write(&w, from);
    tt_write_text(&w, "\",\"to\":\"");
    tt_position_write(&w, to);
    tt_write_text(&w, "\"}");
    TT_ASSERT(!w.overflow);
    return control_frame(client->shard, TT_FRAME_GAP, "gap", tt_writer_bytes(&w), TT_BYTES_NONE);
}

struct tt_frame *tt_sse_snapshot_end_frame(struct tt_client *client, uint64_t events,
                                           struct tt_bytes cursor)
{
    uint8_t text[64];
    struct tt_writer w = tt_writer(text, sizeof text);
    tt_write_text(&w, "{\"events\":");
    tt_write_u64(&w, events);
    tt_write_char(&w, '}');
    return control_frame(client->shard, TT_FRAME_CONTROL, "snapshot-end", tt_writer_bytes(&w),
                         cursor);
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

struct tt_frame *tt_sse_feed_frame(struct tt_shard *shard)
{
    const struct tt_feed *feed = &shard->feed;
    uint8_t text[64 + 6 * FEED_CAUSE_MAX];
    struct tt_writer w = tt_writer(text, sizeof text);
    tt_write_text(&w, feed->stale ? "{\"state\":\"stale\",\"since\":"
                                  : "{\"state\":\"live\",\"since\":");
    tt_write_i64(&w, feed->since_ms);
    if (feed->cause != NULL) {
        struct tt_bytes cause = tt_bytes_text(feed->cause);
        if (cause.size > FEED_CAUSE_MAX) cause.size = FEED_CAUSE_MAX;
        tt_write_text(&w, ",\"cause\":");
        tt_write_json_string(&w, cause);
    }
    tt_write_char(&w, '}');
    TT_ASSERT(!w.overflow);
    return control_frame(shard, TT_FRAME_CONTROL, "feed", tt_writer_bytes(&w), TT_BYTES_NONE);
}

uint32_t tt_sse_jittered_ms(struct tt_shard *shard, uint32_t ms)
{
    uint32_t half = ms / 2;
    return ms - ms / 4 + (half == 0 ? 0 : (uint32_t)(tt_io_random(shard->io) % (half + 1)));
}

struct tt_frame *tt_sse_greeting_frame(struct tt_client *client, uint32_t pad_bytes)
{
    uint8_t retry[32];
    struct tt_writer r = tt_writer(retry, sizeof retry);
    tt_sse_write_retry(&r, tt_sse_jittered_ms(client->shard, client->shard->options.retry_ms));
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
    /* The outbox is empty, so everything up to here was sent: the cursor may move there. Before a
     * snapshot's end there is none. */
    bool all_sent = tt_conflate_empty(client); /* else it waits for a tick */
    bool has_id = client->state != TT_CLIENT_SNAPSHOT && all_sent &&
                  (client->catchup != NULL || client->id_place != shard->arrivals.sequence);
    if (has_id) {
        tt_client_queued_vector(client, shard->vector);
        tt_client_write_cursor(client, shard->vector, &cursor);
    }
    if (all_sent) client->id_place = shard->arrivals.sequence;
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

/* One event to all would set the heartbeats of all to one tick: each is up to a 16th earlier than
 * asked for. And a shard that idles shall not wake for each alone: they come in groups, no coarser
 * than a 128th. */
static uint32_t heartbeat_wait_ms(const struct tt_client *client)
{
    uint32_t spread = client->slot * UINT32_C(2654435761) >> 16;
    return client->heartbeat_ms - spread % (client->heartbeat_ms / 16 + 1);
}

static uint64_t heartbeat_group(const struct tt_client *client, uint64_t deadline_ns)
{
    uint64_t grain_ns = client->heartbeat_ms * UINT64_C(1000000) / 128;
    while ((grain_ns & (grain_ns - 1)) != 0) grain_ns &= grain_ns - 1;
    return grain_ns == 0 ? deadline_ns : (deadline_ns + grain_ns - 1) & ~(grain_ns - 1);
}

void tt_sse_heartbeat(struct tt_client *client)
{
    struct tt_shard *shard = client->shard;
    uint32_t silent_ms = (uint32_t)(shard->now_ns / 1000000) - client->taken_ms;
    uint32_t wait_ms = heartbeat_wait_ms(client);
    if (silent_ms < wait_ms) {
        wait_ms -= silent_ms;
    } else if (tt_outbox_empty(&client->outbox) && tt_conflate_sendable(client) == 0 &&
               (client->catchup == NULL || client->catchup->carry == NULL) &&
               client->state != TT_CLIENT_OPENING && client->state != TT_CLIENT_CLOSING) {
        struct tt_frame *f = heartbeat_frame(client);
        if (f != NULL) tt_client_queue(client, f); /* without memory: the next one */
    }
    if (client->state != TT_CLIENT_CLOSING)
        tt_timer_arm(shard->timers, &client->timer,
                     heartbeat_group(client, shard->now_ns + wait_ms * UINT64_C(1000000)));
}

/* ---- sending ---- */

enum tt_pull tt_sse_pull(struct tt_exchange *x, size_t budget, struct tt_slice *slices,
                         unsigned slices_max, unsigned *count)
{
    struct tt_client *client = tt_client_of(x);
    enum tt_pull pull = TT_PULL_IDLE;
    if (TT_UNLIKELY(client->extra != NULL) && tt_lag_holds(client)) return TT_PULL_IDLE;
    if (client->catchup != NULL) {
        pull = tt_private_pull(client, budget, slices, slices_max, count);
    } else {
        unsigned n = 0;
        size_t bytes = 0;
        uint32_t sent = client->outbox.sent;
        struct tt_client_walk walk = {0};
        struct tt_frame *f;
        while (n + 2 <= slices_max && bytes < budget &&
               (f = tt_client_walk(client, &walk)) != NULL) {
            unsigned more = tt_sse_frame_slices(client, f, sent, slices + n);
            for (unsigned i = 0; i < more; i++) bytes += slices[n++].size;
            sent = 0;
        }
        *count = n;
        if (n != 0) pull = TT_PULL_DATA;
    }
    if (pull != TT_PULL_IDLE) return pull;
    /* Its socket can be written again. */
    if (client->state == TT_CLIENT_CATCHUP) tt_catchup_wake(client);
    if (client->state == TT_CLIENT_CLOSING) return TT_PULL_ABORT;
    return client->catchup != NULL && tt_catchup_reads(client->catchup) ? TT_PULL_WAIT_DISK
                                                                        : TT_PULL_IDLE;
}

/* One in 64 is enough for a distribution. The turn's own time would be that of the event, mostly.
 */
static void observe(struct tt_shard *shard, const struct tt_frame *f)
{
    int64_t us = tt_io_wall_us(shard->io) - f->taken_us;
    if (us >= 0) tt_metric_observe_ns(&shard->metrics.publish_to_socket, (uint64_t)us * 1000);
}

void tt_sse_frame_taken(struct tt_client *client)
{
    struct tt_shard *shard = client->shard;
    struct tt_frame *f = tt_outbox_pop(&client->outbox, &shard->outboxes);
    if (f->kind == TT_FRAME_EVENTS) {
        tt_metric_add(&shard->metrics.deliveries_sse, f->arrival);
    } else if (f->kind == TT_FRAME_EVENT || f->kind == TT_FRAME_VALUE) {
        uint64_t deliveries = tt_metric_get(&shard->metrics.deliveries_sse) + 1;
        tt_metric_set(&shard->metrics.deliveries_sse, deliveries);
        if (f->arrival != 0) {
            client->id_place = f->arrival;
            if ((deliveries & 63) == 0) observe(shard, f);
        }
    }
    tt_frame_put(&f);
}

void tt_sse_taken(struct tt_exchange *x, size_t bytes)
{
    struct tt_client *client = tt_client_of(x);
    struct tt_shard *shard = client->shard;
    client->taken_ms = (uint32_t)(shard->now_ns / 1000000);
    tt_metric_add(&shard->metrics.sent_bytes, bytes);
    if (client->catchup != NULL) {
        tt_private_taken(client, bytes);
        if (!tt_outbox_empty(&client->outbox) || client->state == TT_CLIENT_CLOSING ||
            tt_conflate_sendable(client) != 0 ||
            (client->catchup != NULL && client->catchup->carry != NULL))
            tt_exchange_ready(x);
        return;
    }
    while (bytes != 0) {
        if (tt_outbox_empty(&client->outbox)) tt_conflate_next(client);
        struct tt_frame *f = tt_outbox_first(&client->outbox);
        size_t left = tt_sse_frame_bytes(client, f) - client->outbox.sent;
        if (bytes < left) {
            client->outbox.sent += (uint32_t)bytes;
            break;
        }
        bytes -= left;
        tt_sse_frame_taken(client);
    }
    if (TT_UNLIKELY(client->conflate != NULL)) tt_conflate_taken(client);
    if (!tt_outbox_empty(&client->outbox) || tt_conflate_sendable(client) != 0 ||
        client->state == TT_CLIENT_CLOSING)
        tt_exchange_ready(x);
}
