/* Pools of objects of one size, named by slots, with generations against stale names.
 *
 * A slot is a small number that a completion token or a message can carry instead of a pointer.
 * Each time that a slot is put back its generation changes, so a name (slot, generation) that
 * outlives its object is recognised: tt_pool_find() answers null. Generations have 24 bits, as
 * tokens do; they wrap after 16 million lives of one slot.
 *
 * Memory comes in slabs, on demand, up to a bound; slabs are never given back before deinit, so a
 * pool that has reached its working size allocates no more. An object never moves. Each object
 * costs 4 bytes beside its own size. Slots that were freed last are
 * used first: their memory is warm. Thread: the owner alone. */
#ifndef TT_PROTO_BASE_POOL_H
#define TT_PROTO_BASE_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/status.h"

#define TT_SLOT_NONE           UINT32_MAX
#define TT_POOL_GENERATION_MAX 0xFFFFFFu

struct tt_pool_slab;

/* Embedded in its owner; fields are private. */
struct tt_pool {
    struct tt_pool_slab **slabs_;
    uint32_t slabs_count_;
    uint32_t slabs_max_;
    uint32_t slab_shift_; /* objects of a slab, as a power of two */
    uint32_t objects_max_;
    uint32_t used_;
    uint32_t never_used_; /* slots from here on were not handed out yet */
    uint32_t free_first_;
    size_t stride_bytes_;
};

/* object_bytes: size of one object, at least 4. slab_objects: objects allocated at once, rounded up
 * to a power of two. objects_max: the bound, at least 1. Allocates only the table of slabs.
 * TT_OK; TT_ENOMEM (nothing to undo). */
TT_MUST_USE enum tt_status tt_pool_init(struct tt_pool *pool, size_t object_bytes,
                                        uint32_t slab_objects, uint32_t objects_max);
/* Frees all memory. Objects that are still in use become invalid. A zeroed pool may be deinited. */
void tt_pool_deinit(struct tt_pool *pool);

/* An object filled with zeros; its slot goes to *slot. Aligned as its size allows, up to 16 bytes,
 * which suffices for every struct of that size. Null when the bound is reached or memory is short.
 */
TT_MUST_USE void *tt_pool_get(struct tt_pool *pool, uint32_t *slot);
/* Gives the slot back and raises its generation. The slot must be in use (asserted). */
void tt_pool_put(struct tt_pool *pool, uint32_t slot);

/* The object, or null when the slot is not in use or has another generation (24 bits compared), or
 * never existed: made for names that come from completions and messages. */
void *tt_pool_find(const struct tt_pool *pool, uint32_t slot, uint32_t generation);
/* The object of a slot that is in use (asserted). */
void *tt_pool_at(const struct tt_pool *pool, uint32_t slot);
/* The generation of a slot in use (asserted): 1 to TT_POOL_GENERATION_MAX, never 0. */
uint32_t tt_pool_generation(const struct tt_pool *pool, uint32_t slot);

/* The first slot in use that is >= `from`, or TT_SLOT_NONE: for (s = next(p, 0); s != NONE; s =
 * next(p, s + 1)). The object met may be put back; those taken meanwhile may or may not be met. */
uint32_t tt_pool_next(const struct tt_pool *pool, uint32_t from);
/* The same among the slots below `end` (at most tt_pool_slots()); `end` if there is none there. */
uint32_t tt_pool_next_below(const struct tt_pool *pool, uint32_t from, uint32_t end);
/* Every slot in use is below this. */
static inline uint32_t tt_pool_slots(const struct tt_pool *pool)
{
    return pool->never_used_;
}

static inline uint32_t tt_pool_used(const struct tt_pool *pool)
{
    return pool->used_;
}
static inline uint32_t tt_pool_max(const struct tt_pool *pool)
{
    return pool->objects_max_;
}
/* Bytes that the pool holds now, and at its bound: for memory_bound_bytes. */
size_t tt_pool_bytes(const struct tt_pool *pool);
size_t tt_pool_bytes_max(const struct tt_pool *pool);

#endif
