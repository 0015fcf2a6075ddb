#include "shard/client/private_id.h"

#include <stdlib.h>

#include "proto/base/assert.h"
#include "shard/client/conflate.h"
#include "shard/client/sse.h"
#include "shard/replay/batch.h"
#include "shard/replay/catchup.h"
#include "shard/shard_internal.h"

#define OFFERS_MAX TT_IO_SLICES_MAX
#define PULL_BYTES (TT_PRIVATE_ID_BYTES_MAX + OFFERS_MAX * sizeof(struct tt_catchup_offer))

void tt_scratch_deinit(struct tt_scratch *s)
{
    free(s->data);
    *s = (struct tt_scratch){0};
}

/* Room for one pull; null: out of memory. Sized for as many pulls as one submit has sends. */
static void *scratch_get(struct tt_scratch *s)
{
    if (s->data == NULL) {
        s->size = (TT_IO_SENDS_PER_SUBMIT + 1) * PULL_BYTES;
        _Static_assert((TT_IO_SENDS_PER_SUBMIT + 1) * PULL_BYTES <= TT_SCRATCH_BYTES, "counted");
        s->data = malloc(s->size);
        if (s->data == NULL) return NULL;
        s->used = 0;
    }
    if (s->size - s->used < PULL_BYTES) return NULL;
    void *p = s->data + s->used;
    s->used += PULL_BYTES;
    return p;
}

/* A frame that was begun while the client was live goes on in its shared form, id included. */
static bool needs_id(const struct tt_client *client, const struct tt_frame *f, bool first)
{
    if (first && client->catchup->first_shared) return false;
    if (f->kind == TT_FRAME_RESYNC) return true;
    return f->kind == TT_FRAME_EVENT && tt_client_full(client);
}

/* Moves `taken` for a frame of which the first byte was taken. */
static void advance(struct tt_client *client, const struct tt_frame *f)
{
    uint64_t next;
    switch ((enum tt_frame_kind)f->kind) {
    case TT_FRAME_EVENT:
    case TT_FRAME_EVENTS: next = f->offset + 1; break;
    case TT_FRAME_RESYNC:
    case TT_FRAME_GAP: next = f->offset; break;
    case TT_FRAME_HEARTBEAT:
    case TT_FRAME_VALUE:
    case TT_FRAME_CONTROL:
    default: return;
    }
    struct tt_catchup_part *part = tt_catchup_part(client, f->partition);
    part->taken = next;
    TT_ASSERT(part->waiting > 0);
    part->waiting--;
}

/* The vector of what will have been taken once this frame is, for its id line. */
static void vector_through(uint64_t *vector, const struct tt_frame *f)
{
    if (f->kind == TT_FRAME_EVENT || f->kind == TT_FRAME_EVENTS)
        vector[f->partition] = f->offset + 1;
    else if (f->kind == TT_FRAME_RESYNC || f->kind == TT_FRAME_GAP)
        vector[f->partition] = f->offset;
}

/* Writes the id chunk of a frame (or only its inside); returns its bytes, 0: no room left. */
static uint32_t write_id(struct tt_client *client, uint64_t *vector, struct tt_writer *w)
{
    uint8_t text[TT_CURSOR_BYTES_MAX];
    struct tt_writer cursor = tt_writer(text, sizeof text);
    tt_client_write_cursor(client, vector, &cursor);
    TT_ASSERT(!cursor.overflow);
    if (w->capacity - w->size < tt_sse_id_chunk_bytes(cursor.size)) return 0;
    size_t before = w->size;
    size_t body, body_bytes;
    tt_sse_id_chunk_write(w, tt_writer_bytes(&cursor), &body, &body_bytes);
    if (client->exchange.chunked) return (uint32_t)(w->size - before);
    memmove(w->data + before, w->data + body, body_bytes);
    w->size = before + body_bytes;
    return (uint32_t)body_bytes;
}

static struct tt_bytes a_part(const struct tt_client *client, const struct tt_frame *f)
{
    return client->exchange.chunked ? tt_bytes(f->data, f->a_bytes) : tt_frame_inside_a(f);
}

enum tt_pull tt_private_pull(struct tt_client *client, size_t budget, struct tt_slice *slices,
                             unsigned slices_max, unsigned *count)
{
    struct tt_shard *shard = client->shard;
    struct tt_catchup *c = client->catchup;
    unsigned n = 0;
    size_t bytes = 0;
    c->offers_count = 0;
    if (c->carry != NULL) {
        slices[n++] =
            (struct tt_slice){c->carry->data + c->carry_sent, c->carry->bytes - c->carry_sent};
        bytes += slices[0].size;
    }
    struct tt_client_walk walk = {0};
    struct tt_frame *f = tt_client_walk(client, &walk);
    if (f != NULL) {
        uint8_t *memory = scratch_get(&shard->scratch);
        if (memory == NULL) f = NULL;
        c->offers = (struct tt_catchup_offer *)(void *)memory;
        uint64_t *vector = shard->vector;
        /* What was taken, or further where nothing of a partition waits. */
        tt_client_queued_vector(client, vector);
        struct tt_writer ids =
            tt_writer(memory == NULL ? NULL : memory + OFFERS_MAX * sizeof *c->offers,
                      memory == NULL ? 0 : TT_PRIVATE_ID_BYTES_MAX);
        for (; f != NULL && n + 2 <= slices_max && bytes < budget && c->offers_count < OFFERS_MAX;
             f = tt_client_walk(client, &walk)) {
            uint32_t sent = c->offers_count == 0 ? client->outbox.sent : 0;
            struct tt_catchup_offer *offer = &c->offers[c->offers_count];
            *offer = (struct tt_catchup_offer){0};
            vector_through(vector, f);
            if (f->kind == TT_FRAME_EVENTS && sent == 0) tt_batch_finish(f);
            unsigned first = n;
            if (needs_id(client, f, c->offers_count == 0)) {
                struct tt_bytes a = a_part(client, f);
                const uint8_t *id = ids.data + ids.size;
                uint32_t id_bytes = write_id(client, vector, &ids);
                if (id_bytes == 0) break;
                offer->id = id;
                offer->id_bytes = id_bytes;
                slices[n++] = (struct tt_slice){a.data + sent, a.size - sent};
                slices[n++] = (struct tt_slice){id, id_bytes};
            } else {
                n += tt_sse_frame_slices(client, f, sent, slices + n);
            }
            size_t all = 0;
            for (unsigned i = first; i < n; i++) all += slices[i].size;
            offer->frame_bytes = (uint32_t)(all - offer->id_bytes);
            bytes += all;
            c->offers_count++;
        }
    }
    *count = n;
    return n == 0 ? TT_PULL_IDLE : TT_PULL_DATA;
}

/* Keeps what the socket did not take of a private id chunk. */
static bool keep_rest(struct tt_client *client, const uint8_t *rest, size_t bytes)
{
    struct tt_frame *f = tt_frame_create(&client->shard->replay_frames, bytes);
    if (f == NULL) return false;
    memcpy(f->data, rest, bytes);
    f->bytes = f->a_bytes = (uint32_t)bytes;
    f->kind = TT_FRAME_CONTROL;
    client->catchup->carry = f;
    client->catchup->carry_sent = 0;
    return true;
}

void tt_private_taken(struct tt_client *client, size_t bytes)
{
    struct tt_catchup *c = client->catchup;
    if (c->carry != NULL) {
        size_t left = c->carry->bytes - c->carry_sent;
        if (bytes < left) {
            c->carry_sent += (uint32_t)bytes;
            return;
        }
        bytes -= left;
        tt_frame_put(&c->carry);
    }
    for (uint32_t i = 0; i < c->offers_count && bytes > 0; i++) {
        const struct tt_catchup_offer *offer = &c->offers[i];
        if (tt_outbox_empty(&client->outbox)) tt_conflate_next(client);
        struct tt_frame *f = tt_outbox_first(&client->outbox);
        if (client->outbox.sent == 0) advance(client, f);
        if (bytes < offer->frame_bytes) {
            client->outbox.sent += (uint32_t)bytes;
            break;
        }
        bytes -= offer->frame_bytes;
        c->first_shared = false;
        tt_sse_frame_taken(client);
        if (bytes < offer->id_bytes) {
            if (!keep_rest(client, offer->id + bytes, offer->id_bytes - bytes))
                tt_client_abort(client, TT_CLOSE_INTERNAL);
            break;
        }
        bytes -= offer->id_bytes;
    }
    c->offers_count = 0;
    tt_catchup_try_join(client);
    if (client->catchup != NULL) tt_catchup_wake(client);
}
