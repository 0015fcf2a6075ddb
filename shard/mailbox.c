#include "shard/mailbox.h"

#include <stdlib.h>
#include <string.h>

#include "proto/base/assert.h"

#define CAPACITY_MAX (1u << 20)

/* The poster's fields, the shared indices and the receiver's fields lie on cache lines of their
 * own, so that neither side's private counting disturbs the other. Indices count up for ever. */
struct tt_mailbox {
    _Alignas(64) uint64_t posted; /* poster: written, perhaps not yet visible */
    uint64_t published;           /* poster: what `tail` was set to last */
    uint64_t head_seen;           /* poster: `head` as last loaded */
    _Alignas(64) _Atomic uint64_t tail;
    _Alignas(64) _Atomic uint64_t head;
    _Alignas(64) uint64_t taken; /* receiver */
    uint64_t tail_seen;          /* receiver: `tail` as last loaded */
    _Alignas(64) uint32_t capacity;
    uint32_t mask;
    struct tt_message *ring;
};

static uint32_t round_up(uint32_t n)
{
    uint32_t size = 1;
    while (size < n) size <<= 1;
    return size;
}

enum tt_status tt_mailbox_create(struct tt_mailbox **box, uint32_t capacity)
{
    TT_ASSERT(capacity >= 1 && capacity <= CAPACITY_MAX);
    *box = NULL;
    struct tt_mailbox *b = aligned_alloc(64, sizeof *b);
    uint32_t size = round_up(capacity);
    struct tt_message *ring = aligned_alloc(64, (size_t)size * sizeof *ring);
    if (b == NULL || ring == NULL) {
        free(b);
        free(ring);
        return TT_ENOMEM;
    }
    memset(b, 0, sizeof *b);
    atomic_init(&b->tail, 0);
    atomic_init(&b->head, 0);
    b->capacity = capacity;
    b->mask = size - 1;
    b->ring = ring;
    *box = b;
    return TT_OK;
}

void tt_mailbox_destroy(struct tt_mailbox **box)
{
    struct tt_mailbox *b = *box;
    if (b == NULL) return;
    free(b->ring);
    free(b);
    *box = NULL;
}

uint32_t tt_mailbox_capacity(const struct tt_mailbox *box)
{
    return box->capacity;
}

void tt_mailbox_post(struct tt_mailbox *b, const struct tt_message *message)
{
    if (b->posted - b->head_seen >= b->capacity) {
        /* Pairs with the release in take(): the receiver has copied the slot out before we write
         * it again. */
        b->head_seen = atomic_load_explicit(&b->head, memory_order_acquire);
        TT_ASSERT(b->posted - b->head_seen < b->capacity); /* the sum in messages.h is wrong */
    }
    b->ring[b->posted & b->mask] = *message;
    b->posted++;
}

bool tt_mailbox_publish(struct tt_mailbox *b)
{
    if (b->published == b->posted) return false;
    b->published = b->posted;
    /* Pairs with the acquire in fresh(): messages, and all that was written before them. */
    atomic_store_explicit(&b->tail, b->posted, memory_order_release);
    return true;
}

/* Number of messages that may be taken; looks at the shared index only when the last look is used
 * up. */
static uint64_t fresh(struct tt_mailbox *b)
{
    if (b->tail_seen == b->taken) {
        b->tail_seen = atomic_load_explicit(&b->tail, memory_order_acquire); /* see publish() */
    }
    return b->tail_seen - b->taken;
}

uint32_t tt_mailbox_take(struct tt_mailbox *b, struct tt_message *messages, uint32_t max)
{
    uint64_t waiting = fresh(b);
    uint32_t count = waiting < max ? (uint32_t)waiting : max;
    if (count == 0) return 0;
    for (uint32_t i = 0; i < count; i++) messages[i] = b->ring[(b->taken + i) & b->mask];
    b->taken += count;
    atomic_store_explicit(&b->head, b->taken, memory_order_release); /* see post() */
    return count;
}

bool tt_mailbox_waiting(struct tt_mailbox *b)
{
    return fresh(b) != 0;
}
