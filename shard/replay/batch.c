#include "shard/replay/batch.h"

#include "proto/base/assert.h"
#include "proto/event/cursor.h"
#include "shard/client/lag.h"
#include "shard/fanout/fanout.h"
#include "shard/replay/replay_internal.h"

#define LEAST_BYTES   (1u << 10) /* of a frame where memory is short */
#define FIRST_BYTES   (4u << 10) /* of the first frame; the next ones are four times as large */
#define FRAMING_BYTES (TT_SSE_FIXED_HEAD_BYTES + 2u)

/* The frame's end is written again with each event, its head when it is sent. There is room for the
 * most that the event may need. */
static void put(struct tt_client *client, uint32_t partition, struct tt_frame *f,
                const struct tt_placed_event *placed)
{
    struct tt_shard *shard = client->shard;
    tt_sse_texts_for(&shard->replay->texts, placed->position.history,
                     tt_topology_narrow_partitions(&shard->topology, partition));
    uint8_t *to = f->data + (f->bytes == 0 ? TT_SSE_FIXED_HEAD_BYTES : f->bytes - 2);
    to = tt_sse_event_lines_put(to, placed, tt_sse_form_at(client->form & (TT_SSE_FORMS - 1)),
                                &shard->replay->texts);
    *to++ = '\r';
    *to++ = '\n';
    f->bytes = f->a_bytes = (uint32_t)(to - f->data);
    if (f->arrival == 0) f->taken_us = placed->event.taken_us;
    f->offset = placed->position.offset;
    f->arrival++;
}

/* The newest frame, if it may grow. What was offered, the oldest frames, may have been taken: the
 * completion that says so can stand behind the one that brought this event. Those behind may grow,
 * or each event would have the memory of a large frame while the socket takes nothing. */
static struct tt_frame *growing(const struct tt_client *client, uint32_t partition)
{
    if (client->outbox.count <= client->catchup->offers_count) return NULL;
    struct tt_frame *f = tt_outbox_last(&client->outbox);
    if (f == NULL || f->kind != TT_FRAME_EVENTS || f->partition != partition) return NULL;
    return client->outbox.count == 1 && client->outbox.sent != 0 ? NULL : f;
}

/* A full one holds what one send may have, and the event that went over it. */
static size_t larger(size_t bytes)
{
    return bytes * 4 < TT_PULL_BYTES_MAX ? bytes * 4 : TT_FRAME_BATCH_BYTES;
}

static size_t smaller(size_t bytes)
{
    return bytes == TT_FRAME_BATCH_BYTES ? TT_PULL_BYTES_MAX / 4 : bytes / 4;
}

enum tt_status tt_batch_put(struct tt_client *client, uint32_t partition, uint64_t settled,
                            const struct tt_placed_event *placed)
{
    struct tt_shard *shard = client->shard;
    struct tt_catchup *c = client->catchup;
    /* What was begun is finished, however old it is by then: with max_lag that is one event. */
    if (tt_client_full(client) || !client->exchange.chunked || tt_lag_of(client) != NULL)
        return TT_EUNSUPPORTED;
    size_t most = tt_sse_event_lines_max(placed, tt_sse_form_at(client->form & (TT_SSE_FORMS - 1)));
    struct tt_frame *f = growing(client, partition);
    if (f != NULL) {
        size_t capacity = tt_frame_capacity(f);
        if (capacity - f->bytes >= most) {
            uint32_t before = f->bytes;
            put(client, partition, f, placed);
            client->outbox.bytes += f->bytes - before;
            tt_metric_add(&shard->metrics.replayed_events, 1);
            return TT_OK;
        }
    }
    size_t bytes = c->batch_bytes == 0 ? FIRST_BYTES : c->batch_bytes;
    while (bytes > LEAST_BYTES && bytes > tt_replay_share(client, TT_REPLAY_FRAME_PART))
        bytes = smaller(bytes);
    while (bytes < TT_FRAME_BATCH_BYTES && bytes - sizeof *f < most + FRAMING_BYTES)
        bytes = larger(bytes);
    size_t capacity = bytes - sizeof *f;
    if (capacity < most + FRAMING_BYTES) return TT_EUNSUPPORTED;
    f = tt_frame_create(&shard->replay_frames, capacity);
    if (f == NULL) return TT_ENOMEM;
    f->kind = TT_FRAME_EVENTS;
    f->partition = partition;
    f->a_head_bytes = TT_SSE_FIXED_HEAD_BYTES;
    put(client, partition, f, placed);
    c->batch_bytes = (uint32_t)larger(bytes);
    tt_catchup_waits(tt_catchup_part(client, partition), settled);
    tt_metric_add(&shard->metrics.frames, 1);
    tt_metric_add(&shard->metrics.replayed_events, 1);
    tt_client_queue(client, f);
    return TT_OK;
}

void tt_batch_finish(struct tt_frame *frame)
{
    TT_ASSERT(frame->kind == TT_FRAME_EVENTS);
    tt_sse_chunk_write_fixed_head(frame->data, frame->bytes - FRAMING_BYTES);
}
