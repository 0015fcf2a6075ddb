#include "shard/client/outbox.h"

#include <stdlib.h>

#include "proto/base/assert.h"

#define CACHED_BLOCKS_MAX (TT_OUTBOX_CACHE_BYTES_MAX / sizeof(struct tt_outbox_block))

_Static_assert(sizeof(struct tt_outbox_block) == 128, "two cache lines");

void tt_outbox_pool_init(struct tt_outbox_pool *pool)
{
    *pool = (struct tt_outbox_pool){0};
}

void tt_outbox_pool_deinit(struct tt_outbox_pool *pool)
{
    TT_ASSERT(pool->blocks == 0);
    while (pool->free_ != NULL) {
        struct tt_outbox_block *next = pool->free_->next;
        free(pool->free_);
        pool->free_ = next;
    }
}

static struct tt_outbox_block *block_get(struct tt_outbox_pool *pool)
{
    struct tt_outbox_block *b = pool->free_;
    if (b != NULL) {
        pool->free_ = b->next;
        pool->cached_--;
    } else {
        b = malloc(sizeof *b);
        if (b == NULL) return NULL;
    }
    pool->blocks++;
    b->next = NULL;
    b->first = b->end = 0;
    return b;
}

static void block_put(struct tt_outbox_pool *pool, struct tt_outbox_block *b)
{
    TT_ASSERT(pool->blocks > 0);
    pool->blocks--;
    if (pool->cached_ == CACHED_BLOCKS_MAX) {
        free(b);
        return;
    }
    pool->cached_++;
    b->next = pool->free_;
    pool->free_ = b;
}

enum tt_status tt_outbox_push(struct tt_outbox *o, struct tt_outbox_pool *pool,
                              struct tt_frame *frame)
{
    if (o->head_ == NULL && o->near_[1] == NULL) {
        o->near_[o->near_[0] == NULL ? 0 : 1] = frame;
    } else {
        if (o->tail_ == NULL || o->tail_->end == TT_OUTBOX_BLOCK_FRAMES) {
            struct tt_outbox_block *b = block_get(pool);
            if (b == NULL) return TT_ENOMEM;
            if (o->tail_ == NULL)
                o->head_ = b;
            else
                o->tail_->next = b;
            o->tail_ = b;
        }
        o->tail_->frames[o->tail_->end++] = frame;
    }
    o->count++;
    o->bytes += tt_outbox_cost(frame);
    return TT_OK;
}

struct tt_frame *tt_outbox_first(const struct tt_outbox *o)
{
    if (o->near_[0] != NULL) return o->near_[0];
    return o->head_ == NULL ? NULL : o->head_->frames[o->head_->first];
}

struct tt_frame *tt_outbox_last(const struct tt_outbox *o)
{
    if (o->tail_ != NULL) return o->tail_->frames[o->tail_->end - 1];
    return o->near_[1] != NULL ? o->near_[1] : o->near_[0];
}

struct tt_frame *tt_outbox_pop(struct tt_outbox *o, struct tt_outbox_pool *pool)
{
    TT_ASSERT(o->count > 0);
    struct tt_frame *f;
    if (o->near_[0] != NULL) {
        f = o->near_[0];
        o->near_[0] = o->near_[1];
        o->near_[1] = NULL;
    } else {
        struct tt_outbox_block *b = o->head_;
        f = b->frames[b->first++];
        if (b->first == b->end) {
            o->head_ = b->next;
            if (o->head_ == NULL) o->tail_ = NULL;
            block_put(pool, b);
        }
    }
    o->count--;
    o->bytes -= tt_outbox_cost(f);
    o->sent = 0;
    return f;
}

struct tt_frame *tt_outbox_walk(const struct tt_outbox *o, struct tt_outbox_walk *walk)
{
    if (walk->near_ < 2) {
        struct tt_frame *f = o->near_[walk->near_++];
        if (f != NULL) return f;
        walk->near_ = 2;
    }
    if (!walk->started_) {
        walk->started_ = true;
        walk->block_ = o->head_;
        walk->index_ = o->head_ == NULL ? 0 : o->head_->first;
    }
    if (walk->block_ != NULL && walk->index_ == walk->block_->end) {
        walk->block_ = walk->block_->next;
        walk->index_ = walk->block_ == NULL ? 0 : walk->block_->first;
    }
    return walk->block_ == NULL ? NULL : walk->block_->frames[walk->index_++];
}

enum tt_status tt_outbox_drop_events(struct tt_outbox *o, struct tt_outbox_pool *pool)
{
    /* In place: every frame is taken out once, what stays is pushed behind again, in order. */
    enum tt_status status = TT_OK;
    uint32_t sent = o->sent;
    uint32_t count = o->count;
    bool dropped = false;
    for (uint32_t i = 0; i < count; i++) {
        struct tt_frame *f = tt_outbox_pop(o, pool);
        bool keep = (i == 0 && sent != 0) || f->kind == TT_FRAME_CONTROL ||
                    ((f->kind == TT_FRAME_RESYNC || f->kind == TT_FRAME_GAP) && !dropped);
        if (!keep && (f->kind == TT_FRAME_EVENT || f->kind == TT_FRAME_EVENTS)) dropped = true;
        if (keep) {
            if (tt_outbox_push(o, pool, f) == TT_OK) continue;
            status = TT_ENOMEM;
        }
        tt_frame_put(&f);
    }
    o->sent = o->count != 0 ? sent : 0;
    return status;
}

void tt_outbox_clear(struct tt_outbox *o, struct tt_outbox_pool *pool)
{
    while (o->count != 0) {
        struct tt_frame *f = tt_outbox_pop(o, pool);
        tt_frame_put(&f);
    }
}
