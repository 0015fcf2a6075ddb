#include "proto/base/pool.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/assert.h"

/* The lives of a slab's slots stand apart from the objects, so that a stale name is checked without
 * touching an object's cache lines: bit 24 says "in use", the bits below are the generation. */
#define IN_USE (1u << 24)

struct tt_pool_slab {
    uint32_t *lives;
    uint8_t *objects;
};

#define OBJECT_ALIGNMENT 16u

static uint32_t slab_objects(const struct tt_pool *pool)
{
    return 1u << pool->slab_shift_;
}

enum tt_status tt_pool_init(struct tt_pool *pool, size_t object_bytes, uint32_t objects,
                            uint32_t objects_max)
{
    size_t alignment = 4;

    TT_ASSERT(object_bytes >= sizeof(uint32_t) && objects >= 1);
    TT_ASSERT(objects_max >= 1 && objects_max < TT_SLOT_NONE);
    memset(pool, 0, sizeof(*pool));
    /* An object of 88 bytes shall cost 88: aligned as its size allows, at most 16. */
    while (alignment < OBJECT_ALIGNMENT && object_bytes % (alignment * 2) == 0) alignment *= 2;
    pool->stride_bytes_ = (object_bytes + alignment - 1) / alignment * alignment;
    while ((1u << pool->slab_shift_) < objects && pool->slab_shift_ < 24) pool->slab_shift_++;
    pool->objects_max_ = objects_max;
    pool->slabs_max_ =
        (uint32_t)(((uint64_t)objects_max + slab_objects(pool) - 1) >> pool->slab_shift_);
    pool->free_first_ = TT_SLOT_NONE;
    pool->slabs_ = calloc(pool->slabs_max_, sizeof(*pool->slabs_));
    return pool->slabs_ == NULL ? TT_ENOMEM : TT_OK;
}

void tt_pool_deinit(struct tt_pool *pool)
{
    for (uint32_t i = 0; i < pool->slabs_count_; i++) free(pool->slabs_[i]);
    free(pool->slabs_);
    memset(pool, 0, sizeof(*pool));
}

/* One allocation: the head, the lives, the objects. */
static size_t slab_head_bytes(const struct tt_pool *pool)
{
    size_t bytes = sizeof(struct tt_pool_slab) + slab_objects(pool) * sizeof(uint32_t);
    return (bytes + OBJECT_ALIGNMENT - 1) / OBJECT_ALIGNMENT * OBJECT_ALIGNMENT;
}

static size_t slab_bytes(const struct tt_pool *pool)
{
    return slab_head_bytes(pool) + slab_objects(pool) * pool->stride_bytes_;
}

static bool add_slab(struct tt_pool *pool)
{
    struct tt_pool_slab *slab = malloc(slab_bytes(pool));

    if (slab == NULL) return false;
    slab->lives = (uint32_t *)(slab + 1);
    slab->objects = (uint8_t *)slab + slab_head_bytes(pool);
    for (uint32_t i = 0; i < slab_objects(pool); i++) slab->lives[i] = 1;
    pool->slabs_[pool->slabs_count_++] = slab;
    return true;
}

static uint32_t *life_at(const struct tt_pool *pool, uint32_t slot)
{
    return &pool->slabs_[slot >> pool->slab_shift_]->lives[slot & (slab_objects(pool) - 1)];
}

static void *object_at(const struct tt_pool *pool, uint32_t slot)
{
    return pool->slabs_[slot >> pool->slab_shift_]->objects +
           (slot & (slab_objects(pool) - 1)) * pool->stride_bytes_;
}

static bool in_use(const struct tt_pool *pool, uint32_t slot)
{
    return slot < pool->never_used_ && (*life_at(pool, slot) & IN_USE) != 0;
}

void *tt_pool_get(struct tt_pool *pool, uint32_t *slot)
{
    void *object;

    if (pool->free_first_ != TT_SLOT_NONE) {
        *slot = pool->free_first_;
        object = object_at(pool, *slot);
        /* A free object holds the next free slot in its first bytes. */
        memcpy(&pool->free_first_, object, sizeof(pool->free_first_));
    } else {
        if (pool->never_used_ == pool->objects_max_) return NULL;
        if (pool->never_used_ >> pool->slab_shift_ == pool->slabs_count_ && !add_slab(pool)) {
            return NULL;
        }
        *slot = pool->never_used_++;
        object = object_at(pool, *slot);
    }
    TT_ASSERT((*life_at(pool, *slot) & IN_USE) == 0);
    *life_at(pool, *slot) |= IN_USE;
    pool->used_++;
    memset(object, 0, pool->stride_bytes_);
    return object;
}

void tt_pool_put(struct tt_pool *pool, uint32_t slot)
{
    TT_ASSERT(in_use(pool, slot));
    uint32_t *life = life_at(pool, slot);
    uint32_t generation = *life & TT_POOL_GENERATION_MAX;

    *life = generation == TT_POOL_GENERATION_MAX ? 1 : generation + 1;
    memcpy(object_at(pool, slot), &pool->free_first_, sizeof(pool->free_first_));
    pool->free_first_ = slot;
    TT_ASSERT(pool->used_ > 0);
    pool->used_--;
}

void *tt_pool_find(const struct tt_pool *pool, uint32_t slot, uint32_t generation)
{
    if (slot >= pool->never_used_) return NULL;
    if (*life_at(pool, slot) != ((generation & TT_POOL_GENERATION_MAX) | IN_USE)) return NULL;
    return object_at(pool, slot);
}

void *tt_pool_at(const struct tt_pool *pool, uint32_t slot)
{
    TT_ASSERT(in_use(pool, slot));
    return object_at(pool, slot);
}

uint32_t tt_pool_generation(const struct tt_pool *pool, uint32_t slot)
{
    TT_ASSERT(in_use(pool, slot));
    return *life_at(pool, slot) & TT_POOL_GENERATION_MAX;
}

uint32_t tt_pool_next_below(const struct tt_pool *pool, uint32_t from, uint32_t end)
{
    for (uint32_t slot = from; slot < end; slot++) {
        if (in_use(pool, slot)) return slot;
    }
    return end;
}

uint32_t tt_pool_next(const struct tt_pool *pool, uint32_t from)
{
    uint32_t slot = tt_pool_next_below(pool, from, pool->never_used_);
    return slot < pool->never_used_ ? slot : TT_SLOT_NONE;
}

size_t tt_pool_bytes(const struct tt_pool *pool)
{
    return pool->slabs_max_ * sizeof(*pool->slabs_) + pool->slabs_count_ * slab_bytes(pool);
}

size_t tt_pool_bytes_max(const struct tt_pool *pool)
{
    return pool->slabs_max_ * (sizeof(*pool->slabs_) + slab_bytes(pool));
}
